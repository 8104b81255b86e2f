"""The addy.io API put together."""

from collections.abc import Callable
from datetime import datetime

from dns.resolver import NoResolverConfiguration

from mailrelay import keyring
from mailrelay.api.addy.app import Addy
from mailrelay.api.addy.blockcheck import BlockCheckEndpoint
from mailrelay.api.addy.blocklist import BlocklistEndpoints
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.gate import Gate
from mailrelay.api.addy.openapi import described
from mailrelay.api.addy.recipientkeys import KeyEndpoints
from mailrelay.api.addy.recipients import RecipientEndpoints
from mailrelay.clients.maildomain import MailDomains
from mailrelay.clients.resolver import Resolver
from mailrelay.config import Config
from mailrelay.core.errors import BadConfig
from mailrelay.core.naming import ServiceNames
from mailrelay.flows.manage.ports import Bureau, Clock
from mailrelay.store.blockcheck import BlockCheck
from mailrelay.store.database import Database
from mailrelay.store.gate import Gate as GateStore
from mailrelay.store.keys import RecipientKeys
from mailrelay.store.manage_blocks import Blocks
from mailrelay.store.manage_ground import Grounds
from mailrelay.store.manage_recipients import Recipients
from mailrelay.store.own_blocklist import OwnBlocklist
from mailrelay.store.own_recipients import OwnRecipients
from mailrelay.wiring import keys
from mailrelay.wiring.runtime import utc_now
from mailrelay.wiring.signin import account_endpoints


def endpoints(config: Config, database: Database, clock: Clock) -> tuple[Endpoint, ...]:
    """All that the API tells of. Raises BadConfig."""
    return (
        *account_endpoints(config, database, clock),
        *_recipients(config, database, clock),
        *BlocklistEndpoints(Blocks(database), OwnBlocklist(database)).endpoints(),
    )


def application(config: Config, database: Database, clock: Callable[[], datetime] = utc_now) -> Addy:
    """The API over a database. Raises BadConfig."""
    every = described(endpoints(config, database, clock), config.api.url)
    return Addy((*every, *_blockcheck(config, database)), Gate(GateStore(database)), clock, config.api.url)


def _recipients(config: Config, database: Database, clock: Clock) -> tuple[Endpoint, ...]:
    reader = OwnRecipients(database)
    shown = RecipientEndpoints(
        _bureau(config, database, clock),
        Recipients(database),
        reader,
        MailDomains(_resolver(config).lookup) if config.addy.check_mail_domains else None,
        linked=bool(config.api.url),
        trusting=not config.addy.verify_recipients,
    )
    return (*shown.endpoints(), *KeyEndpoints(RecipientKeys(database), reader, keys.gate(), clock).endpoints())


def _blockcheck(config: Config, database: Database) -> tuple[Endpoint, ...]:
    settings = config.addy.blocklist_check
    secret = "" if settings.secret_file is None else keyring.read_line(settings.secret_file)
    return BlockCheckEndpoint(BlockCheck(database), secret, settings.networks).endpoints()


def _bureau(config: Config, database: Database, clock: Clock) -> Bureau:
    names = config.service
    service = ServiceNames(names.domain, names.bounce_domain, names.srs_domain, names.hostname)
    return Bureau(service, Grounds(database), clock)


def _resolver(config: Config) -> Resolver:
    try:
        return Resolver(config.dns.nameservers)
    except NoResolverConfiguration as error:
        raise BadConfig(("dns.nameservers: is needed, as the host names none",)) from error
