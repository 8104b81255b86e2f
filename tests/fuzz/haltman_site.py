"""The Haltman API on a port of the loopback, without limits, for programs that ask it anything."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import psycopg
import requests

from mailrelay.api import app, server
from mailrelay.endpoint import Endpoint
from mailrelay.store.database import Database
from mailrelay.wiring import haltman
from tests.api.addy.fakedns import FakeDns
from tests.api.haltman.conftest import KEY, MAILBOX, WORLD, unlimited
from tests.api.haltman.household import PASSWORD, chosen_here, password_hash
from tests.fuzz.addy_site import empty, event_loop

# One of everything, so that 1 is there of all kinds.
_THINGS = """
    insert into alias (account_id, local_part, domain) values (2, 'bob', 'alias.example');
    insert into alias (account_id, local_part, domain, state) values (2, 'off', 'alias.example', 'inactive');
    insert into handle (account_id, local_part) values (2, 'jose');
    insert into ban (type, value, reason) values ('name', 'pest', 'spam');
    insert into dns_request (target, type, expires_at) values ('new.example', 'EMAIL', now() + interval '1 day');
"""


class Site:
    """A running one. calls: how many of one endpoint; headers: of an administrator who has an API key as well."""

    def __init__(self, dsn: str, url: str) -> None:
        self.url = url
        self.calls = 0
        self.answers: Counter[tuple[str, int]] = Counter()
        self.session = requests.Session()
        self.session.trust_env = False
        self.headers: dict[str, str] = {}
        self._dsn = dsn

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
                """insert into token (account_id, kind, hash, owner_email, expires_at)
                   values (2, 'api_key', %s, %s, now() + interval '30 days')""",
                (hashlib.sha256(KEY.encode()).digest(), MAILBOX),
            )
            connection.execute(_THINGS.encode())
            connection.execute("update account set password_hash = %s where name = 'root'", (password_hash(),))
        self._sign_in()

    def _sign_in(self) -> None:
        who = {"identifier": "root", "password": PASSWORD}
        reply = requests.post(f"{self.url}/api/auth/sign-in", json=who, timeout=30)
        assert reply.status_code == 200, reply.text
        cookies = "; ".join(f"{name}={value}" for name, value in reply.cookies.items())
        csrf = requests.get(f"{self.url}/api/auth/csrf", headers={"Cookie": cookies}, timeout=30).json()["csrf_token"]
        self.headers = {"Cookie": cookies, "X-CSRF-Token": csrf, "X-API-Key": KEY}


@contextmanager
def running(dsn: str, folder: Path) -> Iterator[Site]:
    """The API over this database, as long as the block lasts."""
    dns = FakeDns()

    async def up(stack: AsyncExitStack) -> int:
        database = Database(dsn, 4, 20.0, "test")
        stack.push_async_callback(database.close)
        await database.open()
        config = unlimited(dsn, folder, chosen_here(folder), database, dns)
        apis = haltman.application(config, database, dns)
        web = server.serve(app.build(dict, (), apis), Endpoint("127.0.0.1", 0))
        stack.push_async_callback(web.stop)
        await web.start()
        return web.port

    with event_loop() as carry_out:
        stack = AsyncExitStack()
        try:
            yield Site(dsn, f"http://127.0.0.1:{carry_out(up(stack))}")
        finally:
            carry_out(stack.aclose())
