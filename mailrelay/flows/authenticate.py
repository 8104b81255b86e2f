"""Who sent this message? All checks of spec section 11.1, with the DNS look-ups that they need."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from mailrelay.core.findings import Findings, Spf
from mailrelay.core.header import Message
from mailrelay.core.inquiry import OrganisationalDomain
from mailrelay.core.lookup import Answer, Kind


class Resolver(Protocol):
    """Whom we ask; remembers answers for their TTL."""

    async def lookup(self, name: str, kind: Kind) -> Answer:
        """The answer for a name (any case, with or without the trailing dot). Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Client:
    """What Postfix says of the SMTP client, by milter macros and commands; never from Received fields."""

    ip: IPv4Address | IPv6Address | None  # None: unknown; as core.address.client_ip reads it
    helo: str
    mail_from: str  # without angle brackets; "" is the null sender; odd octets as surrogates
    is_trusted: bool = False  # own networks, logins, local submission: no SPF, no iprev


class SpfCheck(Protocol):
    """SPF of MAIL FROM, or of HELO where the sender is null."""

    async def __call__(self, client: Client, resolver: Resolver) -> Spf:
        """Never raises but when cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class Authenticator:
    """The checks with whom they ask."""

    resolver: Resolver
    spf: SpfCheck
    organisation: OrganisationalDomain

    async def authenticate(self, message: Message, client: Client, author_domain: str, now: int) -> Findings:
        """What SPF, DKIM, DMARC, ARC and iprev say, within 20 seconds. Foreign input and DNS trouble never raise.

        author_domain: of the only From mailbox, folded; "" if there is none. It must be the one that everything else
        is decided on. now: seconds since 1970.
        """
        raise NotImplementedError
