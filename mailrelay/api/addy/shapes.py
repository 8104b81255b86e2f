"""Shapes that several resources share; the OpenAPI document is made of these types (addy-api.md section 2)."""

from typing import Any, Generic, NotRequired, TypeVar

from typing_extensions import TypedDict

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
