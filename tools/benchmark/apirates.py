"""How many requests the api role answers a second when several clients ask at once, each for an account of its own."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import cycle

import psycopg

from tools.benchmark.population import DOMAIN
from tools.benchmark.processes import memory
from tools.benchmark.product import Product
from tools.benchmark.watch import Watch
from tools.sandbox.process import Trouble

CHECKED, CREATED = "token check", "create an alias"
_CLIENTS = 8
_REQUESTS = 4000
_WARM_UP = 400
_ROUND = 40  # requests of an account, before it has asked as often as it may within a minute
_UNLIMITED = "update account set new_aliases_per_hour = 0 where id = any (%s)"
_TOKENS = """
    insert into token (account_id, kind, name, hash)
    select account, 'addy', 'Benchmark', hash from unnest(%s::bigint[], %s::bytea[]) t(account, hash)
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so much time. cpu_seconds: of the role's process alone."""

    of: str
    requests: int
    seconds: float
    cpu_seconds: float

    @property
    def a_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_ms(self) -> float:
        return self.cpu_seconds / self.requests * 1e3


def secret(account: int) -> str:
    """The token of an account."""
    return f"Benchmark{account:031d}00000000"


def give_tokens(connection: psycopg.Connection[tuple[object, ...]], accounts: Sequence[int]) -> None:
    """A token for each account, which may make as many aliases as it likes."""
    hashes = [hashlib.sha256(secret(account).encode()).digest() for account in accounts]
    connection.execute(_TOKENS, (list(accounts), hashes))
    connection.execute(_UNLIMITED, (list(accounts),))


def rates(product: Product, accounts: Sequence[int], say: Callable[[str], None]) -> tuple[tuple[Rate, ...], int]:
    """Each kind by several clients at once, and the role's resident memory in octets afterwards."""
    pid = product.pids(("api",))["api"]
    alias = json.dumps({"domain": DOMAIN, "description": "benchmark", "recipient_ids": []}).encode()
    found = []
    for of, method, path, content, status in (
        (CHECKED, "GET", "api-token-details", None, 200),
        (CREATED, "POST", "aliases", alias, 201),
    ):
        crowd = _Crowd(product, accounts, method, path, content, status)
        crowd.ask(_WARM_UP)
        watch = Watch({"api": pid})
        began = time.monotonic()
        crowd.ask(_REQUESTS)
        rate = Rate(of, _REQUESTS, time.monotonic() - began, watch.used().parts["api"])
        say(f"  {of:<36} {rate.a_second:6.0f}/s, {rate.cpu_ms:.2f} ms CPU of the role")
        found.append(rate)
    return tuple(found), memory(pid).rss


@dataclass(frozen=True, slots=True)
class _Crowd:
    """Clients that ask the same, each over a connection of its own."""

    product: Product
    accounts: Sequence[int]
    method: str
    path: str
    content: bytes | None
    status: int

    def ask(self, requests: int) -> None:
        """Raises Trouble if one is answered otherwise."""
        with psycopg.connect(self.product.sandbox.dsn, autocommit=True) as database:
            database.execute("delete from request_window")
        trouble: list[str] = []
        share = len(self.accounts) // _CLIENTS
        threads = [
            threading.Thread(
                target=self._client, args=(self.accounts[at * share : (at + 1) * share], requests // _CLIENTS, trouble)
            )
            for at in range(_CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if trouble:
            raise Trouble(f"{self.method} {self.path} was answered {trouble[0]}")

    def _client(self, accounts: Sequence[int], requests: int, trouble: list[str]) -> None:
        connection = HTTPConnection("127.0.0.1", self.product.sandbox.memory.ports["api"], timeout=30)
        try:
            for account in _turns(accounts, requests):
                headers = {"Authorization": f"Bearer {secret(account)}", "Content-Type": "application/json"}
                connection.request(self.method, f"/api/v1/{self.path}", self.content, headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != self.status:
                    trouble.append(f"{answer.status}: {content[:200]!r}")
                    return
        except OSError as error:
            trouble.append(str(error))
        finally:
            connection.close()


def _turns(accounts: Sequence[int], requests: int) -> Iterator[int]:
    """Whose turn it is: each account asks a while, then the next one."""
    for number, account in zip(range(requests), cycle(accounts), strict=False):
        assert number // len(accounts) < _ROUND, "the accounts are too few for so many requests within a minute"
        yield account
