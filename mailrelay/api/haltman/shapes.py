"""Shapes that several endpoints answer with."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict

ZeroOrOne = Literal[0, 1]


class Pagination(TypedDict):
    total: int
    limit: int
    offset: int


class AliasItem(TypedDict):
    """Section 1.3."""

    id: int
    address: str
    goto: str
    active: ZeroOrOne
    domain_id: NotRequired[int | None]
    created: str
    modified: str


class Confirmation(TypedDict):
    """What became of the mail with the code."""

    sent: bool
    ttl_minutes: int
    reason: NotRequired[str]


class HandleClaimed(TypedDict):
    ok: Literal[True]
    created: Literal[True]
    handle: str
    goto: str


class HandleReleased(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    handle: str
    active: Literal[False]


class HandleSwitched(TypedDict):
    ok: Literal[True]
    updated: Literal[True]
    handle: str
    domain: str
    disabled: bool


def confirmation(sent: bool, minutes: int, reason: str | None) -> Confirmation:
    """minutes: that the code lives; reason: why no mail went out, None if one did."""
    said = Confirmation(sent=sent, ttl_minutes=minutes)
    return said if reason is None else {**said, "reason": reason}
