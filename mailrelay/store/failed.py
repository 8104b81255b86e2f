"""Failed deliveries as their owners read them: pages of a list, the stored message, and one resend of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import TupleRow

from mailrelay.core.errors import Absent, Conflict, Malformed, NoAccount, Unavailable
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.failed import (
    AlreadyResent,
    FailedId,
    FailedMessage,
    FailedPage,
    FailedRecord,
    FailedType,
    NotForward,
    NotStored,
)
from mailrelay.core.held import place
from mailrelay.core.sealed import Vault, unseal
from mailrelay.store.database import Database
from mailrelay.store.ledger import unsigned
from mailrelay.store.manage import OWNER_NAME

_INLINE_OCTETS = 256 * 1024
# Longer than the last answer of a hand-over may take; the same of a release (store/held.py).
_LEASE: LiteralString = "interval '15 minutes'"

_RECORDS: LiteralString = f"""
    select f.id, f.uuid, f.account_id, acc.uuid, {OWNER_NAME}, a.uuid, a.local_part || '@' || a.domain, r.uuid,
           r.address, f.email_type, f.bounce_type, f.status, f.code, f.remote_mta, f.sender, f.destination, f.subject,
           s.id is not null, coalesce(s.partial, false), s.size_octets, f.quarantined, f.resent, f.ir_dedupe_key,
           coalesce(l.queue_id, o.ingress_queue_id), f.attempted_at, f.created_at, f.updated_at,
           coalesce(not f.resent and l.outcome = 'held', false), coalesce(a.state = 'deleted', false)
    from page join failed_delivery f on f.id = page.id
    join account acc on acc.id = f.account_id
    left join alias a on a.id = f.alias_id and a.state <> 'forgotten'
    left join recipient r on r.id = f.recipient_id
    left join stored_message s on s.failed_delivery_id = f.id
    left join ledger l on l.id = f.ledger_id
    left join outbound o on o.id = f.outbound_id
"""
_NEWEST_FIRST: LiteralString = "order by f.created_at desc, f.id desc"
_OLDEST_FIRST: LiteralString = "order by f.created_at, f.id"

# One statement for each index: a condition that may or may not hold has none.
_OWN: LiteralString = "f.account_id = %(account)s"
_OWN_TYPE: LiteralString = "f.account_id = %(account)s and f.type = %(type)s"


def _page(where: LiteralString, order: LiteralString) -> LiteralString:
    """A page; what is shown of its records is looked up for them only."""
    return f"""
        with page as materialized (
            select f.id from failed_delivery f where {where} {order} limit %(limit)s offset %(offset)s
        )
        {_RECORDS} {order}
    """


_PAGES = {
    (typed, backwards): _page(_OWN_TYPE if typed else _OWN, _OLDEST_FIRST if backwards else _NEWEST_FIRST)
    for typed in (False, True)
    for backwards in (False, True)
}
_TOTAL = """
    select coalesce(sum(total), 0)::bigint from failed_total
    where account_id = %(account)s and (%(type)s::text is null or type = %(type)s)
"""


_BEFORE: LiteralString = """
    and (f.created_at, f.id) < (select b.created_at, b.id from failed_delivery b where b.id = %(before)s)"""
_BY_ID: LiteralString = "order by f.id desc"  # of all accounts: nearly the order of time, and there is an index for it

_OLDER = {
    # own account, of one type, older than another one
    (True, False, False): _page(_OWN, _NEWEST_FIRST),
    (True, False, True): _page(_OWN + _BEFORE, _NEWEST_FIRST),
    (True, True, False): _page(_OWN_TYPE, _NEWEST_FIRST),
    (True, True, True): _page(_OWN_TYPE + _BEFORE, _NEWEST_FIRST),
    (False, False, False): _page("true", _BY_ID),
    (False, False, True): _page("f.id < %(before)s", _BY_ID),
    (False, True, False): _page("f.type = %(type)s", _BY_ID),
    (False, True, True): _page("f.type = %(type)s and f.id < %(before)s", _BY_ID),
}
_ACCOUNT = "select id from account where name = %(name)s or implicit_mailbox = %(name)s"

_ONE: LiteralString = f"""
    with page as (
        select f.id from failed_delivery f
        where f.id = %(id)s and (%(account)s::bigint is null or f.account_id = %(account)s)
    )
    {_RECORDS}
"""
_ONE_BY_UUID: LiteralString = _ONE.replace("f.id = %(id)s", "f.uuid = %(id)s")

_CONTENT = """
    select f.uuid, s.content from failed_delivery f left join stored_message s on s.failed_delivery_id = f.id
    where f.id = %(id)s
"""
_LEASE_IT: LiteralString = f"""
    update stored_message set leased_until = now() + {_LEASE}
    where failed_delivery_id = %(id)s and (leased_until is null or leased_until < now())
    returning id
"""
# What failed after it had been sent has its entry by the copy, whose arrival that tells about.
_MESSAGE = """
    select f.uuid, f.account_id, f.alias_id, a.local_part || '@' || a.domain, f.resent, f.outbound_id, f.destination,
           f.sender, l.rcpt, l.sender, host(l.client_address), l.queue_id, l.message_id, s.content, s.partial,
           s.evidence, coalesce(f.attempted_at, f.created_at)
    from failed_delivery f
    left join alias a on a.id = f.alias_id and a.state <> 'forgotten'
    left join lateral (select * from ledger where outbound_id = f.outbound_id limit 1) l on true
    left join stored_message s on s.failed_delivery_id = f.id
    where f.id = %(id)s
"""
_AUDIT: LiteralString = """
    insert into audit (actor, account_id, action, object_table, object_id)
    select %(actor)s, account_id, %(action)s, 'failed_delivery', id"""

_RESENT: LiteralString = f"""
    with record as (
        update failed_delivery set resent = true where id = %(id)s and not resent returning id, account_id
    ), free as (
        update stored_message set leased_until = null where failed_delivery_id = %(id)s
    )
    {_AUDIT} from record
"""
_DELETE: LiteralString = f"""
    with record as (
        delete from failed_delivery f
        where f.id = %(id)s and not exists (
            select from stored_message where failed_delivery_id = %(id)s and leased_until >= now())
        returning f.id, f.account_id
    ), noted as ({_AUDIT} from record)
    select id from record
"""
_MAILBOXES = """
    select asked.address, r.uuid
    from unnest(%(addresses)s::text[]) with ordinality as asked(address, n)
    left join recipient r on r.account_id = %(account)s and r.address_folded = lower(asked.address collate "C")
    order by asked.n
"""


@dataclass(frozen=True, slots=True)
class FailedStore:
    """Everything raises Unavailable when the database is in trouble. account None, where it is asked: any account."""

    database: Database
    vault: Vault

    async def page(self, account: AccountId, type: FailedType | None, number: int, size: int) -> FailedPage:
        """Page `number`, from 1, of `size` records; beyond the last one it is empty."""
        found = await self.database.row(_TOTAL, {"account": account, "type": type})
        total = found[0] if found is not None else 0
        offset = (max(number, 1) - 1) * size
        limit = min(size, total - offset)
        if limit <= 0:
            return FailedPage((), total)
        # The latter half is nearer from the other end.
        backwards = offset > total // 2
        values = {"account": account, "type": type, "limit": limit, "offset": offset}
        if backwards:
            values["offset"] = total - offset - limit
        rows = await self.database.rows(_PAGES[type is not None, backwards], values)
        records = [self._record(row) for row in (reversed(rows) if backwards else rows)]
        return FailedPage(tuple(records), total)

    async def older(
        self, account: str | None, type: FailedType | None, before: FailedId | None, limit: int
    ) -> list[FailedRecord]:
        """The last records older than `before`, None: the last of all. account: its name or implicit mailbox.

        Raises Absent for an account or record that there is not.
        """
        number = None
        if account is not None:
            row = await self.database.row(_ACCOUNT, {"name": account})
            if row is None:
                raise NoAccount(f"there is no account {account}")
            number = row[0]
        if before is not None:
            await self.one(before)
        values = {"account": number, "type": type, "before": before, "limit": limit, "offset": 0}
        query = _OLDER[number is not None, type is not None, before is not None]
        rows = await self.database.rows(query, values)
        return [self._record(row) for row in rows]

    async def one(self, key: FailedId | UUID, account: AccountId | None = None) -> FailedRecord:
        """Raises Absent, also for what belongs to another account."""
        query = _ONE_BY_UUID if isinstance(key, UUID) else _ONE
        row = await self.database.row(query, {"id": key, "account": account})
        if row is None:
            raise _absent(key)
        return self._record(row)

    async def content(self, failed_id: FailedId) -> bytes:
        """The message. Raises Absent, NotStored, and Malformed if it cannot be decrypted."""
        row = await self.database.row(_CONTENT, {"id": failed_id})
        if row is None:
            raise _absent(failed_id)
        if row[1] is None:
            raise _not_stored(failed_id)
        return await self._message(row[0], row[1])

    async def seen(self, failed_id: FailedId, actor: str) -> None:
        """Note that somebody other than its owner reads a message."""
        query: LiteralString = f"{_AUDIT} from failed_delivery where id = %(id)s"
        await self.database.rows(query, {"id": failed_id, "actor": actor, "action": "failed.read"})

    async def take(self, failed_id: FailedId) -> FailedMessage:
        """The message, for fifteen minutes for this caller alone, who then says `resent` or `give_back`.

        Raises as `content` does, AlreadyResent, NotForward without an alias, Unavailable while another resends it.
        """
        leased = await self.database.row(_LEASE_IT, {"id": failed_id}) is not None
        row = await self.database.row(_MESSAGE, {"id": failed_id})
        try:
            if row is None:
                raise _absent(failed_id)
            if row[13] is None:
                raise _not_stored(failed_id)
            if row[4]:
                raise AlreadyResent(f"failed delivery {failed_id} has already been resent")
            if row[3] is None:
                raise NotForward(f"the alias of failed delivery {failed_id} was deleted")
            if not leased:
                raise _busy(failed_id)
            return await self._failed(failed_id, row)
        except (Absent, Conflict, Malformed):
            if leased:
                await self.give_back(failed_id)
            raise

    async def give_back(self, failed_id: FailedId) -> None:
        """Not resent after all."""
        query = "update stored_message set leased_until = null where failed_delivery_id = %(id)s"
        await self.database.rows(query, {"id": failed_id})

    async def resent(self, failed_id: FailedId, actor: str) -> None:
        """Every copy has its final outcome. Repeated, it does nothing."""
        await self.database.rows(_RESENT, {"id": failed_id, "actor": actor, "action": "failed.resend"})

    async def delete(self, failed_id: FailedId, actor: str) -> None:
        """Record and message go; what was held is held no more. Raises Absent, and Unavailable while it is resent."""
        values = {"id": failed_id, "actor": actor, "action": "failed.delete"}
        if await self.database.row(_DELETE, values) is None:
            await self.one(failed_id)
            raise _busy(failed_id)

    async def mailboxes(self, account: AccountId, addresses: Sequence[str]) -> Sequence[tuple[str, UUID | None]]:
        """The addresses with the account's recipients that they are, None for none."""
        rows = await self.database.rows(_MAILBOXES, {"account": account, "addresses": list(addresses)})
        return [(address, uuid) for address, uuid in rows]

    async def _failed(self, failed_id: FailedId, row: TupleRow) -> FailedMessage:
        uuid, account, alias_id, alias, _, outbound, rcpt, author, *arrival, content, partial, evidence, at = row
        named, sender, client, queue_id, message_id = (text or "" for text in arrival)
        author = self._readable("author", uuid, author)
        return FailedMessage(
            id=failed_id,
            uuid=uuid,
            account_id=AccountId(account),
            alias_id=AliasId(alias_id),
            alias=alias,
            outbound_id=None if outbound is None else unsigned(outbound),
            destination=self._readable("destination", uuid, rcpt),
            author="" if author == "<>" else author,
            rcpt=named,
            sender=sender,
            client=client,
            queue_id=queue_id,
            message_id=message_id,
            content=await self._message(uuid, content),
            partial=partial,
            evidence=unseal(self.vault, place("evidence", uuid), evidence) if evidence is not None else b"",
            attempted_at=at,
        )

    def _record(self, row: TupleRow) -> FailedRecord:
        uuid, (author, rcpt, subject) = row[1], row[14:17]
        fields: list[Any] = list(row)
        fields[14:17] = (
            self._readable("author", uuid, author),
            self._readable("destination", uuid, rcpt),
            self._readable("subject", uuid, subject),
        )
        return FailedRecord(*fields)

    def _readable(self, column: str, record: UUID, sealed: bytes | None) -> str:
        try:
            clear = b"" if sealed is None else unseal(self.vault, place(column, record), sealed)
        except Malformed:
            return ""
        return clear.decode("utf-8", "replace")

    async def _message(self, record: UUID, sealed: bytes) -> bytes:
        """Large messages in a thread: other requests go on meanwhile."""
        if len(sealed) <= _INLINE_OCTETS:
            return unseal(self.vault, place("content", record), sealed)
        return await asyncio.to_thread(unseal, self.vault, place("content", record), sealed)


def _absent(key: FailedId | UUID) -> Absent:
    return Absent(f"there is no failed delivery {key}; they are kept for seven days")


def _not_stored(failed_id: FailedId) -> NotStored:
    return NotStored(f"of failed delivery {failed_id} only the record is kept, the message is not")


def _busy(failed_id: FailedId) -> Unavailable:
    return Unavailable(f"failed delivery {failed_id} is being resent at this moment; try again in 15 minutes")
