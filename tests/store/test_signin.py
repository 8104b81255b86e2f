"""Letting people in, second factors and the end of accounts, in PostgreSQL."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, NewToken, TokenRecord
from mailrelay.core.signin import Admission, Refused
from mailrelay.flows.deletion import AccountDeletion
from mailrelay.store.database import Database
from mailrelay.store.deletion import Deletions
from mailrelay.store.manage_accounts import Accounts
from mailrelay.store.signin import SignInStore
from tests.store import world
from tests.store.world import JOHN, OTHER, OWN_EXAMPLE, Connection, alias, attach, handle, insert, value

ACCOUNT = AccountId(JOHN)
TICKET = b"t" * 16


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    opened = Database(dsn, 4, 20.0, "test")
    await opened.open()
    await conn.execute("update account set password_hash = 'hash', default_username_id = 1 where id = 1")
    yield opened
    await opened.close()


def new(text: str = "x") -> NewToken:
    return NewToken("addy", "Phone", hashlib.sha256(text.encode()).digest(), "x", None, created_ip="192.0.2.1")


# --- who comes -----------------------------------------------------------------------------------------------------


async def test_a_network_is_familiar_after_a_token_was_made_from_it(database: Database, conn: Connection) -> None:
    store = SignInStore(database)
    await store.admit(Admission(ACCOUNT, "hash"), new())
    for network, expected in (
        ("192.0.2.0/24", True),
        ("198.51.100.0/24", False),
        ("2001:db8::/64", False),
        ("", False),
    ):
        person = await store.by_name("johndoe", network)
        assert person is not None
        assert person.familiar == expected
    assert await store.by_name("nobody", "192.0.2.0/24") is None


async def test_a_password_that_was_changed_meanwhile_lets_nobody_in(database: Database, conn: Connection) -> None:
    store = SignInStore(database)
    assert await store.admit(Admission(ACCOUNT, "another"), new()) is Refused.CREDENTIALS
    await conn.execute("update account set totp_secret = 'sealed' where id = 1")
    assert await store.admit(Admission(ACCOUNT, "hash"), new()) is Refused.CREDENTIALS
    assert await value(conn, "select count(*) from token") == 0


async def test_steps_only_rise_and_a_ticket_is_used_up(database: Database, conn: Connection) -> None:
    store = SignInStore(database)
    assert await store.admit(Admission(ACCOUNT, "hash", TICKET, 7), new()) is Refused.TICKET
    await conn.execute("update account set totp_secret = 'sealed' where id = 1")
    assert isinstance(await store.admit(Admission(ACCOUNT, "hash", TICKET, 7), new("1")), TokenRecord)
    for step in (6, 7):
        assert await store.admit(Admission(ACCOUNT, "hash", b"other", step), new()) is Refused.CODE
    assert await store.admit(Admission(ACCOUNT, "hash", TICKET, 8), new()) is Refused.TICKET
    assert await value(conn, "select totp_last_step from account where id = 1") == 7
    assert isinstance(await store.admit(Admission(ACCOUNT, "hash", b"other", 8), new("2")), TokenRecord)


async def test_of_many_with_one_ticket_one_gets_in(database: Database, conn: Connection) -> None:
    await conn.execute("update account set totp_secret = 'sealed' where id = 1")
    store = SignInStore(database)
    tries = (store.admit(Admission(ACCOUNT, "hash", TICKET, 10 + n), new(str(n))) for n in range(8))
    results = await asyncio.gather(*tries)
    assert sum(isinstance(one, TokenRecord) for one in results) == 1
    assert await value(conn, "select count(*) from token") == 1


async def test_a_second_factor_is_noted_and_its_code_used_up(database: Database, conn: Connection) -> None:
    accounts = Accounts(database)
    assert (await accounts.set_second_factor(Named("johndoe"), b"sealed", 5, "cli:admin")).has_second_factor
    assert await value(conn, "select totp_last_step from account where id = 1") == 5
    assert not (await accounts.set_second_factor(ACCOUNT, None, None, "cli:admin")).has_second_factor
    rows = await (await conn.execute("select actor, action, account_id from audit order by id")).fetchall()
    assert rows == [
        ("cli:admin", "account.second_factor_on", 1),
        ("cli:admin", "account.second_factor_off", 1),
    ]


# --- deletion ------------------------------------------------------------------------------------------------------


async def belongings(conn: Connection) -> dict[str, int]:
    """One of everything that an account can have."""
    shared = await alias(conn, "shop@alias.example", description="secret", from_name="John", emails_forwarded=3)
    await attach(conn, shared, JOHN)
    await alias(conn, "x@own.example", domain_id=OWN_EXAMPLE)
    await alias(conn, "y@johndoe.alias.example", username_id=1)
    kept = await handle(conn, "john", recipient_id=JOHN, description="secret")
    below = await alias(conn, "john@second.example", handle_id=kept)
    await insert(conn, "contact", account_id=JOHN, alias_id=shared, address="she@shop.example")
    await insert(conn, "message_id", account_id=JOHN, alias_id=shared, our_id="<a@x>", original_id="<b@x>")
    await insert(conn, "blocked_sender", account_id=JOHN, alias_id=shared, type="domain", value="spam.example")
    await insert(conn, "blocked_sender", account_id=JOHN, type="domain", value="spam.example")
    await insert(conn, "rule", account_id=JOHN, name="r", conditions="[{}]", actions="[{}]")
    failed = await insert(conn, "failed_delivery", account_id=JOHN, alias_id=shared, email_type="F")
    await insert(
        conn, "stored_message", account_id=JOHN, failed_delivery_id=failed, kind="failed", content=b"x", key_id="k",
        size_octets=1, expires_at="2100-01-01",
    )  # fmt: skip
    await insert(conn, "token", account_id=JOHN, kind="addy", hash=hashlib.sha256(b"t").digest())
    await insert(conn, "security_key", account_id=JOHN, name="Blue")
    await insert(conn, "complaint", account_id=JOHN, alias_id=shared, email_type="F")
    await insert(conn, "account_notification", account_id=JOHN, category="c", title="t", text="x")
    await conn.execute("insert into rate_window (account_id, kind, window_start) values (1, 'message', now())")
    await conn.execute(
        "insert into confirmation (intent, email, account_id, recipient_id, code_mac, expires_at)"
        " values ('verify_recipient', 'me@inbox.example', 1, 1, sha256('x'), now())"
    )
    await conn.execute("update domain set default_recipient_id = 1 where id = 3")
    return {"shared": shared, "below": below, "handle": kept}


async def leavings(conn: Connection, account: int) -> list[str]:
    """Tables that still know an account."""
    cursor = await conn.execute(
        "select table_name from information_schema.columns where column_name = 'account_id' and table_schema = 'public'"
        " and table_name not in ('audit', 'ledger', 'outbound', 'outbox') order by 1"
    )
    tables = [name for (name,) in await cursor.fetchall()]
    return [
        name
        for name in tables
        if await value(conn, f"select exists (select from {name} where account_id = %s)", account)
    ]


async def deleted(database: Database, conn: Connection) -> None:
    payload: Any = await value(conn, "select payload from job where kind = 'account_deletion'")
    await AccountDeletion(Deletions(database))(payload)


async def test_5_4_nothing_of_the_owner_stays(database: Database, conn: Connection) -> None:
    there = await belongings(conn)
    await alias(conn, "keep@alias.example", OTHER)
    done = await Accounts(database).delete(ACCOUNT, "wish", "token:1")
    assert done.state == "deleting"
    assert await value(conn, "select count(*) from token where revoked_at is null") == 0
    await deleted(database, conn)
    assert await leavings(conn, JOHN) == []
    assert await value(conn, "select count(*) from account") == 1
    rows = await (
        await conn.execute("select id, state, account_id, description, emails_forwarded from alias")
    ).fetchall()
    states = {number: rest for number, *rest in rows}
    assert states.pop(there["shared"]) == ["forgotten", None, None, 0]
    assert states.pop(there["below"]) == ["forgotten", None, None, 0]
    assert [state for state, *_ in states.values()] == ["active"]  # somebody else's
    row = await (
        await conn.execute("select state, description from handle where id = %s", (there["handle"],))
    ).fetchone()
    assert row == ("released", None)
    with world.Violates("username_name_used"):
        await insert(conn, "username", account_id=OTHER, name="johndoe")
    with world.Violates("alias_address_unique"):
        await alias(conn, "shop@alias.example", OTHER)
    actions = await (await conn.execute("select actor, action from audit order by id")).fetchall()
    assert actions == [("token:1", "account.delete_asked"), ("worker", "account.delete")]


async def test_an_account_of_many_aliases_goes_in_pieces(
    database: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailrelay.store.deletion._BATCH_ROWS", 2)
    for number in range(5):
        await alias(conn, f"a{number}@alias.example")
        await insert(conn, "failed_delivery", account_id=JOHN, email_type="F")
    await Accounts(database).delete(ACCOUNT, None, "token:1")
    store = Deletions(database)
    pieces = 0
    while await store.clear(ACCOUNT):
        pieces += 1
    assert pieces == 3 + 3
    await alias(conn, "late@alias.example")
    with pytest.raises(Unavailable, match="alias_account_fk"):
        await store.finish(ACCOUNT)
    await deleted(database, conn)
    assert await leavings(conn, JOHN) == []
    await deleted(database, conn)  # a second try finds nothing to do


async def test_nobody_is_deleted_who_did_not_ask(database: Database, conn: Connection) -> None:
    await alias(conn, "a@alias.example")
    await AccountDeletion(Deletions(database))({"account_id": JOHN})
    assert await value(conn, "select count(*) from alias where account_id = 1") == 1
    await Deletions(database).finish(ACCOUNT)
    assert await value(conn, "select count(*) from account") == 2
    for payload in ({}, {"account_id": "1"}):
        with pytest.raises(Malformed):
            await AccountDeletion(Deletions(database))(payload)


async def test_who_is_being_deleted_is_not_deleted_again(database: Database, conn: Connection) -> None:
    await Accounts(database).delete(Named("johndoe"), None, "cli:admin")
    with pytest.raises(Conflict):
        await Accounts(database).delete(ACCOUNT, None, "cli:admin")
    with pytest.raises(Absent):
        await Accounts(database).delete(AccountId(99), None, "cli:admin")


async def test_a_job_that_was_given_up_is_posted_again(database: Database, conn: Connection) -> None:
    await Accounts(database).delete(ACCOUNT, None, "token:1")
    store = Deletions(database)
    assert await store.post() == 0
    await conn.execute("update job set failed_at = now()")
    assert await store.post() == 1
    assert await store.post() == 0
