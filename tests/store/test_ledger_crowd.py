"""Several processes write about the same aliases and bans at once: all get through, and the counters add up."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from mailrelay.core.bans import BanId
from mailrelay.core.facts import AccountId, AliasId, BlockedSenderId, Reason
from mailrelay.core.ledger import Closing, Ending, Envelope, IngressKey, Opening, OutboundId, Tally
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database
from mailrelay.store.ledger import Ledger
from tests.store.world import JOHN, Connection, alias, insert, value

PROCESSES = 4
ROUNDS = 25
AT_ONCE = 8
OWNER = AccountId(JOHN)


@pytest.fixture
async def databases(dsn: str) -> AsyncIterator[list[Database]]:
    """One for each process."""
    pools = [Database(dsn, 2, 20.0, f"process {number}") for number in range(PROCESSES)]
    for pool in pools:
        await pool.open()
    yield pools
    for pool in pools:
        await pool.close()


def envelopes(aliases: Sequence[int], dice: random.Random) -> list[Envelope]:
    """Recipients of a batch, in an order of their own."""
    return [
        Envelope(
            key=IngressKey(dice.randbytes(16)),
            queue_id="4XyZ",
            message_id="",
            sender="news@shop.example",
            rcpt=f"a{number}@alias.example",
            client="",
            size_octets=10,
            account_id=OWNER,
            alias_id=AliasId(number),
        )
        for number in dice.sample(list(aliases), AT_ONCE)
    ]


async def deliver(ledger: Ledger, aliases: Sequence[int], dice: random.Random) -> None:
    for _ in range(ROUNDS):
        openings = [
            Opening(envelope, 1, OutboundId(dice.getrandbits(64)), "me@inbox.example", EmailType.FORWARD, "transparent")
            for envelope in envelopes(aliases, dice)
        ]
        await ledger.open(openings)
        batches = []
        for opening in openings:
            assert opening.envelope.alias_id is not None
            tally = Tally(OWNER, opening.envelope.alias_id, f"org{dice.randrange(5)}.example", 10)
            batches.append(([Closing(opening.outbound_id, "delivered")], tally))
        await ledger.close(batches)


async def refuse(
    ledger: Ledger, aliases: Sequence[int], bans: Sequence[int], entries: Sequence[int], dice: random.Random
) -> None:
    for _ in range(ROUNDS):
        endings = [
            Ending(
                envelope,
                "refused",
                Reason.BLOCKED_SENDER,
                ban_id=BanId(dice.choice(bans)),
                blocked_by=BlockedSenderId(dice.choice(entries)),
            )
            for envelope in envelopes(aliases, dice)
        ]
        await ledger.end(endings)


async def test_nobody_waits_for_ever_and_the_counters_add_up(conn: Connection, databases: list[Database]) -> None:
    aliases = [await alias(conn, f"a{number}@alias.example") for number in range(1, 13)]
    bans = [await insert(conn, "ban", type="name", value=f"spam{number}") for number in range(6)]
    blocked = {"account_id": JOHN, "type": "domain"}
    entries = [await insert(conn, "blocked_sender", **blocked, value=f"bad{number}.example") for number in range(6)]
    work = []
    for number, database in enumerate(databases):
        ledger = Ledger(database)
        work.append(deliver(ledger, aliases, random.Random(number)))
        work.append(refuse(ledger, aliases, bans, entries, random.Random(100 + number)))
    await asyncio.gather(*work)
    each = PROCESSES * ROUNDS * AT_ONCE
    assert await value(conn, "select sum(emails_forwarded) from alias") == each
    assert await value(conn, "select sum(emails_blocked) from alias") == each
    assert await value(conn, "select sum(hits) from ban") == each
    assert await value(conn, "select sum(blocked) from blocked_sender") == each
    assert await value(conn, "select sum(amount) from rate_window where kind = 'message' and subject = ''") == each
