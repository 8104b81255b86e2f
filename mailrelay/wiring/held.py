"""Held mail for commands: the store with its keys, and the parts that a release needs."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mailrelay import log
from mailrelay.clients.submit import Submitter
from mailrelay.config import Config
from mailrelay.core.held import HeldId
from mailrelay.core.sealed import vault
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.ports import ReadBackground
from mailrelay.flows.release import Release, Released, Resend
from mailrelay.flows.remake import Remake
from mailrelay.keyring import read_secret
from mailrelay.signing import DkimKeys
from mailrelay.store.database import Database
from mailrelay.store.held import HeldStore
from mailrelay.wiring import copies
from mailrelay.wiring.runtime import Runtime, utc_now

# A message of 25 MB takes longer than a question about an address.
_DATABASE_SECONDS = 30.0


def held_store(config: Config, database: Database) -> HeldStore:
    """Held mail, with the keys of storage.key. Raises BadConfig."""
    return HeldStore(database, vault(read_secret(config.secrets, "storage.key")), secrets.token_bytes)


def archive(config: Config) -> Database:
    """Connections for whole messages, which take longer than questions about addresses."""
    return Database(config.database.dsn, 2, _DATABASE_SECONDS, "held")


@dataclass(frozen=True, slots=True)
class Bench:
    """What sends kept mail. make: makes copies that nobody asks whether they may pass."""

    config: Config
    runtime: Runtime
    database: Database
    read_background: ReadBackground
    release: Release
    make: Resend


def furnished(config: Config, runtime: Runtime, database: Database, dispatcher: Dispatcher, keys: DkimKeys) -> Bench:
    """In a process that has these already. database: connections for whole messages. Raises BadConfig."""
    composer = copies.composer(config, runtime, keys)

    make = Remake(runtime.rules, composer, dispatcher, composer.sealing.sort)
    read_background = copies.background_reader(runtime.database)
    shelf = held_store(config, database)
    correspondence = copies.correspondence(config, runtime, keys)
    sending = copies.sending(runtime, correspondence, composer, dispatcher, shelf.hold)
    story = Release(runtime.rules, shelf, runtime.read_facts, read_background, runtime.ruling, sending, make, utc_now)
    return Bench(config, runtime, database, read_background, story, make)


@asynccontextmanager
async def bench(config: Config, name: str) -> AsyncIterator[Bench]:
    """For a command: everything opened, and closed afterwards. Raises BadConfig, and Unavailable."""
    log.configure("warning", "text")
    runtime = Runtime(config, name, None)
    database = archive(config)
    submitter = Submitter(
        config.submit.address, config.service.hostname, config.submit.connections, config.submit.timeout_seconds
    )
    hosts = runtime.banned_hosts
    dispatcher = Dispatcher(runtime.ledger, submitter.submit, lambda: secrets.randbits(64), banned_hosts=hosts)
    parts = furnished(config, runtime, database, dispatcher, DkimKeys(config.dkim))
    await runtime.database.open()
    await database.open()
    try:
        await runtime.memory.reload()
        yield parts
    finally:
        submitter.close()
        await database.close()
        await runtime.close()


async def release(config: Config, held_id: HeldId, actor: str) -> Released:
    """Send one held message now, from this process. Raises BadConfig and as flows/release.py does."""
    async with bench(config, "release") as parts:
        return await parts.release(held_id, actor)
