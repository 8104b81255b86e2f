"""Signing in to the dashboard, staying there, and leaving (haltman-api.md section 3.16)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Field, checked, text
from mailrelay.api.haltman.cookies import Cookies
from mailrelay.api.haltman.endpoint import Endpoint
from mailrelay.api.haltman.gate import ACCESS_COOKIE, REFRESH_COOKIE, demand_csrf
from mailrelay.api.haltman.names import mailbox, username
from mailrelay.api.haltman.people import (
    SessionShown,
    UserItem,
    session_shown,
    too_many_failures,
    user_item,
    visitor_of,
)
from mailrelay.api.haltman.problems import Problem, invalid
from mailrelay.api.haltman.replies import answer
from mailrelay.core.entrance import Attempt, TooManyFailures
from mailrelay.core.facts import AccountId
from mailrelay.core.people import Session
from mailrelay.core.sessions import Granted, Standing
from mailrelay.core.signin import Visitor
from mailrelay.flows.passwords import MAX_PASSWORD_CHARACTERS, MIN_PASSWORD_CHARACTERS
from mailrelay.flows.sessions import Presented

PASSWORD = text(MIN_PASSWORD_CHARACTERS, MAX_PASSWORD_CHARACTERS)
_SIGN_IN = (
    Field("identifier", text(1, 320), required=True),
    Field("password", PASSWORD, required=True),
    Field("code", text(1, 20)),  # of a second factor, for users who have one
)
_NO_SESSION = (401, "invalid_or_expired_session")
_CSRF = ((403, "csrf_required"), (403, "invalid_csrf_token"))


class SignedIn(TypedDict):
    ok: Literal[True]
    action: Literal["sign_in"]
    authenticated: Literal[True]
    user: UserItem
    session: SessionShown


class Known(TypedDict):
    ok: Literal[True]
    authenticated: Literal[True]
    user: UserItem
    session: SessionShown


class CsrfToken(TypedDict):
    ok: Literal[True]
    csrf_token: str


class Refreshed(TypedDict):
    ok: Literal[True]
    action: Literal["refresh"]
    refreshed: Literal[True]
    session: SessionShown


class SignedOut(TypedDict):
    ok: Literal[True]
    action: Literal["sign_out"]
    signed_out: Literal[True]


class SignedOutEverywhere(TypedDict):
    ok: Literal[True]
    action: Literal["sign_out_all"]
    signed_out_all: Literal[True]
    sessions_revoked: int


class Entrance(Protocol):
    """As flows/entrance.py. Both raise Unavailable."""

    async def sign_in(
        self, attempt: Attempt, visitor: Visitor, origin: str, now: datetime
    ) -> Granted | TooManyFailures | None: ...
    async def stumble(self, origin: str) -> TooManyFailures | None: ...


class Sessions(Protocol):
    """As flows/sessions.py. What awaits raises Unavailable."""

    async def of_access(self, token: str, now: datetime) -> Session | None: ...
    async def of_refresh(self, token: str, visitor: Visitor, now: datetime) -> Presented | None: ...
    async def renew(self, presented: Presented, visitor: Visitor, now: datetime) -> Granted | None: ...
    async def end(self, account: AccountId, family: UUID, actor: str, now: datetime) -> None: ...
    async def end_all(self, account: AccountId, actor: str, now: datetime) -> int: ...
    def csrf(self, family: UUID) -> str: ...
    def csrf_matches(self, family: UUID, token: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class AuthEndpoints:
    entrance: Entrance
    sessions: Sessions
    cookies: Cookies

    def endpoints(self) -> tuple[Endpoint, ...]:
        about: dict[str, Any] = {"errors": (_NO_SESSION, *_CSRF)}
        return (
            Endpoint(
                "POST",
                "auth/sign-in",
                self.sign_in,
                "3.16 Sign in with a password",
                SignedIn,
                body=_SIGN_IN,
                errors=((401, "auth_failed"),),
            ),
            Endpoint(
                "GET", "auth/session", self.session, "3.16 Who is signed in", Known, errors=(_NO_SESSION,), safe=True
            ),
            Endpoint(
                "GET",
                "auth/csrf",
                self.csrf,
                "3.16 The token that changes are asked for with",
                CsrfToken,
                errors=(_NO_SESSION,),
                safe=True,
            ),
            Endpoint("POST", "auth/refresh", self.refresh, "3.16 New tokens for the old ones", Refreshed, **about),
            Endpoint("POST", "auth/sign-out", self.sign_out, "3.16 Sign out here", SignedOut, errors=_CSRF),
            Endpoint(
                "POST",
                "auth/sign-out-all",
                self.sign_out_all,
                "3.16 Sign out everywhere",
                SignedOutEverywhere,
                errors=_CSRF,
            ),
        )

    async def sign_in(self, call: Call) -> Response:
        try:
            attempt = _attempt(call)
        except Problem:
            refusal = await self.entrance.stumble(call.origin)
            if refusal is not None:
                raise too_many_failures(refusal, call) from None
            raise
        granted = await self.entrance.sign_in(attempt, visitor_of(call), call.origin, call.now)
        if isinstance(granted, TooManyFailures):
            raise too_many_failures(granted, call)
        if granted is None:
            raise Problem(401, "auth_failed")
        shape: SignedIn = {
            "ok": True,
            "action": "sign_in",
            "authenticated": True,
            "user": user_item(granted.session.user),
            "session": session_shown(granted.session),
        }
        return self.cookies.give(answer(shape), granted, call.now)

    async def session(self, call: Call) -> Response:
        session = await self._of_access(call)
        if session is None:
            raise Problem(*_NO_SESSION)
        shape: Known = {
            "ok": True,
            "authenticated": True,
            "user": user_item(session.user),
            "session": session_shown(session),
        }
        return answer(shape)

    async def csrf(self, call: Call) -> Response:
        found = await self._live(call)
        if found is None:
            raise Problem(*_NO_SESSION)
        shape: CsrfToken = {"ok": True, "csrf_token": self.sessions.csrf(found[1])}
        return answer(shape)

    async def refresh(self, call: Call) -> Response:
        presented = await self._of_refresh(call)
        if presented is not None and presented.standing in (Standing.GOOD, Standing.JUST_RENEWED):
            demand_csrf(self.sessions, call, presented.held.family)
        granted = None if presented is None else await self.sessions.renew(presented, visitor_of(call), call.now)
        if granted is None:
            return self.cookies.clear(Problem(*_NO_SESSION).response(call.request_id))
        shape: Refreshed = {
            "ok": True,
            "action": "refresh",
            "refreshed": True,
            "session": session_shown(granted.session),
        }
        return self.cookies.give(answer(shape), granted, call.now)

    async def sign_out(self, call: Call) -> Response:
        found = await self._leaving(call)
        if found is not None:
            account, family = found
            await self.sessions.end(account, family, f"admin:{account}", call.now)
        shape: SignedOut = {"ok": True, "action": "sign_out", "signed_out": True}
        return self.cookies.clear(answer(shape))

    async def sign_out_all(self, call: Call) -> Response:
        found = await self._leaving(call)
        ended = 0 if found is None else await self.sessions.end_all(found[0], f"admin:{found[0]}", call.now)
        shape: SignedOutEverywhere = {
            "ok": True,
            "action": "sign_out_all",
            "signed_out_all": True,
            "sessions_revoked": ended,
        }
        return self.cookies.clear(answer(shape))

    async def _of_access(self, call: Call) -> Session | None:
        token = call.cookies.get(ACCESS_COOKIE, "")
        return await self.sessions.of_access(token, call.now) if token else None

    async def _of_refresh(self, call: Call) -> Presented | None:
        token = call.cookies.get(REFRESH_COOKIE, "")
        return await self.sessions.of_refresh(token, visitor_of(call), call.now) if token else None

    async def _live(self, call: Call) -> tuple[AccountId, UUID] | None:
        """Whose session it is and which, by either cookie."""
        session = await self._of_access(call)
        if session is not None:
            return session.user.id, session.family
        presented = await self._of_refresh(call)
        if presented is None or presented.standing not in (Standing.GOOD, Standing.JUST_RENEWED):
            return None
        return presented.held.account, presented.held.family

    async def _leaving(self, call: Call) -> tuple[AccountId, UUID] | None:
        """The session that is to end; None: there is none. Raises Problem without its CSRF token."""
        found = await self._live(call)
        if found is not None:
            demand_csrf(self.sessions, call, found[1])
        return found


def _attempt(call: Call) -> Attempt:
    given = checked(_SIGN_IN, call.body)
    address = mailbox(given["identifier"]) if "@" in given["identifier"] else None
    identifier = str(address) if address is not None else username(given["identifier"])
    if identifier is None:
        raise invalid("identifier")
    return Attempt(identifier, given["password"], given.get("code", ""))
