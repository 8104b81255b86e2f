"""Recipients, as the management commands and the HTTP APIs change them."""

from dataclasses import dataclass, fields
from typing import LiteralString
from uuid import UUID

from psycopg import IntegrityError
from psycopg.errors import UniqueViolation

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.notices import KINDS, Code, Notice
from mailrelay.core.recipients import AskedEnough, IsDefault, IsVerified, RecipientChange, Taken, TooManyRecipients
from mailrelay.core.records import KEEP, Named, RecipientRecord
from mailrelay.store.announcements import announce
from mailrelay.store.database import Database, constraint
from mailrelay.store.failing import WORKS
from mailrelay.store.manage import OWNER_NAME, Connection, account_id, folded, note, record, records

_SELECT: LiteralString = f"""
    select r.id, r.uuid, {OWNER_NAME} as account, r.address, r.verified_at,
           acc.default_recipient_id is not distinct from r.id as is_default,
           r.can_reply_send, r.should_encrypt, r.inline_encryption, r.protected_headers, r.encryption_failure,
           r.never_plaintext, r.fingerprint, r.key_expires_at, r.key_checked_at, r.failing_since, r.created_at
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
# The APIs do not show what waits to replace the default address.
_FIND_BY_UUID: LiteralString = _FIND.replace(
    "r.address_folded = %(mailbox)s", "r.uuid = %(mailbox)s::uuid and not r.pending"
)
_ADD = """
    insert into recipient (account_id, address, verified_at)
    values (%(account)s, %(address)s, case when %(verified)s then now() end)
    returning id
"""
# Whoever wants the same mailbox waits here, and then sees who was faster.
_TURN = "select pg_advisory_xact_lock(hashtextextended('recipient:' || %(folded)s, 0))"
# Nobody signs in to the accounts of plain forwards: those hold no mailbox against its owner.
_HELD = """
    select r.account_id from recipient r join account acc on acc.id = r.account_id
    where r.address_folded = %(folded)s
      and (r.account_id = %(account)s
           or r.verified_at is not null and not r.pending and acc.implicit_mailbox is null)
    limit 1
"""
_BECOMES_DEFAULT = """
    update account set default_recipient_id = %(id)s where id = %(account)s and default_recipient_id is null
"""
_VERIFY = """
    update recipient set verified_at = coalesce(verified_at, now()), pending = false
    where id = %(id)s and (verified_at is null or pending)
    returning account_id
"""
_DEFAULT = """
    update account set default_recipient_id = %(id)s
    from recipient r where r.id = %(id)s and r.account_id = account.id and r.verified_at is not null and not r.pending
    returning account.id
"""
# Those that lose it as their default are locked before it, in the order of whoever chooses it for them.
_DEFAULT_OF = """
    with r as (select account_id from recipient where id = %(id)s),
         u as (select from username where account_id = (select account_id from r) and default_recipient_id = %(id)s
               order by id for no key update),
         d as (select from domain where account_id = (select account_id from r) and default_recipient_id = %(id)s
               order by id for no key update),
         h as (select from handle where account_id = (select account_id from r) and recipient_id = %(id)s
               order by id for no key update)
    select (select count(*) from u), (select count(*) from d), (select count(*) from h)
"""
_REMOVE = "delete from recipient where id = %(id)s returning account_id"
_FOUND = """
    select account_id, address_folded, verified_at is not null and not pending
    from recipient where id = %(id)s for no key update
"""
# When the next one may be sent, and in how many seconds that is; no row: now.
_ASKED = """
    select to_char((window_start + %(window)s) at time zone 'UTC', 'HH24:MI'),
           greatest(1, ceil(extract(epoch from window_start + %(window)s - now())))::int
    from notification_limit
    where account_id = %(account)s and kind = %(code)s and subject = %(subject)s
      and window_start > now() - %(window)s and sent >= %(amount)s
    order by window_start desc limit 1
"""
_CHANGE = """
    update recipient
    set description = case when %(set_description)s then %(description)s::text else description end,
        can_reply_send = coalesce(%(can_reply_send)s, can_reply_send),
        remove_pgp_keys = coalesce(%(remove_pgp_keys)s, remove_pgp_keys),
        remove_pgp_signatures = coalesce(%(remove_pgp_signatures)s, remove_pgp_signatures)
    where id = %(id)s
      and (%(set_description)s and description is distinct from %(description)s::text
           or can_reply_send <> %(can_reply_send)s or remove_pgp_keys <> %(remove_pgp_keys)s
           or remove_pgp_signatures <> %(remove_pgp_signatures)s)
    returning account_id
"""
_RESUME: LiteralString = f"""
    with old as (
        select id, account_id, failing_since, hard_failures, quarantines_tagged_at from recipient
        where id = %(id)s
          and (failing_since is not null or hard_failures > 0 or probed_at is not null
               or quarantines_tagged_at is not null)
        for no key update
    ), resumed as (
        update recipient r set quarantines_tagged_at = null, {WORKS} from old where r.id = old.id
    )
    insert into audit (actor, account_id, action, object_table, object_id, detail)
    select %(actor)s, account_id, 'recipient.resume', 'recipient', id,
           jsonb_build_object('failing_since', failing_since, 'hard_failures', hard_failures,
                              'quarantines_tagged_at', quarantines_tagged_at)
    from old
"""


_LOCK = "select from account where id = %(account)s for no key update"
_COUNT = "select count(*) from recipient where account_id = %(account)s and not pending"


@dataclass(frozen=True, slots=True)
class Recipients:
    """The recipient table."""

    database: Database

    async def add(
        self,
        owner: Named | AccountId,
        mailbox: Address,
        *,
        verified: bool,
        actor: str,
        ask: bool = False,
        alone: bool = False,
        limit: int | None = None,
    ) -> RecipientRecord:
        """The new recipient; an account's first becomes its default.

        ask: a mail there is to ask whether that is right. alone: no other account that somebody signs in to may have it
        verified. limit: how many an account may have, None for any. Raises Taken, TooManyRecipients and AskedEnough.
        """
        try:
            async with self.database.connection() as conn, conn.transaction():
                account = await account_id(conn, owner)
                if alone:
                    await _stand_alone(conn, account, mailbox)
                if limit is not None:
                    await conn.execute(_LOCK, {"account": account})
                values = {"account": account, "address": str(mailbox), "verified": verified}
                row = await (await conn.execute(_ADD, values)).fetchone()
                assert row is not None  # returning gives one row or an exception
                await conn.execute(_BECOMES_DEFAULT, {"account": account, "id": row[0]})
                if limit is not None:
                    await _check_count(conn, account, limit)
                detail = {"address": str(mailbox), "verified": verified}
                await note(conn, actor, account, "recipient.add", "recipient", row[0], detail)
                if ask:
                    await _ask(conn, row[0])
                return await one(conn, row[0])
        except UniqueViolation as error:
            if constraint(error) == "recipient_address_unique":
                raise Taken(f"the account has {mailbox} already") from error
            raise

    async def is_taken(self, owner: AccountId, mailbox: Address) -> bool:
        """True if the account has it, or another one that somebody signs in to has it verified."""
        return await self.database.row(_HELD, {"folded": folded(mailbox), "account": owner}) is not None

    async def ask(self, owner: Named | AccountId | None, mailbox: Address | UUID, actor: str) -> RecipientRecord:
        """Have a mail ask there whether the mailbox may be used. owner: None if only one account has it.

        Raises Absent, IsVerified, and AskedEnough.
        """
        async with self.database.connection() as conn, conn.transaction():
            found = await find(conn, owner, mailbox)
            account = await _ask(conn, found)
            await note(conn, actor, account, "recipient.ask", "recipient", found)
            return await one(conn, found)

    async def change(
        self, owner: Named | AccountId | None, mailbox: Address | UUID, change: RecipientChange, actor: str
    ) -> RecipientRecord:
        """Set what its owner may set. Raises Absent and Conflict."""
        values = {field.name: getattr(change, field.name) for field in fields(change)}
        wanted = {name: value for name, value in values.items() if value is not KEEP}
        async with self.database.connection() as conn, conn.transaction():
            found = await find(conn, owner, mailbox)
            nothing = dict.fromkeys(values)
            parameters = {**nothing, **wanted, "id": found, "set_description": "description" in wanted}
            row = await (await conn.execute(_CHANGE, parameters)).fetchone()
            if row is not None:
                detail = {name: value for name, value in wanted.items() if name != "description"}
                if "description" in wanted:
                    detail["description"] = "cleared" if wanted["description"] is None else "set"
                await note(conn, actor, AccountId(row[0]), "recipient.change", "recipient", found, detail)
            return await one(conn, found)

    async def resume(self, owner: Named | AccountId | None, mailbox: Address, actor: str) -> RecipientRecord:
        """Believe that the mailbox takes mail again, also such with a warning. actor: who says so, for the record.

        owner: None if only one account has it. Raises Absent and Conflict.
        """
        async with self.database.connection() as conn, conn.transaction():
            found = await find(conn, owner, mailbox)
            await conn.execute(_RESUME, {"id": found, "actor": actor})
            return await one(conn, found)

    async def page(self, account: str | None = None) -> list[RecipientRecord]:
        """All recipients; those of one account if it is named."""
        return await records(self.database, RecipientRecord, _LIST, {"account": account})

    async def show(self, owner: Named | AccountId | None, mailbox: Address | UUID) -> RecipientRecord:
        """One recipient. owner: None if only one account has it. Raises Absent and Conflict."""
        async with self.database.connection() as conn:
            return await one(conn, await find(conn, owner, mailbox))

    async def verify(self, owner: Named | AccountId | None, mailbox: Address, actor: str) -> RecipientRecord:
        """The mailbox counts as its owner's. owner: None if only one account has it. Raises Absent and Conflict."""
        async with self.database.connection() as conn, conn.transaction():
            found = await find(conn, owner, mailbox)
            row = await (await conn.execute(_VERIFY, {"id": found})).fetchone()
            if row is not None:
                await note(conn, actor, AccountId(row[0]), "recipient.verify", "recipient", found)
            return await one(conn, found)

    async def make_default(self, owner: Named | AccountId | None, mailbox: Address, actor: str) -> RecipientRecord:
        """The account's aliases go there unless they say otherwise. Raises Absent, and Conflict if not verified."""
        async with self.database.connection() as conn, conn.transaction():
            found = await find(conn, owner, mailbox)
            row = await (await conn.execute(_DEFAULT, {"id": found})).fetchone()
            if row is None:
                raise Conflict(f"recipient {mailbox} is not verified")
            await note(conn, actor, AccountId(row[0]), "account.default_recipient", "recipient", found)
            return await one(conn, found)

    async def remove(self, owner: Named | AccountId | None, mailbox: Address | UUID, actor: str) -> RecipientRecord:
        """Remove a recipient with its key from its account and aliases, and wherever it was a default.

        Raises Absent, Conflict, and IsDefault for the account's default one.
        """
        name: Address | UUID | str = mailbox
        try:
            async with self.database.connection() as conn, conn.transaction():
                found = await find(conn, owner, mailbox)
                gone = await one(conn, found)
                name = gone.address
                await conn.execute(_DEFAULT_OF, {"id": found})
                row = await (await conn.execute(_REMOVE, {"id": found})).fetchone()
                if row is None:
                    raise Absent(f"{gone.address} was removed meanwhile")
                detail = {"address": gone.address, "fingerprint": gone.fingerprint}
                await note(conn, actor, AccountId(row[0]), "recipient.remove", "recipient", found, detail)
        except IntegrityError as error:
            if constraint(error) == "account_default_recipient_fk":
                raise IsDefault(f"{name} is the default recipient: make another one that first") from error
            raise
        return gone


async def _stand_alone(conn: Connection, account: AccountId, mailbox: Address) -> None:
    """From here to the end of the transaction nobody else takes it. Raises Taken."""
    values = {"folded": folded(mailbox), "account": account}
    await conn.execute(_TURN, values)
    held = await (await conn.execute(_HELD, values)).fetchone()
    if held is not None:
        raise Taken(f"the account has {mailbox} already" if held[0] == account else f"another account has {mailbox}")


async def find(conn: Connection, owner: Named | AccountId | None, mailbox: Address | UUID) -> RecipientId:
    """The id of a recipient, by address or UUID. owner: None if only one account has it. Raises Absent and Conflict."""
    account = None if owner is None else await account_id(conn, owner)
    if isinstance(mailbox, UUID):
        query, key = _FIND_BY_UUID, str(mailbox)
    else:
        query, key = _FIND, folded(mailbox)
    rows = await (await conn.execute(query, {"mailbox": key, "account": account})).fetchall()
    if not rows:
        raise Absent(f"{mailbox} is no recipient" + (" of that account" if owner is not None else ""))
    if len(rows) > 1:
        raise Conflict(f"several accounts have {mailbox}, such as {rows[0][1]} and {rows[1][1]}: name one")
    return RecipientId(rows[0][0])


async def _ask(conn: Connection, recipient: RecipientId) -> AccountId:
    """Post the notice, and give whose recipient it is.

    It is counted for the address: who removes it and adds it again asks its reader no oftener.
    """
    row = await (await conn.execute(_FOUND, {"id": recipient})).fetchone()
    if row is None:
        raise Absent(f"there is no recipient {recipient}")
    account, mailbox, verified = row
    if verified:
        raise IsVerified(f"{mailbox} is verified already")
    limit = KINDS[Code.VR].limit
    assert limit is not None  # strangers' mailboxes are asked
    values = {
        "account": account,
        "code": Code.VR.value,
        "subject": mailbox,
        "window": limit.window,
        "amount": limit.amount,
    }
    spent = await (await conn.execute(_ASKED, values)).fetchone()
    if spent is not None:
        text = f"{mailbox} was asked {limit.amount} times within an hour: once more from {spent[0]} UTC"
        raise AskedEnough(text, spent[1])
    notice = Notice(Code.VR, AccountId(account), recipient, about=mailbox)
    await announce(conn, notice)
    return AccountId(account)


async def one(conn: Connection, recipient: RecipientId) -> RecipientRecord:
    """What is known of it. Raises Absent."""
    found = await record(conn, RecipientRecord, _ONE, {"id": recipient})
    if found is None:
        raise Absent(f"there is no recipient {recipient}")
    return found


async def _check_count(conn: Connection, account: AccountId, limit: int) -> None:
    row = await (await conn.execute(_COUNT, {"account": account})).fetchone()
    if row is not None and row[0] > limit:
        raise TooManyRecipients(f"an account has at most {limit} recipients")
