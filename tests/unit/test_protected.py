"""Copies with a hidden subject (RFC 9788): what is inside, what is outside, and what old programs show."""

import re
from email import message_from_bytes
from email.header import decode_header, make_header

import pytest

from mailrelay.core.header import Field, split, unfold
from mailrelay.core.pgpmime import Kind
from mailrelay.core.protected import Protection, outside
from mailrelay.core.transfer import encode
from tests.unit.sealing import HEAD, HIDDEN, PREFIX, fields, formed, leaves, out, said, walk
from tests.unit.test_frozen import multipart, plain

TEXT = HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\nhello\r\n"
MARK = b"zebra"


def copy(head: bytes, content: bytes = b"\r\nhello\r\n") -> bytes:
    return b"From: a@alias.example\r\n" + head + content


def subject(value: bytes, content: bytes) -> bytes:
    return copy(b"Subject: %b\r\n" % value, content)


# -- Outside -------------------------------------------------------------------------------------------------------


def test_row_152_the_subject_is_inside_alone() -> None:
    form = formed(TEXT, HIDDEN)
    sent = out(form)
    assert fields(sent, b"subject") == [b"[...]"] and b"order 77" not in sent
    assert fields(form.content, b"subject") == [b"Your order 77"]
    assert list(message_from_bytes(sent))[:-2] == list(message_from_bytes(TEXT))[:-1]


NAMES = [
    "X-Mailrelay-Original-Subject",
    "X-AnonAddy-Original-Subject",
    "X-Original-Subject",
    "Thread-Topic",
    "Comments",
    "Keywords",
    "X-Subject-Hash",
    "Original-Subject",
]


@pytest.mark.parametrize("name", NAMES)
def test_row_152_no_field_that_repeats_the_subject_stays_outside(name: str) -> None:
    content = copy(b"Subject: a zebra\r\n%b: whatever\r\n" % name.encode())
    form = formed(content, HIDDEN)
    assert fields(out(form), name.lower().encode()) == []
    assert fields(form.content, name.lower().encode()) == [b"whatever"]


@pytest.mark.parametrize(
    "value",
    [
        b"A ZEBRA in the garden",
        b"topic: a zebra  in\r\n\tthe garden!",
        b"=?utf-8?q?a_zebra_in?= =?utf-8?b?IHRoZSBnYXJkZW4=?=",
        b"zebra in the",
        b"Re: a zebra in the garden",
    ],
)
@pytest.mark.parametrize("name", [b"X-Topic", b"Summary", b"X-MC-Campaign"])
def test_row_152_no_field_that_tells_the_subject_stays_outside(name: bytes, value: bytes) -> None:
    form = formed(copy(b"Subject: AW: a =?utf-8?q?zebra?= in the garden\r\n%b: %b\r\n" % (name, value)), HIDDEN)
    assert fields(out(form), name.lower()) == []
    assert len(fields(form.content, name.lower())) == 1


def test_what_does_not_tell_it_stays_outside() -> None:
    head = b"Subject: normal news\r\nX-Priority: normal\r\nImportance: normal news\r\nX-Campaign: winter\r\n"
    head += b"X-Mailrelay-Original-From: normal news\r\nList-Id: normal news <n.shop.example>\r\nX-Kind: news\r\n"
    assert out(formed(copy(head), HIDDEN)).startswith(
        copy(head, b"").replace(b"Subject: normal news", b"Subject: [...]")
    )


def test_the_original_subject_of_a_replaced_one_is_not_told_either() -> None:
    head = b"Subject: replaced\r\nX-Mailrelay-Original-Subject: a zebra\r\nX-Topic: a zebra\r\n"
    assert MARK not in out(formed(copy(head), HIDDEN))


def test_a_signature_that_holds_a_copy_of_the_header_goes_with_its_chain() -> None:
    chain = b"ARC-Seal: i=1; cv=none\r\nARC-Message-Signature: i=1; a=rsa-sha256;%b b=x\r\n"
    chain += b"ARC-Authentication-Results: i=1; mx.shop.example; none\r\n"
    head = b"Subject: zebra\r\n"
    assert b"ARC-Seal" not in out(formed(copy(head + chain % b"\r\n\tz=Subject:zebra;"), HIDDEN))
    assert b"ARC-Seal" in out(formed(copy(head + chain % b" bz=abc;"), HIDDEN))


def test_a_second_subject_and_foreign_statements_about_the_outside_go() -> None:
    content = copy(b"Subject: one\r\nSubject: two\r\nHP-Outer: Subject: lie\r\n")
    form = formed(content, HIDDEN)
    assert fields(out(form), b"subject") == [b"[...]"] and not fields(out(form), b"hp-outer")
    assert fields(form.content, b"subject") == [b"one"]
    assert fields(form.content, b"hp-outer") == [b"From: a@alias.example", b"Subject: [...]"]


def test_where_there_is_no_subject_none_is_invented() -> None:
    form = formed(copy(b""), HIDDEN)
    assert b"ubject" not in out(form) + form.content


def test_an_empty_subject_is_hidden_and_not_displayed() -> None:
    form = formed(copy(b"Subject:\r\n"), HIDDEN)
    assert fields(out(form), b"subject") == [b"[...]"] and form.content.endswith(b"\r\n\r\nhello\r\n")
    assert b"hp-legacy" not in form.content


def test_a_piece_that_is_no_field_is_not_shown() -> None:
    many = b"".join(b"a: b\r\n" for _ in range(10_001))
    form = formed(b"Subject: x\r\n" + many + b"X-Last: zebra\r\n\r\nx", HIDDEN)
    assert MARK not in out(form)
    kept = outside([Field(b"", b"X-Last: zebra\r\n")], Protection(PREFIX))
    assert [one.name for one in kept] == [b""]


# -- Inside --------------------------------------------------------------------------------------------------------


def test_row_152_the_inside_is_what_rfc_9788_says() -> None:
    head = b"Subject: zebra\r\nKeywords: zebra\r\nList-Id: <l.shop.example>\r\nReceived: by a.example\r\n"
    form = formed(copy(head, b"Content-Type: text/plain\r\n\r\nhello\r\n"), HIDDEN)
    assert form.kind is Kind.PROTECTED
    assert form.content == (
        b"From: a@alias.example\r\nSubject: zebra\r\nKeywords: zebra\r\nList-Id: <l.shop.example>\r\n"
        b"HP-Outer: From: a@alias.example\r\nHP-Outer: Subject: [...]\r\nHP-Outer: List-Id: <l.shop.example>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n"
        b'\thp="cipher"; protected-headers="v1"; hp-legacy-display="1"\r\n\r\n'
        b"Subject: zebra\r\n\r\nhello\r\n"
    )


def test_what_is_said_of_the_outside_is_what_stands_there() -> None:
    head = HEAD + b"Keywords: k\r\nX-Long: %b\r\nX-Fold: a\r\n\tb\r\nX-Raw: \xe4\r\n" % (b"y" * 985)
    form = formed(head + b"\r\nx\r\n", HIDDEN)
    outer = [one for one in split(out(form)).fields if not one.name.startswith((b"content-", b"mime-", b"received"))]
    assert len(outer) == len(fields(form.content, b"hp-outer")) == 10
    # A line that would be too long is cut, and says the same in encoded words.
    told = [one for one in fields(form.content, b"hp-outer") if not one.startswith(b"X-Long")]
    assert told == [unfold(one.raw) for one in outer if one.name != b"x-long"]
    header = form.content[: split(form.content).header_end]
    assert max(map(len, header.split(b"\r\n"))) <= 998


def params(content: bytes) -> list[tuple[str | None, str | None, str | None]]:
    return [
        tuple(part.get_param(name) for name in ("hp", "protected-headers", "hp-legacy-display"))  # type: ignore[misc]
        for part in walk(content)
    ]


TOP, DISPLAY, NONE = ("cipher", "v1", None), (None, None, "1"), (None, None, None)


def test_row_152a_d20_an_attached_message_is_untouched() -> None:
    attached = b'Subject: inner\r\nContent-Type: text/plain; protected-headers="v0"; hp=clear\r\n\r\nattached\r\n'
    content = multipart(b"mixed", plain(b"hello"), b"Content-Type: message/rfc822\r\n\r\n" + attached)
    form = formed(HEAD + content, HIDDEN)
    assert params(form.content) == [TOP, DISPLAY, NONE, ("clear", "v0", None)]
    assert form.content.count(attached) == 1 and form.content.count(b"Subject: Your order 77") == 2


def test_row_152a_an_attached_message_alone() -> None:
    attached = b"Subject: inner\r\nContent-Type: text/plain\r\n\r\nattached\r\n"
    form = formed(HEAD + b"Content-Type: message/rfc822\r\n\r\n" + attached, HIDDEN)
    assert params(form.content) == [TOP, NONE] and form.content.endswith(b"\r\n\r\n" + attached)


ALTERNATIVE = multipart(b"alternative", plain(b"hello"), b"Content-Type: text/html\r\n\r\n<html><body><p>hello")


def test_both_texts_of_an_alternative_show_the_subject() -> None:
    related = multipart(b"related", ALTERNATIVE.replace(b"b1", b"b2"), b"Content-Type: image/png\r\n\r\nPNG")
    form = formed(HEAD + related, HIDDEN)
    assert params(form.content) == [TOP, NONE, DISPLAY, DISPLAY, NONE]
    text, page, image = leaves(form.content)
    assert text[1] == b"Subject: Your order 77\n\nhello"
    assert page[1] == (
        b'<html><body><div class="header-protection-legacy-display">\n<pre>Subject: Your order 77</pre>\n</div>\n'
        b"<p>hello"
    )
    assert image[1] == b"PNG"


def test_markup_in_a_subject_is_text() -> None:
    form = formed(subject(b"<b>&</pre>", b"Content-Type: text/html\r\n\r\n<p>x"), HIDDEN)
    assert b"<pre>Subject: &lt;b&gt;&amp;&lt;/pre&gt;</pre>" in form.content


def test_an_invitation_stays_as_it_is() -> None:
    event = b"Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\nBEGIN:VCALENDAR\r\n"
    form = formed(HEAD + multipart(b"alternative", plain(b"come"), event), HIDDEN)
    assert params(form.content) == [TOP, DISPLAY, NONE] and form.content.count(event) == 1
    alone = formed(HEAD + event, HIDDEN)
    assert params(alone.content) == [TOP] and walk(alone.content)[0].get_param("method") == "REQUEST"
    assert leaves(alone.content) == leaves(HEAD + event)


SIGNED = multipart(b"signed", plain(b"hello \r\n"), b"Content-Type: application/pgp-signature\r\n\r\nx")
REPORT = multipart(b"report", plain(b"failed"), more=b" report-type=delivery-status;")


def test_a_signed_message_gets_a_part_with_the_subject_in_front() -> None:
    form = formed(HEAD + SIGNED, HIDDEN)
    assert params(form.content) == [TOP, DISPLAY, NONE, NONE, NONE]
    assert form.content.count(SIGNED) == 1
    assert leaves(form.content)[0] == ("text/plain", b"Subject: Your order 77\n\n", None)
    assert leaves(form.content)[1:] == leaves(HEAD + SIGNED)
    foreign = formed(subject("Zażółć".encode(), SIGNED), HIDDEN)
    assert leaves(foreign.content)[0][1].decode() == "Subject: Zażółć\n\n"
    assert len(leaves(formed(copy(b"", SIGNED), HIDDEN).content)) == 2


def test_other_content_that_must_not_change_has_the_subject_in_its_header_alone() -> None:
    form = formed(HEAD + REPORT, HIDDEN)
    assert params(form.content) == [TOP, NONE] and leaves(form.content) == leaves(HEAD + REPORT)


# -- Parameters ----------------------------------------------------------------------------------------------------

TYPES = {
    b"text/plain": "text/plain",
    b"text/plain;charset=utf-8": "text/plain",
    b"text/plain; charset=utf-8;": "text/plain",
    b'text/plain; charset="utf-8': "text/plain",
    b"text/html charset=utf-8": "text/html",
    b"TEXT/Plain (comment); charset=utf-8": "text/plain",
    b'text/plain; hp="clear"; protected-headers=v0;\r\n\tHP-Legacy-Display="1"; charset=utf-8': "text/plain",
    b'text/plain; hp="a\\"b"; charset=utf-8': "text/plain",
    b"(comment) text/plain; charset=utf-8": "(comment) text/plain",
    b"charset=utf-8": "text/plain",
    b"; charset=utf-8": "text/plain",
    b"application/x-thing": "application/x-thing",
    b'multipart/mixed; boundary="a; hp=x"': "multipart/mixed",
}


@pytest.mark.parametrize(("value", "kind"), TYPES.items(), ids=[str(at) for at in range(len(TYPES))])
def test_the_parameters_are_ours_and_stand_where_all_programs_find_them(value: bytes, kind: str) -> None:
    form = formed(HEAD + b"Content-Type: %b\r\n\r\nhello\r\n" % value, HIDDEN)
    parsed = message_from_bytes(form.content)
    assert parsed.get_content_type() == kind
    assert parsed.get_param("hp") == "cipher" and parsed.get_param("protected-headers") == "v1"
    found = parsed["Content-Type"].lower()
    assert len(re.findall(r"\bhp=", found.replace("a; hp=x", ""))) == found.count("protected-headers=") == 1
    assert found.count("hp-legacy-display=") <= 1
    if b"charset=" in value and b'"utf-8' not in value:
        assert parsed.get_param("charset") == "utf-8"
    if b"boundary" in value:
        assert parsed.get_boundary() == "a; hp=x"


# -- Charsets ------------------------------------------------------------------------------------------------------

POLISH = "=?utf-8?b?WmHFvMOzxYLEhw==?="
EIGHT, QP = b"Content-Transfer-Encoding: 8bit\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n"
BASE64 = b"Content-Transfer-Encoding: base64\r\n"


def shown(kind: bytes, text: bytes, more: bytes = b"") -> tuple[str, str]:
    """The text with its subject as a mail program shows it, and the charset that it says."""
    form = formed(subject(POLISH.encode(), b"Content-Type: text/%b\r\n%b\r\n%b" % (kind, more, text)), HIDDEN)
    [part] = walk(form.content)
    assert str(make_header(decode_header(part["Subject"]))) == "Zażółć"
    charset = part.get_content_charset("us-ascii")
    return said(part).decode(charset, "strict"), charset


@pytest.mark.parametrize(
    ("kind", "text", "more", "expected", "charset"),
    [
        (b"plain", b"hello", b"", "Subject: Zażółć\n\nhello", "utf-8"),
        (b"plain; charset=us-ascii", b"hello", b"", "Subject: Zażółć\n\nhello", "utf-8"),
        (b"plain; charset=ISO-8859-1", b"hello=\r\n you", QP, "Subject: Zażółć\n\nhello you", "utf-8"),
        (b"plain; charset=ISO-8859-1", b"h\xe4llo", EIGHT, "Subject: Za?ó??\n\nhällo", "iso-8859-1"),
        (b"plain; charset=iso-8859-2", b"\xb1", EIGHT, "Subject: Zażółć\n\ną", "iso-8859-2"),
        (b"plain; charset=utf-8", "ą".encode(), EIGHT, "Subject: Zażółć\n\ną", "utf-8"),
        (b"plain; charset=utf-8", b"hello", b"", "Subject: Zażółć\n\nhello", "utf-8"),
        (b"plain; charset=utf-8", encode("ą".encode(), b"base64"), BASE64, "Subject: Zażółć\n\ną", "utf-8"),
        (b"plain; charset=utf-8", "\ufeffą".encode(), EIGHT, "\ufeffSubject: Zażółć\n\ną", "utf-8"),
        (b"plain; charset=utf-16", encode("ą".encode("utf-16"), b"base64"), BASE64, "Subject: Zażółć\n\ną", "utf-8"),
        (b"plain; charset=gb18030", "\u65e5".encode("gb18030"), EIGHT, "Subject: Zażółć\n\n\u65e5", "gb18030"),
        (
            b"plain; charset=iso-2022-jp",
            "\u65e5".encode("iso2022_jp"),
            b"",
            "Subject: Za????\n\n\u65e5",
            "iso-2022-jp",
        ),
        (b"plain; charset*=us-ascii''us-ascii", b"hello", b"", "Subject: Za????\n\nhello", "us-ascii"),
        (b"plain; charset=x-unknown", b"hello", b"", "", ""),
        (b"plain; charset=iso-2022-jp", b"\x1b$B&1", b"", "", ""),
    ],
)
def test_the_subject_is_said_in_the_charset_of_the_text(
    kind: bytes, text: bytes, more: bytes, expected: str, charset: str
) -> None:
    if not expected:
        form = formed(subject(POLISH.encode(), b"Content-Type: text/%b\r\n\r\n%b" % (kind, text)), HIDDEN)
        assert form.content.endswith(b"\r\n\r\n" + text) and b"hp-legacy" not in form.content
        return
    assert shown(kind, text, more) == (expected, charset)


def test_html_can_say_any_character() -> None:
    assert "<pre>Subject: Za&#380;\xf3&#322;&#263;</pre>" in shown(b"html; charset=iso-8859-1", b"\xe4", EIGHT)[0]
    assert "<pre>Subject: Zażółć</pre>" in shown(b"html", b"<p>x")[0]


def test_a_text_without_a_type_of_its_own_gets_one() -> None:
    form = formed(subject(POLISH.encode(), multipart(b"mixed", b"\r\nhello")), HIDDEN)
    part = walk(form.content)[1]
    assert said(part).decode() == "Subject: Zażółć\n\nhello"
    assert part["Content-Type"].startswith("text/plain;") and part.get_content_charset() == "utf-8"


def test_no_line_of_the_displayed_subject_ends_a_part() -> None:
    text = b"x" * 74 + b"\r\n" + b"=" + b"\r\n"
    form = formed(subject(POLISH.encode(), multipart(b"mixed", plain(text))), HIDDEN)
    assert [one[1].decode() for one in leaves(form.content)] == [f"Subject: Zażółć\n\n{'x' * 74}\n=\n"]


def test_a_long_subject_is_cut_where_it_is_displayed_alone() -> None:
    form = formed(subject(b"a" * 900 + b"\r\n " + b"b" * 900, b"\r\nx"), HIDDEN)
    assert form.content.endswith(b"\r\nSubject: " + b"a" * 900 + b"\r\n\r\nx")
    assert len(fields(form.content, b"subject")[0]) == 1801
