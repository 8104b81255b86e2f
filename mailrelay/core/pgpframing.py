"""The frames that OpenPGP packets and subpackets stand in (RFC 9580 sections 4.2 and 5.2.3.7)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mailrelay.core.certificate import KeyUnusable, Unusable

MAX_PACKETS = 2000
MAX_SUBPACKETS = 100  # of one area


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet: what it is, and what is in it."""

    tag: int  # RFC 9580 section 5, "type ID"
    body: bytes = field(repr=False)

    def framed(self) -> bytes:
        """As it is written, with a header of the present format."""
        return bytes((0xC0 | self.tag,)) + _length(len(self.body)) + self.body


@dataclass(frozen=True, slots=True)
class Subpacket:
    """One statement of a signature."""

    type: int
    is_critical: bool
    value: bytes


def packets(octets: bytes) -> list[Packet]:
    """All packets, in their order; packets in packets are not looked into.

    Raises KeyUnusable: too many, cut short, or with a length that only data may have (partial, indeterminate).
    """
    found: list[Packet] = []
    at = 0
    while at < len(octets):
        if len(found) == MAX_PACKETS:
            raise KeyUnusable(Unusable.TOO_COMPLEX)
        first = octets[at]
        if not first & 0x80:
            raise KeyUnusable(Unusable.BROKEN if found else Unusable.NOT_A_KEY)
        is_new = bool(first & 0x40)
        tag = first & 0x3F if is_new else first >> 2 & 0x0F
        size, start = _new_size(octets, at + 1) if is_new else _old_size(octets, at + 1, first & 3)
        at = start + size
        if at > len(octets):
            raise KeyUnusable(Unusable.BROKEN)
        found.append(Packet(tag, octets[start:at]))
    return found


def subpackets(area: bytes) -> Iterator[Subpacket] | None:
    """The statements in one area of a signature, None if it is damaged or has more than MAX_SUBPACKETS."""
    found: list[Subpacket] = []
    at = 0
    while at < len(area):
        try:
            size, at = _new_size(area, at, partial=False)
        except KeyUnusable:
            return None
        if size == 0 or at + size > len(area) or len(found) == MAX_SUBPACKETS:
            return None
        found.append(Subpacket(area[at] & 0x7F, bool(area[at] & 0x80), area[at + 1 : at + size]))
        at += size
    return iter(found)


def _new_size(octets: bytes, at: int, *, partial: bool = True) -> tuple[int, int]:
    """The length that stands there, and where its header ends. partial: 224 to 254 begin a partial length."""
    head = octets[at : at + 5]
    if head and head[0] < 192:
        return head[0], at + 1
    if len(head) >= 2 and head[0] < (224 if partial else 255):
        return (head[0] - 192 << 8) + head[1] + 192, at + 2
    if len(head) == 5 and head[0] == 255:
        return int.from_bytes(head[1:]), at + 5
    raise KeyUnusable(Unusable.BROKEN)


def _old_size(octets: bytes, at: int, kind: int) -> tuple[int, int]:
    width = 1 << kind
    if kind == 3 or at + width > len(octets):
        raise KeyUnusable(Unusable.BROKEN)
    return int.from_bytes(octets[at : at + width]), at + width


def _length(size: int) -> bytes:
    if size < 192:
        return bytes((size,))
    if size < 8384:
        return bytes((192 + (size - 192 >> 8), size - 192 & 0xFF))
    return b"\xff" + size.to_bytes(4)
