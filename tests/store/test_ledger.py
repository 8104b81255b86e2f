"""Writing the ledger in PostgreSQL: many entries at once, races, odd text. What it means is in test_contract.py."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.batch import Batcher
from mailrelay.core.bans import BanId
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId, Reason
from mailrelay.core.ledger import (
    Closing,
    Ending,
    Envelope,
    Opened,
    Opening,
    OutboundId,
    Tally,
    ingress_key,
    storable,
)
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database
from mailrelay.store.ledger import Ledger, signed, unsigned
from tests.store.world import JOHN, Connection, alias, insert, value

KEY = ingress_key("4XyZ12AbCd", b"content")
ENVELOPE = Envelope(KEY, "4XyZ12AbCd", "<1@shop.example>", "news@shop.example", "a1@alias.example", "192.0.2.10", 500)
ODD = ["a\0b", "\udcfc\udcff", "ü" * 3000, "x" * 5000, "{\"a\",'b'}", "\\", "\ud800"]


@pytest.fixture
async def ledger(dsn: str) -> AsyncIterator[Ledger]:
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    yield Ledger(database)
    await database.close()


def opening(number: int, recipient_id: int = 1, envelope: Envelope = ENVELOPE) -> Opening:
    return Opening(envelope, recipient_id, OutboundId(number), "real@inbox.example", EmailType.FORWARD, "transparent")


def mail(number: int) -> Envelope:
    return replace(ENVELOPE, key=ingress_key("4XyZ12AbCd", b"%d" % number))


async def test_answers_come_in_the_order_of_the_openings(ledger: Ledger) -> None:
    await ledger.open([opening(2, envelope=mail(2)), opening(4, envelope=mail(4))])
    await ledger.close([([Closing(OutboundId(4), "delivered")], None)])
    again = await ledger.open([opening(10 + n, envelope=mail(n)) for n in (5, 4, 3, 2, 1)])
    assert again == [
        Opened(OutboundId(15), None),
        Opened(OutboundId(4), "delivered"),
        Opened(OutboundId(13), None),
        Opened(OutboundId(2), "queued"),
        Opened(OutboundId(11), None),
    ]


async def test_the_same_copy_twice_in_one_statement_is_registered_once(conn: Connection, ledger: Ledger) -> None:
    first, second, other = await ledger.open([opening(1), opening(2), opening(3, envelope=mail(3))])
    assert (first, other) == (Opened(OutboundId(1), None), Opened(OutboundId(3), None))
    assert isinstance(second, Unavailable)
    assert await value(conn, "select array_agg(id order by id) from outbound") == [1, 3]
    assert await ledger.open([opening(4)]) == [Opened(OutboundId(1), "queued")]


async def test_the_same_copy_from_two_processes_is_registered_once(conn: Connection, ledger: Ledger) -> None:
    """The second waits for the first; it must neither get an outbound row nor go on."""
    answers: list[Opened | Unavailable] = []
    for round_number in range(20):
        envelope = mail(round_number)
        racing = await asyncio.gather(
            *(ledger.open([opening(10 * round_number + n, envelope=envelope)]) for n in range(4))
        )
        fresh = [answer for [answer] in racing if isinstance(answer, Opened) and answer.outcome is None]
        assert len(fresh) == 1
        answers += [answer for [answer] in racing]
    known = {answer.outbound_id for answer in answers if isinstance(answer, Opened)}
    assert await value(conn, "select count(*) from outbound") == len(known) == 20
    assert await value(conn, "select count(*) from ledger") == 20


async def test_an_open_copy_with_the_id_of_another_harms_only_itself(ledger: Ledger) -> None:
    """Ids are random 64 bits; should one come twice, the insert fails and the next try has another."""
    await ledger.open([opening(1)])
    batcher: Batcher[Opening, Opened] = Batcher(ledger.open)
    answers = await asyncio.gather(
        batcher.ask(opening(5, envelope=mail(5))),
        batcher.ask(opening(1, envelope=mail(6))),
        batcher.ask(opening(7, envelope=mail(7))),
        return_exceptions=True,
    )
    assert (answers[0], answers[2]) == (Opened(OutboundId(5), None), Opened(OutboundId(7), None))
    assert isinstance(answers[1], Exception)
    assert await ledger.open([opening(8, envelope=mail(6))]) == [Opened(OutboundId(8), None)]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
async def test_no_text_from_outside_spoils_an_entry(conn: Connection, ledger: Ledger, odd: str) -> None:
    envelope = Envelope(mail(1).key, odd, odd, odd, odd, odd, 1)
    plain = opening(2, envelope=mail(2))
    assert await ledger.open([replace(opening(1, envelope=envelope), destination=odd), plain]) == [
        Opened(OutboundId(1), None),
        Opened(OutboundId(2), None),
    ]
    await ledger.close(
        [
            ([Closing(OutboundId(1), "failed", Reason.BOUNCE, odd, odd)], None),
            ([Closing(OutboundId(2), "delivered")], Tally(AccountId(JOHN), AliasId(1), odd, 5)),
        ]
    )
    await ledger.end([Ending(replace(envelope, key=mail(3).key), "discarded", Reason.LOOP)])
    await ledger.bounced(OutboundId(2), odd, odd)
    assert await value(conn, "select array_agg(outcome order by id) from ledger") == ["failed", "failed", "discarded"]
    # A repeated delivery finds the row, however the text was stored.
    assert await ledger.open([opening(9, envelope=envelope)]) == [Opened(OutboundId(1), "failed")]


@pytest.mark.parametrize(
    ("client", "stored"),
    [
        ("192.0.2.10", "192.0.2.10"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.10", "192.0.2.10"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", None),
        ("", None),
    ],
)
async def test_the_client_is_stored_if_it_has_an_address(
    conn: Connection, ledger: Ledger, client: str, stored: str | None
) -> None:
    await ledger.end([Ending(replace(ENVELOPE, client=client), "refused", Reason.BANNED)])
    assert await value(conn, "select host(client_address) from ledger") == stored


async def test_many_endings_count_each_recipient_once(conn: Connection, ledger: Ledger) -> None:
    number = await alias(conn, "off@alias.example")
    ban = await insert(conn, "ban", type="name", value="off")

    def ending(rcpt: str, message: int = 1) -> Ending:
        envelope = replace(mail(message), rcpt=rcpt, account_id=AccountId(JOHN), alias_id=AliasId(number))
        return Ending(envelope, "refused", Reason.ALIAS_INACTIVE, ban_id=BanId(ban))

    # As when a client repeats a RCPT and several refusals go out in one statement.
    await ledger.end([ending("off@alias.example"), ending("off@alias.example"), ending("off+x@alias.example")])
    await ledger.end([ending("off@alias.example"), ending("off@alias.example", 2)])
    assert await value(conn, "select count(*) from ledger") == 3
    assert await value(conn, "select emails_blocked from alias") == 3
    assert await value(conn, "select hits from ban") == 3


async def test_many_closings_add_up(conn: Connection, ledger: Ledger) -> None:
    first, second = await alias(conn, "a1@alias.example"), await alias(conn, "b2@alias.example")
    await ledger.open([opening(n, envelope=mail(n)) for n in range(1, 6)])
    tallies = [Tally(AccountId(JOHN), AliasId(n), org, 10) for n, org in [(first, "x"), (first, "y"), (second, "x")]]
    await ledger.close([([Closing(OutboundId(n), "delivered")], tally) for n, tally in enumerate(tallies, 1)])
    await asyncio.gather(
        ledger.close([([Closing(OutboundId(4), "delivered")], tallies[0])]),
        ledger.close([([Closing(OutboundId(5), "delivered")], tallies[0])]),
    )
    assert await value(conn, "select array_agg(emails_forwarded order by id) from alias") == [4, 1]
    totals = "select sum(amount) from rate_window where kind = %s and subject = %s"
    assert [await value(conn, totals, "message", subject) for subject in ("", "x", "y")] == [5, 4, 1]
    assert [await value(conn, totals, "bandwidth", subject) for subject in ("", "x", "y")] == [50, 40, 10]
    assert await value(conn, "select count(*) from alias where last_forwarded is not null") == 2


async def test_a_ban_that_stops_copies_is_counted_for_each_once(conn: Connection, ledger: Ledger) -> None:
    ban = await insert(conn, "ban", type="domain", value="inbox.example")
    await ledger.open([opening(n, envelope=mail(n)) for n in range(1, 4)])

    def closing(n: int) -> Closing:
        return Closing(OutboundId(n), "failed", Reason.DESTINATION_BANNED, ban_id=BanId(ban))

    await ledger.close([([closing(1), closing(2)], None), ([closing(3)], None)])
    await ledger.close([([closing(1)], None)])  # a try that did not hear of its success
    assert await value(conn, "select hits from ban") == 3
    assert await value(conn, "select last_hit_at is not null from ban")


async def test_an_account_may_not_want_last_used_times_but_those_of_blocked_mail(
    conn: Connection, ledger: Ledger
) -> None:
    number = await alias(conn, "a1@alias.example")
    await conn.execute("update account set save_alias_last_used = false")
    await ledger.close([([], Tally(AccountId(JOHN), AliasId(number), "", 1))])
    envelope = replace(ENVELOPE, account_id=AccountId(JOHN), alias_id=AliasId(number))
    await ledger.end([Ending(envelope, "discarded", Reason.ALIAS_INACTIVE)])
    query = "select (emails_forwarded, emails_blocked, last_forwarded, last_blocked is not null)::text from alias"
    assert await value(conn, query) == "(1,1,,t)"


async def test_a_copy_given_up_with_the_queue_goes_out_when_it_is_tried_after_all(
    conn: Connection, ledger: Ledger
) -> None:
    await ledger.open([opening(1)])
    await conn.execute("update ledger set outcome = 'failed', reason = 'expired_in_queue', finished_at = now()")
    assert await ledger.open([opening(2)]) == [Opened(OutboundId(1), "queued")]
    await ledger.close([([Closing(OutboundId(1), "delivered")], None)])
    assert await value(conn, "select outcome from ledger where reason is null") == "delivered"


async def test_nothing_to_write_is_fine(ledger: Ledger) -> None:
    assert await ledger.open([]) == []
    assert await ledger.close([]) == []
    assert await ledger.end([]) == []
    assert await ledger.outbound([]) == []


async def test_a_database_that_is_away_is_unavailable() -> None:
    database = Database("host=/nonexistent dbname=none", 1, 0.2, "test")
    await database.open()
    ledger = Ledger(database)
    for trouble in (
        ledger.open([opening(1)]),
        ledger.close([([Closing(OutboundId(1), "delivered")], None)]),
        ledger.end([Ending(ENVELOPE, "discarded", Reason.LOOP)]),
        ledger.bounced(OutboundId(1), "5.1.1", "no"),
        ledger.outbound([OutboundId(1)]),
    ):
        with pytest.raises(Unavailable):
            await trouble
    await database.close()


@given(st.integers(0, (1 << 64) - 1))
def test_unsigned_ids_survive_the_database(number: int) -> None:
    assert -(1 << 63) <= signed(OutboundId(number)) < 1 << 63
    assert unsigned(signed(OutboundId(number))) == number


@given(st.text(), st.integers(0, 50))
def test_stored_text_fits(text: str, octets: int) -> None:
    stored = storable(text, octets).encode()
    assert len(stored) <= octets
    assert b"\0" not in stored


def test_an_ingress_key_tells_messages_and_queues_apart() -> None:
    keys = [ingress_key(queue_id, content) for queue_id in ("", "A", "\udcfc") for content in (b"", b"x", b"A\0")]
    assert len(set(keys)) == 9
    assert all(len(key) == 16 for key in keys)
