"""The story of a held message that is released: its copies are made after all, once (spec sections 3.14 and 7.6)."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from mailrelay import log
from mailrelay.core.address import Address, BadAddress, parse_address
from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.facts import Alias, Facts, Reason
from mailrelay.core.held import HeldId, HeldMessage
from mailrelay.core.inquiry import inquire
from mailrelay.core.judge import choose_targets
from mailrelay.core.ledger import Envelope
from mailrelay.core.plan import Mail
from mailrelay.core.realm import Place
from mailrelay.core.verp import EmailType
from mailrelay.flows.handover import Destination, Handover
from mailrelay.flows.letter import Letter, open_letter
from mailrelay.flows.ports import Clock, ReadFacts
from mailrelay.flows.rules import Rules


class Shelf(Protocol):
    """Where held mail lies. take: for one caller at a time, who then says `released` or `give_back`.

    All raise Unavailable; take also Absent, Conflict (released or discarded before, not kept) and Malformed.
    """

    async def take(self, held_id: HeldId) -> HeldMessage: ...
    async def give_back(self, held_id: HeldId) -> None: ...
    async def released(self, held_id: HeldId, actor: str) -> None: ...


class Resend(Protocol):
    """Makes the copies of a held message, without asking again whether it may pass; the ledger knows those made before.

    letter: has the key under which the message was held. alias: as it is now. held: tells why, for the warning, and
    what the checks at its arrival found. Raises Unavailable.
    """

    async def __call__(
        self,
        letter: Letter,
        envelope: Envelope,
        alias: Alias,
        destinations: Sequence[Destination],
        org: str,
        held: HeldMessage,
    ) -> Handover: ...


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
    resend: Resend
    clock: Clock

    async def __call__(self, held_id: HeldId, actor: str) -> Released:
        """Make the copies. actor: who asked for it, for the record.

        Raises Absent, Conflict when it was decided before or nobody may receive it now, Malformed when it cannot be
        decrypted, Unavailable when it has to be tried again.
        """
        held = await self.shelf.take(held_id)
        try:
            handover = await self._copies(held)
        except BaseException:
            with suppress(Unavailable):
                await self.shelf.give_back(held_id)
            raise
        await self.shelf.released(held_id, actor)
        failed = handover.failed.value if handover.failed else None
        log.logger().info("held.released", held=held_id, copies=handover.delivered, reason=failed)
        return Released(held_id, handover.delivered, handover.failed)

    async def _copies(self, held: HeldMessage) -> Handover:
        if held.type is not EmailType.FORWARD:
            raise Conflict("this release passes on forwards only")
        rcpt, place = self._rcpt(held.envelope)
        letter = await self._letter(held)
        author = str(letter.author) if letter.author is not None else ""
        around = self.rules.around
        inquiry = inquire(rcpt, place, held.envelope.sender, author, held.envelope.client, around.organisation)
        facts = await self.read_facts(inquiry)
        alias = _present(facts, held)
        destinations = [
            Destination(
                target.id,
                target.address,
                around.bans.mailbox(target.address.folded, "destination", letter.now) is not None,
            )
            for target in choose_targets(facts)
        ]
        if not destinations:
            raise Conflict("no recipient is verified")
        handover = await self.resend(letter, held.envelope, alias, destinations, inquiry.sender_org, held)
        if not handover.done:
            raise Unavailable("Postfix does not take it now")
        return handover

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
        mail = Mail(envelope.queue_id, envelope.sender, (envelope.rcpt,), held.content, envelope.client, international)
        letter = await open_letter(mail, self.clock())
        # The kept message lacks the internal headers, so that its own digest would be another message's.
        return replace(letter, key=envelope.key)


def _present(facts: Facts, held: HeldMessage) -> Alias:
    """The alias, which need not be active: its owner asks for this very message."""
    alias, account = facts.alias, facts.account
    if alias is None or alias.state in ("deleted", "forgotten") or account is None:
        raise Conflict("the alias was deleted")
    if account.id != held.envelope.account_id:
        raise Conflict("the alias belongs to another account now")
    if account.state != "active":
        raise Conflict(f"the account is {account.state}")
    if facts.parent is not None and facts.parent.off:
        raise Conflict("the handle was released or is switched off for this domain")
    return alias
