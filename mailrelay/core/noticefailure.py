"""What a notification about a failed delivery says of it (spec sections 7.6 and 8.4)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from mailrelay.core.failed import KEPT_FOR

_RESULT = re.compile(r";(spf|dkim|dmarc)=([a-z]{1,20})[:,;]")
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Setback:
    """A failed delivery as far as its owner is told of it.

    alias: its address, None: it has none, or it is gone. sender: '<>' for the null sender; sender, destination,
    subject: '' if unknown or hidden. evidence: value of the ingress header, '' if there is none.
    """

    sender: str
    destination: str
    subject: str
    evidence: str
    email_type: str
    bounce_type: str | None
    status: str | None
    answer: str | None
    remote_mta: str | None
    quarantined: bool
    stored: bool
    partial: bool
    attempted_at: datetime | None
    created_at: datetime
    alias_uuid: UUID | None
    alias: str | None


def shown_time(at: datetime) -> str:
    """A time as people read it in any language."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def authentication(evidence: str) -> str:
    """What was found out about the sender, in short; '' if nothing is known.

    evidence: of our own ingress header, whose values core/ingress.py writes.
    """
    found = _RESULT.findall(_BLANKS.sub("", evidence))
    return ", ".join(f"{name.upper()} {result}" for name, result in found)


def values(one: Setback, service_address: str) -> Mapping[str, str]:
    """What texts about it can say, by name. service_address: who writes where no alias does."""
    forward, reply = one.email_type == "F", one.email_type in ("R", "S")
    said = {
        "alias": one.alias or service_address,
        "recipient": one.destination,
        "remote_mta": one.remote_mta or "",
        "sender": "" if one.sender == "<>" else one.sender,
        "subject": one.subject,
        "status": one.status or "",
        "answer": one.answer or "",
        "authentication": authentication(one.evidence),
        "at": shown_time(one.attempted_at or one.created_at),
        "until": shown_time(one.created_at + KEPT_FOR) if one.stored else "",
    }
    flags = {
        "forward": forward,
        "reply": reply,
        "notice": not (forward or reply),
        "quarantined": one.quarantined,
        "stored": one.stored,
        "partial": one.stored and one.partial,
        **{kind: one.bounce_type == kind for kind in ("hard", "soft", "spam", "rule")},
    }
    return said | {name: "yes" for name, true in flags.items() if true}


def item(one: Setback) -> tuple[str, str]:
    """A line of a list: when, and what became of whose mail."""
    route = " - ".join(text for text in (one.alias, "" if one.sender == "<>" else one.sender) if text)
    why = " ".join(text for text in (one.status, one.answer) if text)
    return shown_time(one.created_at), ": ".join(text for text in (route, why) if text)
