"""Our return paths: every copy gets its own, so that a bounce names the copy it is about (spec section 7.1).

Neither `+`, `=` nor upper case occurs in one: recipient delimiters and hosts that fold case cannot damage it.
"""

import hashlib
import hmac
import re
from base64 import b32decode, b32encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

MAX_AGE_DAYS = 10

_SHAPE = re.compile(r"b-[a-z2-7]{34}")
_VERSION = 1


class EmailType(StrEnum):
    """What the copy is, by the letter the database knows."""

    FORWARD = "F"
    REPLY = "R"
    SEND = "S"
    NOTIFICATION = "N"


# The low nibble of octet 0 is the position here.
_TYPES = tuple(EmailType)


@dataclass(frozen=True, slots=True)
class VerpId:
    """Which copy a return path belongs to."""

    type: EmailType
    outbound_id: int  # unsigned 64 bits, random
    day: int  # of issue, days since 1970-01-01 UTC, 16 bits


class Invalid(Enum):
    """Why a local part that looks like our return path is none."""

    FORGED = "forged"  # or damaged, or made for another domain or with a forgotten key
    EXPIRED = "expired"  # genuine, but too old or from the future


def encode(verp: VerpId, domain: str, key: bytes) -> str:
    """The local part, 36 octets, of the return path at `domain`. Raises OverflowError for numbers too wide."""
    head = bytes([_VERSION << 4 | _TYPES.index(verp.type)])
    return _signed(head + verp.outbound_id.to_bytes(8, "big") + verp.day.to_bytes(2, "big"), domain, key)


def decode(local: str, domain: str, keys: Sequence[bytes], today: int) -> VerpId | Invalid | None:
    """The copy a return path at `domain` belongs to; None if `local` does not look like a return path of ours.

    keys: the current one and those it replaced. today: days since 1970-01-01, UTC; a path of tomorrow is
    valid, as clocks differ between hosts.
    """
    folded = local.lower()
    if not local.isascii() or not _SHAPE.fullmatch(folded):
        return None
    octets = b32decode(folded[2:].upper() + "======")
    payload = octets[:11]
    # Comparing the text rather than the octets refuses set spare bits, too: one copy, one address.
    genuine = [hmac.compare_digest(_signed(payload, domain, key), folded) for key in keys]
    version, position = payload[0] >> 4, payload[0] & 0x0F
    if not any(genuine) or version != _VERSION or position >= len(_TYPES):
        return Invalid.FORGED
    day = int.from_bytes(payload[9:11], "big")
    if not -1 <= today - day <= MAX_AGE_DAYS:
        return Invalid.EXPIRED
    return VerpId(_TYPES[position], int.from_bytes(payload[1:9], "big"), day)


def _signed(payload: bytes, domain: str, key: bytes) -> str:
    mac = hmac.digest(key, b"verp-v1\0" + domain.lower().encode() + b"\0" + payload, hashlib.sha256)[:10]
    return "b-" + b32encode(payload + mac).decode("ascii").rstrip("=").lower()
