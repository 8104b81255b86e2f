"""The ledger's entries: one for every copy of an accepted recipient, one for every recipient without a copy."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType

from mailrelay.core.address import Address, client_ip
from mailrelay.core.bans import BanId
from mailrelay.core.facts import AccountId, AliasId, BlockedSenderId, Reason, RecipientId
from mailrelay.core.verp import EmailType

# Unsigned in the return path; the database reads the same 64 bits as a signed number.
OutboundId = NewType("OutboundId", int)
IngressKey = NewType("IngressKey", bytes)

Outcome = Literal["refused", "queued", "delivered", "failed", "discarded", "held"]
Mode = Literal["rewrite", "transparent"]

# Refusals that count as mail blocked by the owner's choice (spec section 2.2, side effects).
_COUNTED = frozenset(
    {
        Reason.ALIAS_DELETED,
        Reason.ALIAS_INACTIVE,
        Reason.ALIAS_EXPIRED,
        Reason.PARENT_INACTIVE,
        Reason.BLOCKED_SENDER,
        Reason.NOT_ALLOWED,
        Reason.RULE,
    }
)


def ingress_key(queue_id: str, content: bytes) -> IngressKey:
    """16 octets that name one message in one queue.

    The queue id alone would not do: Postfix' short ids come back within days, and a wrong "seen before" loses mail.
    """
    return IngressKey(hashlib.sha256(queue_id.encode("utf-8", "replace") + b"\0" + content).digest()[:16])


def second_key(outbound_id: OutboundId) -> IngressKey:
    """The key of the one copy that may follow a refused one, whoever reports the refusal, and however often."""
    return IngressKey(hashlib.sha256(b"second\0" + outbound_id.to_bytes(8, "big")).digest()[:16])


def storable(text: str, octets: int = 1000) -> str:
    """Text from outside as PostgreSQL takes it: UTF-8 without NUL, at most `octets` octets."""
    clean = text.encode("utf-8", "replace").replace(b"\0", b"?")
    return clean[:octets].decode("utf-8", "ignore")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Whose story an entry belongs to.

    rcpt: as received, folded; client: address or ''; fingerprint: of core/loopguard.py, None where nothing came in.
    """

    key: IngressKey
    queue_id: str
    message_id: str
    sender: str
    rcpt: str
    client: str
    size_octets: int
    account_id: AccountId | None = None
    alias_id: AliasId | None = None
    fingerprint: int | None = None

    @property
    def client_address(self) -> str | None:
        """The client as an address, None if it is none."""
        ip = client_ip(self.client)
        return None if ip is None else str(ip)


@dataclass(frozen=True, slots=True)
class Opening:
    """A copy that is about to be handed over.

    recipient_id: negative for the operator's mailboxes; who writes for replies and sends. mode: None if not forwarded.
    notice: code of a notification, None for anything else.
    """

    envelope: Envelope
    recipient_id: int
    outbound_id: OutboundId
    destination: str
    type: EmailType
    mode: Mode | None
    notice: str | None = None
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """What the ledger says to an Opening.

    outbound_id: to be used for the return path, that of the first try if there was one; outcome: of that try,
    None: this is the first.
    """

    outbound_id: OutboundId
    outcome: Outcome | None

    @property
    def settled(self) -> bool:
        """The copy has gone out, or never will."""
        return self.outcome not in (None, "queued")


@dataclass(frozen=True, slots=True)
class OutboundCopy:
    """A copy as it was recorded before it left.

    account_id, alias_id, recipient_id: None for the operator's. alias: the address, None if it is gone; sender: of the
    message that the copy is of, '' if it was the null sender or is not known any more.
    """

    id: OutboundId
    type: EmailType
    mode: Mode
    destination: str
    created_at: datetime
    account_id: AccountId | None = None
    alias_id: AliasId | None = None
    recipient_id: RecipientId | None = None
    alias: Address | None = None
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Closing:
    """What came of an opened copy. queue_id: of the outgoing message; discarded: it was not wanted after all."""

    outbound_id: OutboundId
    outcome: Literal["delivered", "failed", "discarded"]
    reason: Reason | None = None
    queue_id: str = ""
    note: str = ""  # the words of who refused it
    ban_id: BanId | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A reply or send that went out: what has to be known of it later (spec sections 2.6, 4.6 and 4.10).

    contact: local part as written, domain folded. is_new: no reply or send went there before. automatic: it counts as
    the automatic answer to this contact. our_id, original_id: Message-IDs with angle brackets; original_id None: the
    message came without.
    """

    type: EmailType
    contact: str
    is_new: bool
    automatic: bool
    our_id: str
    original_id: str | None


@dataclass(frozen=True, slots=True)
class Tally:
    """What a recipient adds to counters once all its copies are out. octets: size times copies.

    sender_org: '' if unknown, and for what the owner writes. sent: of a reply or send.
    """

    account_id: AccountId
    alias_id: AliasId
    sender_org: str
    octets: int
    sent: Sent | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """A recipient without a copy: refused, discarded or failed, and whose counters that touches."""

    envelope: Envelope
    outcome: Literal["refused", "discarded", "failed"]
    reason: Reason
    ban_id: BanId | None = None
    blocked_by: BlockedSenderId | None = None

    @property
    def counted_alias(self) -> AliasId | None:
        """The alias whose `emails_blocked` grows."""
        return self.envelope.alias_id if self.reason in _COUNTED else None
