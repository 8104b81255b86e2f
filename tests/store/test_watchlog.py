"""What the mail log causes, in PostgreSQL: once, with how far it was read."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from mailrelay.clients.logtail import FileTail
from mailrelay.clients.spool import Spool
from mailrelay.core import verp
from mailrelay.core.chronicle import ir_key
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.held import place
from mailrelay.core.ledger import OutboundId
from mailrelay.core.maillog import Position, Rejected
from mailrelay.core.rejection import Question, Rejection, Target, question, rejection
from mailrelay.core.screen import day_number
from mailrelay.core.sealed import unseal, vault
from mailrelay.core.verp import EmailType, VerpId
from mailrelay.core.watched import Arrived, CopyNews, Written
from mailrelay.flows.watchlog import Consequences, LogWatch, Reading
from mailrelay.store.database import Database
from mailrelay.store.failing import FailingStore
from mailrelay.store.ledger import signed
from mailrelay.store.watchlog import WatchStore
from mailrelay.wire.maillog import read
from tests.store.world import JOHN, Connection, alias, handle, insert, value

VAULT = vault([b"a secret of the installation"])
AT = datetime(2026, 3, 2, 11, 59, 58, tzinfo=UTC)
REJECTED = Rejected(
    AT, "smtpd", "", "unknown", "192.0.2.9", "News@Shop.example", "A1+tag@alias.example", "550", "5.7.1", "no", "reject"
)
START, END = Position(), Position(7, 1000, "abc")
_numbers = itertools.count(1)


@pytest.fixture
async def store(dsn: str, conn: Connection) -> AsyncIterator[WatchStore]:
    """One that leads, in the small world of world.py with alias 1 of johndoe."""
    await alias(conn, "a1@alias.example")
    store = WatchStore(dsn, "mx /var/log/mail.log", VAULT, secrets.token_bytes)
    assert await store.lead()
    yield store
    await store.close()


def asked(rejected: Rejected = REJECTED, **more: Any) -> Question:
    found = question(replace(rejected, **more))
    assert found is not None
    return found


async def target(store: WatchStore, **more: Any) -> Target | None:
    return (await store.targets([asked(**more)])).get(0)


async def known(store: WatchStore, **more: Any) -> bool:
    found = await target(store, **more)
    assert found is not None
    return found.known


MINE = Target(AccountId(JOHN), AliasId(1), "active", "", False, False)


def record(**more: Any) -> Rejection:
    return rejection(asked(**more), MINE, "Address does not exist")


def written(*rejections: Rejection, before: Position = START, after: Position = END) -> Written:
    return Written(before, after, rejections)


# -- Whose it is ---------------------------------------------------------------------------------------------------


async def test_the_alias_is_found_by_the_address_without_extension(store: WatchStore) -> None:
    questions = [asked(rcpt="nobody@alias.example"), asked(), asked(rcpt="a1@second.example")]
    assert await store.targets(questions) == {1: MINE}


async def test_deleted_aliases_count_and_forgotten_ones_do_not(store: WatchStore, conn: Connection) -> None:
    await alias(conn, "gone@alias.example", state="deleted", deleted_at=AT)
    await alias(conn, "lost@alias.example", account=None, state="forgotten", deleted_at=AT)  # type: ignore[arg-type]
    gone = await target(store, rcpt="gone@alias.example")
    assert gone is not None and gone.state == "deleted"
    assert await target(store, rcpt="lost@alias.example") is None


async def test_what_is_switched_off_is_named(store: WatchStore, conn: Connection) -> None:
    await alias(conn, "x@own.example", state="inactive")
    await alias(conn, "x@johndoe.alias.example", username_id=1)
    number = await handle(conn, "shop")
    await alias(conn, "shop@alias.example", handle_id=number)
    await conn.execute("update domain set active = false where name = 'own.example'")
    await conn.execute("update username set active = false")
    await conn.execute("update handle set state = 'inactive'")
    rcpts = ("x@own.example", "x@johndoe.alias.example", "shop@alias.example")
    found = [one for rcpt in rcpts if (one := await target(store, rcpt=rcpt)) is not None]
    assert [(one.state, one.off) for one in found] == [
        ("inactive", "domain"),
        ("active", "username"),
        ("active", "handle"),
    ]


@pytest.mark.parametrize(
    ("entry", "blocked"),
    [
        ({"type": "email", "value": "news@shop.example"}, True),
        ({"type": "domain", "value": "shop.example"}, True),
        ({"type": "domain", "value": "shop.example", "alias_id": 1}, True),
        ({"type": "domain", "value": "hop.example"}, False),
        ({"type": "domain", "value": "shop.example", "alias_id": 2}, False),
        ({"type": "domain", "value": "shop.example", "account_id": 2}, False),
    ],
)
async def test_blocked_senders_are_known(
    store: WatchStore, conn: Connection, entry: dict[str, Any], blocked: bool
) -> None:
    await alias(conn, "a2@alias.example")
    await insert(conn, "blocked_sender", **{"account_id": JOHN, **entry})
    found = await target(store)
    assert found is not None and found.blocked is blocked


async def test_the_domains_above_the_senders_count_as_well(store: WatchStore, conn: Connection) -> None:
    await insert(conn, "blocked_sender", account_id=JOHN, type="domain", value="shop.example")
    found = await target(store, sender="a@news.shop.example")
    assert found is not None and found.blocked


# -- What the ledger has already -----------------------------------------------------------------------------------


async def entry(conn: Connection, **more: Any) -> None:
    values = {
        "ingress_key": next(_numbers).to_bytes(16, "big"),
        "rcpt": "a1+tag@alias.example",
        "sender": "news@shop.example",
        "client_address": "192.0.2.9",
        "outcome": "refused",
        "reason": "blocked_sender",
        "at": AT,
    }
    await insert(conn, "ledger", **values | more)


@pytest.mark.parametrize(
    ("more", "is_known"),
    [
        ({}, True),
        ({"at": AT - timedelta(seconds=2)}, True),
        ({"at": AT + timedelta(seconds=2.9)}, True),
        ({"sender": "NEWS@shop.example"}, True),
        ({"at": AT - timedelta(seconds=3)}, False),
        ({"at": AT + timedelta(seconds=4)}, False),
        ({"sender": "other@shop.example"}, False),
        ({"client_address": "192.0.2.10"}, False),
        ({"client_address": None}, False),
        ({"rcpt": "a1@alias.example"}, False),
    ],
)
async def test_what_p1_to_p3_wrote_within_two_seconds_is_known(
    store: WatchStore, conn: Connection, more: dict[str, Any], is_known: bool
) -> None:
    await entry(conn, **more)
    assert await known(store) is is_known


async def test_a_client_without_an_address_is_one_too(store: WatchStore, conn: Connection) -> None:
    await entry(conn, client_address=None)
    assert await known(store, client_address="unknown")


@pytest.mark.parametrize(
    ("queue_id", "minutes", "is_known"),
    [("4XyZ12AbCd", 0, True), ("4XyZ12AbCd", -59, True), ("4XyZ12AbCd", -61, False), ("other1", 0, False)],
)
async def test_what_p2_and_p3_wrote_of_the_same_message_is_known(
    store: WatchStore, conn: Connection, queue_id: str, minutes: int, is_known: bool
) -> None:
    await entry(conn, queue_id=queue_id, at=AT + timedelta(minutes=minutes), rcpt="a2@alias.example")
    assert await known(store, queue_id="4XyZ12AbCd") is is_known


async def test_refusals_without_a_queue_id_are_not_all_the_same(store: WatchStore, conn: Connection) -> None:
    await entry(conn, queue_id="", rcpt="a2@alias.example")
    assert not await known(store)


# -- Records -------------------------------------------------------------------------------------------------------


async def test_row_174_a_record_as_its_owner_reads_it(store: WatchStore, conn: Connection) -> None:
    assert await store.write(written(record()))
    [row] = await (
        await conn.execute(
            "select uuid, sender, destination, key_id, account_id, alias_id, email_type, type, bounce_type, status,"
            " code, remote_mta, ir_dedupe_key, attempted_at, is_stored, quarantined, resent, recipient_id"
            " from failed_delivery"
        )
    ).fetchall()
    uuid, sender, destination, key_id, *rest = row
    assert unseal(VAULT, place("author", uuid), sender) == b"News@Shop.example"
    assert unseal(VAULT, place("destination", uuid), destination) == b"A1+tag@alias.example"
    assert key_id == VAULT.key_id
    key = ir_key(AccountId(JOHN), AliasId(1), "news@shop.example", "192.0.2.9", "550", AT)
    assert rest == [
        *(JOHN, 1, "IR", "inbound", "hard", "550", "no", "unknown[192.0.2.9]", key, AT),
        *(False, False, False, None),
    ]


async def test_row_178_the_same_lines_twice_are_written_once(store: WatchStore, conn: Connection) -> None:
    assert await store.write(written(record()))
    assert not await store.write(written(record(rcpt="a1@alias.example", status="554")))
    assert await value(conn, "select count(*) from failed_delivery") == 1
    assert await store.position() == END


async def test_row_178_equal_rejections_are_one_record(store: WatchStore, conn: Connection) -> None:
    await store.write(written(record(), record()))
    await store.write(written(record(), record(status="554"), before=END, after=Position(7, 2000, "abc")))
    assert await value(conn, "select count(*) from failed_delivery") == 2


async def test_a_record_of_an_alias_that_is_gone_is_left_out(store: WatchStore, conn: Connection) -> None:
    gone = replace(record(), alias_id=AliasId(99))
    assert await store.write(written(gone, record()))
    assert await value(conn, "select count(*) from failed_delivery") == 1


async def test_texts_from_outside_fit(store: WatchStore, conn: Connection) -> None:
    odd = asked(text="nul \x00 in it", sender="a\x00@b.example", client_name="h\x00")
    assert await store.targets([odd]) == {0: MINE}
    assert await store.write(written(rejection(odd, MINE, "x")))
    assert await value(conn, "select code from failed_delivery") == "nul ? in it"


# -- Copies --------------------------------------------------------------------------------------------------------

HIGH = OutboundId(2**63 + 5)


async def copy(conn: Connection, number: int, **more: Any) -> None:
    values = {
        "id": signed(OutboundId(number)),
        "account_id": JOHN,
        "alias_id": 1,
        "recipient_id": 1,
        "destination": "johndoe@Inbox.example",
        "email_type": "F",
        "mode": "rewrite",
        "ingress_queue_id": "4XyZ12AbCd",
    }
    await insert(conn, "outbound", **values | more)


def heard(number: int, *, sent: bool = True, rcpts: tuple[str, ...] = ("johndoe@inbox.example",)) -> CopyNews:
    return CopyNews(OutboundId(number), AT, rcpts, "mx said: 250 Ok" if sent else "deferred: busy", sent)


async def state(conn: Connection, number: int) -> tuple[Any, Any]:
    query = b"select sent_at, remote from outbound where id = %s"
    row = await (await conn.execute(query, [signed(OutboundId(number))])).fetchone()
    assert row is not None
    return row[0], row[1]


async def test_copies_learn_of_their_arrival(store: WatchStore, conn: Connection) -> None:
    await copy(conn, HIGH)
    await copy(conn, 2, email_type="R", destination="x@shop.example", recipient_id=None)
    await copy(conn, 3)
    news = [heard(HIGH), heard(2, rcpts=("x+y@shop.example", "x@shop.example")), heard(3, sent=False), heard(4)]
    assert sorted(await store.arrived(news), key=str) == sorted(
        [Arrived(HIGH, EmailType.FORWARD, 1), Arrived(OutboundId(2), EmailType.REPLY, None)],  # type: ignore[arg-type]
        key=str,
    )
    assert await store.write(Written(START, END, news=news))
    assert await state(conn, HIGH) == (AT, "mx said: 250 Ok")
    assert await state(conn, 2) == (AT, "mx said: 250 Ok")
    assert await state(conn, 3) == (None, "deferred: busy")
    assert await store.arrived(news) == []


async def test_what_went_elsewhere_is_no_copy_of_ours(store: WatchStore, conn: Connection) -> None:
    await copy(conn, 1)
    news = [heard(1, rcpts=("stranger@shop.example",))]
    assert await store.arrived(news) == []
    assert await store.write(Written(START, END, news=news))
    assert await state(conn, 1) == (None, None)


async def test_the_first_arrival_stays(store: WatchStore, conn: Connection) -> None:
    await copy(conn, 1, sent_at=AT - timedelta(days=1))
    assert await store.write(Written(START, END, news=[heard(1)]))
    assert await state(conn, 1) == (AT - timedelta(days=1), "mx said: 250 Ok")


async def test_mail_goes_before_the_watcher(store: WatchStore, conn: Connection) -> None:
    await copy(conn, 1)
    async with conn.transaction():
        await conn.execute("update outbound set bounce_count = 1")
        with pytest.raises(Unavailable):
            await store.write(Written(START, END, news=[heard(1)]))
    assert await _eventually_leads(store)
    assert await store.write(Written(START, END, news=[heard(1)]))


def write(log: Path, text: str) -> None:
    log.write_text(text)


async def test_a_log_of_a_copy_from_the_file_to_the_database(
    store: WatchStore, dsn: str, conn: Connection, tmp_path: Path
) -> None:
    """All parts together: it arrived, so its recipient works again and its message is needed no more."""
    now = datetime.now(UTC)
    stamp = f"{now.isoformat()} mx postfix"
    sender = verp.encode(VerpId(EmailType.FORWARD, HIGH, day_number(now)), "bounces.relay.example", b"key")
    write(
        tmp_path / "mail.log",
        f"{stamp}/qmgr[4]: AAAAA1: from=<{sender}@bounces.relay.example>, size=2051, nrcpt=1 (queue active)\n"
        f"{stamp}/smtp[7]: AAAAA1: to=<johndoe@inbox.example>, relay=mx.inbox.example[192.0.2.25]:25, delay=1, "
        "delays=1/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 Ok)\n"
        f"{stamp}/smtpd[8]: NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 550 5.7.1 no; from=<> "
        "to=<a1+tag@alias.example> proto=ESMTP helo=<x>\n",
    )
    await copy(conn, HIGH)
    await conn.execute("update recipient set failing_since = now() - interval '1 day', hard_failures = 3 where id = 1")
    database = Database(dsn, 1, 20.0, "test")
    await database.open()
    failing = FailingStore(database)
    spool = Spool(tmp_path / "spool", VAULT, secrets.token_bytes)
    assert await spool.keep(HIGH, b"the message", b"")
    watch = LogWatch(
        FileTail(tmp_path / "mail.log"),
        store,
        Reading(lambda line, now: read(line, now, UTC), (b"key",), "Address does not exist"),
        Consequences(failing.note_success, failing.note_contact_success, spool.drop, spool.sweep),
        lambda: now + timedelta(seconds=10),
    )
    stop = asyncio.Event()
    task = asyncio.create_task(watch.run(stop))
    try:
        async with asyncio.timeout(20):
            while not await value(conn, "select count(*) from failed_delivery"):
                pass
    finally:
        stop.set()
        await task
        await database.close()
    assert watch.health == "ok"
    assert await state(conn, HIGH) == (now, "mx.inbox.example[192.0.2.25]:25 said: 250 2.0.0 Ok")
    assert await value(conn, "select failing_since is null and hard_failures = 0 from recipient where id = 1")
    assert await spool.take(HIGH) is None


# -- Position and lead ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [END, Position(mark="s=1;i=7"), Position(octets=5), Position(2**63 - 1, 2**40, "x")])
async def test_the_position_is_kept_as_it_was(store: WatchStore, after: Position) -> None:
    assert await store.position() == START
    assert await store.write(Written(START, after))
    assert await store.position() == after
    assert await store.write(Written(after, END))


async def test_a_quiet_log_gives_signs_of_life(store: WatchStore, conn: Connection) -> None:
    assert await store.write(Written(START, START))
    await conn.execute("update log_position set updated_at = '2020-01-01'")
    assert await store.write(Written(START, START))
    assert await value(conn, "select now() - updated_at < interval '1 minute' from log_position")


async def test_each_log_has_one_reader_and_a_position_of_its_own(store: WatchStore, dsn: str) -> None:
    second = WatchStore(dsn, "mx /var/log/mail.log", VAULT, secrets.token_bytes)
    elsewhere = WatchStore(dsn, "mx2 /var/log/mail.log", VAULT, secrets.token_bytes)
    try:
        assert not await second.lead()
        assert await elsewhere.lead()
        await store.write(Written(START, END))
        assert await elsewhere.position() == START
        await store.close()
        assert await _eventually_leads(second)
        assert await second.position() == END
    finally:
        await second.close()
        await elsewhere.close()


async def _eventually_leads(store: WatchStore) -> bool:
    """The server notices within moments that the other connection has ended."""
    async with asyncio.timeout(10):
        while not await store.lead():
            pass
    return True


async def test_an_end_in_between_loses_and_doubles_nothing(
    store: WatchStore, dsn: str, conn: AsyncConnection[Any]
) -> None:
    """The server goes away before the statement has ended: neither record nor position is there."""
    await conn.execute(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name like '%watcher'"
    )
    with pytest.raises(Unavailable):
        await store.write(written(record()))
    assert await value(conn, "select count(*) from failed_delivery") == 0
    assert await _eventually_leads(store)
    assert await store.position() == START
    assert await store.write(written(record()))
    with psycopg.connect(dsn) as other:
        assert other.execute("select count(*) from failed_delivery").fetchone() == (1,)
