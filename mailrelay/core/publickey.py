"""The public keys that DKIM and ARC signatures are checked with, from their TXT records (RFC 6376 section 3.6.1)."""

import hashlib
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from mailrelay.core.errors import Malformed
from mailrelay.core.taglist import tags

MIN_RSA_BITS = 1024  # RFC 8301 section 3.2
MAX_RSA_BITS = 8192  # a hostile key of 16384 bits costs milliseconds

_RECORD_LIMIT = 8192


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A published key. is_strict: flag `s`, the identity of a signature must be in the very domain."""

    key: RSAPublicKey | Ed25519PublicKey
    is_strict: bool = False

    @property
    def algorithm(self) -> str:
        """The only a= of signatures that it verifies."""
        return "rsa-sha256" if isinstance(self.key, RSAPublicKey) else "ed25519-sha256"

    @property
    def weakness(self) -> str | None:
        """Why signatures of it do not count, None if they do."""
        if not isinstance(self.key, RSAPublicKey) or MIN_RSA_BITS <= self.key.key_size <= MAX_RSA_BITS:
            return None
        return f"a key of {self.key.key_size} bits"

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """True if the signature over the data (header fields in canonical form) is right."""
        try:
            if isinstance(self.key, RSAPublicKey):
                self.key.verify(signature, data, PKCS1v15(), SHA256())
            else:
                self.key.verify(signature, hashlib.sha256(data).digest())  # RFC 8463 section 3
        except InvalidSignature:
            return False
        return True


def read_key(texts: Sequence[bytes]) -> PublicKey:
    """The first usable key of the TXT records under a selector. Raises Malformed, saying in ASCII what is wrong."""
    wrong = "no key record"
    for text in texts:
        try:
            return _read(text)
        except Malformed as error:
            wrong = str(error)
    raise Malformed(wrong)


def _read(text: bytes) -> PublicKey:
    record = tags(text) if len(text) <= _RECORD_LIMIT else None
    if record is None or record.get(b"v", b"DKIM1") != b"DKIM1" or b"p" not in record:
        raise Malformed("no key record")
    if b"h" in record and b"sha256" not in _list(record[b"h"]):
        raise Malformed("the key is not for SHA-256")
    if b"s" in record and not {b"*", b"email"} & _list(record[b"s"]):
        raise Malformed("the key is not for mail")
    octets = record[b"p"].translate(None, b" \t\r\n")
    if not octets:
        raise Malformed("the key was revoked")
    try:
        decoded = b64decode(octets, validate=True)
        key = _load(record.get(b"k", b"rsa").lower(), decoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("the key record cannot be read") from error
    return PublicKey(key, b"s" in _list(record.get(b"t", b"")))


def _load(kind: bytes, octets: bytes) -> RSAPublicKey | Ed25519PublicKey:
    if kind == b"ed25519":
        return Ed25519PublicKey.from_public_bytes(octets)
    if kind != b"rsa":
        raise Malformed("an unknown kind of key")
    key = serialization.load_der_public_key(octets)
    if not isinstance(key, RSAPublicKey):
        raise Malformed("the key is not what it says")
    return key


def _list(value: bytes) -> set[bytes]:
    return {one.strip().lower() for one in value.split(b":")}
