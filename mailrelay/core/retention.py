"""How long things are kept, and whether the ledger adds up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Kind(StrEnum):
    """What the worker clears away. Each is a table, but for two."""

    OUTBOUND = "outbound"
    RATE_WINDOW = "rate_window"
    BANDWIDTH = "bandwidth"  # windows of a month, in rate_window
    MESSAGE_ID = "message_id"
    CONFIRMATION = "confirmation"
    SESSION = "session"
    STORED_MESSAGE = "stored_message"
    FAILED_DELIVERY = "failed_delivery"
    RECEIVER_MEMORY = "receiver_memory"
    QUEUED = "queued"  # ledger rows still queued: they are not removed, but end as failed
    LEDGER = "ledger"

    @property
    def table(self) -> str:
        """Where its rows are."""
        return {Kind.BANDWIDTH: "rate_window", Kind.QUEUED: "ledger"}.get(self, self.value)


# Spec sections 3.2, 3.6, 7.1 and 7.6; the rest of it in days that nobody asks after.
_KEEP: Mapping[Kind, timedelta] = {
    Kind.OUTBOUND: timedelta(days=14),
    Kind.RATE_WINDOW: timedelta(days=8),  # automatic answers count for a week
    Kind.BANDWIDTH: timedelta(days=92),
    Kind.MESSAGE_ID: timedelta(days=400),
    Kind.CONFIRMATION: timedelta(days=30),  # after its expiry
    Kind.SESSION: timedelta(days=30),  # after its expiry
    Kind.STORED_MESSAGE: timedelta(0),  # after its expiry
    Kind.FAILED_DELIVERY: timedelta(days=7),
    Kind.RECEIVER_MEMORY: timedelta(days=37),  # after its last refusal: 7 count, 30 are marked
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
