"""When mail to a mailbox is given up, tried again and believed in again; aliases that bounce (spec section 7.5).

For recipients store/bounces.py and store/failing.py do the same in SQL, where no other process comes in between; tests
hold the two together.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from mailrelay.core.bounce import BounceType

# Statuses that say that there is no such mailbox (any more).
GONE = frozenset({"5.1.1", "5.1.6", "5.1.10", "5.2.1"})
# Statuses that need no repetition before a contact is believed to be unknown.
UNKNOWN_CONTACT = GONE | {"5.1.2", "5.1.3"}

HARD_FAILURES = 3
# Failures and successes from before say nothing about today.
REMEMBERED_FOR = timedelta(days=30)
PROBE_EVERY = timedelta(days=1)
UNVERIFIED_AFTER = timedelta(days=30)
# Hard failures come within minutes, after greylisting within an hour or two.
PROBE_SETTLED_AFTER = timedelta(hours=6)
# A later success changes nothing for so long, so that the table is not written for every mail.
SUCCESS_HOLDS_FOR = timedelta(hours=1)

SUPPRESSED_FOR = timedelta(days=7)

SPAM_FAILURES = 5
SPAM_WITHIN = timedelta(days=7)

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a recipient. hard_failures: since the last success, the first of them at first_hard_failure_at;
    failing_since None: it is believed to take mail.
    """

    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    hard_failures: int = 0
    first_hard_failure_at: datetime | None = None


def after_failure(health: Health, kind: BounceType, status: str, now: datetime, *, watched: bool) -> Health:
    """What is known after one more failure; only hard ones change anything.

    status: RFC 3463. watched: somebody reads the mail log, so that successes are known. Without that any number of
    messages may have arrived in between: then only failures count which say that the mailbox is gone, and one of them
    is not enough, as anybody who knows a return path can write one.
    """
    gone = status in GONE
    if kind is not BounceType.HARD or not (watched or gone):
        return health
    first, failures = health.first_hard_failure_at, health.hard_failures + 1
    if first is None or first < now - REMEMBERED_FOR:
        first, failures = now, 1
    without_success = health.last_success_at is None or health.last_success_at < now - REMEMBERED_FOR
    repeated = failures >= HARD_FAILURES and _day(first) != _day(now)
    failing = (watched and gone and without_success) or repeated
    since = health.failing_since or (now if failing else None)
    return replace(health, hard_failures=failures, first_hard_failure_at=first, failing_since=since)


def after_success(health: Health, at: datetime) -> Health:
    """What is known after a copy arrived at that time. One that arrived before the failures does not undo them."""
    failed = health.failing_since or health.first_hard_failure_at
    if failed is not None and at >= failed:
        return Health(last_success_at=at if health.last_success_at is None else max(at, health.last_success_at))
    if health.last_success_at is None or health.last_success_at < at - SUCCESS_HOLDS_FOR:
        return replace(health, last_success_at=at)
    return health


def probe_due(failing_since: datetime | None, probed_at: datetime | None, now: datetime) -> bool:
    """True if a failing recipient is to get a message, to see whether it works again: one every 24 hours."""
    if failing_since is None:
        return False
    tried = failing_since if probed_at is None else max(failing_since, probed_at)
    return now - tried >= PROBE_EVERY


# -- Aliases -------------------------------------------------------------------------------------------------------


class Pattern(StrEnum):
    """Why an alias is said to bounce too much."""

    DAY = "day"  # more than 12 within 24 hours
    WEEK = "week"  # more than 1 within 24 hours, and more than 10 in the six days before
    STEADY = "steady"  # on at least 9 of the last 10 days
    ACCOUNT = "account"  # on more than 4 of the last 10 days, the account had more than 10


@dataclass(frozen=True, slots=True)
class Bounces:
    """So many, counted in the hour that begins at `at`."""

    at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class AliasBounces:
    """What an alias of that address is judged by: its own bounces, and those of the whole account with them."""

    address: str
    uuid: UUID
    own: tuple[Bounces, ...]
    account: tuple[Bounces, ...]


# Windows before that are not looked at.
LOOKED_BACK = timedelta(days=10)


def pattern(alias: Sequence[Bounces], account: Sequence[Bounces], now: datetime) -> Pattern | None:
    """The first pattern that the bounces of an alias, or of its whole account, show; None: no reason to deactivate it.

    account: those of the alias included. Days are of UTC. The thresholds are SimpleLogin's.
    """
    today = sum(one.count for one in alias if one.at > now - _DAY)
    before = sum(one.count for one in alias if now - 7 * _DAY < one.at <= now - _DAY)
    if today > 12:
        return Pattern.DAY
    if today > 1 and before > 10:
        return Pattern.WEEK
    if len(_daily(alias, now)) >= 9:
        return Pattern.STEADY
    if sum(count > 10 for count in _daily(account, now).values()) > 4:
        return Pattern.ACCOUNT
    return None


def _daily(bounces: Iterable[Bounces], now: datetime) -> Counter[int]:
    """How many on each of the last ten days, today included; days without any are missing."""
    days: Counter[int] = Counter()
    for one in bounces:
        if one.count and _day(now) - 10 < _day(one.at) <= _day(now):
            days[_day(one.at)] += one.count
    return days


def _day(at: datetime) -> int:
    return at.astimezone(UTC).toordinal()
