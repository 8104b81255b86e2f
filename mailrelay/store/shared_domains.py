"""Shared domains, as administrators of the Haltman API change them (haltman-api.md sections 1.5 and 3.20)."""

from dataclasses import dataclass
from typing import LiteralString

from psycopg.types.json import Jsonb

from mailrelay.core.errors import Absent
from mailrelay.core.jobs import DOMAIN_KEYS
from mailrelay.core.records import NewDomain
from mailrelay.core.shared_domain import SharedDomain, SharedDomainChange
from mailrelay.store import manage_domains
from mailrelay.store.database import Database
from mailrelay.store.manage import Connection, note, record

_SELECT: LiteralString = """
    select id, name, active, mx_verified_at is not null as active_mx, ui_verified_at is not null as active_ui, visible
    from domain where shared
"""
_WHERE: LiteralString = """
    and (%(active)s::boolean is null or active = %(active)s)
    and (%(visible)s::boolean is null or visible = %(visible)s)
    and (%(name)s::text is null or position(%(name)s::text in name) > 0)
"""
_PAGE: LiteralString = f"{_SELECT} {_WHERE} order by id desc limit %(limit)s offset %(offset)s"
_TOTAL: LiteralString = f"select count(*) from domain where shared {_WHERE}"
_ONE: LiteralString = f"{_SELECT} and id = %(id)s"
_HOLD: LiteralString = f"{_ONE} for update"
_SWITCH = "update domain set active = %(active)s, visible = %(visible)s where id = %(id)s"
# Aliases keep the name that they have; nothing is known of what is published for the new one.
_LEAVE = "update alias set domain_id = null where domain_id = %(id)s"
_RENAME = """
    update domain set name = %(name)s, mx_verified_at = null, sending_verified_at = null, ui_verified_at = null
    where id = %(id)s
"""
_UNCHECK = "delete from dns_recheck where domain_id = %(id)s"
_MAKE_KEYS = """
    insert into job (kind, payload, dedupe_key) values (%(kind)s, %(payload)s, %(key)s)
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
"""
_REMOVE = "delete from domain where id = %(id)s"
_NO_TIMEOUT = "set local statement_timeout = 0"


@dataclass(frozen=True, slots=True)
class SharedDomains:
    """All raise Unavailable."""

    database: Database

    async def page(
        self, active: bool | None, visible: bool | None, name: str | None, limit: int, offset: int
    ) -> tuple[list[SharedDomain], int]:
        """Those of a page, the newest first, and how many there are in all. name: part of it; None: whatever it is."""
        values = {"active": active, "visible": visible, "name": name}
        rows = await self.database.rows(_PAGE, {**values, "limit": limit, "offset": offset})
        total = await self.database.row(_TOTAL, values)
        return [SharedDomain(*row) for row in rows], int(total[0]) if total is not None else 0

    async def one(self, domain: int) -> SharedDomain:
        """Raises Absent."""
        row = await self.database.row(_ONE, {"id": domain})
        if row is None:
            raise Absent(f"there is no shared domain {domain}")
        return SharedDomain(*row)

    async def add(self, name: str, *, active: bool, visible: bool, actor: str) -> SharedDomain:
        """A new one, with the aliases that it had when it was here before. DNS has to say that mail comes here.

        Raises DomainClash.
        """
        new = NewDomain(name, None, True, False, with_mx=False, keys_later=True, active=active, visible=visible)
        with manage_domains.taken(name):
            async with self.database.connection() as conn, conn.transaction():
                return await _held(conn, await manage_domains.bring(conn, new, actor))

    async def change(self, domain: int, change: SharedDomainChange, actor: str) -> SharedDomain:
        """Apply a change. A new name begins without approvals. Raises Absent and DomainClash."""
        with manage_domains.taken(change.name or ""):
            async with self.database.connection() as conn, conn.transaction():
                if change.name is not None:
                    await manage_domains.lock(conn)
                before = await _held(conn, domain)
                active = before.active if change.active is None else change.active
                if change.name is not None and change.name != before.name:
                    await _rename(conn, before, change.name)
                elif active and not before.active:  # what is off is nobody's: mailboxes there may have been confirmed
                    await manage_domains.refuse_mailboxes(conn, before.name, shared=True)
                visible = before.visible if change.visible is None else change.visible
                if (active, visible) != (before.active, before.visible):
                    await conn.execute(_SWITCH, {"id": domain, "active": active, "visible": visible})
                after = await _held(conn, domain)
                if after != before:
                    detail = {"name": after.name, "was": before.name, "active": active, "visible": visible}
                    await note(conn, actor, None, "domain.set", "domain", domain, detail)
                return after

    async def remove(self, domain: int, actor: str) -> SharedDomain:
        """Remove one, as it was before. Its aliases stay, without mail, and are its again if it comes back.

        Raises Absent.
        """
        async with self.database.connection() as conn, conn.transaction():
            before = await _held(conn, domain)
            await conn.execute(_NO_TIMEOUT)
            await conn.execute(_LEAVE, {"id": domain})
            await conn.execute(_REMOVE, {"id": domain})
            await note(conn, actor, None, "domain.remove", "domain", domain, {"name": before.name})
        return before


async def _held(conn: Connection, domain: int) -> SharedDomain:
    """It stays as it is until the transaction ends. Raises Absent."""
    found = await record(conn, SharedDomain, _HOLD, {"id": domain})
    if found is None:
        raise Absent(f"there is no shared domain {domain}")
    return found


async def _rename(conn: Connection, before: SharedDomain, name: str) -> None:
    await manage_domains.check_ground(conn, NewDomain(name, None, True, False))
    await conn.execute(_NO_TIMEOUT)
    for statement in (_LEAVE, _RENAME, _UNCHECK):
        await conn.execute(statement, {"id": before.id, "name": name})
    await manage_domains.take_back(conn, before.id, name)
    job = {"kind": DOMAIN_KEYS, "payload": Jsonb({"domain_id": before.id}), "key": f"{DOMAIN_KEYS}:{before.id}"}
    await conn.execute(_MAKE_KEYS, job)
