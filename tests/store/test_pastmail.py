"""What rules are replayed on, out of the ledger."""

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailrelay.core.address import parse_address
from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named
from mailrelay.store.database import Database
from mailrelay.store.pastmail import PastMail
from tests.store.world import JOHN, OTHER, Connection, alias, insert

JOHNS = AccountId(JOHN)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
MINE = "johndoe@inbox.example"
_numbers = itertools.count(1)


@pytest.fixture
async def past(dsn: str, conn: Connection) -> AsyncIterator[PastMail]:
    """The small world of world.py, with alias 1 of johndoe."""
    await alias(conn, "shop@alias.example", description="my shop")
    opened = Database(dsn, 1, 20.0, "test")
    await opened.open()
    try:
        yield PastMail(opened)
    finally:
        await opened.close()


async def entry(conn: Connection, rcpt: str = "shop@alias.example", **more: Any) -> None:
    """One of the ledger, of a message of its own."""
    values = {
        "ingress_key": next(_numbers).to_bytes(16, "big"),
        "account_id": JOHN,
        "alias_id": 1,
        "sender": "news@shop.example",
        "outcome": "delivered",
        "fingerprint": 7,
    }
    await insert(conn, "ledger", rcpt=rcpt, **values | more)


async def test_the_latest_come_first_with_alias_and_description(past: PastMail, conn: Connection) -> None:
    await entry(conn, rcpt="shop+tag@alias.example")
    await entry(conn, rcpt="fresh@own.example", alias_id=None, sender="", outcome="refused", reason="rule")
    found, complete = await past.since(JOHNS, LONG_AGO, 100)
    assert complete is True
    assert [(one.sender, one.alias, one.alias_description, one.flow, one.outcome) for one in found] == [
        ("", "fresh@own.example", "", "F", "refused"),
        ("news@shop.example", "shop@alias.example", "my shop", "F", "delivered"),
    ]
    assert await past.since(Named("johndoe"), LONG_AGO, 100) == (found, True)


async def test_only_mail_that_rules_are_asked_about(past: PastMail, conn: Connection) -> None:
    for outcome, reason in (
        ("queued", None),
        ("held", "dmarc"),
        ("failed", "refused_by_next_hop"),
        ("discarded", "rule"),
    ):
        await entry(conn, sender=f"{outcome}@shop.example", outcome=outcome, reason=reason)
    await entry(conn, outcome="refused", reason="dmarc", fingerprint=None)
    await entry(conn, outcome="discarded", reason="alias_inactive")
    await entry(conn, fingerprint=None)  # a second copy in place of one that came back
    await entry(conn, account_id=OTHER)
    await entry(conn, at="2020-01-01T00:00:00Z")
    found, _ = await past.since(JOHNS, datetime.now(UTC) - timedelta(days=30), 100)
    assert [one.outcome for one in found] == ["discarded", "failed", "held", "queued"]


async def test_a_message_counts_once_whatever_its_copies(past: PastMail, conn: Connection) -> None:
    await insert(
        conn,
        "outbound",
        id=5,
        account_id=JOHN,
        destination="a@x.example",
        email_type="R",
        mode="rewrite",
        ingress_queue_id="",
    )
    for recipient in (1, 2, 3):
        await entry(conn, ingress_key=b"k" * 16, recipient_id=recipient, outbound_id=5 if recipient == 1 else None)
    found, complete = await past.since(JOHNS, LONG_AGO, 100)
    assert ([one.flow for one in found], complete) == (["R"], True)


async def test_mail_of_the_owner_to_a_contact_is_no_forward(past: PastMail, conn: Connection) -> None:
    await entry(conn, rcpt="shop+x=y.example@alias.example", sender=MINE.upper())
    await entry(conn, rcpt="shop+x=y.example@alias.example", sender="stranger@inbox.example")
    found, _ = await past.since(JOHNS, LONG_AGO, 100)
    assert [one.flow for one in found] == ["F", None]


async def test_replies_and_sends_count_as_far_as_rules_were_asked(past: PastMail, conn: Connection) -> None:
    mine: dict[str, Any] = {"rcpt": "shop+x=y.example@alias.example", "sender": MINE, "fingerprint": None}
    await insert(
        conn, "outbound", id=6, account_id=JOHN, destination="x", email_type="S", mode="rewrite", ingress_queue_id=""
    )
    await entry(conn, **mine, outbound_id=6)
    await entry(conn, **mine | {"sender": "me@alias.example"}, outbound_id=6)  # by another name of its writer
    await entry(conn, **mine)  # its copy is not recorded any more
    await entry(conn, **mine, outcome="held", reason="leak")
    await entry(conn, **mine, outcome="held", reason="unauthenticated")
    await entry(conn, **mine, outcome="failed", reason="unauthenticated")
    found, _ = await past.since(JOHNS, LONG_AGO, 100)
    assert [(one.flow, one.outcome) for one in found] == [
        *((None, "held"), (None, "delivered"), ("S", "delivered"), ("S", "delivered"))
    ]


async def test_rows_are_bounded(past: PastMail, conn: Connection) -> None:
    for number in range(5):
        await entry(conn, sender=f"n{number}@shop.example")
    found, complete = await past.since(JOHNS, LONG_AGO, 2)
    assert ([one.sender for one in found], complete) == (["n4@shop.example", "n3@shop.example"], False)
    assert await past.since(AccountId(OTHER), LONG_AGO, 2) == ([], True)
    with pytest.raises(Absent):
        await past.since(AccountId(99), LONG_AGO, 2)


async def test_the_description_of_an_alias(past: PastMail, conn: Connection) -> None:
    await alias(conn, "plain@alias.example")
    await alias(conn, "theirs@alias.example", OTHER, description="secret")
    for name, description in (("shop+tag", "my shop"), ("plain", ""), ("theirs", ""), ("none", "")):
        assert await past.description(JOHNS, parse_address(f"{name}@alias.example")) == description
