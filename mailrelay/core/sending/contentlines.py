"""Invitations and business cards: lines that are folded at 75 octets, changed one by one (RFC 5545, RFC 6350)."""

import re
from collections.abc import Callable, Sequence

from mailrelay.core.sending.spelling import Mention
from mailrelay.core.sending.splice import Splice

_LINE_OCTETS = 75  # RFC 5545 section 3.1, without the line end
_FOLD = re.compile(rb"\r?\n[ \t]")
_LINE_END = re.compile(rb"\r?\n(?![ \t])|\Z")


def replaced(text: bytes, mentions: Sequence[Mention], instead: Callable[[Mention], bytes]) -> list[Splice]:
    """Whole lines in place of those with a mention in them, unfolded, changed and folded again.

    mentions: ascending, as spelling.Finder finds them.
    """
    splices: list[Splice] = []
    pieces: list[bytes] = []
    start = at = end = 0
    for mention in mentions:
        if mention.start >= end:
            if pieces:
                splices.append(Splice(start, end, _folded(b"".join([*pieces, text[at:end]]))))
            start, end = _line(text, mention.start, end)
            pieces, at = [], start
        pieces += (text[at : mention.start], instead(mention))
        at = mention.end
    if pieces:
        splices.append(Splice(start, end, _folded(b"".join([*pieces, text[at:end]]))))
    return splices


def _line(text: bytes, place: int, least: int) -> tuple[int, int]:
    """Where the unfolded line around a place begins and ends, without its line end. It begins not before `least`."""
    start = place
    while True:
        start = text.rfind(b"\n", least, start) + 1
        if start <= least or text[start : start + 1] not in (b" ", b"\t"):
            break
        start -= 1
    found = _LINE_END.search(text, place)
    return max(start, least), found.start() if found else len(text)


def _folded(line: bytes) -> bytes:
    """A line in pieces of at most 75 octets; none begins within a character of UTF-8."""
    line = _FOLD.sub(b"", line)
    pieces: list[bytes] = []
    at, room = 0, _LINE_OCTETS
    while len(line) - at > room:
        end = at + room
        while end > at + room - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(line[at:end])
        at, room = end, _LINE_OCTETS - 1
    return b"\r\n ".join([*pieces, line[at:]])
