"""Reading the ledger, for the story of a message."""

from dataclasses import dataclass, replace
from typing import LiteralString

from mailrelay.core.ledger import OutboundId
from mailrelay.core.trace import Sought, TraceEntry
from mailrelay.store.database import Database
from mailrelay.store.ledger import signed, unsigned
from mailrelay.store.manage import OWNER_NAME, records

# Every branch has an index, except the outgoing queue id: outbound, which holds 14 days, is read through for that,
# and only if nothing else was found.
_STORY: LiteralString = f"""
    with direct as materialized (
        select id from ledger where queue_id = %(queue_id)s and queue_id <> ''
        union select id from ledger where message_id = any(%(message_ids)s::text[])
        union (select id from ledger where rcpt = %(rcpt)s and rcpt <> '' order by at desc limit %(limit)s)
        union select id from ledger where outbound_id = %(outbound)s
    ), found as (
        select id from direct
        union all
        select l.id from outbound o join ledger l on l.outbound_id = o.id
        where %(queue_id)s <> '' and not exists (select from direct) and o.outbound_queue_id = %(queue_id)s
    ), latest as (
        select id from found order by id desc limit %(limit)s
    )
    select l.id, l.at, l.queue_id, l.message_id, l.sender, l.rcpt, host(l.client_address) as client_address,
           l.size_octets, case when acc.id is not null then {OWNER_NAME} end as account, l.alias_id,
           a.uuid as alias_uuid, a.local_part || '@' || a.domain as alias, l.outcome, l.reason, l.mode, l.finished_at,
           l.outbound_id, o.email_type, o.destination, o.outbound_queue_id, o.bounced_at, o.bounce_status,
           o.bounce_text, o.sent_at, o.remote, o.notice, h.id as held_id, h.quarantined, s.expires_at as held_until,
           f.id as failed_id, f.is_stored as failed_stored, f.bounce_type, told.*,
           once.id as resend_of
    from latest join ledger l on l.id = latest.id
    left join alias a on a.id = l.alias_id
    left join account acc on acc.id = l.account_id
    left join outbound o on o.id = l.outbound_id
    left join failed_delivery h on h.ledger_id = l.id
    left join failed_delivery once on once.uuid = encode(l.ingress_key, 'hex')::uuid
    left join stored_message s on s.failed_delivery_id = h.id
    left join lateral (
        select id, is_stored, bounce_type from failed_delivery
        where l.outbound_id is not null and outbound_id = l.outbound_id order by id limit 1
    ) f on true
    left join lateral (
        select n.destination as told_to, e.at as told_at, e.outcome as told_outcome,
               n.outbound_queue_id as told_queue_id, n.sent_at as told_sent_at, n.bounced_at as told_bounced_at
        from ledger e join outbound n on n.id = e.outbound_id
        where e.ingress_key = substr(sha256(convert_to('notice:' || coalesce(h.id, f.id), 'UTF8')), 1, 16)
        limit 1
    ) told on true
    order by l.id
"""


@dataclass(frozen=True, slots=True)
class LedgerReader:
    """The reading side of the ledger."""

    database: Database

    async def story(self, sought: Sought, limit: int) -> list[TraceEntry]:
        """The last entries that match, in the order of time."""
        values = {
            "queue_id": sought.queue_id,
            "message_ids": list(sought.message_ids),
            "rcpt": sought.rcpt,
            "outbound": None if sought.outbound_id is None else signed(sought.outbound_id),
            "limit": limit,
        }
        found = await records(self.database, TraceEntry, _STORY, values)
        return [
            entry if entry.outbound_id is None else replace(entry, outbound_id=OutboundId(unsigned(entry.outbound_id)))
            for entry in found
        ]
