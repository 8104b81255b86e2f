"""Writing the ledger: every statement takes many entries, so that concurrent messages share it."""

import json
from collections.abc import Sequence

from psycopg.rows import TupleRow

from mailrelay.core.address import Address
from mailrelay.core.errors import Unavailable
from mailrelay.core.ledger import (
    Closing,
    Ending,
    Envelope,
    Opened,
    Opening,
    OutboundCopy,
    OutboundId,
    Sent,
    Tally,
    storable,
)
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database

# What every entry has; as JSON, which costs half of what as many arrays do.
_ENTRY = """
    n int, key bytea, queue_id text, message_id text, account_id bigint, alias_id bigint, rcpt text, sender text,
    client inet, size bigint, recipient_id bigint, fingerprint bigint"""

# The ledger row is the idempotency record: only who inserts it writes the outbound row as well. Rows that were there
# before are read in the same statement; one that another transaction inserts meanwhile shows as neither.
_OPEN = f"""
    with q as (
        select * from json_to_recordset(%(entries)s) as q(
            {_ENTRY}, outbound_id bigint, destination text, type text, mode text, notice text,
            encrypted boolean)
    ), fresh as (
        insert into ledger (ingress_key, queue_id, message_id, account_id, alias_id, rcpt, sender, client_address,
                            size_octets, recipient_id, fingerprint, outbound_id, outcome, mode)
        select key, queue_id, nullif(message_id, ''), account_id, alias_id, rcpt, sender, client, size, recipient_id,
               fingerprint, outbound_id, 'queued', mode
        from q order by n
        on conflict on constraint ledger_once do nothing
        returning outbound_id
    ), sent as (
        insert into outbound (id, account_id, alias_id, recipient_id, destination, email_type, mode, ingress_queue_id,
                              notice, encrypted)
        select q.outbound_id, q.account_id, q.alias_id, nullif(greatest(q.recipient_id, 0), 0), q.destination, q.type,
               coalesce(q.mode, 'rewrite'), q.queue_id, q.notice, q.encrypted
        from q join fresh on fresh.outbound_id = q.outbound_id
    )
    select fresh.outbound_id is not null, l.outbound_id, l.outcome
    from q left join fresh on fresh.outbound_id = q.outbound_id
    left join lateral (
        -- A copy that was given up with the queue, and is tried after all, is open again.
        select outbound_id, case reason when 'expired_in_queue' then 'queued' else outcome end as outcome from ledger
        where fresh.outbound_id is null
          and ledger.ingress_key = q.key and ledger.rcpt = q.rcpt and ledger.recipient_id = q.recipient_id
    ) l on true
    order by q.n
"""

_CLOSE = """
    with c as (
        select * from json_to_recordset(%(closings)s) as c(
            id bigint, outcome text, reason text, queue_id text, note text, ban_id bigint)
    ), t as (
        select * from json_to_recordset(%(tallies)s) as t(
            account_id bigint, alias_id bigint, org text, octets bigint, type text, contact text, is_new bool,
            automatic bool, our_id text, original_id text)
    ), entries as (
        update ledger set outcome = c.outcome, reason = nullif(c.reason, ''), finished_at = now()
        from c
        where ledger.outbound_id = c.id and (ledger.outcome = 'queued' or ledger.reason = 'expired_in_queue')
        returning c.ban_id
    ), sent as (
        update outbound
        set outbound_queue_id = nullif(c.queue_id, ''), bounce_text = coalesce(nullif(c.note, ''), bounce_text)
        from c where outbound.id = c.id
    ), forwarded as (
        update alias
        set emails_forwarded = alias.emails_forwarded + s.forwards,
            emails_replied = alias.emails_replied + s.replies,
            emails_sent = alias.emails_sent + s.sends,
            last_forwarded = case when s.dated and s.forwards > 0 then now() else alias.last_forwarded end,
            last_replied = case when s.dated and s.replies > 0 then now() else alias.last_replied end,
            last_sent = case when s.dated and s.sends > 0 then now() else alias.last_sent end
        from (
            select alias.id, g.forwards, g.replies, g.sends, account.save_alias_last_used as dated
            from (select alias_id, account_id, count(*) filter (where type = 'F') as forwards,
                         count(*) filter (where type = 'R') as replies, count(*) filter (where type = 'S') as sends
                  from t group by alias_id, account_id) g
                 join account on account.id = g.account_id join alias on alias.id = g.alias_id
            order by alias.id for no key update of alias
        ) s
        where alias.id = s.id
        returning 1
    ), bans as (
        update ban set hits = ban.hits + s.n, last_hit_at = now()
        from (
            select ban.id, g.n
            from (select ban_id, count(*) as n from entries where ban_id is not null group by 1) g
                 join ban on ban.id = g.ban_id
            where (select count(*) from forwarded) >= 0
            order by ban.id for no key update of ban
        ) s
        where ban.id = s.id
    ), contacts as (
        insert into contact (account_id, alias_id, address, last_sent_at)
        select distinct t.account_id, t.alias_id, t.contact, now()
        from t join alias on alias.id = t.alias_id and alias.account_id = t.account_id
        where t.contact <> '' order by alias_id, contact
        on conflict on constraint contact_address_unique do update set last_sent_at = now()
    ), ids as (
        insert into message_id (account_id, alias_id, our_id, original_id)
        select distinct on (t.alias_id, t.our_id) t.account_id, t.alias_id, t.our_id, t.original_id
        from t join alias on alias.id = t.alias_id and alias.account_id = t.account_id
        where t.original_id is not null order by t.alias_id, t.our_id
        on conflict on constraint message_id_ours_unique do nothing
    ), amounts as (
        select account_id, 'message' as kind, '' as subject, date_trunc('minute', now()) as at, count(*) as amount
        from t group by account_id
        union all
        select account_id, 'message', org, date_trunc('minute', now()), count(*)
        from t where org <> '' group by account_id, org
        union all
        select account_id, 'bandwidth', '', date_trunc('month', now() at time zone 'utc') at time zone 'utc',
               sum(octets)
        from t group by account_id
        union all
        select account_id, 'bandwidth', org, date_trunc('month', now() at time zone 'utc') at time zone 'utc',
               sum(octets)
        from t where org <> '' group by account_id, org
        union all
        select account_id, 'reply_send', '', date_trunc('minute', now()), count(*)
        from t where contact <> '' group by account_id
        union all
        select account_id, 'new_contact', '', date_trunc('minute', now()), count(distinct (alias_id, contact))
        from t where is_new and type = 'S' group by account_id
        union all
        select account_id, 'auto_reply', alias_id || ' ' || contact, date_trunc('minute', now()), count(*)
        from t where automatic group by account_id, alias_id, contact
        union all
        select account_id, 'day', type, date_trunc('day', now() at time zone 'utc') at time zone 'utc', count(*)
        from t group by account_id, type
    )
    insert into rate_window (account_id, kind, subject, window_start, amount)
    select account_id, kind, subject, at, amount from amounts order by account_id, kind, subject
    on conflict on constraint rate_window_pkey do update set amount = rate_window.amount + excluded.amount
"""

# Locks: the alias first, then its owner's block list, as whoever takes a sender off the list does.
_END = f"""
    with q as (
        select * from json_to_recordset(%(entries)s) as q(
            {_ENTRY}, outcome text, reason text, counted_alias bigint, ban_id bigint, blocked_by bigint)
    ), fresh as (
        insert into ledger (ingress_key, queue_id, message_id, account_id, alias_id, rcpt, sender, client_address,
                            size_octets, recipient_id, fingerprint, outcome, reason, finished_at)
        select key, queue_id, nullif(message_id, ''), account_id, alias_id, rcpt, sender, client, size, recipient_id,
               fingerprint, outcome, reason, now()
        from q order by n
        on conflict on constraint ledger_once do nothing
        returning ingress_key, rcpt
    ), counted as (
        select distinct on (q.key, q.rcpt) q.*
        from q join fresh on fresh.ingress_key = q.key and fresh.rcpt = q.rcpt
        order by q.key, q.rcpt, q.n
    ), aliases as (
        update alias
        set emails_blocked = alias.emails_blocked + s.n, last_blocked = now()
        from (
            select alias.id, g.n
            from (select counted_alias, count(*) as n from counted group by 1) g
                 join alias on alias.id = g.counted_alias
            order by alias.id for no key update of alias
        ) s
        where alias.id = s.id
        returning 1
    ), bans as (
        update ban set hits = ban.hits + s.n, last_hit_at = now()
        from (
            select ban.id, g.n
            from (select ban_id, count(*) as n from counted group by 1) g join ban on ban.id = g.ban_id
            where (select count(*) from aliases) >= 0
            order by ban.id for no key update of ban
        ) s
        where ban.id = s.id
        returning 1
    )
    update blocked_sender set blocked = blocked_sender.blocked + s.n, last_blocked = now()
    from (
        select blocked_sender.id, g.n
        from (select blocked_by, count(*) as n from counted group by 1) g
             join blocked_sender on blocked_sender.id = g.blocked_by
        where (select count(*) from bans) >= 0
        order by blocked_sender.id for no key update of blocked_sender
    ) s
    where blocked_sender.id = s.id
"""

_BOUNCED = """
    with noted as (
        update outbound
        set bounced_at = coalesce(bounced_at, now()), bounce_status = coalesce(bounce_status, %(status)s),
            bounce_text = coalesce(bounce_text, %(text)s), bounce_count = bounce_count + 1
        where id = %(id)s returning id
    )
    update ledger set outcome = 'failed', reason = 'bounce', finished_at = now()
    from noted where ledger.outbound_id = noted.id and ledger.outcome in ('queued', 'delivered')
"""

_OUTBOUND = """
    select o.id, o.email_type, o.mode, o.destination, o.created_at, o.account_id, o.alias_id, o.recipient_id,
           a.local_part, a.domain, coalesce(l.sender, '')
    from outbound o
    left join alias a on a.id = o.alias_id and a.account_id = o.account_id
    left join lateral (select sender from ledger where outbound_id = o.id limit 1) l on true
    where o.id = any (%(ids)s::bigint[])
"""


class Ledger:
    """The writing side of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, openings: Sequence[Opening]) -> list[Opened | Unavailable]:
        """Register copies before they are handed over. What was registered before comes back with its outcome.

        Unavailable in place of an answer: the same copy is being registered by somebody else at this moment.
        """
        entries = [
            {
                **_entry(n, opening.envelope, opening.recipient_id),
                "outbound_id": signed(opening.outbound_id),
                "destination": storable(opening.destination),
                "type": opening.type.value,
                "mode": opening.mode,
                "notice": opening.notice,
                "encrypted": opening.encrypted,
            }
            for n, opening in enumerate(openings)
        ]
        rows = await self._database.rows(_OPEN, {"entries": json.dumps(entries)})
        opened: list[Opened | Unavailable] = []
        for opening, (fresh, outbound_id, outcome) in zip(openings, rows, strict=True):
            if fresh:
                opened.append(Opened(opening.outbound_id, None))
            elif outcome is None:
                opened.append(Unavailable("the same copy is being registered twice at once"))
            else:
                known = opening.outbound_id if outbound_id is None else unsigned(outbound_id)
                opened.append(Opened(known, outcome))
        return opened

    async def close(self, batches: Sequence[tuple[Sequence[Closing], Tally | None]]) -> list[None]:
        """Write what came of copies; with a tally also the counters of their recipient."""
        closings = [
            {
                "id": signed(closing.outbound_id),
                "outcome": closing.outcome,
                "reason": closing.reason.value if closing.reason else "",
                "queue_id": storable(closing.queue_id),
                "note": storable(closing.note, 500),
                "ban_id": closing.ban_id,
            }
            for batch, _ in batches
            for closing in batch
        ]
        tallies = [
            {
                "account_id": tally.account_id,
                "alias_id": tally.alias_id,
                "org": storable(tally.sender_org),
                "octets": tally.octets,
                **_sent(tally.sent),
            }
            for _, tally in batches
            if tally is not None
        ]
        await self._database.rows(_CLOSE, {"closings": json.dumps(closings), "tallies": json.dumps(tallies)})
        return [None] * len(batches)

    async def end(self, endings: Sequence[Ending]) -> list[None]:
        """Write recipients without a copy. A repeated one counts nothing."""
        entries = [
            {
                **_entry(n, ending.envelope, 0),
                "outcome": ending.outcome,
                "reason": ending.reason.value,
                "counted_alias": ending.counted_alias,
                "ban_id": ending.ban_id,
                "blocked_by": ending.blocked_by,
            }
            for n, ending in enumerate(endings)
        ]
        await self._database.rows(_END, {"entries": json.dumps(entries)})
        return [None] * len(endings)

    async def bounced(self, outbound_id: OutboundId, status: str, text: str) -> None:
        """Note a failure report on its copy; the first one's words stay."""
        values = {"id": signed(outbound_id), "status": storable(status, 20), "text": storable(text, 500)}
        await self._database.rows(_BOUNCED, values)

    async def outbound(self, ids: Sequence[OutboundId]) -> list[OutboundCopy | None]:
        """The copies as they were recorded; None for those that are not any more."""
        rows = await self._database.rows(_OUTBOUND, {"ids": [signed(outbound_id) for outbound_id in ids]})
        known = {(found := _outbound(row)).id: found for row in rows}
        return [known.get(outbound_id) for outbound_id in ids]


def _outbound(row: TupleRow) -> OutboundCopy:
    number, kind, made, destination, created_at, account_id, alias_id, recipient_id, local, domain, sender = row
    return OutboundCopy(
        unsigned(number),
        EmailType(kind),
        made,
        destination,
        created_at,
        account_id,
        alias_id,
        recipient_id,
        None if local is None else Address(local, domain),
        sender,
    )


def _entry(n: int, envelope: Envelope, recipient_id: int) -> dict[str, object]:
    return {
        "n": n,
        "key": f"\\x{envelope.key.hex()}",
        "queue_id": storable(envelope.queue_id, 100),
        "message_id": storable(envelope.message_id, 998),
        "account_id": envelope.account_id,
        "alias_id": envelope.alias_id,
        "rcpt": storable(envelope.rcpt),
        "sender": storable(envelope.sender),
        "client": envelope.client_address,
        "size": envelope.size_octets,
        "recipient_id": recipient_id,
        "fingerprint": envelope.fingerprint,
    }


def _sent(sent: Sent | None) -> dict[str, object]:
    if sent is None:
        return {"type": EmailType.FORWARD.value, "contact": "", "is_new": False, "automatic": False}
    return {
        "type": sent.type.value,
        "contact": storable(sent.contact),
        "is_new": sent.is_new,
        "automatic": sent.automatic,
        "our_id": storable(sent.our_id, 998),
        "original_id": None if sent.original_id is None else storable(sent.original_id, 998),
    }


def signed(outbound_id: OutboundId) -> int:
    """The same 64 bits as PostgreSQL's bigint."""
    return outbound_id - (1 << 64) if outbound_id >= 1 << 63 else outbound_id


def unsigned(column: int) -> OutboundId:
    """The other way round."""
    return OutboundId(column + (1 << 64) if column < 0 else column)
