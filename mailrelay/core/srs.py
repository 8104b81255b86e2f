"""SRS: envelope senders that lead bounces back through us without a database row (spec sections 10.3 and 10.4).

There is no RFC; source is the SRS proposal as libsrs2 and PostSRSd implement it:

    SRS0<sep><hash>=<stamp>=<host>=<user>@<our SRS domain>      an ordinary sender
    SRS1<sep><hash>=<host1>=<rest>@<our SRS domain>             a sender that was SRS already
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from mailrelay.core.address import MAX_ADDRESS_OCTETS, MAX_LOCAL_OCTETS, Address, domain_name, parse_address
from mailrelay.core.errors import Malformed
from mailrelay.core.realm import Realm

_STAMP_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_STAMP_DAYS = 1024
_SHAPE = re.compile(r"srs[01][=+-]", re.ASCII | re.IGNORECASE)
_SRS0 = re.compile(r"srs0[=+-](?P<hash>[^=]+)=(?P<stamp>[a-z2-7]{2})=(?P<host>[^=]+)=(?P<user>.+)", re.ASCII | re.I)
# <rest> begins with the separator of the host that wrote the SRS0 address.
_SRS1 = re.compile(r"srs1[=+-](?P<hash>[^=]+)=(?P<host>[^=]+)=(?P<rest>[=+-].+)", re.ASCII | re.I)
# Hashes of other programs use the classic base64 alphabet; hosts on the way fold case.
_HASH_FOLD = str.maketrans("+/", "-_")


class TooLong(Enum):
    """No SRS address: its local part would exceed 64 octets, or the sender needs quotes. Use VERP instead."""

    TOO_LONG = "too long"


class Invalid(Enum):
    """Why an SRS address does not lead back."""

    FORGED = "forged"  # or damaged, or made with a forgotten secret
    EXPIRED = "expired"  # genuine, but too old


@dataclass(frozen=True, slots=True)
class Scheme:
    """How we write and read SRS addresses."""

    domain: str  # our SRS domain, lower case
    secrets: Sequence[bytes]  # the first signs, all verify; never empty
    hash_length: int = 8  # characters written, at most 27
    min_hash_length: int = 8  # characters accepted; 4 for addresses that PostSRSd issued
    max_age_days: int = 21
    separator: Literal["=", "+", "-"] = "="  # after the tag, when writing


def looks_srs(local: str) -> bool:
    """True if a local part begins like an SRS address, whoever issued it."""
    return _SHAPE.match(local) is not None


def forward(sender: Address, scheme: Scheme, today: int) -> Address | TooLong:
    """The envelope sender of a copy that comes from `sender`; `sender` itself if it is at our SRS domain already.

    A foreign SRS0 address becomes SRS1; in a foreign SRS1 address only hash and domain change, so that
    a bounce skips the hosts in between. What has the tag but not the form counts as ordinary.
    today: days since 1970-01-01, UTC.
    """
    if sender.domain == scheme.domain:
        return sender
    if nested := _SRS1.fullmatch(sender.local):
        local = _srs1(nested["host"], nested["rest"], scheme)
    elif _SRS0.fullmatch(sender.local):
        local = _srs1(sender.domain, sender.local[4:], scheme)
    else:
        stamp = _STAMP_ALPHABET[today % _STAMP_DAYS >> 5] + _STAMP_ALPHABET[today % 32]
        code = _hash(scheme.secrets[0], stamp, sender.domain, sender.local)[: scheme.hash_length]
        local = f"SRS0{scheme.separator}{code}={stamp}={sender.domain}={sender.local}"
    if len(local.encode("utf-8", "surrogateescape")) > MAX_LOCAL_OCTETS or sender.local.startswith('"'):
        return TooLong.TOO_LONG
    return Address(local, scheme.domain)


def applies(envelope_scheme: Literal["verp", "srs"], *, store_failed_deliveries: bool) -> bool:
    """True if copies of a domain leave with SRS senders: failures that are to be kept need VERP (spec section 10.5)."""
    return envelope_scheme == "srs" and not store_failed_deliveries


def rewrite_sender(sender: str, destination: Address, realm: Realm, scheme: Scheme, today: int) -> str | TooLong:
    """The envelope sender of a copy by this scheme (spec section 10.2); '' is the null sender and stays.

    Only what leaves for another host is rewritten, and only senders whose bounces would not come here anyway.
    sender: as received. TooLong: use VERP for this copy.
    """
    if not sender or realm.locate(destination.domain) is not None:
        return sender
    try:
        address = parse_address(sender)
    except Malformed:
        return TooLong.TOO_LONG
    if realm.locate(address.domain) is not None:
        return sender
    rewritten = forward(address, scheme, today)
    return rewritten if isinstance(rewritten, TooLong) else str(rewritten)


def reverse(local: str, scheme: Scheme, today: int) -> Address | Invalid:
    """Where a bounce to `local` at our SRS domain belongs: the previous address, which may be SRS0 elsewhere.

    Case and the separator after the tag do not matter. A stamp of tomorrow is valid, as clocks differ
    between hosts.
    """
    if nested := _SRS1.fullmatch(local):
        if not _verifies(nested["hash"], (nested["host"], nested["rest"]), scheme):
            return Invalid.FORGED
        return _address(f"SRS0{nested['rest']}", nested["host"])
    own = _SRS0.fullmatch(local)
    if own is None or not _verifies(own["hash"], (own["stamp"], own["host"], own["user"]), scheme):
        return Invalid.FORGED
    age_days = stamp_age(own["stamp"], today)
    if age_days > scheme.max_age_days and age_days != _STAMP_DAYS - 1:
        return Invalid.EXPIRED
    return _address(own["user"], own["host"])


def stamp_age(stamp: str, today: int) -> int:
    """Age of an SRS timestamp, in whole days.

    stamp: two base32 characters, either case (some hosts fold it); days modulo 1024.
    today: days since 1970-01-01, UTC.
    Returns 0..1023; a stamp from tomorrow gives 1023.
    Raises Malformed for any other length or character.
    """
    digits = [_STAMP_ALPHABET.find(char) for char in stamp.upper()]
    if not stamp.isascii() or len(digits) != 2 or min(digits) < 0:
        raise Malformed("SRS timestamp is not two base32 characters")
    return (today - (digits[0] << 5 | digits[1])) % _STAMP_DAYS


def _srs1(host: str, rest: str, scheme: Scheme) -> str:
    code = _hash(scheme.secrets[0], host, rest)[: scheme.hash_length]
    return f"SRS1{scheme.separator}{code}={host}={rest}"


def _hash(secret: bytes, *parts: str) -> str:
    """All 27 characters of the hash. Only ASCII is folded, as in libsrs2."""
    covered = "".join(parts).encode("utf-8", "surrogateescape").lower()
    return urlsafe_b64encode(hmac.digest(secret, covered, hashlib.sha1)).decode("ascii").rstrip("=")


def _verifies(code: str, parts: Sequence[str], scheme: Scheme) -> bool:
    if len(code) < scheme.min_hash_length or not code.isascii():
        return False
    folded = code.translate(_HASH_FOLD).lower()
    expected = [_hash(secret, *parts)[: len(code)].lower() for secret in scheme.secrets]
    return any(hmac.compare_digest(folded, one) for one in expected)


def _address(local: str, domain: str) -> Address | Invalid:
    """The verified parts as an address. Old hashes are short, so what they cover is still looked at."""
    if len(local) + 1 + len(domain) > MAX_ADDRESS_OCTETS:
        return Invalid.FORGED
    try:
        return Address(local, domain_name(domain))
    except Malformed:
        return Invalid.FORGED
