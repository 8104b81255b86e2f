"""Server-wide bans, and the block lists of accounts."""

from dataclasses import dataclass
from typing import LiteralString

from psycopg.errors import UniqueViolation

from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.records import BanRecord, NewBan
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import Connection, record, records

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
