"""Which logins may send with an address, on PostgreSQL."""

from collections.abc import AsyncIterator

import pytest

from mailrelay.core.address import parse_address, split_extension
from mailrelay.core.errors import Unavailable
from mailrelay.store.credentials import Credentials
from mailrelay.store.database import Database
from tests.store.postgres import Cluster
from tests.store.world import (
    JOHN,
    OTHER,
    Connection,
    alias,
    attach,
    handle,
    insert,
    release,
)

JOHNS = ["johndoe@inbox.example", "work@inbox.example"]


@pytest.fixture
async def store(conn: Connection, dsn: str) -> AsyncIterator[Credentials]:
    """John has two mailboxes that may reply, and others that may not."""
    await insert(conn, "recipient", account_id=JOHN, address="Work@inbox.example", verified_at="now")
    await insert(conn, "recipient", account_id=JOHN, address="new@inbox.example")
    await insert(conn, "recipient", account_id=JOHN, address="wait@inbox.example", verified_at="now", pending=True)
    await insert(
        conn, "recipient", account_id=JOHN, address="mute@inbox.example", verified_at="now", can_reply_send=False
    )
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield Credentials(database)
    await database.close()


async def senders(store: Credentials, address: str) -> list[str]:
    whole = parse_address(address)
    return await store.senders(split_extension(whole.local)[0], whole)


async def test_an_alias_is_for_all_recipients_that_may_reply(store: Credentials, conn: Connection) -> None:
    await alias(conn, "shop@alias.example")
    await alias(conn, "theirs@alias.example", account=OTHER)
    assert await senders(store, "Shop@alias.example") == JOHNS
    assert await senders(store, "shop+tag@alias.example") == JOHNS
    assert await senders(store, "theirs@alias.example") == ["other@inbox.example"]


@pytest.mark.parametrize(
    ("address", "logins"),
    [
        ("johndoe@inbox.example", ["johndoe@inbox.example"]),
        ("JohnDoe@Inbox.Example", ["johndoe@inbox.example"]),
        ("mute@inbox.example", ["mute@inbox.example"]),
        ("new@inbox.example", []),
        ("wait@inbox.example", []),
        ("johndoe+x@inbox.example", []),
        ("nobody@inbox.example", []),
        ("nobody@alias.example", []),
        ("x@own.example", []),  # its catch-all would take mail, but nobody has made it
    ],
)
async def test_the_address_of_a_verified_recipient_is_its_own(
    store: Credentials, conn: Connection, address: str, logins: list[str]
) -> None:
    await conn.execute("update domain set catch_all = true where not shared")
    assert await senders(store, address) == logins


async def test_a_mailbox_of_two_accounts_speaks_for_both(store: Credentials, conn: Connection) -> None:
    await insert(conn, "recipient", account_id=OTHER, address="work@inbox.example", verified_at="now")
    await alias(conn, "theirs@alias.example", account=OTHER)
    assert await senders(store, "theirs@alias.example") == ["other@inbox.example", "work@inbox.example"]
    assert await senders(store, "work@inbox.example") == ["work@inbox.example"]


async def test_an_alias_may_be_for_its_attached_recipients_only(store: Credentials, conn: Connection) -> None:
    number = await alias(conn, "shop@alias.example", attached_recipients_only=True)
    assert await senders(store, "shop@alias.example") == []
    for recipient in ("work@inbox.example", "mute@inbox.example"):
        row = await (await conn.execute("select id from recipient where address_folded = %s", (recipient,))).fetchone()
        assert row is not None
        await attach(conn, number, row[0])
    assert await senders(store, "shop@alias.example") == ["work@inbox.example"]


STATES = [
    ("state = 'inactive'", JOHNS),
    ("expires_at = now() - interval '1 day'", JOHNS),
    ("state = 'deleted', deleted_at = now()", []),
    ("state = 'forgotten', deleted_at = now(), account_id = null", []),
]


@pytest.mark.parametrize(("change", "logins"), STATES, ids=[change.split(",")[0] for change, _ in STATES])
async def test_the_state_of_an_alias_counts_as_for_replies(
    store: Credentials, conn: Connection, change: str, logins: list[str]
) -> None:
    await alias(conn, "shop@alias.example")
    await conn.execute(f"update alias set {change}".encode())
    assert await senders(store, "shop@alias.example") == logins


@pytest.mark.parametrize("change", ["state = 'suspended'", "state = 'deleting'", "sends_suspended_at = now()"])
async def test_an_account_that_may_not_send_has_no_alias_to_send_with(
    store: Credentials, conn: Connection, change: str
) -> None:
    await alias(conn, "shop@alias.example")
    await conn.execute(f"update account set {change}".encode())
    assert await senders(store, "shop@alias.example") == []
    own = ["work@inbox.example"] if change.startswith("sends") else []
    assert await senders(store, "work@inbox.example") == own


async def test_a_custom_domain_must_be_verified_and_may_be_inactive(store: Credentials, conn: Connection) -> None:
    await alias(conn, "shop@own.example")
    await alias(conn, "shop@johndoe.alias.example", username_id=1)
    await conn.execute("update domain set active = false where not shared")
    await conn.execute("update username set active = false")
    assert await senders(store, "shop@own.example") == JOHNS
    assert await senders(store, "shop@johndoe.alias.example") == JOHNS
    await conn.execute("update domain set verified_at = null where not shared")
    assert await senders(store, "shop@own.example") == []


async def test_an_alias_whose_domain_was_removed_is_nobodys(store: Credentials, conn: Connection) -> None:
    await alias(conn, "shop@gone.example")
    assert await senders(store, "shop@gone.example") == []


async def test_a_handle_speaks_where_it_is_switched_on_and_until_it_is_released(
    store: Credentials, conn: Connection
) -> None:
    number = await handle(conn, "jd")
    await alias(conn, "jd@alias.example", handle_id=number)
    await alias(conn, "jd@second.example", handle_id=number)
    await conn.execute("insert into handle_domain_off (handle_id, domain) values (%s, 'alias.example')", (number,))
    assert await senders(store, "jd@alias.example") == []
    assert await senders(store, "jd@second.example") == JOHNS
    await release(conn, number)
    assert await senders(store, "jd@second.example") == []


async def test_odd_octets_are_nobodys(store: Credentials) -> None:
    assert await store.senders("b\udcfc\0ro", parse_address("büro@alias.example")) == []


async def test_trouble_with_the_database_is_unavailable(cluster: Cluster) -> None:
    database = Database(cluster.dsn("nowhere"), 1, 0.5, "test")
    await database.open()
    try:
        with pytest.raises(Unavailable):
            await senders(Credentials(database), "shop@alias.example")
    finally:
        await database.close()
