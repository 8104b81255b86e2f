"""Netstrings: `5:hello,`. Source: D. J. Bernstein, http://cr.yp.to/proto/netstrings.txt."""

import re

from mailrelay.core.errors import Malformed

_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,5}):")
# A length whose colon has not arrived yet.
_LENGTH_BEGUN = re.compile(rb"|0|[1-9][0-9]{0,5}")


class Decoder:
    """Cuts a byte stream into the strings it carries.

    limit: octets one string may have, without length and comma. After Malformed the stream has lost
    its place: hang up.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The strings that `chunk` completes, in order. Raises Malformed as soon as none can follow."""
        buffer = self._rest + chunk
        strings: list[bytes] = []
        at = 0
        while head := _LENGTH.match(buffer, at):
            begin = head.end()
            end = begin + int(head[1])
            if end - begin > self._limit:
                raise Malformed(f"netstring of more than {self._limit} octets")
            if len(buffer) <= end:
                break
            if buffer[end] != ord(","):
                raise Malformed("netstring without a comma at its end")
            strings.append(buffer[begin:end])
            at = end + 1
        if head is None and not _LENGTH_BEGUN.fullmatch(buffer, at):
            raise Malformed("netstring without a length of at most six digits")
        self._rest = buffer[at:]
        return strings


def encode(data: bytes) -> bytes:
    """`data` as one netstring."""
    return b"%d:%b," % (len(data), data)
