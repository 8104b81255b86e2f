"""Header fields that only we write, found in mail that comes in (spec sections 0 and 11.2)."""

from collections import Counter
from collections.abc import Sequence

from mailrelay.core import authres

Header = Sequence[tuple[str, bytes]]  # name and value of each field from the top, the value folded or not


def forged(header: Header, prefix: str, authserv_id: str) -> list[tuple[str, int]]:
    """(name, number) of each field to remove, the lowest first.

    The number counts the fields of one name from the top, beginning with 1, as milters do. In this order it does not
    matter whether the numbers of others change when one goes.
    prefix: of our own fields; all go but the loop header, which has a MAC of its own.
    """
    prefix = prefix.lower()
    loop = f"{prefix}loop"
    seen: Counter[str] = Counter()
    found = []
    for name, value in header:
        folded = name.lower()
        seen[folded] += 1
        ours = folded.startswith(prefix) and folded != loop
        if ours or (folded == "authentication-results" and authres.is_ours(value, authserv_id)):
            found.append((name, seen[folded]))
    return found[::-1]


def values(header: Header, name: str) -> list[bytes]:
    """The values of all fields of a name (lower case), from the top."""
    return [value for found, value in header if found.lower() == name]
