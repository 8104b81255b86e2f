"""Whether something is banned, asked of the database itself: what was banned a moment ago is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.bans import BanId
from mailrelay.core.suspects import BanHit, Suspect
from mailrelay.metrics import BAN_HITS
from mailrelay.store.database import Database, compact

# The newest ban on a client is `banned`, its hit counted. %(ip)s: null if it is unknown.
BANNED: LiteralString = """
    banned as materialized (
        select id, type, value, reason, created_at from ban
        where network >>= %(ip)s::inet and revoked_at is null and (expires_at is null or expires_at > now())
        order by id desc limit 1
    ), ban_counted as (
        update ban set hits = ban.hits + 1, last_hit_at = now() from banned where ban.id = banned.id
    )
"""

# The newest one is told (haltman-api.md section 5.2), of what goes first (section 3.5). Each branch is a probe of an
# index. What only senders of mail meet says nothing of mailboxes and domains here.
_FIRST = compact("""
    with hit as (
        select b.id, b.type, b.value, b.reason, b.created_at
        from (
            select b.*, q.rank
            from unnest(%(types)s::text[], %(values)s::text[], %(ranks)s::int[]) as q(type, value, rank)
            join ban b on b.type = q.type and b.value = q.value and b.revoked_at is null
                and (b.scope <> 'sender' or b.type = 'name')
            union all
            select b.*, 0 from unnest(%(ips)s::inet[]) as q(ip)
            join ban b on b.network >>= q.ip and b.revoked_at is null
        ) b
        where b.expires_at is null or b.expires_at > now()
        order by b.rank, b.id desc limit 1
    ), counted as (
        update ban set hits = hits + 1, last_hit_at = now() from hit where ban.id = hit.id
    )
    select id, type, value, reason, created_at from hit
""")


@dataclass(frozen=True, slots=True)
class BanLookup:
    """The bans in force. Raises Unavailable."""

    database: Database

    async def first(self, *groups: Sequence[Suspect]) -> BanHit | None:
        """The newest ban that one of the first group meets, else one of the next, and so on; its hit counted."""
        if not any(groups):
            return None
        row = await self.database.row(_FIRST, _values(groups))
        if row is None:
            return None
        BAN_HITS.labels(row[1]).inc()
        return BanHit(BanId(row[0]), *row[1:])


def _values(groups: Sequence[Sequence[Suspect]]) -> dict[str, Sequence[str] | Sequence[int]]:
    ranked = [(rank, one) for rank, group in enumerate(groups) for one in group]
    return {
        "types": [one.type for _, one in ranked if one.type != "ip"],
        "values": [one.value for _, one in ranked if one.type != "ip"],
        "ranks": [rank for rank, one in ranked if one.type != "ip"],
        "ips": [one.value for _, one in ranked if one.type == "ip"],
    }
