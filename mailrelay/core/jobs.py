"""Work that is done later, and again if it fails: what a job is, and how long it waits (design section 5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType

JobId = NewType("JobId", int)

NOTICE = "notice"  # the kind whose payload is a core.notices.Notice
RELEASE = "release"  # the kind that flows/releasejob.py handles
ACCOUNT_DELETION = "account_deletion"  # the kind that flows/deletion.py handles
RESEND = "resend"  # the kind that flows/resendjob.py handles
DOMAIN_KEYS = "domain_keys"  # the kind that flows/domainkeys.py handles
DOMAIN_RECHECK = "domain_recheck"  # the kind that flows/recheck.py handles
RECOVERY = "password_recovery"  # the kind that flows/recovery.py handles
OWNER_REQUEST = "owner_request"  # the kind that flows/ownermail.py handles
ALIAS_BOUNCES = "alias_bounces"  # the kind that flows/bouncing.py handles

# Kinds that look at how things are. One that is under way may have looked before they changed: then it takes another.
LOOKING = (ALIAS_BOUNCES, RELEASE)

MAX_ERROR_CHARACTERS = 500

_FIRST_WAIT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Job:
    """A job that a worker has taken. attempts: this one included."""

    id: JobId
    kind: str
    payload: Mapping[str, object]
    attempts: int
    max_attempts: int
    created_at: datetime

    @property
    def last_attempt(self) -> bool:
        """If it fails now, it is given up."""
        return self.attempts >= self.max_attempts


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits. waiting: has not ended; due: of those, what should be under way, or is; age of the oldest."""

    waiting: int
    due: int
    oldest_due_seconds: float


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. problem: why it was given up, '' for one that is done."""

    problem: str


def backoff(attempts: int, dice: float) -> timedelta:
    """How long a job rests after its attempt number `attempts` (from 1) failed: 30 s, doubled each time up to an hour.

    dice: 0 to 1, evenly distributed. It makes it up to a quarter more or less, so that jobs that failed together do not
    come back together.
    """
    wait = min(_FIRST_WAIT * (1 << min(attempts - 1, 20)), _LONGEST_WAIT)
    return wait * (0.75 + dice / 2)
