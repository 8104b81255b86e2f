"""The addy.io API put together."""

from collections.abc import Callable
from datetime import datetime

from mailrelay.api.addy.app import Addy
from mailrelay.api.addy.domains import DomainEndpoints
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.gate import Gate
from mailrelay.api.addy.openapi import described
from mailrelay.api.addy.usernames import UsernameEndpoints
from mailrelay.config import Config
from mailrelay.core.naming import ServiceNames
from mailrelay.flows.manage.domains import Claims, Dns
from mailrelay.flows.manage.usernames import Choices
from mailrelay.keyring import read_secret
from mailrelay.reserved import usernames as reserved_usernames
from mailrelay.store.database import Database
from mailrelay.store.gate import Gate as GateStore
from mailrelay.store.manage_domains import Domains
from mailrelay.store.manage_keys import DkimFolder
from mailrelay.store.manage_usernames import Usernames
from mailrelay.store.own_parents import AliasDomainReader, OwnDomains, OwnUsernames
from mailrelay.wiring.runtime import utc_now


def endpoints(config: Config, database: Database, dns: Dns) -> tuple[Endpoint, ...]:
    """All that the API answers. Raises BadConfig."""
    return (
        *_domains(config, database, dns).endpoints(),
        *_usernames(config, database).endpoints(),
    )


def _domains(config: Config, database: Database, dns: Dns) -> DomainEndpoints:
    names, addy = config.service, config.addy
    service = ServiceNames(names.domain, names.bounce_domain, names.srs_domain, names.hostname)
    store = Domains(database)
    claims = Claims(service, store, DkimFolder(config.dkim), dns, read_secret(config.secrets, "ownership.key"))
    options = AliasDomainReader(database, names.domain, direct=addy.shared_domains, below=addy.username_domains)
    return DomainEndpoints(claims, store, OwnDomains(database), options)


def _usernames(config: Config, database: Database) -> UsernameEndpoints:
    store = Usernames(database)
    reserved = reserved_usernames(config.service.reserved_usernames)
    choices = Choices(store, reserved, config.limits.usernames_per_account)
    return UsernameEndpoints(choices, store, OwnUsernames(database))


def application(config: Config, database: Database, dns: Dns, clock: Callable[[], datetime] = utc_now) -> Addy:
    """The API over a database. dns: remembers nothing. Raises BadConfig."""
    every = described(endpoints(config, database, dns), config.api.url)
    return Addy(every, Gate(GateStore(database)), clock, config.api.url)
