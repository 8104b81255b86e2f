"""An alias as this API shows it (addy-api.md section 2.1)."""

from typing import Final

from typing_extensions import TypedDict

from mailrelay.api.addy.call import timestamp, timestamp_or_none
from mailrelay.api.addy.shapes import Recipient, recipient_shape
from mailrelay.core.own_aliases import OwnAlias

MODEL: Final = "Alias"
_PARENTS: Final = {"username": "App\\Models\\Username", "domain": "App\\Models\\Domain"}


class Alias(TypedDict):
    """`recipients`: the attached ones; none: the default of what it belongs to, or the account's, applies."""

    id: str
    user_id: str
    aliasable_id: str | None
    aliasable_type: str | None
    local_part: str
    extension: str | None
    domain: str
    email: str
    active: bool
    pinned: bool
    description: str | None
    from_name: str | None
    attached_recipients_only: bool
    emails_forwarded: int
    emails_blocked: int
    emails_replied: int
    emails_sent: int
    recipients: list[Recipient]
    last_forwarded: str | None
    last_blocked: str | None
    last_replied: str | None
    last_sent: str | None
    created_at: str
    updated_at: str
    deleted_at: str | None


def alias_shape(alias: OwnAlias) -> Alias:
    parent = alias.belongs
    return {
        "id": str(alias.uuid),
        "user_id": str(alias.account_uuid),
        "aliasable_id": None if parent is None else str(parent.uuid),
        "aliasable_type": None if parent is None else _PARENTS[parent.kind],
        "local_part": alias.local_part,
        "extension": alias.extension,
        "domain": alias.domain,
        "email": alias.address,
        "active": alias.active,
        "pinned": alias.pinned,
        "description": alias.description,
        "from_name": alias.from_name,
        "attached_recipients_only": alias.attached_recipients_only,
        "emails_forwarded": alias.emails_forwarded,
        "emails_blocked": alias.emails_blocked,
        "emails_replied": alias.emails_replied,
        "emails_sent": alias.emails_sent,
        "recipients": [recipient_shape(recipient) for recipient in alias.recipients],
        "last_forwarded": timestamp_or_none(alias.last_forwarded),
        "last_blocked": timestamp_or_none(alias.last_blocked),
        "last_replied": timestamp_or_none(alias.last_replied),
        "last_sent": timestamp_or_none(alias.last_sent),
        "created_at": timestamp(alias.created_at),
        "updated_at": timestamp(alias.updated_at),
        "deleted_at": timestamp_or_none(alias.deleted_at),
    }
