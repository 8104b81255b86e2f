"""A program elsewhere that hears of events, and is not always well."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from mailrelay.core.webhooks import SIGNATURE, verify

_SOCKET_SECONDS = 10


@dataclass(slots=True)
class Receiver:
    """url: below it, everybody has a path. failing: the part of requests that it takes badly. unsigned: paths of those
    that were not signed with their secret."""

    url: str
    failing: float
    secrets: dict[str, str] = field(default_factory=dict)  # by path
    refused: int = 0
    unsigned: list[str] = field(default_factory=list)
    _taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _random: random.Random = field(default_factory=lambda: random.Random(5))

    def take(self, path: str, signature: str, content: bytes) -> int | None:
        """The status to answer with, None: hang up without a word, having taken it in all the same."""
        with self._lock:
            if not verify(self.secrets.get(path, ""), signature, content, int(time.time())):
                self.unsigned.append(path)
            dice = self._random.random()
            if dice < self.failing / 2:
                self.refused += 1
                return 503
            self._taken.append((path, json.loads(content)))
            if dice < self.failing:
                self.refused += 1
                return None
            return 204

    def heard(self, path: str) -> list[dict[str, Any]]:
        """Each event once, in the order in which they first came."""
        first: dict[str, dict[str, Any]] = {}
        for event in self.taken(path):
            first.setdefault(event["id"], event)
        return list(first.values())

    def taken(self, path: str) -> list[dict[str, Any]]:
        """Every time that an event came."""
        with self._lock:
            return [event for where, event in self._taken if where == path]


@contextmanager
def receiver(failing: float = 0.0) -> Iterator[Receiver]:
    """Listens on loopback. failing: 0 to 1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _SOCKET_SECONDS

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            status = found.take(self.path, self.headers[SIGNATURE], content)
            self.close_connection = status is None
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Receiver(f"http://127.0.0.1:{server.server_address[1]}", failing)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
