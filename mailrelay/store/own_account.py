"""Accounts as their owners read them. One statement each."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import LiteralString

from mailrelay.core.facts import AccountId
from mailrelay.core.own_account import AccountDetails, Announcement, Holding, OwnToken
from mailrelay.store.database import Database
from mailrelay.store.manage import records
from mailrelay.store.offered import usable

# Sums over this many aliases are remembered for a while: reading a hundred thousand rows takes 70 ms, but counting them
# in the index 10 ms. The others are added up each time.
MANY_ALIASES = 5000
SUMS_HOLD_FOR = timedelta(minutes=5)

_DETAILS: LiteralString = f"""
    with numbers as (
        select count(*) as aliases, count(*) filter (where state = 'active') as active,
               count(*) filter (where state = 'inactive') as inactive,
               count(*) filter (where state = 'deleted') as deleted, count(*) filter (where pinned) as pinned,
               count(*) filter (where state = 'active' and reserved_as is not null) as shared
        from alias where account_id = %(account)s
    ), kept as (
        select forwarded, blocked, replied, sent from alias_sum, numbers
        where account_id = %(account)s and aliases > %(many)s and summed_at > now() - %(hold)s::interval
    ), summed as (
        select coalesce(sum(emails_forwarded), 0)::bigint as forwarded,
               coalesce(sum(emails_blocked), 0)::bigint as blocked,
               coalesce(sum(emails_replied), 0)::bigint as replied, coalesce(sum(emails_sent), 0)::bigint as sent
        from alias where account_id = %(account)s and not exists (select from kept)
    ), remembered as (
        insert into alias_sum (account_id, forwarded, blocked, replied, sent)
        select %(account)s, s.forwarded, s.blocked, s.replied, s.sent from summed s, numbers
        where aliases > %(many)s and not exists (select from kept)
        on conflict on constraint alias_sum_pkey do update
            set forwarded = excluded.forwarded, blocked = excluded.blocked, replied = excluded.replied,
                sent = excluded.sent, summed_at = excluded.summed_at
    ), home as (
        select coalesce((select name from domain where {usable("domain")} order by position, id limit 1), %(domain)s)
               as name
    )
    select acc.uuid, coalesce(u.name, acc.name, acc.implicit_mailbox, ''), u.uuid, r.uuid, acc.from_name,
           acc.email_subject, acc.banner_location, acc.spam_warning_behaviour, acc.alias_separator,
           coalesce(acc.default_alias_domain,
                    case when %(direct)s or acc.is_admin or u.name is null then home.name
                         else u.name || '.' || home.name end),
           coalesce(acc.default_alias_format, 'random_characters'),
           coalesce(acc.bandwidth_octets_per_month, %(bandwidth)s), acc.state <> 'active', acc.created_at,
           acc.updated_at,
           (select count(*) from recipient where account_id = acc.id and not pending),
           (select count(*) from username where account_id = acc.id),
           (select count(*) from domain where account_id = acc.id and active),
           (select count(*) from rule where account_id = acc.id and active),
           n.aliases, n.active, n.inactive, n.deleted, n.pinned, n.shared,
           coalesce(kept.forwarded, summed.forwarded), coalesce(kept.blocked, summed.blocked),
           coalesce(kept.replied, summed.replied), coalesce(kept.sent, summed.sent),
           coalesce((select amount from rate_window
                     where account_id = acc.id and kind = 'bandwidth' and subject = ''
                       and window_start = date_trunc('month', now() at time zone 'utc') at time zone 'utc'), 0)
    from account acc cross join numbers n cross join summed cross join home
    left join kept on true
    left join username u on u.id = acc.default_username_id
    left join recipient r on r.id = acc.default_recipient_id
    where acc.id = %(account)s
"""
_ANNOUNCEMENTS = """
    select uuid, category, title, text, link, link_text, created_at from account_notification
    where account_id = %(account)s or account_id is null
    order by created_at desc, id desc
"""
_TOKENS = """
    select id, uuid, name, last_used_at, expires_at, created_at, updated_at from token
    where account_id = %(account)s and kind = 'addy' and revoked_at is null
    order by created_at desc, id desc
"""


@dataclass(frozen=True, slots=True)
class OwnAccounts:
    """Raises Unavailable when the database is in trouble.

    bandwidth_octets: of a month, of accounts without a limit of their own. domain: what is called the default where no
    shared domain can be used. direct: everybody may have aliases on shared domains themselves; admins always may.
    """

    database: Database
    bandwidth_octets: int
    domain: str
    direct: bool = True

    async def details(self, account: AccountId) -> AccountDetails | None:
        """All there is to say; None if the account is gone. Sums of mail may be some minutes old for large accounts."""
        values = {
            "account": account,
            "many": MANY_ALIASES,
            "hold": SUMS_HOLD_FOR,
            "direct": self.direct,
            "domain": self.domain,
            "bandwidth": self.bandwidth_octets,
        }
        row = await self.database.row(_DETAILS, values)
        if row is None:
            return None
        held = len(fields(Holding))
        told = [*row[:-held], Holding(*row[-held:])]
        return AccountDetails(*told)

    async def announcements(self, account: AccountId) -> Sequence[Announcement]:
        """The newest first."""
        return await records(self.database, Announcement, _ANNOUNCEMENTS, {"account": account})

    async def tokens(self, account: AccountId) -> Sequence[OwnToken]:
        """Bearer tokens that are not revoked, the newest first."""
        return await records(self.database, OwnToken, _TOKENS, {"account": account})
