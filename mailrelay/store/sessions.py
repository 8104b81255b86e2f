"""Sessions of the dashboard: a row for each refresh token, a family for each sign-in.

Whoever changes sessions locks their account's row first, so that nobody waits for somebody who waits for him.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from mailrelay.core.facts import AccountId
from mailrelay.core.ledger import storable
from mailrelay.core.people import User
from mailrelay.core.sessions import Held, NewSession, Renewal, Renewed, Standing
from mailrelay.core.signin import Visitor
from mailrelay.store.database import Database, compact
from mailrelay.store.manage import Connection, note
from mailrelay.store.userrow import FROM, USER, USER_COLUMNS, read_user, user_of

# When it was last used matters to the minute, so that most reading is no writing.
_OF_ACCESS = compact(f"""
    with who as materialized (
        select {USER}, s.refresh_expires_at, s.id as session,
               coalesce(s.last_used_at < %(now)s - interval '1 minute', true) as stale
        from {FROM} join session s on s.account_id = acc.id
        where s.family = %(family)s and s.account_id = %(account)s and s.status = 'active'
          and s.refresh_expires_at > %(now)s and acc.state = 'active' and acc.name is not null
    ), used as (
        update session set last_used_at = %(now)s from who where session.id = who.session and who.stale
    )
    select * from who
""")
_HELD: LiteralString = """
    select s.account_id, s.family, s.status, s.refresh_expires_at, acc.state = 'active' and acc.name is not null,
           n.created_at, coalesce(host(n.request_ip), ''), coalesce(n.user_agent, ''), n.status = 'active', s.id
    from session s
    join account acc on acc.id = s.account_id
    left join session n on n.id = s.replaced_by_id
    where s.refresh_hash = %(hash)s
"""
_LOCK_OWNER = """
    select acc.id from session s join account acc on acc.id = s.account_id where s.refresh_hash = %(hash)s
    for no key update of acc
"""
_LOCK: LiteralString = "select state from account where id = %(account)s for no key update"
_ADD = """
    insert into session (account_id, family, refresh_hash, refresh_expires_at, created_at, last_used_at, request_ip,
                         user_agent)
    values (%(account)s, %(family)s, %(hash)s, %(expires)s, %(now)s, %(now)s, nullif(%(ip)s, '')::inet, %(agent)s)
    returning id
"""
_ROTATED = "update session set status = 'rotated' where id = %(id)s"
_REPLACED = "update session set replaced_by_id = %(new)s where id = %(id)s"
_REUSED = "update session set status = 'reuse_detected', revoked_at = %(now)s where id = %(id)s"
_END: LiteralString = """
    update session set status = 'revoked', revoked_at = %(now)s
    where account_id = %(account)s and status in ('active', 'rotated')
"""
_END_FAMILY: LiteralString = f"{_END} and family = %(family)s"
_END_OLDEST: LiteralString = f"""
    {_END} and family = any (array(
        select family from session where account_id = %(account)s
        group by family having bool_or(status = 'active' and refresh_expires_at > %(now)s)
        order by min(id) desc offset %(keep)s))
"""


@dataclass(frozen=True, slots=True)
class SessionStore:
    """All methods raise Unavailable."""

    database: Database

    async def of_access(self, account: AccountId, family: UUID, now: datetime) -> tuple[User, datetime] | None:
        """Who is signed in, and until when; None: that is over, or nobody is. It counts as use."""
        values = {"account": account, "family": family, "now": now}
        row = await self.database.row(_OF_ACCESS, values)
        return None if row is None else (user_of(row[:USER_COLUMNS]), row[USER_COLUMNS])

    async def of_refresh(self, hash_: bytes) -> Held | None:
        """The session of a refresh token, whatever has become of it."""
        row = await self.database.row(_HELD, {"hash": hash_})
        return None if row is None else _held(row)

    async def renew(self, presented: bytes, new: bytes, visitor: Visitor, now: datetime) -> Renewed | None:
        """Give `new` in place of a token that is good; None: it is not. One that was used before ends its family."""
        async with self.database.connection() as conn, conn.transaction():
            if await (await conn.execute(_LOCK_OWNER, {"hash": presented})).fetchone() is None:
                return None
            row = await (await conn.execute(_HELD, {"hash": presented})).fetchone()
            if row is None:
                return None  # cleared away in this moment
            held, number = _held(row), row[-1]
            standing = held.standing(visitor, now)
            if standing is Standing.REUSED:
                await _end_reused(conn, held, number, now)
            if standing not in (Standing.GOOD, Standing.JUST_RENEWED):
                return None
            if standing is Standing.GOOD:
                await conn.execute(_ROTATED, {"id": number})
                session = NewSession(held.family, new, held.expires_at, visitor)
                await conn.execute(_REPLACED, {"id": number, "new": await add(conn, held.account, session, now)})
            user = await read_user(conn, held.account)
        return None if user is None else Renewed(user, held.family, held.expires_at, standing is Standing.GOOD)

    async def end_family(self, account: AccountId, family: UUID, actor: str, now: datetime) -> int:
        """Sign out where somebody signed in. Gives how many sessions that ended."""
        async with self.database.connection() as conn, conn.transaction():
            await conn.execute(_LOCK, {"account": account})
            ended = await conn.execute(_END_FAMILY, {"account": account, "family": family, "now": now})
            await note(conn, actor, account, "session.end", "account", account)
            return ended.rowcount

    async def end_all(self, account: AccountId, actor: str, now: datetime) -> int:
        """Sign out everywhere. Gives how many sessions that ended."""
        async with self.database.connection() as conn, conn.transaction():
            await conn.execute(_LOCK, {"account": account})
            ended = await end_sessions(conn, account, now)
            await note(conn, actor, account, "session.end_all", "account", account, {"sessions": ended})
            return ended


async def add(conn: Connection, account: AccountId, new: NewSession, now: datetime) -> int:
    """The id of a new session; call it with the account's row locked."""
    values = {
        "account": account,
        "family": new.family,
        "hash": new.hash,
        "expires": new.expires_at,
        "ip": new.visitor.ip,
        "agent": storable(new.visitor.user_agent),
        "now": now,
    }
    row = await (await conn.execute(_ADD, values)).fetchone()
    assert row is not None  # returning gives one row or an exception
    return int(row[0])


async def end_sessions(conn: Connection, account: AccountId, now: datetime) -> int:
    """End all of an account, whose row is locked. Gives how many sessions that ended."""
    return (await conn.execute(_END, {"account": account, "now": now})).rowcount


async def end_oldest(conn: Connection, account: AccountId, keep: int, now: datetime) -> None:
    """End all families that somebody is signed in with but the newest; call it with the account's row locked."""
    await conn.execute(_END_OLDEST, {"account": account, "keep": keep, "now": now})


async def _end_reused(conn: Connection, held: Held, number: int, now: datetime) -> None:
    values = {"account": held.account, "family": held.family, "now": now}
    await conn.execute(_REUSED, {"id": number, "now": now})
    ended = await conn.execute(_END_FAMILY, values)
    await note(conn, "public", held.account, "session.reuse", "session", number, {"sessions": ended.rowcount})


def _held(row: Sequence[Any]) -> Held:
    account, family, status, expires_at, may_act, at, ip, user_agent, in_force, _ = row
    renewal = None if at is None else Renewal(at, ip, user_agent, bool(in_force))
    return Held(AccountId(account), family, status, expires_at, may_act, renewal)
