"""Copies that are nothing but armor, and what text can be read in HTML."""

import time

import pytest

from mailrelay.core.htmltext import plain_text
from mailrelay.core.pgpmime import Kind, Wish
from mailrelay.core.transfer import encode
from tests.unit.sealing import ARMOR, HEAD, INLINE, PREFIX, formed, out
from tests.unit.test_frozen import SIGNED, html, multipart, plain
from tests.unit.test_pgpmime import PDF

IMAGE = b"Content-Type: image/png\r\nContent-ID: <a>\r\n\r\nPNG"
EVENT = b"Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR"
UTF16 = b"Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\n"

TEXTS = {
    "plain": (plain(b"hello \r\n"), b"hello \r\n"),
    "no type": (b"\r\nhello", b"hello"),
    "quoted-printable": (plain(b"a=\r\nb=20\r\n", b"quoted-printable"), b"ab \r\n"),
    "base64 with LF": (plain(encode(b"a\nb\n", b"base64"), b"base64"), b"a\r\nb\r\n"),
    "latin": (b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n\xe4", b"\xc3\xa4"),
    "utf-16": (UTF16 + encode("ą".encode("utf-16"), b"base64"), "ą".encode()),
    "utf-8 called ascii": (b"\r\n\xc3\xa4", b"\xc3\xa4"),
    "alternative": (multipart(b"alternative", plain(b"hello"), html(b"<p>hello")), b"hello"),
    "alternative, the other way round": (multipart(b"alternative", html(b"<p>x"), plain(b"hello")), b"hello"),
    "alternative with an empty text": (multipart(b"alternative", plain(b" "), html(b"<p>hello")), b"hello\r\n"),
    "html": (html(b"<p>see <a href='https://a.example/x'>here</a>"), b"see here <https://a.example/x>\r\n"),
    "a mixed of one": (multipart(b"mixed", plain(b"hello")), b"hello"),
    "signed text": (plain(SIGNED), SIGNED),
}


@pytest.mark.parametrize(("content", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_text_alone_is_encrypted_as_text(content: bytes, expected: bytes) -> None:
    form = formed(HEAD + content, INLINE)
    assert (form.kind, form.content) == (Kind.INLINE, expected)


OTHERS = {
    "row 153, attachment": multipart(b"mixed", plain(b"hello"), PDF),
    "attached text": b"Content-Disposition: attachment; filename=a.txt\r\n" + plain(b"hello"),
    "named text": b"Content-Disposition: inline; filename=a.txt\r\n" + plain(b"hello"),
    "related images": multipart(b"related", html(b"<img src=cid:a>"), IMAGE),
    "invitation": multipart(b"alternative", plain(b"a"), html(b"a"), EVENT),
    "invitation alone": EVENT,
    "two texts": multipart(b"mixed", plain(b"a"), plain(b"b")),
    "not text": b"Content-Type: application/pdf\r\n\r\n%PDF",
    "signed": multipart(b"signed", plain(b"a"), b"Content-Type: application/pgp-signature\r\n\r\nx"),
    "report": multipart(b"report", plain(b"a")),
    "empty": plain(b" \r\n"),
    "html of images": html(b"<img src='https://a.example/x.png'>"),
    "broken": b"Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\nhello\r\n",
    "unknown charset": b"Content-Type: text/plain; charset=x-none\r\n\r\nhello",
    "wrong octets": b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xe4",
    "wrong base64": plain(b"!", b"base64"),
    "attached message": multipart(b"mixed", plain(b"a"), b"Content-Type: message/rfc822\r\n\r\n" + plain(b"b")),
    "signed text in another charset": b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n" + SIGNED,
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_row_153_d21_whatever_is_more_than_text_is_encrypted_whole(content: bytes) -> None:
    form = formed(HEAD + content, INLINE)
    assert form.kind is Kind.MIME and form == formed(HEAD + content)


def test_the_copy_is_plain_text_of_armor() -> None:
    head = HEAD + b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    form = formed(head + encode(b"<p>hello", b"base64"), INLINE)
    content_fields = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    assert out(form) == HEAD + content_fields + ARMOR.replace(b"\n", b"\r\n")


def test_a_hidden_subject_wins() -> None:
    both = Wish(PREFIX, inline=True, hide_subject=True)
    assert formed(HEAD + plain(b"hello"), both).kind is Kind.PROTECTED


# -- Text of HTML --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("", ""),
        ("a  b\r\n c", "a b c\n"),
        ("<p>a</p><p>b</p>", "a\n\nb\n"),
        ("a<br>b<br/>c</br>d", "a\nb\ncd\n"),
        ("a <b> b</b> c", "a b c\n"),
        ("<ul><li>a<li>b</ul>c", "* a\n* b\n\nc\n"),
        ("<table><tr><td>a<td>b<tr><td>c</table>", "a b\nc\n"),
        ("a<hr>b", "a\n\n---\n\nb\n"),
        ("<pre>a\n  b</pre>", "a\nb\n"),
        ("&lt;b&gt; &amp;amp; &nbsp;&#228;", "<b> &amp; ä\n"),
        ("<style>p {}</style><script>x<p>y</script><title>t</title>a<!-- b -->", "a\n"),
        ("<img alt='a picture' src=x><img src=y>", "a picture\n"),
        ("<a href=https://a.example/>a.example</a>", "a.example\n"),
        ('<a href="https://a.example/?a=1&amp;b=2">a <b>b</b></a>.', "a b <https://a.example/?a=1&b=2>.\n"),
        ("<a href='mailto:a@b.example'>a@b.example</a>", "a@b.example\n"),
        ("<a href='javascript:x'>a</a><a href='#b'>b</a><a name=c>c</a>", "abc\n"),
        ("<a href='https://a.example'>a<a href='https://b.example'>b", "a <https://a.example>b <https://b.example>\n"),
        ("<a href='https://a.example'><img src=x></a>", "<https://a.example>\n"),
        ("a\0b\x1b\u200b", "ab\n"),
        ("&#" + "9" * 5000 + ";&#x" + "f" * 5000 + ";&#55555555;", "\ufffd\ufffd\ufffd\n"),
        ("a<b", "a\n"),
        ("1 < 2 > 0", "1 < 2 > 0\n"),
        ("\ud800", "?\n"),
    ],
)
def test_html_is_read(html: str, expected: str) -> None:
    assert plain_text(html) == expected


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<!--", "&#", "&", "<a href=", "<p><", "<style>", "<a href='", "\n ", "\xa0"]
)
def test_hostile_html_costs_linear_time(piece: str) -> None:
    begin = time.process_time()
    plain_text(piece * (1_000_000 // len(piece)))
    assert time.process_time() - begin < 5
