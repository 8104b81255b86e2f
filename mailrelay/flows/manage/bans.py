"""Bans of the installation: values are folded here, so that equal ones meet in the database."""

from datetime import datetime
from ipaddress import IPv6Network, ip_network
from typing import Protocol

from mailrelay.core.address import domain_name, is_creatable, parse_address
from mailrelay.core.bans import BanScope, BanType
from mailrelay.core.errors import Malformed
from mailrelay.core.records import BanRecord, NewBan
from mailrelay.flows.manage.ports import Clock

BAN_TYPES: tuple[BanType, ...] = ("email", "domain", "ip", "name")
MAX_REASON_CHARACTERS = 255


class BanStore(Protocol):
    async def add(self, new: NewBan) -> BanRecord: ...
    async def revoke(self, ref: str, spellings: tuple[str, ...], reason: str | None) -> BanRecord: ...


def ban_value(kind: BanType, text: str) -> str:
    """Fold a value as its type demands. Raises Malformed.

    A network loses its host bits; IPv4-mapped IPv6 becomes IPv4.
    """
    text = text.strip()
    match kind:
        case "email":
            return parse_address(text).folded
        case "domain":
            return _domain(text)
        case "ip":
            return _network(text)
        case "name":
            if not is_creatable(text.lower()):
                raise Malformed(f"{text!r} is no local part: a dot-atom of 1 to 64 ASCII characters without +")
            return text.lower()


def _domain(text: str) -> str:
    name = domain_name(text)
    if "." not in name:
        raise Malformed(f"{text!r}: a domain has at least two labels")
    return name


def _network(text: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise Malformed(f"{text!r} is no IP address or network") from error
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        network = ip_network(f"{network.network_address.ipv4_mapped}/{network.prefixlen - 96}")
    if network.prefixlen == 0:
        raise Malformed(f"{text!r} is everybody")
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)


async def ban(
    store: BanStore,
    clock: Clock,
    kind: BanType,
    value: str,
    scope: BanScope = "both",
    reason: str | None = None,
    expires_at: datetime | None = None,
) -> BanRecord:
    """A new ban. expires_at: None for one without end. Raises Malformed, and Conflict if there is an equal one."""
    if reason is not None and len(reason) > MAX_REASON_CHARACTERS:
        raise Malformed(f"a reason has at most {MAX_REASON_CHARACTERS} characters")
    if expires_at is not None and expires_at <= clock():
        raise Malformed("a ban cannot end before it begins")
    return await store.add(NewBan(kind, ban_value(kind, value), scope, reason, expires_at))


async def revoke(store: BanStore, ref: str, reason: str | None) -> BanRecord:
    """End a ban named by id, UUID or value. Raises Absent, and Conflict if the value is banned several times."""
    spellings = []
    for kind in BAN_TYPES:
        try:
            spellings.append(ban_value(kind, ref))
        except Malformed:
            continue
    return await store.revoke(ref.strip().lower(), tuple(dict.fromkeys(spellings)), reason)
