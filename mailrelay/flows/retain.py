"""The worker's round: count the ledger every minute, clear away what is old every hour."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.config import Worker
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.retention import OUTCOMES, Batch, Kind, cutoffs, imbalance

_TICK_SECONDS = 60.0
# After a restart of the server its first answer is about a connection that is no more; the next one tells the truth.
_RETRY_SECONDS = 5.0
# Counting may take this part of the time, so that a ledger of millions of rows a day is counted less often.
_COUNTING_SHARE = 0.05
_BATCHES_A_LINE = 20


class Store(Protocol):
    """What the round needs of the database. All raise Unavailable."""

    async def lead(self) -> bool: ...
    async def sweep(self, kind: Kind, before: datetime, position: str) -> Batch: ...
    async def outcomes(self, since: datetime) -> Mapping[str, int]: ...
    async def close(self) -> None: ...


class Retention:
    """Several workers may run; the one that leads does the work, the others wait to take its place."""

    def __init__(self, store: Store, settings: Worker, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._leading: bool | None = None
        self._purge_due = 0.0  # by the monotonic clock
        self._walked = ""  # how far queued ledger rows were looked for
        self.health = "starting"  # or "ok", or what is wrong

    async def run(self, stop: asyncio.Event) -> None:
        """Until stop is set. A batch under way ends first, which takes a minute at the most."""
        try:
            while not stop.is_set():
                await _pause(stop, await self._turn(stop))
        finally:
            await self._store.close()

    async def _turn(self, stop: asyncio.Event) -> float:
        """One round. Gives the seconds until the next."""
        try:
            wait = await self._work(stop)
        except Unavailable as error:
            self._follow()
            metrics.DATABASE_ERRORS.inc()
            log.logger().warning("retention.postponed", problem=str(error))
            self.health = "database away"
            return _RETRY_SECONDS
        except Exception:
            log.logger().exception("retention.failed")
            self.health = "failing, see the log"
        else:
            self.health = "ok"
            return wait
        return _TICK_SECONDS

    async def _work(self, stop: asyncio.Event) -> float:
        if not await self._store.lead():
            if self._leading is not False:
                log.logger().info("retention.waiting")
            self._follow()
            self._leading = False
            return _TICK_SECONDS
        if self.health == "starting":
            self.health = "ok"  # the first purge can take long
        if not self._leading:
            log.logger().info("retention.leading")
            self._leading, self._purge_due = True, 0.0
        if time.monotonic() >= self._purge_due:
            await self._purge(stop)
            self._purge_due = time.monotonic() + self._settings.purge_minutes * 60
        counting = await self._count()
        return min(max(_TICK_SECONDS, counting / _COUNTING_SHARE), max(0.0, self._purge_due - time.monotonic()))

    async def _purge(self, stop: asyncio.Event) -> None:
        begun = time.monotonic()
        rows: Counter[str] = Counter()
        for kind, before in cutoffs(self._clock(), self._settings.queue_days, self._settings.ledger_days).items():
            rows[kind.value] = await self._sweep(kind, before, stop)
        metrics.PURGE_SECONDS.observe(time.monotonic() - begun)
        log.logger().info(
            "retention.done", ms=round((time.monotonic() - begun) * 1000), finished=not stop.is_set(), **+rows
        )

    async def _sweep(self, kind: Kind, before: datetime, stop: asyncio.Event) -> int:
        """Batch after batch, with pauses as long as the work, so that mail finds the database free."""
        position = self._walked if kind is Kind.QUEUED else ""
        rows = batches = 0
        more = True
        while more and not stop.is_set():
            begun = time.monotonic()
            batch = await self._store.sweep(kind, before, position)
            rows, batches, position, more = rows + batch.rows, batches + 1, batch.position, batch.more
            _measure(kind, batch.rows)
            if kind is Kind.QUEUED:
                self._walked = position
            if more:
                if batches % _BATCHES_A_LINE == 0:
                    log.logger().info("retention.progress", kind=kind.value, rows=rows)
                await _pause(stop, time.monotonic() - begun)
        return rows

    async def _count(self) -> float:
        """Sets the ledger's gauges. Gives the seconds it took."""
        begun = time.monotonic()
        rows = await self._store.outcomes(self._clock() - timedelta(hours=24))
        for outcome in OUTCOMES:
            metrics.LEDGER_ROWS.labels(outcome).set(rows.get(outcome, 0))
        metrics.LEDGER_IMBALANCE.set(imbalance(rows))
        return time.monotonic() - begun

    def _follow(self) -> None:
        """No longer the leader: its gauges would only grow stale."""
        if self._leading:
            metrics.LEDGER_ROWS.clear()
            metrics.LEDGER_IMBALANCE.set(0)
        self._leading = None


def _measure(kind: Kind, rows: int) -> None:
    if kind is Kind.QUEUED:
        metrics.RECIPIENTS.labels("failed", Reason.EXPIRED_IN_QUEUE.value).inc(rows)
    else:
        metrics.PURGED_ROWS.labels(kind.table).inc(rows)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
