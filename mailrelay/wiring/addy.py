"""The addy.io API put together."""

from collections.abc import Callable
from datetime import datetime

from mailrelay.api.addy.app import Addy
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.gate import Gate
from mailrelay.api.addy.openapi import described
from mailrelay.config import Config
from mailrelay.store.database import Database
from mailrelay.store.gate import Gate as GateStore
from mailrelay.wiring.runtime import utc_now


def endpoints(config: Config, database: Database) -> tuple[Endpoint, ...]:
    """All that the API answers. Raises BadConfig."""
    return ()


def application(config: Config, database: Database, clock: Callable[[], datetime] = utc_now) -> Addy:
    """The API over a database. Raises BadConfig."""
    every = described(endpoints(config, database), config.api.url)
    return Addy(every, Gate(GateStore(database)), clock, config.api.url)
