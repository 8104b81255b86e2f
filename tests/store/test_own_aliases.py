"""Aliases as their owners read them, from PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from mailrelay.core.errors import Absent
from mailrelay.core.facts import AccountId, AliasId, RecipientId
from mailrelay.core.own_aliases import Belongs, OwnAlias
from mailrelay.core.own_recipients import OwnRecipient
from mailrelay.store.database import Database
from mailrelay.store.own_aliases import OwnAliases
from tests.store.world import JOHN, OTHER, Connection, alias, attach, insert, value

ACCOUNT, OTHERS = AccountId(JOHN), AccountId(OTHER)
NOON = datetime(2026, 5, 4, 12, 0, 0, 250_000, UTC)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn, 2, 20.0, "test")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def reader(database: Database, conn: Connection) -> OwnAliases:
    return OwnAliases(database)


async def uuid_of(conn: Connection, number: int) -> UUID:
    found: UUID = await value(conn, "select uuid from alias where id = %s", number)
    return found


async def made(conn: Connection, address: str, account: int = JOHN, **more: Any) -> UUID:
    """The id of a new alias."""
    uuid = uuid4()
    await alias(conn, address, account, uuid=uuid, **more)
    return uuid


async def forget(conn: Connection, uuid: UUID) -> None:
    await conn.execute(
        "update alias set state = 'forgotten', account_id = null, deleted_at = now() where uuid = %s", (uuid,)
    )


# What a row has and its reader tells, under the same names.
TOLD: dict[str, Any] = {
    "extension": "Tag",
    "pinned": True,
    "description": "Schöne Schuhe",
    "from_name": "John",
    "attached_recipients_only": True,
    "emails_forwarded": 5,
    "emails_blocked": 4,
    "emails_replied": 3,
    "emails_sent": 2,
    **dict.fromkeys(("last_forwarded", "last_blocked", "last_replied", "last_sent", "created_at", "updated_at"), NOON),
}
TOLD_OF_RECIPIENT: dict[str, Any] = {
    "address": "more@inbox.example",
    "description": "the other one",
    "can_reply_send": False,
    "should_encrypt": True,
    "protected_headers": True,
    "remove_pgp_keys": False,
    "remove_pgp_signatures": False,
    "fingerprint": "A" * 40,
    **dict.fromkeys(("verified_at", "created_at", "updated_at"), NOON),
}

# --- one ------------------------------------------------------------------------------------------------------------


async def test_an_alias_tells_everything(conn: Connection, reader: OwnAliases) -> None:
    address = "first@johndoe.alias.example"
    number = await alias(conn, address, username_id=1, state="inactive", **TOLD)
    more = await insert(conn, "recipient", account_id=JOHN, public_key=b"\x99", **TOLD_OF_RECIPIENT)
    await attach(conn, number, more)
    await attach(conn, number, 1)
    uuid = await uuid_of(conn, number)
    found = await reader.one(ACCOUNT, uuid)
    account = await value(conn, "select uuid from account where id = 1")
    first, second = found.recipients
    assert first == OwnRecipient(
        id=RecipientId(more),
        uuid=await value(conn, "select uuid from recipient where id = %s", more),
        account_uuid=account,
        inline_encryption=False,
        **TOLD_OF_RECIPIENT,
        aliases_count=None,
    )
    assert (second.id, second.address, second.should_encrypt) == (1, "johndoe@inbox.example", False)
    assert found == OwnAlias(
        id=AliasId(number),
        uuid=uuid,
        account_uuid=account,
        local_part="first",
        domain="johndoe.alias.example",
        belongs=Belongs("username", await value(conn, "select uuid from username where id = 1")),
        state="inactive",
        deleted_at=None,
        recipients=found.recipients,
        **TOLD,
    )
    assert (found.active, found.address) == (False, "first@johndoe.alias.example")


async def test_an_alias_belongs_to_its_custom_domain_and_to_no_shared_one(conn: Connection, reader: OwnAliases) -> None:
    own = await reader.one(ACCOUNT, await made(conn, "a1@own.example"))
    assert own.belongs == Belongs("domain", await value(conn, "select uuid from domain where name = 'own.example'"))
    shared = await reader.one(ACCOUNT, await made(conn, "a1@alias.example"))
    assert (shared.belongs, shared.active, shared.recipients) == (None, True, ())


async def test_a_mailbox_that_waits_to_replace_another_is_hidden(conn: Connection, reader: OwnAliases) -> None:
    uuid = await made(conn, "a1@alias.example")
    waiting = await insert(conn, "recipient", account_id=JOHN, address="new@inbox.example", pending=True)
    await attach(conn, 1, waiting)
    assert (await reader.one(ACCOUNT, uuid)).recipients == ()
    await attach(conn, 1, 1)
    assert [found.id for found in (await reader.one(ACCOUNT, uuid)).recipients] == [1]


async def test_what_belongs_to_others_or_was_forgotten_is_absent(conn: Connection, reader: OwnAliases) -> None:
    uuid = await made(conn, "a1@alias.example")
    assert (await reader.one(ACCOUNT, uuid)).address == "a1@alias.example"
    with pytest.raises(Absent, match=str(uuid)):
        await reader.one(OTHERS, uuid)
    await forget(conn, uuid)
    for account in (ACCOUNT, OTHERS):
        with pytest.raises(Absent):
            await reader.one(account, uuid)


# --- several --------------------------------------------------------------------------------------------------------


async def test_several_come_in_the_order_asked_for(conn: Connection, reader: OwnAliases) -> None:
    uuids = [await made(conn, f"a{number}@alias.example") for number in range(5)]
    uuids[3] = await made(conn, "gone@alias.example", state="deleted", deleted_at=NOON)
    await attach(conn, 2, 1)
    more = await insert(conn, "recipient", account_id=JOHN, address="more@inbox.example")
    await attach(conn, 2, more)
    theirs = await made(conn, "theirs@alias.example", OTHER)
    forgotten = await made(conn, "forgotten@second.example")
    await forget(conn, forgotten)
    wanted = [uuids[3], theirs, uuids[0], uuid4(), uuids[1], forgotten, uuids[4]]
    found = await reader.several(ACCOUNT, wanted)
    assert [one.uuid for one in found] == [uuids[3], uuids[0], uuids[1], uuids[4]]
    assert [len(one.recipients) for one in found] == [0, 0, 2, 0]
    assert (found[0].state, found[0].deleted_at) == ("deleted", NOON)
    assert await reader.several(ACCOUNT, []) == []
