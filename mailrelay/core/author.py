"""Who wrote a message, as far as its From field can be read without trusting it."""

import re
from collections.abc import Iterator

from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Malformed
from mailrelay.core.header import Message

# An escape outside of quotes goes as well: a string that does not end must not be tried again from each quote in it.
_QUOTED = re.compile(rb'\\.|"(?:[^"\\]|\\.)*+"', re.DOTALL)
_COMMENT = re.compile(rb"\([^()]*\)")
_ANGLE = re.compile(rb"<([^<>]*)>?")
_BETWEEN = re.compile(rb"[\s,;:<>]+")
_VALUE_LIMIT = 8192


def author(message: Message) -> Address | None:
    """The first address of the From field, read leniently: display names may hold anything (spec section 3.4)."""
    value = message.first(b"from")
    if value is None:
        return None
    plain = _COMMENT.sub(b" ", _QUOTED.sub(b" ", value[:_VALUE_LIMIT]))
    for candidate in _candidates(plain):
        try:
            return parse_address(candidate.strip().decode("utf-8"))
        except (Malformed, UnicodeDecodeError):
            continue
    return None


def _candidates(plain: bytes) -> Iterator[bytes]:
    """What stands in angle brackets, of nested ones the inner first; then whatever has an `@`."""
    for mailbox in plain.split(b","):
        yield from reversed(_ANGLE.findall(mailbox))
    yield from (word for word in _BETWEEN.split(plain) if b"@" in word)
