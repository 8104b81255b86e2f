"""Mail to addresses that are nobody's alias: return paths, SRS addresses and the operator's."""

from dataclasses import dataclass
from typing import Protocol

from mailrelay.core import srs, verp
from mailrelay.core.address import Address, BadAddress, parse_address, split_extension
from mailrelay.core.automatic import may_answer
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, Reason, RecipientId
from mailrelay.core.ledger import Envelope, OutboundId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.realm import Nested, Place, ServiceDomain
from mailrelay.core.reply import ACCEPTED
from mailrelay.core.screen import day_number, is_operator
from mailrelay.flows.books import Books, Done
from mailrelay.flows.evidence import stopped
from mailrelay.flows.handover import Destination, Dispatcher, Draft
from mailrelay.flows.letter import Letter
from mailrelay.flows.ports import Post
from mailrelay.flows.returned import Onward, ReturnPaths
from mailrelay.flows.rules import Rules
from mailrelay.flows.srsbounce import SrsBounces


class Unsubscribe(Protocol):
    """Answers mail that deactivates an alias; None for other addresses. Raises Unavailable."""

    async def __call__(self, letter: Letter, rcpt: Address, place: Place, /) -> Done | None: ...


class FindRecipient(Protocol):
    """The oldest verified recipient with this address, None if nobody has it. Raises Unavailable."""

    async def __call__(self, address: Address, /) -> tuple[AccountId, RecipientId] | None: ...


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
    return_paths: ReturnPaths
    srs_bounces: SrsBounces
    unsubscribe: Unsubscribe
    find_recipient: FindRecipient
    post: Post

    async def __call__(self, letter: Letter, rcpt: Address, place: Place) -> Done | Onward | None:
        """None for addresses of people, Onward for what goes on to one."""
        keys, today = self.rules.around.keys, day_number(letter.now)
        path = verp.decode(rcpt.local, rcpt.domain, keys.verp, today)
        if isinstance(path, verp.VerpId):
            return await self.return_paths(letter, rcpt, OutboundId(path.outbound_id))
        if path is not None:
            return await self.books.end(letter.envelope(str(rcpt)), Reason.RETURN_PATH_INVALID)
        if rcpt.domain == self.rules.around.realm.srs_domain and srs.looks_srs(rcpt.local):
            sender = srs.reverse(rcpt.local, keys.srs, today)
            if isinstance(sender, Address):
                return await self._srs(letter, rcpt, sender)
            return await self.books.end(letter.envelope(str(rcpt)), Reason.RETURN_PATH_INVALID)
        if is_operator(rcpt, place):
            return await self._operator(letter, rcpt)
        unsubscribed = await self.unsubscribe(letter, rcpt, place)
        if unsubscribed is not None:
            return unsubscribed
        if isinstance(place, ServiceDomain | Nested):
            return await self.books.end(letter.envelope(str(rcpt)), Reason.UNKNOWN)
        answered = self._answered(letter)
        return await self.return_paths.answered(letter, rcpt, answered) if answered is not None else None

    def _answered(self, letter: Letter) -> OutboundId | None:
        """The copy that a report is about which comes from its return path: some hosts turn the two around.

        What we injected ourselves for another alias has such a sender, too, and is no report.
        """
        sender = letter.mail.sender
        if not sender.startswith(("b-", "B-")) or (letter.checked is not None and letter.checked.route == "internal"):
            return None
        local, _, domain = sender.rpartition("@")
        path = verp.decode(local, domain.lower(), self.rules.around.keys.verp, day_number(letter.now))
        return OutboundId(path.outbound_id) if isinstance(path, verp.VerpId) else None

    async def _srs(self, letter: Letter, rcpt: Address, sender: Address) -> Done:
        """A bounce of a copy that left with the SRS address as its sender."""
        envelope = letter.envelope(str(rcpt))
        told = await self.srs_bounces(letter, envelope, sender)
        return Done(ACCEPTED, "discarded", told) if isinstance(told, Reason) else self.books.handed(envelope, told)

    async def _operator(self, letter: Letter, rcpt: Address) -> Done:
        envelope = letter.envelope(str(rcpt))
        name = split_extension(rcpt.local)[0]
        if name == "noreply":
            await self._tell_writer(letter, rcpt)
            return await self.books.end(envelope, Reason.NOREPLY)
        if await self.return_paths.is_complaint(letter, name):
            return await self.books.end(envelope, Reason.COMPLAINT)
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

    async def _tell_writer(self, letter: Letter, rcpt: Address) -> None:
        """Recipients of accounts are told, once a month, that nobody reads what they wrote (spec section 1.9)."""
        try:
            sender = parse_address(letter.mail.sender)
        except BadAddress:
            return
        found = None
        if may_answer(letter.message, sender, self.rules.around.realm):
            found = await self.find_recipient(sender)
        if found is not None:
            data = {"address": str(rcpt), "operator": f"postmaster@{self.rules.identity.domain}"}
            await self.post(Notice(Code.NRP, *found, data=data))

    def _leads_back(self, mailbox: Address) -> bool:
        """True for an operator's mailbox whose mail would come to the operator again, and again."""
        place = self.rules.around.realm.locate(mailbox.domain)
        return isinstance(place, ServiceDomain) or (place is not None and is_operator(mailbox, place))
