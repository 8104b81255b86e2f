"""The memory of receivers on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.receivers import Receiver
from mailrelay.store.database import Database
from mailrelay.store.receivers import REWRITES_ONLY, ReceiverStore
from tests.store.world import Connection, insert, value

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[ReceiverStore]:
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    yield ReceiverStore(database)
    await database.close()


async def test_refusals_add_up_and_mark(store: ReceiverStore) -> None:
    for number in (1, 2):
        known = await store.note("inbox.example", NOW - number * HOUR, NOW)
        assert known.rewrite_only_until is None
    assert await store.rewrites_only(["inbox.example", "inbox2.example"]) == frozenset()
    known = await store.note("inbox.example", NOW, NOW)
    assert known == Receiver((NOW - 2 * HOUR, NOW - HOUR, NOW), NOW + timedelta(days=30))
    assert await store.rewrites_only(["inbox.example", "inbox2.example"]) == {"inbox.example"}
    assert await store.rewrites_only([]) == frozenset()


async def test_a_report_that_comes_twice_counts_once(store: ReceiverStore) -> None:
    for _ in range(5):
        assert len((await store.note("inbox.example", NOW, NOW)).refused_at) == 1


async def test_no_refusal_is_lost_among_concurrent_ones(store: ReceiverStore) -> None:
    await asyncio.gather(*(store.note("inbox.example", NOW - number * HOUR, NOW) for number in range(8)))
    assert len((await store.note("inbox.example", NOW, NOW)).refused_at) == 8


async def test_a_mark_ends(store: ReceiverStore) -> None:
    then = NOW - timedelta(days=40)
    for number in range(3):
        await store.note("inbox.example", then - number * HOUR, then)
    assert await store.rewrites_only(["inbox.example"]) == frozenset()


async def test_the_fragment_answers_for_recipients(conn: Connection, store: ReceiverStore) -> None:
    await insert(conn, "recipient", account_id=1, address='"a@b"@Inbox2.example')
    for number in range(3):
        await store.note("inbox.example", NOW - number * HOUR, NOW)
    query = f"select array_agg({REWRITES_ONLY} order by r.id) from recipient r"
    assert await value(conn, query) == [True, True, False]
    for number in range(3):
        await store.note("inbox2.example", NOW - number * HOUR, NOW)
    assert await value(conn, query) == [True, True, True]
