"""API keys as their owners and administrators see them (haltman-api.md section 1.7)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId
from mailrelay.core.records import TokenId

Status = Literal["active", "revoked", "expired"]

MAX_DAYS = 9999
MAX_RENEWAL_DAYS = 999
DEFAULT_DAYS = 30
# Renewed again and again, a key would otherwise outlive the calendar of those who read its expiry.
LATEST_EXPIRY = datetime(9999, 12, 31, tzinfo=UTC)
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key without its secret. account: whom it acts for, at owner_email; expires_at None: never."""

    id: TokenId
    account: AccountId
    owner_email: str
    status: Status
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_reason: str | None
    created_ip: str | None
    user_agent: str | None
    last_used_at: datetime | None
    automatic_renew: bool

    @property
    def active(self) -> bool:
        """Whether it opens anything."""
        return self.status == "active"


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys a list shows; None: whatever it is. owner_email: somewhere in it, in any case."""

    active: bool | None = None
    owner_email: str | None = None
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What an administrator changes; None: stays.

    status: what it is to be. stamped: revoking counts from now even if it is revoked already. reason: '' for none.
    """

    owner: Address | None = None
    status: Status | None = None
    stamped: bool = False
    expires_at: datetime | None = None
    reason: str | None = None


def shown_ip(ip: str | None) -> str | None:
    """An address as this API writes it: IPv4 within IPv6."""
    return ip if ip is None or ":" in ip else f"::ffff:{ip}"


def within_calendar(at: datetime) -> datetime:
    """An expiry that can be shown in every time zone."""
    return min(max(at, _EARLIEST), LATEST_EXPIRY)
