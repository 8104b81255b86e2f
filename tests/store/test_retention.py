"""The worker's statements on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from mailrelay.config import Worker
from mailrelay.core.errors import Unavailable
from mailrelay.core.retention import Kind, cutoffs
from mailrelay.flows.retain import Retention
from mailrelay.store.retention import RetentionStore
from tests.store.world import JOHN, WORLD, Connection, value

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BEFORE = cutoffs(NOW, 6, 90)
SECOND = timedelta(seconds=1)

# One insert per kind; %(n)s makes rows differ, %(at)s is the time that counts.
ROWS = {
    Kind.OUTBOUND: """
        insert into outbound (id, destination, email_type, mode, ingress_queue_id, created_at)
        values (%(n)s, 'me@inbox.example', 'F', 'transparent', 'Q1', %(at)s)""",
    Kind.RATE_WINDOW: """
        insert into rate_window (account_id, kind, subject, window_start)
        values (1, 'message', %(n)s, %(at)s)""",
    Kind.BANDWIDTH: """
        insert into rate_window (account_id, kind, subject, window_start)
        values (1, 'bandwidth', %(n)s, %(at)s)""",
    Kind.BOUNCES: """
        insert into rate_window (account_id, kind, subject, window_start)
        values (1, 'bounce', %(n)s, %(at)s)""",
    Kind.REQUEST_WINDOW: """
        insert into request_window (name, subject, seconds, opened_at, hits)
        values ('api', gen_random_uuid()::text, 60, %(at)s, 1)""",
    Kind.DNS_REQUEST: """
        insert into dns_request (target, type, status, expires_at)
        values ('d' || %(n)s || '.example', 'UI', 'EXPIRED', %(at)s)""",
    Kind.MESSAGE_ID: """
        insert into message_id (account_id, alias_id, our_id, original_id, created_at)
        select account_id, id, %(n)s, 'x@inbox.example', %(at)s from alias""",
    Kind.CONFIRMATION: """
        insert into confirmation (intent, email, alias_name, code_mac, created_at, expires_at)
        values ('subscribe', 'me@inbox.example', %(n)s, sha256(%(n)s::text::bytea), %(at)s - interval '1 hour', %(at)s)
        """,
    Kind.SESSION: """
        insert into session (account_id, family, refresh_hash, refresh_expires_at)
        values (1, gen_random_uuid(), sha256(%(n)s::text::bytea), %(at)s)""",
    Kind.TOKEN: """
        insert into token (account_id, kind, hash, expires_at)
        values (1, 'addy', sha256(%(n)s::text::bytea), %(at)s)""",
    Kind.STORED_MESSAGE: """
        insert into stored_message (account_id, kind, content, key_id, size_octets, expires_at)
        values (1, 'spool', '', 'k', 0, %(at)s)""",
    Kind.FAILED_DELIVERY: """
        insert into failed_delivery (account_id, email_type, created_at) values (1, 'F', %(at)s)""",
    Kind.RECEIVER_MEMORY: """
        insert into receiver_memory (receiver, updated_at) values (%(n)s, %(at)s)""",
    Kind.JOB_DONE: """
        insert into job (kind, dedupe_key, finished_at) values ('notice', %(n)s, %(at)s)""",
    Kind.JOB_GIVEN_UP: """
        insert into job (kind, dedupe_key, failed_at) values ('notice', %(n)s, %(at)s)""",
    Kind.OUTBOX: """
        insert into outbox (account_id, event, payload, created_at) values (1, 'mail.failed', '{}', %(at)s)""",
    Kind.COMPLAINT: """
        insert into complaint (account_id, outbound_id, email_type, at) values (1, %(n)s, 'F', %(at)s)""",
    Kind.NOTIFICATION_LIMIT: """
        insert into notification_limit (account_id, kind, subject, window_start)
        values (1, 'FDN', %(n)s, %(at)s)""",
    Kind.API_LOG: """
        insert into api_log (owner_email, route, body, at) values ('me@inbox.example', '/x', '{}', %(at)s)""",
    Kind.AUDIT: """
        insert into audit (actor, action, object_table, at) values ('worker', 'held.read', 'ledger', %(at)s)""",
    Kind.LEDGER: """
        insert into ledger (ingress_key, rcpt, outcome, at)
        values (substr(sha256(%(n)s::text::bytea), 1, 16), 'shop@alias.example', 'delivered', %(at)s)""",
    Kind.QUEUED: """
        insert into ledger (ingress_key, rcpt, outcome, at)
        values (substr(sha256(%(n)s::text::bytea), 1, 16), 'shop@alias.example', 'queued', %(at)s)""",
}


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute(WORLD.encode())
        await conn.execute(
            "insert into alias (account_id, local_part, domain) values (%s, 'shop', 'alias.example')", (JOHN,)
        )
        yield conn


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[RetentionStore]:
    """Takes two rows a step, and leads."""
    store = RetentionStore(dsn, batch_rows=2)
    assert await store.lead()
    yield store
    await store.close()


async def add(conn: Connection, kind: Kind, *times: datetime) -> None:
    first = await value(conn, f"select count(*) from {kind.table}")
    for n, at in enumerate(times, first):
        await conn.execute(ROWS[kind].encode(), {"n": str(n), "at": at})


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Other sessions of the server do things a moment later."""
    async with asyncio.timeout(20):
        while not await condition():
            pass  # each time the server is asked


async def sweep(store: RetentionStore, kind: Kind, position: str = "") -> tuple[list[int], str]:
    """All steps: rows of each, and the last position."""
    steps = []
    while True:
        batch = await store.sweep(kind, BEFORE[kind], position)
        steps.append(batch.rows)
        position = batch.position
        if not batch.more:
            return steps, position


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.QUEUED])
async def test_old_rows_go_and_young_ones_stay(conn: Connection, store: RetentionStore, kind: Kind) -> None:
    old, young = BEFORE[kind] - SECOND, BEFORE[kind]
    await add(conn, kind, old - timedelta(days=7), old - timedelta(days=6), old, young, young + timedelta(days=1))
    steps, _ = await sweep(store, kind)
    assert sum(steps) == 3
    assert max(steps) <= 2
    assert await value(conn, f"select count(*) from {kind.table}") == 2
    assert sum((await sweep(store, kind))[0]) == 0


@pytest.mark.parametrize("kind", [Kind.OUTBOUND, Kind.RATE_WINDOW, Kind.BANDWIDTH])
async def test_rows_of_the_same_moment_all_go(conn: Connection, store: RetentionStore, kind: Kind) -> None:
    await add(conn, kind, *[BEFORE[kind] - SECOND] * 7)
    steps, _ = await sweep(store, kind)
    assert steps == [2, 2, 2, 1]


async def test_bandwidth_is_kept_longer_than_other_windows(conn: Connection, store: RetentionStore) -> None:
    await add(conn, Kind.BANDWIDTH, *[NOW - timedelta(days=9)] * 5)
    await add(conn, Kind.RATE_WINDOW, *[NOW - timedelta(days=9)] * 5)
    assert sum((await sweep(store, Kind.RATE_WINDOW))[0]) == 5
    assert sum((await sweep(store, Kind.BANDWIDTH))[0]) == 0
    assert await value(conn, "select count(*) from rate_window where kind = 'bandwidth'") == 5


async def test_bounces_of_a_day_are_kept_longer_than_other_windows(conn: Connection, store: RetentionStore) -> None:
    await add(conn, Kind.BOUNCES, NOW - timedelta(days=11), NOW - timedelta(days=13))
    await add(conn, Kind.RATE_WINDOW, NOW - timedelta(days=11))
    assert sum((await sweep(store, Kind.RATE_WINDOW))[0]) == 1
    assert sum((await sweep(store, Kind.BOUNCES))[0]) == 1
    assert await value(conn, "select kind from rate_window") == "bounce"


async def test_jobs_that_were_given_up_stay_longer_and_those_that_wait_for_ever(
    conn: Connection, store: RetentionStore
) -> None:
    await add(conn, Kind.JOB_GIVEN_UP, NOW - timedelta(days=13))
    await add(conn, Kind.JOB_DONE, NOW - timedelta(days=2))
    await conn.execute("insert into job (kind, created_at, run_at) values ('x', '2020-01-01', '2020-01-01')")
    for kind in (Kind.JOB_DONE, Kind.JOB_GIVEN_UP):
        await sweep(store, kind)
    assert await value(conn, "select count(*) from job where failed_at is not null") == 1
    assert await value(conn, "select count(*) from job") == 2


async def test_an_old_confirmation_that_still_holds_stays(conn: Connection, store: RetentionStore) -> None:
    await add(conn, Kind.CONFIRMATION, NOW - timedelta(days=60))
    await conn.execute("update confirmation set expires_at = %s", (NOW,))
    assert (await sweep(store, Kind.CONFIRMATION))[0] == [0]


async def test_a_failed_delivery_takes_its_message_along(conn: Connection, store: RetentionStore) -> None:
    await add(conn, Kind.FAILED_DELIVERY, BEFORE[Kind.FAILED_DELIVERY] - SECOND)
    await conn.execute("""
        insert into stored_message (account_id, failed_delivery_id, kind, content, key_id, size_octets, expires_at)
        select account_id, id, 'failed', '', 'k', 0, 'infinity' from failed_delivery""")
    await sweep(store, Kind.FAILED_DELIVERY)
    assert await value(conn, "select count(*) from stored_message") == 0


async def test_what_was_held_is_discarded_with_its_record(conn: Connection, store: RetentionStore) -> None:
    old = BEFORE[Kind.FAILED_DELIVERY] - SECOND
    for at in (old, NOW):
        await conn.execute(
            """
            with entry as (
                insert into ledger (ingress_key, rcpt, outcome, reason)
                values (substr(sha256(%(at)s::text::bytea), 1, 16), 'shop@alias.example', 'held', 'loop') returning id)
            insert into failed_delivery (account_id, email_type, ledger_id, created_at)
            select 1, 'F', id, %(at)s from entry
            """,
            {"at": at},
        )
    assert sum((await sweep(store, Kind.FAILED_DELIVERY))[0]) == 1
    rows = await (await conn.execute("select outcome, reason, finished_at is null from ledger order by id")).fetchall()
    assert rows == [("discarded", "loop", False), ("held", "loop", True)]


async def test_what_waited_too_long_in_the_queue_has_failed(conn: Connection, store: RetentionStore) -> None:
    old = BEFORE[Kind.QUEUED] - SECOND
    await add(conn, Kind.QUEUED, old, old, old)
    await add(conn, Kind.LEDGER, old)
    await add(conn, Kind.QUEUED, old, NOW)
    steps, _ = await sweep(store, Kind.QUEUED)
    assert sum(steps) == 4
    rows = await (await conn.execute("select outcome, reason, finished_at is null from ledger order by id")).fetchall()
    expired = ("failed", "expired_in_queue", False)
    assert rows == [expired, expired, expired, ("delivered", None, True), expired, ("queued", None, True)]


async def test_the_walk_passes_no_row_that_was_too_young(conn: Connection, store: RetentionStore) -> None:
    """Ids rise with time only nearly: here the third row is older than the second."""
    edge = BEFORE[Kind.QUEUED]
    await add(conn, Kind.QUEUED, edge - 2 * SECOND, edge + SECOND, edge - SECOND)
    _, position = await sweep(store, Kind.QUEUED)
    assert position == "1"
    later = await store.sweep(Kind.QUEUED, edge + timedelta(hours=1), position)
    assert later.rows == 2
    assert later.position == "3"


async def test_a_position_beyond_the_end_stays_where_it_is(store: RetentionStore) -> None:
    batch = await store.sweep(Kind.QUEUED, NOW, "41")
    assert (batch.rows, batch.position, batch.more) == (0, "41", False)


async def test_outcomes_counts_what_came_since(conn: Connection, store: RetentionStore) -> None:
    since = NOW - timedelta(hours=24)
    await add(conn, Kind.LEDGER, *[NOW - timedelta(days=day) for day in range(40, 1, -1)])
    await add(conn, Kind.LEDGER, since - SECOND, since, NOW)
    await add(conn, Kind.QUEUED, since + SECOND)
    await add(conn, Kind.LEDGER, since - SECOND)  # a transaction that began early and inserted late
    assert await store.outcomes(since) == {"delivered": 2, "queued": 1}


@pytest.mark.parametrize("gone", ["false", "true", "id % 7 > 0", "id < 300", "id > 20", "id between 100 and 350"])
async def test_outcomes_finds_the_day_whatever_ids_are_missing(
    conn: Connection, store: RetentionStore, gone: str
) -> None:
    await conn.execute(
        """
        insert into ledger (ingress_key, rcpt, outcome, at)
        select substr(sha256(n::text::bytea), 1, 16), 'shop@alias.example', 'delivered', %s - n * interval '10 minutes'
        from generate_series(400, 1, -1) n
        """,
        (NOW,),
    )
    await conn.execute(f"delete from ledger where {gone}".encode())
    since = NOW - timedelta(hours=24)
    expected = await value(conn, "select count(*) from ledger where at >= %s", since)
    assert sum((await store.outcomes(since)).values()) == expected


async def test_outcomes_reads_only_what_is_recent(conn: Connection, store: RetentionStore) -> None:
    await conn.execute(
        """
        insert into ledger (ingress_key, rcpt, outcome, at)
        select substr(sha256(n::text::bytea), 1, 16), 'shop@alias.example', 'delivered', %s - n * interval '1 minute'
        from generate_series(50000, 1, -1) n
        """,
        (NOW,),
    )
    await conn.execute("select pg_stat_reset()")
    assert await store.outcomes(NOW - timedelta(hours=2)) == {"delivered": 120}
    await store.close()  # the session's statistics are written when it ends
    read = "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'ledger'"

    async def written() -> bool:
        return bool(await value(conn, read))

    await until(written)
    assert await value(conn, read) < 500


async def test_one_leads_and_the_next_takes_over(dsn: str, store: RetentionStore) -> None:
    second = RetentionStore(dsn)
    assert not await second.lead()
    assert await store.lead()
    await store.close()
    await until(second.lead)
    await second.close()


async def test_a_broken_connection_is_unavailable_and_then_made_anew(conn: Connection, store: RetentionStore) -> None:
    await conn.execute(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name like %s", ("mailrelay%",)
    )
    with pytest.raises(Unavailable, match=r"^database: "):
        await store.sweep(Kind.OUTBOUND, NOW, "")
    with pytest.raises(Unavailable):
        await store.outcomes(NOW)
    await until(store.lead)
    assert (await store.sweep(Kind.OUTBOUND, NOW, "")).rows == 0


async def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"^database: OperationalError$"):
        await RetentionStore(f"host={tmp_path} dbname=mailrelay").lead()


async def test_the_whole_round(dsn: str, conn: Connection) -> None:
    for kind in Kind:
        await add(conn, kind, BEFORE[kind] - timedelta(days=1))
    stop = asyncio.Event()
    store = RetentionStore(dsn)
    retention = Retention(store, Worker(), lambda: NOW)
    running = asyncio.create_task(retention.run(stop))

    async def done() -> bool:
        return not await value(conn, "select count(*) from ledger where outcome = 'delivered'")

    await until(done)
    stop.set()
    await asyncio.wait_for(running, 20)
    assert retention.health == "ok"
    for kind in Kind:
        assert await value(conn, f"select count(*) from {kind.table}") == (1 if kind.table == "ledger" else 0)
    assert await value(conn, "select reason from ledger") == "expired_in_queue"


async def test_tokens_go_a_week_after_their_end_and_api_keys_stay(store: RetentionStore, conn: Connection) -> None:
    for name, kind, mailbox, expires, revoked in (
        ("expired", "addy", None, 8, None),
        ("revoked", "addy", None, -100, 8),
        ("lately", "addy", None, 6, None),
        ("good", "addy", None, -100, None),
        ("for ever", "addy", None, None, None),
        ("key", "api_key", "me@inbox.example", 100, 100),
    ):
        await conn.execute(
            "insert into token (account_id, kind, name, hash, owner_email, expires_at, revoked_at) values"
            " (1, %s, %s, sha256(%s::text::bytea), %s, now() - %s * interval '1 day', now() - %s * interval '1 day')",
            (kind, name, name, mailbox, expires, revoked),
        )
    await store.lead()
    now = datetime.now(UTC)
    assert (await store.sweep(Kind.TOKEN, cutoffs(now, 6, 90)[Kind.TOKEN], "")).rows == 2
    left = await (await conn.execute("select name from token order by id")).fetchall()
    assert [name for (name,) in left] == ["lately", "good", "for ever", "key"]
