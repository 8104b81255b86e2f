"""Users of the dashboard: accounts with a name, and that one administrator is always left.

Who might take the last one away locks all who are left, in the order of their numbers: two at once wait for each other,
and the second one sees what the first one did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg.errors import UniqueViolation

from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Notice
from mailrelay.core.people import User
from mailrelay.core.users import Act, Changed, NewUser, Refusal, Taken, UserFilter, Wish
from mailrelay.store.announcements import announce
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import Connection, folded, note
from mailrelay.store.manage_accounts import begin_deletion
from mailrelay.store.sessions import end_sessions
from mailrelay.store.user_list import users
from mailrelay.store.userrow import FROM, read_user

# Mails for the same transaction, of the user before and after, and what changed.
Tell = Callable[[User, User, tuple[str, ...]], Sequence[Notice]]

_LOCK_ADMINS = """
    select id, is_admin and state = 'active' from account
    where id = any (array(
        select id from account where is_admin and state = 'active' and name is not null union all select %(id)s))
    order by id for no key update
"""
_EMAIL_TAKEN: LiteralString = f"""
    select from {FROM} where acc.email = %(email)s and acc.id <> %(id)s
    union all
    select from recipient m join account a on a.id = m.account_id and a.default_recipient_id = m.id
    where m.address_folded = %(email)s and a.email is null and a.name is not null and a.id <> %(id)s
"""
_ADD = """
    insert into account (name, email, email_verified_at, is_admin, state, password_hash, password_changed_at)
    values (%(name)s, %(email)s, %(now)s, %(admin)s, %(state)s, %(hash)s, %(now)s)
    returning id
"""
_RECIPIENT = """
    with made as (
        insert into recipient (account_id, address, verified_at) values (%(id)s, %(address)s, %(now)s) returning id
    )
    update account set default_recipient_id = made.id from made where account.id = %(id)s
"""
_CHANGE = """
    update account set
        name = coalesce(%(username)s::text, name),
        email = coalesce(%(email)s::text, email),
        email_verified_at = case when %(email)s::text is null then email_verified_at else %(now)s end,
        is_admin = coalesce(%(is_admin)s::boolean, is_admin),
        state = case %(is_active)s::boolean when true then 'active' when false then 'suspended' else state end,
        state_reason = case when %(is_active)s::boolean is null then state_reason
                            when not %(is_active)s::boolean then 'an administrator deactivated the user' end,
        password_hash = coalesce(%(password)s::text, password_hash),
        password_changed_at = case when %(password)s::text is null then password_changed_at else %(now)s end
    where id = %(id)s
"""
_LOCK_PASSWORD = "select password_hash from account where id = %(id)s for no key update"  # noqa: S105
# Codes that went to another mailbox, or for somebody who does not need one any more.
_END_RESETS = """
    update confirmation set status = 'expired'
    where account_id = %(id)s and intent = 'password_reset' and status = 'pending'
"""
_ENDING = frozenset({"password", "is_admin"})


@dataclass(frozen=True, slots=True)
class UserStore:
    """All methods raise Unavailable."""

    database: Database

    async def page(self, wanted: UserFilter, limit: int, offset: int) -> tuple[list[User], int]:
        """Users, the newest first, and how many there are."""
        return await users(self.database, wanted, limit, offset)

    async def one(self, user: int) -> User | None:
        """None: there is none of this number."""
        async with self.database.connection() as conn:
            return await read_user(conn, AccountId(user))

    async def add(self, new: NewUser, act: Act, tell: Tell) -> User | Taken:
        """A user with his mailbox as verified recipient, or what another one has."""
        email = folded(new.email)
        values = {
            "name": new.username,
            "email": email,
            "admin": new.is_admin,
            "state": "active" if new.is_active else "suspended",
            "hash": new.password_hash,
            "now": act.at,
            "id": 0,
        }
        try:
            async with self.database.connection() as conn, conn.transaction():
                if await (await conn.execute(_EMAIL_TAKEN, values)).fetchone() is not None:
                    return Taken("email", email)
                row = await (await conn.execute(_ADD, values)).fetchone()
                assert row is not None  # returning gives one row or an exception
                account = AccountId(row[0])
                await conn.execute(_RECIPIENT, {"id": account, "address": str(new.email), "now": act.at})
                user = await _present(conn, account)
                await note(conn, act.actor, account, "account.create", "account", account, {"is_admin": new.is_admin})
                await announce(conn, *tell(user, user, ()))
                return user
        except UniqueViolation as error:
            return _taken(error, new.username, email)

    async def change(self, user: int, wish: Wish, act: Act, tell: Tell) -> Changed | Taken | Refusal:
        """Change what is not so already; the one who may not sign in as before is signed out."""
        number = AccountId(user)
        email = "" if wish.email is None else folded(wish.email)
        try:
            async with self.database.connection() as conn, conn.transaction():
                others = await _lock_admins(conn, number)
                before = await read_user(conn, number)
                if before is None:
                    return Refusal.GONE
                changes = wish.changes(before)
                refusal = _refusal(before, changes, others)
                if refusal is not None:
                    return refusal
                if "email" in changes and await _email_taken(conn, number, email):
                    return Taken("email", email)
                await conn.execute(_CHANGE, _values(number, changes, act))
                return await _changed(conn, before, changes, act, tell)
        except UniqueViolation as error:
            return _taken(error, wish.username or "", email)

    async def delete(self, user: int, act: Act, tell: Tell) -> Changed | Refusal:
        """Have a user and all that is his deleted, soon; he is signed out at once."""
        number = AccountId(user)
        async with self.database.connection() as conn, conn.transaction():
            others = await _lock_admins(conn, number)
            before = await read_user(conn, number)
            if before is None:
                return Refusal.GONE
            if before.is_admin and before.is_active and not others:
                return Refusal.LAST_DISABLED
            sessions = await end_sessions(conn, number, act.at)
            await end_resets(conn, number)
            await begin_deletion(conn, number, "an administrator deleted the user", act.actor)
            await announce(conn, *tell(before, before, ()))
            return Changed(before, sessions)

    async def password_of(self, account: AccountId) -> str | None:
        """The hash of somebody's password, None if he has none."""
        row = await self.database.row("select password_hash from account where id = %(id)s", {"id": account})
        return None if row is None else row[0]

    async def set_own_password(
        self, account: AccountId, right: str, new: str, act: Act, tell: Tell
    ) -> Changed | Refusal:
        """A new password in place of the one with this hash, and the end of all sessions."""
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(_LOCK_PASSWORD, {"id": account})).fetchone()
            before = await read_user(conn, account)
            if row is None or before is None:
                return Refusal.GONE
            if row[0] != right:
                return Refusal.PASSWORD
            changes = {"password": new}
            await conn.execute(_CHANGE, _values(account, changes, act))
            return await _changed(conn, before, changes, act, tell)


def _refusal(before: User, changes: Mapping[str, Any], others: bool) -> Refusal | None:
    """others: somebody else is an active administrator."""
    if not changes:
        return Refusal.NOTHING
    if others or not (before.is_admin and before.is_active):
        return None
    if changes.get("is_active") is False:
        return Refusal.LAST_DISABLED
    return Refusal.LAST_DEMOTED if changes.get("is_admin") is False else None


def _values(account: AccountId, changes: Mapping[str, Any], act: Act) -> dict[str, Any]:
    names = ("username", "email", "is_admin", "is_active", "password")
    return {"id": account, "now": act.at, **dict.fromkeys(names), **changes}


async def _changed(conn: Connection, before: User, changes: Mapping[str, Any], act: Act, tell: Tell) -> Changed:
    """What follows from a change that was made: the end of sessions and codes, the audit, mail."""
    sessions = 0
    if _ENDING & changes.keys() or changes.get("is_active") is False:
        sessions = await end_sessions(conn, before.id, act.at)
    if {"email", "password", "is_active"} & changes.keys():
        await end_resets(conn, before.id)
    fields = tuple(sorted(changes))
    action = "account.password" if fields == ("password",) else "account.update"
    await note(conn, act.actor, before.id, action, "account", before.id, {"fields": list(fields)})
    after = await _present(conn, before.id)
    await announce(conn, *tell(before, after, fields))
    return Changed(after, sessions)


async def _lock_admins(conn: Connection, account: AccountId) -> bool:
    """Whether somebody else is an active administrator, who stays one until the transaction ends."""
    rows = await (await conn.execute(_LOCK_ADMINS, {"id": account})).fetchall()
    return any(is_active_admin for number, is_active_admin in rows if number != account)


async def _email_taken(conn: Connection, account: AccountId, email: str) -> bool:
    return await (await conn.execute(_EMAIL_TAKEN, {"id": account, "email": email})).fetchone() is not None


async def _present(conn: Connection, account: AccountId) -> User:
    user = await read_user(conn, account)
    assert user is not None  # it was written in this transaction
    return user


async def end_resets(conn: Connection, account: AccountId) -> None:
    """Codes for a new password are worth nothing any more."""
    await conn.execute(_END_RESETS, {"id": account})


def _taken(error: UniqueViolation, username: str, email: str) -> Taken:
    """Raises the error again if it is about something else."""
    match constraint(error):
        case "account_name_unique":
            return Taken("username", username)
        case "account_email_unique":
            return Taken("email", email)
    raise error
