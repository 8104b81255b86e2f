"""Encrypted copies: what is encrypted, and what stands around it."""

from email import message_from_bytes

import pytest

from mailrelay.core.canonical import canonical
from mailrelay.core.header import Field
from mailrelay.core.pgpmime import Kind, Wish, boundary, entity, outer, wrapped
from tests.unit.sealing import (
    ARMOR,
    BOUNDARY,
    HEAD,
    HIDDEN,
    INLINE,
    NORMAL,
    cut,
    fields,
    formed,
    leaves,
    left,
    names,
    out,
    said,
    walk,
)
from tests.unit.test_frozen import CASES, multipart, plain

PDF = b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\n%PDF"
WITH_FILE = HEAD + b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\nContent-Language: en\r\n"
WITH_FILE += multipart(b"mixed", plain(b"secret\r\n"), PDF)
EXPECTED_BODY = b"""--B
Content-Type: application/pgp-encrypted
Content-Description: PGP/MIME version identification

Version: 1

--B
Content-Type: application/octet-stream; name="encrypted.asc"
Content-Description: OpenPGP encrypted message
Content-Disposition: inline; filename="encrypted.asc"

-----BEGIN PGP MESSAGE-----

hF4DAAAA
=abcd
-----END PGP MESSAGE-----

--B--
"""


def test_row_151_the_structure_is_that_of_the_specification() -> None:
    header, body = outer(formed(WITH_FILE), ARMOR, b"B")
    assert body == EXPECTED_BODY.replace(b"\n", b"\r\n")
    above, _, content_fields = header.block.partition(b"MIME-Version")
    assert above == HEAD
    assert content_fields == (
        b': 1.0\r\nContent-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n\tboundary="B"\r\n'
    )


def test_row_151_d19_no_content_field_of_the_original_stays_outside() -> None:
    copy = (
        HEAD + b"Content-Transfer-Encoding: quoted-printable\r\nContent-ID: <x@shop.example>\r\nMIME-Version: 1.0\r\n"
    )
    copy += b"content-type: text/plain; charset=utf-8\r\nContent-Disposition: inline; filename=secret.txt\r\n"
    form = formed(copy + b"\r\n=C3=A4\r\n")
    for content in (out(form), out(formed(copy + b"\r\n=C3=A4\r\n", HIDDEN))):
        parsed = message_from_bytes(content)
        assert [name for name in parsed if name.lower().startswith(("content-", "mime-"))] == [
            "MIME-Version",
            "Content-Type",
        ]
        assert b"secret" not in content
    assert form.content == (
        b"MIME-Version: 1.0\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\nContent-ID: <x@shop.example>\r\n"
        b"Content-Disposition: inline; filename=secret.txt\r\n\r\n=C3=A4\r\n"
    )


def test_a_parser_finds_the_two_parts_of_rfc_3156() -> None:
    parsed = message_from_bytes(out(formed(WITH_FILE)))
    assert parsed.get_content_type() == "multipart/encrypted"
    assert parsed.get_param("protocol") == "application/pgp-encrypted" and parsed.defects == []
    _, control, data = walk(out(formed(WITH_FILE)))
    assert control.get_content_type() == "application/pgp-encrypted"
    assert said(control).strip() == b"Version: 1"
    assert data.get_content_type() == "application/octet-stream" and data.get_filename() == "encrypted.asc"
    assert said(data).strip() == ARMOR.strip()


def test_the_inside_has_the_parts_of_the_unencrypted_copy() -> None:
    assert leaves(formed(WITH_FILE).content) == leaves(WITH_FILE)
    assert [name for _, _, name in leaves(formed(WITH_FILE, HIDDEN).content)] == [None, "a.pdf"]


@pytest.mark.parametrize("head", [b"", b"Content-Type:\r\n", b"Content-Type: \r\n \r\n"])
def test_what_has_no_type_is_plain_text(head: bytes) -> None:
    start = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n"
    assert formed(HEAD + head + b"\r\nhello \t\r\n").content == start + b"\r\nhello \t\r\n"


def test_of_fields_that_stand_there_twice_the_first_counts() -> None:
    head = b"Content-Type: text/html\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n"
    head += b"content-transfer-encoding: base64\r\nMime-Version: 1.0\r\nMIME-Version: 2.0\r\n"
    found = formed(HEAD + head + b"\r\n<p>x").content
    assert found == (b"MIME-Version: 1.0\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>x")


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb\r\n", b"a\r\nb\r\n"),
        (b"a\rb\r\r\n", b"a b \r\n"),
        (b"\n\r", b"\r\n "),
        (b" \t\r\n", b" \t\r\n"),
        (b"\0\xff", b"\0\xff"),
        (b"", b""),
    ],
)
def test_lines_end_in_crlf_and_nothing_else_changes(octets: bytes, expected: bytes) -> None:
    assert canonical(octets) == expected


def test_a_lone_cr_begins_no_part() -> None:
    body = b"--b1\r\n\r\nx\r--b1\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b1--\r\n"
    found = leaves(formed(HEAD + b"Content-Type: multipart/mixed; boundary=b1\r\n\r\n" + body).content)
    assert found == [("text/plain", b"x --b1\nContent-Type: text/html\n\n<p>", None)]


MALFORMED = {
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\n--b1\r\n\r\nsecret\r\n--b1--\r\n",
    "no final boundary": b"Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\nsecret\r\n",
    "8-bit": b"Content-Type: text/plain\r\n\r\nsecret \xe4\xff\r\n",
    "NUL": b"Content-Type: text/plain\r\n\r\nsecret\0\r\n",
    "lone CR": b"Content-Type: text/plain\r\n\r\nsecret\rx\r\n",
    "bare LF": b"Content-Type: text/plain\n\nsecret\nx\n",
    "no body": b"Content-Type: text/plain\r\n\r\n",
    "no empty line": b"Content-Type: text/plain\r\n",
    "no line end": b"Content-Type: text/plain",
    "no empty line before the body": b"Content-Type: text/plain\r\nsecret, and no field\r\n",
    "bad base64": b"Content-Transfer-Encoding: base64\r\n\r\n!!!secret!!!\r\n",
    "unknown encoding": b"Content-Transfer-Encoding: x-uu\r\n\r\nsecret\r\n",
    "encoded parts": b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\nsecret",
    "an open quote": b'Content-Type: text/plain; charset="utf-8\r\n\r\nsecret\r\n',
    "no type": b"Content-Type: png\r\n\r\nsecret\r\n",
    "parameters alone": b"Content-Type: charset=utf-8\r\n\r\nsecret\r\n",
    "a comment": b"Content-Type: (c) text/plain (d); charset=utf-8\r\n\r\nsecret\r\n",
    "501 parts": multipart(b"mixed", *[plain(b"secret")] * 501),
    "deep": b"".join(b"Content-Type: message/rfc822\r\n\r\n" for _ in range(40)) + b"\r\nsecret",
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("wish", [NORMAL, HIDDEN, INLINE], ids=["normal", "hidden", "inline"])
def test_malformed_messages_are_encrypted_whole(content: bytes, wish: Wish) -> None:
    form = formed(HEAD + content, wish)
    sent = out(form)
    assert b"secret" not in sent
    assert form.content.count(b"secret") == content.count(b"secret")
    assert not set(form.content.replace(b"\r\n", b"")) & set(b"\r\n")
    if form.kind is Kind.MIME:
        assert form.content.endswith(canonical(cut(HEAD + content)[1]))


def test_nothing_at_all_is_encrypted_as_well() -> None:
    form = formed(b"")
    assert form.content == b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    assert formed(b"", HIDDEN).content.endswith(b'protected-headers="v1"; charset=us-ascii\r\n\r\n')
    assert names(form.header.fields) == []


def test_the_line_of_an_mbox_file_stays_on_top_unless_the_subject_is_hidden() -> None:
    copy = b"From a Tue Jan  6 10:00:00 2026\r\n" + HEAD + b"\r\nx\r\n"
    assert out(formed(copy)).startswith(b"From a Tue")
    assert out(formed(copy, HIDDEN)).startswith(b"X-Mailrelay-Mode")


# -- Content that is left alone ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "again", "why"), [(c[0], c[2], c[3]) for c in CASES.values()], ids=CASES)
@pytest.mark.parametrize("wish", [NORMAL, HIDDEN, INLINE], ids=["normal", "hidden", "inline"])
def test_rows_154_155_158_what_is_encrypted_stays_as_it_is(content: bytes, again: bool, why: str, wish: Wish) -> None:
    found = left(HEAD + content, wish)
    assert (found is None) is again
    if found is not None:
        assert found.why == why and found.is_encrypted is (why != "part of a message")


def test_an_inline_message_beside_readable_files_is_encrypted_once_more() -> None:
    armored = plain(ARMOR.replace(b"\n", b"\r\n"))
    sealed = PDF.replace(b"a.pdf", b"a.pdf.pgp")
    assert left(HEAD + multipart(b"mixed", armored, sealed)) is not None
    assert left(HEAD + multipart(b"mixed", armored, plain(b"footer"))) is not None
    assert left(HEAD + multipart(b"mixed", armored, PDF)) is None
    assert left(HEAD + multipart(b"mixed", armored, sealed, PDF)) is None


def test_a_signed_message_goes_inside_as_it_is() -> None:
    signed = multipart(b"signed", plain(b"hello \r\n"), b"Content-Type: application/pgp-signature\r\n\r\nx")
    assert formed(HEAD + signed).content == b"MIME-Version: 1.0\r\n" + signed


# -- What stands around it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_body_is_in_short_lines_of_ascii(end: bytes) -> None:
    lines = [b"A" * 76] * 3
    armored = b"\n".join([b"-----BEGIN PGP MESSAGE-----", b"", *lines, b"-----END PGP MESSAGE-----", b"", b""])
    header, body = outer(formed(WITH_FILE), armored.replace(b"\n", end), boundary(bytes(24)))
    assert body.isascii() and max(map(len, body.split(b"\r\n"))) == 76
    assert not set(body.replace(b"\r\n", b"")) & set(b"\r\n")
    assert max(map(len, header.block.split(b"\r\n"))) <= 90


@pytest.mark.parametrize(
    "armored",
    [
        b"",
        b"secret",
        ARMOR + b"secret",
        b"secret\n" + ARMOR,
        ARMOR.replace(b"MESSAGE", b"SIGNED MESSAGE"),
        ARMOR.replace(b"hF4D", b"hF4D" * 20),
        ARMOR.replace(b"hF4D", b"hF4\xe4"),
    ],
)
def test_nothing_but_armor_goes_out(armored: bytes) -> None:
    for form in (formed(WITH_FILE), formed(HEAD + b"\r\nsecret\r\n", INLINE)):
        with pytest.raises(ValueError):
            outer(form, armored, BOUNDARY)


@pytest.mark.parametrize("wrong", [b"", b'"', b"a b", b"a\r\n", b"-a", b"a" * 61])
def test_a_boundary_is_one_word(wrong: bytes) -> None:
    with pytest.raises(ValueError):
        wrapped((), ARMOR, wrong)


def test_boundaries_differ_as_their_random_octets_do() -> None:
    assert boundary(bytes(12)) == b"mr-" + b"0" * 24 != boundary(b"\1" * 12)


def test_an_entity_takes_nothing_but_content_fields() -> None:
    found = entity(
        [Field(b"subject", b"Subject: secret\r\n"), Field(b"content-type", b"Content-Type: text/html")], b"x"
    )
    assert found == b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\nx"


def test_row_152_no_subject_is_read_out_of_a_field_of_the_sealed_copy() -> None:
    assert fields(out(formed(WITH_FILE)), b"subject") == [b"Your order 77"]
    assert fields(out(formed(WITH_FILE, HIDDEN)), b"subject") == [b"[...]"]
