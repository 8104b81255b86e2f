"""Usernames, as the management commands and the HTTP APIs change them."""

from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Keep, Named, UsernameChange, UsernameRecord
from mailrelay.store.database import Database
from mailrelay.store.manage import (
    OWNER_NAME,
    TAKEN_USERNAME,
    Connection,
    account_id,
    add_username,
    conflicts,
    record,
    records,
    settings,
)

_SELECT: LiteralString = f"""
    select u.id, u.uuid, {OWNER_NAME} as account, u.name,
           acc.default_username_id is not distinct from u.id as is_default, u.active,
           u.catch_all, u.auto_create_regex, r.address as default_recipient, u.created_at
    from username u
    join account acc on acc.id = u.account_id
    left join recipient r on r.id = u.default_recipient_id
"""
_ONE: LiteralString = f"{_SELECT} where u.name = %(name)s"
_LIST: LiteralString = f"{_SELECT} where %(account)s::text is null or {OWNER_NAME} = %(account)s order by u.name"
_BECOMES_DEFAULT = """
    update account set default_username_id = %(username)s where id = %(account)s and default_username_id is null
"""
_OWNER = "select id, account_id from username where name = %(name)s for update"
_CHANGE = """
    update username
    set active = coalesce(%(active)s, active), catch_all = coalesce(%(catch_all)s, catch_all),
        auto_create_regex = case when %(set_regex)s then %(regex)s else auto_create_regex end,
        default_recipient_id = case when %(set_recipient)s then %(recipient)s else default_recipient_id end
    where id = %(id)s
"""
# The rows stay, so that the addresses are told apart from ones that never were; restoring has no place to go.
_ALIASES = """
    update alias set username_id = null, deleted_at = coalesce(deleted_at, now()),
                     state = case state when 'forgotten' then state else 'deleted' end
    where username_id = %(id)s
"""
_REMOVE = "delete from username where id = %(id)s"


@dataclass(frozen=True, slots=True)
class Usernames:
    """The username table."""

    database: Database

    async def add(self, owner: Named | AccountId, name: str) -> UsernameRecord:
        """The new username; an account's first becomes its default. Raises Conflict if it is or was somebody's."""
        with conflicts(TAKEN_USERNAME):
            async with self.database.connection() as conn, conn.transaction():
                account = await account_id(conn, owner)
                username = await add_username(conn, account, name)
                await conn.execute(_BECOMES_DEFAULT, {"account": account, "username": username})
                return await _one(conn, name)

    async def page(self, account: str | None = None) -> list[UsernameRecord]:
        """All usernames by name; those of one account if it is named."""
        return await records(self.database, UsernameRecord, _LIST, {"account": account})

    async def change(self, name: str, change: UsernameChange) -> UsernameRecord:
        """Apply a change. Raises Absent, and Conflict for a recipient that is not verified."""
        async with self.database.connection() as conn, conn.transaction():
            username, account = await _locked(conn, name)
            values = {**await settings(conn, account, change.auto_create_regex, change.default_recipient)}
            values["active"] = None if isinstance(change.active, Keep) else change.active
            values["catch_all"] = None if isinstance(change.catch_all, Keep) else change.catch_all
            await conn.execute(_CHANGE, {"id": username, **values})
            return await _one(conn, name)

    async def remove(self, name: str) -> UsernameRecord:
        """Remove a username, which nobody gets again; its aliases are deleted. Raises Conflict for a default one."""
        words = {"account_default_username_fk": f"{name} is the default username of its account"}
        with conflicts(words):
            async with self.database.connection() as conn, conn.transaction():
                username, _ = await _locked(conn, name)
                found = await _one(conn, name)
                await conn.execute(_ALIASES, {"id": username})
                await conn.execute(_REMOVE, {"id": username})
        return found


async def _locked(conn: Connection, name: str) -> tuple[int, AccountId]:
    row = await (await conn.execute(_OWNER, {"name": name})).fetchone()
    if row is None:
        raise Absent(f"there is no username {name}")
    return row[0], AccountId(row[1])


async def _one(conn: Connection, name: str) -> UsernameRecord:
    found = await record(conn, UsernameRecord, _ONE, {"name": name})
    if found is None:
        raise Absent(f"there is no username {name}")
    return found
