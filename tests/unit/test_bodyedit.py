"""Banner and warning in bodies of every kind, and bodies that cannot travel as they are."""

import time
from binascii import a2b_qp, b2a_base64

import pytest

from mailrelay.core.banner import Facts, Fragment, banner
from mailrelay.core.bodyedit import Edited, apply, edit, needs_reencoding, reencoded, splits_signed_lines
from mailrelay.core.frozen import frozen
from mailrelay.core.header import split
from mailrelay.core.mime import tree
from mailrelay.core.transfer import decode, encode

MARKS = Fragment("<!--mr-banner--><b>Zażółć</b><!--/mr-banner-->", ("-----", "Zażółć", "-----"))
ASCII = Fragment("<!--mr-banner-->x<!--/mr-banner-->", ("-----", "x", "-----"))


def edited(content: bytes, top: Fragment | None = MARKS, bottom: Fragment | None = None) -> Edited:
    parts = tree(split(content))
    return edit(parts, frozen(parts), top, bottom)


def leaf(kind: bytes, body: bytes, *more: bytes) -> bytes:
    return b"\r\n".join([b"Content-Type: " + kind, *more, b"", body])


def mixed(*parts: bytes, kind: bytes = b"mixed") -> bytes:
    lines = b"".join(b"--b1\r\n%b\r\n" % part for part in parts)
    return b"Content-Type: multipart/%b; boundary=b1\r\n\r\npre\r\n%b--b1--\r\nepilogue" % (kind, lines)


QP, BASE64 = b"Content-Transfer-Encoding: quoted-printable", b"Content-Transfer-Encoding: base64"
EIGHT = b"Content-Transfer-Encoding: 8bit"
UTF8 = b"; charset=utf-8"


def test_row_78_both_parts_of_an_alternative() -> None:
    text = "Grüße = 1\r\nzwei\r\n".encode()
    page = "<html><body>\r\n<p>Grüße = 1</p></body></html>\r\n".encode()
    plain = leaf(b"text/plain" + UTF8, encode(text, b"quoted-printable"), QP)
    html = leaf(b"text/html" + UTF8, encode(page, b"quoted-printable"), QP)
    content = mixed(plain, html, kind=b"alternative")
    body = edited(content, banner(Facts("a1@alias.example", "Zażółć gęślą jaźń " * 3, "news@shop.example"))).body
    assert not body.replace(b"\r\n", b"").count(b"\n")
    assert b"=\r\n" in body and max(map(len, body.split(b"\r\n"))) <= 76
    first, second = body.split(b"--b1\r\n")[1:]
    begin, _, rest = a2b_qp(first.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")).rpartition(b"-----\r\n\r\n")
    assert begin.startswith(b"----- mailrelay -----\r\n") and rest == text
    said = a2b_qp(second.partition(b"\r\n\r\n")[2].partition(b"\r\n--b1--")[0])
    before, _, inside = said.partition(b"<!--mr-banner-->")
    assert before + inside.partition(b"<!--/mr-banner-->")[2] == page
    assert before == b"<html><body>"


def test_row_79_behind_the_real_body_tag() -> None:
    page = b"<!--[if mso]><body><![endif]--><!-- <body> --><body bgcolor='#fff'>\r\n<p>x"
    body = edited(leaf(b"text/html", page), ASCII).body
    assert body == page.replace(b"'#fff'>", b"'#fff'>" + ASCII.html.encode())


@pytest.mark.parametrize("codec", ["iso-8859-2", "utf-8", "windows-1250", "gb18030"])
def test_row_80_the_banner_speaks_the_charset_of_its_part(codec: str) -> None:
    page = "<body>łódź".encode(codec)
    head = b"text/html; charset=" + codec.encode()
    assert edited(leaf(head, page, EIGHT)).body.decode(codec) == f"<body>{MARKS.html}łódź"
    said = edited(leaf(head.replace(b"html", b"plain"), page, EIGHT)).body.decode(codec)
    assert said == "-----\r\nZażółć\r\n-----\r\n\r\n<body>łódź"


def test_row_80_characters_outside_the_charset() -> None:
    page = leaf(b"text/html; charset=iso-8859-1", b"<body>\xe4", EIGHT)
    assert edited(page).body == b"<body><!--mr-banner--><b>Za&#380;\xf3&#322;&#263;</b><!--/mr-banner-->\xe4"
    assert edited(leaf(b"text/plain", b"x")).body == b"-----\r\nZa????\r\n-----\r\n\r\nx"


def test_row_80_japanese_with_escape_sequences() -> None:
    page = "<p>\u65e5\u672c</p>".encode("iso2022_jp")
    body = edited(leaf(b"text/html; charset=ISO-2022-JP", page), None, MARKS).body
    assert body.startswith(page) and b"&#380;" in body and body.isascii()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(leaf(b"text/calendar; method=REQUEST", b"BEGIN:VCALENDAR"), id="81-calendar"),
        pytest.param(mixed(leaf(b"text/plain", b"x")).replace(b"--b1--", b""), id="82-no-final-boundary"),
        pytest.param(mixed(leaf(b"text/plain", b"x"), kind=b"signed"), id="83-signed"),
        pytest.param(mixed(leaf(b"image/png", b"x"), leaf(b"png", b"y")), id="85-png"),
        pytest.param(leaf(b"text/plain", b"x", b"Content-Transfer-Encoding: 8bits"), id="unknown-encoding"),
        pytest.param(leaf(b"text/plain", b"no base64!", BASE64), id="wrong-base64"),
        pytest.param(leaf(b"text/plain; charset=x-unknown", b"x"), id="unknown-charset"),
        pytest.param(leaf(b"text/plain; charset=utf-7", b"x"), id="utf-7"),
        pytest.param(leaf(b"text/plain; charset=utf-16", b"odd"), id="not-utf-16"),
        pytest.param(
            leaf(b"text/plain; charset*=''utf-16", "\ufeff\u65e5".encode("utf-16-le"), EIGHT), id="charset-in-pieces"
        ),
        pytest.param(b"From: news@shop.example\r\nno separator", id="no-separator"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_cannot_take_a_banner_stays(content: bytes) -> None:
    assert edited(content) == Edited(split(content).body, {}, False)


def test_a_broken_part_leaves_the_banner_to_the_next() -> None:
    broken = leaf(b"text/plain", b"no base64!", BASE64)
    body = edited(mixed(broken, leaf(b"text/html", b"x")), ASCII).body
    assert body == split(mixed(broken, leaf(b"text/html", ASCII.html.encode() + b"x"))).body


def test_calendar_parts_stay_beside_an_edited_text() -> None:
    invite = leaf(b"text/calendar; method=REQUEST", b"BEGIN:VCALENDAR\r\nORGANIZER:x\r\n")
    body = edited(mixed(leaf(b"text/plain", b"x"), invite), ASCII).body
    text = leaf(b"text/plain", b"-----\r\nx\r\n-----\r\n\r\nx")
    assert body == split(mixed(text, invite)).body


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (leaf(b"text/plain", b"x\r\n"), b"x\r\n\r\n-----\r\nx\r\n-----\r\n"),
        (leaf(b"text/plain", b"x"), b"x\r\n\r\n-----\r\nx\r\n-----"),
        (leaf(b"text/plain", b""), b"\r\n-----\r\nx\r\n-----\r\n"),
        (leaf(b"text/html", b"<body>x</body>y"), b"<body>x<!--mr-banner-->x<!--/mr-banner--></body>y"),
        (leaf(b"text/html", b"x"), b"x<!--mr-banner-->x<!--/mr-banner-->"),
    ],
)
def test_the_banner_at_the_bottom(content: bytes, expected: bytes) -> None:
    assert edited(content, None, ASCII).body == expected


def test_a_warning_on_top_and_a_banner_below() -> None:
    body = edited(leaf(b"text/html", b"<body>x</body>"), Fragment("W", ()), Fragment("B", ())).body
    assert body == b"<body>WxB</body>"
    body = edited(leaf(b"text/html", b"</body><body>x"), Fragment("W", ()), Fragment("B", ())).body
    assert body == b"</body><body>WBx"


@pytest.mark.parametrize("name", [b"quoted-printable", b"base64", b"8bit", b"binary"])
def test_transfer_encodings_stay(name: bytes) -> None:
    page = "<body>łódź = 1\r\n</body>".encode() * 9
    content = leaf(b"text/html" + UTF8, encode(page, name), b"Content-Transfer-Encoding: " + name)
    done = edited(content)
    assert (done.fields, done.inserted) == ({}, True)
    assert decode(done.body, name) == page.replace(b"<body>", b"<body>" + MARKS.html.encode(), 1)
    if name == b"base64":
        assert {len(line) for line in done.body.split(b"\r\n")[:-1]} == {76}


def test_seven_bits_become_quoted_printable_only_if_needed() -> None:
    content = b"Subject: x\r\n" + leaf(b"text/html" + UTF8, b"<body>x = y\r\n")
    assert edited(content, ASCII).fields == {}
    done = edited(content)
    assert done.fields == {
        b"content-transfer-encoding": b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"mime-version": b"MIME-Version: 1.0\r\n",
    }
    assert a2b_qp(done.body) == b"<body>%bx = y\r\n" % MARKS.html.encode()


def test_only_the_encoding_changes_in_the_header_of_a_part() -> None:
    part = leaf(b"text/html;\r\n\tcharset=utf-8", b"<body>", b"CONTENT-transfer-encoding : 7bit", b"X-Odd:  a \r\n b")
    body = edited(mixed(part)).body
    assert b"\r\nCONTENT-transfer-encoding : quoted-printable\r\nX-Odd:  a \r\n b\r\n\r\n<body>" in body
    assert body.count(b"Content-Type: text/html;\r\n\tcharset=utf-8\r\n") == 1
    assert b"\r\n\r\n" in edited(mixed(b"\r\nx")).body


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", [b"quoted-printable", b"base64", b"8bit"])
def test_wide_charsets_become_utf_8(codec: str, name: bytes) -> None:
    page = "<html><body>łódź</body>\r\n"
    head = b'text/html; charset="%b"; x=y' % codec.encode()
    field = b"Content-Transfer-Encoding: " + name
    body = edited(mixed(leaf(head, encode(page.encode(codec), name), field))).body
    part = body.partition(b"--b1\r\n")[2].partition(b"\r\n--b1--")[0]
    fields, _, raw = part.partition(b"\r\n\r\n")
    assert fields == b"Content-Type: text/html; charset=utf-8; x=y\r\n" + field
    assert decode(raw, name) == page.replace("<body>", "<body>" + MARKS.html).encode()


def test_a_byte_order_mark_stays_in_front() -> None:
    assert (
        edited(leaf(b"text/plain" + UTF8, b"\xef\xbb\xbfx", EIGHT), ASCII).body
        == b"\xef\xbb\xbf-----\r\nx\r\n-----\r\n\r\nx"
    )


def test_row_94_long_lines_are_encoded() -> None:
    text = b"long " * 400 + b"\r\n\r\nshort = x\r\n"
    done = edited(b"MIME-Version: 1.0\r\n" + leaf(b"text/plain", text), None)
    assert done.fields == {b"content-transfer-encoding": b"Content-Transfer-Encoding: quoted-printable\r\n"}
    assert a2b_qp(done.body) == text
    assert not done.inserted
    done = edited(leaf(b"text/plain", text), ASCII)
    assert a2b_qp(done.body) == b"-----\r\nx\r\n-----\r\n\r\n" + text


def test_row_94_parts_are_encoded_each_for_itself() -> None:
    long = b"x" * 2000
    inner = b"Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\n"
    content = mixed(
        leaf(b"text/plain", b"short"),
        leaf(b"text/css", long),
        leaf(b"application/x-blob", long + b"\0\r\n", EIGHT),
        leaf(b"application/pdf", b2a_base64(long, newline=False), BASE64),
        leaf(b"text/plain", long, QP),
        inner + long,
        leaf(b"image/png", long, b"Content-Transfer-Encoding: odd"),
    )
    done = reencoded(tree(split(content)))
    folded = encode(long, b"quoted-printable")
    assert (
        done.body
        == split(
            mixed(
                leaf(b"text/plain", b"short"),
                leaf(b"text/css", folded, QP),
                leaf(b"application/x-blob", encode(long + b"\0\r\n", b"base64"), BASE64),
                leaf(b"application/pdf", encode(long, b"base64"), BASE64),
                leaf(b"text/plain", folded, QP),
                inner.replace(b"Subject: y\r\n", b"Subject: y\r\n" + QP + b"\r\n") + folded,
                leaf(b"image/png", long, b"Content-Transfer-Encoding: odd"),
            )
        ).body
    )
    assert edited(content, None).body == done.body


def test_nul_octets_leave_by_encoding() -> None:
    done = edited(leaf(b"text/plain", b"a\0b\r\n"), None)
    assert done.body == b"a=00b\r\n"
    assert b"\0" not in edited(leaf(b"text/plain", b"a\0b\r\n", QP), ASCII).body
    assert edited(mixed(leaf(b"text/plain", b"a\0b"), kind=b"signed"), None).body.count(b"\0") == 1


def test_signed_parts_are_encoded_only_if_they_would_break_anyhow() -> None:
    for length, touched in ((995, False), (998, False), (999, True)):
        content = mixed(leaf(b"text/plain", b"x" * length), kind=b"signed")
        assert (edited(content).body != split(content).body) is touched


def test_ordinary_mail_needs_no_encoding() -> None:
    content = mixed(leaf(b"text/plain", b"x" * 990))
    assert not needs_reencoding(split(content))
    assert edited(content, None) == Edited(split(content).body, {}, False) == reencoded(tree(split(content)))


@pytest.mark.parametrize(
    ("header", "length", "split_up"),
    [(b"DKIM-Signature: x\r\n", 999, True), (b"DKIM-Signature: x\r\n", 998, False), (b"", 2000, False)],
)
def test_transparent_mode_asks_whether_a_signature_would_break(header: bytes, length: int, split_up: bool) -> None:
    assert splits_signed_lines(split(header + b"\r\n" + b"x" * length + b"\r\n")) is split_up


def test_changes_of_the_header_are_put_in_their_places() -> None:
    message = split(b"A: 1\r\nB: 2\r\nA: 3\r\n\r\n")
    changed = apply(message.fields, {b"a": b"a: 4\r\n", b"c": b"C: 5\r\n"})
    assert [field.raw for field in changed] == [b"a: 4\r\n", b"B: 2\r\n", b"A: 3\r\n", b"C: 5\r\n"]
    assert apply(message.fields, {}) == list(message.fields)


@pytest.mark.parametrize(("lines", "milliseconds"), [(60, 0.3), (1600, 2.0)], ids=["4-kb", "100-kb"])
def test_a_banner_costs_little(lines: int, milliseconds: float) -> None:
    """Twice the target is allowed, and the best of some attempts counts: other work goes on beside the tests."""
    plain = leaf(b"text/plain" + UTF8, b"Gr=C3=BC=C3=9Fe, and so on.\r\n" * lines, QP)
    html = leaf(b"text/html" + UTF8, b"<body>\r\n" + b"<p>Gr=C3=BC=C3=9Fe, and so on</p>\r\n" * lines, QP)
    content = mixed(plain, html, kind=b"alternative")
    times = []
    for _ in range(30):
        began = time.process_time()
        assert edited(content, banner(Facts("a1@alias.example", "Zażółć", "news@shop.example"))).inserted
        times.append(time.process_time() - began)
    assert min(times) * 1000 < 2 * milliseconds
