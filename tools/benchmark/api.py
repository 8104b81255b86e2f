"""The APIs over HTTP: how long clients wait, with an account that has a tenth of all aliases, and an administrator."""

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from statistics import median
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import psycopg

from mailrelay.core.own_aliases import AliasSort
from tools.benchmark.apilists import ACCOUNTS, WORDS, lists
from tools.benchmark.apirates import Rate, give_tokens, rates
from tools.benchmark.population import DOMAIN
from tools.benchmark.product import Product
from tools.sandbox.process import Trouble

SIZE = 100  # of a page
SEARCHED, GOT = "page of 100, searched and sorted", "one alias"
_TOKEN = "Benchmark0" * 4 + "00000000"
_WARM_UP = 30
_REQUESTS = 400
_FRESH = 50  # requests, after which they are no longer counted against the limit of 60 a minute
_CHUNK = 50_000  # rows of a transaction: each tells caches
_OWN_SHARE = 10

_OF_USE = frozenset(sort for sort in AliasSort if sort.startswith(("emails", "last")))
_OF_OWNERS = [sort for sort in AliasSort if sort not in _OF_USE]

_PEOPLE = """
    with a as (
        insert into account (name) select 'api' || n from generate_series(0, %(others)s) n returning id, name
    ), r as (
        insert into recipient (account_id, address, verified_at)
        select id, name || '-' || n || '@inbox.example', now() from a, generate_series(1, 3) n returning id, account_id
    )
    select a.id, array_agg(r.id) from a join r on r.account_id = a.id group by a.id order by a.id
"""
_DEFAULT = "update account set default_recipient_id = %s where id = %s"
_TOKEN_ROW = "insert into token (account_id, kind, name, hash) values (%s, 'addy', 'Benchmark', %s)"
_COPY = """
    copy alias (account_id, local_part, domain, description, state, deleted_at, pinned, emails_forwarded,
                emails_blocked, last_forwarded, last_blocked, created_at, updated_at) from stdin
"""
_ATTACH = """
    insert into alias_recipient (alias_id, recipient_id)
    select a.id, r.id from alias a join recipient r on r.account_id = a.account_id
    where a.account_id = any (%s) and a.id %% 3 = 0 and r.id %% 3 > 0
"""
_START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Waits:
    """How long requests of one kind took, in seconds, in no order."""

    of: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]

    @property
    def worst(self) -> float:
        return max(self.seconds)


@dataclass(frozen=True, slots=True)
class ApiWaits:
    """aliases: in the table; own: of the account that asks; admin: those of an administrator, for all aliases.

    rss: octets of the role at the end.
    """

    aliases: int
    own: int
    waits: tuple[Waits, ...]
    rates: tuple[Rate, ...] = ()
    rss: int = 0
    admin: tuple[Waits, ...] = ()


def fill(product: Product, aliases: int) -> tuple[int, list[int]]:
    """So many aliases, in random order those of one account and those of others. The number of its own, the others."""
    rnd = random.Random(7)
    with psycopg.connect(product.sandbox.dsn) as connection:
        people = connection.execute(_PEOPLE, {"others": ACCOUNTS}).fetchall()
        connection.cursor().executemany(_DEFAULT, [(recipients[0], account) for account, recipients in people])
        (me, _), *others = people
        connection.execute(_TOKEN_ROW, (me, hashlib.sha256(_TOKEN.encode()).digest()))
        give_tokens(connection, [account for account, _ in others])
        owners = [me] * (aliases // _OWN_SHARE)
        owners += [others[at % ACCOUNTS][0] for at in range(aliases - len(owners))]
        rnd.shuffle(owners)
        for begin in range(0, aliases, _CHUNK):
            with connection.cursor().copy(_COPY) as copy:
                for at, owner in enumerate(owners[begin : begin + _CHUNK], begin):
                    copy.write_row((owner, *_alias(rnd, at)))
            connection.commit()
        connection.execute(_ATTACH, ([account for account, _ in people],))
        connection.commit()
        connection.autocommit = True
        connection.execute("vacuum (analyze)")
        connection.execute("checkpoint")
    return aliases // _OWN_SHARE, [account for account, _ in others]


def _alias(rnd: random.Random, number: int) -> tuple[Any, ...]:
    """Columns of an alias as people have them: most with a description, some never used, few paused or deleted."""
    made = _START + timedelta(seconds=number * 30)
    used = rnd.random() < 0.6
    state = rnd.choices(("active", "inactive", "deleted"), (85, 10, 5))[0]
    description = f"{rnd.choice(WORDS)} {rnd.choice(WORDS)}, Bestellung für {rnd.randrange(100_000)}"
    return (
        f"{rnd.choice(WORDS)}.{rnd.choice(WORDS)}{number}",
        DOMAIN,
        description if rnd.random() < 0.7 else None,
        state,
        made if state == "deleted" else None,
        rnd.random() < 0.001,
        rnd.randrange(500) if used else 0,
        rnd.randrange(20) if used else 0,
        made + timedelta(seconds=rnd.randrange(10**7)) if used else None,
        made + timedelta(seconds=rnd.randrange(10**7)) if rnd.random() < 0.2 else None,
        made,
        made + timedelta(seconds=rnd.randrange(10**6)),
    )


def measure(product: Product, aliases: int, say: Callable[[str], None]) -> ApiWaits:
    """Requests one after the other over one connection, as one client makes them; then those of many at once."""
    product.start(("api",))  # the others would hear of every row
    own, others = fill(product, aliases)
    rnd = random.Random(11)
    with Client(product, "/api/v1", {"Authorization": f"Bearer {_TOKEN}"}) as client:
        uuids = [alias["id"] for alias in client.get("aliases", {"sort": "email"})["data"]]
        kinds: list[tuple[str, Iterator[tuple[str, dict[str, Any]]]]] = [
            (SEARCHED, _searches(rnd)),
            ("page of 100, the newest", (("aliases", {}) for _ in range(_REQUESTS))),
            ("page of 100, any of them", (("aliases", _page(rnd.randrange(own // SIZE))) for _ in range(_REQUESTS))),
            ("page of 100, all match, sorted", _matching_all(rnd, _OF_OWNERS)),
            ("page of 100, all match, by use", _matching_all(rnd, sorted(_OF_USE))),
            (GOT, ((f"aliases/{rnd.choice(uuids)}", {}) for _ in range(_REQUESTS))),
        ]
        found = _timed(client, kinds, say)
    with Client(product, "/api/admin", {}) as client:
        name, _, password = product.sandbox.memory.credentials["admin"].partition(":")
        client.sign_in(name, password)
        seen = _timed(client, lists(aliases), say)
    return ApiWaits(aliases, own, found, *rates(product, others, say), admin=seen)


def _timed(
    client: "Client", kinds: Iterable[tuple[str, Iterator[tuple[str, dict[str, Any]]]]], say: Callable[[str], None]
) -> tuple[Waits, ...]:
    found = []
    for of, requests in kinds:
        waits = Waits(of, tuple(client.timed(requests)))
        say(f"  {waits.of:<36} {waits.median * 1000:6.1f} ms, p99 {waits.p99 * 1000:.1f} ms")
        found.append(waits)
    return tuple(found)


def _searches(rnd: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """What people look for: half of it words that some thousands have, half of it parts of a number."""
    for _ in range(_REQUESTS):
        word = rnd.choice(WORDS) if rnd.random() < 0.5 else str(rnd.randrange(100, 10_000))
        sort = rnd.choice(("", "-")) + rnd.choice(list(AliasSort))
        yield "aliases", {"filter[search]": word, "sort": sort, **_page(rnd.choice((0, 0, 0, 1, 5)))}


def _matching_all(rnd: random.Random, sorts: list[AliasSort]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A search that leaves nothing out."""
    for _ in range(_REQUESTS // 4):
        yield "aliases", {"filter[search]": DOMAIN, "sort": f"-{rnd.choice(sorts)}"}


def _page(number: int) -> dict[str, Any]:
    return {"page[number]": number + 1, "page[size]": SIZE}


class Client:
    """One connection to the api role, and a way around its limit. root: of paths. For `with`."""

    def __init__(self, product: Product, root: str, headers: Mapping[str, str]) -> None:
        self._root = root
        self._headers = dict(headers)
        self._http = HTTPConnection("127.0.0.1", product.sandbox.memory.ports["api"], timeout=30)
        self._database = psycopg.connect(product.sandbox.dsn, autocommit=True)
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._database.close()

    def sign_in(self, name: str, password: str) -> None:
        """As administrators do."""
        document = json.dumps({"identifier": name, "password": password}).encode()
        self._http.request("POST", "/api/auth/sign-in", document, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise Trouble(f"signing in was answered {answer.status}: {content[:200]!r}")
        cookies = [value.partition(";")[0] for key, value in answer.getheaders() if key.lower() == "set-cookie"]
        self._headers["Cookie"] = "; ".join(cookies)

    def get(self, path: str, query: dict[str, Any]) -> Any:
        return json.loads(self._ask(path, query))

    def timed(self, requests: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[float]:
        """Seconds of each, without those that warm up."""
        for number, (path, query) in enumerate(requests):
            begun = time.perf_counter()
            self._ask(path, query)
            spent = time.perf_counter() - begun
            if number >= _WARM_UP:
                yield spent

    def _ask(self, path: str, query: dict[str, Any]) -> bytes:
        if self._asked % _FRESH == 0:
            self._database.execute("delete from request_window")
        self._asked += 1
        url = f"{self._root}/{path}?{urlencode(query)}"
        self._http.request("GET", url, headers=self._headers)
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise Trouble(f"{url} was answered {answer.status}: {content[:200]!r}")
        return content
