"""Serves a web application over HTTP, inside our event loop."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from mailrelay.api.heads import BoundedProtocol
from mailrelay.core.errors import BadConfig
from mailrelay.endpoint import Endpoint

_STOP_SECONDS = 5  # for requests under way; then they are cancelled


def serve(app: ASGIApp, endpoint: Endpoint) -> "HttpServer":
    """A server that is not started yet."""
    return HttpServer(app, endpoint)


class HttpServer:
    """uvicorn, tamed: our loop, our signals, our log."""

    def __init__(self, app: ASGIApp, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                loop="none",
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # The reverse proxy on this host tells who the client is; nobody else is believed.
                forwarded_allow_ips=["127.0.0.1", "::1"],
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )

    @property
    def port(self) -> int:
        """The port in use, also when the endpoint's was 0. Only between start and stop, and not for unix sockets."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Returns when connections are taken. Raises BadConfig when the address cannot be used."""
        # uvicorn would answer an unusable address with sys.exit, so the socket is made here.
        self._socket = _bind(self._endpoint)
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="http")
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait((self._task, up), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Takes no new requests, lets those under way end, and closes. Does nothing when not started."""
        if self._task is None:
            return
        self._server.should_exit = True
        await self._task
        self._task = self._socket = None
        if self._endpoint.path:
            with suppress(FileNotFoundError):
                os.unlink(self._endpoint.path)


class _Uvicorn(uvicorn.Server):
    """Leaves signals to us and tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_UNIX if endpoint.path else socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if endpoint.path:
            with suppress(FileNotFoundError):
                os.unlink(endpoint.path)  # left behind by a killed predecessor
            sock.bind(endpoint.path)
            os.chmod(endpoint.path, 0o666)  # noqa: S103  # the folder's mode decides who may connect
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((endpoint.host, endpoint.port))
    except OSError as error:
        sock.close()
        raise BadConfig((f"{endpoint}: cannot listen there: {error.strerror or error}",)) from error
    return sock
