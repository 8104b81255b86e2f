"""Feedback reports with and without a part for machines (RFC 5965, spec section 7.8)."""

from dataclasses import replace

import pytest

from mailrelay.core.bounce import Complaint
from mailrelay.wire.complaint import read

VERP = "b-caasgrlhrgv4332p4zrlah3w2fka2ampsm@alias.example"
ORIGINAL = f"""\
Return-Path: <{VERP}>
X-Mailrelay-Id: 0123456789abcdef
Feedback-ID: F:0a1b2c3d4e5f:rewrite:relay
Subject: Your order 77
"""
REPORT = f"""
Feedback-Type: Abuse
User-Agent: Some
 Loop/1.0
Version: 1
Original-Mail-From: <{VERP}>
Original-Rcpt-To: <real@inbox.example>
Original-Rcpt-To: other@inbox.example
Original-Rcpt-To: real@inbox.example
Received-Date: Tue, 06 Jan 2026 09:00:02 +0000
Reported-Domain: alias.example
"""
HEADER = ORIGINAL.replace("\n", "\r\n").encode()
FROM_REPORT = Complaint(
    feedback_type="abuse",
    user_agent="Some Loop/1.0",
    original_mail_from=VERP,
    original_rcpt_to=("real@inbox.example", "other@inbox.example"),
    arrival_date="Tue, 06 Jan 2026 09:00:02 +0000",
    reported_domains=("alias.example",),
    header=HEADER,
    return_path=VERP,
    mailrelay_id="0123456789abcdef",
    feedback_id="F:0a1b2c3d4e5f:rewrite:relay",
)
FROM_MESSAGE = Complaint("abuse", "", "", (), "", (), HEADER, VERP, "0123456789abcdef", "F:0a1b2c3d4e5f:rewrite:relay")


def mail(*parts: str, kind: str = "multipart/report; report-type=feedback-report", extra: str = "") -> bytes:
    body = "".join(f"--b\n{part}\n" for part in parts)
    text = f"From: loop@inbox.example\n{extra}MIME-Version: 1.0\nContent-Type: {kind}; boundary=b\n\n{body}--b--\n"
    return text.replace("\n", "\r\n").encode()


TEXT = "Content-Type: text/plain\n\nSomebody did not like this.\n"
MACHINE = f"Content-Type: message/feedback-report\n{REPORT}"
MESSAGE = f"Content-Type: message/rfc822\n\n{ORIGINAL}\nThank you.\n"
HEADERS = f"Content-Type: text/rfc822-headers\n\n{ORIGINAL}"


def test_everything_in_a_report_is_read() -> None:
    assert read(mail(TEXT, MACHINE, MESSAGE)) == FROM_REPORT


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(mail(TEXT, MACHINE, HEADERS), id="header-only"),
        pytest.param(mail(TEXT, MACHINE, MESSAGE, kind="multipart/mixed"), id="mixed"),
        pytest.param(mail(MESSAGE, MACHINE), id="order"),
        pytest.param(mail(TEXT, MACHINE, MESSAGE)[:-8], id="not-closed"),
        pytest.param(
            mail(f"Content-Type: multipart/report; boundary=i\n\n--i\n{MACHINE}\n--i\n{MESSAGE}\n--i--\n"), id="nested"
        ),
    ],
)
def test_reports_are_read_however_they_are_put_together(content: bytes) -> None:
    assert read(content) == FROM_REPORT


def test_what_is_missing_is_empty() -> None:
    assert read(mail(TEXT)) == Complaint("", "", "", (), "", (), b"", "", "", "")
    assert read(mail(MACHINE.replace("Feedback-Type", "X"), MESSAGE)) == replace(FROM_REPORT, feedback_type="")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(mail(TEXT, MESSAGE, kind="multipart/mixed", extra="X-XARF: PLAIN\n"), id="x-arf"),
        pytest.param(
            mail(TEXT, MESSAGE, kind="multipart/mixed", extra="Subject: complaint about message from 192.0.2.10\n"),
            id="subject",
        ),
        pytest.param(
            mail("Content-Type: text/plain\n\nThis is an email abuse report.\n", HEADERS, kind="multipart/mixed"),
            id="text",
        ),
    ],
)
def test_complaints_without_a_part_for_machines_are_known_by_their_words(content: bytes) -> None:
    assert read(content) == FROM_MESSAGE


def test_the_recipient_of_a_junk_mail_report_stands_in_the_message() -> None:
    message = MESSAGE.replace("Subject:", "X-HmXmrOriginalRecipient: real@inbox.example\nSubject:")
    found = read(mail(message, kind="multipart/mixed", extra="Subject: complaint about message from 192.0.2.10\n"))
    assert found is not None
    assert found.original_rcpt_to == ("real@inbox.example",)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(mail(TEXT, MESSAGE, kind="multipart/mixed", extra="Subject: look at this\n"), id="forwarded"),
        pytest.param(mail(TEXT, kind="multipart/mixed", extra="Subject: abuse report\n"), id="no-message"),
        pytest.param(b"Subject: abuse report\r\n\r\n" + HEADER, id="no-parts"),
        pytest.param(
            mail(
                "Content-Type: message/rfc822\n\n" + mail(MACHINE).decode().replace("--b", "--c").replace("=b", "=c"),
                kind="multipart/mixed",
            ),
            id="attached",
        ),
        pytest.param(b"", id="empty"),
    ],
)
def test_other_mail_is_no_complaint(content: bytes) -> None:
    assert read(content) is None


def test_our_header_fields_may_have_another_name() -> None:
    content = mail(MACHINE, MESSAGE.replace("X-Mailrelay-Id", "X-Alias-Id"))
    found, other = read(content, "X-Alias-"), read(content)
    assert found == replace(FROM_REPORT, header=HEADER.replace(b"X-Mailrelay-Id", b"X-Alias-Id"))
    assert other is not None
    assert other.mailrelay_id == ""


def test_control_characters_do_not_get_through() -> None:
    found = read(mail(MACHINE.replace("Abuse", "abuse\x1b[31m\x00"), MESSAGE))
    assert found is not None
    assert found.feedback_type == "abuse [31m"
