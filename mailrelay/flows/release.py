"""The story of a held message that is released: its copies are made after all, once (spec sections 3.14 and 7.6)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from mailrelay import log
from mailrelay.core import loopguard
from mailrelay.core.address import Address, BadAddress, parse_address
from mailrelay.core.background import BackgroundInquiry
from mailrelay.core.banner import Danger
from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.facts import AccountId, Alias, Facts, Reason, Target
from mailrelay.core.held import HeldId, HeldMessage
from mailrelay.core.inquiry import inquire
from mailrelay.core.judge import choose_targets
from mailrelay.core.ledger import Envelope
from mailrelay.core.plan import Mail
from mailrelay.core.realm import Place
from mailrelay.core.verp import EmailType
from mailrelay.flows.evidence import danger, read_ingress
from mailrelay.flows.handover import Handover
from mailrelay.flows.letter import Letter, open_letter
from mailrelay.flows.order import Order
from mailrelay.flows.ports import Clock, ReadBackground, ReadFacts
from mailrelay.flows.rules import Rules
from mailrelay.flows.ruling import Ruling, styled

_WARNINGS: Mapping[str, Danger] = {Reason.DMARC: "dmarc", Reason.SPAM: "spam"}


class Shelf(Protocol):
    """Where held mail lies. take: for one caller at a time, who then says `released` or `give_back`.

    All raise Unavailable; take also Absent, Conflict (released or discarded before, not kept) and Malformed.
    """

    async def take(self, held_id: HeldId) -> HeldMessage: ...
    async def give_back(self, held_id: HeldId) -> None: ...
    async def released(self, held_id: HeldId, actor: str) -> None: ...


class Confirm(Protocol):
    """Sends a reply or send that was held. Raises Conflict if it may not go out, and Unavailable."""

    async def confirmed(self, letter: Letter, envelope: Envelope, rcpt: Address, place: Place) -> Handover: ...


class Resend(Protocol):
    """Makes copies without asking whether they may pass, see flows/remake.py. Raises Conflict and Unavailable."""

    async def __call__(self, order: Order, targets: Sequence[Target], org: str | None) -> Handover: ...


@dataclass(frozen=True, slots=True)
class Released:
    """What came of it. copies: handed to Postfix now; failed: why one never will be."""

    id: HeldId
    copies: int
    failed: Reason | None


@dataclass(frozen=True, slots=True)
class Release:
    """Releases one message at a time. A release that was interrupted is repeated, and makes what is missing."""

    rules: Rules
    shelf: Shelf
    read_facts: ReadFacts
    read_background: ReadBackground
    ruling: Ruling
    sending: Confirm
    resend: Resend
    clock: Clock

    async def __call__(self, held_id: HeldId, actor: str, to: Sequence[Target] = ()) -> Released:
        """Make the copies. actor: who asked for it, for the record. to: who gets a forward instead of whom it reaches.

        Raises Absent, Conflict when it was decided before or nobody may receive it now, Malformed when it cannot be
        decrypted, Unavailable when it has to be tried again.
        """
        held = await self.shelf.take(held_id)
        try:
            handover = await self._copies(held, to)
        except BaseException:
            with suppress(Unavailable):
                await self.shelf.give_back(held_id)
            raise
        await self.shelf.released(held_id, actor)
        failed = handover.failed.value if handover.failed else None
        log.logger().info("held.released", held=held_id, copies=handover.delivered, reason=failed)
        return Released(held_id, handover.delivered, handover.failed)

    async def _copies(self, held: HeldMessage, to: Sequence[Target]) -> Handover:
        rcpt, place = self._rcpt(held.envelope)
        letter = await self._letter(held)
        if held.type is not EmailType.FORWARD:
            return _done(await self.sending.confirmed(letter, held.envelope, rcpt, place))
        author = str(letter.author) if letter.author is not None else ""
        around = self.rules.around
        inquiry = inquire(rcpt, place, held.envelope.sender, author, held.envelope.client, around.organisation)
        facts = await self.read_facts(inquiry)
        account_id = held.envelope.account_id
        alias = present(facts, account_id)
        assert account_id is not None  # present has seen to it
        # Whoever releases a message has decided whether it passes; how it is to look, rules may still say.
        speaker = author or held.envelope.sender
        effects = await self.ruling.ask(account_id, "F", letter.message, speaker, rcpt, alias)
        wanted = to or await self.ruling.targets(account_id, effects) or choose_targets(facts)
        targets = loopguard.elsewhere(wanted, around.realm)
        if not targets:
            raise Conflict("no recipient is verified, or only some at domains of this service")
        order = await self._order(letter, held, rcpt, place, facts, alias, targets)
        order = replace(order, background=replace(order.background, style=styled(order.background.style, effects)))
        return _done(await self.resend(order, targets, inquiry.sender_org))

    async def _order(
        self,
        letter: Letter,
        held: HeldMessage,
        rcpt: Address,
        place: Place,
        facts: Facts,
        alias: Alias,
        targets: Sequence[Target],
    ) -> Order:
        assert facts.account is not None  # present has seen to it
        envelope = held.envelope
        receivers = tuple(dict.fromkeys(target.address.domain for target in targets))
        asked = BackgroundInquiry(
            facts.account.id,
            alias.id,
            receivers,
            envelope.rcpt,
            envelope.message_id,
            letter.fingerprint,
            envelope.key,
        )
        background = await self.read_background(asked)
        warning = _WARNINGS.get(held.reason)
        if held.reason == Reason.KEY_UNUSABLE:
            warning = danger(letter, self.rules, background.preferences)
        return Order(letter, envelope, rcpt, place, facts, alias, facts.account.id, background, warning)

    def _rcpt(self, envelope: Envelope) -> tuple[Address, Place]:
        try:
            rcpt = parse_address(envelope.rcpt)
        except BadAddress as error:
            raise Conflict(f"{envelope.rcpt} cannot be read: {error}") from error
        place = self.rules.around.realm.locate(rcpt.domain)
        if place is None:
            raise Conflict(f"{rcpt.domain} is no domain of ours any more")
        return rcpt, place

    async def _letter(self, held: HeldMessage) -> Letter:
        envelope = held.envelope
        # Whether its header asked for SMTPUTF8 is not known any more; without, no receiver can refuse it for that.
        international = not envelope.sender.isascii()
        rules = self.rules
        name = f"{rules.identity.header_prefix}Ingress"
        # What was found out at its arrival counts, however long ago that is by now.
        content = (
            name.encode("ascii") + b": " + held.evidence + b"\r\n" + held.content if held.evidence else held.content
        )
        mail = Mail(envelope.queue_id, envelope.sender, (envelope.rcpt,), content, envelope.client, international)
        letter = await open_letter(mail, self.clock(), lambda message: read_ingress(message, rules, held.held_at))
        # The kept message lacks the internal headers, so that its own digest would be another message's.
        return replace(letter, key=envelope.key)


def _done(handover: Handover) -> Handover:
    if not handover.done:
        raise Unavailable("Postfix does not take it now")
    return handover


def present(facts: Facts, account_id: AccountId | None) -> Alias:
    """The alias, which need not be active: its owner, this account, asks for this very message. Raises Conflict."""
    alias, account = facts.alias, facts.account
    if alias is None or alias.state in ("deleted", "forgotten") or account is None:
        raise Conflict("the alias was deleted")
    if account.id != account_id:
        raise Conflict("the alias belongs to another account now")
    if account.state != "active":
        raise Conflict(f"the account is {account.state}")
    if facts.parent is not None and facts.parent.off:
        raise Conflict("the handle was released or is switched off for this domain")
    return alias
