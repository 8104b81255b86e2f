"""Pages and their links (addy-api.md section 1.12)."""

from typing import Any

import pytest

from mailrelay.api.addy import php
from mailrelay.api.addy.call import Call
from mailrelay.api.addy.checks import validate
from mailrelay.api.addy.pages import PAGE_FIELDS, page_of, paged
from mailrelay.core.requests import NOBODY
from tests.store.worlds import utc_now

URL = "https://relay.example/api/v1/aliases"


def call(query: str) -> Call:
    found = php.pairs(query)
    return Call(NOBODY, php.merged(php.nested(found), {}), found, "", URL, "", utc_now())


def page(query: str, total: int, items: int) -> Any:
    asked = call(query)
    number, size = page_of(validate(PAGE_FIELDS, asked.input))
    return paged(asked, [{}] * items, number, size, total)


def test_the_example_of_the_specification() -> None:
    body = page("filter[deleted]=with&page[size]=10&page[number]=1&filter[active]=", 25, 10)
    base = f"{URL}?filter%5Bdeleted%5D=with&page%5Bsize%5D=10&page%5Bnumber%5D="
    assert body["links"] == {"first": f"{base}1", "last": f"{base}3", "prev": None, "next": f"{base}2"}
    assert body["meta"] == {
        "current_page": 1, "from": 1, "last_page": 3,
        "links": [
            {"url": None, "label": "&laquo; Previous", "page": None, "active": False},
            {"url": f"{base}1", "label": "1", "page": 1, "active": True},
            {"url": f"{base}2", "label": "2", "page": 2, "active": False},
            {"url": f"{base}3", "label": "3", "page": 3, "active": False},
            {"url": f"{base}2", "label": "Next &raquo;", "page": 2, "active": False},
        ],
        "path": URL, "per_page": 10, "to": 10, "total": 25,
    }  # fmt: skip


def test_nothing_at_all() -> None:
    body = page("", 0, 0)
    assert (body["meta"]["from"], body["meta"]["to"], body["meta"]["last_page"]) == (None, None, 1)
    assert body["links"]["next"] is None


@pytest.mark.parametrize(("number", "current"), [("-3", 1), ("0", 1), ("", 1), ("99", 99)])
def test_numbers_out_of_range(number: str, current: int) -> None:
    body = page(f"page[number]={number}&page[size]=10", 25, 0)
    assert body["meta"]["current_page"] == current
    assert body["links"]["next"] is None or current == 1


@pytest.mark.parametrize(
    ("current", "last", "labels"),
    [
        (1, 13, "1 2 3 4 5 6 7 8 9 10 11 12 13"),
        (7, 14, "1 2 3 4 5 6 7 8 9 10 ... 13 14"),
        (8, 14, "1 2 ... 5 6 7 8 9 10 11 12 13 14"),
        (8, 20, "1 2 ... 5 6 7 8 9 10 11 ... 19 20"),
        (14, 20, "1 2 ... 11 12 13 14 15 16 17 18 19 20"),
    ],
)
def test_pages_that_are_left_out(current: int, last: int, labels: str) -> None:
    body = page(f"page[number]={current}&page[size]=1", last, 1)
    assert " ".join(link["label"] for link in body["meta"]["links"][1:-1]) == labels
    assert {"url": None, "label": "...", "active": False} in body["meta"]["links"] or last < 14


def test_the_query_is_repeated() -> None:
    body = page("x=a%20b&filter%5Bactive%5D%3D=true&page[number]=2&sort=%2Bn&x=c&page[size]=1", 9, 1)
    assert body["links"]["prev"] == f"{URL}?x=c&filter%5Bactive%5D=true&sort=%2Bn&page%5Bsize%5D=1&page%5Bnumber%5D=1"
