"""Held mail: what the real store and the one in memory share, and what only PostgreSQL can show."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Protocol

import psycopg
import pytest
from psycopg import AsyncConnection

from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable
from mailrelay.core.facts import AccountId, AliasId, Reason, Usage
from mailrelay.core.held import Held, HeldId, HeldMessage, Hold
from mailrelay.core.ledger import Closing, Ending, Envelope, Opening, OutboundId, ingress_key
from mailrelay.core.sealed import vault
from mailrelay.core.verp import EmailType
from mailrelay.store import held as held_module
from mailrelay.store.database import Database
from mailrelay.store.held import HeldStore
from tests.store.test_context import buffers
from tests.store.test_contract import alias, furnished
from tests.store.worlds import InMemory, InPostgresql, World, about
from tests.unit.shelf import FakeShelf

VAULT = vault([b"a secret of the installation"])
CONTENT = b"From: news@shop.example\r\nSubject: new shoes\r\n\r\nnew shoes, cheap \x00\xff\r\n"
KEY = ingress_key("4XyZ12AbCd", CONTENT)
ENVELOPE = Envelope(
    KEY,
    "4XyZ12AbCd",
    "<1@shop.example>",
    "bounce@shop.example",
    "a1@alias.example",
    "192.0.2.10",
    len(CONTENT),
    AccountId(1),
    AliasId(1),
)
HOLD = Hold(
    ENVELOPE,
    "quarantined",
    Reason.NOT_ALLOWED,
    "sender is not on the list",
    "mx.relay.example",
    "news@shop.example",
    "shop.example",
    CONTENT,
    b"v=1; q=4XyZ12AbCd; act=quarantine; mac=00",
    bounce_type="spam",
)
COPY = Opening(ENVELOPE, 1, OutboundId(7), "real@inbox.example", EmailType.FORWARD, "rewrite")


class Shelf(Protocol):
    async def hold(self, hold: Hold) -> Held: ...
    async def take(self, held_id: HeldId) -> HeldMessage: ...
    async def give_back(self, held_id: HeldId) -> None: ...
    async def released(self, held_id: HeldId, actor: str) -> None: ...


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture(params=["postgresql", "memory"])
def where(request: pytest.FixtureRequest) -> str | None:
    """Connection string of a fresh database, or None for memory."""
    return str(request.getfixturevalue("dsn")) if request.param == "postgresql" else None


@pytest.fixture
async def both(where: str | None) -> AsyncIterator[tuple[World, Shelf]]:
    """A world with alias 1 of account 1, and its shelf."""
    room_octets = 3 * len(CONTENT)
    if where is None:
        memory = InMemory()
        await alias(await furnished(memory), "a1@alias.example")
        yield memory, FakeShelf(memory.store, room_octets)
        return
    database = Database(where, 2, 20.0, "test")
    await database.open()
    async with await AsyncConnection.connect(where, autocommit=True) as conn:
        world = InPostgresql(conn, database)
        await alias(await furnished(world), "a1@alias.example")
        yield world, HeldStore(database, VAULT, secrets.token_bytes, room_octets)
    await database.close()


@pytest.fixture
async def store(conn: AsyncConnection[Any], database: Database) -> HeldStore:
    """The real one alone."""
    await alias(await furnished(InPostgresql(conn, database)), "a1@alias.example")
    return HeldStore(database, VAULT, secrets.token_bytes)


async def value(conn: AsyncConnection[Any], query: str) -> Any:
    row = await (await conn.execute(query.encode())).fetchone()
    return None if row is None else row[0]


async def outcomes(world: World) -> list[tuple[int, str]]:
    return sorted((row["recipient_id"], row["outcome"]) for row in await world.rows("ledger"))


# -- Both stores ---------------------------------------------------------------------------------------------------


async def test_the_same_message_twice_is_one_row(both: tuple[World, Shelf]) -> None:
    world, shelf = both
    first = await shelf.hold(HOLD)
    assert first.uuid is not None
    assert first == await shelf.hold(HOLD) == Held(first.id, True, uuid=first.uuid)
    assert await outcomes(world) == [(0, "held")]
    assert len(await world.rows("failed_delivery")) == 1
    assert [row["emails_blocked"] for row in await world.rows("alias")] == [1]
    assert (await world.facts(about("a1@alias.example"))).usage == Usage(messages=1, messages_by_sender=1)


async def test_recipients_and_messages_are_held_each_on_its_own(both: tuple[World, Shelf]) -> None:
    world, shelf = both
    other_rcpt = replace(HOLD, envelope=replace(ENVELOPE, rcpt="a1+tag@alias.example"))
    other_mail = replace(HOLD, envelope=replace(ENVELOPE, key=ingress_key("4XyZ12AbCd", b"other")))
    numbers = {(await shelf.hold(hold)).id for hold in (HOLD, other_rcpt, other_mail)}
    assert len(numbers) == 3
    assert await outcomes(world) == [(0, "held")] * 3


async def test_what_was_held_comes_back_as_it_was(both: tuple[World, Shelf]) -> None:
    _, shelf = both
    held = await shelf.hold(HOLD)
    assert held.id is not None
    message = await shelf.take(held.id)
    assert (message.content, message.evidence) == (CONTENT, HOLD.evidence)
    assert (message.kind, message.type, message.reason) == ("quarantined", EmailType.FORWARD, Reason.NOT_ALLOWED)
    assert message.envelope == ENVELOPE


async def test_one_at_a_time_releases(both: tuple[World, Shelf]) -> None:
    _, shelf = both
    held = await shelf.hold(HOLD)
    assert held.id is not None
    await shelf.take(held.id)
    with pytest.raises(Unavailable):
        await shelf.take(held.id)
    await shelf.give_back(held.id)
    assert (await shelf.take(held.id)).content == CONTENT


async def test_a_released_message_is_its_copies(both: tuple[World, Shelf]) -> None:
    world, shelf = both
    held = await shelf.hold(HOLD)
    assert held.id is not None
    await shelf.take(held.id)
    await world.open(COPY)
    await world.close([Closing(OutboundId(7), "delivered")], None)
    for _ in range(2):
        await shelf.released(held.id, "test")
    assert await outcomes(world) == [(1, "delivered")]
    with pytest.raises(Conflict, match="was released before"):
        await shelf.take(held.id)
    # The answer to Postfix was lost, so it brings the message again.
    assert await shelf.hold(HOLD) == Held(None, False)
    assert await outcomes(world) == [(1, "delivered")]


async def test_a_message_with_a_copy_under_way_is_held(both: tuple[World, Shelf]) -> None:
    """The verdict changed between two tries: one copy is out, the other would be lost."""
    world, shelf = both
    await world.open(COPY)
    await world.open(replace(COPY, recipient_id=2, outbound_id=OutboundId(8)))
    await world.close([Closing(OutboundId(7), "delivered")], None)
    assert (await shelf.hold(HOLD)).stored
    assert await outcomes(world) == [(0, "held"), (1, "delivered"), (2, "queued")]


async def test_a_recipient_that_ended_otherwise_is_not_held(both: tuple[World, Shelf]) -> None:
    world, shelf = both
    await world.end(Ending(ENVELOPE, "discarded", Reason.LOOP))
    assert await shelf.hold(HOLD) == Held(None, False)
    assert await outcomes(world) == [(0, "discarded")]
    assert await world.rows("failed_delivery") == []


async def test_without_content_there_is_a_record(both: tuple[World, Shelf]) -> None:
    _, shelf = both
    held = await shelf.hold(replace(HOLD, content=None))
    assert held.id is not None
    assert not held.stored
    with pytest.raises(Conflict, match="only the record"):
        await shelf.take(held.id)


async def test_the_room_of_an_account_ends(both: tuple[World, Shelf]) -> None:
    world, shelf = both
    keys = [ingress_key("4XyZ12AbCd", bytes([number])) for number in range(5)]
    held = [await shelf.hold(replace(HOLD, envelope=replace(ENVELOPE, key=key))) for key in keys]
    assert [one.stored for one in held] == [True, True, True, False, False]
    assert held[3:] == [Held(None, False, no_room=True)] * 2
    assert await outcomes(world) == [(0, "held")] * 3


async def test_what_was_never_held_is_absent(both: tuple[World, Shelf]) -> None:
    with pytest.raises(Absent):
        await both[1].take(HeldId(99))


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


async def test_the_record_is_as_the_specification_has_it(store: HeldStore, conn: AsyncConnection[Any]) -> None:
    await store.hold(replace(HOLD, code="sender is not on the “list”\n" + "x" * 600))
    columns = "alias_id, email_type, bounce_type, status, remote_mta, is_stored, quarantined, resent"
    row = await (await conn.execute(f"select {columns}, code from failed_delivery".encode())).fetchone()
    assert row is not None
    assert row[:-1] == (1, "F", "spam", "5.7.1", "mx.relay.example", True, True, False)
    assert row[-1].startswith("sender is not on the ?list?")
    assert len(row[-1]) == 500
    assert await value(conn, "select expires_at - created_at = interval '7 days' from stored_message")
    assert await value(conn, "select last_blocked is not null from alias")


async def test_nothing_readable_lies_in_the_database(store: HeldStore, conn: AsyncConnection[Any]) -> None:
    await store.hold(replace(HOLD, author="author@shop.example"))
    dump = await value(
        conn, "select string_agg(t::text, ' ') from (select s, f from stored_message s, failed_delivery f) t"
    )
    for clear in (b"new shoes", b"act=quarantine", b"author@shop.example", b"a1@alias.example"):
        assert clear.hex() not in dump
        assert clear.decode() not in dump
    assert await value(
        conn,
        "select attstorage = 'e' from pg_attribute where attrelid = 'stored_message'::regclass and attname = 'content'",
    )
    assert (
        await value(
            conn,
            "select count(distinct key_id) from (select key_id from stored_message union all"
            " select key_id from failed_delivery) k",
        )
        == 1
    )
    assert await value(conn, "select key_id from stored_message") == VAULT.key_id


async def test_a_message_that_was_moved_to_another_row_does_not_open(
    store: HeldStore, conn: AsyncConnection[Any]
) -> None:
    first = await store.hold(HOLD)
    await store.hold(replace(HOLD, envelope=replace(ENVELOPE, rcpt="a1+tag@alias.example"), content=b"other"))
    await conn.execute("update stored_message set content = (select content from stored_message where id = 2)")
    assert first.id is not None
    with pytest.raises(Malformed, match="moved"):
        await store.take(first.id)
    with pytest.raises(Malformed):
        await store.take(first.id)  # and the lease was given back


async def test_rotated_keys_open_old_mail_and_forgotten_ones_are_named(store: HeldStore) -> None:
    held = await store.hold(HOLD)
    assert held.id is not None
    rotated = replace(store, vault=vault([b"a newer secret of the installation", b"a secret of the installation"]))
    assert await rotated.content(held.id) == CONTENT
    forgetful = replace(store, vault=vault([b"a newer secret of the installation"]))
    with pytest.raises(Malformed, match=VAULT.key_id):
        await forgetful.content(held.id)
    [record] = await forgetful.page()
    assert (record.author, record.rcpt, record.state) == ("", "", "held")


async def test_a_large_message_survives(store: HeldStore) -> None:
    content = secrets.token_bytes(5 * 1024 * 1024)
    held = await store.hold(replace(HOLD, content=content))
    assert held.id is not None
    assert await store.content(held.id) == content


async def test_concurrent_tries_are_one_row(store: HeldStore, conn: AsyncConnection[Any]) -> None:
    held = await asyncio.gather(*(store.hold(HOLD) for _ in range(8)))
    assert len({one.id for one in held}) == 1
    assert await value(conn, "select count(*) from stored_message") == 1
    assert await value(conn, "select emails_blocked from alias") == 1


async def test_nothing_remains_of_a_hold_that_failed_in_the_middle(
    store: HeldStore, conn: AsyncConnection[Any]
) -> None:
    await conn.execute("alter table stored_message add constraint no_room_today check (size_octets < 0)")
    with pytest.raises(psycopg.errors.CheckViolation):
        await store.hold(HOLD)
    for table in ("ledger", "failed_delivery", "stored_message", "rate_window"):
        assert await value(conn, f"select count(*) from {table}") == 0
    await conn.execute("alter table stored_message drop constraint no_room_today")
    assert (await store.hold(HOLD)).stored


async def test_a_server_that_dies_in_the_middle_keeps_all_or_nothing(
    store: HeldStore, conn: AsyncConnection[Any], dsn: str
) -> None:
    """Our session ends while the statement waits for the alias' row, after the others were written."""
    async with await AsyncConnection.connect(dsn) as rival:
        await rival.execute("select from alias for update")
        holding = asyncio.create_task(store.hold(HOLD))
        waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%failed_delivery%'"
        async with asyncio.timeout(20):
            while (pid := await value(conn, waiting)) is None:
                pass
        await conn.execute("select pg_terminate_backend(%s, 10000)", (pid,))
        with pytest.raises(Unavailable):
            await holding
    assert await value(conn, "select count(*) from ledger") == 0
    assert await value(conn, "select count(*) from stored_message") == 0
    assert (await store.hold(HOLD)).stored


async def test_a_lease_runs_out(store: HeldStore, conn: AsyncConnection[Any]) -> None:
    """Who took it was killed; the message waits no longer than that."""
    held = await store.hold(HOLD)
    assert held.id is not None
    await store.take(held.id)
    assert await value(
        conn,
        "select leased_until - now() between interval '14 minutes' and interval '16 minutes' from stored_message",
    )
    await conn.execute("update stored_message set leased_until = now() - interval '1 second'")
    assert (await store.take(held.id)).content == CONTENT


async def test_a_discarded_message_is_gone_and_its_end_is_recorded(
    store: HeldStore, conn: AsyncConnection[Any]
) -> None:
    held = await store.hold(HOLD)
    assert held.id is not None
    record = await store.discard(held.id, "cli:root")
    assert (record.state, record.stored, record.reason) == ("discarded", False, "not_on_allow_list")
    assert await value(conn, "select count(*) from stored_message") == 0
    assert await value(conn, "select outcome || ' ' || (finished_at is not null) from ledger") == "discarded true"
    assert (
        await value(conn, "select actor || ' ' || action || ' ' || object_id from audit") == "cli:root held.discard 1"
    )
    for action in (store.take(held.id), store.discard(held.id, "cli:root")):
        with pytest.raises(Conflict, match="was discarded before"):
            await action
    assert await store.hold(HOLD) == Held(held.id, False, uuid=held.uuid)
    with pytest.raises(Absent):
        await store.discard(HeldId(99), "cli:root")


async def test_a_message_that_is_being_released_cannot_be_discarded(store: HeldStore) -> None:
    held = await store.hold(HOLD)
    assert held.id is not None
    await store.take(held.id)
    with pytest.raises(Unavailable):
        await store.discard(held.id, "cli:root")


async def test_a_release_is_recorded_once(store: HeldStore, conn: AsyncConnection[Any], database: Database) -> None:
    world = InPostgresql(conn, database)
    held = await store.hold(HOLD)
    assert held.id is not None
    await world.open(COPY)
    for _ in range(2):
        await store.released(held.id, "cli:root")
    assert await value(conn, "select count(*) from audit where action = 'held.release'") == 1
    assert (await store.one(held.id)).state == "released"
    assert await store.content(held.id) == CONTENT  # until it is seven days old
    with pytest.raises(Conflict, match="was released before"):
        await store.discard(held.id, "cli:root")


async def test_a_release_without_copies_does_not_unhold(store: HeldStore, conn: AsyncConnection[Any]) -> None:
    """The accounts stay right even if somebody calls it too early."""
    held = await store.hold(HOLD)
    assert held.id is not None
    await store.released(held.id, "cli:root")
    assert await value(conn, "select outcome from ledger") == "held"


@pytest.mark.parametrize("how", ["delete from failed_delivery", "delete from account where id = 2"])
async def test_the_ledger_follows_when_the_record_goes(store: HeldStore, conn: AsyncConnection[Any], how: str) -> None:
    await conn.execute("insert into account (name) values ('other')")
    theirs = replace(ENVELOPE, account_id=AccountId(2), alias_id=None)
    await store.hold(replace(HOLD, envelope=theirs))
    await conn.execute(how.encode())
    assert await value(conn, "select count(*) from stored_message") == 0
    assert await value(conn, "select outcome || ' ' || reason from ledger") == "discarded not_on_allow_list"


async def test_an_account_that_goes_at_this_moment_is_unavailable(store: HeldStore) -> None:
    with pytest.raises(Unavailable, match="failed_delivery_account_fk"):
        await store.hold(replace(HOLD, envelope=replace(ENVELOPE, account_id=AccountId(99))))


async def test_an_alias_that_went_leaves_the_record(store: HeldStore, conn: AsyncConnection[Any]) -> None:
    await store.hold(replace(HOLD, envelope=replace(ENVELOPE, alias_id=AliasId(99))))
    assert await value(conn, "select count(*) from failed_delivery where alias_id is null") == 1


async def test_the_list_tells_what_is_held(store: HeldStore, conn: AsyncConnection[Any]) -> None:
    first = await store.hold(HOLD)
    second = await store.hold(replace(HOLD, envelope=replace(ENVELOPE, rcpt="a1+tag@alias.example"), author=""))
    await store.hold(replace(HOLD, envelope=replace(ENVELOPE, rcpt="a1+x@alias.example"), content=None))
    await store.discard(second.id or HeldId(0), "cli:root")
    newest, oldest = await store.page()
    assert (newest.rcpt, newest.stored, newest.kind) == ("a1+x@alias.example", False, None)
    assert oldest.id == first.id
    assert (oldest.account, oldest.alias, oldest.author) == ("johndoe", "a1@alias.example", "news@shop.example")
    assert (oldest.rcpt, oldest.kind, oldest.state, oldest.reason) == (
        "a1@alias.example",
        "quarantined",
        "held",
        "not_on_allow_list",
    )
    assert (oldest.queue_id, oldest.message_id, oldest.size_octets) == ("4XyZ12AbCd", "<1@shop.example>", len(CONTENT))
    assert [record.state for record in await store.page(every=True)] == ["held", "discarded", "held"]
    assert [record.author for record in await store.page(every=True)] == [
        "news@shop.example",
        "<>",
        "news@shop.example",
    ]
    assert len(await store.page("johndoe")) == 2
    assert await store.page("other") == []
    assert len(await store.page(limit=1)) == 1
    await conn.execute("insert into failed_delivery (account_id, email_type) values (1, 'F')")  # never held
    assert len(await store.page(every=True)) == 3


async def test_the_past_of_an_address_costs_nothing(
    store: HeldStore, conn: AsyncConnection[Any], database: Database
) -> None:
    past = """
        insert into ledger (ingress_key, rcpt, outcome)
        select substr(sha256(n::text::bytea), 1, 16), {rcpt}, 'delivered' from generate_series({since}, 20000) n"""
    await conn.execute(past.format(rcpt="n || '@alias.example'", since=1).encode())
    await conn.execute("analyze")  # the planner takes every address for one that gets little
    await conn.execute(past.format(rcpt="'a1@alias.example'", since=15000).encode())
    held = await store.hold(HOLD)
    values = await store._values(replace(HOLD, envelope=replace(ENVELOPE, key=ingress_key("4XyZ12AbCd", b"other"))))
    values |= {"id": held.id, "actor": "test", "action": "held.release"}
    for query in (held_module._HOLD, held_module._KNOWN, held_module._RELEASED):
        async with database.connection() as session, session.transaction(force_rollback=True):
            cursor = await session.execute(f"explain (analyze, buffers) {query}".encode(), values)
            plan = "\n".join(row[0] for row in await cursor.fetchall())
        assert buffers(plan) < 150, plan
