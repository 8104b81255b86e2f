"""Recipients, as the management commands and the HTTP APIs change them."""

from dataclasses import dataclass
from typing import LiteralString

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.records import Named, RecipientRecord
from mailrelay.store.database import Database
from mailrelay.store.manage import OWNER_NAME, Connection, account_id, conflicts, folded, record, records

_SELECT: LiteralString = f"""
    select r.id, r.uuid, {OWNER_NAME} as account, r.address, r.verified_at,
           acc.default_recipient_id is not distinct from r.id as is_default,
           r.can_reply_send, r.should_encrypt, r.failing_since, r.created_at
    from recipient r join account acc on acc.id = r.account_id
"""
_ONE: LiteralString = f"{_SELECT} where r.id = %(id)s"
_LIST: LiteralString = f"""
    {_SELECT}
    where not r.pending and (%(account)s::text is null or {OWNER_NAME} = %(account)s) order by r.account_id, r.id
"""
_FIND: LiteralString = f"""
    select r.id, {OWNER_NAME} from recipient r join account acc on acc.id = r.account_id
    where r.address_folded = %(mailbox)s and (%(account)s::bigint is null or r.account_id = %(account)s)
    order by r.id limit 2
"""
_ADD = """
    insert into recipient (account_id, address, verified_at)
    values (%(account)s, %(address)s, case when %(verified)s then now() end)
    returning id
"""
_BECOMES_DEFAULT = """
    update account set default_recipient_id = %(id)s where id = %(account)s and default_recipient_id is null
"""
_VERIFY = "update recipient set verified_at = coalesce(verified_at, now()), pending = false where id = %(id)s"
_DEFAULT = """
    update account set default_recipient_id = %(id)s
    from recipient r where r.id = %(id)s and r.account_id = account.id and r.verified_at is not null and not r.pending
    returning account.id
"""
_REMOVE = "delete from recipient where id = %(id)s"


@dataclass(frozen=True, slots=True)
class Recipients:
    """The recipient table."""

    database: Database

    async def add(self, owner: Named | AccountId, mailbox: Address, verified: bool) -> RecipientRecord:
        """The new recipient; an account's first becomes its default. Raises Conflict if the account has it."""
        with conflicts({"recipient_address_unique": f"the account has {mailbox} already"}):
            async with self.database.connection() as conn, conn.transaction():
                account = await account_id(conn, owner)
                values = {"account": account, "address": str(mailbox), "verified": verified}
                row = await (await conn.execute(_ADD, values)).fetchone()
                assert row is not None  # returning gives one row or an exception
                await conn.execute(_BECOMES_DEFAULT, {"account": account, "id": row[0]})
                return await _one(conn, row[0])

    async def page(self, account: str | None = None) -> list[RecipientRecord]:
        """All recipients; those of one account if it is named."""
        return await records(self.database, RecipientRecord, _LIST, {"account": account})

    async def verify(self, owner: Named | AccountId | None, mailbox: Address) -> RecipientRecord:
        """The mailbox counts as its owner's. owner: None if only one account has it. Raises Absent and Conflict."""
        async with self.database.connection() as conn, conn.transaction():
            found = await _find(conn, owner, mailbox)
            await conn.execute(_VERIFY, {"id": found})
            return await _one(conn, found)

    async def make_default(self, owner: Named | AccountId | None, mailbox: Address) -> RecipientRecord:
        """The account's aliases go there unless they say otherwise. Raises Absent, and Conflict if not verified."""
        async with self.database.connection() as conn, conn.transaction():
            found = await _find(conn, owner, mailbox)
            if await (await conn.execute(_DEFAULT, {"id": found})).fetchone() is None:
                raise Conflict(f"recipient {mailbox} is not verified")
            return await _one(conn, found)

    async def remove(self, owner: Named | AccountId | None, mailbox: Address) -> RecipientRecord:
        """Remove a recipient from its account and aliases. Raises Conflict for the account's default one."""
        words = {"account_default_recipient_fk": f"{mailbox} is the default recipient: make another one that first"}
        with conflicts(words):
            async with self.database.connection() as conn, conn.transaction():
                found = await _find(conn, owner, mailbox)
                gone = await _one(conn, found)
                await conn.execute(_REMOVE, {"id": found})
        return gone


async def _find(conn: Connection, owner: Named | AccountId | None, mailbox: Address) -> RecipientId:
    account = None if owner is None else await account_id(conn, owner)
    rows = await (await conn.execute(_FIND, {"mailbox": folded(mailbox), "account": account})).fetchall()
    if not rows:
        raise Absent(f"{mailbox} is no recipient" + (" of that account" if owner is not None else ""))
    if len(rows) > 1:
        raise Conflict(f"several accounts have {mailbox}, such as {rows[0][1]} and {rows[1][1]}: name one")
    return RecipientId(rows[0][0])


async def _one(conn: Connection, recipient: RecipientId) -> RecipientRecord:
    found = await record(conn, RecipientRecord, _ONE, {"id": recipient})
    if found is None:
        raise Absent(f"there is no recipient {recipient}")
    return found
