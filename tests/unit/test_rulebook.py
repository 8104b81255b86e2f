"""Compiled rules in memory: right as long as changes are announced, read anew otherwise, and bounded."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.rules.model import NO_RULES, RuleId, StoredRule
from mailrelay.flows.memory import Memory
from mailrelay.flows.rulebook import Rulebooks
from tests.unit.office import Office
from tests.unit.test_memory import Database

ONE, TWO, THREE = AccountId(1), AccountId(2), AccountId(3)


def stored(number: int, match: str = "contains", values: Sequence[str] = ("x",), operator: str = "AND") -> StoredRule:
    conditions = [{"type": "subject", "match": match, "values": list(values)}]
    actions = [{"type": "block", "value": True}]
    return StoredRule(RuleId(number), f"rule {number}", conditions, actions, operator, True, False, False)


@dataclass
class Table:
    """The rules that are stored. calls: the accounts of each query, which waits for the gate."""

    rules: dict[AccountId, list[StoredRule]] = field(default_factory=dict)
    calls: list[list[AccountId]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    away: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    async def read(self, accounts: Iterable[AccountId]) -> Mapping[AccountId, Sequence[StoredRule]]:
        wanted = list(accounts)
        self.calls.append(wanted)
        self.asked.set()
        found = {account: list(self.rules[account]) for account in wanted if account in self.rules}
        await self.gate.wait()
        if self.away:
            raise Unavailable("away")
        return found


@pytest.fixture
def table() -> Table:
    return Table({ONE: [stored(1), stored(2)], TWO: [stored(3)]})


@pytest.fixture
def books(table: Table) -> Rulebooks:
    made = Rulebooks(table.read, room_octets=1_000_000)
    made.trusted = True
    return made


async def names(books: Rulebooks, account: AccountId) -> list[str]:
    return [rule.name for rule in (await books.book(account)).rules]


async def test_a_book_is_read_once_and_keeps_its_order(table: Table, books: Rulebooks) -> None:
    assert await names(books, ONE) == ["rule 1", "rule 2"]
    assert await books.book(ONE) is await books.book(ONE)
    assert table.calls == [[ONE]]


async def test_to_have_no_rules_is_remembered_as_well(table: Table, books: Rulebooks) -> None:
    assert await books.book(THREE) == NO_RULES
    assert await books.book(THREE) == NO_RULES
    assert table.calls == [[THREE]]


async def test_who_misses_meanwhile_shares_one_query(table: Table, books: Rulebooks) -> None:
    table.gate.clear()
    tasks = [asyncio.create_task(names(books, account)) for account in (ONE, TWO, ONE, THREE, TWO)]
    await asyncio.sleep(0)
    table.gate.set()
    assert await asyncio.gather(*tasks) == [["rule 1", "rule 2"], ["rule 3"], ["rule 1", "rule 2"], [], ["rule 3"]]
    assert sorted(account for call in table.calls for account in call) == [ONE, TWO, THREE]
    assert len(table.calls) <= 2


async def test_a_change_is_known_to_the_next_message(table: Table, books: Rulebooks) -> None:
    await books.book(ONE)
    await books.book(TWO)
    table.rules[ONE] = [stored(9)]
    assert await names(books, ONE) == ["rule 1", "rule 2"]  # not announced yet
    books.forget_account(ONE)
    assert await names(books, ONE) == ["rule 9"]
    assert await names(books, TWO) == ["rule 3"]
    assert table.calls == [[ONE], [TWO], [ONE]]


@pytest.mark.parametrize("forget", [lambda books: books.forget_account(ONE), Rulebooks.clear])
async def test_what_changes_while_it_is_read_is_not_kept(
    table: Table, books: Rulebooks, forget: Callable[[Rulebooks], None]
) -> None:
    table.gate.clear()
    early = asyncio.create_task(names(books, ONE))
    await table.asked.wait()
    table.rules[ONE] = [stored(9)]
    forget(books)
    late = asyncio.create_task(names(books, ONE))
    table.gate.set()
    assert await early == ["rule 1", "rule 2"]
    assert await late == ["rule 9"]
    assert await names(books, ONE) == ["rule 9"]
    assert len(table.calls) == 2


async def test_without_announcements_every_message_asks(table: Table, books: Rulebooks) -> None:
    await books.book(ONE)
    books.trusted = False
    table.rules[ONE] = [stored(9)]
    assert await names(books, ONE) == ["rule 9"]
    assert await names(books, ONE) == ["rule 9"]
    assert len(table.calls) == 3


async def test_what_was_read_untrusted_is_not_kept_for_later(table: Table) -> None:
    books = Rulebooks(table.read, room_octets=1_000_000)
    await books.book(ONE)
    assert len(books) == 0


async def test_while_the_database_is_away_known_rules_serve_and_others_are_unavailable(
    table: Table, books: Rulebooks
) -> None:
    await books.book(ONE)
    table.away = True
    assert await names(books, ONE) == ["rule 1", "rule 2"]
    with pytest.raises(Unavailable):
        await books.book(TWO)
    table.away = False
    assert await names(books, TWO) == ["rule 3"]


async def test_what_was_not_used_for_long_makes_room(table: Table) -> None:
    books = Rulebooks(table.read, room_octets=6000)  # three books with a rule each
    books.trusted = True
    accounts = [AccountId(number) for number in range(1, 5)]
    table.rules = {account: [stored(account)] for account in accounts}
    for account in (*accounts[:3], ONE, accounts[3]):
        await books.book(account)
    assert len(books) == 3
    table.calls.clear()
    for account in (ONE, accounts[2], accounts[3], TWO):
        await books.book(account)
    assert table.calls == [[TWO]]


@pytest.mark.parametrize(
    "large", [stored(1, values=[f"v{n}" for n in range(50)]), stored(1, "matches regex", ["(?i)invoice [0-9]{1,40}$"])]
)
async def test_a_large_book_takes_the_room_of_many_and_the_latest_always_stays(large: StoredRule, table: Table) -> None:
    books = Rulebooks(table.read, room_octets=6000)
    books.trusted = True
    table.rules = {ONE: [large]}
    await books.book(TWO)
    await books.book(ONE)
    assert len(books) == 1
    await books.book(ONE)
    assert table.calls == [[TWO], [ONE]]
    await books.book(TWO)
    await books.book(THREE)
    assert len(books) == 2


async def test_forgetting_gives_the_room_back(table: Table) -> None:
    books = Rulebooks(table.read, room_octets=6000)
    books.trusted = True
    for _ in range(5):
        for account in (ONE, TWO):
            await books.book(account)
            books.forget_account(account)
    await books.book(ONE)
    await books.book(TWO)
    await books.book(ONE)
    assert len(books) == 2


async def test_a_rule_that_is_not_understood_is_told_once_per_load_and_stops_nobody(
    table: Table, books: Rulebooks
) -> None:
    table.rules[ONE] = [stored(1), stored(7, "matches regex", ["(?=x)"]), stored(8, operator="XOR")]
    before = REGISTRY.get_sample_value("mailrelay_broken_rules_total") or 0
    with capture_logs() as lines:
        assert await names(books, ONE) == ["rule 1"]
        assert await names(books, ONE) == ["rule 1"]
    assert [(line["event"], line["log_level"], line["rule"], line["account"]) for line in lines] == [
        ("rule.broken", "warning", 7, 1),
        ("rule.broken", "warning", 8, 1),
    ]
    assert all(line["problem"] for line in lines)
    assert REGISTRY.get_sample_value("mailrelay_broken_rules_total") == before + 2
    books.forget_account(ONE)
    with capture_logs() as lines:
        await books.book(ONE)
    assert len(lines) == 2


async def test_memory_trusts_forgets_and_distrusts(table: Table) -> None:
    """As announced: `account` is told for a change of rules."""
    books, database = Rulebooks(table.read, room_octets=1_000_000), Database()
    memory = Memory(Office().rules, database.read_domains, database.read_bans, database.read_ban, None, books)
    await memory.reload()
    await books.book(ONE)
    await books.book(TWO)
    await memory.changed("account", "1")
    await memory.changed("alias", "a1@alias.example")
    assert len(books) == 1
    memory.lost()
    assert not books.trusted
    await memory.reload()
    assert (len(books), books.trusted) == (0, True)


async def test_owners_are_told_of_rules_that_do_not_work(table: Table) -> None:
    told: list[Notice] = []

    async def post(notice: Notice, /) -> None:
        told.append(notice)
        raise Unavailable("away")  # which is no reason not to deliver

    table.rules[ONE] = [stored(1), stored(7, "matches regex", ["(?=x)"])]
    books = Rulebooks(table.read, 1_000_000, post)
    assert await names(books, ONE) == ["rule 1"]
    assert [(one.code, one.account_id, one.data["rule"]) for one in told] == [(Code.RUL, ONE, "rule 7")]
    assert told[0].data["problem"]
