"""Domains that somebody proposes: what they have to publish, and what is shown of how far they are.

Shapes as in the Haltman API (haltman-api.md section 7.4).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from mailrelay.core.dnsrecords import MAIN_SELECTOR, DnsRecord
from mailrelay.core.domaincheck import (
    MAX_CHARACTERS,
    MAX_FOUND,
    Answers,
    Expected,
    Finding,
    Report,
    examine,
    limited,
    public_key,
    questions,
    readable,
    silence,
)
from mailrelay.core.lookup import Question
from mailrelay.core.naming import ServiceNames
from mailrelay.core.webcheck import Hosting, Trail, finding

RequestType = Literal["UI", "EMAIL"]
Status = Literal["PENDING", "ACTIVE", "EXPIRED", "FAILED"]

TYPES: tuple[RequestType, ...] = ("UI", "EMAIL")
MAX_RESULT_OCTETS = 20_000
_FEW = 3  # records that are left of each name in a result that is too large
_MAX_HOST = 253


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this installation asks of domains."""

    service: ServiceNames
    hosting: Hosting

    def key_record(self, target: str) -> DnsRecord:
        """Domains that are proposed sign with the service's key, which they name: theirs need not be made before."""
        host = f"{MAIN_SELECTOR}._domainkey"
        return DnsRecord(f"{host}.{target}", "CNAME", f"{host}.{self.service.domain}")


def hindrance(target: str, service: ServiceNames) -> str:
    """Why a name can be no shared domain whatever it publishes, in a sentence; '' if it can."""
    own = {*service.domains, service.hostname}
    if any(target == one or target.endswith(f".{one}") for one in own):
        return f"{target} is a domain of the service itself, or below one."
    if "." not in target or not target.rpartition(".")[2].isalpha():
        return f"{target} is no mail domain."
    return ""


def mail_questions(target: str, wanted: Wanted) -> tuple[Question, ...]:
    """What DNS is asked about a domain for mail."""
    key = wanted.key_record(target)
    keys: tuple[Question, ...] = ((key.name, "CNAME"), (key.name, "TXT"), (key.value, "TXT"))
    return (*questions(Expected(target, wanted.service, ())), *keys)


def examine_mail(target: str, wanted: Wanted, answers: Answers) -> Report:
    """The report on a proposed domain, from the answers of one resolver: MX, SPF, DMARC, DKIM."""
    plain = examine(Expected(target, wanted.service, ()), answers)
    rest = tuple(found for found in plain.findings if found.key != "DKIM")
    return Report(target, (*rest, _key(target, wanted, answers)))


def _key(target: str, wanted: Wanted, answers: Answers) -> Finding:
    """The service's key is named, or published once more."""
    publish = wanted.key_record(target)
    alias, text = answers.get((publish.name, "CNAME")), answers.get((publish.name, "TXT"))
    named = () if alias is None else alias.names
    texts = () if text is None else text.texts
    found = limited(named) or limited(readable(one) for one in texts)
    if publish.value in named:
        return Finding("DKIM", "SENDING", publish, "right", "The signing key of the service is named.", found)
    ours = answers.get((publish.value, "TXT"))
    keys = [one.key for one in map(public_key, () if ours is None else ours.texts) if one is not None]
    theirs = [one.key for one in map(public_key, texts) if one is not None]
    if theirs and all(one in keys for one in theirs):
        return Finding("DKIM", "SENDING", publish, "right", "The signing key of the service is published.", found)
    if text is None or (theirs and ours is None):
        name = publish.name if text is None else publish.value
        return Finding("DKIM", "SENDING", publish, "unknown", silence(name, "TXT"), found)
    if not found:
        return Finding("DKIM", "SENDING", publish, "missing", f"{publish.name} has no CNAME record.", found)
    sentence = f"{publish.name} leads to another key than that of the service."
    return Finding("DKIM", "SENDING", publish, "wrong", sentence, found)


def nothing_known(target: str, kind: RequestType, wanted: Wanted) -> Report:
    """The report on a domain that nobody has looked at."""
    if kind == "UI":
        return Report(target, (finding(target, wanted.hosting, Trail()),))
    return examine_mail(target, wanted, {})


# --- what is shown and kept ----------------------------------------------------------------------------------------


def entries(report: Report, *, checked: bool = True) -> list[dict[str, Any]]:
    """All records of a report, passed or not, in their order."""
    return [_entry(found, checked=checked) for found in report.findings]


def _entry(found: Finding, *, checked: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "key": found.key,
        "type": found.publish.type,
        "name": found.publish.name,
        "expected": _host(found.publish.value) if found.key == "MX" else found.publish.value,
        "found": [],
        "ok": False,
    }
    if not checked:
        return shown
    few = found.found[:MAX_FOUND]
    most = _MAX_HOST if found.key in ("MX", "CNAME") else MAX_CHARACTERS
    cut = len(found.found) > MAX_FOUND or any(len(one) > most for one in few)
    shown["found"] = [_mx(one) if found.key == "MX" else one[:most] for one in few]
    return {**shown, "ok": found.state == "right", "found_truncated": cut, **found.extras}


def _host(value: str) -> dict[str, Any]:
    priority, _, host = value.partition(" ")
    return {"host": host, "priority": int(priority)}


def _mx(value: str) -> dict[str, Any]:
    priority, _, host = value.partition(" ")
    return {"exchange": host[:_MAX_HOST], "priority": int(priority)}


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a domain gave. asked: for each resolver how many questions it was asked and answered."""

    report: Report
    asked: Sequence[tuple[int, int]]

    def result(self, checked_at: datetime, next_check_at: datetime) -> dict[str, Any]:
        """As it is kept and shown to administrators."""
        missing = entries(self.report)
        snapshot = {
            "resolvers": [
                {"resolver": number, "questions": questions, "answers": answers}
                for number, (questions, answers) in enumerate(self.asked, 1)
            ],
            "records": {
                one.key: {"state": one.state, "count": len(one.found), "sentence": one.sentence}
                for one in self.report.findings
            },
        }
        kept = {
            "dns_snapshot": snapshot,
            "missing": missing,
            "ok": bool(self.report.complete),
            "checked_at": _iso(checked_at),
            "next_check_at": _iso(next_check_at),
        }
        if _octets(kept) <= MAX_RESULT_OCTETS:
            return kept
        fewer = [_fewer(entry) for entry in missing]
        return {**kept, "dns_snapshot": {"summary": "too large to be kept"}, "missing": fewer, "truncated": True}


def _fewer(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "found": entry["found"][:_FEW], "found_truncated": True}


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _octets(content: object) -> int:
    return len(json.dumps(content).encode())


def faults(report: Report) -> str:
    """Why a domain is not ready, in sentences; '' if it is."""
    return " ".join(found.sentence for found in report.findings if found.state != "right" and found.needed)


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody's proposal. status: of Status, or what an administrator wrote; last_result: JSON as it was kept."""

    id: int
    target: str
    type: RequestType
    status: str
    created_at: datetime
    updated_at: datetime
    activated_at: datetime | None
    last_checked_at: datetime | None
    next_check_at: datetime | None
    last_result: Any
    fail_reason: str | None
    expires_at: datetime

    def due(self, now: datetime) -> bool:
        """It is to be looked at."""
        waits = self.next_check_at is not None and self.next_check_at > now
        return self.status == "PENDING" and now < self.expires_at and not waits

    def shown(self, wanted: Wanted) -> list[dict[str, Any]]:
        """All records with what was found of them."""
        kept = self.last_result.get("missing") if isinstance(self.last_result, Mapping) else None
        blank = entries(nothing_known(self.target, self.type, wanted), checked=False)
        known = [one for one in kept if isinstance(one, dict)] if isinstance(kept, list) else []
        found = {one["key"]: one for one in known if isinstance(one.get("key"), str)}
        return [_complete(found.get(entry["key"]), entry) for entry in blank]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a domain gave. right None: DNS gave no answer; reason: why it is not right; result: to be kept."""

    right: bool | None
    reason: str
    result: Any
    at: datetime
    next_check: datetime


def _complete(found: dict[str, Any] | None, blank: dict[str, Any]) -> dict[str, Any]:
    """What was kept, if it looks like that; administrators may have written anything."""
    if found is None or not blank.keys() <= found.keys():
        return blank
    return {**found, "expected": blank["expected"]} if found["expected"] != blank["expected"] else found


def overall(statuses: Sequence[str]) -> str:
    """Of both requests of a domain."""
    return next((status for status in ("PENDING", "FAILED", "EXPIRED") if status in statuses), "ACTIVE")


def proposed(target: str, kind: RequestType) -> Mapping[str, str]:
    """What operators are told of a new proposal: data of its notice."""
    return {"domain": target, "type": kind}


def news(request: Request, status: Status, reason: str, active: bool) -> str:
    """What operators are told of a proposal's end. active: the domain is switched on."""
    named = f"{request.target} ({request.type}, request {request.id})"
    match status:
        case "ACTIVE":
            more = "" if active else " It is not switched on: an administrator has to do that."
            return f"ACTIVE: the records of {named} are right, so it is approved.{more}"
        case "EXPIRED":
            return f"EXPIRED: the records of {named} did not become right in time. {reason}"
        case _:
            return f"{status}: {named} cannot be approved. {reason}"
