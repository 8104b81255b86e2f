"""One round trip for what decides about replies and sends, and for how they are made (spec section 4)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import TupleRow

from mailrelay.core.address import Address
from mailrelay.core.facts import AccountId, AliasId, ParentKind, RecipientId
from mailrelay.core.ledger import storable
from mailrelay.core.sending.facts import (
    Amount,
    Manner,
    OwnMailbox,
    SendingFacts,
    SendingInquiry,
    Spent,
    Window,
    auto_reply_subject,
)
from mailrelay.store.database import Database, compact

# The recipients come as a JSON list of the fields of OwnMailbox in their order, what was sent as one of [kind, minute,
# amount]. An opaque address leads to its contact, that to alias and account.
_SENDING = compact("""
    select q.n, acc.id, a.id, a.local_part, a.domain,
           c.address, c.display_name, c.id is not null, c.suppressed_until, c.suppressed_reason,
           coalesce(a.attached_recipients_only, false),
           a.from_name, coalesce(d.from_name, u.from_name, h.from_name), acc.from_name,
           acc.reply_scrub, acc.leak_policy, acc.notify_co_recipients, acc.relay_auto_replies,
           acc.store_failed_deliveries,
           d.account_id is null or d.sending_verified_at is not null, acc.sends_suspended_at is not null,
           r.mailboxes, w.spent
    from json_to_recordset(%(inquiries)s) as q(
        n int, account_id bigint, alias_id bigint, domain_id bigint, username_id bigint, handle_id bigint,
        contact text, subject text, opaque_local text, opaque_domain text)
    left join lateral (
        select contact.alias_id, contact.id, contact.address, contact.display_name, contact.suppressed_until,
               contact.suppressed_reason
        from contact
        where contact.reverse_local_part = q.opaque_local and contact.reverse_domain = q.opaque_domain
        union all
        select contact.alias_id, contact.id, contact.address, contact.display_name, contact.suppressed_until,
               contact.suppressed_reason
        from contact
        where contact.alias_id = q.alias_id and contact.address = q.contact
    ) c on true
    left join alias a on a.id = coalesce(q.alias_id, c.alias_id)
    join account acc on acc.id = coalesce(a.account_id, q.account_id)
    left join domain d on d.id = coalesce(a.domain_id, q.domain_id)
    left join username u on u.id = coalesce(a.username_id, q.username_id)
    left join handle h on h.id = coalesce(a.handle_id, q.handle_id)
    left join lateral (
        select jsonb_agg(
            jsonb_build_array(
                r.id, r.address, r.verified_at is not null and not r.pending, ar.recipient_id is not null,
                r.can_reply_send, r.require_envelope_match, r.remove_pgp_keys, r.remove_pgp_signatures)
            order by r.created_at, r.id) as mailboxes
        from recipient r
        left join alias_recipient ar on ar.alias_id = a.id and ar.recipient_id = r.id
        where r.account_id = acc.id
    ) r on true
    left join lateral (
        select jsonb_agg(jsonb_build_array(kind, extract(epoch from window_start), amount)
                         order by window_start) as spent
        from (
            select kind, window_start, amount from rate_window
            where account_id = acc.id and kind in ('reply_send', 'new_contact') and subject = ''
              and window_start > now() - interval '24 hours'
            union all
            select kind, window_start, amount from rate_window
            where account_id = acc.id and kind = 'auto_reply'
              and subject = coalesce(q.subject, a.id || ' ' || c.address)
              and window_start > now() - interval '7 days'
        ) s
    ) w on true
    order by q.n
""")

_PARENTS = {ParentKind.DOMAIN: "domain_id", ParentKind.USERNAME: "username_id", ParentKind.HANDLE: "handle_id"}


@dataclass(frozen=True, slots=True)
class SendingReader:
    """Reads for many inquiries at once."""

    database: Database

    async def read(self, inquiries: Sequence[SendingInquiry]) -> list[SendingFacts | None]:
        """One answer per inquiry, in their order. None: nobody has that opaque address, or the account has gone.

        Raises Unavailable.
        """
        questions = [_question(n, inquiry) for n, inquiry in enumerate(inquiries)]
        rows = await self.database.rows(_SENDING, {"inquiries": json.dumps(questions)})
        found = {row[0]: _facts(row, inquiries[row[0]]) for row in rows}
        return [found.get(n) for n in range(len(inquiries))]


def _question(n: int, inquiry: SendingInquiry) -> Mapping[str, object]:
    if inquiry.opaque is not None:
        local, domain = inquiry.opaque.local.lower(), inquiry.opaque.domain
        return {"n": n, "opaque_local": storable(local), "opaque_domain": storable(domain)}
    parent, contact = inquiry.parent, storable(inquiry.contact)
    return {
        "n": n,
        "account_id": inquiry.account_id,
        "alias_id": inquiry.alias_id,
        **({_PARENTS[parent.kind]: parent.id} if parent is not None and parent.kind in _PARENTS else {}),
        "contact": contact,
        "subject": auto_reply_subject(inquiry.alias_id, contact) if inquiry.alias_id is not None else "-",
    }


def _facts(row: TupleRow, inquiry: SendingInquiry) -> SendingFacts:
    _, account_id, alias_id, local, domain, contact, contact_name, known, suppressed_until, said = row[:10]
    attached_only, *names, scrub, leaks, co_recipients, auto_replies, stores, verified, suspended = row[10:21]
    return SendingFacts(
        account_id=AccountId(account_id),
        alias_id=None if alias_id is None else AliasId(alias_id),
        alias=None if alias_id is None else Address(local, domain),
        contact=inquiry.contact if contact is None else contact,
        contact_name=contact_name or "",
        contact_known=known,
        suppressed_until=suppressed_until,
        suppressed_reason=said or "",
        mailboxes=tuple([_mailbox(*item) for item in row[21] or ()]),
        attached_only=attached_only,
        from_names=(names[0] or "", names[1] or "", names[2] or ""),
        manner=Manner(scrub, leaks, co_recipients, auto_replies, stores),
        sending_verified=verified,
        sends_suspended=suspended,
        spent=_spent(row[22] or ()),
    )


def _mailbox(identity: int, address: str, *flags: bool) -> OwnMailbox:
    # As in store/facts.py: stored addresses are not all what strangers may write.
    local, _, domain = address.rpartition("@")
    return OwnMailbox(RecipientId(identity), Address(local, domain.lower()), *flags)


def _spent(entries: Sequence[Sequence[Any]]) -> Spent:
    def of(kind: Window) -> tuple[Amount, ...]:
        return tuple([Amount(datetime.fromtimestamp(at, UTC), count) for one, at, count in entries if one == kind])

    return Spent(of(Window.SENDS), of(Window.NEW_CONTACTS), bool(of(Window.AUTO_REPLIES)))
