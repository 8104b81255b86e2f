"""The story of mail that an owner writes through an alias, to a reverse address (spec section 4)."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from mailrelay import log
from mailrelay.core.address import Address, is_opaque_reverse, split_extension
from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.facts import REASON_TEXTS, Facts, Reason
from mailrelay.core.held import HeldKind
from mailrelay.core.inquiry import inquire
from mailrelay.core.judge import Deliver
from mailrelay.core.ledger import Envelope
from mailrelay.core.realm import Place
from mailrelay.core.rules.model import Flow
from mailrelay.core.sending import told
from mailrelay.core.sending.authorise import Allowed, Refusal
from mailrelay.core.sending.classify import Evidence, Owner, evidence_of
from mailrelay.core.sending.fate import Defer, Drop, Forward, Keep, at_delivery
from mailrelay.core.sending.leaks import Verdict
from mailrelay.core.verp import EmailType
from mailrelay.flows.books import Books, Done, is_settled_now
from mailrelay.flows.clearance import Clearance, Cleared
from mailrelay.flows.correspondence import Errand, Outbound
from mailrelay.flows.evidence import stopped
from mailrelay.flows.forward import UnmakeAlias
from mailrelay.flows.handover import Destination, Dispatcher, Handover
from mailrelay.flows.keeping import KeepMail, Kept, held
from mailrelay.flows.letter import Letter
from mailrelay.flows.ports import MakeAlias, Post
from mailrelay.flows.rules import Rules
from mailrelay.flows.ruling import Ruling

# Postfix gives up after five days: then it would bounce to whoever is said to have written.
_WAIT_SECONDS = 4 * 86400


class Compose(Protocol):
    """Prepares the message for the contact. Raises Unavailable."""

    async def compose(self, errand: Errand) -> Outbound: ...


class Share(Protocol):
    """As flows/sharing.py. Raises Unavailable."""

    async def __call__(self, errand: Errand, envelope: Envelope, facts: Facts) -> Handover: ...


class Unseal(Protocol):
    """The letter with what was encrypted in it for the service. Raises Unavailable."""

    async def __call__(self, letter: Letter, /) -> Letter: ...


@dataclass(frozen=True, slots=True)
class Detour:
    """It is no mail of the owner's, so it goes to the alias. rcpt: as if it had been addressed so; tagged: a warning
    goes with it.
    """

    rcpt: Address
    tagged: bool = False


@dataclass(slots=True)
class Sending:
    """Sends replies and new messages. Raises Unavailable.

    One at a time for each author, so that a message to many cannot pass a limit as many: what the limits count is only
    known once a copy is out.
    """

    rules: Rules
    books: Books
    clearance: Clearance
    make_alias: MakeAlias
    unmake_alias: UnmakeAlias
    keep: KeepMail
    composer: Compose
    dispatcher: Dispatcher
    ruling: Ruling
    share: Share
    unseal: Unseal
    post: Post
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def __call__(self, letter: Letter, rcpt: Address, place: Place) -> Done | Detour:
        """rcpt: has the form of a reverse address."""
        author = letter.author.folded if letter.author is not None else letter.mail.sender.lower()
        async with self._turns.setdefault(author, asyncio.Lock()):
            return await self._in_turn(letter, rcpt, place)

    async def _in_turn(self, letter: Letter, rcpt: Address, place: Place) -> Done | Detour:
        checked, evidence = letter.checked, _evidence(letter, rcpt)
        cleared = await self.clearance(rcpt, place, evidence, letter.mail.client)
        opaque = is_opaque_reverse(rcpt.local)
        if cleared is None:
            return await self.books.end(letter.envelope(str(rcpt)), Reason.RESERVED) if opaque else Detour(rcpt)
        stores = cleared.sending.manner.stores_failed
        waited = checked is not None and letter.now.timestamp() - checked.time >= _WAIT_SECONDS
        fate = at_delivery(evidence, cleared.decision, stores_failed=stores, waited=waited)
        envelope = self._envelope(letter, rcpt, cleared.facts)
        match fate:
            case Forward(tagged):
                return Detour(cleared.aim.alias if opaque else rcpt, tagged)
            case Defer(refusal):
                await self._tell(evidence, cleared, refusal, letter)
                reply = refusal.answer(self.rules.replies) or self.rules.replies["TEMP"]
                return self.books.wait(envelope, reply, refusal.reason)
            case Drop(refusal):
                await self._tell(evidence, cleared, refusal, letter)
                return await self.books.end(envelope, refusal.reason, ban_id=refusal.ban_id)
            case Keep(refusal):
                assert isinstance(cleared.who, Owner)  # what strangers write is not kept
                kept = await self._hold(letter, envelope, cleared.who.kind, "unauthorised", refusal.reason)
                await self._tell(evidence, cleared, refusal, letter, kept.uuid if kept is not None else None)
                return (
                    kept.done
                    if kept is not None
                    else await self.books.end(envelope, refusal.reason, ban_id=refusal.ban_id)
                )
            case Allowed():
                return await self._allowed(letter, rcpt, place, envelope, cleared, fate)

    async def _allowed(
        self, letter: Letter, rcpt: Address, place: Place, envelope: Envelope, cleared: Cleared, allowed: Allowed
    ) -> Done:
        stop = stopped(letter, cleared.facts.alias, self.rules)
        if stop is not None:
            return await self.books.end(envelope, stop)
        errand, facts = await self._errand(letter, rcpt, place, cleared, allowed)
        envelope = replace(envelope, alias_id=errand.alias.id)
        done = await self._by_rules(errand, letter, envelope, facts)
        if errand.effects.matched and is_settled_now(done):
            await self.ruling.count(errand.effects.matched)
        return done

    async def confirmed(self, letter: Letter, envelope: Envelope, rcpt: Address, place: Place) -> Handover:
        """Send a message that was held, as whoever may decide wants it now (spec section 4.3).

        Rules have had their say about whether it passes, and still have it about how it looks. Raises Conflict if it
        may not go out for another reason, and Unavailable.
        """
        cleared = await self.clearance(rcpt, place, _evidence(letter, rcpt), letter.mail.client, confirmed=True)
        decision = cleared.decision if cleared is not None else None
        if cleared is None or decision is None:
            raise Conflict("whoever wrote it is no recipient of the account")
        if not isinstance(decision, Allowed):
            raise Conflict(REASON_TEXTS[decision.reason])
        errand, _ = await self._errand(letter, rcpt, place, cleared, decision)
        return await self._dispatch(errand, envelope, await self.composer.compose(errand))

    async def _errand(
        self, letter: Letter, rcpt: Address, place: Place, cleared: Cleared, allowed: Allowed
    ) -> tuple[Errand, Facts]:
        """With the facts of the alias, which is made here if there is none, and what was encrypted for the service."""
        letter = await self.unseal(letter)
        facts = await self._create(letter, rcpt, place, cleared) if allowed.creates else cleared.facts
        if facts.alias is None:
            raise Unavailable("the alias was not there after it had been made")
        flow: Flow = "R" if allowed.kind is EmailType.REPLY else "S"
        speaker = str(allowed.mailbox.address)
        account_id = cleared.sending.account_id
        effects = await self.ruling.ask(account_id, flow, letter.message, speaker, cleared.aim.alias, facts.alias)
        address, contact = cleared.aim.alias, cleared.contact
        return Errand(letter, place, facts.alias, address, contact, cleared.sending, allowed, effects), facts

    async def _by_rules(self, errand: Errand, letter: Letter, envelope: Envelope, facts: Facts) -> Done:
        """letter: as it came, for what is held."""
        kind, effects = errand.allowed.kind, errand.effects
        if effects.block is not None:
            if errand.allowed.creates:
                await self.unmake_alias(errand.alias.id)
                envelope = replace(envelope, alias_id=None)
            return await self.books.end(envelope, Reason.RULE)
        if effects.quarantine is not None:
            kept = await self._hold(letter, envelope, kind, "quarantined", Reason.RULE_QUARANTINE)
            if kept is not None:
                return kept.done
        outbound = await self.composer.compose(errand)
        if outbound.verdict is Verdict.REFUSE:
            kept = await self._hold(letter, envelope, kind, "held", Reason.LEAK)
            if kept is None:
                # Its author is proved, so that Postfix may return it to him in the end.
                return self.books.wait(envelope, self.rules.replies["TEMP"], Reason.LEAK)
            await self._warn(errand, outbound, kept.uuid)
            return kept.done
        await self._warn(errand, outbound, None)
        handover = await self._dispatch(errand, envelope, outbound)
        if handover.done and handover.failed is None and errand.sending.manner.notify_co_recipients:
            shared = await self.share(errand, envelope, facts)
            handover = replace(handover, done=shared.done)
        return self.books.handed(envelope, handover)

    async def _dispatch(self, errand: Errand, envelope: Envelope, outbound: Outbound) -> Handover:
        destination = Destination(errand.allowed.mailbox.id, errand.contact)
        return await self.dispatcher.dispatch(errand.letter, envelope, outbound, [destination], "", outbound.sent)

    async def _tell(
        self, evidence: Evidence, cleared: Cleared, refusal: Refusal, letter: Letter, kept: UUID | None = None
    ) -> None:
        account_id = cleared.sending.account_id
        notice = told.of_refusal(refusal, evidence, cleared.aim, account_id, cleared.who, letter.now, kept)
        if notice is not None:
            await self.post(notice)

    async def _warn(self, errand: Errand, outbound: Outbound, kept: UUID | None) -> None:
        leaks = outbound.leaks if outbound.verdict is not Verdict.SEND else ()
        if leaks:
            places = sorted({leak.place.value for leak in leaks})
            log.logger().warning("recipient.leak", alias=errand.alias.id, places=places)
        account_id, mailbox = errand.sending.account_id, errand.allowed.mailbox
        notice = told.of_leaks(leaks, outbound.exposed, errand.address, account_id, mailbox.id, kept)
        if notice is not None:
            await self.post(notice)

    async def _create(self, letter: Letter, rcpt: Address, place: Place, cleared: Cleared) -> Facts:
        """The alias that an owner writes from first (spec section 4.11)."""
        facts, around = cleared.facts, self.rules.around
        assert facts.account is not None  # authorise has seen to both
        assert facts.parent is not None
        author = str(letter.author) if letter.author is not None else ""
        inquiry = inquire(cleared.aim.alias, place, letter.mail.sender, author, letter.mail.client, around.organisation)
        verdict = Deliver(facts.account, None, facts.parent, (), by_owner=True)
        await self.make_alias(inquiry, verdict, split_extension(rcpt.local)[1])
        return await self.clearance.read_facts(inquiry)

    async def _hold(
        self, letter: Letter, envelope: Envelope, kind: EmailType, how: HeldKind, reason: Reason
    ) -> Kept | None:
        """None: there is no room."""
        bounce_type: Literal["rule"] | None = "rule" if reason is Reason.RULE_QUARANTINE else None
        identity = self.rules.identity
        return await held(self.keep, identity, letter, envelope, how, reason, type=kind, bounce_type=bounce_type)

    @staticmethod
    def _envelope(letter: Letter, rcpt: Address, facts: Facts) -> Envelope:
        account_id = facts.account.id if facts.account is not None else None
        alias_id = facts.alias.id if facts.alias is not None else None
        # What is sent does not come in: it counts against no loop.
        return replace(letter.envelope(str(rcpt), account_id, alias_id), fingerprint=None)


def _evidence(letter: Letter, rcpt: Address) -> Evidence:
    checked = letter.checked
    route = checked.route if checked is not None else "smtp"
    findings = checked.findings if checked is not None else None
    return evidence_of(letter.message, rcpt, letter.author, letter.mail.sender, route, findings)
