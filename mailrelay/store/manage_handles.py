"""Handles, as the management commands and the HTTP APIs change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import IntegrityError
from psycopg.rows import dict_row

from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.records import HandleRecord, NewHandle
from mailrelay.store import handle_rows
from mailrelay.store.database import Database
from mailrelay.store.manage import OWNER_NAME, Connection, owning_account, verified_recipients

_SELECT: LiteralString = f"""
    select h.id, h.uuid, h.local_part, case when acc.id is not null then {OWNER_NAME} end as account, h.state,
           r.address as recipient,
           array(select o.domain from handle_domain_off o
                 where o.handle_id = h.id and o.active order by o.domain) as off,
           h.created_at, h.released_at
    from handle h
    left join account acc on acc.id = h.account_id
    left join recipient r on r.id = h.recipient_id
"""
_ONE: LiteralString = f"{_SELECT} where h.local_part = %(local)s"
_LIST: LiteralString = f"""
    {_SELECT} where %(account)s::text is null or {OWNER_NAME} = %(account)s order by h.local_part
"""
_HOLDER: LiteralString = f"""
    select case h.state when 'released' then 'a released handle' else 'a handle of account ' || {OWNER_NAME} end
    from handle h left join account acc on acc.id = h.account_id
    where h.local_part = %(local)s
    union all
    select format('alias %%s@%%s', a.local_part, a.domain) from alias a
    where a.local_part = %(local)s and a.reserved_as = 'alias'
    limit 1
"""
_DOMAIN = "select id from domain where name = %(name)s and shared"


@dataclass(frozen=True, slots=True)
class Handles:
    """The handle table."""

    database: Database

    async def add(self, new: NewHandle, actor: str) -> HandleRecord:
        """The new handle. Raises Conflict naming what holds the name, Absent for what it refers to."""
        try:
            async with self.database.connection() as conn, conn.transaction():
                mailboxes = () if new.recipient is None else (new.recipient,)
                account = await owning_account(conn, new.owner, mailboxes)
                chosen = await verified_recipients(conn, account, mailboxes)
                await handle_rows.add(conn, account, new.local, chosen[0] if chosen else None, actor)
                return await _one(conn, new.local)
        except IntegrityError as error:
            if not handle_rows.is_taken(error):
                raise
            row = await self.database.row(_HOLDER, {"local": new.local})
            holder = f": {row[0]} holds it" if row else ""
            raise Conflict(f"{new.local} is taken{holder}") from error

    async def page(self, account: str | None = None) -> list[HandleRecord]:
        """All handles by name, released ones as well; those of one account if it is named."""
        async with self.database.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_LIST, {"account": account})
            return [_handle(row) for row in await cursor.fetchall()]

    async def release(self, local: str, actor: str) -> HandleRecord:
        """Give a handle up: it takes no mail any more and its name is never free again. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            await handle_rows.release(conn, await _held(conn, local), actor)
            return await _one(conn, local)

    async def switch(self, local: str, domain: str, on: bool, actor: str) -> HandleRecord:
        """Whether a handle takes mail on a domain; off only on a shared one. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            held = await _held(conn, local)
            if not on and await (await conn.execute(_DOMAIN, {"name": domain})).fetchone() is None:
                raise Absent(f"there is no shared domain {domain}")
            await handle_rows.switch(conn, held, domain, on, actor)
            return await _one(conn, local)


async def _held(conn: Connection, local: str) -> handle_rows.HeldHandle:
    """A handle that somebody has, locked. Raises Absent."""
    held = await handle_rows.hold(conn, local)
    if held is None:
        raise Absent(f"there is no handle {local}")
    if held.account is None:
        raise Absent(f"handle {local} is released")
    return held


def _handle(row: Mapping[str, Any]) -> HandleRecord:
    return HandleRecord(**{**row, "off": tuple(row["off"])})


async def _one(conn: Connection, local: str) -> HandleRecord:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_ONE, {"local": local})
        row = await cursor.fetchone()
    if row is None:
        raise Absent(f"there is no handle {local}")
    return _handle(row)
