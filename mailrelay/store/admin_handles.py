"""Handles, as administrators list and change them."""

from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import IntegrityError

from mailrelay.core.address import Address, parse_address
from mailrelay.core.admin_changes import HandlePatch, HandleSeen, HandleWish, Refusal
from mailrelay.core.admin_lists import HandleFilter, ListedHandle
from mailrelay.core.facts import AliasId
from mailrelay.core.notices import Notice
from mailrelay.core.records import HandleId
from mailrelay.store import alias_rows, handle_rows
from mailrelay.store.announcements import announce
from mailrelay.store.database import Database, compact
from mailrelay.store.destinations import home
from mailrelay.store.handle_rows import HeldHandle
from mailrelay.store.listing import contains, found, page, read, search
from mailrelay.store.manage import Connection, note, record

# Where the mail of handle `t` goes, folded; null if nowhere.
_GOTO: LiteralString = """
    (select r.address_folded
     from account acc join recipient r on r.id = coalesce(t.recipient_id, acc.default_recipient_id)
     where acc.id = t.account_id and r.verified_at is not null and not r.pending)
"""
_COLUMNS: LiteralString = f"t.id, t.local_part as handle, {_GOTO} as goto, t.state = 'active' as active"
_ONE = compact(f"select {_COLUMNS} from handle t where t.id = %(id)s")
# From the mailboxes, as most are nobody's handle.
_GOING: LiteralString = """
    t.id in (
        select h.id from recipient r
        join account acc on acc.id = r.account_id
        join handle h on h.account_id = r.account_id and coalesce(h.recipient_id, acc.default_recipient_id) = r.id
        where strpos(r.address_folded, %(address)s) > 0 and r.verified_at is not null and not r.pending)
"""
_TALLY: LiteralString = "select block, active as rows from list_tally where list = 'handle'"
_TALLY_INACTIVE: LiteralString = "select block, rows - active as rows from list_tally where list = 'handle'"

_IS_ALIAS = "select 1 from alias where local_part = %(local)s and domain = %(domain)s"
_NAME = "select local_part from handle where id = %(id)s"
_STATE = "update handle set state = %(state)s where id = %(id)s"
_TURN = "update handle set recipient_id = %(recipient)s where id = %(id)s"
# Whose it was may have settled things that are nothing to the next one.
_HAND_OVER = """
    update handle set account_id = %(account)s, recipient_id = %(recipient)s, state = %(state)s, released_at = null,
                      description = null, from_name = null, forward_mode = null, block_behaviour = null
    where id = %(id)s
"""
_ALL_DOMAINS = "delete from handle_domain_off where handle_id = %(id)s"
_ALIASES = "select id from alias where handle_id = %(id)s order by id for update"
_RENAME = "update handle set local_part = %(local)s where id = %(id)s"
# A name that was somebody's never becomes somebody else's.
_KEEP = "insert into handle (local_part, state, released_at) values (%(local)s, 'released', now())"


@dataclass(frozen=True, slots=True)
class AdminHandleStore:
    """All methods raise Unavailable, and Conflict while the account that a handle is to belong to is being deleted."""

    database: Database

    async def page(self, wanted: HandleFilter, limit: int, offset: int) -> tuple[list[ListedHandle], int]:
        """Those handles, the newest first, and how many there are."""
        where: list[LiteralString] = []
        values: dict[str, Any] = {"address": wanted.address, "limit": limit, "offset": offset}
        if wanted.active is not None:
            where.append("t.state = 'active'" if wanted.active else "t.state <> 'active'")
        if wanted.handle is not None:
            where.append(contains("t.local_part", "handle", wanted.handle, values))
        counted: LiteralString = ""
        if len(where) == 1 and wanted.active is not None and wanted.address is None:
            counted = _TALLY if wanted.active else _TALLY_INACTIVE
        if wanted.address is not None:
            counted = found("handle", " and ".join([*where, _GOING]))
            where.append(f"strpos({_GOTO}, %(address)s) > 0")
        statement = page("handle", _COLUMNS, "", " and ".join(where), counted)
        if wanted.handle is not None:
            return await search(self.database, ListedHandle, statement, values)
        return await read(self.database, ListedHandle, statement, values)

    async def one(self, number: HandleId) -> ListedHandle | None:
        """A handle in whatever state."""
        async with self.database.connection() as conn:
            return await _one(conn, number)

    async def is_alias(self, mailbox: Address) -> bool:
        """Whether a mailbox is an alias, or once was."""
        return await self.database.row(_IS_ALIAS, {"local": mailbox.local, "domain": mailbox.domain}) is not None

    async def look(self, number: HandleId) -> HandleSeen | None:
        """A handle in whatever state."""
        async with self.database.connection() as conn:
            name = await _name(conn, number)
            held = None if name is None else await handle_rows.look(conn, name)
        return None if held is None or held.id != number else _seen(held)

    async def make(self, wish: HandleWish, notice: Notice | None, actor: str) -> ListedHandle | Refusal:
        """A new handle, which belongs to whoever controls the mailbox; they are told of it."""
        try:
            async with self.database.connection() as conn, conn.transaction():
                account, recipient = await home(conn, wish.goto)
                number = await handle_rows.add(conn, account, wish.handle, recipient, actor)
                if not wish.active:
                    await conn.execute(_STATE, {"id": number, "state": "inactive"})
                if notice is not None:
                    await announce(conn, notice)
                return await _shown(conn, number)
        except IntegrityError as error:
            return _taken(error)

    async def apply(self, seen: HandleSeen, change: HandlePatch, actor: str) -> ListedHandle | Refusal | None:
        """The members that are given, of a handle as it was seen. None: it is not any more."""
        try:
            async with self.database.connection() as conn, conn.transaction():
                held = await handle_rows.hold(conn, seen.handle)
                if held is None or _seen(held) != seen:
                    return None
                await _apply(conn, held, change, actor)
                return await _shown(conn, seen.id)
        except IntegrityError as error:
            return _taken(error)

    async def release(self, number: HandleId, actor: str) -> tuple[ListedHandle, bool] | None:
        """Give a handle up; its name is never free again. As it was before, and whether this did it.

        None: there is no such handle.
        """
        async with self.database.connection() as conn, conn.transaction():
            name = await _name(conn, number)
            held = None if name is None else await handle_rows.hold(conn, name)
            if held is None or held.id != number:
                return None
            before = await _shown(conn, number)
            if held.state == "released":
                return before, False
            await handle_rows.release(conn, held, actor)
            return before, True


async def _name(conn: Connection, number: HandleId) -> str | None:
    row = await (await conn.execute(_NAME, {"id": number})).fetchone()
    return None if row is None else str(row[0])


async def _apply(conn: Connection, held: HeldHandle, change: HandlePatch, actor: str) -> None:
    state = held.state
    if change.active is not None or (state == "released" and change.goto is not None):
        state = "active" if change.active else "inactive"
    if change.handle is not None:
        await _rename(conn, held, change.handle, actor)
    if change.goto is not None:
        await _redirect(conn, held, change.goto, state, actor)
    if state != held.state:
        await conn.execute(_STATE, {"id": held.id, "state": state})
        action = "handle.activate" if state == "active" else "handle.deactivate"
        await note(conn, actor, held.account, action, "handle", held.id)


async def _redirect(conn: Connection, held: HeldHandle, goto: Address, state: str, actor: str) -> None:
    """Another mailbox: another one of its account, or else the account of whoever controls it gets the handle."""
    account, recipient = await home(conn, goto, held.account)
    if account == held.account:
        await conn.execute(_TURN, {"id": held.id, "recipient": recipient})
    else:
        await _drop_aliases(conn, held)
        await conn.execute(_ALL_DOMAINS, {"id": held.id})
        values = {"id": held.id, "account": account, "recipient": recipient, "state": state}
        await conn.execute(_HAND_OVER, values)
    detail = {"recipient": recipient, "account_before": held.account}
    await note(conn, actor, account, "handle.recipient", "handle", held.id, detail)


async def _rename(conn: Connection, held: HeldHandle, name: str, actor: str) -> None:
    await _drop_aliases(conn, held)
    await conn.execute(_RENAME, {"id": held.id, "local": name})
    await conn.execute(_KEEP, {"local": held.local_part})
    detail = {"before": held.local_part, "after": name}
    await note(conn, actor, held.account, "handle.rename", "handle", held.id, detail)


async def _drop_aliases(conn: Connection, held: HeldHandle) -> None:
    """Mail makes its addresses anew, for whoever has it then; the last owner's are nothing to the next one."""
    rows = await (await conn.execute(_ALIASES, {"id": held.id})).fetchall()
    await alias_rows.erase(conn, (), [AliasId(number) for (number,) in rows])


def _seen(held: HeldHandle) -> HandleSeen:
    goto = None if held.goto is None else parse_address(held.goto)
    return HandleSeen(held.id, held.local_part, held.state, goto)


async def _one(conn: Connection, number: HandleId) -> ListedHandle | None:
    return await record(conn, ListedHandle, _ONE, {"id": number})


async def _shown(conn: Connection, number: HandleId) -> ListedHandle:
    shown = await _one(conn, number)
    assert shown is not None  # it was locked or made in this transaction
    return shown


def _taken(error: IntegrityError) -> Refusal:
    """For the constraints that say so; raises the others."""
    if not handle_rows.is_taken(error):
        raise error
    return Refusal.TAKEN
