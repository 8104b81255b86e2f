"""Whose addresses and ids a reply or send names: what composing it asks of the database (spec 4.6 and 4.7)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mailrelay.core.context import Contact
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.sending.ids import Known


@dataclass(frozen=True, slots=True)
class NamedInquiry:
    """What a message names. Some hundreds at the most: its readers cut what is beyond.

    addresses: folded, of To and Cc, opaque reverse addresses among them. ids: of In-Reply-To and References, as
    written, with angle brackets.
    """

    account_id: AccountId
    alias_id: AliasId
    addresses: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NamedFacts:
    """aliases: those of the addresses that are aliases of the account, or extensions of such.

    contacts: by folded opaque reverse address, of this account only.
    """

    aliases: frozenset[str] = frozenset()
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    known: Known = field(default_factory=Known)
