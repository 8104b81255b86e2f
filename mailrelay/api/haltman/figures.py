"""Domains, stats and counter, for everybody (haltman-api.md section 3.14)."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Generic, Literal, Protocol, TypeVar

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.haltman.call import Call
from mailrelay.api.haltman.checks import Field, checked, text, whole
from mailrelay.api.haltman.endpoint import Endpoint
from mailrelay.api.haltman.problems import Problem
from mailrelay.api.haltman.replies import answer

DOMAINS_SECONDS = 10
STATS_SECONDS = 120
_BATCH = Field("n", whole(1, 1_000_000))
_KEY = Field("key", text(1, 1000))

Kept = TypeVar("Kept")


class Stats(Protocol):
    """As store/figures.py."""

    @property
    def domains(self) -> int: ...
    @property
    def aliases(self) -> int: ...
    @property
    def forwarded(self) -> int: ...


class Figures(Protocol):
    """As store/figures.py. All raise Unavailable."""

    async def domains(self) -> Sequence[str]: ...
    async def stats(self) -> Stats: ...
    async def count(self, messages: int) -> None: ...


class StatsShown(TypedDict):
    domains: int
    aliases: int
    forwarded: int


class Counted(TypedDict):
    success: Literal[True]


class Remembered(Generic[Kept]):
    """What is asked for once in so many seconds, however many want to know."""

    def __init__(self, read: Callable[[], Awaitable[Kept]], seconds: int) -> None:
        self._read = read
        self._life = timedelta(seconds=seconds)
        self._kept: tuple[datetime, Kept] | None = None
        self._lock = asyncio.Lock()

    async def at(self, now: datetime) -> Kept:
        """As it was a moment ago. Raises what reading raises."""
        async with self._lock:
            if self._kept is None or not now - self._life < self._kept[0] <= now:
                self._kept = now, await self._read()
            return self._kept[1]


class FigureEndpoints:
    """secret: of whoever counts forwarded mail from outside; '' for nobody."""

    def __init__(self, figures: Figures, secret: str) -> None:
        self._figures = figures
        self._secret = secret.encode()
        self._domains = Remembered(figures.domains, DOMAINS_SECONDS)
        self._stats = Remembered(figures.stats, STATS_SECONDS)

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "GET",
                "domains",
                self._list,
                "3.14 Domains on which anybody can make addresses",
                list[str],
                caching={"Cache-Control": f"public, max-age={DOMAINS_SECONDS}"},
                safe=True,
            ),
            Endpoint(
                "GET",
                "stats",
                self._show,
                "3.14 How much there is, and how much was forwarded",
                StatsShown,
                caching={"Cache-Control": f"public, max-age={STATS_SECONDS}"},
                safe=True,
            ),
            Endpoint(
                "GET",
                "counter/increment",
                self._count,
                "3.14 Count forwarded mail, `n` messages at once; the secret may also come as X-Counter-Key",
                Counted,
                query=(_KEY, _BATCH),
                errors=((401, "unauthorized"),),
            ),
        )

    async def _list(self, call: Call) -> Response:
        return answer(list(await self._domains.at(call.now)))

    async def _show(self, call: Call) -> Response:
        stats = await self._stats.at(call.now)
        return answer(StatsShown(domains=stats.domains, aliases=stats.aliases, forwarded=stats.forwarded))

    async def _count(self, call: Call) -> Response:
        sent = call.headers.get("X-Counter-Key") or call.query.get("key")
        given = sent.encode("utf-8", "replace") if isinstance(sent, str) else b""
        if not self._secret or not hmac.compare_digest(given, self._secret):
            raise Problem(401, "unauthorized")
        await self._figures.count(checked((_BATCH,), call.query).get("n", 1))
        return answer(Counted(success=True))
