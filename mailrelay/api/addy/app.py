"""The addy.io API as an ASGI application: paths, bodies, the order of checks (addy-api.md sections 1.1 to 1.5)."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mailrelay import log, metrics
from mailrelay.api.addy import php
from mailrelay.api.addy.call import Call
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.gate import Gate
from mailrelay.api.addy.problems import UNAUTHENTICATED, UNAVAILABLE, Plain, Problem
from mailrelay.api.client import client
from mailrelay.core.errors import Absent, Conflict, Malformed, NoAccount, Unavailable

# Bodies of a megabyte are refused; the largest sensible one is an OpenPGP key.
MAX_BODY_OCTETS = 1_000_000
_BODY_SECONDS = 20.0
_RETRY_SECONDS = 10
_ORDER = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ALWAYS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-cache, private",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Cache-Control, Content-Language, Content-Type, Expires, Last-Modified, Pragma",
    "X-Content-Type-Options": "nosniff",
}
_PREFLIGHT: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE, PATCH, OPTIONS",
    "Access-Control-Max-Age": "0",
}


class Addy:
    """Answers for its endpoints. url: how the world reaches us, '' to believe the Host header."""

    def __init__(self, endpoints: Sequence[Endpoint], gate: Gate, clock: Callable[[], datetime], url: str = "") -> None:
        self._gate = gate
        self._clock = clock
        self._url = url
        self._paths: dict[tuple[str, ...], dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            methods = self._paths.setdefault(_segments(endpoint.full_path), {})
            if endpoint.method in methods:
                raise ValueError(f"{endpoint.method} {endpoint.full_path} is there twice")
            methods[endpoint.method] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        begun = time.perf_counter()
        methods, sent_id = self._find(scope["path"])
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
        try:
            response = await self._answer(request, methods, endpoint, sent_id)
        except Problem as problem:
            response = problem.response()
        except ClientDisconnect:
            return
        except Exception as error:
            response = _trouble(error).response()
        for name, value in _ALWAYS.items():
            response.headers.setdefault(name, value)
        name = endpoint.path if endpoint is not None else "none"
        metrics.API_REQUESTS.labels(
            "addy", request.method if endpoint else "none", name, str(response.status_code)
        ).inc()
        metrics.API_SECONDS.labels("addy").observe(time.perf_counter() - begun)
        await response(scope, receive, send)

    def knows(self, path: str) -> bool:
        """Whether there is an endpoint, of whatever method."""
        return bool(self._find(path)[0])

    async def _answer(
        self, request: Request, methods: Mapping[str, Endpoint], endpoint: Endpoint | None, sent_id: str
    ) -> Response:
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            wanted = request.headers.get("Access-Control-Request-Headers")
            allowed = {"Access-Control-Allow-Headers": wanted} if wanted else {}
            return Response(status_code=204, headers={**_PREFLIGHT, **allowed})
        path = str(request.scope["path"]).strip("/")
        if not methods:
            raise Plain(404, f"The route {path} could not be found.")
        if endpoint is None:
            return _other_method(request.method, path, methods)
        asker = client(request)
        now = self._clock()
        passed = await self._gate(endpoint, request.headers.get("Authorization", ""), asker, now)
        try:
            query, given = await _input(request)
            url = f"{self._url or str(request.base_url).rstrip('/')}/{path}"
            call = Call(passed.caller, given, query, sent_id, url, asker, now, request.headers)
            response = await endpoint.handler(call)
        except Problem as problem:
            problem.headers.update(passed.headers)
            raise
        response.headers.update(passed.headers)
        return response

    def _find(self, path: str) -> tuple[Mapping[str, Endpoint], str]:
        """The endpoints of a path by method, {} if there is none, and the id in it."""
        segments = _segments(path)
        methods = self._paths.get(segments)
        if methods is not None:
            return methods, ""
        for position in range(len(segments) - 1, 0, -1):
            if not segments[position]:
                continue
            methods = self._paths.get((*segments[:position], "{id}", *segments[position + 1 :]))
            if methods is not None:
                return methods, segments[position]
        return {}, ""


def _segments(path: str) -> tuple[str, ...]:
    """A trailing slash means the same path."""
    return tuple(path.removeprefix("/").removesuffix("/").split("/"))


def _other_method(method: str, path: str, methods: Mapping[str, Endpoint]) -> Response:
    known = {*methods, *(("HEAD",) if "GET" in methods else ())}
    allow = ", ".join(one for one in _ORDER if one in known)
    if method == "OPTIONS":
        return Response(status_code=200, headers={"Allow": allow})
    message = f"The {method} method is not supported for route {path}. Supported methods: {allow}."
    raise Plain(405, message, {"Allow": allow})


async def _input(request: Request) -> tuple[php.Pairs, dict[str, php.Value]]:
    """The query as it came, and query and body as one input. Raises Plain for what cannot be read."""
    content = await _body(request)
    try:
        query = php.pairs(request.scope["query_string"].decode("latin-1"))
        given = php.merged(php.nested(query), php.form(request.headers.get("Content-Type", ""), content))
    except Malformed as error:
        raise Plain(400, f"Bad request: {error}.") from error
    return query, given


async def _body(request: Request) -> bytes:
    close = {"Connection": "close"}
    content = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MAX_BODY_OCTETS:
                    raise Plain(413, f"The body is larger than {MAX_BODY_OCTETS} octets.", close)
    except TimeoutError as error:
        raise Plain(408, "The body took too long.", close) from error
    return bytes(content)


def _trouble(error: Exception) -> Problem:
    """What an exception says that no handler has caught."""
    match error:
        case Unavailable():
            log.logger().warning("http.unavailable", problem=str(error))
            return Plain(*UNAVAILABLE, headers={"Retry-After": str(_RETRY_SECONDS)})
        case NoAccount():
            return Plain(*UNAUTHENTICATED)  # its tokens went with it
        # Their texts are written for operators: they may name other people's things, and mailboxes.
        case Absent():
            log.logger().info("http.absent", problem=type(error).__name__)
            return Plain(404, "Not found.")  # such as what was made, and taken away before it could be shown
        case Conflict():
            log.logger().info("http.conflict", problem=type(error).__name__)
            return Plain(409, "This clashes with how things are by now. Look again, then repeat it.")
        case Malformed():
            return Plain(400, str(error))
    log.logger().error("http.failed", exc_info=error)
    return Plain(500, "Server Error")
