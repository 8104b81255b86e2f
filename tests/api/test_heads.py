"""Heads of HTTP requests: how large and how slow they may be, and what is said of those that are none."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mailrelay.api import heads
from mailrelay.api.heads import MAX_HEAD_OCTETS
from mailrelay.api.server import HttpServer, serve
from mailrelay.endpoint import Endpoint

LINE = b"POST / HTTP/1.1\r\nHost: relay.example\r\n"
FITS = b"X-Fill: " + b"a" * (MAX_HEAD_OCTETS - 200) + b"\r\n"


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def slow(_: Request) -> Response:
    await asyncio.sleep(1)
    return PlainTextResponse("slowly")


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    routes = [Route("/", echo, methods=["POST"]), Route("/slow", slow)]
    server = serve(Starlette(routes=routes), Endpoint(host="127.0.0.1", port=0))
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    await server.start()
    yield server
    await server.stop()
    assert complaints == []


async def told(server: HttpServer, *pieces: bytes) -> bytes:
    """What the server says until it hangs up; the pieces arrive one after another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)  # or the kernel would join them
        said = b""
        with suppress(ConnectionError):
            while more := await asyncio.wait_for(reader.read(65536), 10):
                said += more
        return said
    finally:
        writer.close()


def error(said: bytes) -> tuple[bytes, str]:
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    assert b"Connection: close" in head
    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
    document = json.loads(body)
    assert list(document) == ["error", "message", "code"]
    assert head.split(b" ")[1] == b"%d" % document["code"]
    return head.split(b" ")[1], document["error"]


async def test_a_head_that_fits(server: HttpServer) -> None:
    said = await told(server, LINE + b"Connection: close\r\nContent-Length: 5\r\n" + FITS + b"\r\nhello")
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\n5")


async def test_a_large_body_after_a_head_that_comes_in_pieces(server: HttpServer) -> None:
    body = b"b" * 300_000
    head = LINE + b"Connection: close\r\nContent-Length: 300000\r\n"
    assert (await told(server, head[:20], head[20:], FITS[:50], FITS[50:] + b"\r\n" + body)).endswith(b"\r\n\r\n300000")


async def test_requests_that_follow_each_other_have_heads_of_their_own(server: HttpServer) -> None:
    one = LINE + b"Content-Length: 100000\r\n" + FITS + b"\r\n" + b"b" * 100_000
    last = LINE + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    said = await told(server, one + one + last)
    assert said.count(b"HTTP/1.1 200 OK\r\n") == 3


@pytest.mark.parametrize(
    "pieces",
    [
        [LINE, b"X-Long: ", *[b"a" * 4096] * 9],  # one field that does not end
        [LINE, *[b"X-Many: a\r\n" * 400] * 9, b"\r\n"],
        [LINE + b"X-Many: a\r\n" * 5000 + b"\r\n"],
        [b"POST /", b"a" * (MAX_HEAD_OCTETS + 10), b" HTTP/1.1\r\n\r\n"],
    ],
    ids=["a field", "many fields", "at once", "target"],
)
async def test_heads_that_are_too_large(server: HttpServer, pieces: list[bytes]) -> None:
    assert error(await told(server, *pieces)) == (b"431", "headers_too_large")


async def test_trailers_that_do_not_end(server: HttpServer) -> None:
    """Their request waits for its body and hears nothing; it is theirs that ends."""
    head = LINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    assert (await told(server, head + b"X-T: a\r\n\r\n" + LINE + b"Connection: close\r\n\r\n")).count(b"200 OK") == 2
    said = await told(server, head + b"X-T: ", *[b"a" * 4096] * 20)
    assert said == b""


async def test_a_second_head_that_begins_with_the_first_body(server: HttpServer) -> None:
    first = LINE + b"Content-Length: 40000\r\n"
    second = LINE + b"Connection: close\r\nContent-Length: 0\r\n"
    said = await told(server, first, b"\r\n" + b"b" * 40_000 + second, b"\r\n")
    assert said.count(b"200 OK") == 2


async def test_an_empty_line_holds_no_connection(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.6)
    whole = LINE + b"Content-Length: 0\r\n\r\n"
    assert (await told(server, whole, b"\r\n")).count(b"HTTP/1.1") == 1


async def test_the_next_head_waits_for_the_answer_to_the_last(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.6)
    server._server.config.timeout_keep_alive = 0  # of a connection on which nothing comes
    slow = b"GET /slow HTTP/1.1\r\nHost: relay.example\r\n\r\n"
    first, _, rest = (await told(server, slow + LINE)).partition(b"slowly")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert error(rest) == (b"408", "request_timeout")


@pytest.mark.parametrize("line", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"GET  / x\r\n\r\n"])
async def test_what_is_no_request(server: HttpServer, line: bytes) -> None:
    assert error(await told(server, line)) == (b"400", "invalid_request")


async def test_heads_that_do_not_end(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.6)
    assert error(await told(server, LINE)) == (b"408", "request_timeout")
    whole = LINE + b"Content-Length: 0\r\n\r\n"
    first, _, second = (await told(server, whole, LINE)).partition(b"\r\n\r\n0")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert error(second) == (b"408", "request_timeout")


async def test_who_asks_nothing_hears_nothing(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 408 could be taken for the answer to a request that is just on its way."""
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.6)
    assert await told(server) == b""


async def test_slow_bodies_are_the_application_s_affair(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.6)
    head = LINE + b"Connection: close\r\nContent-Length: 80\r\n\r\n"
    assert (await told(server, head, *[b"a"] * 80)).endswith(b"\r\n\r\n80")
