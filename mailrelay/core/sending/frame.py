"""What stands between the parts of a multipart: delimiters, and text that hardly any program shows (RFC 2046 5.1.1)."""

import re
from collections.abc import Iterator

from mailrelay.core.mime import Entity
from mailrelay.core.sending.splice import Splice


def boundary(entity: Entity) -> bytes:
    """Of a multipart, b"" if it has none."""
    return entity.params.get(b"boundary", b"").rstrip(b" \t")


def between(content: bytes, entity: Entity) -> bytes:
    """What is in a multipart and in none of its parts."""
    starts = [*(child.start for child in entity.children), entity.body_end]
    ends = [entity.body_start, *(child.body_end for child in entity.children)]
    return b"\n".join(content[end:start] for end, start in zip(ends, starts, strict=True))


def bared(content: bytes, entity: Entity, new: bytes) -> Iterator[Splice]:
    """The changes that leave nothing but parts: what stands before the first and behind the final delimiter goes.

    content: of the message. entity: a multipart with parts. new: its boundary from now on, which may be the old one.
    """
    old = boundary(entity)
    end = entity.body_start
    for child in entity.children:
        # No text of a part is here, so that the last one is the delimiter; what is before it is text of nobody.
        at = content.rindex(b"--" + old, end, child.start)
        if end == entity.body_start and content[end:at].strip():
            yield Splice(end, at, b"")
        yield from _renamed(at + 2, old, new)
        end = child.body_end
    final = re.compile(rb"(?:\r?\n)?--%b--[ \t]*+(?:\r?\n)?+" % re.escape(old)).match(content, end, entity.body_end)
    if final is not None:
        yield from _renamed(content.index(b"--" + old, end) + 2, old, new)
        if content[final.end() : entity.body_end].strip():
            yield Splice(final.end(), entity.body_end, b"")


def _renamed(at: int, old: bytes, new: bytes) -> Iterator[Splice]:
    if new != old:
        yield Splice(at, at + len(old), new)
