"""The web application of the `api` role."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailrelay.api.pages import Pages
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


def build(health: Health, pages: Pages | None = None, addy: ASGIApp | None = None) -> Starlette:
    """The application.

    health: also called in other threads; pages: of signed links, None if there are no links; addy: the addy.io API.
    """

    # Not coroutines, so that they run in threads: a scrape takes milliseconds, which other requests need not wait for.
    def healthz(_: Request) -> Response:
        status, body = report(health)
        return Response(body, status, {"Cache-Control": "no-store"}, media_type="application/json")

    def metrics(request: Request) -> Response:
        content_type, body = exposition(request.headers.get("Accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    signed = pages.routes() if pages is not None else []
    both = [_Below(f"/{root}/", addy) for root in ("api", "settings")] if addy is not None else []
    app = Starlette(routes=[Route("/healthz", healthz), Route("/metrics", metrics), *signed, *both])
    app.router.redirect_slashes = False  # an unknown path is 404, not a guess
    translate(app)
    return app
