"""Checks of domains that an administrator wants now (haltman-api.md section 7.5)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mailrelay import log
from mailrelay.core.domaincheck import Purpose, Report
from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable
from mailrelay.core.recheck import DomainStanding
from mailrelay.flows.domaincheck import DomainChecker, Due, Recorder, check_now
from mailrelay.flows.ports import Clock

_ONE_LASTS = timedelta(seconds=60)
_LASTS = timedelta(minutes=10)
_AT_ONCE = 20


class Busy(Conflict):
    """Another check is under way."""


class Standings(Recorder, Protocol):
    """As store/rechecks.py. All raise Unavailable."""

    async def shared(self, domain: int | None = None) -> Sequence[Due]: ...
    async def soon(self, domain: int, purpose: Purpose) -> None: ...
    async def standings(self, domain: int | None = None) -> Sequence[DomainStanding]: ...


class Runs(Protocol):
    """As store/dnsruns.py. All raise Unavailable."""

    async def begin(self, target: str, now: datetime, lease: timedelta, actor: str) -> bool: ...
    async def begin_all(self, now: datetime, actor: str) -> bool: ...
    async def prolong(self, started: datetime, until: datetime) -> None: ...
    async def end(self, started: datetime, told: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check that is over. standings: of the domains by then."""

    target: str
    started_at: datetime
    completed_at: datetime
    report: Report
    standings: Sequence[DomainStanding]


@dataclass(frozen=True, slots=True)
class ForcedChecks:
    """checker: holds no signing keys, so what domains need for sending is left to the worker, which looks at it soon.

    dice: 0 to 1, evenly distributed.
    """

    checker: DomainChecker
    store: Standings
    runs: Runs
    dice: Callable[[], float]
    clock: Clock

    async def one(self, domain: int, actor: str) -> Outcome:
        """Check a shared domain. Raises Absent, Busy and Unavailable."""
        started = self.clock()
        due = next(iter(await self.store.shared(domain)), None)
        if due is None:
            raise Absent(f"there is no shared domain {domain}")
        if not await self.runs.begin(due.name, started, _ONE_LASTS, actor):
            raise Busy("another check of domains is under way")
        told = f"{due.name} was to be checked, as {actor} wants it; that did not work."
        try:
            report, _ = await check_now(self.checker, self.store, due, started, self.dice(), actor)
            await self.store.soon(due.id, "SENDING")
            told = f"{due.name} was checked, as {actor} wants it. {_failing(report)}"
        finally:
            await self.runs.end(started, told)
        return Outcome(due.name, started, self.clock(), report, await self.store.standings(due.id))

    async def all(self, actor: str) -> datetime:
        """Have all shared domains checked; gives since when. Raises Busy and Unavailable."""
        started = self.clock()
        if not await self.runs.begin_all(started, actor):
            raise Busy("another check of domains is under way")
        return started


def _failing(report: Report) -> str:
    failing = " ".join(one.sentence for purpose in report.purposes for one in report.faults(purpose))
    return failing or "Nothing is wrong, as far as DNS answered."


@dataclass(frozen=True, slots=True)
class RecheckJob:
    """Handler of the job that checks all shared domains. Repeated, it checks them again."""

    checker: DomainChecker
    store: Standings
    runs: Runs
    dice: Callable[[], float]
    clock: Clock

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        """Raises Malformed and Unavailable."""
        try:
            started, actor = datetime.fromisoformat(str(payload["started_at"])), str(payload["actor"])
        except (KeyError, ValueError) as error:
            raise Malformed("the job does not say since when and for whom") from error
        gate = asyncio.Semaphore(_AT_ONCE)

        async def check(due: Due) -> bool:
            async with gate:
                report, _ = await check_now(self.checker, self.store, due, self.clock(), self.dice(), actor)
            return report.complete is not False

        found = await self.store.shared()
        await self.runs.prolong(started, self.clock() + _LASTS)
        outcomes = await asyncio.gather(*map(check, found), return_exceptions=True)
        errors = [one for one in outcomes if isinstance(one, BaseException)]
        for one in errors:
            log.logger().warning("domain.check_failed", problem=repr(one))
        failed = sum(one is False for one in outcomes)
        log.logger().info("domain.rechecked", domains=len(found), failed=failed, not_looked_at=len(errors))
        if errors and len(errors) == len(found):
            raise Unavailable(f"no domain could be looked at: {errors[0]!r}")
        told = f"{len(found)} domains were checked, as {actor} wants it: {failed} have wrong records."
        await self.runs.end(started, told + (f" {len(errors)} could not be looked at." if errors else ""))
