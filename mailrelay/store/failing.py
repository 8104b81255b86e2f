"""Recipients that fail, contacts that refuse and aliases that bounce: what becomes of them (spec section 7.5).

store/bounces.py writes what one bounce does to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg.types.json import Jsonb

from mailrelay.core.facts import AccountId, AliasId, RecipientId
from mailrelay.core.failing import (
    LOOKED_BACK,
    PROBE_EVERY,
    PROBE_SETTLED_AFTER,
    SUCCESS_HOLDS_FOR,
    UNVERIFIED_AFTER,
    AliasBounces,
    Bounces,
    Pattern,
)
from mailrelay.core.ledger import OutboundId
from mailrelay.core.notices import Notice
from mailrelay.store.bounces import WATCHED
from mailrelay.store.database import Database
from mailrelay.store.ledger import signed

# A recipient that is believed in again.
WORKS: LiteralString = "failing_since = null, hard_failures = 0, first_hard_failure_at = null, probed_at = null"

# Whoever read that a recipient fails may be late: one that works again needs no try.
_TAKE_PROBE = """
    with taken as (
        update recipient set probed_at = now()
        where id = %(id)s and failing_since is not null
          and greatest(failing_since, probed_at) <= now() - %(every)s::interval
        returning 1
    )
    select exists (select from taken) or exists (select from recipient where id = %(id)s and failing_since is null)
"""

# In order, so that two watchers do not wait for each other.
_SUCCESS: LiteralString = f"""
    with changed as (
        select id, (coalesce(failing_since, first_hard_failure_at) <= %(at)s) is true as works from recipient
        where id = any (%(ids)s::bigint[])
          and (coalesce(failing_since, first_hard_failure_at) <= %(at)s or last_success_at is null
               or last_success_at < %(at)s::timestamptz - %(holds_for)s::interval)
        order by id for no key update
    ), works as (
        update recipient r set last_success_at = greatest(r.last_success_at, %(at)s), {WORKS}
        from changed where r.id = changed.id and changed.works
    )
    update recipient r set last_success_at = greatest(r.last_success_at, %(at)s)
    from changed where r.id = changed.id and not changed.works
"""

_CONTACT_SUCCESS = """
    with reached as (
        select contact.id
        from outbound o join contact on contact.alias_id = o.alias_id and contact.address = o.destination
        where o.id = any (%(ids)s::bigint[]) and o.email_type in ('R', 'S') and contact.hard_failures > 0
        order by contact.id for no key update of contact
    )
    update contact set hard_failures = 0, suppressed_until = null, suppressed_reason = null
    from reached where contact.id = reached.id
"""

_RECOVERED: LiteralString = f"""
    update recipient r set {WORKS}
    where r.probed_at > r.failing_since and r.probed_at < %(now)s::timestamptz - %(settled)s::interval
      and not exists (
          select from failed_delivery f
          where f.recipient_id = r.id and f.email_type = 'F' and f.bounce_type = 'hard' and f.created_at >= r.probed_at)
      and not {WATCHED}
    returning r.id
"""

# The heir must work itself: of two that fail, both would be gone.
_UNVERIFY: LiteralString = f"""
    with old as (
        select r.id, r.account_id, r.address, heir.id as heir_id, heir.address as heir_address,
               account.default_recipient_id = r.id as is_default
        from recipient r
        join account on account.id = r.account_id
        cross join lateral (
            select h.id, h.address from recipient h
            where h.account_id = r.account_id and h.id <> r.id and h.verified_at is not null and not h.pending
              and h.failing_since is null
            order by h.id limit 1
        ) heir
        where r.failing_since < %(now)s::timestamptz - %(after)s::interval and r.verified_at is not null
        order by r.id limit 500 for no key update of r skip locked
    ), ended as (
        update recipient r set verified_at = null, unverified_since = now(), {WORKS} from old where r.id = old.id
    ), moved as (
        update account set default_recipient_id = old.heir_id from old
        where account.id = old.account_id and account.default_recipient_id = old.id
    ), noted as (
        insert into audit (actor, account_id, action, object_table, object_id, detail)
        select 'worker', account_id, 'recipient.unverify', 'recipient', id,
               jsonb_build_object('reason', 'failing', 'new_default', case when is_default then heir_id end)
        from old
    ), told as (
        insert into job (kind, payload, dedupe_key)
        select 'notice', jsonb_build_object(
                   'code', 'DRU', 'account_id', account_id, 'recipient_id', heir_id, 'about', '',
                   'data', jsonb_build_object('old', address, 'new', heir_address, 'at', %(at)s::text, 'ip', '')),
               'notice:DRU:failing:' || id
        from old where is_default
        on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
    )
    select id, account_id, case when is_default then heir_id end from old order by id
"""

_ALIAS = """
    select a.local_part || '@' || a.domain, a.uuid
    from alias a join account acc on acc.id = a.account_id
    where a.id = %(alias)s and a.account_id = %(account)s and a.state = 'active' and acc.auto_disable_bouncing_alias
"""
_BOUNCES = """
    select window_start, (sum(amount) filter (where subject = %(alias)s::bigint::text))::bigint, sum(amount)::bigint
    from rate_window
    where account_id = %(account)s and kind = 'bounce' and window_start > %(since)s
    group by window_start order by window_start
"""

_DEACTIVATE: LiteralString = """
    with off as (
        update alias set state = 'inactive'
        where id = %(alias)s and account_id = %(account)s and state = 'active'
        returning id, account_id
    ), noted as (
        insert into audit (actor, account_id, action, object_table, object_id, detail)
        select 'worker', account_id, 'alias.deactivate', 'alias', id, jsonb_build_object('reason', %(reason)s::text)
        from off
    ), told as (
        insert into job (kind, payload, dedupe_key) select 'notice', %(notice)s, %(key)s from off
        on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
    )
    select id from off
"""


@dataclass(frozen=True, slots=True)
class Unverified:
    """A recipient that failed for 30 days. new_default: who became its account's default instead; None: it was none."""

    id: RecipientId
    account_id: AccountId
    new_default: RecipientId | None


@dataclass(frozen=True, slots=True)
class FailingStore:
    """Everything raises Unavailable when the database is in trouble."""

    database: Database

    async def take_probe(self, recipient_id: RecipientId) -> bool:
        """May this message go to a recipient that was failing? True for one every 24 hours, and once it works again."""
        row = await self.database.row(_TAKE_PROBE, {"id": recipient_id, "every": PROBE_EVERY})
        return row is not None and bool(row[0])

    async def spared(self, recipient_ids: Sequence[RecipientId]) -> bool:
        """Is mail with a warning kept from one of these, as their hosts took so much of it for spam?"""
        query = "select exists (select from recipient where id = any (%(ids)s) and quarantines_tagged_at is not null)"
        row = await self.database.row(query, {"ids": list(recipient_ids)})
        return row is not None and bool(row[0])

    async def note_success(self, recipient_ids: Sequence[RecipientId], at: datetime) -> None:
        """Copies arrived at these recipients at that time, or somebody read mail there. Costs little when repeated."""
        values = {"ids": sorted(set(recipient_ids)), "at": at, "holds_for": SUCCESS_HOLDS_FOR}
        await self.database.rows(_SUCCESS, values)

    async def note_contact_success(self, outbound_ids: Sequence[OutboundId]) -> None:
        """Replies and sends arrived; ids of other copies are passed over."""
        ids = [signed(outbound_id) for outbound_id in outbound_ids]
        await self.database.rows(_CONTACT_SUCCESS, {"ids": ids})

    async def clear_recovered(self, now: datetime) -> list[RecipientId]:
        """Believe in recipients again whose last try did not come back within hours. Gives whom.

        Only while nobody reads the mail log, which would tell more exactly.
        """
        rows = await self.database.rows(_RECOVERED, {"now": now, "settled": PROBE_SETTLED_AFTER})
        return [RecipientId(row[0]) for row in rows]

    async def unverify_long_failing(self, now: datetime) -> list[Unverified]:
        """End what has been failing for 30 days, if its account has another recipient that works. Gives what ended.

        A default recipient gives way to that one, the oldest; both are noted in the audit, and the owner is told.
        """
        values = {"now": now, "after": UNVERIFIED_AFTER, "at": now.isoformat(timespec="seconds")}
        rows = await self.database.rows(_UNVERIFY, values)
        return [
            Unverified(RecipientId(number), AccountId(account), None if heir is None else RecipientId(heir))
            for number, account, heir in rows
        ]

    async def bounces(self, account_id: AccountId, alias_id: AliasId, now: datetime) -> AliasBounces | None:
        """How often an alias bounced; None if it is somebody else's, off already, or not to be switched off."""
        values = {"account": account_id, "alias": alias_id, "since": now - LOOKED_BACK}
        alias = await self.database.row(_ALIAS, values)
        if alias is None:
            return None
        rows = await self.database.rows(_BOUNCES, values)
        own = tuple(Bounces(at, count) for at, count, _ in rows if count)
        return AliasBounces(alias[0], alias[1], own, tuple(Bounces(at, count) for at, _, count in rows))

    async def deactivate(self, account_id: AccountId, alias_id: AliasId, why: Pattern, notice: Notice) -> bool:
        """Switch an alias off, note it and post the notice to its owner. False: it was off before."""
        values = {
            "account": account_id,
            "alias": alias_id,
            "reason": f"bounces_{why}",
            "notice": Jsonb(notice.to_json()),
            "key": notice.dedupe_key,
        }
        return await self.database.row(_DEACTIVATE, values) is not None
