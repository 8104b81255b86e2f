"""Standing checks of domains: which are due, and what a check changes. Several workers and operators check at once.

Whoever takes a domain has it for a time, the lease; nothing is locked while DNS is asked. What was found is held
against what is thought of the domain by then.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from mailrelay.core.domaincheck import PURPOSES, Purpose, Report
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.recheck import FIRST_CHECK, Standing, Step, advance
from mailrelay.store.database import Database
from mailrelay.store.manage import Connection, note

_LEASE = timedelta(minutes=5)
_MAX_ERROR_CHARACTERS = 500

# A domain is locked while it is taken, as its rows may be due one after the other.
_DUE = """
    with taken as materialized (
        select d.id, d.name from domain d
        where d.id = any (array(
            select domain_id from dns_recheck
            where type in ('EMAIL', 'SENDING') and next_check_at <= %(now)s order by next_check_at limit %(limit)s))
        order by d.id for no key update skip locked
    ), leased as (
        update dns_recheck r set next_check_at = %(now)s::timestamptz + %(lease)s::interval
        from taken where r.domain_id = taken.id and r.type in ('EMAIL', 'SENDING') and r.next_check_at <= %(now)s
        returning r.domain_id
    )
    select id, name from taken where id in (select domain_id from leased) order by id
"""
_DOMAIN = """
    select name, account_id, mx_verified_at is not null, sending_verified_at is not null
    from domain where id = %(id)s for no key update
"""
_ROWS = "select type, status, consecutive_failures, failing_since, failed_at from dns_recheck where domain_id = %(id)s"
_PUT = """
    insert into dns_recheck as r (domain_id, type, status, consecutive_failures, failing_since, failed_at,
                                  last_checked_at, next_check_at, last_ok_at, last_result, last_valid_result,
                                  first_invalid_result, last_error, alert_state, alerted_at, alert_count)
    values (%(id)s, %(type)s, %(status)s, %(failures)s, %(since)s, %(failed)s, %(now)s, %(next)s,
            case when %(right)s then %(now)s::timestamptz end, %(result)s,
            case when %(right)s then %(result)s::jsonb end, case when %(first)s then %(result)s::jsonb end, %(error)s,
            case when %(withdrawn)s then 'DISABLED' else 'NONE' end,
            case when %(withdrawn)s then %(now)s::timestamptz end, %(withdrawn)s::boolean::integer)
    on conflict on constraint dns_recheck_pkey do update
    set status = excluded.status, consecutive_failures = excluded.consecutive_failures,
        failing_since = excluded.failing_since, failed_at = excluded.failed_at,
        last_checked_at = excluded.last_checked_at,
        next_check_at = excluded.next_check_at, last_ok_at = coalesce(excluded.last_ok_at, r.last_ok_at),
        last_result = coalesce(excluded.last_result, r.last_result),
        last_valid_result = coalesce(excluded.last_valid_result, r.last_valid_result),
        first_invalid_result = case when %(right)s then null
                                    else coalesce(excluded.first_invalid_result, r.first_invalid_result) end,
        last_error = excluded.last_error,
        alert_state = case when %(right)s then 'NONE' when %(withdrawn)s then 'DISABLED' else r.alert_state end,
        alerted_at = coalesce(excluded.alerted_at, r.alerted_at), alert_count = r.alert_count + excluded.alert_count
"""
# In one go, as every change of a domain is an event. Null: that one stays as it is.
_STAMP = """
    update domain
    set mx_verified_at = case %(EMAIL)s::boolean when true then %(now)s when false then null
                                                 else mx_verified_at end,
        sending_verified_at = case %(SENDING)s::boolean when true then %(now)s when false then null
                                                        else sending_verified_at end
    where id = %(id)s
"""
_TELL = """
    insert into job (kind, payload, dedupe_key) values ('notice', %(payload)s, %(key)s)
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
"""

# For store/manage_domains.py, in the transaction that brings a domain here or vouches for it.
_BEGIN = """
    insert into dns_recheck (domain_id, type, next_check_at)
    select %(id)s, type, now() + %(first)s::interval from unnest(array['EMAIL', 'SENDING']) type
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
    """A domain to look at."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """A stamp that came or went. owned: the domain is an account's, which was told."""

    purpose: Purpose
    granted: bool
    owned: bool


@dataclass(frozen=True, slots=True)
class Rechecks:
    """The standing checks of the types EMAIL and SENDING. All methods raise Unavailable."""

    database: Database

    async def due(self, now: datetime, limit: int) -> list[DueDomain]:
        """Domains to be looked at, which nobody else gets until the lease ends."""
        values = {"now": now, "limit": limit, "lease": _LEASE}
        return [DueDomain(*row) for row in await self.database.rows(_DUE, values)]

    async def record(self, domain: int, report: Report, now: datetime, dice: float, actor: str) -> list[Change]:
        """What a check makes of a domain: its stamps, when it is looked at next, and who is told.

        A shared domain is looked at regularly from when it was right once: nobody may have published anything.
        """
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(_DOMAIN, {"id": domain})).fetchone()
            if row is None:
                return []  # it went meanwhile
            _, account, *approved = row
            known = {kind: rest for kind, *rest in await (await conn.execute(_ROWS, {"id": domain})).fetchall()}
            changes = []
            for purpose, stamped in zip(PURPOSES, approved, strict=True):
                verdict = report.verdict(purpose)
                if account is None and purpose not in known and not verdict:
                    continue
                before = Standing(stamped, *known.get(purpose, ()))
                step = advance(before, verdict, now, dice)
                await conn.execute(_PUT, _row(domain, report, purpose, before, step, now))
                if step.change is not None:
                    changes.append(Change(purpose, step.change == "granted", account is not None))
            if changes:
                granted = {change.purpose: change.granted for change in changes}
                stamps = {str(purpose): granted.get(purpose) for purpose in PURPOSES}
                await conn.execute(_STAMP, {**stamps, "id": domain, "now": now})
            for change in changes:
                await _tell(conn, domain, account, report, change, actor)
            return changes


async def begin(conn: Connection, domain: int) -> None:
    """A domain has come: look at it soon."""
    await conn.execute(_BEGIN, {"id": domain, "first": FIRST_CHECK})


async def forgive(conn: Connection, domain: int, sending: bool) -> None:
    """Somebody vouches for a domain: its failures so far are forgotten. sending: those, too."""
    types = ["EMAIL", *(("SENDING",) if sending else ())]
    await conn.execute(_FORGIVE, {"id": domain, "types": types, "first": FIRST_CHECK})


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
        "withdrawn": step.change == "withdrawn",
    }


async def _tell(
    conn: Connection, domain: int, account: AccountId | None, report: Report, change: Change, actor: str
) -> None:
    """For the audit, and for the owner if it is no good news."""
    detail = {"for": change.purpose.lower(), "change": "granted" if change.granted else "withdrawn"}
    await note(conn, actor, account, "domain.check", "domain", domain, detail)
    if account is not None and not change.granted:
        told = _notice(account, report, change.purpose)
        await conn.execute(_TELL, {"payload": Jsonb(told.to_json()), "key": told.dedupe_key})


def _notice(account: AccountId, report: Report, purpose: Purpose) -> Notice:
    """What the owner is told."""
    faults = report.faults(purpose)
    if purpose == "EMAIL":
        found = ", ".join(text for one in faults for text in one.found)
        return Notice(Code.DMI, account, data={"domain": report.name, "found": found})
    return Notice(Code.DUS, account, data={"domain": report.name, "reason": faults[0].reason})
