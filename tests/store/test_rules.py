"""Rules in the database: their order, their counters, who hears of changes, and what is wrong in what others stored."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from mailrelay.batch import Batcher
from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, Owned
from mailrelay.core.rules.model import RuleId
from mailrelay.core.rules.record import MAX_RULES, NewRule, RuleRecord
from mailrelay.flows.rulebook import Rulebooks
from mailrelay.store.changes import Follower
from mailrelay.store.database import Database
from mailrelay.store.manage_rules import Rules
from mailrelay.store.own_rules import OwnRules
from mailrelay.store.rules import RuleReader
from tests.store import world
from tests.store.world import JOHN, OTHER, Connection, insert

PATIENCE_SECONDS = 30
ACTOR = "cli:tester"
JOHNS, OTHERS = AccountId(JOHN), AccountId(OTHER)
CONDITIONS: list[dict[str, object]] = [{"type": "subject", "match": "contains", "values": ["invoice"]}]
ACTIONS: list[dict[str, object]] = [{"type": "block", "value": True}]


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    """Connections to a database with the small world of world.py."""
    opened = Database(dsn, 4, 20.0, "test")
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


async def rule(conn: Connection, name: str, account: int = JOHN, **more: Any) -> int:
    """A rule for forwards, as any program would write it."""
    values = {"conditions": json.dumps(CONDITIONS), "actions": json.dumps(ACTIONS), "forwards": True, **more}
    return await insert(conn, "rule", account_id=account, name=name, **values)


def new(name: str, **more: Any) -> NewRule:
    values: dict[str, Any] = {"operator": "AND", "forwards": True, "replies": False, "sends": False, **more}
    return NewRule(name, CONDITIONS, ACTIONS, **values)


def names(records: Sequence[RuleRecord]) -> list[str]:
    return [record.name for record in records]


# --- for mail --------------------------------------------------------------------------------------------------------


async def test_active_rules_come_in_the_order_of_evaluation(database: Database, conn: Connection) -> None:
    await rule(conn, "last", position=2, created_at="2026-01-01T00:00:00Z")
    await rule(conn, "young", created_at="2026-01-03T00:00:00Z")
    await rule(conn, "old", created_at="2026-01-02T00:00:00Z")
    await rule(conn, "old, but second", created_at="2026-01-02T00:00:00Z")
    await rule(conn, "first", position=-1)
    await rule(conn, "another's", OTHER)
    found = await RuleReader(database).active([JOHNS, OTHERS, AccountId(99)])
    assert {account: [one.name for one in rules] for account, rules in found.items()} == {
        JOHNS: ["first", "old", "old, but second", "young", "last"],
        OTHERS: ["another's"],
    }


async def test_a_rule_is_read_as_it_is_stored(database: Database, conn: Connection) -> None:
    number = await rule(conn, "r", operator="OR", forwards=False, sends=True)
    [found] = (await RuleReader(database).active([JOHNS]))[JOHNS]
    assert (found.id, found.name, found.operator) == (number, "r", "OR")
    assert (found.conditions, found.actions) == (CONDITIONS, ACTIONS)
    assert (found.forwards, found.replies, found.sends) == (False, False, True)


async def test_rules_that_apply_to_nothing_are_not_read(database: Database, conn: Connection) -> None:
    await rule(conn, "off", active=False)
    await rule(conn, "for no flow", forwards=False)
    assert await RuleReader(database).active([JOHNS]) == {}


@pytest.mark.parametrize("odd", ["[" + "9" * 5000 + "]", "[" * 5000 + "]" * 5000, "[1e400]"])
async def test_json_that_is_too_much_for_us_breaks_its_rule_alone(
    database: Database, conn: Connection, odd: str
) -> None:
    await rule(conn, "odd", conditions=odd)
    await rule(conn, "good")
    books = Rulebooks(RuleReader(database).active, 1_000_000)
    book = await books.book(JOHNS)
    assert [one.name for one in book.rules] == ["good"]
    assert [one.name for one in book.broken] == ["odd"]
    listed = await Rules(database).page()
    assert [(record.name, bool(record.faults)) for record in listed] == [("odd", True), ("good", False)]


async def test_many_matches_are_counted_in_one_statement(database: Database, conn: Connection) -> None:
    one, two, _ = [RuleId(await rule(conn, name)) for name in ("one", "two", "three")]
    await RuleReader(database).count([(one, two), (), (two, one, one), (RuleId(999), two)])
    rows = await database.rows("select name, applied, last_applied > now() - interval '1 minute' from rule order by id")
    assert rows == [("one", 2, True), ("two", 3, True), ("three", 0, None)]


async def test_nothing_to_count_asks_nobody(dsn: str) -> None:
    closed = Database(dsn, 1, 1.0, "test")  # would be Unavailable
    assert await RuleReader(closed).count([(), ()]) == [None, None]


async def test_processes_that_count_the_same_rules_at_once_do_not_block_each_other(
    database: Database, conn: Connection
) -> None:
    rules = [RuleId(await rule(conn, f"r{number}")) for number in range(10)]
    reader = RuleReader(database)
    lanes: list[Batcher[Sequence[RuleId], None]] = [Batcher(reader.count, limit=3) for _ in range(4)]
    orders = (rules, rules[::-1], rules[5:] + rules[:5], rules)
    await asyncio.gather(*(lane.ask(order) for _ in range(25) for lane, order in zip(lanes, orders, strict=True)))
    assert await world.value(conn, "select array_agg(distinct applied) from rule") == [100]


async def test_counting_is_no_edit(database: Database, conn: Connection) -> None:
    number = RuleId(await rule(conn, "r"))
    before = await world.value(conn, "select updated_at from rule")
    await RuleReader(database).count([(number,)])
    assert await world.value(conn, "select updated_at from rule") == before


async def test_an_edit_anywhere_reaches_the_book(database: Database, dsn: str) -> None:
    """From the command of an operator, over NOTIFY, to the process that delivers."""
    books = Rulebooks(RuleReader(database).active, 1_000_000)
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def restored() -> None:
        books.clear()
        books.trusted = True

    async def changed(kind: str, value: str) -> None:
        if kind == "account":
            books.forget_account(AccountId(int(value)))
        heard.put_nowait(f"{kind}:{value}")

    follower = Follower(dsn, restored, changed, lambda: None)
    task = asyncio.create_task(follower.run())
    try:
        await asyncio.wait_for(follower.connected.wait(), PATIENCE_SECONDS)
        store = Rules(database)

        async def replaced() -> RuleRecord:
            return await store.replace(Owned(JOHNS, (await store.show("2")).uuid), new("zwei"), ACTOR)

        for edit, expected in (
            (store.add(JOHNS, new("one"), ACTOR), ["one"]),
            (store.add(JOHNS, new("two"), ACTOR), ["one", "two"]),
            (store.reorder(JOHNS, ["2", "1"], ACTOR), ["two", "one"]),
            (store.set_active("1", False, ACTOR), ["two"]),
            (replaced(), ["zwei"]),
            (store.remove("2", ACTOR), []),
        ):
            await books.book(JOHNS)
            await edit
            assert await asyncio.wait_for(heard.get(), PATIENCE_SECONDS) == "account:1"
            assert [one.name for one in (await books.book(JOHNS)).rules] == expected
            assert len(books) == 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_database_that_is_away_is_unavailable(dsn: str) -> None:
    closed = Database(dsn, 1, 1.0, "test")
    with pytest.raises(Unavailable):
        await Rulebooks(RuleReader(closed).active, 1_000_000).book(JOHNS)
    with pytest.raises(Unavailable):
        await RuleReader(closed).count([(RuleId(1),)])


# --- for those who manage them ---------------------------------------------------------------------------------------


async def test_a_new_rule_has_everything_that_was_asked_for(database: Database) -> None:
    record = await Rules(database).add(
        Named("johndoe"), new("no invoices", operator="OR", sends=True, active=False, position=7), ACTOR
    )
    assert (record.name, record.account, record.position, record.active) == ("no invoices", "johndoe", 7, False)
    assert (record.operator, record.forwards, record.replies, record.sends) == ("OR", True, False, True)
    assert (record.conditions, record.actions, record.faults) == (CONDITIONS, ACTIONS, ())
    assert (record.applied, record.last_applied) == (0, None)
    store = Rules(database)
    assert await store.show(str(record.id)) == await store.show(str(record.uuid).upper()) == record


@pytest.mark.parametrize("ref", ["2", "x", "", "-1", "²", "9" * 30, "1 or true", str(UUID(int=1))])
async def test_what_names_no_rule_is_absent(database: Database, conn: Connection, ref: str) -> None:
    await rule(conn, "the only one")
    store = Rules(database)
    for attempt in (
        store.show(ref),
        store.remove(ref, ACTOR),
        store.set_active(ref, False, ACTOR),
        store.reorder(JOHNS, [ref], ACTOR),
    ):
        with pytest.raises(Absent):
            await attempt
    assert names(await store.page()) == ["the only one"]


async def test_without_its_account_there_is_no_rule(database: Database) -> None:
    for attempt in (
        Rules(database).add(Named("nobody"), new("r"), ACTOR),
        Rules(database).reorder(Named("nobody"), [], ACTOR),
        Rules(database).recipients(Named("nobody")),
    ):
        with pytest.raises(Absent):
            await attempt


async def test_an_account_has_so_many_rules_and_no_more_however_many_add_at_once(
    database: Database, conn: Connection
) -> None:
    for number in range(MAX_RULES - 2):
        await rule(conn, f"r{number}")
    attempts = [Rules(database).add(JOHNS, new(f"late {number}"), ACTOR) for number in range(6)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, RuleRecord) for result in results) == 2
    assert sum(isinstance(result, Conflict) for result in results) == 4
    assert await world.value(conn, "select count(*) from rule") == MAX_RULES
    await Rules(database).add(OTHERS, new("another's first"), ACTOR)


async def test_lists_are_in_the_order_of_evaluation(database: Database, conn: Connection) -> None:
    await rule(conn, "another's", OTHER)
    await rule(conn, "second", position=1)
    await rule(conn, "first", active=False)
    store = Rules(database)
    assert names(await store.page()) == ["first", "second", "another's"]
    assert names(await store.page("johndoe")) == ["first", "second"]
    assert await store.page("nobody") == []


async def test_reordering_gives_places_from_zero_and_leaves_the_others(database: Database, conn: Connection) -> None:
    a, b, c = [await rule(conn, name, position=5) for name in "abc"]
    another = await rule(conn, "another's", OTHER)
    store = Rules(database)
    uuid = (await store.show(str(a))).uuid
    records = await store.reorder(Named("johndoe"), [str(c), str(uuid).upper()], ACTOR)
    assert [(record.name, record.position) for record in records] == [("c", 0), ("a", 1), ("b", 5)]
    with pytest.raises(Malformed):
        await store.reorder(JOHNS, [str(a), str(uuid)], ACTOR)
    with pytest.raises(Absent):
        await store.reorder(JOHNS, [str(b), str(another)], ACTOR)
    assert names(await store.page("johndoe")) == ["c", "a", "b"]


async def test_a_rule_is_switched_and_removed_and_others_stay(database: Database, conn: Connection) -> None:
    one, two = str(await rule(conn, "one")), str(await rule(conn, "two"))
    store = Rules(database)
    assert (await store.set_active(one, False, ACTOR)).active is False
    assert (await store.set_active(one, False, ACTOR)).active is False
    assert (await store.set_active(one, True, ACTOR)).active is True
    assert (await store.remove(one, ACTOR)).name == "one"
    assert names(await store.page()) == ["two"]
    assert (await store.show(two)).active


async def test_only_verified_recipients_can_be_named(database: Database, conn: Connection) -> None:
    await insert(conn, "recipient", account_id=JOHN, address="new@inbox.example")
    await insert(conn, "recipient", account_id=JOHN, address="Work@Inbox.example", verified_at="2026-01-01T00:00:00Z")
    found = await Rules(database).recipients(Named("johndoe"))
    assert sorted(found) == ["johndoe@inbox.example", "work@inbox.example"]
    assert found["johndoe@inbox.example"] == await world.value(conn, "select uuid from recipient where id = 1")


async def test_what_others_stored_and_we_do_not_understand_is_told(database: Database, conn: Connection) -> None:
    bad = [{"type": "subject", "match": "matches regex", "values": ["(?<=x)y"]}]
    await rule(conn, "pattern", conditions=json.dumps(bad))
    await rule(conn, "half", conditions=json.dumps([*bad, *CONDITIONS]), operator="OR")
    await rule(conn, "action", actions=json.dumps([{"type": "dance", "value": True}, *ACTIONS]))
    await rule(conn, "good")
    records = await Rules(database).page("johndoe")
    assert [(record.name, len(record.faults)) for record in records] == [
        ("pattern", 1),
        ("half", 1),
        ("action", 1),
        ("good", 0),
    ]
    assert records[0].conditions == bad


# --- for their owner, who names them by UUID -------------------------------------------------------------------------


async def uuid_of(conn: Connection, number: int) -> UUID:
    return UUID(str(await world.value(conn, "select uuid from rule where id = %s", number)))


async def audits(database: Database) -> list[tuple[Any, ...]]:
    query = "select actor, account_id, action, object_table, object_id from audit order by id"
    return [tuple(row) for row in await database.rows(query)]


async def test_an_owner_reads_own_rules_in_the_order_of_evaluation(database: Database, conn: Connection) -> None:
    await rule(conn, "another's", OTHER)
    await rule(conn, "second", position=1)
    first = await rule(conn, "first", active=False)
    own = OwnRules(database)
    found = await own.all(JOHNS)
    assert [one.name for one in found] == ["first", "second"]
    assert found[0] == await own.one(Owned(JOHNS, await uuid_of(conn, first)))
    assert (found[0].id, found[0].active, found[0].conditions, found[0].actions) == (first, False, CONDITIONS, ACTIONS)
    assert await own.all(AccountId(99)) == []


async def test_the_rules_of_others_are_absent(database: Database, conn: Connection) -> None:
    theirs = Owned(JOHNS, await uuid_of(conn, await rule(conn, "another's", OTHER)))
    store = Rules(database)
    for attempt in (
        OwnRules(database).one(theirs),
        store.show(theirs),
        store.remove(theirs, ACTOR),
        store.set_active(theirs, False, ACTOR),
        store.replace(theirs, new("mine now"), ACTOR),
    ):
        with pytest.raises(Absent):
            await attempt
    assert [(record.name, record.active) for record in await store.page()] == [("another's", True)]
    assert await audits(database) == []


async def test_a_replacement_keeps_place_counters_and_switch(database: Database, conn: Connection) -> None:
    number = await rule(conn, "old", position=4, active=False, applied=7, operator="OR")
    mine = Owned(JOHNS, await uuid_of(conn, number))
    before = await OwnRules(database).one(mine)
    record = await Rules(database).replace(mine, new("new", forwards=False, sends=True, position=9), ACTOR)
    assert (record.name, record.operator, record.forwards, record.sends) == ("new", "AND", False, True)
    assert (record.position, record.active, record.applied) == (4, False, 7)
    assert record.updated_at > before.updated_at
    # The same again is no change.
    assert (await Rules(database).replace(mine, new("new", forwards=False, sends=True), ACTOR)) == record
    assert await audits(database) == [(ACTOR, JOHN, "rule.change", "rule", number)]


async def test_every_change_is_noted_once(database: Database, conn: Connection) -> None:
    store = Rules(database)
    record = await store.add(JOHNS, new("r"), "token:5")
    other = await rule(conn, "other")
    mine = Owned(JOHNS, record.uuid)
    await store.set_active(mine, True, "token:5")
    await store.set_active(mine, False, "token:5")
    await store.set_active(mine, True, "token:5")
    await store.reorder(JOHNS, [str(other), str(record.uuid)], "token:5")
    await store.reorder(JOHNS, [str(other), str(record.uuid)], "token:5")
    await store.remove(mine, "token:5")
    assert await audits(database) == [
        ("token:5", JOHN, f"rule.{action}", "rule", record.id)
        for action in ("add", "deactivate", "activate", "move", "remove")
    ]


async def test_of_two_who_remove_a_rule_one_finds_it(database: Database, conn: Connection) -> None:
    mine = Owned(JOHNS, await uuid_of(conn, await rule(conn, "r")))
    results = await asyncio.gather(*(Rules(database).remove(mine, ACTOR) for _ in range(4)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Absent", "Absent", "Absent", "RuleRecord"]
