"""Handles, as holders of API keys change them (haltman-api.md section 3.11)."""

from dataclasses import dataclass

from psycopg import IntegrityError

from mailrelay.core.keyed import KeyHandle, Refused
from mailrelay.core.people import KeyHolder
from mailrelay.core.records import HandleId
from mailrelay.store import handle_rows
from mailrelay.store.database import Database, compact
from mailrelay.store.destinations import home
from mailrelay.store.handle_rows import HeldHandle
from mailrelay.store.manage import Connection

# The count comes along with each row, and once without one if there is none.
_PAGE = compact("""
    with mine as materialized (
        select h.id, h.local_part, h.state = 'active' as active, h.created_at, h.updated_at
        from account acc join handle h on h.account_id = acc.id and h.state <> 'released'
        where acc.id = any (array(
                  select %(account)s::bigint union select id from account where implicit_mailbox = %(mailbox)s))
          and exists (
              select from recipient r
              where r.id = coalesce(h.recipient_id, acc.default_recipient_id) and r.address_folded = %(mailbox)s
                and r.verified_at is not null and not r.pending)
    ), page as (select * from mine order by id desc limit %(limit)s offset %(offset)s)
    select c.total, page.id, page.local_part, page.active,
           array(select o.domain from handle_domain_off o where o.handle_id = page.id and o.active order by o.domain),
           page.created_at, page.updated_at
    from (select count(*) as total from mine) c left join page on true order by page.id desc
""")


@dataclass(frozen=True, slots=True)
class KeyHandles:
    """All methods raise Unavailable. Those that change something give None where they did it."""

    database: Database

    async def page(self, holder: KeyHolder, limit: int, offset: int) -> tuple[list[KeyHandle], int]:
        """The holder's handles that are not released, newest first, and how many there are."""
        mailbox = holder.email.folded
        values = {"account": holder.account, "mailbox": mailbox, "limit": limit, "offset": offset}
        rows = await self.database.rows(_PAGE, values)
        found = [
            KeyHandle(HandleId(number), name, mailbox, *rest) for _, number, name, *rest in rows if number is not None
        ]
        return found, rows[0][0]

    async def create(self, holder: KeyHolder, local: str, actor: str) -> Refused | None:
        """A new handle that goes to the holder's mailbox. Raises Conflict while their account is being deleted."""
        try:
            async with self.database.connection() as conn, conn.transaction():
                account, recipient = await home(conn, holder.email, holder.account)
                await handle_rows.add(conn, account, local, recipient, actor)
        except IntegrityError as error:
            if not handle_rows.is_taken(error):
                raise
            return Refused.TAKEN
        return None

    async def release(self, holder: KeyHolder, local: str, actor: str) -> Refused | None:
        async with self.database.connection() as conn, conn.transaction():
            held = await _held_by(conn, holder, local)
            if isinstance(held, HeldHandle):
                await handle_rows.release(conn, held, actor)
                return None
            return held

    async def switch(self, holder: KeyHolder, local: str, domain: str, on: bool, actor: str) -> Refused | None:
        """Whether it takes mail on a domain."""
        async with self.database.connection() as conn, conn.transaction():
            held = await _held_by(conn, holder, local)
            if isinstance(held, HeldHandle):
                await handle_rows.switch(conn, held, domain, on, actor)
                return None
            return held


async def _held_by(conn: Connection, holder: KeyHolder, local: str) -> HeldHandle | Refused:
    """A handle, locked, that is active and the holder's."""
    held = await handle_rows.hold(conn, local)
    if held is None or held.state != "active":
        return Refused.ABSENT
    mailbox = holder.email.folded
    if held.goto != mailbox or (held.account != holder.account and held.implicit != mailbox):
        return Refused.FOREIGN
    return held
