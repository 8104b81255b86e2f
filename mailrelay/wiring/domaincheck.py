"""The checks of domains put together."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from mailrelay.clients.resolver import Resolver
from mailrelay.config import Config
from mailrelay.core.domaincheck import Report
from mailrelay.core.naming import ServiceNames
from mailrelay.core.notices import Code, Notice, Value
from mailrelay.core.onboarding import Wanted
from mailrelay.core.recheck import summary
from mailrelay.core.webcheck import Hosting
from mailrelay.flows.domaincheck import DomainChecker, DomainChecks, check_now
from mailrelay.flows.manage.domains import Dns
from mailrelay.flows.onboarding import Onboarding, ProposalChecks
from mailrelay.flows.recheck import RecheckJob
from mailrelay.flows.upkeep import Step
from mailrelay.store.database import Database
from mailrelay.store.dnsruns import DnsRuns
from mailrelay.store.jobs import JobStore
from mailrelay.store.manage_domains import Domains
from mailrelay.store.manage_keys import DkimFolder
from mailrelay.store.proposals import Proposals
from mailrelay.store.rechecks import DueDomain, Rechecks
from mailrelay.wiring.runtime import utc_now

_DICE = random.SystemRandom().random


def resolvers(config: Config) -> tuple[Resolver, ...]:
    """One for each name server of the settings, else one for those of the host. They remember nothing."""
    servers = config.dns.nameservers
    return tuple(Resolver([one], entries=0) for one in servers) or (Resolver(entries=0),)


def wanted(config: Config) -> Wanted:
    """What this installation asks of domains."""
    names, proposed = config.service, config.haltman.onboarding
    service = ServiceNames(names.domain, names.bounce_domain, names.srs_domain, names.hostname)
    host = proposed.ui_host or urlsplit(config.api.url).hostname or names.hostname
    return Wanted(service, Hosting(host, frozenset(proposed.ui_addresses)))


def operators(config: Config) -> tuple[str, ...]:
    """Who hears of shared domains."""
    return tuple(str(mailbox) for mailbox in config.service.operator)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys of domains; missing ones are made, as their job may have been given up.

    Shared domains that came over HTTP sign with the service's keys: whoever proposed them has named those.
    """

    folder: DkimFolder
    service: str

    def __call__(self, name: str, *, shared: bool) -> Sequence[tuple[str, str]]:
        if shared and not self.folder.present(name):
            return self.folder.share(name, self.service)
        return self.folder.ensure(name)


@dataclass(frozen=True, slots=True)
class PresentKeys:
    """Those that are there."""

    folder: DkimFolder

    def __call__(self, name: str, *, shared: bool) -> Sequence[tuple[str, str]]:
        return self.folder.texts(name)


def signing_keys(config: Config) -> SigningKeys:
    """Of all domains, for the worker."""
    return SigningKeys(DkimFolder(config.dkim), config.service.domain)


def checks(config: Config, database: Database, asked: Sequence[Dns]) -> DomainChecks:
    """The worker's step."""
    checker = DomainChecker(wanted(config), asked, signing_keys(config))
    return DomainChecks(checker, Rechecks(database, operators(config)), _DICE)


def onboarding(config: Config, database: Database, asked: Sequence[Dns]) -> Onboarding:
    """The story of domains that somebody proposes."""
    settings = config.haltman.onboarding
    service = wanted(config).service
    store = Proposals(database, service, operators(config), switched_on=settings.auto_approve)
    poll, life = timedelta(seconds=settings.poll_seconds), timedelta(hours=settings.request_hours)
    return Onboarding(store, DomainChecker(wanted(config), asked), poll, life)


def proposals(config: Config, database: Database, asked: Sequence[Dns]) -> ProposalChecks:
    """The worker's step with those."""
    return ProposalChecks(onboarding(config, database, asked), _DICE)


def recheck_job(config: Config, database: Database, asked: Sequence[Dns]) -> RecheckJob:
    """Handler of the job that looks at all shared domains."""
    told = operators(config)
    checker = DomainChecker(wanted(config), asked, signing_keys(config))
    return RecheckJob(checker, Rechecks(database, told), DnsRuns(database, told), _DICE, utc_now)


def incidents(config: Config, database: Database) -> Step:
    """The worker's step that reminds operators of shared domains with wrong records."""
    post, store = JobStore(database).post, Rechecks(database)

    async def remind(now: datetime) -> int:
        found = await store.incidents()
        if found:
            for mailbox in operators(config):
                data: dict[str, Value] = {"address": mailbox, "text": summary(found)}
                await post(Notice(Code.DND, None, about=mailbox, data=data))
        return len(found)

    return remind


async def checked_now(config: Config, database: Database, name: str, actor: str) -> Report:
    """Look at a domain because somebody asks. Raises Absent and Unavailable."""
    found = await Domains(database).show(name)
    asked = resolvers(config)
    try:
        checker = DomainChecker(wanted(config), asked, PresentKeys(DkimFolder(config.dkim)))
        due = DueDomain(found.id, found.name, found.shared)
        report, _ = await check_now(checker, Rechecks(database, operators(config)), due, utc_now(), _DICE(), actor)
    finally:
        for one in asked:
            await one.close()
    return report
