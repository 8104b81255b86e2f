"""How long things are kept, and the worker's round with a store of its own making."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from mailrelay.config import Worker
from mailrelay.core.errors import Unavailable
from mailrelay.core.retention import OUTCOMES, Batch, Kind, cutoffs, imbalance
from mailrelay.flows import retain
from mailrelay.flows.retain import Retention

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_every_kind_has_its_time() -> None:
    days = {kind: (NOON - before) / timedelta(days=1) for kind, before in cutoffs(NOON, 6.5, 90).items()}
    assert days == {
        Kind.OUTBOUND: 14,
        Kind.RATE_WINDOW: 8,
        Kind.BANDWIDTH: 92,
        Kind.BOUNCES: 12,
        Kind.MESSAGE_ID: 400,
        Kind.CONFIRMATION: 30,
        Kind.SESSION: 30,
        Kind.STORED_MESSAGE: 0,
        Kind.FAILED_DELIVERY: 7,
        Kind.RECEIVER_MEMORY: 37,
        Kind.JOB_DONE: 1,
        Kind.JOB_GIVEN_UP: 14,
        Kind.OUTBOX: 14,
        Kind.COMPLAINT: 60,
        Kind.NOTIFICATION_LIMIT: 35,
        Kind.API_LOG: 90,
        Kind.REQUEST_WINDOW: 26 / 24,
        Kind.TOKEN: 7,
        Kind.AUDIT: 365,
        Kind.DNS_REQUEST: 90,
        Kind.QUEUED: 6.5,
        Kind.LEDGER: 90,
    }


def test_queued_rows_end_before_old_rows_go() -> None:
    order = list(cutoffs(NOON, 6, 90))
    assert order.index(Kind.QUEUED) < order.index(Kind.LEDGER)


@pytest.mark.parametrize(
    ("rows", "left_over"),
    [
        ({}, 0),
        (dict.fromkeys(OUTCOMES, 3), 0),
        ({"refused": 7}, 0),
        ({"delivered": 5, "vanished": 2}, 2),
    ],
)
def test_what_is_accepted_has_a_known_outcome(rows: dict[str, int], left_over: int) -> None:
    assert imbalance(rows) == left_over


@dataclass
class MemoryStore:
    """Has `left` rows of every kind, in batches of 10, and stops the round when it has had enough."""

    stop: asyncio.Event
    left: dict[Kind, int] = field(default_factory=dict)
    leads: list[bool | Exception] = field(default_factory=lambda: [True])  # the last answer is repeated
    rows: Mapping[str, int] = field(default_factory=dict)
    counted: int = 0
    stop_after_counts: int = 1
    sweeps: list[tuple[Kind, str]] = field(default_factory=list)
    closed: int = 0

    async def lead(self) -> bool:
        answer = self.leads.pop(0) if len(self.leads) > 1 else self.leads[0]
        if isinstance(answer, Exception):
            self.stop.set()
            raise answer
        if not answer:
            self.stop.set()
        return answer

    async def sweep(self, kind: Kind, before: datetime, position: str) -> Batch:
        self.sweeps.append((kind, position))
        rows = min(10, self.left.get(kind, 0))
        self.left[kind] = self.left.get(kind, 0) - rows
        return Batch(rows, str(int(position or 0) + rows), more=rows == 10)

    async def outcomes(self, since: datetime) -> Mapping[str, int]:
        assert since == NOON - timedelta(hours=24)
        self.counted += 1
        if self.counted >= self.stop_after_counts:
            self.stop.set()
        return self.rows

    async def close(self) -> None:
        self.closed += 1


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def run(store: MemoryStore, purge_minutes: float = 60.0) -> Retention:
    retention = Retention(store, Worker(purge_minutes=purge_minutes), lambda: NOON)
    await asyncio.wait_for(retention.run(store.stop), 20)
    assert store.closed >= 1
    return retention


async def test_a_round_clears_everything_batch_by_batch_and_counts() -> None:
    store = MemoryStore(asyncio.Event(), left={Kind.OUTBOUND: 25, Kind.QUEUED: 3}, rows={"delivered": 4, "odd": 1})
    outbound = sample("mailrelay_purged_rows_total", table="outbound")
    expired = sample("mailrelay_recipients_total", outcome="failed", reason="expired_in_queue")
    runs = sample("mailrelay_purge_seconds_count")
    retention = await run(store)
    assert retention.health == "ok"
    assert {kind for kind, _ in store.sweeps} == set(Kind)
    assert [position for kind, position in store.sweeps if kind is Kind.OUTBOUND] == ["", "10", "20"]
    assert sample("mailrelay_purged_rows_total", table="outbound") == outbound + 25
    assert sample("mailrelay_recipients_total", outcome="failed", reason="expired_in_queue") == expired + 3
    assert sample("mailrelay_purge_seconds_count") == runs + 1
    assert sample("mailrelay_ledger_rows", outcome="delivered") == 4
    assert REGISTRY.get_sample_value("mailrelay_ledger_rows", {"outcome": "held"}) == 0
    assert sample("mailrelay_ledger_imbalance") == 1


async def test_the_walk_for_queued_rows_goes_on_where_it_was_the_others_begin_anew() -> None:
    store = MemoryStore(asyncio.Event(), left={Kind.QUEUED: 4, Kind.LEDGER: 4}, stop_after_counts=2)
    await run(store, purge_minutes=1e-6)
    assert [position for kind, position in store.sweeps if kind is Kind.QUEUED] == ["", "4"]
    assert [position for kind, position in store.sweeps if kind is Kind.LEDGER] == ["", ""]


async def test_stop_ends_a_long_sweep() -> None:
    stop = asyncio.Event()

    class Endless(MemoryStore):
        async def sweep(self, kind: Kind, before: datetime, position: str) -> Batch:
            if len(self.sweeps) == 50:
                stop.set()
            self.sweeps.append((kind, position))
            return Batch(1, "", more=True)

    store = Endless(stop)
    await run(store)
    assert len(store.sweeps) == 51


async def test_who_does_not_lead_touches_nothing() -> None:
    store = MemoryStore(asyncio.Event(), leads=[False])
    retention = await run(store)
    assert not store.sweeps
    assert not store.counted
    assert retention.health == "ok"


async def test_who_loses_the_lead_shows_no_stale_figures() -> None:
    store = MemoryStore(asyncio.Event(), leads=[True, False], rows={"held": 2, "odd": 1}, stop_after_counts=99)
    await run(store, purge_minutes=1e-6)
    assert store.counted == 1
    assert REGISTRY.get_sample_value("mailrelay_ledger_rows", {"outcome": "held"}) is None
    assert sample("mailrelay_ledger_imbalance") == 0


async def test_with_the_database_away_the_round_goes_on_and_says_so() -> None:
    store = MemoryStore(asyncio.Event(), leads=[Unavailable("database: OperationalError")])
    errors = sample("mailrelay_database_errors_total")
    retention = await run(store)
    assert retention.health == "database away"
    assert sample("mailrelay_database_errors_total") == errors + 1


async def test_a_database_that_is_back_is_noticed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retain, "_RETRY_SECONDS", 0.0)

    class Restarted(MemoryStore):
        async def lead(self) -> bool:
            try:
                return await super().lead()
            except Unavailable:
                self.stop.clear()
                raise

    store = Restarted(asyncio.Event(), leads=[Unavailable("database: AdminShutdown"), True])
    retention = Retention(store, Worker(), lambda: NOON)
    async with asyncio.timeout(20):  # less than the minute between rounds
        await retention.run(store.stop)
    assert retention.health == "ok"


async def test_a_bug_is_told_but_does_not_end_the_worker() -> None:
    retention = await run(MemoryStore(asyncio.Event(), leads=[RuntimeError("bug")]))
    assert retention.health == "failing, see the log"
