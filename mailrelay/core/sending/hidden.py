"""The addresses that nobody outside may see: those of the owner of an alias (invariant I3)."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import idna

from mailrelay.core import leak
from mailrelay.core.address import Address, split_extension
from mailrelay.core.selfmail import FAMILIES, same_mailbox

# What stands between local part and domain: also as in addresses made of others, and as people write it. Possessive,
# hence the time is linear.
_AT = r'"?+(?:%40|=40|\+40|[=%]|\s*+[\[({]?+\s*+(?:@|at)\s*+[\])}]?+\s*+)'


@dataclass(frozen=True, slots=True)
class Hidden:
    """Mailboxes to keep to ourselves. domains: theirs, with those that their provider takes for the same."""

    addresses: tuple[Address, ...]
    domains: frozenset[str]

    @classmethod
    def of(cls, recipients: Iterable[Address], author: Address | None, alias: Address) -> "Hidden":
        """recipients: all of the account, verified or not. author: of the message, who may spell a recipient's address
        differently, or be the alias if the client signed in; None if it names nobody.
        """
        addresses = dict.fromkeys(recipients)
        if author is not None and (split_extension(author.local)[0], author.domain) != (alias.local, alias.domain):
            addresses.setdefault(author)
        domains = {address.domain for address in addresses}
        families = (family for family in FAMILIES if not family.isdisjoint(domains))
        return cls(tuple(addresses), frozenset(domains.union(*families)))

    def owns(self, address: Address) -> bool:
        """Whether mail to this address ends in one of the mailboxes, whatever its extension."""
        if address.domain not in self.domains:
            return False
        base = Address(address.local.partition("+")[0], address.domain)
        return any(same_mailbox(base, one) for one in self.addresses)

    def is_near(self, domain: str) -> bool:
        """Whether this folded domain is one of theirs or below one: such as the host that wrote a Message-ID."""
        return domain in self.domains or any(domain.endswith(f".{one}") for one in self.domains)

    def shows(self, octets: bytes) -> bool:
        """Whether one of the addresses is in there, in whatever encoding. May also find those that only end like it."""
        if leak.occurs(self.addresses, octets):
            return True
        # As in addresses that name a host to go through: `real%inbox.example@relay.example`.
        return b"%" in octets and leak.occurs(self.addresses, octets.replace(b"%", b"@"))

    def cleaned(self, text: str, instead: str) -> str | None:
        """The text with something else in place of the addresses; None if one of them is in there in an odd encoding.

        Longer addresses that end like one of them stay.
        """
        if not self.addresses:
            return text
        pattern = _pattern(self.addresses)
        if self.shows(pattern.sub("|", text).encode("utf-8", "replace")):
            return None
        spans = [found.span() for found in pattern.finditer(text)]
        begins, ends = {start for start, _ in spans}, {end for _, end in spans}
        pieces, at = [], 0
        for start, end in spans:
            if (start in ends or _begins(text, start)) and (end in begins or _ends(text, end)):
                pieces += [text[at:start], instead]
                at = end
        return "".join([*pieces, text[at:]])


@lru_cache(maxsize=256)
def _pattern(addresses: tuple[Address, ...]) -> re.Pattern[str]:
    spellings = {(address.local.strip('"'), domain) for address in addresses for domain in _spelt(address.domain)}
    longest_first = sorted(spellings, key=lambda spelling: (-len(spelling[0]) - len(spelling[1]), spelling))
    return re.compile(
        "|".join(f'"?+{re.escape(local)}{_AT}{re.escape(domain)}' for local, domain in longest_first), re.IGNORECASE
    )


def _spelt(domain: str) -> set[str]:
    """A domain in A-labels and in Unicode."""
    found = {domain}
    with suppress(idna.IDNAError, UnicodeError):
        found.add(idna.decode(domain))
    return found


def _begins(text: str, start: int) -> bool:
    """Whether what is there is not the end of a longer address."""
    before = text[start - 1 : start]
    return not (before.isalnum() or before in ("-", ".", "_"))


def _ends(text: str, end: int) -> bool:
    """Whether the domain does not go on."""
    after = text[end : end + 1]
    return not (after.isalnum() or after in ("-", "_") or (after == "." and text[end + 1 : end + 2].isalnum()))
