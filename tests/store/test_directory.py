"""What every process keeps in memory: domains and bans."""

from collections.abc import AsyncIterator

import pytest

from mailrelay.core.bans import Ban, BanId
from mailrelay.core.errors import Unavailable
from mailrelay.store import directory
from mailrelay.store.database import Database
from mailrelay.store.directory import read_ban, read_bans, read_domains
from tests.store.world import JOHN, Connection, insert, value


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(dsn, 1, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


async def test_domains_are_shared_or_verified(conn: Connection, database: Database) -> None:
    await insert(conn, "domain", name="unverified.example", account_id=JOHN)
    await insert(conn, "domain", name="asleep.example", account_id=JOHN, verified_at="now", active=False)
    shared, custom = await read_domains(database)
    assert shared == {"alias.example", "second.example"}
    assert custom == {"own.example", "asleep.example"}  # switched off, but still ours


async def test_d_15_a_shared_domain_that_is_switched_off_is_not_served(conn: Connection, database: Database) -> None:
    await conn.execute("update domain set active = false where name = 'second.example'")
    shared, _ = await read_domains(database)
    assert shared == {"alias.example"}


async def test_without_domains_there_are_none(dsn: str, database: Database) -> None:
    assert await read_domains(database) == (frozenset(), frozenset())
    assert await read_bans(database) == []


async def test_bans_in_force_are_read_with_all_that_decides(conn: Connection, database: Database) -> None:
    kept = await insert(conn, "ban", type="domain", value="bad.example", scope="sender")
    ip = await insert(conn, "ban", type="ip", value="192.0.2.77")
    later = await insert(conn, "ban", type="name", value="admin", expires_at="2100-01-01T00:00:00Z")
    gone = [
        await insert(conn, "ban", type="email", value="a@bad.example", revoked_at="now"),
        await insert(conn, "ban", type="email", value="b@bad.example", expires_at="2020-01-01T00:00:00Z"),
    ]
    expires_at = await value(conn, "select expires_at from ban where id = %s", later)
    expected = [
        Ban(BanId(kept), "domain", "bad.example", "sender", None),
        Ban(BanId(ip), "ip", "192.0.2.77", "both", None),
        Ban(BanId(later), "name", "admin", "both", expires_at),
    ]
    assert sorted(await read_bans(database), key=lambda ban: ban.id) == expected
    assert [await read_ban(database, ban.id) for ban in expected] == expected
    assert [await read_ban(database, BanId(number)) for number in (*gone, 999)] == [None, None, None]


async def test_a_database_that_is_away_is_unavailable() -> None:
    database = Database("host=/nonexistent dbname=none", 1, 0.2, "test")
    await database.open()
    for reading in (read_domains(database), read_bans(database), read_ban(database, BanId(1))):
        with pytest.raises(Unavailable):
            await reading
    await database.close()


async def test_many_bans_are_read_piece_by_piece(
    conn: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_PIECE", 3)
    for count in (2, 3, 7):
        await conn.execute("delete from ban")
        await conn.execute(
            "insert into ban (type, value) select 'name', 'n' || n from generate_series(1, %s) n", (count,)
        )
        assert {ban.value for ban in await read_bans(database)} == {f"n{n}" for n in range(1, count + 1)}
