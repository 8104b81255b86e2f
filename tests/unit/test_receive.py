"""The checks at delivery that look at the message: size, line ends, hops, loops, backscatter."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core import loop
from mailrelay.core.automatic import is_report
from mailrelay.core.facts import Reason
from mailrelay.core.header import split
from mailrelay.core.receive import dead_end, received_id, structural_refusal
from mailrelay.core.reply import Replies

KEY, OLD_KEY = bytes(range(32)), b"previous key"
ALIAS, OTHER = UUID(int=1), UUID(int=2)
NAME = b"x-mailrelay-loop"
REPORT = b"Content-Type: multipart/report; report-type=delivery-status\r\n"


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        (b"", None),
        (b"Subject: x\r\n\r\nbody\r\n", None),
        (b"x" * 100, None),
        pytest.param(b"x" * 101, "552 5.3.4 Message is larger than 100 bytes", id="2.3-3"),
        pytest.param(b"a\nb\r\n", "550 5.6.0 Bare CR or LF in the message", id="2.3-4-lf"),
        pytest.param(b"a\rb\r\n", "550 5.6.0 Bare CR or LF in the message", id="2.3-4-cr"),
        pytest.param(b"a\r\r\n", "550 5.6.0 Bare CR or LF in the message", id="2.3-4-crcrlf"),
        pytest.param(b"\r", "550 5.6.0 Bare CR or LF in the message", id="2.3-4-last"),
        pytest.param(b"\n\r", "550 5.6.0 Bare CR or LF in the message", id="2.3-4-swapped"),
        (b"nul \0 and \xff\r\n", None),
    ],
)
def test_what_nobody_can_have(content: bytes, reply: str | None) -> None:
    refusal = structural_refusal(content, 100, Replies())
    assert (str(refusal[0]) if refusal is not None else None) == reply


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x"])).map(b"".join))
def test_what_passes_has_whole_line_ends_only(content: bytes) -> None:
    bare = b"\r" in content.replace(b"\r\n", b"") or b"\n" in content.replace(b"\r\n", b"")
    assert (structural_refusal(content, 1000, Replies()) is not None) is bare


def ends(header: bytes, sender: str = "news@shop.example", **more: Any) -> Reason | None:
    return dead_end(split(header + b"\r\nbody\r\n"), sender, ALIAS, (KEY, OLD_KEY), NAME, **more)


def marks(*aliases: UUID, key: bytes = KEY) -> bytes:
    return b"".join(b"X-Mailrelay-Loop: %b\r\n" % loop.mark(alias, key).encode() for alias in aliases)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param(b"Received: x\r\n" * 50, None, id="9.1-50-hops"),
        pytest.param(b"Received: x\r\n" * 51, Reason.HOPS, id="9.1-51-hops"),
        pytest.param(marks(ALIAS), Reason.LOOP, id="12.6-179"),
        pytest.param(marks(OTHER, ALIAS), Reason.LOOP, id="9.2-among-others"),
        pytest.param(marks(ALIAS, key=OLD_KEY), Reason.LOOP, id="9.2-previous-key"),
        pytest.param(marks(ALIAS, key=b"forged"), None, id="9.2-forged"),
        pytest.param(marks(*[OTHER] * 5), None, id="9.2-five-others"),
        pytest.param(marks(*[OTHER] * 6), Reason.LOOP, id="9.2-six-others"),
        pytest.param(REPORT, None, id="report-with-sender"),
        pytest.param(b"", None, id="plain"),
    ],
)
def test_a_message_that_goes_round_ends(header: bytes, reason: Reason | None) -> None:
    assert ends(header) is reason


@pytest.mark.parametrize(
    ("header", "report"),
    [
        (REPORT, True),
        (b"content-type: MULTIPART/Report\r\n", True),
        (b"Content-Type:\r\n multipart/report;\r\n boundary=b\r\n", True),
        (b"Content-Type: multipart/mixed\r\n", False),
        (b"Content-Type: multipart/reporting\r\n", False),
        (b"X-Content-Type: multipart/report\r\n", False),
        (b"", False),
    ],
)
def test_a_report_without_a_sender_is_backscatter(header: bytes, report: bool) -> None:
    assert is_report(split(header + b"\r\n")) is report
    assert ends(header, sender="") is (Reason.BACKSCATTER if report else None)
    assert ends(header) is None


def test_a_report_to_an_alias_is_backscatter_unless_its_account_wants_them() -> None:
    """12.6-170"""
    assert ends(REPORT, sender="") is Reason.BACKSCATTER
    assert ends(REPORT, sender="", accept_foreign_dsn=True) is None
    assert ends(marks(ALIAS) + REPORT, sender="", accept_foreign_dsn=True) is Reason.LOOP


@pytest.mark.parametrize(
    ("arrivals", "returned", "reason"),
    [
        (0, False, None),
        (3, False, None),
        pytest.param(4, False, Reason.LOOP, id="12.6-180"),
        (40, False, Reason.LOOP),
        pytest.param(0, True, None, id="9.5-once"),
        pytest.param(1, True, Reason.LOOP, id="9.5-twice"),
    ],
)
def test_a_message_that_comes_again_and_again_ends(arrivals: int, returned: bool, reason: Reason | None) -> None:
    assert ends(b"", arrivals=arrivals, returned=returned) is reason


@pytest.mark.parametrize(
    ("received", "queue_id"),
    [
        (
            b"from mta.shop.example (mta.shop.example [192.0.2.10])\r\n"
            b"\tby mx.relay.example (Postfix) with ESMTPS id 4XyZ12AbCd\r\n\tfor <a1@alias.example>;"
            b" Tue,  6 Jan 2026 09:00:01 +0000 (UTC)",
            "4XyZ12AbCd",
        ),
        (b"by mx.relay.example (Postfix, from userid 0)\r\n\tid 0A1B2C3D4E; Tue, 6 Jan 2026 09:00:01", "0A1B2C3D4E"),
        (b"from x by y with esmtp (Exim 4.96) id 1abcDE-000abc-2F", ""),
        (b"by mx.relay.example (Postfix) with ESMTP id abc\xff", ""),
        (b"", ""),
    ],
)
def test_the_queue_id_of_postfix_is_read_from_the_topmost_received(received: bytes, queue_id: str) -> None:
    header = b"Received: " + received + b"\r\nReceived: by z (Postfix) id FFFFFFFFFF\r\n"
    assert received_id(split(header)) == queue_id


def test_without_received_there_is_no_queue_id() -> None:
    assert received_id(split(b"Subject: by z (Postfix) id FFFFFFFFFF\r\n")) == ""


@given(st.binary(max_size=200), st.sampled_from(["", "a@x.example"]))
def test_any_octets_end_or_go_on(content: bytes, sender: str) -> None:
    message = split(content)
    dead_end(message, sender, ALIAS, (KEY,), NAME)
    received_id(message)
    is_report(message)
