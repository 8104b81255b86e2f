"""Keys, signatures and certificates in what an owner sends, and what is done about leaks (spec sections 4.8, 4.9)."""

from base64 import b64encode

import pytest

from mailrelay.core.header import split
from mailrelay.core.sending.leaks import Leak, Place, Verdict, in_fields, verdict
from mailrelay.core.sending.scrub import Edited
from tests.unit.sent import HIDDEN, KEEP, KEY, leaf, multipart, scrubbed

TEXT = leaf(b"Hello")
PGP = b'; micalg=pgp-sha256; protocol="application/pgp-signature"'
SIGNATURE = leaf(
    b"-----BEGIN PGP SIGNATURE-----\r\n\r\nAAAA\r\n-----END PGP SIGNATURE-----", b"application/pgp-signature"
)


@pytest.mark.parametrize(
    "part",
    [
        leaf(
            KEY,
            b"application/pgp-keys",
            b'Content-Disposition: attachment; filename="publickey - real@inbox.example.asc"\r\n',
        ),
        leaf(KEY, b'application/octet-stream; name="publickey - real@inbox.example - 0x1234.asc"'),
        leaf(KEY, b'application/octet-stream; name="OpenPGP_0x12AB.asc"'),
        leaf(KEY, b'text/plain; name="me.asc"'),
        leaf(
            b64encode(KEY),
            b"application/pgp-encrypted",
            b"Content-Transfer-Encoding: base64\r\nContent-Disposition: inline; filename=x.ASC\r\n",
        ),
        SIGNATURE,
        leaf(b"-----BEGIN PGP SIGNATURE-----\r\n\r\nAAAA\r\n", b'application/octet-stream; name="text.txt.asc"'),
    ],
)
@pytest.mark.parametrize("place", range(3))
def test_row_114_keys_and_signatures_go(part: bytes, place: int) -> None:
    parts = [TEXT, leaf(b"second")]
    parts.insert(place, part)
    done = scrubbed(multipart(*parts))
    assert done.message.content == multipart(TEXT, leaf(b"second")) and done.leaks == ()
    assert scrubbed(multipart(multipart(*parts, boundary=b"b2"), TEXT)).message.content == multipart(
        multipart(TEXT, leaf(b"second"), boundary=b"b2"), TEXT
    )
    assert scrubbed(multipart(*parts), removal=KEEP).message.content == multipart(*parts)


def test_row_114_a_multipart_of_keys_goes_as_a_whole() -> None:
    key = leaf(KEY, b"application/pgp-keys")
    assert scrubbed(multipart(TEXT, multipart(key, key, boundary=b"b2"))).message.content == multipart(TEXT)
    done = scrubbed(multipart(key))
    assert done.message.body == b"" and done.message.first(b"content-type") == b"text/plain; charset=us-ascii"
    inner = b"Subject: x\r\n" + key
    assert KEY not in scrubbed(multipart(TEXT, leaf(inner, b"message/rfc822"))).message.content


def test_row_114_a_key_that_stays_is_told() -> None:
    done = scrubbed(multipart(TEXT, leaf(KEY, b"application/pgp-keys")), removal=KEEP)
    assert done.leaks == (Leak(Place.KEY, "application/pgp-keys"),)
    assert scrubbed(leaf(b"My key:\r\n" + KEY)).leaks == (Leak(Place.KEY, "text/plain"),)


def test_an_asc_file_of_another_kind_stays() -> None:
    file = leaf(b"-----BEGIN PGP MESSAGE-----\r\n\r\nAAAA", b'application/octet-stream; name="letter.asc"')
    assert scrubbed(multipart(TEXT, file)).message.content == multipart(TEXT, file)


def test_something_signed_becomes_its_first_part() -> None:
    first = (
        b'Content-Type: multipart/mixed; boundary=b2; protected-headers="v1"\r\nFrom: Real <real@inbox.example>\r\n'
        b"Message-ID: <x@inbox.example>\r\n"
        + multipart(leaf(b"> real@inbox.example"), boundary=b"b2").partition(b"\r\n")[2]
    )
    message = b"Subject: x\r\nContent-Language: de\r\n" + multipart(first, SIGNATURE, kind=b"signed", params=PGP)
    done = scrubbed(message)
    wanted = (
        b'Content-Type: multipart/mixed; boundary=b2; protected-headers="v1"\r\n\r\n'
        + multipart(leaf(b"> a1@alias.example"), boundary=b"b2").partition(b"\r\n\r\n")[2]
    )
    assert done.message.content == b"Subject: x\r\n" + wanted and done.leaks == ()
    assert set(done.fields) == {b"content-type", b"content-language"} and done.fields[b"content-language"] is None
    nested = multipart(multipart(first, SIGNATURE, kind=b"signed", params=PGP, boundary=b"b3"), TEXT)
    assert scrubbed(nested).message.content == multipart(wanted.removesuffix(b"\r\n") + b"\r\n", TEXT)


def test_something_signed_that_stays_so_is_only_looked_through() -> None:
    message = multipart(leaf(b"> real@inbox.example"), SIGNATURE, kind=b"signed", params=PGP)
    done = scrubbed(message, removal=KEEP, mode="all")
    assert done.message.content == message and done.leaks == (Leak(Place.HISTORY, "text/plain"),)


CLEARSIGNED = (
    b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nHello\r\n- -- \r\n> real@inbox.example\r\n"
    b"-----BEGIN PGP SIGNATURE-----\r\n\r\nAAAA\r\n-----END PGP SIGNATURE-----\r\n"
)


def test_inline_signatures() -> None:
    assert scrubbed(leaf(CLEARSIGNED)).message.body == b"Hello\r\n-- \r\n> a1@alias.example\r\n"
    done = scrubbed(leaf(CLEARSIGNED), removal=KEEP)
    assert done.message.body == CLEARSIGNED and done.leaks


@pytest.mark.parametrize(
    "content",
    [
        multipart(
            leaf(b"Version: 1", b"application/pgp-encrypted"),
            leaf(b"real@inbox.example"),
            kind=b"encrypted",
            params=b'; protocol="application/pgp-encrypted"',
        ),
        leaf(
            b"-----BEGIN PGP MESSAGE-----\r\nComment: real@inbox.example\r\n\r\nAAAA\r\n-----END PGP MESSAGE-----\r\n"
        ),
        leaf(b"AAAA", b"application/pkcs7-mime; smime-type=enveloped-data"),
    ],
)
def test_encrypted_content_stays(content: bytes) -> None:
    assert scrubbed(content, mode="all") == Edited(split(content), {}, ())


@pytest.mark.parametrize(
    "content",
    [
        multipart(
            TEXT,
            leaf(b"AAAA", b"application/pkcs7-signature"),
            kind=b"signed",
            params=b'; protocol="application/pkcs7-signature"',
        ),
        leaf(b"AAAA", b"application/pkcs7-mime; smime-type=signed-data"),
        leaf(b"AAAA", b"application/x-pkcs7-mime"),
    ],
)
def test_certificates_show_who_signs(content: bytes) -> None:
    done = scrubbed(content)
    assert done.message.content == content and {leak.place for leak in done.leaks} == {Place.CERTIFICATE}
    assert verdict(done.leaks, "warn") is verdict(done.leaks, "block") is Verdict.REFUSE
    assert verdict(done.leaks, "off") is Verdict.SEND


def test_row_112_the_policy_decides() -> None:
    leaks = scrubbed(leaf(b"real@inbox.example")).leaks
    assert [verdict(leaks, policy) for policy in ("off", "warn", "block")] == [
        Verdict.SEND,
        Verdict.WARN,
        Verdict.REFUSE,
    ]
    assert verdict((), "block") is Verdict.SEND


def test_fields_of_a_finished_header() -> None:
    message = split(
        b"Subject: =?utf-8?b?cmVhbEBpbmJveC5leGFtcGxl?=\r\nFrom: a1@alias.example\r\nCc: surreal@inbox.example\r\n"
    )
    assert list(in_fields(message.fields, HIDDEN)) == [Leak(Place.HEADER, "subject")]
