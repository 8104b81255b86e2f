"""What administrators change about aliases and handles, and why it may not be (haltman-api.md 3.18, 3.21)."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from mailrelay.core.address import Address
from mailrelay.core.facts import AliasId
from mailrelay.core.records import HandleId


class Refusal(Enum):
    """Why nothing was changed."""

    ABSENT = auto()  # there is no such row
    TAKEN = auto()  # an alias or handle has the name, or once had it
    DOMAIN = auto()  # no aliases can be made there
    DESTINATION_IS_ALIAS = auto()  # or once was
    NO_DESTINATION = auto()  # its owner is forgotten, so that there must be another
    NOWHERE = auto()  # its mail goes to no mailbox
    BOUND = auto()  # it belongs to somebody's domain, username or handle, and the mailbox is none of theirs
    CHANGED = auto()  # others change it all the time


@dataclass(frozen=True, slots=True)
class AliasWish:
    address: Address
    goto: Address
    active: bool


@dataclass(frozen=True, slots=True)
class AliasPatch:
    """None: as it is."""

    address: Address | None = None
    goto: Address | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class AliasSeen:
    """An alias as a decision found it. goto: None while deleted, and where its mail goes to no mailbox."""

    id: AliasId
    address: Address
    state: Literal["active", "inactive", "deleted", "forgotten"]
    goto: Address | None

    @property
    def is_gone(self) -> bool:
        return self.state in ("deleted", "forgotten")


@dataclass(frozen=True, slots=True)
class HandleWish:
    handle: str
    goto: Address
    active: bool


@dataclass(frozen=True, slots=True)
class HandlePatch:
    """None: as it is."""

    handle: str | None = None
    goto: Address | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class HandleSeen:
    """A handle as a decision found it.

    state: active, inactive or released. goto: None when released, and where its mail goes to no mailbox.
    """

    id: HandleId
    handle: str
    state: str
    goto: Address | None
