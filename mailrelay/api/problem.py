"""Errors as RFC 9457 problems, and the one place where our exceptions become HTTP."""

import http
import json
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mailrelay import log
from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable


def problem(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """A problem that its status explains; hence `about:blank`, RFC 9457 section 4.2.1.

    detail: what this caller can do about it; nothing about our insides.
    """
    body: dict[str, str | int] = {"type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    return Response(json.dumps(body), status, headers, media_type="application/problem+json")


def translate(app: Starlette) -> None:
    """Makes problems of whatever the handlers of app raise."""
    app.add_exception_handler(HTTPException, _from_http)
    app.add_exception_handler(Malformed, lambda _, error: problem(400, str(error)))
    app.add_exception_handler(Absent, lambda _, error: problem(404, str(error)))
    app.add_exception_handler(Conflict, lambda _, error: problem(409, str(error)))
    # Its text is for the log: it may name hosts.
    app.add_exception_handler(Unavailable, lambda *_: problem(503, headers={"Retry-After": "10"}))
    app.add_middleware(_Guard)


def _from_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    # The default detail is the phrase, which is the title already.
    detail = "" if error.detail == http.HTTPStatus(error.status_code).phrase else error.detail
    return problem(error.status_code, detail, error.headers)


class _Guard:
    """Around one request: what nobody translated is our bug. The log has the traceback, the caller does not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            log.logger().exception("http.failed")
            if begun:
                raise  # the answer cannot be taken back: the server breaks the connection
            await problem(500)(scope, receive, send)
