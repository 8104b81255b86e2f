"""One round trip for everything that decides about a recipient address (spec section 1.2)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import TupleRow

from mailrelay.core.address import Address
from mailrelay.core.facts import (
    NOBODY,
    Account,
    AccountId,
    Alias,
    AliasId,
    BlockedSenderId,
    Facts,
    Parent,
    ParentId,
    ParentKind,
    RecipientId,
    Target,
    Usage,
)
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.ledger import storable
from mailrelay.store.database import Database, compact

# The recipients come as one JSON list of [id, address, verified, unverified_since, failing_since, probed_at,
# encrypts, rank]; rank 0: attached or chosen by key, 1: the parent's default, 2: the account's default.
_FACTS = compact("""
    select q.n,
           acc.id, acc.state, acc.block_behaviour, acc.forward_mode, acc.messages_per_hour, acc.new_aliases_per_hour,
           acc.bandwidth_octets_per_month, acc.created_at,
           a.id, a.uuid, a.state, a.block_behaviour, a.forward_mode, a.expires_at, a.max_forwards, a.emails_forwarded,
           a.sender_allow_list,
           p.kind, p.id, p.active, p.off, p.catch_all, p.auto_create_regex, p.block_behaviour, p.forward_mode,
           t.targets, used.amounts, b.blocked_by, b.has_list, a.description
    from json_to_recordset(%(inquiries)s) as q(
        n int, base text, domain text, shared bool, custom bool, label text, sender text, author text, sender_org text,
        network text, keys bigint[], sender_domains text[])
    left join alias a on a.local_part = q.base and a.domain = q.domain
    left join lateral (
        select 'handle' as kind, h.id, h.account_id, h.recipient_id as default_recipient_id,
               h.state = 'active' as active,
               h.state = 'released' or exists (
                   select from handle_domain_off o
                   where o.handle_id = h.id and o.domain = q.domain and o.active) as off,
               true as catch_all, null as auto_create_regex, h.block_behaviour,
               coalesce(h.forward_mode, 'auto') as forward_mode
        from handle h where q.shared and h.local_part = q.base
        union all
        select 'username', u.id, u.account_id, u.default_recipient_id, u.active, false,
               u.catch_all, u.auto_create_regex, u.block_behaviour, u.forward_mode
        from username u where u.name = q.label
        union all
        select 'domain', d.id, d.account_id, d.default_recipient_id, d.active, false,
               d.catch_all, d.auto_create_regex, d.block_behaviour, d.forward_mode
        from domain d where q.custom and d.name = q.domain and d.account_id is not null and d.verified_at is not null
        limit 1
    ) p on true
    left join account ca on q.shared and a.id is null and p.id is null and ca.name = %(catch_all)s
    left join account acc on acc.id = coalesce(a.account_id, p.account_id, ca.id)
    left join lateral (
        select jsonb_agg(
            jsonb_build_array(
                r.id, r.address, r.verified_at is not null and not r.pending, extract(epoch from r.unverified_since),
                extract(epoch from r.failing_since), extract(epoch from r.probed_at), r.should_encrypt, c.rank)
            order by c.rank, c.since, r.id) as targets
        from (
            select ar.recipient_id as id, 0 as rank, ar.created_at as since
            from alias_recipient ar where ar.alias_id = a.id
            union all
            select k.id, 0, k.created_at from (
                select r.id, r.created_at, row_number() over (order by r.created_at, r.id) as number
                from recipient r where r.account_id = acc.id and not r.pending
            ) k where a.id is null and k.number = any (q.keys)
            union all select p.default_recipient_id, 1, null where p.default_recipient_id is not null
            union all select acc.default_recipient_id, 2, null
        ) c join recipient r on r.id = c.id and r.account_id = acc.id
    ) t on acc.id is not null
    left join lateral (
        select array[
            sum(amount) filter (where kind = 'message' and subject = ''),
            sum(amount) filter (where kind = 'message' and subject <> ''),
            sum(amount) filter (where kind = 'bandwidth' and subject = ''),
            sum(amount) filter (where kind = 'bandwidth' and subject <> ''),
            sum(amount) filter (where kind = 'new_alias' and subject = ''),
            sum(amount) filter (where kind = 'new_alias' and subject <> '')]::bigint[] as amounts
        from rate_window w
        where w.account_id = acc.id and (
            w.kind = 'bandwidth' and w.subject in ('', q.sender_org)
                and w.window_start = date_trunc('month', now() at time zone 'utc') at time zone 'utc'
            or w.kind = 'message' and w.subject in ('', q.sender_org) and w.window_start > now() - interval '1 hour'
            or w.kind = 'new_alias' and a.id is null and w.subject in ('', q.network)
                and w.window_start > now() - interval '1 hour')
    ) used on acc.id is not null
    left join lateral (
        select exists (select from blocked_sender where account_id = acc.id) as has_list, (
            select s.id from blocked_sender s
            where s.account_id = acc.id and (s.alias_id is null or s.alias_id = a.id)
              and (s.type = 'email' and s.value in (q.sender, q.author)
                   or s.type = 'domain' and s.value = any (q.sender_domains))
            order by s.type desc, s.id limit 1) as blocked_by
    ) b on acc.id is not null
    order by q.n
""")


@dataclass(frozen=True, slots=True)
class FactsReader:
    """Reads facts for many inquiries at once. catch_all: name of the installation's catch-all account, or None."""

    database: Database
    catch_all: str | None

    async def read(self, inquiries: Sequence[Inquiry]) -> list[Facts]:
        """One Facts per inquiry, in their order."""
        questions = [_question(n, inquiry) for n, inquiry in enumerate(inquiries)]
        rows = await self.database.rows(_FACTS, {"inquiries": json.dumps(questions), "catch_all": self.catch_all})
        return [_facts(row) for row in rows]


def _question(n: int, inquiry: Inquiry) -> Mapping[str, object]:
    return {
        "n": n,
        "base": inquiry.base,
        "domain": inquiry.domain,
        "shared": inquiry.shared,
        "custom": inquiry.custom,
        "label": inquiry.label,
        # Clients write what they like; a NUL or an octet that is no UTF-8 would spoil the question for others.
        "sender": storable(inquiry.sender),
        "author": storable(inquiry.author),
        "sender_org": storable(inquiry.sender_org) or "-",
        "network": inquiry.network or "-",
        "keys": inquiry.keys,
        "sender_domains": [storable(domain) for domain in inquiry.sender_domains],
    }


def _facts(row: TupleRow) -> Facts:
    if row[1] is None:
        return NOBODY if row[9] is None else Facts(alias=_alias(row))
    targets = row[26] or ()
    alias = _alias(row) if row[9] is not None else None
    chosen = tuple(_target(item) for item in targets if item[-1] == 0)
    amounts = [int(amount or 0) for amount in row[27]]
    return Facts(
        account=Account(AccountId(row[1]), *row[2:9]),
        alias=alias,
        parent=_parent(row),
        attached=chosen if alias is not None else (),
        keyed=chosen if alias is None else (),
        parent_default=next((_target(item) for item in targets if item[-1] == 1), None),
        account_default=next((_target(item) for item in targets if item[-1] == 2), None),
        usage=Usage(*amounts),
        blocked_by=BlockedSenderId(row[28]) if row[28] is not None else None,
        has_block_list=row[29],
    )


def _alias(row: TupleRow) -> Alias:
    allow = tuple(row[17]) if row[17] is not None else None
    return Alias(AliasId(row[9]), row[10], row[11], row[12], row[13], row[14], row[15], row[16], allow, row[30] or "")


def _parent(row: TupleRow) -> Parent | None:
    if row[18] is not None:
        return Parent(ParentKind(row[18]), ParentId(row[19]), *row[20:26])
    if row[9] is None:
        return Parent(ParentKind.CATCH_ALL, ParentId(0), True, False, True, None, None, None)
    return None


def _target(item: Sequence[Any]) -> Target:
    identity, address, verified, unverified_since, failing_since, probed_at, encrypts, _ = item
    # Checked when it was stored, less strictly than what strangers write: some providers gave out `a..b@`.
    local, _, domain = address.rpartition("@")
    return Target(
        RecipientId(identity),
        Address(local, domain.lower()),
        verified,
        datetime.fromtimestamp(unverified_since, UTC),
        None if failing_since is None else datetime.fromtimestamp(failing_since, UTC),
        None if probed_at is None else datetime.fromtimestamp(probed_at, UTC),
        encrypts,
    )
