"""The story of a failed delivery that is sent once more, to whom its owner chooses (spec section 7.6).

What was never sent, as it was quarantined or held, is released; what failed is composed anew out of what is stored.
The ledger knows these copies by the record's UUID, whatever happens in between: each recipient gets one.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from mailrelay import log
from mailrelay.core import loopguard
from mailrelay.core.address import Address, BadAddress, parse_address
from mailrelay.core.background import Background, BackgroundInquiry
from mailrelay.core.banner import Danger
from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.facts import AccountId, Alias, Facts, Target
from mailrelay.core.failed import (
    FailedId,
    FailedMessage,
    FailedRecord,
    Resent,
    check_resend,
    resend_key,
)
from mailrelay.core.header import split
from mailrelay.core.held import HeldId
from mailrelay.core.inquiry import inquire
from mailrelay.core.judge import choose_targets
from mailrelay.core.mode import Why
from mailrelay.core.plan import Mail
from mailrelay.core.realm import Place
from mailrelay.core.returned import Restored, restored
from mailrelay.flows.evidence import danger, read_ingress
from mailrelay.flows.handover import Handover
from mailrelay.flows.letter import Letter, open_letter
from mailrelay.flows.manage import failed as desk
from mailrelay.flows.manage.failed import ReadTargets
from mailrelay.flows.order import Order
from mailrelay.flows.ports import Clock, ReadBackground, ReadFacts
from mailrelay.flows.release import Release, present
from mailrelay.flows.release import Resend as MakeCopies
from mailrelay.flows.rules import Rules


class Shelf(Protocol):
    """Where failed deliveries lie. take: for one caller at a time, who then says `resent` or `give_back`.

    All raise Unavailable; take also Absent, NotStored, AlreadyResent, NotForward and Malformed.
    """

    async def take(self, failed_id: FailedId) -> FailedMessage: ...
    async def give_back(self, failed_id: FailedId) -> None: ...
    async def resent(self, failed_id: FailedId, actor: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Source:
    """What the copies are made of. found: None for the message as it came in."""

    letter: Letter
    found: Restored | None


@dataclass(frozen=True, slots=True)
class Resend:
    """Resends one message at a time. A resend that was interrupted is repeated, and makes what is missing."""

    rules: Rules
    shelf: Shelf
    read_facts: ReadFacts
    read_background: ReadBackground
    read_targets: ReadTargets
    release: Release
    make: MakeCopies
    clock: Clock

    async def chosen(self, account_id: AccountId, uuids: Sequence[UUID]) -> tuple[Target, ...]:
        """As flows/manage/failed.py does."""
        return await desk.chosen(self.read_targets, account_id, uuids)

    async def __call__(self, record: FailedRecord, actor: str, to: Sequence[Target] = ()) -> Resent:
        """Make the copies. actor: who asked for it; to: as `chosen` gave them, () for whom the alias reaches.

        Raises NotStored, AlreadyResent, NotForward, Conflict when nobody may receive it now, Malformed when it cannot
        be decrypted, Unavailable when it has to be tried again.
        """
        check_resend(record)
        if record.held:
            released = await self.release(HeldId(record.id), actor, to)
            return Resent(record.id, released.copies, released.failed)
        failed = await self.shelf.take(record.id)
        try:
            source = await self._source(failed)
            handover = await self._copies(failed, source, to)
        except BaseException:
            with suppress(Unavailable):
                await self.shelf.give_back(record.id)
            raise
        await self.shelf.resent(record.id, actor)
        reason = handover.failed.value if handover.failed else None
        returned = source.found is not None
        log.logger().info(
            "failed.resent", failed=record.id, copies=handover.delivered, reason=reason, returned=returned
        )
        return Resent(record.id, handover.delivered, handover.failed, returned, failed.partial)

    # --- what is sent -----------------------------------------------------------------------------------------------

    async def _source(self, failed: FailedMessage) -> _Source:
        """The message as it came in, or what can be had again of a copy that came back."""
        prefix = self.rules.identity.header_prefix
        found = None
        if failed.outbound_id is not None:
            found = restored(split(failed.content), failed.outbound_id, failed.destination, prefix)
        content = failed.content if found is None else found.content
        if found is None and failed.evidence:
            content = f"{prefix}Ingress: ".encode("ascii") + failed.evidence + b"\r\n" + content
        # Of the author only if the ledger has forgotten; whether the header asked for SMTPUTF8 is not known any more.
        sender = failed.sender if failed.rcpt else failed.author
        rcpt = failed.rcpt or failed.alias
        mail = Mail(failed.queue_id, sender, (rcpt,), content, failed.client, not sender.isascii())
        at = failed.attempted_at
        letter = await open_letter(mail, self.clock(), lambda message: read_ingress(message, self.rules, at))
        return _Source(replace(letter, key=resend_key(failed.uuid)), found)

    # --- to whom, and how -------------------------------------------------------------------------------------------

    async def _copies(self, failed: FailedMessage, source: _Source, to: Sequence[Target]) -> Handover:
        around = self.rules.around
        rcpt, place = self._rcpt(failed)
        facts = await self.read_facts(inquire(rcpt, place, "", "", "", around.organisation))
        alias = present(facts, failed.account_id)
        targets = loopguard.elsewhere(to or choose_targets(facts), around.realm)
        if not targets:
            raise Conflict("no recipient is verified, or only some at domains of this service")
        order = await self._order(failed, source, rcpt, place, facts, alias, targets)
        handover = await self.make(order, targets, None)  # it was counted when it came
        if not handover.done:
            raise Unavailable("Postfix does not take it now")
        if handover.failed is not None and not handover.delivered:
            raise Conflict(f"nobody could get failed delivery {failed.id}: {handover.failed.value}")
        return handover

    async def _order(
        self,
        failed: FailedMessage,
        source: _Source,
        rcpt: Address,
        place: Place,
        facts: Facts,
        alias: Alias,
        targets: Sequence[Target],
    ) -> Order:
        letter, account_id = source.letter, failed.account_id
        # No arrival of its own: without fingerprint it does not count against loops.
        envelope = replace(letter.envelope(str(rcpt), account_id, alias.id), fingerprint=None)
        envelope = replace(envelope, message_id=failed.message_id or envelope.message_id)
        receivers = tuple(dict.fromkeys(target.address.domain for target in targets))
        asked = BackgroundInquiry(
            account_id, alias.id, receivers, envelope.rcpt, envelope.message_id, letter.fingerprint, letter.key
        )
        background = await self.read_background(asked)
        warning = self._warning(source, background)
        # If this comes back as well it is not stored again, so that nobody need send it back whole.
        preferences = replace(background.preferences, stores_failed=False)
        return Order(
            letter,
            envelope,
            rcpt,
            place,
            facts,
            alias,
            account_id,
            replace(background, preferences=preferences),
            warning,
            resend=True,
            rewrite=Why.RETURNED if source.found is not None else None,
        )

    def _warning(self, source: _Source, background: Background) -> Danger | None:
        """The reader is warned as the first time; for a copy that came back, of what it says about itself."""
        if source.found is not None:
            return "spam" if source.found.spam else None
        return danger(source.letter, self.rules, background.preferences)

    def _rcpt(self, failed: FailedMessage) -> tuple[Address, Place]:
        text = failed.rcpt or failed.alias
        try:
            rcpt = parse_address(text)
        except BadAddress as error:
            raise Conflict(f"{text} cannot be read: {error}") from error
        place = self.rules.around.realm.locate(rcpt.domain)
        if place is None:
            raise Conflict(f"{rcpt.domain} is no domain of ours any more")
        return rcpt, place
