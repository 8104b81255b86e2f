"""API keys: what their holders do with them, and what the owner of a mailbox gets by a code.

Only the SHA-256 of a key is here. A key of an account that is being deleted is none any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString

from psycopg.rows import class_row

from mailrelay.core.address import Address
from mailrelay.core.apikeys import LATEST_EXPIRY, ApiKey
from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Notice
from mailrelay.core.records import ImplicitFor, NewToken, TokenId
from mailrelay.store.announcements import announce
from mailrelay.store.database import Database
from mailrelay.store.manage import Connection, folded, note, owning_account, record, records
from mailrelay.store.manage_tokens import add_token, holders

STATUS: LiteralString = """
    case when t.revoked_at is not null then 'revoked' when t.expires_at <= now() then 'expired' else 'active' end
"""
# Named and in the order of the fields of ApiKey.
COLUMNS: LiteralString = f"""
    t.id, t.account_id as account, t.owner_email, {STATUS} as status, t.created_at, t.expires_at, t.revoked_at,
    t.revoked_reason, host(t.created_ip) as created_ip, t.user_agent, t.last_used_at, t.automatic_renew
"""
_IN_FORCE: LiteralString = f"""
    t.kind = 'api_key' and acc.id = t.account_id and acc.state = 'active' and {STATUS} = 'active'
"""
_BY_HASH: LiteralString = f"select {COLUMNS} from token t, account acc where t.hash = %(hash)s and {_IN_FORCE}"
_BY_ID: LiteralString = f"select {COLUMNS} from token t where t.id = %(id)s and t.kind = 'api_key'"
_OF_MAILBOX: LiteralString = f"""
    select {COLUMNS} from token t, account acc where t.owner_email = %(mailbox)s and {_IN_FORCE} order by t.id desc
"""
_RENEW: LiteralString = f"""
    update token t set expires_at = case when t.expires_at is not null
                                         then least(t.expires_at + make_interval(hours => %(hours)s), %(latest)s) end
    from account acc where t.id = %(id)s and {_IN_FORCE}
    returning {COLUMNS}
"""
_SET_RENEWAL: LiteralString = f"""
    update token t set automatic_renew = %(on)s
    from account acc where t.id = %(id)s and {_IN_FORCE}
    returning {COLUMNS}
"""
_DESTROY: LiteralString = f"""
    delete from token t using account acc where t.id = %(id)s and {_IN_FORCE} returning t.account_id
"""
_DESTROY_ALL = "delete from token where owner_email = %(mailbox)s and kind = 'api_key' returning id, account_id"


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Keys as their holders have them. All raise Unavailable; None and False: it is not in force, or not any more."""

    database: Database

    async def by_hash(self, sha256: bytes) -> ApiKey | None:
        """The key that somebody shows."""
        found = await records(self.database, ApiKey, _BY_HASH, {"hash": sha256})
        return found[0] if found else None

    async def renew(self, key: TokenId, days: int) -> ApiKey | None:
        """It lives so many days longer than it would."""
        hours = timedelta(days=days) // timedelta(hours=1)  # days of the calendar may be shorter, or longer
        values = {"id": key, "hours": hours, "latest": LATEST_EXPIRY}
        return await self._change(_RENEW, values, "token.renew", {"days": days})

    async def set_renewal(self, key: TokenId, on: bool) -> ApiKey | None:
        """Whether it renews itself when it is used."""
        return await self._change(_SET_RENEWAL, {"id": key, "on": on}, "token.change", {"automatic_renew": on})

    async def destroy(self, key: TokenId, notice: Notice) -> bool:
        """Remove it; what it did stays on record, and its owner is told."""
        async with self.database.connection() as conn, conn.transaction():
            row = await (await conn.execute(_DESTROY, {"id": key})).fetchone()
            if row is None:
                return False
            await note(conn, f"key:{key}", AccountId(row[0]), "token.remove", "token", key, {"kind": "api_key"})
            await announce(conn, notice)
            return True

    async def _change(
        self, query: LiteralString, values: dict[str, object], action: str, detail: dict[str, object]
    ) -> ApiKey | None:
        async with self.database.connection() as conn, conn.transaction():
            key = await record(conn, ApiKey, query, values)
            if key is not None:
                await note(conn, f"key:{key.id}", key.account, action, "token", key.id, detail)
            return key


async def add_key(conn: Connection, mailbox: Address, new: NewToken, actor: str) -> ApiKey:
    """The new key of a mailbox, in a transaction of the caller's. Raises Unavailable as `key_account`.

    It acts for the account that Tokens.add_for_mailbox means. Of several none is meant: then, too, it is the implicit
    one, which whoever gets mail there may have.
    """
    account = await key_account(conn, mailbox)
    made = await add_token(conn, account, new, actor)
    key = await find(conn, made.id)
    assert key is not None  # it was added in this transaction
    return key


async def key_account(conn: Connection, mailbox: Address) -> AccountId:
    """Whom a key of a mailbox acts for; an implicit account is made. Raises Unavailable while it is being deleted."""
    found = await holders(conn, mailbox)
    if len(found) == 1:
        return found[0]
    try:
        return await owning_account(conn, ImplicitFor(mailbox))
    except Conflict as error:
        raise Unavailable("the account of the mailbox is being deleted") from error  # then there can be another


async def find(conn: Connection, key: TokenId) -> ApiKey | None:
    """Any key, in force or not."""
    return await record(conn, ApiKey, _BY_ID, {"id": key})


async def keys_of(conn: Connection, mailbox: Address) -> Sequence[ApiKey]:
    """Keys of a mailbox that are in force, the newest first."""
    async with conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        await cursor.execute(_OF_MAILBOX, {"mailbox": folded(mailbox)})
        return await cursor.fetchall()


async def destroy_keys(conn: Connection, mailbox: Address, actor: str) -> int:
    """Remove all keys of a mailbox, in force or not; their number."""
    rows = await (await conn.execute(_DESTROY_ALL, {"mailbox": folded(mailbox)})).fetchall()
    for number, account in rows:
        await note(conn, actor, AccountId(account), "token.remove", "token", number, {"kind": "api_key"})
    return len(rows)
