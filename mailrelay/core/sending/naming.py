"""Names that programs make up from the host they run on: whether one leads to the owner, and another in its place."""

import hashlib
import hmac
import re
from functools import lru_cache

from mailrelay.core.address import Address
from mailrelay.core.sending.hidden import Hidden

_DIGITS = 32
_ID = re.compile(rb"<([^<>\s]{1,900}+)>")
# Fields that consist of such names.
IDS = frozenset({b"content-id", b"message-id", b"in-reply-to", b"references", b"resent-message-id"})


class Naming:
    """What stands for such names in the mail of one alias.

    alias: without extension, lower case. key: of the HMAC, so that equal names stay equal and nobody can guess one.
    """

    def __init__(self, alias: Address, hidden: Hidden, key: bytes) -> None:
        self._alias, self._hidden, self._key = alias, hidden, key
        self._domains = _pattern(hidden.domains - {alias.domain})

    def tells_domain(self, octets: bytes) -> bool:
        """Whether a domain of the owner's is named, or a host below one, unless it is the alias' own."""
        return self._domains is not None and self._domains.search(octets) is not None

    def token(self, name: bytes) -> str:
        """32 hex digits for a name."""
        covered = b"part-v1\0%b\0%b" % (str(self._alias).encode("utf-8", "surrogateescape"), name)
        return hmac.digest(self._key, covered, hashlib.sha256).hex()[:_DIGITS]

    def renamed(self, identifier: bytes) -> Address | None:
        """What a Content-ID or Message-ID becomes, at the alias' domain; None if it may stay.

        identifier: without angle brackets.
        """
        if not self.tells_domain(identifier):
            return None
        return Address(self.token(identifier), self._alias.domain)

    def boundary(self, old: bytes) -> bytes:
        """What a boundary becomes, the same if it may stay. These are made of anything, joined by anything."""
        lowered = old.lower()
        hidden = self._hidden.domains - {self._alias.domain}
        if any(one.encode("ascii", "replace") in lowered for one in hidden) or self._hidden.shows(old):
            return self.token(old).encode("ascii")
        return old

    def field(self, raw: bytes) -> bytes:
        """A field of IDS with new names where they tell too much."""
        return _ID.sub(self._in_field, raw)

    def _in_field(self, found: re.Match[bytes]) -> bytes:
        new = self.renamed(found[1])
        return found[0] if new is None else b"<%b>" % str(new).encode("utf-8", "surrogateescape")


@lru_cache(maxsize=256)
def _pattern(domains: frozenset[str]) -> re.Pattern[bytes] | None:
    if not domains:
        return None
    named = b"|".join(re.escape(one.encode("ascii", "replace")) for one in sorted(domains, key=len, reverse=True))
    return re.compile(
        rb"(?:(?<![A-Za-z0-9-])|(?<=[=%%+]40)|(?<=%%2540))(?:%b)(?![A-Za-z0-9-]|\.[A-Za-z0-9])" % named, re.IGNORECASE
    )
