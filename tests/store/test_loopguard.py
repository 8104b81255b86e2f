"""Counting what comes again, in PostgreSQL."""

import asyncio

import pytest

from mailrelay.core.facts import AliasId
from mailrelay.core.ledger import ingress_key
from mailrelay.store.database import Database
from mailrelay.store.loopguard import ARRIVALS, Arrival, arrivals, take_report
from tests.store.world import Connection, value

PRINT = -77
ID = "<1@shop.example>"


async def arrive(
    conn: Connection,
    number: int,
    *,
    message_id: str | None = ID,
    fingerprint: int | None = PRINT,
    alias_id: int = 1,
    hours: float = 1,
    copies: int = 1,
) -> None:
    """A message that was here some hours ago."""
    await conn.execute(
        b"insert into ledger (at, ingress_key, message_id, alias_id, rcpt, outcome, recipient_id, fingerprint)"
        b" select now() - make_interval(mins => %s), %s, %s, %s, 'a1@alias.example', 'delivered', copy, %s"
        b" from generate_series(1, %s) copy",
        (int(hours * 60), ingress_key("q", b"%d" % number), message_id, alias_id, fingerprint, copies),
    )


def asked(number: int = 0, message_id: str = ID, fingerprint: int = PRINT, alias_id: int = 1) -> Arrival:
    key = ingress_key("q", b"%d" % number)
    return Arrival(AliasId(alias_id), "a1@alias.example", message_id, fingerprint, key)


async def test_arrivals_of_the_day_count_whatever_came_of_them(database: Database, conn: Connection) -> None:
    """12.6-180"""
    for number, hours in enumerate([0, 1, 23.9, 24.1, 30], 1):
        await arrive(conn, number, hours=hours, copies=number)
    assert await arrivals(database, [asked()]) == [3]


@pytest.mark.parametrize(
    "other",
    [{"fingerprint": 5}, {"fingerprint": None}, {"alias_id": 2}, {"message_id": "<2@shop.example>"}],
    ids=["another-author", "before-there-were-fingerprints", "another-alias", "another-id"],
)
async def test_what_differs_does_not_count(database: Database, conn: Connection, other: dict[str, object]) -> None:
    await arrive(conn, 1)
    await arrive(conn, 2, **other)  # type: ignore[arg-type]
    assert await arrivals(database, [asked()]) == [1]


async def test_a_retry_is_no_arrival(database: Database, conn: Connection) -> None:
    await arrive(conn, 1)
    await arrive(conn, 2)
    assert await arrivals(database, [asked(2), asked(3)]) == [1, 2]


async def test_messages_without_an_id_are_counted_as_well(database: Database, conn: Connection) -> None:
    for number in range(1, 4):
        await arrive(conn, number, message_id=None)
    await arrive(conn, 4, message_id=None, hours=25)
    await arrive(conn, 5, message_id=None, fingerprint=6)
    answers = await arrivals(database, [asked(message_id=""), asked(), asked(message_id="", fingerprint=6)])
    assert answers == [3, 0, 1]


async def test_each_question_is_answered_in_its_place(database: Database, conn: Connection) -> None:
    await arrive(conn, 1)
    questions = [asked(fingerprint=1), asked(), asked(message_id="x\0\udcff"), asked(alias_id=2), asked()]
    assert await arrivals(database, questions) == [0, 1, 0, 0, 1]


async def test_the_look_up_goes_by_indexes(database: Database, conn: Connection) -> None:
    """A newsletter with one Message-ID costs an alias its own row, and a question from RCPT nothing."""
    await conn.execute(
        b"insert into ledger (ingress_key, message_id, alias_id, rcpt, outcome, fingerprint)"
        b" select substr(sha256(n::text::bytea), 1, 16), %s, n, n || '@alias.example', 'delivered', %s"
        b" from generate_series(1, 20000) n",
        (ID, PRINT),
    )
    await conn.execute(b"analyze ledger")
    for message_id, fingerprint in ((f"'{ID}'", PRINT), ("null::text", PRINT), ("null::text", "null::bigint")):
        plan = await value(
            conn,
            "explain (analyze, buffers, format json) select seen.arrivals from"
            f" (select {message_id} as message_id, {fingerprint} as fingerprint, '7@alias.example' as rcpt,"
            f" '\\x00'::bytea as key offset 0) q cross join (select 7::bigint as id offset 0) a"
            f" cross join lateral ({ARRIVALS}) seen",
        )
        buffers = plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
        assert buffers <= (0 if fingerprint == "null::bigint" else 12), plan


async def test_ten_reports_an_hour_go_to_one_sender(database: Database) -> None:
    taken = [await take_report(database, sender) for sender in ["news@shop.example", "News@Shop.example"] * 6]
    assert taken == [True] * 10 + [False] * 2
    assert await take_report(database, "other@shop.example")


async def test_many_at_once_get_no_more(database: Database) -> None:
    taken = await asyncio.gather(*(take_report(database, "news@shop.example") for _ in range(30)))
    assert sum(taken) == 10


async def test_the_next_hour_is_another(database: Database, conn: Connection) -> None:
    for _ in range(10):
        await take_report(database, "news@shop.example")
    await conn.execute(b"update rate_window set window_start = window_start - interval '1 hour'")
    assert await take_report(database, "news@shop.example")
