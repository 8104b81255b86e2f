"""Sealing anew, put together: for the worker and for the command."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mailrelay.config import Config
from mailrelay.core.resealing import Resealed
from mailrelay.core.sealed import vault
from mailrelay.flows.resealing import Resealing, reseal
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.resealing import Resealer


@dataclass(frozen=True, slots=True)
class Stock:
    """What was done, and how many rows are sealed with which key now, by its name."""

    result: Resealed
    used: Mapping[str, int]


def step(config: Config, database: Database) -> Resealing:
    """For the worker. Raises BadConfig without storage.key."""
    keys = vault(read_secret(config.secrets, "storage.key"))
    return Resealing(Resealer(database, keys, secrets.token_bytes), len(keys.keys) > 1)


async def resealed(
    config: Config, database: Database, begin: Callable[[int], None], progress: Callable[[int], None]
) -> Stock:
    """All of it. begin: hears how many rows there are to do. Raises BadConfig, and Unavailable."""
    keys = vault(read_secret(config.secrets, "storage.key"))
    rows = Resealer(database, keys, secrets.token_bytes)
    begin(sum(count for key, count in (await rows.keys_used()).items() if key != keys.key_id))
    return Stock(await reseal(rows, progress), await rows.keys_used())
