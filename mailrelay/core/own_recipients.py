"""Recipients as their owner reads them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mailrelay.core.facts import RecipientId


@dataclass(frozen=True, slots=True)
class OwnRecipient:
    """A mailbox of somebody's. aliases_count: those it is attached to, without deleted ones; None: nobody asked."""

    id: RecipientId
    uuid: UUID
    account_uuid: UUID
    address: str
    description: str | None
    can_reply_send: bool
    should_encrypt: bool
    inline_encryption: bool
    protected_headers: bool
    remove_pgp_keys: bool
    remove_pgp_signatures: bool
    fingerprint: str | None
    verified_at: datetime | None
    created_at: datetime
    updated_at: datetime
    aliases_count: int | None = None
