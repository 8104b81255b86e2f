"""Says what would become of a message, check by check, without carrying anything out."""

from dataclasses import dataclass

from mailrelay.core.address import Address, BadAddress, classify, parse_address, split_extension
from mailrelay.core.facts import REASON_TEXTS, Facts
from mailrelay.core.header import split
from mailrelay.core.judge import Deliver, Deny, Drop, judge
from mailrelay.core.ledger import OutboundId
from mailrelay.core.realm import Custom, Nested, Place, ServiceDomain, Shared, Subdomain
from mailrelay.core.receive import dead_end, structural_refusal
from mailrelay.core.screen import Accept, AskAlias, AskOutbound, RcptRequest, Refusal, is_operator, question, screen
from mailrelay.flows.ports import Clock, LedgerPort, ReadFacts
from mailrelay.flows.rules import Rules

Step = tuple[str, str]  # what was looked at, what was found


@dataclass(slots=True)
class Explanation:
    """Asks the same functions as the real path, so that it cannot say anything else."""

    rules: Rules
    read_facts: ReadFacts
    ledger: LedgerPort
    clock: Clock

    async def explain(self, request: RcptRequest, content: bytes | None) -> list[Step]:
        """The steps for one recipient. content: the message with CRLF line ends, None if only addresses are known."""
        place = self.rules.around.realm.locate_text(request.rcpt.rpartition("@")[2])
        steps = [("domain", _place_text(place))]
        if place is None:
            return [*steps, ("at RCPT", "left to Postfix")]
        try:
            rcpt = parse_address(request.rcpt)
        except BadAddress as error:
            return [*steps, ("address", str(error)), ("at RCPT", str(self.rules.replies[error.fault.value]))]
        steps.append(("address", _address_text(rcpt)))
        screened = screen(request, self.rules.around, self.clock())
        match screened:
            case Refusal():
                steps.append(("at RCPT", f"{self.rules.replies[screened.reply]}: {REASON_TEXTS[screened.reason]}"))
            case AskOutbound(outbound_id):
                steps += await self._return_path(OutboundId(outbound_id))
            case Accept():
                steps.append(("at RCPT", "accepted"))
                steps += self._to_operator(rcpt, place)
            case AskAlias():
                steps += await self._alias(request, rcpt, place, screened, content)
        return steps

    async def _return_path(self, outbound_id: OutboundId) -> list[Step]:
        if await self.ledger.is_outbound(outbound_id):
            return [
                ("return path", f"of copy {outbound_id:016x}"),
                ("at RCPT", "accepted"),
                ("then", "bounce recorded"),
            ]
        return [("return path", "genuine, but its copy is no longer recorded"), ("at RCPT", self._reply("UNKNOWN"))]

    def _to_operator(self, rcpt: Address, place: Place) -> list[Step]:
        if not is_operator(rcpt, place):
            return []
        return [("then", "to the operator: " + ", ".join(map(str, self.rules.identity.operator)))]

    async def _alias(
        self, request: RcptRequest, rcpt: Address, place: Place, asked: AskAlias, content: bytes | None
    ) -> list[Step]:
        facts = await self.read_facts(asked.inquiry)
        now = self.clock()
        steps = _facts_steps(facts)
        verdict = judge(asked.question, facts, self.rules.limits, now)
        match verdict:
            case Deny():
                return [*steps, ("at RCPT", f"{self._reply(verdict.reply)}: {REASON_TEXTS[verdict.reason]}")]
            case Drop() | Deliver():
                steps.append(("at RCPT", "accepted"))
        if content is not None:
            steps += self._message(content, request, facts)
        delivered = judge(question(rcpt, place, honour_reverse=False), facts, self.rules.limits, now)
        return [*steps, *self._outcome(delivered)]

    def _message(self, content: bytes, request: RcptRequest, facts: Facts) -> list[Step]:
        refusal = structural_refusal(content, self.rules.message_octets, self.rules.replies)
        if refusal is not None:
            return [("message", str(refusal))]
        if facts.alias is None:
            return [("message", f"{len(content)} octets")]
        loop_name = f"{self.rules.identity.header_prefix}loop".lower().encode("ascii")
        keys = self.rules.around.keys.loop
        reason = dead_end(split(content), request.sender, facts.alias.uuid, keys, loop_name)
        return [("message", f"{len(content)} octets, {REASON_TEXTS[reason] if reason else 'no loop'}")]

    def _outcome(self, verdict: Deliver | Drop | Deny) -> list[Step]:
        match verdict:
            case Drop(reason):
                return [("delivery", f"taken and dropped: {REASON_TEXTS[reason]}")]
            case Deny():
                reply = self.rules.replies[verdict.reply]
                ends = "deferred" if reply.temporary else "taken and dropped"
                return [("delivery", f"{ends}: {REASON_TEXTS[verdict.reason]}")]
            case Deliver():
                made = [] if verdict.alias is not None else [("alias", "is made by this message")]
                copies = [("copy to", f"{target.address}, transparent") for target in verdict.targets]
                return [*made, *copies]

    def _reply(self, key: str) -> str:
        return str(self.rules.replies[key])


def _place_text(place: Place | None) -> str:
    match place:
        case None:
            return "not served here"
        case Shared(domain):
            return f"{domain}, shared"
        case Subdomain(label, shared):
            return f"{shared}, shared, below username {label}"
        case Nested(shared):
            return f"more than one label below {shared}: nobody lives there"
        case Custom(domain):
            return f"{domain}, an account's own"
        case ServiceDomain(domain):
            return f"{domain}, the service's own"


def _address_text(rcpt: Address) -> str:
    base, extension = split_extension(rcpt.local)
    if not extension:
        return f"{base}@{rcpt.domain}"
    return f"{base}@{rcpt.domain}, extension {type(classify(extension)).__name__} {extension}"


def _facts_steps(facts: Facts) -> list[Step]:
    alias, parent, account = facts.alias, facts.parent, facts.account
    steps = [("alias", f"{alias.state}, {alias.uuid}" if alias is not None else "none")]
    if parent is not None:
        state = "off" if parent.off else "active" if parent.active else "inactive"
        creates = "catch-all" if parent.catch_all else parent.auto_create_regex or "creates nothing"
        steps.append(("parent", f"{parent.kind.value}, {state}, {creates}"))
    if account is not None:
        steps.append(("account", f"{account.id}, {account.state}"))
        steps.append(("used", f"{facts.usage.messages} messages this hour, {facts.usage.octets} octets this month"))
    if facts.blocked_by is not None:
        steps.append(("block list", f"entry {facts.blocked_by} matches the sender"))
    return steps
