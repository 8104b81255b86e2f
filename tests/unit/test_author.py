"""Who wrote it, as far as a From field can be read."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.author import author
from mailrelay.core.header import split


def read(value: bytes) -> str | None:
    found = author(split(b"Subject: x\r\nFrom: " + value + b"\r\n\r\nFrom: body@x.example\r\n"))
    return str(found) if found is not None else None


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (b"news@shop.example", "news@shop.example"),
        (b"<news@shop.example>", "news@shop.example"),
        (b'"Example Shop" <news@shop.example>', "news@shop.example"),
        (b"Example Shop <News@SHOP.example>", "News@shop.example"),
        (b'"x <fake@bad.example>" <news@shop.example>', "news@shop.example"),
        (b'"a \\" <fake@bad.example>" <news@shop.example>', "news@shop.example"),
        (b"(<fake@bad.example>) news@shop.example", "news@shop.example"),
        (b"news@shop.example (Example Shop)", "news@shop.example"),
        (b"Doe, John <john@shop.example>", "john@shop.example"),
        (b"Name <Name <news@shop.example>>", "news@shop.example"),
        (b"Name <news@shop.example", "news@shop.example"),
        (b"fake@bad.example <news@shop.example>", "news@shop.example"),
        (b"=?utf-8?q?B=C3=BCcher?=\r\n\t<news@shop.example>", "news@shop.example"),
        ("Bücher <news@bücher.example>".encode(), "news@xn--bcher-kva.example"),
        ("<bücher@shop.example>".encode(), "bücher@shop.example"),
        (b"M\xfcller <news@shop.example>", "news@shop.example"),
        # the first of several counts, for block lists as for people
        (b"A <a@shop.example>, B <b@other.example>", "a@shop.example"),
        (b"a@shop.example, b@other.example", "a@shop.example"),
        (b"Broken <a b@shop.example>, B <b@other.example>", "b@other.example"),
        (b"group: a@shop.example;", "a@shop.example"),
    ],
)
def test_the_author_is_found(value: bytes, address: str) -> None:
    assert read(value) == address


@pytest.mark.parametrize(
    "value", [b"", b"<>", b"nobody", b"m\xfcller@shop.example", b"<a@[192.0.2.1]>", b"a@", b"@", b'"', b"x" * 9000]
)
def test_or_not(value: bytes) -> None:
    assert read(value) is None


def test_without_from_there_is_no_author() -> None:
    assert author(split(b"Sender: a@shop.example\r\n\r\n")) is None


def test_the_topmost_from_counts() -> None:
    message = split(b"From: a@shop.example\r\nFrom: b@shop.example\r\n\r\n")
    assert str(author(message)) == "a@shop.example"


def test_hostile_values_take_no_time() -> None:
    """The square of their lengths would be many seconds for any of them."""
    n = 50_000
    hostile = [b"a" * n, b'"' + b'\\"' * n, b"(" * n, b"<" * n, b"@" * n, b"a@" * n, b"(a" * n]
    started = time.process_time()
    for value in hostile:
        read(value)
    assert time.process_time() - started < 5


@given(
    st.binary()
    | st.lists(st.sampled_from([b'"', b"\\", b"<", b">", b"(", b")", b"@", b"a", b".", b",", b" "])).map(b"".join)
)
def test_any_octets_have_an_author_or_none(value: bytes) -> None:
    author(split(b"From: " + value))
