"""Signing in to the dashboard: who tries, and how often that may fail (haltman-api.md section 2.10)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailrelay.core.turnstile import Bucket


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """So many failures within a time; where, reason: what the client hears then."""

    name: str
    failures: int
    seconds: int
    where: str
    reason: str


_LOGIN = "auth_login"
OF_CLIENT = FailureLimit("auth_login_fail_ip", 12, 900, _LOGIN, "too_many_failed_attempts_ip")
# Of what was typed, from wherever, but for networks from which its owner signed in before: nobody locks him out.
OF_NAME = FailureLimit("auth_login_fail_identifier", 6, 3600, _LOGIN, "too_many_failed_attempts_identifier")
# Of an account, whichever of its names was typed. Nobody hears of it: it would tell which names are one account's.
OF_ACCOUNT = FailureLimit("auth_login_fail_account", 6, 3600, _LOGIN, "")
# Of what was typed, from one client: so that none alone uses up what strangers may fail together.
HEAVY = FailureLimit(
    "auth_login_fail_heavy_identifier_ip", 3, 21600, _LOGIN, "too_many_failed_attempts_identifier_ip_heavy"
)
FAST = FailureLimit("auth_login_fail_fast_identifier_ip", 2, 300, _LOGIN, "too_many_failed_attempts_identifier_ip")
# Of the current password, by somebody who is signed in.
OWN_PASSWORD = FailureLimit("admin_password_fail", 5, 900, "admin_password", "too_many_failed_attempts")


@dataclass(frozen=True, slots=True)
class Counted:
    """A limit for one subject."""

    limit: FailureLimit
    bucket: Bucket


@dataclass(frozen=True, slots=True)
class TooManyFailures:
    """A limit that is reached, until then."""

    limit: FailureLimit
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody brings to sign in. identifier: a mailbox or a name, folded; code: of a second factor, or ''."""

    identifier: str
    password: str
    code: str


def counted(limits: Sequence[tuple[FailureLimit, Sequence[str]]], rates: Mapping[str, int]) -> tuple[Counted, ...]:
    """Limits with what they are counted for. rates: other numbers by name; 0 and less turn a limit off."""
    found = []
    for limit, parts in limits:
        most = rates.get(limit.name, limit.failures)
        if most > 0:
            subject = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
            found.append(Counted(limit, Bucket(limit.name, subject, limit.seconds, most)))
    return tuple(found)


def refused(entries: Sequence[Counted], hits: Sequence[tuple[int, datetime]]) -> TooManyFailures | None:
    """The first limit that is over, with how often each was hit and when its window began."""
    for entry, (number, opened_at) in zip(entries, hits, strict=False):
        if entry.bucket.limit is not None and number > entry.bucket.limit:
            return TooManyFailures(entry.limit, opened_at + timedelta(seconds=entry.bucket.seconds))
    return None
