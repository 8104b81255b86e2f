"""The connection pool: autocommit, short time-outs, and one word for every kind of database trouble."""

import asyncio
import select
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, Error, InterfaceError, OperationalError
from psycopg.errors import DeadlockDetected, LockNotAvailable, ReadOnlySqlTransaction, SerializationFailure
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from mailrelay import log
from mailrelay.core.errors import Busy, Unavailable

# Our statements look up a few keys: a generic plan of index probes is always right, and compiling never pays. As the
# planner does not know how many keys there will be, it would rather read the smaller tables whole, or everybody's rows
# in the order that is wanted for somebody's.
_SETTINGS = " ".join(
    f"-c {setting}"
    for setting in (
        "plan_cache_mode=force_generic_plan",
        "jit=off",
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "enable_incremental_sort=off",
    )
)
# A host that vanished without a word would hold up a statement, and all that wait behind it, for a quarter of an hour.
_KEEPALIVE = {"keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 10_000}

# Whoever waits for what we gave up wakes up meanwhile; faster, we would take it again under its very nose.
_YIELD_SECONDS = 0.05


class Database:
    """Runs single statements. Trouble with the server is Unavailable; a statement that is wrong stays an Error."""

    def __init__(self, dsn: str, connections: int, timeout_seconds: float, name: str) -> None:
        self._timeout = timeout_seconds
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=connections,
            open=False,
            timeout=timeout_seconds,
            reconnect_timeout=0,
            check=self._check,
            kwargs={
                "autocommit": True,
                "application_name": f"mailrelay {name}",
                "connect_timeout": max(2, round(timeout_seconds)),
                "options": f"{_SETTINGS} -c statement_timeout={round(timeout_seconds * 1000)}",
                **_KEEPALIVE,
            },
        )

    async def open(self) -> None:
        """Begin; a server that is away is found out by the first query."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close()

    async def refresh(self) -> None:
        """Try all idle connections: those to a host that vanished do not look broken."""
        await self._pool.check()

    async def _check(self, conn: AsyncConnection[TupleRow]) -> None:
        """Raises for a connection that is broken; called for each before it is used.

        Where nobody asked anything, the server has nothing to say but good-bye, or news, which the next answer would
        bring as well. So only a connection in which there is something to read is worth a round trip. Where one is
        broken others are: the pool would find them one after another, and wait longer from each to the next.
        """
        if not _is_readable(conn.fileno()):
            return
        try:
            await self._pool.check_connection(conn)
        except (OperationalError, InterfaceError):
            await self._pool.check()
            raise

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """A connection in autocommit. Raises Unavailable when there is none or it breaks, Busy after a deadlock."""
        try:
            async with self._pool.connection() as conn:
                yield conn
        except (DeadlockDetected, LockNotAvailable, SerializationFailure) as error:
            raise Busy(f"database: {type(error).__name__}") from error
        except (OperationalError, InterfaceError, ReadOnlySqlTransaction, PoolTimeout, PoolClosed) as error:
            raise Unavailable(f"database: {type(error).__name__}") from error

    async def rows(self, query: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[TupleRow]:
        """All rows of one statement."""
        async with self.connection() as conn:
            cursor = await _execute(conn, query, values)
            return await cursor.fetchall() if _has_rows(cursor) else []

    async def row(self, query: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> TupleRow | None:
        """The first row of one statement."""
        async with self.connection() as conn:
            cursor = await _execute(conn, query, values)
            return await cursor.fetchone() if _has_rows(cursor) else None


async def _execute(
    conn: AsyncConnection[TupleRow], query: str, values: Mapping[str, Any] | Sequence[Any]
) -> AsyncCursor[TupleRow]:
    """One statement of its own, twice if the first try ended a deadlock.

    It was rolled back as a whole, and whoever it was in the way of goes on. Statements take their locks in one order
    where they can, but rows that are not there yet have no place in it, and people delete what mail is about.
    """
    try:
        return await conn.execute(query, values)
    except DeadlockDetected as error:
        log.logger().warning("database.deadlock", where=error.diag.context)
        await asyncio.sleep(_YIELD_SECONDS)
        return await conn.execute(query, values)


def _is_readable(file: int) -> bool:
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(0))


def _has_rows(cursor: AsyncCursor[TupleRow]) -> bool:
    # cursor.description would tell it as well, but describes every column first.
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0


def compact(statement: str) -> str:
    """A statement without indentation: psycopg remembers how to send those of up to 4096 characters."""
    return " ".join(statement.split())


def constraint(error: Error) -> str:
    """The name of the violated constraint, '' for other errors."""
    return error.diag.constraint_name or ""
