"""Entries of an account's block list: senders and domains whose mail its owner does not want (spec section 8.2)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mailrelay.core.address import domain_name, parse_address
from mailrelay.core.errors import Conflict, Malformed

EntryType = Literal["email", "domain"]

# Whether people who have nothing to do with each other register names right below a folded domain.
IsPublicSuffix = Callable[[str], bool]

Sort = Literal["created_at", "value", "blocked", "last_blocked"]

MAX_VALUE_OCTETS = 253
# RFC 3696 section 2: no name of the root zone is all digits; those in other scripts are A-labels.
_TOP_LABEL = re.compile(r"[a-z]+|xn--[a-z0-9-]+")


class AlreadyListed(Conflict):
    """The list has that entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is blocked. value: folded, as mail is compared with it."""

    type: EntryType
    value: str


@dataclass(frozen=True, slots=True)
class Search:
    """Which entries of a list are wanted. text: part of the value, in any case; None: all. limit: at least 1."""

    text: str | None = None
    type: EntryType | None = None
    sort: Sort = "created_at"
    descending: bool = True
    limit: int = 100
    offset: int = 0


def email_entry(text: str) -> Entry:
    """The entry that blocks an address. Raises Malformed."""
    value = parse_address(text).folded
    if len(value.encode("utf-8", "replace")) > MAX_VALUE_OCTETS:
        raise Malformed(f"an address to block has at most {MAX_VALUE_OCTETS} octets")
    return Entry("email", value)


def domain_entry(text: str, is_public_suffix: IsPublicSuffix) -> Entry:
    """The entry that blocks a domain and what is below it. Raises Malformed, also for `co.uk` and the like."""
    value = domain_name(text)
    *below, top = value.split(".")
    if not below or not _TOP_LABEL.fullmatch(top):
        raise Malformed("a domain to block has at least two labels, the last of which is a name")
    if is_public_suffix(value):
        raise Malformed(f"{value} is shared by many who have nothing to do with each other")
    return Entry("domain", value)
