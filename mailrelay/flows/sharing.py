"""What one recipient of an alias answers, the others may read as well, if the account wants it (spec section 4.10)."""

from dataclasses import dataclass

from mailrelay.core import keytrouble, loopguard
from mailrelay.core.background import BackgroundInquiry
from mailrelay.core.facts import Facts
from mailrelay.core.judge import choose_targets
from mailrelay.core.ledger import Envelope
from mailrelay.core.mode import Why
from mailrelay.flows.correspondence import Errand
from mailrelay.flows.handover import Dispatcher, Handover
from mailrelay.flows.order import Compose, Order
from mailrelay.flows.ports import Post, ReadBackground
from mailrelay.flows.rules import Rules
from mailrelay.flows.sealing import Sort


@dataclass(frozen=True, slots=True)
class Sharing:
    """Forwards a reply or send to those who share the alias with its author. Raises Unavailable."""

    rules: Rules
    read_background: ReadBackground
    composer: Compose
    dispatcher: Dispatcher
    sort: Sort
    post: Post

    async def __call__(self, errand: Errand, envelope: Envelope, facts: Facts) -> Handover:
        """As mail to the alias whose author is the one who wrote; so their answers come back through it.

        Tried again, it makes the copies that are missing. facts: of the alias.
        """
        letter, sending, around = errand.letter, errand.sending, self.rules.around
        others = [one for one in choose_targets(facts) if one.id != errand.allowed.mailbox.id]
        targets = loopguard.elsewhere(others, around.realm)
        if not targets:
            return Handover(done=True, delivered=0)
        receivers = tuple(dict.fromkeys(target.address.domain for target in targets))
        rcpt, message_id = envelope.rcpt, envelope.message_id
        asked = BackgroundInquiry(
            sending.account_id, errand.alias.id, receivers, rcpt, message_id, letter.fingerprint, letter.key
        )
        order = Order(
            letter,
            envelope,
            errand.address,
            errand.place,
            facts,
            errand.alias,
            sending.account_id,
            await self.read_background(asked),
            rewrite=Why.REPLIES,
        )
        found = await self.sort(letter.message, targets)
        draft = await self.composer.draft(order, [target.address for target in targets], found.locks)
        destinations = found.destinations(around.bans, letter.now)
        handover = await self.dispatcher.dispatch(letter, envelope, draft, destinations, None)
        # The author has it, so that it is not kept for anybody.
        shown, at = str(errand.address), letter.now.isoformat()
        for notice in keytrouble.notices(found.useless, envelope, shown, at, held=False):
            await self.post(notice)
        return handover
