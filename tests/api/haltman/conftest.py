"""The Haltman API in this process over a real database, and short ways to ask it."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from psycopg import AsyncConnection

from mailrelay.api.haltman.app import Haltman
from mailrelay.config import Config
from mailrelay.core import sealed
from mailrelay.core.facts import AccountId
from mailrelay.core.jobs import OWNER_REQUEST, RECOVERY
from mailrelay.core.notices import Notice, from_json
from mailrelay.core.sessions import NewSession, refresh_hash
from mailrelay.core.signin import Visitor
from mailrelay.flows.codes import revealed
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.manage_keys import init_secrets
from mailrelay.store.sessions import add
from mailrelay.store.userrow import read_user
from mailrelay.wiring import haltman
from mailrelay.wiring.haltman.codes import owner_mailing
from mailrelay.wiring.haltman.people import code_mailing, sessions
from mailrelay.wiring.runtime import utc_now
from tests.api.addy.conftest import HOST, settings
from tests.api.addy.fakedns import FakeDns
from tests.store.world import Connection

KEY = "0123456789abcdef" * 4
MAILBOX = "me@inbox.example"
CLIENT = "192.0.2.1"

# Two installation domains, an administrator, and somebody without a sign-up whose mailbox has an API key.
WORLD = """
    insert into domain (name, position, mx_verified_at)
        values ('alias.example', 0, now()), ('alias2.example', 1, now());
    insert into account (name, email, is_admin, email_verified_at) values ('root', 'root@inbox.example', true, now());
    insert into account (implicit_mailbox, forward_mode, banner_location, store_failed_deliveries)
        values ('me@inbox.example', 'auto', 'off', false);
    insert into recipient (account_id, address, verified_at)
        values (1, 'root@inbox.example', now()), (2, 'me@inbox.example', now());
    update account set default_recipient_id = id;
"""


_limits: dict[str, int] = {}


@dataclass
class Desk:
    """Somebody who asks. headers: sent with each request; app: what answers; dns: what it says."""

    client: httpx2.AsyncClient
    conn: Connection
    dns: FakeDns
    app: Haltman
    config: Config
    database: Database
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, document: Any = None, *, content: bytes | None = None, **headers: str
    ) -> httpx2.Response:
        """One request. path: below /api/ unless it begins with a slash; document: sent as JSON."""
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if document is not None:
            content = json.dumps(document).encode()
            sent.setdefault("Content-Type", "application/json")
        url = path if path.startswith("/") else f"/api/{path}"
        return await self.client.request(method, url, content=content, headers=sent)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.ask("GET", path, None, content=None, **headers)

    async def post(self, path: str, document: Any = None, **headers: str) -> httpx2.Response:
        return await self.ask("POST", path, document, content=None, **headers)

    async def patch(self, path: str, document: Any = None, **headers: str) -> httpx2.Response:
        return await self.ask("PATCH", path, document, content=None, **headers)

    async def delete(self, path: str, document: Any = None, **headers: str) -> httpx2.Response:
        return await self.ask("DELETE", path, document, content=None, **headers)

    async def admin(self, user: int = 1) -> "Desk":
        """The same desk with an administrator behind it, who has just signed in."""
        known, number, now = sessions(self.config, self.database), AccountId(user), datetime.now(UTC)
        visitor = Visitor(CLIENT, "192.0.2.0/24", "test")
        refresh = refresh_hash(known.new_refresh())
        assert refresh is not None
        new = NewSession(known.new_id(), refresh, now + known.lives, visitor)
        async with self.database.connection() as conn:
            await add(conn, number, new, now)
            found = await read_user(conn, number)
        assert found is not None
        token = known.granted(found, new.family, new.expires_at, "", now).access
        cookies = {"Cookie": f"__Host-access={token}", "X-CSRF-Token": known.csrf(new.family)}
        return replace(self, headers={**self.headers, **cookies})

    def with_key(self, key: str = KEY) -> "Desk":
        """The same desk with an API key."""
        return replace(self, headers={**self.headers, "X-API-Key": key})

    async def codes(self) -> list[str]:
        """Those that were mailed so far."""
        return [str(told.data["code"]) for told in await self.mails() if "code" in told.data]

    async def mails(self) -> list[Notice]:
        """Notices on their way, with codes in clear as the worker sends them."""
        await self.work()
        vault = sealed.vault(read_secret(self.config.secrets, "storage.key"))
        rows = await self.sql("select payload from job where kind = 'notice' order by run_at, id")
        return [revealed(from_json(payload), vault) for (payload,) in rows]

    async def work(self) -> None:
        """What the worker does about requests whose answers tell nothing."""
        for kind, handler in ((RECOVERY, code_mailing), (OWNER_REQUEST, owner_mailing)):
            carry_out = handler(self.config, self.database, utc_now)
            for (payload,) in await self.sql("delete from job where kind = %s returning payload", kind):
                await carry_out(payload)

    async def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement."""
        cursor = await self.conn.execute(query.encode(), values)
        return await cursor.fetchall() if cursor.description is not None else []

    async def one(self, query: str, *values: Any) -> Any:
        """The first column of the first row."""
        (row, *_) = await self.sql(query, *values)
        return row[0]


@pytest.fixture
def chosen() -> dict[str, Any]:
    """Sections of the configuration that a test wants otherwise; it parametrizes this fixture."""
    return {}


@pytest.fixture
async def desk(dsn: str, tmp_path: Path, chosen: Mapping[str, Any]) -> AsyncIterator[Desk]:
    """A desk in front of the API. Its limits are off unless `chosen` sets some (haltman.rates)."""
    database = Database(dsn, 4, 20.0, "test")
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute(WORLD.encode())
        await conn.execute(
            """insert into token (account_id, kind, hash, owner_email, expires_at)
               values (2, 'api_key', %s, %s, now() + interval '30 days')""",
            (hashlib.sha256(KEY.encode()).digest(), MAILBOX),
        )
        await database.open()
        dns = FakeDns()
        config = unlimited(dsn, tmp_path, chosen, database, dns)
        app = haltman.application(config, database, dns)
        transport = httpx2.ASGITransport(app=app, client=(CLIENT, 40000))
        async with httpx2.AsyncClient(transport=transport, base_url=HOST) as client:
            yield Desk(client, conn, dns, app, config, database)
        await database.close()


def unlimited(dsn: str, folder: Path, chosen: Mapping[str, Any], database: Database, dns: FakeDns) -> Config:
    """Settings with all limits off, but for those that were chosen."""
    section = {"default_domain": "alias.example", **chosen.get("haltman", {})}
    config = settings(dsn, folder, {**chosen, "haltman": section})
    init_secrets(config.secrets)
    if not _limits:  # the same for all tests
        endpoints = haltman.application(config, database, dns).endpoints
        _limits.update({"global": 0}, **{rule.name: 0 for one in endpoints for rule in one.rules})
    rates = _limits | dict(config.haltman.rates)
    return settings(dsn, folder, {**chosen, "haltman": {**section, "rates": rates}})


def later(**units: float) -> datetime:
    """So much later than now."""
    return datetime.now(UTC) + timedelta(**units)
