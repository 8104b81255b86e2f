"""The header of a reply or send: the table of spec section 4.4, and the example of 4.12 to the octet."""

import base64
import time
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address
from mailrelay.core.author import author
from mailrelay.core.dkim import body_hash
from mailrelay.core.header import Field, split
from mailrelay.core.letterhead import Header, Signer
from mailrelay.core.sending.addressees import Whose, addressed, named
from mailrelay.core.sending.header import Outgoing, outgoing, sender_name
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.ids import Known, cited, threaded
from mailrelay.core.verp import EmailType
from tests.unit.example import ALIAS_ID, HOUSE
from tests.unit.test_dkim import RSA
from tests.unit.test_leak import occurs

ALIAS = Address("a1", "alias.example")
REAL, SECOND = Address("real", "inbox.example"), Address("second", "inbox2.example")
HELP = Address("help", "shop.example")
NOW = datetime(2026, 1, 6, 18, 20, tzinfo=UTC)
OUR_ID = "<8f0c6b1e0b5d4f6fa1d2c3b4a5968778@alias.example>"

# As a mail program would send the answer of section 4.12, with all that gives its user away.
ANSWER = b"""\
Received: from [192.0.2.77] (laptop.inbox.example [192.0.2.77]) by mail.inbox.example; Tue, 6 Jan 2026 13:15:01 -0500
DKIM-Signature: v=1; a=rsa-sha256; d=inbox.example; s=s1; h=from; bh=...; b=...
X-Originating-IP: 192.0.2.77
User-Agent: Mozilla Thunderbird
Autocrypt: addr=real@inbox.example; keydata=...
X-Identity-Key: id1
From: "Real Name" <real@inbox.example>
To: "Support Desk 'help at shop.example'" <a1+help=shop.example@alias.example>
Subject: Re: Your order 77
Date: Tue, 06 Jan 2026 13:15:00 -0500
Message-ID: <2b1c2a@inbox.example>
In-Reply-To: <20260106.77@shop.example>
References: <20260106.77@shop.example>
Organization: Inbox
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Thank you!
""".replace(b"\n", b"\r\n")
# Below the two signatures.
EXAMPLE = b"""\
Feedback-ID: R:6a03c376ef1d:relay:mailrelay
From: "Shopper" <a1@alias.example>
To: help@shop.example
Subject: Re: Your order 77
Date: Tue, 06 Jan 2026 18:15:00 +0000
Message-ID: <8f0c6b1e0b5d4f6fa1d2c3b4a5968778@alias.example>
In-Reply-To: <20260106.77@shop.example>
References: <20260106.77@shop.example>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
""".replace(b"\n", b"\r\n")


def composed(content: bytes, contact: Address = HELP, **more: object) -> Header:
    message = split(content)
    hidden = Hidden.of((REAL, SECOND), author(message), ALIAS)
    said = Outgoing(
        kind=EmailType.REPLY,
        alias=ALIAS,
        alias_id=ALIAS_ID,
        name=sender_name(hidden, None, "Shopper"),
        parties=addressed(named(message), Whose(ALIAS, (), {}, hidden), contact),
        thread=threaded(message, cited(message), Known(), OUR_ID, hidden),
        hidden=hidden,
        now=NOW,
    )
    return outgoing(message, replace(said, **more), HOUSE)  # type: ignore[arg-type]


def values(content: bytes, field: str, **more: object) -> list[bytes]:
    header = composed(content, **more)  # type: ignore[arg-type]
    return split(header.block + b"\r\n").values(field.lower().encode())


def raws(content: bytes, name: str, **more: object) -> list[bytes]:
    return [one.raw for one in composed(content, **more).fields if one.name == name.encode()]  # type: ignore[arg-type]


def test_the_example_of_section_4_12() -> None:
    assert b"".join(composed(ANSWER).above(split(ANSWER))) == EXAMPLE + b"\r\nThank you!\r\n"


def test_the_example_is_signed_above_its_fields() -> None:
    signed = composed(ANSWER).signed(body_hash(b"Thank you!\r\n"), Signer((RSA,), int(NOW.timestamp())))
    assert [one.name for one in signed.fields[:2]] == [b"dkim-signature", b"feedback-id"]
    assert b"".join(one.raw for one in signed.fields[1:]) == EXAMPLE


REMOVED = [
    *(
        "Received",
        "Return-Path",
        "DKIM-Signature",
        "ARC-Seal",
        "Authentication-Results",
        "X-Originating-IP",
        "X-Sender",
    ),
    *("X-Authenticated-User", "X-Google-Smtp-Source", "X-MS-Exchange-Organization", "X-Yahoo-Newman", "X-Proton-Key"),
    *(
        "User-Agent",
        "X-Mailer",
        "Organization",
        "Autocrypt",
        "Openpgp",
        "X-Face",
        "Face",
        "Disposition-Notification-To",
    ),
    *(
        "Return-Receipt-To",
        "Resent-From",
        "Sender",
        "Bcc",
        "X-Identity-Key",
        "X-Account-Key",
        "Thread-Index",
        "Reply-To",
    ),
    *("X-Mailrelay-Loop", "X-Mailrelay-Ingress", "List-Unsubscribe", "List-Id", "Feedback-ID", "Errors-To", "Author"),
    *("Precedence", "Comments", "Keywords", "X-Unknown", "MIME-Versions", "Contents-X", "X-Content-Type"),
]


@pytest.mark.parametrize("name", [pytest.param(name, id=f"row-109-{name}") for name in REMOVED])
def test_what_is_not_allowed_goes(name: str) -> None:
    field = b"%b: real\r\n %b : again\r\n" % (name.encode(), name.upper().encode())
    assert composed(field + ANSWER).block == EXAMPLE


@pytest.mark.parametrize(
    "raw",
    [
        *(
            b"Importance: high\r\n",
            b"priority:urgent\r\n",
            b"X-Priority:  1 (Highest)\r\n",
            b"Sensitivity: Private\r\n",
        ),
        *(b"Auto-Submitted: auto-generated\r\n", b"auto-submitted: no\r\n", b"Content-Language: de-CH,\r\n\ten\r\n"),
        *(b"Content-ID: <1@x.example>\r\n", b"CONTENT-disposition: attachment;\r\n filename=a.txt\r\n"),
    ],
)
def test_kept_fields_keep_their_octets(raw: bytes) -> None:
    name = raw.partition(b":")[0].decode().lower()
    assert raws(raw + ANSWER, name) == [raw]
    assert raws(ANSWER.replace(b"\r\n\r\n", b"\r\n%b%b: no. 2\r\n\r\n" % (raw, name.encode()), 1), name) == [raw]


def test_fields_come_in_one_order_whatever_the_mail_program() -> None:
    header, _, body = ANSWER.partition(b"\r\n\r\n")
    fields = (header + b"\r\n").splitlines(keepends=True)
    assert composed(b"".join(reversed(fields)) + b"\r\n" + body).block == EXAMPLE


@pytest.mark.parametrize(
    ("names", "name"),
    [
        pytest.param(("By rule", "Alias", "Parent", "Account"), "By rule", id="row-115-rule"),
        pytest.param((None, "Alias", "Parent", "Account"), "Alias", id="row-115-alias"),
        pytest.param(("", "", "Parent", "Account"), "Parent", id="row-115-parent"),
        pytest.param((None, "", " ", "Account"), "Account", id="row-115-account"),
        pytest.param((None, "", "", ""), "", id="row-115-none"),
        (("real@inbox.example", "Alias"), "Alias"),
        (('"Shopper"',), "Shopper"),
    ],
)
def test_the_name_in_from(names: tuple[str | None, ...], name: str) -> None:
    assert sender_name(Hidden.of((REAL,), None, ALIAS), *names) == name
    written = b'"%b" <a1@alias.example>' % name.encode() if name else b"a1@alias.example"
    assert values(ANSWER, "From", name=name) == [written]


def test_row_116_a_domain_that_is_not_verified_for_sending() -> None:
    alias, fallback = Address("a1", "unsent.example"), Address("relay", "relay.example")
    found = split(composed(ANSWER, alias=alias, fallback_from=fallback).block)
    assert found.values(b"from") == [b'"Shopper" <relay@relay.example>']
    assert found.values(b"reply-to") == [b"a1@unsent.example"]
    assert [one.name for one in found.fields[:4]] == [b"feedback-id", b"from", b"reply-to", b"to"]


def test_row_100_a_send_says_so_in_its_feedback_id() -> None:
    assert values(ANSWER, "Feedback-ID", kind=EmailType.SEND) == [b"S:6a03c376ef1d:relay:mailrelay"]


def test_row_101_each_copy_shows_both_contacts_and_one_id() -> None:
    content = ANSWER.replace(b"To: ", b"To: a1+x=y.example@alias.example,\r\n ", 1)
    first, second = composed(content), composed(content, contact=Address("x", "y.example"))
    assert first == second
    assert split(first.block).values(b"to") == [b"x@y.example, help@shop.example"]


def test_row_110_the_date_is_in_utc_and_there_is_one() -> None:
    assert values(ANSWER, "Date") == [b"Tue, 06 Jan 2026 18:15:00 +0000"]
    assert values(b"To: x@y.example\r\n\r\n", "Date") == [b"Tue, 06 Jan 2026 18:20:00 +0000"]


def test_a_message_with_an_empty_header() -> None:
    assert composed(b"\r\nbody\r\n").block.splitlines() == [
        *(b"Feedback-ID: R:6a03c376ef1d:relay:mailrelay", b'From: "Shopper" <a1@alias.example>'),
        *(b"To: undisclosed-recipients:;", b"Date: Tue, 06 Jan 2026 18:20:00 +0000", b"Message-ID: " + OUR_ID.encode()),
    ]


@pytest.mark.parametrize("raw", [b"Subject: Re: Your\r\n  order  77 \r\n", b"SUBJECT:=?iso-8859-1?q?Gr=FC=DFe?=\r\n"])
def test_a_subject_keeps_its_octets(raw: bytes) -> None:
    assert raws(b"From: x@y.example\r\n" + raw + b"\r\n", "subject") == [raw]


def test_a_subject_by_rule() -> None:
    assert values(ANSWER, "Subject", subject="[A] {{subject}}") == [b"[A] Re: Your order 77"]
    assert values(b"\r\n", "Subject", subject="Fixed") == [b"Fixed"]
    assert values(ANSWER, "Subject", subject="to real@inbox.example") == [b"to a1@alias.example"]


def test_a_subject_that_was_encrypted() -> None:
    inner = Field(b"subject", b"Subject: secret\r\n")
    assert raws(ANSWER, "subject", body_fields={b"subject": inner}) == [inner.raw]
    assert values(ANSWER, "Subject", body_fields={b"subject": inner}, subject="[A] {{subject}}") == [b"[A] secret"]


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (b"Fwd: Real@Inbox.example wrote", [b"Fwd: a1@alias.example wrote"]),
        (b"=?utf-8?q?an_real=40inbox=2Eexample?=", [b"an a1@alias.example"]),
        (b"=?utf-8?b?cmVhbEBpbmJveC5leGFtcGxl?= =?utf-8?q?_=C3=BC?=", [b"a1@alias.example =?utf-8?b?w7w=?="]),
        (b"about surreal@inbox.example", [b"about surreal@inbox.example"]),
        (b"%72eal@inbox.example", []),
    ],
)
def test_the_alias_stands_in_for_the_owner_in_a_subject(subject: bytes, said: list[bytes]) -> None:
    assert values(b"Subject: %b\r\n\r\n" % subject, "Subject") == said


def test_the_loop_mark_is_on_top() -> None:
    assert composed(ANSWER, loop_mark="v1; 10c03825a25dd8168c86").block == (
        b"X-Mailrelay-Loop: v1; 10c03825a25dd8168c86\r\n" + EXAMPLE
    )


def test_the_body_may_have_become_another() -> None:
    fields = {
        b"content-type": Field(b"content-type", b"Content-Type: text/html\r\n"),
        b"content-transfer-encoding": Field(b"content-transfer-encoding", b"Content-Transfer-Encoding: base64\r\n"),
        b"content-language": None,
    }
    found = composed(b"Content-Language: de\r\n" + ANSWER, body_fields=fields).block
    assert (
        found == EXAMPLE.replace(b"text/plain; charset=utf-8", b"text/html") + b"Content-Transfer-Encoding: base64\r\n"
    )


@pytest.mark.parametrize(
    ("field", "name", "said"),
    [
        (b'Auto-Submitted: auto-replied; owner-email="real@inbox.example"', "Auto-Submitted", [b"auto-replied"]),
        (b"X-Priority: real@inbox.example", "X-Priority", []),
        (b"Importance: \xff", "Importance", []),
        (b"MIME-Version: 1.0 (real@inbox.example)", "MIME-Version", [b"1.0"]),
        (b"Content-Description: mail of real@inbox.example", "Content-Description", []),
        (b"Content-ID: <part1@inbox.example>", "Content-ID", []),
        (
            b'Content-Disposition: attachment; filename="real@inbox.example.asc"',
            "Content-Disposition",
            [b"attachment"],
        ),
        (
            b'Content-Type: text/x-key; name="=?utf-8?q?real=40inbox.example?="; charset=us-ascii; boundary="a\\"b"',
            "Content-Type",
            [b'text/x-key;\tboundary="a\\"b";\tcharset="us-ascii"'],
        ),
        (b"Content-Transfer-Encoding: BASE64 (for real@inbox.example)", "Content-Transfer-Encoding", [b"base64"]),
        (b"Content-Type: real@inbox.example", "Content-Type", []),
    ],
)
def test_fields_about_the_body_that_name_the_owner(field: bytes, name: str, said: list[bytes]) -> None:
    assert values(b"To: x@y.example\r\n" + field + b"\r\n\r\n", name) == said


@pytest.mark.parametrize(
    "field",
    [
        *(b"Content-Location: http://mail.inbox.example/x", b"Content-Base: http://inbox.example/"),
        *(b"Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==", b"Content-Whatever: Real Name, inbox.example"),
    ],
)
def test_row_109_fields_that_no_reader_needs_name_no_place(field: bytes) -> None:
    found = composed(field + b"\r\n" + ANSWER).block
    assert found == composed(ANSWER).block


def test_one_field_that_names_the_owner_leaves_the_others_readable() -> None:
    content = b'Content-Type: multipart/mixed; boundary="b1"\r\nContent-Description: real@inbox.example\r\n\r\n'
    assert values(content, "Content-Type") == [b'multipart/mixed;\tboundary="b1"']


def test_a_relayed_answer_of_an_autoresponder_says_so() -> None:
    assert values(b"Auto-Submitted: auto-generated\r\n" + ANSWER, "Auto-Submitted", automatic=True) == [b"auto-replied"]
    assert values(ANSWER, "Auto-Submitted", automatic=True) == [b"auto-replied"]


def test_nothing_beyond_ascii_for_a_contact_in_ascii() -> None:
    content = (
        "From: jürgen@bücher.example\r\nTo: Jürgen <jürgen@bücher.example>\r\nSubject: Grüße\r\n"
        'Importance: größer\r\nContent-Type: text/plain; name="ü.txt"\r\nReferences: <ü@x.example>\r\n\r\n'
    ).encode()
    assert composed(content).block.isascii()
    assert values(content, "Subject") == [b"=?utf-8?b?R3LDvMOfZQ==?="]


def test_long_lines_are_cut() -> None:
    content = b"Subject: " + b"word " * 400 + b"\r\nContent-Description: " + b"word " * 400 + b"\r\n\r\n"
    found = composed(content).block
    assert max(map(len, found.split(b"\r\n"))) <= 998
    assert found.count(b"word") == 800


def test_a_field_without_its_line_end_gets_one() -> None:
    assert raws(b"Subject: x", "subject") == [b"Subject: x\r\n"]


ADDRESSES = ("real@inbox.example", "Second@inbox2.example", "other@inbox3.example")
SPELLINGS = [
    *ADDRESSES,
    *(address.upper() for address in ADDRESSES),
    *(quote(address, safe="") for address in ADDRESSES),
    *(address.replace("@", "=") for address in ADDRESSES),
    *(address.replace("@", " at ") for address in ADDRESSES),
    *(f'"{address.partition("@")[0]}"@{address.partition("@")[2]}' for address in ADDRESSES),
    *(f"=?utf-8?b?{base64.b64encode(address.encode()).decode()}?=" for address in ADDRESSES),
    *(f"=?utf-8?q?{address.replace('@', '=40')}?=" for address in ADDRESSES),
]
NAMES = [
    *("From", "To", "Cc", "Bcc", "Reply-To", "Sender", "Subject", "Date", "Message-ID", "In-Reply-To", "References"),
    *("MIME-Version", "Content-Type", "Content-ID", "Content-Disposition", "Content-Description", "Content-Language"),
    *("Content-Transfer-Encoding", "Auto-Submitted", "Importance", "X-Priority", "Sensitivity", "X-Sender", "Received"),
]
WORDS = [
    "<",
    ">",
    ", ",
    ": ",
    "; ",
    '"',
    " ",
    "\r\n ",
    "text/plain",
    "attachment; filename=",
    "Re",
    "(",
    ")",
    "<1@x.y>",
]
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(NAMES), st.lists(st.sampled_from(SPELLINGS) | st.sampled_from(WORDS), max_size=6).map(" ".join)
    ),
    max_size=8,
)


@given(FIELDS, st.none() | st.sampled_from([*SPELLINGS, "{{subject}} {{subject}}", "x"]))
def test_no_address_of_the_owner_is_in_the_header(fields: list[tuple[str, str]], subject: str | None) -> None:
    written = "".join(f"{name}: {value}\r\n" for name, value in fields)
    content = f"From: Real <other@inbox3.example>\r\n{written}\r\nbody\r\n".encode()
    header = composed(content, subject=subject)
    for address in ADDRESSES:
        assert not occurs(address, header.block)
    assert header.block.isascii() and header.block.count(b"\n") == header.block.count(b"\r\n")


@given(st.binary(max_size=400))
def test_no_octets_are_too_odd(octets: bytes) -> None:
    found = split(composed(octets).block)
    assert found.header_end == len(found.content)
    for name in (b"from", b"to", b"date", b"message-id", b"feedback-id"):
        assert found.count(name) == 1


@pytest.mark.parametrize("name", [b"Subject", b"Content-Type", b"Content-X", b"Date", b"Auto-Submitted", b"Received"])
@pytest.mark.parametrize("piece", [b"a", b"real@inbox.example ", b"=?utf-8?q?x?= ", b";a=b", b'"', b"cmVhbEBpbmJv"])
def test_long_fields_cost_little(name: bytes, piece: bytes) -> None:
    content = b"%b: %b\r\n\r\n" % (name, piece * (100_000 // len(piece)))
    began = time.process_time()
    composed(content)
    assert time.process_time() - began < 0.5
