"""What the database has to say about replies and sends, in one round trip."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId, Parent, ParentId, ParentKind, RecipientId
from mailrelay.core.sending.facts import (
    Amount,
    Manner,
    OwnMailbox,
    SendingFacts,
    SendingInquiry,
    auto_reply_subject,
)
from mailrelay.store import sending
from mailrelay.store.database import Database
from mailrelay.store.sending import SendingReader
from tests.store.postgres import Cluster
from tests.store.test_context import buffers, plan_of
from tests.store.world import JOHN, OTHER, OWN_EXAMPLE, WORLD, Connection, alias, attach, handle, insert

JOHNS = OwnMailbox(RecipientId(JOHN), Address("johndoe", "inbox.example"), verified=True)
CONTACT = "contact@shop.example"
OPAQUE = Address("r-" + "a" * 16, "alias.example")
PLAIN = SendingInquiry(AccountId(JOHN), AliasId(1), contact=CONTACT)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def reader(database: Database) -> SendingReader:
    return SendingReader(database)


async def ask(reader: SendingReader, inquiry: SendingInquiry = PLAIN) -> SendingFacts:
    [found] = await reader.read([inquiry])
    assert found is not None
    return found


def under(kind: ParentKind, number: int) -> SendingInquiry:
    """About an alias that is to be created there."""
    parent = Parent(kind, ParentId(number), True, False, True, None, None, None)
    return SendingInquiry(AccountId(JOHN), parent=parent, contact=CONTACT)


async def test_a_plain_reverse_address(conn: Connection, reader: SendingReader) -> None:
    await alias(conn, "a1@alias.example")
    assert await ask(reader) == SendingFacts(
        AccountId(JOHN), AliasId(1), Address("a1", "alias.example"), CONTACT, mailboxes=(JOHNS,)
    )


async def test_recipients_come_with_their_flags_in_order(conn: Connection, reader: SendingReader) -> None:
    number = await alias(conn, "a1@alias.example", attached_recipients_only=True)
    more = {"can_reply_send": False, "require_envelope_match": True, "remove_pgp_keys": False}
    second = await insert(
        conn, "recipient", account_id=JOHN, address="Second@inbox2.example", verified_at="now", **more
    )
    await insert(conn, "recipient", account_id=JOHN, address="third@inbox3.example", remove_pgp_signatures=False)
    await insert(conn, "recipient", account_id=JOHN, address="new@inbox.example", verified_at="now", pending=True)
    await attach(conn, number, second)
    found = await ask(reader)
    assert found.attached_only
    assert found.mailboxes == (
        JOHNS,
        OwnMailbox(RecipientId(second), Address("Second", "inbox2.example"), True, True, False, True, False, True),
        OwnMailbox(RecipientId(second + 1), Address("third", "inbox3.example"), False, remove_pgp_signatures=False),
        OwnMailbox(RecipientId(second + 2), Address("new", "inbox.example"), False),
    )


async def test_an_opaque_reverse_address_leads_to_its_contact_and_alias(
    conn: Connection, reader: SendingReader
) -> None:
    number = await alias(conn, "a1@own.example")
    stored = {"address": "Büro@shop.example", "display_name": "Büro", "reverse_domain": "own.example"}
    await insert(conn, "contact", account_id=JOHN, alias_id=number, reverse_local_part=OPAQUE.local, **stored)
    upper = Address(OPAQUE.local.upper(), "own.example")
    found = await ask(reader, SendingInquiry(opaque=upper))
    assert (found.account_id, found.alias_id, str(found.alias)) == (JOHN, number, "a1@own.example")
    assert (found.contact, found.contact_name, found.contact_known) == ("Büro@shop.example", "Büro", True)
    assert (found.mailboxes, found.sending_verified) == ((JOHNS,), False)
    assert await reader.read([SendingInquiry(opaque=OPAQUE)]) == [None]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("a1@own.example", ("", "", "Shopper")),
        ("a1@own.example", ("Alias", "Parent", "Shopper")),
        ("a1@johndoe.alias.example", ("", "Parent", "Shopper")),
        ("jd@alias.example", ("", "Parent", "")),
    ],
)
async def test_names_of_alias_parent_and_account_row_115(
    conn: Connection, reader: SendingReader, where: str, names: tuple[str, str, str]
) -> None:
    by_alias, by_parent, by_account = [name or None for name in names]
    await conn.execute("update account set from_name = %s where id = %s", (by_account, JOHN))
    await conn.execute("update domain set from_name = %s where id = %s", (by_parent, OWN_EXAMPLE))
    await conn.execute("update username set from_name = %s", (by_parent,))
    parent: dict[str, int] = {"username_id": 1} if "johndoe" in where else {}
    if where.startswith("jd"):
        parent = {"handle_id": await handle(conn, "jd", from_name=by_parent)}
    await alias(conn, where, from_name=by_alias, **parent)
    assert (await ask(reader)).from_names == names


@pytest.mark.parametrize(
    ("where", "verified", "expected"),
    [
        ("a1@own.example", False, False),
        ("a1@own.example", True, True),
        ("a1@alias.example", False, True),
        ("a1@johndoe.alias.example", False, True),
    ],
)
async def test_domains_that_may_be_in_from_row_116(
    conn: Connection, reader: SendingReader, where: str, verified: bool, expected: bool
) -> None:
    if verified:
        await conn.execute("update domain set sending_verified_at = now() where id = %s", (OWN_EXAMPLE,))
    await alias(conn, where, **({"username_id": 1} if "johndoe" in where else {}))
    assert (await ask(reader)).sending_verified is expected


@pytest.mark.parametrize(
    ("kind", "verified"),
    [
        (ParentKind.DOMAIN, False),
        (ParentKind.USERNAME, True),
        (ParentKind.HANDLE, True),
        (ParentKind.CATCH_ALL, True),
    ],
)
async def test_an_alias_that_is_to_be_created_has_its_parents_name(
    conn: Connection, reader: SendingReader, kind: ParentKind, verified: bool
) -> None:
    numbers = {ParentKind.DOMAIN: OWN_EXAMPLE, ParentKind.USERNAME: 1, ParentKind.CATCH_ALL: 0}
    numbers[ParentKind.HANDLE] = await handle(conn, "jd")
    for table in ("domain", "username", "handle"):
        await conn.execute(f"update {table} set from_name = %s where account_id is not null".encode(), (table,))
    found = await ask(reader, under(kind, numbers[kind]))
    name = "" if kind is ParentKind.CATCH_ALL else str(kind)
    assert (found.alias_id, found.alias, found.contact) == (None, None, CONTACT)
    assert (found.from_names, found.sending_verified) == (("", name, ""), verified)
    assert found.mailboxes == (JOHNS,)


async def test_how_the_account_wants_it(conn: Connection, reader: SendingReader) -> None:
    await alias(conn, "a1@alias.example")
    assert (await ask(reader)).manner == Manner()
    await conn.execute(
        "update account set reply_scrub = 'all', leak_policy = 'block', notify_co_recipients = true,"
        " relay_auto_replies = true, store_failed_deliveries = false, sends_suspended_at = now() where id = %s",
        (JOHN,),
    )
    found = await ask(reader)
    assert found.manner == Manner("all", "block", True, True, False)
    assert found.sends_suspended


async def test_a_contact_that_refused_too_often(conn: Connection, reader: SendingReader) -> None:
    number = await alias(conn, "a1@alias.example")
    until = datetime(2030, 1, 1, tzinfo=UTC)
    values = {"address": CONTACT, "suppressed_until": until, "suppressed_reason": "smtp; 550 no"}
    await insert(conn, "contact", account_id=JOHN, alias_id=number, **values)
    found = await ask(reader)
    assert (found.suppressed_until, found.suppressed_reason, found.contact_known) == (until, "smtp; 550 no", True)
    other = await ask(reader, replace(PLAIN, contact="x@shop.example"))
    assert (other.suppressed_until, other.contact_known) == (None, False)


async def test_what_was_sent_within_a_day(conn: Connection, reader: SendingReader) -> None:
    await alias(conn, "a1@alias.example")
    now = datetime.now(UTC).replace(second=0, microsecond=0)

    async def count(kind: str, age: timedelta, amount: int, subject: str = "", account: int = JOHN) -> None:
        await conn.execute(
            "insert into rate_window (account_id, kind, subject, window_start, amount) values (%s, %s, %s, %s, %s)",
            (account, kind, subject, now - age, amount),
        )

    hours = timedelta(hours=1)
    await count("reply_send", 2 * hours, 3)
    await count("reply_send", 20 * hours, 50)
    await count("reply_send", 25 * hours, 7)
    await count("reply_send", hours, 9, account=OTHER)
    await count("message", hours, 9)
    await count("new_contact", 3 * hours, 4)
    await count("auto_reply", 6 * 24 * hours, 1, auto_reply_subject(AliasId(1), "x@shop.example"))
    found = await ask(reader)
    assert found.spent.sends == (Amount(now - 20 * hours, 50), Amount(now - 2 * hours, 3))
    assert found.spent.new_contacts == (Amount(now - 3 * hours, 4),)
    assert not found.spent.auto_replied
    assert (await ask(reader, replace(PLAIN, contact="x@shop.example"))).spent.auto_replied


async def test_an_automatic_answer_is_remembered_for_a_week(conn: Connection, reader: SendingReader) -> None:
    number = await alias(conn, "a1@alias.example")
    stored = {"address": CONTACT, "reverse_local_part": OPAQUE.local, "reverse_domain": OPAQUE.domain}
    await insert(conn, "contact", account_id=JOHN, alias_id=number, **stored)
    inquiries = [PLAIN, SendingInquiry(opaque=OPAQUE)]
    for days, expected in ((8, False), (6, True)):
        await conn.execute(
            "insert into rate_window (account_id, kind, subject, window_start, amount)"
            " values (%s, 'auto_reply', %s, now() - %s, 1)",
            (JOHN, auto_reply_subject(AliasId(number), CONTACT), timedelta(days=days)),
        )
        assert [one.spent.auto_replied for one in await reader.read(inquiries) if one] == [expected, expected]


async def test_many_inquiries_share_a_round_trip(conn: Connection, reader: SendingReader) -> None:
    first = await alias(conn, "a1@alias.example")
    theirs = await alias(conn, "a2@alias.example", account=OTHER)
    inquiries = [
        replace(PLAIN, account_id=AccountId(OTHER), alias_id=AliasId(theirs)),
        SendingInquiry(opaque=OPAQUE),
        PLAIN,
        SendingInquiry(AccountId(99), contact=CONTACT),
        under(ParentKind.DOMAIN, OWN_EXAMPLE),
    ]
    found = await reader.read(inquiries)
    assert [one.alias_id if one else "nobody" for one in found] == [theirs, "nobody", first, "nobody", None]
    assert [one.account_id for one in found if one] == [OTHER, JOHN, JOHN]
    assert await reader.read([]) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text())
async def test_any_text_can_be_asked_about(conn: Connection, reader: SendingReader, text: str) -> None:
    odd = [replace(PLAIN, alias_id=AliasId(99), contact=text), SendingInquiry(opaque=Address(text, text))]
    plain, opaque = await reader.read(odd)
    assert plain is not None
    assert (plain.contact_known, opaque) == (False, None)


async def test_a_database_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await SendingReader(Database("host=/nonexistent dbname=none", 1, 0.2, "test")).read([PLAIN])


# -- How it scales -------------------------------------------------------------------------------------------------

POPULATION = """
    alter table alias disable trigger user;
    insert into alias (account_id, local_part, domain, domain_id, reserved_as)
        select 1 + n % 2, 'a' || n, 'own.example', 3, null from generate_series(1, 100000) n;
    alter table alias enable trigger user;
    insert into contact (account_id, alias_id, address, reverse_local_part, reverse_domain)
        select account_id, id, 'x' || id || '@shop.example', 'r-' || translate(lpad(id::text, 16, '0'), '0189', 'abcd'),
               'own.example'
        from alias where id % 4 = 0;
    insert into account (name) select 'u' || n from generate_series(1, 2000) n;
    insert into recipient (account_id, address, verified_at)
        select id, name || '@inbox.example', now() from account where name like 'u%';
    insert into alias_recipient (alias_id, recipient_id, account_id)
        select id, account_id, account_id from alias where id % 2 = 0;
    insert into rate_window (account_id, kind, window_start, amount)
        select id, kind, now() - interval '1 minute' * n, 1
        from account, (values ('reply_send'), ('message')) k(kind), generate_series(1, 5) n;
    insert into rate_window (account_id, kind, subject, window_start, amount)
        select 1, 'message', n % 100 || '.example', now() - interval '1 minute' * (n / 100), 1
        from generate_series(1, 50000) n;
    insert into domain (name, account_id) select 'd' || n || '.example', 1 from generate_series(1, 2000) n;
    insert into handle (account_id, local_part) select 1, 'h' || n from generate_series(1, 2000) n;
    analyze;
"""


@pytest.fixture(scope="module")
def populated(cluster: Cluster, template: str) -> Iterator[str]:
    """100 000 aliases and what goes with them."""
    fresh = cluster.create(template)
    with psycopg.connect(fresh, autocommit=True) as conn:
        conn.execute(WORLD.encode())
        conn.execute(POPULATION.encode())
    yield fresh
    cluster.drop(fresh)


async def test_a_question_costs_the_same_however_many_aliases_there_are(populated: str) -> None:
    opaque = parse_address("r-" + "4".rjust(16, "a") + "@own.example")
    inquiries = [PLAIN, SendingInquiry(opaque=opaque), under(ParentKind.USERNAME, 1)]
    values = {"inquiries": json.dumps([sending._question(n, one) for n, one in enumerate(inquiries)])}
    plan = await plan_of(populated, sending._SENDING, values)
    assert "Seq Scan" not in plan
    assert buffers(plan) < 120, plan
