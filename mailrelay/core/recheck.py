"""Standing checks of domains: how one answer changes what is thought of a domain, and when to ask again.

Grades as in the Haltman API (haltman-api.md section 7.5): approval goes after three failures in a row, never after one
answer, and comes back with the first success. No answer is no failure.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Status = Literal["OK", "WARNING", "DEGRADED", "INVALID"]

FIRST_CHECK = timedelta(minutes=2)  # after a domain came here
MAX_FAILURES = 3
_GRADES: tuple[Status, ...] = ("OK", "WARNING", "DEGRADED", "INVALID")
# However often somebody asks meanwhile, the next failure in a row counts after this time.
_APART = timedelta(minutes=20)
_DAILY = timedelta(days=1)
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


def advance(before: Standing, verdict: bool | None, now: datetime, dice: float) -> Step:
    """The standing after a check. verdict: None if DNS gave no answer; dice: 0 to 1, evenly distributed."""
    after = _after(before, verdict, now)
    change: Literal["granted", "withdrawn"] | None = None
    if after.approved != before.approved:
        change = "granted" if after.approved else "withdrawn"
    return Step(after, now + _rest(after, verdict, now) * (1 - _JITTER + 2 * _JITTER * dice), change)


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


def _rest(after: Standing, verdict: bool | None, now: datetime) -> timedelta:
    """Who has just brought a domain is still at it, so it is looked at often at first, and then ever more seldom."""
    if verdict:
        return _DAILY
    if verdict is None or after.approved:
        return _AGAIN
    since = after.failing_since or now
    return min(max((now - since) / 2, FIRST_CHECK), _DAILY)
