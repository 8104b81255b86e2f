"""Mail that is kept for its owner's decision: a failed delivery, the encrypted message and the ledger's row, in one."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg.errors import ForeignKeyViolation
from psycopg.rows import TupleRow

from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.held import KEPT_FOR, Held, HeldId, HeldMessage, HeldRecord, Hold, place
from mailrelay.core.ledger import Envelope, IngressKey, storable
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal, unseal
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database, constraint
from mailrelay.store.manage import OWNER_NAME

_INLINE_OCTETS = 256 * 1024
# Longer than the last answer of a hand-over may take, so that nobody makes the same copies at the same time.
_LEASE = "interval '15 minutes'"

# The ledger row is the idempotency record, as for copies. What has gone out entirely, for instance because the message
# was released, is not held again when Postfix brings it once more. `rcpt || ''` keeps the planner from the index on
# recipients, where it would read all that the address ever got. Locks: the windows before the alias, as for copies.
_HOLD: LiteralString = """
    with copies as (
        select outcome from ledger where ingress_key = %(key)s and rcpt || '' = %(rcpt)s and recipient_id <> 0
    ), fits as (
        select %(content)s::bytea is not null and %(octets)s + coalesce(sum(size_octets), 0) <= %(room)s as stored
        from stored_message where account_id = %(account)s
    ), entry as (
        insert into ledger (ingress_key, queue_id, message_id, account_id, alias_id, rcpt, sender, client_address,
                            size_octets, outcome, reason)
        select %(key)s, %(queue_id)s, nullif(%(message_id)s, ''), %(account)s, %(alias)s, %(rcpt)s, %(sender)s,
               %(client)s, %(size)s, 'held', %(reason)s
        from fits
        where (fits.stored or %(content)s::bytea is null)
          and (not exists (select from copies) or exists (select from copies where outcome = 'queued'))
        on conflict on constraint ledger_once do nothing
        returning id
    ), record as (
        insert into failed_delivery (uuid, account_id, alias_id, ledger_id, email_type, bounce_type, status, code,
                                     remote_mta, sender, destination, key_id, is_stored, quarantined)
        select %(uuid)s, %(account)s, (select id from alias where id = %(alias)s), entry.id, %(type)s, %(bounce_type)s,
               %(status)s, %(code)s, %(host)s, %(author)s, %(destination)s, %(key_id)s, fits.stored,
               %(kind)s = 'quarantined'
        from entry, fits
        returning id, is_stored
    ), kept as (
        insert into stored_message (account_id, failed_delivery_id, kind, content, evidence, key_id, size_octets,
                                    expires_at)
        select %(account)s, record.id, %(kind)s, %(content)s, %(evidence)s, %(key_id)s, %(octets)s,
               now() + %(kept_for)s
        from record where record.is_stored
    ), used as (
        insert into rate_window (account_id, kind, subject, window_start, amount)
        select %(account)s, 'message', s.subject, date_trunc('minute', now()), 1
        from entry, unnest(%(subjects)s::text[]) as s(subject) order by s.subject
        on conflict on constraint rate_window_pkey do update set amount = rate_window.amount + 1
        returning 1
    ), counted as (
        update alias
        set emails_blocked = emails_blocked + 1, last_blocked = now()
        from entry
        where alias.id = %(alias)s and alias.account_id is not null and (select count(*) from used) >= 0
    )
    select id, is_stored, %(uuid)s::uuid from record
"""

_KNOWN = """
    select f.id, s.id is not null, f.uuid
    from ledger l left join failed_delivery f on f.ledger_id = l.id
                  left join stored_message s on s.failed_delivery_id = f.id
    where l.ingress_key = %(key)s and l.rcpt || '' = %(rcpt)s
    order by l.recipient_id <> 0 limit 1
"""

# A released record has lost its ledger row, or that row has become another outcome's.
_STATE: LiteralString = """
    case when f.resent then 'released' when l.outcome = 'held' then 'held' else 'discarded' end"""

_PAGE: LiteralString = f"""
    select f.id, f.uuid, f.account_id, {OWNER_NAME}, a.local_part || '@' || a.domain, f.sender, f.destination,
           s.kind, {_STATE}, l.reason, f.code, l.queue_id, l.message_id, coalesce(s.size_octets, l.size_octets),
           s.id is not null, f.created_at, coalesce(s.expires_at, f.created_at + %(kept_for)s)
    from failed_delivery f
    join account acc on acc.id = f.account_id
    left join ledger l on l.id = f.ledger_id
    left join stored_message s on s.failed_delivery_id = f.id
    left join alias a on a.id = f.alias_id
    where f.ledger_id is not null and (%(id)s::bigint is null or f.id = %(id)s)
      and (%(account)s::text is null or %(account)s in (acc.name, acc.implicit_mailbox))
      and (%(every)s or not f.resent and l.outcome = 'held')
    order by f.id desc limit %(limit)s
"""

_MESSAGE: LiteralString = f"""
    select f.uuid, {_STATE}, f.created_at, s.content, s.evidence, s.kind, f.email_type, l.reason,
           l.ingress_key, l.queue_id, l.message_id, l.sender, l.rcpt, host(l.client_address), l.size_octets,
           f.account_id, l.alias_id
    from failed_delivery f
    left join ledger l on l.id = f.ledger_id
    left join stored_message s on s.failed_delivery_id = f.id
    where f.id = %(id)s and f.ledger_id is not null
"""

_LEASE_IT = f"""
    update stored_message set leased_until = now() + {_LEASE}
    where failed_delivery_id = %(id)s and (leased_until is null or leased_until < now())
    returning id
"""

_AUDIT: LiteralString = """
    insert into audit (actor, account_id, action, object_table, object_id)
    select %(actor)s, account_id, %(action)s, 'failed_delivery', id"""

# The copies have rows of their own by now, so the recipient's row without a copy goes.
_RELEASED: LiteralString = f"""
    with record as (
        update failed_delivery set resent = true where id = %(id)s and not resent returning id, account_id, ledger_id
    ), free as (
        update stored_message set leased_until = null where failed_delivery_id = %(id)s
    ), gone as (
        delete from ledger l using record
        where l.id = record.ledger_id and l.outcome = 'held' and exists (
            select from ledger c
            where c.ingress_key = l.ingress_key and c.rcpt || '' = l.rcpt and c.recipient_id <> 0)
    )
    {_AUDIT} from record
"""

_DISCARD: LiteralString = f"""
    with entry as (
        update ledger l set outcome = 'discarded', finished_at = now() from failed_delivery f
        where f.id = %(id)s and not f.resent and l.id = f.ledger_id and l.outcome = 'held'
          and not exists (
              select from stored_message where failed_delivery_id = %(id)s and leased_until >= now())
        returning l.id
    ), record as (
        update failed_delivery f set is_stored = false from entry
        where f.ledger_id = entry.id returning f.id, f.account_id
    ), gone as (
        delete from stored_message s using record where s.failed_delivery_id = record.id
    ), noted as ({_AUDIT} from record)
    select id from record
"""


@dataclass(frozen=True, slots=True)
class HeldStore:
    """Everything raises Unavailable when the database is in trouble.

    random: so many unpredictable octets. room_octets: what an account's stored messages may take together; for more
    there is a record and no message.
    """

    database: Database
    vault: Vault
    random: Callable[[int], bytes]
    room_octets: int = 256 * 1024 * 1024

    async def hold(self, hold: Hold) -> Held:
        """Keep a recipient's mail, all in one statement. Repeated, it does nothing.

        Raises Unavailable, also when the account is being removed at this moment.
        """
        values = await self._values(hold)
        try:
            row = await self.database.row(_HOLD, values)
        except ForeignKeyViolation as error:
            raise Unavailable(f"mail cannot be held: {constraint(error)}") from error
        if row is None:
            row = await self.database.row(_KNOWN, values)
        if row is None:
            return Held(None, False, no_room=True)
        return Held(HeldId(row[0]), row[1], uuid=row[2]) if row[0] is not None else Held(None, False)

    async def _values(self, hold: Hold) -> dict[str, Any]:
        envelope = hold.envelope
        record = UUID(bytes=self.random(16), version=4)
        content = hold.content
        return {
            "uuid": record,
            "key": envelope.key,
            "queue_id": storable(envelope.queue_id, 100),
            "message_id": storable(envelope.message_id, 998),
            "account": envelope.account_id,
            "alias": envelope.alias_id,
            "rcpt": storable(envelope.rcpt),
            "sender": storable(envelope.sender),
            "client": envelope.client_address,
            "size": envelope.size_octets,
            "reason": hold.reason.value,
            "kind": hold.kind,
            "type": hold.type.value,
            "bounce_type": hold.bounce_type,
            "status": hold.status,
            "code": _words(hold.code),
            "host": hold.host,
            "author": self._seal("author", record, (hold.author or "<>").encode("utf-8", "replace")),
            "destination": self._seal("destination", record, envelope.rcpt.encode("utf-8", "replace")),
            "content": None if content is None else await _off_the_loop(self._seal, "content", record, content),
            "evidence": self._seal("evidence", record, hold.evidence) if hold.evidence else None,
            "key_id": self.vault.key_id,
            "octets": 0 if content is None else len(content),
            "room": self.room_octets,
            "kept_for": KEPT_FOR,
            "subjects": sorted({"", storable(hold.sender_org)}),
        }

    async def page(self, account: str | None = None, every: bool = False, limit: int = 1000) -> list[HeldRecord]:
        """What is held, the latest first. account: its name or implicit mailbox; every: what was decided as well."""
        values = {"id": None, "account": account, "every": every, "limit": limit, "kept_for": KEPT_FOR}
        return [self._record(row) for row in await self.database.rows(_PAGE, values)]

    async def one(self, held_id: HeldId) -> HeldRecord:
        """Raises Absent."""
        values = {"id": held_id, "account": None, "every": True, "limit": 1, "kept_for": KEPT_FOR}
        row = await self.database.row(_PAGE, values)
        if row is None:
            raise _absent(held_id)
        return self._record(row)

    async def content(self, held_id: HeldId) -> bytes:
        """The message. Raises Absent, Conflict if it is not kept, Malformed if it cannot be decrypted."""
        row = await self.database.row(_MESSAGE, {"id": held_id})
        if row is None:
            raise _absent(held_id)
        if row[3] is None:
            raise Conflict(f"of {held_id} only the record is kept")
        return await _off_the_loop(self._unseal, "content", row[0], row[3])

    async def take(self, held_id: HeldId) -> HeldMessage:
        """The message, for fifteen minutes for this caller alone, who then says `released` or `give_back`.

        Raises as `content` does, Conflict also if it was released or discarded, Unavailable while another releases it.
        """
        leased = await self.database.row(_LEASE_IT, {"id": held_id}) is not None
        row = await self.database.row(_MESSAGE, {"id": held_id})
        try:
            if row is None:
                raise _absent(held_id)
            if row[1] != "held":
                raise Conflict(f"{held_id} was {row[1]} before")
            if row[3] is None:
                raise Conflict(f"of {held_id} only the record is kept")
            if not leased:
                raise Unavailable(f"{held_id} is being released at this moment")
            return await self._message(held_id, row)
        except (Conflict, Malformed):
            if leased:
                await self.give_back(held_id)
            raise

    async def give_back(self, held_id: HeldId) -> None:
        """Not released after all."""
        query = "update stored_message set leased_until = null where failed_delivery_id = %(id)s"
        await self.database.rows(query, {"id": held_id})

    async def released(self, held_id: HeldId, actor: str) -> None:
        """Every copy has its final outcome. Repeated, it does nothing."""
        await self.database.rows(_RELEASED, {"id": held_id, "actor": actor, "action": "held.release"})

    async def discard(self, held_id: HeldId, actor: str) -> HeldRecord:
        """End it without a copy; the message goes, the record stays. Raises Absent, Conflict, Unavailable."""
        values = {"id": held_id, "actor": actor, "action": "held.discard"}
        done = await self.database.row(_DISCARD, values)
        record = await self.one(held_id)
        if done is None and record.state == "held":
            raise Unavailable(f"{held_id} is being released at this moment")
        if done is None:
            raise Conflict(f"{held_id} was {record.state} before")
        return record

    async def seen(self, held_id: HeldId, actor: str) -> None:
        """Note that somebody other than its owner reads a message."""
        query: LiteralString = f"{_AUDIT} from failed_delivery where id = %(id)s"
        await self.database.rows(query, {"id": held_id, "actor": actor, "action": "held.read"})

    async def _message(self, held_id: HeldId, row: TupleRow) -> HeldMessage:
        uuid, _, held_at, content, evidence, kind, email_type, reason, *envelope = row
        return HeldMessage(
            held_id,
            uuid,
            _envelope(envelope),
            kind,
            EmailType(email_type),
            reason,
            await _off_the_loop(self._unseal, "content", uuid, content),
            self._unseal("evidence", uuid, evidence) if evidence is not None else b"",
            held_at,
        )

    def _record(self, row: TupleRow) -> HeldRecord:
        number, uuid, account_id, account, alias, author, rcpt, *rest = row
        return HeldRecord(
            HeldId(number),
            uuid,
            AccountId(account_id),
            account,
            alias,
            self._readable("author", uuid, author),
            self._readable("destination", uuid, rcpt),
            *rest,
        )

    def _readable(self, column: str, record: UUID, sealed: bytes | None) -> str:
        try:
            return "" if sealed is None else self._unseal(column, record, sealed).decode("utf-8", "replace")
        except Malformed:
            return ""

    def _seal(self, column: str, record: UUID, clear: bytes) -> bytes:
        return seal(self.vault, self.random(NONCE_OCTETS), place(column, record), clear)

    def _unseal(self, column: str, record: UUID, sealed: bytes) -> bytes:
        return unseal(self.vault, place(column, record), sealed)


async def _off_the_loop(work: Callable[[str, UUID, bytes], bytes], column: str, record: UUID, content: bytes) -> bytes:
    """Large messages in a thread: other mail goes on meanwhile."""
    if len(content) <= _INLINE_OCTETS:
        return work(column, record, content)
    return await asyncio.to_thread(work, column, record, content)


def _envelope(columns: list[Any]) -> Envelope:
    key, queue_id, message_id, sender, rcpt, client, size_octets, account_id, alias_id = columns
    return Envelope(
        IngressKey(bytes(key)),
        queue_id,
        message_id or "",
        sender,
        rcpt,
        client or "",
        size_octets,
        AccountId(account_id),
        None if alias_id is None else AliasId(alias_id),
    )


def _words(text: str) -> str:
    """As spec section 7.6 has it: ASCII, at most 500 characters."""
    return storable(text.encode("ascii", "replace").decode("ascii"), 500)


def _absent(held_id: HeldId) -> Absent:
    return Absent(f"there is no held message {held_id}")
