"""Aliases that mail makes, in PostgreSQL: several at once, and when the ground moves. See test_contract.py, too."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AliasId
from mailrelay.core.inquiry import Inquiry
from mailrelay.core.judge import DefaultLimits, Deliver, Question, judge
from mailrelay.store.database import Database
from mailrelay.store.facts import FactsReader
from mailrelay.store.newalias import AliasMaker
from tests.store.world import JOHN, OTHER, OWN_EXAMPLE, Connection, alias, handle, insert, release, value
from tests.store.worlds import about


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    await conn.execute("update domain set catch_all = true where not shared")
    opened = Database(dsn, 4, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


async def verdict_on(database: Database, inquiry: Inquiry, catch_all: str | None = None) -> Deliver:
    [facts] = await FactsReader(database, catch_all).read([inquiry])
    verdict = judge(Question(inquiry.base, inquiry.custom), facts, DefaultLimits(), datetime.now(UTC))
    assert isinstance(verdict, Deliver)
    return verdict


async def test_several_at_once_make_one(conn: Connection, database: Database) -> None:
    inquiry = about("new@own.example")
    verdict = await verdict_on(database, inquiry)
    make = AliasMaker(database)
    await asyncio.gather(*(make(inquiry, verdict, None) for _ in range(8)))
    assert await value(conn, "select count(*) from alias") == 1
    assert await value(conn, "select sum(amount) from rate_window where subject = ''") == 1


async def test_different_ones_at_once_count_each(conn: Connection, database: Database) -> None:
    make = AliasMaker(database)
    inquiries = [about(f"new{n}@own.example") for n in range(8)]
    verdict = await verdict_on(database, inquiries[0])
    await asyncio.gather(*(make(inquiry, verdict, None) for inquiry in inquiries))
    assert await value(conn, "select count(*) from alias") == 8
    query = "select sum(amount) from rate_window where kind = 'new_alias' and subject = %s"
    assert [await value(conn, query, subject) for subject in ("", "192.0.2.0/24")] == [8, 8]


@pytest.mark.parametrize(
    ("rcpt", "description"),
    [
        pytest.param("new@own.example", "Created by catch-all on first mail", id="12.1-4"),
        pytest.param("shop@rx.example", "Created by the auto-create expression on first mail", id="12.1-13"),
        pytest.param("jd@alias.example", "Created by mail to the handle", id="handle"),
        pytest.param("x@johndoe.alias.example", "Created by catch-all on first mail", id="12.1-9"),
        pytest.param("any@second.example", "Created by the installation's catch-all", id="catch-all-account"),
    ],
)
async def test_the_description_says_who_made_it(
    conn: Connection, database: Database, rcpt: str, description: str
) -> None:
    await handle(conn, "jd")
    await insert(conn, "domain", name="rx.example", account_id=JOHN, verified_at="now", auto_create_regex="^SHOP$")
    inquiry = about(rcpt)
    await AliasMaker(database)(inquiry, await verdict_on(database, inquiry, "other"), None)
    assert await value(conn, "select description from alias where local_part = %s", inquiry.base) == description


async def test_without_a_network_only_the_account_counts(conn: Connection, database: Database) -> None:
    inquiry = about("new@own.example", client="unknown")
    await AliasMaker(database)(inquiry, await verdict_on(database, inquiry), "")
    assert await value(conn, "select array_agg(subject) from rate_window") == [""]
    assert await value(conn, "select extension from alias") is None


@pytest.mark.parametrize("extension", ["a\0b", "\udcfc", "ü" * 300])
async def test_no_extension_spoils_the_alias(conn: Connection, database: Database, extension: str) -> None:
    inquiry = about("new@own.example")
    await AliasMaker(database)(inquiry, await verdict_on(database, inquiry), extension)
    assert await value(conn, "select octet_length(extension) <= 254 from alias")


async def test_a_domain_that_changed_hands_in_this_moment_is_tried_again(conn: Connection, database: Database) -> None:
    inquiry = about("new@own.example")
    verdict = await verdict_on(database, inquiry)
    await conn.execute("update domain set account_id = %s where id = %s", (OTHER, OWN_EXAMPLE))
    with pytest.raises(Unavailable, match="alias_domain_owned"):
        await AliasMaker(database)(inquiry, verdict, None)
    assert await value(conn, "select count(*) from alias") == 0
    assert await value(conn, "select count(*) from rate_window") == 0


async def test_a_handle_that_was_released_in_this_moment_makes_nothing_of_somebodys(
    conn: Connection, database: Database
) -> None:
    number = await handle(conn, "jd")
    inquiry = about("jd@alias.example")
    verdict = await verdict_on(database, inquiry)
    await release(conn, number)
    await AliasMaker(database)(inquiry, verdict, None)
    [facts] = await FactsReader(database, None).read([inquiry])
    again = judge(Question("jd", False), facts, DefaultLimits(), datetime.now(UTC))
    assert not isinstance(again, Deliver)  # the handle is off


async def test_a_name_that_became_a_handle_in_this_moment_is_tried_again(conn: Connection, database: Database) -> None:
    inquiry = about("taken@alias.example")
    verdict = await verdict_on(database, inquiry, "other")
    await handle(conn, "taken")
    with pytest.raises(Unavailable, match="alias_local_part_reserved"):
        await AliasMaker(database)(inquiry, verdict, None)


async def test_a_recipient_that_went_in_this_moment_is_tried_again(conn: Connection, database: Database) -> None:
    number = await insert(conn, "recipient", account_id=JOHN, address="second@inbox2.example", verified_at="now")
    inquiry = about("new+2@own.example")
    verdict = await verdict_on(database, inquiry)
    assert [target.id for target in verdict.attach] == [number]
    await conn.execute("delete from recipient where id = %s", (number,))
    with pytest.raises(Unavailable):
        await AliasMaker(database)(inquiry, verdict, "2")
    assert await value(conn, "select count(*) from alias") == 0


async def test_attached_recipients_keep_their_order(conn: Connection, database: Database) -> None:
    for number in range(2, 8):
        await insert(conn, "recipient", account_id=JOHN, address=f"r{number}@inbox.example", verified_at="now")
    inquiry = about("new+2.3.4.5.6.7@own.example")
    verdict = await verdict_on(database, inquiry)
    await AliasMaker(database)(inquiry, verdict, "2.3.4.5.6.7")
    [facts] = await FactsReader(database, None).read([replace(inquiry, keys=())])
    assert facts.attached == verdict.attach


async def test_one_that_was_made_for_nothing_goes_again(conn: Connection, database: Database) -> None:
    inquiry, make = about("new@own.example"), AliasMaker(database)
    await make(inquiry, await verdict_on(database, inquiry), None)
    await make.unmake(AliasId(await value(conn, "select id from alias")))
    assert await value(conn, "select count(*) from alias") == 0


async def test_one_that_was_used_since_stays(conn: Connection, database: Database) -> None:
    inquiry, make = about("new@own.example"), AliasMaker(database)
    await make(inquiry, await verdict_on(database, inquiry), None)
    await conn.execute("update alias set emails_forwarded = 1")
    await make.unmake(AliasId(await value(conn, "select id from alias")))
    assert await value(conn, "select count(*) from alias") == 1


async def test_one_on_a_shared_domain_stays_taken(conn: Connection, database: Database) -> None:
    number = await alias(conn, "new@alias.example")
    await AliasMaker(database).unmake(AliasId(number))
    assert await value(conn, "select count(*) from alias") == 1
