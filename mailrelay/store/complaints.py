"""Complaints in PostgreSQL: counted once for each copy, and what follows from the third, in one transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.errors import ForeignKeyViolation
from psycopg.rows import TupleRow

from mailrelay.core.complaints import ENOUGH, WITHIN, About, Counted, Recorded
from mailrelay.core.errors import Unavailable
from mailrelay.core.ledger import OutboundCopy, storable
from mailrelay.core.notices import Notice
from mailrelay.core.verp import EmailType
from mailrelay.store.announcements import announce
from mailrelay.store.database import Database, constraint
from mailrelay.store.ledger import signed
from mailrelay.store.manage import OWNER_NAME

_ABOUT = """
    select a.uuid, a.local_part || '@' || a.domain, l.sender
    from (select 1) one
    left join alias a on a.id = %(alias)s and a.account_id = %(account)s
    left join lateral (select sender from ledger where outbound_id = %(outbound)s limit 1) l on true
"""

# Complaints about one account wait for each other, so that each sees those before it.
_ACCOUNT: LiteralString = f"select {OWNER_NAME} from account acc where acc.id = %(account)s for no key update"

_ADD = """
    insert into complaint (account_id, alias_id, outbound_id, email_type, sender_domain, contact, feedback_type)
    select %(account)s, (select id from alias where id = %(alias)s and account_id = %(account)s), %(outbound)s,
           %(type)s, nullif(%(domain)s, ''), nullif(%(contact)s, ''), nullif(%(feedback)s, '')
    on conflict on constraint complaint_outbound_unique do nothing
    returning alias_id
"""
_COUNT_RECEIVED = """
    select count(*) from complaint
    where account_id = %(account)s and at > now() - %(within)s and email_type = 'F'
      and alias_id is not distinct from %(alias)s and sender_domain is not distinct from nullif(%(domain)s, '')
"""
_COUNT_WRITTEN = """
    select count(*) from complaint
    where account_id = %(account)s and at > now() - %(within)s and email_type in ('R', 'S')
"""
_COUNT_NOTICES = "select 0"

_BLOCK = """
    with made as (
        insert into blocked_sender (account_id, alias_id, type, value)
        select %(account)s, %(alias)s, 'email', %(sender)s
        where not exists (
            select from blocked_sender
            where account_id = %(account)s and type = 'email' and value = %(sender)s and alias_id is null)
        on conflict do nothing
        returning id
    )
    insert into audit (actor, account_id, action, object_table, object_id)
    select 'complaint', %(account)s, 'block.add', 'blocked_sender', id from made
    returning true
"""
_SUSPEND = """
    with done as (
        update account set sends_suspended_at = now() where id = %(account)s and sends_suspended_at is null returning id
    )
    insert into audit (actor, account_id, action, object_table, object_id)
    select 'complaint', id, 'account.suspend_sending', 'account', id from done
    returning true
"""


@dataclass(frozen=True, slots=True)
class ComplaintStore:
    """Everything raises Unavailable when the database is in trouble."""

    database: Database

    async def about(self, copy: OutboundCopy) -> About:
        """The alias of a copy, and the sender of the mail that it was made of."""
        values = {"alias": copy.alias_id, "account": copy.account_id, "outbound": signed(copy.id)}
        row = await self.database.row(_ABOUT, values)
        assert row is not None  # all but the first is optional
        return About(row[0], row[1] or "", row[2] or "")

    async def record(self, counted: Counted, told: Callable[[Recorded], Notice | None]) -> Recorded:
        """Count a complaint, and post what somebody is told of it. Repeated, it does nothing."""
        values: dict[str, Any] = {
            "account": counted.account_id,
            "alias": counted.alias_id,
            "outbound": signed(counted.outbound_id),
            "type": counted.type.value,
            "sender": storable(counted.sender),
            "domain": storable(counted.sender).rpartition("@")[2],
            "contact": storable(counted.contact),
            "feedback": storable(counted.feedback_type, 100),
            "within": WITHIN,
        }
        try:
            async with self.database.connection() as conn, conn.transaction():
                recorded = await _record(conn, counted, values)
                notice = told(recorded) if recorded.first else None
                if notice is not None:
                    await announce(conn, notice)
                return recorded
        except ForeignKeyViolation as error:
            raise Unavailable(f"a complaint cannot be recorded: {constraint(error)}") from error


async def _record(conn: AsyncConnection[TupleRow], counted: Counted, values: dict[str, Any]) -> Recorded:
    account = await _row(conn, _ACCOUNT, values)
    added = None if account is None else await _row(conn, _ADD, values)
    if account is None or added is None:
        return Recorded(False)
    writes = counted.type in (EmailType.REPLY, EmailType.SEND)
    received = counted.type is EmailType.FORWARD
    values["alias"] = added[0]  # None: it is gone
    query = _COUNT_WRITTEN if writes else _COUNT_RECEIVED if received else _COUNT_NOTICES
    found = await _row(conn, query, values)
    assert found is not None  # a count gives one row
    count = int(found[0])
    blocked = suspended = False
    if count >= ENOUGH and received and counted.sender and added[0] is not None:
        blocked = await _row(conn, _BLOCK, values) is not None
    if count >= ENOUGH and writes:
        suspended = await _row(conn, _SUSPEND, values) is not None
    return Recorded(True, count, blocked, suspended, account[0])


async def _row(conn: AsyncConnection[TupleRow], query: LiteralString, values: dict[str, Any]) -> TupleRow | None:
    return await (await conn.execute(query, values)).fetchone()
