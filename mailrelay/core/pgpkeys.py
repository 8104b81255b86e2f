"""Key packets of OpenPGP (RFC 9580 section 5.5.2): fingerprints, algorithms, and whether those are good enough."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec

from mailrelay.core.certificate import KeyUnusable, Unusable

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192  # every message costs more time with the length
MAX_EXPONENT_BITS = 32

RSA = frozenset((1, 2, 3))
ECDH, ECDSA, EDDSA = 18, 19, 22
X25519, X448, ED25519, ED448 = 25, 26, 27, 28
ML_KEM_768_X25519 = 35

_MAY_SIGN = frozenset((1, 3, ECDSA, EDDSA, ED25519, ED448))
_MAY_ENCRYPT = frozenset((1, 2, ECDH, X25519, X448, ML_KEM_768_X25519))
_OBSOLETE = frozenset((16, 17, 20))  # ElGamal, DSA: RFC 9580 section 12.1 forbids new ones
_NAMES = {X25519: "X25519", X448: "X448", ED25519: "Ed25519", ED448: "Ed448", ML_KEM_768_X25519: "ML-KEM-768+X25519"}
_SIZES = {X25519: 32, X448: 56, ED25519: 32, ED448: 57, ML_KEM_768_X25519: 32 + 1184}

# RFC 9580 section 9.2
ED25519_OID = bytes.fromhex("2b06010401da470f01")
CURVE25519_OID = bytes.fromhex("2b060104019755010501")
CURVES: dict[bytes, tuple[str, ec.EllipticCurve]] = {
    bytes.fromhex("2a8648ce3d030107"): ("NIST P-256", ec.SECP256R1()),
    bytes.fromhex("2b81040022"): ("NIST P-384", ec.SECP384R1()),
    bytes.fromhex("2b81040023"): ("NIST P-521", ec.SECP521R1()),
}


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, primary or subkey."""

    version: int  # 4 or 6
    created: datetime
    algorithm: int  # RFC 9580 section 9.1
    numbers: tuple[bytes, ...] = field(repr=False)  # of algorithms that can be used: see _numbers
    body: bytes = field(repr=False)  # of the packet

    @classmethod
    def read(cls, body: bytes) -> Self:
        """From the body of a packet. Raises KeyUnusable: damaged, of an old format or of one that is not known."""
        version = body[0] if body else 0
        if version in (2, 3):
            raise KeyUnusable(Unusable.OLD_FORMAT)
        if version not in (4, 6):
            raise KeyUnusable(Unusable.UNKNOWN_ALGORITHM if version == 5 else Unusable.BROKEN)  # 5: LibrePGP
        start = 6 if version == 4 else 10
        if len(body) <= start or (version == 6 and int.from_bytes(body[6:10]) != len(body) - start):
            raise KeyUnusable(Unusable.BROKEN)
        created = datetime.fromtimestamp(int.from_bytes(body[1:5]), UTC)
        return cls(version, created, body[5], _numbers(body[5], body[start:]), body)

    @property
    def fingerprint(self) -> bytes:
        """20 octets (version 4) or 32 (version 6): RFC 9580 section 5.5.4."""
        if self.version == 4:
            return hashlib.sha1(self.hashed(), usedforsecurity=False).digest()
        return hashlib.sha256(self.hashed()).digest()

    @property
    def id(self) -> bytes:
        """The eight octets that older software names it by."""
        return self.fingerprint[-8:] if self.version == 4 else self.fingerprint[:8]

    def hashed(self) -> bytes:
        """As it goes into fingerprints and signatures (RFC 9580 section 5.2.4)."""
        if self.version == 4:
            return b"\x99" + (len(self.body) & 0xFFFF).to_bytes(2) + self.body
        return b"\x9b" + len(self.body).to_bytes(4) + self.body

    @property
    def name(self) -> str:
        """The algorithm, for people."""
        if self.algorithm in RSA:
            return f"RSA {_bits(self.numbers[0])}"
        if self.algorithm in _NAMES:
            return _NAMES[self.algorithm]
        curve = self.numbers[0] if self.numbers else b""
        return {ED25519_OID: "Ed25519", CURVE25519_OID: "Curve25519"}.get(curve) or CURVES[curve][0]

    def weakness(self, *, encrypts: bool) -> Unusable | None:
        """Why the algorithm will not do, None if it will. encrypts: for encryption rather than for signatures."""
        if self.algorithm in _OBSOLETE:
            return Unusable.WEAK_ALGORITHM
        if self.algorithm not in (_MAY_ENCRYPT if encrypts else _MAY_SIGN) or not self.numbers:
            return Unusable.UNKNOWN_ALGORITHM
        if self.algorithm in RSA:
            modulus, exponent = self.numbers
            is_fine = MIN_RSA_BITS <= _bits(modulus) <= MAX_RSA_BITS and _is_exponent(exponent) and modulus[-1] & 1
            return None if is_fine else Unusable.WEAK_ALGORITHM
        return None

    @property
    def may_encrypt(self) -> bool:
        """False if the algorithm is for signatures only, True also if it is not known."""
        return self.algorithm not in (3, 17, ECDSA, EDDSA, ED25519, ED448, *range(30, 35))


def numbers(octets: bytes, count: int) -> tuple[bytes, ...] | None:
    """That many multiprecision integers (RFC 9580 section 3.2) and nothing else, without leading zeros."""
    found: list[bytes] = []
    at = 0
    for _ in range(count):
        size = int.from_bytes(octets[at : at + 2]) + 7 >> 3
        number = octets[at + 2 : at + 2 + size]
        if len(number) != size or not number.strip(b"\0"):
            return None
        found.append(number.lstrip(b"\0"))
        at += 2 + size
    return tuple(found) if at == len(octets) else None


def _numbers(algorithm: int, material: bytes) -> tuple[bytes, ...]:
    """RSA: modulus, exponent. Curves: object identifier, point. Others: the key itself. Empty if it is not known.

    Raises KeyUnusable if it is damaged.
    """
    found: tuple[bytes, ...] | None
    if algorithm in RSA:
        found = numbers(material, 2)
    elif algorithm in (ECDH, ECDSA, EDDSA):
        found = _on_curve(algorithm, material)
    elif algorithm in _SIZES:
        found = (material,) if len(material) == _SIZES[algorithm] else None
    else:
        return ()
    if found is None:
        raise KeyUnusable(Unusable.BROKEN)
    return found


def _on_curve(algorithm: int, material: bytes) -> tuple[bytes, ...] | None:
    size = material[0]
    curve, rest = material[1 : 1 + size], material[1 + size :]
    known = {EDDSA: {ED25519_OID}, ECDSA: set(CURVES), ECDH: {CURVE25519_OID, *CURVES}}[algorithm]
    if curve not in known:
        return ()
    parameters = b""
    if algorithm == ECDH:
        rest, parameters = rest[:-4], rest[-4:]
    point = numbers(rest, 1)
    if point is None or (algorithm == ECDH and parameters[:2] != b"\x03\x01"):
        return None
    return (curve, point[0]) if _is_point(curve, point[0]) else None


def _is_point(curve: bytes, point: bytes) -> bool:
    if curve not in CURVES:
        return len(point) == 33 and point[0] == 0x40  # RFC 9580 section 11.2: native
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve][1], point)
    except ValueError:
        return False
    return True


def _bits(number: bytes) -> int:
    return int.from_bytes(number[:1]).bit_length() + 8 * (len(number) - 1)


def _is_exponent(number: bytes) -> bool:
    return _bits(number) <= MAX_EXPONENT_BITS and bool(number[-1] & 1) and number != b"\x01"
