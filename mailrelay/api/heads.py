"""Bounds for the heads of HTTP requests, which uvicorn has none for, and words for those that make no sense."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_OCTETS = 32 * 1024  # target and fields together, as nginx has it
_PUNCTUATION_OCTETS = 4  # of a field: colon, space, CRLF
HEAD_SECONDS = 10.0  # from a connection, or the first octet of a further request, to the end of the head
_LINGER_SECONDS = 1.0  # whoever still sends when the connection closes would not see the answer

_CODES = {400: "invalid_request", 408: "request_timeout", 431: "headers_too_large"}
_SENTENCES = {
    400: "This is no HTTP request.",
    408: f"The head of the request did not come within {HEAD_SECONDS:g} seconds.",
    431: f"The head of the request is larger than {MAX_HEAD_OCTETS} octets.",
}


class _TooLarge(Exception):
    """Out of a callback of the parser, which makes it an error of its own."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Heads that are too large or too slow end it, with an answer; so do large trailers, without."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._reading = False  # within a head
        self._octets = 0  # of head and trailer, as far as the parser gave them to us
        self._gathered = 0  # octets that it keeps to itself
        self._moved = False  # it got on with a message, and so keeps nothing of what came before
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._ended:
            self._moved = False
            super().data_received(data)
            self._received(len(data))

    def _received(self, octets: int) -> None:
        self._gathered = 0 if self._moved else self._gathered + octets
        if self._ended:
            pass  # the parser, or a callback of it, had enough
        elif self._gathered > MAX_HEAD_OCTETS:
            self._end(431)
        elif self._deadline is None and not self._reading and self._is_idle:
            self._expect()  # an empty line, say, which ends uvicorn's own patience with idle connections

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading, self._moved, self._octets = True, True, 0
        if self._deadline is None:
            self._expect()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + _PUNCTUATION_OCTETS)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._reading, self._moved = False, True
        self._relax()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._moved = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser could not read, or we did not want to."""
        self._end(431 if self._octets > MAX_HEAD_OCTETS else 400)

    def timeout_keep_alive_handler(self) -> None:
        """A head that is under way has a deadline of its own."""
        if not self._reading:
            super().timeout_keep_alive_handler()

    @property
    def _is_idle(self) -> bool:
        """Nobody waits for an answer."""
        return self.cycle is None or self.cycle.response_complete

    def _count(self, octets: int) -> None:
        self._octets += octets
        if self._octets > MAX_HEAD_OCTETS:
            raise _TooLarge

    def _expect(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def _late(self) -> None:
        if not self._is_idle:
            self._expect()  # it is our turn
        elif self._reading:
            self._end(408)
        else:  # nobody asked anything
            self.transport.close()

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self, status: int) -> None:
        """Hang up; with an answer, unless an earlier request of the connection still waits for its own."""
        self._relax()
        self._ended = True
        if self._is_idle and not self.transport.is_closing():
            self.transport.write(_answer(status))
            self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()


def _answer(status: int) -> bytes:
    body = json.dumps({"error": _CODES[status], "message": _SENTENCES[status], "code": status}).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
