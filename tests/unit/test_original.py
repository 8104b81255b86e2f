"""Untouched copies that come back: what is taken off again is what was put on top, octet for octet."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core import arc, loop
from mailrelay.core.compose import transparent_header
from mailrelay.core.dkim import SigningKey, body_hash
from mailrelay.core.header import Field, edit, split
from mailrelay.core.ledger import OutboundId
from mailrelay.core.letterhead import Letterhead, Signer
from mailrelay.core.original import Original, Proof, is_of_alias, original, proof
from tests.unit.example import untouched

NUMBER = OutboundId(0x0123456789ABCDEF)
ALIAS, KEY = UUID(int=1), bytes(range(32))
DESTINATION = "real@inbox.example"
RESULTS = "mx.relay.example; spf=pass smtp.mailfrom=mta.shop.example; dkim=pass header.d=shop.example; dmarc=pass"
HEAD = Letterhead(
    id="0123456789abcdef",
    loop_mark=loop.mark(ALIAS, KEY),
    rcpt="A1+Promo@alias.example",
    sender="bounce+77@mta.shop.example",
    destination=DESTINATION,
    authentication_results=RESULTS,
)
BARE = Letterhead(HEAD.id, HEAD.loop_mark, HEAD.rcpt, "", DESTINATION)
FULL = Letterhead(HEAD.id, HEAD.loop_mark, HEAD.rcpt, "", DESTINATION, RESULTS, spam=True, resend=True, compat=True)
LONG = Letterhead(HEAD.id, HEAD.loop_mark, f'"{"a b" * 20}"@alias.example', f"{'x' * 200}@shop.example", DESTINATION)
MESSAGE = (
    b"Received: from mta.shop.example by mx.relay.example (Postfix) with ESMTP id 4XyZ12AbCd;\r\n\tTue, 6 Jan\r\n"
    b"DKIM-Signature: v=1; d=shop.example\r\nX-Forwarded-To: elsewhere@shop.example\r\n"
    b"From: Example Shop <news@shop.example>\r\nSubject: order\r\nX-AnonAddy-Spam: Yes\r\n"
    b"\r\n..Thank you.\r\n \t\r\n\r\n"
)
P4 = b"Received: from mx.relay.example (localhost [127.0.0.1])\r\n\tby mx.relay.example (Postfix) with ESMTP id 4Q\r\n"
_RSA = [rsa.generate_private_key(public_exponent=65537, key_size=1024) for _ in range(2)]
RSA, OTHER = (SigningKey("relay.example", "mr1", "rsa-sha256", key) for key in _RSA)
PRIVATE = SigningKey("relay.example", "mr1e", "ed25519-sha256", Ed25519PrivateKey.from_private_bytes(KEY))


def copy(
    content: bytes = MESSAGE, head: Letterhead = HEAD, keys: Sequence[SigningKey] = (), above: bytes = P4
) -> bytes:
    """As Postfix returns it."""
    return above + b"".join(untouched(split(content), head, Signer(keys, 1000)))


def found(content: bytes, destination: str = DESTINATION) -> Original | None:
    return original(split(content), NUMBER, destination, "X-Mailrelay-")


def kept(content: bytes) -> bytes:
    """The message less what transparent mode takes away."""

    def drop(field: Field) -> bool:
        ours = field.name.startswith(b"x-mailrelay-") and field.name != b"x-mailrelay-loop"
        return ours or field.name in (b"return-path", b"bcc", b"x-original-to")

    return edit(split(content), drop)


@pytest.mark.parametrize("head", [HEAD, BARE, FULL, LONG], ids=["usual", "null-sender", "full", "long"])
@pytest.mark.parametrize("above", [b"", P4, b"Return-Path: <b-x@bounces.relay.example>\r\n" + P4 * 3])
def test_12_3_91_the_message_comes_out_as_it_was(head: Letterhead, above: bytes) -> None:
    original = found(copy(head=head, keys=[PRIVATE], above=above))
    assert original == Original(MESSAGE, head.rcpt.lower(), head.sender, head.loop_mark.encode(), head.spam)


FIELDS = [
    *(b"Received: x\r\n", b"From: a@shop.example\r\n", b"X-Mailrelay-Id: forged\r\n", b"X-Mailrelay-Mode: rewrite\r\n"),
    *(b"X-Mailrelay-Loop: v1; 77\r\n", b"X-Forwarded-To: me\r\n", b"X-Forwarded-For: me\r\n", b"Bcc: me\r\n"),
    *(b"Return-Path: <a@shop.example>\r\n", b"X-AnonAddy-Spam: No\r\n", b"Subject : x\r\n\ty\r\n", b"X: \xff\0\r\n"),
    b"Auto-Submitted: auto-generated\r\n",
]


@given(st.lists(st.sampled_from(FIELDS), max_size=8), st.sampled_from([HEAD, BARE, FULL]), st.binary(max_size=30))
def test_whatever_the_message_it_comes_out_as_it_was(fields: list[bytes], head: Letterhead, body: bytes) -> None:
    content = b"Received: from us\r\n" + b"".join(fields) + b"\r\n" + body
    original = found(copy(content, head))
    assert original is not None
    assert original.content == kept(content)


def test_a_seal_above_our_fields_goes_with_them() -> None:
    seal = b"ARC-Seal: i=2; d=relay.example\r\nARC-Message-Signature: i=2\r\nARC-Authentication-Results: i=2\r\n"
    theirs = b"ARC-Seal: i=1; d=shop.example\r\n" + MESSAGE
    original = found(copy(theirs, above=P4 + seal))
    assert original is not None
    assert original.content == theirs


def test_other_prefixes_are_not_ours() -> None:
    assert original(split(copy()), NUMBER, DESTINATION, "X-Acme-") is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(MESSAGE, id="no-copy"),
        pytest.param(b"", id="empty"),
        pytest.param(copy().replace(b"-Id: 0123456789abcdef", b"-Id: 0123456789abcdee"), id="another-id"),
        pytest.param(b"X-Mailrelay-Id: 0123456789abcdef\r\n" + copy(), id="two-ids"),
        pytest.param(b"X-Mailrelay-Mode: transparent\r\n" + copy(), id="two-modes"),
        pytest.param(copy().replace(b"-Mode: transparent", b"-Mode: rewrite"), id="rewritten"),
        pytest.param(copy().replace(b"X-Mailrelay-Loop", b"X-New: x\r\nX-Mailrelay-Loop"), id="torn-apart"),
        pytest.param(copy().replace(b"X-Forwarded-To: real", b"X-Forwarded-To: second"), id="another-destination"),
        pytest.param(copy().replace(b"X-Mailrelay-Envelope-From", b"X-Envelope-From"), id="without-sender"),
        pytest.param(copy().replace(b"X-Mailrelay-Envelope-To", b"X-To"), id="without-recipient"),
        pytest.param(b"X-Mailrelay-Mode: transparent\r\nX-Mailrelay-Id: 0123456789abcdef\r\n", id="only-the-start"),
    ],
)
def test_what_is_not_that_copy_is_none(content: bytes) -> None:
    assert found(content) is None


@given(st.binary(max_size=200), st.integers(0, 600))
def test_no_octets_raise(noise: bytes, at: int) -> None:
    content = copy()
    found(content[:at] + noise + content[at:])
    proof(split(content[:at] + noise), [PRIVATE], 1000)


# -- Who vouches for it ----------------------------------------------------------------------------------------------


def test_a_copy_is_known_by_its_signature() -> None:
    assert proof(split(copy(keys=[PRIVATE])), [PRIVATE], 2000) == Proof(signed=True)
    assert proof(split(copy(keys=[PRIVATE])), [], 2000) == Proof(signed=False)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(copy(), id="not-signed"),
        pytest.param(copy(keys=[PRIVATE]).replace(b"Thank you", b"No thanks"), id="other-body"),
        pytest.param(copy(keys=[PRIVATE])[:-20], id="cut"),
        pytest.param(copy(keys=[PRIVATE]).replace(b"news@", b"boss@"), id="other-author"),
        pytest.param(copy(keys=[PRIVATE]).replace(b"d=relay.example", b"d=shop.example"), id="other-domain"),
    ],
)
def test_a_forged_or_changed_copy_is_not(content: bytes) -> None:
    assert proof(split(content), [PRIVATE], 2000) == Proof(signed=False)


def test_an_expired_signature_does_not_count() -> None:
    assert proof(split(copy(keys=[PRIVATE])), [PRIVATE], 1000 + 8 * 86400) == Proof(signed=False)


def sealed(content: bytes = MESSAGE, sealer: SigningKey = RSA) -> bytes:
    """A copy with our seal."""
    message = split(content)
    hashed = body_hash(message.body)
    header = transparent_header(message, HEAD, "X-Mailrelay-")
    header = header.topped(arc.seal(header.fields, hashed, RESULTS.encode(), "pass", sealer, 1000))
    return P4 + b"".join(header.above(message))


THEIRS = arc.seal(
    split(MESSAGE).fields, body_hash(split(MESSAGE).body), b"mx.shop.example; dkim=pass", "none", OTHER, 900
)


@pytest.mark.parametrize("content", [MESSAGE, b"".join(THEIRS) + MESSAGE], ids=["first-set", "second-set"])
def test_the_findings_are_those_that_we_sealed(content: bytes) -> None:
    assert proof(split(sealed(content)), [PRIVATE, RSA], 2000) == Proof(signed=False, results=RESULTS.encode())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(copy(), id="not-sealed"),
        pytest.param(b"".join(THEIRS) + MESSAGE, id="sealed-by-others"),
        pytest.param(
            sealed().replace(b"ARC-Authentication-Results: i=1; mx", b"ARC-Authentication-Results: i=1; my"),
            id="other-findings",
        ),
        pytest.param(sealed().replace(b"Thank you", b"No thanks"), id="other-body"),
        pytest.param(sealed(sealer=OTHER), id="another-key"),
    ],
)
def test_other_findings_are_worth_nothing(content: bytes) -> None:
    assert proof(split(content), [RSA], 2000).results == b""


def of_alias(content: bytes, alias: UUID = ALIAS) -> bool:
    original = found(content)
    assert original is not None
    return is_of_alias(original, split(original.content), alias, [KEY], "X-Mailrelay-")


def test_the_mark_of_the_copy_is_no_loop_and_an_earlier_one_is() -> None:
    assert of_alias(copy())
    assert not of_alias(copy(), UUID(int=2))
    mark = f"X-Mailrelay-Loop: {loop.mark(ALIAS, KEY)}\r\n".encode()
    assert not of_alias(copy(mark + MESSAGE))
    assert not of_alias(copy(b"X-Mailrelay-Loop: v1; 0123\r\n" * 6 + MESSAGE))


def test_the_operators_copies_have_no_mark() -> None:
    head = Letterhead(HEAD.id, "", HEAD.rcpt, HEAD.sender, DESTINATION)
    assert not of_alias(copy(head=head))


def test_the_block_is_read_as_it_is_written() -> None:
    """One more field in compose.py has to be known here as well."""
    header = transparent_header(split(b"\r\n"), FULL, "X-Mailrelay-")
    original = found(header.block + b"\r\n")
    assert original is not None
    assert original.content == b"\r\n"
