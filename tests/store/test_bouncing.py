"""Contacts that refuse and aliases that bounce, as replies arrive and jobs are done."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.failing import AliasBounces, Pattern
from mailrelay.core.ledger import OutboundId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.verp import EmailType
from mailrelay.flows.bouncing import BouncingAliases
from mailrelay.store.database import Database
from mailrelay.store.failing import FailingStore
from mailrelay.store.jobs import JobStore
from tests.store.bouncing import HARD, SOFT, Desk, desk_of
from tests.store.world import JOHN, OTHER, Connection, alias, until_waiting, value

LEASE = timedelta(minutes=1)


@pytest.fixture
async def desk(conn: Connection, database: Database) -> Desk:
    return await desk_of(conn, database)


@pytest.fixture
def store(database: Database) -> FailingStore:
    return FailingStore(database)


# -- Contacts ------------------------------------------------------------------------------------------------------


async def test_7_5_a_reply_that_arrived_ends_the_row_of_failures(
    desk: Desk, store: FailingStore, conn: Connection
) -> None:
    forward, reply = await desk.copy(), await desk.copy(EmailType.REPLY)
    await desk.bounce(HARD, EmailType.REPLY)
    await desk.bounce(HARD, EmailType.REPLY)
    await store.note_contact_success([forward.id, OutboundId(5)])
    assert await value(conn, "select hard_failures from contact") == 2
    await store.note_contact_success([reply.id])
    assert await value(conn, "select hard_failures from contact") == 0
    await desk.bounce(HARD, EmailType.SEND)
    assert await value(conn, "select suppressed_until from contact") is None


# -- Aliases -------------------------------------------------------------------------------------------------------


async def work(desk: Desk, store: FailingStore) -> None:
    """Do the jobs that bounces posted."""
    handler = BouncingAliases(store, lambda: datetime.now(UTC))
    for row in await desk.rows("job"):
        if row["kind"] == "alias_bounces":
            await handler(row["payload"])


async def test_7_5_by_default_bounces_deactivate_nothing(desk: Desk, store: FailingStore, conn: Connection) -> None:
    for _ in range(13):
        await desk.bounce(SOFT)
    assert await value(conn, "select count(*) from job where kind <> 'notice'") == 0
    assert await value(conn, "select sum(amount) from rate_window where kind = 'bounce'") == 13
    assert await store.bounces(AccountId(JOHN), desk.alias_id, datetime.now(UTC)) is None


async def test_7_5_an_alias_that_bounces_too_much_is_deactivated_where_that_is_wanted(
    desk: Desk, store: FailingStore, conn: Connection
) -> None:
    await conn.execute(
        "update account set auto_disable_bouncing_alias = true, failed_delivery_notification_preference = 3"
    )
    for _ in range(12):
        await desk.bounce(SOFT)
    for kind in (EmailType.REPLY, EmailType.SEND, EmailType.NOTIFICATION):
        await desk.bounce(HARD, kind)
    assert await value(conn, "select count(*) from job") == 1
    await work(desk, store)
    assert await value(conn, "select state from alias") == "active"
    await desk.bounce(SOFT)
    await work(desk, store)
    await work(desk, store)
    assert await value(conn, "select state from alias") == "inactive"
    [notice] = await desk.notices()
    assert (notice.code, notice.account_id, notice.recipient_id) == (Code.ADUN, JOHN, None)
    assert notice.data["alias"] == "a1@alias.example"
    assert notice.data["alias_uuid"] == str(await value(conn, "select uuid from alias"))
    assert (notice.data["reason"], notice.data["ip"], notice.data["user_agent"]) == ("bounces_day", "", "")
    assert await value(conn, "select detail ->> 'reason' from audit") == "bounces_day"


async def once(worker: JobStore, store: FailingStore) -> int:
    """A worker takes what is due and does it. Gives how much that was."""
    jobs = await worker.take(10, LEASE, ["alias_bounces"])
    for job in jobs:
        await BouncingAliases(store, lambda: datetime.now(UTC))(job.payload)
    await worker.finish([job.id for job in jobs])
    return len(jobs)


@pytest.fixture
async def on_the_brink(desk: Desk, conn: Connection) -> Desk:
    """With the next bounce the alias has too many."""
    await conn.execute(
        "update account set auto_disable_bouncing_alias = true, failed_delivery_notification_preference = 3"
    )
    for _ in range(12):
        await desk.bounce(SOFT)
    return desk


async def test_7_5_a_bounce_that_comes_while_the_others_are_judged_counts(
    on_the_brink: Desk, store: FailingStore, database: Database, conn: Connection
) -> None:
    worker = JobStore(database, "worker")
    [job] = await worker.take(10, LEASE, ["alias_bounces"])
    await BouncingAliases(store, lambda: datetime.now(UTC))(job.payload)
    for _ in range(2):
        await on_the_brink.bounce(SOFT)
    await worker.finish([job.id])
    assert await value(conn, "select state from alias") == "active"
    assert await once(worker, store) == 1
    assert await value(conn, "select state from alias") == "inactive"


async def test_7_5_a_bounce_that_is_being_written_is_judged_when_it_is(
    on_the_brink: Desk, store: FailingStore, database: Database, conn: Connection
) -> None:
    """A worker that took the job before the end of the transaction would not see its bounce."""
    worker = JobStore(database, "worker")
    await conn.execute("""
        create function wait_for_the_test() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock(1); return null; end $$;
        create trigger wait after insert on job for each statement execute function wait_for_the_test();
        select pg_advisory_lock(1)
    """)
    async with asyncio.TaskGroup() as group:
        group.create_task(on_the_brink.bounce(SOFT))
        await until_waiting(conn)
        await once(worker, store)
        await conn.execute("select pg_advisory_unlock(1)")
    assert await once(worker, store) == 1
    assert await value(conn, "select state from alias") == "inactive"


async def test_what_an_alias_is_judged_by(desk: Desk, store: FailingStore, conn: Connection) -> None:
    await conn.execute("update account set auto_disable_bouncing_alias = true")
    other = AliasId(await alias(conn, "other@alias.example"))
    for subject, hours, amount in [(desk.alias_id, 0, 2), (other, 0, 3), (other, 30, 5), (other, 241, 9)]:
        await conn.execute(
            "insert into rate_window (account_id, kind, subject, window_start, amount)"
            " values (%s, 'bounce', %s, date_trunc('hour', now()) - make_interval(hours => %s), %s)",
            (JOHN, str(subject), hours, amount),
        )
    now = datetime.now(UTC)
    found = await store.bounces(AccountId(JOHN), desk.alias_id, now)
    assert isinstance(found, AliasBounces)
    assert (found.address, [one.count for one in found.own]) == ("a1@alias.example", [2])
    assert [one.count for one in found.account] == [5, 5]
    assert await store.bounces(AccountId(OTHER), desk.alias_id, now) is None
    notice = Notice(Code.ADUN, AccountId(JOHN), data={"alias": found.address})
    assert not await store.deactivate(AccountId(OTHER), desk.alias_id, Pattern.DAY, notice)
    assert await store.deactivate(AccountId(JOHN), desk.alias_id, Pattern.DAY, notice)
    assert not await store.deactivate(AccountId(JOHN), desk.alias_id, Pattern.DAY, notice)
    assert await store.bounces(AccountId(JOHN), desk.alias_id, now) is None
