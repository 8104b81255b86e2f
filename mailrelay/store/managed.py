"""Whether mail for a domain would come back here: then no destination may be there (haltman-api.md section 1.5)."""

from collections.abc import Set
from dataclasses import dataclass

from mailrelay.core.address import parents
from mailrelay.store.database import Database

# Whoever only claims a domain has no say about the mailboxes there.
_ABOVE = """
    select name from domain
    where active and (shared or verified_at is not null) and name = any (%(names)s::text[])
    order by length(name) desc limit 1
"""


@dataclass(frozen=True, slots=True)
class ManagedDomains:
    """Active domains that are shared or verified, the service's own, and what is below them.

    service: the service's own, folded.
    """

    database: Database
    service: Set[str]

    async def around(self, domain: str) -> str | None:
        """The domain of ours that this folded one is, or is below; None: neither. Raises Unavailable."""
        above = parents(domain)
        own = next((name for name in above if name in self.service), None)
        if own is not None:
            return own
        row = await self.database.row(_ABOVE, {"names": list(above)})
        return None if row is None else str(row[0])
