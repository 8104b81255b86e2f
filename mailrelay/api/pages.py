"""Signed links over HTTP: GET shows a page with one button, only POST acts (spec section 8.2).

Nothing here needs scripts, cookies or a login. Whoever has a link may use it; the signature is all the authority.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mailrelay import metrics
from mailrelay.api import wording
from mailrelay.api.client import client
from mailrelay.api.sheet import SAFE, Form, Text, page
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.links import FORM_SECONDS, Invalid, Links, Purpose, verify
from mailrelay.core.oneclick import Visitor, Wish, action_of, wish
from mailrelay.flows.oneclick import Declined, OneClick, Trouble
from mailrelay.flows.ports import Clock

MAX_BODY_OCTETS = 64 * 1024
_BODY_SECONDS = 10.0  # a proxy in front has read all of it before it asks us
_RETRY_SECONDS = 10
_METHODS = ("GET", "HEAD", "POST")
_MAX_USER_AGENT = 300

_BOUNDARY = re.compile(r"boundary=(?:\"([^\"]{1,70})\"|([^\s;\"]{1,70}))", re.IGNORECASE)
_PART = re.compile(rb"[\r\n][ \t]*content-disposition:[^\r\n]*;[ \t]*name=\"?list-unsubscribe\"?[ \t]*(?:[;\r\n])")


class _Stop(Exception):
    """Answers with a page that says why nothing happened. status: of HTTP."""

    def __init__(self, status: int, text: Text, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text.title)
        self.status = status
        self.text = text
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages. keys: sign links, the first those that are made here; product: how the installation calls itself."""

    story: OneClick
    keys: Sequence[bytes]
    is_public_suffix: Callable[[str], bool]
    clock: Clock
    product: str = "mailrelay"

    def routes(self) -> list[Route]:
        """What the application adds to its own."""
        return [Route("/u/{rest:path}", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except _Stop as stop:
            response = self._problem(request, stop)
        except Unavailable:
            headers = {"Retry-After": str(_RETRY_SECONDS)}
            response = self._problem(request, _Stop(503, wording.UNAVAILABLE, headers))
        except ClientDisconnect:
            return
        action = action_of(_path(request))
        metrics.LINKS.labels(action.value if action is not None else "none", str(response.status_code)).inc()
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if action_of(_path(request)) is None:
            raise _Stop(404, wording.NOT_FOUND)
        if request.method not in _METHODS:
            raise _Stop(405, wording.NOT_ALLOWED, {"Allow": ", ".join(_METHODS)})
        wanted, purpose = self._wish(request)
        wait = await self.story.admit(client(request))
        if wait:
            raise _Stop(429, wording.TOO_MANY, {"Retry-After": str(wait)})
        if request.method == "POST":
            return await self._act(request, wanted)
        return await self._ask(request, wanted, purpose)

    def _wish(self, request: Request) -> tuple[Wish, Purpose]:
        """What the link asks for. Only a link that was made to act can be posted to."""
        path, query = _path(request), request.scope["query_string"].decode("latin-1")
        now = self._now()
        purposes = (Purpose.POST_ACTION,) if request.method == "POST" else tuple(Purpose)
        found = {purpose: verify(path, query, purpose, self.keys, now) for purpose in purposes}
        for purpose, params in found.items():
            if not isinstance(params, Invalid):
                try:
                    return wish(path, params, self.is_public_suffix), purpose
                except Malformed as error:
                    raise _Stop(400, wording.invalid(str(error))) from error
        raise _Stop(403, wording.EXPIRED if Invalid.EXPIRED in found.values() else wording.FORGED)

    async def _ask(self, request: Request, wanted: Wish, purpose: Purpose) -> Response:
        sight = await self.story.look(wanted, from_banner=purpose is Purpose.VIEW)
        if isinstance(sight, Declined):
            return self._declined(sight)
        if purpose is Purpose.POST_ACTION:
            form = f"{_path(request)}?{request.scope['query_string'].decode('latin-1')}"
        else:
            form = self._form(wanted)
        return self._page(200, wording.ask(wanted, sight), form=form)

    async def _act(self, request: Request, wanted: Wish) -> Response:
        body = await _body(request)
        ip = client(request)
        user_agent = request.headers.get("User-Agent", "")[:_MAX_USER_AGENT]
        visitor = Visitor(f"link:{ip or 'unknown'}", ip, user_agent, self.clock())
        acted = await self.story.act(wanted, visitor)
        if isinstance(acted, Declined):
            return self._declined(acted)
        if is_one_click(request.headers.get("Content-Type", ""), body):
            return Response(b"", 200, SAFE)
        text = wording.done(wanted, acted.sight, changed=acted.changed, undo=acted.undo)
        return self._page(200, text, form="" if acted.undo is None else self._form(acted.undo))

    def _declined(self, declined: Declined) -> Response:
        match declined.trouble:
            case Trouble.UNKNOWN:
                raise _Stop(404, wording.NOT_FOUND)
            case Trouble.DELETED:
                raise _Stop(404, wording.DELETED)
            case Trouble.IMPOSSIBLE:
                raise _Stop(409, wording.invalid(declined.text))
            case Trouble.LOGIN:
                return self._page(200, wording.LOGIN)

    def _form(self, wanted: Wish) -> str:
        """Where a button posts to: on this very host, for as long as a page is likely to stay open."""
        links = Links("", self.keys[0], self._now())
        return links.one_click(wanted.action, wanted.about, wanted.params, FORM_SECONDS)

    def _page(self, status: int, text: Text, headers: Mapping[str, str] | None = None, form: str = "") -> Response:
        posted = Form(form, {"confirm": "yes"}) if form else None
        return page(self.product, text, posted, status=status, headers=headers)

    def _problem(self, request: Request, stop: _Stop) -> Response:
        """A page for people, a line for programs."""
        if "text/html" in request.headers.get("Accept", ""):
            return self._page(stop.status, stop.text, stop.headers)
        return Response(f"{stop.text.title}\n", stop.status, {**SAFE, **stop.headers}, media_type="text/plain")

    def _now(self) -> int:
        return int(self.clock().timestamp())


def is_one_click(content_type: str, body: bytes) -> bool:
    """Whether a mail program posts this, and not our page (RFC 8058 section 3.1)."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _has_part(content_type, body)
    try:
        fields = parse_qsl(body.decode("latin-1"), max_num_fields=20)
    except ValueError:
        return False
    return any((name.lower(), value.strip().lower()) == ("list-unsubscribe", "one-click") for name, value in fields)


def _has_part(content_type: str, body: bytes) -> bool:
    found = _BOUNDARY.search(content_type)
    if found is None:
        return False
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    for part in body.split(delimiter, 20)[1:]:
        header, _, value = part.replace(b"\r\n", b"\n").partition(b"\n\n")
        if value.strip().lower() == b"one-click" and _PART.search(header.lower() + b"\n"):
            return True
    return False


def _path(request: Request) -> str:
    """As it was signed: what the client sent, with its escapes."""
    raw: bytes = request.scope["raw_path"]
    return raw.decode("latin-1")


async def _body(request: Request) -> bytes:
    """The whole body, if it is as small as those of our forms."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_OCTETS:
                    raise _Stop(413, wording.TOO_LARGE, {"Connection": "close"})
    except TimeoutError as error:
        raise _Stop(408, wording.TOO_SLOW, {"Connection": "close"}) from error
    return bytes(body)
