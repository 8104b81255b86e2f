"""The chronicle's turns, with a store of its own making."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from mailrelay.core.chronicle import Entry, LedgerId, Page, Told, tell
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId, Reason
from mailrelay.core.notices import Code, Notice
from mailrelay.flows import chronicle as flow
from mailrelay.flows.chronicle import Chronicle, Manner

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MANNER = Manner("mx.relay.example", 1000, pause_seconds=0, follow_seconds=0, retry_seconds=0)


@dataclass(frozen=True)
class Written:
    records: int = 0
    notices: int = 0


@dataclass
class MemoryStore:
    """A ledger of `size` entries, in pieces of ten. troubles: what `write` raises, one after the other."""

    stop: asyncio.Event
    size: int = 25
    leads: bool = True
    troubles: list[Exception] = field(default_factory=list)
    near: Mapping[AccountId, int] = field(default_factory=dict)
    saved: int = 0
    asked_for: list[int] = field(default_factory=list)
    looks: int = 0
    written: list[Told] = field(default_factory=list)
    posted: list[Notice] = field(default_factory=list)
    closed: bool = False
    on_look: Callable[[], None] = lambda: None

    async def lead(self) -> bool:
        if not self.leads:
            self.stop.set()
        return self.leads

    async def position(self, since: datetime) -> LedgerId:
        assert since == NOON - timedelta(days=1)
        return LedgerId(self.saved)

    async def piece(self, after: LedgerId) -> Page:
        self.asked_for.append(after)
        upto = min(self.size, after + 10)
        entries = [entry(n) for n in range(after + 1, upto + 1)]
        return Page(entries, after, LedgerId(upto), upto - after == 10, accounts=[AccountId(1)], late_seconds=7.0)

    async def open_piece(self, after: LedgerId) -> Page:
        self.looks += 1
        self.on_look()
        if self.saved >= self.size:
            self.stop.set()
        return Page([], after, after, more=False)

    async def near_limit(self, accounts: Sequence[AccountId], default_octets: int) -> Mapping[AccountId, int]:
        return {account: self.near[account] for account in accounts if account in self.near}

    async def write(self, page: Page, told: Sequence[Told], notices: Sequence[Notice] = ()) -> Written:
        if self.troubles:
            raise self.troubles.pop(0)
        self.saved = page.upto
        self.written += told
        self.posted += notices
        return Written(len(told), len(notices))

    async def write_open(self, page: Page, told: Sequence[Told]) -> Written:
        raise AssertionError("nothing was queued")

    async def close(self) -> None:
        self.closed = True


def entry(n: int) -> Entry:
    return Entry(
        LedgerId(n),
        NOON,
        "refused",
        Reason.ALIAS_DELETED,
        "a1@alias.example",
        account_id=AccountId(1),
        alias_id=AliasId(1),
    )


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def run(store: MemoryStore) -> Chronicle:
    chronicle = Chronicle(store, MANNER, lambda: NOON)
    await asyncio.wait_for(chronicle.run(store.stop), 20)
    assert store.closed
    return chronicle


async def test_it_reads_on_where_it_was() -> None:
    before = sample("mailrelay_chronicle_told_total", what="record")
    store = MemoryStore(asyncio.Event())
    chronicle = await run(store)
    assert store.asked_for == [0, 10, 20]
    assert [one.entry.id for one in store.written] == [*range(1, 26)]
    assert all(one.record is not None for one in store.written)
    assert sample("mailrelay_chronicle_told_total", what="record") == before + 25
    assert chronicle.health == "ok"


async def test_how_far_behind_it_is_shows() -> None:
    seen: list[float] = []
    store = MemoryStore(asyncio.Event(), on_look=lambda: seen.append(sample("mailrelay_chronicle_behind_seconds")))
    await run(store)
    assert seen == [7.0, 7.0, 0.0]


async def test_a_piece_that_could_not_be_written_is_read_again() -> None:
    store = MemoryStore(asyncio.Event(), troubles=[Unavailable("database: AdminShutdown"), RuntimeError("bug")])
    chronicle = await run(store)
    assert store.asked_for == [0, 0, 0, 10, 20]
    assert len(store.written) == 25
    assert chronicle.health == "ok"


async def test_an_entry_that_breaks_something_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(entry: Entry, host: str) -> Told:
        if entry.id == 7:
            raise KeyError("a bug")
        return tell(entry, host)

    monkeypatch.setattr(flow, "tell", told)
    store = MemoryStore(asyncio.Event())
    chronicle = await run(store)
    assert [one.entry.id for one in store.written] == [n for n in range(1, 26) if n != 7]
    assert chronicle.health == "ok"


async def test_what_is_wrong_is_told() -> None:
    class Ending(MemoryStore):
        async def write(self, page: Page, told: Sequence[Told], notices: Sequence[Notice] = ()) -> Written:
            self.stop.set()
            return await super().write(page, told, notices)

    away = await run(Ending(asyncio.Event(), troubles=[Unavailable("database: AdminShutdown")]))
    assert away.health == "database away"
    broken = await run(Ending(asyncio.Event(), troubles=[RuntimeError("bug")]))
    assert broken.health == "failing, see the log"


async def test_who_does_not_lead_reads_nothing() -> None:
    store = MemoryStore(asyncio.Event(), leads=False)
    chronicle = await run(store)
    assert (store.asked_for, store.looks, chronicle.health) == ([], 0, "ok")


async def test_bandwidth_is_spoken_of_once_a_day() -> None:
    store = MemoryStore(asyncio.Event(), near={AccountId(1): 93})
    await run(store)
    assert store.posted == [Notice(Code.NBL, AccountId(1), data={"percent": 93})]


async def test_what_was_not_written_is_said_again() -> None:
    store = MemoryStore(asyncio.Event(), near={AccountId(1): 93}, troubles=[Unavailable("database: AdminShutdown")])
    await run(store)
    assert len(store.posted) == 1
