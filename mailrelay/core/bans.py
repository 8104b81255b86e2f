"""The operator's bans as one in-memory book: look-ups cost the same with ten bans or a hundred thousand (spec 2.7)."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv6Network, ip_network
from typing import Literal, NewType, TypeVar

from mailrelay.core.address import client_ip, folded_mailbox, parents

BanId = NewType("BanId", int)
BanType = Literal["email", "domain", "ip", "name"]
BanScope = Literal["sender", "destination", "both"]
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Ban:
    """One ban that was not revoked. value: folded as the column of that type is."""

    id: BanId
    type: BanType
    value: str
    scope: BanScope
    expires_at: datetime | None

    def active(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


def network_key(text: str) -> tuple[int, int, int]:
    """(version, prefix length, network bits) of an address or CIDR; an IPv4-mapped IPv6 network counts as IPv4."""
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        network = ip_network(f"{network.network_address.ipv4_mapped}/{network.prefixlen - 96}")
    return (
        network.version,
        network.prefixlen,
        int(network.network_address) >> (network.max_prefixlen - network.prefixlen),
    )


@dataclass(slots=True)
class BanBook:
    """Active bans by type. Build it anew or `put`/`drop` single bans as notifications come in."""

    _by_value: dict[tuple[str, str], list[Ban]] = field(default_factory=dict)
    _by_network: dict[tuple[int, int, int], list[Ban]] = field(default_factory=dict)
    _prefixes: dict[int, dict[int, int]] = field(default_factory=lambda: {4: {}, 6: {}})
    _by_id: dict[BanId, Ban] = field(default_factory=dict)

    @classmethod
    def of(cls, bans: Iterable[Ban]) -> "BanBook":
        book = cls()
        for ban in bans:
            book.put(ban)
        return book

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, ban: Ban) -> None:
        """Add or replace the ban of that id."""
        self.drop(ban.id)
        self._by_id[ban.id] = ban
        if ban.type == "ip":
            key = network_key(ban.value)
            self._by_network.setdefault(key, []).append(ban)
            lengths = self._prefixes[key[0]]
            lengths[key[1]] = lengths.get(key[1], 0) + 1
        else:
            self._by_value.setdefault((ban.type, ban.value), []).append(ban)

    def drop(self, ban_id: BanId) -> None:
        """Forget the ban of that id, if it is there."""
        ban = self._by_id.pop(ban_id, None)
        if ban is None:
            return
        if ban.type == "ip":
            key = network_key(ban.value)
            _remove(self._by_network, key, ban)
            lengths = self._prefixes[key[0]]
            lengths[key[1]] -= 1
            if not lengths[key[1]]:
                del lengths[key[1]]
        else:
            _remove(self._by_value, (ban.type, ban.value), ban)

    def client(self, address: str, now: datetime) -> Ban | None:
        """The ban that hits a client address, written as Postfix writes it; None for `unknown` and the like."""
        ip = client_ip(address) if self._by_network else None
        if ip is None:
            return None
        number = int(ip)
        for length in self._prefixes[ip.version]:
            for ban in self._by_network.get((ip.version, length, number >> (ip.max_prefixlen - length)), ()):
                if ban.active(now):
                    return ban
        return None

    def mailbox(self, address: str, scope: Literal["sender", "destination"], now: datetime) -> Ban | None:
        """The ban that hits a mail address, its domain or a parent domain. address: as written, any spelling."""
        if not self._by_value:
            return None
        folded = folded_mailbox(address)
        domain = folded.rpartition("@")[2]
        candidates = [("email", folded), *(("domain", parent) for parent in parents(domain))]
        for key in candidates:
            for ban in self._by_value.get(key, ()):
                if ban.scope in (scope, "both") and ban.active(now):
                    return ban
        return None

    def name(self, local: str, now: datetime) -> Ban | None:
        """The ban on a base local part of ours."""
        for ban in self._by_value.get(("name", local), ()):
            if ban.active(now):
                return ban
        return None


def _remove(table: dict[_Key, list[Ban]], key: _Key, ban: Ban) -> None:
    bans = table[key]
    bans.remove(ban)
    if not bans:
        del table[key]
