"""What accounts want done with mail that fails checks."""

from collections.abc import AsyncIterator

import pytest

from mailrelay.core.eom import DEFAULT_PREFERENCES, Preferences
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.store.database import Database
from mailrelay.store.preferences import PreferencesReader
from tests.store.world import JOHN, Connection, insert


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(dsn, 1, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


async def test_each_account_has_its_own(conn: Connection, database: Database) -> None:
    curious = await insert(conn, "account", name="curious", dmarc_reject_action="quarantine")
    brief = await insert(conn, "account", name="brief", store_failed_deliveries=False)
    found = await PreferencesReader(database).read([AccountId(JOHN), AccountId(curious), AccountId(brief)])
    assert found == {
        JOHN: DEFAULT_PREFERENCES,
        curious: Preferences("quarantine"),
        brief: Preferences(stores_failed=False),
    }


async def test_an_account_that_is_gone_has_none(conn: Connection, database: Database) -> None:
    assert await PreferencesReader(database).read([AccountId(999_999)]) == {}


async def test_a_database_that_is_away_is_told() -> None:
    database = Database("host=127.0.0.1 port=1 dbname=nowhere", 1, 0.2, "test")
    await database.open()
    with pytest.raises(Unavailable):
        await PreferencesReader(database).read([AccountId(1)])
    await database.close()
