"""An account's block list, as its owner looks through it."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import LiteralString

from mailrelay.core.blocklist import Search, Sort
from mailrelay.core.facts import AccountId
from mailrelay.core.records import BlockRecord
from mailrelay.store.database import Database
from mailrelay.store.manage_blocks import BLOCKS

# Entries for one alias alone are not among them: whoever looks at a list takes them for entries for all.
_FOUND: LiteralString = f"""
    {BLOCKS}
    where s.account_id = %(account)s and s.alias_id is null
      and (%(type)s::text is null or s.type = %(type)s)
      and (%(text)s::text is null or strpos(s.value, %(text)s) > 0)
"""
_COUNT: LiteralString = f"select count(*) from ({_FOUND}) found"
_ORDERS: MappingProxyType[tuple[Sort, bool], LiteralString] = MappingProxyType(
    {
        ("created_at", False): "created_at",
        ("created_at", True): "created_at desc",
        ("value", False): 'value collate "C"',
        ("value", True): 'value collate "C" desc',
        ("blocked", False): "blocked",
        ("blocked", True): "blocked desc",
        ("last_blocked", False): "last_blocked nulls first",
        ("last_blocked", True): "last_blocked desc nulls last",
    }
)


@dataclass(frozen=True, slots=True)
class OwnBlocklist:
    """Raises Unavailable."""

    database: Database

    async def page(self, account: AccountId, search: Search) -> tuple[list[BlockRecord], int]:
        """One page of what is found, and how much there is on all pages."""
        values = {
            "account": account,
            "type": search.type,
            "text": None if search.text is None else search.text.lower(),
            "limit": search.limit,
            "offset": search.offset,
        }
        query = f"""
            select found.*, count(*) over () from ({_FOUND}) found
            order by {_ORDERS[search.sort, search.descending]}, created_at desc, id desc
            limit %(limit)s offset %(offset)s
        """
        rows = await self.database.rows(query, values)
        if rows:
            return [BlockRecord(*row[:-1]) for row in rows], rows[0][-1]
        if not search.offset:
            return [], 0
        row = await self.database.row(_COUNT, values)
        assert row is not None  # count(*) gives one row
        return [], row[0]
