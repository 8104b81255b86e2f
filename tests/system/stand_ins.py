"""Small servers in the place of mailrelay's own, for tests about Postfix alone."""

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiosmtpd.controller import Controller

from tools.sandbox import ports


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def _serving(handler: type[socketserver.StreamRequestHandler]) -> Iterator[int]:
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def socketmap(answers: Mapping[str, str]) -> Iterator[int]:
    """The port of a socketmap server. answers: `MAP KEY` -> value; anything else is not found."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while size := b"".join(iter(lambda: self.rfile.read(1).strip(b":"), b"")):
                question = self.rfile.read(int(size) + 1)[:-1].decode()
                answer = f"OK {answers[question]}" if question in answers else "NOTFOUND "
                self.wfile.write(f"{len(answer)}:{answer},".encode())

    with _serving(Handler) as port:
        yield port


@contextmanager
def policy(actions: Mapping[str, str]) -> Iterator[int]:
    """The port of a policy server. actions: recipient -> action; DUNNO for anybody else."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            recipient = ""
            for line in self.rfile:
                name, _, value = line.decode().strip().partition("=")
                recipient = value if name == "recipient" else recipient
                if not name:
                    self.wfile.write(f"action={actions.get(recipient, 'DUNNO')}\n\n".encode())

    with _serving(Handler) as port:
        yield port


@contextmanager
def smtp(handler: Any, controller: type[Controller] = Controller) -> Iterator[int]:
    """The port of an SMTP server, or another that the controller makes, whose commands the handler answers."""
    (port,) = ports.pick(1)
    server = controller(handler, hostname="127.0.0.1", port=port)
    server.start()
    try:
        yield port
    finally:
        server.stop()
