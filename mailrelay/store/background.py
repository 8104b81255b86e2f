"""One round trip for how copies of a recipient are to be made, and what happened before."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg.rows import TupleRow

from mailrelay.core.background import Background, BackgroundInquiry, Style
from mailrelay.core.eom import Preferences
from mailrelay.core.errors import Unavailable
from mailrelay.core.ledger import storable
from mailrelay.store.database import Database, compact
from mailrelay.store.loopguard import ARRIVALS

_ACCOUNT = """
    acc.dmarc_reject_action, acc.store_failed_deliveries, acc.accept_foreign_dsn, acc.display_from_format,
    acc.use_reply_to, acc.email_subject, acc.banner_location, acc.spam_warning_behaviour,
    acc.list_unsubscribe_behaviour, acc.reverse_address_style = 'opaque', acc.compat_headers"""
_MARKED = """
    select array_agg(receiver) as rewrites_only from receiver_memory
    where receiver = any ({receivers}) and rewrite_only_until > now()"""
_BACKGROUND = compact(f"""
    select q.n, {_ACCOUNT}, a.reply_via_alias, coalesce(a.description, ''),
           d.account_id is null or d.sending_verified_at is not null, m.rewrites_only, seen.arrivals
    from json_to_recordset(%(inquiries)s) as q(
        n int, account_id bigint, alias_id bigint, receivers text[], rcpt text, message_id text, fingerprint bigint,
        key bytea)
    join account acc on acc.id = q.account_id
    join alias a on a.id = q.alias_id
    left join domain d on d.id = a.domain_id
    left join lateral ({_MARKED.format(receivers="q.receivers")}) m on true
    cross join lateral ({ARRIVALS}) seen
""")
_NEWCOMER = compact(f"""
    select 0, {_ACCOUNT}, false, '', d.account_id is null or d.sending_verified_at is not null, m.rewrites_only, 0
    from account acc
    left join domain d on d.name = %(domain)s and d.account_id = acc.id
    left join lateral ({_MARKED.format(receivers="%(receivers)s::text[]")}) m on true
    where acc.id = %(account)s
""")


@dataclass(frozen=True, slots=True)
class BackgroundReader:
    """Reads the background of many recipients at once."""

    database: Database

    async def read(self, inquiries: Sequence[BackgroundInquiry]) -> list[Background | Unavailable]:
        """One Background per inquiry, in their order. Unavailable in place of one whose alias was just removed."""
        questions = [_question(n, inquiry) for n, inquiry in enumerate(inquiries)]
        rows = await self.database.rows(_BACKGROUND, {"inquiries": json.dumps(questions)})
        found = {row[0]: _background(row) for row in rows}
        return [found.get(n) or Unavailable("the alias was removed meanwhile") for n in range(len(inquiries))]

    async def newcomer(self, inquiry: BackgroundInquiry) -> Background:
        """As of an alias that is yet to be made; its alias_id does not matter. Raises Unavailable."""
        domain = storable(inquiry.rcpt.rpartition("@")[2])
        values = {"account": inquiry.account_id, "domain": domain, "receivers": list(inquiry.receivers)}
        row = await self.database.row(_NEWCOMER, values)
        if row is None:
            raise Unavailable("the account was removed meanwhile")
        return _background(row)


def _question(n: int, inquiry: BackgroundInquiry) -> Mapping[str, object]:
    return {
        "n": n,
        "account_id": inquiry.account_id,
        "alias_id": inquiry.alias_id,
        "receivers": inquiry.receivers,
        "rcpt": storable(inquiry.rcpt),
        "message_id": storable(inquiry.message_id, 998) or None,
        "fingerprint": inquiry.fingerprint,
        "key": f"\\x{inquiry.key.hex()}",
    }


def _background(row: TupleRow) -> Background:
    _, reject_action, stores_failed, accepts_foreign_dsn, *style, rewrites_only, arrivals = row
    return Background(
        Style(*style),
        Preferences(reject_action, stores_failed),
        accepts_foreign_dsn,
        frozenset(rewrites_only or ()),
        arrivals,
    )
