"""Attachments taken out of messages of every kind (spec sections 3.13 and 5.6)."""

import time
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.banner import Fragment
from mailrelay.core.bodyedit import edit
from mailrelay.core.frozen import frozen
from mailrelay.core.header import split
from mailrelay.core.mime import tree
from mailrelay.core.rules.attachments import Removed, removed
from mailrelay.core.transfer import decode


def attempt(content: bytes) -> Removed | None:
    parts = tree(split(content))
    return removed(parts, frozen(parts))


def after(content: bytes) -> bytes:
    made = attempt(content)
    return content if made is None else made.message.content


def part(kind: bytes, body: bytes = b"x", *fields: bytes) -> bytes:
    return b"\r\n".join([b"Content-Type: " + kind, *fields, b"", body])


def container(kind: bytes, *parts: bytes, boundary: bytes = b"b1") -> bytes:
    lines = b"".join(b"--%b\r\n%b\r\n" % (boundary, one) for one in parts)
    return part(b"%b; boundary=%b" % (kind, boundary), b"preamble\r\n%b--%b--\r\nepilogue\r\n" % (lines, boundary))


def mail(*parts: bytes, kind: bytes = b"multipart/mixed") -> bytes:
    return b"From: a@shop.example\r\nX-Odd :  as it came\r\n" + container(kind, *parts)


def note(name: bytes, kind: bytes, size: int) -> bytes:
    line = b"[attachment removed: %b, %b, %d bytes]" % (name, kind, size)
    return part(b"text/plain; charset=utf-8", line, b"Content-Transfer-Encoding: 7bit")


BASE64 = b"Content-Transfer-Encoding: base64"
ATTACHED = b"Content-Disposition: attachment"
TEXT, HTML = part(b"text/plain", b"Hi\r\n-- \r\nme"), part(b"text/html", b"<p>Hi")
PDF = part(b"application/pdf", b64encode(b"%PDF" * 100), BASE64, b'Content-Disposition: attachment; filename="a.pdf"')
PDF_NOTE = note(b"a.pdf", b"application/pdf", 400)


def test_row_150_the_pdf_becomes_a_note_and_the_inline_image_stays() -> None:
    shows = part(b"text/html; charset=utf-8", b'<img src="cid:logo%40shop.example">')
    logo = part(b"image/png; name=logo.png", b"iVBORw0K", BASE64, b"Content-ID: <logo@shop.example>")
    related = container(b"multipart/related", shows, logo, boundary=b"b2")
    assert after(mail(related, PDF)) == mail(related, PDF_NOTE)
    assert attempt(mail(related)) is None


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        pytest.param(part(b"application/zip; name=a.zip"), note(b"a.zip", b"application/zip", 1), id="name"),
        pytest.param(part(b"application/zip"), None, id="no-name"),
        pytest.param(part(b"image/png; name=a.png"), note(b"a.png", b"image/png", 1), id="image-with-a-name"),
        pytest.param(part(b"image/png; name=a.png", b"x", b"Content-Disposition: inline"), None, id="inline-image"),
        pytest.param(
            part(b"application/pdf", b"x", b"Content-Disposition: inline; filename=b.pdf"),
            note(b"b.pdf", b"application/pdf", 1),
            id="inline-pdf",
        ),
        pytest.param(part(b"image/png", b"x", ATTACHED), note(b"unnamed", b"image/png", 1), id="attached-image"),
        pytest.param(part(b"text/plain; name=a.txt"), None, id="text-with-a-name"),
        pytest.param(part(b"text/html; name=a.html"), None, id="html-with-a-name"),
        pytest.param(part(b"text/plain", b"x", ATTACHED), note(b"unnamed", b"text/plain", 1), id="attached-text"),
        pytest.param(part(b"text/csv; name=a.csv"), note(b"a.csv", b"text/csv", 1), id="other-text"),
        pytest.param(part(b"text/calendar; name=a.ics"), note(b"a.ics", b"text/calendar", 1), id="no-invitation"),
        pytest.param(part(b"png", b"x", ATTACHED), note(b"unnamed", b"unknown type", 1), id="no-type"),
        pytest.param(
            part(b"application/pdf", b"xyz", ATTACHED, b"Content-Transfer-Encoding: 8bits"),
            note(b"unnamed", b"application/pdf", 3),
            id="broken",
        ),
        pytest.param(
            part(b"application/x", b"x", b"Content-Disposition: special-use; filename=x"),
            note(b"x", b"application/x", 1),
            id="unknown-disposition",
        ),
        pytest.param(
            part(b"message/rfc822", b"Subject: x\r\n\r\n" + PDF, b"Content-Disposition: attachment; filename=x.eml"),
            note(b"x.eml", b"message/rfc822", len(PDF) + 14),
            id="attached-message",
        ),
        pytest.param(part(b"message/rfc822", PDF), None, id="message-between-the-text"),
    ],
)
def test_what_is_an_attachment(leaf: bytes, expected: bytes | None) -> None:
    assert after(mail(TEXT, leaf)) == mail(TEXT, leaf if expected is None else expected)
    assert after(mail(leaf, TEXT)) == mail(leaf if expected is None else expected, TEXT)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (b"attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf", "Grüße.pdf"),
        (b'attachment; filename="=?utf-8?q?Gr=C3=BC=C3=9Fe?="', "Grüße"),
        (b'attachment; filename="a\\"\r\n --b1--.pdf"', 'a" --b1--.pdf'),
        (b"attachment; filename=" + b"x" * 200, "x" * 99 + "…"),
        (b"attachment; filename*=utf-8''a%0D%0A--b1--%0D%0Ab\xe2\x80\xae", "a --b1-- b"),
    ],
)
def test_whatever_a_file_is_called_its_note_is_a_part(field: bytes, name: str) -> None:
    made = attempt(mail(TEXT, part(b"application/pdf", b"x", b"Content-Disposition: " + field), HTML))
    assert made is not None
    first, second, third = tree(made.message).leaves()
    raw = made.message.content[second.body_start : second.body_end]
    assert not second.broken and second.type == b"text/plain"
    assert (decode(raw, second.encoding) or b"").decode() == f"[attachment removed: {name}, application/pdf, 1 bytes]"
    assert [first.type, third.type] == [b"text/plain", b"text/html"]


def test_html_in_wide_characters_shows_its_images() -> None:
    html = part(b"text/html; charset=utf-16", b64encode('<img src="CID:a">'.encode("utf-16")), BASE64)
    image = part(b"image/png; name=a.png", b"x", b"Content-ID: <a>")
    assert attempt(mail(html, image)) is None


def test_behind_an_alternative_no_note_hides_the_text() -> None:
    alternative = b"multipart/alternative"
    assert after(mail(TEXT, HTML, PDF, kind=alternative)) == mail(TEXT, HTML, kind=alternative)
    assert after(mail(TEXT, PDF, PDF, HTML, kind=alternative)) == mail(TEXT, HTML, kind=alternative)
    assert after(mail(PDF, HTML, kind=alternative)) == mail(PDF_NOTE, HTML, kind=alternative)


def test_a_message_that_is_an_attachment_becomes_a_note() -> None:
    head = b"From: a@shop.example\r\n%bSubject: Scan\r\nContent-Disposition: %b\r\n"
    pdf = head % (b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n", b"attachment")
    made = attempt(pdf + b"\r\n" + b64encode(b"scan") + b"\r\n")
    assert made is not None
    types = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n"
    expected = (
        head % (types, b"inline") + b"MIME-Version: 1.0\r\n\r\n[attachment removed: a.pdf, application/pdf, 4 bytes]"
    )
    assert made.message.content == expected + b"\r\n"
    assert sorted(made.fields) == [
        b"content-disposition",
        b"content-transfer-encoding",
        b"content-type",
        b"mime-version",
    ]


SIGNATURE = part(b"application/pgp-signature; name=s.asc", b"-----BEGIN PGP SIGNATURE-----", ATTACHED)


def signed(*parts: bytes, kind: bytes = b"signed", boundary: bytes = b"b1") -> bytes:
    return container(b'Multipart/%b; protocol="application/pgp-signature"' % kind, *parts, boundary=boundary)


def test_a_signature_is_no_attachment() -> None:
    assert attempt(b"From: a@shop.example\r\n" + signed(TEXT, SIGNATURE)) is None
    assert attempt(mail(signed(TEXT, SIGNATURE, boundary=b"b2"), TEXT)) is None


def test_signed_content_without_its_attachment_is_signed_no_more() -> None:
    inner = container(b"multipart/mixed", TEXT, PDF, boundary=b"b3")
    without = container(b"multipart/mixed", TEXT, PDF_NOTE, boundary=b"b3")
    head = b"From: a@shop.example\r\nMIME-Version: 1.0\r\n"
    unsigned = signed(without, kind=b"mixed").replace(b"Multipart", b"multipart")
    made = attempt(head + signed(inner, SIGNATURE))
    assert made is not None and made.message.content == head + unsigned
    assert list(made.fields) == [b"content-type"]
    nested, unnested = signed(inner, SIGNATURE, boundary=b"b2"), signed(without, kind=b"mixed", boundary=b"b2")
    assert after(mail(TEXT, nested, PDF)) == mail(TEXT, unnested.replace(b"Multipart", b"multipart"), PDF_NOTE)
    assert after(head + signed(PDF, SIGNATURE)) == head + unsigned.replace(without, PDF_NOTE)


def test_signed_twice() -> None:
    inner = signed(PDF, SIGNATURE, boundary=b"b2")
    outer = b"MIME-Version: 1.0\r\n" + signed(inner, SIGNATURE)
    bare = b"MIME-Version: 1.0\r\n" + signed(signed(PDF_NOTE, kind=b"mixed", boundary=b"b2"), kind=b"mixed")
    assert after(outer) == bare.replace(b"Multipart", b"multipart")


INVITATION = part(b"text/calendar; method=REQUEST; name=i.ics", b"BEGIN:VCALENDAR", ATTACHED)


def test_an_invitation_stays() -> None:
    assert after(mail(TEXT, INVITATION, PDF)) == mail(TEXT, INVITATION, PDF_NOTE)


@pytest.mark.parametrize(
    "content",
    [
        container(b'multipart/encrypted; protocol="application/pgp-encrypted"', TEXT, PDF),
        container(b"multipart/encrypted", TEXT, PDF),
        container(b"multipart/report", TEXT, PDF),
        part(b"application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", b"x", ATTACHED),
        part(b"application/x-pkcs7-mime; smime-type=signed-data; name=smime.p7m", b"x", ATTACHED),
        part(b"message/partial; id=x; number=1", b"x", ATTACHED),
        mail(part(b"text/plain", b"-----BEGIN PGP MESSAGE-----\r\n\r\nx\r\n-----END PGP MESSAGE-----"), PDF),
        mail(part(b"text/plain", b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nx"), PDF),
        mail(container(b"multipart/encrypted", TEXT, PDF, boundary=b"b2")),
        mail(container(b"multipart/report", TEXT, PDF, boundary=b"b2")),
        mail(*[PDF] * 501),
        mail(TEXT, PDF).replace(b"--b1--", b"--b"),
        mail(TEXT, PDF).replace(b"Content-Type: multipart", b"Content-Type: text/x\r\nContent-Type: multipart"),
        mail(TEXT, HTML),
        part(b"application/pdf", b"x", ATTACHED, b"Content-Transfer-Encoding: 8bits"),
        b"",
        b"no header",
    ],
)
def test_frozen_broken_or_without_attachments_all_stays(content: bytes) -> None:
    assert attempt(content) is None


def test_the_banner_is_put_into_what_remains() -> None:
    made = attempt(mail(TEXT, PDF))
    assert made is not None
    parts = tree(made.message)
    banner = Fragment("<p>", ("banner",))
    assert edit(parts, frozen(parts), banner).body == mail(TEXT, PDF_NOTE).partition(b"\r\n\r\n")[2].replace(
        b"Hi", b"banner\r\n\r\nHi"
    )


_NOTE_IN_BASE64 = b64encode(b"[attachment removed: ")[:-4]
LEAVES = st.sampled_from(
    [TEXT, HTML, PDF, SIGNATURE, INVITATION, part(b"image/png; name=--b1"), b"", b"x", b"\r\n\r\n"]
)
KINDS = st.sampled_from([b"mixed", b"alternative", b"related", b"signed", b"report", b"digest"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda kind, parts, number: container(b"multipart/" + kind, *parts, boundary=b"b%d" % number),
        KINDS,
        st.lists(inner, min_size=1, max_size=4),
        st.integers(1, 40),
    ),
    max_leaves=10,
)


@settings(max_examples=300)
@given(TREES, st.integers(0, 400), st.binary(max_size=3))
def test_whatever_comes_notes_are_all_that_is_new(content: bytes, at: int, noise: bytes) -> None:
    content = content[:at] + noise + content[at:]
    made = attempt(content)
    if made is None:
        return
    before, now = list(tree(split(content)).leaves()), list(tree(made.message).leaves())
    assert len(now) <= len(before)
    assert not tree(made.message).excess
    kept = {content[leaf.start : leaf.body_end] for leaf in before}
    for leaf in now:
        raw = made.message.content[leaf.start : leaf.body_end]
        # A name beyond ASCII is encoded, so look for both.
        assert raw in kept or b"[attachment removed: " in raw or _NOTE_IN_BASE64 in raw


@pytest.mark.parametrize(
    "content",
    [
        mail(*[part(b"text/html", b"cid:" * 50_000)] * 5, PDF),
        mail(*[part(b"application/pdf", b"x" * 1000, ATTACHED)] * 450),
        mail(part(b"application/pdf; name=" + b"=?utf-8?q?" * 6000), *[PDF] * 10),
        mail(part(b"application/pdf", b"x", b"Content-Disposition: attachment; filename=" + b'"\\' * 30_000)),
    ],
)
def test_the_time_is_linear(content: bytes) -> None:
    begun = time.process_time()
    assert attempt(content) is not None
    assert time.process_time() - begun < 0.5 * max(1, len(content) / 1e6)
