"""The chronicle: reads the ledger some seconds behind the mail, and tells owners and operators what happened."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core.chronicle import LedgerId, Page, Told, near_limit, tell
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Notice
from mailrelay.flows.ports import Clock

# Before there is a position: what happened earlier is taken as told.
_BEGIN_BEFORE = timedelta(days=1)
_TOLD_LIMIT = 100_000


class Written(Protocol):
    """How much was written."""

    @property
    def records(self) -> int: ...
    @property
    def notices(self) -> int: ...


class Store(Protocol):
    """As store.chronicle.ChronicleStore. All raise Unavailable."""

    async def lead(self) -> bool: ...
    async def position(self, since: datetime) -> LedgerId: ...
    async def piece(self, after: LedgerId) -> Page: ...
    async def open_piece(self, after: LedgerId) -> Page: ...
    async def near_limit(self, accounts: Sequence[AccountId], default_octets: int) -> Mapping[AccountId, int]: ...
    async def write(self, page: Page, told: Sequence[Told], notices: Sequence[Notice] = ()) -> Written: ...
    async def write_open(self, page: Page, told: Sequence[Told]) -> Written: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Manner:
    """How the chronicle works.

    host: how ours calls itself. bandwidth_octets: a month's for accounts that have no limit of their own, 0: none.
    pause_seconds: between looks at the ledger; follow_seconds: until one that does not lead asks again.
    """

    host: str
    bandwidth_octets: int
    pause_seconds: float = 3.0
    follow_seconds: float = 10.0
    retry_seconds: float = 5.0


class Chronicle:
    """Several may run; the one that leads reads, the others wait to take its place."""

    def __init__(self, store: Store, manner: Manner, clock: Clock) -> None:
        self._store = store
        self._manner = manner
        self._clock = clock
        self._leading: bool | None = None
        self._after: LedgerId | None = None  # None: the database is to be asked
        self._open_after = LedgerId(0)
        self._told_near: set[AccountId] = set()  # of today
        self._today: date | None = None
        self.health = "starting"  # or "ok", or what is wrong

    async def run(self, stop: asyncio.Event) -> None:
        """Until stop is set. A piece under way ends first."""
        try:
            while not stop.is_set():
                await _pause(stop, await self._turn())
        finally:
            metrics.CHRONICLE_BEHIND.set(0)
            await self._store.close()

    async def _turn(self) -> float:
        """One look. Gives the seconds until the next."""
        begun = time.monotonic()
        try:
            if not await self._lead():
                self.health = "ok"
                return self._manner.follow_seconds
            more = await self._read()
            again = await self._look_again()
        except Unavailable as error:
            self._leading, self._after = None, None
            metrics.DATABASE_ERRORS.inc()
            log.logger().warning("chronicle.postponed", problem=str(error))
            self.health = "database away"
            return self._manner.retry_seconds
        except Exception:
            self._after = None
            log.logger().exception("chronicle.failed")
            self.health = "failing, see the log"
            return self._manner.retry_seconds
        self.health = "ok"
        # Rests as long as it works, so that mail finds the database free.
        return time.monotonic() - begun if more or again else self._manner.pause_seconds

    async def _lead(self) -> bool:
        leads = await self._store.lead()
        if leads is not self._leading:
            log.logger().info("chronicle.leading" if leads else "chronicle.waiting")
            metrics.CHRONICLE_BEHIND.set(0)
            self._after = None
        self._leading = leads
        return leads

    async def _read(self) -> bool:
        """The next piece. True: another follows."""
        if self._after is None:
            self._after = await self._store.position(self._clock() - _BEGIN_BEFORE)
        page = await self._store.piece(self._after)
        if page.upto == page.after:
            metrics.CHRONICLE_BEHIND.set(0)
            return False
        told = self._tell(page)
        near = await self._near(page.accounts)
        self._count(await self._store.write(page, told, list(near.values())))
        self._told_near |= near.keys()
        self._after = page.upto
        metrics.CHRONICLE_BEHIND.set(page.late_seconds if page.more else 0)
        return page.more

    async def _look_again(self) -> bool:
        """The next of those that were queued. True: another follows, so that all were looked at when it is False."""
        page = await self._store.open_piece(self._open_after)
        if page.upto > page.after:
            self._count(await self._store.write_open(page, self._tell(page)))
        self._open_after = page.upto if page.more else LedgerId(0)
        return page.more

    def _tell(self, page: Page) -> list[Told]:
        """An entry that breaks something is left out: those behind it matter as well."""
        told = []
        for entry in page.entries:
            try:
                told.append(tell(entry, self._manner.host))
            except Exception:
                log.logger().exception("chronicle.skipped", entry=entry.id)
        return told

    async def _near(self, accounts: Sequence[AccountId]) -> dict[AccountId, Notice]:
        """What is said about bandwidth, once a day."""
        today = self._clock().date()
        if self._today != today or len(self._told_near) > _TOLD_LIMIT:
            self._today, self._told_near = today, set()
        asked = [account for account in accounts if account not in self._told_near]
        found = await self._store.near_limit(asked, self._manner.bandwidth_octets) if asked else {}
        return {account: near_limit(account, percent) for account, percent in found.items()}

    def _count(self, written: Written) -> None:
        metrics.CHRONICLE_TOLD.labels("record").inc(written.records)
        metrics.CHRONICLE_TOLD.labels("notice").inc(written.notices)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
