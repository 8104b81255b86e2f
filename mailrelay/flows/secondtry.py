"""The story of an untouched copy that its receiver refuses: once more, rewritten (spec sections 1.4 and 3.2).

That helps if the copy could not be authenticated, or had to be SMTPUTF8; the first is remembered of the receiver.

The text is what the report returns. Whoever knows the return path of a copy can write such a report: where copies are
signed, it counts only if our signature on it still holds, and it goes to nobody but whom the copy went to.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from mailrelay import log
from mailrelay.core import loopguard
from mailrelay.core.address import Address, BadAddress, parse_address
from mailrelay.core.background import BackgroundInquiry
from mailrelay.core.banner import Danger
from mailrelay.core.bounce import Bounce
from mailrelay.core.dkim import SigningKey
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Alias, Facts, Target
from mailrelay.core.findings import Findings
from mailrelay.core.header import Message, split
from mailrelay.core.ingress import Ingress, Invalid
from mailrelay.core.inquiry import inquire
from mailrelay.core.judge import choose_targets
from mailrelay.core.ledger import OutboundCopy, second_key
from mailrelay.core.mode import Why, is_smtputf8_refusal
from mailrelay.core.original import Original, is_of_alias, original, proof
from mailrelay.core.plan import Mail
from mailrelay.core.receivers import Receiver, is_authentication_refusal, rewrites_only
from mailrelay.flows.drafts import SigningKeys
from mailrelay.flows.handover import Dispatcher, Handover
from mailrelay.flows.letter import INLINE_OCTETS, Letter, open_letter
from mailrelay.flows.order import Compose, Order
from mailrelay.flows.ports import ReadBackground, ReadFacts
from mailrelay.flows.rules import Rules
from mailrelay.flows.sealing import Sort


class NoteRefusal(Protocol):
    """Remembers that a receiver, a folded domain, refused a copy made at that time. Raises Unavailable."""

    async def __call__(self, receiver: str, refused_at: datetime, now: datetime, /) -> Receiver: ...


class ReadReturned(Protocol):
    """The message that came back whole with a report, None if none did. Never raises."""

    def __call__(self, content: bytes, /) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class _Found:
    """What came back. results: of our checks at ingress, b"" if nobody vouches for them."""

    original: Original
    results: bytes


@dataclass(frozen=True, slots=True)
class _Again:
    """The copy that is to be made."""

    order: Order
    target: Target


@dataclass(frozen=True, slots=True)
class SecondTry:
    """Reads reports about untouched copies; those about rewritten ones are none of its business."""

    rules: Rules
    read_facts: ReadFacts
    read_background: ReadBackground
    note: NoteRefusal
    read_returned: ReadReturned
    signing_keys: SigningKeys
    composer: Compose
    dispatcher: Dispatcher
    sort: Sort

    async def __call__(self, report: Letter, bounce: Bounce, refused: OutboundCopy) -> bool:
        """Remember the refusal, and make the copy if everything for it is there. True: there is one.

        Raises Unavailable when it has to be tried again. However often a refusal is reported, and by however many
        reports, there is one copy more.
        """
        why = _why(bounce) if refused.mode == "transparent" else None
        if why is None:
            return False
        receiver = Receiver()
        if why is Why.RECEIVER:
            receiver = await self.note(refused.destination.rpartition("@")[2], refused.created_at, report.now)
        again = await self._again(report, refused, why)
        handover = await self._copy(again) if again is not None else None
        log.logger().info(
            "copy.refused",
            outbound=f"{refused.id:016x}",
            status=bounce.status,
            refusals=len(receiver.refused_at),
            marked=rewrites_only(receiver, report.now),
            again=handover is not None,
            copies=handover.delivered if handover is not None else 0,
            reason=handover.failed.value if handover is not None and handover.failed else None,
        )
        return handover is not None and handover.failed is None

    async def _copy(self, again: _Again) -> Handover:
        order, mailbox = again.order, again.target.address
        # Who wants encryption by now gets it.
        found = await self.sort(order.letter.message, [again.target])
        draft = await self.composer.draft(order, [mailbox], found.locks)
        to = found.destinations(self.rules.around.bans, order.letter.now)
        handover = await self.dispatcher.dispatch(order.letter, order.envelope, draft, to, None)
        if not handover.done:
            raise Unavailable("the second copy cannot be handed over now")
        return handover

    async def _again(self, report: Letter, refused: OutboundCopy, why: Why) -> _Again | None:
        """None: the message did not come back, or nobody is there any more who is to have it."""
        found = await self._found(report, refused)
        rcpt = _address(found.original.rcpt) if found is not None else None
        around = self.rules.around
        place = around.realm.locate(rcpt.domain) if rcpt is not None else None
        if found is None or rcpt is None or place is None:
            return None
        facts = await self.read_facts(inquire(rcpt, place, "", "", "", around.organisation))
        alias, target = _alias(facts, refused), self._target(facts, refused)
        if alias is None or target is None or facts.account is None:
            return None
        letter = await self._letter(report, refused, found, smtputf8=why is Why.SMTPUTF8)
        prefix = self.rules.identity.header_prefix
        if not is_of_alias(found.original, letter.message, alias.uuid, around.keys.loop, prefix):
            return None
        # No arrival of its own: without fingerprint it does not count against loops.
        envelope = replace(letter.envelope(str(rcpt), facts.account.id, alias.id), fingerprint=None)
        receivers = (target.address.domain,)
        asked = BackgroundInquiry(
            facts.account.id, alias.id, receivers, envelope.rcpt, envelope.message_id, letter.fingerprint, letter.key
        )
        background = await self.read_background(asked)
        warning: Danger | None = "spam" if found.original.spam else None
        account_id = facts.account.id
        order = Order(letter, envelope, rcpt, place, facts, alias, account_id, background, warning, rewrite=why)
        return _Again(order, target)

    # --- what came back ---------------------------------------------------------------------------------------------

    async def _found(self, report: Letter, refused: OutboundCopy) -> _Found | None:
        identity = self.rules.identity
        keys = self.signing_keys(identity.domain)
        if len(report.mail.content) <= INLINE_OCTETS:
            return self._read(report, refused, keys)
        return await asyncio.to_thread(self._read, report, refused, keys)

    def _read(self, report: Letter, refused: OutboundCopy, keys: Sequence[SigningKey]) -> _Found | None:
        identity = self.rules.identity
        content = self.read_returned(report.mail.content)
        if content is None:
            return None
        copy = split(content)
        found = original(copy, refused.id, refused.destination, identity.header_prefix)
        if found is None:
            return None
        vouched = proof(copy, keys, int(report.now.timestamp()))
        if identity.sign_transparent and keys and not vouched.signed:
            return None
        return _Found(found, vouched.results)

    async def _letter(self, report: Letter, refused: OutboundCopy, found: _Found, *, smtputf8: bool) -> Letter:
        sender, rcpt, content = found.original.sender, found.original.rcpt, found.original.content
        # Whether its header asked for SMTPUTF8 is known no more, unless that is what the receiver would not take.
        mail = Mail(report.queue_id, sender, (rcpt,), content, smtputf8=smtputf8 or not sender.isascii())

        def read(message: Message) -> Ingress | Invalid:
            if not found.results:
                return Invalid("what was found out at its arrival did not come back")
            now = int(report.now.timestamp())
            return Ingress(report.queue_id, now, "", "", sender, "smtp", Findings(), results=found.results)

        letter = await open_letter(mail, report.now, read)
        return replace(letter, key=second_key(refused.id))

    # --- who is to have it ------------------------------------------------------------------------------------------

    def _target(self, facts: Facts, refused: OutboundCopy) -> Target | None:
        """The mailbox that the copy went to, None if mail to the alias would not reach it today."""
        targets = loopguard.elsewhere(choose_targets(facts), self.rules.around.realm)
        wanted = refused.recipient_id, refused.destination
        return next((target for target in targets if (target.id, str(target.address)) == wanted), None)


def _why(bounce: Bounce) -> Why | None:
    """What a rewritten copy does better than the one that came back, None if nothing."""
    if is_smtputf8_refusal(bounce.status, bounce.text):
        return Why.SMTPUTF8
    return Why.RECEIVER if is_authentication_refusal(bounce.status, bounce.text) else None


def _alias(facts: Facts, refused: OutboundCopy) -> Alias | None:
    """The alias that the copy was made for, None if it is not that account's any more or takes no mail."""
    account, alias, parent = facts.account, facts.alias, facts.parent
    if account is None or (account.id, account.state) != (refused.account_id, "active"):
        return None
    if alias is None or (alias.id, alias.state) != (refused.alias_id, "active"):
        return None
    return alias if parent is None or (parent.active and not parent.off) else None


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except BadAddress:
        return None
