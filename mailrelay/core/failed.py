"""Failed deliveries: why something did not arrive, as its owner and both APIs read it (spec section 7.6)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NewType
from uuid import UUID

from mailrelay.core.errors import Absent, Conflict, Unavailable
from mailrelay.core.facts import AccountId, AliasId, Reason
from mailrelay.core.ledger import IngressKey, OutboundId

FailedId = NewType("FailedId", int)

# Record and stored message are removed then.
KEPT_FOR = timedelta(days=7)

INBOUND_REJECTION = "IR"
MAX_RECIPIENTS = 10  # of a resend

# What addy calls its codes (addy-api.md section 2.11).
_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "F": "Forward",
        "R": "Reply",
        "S": "Send",
        "RP": "Reset Password",
        "FDN": "Failed Delivery Notification",
        "DMI": "Domain MX Invalid",
        "DRU": "Default Recipient Updated",
        "NRV": "New Recipient Verified",
        "FLA": "Failed Login Attempt",
        "TES": "Token Expiring Soon",
        "IR": "Inbound Rejection",
        "UR": "Username Reminder",
        "VR": "Verify Recipient",
        "VU": "Verify User",
        "DRSA": "Disallowed Reply/Send Attempt",
        "DUS": "Domain Unverified For Sending",
        "GKE": "PGP Key Expired",
        "STB": "Message Not Encrypted",
        "NBL": "Near Bandwidth Limit",
        "RSL": "Reached Reply/Send Limit",
        "SRSA": "Spam Reply/Send Attempt",
        "AIF": "Aliases Import Finished",
        "ADLN": "Alias Deleted by One-Click Unsubscribe",
        "ADUN": "Alias Deactivated by One-Click Unsubscribe",
    }
)


class NotStored(Absent):
    """Of a failed delivery there is the record only."""


class AlreadyResent(Conflict):
    """A message is resent once."""


class NotForward(Conflict):
    """What the alias' recipients never were to have, or whose alias is gone, cannot be resent."""


class BadRecipients(Conflict):
    """Somebody to resend to is no verified recipient of the account, or there are too many."""


class NotSent(Unavailable):
    """A message could not be sent again: not now, or never; the text says why."""


class FailedType(StrEnum):
    """What a record is derived to be; lists can be had of one of them."""

    INBOUND = "inbound"
    QUARANTINED = "inbound_quarantined"
    OUTBOUND = "outbound"


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """One failed delivery, all fields of spec 7.6.

    id: of commands; uuid: of the APIs. account: its name or implicit mailbox. alias, recipient: addresses; None if
    there is none, or it is gone or forgotten. sender: `<>` for the null sender; sender, destination, subject: '' if
    unknown, or if the key that they were encrypted with is gone. partial: of the message only a part is stored.
    queue_id: of the message as it came in. held: it was never sent and waits for its owner's decision. alias_deleted:
    the alias is a tombstone, which could come back.
    """

    id: FailedId
    uuid: UUID
    account_id: AccountId
    account_uuid: UUID
    account: str
    alias_uuid: UUID | None
    alias: str | None
    recipient_uuid: UUID | None
    recipient: str | None
    email_type: str
    bounce_type: str | None
    status: str | None
    code: str | None
    remote_mta: str | None
    sender: str
    destination: str
    subject: str
    is_stored: bool
    partial: bool
    size_octets: int | None
    quarantined: bool
    resent: bool
    ir_dedupe_key: str | None
    queue_id: str | None
    attempted_at: datetime | None
    created_at: datetime
    updated_at: datetime
    held: bool = False
    alias_deleted: bool = False

    @property
    def type(self) -> FailedType:
        """In the order of addy-api.md section 2.11."""
        if self.ir_dedupe_key is not None:
            return FailedType.INBOUND
        if self.quarantined:
            return FailedType.QUARANTINED
        return FailedType.INBOUND if self.email_type == INBOUND_REJECTION else FailedType.OUTBOUND

    @property
    def email_type_text(self) -> str:
        """What the apps show for `email_type`."""
        return _TEXTS.get(self.email_type, _TEXTS["F"])

    @property
    def expires_at(self) -> datetime:
        """When the record goes, and with it the message."""
        return self.created_at + KEPT_FOR


@dataclass(frozen=True, slots=True)
class FailedPage:
    """Some records, the newest first, and how many there are in all."""

    records: tuple[FailedRecord, ...]
    total: int


@dataclass(frozen=True, slots=True)
class FailedMessage:
    """A stored message that is to be sent again, and what is known of the copy that failed.

    alias: its address. outbound_id: of the copy; destination: where it went. rcpt: as addressed when it arrived, '' if
    the ledger knows no more; sender, client, queue_id, message_id: of that arrival, likewise. author: of the record,
    '' for none. content: the message as it came in, or the copy as a report returned it, which is never to be trusted.
    evidence: value of the ingress header, b"" for none. attempted_at: when it was sent in vain.
    """

    id: FailedId
    uuid: UUID
    account_id: AccountId
    alias_id: AliasId
    alias: str
    outbound_id: OutboundId | None
    destination: str
    author: str
    rcpt: str
    sender: str
    client: str
    queue_id: str
    message_id: str
    content: bytes
    partial: bool
    evidence: bytes
    attempted_at: datetime


@dataclass(frozen=True, slots=True)
class Resent:
    """What came of a resend. copies: handed to Postfix now; failed: why one never will be.

    returned: the message was what a report had returned, so that it differs from what its author sent; partial: the
    report had cut it.
    """

    id: FailedId
    copies: int
    failed: Reason | None = None
    returned: bool = False
    partial: bool = False


def check_resend(record: FailedRecord) -> None:
    """What forbids a resend, in the order of the API (addy-api.md N12).

    Raises NotStored, AlreadyResent and NotForward.
    """
    number = f"failed delivery {record.id}"
    if not record.is_stored:
        raise NotStored(f"of {number} only the record is kept, the message is not")
    if record.resent:
        raise AlreadyResent(f"{number} has already been resent")
    if record.email_type != "F":
        instead = "what was held can be released" if record.held else "only forwards can be resent"
        raise NotForward(f"{number} is no forward ({record.email_type_text}); {instead}")
    if record.alias_uuid is None or record.alias_deleted:
        raise NotForward(f"the alias of {number} was deleted; only forwards of an alias can be resent")


def record_uuid(kind: str, number: int) -> UUID:
    """The UUID of the one record that there is of an event: whoever records it again finds it taken.

    kind: `bounce` for numbers of copies (outbound ids), `ledger` for numbers of ledger entries.
    """
    return UUID(bytes=hashlib.sha256(f"{kind}\0{number}".encode()).digest()[:16], version=4)


def notice_key(record: FailedId) -> IngressKey:
    """The ledger's key of the notification about this record: there is one, and the record leads to it.

    store/manage_ledger.py computes it as well.
    """
    return IngressKey(hashlib.sha256(f"notice:{record}".encode()).digest()[:16])


def resend_key(record: UUID) -> IngressKey:
    """The ledger's key of the copies that are made when this record is resent: its very octets.

    So a copy in the ledger tells whether it was a resend, and of what.
    """
    return IngressKey(record.bytes)
