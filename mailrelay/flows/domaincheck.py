"""Checks of domains: DNS is asked, and stamps come and go by what it answers over time."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core.domaincheck import Answers, Expected, Finding, Purpose, Report, best, examine, questions
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import Answer, Question
from mailrelay.core.onboarding import Look, RequestType, Wanted, examine_mail, mail_questions
from mailrelay.core.webcheck import Trail, finding, follow
from mailrelay.flows.manage.domains import Dns

_BATCH = 100
_AT_ONCE = 40
_TRAIL_SECONDS = 8.0  # for all that leads on from one name
_RESULTS = {True: "right", False: "wrong", None: "no_answer"}


class Due(Protocol):
    """A domain to look at. mail, web: for which of it."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def shared(self) -> bool: ...
    @property
    def mail(self) -> bool: ...
    @property
    def web(self) -> bool: ...


class Change(Protocol):
    """A stamp that came or went. owned: the domain is an account's, which was told."""

    @property
    def purpose(self) -> Purpose: ...
    @property
    def granted(self) -> bool: ...
    @property
    def owned(self) -> bool: ...


class Recorder(Protocol):
    """As store/rechecks.py. Raises Unavailable."""

    async def record(self, domain: int, report: Report, now: datetime, dice: float, actor: str) -> Sequence[Change]: ...


class Rechecks(Recorder, Protocol):
    """As store/rechecks.py. Raises Unavailable."""

    async def due(self, now: datetime, limit: int) -> Sequence[Due]: ...


class Keys(Protocol):
    """Selector and DNS text of a domain's signing keys. It may take a while. Raises Unavailable."""

    def __call__(self, name: str, *, shared: bool) -> Sequence[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class DomainChecker:
    """Looks at a domain. resolvers: asked alike, as one alone may remember what was before.

    keys None: whoever looks has no business with signing keys, so nothing is said of sending.
    """

    wanted: Wanted
    resolvers: Sequence[Dns]
    keys: Keys | None = None

    async def examine(self, due: Due) -> Report:
        """What DNS says of a domain by now. Raises Unavailable if the keys cannot be read."""
        mail = await self._mail(due) if due.mail else ()
        web = (await self._web(due.name)).findings if due.web else ()
        return _counted(Report(due.name, (*mail, *web)))

    async def look(self, target: str, kind: RequestType) -> Look:
        """What DNS says of a domain that somebody proposes."""
        if kind == "UI":
            report = await self._web(target)
            return Look(_counted(report), [(1, int(report.complete is not None)) for _ in self.resolvers])
        wanted = mail_questions(target, self.wanted)
        given = await self._all(wanted)
        report = best([examine_mail(target, self.wanted, one) for one in given])
        return Look(_counted(report), [(len(one), sum(each is not None for each in one.values())) for one in given])

    async def _mail(self, due: Due) -> Sequence[Finding]:
        texts: Sequence[tuple[str, str]] = ()
        if self.keys is not None:
            texts = await asyncio.to_thread(partial(self.keys, due.name, shared=due.shared))
        expected = Expected(due.name, self.wanted.service, texts)
        report = best([examine(expected, one) for one in await self._all(questions(expected))])
        return (report if self.keys is not None else report.only("EMAIL")).findings

    async def _web(self, name: str) -> Report:
        findings = await asyncio.gather(*(self._trail(resolver, name) for resolver in self.resolvers))
        return best([Report(name, (one,)) for one in findings])

    async def _trail(self, resolver: Dns, name: str) -> Finding:
        answers: dict[Question, Answer | None] = {}
        trail = follow(name, self.wanted.hosting, answers)
        try:
            async with asyncio.timeout(_TRAIL_SECONDS):
                while trail.ask:
                    answers.update(await _answers(resolver, trail.ask))
                    trail = follow(name, self.wanted.hosting, answers)
        except TimeoutError:
            trail = Trail(trail.aliases, state="unknown")
        return finding(name, self.wanted.hosting, trail)

    async def _all(self, wanted: Sequence[Question]) -> Sequence[Answers]:
        return await asyncio.gather(*(_answers(resolver, wanted) for resolver in self.resolvers))


def _counted(report: Report) -> Report:
    for purpose in report.purposes:
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
    checker: DomainChecker, store: Recorder, due: Due, now: datetime, dice: float, actor: str
) -> tuple[Report, Sequence[Change]]:
    """Look at one domain, and draw the consequences. Raises Unavailable."""
    report = await checker.examine(due)
    return report, await store.record(due.id, report, now, dice, actor)


@dataclass(frozen=True, slots=True)
class DomainChecks:
    """The worker's step: looks at the domains that are due. Several workers share them.

    dice: 0 to 1, evenly distributed.
    """

    checker: DomainChecker
    store: Rechecks
    dice: Callable[[], float]

    async def __call__(self, now: datetime) -> int:
        """Gives how many stamps came or went. Raises Unavailable after all that could be looked at was."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def check(due: Due) -> int:
            async with gate:
                _, changes = await check_now(self.checker, self.store, due, now, self.dice(), "worker")
            for change in changes:
                word = "granted" if change.granted else "withdrawn"
                metrics.DOMAIN_APPROVALS.labels(change.purpose.lower(), word).inc()
                log.logger().info("domain.checked", domain=due.id, purpose=change.purpose.lower(), approval=word)
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
