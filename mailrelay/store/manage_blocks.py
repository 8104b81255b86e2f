"""Accounts' block lists, as the management commands and the HTTP APIs change them: every change with its audit row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from psycopg.errors import UniqueViolation

from mailrelay.core.address import Address
from mailrelay.core.blocklist import AlreadyListed
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.records import BlockRecord, BlockType, Named
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import OWNER_NAME, Connection, account_id, record, records

BLOCKS: LiteralString = f"""
    select s.id, s.uuid, {OWNER_NAME} as account, s.type, s.value,
           case when a.id is not null then a.local_part || '@' || a.domain end as alias,
           s.blocked, s.last_blocked, s.created_at, s.updated_at
    from blocked_sender s
    join account acc on acc.id = s.account_id
    left join alias a on a.id = s.alias_id
"""
_ONE: LiteralString = f"{BLOCKS} where s.id = %(id)s"
_LIST: LiteralString = f"""
    {BLOCKS} where %(account)s::text is null or {OWNER_NAME} = %(account)s order by s.account_id, s.value, s.id
"""
_ALIAS = """
    select id from alias
    where local_part = %(local)s and domain = %(domain)s and account_id = %(account)s
"""
_NOTE: LiteralString = """
    insert into audit (actor, account_id, action, object_table, object_id, detail)
    select %(actor)s, {changed}.account_id, '{action}', 'blocked_sender', {changed}.id,
           jsonb_build_object('type', {changed}.type, 'value', {changed}.value)
    from {changed}
"""
_NOTE_ADDED: LiteralString = _NOTE.replace("{changed}", "made").replace("{action}", "block.add")
_NOTE_REMOVED: LiteralString = _NOTE.replace("{changed}", "gone").replace("{action}", "block.remove")

_ADD: LiteralString = f"""
    with made as (
        insert into blocked_sender (account_id, alias_id, type, value)
        values (%(account)s, %(alias)s, %(type)s, %(value)s)
        returning id, account_id, type, value
    ), noted as ({_NOTE_ADDED})
    select id from made
"""
# In one order, so that nobody waits for somebody who waits for him.
_ADD_ALL: LiteralString = f"""
    with made as (
        insert into blocked_sender (account_id, type, value)
        select %(account)s, %(type)s, value from unnest(%(values)s::text[]) as asked(value) order by value
        on conflict do nothing
        returning id, account_id, type, value
    ), noted as ({_NOTE_ADDED})
    select id from made
"""
_MADE: LiteralString = f"""
    {BLOCKS} where s.id = any(%(ids)s::bigint[]) order by array_position(%(values)s::text[], s.value)
"""
_FIND = """
    select id from blocked_sender
    where account_id = %(account)s and (value = %(ref)s or id::text = %(ref)s or uuid::text = %(ref)s)
    order by id::text = %(ref)s desc
"""
_REMOVE: LiteralString = f"""
    with gone as (
        delete from blocked_sender where id = %(id)s returning id, account_id, type, value
    ), noted as ({_NOTE_REMOVED})
    select id from gone
"""
_REMOVE_ALL: LiteralString = f"""
    with asked as (
        select s.id, u.n
        from unnest(%(uuids)s::uuid[]) with ordinality as u(uuid, n)
             join blocked_sender s on s.uuid = u.uuid
        where s.account_id = %(account)s and s.alias_id is null
        order by s.id for update of s
    ), gone as (
        delete from blocked_sender s using asked where s.id = asked.id
        returning s.id, s.uuid, s.account_id, s.type, s.value, asked.n
    ), noted as ({_NOTE_REMOVED})
    select uuid from gone order by n
"""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocked_sender table. actor: who does it, for the audit."""

    database: Database

    async def add(
        self, owner: Named | AccountId, kind: BlockType, value: str, alias: Address | None, actor: str
    ) -> BlockRecord:
        """The new entry of an account's list, for one of its aliases or all. Raises Absent and AlreadyListed."""
        try:
            async with self.database.connection() as conn, conn.transaction():
                account = await account_id(conn, owner)
                number = None if alias is None else await _alias(conn, account, alias)
                values = {"account": account, "alias": number, "type": kind, "value": value, "actor": actor}
                row = await (await conn.execute(_ADD, values)).fetchone()
                assert row is not None  # returning gives one row or an exception
                return await _block(conn, row[0])
        except UniqueViolation as error:
            if constraint(error) == "blocked_sender_entry_unique":
                raise AlreadyListed(f"{value} is on that list already") from error
            raise

    async def add_all(
        self, owner: Named | AccountId, kind: BlockType, values: Sequence[str], actor: str
    ) -> list[BlockRecord]:
        """Those entries for all aliases that were not there yet, in the order of `values`. Raises Absent."""
        unique = list(dict.fromkeys(values))
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            asked = {"account": account, "type": kind, "values": unique, "actor": actor}
            made = [row[0] for row in await (await conn.execute(_ADD_ALL, asked)).fetchall()]
        return await records(self.database, BlockRecord, _MADE, {"ids": made, "values": unique}) if made else []

    async def page(self, account: str | None = None) -> list[BlockRecord]:
        """All entries; those of one account if it is named."""
        return await records(self.database, BlockRecord, _LIST, {"account": account})

    async def remove(self, owner: Named | AccountId, ref: str, actor: str) -> BlockRecord:
        """Take an entry off a list. ref: its id, UUID or value. Raises Absent, and Conflict if several have it."""
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            rows = await (await conn.execute(_FIND, {"account": account, "ref": ref})).fetchall()
            if not rows:
                raise Absent(f"{ref} is not on that list")
            if len(rows) > 1 and str(rows[0][0]) != ref:
                raise Conflict(f"{ref} is there several times: {', '.join(str(row[0]) for row in rows)}")
            gone = await _block(conn, rows[0][0])
            await conn.execute(_REMOVE, {"id": gone.id, "actor": actor})
        return gone

    async def remove_all(self, owner: AccountId, uuids: Sequence[UUID], actor: str) -> list[UUID]:
        """Take entries for all aliases off a list, and give those that were there, in their order."""
        asked = {"account": owner, "uuids": list(dict.fromkeys(uuids)), "actor": actor}
        return [row[0] for row in await self.database.rows(_REMOVE_ALL, asked)]


async def _alias(conn: Connection, account: AccountId, alias: Address) -> int:
    values = {"local": alias.local.lower(), "domain": alias.domain, "account": account}
    row = await (await conn.execute(_ALIAS, values)).fetchone()
    if row is None:
        raise Absent(f"the account has no alias {alias}")
    return int(row[0])


async def _block(conn: Connection, number: int) -> BlockRecord:
    found = await record(conn, BlockRecord, _ONE, {"id": number})
    if found is None:
        raise Absent(f"there is no entry {number}")
    return found
