"""Aliases, as the management commands and the HTTP APIs change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import IntegrityError
from psycopg.rows import dict_row

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.records import AliasChange, AliasRecord, Keep, Named, NewAlias
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import (
    OWNER_NAME,
    Connection,
    accept_mailboxes,
    account_id,
    conflicts,
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
_USERNAME = "select id, account_id from username where name = %(label)s"
# Attachment times differ, because they are the order in which recipients count.
_ATTACH = """
    insert into alias_recipient (alias_id, recipient_id, created_at)
    select %(alias)s, r, now() + n * interval '1 microsecond'
    from unnest(%(recipients)s::bigint[]) with ordinality as t(r, n)
"""
_LOCK = """
    select a.id, a.state, a.account_id, a.reserved_as, h.state = 'released' from alias a
    left join handle h on h.id = a.handle_id
    where a.local_part = %(local)s and a.domain = %(domain)s
    for update of a
"""
_STATE = """
    update alias set state = %(state)s, deleted_at = case when %(state)s = 'deleted' then now() end where id = %(id)s
"""
# Naming the domain makes the trigger alias_reserve look it up and check its owner: both may have changed meanwhile.
_RESTORE = """
    update alias set state = 'active', deleted_at = null, domain = domain where id = %(id)s
    returning domain_id is not null or username_id is not null
"""
_CHANGE = """
    update alias
    set forward_mode = case when %(set_mode)s then %(mode)s else forward_mode end,
        block_behaviour = case when %(set_behaviour)s then %(behaviour)s else block_behaviour end,
        description = case when %(set_description)s then %(description)s else description end
    where id = %(id)s
"""
_DETACH = "delete from alias_recipient where alias_id = %(id)s"
# What is left on a shared domain is the address alone, so that nobody gets it again (addy.io API, E17).
_ERASE = (
    _DETACH,
    "delete from contact where alias_id = %(id)s",
    "delete from message_id where alias_id = %(id)s",
    "delete from blocked_sender where alias_id = %(id)s",
    "update failed_delivery set alias_id = null where alias_id = %(id)s",
)
_FORGET = """
    update alias
    set state = 'forgotten', account_id = null, deleted_at = now(), username_id = null, description = null,
        from_name = null, extension = null, sender_allow_list = null, forward_mode = null, block_behaviour = null,
        pinned = false, attached_recipients_only = false, reply_via_alias = false, expires_at = null,
        max_forwards = null, emails_forwarded = 0, emails_blocked = 0, emails_replied = 0, emails_sent = 0,
        last_forwarded = null, last_blocked = null, last_replied = null, last_sent = null
    where id = %(id)s
"""
_REMOVE = "delete from alias where id = %(id)s"
_TAKEN = frozenset({"alias_address_unique", "alias_local_part_reserved"})
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

    async def add(self, new: NewAlias) -> AliasRecord:
        """The new alias. Raises Conflict naming what holds the address, Absent for what it refers to."""
        try:
            async with self.database.connection() as conn, conn.transaction():
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

    async def set_active(self, address: Address, active: bool) -> AliasRecord:
        """Resume or pause an alias. Raises Absent, and Conflict for a deleted one."""
        async with self.database.connection() as conn, conn.transaction():
            held = await _locked(conn, address)
            if held.state == "deleted":
                raise Conflict(f"{address} is deleted: restore it first")
            await conn.execute(_STATE, {"id": held.id, "state": "active" if active else "inactive"})
            return await _one(conn, address)

    async def delete(self, address: Address) -> AliasRecord:
        """Delete an alias; its address stays with its owner, who may restore it. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            held = await _locked(conn, address)
            if held.state != "deleted":
                await conn.execute(_STATE, {"id": held.id, "state": "deleted"})
            return await _one(conn, address)

    async def restore(self, address: Address) -> AliasRecord:
        """Make a deleted alias active again. Raises Absent, also if its domain or username is gone, and Conflict below
        a released handle or where the domain is another account's now."""
        words = {
            "alias_domain_owned": f"{address.domain} belongs to another account",
            "alias_local_part_reserved": f"{address.local} is a handle, which has the name on all shared domains",
        }
        with conflicts(words):
            async with self.database.connection() as conn, conn.transaction():
                held = await _locked(conn, address)
                if held.below_released:
                    raise Conflict(f"{address} belonged to a handle that is released for good")
                row = await (await conn.execute(_RESTORE, {"id": held.id})).fetchone()
                if row is None or not row[0]:
                    raise Absent(f"{address} has no domain here any more")
                return await _one(conn, address)

    async def forget(self, address: Address) -> AliasRecord | None:
        """Erase what the owner had there. What is left on a shared domain; None: nothing is. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            held = await _locked(conn, address)
            for statement in _ERASE:
                await conn.execute(statement, {"id": held.id})
            await conn.execute(_FORGET if held.shared else _REMOVE, {"id": held.id})
            return await _one(conn, address) if held.shared else None

    async def change(self, address: Address, change: AliasChange) -> AliasRecord:
        """Apply a change. Raises Absent, and Conflict for a recipient that is not verified."""
        values = {
            "set_mode": not isinstance(change.forward_mode, Keep),
            "mode": None if isinstance(change.forward_mode, Keep) else change.forward_mode,
            "set_behaviour": not isinstance(change.block_behaviour, Keep),
            "behaviour": None if isinstance(change.block_behaviour, Keep) else change.block_behaviour,
            "set_description": not isinstance(change.description, Keep),
            "description": None if isinstance(change.description, Keep) else change.description,
        }
        async with self.database.connection() as conn, conn.transaction():
            held = await _locked(conn, address)
            await conn.execute(_CHANGE, {"id": held.id, **values})
            if not isinstance(change.recipients, Keep):
                await accept_mailboxes(conn, held.account, change.recipients)
                chosen = await verified_recipients(conn, held.account, change.recipients)
                await conn.execute(_DETACH, {"id": held.id})
                await conn.execute(_ATTACH, {"alias": held.id, "recipients": list(chosen)})
            return await _one(conn, address)

    async def _explained(self, error: IntegrityError, address: Address) -> Exception:
        """What to raise for a violated constraint."""
        match constraint(error):
            case name if name in _TAKEN:
                row = await self.database.row(_HOLDER, {"local": address.local, "domain": address.domain})
                return Conflict(f"{address} is taken: {row[1]} holds it" if row else f"{address} is taken")
            case "alias_domain_owned":
                return Conflict(f"{address.domain} belongs to another account")
        return error


@dataclass(frozen=True, slots=True)
class _Held:
    """A locked alias of somebody's."""

    id: AliasId
    state: str
    account: AccountId
    shared: bool
    below_released: bool


async def _locked(conn: Connection, address: Address) -> _Held:
    """Hold an alias until the transaction ends. Raises Absent, also for a forgotten one."""
    cursor = await conn.execute(_LOCK, {"local": address.local.lower(), "domain": address.domain})
    row = await cursor.fetchone()
    if row is None or row[2] is None:
        raise Absent(f"there is no alias {address}" if row is None else f"{address} was forgotten for good")
    return _Held(AliasId(row[0]), row[1], AccountId(row[2]), row[3] is not None, bool(row[4]))


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
