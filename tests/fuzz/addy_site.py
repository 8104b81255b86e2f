"""The addy.io API on a port of the loopback, without limits, for programs that ask it anything."""

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import requests

from mailrelay.api import app, server
from mailrelay.api.addy import gate
from mailrelay.api.addy.app import Addy
from mailrelay.config import Config
from mailrelay.core.requests import Admission, Bearer, Limit, Shut, Window
from mailrelay.endpoint import Endpoint
from mailrelay.flows.resendjob import ResendJobs
from mailrelay.store.database import Database
from mailrelay.store.gate import Gate as GateStore
from mailrelay.store.manage_keys import init_secrets
from mailrelay.wiring import addy
from tests.api.addy.conftest import TOKEN, WORLD, settings
from tests.api.addy.fakedns import FakeDns
from tests.api.addy.household import CHOSEN, furnish
from tests.api.addy.test_resend import Hand, run

_MANY = 1_000_000_000


@dataclass(frozen=True)
class Unlimited:
    """Counts nothing."""

    counter: gate.Counter

    async def admit(self, bearer: Bearer, limits: Sequence[Limit], ip: str) -> Admission | Shut | None:
        return await self.counter.admit(bearer, (), ip)

    async def count(self, client: str, limits: Sequence[Limit]) -> tuple[Window, ...]:
        return ()


class Site:
    """A running one. calls: how many of one endpoint; headers: of somebody who has all of household.py."""

    def __init__(self, dsn: str, secrets: Path, url: str) -> None:
        self.url = url
        self.calls = 0
        self.answers: Counter[tuple[str, int]] = Counter()
        self.session = requests.Session()
        self.session.trust_env = False
        self.headers = {"Authorization": f"Bearer {TOKEN}"}
        self._dsn = dsn
        self._secrets = secrets

    def note(self, endpoint: str, status: int) -> None:
        """One more call has this answer."""
        self.calls += 1
        self.answers[endpoint, status] += 1

    def renew(self) -> None:
        """Everything is as in the beginning."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            empty(connection)
            connection.execute(WORLD.encode())
            connection.execute(
                "insert into token (account_id, kind, name, hash) values (1, 'addy', 'Test', %s)",
                (hashlib.sha256(TOKEN.encode()).digest(),),
            )
        furnish(self._dsn, self._secrets)


def empty(connection: psycopg.Connection[Any]) -> None:
    """All tables, and their numbers begin anew."""
    found = connection.execute(
        "select string_agg(quote_ident(tablename), ', ') from pg_tables"
        " where schemaname = 'public' and tablename not like '%migration%'"
    ).fetchone()
    assert found is not None
    connection.execute(f"truncate {found[0]} restart identity cascade".encode())


@contextmanager
def running(dsn: str, folder: Path) -> Iterator[Site]:
    """The API over this database, as long as the block lasts."""
    more = {**CHOSEN, "limits": {"new_aliases_per_hour": _MANY, "usernames_per_account": _MANY}}
    config = settings(dsn, folder, more)
    init_secrets(config.secrets)

    async def up(stack: AsyncExitStack) -> int:
        database = Database(dsn, 4, 20.0, "test")
        stack.push_async_callback(database.close)
        await database.open()
        await stack.enter_async_context(asynccontextmanager(run)(database, ResendJobs(Hand())))
        web = server.serve(app.build(dict, (), _unlimited(config, database)), Endpoint("127.0.0.1", 0))
        stack.push_async_callback(web.stop)
        await web.start()
        return web.port

    with event_loop() as carry_out:
        stack = AsyncExitStack()
        try:
            port = carry_out(up(stack))
            yield Site(dsn, config.secrets, f"http://127.0.0.1:{port}")
        finally:
            carry_out(stack.aclose())


@contextmanager
def event_loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Carries out coroutines in an event loop of another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="site")
    thread.start()
    try:
        yield lambda story: asyncio.run_coroutine_threadsafe(story, loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _unlimited(config: Config, database: Database) -> Addy:
    with mock.patch.object(addy, "GateStore", lambda database: Unlimited(GateStore(database))):
        return addy.application(config, database, FakeDns())
