"""One-time passwords from the clock, RFC 6238 on RFC 4226: six digits, 30 seconds, SHA-1, as every app makes them."""

import base64
import hashlib
import hmac
import re
from uuid import UUID

SECRET_OCTETS = 20  # RFC 4226 section 4: 160 bits recommended
STEP_SECONDS = 30
DIGITS = 6
_WINDOW = 1  # steps before and after, for clocks that are not quite right (RFC 6238 section 5.2)

_RESERVED = re.compile(rb"[^A-Za-z0-9._~-]")


def code(secret: bytes, step: int, digits: int = DIGITS) -> str:
    """The code of a step."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    offset = mac[-1] & 15
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**digits:0{digits}}"


def step_at(seconds: float) -> int:
    """The step of a time, in seconds since 1970."""
    return int(seconds // STEP_SECONDS)


def matching_step(secret: bytes, typed: str, seconds: float, last_step: int | None) -> int | None:
    """The step that a code is of, None for a wrong one.

    last_step: that of the last code that was used; neither that nor an earlier one is good any more.
    """
    now = step_at(seconds)
    first = now - _WINDOW if last_step is None else max(now - _WINDOW, last_step + 1)
    found = None
    for step in range(first, now + _WINDOW + 1):
        if hmac.compare_digest(code(secret, step).encode(), typed.encode("utf-8", "replace")):
            found = step
    return found


def uri(secret: bytes, issuer: str, account: str) -> str:
    """What apps read from a QR code (the key URI format of Google Authenticator)."""
    by = _quoted(issuer)
    settings = f"secret={base32(secret)}&issuer={by}&digits={DIGITS}&period={STEP_SECONDS}"
    return f"otpauth://totp/{by}:{_quoted(account)}?{settings}"


def _quoted(text: str) -> str:
    """RFC 3986 section 2.1; what is not unreserved, octet by octet."""
    octets = text.encode("utf-8", "replace")
    return _RESERVED.sub(lambda found: b"%%%02X" % found[0][0], octets).decode("ascii")


def base32(secret: bytes) -> str:
    """As people type it."""
    return base64.b32encode(secret).decode("ascii").rstrip("=")


def place(account: UUID) -> bytes:
    """What a sealed secret is bound to."""
    return b"account.totp_secret\0" + account.bytes
