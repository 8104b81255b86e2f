"""Held mail for commands: the store with its keys, and the parts that a release needs."""

import secrets
from collections.abc import Sequence

from mailrelay import log
from mailrelay.clients.submit import Submitter
from mailrelay.config import Config
from mailrelay.core.facts import Alias
from mailrelay.core.held import HeldId, HeldMessage
from mailrelay.core.ledger import Envelope
from mailrelay.core.sealed import vault
from mailrelay.flows.handover import Destination, Dispatcher, Handover
from mailrelay.flows.letter import Letter
from mailrelay.flows.release import Release, Released
from mailrelay.keyring import read_secret
from mailrelay.signing import DkimKeys
from mailrelay.store.database import Database
from mailrelay.store.held import HeldStore
from mailrelay.wiring.runtime import Runtime, utc_now

# A message of 25 MB takes longer than a question about an address.
_DATABASE_SECONDS = 30.0


def held_store(config: Config, database: Database) -> HeldStore:
    """Held mail, with the keys of storage.key. Raises BadConfig."""
    return HeldStore(database, vault(read_secret(config.secrets, "storage.key")), secrets.token_bytes)


async def release(config: Config, held_id: HeldId, actor: str) -> Released:
    """Send one held message now, from this process. Raises BadConfig and as flows/release.py does."""
    log.configure("warning", "text")
    runtime = Runtime(config, "release", None)
    database = Database(config.database.dsn, 2, _DATABASE_SECONDS, "release")
    submitter = Submitter(
        config.submit.address, config.service.hostname, config.submit.connections, config.submit.timeout_seconds
    )
    dispatcher = Dispatcher(
        runtime.rules, runtime.ledger, submitter.submit, DkimKeys(config.dkim), lambda: secrets.randbits(64)
    )

    async def resend(
        letter: Letter,
        envelope: Envelope,
        alias: Alias,
        destinations: Sequence[Destination],
        org: str,
        held: HeldMessage,
    ) -> Handover:
        return await dispatcher.dispatch(letter, envelope, alias, destinations, org)

    await runtime.database.open()
    await database.open()
    try:
        await runtime.memory.reload()
        story = Release(runtime.rules, held_store(config, database), runtime.read_facts, resend, utc_now)
        return await story(held_id, actor)
    finally:
        submitter.close()
        await database.close()
        await runtime.database.close()
