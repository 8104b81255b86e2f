"""What Postfix' log tells of mail that was refused before it reached us, and of copies that have left (spec 7.7)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Rejected:
    """A recipient that Postfix, or another milter, refused for good or threw away.

    queue_id: '' at RCPT time. client_name: `unknown` without a host name, '' where postscreen names none.
    sender: '' is the null sender. status: the reply code, the enhanced code if there is none, or ''.
    text: what follows both codes.
    """

    at: datetime
    daemon: str  # smtpd, cleanup, postscreen …
    queue_id: str
    client_name: str
    client_address: str
    sender: str
    rcpt: str
    status: str
    enhanced: str
    text: str
    kind: Literal["reject", "milter-reject", "discard"]


@dataclass(frozen=True, slots=True)
class QueueActive:
    """The queue manager takes up a message, for the first time or again: here its sender is told."""

    queue_id: str
    sender: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a try to deliver. original_rcpt: before Postfix rewrote it, '' if it did not.

    relay: `name[ip]:port`, `none` if nobody was reached. dsn: RFC 3463. expired: rcpt and all the rest is empty.
    """

    at: datetime
    queue_id: str
    rcpt: str
    original_rcpt: str
    relay: str
    dsn: str
    status: Literal["sent", "bounced", "deferred", "expired"]
    text: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The message has left the queue; its id may come back for another one."""

    queue_id: str


LogEvent = Rejected | QueueActive | Delivery | Removed


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was read. Files: inode, octets, and what `mark` says of the file; journal: its cursor as mark."""

    inode: int | None = None
    octets: int = 0
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines without their ends, and the position behind them. more: there is more to read at once."""

    lines: tuple[bytes, ...]
    position: Position
    more: bool = False
