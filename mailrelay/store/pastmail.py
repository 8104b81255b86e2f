"""What is still known of past mail, for rules that are tried out on it."""

from dataclasses import dataclass
from datetime import datetime

from mailrelay.core.address import Address, split_extension
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named
from mailrelay.core.rules.trial import Past, past
from mailrelay.store.database import Database
from mailrelay.store.manage import account_id

# Rules are asked about what was not refused or dropped before. A second copy in place of one that came back is no
# arrival, so it has no fingerprint; nor have the owner's replies and sends, which are told by their sender. The ledger
# has no index by account, but ids rise with time.
_SINCE = """
    with latest as (
        select id, at, ingress_key, sender, rcpt, outcome, reason, alias_id, outbound_id, fingerprint from ledger
        where account_id = %(account)s and at >= %(since)s
          and (outcome in ('delivered', 'queued') or reason in ('rule', 'rule_quarantine', 'leak')
               or outcome in ('held', 'failed') and fingerprint is not null)
        order by id desc limit %(limit)s
    ), once as (
        select distinct on (ingress_key, rcpt) latest.*,
               exists (select from recipient r
                       where r.account_id = %(account)s and r.address_folded = lower(sender)) as is_own
        from latest order by ingress_key, rcpt, id
    )
    select m.at, m.sender, m.rcpt, m.outcome, a.local_part || '@' || a.domain, a.description, o.email_type, m.is_own,
           (select count(*) from latest)
    from once m
    left join alias a on a.id = m.alias_id
    left join outbound o on o.id = m.outbound_id
    where m.fingerprint is not null or m.reason = 'rule' or m.is_own or o.email_type in ('R', 'S')
    order by m.id desc
"""
_DESCRIPTION = """
    select description from alias
    where account_id = %(account)s and local_part = %(local)s and domain = %(domain)s
"""


@dataclass(frozen=True, slots=True)
class PastMail:
    """Reads, and counts nothing."""

    database: Database

    async def since(self, owner: Named | AccountId, since: datetime, limit: int) -> tuple[list[Past], bool]:
        """Messages for the account's aliases, the latest first; whether these are all since then.

        limit: of ledger entries, of which a message has one for each of its copies. Raises Absent.
        """
        async with self.database.connection() as conn:
            values = {"account": await account_id(conn, owner), "since": since, "limit": limit}
            rows = await (await conn.execute(_SINCE, values)).fetchall()
        found = [past(*columns) for *columns, _ in rows]
        return [one for one in found if one is not None], not rows or rows[0][-1] < limit

    async def description(self, owner: Named | AccountId, alias: Address) -> str:
        """Of an alias, '' if it has none or is none of the account. Raises Absent."""
        async with self.database.connection() as conn:
            values = {
                "account": await account_id(conn, owner),
                "local": split_extension(alias.local)[0],
                "domain": alias.domain,
            }
            row = await (await conn.execute(_DESCRIPTION, values)).fetchone()
        return row[0] or "" if row is not None else ""
