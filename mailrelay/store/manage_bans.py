"""Server-wide bans, and the block lists of accounts."""

from dataclasses import dataclass
from typing import LiteralString

from psycopg.errors import UniqueViolation

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.records import BanRecord, BlockRecord, BlockType, Named, NewBan
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import OWNER_NAME, Connection, account_id, conflicts, record, records

_SELECT = """
    select b.id, b.uuid, b.type, b.value, b.scope, b.reason,
           b.revoked_at is null and (b.expires_at is null or b.expires_at > now()) as active,
           b.expires_at, b.revoked_at, b.revoked_reason, b.hits, b.last_hit_at, b.created_at
    from ban b
"""
_ONE: LiteralString = f"{_SELECT} where b.id = %(id)s"
_LIST: LiteralString = f"""
    {_SELECT}
    where %(all)s or b.revoked_at is null and (b.expires_at is null or b.expires_at > now())
    order by b.id
"""
# An expired ban still holds its place among those in force until somebody clears it away.
_CLEAR = """
    update ban set revoked_at = now(), revoked_reason = 'expired'
    where type = %(type)s and value = %(value)s and revoked_at is null and expires_at <= now()
"""
_ADD = """
    insert into ban (type, value, scope, reason, expires_at)
    values (%(type)s, %(value)s, %(scope)s, %(reason)s, %(expires_at)s)
    returning id
"""
_HOLDER = "select id from ban where type = %(type)s and value = %(value)s and revoked_at is null"
_IN_FORCE = """
    select id, type from ban
    where revoked_at is null and (id::text = %(ref)s or uuid::text = %(ref)s or value = any(%(values)s::text[]))
    order by id::text = %(ref)s desc, id
"""
_REVOKE = "update ban set revoked_at = now(), revoked_reason = %(reason)s where id = %(id)s"


@dataclass(frozen=True, slots=True)
class Bans:
    """The ban table."""

    database: Database

    async def add(self, new: NewBan) -> BanRecord:
        """The new ban. Raises Conflict if an equal one is in force."""
        values = {
            "type": new.type,
            "value": new.value,
            "scope": new.scope,
            "reason": new.reason,
            "expires_at": new.expires_at,
        }
        try:
            async with self.database.connection() as conn, conn.transaction():
                await conn.execute(_CLEAR, values)
                row = await (await conn.execute(_ADD, values)).fetchone()
                assert row is not None  # returning gives one row or an exception
                return await _ban(conn, row[0])
        except UniqueViolation as error:
            if constraint(error) != "ban_in_force_unique":
                raise
            row = await self.database.row(_HOLDER, values)
            number = f" as ban {row[0]}" if row else ""
            raise Conflict(f"{new.type} {new.value} is banned already{number}") from error

    async def page(self, every: bool = False) -> list[BanRecord]:
        """Bans in force by id. every: revoked and expired ones as well."""
        return await records(self.database, BanRecord, _LIST, {"all": every})

    async def revoke(self, ref: str, spellings: tuple[str, ...], reason: str | None) -> BanRecord:
        """End a ban. ref: its id or UUID, or spellings: its value folded as each type does it.

        Raises Absent, and Conflict if the value is banned in several types.
        """
        async with self.database.connection() as conn, conn.transaction():
            cursor = await conn.execute(_IN_FORCE, {"ref": ref, "values": list(spellings)})
            rows = await cursor.fetchall()
            if not rows:
                raise Absent(f"there is no ban {ref} in force")
            if len(rows) > 1 and str(rows[0][0]) != ref:
                which = ", ".join(f"{number} ({kind})" for number, kind in rows)
                raise Conflict(f"{ref} is banned several times: {which}")
            await conn.execute(_REVOKE, {"id": rows[0][0], "reason": reason})
            return await _ban(conn, rows[0][0])


async def _ban(conn: Connection, number: int) -> BanRecord:
    found = await record(conn, BanRecord, _ONE, {"id": number})
    if found is None:
        raise Absent(f"there is no ban {number}")
    return found


_BLOCKS: LiteralString = f"""
    select s.id, s.uuid, {OWNER_NAME} as account, s.type, s.value,
           case when a.id is not null then a.local_part || '@' || a.domain end as alias,
           s.blocked, s.last_blocked, s.created_at
    from blocked_sender s
    join account acc on acc.id = s.account_id
    left join alias a on a.id = s.alias_id
"""
_BLOCK: LiteralString = f"{_BLOCKS} where s.id = %(id)s"
_BLOCK_LIST: LiteralString = f"""
    {_BLOCKS} where %(account)s::text is null or {OWNER_NAME} = %(account)s order by s.account_id, s.value, s.id
"""
_ALIAS = """
    select id from alias
    where local_part = %(local)s and domain = %(domain)s and account_id = %(account)s
"""
_ADD_BLOCK = """
    insert into blocked_sender (account_id, alias_id, type, value)
    values (%(account)s, %(alias)s, %(type)s, %(value)s)
    returning id
"""
_FIND_BLOCKS = """
    select id from blocked_sender
    where account_id = %(account)s and (value = %(ref)s or id::text = %(ref)s or uuid::text = %(ref)s)
    order by id::text = %(ref)s desc
"""
_REMOVE_BLOCK = "delete from blocked_sender where id = %(id)s"


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocked_sender table."""

    database: Database

    async def add(self, owner: Named | AccountId, kind: BlockType, value: str, alias: Address | None) -> BlockRecord:
        """The new entry of an account's list, for one of its aliases or all. Raises Absent and Conflict."""
        with conflicts({"blocked_sender_entry_unique": f"{value} is on that list already"}):
            async with self.database.connection() as conn, conn.transaction():
                account = await account_id(conn, owner)
                number = None if alias is None else await _alias(conn, account, alias)
                values = {"account": account, "alias": number, "type": kind, "value": value}
                row = await (await conn.execute(_ADD_BLOCK, values)).fetchone()
                assert row is not None  # returning gives one row or an exception
                return await _block(conn, row[0])

    async def page(self, account: str | None = None) -> list[BlockRecord]:
        """All entries; those of one account if it is named."""
        return await records(self.database, BlockRecord, _BLOCK_LIST, {"account": account})

    async def remove(self, owner: Named | AccountId, ref: str) -> BlockRecord:
        """Take an entry off a list. ref: its id, UUID or value. Raises Absent, and Conflict if several have it."""
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            rows = await (await conn.execute(_FIND_BLOCKS, {"account": account, "ref": ref})).fetchall()
            if not rows:
                raise Absent(f"{ref} is not on that list")
            if len(rows) > 1 and str(rows[0][0]) != ref:
                raise Conflict(f"{ref} is there several times: {', '.join(str(row[0]) for row in rows)}")
            gone = await _block(conn, rows[0][0])
            await conn.execute(_REMOVE_BLOCK, {"id": rows[0][0]})
        return gone


async def _alias(conn: Connection, account: AccountId, alias: Address) -> int:
    values = {"local": alias.local.lower(), "domain": alias.domain, "account": account}
    row = await (await conn.execute(_ALIAS, values)).fetchone()
    if row is None:
        raise Absent(f"the account has no alias {alias}")
    return int(row[0])


async def _block(conn: Connection, number: int) -> BlockRecord:
    found = await record(conn, BlockRecord, _BLOCK, {"id": number})
    if found is None:
        raise Absent(f"there is no entry {number}")
    return found
