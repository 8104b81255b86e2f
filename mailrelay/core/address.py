"""Mail addresses: parsing, folding and what the part after the first `+` means (spec sections 1.3 to 1.7)."""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

import idna

from mailrelay.core.errors import Malformed

# RFC 5322 section 3.2.3, ASCII only
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_DOT_ATOM = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*")
_UNQUOTED = re.compile(rf"[{_ATEXT}.]+")
_CREATABLE = re.compile(r"[a-z0-9!#$%&'*/=?^_`{|}~\-]+(?:\.[a-z0-9!#$%&'*/=?^_`{|}~\-]+)*")
# RFC 5321 section 4.1.3 leaves letters, digits and hyphens; underscores occur in host names of bounces' peers.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?")
_KEYS = re.compile(r"[1-9][0-9]{0,8}(?:\.[1-9][0-9]{0,8})*")
_OPAQUE = re.compile(r"r-[a-z2-7]{16}")

MAX_ADDRESS_OCTETS = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets
MAX_LOCAL_OCTETS = 64  # RFC 5321 section 4.5.3.1.1


class Fault(Enum):
    """Why an address cannot be one of ours; the value is the key of the reply."""

    SYNTAX = "SYNTAX"
    LONG = "LONG"
    QUOTED = "QUOTED"
    NONASCII = "NONASCII"


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox whose domain is folded to lower-case A-labels; the local part keeps its case."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def folded(self) -> str:
        """For comparing: lower case throughout."""
        return f"{self.local.lower()}@{self.domain}"


class BadAddress(Malformed):
    """An address that cannot be read, with the fault that decides the reply."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


@lru_cache(maxsize=4096)
def domain_name(text: str) -> str:
    """Fold a domain: UTS #46 to A-labels, lower case, one trailing dot gone.

    Raises Malformed for what is no host name, an address literal included.
    """
    folded = text.lower().removesuffix(".")
    if not folded.isascii():
        try:
            folded = idna.encode(folded, uts46=True, transitional=False).decode("ascii")
        except idna.IDNAError as error:
            raise Malformed(f"not a domain name: {error}") from error
    if not 1 <= len(folded) <= 253 or not all(_LABEL.fullmatch(label) for label in folded.split(".")):
        raise Malformed("a domain name has labels of letters, digits and hyphens")
    return folded


def folded_mailbox(text: str) -> str:
    """A sender as a client wrote it, for comparing: lower case, the domain folded if it is one. '' stays ''."""
    local, at, domain = text.lower().rpartition("@")
    try:
        return f"{local}@{domain_name(domain)}" if at else domain
    except Malformed:
        return f"{local}@{domain}"


def with_quotes(text: str) -> str:
    """An address that lost its quotes, as Postfix' policy requests have it, with those that it needs."""
    local, _, domain = text.rpartition("@")
    if not local or not local.isascii() or _UNQUOTED.fullmatch(local):
        return text
    escaped = re.sub(r"([\"\\])", r"\\\1", local)
    return f'"{escaped}"@{domain}'


def parse_address(text: str) -> Address:
    """Read an envelope address without angle brackets. Raises BadAddress, whose fault names the reply.

    A quoted local part is unquoted if a dot-atom remains (spec section 1.3). Non-ASCII local parts are kept:
    whether they are allowed depends on whose domain it is.
    """
    if len(text.encode("utf-8", "surrogateescape")) > MAX_ADDRESS_OCTETS:
        raise BadAddress(Fault.LONG, "longer than 254 octets")
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise BadAddress(Fault.SYNTAX, "an address has the form local@domain")
    try:
        folded = domain_name(domain)
    except Malformed as error:
        raise BadAddress(Fault.SYNTAX, str(error)) from error
    if not local.isascii():
        if any(char in local for char in ' "(),:;<>@[\\]') or not local.isprintable():
            raise BadAddress(Fault.SYNTAX, "the local part holds characters that need quoting")
        return Address(local, folded)
    if local.startswith('"'):
        local = _unquote(local)
    if _DOT_ATOM.fullmatch(local) is None:
        raise BadAddress(Fault.SYNTAX, "the local part is no dot-atom")
    return Address(local, folded)


def _unquote(local: str) -> str:
    """The content of a quoted string, if it needs no quotes (RFC 5321 section 4.1.2)."""
    if re.fullmatch(r'"(?:[^"\\]|\\.)*"', local, re.DOTALL) is None:
        raise BadAddress(Fault.SYNTAX, "the quoted local part does not end")
    content = re.sub(r"\\(.)", r"\1", local[1:-1], flags=re.DOTALL)
    if _DOT_ATOM.fullmatch(content) is None:
        raise BadAddress(Fault.QUOTED, "a quoted local part that needs its quotes")
    return content


def client_ip(text: str) -> IPv4Address | IPv6Address | None:
    """An SMTP client's address, None for `unknown` and the like.

    One host has one: IPv4-mapped IPv6 is IPv4, and a link-local address loses its zone, which PostgreSQL does not take.
    """
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def is_creatable(local: str) -> bool:
    """True if an alias or handle of this name may be made: a lower-case dot-atom without `+`, 1 to 64 octets."""
    return len(local) <= MAX_LOCAL_OCTETS and _CREATABLE.fullmatch(local) is not None


def is_opaque_reverse(local: str) -> bool:
    """True for `r-` and 16 base32 characters, either case (spec section 1.7)."""
    return _OPAQUE.fullmatch(local.lower()) is not None


@dataclass(frozen=True, slots=True)
class Reverse:
    """The extension names a contact: mail of the owner goes there."""

    contact: Address


@dataclass(frozen=True, slots=True)
class RecipientKeys:
    """The extension picks recipients by their number, counted from 1 (spec section 1.5)."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tag:
    """Any other extension; it selects nothing."""

    text: str


Extension = Reverse | RecipientKeys | Tag


def split_extension(local: str) -> tuple[str, str | None]:
    """The local part before the first `+`, lower-cased, and what follows (None: no `+`)."""
    base, plus, extension = local.partition("+")
    return base.lower(), extension if plus else None


def classify(extension: str) -> Extension:
    """What an extension means: reverse address, recipient keys or tag, tried in this order."""
    contact_local, equals, contact_domain = extension.rpartition("=")
    if equals and len(contact_local) <= MAX_LOCAL_OCTETS and _DOT_ATOM.fullmatch(contact_local):
        try:
            domain = domain_name(contact_domain)
        except Malformed:
            return Tag(extension)
        if "." in domain:
            return Reverse(Address(contact_local, domain))
    if _KEYS.fullmatch(extension):
        return RecipientKeys(tuple(int(number) for number in extension.split(".")))
    return Tag(extension)


@lru_cache(maxsize=8192)
def parents(domain: str) -> tuple[str, ...]:
    """The domain and every parent with at least two labels, longest first."""
    labels = domain.split(".")
    return tuple(".".join(labels[start:]) for start in range(max(1, len(labels) - 1)))
