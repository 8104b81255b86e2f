"""How long things are kept, and whether the ledger adds up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Kind(StrEnum):
    """What the worker clears away. Each is a table, but for those that `table` names."""

    OUTBOUND = "outbound"
    RATE_WINDOW = "rate_window"
    BANDWIDTH = "bandwidth"  # windows of a month, in rate_window
    BOUNCES = "bounces"  # of an alias, a day each, in rate_window
    REQUEST_WINDOW = "request_window"
    MESSAGE_ID = "message_id"
    CONFIRMATION = "confirmation"
    SESSION = "session"
    TOKEN = "token"  # bearer tokens; API keys stay, as their owners' records name them  # noqa: S105
    STORED_MESSAGE = "stored_message"
    FAILED_DELIVERY = "failed_delivery"
    RECEIVER_MEMORY = "receiver_memory"
    JOB_DONE = "job_done"
    JOB_GIVEN_UP = "job_given_up"
    OUTBOX = "outbox"
    COMPLAINT = "complaint"
    NOTIFICATION_LIMIT = "notification_limit"
    API_LOG = "api_log"
    AUDIT = "audit"
    DNS_REQUEST = "dns_request"  # of domains that did not come
    QUEUED = "queued"  # ledger rows still queued: they are not removed, but end as failed
    LEDGER = "ledger"

    @property
    def table(self) -> str:
        """Where its rows are."""
        return _TABLES.get(self, self.value)


_TABLES: Mapping[Kind, str] = {
    Kind.BANDWIDTH: "rate_window",
    Kind.BOUNCES: "rate_window",
    Kind.JOB_DONE: "job",
    Kind.JOB_GIVEN_UP: "job",
    Kind.QUEUED: "ledger",
}

# Spec sections 3.2, 3.6, 7.1 and 7.6; the rest of it in days that nobody asks after.
_KEEP: Mapping[Kind, timedelta] = {
    Kind.OUTBOUND: timedelta(days=14),
    Kind.RATE_WINDOW: timedelta(days=8),  # automatic answers count for a week
    Kind.BANDWIDTH: timedelta(days=92),
    Kind.BOUNCES: timedelta(days=12),  # ten days are looked at (spec section 7.5)
    Kind.REQUEST_WINDOW: timedelta(hours=26),  # the longest is a day
    Kind.MESSAGE_ID: timedelta(days=400),
    Kind.CONFIRMATION: timedelta(days=30),  # after its expiry
    Kind.SESSION: timedelta(days=30),  # after its expiry
    Kind.TOKEN: timedelta(hours=168),  # after its expiry (addy-api.md section 1.3) or end
    Kind.STORED_MESSAGE: timedelta(0),  # after its expiry
    Kind.FAILED_DELIVERY: timedelta(days=7),
    Kind.RECEIVER_MEMORY: timedelta(days=37),  # after its last refusal: 7 count, 30 are marked
    Kind.JOB_DONE: timedelta(days=1),
    Kind.JOB_GIVEN_UP: timedelta(days=14),
    Kind.OUTBOX: timedelta(days=14),  # so far back webhooks can be sent
    Kind.COMPLAINT: timedelta(days=60),  # 30 count (spec section 7.8)
    Kind.NOTIFICATION_LIMIT: timedelta(days=35),  # the longest window is 30 days (spec section 8.4)
    Kind.API_LOG: timedelta(days=90),
    Kind.AUDIT: timedelta(days=365),
    Kind.DNS_REQUEST: timedelta(days=90),  # after its expiry
}


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step of a sweep did. position: where the next one begins; more: there is something left."""

    rows: int
    position: str
    more: bool


def cutoffs(now: datetime, queue_days: float, ledger_days: float) -> Mapping[Kind, datetime]:
    """For every kind, in the order of work: what is older goes.

    queue_days: the life of a message in Postfix' queue and a margin; then nobody will hand it over any more.
    """
    settings = {Kind.QUEUED: timedelta(days=queue_days), Kind.LEDGER: timedelta(days=ledger_days)}
    keep = {**_KEEP, **settings}
    return {kind: now - keep[kind] for kind in Kind}


def imbalance(rows: Mapping[str, int]) -> int:
    """accepted - delivered - failed - discarded - held - queued, from the number of ledger rows by outcome.

    A row is an accepted recipient's unless it says `refused`; so this is 0 as long as no unknown outcome is about.
    """
    accepted = sum(count for outcome, count in rows.items() if outcome != "refused")
    return accepted - sum(rows.get(outcome, 0) for outcome in ACCEPTED)


ACCEPTED = ("delivered", "failed", "discarded", "held", "queued")
OUTCOMES = ("refused", *ACCEPTED)
