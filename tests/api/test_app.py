"""The api role, asked over real connections."""

import asyncio
import http.client
import json
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from mailrelay import metrics
from mailrelay.api.app import build
from mailrelay.api.problem import translate
from mailrelay.api.server import HttpServer, serve
from mailrelay.core.errors import Absent, BadConfig, Conflict, Malformed, Unavailable
from mailrelay.endpoint import Endpoint

LOOPBACK = Endpoint(host="127.0.0.1", port=0)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def _ask(
    connection: http.client.HTTPConnection, path: str, method: str, headers: Mapping[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


async def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    """One request in a thread, as the server lives in this one."""
    return await asyncio.to_thread(
        _ask, http.client.HTTPConnection("127.0.0.1", port, timeout=10), path, method, headers
    )


@dataclass
class Site:
    """The started application and what its health function will say."""

    components: Mapping[str, str] = field(default_factory=lambda: {"database": "ok"})
    server: HttpServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = serve(build(lambda: self.components), LOOPBACK)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.server.start()
    yield site
    await site.server.stop()


async def test_healthz_is_the_same_json_as_on_the_other_roles(site: Site) -> None:
    response, body = await ask(site.server.port, "/healthz")
    assert response.status == 200
    assert response.getheader("Content-Type") == "application/json"
    assert json.loads(body) == {"status": "ok", "components": {"database": "ok"}}
    site.components = {"database": "away"}
    response, body = await ask(site.server.port, "/healthz")
    assert response.status == 503
    assert json.loads(body) == {"status": "trouble", "components": {"database": "away"}}


async def test_head_is_get_without_a_body(site: Site) -> None:
    response, body = await ask(site.server.port, "/healthz", "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.getheader("Content-Length") or 0) > 0
    assert (await ask(site.server.port, "/metrics", "HEAD"))[0].status == 200


async def test_metrics_come_in_the_format_that_was_asked_for(site: Site) -> None:
    metrics.SOCKETMAP_ANSWERS.labels("other", "perm").inc()
    response, body = await ask(site.server.port, "/metrics")
    assert (response.getheader("Content-Type") or "").startswith("text/plain; version=")
    assert b'mailrelay_socketmap_answers_total{map="other",result="perm"}' in body
    response, body = await ask(site.server.port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (response.getheader("Content-Type") or "").startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/", "/healthz/", "/api/v1/aliases", "/%00", "/../etc/passwd"])
async def test_unknown_paths_are_a_problem(site: Site, path: str) -> None:
    response, body = await ask(site.server.port, path)
    assert response.status == 404
    assert response.getheader("Content-Type") == "application/problem+json"
    assert json.loads(body) == {"type": "about:blank", "title": "Not Found", "status": 404}


@pytest.mark.parametrize("path", ["/api/v1/aliases", "/api/", "/api/v1/a%0A", "/settings/%0Ab/c", "/api/v1/%00%FF"])
async def test_whatever_is_below_its_folders_is_the_api_s(path: str) -> None:
    server = serve(build(dict, (), PlainTextResponse("mine")), LOOPBACK)
    await server.start()
    assert [(await ask(server.port, path, method))[1] for method in ("GET", "PATCH")] == [b"mine"] * 2
    assert (await ask(server.port, "/apis"))[0].status == 404
    await server.stop()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_a_problem_that_names_the_allowed_ones(site: Site, method: str) -> None:
    response, body = await ask(site.server.port, "/healthz", method)
    assert response.status == 405
    assert {name.strip() for name in (response.getheader("Allow") or "").split(",")} == {"GET", "HEAD"}
    assert json.loads(body) == {"type": "about:blank", "title": "Method Not Allowed", "status": 405}


async def test_the_answer_does_not_tell_what_runs_here(site: Site) -> None:
    response, _ = await ask(site.server.port, "/healthz")
    assert response.getheader("Server") is None


def _raising(error: Exception) -> Starlette:
    async def handler(_: Request) -> Response:
        raise error

    app = Starlette(routes=[Route("/", handler)])
    translate(app)
    return app


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (Malformed("address has no @"), 400, "address has no @"),
        (Absent("no such alias"), 404, "no such alias"),
        (Conflict("that address is taken"), 409, "that address is taken"),
        (Unavailable("database at db.inbox.example is away"), 503, None),
        (RuntimeError("secret at /etc/mailrelay"), 500, None),
    ],
)
async def test_exceptions_become_problems_without_insides(error: Exception, status: int, detail: str | None) -> None:
    server = serve(_raising(error), LOOPBACK)
    await server.start()
    try:
        response, body = await ask(server.port, "/")
    finally:
        await server.stop()
    assert response.status == status
    assert response.getheader("Content-Type") == "application/problem+json"
    assert json.loads(body).get("detail") == detail
    assert response.getheader("Retry-After") == ("10" if status == 503 else None)


async def test_a_bug_in_the_middle_of_an_answer_breaks_the_connection() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"begun"
        raise RuntimeError("secret")

    async def handler(_: Request) -> Response:
        return StreamingResponse(chunks())

    app = Starlette(routes=[Route("/", handler)])
    translate(app)
    server = serve(app, LOOPBACK)
    await server.start()
    try:
        with pytest.raises(http.client.IncompleteRead) as caught:
            await ask(server.port, "/")
        assert b"secret" not in caught.value.partial
    finally:
        await server.stop()


async def test_a_taken_address_is_bad_configuration(site: Site) -> None:
    other = serve(build(dict), Endpoint(host="127.0.0.1", port=site.server.port))
    with pytest.raises(BadConfig, match="cannot listen there: Address already in use"):
        await other.start()
    await other.stop()
    assert (await ask(site.server.port, "/healthz"))[0].status == 200


async def test_a_unix_socket_serves_too_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "api"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(path))
    server = serve(build(dict), Endpoint(path=str(path)))
    await server.start()
    response, body = await asyncio.to_thread(_ask, _UnixConnection(path), "/healthz", "GET", {})
    assert response.status == 200
    assert json.loads(body) == {"status": "ok", "components": {}}
    await server.stop()
    assert not path.exists()


async def test_a_socket_in_a_missing_folder_is_bad_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="No such file or directory"):
        await serve(build(dict), Endpoint(path=str(tmp_path / "no" / "api"))).start()


async def test_signals_stay_ours() -> None:
    ours = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    server = serve(build(dict), LOOPBACK)
    await server.start()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == ours
    await server.stop()


async def test_stop_lets_a_request_under_way_end() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(_: Request) -> Response:
        begun.set()
        await go_on.wait()
        return PlainTextResponse("done")

    server = serve(Starlette(routes=[Route("/", handler)]), LOOPBACK)
    await server.start()
    asking = asyncio.create_task(ask(server.port, "/"))
    await begun.wait()
    stopping = asyncio.create_task(server.stop())
    go_on.set()
    assert (await asking)[1] == b"done"
    await stopping
    await server.stop()
