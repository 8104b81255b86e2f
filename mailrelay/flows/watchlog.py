"""The log watcher (P5 of the spec): what Postfix refused by itself, and whether copies have arrived."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core import verp
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.failed import KEPT_FOR
from mailrelay.core.ledger import OutboundId
from mailrelay.core.maillog import Chunk, Delivery, LogEvent, Position, QueueActive, Rejected, Removed
from mailrelay.core.rejection import Question, Rejection, Target, question, rejection
from mailrelay.core.screen import day_number
from mailrelay.core.verp import EmailType
from mailrelay.core.watched import Arrived, CopyNews, Written, news
from mailrelay.flows.ports import Clock

_IDLE_SECONDS = 1.0
_FOLLOWER_SECONDS = 10.0
_RETRY_SECONDS = 5.0
_FAILURE_SECONDS = 60.0
# Our own refusals are written a moment after Postfix heard of them: until then they look like those of others.
_SETTLED_AFTER = timedelta(seconds=3)
# Without news the position is written all the same, so that others know that the log is watched.
_SIGN_OF_LIFE_SECONDS = 1800.0
# Postfix returns what it could not deliver after five days; whatever is spooled for longer was never told of.
_SPOOLED_FOR = timedelta(days=6)
_SWEEP_SECONDS = 3600.0
_QUEUE_IDS = 50_000  # under way at once; some 200 octets each


class LogSource(Protocol):
    """A log. Both raise Unavailable when it cannot be read."""

    async def read(self, after: Position) -> Chunk: ...
    async def close(self) -> None: ...


class Store(Protocol):
    """What the watcher needs of the database. All raise Unavailable; see store/watchlog.py."""

    async def lead(self) -> bool: ...
    async def position(self) -> Position: ...
    async def targets(self, questions: Sequence[Question]) -> Mapping[int, Target]: ...
    async def arrived(self, news: Sequence[CopyNews]) -> list[Arrived]: ...
    async def write(self, batch: Written) -> bool: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Consequences:
    """What follows when copies have arrived. All may be called again for the same ones; the first two may raise
    Unavailable. sweep_spool: removes what was spooled before a time.
    """

    recipients_work: Callable[[Sequence[RecipientId], datetime], Awaitable[None]]
    contacts_work: Callable[[Sequence[OutboundId]], Awaitable[None]]
    drop_spooled: Callable[[Sequence[OutboundId]], Awaitable[None]]
    sweep_spool: Callable[[datetime], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Reading:
    """How lines are understood.

    line: the parser, of a line and the present time. keys: of return paths. unknown: text of our reply UNKNOWN.
    per_hour: the most records of rejections that an account gets within an hour.
    """

    line: Callable[[bytes, datetime], LogEvent | None]
    keys: Sequence[bytes]
    unknown: str
    per_hour: int = 500


@dataclass(slots=True)
class _Found:
    """In a piece of the log."""

    rejected: list[Rejected] = field(default_factory=list)
    news: dict[OutboundId, CopyNews] = field(default_factory=dict)
    latest: datetime | None = None


class LogWatch:
    """Reads one log, from where it was last time; several may run, one works."""

    def __init__(
        self, source: LogSource, store: Store, reading: Reading, consequences: Consequences, clock: Clock
    ) -> None:
        self._source = source
        self._store = store
        self._reading = reading
        self._consequences = consequences
        self._clock = clock
        self._position: Position | None = None  # None: not the leader, or not known
        self._written_at = 0.0  # by the monotonic clock
        self._sweep_due = 0.0  # by the same
        # The queue manager repeats whose message it is with each retry, so a restart forgets little.
        self._copies: OrderedDict[str, OutboundId] = OrderedDict()
        self._ration = _Ration(reading.per_hour)
        self.health = "starting"  # or "ok", or what is wrong

    async def run(self, stop: asyncio.Event) -> None:
        """Until stop is set. What was read is dealt with first."""
        try:
            while not stop.is_set():
                await _pause(stop, await self._turn(stop))
        finally:
            await self._source.close()
            await self._store.close()

    async def _turn(self, stop: asyncio.Event) -> float:
        """One piece of the log. Gives the seconds until the next."""
        try:
            wait = await self._work(stop)
        except Unavailable as error:
            if self.health != str(error):
                log.logger().warning("maillog.postponed", problem=str(error))
            self.health = str(error)
            self._position = None
            return _RETRY_SECONDS
        except Exception:
            log.logger().exception("maillog.failed")
            self.health = "failing, see the log"
            self._position = None
            return _FAILURE_SECONDS
        if self.health != "ok":
            log.logger().info("maillog.watching", leading=self._position is not None)
        self.health = "ok"
        return wait

    async def _work(self, stop: asyncio.Event) -> float:
        if not await self._store.lead():
            self._position = None
            return _FOLLOWER_SECONDS
        if self._position is None:
            self._position = await self._store.position()
        await self._sweep()
        before = self._position
        chunk = await self._source.read(before)
        if chunk.position == before:
            metrics.MAILLOG_BEHIND.set(0)
            if time.monotonic() - self._written_at > _SIGN_OF_LIFE_SECONDS:
                await self._write(Written(before, before))
        else:
            await self._digest(before, chunk, stop)
        return 0 if chunk.more else _IDLE_SECONDS

    async def _sweep(self) -> None:
        if time.monotonic() >= self._sweep_due:
            self._sweep_due = time.monotonic() + _SWEEP_SECONDS
            if swept := await self._consequences.sweep_spool(self._clock() - _SPOOLED_FOR):
                log.logger().info("spool.swept", files=swept)

    async def _digest(self, before: Position, chunk: Chunk, stop: asyncio.Event) -> None:
        """A piece that breaks something is left out: those behind it matter as well."""
        try:
            found = self._collect(chunk.lines)
            await self._settle(found, stop)
            rejections = await self._rejections(found.rejected)
            await self._follow(found)
            await self._write(Written(before, chunk.position, rejections, tuple(found.news.values())))
        except Unavailable:
            raise
        except Exception:
            log.logger().exception("maillog.skipped", lines=len(chunk.lines), octets=before.octets)
            await self._write(Written(before, chunk.position))
            return
        _count(found, len(rejections))
        if found.latest is not None:
            metrics.MAILLOG_BEHIND.set(max(0.0, (self._clock() - found.latest).total_seconds()))

    async def _write(self, batch: Written) -> None:
        done = await self._store.write(batch)
        self._position = batch.after if done else None
        self._written_at = time.monotonic()

    def _collect(self, lines: Sequence[bytes]) -> _Found:
        now = self._clock()
        found = _Found()
        for line in lines:
            match self._reading.line(line, now):
                case Rejected() as rejected:
                    found.latest = rejected.at
                    if rejected.at > now - KEPT_FOR:
                        found.rejected.append(rejected)
                case QueueActive(queue_id, sender):
                    self._tie(queue_id, sender, now)
                case Delivery() as delivery:
                    found.latest = delivery.at
                    outbound_id = self._copies.get(delivery.queue_id)
                    # After an expiry a report comes, which tells more.
                    if outbound_id is not None and delivery.status != "expired":
                        known = found.news.get(outbound_id)
                        if known is None or not known.sent:
                            found.news[outbound_id] = news(outbound_id, delivery)
                case Removed(queue_id):
                    self._copies.pop(queue_id, None)
                case None:
                    pass
        return found

    def _tie(self, queue_id: str, sender: str, now: datetime) -> None:
        """Which copy a message of the queue is; ids come back, for others' messages too."""
        local, _, domain = sender.rpartition("@")
        path = verp.decode(local, domain, self._reading.keys, day_number(now))
        if not isinstance(path, verp.VerpId):
            self._copies.pop(queue_id, None)
            return
        self._copies[queue_id] = OutboundId(path.outbound_id)
        self._copies.move_to_end(queue_id)
        if len(self._copies) > _QUEUE_IDS:
            self._copies.popitem(last=False)

    async def _settle(self, found: _Found, stop: asyncio.Event) -> None:
        if found.rejected:
            age = self._clock() - max(rejected.at for rejected in found.rejected)
            await _pause(stop, min(_SETTLED_AFTER, _SETTLED_AFTER - age).total_seconds())

    async def _rejections(self, rejected: Sequence[Rejected]) -> list[Rejection]:
        questions = [asked for one in rejected if (asked := question(one)) is not None]
        if not questions:
            return []
        targets = await self._store.targets(questions)
        records = []
        for n, target in sorted(targets.items()):
            if target.known:
                metrics.MAILLOG_EVENTS.labels("known").inc()
            elif self._ration.take(target.account_id, self._clock()):
                records.append(rejection(questions[n], target, self._reading.unknown))
            else:
                metrics.MAILLOG_EVENTS.labels("surplus").inc()
        return records

    async def _follow(self, found: _Found) -> None:
        """Before it is written down: done twice does no harm, not at all would."""
        sent = [one for one in found.news.values() if one.sent]
        arrived = await self._store.arrived(sent) if sent else []
        if not arrived:
            return
        recipients = {one.recipient_id for one in arrived if one.type is EmailType.FORWARD and one.recipient_id}
        if recipients:
            await self._consequences.recipients_work(sorted(recipients), min(one.at for one in sent))
        contacts = [one.outbound_id for one in arrived if one.type in (EmailType.REPLY, EmailType.SEND)]
        if contacts:
            await self._consequences.contacts_work(contacts)
        await self._consequences.drop_spooled([one.outbound_id for one in arrived])


class _Ration:
    """So many an hour for each account: whoever is refused again and again shall not fill the database."""

    def __init__(self, per_hour: int) -> None:
        self._per_hour = per_hour
        self._hour = ""
        self._taken: dict[AccountId, int] = {}

    def take(self, account_id: AccountId, now: datetime) -> bool:
        """False: it has had its share."""
        hour = f"{now:%Y%m%d%H}"
        if hour != self._hour:
            self._hour, self._taken = hour, {}
        taken = self._taken[account_id] = self._taken.get(account_id, 0) + 1
        if taken == self._per_hour + 1:
            log.logger().warning("maillog.surplus", account=account_id, records=self._per_hour)
        return taken <= self._per_hour


def _count(found: _Found, rejections: int) -> None:
    metrics.MAILLOG_EVENTS.labels("rejection").inc(rejections)
    for one in found.news.values():
        metrics.MAILLOG_EVENTS.labels("sent" if one.sent else one.remote.partition(":")[0]).inc()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    if seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
