"""What administrators look for, and find."""

from dataclasses import dataclass
from datetime import datetime

from mailrelay.core.facts import AliasId
from mailrelay.core.records import DomainId, HandleId


@dataclass(frozen=True, slots=True)
class AliasFilter:
    """Which aliases; None: whatever. The texts are parts of what they are called for, folded."""

    active: bool | None = None
    goto: str | None = None
    domain: str | None = None
    handle: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class ListedAlias:
    """goto: the mailbox that its mail goes to, folded; None: deleted or forgotten. domain_id: of its domain, if that is
    here."""

    id: AliasId
    address: str
    goto: str | None
    active: bool
    domain_id: DomainId | None
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class HandleFilter:
    """Which handles; None: whatever."""

    active: bool | None = None
    handle: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class ListedHandle:
    """goto None: it is released."""

    id: HandleId
    handle: str
    goto: str | None
    active: bool
