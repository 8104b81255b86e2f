"""Domains of the Haltman API put together: figures, proposals, what administrators change."""

import random
from collections.abc import Sequence
from datetime import timedelta

from mailrelay.api.haltman.dns_requests import DnsRequestEndpoints
from mailrelay.api.haltman.domains import DomainEndpoints
from mailrelay.api.haltman.endpoint import Endpoint
from mailrelay.api.haltman.figures import FigureEndpoints
from mailrelay.api.haltman.proposals import ProposalEndpoints
from mailrelay.config import Config
from mailrelay.flows.domaincheck import DomainChecker
from mailrelay.flows.manage.domains import Dns
from mailrelay.flows.manage.ports import Clock
from mailrelay.flows.recheck import ForcedChecks
from mailrelay.keyring import read_line
from mailrelay.store.banned import BanLookup
from mailrelay.store.database import Database
from mailrelay.store.dns_requests import DnsRequests
from mailrelay.store.dnsruns import DnsRuns
from mailrelay.store.figures import Figures
from mailrelay.store.rechecks import Rechecks
from mailrelay.store.shared_domains import SharedDomains
from mailrelay.wiring.domaincheck import onboarding, operators, wanted


def domain_endpoints(config: Config, database: Database, asked: Sequence[Dns], clock: Clock) -> tuple[Endpoint, ...]:
    """asked: every name server alike, without a memory. Raises BadConfig."""
    secret = config.haltman.counter_secret_file
    told, names, ban = operators(config), config.service, BanLookup(database).first
    checker = DomainChecker(wanted(config), asked)
    forced = ForcedChecks(
        checker, Rechecks(database, told), DnsRuns(database, told), random.SystemRandom().random, clock
    )
    technical = frozenset((names.bounce_domain, names.srs_domain))
    return (
        *FigureEndpoints(Figures(database), "" if secret is None else read_line(secret)).endpoints(),
        *ProposalEndpoints(onboarding(config, database, asked), ban).endpoints(),
        *DomainEndpoints(SharedDomains(database), forced, ban, technical).endpoints(),
        *DnsRequestEndpoints(
            DnsRequests(database), timedelta(hours=config.haltman.onboarding.request_hours)
        ).endpoints(),
    )
