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
from mailrelay.core.records import Named
from mailrelay.core.rules.model import RuleId
from mailrelay.core.rules.record import MAX_RULES, NewRule, RuleRecord
from mailrelay.flows.rulebook import Rulebooks
from mailrelay.store.changes import Follower
from mailrelay.store.database import Database
from mailrelay.store.manage_rules import Rules
from mailrelay.store.rules import RuleReader
from tests.store import world
from tests.store.world import JOHN, OTHER, Connection, insert

PATIENCE_SECONDS = 30
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
        for edit, expected in (
            (store.add(JOHNS, new("one")), ["one"]),
            (store.add(JOHNS, new("two")), ["one", "two"]),
            (store.reorder(JOHNS, ["2", "1"]), ["two", "one"]),
            (store.set_active("1", False), ["two"]),
            (store.remove("2"), []),
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
        Named("johndoe"), new("no invoices", operator="OR", sends=True, active=False, position=7)
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
    for attempt in (store.show(ref), store.remove(ref), store.set_active(ref, False), store.reorder(JOHNS, [ref])):
        with pytest.raises(Absent):
            await attempt
    assert names(await store.page()) == ["the only one"]


async def test_without_its_account_there_is_no_rule(database: Database) -> None:
    for attempt in (
        Rules(database).add(Named("nobody"), new("r")),
        Rules(database).reorder(Named("nobody"), []),
        Rules(database).recipients(Named("nobody")),
    ):
        with pytest.raises(Absent):
            await attempt


async def test_an_account_has_so_many_rules_and_no_more_however_many_add_at_once(
    database: Database, conn: Connection
) -> None:
    for number in range(MAX_RULES - 2):
        await rule(conn, f"r{number}")
    attempts = [Rules(database).add(JOHNS, new(f"late {number}")) for number in range(6)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, RuleRecord) for result in results) == 2
    assert sum(isinstance(result, Conflict) for result in results) == 4
    assert await world.value(conn, "select count(*) from rule") == MAX_RULES
    await Rules(database).add(OTHERS, new("another's first"))


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
    records = await store.reorder(Named("johndoe"), [str(c), str(uuid).upper()])
    assert [(record.name, record.position) for record in records] == [("c", 0), ("a", 1), ("b", 5)]
    with pytest.raises(Malformed):
        await store.reorder(JOHNS, [str(a), str(uuid)])
    with pytest.raises(Absent):
        await store.reorder(JOHNS, [str(b), str(another)])
    assert names(await store.page("johndoe")) == ["c", "a", "b"]


async def test_a_rule_is_switched_and_removed_and_others_stay(database: Database, conn: Connection) -> None:
    one, two = str(await rule(conn, "one")), str(await rule(conn, "two"))
    store = Rules(database)
    assert (await store.set_active(one, False)).active is False
    assert (await store.set_active(one, False)).active is False
    assert (await store.set_active(one, True)).active is True
    assert (await store.remove(one)).name == "one"
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
