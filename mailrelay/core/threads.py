"""Threads: our Message-IDs in an answer become those that the owner's mail program knows (spec section 3.6)."""

import re
from collections.abc import Mapping

from mailrelay.core.header import Message

FIELDS = (b"in-reply-to", b"references")
MAX_IDS = 200

# RFC 5322 section 3.6.4, leniently. What holds white space may have been folded and is none of ours.
_ID = re.compile(rb"<[^<>\s]{1,996}+>")


def referenced(message: Message) -> tuple[str, ...]:
    """The ids that a message answers or refers to, `<` and `>` included, each once: those to look up.

    At most 200: all of In-Reply-To, then the last of References, which are the nearest.
    """
    found: dict[bytes, None] = {}
    for name in FIELDS:
        for one in reversed(_ID.findall(message.first(name) or b"")):
            found.setdefault(one)
    return tuple(one.decode("ascii") for one in found if one.isascii())[:MAX_IDS]


def restored(raw: bytes, originals: Mapping[str, str]) -> bytes:
    """A field with our ids replaced by the original ones, all other octets as they were.

    originals: by our ids, of this alias only, both with `<` and `>`.
    """

    def original(found: re.Match[bytes]) -> bytes:
        known = originals.get(found[0].decode("latin-1"))
        if known is None or not known.isascii() or not known.isprintable():
            return found[0]
        return known.encode("ascii")

    return _ID.sub(original, raw) if originals else raw
