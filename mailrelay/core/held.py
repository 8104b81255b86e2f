"""Mail that is kept instead of sent, until its owner or seven days decide (spec sections 3.14 and 7.6)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NewType
from uuid import UUID

from mailrelay.core.facts import AccountId, Reason
from mailrelay.core.header import Message
from mailrelay.core.ledger import Envelope
from mailrelay.core.verp import EmailType

HeldId = NewType("HeldId", int)

HeldKind = Literal["quarantined", "held", "unauthorised"]
HeldState = Literal["held", "released", "discarded"]

DENIED = "5.7.1"  # RFC 3463: not authorised
KEPT_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Hold:
    """A recipient whose mail is to be kept; its envelope names the account.

    reason, code: for the ledger and, in words, for the owner; status: RFC 3463; host: ours.
    author: address of spec 3.1 step 7, '' for none; sender_org: its organisational domain, '' for none.
    content: as `storable` makes it; None: only the record is wanted.
    evidence: value of the ingress header, b'' for none.
    """

    envelope: Envelope
    kind: HeldKind
    reason: Reason
    code: str
    host: str
    author: str
    sender_org: str
    content: bytes | None
    evidence: bytes = b""
    type: EmailType = EmailType.FORWARD
    bounce_type: Literal["spam", "rule"] | None = None
    status: str = DENIED


@dataclass(frozen=True, slots=True)
class Held:
    """What became of a Hold. id None: the message had gone out before, its record is gone, or there is no room.

    stored: the message lies there. False: nobody wanted it, or it was ended since. no_room: the account's room is full,
    and nothing was written. uuid: of the record, for links.
    """

    id: HeldId | None
    stored: bool
    no_room: bool = False
    uuid: UUID | None = None


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A kept message for its release. uuid: of the record; content: what `storable` left of it."""

    id: HeldId
    uuid: UUID
    envelope: Envelope
    kind: HeldKind
    type: EmailType
    reason: str
    content: bytes
    evidence: bytes
    held_at: datetime


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """An entry of the list. author, rcpt: '' if the key that they were encrypted with is gone."""

    id: HeldId
    uuid: UUID
    account_id: AccountId
    account: str
    alias: str | None
    author: str
    rcpt: str
    kind: HeldKind | None
    state: HeldState
    reason: str | None
    code: str | None
    queue_id: str | None
    message_id: str | None
    size_octets: int | None
    stored: bool
    created_at: datetime
    expires_at: datetime


def storable(message: Message, header_prefix: str) -> bytes:
    """The message without an mbox line and without the header that P2 and P3 exchange; the rest stays as it came."""
    ingress = f"{header_prefix}ingress".lower().encode("ascii")
    mbox_lines = 1 if message.fields and not message.fields[0].name else 0
    kept = [field.raw for field in message.fields[mbox_lines:] if field.name != ingress]
    if len(kept) == len(message.fields):
        return message.content
    return b"".join((*kept, memoryview(message.content)[message.header_end :]))


def place(column: str, record: UUID) -> bytes:
    """What a sealed value is bound to: table and column, and the UUID of the failed delivery that it belongs to."""
    return f"{column}\0".encode("ascii") + record.bytes
