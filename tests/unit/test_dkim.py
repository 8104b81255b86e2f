"""Signatures, judged by dkimpy, which shares no code with ours."""

import hashlib
import re
from functools import cache

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailrelay.core.dkim import SigningKey, body_hash, load_pem, public_record, sign, txt_strings
from mailrelay.core.errors import Malformed
from mailrelay.core.header import split

NOW = 1767690002


@cache
def pem(kind: str) -> bytes:
    private: RSAPrivateKey | Ed25519PrivateKey
    private = generate_rsa(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


RSA = load_pem(pem("rsa"), "alias.example", "mr1")
ED25519 = load_pem(pem("ed25519"), "alias.example", "mr1e")

SHOP = (
    b'From: "Example Shop" <a1+news=shop.example@alias.example>\r\n'
    b"Reply-To: a1+help=shop.example@alias.example\r\n"
    b"To: a1@alias.example\r\n"
    b"Cc: a1+other=elsewhere.example@alias.example\r\n"
    b"Subject: Your order 77\r\n"
    b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\n"
    b"Message-ID: <20260106.77@shop.example>\r\n"
    b"List-Unsubscribe: <https://shop.example/u/77>,\r\n\t<mailto:u@alias.example>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"Feedback-ID: F:6a03c376ef1d:rewrite:mailrelay\r\n"
    b"X-Shop-Campaign: winter\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative; boundary="b1"\r\n'
)
BODIES = [
    b"",
    b"\r\n",
    b"\r\n\r\n\r\n",
    b" \t \r\n \r\n",
    b"hello\r\n",
    b"hello\r\n\r\n\r\n",
    b"hello\r\n \t\r\n\t\r\n",
    b"\r\n\r\nhello\r\n\r\nworld\r\n",
    b"  lead\t\tand   runs \t of\twhite space \t \r\n",
    b"caf\xe9 \xff\xfe\x00 na\xc3\xafve\r\n",
    b"bare \r return\r\r\n",
    b"bare return at the end\r\r\n\r\n",
    b"soft line=20\r\n" * 9000 + b"\r\n" * 70_000 + b"end \t\r\n" + b"\r\n" * 70_000,
    (b"x" * 900 + b"  \r\n") * 200 + b" \r\n" * 50_000,
]
HEADERS = [
    SHOP,
    b"From: a@alias.example\r\n",
    b"from:a@alias.example\r\nSUBJECT:  tight   and \t loose \t \r\nTo:\r\n\ta@x.example,\r\n \t b@x.example\r\n",
    b"From: a@alias.example\r\nSubject: one\r\nSubject: two\r\nReceived: x\r\nSubject: three\r\nTo: \r\n",
    b"From: M\xfcller <a@alias.example>\r\nSubject: caf\xc3\xa9 \xff\r\nList-Id: <l.alias.example>\r\n",
    b"Resent-From: a@x.example\r\nResent-From: b@x.example\r\nResent-To: c@x.example\r\nFrom: a@alias.example\r\n",
]


def signed(header: bytes, body: bytes, *keys: SigningKey) -> bytes:
    """The message as a receiver gets it."""
    fields = split(header).fields
    arriving = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
    return b"".join(sign(fields, body_hash(body), keys, NOW)) + header + b"\r\n" + arriving


def verifies(content: bytes, index: int = 0) -> bool:
    records = {
        f"{key.selector}._domainkey.{key.domain}.".encode(): public_record(key).encode() for key in (RSA, ED25519)
    }

    def dnsfunc(name: bytes, timeout: int = 5) -> bytes:
        return records[name]

    try:
        return bool(dkimpy.DKIM(content, minkey=1024).verify(index, dnsfunc=dnsfunc))
    except dkimpy.ValidationError:  # its way to say that the body changed
        return False


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """dkimpy compares t= and x= with the clock of the machine."""
    monkeypatch.setattr("dkim.time.time", lambda: NOW + 60)


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_both_signatures_verify_for_any_body(body: bytes) -> None:
    content = signed(SHOP, body, RSA, ED25519)
    assert [verifies(content, 0), verifies(content, 1)] == [True, True]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_both_signatures_verify_for_any_header(header: bytes) -> None:
    content = signed(header, b"hello\r\n", RSA, ED25519)
    assert [verifies(content, 0), verifies(content, 1)] == [True, True]


@pytest.mark.parametrize("body", [b"no line end", b"white space at the end \t", b"\r\nx\r\n\r\ny"])
def test_a_body_without_a_last_line_end_is_signed_as_it_will_arrive(body: bytes) -> None:
    assert verifies(signed(SHOP, body, RSA))
    assert body_hash(body) == body_hash(body + b"\r\n")


@pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: Your", b"Subject: My"),
        (b"winter", b"summer"),
        (b"hello", b"hallo"),
        (b"To: a1@", b"To: a2@"),
    ],
)
def test_what_is_signed_cannot_change_and_what_is_not_can(key: SigningKey, old: bytes, new: bytes) -> None:
    content = signed(SHOP, b"hello\r\n", key)
    assert old in content
    assert verifies(content.replace(old, new)) is (old == b"winter")


@pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])
@pytest.mark.parametrize(
    "field",
    [b"Subject: x", b"From: x@x.example", b"In-Reply-To: <x@x.example>", b"Sender: x@x.example", b"Auto-Submitted: no"],
)
def test_a_field_added_later_breaks_the_signature(key: SigningKey, field: bytes) -> None:
    content = signed(SHOP, b"hello\r\n", key)
    assert verifies(content)
    assert not verifies(field + b"\r\n" + content)


def test_the_field_looks_as_in_the_worked_example() -> None:
    rsa, ed25519 = sign(split(SHOP).fields, body_hash(b""), [ED25519, RSA], NOW)
    listed = (
        b"\tt=1767690002; x=1768294802; h=from:from:reply-to:reply-to:subject:subject:\r\n"
        b"\tdate:date:to:to:cc:cc:message-id:message-id:in-reply-to:references:\r\n"
        b"\tmime-version:mime-version:content-type:content-type:\r\n"
        b"\tcontent-transfer-encoding:sender:list-unsubscribe:list-unsubscribe:\r\n"
        b"\tlist-unsubscribe-post:list-unsubscribe-post:feedback-id:feedback-id:\r\n"
        b"\tauto-submitted; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b="
    )
    first = b"DKIM-Signature: v=1; a=%b; c=relaxed/relaxed; d=alias.example; s=%b;\r\n"
    assert rsa.startswith(first % (b"rsa-sha256", b"mr1") + listed)
    assert ed25519.startswith(first % (b"ed25519-sha256", b"mr1e") + listed)
    for field in (rsa, ed25519):
        assert field.endswith(b"\r\n")
        assert all(len(line) <= 78 for line in field.split(b"\r\n")[1:])
        assert len(split(field).fields) == 1


def test_neither_length_nor_identity_nor_traces_are_signed() -> None:
    header = b"Received: x\r\nX-Mailrelay-Id: y\r\nBcc: z\r\nDKIM-Signature: q\r\n" + SHOP
    [field] = sign(split(header).fields, body_hash(b""), [RSA], NOW)
    tags = dict(tag.split(b"=", 1) for tag in re.sub(rb"\s", b"", field.partition(b":")[2]).split(b";"))
    assert tags.keys() == {b"v", b"a", b"c", b"d", b"s", b"t", b"x", b"h", b"bh", b"b"}
    assert not {b"received", b"x-mailrelay-id", b"bcc", b"dkim-signature"} & set(tags[b"h"].split(b":"))


def test_signatures_expire_after_a_week(monkeypatch: pytest.MonkeyPatch) -> None:
    content = signed(SHOP, b"hello\r\n", RSA)
    leeway = 36_000  # of dkimpy, for clocks that are wrong
    monkeypatch.setattr("dkim.time.time", lambda: NOW + 7 * 86400 + leeway)
    assert verifies(content)
    monkeypatch.setattr("dkim.time.time", lambda: NOW + 7 * 86400 + leeway + 1)
    assert not verifies(content)


def test_space_before_the_colon_is_not_part_of_the_name() -> None:
    """dkimpy cannot read it, so both forms have to give the same signature."""
    usual, odd = (
        sign(split(header).fields, body_hash(b""), [ED25519], NOW) for header in (b"To: x\r\n", b"to \t:x\r\n")
    )
    assert usual == odd


def test_without_keys_there_are_no_signatures() -> None:
    assert sign(split(SHOP).fields, body_hash(b""), [], NOW) == ()


def test_an_old_signature_below_ours_does_not_disturb() -> None:
    once = signed(SHOP, b"hello\r\n", ED25519)
    header, _, body = once.partition(b"\r\n\r\n")
    assert verifies(signed(header + b"\r\n", body, RSA), 0)


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_the_body_hash_is_that_of_the_rfc_rules_written_down_slowly(body: bytes) -> None:
    relaxed = re.sub(rb"[ \t]+", b" ", body).replace(b" \r\n", b"\r\n")
    while relaxed.endswith(b"\r\n"):
        relaxed = relaxed[:-2]
    expected = hashlib.sha256(relaxed + b"\r\n" if relaxed else b"").digest()
    assert body_hash(body) == expected


@pytest.mark.parametrize("length", [65533, 65534, 65535, 65536, 65537, 65538])
def test_the_body_hash_does_not_depend_on_where_chunks_end(length: int) -> None:
    for body in [b"x" * length + b" \r\n\r\n y", b"x" * (length - 1) + b" \r\n" + b"\r\n" * length + b"z\r\n"]:
        relaxed = re.sub(rb"[ \t]+", b" ", body).replace(b" \r\n", b"\r\n")
        assert body_hash(body) == hashlib.sha256(relaxed.rstrip(b"\r\n") + b"\r\n").digest()


def test_records_fit_into_strings() -> None:
    rsa = public_record(RSA)
    assert re.fullmatch(r"v=DKIM1; k=rsa; p=[A-Za-z0-9+/]{392}", rsa)
    assert re.fullmatch(r"v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=", public_record(ED25519))
    assert [len(string) for string in txt_strings(rsa)] == [255, len(rsa) - 255]
    assert "".join(txt_strings(rsa)) == rsa
    assert txt_strings(public_record(ED25519)) == (public_record(ED25519),)


def other_pem(kind: str) -> bytes:
    private = generate_rsa(65537, 1024) if kind == "small" else generate_private_key(SECP256R1())
    return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def test_rsa_keys_of_1024_bits_in_the_old_form_are_read() -> None:
    assert load_pem(other_pem("small"), "old.example", "k1").algorithm == "rsa-sha256"


@pytest.mark.parametrize("octets", [b"", b"not a key", other_pem("ec"), pem("rsa")[:200]], ids=range(4))
def test_other_keys_are_malformed(octets: bytes) -> None:
    with pytest.raises(Malformed):
        load_pem(octets, "alias.example", "mr1")


def test_a_key_that_contradicts_its_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="not for ed25519"):
        SigningKey("alias.example", "mr1", "ed25519-sha256", RSA.private)
