"""What the bounces of the real store and of the one in memory share."""

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

import pytest
from psycopg import AsyncConnection

from mailrelay.core.bounced import Bounced, Recorded
from mailrelay.core.facts import AccountId, AliasId, RecipientId
from mailrelay.core.ledger import Closing, Envelope, IngressKey, Opening, OutboundId, Tally
from mailrelay.core.verp import EmailType
from mailrelay.store.bounces import BounceStore
from mailrelay.store.database import Database
from mailrelay.store.failing import FailingStore
from tests.store.bouncing import GONE, HARD, SOFT, VAULT, bounced
from tests.store.test_contract import alias, furnished, recipient
from tests.store.worlds import InMemory, InPostgresql, World, utc_now
from tests.unit.clinic import FakeClinic

DAY = timedelta(days=1)


class Record(Protocol):
    async def record(self, bounced: Bounced) -> Recorded: ...


class Probes(Protocol):
    async def take_probe(self, recipient_id: RecipientId) -> bool: ...


@dataclass
class Desk:
    """A world with alias 1 of account 1, whose mail log is read."""

    world: World
    bounces: Record
    probes: Probes

    def opening(self, number: int, kind: EmailType = EmailType.FORWARD, **more: Any) -> Opening:
        account = AccountId(1)
        envelope = Envelope(
            IngressKey(bytes([number] * 16)), "4XyZ", "", "", "a1@alias.example", "", 9, account, AliasId(1)
        )
        values: dict[str, Any] = {"recipient_id": 1, "destination": "real@inbox.example", **more}
        return Opening(envelope, outbound_id=OutboundId((1 << 64) - number), type=kind, mode="rewrite", **values)

    async def send(self, *openings: Opening) -> None:
        for one in openings:
            await self.world.open(one)
        closings = [Closing(one.outbound_id, "delivered") for one in openings]
        tally = Tally(AccountId(1), AliasId(1), "", 9) if openings[0].type is EmailType.FORWARD else None
        await self.world.close(closings, tally)

    async def bounced(self, opening: Opening) -> Bounced:
        copy = await self.world.outbound(opening.outbound_id)
        assert copy is not None
        return bounced(copy)

    async def failed(self) -> list[tuple[Any, ...]]:
        fields = ("account_id", "alias_id", "recipient_id", "email_type", "bounce_type", "status", "code", "is_stored")
        return [tuple(row[name] for name in fields) for row in await self.world.rows("failed_delivery")]

    async def recipient(self, number: int = 1) -> Mapping[str, Any]:
        return next(row for row in await self.world.rows("recipient") if row["id"] == number)


@pytest.fixture(params=["postgresql", "memory"])
def where(request: pytest.FixtureRequest) -> str | None:
    """Connection string of a fresh database, or None for memory."""
    return str(request.getfixturevalue("dsn")) if request.param == "postgresql" else None


@pytest.fixture
async def desk(where: str | None) -> AsyncIterator[Desk]:
    if where is None:
        memory = InMemory()
        await alias(await furnished(memory), "a1@alias.example")
        clinic = FakeClinic(memory.store)
        yield Desk(memory, clinic, clinic)
        return
    database = Database(where, 2, 20.0, "test")
    await database.open()
    async with await AsyncConnection.connect(where, autocommit=True) as conn:
        world = InPostgresql(conn, database)
        await alias(await furnished(world), "a1@alias.example")
        await conn.execute("insert into log_position (source) values ('mx /var/log/mail.log')")
        yield Desk(world, BounceStore(database, VAULT, secrets.token_bytes), FailingStore(database))
    await database.close()


async def test_a_bounce_is_recorded_once(desk: Desk) -> None:
    one, two = desk.opening(1), desk.opening(2)
    await desk.send(one)
    await desk.send(two)
    report = await desk.bounced(one)
    first = await desk.bounces.record(report)
    assert first == Recorded(True, first.failed_id)
    assert await desk.bounces.record(replace(report, failure=SOFT)) == Recorded(False, first.failed_id)
    assert await desk.failed() == [(1, 1, 1, "F", "hard", "5.1.1", GONE.code, True)]
    outcomes = {row["outbound_id"]: (row["outcome"], row["reason"]) for row in await desk.world.rows("ledger")}
    assert outcomes == {one.outbound_id: ("failed", "bounce"), two.outbound_id: ("delivered", None)}
    assert [row["emails_forwarded"] for row in await desk.world.rows("alias")] == [1]
    counts = {row["id"]: row["bounce_count"] for row in await desk.world.rows("outbound")}
    assert counts == {one.outbound_id: 2, two.outbound_id: 0}


async def test_one_copy_of_two_counts_nothing_back(desk: Desk) -> None:
    second = await recipient(desk.world, 1, "second@inbox2.example")
    one = desk.opening(1)
    two = replace(one, recipient_id=second, outbound_id=OutboundId(7), destination="second@inbox2.example")
    await desk.send(one, two)
    await desk.bounces.record(await desk.bounced(two))
    assert [row["emails_forwarded"] for row in await desk.world.rows("alias")] == [1]


@pytest.mark.parametrize(
    ("kind", "notice", "recorded"),
    [
        (EmailType.REPLY, None, ("R", True)),
        (EmailType.SEND, None, ("S", True)),
        (EmailType.NOTIFICATION, "FDN", ("FDN", False)),
        (EmailType.NOTIFICATION, None, ("N", False)),
    ],
)
async def test_other_copies_are_recorded_and_fail_nobody(
    desk: Desk, kind: EmailType, notice: str | None, recorded: tuple[str, bool]
) -> None:
    opening = desk.opening(1, kind, notice=notice)
    await desk.send(opening)
    await desk.bounces.record(await desk.bounced(opening))
    assert [(row[3], row[7]) for row in await desk.failed()] == [recorded]
    assert (await desk.recipient())["failing_since"] is None


async def test_nobodys_copy_has_no_record(desk: Desk) -> None:
    opening = desk.opening(1, recipient_id=-1)
    opening = replace(opening, envelope=replace(opening.envelope, account_id=None, alias_id=None))
    await desk.world.open(opening)
    assert await desk.bounces.record(await desk.bounced(opening)) == Recorded(True, None)
    assert await desk.failed() == []


async def test_without_storage_there_is_the_record(desk: Desk) -> None:
    await desk.world.update("account", 1, store_failed_deliveries=False)
    opening = desk.opening(1)
    await desk.send(opening)
    await desk.bounces.record(await desk.bounced(opening))
    assert [row[7] for row in await desk.failed()] == [False]


async def test_a_mailbox_that_is_gone_fails_at_once_and_others_after_days(desk: Desk) -> None:
    await desk.world.update("recipient", 1, last_success_at=utc_now())
    openings = [desk.opening(number) for number in range(1, 5)]
    for opening in openings:
        await desk.send(opening)
    reports = [replace(await desk.bounced(opening), failure=HARD) for opening in openings]
    for report in reports[:2]:
        await desk.bounces.record(report)
    assert (await desk.recipient())["failing_since"] is None
    first = (await desk.recipient())["first_hard_failure_at"]
    await desk.world.update("recipient", 1, first_hard_failure_at=first - DAY)
    await desk.bounces.record(reports[2])
    assert (await desk.recipient())["failing_since"] is not None
    await desk.world.update("recipient", 1, failing_since=None, hard_failures=0, last_success_at=None)
    await desk.bounces.record(replace(reports[3], failure=GONE))
    assert (await desk.recipient())["failing_since"] is not None


@pytest.mark.parametrize(
    ("ago", "probed", "taken"),
    [
        pytest.param(None, None, [True, True], id="it-works"),
        pytest.param(DAY / 2, None, [False, False], id="too-early"),
        pytest.param(DAY, None, [True, False], id="first"),
        pytest.param(5 * DAY, DAY / 2, [False, False], id="tried-today"),
        pytest.param(5 * DAY, DAY, [True, False], id="again"),
        pytest.param(DAY / 2, 5 * DAY, [False, False], id="tried-before-it-failed"),
    ],
)
async def test_one_message_a_day_is_tried(
    desk: Desk, ago: timedelta | None, probed: timedelta | None, taken: list[bool]
) -> None:
    now = utc_now()
    since, last = (None if span is None else now - span for span in (ago, probed))
    await desk.world.update("recipient", 1, failing_since=since, probed_at=last)
    assert [await desk.probes.take_probe(RecipientId(1)) for _ in range(2)] == taken
    assert not await desk.probes.take_probe(RecipientId(99))
