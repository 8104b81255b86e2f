"""Databases for store tests."""

from collections.abc import AsyncIterator, Iterator

import pytest
from psycopg import AsyncConnection

from mailrelay.store.database import Database
from tests.store.postgres import Cluster
from tests.store.world import WORLD, Connection


@pytest.fixture
def empty_dsn(cluster: Cluster) -> Iterator[str]:
    """Connection string of a fresh database without tables."""
    fresh = cluster.create()
    yield fresh
    cluster.drop(fresh)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """What the stores of a process share."""
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    """A connection in autocommit to a database with the small world of world.py."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(WORLD.encode())
        yield connection
