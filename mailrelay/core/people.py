"""Who uses the Haltman API: people with a dashboard session, and holders of API keys (haltman-api.md section 1)."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId
from mailrelay.core.records import TokenId


@dataclass(frozen=True, slots=True)
class User:
    """An account with a name, as the dashboard shows it. email: '' if it has none."""

    id: AccountId
    username: str
    email: str
    email_verified_at: datetime | None
    is_active: bool
    is_admin: bool
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """A live sign-in. family: what all its refresh tokens share; refresh_expires_at: its absolute end."""

    user: User
    family: UUID
    access_expires_at: datetime
    refresh_expires_at: datetime


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whoever has a usable API key: it acts for its mailbox, and for an account that has no other owner.

    account: None if the mailbox is not that account's default any more.
    """

    account: AccountId | None
    token: TokenId
    email: Address


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A request that was made with an API key (section 1.7). alias: that it was about, '' for none."""

    holder: KeyHolder
    route: str
    operation: str
    status: int
    request_id: str
    alias: str
    ip: str
    user_agent: str

    @property
    def outcome(self) -> str:
        """In the words of the log."""
        if self.status < 300:
            return "success"
        if self.status == 409:
            return "conflict"
        return "client_error" if self.status < 500 else "server_error"
