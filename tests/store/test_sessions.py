"""Sessions and users of the dashboard in PostgreSQL."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from mailrelay.core.facts import AccountId
from mailrelay.core.sessions import Entry, NewSession
from mailrelay.core.signin import Visitor
from mailrelay.store.database import Database
from mailrelay.store.entrance import EntranceStore
from mailrelay.store.sessions import SessionStore
from tests.store.world import JOHN, OTHER, Connection, Violates, insert, value

ACCOUNT = AccountId(JOHN)
NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=30)
VISITOR = Visitor("192.0.2.1", "192.0.2.0/24", "Browser")


def hashed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@pytest.fixture
async def store(database: Database, conn: Connection) -> SessionStore:
    await conn.execute("update account set password_hash = 'hash' where id = 1")
    return SessionStore(database)


async def entered(database: Database, name: str, at: datetime = NOW, keep: int = 5) -> UUID:
    """A sign-in whose refresh token has this name."""
    new = NewSession(uuid4(), hashed(name), LATER, VISITOR)
    user = await EntranceStore(database).enter(Entry(ACCOUNT, "hash", None, None), new, keep, at)
    assert user is not None
    return new.family


async def test_a_session_is_found_by_its_family_and_account(store: SessionStore, database: Database) -> None:
    family = await entered(database, "a")
    found = await store.of_access(ACCOUNT, family, NOW)
    assert found is not None
    assert (found[0].username, found[1]) == ("johndoe", LATER)
    assert await store.of_access(AccountId(OTHER), family, NOW) is None
    assert await store.of_access(ACCOUNT, uuid4(), NOW) is None
    assert await store.of_access(ACCOUNT, family, LATER) is None


async def test_use_is_noted_once_a_minute(store: SessionStore, database: Database, conn: Connection) -> None:
    family = await entered(database, "a")
    for seconds, noted in ((59, 0), (61, 61), (100, 61)):
        await store.of_access(ACCOUNT, family, NOW + timedelta(seconds=seconds))
        assert await value(conn, "select last_used_at from session") == NOW + timedelta(seconds=noted)


async def test_a_family_has_one_session_in_force(store: SessionStore, database: Database, conn: Connection) -> None:
    family = await entered(database, "a")
    with Violates("session_active_unique"):
        await insert(
            conn, "session", account_id=JOHN, family=family, refresh_hash=hashed("b"), refresh_expires_at=LATER
        )


async def test_of_many_renewals_at_once_one_is_new(store: SessionStore, database: Database, conn: Connection) -> None:
    await entered(database, "a")
    renewed = await asyncio.gather(*(store.renew(hashed("a"), hashed(f"b{n}"), VISITOR, NOW) for n in range(6)))
    assert sorted(one.is_new for one in renewed if one is not None) == [False] * 5 + [True]
    assert await value(conn, "select count(*) from session where status = 'active'") == 1


async def test_a_renewal_against_the_end_of_all_sessions_leaves_none(
    store: SessionStore, database: Database, conn: Connection
) -> None:
    for n in range(5):
        await entered(database, f"a{n}")
        await asyncio.gather(
            store.renew(hashed(f"a{n}"), hashed(f"b{n}"), VISITOR, NOW), store.end_all(ACCOUNT, "admin:1", NOW)
        )
        assert await value(conn, "select count(*) from session where status in ('active', 'rotated')") == 0


async def test_a_token_that_nobody_has_is_worth_nothing(store: SessionStore) -> None:
    assert await store.of_refresh(hashed("x")) is None
    assert await store.renew(hashed("x"), hashed("y"), VISITOR, NOW) is None


async def test_the_oldest_sign_ins_end_first_whenever_they_were_renewed(
    store: SessionStore, database: Database, conn: Connection
) -> None:
    first, second = await entered(database, "a"), await entered(database, "b")
    await store.renew(hashed("a"), hashed("a2"), VISITOR, NOW)
    third = await entered(database, "c", keep=2)
    assert await store.of_access(ACCOUNT, first, NOW) is None
    for family in (second, third):
        assert await store.of_access(ACCOUNT, family, NOW) is not None


async def test_sign_ins_that_are_over_do_not_count(store: SessionStore, database: Database, conn: Connection) -> None:
    family = await entered(database, "a")
    await entered(database, "b")
    await conn.execute("update session set refresh_expires_at = now() - interval '1 day' where id = 2")
    await entered(database, "c", keep=2)
    assert await store.of_access(ACCOUNT, family, NOW) is not None


@pytest.mark.parametrize("stale", ["password", "state", "factor"])
async def test_who_changed_meanwhile_does_not_enter(
    store: SessionStore, database: Database, conn: Connection, stale: str
) -> None:
    change = {"password": "password_hash = 'x'", "state": "state = 'suspended'", "factor": "totp_secret = 'x'"}[stale]
    await conn.execute(f"update account set {change} where id = 1".encode())
    new = NewSession(uuid4(), hashed("a"), LATER, VISITOR)
    assert await EntranceStore(database).enter(Entry(ACCOUNT, "hash", None, None), new, 5, NOW) is None
    assert await value(conn, "select count(*) from session") == 0


async def test_a_network_is_familiar_after_a_sign_in(store: SessionStore, database: Database) -> None:
    entrance = EntranceStore(database)
    await entered(database, "a")
    for network, expected in (("192.0.2.0/24", True), ("198.51.100.0/24", False), ("", False)):
        person = await entrance.person("johndoe", network)
        assert person is not None
        assert person.familiar == expected
    assert await entrance.person("nobody", "") is None
    assert await entrance.person("\0", "") is None


async def test_administrators_are_found_by_their_index(store: SessionStore, conn: Connection) -> None:
    """Among a million mailboxes of others."""
    await conn.execute(
        "insert into account (implicit_mailbox) select n || '@x.example' from generate_series(1, 5000) n"
    )
    await conn.execute("analyze account")
    from mailrelay.store.users import _LOCK_ADMINS

    async with conn.transaction():
        await conn.execute("set local enable_seqscan = off")
        rows = await (await conn.execute(f"explain {_LOCK_ADMINS}".encode(), {"id": 1})).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "account_admin" in plan
    assert "Seq Scan" not in plan
