"""Which keys sign a copy, and what is signed: spec section 11.6 with rows 198 and 199."""

import re
from collections.abc import Sequence

import pytest

from mailrelay.core.dkim import LIFETIME_SECONDS, SigningKey, body_hash, sign
from mailrelay.core.errors import Unavailable
from mailrelay.core.header import split
from mailrelay.core.ledger import Mode
from mailrelay.core.realm import Custom, Place, Shared, Subdomain
from mailrelay.core.signer import sealing_key, signing_domain, usable_keys
from mailrelay.core.verp import EmailType
from tests.unit.test_dkim import ED25519, NOW, RSA, SHOP, signed, verifies

F, R, S, N = EmailType
SHARED, USERNAME, OWN = Shared("alias.example"), Subdomain("u1", "alias.example"), Custom("own.example")
OVERSIGNED = [
    "From",
    "Subject",
    "Reply-To",
    "Date",
    "To",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Sender",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "Auto-Submitted",
]
SIGNED = [
    "List-Id",
    "List-Help",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "List-Subscribe",
    "Content-ID",
    "Content-Description",
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Message-ID",
    "Resent-Reply-To",
]
NEVER = [
    "Return-Path",
    "Received",
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
    "Authentication-Results",
    "Bcc",
    "X-Mailrelay-Id",
    "X-Mailrelay-Mode",
]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """dkimpy compares t= and x= with the clock of the machine."""
    monkeypatch.setattr("dkim.time.time", lambda: NOW + 60)


@pytest.mark.parametrize(
    ("kind", "mode", "place", "verified", "domain"),
    [
        pytest.param(F, "rewrite", SHARED, False, "alias.example", id="shared"),
        pytest.param(F, "rewrite", USERNAME, False, "alias.example", id="username"),
        pytest.param(F, "rewrite", OWN, True, "own.example", id="custom"),
        pytest.param(F, "rewrite", OWN, False, "relay.example", id="12.3-64"),
        pytest.param(R, "rewrite", SHARED, False, "alias.example", id="reply-shared"),
        pytest.param(R, "rewrite", OWN, True, "own.example", id="reply-custom"),
        pytest.param(S, "rewrite", OWN, True, "own.example", id="send-custom"),
        pytest.param(S, "rewrite", OWN, False, "relay.example", id="send-unverified"),
        pytest.param(S, "transparent", OWN, True, "own.example", id="mode-is-of-forwards-only"),
        pytest.param(N, "rewrite", SHARED, True, "relay.example", id="notification"),
        pytest.param(N, "rewrite", None, False, "relay.example", id="notification-of-nobody"),
        pytest.param(F, "rewrite", None, False, "relay.example", id="operator"),
        pytest.param(F, "transparent", OWN, True, "relay.example", id="transparent"),
    ],
)
def test_the_domain_that_signs(kind: EmailType, mode: Mode, place: Place | None, verified: bool, domain: str) -> None:
    assert signing_domain(kind, mode, place, "relay.example", verified_for_sending=verified) == domain


@pytest.mark.parametrize(("mode", "domain"), [("transparent", None), ("rewrite", "own.example")])
def test_only_untouched_forwards_may_go_unsigned(mode: Mode, domain: str | None) -> None:
    found = signing_domain(F, mode, OWN, "relay.example", verified_for_sending=True, sign_transparent=False)
    assert found == domain


NEXT_RSA = SigningKey("alias.example", "mr2", "rsa-sha256", RSA.private)


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        ([RSA, ED25519], (RSA, ED25519)),
        ([ED25519, RSA], (RSA, ED25519)),
        ([RSA, NEXT_RSA, ED25519], (RSA, ED25519)),
        pytest.param([RSA], (RSA,), id="12.7-199"),
        ([ED25519], (ED25519,)),
    ],
)
def test_one_key_of_each_kind_signs_and_one_alone_will_do(
    keys: Sequence[SigningKey], chosen: Sequence[SigningKey]
) -> None:
    assert usable_keys(F, "rewrite", keys) == chosen


@pytest.mark.parametrize("kind", EmailType)
def test_what_has_our_from_never_leaves_unsigned(kind: EmailType) -> None:
    """12.7-199: both keys are missing."""
    with pytest.raises(Unavailable):
        usable_keys(kind, "rewrite", [])


def test_an_untouched_forward_leaves_without_keys() -> None:
    assert usable_keys(F, "transparent", []) == ()


def test_seals_are_made_with_rsa() -> None:
    assert sealing_key([ED25519, RSA]) is RSA
    assert sealing_key([ED25519]) is None


def test_both_signatures_verify_and_a_second_subject_breaks_both() -> None:
    """12.7-198"""
    content = signed(SHOP, b"hello\r\n", *usable_keys(F, "rewrite", [RSA, ED25519]))
    assert [verifies(content, 0), verifies(content, 1)] == [True, True]
    for place in (content.index(b"Subject:"), 0, content.index(b"MIME-Version:")):
        spoiled = content[:place] + b"Subject: Another\r\n" + content[place:]
        assert [verifies(spoiled, 0), verifies(spoiled, 1)] == [False, False]


def names_in(header: bytes) -> list[str]:
    """h= of the signature over a header."""
    [field] = sign(split(header).fields, body_hash(b""), [RSA], NOW)
    found = re.search(rb"h=([a-z:-]+);", re.sub(rb"\s", b"", field))
    assert found is not None
    return found[1].decode().split(":")


@pytest.mark.parametrize("times", [0, 1, 2])
def test_names_are_signed_as_the_table_says(times: int) -> None:
    header = b"".join(f"{name}: x\r\n".encode() * times for name in [*OVERSIGNED, *SIGNED, *NEVER])
    expected = [*(name.lower() for name in OVERSIGNED * (times + 1)), *(name.lower() for name in SIGNED * times)]
    assert sorted(names_in(header)) == sorted(expected)


def test_the_signature_has_the_tags_of_the_table_and_no_other() -> None:
    for field in sign(split(SHOP).fields, body_hash(b""), [RSA, ED25519], NOW):
        tags = dict(tag.split(b"=", 1) for tag in re.sub(rb"\s", b"", field.partition(b":")[2]).split(b";"))
        assert list(tags) == [b"v", b"a", b"c", b"d", b"s", b"t", b"x", b"h", b"bh", b"b"]
        assert (tags[b"c"], int(tags[b"x"]) - int(tags[b"t"])) == (b"relaxed/relaxed", LIFETIME_SECONDS)
    assert LIFETIME_SECONDS == 7 * 86400
