"""Many reports about one account at once, while its mail goes on: all get through, and every number is right."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from mailrelay.core.bounced import Recorded
from mailrelay.core.facts import AliasId
from mailrelay.core.ledger import Opening, OutboundCopy
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database
from tests.store.bouncing import GONE, HARD, SOFT, SPAM, Desk, bounced, desk_of
from tests.store.world import JOHN, Connection, alias, value

WRITERS = 20
COPIES = 1600
REPORTS = 2000  # some are about the same copies
ALIASES = 4


@pytest.fixture
async def desk(conn: Connection, dsn: str) -> AsyncIterator[Desk]:
    database = Database(dsn, WRITERS, 30.0, "test")
    await database.open()
    yield await desk_of(conn, database)
    await database.close()


async def furnished(desk: Desk, dice: random.Random) -> tuple[list[OutboundCopy], list[Opening]]:
    """All copies, and the openings of those that are not closed yet."""
    aliases = [desk.alias_id]
    aliases += [AliasId(await alias(desk.conn, f"b{number}@alias.example")) for number in range(1, ALIASES)]
    kinds = [EmailType.FORWARD] * 8 + [EmailType.REPLY, EmailType.SEND]
    openings = []
    for number in range(COPIES):
        desk.alias_id = aliases[number % ALIASES]
        openings.append(desk.opening(dice.choice(kinds)))
    await desk.ledger.open(openings)
    late = [one for one in openings if dice.random() < 0.2]
    for one in openings:
        if one not in late:
            await desk.close(one)
    copies = await desk.ledger.outbound([one.outbound_id for one in openings])
    return [copy for copy in copies if copy is not None], late


async def test_two_thousand_reports_and_twenty_writers(desk: Desk, conn: Connection) -> None:
    dice = random.Random(2000)
    await conn.execute("update account set auto_disable_bouncing_alias = true where id = %s", (JOHN,))
    copies, late = await furnished(desk, dice)
    failures = {copy.id: dice.choice([GONE, HARD, SOFT, SPAM]) for copy in copies}
    reports = copies + dice.choices(copies, k=REPORTS - COPIES)
    dice.shuffle(reports)
    waiting = list(reports)
    results: list[Recorded] = []

    async def report() -> None:
        while waiting:
            copy = waiting.pop()
            results.append(await desk.store.record(bounced(copy, failures[copy.id], content=None)))

    async def go_on() -> None:
        for one in late:
            await desk.close(one)

    await asyncio.gather(*[report() for _ in range(WRITERS)], go_on())

    assert Counter(result.first for result in results) == {True: COPIES, False: REPORTS - COPIES}
    assert await value(conn, "select sum(bounce_count) from outbound") == REPORTS
    assert await value(conn, "select count(*) from failed_delivery") == COPIES
    assert len({result.failed_id for result in results}) == COPIES
    assert await value(conn, "select count(*) from ledger where outcome = 'failed' and reason = 'bounce'") == COPIES
    of_type = Counter((copy.type, failures[copy.id].type.value) for copy in copies)
    forwards = sum(count for (kind, _), count in of_type.items() if kind is EmailType.FORWARD)
    hard = of_type[EmailType.FORWARD, "hard"]
    assert await value(conn, "select sum(amount) from rate_window where kind = 'bounce'") == forwards
    spam = await value(conn, "select sum(amount) from rate_window where kind = 'spam_bounce'")
    assert spam == of_type[EmailType.FORWARD, "spam"]
    assert await value(conn, "select hard_failures from recipient where id = %s", JOHN) == hard
    assert await value(conn, "select sum(hard_failures) from contact") == sum(
        count for (kind, why), count in of_type.items() if kind is not EmailType.FORWARD and why == "hard"
    )
    assert await value(conn, "select quarantines_tagged_at is not null from recipient where id = %s", JOHN)
    assert await value(conn, "select count(*) from job where kind = 'notice'") == COPIES
    assert await value(conn, "select count(*) from job where kind = 'alias_bounces'") == ALIASES
