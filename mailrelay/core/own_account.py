"""What the owner of an account sees of it: its settings, how much it holds, and what the service has to tell."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mailrelay.core.records import TokenId


@dataclass(frozen=True, slots=True)
class Holding:
    """How much an account has. aliases: all that are not forgotten; shared: active ones on shared domains.

    forwarded, blocked, replied, sent: mail of all these aliases, deleted ones included.
    """

    recipients: int
    usernames: int
    active_domains: int
    active_rules: int
    aliases: int
    active: int
    inactive: int
    deleted: int
    pinned: int
    shared: int
    forwarded: int
    blocked: int
    replied: int
    sent: int
    bandwidth_octets: int  # of this month, UTC


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """An account. username: its default one's name, or the account's if it has none.

    bandwidth_limit_octets: of a month, 0: none. default_alias_domain, default_alias_format: chosen or the
    installation's.
    """

    uuid: UUID
    username: str
    default_username: UUID | None
    default_recipient: UUID | None
    from_name: str | None
    email_subject: str | None
    banner_location: str
    spam_warning_behaviour: str
    alias_separator: str
    default_alias_domain: str
    default_alias_format: str
    bandwidth_limit_octets: int
    suspended: bool
    created_at: datetime
    updated_at: datetime
    holding: Holding


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something that the service has to tell the owner of an account, or everybody. text: may hold HTML."""

    uuid: UUID
    category: str
    title: str
    text: str
    link: str | None
    link_text: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OwnToken:
    """A bearer token in force, without its secret."""

    id: TokenId
    uuid: UUID
    name: str
    last_used_at: datetime | None
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
