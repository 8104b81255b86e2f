"""What is in memory follows what is announced."""

import asyncio
from dataclasses import dataclass, field

import pytest

from mailrelay.core.bans import Ban, BanId
from mailrelay.core.errors import Unavailable
from mailrelay.core.realm import Custom, Shared
from mailrelay.flows.cache import FactsCache
from mailrelay.flows.memory import Domains, Memory
from mailrelay.flows.rules import Rules
from tests.unit.fakes import NOW
from tests.unit.office import Office, new_office
from tests.unit.test_cache import FACTS, LIMITS, about, new_cache

SPAM = Ban(BanId(1), "name", "spam", "both", None)
BAD = Ban(BanId(2), "domain", "bad.example", "both", None)


@dataclass
class Database:
    """What the database says; `away`: nothing."""

    domains: Domains = (frozenset({"alias.example"}), frozenset({"own.example"}))
    bans: dict[int, Ban] = field(default_factory=lambda: {1: SPAM})
    away: bool = False

    def _here(self) -> None:
        if self.away:
            raise Unavailable("away")

    async def read_domains(self) -> Domains:
        self._here()
        return self.domains

    async def read_bans(self) -> list[Ban]:
        self._here()
        return list(self.bans.values())

    async def read_ban(self, number: BanId) -> Ban | None:
        self._here()
        return self.bans.get(number)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def rules() -> Rules:
    return Office().rules


@pytest.fixture
def cache() -> FactsCache:
    kept = new_cache()
    for local in ("a1", "b2"):
        kept.keep(about(local), FACTS, LIMITS, kept.epoch)
    return kept


@pytest.fixture
def memory(rules: Rules, database: Database, cache: FactsCache) -> Memory:
    return Memory(rules, database.read_domains, database.read_bans, database.read_ban, cache)


async def test_reload_reads_everything_and_trusts_what_comes_next(
    memory: Memory, rules: Rules, cache: FactsCache
) -> None:
    cache.trusted = False
    await memory.reload()
    assert rules.around.realm.locate("alias.example") == Shared("alias.example")
    assert rules.around.realm.locate("own.example") == Custom("own.example")
    assert rules.around.realm.srs_domain == "srs.relay.example"
    assert rules.around.bans.name("spam", NOW) == SPAM
    assert (len(cache), cache.trusted) == (0, True)


async def test_a_reload_that_fails_trusts_nothing_and_keeps_what_was_known(
    memory: Memory, rules: Rules, database: Database, cache: FactsCache
) -> None:
    await memory.reload()
    memory.lost()
    database.away = True
    with pytest.raises(Unavailable):
        await memory.reload()
    assert not cache.trusted
    assert rules.around.realm.locate("alias.example") == Shared("alias.example")
    assert rules.around.bans.name("spam", NOW) == SPAM


async def test_a_lost_connection_keeps_old_facts_for_bad_times(memory: Memory, cache: FactsCache) -> None:
    memory.lost()
    assert cache.fresh(about("a1")) is None
    assert cache.stale(about("a1")) is FACTS


async def test_a_change_of_a_domain_is_known_at_once(
    memory: Memory, rules: Rules, database: Database, cache: FactsCache
) -> None:
    await memory.reload()
    cache.keep(about("a1"), FACTS, LIMITS, cache.epoch)
    database.domains = (frozenset({"alias.example", "second.example"}), frozenset())
    await memory.changed("domain", "2")
    assert rules.around.realm.locate("second.example") == Shared("second.example")
    assert rules.around.realm.locate("own.example") is None
    assert rules.around.bans.name("spam", NOW) == SPAM
    assert len(cache) == 0


async def test_bans_come_and_go(memory: Memory, rules: Rules, database: Database, cache: FactsCache) -> None:
    await memory.reload()
    database.bans = {2: BAD}
    await memory.changed("ban", "2")
    await memory.changed("ban", "1")
    assert rules.around.bans.mailbox("x@bad.example", "sender", NOW) == BAD
    assert rules.around.bans.name("spam", NOW) is None
    await memory.changed("ban", "999")  # made and gone in between


@pytest.mark.parametrize(
    ("kind", "value", "left"),
    [
        ("alias", "a1@alias.example", ["b2"]),
        ("alias", "a1@other.example", ["a1", "b2"]),
        ("account", "1", []),
        ("account", "2", ["a1", "b2"]),
        ("username", "1", []),
        ("handle", "1", []),
        ("ban", "1", ["a1", "b2"]),
        ("weather", "fine", ["a1", "b2"]),
        ("", "", ["a1", "b2"]),
    ],
)
async def test_a_change_takes_out_of_the_cache_what_it_is_about(
    memory: Memory, cache: FactsCache, kind: str, value: str, left: list[str]
) -> None:
    await memory.changed(kind, value)
    assert [local for local in ("a1", "b2") if cache.fresh(about(local))] == left


@pytest.mark.parametrize(("kind", "value"), [("alias", "a1@alias.example"), ("account", "1"), ("username", "1")])
async def test_a_role_without_a_cache_has_nothing_to_forget(
    rules: Rules, database: Database, kind: str, value: str
) -> None:
    memory = Memory(rules, database.read_domains, database.read_bans, database.read_ban)
    await memory.reload()
    await memory.changed(kind, value)
    memory.lost()


async def test_a_reload_of_the_configuration_meanwhile_is_not_undone(rules: Rules, database: Database) -> None:
    """SIGHUP replaces the surroundings while domains are being read."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Domains:
        arrived.set()
        await go_on.wait()
        return database.domains

    memory = Memory(rules, slow, database.read_bans, database.read_ban)
    reading = asyncio.create_task(memory.reload())
    await arrived.wait()
    trusted = new_office().rules.around.trusted * 2
    rules.around = type(rules.around)(
        rules.around.realm, rules.around.bans, rules.around.keys, trusted, rules.around.organisation
    )
    go_on.set()
    await reading
    assert rules.around.trusted == trusted
    assert rules.around.realm.locate("alias.example") == Shared("alias.example")
