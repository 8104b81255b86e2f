"""Bearer tokens and API keys: only their SHA-256 is stored."""

from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.records import ImplicitFor, Named, NewToken, Owner, TokenKind, TokenRecord
from mailrelay.store.database import Database
from mailrelay.store.manage import (
    OWNER_NAME,
    Connection,
    account_id,
    folded,
    owning_account,
    record,
    records,
    verified_recipients,
)

_SELECT: LiteralString = f"""
    select t.id, t.uuid, {OWNER_NAME} as account, t.kind, t.name, t.display, t.owner_email, t.expires_at,
           t.last_used_at, t.created_at, t.revoked_at
    from token t join account acc on acc.id = t.account_id
"""
_ONE: LiteralString = f"{_SELECT} where t.id = %(id)s"
_LIST: LiteralString = f"""
    {_SELECT}
    where t.kind = %(kind)s and (%(owner)s::text is null or {OWNER_NAME} = %(owner)s or t.owner_email = %(owner)s)
      and (%(all)s or t.revoked_at is null)
    order by t.id
"""
_ADD = """
    insert into token (account_id, kind, name, hash, display, owner_email, automatic_renew, expires_at)
    values (%(account)s, %(kind)s, %(name)s, %(hash)s, %(display)s, %(owner_email)s, %(renew)s, %(expires_at)s)
    returning id
"""
_HOLDERS = """
    select acc.id, acc.implicit_mailbox is not distinct from %(mailbox)s as implicit
    from recipient r join account acc on acc.id = r.account_id
    where r.address_folded = %(mailbox)s and r.verified_at is not null and not r.pending and acc.state <> 'deleting'
    order by implicit desc, acc.id limit 3
"""
_REVOKE = """
    update token set revoked_at = now(), revoked_reason = %(reason)s
    where kind = %(kind)s and (id::text = %(ref)s or uuid::text = %(ref)s) and revoked_at is null
    returning id
"""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token table."""

    database: Database

    async def add(self, owner: Owner, new: NewToken) -> TokenRecord:
        """The new token of an account, which is made if it is an implicit one."""
        async with self.database.connection() as conn, conn.transaction():
            return await _add(conn, await owning_account(conn, owner), new)

    async def add_for_mailbox(self, mailbox: Address, owner: Named | AccountId | None, new: NewToken) -> TokenRecord:
        """A token that acts for a mailbox, of an account that has it verified.

        owner: None for the mailbox' implicit account, else the only one that has it; without either the implicit one
        is made. Raises Absent, and Conflict for a mailbox that is not verified or several accounts have.
        """
        async with self.database.connection() as conn, conn.transaction():
            if owner is not None:
                account = await account_id(conn, owner)
                await verified_recipients(conn, account, (mailbox,))
                return await _add(conn, account, new)
            rows = await (await conn.execute(_HOLDERS, {"mailbox": folded(mailbox)})).fetchall()
            if not rows:
                account = await owning_account(conn, ImplicitFor(mailbox))
            elif rows[0][1] or len(rows) == 1:
                account = AccountId(rows[0][0])
            else:
                raise Conflict(f"{mailbox} is a recipient of several accounts; name one of them")
            return await _add(conn, account, new)

    async def page(self, kind: TokenKind, owner: str | None = None, revoked: bool = False) -> list[TokenRecord]:
        """Tokens of a kind; of one account or API key mailbox if it is named. revoked: those as well."""
        return await records(self.database, TokenRecord, _LIST, {"kind": kind, "owner": owner, "all": revoked})

    async def revoke(self, kind: TokenKind, ref: str, reason: str | None) -> TokenRecord:
        """End a token. ref: its id or UUID. Raises Absent for one that is not there or revoked already."""
        async with self.database.connection() as conn, conn.transaction():
            values = {"kind": kind, "ref": ref.lower(), "reason": reason}
            row = await (await conn.execute(_REVOKE, values)).fetchone()
            if row is None:
                raise Absent(f"there is no token {ref} in force")
            return await _one(conn, row[0])


async def _add(conn: Connection, account: AccountId, new: NewToken) -> TokenRecord:
    values = {
        "account": account,
        "kind": new.kind,
        "name": new.name,
        "hash": new.hash,
        "display": new.display,
        "owner_email": new.owner_email,
        "renew": new.automatic_renew,
        "expires_at": new.expires_at,
    }
    row = await (await conn.execute(_ADD, values)).fetchone()
    assert row is not None  # returning gives one row or an exception
    return await _one(conn, row[0])


async def _one(conn: Connection, token: int) -> TokenRecord:
    found = await record(conn, TokenRecord, _ONE, {"id": token})
    if found is None:
        raise Absent(f"there is no token {token}")
    return found
