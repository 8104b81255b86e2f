"""Recipients that rules name, from PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from mailrelay.core.facts import AccountId
from mailrelay.store.database import Database
from mailrelay.store.targets import TargetReader
from tests.store.world import JOHN, OTHER, Connection, insert, value


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield database
    await database.close()


async def uuid_of(conn: Connection, recipient: int) -> UUID:
    found = await value(conn, "select uuid from recipient where id = %s", recipient)
    assert isinstance(found, UUID)
    return found


async def test_they_come_in_the_order_they_are_asked_for(conn: Connection, database: Database) -> None:
    second = await insert(conn, "recipient", account_id=JOHN, address="second@Inbox2.example", pending=True)
    asked = [await uuid_of(conn, second), await uuid_of(conn, JOHN)]
    found = await TargetReader(database).read(AccountId(JOHN), asked)
    assert [(str(one.address), one.verified) for one in found] == [
        ("second@inbox2.example", False),
        ("johndoe@inbox.example", True),
    ]


async def test_it_is_known_since_when_they_fail_and_when_they_were_tried(conn: Connection, database: Database) -> None:
    await conn.execute("update recipient set failing_since = '2026-01-06', probed_at = '2026-01-07'")
    [found] = await TargetReader(database).read(AccountId(JOHN), [await uuid_of(conn, JOHN)])
    assert found.failing_since is not None
    assert found.probed_at == found.failing_since + timedelta(days=1)


async def test_it_is_known_who_wants_encryption(conn: Connection, database: Database) -> None:
    uuid = await uuid_of(conn, JOHN)
    await conn.execute("update recipient set public_key = 'key', fingerprint = %s, should_encrypt = true", ("AB" * 20,))
    [found] = await TargetReader(database).read(AccountId(JOHN), [uuid])
    assert found.encrypts


async def test_those_of_others_and_of_nobody_are_left_out(conn: Connection, database: Database) -> None:
    asked = [await uuid_of(conn, OTHER), uuid4()]
    assert list(await TargetReader(database).read(AccountId(JOHN), asked)) == []
