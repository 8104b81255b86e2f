"""What owners are told of now and then: what is about to end, and what was turned away (spec section 8.4)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mailrelay.store.database import Database

_SOON = timedelta(days=7)

# Once a day for each token; that one notice goes out in all is the notice's own limit. Tokens that renew themselves
# end only if nobody uses them.
_TOKENS = """
    insert into job (kind, payload, dedupe_key)
    select 'notice',
           jsonb_build_object('code', 'TES', 'account_id', account_id, 'recipient_id', null, 'about', 'token ' || id,
                              'data', jsonb_build_object(
                                  'token', case name when '' then display else name end,
                                  'expires', to_char(expires_at at time zone 'utc', 'YYYY-MM-DD HH24:MI "UTC"'))),
           'notice:TES:' || id
    from token
    where kind = 'addy' and revoked_at is null and not automatic_renew
      and expires_at > %(now)s and expires_at <= %(now)s::timestamptz + %(soon)s::interval
      and not exists (
          select from job where kind = 'notice' and dedupe_key = 'notice:TES:' || token.id
                            and created_at > %(now)s::timestamptz - interval '1 day')
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
    returning 1
"""

# A day after the first rejection that no digest told of: so there is one a day at most, about a whole day. When the
# last one went out, the notices' own limits know. Found by the totals, as most accounts have none; counted as far as
# anybody would read.
_REJECTIONS = """
    insert into job (kind, payload, dedupe_key)
    select 'notice',
           jsonb_build_object('code', 'IRD', 'account_id', acc.id, 'recipient_id', null, 'about', '',
                              'data', jsonb_build_object('since', untold.since, 'count', counted.rejections)),
           'notice:IRD:' || acc.id
    from failed_total t
    join account acc on acc.id = t.account_id and acc.failed_delivery_notification_preference = 0
    cross join lateral (
        select coalesce(max(window_start), '-infinity') as last from notification_limit
        where account_id = acc.id and kind = 'IRD') told
    cross join lateral (
        select created_at as since from failed_delivery
        where account_id = acc.id and type = 'inbound' and email_type = 'IR' and created_at > told.last
        order by created_at limit 1) untold
    cross join lateral (
        select count(*) as rejections from (
            select from failed_delivery
            where account_id = acc.id and type = 'inbound' and email_type = 'IR' and created_at >= untold.since
            limit 10000) found) counted
    where t.type = 'inbound' and t.total > 0 and untold.since <= %(now)s::timestamptz - interval '1 day'
    on conflict (dedupe_key) where finished_at is null and failed_at is null do nothing
    returning 1
"""


@dataclass(frozen=True, slots=True)
class Reminders:
    """Posts notices. Raises Unavailable."""

    database: Database

    async def tokens(self, now: datetime) -> int:
        """Of tokens that expire within a week. Gives how many notices that made."""
        return len(await self.database.rows(_TOKENS, {"now": now, "soon": _SOON}))

    async def rejections(self, now: datetime) -> int:
        """Digests of mail that was turned away, for those who want all notices. Gives how many that made."""
        return len(await self.database.rows(_REJECTIONS, {"now": now}))
