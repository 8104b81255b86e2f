"""What a request names that could be banned (haltman-api.md section 5.1)."""

from dataclasses import dataclass
from datetime import datetime

from mailrelay.core.address import Address, client_ip, parents
from mailrelay.core.bans import BanId, BanType


@dataclass(frozen=True, slots=True)
class Suspect:
    """A value as a ban of that type would have it; of type ip a single address."""

    type: BanType
    value: str


@dataclass(frozen=True, slots=True)
class BanHit:
    """The ban that stands against a request."""

    id: BanId
    type: BanType
    value: str
    reason: str | None
    created_at: datetime


def of_name(local: str) -> tuple[Suspect, ...]:
    """A local part of ours."""
    return (Suspect("name", local.lower()),)


def of_domain(domain: str) -> tuple[Suspect, ...]:
    """A domain and those above it, down to two labels."""
    return tuple(Suspect("domain", one) for one in parents(domain.lower()) if "." in one)


def of_mailbox(mailbox: Address) -> tuple[Suspect, ...]:
    """A mailbox and its domain."""
    return (Suspect("email", mailbox.folded), *of_domain(mailbox.domain))


def of_ip(client: str) -> tuple[Suspect, ...]:
    """A client's address; nothing for what is none. IPv4-mapped IPv6 is IPv4."""
    ip = client_ip(client)
    return () if ip is None else (Suspect("ip", str(ip)),)
