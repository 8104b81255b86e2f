"""Signing in with a password, and a code where there is a second factor: what is known and what comes of it."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Literal
from uuid import UUID

from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import TokenRecord
from mailrelay.core.requests import Window

TICKET_LIVES = timedelta(minutes=5)
PLACE = b"sign-in ticket"  # what a sealed ticket is bound to

Unit = Literal["day", "week", "month", "year"]
UNITS: tuple[Unit, ...] = ("day", "week", "month", "year")

_ID_OCTETS, _STAMP_OCTETS, _MARK_OCTETS = 8, 8, 16
_TICKET_OCTETS = _ID_OCTETS + _STAMP_OCTETS + _MARK_OCTETS


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who signs in. ip: '' if unknown; network: the client's /24 or /64, '' likewise; user_agent: as it says itself."""

    ip: str
    network: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Person:
    """An account as somebody asks to be let in.

    password_hash None: it has no password of ours that would let anybody in. verified: its default recipient is.
    familiar: a token was made from the visitor's network before.
    """

    account: AccountId
    uuid: UUID
    password_hash: str | None
    verified: bool
    totp_secret: bytes | None  # sealed
    totp_last_step: int | None
    has_security_key: bool
    familiar: bool


@dataclass(frozen=True, slots=True)
class Device:
    """What a token is made for. unit None: for ever."""

    name: str
    unit: Unit | None


class Refused(Enum):
    """Why somebody is not let in."""

    CREDENTIALS = "credentials"
    UNVERIFIED = "unverified"
    SECURITY_KEY = "security key"
    TICKET = "ticket"
    TICKET_EXPIRED = "ticket expired"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """The password was right; a code has to come with this ticket."""

    ticket: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """token: bare, told this once."""

    token: str
    record: TokenRecord


@dataclass(frozen=True, slots=True)
class TooMany:
    """Strangers have tried this account so often that only networks which it knows are listened to for a while."""

    window: Window


Outcome = SignedIn | SecondFactor | TooMany | Refused


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody who showed all that was asked for.

    password_hash: the one that was right, which must still be the account's. ticket: 16 octets that name it, and step:
    of its code; both are good once. None: no code was asked for.
    """

    account: AccountId
    password_hash: str
    ticket: bytes | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """Stands for a right password for five minutes. password: a mark of the hash that was right: a new one ends it."""

    account: AccountId
    expires_at: datetime
    password: bytes

    def octets(self) -> bytes:
        """What is sealed."""
        number = self.account.to_bytes(_ID_OCTETS, "big")
        return number + int(self.expires_at.timestamp()).to_bytes(_STAMP_OCTETS, "big") + self.password


def read_ticket(octets: bytes) -> Ticket:
    """The ticket again. Raises Malformed."""
    if len(octets) != _TICKET_OCTETS:
        raise Malformed("that is no ticket")
    number = AccountId(int.from_bytes(octets[:_ID_OCTETS], "big"))
    stamp = int.from_bytes(octets[_ID_OCTETS : _ID_OCTETS + _STAMP_OCTETS], "big")
    return Ticket(number, datetime.fromtimestamp(stamp, UTC), octets[_ID_OCTETS + _STAMP_OCTETS :])


def password_mark(password_hash: str) -> bytes:
    """Sixteen octets that differ from those of any other hash."""
    return hashlib.sha256(b"sign-in ticket\0" + password_hash.encode()).digest()[:_MARK_OCTETS]


def expiry(now: datetime, unit: Unit | None) -> datetime | None:
    """One unit of the calendar later. What a month does not have flows into the next: 31 January gives 2 or 3 March."""
    match unit:
        case None:
            return None
        case "day":
            return now + timedelta(days=1)
        case "week":
            return now + timedelta(weeks=1)
        case "month":
            year, month = divmod(now.year * 12 + now.month, 12)
            return now.replace(year=year, month=month + 1, day=1) + timedelta(days=now.day - 1)
        case "year":
            return now.replace(year=now.year + 1, day=1) + timedelta(days=now.day - 1)
