"""Says what would become of a message, check by check, without carrying anything out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import assert_never

from mailrelay.core import ingress, loopguard
from mailrelay.core.address import Address, BadAddress, parse_address
from mailrelay.core.automatic import is_automatic, is_report
from mailrelay.core.destinations import deliverable
from mailrelay.core.eom import Refuse
from mailrelay.core.explained import (
    Explained,
    ExplainedCopy,
    Step,
    address_text,
    errand_text,
    facts_steps,
    findings_steps,
    place_text,
    reason_texts,
    setting_step,
)
from mailrelay.core.facts import REASON_TEXTS, Facts, Reason, Target
from mailrelay.core.header import Message, split
from mailrelay.core.headerdiff import compare
from mailrelay.core.ingress import Ingress
from mailrelay.core.judge import Deliver, Deny, Drop, Question, Verdict, choose_targets, judge
from mailrelay.core.ledger import OutboundId
from mailrelay.core.mode import configured
from mailrelay.core.plan import Copy, Mail
from mailrelay.core.realm import Place
from mailrelay.core.receive import MAX_HOPS
from mailrelay.core.reply import Reply
from mailrelay.core.rules import telling
from mailrelay.core.rules.evaluate import tried
from mailrelay.core.rules.model import Book, Flow, Tested
from mailrelay.core.screen import (
    Accept,
    AskAlias,
    AskOutbound,
    AskReverse,
    RcptRequest,
    Refusal,
    is_operator,
    question,
    screen,
)
from mailrelay.core.selfmail import NewMessageId, Normal, ToOthers, self_mail
from mailrelay.flows.evidence import is_bare, read_ingress
from mailrelay.flows.examine import Changes, Examination
from mailrelay.flows.order import Order
from mailrelay.flows.ports import Clock, LedgerPort, ReadFacts
from mailrelay.flows.recipients import Arrival
from mailrelay.flows.rehearse import Rehearsal, Traces
from mailrelay.flows.rules import Rules
from mailrelay.flows.ruling import by_envelope


@dataclass(frozen=True, slots=True)
class Explanation:
    """Asks the same functions as the real path, so that it cannot say anything else."""

    rules: Rules
    read_facts: ReadFacts
    ledger: LedgerPort
    examination: Examination
    rehearsal: Rehearsal
    clock: Clock

    async def explain(self, request: RcptRequest, content: bytes | None, helo: str = "") -> Explained:
        """The checks for one recipient. content: the message with CRLF line ends, None if only addresses are known.

        Raises Unavailable if the database does not answer.
        """
        place = self.rules.around.realm.locate_text(request.rcpt.rpartition("@")[2])
        steps: list[Step] = [("domain", place_text(place))]
        if place is None:
            return Explained((*steps, ("at RCPT", "left to Postfix")))
        try:
            rcpt = parse_address(request.rcpt)
        except BadAddress as error:
            reply = self.rules.replies[error.fault.value]
            return Explained((*steps, ("address", str(error)), ("at RCPT", str(reply))))
        steps.append(("address", address_text(rcpt)))
        screened = screen(request, self.rules.around, self.clock())
        facts: Facts | None = None
        match screened:
            case Refusal():
                refusal = f"{self.rules.replies[screened.reply]}: {REASON_TEXTS[screened.reason]}"
                return Explained((*steps, ("at RCPT", refusal)))
            case AskOutbound(outbound_id):
                accepted, found = await self._return_path(OutboundId(outbound_id))
            case Accept():
                accepted, found = True, self._accepted(rcpt, place, with_message=content is not None)
            case AskReverse():
                accepted, found = True, [("at RCPT", "accepted if the reverse address was made for somebody")]
            case AskAlias():
                facts = await self.read_facts(screened.inquiry)
                accepted, found = self._at_rcpt(screened, facts)
            case _:
                assert_never(screened)
        steps += found
        if not accepted or (content is None and facts is None):
            return Explained(tuple(steps))
        if content is None:
            assert facts is not None
            return Explained((*steps, *await self._expected(request, rcpt, place, facts)))
        return await self._message(steps, request, content, helo)

    # --- at RCPT ---------------------------------------------------------------------------------------------------

    async def _return_path(self, outbound_id: OutboundId) -> tuple[bool, list[Step]]:
        if await self.ledger.outbound(outbound_id) is not None:
            steps = [("return path", f"of copy {outbound_id:016x}"), ("at RCPT", "accepted")]
            return True, [*steps, ("then", "what a report says is recorded on the copy")]
        unknown = str(self.rules.replies["UNKNOWN"])
        return False, [("return path", "genuine, but its copy is no longer recorded"), ("at RCPT", unknown)]

    def _accepted(self, rcpt: Address, place: Place, *, with_message: bool) -> list[Step]:
        steps = [("at RCPT", "accepted")]
        if is_operator(rcpt, place) and not with_message:
            steps.append(("then", "to the operator: " + ", ".join(map(str, self.rules.identity.operator))))
        return steps

    def _at_rcpt(self, asked: AskAlias, facts: Facts) -> tuple[bool, list[Step]]:
        steps = [*facts_steps(facts)]
        verdict = self._judged(asked.question, facts)
        if isinstance(verdict, Deny):
            reply = f"{self.rules.replies[verdict.reply]}: {REASON_TEXTS[verdict.reason]}"
            by = "" if verdict.ban_id is None else f" (ban {verdict.ban_id})"
            return False, [*steps, ("at RCPT", f"{reply}{by}")]
        return True, [*steps, ("at RCPT", "accepted"), setting_step(facts, self.rules.identity.forward_mode)]

    def _judged(self, asked: Question, facts: Facts) -> Verdict:
        around, now = self.rules.around, self.clock()
        verdict = judge(asked, facts, self.rules.limits, now)
        if asked.reverse:
            return loopguard.within_reach(verdict, around.realm)
        return deliverable(verdict, around.realm, around.bans, now)

    async def _expected(self, request: RcptRequest, rcpt: Address, place: Place, facts: Facts) -> list[Step]:
        """What is known of delivery without a message."""
        verdict = self._judged(question(rcpt, place, honour_reverse=False), facts)
        match verdict:
            case Drop(reason):
                return [("delivery", f"taken and dropped: {REASON_TEXTS[reason]}")]
            case Deny():
                ends = "waits" if self.rules.replies[verdict.reply].temporary else "taken and dropped"
                return [("delivery", f"{ends}: {REASON_TEXTS[verdict.reason]}")]
            case Deliver():
                made = [] if verdict.alias is not None else [("alias", "is made by the first message")]
                mode = configured(facts, self.rules.identity.forward_mode)
                targets = loopguard.elsewhere(verdict.targets, self.rules.around.realm)
                copies = [("copy to", f"{target.address}, {mode}") for target in targets]
                return [*made, *await self._by_envelope(request, rcpt, verdict), *copies]
        assert_never(verdict)

    async def _by_envelope(self, request: RcptRequest, rcpt: Address, verdict: Deliver) -> list[Step]:
        """What rules say as far as that can be told without the message."""
        book = await self.rehearsal.ruling.read_book(verdict.account.id)
        description = verdict.alias.description if verdict.alias is not None else ""
        found = list(telling.asked(book, "F", by_envelope(book, "F", request.sender, rcpt, description)))
        note = "asked about the envelope's sender and no subject: the message may name another author"
        return [("rules", note), *found] if found else []

    # --- the message -----------------------------------------------------------------------------------------------

    async def _message(self, steps: list[Step], request: RcptRequest, content: bytes, helo: str) -> Explained:
        message = split(content)
        prefix = self.rules.identity.header_prefix
        marks = message.count(f"{prefix}loop".lower().encode("ascii"))
        written = "by a machine" if is_automatic(message, request.sender) else "by a person, as it seems"
        steps += [
            ("message", f"{len(content)} octets, {len(message.fields)} fields, "
             f"{written}{', a report' if is_report(message) else ''}"),
            ("loops", f"{message.count(b'received')} of {MAX_HOPS} hops, {marks} marks of aliases"),
        ]  # fmt: skip
        checked = self._checked(message)
        if isinstance(checked, Ingress):
            at = datetime.fromtimestamp(checked.time, UTC).isoformat().replace("+00:00", "Z")
            steps += [("evidence", f"found {at}, as the message says"), *findings_steps(checked.findings)]
        else:
            refused, content = await self._examine(steps, request, content, helo)
            if refused:
                return Explained(tuple(steps))
        mail = Mail("", request.sender, (request.rcpt,), content, request.client, not request.sender.isascii())
        reply, traces = await self.rehearsal(mail)
        steps += self._delivered(reply, traces)
        return Explained(tuple(steps), tuple(_copy(message, copy, traces) for copy in traces.copies))

    def _checked(self, message: Message) -> Ingress | ingress.Invalid:
        return read_ingress(message, self.rules, self.clock())

    async def _examine(self, steps: list[Step], request: RcptRequest, content: bytes, helo: str) -> tuple[bool, bytes]:
        """As the milter does: True if the message ends there, else as delivery sees it. Adds to the steps."""
        message = split(content)
        arrival = _arrival(request, message, helo)
        asked: list[tuple[Book, Flow, Tested]] = []
        recipients = self.examination.recipients
        ruling = replace(recipients.ruling, listen=lambda *what: asked.append(what))
        listening = replace(self.examination, recipients=replace(recipients, ruling=ruling))
        found = await listening.inspect(arrival)
        client = f"as from {request.client}" if request.client else "from nobody in particular, so without SPF"
        author = str(found.author) if found.author is not None else "no single one can be read"
        score = self.examination.score(arrival)
        steps += [
            ("evidence", f"found now, {client}"),
            ("author", author),
            *findings_steps(found.content.findings),
            ("spam filter", "has not looked" if score is None else f"{score:g}, that is: {found.content.spam}"),
        ]
        if found.content.arc_override:
            steps.append(("trusted chain", "vouches for it"))
        fate = found.fates[0]
        if isinstance(fate, Refuse):
            if fate.reason is Reason.RULE:
                steps += _rules(*asked[-1])
            why = f": {REASON_TEXTS[fate.reason]}" if fate.reason is not None else ""
            steps.append(("at end of message", f"{fate.reply}{why}"))
            return True, content
        steps.append(("at end of message", "accepted"))
        if not self.rules.checks.required:
            steps.append(("milter", "is switched off, so delivery knows none of this"))
            return False, content
        return False, _changed(message, self.examination.changes(arrival, found))

    def _delivered(self, reply: Reply, traces: Traces) -> list[Step]:
        """What the delivery looked at and came to."""
        steps: list[Step] = []
        if traces.made is not None:
            steps.append(("alias", "is made by this message"))
        if traces.background is not None:
            steps.append(("been here", f"{traces.background.arrivals} times within {loopguard.WITHIN.days} day"))
        if traces.asked is not None:
            steps += _rules(*traces.asked)
        chosen = [target for target in traces.chosen if target.verified]
        if traces.chosen:
            named = ", ".join(str(target.address) for target in chosen)
            steps.append(("recipients", named or "the alias' own: whom rules name is not verified"))
        if traces.errand is not None:
            steps.append(("contact", str(traces.errand.contact)))
        if traces.order is not None:
            steps += self._order(traces.order, chosen or choose_targets(traces.order.facts))
        reason = f": {REASON_TEXTS[traces.reason]}" if traces.reason is not None else ""
        if reply.code != 250:
            outcome = f"{'waits' if reply.temporary else 'refused'}: {reply}{reason}"
        elif traces.held is not None:
            outcome = f"{traces.held.kind}, until its owner decides{reason}"
        elif traces.copies:
            count = len(traces.copies)
            outcome = f"{count} {'copy' if count == 1 else 'copies'}{reason and ', others fail'}{reason}"
        else:
            outcome = f"{'failed' if traces.closings else 'taken and dropped'}{reason}"
        return [*steps, ("delivery", outcome)]

    def _order(self, order: Order, targets: Sequence[Target]) -> list[Step]:
        kept = loopguard.elsewhere(targets, self.rules.around.realm)
        steps = [("skipped", f"{one.address}: its domain is ours") for one in targets if one not in kept]
        steps.append(("verdict", f"the reader is warned: {order.warning}" if order.warning else "nothing against it"))
        return [*steps, ("self-mail", _self_text(order, kept))]


def _rules(book: Book, flow: Flow, tested: Tested) -> Iterator[Step]:
    return telling.asked(book, flow, tried(book, flow, tested))


def _self_text(order: Order, targets: Sequence[Target]) -> str:
    letter = order.letter
    authenticated = letter.checked is not None and letter.checked.findings.author_authenticated
    found = self_mail(letter.author, targets, authenticated=authenticated, bare=is_bare(order.rcpt))
    match found:
        case Normal():
            return "no"
        case ToOthers():
            return "the author gets no copy"
        case NewMessageId():
            return "the author is the only recipient, so the copy gets a Message-ID of its own"
    assert_never(found)


def _copy(message: Message, copy: Copy, traces: Traces) -> ExplainedCopy:
    made = split(b"".join(copy.content))
    body = "unchanged" if made.body == message.body else f"changed: {len(message.body)} to {len(made.body)} octets"
    header = compare(message.fields, made.fields)
    if traces.errand is not None:
        return ExplainedCopy(copy.rcpt, copy.sender, "rewrite", (errand_text(traces.errand.allowed),), header, body)
    if traces.order is None:
        # The operator's mail stays as it is; reports to SRS addresses are answered by one of our own.
        if copy.sender:
            return ExplainedCopy(copy.rcpt, copy.sender, "transparent", (), header, body)
        return ExplainedCopy(copy.rcpt, copy.sender, "rewrite", ("a report of our own",), header, body)
    choice, evidence = traces.choices[copy.rcpt]
    reasons = tuple(reason_texts(choice, evidence))
    return ExplainedCopy(copy.rcpt, copy.sender, choice.mode, reasons, header, body)


def _arrival(request: RcptRequest, message: Message, helo: str) -> Arrival:
    """The message as a milter would see it."""
    header = []
    for one in message.fields:
        name, colon, value = one.raw.partition(b":")
        if colon and one.name:
            text = value.replace(b"\r\n", b"\n").removesuffix(b"\n")
            header.append((name.rstrip(b" \t").decode("ascii", "replace"), text))
    content = message.content
    return Arrival(
        queue_id="",
        client=request.client,
        helo=helo,
        sender=request.sender,
        rcpts=(request.rcpt,),
        login="",
        is_local=False,
        header=tuple(header),
        content=content,
        size_octets=len(content),
    )


def _changed(message: Message, changes: Changes) -> bytes:
    """The message with the milter's changes."""
    removed = {(name.lower().encode("ascii"), number) for name, number in changes.remove}
    seen: dict[bytes, int] = {}
    kept = []
    for one in message.fields:
        seen[one.name] = seen.get(one.name, 0) + 1
        if (one.name, seen[one.name]) not in removed:
            kept.append(one.raw)
    added = [b"%b: %b\r\n" % (name.encode("ascii"), value.lstrip(b" ")) for name, value in reversed(changes.add)]
    return b"".join((*added, *kept, message.content[message.header_end :]))
