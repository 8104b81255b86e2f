"""Mail to addresses that are nobody's alias: return paths, SRS addresses and the operator's."""

from dataclasses import dataclass
from typing import Protocol

from mailrelay.core import srs, verp
from mailrelay.core.address import Address, split_extension
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.ledger import Envelope, OutboundId
from mailrelay.core.realm import Nested, Place, ServiceDomain
from mailrelay.core.reply import ACCEPTED
from mailrelay.core.screen import day_number, is_operator
from mailrelay.flows.books import Books, Done
from mailrelay.flows.evidence import stopped
from mailrelay.flows.handover import Destination, Dispatcher, Draft
from mailrelay.flows.letter import Letter
from mailrelay.flows.ports import ReadReport
from mailrelay.flows.rules import Rules
from mailrelay.flows.secondtry import SecondTry
from mailrelay.flows.srsbounce import SrsBounces


class Compose(Protocol):
    """Prepares the copies that the operator gets."""

    def for_operator(self, letter: Letter, envelope: Envelope) -> Draft: ...


@dataclass(slots=True)
class TechnicalMail:
    """Answers for a recipient that needs no look into the directory. Raises Unavailable."""

    rules: Rules
    books: Books
    composer: Compose
    dispatcher: Dispatcher
    read_report: ReadReport
    srs_bounces: SrsBounces
    second_try: SecondTry

    async def __call__(self, letter: Letter, rcpt: Address, place: Place) -> Done | None:
        """None for addresses of people."""
        keys, today = self.rules.around.keys, day_number(letter.now)
        path = verp.decode(rcpt.local, rcpt.domain, keys.verp, today)
        if isinstance(path, verp.VerpId):
            return await self._return_path(letter, rcpt, OutboundId(path.outbound_id))
        if path is not None:
            return await self.books.end(letter.envelope(str(rcpt)), Reason.RETURN_PATH_INVALID)
        if rcpt.domain == self.rules.around.realm.srs_domain and srs.looks_srs(rcpt.local):
            sender = srs.reverse(rcpt.local, keys.srs, today)
            if isinstance(sender, Address):
                return await self._srs(letter, rcpt, sender)
            return await self.books.end(letter.envelope(str(rcpt)), Reason.RETURN_PATH_INVALID)
        if is_operator(rcpt, place):
            return await self._operator(letter, rcpt)
        if isinstance(place, ServiceDomain | Nested):
            return await self.books.end(letter.envelope(str(rcpt)), Reason.UNKNOWN)
        return None

    async def _return_path(self, letter: Letter, rcpt: Address, outbound_id: OutboundId) -> Done:
        """A bounce belongs to its copy; neither it nor anything else that comes here goes further."""
        envelope = letter.envelope(str(rcpt))
        copy = await self.books.ledger.outbound(outbound_id)
        if copy is None:
            return await self.books.end(envelope, Reason.RETURN_PATH_UNKNOWN)
        bounce = self.read_report(letter.mail.content)
        if bounce is None:
            return await self.books.end(envelope, Reason.RETURN_PATH_MAIL)
        if bounce.failed:
            await self.books.ledger.bounced(outbound_id, bounce.status, bounce.text)
            await self.second_try(letter, bounce, copy)
        return await self.books.end(envelope, Reason.BOUNCE_REPORT)

    async def _srs(self, letter: Letter, rcpt: Address, sender: Address) -> Done:
        """A bounce of a copy that left with the SRS address as its sender."""
        envelope = letter.envelope(str(rcpt))
        told = await self.srs_bounces(letter, envelope, sender)
        return Done(ACCEPTED, "discarded", told) if isinstance(told, Reason) else self.books.handed(envelope, told)

    async def _operator(self, letter: Letter, rcpt: Address) -> Done:
        envelope = letter.envelope(str(rcpt))
        if split_extension(rcpt.local)[0] == "noreply":
            return await self.books.end(envelope, Reason.NOREPLY)
        stop = stopped(letter, None, self.rules)
        if stop is not None and stop is not Reason.BACKSCATTER:
            return await self.books.end(envelope, stop)
        destinations = [
            Destination(-number, mailbox)
            for number, mailbox in enumerate(self.rules.identity.operator, 1)
            if not self._leads_back(mailbox)
        ]
        if not destinations:
            raise Unavailable("service.operator names only operator addresses of our own")
        draft = self.composer.for_operator(letter, envelope)
        handover = await self.dispatcher.dispatch(letter, envelope, draft, destinations, "")
        return self.books.handed(envelope, handover)

    def _leads_back(self, mailbox: Address) -> bool:
        """True for an operator's mailbox whose mail would come to the operator again, and again."""
        place = self.rules.around.realm.locate(mailbox.domain)
        return isinstance(place, ServiceDomain) or (place is not None and is_operator(mailbox, place))
