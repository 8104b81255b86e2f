"""Bans as they are kept and changed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mailrelay.core.bans import BanId, BanScope, BanType
from mailrelay.core.records import KEEP, Keep


@dataclass(frozen=True, slots=True)
class BanRecord:
    """A ban. active: neither revoked nor expired."""

    id: BanId
    uuid: UUID
    type: BanType
    value: str
    scope: BanScope
    reason: str | None
    active: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_reason: str | None
    hits: int
    last_hit_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class BanMade(BanRecord):
    """A new ban, and how many active aliases and handles were deactivated with it."""

    disabled_aliases: int = 0
    disabled_handles: int = 0


@dataclass(frozen=True, slots=True)
class BanChange:
    """What is to become of a ban. value: as somebody wrote it; revoked: when it is, it counts from now."""

    type: BanType | Keep = KEEP
    value: str | Keep = KEEP
    reason: str | Keep | None = KEEP
    expires_at: datetime | Keep | None = KEEP
    revoked: bool | Keep = KEEP
    revoked_reason: str | Keep | None = KEEP


@dataclass(frozen=True, slots=True)
class BanState:
    """All of a ban that can change."""

    type: BanType
    value: str
    reason: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_reason: str | None


@dataclass(frozen=True, slots=True)
class NewBan:
    """value: folded as its type demands."""

    type: BanType
    value: str
    scope: BanScope
    reason: str | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class BanFilter:
    """What a list is to hold, None: anything. value: contained in theirs, lower case; '' for anything."""

    active: bool | None = None
    type: BanType | None = None
    value: str = ""
