"""Webhooks put together: for the worker, which delivers, and for commands."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mailrelay.clients.resolver import Resolver
from mailrelay.clients.webhook import HostAddresses, WebhookClient
from mailrelay.config import Config
from mailrelay.core.httptarget import IPNetwork
from mailrelay.core.sealed import vault
from mailrelay.flows.webhooks import WebhookRunner
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.manage_webhooks import Webhooks
from mailrelay.store.webhooks import WebhookStore
from mailrelay.wiring.runtime import utc_now


@dataclass(frozen=True, slots=True)
class Settings:
    """networks: where receivers may be besides public addresses. timeout_seconds: for one attempt, at most 30."""

    networks: Sequence[IPNetwork] = ()
    timeout_seconds: float = 10.0
    concurrency: int = 16


def settings(config: Config) -> Settings:
    """What the settings file says about webhooks."""
    return Settings(config.webhooks.networks)


def runner(config: Config, database: Database, resolver: Resolver) -> WebhookRunner:
    """What the worker runs. Raises BadConfig without storage.key."""
    store = WebhookStore(database, vault(read_secret(config.secrets, "storage.key")))
    return WebhookRunner(store, client(config, resolver), utc_now, settings(config).concurrency)


def client(config: Config, resolver: Resolver) -> WebhookClient:
    """What makes the requests."""
    found = settings(config)
    return WebhookClient(HostAddresses(resolver), found.networks, found.timeout_seconds)


def webhooks(config: Config, database: Database) -> Webhooks:
    """For those who manage them. Raises BadConfig without storage.key."""
    return Webhooks(database, vault(read_secret(config.secrets, "storage.key")), secrets.token_bytes)


@asynccontextmanager
async def resolving(config: Config) -> AsyncIterator[Resolver]:
    """A resolver for the duration of one command."""
    resolver = Resolver(config.dns.nameservers)
    try:
        yield resolver
    finally:
        await resolver.close()
