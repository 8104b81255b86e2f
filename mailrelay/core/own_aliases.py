"""Aliases as their owner reads them: one with its attached recipients, and what a list of them is asked for."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from mailrelay.core.facts import AliasId
from mailrelay.core.own_recipients import OwnRecipient

AliasState = Literal["active", "inactive", "deleted"]


@dataclass(frozen=True, slots=True)
class Belongs:
    """What an alias was made below: a username or a custom domain."""

    kind: Literal["username", "domain"]
    uuid: UUID


@dataclass(frozen=True, slots=True)
class OwnAlias:
    """An alias of somebody's, which is never a forgotten one.

    belongs None: directly on a shared domain, or its domain is gone; extension: of the address that made it, case kept;
    recipients: the attached ones in their order, none: the default applies.
    """

    id: AliasId
    uuid: UUID
    account_uuid: UUID
    local_part: str
    domain: str
    extension: str | None
    belongs: Belongs | None
    state: AliasState
    pinned: bool
    description: str | None
    from_name: str | None
    attached_recipients_only: bool
    emails_forwarded: int
    emails_blocked: int
    emails_replied: int
    emails_sent: int
    last_forwarded: datetime | None
    last_blocked: datetime | None
    last_replied: datetime | None
    last_sent: datetime | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    recipients: tuple[OwnRecipient, ...]

    @property
    def active(self) -> bool:
        return self.state == "active"

    @property
    def address(self) -> str:
        return f"{self.local_part}@{self.domain}"


class Deleted(StrEnum):
    """Which aliases a list is about."""

    WITHOUT = "without"
    WITH = "with"
    ONLY = "only"


class AliasSort(StrEnum):
    """What a list is sorted by, below pinned ones, which come first."""

    LOCAL_PART = "local_part"
    DOMAIN = "domain"
    EMAIL = "email"
    EMAILS_FORWARDED = "emails_forwarded"
    EMAILS_BLOCKED = "emails_blocked"
    EMAILS_REPLIED = "emails_replied"
    EMAILS_SENT = "emails_sent"
    LAST_FORWARDED = "last_forwarded"
    LAST_BLOCKED = "last_blocked"
    LAST_REPLIED = "last_replied"
    LAST_SENT = "last_sent"
    LAST_USED = "last_used"  # the latest of forwarded, replied and sent
    ACTIVE = "active"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    DELETED_AT = "deleted_at"


@dataclass(frozen=True, slots=True)
class AliasQuery:
    """Which aliases of an account, and in which order. None: whatever it is.

    search: part of the address or description, in any case. recipient: attached to it, or if none is, default of its
    username or domain. In either direction null is the lowest value; equal ones come newest first.
    """

    deleted: Deleted = Deleted.WITHOUT
    active: bool | None = None
    pinned: bool | None = None
    search: str | None = None
    recipient: UUID | None = None
    domain: UUID | None = None
    username: UUID | None = None
    sort: AliasSort = AliasSort.CREATED_AT
    descending: bool = True


@dataclass(frozen=True, slots=True)
class AliasPage:
    """total: of the whole list."""

    aliases: tuple[OwnAlias, ...]
    total: int
