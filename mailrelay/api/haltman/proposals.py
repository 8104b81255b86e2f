"""Domains that anybody proposes, and how far they are (haltman-api.md sections 3.15 and 7.4)."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, NotRequired, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Field
from mailrelay.api.haltman.endpoint import Endpoint, Handler, Rule, by_origin
from mailrelay.api.haltman.names import dns_target
from mailrelay.api.haltman.problems import Problem, banned
from mailrelay.api.haltman.replies import answer, iso, iso_or_none
from mailrelay.core.onboarding import Request, RequestType, Wanted, overall
from mailrelay.core.suspects import BanHit, Suspect, of_domain

BAD_TARGET = "target must be a domain name without scheme"


class Onboarding(Protocol):
    """As flows/onboarding.py. All raise Unavailable."""

    @property
    def wanted(self) -> Wanted: ...
    async def ask(self, target: str, kind: RequestType, now: datetime, actor: str) -> Request: ...
    async def status(self, target: str, now: datetime, actor: str) -> Sequence[Request]: ...


FindBan = Callable[[Sequence[Suspect]], Awaitable[BanHit | None]]


class Proposed(TypedDict):
    id: int
    target: str
    type: Literal["UI", "EMAIL"]
    status: str
    expires_at: str


class Missing(TypedDict):
    """A record, whether it is right or not."""

    key: Literal["CNAME", "MX", "SPF", "DMARC", "DKIM"]
    type: Literal["CNAME", "MX", "TXT"]
    name: str
    expected: Any
    found: list[Any]
    ok: bool
    found_truncated: NotRequired[bool]
    expected_ips: NotRequired[list[str]]
    found_ips: NotRequired[list[str]]
    chain_reason: NotRequired[str | None]


class Part(TypedDict):
    """One of the two requests of a domain."""

    status: str
    id: int
    created_at: str
    expires_at: str
    last_checked_at: str | None
    next_check_at: str | None
    missing: list[Missing]


class Summary(TypedDict):
    has_ui: bool
    has_email: bool
    overall_status: str
    expires_at_min: str | None
    last_checked_at_max: str | None
    next_check_at_min: str | None


class StatusDocument(TypedDict):
    target: str
    normalized_target: str
    summary: Summary
    ui: Part | None
    email: Part | None


def _by_target(call: Call) -> str:
    """The domain that is named in the body, else in the query."""
    return dns_target(call.member("target")) or ""


def _by_path(call: Call) -> str:
    return dns_target(call.id) or ""


_UI_RULES = (
    Rule("req_ui_ip", 60, 60, by_origin, "request_ui", "too_many_requests_ip"),
    Rule("req_ui_target", 20, 600, _by_target, "request_ui", "too_many_requests_target"),
)
_EMAIL_RULES = (
    Rule("req_email_ip", 20, 600, by_origin, "request_email", "too_many_requests_ip"),
    Rule("req_email_target", 3, 3600, _by_target, "request_email", "too_many_requests_target"),
)
# There is no other limit behind it that all clients would share (D-38).
_STATUS_RULES = (Rule("checkdns_target", 30, 600, _by_path, "checkdns", "too_many_requests_target"),)
_ERRORS = ((400, BAD_TARGET), (403, "banned"))


class ProposalEndpoints:
    """ban: the one that stands against a domain."""

    def __init__(self, onboarding: Onboarding, ban: FindBan) -> None:
        self._onboarding = onboarding
        self._ban = ban

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            self._asking("ui", self._ask_ui, "3.15 Propose a domain for the web interface", _UI_RULES),
            self._asking("email", self._ask_email, "3.15 Propose a domain for addresses", _EMAIL_RULES),
            Endpoint(
                "GET",
                "checkdns/{id}",
                self._show,
                "3.15 How far a proposed domain is",
                StatusDocument,
                rules=_STATUS_RULES,
                errors=(*_ERRORS, (404, "not_found")),
            ),
        )

    def _asking(self, name: str, handler: Handler, summary: str, rules: tuple[Rule, ...]) -> Endpoint:
        errors = (*_ERRORS, (415, "unsupported_media_type"))
        target = (Field("target", required=True),)
        path = f"request/{name}"
        return Endpoint("POST", path, handler, summary, Proposed, also=(202,), rules=rules, body=target, errors=errors)

    async def _ask_ui(self, call: Call) -> Response:
        return await self._ask(call, "UI")

    async def _ask_email(self, call: Call) -> Response:
        return await self._ask(call, "EMAIL")

    async def _ask(self, call: Call, kind: RequestType) -> Response:
        if call.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem(415, "unsupported_media_type")
        target = await self._allowed(call.body.get("target"))
        request = await self._onboarding.ask(target, kind, call.now, call.actor)
        shown = Proposed(
            id=request.id,
            target=request.target,
            type=request.type,
            status=request.status,
            expires_at=iso(request.expires_at),
        )
        return answer(shown, 200 if request.status == "ACTIVE" else 202)

    async def _show(self, call: Call) -> Response:
        target = await self._allowed(call.id)
        found = {one.type: one for one in await self._onboarding.status(target, call.now, call.actor)}
        if not found:
            raise Problem(404, "not_found", target=target)
        return answer(self._document(call.id, target, found.get("UI"), found.get("EMAIL")))

    async def _allowed(self, sent: object) -> str:
        """The normalised domain. Raises Problem."""
        target = dns_target(sent)
        if target is None:
            raise Problem(400, BAD_TARGET)
        hit = await self._ban(of_domain(target))
        if hit is not None:
            raise banned(hit)
        return target

    def _document(self, sent: str, target: str, ui: Request | None, email: Request | None) -> StatusDocument:
        both = [one for one in (ui, email) if one is not None]
        checked = [one.last_checked_at for one in both if one.last_checked_at is not None]
        due = [one.next_check_at for one in both if one.next_check_at is not None]
        return StatusDocument(
            target=sent,
            normalized_target=target,
            summary=Summary(
                has_ui=ui is not None,
                has_email=email is not None,
                overall_status=overall([one.status for one in both]),
                expires_at_min=iso_or_none(min(one.expires_at for one in both)),
                last_checked_at_max=iso_or_none(max(checked, default=None)),
                next_check_at_min=iso_or_none(min(due, default=None)),
            ),
            ui=self._part(ui),
            email=self._part(email),
        )

    def _part(self, request: Request | None) -> Part | None:
        if request is None:
            return None
        missing: Any = request.shown(self._onboarding.wanted)
        return Part(
            status=request.status,
            id=request.id,
            created_at=iso(request.created_at),
            expires_at=iso(request.expires_at),
            last_checked_at=iso_or_none(request.last_checked_at),
            next_check_at=iso_or_none(request.next_check_at),
            missing=missing,
        )
