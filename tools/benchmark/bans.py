"""What bans cost: the policy service and the look-ups of the HTTP APIs, with none and with many."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from statistics import median

import psycopg

from mailrelay import config
from mailrelay.core.address import parse_address
from mailrelay.core.banrecords import BanFilter
from mailrelay.core.bans import BanBook
from mailrelay.core.suspects import Suspect, of_domain, of_ip, of_mailbox, of_name
from mailrelay.store.admin_bans import BanLists
from mailrelay.store.banned import BanLookup
from mailrelay.store.database import Database
from mailrelay.store.directory import read_bans
from tools.benchmark import policy
from tools.benchmark.policy import Answers
from tools.benchmark.population import Population
from tools.benchmark.processes import memory
from tools.benchmark.product import Product
from tools.benchmark.quiet import Patience

_MB = 1 << 20
_TIMES = 1000
_WARM_UP = 50
_LENGTHS_4, _LENGTHS_6 = (16, 20, 22, 24, 28, 32), (32, 48, 56, 64)
_COPY = "copy ban (type, value) from stdin"


@dataclass(frozen=True, slots=True)
class Waits:
    """How long look-ups of one kind took, in seconds."""

    of: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


@dataclass(frozen=True, slots=True)
class Stand:
    """With so many bans. answers: of the policy service; rss: octets of its role; load_seconds: to read all of them."""

    bans: int
    answers: tuple[Answers, ...]
    waits: tuple[Waits, ...]
    rss: int
    load_seconds: float


def some(count: int) -> Iterator[tuple[str, str]]:
    """Types and values of so many different bans, as they are stored; none of them hits anybody who is measured."""
    rnd = random.Random(5)
    seen: set[tuple[str, str]] = set()
    while len(seen) < count:
        found = _one(rnd, len(seen))
        if found not in seen:
            seen.add(found)
            yield found


def _one(rnd: random.Random, number: int) -> tuple[str, str]:
    match number % 10:
        case 0 | 1 | 2:
            address = f"{rnd.randrange(1, 191)}.{rnd.randrange(256)}.{rnd.randrange(256)}.{rnd.randrange(256)}"
            return "ip", _network(f"{address}/{rnd.choice(_LENGTHS_4)}")
        case 3 | 4:
            address = f"2a00:{rnd.randrange(65536):x}:{rnd.randrange(65536):x}:{rnd.randrange(65536):x}::"
            return "ip", _network(f"{address}/{rnd.choice(_LENGTHS_6)}")
        case 5 | 6 | 7:
            return "domain", f"d{number}.throwaway{number % 97}.example"
        case 8:
            return "email", f"user{number}@bad{number % 997}.example"
        case _:
            return "name", f"name{number}"


def _network(text: str) -> str:
    network = ip_network(text, strict=False)
    return str(network.network_address) if network.num_addresses == 1 else str(network)


_LOOKED_UP: Sequence[tuple[str, tuple[Suspect, ...]]] = (
    ("a client", of_ip("192.0.2.17")),
    ("a client, IPv6", of_ip("2001:db8:1:2::17")),
    ("a mailbox", of_mailbox(parse_address("user0001@mail.inbox.example"))),
    (
        "a subscription: name, domain, mailbox",
        (*of_name("shop"), *of_domain("alias.example"), *of_mailbox(parse_address("user0001@mail.inbox.example"))),
    ),
)


def measure(
    product: Product, people: Population, bans: int, patience: Patience, say: Callable[[str], None]
) -> list[Stand]:
    """First without any, then with so many."""
    found = []
    for count in (0, bans):
        if count:
            product.start(("api",))  # the others would hear of every row
            _fill(product, count)
        product.start()
        say(f"  {count} bans")
        answers = tuple(policy.measure(product, people, patience, say))
        rss = memory(product.pids()["policy"]).rss
        waits, load_seconds = asyncio.run(_waits(product))
        for one in waits:
            say(f"  {one.of:<38} {one.median * 1e3:.2f} ms, p99 {one.p99 * 1e3:.2f} ms")
        found.append(Stand(count, answers, waits, rss, load_seconds))
    return found


def _fill(product: Product, count: int) -> None:
    with psycopg.connect(product.sandbox.dsn) as connection:
        with connection.cursor().copy(_COPY) as copy:
            for row in some(count):
                copy.write_row(row)
        connection.commit()
        connection.autocommit = True
        connection.execute("vacuum (analyze) ban")


async def _waits(product: Product) -> tuple[tuple[Waits, ...], float]:
    settings = config.load(product.sandbox.places.config)
    database = Database(settings.database.dsn, 1, 10.0, "bench")
    await database.open()
    try:
        lookup, lists = BanLookup(database), BanLists(database)
        found = []
        for of, suspects in _LOOKED_UP:
            times = [await _timed(lookup.first(suspects)) for _ in range(_TIMES + _WARM_UP)]
            found.append(Waits(of, tuple(times[_WARM_UP:])))
        for of, wanted in (("a page of 50", BanFilter()), ("a page that is searched", BanFilter(True, None, "999"))):
            times = [await _timed(lists.page(wanted, 50, 0)) for _ in range(_TIMES // 10)]
            found.append(Waits(f"list of bans, {of}", tuple(times)))
        began = time.perf_counter()
        BanBook.of(await read_bans(database))
        return tuple(found), time.perf_counter() - began
    finally:
        await database.close()


async def _timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def table(stands: Sequence[Stand]) -> str:
    """For people."""
    lines = ["bans", f"  {'':<42}" + "".join(f"{f'{one.bans} bans':>14}" for one in stands)]
    for at, answers in enumerate(stands[0].answers):
        kind = "from memory" if answers.cached else "from the database"
        rates = "".join(f"{one.answers[at].median.per_core:>14.0f}" for one in stands)
        lines.append(f"  {f'policy answers {kind}, per core second':<42}{rates}")
        waits = "".join(f"{one.answers[at].median.p99 * 1e3:>14.2f}" for one in stands)
        lines.append(f"  {f'policy p99 {kind}, ms':<42}{waits}")
    for at, waits_of in enumerate(stands[0].waits):
        times = "".join(f"{f'{one.waits[at].median * 1e3:.2f} ({one.waits[at].p99 * 1e3:.2f})':>14}" for one in stands)
        lines.append(f"  {f'{waits_of.of}, ms (p99)':<42}{times}")
    lines.append(f"  {'RSS of policy, MB':<42}" + "".join(f"{one.rss / _MB:>14.0f}" for one in stands))
    lines.append(f"  {'reading all of them, seconds':<42}" + "".join(f"{one.load_seconds:>14.2f}" for one in stands))
    return "\n".join(lines)


def slower(stands: Sequence[Stand]) -> float:
    """Answers from memory for a second of CPU with many bans, relative to none."""
    rates = [next(answers.median.per_core for answers in one.answers if answers.cached) for one in stands]
    return rates[-1] / rates[0]
