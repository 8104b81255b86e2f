"""Events in the database and on their way: in order, none lost, whoever writes at the same time."""

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.sealed import vault
from mailrelay.store.manage_webhooks import Webhooks
from mailrelay.store.webhooks import WebhookStore
from tests.store.webhookshop import SECRET, Shop, announce, opened
from tests.store.world import JOHN, OTHER, Connection, alias, value


@pytest.fixture
async def shop(dsn: str, conn: Connection) -> AsyncIterator[Shop]:
    async with opened(dsn) as shop:
        yield shop


async def announced(conn: Connection) -> list[tuple[Any, ...]]:
    cursor = await conn.execute("select event, account_id, payload from outbox order by id")
    return [tuple(row) for row in await cursor.fetchall()]


# -- What is written down ----------------------------------------------------------------------------------------


async def test_nothing_is_written_down_that_nobody_wants_to_hear_of(shop: Shop, conn: Connection) -> None:
    await announce(conn)
    await shop.add(OTHER)
    await shop.add(JOHN, "mail.failed")
    off = await shop.add(None)
    await shop.webhooks.set_active(str(off.id), False)
    await announce(conn)
    assert await announced(conn) == []
    await announce(conn, "mail.failed", n=1)
    await announce(conn, account=OTHER, n=2)
    await announce(conn, account=None, n=3)
    assert await announced(conn) == [("mail.failed", JOHN, {"n": 1}), ("ban.hit", OTHER, {"n": 2})]
    await shop.webhooks.set_active(str(off.id), True)
    await announce(conn, account=None, n=4)
    assert (await announced(conn))[2:] == [("ban.hit", None, {"n": 4})]


async def test_aliases_are_announced_by_whoever_changes_them(shop: Shop, conn: Connection) -> None:
    await shop.add(JOHN)
    shop_alias = await alias(conn, "shop@alias.example")
    uuid = str(await value(conn, "select uuid from alias where id = %s", shop_alias))
    await conn.execute("update alias set description = 'shop', emails_forwarded = 1 where id = %s", (shop_alias,))
    await conn.execute("update alias set state = 'inactive' where id = %s", (shop_alias,))
    await alias(conn, "theirs@alias.example", account=OTHER)
    said = {"alias": "shop@alias.example", "alias_id": uuid}
    assert await announced(conn) == [
        ("alias.created", JOHN, said),
        ("alias.deactivated", JOHN, {**said, "state": "inactive"}),
    ]


async def test_a_failed_delivery_and_a_domain_are_announced(shop: Shop, conn: Connection) -> None:
    await shop.add(JOHN)
    await conn.execute(
        "insert into failed_delivery (account_id, email_type, bounce_type, status, code, key_id)"
        " values (%s, 'F', 'hard', '5.1.1', 'smtp; 550 unknown', 'x')",
        (JOHN,),
    )
    await conn.execute("insert into failed_delivery (account_id, email_type, key_id) values (%s, 'IR', 'x')", (JOHN,))
    await conn.execute("update domain set active = false where name = 'own.example'")
    await conn.execute("update domain set catch_all = not catch_all where name = 'own.example'")
    failed, domain = await announced(conn)
    assert failed[:2] == ("mail.failed", JOHN)
    assert failed[2]["status"] == "5.1.1"
    assert domain[:2] == ("domain.state", JOHN)
    assert (domain[2]["domain"], domain[2]["active"]) == ("own.example", False)


async def test_what_is_undone_was_never_announced(shop: Shop, conn: Connection) -> None:
    await shop.add(JOHN)
    async with conn.transaction(force_rollback=True):
        await alias(conn, "shop@alias.example")
        assert len(await announced(conn)) == 1
    assert await announced(conn) == []


# -- The order -----------------------------------------------------------------------------------------------------


async def test_an_event_of_a_slow_transaction_is_neither_lost_nor_overtaken(
    shop: Shop, conn: Connection, dsn: str
) -> None:
    await shop.add(JOHN)
    async with await AsyncConnection.connect(dsn) as slow, await AsyncConnection.connect(dsn) as slower:
        await announce(conn, n=0)
        await announce(slow, n=1)  # has its number, and is not over
        await announce(conn, n=3)
        await announce(slow, n=2)
        await slower.execute("select 1")  # reads only: holds up nobody
        [webhook] = await shop.take()
        assert await shop.heard(webhook) == [0], "3 must not overtake 1"
        await slow.commit()
        assert await shop.heard(webhook) == [0, 1, 2, 3]


async def test_events_of_many_writers_are_read_completely_and_in_one_order(
    shop: Shop, conn: Connection, dsn: str
) -> None:
    """A reader that follows while eight write, in transactions of different length."""
    await shop.add(JOHN)
    await announce(conn, n=-1)
    [webhook] = await shop.take()
    lottery = random.Random(5)

    async def write(writer: int) -> None:
        async with await AsyncConnection.connect(dsn) as own:
            for number in range(25):
                await announce(own, n=writer * 1000 + number)
                if lottery.random() < 0.3:
                    await own.commit()
                for _ in range(lottery.randrange(4)):
                    await asyncio.sleep(0)
            await own.commit()

    writing = asyncio.gather(*(write(writer) for writer in range(8)))
    positions = [webhook.position]
    heard: list[Any] = []
    final = False  # the last look begins after the last writer has ended
    while not final:
        final = writing.done()
        while entries := await shop.store.page(webhook, positions[-1]):
            positions += [entry.position for entry in entries]
            heard += [entry.occurrence.payload["n"] for entry in entries if entry.occurrence is not None]
    await writing
    assert positions == sorted(positions)
    assert sorted(heard) == [-1, *(writer * 1000 + n for writer in range(8) for n in range(25))]
    for writer in range(8):
        own = [n for n in heard if n // 1000 == writer]
        assert own == sorted(own)


async def test_a_webhook_hears_of_what_a_transaction_that_is_older_than_itself_announces(
    shop: Shop, conn: Connection, dsn: str
) -> None:
    async with await AsyncConnection.connect(dsn) as older:
        await older.execute("select pg_current_xact_id()")
        await shop.add(JOHN)
        await announce(conn, n=2)
        await announce(older, n=1)
        await older.commit()
    [webhook] = await shop.take()
    assert await shop.heard(webhook) == [1, 2]


async def test_everybody_hears_their_own_and_the_installation_all(shop: Shop, conn: Connection) -> None:
    for account, events in ((None, ()), (None, ("mail.failed",)), (JOHN, ()), (OTHER, ("ban.hit", "mail.failed"))):
        await shop.add(account, *events)
    for number, (event, account) in enumerate(
        [("ban.hit", JOHN), ("mail.failed", OTHER), ("alias.created", OTHER), ("ban.hit", None), ("mail.failed", JOHN)]
    ):
        await announce(conn, event, account, number)
    assert [await shop.heard(webhook) for webhook in await shop.take()] == [[0, 1, 2, 3, 4], [1, 4], [0, 4], [1]]


async def test_an_event_tells_whose_it_is(shop: Shop, conn: Connection) -> None:
    await shop.add(None)
    await announce(conn)
    await announce(conn, account=None)
    [webhook] = await shop.take()
    first, second = await shop.store.page(webhook, webhook.position)
    assert first.occurrence is not None and second.occurrence is not None
    assert first.occurrence.account == await value(conn, "select uuid from account where id = %s", JOHN)
    assert second.occurrence.account is None


# -- Leases and positions ------------------------------------------------------------------------------------------


async def test_a_webhook_belongs_to_one_at_a_time_until_its_lease_ends(shop: Shop, conn: Connection) -> None:
    await shop.add(JOHN)
    assert await shop.take() == []
    await announce(conn)
    assert len(await shop.take()) == 1
    assert await shop.take() == []
    await conn.execute("update webhook set next_try_at = now()")
    [webhook] = await shop.take()
    assert webhook.secret == SECRET
    assert SECRET not in repr(webhook)
    assert await shop.store.release(webhook.id, webhook.position, webhook.position)
    assert len(await shop.take()) == 1


async def test_what_was_delivered_is_not_heard_again(shop: Shop, conn: Connection) -> None:
    await shop.add(JOHN)
    for number in range(3):
        await announce(conn, n=number)
    [webhook] = await shop.take()
    entries = await shop.store.page(webhook, webhook.position)
    assert await shop.store.advance(webhook.id, webhook.position, entries[1].position)
    assert not await shop.store.advance(webhook.id, webhook.position, entries[2].position), "it has moved on"
    assert await shop.store.release(webhook.id, entries[1].position, entries[1].position)
    [again] = await shop.take()
    assert await shop.heard(again) == [2]
    assert (await shop.webhooks.show(str(webhook.id))).delivered_at is not None


async def test_a_failure_is_counted_and_waits(shop: Shop, conn: Connection) -> None:
    added = await shop.add(JOHN)
    await announce(conn)
    [webhook] = await shop.take()
    here = webhook.position
    assert await shop.store.fail(webhook.id, here, here, "answered 500", timedelta(hours=1))
    assert await shop.take() == []
    record = await shop.webhooks.show(str(added.uuid))
    assert (record.failures, record.last_error, record.active, record.waiting) == (1, "answered 500", True, 1)
    await shop.store.fail(webhook.id, here, here, "answered 501", None)
    record = await shop.webhooks.show(str(added.uuid))
    assert (record.failures, record.last_error, record.active) == (2, "answered 501", False)
    await conn.execute("update webhook set next_try_at = now()")
    assert await shop.take() == []
    await shop.webhooks.set_active(str(added.id), True)
    [webhook] = await shop.take()
    assert webhook.failures == 0
    assert await shop.heard(webhook) == [0]


async def test_a_change_of_position_ends_the_turn_of_whoever_delivers(shop: Shop, conn: Connection) -> None:
    added = await shop.add(JOHN)
    await announce(conn, n=1)
    await announce(conn, n=2)
    [webhook] = await shop.take()
    first, second = await shop.store.page(webhook, webhook.position)
    await shop.store.advance(webhook.id, webhook.position, first.position)
    await shop.webhooks.replay(str(added.id), datetime(2020, 1, 1, tzinfo=UTC))
    assert not await shop.store.advance(webhook.id, first.position, second.position)
    assert not await shop.store.release(webhook.id, first.position, second.position)
    assert not await shop.store.fail(webhook.id, first.position, second.position, "no", None)
    await shop.webhooks.remove(str(added.id))
    assert not await shop.store.release(webhook.id, webhook.position, webhook.position)


async def test_replay_begins_with_the_first_event_of_a_moment_or_skips_to_it(shop: Shop, conn: Connection) -> None:
    added = await shop.add(JOHN)
    for hour in range(4):
        await announce(conn, n=hour)
        await conn.execute(
            "update outbox set created_at = %s where payload = %s",
            (datetime(2026, 1, 1, hour, tzinfo=UTC), json.dumps({"n": hour})),
        )
    [webhook] = await shop.take()
    for since, expected in (
        (datetime(2026, 1, 1, 2, tzinfo=UTC), [2, 3]),
        (datetime(2020, 1, 1, tzinfo=UTC), [0, 1, 2, 3]),
        (datetime(2026, 1, 1, 2, 30, tzinfo=UTC), [3]),
        (datetime(2027, 1, 1, tzinfo=UTC), []),
    ):
        assert (await shop.webhooks.replay(str(added.id), since)).waiting == len(expected)
        await conn.execute("update webhook set next_try_at = now()")
        assert [await shop.heard(webhook) for webhook in await shop.take()] == ([expected] if expected else [])
    await announce(conn, n=9)
    await conn.execute("update webhook set next_try_at = now()")
    [webhook] = await shop.take()
    assert await shop.heard(webhook) == [9]


async def test_after_a_move_to_another_cluster_events_go_on_in_order(shop: Shop, conn: Connection) -> None:
    """Whose transactions have lower numbers than those that came along in the dump."""
    added, behind = await shop.add(JOHN), await shop.add(None)
    for number in range(4):
        await announce(conn, n=number)
    assert not await shop.store.renumber()
    await conn.execute("update outbox set xact = (xact::text::bigint + 1000000)::text::xid8")
    await conn.execute(
        "update webhook set (position_xact, position_id) = (select xact, id from outbox where id = %s) where id = %s",
        (2, added.id),
    )
    await announce(conn, n=4)
    assert await shop.store.renumber()
    assert not await shop.store.renumber()
    await announce(conn, n=5)
    heard = {webhook.id: await shop.heard(webhook) for webhook in await shop.take()}
    assert heard == {added.id: [2, 3, 4, 5], behind.id: [0, 1, 2, 3, 4, 5]}


async def test_the_lag_is_the_age_of_what_waits_longest(shop: Shop, conn: Connection, dsn: str) -> None:
    await shop.add(JOHN)
    assert await shop.store.lag() == {True: 0.0, False: 0.0}
    async with await AsyncConnection.connect(dsn) as slow:
        await slow.execute("select pg_current_xact_id()")
        await announce(conn)
        await conn.execute("update outbox set created_at = now() - interval '1 hour'")
        lag = await shop.store.lag()
    assert lag[True] == 0.0
    assert 3590 < lag[False] < 3700, "it waits for the transaction that holds it up"


async def test_a_secret_whose_key_is_gone_is_none(shop: Shop, conn: Connection) -> None:
    added = await shop.add(JOHN)
    await announce(conn)
    later = WebhookStore(shop.store.database, vault([bytes(31) + b"x"]))
    [webhook] = await later.take(1)
    assert webhook.secret is None
    with pytest.raises(Conflict):
        await Webhooks(shop.store.database, later.vault, secrets.token_bytes).secret(added)
    assert await shop.webhooks.secret(added) == SECRET
    assert SECRET.encode() not in bytes(await value(conn, "select secret from webhook"))


async def test_there_is_an_end_to_the_number_of_webhooks(shop: Shop) -> None:
    results = await asyncio.gather(*(shop.add(JOHN) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 2
    await shop.add(OTHER)
    await shop.add(None)
    assert len(await shop.webhooks.page("johndoe")) == 10
    with pytest.raises(Absent):
        await shop.add(77)
    for ref in ("77", "x", "11111111-2222-4333-8444-555555555555"):
        with pytest.raises(Absent):
            await shop.webhooks.show(ref)
