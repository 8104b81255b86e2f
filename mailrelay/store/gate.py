"""Who asks over HTTP, from where, and how often they did, in one round trip."""

from collections.abc import Sequence
from dataclasses import dataclass

from mailrelay.core.facts import AccountId
from mailrelay.core.records import TokenId
from mailrelay.core.requests import SHUT, Admission, Bearer, Caller, Limit, Shut, Window, windows
from mailrelay.metrics import BAN_HITS
from mailrelay.store.banned import BANNED
from mailrelay.store.database import Database, compact

# Of a window that has ended the next request opens another. Equal buckets wait for each other, so none counts twice.
COUNT = """
    on conflict on constraint request_window_pkey do update set
        hits = case when w.opened_at + make_interval(secs => excluded.seconds) <= now() then 1 else w.hits + 1 end,
        opened_at = case when w.opened_at + make_interval(secs => excluded.seconds) <= now() then now()
                         else w.opened_at end,
        seconds = excluded.seconds
    returning name, hits, opened_at
"""

# In the order in which they were counted: so those who count and those who take back wait for each other in no ring.
TAKE_BACK = """
    update request_window w set hits = w.hits - 1
    from (
        select w.ctid from request_window w
        join unnest(%(names)s::text[], %(subjects)s::text[]) with ordinality as b(name, subject, n)
            using (name, subject)
        where w.hits > 0 order by b.n for update of w
    ) found
    where w.ctid = found.ctid
"""

# `last_used_at` is shown in whole seconds, so more than one update a second would change nothing that anybody sees.
# The token is found by its hash; of a row that was named it has to be the one. Its hash is as good as random, so that
# the time a comparison takes tells nothing about the token.
_ADMIT = compact(f"""
    with {BANNED}, who as materialized (
        select t.id, t.account_id, acc.uuid, t.name, t.created_at, t.expires_at, t.last_used_at,
               coalesce(r.verified_at is not null and not r.pending, false) as verified,
               acc.state = 'suspended' as suspended
        from token t
        join account acc on acc.id = t.account_id
        left join recipient r on r.id = acc.default_recipient_id
        where t.hash = %(hash)s and t.kind = 'addy' and t.uuid = coalesce(%(uuid)s, t.uuid) and t.revoked_at is null
          and (t.expires_at is null or t.expires_at > now()) and acc.state <> 'deleting'
          and not exists (select from banned)
    ), used as (
        update token set last_used_at = date_trunc('second', now())
        from who
        where token.id = who.id and (who.last_used_at is null or who.last_used_at < date_trunc('second', now()))
    ), hit as (
        insert into request_window as w (name, subject, seconds, opened_at, hits)
        select b.name, who.account_id::text, b.seconds, now(), 1
        from who, unnest(%(names)s::text[], %(seconds)s::int[]) as b(name, seconds)
        order by b.name
        {COUNT}
    )
    select exists (select from banned), who.account_id, who.uuid, who.id, who.name, who.created_at, who.expires_at,
           who.verified, who.suspended, hit.name, hit.hits, hit.opened_at
    from (select) one left join who on true left join hit on true
""")

_COUNT_CLIENT = compact(f"""
    insert into request_window as w (name, subject, seconds, opened_at, hits)
    select b.name, %(client)s, b.seconds, now(), 1
    from unnest(%(names)s::text[], %(seconds)s::int[]) as b(name, seconds)
    order by b.name
    {COUNT}
""")


@dataclass(frozen=True, slots=True)
class Gate:
    """The token, request_window and ban tables. Raises Unavailable."""

    database: Database

    async def admit(self, bearer: Bearer, limits: Sequence[Limit], ip: str) -> Admission | Shut | None:
        """Who this is, their request counted; None for a token that is unknown, revoked or expired.

        ip: of the client, '' if unknown. Of whom is banned nothing is counted but the ban's hit.
        """
        values = {"hash": bearer.hash, "uuid": bearer.uuid, "ip": ip or None, **_buckets(limits)}
        rows = await self.database.rows(_ADMIT, values)
        banned, account, uuid, token, name, created_at, expires_at, verified, suspended = rows[0][:9]
        if banned:
            BAN_HITS.labels("ip").inc()
            return SHUT
        if account is None:
            return None
        caller = Caller(AccountId(account), uuid, TokenId(token), name, created_at, expires_at)
        counted = [(row[9], row[10], row[11]) for row in rows if row[9] is not None]
        return Admission(caller, verified, suspended, windows(limits, counted))

    async def count(self, client: str, limits: Sequence[Limit]) -> tuple[Window, ...]:
        """A request of nobody known, counted for a client's address."""
        rows = await self.database.rows(_COUNT_CLIENT, {"client": client, **_buckets(limits)})
        return windows(limits, [(row[0], row[1], row[2]) for row in rows])


def _buckets(limits: Sequence[Limit]) -> dict[str, list[str] | list[int]]:
    return {"names": [limit.name for limit in limits], "seconds": [limit.seconds for limit in limits]}
