"""Bans as the HTTP APIs ask about them."""

import asyncio
from typing import Any

import pytest

from mailrelay.core.address import parse_address
from mailrelay.core.suspects import BanHit, Suspect, of_domain, of_ip, of_mailbox, of_name
from mailrelay.store.banned import _FIRST, BanLookup, _values
from mailrelay.store.database import Database
from tests.store.world import Connection, insert, value

MAILBOX = of_mailbox(parse_address("Me@sub.bad.example"))


async def hit(database: Database, *suspects: Suspect) -> BanHit | None:
    return await BanLookup(database).first(suspects)


@pytest.mark.parametrize(
    ("kind", "banned", "suspects", "hits"),
    [
        ("email", "me@sub.bad.example", MAILBOX, True),
        ("email", "you@sub.bad.example", MAILBOX, False),
        ("domain", "sub.bad.example", MAILBOX, True),
        ("domain", "bad.example", MAILBOX, True),
        ("domain", "ad.example", MAILBOX, False),
        ("domain", "deep.sub.bad.example", MAILBOX, False),
        ("domain", "bad.example", of_domain("BAD.example"), True),
        ("name", "paypal", of_name("PayPal"), True),
        ("name", "paypal", of_name("paypal2"), False),
        ("name", "paypal", MAILBOX, False),
        ("ip", "192.0.2.7", of_ip("192.0.2.7"), True),
        ("ip", "192.0.2.7", of_ip("::ffff:192.0.2.7"), True),
        ("ip", "192.0.2.0/24", of_ip("192.0.2.7"), True),
        ("ip", "192.0.2.0/29", of_ip("192.0.2.8"), False),
        ("ip", "2001:db8::/64", of_ip("2001:DB8::1"), True),
        ("ip", "2001:db8::/64", of_ip("2001:db8:0:1::1"), False),
        ("ip", "2001:db8::1", of_ip("2001:0db8:0:0:0:0:0:1"), True),
        ("ip", "192.0.2.0/24", of_ip("unknown"), False),
        ("ip", "192.0.2.0/24", (), False),
    ],
)
async def test_a_ban_hits(
    conn: Connection, database: Database, kind: str, banned: str, suspects: tuple[Suspect, ...], hits: bool
) -> None:
    number = await insert(conn, "ban", type=kind, value=banned, reason="spam")
    found = await hit(database, *suspects)
    assert (found is not None) is hits
    if found is not None:
        assert (found.id, found.type, found.value, found.reason) == (number, kind, banned, "spam")
    counted = await value(conn, "select hits from ban")
    assert counted == int(hits)
    assert (await value(conn, "select last_hit_at is not null from ban")) is hits


async def test_the_newest_of_those_that_hit_is_told_and_counted(conn: Connection, database: Database) -> None:
    await insert(conn, "ban", type="email", value="me@sub.bad.example")
    newest = await insert(conn, "ban", type="domain", value="bad.example")
    await insert(conn, "ban", type="domain", value="elsewhere.example")
    found = await hit(database, *MAILBOX, *of_ip("192.0.2.1"))
    assert found is not None and found.id == newest
    assert await value(conn, "select array_agg(hits order by id) from ban") == [0, 1, 0]


async def test_what_goes_first_is_told_before_a_newer_one(conn: Connection, database: Database) -> None:
    first = await insert(conn, "ban", type="name", value="paypal")
    await insert(conn, "ban", type="domain", value="bad.example")
    found = await BanLookup(database).first((), of_name("paypal"), MAILBOX)
    assert found is not None and found.id == first
    assert await value(conn, "select array_agg(hits order by id) from ban") == [1, 0]


@pytest.mark.parametrize("column", [{"revoked_at": "now"}, {"expires_at": "now"}, {"scope": "sender"}])
async def test_these_hit_nobody(conn: Connection, database: Database, column: dict[str, Any]) -> None:
    await insert(conn, "ban", type="domain", value="bad.example", **column)
    assert await hit(database, *MAILBOX) is None


async def test_a_scope_says_nothing_of_names_and_clients(conn: Connection, database: Database) -> None:
    await insert(conn, "ban", type="name", value="paypal", scope="sender")
    assert await hit(database, *of_name("paypal")) is not None
    await insert(conn, "ban", type="ip", value="192.0.2.1", scope="destination")
    assert await hit(database, *of_ip("192.0.2.1")) is not None


async def test_hits_at_once_are_all_counted(conn: Connection, database: Database) -> None:
    await insert(conn, "ban", type="domain", value="bad.example")
    await asyncio.gather(*(hit(database, *MAILBOX) for _ in range(20)))
    assert await value(conn, "select hits from ban") == 20


async def test_many_bans_are_probed_by_index(conn: Connection) -> None:
    """No plan reads them all, whatever is asked."""
    await conn.execute(
        """insert into ban (type, value)
           select 'domain', 'd' || n || '.example' from generate_series(1, 5000) n
           union all
           select 'ip', '10.' || n / 256 || '.' || n % 256 || '.0/24' from generate_series(0, 5000) n"""
    )
    await conn.execute("vacuum analyze ban")
    for suspects in (MAILBOX, of_ip("10.3.4.5"), (*of_name("x"), *of_domain("a.d77.example"))):
        cursor = await conn.execute(f"explain {_FIRST}".encode(), _values((suspects,)))
        plan = "\n".join(row[0] for row in await cursor.fetchall())
        assert "Seq Scan on ban" not in plan
        assert "ban_in_force_unique" in plan and "ban_network" in plan
