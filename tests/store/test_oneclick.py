"""What signed links change, on PostgreSQL: once, with an audit record and the owner's notice."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from psycopg.rows import dict_row

from mailrelay.core.blocklist import Entry
from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.facts import AliasId
from mailrelay.core.links import Action
from mailrelay.core.notices import Code, from_json
from mailrelay.core.oneclick import AliasSight, Change, HeldSight, RecipientSight, Visitor, Wish
from mailrelay.core.sealed import vault
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database
from mailrelay.store.held import HeldStore
from mailrelay.store.oneclick import MAX_PER_MINUTE, OneClickStore
from tests.store.test_held import HOLD
from tests.store.world import JOHN, OTHER, Connection, alias, handle, insert, release, value

NOW = datetime(2026, 1, 6, 12, tzinfo=UTC)
VISITOR = Visitor("link:192.0.2.7", "192.0.2.7", "Mail 1.0 \0", NOW)
SENDER = Entry("email", "news@shop.example")
DOMAIN = Entry("domain", "shop.example")
NOBODY = UUID(int=7)


@pytest.fixture
async def store(conn: Connection, dsn: str) -> AsyncIterator[OneClickStore]:
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    yield OneClickStore(database)
    await database.close()


async def uuid_of(conn: Connection, number: int, table: str = "alias") -> UUID:
    found: UUID = await value(conn, f"select uuid from {table} where id = %s", number)
    return found


async def table(conn: Connection, name: str) -> list[dict[str, Any]]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(f"select * from {name} order by 1".encode())).fetchall()


async def state(conn: Connection, number: int) -> str:
    found: str = await value(conn, "select state from alias where id = %s", number)
    return found


async def test_row_182_deactivating_is_recorded_and_the_owner_is_told_once(
    store: OneClickStore, conn: Connection
) -> None:
    number = await alias(conn, "shop@alias.example")
    about = await uuid_of(conn, number)
    sight = AliasSight("shop@alias.example", "active")
    assert await store.act(Wish(Action.DEACTIVATE, about), VISITOR) == Change(sight, True)
    assert await state(conn, number) == "inactive"
    [job] = await table(conn, "job")
    assert job["kind"] == "notice"
    notice = from_json(job["payload"])
    assert (notice.code, notice.account_id, notice.recipient_id) == (Code.ADUN, JOHN, None)
    assert dict(notice.data) == {
        "alias": "shop@alias.example",
        "alias_uuid": str(about),
        "at": "2026-01-06T12:00:00+00:00",
        "ip": "192.0.2.7",
        "user_agent": "Mail 1.0 \ufffd",
    }
    [audit] = await table(conn, "audit")
    assert (audit["actor"], audit["action"], audit["account_id"]) == ("link:192.0.2.7", "alias.deactivate", JOHN)
    assert (audit["object_table"], audit["object_id"], str(audit["request_ip"])) == ("alias", number, "192.0.2.7")


async def test_row_182_again_and_again_it_changes_nothing(store: OneClickStore, conn: Connection) -> None:
    number = await alias(conn, "shop@alias.example")
    about = await uuid_of(conn, number)
    changes = await asyncio.gather(*(store.act(Wish(Action.DEACTIVATE, about), VISITOR) for _ in range(4)))
    assert sum(change is not None and change.changed for change in changes) == 1
    assert len(await table(conn, "job")) == len(await table(conn, "audit")) == 1
    await store.act(Wish(Action.ACTIVATE, about), VISITOR)
    await store.act(Wish(Action.DEACTIVATE, about), VISITOR)
    assert await state(conn, number) == "inactive"
    assert len(await table(conn, "job")) == 1  # while that notice waits, it says it all
    assert [row["action"] for row in await table(conn, "audit")] == [
        "alias.deactivate",
        "alias.activate",
        "alias.deactivate",
    ]


async def test_deleting_is_soft_and_can_be_taken_back(store: OneClickStore, conn: Connection) -> None:
    number = await alias(conn, "shop@alias.example", state="inactive", description="shop")
    about = await uuid_of(conn, number)
    assert await store.act(Wish(Action.DELETE, about), VISITOR) == Change(
        AliasSight("shop@alias.example", "inactive"), True
    )
    assert await state(conn, number) == "deleted"
    assert await value(conn, "select deleted_at is not null and description = 'shop' from alias") is True
    again = await store.act(Wish(Action.DELETE, about), VISITOR)
    assert again == Change(AliasSight("shop@alias.example", "deleted"), False)
    [job] = await table(conn, "job")
    assert job["payload"]["code"] == "ADLN"
    deactivated = await store.act(Wish(Action.DEACTIVATE, about), VISITOR)
    assert deactivated is not None and not deactivated.changed
    assert (await store.act(Wish(Action.ACTIVATE, about), VISITOR)) == Change(
        AliasSight("shop@alias.example", "deleted"), False
    )
    restored = await store.act(Wish(Action.RESTORE, about), VISITOR)
    assert restored is not None and restored.changed
    assert await state(conn, number) == "active"
    assert (await store.act(Wish(Action.RESTORE, about), VISITOR)) == Change(
        AliasSight("shop@alias.example", "active"), False
    )


async def test_what_cannot_come_back_stays_deleted(store: OneClickStore, conn: Connection) -> None:
    handle_id = await handle(conn, "me")
    below = await alias(conn, "me@alias.example", handle_id=handle_id)
    homeless = await alias(conn, "shop@own.example")
    for number in (below, homeless):
        await store.act(Wish(Action.DELETE, await uuid_of(conn, number)), VISITOR)
    await release(conn, handle_id)
    await conn.execute("update alias set domain_id = null where id = %s", (homeless,))
    await conn.execute("delete from domain where name = 'own.example'")
    for number, words in ((below, "handle"), (homeless, "domain is not here")):
        with pytest.raises(Conflict, match=words):
            await store.act(Wish(Action.RESTORE, await uuid_of(conn, number)), VISITOR)
        assert await state(conn, number) == "deleted"
    await insert(conn, "domain", name="own.example", account_id=OTHER, verified_at="now")
    with pytest.raises(Conflict, match="somebody else"):
        await store.act(Wish(Action.RESTORE, await uuid_of(conn, homeless)), VISITOR)
    assert "alias.restore" not in {row["action"] for row in await table(conn, "audit")}


@pytest.mark.parametrize(("action", "entry"), [(Action.BLOCK_EMAIL, SENDER), (Action.BLOCK_DOMAIN, DOMAIN)])
async def test_blocking_makes_an_entry_for_all_aliases_and_unblocking_removes_it(
    store: OneClickStore, conn: Connection, action: Action, entry: Entry
) -> None:
    number = await alias(conn, "shop@alias.example")
    await insert(conn, "blocked_sender", account_id=JOHN, alias_id=number, type=entry.type, value=entry.value)
    await insert(conn, "blocked_sender", account_id=OTHER, type=entry.type, value=entry.value)
    wanted = Wish(action, await uuid_of(conn, number), entry)
    unlisted = AliasSight("shop@alias.example", "active")
    assert await store.sight(wanted) == unlisted
    assert await store.act(wanted, VISITOR) == Change(unlisted, True)
    listed = AliasSight("shop@alias.example", "active", listed=True)
    assert await store.sight(wanted) == listed
    assert await store.act(wanted, VISITOR) == Change(listed, False)
    query = (
        "select count(*) from blocked_sender where account_id = %s and alias_id is null and type = %s and value = %s"
    )
    assert await value(conn, query, JOHN, entry.type, entry.value) == 1
    assert wanted.undo is not None
    assert await store.act(wanted.undo, VISITOR) == Change(listed, True)
    assert await store.act(wanted.undo, VISITOR) == Change(unlisted, False)
    assert len(await table(conn, "blocked_sender")) == 2  # neither the alias' own entry nor another account's
    audits = await table(conn, "audit")
    assert [row["action"] for row in audits] == ["block.add", "block.remove"]
    assert audits[0]["detail"] == {"type": entry.type, "value": entry.value}
    assert await table(conn, "job") == []
    narrow = replace(wanted.undo, narrow=True)
    assert await store.act(narrow, VISITOR) == Change(listed, True)
    assert await store.act(narrow, VISITOR) == Change(unlisted, False)
    assert len(await table(conn, "blocked_sender")) == 1  # another account's


async def test_unknown_and_forgotten_aliases_are_none(store: OneClickStore, conn: Connection) -> None:
    number = await alias(conn, "shop@alias.example")
    await conn.execute(
        "update alias set state = 'forgotten', account_id = null, deleted_at = now() where id = %s", (number,)
    )
    for about in (NOBODY, await uuid_of(conn, number)):
        for action in Action:
            entry = SENDER if action in (Action.BLOCK_EMAIL, Action.BLOCK_DOMAIN, Action.UNBLOCK) else None
            assert await store.sight(Wish(action, about, entry)) is None
            if action is not Action.SEND:
                assert await store.act(Wish(action, about, entry), VISITOR) is None
        assert await store.alias_id(about) is None
    assert await table(conn, "audit") == []


async def test_an_alias_is_found_by_its_uuid(store: OneClickStore, conn: Connection) -> None:
    number = await alias(conn, "shop@alias.example", account=OTHER)
    assert await store.alias_id(await uuid_of(conn, number)) == (OTHER, number)


async def test_owners_who_want_a_login_are_told_apart(store: OneClickStore, conn: Connection) -> None:
    about = await uuid_of(conn, await alias(conn, "shop@alias.example"))
    await conn.execute("update account set banner_link_login = true where id = %s", (JOHN,))
    sight = await store.sight(Wish(Action.DEACTIVATE, about))
    assert sight == AliasSight("shop@alias.example", "active", asks_login=True)


async def test_a_recipient_that_reads_its_mail_is_verified_and_works(store: OneClickStore, conn: Connection) -> None:
    number = await insert(
        conn, "recipient", account_id=JOHN, address="New@inbox.example", failing_since="now", hard_failures=3
    )
    wanted = Wish(Action.VERIFY, await uuid_of(conn, number, "recipient"))
    sight = RecipientSight("New@inbox.example", verified=False, failing=True)
    assert await store.sight(wanted) == sight
    assert await store.act(wanted, VISITOR) == Change(sight, True)
    fine = RecipientSight("New@inbox.example", verified=True)
    assert await store.act(wanted, VISITOR) == Change(fine, False)
    assert await value(conn, "select hard_failures from recipient where id = %s", number) == 0
    [job] = await table(conn, "job")
    assert job["payload"]["code"] == "NRV"
    assert job["payload"]["data"] == {
        "recipient": "New@inbox.example",
        "at": "2026-01-06T12:00:00+00:00",
        "ip": "192.0.2.7",
    }
    assert [row["action"] for row in await table(conn, "audit")] == ["recipient.verify"]


async def test_who_works_again_or_is_alone_is_no_news(store: OneClickStore, conn: Connection) -> None:
    about = await uuid_of(conn, JOHN, "recipient")
    await conn.execute("update recipient set failing_since = now() where id = %s", (JOHN,))
    change = await store.act(Wish(Action.VERIFY, about), VISITOR)
    assert change is not None and change.changed
    await conn.execute("update recipient set verified_at = null where id = %s", (JOHN,))
    change = await store.act(Wish(Action.VERIFY, about), VISITOR)
    assert change is not None and change.changed
    assert await table(conn, "job") == []


async def test_six_requests_a_minute_and_no_more_however_many_at_once(store: OneClickStore, conn: Connection) -> None:
    waits = await asyncio.gather(*(store.admit("192.0.2.7") for _ in range(2 * MAX_PER_MINUTE + 1)))
    amounts = [row["amount"] for row in await table(conn, "rate_window")]  # two, if a minute ended meanwhile
    assert max(amounts) == MAX_PER_MINUTE == 6
    assert waits.count(0) == sum(amounts)
    assert all(0 <= wait <= 60 for wait in waits)
    assert await store.admit("2001:db8::/64") == 0
    rows = await table(conn, "rate_window")
    assert {(row["account_id"], row["kind"], row["subject"]) for row in rows} == {
        (0, "http", "192.0.2.7"),
        (0, "http", "2001:db8::/64"),
    }


async def test_a_held_message_is_found_by_its_failed_delivery(store: OneClickStore, conn: Connection) -> None:
    shelf = HeldStore(store.database, vault([b"a secret of the installation"]), secrets.token_bytes)
    number = await alias(conn, "a1@alias.example")
    envelope = replace(HOLD.envelope, alias_id=AliasId(number))
    held = await shelf.hold(replace(HOLD, envelope=envelope, kind="unauthorised", type=EmailType.SEND))
    assert held.id is not None
    about = await uuid_of(conn, held.id, "failed_delivery")
    wanted = Wish(Action.SEND, about)
    sight = await store.sight(wanted)
    assert isinstance(sight, HeldSight)
    assert (sight.id, sight.alias, sight.type, sight.kind) == (held.id, "a1@alias.example", "S", "unauthorised")
    assert (sight.state, sight.kept) == ("held", True)
    await conn.execute("update stored_message set expires_at = now()")  # and nobody has cleared it away yet
    sight = await store.held(about)
    assert sight is not None and (sight.state, sight.kept) == ("held", False)
    await shelf.released(held.id, "link:192.0.2.7")
    sight = await store.held(about)
    assert sight is not None and sight.state == "released"
    await conn.execute("update failed_delivery set ledger_id = null")  # a bounce, which is nothing to release
    assert await store.held(about) is None


async def test_without_a_database_nothing_is_known(store: OneClickStore) -> None:
    await store.database.close()
    with pytest.raises(Unavailable):
        await store.admit("192.0.2.7")
    with pytest.raises(Unavailable):
        await store.act(Wish(Action.DEACTIVATE, NOBODY), VISITOR)
