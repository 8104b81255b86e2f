"""Whom notices reach and how many there were, in PostgreSQL."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.held import place
from mailrelay.core.jobs import Job, JobId
from mailrelay.core.ledger import Envelope, Opening, OutboundId, ingress_key
from mailrelay.core.noticeroute import Admission, Ground, Mailbox
from mailrelay.core.notices import KINDS, Code, Notice, from_json
from mailrelay.core.sealed import NONCE_OCTETS, seal, vault
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database
from mailrelay.store.jobs import JobStore
from mailrelay.store.ledger import Ledger
from mailrelay.store.notices import NoticeStore
from tests.store.world import JOHN, Connection, alias, insert, value

VAULT = vault([b"a secret of the installation"])
LEASE = timedelta(minutes=2)
JOHNS, OTHERS = AccountId(JOHN), AccountId(2)
UUID1 = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc")


@pytest.fixture
def store(database: Database) -> NoticeStore:
    return NoticeStore(database, VAULT, "mine")


@pytest.fixture
def queue(database: Database) -> JobStore:
    return JobStore(database, "mine")


async def posted(queue: JobStore, conn: Connection, notice: Notice, times: int = 1) -> list[Job]:
    """Jobs for the same notice, as several places may post it, taken by this worker."""
    for number in range(times):
        await queue.put("notice", notice.to_json(), f"test {number} {notice.dedupe_key} {datetime.now(UTC)}")
    return await queue.take(1000, LEASE, ["notice"])


def asked(jobs: list[Job], subject: str = "1") -> list[Admission]:
    admissions = []
    for job in jobs:
        notice = from_json(job.payload)
        limit = KINDS[notice.code].limit
        assert limit is not None
        admissions.append(Admission(job.id, notice, limit, subject, RecipientId(1)))
    return admissions


FDN = Notice(Code.FDN, JOHNS, data={"failed_id": 1})
LEAK = Notice(Code.LEAK, JOHNS, data={"alias": "shop@alias.example"})


async def test_as_many_go_out_as_may(store: NoticeStore, queue: JobStore, conn: Connection) -> None:
    jobs = await posted(queue, conn, FDN, 25)
    admitted = await store.admit(asked(jobs))
    assert admitted == {job.id for job in jobs[:10]}
    assert await value(conn, "select (sent, suppressed) = (10, 15) from notification_limit") is True
    assert await value(conn, "select count(*) from job where finished_at is not null") == 15
    again = await posted(queue, conn, FDN, 2)
    assert await store.admit(asked(again)) == set()
    assert await value(conn, "select (sent, suppressed) = (10, 17) from notification_limit") is True


async def test_a_window_ends(store: NoticeStore, queue: JobStore, conn: Connection) -> None:
    """It begins with the first notice in it, so that two never follow each other over its edge."""
    assert len(await store.admit(asked(await posted(queue, conn, LEAK)))) == 1
    await conn.execute("update notification_limit set window_start = now() - interval '29 days 23 hours'")
    assert await store.admit(asked(await posted(queue, conn, LEAK))) == set()
    await conn.execute("update notification_limit set window_start = now() - interval '30 days 1 second'")
    assert len(await store.admit(asked(await posted(queue, conn, LEAK)))) == 1
    assert await value(conn, "select count(*) from notification_limit") == 2


async def test_limits_stand_alone(store: NoticeStore, queue: JobStore, conn: Connection) -> None:
    """By account, by kind, and by what they are counted for."""
    assert len(await store.admit(asked(await posted(queue, conn, LEAK), "shop@alias.example"))) == 1
    assert len(await store.admit(asked(await posted(queue, conn, LEAK), "bank@alias.example"))) == 1
    theirs = Notice(Code.LEAK, OTHERS)
    assert len(await store.admit(asked(await posted(queue, conn, theirs), "shop@alias.example"))) == 1
    cycle = Notice(Code.CYC, JOHNS)
    assert len(await store.admit(asked(await posted(queue, conn, cycle), "shop@alias.example"))) == 1
    assert await store.admit(asked(await posted(queue, conn, LEAK), "shop@alias.example")) == set()


async def test_concurrent_workers_share_one_limit(database: Database, conn: Connection) -> None:
    stores = [NoticeStore(database, VAULT, f"worker-{number}") for number in range(4)]
    taken = []
    for number in range(4):
        queue = JobStore(database, f"worker-{number}")
        taken.append(await posted(queue, conn, FDN, 10))
    admitted = await asyncio.gather(
        *(store.admit(asked([job])) for store, jobs in zip(stores, taken, strict=True) for job in jobs)
    )
    assert sum(map(len, admitted)) == 10
    assert await value(conn, "select (sum(sent), sum(suppressed)) = (10, 30) from notification_limit") is True


async def test_a_second_try_of_a_job_can_tell_that_it_was_counted(
    store: NoticeStore, queue: JobStore, conn: Connection
) -> None:
    [job] = await posted(queue, conn, LEAK)
    await store.admit(asked([job]))
    await queue.fail(job.id, "no route", timedelta(0))
    [again] = await queue.take(10, LEASE, ["notice"])
    assert again.payload["admitted"] is True
    assert from_json(again.payload) == LEAK


async def test_a_job_that_another_worker_has_by_now_counts_nothing(
    store: NoticeStore, queue: JobStore, conn: Connection
) -> None:
    jobs = await posted(queue, conn, LEAK)
    await conn.execute("update job set leased_by = 'other'")
    assert await store.admit(asked(jobs)) == set()
    assert await value(conn, "select count(*) from notification_limit") == 0
    assert await value(conn, "select finished_at is null from job") is True


async def test_what_was_too_much_is_told_once_when_the_window_ends(
    store: NoticeStore, queue: JobStore, conn: Connection
) -> None:
    await store.admit(asked(await posted(queue, conn, FDN, 13)))
    await store.admit(asked(await posted(queue, conn, FDN, 2)))
    row = await (
        await conn.execute(
            "select payload, j.run_at = l.window_start + interval '1 hour', l.window_start"
            " from job j, notification_limit l where j.payload ->> 'code' = 'FDND'"
        )
    ).fetchall()
    [(payload, at_the_end, begun)] = row
    assert at_the_end is True
    digest = from_json(payload)
    assert (digest.code, digest.account_id, digest.recipient_id) == (Code.FDN_DIGEST, JOHNS, 1)
    since = datetime.fromisoformat(str(digest.data["since"]))
    assert since == begun
    assert await store.suppressed(JOHNS, Code.FDN, digest.about, since) == 5
    assert await store.suppressed(JOHNS, Code.FDN, digest.about, since + timedelta(seconds=1)) == 0


async def test_other_notices_have_no_digest(store: NoticeStore, queue: JobStore, conn: Connection) -> None:
    await store.admit(asked(await posted(queue, conn, LEAK, 3)))
    assert await value(conn, "select count(*) from job where run_at > now()") == 0


async def failed(conn: Connection, **more: Any) -> int:
    def sealed(column: str, text: str) -> bytes:
        return seal(VAULT, bytes(NONCE_OCTETS), place(column, more["uuid"]), text.encode())

    more = {"uuid": UUID1, "account_id": JOHN, "email_type": "F"} | more
    columns = {
        "sender": sealed("author", "news@shop.example"),
        "destination": sealed("destination", "real@inbox.example"),
        "subject": sealed("subject", "new shoes"),
    }
    return await insert(conn, "failed_delivery", **{**columns, **more})


async def test_who_gets_a_notice_is_read_for_many_at_once(store: NoticeStore, conn: Connection) -> None:
    await conn.execute(
        "update account set default_recipient_id = 1, failed_delivery_notification_preference = 2,"
        " never_plaintext = true where id = 1"
    )
    await conn.execute("update recipient set verified_at = now(), failing_since = now() where id = 1")
    second = await insert(
        conn, "recipient", account_id=JOHN, address="second@inbox.example", verified_at=datetime.now(UTC)
    )
    hidden = await insert(
        conn, "recipient", account_id=JOHN, address="third@inbox.example", verified_at=datetime.now(UTC), pending=True
    )
    number = await failed(conn, quarantined=True)
    notices = [
        Notice(Code.FDN, JOHNS, RecipientId(hidden), data={"failed_id": number}),
        Notice(Code.FDN, OTHERS, RecipientId(second), data={"failed_id": number}),
        Notice(Code.CNF, None, data={"address": "new@inbox.example"}),
        Notice(Code.CYC, AccountId(99)),
    ]
    mine, theirs, nobodys, gone = await store.grounds(notices)
    assert mine.recipient is not None and mine.default is not None and mine.other is not None
    assert (mine.state, mine.preference, mine.never_plaintext, mine.quarantined) == ("active", 2, True, True)
    assert (mine.recipient.id, mine.recipient.verified, mine.recipient.works) == (hidden, False, False)
    assert (mine.default.id, mine.default.verified, mine.default.failing) == (1, True, True)
    assert (mine.other.id, mine.other.address, mine.other.works) == (second, "second@inbox.example", True)
    # One at a domain that is served here gets no notices, so others go before it.
    await conn.execute("insert into domain (name, account_id, verified_at) values ('inbox.example', null, now())")
    elsewhere = await insert(
        conn, "recipient", account_id=JOHN, address="Me@else.example", verified_at=datetime.now(UTC)
    )
    [mine] = await store.grounds(notices[:1])
    assert mine.other is not None
    assert mine.other.id == elsewhere
    # What belongs to another account is not there.
    assert (theirs.recipient, theirs.quarantined) == (None, None)
    assert nobodys == gone == Ground()
    assert isinstance(mine.other, Mailbox)


@pytest.mark.parametrize(
    ("kind", "bounce", "missed"), [("F", "hard", 1), ("F", "soft", 1), ("F", "spam", None), ("R", "hard", None)]
)
async def test_what_could_not_be_reached_is_known(
    store: NoticeStore, conn: Connection, kind: str, bounce: str, missed: int | None
) -> None:
    number = await failed(conn, recipient_id=1, email_type=kind, bounce_type=bounce)
    [ground] = await store.grounds([Notice(Code.FDN, JOHNS, data={"failed_id": number})])
    assert ground.missed == missed
    assert (ground.other is None) == (missed is not None)  # the account has but one


async def test_a_failed_delivery_is_read_in_clear(store: NoticeStore, conn: Connection) -> None:
    alias_id = await alias(conn, "shop@alias.example")
    number = await failed(
        conn, alias_id=alias_id, bounce_type="hard", status="5.1.1", code="smtp; 550 no", is_stored=True
    )
    evidence = seal(VAULT, bytes(NONCE_OCTETS), place("evidence", UUID1), b"v=1;spf=pass:mailfrom:shop.example;x=1")
    await insert(
        conn,
        "stored_message",
        account_id=JOHN,
        failed_delivery_id=number,
        kind="failed",
        content=b"sealed",
        key_id="x",
        size_octets=1,
        partial=True,
        expires_at=datetime.now(UTC),
        evidence=evidence,
    )
    found = await store.setback(JOHNS, number)
    assert found is not None
    assert (found.sender, found.destination, found.subject) == ("news@shop.example", "real@inbox.example", "new shoes")
    assert (found.alias, found.bounce_type, found.stored, found.partial) == ("shop@alias.example", "hard", True, True)
    assert found.evidence.startswith("v=1;spf=pass")
    assert await store.setback(OTHERS, number) is None


async def test_a_lost_key_costs_the_words_not_the_notice(database: Database, conn: Connection) -> None:
    number = await failed(conn)
    found = await NoticeStore(database, vault([b"another"]), "mine").setback(JOHNS, number)
    assert found is not None
    assert (found.sender, found.destination, found.subject) == ("", "", "")


async def test_lists_hold_the_latest(store: NoticeStore, conn: Connection) -> None:
    for minutes, kind in enumerate(["F", "F", "IR", "R", "F"]):
        number = UUID(int=minutes)
        await failed(conn, uuid=number, email_type=kind, code=str(minutes), created_at=_ago(minutes))
    since = _ago(3.5)
    outbound = await store.latest(JOHNS, since, inbound=False, limit=10)
    assert [one.answer for one in outbound] == ["0", "1", "3"]
    assert [one.answer for one in await store.latest(JOHNS, since, inbound=True, limit=10)] == ["2"]
    assert len(await store.latest(JOHNS, since, inbound=False, limit=2)) == 2
    assert await store.latest(OTHERS, since, inbound=False, limit=10) == []


def _ago(minutes: float) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)


async def test_a_copy_knows_which_notice_it_is(database: Database, conn: Connection) -> None:
    """12.6-166: so a bounce of it is told from others."""
    envelope = Envelope(ingress_key("", b"1"), "", "<1@relay.example>", "", "notifications@relay.example", "", 1, JOHNS)
    opening = Opening(envelope, 1, OutboundId(7), "me@inbox.example", EmailType.NOTIFICATION, None, Code.FDN.value)
    [opened] = await Ledger(database).open([opening])
    assert not isinstance(opened, Exception)
    assert await value(conn, "select (email_type, notice) = ('N', 'FDN') from outbound where id = 7") is True


async def test_ten_thousand_notices_are_counted_quickly(store: NoticeStore, queue: JobStore, conn: Connection) -> None:
    payload = json.dumps(FDN.to_json())
    await conn.execute(
        b"insert into job (kind, payload) select 'notice', %s::jsonb from generate_series(1, 10000)", [payload]
    )
    began = asyncio.get_running_loop().time()
    passed: set[JobId] = set()
    while jobs := await queue.take(400, LEASE, ["notice"]):
        passed |= await store.admit(asked(jobs))
    assert len(passed) == 10
    assert await value(conn, "select count(*) from job where finished_at is not null") == 9990
    assert asyncio.get_running_loop().time() - began < 60
