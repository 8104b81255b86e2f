"""Holders of API keys (haltman-api.md sections 1.7 and 2.6 b)."""

import asyncio
import hashlib
from typing import Any

import pytest

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId
from mailrelay.core.people import KeyHolder, KeyUse
from mailrelay.core.records import TokenId
from mailrelay.store.database import Database
from mailrelay.store.keyholders import KeyHolders
from tests.store.world import JOHN, Connection, insert, value

HASH = hashlib.sha256(b"key").digest()
MAILBOX = "johndoe@inbox.example"
HOLDER = KeyHolder(AccountId(JOHN), TokenId(1), Address("johndoe", "inbox.example"))


async def key(conn: Connection, life: str = "30 days", **more: Any) -> None:
    """The key that HASH is of, with so much of its life left."""
    number = await insert(
        conn, "token", **{"account_id": JOHN, "kind": "api_key", "hash": HASH, "owner_email": MAILBOX, **more}
    )
    await conn.execute("update token set expires_at = now() + %s::interval where id = %s", (life, number))


async def test_a_usable_key_has_a_holder(database: Database, conn: Connection) -> None:
    await key(conn)
    assert await KeyHolders(database).holder(HASH) == HOLDER
    assert await KeyHolders(database).holder(hashlib.sha256(b"other").digest()) is None


@pytest.mark.parametrize(
    "statement",
    [
        "update token set revoked_at = now()",
        "update token set expires_at = now()",
        "update account set state = 'suspended'",
        "update account set state = 'deleting'",
        "update token set kind = 'addy', owner_email = null",
    ],
)
async def test_what_is_over_has_none(database: Database, conn: Connection, statement: str) -> None:
    await key(conn)
    await conn.execute(statement.encode())
    assert await KeyHolders(database).holder(HASH) is None
    assert await value(conn, "select last_used_at from token") is None


async def test_use_is_written_down_once_a_second(database: Database, conn: Connection) -> None:
    await key(conn)
    for _ in range(2):
        await KeyHolders(database).holder(HASH)
    assert await value(conn, "select last_used_at > now() - interval '1 minute' from token") is True
    async with conn.transaction():
        before = await value(conn, "select xmin::text from token")
        await conn.execute("update token set last_used_at = now() + interval '1 hour'")
    assert before != await value(conn, "select xmin::text from token")
    before = await value(conn, "select xmin::text from token")
    await KeyHolders(database).holder(HASH)
    assert await value(conn, "select xmin::text from token") == before


@pytest.mark.parametrize(
    ("life", "automatic", "left"),
    [("6 days", True, 96), ("8 days", True, 8), ("6 days", False, 6)],
)
async def test_a_key_is_renewed_shortly_before_its_end(
    database: Database, conn: Connection, life: str, automatic: bool, left: int
) -> None:
    await key(conn, life, automatic_renew=automatic)
    for _ in range(2):
        assert await KeyHolders(database).holder(HASH) == HOLDER
    days = "select round(extract(epoch from expires_at - now()) / 86400)::int from token"
    assert await value(conn, days) == left
    assert await value(conn, "select last_used_at is not null from token") is True


async def test_of_many_uses_at_once_one_renews(database: Database, conn: Connection) -> None:
    await key(conn, "6 days", automatic_renew=True)
    await asyncio.gather(*(KeyHolders(database).holder(HASH) for _ in range(12)))
    days = "select round(extract(epoch from expires_at - now()) / 86400)::int from token"
    assert await value(conn, days) == 96


async def test_a_key_without_end_is_usable(database: Database, conn: Connection) -> None:
    await key(conn, automatic_renew=True)
    await conn.execute("update token set expires_at = null")
    assert await KeyHolders(database).holder(HASH) == HOLDER
    assert await value(conn, "select last_used_at is not null from token") is True


async def test_use_alone_is_no_edit(database: Database, conn: Connection) -> None:
    await key(conn)
    before = await value(conn, "select updated_at from token")
    await KeyHolders(database).holder(HASH)
    assert await value(conn, "select updated_at from token") == before


async def test_the_log_takes_what_clients_send(database: Database, conn: Connection) -> None:
    await key(conn)
    use = KeyUse(HOLDER, f"/api/{'x' * 200}", "alias_list", 200, "r", "", "", "agent\0" + "ü" * 300)
    await KeyHolders(database).log(use)
    row = "select length(route), octet_length(user_agent) <= 255, request_ip from api_log"
    assert await (await conn.execute(row)).fetchall() == [(128, True, None)]


async def test_a_request_with_a_key_that_was_deleted_meanwhile_is_logged(database: Database, conn: Connection) -> None:
    use = KeyUse(HOLDER, "/api/alias/list", "alias_list", 500, "r", "", "2001:db8::1", "agent")
    await KeyHolders(database).log(use)
    row = "select token_id, owner_email, body->>'outcome' from api_log"
    assert await (await conn.execute(row)).fetchall() == [(None, MAILBOX, "server_error")]
