"""Checks of domains: DNS is asked, and stamps come and go by what it answers over time."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core.domaincheck import PURPOSES, Answers, Expected, Purpose, Report, best, examine, questions
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import Answer, Question
from mailrelay.core.naming import ServiceNames
from mailrelay.flows.manage.domains import Dns

_BATCH = 100
_AT_ONCE = 40
_RESULTS = {True: "right", False: "wrong", None: "no_answer"}


class Due(Protocol):
    """A domain to look at."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...


class Change(Protocol):
    """A stamp that came or went. owned: the domain is an account's, which was told."""

    @property
    def purpose(self) -> Purpose: ...
    @property
    def granted(self) -> bool: ...
    @property
    def owned(self) -> bool: ...


class Rechecks(Protocol):
    """As store/rechecks.py. All raise Unavailable."""

    async def due(self, now: datetime, limit: int) -> Sequence[Due]: ...
    async def record(self, domain: int, report: Report, now: datetime, dice: float, actor: str) -> Sequence[Change]: ...


@dataclass(frozen=True, slots=True)
class DomainChecker:
    """Looks at a domain. resolvers: asked alike, as one alone may remember what was before.

    keys: selector and DNS text of a domain's signing keys; it may take a while. Raises Unavailable.
    """

    service: ServiceNames
    resolvers: Sequence[Dns]
    keys: Callable[[str], Sequence[tuple[str, str]]]

    async def examine(self, name: str) -> Report:
        """What DNS says of a domain by now. Raises Unavailable if the keys cannot be read."""
        expected = Expected(name, self.service, await asyncio.to_thread(self.keys, name))
        wanted = questions(expected)
        answers = await asyncio.gather(*(_answers(resolver, wanted) for resolver in self.resolvers))
        report = best([examine(expected, one) for one in answers])
        for purpose in PURPOSES:
            metrics.DOMAIN_CHECKS.labels(purpose.lower(), _RESULTS[report.verdict(purpose)]).inc()
        return report


async def _answers(resolver: Dns, wanted: Sequence[Question]) -> Answers:
    async def ask(question: Question) -> Answer | None:
        try:
            return await resolver.lookup(*question)
        except Unavailable:
            return None

    return dict(zip(wanted, await asyncio.gather(*map(ask, wanted)), strict=True))


async def check_now(
    checker: DomainChecker, store: Rechecks, due: Due, now: datetime, dice: float, actor: str
) -> tuple[Report, Sequence[Change]]:
    """Look at one domain, and draw the consequences. Raises Unavailable."""
    report = await checker.examine(due.name)
    return report, await store.record(due.id, report, now, dice, actor)


@dataclass(frozen=True, slots=True)
class DomainChecks:
    """The worker's step: looks at the domains that are due. Several workers share them.

    dice: 0 to 1, evenly distributed; alert: tells the operator, as shared domains have no owner.
    """

    checker: DomainChecker
    store: Rechecks
    dice: Callable[[], float]
    alert: "Alert"

    async def __call__(self, now: datetime) -> int:
        """Gives how many stamps came or went. Raises Unavailable after all that could be looked at was."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def check(due: Due) -> int:
            async with gate:
                report, changes = await check_now(self.checker, self.store, due, now, self.dice(), "worker")
            for change in changes:
                word = "granted" if change.granted else "withdrawn"
                metrics.DOMAIN_APPROVALS.labels(change.purpose.lower(), word).inc()
                log.logger().info("domain.checked", domain=due.id, purpose=change.purpose.lower(), approval=word)
                if not change.granted and not change.owned:
                    await self.alert(_sentence(report, change.purpose))
            return len(changes)

        found = await self.store.due(now, _BATCH)
        outcomes = await asyncio.gather(*map(check, found), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in errors:
            if not isinstance(error, Unavailable):
                log.logger().error("domain.check_failed", problem=repr(error), exc_info=error)
        if errors:
            raise Unavailable(f"{len(errors)} of {len(found)} domains were not looked at: {errors[0]}")
        return sum(outcome for outcome in outcomes if isinstance(outcome, int))


class Alert(Protocol):
    """Tells the operator something, in plain text. Raises Unavailable."""

    async def __call__(self, text: str, /) -> None: ...


def _sentence(report: Report, purpose: Purpose) -> str:
    what = "gets no mail here any more" if purpose == "EMAIL" else "is no longer verified for sending"
    reasons = " ".join(one.sentence for one in report.faults(purpose))
    return f"The shared domain {report.name} {what}, as DNS has it. {reasons}"
