"""Standing checks of domains: which are due, and what a check changes. Several workers and operators check at once.

Whoever takes a domain has it for a time, the lease; nothing is locked while DNS is asked. What was found is held
against what is thought of the domain by then.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from mailrelay.core.domaincheck import PURPOSES, Purpose, Report
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.recheck import (
    DAILY,
    FIRST_CHECK,
    OFTEN,
    Alert,
    CheckStanding,
    DomainStanding,
    Incident,
    News,
    Standing,
    Step,
    advance,
    alert,
    news,
    owned_alert,
)
from mailrelay.store.announcements import announce
from mailrelay.store.database import Database
from mailrelay.store.manage import Connection, note

MAIL: tuple[Purpose, ...] = ("EMAIL", "SENDING")
_LEASE = timedelta(minutes=5)
_MAX_ERROR_CHARACTERS = 500
# What is thought of a domain that nobody has looked at, as _ROWS has it.
_NEW: tuple[Any, ...] = ("OK", 0, None, None, "NONE", None)

# A domain is locked while it is taken, as its rows may be due one after the other.
_DUE = """
    with taken as materialized (
        select d.id, d.name, d.shared from domain d
        where d.id = any (array(
            select domain_id from dns_recheck where next_check_at <= %(now)s order by next_check_at limit %(limit)s))
        order by d.id for no key update skip locked
    ), leased as (
        update dns_recheck r set next_check_at = %(now)s::timestamptz + %(lease)s::interval
        from taken where r.domain_id = taken.id and r.next_check_at <= %(now)s
        returning r.domain_id, r.type
    )
    select t.id, t.name, t.shared, bool_or(l.type <> 'UI'), bool_or(l.type = 'UI')
    from taken t join leased l on l.domain_id = t.id
    group by t.id, t.name, t.shared order by t.id
"""
_SHARED = """
    select d.id, d.name, true, true, exists (select from dns_recheck where domain_id = d.id and type = 'UI')
    from domain d where d.shared and (%(id)s::bigint is null or d.id = %(id)s) order by d.id
"""
_SOON = "update dns_recheck set next_check_at = now() where domain_id = %(id)s and type = %(type)s"
# The table goes before its rows, as where domains come, are renamed and approved.
_LOCK = "lock table domain in row exclusive mode"
_DOMAIN = """
    select name, account_id, active, mx_verified_at is not null, sending_verified_at is not null,
           ui_verified_at is not null
    from domain where id = %(id)s for no key update
"""
_ROWS = """
    select type, status, consecutive_failures, failing_since, failed_at, alert_state, alerted_at
    from dns_recheck where domain_id = %(id)s
"""
_PUT = """
    insert into dns_recheck as r (domain_id, type, status, consecutive_failures, failing_since, failed_at,
                                  last_checked_at, next_check_at, last_ok_at, last_result, last_valid_result,
                                  first_invalid_result, last_error, alert_state, alerted_at, alert_count)
    values (%(id)s, %(type)s, %(status)s, %(failures)s, %(since)s, %(failed)s, %(now)s, %(next)s,
            case when %(right)s then %(now)s::timestamptz end, %(result)s,
            case when %(right)s then %(result)s::jsonb end, case when %(first)s then %(result)s::jsonb end, %(error)s,
            %(alert)s, %(alerted)s, %(told)s::boolean::integer)
    on conflict on constraint dns_recheck_pkey do update
    set status = excluded.status, consecutive_failures = excluded.consecutive_failures,
        failing_since = excluded.failing_since, failed_at = excluded.failed_at,
        last_checked_at = excluded.last_checked_at,
        next_check_at = excluded.next_check_at, last_ok_at = coalesce(excluded.last_ok_at, r.last_ok_at),
        last_result = coalesce(excluded.last_result, r.last_result),
        last_valid_result = coalesce(excluded.last_valid_result, r.last_valid_result),
        first_invalid_result = case when %(right)s then null
                                    else coalesce(excluded.first_invalid_result, r.first_invalid_result) end,
        last_error = excluded.last_error, alert_state = excluded.alert_state, alerted_at = excluded.alerted_at,
        alert_count = r.alert_count + excluded.alert_count
"""
# In one go, as every change of a domain is an event. Null: that one stays as it is.
_STAMP = """
    update domain
    set mx_verified_at = case %(EMAIL)s::boolean when true then %(now)s when false then null
                                                 else mx_verified_at end,
        sending_verified_at = case %(SENDING)s::boolean when true then %(now)s when false then null
                                                        else sending_verified_at end,
        ui_verified_at = case %(UI)s::boolean when true then %(now)s when false then null else ui_verified_at end
    where id = %(id)s
"""

_STANDINGS = """
    select d.id, d.name, d.active, d.mx_verified_at is not null, d.ui_verified_at is not null,
           r.type, r.status, r.consecutive_failures, r.next_check_at, r.last_error
    from domain d left join dns_recheck r on r.domain_id = d.id and r.type in ('EMAIL', 'UI')
    where d.shared and (%(id)s::bigint is null or d.id = %(id)s) order by d.id, r.type
"""
_INCIDENTS = """
    select d.name, r.type, r.status, r.failing_since, r.last_error
    from dns_recheck r join domain d on d.id = r.domain_id
    where d.shared and d.active and r.alert_state in ('OPEN', 'DISABLED') order by r.failing_since, d.name
"""

# For store/manage_domains.py and store/proposals.py, in the transaction that brings a domain here or vouches for it.
_BEGIN = """
    insert into dns_recheck (domain_id, type, next_check_at)
    select %(id)s, type, now() + %(first)s::interval from unnest(%(types)s::text[]) type
    on conflict on constraint dns_recheck_pkey do nothing
"""
_FORGIVE = """
    update dns_recheck set status = 'OK', consecutive_failures = 0, failing_since = null, failed_at = null,
                           first_invalid_result = null, alert_state = 'NONE',
                           next_check_at = now() + %(first)s::interval
    where domain_id = %(id)s and type = any (%(types)s::text[])
"""


@dataclass(frozen=True, slots=True)
class DueDomain:
    """A domain to look at. mail, web: for which of it."""

    id: int
    name: str
    shared: bool = False
    mail: bool = True
    web: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A stamp that came or went. owned: the domain is an account's, which was told."""

    purpose: Purpose
    granted: bool
    owned: bool


@dataclass(frozen=True, slots=True)
class Rechecks:
    """The standing checks. All methods raise Unavailable.

    operators: mailboxes of those who hear of shared domains, which have no owner.
    """

    database: Database
    operators: Sequence[str] = ()

    async def due(self, now: datetime, limit: int) -> list[DueDomain]:
        """Domains to be looked at, which nobody else gets until the lease ends."""
        values = {"now": now, "limit": limit, "lease": _LEASE}
        return [DueDomain(*row) for row in await self.database.rows(_DUE, values)]

    async def shared(self, domain: int | None = None) -> list[DueDomain]:
        """All shared domains, or the one with this id, whether they are due or not."""
        return [DueDomain(*row) for row in await self.database.rows(_SHARED, {"id": domain})]

    async def soon(self, domain: int, purpose: Purpose) -> None:
        """The worker shall look at that."""
        await self.database.rows(_SOON, {"id": domain, "type": purpose})

    async def standings(self, domain: int | None = None) -> list[DomainStanding]:
        """How shared domains stand, one or all."""
        found: dict[int, DomainStanding] = {}
        for number, name, active, mx, ui, kind, *rest in await self.database.rows(_STANDINGS, {"id": domain}):
            one = found.setdefault(number, DomainStanding(number, name, active, mx, ui, {}))
            if kind is not None:
                one.checks[kind] = CheckStanding(*rest)
        return list(found.values())

    async def incidents(self) -> list[Incident]:
        """What operators were told of that is not over."""
        return [Incident(*row) for row in await self.database.rows(_INCIDENTS)]

    async def record(self, domain: int, report: Report, now: datetime, dice: float, actor: str) -> list[Change]:
        """What a check makes of a domain: its stamps, when it is looked at next, and who is told.

        A shared domain is looked at regularly from when it was right once: nobody may have published anything.
        Operators hear of those that are switched on: anybody can propose others.
        """
        async with self.database.connection() as conn, conn.transaction():
            await conn.execute(_LOCK)
            row = await (await conn.execute(_DOMAIN, {"id": domain})).fetchone()
            if row is None or row[0] != report.name:
                return []  # it went meanwhile, or has another name
            _, account, active, *stamped = row
            known = {kind: rest for kind, *rest in await (await conn.execute(_ROWS, {"id": domain})).fetchall()}
            place = _Place(domain, account, OFTEN if account is None and active else DAILY, self.operators)
            changes = []
            for purpose in report.purposes:
                if account is None and purpose not in known and not report.verdict(purpose):
                    continue
                *graded, alert_state, alerted_at = known.get(purpose, _NEW)
                before = Standing(stamped[PURPOSES.index(purpose)], *graded)
                step = advance(before, report.verdict(purpose), now, dice, place.calm)
                told = await _put(conn, place, report, purpose, before, step, Alert(alert_state, alerted_at), now)
                if told is not None and active:
                    await post(conn, self.operators, news(report, purpose, step, told))
                if step.change is not None:
                    changes.append(Change(purpose, step.change == "granted", account is not None))
            if changes:
                granted = {change.purpose: change.granted for change in changes}
                stamps = {str(purpose): granted.get(purpose) for purpose in PURPOSES}
                await conn.execute(_STAMP, {**stamps, "id": domain, "now": now})
            for change in changes:
                await _tell(conn, domain, account, report, change, actor)
            return changes


async def begin(conn: Connection, domain: int, *purposes: Purpose) -> None:
    """A domain has come: look at it soon."""
    await conn.execute(_BEGIN, {"id": domain, "first": FIRST_CHECK, "types": list(purposes or MAIL)})


async def forgive(conn: Connection, domain: int, *purposes: Purpose) -> None:
    """Somebody vouches for a domain: its failures so far are forgotten."""
    await conn.execute(_FORGIVE, {"id": domain, "types": list(purposes), "first": FIRST_CHECK})


async def post(conn: Connection, operators: Sequence[str], text: str, code: Code = Code.OPS) -> None:
    """Tell all operators something."""
    await announce(conn, *(Notice(code, None, data={"address": one, "text": text}) for one in operators))


@dataclass(frozen=True, slots=True)
class _Place:
    """Whose domain it is, and how often it is looked at."""

    domain: int
    account: AccountId | None
    calm: timedelta
    operators: Sequence[str]


async def _put(
    conn: Connection,
    place: _Place,
    report: Report,
    purpose: Purpose,
    before: Standing,
    step: Step,
    known: Alert,
    now: datetime,
) -> News | None:
    """Write down what is thought of a domain. Gives what operators are told of it."""
    told: News | None
    if place.account is None:
        after, told = alert(known, before, step, now)
    else:  # its owner is told another way
        after, told = owned_alert(known, step, now), None
    warned = after.at != known.at
    row = _row(place.domain, report, purpose, before, step, now)
    await conn.execute(_PUT, {**row, "alert": after.state, "alerted": after.at, "told": warned})
    return told


def _row(
    domain: int, report: Report, purpose: Purpose, before: Standing, step: Step, now: datetime
) -> dict[str, object]:
    verdict, after = report.verdict(purpose), step.standing
    sentences = " ".join(one.sentence for one in report.of(purpose) if one.state != "right")
    findings = [asdict(one) for one in report.findings if one.purpose == purpose]
    return {
        "id": domain,
        "type": purpose,
        "status": after.status,
        "failures": after.failures,
        "since": after.failing_since,
        "failed": after.failed_at,
        "now": now,
        "next": step.next_check,
        "right": bool(verdict),
        "result": None if verdict is None else Jsonb(findings),
        "first": verdict is False and before.failures == 0,
        "error": sentences[:_MAX_ERROR_CHARACTERS] or None,
    }


async def _tell(
    conn: Connection, domain: int, account: AccountId | None, report: Report, change: Change, actor: str
) -> None:
    """For the audit, and for the owner if it is no good news."""
    detail = {"for": change.purpose.lower(), "change": "granted" if change.granted else "withdrawn"}
    await note(conn, actor, account, "domain.check", "domain", domain, detail)
    if account is not None and not change.granted:
        await announce(conn, _notice(account, report, change.purpose))


def _notice(account: AccountId, report: Report, purpose: Purpose) -> Notice:
    """What the owner is told."""
    faults = report.faults(purpose)
    if purpose == "EMAIL":
        found = ", ".join(text for one in faults for text in one.found)
        return Notice(Code.DMI, account, data={"domain": report.name, "found": found})
    return Notice(Code.DUS, account, data={"domain": report.name, "reason": faults[0].reason})
