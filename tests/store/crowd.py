"""Stores that many ask at once."""

from collections.abc import AsyncIterator

import pytest

from mailrelay.store.database import Database
from tests.store.world import Connection


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    """Eight connections to a database with the small world of world.py."""
    opened = Database(dsn, 8, 20.0, "test")
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()
