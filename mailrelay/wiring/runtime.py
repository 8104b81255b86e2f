"""What the mail roles of a process share: rules, database, ledger, memory."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from mailrelay import log
from mailrelay.batch import Batcher
from mailrelay.config import Config
from mailrelay.core import srs
from mailrelay.core.bans import BanBook
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Facts
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.judge import DefaultLimits
from mailrelay.core.ledger import Closing, Ending, Opened, Opening, OutboundCopy, OutboundId, Tally
from mailrelay.core.realm import Realm
from mailrelay.core.reply import Replies
from mailrelay.core.rules.model import RuleId
from mailrelay.core.screen import Keys, Surroundings
from mailrelay.core.sending.authorise import SendingLimits
from mailrelay.core.sending.facts import SendingFacts, SendingInquiry
from mailrelay.core.spam import Thresholds
from mailrelay.flows.cache import FactsCache
from mailrelay.flows.clearance import AskReach, Clearance
from mailrelay.flows.handover import BannedHosts, no_hosts
from mailrelay.flows.memory import Memory
from mailrelay.flows.mxbans import HostBans, MxHosts
from mailrelay.flows.rulebook import Rulebooks
from mailrelay.flows.rules import Checks, Identity, Rules
from mailrelay.flows.ruling import Ruling
from mailrelay.keyring import read_secret, read_service_keys
from mailrelay.store import directory
from mailrelay.store.changes import Follower
from mailrelay.store.database import Database
from mailrelay.store.facts import FactsReader
from mailrelay.store.jobs import JobStore
from mailrelay.store.ledger import Ledger
from mailrelay.store.rules import RuleReader
from mailrelay.store.sending import SendingReader
from mailrelay.store.targets import TargetReader
from mailrelay.wiring.suffixes import organisational_domains

if TYPE_CHECKING:
    from mailrelay.clients.openpgp import OpenPgp
    from mailrelay.clients.resolver import Resolver

# Compiled rules: of some 5,000 accounts with three each, or of 150,000 without any.
_RULEBOOK_OCTETS = 32_000_000


def utc_now() -> datetime:
    """The clock of the process."""
    return datetime.now(UTC)


class BatchedLedger:
    """The ledger for single entries: concurrent ones share a statement and a commit."""

    def __init__(self, ledger: Ledger) -> None:
        self.bounced = ledger.bounced
        self._open: Batcher[Opening, Opened] = Batcher(ledger.open)
        self._close: Batcher[tuple[Sequence[Closing], Tally | None], None] = Batcher(ledger.close)
        self._end: Batcher[Ending, None] = Batcher(ledger.end)
        self._outbound: Batcher[OutboundId, OutboundCopy | None] = Batcher(ledger.outbound)

    async def open(self, opening: Opening) -> Opened:
        return await self._open.ask(opening)

    async def close(self, closings: Sequence[Closing], tally: Tally | None) -> None:
        await self._close.ask((closings, tally))

    async def end(self, ending: Ending) -> None:
        await self._end.ask(ending)

    async def outbound(self, outbound_id: OutboundId) -> OutboundCopy | None:
        return await self._outbound.ask(outbound_id)


class Runtime:
    """Built before anything listens. Raises BadConfig with what is wrong about secrets or keys."""

    def __init__(self, config: Config, name: str, cache: FactsCache | None) -> None:
        self.config = config
        self.database = Database(
            config.database.dsn, config.database.connections, config.database.timeout_seconds, name
        )
        self.rules = _rules(config)
        self._resolver: Resolver | None = None
        self.ledger = BatchedLedger(Ledger(self.database))
        reader = FactsReader(self.database, config.service.catch_all)
        self._facts: Batcher[Inquiry, Facts] = Batcher(reader.read, lanes=max(1, config.database.connections - 2))
        sending = SendingReader(self.database)
        self._sending: Batcher[SendingInquiry, SendingFacts | None] = Batcher(sending.read, lanes=2)
        rules = RuleReader(self.database)
        self.rulebooks = Rulebooks(rules.active, _RULEBOOK_OCTETS)
        self._matched: Batcher[Sequence[RuleId], None] = Batcher(rules.count)
        self.ruling = Ruling(self.rulebooks.book, TargetReader(self.database).read, self.count_rules)
        self.memory = Memory(
            self.rules,
            lambda: directory.read_domains(self.database),
            lambda: directory.read_bans(self.database),
            lambda ban_id: directory.read_ban(self.database, ban_id),
            cache,
            self.rulebooks,
        )
        self.on_restored: list[Callable[[], Awaitable[None]]] = []  # for roles that wait for the database
        self.post = JobStore(self.database).post
        self.follower = Follower(config.database.dsn, self._restored, self.memory.changed, self.memory.lost)

    @cached_property
    def openpgp(self) -> "OpenPgp":
        """The service's keys and its encryption. Roles that need neither do not load the library. Raises BadConfig."""
        from mailrelay.clients.openpgp import OpenPgp

        return OpenPgp(read_service_keys(self.config.secrets))

    @cached_property
    def hosts(self) -> MxHosts | None:
        """Who takes mail for others, where bans count for them; None where they do not."""
        if not self.config.haltman.ban_mx_hosts:
            return None
        from mailrelay.clients.resolver import Resolver

        self._resolver = Resolver(self.config.dns.nameservers)
        return MxHosts(self._resolver.lookup, self._resolver.known)

    @property
    def banned_hosts(self) -> BannedHosts:
        """What those who make copies ask."""
        return no_hosts if self.hosts is None else HostBans(self.rules, self.hosts, utc_now)

    async def close(self) -> None:
        """After the roles have stopped."""
        if self._resolver is not None:
            await self._resolver.close()
        await self.database.close()

    async def read_facts(self, inquiry: Inquiry) -> Facts:
        """Facts from the database, several inquiries a round trip."""
        return await self._facts.ask(inquiry)

    async def read_sending(self, inquiry: SendingInquiry, /) -> SendingFacts | None:
        """What stands behind a reverse address, several inquiries a round trip."""
        return await self._sending.ask(inquiry)

    def clearance(self, reach: AskReach) -> Clearance:
        """What decides about replies and sends."""
        return Clearance(self.rules, self.read_facts, self.read_sending, reach, utc_now)

    async def count_rules(self, matched: Sequence[RuleId]) -> None:
        """Count the rules that matched a message; concurrent ones share a statement. Raises Unavailable."""
        await self._matched.ask(matched)

    async def _restored(self) -> None:
        await self.database.refresh()
        for catch_up in self.on_restored:
            try:
                await catch_up()
            except Unavailable:
                raise
            except Exception:
                # Our bug: what cannot be recorded is no reason to go on with old domains and bans.
                log.logger().exception("runtime.behind")
        await self.memory.reload()  # last: from here on the cache is trusted

    def reload(self, config: Config) -> None:
        """Take over what can change while running: texts, limits, operator, trusted networks, keys."""
        fresh = _rules(config)
        self.rules.replies = fresh.replies
        self.rules.limits = fresh.limits
        self.rules.message_octets = fresh.message_octets
        self.rules.identity = fresh.identity
        self.rules.checks = fresh.checks
        known = self.rules.around
        realm = replace(fresh.around.realm, shared=known.realm.shared, custom=known.realm.custom)
        self.rules.around = replace(fresh.around, realm=realm, bans=known.bans, organisation=known.organisation)
        self.config = config


def _rules(config: Config) -> Rules:
    service, limits = config.service, config.limits
    keys = Keys(
        verp=read_secret(config.secrets, "verp.key"),
        loop=read_secret(config.secrets, "loop.key"),
        srs=srs.Scheme(
            service.srs_domain, read_secret(config.secrets, "srs.key"), min_hash_length=service.srs_min_hash_length
        ),
    )
    realm = Realm(
        service=frozenset({service.domain, service.bounce_domain, service.srs_domain}),
        srs_domain=service.srs_domain,
        bounce_domain=service.bounce_domain,
        # Users' names give subdomains of shared domains; the host's own name is often one, too.
        foreign=frozenset({service.hostname, *service.foreign_domains}),
    )
    around = Surroundings(realm, BanBook(), keys, service.trusted_networks, organisational_domains())
    return Rules(
        around=around,
        replies=Replies(config.replies),
        limits=DefaultLimits(
            limits.messages_per_hour,
            limits.new_aliases_per_hour,
            limits.new_aliases_per_hour_and_network,
            limits.bandwidth_octets_per_month,
        ),
        sending_limits=SendingLimits(
            limits.replies_and_sends_per_day, limits.replies_and_sends_per_hour, limits.new_contacts_per_day
        ),
        identity=Identity(
            domain=service.domain,
            hostname=service.hostname,
            bounce_domain=service.bounce_domain,
            header_prefix=service.header_prefix,
            operator=service.operator,
            forward_mode=service.forward_mode,
            sign_transparent=service.sign_transparent,
            arc_seal=service.arc_seal,
        ),
        checks=Checks(
            required=config.milter.enabled,
            keys=read_secret(config.secrets, "ingress.key"),
            thresholds=Thresholds(config.milter.spam.tag, config.milter.spam.reject),
        ),
        message_octets=limits.message_octets,
    )


def new_cache(config: Config) -> FactsCache:
    """The policy role's cache."""
    return FactsCache(config.policy.cache_entries, config.policy.cache_seconds, time.monotonic)
