"""Signatures on OpenPGP keys (RFC 9580 section 5.2): what they say, and whether the key really made them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from mailrelay.core import pgpkeys
from mailrelay.core.pgpframing import Subpacket, subpackets
from mailrelay.core.pgpkeys import Key

CERTIFICATIONS = range(0x10, 0x14)
SUBKEY_BINDING, DIRECT, KEY_REVOCATION, SUBKEY_REVOCATION, USER_ID_REVOCATION = 0x18, 0x1F, 0x20, 0x28, 0x30
_REVOCATIONS = (KEY_REVOCATION, SUBKEY_REVOCATION, USER_ID_REVOCATION)

MAX_OCTETS = 8192  # of one signature that is taken into account

_SHA1 = 2
_HASHES: dict[int, hashes.HashAlgorithm] = {
    _SHA1: hashes.SHA1(),  # noqa: S303  # of revocations only
    8: hashes.SHA256(),
    9: hashes.SHA384(),
    10: hashes.SHA512(),
    11: hashes.SHA224(),
    12: hashes.SHA3_256(),
    14: hashes.SHA3_512(),
}
_SALT_OCTETS = {8: 16, 9: 24, 10: 32, 11: 16, 12: 16, 14: 32}  # RFC 9580 section 9.5, version 6

_CREATED, _SIGNATURE_LIFE, _KEY_LIFE, _REVOKER, _ISSUER, _PRIMARY, _FLAGS, _FINGERPRINT = 2, 3, 9, 12, 16, 25, 27, 33
# Statements that are understood, or that say nothing about the validity of a key. A notation may not be critical.
_UNDERSTOOD = frozenset(
    (2, 3, 4, 5, 6, 7, 9, 11, 12, 16, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 39)
)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature, and what it states in its signed part."""

    version: int
    type: int
    algorithm: int
    hash: int
    created: datetime
    life: timedelta | None  # of the signature; None: it does not expire
    key_life: timedelta | None  # from the creation of the key; None: nothing is said
    flags: int  # key flags, first octet; 0 if nothing is said
    is_primary: bool  # says that its user id is the main one
    issuers: frozenset[bytes]  # key ids and fingerprints that it names; may be empty
    revokers: frozenset[bytes]  # fingerprints of others who may revoke the key
    signed: bytes = field(repr=False)  # its own part of what is hashed
    left: bytes = field(repr=False)  # the first two octets of the hash
    salt: bytes = field(repr=False)
    material: bytes = field(repr=False)
    body: bytes = field(repr=False)  # of the packet

    @classmethod
    def read(cls, body: bytes) -> Self | None:
        """From the body of a packet. None: damaged, too long, or not of a kind that counts for keys."""
        width = {4: 2, 6: 4}.get(body[0] if body else 0)
        if width is None or len(body) > MAX_OCTETS:
            return None
        end = 4 + width + int.from_bytes(body[4 : 4 + width])
        rest = end + width + int.from_bytes(body[end : end + width])
        salt_at = rest + 2 + (body[0] == 6)
        salt_end = salt_at + (body[rest + 2] if body[0] == 6 and len(body) > rest + 2 else 0)
        hashed, unhashed = subpackets(body[4 + width : end]), subpackets(body[end + width : rest])
        if len(body) <= salt_end or hashed is None or unhashed is None:
            return None
        said = _Statements.of(list(hashed))
        if said is None:
            return None
        issuers = said.issuers | {_issuer(each) for each in unhashed if each.type in (_ISSUER, _FINGERPRINT)}
        return cls(
            version=body[0],
            type=body[1],
            algorithm=body[2],
            hash=body[3],
            created=said.created,
            life=said.span(_SIGNATURE_LIFE),
            key_life=said.span(_KEY_LIFE),
            flags=said.first(_FLAGS)[0] if said.first(_FLAGS) else 0,
            is_primary=any(said.first(_PRIMARY)),
            issuers=issuers,
            revokers=frozenset(value[2:] for value in said.every(_REVOKER)),
            signed=body[:end],
            left=body[rest : rest + 2],
            salt=body[salt_at:salt_end],
            material=body[salt_end:],
            body=body,
        )

    def counts_at(self, now: datetime) -> bool:
        """True if it has been made and has not expired."""
        return self.created <= now and (self.life is None or now < self.created + self.life)

    @property
    def is_weak(self) -> bool:
        """True if it proves nothing: of a hash that is not known, or SHA-1, which the encryption library refuses too.

        A revocation is taken at its word.
        """
        return self.hash not in _HASHES or (self.hash == _SHA1 and self.type not in _REVOCATIONS)

    def end(self, key: Key) -> datetime | None:
        """When the key stops being bound by it, None for never."""
        ends = [start + span for start, span in ((key.created, self.key_life), (self.created, self.life)) if span]
        return min(ends, default=None)

    def names(self, key: Key) -> bool:
        """True if that key may have made it."""
        return self.version == key.version and (not self.issuers or bool(self.issuers & {key.id, key.fingerprint}))

    def verifies(self, key: Key, data: bytes) -> bool:
        """True if the key made it over the data. Costs one operation with the key at most, none if it looks wrong."""
        if self.is_weak or (self.version == 6 and len(self.salt) != _SALT_OCTETS.get(self.hash)):
            return False
        digest = hashes.Hash(_HASHES[self.hash])
        digest.update(self.salt + data + self.signed)
        digest.update(bytes((self.version, 0xFF)) + len(self.signed).to_bytes(4))
        hashed = digest.finalize()
        if hashed[:2] != self.left or self.algorithm != key.algorithm:
            return False
        try:
            return _VERIFIERS[key.algorithm](key.numbers, self.material, hashed, _HASHES[self.hash])
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, KeyError):
            return False


@dataclass(frozen=True, slots=True)
class _Statements:
    """The signed subpackets."""

    items: Sequence[Subpacket]
    created: datetime

    @classmethod
    def of(cls, items: Sequence[Subpacket]) -> Self | None:
        """None if they do not say when, or have a critical one that is not understood (RFC 9580 section 5.2.3.7)."""
        times = [item.value for item in items if item.type == _CREATED]
        is_strange = any(item.is_critical and item.type not in _UNDERSTOOD for item in items)
        if is_strange or not times or len(times[0]) != 4:
            return None
        return cls(items, datetime.fromtimestamp(int.from_bytes(times[0]), UTC))

    def every(self, type: int) -> list[bytes]:
        return [item.value for item in self.items if item.type == type]

    def first(self, type: int) -> bytes:
        return next(iter(self.every(type)), b"")

    def span(self, type: int) -> timedelta | None:
        """None if nothing is said, or zero: for ever."""
        seconds = int.from_bytes(self.first(type)[:4])
        return timedelta(seconds=seconds) if seconds else None

    @property
    def issuers(self) -> frozenset[bytes]:
        return frozenset(_issuer(item) for item in self.items if item.type in (_ISSUER, _FINGERPRINT))


def _issuer(item: Subpacket) -> bytes:
    """A fingerprint has the version of its key in front."""
    return item.value[1:] if item.type == _FINGERPRINT else item.value


def user_id_data(key: Key, user_id: bytes) -> bytes:
    """What a certification of a user id is made over, but for the signature's own part (RFC 9580 section 5.2.4)."""
    return key.hashed() + b"\xb4" + len(user_id).to_bytes(4) + user_id


_Numbers = tuple[bytes, ...]


def _rsa(key: _Numbers, material: bytes, digest: bytes, algorithm: hashes.HashAlgorithm) -> bool:
    found = pgpkeys.numbers(material, 1)
    if found is None:
        return False
    public = rsa.RSAPublicNumbers(int.from_bytes(key[1]), int.from_bytes(key[0])).public_key()
    public.verify(found[0].rjust(len(key[0]), b"\0"), digest, PKCS1v15(), Prehashed(algorithm))
    return True


def _ecdsa(key: _Numbers, material: bytes, digest: bytes, algorithm: hashes.HashAlgorithm) -> bool:
    found = pgpkeys.numbers(material, 2)
    if found is None:
        return False
    public = ec.EllipticCurvePublicKey.from_encoded_point(pgpkeys.CURVES[key[0]][1], key[1])
    signature = encode_dss_signature(int.from_bytes(found[0]), int.from_bytes(found[1]))
    public.verify(signature, digest, ec.ECDSA(Prehashed(algorithm)))
    return True


def _eddsa(key: _Numbers, material: bytes, digest: bytes, _: hashes.HashAlgorithm) -> bool:
    found = pgpkeys.numbers(material, 2)
    if found is None or max(map(len, found)) > 32:
        return False
    signature = b"".join(number.rjust(32, b"\0") for number in found)
    ed25519.Ed25519PublicKey.from_public_bytes(key[1][1:]).verify(signature, digest)
    return True


def _ed25519(key: _Numbers, material: bytes, digest: bytes, _: hashes.HashAlgorithm) -> bool:
    ed25519.Ed25519PublicKey.from_public_bytes(key[0]).verify(material, digest)
    return True


def _ed448(key: _Numbers, material: bytes, digest: bytes, _: hashes.HashAlgorithm) -> bool:
    ed448.Ed448PublicKey.from_public_bytes(key[0]).verify(material, digest)
    return True


_VERIFIERS: dict[int, Callable[[_Numbers, bytes, bytes, hashes.HashAlgorithm], bool]] = {
    1: _rsa,
    3: _rsa,
    pgpkeys.ECDSA: _ecdsa,
    pgpkeys.EDDSA: _eddsa,
    pgpkeys.ED25519: _ed25519,
    pgpkeys.ED448: _ed448,
}
