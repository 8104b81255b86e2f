"""A client of a milter that speaks as Postfix does (protocol 6), for one message after the other.

libmilter's mfdef.h has the protocol: packets of a length, a letter and octets. The milter tells at the beginning which
of them it answers.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tools.benchmark.letter import CLIENT, HELO, SENDER
from tools.sandbox.process import Trouble

_VERSION, _ACTIONS, _PROTOCOL = 6, 0x1FF, 0x1FFFFF  # what Postfix 3.7 offers
# By command: what the milter says of itself if it does not answer that one, or does not want to hear it.
_UNANSWERED = {
    b"C": 0x1000,
    b"H": 0x2000,
    b"M": 0x4000,
    b"R": 0x8000,
    b"T": 0x10000,
    b"L": 0x80,
    b"N": 0x40000,
    b"B": 0x80000,
}
_UNWANTED = {b"C": 0x1, b"H": 0x2, b"M": 0x4, b"R": 0x8, b"T": 0x200, b"L": 0x20, b"N": 0x40, b"B": 0x10}
_LEADING_SPACE = 0x100000
_CONTINUE, _CHANGES = b"c", frozenset((b"h", b"i", b"m"))
_CHUNK_OCTETS = 65535
_SILENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """A message cut into what a milter gets: name and value of each field, then the body."""

    header: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @classmethod
    def of(cls, content: bytes) -> "Spoken":
        """content: with CRLF line ends. Header values keep the space before them and have bare newlines."""
        head, _, body = content.partition(b"\r\n\r\n")
        fields: list[bytes] = []
        for line in head.split(b"\r\n"):
            if line.startswith((b" ", b"\t")):
                fields[-1] += b"\n" + line
            else:
                fields.append(line)
        return cls(tuple((name, value) for name, _, value in (field.partition(b":") for field in fields)), body)


def examined(path: Path, spoken: Spoken, rcpt: str, queue_id: str) -> list[bytes]:
    """What the milter adds to or changes in a message that it accepts; Trouble if it does not.

    A connection for each message, as for an SMTP client that sends one. path: its socket.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SILENCE_SECONDS)
        connection.connect(str(path))
        with connection.makefile("rb") as answers:
            return _Conversation(connection, answers).examined(spoken, rcpt, queue_id)


class _Conversation:
    def __init__(self, connection: socket.socket, answers: BinaryIO) -> None:
        self._connection = connection
        self._input = answers
        self._unsent: list[bytes] = []
        self._protocol = 0

    def examined(self, spoken: Spoken, rcpt: str, queue_id: str) -> list[bytes]:
        self._negotiate()
        for letter, data in _commands(spoken, rcpt, queue_id):
            self._say(letter, data)
        self._send(b"E")
        changes = []
        while (answer := self._hear())[:1] in _CHANGES:
            changes.append(answer)
        if answer != _CONTINUE:
            raise Trouble(f"the milter said {answer!r} at the end of a message")
        self._send(b"Q")
        self._flush()
        return changes

    def _negotiate(self) -> None:
        self._send(b"O", struct.pack(">III", _VERSION, _ACTIONS, _PROTOCOL))
        answer = self._hear()
        if answer[:1] != b"O" or len(answer) < 13:
            raise Trouble(f"the milter answered {answer!r} to the offer of protocol {_VERSION}")
        self._protocol = struct.unpack(">III", answer[1:13])[2]
        if not self._protocol & _LEADING_SPACE:
            raise Trouble("the milter wants header values otherwise than they are")

    def _say(self, letter: bytes, data: bytes) -> None:
        if self._protocol & _UNWANTED.get(letter, 0):
            return
        self._send(letter, data)
        unanswered = letter == b"D" or self._protocol & _UNANSWERED[letter]
        if not unanswered and (answer := self._hear()) != _CONTINUE:
            raise Trouble(f"the milter said {answer!r} to {letter.decode()}")

    def _send(self, letter: bytes, data: bytes = b"") -> None:
        """Sent together with what comes until an answer is due."""
        self._unsent.append(struct.pack(">I", len(data) + 1) + letter + data)

    def _flush(self) -> None:
        self._connection.sendall(b"".join(self._unsent))
        self._unsent.clear()

    def _hear(self) -> bytes:
        self._flush()
        length = self._input.read(4)
        if len(length) < 4:
            raise Trouble("the milter hung up")
        return self._input.read(struct.unpack(">I", length)[0])


def _commands(spoken: Spoken, rcpt: str, queue_id: str) -> Iterator[tuple[bytes, bytes]]:
    """All that is said from the connection to the body; before a command the macros that go with it."""
    client, sender, to = CLIENT.encode(), SENDER.encode(), rcpt.encode()
    number = queue_id.encode()
    yield _macros(b"C", b"{client_addr}", client, b"{client_name}", b"unknown", b"{client_port}", b"40312")
    yield b"C", b"unknown\0" + b"4" + struct.pack(">H", 40312) + client + b"\0"
    yield b"H", HELO.encode() + b"\0"
    yield _macros(b"M", b"{mail_addr}", sender)
    yield b"M", b"<" + sender + b">\0"
    yield _macros(b"R", b"{rcpt_addr}", to)
    yield b"R", b"<" + to + b">\0"
    yield _macros(b"T", b"i", number)
    yield b"T", b""
    for name, value in (*spoken.header, (b"Message-ID", b" <" + number + b"@mx.relay.example>")):
        yield b"L", name + b"\0" + value + b"\0"
    yield b"N", b""
    for at in range(0, len(spoken.body), _CHUNK_OCTETS):
        yield b"B", spoken.body[at : at + _CHUNK_OCTETS]
    yield _macros(b"E", b"i", number)


def _macros(command: bytes, *names_and_values: bytes) -> tuple[bytes, bytes]:
    return b"D", command + b"\0".join(names_and_values) + b"\0"
