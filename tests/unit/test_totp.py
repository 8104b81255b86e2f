"""Codes from the clock, against RFC 6238 appendix B."""

from urllib.parse import parse_qs, urlsplit

import pytest

from mailrelay.core import totp

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_vectors_of_rfc_6238(seconds: int, expected: str) -> None:
    assert totp.code(SECRET, totp.step_at(seconds), digits=8) == expected
    assert totp.code(SECRET, totp.step_at(seconds)) == expected[2:]


@pytest.mark.parametrize(
    ("counter", "expected"),
    list(
        enumerate(["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"])
    ),
)
def test_the_vectors_of_rfc_4226(counter: int, expected: str) -> None:
    assert totp.code(SECRET, counter) == expected


@pytest.mark.parametrize(("away", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_one_step_wrong(away: int, good: bool) -> None:
    step = totp.step_at(1_800_000_000)
    found = totp.matching_step(SECRET, totp.code(SECRET, step + away), 1_800_000_000, None)
    assert found == (step + away if good else None)


def test_a_step_is_good_once_and_those_before_it_are_not_either() -> None:
    seconds = 1_800_000_000
    step = totp.step_at(seconds)
    assert totp.matching_step(SECRET, totp.code(SECRET, step), seconds, step - 1) == step
    for used in (step, step + 1):
        assert totp.matching_step(SECRET, totp.code(SECRET, step), seconds, used) is None


@pytest.mark.parametrize("typed", ["", "000000", "12345", "1234567", "ａｂｃｄｅｆ", "\ud800" * 6])
def test_other_texts_are_wrong(typed: str) -> None:
    assert totp.matching_step(SECRET, typed, 1_800_000_000, None) is None


def test_apps_read_the_uri() -> None:
    parts = urlsplit(totp.uri(SECRET, "relay & co", "john:doe"))
    assert (parts.scheme, parts.netloc, parts.path) == ("otpauth", "totp", "/relay%20%26%20co:john%3Adoe")
    assert parse_qs(parts.query) == {
        "secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"],
        "issuer": ["relay & co"],
        "digits": ["6"],
        "period": ["30"],
    }
