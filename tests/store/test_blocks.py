"""Block lists for their owners: many entries at once, looking through them, and what a spam filter is told."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from mailrelay.core.address import parse_address
from mailrelay.core.blocklist import Search
from mailrelay.core.errors import Absent, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Owned
from mailrelay.flows.manage import blocks
from mailrelay.store.blockcheck import BlockCheck
from mailrelay.store.database import Database
from mailrelay.store.manage_blocks import Blocks
from mailrelay.store.own_blocklist import OwnBlocklist
from tests.store import world
from tests.store.crowd import database
from tests.store.world import JOHN, OTHER, Connection

__all__ = ["database"]  # a fixture

ACTOR = "token:1"
MINE, THEIRS = AccountId(JOHN), AccountId(OTHER)


@pytest.fixture
def store(database: Database) -> Blocks:
    return Blocks(database)


async def entry(conn: Connection, value: str, account: int = JOHN, type: str = "domain", **more: Any) -> UUID:
    number = await world.insert(conn, "blocked_sender", account_id=account, type=type, value=value, **more)
    found: UUID = await world.value(conn, "select uuid from blocked_sender where id = %s", number)
    return found


async def audit(conn: Connection) -> list[tuple[Any, ...]]:
    query = "select actor, account_id, action, object_table, detail from audit order by id"
    return await (await conn.execute(query)).fetchall()


# --- changing ---------------------------------------------------------------------------------------------------------


async def test_many_are_added_at_once_and_only_new_ones_counted(store: Blocks, conn: Connection) -> None:
    await entry(conn, "old.example")
    values = ["b.example", "Old.example", "a.example", "B.example."]
    made = await blocks.block_all(store, MINE, "domain", values, ACTOR)
    assert [(one.value, one.blocked, one.last_blocked, one.alias) for one in made] == [
        ("b.example", 0, None, None),
        ("a.example", 0, None, None),
    ]
    assert sorted(row[4]["value"] for row in await audit(conn)) == ["a.example", "b.example"]
    assert {row[:4] for row in await audit(conn)} == {(ACTOR, JOHN, "block.add", "blocked_sender")}
    assert await blocks.block_all(store, MINE, "domain", values, ACTOR) == []


async def test_one_that_is_none_spoils_them_all(store: Blocks, conn: Connection) -> None:
    with pytest.raises(Malformed):
        await blocks.block_all(store, MINE, "email", ["a@b.example", "nonsense"], ACTOR)
    assert await world.value(conn, "select count(*) from blocked_sender") == 0


async def test_lists_that_cross_add_each_entry_once(store: Blocks, conn: Connection) -> None:
    values = [f"d{number}.example" for number in range(50)]
    attempts = (store.add_all(MINE, "domain", values if n % 2 else values[::-1], ACTOR) for n in range(20))
    made = await asyncio.gather(*attempts)
    assert sum(map(len, made)) == 50
    uuids = [one.uuid for group in made for one in group]
    attempts_to_remove = (store.remove_all(MINE, uuids if n % 2 else uuids[::-1], ACTOR) for n in range(20))
    gone = await asyncio.gather(*attempts_to_remove)
    assert sum(map(len, gone)) == 50
    assert await world.value(conn, "select count(*) from blocked_sender") == 0
    assert await world.value(conn, "select count(*) from audit") == 100


async def test_only_own_entries_for_all_aliases_go(store: Blocks, conn: Connection) -> None:
    mine, theirs = await entry(conn, "a.example"), await entry(conn, "a.example", OTHER)
    alias = await world.alias(conn, "shop@alias.example")
    narrow = await entry(conn, "a.example", alias_id=alias)
    other = await entry(conn, "b.example")
    assert await blocks.unblock_all(store, MINE, [other, theirs, uuid4(), narrow, mine, other], ACTOR) == [other, mine]
    assert await world.value(conn, "select count(*) from blocked_sender") == 2
    for uuid in (theirs, narrow, mine, uuid4()):
        with pytest.raises(Absent):
            await blocks.unblock(store, Owned(MINE, uuid), ACTOR)
    await blocks.unblock(store, Owned(THEIRS, theirs), ACTOR)
    assert [(row[1], row[2]) for row in await audit(conn)] == [
        (1, "block.remove"),
        (1, "block.remove"),
        (2, "block.remove"),
    ]


async def test_caches_hear_of_every_change(store: Blocks, conn: Connection) -> None:
    await conn.execute("listen mailrelay")
    (made,) = await store.add_all(MINE, "domain", ["a.example"], ACTOR)
    await store.remove_all(MINE, [made.uuid], ACTOR)
    heard = [notify.payload async for notify in conn.notifies(timeout=5, stop_after=2)]
    assert heard == ["account:1", "account:1"]


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def listed(database: Database, conn: Connection) -> OwnBlocklist:
    """Four entries of johndoe's, one for a single alias, one of somebody else's."""
    times: dict[str, Any] = {"created_at": "2026-01-01"}
    await entry(conn, "spam.example", blocked=5, last_blocked="2026-03-01", **times)
    await entry(conn, "a_b%c@ham.example", type="email", blocked=50, last_blocked="2026-02-01", created_at="2026-01-02")
    await entry(conn, "eggs.example", created_at="2026-01-03")
    await entry(conn, "bacon.example", created_at="2026-01-03")
    alias = await world.alias(conn, "shop@alias.example")
    await entry(conn, "narrow.example", alias_id=alias)
    await entry(conn, "theirs.example", OTHER)
    return OwnBlocklist(database)


def shown(found: tuple[list[Any], int]) -> list[str]:
    return [one.value.partition(".")[0] for one in found[0]]


ORDERS = {
    ("created_at", True): ["bacon", "eggs", "a_b%c@ham", "spam"],
    ("created_at", False): ["spam", "a_b%c@ham", "bacon", "eggs"],
    ("value", False): ["a_b%c@ham", "bacon", "eggs", "spam"],
    ("value", True): ["spam", "eggs", "bacon", "a_b%c@ham"],
    ("blocked", False): ["bacon", "eggs", "spam", "a_b%c@ham"],
    ("blocked", True): ["a_b%c@ham", "spam", "bacon", "eggs"],
    ("last_blocked", False): ["bacon", "eggs", "a_b%c@ham", "spam"],
    ("last_blocked", True): ["spam", "a_b%c@ham", "bacon", "eggs"],
}


@pytest.mark.parametrize(("sort", "descending"), ORDERS)
async def test_a_list_is_sorted_as_asked(listed: OwnBlocklist, sort: Any, descending: bool) -> None:
    found = await listed.page(MINE, Search(sort=sort, descending=descending))
    assert shown(found) == ORDERS[sort, descending]
    assert found[1] == 4


async def test_a_list_is_searched_without_wildcards(listed: OwnBlocklist) -> None:
    assert shown(await listed.page(MINE, Search("SPAM"))) == ["spam"]
    assert shown(await listed.page(MINE, Search("_"))) == ["a_b%c@ham"]
    assert shown(await listed.page(MINE, Search("%"))) == ["a_b%c@ham"]
    assert shown(await listed.page(MINE, Search("'; drop table alias; --"))) == []
    assert shown(await listed.page(MINE, Search(type="email"))) == ["a_b%c@ham"]
    assert await listed.page(MINE, Search("nowhere")) == ([], 0)


async def test_pages_know_how_much_there_is(listed: OwnBlocklist) -> None:
    assert shown(await listed.page(MINE, Search(limit=3, offset=3))) == ["spam"]
    assert await listed.page(MINE, Search(limit=3, offset=2**31 * 100)) == ([], 4)
    assert await listed.page(AccountId(99), Search(offset=5)) == ([], 0)


# --- the spam filter --------------------------------------------------------------------------------------------------


async def test_the_address_goes_before_its_domain_and_both_are_counted(database: Database, conn: Connection) -> None:
    check = BlockCheck(database)
    alias = await world.alias(conn, "shop@alias.example")
    address = await entry(conn, "bad@mail.spam.example", type="email")
    domain = await entry(conn, "spam.example")
    shop = parse_address("Shop+tag@alias.example")
    assert await check.blocks(shop, "BAD@Mail.Spam.example")
    assert await check.blocks(shop, "other@mail.spam.example")
    assert await check.blocks(shop, "other@SPAM.example")
    assert not await check.blocks(shop, "other@notspam.example")
    query = "select blocked, last_blocked is not null from blocked_sender where uuid = %s"
    for uuid, expected in ((address, (1, True)), (domain, (2, True))):
        assert await (await conn.execute(query, (uuid,))).fetchone() == expected
    query = "select emails_blocked, last_blocked is not null from alias where id = %s"
    assert await (await conn.execute(query, (alias,))).fetchone() == (3, True)


@pytest.mark.parametrize(
    "rcpt",
    ["new@johndoe.alias.example", "new@own.example", "handy@alias.example", "Handy+x@second.example"],
)
async def test_addresses_that_mail_would_make_have_an_owner(database: Database, conn: Connection, rcpt: str) -> None:
    await world.handle(conn, "handy")
    await entry(conn, "spam.example")
    assert await BlockCheck(database).blocks(parse_address(rcpt), "x@spam.example")


@pytest.mark.parametrize(
    ("rcpt", "sender"),
    [
        ("nobody@alias.example", "x@spam.example"),
        ("x@nobody.alias.example", "x@spam.example"),
        ("x@elsewhere.example", "x@spam.example"),
        ("gone@alias.example", "x@spam.example"),
        ("new@own.example", ""),
        ("new@own.example", "<>"),
        ("new@own.example", "no address"),
        ("new@own.example", "x@\x00spam.example"),
        ("new@own.example", "\ud800@ham.example"),
    ],
)
async def test_everything_else_passes(database: Database, conn: Connection, rcpt: str, sender: str) -> None:
    await world.alias(conn, "gone@alias.example", account=None, state="forgotten", deleted_at="2026-01-01")  # type: ignore[arg-type]
    await entry(conn, "spam.example")
    assert not await BlockCheck(database).blocks(parse_address(rcpt), sender)


async def test_an_entry_for_one_alias_holds_for_no_other(database: Database, conn: Connection) -> None:
    check = BlockCheck(database)
    alias = await world.alias(conn, "shop@alias.example")
    await world.alias(conn, "other@alias.example")
    await entry(conn, "spam.example", alias_id=alias)
    assert await check.blocks(parse_address("shop@alias.example"), "x@spam.example")
    assert not await check.blocks(parse_address("other@alias.example"), "x@spam.example")
