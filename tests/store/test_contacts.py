"""Opaque reverse addresses on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mailrelay.core.address import Address
from mailrelay.core.context import Wanted, letters
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.store.contacts import Contacts
from mailrelay.store.database import Database
from tests.store.world import JOHN, OTHER, Connection, alias, insert, value

BOB = Wanted(AccountId(JOHN), AliasId(1), "Büro@shop.example", "Büro", "alias.example", "a" * 16)
BOBS = Address("r-" + "a" * 16, "alias.example")


@pytest.fixture
async def store(conn: Connection, dsn: str) -> AsyncIterator[Contacts]:
    """Beside alias 1 of the first account."""
    await alias(conn, "a1@alias.example")
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    yield Contacts(database)
    await database.close()


async def test_a_contact_keeps_its_first_reverse_address(store: Contacts, conn: Connection) -> None:
    assert await store.reverse([BOB]) == [BOBS]
    assert await store.reverse([replace(BOB, letters="b" * 16, display_name="Other")]) == [BOBS]
    assert await value(conn, "select count(*) from contact") == 1
    assert await value(conn, "select display_name from contact") == "Büro"


async def test_several_are_answered_in_their_order(store: Contacts, conn: Connection) -> None:
    second = await alias(conn, "a2@own.example")
    theirs = await alias(conn, "a3@second.example", account=OTHER)
    wanted = [
        replace(BOB, address="z@shop.example", letters="z" * 16),
        BOB,
        replace(BOB, letters="c" * 16),  # the same one again
        replace(BOB, alias_id=AliasId(second), domain="own.example", letters="d" * 16),
        replace(BOB, account_id=AccountId(OTHER), alias_id=AliasId(theirs), domain="second.example", letters="e" * 16),
    ]
    assert [str(address) for address in await store.reverse(wanted)] == [
        f"r-{'z' * 16}@alias.example",
        f"r-{'a' * 16}@alias.example",
        f"r-{'a' * 16}@alias.example",
        f"r-{'d' * 16}@own.example",
        f"r-{'e' * 16}@second.example",
    ]
    assert await store.reverse([]) == []


async def test_a_contact_that_had_the_plain_form_gets_one(store: Contacts, conn: Connection) -> None:
    number = await insert(conn, "contact", account_id=JOHN, alias_id=1, address="Büro@shop.example")
    assert await store.reverse([BOB]) == [BOBS]
    [found] = await store.find([BOBS])
    assert found is not None
    assert (found.id, found.display_name) == (number, "Büro")


async def test_concurrent_messages_make_one(store: Contacts, conn: Connection) -> None:
    others = [replace(BOB, address=f"{n}@shop.example", letters=f"b{'abcdefgh'[n]}" + "a" * 14) for n in range(8)]
    drawn = [replace(BOB, letters=f"{'abcdefgh'[n]}" * 16) for n in range(8)]
    orders = [[*others[n:], drawn[n], *others[:n]] for n in range(8)]
    answers = await asyncio.gather(*(store.reverse(order) for order in orders))
    assert len({answer[order.index(one)] for answer, order, one in zip(answers, orders, drawn, strict=True)}) == 1
    assert await value(conn, "select count(*) from contact") == 9


async def test_letters_that_are_taken_make_nothing(store: Contacts, conn: Connection) -> None:
    await store.reverse([BOB])
    with pytest.raises(Unavailable, match="contact_reverse_unique"):
        await store.reverse([replace(BOB, address="x@shop.example")])
    assert await value(conn, "select count(*) from contact") == 1


@pytest.mark.parametrize(
    "wanted", [replace(BOB, alias_id=AliasId(99)), replace(BOB, account_id=AccountId(OTHER)), replace(BOB, address="")]
)
async def test_what_cannot_be_stored_is_unavailable(store: Contacts, wanted: Wanted) -> None:
    with pytest.raises(Unavailable):
        await store.reverse([wanted])


async def test_a_reverse_address_is_found_whole_and_in_either_case(store: Contacts) -> None:
    await store.reverse([BOB])
    upper, elsewhere, unknown = (
        Address("R-" + "A" * 16, "alias.example"),
        Address("r-" + "a" * 16, "second.example"),
        Address("r-" + "b" * 16, "alias.example"),
    )
    found, *nobody = await store.find([upper, elsewhere, unknown])
    assert nobody == [None, None]
    assert found is not None
    assert (found.account_id, found.alias_id, found.address) == (JOHN, 1, "Büro@shop.example")
    assert str(found.alias) == "a1@alias.example"
    assert await store.find([]) == []


async def test_odd_text_is_stored_as_postgresql_takes_it(store: Contacts) -> None:
    odd = replace(BOB, address="m\udcfc\0@shop.example", display_name="\0\ud800" + "x" * 3000)
    assert await store.reverse([odd]) == [BOBS]


def test_letters_are_those_of_base32() -> None:
    assert letters(bytes(10)) == "a" * 16
    assert letters(b"\xff" * 10) == "7" * 16
    assert letters(bytes(9) + b"\x01") == "a" * 15 + "b"
    assert letters(bytes(range(10))) == "aaaqeayeaudaocaj"
    with pytest.raises(ValueError, match="80 random bits"):
        letters(b"short")
