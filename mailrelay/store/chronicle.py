"""Reading the ledger from where one stopped, and writing what its entries give rise to, all or nothing of a piece."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import ForeignKeyViolation
from psycopg.rows import TupleRow

from mailrelay.core.chronicle import Entry, LedgerId, Page, Told
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId, Reason, RecipientId
from mailrelay.core.failed import FailedId, record_uuid
from mailrelay.core.held import place
from mailrelay.core.jobs import NOTICE
from mailrelay.core.ledger import storable
from mailrelay.core.notices import Code, Notice
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal
from mailrelay.core.verp import EmailType
from mailrelay.store.database import constraint
from mailrelay.store.leader import Leader
from mailrelay.store.ledger import signed, unsigned
from mailrelay.store.retention import FIRST_SINCE

# Any number will do that no other program locks in this database: "mrchrn" in ASCII.
_LOCK = 120338060440174
_SOURCE = "ledger"

_START: LiteralString = f"""
    with recursive {FIRST_SINCE}
    insert into log_position (source, cursor)
    select %(source)s, greatest(0, max(low) - 1)::text from search
    on conflict (source) do nothing
"""

_POSITION = "select cursor from log_position where source = %(source)s"

# Up to the first row that is too young, not to the last one that is old enough: ids rise with time only nearly. What
# was begun before a row that is old enough is written by now, or never will be.
_PIECE = """
    with page as (
        select id, at, outcome, account_id, outbound_id from ledger where id > %(after)s order by id limit %(limit)s
    ), piece as (
        select * from page where id < coalesce((select min(id) from page where at > now() - %(lag)s), id + 1)
    )
    select coalesce((select max(id) from piece), %(after)s),
           (select count(*) from piece) = %(limit)s,
           array(select distinct account_id from piece where outcome = 'delivered' and account_id is not null),
           (select count(*) from piece p join outbound o on o.id = p.outbound_id
            where p.outcome = 'delivered' and o.email_type = 'F'),
           coalesce((select extract(epoch from now() - at) from piece order by id desc limit 1), 0)
"""

# Whether a webhook wants an event of an account.
_WANTED: LiteralString = """(
    l.account_id in (select w.account_id from webhook w where w.account_id is not null and w.active
                     and (w.events = '{{}}' or '{0}' = any (w.events)))
    or exists (select from webhook w where w.account_id is null and w.active
               and (w.events = '{{}}' or '{0}' = any (w.events))))
"""

# A rule is named if it is the only one that blocks and was applied since: two are not told apart.
_ENTRY: LiteralString = """
    select l.id, l.at, l.outcome, l.reason, l.rcpt, l.sender, host(l.client_address), l.queue_id, l.message_id,
           l.size_octets, l.account_id, l.alias_id, a.local_part || '@' || a.domain, a.uuid, l.recipient_id,
           (select uuid from recipient where id = l.recipient_id),
           l.outcome = 'refused' or l.fingerprint is not null,
           l.recipient_id = 0 and l.finished_at <> l.at,
           coalesce(a.block_behaviour, (select block_behaviour from handle where id = a.handle_id),
                    (select block_behaviour from username where id = a.username_id),
                    (select block_behaviour from domain where id = a.domain_id), acc.block_behaviour),
           case l.reason when 'rule' then (
               select min(x.name) from rule x
               where x.account_id = l.account_id and x.actions @> '[{"type": "block"}]'
                 and x.last_applied >= l.at - interval '10 seconds'
               having count(*) = 1) end,
           case l.outcome when 'held' then (
               select f.id from failed_delivery f
               where f.ledger_id = l.id and f.quarantined and not f.resent
                 and acc.failed_delivery_notification_preference in (0, 2)) end,
           l.outbound_id, o.email_type, o.destination, o.notice, o.bounce_text
"""
_JOINED: LiteralString = """
    left join alias a on a.id = l.alias_id
    left join account acc on acc.id = l.account_id
    left join outbound o on o.id = l.outbound_id
"""

_ENTRIES: LiteralString = f"""
    {_ENTRY}
    from ledger l {_JOINED}
    where l.id > %(after)s and l.id <= %(upto)s
      and (l.account_id is not null
               and (l.outcome <> 'delivered' or l.alias_id is not null and {_WANTED.format("mail.forwarded")})
           or l.reason in ('banned', 'name_banned', 'destination_banned') and {_WANTED.format("ban.hit")})
    order by l.id
"""

_OPEN_PIECE = """
    with page as (select ledger_id from ledger_open where ledger_id > %(after)s order by ledger_id limit %(limit)s)
    select coalesce((select max(ledger_id) from page), %(after)s), (select count(*) from page) = %(limit)s
"""
_OPEN_ENTRIES: LiteralString = f"""
    {_ENTRY}
    from ledger_open q join ledger l on l.id = q.ledger_id {_JOINED}
    where q.ledger_id > %(after)s and q.ledger_id <= %(upto)s and l.outcome <> 'queued'
    order by l.id
"""
_FORGET = """
    delete from ledger_open q
    where q.ledger_id > %(after)s and q.ledger_id <= %(upto)s
      and not exists (select from ledger l where l.id = q.ledger_id)
"""

_MOVE = """
    update log_position set cursor = %(upto)s::text, updated_at = now()
    where source = %(source)s and cursor = %(after)s::text returning true
"""
# Of the public total (haltman-api.md section 3.14), which outlives the ledger.
_COUNT = """
    insert into counter as c (name, total) values ('forwarded', %(n)s)
    on conflict (name) do update set total = c.total + excluded.total
"""
_LEAVE_OPEN = "insert into ledger_open (ledger_id) select unnest(%(ids)s::bigint[]) on conflict do nothing"
_CLOSE = "delete from ledger_open where ledger_id = any (%(ids)s::bigint[]) returning true"

# Written before, or deleted by its owner since: then it is there, or never comes back, as nobody reads an entry twice.
_RECORD = """
    with q as (
        select * from json_to_recordset(%(records)s) as q(
            n int, uuid uuid, account bigint, alias bigint, recipient bigint, outbound bigint, type text,
            bounce_type text, status text, code text, remote_mta text, sender bytea, destination bytea, ir_key text,
            at timestamptz)
    ), made as (
        insert into failed_delivery (uuid, account_id, alias_id, recipient_id, outbound_id, email_type, bounce_type,
                                     status, code, remote_mta, sender, destination, key_id, ir_dedupe_key,
                                     attempted_at)
        select q.uuid, account.id, alias.id, recipient.id, q.outbound, q.type, q.bounce_type, q.status, q.code,
               q.remote_mta, q.sender, q.destination, %(key_id)s, q.ir_key, q.at
        from q join account on account.id = q.account left join alias on alias.id = q.alias
               left join recipient on recipient.id = q.recipient
        order by q.n
        on conflict do nothing
        returning id, uuid, account_id
    )
    select made.id, made.uuid, account.failed_delivery_notification_preference in (0, 1)
    from made join account on account.id = made.account_id
"""

_POST = """
    insert into job (kind, payload, dedupe_key)
    select %(kind)s, q.payload, q.key from json_to_recordset(%(notices)s) as q(payload jsonb, key text)
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
"""

_ANNOUNCE = """
    select announce(q.event, q.account, q.said)
    from json_to_recordset(%(events)s) as q(event text, account bigint, said jsonb)
"""

_NEAR_LIMIT = """
    select q.account, w.amount * 100 / q.allowed
    from (select id as account, coalesce(bandwidth_octets_per_month, %(allowed)s) as allowed
          from account where id = any (%(accounts)s::bigint[])) q
         join rate_window w on w.account_id = q.account and w.kind = 'bandwidth' and w.subject = ''
              and w.window_start = date_trunc('month', now() at time zone 'utc') at time zone 'utc'
    where q.allowed > 0 and w.amount * 10 > q.allowed * 9
"""


@dataclass(frozen=True, slots=True)
class Made:
    """How much was written."""

    records: int = 0
    notices: int = 0


class ChronicleStore:
    """The chronicle's own connection. Every method raises Unavailable when the database is in trouble.

    random: so many unpredictable octets. lag: entries younger than that wait, as one that was begun earlier may still
    be on its way; at least twice as long as a statement of those who write may take.
    """

    def __init__(
        self, dsn: str, vault: Vault, random: Callable[[int], bytes], lag: timedelta, batch_rows: int = 2000
    ) -> None:
        self._leader = Leader(dsn, _LOCK, "chronicle")
        self._vault = vault
        self._random = random
        self._lag = lag
        self._batch_rows = batch_rows

    async def lead(self) -> bool:
        """True: this process is the one that reads, until its connection ends. Connects when needed."""
        return await self._leader.lead()

    async def close(self) -> None:
        """Give up the lead; another `lead` connects again."""
        await self._leader.close()

    async def position(self, since: datetime) -> LedgerId:
        """The last entry that was read; where there is none yet, what came before `since` is taken as read."""
        values = {"source": _SOURCE, "since": since}
        rows = await self._leader.rows(_POSITION, values)
        if not rows:
            async with self._leader.transaction() as conn:
                await conn.execute(_START, values)
            rows = await self._leader.rows(_POSITION, values)
        return LedgerId(int(rows[0][0]))

    async def piece(self, after: LedgerId) -> Page:
        """The next entries of the ledger."""
        bounds = {"after": after, "limit": self._batch_rows, "lag": self._lag}
        [(upto, more, accounts, forwarded, late_seconds)] = await self._leader.rows(_PIECE, bounds)
        found = await self._entries(_ENTRIES, after, upto) if upto > after else []
        queued = [entry.id for entry in found if entry.outcome == "queued"]
        ended = [entry for entry in found if entry.outcome != "queued"]
        return Page(ended, after, LedgerId(upto), more, queued, accounts, float(late_seconds), forwarded)

    async def open_piece(self, after: LedgerId) -> Page:
        """Those of the entries that were queued, some after another, that have their end by now."""
        bounds = {"after": after, "limit": self._batch_rows}
        [(upto, more)] = await self._leader.rows(_OPEN_PIECE, bounds)
        found = await self._entries(_OPEN_ENTRIES, after, upto) if upto > after else []
        forwarded = sum(entry.outcome == "delivered" and entry.kind is EmailType.FORWARD for entry in found)
        return Page(found, after, LedgerId(upto), more, forwarded=forwarded)

    async def near_limit(self, accounts: Sequence[AccountId], default_octets: int) -> Mapping[AccountId, int]:
        """Of these accounts those that used more than nine tenths of this month's bandwidth, with the percentage."""
        values = {"accounts": list(accounts), "allowed": default_octets}
        return {AccountId(row[0]): int(row[1]) for row in await self._leader.rows(_NEAR_LIMIT, values)}

    async def write(self, page: Page, told: Sequence[Told], notices: Sequence[Notice] = ()) -> Made:
        """What a piece of the ledger gives rise to, and that it has been read. notices: besides those of the entries.

        Raises Unavailable also if somebody else has read it, or if an account is being removed at this moment.
        """
        values = {"source": _SOURCE, "after": page.after, "upto": page.upto}
        try:
            async with self._leader.transaction() as conn:
                if page.upto > page.after and not await _all(conn, _MOVE, values):
                    raise Unavailable("somebody else reads the ledger as well")
                if page.forwarded:
                    await conn.execute(_COUNT, {"n": page.forwarded})
                if page.queued:
                    await conn.execute(_LEAVE_OPEN, {"ids": list(page.queued)})
                return await self._effects(conn, told, notices)
        except ForeignKeyViolation as error:
            raise Unavailable(f"the chronicle cannot be written: {constraint(error)}") from error

    async def write_open(self, page: Page, told: Sequence[Told]) -> Made:
        """The same of entries that had been queued."""
        ids = [entry.id for entry in page.entries]
        try:
            async with self._leader.transaction() as conn:
                await conn.execute(_FORGET, {"after": page.after, "upto": page.upto})
                if len(await _all(conn, _CLOSE, {"ids": ids})) != len(ids):
                    raise Unavailable("somebody else reads the ledger as well")
                if page.forwarded:
                    await conn.execute(_COUNT, {"n": page.forwarded})
                return await self._effects(conn, told, ())
        except ForeignKeyViolation as error:
            raise Unavailable(f"the chronicle cannot be written: {constraint(error)}") from error

    async def _entries(self, query: LiteralString, after: LedgerId, upto: int) -> list[Entry]:
        rows = await self._leader.rows(query, {"after": after, "upto": upto})
        return [_entry(row) for row in rows]

    async def _effects(self, conn: AsyncConnection[TupleRow], told: Sequence[Told], notices: Sequence[Notice]) -> Made:
        recorded = {record_uuid("ledger", one.entry.id): one for one in told if one.record is not None}
        records = [self._record(n, uuid, one) for n, (uuid, one) in enumerate(recorded.items())]
        values = {"records": json.dumps(records), "key_id": self._vault.key_id}
        made = await _all(conn, _RECORD, values) if records else []
        posted = [*notices, *(notice for one in told for notice in one.notices)]
        for number, uuid, wanted in made:
            record = recorded[uuid].record
            account_id = recorded[uuid].entry.account_id
            if wanted and record is not None and record.notify:
                posted.append(Notice(Code.FDN, account_id, record.tell, data={"failed_id": number}))
        if posted:
            jobs = [{"payload": notice.to_json(), "key": notice.dedupe_key} for notice in posted]
            await conn.execute(_POST, {"kind": NOTICE, "notices": json.dumps(jobs)})
        events = [
            {"event": one.event.value, "account": one.account_id, "said": one.said}
            for each in told
            for one in each.announcements
        ]
        if events:
            await conn.execute(_ANNOUNCE, {"events": json.dumps(events)})
        return Made(len(made), len(posted))

    def _record(self, n: int, uuid: UUID, told: Told) -> dict[str, object]:
        entry, record = told.entry, told.record
        assert record is not None  # those without one were left out
        return {
            "n": n,
            "uuid": str(uuid),
            "account": entry.account_id,
            "alias": entry.alias_id,
            "recipient": record.recipient_id,
            "outbound": None if entry.outbound_id is None else signed(entry.outbound_id),
            "type": record.email_type[:8],
            "bounce_type": record.bounce_type.value,
            "status": record.status[:10],
            "code": _ascii(record.code, 500),
            "remote_mta": _ascii(record.remote_mta, 500),
            "sender": self._seal("author", uuid, record.sender or "<>"),
            "destination": self._seal("destination", uuid, record.destination),
            "ir_key": record.ir_key,
            "at": entry.at.isoformat(),
        }

    def _seal(self, column: str, record: UUID, clear: str) -> str:
        """As JSON can hold it for PostgreSQL."""
        nonce = self._random(NONCE_OCTETS)
        return f"\\x{seal(self._vault, nonce, place(column, record), clear.encode('utf-8', 'replace')).hex()}"


def _entry(row: TupleRow) -> Entry:
    number, at, outcome, reason, rcpt, sender, client, queue_id, message_id, size_octets, *more = row
    account_id, alias_id, alias, alias_uuid, recipient_id, recipient_uuid, came_in, was_held, *rest = more
    behaviour, rule, quarantine, outbound_id, kind, destination, notice, note = rest
    return Entry(
        LedgerId(number),
        at,
        outcome,
        Reason(reason) if reason in _REASONS else None,
        rcpt,
        sender,
        client or "",
        queue_id,
        message_id or "",
        size_octets,
        None if account_id is None else AccountId(account_id),
        None if alias_id is None else AliasId(alias_id),
        alias,
        alias_uuid,
        RecipientId(recipient_id) if recipient_id > 0 else None,
        recipient_uuid,
        came_in,
        bool(was_held),
        behaviour,
        rule or "",
        None if quarantine is None else FailedId(quarantine),
        None if outbound_id is None else unsigned(outbound_id),
        None if kind is None else EmailType(kind),
        destination or "",
        notice or "",
        note or "",
    )


_REASONS = frozenset(reason.value for reason in Reason)


def _ascii(text: str, octets: int) -> str:
    """As spec section 7.6 has it."""
    return storable(text.encode("ascii", "replace").decode("ascii"), octets)


async def _all(conn: AsyncConnection[TupleRow], query: LiteralString, values: Mapping[str, Any]) -> list[TupleRow]:
    return await (await conn.execute(query, values)).fetchall()
