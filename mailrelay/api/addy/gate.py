"""Whether a request may be carried out: token, limits, verified address, in this order (addy-api.md section 1.5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Protocol

from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.problems import UNAUTHENTICATED, UNVERIFIED, Plain
from mailrelay.core.inquiry import client_network
from mailrelay.core.requests import NOBODY, Admission, Bearer, Caller, Limit, Window, bearer

EVERYTHING = Limit("api", 60)
# Not the original's: whoever guesses tokens is told to wait. Tokens that are right still work.
FAILURES = Limit("failed-token", 60)


class Counter(Protocol):
    """As store/gate.py. Raises Unavailable."""

    async def admit(self, bearer: Bearer, limits: Sequence[Limit]) -> Admission | None: ...
    async def count(self, client: str, limits: Sequence[Limit]) -> tuple[Window, ...]: ...


@dataclass(frozen=True, slots=True)
class Passed:
    """Who may go on, and the headers about limits that every answer has."""

    caller: Caller
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Gate:
    """limit: for all requests of an account, or of a client without one."""

    counter: Counter
    limit: Limit = EVERYTHING

    async def __call__(self, endpoint: Endpoint, authorization: str, client: str, now: datetime) -> Passed:
        """Raises Problem for whom it stops, and Unavailable."""
        general = (self.limit,) if endpoint.is_limited else ()
        limits = (*general, *((endpoint.limit,) if endpoint.limit is not None else ()))
        if endpoint.is_open:
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
        admission = None if presented is None else await self.counter.admit(presented, limits)
        if admission is None:
            if presented is not None:
                _checked(await self.counter.count(_line(client), (FAILURES,)), now)
            raise Plain(*UNAUTHENTICATED)
        return admission


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
