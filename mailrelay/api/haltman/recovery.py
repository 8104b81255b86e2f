"""Forgotten passwords (haltman-api.md section 3.16)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.auth import PASSWORD
from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Field, checked, text
from mailrelay.api.haltman.cookies import Cookies
from mailrelay.api.haltman.endpoint import Endpoint, Rule, by_member, by_origin
from mailrelay.api.haltman.names import mailbox
from mailrelay.api.haltman.people import visitor_of
from mailrelay.api.haltman.problems import Problem, invalid
from mailrelay.api.haltman.replies import answer
from mailrelay.api.haltman.tries import TOKEN, too_many_tries, typed_code
from mailrelay.core.address import Address
from mailrelay.core.codes import TERMS
from mailrelay.core.errors import Malformed
from mailrelay.core.signin import Visitor
from mailrelay.core.users import Act, Changed
from mailrelay.flows.codes import TooManyTries

_REQUEST, _CONFIRM = "auth_password_reset_request", "auth_password_reset_confirm"
_ASKING = (
    Rule(f"{_REQUEST}_ip", 10, 3600, by_origin, _REQUEST, "too_many_requests_ip"),
    Rule(f"{_REQUEST}_email", 3, 3600, by_member("email"), _REQUEST, "too_many_requests_email"),
)
_FORGOT = (Field("email", text(1, 320), required=True),)
_RESET = (TOKEN, Field("new_password", PASSWORD, required=True))


class Offer(TypedDict):
    ttl_minutes: int


class Accepted(TypedDict):
    """The same for everybody."""

    ok: Literal[True]
    action: Literal["forgot_password"]
    accepted: Literal[True]
    recovery: Offer


class Owner(TypedDict):
    id: int
    username: str
    email: str


class PasswordSet(TypedDict):
    ok: Literal[True]
    action: Literal["reset_password"]
    updated: Literal[True]
    reauth_required: Literal[True]
    sessions_revoked: int
    user: Owner


class Recovery(Protocol):
    """As flows/recovery.py. Both raise Unavailable."""

    async def ask(self, email: Address, visitor: Visitor) -> None: ...
    async def reset(self, code: str, password: str, origin: str, act: Act) -> Changed | TooManyTries | None: ...


@dataclass(frozen=True, slots=True)
class RecoveryEndpoints:
    """tried: the code of a request, for limits."""

    recovery: Recovery
    cookies: Cookies
    tried: Callable[[Call], str]

    def endpoints(self) -> tuple[Endpoint, ...]:
        setting = (
            Rule(f"{_CONFIRM}_ip", 30, 600, by_origin, _CONFIRM, "too_many_requests_ip"),
            Rule(f"{_CONFIRM}_token", 10, 600, self.tried, _CONFIRM, "too_many_requests_token"),
        )
        return (
            Endpoint(
                "POST",
                "auth/forgot-password",
                self.forgot,
                "3.16 Have a code for a new password mailed",
                Accepted,
                rules=_ASKING,
                body=_FORGOT,
            ),
            Endpoint(
                "POST",
                "auth/reset-password",
                self.reset,
                "3.16 Set a new password with a mailed code",
                PasswordSet,
                rules=setting,
                body=_RESET,
                errors=((400, "invalid_token"), (400, "invalid_or_expired")),
            ),
        )

    async def forgot(self, call: Call) -> Response:
        email = mailbox(checked(_FORGOT, call.body)["email"])
        if email is None:
            raise invalid("email")
        await self.recovery.ask(email, visitor_of(call))
        minutes = TERMS["reset"].minutes
        shape: Accepted = {
            "ok": True,
            "action": "forgot_password",
            "accepted": True,
            "recovery": {"ttl_minutes": minutes},
        }
        return answer(shape)

    async def reset(self, call: Call) -> Response:
        given = checked(_RESET, call.body)
        code = typed_code(given)
        act = Act(call.actor, "", visitor_of(call), call.now)
        try:
            done = await self.recovery.reset(code, given["new_password"], call.origin, act)
        except Malformed as error:
            raise invalid("new_password", hint="Choose another password.") from error
        if isinstance(done, TooManyTries):
            raise too_many_tries(done, _CONFIRM, call.now)
        if done is None:
            raise Problem(400, "invalid_or_expired")
        user = done.user
        shape: PasswordSet = {
            "ok": True,
            "action": "reset_password",
            "updated": True,
            "reauth_required": True,
            "sessions_revoked": done.sessions,
            "user": {"id": user.id, "username": user.username, "email": user.email},
        }
        return self.cookies.clear(answer(shape))
