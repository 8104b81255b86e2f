"""The addy.io API put together."""

from dataclasses import dataclass
from functools import cache

from mailrelay.api.addy.aliases_read import AliasReadEndpoints
from mailrelay.api.addy.app import Addy
from mailrelay.api.addy.blockcheck import BlockCheckEndpoint
from mailrelay.api.addy.blocklist import BlocklistEndpoints
from mailrelay.api.addy.chart import ChartEndpoints
from mailrelay.api.addy.domains import DomainEndpoints
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.failed import FailedEndpoints
from mailrelay.api.addy.gate import Gate
from mailrelay.api.addy.openapi import described
from mailrelay.api.addy.recipientkeys import KeyEndpoints
from mailrelay.api.addy.recipients import RecipientEndpoints
from mailrelay.api.addy.rules import RuleEndpoints
from mailrelay.api.addy.usernames import UsernameEndpoints
from mailrelay.clients.maildomain import MailDomains
from mailrelay.config import Config
from mailrelay.core.naming import ServiceNames
from mailrelay.flows.manage.domains import Claims, Dns
from mailrelay.flows.manage.ports import Bureau, Clock
from mailrelay.flows.manage.usernames import Choices
from mailrelay.flows.obstacles import Bans
from mailrelay.flows.passwords import Passwords
from mailrelay.keyring import read_line, read_secret
from mailrelay.reserved import usernames as reserved_usernames
from mailrelay.store.banned import BanLookup
from mailrelay.store.blockcheck import BlockCheck
from mailrelay.store.database import Database
from mailrelay.store.days import Days
from mailrelay.store.gate import Gate as GateStore
from mailrelay.store.keys import RecipientKeys
from mailrelay.store.manage_blocks import Blocks
from mailrelay.store.manage_domains import Domains
from mailrelay.store.manage_ground import Grounds
from mailrelay.store.manage_recipients import Recipients
from mailrelay.store.manage_rules import Rules
from mailrelay.store.manage_usernames import Usernames
from mailrelay.store.own_aliases import OwnAliases
from mailrelay.store.own_blocklist import OwnBlocklist
from mailrelay.store.own_parents import AliasDomainReader, OwnDomains, OwnUsernames
from mailrelay.store.own_recipients import OwnRecipients
from mailrelay.store.own_rules import OwnRules
from mailrelay.wiring import keys
from mailrelay.wiring.aliases import alias_changes
from mailrelay.wiring.bans import ban_lookup
from mailrelay.wiring.failed import by_worker, failed_store
from mailrelay.wiring.runtime import utc_now
from mailrelay.wiring.signin import account_endpoints


def application(
    config: Config, database: Database, dns: Dns, clock: Clock = utc_now, passwords: Passwords | None = None
) -> Addy:
    """The API over a database. dns: remembers nothing; passwords: of the process. Raises BadConfig."""
    parts = _Parts(config, database, dns, clock, passwords or Passwords())
    every = described(parts.endpoints(), config.api.url)
    return Addy((*every, *parts.blockcheck()), Gate(GateStore(database), BanLookup(database)), clock, config.api.url)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the resources of the API are made of. All raise BadConfig."""

    config: Config
    database: Database
    dns: Dns
    clock: Clock
    passwords: Passwords

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All that the API tells of."""
        return (
            *account_endpoints(self.config, self.database, self.clock, self.passwords),
            *AliasReadEndpoints(OwnAliases(self.database)).endpoints(),
            *alias_changes(self.config, self.database, self.bans),
            *self.domains(),
            *self.recipients(),
            *self.usernames(),
            *BlocklistEndpoints(Blocks(self.database), OwnBlocklist(self.database)).endpoints(),
            *RuleEndpoints(OwnRules(self.database), Rules(self.database)).endpoints(),
            *self.failed(),
            *ChartEndpoints(Days(self.database)).endpoints(),
        )

    def domains(self) -> tuple[Endpoint, ...]:
        config, store = self.config, Domains(self.database)
        proofs = read_secret(config.secrets, "ownership.key")
        claims = Claims(self.service, store, self.dns, proofs, self.bans)
        own = OwnDomains(self.database)
        return DomainEndpoints(claims, store, own, self.alias_domains).endpoints()

    def failed(self) -> tuple[Endpoint, ...]:
        # Opened when it is first asked for: without the key of storage everything else can be had.
        shelf = cache(lambda: failed_store(self.config, self.database))
        return FailedEndpoints(shelf, by_worker(self.database), self.config.service.hostname).endpoints()

    def recipients(self) -> tuple[Endpoint, ...]:
        reader = OwnRecipients(self.database)
        shown = RecipientEndpoints(
            Bureau(self.service, Grounds(self.database), self.clock),
            Recipients(self.database),
            reader,
            MailDomains(self.dns.lookup) if self.config.addy.check_mail_domains else None,
            self.bans,
            linked=bool(self.config.api.url),
            trusting=not self.config.addy.verify_recipients,
            limit=self.config.limits.recipients_per_account,
        )
        encryption = KeyEndpoints(RecipientKeys(self.database), reader, keys.gate(), self.clock)
        return (*shown.endpoints(), *encryption.endpoints())

    def usernames(self) -> tuple[Endpoint, ...]:
        store = Usernames(self.database)
        reserved = reserved_usernames(self.config.service.reserved_usernames)
        choices = Choices(store, reserved, self.config.limits.usernames_per_account)
        return UsernameEndpoints(choices, store, OwnUsernames(self.database)).endpoints()

    def blockcheck(self) -> tuple[Endpoint, ...]:
        settings = self.config.addy.blocklist_check
        secret = "" if settings.secret_file is None else read_line(settings.secret_file)
        return BlockCheckEndpoint(BlockCheck(self.database), secret, settings.networks).endpoints()

    @property
    def bans(self) -> Bans:
        return ban_lookup(self.config, self.database, self.dns)

    @property
    def service(self) -> ServiceNames:
        names = self.config.service
        return ServiceNames(names.domain, names.bounce_domain, names.srs_domain, names.hostname)

    @property
    def alias_domains(self) -> AliasDomainReader:
        addy = self.config.addy
        return AliasDomainReader(
            self.database, self.config.service.domain, direct=addy.shared_domains, below=addy.username_domains
        )
