"""Aliases for everybody: asked for, given up, and confirmed by a mailed code (haltman-api.md sections 3.3 to 3.7)."""

from typing import Literal, NotRequired

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman import names
from mailrelay.api.haltman.call import Call, Value
from mailrelay.api.haltman.checks import Field
from mailrelay.api.haltman.codelinks import code_link
from mailrelay.api.haltman.endpoint import Endpoint, Rule, by_member, by_origin
from mailrelay.api.haltman.objections import confirm_problem, subscribe_problem
from mailrelay.api.haltman.problems import Problem, invalid
from mailrelay.api.haltman.replies import answer
from mailrelay.api.haltman.sent import check_local, joined
from mailrelay.api.haltman.shapes import Confirmation, confirmation
from mailrelay.api.haltman.tries import TOKEN, by_code, posted_code, typed_code
from mailrelay.core.address import MAX_ADDRESS_OCTETS, Address
from mailrelay.core.codes import Asked, Intent
from mailrelay.core.subscriptions import Refused, Subscribed, Unsubscribed
from mailrelay.flows.codes import Codes
from mailrelay.flows.subscriptions import Asker, Subscriptions

_TEN_MINUTES, _HOUR = 600, 3600

_HINTS = {
    "to": "your mailbox, such as you@example.org",
    "address": "a full address, such as shop@example.org",
    "name": "what stands before the @: letters, digits and single dots between them",
    "domain": "a domain name, such as example.org",
}


class Subscription(TypedDict):
    ok: Literal[True]
    action: Literal["subscribe"]
    alias_candidate: str
    to: str
    confirmation: Confirmation


class Removal(TypedDict):
    ok: Literal[True]
    action: Literal["unsubscribe"]
    alias: str
    sent: bool
    ttl_minutes: int
    reason: NotRequired[str]


class Confirmed(TypedDict):
    ok: Literal[True]
    confirmed: Literal[True]
    intent: Literal["subscribe", "unsubscribe"]
    address: str
    created: NotRequired[bool]
    removed: NotRequired[bool]
    reason: NotRequired[str]
    goto: NotRequired[str]


class Forward:
    """default_domain: of aliases that name none; page: where links of mails lead, '' for our own."""

    def __init__(self, story: Subscriptions, default_domain: str | None, page: str) -> None:
        self._story = story
        self._default_domain = default_domain
        self._page = page

    def endpoints(self) -> tuple[Endpoint, ...]:
        common = ((400, "invalid_domain"), (403, "banned"), (409, "alias_taken"))
        asked = (Field("to", required=True), Field("name"), Field("domain"), Field("address"))
        removal = ((400, "alias_inactive"), (404, "alias_not_found"), (500, "invalid_goto_on_alias"))
        outcome = (
            *((400, "invalid_token"), (400, "invalid_or_expired"), (400, "unsupported_intent"), *common),
            *((400, "alias_inactive"), (404, "alias_not_found"), (409, "alias_owner_changed")),
            (500, "confirmation_payload_missing"),
        )
        return (
            Endpoint(
                *("GET", "forward/subscribe", self.subscribe, "3.5 Ask for an alias", Subscription),
                rules=self._subscribe_rules(),
                query=asked,
                errors=(*common, (500, "server_misconfigured")),
            ),
            Endpoint(
                *("GET", "forward/unsubscribe", self.unsubscribe, "3.6 Ask for the end of an alias", Removal),
                rules=_unsubscribe_rules(),
                query=(Field("alias", required=True),),
                errors=removal,
            ),
            Endpoint(
                *("GET", "forward/confirm", self.confirm_get, "3.3 Do what a mailed code is for", Confirmed),
                rules=confirm_rules(self._story.codes),
                query=(TOKEN,),
                errors=outcome,
            ),
            Endpoint(
                *("POST", "forward/confirm", self.confirm_post, "3.7 Do what a mailed code is for", Confirmed),
                rules=confirm_rules(self._story.codes),
                body=(TOKEN,),
                errors=outcome,
            ),
        )

    async def subscribe(self, call: Call) -> Response:
        address, goto, custom = self._wish(call)
        done = await self._story.subscribe(address, goto, self._asker(call, Intent.SUBSCRIBE))
        if not isinstance(done, Asked):
            raise subscribe_problem(done, address, goto, "address" if custom else "domain")
        said = self._confirmation(done)
        return answer(
            Subscription(ok=True, action="subscribe", alias_candidate=str(address), to=str(goto), confirmation=said)
        )

    async def unsubscribe(self, call: Call) -> Response:
        address = sent_alias(call.query.get("alias"))
        done = await self._story.unsubscribe(address, self._asker(call, Intent.UNSUBSCRIBE))
        match done:
            case Refused.INACTIVE:
                raise Problem(400, "alias_inactive", alias=str(address))
            case Refused.NOWHERE:
                raise Problem(500, "invalid_goto_on_alias", alias=str(address))
            case Refused():
                raise Problem(404, "alias_not_found", alias=str(address))
        said = Removal(ok=True, action="unsubscribe", alias=str(address), sent=bool(done), ttl_minutes=self._minutes)
        return answer(said if done else {**said, "reason": "cooldown"})

    async def confirm_get(self, call: Call) -> Response:
        return await self._confirm(call, typed_code(call.query, ok=False))

    async def confirm_post(self, call: Call) -> Response:
        return await self._confirm(call, posted_code(call.body, ok=False))

    async def _confirm(self, call: Call, code: str) -> Response:
        done, pending = await self._story.confirm(code, call.origin)
        match done:
            case Subscribed():
                said = Confirmed(
                    ok=True,
                    confirmed=True,
                    intent="subscribe",
                    created=done.made,
                    address=str(done.address),
                    goto=str(done.goto),
                )
                return answer(said if done.made else {**said, "reason": "already_exists"})
            case Unsubscribed():
                return answer(
                    Confirmed(ok=True, confirmed=True, intent="unsubscribe", removed=True, address=str(done.address))
                )
        raise confirm_problem(done, pending, call.now)

    def _wish(self, call: Call) -> tuple[Address, Address, bool]:
        """The alias, its destination, and whether it came as one address. Raises Problem."""
        query, custom = call.query, "address" in call.query
        for other in ("name", "domain"):
            if custom and other in query:
                raise invalid(other, f"address_incompatible_with_{other}")
        if not names.trimmed(query.get("to")):
            raise invalid("to")
        goto = names.mailbox(query["to"])
        if goto is None:
            raise invalid("to", hint=_HINTS["to"])
        if custom:
            address = names.mailbox(query["address"])
            if address is None:
                raise invalid("address", hint=_HINTS["address"])
            check_local(address.local, "address")
            return address, goto, True
        return self._named(call), goto, False

    def _named(self, call: Call) -> Address:
        """Of a name and perhaps a domain. Raises Problem."""
        if not names.trimmed(call.query.get("name")):
            raise invalid("name")
        local = names.local_part(call.query["name"])
        if local is None:
            raise invalid("name", hint=_HINTS["name"])
        check_local(local, "name")
        sent = call.query.get("domain")
        if not names.trimmed(sent):
            domain = self._default()
        elif (found := names.mail_domain(sent)) is not None:
            domain = found
        else:
            raise invalid("domain", hint=_HINTS["domain"])
        return joined(local, domain, "name")

    def _default(self) -> str:
        if self._default_domain is None:
            raise Problem(500, "server_misconfigured", field="DEFAULT_ALIAS_DOMAIN")
        domain = names.mail_domain(self._default_domain)
        if domain is None:
            raise Problem(500, "server_misconfigured", field="domain")
        return domain

    def _asker(self, call: Call, intent: Intent) -> Asker:
        return Asker(call.client, call.user_agent, code_link(call, self._page, intent.value))

    @property
    def _minutes(self) -> int:
        return self._story.codes.terms["forward"].minutes

    def _confirmation(self, asked: Asked) -> Confirmation:
        return confirmation(asked.sent, self._minutes, asked.reason)

    def _candidate(self, call: Call) -> str:
        """The address that a wish is about, however it is spelt."""
        if "address" in call.query:
            return names.trimmed(call.query["address"])
        name = names.trimmed(call.query.get("name"))
        domain = names.trimmed(call.query.get("domain")) or self._default_domain or ""
        return f"{name}@{domain}" if name else ""

    def _subscribe_rules(self) -> tuple[Rule, ...]:
        where = "subscribe"
        return (
            Rule("fwd_cycle_ip", 10, _HOUR, by_origin, where, "too_many_forwarding_operations_ip"),
            Rule("sub_slow_ip", 10, 60, by_origin, delay_ms=250),
            Rule("sub_ip", 60, _TEN_MINUTES, by_origin, where, "too_many_requests_ip"),
            Rule("sub_to", 6, _HOUR, by_member("to"), where, "too_many_requests_to"),
            Rule("sub_alias", 20, _HOUR, self._candidate, where, "too_many_requests_alias"),
        )


def confirm_rules(codes: Codes) -> tuple[Rule, ...]:
    where = "confirm"
    return (
        Rule("fwd_cycle_ip", 10, _HOUR, by_origin, where, "too_many_forwarding_operations_ip"),
        Rule("confirm_slow_ip", 3, 60, by_origin, delay_ms=500),
        Rule("confirm_ip", 120, _TEN_MINUTES, by_origin, where, "too_many_requests_ip"),
        Rule("confirm_token", 10, _TEN_MINUTES, by_code(codes, "forward"), where, "too_many_requests_token"),
    )


def _unsubscribe_rules() -> tuple[Rule, ...]:
    where = "unsubscribe"
    return (
        Rule("unsub_slow_ip", 8, 60, by_origin, delay_ms=300),
        Rule("unsub_ip", 40, _TEN_MINUTES, by_origin, where, "too_many_requests_ip"),
        Rule("unsub_addr", 6, _HOUR, by_member("alias"), where, "too_many_requests_address"),
    )


def sent_alias(value: Value) -> Address:
    """The address whose end is asked for. Raises Problem that names the half which is wrong."""
    sent = names.trimmed(value)
    local, at, domain = sent.partition("@")
    if not local or not at or not domain or "@" in domain or len(sent) > MAX_ADDRESS_OCTETS:
        raise invalid("alias")
    if names.local_part(local) != local:
        raise invalid("alias_name")
    if names.mail_domain(domain) != domain:
        raise invalid("alias_domain")
    return Address(local, domain)
