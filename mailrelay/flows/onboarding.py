"""Bringing domains here by proposal: anybody names one, DNS is asked until its records are right, and it is approved.

Looks only grant, they take nothing: that is for the standing checks of approved domains (haltman-api.md section 7).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core.errors import Unavailable
from mailrelay.core.onboarding import Look, Request, RequestType, Seen, Wanted, faults

AT_ONCE = 10
_BATCH = 50
_START_SECONDS = 5.0  # after a restart not all workers begin with the same


class Store(Protocol):
    """As store/proposals.py. All raise Unavailable."""

    async def ask(self, target: str, kind: RequestType, now: datetime, life: timedelta, actor: str) -> Request: ...
    async def of_target(self, target: str) -> Sequence[Request]: ...
    async def take(self, request: int, now: datetime, until: datetime) -> bool: ...
    async def due(self, now: datetime, until: datetime, limit: int) -> Sequence[Request]: ...
    async def expire(self, now: datetime, limit: int) -> int: ...
    async def settle(self, request: Request, seen: Seen, actor: str) -> Request: ...


class Checker(Protocol):
    """As flows/domaincheck.py."""

    @property
    def wanted(self) -> Wanted: ...
    async def look(self, target: str, kind: RequestType) -> Look: ...


@dataclass(frozen=True, slots=True)
class Onboarding:
    """The story of one proposal. poll: between looks at it; life: how long one looks."""

    store: Store
    checker: Checker
    poll: timedelta
    life: timedelta

    @property
    def wanted(self) -> Wanted:
        """What domains have to publish."""
        return self.checker.wanted

    async def ask(self, target: str, kind: RequestType, now: datetime, actor: str) -> Request:
        """Somebody names a domain. It is looked at at once, unless somebody has just done so."""
        request = await self.store.ask(target, kind, now, self.life, actor)
        return await self._looked(request, now, actor)

    async def status(self, target: str, now: datetime, actor: str) -> Sequence[Request]:
        """How far a domain is; it is looked at if that is due."""
        found = await self.store.of_target(target)
        return await asyncio.gather(*(self._looked(request, now, actor) for request in found))

    async def _looked(self, request: Request, now: datetime, actor: str) -> Request:
        if not request.due(now) or not await self.store.take(request.id, now, now + self.poll):
            return request
        return await self.look(request, now, actor)

    async def look(self, request: Request, now: datetime, actor: str) -> Request:
        """Ask DNS about a request that is ours to look at, and draw the consequences."""
        look = await self.checker.look(request.target, request.type)
        next_check = min(now + self.poll, request.expires_at)
        result = look.result(now, next_check)
        right = look.report.complete
        seen = Seen(right, faults(look.report), result, now, next_check)
        settled = await self.store.settle(request, seen, actor)
        if right and settled.status != request.status:
            log.logger().info("proposal.settled", request=request.id, type=request.type, status=settled.status)
            metrics.DOMAIN_APPROVALS.labels(request.type.lower(), "granted").inc(settled.status == "ACTIVE")
        return settled


@dataclass(slots=True)
class ProposalChecks:
    """The worker's step: looks at the requests that are due, and ends those whose time is over. Several share them.

    dice: 0 to 1, evenly distributed.
    """

    onboarding: Onboarding
    dice: Callable[[], float]
    _begins_at: datetime | None = field(default=None, init=False)

    async def __call__(self, now: datetime) -> int:
        """Gives how many were settled. Raises Unavailable after all that could be looked at was."""
        if self._begins_at is None:
            self._begins_at = now + timedelta(seconds=_START_SECONDS * self.dice())
        if now < self._begins_at:
            return 0
        store, gate = self.onboarding.store, asyncio.Semaphore(AT_ONCE)

        async def look(request: Request) -> int:
            async with gate:
                settled = await self.onboarding.look(request, now, "worker")
            return int(settled.status != "PENDING")

        over = await store.expire(now, _BATCH)
        found = await store.due(now, now + self.onboarding.poll, _BATCH)
        outcomes = await asyncio.gather(*map(look, found), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in errors:
            if not isinstance(error, Unavailable):
                log.logger().error("proposal.check_failed", problem=repr(error), exc_info=error)
        if errors:
            raise Unavailable(f"{len(errors)} of {len(found)} proposals were not looked at: {errors[0]}")
        return over + sum(outcome for outcome in outcomes if isinstance(outcome, int))
