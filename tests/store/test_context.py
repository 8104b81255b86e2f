"""What rewritten copies ask about the addresses and ids that a message names."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from mailrelay.core.address import Address
from mailrelay.core.context import Context, ContextInquiry
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.store import contacts, context
from mailrelay.store.context import ContextReader
from mailrelay.store.database import Database
from mailrelay.store.messageids import MessageIds
from tests.store.postgres import Cluster
from tests.store.world import JOHN, OTHER, WORLD, Connection, alias, handle, insert, release

ACCOUNT, OTHERS = AccountId(JOHN), AccountId(OTHER)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def reader(database: Database) -> ContextReader:
    return ContextReader(database)


async def asked(reader: ContextReader, *addresses: str, account: AccountId = ACCOUNT) -> Context:
    return (await reader.read([ContextInquiry(account, AliasId(1), addresses)]))[0]


async def remember(conn: Connection, alias_id: int, ours: str, original: str, account: int = JOHN) -> None:
    await insert(conn, "message_id", account_id=account, alias_id=alias_id, our_id=ours, original_id=original)


async def test_the_owners_mailboxes_are_told(conn: Connection, reader: ContextReader) -> None:
    found = await asked(reader, "johndoe@inbox.example", "other@inbox.example", "news@shop.example")
    assert found == Context(own=frozenset({"johndoe@inbox.example"}))
    theirs = await asked(reader, "johndoe@inbox.example", "other@inbox.example", account=OTHERS)
    assert theirs.own == {"other@inbox.example"}


@pytest.mark.parametrize("change", [{"verified_at": None}, {"verified_at": "now", "pending": True}])
async def test_a_mailbox_that_nobody_proved_to_own_is_not_the_owners(
    conn: Connection, reader: ContextReader, change: dict[str, Any]
) -> None:
    """Anybody can be claimed as a recipient; such an address gets a reverse address like a stranger's."""
    await insert(conn, "recipient", account_id=JOHN, address="victim@shop.example", **change)
    assert await asked(reader, "victim@shop.example") == Context()


async def test_other_aliases_of_the_owner_are_told(conn: Connection, reader: ContextReader) -> None:
    await alias(conn, "a1@alias.example")
    await alias(conn, "a2@own.example", state="inactive")
    await alias(conn, "a3@alias.example", state="deleted", deleted_at="now")
    await alias(conn, "theirs@alias.example", account=OTHER)
    await alias(conn, "gone@second.example")
    await conn.execute(
        "update alias set state = 'forgotten', account_id = null, deleted_at = now() where local_part = 'gone'"
    )
    wanted = [
        "a1@alias.example",
        "a1+tag@alias.example",
        "a2@own.example",
        "a3@alias.example",
        "theirs@alias.example",
        "gone@second.example",
        "a1@second.example",
    ]
    assert (await asked(reader, *wanted)).siblings == set(wanted[:4])


async def test_a_handle_is_its_owners_on_every_shared_domain(conn: Connection, reader: ContextReader) -> None:
    await handle(conn, "jd")
    await release(conn, await handle(conn, "old"))
    wanted = ["jd@alias.example", "jd+x@second.example", "jd@own.example", "jd@shop.example", "old@alias.example"]
    assert (await asked(reader, *wanted)).siblings == set(wanted[:2])
    assert (await asked(reader, *wanted, account=OTHERS)).siblings == set()


async def test_our_ids_are_told_with_the_owners(conn: Connection, reader: ContextReader, database: Database) -> None:
    first, second = await alias(conn, "a1@alias.example"), await alias(conn, "a2@alias.example")
    await remember(conn, first, "<ours@alias.example>", "<1@inbox.example>")
    await remember(conn, second, "<another@alias.example>", "<2@inbox.example>")
    ids = ("<ours@alias.example>", "<another@alias.example>", "<x@shop.example>", "<OURS@alias.example>")
    [found] = await reader.read([ContextInquiry(ACCOUNT, AliasId(first), ids=ids)])
    assert found == Context(ids={"<ours@alias.example>": "<1@inbox.example>"})
    assert await MessageIds(database).originals(AliasId(first), ids) == found.ids
    assert await MessageIds(database).originals(AliasId(first), []) == {}


async def test_reverse_addresses_that_exist_are_told(conn: Connection, reader: ContextReader) -> None:
    number = await alias(conn, "a1@alias.example")
    known = {"account_id": JOHN, "alias_id": number, "reverse_domain": "alias.example"}
    await insert(conn, "contact", address="Büro@shop.example", reverse_local_part="r-aaaaaaaaaaaaaaaa", **known)
    await insert(conn, "contact", account_id=JOHN, alias_id=number, address="plain@shop.example")
    names = ("Büro@shop.example", "büro@shop.example", "plain@shop.example", "new@shop.example")
    [found] = await reader.read([ContextInquiry(ACCOUNT, AliasId(number), contacts=names)])
    assert found == Context(opaque={"Büro@shop.example": Address("r-aaaaaaaaaaaaaaaa", "alias.example")})


async def test_many_inquiries_share_a_round_trip(conn: Connection, reader: ContextReader) -> None:
    first = await alias(conn, "a1@alias.example")
    theirs = await alias(conn, "a2@alias.example", account=OTHER)
    await remember(conn, first, "<1@alias.example>", "<1@inbox.example>")
    names = ("johndoe@inbox.example", "a1@alias.example", "a2@alias.example")
    answers = await reader.read(
        [
            ContextInquiry(ACCOUNT, AliasId(first), names, ("<1@alias.example>",)),
            ContextInquiry(ACCOUNT, AliasId(first)),
            ContextInquiry(OTHERS, AliasId(theirs), names, ("<1@alias.example>",), ("x@shop.example",)),
        ]
    )
    assert answers == [
        Context(frozenset(names[:1]), frozenset(names[1:2]), {"<1@alias.example>": "<1@inbox.example>"}),
        Context(),
        Context(siblings=frozenset(names[2:])),
    ]
    assert await reader.read([]) == []


async def test_nothing_to_ask_asks_nothing(database: Database) -> None:
    away = Database("host=/nonexistent dbname=none", 1, 0.2, "test")
    inquiry = ContextInquiry(ACCOUNT, AliasId(1))
    assert inquiry.empty
    assert await ContextReader(away).read([inquiry]) == [Context()]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text())
async def test_any_text_can_be_asked_about(reader: ContextReader, text: str) -> None:
    odd = ContextInquiry(ACCOUNT, AliasId(1), (text, f"{text}@{text}"), (text,), (text,))
    assert await reader.read([odd]) == [Context()]


@pytest.mark.parametrize("text", ["m\udcfcll@shop.example", "a\0b@shop.example", "x" * 3000, "@", '"\\{}@'])
async def test_no_text_spoils_the_question_for_others(conn: Connection, reader: ContextReader, text: str) -> None:
    odd = ContextInquiry(ACCOUNT, AliasId(1), (text,), (text,), (text,))
    plain = ContextInquiry(ACCOUNT, AliasId(1), ("johndoe@inbox.example",))
    assert (await reader.read([odd, plain]))[1].own == {"johndoe@inbox.example"}


# -- How it scales -------------------------------------------------------------------------------------------------

POPULATION = """
    alter table alias disable trigger user;
    insert into alias (account_id, local_part, domain, domain_id, reserved_as)
        select 1 + n % 2, 'a' || n, 'own.example', 3, null from generate_series(1, 100000) n;
    alter table alias enable trigger user;
    insert into message_id (account_id, alias_id, our_id, original_id)
        select account_id, id, '<' || id || '@own.example>', '<' || id || '@inbox.example>' from alias where id % 4 = 0;
    insert into contact (account_id, alias_id, address)
        select account_id, id, 'x' || id || '@shop.example' from alias where id % 4 = 0;
    insert into recipient (account_id, address, verified_at)
        select 1, 'r' || n || '@inbox.example', now() from generate_series(1, 20000) n;
    insert into handle (account_id, local_part) select 1, 'h' || n from generate_series(1, 2000) n;
    insert into domain (name, account_id) select 'd' || n || '.example', 1 from generate_series(1, 2000) n;
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


async def plan_of(dsn: str, query: str, values: dict[str, Any]) -> str:
    database = Database(dsn, 1, 20.0, "test")  # for its settings
    await database.open()
    async with database.connection() as conn, conn.transaction(force_rollback=True):
        rows = await (await conn.execute(f"explain (analyze, buffers) {query}".encode(), values)).fetchall()
    await database.close()
    return "\n".join(row[0] for row in rows)


def buffers(plan: str) -> int:
    """Pages that the whole statement touched."""
    words = next(line for line in plan.splitlines() if "Buffers:" in line).replace("=", " ").split()
    return sum(int(word) for word in words if word.isdigit())


async def test_a_context_is_read_through_indexes(populated: str) -> None:
    questions = {
        "addresses": [context._about(n, ContextInquiry(ACCOUNT, AliasId(4)), f"a{n}@own.example") for n in range(50)],
        "ids": [context._key(n, ContextInquiry(ACCOUNT, AliasId(4)), f"<{n}@own.example>", 998) for n in range(50)],
        "contacts": [
            context._key(n, ContextInquiry(ACCOUNT, AliasId(4)), f"x{n}@shop.example", 998) for n in range(50)
        ],
    }
    plan = await plan_of(populated, context._CONTEXT, {name: json.dumps(asked) for name, asked in questions.items()})
    assert "Seq Scan" not in plan, plan
    assert buffers(plan) < 50 * 6 * 8, plan


async def test_a_reverse_address_is_found_through_indexes(populated: str) -> None:
    async with await AsyncConnection.connect(populated, autocommit=True) as conn:
        await conn.execute(
            "update contact set reverse_local_part = 'r-aaaaaaaaaaaaaaaa', reverse_domain = 'own.example'"
            " where address = 'x8@shop.example'"
        )
    question = json.dumps([{"n": 0, "local": "r-aaaaaaaaaaaaaaaa", "domain": "own.example"}])
    plan = await plan_of(populated, contacts._FIND, {"asked": question})
    assert "Seq Scan" not in plan, plan
    assert buffers(plan) < 50, plan
