"""Server-wide bans, as the management commands and the Haltman API change them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import LiteralString

from psycopg.errors import UniqueViolation

from mailrelay.core.banrecords import BanMade, BanRecord, BanState, NewBan
from mailrelay.core.bans import BanId, BanType
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.store import matching
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import Connection, note, record, records

_SELECT: LiteralString = """
    select b.id, b.uuid, b.type, b.value, b.scope, b.reason,
           b.revoked_at is null and (b.expires_at is null or b.expires_at > now()) as active,
           b.expires_at, b.revoked_at, b.revoked_reason, b.hits, b.last_hit_at, b.created_at
    from ban b
"""
_ONE: LiteralString = f"{_SELECT} where b.id = %(id)s"
_LOCKED: LiteralString = f"{_ONE} for update of b"
_LIST: LiteralString = f"""
    {_SELECT}
    where %(all)s or b.revoked_at is null and (b.expires_at is null or b.expires_at > now())
    order by b.id
"""
# An expired ban still holds its place among those in force until somebody clears it away.
_CLEAR = """
    update ban set revoked_at = now(), revoked_reason = 'expired'
    where type = %(type)s and value = %(value)s and revoked_at is null and expires_at <= now()
      and id is distinct from %(id)s
"""
_ADD = """
    insert into ban (type, value, scope, reason, expires_at, created_by)
    values (%(type)s, %(value)s, %(scope)s, %(reason)s, %(expires_at)s, %(creator)s)
    returning id, expires_at is null or expires_at > now()
"""
_HOLDER = "select id from ban where type = %(type)s and value = %(value)s and revoked_at is null"
_IN_FORCE = """
    select id, type from ban
    where revoked_at is null and (id::text = %(ref)s or uuid::text = %(ref)s or value = any(%(values)s::text[]))
    order by id::text = %(ref)s desc, id
"""
_REVOKE = "update ban set revoked_at = now(), revoked_reason = %(reason)s where id = %(id)s"
# The trigger ban_network makes the network of a value.
_CHANGE = """
    update ban
    set type = %(type)s, value = %(value)s, network = case when type = 'ip' and %(type)s = 'ip' then network end,
        reason = %(reason)s, expires_at = %(expires_at)s, revoked_at = %(revoked_at)s,
        revoked_reason = %(revoked_reason)s
    where id = %(id)s
"""
_DELETE = "delete from ban where id = %(id)s"


@dataclass(frozen=True, slots=True)
class Bans:
    """The ban table. actor: who does it, for the audit."""

    database: Database

    async def add(
        self, new: NewBan, actor: str, creator: AccountId | None = None, disable_matching: bool = False
    ) -> BanMade:
        """The new ban, all or nothing. Raises Conflict if an equal one is in force.

        creator: account that does it. disable_matching: what it hits is deactivated as well, if it is in force.
        """
        values = {**asdict(new), "creator": creator, "id": None}
        try:
            async with self.database.connection() as conn, conn.transaction():
                await conn.execute(_CLEAR, values)
                row = await (await conn.execute(_ADD, values)).fetchone()
                assert row is not None  # returning gives one row or an exception
                is_wanted = disable_matching and row[1]
                hit = await matching.disable(conn, row[0], new.type, new.value, actor) if is_wanted else (0, 0)
                detail = {**_pair(new.type, new.value), "aliases": hit[0], "handles": hit[1]}
                await note(conn, actor, None, "ban.add", "ban", row[0], detail)
                return BanMade(**asdict(await _ban(conn, row[0])), disabled_aliases=hit[0], disabled_handles=hit[1])
        except UniqueViolation as error:
            raise await self._conflict(error, new.type, new.value) from error

    async def page(self, every: bool = False) -> list[BanRecord]:
        """Bans in force by id. every: revoked and expired ones as well."""
        return await records(self.database, BanRecord, _LIST, {"all": every})

    async def one(self, number: BanId) -> BanRecord:
        """Raises Absent."""
        async with self.database.connection() as conn:
            return await _ban(conn, number)

    async def change(self, number: BanId, revise: Callable[[BanRecord], BanState], actor: str) -> BanRecord:
        """The ban with what `revise` makes of it, which may raise. Raises Absent, and Conflict for an equal one."""
        wanted: list[BanState] = []
        try:
            async with self.database.connection() as conn, conn.transaction():
                found = await record(conn, BanRecord, _LOCKED, {"id": number})
                if found is None:
                    raise Absent(f"there is no ban {number}")
                state = revise(found)
                wanted.append(state)
                values = {**asdict(state), "id": number}
                if state.revoked_at is None:
                    await conn.execute(_CLEAR, values)
                await conn.execute(_CHANGE, values)
                await note(conn, actor, None, "ban.change", "ban", number, _changes(found, state))
                return await _ban(conn, number)
        except UniqueViolation as error:
            raise await self._conflict(error, wanted[0].type, wanted[0].value) from error

    async def revoke(self, ref: str, spellings: tuple[str, ...], reason: str | None, actor: str) -> BanRecord:
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
            await note(conn, actor, None, "ban.revoke", "ban", rows[0][0], {"reason": reason})
            return await _ban(conn, rows[0][0])

    async def delete(self, number: BanId, actor: str) -> BanRecord:
        """The ban as it was. What is left of it is in the audit. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            found = await record(conn, BanRecord, _LOCKED, {"id": number})
            if found is None:
                raise Absent(f"there is no ban {number}")
            await conn.execute(_DELETE, {"id": number})
            detail = {**_pair(found.type, found.value), "scope": found.scope, "reason": found.reason}
            await note(conn, actor, None, "ban.delete", "ban", number, {**detail, "hits": found.hits})
            return found

    async def _conflict(self, error: UniqueViolation, kind: BanType, value: str) -> Exception:
        if constraint(error) != "ban_in_force_unique":
            return error
        row = await self.database.row(_HOLDER, _pair(kind, value))
        number = f" as ban {row[0]}" if row else ""
        return Conflict(f"{kind} {value} is banned already{number}")


def _pair(kind: BanType, value: str) -> dict[str, str]:
    return {"type": kind, "value": value}


def _changes(before: BanRecord, after: BanState) -> dict[str, str | None]:
    """What is not as it was, for the audit."""
    found = {name: value for name, value in asdict(after).items() if value != getattr(before, name)}
    return {name: None if value is None else str(value) for name, value in found.items()}


async def _ban(conn: Connection, number: int) -> BanRecord:
    found = await record(conn, BanRecord, _ONE, {"id": number})
    if found is None:
        raise Absent(f"there is no ban {number}")
    return found
