"""Recipients by UUID, for their owners: races, what goes along with one, and what is written down."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from mailrelay.core.address import parse_address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.recipients import AskedEnough, IsDefault, IsVerified, RecipientChange, Taken
from mailrelay.core.records import Named
from mailrelay.store.database import Database
from mailrelay.store.manage_recipients import Recipients
from mailrelay.store.own_recipients import OwnRecipients
from tests.store import world
from tests.store.crowd import database
from tests.store.world import JOHN, OTHER, OWN_EXAMPLE, Connection

__all__ = ["database"]  # a fixture

ME = parse_address("me@elsewhere.example")
ACTOR = "token:1"
MINE, THEIRS = AccountId(JOHN), AccountId(OTHER)


@pytest.fixture
def store(database: Database) -> Recipients:
    return Recipients(database)


@pytest.fixture
def own(database: Database) -> OwnRecipients:
    return OwnRecipients(database)


async def add(conn: Connection, address: str, account: int = JOHN, **more: Any) -> tuple[int, UUID]:
    number = await world.insert(conn, "recipient", account_id=account, address=address, **more)
    return number, await world.value(conn, "select uuid from recipient where id = %s", number)


async def audit(conn: Connection) -> list[tuple[Any, ...]]:
    query = "select actor, account_id, action, object_table, object_id, detail from audit order by id"
    return await (await conn.execute(query)).fetchall()


async def test_of_fifty_who_add_the_same_one_exactly_one_does(store: Recipients, conn: Connection) -> None:
    attempts = (store.add(MINE, ME, verified=False, actor=ACTOR, alone=True) for _ in range(50))
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, Taken) for result in results) == 49, results
    assert await world.value(conn, "select count(*) from recipient where address_folded = %s", str(ME)) == 1
    assert len(await audit(conn)) == 1


async def test_of_two_accounts_only_one_gets_a_mailbox_that_is_taken_at_its_word(
    store: Recipients, conn: Connection
) -> None:
    owners = (MINE, THEIRS)
    attempts = (store.add(owners[n % 2], ME, verified=True, actor=ACTOR, alone=True) for n in range(50))
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, Taken) for result in results) == 49, results
    assert await world.value(conn, "select count(*) from recipient where address_folded = %s", str(ME)) == 1


async def test_until_it_is_verified_a_mailbox_is_nobodys_alone(store: Recipients) -> None:
    for owner in (MINE, THEIRS):
        await store.add(owner, ME, verified=False, actor=ACTOR, alone=True)
    await store.verify(Named("other"), ME, ACTOR)
    assert await store.is_taken(AccountId(99), ME)
    with pytest.raises(Taken):
        await store.add(MINE, parse_address("ME@elsewhere.example"), verified=False, actor=ACTOR, alone=True)


async def test_a_plain_forward_keeps_nobody_from_signing_up(store: Recipients, conn: Connection) -> None:
    nobody = await world.insert(conn, "account", implicit_mailbox=str(ME))
    await conn.execute(
        "insert into recipient (account_id, address, verified_at) values (%s, %s, now())", (nobody, str(ME))
    )
    assert not await store.is_taken(MINE, ME)
    assert (await store.add(MINE, ME, verified=False, actor=ACTOR, alone=True)).address == str(ME)


async def test_a_recipient_takes_along_what_points_to_it(store: Recipients, conn: Connection) -> None:
    number, uuid = await add(
        conn,
        "new@inbox.example",
        verified_at="2026-01-01",
        fingerprint="A" * 40,
        public_key=b"key",
        should_encrypt=True,
    )
    alias = await world.alias(conn, "first@alias.example")
    await world.attach(conn, alias, number)
    await conn.execute("update username set default_recipient_id = %s", (number,))
    await conn.execute("update domain set default_recipient_id = %s where id = %s", (number, OWN_EXAMPLE))
    await world.handle(conn, "handy", recipient_id=number)
    gone = await store.remove(MINE, uuid, ACTOR)
    assert gone.uuid == uuid
    for query in (
        "select count(*) from recipient where id = 3",
        "select count(*) from alias_recipient",
        "select count(default_recipient_id) from username",
        "select count(default_recipient_id) from domain",
        "select count(recipient_id) from handle",
    ):
        assert await world.value(conn, query) == 0, query
    detail = {"address": "new@inbox.example", "fingerprint": "A" * 40}
    assert await audit(conn) == [(ACTOR, JOHN, "recipient.remove", "recipient", number, detail)]
    with pytest.raises(Absent):
        await store.remove(MINE, uuid, ACTOR)


async def test_the_default_recipient_stays(store: Recipients, conn: Connection) -> None:
    uuid = await world.value(conn, "select uuid from recipient where id = 1")
    with pytest.raises(IsDefault, match=r"johndoe@Inbox\.example"):
        await store.remove(MINE, uuid, ACTOR)
    assert await world.value(conn, "select count(*) from recipient where id = 1") == 1
    assert await audit(conn) == []


async def test_what_belongs_to_others_or_is_hidden_is_not_there(
    store: Recipients, own: OwnRecipients, conn: Connection
) -> None:
    _, theirs = await add(conn, "x@inbox.example", OTHER)
    _, hidden = await add(conn, "y@inbox.example", pending=True)
    for uuid in (theirs, hidden, uuid4()):
        for attempt in (
            store.remove(MINE, uuid, ACTOR),
            store.change(MINE, uuid, RecipientChange(can_reply_send=False), ACTOR),
            store.ask(MINE, uuid, ACTOR),
            own.one(MINE, uuid),
        ):
            with pytest.raises(Absent):
                await attempt
    assert [found.address for found in await own.every(MINE)] == ["johndoe@inbox.example"]
    assert await audit(conn) == []


async def test_only_a_change_moves_updated_at_and_is_noted(
    store: Recipients, own: OwnRecipients, conn: Connection
) -> None:
    number, uuid = await add(conn, "new@inbox.example", updated_at="2020-01-01")
    before = (await own.one(MINE, uuid)).updated_at
    nothing = RecipientChange(can_reply_send=True, remove_pgp_keys=True, remove_pgp_signatures=True, description=None)
    for change in (nothing, RecipientChange()):
        await store.change(MINE, uuid, change, ACTOR)
    assert ((await own.one(MINE, uuid)).updated_at, await audit(conn)) == (before, [])
    change = RecipientChange(description="office", can_reply_send=False, remove_pgp_keys=False)
    await store.change(MINE, uuid, change, ACTOR)
    found = await own.one(MINE, uuid)
    assert (found.description, found.can_reply_send, found.remove_pgp_keys) == ("office", False, False)
    assert found.remove_pgp_signatures
    assert found.updated_at > before + timedelta(days=365)
    await store.change(MINE, uuid, RecipientChange(description=None), ACTOR)
    assert (await own.one(MINE, uuid)).description is None
    assert [(row[2], row[4], row[5]) for row in await audit(conn)] == [
        ("recipient.change", number, {"description": "set", "can_reply_send": False, "remove_pgp_keys": False}),
        ("recipient.change", number, {"description": "cleared"}),
    ]


async def test_they_are_read_newest_first_with_the_aliases_that_are_not_deleted(
    own: OwnRecipients, conn: Connection
) -> None:
    number, uuid = await add(conn, "New@inbox.example", created_at="2030-01-01")
    for place, state in enumerate(("active", "inactive", "deleted")):
        deleted_at = "2026-01-01" if state == "deleted" else None
        alias = await world.alias(conn, f"a{place}@alias.example", state=state, deleted_at=deleted_at)
        await world.attach(conn, alias, number)
    found = await own.every(MINE)
    assert [(one.address, one.aliases_count) for one in found] == [
        ("new@inbox.example", 2),
        ("johndoe@inbox.example", 0),
    ]
    assert [one.address for one in await own.every(MINE, verified=True)] == ["johndoe@inbox.example"]
    (alone,) = await own.every(MINE, verified=False, counted=False)
    assert (alone.uuid, alone.aliases_count) == (uuid, None)
    assert (await own.one(MINE, uuid)).aliases_count == 2


async def test_whoever_reads_a_mailbox_is_asked_within_measure(store: Recipients, conn: Connection) -> None:
    number, uuid = await add(conn, "new@inbox.example")
    await store.ask(MINE, uuid, ACTOR)
    assert await world.value(conn, "select payload->>'code' from job where kind = 'notice'") == "VR"
    assert (await audit(conn))[0][2:5] == ("recipient.ask", "recipient", number)
    counted = "insert into notification_limit (account_id, kind, subject, window_start, sent)"
    await conn.execute(f"{counted} values (1, 'VR', 'new@inbox.example', now() - interval '50 minutes', 3)".encode())
    with pytest.raises(AskedEnough) as caught:
        await store.ask(MINE, uuid, ACTOR)
    assert 590 <= caught.value.seconds <= 600
    await store.verify(MINE, parse_address("new@inbox.example"), ACTOR)
    with pytest.raises(IsVerified):
        await store.ask(MINE, uuid, ACTOR)


async def test_a_mailbox_of_several_accounts_is_found_by_its_uuid(store: Recipients, conn: Connection) -> None:
    (_, mine), (_, theirs) = await add(conn, "x@inbox.example"), await add(conn, "x@inbox.example", OTHER)
    with pytest.raises(Conflict, match="several accounts"):
        await store.remove(None, parse_address("x@inbox.example"), ACTOR)
    await store.remove(None, theirs, ACTOR)
    assert await world.value(conn, "select uuid from recipient where address = 'x@inbox.example'") == mine
