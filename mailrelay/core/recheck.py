"""Standing checks of domains: how one answer changes what is thought of a domain, and when to ask again.

Grades as in the Haltman API (haltman-api.md section 7.5): approval goes after three failures in a row, never after one
answer, and comes back with the first success. No answer is no failure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from mailrelay.core.domaincheck import Purpose, Report

Status = Literal["OK", "WARNING", "DEGRADED", "INVALID"]

FIRST_CHECK = timedelta(minutes=2)  # after a domain came here
MAX_FAILURES = 3
_GRADES: tuple[Status, ...] = ("OK", "WARNING", "DEGRADED", "INVALID")
# However often somebody asks meanwhile, the next failure in a row counts after this time.
_APART = timedelta(minutes=20)
DAILY = timedelta(days=1)
OFTEN = timedelta(hours=4)  # shared domains that are in use (haltman-api.md section 7.5)
# Of one domain operators hear so often at most that something is wrong; the end of it they hear in any case.
REPEAT = timedelta(hours=12)
_AGAIN = timedelta(minutes=30)  # when something is wrong that was right, or DNS gave no answer
_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Standing:
    """What is thought of a domain for one purpose. approved: it has its stamp.

    failures: in a row, as far as they count; failing_since, failed_at: when the first and the last of them were found.
    """

    approved: bool
    status: Status = "OK"
    failures: int = 0
    failing_since: datetime | None = None
    failed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What a check makes of it. change: of the stamp, None for none; next_check: when to look again."""

    standing: Standing
    next_check: datetime
    change: Literal["granted", "withdrawn"] | None = None


def advance(before: Standing, verdict: bool | None, now: datetime, dice: float, calm: timedelta = DAILY) -> Step:
    """The standing after a check. verdict: None if DNS gave no answer; dice: 0 to 1, evenly distributed.

    calm: until the next look at what is right.
    """
    after = _after(before, verdict, now)
    change: Literal["granted", "withdrawn"] | None = None
    if after.approved != before.approved:
        change = "granted" if after.approved else "withdrawn"
    return Step(after, now + _rest(after, verdict, now, calm) * (1 - _JITTER + 2 * _JITTER * dice), change)


def _after(before: Standing, verdict: bool | None, now: datetime) -> Standing:
    if verdict is None:
        return before
    if verdict:
        return Standing(approved=True)
    if before.failed_at is not None and now - before.failed_at < _APART:
        return before
    failures = min(before.failures + 1, MAX_FAILURES)
    return Standing(
        approved=before.approved and failures < MAX_FAILURES,
        status=_GRADES[failures],
        failures=failures,
        failing_since=before.failing_since or now,
        failed_at=now,
    )


def _rest(after: Standing, verdict: bool | None, now: datetime, calm: timedelta) -> timedelta:
    """Who has just brought a domain is still at it, so it is looked at often at first, and then ever more seldom."""
    if verdict:
        return calm
    if verdict is None or after.approved:
        return _AGAIN
    since = after.failing_since or now
    return min(max((now - since) / 2, FIRST_CHECK), DAILY)


AlertState = Literal["NONE", "OPEN", "RECOVERED", "DISABLED"]
News = Literal["WARNING", "DEGRADED", "DISABLED", "RECOVERED"]


@dataclass(frozen=True, slots=True)
class Alert:
    """What operators know of a domain's trouble. at: when they were told last that something is wrong."""

    state: AlertState = "NONE"
    at: datetime | None = None


def alert(known: Alert, before: Standing, step: Step, now: datetime) -> tuple[Alert, News | None]:
    """What operators are told of a step, and know then (haltman-api.md section 7.6).

    What never was right is no news.
    """
    after = step.standing
    if step.change == "withdrawn":
        return Alert("DISABLED", now), "DISABLED"
    if after.status == "OK":
        told = known.state in ("OPEN", "DISABLED")
        return Alert("NONE", known.at), "RECOVERED" if told else None
    if after.failures == before.failures or not after.approved:
        return known, None
    quiet = known.state == "NONE" and known.at is not None and now - known.at < REPEAT
    if quiet:
        return known, None
    return Alert("OPEN", now), "WARNING" if after.status == "WARNING" else "DEGRADED"


def owned_alert(known: Alert, step: Step, now: datetime) -> Alert:
    """The same of a domain whose owner is told."""
    if step.change == "withdrawn":
        return Alert("DISABLED", now)
    return Alert("NONE", known.at) if step.standing.status == "OK" else known


_WHAT: Mapping[Purpose, str] = {
    "EMAIL": "gets mail here",
    "SENDING": "may send under its own name",
    "UI": "shows the web interface",
}


def news(report: Report, purpose: Purpose, step: Step, told: News) -> str:
    """What operators are told of a shared domain, in sentences."""
    what = _WHAT[purpose]
    if told == "RECOVERED":
        return f"RECOVERED: the records of {report.name} are right again; it {what}."
    reasons = " ".join(one.sentence for one in report.faults(purpose))
    wanted = "; ".join(str(one.publish) for one in report.faults(purpose) if one.publish.value)
    publish = f" To be published: {wanted}" if wanted else ""
    if told == "DISABLED":
        return f"DISABLED: {report.name} no longer {what}, as DNS has it. {reasons}{publish}"
    left = MAX_FAILURES - step.standing.failures
    return (
        f"{told}: {report.name} still {what}, but a check of its records failed; after {left} more in a row it does "
        f"not. {reasons}{publish} Next check: {step.next_check:%Y-%m-%d %H:%M} UTC."
    )


@dataclass(frozen=True, slots=True)
class CheckStanding:
    """How a domain stands in one regard, as reports show it."""

    status: Status
    failures: int
    next_check: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True)
class DomainStanding:
    """How a shared domain stands, as reports show it."""

    id: int
    name: str
    active: bool
    mx: bool
    ui: bool
    checks: dict[Purpose, CheckStanding]


@dataclass(frozen=True, slots=True)
class Incident:
    """Trouble that operators were told of."""

    name: str
    type: Purpose
    status: Status
    since: datetime | None
    error: str | None


def summary(incidents: Sequence[Incident]) -> str:
    """What operators are reminded of, in sentences."""
    lines = (f"{one.name} ({one.type}) is {one.status} since {_day(one.since)}: {one.error or ''}" for one in incidents)
    return " ".join((f"Checks of domains that fail: {len(incidents)}.", *lines))


def _day(at: datetime | None) -> str:
    return "an unknown time" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"
