"""Handles, as those who confirm by mail claim and change them (haltman-api.md sections 3.2 and 3.8 to 3.10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import IntegrityError

from mailrelay.core.address import Address, parse_address
from mailrelay.core.codes import Intent, Pending
from mailrelay.core.keyed import Refused
from mailrelay.store import handle_rows
from mailrelay.store.confirmations import settle, take
from mailrelay.store.database import Database, compact
from mailrelay.store.destinations import home
from mailrelay.store.manage import Connection, folded

_ACTOR = "public"

_CLAIMABLE = compact("""
    select exists (select from alias a where a.local_part = %(to_local)s and a.domain = %(to_domain)s),
           exists (select from shared_local_part s where s.local_part = %(local)s)
""")


@dataclass(frozen=True, slots=True)
class PublicHandles:
    """All methods raise Unavailable."""

    database: Database

    async def hindrance(self, local: str, mailbox: Address) -> Refused | None:
        """Why that mailbox gets no handle of that name; None: as far as is stored, it may have it."""
        values = {"local": local, "to_local": mailbox.local.lower(), "to_domain": mailbox.domain}
        row = await self.database.row(_CLAIMABLE, values)
        assert row is not None
        is_alias, is_taken = row
        return Refused.ALIAS if is_alias else Refused.TAKEN if is_taken else None

    async def owner(self, local: str) -> Address | None:
        """The mailbox that an active handle leads to, if that is its owner's."""
        async with self.database.connection() as conn:
            held = await handle_rows.look(conn, local)
        return parse_address(held.goto) if held is not None and held.is_owners and held.goto else None

    async def carry_out(self, macs: Sequence[bytes], pending: Pending, now: datetime) -> Refused | None:
        """Do what a code was found to be for; None: done, and the code is used up. What is refused leaves it alive.

        Raises Conflict while the account of a claimed handle is being deleted.
        """
        try:
            async with self.database.connection() as conn, conn.transaction():
                held = await take(conn, macs, now)
                if held is None or held.id != pending.id:
                    return Refused.USED
                refused = await _do(conn, pending)
                if refused is None:
                    await settle(conn, pending.id, now)
                return refused
        except IntegrityError as error:
            if not handle_rows.is_taken(error):
                raise
            return Refused.TAKEN


async def _do(conn: Connection, pending: Pending) -> Refused | None:
    if pending.intent is Intent.HANDLE_SUBSCRIBE:
        account, recipient = await home(conn, pending.email)
        await handle_rows.add(conn, account, pending.name, recipient, _ACTOR)
        return None
    held = await handle_rows.hold(conn, pending.name)
    if held is None or held.state != "active":
        return Refused.ABSENT
    if held.goto != folded(pending.email) or not held.is_owners:
        return Refused.MOVED
    if pending.intent is Intent.HANDLE_UNSUBSCRIBE:
        await handle_rows.release(conn, held, _ACTOR)
    else:
        on = pending.intent is Intent.HANDLE_DOMAIN_ENABLE
        await handle_rows.switch(conn, held, pending.domain, on, _ACTOR)
    return None
