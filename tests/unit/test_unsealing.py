"""Replies that owners encrypt for the service are opened, and go on as if they had come so (spec section 4.9)."""

import base64

import pytest

from mailrelay.core.header import split
from mailrelay.core.sending.unsealed import Sealed, sealed, unsealed
from tests.unit.locksmith import armored
from tests.unit.office import OK, TEMP, Office, signing_office
from tests.unit.sealing import ARMOR
from tests.unit.test_sending_flow import ANSWERS, BODY, HEAD, read, send

OUTER = (HEAD + ANSWERS).replace(b"Re: Your order 77", b"...")
ENTITY = (
    b'Content-Type: text/plain; charset=utf-8; protected-headers="v1"\r\n'
    b"Content-Transfer-Encoding: 8bit\r\nSubject: What was hidden\r\n\r\n"
)
PGP_MIME = (
    b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="b"\r\n',
    b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
    b"--b\r\nContent-Type: application/octet-stream\r\n\r\n%b\r\n--b--\r\n",
)


@pytest.fixture
def office() -> Office:
    return signing_office()


def head(kind: bytes) -> bytes:
    return OUTER.replace(b"Content-Type: text/plain; charset=utf-8\r\n", kind)


async def test_4_9_a_reply_encrypted_for_the_service_is_opened(office: Office) -> None:
    kind, frame = PGP_MIME
    assert await send(office, head=head(kind), body=frame % armored(ENTITY + BODY)) == [OK]
    [copy] = office.outside.copies
    message = read(copy)
    assert message.first(b"subject") == b"What was hidden"
    assert (message.first(b"content-type") or b"").startswith(b"text/plain; charset=utf-8")
    assert b"Yes, please." in message.body and b"PGP" not in message.body
    # What it said is looked through as any other text is.
    assert b"> To: a1@alias.example\r\n" in message.body and b"inbox.example" not in b"".join(copy.content)


async def test_4_9_inline_armor_is_opened(office: Office) -> None:
    assert await send(office, head=OUTER, body=armored(BODY)) == [OK]
    [copy] = office.outside.copies
    assert b"Yes, please." in read(copy).body
    assert b"inbox.example" not in b"".join(copy.content)


async def test_4_9_what_is_not_for_the_service_stays_encrypted(office: Office) -> None:
    kind, frame = PGP_MIME
    office.locksmith.foreign = True
    body = frame % ARMOR.replace(b"\n", b"\r\n")
    assert await send(office, head=head(kind), body=body) == [OK]
    [copy] = office.outside.copies
    assert b"hF4DAAAA" in read(copy).body


async def test_our_own_trouble_is_temporary(office: Office) -> None:
    kind, frame = PGP_MIME
    office.locksmith.down = True
    body = frame % armored(ENTITY + BODY)
    assert await send(office, head=head(kind), body=body) == [TEMP]
    office.locksmith.down = False
    assert await send(office, head=head(kind), body=body) == [OK]
    assert len(office.outside.copies) == 1


async def test_what_is_held_stays_as_it_came(office: Office) -> None:
    kind, frame = PGP_MIME
    signed = b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\nMIIB\r\n"
    assert await send(office, head=head(kind), body=frame % armored(signed)) == [OK]
    assert office.outside.copies == []
    [kept] = office.store.rows("failed_delivery")
    assert b"BEGIN PGP MESSAGE" in kept["content"]


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable", b"7bit"])
def test_armor_is_found_in_any_encoding(encoding: bytes) -> None:
    said = {b"base64": base64.encodebytes(ARMOR), b"quoted-printable": ARMOR.replace(b"=", b"=3D")}.get(encoding, ARMOR)
    content = (
        b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="b"\n\n'
        b"--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n"
        b"--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: %b\n\n%b\n--b--\n" % (encoding, said)
    )
    found = sealed(split(content))
    assert found is not None and not found.inline
    assert found.octets.strip() == ARMOR.strip()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Subject: plain\n\nhello\n",
        b"Content-Type: multipart/encrypted\n\n",
        b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b\n\n--b\n\none\n--b--\n',
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + ARMOR + b"\n--b\n\nanother part\n--b--\n",
    ],
)
def test_other_mail_is_not_touched(content: bytes) -> None:
    assert sealed(split(content)) is None


def test_inline_armor_is_a_text() -> None:
    assert sealed(split(b"Subject: x\r\n\r\n" + ARMOR)) == Sealed(ARMOR, inline=True)


def test_the_inside_brings_its_own_description_and_no_other_field() -> None:
    outer = split(b"From: me@inbox.example\r\nSubject: ...\r\nContent-Type: multipart/encrypted\r\n\r\nx")
    inner = b"From: other@shop.example\nBcc: z@shop.example\nContent-Type: text/html\n\n<p>hi\nthere"
    message = unsealed(outer, inner, "Grüße\r\nBcc: evil@shop.example".encode(), inline=False)
    assert [field.name for field in message.fields] == [b"from", b"subject", b"mime-version", b"content-type"]
    assert message.first(b"from") == b"me@inbox.example"
    assert message.first(b"content-type") == b"text/html"
    assert message.body == b"<p>hi\r\nthere"
