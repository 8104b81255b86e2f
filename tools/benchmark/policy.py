"""Measures the policy service: answers from its memory and from the database."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.benchmark.population import DOMAIN, Population
from tools.benchmark.processes import cpu_seconds
from tools.benchmark.product import Product
from tools.benchmark.questions import Client, requests

_CACHED_ALIASES = 2_000
_CACHED_QUESTIONS = 60_000
_UNCACHED_QUESTIONS = 12_000
_PACED_QUESTIONS = 4_000
_PACE = 1_000.0


@dataclass(frozen=True, slots=True)
class Answers:
    """rate: answers a second; per_core: for each second of the policy process' CPU time; p50, p99: seconds at PACE."""

    cached: bool
    answers: int
    rate: float
    per_core: float
    database_per_answer: float  # CPU seconds of PostgreSQL
    p50: float
    p99: float


def measure(product: Product, people: Population, say: Callable[[str], None]) -> list[Answers]:
    """With an empty cache, then with a full one. The product's policy role is started anew."""
    product.start(tuple(product.pids()))
    client = Client(product.sandbox.memory.ports["policy"])
    addresses = [f"{local}@{DOMAIN}" for local in people.local_parts()]
    random.Random(11).shuffle(addresses)
    fresh = iter(requests(addresses))
    _ask(product, client, [next(fresh) for _ in range(500)])  # connections, statements, the interpreter's own caches
    rate = _ask(product, client, [next(fresh) for _ in range(_UNCACHED_QUESTIONS)])
    uncached = _answers(False, rate, client.at_a_rate([next(fresh) for _ in range(_PACED_QUESTIONS)], _PACE))
    say(f"  from the database  {uncached.rate:8.0f}/s  p99 {uncached.p99 * 1000:.1f} ms at {_PACE:.0f}/s")
    known = [next(fresh) for _ in range(_CACHED_ALIASES)]
    _ask(product, client, known)
    rate = _ask(product, client, known * (_CACHED_QUESTIONS // len(known)))
    cached = _answers(True, rate, client.at_a_rate(known * (_PACED_QUESTIONS // len(known)), _PACE))
    say(f"  from memory        {cached.rate:8.0f}/s  p99 {cached.p99 * 1000:.1f} ms at {_PACE:.0f}/s")
    return [cached, uncached]


@dataclass(frozen=True, slots=True)
class _Rate:
    answers: int
    seconds: float
    policy_seconds: float
    database_seconds: float


def _ask(product: Product, client: Client, asked: Sequence[bytes]) -> _Rate:
    postgres = product.sandbox.postgres.pid
    assert postgres is not None  # the roles are well, so it runs
    roots = {"policy": product.pids()["policy"], "postgresql": postgres}
    before = cpu_seconds(roots)
    seconds = client.as_fast_as_possible(asked)
    after = cpu_seconds(roots)
    return _Rate(len(asked), seconds, *(after[part] - before[part] for part in roots))


def _answers(cached: bool, found: _Rate, waits: Sequence[float]) -> Answers:
    return Answers(
        cached,
        found.answers,
        found.answers / found.seconds,
        found.answers / max(found.policy_seconds, 0.01),
        found.database_seconds / found.answers,
        waits[len(waits) // 2],
        waits[int(len(waits) * 0.99)],
    )
