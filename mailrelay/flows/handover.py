"""Copies of one recipient: register, compose, hand to Postfix, record. Tried twice, a copy is still made once."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from mailrelay import log, metrics
from mailrelay.core.address import Address
from mailrelay.core.bans import Ban, BanBook, BanId
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.ledger import Closing, Envelope, Mode, Opening, OutboundId, Sent, Tally
from mailrelay.core.notices import Code
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.core.verp import EmailType
from mailrelay.flows.letter import Letter
from mailrelay.flows.ports import LedgerPort

# What Postfix' own listener may say for good about one destination (RFC 3463): a bad address or mailbox, or too large.
# Every other 5xx of it is a mistake in its configuration, as are 5.1.7 and 5.1.8, which are about the sender, a return
# path of ours: the mail waits until that is mended.
_PERMANENT = re.compile(r"5\.(1\.(?!7\b|8\b)|2\.|3\.4\b)")
_REMEMBERED = 10_000
_CHUNK = 500
_PAUSE_SECONDS = 0.5

_V = TypeVar("_V")


class Submit(Protocol):
    """Queues one copy for the outside world. Raises Unavailable."""

    async def __call__(self, copy: Copy) -> Handed | Refused: ...


class Spool(Protocol):
    """Keeps a message until a copy of it is known to have arrived. Never raises."""

    async def __call__(self, outbound_id: OutboundId, letter: Letter, /) -> None: ...


async def unspooled(outbound_id: OutboundId, letter: Letter, /) -> None:
    """Where nobody would learn that a copy has arrived."""


class BannedHosts(Protocol):
    """The ban that hits a host which takes a domain's mail, None if none does, or DNS does not tell. Never raises."""

    async def __call__(self, domain: str, /) -> Ban | None: ...


async def no_hosts(domain: str, /) -> None:
    """Where bans do not apply to MX hosts."""


class Draft(Protocol):
    """What the copies of one recipient have in common. Both raise nothing but bugs, copy also Unavailable."""

    def mode(self, destination: Address) -> Mode | None: ...
    async def copy(self, destination: Address, outbound_id: OutboundId) -> Copy: ...


@dataclass(frozen=True, slots=True)
class Destination:
    """Who gets a copy. recipient_id: negative for the operator's mailboxes; refused: why there is none after all.

    ban_id: by which ban.
    """

    recipient_id: int
    address: Address
    refused: Reason | None = None
    encrypted: bool = False
    ban_id: BanId | None = None


@dataclass(frozen=True, slots=True)
class Handover:
    """What became of the copies. done: every one has its final outcome."""

    done: bool
    delivered: int
    failed: Reason | None = None


@dataclass(slots=True)
class Dispatcher:
    """Makes copies. random_id: 64 unpredictable bits."""

    ledger: LedgerPort
    submit: Submit
    random_id: Callable[[], int]
    spool: Spool = unspooled
    banned_hosts: BannedHosts = no_hosts
    # Copies that Postfix has and the ledger does not know of yet, because the database went away in between.
    _unrecorded: dict[OutboundId, Closing] = field(default_factory=dict)
    # Hand-overs go on when nobody waits for them any more; a further try joins the one that is under way.
    _under_way: dict[OutboundId, asyncio.Task[Closing]] = field(default_factory=dict)
    # Copies that are being recorded: tries that joined record them as well, but one of them counts.
    _recording: set[OutboundId] = field(default_factory=set)
    # Copies that were recorded of late, the newest last: a try may still hold what the ledger said of them before.
    _recorded: dict[OutboundId, None] = field(default_factory=dict)
    _ending: bool = False

    async def dispatch(
        self,
        letter: Letter,
        envelope: Envelope,
        draft: Draft,
        destinations: Sequence[Destination],
        org: str | None,
        sent: Sent | None = None,
        notice: Code | None = None,
    ) -> Handover:
        """One copy for each destination. Raises Unavailable if the outcomes cannot be recorded.

        org: the organisational domain of the sender, '' if unknown; None: the mail was counted before. sent: of a reply
        or send; notice: of a notification.
        """
        kind = EmailType.NOTIFICATION if notice else sent.type if sent is not None else EmailType.FORWARD
        copies = (self._copy(letter, envelope, draft, destination, kind, notice) for destination in destinations)
        results = await asyncio.gather(*copies, return_exceptions=True)
        closings = [result for result in results if isinstance(result, Closing)]
        troubles = [result for result in results if isinstance(result, BaseException)]
        if closings:
            counts = not troubles and any(result is None or _is_out(result) for result in results)
            await self._record(closings, self._tally(envelope, len(results), org, sent) if counts else None)
        for trouble in troubles:
            if not isinstance(trouble, Unavailable):
                raise trouble
        failed = next((closing.reason for closing in closings if closing.outcome == "failed"), None)
        return Handover(not troubles, sum(map(_is_out, closings)), failed)

    def _tally(self, envelope: Envelope, copies: int, org: str | None, sent: Sent | None) -> Tally | None:
        if envelope.account_id is None or envelope.alias_id is None or org is None:
            return None
        return Tally(envelope.account_id, envelope.alias_id, org, envelope.size_octets * copies, sent)

    async def _record(self, closings: Sequence[Closing], tally: Tally | None) -> None:
        first = {closing.outbound_id for closing in closings} & self._unrecorded.keys() - self._recording
        self._recording |= first
        try:
            await self.ledger.close(closings, tally if first else None)
        finally:
            self._recording -= first
        for closing in closings:
            self._unrecorded.pop(closing.outbound_id, None)
            _remember(self._recorded, closing.outbound_id, None)

    async def catch_up(self) -> None:
        """Record what could not be recorded before. Raises Unavailable.

        Postfix asks again only after minutes, and this process may not live so long. Their counters stay behind.
        """
        late = list(self._unrecorded.values())
        for at in range(0, len(late), _CHUNK):
            await self._record(late[at : at + _CHUNK], None)

    async def finish(self, seconds: float) -> int:
        """At the end of the process, which alone knows of these copies: wait for those under way, and record them.

        No others are begun from here on. Gives how many it left after so many seconds. They will be made again.
        """
        self._ending = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._under_way or self._unrecorded:
                    if self._under_way:
                        some = asyncio.FIRST_COMPLETED
                        await asyncio.wait(self._under_way.values(), timeout=_PAUSE_SECONDS, return_when=some)
                    try:
                        await self.catch_up()
                    except Unavailable:
                        await asyncio.sleep(_PAUSE_SECONDS)
                    except Exception:
                        log.logger().exception("copies.unrecorded")  # our bug, which waiting does not mend
                        break
        return len(self._under_way) + len(self._unrecorded)

    async def _copy(
        self,
        letter: Letter,
        envelope: Envelope,
        draft: Draft,
        destination: Destination,
        kind: EmailType,
        notice: Code | None,
    ) -> Closing | None:
        """None: an earlier try has settled it. Raises Unavailable when it has to be tried again."""
        opening = Opening(
            envelope,
            destination.recipient_id,
            OutboundId(self.random_id()),
            str(destination.address),
            kind,
            draft.mode(destination.address),
            notice.value if notice else None,
            destination.encrypted,
        )
        opened = await self.ledger.open(opening)
        outbound_id = opened.outbound_id
        # The operator's own mail goes wherever the operator wants it, and codes to the banned so that they can leave.
        spared = notice is Code.CNF or (kind is EmailType.FORWARD and destination.recipient_id < 0)
        asked = not (spared or opened.settled or destination.refused)
        ban = await self.banned_hosts(destination.address.domain) if asked else None
        # From here to the task nothing may wait: other tries of the same copy look at the same memory.
        if opened.settled or outbound_id in self._recorded:
            self._unrecorded.pop(outbound_id, None)
            return None
        known = self._unrecorded.get(outbound_id)
        if known is not None:
            return known
        task = self._under_way.get(outbound_id)
        if task is None and destination.refused is not None:
            return Closing(outbound_id, "failed", destination.refused, ban_id=destination.ban_id)
        if task is None and ban is not None:
            return Closing(outbound_id, "failed", Reason.DESTINATION_BANNED, ban_id=ban.id)
        if task is None and self._ending:
            raise Unavailable("this process ends")
        if task is None:
            task = asyncio.create_task(self._hand_over(draft, destination.address, outbound_id, letter))
            self._under_way[outbound_id] = task
            task.add_done_callback(lambda done: self._handed_over(outbound_id, done))
        # Whoever gave up in the middle could not know whether Postfix has the copy.
        return await asyncio.shield(task)

    def _handed_over(self, outbound_id: OutboundId, task: asyncio.Task[Closing]) -> None:
        del self._under_way[outbound_id]
        if task.cancelled() or task.exception() is not None:
            return
        _remember(self._unrecorded, outbound_id, task.result())

    async def _hand_over(self, draft: Draft, to: Address, outbound_id: OutboundId, letter: Letter) -> Closing:
        copy = await draft.copy(to, outbound_id)
        metrics.DECISION_SECONDS.observe(time.perf_counter() - letter.began)
        if copy.return_full:
            await self.spool(outbound_id, letter)
        started = time.perf_counter()
        with metrics.SUBMITTING.track_inprogress():
            outcome = await self.submit(copy)
        metrics.SUBMIT_SECONDS.observe(time.perf_counter() - started)
        if not isinstance(outcome, Refused):
            return Closing(outbound_id, "delivered", queue_id=outcome.queue_id)
        if 500 <= outcome.code < 600 and _PERMANENT.match(outcome.text):
            return Closing(outbound_id, "failed", Reason.REFUSED_BY_POSTFIX, note=f"{outcome.code} {outcome.text}")
        # Only the codes: the words may name the destination, which has no place in a log.
        raise Unavailable(f"re-injection was answered {outcome.code} {outcome.text.partition(' ')[0]}")


def destination(
    recipient_id: int, address: Address, bans: BanBook, now: datetime, *, encrypted: bool = False
) -> Destination:
    """Who gets a copy, unless the operator has banned the mailbox."""
    ban = bans.mailbox(address.folded, "destination", now)
    if ban is None:
        return Destination(recipient_id, address, encrypted=encrypted)
    return Destination(recipient_id, address, Reason.DESTINATION_BANNED, encrypted, ban.id)


def _remember(memory: dict[OutboundId, _V], outbound_id: OutboundId, value: _V) -> None:
    """Note it, and forget the oldest for it if there are too many."""
    memory.pop(outbound_id, None)
    if len(memory) >= _REMEMBERED:
        del memory[next(iter(memory))]
    memory[outbound_id] = value


def _is_out(result: object) -> bool:
    return isinstance(result, Closing) and result.outcome == "delivered"
