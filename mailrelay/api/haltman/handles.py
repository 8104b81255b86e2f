"""Handles of those who confirm by mail (haltman-api.md sections 3.2 and 3.8 to 3.10)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NotRequired, Protocol

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Field
from mailrelay.api.haltman.codelinks import code_link
from mailrelay.api.haltman.endpoint import Endpoint, Handler, Rule, by_member, by_origin
from mailrelay.api.haltman.problems import Problem, banned, invalid
from mailrelay.api.haltman.replies import answer
from mailrelay.api.haltman.sent import sent_domain, sent_mailbox, sent_name
from mailrelay.api.haltman.shapes import Confirmation, HandleClaimed, HandleReleased, HandleSwitched, confirmation
from mailrelay.api.haltman.tries import TOKEN, posted_code, too_many_tries, typed_code
from mailrelay.core.codes import Asked, Intent, Pending, Wanted
from mailrelay.core.keyed import Refused
from mailrelay.core.owner_request import OwnerRequest
from mailrelay.core.suspects import BanHit
from mailrelay.flows.codes import TooManyTries
from mailrelay.flows.keyed import Obstacle
from mailrelay.flows.obstacles import AtManaged
from mailrelay.flows.publichandles import Outcome

_IP: Final = "too_many_requests_ip"
_CYCLE: Final = "too_many_forwarding_operations_ip"
_SUBSCRIBE: Final = (
    Rule("fwd_cycle_ip", 10, 3600, by_origin, "handle_subscribe", _CYCLE),
    Rule("handle_sub_slow_ip", 10, 60, by_origin, delay_ms=250),
    Rule("handle_sub_ip", 60, 600, by_origin, "handle_subscribe", _IP),
    Rule("handle_sub_to", 6, 3600, by_member("to"), "handle_subscribe", "too_many_requests_to"),
    Rule("handle_sub_handle", 20, 3600, by_member("handle"), "handle_subscribe", "too_many_requests_handle"),
)
_UNSUBSCRIBE: Final = (
    Rule("handle_unsub_slow_ip", 8, 60, by_origin, delay_ms=300),
    Rule("handle_unsub_ip", 40, 600, by_origin, "handle_unsubscribe", _IP),
    Rule("handle_unsub_handle", 6, 3600, by_member("handle"), "handle_unsubscribe", "too_many_requests_handle"),
)
_DOMAIN: Final = (
    Rule("handle_domain_slow_ip", 8, 60, by_origin, delay_ms=300),
    Rule("handle_domain_ip", 40, 600, by_origin, "handle_domain", _IP),
    Rule("handle_domain_handle", 10, 3600, by_member("handle"), "handle_domain", "too_many_requests_handle"),
)
_HANDLE: Final = Field("handle", required=True)
_CONFIRM_PATHS: Final = ("confirm", "unsubscribe/confirm", "domain/disable/confirm", "domain/enable/confirm")
_CONFIRM_ERRORS: Final = (
    *((400, "invalid_token"), (400, "invalid_or_expired"), (400, "unsupported_intent"), (403, "banned")),
    *((404, "handle_not_found"), (409, "alias_taken"), (409, "alias_owner_changed")),
    (500, "confirmation_payload_missing"),
)


class HandleAsked(TypedDict):
    ok: Literal[True]
    action: Literal["handle_subscribe"]
    handle: str
    to: str
    confirmation: Confirmation


class HandleAccepted(TypedDict):
    """The same whether there is such a handle or not."""

    ok: Literal[True]
    accepted: Literal[True]
    action: Literal["handle_unsubscribe", "handle_disable_domain", "handle_enable_domain"]
    handle: str
    domain: NotRequired[str]
    confirmation: Confirmation


class Handles(Protocol):
    """As flows/publichandles.py. All raise Unavailable."""

    @property
    def minutes(self) -> int: ...
    async def claim(self, wanted: Wanted, link: str) -> Asked | Obstacle: ...
    async def ask_owner(self, request: OwnerRequest) -> bool: ...
    async def confirm(self, code: str, origin: str) -> Outcome | TooManyTries | None: ...


@dataclass(frozen=True, slots=True)
class HandleEndpoints:
    """page: where links of mails lead, '' for our own. tried: the code of a request, for limits."""

    handles: Handles
    page: str
    tried: Callable[[Call], str]

    def endpoints(self) -> tuple[Endpoint, ...]:
        taken = ((403, "banned"), (409, "alias_taken"))
        rule = (_HANDLE, Field("domain", required=True))
        return (
            _asking("subscribe", self.subscribe, "3.8 Claim a handle", HandleAsked, _SUBSCRIBE,
                    (_HANDLE, Field("to", required=True)), taken),
            _asking("unsubscribe", self.unsubscribe, "3.2 Release a handle", HandleAccepted, _UNSUBSCRIBE, (_HANDLE,)),
            _asking("domain/disable", self.disable, "3.9 Take no mail on a domain", HandleAccepted, _DOMAIN, rule),
            _asking("domain/enable", self.enable, "3.9 Take mail there again", HandleAccepted, _DOMAIN, rule),
            *(self._confirming(method, path) for path in _CONFIRM_PATHS for method in ("GET", "POST")),
        )  # fmt: skip

    def _confirming(self, method: str, path: str) -> Endpoint:
        rules = (
            Rule("fwd_cycle_ip", 10, 3600, by_origin, "handle_confirm", _CYCLE),
            Rule("handle_confirm_slow_ip", 3, 60, by_origin, delay_ms=500),
            Rule("handle_confirm_ip", 120, 600, by_origin, "handle_confirm", _IP),
            Rule("handle_confirm_token", 10, 600, self.tried, "handle_confirm", "too_many_requests_token"),
        )
        return Endpoint(
            method,
            f"handle/{path}",
            self.confirm,
            "3.10 Do what a code is for",
            HandleClaimed | HandleReleased | HandleSwitched,
            rules=rules,
            query=(TOKEN,) if method == "GET" else (),
            body=(TOKEN,) if method == "POST" else (),
            errors=_CONFIRM_ERRORS,
        )

    async def subscribe(self, call: Call) -> Response:
        name = sent_name(call.query.get("handle"), "handle")
        to = sent_mailbox(call.query.get("to"), "to")
        wanted = Wanted(Intent.HANDLE_SUBSCRIBE, to, name, ip=call.client, user_agent=call.user_agent)
        asked = await self.handles.claim(wanted, code_link(call, self.page, wanted.intent.value))
        if not isinstance(asked, Asked):
            raise _refused(asked)
        shape: HandleAsked = {
            "ok": True,
            "action": "handle_subscribe",
            "handle": name,
            "to": to.folded,
            "confirmation": confirmation(asked.sent, self.handles.minutes, asked.reason),
        }
        return answer(shape)

    async def unsubscribe(self, call: Call) -> Response:
        name = sent_name(call.query.get("handle"), "handle")
        return await self._accept(call, Intent.HANDLE_UNSUBSCRIBE, name, "")

    async def disable(self, call: Call) -> Response:
        return await self._rule(call, Intent.HANDLE_DOMAIN_DISABLE)

    async def enable(self, call: Call) -> Response:
        return await self._rule(call, Intent.HANDLE_DOMAIN_ENABLE)

    async def _rule(self, call: Call, intent: Intent) -> Response:
        name = sent_name(call.query.get("handle"), "handle")
        return await self._accept(call, intent, name, sent_domain(call.query.get("domain"), "domain"))

    async def _accept(self, call: Call, intent: Intent, name: str, domain: str) -> Response:
        """Whether there is such a handle the worker finds out: the answer tells nothing about it."""
        link = code_link(call, self.page, intent.value)
        request = OwnerRequest(intent, name, domain, link, ip=call.client, user_agent=call.user_agent)
        sent = await self.handles.ask_owner(request)
        shape: dict[str, Any] = {"ok": True, "accepted": True, "action": _ACTIONS[intent], "handle": name}
        if domain:
            shape["domain"] = domain
        said = confirmation(sent, self.handles.minutes, None if sent else "cooldown")
        return answer({**shape, "confirmation": said})

    async def confirm(self, call: Call) -> Response:
        """All paths do the same: what it is says the code."""
        given = {**call.query, **call.body}
        code = posted_code(given, ok=False) if call.method == "POST" else typed_code(given, ok=False)
        outcome = await self.handles.confirm(code, call.origin)
        if isinstance(outcome, TooManyTries):
            raise too_many_tries(outcome, "handle_confirm", call.now)
        if outcome is None:
            raise Problem(400, "invalid_or_expired", ok=False)
        if outcome.obstacle is not None:
            raise _unconfirmed(outcome.pending, outcome.obstacle)
        return answer(_done(outcome.pending))


_ACTIONS: Final[Mapping[Intent, str]] = {
    Intent.HANDLE_UNSUBSCRIBE: "handle_unsubscribe",
    Intent.HANDLE_DOMAIN_DISABLE: "handle_disable_domain",
    Intent.HANDLE_DOMAIN_ENABLE: "handle_enable_domain",
}


def _asking(
    path: str,
    handler: Handler,
    summary: str,
    shape: Any,
    rules: tuple[Rule, ...],
    query: tuple[Field, ...],
    errors: tuple[tuple[int, str], ...] = (),
) -> Endpoint:
    return Endpoint("GET", f"handle/{path}", handler, summary, shape, rules=rules, query=query, errors=errors)


def _refused(obstacle: Obstacle) -> Problem:
    """No handle for that mailbox, or none of that name."""
    match obstacle:
        case BanHit():
            return banned(obstacle)
        case AtManaged():
            return invalid("to", "destination_cannot_use_managed_domain")
        case Refused.ALIAS:
            return invalid("to", "destination_cannot_be_an_existing_alias")
    return Problem(409, "alias_taken", ok=False)


def _unconfirmed(pending: Pending, obstacle: Obstacle) -> Problem:
    match obstacle:
        case Refused.OTHER:
            return Problem(400, "unsupported_intent", ok=False, intent=pending.intent.value)
        case Refused.INCOMPLETE:
            return Problem(500, "confirmation_payload_missing", ok=False)
        case Refused.ABSENT:
            return Problem(404, "handle_not_found", ok=False)
        case Refused.MOVED:
            return Problem(409, "alias_owner_changed", ok=False)
    problem = _refused(obstacle)
    if not isinstance(obstacle, BanHit):
        problem.ok = False
    return problem


def _done(pending: Pending) -> HandleClaimed | HandleReleased | HandleSwitched:
    if pending.intent is Intent.HANDLE_SUBSCRIBE:
        return {"ok": True, "created": True, "handle": pending.name, "goto": pending.email.folded}
    if pending.intent is Intent.HANDLE_UNSUBSCRIBE:
        return {"ok": True, "updated": True, "handle": pending.name, "active": False}
    disabled = pending.intent is Intent.HANDLE_DOMAIN_DISABLE
    return {"ok": True, "updated": True, "handle": pending.name, "domain": pending.domain, "disabled": disabled}
