"""Handles, as the management commands and the HTTP APIs change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import IntegrityError
from psycopg.rows import dict_row

from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.records import HandleRecord, NewHandle
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import OWNER_NAME, Connection, owning_account, verified_recipients

_SELECT: LiteralString = f"""
    select h.id, h.uuid, h.local_part, case when acc.id is not null then {OWNER_NAME} end as account, h.state,
           r.address as recipient,
           array(select d.name from handle_domain_off o join domain d on d.id = o.domain_id
                 where o.handle_id = h.id order by d.name) as off,
           h.created_at, h.released_at
    from handle h
    left join account acc on acc.id = h.account_id
    left join recipient r on r.id = h.recipient_id
"""
_ONE: LiteralString = f"{_SELECT} where h.local_part = %(local)s"
_LIST: LiteralString = f"""
    {_SELECT} where %(account)s::text is null or {OWNER_NAME} = %(account)s order by h.local_part
"""
_ADD = """
    insert into handle (account_id, local_part, recipient_id) values (%(account)s, %(local)s, %(recipient)s)
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
_RELEASE = """
    update handle set state = 'released', account_id = null, recipient_id = null, released_at = now(),
                      description = null, from_name = null
    where local_part = %(local)s and state <> 'released'
    returning id
"""
# An alias row goes before its handle in every look-up: left alone it would keep routing.
_ALIASES = """
    update alias set state = 'deleted', deleted_at = now() where handle_id = %(id)s and state in ('active', 'inactive')
"""
_OFF = """
    insert into handle_domain_off (handle_id, domain_id) values (%(handle)s, %(domain)s)
    on conflict on constraint handle_domain_off_pkey do nothing
"""
_ON = "delete from handle_domain_off where handle_id = %(handle)s and domain_id = %(domain)s"
_DOMAIN = "select id from domain where name = %(name)s and shared"


@dataclass(frozen=True, slots=True)
class Handles:
    """The handle table."""

    database: Database

    async def add(self, new: NewHandle) -> HandleRecord:
        """The new handle. Raises Conflict naming what holds the name, Absent for what it refers to."""
        try:
            async with self.database.connection() as conn, conn.transaction():
                mailboxes = () if new.recipient is None else (new.recipient,)
                account = await owning_account(conn, new.owner, mailboxes)
                chosen = await verified_recipients(conn, account, mailboxes)
                values = {"account": account, "local": new.local, "recipient": chosen[0] if chosen else None}
                await conn.execute(_ADD, values)
                return await _one(conn, new.local)
        except IntegrityError as error:
            if constraint(error) not in ("handle_local_part_unique", "handle_local_part_reserved"):
                raise
            row = await self.database.row(_HOLDER, {"local": new.local})
            holder = f": {row[0]} holds it" if row else ""
            raise Conflict(f"{new.local} is taken{holder}") from error

    async def page(self, account: str | None = None) -> list[HandleRecord]:
        """All handles by name, released ones as well; those of one account if it is named."""
        async with self.database.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_LIST, {"account": account})
            return [_handle(row) for row in await cursor.fetchall()]

    async def release(self, local: str) -> HandleRecord:
        """Give a handle up: it takes no mail any more and its name is never free again. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(_RELEASE, {"local": local})).fetchone()
            if row is None:
                raise Absent(f"there is no handle {local} that could be released")
            await conn.execute(_ALIASES, {"id": row[0]})
            return await _one(conn, local)

    async def switch(self, local: str, domain: str, on: bool) -> HandleRecord:
        """Whether a handle takes mail on one shared domain. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            found = await _one(conn, local)
            if found.state == "released":
                raise Absent(f"handle {local} is released")
            row = await (await conn.execute(_DOMAIN, {"name": domain})).fetchone()
            if row is None:
                raise Absent(f"there is no shared domain {domain}")
            await conn.execute(_ON if on else _OFF, {"handle": found.id, "domain": row[0]})
            return await _one(conn, local)


def _handle(row: Mapping[str, Any]) -> HandleRecord:
    return HandleRecord(**{**row, "off": tuple(row["off"])})


async def _one(conn: Connection, local: str) -> HandleRecord:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_ONE, {"local": local})
        row = await cursor.fetchone()
    if row is None:
        raise Absent(f"there is no handle {local}")
    return _handle(row)
