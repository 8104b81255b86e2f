"""What has been here before: arrivals of one message at an alias, and reports to one sender within the hour.

Arrivals are counted in the ledger, which has a row for each of them anyway: nothing is written for the guard but a
number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mailrelay.core.facts import AliasId
from mailrelay.core.ledger import IngressKey, storable
from mailrelay.core.srsreport import MAX_PER_HOUR
from mailrelay.store.database import Database

# To be joined laterally to a question q (fingerprint, message_id or null, rcpt, key) and an alias a (id). A message
# without Message-ID, which is rare, is looked for among the address' mail of the day. Questions asked at RCPT have no
# fingerprint and cost nothing. Retries have the key of the first try.
ARRIVALS = """
    select count(distinct s.ingress_key)::int as arrivals
    from (
        select ingress_key, fingerprint, at from ledger
        where ledger.message_id = q.message_id and ledger.alias_id = a.id
        union all
        select ingress_key, fingerprint, at from ledger
        where q.message_id is null and q.fingerprint is not null
          and ledger.rcpt = q.rcpt and ledger.at > now() - interval '24 hours' and ledger.alias_id = a.id
    ) s
    where s.fingerprint = q.fingerprint and s.at > now() - interval '24 hours' and s.ingress_key <> q.key
"""

_ARRIVALS = f"""
    select seen.arrivals
    from unnest(%(alias)s::bigint[], %(rcpt)s::text[], %(message_id)s::text[], %(fingerprint)s::bigint[],
                %(key)s::bytea[])
         with ordinality as q(alias_id, rcpt, message_id, fingerprint, key, n)
    cross join lateral (select q.alias_id as id) a
    cross join lateral ({ARRIVALS}) seen
    order by q.n
"""

# Clock hours rather than sliding ones: so the statement that counts also decides, whoever else counts meanwhile.
_TAKE_REPORT = """
    insert into rate_window (account_id, kind, subject, window_start, amount)
    values (0, 'srs_report', %(sender)s, date_trunc('hour', now()), 1)
    on conflict on constraint rate_window_pkey do update set amount = rate_window.amount + 1
    where rate_window.amount < %(limit)s
    returning amount
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message at one alias. rcpt: as the ledger has it; message_id: '' if none; key: of the ledger."""

    alias_id: AliasId
    rcpt: str
    message_id: str
    fingerprint: int
    key: IngressKey


async def arrivals(database: Database, asked: Sequence[Arrival]) -> list[int]:
    """How often each message was at its alias within 24 hours, retries of this arrival not counted."""
    values = {
        "alias": [arrival.alias_id for arrival in asked],
        "rcpt": [storable(arrival.rcpt) for arrival in asked],
        "message_id": [storable(arrival.message_id, 998) or None for arrival in asked],
        "fingerprint": [arrival.fingerprint for arrival in asked],
        "key": [arrival.key for arrival in asked],
    }
    return [row[0] for row in await database.rows(_ARRIVALS, values)]


async def take_report(database: Database, sender: str) -> bool:
    """True if one more report may go to `sender` in this hour, which is then counted (spec section 10.4)."""
    values = {"sender": storable(sender.lower()), "limit": MAX_PER_HOUR}
    return bool(await database.rows(_TAKE_REPORT, values))
