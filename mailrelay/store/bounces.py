"""Bounces: one statement writes what one report changes (spec sections 7.5 and 7.6).

Mail to a recipient that fails is the subject of store/failing.py; what makes one fail is also in core/failing.py.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg.errors import ForeignKeyViolation

from mailrelay.core.bounced import Bounced, Recorded
from mailrelay.core.errors import Unavailable
from mailrelay.core.failed import KEPT_FOR, FailedId, record_uuid
from mailrelay.core.failing import (
    GONE,
    HARD_FAILURES,
    REMEMBERED_FOR,
    SPAM_FAILURES,
    SPAM_WITHIN,
    SUPPRESSED_FOR,
    UNKNOWN_CONTACT,
)
from mailrelay.core.held import place
from mailrelay.core.jobs import ALIAS_BOUNCES
from mailrelay.core.ledger import storable
from mailrelay.core.notices import SILENT_BOUNCES
from mailrelay.core.sealed import NONCE_OCTETS, Vault, seal
from mailrelay.store.database import Database, compact, constraint
from mailrelay.store.jobs import ONE_THAT_WAITS
from mailrelay.store.ledger import signed

_INLINE_OCTETS = 256 * 1024

# Somebody reads the mail log: a copy that arrived is known to have arrived.
WATCHED: LiteralString = "exists (select from log_position where updated_at > now() - interval '1 day')"

# Locks come in the order in which store/ledger.py takes them when it closes copies (contact, alias, copy, entry), as a
# bounce may be faster than the closing of the very copy. Whoever is first to count a report on the copy does all else.
# `resent`: the ledger has the copy under the key that is made of a record's uuid, see core/failed.py.
_COPY: LiteralString = """
    contact_lock as materialized (
        select from contact where %(type)s in ('R', 'S') and alias_id = %(alias)s and address = %(destination)s
        for no key update
    ), alias_lock as materialized (
        select from alias where id = %(alias)s and (select count(*) from contact_lock) >= 0 for no key update
    ), copy as (
        update outbound
        set bounced_at = coalesce(bounced_at, now()), bounce_status = coalesce(bounce_status, %(status)s),
            bounce_text = coalesce(bounce_text, %(text)s), bounce_count = bounce_count + 1
        where id = %(id)s and (select count(*) from alias_lock) >= 0
        returning id, account_id, alias_id, recipient_id, notice, created_at, bounce_count = 1 as first
    ), entry as (
        update ledger set outcome = 'failed', reason = 'bounce', finished_at = now()
        from copy
        where copy.first and ledger.outbound_id = copy.id and ledger.outcome in ('queued', 'delivered')
        returning ledger.id, ledger.ingress_key, ledger.rcpt
    ), whose as (
        select copy.*, account.store_failed_deliveries as stores, account.auto_disable_bouncing_alias as disables,
               account.failed_delivery_notification_preference in (0, 1) as is_told, account.default_recipient_id,
               exists (select from failed_delivery f
                       where f.uuid = (select encode(ingress_key, 'hex')::uuid from entry limit 1)) as resent
        from copy join account on account.id = copy.account_id
        where copy.first
    )"""

# Counters go back by one; those of a resend were never counted. `rcpt || ''` keeps the planner from the index on
# recipients, where it would read all that the address ever got.
_COUNTERS: LiteralString = """
    uncounted as (
        update alias
        set emails_forwarded = greatest(0, emails_forwarded - (%(type)s = 'F')::int),
            emails_replied = greatest(0, emails_replied - (%(type)s = 'R')::int),
            emails_sent = greatest(0, emails_sent - (%(type)s = 'S')::int)
        from whose, entry
        where alias.id = whose.alias_id and %(type)s <> 'N' and not whose.resent
          and (%(type)s <> 'F' or not exists (
              select from ledger other
              where other.ingress_key = entry.ingress_key and other.rcpt || '' = entry.rcpt
                and other.recipient_id <> 0 and other.id <> entry.id))
    ), windows as (
        insert into rate_window (account_id, kind, subject, window_start, amount)
        select account_id, kind, subject, date_trunc('hour', now()), 1
        from (
            select account_id, 'bounce' as kind, alias_id::text as subject from whose where alias_id is not null
            union all
            select account_id, 'spam_bounce', recipient_id::text from whose
            where recipient_id is not null and %(bounce_type)s = 'spam'
        ) w
        where %(type)s = 'F' order by kind, subject
        on conflict on constraint rate_window_pkey do update set amount = rate_window.amount + 1
        returning kind, amount
    )"""

# A report about an address that the recipient no longer has says nothing about the one it has now. No failure is both
# hard and spam, so each of these two updates has the row to itself.
_RECIPIENT: LiteralString = f"""
    health as (
        update recipient r
        set (hard_failures, first_hard_failure_at, failing_since) = (
            select n, first_at, coalesce(r.failing_since, case
                when %(gone)s and coalesce(r.last_success_at, '-infinity') < now() - %(remembered)s::interval
                     and {WATCHED}
                     or n >= %(hard_failures)s
                        and (first_at at time zone 'utc')::date <> (now() at time zone 'utc')::date then now() end)
            from (
                select case when r.first_hard_failure_at >= now() - %(remembered)s::interval
                            then r.hard_failures + 1 else 1 end as n,
                       case when r.first_hard_failure_at >= now() - %(remembered)s::interval
                            then r.first_hard_failure_at else now() end as first_at
            ) f)
        from whose
        where %(type)s = 'F' and %(bounce_type)s = 'hard' and (%(gone)s or {WATCHED})
          and r.id = whose.recipient_id and r.account_id = whose.account_id
          and r.address_folded = lower(%(destination)s::text collate "C")
    ), tagged as (
        update recipient r set quarantines_tagged_at = now()
        from whose, windows
        where windows.kind = 'spam_bounce' and r.quarantines_tagged_at is null
          and r.id = whose.recipient_id and r.account_id = whose.account_id
          and r.address_folded = lower(%(destination)s::text collate "C")
          and windows.amount + (
              select coalesce(sum(amount), 0) from rate_window earlier
              where earlier.account_id = whose.account_id and earlier.kind = 'spam_bounce'
                and earlier.subject = whose.recipient_id::text
                and earlier.window_start > now() - %(spam_within)s::interval
                and earlier.window_start < date_trunc('hour', now())) >= %(spam_failures)s
    )"""

# `failures in a row`: since a message arrived there, as the mail log tells, or since seven days without a failure.
_CONTACT: LiteralString = """
    stale as (
        select exists (select from contact
                       where alias_id = %(alias)s and address = %(destination)s and hard_failures > 0)
            and not exists (
                select from failed_delivery f join outbound o on o.id = f.outbound_id
                where f.alias_id = %(alias)s and f.email_type in ('R', 'S') and f.bounce_type = 'hard'
                  and f.created_at > now() - %(suppressed_for)s::interval and o.destination = %(destination)s) as yes
    ), suppressed as (
        insert into contact (account_id, alias_id, address, hard_failures, suppressed_until, suppressed_reason)
        select whose.account_id, alias.id, %(destination)s, 1,
               case when %(unknown)s then now() + %(suppressed_for)s::interval end,
               case when %(unknown)s then %(code)s end
        from whose join alias on alias.id = whose.alias_id and alias.account_id = whose.account_id
        where %(type)s in ('R', 'S') and %(bounce_type)s = 'hard'
        on conflict on constraint contact_address_unique do update
        set (hard_failures, suppressed_until, suppressed_reason) = (
            select n, case when on_ then now() + %(suppressed_for)s::interval else contact.suppressed_until end,
                   case when on_ then %(code)s else contact.suppressed_reason end
            from (select case when yes then 1 else contact.hard_failures + 1 end as n from stale) f,
                 lateral (select %(unknown)s or n >= %(hard_failures)s as on_) g)
    )"""

_RECORD: LiteralString = """
    fits as (
        select %(content)s::bytea is not null and whose.stores and not whose.resent and %(type)s <> 'N'
               and %(octets)s + (select coalesce(sum(size_octets), 0) from stored_message
                                 where account_id = whose.account_id) <= %(room)s as stored
        from whose
    ), record as (
        insert into failed_delivery (uuid, account_id, alias_id, recipient_id, outbound_id, email_type, bounce_type,
                                     status, code, remote_mta, sender, destination, subject, key_id, is_stored,
                                     attempted_at)
        select %(uuid)s, whose.account_id,
               (select id from alias where id = whose.alias_id and account_id = whose.account_id),
               (select id from recipient where id = whose.recipient_id and account_id = whose.account_id),
               whose.id, case %(type)s when 'N' then left(coalesce(whose.notice, 'N'), 8) else %(type)s end,
               %(bounce_type)s, nullif(%(status)s, ''), nullif(%(code)s, ''), %(remote)s, %(author)s,
               %(sealed_destination)s, %(subject)s, %(key_id)s, fits.stored, whose.created_at
        from whose, fits
        on conflict on constraint failed_delivery_uuid_unique do nothing
        returning id, is_stored
    ), kept as (
        insert into stored_message (account_id, failed_delivery_id, kind, content, evidence, key_id, size_octets,
                                    partial, expires_at)
        select whose.account_id, record.id, 'failed', %(content)s, %(evidence)s, %(key_id)s, %(octets)s,
               %(partial)s, now() + %(kept_for)s::interval
        from whose, record where record.is_stored
    )"""

# Whoever wrote a reply hears of it; whose mailbox took a message for spam as well, as notices may arrive there. Else
# somebody else of the account: what the mailbox refused would be refused again.
_JOBS: LiteralString = f"""
    jobs as (
        insert into job (kind, payload, dedupe_key)
        select 'notice',
               jsonb_build_object('code', 'FDN', 'account_id', whose.account_id, 'recipient_id', case
                   when %(type)s in ('R', 'S') or %(bounce_type)s = 'spam' then whose.recipient_id
                   else (
                       select r.id from recipient r
                       where r.account_id = whose.account_id and r.verified_at is not null and not r.pending
                         and r.failing_since is null and r.id is distinct from whose.recipient_id
                       order by r.id <> whose.default_recipient_id, r.id limit 1)
               end, 'about', '', 'data', jsonb_build_object('failed_id', record.id)),
               'notice:FDN:failed:' || record.id
        from whose, record
        where whose.is_told and not (%(type)s = 'N' and coalesce(whose.notice, '') = any (%(silent)s::text[]))
        union all
        select '{ALIAS_BOUNCES}', jsonb_build_object('account_id', account_id, 'alias_id', alias_id),
               '{ALIAS_BOUNCES}:' || alias_id
        from whose where disables and %(type)s = 'F' and alias_id is not null
        {ONE_THAT_WAITS}
    )"""

_BOUNCED = compact(f"""
    with {_COPY}, {_COUNTERS}, {_RECIPIENT}, {_CONTACT}, {_RECORD}, {_JOBS}
    select copy.first, record.id from copy left join record on true
""")

_KNOWN = "select id from failed_delivery where uuid = %(uuid)s"


@dataclass(frozen=True, slots=True)
class BounceStore:
    """random: so many unpredictable octets. room_octets: what an account's stored messages may take together."""

    database: Database
    vault: Vault
    random: Callable[[int], bytes]
    room_octets: int = 256 * 1024 * 1024

    async def record(self, bounced: Bounced) -> Recorded:
        """Write a bounce and all that follows from it, in one statement. Repeated, it only counts the report.

        Raises Unavailable, also when the account or alias is being removed at this moment.
        """
        values = await self._values(bounced)
        try:
            row = await self.database.row(_BOUNCED, values)
        except ForeignKeyViolation as error:
            raise Unavailable(f"a bounce cannot be recorded: {constraint(error)}") from error
        first, failed_id = row if row is not None else (False, None)
        if failed_id is None and bounced.copy.account_id is not None:
            known = await self.database.row(_KNOWN, {"uuid": values["uuid"]})
            failed_id = known[0] if known is not None else None
        return Recorded(first, None if failed_id is None else FailedId(failed_id))

    async def _values(self, bounced: Bounced) -> dict[str, Any]:
        copy, failure, content = bounced.copy, bounced.failure, bounced.content
        record = record_uuid("bounce", copy.id)
        code = storable(failure.code.encode("ascii", "replace").decode("ascii"), 500)
        return {
            "id": signed(copy.id),
            "type": copy.type.value,
            "alias": copy.alias_id,
            "destination": storable(copy.destination),
            "status": storable(failure.status.encode("ascii", "replace").decode("ascii"), 10),
            "text": storable(failure.code, 500),
            "code": code,
            "remote": storable(failure.remote_mta or bounced.host, 255),
            "bounce_type": failure.type.value,
            "gone": failure.status in GONE,
            "unknown": failure.status in UNKNOWN_CONTACT,
            "remembered": REMEMBERED_FOR,
            "hard_failures": HARD_FAILURES,
            "spam_failures": SPAM_FAILURES,
            "spam_within": SPAM_WITHIN,
            "suppressed_for": SUPPRESSED_FOR,
            "uuid": record,
            "author": self._seal("author", record, (bounced.author or "<>").encode("utf-8", "replace")),
            "sealed_destination": self._seal("destination", record, copy.destination.encode("utf-8", "replace")),
            "subject": None if bounced.subject is None else self._seal("subject", record, bounced.subject),
            "content": await self._sealed_content(record, content),
            "evidence": self._seal("evidence", record, bounced.evidence) if bounced.evidence else None,
            "key_id": self.vault.key_id,
            "octets": 0 if content is None else len(content),
            "partial": bounced.partial,
            "room": self.room_octets,
            "kept_for": KEPT_FOR,
            "silent": sorted(code.value for code in SILENT_BOUNCES),
        }

    async def _sealed_content(self, record: UUID, content: bytes | None) -> bytes | None:
        """Large messages in a thread: other mail goes on meanwhile."""
        if content is None or len(content) <= _INLINE_OCTETS:
            return None if content is None else self._seal("content", record, content)
        return await asyncio.to_thread(self._seal, "content", record, content)

    def _seal(self, column: str, record: UUID, clear: bytes) -> bytes:
        return seal(self.vault, self.random(NONCE_OCTETS), place(column, record), clear)
