"""Failures are counted and taken back, whoever does so at the same time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from psycopg import AsyncConnection

from mailrelay.core.turnstile import Bucket
from mailrelay.store.database import Database
from mailrelay.store.failures import Failures
from tests.store.world import Connection, until_waiting, value

# Not in the order of their names.
CLIENT, WHO = Bucket("z", "192.0.2.1", 60, 5), Bucket("a", "account:1", 60, 5)


@pytest.fixture
async def failures(dsn: str) -> AsyncIterator[Failures]:
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield Failures(database)
    await database.close()


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as opened:
        yield opened


async def test_what_was_none_after_all_is_taken_back(conn: Connection, failures: Failures) -> None:
    for subject in ("account:1", "name:" + "x" * 240 + "\0"):
        buckets = (CLIENT, Bucket("a", subject, 60, 5))
        assert [hits for hits, _ in await failures.take(buckets)] == [1, 1]
        await failures.give_back(buckets)
        await failures.give_back(buckets)  # never below nothing
        assert await value(conn, "select array_agg(distinct hits) from request_window") == [0]


async def test_both_lock_in_one_order(conn: Connection, failures: Failures) -> None:
    """Else one who counts and one who takes back end each other."""
    await failures.take((CLIENT, WHO))
    for act in (failures.take, failures.give_back):
        async with conn.transaction():
            await conn.execute("select from request_window where name = 'z' for update")
            waiting = asyncio.create_task(act((CLIENT, WHO)))
            await until_waiting(conn)
            await conn.execute("select from request_window where name = 'a' for update nowait")
        await waiting
