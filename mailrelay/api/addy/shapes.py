"""Shapes that several resources share; the OpenAPI document is made of these types (addy-api.md section 2)."""

from typing import Any, Generic, NotRequired, TypeVar

from typing_extensions import TypedDict

from mailrelay.api.addy.call import timestamp, timestamp_or_none
from mailrelay.core.own_recipients import OwnRecipient

Shape = TypeVar("Shape")

# Each class is one JSON object with all its keys.


class Data(TypedDict, Generic[Shape]):
    """One object, or all of a list."""

    data: Shape


class PageLink(TypedDict):
    url: str | None
    label: str
    page: NotRequired[int | None]
    active: bool


class PageLinks(TypedDict):
    first: str
    last: str
    prev: str | None
    next: str | None


PageMeta = TypedDict(
    "PageMeta",
    {
        "current_page": int,
        "from": int | None,
        "last_page": int,
        "links": list[PageLink],
        "path": str,
        "per_page": int,
        "to": int | None,
        "total": int,
    },
)


class Paged(TypedDict, Generic[Shape]):
    """A page of a list."""

    data: list[Shape]
    links: PageLinks
    meta: PageMeta


class Recipient(TypedDict):
    """`aliases_count` is absent where it is embedded or was not asked for."""

    id: str
    user_id: str
    email: str
    description: str | None
    can_reply_send: bool
    should_encrypt: bool
    inline_encryption: bool
    protected_headers: bool
    remove_pgp_keys: bool
    remove_pgp_signatures: bool
    fingerprint: str | None
    email_verified_at: str | None
    aliases: list[Any]
    aliases_count: NotRequired[int]
    created_at: str
    updated_at: str


class Nothing(TypedDict):
    """An object without keys."""


def recipient_shape(found: OwnRecipient) -> Recipient:
    """A recipient; with `aliases_count` if its aliases were counted."""
    shape: Recipient = {
        "id": str(found.uuid),
        "user_id": str(found.account_uuid),
        "email": found.address.lower(),
        "description": found.description,
        "can_reply_send": found.can_reply_send,
        "should_encrypt": found.should_encrypt,
        "inline_encryption": found.inline_encryption,
        "protected_headers": found.protected_headers,
        "remove_pgp_keys": found.remove_pgp_keys,
        "remove_pgp_signatures": found.remove_pgp_signatures,
        "fingerprint": found.fingerprint,
        "email_verified_at": timestamp_or_none(found.verified_at),
        "aliases": [],
        "created_at": timestamp(found.created_at),
        "updated_at": timestamp(found.updated_at),
    }
    return shape if found.aliases_count is None else {**shape, "aliases_count": found.aliases_count}
