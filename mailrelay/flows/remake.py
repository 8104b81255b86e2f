"""Copies of what was kept: made without asking whether they may pass, encrypted for whoever wants that."""

from collections.abc import Sequence
from dataclasses import dataclass

from mailrelay.core.errors import Conflict
from mailrelay.core.facts import Target
from mailrelay.flows.handover import Dispatcher, Handover
from mailrelay.flows.order import Compose, Order
from mailrelay.flows.rules import Rules
from mailrelay.flows.sealing import Sort


@dataclass(frozen=True, slots=True)
class Remake:
    """The ledger knows the copies that were made before."""

    rules: Rules
    composer: Compose
    dispatcher: Dispatcher
    sort: Sort

    async def __call__(self, order: Order, targets: Sequence[Target], org: str | None) -> Handover:
        """Raises Conflict once the others have theirs if a copy has to wait for a key, or nobody gets any; Unavailable.

        org: the organisational domain of the sender, '' if unknown; None: nothing is counted.
        """
        letter = order.letter
        found = await self.sort(letter.message, targets, wanted=not order.background.style.no_encryption)
        # Nobody waits for somebody else's key.
        hindered = found.fated("hold") or (() if found.ready else found.fated("stub"))
        handover = Handover(done=True, delivered=0)
        if found.ready:
            draft = await self.composer.draft(order, [target.address for target in targets], found.locks)
            destinations = found.destinations(self.rules.around.bans, letter.now, held=True)
            handover = await self.dispatcher.dispatch(letter, order.envelope, draft, destinations, org)
        if hindered and handover.done:
            raise Conflict("; ".join(one.sentence for one in hindered))
        return handover
