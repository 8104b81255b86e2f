"""What waits for a mailed code to come back, the mails that carry the codes, and tries with codes that there are not.

Requests of one mailbox wait for each other at an advisory lock, so that what one counts the next one sees. Who takes a
code holds its row until the transaction ends: of two with the same code one finds it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, LiteralString

from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from mailrelay.core.address import parse_address
from mailrelay.core.codes import (
    BUDGETS,
    Asked,
    ConfirmationId,
    Intent,
    Pending,
    Sent,
    Standing,
    Terms,
    Wanted,
    sent,
    withheld,
)
from mailrelay.core.jobs import NOTICE
from mailrelay.core.ledger import storable
from mailrelay.core.notices import Notice
from mailrelay.core.requests import Limit, Window
from mailrelay.store.database import Database, constraint
from mailrelay.store.gate import COUNT, TAKE_BACK
from mailrelay.store.manage import Connection, folded

_MAX_AGENT_CHARACTERS = 255

# The statement after it sees what those did who were waited for.
_TURN = "select pg_advisory_xact_lock(hashtextextended('confirmation:' || %(email)s, 0))"

# Codes that nobody used in time are free again, whosever they were.
_EXPIRE = """
    update confirmation set status = 'expired'
    where status = 'pending' and expires_at <= %(now)s and (email = %(email)s or code_mac = any (%(macs)s))
"""
_STANDING = """
    select same.send_count, same.last_sent_at, same.expires_at, others.n, others.first,
           exists (select from confirmation taken
                   where taken.status = 'pending' and taken.code_mac = any (%(macs)s)
                     and taken.id is distinct from same.id),
           hour.hits, hour.opened_at, day.hits, day.opened_at
    from (select %(now)s::timestamptz as now) q
    left join confirmation same on same.email = %(email)s and same.intent = %(intent)s and same.alias_name = %(name)s
                                   and same.alias_domain = %(domain)s and same.status = 'pending'
    left join lateral (
        select count(*) as n, min(expires_at) as first from confirmation c
        where c.email = %(email)s and c.status = 'pending' and c.id is distinct from same.id
          and c.intent = any (%(budget)s)
    ) others on true
    left join request_window hour on hour.name = %(hour)s and hour.subject = %(email)s
                                     and hour.opened_at + make_interval(secs => hour.seconds) > q.now
    left join request_window day on day.name = %(day)s and day.subject = %(email)s
                                    and day.opened_at + make_interval(secs => day.seconds) > q.now
"""

# The mail and what it is about, or neither. The mail with the code before, if it is still to go out, is none any more.
_SEND = f"""
    with told as (
        insert into job (kind, payload, dedupe_key) values ('{NOTICE}', %(payload)s, %(key)s)
        on conflict (dedupe_key) where finished_at is null and failed_at is null do update
            set payload = excluded.payload, run_at = now(), attempts = 0, leased_until = null, leased_by = null
    ), counted as (
        insert into request_window as w (name, subject, seconds, opened_at, hits)
        select b.name, %(email)s, b.seconds, %(now)s::timestamptz, 1
        from unnest(%(names)s::text[], %(seconds)s::int[]) as b(name, seconds)
        order by b.name
        on conflict on constraint request_window_pkey do update set
            hits = case when w.opened_at + make_interval(secs => w.seconds) <= %(now)s then 1 else w.hits + 1 end,
            opened_at = case when w.opened_at + make_interval(secs => w.seconds) <= %(now)s then %(now)s
                             else w.opened_at end
    )
    insert into confirmation as c (intent, email, alias_name, alias_domain, account_id, code_mac, days,
                                   automatic_renew, created_at, expires_at, last_sent_at, request_ip, user_agent)
    values (%(intent)s, %(email)s, %(name)s, %(domain)s, %(account)s, %(mac)s, %(days)s,
            %(automatic_renew)s, %(now)s, %(expires_at)s, %(now)s, nullif(%(ip)s, '')::inet, nullif(%(agent)s, ''))
    on conflict (email, intent, alias_name, alias_domain) where status = 'pending' do update set
        code_mac = excluded.code_mac, account_id = excluded.account_id, days = excluded.days,
        automatic_renew = excluded.automatic_renew, expires_at = excluded.expires_at,
        last_sent_at = excluded.last_sent_at, send_count = c.send_count + 1, request_ip = excluded.request_ip,
        user_agent = excluded.user_agent
"""

_PENDING: LiteralString = """
    select id, intent, email, alias_name, alias_domain, account_id, days, automatic_renew, expires_at
    from confirmation
    where code_mac = any (%(macs)s) and status = 'pending' and expires_at > %(now)s
    order by id desc limit 1
"""
_TAKE: LiteralString = f"{_PENDING} for update"
_SETTLE = "update confirmation set status = 'confirmed', confirmed_at = %(now)s where id = %(id)s"

# What is refused anyway does not count for everybody together. One order, as they wait for each other.
_TRY = f"""
    with near as (
        insert into request_window as w (name, subject, seconds, opened_at, hits)
        select b.name, b.subject, b.seconds, now(), 1
        from unnest(%(names)s::text[], %(subjects)s::text[], %(seconds)s::int[])
            with ordinality as b(name, subject, seconds, n)
        order by b.n
        {COUNT}
    ), far as (
        insert into request_window as w (name, subject, seconds, opened_at, hits)
        select %(all)s, '', %(all_seconds)s, now(), 1
        where not exists (
            select from near join unnest(%(names)s::text[], %(allowed)s::int[]) as b(name, allowed) using (name)
            where near.hits > b.allowed)
        {COUNT}
    )
    select * from near union all select * from far
"""


@dataclass(frozen=True, slots=True)
class Confirmations:
    """The confirmation table. All methods raise Unavailable."""

    database: Database

    async def ask(
        self, wanted: Wanted, macs: Sequence[bytes], notice: Notice, terms: Terms, now: datetime
    ) -> Asked | None:
        """What comes of it; with the mail if one is to go out. None: that code is somebody else's, take another.

        macs: the code's, the one that is stored first. notice: carries the code, sealed.
        """
        values, limits = _values(wanted, macs, now), BUDGETS[wanted.intent.budget]
        try:
            async with self.database.connection() as conn, conn.transaction():
                await conn.execute(_TURN, values)
                await conn.execute(_EXPIRE, values)
                standing, taken = _standing(await (await conn.execute(_STANDING, values)).fetchone(), limits)
                refused = withheld(standing, terms, now)
                if refused is not None or taken:
                    return refused
                asked = sent(1 if standing.same is None else standing.same.count + 1, terms, now)
                await conn.execute(_SEND, {**values, **_letter(wanted, asked, notice, limits)})
                return asked
        except UniqueViolation as error:
            if constraint(error) == "confirmation_code_unique":
                return None  # taken in this moment
            raise

    async def look(self, macs: Sequence[bytes], now: datetime) -> Pending | None:
        """What a code is for, without using it; None: there is no such code."""
        row = await self.database.row(_PENDING, {"macs": list(macs), "now": now})
        return None if row is None else _pending(row)

    async def count_try(self, limits: Sequence[Limit], subjects: Sequence[str]) -> tuple[Window, ...]:
        """A try with a code, counted for the first limits with their subjects, and for everybody with the last one.

        Where one of the first is over, the last is not counted, and not among the windows.
        """
        *near, everybody = limits
        names = [limit.name for limit in near]
        values = {
            "names": names,
            "subjects": list(subjects),
            "seconds": [limit.seconds for limit in near],
            "allowed": [limit.requests for limit in near],
            "all": everybody.name,
            "all_seconds": everybody.seconds,
        }
        counted = {name: (hits, opened) for name, hits, opened in await self.database.rows(_TRY, values)}
        return tuple(Window(limit, *counted[limit.name]) for limit in limits if limit.name in counted)

    async def forgive_try(self, limits: Sequence[Limit], subjects: Sequence[str]) -> None:
        """That one was right: it counts for nothing."""
        values = {"names": [limit.name for limit in limits], "subjects": [*subjects, ""]}
        await self.database.rows(TAKE_BACK, values)


async def take(conn: Connection, macs: Sequence[bytes], now: datetime) -> Pending | None:
    """What a code is for, held until the transaction ends; None: there is no such code, or somebody was faster."""
    row = await (await conn.execute(_TAKE, {"macs": list(macs), "now": now})).fetchone()
    return None if row is None else _pending(row)


async def settle(conn: Connection, confirmation: ConfirmationId, now: datetime) -> None:
    """It has happened: the code is used up."""
    await conn.execute(_SETTLE, {"id": confirmation, "now": now})


def _values(wanted: Wanted, macs: Sequence[bytes], now: datetime) -> dict[str, Any]:
    hour, day = BUDGETS[wanted.intent.budget]
    return {
        "intent": wanted.intent.value,
        "email": folded(wanted.email),
        "name": wanted.name,
        "domain": wanted.domain,
        "account": wanted.account,
        "days": wanted.days,
        "automatic_renew": wanted.automatic_renew,
        "ip": wanted.ip,
        "agent": storable(wanted.user_agent, _MAX_AGENT_CHARACTERS),
        "macs": list(macs),
        "mac": macs[0],
        "now": now,
        "hour": hour.name,
        "day": day.name,
        "budget": [intent.value for intent in Intent if intent.budget == wanted.intent.budget],
    }


def _letter(wanted: Wanted, asked: Asked, notice: Notice, limits: Sequence[Limit]) -> Mapping[str, object]:
    about = (folded(wanted.email), wanted.intent.value, wanted.name, wanted.domain)
    return {
        "payload": Jsonb(notice.to_json()),
        "key": "code:" + sha256("\0".join(about).encode()).hexdigest(),
        "expires_at": asked.expires_at,
        "names": [limit.name for limit in limits],
        "seconds": [limit.seconds for limit in limits],
    }


def _standing(row: TupleRow | None, limits: Sequence[Limit]) -> tuple[Standing, bool]:
    """And whether the code is somebody else's."""
    assert row is not None  # it begins with one row
    count, last_at, expires_at, others, first, taken, *counted = row
    same = None if count is None else Sent(count, last_at, expires_at)
    opened = zip(limits, counted[::2], counted[1::2], strict=True)
    windows = tuple(Window(limit, hits, at) for limit, hits, at in opened if at is not None)
    return Standing(same, others, first, windows), taken


def _pending(row: TupleRow) -> Pending:
    number, intent, email, *rest = row
    return Pending(ConfirmationId(number), Intent(intent), parse_address(email), *rest)
