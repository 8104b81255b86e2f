"""What we need to know of an OpenPGP certificate: whose it is, until when mail can be encrypted to it, or why not."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mailrelay.core.errors import Malformed

MAX_USER_IDS = 10  # shown to people; a certificate may have more


class Unusable(StrEnum):
    """Why mail cannot be encrypted to what was given. The values are stored and go into notices."""

    NOT_A_KEY = "not_a_key"
    SECRET = "secret"  # noqa: S105  # the name of a reason
    SEVERAL = "several"
    OVERSIZE = "oversize"
    BROKEN = "broken"
    TOO_COMPLEX = "too_complex"
    OLD_FORMAT = "old_format"
    WEAK_ALGORITHM = "weak_algorithm"
    UNKNOWN_ALGORITHM = "unknown_algorithm"
    NOT_YET = "not_yet"
    EXPIRED = "expired"
    REVOKED = "revoked"
    NO_ENCRYPTION_SUBKEY = "no_encryption_subkey"

    @property
    def sentence(self) -> str:
        """For people: one ASCII sentence that also says what can be done."""
        return _SENTENCES[self]


_SENTENCES = {
    Unusable.NOT_A_KEY: "This is not an OpenPGP public key; export it with: gpg --armor --export ADDRESS.",
    Unusable.SECRET: "This is a secret key, which must never leave your hands; export the public key instead.",
    Unusable.SEVERAL: "There is more than one key in it; give one key for each mailbox.",
    Unusable.OVERSIZE: "The key is too large; export it with --export-options export-minimal.",
    Unusable.BROKEN: "The key is damaged or incomplete; export it once more and give all of it.",
    Unusable.TOO_COMPLEX: "The key has too many parts; export it with --export-options export-minimal.",
    Unusable.OLD_FORMAT: "The key has a format that is no longer safe (version 2 or 3); make a new key.",
    Unusable.WEAK_ALGORITHM: "The key uses an algorithm or a size that is too weak, or an RSA key that is too large.",
    Unusable.UNKNOWN_ALGORITHM: "The key uses an algorithm or a format that is not known here.",
    Unusable.NOT_YET: "The key was made in the future; look at the clock of the computer that made it.",
    Unusable.EXPIRED: "The key, or its part for encryption, has expired; extend it and give it again.",
    Unusable.REVOKED: "The key, or its part for encryption, has been revoked by its owner.",
    Unusable.NO_ENCRYPTION_SUBKEY: "The key can only sign: no part of it is meant for encryption.",
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """A public key that mail can be encrypted to, as it was when it was looked at."""

    fingerprint: str  # of the primary key: upper-case hex, 40 digits (version 4) or 64 (version 6)
    version: int  # 4 or 6
    primary_algorithm: str  # for people: "RSA 4096", "Ed25519", "NIST P-256"
    user_ids: tuple[str, ...]  # at most MAX_USER_IDS, printable; the primary one first
    created: datetime
    expires: (
        datetime | None
    )  # the earliest of the primary key's and of the last usable encryption subkey's; None: never
    encryption_subkeys: int  # how many are usable, at least one; the primary key counts if it encrypts itself
    binary: bytes = field(repr=False)  # the minimal form to store: all that is needed and nothing else


class KeyUnusable(Malformed):
    """Mail cannot be encrypted to this key.

    fingerprint: of the primary key where it is known.
    """

    def __init__(self, reason: Unusable, fingerprint: str | None = None) -> None:
        super().__init__(reason.sentence)
        self.reason = reason
        self.fingerprint = fingerprint
