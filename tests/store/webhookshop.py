"""Webhooks and events for tests: both stores on one database, and a way to announce."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mailrelay.core.facts import AccountId
from mailrelay.core.sealed import vault
from mailrelay.core.webhooks import Webhook, WebhookRecord
from mailrelay.store.database import Database
from mailrelay.store.manage_webhooks import Webhooks
from mailrelay.store.webhooks import WebhookStore
from tests.store.world import JOHN, Connection

VAULT = vault([bytes(32)])
URL = "https://hook.example/"
SECRET = "whsec_secret"


@dataclass(frozen=True)
class Shop:
    """Both stores on one database."""

    webhooks: Webhooks
    store: WebhookStore

    async def add(self, account: int | None = None, *events: str, url: str = URL) -> WebhookRecord:
        owner = None if account is None else AccountId(account)
        return await self.webhooks.add(owner, url, events, SECRET)

    async def take(self) -> list[Webhook]:
        return sorted(await self.store.take(100), key=lambda webhook: webhook.id)

    async def heard(self, webhook: Webhook) -> list[Any]:
        """What waits for it: the payload's n, or the event."""
        entries = await self.store.page(webhook, webhook.position)
        occurrences = [entry.occurrence for entry in entries if entry.occurrence is not None]
        return [one.payload.get("n", one.event) for one in occurrences]


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Shop]:
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    try:
        yield Shop(Webhooks(database, VAULT, secrets.token_bytes), WebhookStore(database, VAULT))
    finally:
        await database.close()


async def announce(conn: Connection, event: str = "ban.hit", account: int | None = JOHN, n: int = 0) -> None:
    await conn.execute("select announce(%s, %s, %s)", (event, account, json.dumps({"n": n})))
