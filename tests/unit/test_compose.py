"""The copy in transparent mode: what is added, what goes, and that nothing else is touched."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.header import MAX_FIELDS, split
from mailrelay.core.letterhead import Letterhead, Signer
from tests.unit.example import untouched

UNSIGNED = Signer((), 0)
HEAD = Letterhead(
    id="0123456789abcdef",
    loop_mark="v1; 10c03825a25dd8168c86",
    rcpt="A1+Promo@alias.example",
    sender="bounce+77@mta.shop.example",
    destination="real@inbox.example",
)
ADDED = (
    b"X-Mailrelay-Mode: transparent\r\n"
    b"X-Mailrelay-Id: 0123456789abcdef\r\n"
    b"X-Mailrelay-Loop: v1; 10c03825a25dd8168c86\r\n"
    b"X-Mailrelay-Envelope-To: a1+promo@alias.example\r\n"
    b"X-Mailrelay-Envelope-From: bounce+77@mta.shop.example\r\n"
    b"X-Forwarded-To: real@inbox.example\r\n"
    b"X-Forwarded-For: a1+promo@alias.example real@inbox.example\r\n"
)
NULL_SENDER = Letterhead(HEAD.id, HEAD.loop_mark, HEAD.rcpt, "", HEAD.destination)


def copy(content: bytes, head: Letterhead = HEAD, prefix: str = "X-Mailrelay-") -> bytes:
    return b"".join(untouched(split(content), head, UNSIGNED, prefix))


def test_our_fields_stand_on_top() -> None:
    content = b"Received: x\r\nSubject: hello\r\n\r\nbody\r\n"
    assert copy(content) == ADDED + content


REMOVED = ["Return-Path", "X-Original-To", "Envelope-To", "X-Envelope-To", "Apparently-To", "Bcc"]
FORGED = ["X-Mailrelay-Mode", "X-MAILRELAY-ingress", "x-mailrelay-", "X-Mailrelay-Loopy", "X-Mailrelay-Original-From"]
KEPT = [
    *("Delivered-To", "Received", "DKIM-Signature", "DomainKey-Signature", "ARC-Seal", "Authentication-Results"),
    *("From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "Resent-To"),
    *("List-Id", "List-Unsubscribe", "List-Post", "Precedence", "Disposition-Notification-To", "Errors-To"),
    *("Autocrypt", "Feedback-ID", "X-Mailrelay-Loop", "X-Spam", "X-Unknown", "X-Bcc", "X-Mailrelays-Mode"),
]


@pytest.mark.parametrize("name", REMOVED + FORGED)
def test_traces_and_forgeries_go_every_one(name: str) -> None:
    field = name.encode()
    content = b"%b: one\r\nTo: x\r\n%b : two\r\n\tfolded\r\n%b:\r\n\r\n%b: body\r\n" % (
        field,
        field.upper(),
        field.lower(),
        field,
    )
    assert copy(content) == ADDED + b"To: x\r\n\r\n%b: body\r\n" % field


@pytest.mark.parametrize("name", KEPT)
def test_every_other_field_stays_even_twice(name: str) -> None:
    content = b"%b: one\r\n%b :  two \r\n\t folded \r\n\r\nbody\r\n" % (name.encode(), name.upper().encode())
    assert copy(content) == ADDED + content


def test_the_prefix_is_the_installations() -> None:
    content = b"X-Mailrelay-Mode: kept\r\nX-Acme-Mode: forged\r\nX-Acme-Loop: kept\r\n\r\n"
    expected = ADDED.replace(b"X-Mailrelay", b"X-Acme") + b"X-Mailrelay-Mode: kept\r\nX-Acme-Loop: kept\r\n\r\n"
    assert copy(content, prefix="X-Acme-") == expected


@pytest.mark.parametrize("field", [b"", b"Auto-Submitted: auto-generated\r\n", b"AUTO-SUBMITTED: no\r\n"])
def test_mail_of_the_null_sender_says_that_it_wants_no_answer(field: bytes) -> None:
    content = field + b"Subject: hello\r\n\r\n"
    added = ADDED.replace(b"bounce+77@mta.shop.example", b"<>")
    expected = added + (b"" if field else b"Auto-Submitted: auto-replied\r\n") + content
    assert copy(content, NULL_SENDER) == expected


def test_operators_mail_passes_no_alias_and_has_no_mark() -> None:
    head = Letterhead(HEAD.id, "", HEAD.rcpt, HEAD.sender, HEAD.destination)
    assert b"X-Mailrelay-Loop" not in copy(b"Subject: x\r\n\r\n", head)


def test_what_was_found_out_stands_between_the_envelope_and_the_forwarding() -> None:
    head = replace(HEAD, authentication_results="mx.relay.example; spf=pass; arc=none", spam=True, resend=True)
    found = (
        b"X-Mailrelay-Authentication-Results: mx.relay.example; spf=pass; arc=none\r\n"
        b"X-Mailrelay-Spam: Yes\r\n"
        b"X-Mailrelay-Resend: Yes\r\n"
    )
    content = b"Authentication-Results: mx.relay.example; spf=pass; arc=none\r\nTo: y\r\n\r\n"
    above, below = ADDED[: ADDED.index(b"X-Forwarded-To")], ADDED[ADDED.index(b"X-Forwarded-To") :]
    assert copy(content, head) == above + found + below + content
    compat = b"X-AnonAddy-Original-Envelope-From: bounce+77@mta.shop.example\r\n" + found.replace(
        b"X-Mailrelay", b"X-AnonAddy"
    )
    assert copy(content, replace(head, compat=True)) == above + found + compat + below + content


def test_an_mbox_line_stays_on_top() -> None:
    assert copy(b"From x Tue Jan  6\r\nTo: y\r\n\r\n") == b"From x Tue Jan  6\r\n" + ADDED + b"To: y\r\n\r\n"


@pytest.mark.parametrize(
    ("content", "rest"),
    [
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"\r\n", b"\r\n", id="no-header"),
        pytest.param(b"\r\nbody\r\n", b"\r\nbody\r\n", id="no-header-but-body"),
        pytest.param(b"Subject: x\r\n", b"Subject: x\r\n", id="header-only"),
        pytest.param(b"Subject: x\r\nbody\r\n", b"Subject: x\r\n\r\nbody\r\n", id="no-separator"),
        pytest.param(b"body\r\n", b"\r\nbody\r\n", id="body-only"),
        pytest.param(b" folded\r\n", b"\r\n folded\r\n", id="continuation-of-nothing"),
        pytest.param(b"Bcc: x\r\n folded\r\n", b"", id="nothing-left"),
        pytest.param(b"Bcc: x\r\nbody\r\n", b"\r\nbody\r\n", id="only-a-body-left"),
    ],
)
def test_odd_messages_keep_their_shape(content: bytes, rest: bytes) -> None:
    out = copy(content)
    assert out == ADDED + rest
    assert split(out).body == split(content).body


@pytest.mark.parametrize(
    "sender", ["a\r\nBcc: x@bad.example\r\n\r\n@shop.example", "m\udcfcll@x.example", "ü@x.example", "x" * 3000, "a\0b"]
)
def test_no_sender_breaks_out_of_its_field(sender: str) -> None:
    head = Letterhead(HEAD.id, HEAD.loop_mark, HEAD.rcpt, sender, HEAD.destination)
    message = split(copy(b"Subject: x\r\n\r\nbody\r\n", head))
    assert [field.name for field in message.fields] == [
        *(b"x-mailrelay-mode", b"x-mailrelay-id", b"x-mailrelay-loop", b"x-mailrelay-envelope-to"),
        *(b"x-mailrelay-envelope-from", b"x-forwarded-to", b"x-forwarded-for", b"subject"),
    ]
    assert all(field.raw.isascii() and len(field.raw) < 1200 for field in message.fields)


def test_more_fields_than_are_counted_stay_as_well() -> None:
    content = b"a:\r\n" * (MAX_FIELDS + 5) + b"\r\nbody\r\n"
    assert copy(content) == ADDED + content


PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\xff", b"x", b".", b"\r\n.\r\n", b"\r\n\r\n"),
        *(
            b"A: b\r\n",
            b"From u@x.example\r\n",
            b"From: u\r\n",
            b"Bcc: x\r\n",
            b"X-Mailrelay-Id: 7\r\n",
            b"Bcc: y\n z\n",
        ),
    ]
)
CONTENTS = st.lists(PIECES | st.binary(max_size=12), max_size=25).map(b"".join)


@settings(max_examples=400)
@given(CONTENTS, st.sampled_from([HEAD, NULL_SENDER]))
def test_every_octet_below_our_fields_is_kept(content: bytes, head: Letterhead) -> None:
    message = split(content)
    gone = re.compile(rb"(return-path|x-original-to|(x-)?envelope-to|apparently-to|bcc|x-mailrelay-(?!loop$).*)$")
    kept = [field.raw for field in message.fields if not gone.match(field.name)]
    opaque_top = b"".join(kept[:1]) if message.fields and not message.fields[0].name else b""
    separator = b"\r\n" if message.header_end == message.body_start < len(content) else b""
    below = b"".join(kept)[len(opaque_top) :] + separator + content[message.header_end :]
    out = copy(content, head)
    assert out.startswith(opaque_top + b"X-Mailrelay-Mode: transparent\r\n")
    assert out.endswith(below)
    added = out[len(opaque_top) : len(out) - len(below)]
    assert [field.raw for field in split(added).fields] == re.findall(rb"[^\r]+\r\n", added)


@settings(max_examples=300)
@given(CONTENTS.map(lambda content: re.sub(rb"[\r\n]+", b"\r\n", content + b"\r\n")))
def test_what_lmtp_brings_leaves_in_chunks_of_whole_lines(content: bytes) -> None:
    message = split(content)
    chunks = untouched(message, HEAD, UNSIGNED)
    assert all(chunk.endswith(b"\r\n") for chunk in chunks)
    assert split(b"".join(chunks)).body == message.body
