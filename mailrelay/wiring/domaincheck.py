"""The checks of domains put together."""

import random
from collections.abc import Awaitable, Callable, Sequence

from mailrelay.clients.resolver import Resolver
from mailrelay.config import Config
from mailrelay.core.domaincheck import Report
from mailrelay.core.naming import ServiceNames
from mailrelay.core.notices import Code, Notice
from mailrelay.flows.domaincheck import DomainChecker, DomainChecks, check_now
from mailrelay.flows.manage.domains import Dns
from mailrelay.store.database import Database
from mailrelay.store.manage_domains import Domains
from mailrelay.store.manage_keys import DkimFolder
from mailrelay.store.rechecks import DueDomain, Rechecks
from mailrelay.wiring.runtime import utc_now

_DICE = random.SystemRandom().random
Post = Callable[[Notice], Awaitable[None]]


def resolvers(config: Config) -> tuple[Resolver, ...]:
    """One for each name server of the settings, else one for those of the host. They remember nothing."""
    servers = config.dns.nameservers
    return tuple(Resolver([one], entries=0) for one in servers) or (Resolver(entries=0),)


def _checker(config: Config, asked: Sequence[Dns], keys: Callable[[str], Sequence[tuple[str, str]]]) -> DomainChecker:
    names = config.service
    service = ServiceNames(names.domain, names.bounce_domain, names.srs_domain, names.hostname)
    return DomainChecker(service, asked, keys)


def checks(config: Config, database: Database, asked: Sequence[Dns], post: Post) -> DomainChecks:
    """The worker's step. It makes keys that are still missing: their job may have been given up."""

    async def alert(text: str) -> None:
        for mailbox in config.service.operator:
            await post(Notice(Code.OPS, None, data={"address": str(mailbox), "text": text}))

    found = _checker(config, asked, DkimFolder(config.dkim).ensure)
    return DomainChecks(found, Rechecks(database), _DICE, alert)


async def checked_now(config: Config, database: Database, name: str, actor: str) -> Report:
    """Look at a domain because somebody asks. Raises Absent and Unavailable."""
    found = await Domains(database).show(name)
    asked = resolvers(config)
    try:
        checker = _checker(config, asked, DkimFolder(config.dkim).texts)
        due = DueDomain(found.id, found.name)
        report, _ = await check_now(checker, Rechecks(database), due, utc_now(), _DICE(), actor)
    finally:
        for one in asked:
            await one.close()
    return report
