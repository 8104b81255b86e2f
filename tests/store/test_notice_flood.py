"""Notices from the table to the copy that leaves, with everything but Postfix real."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.links import Links
from mailrelay.core.notices import Code, Notice
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.core.sealed import vault
from mailrelay.flows import jobs as jobs_module
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.jobs import JobRunner
from mailrelay.flows.notices import Notices
from mailrelay.flows.notices import Office as NoticeOffice
from mailrelay.notices import load, printer
from mailrelay.store.database import Database
from mailrelay.store.jobs import JobStore
from mailrelay.store.ledger import Ledger
from mailrelay.store.notices import NoticeStore
from mailrelay.wiring.runtime import BatchedLedger
from tests.store.world import JOHN, Connection, value
from tests.unit.fakes import NOW, Outside, counter
from tests.unit.office import KEY, Office
from tests.unit.test_notices import rsa

PATIENCE_SECONDS = 60
VAULT = vault([b"a secret of the installation"])


class Worker:
    """A worker role with a name of its own."""

    def __init__(self, database: Database, name: str, outside: Outside) -> None:
        self.queue = JobStore(database, name)
        dispatcher = Dispatcher(BatchedLedger(Ledger(database)), outside, counter(hash(name) & 0xFFFFFFFF))
        office = NoticeOffice("mailrelay", printer(load()), lambda now: Links("https://app.relay.example", KEY, now))
        books = NoticeStore(database, VAULT, name)
        desk = Office()
        sealing = desk.locksmith.sealing
        notices = Notices(desk.rules, books, self.queue.finish, office, rsa, dispatcher, sealing, VAULT, lambda: NOW)
        self.runner = JobRunner(self.queue, {}, {"notice": notices.sift}, lambda: 0.5, lambda: NOW)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.runner.run(self.stop))

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, PATIENCE_SECONDS)

    async def killed(self) -> None:
        """At once, without a word to anybody."""
        self.runner.queue = Silent()  # type: ignore[assignment]
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Silent:
    """A queue that a dead worker cannot reach any more."""

    def __getattr__(self, name: str) -> object:
        async def unreachable(*arguments: object) -> object:
            raise Unavailable("dead")

        return unreachable


async def until_done(conn: Connection) -> None:
    query = "select count(*) from job where finished_at is null and failed_at is null and run_at <= now()"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await value(conn, query) > 0:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def flood(conn: Connection, times: int) -> None:
    """So many failed deliveries, and a notice of each."""
    payload = json.dumps(Notice(Code.FDN, AccountId(JOHN), data={"failed_id": 0}).to_json())
    await conn.execute(
        b"""
        with failed as (
            insert into failed_delivery (account_id, email_type, status, code)
            select %s, 'F', '5.1.1', 'no such user' from generate_series(1, %s)
            returning id
        )
        insert into job (kind, payload)
        select 'notice', jsonb_set(%s::jsonb, '{data,failed_id}', to_jsonb(id)) from failed
        """,
        (JOHN, times, payload),
    )


async def test_a_flood_ends_in_ten_notices_and_a_digest(database: Database, conn: Connection) -> None:
    """Two workers share it."""
    outside = Outside()
    await flood(conn, 10_000)
    workers = [Worker(database, name, outside) for name in ("one", "two")]
    await until_done(conn)
    assert [copy.rcpt for copy in outside.copies] == ["johndoe@inbox.example"] * 10
    assert await value(conn, "select (sent, suppressed) = (10, 9990) from notification_limit") is True
    await conn.execute("update job set run_at = now() where finished_at is null")
    workers[0].runner.wake.set()
    await until_done(conn)
    assert len(outside.copies) == 11
    assert b"Subject: 9990 more messages did not arrive" in b"".join(outside.copies[-1].content)
    for worker in workers:
        await worker.end()


async def test_a_worker_that_is_killed_in_between_costs_no_notice_and_doubles_none(
    database: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_PATIENCE_SECONDS", 0.0)
    outside = Outside()
    for number in range(3):
        await JobStore(database).post(Notice(Code.NRV, AccountId(JOHN), data={"recipient": f"{number}@inbox.example"}))
    first = Worker(database, "first", outside)
    reached = asyncio.Event()

    class Half(JobStore):
        """Its notices have gone out; that they have, it cannot tell any more."""

        async def finish(self, ids: object) -> None:
            reached.set()
            await asyncio.Event().wait()

    first.runner.queue = Half(database, "first")
    await asyncio.wait_for(reached.wait(), PATIENCE_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(outside.copies) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await first.killed()
    await conn.execute("update job set leased_until = now() - interval '1 second' where leased_until is not null")
    second = Worker(database, "second", outside)
    await until_done(conn)
    await second.end()
    assert len(outside.copies) == 3
    assert await value(conn, "select count(*) from job where finished_at is not null") == 3
    assert await value(conn, "select array_agg(distinct attempts) = '{2}' from job") is True


async def test_postfix_away_only_delays(database: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "backoff", lambda attempts, dice: timedelta(0))
    monkeypatch.setattr(jobs_module, "_POLL_SECONDS", 0.02)
    answers: list[Handed | Refused] = [Refused(451, "4.3.0 later"), Refused(451, "4.3.0 later")]

    def answer(copy: Copy) -> Handed | Refused:
        return answers.pop() if answers else Handed("4QqQ1")

    outside = replace(Outside(), answer=answer)
    await JobStore(database).post(Notice(Code.NRV, AccountId(JOHN), data={"recipient": "x@inbox.example"}))
    worker = Worker(database, "one", outside)
    await until_done(conn)
    await worker.end()
    assert len(outside.copies) == 1
    assert await value(conn, "select attempts from job") == 3
    assert await value(conn, "select array_agg(outcome) = '{delivered}' from ledger") is True
