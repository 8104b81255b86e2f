"""Sessions of the dashboard: what is kept of one, and what a refresh token is worth (haltman-api.md section 2.7)."""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from mailrelay.core.facts import AccountId
from mailrelay.core.people import Session, User
from mailrelay.core.signin import Visitor

REFRESH_OCTETS = 32
# Two tabs renew at once with the same token: the one that comes second is no thief.
GRACE = timedelta(seconds=5)

_REFRESH = re.compile(r"[A-Za-z0-9_-]{43}")


class Standing(Enum):
    """What a refresh token is worth."""

    GOOD = "good"
    JUST_RENEWED = "just renewed"  # by the same client, a moment ago
    REUSED = "reused"  # somebody has renewed it before: one of the two has stolen it
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Renewal:
    """By whom a token was renewed, and when. in_force: what it was renewed to has not ended or been renewed again."""

    at: datetime
    ip: str
    user_agent: str
    in_force: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A session as it is kept. may_act: its user is active. renewal: of one whose status is `rotated`."""

    account: AccountId
    family: UUID
    status: str
    expires_at: datetime
    may_act: bool
    renewal: Renewal | None

    def standing(self, visitor: Visitor, now: datetime) -> Standing:
        """What its refresh token is worth to somebody."""
        if self.status == "rotated":
            return Standing.JUST_RENEWED if self._is_parallel(visitor, now) else Standing.REUSED
        good = self.status == "active" and self.expires_at > now and self.may_act
        return Standing.GOOD if good else Standing.OVER

    def _is_parallel(self, visitor: Visitor, now: datetime) -> bool:
        by = self.renewal
        if by is None or not by.in_force or not self.may_act or self.expires_at <= now:
            return False
        same = (by.ip, by.user_agent) == (visitor.ip, visitor.user_agent) and by.ip != ""
        return same and now - by.at <= GRACE


@dataclass(frozen=True, slots=True)
class NewSession:
    """A refresh token that is given to somebody. hash: SHA-256; expires_at: of its family."""

    family: UUID
    hash: bytes
    expires_at: datetime
    visitor: Visitor


@dataclass(frozen=True, slots=True)
class Renewed:
    """Whose session goes on. is_new: the new token is in force; else that of a request at the same time is."""

    user: User
    family: UUID
    expires_at: datetime
    is_new: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody who showed all that was asked for.

    password_hash: the one that was right, which must still be the account's; better: to replace it, None if it is as
    new ones are. step: of the code of a second factor, good once; None: none was asked for.
    """

    account: AccountId
    password_hash: str = field(repr=False)
    better: str | None = field(repr=False)
    step: int | None


@dataclass(frozen=True, slots=True)
class Granted:
    """What somebody gets who signed in or renewed. refresh '': the one that another request has got is the one."""

    session: Session
    access: str = field(repr=False)
    refresh: str = field(repr=False)


def refresh_token(octets: bytes) -> str:
    """What somebody gets for REFRESH_OCTETS random octets."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def refresh_hash(token: str) -> bytes | None:
    """As rows have it; None for what is no refresh token."""
    return hashlib.sha256(token.encode("ascii")).digest() if _REFRESH.fullmatch(token) else None
