"""Bans as the HTTP APIs ask about them."""

from mailrelay.config import Config
from mailrelay.flows.manage.domains import Dns
from mailrelay.flows.mxbans import BansOfHosts, MxHosts
from mailrelay.flows.obstacles import Bans
from mailrelay.store.banned import BanLookup
from mailrelay.store.database import Database


def ban_lookup(config: Config, database: Database, dns: Dns) -> Bans:
    """Bans of mailboxes, domains, names and clients; of a mailbox's MX hosts as well, if the settings say so."""
    bans = BanLookup(database)
    return BansOfHosts(bans, MxHosts(dns.lookup)) if config.haltman.ban_mx_hosts else bans
