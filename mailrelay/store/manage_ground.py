"""What a new name or mailbox is checked against: our domains around it and the bans that hit it, in one query."""

from collections.abc import Iterable
from dataclasses import dataclass

from mailrelay.core.address import Address, parents
from mailrelay.core.bans import Ban
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Ground, KnownDomain
from mailrelay.store.database import Database
from mailrelay.store.manage import folded

_GROUND = """
    select d.name, d.account_id, d.verified_at is not null, null::bigint, null, null, null, null::timestamptz
    from domain d where d.name = any(%(domains)s::text[])
    union all
    select null, null, null, b.id, b.type, b.value, b.scope, b.expires_at
    from ban b
    where b.revoked_at is null
      and (b.type = 'domain' and b.value = any(%(domains)s::text[])
           or b.type = 'email' and b.value = any(%(mailboxes)s::text[])
           or b.type = 'name' and b.value = any(%(names)s::text[]))
"""
_USERNAME = "select account_id from username where name = %(name)s"


@dataclass(frozen=True, slots=True)
class Grounds:
    """Reads grounds."""

    database: Database

    async def read(
        self, mailboxes: Iterable[Address] = (), names: Iterable[str] = (), domains: Iterable[str] = ()
    ) -> Ground:
        """Our domains that are among those of the mailboxes and `domains`, or above them; bans on any of it."""
        boxes = list(mailboxes)
        around = {parent for domain in (*domains, *(box.domain for box in boxes)) for parent in parents(domain)}
        values = {"domains": sorted(around), "mailboxes": [folded(box) for box in boxes], "names": list(names)}
        rows = await self.database.rows(_GROUND, values)
        return Ground(
            tuple(
                KnownDomain(name, None if account is None else AccountId(account), verified)
                for name, account, verified, *_ in rows
                if name is not None
            ),
            tuple(Ban(*row[3:]) for row in rows if row[3] is not None),
        )

    async def username_owner(self, name: str) -> AccountId | None:
        """Whose username this is; None: nobody's."""
        row = await self.database.row(_USERNAME, {"name": name})
        return None if row is None else AccountId(row[0])
