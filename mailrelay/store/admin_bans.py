"""Bans as administrators list them: the newest first, filtered, and how many there are (haltman-api.md section 3.4)."""

from dataclasses import dataclass
from typing import Any, LiteralString

from mailrelay.core.banrecords import BanFilter, BanRecord
from mailrelay.store.database import Database
from mailrelay.store.listing import BLOCK, contains, page, read, search

_ACTIVE: LiteralString = "t.revoked_at is null and (t.expires_at is null or t.expires_at > now())"
_COLUMNS: LiteralString = f"""
    t.id, t.uuid, t.type, t.value, t.scope, t.reason, {_ACTIVE} as active,
    t.expires_at, t.revoked_at, t.revoked_reason, t.hits, t.last_hit_at, t.created_at
"""


@dataclass(frozen=True, slots=True)
class BanLists:
    """The ban table. Raises Unavailable."""

    database: Database

    async def page(self, wanted: BanFilter, limit: int, offset: int) -> tuple[list[BanRecord], int]:
        """So many that meet all that is wanted, and how many do."""
        where: list[LiteralString] = []
        values: dict[str, Any] = {"type": wanted.type, "limit": limit, "offset": offset}
        if wanted.active is not None:
            where.append(f"({_ACTIVE})" if wanted.active else f"not ({_ACTIVE})")
        if wanted.type is not None:
            where.append("t.type = %(type)s")
        if wanted.value:
            where.append(contains("t.value", "value", wanted.value, values))
            return await search(self.database, BanRecord, page("ban", _COLUMNS, where=" and ".join(where)), values)
        statement = page("ban", _COLUMNS, where=" and ".join(where), counted=_tally(wanted))
        return await read(self.database, BanRecord, statement, values)


def _tally(wanted: BanFilter) -> LiteralString:
    """Counted already, but for those that end by themselves."""
    part: LiteralString = "" if wanted.type is None else "and part = ban_type_part(%(type)s)"
    if wanted.active is None:
        return f"select block, rows from list_tally where list = 'ban' {part}"
    rows: LiteralString = "active" if wanted.active else "rows - active"
    sign: LiteralString = "-" if wanted.active else ""
    of_type: LiteralString = "" if wanted.type is None else "and t.type = %(type)s"
    return f"""
        select block, {rows} as rows from list_tally where list = 'ban' {part}
        union all
        select t.id / {BLOCK} as block, {sign}count(*) as rows from ban t
        where t.revoked_at is null and t.expires_at <= now() {of_type} group by 1
    """
