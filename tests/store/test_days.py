"""Mail by day and type, as owners see it drawn."""

from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest

from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.ledger import Sent, Tally
from mailrelay.core.verp import EmailType
from mailrelay.core.week import DayCount
from mailrelay.store.database import Database
from mailrelay.store.days import Days
from mailrelay.store.ledger import Ledger
from tests.store.world import JOHN, OTHER, Connection, alias, value

JOHNS = AccountId(JOHN)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(dsn, 2, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


async def today(conn: Connection) -> date:
    found: date = await value(conn, "select (now() at time zone 'utc')::date")
    return found


def tally(account: int, number: int, kind: EmailType) -> Tally:
    sent = Sent(kind, "shop@shop.example", False, False, "<a@b.example>", None)
    return Tally(AccountId(account), AliasId(number), "", 10, None if kind is EmailType.FORWARD else sent)


async def test_what_goes_out_is_counted_by_day_and_type(database: Database, conn: Connection) -> None:
    mine, theirs = await alias(conn, "a1@alias.example"), await alias(conn, "b@alias.example", OTHER)
    before = await today(conn)
    ledger = Ledger(database)
    kinds = [EmailType.FORWARD, EmailType.FORWARD, EmailType.REPLY, EmailType.SEND]
    await ledger.close([([], tally(JOHN, mine, kind)) for kind in kinds] + [([], tally(OTHER, theirs, kinds[0]))])
    await ledger.close([([], tally(JOHN, mine, EmailType.FORWARD))])
    found = await Days(database).since(JOHNS, before)
    # The same as the alias' own counters.
    assert await value(conn, "select emails_forwarded from alias where id = %s", mine) == 3
    assert {(one.type, one.messages) for one in found} == {
        (EmailType.FORWARD, 3),
        (EmailType.REPLY, 1),
        (EmailType.SEND, 1),
    }
    assert {one.day for one in found} <= {before, await today(conn)}


async def test_a_day_is_one_of_utc_wherever_the_server_stands(database: Database, conn: Connection) -> None:
    await conn.execute("alter database " + conn.info.dbname + " set timezone = 'Pacific/Kiritimati'")
    await conn.execute(
        "insert into rate_window values (1, 'day', 'F', '2026-03-02T00:00:00Z', 5), (1, 'day', 'F', '2026-03-01Z', 4),"
        " (1, 'message', '', '2026-03-02T00:00:00Z', 7), (2, 'day', 'F', '2026-03-02T00:00:00Z', 8)"
    )
    fresh = Database(conn.info.dsn, 1, 20.0, "test")
    await fresh.open()
    try:
        found = await Days(fresh).since(JOHNS, date(2026, 3, 2))
        assert found == [DayCount(date(2026, 3, 2), EmailType.FORWARD, 5)]
        assert len(await Days(fresh).since(JOHNS, date(2026, 3, 2) - timedelta(days=1))) == 2
    finally:
        await fresh.close()
