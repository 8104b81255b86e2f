"""Bans of the installation: values are folded here, so that equal ones meet in the database."""

from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv6Network, ip_network
from typing import Protocol

from mailrelay.core.address import domain_name, is_creatable, parse_address
from mailrelay.core.banrecords import BanChange, BanMade, BanRecord, BanState, NewBan
from mailrelay.core.bans import BanId, BanScope, BanType
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Keep
from mailrelay.flows.manage.ports import Clock

BAN_TYPES: tuple[BanType, ...] = ("email", "domain", "ip", "name")
MAX_REASON_CHARACTERS = 255


class BanStore(Protocol):
    """As store/manage_bans.py."""

    async def add(
        self, new: NewBan, actor: str, creator: AccountId | None = None, disable_matching: bool = False
    ) -> BanMade: ...
    async def change(self, number: BanId, revise: Callable[[BanRecord], BanState], actor: str) -> BanRecord: ...
    async def revoke(self, ref: str, spellings: tuple[str, ...], reason: str | None, actor: str) -> BanRecord: ...


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
    if "%" in text:
        raise Malformed(f"{text!r}: a zone means something on its own host only")
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
    *,
    actor: str,
    disable_matching: bool = False,
) -> BanMade:
    """A new ban. expires_at: None for one without end; disable_matching: aliases and handles that it hits as well.

    Raises Malformed, and Conflict if there is an equal one.
    """
    if reason is not None and len(reason) > MAX_REASON_CHARACTERS:
        raise Malformed(f"a reason has at most {MAX_REASON_CHARACTERS} characters")
    if expires_at is not None and expires_at <= clock():
        raise Malformed("a ban cannot end before it begins")
    if disable_matching and kind == "ip":
        raise Malformed("a ban of clients hits no aliases or handles")
    new = NewBan(kind, ban_value(kind, value), scope, reason, expires_at)
    return await store.add(new, actor, disable_matching=disable_matching)


async def revoke(store: BanStore, ref: str, reason: str | None, actor: str) -> BanRecord:
    """End a ban named by id, UUID or value. Raises Absent, and Conflict if the value is banned several times."""
    spellings = []
    for kind in BAN_TYPES:
        try:
            spellings.append(ban_value(kind, ref))
        except Malformed:
            continue
    return await store.revoke(ref.strip().lower(), tuple(dict.fromkeys(spellings)), reason, actor)


async def change(
    store: BanStore,
    clock: Clock,
    number: BanId,
    wanted: BanChange,
    actor: str,
    fold: Callable[[BanType, str], str] = ban_value,
) -> BanRecord:
    """Change a ban. fold: its value, whose type may be another now.

    Raises Absent, Malformed for a value that is none of its type, Conflict if there is an equal one in force.
    """
    return await store.change(number, lambda found: _changed(found, wanted, clock(), fold), actor)


def _changed(found: BanRecord, wanted: BanChange, now: datetime, fold: Callable[[BanType, str], str]) -> BanState:
    kind = found.type if isinstance(wanted.type, Keep) else wanted.type
    value = found.value if isinstance(wanted.value, Keep) else wanted.value
    if wanted.type is not Keep.KEEP or wanted.value is not Keep.KEEP:
        value = fold(kind, value)
    revoked_at, why = found.revoked_at, found.revoked_reason
    if not isinstance(wanted.revoked, Keep):
        revoked_at, why = (now, why) if wanted.revoked else (None, None)
    return BanState(
        kind,
        value,
        found.reason if isinstance(wanted.reason, Keep) else wanted.reason,
        found.expires_at if isinstance(wanted.expires_at, Keep) else wanted.expires_at,
        revoked_at,
        why if isinstance(wanted.revoked_reason, Keep) else wanted.revoked_reason,
    )
