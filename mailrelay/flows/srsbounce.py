"""The story of a report that comes to an SRS address: who wrote the mail is told anew, and nothing else (spec 10.4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailrelay.core import dkim, srsreport
from mailrelay.core.address import Address
from mailrelay.core.automatic import is_automatic
from mailrelay.core.dkim import SigningKey
from mailrelay.core.facts import Reason
from mailrelay.core.header import split
from mailrelay.core.inquiry import inquire
from mailrelay.core.ledger import Closing, Ending, Envelope, Mode, Opening, OutboundId
from mailrelay.core.letterhead import Header, Signer
from mailrelay.core.plan import Copy
from mailrelay.core.screen import is_operator
from mailrelay.core.signer import signing_domain, usable_keys
from mailrelay.core.srsreport import Stationery, Undelivered
from mailrelay.core.verp import EmailType
from mailrelay.flows.drafts import SigningKeys
from mailrelay.flows.handover import Dispatcher, Handover, destination
from mailrelay.flows.letter import Letter
from mailrelay.flows.ports import LedgerPort, ReadFacts, ReadReport
from mailrelay.flows.rules import Rules

# No mailbox of an account, and so far the only copy that a report makes.
_RECIPIENT_ID = -1
_RANDOM_OCTETS = 16


class ReadUndelivered(Protocol):
    """What a report says about a copy that failed for good, None if it says no such thing. Never raises."""

    def __call__(self, content: bytes, /) -> Undelivered | None: ...


class TakeReport(Protocol):
    """True if one more report may go to a sender in this hour, which is then counted. Raises Unavailable."""

    async def __call__(self, sender: str, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class NewReport:
    """The report as the sender gets it, for the dispatcher. keys: it leaves signed by all of them."""

    found: Undelivered
    used: Address | None
    destinations: Sequence[Address]
    rules: Rules
    paper: Stationery
    keys: Sequence[SigningKey]

    def mode(self, destination: Address) -> Mode:
        return "rewrite"  # nothing of what came is passed on as it is

    async def copy(self, destination: Address, outbound_id: OutboundId) -> Copy:
        realm, paper = self.rules.around.realm, self.paper
        message = split(srsreport.compose(self.found, destination, self.used, self.destinations, realm, paper))
        signer = Signer(self.keys, int(paper.now.timestamp()))
        header = Header(b"", message.fields).signed(dkim.body_hash(message.body), signer)
        content = header.above(message)
        ascii_only = all(chunk.isascii() for chunk in content)
        return Copy(
            sender="",
            rcpt=str(destination),
            content=content,
            envelope_id=f"{outbound_id:016x}",
            eight_bit=not ascii_only,
            # What comes back of the author's header stands in a part and may be 8-bit; the report's own header may not.
            smtputf8=not header.block.isascii() or not destination.local.isascii(),
        )


@dataclass(frozen=True, slots=True)
class SrsBounces:
    """Answers reports to SRS addresses. random: unpredictable octets."""

    rules: Rules
    ledger: LedgerPort
    read_facts: ReadFacts
    read_report: ReadReport
    read_undelivered: ReadUndelivered
    take_report: TakeReport
    signing_keys: SigningKeys
    dispatcher: Dispatcher
    random: Callable[[int], bytes]

    async def __call__(self, letter: Letter, envelope: Envelope, sender: Address) -> Handover | Reason:
        """Tell `sender`, whom the SRS address stands for. A reason: nobody is told, and the ledger says why.

        Raises Unavailable when it has to be tried again; a report that has gone out is not made a second time.
        """
        content = letter.mail.content
        if not is_automatic(letter.message, letter.mail.sender):
            return await self._end(envelope, Reason.RETURN_PATH_MAIL)
        found = self.read_undelivered(content)
        if found is None:
            is_news = self.read_report(content) is not None
            return await self._end(envelope, Reason.BOUNCE_REPORT if is_news else Reason.RETURN_PATH_MAIL)
        # Registered before it is counted, so that tries of the same report count once.
        outbound_id = OutboundId(self.dispatcher.random_id())
        kind = EmailType.NOTIFICATION
        opened = await self.ledger.open(Opening(envelope, _RECIPIENT_ID, outbound_id, str(sender), kind, "rewrite"))
        if opened.settled:
            return Handover(done=True, delivered=0)
        if opened.outcome is None and not await self.take_report(str(sender)):
            await self.ledger.close([Closing(opened.outbound_id, "discarded", Reason.BOUNCE_REPORT)], None)
            return Reason.BOUNCE_REPORT
        to = destination(_RECIPIENT_ID, sender, self.rules.around.bans, letter.now)
        report = await self._report(letter, found)
        return await self.dispatcher.dispatch(letter, envelope, report, [to], "")

    async def _report(self, letter: Letter, found: Undelivered) -> NewReport:
        rules, identity = self.rules, self.rules.identity
        used = srsreport.used_address(found, identity.header_prefix, rules.around.realm)
        domain = signing_domain(EmailType.NOTIFICATION, "rewrite", None, identity.domain, verified_for_sending=False)
        assert domain is not None  # only untouched copies may go out unsigned
        keys = usable_keys(EmailType.NOTIFICATION, "rewrite", self.signing_keys(domain))
        number = self.random(_RANDOM_OCTETS).hex()
        paper = Stationery(identity.hostname, identity.domain, identity.header_prefix, number, letter.now)
        return NewReport(found, used, await self._behind(used), rules, paper, keys)

    async def _behind(self, used: Address | None) -> tuple[Address, ...]:
        """The mailboxes that mail to an address of ours reaches now; those of the time show in the report at best."""
        around = self.rules.around
        place = around.realm.locate(used.domain) if used is not None else None
        if used is None or place is None:
            return ()
        if is_operator(used, place):
            return self.rules.identity.operator
        facts = await self.read_facts(inquire(used, place, "", "", "", around.organisation))
        targets = (*facts.attached, *facts.keyed, facts.parent_default, facts.account_default)
        return tuple(dict.fromkeys(target.address for target in targets if target is not None))

    async def _end(self, envelope: Envelope, reason: Reason) -> Reason:
        await self.ledger.end(Ending(envelope, "discarded", reason))
        return reason
