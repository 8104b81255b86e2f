"""Values of the sign-in, and passwords that are checked a few at a time."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.signin import Ticket, Unit, expiry, password_mark, read_ticket
from mailrelay.flows import passwords
from mailrelay.flows.passwords import Passwords, is_dated

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "unit", "expected"),
    [
        ("2026-01-31", "day", "2026-02-01"),
        ("2026-01-31", "week", "2026-02-07"),
        ("2026-01-31", "month", "2026-03-03"),
        ("2028-01-31", "month", "2028-03-02"),
        ("2026-11-15", "month", "2026-12-15"),
        ("2026-12-31", "month", "2027-01-31"),
        ("2028-02-29", "year", "2029-03-01"),
        ("2026-12-31", "year", "2027-12-31"),
    ],
)
def test_units_of_the_calendar_flow_over(now: str, unit: Unit, expected: str) -> None:
    begin, end = (datetime.fromisoformat(f"{day}T12:00:00+00:00") for day in (now, expected))
    assert expiry(begin, unit) == end


def test_no_unit_is_for_ever() -> None:
    assert expiry(NOON, None) is None


def test_a_ticket_comes_back_as_it_was() -> None:
    ticket = Ticket(AccountId(2**40), NOON, password_mark("$argon2id$x"))
    assert read_ticket(ticket.octets()) == ticket
    for wrong in (b"", ticket.octets()[:-1], ticket.octets() + b"x"):
        with pytest.raises(Malformed):
            read_ticket(wrong)
    assert password_mark("a") != password_mark("b")


async def test_two_passwords_are_checked_at_once_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, both, lock = threading.Event(), threading.Event(), threading.Lock()
    inside = most = 0

    def slow(password_hash: str, password: str) -> bool:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
            if inside == 2:
                both.set()
        gate.wait(10)
        with lock:
            inside -= 1
        return password == "right"

    monkeypatch.setattr(passwords, "_verified", slow)
    checker = Passwords(max_waiting=3)
    tries = [asyncio.create_task(checker.match("x", text)) for text in ("right", "wrong", "right", "right", "wrong")]
    assert await asyncio.to_thread(both.wait, 10)
    with pytest.raises(Unavailable):
        await checker.match("x", "right")
    gate.set()
    assert await asyncio.gather(*tries) == [True, False, True, True, False]
    assert most == 2
    assert await checker.match("x", "right")


async def test_a_password_is_that_of_its_hash() -> None:
    from argon2 import PasswordHasher

    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    checker = Passwords()
    assert await checker.match(cheap.hash("ünïcode"), "ünïcode")
    assert not await checker.match(cheap.hash("ünïcode"), "unicode")
    assert not await checker.match("no hash", "no hash")
    assert not await checker.match(None, "anything")


async def test_new_hashes_are_those_of_the_specification_and_wait_their_turn() -> None:
    """Section 2.8 of the Haltman API."""
    full = Passwords(at_once=1, max_waiting=-1)
    with pytest.raises(Unavailable):
        await full.hash("long enough")
    made = await Passwords().hash("long enough")
    assert made.startswith("$argon2id$v=19$m=131072,t=4,p=1$")
    assert not is_dated(made)
    assert is_dated("$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$c29tZWhhc2g")
    assert is_dated("no hash")


@pytest.mark.parametrize("password", ["", "1234567", "x" * 257, "12345678\ud800"])
async def test_what_is_no_password_gets_no_hash(password: str) -> None:
    with pytest.raises(Malformed):
        await Passwords().hash(password)


def test_days_are_whole() -> None:
    assert expiry(NOON, "day") == NOON + timedelta(days=1)
