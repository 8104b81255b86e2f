"""Reports of several mail systems, and what only looks like one."""

import base64
import time

import pytest

from mailrelay.wire.report import MAX_DEPTH, MAX_PARTS, DeliveryStatus, RecipientStatus, delivery_status, returned

STATUS = """\
Reporting-MTA: dns; mx.relay.example
X-Postfix-Queue-ID: 4XyZ12AbCd
X-Postfix-Sender: rfc822; b-caasgrlhrgv4332p4zrlah3w2fka2ampsm@alias.example
Arrival-Date: Tue,  6 Jan 2026 09:00:02 +0000 (UTC)

Final-Recipient: rfc822; real@inbox.example
Original-Recipient: rfc822;real@inbox.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mail.inbox.example
Diagnostic-Code: smtp; 550 5.1.1 <real@inbox.example>: Recipient address
    rejected:
 User unknown
Last-Attempt-Date: Tue, 6 Jan 2026 09:01:00 +0000
"""
PARSED = DeliveryStatus(
    "mx.relay.example",
    (
        RecipientStatus(
            final_recipient="real@inbox.example",
            original_recipient="real@inbox.example",
            action="failed",
            status="5.1.1",
            diagnostic_code="smtp; 550 5.1.1 <real@inbox.example>: Recipient address rejected: User unknown",
            remote_mta="mail.inbox.example",
            last_attempt="Tue, 6 Jan 2026 09:01:00 +0000",
        ),
    ),
)


def report(
    status: str = STATUS,
    kind: str = 'multipart/report; report-type=delivery-status;\n\tboundary="b1/x"',
    status_header: str = "Content-Type: message/delivery-status",
    end: str = "--b1/x--\n",
) -> bytes:
    """A report as Postfix writes it, or with something else in one place."""
    text = f"""\
From: MAILER-DAEMON@mx.relay.example
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: {kind}

This is a MIME-encapsulated message.

--b1/x
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not
be delivered. --b1/x is no line of its own here.

--b1/x \t
{status_header}

{status}
--b1/x
Content-Type: message/rfc822

Subject: Your order 77

Final-Recipient: rfc822; nobody@inbox.example
{end}"""
    return text.replace("\n", "\r\n").encode()


def only(status: str) -> RecipientStatus:
    found = delivery_status(report(status))
    assert found is not None
    [recipient] = found.recipients
    return recipient


def test_a_report_of_postfix_is_understood() -> None:
    assert delivery_status(report()) == PARSED


@pytest.mark.parametrize(
    "kind",
    [
        "Multipart/REPORT; Report-Type=Delivery-Status; boundary=b1/x",
        'multipart/report; boundary="b1\\/x "; report-type="delivery-status"',
        "multipart/report (a comment); report-type=delivery-status (another); boundary=b1/x",
        "multipart/report; boundary=b1/x",
        'multipart/report; x="a;boundary=no"; report-type=delivery-status; boundary=b1/x; boundary=second',
    ],
)
def test_content_types_are_read_however_they_are_written(kind: str) -> None:
    assert delivery_status(report(kind=kind)) == PARSED


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/mixed; boundary=b1/x",
        "multipart/report; report-type=feedback-report; boundary=b1/x",
        "multipart/report; report-type=delivery-status",
        "multipart/report; report-type=delivery-status; boundary=other",
        'multipart/report; report-type=delivery-status; boundary=""',
        "text/plain",
        "report",
        "",
    ],
)
def test_other_messages_are_no_reports(kind: str) -> None:
    assert delivery_status(report(kind=kind)) is None


def test_a_report_without_its_status_part_is_none() -> None:
    assert delivery_status(report(status_header="Content-Type: text/plain")) is None


@pytest.mark.parametrize("end", ["", "--b1/x", "--b1/x--", "--b1/x--\nepilogue\n--b1/x\n"])
def test_the_closing_line_may_be_missing(end: str) -> None:
    assert delivery_status(report(end=end)) == PARSED


def test_a_large_returned_message_does_not_matter() -> None:
    assert delivery_status(report(end="x" * 3_000_000)) == PARSED


def test_bare_line_feeds_are_read() -> None:
    assert delivery_status(report().replace(b"\r\n", b"\n")) == PARSED


def test_transfer_encodings_are_undone() -> None:
    header = "Content-Type: message/global-delivery-status\nContent-Transfer-Encoding: "
    encoded = base64.encodebytes(STATUS.encode()).decode()
    assert delivery_status(report(encoded, status_header=header + "BASE64")) == PARSED
    assert delivery_status(report(STATUS.replace(":", "=3A"), status_header=header + "quoted-printable")) == PARSED


def test_a_broken_transfer_encoding_does_no_harm() -> None:
    header = "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64"
    assert delivery_status(report("A", status_header=header)) == DeliveryStatus("", ())


def test_of_base64_that_was_cut_the_beginning_is_read() -> None:
    header = "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64"
    for end in range(1, 8):
        cut = base64.encodebytes(STATUS.encode()).decode().rstrip("=\n")[:-end]
        found = delivery_status(report(cut, status_header=header))
        assert found is not None
        assert found.recipients[0].diagnostic_code == PARSED.recipients[0].diagnostic_code


def test_a_field_of_very_many_lines_costs_little() -> None:
    begin = time.process_time()
    assert only("Action: failed\nDiagnostic-Code: x\n" + " y\n" * 85_000).diagnostic_code.startswith("x y y")
    assert time.process_time() - begin < 1


def test_every_recipient_has_its_entry_in_order() -> None:
    more = "\n \n\nFinal-Recipient: rfc822; second@inbox2.example\nAction: Delayed (will retry)\nStatus: 4.4.1\n"
    found = delivery_status(report(STATUS + more))
    assert found is not None
    assert [(entry.final_recipient, entry.action, entry.status) for entry in found.recipients] == [
        ("real@inbox.example", "failed", "5.1.1"),
        ("second@inbox2.example", "delayed", "4.4.1"),
    ]


def test_missing_fields_are_empty() -> None:
    assert only("Action: failed\n") == RecipientStatus("", "", "failed", "", "", "", "")


@pytest.mark.parametrize(
    ("status", "code", "diagnostic"),
    [
        ("5.7.1 (delivery not authorized)", "5.7.1", "delivery not authorized"),
        ("5.7.1 no thanks", "5.7.1", "no thanks"),
        ("5.1.10", "5.1.10", ""),
        ("5.1", "", "5.1"),
        ("5.1.1.1", "", "5.1.1.1"),
        ("5.1.1000", "", "5.1.1000"),
        ("550", "", "550"),
        ("", "", ""),
    ],
)
def test_text_after_the_status_stands_in_for_the_diagnostic_code(status: str, code: str, diagnostic: str) -> None:
    recipient = only(f"Final-Recipient: rfc822; a@inbox.example\nStatus: {status}\n")
    assert (recipient.status, recipient.diagnostic_code) == (code, diagnostic)
    recipient = only(f"Final-Recipient: rfc822; a@inbox.example\nStatus: {status}\nDiagnostic-Code: smtp; 550 no\n")
    assert (recipient.status, recipient.diagnostic_code) == (code, "smtp; 550 no")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822;real@inbox.example", "real@inbox.example"),
        ("RFC822 ; <real@inbox.example>", "real@inbox.example"),
        ("utf-8; m\xfcller@inbox.example", "m\xfcller@inbox.example"),
        ("utf-8; m\\x{FC}ller@inbox.example", "m\xfcller@inbox.example"),
        ("UTF-8;\\x{90F5}\\x{4FBF}@inbox.example", "\u90f5\u4fbf@inbox.example"),
        ("utf-8; a\\x{D800}\\x{110000}\\x{A}b@inbox.example", "a\\x{D800}\\x{110000}\\x{A}b@inbox.example"),
        ("utf-8; a\\x{0A}b@inbox.example", "a b@inbox.example"),
        ("rfc822; m\\x{FC}ller@inbox.example", "m\\x{FC}ller@inbox.example"),
        ("real@inbox.example", "real@inbox.example"),
        ("", ""),
    ],
)
def test_types_and_brackets_are_cut_from_addresses(value: str, address: str) -> None:
    assert only(f"Action: failed\nFinal-Recipient: {value}\n").final_recipient == address


def test_odd_lines_are_passed_over() -> None:
    odd = " folded from nowhere\nno colon\n folded under it\n: no name\nAction: failed\nACTION: delayed\n\t(late)\n"
    assert only(odd + "Diagnostic-Code:\n\tsmtp; 550 no\n").action == "failed"
    assert only(odd + "Diagnostic-Code:\n\tsmtp; 550 no\n").diagnostic_code == "smtp; 550 no"


def test_values_are_fit_for_a_database() -> None:
    content = report("Action: failed\nDiagnostic-Code: smtp; @\n").replace(
        b"@\r\n", b"a\0b\x1b\xff" + b"x" * 9000 + b"\r\n"
    )
    found = delivery_status(content)
    assert found is not None
    code = found.recipients[0].diagnostic_code
    assert code.startswith("smtp; a b \ufffdxxx")
    assert len(code) == 2000


def nested(depth: int, inside: bytes) -> bytes:
    for level in range(depth):
        boundary = b"n%d" % level
        header = b"Content-Type: multipart/mixed; boundary=" + boundary
        inside = header + b"\r\n\r\n--" + boundary + b"\r\n" + inside + b"\r\n--" + boundary + b"--\r\n"
    return inside


def test_a_report_inside_other_parts_is_found_down_to_the_limit() -> None:
    assert delivery_status(nested(MAX_DEPTH - 1, report())) == PARSED
    assert delivery_status(nested(MAX_DEPTH, report())) is None


def test_a_report_inside_an_attached_message_is_somebody_elses() -> None:
    attached = b"Content-Type: message/rfc822\r\n\r\n" + report()
    assert delivery_status(nested(1, attached)) is None


def test_the_number_of_parts_is_bounded() -> None:
    def after(parts: int) -> bytes:
        return (
            b"Content-Type: multipart/mixed; boundary=z\r\n\r\n" + b"--z\r\n\r\nx\r\n" * parts + b"--z\r\n" + report()
        )

    assert delivery_status(after(MAX_PARTS - 10)) == PARSED
    assert delivery_status(after(MAX_PARTS)) is None


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"Content-Type:", b"Content-Type: multipart/report; boundary\r\n\r\n--"]
)
def test_fragments_are_no_reports(content: bytes) -> None:
    assert delivery_status(content) is None


# -- The message that came back --------------------------------------------------------------------------------------

BACK = b"Received: x\r\nSubject: Your order 77\r\n\r\n.\xff--b1/x\r\n--b1/y\r\n--b1/x-\r\n\r\n"


def with_message(
    message: bytes, kind: bytes = b"Content-Type: message/rfc822", end: bytes = b"\r\n--b1/x--\r\n"
) -> bytes:
    """A report as Postfix writes it, and what it returns."""
    before, marker, _ = report().rpartition(b"Content-Type: message/rfc822\r\n\r\n")
    assert marker
    return before + kind + b"\r\n\r\n" + message + end


@pytest.mark.parametrize(
    "kind",
    [
        b"Content-Type: message/rfc822",
        b"Content-Description: Undelivered Message\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit",
        b"Content-Type: message/global\r\nContent-Transfer-Encoding: Binary",
    ],
)
def test_a_message_comes_back_octet_for_octet(kind: bytes) -> None:
    assert returned(with_message(BACK, kind)) == BACK


def test_a_large_message_comes_back_whole() -> None:
    large = BACK + b"x" * 70 * 1000 + b"\r\n" + b"0123456789\r\n" * 200_000
    assert returned(with_message(large)) == large


def test_a_part_behind_the_message_does_not_matter() -> None:
    end = b"\r\n--b1/x\r\nContent-Type: text/plain\r\n\r\nfooter of a scanner\r\n--b1/x--\r\n"
    assert returned(with_message(BACK, end=end)) == BACK


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(with_message(BACK, b"Content-Type: text/rfc822-headers"), id="header-only"),
        pytest.param(with_message(b"Subject: Your order 77\r\n\r\n"), id="header-that-says-message"),
        pytest.param(with_message(BACK, end=b""), id="cut"),
        pytest.param(with_message(BACK, end=b"x--b1/x--\r\n"), id="no-line-of-its-own"),
        pytest.param(with_message(BACK, end=b"\r\n--b1/z--\r\n"), id="another-boundary"),
        pytest.param(
            with_message(BACK, b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64"), id="encoded"
        ),
        pytest.param(BACK, id="no-report"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_did_not_come_back_whole_is_none(content: bytes) -> None:
    assert returned(content) is None


@pytest.mark.parametrize("step", [1, 7])
def test_a_report_cut_anywhere_returns_nothing(step: int) -> None:
    content = with_message(BACK)
    end = content.rindex(b"--b1/x--")
    assert [at for at in range(0, end, step) if returned(content[:at]) is not None] == []
