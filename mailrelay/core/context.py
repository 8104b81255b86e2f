"""Whose addresses and ids a message names: what composing a rewritten copy asks of the database (3.5, 3.6, 1.7)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId, AliasId

ContactId = NewType("ContactId", int)


@dataclass(frozen=True, slots=True)
class ContextInquiry:
    """What a copy names. Some hundreds at the most: the caller cuts what is beyond the limits of the rewriting.

    addresses: folded, of To, Cc and Reply-To. ids: of In-Reply-To and References, as written, with angle brackets.
    contacts: addresses that need or may have an opaque reverse address; local part as written, domain folded.
    """

    account_id: AccountId
    alias_id: AliasId
    addresses: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """There is nothing to ask."""
        return not (self.addresses or self.ids or self.contacts)


@dataclass(frozen=True, slots=True)
class Context:
    """own: those of the addresses that are the account's verified recipients; siblings: that are aliases of it.

    ids: our Message-ID to the owner's, for those that are ours. opaque: contact to its reverse address, for those that
    have one already.
    """

    own: frozenset[str] = frozenset()
    siblings: frozenset[str] = frozenset()
    ids: Mapping[str, str] = field(default_factory=dict)
    opaque: Mapping[str, Address] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A correspondent that needs an opaque reverse address (spec section 1.7).

    address: local part as written, domain folded; display_name: as the correspondent gave it, '' for none;
    domain: the alias'; letters: 16 random base32 characters for `r-…`, used if there is no reverse address yet.
    """

    account_id: AccountId
    alias_id: AliasId
    address: str
    display_name: str
    domain: str
    letters: str


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom an opaque reverse address means. alias: folded, whole."""

    id: ContactId
    account_id: AccountId
    alias_id: AliasId
    alias: Address
    address: str
    display_name: str


def letters(random: bytes) -> str:
    """16 characters a-z2-7 out of 10 random octets."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    if len(random) != 10:
        raise ValueError("a reverse address has 80 random bits")
    number = int.from_bytes(random, "big")
    return "".join(alphabet[number >> shift & 31] for shift in range(75, -5, -5))
