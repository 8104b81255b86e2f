"""The Haltman API as an ASGI application: paths, bodies, the order of checks (haltman-api.md sections 2.1 to 2.5)."""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mailrelay import log, metrics
from mailrelay.api.client import client
from mailrelay.api.haltman import given
from mailrelay.api.haltman.call import Call, Value
from mailrelay.api.haltman.endpoint import NO_STORE, ROOT, Access, Endpoint
from mailrelay.api.haltman.gate import Gate, origin
from mailrelay.api.haltman.problems import Problem
from mailrelay.core.errors import Absent, Busy, Conflict, Malformed, Unavailable
from mailrelay.core.inquiry import client_network
from mailrelay.core.people import KeyHolder, KeyUse

MAX_BODY_OCTETS = 32 * 1024
_MAX_USER_AGENT = 255
_BODY_SECONDS = 20.0
_RETRY_SECONDS = 10
_REPEATS = 2
_PAUSE_SECONDS = (0.025, 0.12)
_WITH_BODY = ("POST", "PATCH")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}")
# Section 2.2.
_ALWAYS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';"
        "img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';"
        "style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where people meet the service. url: public, '' if unknown; origins: others that may use it.

    bot_secret: of front ends that tell for whom they ask, '' for none.
    """

    url: str = ""
    origins: tuple[str, ...] = ()
    credentials: bool = True
    bot_secret: str = ""

    def allows(self, said: str) -> bool:
        return bool(said) and said in {normalised(one) for one in (self.url, *self.origins) if one}


class Haltman:
    """Answers for its endpoints."""

    def __init__(self, endpoints: Sequence[Endpoint], gate: Gate, site: Site, clock: Callable[[], datetime]) -> None:
        self.endpoints = tuple(endpoints)
        self._gate = gate
        self._site = site
        self._clock = clock
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
        call = self._call(request, sent_id)
        try:
            call, response = await self._answer(request, call, methods, endpoint)
        except Problem as problem:
            response = _refusal(problem, call, endpoint)
        except ClientDisconnect:
            return
        except Exception as error:
            response = _refusal(_trouble(error, call.request_id), call, endpoint)
        self._finish(response, call, endpoint)
        name = endpoint.path if endpoint is not None else "none"
        method = request.method if endpoint is not None else "none"
        metrics.API_REQUESTS.labels("haltman", method, name, str(response.status_code)).inc()
        metrics.API_SECONDS.labels("haltman").observe(time.perf_counter() - begun)
        await response(scope, receive, send)
        if endpoint is not None and call.found_holder is not None:
            await self._log(call, call.found_holder, endpoint.operation, response.status_code)

    async def _answer(
        self, request: Request, call: Call, methods: Mapping[str, Endpoint], endpoint: Endpoint | None
    ) -> tuple[Call, Response]:
        if request.method == "OPTIONS" and self._site.allows(_origin_of(request)):
            return call, _preflight(request)
        read = endpoint is not None and request.method in _WITH_BODY
        call = replace(call, body=await _body(request, call, endpoint if read else None))
        await self._gate.admit(call, endpoint)
        # What is below /api/admin tells nothing to others, not even what is not there.
        guarded = call.path.startswith(f"{ROOT}/admin/") or call.path == f"{ROOT}/admin"
        access = endpoint.access if endpoint is not None else Access.OPEN
        call = await self._gate.access(call, Access.ADMIN if guarded else access)
        if endpoint is None:
            raise Problem(404, "not_found")
        if request.method == "HEAD" and not endpoint.safe:
            raise Problem(405, "method_not_allowed", headers={"Allow": ", ".join(sorted(methods))})
        try:
            return call, await _carried_out(endpoint, call)
        except Problem as problem:
            return call, _refusal(problem, call, endpoint)
        except ClientDisconnect:
            raise
        except Exception as error:  # who made the request is known by now, which the log wants
            return call, _refusal(_trouble(error, call.request_id), call, endpoint)

    def _call(self, request: Request, sent_id: str) -> Call:
        headers, asker = request.headers, client(request)
        said = headers.get("X-Request-Id", "").strip()
        line = client_network(asker) if ":" in asker else asker
        return Call(
            method=request.method,
            path=_canonical(request.scope["path"]),
            query=given.pairs(request.scope["query_string"]),
            body={},
            id=sent_id,
            client=asker,
            origin=origin(line, headers, self._site.bot_secret),
            user_agent=headers.get("User-Agent", "")[:_MAX_USER_AGENT],
            headers=headers,
            cookies=given.cookies(headers.getlist("Cookie")),
            base_url=self._base(request),
            request_id=said if _REQUEST_ID.fullmatch(said) else str(uuid4()),
            now=self._clock(),
        )

    def _base(self, request: Request) -> str:
        """Of the site on which the user is, if it is one of ours (section 4.4); '' if ours is unknown.

        Whoever asks writes the Host header, and others get the mail: it is no place to lead them to.
        """
        headers = request.headers
        for said in (normalised(headers.get("Origin", "")), normalised(headers.get("Referer", ""))):
            if self._site.allows(said):
                return said
        return self._site.url

    def _find(self, path: str) -> tuple[Mapping[str, Endpoint], str]:
        """The endpoints of a path by method, {} if there is none, and the id in it."""
        segments = _segments(path)
        methods = self._paths.get(segments)
        if methods is not None:
            return methods, ""
        for position in range(len(segments) - 1, 0, -1):
            methods = self._paths.get((*segments[:position], "{id}", *segments[position + 1 :]))
            if methods is not None and segments[position]:
                return methods, segments[position]
        return {}, ""

    def _finish(self, response: Response, call: Call, endpoint: Endpoint | None) -> None:
        """Headers that every answer has."""
        caching = endpoint.caching if endpoint is not None and response.status_code < 400 else NO_STORE
        for name, value in {**_ALWAYS, **caching, "x-request-id": call.request_id}.items():
            response.headers.setdefault(name, value)
        said = normalised(call.headers.get("Origin", ""))
        if self._site.allows(said):
            response.headers["Access-Control-Allow-Origin"] = said
            response.headers.append("Vary", "Origin")
            response.headers["Access-Control-Expose-Headers"] = "Retry-After, x-request-id"
            if self._site.credentials:
                response.headers["Access-Control-Allow-Credentials"] = "true"

    async def _log(self, call: Call, holder: KeyHolder, operation: str, status: int) -> None:
        """The answer is out already: whatever happens is for our own log, which is told no row (D-37)."""
        alias = call.notes.get("alias", "")
        use = KeyUse(holder, call.path, operation, status, call.request_id, alias, call.client, call.user_agent)
        try:
            await self._gate.keys.log(use)
        except Exception as error:
            log.logger().error("http.not_logged", problem=type(error).__name__, request=call.request_id)


def normalised(url: str) -> str:
    """scheme://host[:port] of an http address, lower case; '' for anything else."""
    try:
        parts = urlsplit(url.strip().lower())
        return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.hostname else ""
    except ValueError:
        return ""


def _origin_of(request: Request) -> str:
    return normalised(request.headers.get("Origin", ""))


def _canonical(path: str) -> str:
    """Capitals and a slash at the end make no other path (section 2.1)."""
    return path.lower().removesuffix("/")


def _segments(path: str) -> tuple[str, ...]:
    return tuple(_canonical(path).removeprefix("/").split("/"))


def _preflight(request: Request) -> Response:
    headers = {
        "Access-Control-Allow-Methods": "GET,HEAD,PUT,PATCH,POST,DELETE",
        "Vary": "Access-Control-Request-Headers",
    }
    wanted = request.headers.get("Access-Control-Request-Headers")
    if wanted:
        headers["Access-Control-Allow-Headers"] = wanted
    return Response(status_code=204, headers=headers)


async def _body(request: Request, call: Call, endpoint: Endpoint | None) -> Mapping[str, Value]:
    """Members of the body. endpoint None: nobody wants it, so that nothing can be wrong with it but its size."""
    close = {"Connection": "close"}
    content = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MAX_BODY_OCTETS:
                    raise Problem(413, "payload_too_large", headers=close)
    except TimeoutError as error:
        raise Problem(408, "request_timeout", headers=close) from error
    if endpoint is None:
        return {}
    try:
        return given.members(call.headers.get("Content-Type", ""), bytes(content))
    except Malformed as error:
        raise Problem(400, "invalid_params", reason="invalid_json") from error


def _refusal(problem: Problem, call: Call, endpoint: Endpoint | None) -> Response:
    if endpoint is not None and endpoint.refusal is not None:
        return endpoint.refusal(problem)
    return problem.response(call.request_id)


async def _carried_out(endpoint: Endpoint, call: Call) -> Response:
    """What the handler makes of it. Where others are in the way it tries again, as section 2.7 has it."""
    for _ in range(_REPEATS):
        try:
            return await endpoint.handler(call)
        except Busy as error:
            log.logger().info("http.repeated", problem=str(error), request=call.request_id)
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311
    return await endpoint.handler(call)


def _trouble(error: Exception, request_id: str) -> Problem:
    """What an exception says that no handler has caught. Texts for operators stay in our log."""
    match error:
        case Unavailable():
            log.logger().warning("http.unavailable", problem=str(error), request=request_id)
            return _later()
        case Absent() | Conflict():
            # Somebody was faster; what stands against it for long is the handlers' to say. Its text names mailboxes.
            log.logger().info("http.conflict", problem=type(error).__name__, request=request_id)
            return _later()
    log.logger().error("http.failed", exc_info=error, request=request_id)
    return Problem(500, "internal_error")


def _later() -> Problem:
    return Problem(503, "temporarily_unavailable", headers={"Retry-After": str(_RETRY_SECONDS)})
