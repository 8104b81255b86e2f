"""The story of a delivery that leaves no trace: the real decisions, with ports that look and do nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.background import Background, BackgroundInquiry
from mailrelay.core.bounce import Complaint
from mailrelay.core.bounced import Bounced, Recorded
from mailrelay.core.certificate import Unusable
from mailrelay.core.complaints import Handled
from mailrelay.core.context import Wanted
from mailrelay.core.facts import AccountId, Alias, AliasId, Facts, Reason, RecipientId, Target
from mailrelay.core.held import Held, Hold
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.judge import Deliver
from mailrelay.core.ledger import Closing, Ending, Envelope, Opened, Opening, OutboundCopy, OutboundId, Tally
from mailrelay.core.locks import Lock
from mailrelay.core.mode import Choice, Evidence, Why, configured
from mailrelay.core.notices import Notice
from mailrelay.core.plan import Copy, Handed, Mail
from mailrelay.core.realm import Place
from mailrelay.core.receivers import Receiver
from mailrelay.core.reply import Reply
from mailrelay.core.rules.model import Book, Flow, RuleId, Tested
from mailrelay.core.unsubscribe import is_unsubscribe
from mailrelay.flows.books import Books, Done
from mailrelay.flows.clearance import Clearance
from mailrelay.flows.correspondence import Correspondence, Errand, Outbound
from mailrelay.flows.deliver import Delivery
from mailrelay.flows.drafts import Chosen, Composer, SigningKeys, Untouched
from mailrelay.flows.forward import Forwarding
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.letter import Letter
from mailrelay.flows.order import Order
from mailrelay.flows.ports import Clock, LedgerPort, ReadBackground, ReadFacts, ReadReport
from mailrelay.flows.returned import ReadArrival, ReadComplaint, ReturnPaths
from mailrelay.flows.rules import Rules
from mailrelay.flows.ruling import Ruling
from mailrelay.flows.secondtry import ReadReturned, SecondTry
from mailrelay.flows.sending import Sending, Unseal
from mailrelay.flows.sharing import Sharing
from mailrelay.flows.srsbounce import ReadUndelivered, SrsBounces
from mailrelay.flows.technical import TechnicalMail

_NEWCOMER = AliasId(0)  # no row has it


@dataclass(slots=True)
class Traces:
    """What would have been done. made: the alias that the mail would make; order: None for the operator's mail."""

    made: Alias | None = None
    background: Background | None = None
    order: Order | None = None
    errand: Errand | None = None  # of a reply or send
    choices: dict[str, tuple[Choice, Evidence]] = field(default_factory=dict)  # by destination
    copies: list[Copy] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    held: Hold | None = None
    asked: tuple[Book, Flow, Tested] | None = None  # what rules, and about what
    chosen: Sequence[Target] = ()  # whom rules name for copies
    bounced: OutboundId | None = None

    @property
    def reason(self) -> Reason | None:
        """Why there is no copy, or one fewer."""
        if self.held is not None:
            return self.held.reason
        reasons = [*(ending.reason for ending in self.endings), *(closing.reason for closing in self.closings)]
        return next((reason for reason in reasons if reason is not None), None)


async def imagined_reverse(wanted: Sequence[Wanted]) -> list[Address]:
    """Opaque reverse addresses as they would be made."""
    return [Address(f"r-{one.letters}", one.domain) for one in wanted]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Delivers without delivering.

    read_newcomer: the background of an alias that is not there yet; ledger: is asked for return paths only. composer:
    one that makes no reverse addresses either. random: unpredictable octets.
    """

    rules: Rules
    read_facts: ReadFacts
    read_background: ReadBackground
    read_newcomer: ReadBackground
    ruling: Ruling
    clearance: Clearance
    correspondence: Correspondence
    ledger: LedgerPort
    composer: Composer
    signing_keys: SigningKeys
    unseal: Unseal
    read_report: ReadReport
    read_arrival: ReadArrival
    read_complaint: ReadComplaint
    read_undelivered: ReadUndelivered
    read_returned: ReadReturned
    random: Callable[[int], bytes]
    clock: Clock

    async def __call__(self, mail: Mail) -> tuple[Reply, Traces]:
        """What Postfix would hear for the one recipient, and what would be done. Never raises but for our bugs."""
        stage = _Stage(self, Traces(), self.random(16))
        dispatcher = Dispatcher(stage, stage.submit, lambda: int.from_bytes(self.random(8), "big"))
        books = Books(self.rules, stage)
        technical = self._technical(stage, books, dispatcher)
        sort = replace(self.composer.sealing, give_up=stage.give_up).sort
        ruling = replace(
            self.ruling, read_targets=stage.read_targets, count=stage.count_rules, listen=stage.rules_asked
        )
        sending = Sending(
            self.rules,
            books,
            replace(self.clearance, read_facts=stage.read_facts),
            stage.make_alias,
            stage.unmake_alias,
            stage.keep,
            stage,
            dispatcher,
            ruling,
            Sharing(self.rules, stage.read_background, stage, dispatcher, sort, stage.post),
            self.unseal,
            stage.post,
        )
        forwarding = Forwarding(
            self.rules,
            books,
            stage.read_background,
            stage.keep,
            stage,
            dispatcher,
            ruling,
            stage.unmake_alias,
            self.correspondence.answers_contact,
            stage,
            sort,
            stage.post,
        )
        delivery = Delivery(
            self.rules, books, stage.read_facts, stage.make_alias, technical, sending, forwarding, self.clock
        )
        (reply,) = await delivery(mail)
        return reply, stage.traces

    def _technical(self, stage: "_Stage", books: Books, dispatcher: Dispatcher) -> TechnicalMail:
        srs_bounces = SrsBounces(
            self.rules,
            stage,
            self.read_facts,
            self.read_report,
            self.read_undelivered,
            stage.take_report,
            self.signing_keys,
            dispatcher,
            self.random,
        )
        second_try = SecondTry(
            self.rules,
            stage.read_facts,
            stage.read_background,
            stage.note,
            self.read_returned,
            self.signing_keys,
            stage,
            dispatcher,
            replace(self.composer.sealing, give_up=stage.give_up).sort,
        )

        async def unsubscribe(letter: Letter, rcpt: Address, place: Place) -> Done | None:
            wanted = is_unsubscribe(place)
            return await books.end(letter.envelope(str(rcpt)), Reason.UNSUBSCRIBE) if wanted else None

        return_paths = ReturnPaths(
            self.rules,
            books,
            self.read_arrival,
            self.read_complaint,
            stage.record,
            stage.take_spooled,
            stage.drop_spooled,
            second_try,
            stage.complain,
            stage.post,
        )
        return TechnicalMail(
            self.rules,
            books,
            stage,
            dispatcher,
            return_paths,
            srs_bounces,
            unsubscribe,
            stage.find_recipient,
            stage.post,
        )


@dataclass(slots=True)
class _Stage:
    """Ledger, store, composer and listener of one rehearsal. uuid: of an alias that is made."""

    rehearsal: Rehearsal
    traces: Traces
    uuid: bytes
    _attached: Deliver | None = None

    # -- store -----------------------------------------------------------------------------------------------------

    async def read_facts(self, inquiry: Inquiry) -> Facts:
        facts = await self.rehearsal.read_facts(inquiry)
        if self._attached is None:
            return facts
        return replace(facts, alias=self.traces.made, attached=self._attached.attach, keyed=())

    async def make_alias(self, inquiry: Inquiry, verdict: Deliver, extension: str | None) -> None:
        self._attached = verdict
        self.traces.made = Alias(_NEWCOMER, UUID(bytes=self.uuid, version=4), "active", None, None, None, None, 0, None)

    async def read_background(self, inquiry: BackgroundInquiry, /) -> Background:
        rehearsal = self.rehearsal
        read = rehearsal.read_background if self._attached is None else rehearsal.read_newcomer
        self.traces.background = await read(inquiry)
        return self.traces.background

    async def keep(self, hold: Hold) -> Held:
        self.traces.held = hold
        return Held(None, stored=False)

    async def take_report(self, sender: str) -> bool:
        return True

    async def note(self, receiver: str, refused_at: datetime, now: datetime, /) -> Receiver:
        return Receiver((refused_at,))

    def rules_asked(self, book: Book, flow: Flow, tested: Tested, /) -> None:
        self.traces.asked = book, flow, tested

    async def read_targets(self, account_id: AccountId, uuids: Sequence[UUID], /) -> Sequence[Target]:
        self.traces.chosen = await self.rehearsal.ruling.read_targets(account_id, uuids)
        return self.traces.chosen

    async def count_rules(self, matched: Sequence[RuleId]) -> None: ...

    async def unmake_alias(self, alias_id: AliasId) -> None: ...

    async def post(self, notice: Notice, /) -> None: ...

    async def give_up(self, lock: Lock, why: Unusable, /) -> None: ...

    async def find_recipient(self, address: Address, /) -> None:
        return None

    async def take_probe(self, recipient_id: RecipientId, /) -> bool:
        return True

    async def spared(self, recipients: Sequence[RecipientId], /) -> bool:
        return False

    async def record(self, bounce: Bounced, /) -> Recorded:
        self.traces.bounced = bounce.copy.id
        return Recorded(first=True, failed_id=None)

    async def take_spooled(self, outbound_id: OutboundId, /) -> None:
        return None

    async def drop_spooled(self, ids: Sequence[OutboundId], /) -> None:
        pass

    async def complain(self, letter: Letter, complaint: Complaint, copy: OutboundCopy | None, /) -> Handled | None:
        return Handled() if copy is not None else None

    # -- ledger ----------------------------------------------------------------------------------------------------

    async def open(self, opening: Opening) -> Opened:
        return Opened(opening.outbound_id, None)

    async def close(self, closings: Sequence[Closing], tally: Tally | None) -> None:
        self.traces.closings += closings

    async def end(self, ending: Ending) -> None:
        self.traces.endings.append(ending)

    async def bounced(self, outbound_id: OutboundId, status: str, text: str) -> None:
        self.traces.bounced = outbound_id

    async def outbound(self, outbound_id: OutboundId) -> OutboundCopy | None:
        return await self.rehearsal.ledger.outbound(outbound_id)

    # -- copies ----------------------------------------------------------------------------------------------------

    def for_operator(self, letter: Letter, envelope: Envelope) -> Untouched:
        return self.rehearsal.composer.for_operator(letter, envelope)

    async def draft(self, order: Order, destinations: Sequence[Address], locks: Mapping[str, Lock]) -> Chosen:
        composer, rules = self.rehearsal.composer, self.rehearsal.rules
        explicit = configured(order.facts, rules.identity.forward_mode) == "transparent"
        self.traces.order = order
        for one in destinations:
            evidence = composer.evidence(order, one.domain, explicit=explicit)
            encrypted = one.folded in locks
            choice = Choice("rewrite", (Why.ENCRYPTION,)) if encrypted else composer.choose(order, one.domain)
            self.traces.choices[str(one)] = choice, evidence
        return await composer.draft(order, destinations, locks)

    async def compose(self, errand: Errand) -> Outbound:
        self.traces.errand = errand
        return await self.rehearsal.correspondence.compose(errand)

    async def submit(self, copy: Copy) -> Handed:
        self.traces.copies.append(copy)
        return Handed("")
