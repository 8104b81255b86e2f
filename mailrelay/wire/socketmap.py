"""The socketmap protocol of Postfix: look-ups in, one reply out for each. Source: socketmap_table(5)."""

from dataclasses import dataclass
from typing import assert_never

from mailrelay.core.errors import Malformed
from mailrelay.wire import netstring

# What the client of Postfix accepts.
REPLY_OCTETS = 100_000


@dataclass(frozen=True, slots=True)
class Lookup:
    """One question. Both are UTF-8 with surrogateescape, as in wire.policy."""

    map: str  # the name of the map
    key: str


@dataclass(frozen=True, slots=True)
class Ok:
    """Found."""

    data: str  # never empty


@dataclass(frozen=True, slots=True)
class NotFound:
    """Not in the map."""


@dataclass(frozen=True, slots=True)
class Temp:
    """Nobody can say at the moment; Postfix defers the mail."""

    reason: str


@dataclass(frozen=True, slots=True)
class Timeout:
    """No answer in time; Postfix treats it like Temp."""

    reason: str


@dataclass(frozen=True, slots=True)
class Perm:
    """This question will never have an answer; Postfix defers the mail and logs the reason."""

    reason: str


Reply = Ok | NotFound | Temp | Timeout | Perm


class Decoder:
    """Cuts a byte stream into look-ups. limit: octets one may have."""

    def __init__(self, limit: int = 100_000) -> None:
        self._strings = netstring.Decoder(limit)

    def feed(self, chunk: bytes) -> list[Lookup]:
        """The look-ups that `chunk` completes, in order. Raises Malformed: hang up then."""
        return [_lookup(payload) for payload in self._strings.feed(chunk)]


def _lookup(payload: bytes) -> Lookup:
    name, space, key = payload.decode("utf-8", "surrogateescape").partition(" ")
    if not (name and space):
        raise Malformed("socketmap request is not a map name, a space and a key")
    if "\0" in name or "\0" in key:
        raise Malformed("socketmap request with a NUL octet")
    return Lookup(name, key)


def encode(reply: Reply) -> bytes:
    """The octets of a reply, netstring included.

    Raises ValueError for text that is not printable, an empty Ok (Postfix takes it for a broken map)
    and a reply longer than Postfix reads.
    """
    match reply:
        case Ok(data):
            if not data:
                raise ValueError("socketmap data is empty")
            word, text = "OK", data
        case NotFound():
            word, text = "NOTFOUND", ""
        case Temp(reason):
            word, text = "TEMP", reason
        case Timeout(reason):
            word, text = "TIMEOUT", reason
        case Perm(reason):
            word, text = "PERM", reason
        case _:
            assert_never(reply)
    if not text.isprintable():
        raise ValueError(f"not printable: {text!r}")
    # NOTFOUND, too, has its space: without one Postfix calls the reply malformed.
    payload = f"{word} {text}".encode()
    if len(payload) > REPLY_OCTETS:
        raise ValueError(f"socketmap reply of more than {REPLY_OCTETS} octets")
    return netstring.encode(payload)
