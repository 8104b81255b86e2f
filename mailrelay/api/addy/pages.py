"""Numbered pages with the links that clients decode strictly (addy-api.md section 1.12)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mailrelay.api.addy.call import Call
from mailrelay.api.addy.checks import ARRAY, INTEGER, Fields, attribute, group, integer_of, max_number, min_number
from mailrelay.api.addy.php import Value, carried, query_string

DEFAULT_SIZE = 100
_MAX_NUMBER = 2**31 - 1
_NUMBER = ("page", "number")
_ALL_UP_TO = 13  # pages that are all listed

PAGE_FIELDS: Fields = (
    attribute("page", ARRAY, nullable=True),
    attribute("page.number", INTEGER, nullable=True),
    attribute("page.size", INTEGER, max_number(DEFAULT_SIZE), min_number(1), nullable=True),
)


def page_of(values: Mapping[str, Value]) -> tuple[int, int]:
    """Number and size that validated input asks for."""
    page = group(values, "page")
    number = integer_of(page.get("number"))
    size = integer_of(page.get("size"))
    return min(max(1, number or 1), _MAX_NUMBER), DEFAULT_SIZE if size is None else size


def paged(call: Call, items: Sequence[Any], number: int, size: int, total: int) -> dict[str, Any]:
    """The body of a page. items: those on it, rendered; total: of all pages."""
    last = max(1, -(-total // size))
    first_item = (number - 1) * size + 1
    again = carried(call.query, _NUMBER)

    def url(page: int | None) -> str | None:
        return None if page is None else f"{call.url}?{query_string([*again, (_NUMBER, str(page))])}"

    before = number - 1 if number > 1 else None
    after = number + 1 if number < last else None
    return {
        "data": items,
        "links": {"first": url(1), "last": url(last), "prev": url(before), "next": url(after)},
        "meta": {
            "current_page": number,
            "from": first_item if items else None,
            "last_page": last,
            "links": [
                {"url": url(before), "label": "&laquo; Previous", "page": before, "active": False},
                *(_numbered(url, page, number) for page in _listed(number, last)),
                {"url": url(after), "label": "Next &raquo;", "page": after, "active": False},
            ],
            "path": call.url,
            "per_page": size,
            "to": first_item + len(items) - 1 if items else None,
            "total": total,
        },
    }


def _numbered(url: Any, page: int | None, current: int) -> dict[str, Any]:
    if page is None:
        return {"url": None, "label": "...", "active": False}
    return {"url": url(page), "label": str(page), "page": page, "active": page == current}


def _listed(current: int, last: int) -> Iterator[int | None]:
    """Pages with links of their own; None: some are left out."""
    if last <= _ALL_UP_TO:
        yield from range(1, last + 1)
        return
    if current <= 7:
        yield from (*range(1, 11), None, last - 1, last)
    elif current > last - 7:
        yield from (1, 2, None, *range(last - 9, last + 1))
    else:
        yield from (1, 2, None, *range(current - 3, current + 4), None, last - 1, last)
