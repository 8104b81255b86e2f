"""DKIM signatures of others: the RFCs' examples, and dkimpy as the second opinion."""

import hashlib
import time
from base64 import b64encode
from dataclasses import replace
from functools import cache

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core import dkimverify
from mailrelay.core.dkim import body_hash, public_record, sign
from mailrelay.core.dkimverify import Content, read_signature, signatures, verify
from mailrelay.core.findings import Dkim
from mailrelay.core.header import Field, split
from mailrelay.core.lookup import ABSENT, Answer
from tests.unit.test_dkim import BODIES, ED25519, RSA, SHOP

NOW = int(time.time())  # dkimpy reads the clock, and must agree

RFC_6376_KEY = (
    b"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4j"
    b"YfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDA"
    b"QAB"
)
RFC_6376 = b"""\
DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")

RFC_8463_KEYS = {
    "brisbane._domainkey.football.example.com": b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "test._domainkey.football.example.com": b"v=DKIM1; k=rsa; p="
    b"MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91"
    b"y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
}
RFC_8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")

SHORT_KEY = (  # 512 bits
    b"k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALXgM/sLzE7ga4zjFmdnTM4lLnPoDksYmvarR4v4nEaAZTFraSslMUqDzZT9dijsSr28/rFK"
    b"b1uDZRXKYqoys4UCAwEAAQ=="
)

KEYS = {f"{key.selector}._domainkey.{key.domain}": public_record(key).encode() for key in (RSA, ED25519)}
PLAIN = SHOP + b"\r\nhello  world \r\n\r\n\r\n"


def check(content: bytes, keys: dict[str, bytes] | None = None, now: int = NOW) -> list[Dkim]:
    answers = {name: Answer((text,)) for name, text in (KEYS if keys is None else keys).items()}
    message = split(content)
    return [verify(one, answers, Content(message), now) for one in signatures(message)]


def results(content: bytes, keys: dict[str, bytes] | None = None, now: int = NOW) -> list[str]:
    return [one.result for one in check(content, keys, now)]


def dkimpy_says(content: bytes, keys: dict[str, bytes] | None = None) -> bool:
    records = {f"{name}.".encode(): text for name, text in (KEYS if keys is None else keys).items()}
    try:
        return bool(dkimpy.DKIM(content).verify(dnsfunc=lambda name, timeout=5: records.get(name)))
    except dkimpy.DKIMException:
        return False


def signed(content: bytes, now: int = NOW) -> bytes:
    """With our own RSA signature."""
    message = split(content)
    return b"".join(sign(message.fields, body_hash(message.body), [RSA], now)) + content


@cache
def pem(bits: int) -> bytes:
    key = generate_private_key(65537, bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@cache
def published(bits: int) -> bytes:
    public = load_pem_private_key(pem(bits), None).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + b64encode(der)


def by_dkimpy(content: bytes, bits: int = 2048, canonical: bytes = b"relaxed/relaxed", **options: object) -> bytes:
    """Signed by dkimpy as s1 at alias.example."""
    signer = dkimpy.DKIM(content)
    signer.should_not_sign = set()
    header, body = canonical.split(b"/")
    return bytes(signer.sign(b"s1", b"alias.example", pem(bits), canonicalize=(header, body), **options)) + content


def s1(bits: int = 2048) -> dict[str, bytes]:
    return {"s1._domainkey.alias.example": published(bits)}


def test_the_example_of_rfc_6376_verifies() -> None:
    (found,) = check(RFC_6376, {"brisbane._domainkey.example.com": RFC_6376_KEY})
    assert found.result == "pass", found.reason
    assert (found.domain, found.selector, found.algorithm, found.b) == (
        *("example.com", "brisbane", "rsa-sha256", "AuUoFEfD"),
    )


def test_the_example_of_rfc_8463_verifies() -> None:
    assert [(one.result, one.algorithm) for one in check(RFC_8463, RFC_8463_KEYS)] == [
        ("pass", "ed25519-sha256"),
        ("pass", "rsa-sha256"),
    ]


@pytest.mark.parametrize("at", range(0, len(RFC_6376), 7))
def test_one_other_octet_and_the_example_fails(at: int) -> None:
    changed = RFC_6376[:at] + bytes([RFC_6376[at] ^ 1]) + RFC_6376[at + 1 :]
    assert "pass" not in results(changed, {"brisbane._domainkey.example.com": RFC_6376_KEY})


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("canonical", [b"simple/simple", b"simple/relaxed", b"relaxed/simple", b"relaxed/relaxed"])
def test_what_dkimpy_signs_verifies(body: bytes, canonical: bytes) -> None:
    content = by_dkimpy(SHOP + b"\r\n" + body, canonical=canonical)
    assert results(content, s1()) == ["pass"] == ["pass" if dkimpy_says(content, s1()) else "fail"]
    assert results(content + b"more\r\n", s1()) == ["fail"]
    assert results(content.replace(b"Your order", b"My order"), s1()) == ["fail"]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_what_we_sign_verifies(body: bytes) -> None:
    content = SHOP + b"\r\n" + body
    fields = split(content).fields
    content = b"".join(sign(fields, body_hash(body), [RSA, ED25519], NOW)) + content
    assert results(content) == ["pass", "pass"]
    assert results(b"Subject: another\r\n" + content) == ["fail", "fail"]  # 198


@pytest.mark.parametrize(
    ("tamper", "result"),
    [
        ((b"v=1;", b"v=2;"), "permerror"),
        ((b"v=1;", b""), "permerror"),
        ((b"v=1;", b"v=1; v=1;"), "permerror"),
        ((b"a=rsa-sha256", b"a=rsa-md5"), "permerror"),
        ((b"a=rsa-sha256", b"a=rsa-sha1"), "policy"),
        ((b"a=rsa-sha256", b"a=ed25519-sha256"), "permerror"),
        ((b"d=alias.example", b"d=a(lias.example"), "permerror"),
        ((b"d=alias.example", b"d="), "permerror"),
        ((b"s=mr1", b"s=mr9"), "permerror"),
        ((b"s=mr1", b"s=" + b"m" * 250), "permerror"),
        ((b"h=from:from:", b"h=to:"), "permerror"),
        ((b"c=relaxed/relaxed", b"c=nofws"), "permerror"),
        ((b"c=relaxed/relaxed", b"c=simple"), "fail"),
        ((b"v=1;", b"v=1; i=@other.example;"), "permerror"),
        ((b"v=1;", b"v=1; i=@notalias.example;"), "permerror"),
        ((b"v=1;", b"v=1; i=@sub.alias.example;"), "fail"),
        ((b"v=1;", b"v=1; q=http;"), "permerror"),
        ((b"v=1;", b"v=1; l=none;"), "permerror"),
        ((b"v=1;", b"v=1; l=5;"), "policy"),
        ((b"v=1;", b"v=1; l=" + b"9" * 70 + b";"), "fail"),
        ((b" bh=", b" bh=!"), "permerror"),
        ((b" bh=", b" bh=AAAA"), "fail"),
        ((b"; b=", b"; b=%"), "permerror"),
    ],
)
def test_each_fault_has_its_result(tamper: tuple[bytes, bytes], result: str) -> None:
    content = b" ".join(signed(PLAIN).split(b"\r\n\t", 12))  # on one line, so that tags are easily found
    assert tamper[0] in content
    assert results(content.replace(tamper[0], tamper[1], 1)) == [result]


@pytest.mark.parametrize(
    ("record", "result"),
    [
        (b"", "permerror"),
        (b"hello", "permerror"),
        (b"v=DKIM2; " + published(2048).partition(b";")[2], "permerror"),
        (b"v=DKIM1; k=rsa; p=", "permerror"),
        (b"v=DKIM1; k=rsa; p=AAAA", "permerror"),
        (b"v=DKIM1; k=rsa; p=*", "permerror"),
        (b"v=DKIM1; k=elgamal; p=AAAA", "permerror"),
        (b"v=DKIM1; k=ed25519; p=AAAA", "permerror"),
        (published(2048) + b"; h=sha1", "permerror"),
        (published(2048) + b"; h=sha1:sha256", "pass"),
        (published(2048) + b"; s=other", "permerror"),
        (published(2048) + b"; s=email", "pass"),
        (published(2048) + b"; t=y:s; n=note; x=1", "pass"),
        (published(2048).removeprefix(b"v=DKIM1; k=rsa; "), "pass"),
        (published(1024), "fail"),
    ],
)
def test_each_key_record_has_its_result(record: bytes, result: str) -> None:
    assert results(by_dkimpy(PLAIN), {"s1._domainkey.alias.example": record}) == [result]


def test_a_strict_key_wants_the_very_domain() -> None:
    content = by_dkimpy(PLAIN, identity=b"@sub.alias.example")
    assert results(content, s1()) == ["pass"]
    assert results(content, {"s1._domainkey.alias.example": published(2048) + b"; t=s"}) == ["permerror"]


def test_short_rsa_keys_do_not_count() -> None:
    content = by_dkimpy(PLAIN, bits=1024)
    assert results(content, s1(1024)) == ["pass"]
    assert results(content, {"s1._domainkey.alias.example": SHORT_KEY}) == ["policy"]


def test_a_signature_expires() -> None:
    content = signed(PLAIN, NOW)
    assert results(content, now=NOW + 7 * 86400) == ["pass"]
    (found,) = check(content, now=NOW + 7 * 86400 + 1)
    assert (found.result, found.expires) == ("fail", NOW + 7 * 86400)


def test_a_part_of_the_body_is_not_enough() -> None:
    content = by_dkimpy(PLAIN, length=True)
    (found,) = check(content, s1())
    assert (found.result, found.has_length) == ("pass", True)
    assert results(content + b"more\r\n", s1()) == ["policy"]


@pytest.mark.parametrize("canonical", [b"relaxed/simple", b"relaxed/relaxed"])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_length_that_is_the_whole_body_is_enough(body: bytes, canonical: bytes) -> None:
    assert results(by_dkimpy(SHOP + b"\r\n" + body, canonical=canonical, length=True), s1()) == ["pass"]


def test_dns_trouble_is_no_missing_key() -> None:
    message = split(signed(PLAIN))
    (signature,) = signatures(message)
    assert signature.key_name == "mr1._domainkey.alias.example"
    assert verify(signature, {signature.key_name: None}, Content(message), NOW).result == "temperror"
    assert verify(signature, {signature.key_name: ABSENT}, Content(message), NOW).result == "permerror"
    assert verify(signature, {}, Content(message), NOW).result == "permerror"


def test_the_first_usable_key_of_several_records_counts() -> None:
    message = split(signed(PLAIN))
    (signature,) = signatures(message)
    assert signature.key_name is not None
    answer = Answer((b"v=spf1 -all", KEYS[signature.key_name]))
    assert verify(signature, {signature.key_name: answer}, Content(message), NOW).result == "pass"


def test_a_second_from_field_breaks_every_signature() -> None:
    content = by_dkimpy(PLAIN, include_headers=[b"from", b"subject"])
    assert results(content, s1()) == ["pass"]
    assert results(b"From: other@alias.example\r\n" + content, s1()) == ["fail"]


def test_ten_signatures_are_looked_at() -> None:
    assert len(signatures(split(b"DKIM-Signature: v=1\r\n" * 30 + PLAIN))) == 10


def test_a_signature_may_cover_older_ones() -> None:
    old = by_dkimpy(PLAIN)
    assert results(by_dkimpy(old, include_headers=[b"from", b"dkim-signature"]), s1()) == ["pass", "pass"]


def test_reasons_are_ours_and_broken_texts_are_harmless() -> None:
    raw = "DKIM-Signature: v=1; a=\x1b; d=\u0141\ud800..evil; s=a b\r\n".encode("utf-8", "surrogatepass")
    (found,) = check(raw + PLAIN)
    assert found.result == "permerror"
    assert found.reason.isascii() and "evil" not in found.reason
    assert found.domain == ""


def test_verifying_is_linear_in_the_size_and_shares_the_body() -> None:
    content = by_dkimpy(SHOP + b"\r\n" + b"a \t b\r\n" * 150_000)
    field = split(content).fields[0].raw
    begin = time.process_time()
    assert results(field * 9 + content, s1()) == ["pass"] * 10
    assert time.process_time() - begin < 0.5


PIECES = st.sampled_from(
    [
        *(b"v=1", b"a=rsa-sha256", b"a=rsa-sha1", b"d=alias.example", b"s=mr1", b"s=s1", b"h=from", b"h=From:to : x"),
        *(b"bh=AAAA", b"b=AAAA", b"l=1", b"x=1", b"t=99999999999", b"i=@x.example", b"c=relaxed", b"c=/", b"q=dns/txt"),
        *(b"=", b"b", b"", b"\r\n\t", b"\xff=\xff", b" b = ", b"b=\x00"),
    ]
)


@given(st.lists(PIECES | st.binary(max_size=12), max_size=14), st.binary(max_size=40))
def test_nothing_raises(pieces: list[bytes], record: bytes) -> None:
    value = b"; ".join(pieces).replace(b"\n", b"\n ")
    message = split(b"DKIM-Signature: " + value + b"\r\n" + PLAIN)
    for one in signatures(message):
        answers = {"mr1._domainkey.alias.example": Answer((record,)), "s1._domainkey.alias.example": None}
        found = verify(one, answers, Content(message), NOW)
        assert found.result != "pass"
        assert found.reason.isascii()


@given(st.binary(max_size=30), st.integers(0, 800), st.integers(0, 3))
def test_dkimpy_agrees_about_changed_messages(noise: bytes, at: int, cut: int) -> None:
    content = signed(PLAIN)
    at = min(at, len(content))
    changed = content[:at] + noise + content[at + cut :]
    if results(changed)[:1] == ["pass"]:
        assert dkimpy_says(changed)


def test_the_signature_field_is_emptied_as_the_rfc_says() -> None:
    field = Field(b"dkim-signature", b"DKIM-Signature: a=x; b = AB\r\n\tCD ; bh=b=; s=1\r\n")
    assert dkimverify.without_value(field.raw) == b"DKIM-Signature: a=x; b =; bh=b=; s=1"


def test_ed25519_keys_of_the_record_are_raw() -> None:
    key = Ed25519PrivateKey.generate()
    own = replace(ED25519, private=key)
    content = b"".join(sign(split(PLAIN).fields, body_hash(split(PLAIN).body), [own], NOW)) + PLAIN
    assert results(content, {"mr1e._domainkey.alias.example": public_record(own).encode()}) == ["pass"]
    assert results(content) == ["fail"]


def test_body_hashes_are_those_of_the_rfc() -> None:
    empty = Content(split(b"From: a@b.example\r\n\r\n"))
    assert empty.simple_hash == hashlib.sha256(b"\r\n").digest()  # RFC 6376 section 3.4.3
    assert empty.relaxed_hash == hashlib.sha256(b"").digest()  # section 3.4.4
    assert (empty.simple_length, empty.relaxed_length) == (2, 0)


def test_an_arc_signature_needs_no_version() -> None:
    raw = b"ARC-Message-Signature: i=1; a=rsa-sha256; d=a.example; s=s; h=from; bh=AAAA; b=AAAA\r\n"
    assert read_signature(Field(b"arc-message-signature", raw), is_arc=True).fault is None
