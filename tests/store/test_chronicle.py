"""The chronicle on PostgreSQL: what it reads, what it writes, and that it tells everything once."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.rows import dict_row

from mailrelay.core.chronicle import LedgerId, Page, tell
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId, Reason
from mailrelay.core.failed import record_uuid
from mailrelay.core.held import place
from mailrelay.core.ledger import Closing, Ending, Envelope, IngressKey, Opening, OutboundId, ingress_key
from mailrelay.core.sealed import unseal, vault
from mailrelay.core.verp import EmailType
from mailrelay.flows.chronicle import Chronicle, Manner
from mailrelay.store.chronicle import ChronicleStore
from mailrelay.store.database import Database
from mailrelay.store.ledger import Ledger
from tests.store.world import JOHN, Connection, alias, insert, value

VAULT = vault([b"a secret of the installation"])
HOST = "mx.relay.example"
NO_LAG = timedelta(0)
ALLOWED = 1000


@pytest.fixture
async def a1(conn: Connection) -> int:
    return await alias(conn, "a1@alias.example")


@pytest.fixture
async def ledger(dsn: str) -> AsyncIterator[Ledger]:
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield Ledger(database)
    await database.close()


@pytest.fixture
async def store(dsn: str, a1: int) -> AsyncIterator[ChronicleStore]:
    """Leads, reads at once, and takes three entries a piece."""
    store = ChronicleStore(dsn, VAULT, secrets.token_bytes, NO_LAG, batch_rows=3)
    assert await store.lead()
    yield store
    await store.close()


def envelope(n: int, alias_id: int | None, rcpt: str = "a1@alias.example", account: int | None = JOHN) -> Envelope:
    return Envelope(
        IngressKey(ingress_key("Q", b"%d" % n)),
        "4XyZ12AbCd",
        f"<{n}@shop.example>",
        f"{n}@shop.example",
        rcpt,
        "192.0.2.10",
        500,
        None if account is None else AccountId(account),
        None if alias_id is None else AliasId(alias_id),
        fingerprint=n,
    )


async def dropped(ledger: Ledger, alias_id: int, *reasons: Reason) -> None:
    first = 1000
    await ledger.end([Ending(envelope(first + n, alias_id), "discarded", why) for n, why in enumerate(reasons)])


async def opened(ledger: Ledger, alias_id: int, n: int = 1, kind: EmailType = EmailType.FORWARD) -> OutboundId:
    opening = Opening(envelope(n, alias_id), 1, OutboundId(2**63 + n), "johndoe@Inbox.example", kind, "rewrite")
    await ledger.open([opening])
    return opening.outbound_id


async def aged(conn: Connection, alias_id: int, age: timedelta) -> None:
    """A dropped mail of some time ago."""
    await conn.execute(
        """
        insert into ledger (ingress_key, rcpt, outcome, reason, account_id, alias_id, at, finished_at)
        select substr(sha256(random()::text::bytea), 1, 16), 'a1@alias.example', 'discarded', 'blocked_sender',
               %s, %s, t, t
        from (select now() - %s as t) t
        """,
        (JOHN, alias_id, age),
    )


async def read(store: ChronicleStore, after: int = 0) -> int:
    """Everything that is there, as the flow does it. Gives the position."""
    position = await store.position(datetime.now(UTC) - timedelta(hours=1))
    assert position >= after
    while (page := await store.piece(position)).upto > page.after:
        near = await store.near_limit(page.accounts, ALLOWED)
        assert near == {} or page.accounts
        await store.write(page, [tell(entry, HOST) for entry in page.entries])
        position = page.upto
    await again(store)
    return position


async def again(store: ChronicleStore) -> Page:
    page = await store.open_piece(LedgerId(0))
    await store.write_open(page, [tell(entry, HOST) for entry in page.entries])
    return page


async def failures(conn: Connection) -> list[dict[str, Any]]:
    cursor = conn.cursor(row_factory=dict_row)
    return await (await cursor.execute("select * from failed_delivery order by id")).fetchall()


async def column(conn: Connection, query: str) -> list[Any]:
    return [row[0] for row in await (await conn.execute(query.encode())).fetchall()]


async def test_a_rejection_becomes_a_record_of_its_owner(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    await dropped(ledger, a1, Reason.ALIAS_INACTIVE)
    await read(store)
    [row] = await failures(conn)
    number, at = (await (await conn.execute("select id, at from ledger")).fetchall())[0]
    assert row["uuid"] == record_uuid("ledger", number)
    assert (row["account_id"], row["alias_id"], row["email_type"], row["type"]) == (JOHN, a1, "IR", "inbound")
    assert (row["status"], row["code"], row["bounce_type"]) == ("", "alias is deactivated", "hard")
    assert (row["remote_mta"], row["attempted_at"]) == ("unknown[192.0.2.10]", at)
    assert unseal(VAULT, place("author", row["uuid"]), row["sender"]) == b"1000@shop.example"
    assert unseal(VAULT, place("destination", row["uuid"]), row["destination"]) == b"a1@alias.example"
    assert (row["key_id"], row["is_stored"], row["ledger_id"]) == (VAULT.key_id, False, None)
    assert await value(conn, "select count(*) from job") == 0


async def test_pieces_follow_each_other_to_the_end(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    await dropped(ledger, a1, *[Reason.BLOCKED_SENDER] * 8)
    assert await read(store) == 8
    assert len(await failures(conn)) == 8
    await dropped(ledger, a1, *[Reason.BLOCKED_SENDER] * 8)  # written before, so no entries
    assert await read(store, 8) == 8
    assert await value(conn, "select cursor from log_position where source = 'ledger'") == "8"


async def test_nothing_is_told_twice_and_what_was_deleted_stays_so(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    await dropped(ledger, a1, Reason.BLOCKED_SENDER, Reason.LOOP)
    await read(store)
    await conn.execute("update log_position set cursor = '0'")  # as if restored from a backup
    await read(store)
    assert len(await failures(conn)) == 2
    await conn.execute("delete from failed_delivery")
    await read(store, 2)
    assert await failures(conn) == []


async def test_equal_rejections_of_a_minute_are_one_record(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    await ledger.end([Ending(envelope(n, a1), "refused", Reason.NOT_READY) for n in range(5)])
    await read(store)
    [row] = await failures(conn)
    assert (row["status"], row["code"]) == ("", "no recipient is verified")


async def test_young_entries_wait_however_their_ids_are_ordered(conn: Connection, dsn: str, a1: int) -> None:
    """One that was begun earlier may be written later: nothing is passed over."""
    for seconds in (60, 5, 60):
        await aged(conn, a1, timedelta(seconds=seconds))
    store = ChronicleStore(dsn, VAULT, secrets.token_bytes, timedelta(seconds=30), batch_rows=3)
    assert await store.lead()
    page = await store.piece(LedgerId(0))
    assert ([entry.id for entry in page.entries], page.upto, page.more) == ([1], 1, False)
    assert page.late_seconds >= 60
    await conn.execute(
        "update ledger set at = at - interval '1 minute', finished_at = finished_at - interval '1 minute'"
    )
    assert [entry.id for entry in (await store.piece(page.upto)).entries] == [2, 3]
    await store.close()


async def test_it_begins_with_what_is_recent(conn: Connection, dsn: str, a1: int) -> None:
    for hours in (30, 20, 2, 0):
        await aged(conn, a1, timedelta(hours=hours))
    store = ChronicleStore(dsn, VAULT, secrets.token_bytes, NO_LAG)
    await store.lead()
    assert await store.position(datetime.now(UTC) - timedelta(hours=6)) == 2
    assert await store.position(datetime.now(UTC) - timedelta(hours=90)) == 2  # there is a position by now
    await store.close()


async def test_an_empty_ledger_is_begun_at_its_beginning(ledger: Ledger, store: ChronicleStore, a1: int) -> None:
    assert await store.position(datetime.now(UTC)) == 0
    await dropped(ledger, a1, Reason.BLOCKED_SENDER)
    assert len((await store.piece(LedgerId(0))).entries) == 1


# -- Copies that wait ----------------------------------------------------------------------------------------------


async def test_a_copy_that_waits_for_postfix_is_looked_at_again(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    outbound = await opened(ledger, a1)
    position = await read(store)
    assert position == 1
    assert (await failures(conn), await column(conn, "select ledger_id from ledger_open")) == ([], [1])
    note = "550 5.1.1 <johndoe@Inbox.example>: no such user"
    await ledger.close([([Closing(outbound, "failed", Reason.REFUSED_BY_POSTFIX, note=note)], None)])
    await read(store)
    [row] = await failures(conn)
    assert (row["email_type"], row["bounce_type"], row["status"], row["recipient_id"]) == ("F", "hard", "5.1.1", 1)
    assert row["outbound_id"] == -(2**63) + 1
    assert unseal(VAULT, place("destination", row["uuid"]), row["destination"]) == b"johndoe@Inbox.example"
    assert await column(conn, "select ledger_id from ledger_open") == []


async def test_forwarded_mail_is_counted_for_everybody_to_see(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    async def total() -> int:
        found = await column(conn, "select total from counter where name = 'forwarded'")
        return int(found[0]) if found else 0

    before = await total()
    kinds = (EmailType.FORWARD, EmailType.REPLY, EmailType.SEND, *[EmailType.FORWARD] * 4)
    copies = [await opened(ledger, a1, n, kind) for n, kind in enumerate(kinds, 1)]
    await ledger.close([([Closing(one, "delivered", queue_id="Q1")], None) for one in copies[:5]])
    await ledger.close([([Closing(copies[5], "failed", Reason.REFUSED_BY_POSTFIX, note="550 5.1.1 no")], None)])
    await dropped(ledger, a1, Reason.BLOCKED_SENDER)
    await read(store)
    assert await total() - before == 3  # three forwards; the last one still waits for Postfix
    await read(store)
    await ledger.close([([Closing(copies[6], "delivered", queue_id="Q2")], None)])
    await again(store)
    await again(store)
    assert await total() - before == 4


async def test_who_deleted_the_record_of_a_late_failure_sees_it_no_more(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    outbound = await opened(ledger, a1)
    await read(store)
    await ledger.close([([Closing(outbound, "failed", Reason.DESTINATION_BANNED)], None)])
    await read(store)
    await conn.execute("delete from failed_delivery")
    await read(store)
    assert await failures(conn) == []


async def test_entries_that_retention_removed_are_not_waited_for(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    await opened(ledger, a1)
    await read(store)
    await conn.execute("delete from ledger")
    await again(store)
    assert await column(conn, "select ledger_id from ledger_open") == []


# -- Notices -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preference", "told"), [(0, True), (1, True), (2, False), (3, False)])
async def test_failures_are_told_to_those_who_want_to_hear(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int, preference: int, told: bool
) -> None:
    await conn.execute("update account set failed_delivery_notification_preference = %s", (preference,))
    outbound = await opened(ledger, a1, kind=EmailType.REPLY)
    await ledger.close([([Closing(outbound, "failed", Reason.REFUSED_BY_POSTFIX)], None)])
    await read(store)
    payloads = await column(conn, "select payload from job where kind = 'notice'")
    notice = {"code": "FDN", "account_id": JOHN, "recipient_id": 1, "about": "", "data": {"failed_id": 1}}
    assert payloads == ([notice] if told else [])


@pytest.mark.parametrize(("preference", "told"), [(0, True), (1, False), (2, True), (3, False)])
async def test_quarantined_mail_is_told_to_those_who_want_to_hear(
    conn: Connection, store: ChronicleStore, a1: int, preference: int, told: bool
) -> None:
    await conn.execute("update account set failed_delivery_notification_preference = %s", (preference,))
    entry = await insert(
        conn,
        "ledger",
        ingress_key=bytes(16),
        rcpt="a1@alias.example",
        outcome="held",
        reason="dmarc",
        account_id=JOHN,
        alias_id=a1,
    )
    await insert(conn, "failed_delivery", account_id=JOHN, email_type="F", ledger_id=entry, quarantined=True)
    await read(store)
    assert await column(conn, "select payload ->> 'code' from job") == (["FDN"] if told else [])
    assert len(await failures(conn)) == 1  # its own; no second one


async def test_what_was_held_and_then_discarded_is_not_told_again(
    conn: Connection, store: ChronicleStore, a1: int
) -> None:
    entry = await insert(
        conn,
        "ledger",
        ingress_key=bytes(16),
        rcpt="a1@alias.example",
        outcome="held",
        reason="dmarc",
        account_id=JOHN,
        alias_id=a1,
    )
    await insert(conn, "failed_delivery", account_id=JOHN, email_type="F", ledger_id=entry, quarantined=True)
    await conn.execute("delete from failed_delivery")
    assert await value(conn, "select outcome from ledger") == "discarded"
    await read(store)
    assert await failures(conn) == []


async def test_a_loop_is_told_once_while_the_notice_waits(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    await dropped(ledger, a1, *[Reason.LOOP] * 5)
    await read(store)
    assert [row["status"] for row in await failures(conn)] == ["5.4.6"] * 5
    [payload] = await column(conn, "select payload from job")
    assert (payload["code"], payload["data"]["alias"]) == ("CYC", "a1@alias.example")


@pytest.mark.parametrize(
    ("own", "used", "percent"),
    [(None, 900, None), (None, 901, 90), (None, 5000, 500), (0, 5000, None), (100, 95, 95), (10_000, 5000, None)],
)
async def test_who_is_near_the_limit(
    conn: Connection, store: ChronicleStore, own: int | None, used: int, percent: int | None
) -> None:
    await conn.execute("update account set bandwidth_octets_per_month = %s where id = %s", (own, JOHN))
    await conn.execute(
        """
        insert into rate_window (account_id, kind, window_start, amount)
        select %s, 'bandwidth', date_trunc('month', now() at time zone 'utc') at time zone 'utc' - past, %s
        from unnest(array[interval '0', interval '1 month']) past
        """,
        (JOHN, used),
    )
    expected = {} if percent is None else {AccountId(JOHN): percent}
    assert await store.near_limit([AccountId(1), AccountId(2)], ALLOWED) == expected


# -- Rules, behaviour ----------------------------------------------------------------------------------------------


async def test_the_rule_that_blocked_is_named_if_there_was_one(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    block = '[{"type": "block", "value": true}]'
    values = {"account_id": JOHN, "conditions": "[{}]", "forwards": True}
    await insert(conn, "rule", name="Old", actions=block, last_applied=datetime(2020, 1, 1, tzinfo=UTC), **values)
    tag = '[{"type": "subject", "value": "x"}]'
    await insert(conn, "rule", name="Tag", actions=tag, last_applied=datetime.now(UTC), **values)
    await insert(conn, "rule", name="No shoes", actions=block, last_applied=datetime.now(UTC), **values)
    await dropped(ledger, a1, Reason.RULE)
    await read(store)
    await conn.execute("update rule set last_applied = now()")
    await ledger.end([Ending(envelope(7, a1), "discarded", Reason.RULE)])
    await read(store)
    rows = await failures(conn)
    assert [row["code"] for row in rows] == ["one of your rules blocked it: No shoes", "one of your rules blocked it"]
    assert {(row["email_type"], row["bounce_type"], row["type"]) for row in rows} == {("F", "rule", "inbound")}


async def test_only_who_rejects_has_rejections(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    await ledger.end([Ending(envelope(1, a1), "refused", Reason.ALIAS_INACTIVE)])
    await conn.execute("update account set block_behaviour = 'defer'")
    await read(store)
    assert await failures(conn) == []
    await conn.execute("update alias set block_behaviour = 'reject'")
    await ledger.end([Ending(envelope(2, a1), "refused", Reason.ALIAS_INACTIVE)])
    await read(store)
    assert [row["status"] for row in await failures(conn)] == ["550"]


# -- Events --------------------------------------------------------------------------------------------------------


async def test_events_are_written_for_those_who_listen(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    async def happen(n: int) -> None:
        outbound = await opened(ledger, a1, n)
        await ledger.close([([Closing(outbound, "delivered", queue_id="Q2")], None)])
        await ledger.end([Ending(envelope(100 + n, a1), "discarded", Reason.BLOCKED_SENDER)])
        await ledger.end([Ending(envelope(200 + n, None, "x@alias.example", None), "refused", Reason.BANNED)])
        await read(store)

    await happen(1)
    assert await column(conn, "select event from outbox") == []
    hook = {"url": "https://hook.example", "secret": b"s", "key_id": "k"}
    await insert(conn, "webhook", account_id=JOHN, events=[], **hook)
    await insert(conn, "webhook", account_id=2, events=[], **hook)
    await happen(2)
    assert await column(conn, "select event from outbox order by id") == ["mail.forwarded", "mail.blocked"]
    await insert(conn, "webhook", events=["ban.hit"], **hook)
    await happen(3)
    assert await column(conn, "select event from outbox where account_id is null") == ["ban.hit"]
    assert len(await column(conn, "select event from outbox")) == 5


# -- Trouble -------------------------------------------------------------------------------------------------------


async def test_two_who_read_do_not_both_write(conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int) -> None:
    await dropped(ledger, a1, Reason.LOOP)
    await store.position(datetime.now(UTC) - timedelta(hours=1))
    page = await store.piece(LedgerId(0))
    told = [tell(entry, HOST) for entry in page.entries]
    await store.write(page, told)
    with pytest.raises(Unavailable, match="somebody else"):
        await store.write(page, told)
    assert (len(await failures(conn)), await value(conn, "select count(*) from job")) == (1, 1)


async def test_the_position_stays_where_nothing_could_be_written(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    await dropped(ledger, a1, Reason.LOOP)
    await conn.execute("alter table job add constraint full_up check (kind <> 'notice')")
    with pytest.raises(Exception, match="full_up"):
        await read(store)
    assert (await failures(conn), await value(conn, "select cursor from log_position")) == ([], "0")
    await conn.execute("alter table job drop constraint full_up")
    await read(store)
    assert len(await failures(conn)) == 1


async def test_accounts_and_aliases_that_went_meanwhile_hold_nothing_up(
    conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int
) -> None:
    await ledger.end([Ending(envelope(1, 999), "discarded", Reason.LOOP)])
    await ledger.end([Ending(envelope(2, 999, account=999), "discarded", Reason.LOOP)])
    assert await read(store) == 2
    [row] = await failures(conn)
    assert (row["account_id"], row["alias_id"]) == (JOHN, None)


async def test_odd_text_is_stored(conn: Connection, ledger: Ledger, store: ChronicleStore, a1: int) -> None:
    outbound = await opened(ledger, a1)
    note = "550 5.1.1 Ümläut\u2028 \\u0000 \"x'" + "y" * 2000
    await ledger.close([([Closing(outbound, "failed", Reason.REFUSED_BY_POSTFIX, note=note)], None)])
    await read(store)
    [row] = await failures(conn)
    assert row["code"].isascii()
    assert len(row["code"]) <= 500


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            pass  # each time the server is asked


async def test_the_whole_story(conn: Connection, dsn: str, ledger: Ledger, a1: int) -> None:
    """One leads; when it ends, another takes over where it was."""
    manner = Manner(HOST, ALLOWED, pause_seconds=0, follow_seconds=0, retry_seconds=0)
    stops = [asyncio.Event(), asyncio.Event()]
    stores = [ChronicleStore(dsn, VAULT, secrets.token_bytes, NO_LAG, batch_rows=2) for _ in stops]
    chronicles = [Chronicle(store, manner, lambda: datetime.now(UTC)) for store in stores]
    running = [asyncio.create_task(one.run(stop)) for one, stop in zip(chronicles, stops, strict=True)]

    async def told(n: int) -> None:
        await until(lambda: _is(conn, "select count(*) from failed_delivery", n))

    await dropped(ledger, a1, *[Reason.BLOCKED_SENDER] * 5)
    await told(5)
    stops[0].set()
    await asyncio.wait_for(running[0], 20)
    await ledger.end([Ending(envelope(1, a1), "discarded", Reason.LOOP)])
    await told(6)
    await conn.execute(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name like %s", ("%chr%",)
    )
    await ledger.end([Ending(envelope(2, a1), "discarded", Reason.LOOP)])
    await told(7)
    stops[1].set()
    await asyncio.wait_for(running[1], 20)
    assert [one.health for one in chronicles] == ["ok", "ok"]


async def _is(conn: Connection, query: str, expected: Any) -> bool:
    return bool(await value(conn, query) == expected)
