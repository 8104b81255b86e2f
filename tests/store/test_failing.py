"""Recipients that fail, contacts that refuse, aliases that bounce: PostgreSQL does what core/failing.py says."""

import random
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import AsyncConnection

from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.failing import Health, after_failure, after_success
from mailrelay.core.judge import choose_targets
from mailrelay.core.notices import Code
from mailrelay.store.database import Database
from mailrelay.store.facts import FactsReader
from mailrelay.store.failing import FailingStore, Unverified
from tests.store.bouncing import GONE, HARD, SOFT, SPAM, Desk, desk_of
from tests.store.world import JOHN, OTHER, Connection, alias, attach, insert, value
from tests.store.worlds import about

R1 = RecipientId(JOHN)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_HEALTH = "failing_since, last_success_at, hard_failures, first_hard_failure_at"


@pytest.fixture
async def desk(conn: Connection, database: Database) -> Desk:
    return await desk_of(conn, database)


@pytest.fixture
def store(database: Database) -> FailingStore:
    return FailingStore(database)


async def health(conn: Connection, number: int = JOHN) -> Health:
    row = await (await conn.execute(f"select {_HEALTH} from recipient where id = %s".encode(), (number,))).fetchone()
    assert row is not None
    return Health(*row)


async def become(conn: Connection, state: Health) -> None:
    changes = ", ".join(f"{name} = %s" for name in _HEALTH.split(", "))
    await conn.execute(f"update recipient set {changes} where id = {JOHN}".encode(), astuple(state))


async def now_of(conn: Connection) -> datetime:
    """The database's, on whole seconds."""
    now = await value(conn, "select date_trunc('second', now())")
    assert isinstance(now, datetime)
    return now.astimezone(UTC)


async def fail(conn: Connection, ago: timedelta, probed: timedelta | None = None, number: int = JOHN) -> None:
    """A recipient that has been failing for so long, and was tried so long ago."""
    await conn.execute(
        "update recipient set failing_since = now() - %s, hard_failures = 3, first_hard_failure_at = now() - %s,"
        " probed_at = now() - %s::interval where id = %s",
        (ago, ago, probed, number),
    )


def some_time(dice: random.Random, now: datetime) -> datetime | None:
    """Often none, often near a limit."""
    near = dice.choice([timedelta(0), HOUR, DAY, 30 * DAY]) + dice.choice([-1, 0, 1]) * timedelta(minutes=2)
    return dice.choice([None, now - near, now - timedelta(days=40) * dice.random()])


def some_health(dice: random.Random, now: datetime) -> Health:
    first = some_time(dice, now)
    return Health(some_time(dice, now), some_time(dice, now), dice.randint(1, 4) if first else 0, first)


# -- Both ways to decide -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [True, False])
async def test_7_5_failures_from_any_state(desk: Desk, conn: Connection, watched: bool) -> None:
    if not watched:
        await conn.execute("delete from log_position")
    dice, failing = random.Random(75), 0
    for _ in range(150 if watched else 400):  # who is not watched fails less often
        before = some_health(dice, await now_of(conn))
        await become(conn, before)
        failure = dice.choice([GONE, HARD, HARD, SOFT, SPAM, replace(GONE, status="5.2.1")])
        await desk.bounce(failure)
        at = await value(conn, "select created_at from failed_delivery order by id desc limit 1")
        after = await health(conn)
        assert after == after_failure(before, failure.type, failure.status, at, watched=watched), (before, failure)
        failing += after.failing_since is not None and before.failing_since is None
    assert failing > 5


async def test_7_5_successes_from_any_state(store: FailingStore, conn: Connection) -> None:
    dice, cleared = random.Random(57), 0
    for _ in range(150):
        now = await now_of(conn)
        before = some_health(dice, now)
        await become(conn, before)
        at = some_time(dice, now) or now
        await store.note_success([R1], at)
        after = await health(conn)
        assert after == after_success(before, at), (before, at)
        cleared += before.hard_failures > after.hard_failures
    assert cleared > 10


async def test_7_5_a_whole_story(desk: Desk, store: FailingStore, conn: Connection) -> None:
    """Days pass as everything that is remembered grows older."""
    dice, model, spans = random.Random(7), Health(), set()
    for _ in range(120):
        span = dice.choice([timedelta(minutes=7), 5 * HOUR, DAY, 11 * DAY])
        await conn.execute(
            "update recipient set failing_since = failing_since - %(span)s, probed_at = probed_at - %(span)s,"
            " last_success_at = last_success_at - %(span)s, first_hard_failure_at = first_hard_failure_at - %(span)s",
            {"span": span},
        )
        model = await health(conn)
        if dice.random() < 0.2:
            at = await now_of(conn)
            await store.note_success([R1], at)
            model = after_success(model, at)
        else:
            failure = dice.choice([HARD, HARD, HARD, GONE])
            await desk.bounce(failure)
            at = await value(conn, "select created_at from failed_delivery order by id desc limit 1")
            model = after_failure(model, failure.type, failure.status, at, watched=True)
        assert await health(conn) == model
        spans.add((model.failing_since is not None, min(model.hard_failures, 4)))
    assert len(spans) > 6


# -- Recipients ----------------------------------------------------------------------------------------------------


async def test_12_6_171_three_hard_bounces_on_two_days(
    desk: Desk, store: FailingStore, conn: Connection, database: Database
) -> None:
    second = await insert(conn, "recipient", account_id=JOHN, address="second@inbox2.example", verified_at="now")
    both = await alias(conn, "both@alias.example")
    for number in (JOHN, second):
        await attach(conn, both, number)

    async def receivers() -> list[int]:
        [facts] = await FactsReader(database, None).read([about("both@alias.example")])
        return [target.id for target in choose_targets(facts, datetime.now(UTC))]

    await store.note_success([R1], datetime.now(UTC) - 2 * HOUR)
    await desk.bounce(HARD)
    await desk.bounce(HARD)
    assert await receivers() == [JOHN, second]
    await conn.execute("update recipient set first_hard_failure_at = first_hard_failure_at - interval '1 day'")
    await desk.bounce(HARD)
    assert await receivers() == [second]
    # A day later one message is for both.
    await conn.execute("update recipient set failing_since = failing_since - interval '1 day' where id = 1")
    assert await receivers() == [JOHN, second]
    assert await store.take_probe(R1)
    assert await receivers() == [second]
    await store.note_success([R1], datetime.now(UTC))
    assert await receivers() == [JOHN, second]


async def test_what_an_earlier_address_did_is_not_the_recipients_fault(desk: Desk, conn: Connection) -> None:
    opening = desk.opening()
    await desk.ledger.open([opening])
    await conn.execute("update recipient set address = 'new@inbox.example' where id = %s", (JOHN,))
    for failure in (GONE, SPAM, SPAM, SPAM, SPAM, SPAM):
        await desk.bounce(failure)
    recipient = await desk.recipient()
    assert (recipient["failing_since"], recipient["hard_failures"]) == (None, 0)
    assert recipient["quarantines_tagged_at"] is None


async def test_7_5_the_fifth_spam_failure_within_a_week_keeps_warned_mail_back(desk: Desk, conn: Connection) -> None:
    second = await insert(conn, "recipient", account_id=JOHN, address="second@inbox2.example", verified_at="now")
    await desk.bounce(SPAM)
    await conn.execute("update rate_window set window_start = window_start - interval '7 days'")
    for _ in range(4):
        await desk.bounce(SPAM)
        await desk.bounce(SPAM, recipient=second, destination="elsewhere@inbox2.example")
        await desk.bounce(HARD)
    # Those of another day, of the same week, count.
    await conn.execute("update rate_window set window_start = window_start - interval '6 days 23 hours'"
                       " where window_start > now() - interval '1 day'")  # fmt: skip
    assert (await desk.recipient())["quarantines_tagged_at"] is None
    await desk.bounce(SPAM)
    tagged_at = (await desk.recipient())["quarantines_tagged_at"]
    assert tagged_at is not None
    assert (await desk.recipient(second))["quarantines_tagged_at"] is None
    await desk.bounce(SPAM)
    assert (await desk.recipient())["quarantines_tagged_at"] == tagged_at


async def test_7_5_one_message_a_day_is_tried(store: FailingStore, conn: Connection) -> None:
    await fail(conn, ago=DAY - timedelta(minutes=1))
    assert not await store.take_probe(R1)
    await fail(conn, ago=5 * DAY, probed=DAY - timedelta(minutes=1))
    assert not await store.take_probe(R1)
    await fail(conn, ago=5 * DAY, probed=DAY)
    assert [await store.take_probe(R1) for _ in range(3)] == [True, False, False]
    await fail(conn, ago=DAY, probed=30 * DAY)
    assert await store.take_probe(R1)


async def test_who_works_again_needs_no_try_and_who_is_gone_gets_none(store: FailingStore, conn: Connection) -> None:
    assert [await store.take_probe(R1) for _ in range(2)] == [True, True]
    assert not await store.take_probe(RecipientId(999))


async def test_tries_and_their_success_are_announced(store: FailingStore, conn: Connection, dsn: str) -> None:
    """Or policy would answer from what it remembers."""

    async def heard(work: object) -> set[str]:
        async with await AsyncConnection.connect(dsn, autocommit=True) as listener:
            await listener.execute("listen mailrelay")
            await work  # type: ignore[misc]
            await conn.execute("notify mailrelay, 'end'")
            found: set[str] = set()
            async for notice in listener.notifies():
                if notice.payload == "end":
                    return found
                found.add(notice.payload)
        raise AssertionError("unreachable")

    await fail(conn, ago=2 * DAY)
    assert await heard(store.take_probe(R1)) == {f"account:{JOHN}"}
    assert await heard(store.note_success([R1], datetime.now(UTC))) == {f"account:{JOHN}"}
    assert await heard(store.note_success([R1], datetime.now(UTC) + 2 * HOUR)) == set()


async def test_successes_of_many_cost_one_statement_and_no_writing_when_repeated(
    store: FailingStore, conn: Connection
) -> None:
    now = datetime.now(UTC)
    await store.note_success([R1, RecipientId(OTHER), R1, RecipientId(999)], now)
    before = await value(conn, "select array_agg(xmin::text order by id) from recipient")
    await store.note_success([R1, RecipientId(OTHER)], now + timedelta(minutes=59))
    assert await value(conn, "select array_agg(xmin::text order by id) from recipient") == before
    await store.note_success([R1, RecipientId(OTHER)], now + timedelta(minutes=61))
    after = await value(conn, "select array_agg(xmin::text order by id) from recipient")
    assert all(new != old for new, old in zip(after, before, strict=True))


async def test_without_a_mail_log_a_try_that_does_not_come_back_is_a_success(
    store: FailingStore, desk: Desk, conn: Connection
) -> None:
    now = datetime.now(UTC)
    await fail(conn, ago=5 * DAY, probed=7 * HOUR)
    assert await store.clear_recovered(now) == []  # the log would tell
    await conn.execute("delete from log_position")
    await fail(conn, ago=5 * DAY, probed=5 * HOUR)
    assert await store.clear_recovered(now) == []  # too early
    await fail(conn, ago=5 * DAY)
    assert await store.clear_recovered(now) == []  # never tried
    await fail(conn, ago=5 * DAY, probed=7 * HOUR)
    await desk.bounce(GONE)
    assert await store.clear_recovered(now) == []  # it came back
    await conn.execute("update failed_delivery set created_at = created_at - interval '1 day'")
    assert await store.clear_recovered(now) == [R1]
    assert await health(conn) == Health()
    assert await store.clear_recovered(now) == []


# -- After 30 days -------------------------------------------------------------------------------------------------


async def test_7_5_after_thirty_days_a_recipient_is_unverified(store: FailingStore, conn: Connection) -> None:
    second = await insert(conn, "recipient", account_id=JOHN, address="second@inbox2.example", verified_at="now")
    now = datetime.now(UTC)
    await fail(conn, 30 * DAY - HOUR, number=second)
    assert await store.unverify_long_failing(now) == []
    await fail(conn, 30 * DAY + HOUR, number=second)
    assert await store.unverify_long_failing(now) == [Unverified(RecipientId(second), AccountId(JOHN), None)]
    row = await value(
        conn, "select row(verified_at is null, unverified_since > %s, failing_since, probed_at)::text"
        " from recipient where id = %s", now - HOUR, second,
    )  # fmt: skip
    assert row == "(t,t,,)"
    assert await value(conn, "select default_recipient_id from account where id = %s", JOHN) == JOHN
    assert await value(conn, "select action from audit") == "recipient.unverify"
    assert await store.unverify_long_failing(now) == []


async def test_7_5_a_default_recipient_gives_way_to_one_that_works(
    store: FailingStore, desk: Desk, conn: Connection
) -> None:
    failing_too = await insert(conn, "recipient", account_id=JOHN, address="2@inbox.example", verified_at="now")
    await insert(conn, "recipient", account_id=JOHN, address="3@inbox.example")
    await insert(conn, "recipient", account_id=JOHN, address="4@inbox.example", verified_at="now", pending=True)
    await fail(conn, 31 * DAY)
    await fail(conn, 31 * DAY, number=failing_too)
    now = datetime.now(UTC)
    assert await store.unverify_long_failing(now) == []  # nobody would be left
    heir = await insert(conn, "recipient", account_id=JOHN, address="5@inbox.example", verified_at="now")
    done = await store.unverify_long_failing(now)
    assert [(one.id, one.new_default) for one in done] == [(JOHN, heir), (failing_too, None)]
    assert await value(conn, "select default_recipient_id from account where id = %s", JOHN) == heir
    [notice] = await desk.notices()
    assert (notice.code, notice.account_id, notice.recipient_id) == (Code.DRU, JOHN, heir)
    assert (notice.data["old"], notice.data["new"]) == ("johndoe@Inbox.example", "5@inbox.example")


async def test_who_has_one_recipient_keeps_it(store: FailingStore, conn: Connection) -> None:
    await fail(conn, 90 * DAY)
    assert await store.unverify_long_failing(datetime.now(UTC)) == []
    assert await value(conn, "select verified_at is not null and failing_since is not null from recipient where id = 1")
