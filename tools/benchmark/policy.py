"""Measures the policy service: answers from its memory and from the database."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

from tools.benchmark.population import DOMAIN, Population
from tools.benchmark.product import Product
from tools.benchmark.questions import Client, requests
from tools.benchmark.quiet import Patience
from tools.benchmark.watch import Watch

_WARM_UP = 500
_CACHED_ALIASES = 2_000
_FAST_QUESTIONS = {True: 40_000, False: 6_000}  # cached or not
_PACED_QUESTIONS = 3_000
_PACE = 1_000.0
ROUNDS = 3
ALIASES_NEEDED = _WARM_UP + _CACHED_ALIASES + ROUNDS * (_FAST_QUESTIONS[False] + _PACED_QUESTIONS)


@dataclass(frozen=True, slots=True)
class Round:
    """rate: answers a second; per_core: for each second of the policy process' CPU time; p50, p99: seconds, at PACE.

    database_seconds: CPU time of PostgreSQL for an answer. foreign_share: of a processor, taken by other programs.
    """

    rate: float
    per_core: float
    database_seconds: float
    p50: float
    p99: float
    foreign_share: float


@dataclass(frozen=True, slots=True)
class Answers:
    """The rounds with cached or uncached aliases."""

    cached: bool
    rounds: tuple[Round, ...]

    @property
    def median(self) -> Round:
        """Each figure's median; the worst foreign_share."""
        figures = {name: median(getattr(one, name) for one in self.rounds) for name in Round.__slots__}
        return Round(**{**figures, "foreign_share": max(one.foreign_share for one in self.rounds)})


def measure(product: Product, people: Population, patience: Patience, say: Callable[[str], None]) -> list[Answers]:
    """With an empty cache, as after a start, then with a full one."""
    client = Client(product.sandbox.memory.ports["policy"])
    addresses = [f"{local}@{DOMAIN}" for local in people.local_parts()]
    random.Random(11).shuffle(addresses)
    fresh = iter(requests(addresses[:ALIASES_NEEDED]))
    client.as_fast_as_possible(list(islice(fresh, _WARM_UP)))
    uncached = _rounds(product, client, fresh, False, patience, say)
    known = list(islice(fresh, _CACHED_ALIASES))
    client.as_fast_as_possible(known)
    return [_rounds(product, client, cycle(known), True, patience, say), uncached]


def _rounds(
    product: Product,
    client: Client,
    asked: Iterator[bytes],
    cached: bool,
    patience: Patience,
    say: Callable[[str], None],
) -> Answers:
    found = []
    for number in range(1, ROUNDS + 1):
        patience.wait(product.parts())
        one = _round(product, client, asked, _FAST_QUESTIONS[cached])
        found.append(one)
        say(
            f"  {'from memory' if cached else 'from the database'}, {number}/{ROUNDS}  "
            f"{one.rate:.0f}/s, p99 {one.p99 * 1000:.1f} ms at {_PACE:.0f}/s"
        )
    return Answers(cached, tuple(found))


def _round(product: Product, client: Client, asked: Iterator[bytes], questions: int) -> Round:
    roots = product.parts()
    watch = Watch(roots)
    seconds = client.as_fast_as_possible(list(islice(asked, questions)))
    used = watch.used()
    paced = Watch(roots)
    waits = client.at_a_rate(list(islice(asked, _PACED_QUESTIONS)), _PACE)
    foreign = (used.foreign / seconds, paced.used().foreign / (_PACED_QUESTIONS / _PACE))
    return Round(
        questions / seconds,
        questions / max(used.parts["policy"], 0.01),
        used.parts["postgresql"] / questions,
        waits[len(waits) // 2],
        waits[int(len(waits) * 0.99)],
        max(foreign),
    )
