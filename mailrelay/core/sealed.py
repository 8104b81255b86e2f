"""Encryption at rest: mail and addresses that are kept for somebody, AES-256-GCM (NIST SP 800-38D).

A sealed value is one octet of format, four that name the key, a nonce of twelve, cipher text and a tag of sixteen.
It belongs to one place: what was sealed for one row cannot be passed off as another row's. Random nonces are good for
some 2^32 values a key; rotation puts a new key in front of the old ones.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mailrelay.core.errors import Malformed

NONCE_OCTETS = 12
OVERHEAD_OCTETS = 1 + 4 + NONCE_OCTETS + 16

_FORMAT = b"\x01"
_NONCE_AT = 1 + 4
_CONTENT_AT = _NONCE_AT + NONCE_OCTETS


@dataclass(frozen=True, slots=True)
class Key:
    """One key, as rows name it."""

    id: bytes  # four octets
    cipher: AESGCM = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vault:
    """The keys: the first seals, all open."""

    keys: tuple[Key, ...]

    @property
    def key_id(self) -> str:
        """The name of the key that seals, eight hexadecimal digits."""
        return self.keys[0].id.hex()


def vault(secrets: Sequence[bytes]) -> Vault:
    """The keys of a secret file, of any length; at least one. A key that is needed here is used nowhere else."""
    return Vault(tuple(_key(secret) for secret in secrets))


def _key(secret: bytes) -> Key:
    derived = hmac.digest(secret, b"store-v1\0key", hashlib.sha256)
    return Key(hmac.digest(secret, b"store-v1\0id", hashlib.sha256)[:4], AESGCM(derived))


def seal(vault: Vault, nonce: bytes, place: bytes, clear: bytes) -> bytes:
    """The sealed form of a value.

    nonce: NONCE_OCTETS random octets, never used before. place: names the row and column that it is for.
    """
    key = vault.keys[0]
    return b"".join((_FORMAT, key.id, nonce, key.cipher.encrypt(nonce, clear, place)))


def unseal(vault: Vault, place: bytes, sealed: bytes) -> bytes:
    """The value again. Raises Malformed if it is damaged, from another place, or of a key that is no longer known."""
    if sealed[:1] != _FORMAT or len(sealed) < OVERHEAD_OCTETS:
        raise Malformed("what was stored is not in a form that this release knows")
    key_id, nonce, content = sealed[1:_NONCE_AT], sealed[_NONCE_AT:_CONTENT_AT], memoryview(sealed)[_CONTENT_AT:]
    keys = [key for key in vault.keys if key.id == key_id]
    for key in keys:
        try:
            return key.cipher.decrypt(nonce, content, place)
        except InvalidTag:
            continue  # four octets can name two keys
    if not keys:
        raise Malformed(f"it was encrypted with key {key_id.hex()}, which storage.key no longer holds")
    raise Malformed("what was stored is damaged, or was moved to another row")
