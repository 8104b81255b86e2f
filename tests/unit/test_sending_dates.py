"""The instant of a Date stays, its zone goes (row 110)."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.sending.dates import in_utc

NOW = datetime(2026, 1, 6, 18, 20, tzinfo=UTC)
NOW_SAID = "Tue, 06 Jan 2026 18:20:00 +0000"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        pytest.param(b"Tue, 06 Jan 2026 13:15:00 -0500", "Tue, 06 Jan 2026 18:15:00 +0000", id="row-110"),
        (b"6 Jan 2026 18:15 +0000", "Tue, 06 Jan 2026 18:15:00 +0000"),
        (b"Wed,  7 Jan 2026 00:00:00 +0545 (NPT)", "Tue, 06 Jan 2026 18:15:00 +0000"),
        (b"Tue, 06 Jan 2026 10:15:00 PST", "Tue, 06 Jan 2026 18:15:00 +0000"),
        (b"Tue, 06 Jan 2026 18:15:00 gmt", "Tue, 06 Jan 2026 18:15:00 +0000"),
        (b"Tue, 06 Jan 2026 18:15:00 -0000", "Tue, 06 Jan 2026 18:15:00 +0000"),
        (b"Fri, 06 Jan 2026 18:15:00Z", "Tue, 06 Jan 2026 18:15:00 +0000"),
        (b"06-Jan-26 18:15:00.123 +0000", "Tue, 06 Jan 2026 18:15:00 +0000"),
        (b"Wed, 31 Dec 97 23:59:60 +0000", "Thu, 01 Jan 1998 00:00:00 +0000"),
        (b"Sat, 28 Feb 2004 23:00:00 -0200", "Sun, 29 Feb 2004 01:00:00 +0000"),
        (b"Thu, 1 Jan 101 00:00:00 +0000", "Mon, 01 Jan 2001 00:00:00 +0000"),
    ],
)
def test_the_same_instant_in_utc(written: bytes, said: str) -> None:
    assert in_utc(written, NOW) == said


@pytest.mark.parametrize(
    "written",
    [
        *(b"", b"yesterday", b"Tue, 06 Jan 2026 18:15:00", b"Tue, 06 Jan 2026 18:15:00 CET", b"31 Feb 2026 1:00 +0000"),
        *(
            b"1 Foo 2026 01:00 +0000",
            b"1 anF 2026 01:00 +0000",
            b"1 Jan 2026 25:00 +0000",
            b"1 Jan 2026 01:00:61 +0000",
        ),
        *(b"1 Jan 2026 01:00 +0060", b"31 Dec 9999 23:59 -2400", b"1 Jan 0000 00:00 +0000", b"1 Jan 2026 01:00 A"),
        b"1 Jan 2026 01:00 +0000" + b" (x)" * 99,
    ],
)
def test_what_tells_no_instant_becomes_now(written: bytes) -> None:
    assert in_utc(written, NOW) == NOW_SAID


def test_a_date_that_is_missing_becomes_now_in_utc() -> None:
    assert in_utc(None, NOW.astimezone()) == NOW_SAID


@given(st.integers(min_value=-2_000_000_000, max_value=200_000_000_000), st.integers(min_value=-1380, max_value=1380))
def test_whatever_the_zone(seconds: int, minutes: int) -> None:
    instant = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    sign, ahead = "-" if minutes < 0 else "+", abs(minutes)
    local = format_datetime(instant + timedelta(minutes=minutes))
    written = f"{local.removesuffix('+0000')}{sign}{ahead // 60:02}{ahead % 60:02}"
    assert in_utc(written.encode(), NOW) == format_datetime(instant)


@given(st.binary(max_size=300))
def test_no_octets_are_too_odd(written: bytes) -> None:
    assert in_utc(written, NOW).endswith(" +0000")


def test_long_values_cost_nothing() -> None:
    began = time.process_time()
    for written in (b"(" * 100_000, b"Tue " * 25_000, b"1" * 100_000, b" " * 100_000):
        in_utc(written, NOW)
    assert time.process_time() - began < 0.05
