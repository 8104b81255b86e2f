"""The loop header: each alias a message has passed leaves its mark (spec section 9.2)."""

import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

HEADER = "X-Mailrelay-Loop"

# More marks than this, of whatever aliases, are a loop as well.
MAX_MARKS = 5


def mark(alias: UUID, key: bytes) -> str:
    """The header value that says: passed this alias."""
    digest = hmac.digest(key, b"loop-v1\0" + str(alias).encode("ascii"), hashlib.sha256)
    return f"v1; {digest.hex()[:20]}"


def is_loop(values: Sequence[bytes], alias: UUID, keys: Sequence[bytes]) -> bool:
    """True if a message with these loop headers must not be forwarded by `alias`.

    values: unfolded, all of them, in any order. keys: the current one and those it replaced.
    """
    if len(values) > MAX_MARKS:
        return True
    own = [mark(alias, key).encode("ascii") for key in keys]
    return any(hmac.compare_digest(value.strip().lower(), one) for value in values for one in own)
