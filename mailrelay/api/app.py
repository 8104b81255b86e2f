"""The web application of the `api` role."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mailrelay.api.pages import Pages
from mailrelay.api.problem import translate
from mailrelay.health import Health, exposition, report


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
    both = [Route(f"/{root}/{{rest:path}}", addy) for root in ("api", "settings")] if addy is not None else []
    app = Starlette(routes=[Route("/healthz", healthz), Route("/metrics", metrics), *signed, *both])
    app.router.redirect_slashes = False  # an unknown path is 404, not a guess
    translate(app)
    return app
