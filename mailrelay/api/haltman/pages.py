"""Lists page by page (haltman-api.md section 2.11)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailrelay.api.haltman.checks import Field, Fields, whole

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
# Beyond it nothing can be: more rows than disks hold.
MAX_OFFSET = 10**12

PAGE: Fields = (Field("limit", whole(1, MAX_LIMIT)), Field("offset", whole(0, MAX_OFFSET)))


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of a list."""

    limit: int = DEFAULT_LIMIT
    offset: int = 0


def page_of(values: Mapping[str, Any]) -> Page:
    """Of members that were checked."""
    return Page(values.get("limit", DEFAULT_LIMIT), values.get("offset", 0))


def listed(items: Sequence[Mapping[str, Any]], total: int, page: Page) -> dict[str, Any]:
    """The body of a list."""
    return {"items": list(items), "pagination": {"total": total, "limit": page.limit, "offset": page.offset}}
