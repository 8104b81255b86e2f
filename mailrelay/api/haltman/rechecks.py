"""What is told of forced checks (haltman-api.md section 7.5)."""

from datetime import datetime
from typing import Literal

from typing_extensions import TypedDict

from mailrelay.api.haltman.problems import Problem
from mailrelay.api.haltman.replies import iso, iso_or_none
from mailrelay.api.haltman.shapes import ZeroOrOne
from mailrelay.core.domaincheck import Purpose
from mailrelay.core.recheck import DomainStanding
from mailrelay.flows.recheck import Outcome

BUSY = "another check of domains is under way"


class Standing(TypedDict):
    """What is thought of a domain by now."""

    status: str
    consecutiveFailures: int
    nextCheckAt: str | None
    lastError: str | None


class SummedDomain(TypedDict):
    name: str
    active: ZeroOrOne
    activeMx: ZeroOrOne
    activeUi: ZeroOrOne
    emailValid: bool
    uiValid: bool
    rechecks: dict[str, Standing]


class Summary(TypedDict):
    totalDomains: int
    adminEnabled: int
    adminDisabled: int
    emailValid: int
    emailInvalid: int
    uiValid: int
    uiInvalid: int
    bothValid: int
    bothInvalid: int
    domains: list[SummedDomain]


class Result(TypedDict):
    """Of one check. ok null: DNS gave no answer."""

    domain: str
    type: str
    ok: bool | None
    status: str
    consecutiveFailures: int
    approvalColumn: Literal["active_mx", "active_ui"]
    approvalValue: ZeroOrOne
    nextCheckAt: str | None
    error: str | None


class RecheckReport(TypedDict):
    status: Literal["completed"]
    scope: Literal["TARGET"]
    target: str
    started_at: str
    completed_at: str
    duration_seconds: float
    processed_rechecks: int
    successful_rechecks: int
    failed_rechecks: int
    summary: Summary
    results: list[Result]


class AllStarted(TypedDict):
    status: Literal["started"]
    scope: Literal["ALL"]
    target: None
    started_at: str


def started(at: datetime) -> AllStarted:
    """What is known when the check of all domains begins."""
    return AllStarted(status="started", scope="ALL", target=None, started_at=iso(at))


def busy() -> Problem:
    return Problem(409, BUSY)


def report(outcome: Outcome) -> RecheckReport:
    """A check that is over."""
    results = [_result(outcome, purpose, one) for one in outcome.standings for purpose in outcome.report.purposes]
    right = sum(one["ok"] is True for one in results)
    return RecheckReport(
        status="completed",
        scope="TARGET",
        target=outcome.target,
        started_at=iso(outcome.started_at),
        completed_at=iso(outcome.completed_at),
        duration_seconds=round((outcome.completed_at - outcome.started_at).total_seconds(), 3),
        processed_rechecks=len(results),
        successful_rechecks=right,
        failed_rechecks=len(results) - right,
        summary=_summary([_domain(one) for one in outcome.standings]),
        results=results,
    )


def _result(outcome: Outcome, purpose: Purpose, domain: DomainStanding) -> Result:
    check = domain.checks.get(purpose)  # none of what never was right
    approved = domain.ui if purpose == "UI" else domain.mx
    words = " ".join(one.sentence for one in outcome.report.of(purpose) if one.state != "right")
    return Result(
        domain=domain.name,
        type=purpose,
        ok=outcome.report.verdict(purpose),
        status="INVALID" if check is None else check.status,
        consecutiveFailures=0 if check is None else check.failures,
        approvalColumn="active_ui" if purpose == "UI" else "active_mx",
        approvalValue=1 if approved else 0,
        nextCheckAt=iso_or_none(None if check is None else check.next_check),
        error=words or None,
    )


def _domain(one: DomainStanding) -> SummedDomain:
    return SummedDomain(
        name=one.name,
        active=1 if one.active else 0,
        activeMx=1 if one.mx else 0,
        activeUi=1 if one.ui else 0,
        emailValid=one.active and one.mx,
        uiValid=one.active and one.ui,
        rechecks={
            purpose: Standing(
                status=check.status,
                consecutiveFailures=check.failures,
                nextCheckAt=iso(check.next_check),
                lastError=check.last_error,
            )
            for purpose, check in one.checks.items()
        },
    )


def _summary(domains: list[SummedDomain]) -> Summary:
    email, ui = sum(one["emailValid"] for one in domains), sum(one["uiValid"] for one in domains)
    enabled = sum(one["active"] for one in domains)
    return Summary(
        totalDomains=len(domains),
        adminEnabled=enabled,
        adminDisabled=len(domains) - enabled,
        emailValid=email,
        emailInvalid=len(domains) - email,
        uiValid=ui,
        uiInvalid=len(domains) - ui,
        bothValid=sum(one["emailValid"] and one["uiValid"] for one in domains),
        bothInvalid=sum(not one["emailValid"] and not one["uiValid"] for one in domains),
        domains=domains,
    )
