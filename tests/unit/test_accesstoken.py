"""Access and CSRF tokens."""

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.accesstoken import (
    MAX_TOKEN_CHARACTERS,
    SKEW,
    Claims,
    Keyring,
    Terms,
    claims_of,
    csrf,
    csrf_matches,
    keyring,
    make,
    read,
)
from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId

OLD, NEW = bytes(range(32)), b"another key of any length"
RING = keyring([OLD])
TERMS = Terms("mail-forwarding-api", "mail-forwarding-web", timedelta(minutes=10))
NOW = datetime(2026, 1, 30, 8, 10, 18, 770_000, tzinfo=UTC)
FAMILY, NUMBER = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc"), UUID(int=7)
SAID = claims_of(TERMS, AccountId(13), FAMILY, NUMBER, NOW)
TOKEN = make(RING, TERMS, SAID)
ENDS = NOW.replace(microsecond=0) + TERMS.lives


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def part(token: str, index: int) -> Any:
    text = token.split(".")[index]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


HEAD, CLAIMS = part(TOKEN, 0), part(TOKEN, 1)


def signed(head: Any, claims: Any, ring: Keyring = RING) -> str:
    """A token of this content that we did sign. Text and octets are taken as they are."""
    parts = [
        b64(one if isinstance(one, bytes) else one.encode() if isinstance(one, str) else json.dumps(one).encode())
        for one in (head, claims)
    ]
    return ".".join([*parts, b64(ring.keys[0].private.sign(".".join(parts).encode()))])


# Claims with something else in them, each by itself.
_IDS: dict[str, list[Any]] = {
    "sub": ["", "0", "-1", "+1", "1.0", "1e3", "0x10", " 1", "\u0663", "9" * 400, str(2**63), 13],
    "sid": ["", str(FAMILY).upper(), "{" + str(FAMILY) + "}", FAMILY.hex, 5, None],
    "jti": ["", "x", None],
}
_NO_TIMES: list[Any] = ["1", None, True, -1, 1e300, []]
_OTHER: list[tuple[str, Any]] = [
    ("iss", "somebody-else"),
    ("aud", "somebody-else"),
    ("aud", ["mail-forwarding-web"]),
    *((name, one) for name, others in _IDS.items() for one in others),
    *((name, one) for name in ("iat", "nbf", "exp") for one in _NO_TIMES),
    ("nbf", CLAIMS["iat"] + 62),
    ("iat", CLAIMS["iat"] + 62),
    ("exp", CLAIMS["iat"] - 1),
]


def refused(token: str, now: datetime = NOW, terms: Terms = TERMS, ring: Keyring = RING) -> bool:
    try:
        read(ring, terms, token, now)
    except Malformed:
        return True
    return False


def test_a_token_says_who_signed_in() -> None:
    assert read(RING, TERMS, TOKEN, NOW) == Claims(AccountId(13), FAMILY, NUMBER, ENDS)
    assert {"alg": "EdDSA", "typ": "JWT", "kid": RING.keys[0].kid} == HEAD
    seconds = int(NOW.timestamp())
    assert {
        "sub": "13",
        "sid": str(FAMILY),
        "jti": str(NUMBER),
        "iss": "mail-forwarding-api",
        "aud": "mail-forwarding-web",
        "iat": seconds,
        "nbf": seconds,
        "exp": seconds + 600,
    } == CLAIMS


def test_keys_stay_the_same_for_later_releases() -> None:
    assert RING.keys[0].kid == "kOqKCS3lMuMrQl7i"
    assert csrf(RING, FAMILY) == "EM4AkRHxocdwvl6aLx7FzCGajBwCvDGcLp-EzArzpvA"


def test_the_first_key_signs_and_all_verify() -> None:
    rotated = keyring([NEW, OLD])
    assert read(rotated, TERMS, TOKEN, NOW).account == 13
    after = make(rotated, TERMS, SAID)
    assert part(after, 0)["kid"] == keyring([NEW]).keys[0].kid
    assert read(keyring([NEW]), TERMS, after, NOW).account == 13
    assert refused(after)
    assert refused(TOKEN, ring=keyring([NEW]))


def test_a_key_is_taken_by_its_name_only() -> None:
    rotated = keyring([NEW, OLD])
    assert refused(signed({**HEAD, "kid": rotated.keys[0].kid}, CLAIMS), ring=rotated)


@pytest.mark.parametrize(
    "head",
    [
        {**HEAD, "alg": "none"},
        {**HEAD, "alg": "HS256"},
        {**HEAD, "alg": "eddsa"},
        {**HEAD, "alg": ["EdDSA"]},
        {**HEAD, "typ": "jwt"},
        {**HEAD, "kid": ""},
        {**HEAD, "kid": None},
        {**HEAD, "crit": ["exp"]},
        {"alg": "EdDSA", "typ": "JWT"},
        [],
        "null",
        "{",
        b"\xff",
        f'{{"alg":"none","alg":"EdDSA","typ":"JWT","kid":"{HEAD["kid"]}"}}',
    ],
)
def test_another_head_is_refused_though_it_is_signed(head: Any) -> None:
    assert not refused(signed(HEAD, CLAIMS))
    assert refused(signed(head, CLAIMS))


@pytest.mark.parametrize(("name", "value"), _OTHER)
def test_other_claims_are_refused_though_they_are_signed(name: str, value: Any) -> None:
    assert refused(signed(HEAD, {**CLAIMS, name: value}))
    assert refused(signed(HEAD, {key: one for key, one in CLAIMS.items() if key != name}))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1" + "0" * 500, "9e999"])
@pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
def test_times_are_finite(name: str, text: str) -> None:
    claims = json.dumps({**CLAIMS, name: "here"}).replace('"here"', text)
    assert refused(signed(HEAD, claims))


def test_clocks_may_differ_by_a_minute() -> None:
    assert not refused(TOKEN, ENDS + SKEW - timedelta(seconds=1))
    assert refused(TOKEN, ENDS + SKEW)
    begins = NOW.replace(microsecond=0)
    assert not refused(TOKEN, begins - SKEW)
    assert refused(TOKEN, begins - SKEW - timedelta(seconds=1))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "..",
        TOKEN + ".",
        TOKEN + "=",
        TOKEN + "A",
        TOKEN[:-1],
        TOKEN.replace(".", ".\n"),
        TOKEN[:-1] + ("B" if TOKEN[-1] == "A" else "A"),
        TOKEN.rpartition(".")[0] + ".",
        TOKEN.rpartition(".")[0],
        f"{TOKEN.split('.')[0]}.é.{TOKEN.split('.')[2]}",
        "\ud800.\ud800.\ud800",
        "." * MAX_TOKEN_CHARACTERS,
        "A" * 10_000_000,
    ],
)
def test_what_is_spelled_otherwise_is_refused(token: str) -> None:
    assert refused(token)


def test_a_signature_has_one_spelling() -> None:
    """The last digit of 64 octets in base64 has two bits that mean nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [TOKEN[:-1] + digit for digit in alphabet if digit != TOKEN[-1]]
    assert all(refused(other) for other in others)


def test_nesting_without_end_is_refused() -> None:
    assert refused(signed(HEAD, "[" * 900 + "]" * 100))
    assert refused(f"{b64(b'[' * 1000)}.e30.e30")


@given(token=st.text(max_size=300))
def test_foreign_text_never_raises_anything_else(token: str) -> None:
    assert refused(token)


@given(parts=st.lists(st.binary(max_size=120), min_size=3, max_size=3))
def test_foreign_parts_never_raise_anything_else(parts: list[bytes]) -> None:
    assert refused(".".join(map(b64, parts)))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(CLAIMS)), value=_JSON)
def test_any_claim_is_read_or_refused(name: str, value: Any) -> None:
    token = signed(HEAD, {**CLAIMS, name: value})
    with suppress(Malformed):
        read(RING, TERMS, token, NOW)


@given(name=st.sampled_from(sorted(HEAD)), value=_JSON)
def test_any_head_is_read_or_refused(name: str, value: Any) -> None:
    assert refused(signed({**HEAD, name: value}, CLAIMS)) == (HEAD[name] != value)


@given(data=st.data())
def test_no_character_of_a_token_can_be_another(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TOKEN) - 1))
    other = data.draw(st.characters().filter(lambda char: char != TOKEN[at]))
    assert refused(TOKEN[:at] + other + TOKEN[at + 1 :])


# --- CSRF ----------------------------------------------------------------------------------------------------------


def test_a_family_has_one_csrf_token() -> None:
    token = csrf(RING, FAMILY)
    assert len(token) == 43
    assert csrf_matches(RING, FAMILY, f" {token}\t")
    assert not csrf_matches(RING, UUID(int=1), token)
    assert not csrf_matches(RING, FAMILY, token[:-1])


def test_all_keys_know_their_csrf_tokens() -> None:
    token = csrf(RING, FAMILY)
    rotated = keyring([NEW, OLD])
    assert csrf_matches(rotated, FAMILY, token)
    assert csrf(rotated, FAMILY) != token
    assert not csrf_matches(keyring([NEW]), FAMILY, token)


@given(token=st.text(max_size=60))
def test_foreign_csrf_tokens_do_not_match(token: str) -> None:
    assert not csrf_matches(RING, FAMILY, token)
