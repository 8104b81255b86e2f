"""The queue of jobs: each is taken by one worker, and by another when that one is gone."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.facts import AccountId
from mailrelay.core.jobs import Depth, JobEnd, JobId, backoff
from mailrelay.core.notices import Code, Notice, from_json
from mailrelay.store import jobs as jobs_module
from mailrelay.store.database import Database
from mailrelay.store.jobs import JobStore, listen
from tests.store.world import Connection, value

LEASE = timedelta(minutes=2)
PATIENCE_SECONDS = 30
NOTICE = Notice(Code.LEAK, AccountId(1), data={"alias": "shop@alias.example", "places": "body"})


@pytest.fixture
def mine(database: Database) -> JobStore:
    return JobStore(database, "mine")


@pytest.fixture
def other(database: Database) -> JobStore:
    return JobStore(database, "other")


async def take(store: JobStore, limit: int = 10, kinds: tuple[str, ...] = ("notice", "count")) -> list[JobId]:
    return [job.id for job in await store.take(limit, LEASE, kinds)]


async def killed(conn: Connection) -> None:
    """What a worker had that is no more: its leases have ended, and it said nothing."""
    await conn.execute("update job set leased_until = now() - interval '1 second' where leased_until is not null")


async def waited(conn: Connection) -> None:
    await conn.execute("update job set run_at = now() where finished_at is null and failed_at is null")


async def test_a_notice_arrives_as_it_was_posted(mine: JobStore) -> None:
    await mine.post(NOTICE)
    [job] = await mine.take(10, LEASE, ["notice"])
    assert (job.kind, job.attempts, from_json(job.payload)) == ("notice", 1, NOTICE)


@pytest.mark.parametrize("odd", ["\0", "\ud800", "\u202e", "x" * 10_000])
async def test_texts_of_strangers_can_be_stored(mine: JobStore, odd: str) -> None:
    await mine.post(Notice(Code.ADUN, AccountId(1), data={"user_agent": f"before {odd} after"}))
    [job] = await mine.take(10, LEASE, ["notice"])
    assert str(from_json(job.payload).data["user_agent"]).startswith("before ")


async def test_equal_notices_that_wait_are_one(mine: JobStore) -> None:
    for _ in range(3):
        await mine.post(NOTICE)
    [first] = await take(mine)
    await mine.post(NOTICE)  # it is under way, hence not told yet
    assert await take(mine) == []
    await mine.finish([first])
    await mine.post(NOTICE)
    assert len(await take(mine)) == 1


async def test_who_asks_for_a_job_learns_how_it_ends(mine: JobStore) -> None:
    done = await mine.ask("count", {"n": 1}, "count:1")
    assert await mine.ask("count", {"n": 2}, "count:1") == done
    failed = await mine.ask("count", {"n": 2}, "count:2")
    assert [await mine.end(job) for job in (done, failed)] == [None, None]
    await take(mine)
    assert [await mine.end(job) for job in (done, failed)] == [None, None]
    await mine.finish([done])
    await mine.fail(failed, "a better reason", None)
    assert [await mine.end(job) for job in (done, failed)] == [JobEnd(""), JobEnd("a better reason")]
    assert await mine.ask("count", {"n": 3}, "count:1") not in (done, failed)


async def test_many_who_ask_at_once_wait_for_one_job(database: Database, conn: Connection) -> None:
    stores = [JobStore(database, str(number)) for number in range(20)]
    found = await asyncio.gather(*(store.ask("count", {"n": 1}, "count:1") for store in stores))
    assert len(set(found)) == 1
    assert await value(conn, "select count(*) from job") == 1


async def test_a_job_can_be_taken_back_unless_somebody_is_at_it(mine: JobStore, conn: Connection) -> None:
    begun = await mine.ask("count", {}, "count:1")
    await take(mine)
    idle = await mine.ask("count", {}, "count:2")
    for job in (begun, idle):
        await mine.withdraw(job)
    assert await value(conn, "select array_agg(id) from job") == [begun]
    await mine.finish([begun])
    await mine.withdraw(begun)
    assert await mine.end(begun) == JobEnd("")


async def test_what_looks_at_how_things_are_looks_again_if_it_is_asked_while_under_way(mine: JobStore) -> None:
    for _ in range(3):
        await mine.put("release", {}, "release:1")
    [first] = await take(mine, kinds=("release",))
    for _ in range(3):
        await mine.put("release", {}, "release:1")
    [second] = await take(mine, kinds=("release",))
    assert second != first
    await mine.finish([first, second])
    assert await take(mine, kinds=("release",)) == []


async def test_a_job_runs_when_it_is_due(mine: JobStore, conn: Connection) -> None:
    await mine.put("count", {}, run_at=datetime.now(UTC) + timedelta(hours=1))
    assert await take(mine) == []
    assert await mine.depth() == Depth(1, 0, 0.0)
    await waited(conn)
    assert len(await take(mine)) == 1


async def test_kinds_that_a_worker_does_not_know_are_left_to_others(mine: JobStore, other: JobStore) -> None:
    await mine.put("count", {})
    assert await take(mine, kinds=("notice",)) == []
    assert len(await take(other)) == 1


async def test_concurrent_workers_share_the_jobs(database: Database, conn: Connection) -> None:
    """Each job goes to one of them, and nobody waits for a row that another holds."""
    await conn.execute("insert into job (kind) select 'count' from generate_series(1, 500)")
    workers = [JobStore(database, f"worker-{number}") for number in range(8)]

    async def work(store: JobStore) -> list[JobId]:
        mine: list[JobId] = []
        while taken := await take(store, 7):
            mine += taken
        return mine

    taken = await asyncio.gather(*map(work, workers))
    every = [job_id for ids in taken for job_id in ids]
    assert len(every) == len(set(every)) == 500


async def test_rows_that_another_locks_are_passed_over(mine: JobStore, conn: Connection) -> None:
    for number in range(3):
        await mine.put("count", {"n": number})
    async with conn.transaction():
        await conn.execute("select from job where id = 1 for update")
        assert await asyncio.wait_for(take(mine), 20) == [2, 3]


async def test_the_jobs_of_a_killed_worker_are_done_by_another(
    mine: JobStore, other: JobStore, conn: Connection
) -> None:
    await mine.put("count", {})
    [job_id] = await take(mine)
    assert await take(other) == []
    await killed(conn)
    [again] = await other.take(10, LEASE, ["count"])
    assert (again.id, again.attempts) == (job_id, 2)
    # The first was slow, not dead: what it says does not count any more.
    await mine.finish([job_id])
    await mine.fail(job_id, "too late", None)
    assert await mine.extend([job_id], LEASE) == set()
    assert await value(conn, "select finished_at is null and failed_at is null from job") is True
    await other.finish([job_id])
    assert await value(conn, "select finished_at is not null from job") is True


async def test_a_lease_can_be_prolonged(mine: JobStore, other: JobStore, conn: Connection) -> None:
    await mine.put("count", {})
    [job_id] = await take(mine)
    await killed(conn)
    assert await mine.extend([job_id], LEASE) == {job_id}
    assert await take(other) == []


async def test_each_attempt_has_a_longer_lease(mine: JobStore, conn: Connection) -> None:
    """Workers that end again and again, for whatever reason, do not use up all attempts in some minutes."""
    await mine.put("count", {})
    for attempt in (1, 2, 3):
        [job_id] = await take(mine)
        await mine.extend([job_id], LEASE)  # which shortens nothing
        seconds = await value(conn, "select extract(epoch from leased_until - now()) from job")
        assert round(float(str(seconds)), -1) == attempt * LEASE.total_seconds()
        await killed(conn)


async def test_a_job_that_kills_its_workers_is_given_up(mine: JobStore, conn: Connection) -> None:
    await conn.execute("insert into job (kind, max_attempts) values ('count', 2)")
    for _ in range(2):
        assert await take(mine) == [1]
        await killed(conn)
    assert await take(mine) == []
    assert await value(conn, "select last_error from job where failed_at is not null") == "its worker ended each time"


async def test_a_failed_job_rests_and_is_given_up_in_the_end(mine: JobStore, conn: Connection) -> None:
    await conn.execute("insert into job (kind, max_attempts) values ('count', 2)")
    await take(mine)
    await mine.fail(JobId(1), "no\nroute", timedelta(minutes=5))
    assert await take(mine) == []
    assert await value(conn, "select run_at between now() + interval '4 min' and now() + interval '6 min' from job")
    assert await value(conn, "select last_error from job") == "no route"
    await waited(conn)
    assert await take(mine) == [1]
    await mine.fail(JobId(1), "still no route", timedelta(minutes=5))
    assert await value(conn, "select failed_at is not null from job") is True


async def test_a_job_that_only_has_to_wait_is_tried_until_patience_ends(mine: JobStore, conn: Connection) -> None:
    await conn.execute("insert into job (kind, max_attempts) values ('count', 1)")
    for _ in range(3):
        assert await take(mine) == [1]
        await mine.fail(JobId(1), "no route", timedelta(minutes=5), timedelta(days=4))
        assert await value(conn, "select failed_at is null from job") is True
        await waited(conn)
    await conn.execute("update job set created_at = now() - interval '4 days'")
    assert await take(mine) == [1]
    await mine.fail(JobId(1), "no route", timedelta(minutes=5), timedelta(days=4))
    assert await value(conn, "select failed_at is not null from job") is True


async def test_what_can_never_work_is_given_up_at_once(mine: JobStore, conn: Connection) -> None:
    await mine.put("count", {})
    await take(mine)
    await mine.fail(JobId(1), "no such thing", None)
    assert await value(conn, "select failed_at is not null and leased_until is null from job") is True


async def test_a_job_that_was_not_begun_goes_back(mine: JobStore, other: JobStore) -> None:
    await mine.put("count", {})
    await mine.give_back(await take(mine))
    [job] = await other.take(10, LEASE, ["count"])
    assert job.attempts == 1


async def test_a_finished_job_keeps_nothing_that_is_somebodys(mine: JobStore, conn: Connection) -> None:
    await mine.post(NOTICE)
    await mine.finish(await take(mine))
    assert "shop" not in json.dumps(await value(conn, "select payload from job"))


async def test_the_depth_names_the_oldest(mine: JobStore, conn: Connection) -> None:
    assert await mine.depth() == Depth(0, 0, 0.0)
    await conn.execute("insert into job (kind, run_at) values ('count', now() - interval '1 hour'), ('count', now())")
    depth = await mine.depth()
    assert (depth.waiting, depth.due) == (2, 2)
    assert 3590 < depth.oldest_due_seconds < 3700


async def test_workers_are_woken(dsn: str, mine: JobStore, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a new job, and whenever a connection begins, as one may have been added before."""
    monkeypatch.setattr(jobs_module, "_RETRY_SECONDS", 0.01)
    woken: asyncio.Queue[None] = asyncio.Queue()
    task = asyncio.create_task(listen(dsn, lambda: woken.put_nowait(None)))
    try:
        await asyncio.wait_for(woken.get(), PATIENCE_SECONDS)
        await mine.put("count", {})
        await asyncio.wait_for(woken.get(), PATIENCE_SECONDS)
        await conn.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'mailrelay jobs'"
        )
        await asyncio.wait_for(woken.get(), PATIENCE_SECONDS)
        assert woken.empty()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("attempts", "dice", "seconds"),
    [(1, 0.5, 30), (2, 0.5, 60), (4, 0.5, 240), (8, 0.5, 3600), (1000, 0.5, 3600), (1, 0.0, 22.5), (1, 1.0, 37.5)],
)
def test_the_rest_grows_up_to_an_hour(attempts: int, dice: float, seconds: float) -> None:
    assert backoff(attempts, dice) == timedelta(seconds=seconds)
