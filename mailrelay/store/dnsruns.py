"""Forced checks of domains: one at a time, of all domains by a job."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from mailrelay.core.jobs import DOMAIN_RECHECK
from mailrelay.store.database import Database
from mailrelay.store.manage import note
from mailrelay.store.rechecks import post

LEASE = timedelta(minutes=10)  # of the worker, which prolongs it
_BEGIN = """
    insert into dns_run as r (target, started_at, leased_until) values (%(target)s, %(now)s, %(until)s)
    on conflict on constraint dns_run_pkey do update
    set target = excluded.target, started_at = excluded.started_at, leased_until = excluded.leased_until
    where r.leased_until <= %(now)s
    returning true
"""
_JOB = """
    insert into job (kind, payload, dedupe_key) values (%(kind)s, %(payload)s, %(kind)s)
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing returning true
"""
_PROLONG = """
    insert into dns_run as r (target, started_at, leased_until) values (null, %(started)s, %(until)s)
    on conflict on constraint dns_run_pkey do update
    set target = null, started_at = excluded.started_at, leased_until = excluded.leased_until
"""
_END = "delete from dns_run where started_at = %(started)s"


@dataclass(frozen=True, slots=True)
class DnsRuns:
    """Raises Unavailable. operators: mailboxes of those who hear of it."""

    database: Database
    operators: tuple[str, ...] = ()

    async def begin(self, target: str, now: datetime, lease: timedelta, actor: str) -> bool:
        """Whether a check of one domain may begin; nobody else begins one until the lease ends, or `end`."""
        values = {"target": target, "now": now, "until": now + lease}
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(_BEGIN, values)).fetchone()
            if row is not None:
                await note(conn, actor, None, "domain.recheck", "domain", None, {"target": target})
        return row is not None

    async def begin_all(self, now: datetime, actor: str) -> bool:
        """Whether the worker will check all domains; it is asked to. No for as long as it has not done so yet."""
        values = {"target": None, "now": now, "until": now + LEASE}
        job = {"kind": DOMAIN_RECHECK, "payload": Jsonb({"started_at": now.isoformat(), "actor": actor})}
        async with self.database.connection() as conn, conn.transaction():
            if await (await conn.execute(_BEGIN, values)).fetchone() is None:
                return False
            if await (await conn.execute(_JOB, job)).fetchone() is None:
                await conn.execute(_END, {"started": now})  # the worker is still to do it
                return False
            await note(conn, actor, None, "domain.recheck", "domain", None, {"target": None})
            await post(conn, self.operators, f"All domains are checked now, as {actor} wants it.")
        return True

    async def prolong(self, started: datetime, until: datetime) -> None:
        """The check of all domains goes on."""
        await self.database.rows(_PROLONG, {"started": started, "until": until})

    async def end(self, started: datetime, told: str) -> None:
        """It is over. told: to operators."""
        async with self.database.connection() as conn, conn.transaction():
            await conn.execute(_END, {"started": started})
            await post(conn, self.operators, told)
