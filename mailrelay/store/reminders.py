"""What is about to end, and whose owner is told once (spec section 8.4)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mailrelay.store.database import Database

_SOON = timedelta(days=7)

# Once a day for each token; that one notice goes out in all is the notice's own limit. Tokens that renew themselves
# end only if nobody uses them.
_TOKENS = """
    insert into job (kind, payload, dedupe_key)
    select 'notice',
           jsonb_build_object('code', 'TES', 'account_id', account_id, 'recipient_id', null, 'about', '',
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


@dataclass(frozen=True, slots=True)
class Reminders:
    """Posts notices. Raises Unavailable."""

    database: Database

    async def tokens(self, now: datetime) -> int:
        """Of tokens that expire within a week. Gives how many notices that made."""
        return len(await self.database.rows(_TOKENS, {"now": now, "soon": _SOON}))
