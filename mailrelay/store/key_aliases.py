"""Aliases, as holders of API keys have them (haltman-api.md section 3.12).

Theirs is what goes to the key's mailbox, in the key's account or in the one that belongs to whoever has the mailbox.
The addresses of a handle are the handle's (section 3.11).
"""

from dataclasses import dataclass
from typing import LiteralString

from psycopg import IntegrityError

from mailrelay.core.address import Address
from mailrelay.core.facts import AliasId
from mailrelay.core.keyed import AliasCounts, DomainCount, KeyAlias, Refused
from mailrelay.core.people import KeyHolder
from mailrelay.core.records import NewAlias
from mailrelay.store import alias_rows
from mailrelay.store.database import Database, compact, constraint
from mailrelay.store.destinations import home
from mailrelay.store.goto import GOTO
from mailrelay.store.manage import folded
from mailrelay.store.manage_aliases import TAKEN, make
from mailrelay.store.subscriptions import TAKES

# Their accounts. Where one has no other recipient, all its aliases go there; else each is asked.
_WHOSE: LiteralString = """
    whose as materialized (
        select acc.id, acc.default_recipient_id,
               r.address_folded = %(mailbox)s and r.verified_at is not null and not r.pending and not exists (
                   select from recipient x where x.account_id = acc.id and x.id <> r.id) as sole
        from account acc left join recipient r on r.id = acc.default_recipient_id
        where acc.id = any (array(
            select %(account)s::bigint union select id from account where implicit_mailbox = %(mailbox)s)))
"""
_MINE: LiteralString = f"""
    select a.id, a.local_part, a.domain, a.state = 'active' as active, a.domain_id, a.created_at, a.updated_at
    from whose acc join alias a on a.account_id = acc.id and a.state in ('active', 'inactive') and a.handle_id is null
    where acc.sole or {GOTO} = %(mailbox)s
"""
# The count comes along with each row, and once without one if there is none.
_PAGE = compact(f"""
    with {_WHOSE}, mine as materialized ({_MINE}), page as (
        select * from mine order by id desc limit %(limit)s offset %(offset)s)
    select c.total, page.* from (select count(*) as total from mine) c left join page on true order by page.id desc
""")
_COUNTS = compact(f"""
    with {_WHOSE}
    select domain, count(*), count(*) filter (where active),
           count(*) filter (where created_at > now() - interval '7 days'),
           count(*) filter (where updated_at > now() - interval '1 day')
    from ({_MINE}) mine group by grouping sets ((), (domain)) order by grouping(domain) desc, 2 desc, domain
""")
_FIND: LiteralString = f"""
    select a.state, (a.account_id = %(account)s or acc.implicit_mailbox = %(mailbox)s) and {GOTO} = %(mailbox)s
    from alias a join account acc on acc.id = a.account_id
    where a.local_part = %(local)s and a.domain = %(domain)s and a.handle_id is null
"""


@dataclass(frozen=True, slots=True)
class KeyAliases:
    """All methods raise Unavailable."""

    database: Database

    async def page(self, holder: KeyHolder, limit: int, offset: int) -> tuple[list[KeyAlias], int]:
        """The holder's aliases that are not deleted, newest first, and how many there are."""
        rows = await self.database.rows(_PAGE, {**_whose(holder), "limit": limit, "offset": offset})
        mailbox = holder.email.folded
        found = [
            KeyAlias(AliasId(number), f"{local}@{domain}", mailbox, *rest)
            for _, number, local, domain, *rest in rows
            if number is not None
        ]
        return found, rows[0][0]

    async def counts(self, holder: KeyHolder) -> AliasCounts:
        (_, total, active, created, modified), *domains = await self.database.rows(_COUNTS, _whose(holder))
        return AliasCounts(total, active, created, modified, [DomainCount(*row[:3]) for row in domains])

    async def takes(self, domain: str) -> bool:
        """Whether new aliases can be made there."""
        return await self.database.row(TAKES, {"domain": domain}) is not None

    async def create(self, holder: KeyHolder, local: str, domain: str, actor: str) -> Refused | None:
        """A new alias on a shared domain that goes to the holder's mailbox; None: it is there.

        Raises Conflict while their account is being deleted.
        """
        try:
            async with self.database.connection() as conn, conn.transaction():
                # No administrator changes the domain until the alias is there.
                if await (await conn.execute(f"{TAKES} for key share", {"domain": domain})).fetchone() is None:
                    return Refused.DOMAIN
                account, _ = await home(conn, holder.email, holder.account)
                await make(conn, NewAlias(local, domain, account, (holder.email,)), actor)
        except IntegrityError as error:
            if constraint(error) not in TAKEN:
                raise
            return Refused.TAKEN
        return None

    async def switch(self, holder: KeyHolder, address: Address, on: bool, actor: str) -> Refused | None:
        """Let an alias of the holder's take mail or none; None: so it is. What is deleted is not there."""
        values = {**_whose(holder), "local": address.local, "domain": address.domain}
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(f"{_FIND} for update of a", values)).fetchone()
            if row is None or not row[1] or row[0] not in ("active", "inactive"):
                return Refused.ABSENT
            await alias_rows.set_active(conn, (await alias_rows.hold(conn, address),), on, actor)
        return None

    async def delete(self, holder: KeyHolder, address: Address, actor: str) -> Refused | None:
        """Let an alias of the holder's take no mail any more; nobody else gets it. None: done."""
        values = {**_whose(holder), "local": address.local, "domain": address.domain}
        async with self.database.connection() as conn, conn.transaction():
            seen = await (await conn.execute(_FIND, values)).fetchone()
            if seen is None or not seen[1]:
                return Refused.ABSENT
            if seen[0] != "active":
                return Refused.INACTIVE
            held = await alias_rows.hold(conn, address)
            if await (await conn.execute(_FIND, values)).fetchone() != seen:
                return Refused.CHANGED
            await alias_rows.delete(conn, (held,), actor)
        return None


def _whose(holder: KeyHolder) -> dict[str, object]:
    return {"account": holder.account, "mailbox": folded(holder.email)}
