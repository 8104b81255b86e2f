"""Reading facts from PostgreSQL: many at once, whatever clients write, and without the database."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import NOBODY
from mailrelay.store.database import Database
from mailrelay.store.facts import FactsReader
from tests.store.world import JOHN, Connection, alias, handle, insert
from tests.store.worlds import about


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(dsn, 2, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def reader(database: Database) -> FactsReader:
    return FactsReader(database, None)


async def test_answers_come_in_the_order_of_the_questions(conn: Connection, reader: FactsReader) -> None:
    await alias(conn, "b@alias.example")
    await handle(conn, "c")
    asked = ["x@alias.example", "b@alias.example", "c@alias.example", "new@own.example", "b@alias.example"]
    answers = await reader.read([about(rcpt) for rcpt in asked])
    assert answers[0] == NOBODY
    assert [facts.alias is not None for facts in answers] == [False, True, False, False, True]
    assert [facts.parent.kind if facts.parent else None for facts in answers] == [None, None, "handle", "domain", None]
    assert await reader.read([]) == []


@pytest.mark.parametrize("count", [1, 200])
async def test_many_questions_are_answered_at_once(conn: Connection, reader: FactsReader, count: int) -> None:
    answers = await reader.read([about(f"x{n}@own.example", f"s{n}@shop.example") for n in range(count)])
    assert len(answers) == count
    assert all(facts.account is not None for facts in answers)


SENDERS = [
    "m\udcfcll@shop.example",  # an octet that is no UTF-8
    "x@m\udcfcll.example",
    "a\0b@shop.example",
    "x@shop\0.example",
    "x,y@a,b.example",
    '"{},\\"@shop.example',
    "x" * 3000 + "@" + "y" * 3000,
    "ü@bücher.example",
    "@",
]


@pytest.mark.parametrize("sender", SENDERS, ids=range(len(SENDERS)))
async def test_no_sender_spoils_the_question_for_others(conn: Connection, reader: FactsReader, sender: str) -> None:
    await alias(conn, "a1@alias.example")
    await insert(conn, "blocked_sender", account_id=JOHN, type="domain", value="bad.example")
    odd, plain = await reader.read([about("a1@alias.example", sender, sender), about("a1@alias.example")])
    assert odd.alias == plain.alias
    assert odd.alias is not None
    assert odd.blocked_by is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sender=st.text(), author=st.text(), client=st.text())
async def test_any_text_can_be_asked_about(reader: FactsReader, sender: str, author: str, client: str) -> None:
    [facts] = await reader.read([about("a1@alias.example", sender, author, client)])
    assert facts == NOBODY


@pytest.mark.parametrize("address", ["first..last@inbox.example", "dot.@inbox.example", '"quoted"@inbox.example'])
async def test_a_mailbox_that_breaks_the_rules_gets_its_mail(
    conn: Connection, reader: FactsReader, address: str
) -> None:
    """Some providers gave out such addresses; one of them must not spoil the question for others."""
    number = await insert(conn, "recipient", account_id=JOHN, address=address, verified_at="now")
    await conn.execute("update account set default_recipient_id = %s where id = %s", (number, JOHN))
    await alias(conn, "a1@alias.example")
    [facts] = await reader.read([about("a1@alias.example")])
    assert facts.account_default is not None
    assert str(facts.account_default.address) == address


async def test_a_database_that_is_away_is_unavailable() -> None:
    database = Database("host=/nonexistent dbname=none", 1, 0.2, "test")
    await database.open()
    with pytest.raises(Unavailable):
        await FactsReader(database, None).read([about("a1@alias.example")])
    await database.close()
