"""The table of what must not be edited or encrypted again."""

from binascii import b2a_base64

import pytest

from mailrelay.core.frozen import frozen
from mailrelay.core.header import split
from mailrelay.core.mime import tree

ARMOR = b"-----BEGIN PGP MESSAGE-----\r\nVersion: 1\r\nComment: none\r\n\r\nhQEMA3\r\n-----END PGP MESSAGE-----\r\n"
SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nhello\r\n-----BEGIN PGP SIGNATURE-----\r\n"
# A ContentInfo of enveloped data, and one of signed data.
ENVELOPED = bytes.fromhex("308006092a864886f70d010703a080308002010031")
OPAQUE = bytes.fromhex("308006092a864886f70d010702a080308002010131")


def multipart(kind: bytes, *parts: bytes, more: bytes = b"") -> bytes:
    lines = b"".join(b"--b1\r\n%b\r\n" % part for part in parts)
    return b"Content-Type: multipart/%b;%b boundary=b1\r\n\r\n%b--b1--\r\n" % (kind, more, lines)


def plain(body: bytes, encoding: bytes = b"7bit") -> bytes:
    return b"Content-Type: text/plain\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (encoding, body)


def html(body: bytes) -> bytes:
    return b"Content-Type: text/html\r\n\r\n%b" % body


def smime(content: bytes, kind: bytes = b"") -> bytes:
    head = b"Content-Type: application/%bpkcs7-mime%b; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head % (b"x-" if kind else b"", b"; smime-type=%b" % kind if kind else b"") + b2a_base64(content)


CASES = {
    "plain": (plain(b"hello\r\n"), True, True, ""),
    "pgp-mime": (
        multipart(b"encrypted", b"\r\nVersion: 1", plain(ARMOR), more=b' protocol="application/pgp-encrypted";'),
        False,
        False,
        "multipart/encrypted",
    ),
    "encrypted-otherwise": (
        multipart(b"encrypted", plain(b"a")),
        False,
        True,
        "multipart/encrypted of another protocol",
    ),
    "smime-enveloped": (smime(b"", b"Enveloped-Data"), False, False, "S/MIME encrypted"),
    "smime-auth-enveloped": (smime(b"", b"authEnveloped-data"), False, False, "S/MIME encrypted"),
    "smime-enveloped-unsaid": (smime(ENVELOPED), False, False, "S/MIME encrypted"),
    "smime-opaque-unsaid": (smime(OPAQUE), False, True, "S/MIME"),
    "smime-opaque": (smime(ENVELOPED, b"signed-data"), False, True, "S/MIME"),
    "83-signed": (multipart(b"signed", plain(b"hello")), False, True, "multipart/signed"),
    "pgp-inline": (plain(ARMOR), False, False, "PGP message"),
    "pgp-inline-blank-lines": (plain(b"\r\n \t\r\n" * 3000 + ARMOR + b"\r\n \r\n"), False, False, "PGP message"),
    "pgp-inline-lf": (plain(b2a_base64(ARMOR.replace(b"\r\n", b"\n")), b"base64"), False, False, "PGP message"),
    "pgp-inline-qp": (plain(ARMOR.replace(b"V", b"=56"), b"quoted-printable"), False, False, "PGP message"),
    "pgp-inline-and-footer": (plain(ARMOR + b"--\r\nfooter\r\n"), False, True, "PGP text"),
    "pgp-inline-cut": (plain(ARMOR[:60]), False, True, "PGP text"),
    "pgp-signed-text": (plain(SIGNED), False, True, "PGP text"),
    "pgp-mentioned": (plain(b"It says\r\n" + ARMOR), True, True, ""),
    "pgp-mentioned-in-html": (html(b"<pre>" + ARMOR), True, True, ""),
    "pgp-both": (multipart(b"alternative", plain(ARMOR), html(b"<pre>" + ARMOR)), False, False, "PGP message"),
    "pgp-and-readable-html": (multipart(b"alternative", plain(ARMOR), html(b"secret")), False, True, "PGP text"),
    "report": (multipart(b"report", plain(b"failed"), more=b" report-type=delivery-status;"), False, True, "report"),
    "partial": (b"Content-Type: message/partial; id=a; number=1\r\n\r\nx", False, False, "part of a message"),
    "external": (b"Content-Type: message/external-body\r\n\r\nx", False, False, "part of a message"),
    "amp": (multipart(b"alternative", plain(b"a"), b"Content-Type: text/x-amp-html\r\n\r\n<html>"), True, True, ""),
    "no-content-type": (b"Subject: x\r\n\r\nx", True, True, ""),
    "excess": (multipart(b"mixed", *[plain(b"a")] * 501), False, True, "beyond limits"),
}


@pytest.mark.parametrize(("content", "body_edits", "encrypt_again", "why"), CASES.values(), ids=CASES)
def test_the_table(content: bytes, body_edits: bool, encrypt_again: bool, why: str) -> None:
    found = frozen(tree(split(content)))
    assert (found.body_edits, found.encrypt_again, found.why) == (body_edits, encrypt_again, why)
    assert not found.calendar


INVITE = b"Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\nBEGIN:VCALENDAR\r\n"


@pytest.mark.parametrize(
    ("content", "calendar"),
    [
        (INVITE, True),
        (multipart(b"alternative", plain(b"a"), INVITE), True),
        (multipart(b"mixed", plain(b"a"), INVITE.replace(b"text/calendar", b"text/x-calendar")), False),
        (multipart(b"mixed", plain(b"a"), INVITE.replace(b"method=REQUEST", b"x=y")), False),
        (multipart(b"mixed", plain(b"a"), b"Content-Type: message/rfc822\r\n\r\n" + INVITE), False),
    ],
)
def test_invitations_are_noticed_and_stay_editable(content: bytes, calendar: bool) -> None:
    found = frozen(tree(split(content)))
    assert (found.calendar, found.body_edits, found.encrypt_again) == (calendar, True, True)
