"""Clearing away what is old, in small steps; one worker at a time, on a connection that holds the leader's lock."""

from collections.abc import Mapping
from datetime import datetime
from typing import LiteralString

from mailrelay.core.retention import Batch, Kind
from mailrelay.store.leader import Leader

# Any number will do that no other program locks in this database: "mrretn" in ASCII.
_LOCK = 120338312950894

# Every statement below gives: rows touched, the position that the next one shall get, whether more is left. They take
# a position ('': the beginning), so that a long sweep does not pass over its own dead rows again and again.
# `= any (array(…))`, as a join might be planned as a scan of the whole table.


def _by_age(table: LiteralString, stamp: LiteralString, also: LiteralString = "true") -> LiteralString:
    """Deletes the oldest rows by an indexed time."""
    return f"""
        with old as (
            select ctid, {stamp} as stamp from {table}
            where {stamp} >= coalesce(nullif(%(after)s, ''), '-infinity')::timestamptz and {stamp} < %(before)s
              and {also}
            order by {stamp} limit %(limit)s
        ), gone as (
            delete from {table} where ctid = any (array(select ctid from old)) returning 1
        )
        select (select count(*) from gone), coalesce((select max(stamp) from old)::text, %(after)s),
               (select count(*) from old) = %(limit)s
    """


# Some tables have no index on `at`, but ids rise with time: their oldest rows are the first of the primary key.
def _page(table: LiteralString, columns: LiteralString = "id, at") -> LiteralString:
    return f"""
    page as (
        select {columns} from {table} where id > coalesce(nullif(%(after)s, ''), '0')::bigint
        order by id limit %(limit)s
    )
    """


def _by_id(table: LiteralString) -> LiteralString:
    """Deletes the oldest rows by their ids."""
    return f"""
    with {_page(table)}, gone as (
        delete from {table} where id = any (array(select id from page where at < %(before)s)) returning 1
    )
    select (select count(*) from gone), coalesce((select max(id) from page)::text, %(after)s),
           (select count(*) from page where at < %(before)s) = %(limit)s
    """


# The next position is before the first row that was too young, not after the last one that was old enough: ids rise
# with time only nearly, as transactions that began early may insert late.
_QUEUED: LiteralString = f"""
    with {_page("ledger", "id, at, outcome")}, ended as (
        update ledger set outcome = 'failed', reason = 'expired_in_queue', finished_at = now()
        where id = any (array(select id from page where at < %(before)s and outcome = 'queued'))
          and outcome = 'queued'
        returning 1
    )
    select (select count(*) from ended),
           coalesce((select min(id) - 1 from page where at >= %(before)s), (select max(id) from page))::text,
           (select count(*) from page where at < %(before)s) = %(limit)s
"""

_SWEEPS: Mapping[Kind, LiteralString] = {
    Kind.OUTBOUND: _by_age("outbound", "created_at"),
    # Passes over three months of bandwidth: some per account and month, so cheaper than one more index on every mail.
    Kind.RATE_WINDOW: _by_age("rate_window", "window_start", "kind not in ('bandwidth', 'bounce')"),
    Kind.BANDWIDTH: _by_age("rate_window", "window_start", "kind = 'bandwidth'"),
    Kind.BOUNCES: _by_age("rate_window", "window_start", "kind = 'bounce'"),
    # Without an index, as each window that opens would have to move in it; there are some for each account in use.
    Kind.REQUEST_WINDOW: _by_age("request_window", "opened_at"),
    Kind.MESSAGE_ID: _by_age("message_id", "created_at"),
    # The index is on the creation, which comes before the expiry.
    Kind.CONFIRMATION: _by_age("confirmation", "created_at", "expires_at < %(before)s"),
    Kind.SESSION: _by_age("session", "refresh_expires_at"),
    Kind.TOKEN: _by_age("token", "least(revoked_at, expires_at)", "kind = 'addy'"),
    Kind.STORED_MESSAGE: _by_age("stored_message", "expires_at"),
    # Its trigger ends what the ledger has as held.
    Kind.FAILED_DELIVERY: _by_age("failed_delivery", "created_at"),
    Kind.RECEIVER_MEMORY: _by_age("receiver_memory", "updated_at"),
    Kind.JOB_DONE: _by_age("job", "coalesce(finished_at, failed_at)", "finished_at is not null"),
    Kind.JOB_GIVEN_UP: _by_age("job", "coalesce(finished_at, failed_at)", "failed_at is not null"),
    Kind.OUTBOX: _by_age("outbox", "created_at"),
    Kind.COMPLAINT: _by_id("complaint"),
    Kind.NOTIFICATION_LIMIT: _by_age("notification_limit", "window_start"),
    Kind.API_LOG: _by_id("api_log"),
    Kind.AUDIT: _by_age("audit", "at"),
    # Without an index: there are as many as domains were proposed lately.
    Kind.DNS_REQUEST: _by_age("dns_request", "expires_at", "status in ('EXPIRED', 'FAILED')"),
    Kind.QUEUED: _QUEUED,
    Kind.LEDGER: _by_id("ledger"),
}

# A stored message is up to some 10 000 rows of 2 kB behind the scenes.
_HEAVY = frozenset({Kind.STORED_MESSAGE, Kind.FAILED_DELIVERY})

# Halves the primary key until it stands at the first row that is young enough: 24 look-ups among 10 million rows, where
# reading them all would take seconds. It aims ten minutes too early, as ids rise with time only nearly.
FIRST_SINCE: LiteralString = """
    search (low, high) as (
        select coalesce((select min(id) from ledger), 0), coalesce((select max(id) from ledger), 0) + 1
        union all
        select case when probe.at < aim then probe.id + 1 else low end,
               case when probe.at < aim then high else middle end
        from search,
             lateral (select low + (high - low) / 2 as middle, %(since)s::timestamptz - interval '10 minutes' as aim) m,
             lateral (select id, at from ledger where id >= middle order by id limit 1) probe
        where low < high
    )
"""

# The last condition sorts exactly.
_OUTCOMES: LiteralString = f"""
    with recursive {FIRST_SINCE}
    select outcome, count(*) from ledger
    where id >= (select max(low) from search) and at >= %(since)s
    group by outcome
"""


class RetentionStore:
    """The worker's own connection. Every method raises Unavailable when the database is in trouble."""

    def __init__(self, dsn: str, batch_rows: int = 5000) -> None:
        self._batch_rows = batch_rows
        self._leader = Leader(dsn, _LOCK, "worker")

    async def lead(self) -> bool:
        """True: this process is the one that clears away, until its connection ends. Connects when needed.

        Several that did would disturb each other no more than mail does.
        """
        return await self._leader.lead()

    async def sweep(self, kind: Kind, before: datetime, position: str) -> Batch:
        """One step: what is older than `before`, from a position on ('': the beginning)."""
        limit = max(1, self._batch_rows // 50) if kind in _HEAVY else self._batch_rows
        [row] = await self._leader.rows(_SWEEPS[kind], {"before": before, "after": position, "limit": limit})
        rows, next_position, more = row
        return Batch(rows, position if next_position is None else next_position, more)

    async def outcomes(self, since: datetime) -> Mapping[str, int]:
        """The number of ledger rows by outcome, of those that came since."""
        return {row[0]: row[1] for row in await self._leader.rows(_OUTCOMES, {"since": since})}

    async def close(self) -> None:
        """Give up the lead; another `lead` connects again."""
        await self._leader.close()
