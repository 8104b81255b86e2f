"""Complaints on PostgreSQL, as the flow records them (spec section 7.8)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from mailrelay.core import loop, verp
from mailrelay.core.bounce import Complaint
from mailrelay.core.complaints import About, Counted, Handled, Recorded
from mailrelay.core.facts import AccountId, AliasId, Reason
from mailrelay.core.ledger import Envelope, IngressKey, Opening, OutboundCopy, OutboundId, ingress_key
from mailrelay.core.plan import Mail
from mailrelay.core.screen import day_number
from mailrelay.core.verp import EmailType, VerpId
from mailrelay.flows.complaints import Complaints
from mailrelay.flows.letter import Letter, open_letter
from mailrelay.store.complaints import ComplaintStore
from mailrelay.store.database import Database
from mailrelay.store.ledger import Ledger
from tests.store.world import JOHN, Connection, alias, insert, value
from tests.unit.fakes import NOW
from tests.unit.office import KEY, Office

NOTHING = Complaint("abuse", "", "", (), "", (), b"From: news@shop.example\r\n", "", "", "")
DOMAIN = "bounces.relay.example"


class Books:
    """The ledger as flows see it, one entry at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def outbound(self, outbound_id: OutboundId) -> OutboundCopy | None:
        return (await self.ledger.outbound([outbound_id]))[0]


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    await alias(conn, "a1@alias.example")
    await alias(conn, "a2@alias.example")
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> ComplaintStore:
    return ComplaintStore(database)


@pytest.fixture
async def handle(database: Database, store: ComplaintStore) -> Complaints:
    return Complaints(Office().rules, Books(Ledger(database)), store)  # type: ignore[arg-type]


@pytest.fixture
async def letter() -> Letter:
    return await open_letter(Mail("Q1", "", ("fbl@relay.example",), b"Subject: x\r\n\r\n"), NOW)


async def copied(
    database: Database,
    n: int,
    alias_id: int | None = 1,
    kind: EmailType = EmailType.FORWARD,
    account: int | None = JOHN,
) -> OutboundId:
    envelope = Envelope(
        IngressKey(ingress_key("Q", b"%d" % n)),
        "4XyZ12AbCd",
        "",
        "bounce@mta.shop.example",
        f"a{alias_id}@alias.example",
        "192.0.2.10",
        500,
        None if account is None else AccountId(account),
        None if alias_id is None else AliasId(alias_id),
    )
    to = "johndoe@Inbox.example" if kind is EmailType.FORWARD else "anna@friend.example"
    opening = Opening(envelope, 1, OutboundId(2**64 - n), to, kind, "rewrite")
    await Ledger(database).open([opening])
    return opening.outbound_id


def reported(
    outbound_id: OutboundId, sender: str = "news@shop.example", kind: EmailType = EmailType.FORWARD
) -> Complaint:
    local = verp.encode(VerpId(kind, outbound_id, day_number(NOW)), DOMAIN, KEY)
    return replace(NOTHING, original_mail_from=f"{local}@{DOMAIN}", header=b"From: %b\r\n" % sender.encode())


async def notices(conn: Connection) -> list[Any]:
    rows = await (await conn.execute("select payload -> 'data' from job where kind = 'notice' order by id")).fetchall()
    return [row[0] for row in rows]


async def blocked(conn: Connection) -> list[Any]:
    query = "select alias_id, type, value from blocked_sender order by id"
    return await (await conn.execute(query)).fetchall()


async def test_186_the_third_complaint_within_30_days_blocks_the_sender_on_that_alias(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    for n in (1, 2, 3, 4):
        outbound = await copied(database, n)
        assert await handle(letter, reported(outbound), None) == Handled(Reason.COMPLAINT)
        assert await blocked(conn) == ([] if n < 3 else [(1, "email", "news@shop.example")])
    assert [(one["count"], one["blocked"]) for one in await notices(conn)] == [
        (1, False),
        (2, False),
        (3, True),
        (4, False),
    ]
    assert await value(conn, "select array_agg(action) from audit") == ["block.add"]
    assert await value(conn, "select sends_suspended_at from account where id = 1") is None


async def test_complaints_count_for_one_sender_on_one_alias(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    for n, (alias_id, sender) in enumerate(
        [(1, "a@shop.example"), (1, "b@other.example"), (2, "a@shop.example"), (1, "a@shop.example")], 1
    ):
        await handle(letter, reported(await copied(database, n, alias_id), sender), None)
    assert await blocked(conn) == []
    await handle(letter, reported(await copied(database, 9), "rotating@shop.example"), None)
    assert await blocked(conn) == [(1, "email", "rotating@shop.example")]


async def test_old_complaints_do_not_count(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    for n in (1, 2):
        await handle(letter, reported(await copied(database, n)), None)
    await conn.execute("update complaint set at = now() - interval '31 days' where outbound_id = -1")
    await handle(letter, reported(await copied(database, 3)), None)
    assert await blocked(conn) == []


async def test_a_report_that_comes_again_is_one(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    outbound = await copied(database, 1)
    for _ in range(5):
        assert await handle(letter, reported(outbound), None) == Handled()
    assert await value(conn, "select count(*) from complaint") == 1
    assert len(await notices(conn)) == 1


async def test_complaints_at_once_are_each_counted(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    reports = [reported(await copied(database, n)) for n in range(1, 9)]
    await asyncio.gather(*(handle(letter, report, None) for report in reports))
    assert sorted(one["count"] for one in await notices(conn)) == [*range(1, 9)]
    assert len(await blocked(conn)) == 1


async def test_three_about_what_an_account_writes_suspend_it_and_alert_the_operator(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    alerts = []
    for n, kind in enumerate((EmailType.REPLY, EmailType.SEND, EmailType.REPLY, EmailType.REPLY), 1):
        handled = await handle(letter, reported(await copied(database, n, kind=kind), kind=kind), None)
        assert handled is not None
        assert handled.alert is not None
        alerts.append("suspended" in handled.alert)
        suspended = await value(conn, "select sends_suspended_at is not null from account where id = 1")
        assert suspended is (n >= 3)
    assert alerts == [False, False, True, False]
    assert await blocked(conn) == []
    assert {one["sender"] for one in await notices(conn)} == {"anna@friend.example"}
    assert await value(conn, "select array_agg(action) from audit") == ["account.suspend_sending"]
    assert await value(conn, "select sends_suspended_at from account where id = 2") is None


async def test_a_report_at_a_return_path_is_about_its_copy(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    copy = (await Ledger(database).outbound([await copied(database, 1)]))[0]
    assert await handle(letter, NOTHING, copy) == Handled()
    row = await (await conn.execute("select email_type, sender_domain, feedback_type from complaint")).fetchall()
    assert row == [("F", "shop.example", "abuse")]


async def test_a_number_counts_beside_a_mark_of_its_alias(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    outbound = await copied(database, 1)
    uuids = {row[0]: row[1] for row in await (await conn.execute("select id, uuid from alias")).fetchall()}
    for alias_id, expected in ((2, None), (1, Handled())):
        mark = b"X-Mailrelay-Loop: %b\r\n" % loop.mark(uuids[alias_id], KEY).encode()
        complaint = replace(NOTHING, mailrelay_id=f"{outbound:016x}", header=mark)
        assert await handle(letter, complaint, None) == expected
    assert await handle(letter, replace(NOTHING, mailrelay_id=f"{outbound:016x}"), None) is None


async def test_what_is_about_nothing_known_is_for_the_operator(
    database: Database, handle: Complaints, letter: Letter
) -> None:
    assert await handle(letter, NOTHING, None) is None
    assert await handle(letter, reported(OutboundId(77)), None) is None


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure"])
async def test_nobody_is_blamed_for_other_reports(
    conn: Connection, database: Database, handle: Complaints, letter: Letter, kind: str
) -> None:
    complaint = replace(reported(await copied(database, 1)), feedback_type=kind)
    assert await handle(letter, complaint, None) == Handled()
    assert await value(conn, "select count(*) from complaint") == 0


async def test_copies_of_the_operator_and_notices_tell_nobody(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    await handle(letter, reported(await copied(database, 1, None, account=None)), None)
    await handle(letter, reported(await copied(database, 2, None, kind=EmailType.NOTIFICATION)), None)
    assert await notices(conn) == []
    assert await value(conn, "select array_agg(email_type) from complaint") == ["N"]


async def test_an_entry_for_all_aliases_makes_one_for_this_needless(
    conn: Connection, database: Database, handle: Complaints, letter: Letter
) -> None:
    await insert(conn, "blocked_sender", account_id=JOHN, type="email", value="news@shop.example")
    for n in (1, 2, 3):
        await handle(letter, reported(await copied(database, n)), None)
    assert await blocked(conn) == [(None, "email", "news@shop.example")]


async def test_whose_account_is_gone_has_no_complaints(conn: Connection, store: ComplaintStore) -> None:
    counted = Counted(OutboundId(1), EmailType.FORWARD, AccountId(99), AliasId(99), "a@shop.example", "", "abuse")
    assert await store.record(counted, lambda recorded: None) == Recorded(False)


async def test_an_alias_that_is_gone_is_counted_without(
    conn: Connection, database: Database, store: ComplaintStore
) -> None:
    outbound = await copied(database, 1, 99)
    copy = (await Ledger(database).outbound([outbound]))[0]
    assert copy is not None
    assert await store.about(copy) == About(None, "", "bounce@mta.shop.example")
    counted = Counted(outbound, EmailType.FORWARD, AccountId(JOHN), AliasId(99), "a\0@shop.example", "", "\0" * 300)
    assert (await store.record(counted, lambda recorded: None)).count == 1
