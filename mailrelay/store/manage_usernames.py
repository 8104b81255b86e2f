"""Usernames, as the management commands and the HTTP APIs change them."""

from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.parents import TooMany
from mailrelay.core.records import Named, Owned, UsernameChange, UsernameRecord
from mailrelay.store import manage_parents
from mailrelay.store.database import Database
from mailrelay.store.manage import (
    OWNER_NAME,
    TAKEN_USERNAME,
    Connection,
    account_id,
    add_username,
    conflicts,
    note,
    record,
    records,
)

_SELECT: LiteralString = f"""
    select u.id, u.uuid, {OWNER_NAME} as account, u.name,
           acc.default_username_id is not distinct from u.id as is_default, u.active,
           u.catch_all, u.auto_create_regex, r.address as default_recipient, u.can_login, u.description, u.from_name,
           u.created_at
    from username u
    join account acc on acc.id = u.account_id
    left join recipient r on r.id = u.default_recipient_id
"""
_ONE: LiteralString = f"{_SELECT} where u.name = %(name)s"
_LIST: LiteralString = f"{_SELECT} where %(account)s::text is null or {OWNER_NAME} = %(account)s order by u.name"
_BECOMES_DEFAULT = """
    update account set default_username_id = %(username)s where id = %(account)s and default_username_id is null
"""
# One at a time, so that the count is right.
_LOCK = "select from account where id = %(account)s for no key update"
_COUNT = "select count(*) from username where account_id = %(account)s"
_EXTERNAL = "select external_auth from account where id = %(account)s"
_DEFAULT = "select from account where id = %(account)s and default_username_id = %(username)s"
# Nobody gets the name again, hence none of the addresses; what hangs on them goes along.
_ALIASES = "delete from alias where username_id = %(id)s"
_REMOVE = "delete from username where id = %(id)s"
_NO_TIMEOUT = "set local statement_timeout = 0"


@dataclass(frozen=True, slots=True)
class Usernames:
    """The username table."""

    database: Database

    async def add(self, owner: Named | AccountId, name: str, actor: str, limit: int | None = None) -> UsernameRecord:
        """The new username; an account's first becomes its default. Raises Conflict if it is or was somebody's.

        limit: how many an account may have, None for any number. Raises TooMany, but only for a name that it could get.
        """
        with conflicts(TAKEN_USERNAME):
            async with self.database.connection() as conn, conn.transaction():
                account = await account_id(conn, owner)
                await conn.execute(_LOCK, {"account": account})
                username = await add_username(conn, account, name)
                await _check_count(conn, account, limit)
                await conn.execute(_BECOMES_DEFAULT, {"account": account, "username": username})
                await note(conn, actor, account, "username.add", "username", username, {"name": name})
                return await _one(conn, name)

    async def page(self, account: str | None = None) -> list[UsernameRecord]:
        """All usernames by name; those of one account if it is named."""
        return await records(self.database, UsernameRecord, _LIST, {"account": account})

    async def change(self, which: str | Owned, change: UsernameChange, actor: str) -> UsernameRecord:
        """Apply a change. Raises Absent, NoRecipient, and Conflict for a recipient that is not verified."""
        async with self.database.connection() as conn, conn.transaction():
            parent = await manage_parents.locked(conn, "username", which)
            await manage_parents.change(conn, parent, change, actor)
            return await _one(conn, parent.name)

    async def forbid_login(self, which: str | Owned, actor: str) -> UsernameRecord:
        """Nobody signs in with this name any more. Raises Absent, and Conflict for an account's default username."""
        async with self.database.connection() as conn, conn.transaction():
            parent = await manage_parents.locked(conn, "username", which)
            await _refuse_default(conn, parent)
            await manage_parents.change(conn, parent, UsernameChange(can_login=False), actor)
            return await _one(conn, parent.name)

    async def signs_in_elsewhere(self, account: AccountId) -> bool:
        """True if the account is signed in by a proxy, so that its usernames are no login names."""
        row = await self.database.row(_EXTERNAL, {"account": account})
        return row is not None and bool(row[0])

    async def remove(self, which: str | Owned, actor: str) -> UsernameRecord:
        """Remove a username, which nobody gets again, and its aliases. Raises Absent, and Conflict for a default."""
        words = {"account_default_username_fk": "it has become the default username of its account"}
        with conflicts(words):
            async with self.database.connection() as conn, conn.transaction():
                parent = await manage_parents.locked(conn, "username", which, to_go=True)
                await _refuse_default(conn, parent)
                found = await _one(conn, parent.name)
                await conn.execute(_NO_TIMEOUT)
                aliases = (await conn.execute(_ALIASES, {"id": parent.id})).rowcount
                await conn.execute(_REMOVE, {"id": parent.id})
                detail = {"name": parent.name, "aliases": aliases}
                await note(conn, actor, parent.account, "username.remove", "username", parent.id, detail)
        return found


async def _check_count(conn: Connection, account: AccountId, limit: int | None) -> None:
    row = await (await conn.execute(_COUNT, {"account": account})).fetchone()
    if limit is not None and row is not None and row[0] > limit:
        raise TooMany(f"an account has at most {limit} usernames")


async def _refuse_default(conn: Connection, parent: manage_parents.Parent) -> None:
    values = {"account": parent.account, "username": parent.id}
    if await (await conn.execute(_DEFAULT, values)).fetchone() is not None:
        raise Conflict(f"{parent.name} is the default username of its account")


async def _one(conn: Connection, name: str) -> UsernameRecord:
    found = await record(conn, UsernameRecord, _ONE, {"name": name})
    if found is None:
        raise Absent(f"there is no username {name}")
    return found
