"""OpenPGP keys put together: what decides whether one can be used, and where published ones are looked for."""

from mailrelay.clients.openpgp import OpenPgp
from mailrelay.clients.resolver import Resolver
from mailrelay.clients.webhook import HostAddresses
from mailrelay.clients.wkd import KeyDirectory
from mailrelay.config import Config
from mailrelay.core.recipientkeys import Gate


def gate() -> Gate:
    """Whether mail can be encrypted to a key, tried out. It needs no key of the service."""
    return OpenPgp(()).check


def directory(config: Config, resolver: Resolver) -> KeyDirectory:
    """The Web Key Directories of mailboxes' domains: at the addresses that webhooks may have, too."""
    return KeyDirectory(HostAddresses(resolver), config.webhooks.networks)
