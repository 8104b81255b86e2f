"""`/healthz` and `/metrics` of a role, from a thread: a scrape takes milliseconds, which mail need not wait for."""

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry

from mailrelay import log
from mailrelay.core.errors import BadConfig
from mailrelay.endpoint import Endpoint
from mailrelay.health import Health, exposition, report

_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class Status:
    """A small web server in a daemon thread."""

    def __init__(self) -> None:
        self._server: _Server | None = None
        self._thread: Thread | None = None

    def start(self, endpoint: Endpoint, health: Health, registry: CollectorRegistry = REGISTRY) -> None:
        """Serve from now on. health and what registry holds are called in other threads.

        Raises BadConfig when the address cannot be used; unix sockets are not supported.
        """
        if endpoint.path:
            raise BadConfig((f"{endpoint}: the status page needs an IP address and port",))
        try:
            self._server = _Server(endpoint, health, registry)
        except OSError as error:
            raise BadConfig((f"{endpoint}: cannot listen there: {error.strerror or error}",)) from error
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="status", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port in use, also when the endpoint's was 0. Only between start and stop."""
        assert self._server is not None
        return self._server.server_port

    def stop(self) -> None:
        """Close the port; does nothing when not started."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None


class _Server(ThreadingHTTPServer):
    """One thread a connection."""

    block_on_close = False  # whoever still reads does not hold up our end

    def __init__(self, endpoint: Endpoint, health: Health, registry: CollectorRegistry) -> None:
        self.health = health
        self.registry = registry
        self.address_family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        super().__init__((endpoint.host, endpoint.port), _Handler)

    def server_bind(self) -> None:
        """Without the base class' reverse look-up of our own address, which can hang for seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: what ends up here are connections that a scraper broke off."""


class _Handler(BaseHTTPRequestHandler):
    """Logs no requests, and waits for nobody longer than 10 seconds."""

    server: _Server
    server_version = "mailrelay"
    sys_version = ""  # would be Python's
    timeout = 10

    def do_GET(self) -> None:
        try:
            status, headers, body = self._answer(self.path.partition("?")[0])
        except Exception:
            log.logger().exception("status.failed")
            status, headers, body = 500, _TEXT, b"internal error\n"
        self._send(status, headers, body)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._send(405, {**_TEXT, "Allow": "GET, HEAD"}, b"GET and HEAD only\n")

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

    def _answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/metrics":
            content_type, body = exposition(self.headers.get("Accept", ""), self.server.registry)
            return 200, {"Content-Type": content_type}, body
        if path == "/healthz":
            status, body = report(self.server.health)
            return status, {"Content-Type": "application/json", "Cache-Control": "no-store"}, body
        return 404, _TEXT, b"there are /healthz and /metrics\n"

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: scrapes every few seconds are no news."""
