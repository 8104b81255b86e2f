"""What holders of API keys, and those who confirm by mail, do with handles and aliases (haltman-api.md 3.8 to 3.12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from mailrelay.core.facts import AliasId
from mailrelay.core.records import HandleId


class Refused(Enum):
    """Why nothing was changed."""

    TAKEN = auto()  # a handle or alias has the name, or once had it
    DOMAIN = auto()  # no aliases can be made there
    ABSENT = auto()  # it is not there, or not active
    INACTIVE = auto()  # theirs, but not active
    FOREIGN = auto()  # its mail goes to somebody else
    CHANGED = auto()  # it was something else a moment ago
    MOVED = auto()  # its mail goes to another mailbox than the one that got the code
    ALIAS = auto()  # the destination is an alias itself
    USED = auto()  # somebody else has used the code by now
    OTHER = auto()  # the code is for something else
    INCOMPLETE = auto()  # what the code is for is not said


@dataclass(frozen=True, slots=True)
class KeyAlias:
    """An alias as its owner sees it. domain: id of its domain, None if that is not ours any more."""

    id: AliasId
    address: str
    goto: str
    is_active: bool
    domain: int | None
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class KeyHandle:
    """A handle as its owner sees it. off: domains on which it takes no mail."""

    id: HandleId
    name: str
    goto: str
    is_active: bool
    off: Sequence[str]
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class DomainCount:
    """How many aliases of an owner are on a domain."""

    domain: str
    total: int
    active: int


@dataclass(frozen=True, slots=True)
class AliasCounts:
    """The aliases of an owner, counted. by_domain: the fullest first."""

    totals: int
    active: int
    created_last_7d: int
    modified_last_24h: int
    by_domain: Sequence[DomainCount]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an owner did. intent None: with an API key; about: an address, a handle, or `handle@domain`."""

    type: str
    occurred_at: datetime
    route: str
    intent: str | None
    about: str
