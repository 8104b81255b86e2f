"""Failed deliveries in PostgreSQL: pages and totals, and one resend at a time."""

import asyncio
import secrets
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from mailrelay.core.bounce import BounceType, Failure
from mailrelay.core.bounced import Bounced
from mailrelay.core.errors import Absent, Malformed, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.failed import (
    AlreadyResent,
    FailedId,
    FailedRecord,
    FailedType,
    NotForward,
    NotStored,
    record_uuid,
    resend_key,
)
from mailrelay.core.held import place
from mailrelay.core.ledger import Closing, OutboundId
from mailrelay.core.sealed import NONCE_OCTETS, seal, vault
from mailrelay.store import failed as failed_module
from mailrelay.store.bounces import BounceStore
from mailrelay.store.database import Database
from mailrelay.store.failed import FailedStore
from mailrelay.store.held import HeldStore
from mailrelay.store.ledger import Ledger, signed
from tests.store.test_context import buffers, plan_of
from tests.store.test_held import COPY, ENVELOPE, HOLD, VAULT
from tests.store.world import JOHN, OTHER, Connection, alias, insert, value

ACCOUNT = AccountId(JOHN)
CONTENT = b"From: news@shop.example\r\nSubject: new shoes\r\n\r\nnew shoes, cheap \x00\xff\r\n"
OUTBOUND = OutboundId(0xFEDCBA9876543210)


@pytest.fixture
async def store(conn: Connection, database: Database) -> FailedStore:
    await alias(conn, "a1@alias.example")
    return FailedStore(database, VAULT)


def sealed(record: UUID, column: str, clear: bytes) -> bytes:
    return seal(VAULT, secrets.token_bytes(NONCE_OCTETS), place(column, record), clear)


async def fail(conn: Connection, content: bytes | None = CONTENT, **values: Any) -> FailedId:
    """A copy of alias 1 that came back, as bounces are recorded."""
    uuid = values.pop("uuid", None) or UUID(bytes=secrets.token_bytes(16), version=4)
    row: dict[str, Any] = {
        "uuid": uuid,
        "account_id": JOHN,
        "alias_id": 1,
        "recipient_id": 1,
        "email_type": "F",
        "bounce_type": "hard",
        "status": "5.1.1",
        "code": "smtp; 550 5.1.1 no such user",
        "remote_mta": "mx.inbox.example",
        "sender": sealed(uuid, "author", b"news@shop.example"),
        "destination": sealed(uuid, "destination", b"johndoe@Inbox.example"),
        "subject": sealed(uuid, "subject", "Schöne Schuhe".encode()),
        "key_id": VAULT.key_id,
        "is_stored": content is not None,
        **values,
    }
    number = await insert(conn, "failed_delivery", **row)
    if content is not None:
        await conn.execute(
            "insert into stored_message (account_id, failed_delivery_id, kind, content, evidence, key_id, size_octets,"
            " expires_at) values (%s, %s, 'failed', %s, %s, %s, %s, now() + interval '7 days')",
            (
                row["account_id"],
                number,
                sealed(uuid, "content", content),
                sealed(uuid, "evidence", b"v=1; mac=00"),
                VAULT.key_id,
                len(content),
            ),
        )
    return FailedId(number)


async def many(conn: Connection, rows: int, account: int = JOHN) -> None:
    """Records of all types; created_at is equal for ten at a time, and falls back now and then."""
    await conn.execute(
        "insert into failed_delivery (account_id, alias_id, email_type, quarantined, ir_dedupe_key, created_at)"
        " select %(account)s, case when %(account)s = 1 then 1 end, case when n %% 5 = 0 then 'IR' else 'F' end,"
        " n %% 7 = 1, case when n %% 11 = 2 then encode(sha256((%(account)s || ' ' || n)::text::bytea), 'hex') end,"
        " now() - interval '1 day' + (n / 10 - case n %% 50 when 3 then 20 else 0 end) * interval '1 s'"
        " from generate_series(1, %(rows)s) n",
        {"account": account, "rows": rows},
    )


async def totals(conn: Connection) -> dict[tuple[int, str], int]:
    cursor = await conn.execute("select account_id, type, total from failed_total where total <> 0")
    return {(account, type): total for account, type, total in await cursor.fetchall()}


async def counted(conn: Connection) -> dict[tuple[int, str], int]:
    cursor = await conn.execute("select account_id, type, count(*) from failed_delivery group by 1, 2")
    return {(account, type): total for account, type, total in await cursor.fetchall()}


# --- records --------------------------------------------------------------------------------------------------------


async def test_a_record_tells_everything(store: FailedStore, conn: Connection) -> None:
    await insert(
        conn,
        "outbound",
        id=signed(OUTBOUND),
        account_id=JOHN,
        destination="johndoe@Inbox.example",
        email_type="F",
        mode="rewrite",
        ingress_queue_id="4XyZ12AbCd",
    )
    number = await fail(conn, outbound_id=signed(OUTBOUND), uuid=record_uuid("bounce", OUTBOUND))
    record = await store.one(number)
    assert record == await store.one(record_uuid("bounce", OUTBOUND), ACCOUNT)
    expected = FailedRecord(
        id=number,
        uuid=record_uuid("bounce", OUTBOUND),
        account_id=ACCOUNT,
        account_uuid=await value(conn, "select uuid from account where id = 1"),
        account="johndoe",
        alias_uuid=await value(conn, "select uuid from alias"),
        alias="a1@alias.example",
        recipient_uuid=await value(conn, "select uuid from recipient where id = 1"),
        recipient="johndoe@Inbox.example",
        email_type="F",
        bounce_type="hard",
        status="5.1.1",
        code="smtp; 550 5.1.1 no such user",
        remote_mta="mx.inbox.example",
        sender="news@shop.example",
        destination="johndoe@Inbox.example",
        subject="Schöne Schuhe",
        is_stored=True,
        partial=False,
        size_octets=len(CONTENT),
        quarantined=False,
        resent=False,
        ir_dedupe_key=None,
        queue_id="4XyZ12AbCd",
        attempted_at=None,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )
    assert record == expected


async def test_what_belongs_to_others_is_absent(store: FailedStore, conn: Connection) -> None:
    number = await fail(conn)
    with pytest.raises(Absent, match=f"there is no failed delivery {number}"):
        await store.one(number, AccountId(OTHER))
    with pytest.raises(Absent):
        await store.one(UUID(int=1))


async def test_what_is_gone_is_none(store: FailedStore, conn: Connection) -> None:
    number = await fail(conn, None, alias_id=None, recipient_id=None, sender=None, subject=None)
    record = await store.one(number)
    assert (record.alias, record.alias_uuid, record.recipient, record.is_stored) == (None, None, None, False)
    assert (record.sender, record.subject, record.size_octets) == ("", "", None)


async def test_a_deleted_alias_is_told(store: FailedStore, conn: Connection) -> None:
    number = await fail(conn)
    await conn.execute("update alias set state = 'deleted', deleted_at = now()")
    record = await store.one(number)
    assert (record.alias, record.alias_deleted) == ("a1@alias.example", True)


async def test_lost_keys_hide_addresses_and_the_list_still_works(store: FailedStore, conn: Connection) -> None:
    number = await fail(conn)
    forgetful = replace(store, vault=vault([b"a newer secret"]))
    [record] = (await forgetful.page(ACCOUNT, None, 1, 100)).records
    assert (record.sender, record.destination, record.subject, record.status) == ("", "", "", "5.1.1")
    with pytest.raises(Malformed, match=VAULT.key_id):
        await forgetful.content(number)


@pytest.mark.parametrize("key", [None, "0" * 64])
@pytest.mark.parametrize("quarantined", [False, True])
@pytest.mark.parametrize("email_type", ["F", "R", "IR", "FDN"])
async def test_the_database_derives_the_type_as_the_record_does(
    store: FailedStore, conn: Connection, email_type: str, quarantined: bool, key: str | None
) -> None:
    number = await fail(conn, None, email_type=email_type, quarantined=quarantined, ir_dedupe_key=key)
    record = await store.one(number)
    assert record.type == await value(conn, "select type from failed_delivery")
    assert [one.id for one in (await store.page(ACCOUNT, record.type, 1, 100)).records] == [number]


# --- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, *FailedType])
async def test_all_pages_together_are_the_list(store: FailedStore, conn: Connection, kind: FailedType | None) -> None:
    await many(conn, 501)
    await many(conn, 50, OTHER)
    cursor = await conn.execute(
        "select id from failed_delivery where account_id = 1 and (%s::text is null or type = %s)"
        " order by created_at desc, id desc",
        (kind, kind),
    )
    expected = [row[0] for row in await cursor.fetchall()]
    found: list[int] = []
    for number in range(1, 60):
        page = await store.page(ACCOUNT, kind, number, 9)
        assert page.total == len(expected)
        found += [record.id for record in page.records]
        if not page.records:
            break
    assert found == expected
    assert [record.id for record in (await store.page(ACCOUNT, kind, 0, 9)).records] == expected[:9]


@pytest.mark.parametrize("kind", [None, FailedType.OUTBOUND])
@pytest.mark.parametrize("account", ["johndoe", None])
async def test_older_ones_follow_each_other(
    store: FailedStore, conn: Connection, kind: FailedType | None, account: str | None
) -> None:
    await many(conn, 60)
    await many(conn, 20, OTHER)
    found: list[int] = []
    before: FailedId | None = None
    while records := await store.older(account, kind, before, 7):
        found += [record.id for record in records]
        before = records[-1].id
    assert len(found) == len(set(found))
    expected = await value(
        conn,
        "select count(*) from failed_delivery where (%s::text is null or account_id = 1) and (%s::text is null"
        " or type = %s)",
        account,
        kind,
        kind,
    )
    assert len(found) == expected


async def test_older_than_what_is_gone_is_named(store: FailedStore) -> None:
    with pytest.raises(Absent, match="failed delivery 99"):
        await store.older(None, None, FailedId(99), 10)
    with pytest.raises(Absent, match="there is no account nobody"):
        await store.older("nobody", None, None, 10)


async def test_totals_follow_whatever_happens(store: FailedStore, conn: Connection, database: Database) -> None:
    await many(conn, 100)
    await many(conn, 30, OTHER)
    assert await totals(conn) == await counted(conn)
    await HeldStore(database, VAULT, secrets.token_bytes).hold(HOLD)
    number = await fail(conn)
    assert await totals(conn) == await counted(conn)
    await store.delete(number, "test")
    await conn.execute("delete from failed_delivery where id % 3 = 0")  # as retention does, of several accounts
    await conn.execute("update failed_delivery set resent = true, is_stored = false")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await conn.execute(
            "insert into failed_delivery (uuid, account_id, email_type) select uuid, account_id, 'F'"
            " from failed_delivery"
        )
    assert await totals(conn) == await counted(conn)
    await conn.execute("delete from account where id = %s", (OTHER,))
    assert await totals(conn) == await counted(conn)
    assert await value(conn, "select count(*) from failed_total where account_id = 2") == 0


async def test_concurrent_failures_are_all_counted(store: FailedStore, dsn: str) -> None:
    async def one(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
            for _ in range(10):
                made = await fail(conn, None, email_type="IR" if number % 2 else "F")
                if number % 3 == 0:
                    await store.delete(made, "test")

    await asyncio.gather(*(one(number) for number in range(6)))
    page = await store.page(ACCOUNT, None, 1, 100)
    assert page.total == len(page.records) == 40


async def test_a_page_reads_its_own_records_only(conn: Connection, dsn: str) -> None:
    """Also for an account with few records, all older than everybody's; and of a type that is rare."""
    await alias(conn, "a1@alias.example")
    await many(conn, 40, OTHER)
    await many(conn, 20_000)
    await conn.execute("update failed_delivery set created_at = created_at - interval '3 days' where account_id = 2")
    await conn.execute("analyze failed_delivery")
    for account, kind in ((OTHER, None), (JOHN, None), (JOHN, "inbound_quarantined"), (OTHER, "inbound")):
        for backwards in (False, True):
            query = failed_module._PAGES[kind is not None, backwards]
            values = {"account": account, "type": kind, "limit": 10, "offset": 0}
            plan = await plan_of(dsn, query, values)
            assert buffers(plan) < 200, plan
            assert "Seq Scan" not in plan
        older = failed_module._OLDER[True, kind is not None, True]
        plan = await plan_of(dsn, older, {"account": account, "type": kind, "limit": 10, "offset": 0, "before": 30})
        assert buffers(plan) < 200, plan


# --- the message ----------------------------------------------------------------------------------------------------


async def test_the_message_comes_back_as_it_was(store: FailedStore, conn: Connection) -> None:
    assert await store.content(await fail(conn)) == CONTENT
    large = secrets.token_bytes(1024 * 1024)
    assert await store.content(await fail(conn, large)) == large
    with pytest.raises(NotStored, match="only the record"):
        await store.content(await fail(conn, None))
    with pytest.raises(Absent):
        await store.content(FailedId(99))


async def test_reading_by_others_is_recorded(store: FailedStore, conn: Connection) -> None:
    number = await fail(conn)
    await store.seen(number, "cli:root")
    cursor = await conn.execute("select actor, account_id, action, object_table, object_id from audit")
    assert await cursor.fetchall() == [("cli:root", JOHN, "failed.read", "failed_delivery", number)]


async def test_a_taken_message_knows_its_arrival(store: FailedStore, conn: Connection, database: Database) -> None:
    ledger = Ledger(database)
    await ledger.open([replace(COPY, outbound_id=OUTBOUND)])
    await ledger.close([([Closing(OUTBOUND, "delivered")], None)])
    number = await fail(conn, outbound_id=signed(OUTBOUND), uuid=record_uuid("bounce", OUTBOUND))
    message = await store.take(number)
    assert (message.outbound_id, message.rcpt, message.sender) == (OUTBOUND, ENVELOPE.rcpt, ENVELOPE.sender)
    assert (message.client, message.queue_id) == (ENVELOPE.client, ENVELOPE.queue_id)
    assert message.message_id == ENVELOPE.message_id
    assert (message.alias, message.alias_id, message.account_id) == ("a1@alias.example", 1, JOHN)
    assert (message.content, message.evidence, message.partial) == (CONTENT, b"v=1; mac=00", False)
    assert (message.author, message.destination) == ("news@shop.example", "johndoe@Inbox.example")


async def test_without_its_entry_a_message_is_taken_all_the_same(store: FailedStore, conn: Connection) -> None:
    uuid = UUID(int=7)
    number = await fail(conn, outbound_id=5, uuid=uuid, sender=sealed(uuid, "author", b"<>"))
    message = await store.take(number)
    assert (message.rcpt, message.sender, message.author, message.queue_id) == ("", "", "", "")


async def test_one_at_a_time_resends_and_only_once(store: FailedStore, conn: Connection) -> None:
    number = await fail(conn)
    results = await asyncio.gather(*(store.take(number) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, Unavailable) for result in results) == 3
    await store.give_back(number)
    await store.take(number)
    await conn.execute("update stored_message set leased_until = now() - interval '1 s'")
    await store.take(number)  # who took it was killed
    for _ in range(2):
        await store.resent(number, "test")
    for _ in range(2):
        with pytest.raises(AlreadyResent):
            await store.take(number)
    assert await value(conn, "select leased_until from stored_message") is None
    assert (await store.one(number)).resent
    assert await value(conn, "select string_agg(action, ' ') from audit") == "failed.resend"


async def test_what_cannot_be_resent_is_given_back(store: FailedStore, conn: Connection) -> None:
    with pytest.raises(NotStored):
        await store.take(await fail(conn, None))
    with pytest.raises(NotForward):
        await store.take(await fail(conn, alias_id=None))
    number = await fail(conn)
    with pytest.raises(Malformed):
        await replace(store, vault=vault([b"a newer secret"])).take(number)
    with pytest.raises(Absent):
        await store.take(FailedId(99))
    assert await value(conn, "select count(*) from stored_message where leased_until is not null") == 0
    assert (await store.take(number)).content == CONTENT


async def test_the_ledger_tells_that_a_copy_was_a_resend(
    store: FailedStore, conn: Connection, database: Database
) -> None:
    number = await fail(conn)
    record = await store.one(number)
    again = replace(COPY, envelope=replace(ENVELOPE, key=resend_key(record.uuid)), outbound_id=OutboundId(9))
    await Ledger(database).open([again])
    query = """select f.id from ledger l join failed_delivery f on f.uuid = encode(l.ingress_key, 'hex')::uuid
               where l.outbound_id = %s"""
    assert await value(conn, query, 9) == number


async def test_delete_takes_the_message_along_and_ends_what_was_held(
    store: FailedStore, conn: Connection, database: Database
) -> None:
    held = await HeldStore(database, VAULT, secrets.token_bytes).hold(HOLD)
    assert held.id is not None
    number = FailedId(held.id)
    record = await store.one(number)
    assert (record.held, record.type, record.sender) == (True, FailedType.QUARANTINED, "news@shop.example")
    await store.take(number)
    with pytest.raises(Unavailable, match="being resent at this moment"):
        await store.delete(number, "test")
    await store.give_back(number)
    await store.delete(number, "test")
    assert await value(conn, "select count(*) from stored_message") == 0
    assert await value(conn, "select outcome from ledger") == "discarded"
    assert await value(conn, "select string_agg(action, ' ') from audit") == "failed.delete"
    with pytest.raises(Absent):
        await store.delete(number, "test")


async def test_mailboxes_are_found_without_case(store: FailedStore, conn: Connection) -> None:
    uuid = await value(conn, "select uuid from recipient where id = 1")
    found = await store.mailboxes(ACCOUNT, ["JohnDoe@inbox.example", "other@inbox.example"])
    assert found == [("JohnDoe@inbox.example", uuid), ("other@inbox.example", None)]


async def test_a_resend_that_bounces_is_recorded_and_not_stored_again(
    store: FailedStore, conn: Connection, database: Database
) -> None:
    first = await store.one(await fail(conn))
    ledger = Ledger(database)
    again = replace(COPY, envelope=replace(ENVELOPE, key=resend_key(first.uuid)), outbound_id=OUTBOUND)
    await ledger.open([again])
    await ledger.close([([Closing(OUTBOUND, "delivered")], None)])
    [copy] = await ledger.outbound([OUTBOUND])
    assert copy is not None
    failure = Failure("5.1.1", "smtp; 550 5.1.1 no", "mx.inbox.example", "real@inbox.example", BounceType.HARD)
    bounced = Bounced(copy, failure, "news@shop.example", b"new shoes", CONTENT, False, b"", "mx.relay.example")
    recorded = await BounceStore(database, VAULT, secrets.token_bytes).record(bounced)
    assert recorded.failed_id is not None
    record = await store.one(recorded.failed_id)
    assert (record.uuid, record.sender, record.subject) == (
        record_uuid("bounce", OUTBOUND),
        "news@shop.example",
        "new shoes",
    )
    assert not record.is_stored
    with pytest.raises(NotStored):
        await store.take(recorded.failed_id)
