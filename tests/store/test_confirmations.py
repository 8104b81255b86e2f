"""Requests that wait for a code, the mails about them, and tries with codes, in PostgreSQL."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core import codes
from mailrelay.core.address import Address
from mailrelay.core.codes import DAILY, HOURLY, MAX_PENDING, TERMS, TRIES, Asked, Intent, Pending, Wanted
from mailrelay.core.facts import AccountId
from mailrelay.core.notices import Code, Notice
from mailrelay.store import confirmations
from mailrelay.store.confirmations import Confirmations
from mailrelay.store.database import Database
from tests.store.world import Connection, until_waiting, value

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TTL = TERMS["forward"].ttl
BOB, EVE = Address("Bob", "inbox.example"), Address("eve", "inbox.example")
NOTICE = Notice(Code.CNF, None, data={"sealed": "x"})


def macs(code: str, keys: Sequence[bytes] = (b"new", b"old"), family: codes.Family = "forward") -> list[bytes]:
    return [codes.mac(key, family, code) for key in keys]


def wanted(name: str = "shop", email: Address = BOB, intent: Intent = Intent.SUBSCRIBE, **more: object) -> Wanted:
    return Wanted(intent, email, name, "alias.example", **more)  # type: ignore[arg-type]


@pytest.fixture
def store(database: Database, conn: Connection) -> Confirmations:
    return Confirmations(database)


async def ask(store: Confirmations, what: Wanted, code: str, now: datetime = NOON) -> Asked | None:
    return await store.ask(what, macs(code), NOTICE, TERMS[what.intent.family], now)


async def asked(store: Confirmations, what: Wanted, code: str, now: datetime = NOON) -> Asked:
    done = await ask(store, what, code, now)
    assert done is not None
    return done


async def mails(conn: Connection) -> int:
    return int(await value(conn, "select count(*) from job where kind = 'notice' and payload->>'code' = 'CNF'"))


# --- asking --------------------------------------------------------------------------------------------------------


async def test_a_request_waits_and_its_mail_is_on_the_way(store: Confirmations, conn: Connection) -> None:
    done = await asked(store, wanted(ip="192.0.2.7", user_agent="Mozilla" * 100), "012345")
    assert done == Asked(True, None, NOON + TTL, NOON, NOON + MINUTE, 1, None)
    assert await mails(conn) == 1
    row = await (
        await conn.execute(
            "select intent, email, alias_name, alias_domain, code_mac, status, send_count, host(request_ip),"
            " char_length(user_agent) from confirmation"
        )
    ).fetchone()
    expected = ("subscribe", "bob@inbox.example", "shop", "alias.example", macs("012345")[0], "pending", 1)
    assert row == (*expected, "192.0.2.7", 255)
    found = await store.look(macs("012345"), NOON)
    bob = Address("bob", "inbox.example")
    assert found is not None
    assert found == Pending(found.id, Intent.SUBSCRIBE, bob, "shop", "alias.example", None, None, False, NOON + TTL)


async def test_within_the_cooldown_nothing_changes(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(), "111111")
    done = await asked(store, wanted(), "222222", NOON + 0.9 * MINUTE)
    assert (done.sent, done.reason, done.next_allowed_at) == (False, "cooldown", NOON + MINUTE)
    assert await store.look(macs("111111"), NOON + MINUTE) is not None
    assert await store.look(macs("222222"), NOON + MINUTE) is None
    assert await mails(conn) == 1


async def test_after_the_cooldown_a_new_code_takes_the_place_of_the_old(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(ip="192.0.2.7"), "111111")
    done = await asked(store, wanted(ip="192.0.2.8"), "222222", NOON + MINUTE)
    assert (done.sent, done.send_count, done.expires_at) == (True, 2, NOON + MINUTE + TTL)
    assert await store.look(macs("111111"), NOON + MINUTE) is None
    assert await store.look(macs("222222"), NOON + MINUTE) is not None
    assert await value(conn, "select count(*) from confirmation") == 1
    assert await value(conn, "select host(request_ip) from confirmation") == "192.0.2.8"


async def test_a_mail_with_a_code_that_is_none_any_more_does_not_go_out(store: Confirmations, conn: Connection) -> None:
    """Also if a worker that died had it in hand, or it has to wait: the newest mail is the one with the code."""
    await ask(store, wanted(), "111111")
    await conn.execute("update job set leased_until = now() + interval '5 min', leased_by = 'dead', attempts = 3")
    await ask(store, wanted(), "222222", NOON + MINUTE)
    assert await mails(conn) == 1
    assert await value(conn, "select leased_by is null and attempts = 0 and run_at <= now() from job")
    await conn.execute("update job set finished_at = now()")
    await ask(store, wanted(), "333333", NOON + 2 * MINUTE)
    assert await mails(conn) == 2


async def test_a_key_is_asked_for_with_new_wishes_three_times(store: Confirmations, conn: Connection) -> None:
    for number in range(3):
        what = Wanted(Intent.API_KEY_CREATE, BOB, days=30 + number, automatic_renew=number == 2)
        done = await asked(store, what, f"00000{number}", NOON + number * MINUTE)
        assert (done.sent, done.remaining) == (True, 2 - number)
    done = await asked(store, Wanted(Intent.API_KEY_CREATE, BOB, days=1), "000009", NOON + 3 * MINUTE)
    assert (done.sent, done.reason, done.send_count, done.remaining) == (False, "rate_limited", 3, 0)
    found = await store.look(macs("000002"), NOON + 3 * MINUTE)
    assert found is not None
    assert (found.days, found.automatic_renew) == (32, True)
    # When it has run out, it begins anew.
    later = NOON + 2 * MINUTE + TERMS["credentials"].ttl
    assert (await asked(store, Wanted(Intent.API_KEY_CREATE, BOB, days=1), "000009", later)).send_count == 1


async def test_d_07_actions_of_one_mailbox_wait_beside_each_other(store: Confirmations) -> None:
    for number, intent in enumerate((Intent.API_KEY_CREATE, Intent.API_KEY_LIST, Intent.API_KEY_DESTROY_ALL)):
        assert (await asked(store, Wanted(intent, BOB, days=1), f"00000{number}")).sent
    for number in range(3):
        assert await store.look(macs(f"00000{number}"), NOON) is not None


async def test_d_32_nobody_ends_what_waits_for_somebody_else(store: Confirmations) -> None:
    """Neither for the same mailbox nor for the same alias, nor of another kind."""
    await ask(store, wanted(), "111111")
    await ask(store, wanted("other"), "222222")
    await ask(store, wanted(email=EVE), "333333")
    await ask(store, wanted(intent=Intent.UNSUBSCRIBE), "444444")
    for code in ("111111", "222222", "333333", "444444"):
        assert await store.look(macs(code), NOON) is not None


async def test_d_32_a_mailbox_has_five_requests_that_wait(store: Confirmations, conn: Connection) -> None:
    for number in range(MAX_PENDING):
        assert (await asked(store, wanted(f"shop{number}"), f"00000{number}", NOON + number * MINUTE)).sent
    done = await asked(store, wanted("more"), "000009", NOON + 5 * MINUTE)
    assert done == Asked(False, "rate_limited", None, None, NOON + TTL, 0, None)
    assert (await asked(store, wanted("more", EVE), "000008", NOON + 5 * MINUTE)).sent
    assert (await asked(store, wanted("more"), "000009", NOON + TTL)).sent
    assert await mails(conn) == 7


async def test_d_32_a_mailbox_gets_six_mails_an_hour_whatever_for(store: Confirmations, conn: Connection) -> None:
    for number in range(HOURLY.requests):
        assert (await asked(store, wanted(f"shop{number}"), f"00000{number}", NOON + number * 5 * MINUTE)).sent
    what = Wanted(Intent.API_KEY_CREATE, BOB, days=1)
    done = await asked(store, what, "000009", NOON + 59 * MINUTE)
    assert (done.sent, done.reason, done.next_allowed_at) == (False, "rate_limited", NOON + 60 * MINUTE)
    assert (await asked(store, what, "000009", NOON + 60 * MINUTE)).sent
    assert await mails(conn) == 7


async def test_d_32_a_mailbox_gets_twenty_mails_a_day(store: Confirmations, conn: Connection) -> None:
    times = [NOON + hour * timedelta(hours=1) + n * 10 * MINUTE for hour in range(4) for n in range(5)]
    for number, now in enumerate(times):
        assert (await asked(store, wanted(f"shop{number}"), f"0000{number:02}", now)).sent
    done = await asked(store, wanted("more"), "000099", NOON + timedelta(hours=23))
    assert (done.sent, done.next_allowed_at) == (False, NOON + timedelta(hours=24))
    assert (await asked(store, wanted("more"), "000099", NOON + timedelta(hours=24))).sent
    assert await mails(conn) == DAILY.requests + 1


async def test_of_many_who_ask_at_once_one_mail_goes_out(store: Confirmations, conn: Connection) -> None:
    done = await asyncio.gather(*(asked(store, wanted(), f"00000{n}") for n in range(8)))
    assert sum(one.sent for one in done) == 1
    assert {one.reason for one in done} == {None, "cooldown"}
    assert await mails(conn) == 1


async def test_of_many_requests_at_once_five_wait(store: Confirmations, conn: Connection) -> None:
    done = await asyncio.gather(*(asked(store, wanted(f"shop{n}"), f"0000{n:02}") for n in range(12)))
    assert sum(one.sent for one in done) == MAX_PENDING
    assert await mails(conn) == MAX_PENDING


# --- codes ---------------------------------------------------------------------------------------------------------


async def test_d_08_a_live_code_is_given_to_nobody_else(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(), "111111")
    assert await ask(store, wanted(email=EVE), "111111", NOON + TTL - MINUTE) is None
    assert await mails(conn) == 1


async def test_d_08_neither_is_one_under_an_older_key(store: Confirmations) -> None:
    await store.ask(wanted(), macs("111111", [b"old"]), NOTICE, TERMS["forward"], NOON)
    assert await ask(store, wanted(email=EVE), "111111") is None
    assert (await asked(store, wanted(email=EVE), "222222")).sent


async def test_d_08_a_code_that_nobody_used_in_time_is_free_again(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(), "111111")
    assert (await asked(store, wanted(email=EVE), "111111", NOON + TTL)).sent
    assert await value(conn, "select array_agg(status order by id) from confirmation") == ["expired", "pending"]
    found = await store.look(macs("111111"), NOON + TTL)
    assert found is not None
    assert found.email == EVE


async def test_d_08_so_is_one_that_was_used(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(), "111111")
    await confirm(store, "111111")
    assert (await asked(store, wanted(email=EVE), "111111")).sent


async def test_d_08_two_who_draw_the_same_code_at_once(store: Confirmations, conn: Connection) -> None:
    people = [Address(f"p{n}", "inbox.example") for n in range(6)]
    done = await asyncio.gather(*(ask(store, wanted(email=one), "111111") for one in people))
    assert sum(one is not None for one in done) == 1
    assert await mails(conn) == 1


async def test_d_10_only_a_keyed_hash_is_stored(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(), "111111")
    stored = await value(conn, "select code_mac from confirmation")
    assert stored == codes.mac(b"new", "forward", "111111") != codes.mac(b"old", "forward", "111111")
    # Older keys still find theirs.
    assert await store.look(macs("111111", [b"newest", b"new"]), NOON) is not None
    assert await store.look(macs("111111", [b"newest"]), NOON) is None
    assert await store.look(macs("111111", family="reset"), NOON) is None


# --- confirming ----------------------------------------------------------------------------------------------------


async def confirm(store: Confirmations, code: str, now: datetime = NOON) -> bool:
    async with store.database.connection() as conn, conn.transaction():
        found = await confirmations.take(conn, macs(code), now)
        if found is not None:
            await confirmations.settle(conn, found.id, now)
        return found is not None


async def test_a_code_confirms_once(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(), "111111")
    assert not await confirm(store, "222222")
    assert await confirm(store, "111111")
    assert not await confirm(store, "111111")
    assert await store.look(macs("111111"), NOON) is None
    row = await (await conn.execute("select status, confirmed_at from confirmation")).fetchone()
    assert row == ("confirmed", NOON)


async def test_of_many_with_the_same_code_one_confirms(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(), "111111")
    done = await asyncio.gather(*(confirm(store, "111111") for _ in range(8)))
    assert sum(done) == 1


async def test_who_is_slower_waits_and_finds_the_code_used(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(), "111111")
    async with store.database.connection() as first, first.transaction():
        found = await confirmations.take(first, macs("111111"), NOON)
        assert found is not None
        second = asyncio.create_task(confirm(store, "111111"))
        await until_waiting(conn)
        await confirmations.settle(first, found.id, NOON)
    assert not await second


async def test_an_old_code_confirms_nothing(store: Confirmations) -> None:
    await ask(store, wanted(), "111111")
    assert await store.look(macs("111111"), NOON + TTL) is None
    assert not await confirm(store, "111111", NOON + TTL)
    assert await confirm(store, "111111", NOON + 0.9 * TTL)


async def test_what_is_not_settled_stays(store: Confirmations, conn: Connection) -> None:
    await ask(store, wanted(), "111111")
    async with store.database.connection() as other, other.transaction():
        assert await confirmations.take(other, macs("111111"), NOON) is not None
    assert await confirm(store, "111111")


async def test_a_request_for_an_account_goes_with_it(store: Confirmations, conn: Connection) -> None:
    await ask(store, Wanted(Intent.PASSWORD_RESET, BOB, account=AccountId(2)), "111111")
    found = await store.look(macs("111111"), NOON)
    assert found is not None
    assert found.account == 2
    await conn.execute("update account set default_recipient_id = null where id = 2")
    await conn.execute("delete from account where id = 2")
    assert await store.look(macs("111111"), NOON) is None


# --- guessing ------------------------------------------------------------------------------------------------------


async def test_tries_are_counted_and_taken_back(store: Confirmations, conn: Connection) -> None:
    limits = TRIES["code"]
    for hits in (1, 2):
        windows = await store.count_try(limits, ("192.0.2.1", "192.0.2.0/24"))
        assert [(one.limit, one.hits) for one in windows] == [(limit, hits) for limit in limits]
    windows = await store.count_try(limits, ("192.0.2.2", "192.0.2.0/24"))
    assert [one.hits for one in windows] == [1, 3, 3]
    await store.forgive_try(limits, ("192.0.2.2", "192.0.2.0/24"))
    rows = await (await conn.execute("select name, subject, hits from request_window order by 1, 2")).fetchall()
    assert rows == [
        ("guess", "", 2),
        ("guess-address", "192.0.2.1", 2),
        ("guess-address", "192.0.2.2", 0),
        ("guess-network", "192.0.2.0/24", 2),
    ]


async def test_what_is_refused_counts_for_nobody_else(store: Confirmations) -> None:
    limits = TRIES["code"]
    for _ in range(limits[0].requests):
        assert len(await store.count_try(limits, ("192.0.2.1", "192.0.2.0/24"))) == 3
    windows = await store.count_try(limits, ("192.0.2.1", "192.0.2.0/24"))
    assert [(one.limit, one.is_over) for one in windows] == [(limits[0], True), (limits[1], False)]
    *_, everybody = await store.count_try(limits, ("198.51.100.1", "198.51.100.0/24"))
    assert everybody.hits == limits[0].requests + 1


async def test_guesses_at_once_are_all_counted(store: Confirmations) -> None:
    limits = TRIES["code"]
    done = await asyncio.gather(*(store.count_try(limits, ("192.0.2.1", "192.0.2.0/24")) for _ in range(20)))
    assert sum(len(one) == 3 for one in done) == limits[0].requests
