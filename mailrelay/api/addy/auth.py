"""Signing in from an app, and leaving (addy-api.md section 5)."""

from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, Protocol, assert_never

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy.call import Call, body, empty, timestamp, timestamp_or_none
from mailrelay.api.addy.checks import (
    REQUIRED,
    STRING,
    attribute,
    matches,
    max_chars,
    min_chars,
    one_of,
    validate,
)
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Invalid, Plain, Text
from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.inquiry import client_network
from mailrelay.core.records import Owned, TokenId, TokenKind, TokenRecord
from mailrelay.core.requests import Limit
from mailrelay.core.signin import (
    UNITS,
    Device,
    Outcome,
    Refused,
    SecondFactor,
    SignedIn,
    TooMany,
    Visitor,
)
from mailrelay.flows.owner import Knowledge

_PREFIX = "/api/auth"
_ENTRY = Limit("auth", 3)  # of a client
_EXIT = Limit("leave", 3)  # of an account
_MAX_USER_AGENT = 300

EXPIRATION = attribute("expiration", STRING, max_chars(5), one_of(*UNITS), nullable=True)
_DEVICE = attribute("device_name", REQUIRED, STRING, max_chars(50))
_LOGIN = (
    attribute("username", REQUIRED, matches("[a-zA-Z0-9]*"), max_chars(20)),
    attribute("password", REQUIRED, STRING),
    _DEVICE,
    EXPIRATION,
)
_MFA = (
    attribute("mfa_key", REQUIRED, STRING, max_chars(500)),
    attribute("otp", REQUIRED, STRING, min_chars(6), max_chars(6)),
    _DEVICE,
    EXPIRATION,
)
_PASSWORD = (attribute("password", REQUIRED, STRING),)

_REFUSED: Final = {
    Refused.CREDENTIALS: (401, "The provided credentials are incorrect."),
    Refused.UNVERIFIED: (401, "Your email address is not verified."),
    Refused.SECURITY_KEY: (
        403,
        "Security key authentication is not currently supported from the extension or mobile apps, please use an API "
        "key to login instead.",
    ),
    Refused.TICKET: (401, "Invalid mfa_key."),
    Refused.TICKET_EXPIRED: (401, "mfa_key expired, please request a new one at /api/auth/login."),
    Refused.CODE: (401, "The 'One Time Password' typed was wrong."),
}
_CODE_WANTED = "OTP required, please make a request to /api/auth/mfa with the 'mfa_key', 'otp' and 'device_name'."
_EXTERNAL = (403, "You cannot remove account because you're using external authentication")


class ApiKey(TypedDict):
    api_key: str
    name: str
    created_at: str
    expires_at: str | None


class SignIn(Protocol):
    """As flows/signin.py. All raise Unavailable."""

    async def password(self, username: str, password: str, device: Device, visitor: Visitor) -> Outcome: ...
    async def code(self, ticket: str, typed: str, device: Device, visitor: Visitor) -> Outcome: ...


class Owners(Protocol):
    """As flows/owner.py. All raise Unavailable."""

    async def knows(self, account: AccountId, password: str | None) -> Knowledge: ...
    async def delete(self, account: AccountId, actor: str) -> None: ...


class Tokens(Protocol):
    """As store/manage_tokens.py. Raises Absent and Unavailable."""

    async def revoke(
        self, kind: TokenKind, which: str | Owned | TokenId, reason: str | None, actor: str
    ) -> TokenRecord: ...


@dataclass(frozen=True, slots=True)
class AuthEndpoints:
    sign_in: SignIn
    owners: Owners
    tokens: Tokens

    def endpoints(self) -> tuple[Endpoint, ...]:
        entry: dict[str, Any] = {"prefix": _PREFIX, "is_open": True, "limit": _ENTRY}
        leaving: dict[str, Any] = {"prefix": _PREFIX, "limit": _EXIT, "verified": False, "status": 204}
        return (
            Endpoint("POST", "login", self.login, "5.1 Sign in", ApiKey, fields=_LOGIN, **entry),
            Endpoint("POST", "mfa", self.mfa, "5.2 The second factor", ApiKey, fields=_MFA, **entry),
            Endpoint("POST", "logout", self.logout, "5.3 End the token in use", **leaving),
            Endpoint(
                "POST",
                "delete-account",
                self.delete,
                "5.4 Delete the account",
                fields=_PASSWORD,
                texts=(_EXTERNAL,),
                **leaving,
            ),
        )

    async def login(self, call: Call) -> Response:
        given = validate(_LOGIN, call.input)
        visitor = visitor_of(call)
        done = await self.sign_in.password(str(given["username"]), str(given["password"]), device_of(given), visitor)
        return _answer(call, done)

    async def mfa(self, call: Call) -> Response:
        given = validate(_MFA, call.input)
        visitor = visitor_of(call)
        done = await self.sign_in.code(str(given["mfa_key"]), str(given["otp"]), device_of(given), visitor)
        return _answer(call, done)

    async def logout(self, call: Call) -> Response:
        with suppress(Absent):  # somebody else ended it in this moment
            await self.tokens.revoke("addy", call.caller.token, "signed out", call.actor)
        return empty()

    async def delete(self, call: Call) -> Response:
        given = validate(_PASSWORD, call.input)
        known = await self.owners.knows(call.account, str(given["password"]))
        if known.is_external:
            raise Text(*_EXTERNAL)
        if not known.is_right:
            raise Invalid({"password": ["The password is incorrect."]})
        await self.owners.delete(call.account, call.actor)
        return empty()


def device_of(given: dict[str, Value], name: str = "device_name") -> Device:
    """From validated input."""
    unit = next((unit for unit in UNITS if unit == given.get("expiration")), None)
    return Device(str(given[name]), unit)


def visitor_of(call: Call) -> Visitor:
    """Who asks."""
    user_agent = call.headers.get("User-Agent", "")[:_MAX_USER_AGENT]
    return Visitor(call.client, client_network(call.client), user_agent)


def _answer(call: Call, done: Outcome) -> Response:
    match done:
        case SignedIn():
            record = done.record
            shape: ApiKey = {
                "api_key": done.token,
                "name": record.name,
                "created_at": timestamp(record.created_at),
                "expires_at": timestamp_or_none(record.expires_at),
            }
            return body(shape)
        case SecondFactor():
            # The apps and the extension know this step by the two keys besides the message.
            raise Plain(422, _CODE_WANTED, mfa_key=done.ticket, csrf_token="deprecated")  # noqa: S106
        case TooMany():
            seconds = max(1, ceil((done.window.ends_at - call.now).total_seconds()))
            raise Plain(429, "Too Many Attempts.", {"Retry-After": str(seconds)})
        case Refused():
            raise Plain(*_REFUSED[done])
    assert_never(done)
