"""The addy.io API in this process over a real database, and short ways to ask it."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from psycopg import AsyncConnection

from mailrelay.config import Config
from mailrelay.store.database import Database
from mailrelay.store.manage_keys import init_secrets
from mailrelay.wiring.addy import application
from tests.api.addy.fakedns import FakeDns
from tests.store.world import Connection

TOKEN = "Token" * 8 + "12345678"
HOST = "https://relay.example"

# One account with everything that a sign-up gives, two installation domains, and somebody else.
WORLD = """
    insert into domain (name, position, mx_verified_at)
        values ('alias.example', 0, now()), ('alias2.example', 1, now());
    insert into account (name) values ('johndoe'), ('stranger');
    insert into recipient (account_id, address, verified_at)
        values (1, 'me@inbox.example', now()), (2, 'stranger@inbox.example', now());
    insert into username (account_id, name) values (1, 'johndoe'), (2, 'stranger');
    update account set default_recipient_id = id, default_username_id = id;
"""


@dataclass
class Desk:
    """Somebody who asks. account: their number; token: sent with each request unless it is None; dns: what it says."""

    client: httpx2.AsyncClient
    conn: Connection
    dns: FakeDns
    account: int = 1
    token: str | None = TOKEN
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, document: Any = None, *, content: bytes | None = None, **headers: str
    ) -> httpx2.Response:
        """One request. path: below /api/v1 unless it begins with a slash; document: sent as JSON."""
        sent = {"Content-Type": "application/json", "X-Requested-With": "XMLHttpRequest", **self.headers, **headers}
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if document is not None:
            content = json.dumps(document).encode()
        url = path if path.startswith("/") else f"/api/v1/{path}"
        return await self.client.request(method, url, content=content, headers=sent)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.ask("GET", path, None, content=None, **headers)

    async def post(self, path: str, document: Any = None, **headers: str) -> httpx2.Response:
        return await self.ask("POST", path, document, content=None, **headers)

    async def patch(self, path: str, document: Any = None, **headers: str) -> httpx2.Response:
        return await self.ask("PATCH", path, document, content=None, **headers)

    async def delete(self, path: str, document: Any = None, **headers: str) -> httpx2.Response:
        return await self.ask("DELETE", path, document, content=None, **headers)

    async def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement."""
        cursor = await self.conn.execute(query.encode(), values)
        return await cursor.fetchall() if cursor.description is not None else []

    async def one(self, query: str, *values: Any) -> Any:
        """The first column of the first row."""
        (row, *_) = await self.sql(query, *values)
        return row[0]

    async def recipient(self, address: str, *, verified: bool = True, account: int = 1) -> UUID:
        """A recipient that is simply there."""
        query = """insert into recipient (account_id, address, verified_at)
                   values (%s, %s, case when %s then now() end) returning uuid"""
        found: UUID = await self.one(query, account, address, verified)
        return found

    async def alias(self, address: str, account: int = 1, **columns: Any) -> UUID:
        """An alias that is simply there; below a username, its parent is set."""
        local, _, domain = address.partition("@")
        label = domain.partition(".")[0]
        values = {"account_id": account, "local_part": local, "domain": domain, **columns}
        names, places = ", ".join(values), ", ".join(["%s"] * len(values))
        parent = "(select id from username where name = %s and %s like '%%.%%.%%')"
        query = f"insert into alias ({names}, username_id) values ({places}, {parent}) returning uuid"
        found: UUID = await self.one(query, *values.values(), label, domain)
        return found

    async def attach(self, alias: UUID, *recipients: UUID) -> None:
        """Recipients of an alias, in this order."""
        for number, recipient in enumerate(recipients):
            await self.sql(
                """insert into alias_recipient (alias_id, recipient_id, created_at)
                   select a.id, r.id, now() + %s from alias a, recipient r where a.uuid = %s and r.uuid = %s""",
                timedelta(microseconds=number),
                alias,
                recipient,
            )

    async def forget_requests(self) -> None:
        """As if all windows of limits had ended."""
        await self.sql("delete from request_window")


def settings(dsn: str, folder: Path, more: Mapping[str, Any] | None = None) -> Config:
    """A configuration as small as it gets."""
    given: dict[str, Any] = {
        "service": {"domain": "relay.example", "hostname": "mx.relay.example", "operator": ["admin@inbox.example"]},
        "database": {"dsn": dsn},
        "secrets": str(folder / "secrets"),
        "dkim": str(folder / "dkim"),
        "state": str(folder / "state"),
        "api": {"url": HOST},
    }
    return Config.model_validate({**given, **(more or {})})


@pytest.fixture
def chosen() -> dict[str, Any]:
    """Sections of the configuration that a test wants otherwise; it parametrizes this fixture."""
    return {}


@pytest.fixture
async def desk(dsn: str, tmp_path: Path, chosen: Mapping[str, Any]) -> AsyncIterator[Desk]:
    """johndoe's desk."""
    # Time enough for fifty at once on a machine that does other things as well.
    database = Database(dsn, 4, 20.0, "test")
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute(WORLD.encode())
        await conn.execute(
            "insert into token (account_id, kind, name, hash) values (1, 'addy', 'Test', %s)",
            (hashlib.sha256(TOKEN.encode()).digest(),),
        )
        await database.open()
        config = settings(dsn, tmp_path, chosen)
        init_secrets(config.secrets)
        dns = FakeDns()
        app = application(config, database, dns)
        transport = httpx2.ASGITransport(app=app, client=("192.0.2.1", 40000))
        async with httpx2.AsyncClient(transport=transport, base_url=HOST) as client:
            yield Desk(client, conn, dns)
        await database.close()
