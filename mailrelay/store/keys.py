"""OpenPGP keys of recipients and how they are used: every change with its line in the audit."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

from mailrelay.core.address import Address
from mailrelay.core.certificate import Certificate
from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId, Reason, RecipientId
from mailrelay.core.jobs import NOTICE, RELEASE
from mailrelay.core.recipientkeys import Checked, Encryption, OtherKey, StoredKey
from mailrelay.core.records import KEEP, Keep, Named, RecipientRecord
from mailrelay.store.database import Database
from mailrelay.store.jobs import ONE_THAT_WAITS
from mailrelay.store.manage import Connection
from mailrelay.store.manage_recipients import find, one

_LOCK = """
    select account_id, fingerprint, should_encrypt, inline_encryption, protected_headers
    from recipient where id = %(id)s for no key update
"""
_KEY = "select public_key from recipient where id = %(id)s"
_PUT = """
    update recipient
    set fingerprint = %(fingerprint)s, public_key = %(key)s, key_expires_at = %(expires)s, key_checked_at = %(now)s,
        should_encrypt = should_encrypt or %(encrypt)s
    where id = %(id)s
"""
_REMOVE = """
    update recipient
    set fingerprint = null, public_key = null, key_expires_at = null, key_checked_at = null, should_encrypt = false,
        inline_encryption = false, protected_headers = false
    where id = %(id)s
"""
_SWITCH = """
    update recipient
    set should_encrypt = %(should_encrypt)s, inline_encryption = %(inline_encryption)s,
        protected_headers = %(protected_headers)s
    where id = %(id)s
"""
_FAILURE = """
    update recipient
    set encryption_failure = case when %(set_failure)s then %(failure)s::text else encryption_failure end,
        never_plaintext = coalesce(%(never_plaintext)s, never_plaintext)
    where id = %(id)s
"""
_AUDIT = """
    insert into audit (actor, account_id, action, object_table, object_id, detail)
    values (%(actor)s, %(account)s, %(action)s, 'recipient', %(id)s, %(detail)s)
"""

# What was held as it could not be encrypted; whoever else's key is missing, it goes on waiting.
_RELEASE: LiteralString = f"""
    insert into job (kind, payload, dedupe_key)
    select '{RELEASE}', jsonb_build_object('held_id', f.id, 'actor', %(actor)s::text), '{RELEASE}:' || f.id
    from failed_delivery f join ledger l on l.id = f.ledger_id
    where f.account_id = %(account)s and f.is_stored and not f.resent and l.outcome = 'held'
      and l.reason = '{Reason.KEY_UNUSABLE.value}'
    order by f.id
    {ONE_THAT_WAITS}
"""

# Walks the table by its primary key: keys are few, and nobody waits.
_UNCHECKED = """
    select id, account_id, address, should_encrypt, fingerprint, public_key, key_expires_at, key_checked_at
    from recipient
    where id > %(after)s and public_key is not null and (key_checked_at is null or key_checked_at < %(before)s)
    order by id limit %(limit)s
"""
# Unless somebody else has looked at it meanwhile, or it is another one. Who is told, is told in the same breath.
_CHECKED = f"""
    with done as (
        update recipient set key_expires_at = %(expires)s, key_checked_at = %(now)s
        where id = %(id)s and fingerprint = %(fingerprint)s
          and key_checked_at is not distinct from %(checked_at)s::timestamptz
        returning id
    ), told as (
        insert into job (kind, payload, dedupe_key)
        select '{NOTICE}', %(notice)s::jsonb, %(dedupe_key)s from done where %(notice)s::text is not null
        on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
    )
    select id from done
"""


@dataclass(frozen=True, slots=True)
class _Locked:
    """A recipient that stays as it is until the transaction ends."""

    id: RecipientId
    account: AccountId
    fingerprint: str | None
    encryption: Encryption


@dataclass(frozen=True, slots=True)
class RecipientKeys:
    """The key columns of the recipient table.

    owner: the account that asks, or None: whoever is the only one that has the mailbox. mailbox: its address, or the
    UUID of the recipient. actor: who it is, for the audit. All raise Absent and Conflict as `find` does.
    """

    database: Database

    async def held(
        self, owner: Named | AccountId | None, mailbox: Address | UUID
    ) -> tuple[RecipientRecord, bytes | None]:
        """A recipient and its key, None for none."""
        async with self.database.connection() as conn, conn.transaction():
            found = await find(conn, owner, mailbox)
            row = await (await conn.execute(_KEY, {"id": found})).fetchone()
            return await one(conn, found), None if row is None or row[0] is None else bytes(row[0])

    async def put(
        self,
        owner: Named | AccountId | None,
        mailbox: Address | UUID,
        certificate: Certificate,
        now: datetime,
        actor: str,
        *,
        refresh: bool = False,
    ) -> RecipientRecord:
        """This is its key from now on, whatever it had before.

        refresh: only in place of the same primary key, else OtherKey; whether it is used stays as it is. Without, mail
        is encrypted from now on. Mail that was held for want of a key goes out.
        """
        async with self.database.connection() as conn, conn.transaction():
            locked = await _lock(conn, owner, mailbox)
            if refresh and locked.fingerprint != certificate.fingerprint:
                raise OtherKey(f"the key has the fingerprint {certificate.fingerprint}, not that of the one it has")
            values = {
                "id": locked.id,
                "fingerprint": certificate.fingerprint,
                "key": certificate.binary,
                "expires": certificate.expires,
                "now": now,
                "encrypt": not refresh,
            }
            await conn.execute(_PUT, values)
            detail = {"fingerprint": certificate.fingerprint, "before": locked.fingerprint}
            await _note(conn, locked, actor, "recipient.key_refreshed" if refresh else "recipient.key_set", detail)
            await conn.execute(_RELEASE, {"account": locked.account, "actor": actor})
            return await one(conn, locked.id)

    async def remove(self, owner: Named | AccountId | None, mailbox: Address | UUID, actor: str) -> RecipientRecord:
        """It has no key, and nothing of what a key is for. Repeated, it does nothing."""
        async with self.database.connection() as conn, conn.transaction():
            locked = await _lock(conn, owner, mailbox)
            if locked.fingerprint is not None:
                await conn.execute(_REMOVE, {"id": locked.id})
                await _note(conn, locked, actor, "recipient.key_removed", {"before": locked.fingerprint})
            return await one(conn, locked.id)

    async def change(
        self,
        owner: Named | AccountId | None,
        mailbox: Address | UUID,
        change: Callable[[Encryption], Encryption],
        actor: str,
    ) -> RecipientRecord:
        """How mail to it is encrypted, by what `change` makes of how it is now. Raises what that raises."""
        async with self.database.connection() as conn, conn.transaction():
            locked = await _lock(conn, owner, mailbox)
            wanted = change(locked.encryption)
            if wanted != locked.encryption:
                values = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
                await conn.execute(_SWITCH, {"id": locked.id, **values})
                before = locked.encryption
                detail = {name: value for name, value in values.items() if value != getattr(before, name)}
                await _note(conn, locked, actor, "recipient.encryption", detail)
            return await one(conn, locked.id)

    async def on_failure(
        self,
        owner: Named | AccountId | None,
        mailbox: Address | UUID,
        failure: Literal["hold", "stub", "plain"] | Keep | None,
        never_plaintext: bool | Keep,
        actor: str,
    ) -> RecipientRecord:
        """What becomes of mail that cannot be encrypted. failure None: what the account says."""
        async with self.database.connection() as conn, conn.transaction():
            locked = await _lock(conn, owner, mailbox)
            detail: dict[str, object] = {}
            if failure is not KEEP:
                detail["encryption_failure"] = failure
            if never_plaintext is not KEEP:
                detail["never_plaintext"] = never_plaintext
            values = {
                "id": locked.id,
                "set_failure": failure is not KEEP,
                "failure": detail.get("encryption_failure"),
                "never_plaintext": detail.get("never_plaintext"),
            }
            await conn.execute(_FAILURE, values)
            await _note(conn, locked, actor, "recipient.encryption", detail)
            return await one(conn, locked.id)

    async def unchecked(self, before: datetime, after: RecipientId, limit: int) -> list[StoredKey]:
        """Keys that nobody has looked at since, in the order of recipients, behind one of those."""
        rows = await self.database.rows(_UNCHECKED, {"before": before, "after": after, "limit": limit})
        return [StoredKey(*row) for row in rows]

    async def checked(self, key: StoredKey, result: Checked, now: datetime) -> bool:
        """Note that a key was looked at, and tell its owner if there is something to tell.

        False: another worker was faster, or the key is no longer that one.
        """
        notice = result.notice
        values: dict[str, Any] = {
            "id": key.recipient_id,
            "fingerprint": key.fingerprint,
            "checked_at": key.checked_at,
            "expires": result.expires_at,
            "now": now,
            "notice": None if notice is None else json.dumps(notice.to_json()),
            "dedupe_key": None if notice is None else notice.dedupe_key,
        }
        return await self.database.row(_CHECKED, values) is not None


async def _lock(conn: Connection, owner: Named | AccountId | None, mailbox: Address | UUID) -> _Locked:
    found = await find(conn, owner, mailbox)
    row = await (await conn.execute(_LOCK, {"id": found})).fetchone()
    if row is None:
        raise Absent("the recipient was removed meanwhile")
    account, fingerprint, *switches = row
    return _Locked(found, AccountId(account), fingerprint, Encryption(fingerprint is not None, *switches))


async def _note(conn: Connection, locked: _Locked, actor: str, action: str, detail: Mapping[str, object]) -> None:
    values = {"actor": actor, "account": locked.account, "action": action, "id": locked.id}
    await conn.execute(_AUDIT, {**values, "detail": json.dumps(detail)})
