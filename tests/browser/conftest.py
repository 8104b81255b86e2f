"""Headless Chromium before the running application, over a real database.

The browser is the distribution's: `tools/test` installs it. None is ever downloaded by the driver.
"""

import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright
from psycopg import AsyncConnection

from mailrelay.api.app import build
from mailrelay.api.pages import Pages
from mailrelay.api.server import HttpServer, serve
from mailrelay.core.links import Links
from mailrelay.endpoint import Endpoint
from mailrelay.flows.oneclick import OneClick
from mailrelay.flows.releasejob import ReleaseLater
from mailrelay.store.database import Database
from mailrelay.store.jobs import JobStore
from mailrelay.store.oneclick import OneClickStore
from tests.store.world import WORLD, Connection, value
from tests.store.worlds import utc_now

KEY = b"k" * 32
# As root it has no sandbox; here and below nothing that would call its maker.
_ARGUMENTS: Sequence[str] = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(WORLD.encode())
        yield connection


@dataclass
class Site:
    """The application as it runs."""

    server: HttpServer
    conn: Connection
    database: Database

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def links(self) -> Links:
        """Makes links that lead here."""
        return Links(self.url, KEY, int(utc_now().timestamp()))

    async def uuid(self, address: str) -> UUID:
        found: UUID = await value(self.conn, "select uuid from alias where local_part || '@' || domain = %s", address)
        return found

    async def state(self, address: str) -> Any:
        return await value(self.conn, "select state from alias where local_part || '@' || domain = %s", address)

    async def forget_requests(self) -> None:
        """As if a minute had passed."""
        await self.conn.execute("delete from rate_window")


@pytest.fixture
async def site(conn: Connection, dsn: str) -> AsyncIterator[Site]:
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    pages = Pages(
        OneClick(OneClickStore(database), ReleaseLater(JobStore(database).put)),
        (KEY,),
        lambda domain: domain == "example",
        utc_now,
    )
    server = serve(build(dict, pages.routes()), Endpoint(host="127.0.0.1", port=0))
    await server.start()
    yield Site(server, conn, database)
    await server.stop()
    await database.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Started for each test, which takes half a second and leaves nothing over."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program is not None, "Chromium is not installed: tools/test installs it"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=[*_ARGUMENTS])
        yield chromium
        await chromium.close()


PHONE: dict[str, Any] = {"viewport": {"width": 320, "height": 568}, "is_mobile": True, "has_touch": True}


@pytest.fixture
async def phone(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A small telephone whose owner has switched scripts off."""
    context = await browser.new_context(java_script_enabled=False, **PHONE)
    yield context
    await context.close()
