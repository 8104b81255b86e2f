"""Aliases, as the management commands and the HTTP APIs change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import IntegrityError
from psycopg.rows import dict_row

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.records import AliasChange, AliasRecord, Named, NewAlias, Owned
from mailrelay.store import alias_rows
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import (
    OWNER_NAME,
    Connection,
    account_id,
    note,
    owning_account,
    verified_recipients,
)

_SELECT: LiteralString = f"""
    select a.id, a.uuid, a.local_part || '@' || a.domain as address,
           case when acc.id is not null then {OWNER_NAME} end as account, a.state,
           array(select r.address from alias_recipient ar join recipient r on r.id = ar.recipient_id
                 where ar.alias_id = a.id order by ar.created_at, r.id) as recipients,
           a.description, a.forward_mode, a.block_behaviour, a.emails_forwarded, a.emails_blocked, a.emails_replied,
           a.emails_sent, a.last_forwarded, a.expires_at, a.created_at, a.deleted_at
    from alias a left join account acc on acc.id = a.account_id
"""
_ONE: LiteralString = f"{_SELECT} where a.local_part = %(local)s and a.domain = %(domain)s"
_LIST: LiteralString = f"""
    {_SELECT}
    where a.id > %(after)s and (%(account)s::bigint is null or a.account_id = %(account)s)
      and (%(search)s = '' or strpos(a.local_part || '@' || a.domain, %(search)s) > 0
           or strpos(lower(a.description), %(search)s) > 0)
      and (%(deleted)s or a.deleted_at is null)
    order by a.id limit %(limit)s
"""
_ADD = """
    insert into alias (account_id, local_part, domain, username_id, description)
    values (%(account)s, %(local)s, %(domain)s, %(username)s, %(description)s)
    returning id
"""
_ATTACH = """
    insert into alias_recipient (alias_id, recipient_id, created_at)
    select %(alias)s, r, now() + n * interval '1 microsecond'
    from unnest(%(recipients)s::bigint[]) with ordinality as t(r, n)
"""
_USERNAME = "select id, account_id from username where name = %(label)s"
TAKEN = frozenset({"alias_address_unique", "alias_local_part_reserved"})
_HOLDER: LiteralString = f"""
    select 1, case a.state when 'forgotten' then 'a forgotten alias'
                           else format('%%s alias %%s of account %%s', a.state, a.id, {OWNER_NAME}) end
    from alias a left join account acc on acc.id = a.account_id
    where a.local_part = %(local)s and a.domain = %(domain)s
    union all
    select 2, case h.state when 'released' then 'the released handle ' || h.local_part
                           else format('handle %%s of account %%s', h.local_part, {OWNER_NAME}) end
    from handle h left join account acc on acc.id = h.account_id
    where h.local_part = %(local)s
    order by 1 limit 1
"""


@dataclass(frozen=True, slots=True)
class Aliases:
    """The alias table and what hangs on it."""

    database: Database

    async def add(self, new: NewAlias, actor: str) -> AliasRecord:
        """The new alias. Raises Conflict naming what holds the address, Absent for what it refers to."""
        try:
            async with self.database.connection() as conn, conn.transaction():
                await make(conn, new, actor)
                return await _one(conn, Address(new.local, new.domain))
        except IntegrityError as error:
            raise await self._explained(error, Address(new.local, new.domain)) from error

    async def show(self, address: Address) -> AliasRecord:
        """One alias, in whatever state. Raises Absent."""
        async with self.database.connection() as conn:
            return await _one(conn, address)

    async def page(
        self,
        account: Named | AccountId | None = None,
        search: str = "",
        deleted: bool = False,
        after: int = 0,
        limit: int | None = None,
    ) -> list[AliasRecord]:
        """Aliases by id, after that one. search: part of the address or description. Raises Absent."""
        async with self.database.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            owner = None if account is None else await account_id(conn, account)
            values = {"account": owner, "search": search.lower(), "deleted": deleted, "after": after, "limit": limit}
            await cursor.execute(_LIST, values)
            return [_alias(row) for row in await cursor.fetchall()]

    async def set_active(self, which: Address | Owned, active: bool, actor: str) -> AliasRecord:
        """Resume or pause an alias. Raises Absent, and Conflict for a deleted one."""
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold(conn, which)
            if held.state == "deleted":
                raise Conflict(f"{held.address} is deleted: restore it first")
            await alias_rows.set_active(conn, (held,), active, actor)
            return await _one(conn, held.address)

    async def delete(self, which: Address | Owned, actor: str) -> AliasRecord:
        """Delete an alias; its address stays with its owner, who may restore it. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold(conn, which)
            await alias_rows.delete(conn, (held,), actor)
            return await _one(conn, held.address)

    async def restore(self, which: Address | Owned, actor: str) -> AliasRecord:
        """Make an alias active again. Raises Absent; Conflict if its domain or username is gone or another account's
        now, or its handle is released."""
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold(conn, which)
            await alias_rows.restore(conn, held, actor)
            return await _one(conn, held.address)

    async def forget(self, which: Address | Owned, actor: str) -> AliasRecord | None:
        """Erase what the owner had there. What is left on a shared domain; None: nothing is. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold(conn, which)
            await alias_rows.forget(conn, (held,), actor)
            return await _one(conn, held.address) if held.shared else None

    async def change(self, which: Address | Owned, change: AliasChange, actor: str) -> AliasRecord:
        """Apply a change. Raises Absent, also for a recipient, and Conflict for one that is not verified."""
        async with self.database.connection() as conn, conn.transaction():
            held = await alias_rows.hold(conn, which)
            await alias_rows.change(conn, held, change, actor)
            return await _one(conn, held.address)

    async def _explained(self, error: IntegrityError, address: Address) -> Exception:
        """What to raise for a violated constraint."""
        match constraint(error):
            case name if name in TAKEN:
                row = await self.database.row(_HOLDER, {"local": address.local, "domain": address.domain})
                return Conflict(f"{address} is taken: {row[1]} holds it" if row else f"{address} is taken")
            case "alias_domain_owned":
                return Conflict(f"{address.domain} belongs to another account")
        return error


async def make(conn: Connection, new: NewAlias, actor: str) -> None:
    """Make an alias within a transaction. Raises Absent for what it refers to, Conflict for an account that is going.

    An address that is taken violates one of the constraints TAKEN, after which the transaction is of no use.
    """
    account = await owning_account(conn, new.owner, new.recipients)
    chosen = await verified_recipients(conn, account, new.recipients)
    values = {
        "account": account,
        "local": new.local,
        "domain": new.domain,
        "username": await _username(conn, new.username, account) if new.username else None,
        "description": new.description,
    }
    row = await (await conn.execute(_ADD, values)).fetchone()
    assert row is not None  # returning gives one row or an exception
    await conn.execute(_ATTACH, {"alias": row[0], "recipients": list(chosen)})
    await note(conn, actor, account, "alias.create", "alias", row[0])


async def _username(conn: Connection, label: str, account: AccountId) -> int:
    row = await (await conn.execute(_USERNAME, {"label": label})).fetchone()
    if row is None:
        raise Absent(f"there is no username {label}")
    if row[1] != account:
        raise Conflict(f"username {label} belongs to another account")
    return int(row[0])


def _alias(row: Mapping[str, Any]) -> AliasRecord:
    return AliasRecord(**{**row, "recipients": tuple(row["recipients"])})


async def _one(conn: Connection, address: Address) -> AliasRecord:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_ONE, {"local": address.local.lower(), "domain": address.domain})
        row = await cursor.fetchone()
    if row is None:
        raise Absent(f"there is no alias {address}")
    return _alias(row)
