"""Webhooks: what is sent, how it is signed, and when it is tried again."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, NewType
from uuid import UUID

from mailrelay.core.facts import AccountId

WebhookId = NewType("WebhookId", int)

PING = "ping"  # sent when somebody asks whether the receiver works; stored nowhere
SIGNATURE = "Mailrelay-Signature"
TOLERANCE_SECONDS = 300

_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(hours=1)
_GIVE_UP_AFTER = timedelta(days=7)


class Event(StrEnum):
    """What webhooks hear of; sql/schema.sql has the same list."""

    MAIL_FORWARDED = "mail.forwarded"
    MAIL_BLOCKED = "mail.blocked"
    MAIL_FAILED = "mail.failed"
    ALIAS_CREATED = "alias.created"
    ALIAS_DEACTIVATED = "alias.deactivated"
    BAN_HIT = "ban.hit"
    DOMAIN_STATE = "domain.state"


class Position(NamedTuple):
    """A place in the order of events: by transaction, and within one by id."""

    xact: int
    id: int


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event that came true. event: an Event or PING; account: None for the installation's own, or a deleted one."""

    id: UUID
    event: str
    created_at: datetime
    account: UUID | None
    payload: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Entry:
    """A place in the order and what happened there. None: nothing that this webhook wants to hear of."""

    position: Position
    occurrence: Occurrence | None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver, as deliveries need it.

    account: None for the installation's, which hears of everybody. events: none for all. secret: None if the key is
    gone that it was encrypted with. failures: attempts in a row that failed.
    """

    id: WebhookId
    uuid: UUID
    account: AccountId | None
    url: str
    events: tuple[str, ...]
    secret: str | None = field(repr=False)
    position: Position
    failures: int


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """A webhook as lists show it. account: None for the installation's; events: none for all.

    waiting: events that it has not had yet, counted up to 1000.
    """

    id: WebhookId
    uuid: UUID
    account: str | None
    url: str
    events: tuple[str, ...]
    active: bool
    waiting: int
    failures: int
    last_error: str | None
    next_try_at: datetime
    delivered_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt. status: None if there was no answer; problem: '' for a delivery, else one line.

    excerpt: the beginning of what the receiver said.
    """

    status: int | None
    problem: str
    excerpt: str = ""

    @property
    def delivered(self) -> bool:
        """True: the receiver has it."""
        return not self.problem


def body(occurrence: Occurrence) -> bytes:
    """The JSON document that is sent: the same octets at every attempt.

    {"id": uuid, "event": name, "created_at": RFC 3339 in UTC, "account_id": uuid or null, "payload": object}
    """
    created_at = occurrence.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    document = {
        "id": str(occurrence.id),
        "event": occurrence.event,
        "created_at": created_at,
        "account_id": None if occurrence.account is None else str(occurrence.account),
        "payload": occurrence.payload,
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def headers(occurrence: Occurrence, content: bytes, secret: str, now: int) -> Mapping[str, str]:
    """What goes with a body. now: seconds since 1970, part of what is signed."""
    return {
        "Content-Type": "application/json",
        "Webhook-Id": str(occurrence.id),
        SIGNATURE: f"t={now},v1={_mac(secret, str(now), content)}",
    }


def verify(secret: str, signature: str, content: bytes, now: int, tolerance_seconds: int = TOLERANCE_SECONDS) -> bool:
    """For receivers: True if the body is from whoever has the secret, and was sent lately.

    signature: value of the header. now: seconds since 1970.
    """
    parts = dict(part.partition("=")[::2] for part in signature.split(","))
    stamp, mac = parts.get("t", ""), parts.get("v1", "")
    if not re.fullmatch(r"[0-9]{1,12}", stamp, re.ASCII) or abs(now - int(stamp)) > tolerance_seconds:
        return False
    return hmac.compare_digest(_mac(secret, stamp, content).encode("ascii"), mac.encode("utf-8", "replace"))


def _mac(secret: str, stamp: str, content: bytes) -> str:
    return hmac.new(secret.encode("utf-8"), b"%b.%b" % (stamp.encode("ascii"), content), hashlib.sha256).hexdigest()


def pause(failures: int) -> timedelta | None:
    """How long to wait after so many failures in a row, from 1 on: 5 seconds, twice that, … one hour.

    None: they would have taken seven days by now, so it is given up.
    """
    # Counted, not measured: while nothing is tried because we are down, the receiver is not to blame.
    waited = sum((_step(number) for number in range(1, failures)), timedelta())
    return None if waited >= _GIVE_UP_AFTER else _step(failures)


def _step(failures: int) -> timedelta:
    return min(_FIRST_PAUSE * (1 << min(failures - 1, 20)), _LONGEST_PAUSE)


def place(webhook: UUID) -> bytes:
    """What the sealed secret is bound to."""
    return b"webhook\0" + webhook.bytes
