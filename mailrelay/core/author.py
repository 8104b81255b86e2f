"""Who wrote a message, as far as its From field can be read without trusting it."""

import re

from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Malformed
from mailrelay.core.header import Message

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_COMMENT = re.compile(rb"\([^()]*\)")
_ANGLE = re.compile(rb"<([^<>]*)>?")
_BARE = re.compile(rb"[^\s,;<>]+@[^\s,;<>]+")
_VALUE_LIMIT = 8192


def author(message: Message) -> Address | None:
    """The first address of the From field, read leniently: display names may hold anything (spec section 3.4)."""
    value = message.first(b"from")
    if value is None:
        return None
    plain = _COMMENT.sub(b" ", _QUOTED.sub(b" ", value[:_VALUE_LIMIT]))
    for candidate in [*reversed(_ANGLE.findall(plain)), *_BARE.findall(plain)]:
        try:
            return parse_address(candidate.strip().decode("utf-8"))
        except (Malformed, UnicodeDecodeError):
            continue
    return None
