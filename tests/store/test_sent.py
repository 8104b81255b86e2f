"""What is kept of replies and sends, and what the next ones ask of it, in PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.ledger import Closing, Envelope, Opening, OutboundId, Sent, Tally, ingress_key
from mailrelay.core.sending.context import NamedFacts, NamedInquiry
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database
from mailrelay.store.ledger import Ledger
from mailrelay.store.named import NamedReader
from tests.store.world import JOHN, OTHER, Connection, alias, handle, insert, value

A1 = AliasId(1)
CONTACT = "help@shop.example"
REPLY = Sent(
    EmailType.REPLY,
    CONTACT,
    is_new=True,
    automatic=False,
    our_id="<our@alias.example>",
    original_id="<his@inbox.example>",
)
TALLY = Tally(AccountId(JOHN), A1, "", 700, REPLY)


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    await alias(conn, "a1@alias.example")
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield database
    await database.close()


def opening(number: int, kind: EmailType = EmailType.REPLY) -> Opening:
    key = ingress_key("4Q", b"%d" % number)
    envelope = Envelope(
        key, "4Q", f"<{number}@x.example>", "me@inbox.example", "r@alias.example", "", 700, AccountId(JOHN), A1
    )
    return Opening(envelope, 1, OutboundId(number), CONTACT, kind, "rewrite" if kind == "F" else None)


async def send(database: Database, *tallies: Tally) -> None:
    ledger = Ledger(database)
    openings = [opening(number, (tally.sent or REPLY).type) for number, tally in enumerate(tallies, 1)]
    await ledger.open(openings)
    await ledger.close(
        [([Closing(one.outbound_id, "delivered")], tally) for one, tally in zip(openings, tallies, strict=True)]
    )


async def windows(conn: Connection) -> dict[str, int]:
    cursor = await conn.execute("select kind, subject, amount from rate_window")
    return {f"{kind} {subject}".strip(): amount for kind, subject, amount in await cursor.fetchall()}


async def test_a_reply_counts_for_alias_account_and_contact(conn: Connection, database: Database) -> None:
    await send(database, TALLY)
    assert await value(conn, "select (emails_replied, emails_sent, emails_forwarded)::text from alias") == "(1,0,0)"
    assert await value(conn, "select last_replied is not null and last_sent is null from alias")
    assert await windows(conn) == {"message": 1, "bandwidth": 700, "reply_send": 1, "day R": 1}
    assert await value(conn, "select address || ' ' || (last_sent_at is not null) from contact") == f"{CONTACT} true"
    assert await value(conn, "select our_id || original_id from message_id") == "<our@alias.example><his@inbox.example>"
    assert await value(conn, "select count(*) from ledger where mode is null") == 1


async def test_sends_count_new_contacts_and_automatic_answers_theirs(conn: Connection, database: Database) -> None:
    new = replace(REPLY, type=EmailType.SEND)
    automatic = replace(REPLY, automatic=True, is_new=False, original_id=None)
    await send(database, replace(TALLY, sent=new), replace(TALLY, sent=automatic))
    assert await windows(conn) == {
        "message": 2,
        "bandwidth": 1400,
        "reply_send": 2,
        "new_contact": 1,
        "day R": 1,
        "day S": 1,
        f"auto_reply {A1} {CONTACT}": 1,
    }
    assert await value(conn, "select (emails_replied, emails_sent)::text from alias") == "(1,1)"
    assert await value(conn, "select count(*) from contact") == 1


async def test_copies_of_one_message_keep_one_id(conn: Connection, database: Database) -> None:
    await send(database, TALLY, replace(TALLY, sent=replace(REPLY, contact="boss@shop.example")))
    assert await value(conn, "select count(*) from message_id") == 1
    assert await value(conn, "select count(*) from contact") == 2


async def test_an_alias_that_has_gone_spoils_nothing(conn: Connection, database: Database) -> None:
    gone = AliasId(await alias(conn, "gone@own.example"))
    await Ledger(database).open([opening(1)])
    await conn.execute("delete from alias where id = %s", (gone,))
    await Ledger(database).close([([Closing(OutboundId(1), "delivered")], replace(TALLY, alias_id=gone))])
    assert await value(conn, "select outcome from ledger") == "delivered"
    assert await value(conn, "select count(*) from contact") == 0


def asked(*addresses: str, ids: tuple[str, ...] = ()) -> NamedInquiry:
    return NamedInquiry(AccountId(JOHN), A1, addresses, ids)


async def test_whose_addresses_are_named(conn: Connection, database: Database) -> None:
    await handle(conn, "jd")
    await alias(conn, "others@alias.example", OTHER)
    opaque = "r-" + "a" * 16
    for account, alias_id, letter in ((JOHN, 1, "a"), (OTHER, 2, "b")):
        await insert(
            conn,
            "contact",
            account_id=account,
            alias_id=alias_id,
            address=CONTACT,
            display_name="Help",
            reverse_local_part="r-" + letter * 16,
            reverse_domain="alias.example",
        )
    found = await NamedReader(database).read(
        asked(
            *("a1@alias.example", "a1+x=y.example@alias.example", "jd@alias.example", "others@alias.example"),
            *(f"{opaque}@alias.example", "r-" + "b" * 16 + "@alias.example", "x@shop.example"),
        )
    )
    assert found.aliases == {"a1@alias.example", "a1+x=y.example@alias.example", "jd@alias.example"}
    [(name, contact)] = found.contacts.items()
    assert (name, contact.address, str(contact.alias), contact.display_name) == (
        f"{opaque}@alias.example",
        CONTACT,
        "a1@alias.example",
        "Help",
    )


async def test_which_ids_are_ours_and_which_were_seen(conn: Connection, database: Database) -> None:
    await alias(conn, "a2@alias.example")
    for alias_id, ours in ((2, "<second@alias.example>"), (1, "<first@alias.example>")):
        await insert(
            conn, "message_id", account_id=JOHN, alias_id=alias_id, our_id=ours, original_id="<his@inbox.example>"
        )
    await Ledger(database).open([opening(1, EmailType.FORWARD), opening(2, EmailType.REPLY)])
    found = await NamedReader(database).read(
        asked(ids=("<his@inbox.example>", "<1@x.example>", "<2@x.example>", "<3@x>"))
    )
    assert found.known.ours == {"<his@inbox.example>": "<first@alias.example>"}
    assert found.known.seen == {"<1@x.example>"}


async def test_odd_names_are_no_trouble(database: Database) -> None:
    assert await NamedReader(database).read(asked("a\0b@x", "\udcff@y", ids=("<\0>", "\udcff"))) == NamedFacts()
