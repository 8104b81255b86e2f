"""Reports about copies with SRS senders: what the sender learns and what not (spec section 10.4, row 190)."""

import base64
import email
import email.policy
import quopri
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address, parse_address
from mailrelay.core.header import split
from mailrelay.core.realm import Realm
from mailrelay.core.srsreport import Stationery, Undelivered, compose, used_address
from mailrelay.wire.report import delivery_status, undelivered
from tests.unit.test_leak import occurs

REALM = Realm(
    frozenset({"relay.example", "bounces.relay.example", "srs.relay.example"}),
    "srs.relay.example",
    "bounces.relay.example",
    shared=frozenset({"alias.example"}),
    custom=frozenset({"own.example"}),
)
NOW = datetime(2026, 1, 6, 9, 0, 5, tzinfo=UTC)
PAPER = Stationery("mx.relay.example", "relay.example", "X-Mailrelay-", "0123456789abcdef" * 2, NOW)
SENDER = parse_address("bounce+77@mta.shop.example")
USED = parse_address("info@own.example")
REAL = "real@inbox.example"

WRITTEN = """\
Received: from mta.shop.example (mta.shop.example [192.0.2.10])
\tby mx.relay.example (Postfix) with ESMTPS id 4XyZ12AbCd
\tfor <info@own.example>; Tue,  6 Jan 2026 09:00:01 +0000 (UTC)
From: "Example Shop" <news@shop.example>
To: info@own.example
Subject: Your order 77
Message-ID: <20260106.77@shop.example>
X-Shop-Campaign: winter
"""
ADDED = """\
Return-Path: <SRS0=abcdefgh=2W=mta.shop.example=bounce+77@srs.relay.example>
Delivered-To: real@inbox.example
Received: from mx.relay.example by mail.inbox.example with LMTP
\tfor <real@inbox.example>; Tue, 6 Jan 2026 09:00:03 +0000
X-Inbox-User: 4711
X-Mailrelay-Mode: transparent
X-Mailrelay-Envelope-To: info@own.example
X-Forwarded-To: real@inbox.example
X-Forwarded-For: info@own.example real@inbox.example
"""
STATUS = """\
Reporting-MTA: dns; mail.inbox.example

Final-Recipient: rfc822; real@inbox.example
Original-Recipient: rfc822;real@inbox.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; store7.inbox.example
Diagnostic-Code: smtp; 550 5.1.1 <real@inbox.example>: User unknown
"""


def report(header: str = ADDED + WRITTEN, status: str = STATUS, kind: str = "message/rfc822") -> bytes:
    """A report as it comes back to the SRS address."""
    text = f"""\
From: MAILER-DAEMON@mail.inbox.example
To: SRS0=abcdefgh=2W=mta.shop.example=bounce+77@srs.relay.example
Subject: Undelivered: real@inbox.example
Content-Type: multipart/report; report-type=delivery-status; boundary=b1

--b1
Content-Type: text/plain

<real@inbox.example>: User unknown
--b1
Content-Type: message/delivery-status

{status}
--b1
Content-Type: {kind}

{header}
The text of the message, for real@inbox.example.
--b1--
"""
    return text.replace("\n", "\r\n").encode()


def answer(content: bytes, destinations: tuple[Address, ...] = ()) -> bytes:
    """The new report."""
    found = undelivered(content)
    assert found is not None
    used = used_address(found, PAPER.prefix, REALM)
    return compose(found, SENDER, used, destinations, REALM, PAPER)


def returned(content: bytes) -> str:
    """The header that the new report gives back."""
    *_, part = email.message_from_bytes(content, policy=email.policy.default).walk()
    assert part.get_content_type() == "text/rfc822-headers"
    payload = part.get_payload()
    assert isinstance(payload, str)
    return payload.replace("\r\n", "\n")


def test_the_sender_learns_of_the_failure_and_not_of_the_address() -> None:
    """12.7-190"""
    content = answer(report())
    assert not occurs(REAL, content)
    assert b"inbox.example" not in content
    assert not content.replace(b"\r\n", b"").count(b"\n")
    told = delivery_status(content)
    assert told is not None
    assert told.reporting_mta == "mx.relay.example"
    [recipient] = told.recipients
    assert (recipient.final_recipient, recipient.action, recipient.status) == (str(USED), "failed", "5.1.1")
    assert recipient.remote_mta == "mx.relay.example"
    assert recipient.diagnostic_code == "smtp; 550 5.1.1 Delivery failed"
    assert b"could not be delivered to\r\n\r\n    info@own.example\r\n" in content
    header = split(content)
    assert header.first(b"to") == str(SENDER).encode()
    assert header.first(b"from") == b"Mail Delivery System <MAILER-DAEMON@relay.example>"
    assert header.first(b"auto-submitted") == b"auto-replied"
    assert header.first(b"date") == b"Tue, 06 Jan 2026 09:00:05 +0000"
    assert header.first(b"message-id") == b"<0123456789abcdef0123456789abcdef@relay.example>"


def test_the_header_comes_back_as_it_was_written() -> None:
    assert returned(answer(report())).strip() == WRITTEN.strip()
    assert returned(answer(report(kind="text/rfc822-headers"))).strip() == WRITTEN.strip()


def test_without_our_fields_only_what_authors_write_comes_back() -> None:
    content = answer(report(header="X-Inbox-User: 4711\nDelivered-To: real@inbox.example\n" + WRITTEN))
    assert "X-Shop-Campaign" not in returned(content)
    assert returned(content).startswith('From: "Example Shop" <news@shop.example>\nTo: info@own.example\n')


HIDING = [
    "X-Note: for REAL@Inbox.example",
    "X-Note: for real@\n inbox.example",
    "X-Note: https://shop.example/u?m=real%40inbox.example",
    "X-Note: =?utf-8?q?for_real=40inbox.example?=",
    "X-Note: =?utf-8?b?" + base64.b64encode(b"for " + REAL.encode()).decode() + "?=",
    "X-Note: " + base64.b64encode(b"xx" + REAL.encode()).decode(),
    "X-Note: " + quopri.encodestring(b"real@inbox.example", quotetabs=True).decode().replace("e", "=65"),
    "X-Note: VERP-real=inbox.example@shop.example",
    "X-Note: real&#64;inbox.example",
]


@pytest.mark.parametrize("field", HIDING, ids=range(len(HIDING)))
def test_no_encoding_hides_the_address(field: str) -> None:
    """12.7-200"""
    content = answer(report(header=ADDED + WRITTEN + field + "\n"))
    assert not occurs(REAL, content)
    assert "X-Note" not in returned(content)
    assert "Your order 77" in returned(content)


def test_what_two_fields_tell_together_is_not_returned() -> None:
    content = answer(report(header=ADDED + "X-A: real@\nX-B: x\n" + WRITTEN), (parse_address("a@x-b.example"),))
    assert "X-A" in returned(content)
    joined = answer(report(header=ADDED + "X-A: for a@\nx-b.example: y\n" + WRITTEN), (parse_address("a@x-b.example"),))
    assert returned(joined).strip() == ""


def test_addresses_known_from_elsewhere_are_kept_out_as_well() -> None:
    header = ADDED + WRITTEN + "X-Note: second@inbox2.example\n"
    assert "X-Note" in returned(answer(report(header=header)))
    assert "X-Note" not in returned(answer(report(header=header), (parse_address("second@inbox2.example"),)))


def test_the_traces_of_delivery_name_further_addresses() -> None:
    header = "Delivered-To: r77@store.example\n" + ADDED + WRITTEN + "X-Note: r77@store.example\n"
    content = answer(report(header=header))
    assert not occurs("r77@store.example", content)


def test_what_the_sender_wrote_is_no_trace() -> None:
    """A list's Delivered-To is below our fields: its address is the sender's business."""
    header = ADDED + "Delivered-To: list@lists.example\nX-List: list@lists.example\n" + WRITTEN
    assert "X-List" in returned(answer(report(header=header)))


@pytest.mark.parametrize(
    ("status", "kept"),
    [("5.2.2", "5.2.2"), ("4.4.7", "4.4.7"), ("5.7.26 (no)", "5.7.26"), ("2.0.0", "5.0.0"), ("what", "5.0.0")],
)
def test_the_status_is_kept(status: str, kept: str) -> None:
    told = delivery_status(answer(report(status=STATUS.replace("5.1.1\nRemote", f"{status}\nRemote"))))
    assert told is not None
    assert told.recipients[0].status == kept


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded", "nonsense"])
def test_news_that_is_no_failure_is_not_passed_on(action: str) -> None:
    assert undelivered(report(status=STATUS.replace("failed", action))) is None


def test_what_is_no_report_is_not_passed_on() -> None:
    assert undelivered(b"Subject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nBack on Monday\r\n") is None


def of(header: str, *named: str) -> Address | None:
    return used_address(Undelivered("5.1.1", named, header.replace("\n", "\r\n").encode()), PAPER.prefix, REALM)


@pytest.mark.parametrize(
    ("header", "named", "used"),
    [
        ("X-Mailrelay-Envelope-To: info@own.example\nTo: other@own.example\n", ["x@own.example"], "info@own.example"),
        ("To: other@own.example\n", [REAL, "info@own.example"], "info@own.example"),
        ("To: Shop <x@shop.example>, Info <info@own.example>\n", [REAL], "info@own.example"),
        ("Cc: a1+promo@u1.alias.example\nTo: x@shop.example\n", [], "a1+promo@u1.alias.example"),
        ("To: SRS0=x=y=z=w@srs.relay.example, postmaster@relay.example\n", [REAL], None),
        ("X-Mailrelay-Envelope-To: info@elsewhere.example\n", [REAL], None),
        ("", [], None),
    ],
)
def test_the_address_that_was_used(header: str, named: list[str], used: str | None) -> None:
    found = of(header, *named)
    assert (str(found) if found is not None else None) == used


def test_a_report_that_tells_little_is_passed_on_all_the_same() -> None:
    content = answer(report(header="", status="Final-Recipient: rfc822;real@inbox.example\nAction: failed\n"))
    assert not occurs(REAL, content)
    told = delivery_status(content)
    assert told is not None
    assert (told.recipients[0].final_recipient, told.recipients[0].status) == (
        "undisclosed-recipient@relay.example",
        "5.0.0",
    )
    assert returned(content).strip() == ""


def test_addresses_beyond_ascii_are_written_in_ascii() -> None:
    found = Undelivered("5.1.1", (REAL,), b"Subject: caf\xc3\xa9\r\n")
    content = compose(found, SENDER, Address("jos\u00e9", "own.example"), (), REALM, PAPER)
    assert b"Final-Recipient: utf-8; jos\\x{E9}@own.example\r\n" in content
    assert split(content).first(b"content-transfer-encoding") == b"8bit"
    assert b"    jos\xc3\xa9@own.example\r\n" in content


@given(st.binary(max_size=300), st.lists(st.text(max_size=40), max_size=3), st.text(max_size=12))
def test_any_report_gives_a_message(header: bytes, named: list[str], status: str) -> None:
    found = Undelivered(status, tuple(named), header + b"X: " + REAL.encode())
    content = compose(found, SENDER, used_address(found, "X-Mailrelay-", REALM), (parse_address(REAL),), REALM, PAPER)
    assert not occurs(REAL, content)
    assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
    assert delivery_status(content) is not None


@given(st.integers(0, 2000), st.integers(0, 60), st.binary(max_size=20))
def test_a_damaged_report_does_no_harm(at: int, removed: int, octets: bytes) -> None:
    content = report()
    damaged = content[:at] + octets + content[at + removed :]
    found = undelivered(damaged)
    if found is not None:
        answer(damaged)


def test_a_huge_header_costs_little() -> None:
    header = b"X-Mailrelay-Id: x\r\n" + b"a: real&#64;inbox\r\n" * 100_000
    found = Undelivered("5.1.1", tuple(f"r{n}@inbox.example" for n in range(1000)), header)
    began = time.process_time()
    content = compose(found, SENDER, None, (parse_address(REAL),), REALM, PAPER)
    assert time.process_time() - began < 1
    assert len(content) < 40_000
