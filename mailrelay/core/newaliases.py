"""A new alias as its owner asks for it: what is known of the wish, and what can become of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from mailrelay.core.address import MAX_ADDRESS_OCTETS, Address, is_creatable
from mailrelay.core.coining import AliasFormat
from mailrelay.core.facts import AccountId
from mailrelay.core.naming import is_technical
from mailrelay.core.own_aliases import Belongs
from mailrelay.core.records import UsernameId
from mailrelay.core.screen import OPERATOR_NAMES

MAX_EXTENSION_OCTETS = 254
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class AliasRequest:
    """What facts are wanted for. domain, local: folded, '' for what cannot be one; recipients: none, the default."""

    account: AccountId
    domain: str
    recipients: tuple[UUID, ...]
    local: str = ""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the alias would be. belongs None: directly on a shared domain; username: the number of that."""

    domain: str
    belongs: Belongs | None
    username: UsernameId | None

    @property
    def shared(self) -> bool:
        return self.belongs is None


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is known of a wish.

    ground None: its owner may have no alias at that domain. recipients: those asked for that are verified ones of
    theirs. is_taken: somebody has or had the address, or has its local part everywhere; is_banned: nobody may have it.
    allowed: new aliases within an hour, None for the installation's default, 0 for no limit; made: in the last one.
    """

    account_uuid: UUID
    format: AliasFormat
    separator: str
    ground: Ground | None
    recipients: frozenset[UUID]
    is_taken: bool
    is_banned: bool
    allowed: int | None
    made: int


@dataclass(frozen=True, slots=True)
class NewOwnAlias:
    """To be stored. local: folded, without the extension."""

    account: AccountId
    account_uuid: UUID
    uuid: UUID
    local: str
    ground: Ground
    recipients: tuple[UUID, ...]
    description: str | None
    extension: str | None
    allowed: int


class Refusal(Enum):
    """Why there is no new alias."""

    TAKEN = "the address is somebody's, or nobody may have it"
    LIMIT = "too many within an hour"
    DOMAIN = "the domain was theirs a moment ago"
    RECIPIENT = "a recipient was theirs a moment ago"


def is_storable_name(local: str, extension: str | None, domain: str) -> bool:
    """Whether this folded local part can be one at that domain, and the extension be kept with it."""
    if not is_creatable(local) or len(str(Address(local, domain))) > MAX_ADDRESS_OCTETS:
        return False
    if extension is None:
        return True
    return len(extension.encode("utf-8", "replace")) <= MAX_EXTENSION_OCTETS and _UNPRINTABLE.search(extension) is None


def is_reserved(local: str, shared: bool) -> bool:
    """Whether the installation needs this name itself. shared: at one of its own domains."""
    return is_technical(local) or (shared and local in OPERATOR_NAMES)


def format_of(stored: str | None) -> AliasFormat:
    """An account's choice for aliases that say none."""
    known: Mapping[str, AliasFormat] = {one.value: one for one in AliasFormat if one is not AliasFormat.CUSTOM}
    return known.get(stored or "", AliasFormat.RANDOM_CHARACTERS)
