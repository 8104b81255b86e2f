"""The Haltman API put together."""

from collections.abc import Sequence

from mailrelay.api.haltman.app import Haltman, Site
from mailrelay.api.haltman.endpoint import Endpoint
from mailrelay.api.haltman.gate import Gate
from mailrelay.api.haltman.openapi import described
from mailrelay.config import Config
from mailrelay.flows.manage.domains import Dns
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.passwords import Passwords
from mailrelay.keyring import read_line
from mailrelay.store.database import Database
from mailrelay.store.keyholders import KeyHolders
from mailrelay.store.turnstile import Turnstile
from mailrelay.wiring.bans import ban_lookup
from mailrelay.wiring.haltman import administration, bans, credentials, domains, forward, handles
from mailrelay.wiring.haltman.people import people_endpoints, sessions
from mailrelay.wiring.runtime import utc_now


def application(
    config: Config,
    database: Database,
    dns: Dns,
    clock: Clock = utc_now,
    asked: Sequence[Dns] = (),
    passwords: Passwords | None = None,
) -> Haltman:
    """The API over a database. Raises BadConfig.

    dns: remembers nothing; asked: each name server by itself, for checks of domains; passwords: of the process.
    """
    secret = config.haltman.bot_secret_file
    site = Site(
        config.api.url,
        config.haltman.origins,
        credentials=config.haltman.credentials,
        bot_secret="" if secret is None else read_line(secret),
    )
    known = sessions(config, database)
    gate = Gate(Turnstile(database), KeyHolders(database), known, config.haltman.rates)
    people = people_endpoints(config, database, known, passwords or Passwords(), clock)
    endpoints = (*_endpoints(config, database, dns, clock, asked or (dns,)), *people)
    pages = forward.pages(config, database, clock, endpoints)
    return Haltman((*described(endpoints, config.api.url), *pages), gate, site, clock)


def _endpoints(
    config: Config, database: Database, dns: Dns, clock: Clock, asked: Sequence[Dns]
) -> tuple[Endpoint, ...]:
    """All of them. Raises BadConfig."""
    looked_up = ban_lookup(config, database, dns)
    return (
        *forward.forward(config, database, looked_up, clock).endpoints(),
        *handles.handle_endpoints(config, database, looked_up, clock),
        *handles.key_endpoints(config, database, looked_up),
        *credentials.key_endpoints(config, database, looked_up, clock),
        *bans.ban_endpoints(database, clock),
        *domains.domain_endpoints(config, database, asked, clock),
        *administration.admin_endpoints(config, database, looked_up),
    )
