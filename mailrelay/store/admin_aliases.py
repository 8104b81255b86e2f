"""Aliases, as administrators change them: each change in one transaction, of what they have seen."""

from dataclasses import dataclass
from typing import LiteralString

from psycopg import IntegrityError

from mailrelay.core.address import Address, parse_address
from mailrelay.core.admin_changes import AliasPatch, AliasSeen, AliasWish, Refusal
from mailrelay.core.admin_lists import ListedAlias
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.notices import Notice
from mailrelay.core.records import ImplicitFor, NewAlias
from mailrelay.core.subscriptions import Survey
from mailrelay.store import alias_rows
from mailrelay.store.admin_alias_list import one
from mailrelay.store.announcements import announce
from mailrelay.store.database import Database, compact, constraint
from mailrelay.store.destinations import home
from mailrelay.store.goto import GOTO
from mailrelay.store.manage import Connection, note
from mailrelay.store.manage_aliases import TAKEN, make
from mailrelay.store.subscriptions import TAKES, SubscriptionStore

_ID = "select id from alias where local_part = %(local)s and domain = %(domain)s"
_LOOK: LiteralString = f"""
    select a.id, a.local_part, a.domain, a.state, a.account_id, a.shared, a.handle_id is not null,
           coalesce(h.state = 'released', false), case when a.state in ('active', 'inactive') then {GOTO} end
    from alias a left join account acc on acc.id = a.account_id left join handle h on h.id = a.handle_id
    where a.id = %(id)s
"""
_SEE = compact(_LOOK)
_HOLD = compact(f"{_LOOK} for update of a")
_DETACH = "delete from alias_recipient where alias_id = %(id)s"
_ATTACH = "insert into alias_recipient (alias_id, recipient_id) values (%(id)s, %(recipient)s)"
# Where its mail goes is in other tables.
_TOUCH = "update alias set updated_at = now() where id = %(id)s"
_STATE = "update alias set state = %(state)s, deleted_at = null where id = %(id)s"
_HAND_OVER = """
    update alias set account_id = %(account)s, state = %(state)s, deleted_at = null where id = %(id)s
"""
# The trigger alias_reserve finds the domain.
_RENAME = """
    update alias set local_part = %(local)s, domain = %(domain)s, domain_id = null, username_id = null, handle_id = null
    where id = %(id)s
"""
# An address that was somebody's never becomes somebody else's.
_KEEP = """
    insert into alias (local_part, domain, state, deleted_at) values (%(local)s, %(domain)s, 'forgotten', now())
"""


class _Refused(Exception):
    """Ends the transaction."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class _Row:
    """A locked alias. free: it can be anybody's, as it belongs to no domain, username or handle of somebody's."""

    seen: AliasSeen
    account: AccountId | None
    shared: bool
    below_handle: bool
    below_released: bool

    @property
    def is_free(self) -> bool:
        return self.shared and not self.below_handle


@dataclass(frozen=True, slots=True)
class AdminAliasStore:
    """All methods raise Unavailable, and Conflict while the account that an alias is to belong to is being deleted."""

    database: Database

    async def survey(self, address: Address, goto: Address) -> Survey:
        """What stands against an alias of this name, or with this destination."""
        return await SubscriptionStore(self.database).survey(address, goto)

    async def look(self, number: AliasId) -> AliasSeen | None:
        """An alias in whatever state."""
        async with self.database.connection() as conn:
            row = await _row(conn, _SEE, number)
        return None if row is None else row.seen

    async def make(self, wish: AliasWish, notice: Notice | None, actor: str) -> ListedAlias | Refusal:
        """A new alias, which belongs to whoever controls the mailbox; they are told of it."""
        address = wish.address
        try:
            async with self.database.connection() as conn, conn.transaction():
                await _domain_takes(conn, address)
                new = NewAlias(address.local, address.domain, ImplicitFor(wish.goto), (wish.goto,))
                await make(conn, new, actor)
                row = await (await conn.execute(_ID, {"local": address.local, "domain": address.domain})).fetchone()
                assert row is not None  # it was made in this transaction
                if not wish.active:
                    await conn.execute(_STATE, {"id": row[0], "state": "inactive"})
                if notice is not None:
                    await announce(conn, notice)
                return await _shown(conn, row[0])
        except _Refused as refused:
            return refused.refusal
        except IntegrityError as error:
            return _taken(error)

    async def apply(self, seen: AliasSeen, change: AliasPatch, actor: str) -> ListedAlias | Refusal | None:
        """The members that are given, of an alias as it was seen. None: it is not any more."""
        try:
            async with self.database.connection() as conn, conn.transaction():
                row = await _row(conn, _HOLD, seen.id)
                if row is None or row.seen != seen:
                    return None
                await _apply(conn, row, change, actor)
                return await _shown(conn, seen.id)
        except _Refused as refused:
            return refused.refusal
        except IntegrityError as error:
            return _taken(error)

    async def delete(self, number: AliasId, actor: str) -> tuple[ListedAlias, bool] | None:
        """Let an active alias take no mail any more, and whether this did it; None: there is no such alias."""
        async with self.database.connection() as conn, conn.transaction():
            row = await _row(conn, _HOLD, number)
            if row is None:
                return None
            is_active = row.seen.state == "active"
            if is_active:
                await alias_rows.delete(conn, (await alias_rows.hold(conn, row.seen.address),), actor)
            return await _shown(conn, number), is_active


async def _row(conn: Connection, query: LiteralString, number: AliasId) -> _Row | None:
    row = await (await conn.execute(query, {"id": number})).fetchone()
    if row is None:
        return None
    found, local, domain, state, account, shared, below_handle, below_released, goto = row
    seen = AliasSeen(found, Address(local, domain), state, None if goto is None else parse_address(goto))
    return _Row(seen, account, shared, below_handle, below_released)


async def _apply(conn: Connection, row: _Row, change: AliasPatch, actor: str) -> None:
    seen = row.seen
    state = seen.state
    if change.active is not None or (seen.is_gone and change.goto is not None):
        state = "active" if change.active else "inactive"
    if row.below_released and state == "active" and change.address is None:
        raise _Refused(Refusal.TAKEN)
    if change.address is not None:
        await _domain_takes(conn, change.address)
        await _rename(conn, row, change.address, actor)
    if change.goto is not None:
        await _redirect(conn, row, change.goto, state, actor)
    if state != seen.state:
        await conn.execute(_STATE, {"id": seen.id, "state": state})
        action = "alias.activate" if state == "active" else "alias.deactivate"
        await note(conn, actor, row.account, action, "alias", seen.id)


async def _redirect(conn: Connection, row: _Row, goto: Address, state: str, actor: str) -> None:
    """Another mailbox: another one of its account, or else the account of whoever controls it gets the alias."""
    number = row.seen.id
    account, recipient = await home(conn, goto, row.account)
    if account != row.account:
        if not row.is_free:
            raise _Refused(Refusal.BOUND)
        # What the owner had there is nothing to the next one.
        await alias_rows.erase(conn, (number,), ())
        await conn.execute(_HAND_OVER, {"id": number, "account": account, "state": state})
    await conn.execute(_DETACH, {"id": number})
    await conn.execute(_ATTACH, {"id": number, "recipient": recipient})
    await conn.execute(_TOUCH, {"id": number})
    detail = {"recipients": [recipient], "account_before": row.account}
    await note(conn, actor, account, "alias.recipients", "alias", number, detail)


async def _rename(conn: Connection, row: _Row, address: Address, actor: str) -> None:
    before, number = row.seen.address, row.seen.id
    await conn.execute(_RENAME, {"id": number, "local": address.local, "domain": address.domain})
    if row.is_free:
        await conn.execute(_KEEP, {"local": before.local, "domain": before.domain})
    await note(
        conn, actor, row.account, "alias.rename", "alias", number, {"before": str(before), "after": str(address)}
    )


async def _domain_takes(conn: Connection, address: Address) -> None:
    """The domain takes new aliases, and no administrator changes that until this one is there."""
    if await (await conn.execute(f"{TAKES} for key share", {"domain": address.domain})).fetchone() is None:
        raise _Refused(Refusal.DOMAIN)


async def _shown(conn: Connection, number: AliasId) -> ListedAlias:
    shown = await one(conn, number)
    assert shown is not None  # it was locked or made in this transaction
    return shown


def _taken(error: IntegrityError) -> Refusal:
    """For the constraints that say so; raises the others."""
    if constraint(error) not in TAKEN:
        raise error
    return Refusal.TAKEN
