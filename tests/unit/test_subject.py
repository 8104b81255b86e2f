"""Subjects: replaced, prefixed, or left as they came."""

import pytest

from mailrelay.core.header import Field, split
from mailrelay.core.subject import SpamWarning, changed, warning

ORDER = Field(b"subject", b"Subject: Your order 77\r\n")
WORDS = Field(b"subject", b"SUBJECT:  =?utf-8?q?B=C3=BCro?=\r\n\t=?utf-8?b?w6Q=?= x\r\n")


def raw(original: Field | None, replacement: str | None = None, prefix: str = "") -> bytes | None:
    field = changed(original, replacement, prefix)
    assert field is None or (field.name == b"subject" and len(split(field.raw).fields) == 1)
    return field.raw if field else None


@pytest.mark.parametrize("original", [ORDER, WORDS, None, Field(b"subject", b"Subject:\r\n")])
@pytest.mark.parametrize("replacement", [None, ""])
def test_nothing_asked_nothing_changed(original: Field | None, replacement: str | None) -> None:
    assert raw(original, replacement) is None


@pytest.mark.parametrize(
    ("original", "replacement", "expected"),
    [
        pytest.param(ORDER, "Private {{subject}}", b"Subject: Private Your order 77\r\n", id="row-84"),
        (ORDER, "Private", b"Subject: Private\r\n"),
        (None, "Private", b"Subject: Private\r\n"),
        (None, "Private {{subject}}", b"Subject: Private\r\n"),
        (Field(b"subject", b"Subject:\r\n"), "[{{subject}}]", b"Subject: []\r\n"),
        (Field(b"subject", b"Subject: {{subject}}\r\n"), "<{{subject}}>", b"Subject: <{{subject}}>\r\n"),
        (WORDS, "[{{subject}}]", b"Subject: =?utf-8?b?W0LDvHJvw6Q=?= x]\r\n"),
        (ORDER, "a\r\nBcc: b@bad.example", b"Subject: a Bcc: b@bad.example\r\n"),
        (ORDER, "grün", b"Subject: =?utf-8?b?Z3LDvG4=?=\r\n"),
    ],
)
def test_replacements(original: Field | None, replacement: str, expected: bytes) -> None:
    assert raw(original, replacement) == expected


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (ORDER, b"Subject: [SPAM] Your order 77\r\n"),
        (WORDS, b"Subject: [SPAM] =?utf-8?q?B=C3=BCro?=\r\n\t=?utf-8?b?w6Q=?= x\r\n"),
        (Field(b"subject", b"Subject:\r\n folded\r\n"), b"Subject: [SPAM] folded\r\n"),
        (Field(b"subject", b"Subject: \r\n"), b"Subject: [SPAM]\r\n"),
        (Field(b"subject", b"Subject: end"), b"Subject: [SPAM] end\r\n"),
        (None, b"Subject: [SPAM]\r\n"),
    ],
)
def test_a_prefix_leaves_the_octets_behind_it(original: Field | None, expected: bytes) -> None:
    assert raw(original, None, "[SPAM]") == expected


def test_a_rule_does_not_lose_the_prefix() -> None:
    """Defect D15; row 17 of spec section 5.7."""
    test_email = Field(b"subject", b"Subject: Test Email\r\n")
    assert raw(test_email, "[shop] {{subject}}", "[DMARC FAIL]") == b"Subject: [DMARC FAIL] [shop] Test Email\r\n"


def test_an_overlong_result_ends_after_900_octets() -> None:
    long = Field(b"subject", b"Subject: " + b"word " * 2000 + b"\r\n")
    field = changed(long, "{{subject}}", "")
    assert field is not None and 800 < len(field.value) <= 900


@pytest.mark.parametrize(
    ("behaviour", "frozen", "shown"),
    [
        ("banner", False, False),
        ("banner", True, True),
        ("subject", False, True),
        ("subject", True, True),
        ("off", False, False),
        ("off", True, False),
    ],
)
def test_where_a_warning_is_shown(behaviour: SpamWarning, frozen: bool, shown: bool) -> None:
    assert warning(behaviour, dmarc_failed=True, frozen=frozen) == ("[DMARC FAIL]" if shown else "")
    assert warning(behaviour, dmarc_failed=False, frozen=frozen) == ("[SPAM]" if shown else "")
