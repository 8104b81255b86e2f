"""Where requests may go that others ask us to make: URLs in their parts, and addresses that are somebody's."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

from mailrelay.core.address import domain_name
from mailrelay.core.errors import Malformed

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MAX_URL_OCTETS = 2000

# RFC 3986, without user information and fragment; the host is looked at by itself.
_URL = re.compile(r"(https?)://([^/?#]*)((?:[/?][A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*)?)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]*)\]|([^\[\]:@]*))(?::([0-9]{1,5}))?", re.ASCII)
# What a browser takes for an IPv4 address (WHATWG URL section 3.5): there are more ways than four decimal numbers.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)

# What `is_global` calls public depends on the release of Python. These are of IANA's special-purpose registries.
_PRIVATE4 = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
_UNICAST6 = IPv6Network("2000::/3")
# Special use, Teredo among it; documentation; 6to4, which leads to any IPv4 address; documentation again.
_PRIVATE6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the IPv4 address is in the last 32 bits


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its parts. host: A-labels or an address without brackets; path: with the query."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def address(self) -> IPAddress | None:
        """None: the host is a name."""
        return _address(self.host)

    @property
    def authority(self) -> str:
        """As the Host header has it (RFC 9110 section 7.2): the port only if it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.path}"


def target(url: str) -> Target:
    """Read the URL of a receiver.

    Raises Malformed for other schemes, user names, fragments, ports of other services, and for what is no host name
    but could be taken for an address.
    """
    text = url.strip()
    if len(text) > MAX_URL_OCTETS:
        raise Malformed(f"the URL is longer than {MAX_URL_OCTETS} octets")
    parts = _URL.fullmatch(text)
    if parts is None:
        raise Malformed("a webhook is an http or https URL of plain ASCII characters, without a fragment")
    scheme, authority, path = parts.groups()
    if "@" in authority:
        raise Malformed("a webhook's URL holds no user name or password")
    host = _AUTHORITY.fullmatch(authority)
    if host is None:
        raise Malformed("the URL has no host, or no port that is one")
    secure = scheme.lower() == "https"
    found = Target(
        secure=secure,
        host=_literal6(host[1]) if host[1] is not None else _name(host[2]),
        port=_port(host[3], secure),
        path=path if path.startswith("/") else f"/{path}",
    )
    if len(found.url) > MAX_URL_OCTETS:
        raise Malformed(f"the URL is longer than {MAX_URL_OCTETS} octets")
    return found


def _literal6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError as error:
        raise Malformed(f"[{text}] is no IPv6 address") from error


def _name(text: str) -> str:
    name = domain_name(text)
    if _NUMBER.fullmatch(name.rpartition(".")[2]) and _address(name) is None:
        raise Malformed(f"{text} is neither a name nor an address in its usual form")
    return name


def _port(text: str | None, secure: bool) -> int:
    """A request that reaches another service, such as a mail server, might mean something there."""
    if text is None:
        return 443 if secure else 80
    port = int(text)
    if port not in (80, 443) and not 1024 <= port <= 65535:
        raise Malformed("the port is 80, 443 or between 1024 and 65535")
    return port


def _address(text: str) -> IPAddress | None:
    for kind in (IPv4Address, IPv6Address):
        try:
            return kind(text)
        except AddressValueError:
            continue
    return None


def is_public(address: IPAddress) -> bool:
    """True if the address is somebody's on the Internet: no private, local, shared, multicast or reserved range, and
    nothing that leads to one in disguise. Ranges of documentation are private."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _PRIVATE4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _UNICAST6 and not any(address in network for network in _PRIVATE6)


def refusal(wanted: Target, addresses: Sequence[IPAddress], networks: Sequence[IPNetwork], of_account: bool) -> str:
    """Why nothing may be sent there, one line, or ''.

    addresses: all that the host has. networks: what is permitted besides public addresses. of_account: an account's
    webhook, which wants https unless the network is permitted.
    """
    if not addresses:
        return f"{wanted.host} has no address"
    for address in addresses:
        plain = (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
        if any(plain in network for network in networks):
            continue
        if not is_public(plain):
            return f"{wanted.host} has the address {plain}, which is neither public nor in webhooks.networks"
        if of_account and not wanted.secure:
            return "https is required, unless the address is in webhooks.networks"
    return ""
