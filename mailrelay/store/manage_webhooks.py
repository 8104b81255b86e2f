"""Webhooks for those who manage them. Their secrets are encrypted at rest, and told once."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal
from mailrelay.core.webhooks import WebhookId, WebhookRecord, place
from mailrelay.store.database import Database
from mailrelay.store.manage import OWNER_NAME, Connection, account_id, record, records
from mailrelay.store.webhooks import opened

MAX_WEBHOOKS = 10  # of an account, and as many of the installation
_COUNTED = 1000


def _waiting(whose: LiteralString) -> LiteralString:
    return f"""
        (select count(*) from (
            select from outbox o where (o.xact, o.id) > (w.position_xact, w.position_id) and {whose}
              and (w.events = '{{}}' or o.event = any (w.events))
            limit {_COUNTED}) counted)"""


_SELECT: LiteralString = f"""
    select w.id, w.uuid, {OWNER_NAME} as account, w.url, w.events, w.active,
           case when w.account_id is null then {_waiting("true")} else {_waiting("o.account_id = w.account_id")} end
               as waiting,
           w.failures, w.last_error, w.next_try_at, w.delivered_at, w.created_at
    from webhook w left join account acc on acc.id = w.account_id
"""
# The name of an account that there is none of is `account ` and no number, which is null.
_LIST: LiteralString = f"""
    {_SELECT} where %(account)s::text is null or {OWNER_NAME} = %(account)s
    order by w.account_id nulls first, w.id
"""
_ONE: LiteralString = f"{_SELECT} where w.id = %(id)s or w.uuid = %(uuid)s"
# Two who add at once are counted one after the other.
_LOCK_ACCOUNT = "select from account where id = %(account)s for no key update"
_LOCK_INSTALLATION = "select pg_advisory_xact_lock(120359620669291)"  # "mwhook" in ASCII, as in store/retention.py
_ADD = """
    insert into webhook (uuid, account_id, url, events, secret, key_id)
    select %(uuid)s, %(account)s, %(url)s, %(events)s, %(secret)s, %(key_id)s
    where (select count(*) from webhook where account_id is not distinct from %(account)s::bigint) < %(limit)s
    returning id
"""
_REMOVE = "delete from webhook where id = %(id)s"
_ENABLE = "update webhook set active = true, failures = 0, next_try_at = now() where id = %(id)s"
_DISABLE = "update webhook set active = false where id = %(id)s and active"
_SEALED = "select secret from webhook where id = %(id)s"

# A transaction that began at some moment may have written later than one that began after it, so those of the next ten
# minutes are looked at, which is longer than any of ours takes.
_REPLAY = """
    with moment as (
        select min(created_at) as at from outbox where created_at >= %(since)s
    ), first as (
        select o.xact, o.id from outbox o, moment
        where o.created_at >= moment.at and o.created_at < moment.at + interval '10 minutes'
        order by o.xact, o.id limit 1
    )
    update webhook
    set position_xact = coalesce((select xact from first), pg_snapshot_xmin(pg_current_snapshot())),
        position_id = coalesce((select id - 1 from first), 0),
        next_try_at = case when failures = 0 then next_try_at else now() end
    where id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The webhook table. ref, wherever it is asked for: the id or UUID of a webhook.

    random: so many unpredictable octets.
    """

    database: Database
    vault: Vault
    random: Callable[[int], bytes]

    async def add(self, owner: Named | AccountId | None, url: str, events: Sequence[str], secret: str) -> WebhookRecord:
        """A new webhook, which hears of what happens from now on. owner: None for the installation.

        Raises Absent, and Conflict if there are as many as there may be.
        """
        uuid = UUID(bytes=self.random(16), version=4)
        values = {
            "uuid": uuid,
            "account": None,
            "url": url,
            "events": list(events),
            "secret": seal(self.vault, self.random(NONCE_OCTETS), place(uuid), secret.encode("ascii")),
            "key_id": self.vault.key_id,
            "limit": MAX_WEBHOOKS,
        }
        async with self.database.connection() as conn, conn.transaction():
            if owner is None:
                await conn.execute(_LOCK_INSTALLATION)
            else:
                values["account"] = await account_id(conn, owner)
                await conn.execute(_LOCK_ACCOUNT, values)
            row = await (await conn.execute(_ADD, values)).fetchone()
            if row is None:
                whose = "the installation" if owner is None else "an account"
                raise Conflict(f"{whose} has at most {MAX_WEBHOOKS} webhooks")
            return await _one(conn, str(row[0]))

    async def page(self, account: str | None = None) -> list[WebhookRecord]:
        """All webhooks, the installation's first; those of one account if it is named."""
        return await records(self.database, WebhookRecord, _LIST, {"account": account})

    async def show(self, ref: str) -> WebhookRecord:
        """One webhook. Raises Absent."""
        async with self.database.connection() as conn:
            return await _one(conn, ref)

    async def secret(self, webhook: WebhookRecord) -> str:
        """What its events are signed with. Raises Absent if it is gone, Conflict if it cannot be decrypted."""
        row = await self.database.row(_SEALED, {"id": webhook.id})
        if row is None:
            raise _absent(str(webhook.id))
        secret = opened(self.vault, webhook.uuid, row[0])
        if secret is None:
            raise Conflict("its secret cannot be decrypted with storage.key: add the webhook anew")
        return secret

    async def remove(self, ref: str) -> WebhookRecord:
        """Delete a webhook; gives what it was. Raises Absent."""
        return await self._change(ref, _REMOVE, gone=True)

    async def set_active(self, ref: str, active: bool) -> WebhookRecord:
        """Switch a webhook on, where it left off and at once, or off. Raises Absent."""
        return await self._change(ref, _ENABLE if active else _DISABLE)

    async def replay(self, ref: str, since: datetime) -> WebhookRecord:
        """Let a webhook go on with the first event that there is of a moment or later, be it a step back or forward.

        Raises Absent.
        """
        return await self._change(ref, _REPLAY, since=since)

    async def _change(
        self, ref: str, query: LiteralString, gone: bool = False, since: datetime | None = None
    ) -> WebhookRecord:
        async with self.database.connection() as conn, conn.transaction():
            found = await _one(conn, ref)
            await conn.execute(query, {"id": found.id, "since": since})
            return found if gone else await _one(conn, str(found.id))


async def _one(conn: Connection, ref: str) -> WebhookRecord:
    found = await record(conn, WebhookRecord, _ONE, _key(ref))
    if found is None:
        raise _absent(ref)
    return found


def _key(ref: str) -> dict[str, WebhookId | UUID | None]:
    """What a reference may mean; nothing for one that is neither an id nor a UUID."""
    if ref.isascii() and ref.isdigit() and len(ref) < 19:
        return {"id": WebhookId(int(ref)), "uuid": None}
    with suppress(ValueError):
        return {"id": None, "uuid": UUID(ref)}
    return {"id": None, "uuid": None}


def _absent(ref: str) -> Absent:
    return Absent(f"there is no webhook {ref}")
