"""What owners may choose, as text."""

import pytest

from mailrelay.core.errors import Malformed
from mailrelay.core.settings import NAMES, Value, parse


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("use_reply_to", "Yes", True),
        ("use_reply_to", "off", False),
        ("reply_scrub", "off", "off"),
        ("forward_mode", "", None),
        ("messages_per_hour", "0", 0),
        ("messages_per_hour", "", None),
        ("from_name", "Jane Doe", "Jane Doe"),
        ("from_name", "", None),
        ("display_from_format", "7", 7),
    ],
)
def test_a_value_is_what_it_says(name: str, text: str, value: Value) -> None:
    assert parse({name: text}) == {name: value}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("use_reply_to", ""),
        ("use_reply_to", "maybe"),
        ("reply_scrub", ""),
        ("reply_scrub", "Quoted"),
        ("display_from_format", "8"),
        ("display_from_format", "-1"),
        ("display_from_format", "\u0663"),
        ("messages_per_hour", "1e3"),
        ("bandwidth_octets_per_month", "9" * 5000),
        ("from_name", "x" * 51),
        ("from_name", "a\nb"),
        ("password_hash", "x"),
        ("", ""),
    ],
)
def test_nothing_else_is_a_value(name: str, text: str) -> None:
    with pytest.raises(Malformed, match="^" + name):
        parse({name: text})


def test_all_mistakes_are_named_together() -> None:
    with pytest.raises(Malformed, match=r"use_reply_to .*; reply_scrub "):
        parse({"use_reply_to": "2", "reply_scrub": "x"})


def test_no_name_needs_quoting() -> None:
    assert all(name.isidentifier() and name.islower() for name in NAMES)
