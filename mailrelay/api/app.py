"""The web application of the `api` role."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailrelay.api.addy.app import Addy
from mailrelay.api.addy.endpoint import V1
from mailrelay.api.haltman.codelinks import PAGE
from mailrelay.api.problem import translate
from mailrelay.health import Health, exposition, report


class _Below(BaseRoute):
    """All paths that begin so. A Route would leave out those with a line feed in them."""

    def __init__(self, prefix: str, app: ASGIApp) -> None:
        self._prefix = prefix
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        found = scope["type"] == "http" and scope["path"].startswith(self._prefix)
        return (Match.FULL if found else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class Both:
    """The two APIs: what the addy.io API knows goes there, and all that begins as only its paths do."""

    def __init__(self, addy: Addy, haltman: ASGIApp) -> None:
        self._addy = addy
        self._haltman = haltman

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        its = path == V1 or path.startswith((f"{V1}/", "/settings/")) or self._addy.knows(path)
        await (self._addy if its else self._haltman)(scope, receive, send)


def build(health: Health, pages: Sequence[BaseRoute] = (), apis: ASGIApp | None = None) -> Starlette:
    """The application. health: also called in other threads; pages: of links in mails; apis: below their roots."""

    # Not coroutines, so that they run in threads: a scrape takes milliseconds, which other requests need not wait for.
    def healthz(_: Request) -> Response:
        status, body = report(health)
        return Response(body, status, {"Cache-Control": "no-store"}, media_type="application/json")

    def metrics(request: Request) -> Response:
        content_type, body = exposition(request.headers.get("Accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    if apis is not None:
        pages = [*pages, Route(f"/{PAGE}", apis)]
    below = [_Below(f"/{root}/", apis) for root in ("api", "settings")] if apis is not None else []
    app = Starlette(routes=[Route("/healthz", healthz), Route("/metrics", metrics), *pages, *below])
    app.router.redirect_slashes = False  # an unknown path is 404, not a guess
    translate(app)
    return app
