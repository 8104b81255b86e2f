"""Statements that write about the same things lock them in the same order, so that none of them ends a deadlock.

Each waits for what we hold; what it would lock later is still free then.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from psycopg import AsyncConnection

from mailrelay.core.facts import AccountId, AliasId, BlockedSenderId, Reason
from mailrelay.core.ledger import Ending, Envelope, IngressKey
from mailrelay.store.database import Database
from mailrelay.store.held import HeldStore
from mailrelay.store.ledger import Ledger
from mailrelay.store.manage_recipients import Recipients
from tests.store.bouncing import VAULT
from tests.store.test_held import HOLD
from tests.store.world import JOHN, Connection, alias, insert, until_waiting, value


@pytest.fixture
async def other(dsn: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def envelope(conn: Connection) -> Envelope:
    number = AliasId(await alias(conn, "a1@alias.example"))
    key = IngressKey(secrets.token_bytes(16))
    return Envelope(key, "", "", "news@shop.example", "a1@alias.example", "", 9, AccountId(JOHN), number)


async def test_refusals_take_the_alias_before_the_block_list(
    conn: Connection, other: Connection, database: Database, envelope: Envelope
) -> None:
    """The page that takes a sender off the list has locked the alias first."""
    entry = await insert(conn, "blocked_sender", account_id=JOHN, type="domain", value="shop.example")
    refusal = Ending(envelope, "refused", Reason.BLOCKED_SENDER, blocked_by=BlockedSenderId(entry))
    async with asyncio.TaskGroup() as group, other.transaction():
        await other.execute("select from alias where id = %s for no key update", (envelope.alias_id,))
        group.create_task(Ledger(database).end([refusal]))
        await until_waiting(conn)
        await conn.execute("select from blocked_sender where id = %s for update nowait", (entry,))
    assert await value(conn, "select blocked from blocked_sender") == 1
    assert await value(conn, "select emails_blocked from alias") == 1


async def test_held_mail_takes_the_windows_before_the_alias(
    conn: Connection, other: Connection, database: Database, envelope: Envelope
) -> None:
    """As do copies that are closed."""
    store = HeldStore(database, VAULT, secrets.token_bytes)
    async with asyncio.TaskGroup() as group, other.transaction():
        await other.execute(
            "insert into rate_window (account_id, kind, window_start)"
            " select %s, 'message', date_trunc('minute', now()) + n * interval '1 minute' from generate_series(0, 2) n",
            (JOHN,),
        )
        group.create_task(store.hold(replace(HOLD, envelope=envelope)))
        await until_waiting(conn)
        await conn.execute("select from alias where id = %s for update nowait", (envelope.alias_id,))
    assert await value(conn, "select sum(amount) from rate_window where subject = ''") == 1
    assert await value(conn, "select emails_blocked from alias") == 1


async def test_a_recipient_goes_after_whoever_has_it_as_a_default(
    conn: Connection, other: Connection, database: Database
) -> None:
    """Who chooses a default has locked the username first."""
    mailbox = await insert(conn, "recipient", account_id=JOHN, address="old@inbox.example")
    uuid = await value(conn, "select uuid from recipient where id = %s", mailbox)
    username = await insert(conn, "username", account_id=JOHN, name="john2", default_recipient_id=mailbox)
    async with asyncio.TaskGroup() as group, other.transaction():
        await other.execute("select from username where id = %s for no key update", (username,))
        group.create_task(Recipients(database).remove(AccountId(JOHN), uuid, "test"))
        await until_waiting(conn)
        await conn.execute("select from recipient where id = %s for update nowait", (mailbox,))
    assert await value(conn, "select count(*) from recipient where id = %s", mailbox) == 0
    assert await value(conn, "select default_recipient_id from username where id = %s", username) is None
