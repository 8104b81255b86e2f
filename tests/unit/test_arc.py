"""ARC sets, judged by dkimpy, which shares no code with ours (spec section 11.5, rows 193 to 197)."""

import logging
import re
from base64 import b64decode
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace

import dkim as dkimpy
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from dkim.canonicalization import Relaxed
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.arc import chain, seal
from mailrelay.core.dkim import SigningKey, body_hash, load_pem, public_record, sign
from mailrelay.core.findings import Result
from mailrelay.core.header import Field, split
from tests.unit.test_dkim import ED25519, pem

NOW = 1767690002
KEY = load_pem(pem("rsa"), "relay.example", "mr1")
RESULTS = (
    b"mx.relay.example; spf=pass smtp.mailfrom=mta.shop.example; dkim=pass header.d=shop.example header.s=k1"
    b" header.a=rsa-sha256; dmarc=pass (p=reject) header.from=shop.example; arc=none"
)
SHOP = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=relay.example; s=mr1; h=from; bh=x; b=y\r\n"
    b"X-Mailrelay-Mode: transparent\r\n"
    b"Received: from mta.shop.example by mx.relay.example; Tue,  6 Jan 2026 09:00:01 +0000\r\n"
    b"Authentication-Results: mx.relay.example; arc=none\r\n"
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=shop.example; s=k1; h=from; bh=x; b=y\r\n"
    b'From: "Example Shop" <news@shop.example>\r\n'
    b"Reply-To: Support Desk <help@shop.example>\r\n"
    b"To: a1@alias.example\r\n"
    b'Cc: "Other Customer" <other@elsewhere.example>\r\n'
    b"Subject: Your  order\r\n 77\r\n"
    b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\n"
    b"Message-ID: <20260106.77@shop.example>\r\n"
    b"List-Unsubscribe: <https://shop.example/u/77>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"X-Shop-Campaign: winter\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative; boundary="b1"\r\n'
)
LETTER = SHOP + b"\r\nhello\r\n\r\n"


def sealed(content: bytes, received: Result = "none", key: SigningKey = KEY) -> bytes:
    """The message with a set of ours on top, as a receiver gets it."""
    message = split(content)
    return b"".join(seal(message.fields, body_hash(message.body), RESULTS, received, key, NOW)) + content


@cache
def hop(number: int) -> SigningKey:
    """Another forwarder's key."""
    return SigningKey(f"hop{number}.example", "s1", "rsa-sha256", generate_private_key(65537, 2048))


def verdict(content: bytes) -> tuple[bytes | None, list[int]]:
    """The chain as dkimpy sees it, and the instances whose message signature holds."""
    keys = [KEY, hop(1), hop(2)]
    records = {f"{key.selector}._domainkey.{key.domain}.".encode(): public_record(key).encode() for key in keys}
    result, sets, _ = dkimpy.arc_verify(content, dnsfunc=lambda name, timeout=5: records[name])
    return result, [one["instance"] for one in sets if one["ams-valid"]]


def tags(raw: bytes) -> dict[bytes, bytes]:
    """The tags of a signature field, without white space."""
    return dict(tag.split(b"=", 1) for tag in re.sub(rb"\s", b"", raw.partition(b":")[2]).split(b";"))


def test_the_fields_look_as_in_the_worked_example() -> None:
    seal_, signature, results = seal(split(LETTER).fields, body_hash(b""), RESULTS, "none", KEY, NOW)
    assert seal_.startswith(b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=relay.example; s=mr1; t=1767690002; b=\r\n\t")
    assert signature.startswith(
        b"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=relay.example; s=mr1;\r\n"
        b"\tt=1767690002; h=dkim-signature:dkim-signature:from:reply-to:to:cc:subject:\r\n"
        b"\tdate:message-id:list-unsubscribe:list-unsubscribe-post:mime-version:\r\n"
        b"\tcontent-type; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b="
    )
    assert results == (
        b"ARC-Authentication-Results: i=1; mx.relay.example; spf=pass\r\n"
        b"\tsmtp.mailfrom=mta.shop.example; dkim=pass header.d=shop.example header.s=k1\r\n"
        b"\theader.a=rsa-sha256; dmarc=pass (p=reject) header.from=shop.example; arc=none\r\n"
    )
    for field in (seal_, signature, results):
        assert field.endswith(b"\r\n")
        assert all(len(line) <= 78 for line in field.split(b"\r\n")[1:])
        assert len(split(field).fields) == 1


@pytest.mark.parametrize("hops", [1, 2, 3], ids=["12.7-88-one-set", "12.7-193-two-sets", "three-sets"])
def test_a_chain_that_holds_goes_on(hops: int) -> None:
    content = LETTER
    for number in range(1, hops):
        content = sealed(content, "none" if number == 1 else "pass", hop(number))
        content = b"Received: from a by b\r\n" + content
    content = sealed(content, "none" if hops == 1 else "pass")
    assert verdict(content) == (b"pass", list(range(hops, 0, -1)))
    assert tags(split(content).fields[0].raw)[b"cv"] == (b"none" if hops == 1 else b"pass")


class ForeignResults:
    """As much of the package authres as dkimpy needs to seal."""

    method, result, authserv_id = "arc", "none", "mx.relay.example"

    def __str__(self) -> str:
        return "arc=none (as seen by hop1)"

    @classmethod
    def parse(cls, text: str) -> SimpleNamespace:
        return SimpleNamespace(authserv_id=cls.authserv_id, results=[cls()])


def test_a_chain_of_another_program_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """12.7-193"""
    monkeypatch.setattr(dkimpy, "authres", SimpleNamespace(AuthenticationResultsHeader=ForeignResults), raising=False)
    private = hop(1).private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    signed = dkimpy.arc_sign(LETTER, b"s1", b"hop1.example", private, b"mx.relay.example", timestamp=NOW)
    content = sealed(b"".join(signed) + LETTER, "pass")
    assert verdict(content) == (b"pass", [2, 1])


def covered(content: bytes, instances: Sequence[int]) -> bytes:
    """What a seal over these sets signs, its own b= empty, by dkimpy's canonicalisation."""
    wanted = [
        (instance, name)
        for instance in instances
        for name in (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
    ]
    by_place = {
        (int(re.sub(rb"[^:]*:[^:]*?\bi=(\d+)[\s\S]*", rb"\1", field.raw)), field.name): field.raw
        for field in split(content).fields
        if field.name.startswith(b"arc-")
    }
    pairs = [(name, by_place[instance, name].partition(b":")[2]) for instance, name in wanted]
    pairs[-1] = (pairs[-1][0], re.sub(rb"; b=[\s\S]*", b"; b=", pairs[-1][1]))
    octets: bytes = b"".join(b"%b:%b" % pair for pair in Relaxed.canonicalize_headers(pairs))
    return octets.removesuffix(b"\r\n")


def seals(content: bytes, instances: Sequence[int]) -> bool:
    assert isinstance(KEY.private, RSAPrivateKey)
    signature = b64decode(tags(split(content).fields[0].raw)[b"b"])
    try:
        KEY.private.public_key().verify(signature, covered(content, instances), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def test_an_altered_body_closes_the_chain() -> None:
    """12.7-194"""
    altered = sealed(LETTER, key=hop(1)).replace(b"hello", b"hullo")
    assert verdict(altered)[0] == b"fail"
    content = sealed(altered, "fail")
    assert tags(split(content).fields[0].raw)[b"cv"] == b"fail"
    assert tags(split(content).fields[0].raw)[b"i"] == b"2"
    assert seals(content, [2])
    assert not seals(content, [1, 2])
    assert verdict(content) == (None, [2])  # dkimpy's way to say: over
    good = sealed(sealed(LETTER, key=hop(1)), "pass")
    assert seals(good, [1, 2])
    assert not seals(good, [2])


def test_a_chain_that_has_ended_stays_as_it_is() -> None:
    """12.7-195"""
    ended = sealed(sealed(LETTER, key=hop(1)).replace(b"hello", b"hullo"), "fail", hop(2))
    assert chain(split(ended).fields).ended
    for received in ("fail", "pass", "none"):
        assert sealed(ended, received) == ended


def arc_set(instance: str, validation: str = "pass") -> bytes:
    """A set in shape only."""
    return (
        b"ARC-Seal: i=%(i)b; cv=%(cv)b; b=x\r\nARC-Message-Signature: i=%(i)b; b=x\r\n"
        b"ARC-Authentication-Results: i=%(i)b; mx.hop.example; arc=none\r\n"
        % {b"i": instance.encode(), b"cv": validation.encode()}
    )


def sets(count: int) -> bytes:
    return b"".join(arc_set(str(number)) for number in range(count, 0, -1))


@pytest.mark.parametrize(
    ("header", "received", "written"),
    [
        pytest.param(sets(49), "pass", (b"50", b"pass"), id="49-sets"),
        pytest.param(sets(50), "pass", None, id="12.7-196"),
        pytest.param(sets(50), "fail", None, id="12.7-196-fail"),
        pytest.param(arc_set("51"), "fail", None, id="51"),
        pytest.param(arc_set("9" * 5000), "fail", None, id="endless-number"),
        pytest.param(arc_set("0"), "fail", None, id="zero"),
        pytest.param(arc_set("x"), "fail", None, id="no-number"),
        pytest.param(arc_set("x") + arc_set("3"), "fail", (b"4", b"fail"), id="one-number"),
        pytest.param(arc_set("01"), "pass", (b"2", b"pass"), id="leading-zero"),
        pytest.param(arc_set("7"), "fail", (b"8", b"fail"), id="gap"),
        pytest.param(sets(2), "temperror", None, id="temperror"),
        pytest.param(sets(2), "none", None, id="not-checked"),
        pytest.param(sets(2), "permerror", None, id="other-word"),
        pytest.param(b"", "none", (b"1", b"none"), id="no-chain"),
        pytest.param(b"", "temperror", (b"1", b"none"), id="no-chain-whatever-is-said"),
        pytest.param(sets(2) + arc_set("2"), "pass", (b"3", b"fail"), id="pass-but-twice"),
        pytest.param(arc_set("2"), "pass", (b"3", b"fail"), id="pass-but-gap"),
        pytest.param(sets(1) + b"ARC-Seal: cv=fail\r\n", "pass", (b"2", b"fail"), id="pass-but-unreadable"),
        pytest.param(arc_set("2", "fail") + sets(1), "fail", None, id="12.7-195-shape"),
        pytest.param(arc_set("2", "FAIL") + sets(1), "fail", None, id="12.7-195-upper"),
        pytest.param(sets(1) + arc_set("2", "fail"), "fail", None, id="12.7-195-order"),
        pytest.param(arc_set("2") + arc_set("1", "fail"), "fail", (b"3", b"fail"), id="an-older-set-says-fail"),
        pytest.param(b"arc-seal:i=1;cv=none\r\n", "fail", (b"2", b"fail"), id="tight"),
        pytest.param(b"ARC-Seal: a=x;\r\n\ti =\r\n 1 ; cv=none\r\n", "fail", (b"2", b"fail"), id="folded"),
    ],
)
def test_number_and_verdict_of_a_new_set(header: bytes, received: Result, written: tuple[bytes, bytes] | None) -> None:
    fields = seal(split(header + SHOP).fields, body_hash(b""), RESULTS, received, KEY, NOW)
    if written is None:
        assert fields == ()
    else:
        assert [tags(field)[b"i"] for field in fields[:2]] == [written[0]] * 2
        assert tags(fields[0])[b"cv"] == written[1]
        assert fields[2].startswith(b"ARC-Authentication-Results: i=%b; mx.relay.example;" % written[0])


def test_what_the_message_signature_covers() -> None:
    """12.7-197"""
    header = b"Return-Path: <x@y.example>\r\nIn-Reply-To: <x>\r\nLIST-ID: l\r\nList-Odd;Name: x\r\n" + sets(1) + SHOP
    fields = seal(split(header).fields, body_hash(b""), RESULTS, "pass", KEY, NOW)
    names = tags(fields[1])[b"h"].split(b":")
    assert names[:3] == [b"dkim-signature", b"dkim-signature", b"from"]
    assert {b"in-reply-to", b"list-id", b"list-unsubscribe", b"list-unsubscribe-post"} <= set(names)
    never = rb"arc-.*|authentication-results|received|return-path|x-mailrelay-.*|x-shop-campaign|references"
    assert not [name for name in names if re.fullmatch(never, name)]
    assert not {b"l", b"x"} & tags(fields[1]).keys()
    assert not {b"h", b"bh"} & tags(fields[0]).keys()


@pytest.mark.parametrize(
    ("old", "new", "holds"),
    [
        (b"d=shop.example", b"d=shap.example", False),
        (b"Your  order", b"Your order", True),
        (b"Your  order", b"My order", False),
        (b"hello", b"hallo", False),
        (b"winter", b"summer", True),
        (b"X-Mailrelay-Mode", b"X-Mailrelay-Mood", True),
        (b"Received: from mta", b"Received: from mto", True),
    ],
)
def test_what_is_signed_cannot_change_and_what_is_not_can(old: bytes, new: bytes, holds: bool) -> None:
    content = sealed(LETTER)
    assert old in content
    assert (verdict(content.replace(old, new))[0] == b"pass") is holds


def test_our_own_dkim_signatures_are_covered() -> None:
    header = split(SHOP).fields
    own = sign(header, body_hash(b"hello\r\n"), [KEY, ED25519], NOW)
    content = sealed(b"".join(own) + LETTER)
    assert verdict(content)[0] == b"pass"
    assert tags(split(content).fields[1].raw)[b"h"].count(b"dkim-signature") == 4
    assert verdict(content.replace(own[1], b""))[0] == b"fail"


def test_results_of_any_length_are_told_in_full() -> None:
    signatures = b"".join(b"; dkim=pass header.d=d%d.example header.s=k1" % number for number in range(60))
    results = b"mx.relay.example;\r\n\tspf=pass (" + b"x" * 200 + b")" + signatures + b"; arc=none"
    fields = seal(split(LETTER).fields, body_hash(b"hello\r\n"), results, "none", KEY, NOW)
    [field] = split(fields[2]).fields
    assert field.value.replace(b"\t", b" ") == b"i=1; " + results.replace(b"\r\n\t", b" ")
    assert verdict(b"".join(fields) + LETTER)[0] == b"pass"


@pytest.mark.parametrize("field", [b"Subject: x\r\n", b"List-Id: x\r\n", b"DKIM-Signature: x\r\n"])
def test_headers_stay_small_whatever_there_is(field: bytes) -> None:
    content = field * 2000 + b"".join(b"List-x%b: x\r\n" % (b"y" * n) for n in range(40)) + LETTER
    assert len(sealed(content)) < len(content) + 10_000
    assert verdict(sealed(content))[0] == b"pass"


def test_from_is_named_even_if_there_is_none() -> None:
    [_, signature, _] = seal(split(b"Subject: x\r\n").fields, body_hash(b""), RESULTS, "none", KEY, NOW)
    assert tags(signature)[b"h"] == b"from:subject"


def test_a_key_that_is_not_rsa_is_refused() -> None:
    with pytest.raises(ValueError, match="RSA"):
        seal([], body_hash(b""), RESULTS, "none", ED25519, NOW)


NAMES = st.sampled_from(
    [b"arc-seal", b"arc-message-signature", b"arc-authentication-results", b"list-x", b"from", b"dkim-signature"]
)
VALUES = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"i", b"=", b";", b" ", b"1", b"2", b"cv", b"fail", b"pass", b"\r\n ", b"\xff"])).map(
        b"".join
    ),
)


@given(
    st.lists(st.builds(lambda name, value: Field(name, name + b":" + value + b"\r\n"), NAMES, VALUES), max_size=12),
    st.binary(min_size=1, max_size=60),
    st.sampled_from(["none", "pass", "fail", "temperror"]),
)
def test_any_header_is_sealed_or_left_alone(fields: list[Field], results: bytes, received: Result) -> None:
    made = seal(fields, body_hash(b""), results, received, KEY, NOW)
    assert len(made) in (0, 3)
    assert [len(split(field).fields) for field in made] == [1] * len(made)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """dkimpy compares t= with the clock of the machine and complains aloud."""
    monkeypatch.setattr("dkim.time.time", lambda: NOW + 60)
    logging.getLogger("dkimpy").setLevel(logging.CRITICAL)
