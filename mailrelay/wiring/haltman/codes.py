"""Confirmation codes put together, for all parts of the API that mail some."""

import asyncio
import secrets

from mailrelay.config import Config
from mailrelay.core.codes import DIGITS
from mailrelay.core.sealed import vault
from mailrelay.flows.codes import Codes
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.ownermail import OwnerMailing
from mailrelay.keyring import read_secret
from mailrelay.store.confirmations import Confirmations
from mailrelay.store.database import Database
from mailrelay.store.public_handles import PublicHandles
from mailrelay.store.subscriptions import SubscriptionStore


def codes(config: Config, database: Database, clock: Clock) -> Codes:
    """Raises BadConfig."""
    keys = read_secret(config.secrets, "code.key")
    sealing = vault(read_secret(config.secrets, "storage.key"))
    return Codes(Confirmations(database), keys, sealing, _draw, secrets.token_bytes, asyncio.sleep, clock)


def owner_mailing(config: Config, database: Database, clock: Clock) -> OwnerMailing:
    """The worker's part of what anybody asks of owners. Raises BadConfig without the secrets."""
    drawn = codes(config, database, clock)
    return OwnerMailing(SubscriptionStore(database), PublicHandles(database), drawn)


def _draw() -> str:
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
