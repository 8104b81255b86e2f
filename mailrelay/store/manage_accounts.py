"""Accounts and their usernames, as the management commands and the HTTP APIs change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from psycopg.sql import SQL, Identifier, Placeholder
from psycopg.types.json import Jsonb

from mailrelay.core.errors import NoAccount
from mailrelay.core.facts import AccountId
from mailrelay.core.jobs import ACCOUNT_DELETION
from mailrelay.core.records import AccountRecord, Holdings, Named, NewAccount
from mailrelay.core.settings import NAMES, Value
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
    select acc.id, acc.uuid, {OWNER_NAME} as name, acc.name is null as implicit, acc.state, acc.state_reason,
           acc.is_admin, acc.password_hash is not null as has_password,
           acc.totp_secret is not null as has_second_factor, u.name as username, r.address as default_recipient,
           acc.created_at, acc.last_login_at
    from account acc
    left join username u on u.id = acc.default_username_id
    left join recipient r on r.id = acc.default_recipient_id
"""
_ONE: LiteralString = f"{_SELECT} where acc.id = %(id)s"
_LIST: LiteralString = f"""
    {_SELECT}
    where acc.id > %(after)s and (%(search)s = '' or strpos({OWNER_NAME}, %(search)s) > 0)
    order by acc.id limit %(limit)s
"""
_HOLDINGS = """
    select (select count(*) from recipient where account_id = %(id)s and not pending) as recipients,
           (select count(*) from username where account_id = %(id)s) as usernames,
           (select count(*) from domain where account_id = %(id)s) as domains,
           (select count(*) from alias where account_id = %(id)s and deleted_at is null) as aliases,
           (select count(*) from handle where account_id = %(id)s) as handles,
           (select count(*) from token where account_id = %(id)s and revoked_at is null
               and (expires_at is null or expires_at > now())) as tokens
"""
_ADD = """
    insert into account (name, is_admin, password_hash, password_changed_at)
    values (%(name)s, %(admin)s, %(password)s, case when %(password)s::text is not null then now() end)
    returning id
"""
_ADD_RECIPIENT = """
    insert into recipient (account_id, address, verified_at)
    values (%(account)s, %(address)s, case when %(verified)s then now() end)
    returning id
"""
_DEFAULTS = """
    update account set default_recipient_id = %(recipient)s, default_username_id = %(username)s where id = %(account)s
"""
_PASSWORD = "update account set password_hash = %(hash)s, password_changed_at = now() where id = %(id)s"  # noqa: S105
# The code that proved it is used up.
_SECOND_FACTOR = "update account set totp_secret = %(secret)s, totp_last_step = %(step)s where id = %(id)s"
_DELETING = "update account set state = 'deleting', state_reason = %(reason)s where id = %(id)s"
_END_TOKENS = """
    update token set revoked_at = now(), revoked_reason = 'its account is deleted'
    where account_id = %(id)s and revoked_at is null
"""
_POST = """
    insert into job (kind, payload, dedupe_key) values (%(kind)s, %(payload)s, %(key)s)
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
"""
_STATE = "update account set state = %(state)s, state_reason = %(reason)s where id = %(id)s"
# Whoever had signed in with the old password is signed out.
_SIGN_OUT = """
    update session set status = 'revoked', revoked_at = now()
    where account_id = %(id)s and status in ('active', 'rotated')
"""

_SETTINGS: LiteralString = f"select {', '.join(NAMES)} from account where id = %(id)s"
_NOTED = """
    insert into audit (actor, account_id, action, object_table, object_id, detail)
    values (%(actor)s, %(id)s, 'account.set', 'account', %(id)s, %(detail)s)
"""

_TAKEN = {"account_name_unique": "an account of this name exists", **TAKEN_USERNAME}


@dataclass(frozen=True, slots=True)
class Accounts:
    """The account table, with username and recipient rows as far as an account cannot do without them."""

    database: Database

    async def add(self, new: NewAccount) -> AccountRecord:
        """The new account with its default recipient and username. Raises Conflict if a name is taken."""
        with conflicts(_TAKEN):
            async with self.database.connection() as conn, conn.transaction():
                values = {"name": new.name, "admin": new.is_admin, "password": new.password_hash}
                account = AccountId(await _id(conn, _ADD, values))
                values = {"account": account, "address": str(new.recipient), "verified": new.verified}
                recipient = await _id(conn, _ADD_RECIPIENT, values)
                username = None
                if new.username is not None:
                    username = await add_username(conn, account, new.username)
                values = {"account": account, "recipient": recipient, "username": username}
                await conn.execute(_DEFAULTS, values)
                return await _one(conn, account)

    async def page(self, search: str = "", after: int = 0, limit: int | None = None) -> list[AccountRecord]:
        """Accounts by id, after that one. search: part of the name or mailbox."""
        values = {"search": search.lower(), "after": after, "limit": limit}
        return await records(self.database, AccountRecord, _LIST, values)

    async def show(self, owner: Named | AccountId) -> tuple[AccountRecord, Holdings]:
        """One account and how much it has. Raises Absent."""
        async with self.database.connection() as conn:
            account = await account_id(conn, owner)
            found = await _one(conn, account)
            holdings = await record(conn, Holdings, _HOLDINGS, {"id": account})
        assert holdings is not None  # a select without from has one row
        return found, holdings

    async def set_password(self, owner: Named | AccountId, password_hash: str) -> AccountRecord:
        """Replace the password and end all sessions. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            await conn.execute(_PASSWORD, {"id": account, "hash": password_hash})
            await conn.execute(_SIGN_OUT, {"id": account})
            return await _one(conn, account)

    async def set_second_factor(
        self, owner: Named | AccountId, secret: bytes | None, step: int | None, actor: str
    ) -> AccountRecord:
        """Ask for codes at the sign-in, or no longer. secret: sealed, None for none; step: of a code that was shown.

        Raises Absent.
        """
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            await conn.execute(_SECOND_FACTOR, {"id": account, "secret": secret, "step": step})
            action = "account.second_factor_off" if secret is None else "account.second_factor_on"
            await note(conn, actor, account, action, "account", account)
            return await _one(conn, account)

    async def delete(self, owner: Named | AccountId, reason: str | None, actor: str) -> AccountRecord:
        """Have an account deleted, soon and for good: from now on it takes no mail and nobody is let in.

        Raises Absent, and Conflict while it is being deleted.
        """
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            await begin_deletion(conn, account, reason, actor)
            return await _one(conn, account)

    async def settings(self, owner: Named | AccountId) -> dict[str, Value]:
        """What the owner has chosen, by name. Raises Absent."""
        async with self.database.connection() as conn:
            account = await account_id(conn, owner)
            row = await (await conn.execute(_SETTINGS, {"id": account})).fetchone()
        assert row is not None  # account_id has found it
        return dict(zip(NAMES, row, strict=True))

    async def change_settings(
        self, owner: Named | AccountId, chosen: Mapping[str, Value], actor: str
    ) -> dict[str, Value]:
        """Change these and give all. Raises Absent. chosen: as core/settings.parse gives them."""
        if chosen:
            changes = SQL(", ").join(SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in chosen)
            async with self.database.connection() as conn, conn.transaction():
                account = await account_id(conn, owner)
                query = SQL("update account set {} where id = {}").format(changes, Placeholder("id"))
                await conn.execute(query, {**chosen, "id": account})
                await conn.execute(_NOTED, {"actor": actor, "id": account, "detail": Jsonb(dict(chosen))})
        return await self.settings(owner)

    async def set_suspended(self, owner: Named | AccountId, suspended: bool, reason: str | None) -> AccountRecord:
        """Suspend an account or end that. Raises Absent, and Conflict while it is being deleted."""
        async with self.database.connection() as conn, conn.transaction():
            account = await account_id(conn, owner)
            values = {"id": account, "state": "suspended" if suspended else "active", "reason": reason}
            await conn.execute(_STATE, values)
            if suspended:
                await conn.execute(_SIGN_OUT, {"id": account})
            return await _one(conn, account)


async def begin_deletion(conn: Connection, account: AccountId, reason: str | None, actor: str) -> None:
    """Have an account deleted that is not being deleted yet, whose id `account_id` gave."""
    await conn.execute(_DELETING, {"id": account, "reason": reason})
    await conn.execute(_END_TOKENS, {"id": account})
    await conn.execute(_SIGN_OUT, {"id": account})
    payload = Jsonb({"account_id": account})
    await conn.execute(_POST, {"kind": ACCOUNT_DELETION, "payload": payload, "key": f"{ACCOUNT_DELETION}:{account}"})
    await note(conn, actor, account, "account.delete_asked", "account", account)


async def _id(conn: Connection, query: LiteralString, values: dict[str, object]) -> int:
    row = await (await conn.execute(query, values)).fetchone()
    assert row is not None  # returning gives one row or an exception
    return int(row[0])


async def _one(conn: Connection, account: int) -> AccountRecord:
    found = await record(conn, AccountRecord, _ONE, {"id": account})
    if found is None:
        raise NoAccount(f"there is no account {account}")
    return found
