"""The pool gets over whatever happens to its connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from structlog.testing import capture_logs

from mailrelay.core.errors import Unavailable
from mailrelay.store.database import Database
from tests.store.world import until_waiting

CONNECTIONS = 4


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    pool = Database(dsn, CONNECTIONS, 20.0, "test")
    await pool.open()
    yield pool
    await pool.close()


async def busy(database: Database) -> None:
    """All connections in use at once."""
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            conn = await stack.enter_async_context(database.connection())
            await conn.execute("select 1")


async def end_sessions(dsn: str) -> int:
    """What a restart of the server does to the pool. How many there were, all of which are over."""
    ours = "from pg_stat_activity where application_name = 'mailrelay test' and datname = current_database()"
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn, asyncio.timeout(20):
        row = await (await conn.execute(f"select count(pg_terminate_backend(pid, 10000)) {ours}".encode())).fetchone()
        while await (await conn.execute(f"select count(*) {ours}".encode())).fetchone() != (0,):
            pass
        assert row is not None
        return int(row[0])


async def test_after_a_refresh_no_statement_meets_a_dead_connection(dsn: str, database: Database) -> None:
    await busy(database)
    assert await end_sessions(dsn) == CONNECTIONS
    await database.refresh()
    await busy(database)


async def test_no_statement_is_lost_to_a_server_that_has_hung_up(dsn: str, database: Database) -> None:
    """Not to one of the connections after another, either: the pool waits longer from each to the next."""
    await busy(database)
    assert await end_sessions(dsn) == CONNECTIONS
    assert await database.rows("select 1") == [(1,)]
    await busy(database)


async def test_a_connection_in_which_nothing_happened_costs_no_round_trip(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trip(_: object) -> None:
        raise AssertionError("a round trip")

    await database.rows("select 1")
    monkeypatch.setattr(AsyncConnectionPool, "check_connection", trip)
    assert await database.rows("select 1") == [(1,)]


async def test_what_the_server_says_by_the_way_ends_no_connection(dsn: str) -> None:
    database = Database(dsn, 1, 20.0, "test")
    await database.open()
    try:
        await database.rows("listen news")
        async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
            await conn.execute("notify news")
        assert await database.rows("select pg_listening_channels()") == [("news",)]
    finally:
        await database.close()


async def test_statements_that_are_prepared_survive_a_new_connection(dsn: str, database: Database) -> None:
    """psycopg prepares what it sees often; a new server session knows nothing of that."""
    for _ in range(10 * CONNECTIONS):
        assert await database.rows("select %s::int + 1", [1]) == [(2,)]
    await end_sessions(dsn)
    await database.refresh()
    for _ in range(10 * CONNECTIONS):
        assert await database.rows("select %s::int + 1", [1]) == [(2,)]


async def test_callers_that_leave_in_the_middle_leave_no_hole_in_the_pool(dsn: str, database: Database) -> None:
    for _ in range(3):
        sleepers = [asyncio.create_task(database.rows("select pg_sleep(2.5)")) for _ in range(CONNECTIONS)]
        await until_asleep(dsn, CONNECTIONS)
        for sleeper in sleepers:
            sleeper.cancel()
        await asyncio.gather(*sleepers, return_exceptions=True)
        assert all(sleeper.cancelled() for sleeper in sleepers)
    await busy(database)


async def until_asleep(dsn: str, count: int) -> None:
    query = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn, asyncio.timeout(20):
        while await (await conn.execute(query)).fetchone() != (count,):
            pass


async def test_a_statement_that_ended_a_deadlock_is_run_again(dsn: str, database: Database) -> None:
    """It has the first row, for which we wait, and wants the second, which we have."""
    statement = """
        with first as materialized (select from pair where id = 1 for update), gate as materialized (
            select pg_advisory_xact_lock(1), set_config('deadlock_timeout', '10ms', true) from first)
        update pair set n = n + 1 where (select count(*) from gate) = 1 returning n
    """
    async with (
        await AsyncConnection.connect(dsn, autocommit=True) as gate,
        await AsyncConnection.connect(dsn, autocommit=True) as conn,
    ):
        await gate.execute("create table pair as select id, 0 as n from generate_series(1, 2) id")
        await gate.execute("select pg_advisory_lock(1)")
        await conn.execute("set deadlock_timeout = '1min'")  # the other one gives way
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as group, conn.transaction():
                await conn.execute("update pair set n = n + 10 where id = 2")
                waiting = group.create_task(database.rows(statement))
                await until_waiting(gate, 1)
                ours = group.create_task(conn.execute("update pair set n = n + 10 where id = 1"))
                await until_waiting(gate, 2)
                await gate.execute("select pg_advisory_unlock(1)")
                await ours
        assert waiting.result() == [(11,), (11,)]
    assert [(line["event"], "pair" in line["where"]) for line in logs] == [("database.deadlock", True)]


async def test_a_slow_statement_is_ended_by_the_server(dsn: str) -> None:
    database = Database(dsn, 1, 2.0, "test")
    await database.open()
    try:
        await database.rows("select 1")
        with pytest.raises(Unavailable, match="QueryCanceled"):
            await database.rows("select pg_sleep(10)")
        assert await database.rows("select 1") == [(1,)]
    finally:
        await database.close()


async def test_a_host_that_vanishes_is_noticed_by_the_kernel(database: Database) -> None:
    async with database.connection() as conn:
        assert conn.info.get_parameters()["tcp_user_timeout"] == "10000"
