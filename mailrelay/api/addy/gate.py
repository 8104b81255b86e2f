"""Whether a request may be carried out: bans, token, limits, verified address, in this order (addy-api.md 1.5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Protocol

from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.problems import BANNED, UNAUTHENTICATED, UNVERIFIED, Plain
from mailrelay.core.inquiry import client_network
from mailrelay.core.requests import NOBODY, Admission, Bearer, Caller, Limit, Shut, Window, bearer
from mailrelay.core.suspects import of_ip
from mailrelay.flows.obstacles import Bans

EVERYTHING = Limit("api", 60)
# Not the original's: whoever guesses tokens is told to wait. Tokens that are right still work.
FAILURES = Limit("failed-token", 60)


class Counter(Protocol):
    """As store/gate.py. Raises Unavailable."""

    async def admit(self, bearer: Bearer, limits: Sequence[Limit], ip: str) -> Admission | Shut | None: ...
    async def count(self, client: str, limits: Sequence[Limit]) -> tuple[Window, ...]: ...


@dataclass(frozen=True, slots=True)
class Passed:
    """Who may go on, and the headers about limits that every answer has."""

    caller: Caller
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Gate:
    """bans: asked about clients without a token. limit: for all requests of an account, or of a client without one."""

    counter: Counter
    bans: Bans
    limit: Limit = EVERYTHING

    async def __call__(self, endpoint: Endpoint, authorization: str, client: str, now: datetime) -> Passed:
        """Raises Problem for whom it stops, and Unavailable."""
        general = (self.limit,) if endpoint.is_limited else ()
        limits = (*general, *((endpoint.limit,) if endpoint.limit is not None else ()))
        if endpoint.is_open:
            await self._open_to(client)
            windows = await self.counter.count(_line(client), limits) if limits else ()
            return Passed(NOBODY, _checked(windows, now))
        admission = await self._admit(authorization, client, limits, now)
        headers = _checked(admission.windows, now)
        if admission.is_suspended:
            raise Plain(403, "This account is suspended.", headers)
        if endpoint.verified and not admission.is_verified:
            raise Plain(*UNVERIFIED, headers=headers)
        return Passed(admission.caller, headers)

    async def _admit(self, authorization: str, client: str, limits: Sequence[Limit], now: datetime) -> Admission:
        presented = bearer(authorization)
        if presented is None:
            await self._open_to(client)
            raise Plain(*UNAUTHENTICATED)
        admission = await self.counter.admit(presented, limits, client)
        if isinstance(admission, Shut):
            raise Plain(*BANNED)
        if admission is None:
            _checked(await self.counter.count(_line(client), (FAILURES,)), now)
            raise Plain(*UNAUTHENTICATED)
        return admission

    async def _open_to(self, client: str) -> None:
        """Raises Plain for a client that is banned (haltman-api.md section 5.3)."""
        if await self.bans.first(of_ip(client)) is not None:
            raise Plain(*BANNED)


def _line(client: str) -> str:
    """What is counted for an address: itself; of IPv6 the /64, all of which whoever has one of them has."""
    return client_network(client) if ":" in client else client


def _checked(windows: Sequence[Window], now: datetime) -> dict[str, str]:
    """Headers about the tightest limit (section 1.11). Raises Plain when it is passed."""
    if not windows:
        return {}
    tightest = min(windows, key=lambda one: (one.remaining, not one.is_over, -one.ends_at.timestamp()))
    headers = {"X-RateLimit-Limit": str(tightest.limit.requests), "X-RateLimit-Remaining": str(tightest.remaining)}
    if tightest.is_over:
        seconds = max(1, ceil((tightest.ends_at - now).total_seconds()))
        reset = str(ceil(tightest.ends_at.timestamp()))
        raise Plain(429, "Too Many Attempts.", {**headers, "Retry-After": str(seconds), "X-RateLimit-Reset": reset})
    return headers
