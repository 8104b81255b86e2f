"""Changes of a message by byte offsets: what is not named stays octet for octet."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mailrelay.core.header import Field
from mailrelay.core.mime import Entity


class Splice(NamedTuple):
    """Octets in place of those from start to end."""

    start: int
    end: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Placed:
    """A field of a header and where it stands."""

    start: int
    end: int
    field: Field


def spliced(content: bytes, splices: Iterable[Splice]) -> bytes:
    """The content changed. Those at one place come in the order of their ends; one within an earlier one is dropped."""
    pieces: list[bytes] = []
    at = 0
    for start, end, octets in sorted(splices, key=lambda one: one[:2]):
        if start < at:
            continue
        pieces += (content[at:start], octets)
        at = end
    return b"".join([*pieces, content[at:]])


def field_places(entity: Entity) -> Iterator[Placed]:
    """The fields of a part, with their offsets in the message."""
    at = entity.start
    for field in entity.fields:
        yield Placed(at, at + len(field.raw), field)
        at += len(field.raw)
