"""A connection whose owner leads: of all processes that ask, one does the work, as long as its connection lives."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString

from psycopg import AsyncConnection, InterfaceError, OperationalError
from psycopg.rows import TupleRow

from mailrelay.core.errors import Unavailable

# Whatever the planner believes about a table that has just grown: every statement of those who lead walks an index.
_SETTINGS = " ".join(
    f"-c {setting}"
    for setting in (
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "max_parallel_workers_per_gather=0",
        "jit=off",
        "statement_timeout=60s",
        "lock_timeout=10s",
    )
)


class Leader:
    """A connection of its own, in autocommit. Every method raises Unavailable when the database is in trouble.

    lock: a number that nothing else locks in this database. The lock belongs to the session, as the work takes many
    transactions; so behind a pooler that shares sessions several may lead: what they do must bear that.
    """

    def __init__(self, dsn: str, lock: int, name: str) -> None:
        self._dsn = dsn
        self._lock = lock
        self._name = name
        self._conn: AsyncConnection[TupleRow] | None = None
        self._leading = False

    async def lead(self) -> bool:
        """True: this process is the one, until its connection ends. Connects when needed."""
        if self._conn is None:
            try:
                self._conn = await AsyncConnection.connect(
                    self._dsn,
                    autocommit=True,
                    application_name=f"mailrelay {self._name}",
                    connect_timeout=10,
                    tcp_user_timeout=60_000,
                    options=_SETTINGS,
                )
            except OperationalError as error:
                raise Unavailable(f"database: {type(error).__name__}") from error
        if not self._leading:
            [(self._leading,)] = await self.rows("select pg_try_advisory_lock(%(lock)s)", {"lock": self._lock})
        else:
            await self.rows("select 1")  # still connected, hence still the leader
        return self._leading

    async def rows(self, query: LiteralString, values: Mapping[str, Any] | None = None) -> list[TupleRow]:
        """All rows of one statement that has some."""
        async with self._connected() as conn:
            return await (await conn.execute(query, values)).fetchall()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """All or nothing of what is done within."""
        async with self._connected() as conn, conn.transaction():
            yield conn

    async def close(self) -> None:
        """Give up the lead; another `lead` connects again."""
        conn, self._conn, self._leading = self._conn, None, False
        if conn is not None:
            await conn.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        if self._conn is None:
            raise Unavailable("database: not connected")
        try:
            yield self._conn
        except (OperationalError, InterfaceError) as error:
            await self.close()
            raise Unavailable(f"database: {type(error).__name__}") from error
