"""Access tokens of the dashboard: JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 8037); CSRF tokens beside them.

A token that is right says who signed in and when, not that this still holds: its session is looked up each time.
Compact form as in RFC 7515 section 7.1, base64url without padding, in the one spelling that encoders give.
"""

import base64
import binascii
import hashlib
import hmac
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mailrelay.core.errors import Malformed
from mailrelay.core.facts import AccountId

MAX_TOKEN_CHARACTERS = 2048  # ours have some 430
SKEW = timedelta(seconds=60)

_ALGORITHM, _TYPE = "EdDSA", "JWT"
_KID_OCTETS = 12
_MAX_ID = 2**63 - 1
_MAX_SECONDS = 253_402_000_000  # in the year 9999, where datetimes end
_BASE64URL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, slots=True)
class Key:
    """One key pair and one CSRF secret. kid: names the public key."""

    kid: str
    private: Ed25519PrivateKey = field(repr=False)
    public: Ed25519PublicKey = field(repr=False)
    csrf: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys: the first signs, all verify."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """Who makes the tokens, for whom, and how long one is good."""

    issuer: str
    audience: str
    lives: timedelta


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. number: of this token, never the same again."""

    account: AccountId
    family: UUID
    number: UUID
    expires_at: datetime


def keyring(secrets: Sequence[bytes]) -> Keyring:
    """The keys of a secret file, of any length; at least one. A key that is needed here is used nowhere else."""
    return Keyring(tuple(_key(secret) for secret in secrets))


def _key(secret: bytes) -> Key:
    private = Ed25519PrivateKey.from_private_bytes(hmac.digest(secret, b"session-v1\0ed25519", hashlib.sha256))
    public = private.public_key()
    kid = _encoded(hashlib.sha256(public.public_bytes_raw()).digest()[:_KID_OCTETS])
    return Key(kid, private, public, hmac.digest(secret, b"session-v1\0csrf", hashlib.sha256))


def claims_of(terms: Terms, account: AccountId, family: UUID, number: UUID, now: datetime) -> Claims:
    """What a token says that is made now; times are whole seconds."""
    return Claims(account, family, number, now.astimezone(UTC).replace(microsecond=0) + terms.lives)


def make(ring: Keyring, terms: Terms, claims: Claims) -> str:
    """The token that says so, for somebody who has just shown who he is."""
    key, ends = ring.keys[0], int(claims.expires_at.timestamp())
    begins = ends - int(terms.lives.total_seconds())
    head = {"alg": _ALGORITHM, "typ": _TYPE, "kid": key.kid}
    said = {
        "sub": str(claims.account),
        "sid": str(claims.family),
        "jti": str(claims.number),
        "iss": terms.issuer,
        "aud": terms.audience,
        "iat": begins,
        "nbf": begins,
        "exp": ends,
    }
    signed = ".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (head, said))
    return f"{signed}.{_encoded(key.private.sign(signed.encode('ascii')))}"


def read(ring: Keyring, terms: Terms, token: str, now: datetime) -> Claims:
    """What a token says. Raises Malformed for whatever is not a token of ours that is good now."""
    if len(token) > MAX_TOKEN_CHARACTERS or token.count(".") != 2:
        raise Malformed("that is no token")
    head, claims, signature = token.split(".")
    key, said = _signer(ring, _object(_octets(head))), _octets(claims)
    try:
        key.public.verify(_octets(signature), f"{head}.{claims}".encode("ascii"))
    except InvalidSignature as error:
        raise Malformed("the token is not signed by us") from error
    return _claims(_object(said), terms, now)


def csrf(ring: Keyring, family: UUID) -> str:
    """The token that requests of this family carry in a header: no other site can read it."""
    return _csrf(ring.keys[0], family)


def csrf_matches(ring: Keyring, family: UUID, token: str) -> bool:
    """Whether this is a family's token, by any key; white space around it does not matter."""
    given = token.strip().encode("utf-8", "replace")
    return any(hmac.compare_digest(_csrf(key, family).encode("ascii"), given) for key in ring.keys)


def _csrf(key: Key, family: UUID) -> str:
    return _encoded(hmac.digest(key.csrf, str(family).encode("ascii"), hashlib.sha256))


def _signer(ring: Keyring, head: dict[str, Any]) -> Key:
    if head.get("typ") != _TYPE or head.get("alg") != _ALGORITHM:
        raise Malformed("the token is of another type or algorithm")
    if "crit" in head:
        raise Malformed("the token asks for more than is known here")  # RFC 7515 section 4.1.11
    for key in ring.keys:
        if head.get("kid") == key.kid:
            return key
    raise Malformed("the token names a key that is not here")


def _claims(claims: dict[str, Any], terms: Terms, now: datetime) -> Claims:
    if claims.get("iss") != terms.issuer or claims.get("aud") != terms.audience:
        raise Malformed("the token is for somebody else")
    begins, counts_from, ends = (_moment(claims.get(name)) for name in ("iat", "nbf", "exp"))
    if not begins <= ends or max(begins, counts_from) > now + SKEW or ends <= now - SKEW:
        raise Malformed("the token is not good at this time")
    return Claims(_account(claims.get("sub")), _uuid(claims.get("sid")), _uuid(claims.get("jti")), ends)


def _moment(value: object) -> datetime:
    """RFC 7519 section 2, NumericDate."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_SECONDS:
        raise Malformed("a time of the token is no time")  # nan is in no range
    return datetime.fromtimestamp(math.floor(value), UTC)


def _account(value: object) -> AccountId:
    if not isinstance(value, str) or not (value.isascii() and value.isdecimal()) or len(value) > len(str(_MAX_ID)):
        raise Malformed("the token names no account")
    number = int(value)
    if not 0 < number <= _MAX_ID:
        raise Malformed("the token names no account")
    return AccountId(number)


def _uuid(value: object) -> UUID:
    try:
        found = UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or str(found) != value:
        raise Malformed("an id of the token is none")
    return found


def _object(text: bytes) -> dict[str, Any]:
    """The JSON object of one part; a name that stands there twice is none."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise Malformed("a name stands twice in the token")
        return dict(pairs)

    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise Malformed("the token is not JSON") from error
    if not isinstance(found, dict):
        raise Malformed("the token is no JSON object")
    return found


def _encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _octets(text: str) -> bytes:
    """RFC 7515 section 2. Of the spellings that decoders take, only the one that encoders give."""
    if not _BASE64URL.issuperset(text):
        raise Malformed("the token is not base64url")
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise Malformed("the token is not base64url") from error
    if _encoded(octets) != text:
        raise Malformed("the token is spelled in another way")
    return octets
