"""What owners are told of now and then, in PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailrelay.core.notices import Code, from_json
from mailrelay.store.database import Database
from mailrelay.store.reminders import Reminders
from tests.store.world import JOHN, OTHER, Connection, insert

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def reminders(dsn: str) -> AsyncIterator[Reminders]:
    database = Database(dsn, 1, 20.0, "test")
    await database.open()
    yield Reminders(database)
    await database.close()


async def rejected(conn: Connection, hours_ago: float, account: int = JOHN, **more: Any) -> None:
    columns: dict[str, Any] = {"email_type": "IR", "created_at": NOW - hours_ago * HOUR, **more}
    await insert(conn, "failed_delivery", account_id=account, **columns)


async def waiting(conn: Connection) -> list[tuple[int | None, Any, Any]]:
    """Account, beginning and number of each digest that waits."""
    rows = await (await conn.execute("select payload from job where finished_at is null order by id")).fetchall()
    notices = [from_json(payload) for (payload,) in rows]
    assert {notice.code for notice in notices} <= {Code.IR_DIGEST}
    return [
        (one.account_id, NOW - datetime.fromisoformat(str(one.data["since"])), one.data["count"]) for one in notices
    ]


async def test_8_4_a_day_of_rejections_is_told_at_its_end(reminders: Reminders, conn: Connection) -> None:
    for hours in (23, 3, 1):
        await rejected(conn, hours)
    assert await reminders.rejections(NOW) == 0
    assert await reminders.rejections(NOW + HOUR) == 1
    assert await waiting(conn) == [(JOHN, 23 * HOUR, 3)]
    assert await reminders.rejections(NOW + HOUR) == 0  # it waits already


async def test_8_4_what_was_told_is_not_told_again(reminders: Reminders, conn: Connection) -> None:
    await rejected(conn, 30)
    await rejected(conn, 26)
    await conn.execute(
        "insert into notification_limit (account_id, kind, subject, window_start, sent) values (1, 'IRD', '1', %s, 1)",
        (NOW - 25 * HOUR,),
    )
    assert await reminders.rejections(NOW) == 0
    await rejected(conn, 24)
    await rejected(conn, 2)
    assert await reminders.rejections(NOW) == 1
    assert await waiting(conn) == [(JOHN, 24 * HOUR, 2)]


async def test_8_4_the_digest_is_for_those_who_want_all_notices(reminders: Reminders, conn: Connection) -> None:
    await conn.execute("update account set failed_delivery_notification_preference = 1 where id = %s", (OTHER,))
    await rejected(conn, 48)
    await rejected(conn, 48, OTHER)
    assert await reminders.rejections(NOW) == 1
    assert [account for account, _, _ in await waiting(conn)] == [JOHN]


async def test_8_4_other_failures_are_no_rejections(reminders: Reminders, conn: Connection) -> None:
    await rejected(conn, 48, email_type="F", bounce_type="rule", ir_dedupe_key="0" * 64)
    await rejected(conn, 48, email_type="F", bounce_type="hard")
    assert await reminders.rejections(NOW) == 0


async def test_8_4_a_token_is_told_of_once_a_day(reminders: Reminders, conn: Connection) -> None:
    for days, name in ((5, "soon"), (9, "later"), (-1, "over")):
        await conn.execute(
            "insert into token (account_id, kind, hash, display, name, expires_at)"
            " values (1, 'addy', sha256(%s::text::bytea), 'x', %s, %s)",
            (name, name, datetime.now(UTC) + timedelta(days=days)),
        )
    now = datetime.now(UTC)
    assert await reminders.tokens(now) == 1
    await conn.execute("update job set finished_at = now()")
    assert await reminders.tokens(now + HOUR) == 0
    assert await reminders.tokens(now + 25 * HOUR) == 1


async def test_tokens_of_one_name_are_told_of_each(reminders: Reminders, conn: Connection) -> None:
    for text in ("one", "two"):
        await conn.execute(
            "insert into token (account_id, kind, hash, name, expires_at)"
            " values (1, 'addy', sha256(%s::text::bytea), 'phone', now() + interval '3 days')",
            (text,),
        )
    assert await reminders.tokens(datetime.now(UTC)) == 2
    rows = await (await conn.execute("select payload from job")).fetchall()
    assert len({from_json(payload).counted_for for (payload,) in rows}) == 2
