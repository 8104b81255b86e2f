"""How recipients want their copies encrypted, from PostgreSQL, and the end of that."""

from collections.abc import AsyncIterator

import pytest

from mailrelay.core.certificate import Unusable
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.locks import Lock
from mailrelay.core.notices import Code, Notice, from_json
from mailrelay.store.database import Database
from mailrelay.store.locks import LockStore
from tests.store.world import JOHN, OTHER, Connection, value

PRINT = "AB" * 20
WANTED = "update recipient set public_key = 'key', fingerprint = %s, should_encrypt = true where id = %s"


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield database
    await database.close()


async def read(database: Database) -> dict[RecipientId, Lock]:
    return dict(await LockStore(database).read([RecipientId(JOHN), RecipientId(OTHER)]))


async def test_those_who_want_none_are_missing(conn: Connection, database: Database) -> None:
    assert await read(database) == {}
    await conn.execute(WANTED, (PRINT, JOHN))
    assert await read(database) == {RecipientId(JOHN): Lock(RecipientId(JOHN), b"key", PRINT)}
    await conn.execute("update recipient set should_encrypt = false")
    assert await read(database) == {}


async def test_what_the_account_says_counts_where_the_mailbox_says_nothing(
    conn: Connection, database: Database
) -> None:
    await conn.execute(WANTED, (PRINT, JOHN))
    await conn.execute("update account set encryption_failure = 'stub', never_plaintext = true")
    [found] = (await read(database)).values()
    assert (found.failure, found.never_plaintext) == ("stub", True)
    await conn.execute("update recipient set encryption_failure = 'plain', never_plaintext = false")
    [found] = (await read(database)).values()
    assert (found.failure, found.never_plaintext) == ("plain", True)


async def test_who_gets_plain_text_from_now_on_is_told_once(conn: Connection, database: Database) -> None:
    await conn.execute(WANTED, (PRINT, JOHN))
    for _ in range(2):
        await LockStore(database).give_up(Lock(RecipientId(JOHN), b"key", PRINT), Unusable.EXPIRED)
    assert await read(database) == {}
    rows = await (await conn.execute("select kind, payload from job")).fetchall()
    [(kind, payload)] = rows
    data = {"recipient": "johndoe@Inbox.example", "fingerprint": PRINT, "problem": "key_expired"}
    assert (kind, from_json(payload)) == ("notice", Notice(Code.GKE, AccountId(JOHN), RecipientId(JOHN), data=data))
    assert await value(conn, "select count(*) from audit where action = 'recipient.encryption'") == 1


async def test_with_a_new_key_nothing_is_given_up(conn: Connection, database: Database) -> None:
    await conn.execute(WANTED, ("CD" * 20, JOHN))
    await LockStore(database).give_up(Lock(RecipientId(JOHN), b"key", PRINT), Unusable.EXPIRED)
    assert len(await read(database)) == 1
    assert await value(conn, "select count(*) from job") == 0
