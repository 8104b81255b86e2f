"""Domains that are served here, put together."""

from mailrelay.config import Config
from mailrelay.store.database import Database
from mailrelay.store.managed import ManagedDomains


def managed_domains(config: Config, database: Database) -> ManagedDomains:
    """Those of the database, and the service's own."""
    names = config.service
    return ManagedDomains(database, frozenset((names.domain, names.bounce_domain, names.srs_domain)))
