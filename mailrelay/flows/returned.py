"""The story of mail at a return path of ours: what it says of the copy that left with it (spec sections 7.2 to 7.5)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from mailrelay import log, metrics
from mailrelay.core.address import Address, BadAddress, parse_address
from mailrelay.core.answers import for_alias
from mailrelay.core.author import author
from mailrelay.core.bounce import (
    Arrival,
    AutomaticAnswer,
    Bounce,
    Complained,
    Complaint,
    Failed,
    Failure,
    News,
    Returned,
    about,
)
from mailrelay.core.bounced import Bounced, Recorded
from mailrelay.core.complaints import Handled
from mailrelay.core.facts import Reason
from mailrelay.core.header import Message, split
from mailrelay.core.ledger import Envelope, OutboundCopy, OutboundId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.phrase import decoded
from mailrelay.core.reverse import reverse_by
from mailrelay.core.verp import EmailType
from mailrelay.flows.books import Books, Done
from mailrelay.flows.letter import INLINE_OCTETS, Letter
from mailrelay.flows.ports import Post
from mailrelay.flows.rules import Rules
from mailrelay.flows.secondtry import SecondTry

_Found = TypeVar("_Found")

# Where the feedback loops of receivers are registered, and where they write of their own accord (spec section 7.8).
_LOOP = "fbl"
_LOOPS = (_LOOP, "postmaster")

# What came back may be of any length, and all of it would be read with every list of failed deliveries.
_AUTHOR_OCTETS = 320  # RFC 5321 section 4.5.3.1, with the @
_SUBJECT_OCTETS = 4000


class ReadArrival(Protocol):
    """What mail at a return path is. Never raises."""

    def __call__(self, content: bytes, sender: str, /) -> Arrival: ...


class ReadComplaint(Protocol):
    """The complaint that a message is, also in the forms of those who send no proper report; None if it is none.

    Never raises.
    """

    def __call__(self, content: bytes, /) -> Complaint | None: ...


class RecordBounce(Protocol):
    """Records a failure with all that follows from it, once for each copy. Raises Unavailable."""

    async def __call__(self, bounce: Bounced, /) -> Recorded: ...


class Spooled(Protocol):
    """A message as it came in, as core/held.storable makes it. evidence: value of its ingress header, b"" for none."""

    @property
    def content(self) -> bytes: ...
    @property
    def evidence(self) -> bytes: ...


class TakeSpooled(Protocol):
    """The message as it came in, None if it was not kept. Never raises."""

    async def __call__(self, outbound_id: OutboundId, /) -> Spooled | None: ...


class DropSpooled(Protocol):
    """These messages need not be kept any longer. Never raises."""

    async def __call__(self, ids: Sequence[OutboundId], /) -> None: ...


class Complain(Protocol):
    """Does what follows from a complaint; None: it is about no copy that is known. Raises Unavailable.

    copy: of the return path that it came to.
    """

    async def __call__(self, letter: Letter, complaint: Complaint, copy: OutboundCopy | None, /) -> Handled | None: ...


@dataclass(frozen=True, slots=True)
class Onward:
    """It is mail to somebody after all. rcpt: an alias, or a reverse address of one.

    owners: only if the owner of the alias wrote it. What others answer to a forward would be forwarded, too, and the
    answer to that once more, and so on.
    """

    letter: Letter
    rcpt: Address
    owners: bool = False


@dataclass(frozen=True, slots=True)
class ReturnPaths:
    """Whoever sent it, and however authenticated, does not matter: knowing the return path proves enough.

    Nothing here makes Postfix send a report: mail is taken, or tried again.
    """

    rules: Rules
    books: Books
    read_arrival: ReadArrival
    read_complaint: ReadComplaint
    record: RecordBounce
    take_spooled: TakeSpooled
    drop_spooled: DropSpooled
    second_try: SecondTry
    complain: Complain
    post: Post

    async def __call__(self, letter: Letter, rcpt: Address, outbound_id: OutboundId) -> Done | Onward:
        """rcpt: the return path, or an alias whose mail has it as its sender. Raises Unavailable."""
        envelope = letter.envelope(str(rcpt))
        copy = await self.books.ledger.outbound(outbound_id)
        if copy is None:
            return await self.books.end(envelope, Reason.RETURN_PATH_UNKNOWN)
        return await self._arrived(letter, envelope, copy, await self._read(letter))

    async def _arrived(self, letter: Letter, envelope: Envelope, copy: OutboundCopy, arrival: Arrival) -> Done | Onward:
        match arrival:
            case Failed():
                await self._failed(letter, copy, arrival)
                return await self.books.end(envelope, Reason.BOUNCE_REPORT)
            case News():
                return await self.books.end(envelope, Reason.BOUNCE_REPORT)
            case Complained(complaint):
                complained = await self._complained(letter, complaint, copy)
                return await self.books.end(envelope, Reason.COMPLAINT if complained else Reason.RETURN_PATH_MAIL)
        onward = self._onward(letter, copy, automatic=isinstance(arrival, AutomaticAnswer))
        if onward is not None:
            return onward
        forwarded = copy.type is EmailType.FORWARD and isinstance(arrival, AutomaticAnswer)
        return await self.books.end(envelope, Reason.AUTO_REPLY if forwarded else Reason.RETURN_PATH_MAIL)

    async def answered(self, letter: Letter, rcpt: Address, outbound_id: OutboundId) -> Done | None:
        """A report that has the return path as its sender and came to the alias; None if it is none.

        Raises Unavailable.
        """
        arrival = await self._read(letter)
        if not isinstance(arrival, Failed | News):
            return None
        envelope = letter.envelope(str(rcpt))
        copy = await self.books.ledger.outbound(outbound_id)
        if copy is None:
            return await self.books.end(envelope, Reason.RETURN_PATH_UNKNOWN)
        done = await self._arrived(letter, envelope, copy, arrival)
        return done if isinstance(done, Done) else None

    async def is_complaint(self, letter: Letter, name: str) -> bool:
        """Whether mail to the operator is a complaint about a copy that we know; then it was dealt with.

        name: of the operator's addresses. What postmaster@ gets that is no proper report counts, but somebody may have
        written it by hand. Raises Unavailable.
        """
        proper = isinstance(await self._read(letter), Complained)
        if not proper and name not in _LOOPS:
            return False
        complaint = await _aside(letter, partial(self.read_complaint, letter.mail.content))
        known = complaint is not None and await self._complained(letter, complaint, None)
        return known and (proper or name == _LOOP)

    async def _read(self, letter: Letter) -> Arrival:
        return await _aside(letter, partial(self.read_arrival, letter.mail.content, letter.mail.sender))

    async def _complained(self, letter: Letter, complaint: Complaint, copy: OutboundCopy | None) -> bool:
        handled = await self.complain(letter, complaint, copy)
        if handled is not None and handled.alert is not None:
            for mailbox in self.rules.identity.operator:
                await self.post(Notice(Code.OPS, None, data={"address": str(mailbox), "text": handled.alert}))
        return handled is not None

    async def _failed(self, letter: Letter, copy: OutboundCopy, report: Failed) -> None:
        # Who that passed the copy on to may be named as well.
        failure = about(report.failures, copy.destination)
        metrics.BOUNCES.labels(copy.type.value, failure.type.value).inc()
        bounce = Bounce(failed=True, status=failure.status, text=failure.code)
        if await self.second_try(letter, bounce, copy):
            # The message is on its way once more: nothing has failed yet but this copy.
            await self.books.ledger.bounced(copy.id, failure.status, failure.code)
            await self.drop_spooled([copy.id])
            return
        recorded = await self.record(await self._bounced(copy, failure, report.returned))
        await self.drop_spooled([copy.id])  # it is in the record by now, or nowhere by its owner's choice
        log.logger().info(
            "copy.bounced",
            outbound=f"{copy.id:016x}",
            type=copy.type.value,
            status=failure.status,
            bounce=failure.type.value,
            first=recorded.first,
            account=copy.account_id,
            alias=copy.alias_id,
        )

    async def _bounced(self, copy: OutboundCopy, failure: Failure, returned: Returned | None) -> Bounced:
        spooled = await self.take_spooled(copy.id)
        content, partial = (spooled.content, False) if spooled is not None else _returned(returned)
        message = split(content) if content is not None else None
        if copy.type is EmailType.NOTIFICATION:
            content = None  # ours to write again
        return Bounced(
            copy=copy,
            failure=failure,
            author=self._author(message),
            subject=_subject(message),
            content=content,
            partial=partial,
            evidence=spooled.evidence if spooled is not None else b"",
            host=self.rules.identity.hostname,
        )

    def _author(self, message: Message | None) -> str:
        """As the owner knows him; in copies that we rewrote, our own field tells."""
        if message is None:
            return ""
        name = f"{self.rules.identity.header_prefix}Original-Sender-Address".lower().encode("ascii")
        told = message.first(name)
        if told is not None:
            return told[:_AUTHOR_OCTETS].decode("utf-8", "replace")
        found = author(message)
        return str(found) if found is not None else ""

    def _onward(self, letter: Letter, copy: OutboundCopy, *, automatic: bool) -> Onward | None:
        """Contacts answer replies and sends, the automatic answers of owners are about forwards."""
        if copy.alias is None:
            return None
        if copy.type in (EmailType.REPLY, EmailType.SEND):
            message = for_alias(letter.message, copy.alias) if automatic else letter.message
            mail = replace(letter.mail, content=message.content)
            return Onward(replace(letter, message=message, mail=mail, answers=True), copy.alias)
        if copy.type is EmailType.FORWARD and automatic:
            rcpt = self._reverse(copy.alias, copy.sender)
            return Onward(letter, rcpt, owners=True) if rcpt is not None else None
        return None

    @staticmethod
    def _reverse(alias: Address, sender: str) -> Address | None:
        """Whom the owner's answer is for, None if there is nobody or only an opaque address would do."""
        try:
            return reverse_by(alias, parse_address(sender), {}, "plain")
        except BadAddress:
            return None


async def _aside(letter: Letter, read: Callable[[], _Found]) -> _Found:
    """Large mail in a thread: other mail goes on meanwhile."""
    return read() if len(letter.mail.content) <= INLINE_OCTETS else await asyncio.to_thread(read)


def _returned(returned: Returned | None) -> tuple[bytes | None, bool]:
    """What came back, and whether that is not all of it."""
    if returned is None:
        return None, False
    if returned.content is not None:
        return returned.content, False
    return (returned.header + b"\r\n", True) if returned.header else (None, False)


def _subject(message: Message | None) -> bytes | None:
    value = message.first(b"subject") if message is not None else None
    return None if value is None else decoded(value[:_SUBJECT_OCTETS]).encode("utf-8", "replace")
