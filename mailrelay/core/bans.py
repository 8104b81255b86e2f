"""The operator's bans as one in-memory book: look-ups cost the same with ten bans or a hundred thousand (spec 2.7)."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Literal, NewType, TypeVar

from mailrelay.core.address import client_ip, folded_mailbox, parents

BanId = NewType("BanId", int)
BanType = Literal["email", "domain", "ip", "name"]
BanScope = Literal["sender", "destination", "both"]
_REMEMBERED = 8192  # clients and mail addresses, as far as they have been read
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


@lru_cache(maxsize=_REMEMBERED)
def _number(address: str) -> tuple[int, int, int]:
    """(version, bits, number) of a client's address; version 0 for `unknown` and the like."""
    ip = client_ip(address)
    return (0, 0, 0) if ip is None else (ip.version, ip.max_prefixlen, int(ip))


@lru_cache(maxsize=_REMEMBERED)
def _folded(address: str) -> tuple[str, tuple[str, ...]]:
    """A mail address for comparing, and the domains that it is at or below."""
    folded = folded_mailbox(address)
    return folded, parents(folded.rpartition("@")[2])


def network_key(text: str) -> tuple[int, int, int]:
    """(version, prefix length, network bits) of an address or CIDR; an IPv4-mapped IPv6 network counts as IPv4."""
    host, _, prefix = text.partition("/")
    ip = ip_address(host)
    length = int(prefix) if prefix else ip.max_prefixlen
    if isinstance(ip, IPv6Address) and length >= 96 and ip.ipv4_mapped:
        ip, length = ip.ipv4_mapped, length - 96
    return ip.version, length, int(ip) >> (ip.max_prefixlen - length)


Found = dict[str, list[Ban]]


@dataclass(slots=True)
class BanBook:
    """Active bans by type. Build it anew or `put`/`drop` single bans as notifications come in.

    A look-up takes as many probes as there are labels in a domain, or different lengths of networks.
    """

    _emails: Found = field(default_factory=dict)
    _domains: Found = field(default_factory=dict)
    _names: Found = field(default_factory=dict)
    # By version and length of the prefix.
    _networks: dict[int, dict[int, dict[int, list[Ban]]]] = field(default_factory=lambda: {4: {}, 6: {}})
    _by_id: dict[BanId, Ban] = field(default_factory=dict)
    # Clients, mailboxes and domains that met none, as they were asked about: that stays so until there is another one.
    _harmless: set[Hashable] = field(default_factory=set, compare=False)

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
        self._harmless.clear()
        self._by_id[ban.id] = ban
        if ban.type == "ip":
            version, length, bits = network_key(ban.value)
            self._networks[version].setdefault(length, {}).setdefault(bits, []).append(ban)
        else:
            self._table(ban).setdefault(ban.value, []).append(ban)

    def drop(self, ban_id: BanId) -> None:
        """Forget the ban of that id, if it is there."""
        ban = self._by_id.pop(ban_id, None)
        if ban is None:
            return
        if ban.type != "ip":
            _remove(self._table(ban), ban.value, ban)
            return
        version, length, bits = network_key(ban.value)
        lengths = self._networks[version]
        _remove(lengths[length], bits, ban)
        if not lengths[length]:
            del lengths[length]

    def _table(self, ban: Ban) -> Found:
        match ban.type:
            case "email":
                return self._emails
            case "domain":
                return self._domains
            case _:
                return self._names

    def client(self, address: str, now: datetime) -> Ban | None:
        """The ban that hits a client address, written as Postfix writes it; None for `unknown` and the like."""
        if address in self._harmless:
            return None
        version, width, number = _number(address)
        for length, networks in self._networks.get(version, {}).items():
            for ban in networks.get(number >> (width - length), ()):
                if ban.active(now):
                    return ban
        self._note_harmless(address)
        return None

    def mailbox(self, address: str, scope: Literal["sender", "destination"], now: datetime) -> Ban | None:
        """The ban that hits a mail address, its domain or a parent domain. address: as written, any spelling."""
        if (address, scope) in self._harmless:
            return None
        folded, above = _folded(address)
        for ban in self._emails.get(folded, ()):
            if ban.scope in (scope, "both") and ban.active(now):
                return ban
        return self._below(above, scope, now, (address, scope))

    def domain(self, name: str, scope: Literal["sender", "destination"], now: datetime) -> Ban | None:
        """The ban that hits a folded domain or host name, or a parent domain."""
        if ("@", name, scope) in self._harmless:
            return None
        return self._below(parents(name), scope, now, ("@", name, scope))

    def _below(self, domains: Iterable[str], scope: str, now: datetime, asked: Hashable) -> Ban | None:
        table = self._domains
        for domain in domains:
            for ban in table.get(domain, ()):
                if ban.scope in (scope, "both") and ban.active(now):
                    return ban
        self._note_harmless(asked)
        return None

    def _note_harmless(self, asked: Hashable) -> None:
        if len(self._harmless) >= _REMEMBERED:
            self._harmless.clear()
        self._harmless.add(asked)

    def name(self, local: str, now: datetime) -> Ban | None:
        """The ban on a base local part of ours."""
        for ban in self._names.get(local, ()):
            if ban.active(now):
                return ban
        return None


def _remove(table: dict[_Key, list[Ban]], key: _Key, ban: Ban) -> None:
    bans = table[key]
    bans.remove(ban)
    if not bans:
        del table[key]
