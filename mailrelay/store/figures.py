"""What everybody may know of the installation: its public domains and how much it forwards (haltman-api.md 3.14)."""

from dataclasses import dataclass
from typing import LiteralString

from mailrelay.store.database import Database
from mailrelay.store.offered import listed

_DOMAINS: LiteralString = f"select name from domain where {listed('domain')} order by id"
# What handles made is counted with the handles, each of which has an address on every domain.
_STATS: LiteralString = f"""
    with listed as materialized (select id, name from domain where {listed("domain")}),
    handles as materialized (select count(*) as n from handle where state = 'active')
    select (select count(*) from listed),
           (select count(*) from listed l join alias a on a.domain_id = l.id
            where a.state = 'active' and a.handle_id is null)
           + (select n from handles) * (select count(*) from listed)
           - (select count(*) from listed l join handle_domain_off o on o.domain = l.name
              join handle h on h.id = o.handle_id where o.active and h.state = 'active'),
           coalesce((select total from counter where name = 'forwarded'), 0)
"""
_PATIENCE = "set local statement_timeout = '30s'"
_COUNT = """
    insert into counter as c (name, total) values ('forwarded', %(n)s)
    on conflict (name) do update set total = c.total + excluded.total
"""


@dataclass(frozen=True, slots=True)
class Stats:
    """forwarded: counted by the worker as mail goes out, and by whoever counts from outside."""

    domains: int
    aliases: int
    forwarded: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All raise Unavailable."""

    database: Database

    async def domains(self) -> list[str]:
        """Names of domains on which anybody can make aliases, unless they are hidden."""
        return [str(row[0]) for row in await self.database.rows(_DOMAINS)]

    async def stats(self) -> Stats:
        """How much there is; every alias is counted, a million in a quarter of a second."""
        async with self.database.connection() as conn, conn.transaction():
            await conn.execute(_PATIENCE)
            row = await (await conn.execute(_STATS)).fetchone()
        assert row is not None  # totals are one row
        return Stats(*map(int, row))

    async def count(self, messages: int) -> None:
        """So many more were forwarded."""
        await self.database.rows(_COUNT, {"n": messages})
