"""Domains and usernames on a real database, named by account and UUID as well: what changes, and what is noted."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from mailrelay.core.address import parse_address
from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.facts import AccountId
from mailrelay.core.parents import DomainClash, NoRecipient, TooMany
from mailrelay.core.records import KEEP, DomainChange, Named, NewDomain, Owned, UsernameChange
from mailrelay.store.database import Database
from mailrelay.store.manage_domains import Domains
from mailrelay.store.manage_recipients import Recipients
from mailrelay.store.manage_usernames import Usernames
from mailrelay.store.own_parents import AliasDomainReader, OwnDomains, OwnUsernames
from tests.store import world
from tests.store.world import JOHN, OTHER, Connection, Violates

ACTOR = "token:7"
OWNER = AccountId(JOHN)


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    opened = Database(dsn, 4, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


async def owned(conn: Connection, table: str, name: str, account: int = JOHN) -> Owned:
    uuid: UUID = await world.value(conn, f"select uuid from {table} where name = %s", name)
    return Owned(AccountId(account), uuid)


async def notes(conn: Connection) -> list[tuple[object, ...]]:
    query = "select actor, account_id, action, object_table, object_id, detail from audit order by id"
    return await (await conn.execute(query)).fetchall()


async def test_a_name_and_an_owners_uuid_mean_the_same(database: Database, conn: Connection) -> None:
    store, which = Domains(database), await owned(conn, "domain", "own.example")
    assert (await store.change("own.example", DomainChange(catch_all=True), "cli:root")).catch_all
    assert not (await store.change(which, DomainChange(catch_all=False), ACTOR)).catch_all
    assert await notes(conn) == [
        ("cli:root", JOHN, "domain.set", "domain", 3, {"catch_all": True}),
        (ACTOR, JOHN, "domain.set", "domain", 3, {"catch_all": False}),
    ]


async def test_a_uuid_of_somebody_else_means_nothing(database: Database, conn: Connection) -> None:
    domain = await owned(conn, "domain", "own.example", OTHER)
    shared = await owned(conn, "domain", "alias.example")
    username = await owned(conn, "username", "johndoe", OTHER)
    for which in (domain, shared, Owned(OWNER, uuid4())):
        with pytest.raises(Absent):
            await Domains(database).change(which, DomainChange(active=False), ACTOR)
        with pytest.raises(Absent):
            await Domains(database).remove(which, True, ACTOR)
        with pytest.raises(Absent):
            await OwnDomains(database).one(which)
    with pytest.raises(Absent):
        await Usernames(database).change(username, UsernameChange(active=False), ACTOR)
    with pytest.raises(Absent):
        await Usernames(database).remove(username, ACTOR)
    with pytest.raises(Absent):
        await OwnUsernames(database).one(username)
    assert await notes(conn) == []


async def test_what_is_so_already_is_no_change(database: Database, conn: Connection) -> None:
    which = await owned(conn, "username", "johndoe")
    before = await world.value(conn, "select updated_at from username")
    same = UsernameChange(active=True, catch_all=True, auto_create_regex=None, description=KEEP, can_login=True)
    await Usernames(database).change(which, same, ACTOR)
    assert await world.value(conn, "select updated_at from username") == before
    assert await notes(conn) == []
    await Usernames(database).change(which, UsernameChange(active=True, description="Mine"), ACTOR)
    assert (await notes(conn))[0][-1] == {"description": "changed"}  # not what it says


async def test_only_a_verified_recipient_of_the_account_becomes_the_default(
    database: Database, conn: Connection
) -> None:
    which = await owned(conn, "domain", "own.example")
    await Recipients(database).add(Named("johndoe"), parse_address("two@inbox.example"), verified=False, actor=ACTOR)
    for query in ("account_id = 2", "address = 'two@inbox.example'"):
        uuid = await world.value(conn, f"select uuid from recipient where {query}")
        with pytest.raises(NoRecipient):
            await Domains(database).change(which, DomainChange(active=False, default_recipient=uuid), ACTOR)
    assert await world.value(conn, "select active from domain where name = 'own.example'") is True
    uuid = await world.value(conn, "select uuid from recipient where id = 1")
    changed = await Domains(database).change(which, DomainChange(default_recipient=uuid), ACTOR)
    assert changed.default_recipient == "johndoe@Inbox.example"
    found = (await OwnDomains(database).one(which)).default_recipient
    assert found is not None
    assert (found.uuid, found.address) == (uuid, "johndoe@inbox.example")


async def test_a_recipient_that_goes_meanwhile_becomes_nobodys_default(database: Database, conn: Connection) -> None:
    which = await owned(conn, "domain", "own.example")
    store = Recipients(database)
    two = parse_address("two@inbox.example")
    for _ in range(10):
        uuid = (await store.add(Named("johndoe"), two, verified=True, actor=ACTOR)).uuid
        results = await asyncio.gather(
            Domains(database).change(which, DomainChange(default_recipient=uuid), ACTOR),
            store.remove(Named("johndoe"), two, ACTOR),
            return_exceptions=True,
        )
        assert [one for one in results if isinstance(one, Exception) and not isinstance(one, NoRecipient)] == []
        assert (await OwnDomains(database).one(which)).default_recipient is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("own.example", "taken"),
        ("below.own.example", "taken"),
        ("alias.example", "local"),
        ("x.alias.example", "local"),
        ("johndoe.second.example", "local"),
        ("inbox.example", "mailbox"),
    ],
)
async def test_a_clash_says_with_what(database: Database, name: str, why: str) -> None:
    new = NewDomain(name, AccountId(OTHER), verified=True, catch_all=True)
    for attempt in (Domains(database).check(new), Domains(database).add(new, ACTOR)):
        with pytest.raises(DomainClash) as caught:
            await attempt
        assert caught.value.why == why


async def test_a_proved_domain_has_no_mx_yet(database: Database, conn: Connection) -> None:
    made = await Domains(database).add(NewDomain("new.example", OWNER, True, True, with_mx=False), ACTOR)
    assert (made.verified_at == made.created_at, made.mx_verified_at) == (True, None)
    assert await notes(conn) == [(ACTOR, JOHN, "domain.add", "domain", made.id, {"name": "new.example"})]
    vouched = await Domains(database).add(NewDomain("new2.example", OWNER, True, True), ACTOR)
    assert vouched.mx_verified_at == vouched.created_at


async def test_a_domain_of_somebody_takes_all_that_hangs_on_its_aliases_along(
    database: Database, conn: Connection
) -> None:
    alias = await world.alias(conn, "shop@own.example")
    await world.attach(conn, alias, 1)
    await world.insert(
        conn,
        "contact",
        account_id=JOHN,
        alias_id=alias,
        address="news@shop.example",
        reverse_local_part="r-" + "a" * 16,
        reverse_domain="own.example",
    )
    await world.insert(conn, "blocked_sender", account_id=JOHN, alias_id=alias, type="domain", value="bad.example")
    gone, count = await Domains(database).remove(await owned(conn, "domain", "own.example"), True, ACTOR)
    assert (gone.name, count) == ("own.example", 1)
    for table in ("alias", "alias_recipient", "contact", "blocked_sender"):
        assert await world.value(conn, f"select count(*) from {table}") == 0, table
    assert (await notes(conn))[0][-1] == {"name": "own.example", "aliases": 1}


async def test_usernames_are_counted_one_after_the_other(database: Database, conn: Connection) -> None:
    async def add(number: int) -> object:
        try:
            return await Usernames(database).add(OWNER, f"name{number}", ACTOR, limit=3)
        except TooMany as error:
            return error

    results = await asyncio.gather(*(add(number) for number in range(12)))
    assert sum(not isinstance(one, TooMany) for one in results) == 2
    assert await world.value(conn, "select count(*) from username_used") == 3
    assert len(await notes(conn)) == 2
    with pytest.raises(Conflict, match="username already"):
        await Usernames(database).add(OWNER, "johndoe", ACTOR, limit=3)
    await Usernames(database).add(OWNER, "more", ACTOR)  # an operator's word


async def test_a_default_username_keeps_its_place_and_its_login(database: Database, conn: Connection) -> None:
    await conn.execute("update account set default_username_id = 1 where id = 1")
    store, which = Usernames(database), await owned(conn, "username", "johndoe")
    for attempt in (store.remove(which, ACTOR), store.forbid_login(which, ACTOR)):
        with pytest.raises(Conflict, match="default username"):
            await attempt
    await conn.execute("update account set default_username_id = null where id = 1")
    assert not (await store.forbid_login(which, ACTOR)).can_login
    assert (await store.remove(which, ACTOR)).name == "johndoe"
    assert [row[2] for row in await notes(conn)] == ["username.set", "username.remove"]
    with Violates("username_name_used"):
        await conn.execute("insert into username (account_id, name) values (2, 'johndoe')")


async def test_a_proxy_signs_in_instead_of_usernames(database: Database, conn: Connection) -> None:
    assert not await Usernames(database).signs_in_elsewhere(OWNER)
    await conn.execute("update account set external_auth = true where id = 1")
    assert await Usernames(database).signs_in_elsewhere(OWNER)
    assert not (await Usernames(database).add(OWNER, "proxied", ACTOR)).can_login


async def test_whoever_is_gone_may_have_aliases_nowhere(database: Database) -> None:
    with pytest.raises(Absent):
        await AliasDomainReader(database, "relay.example").read(AccountId(99))


async def test_without_shared_domains_there_is_still_a_default(database: Database, conn: Connection) -> None:
    await conn.execute("update domain set active = false where shared")
    found = await AliasDomainReader(database, "relay.example").read(OWNER)
    assert (found.all, found.default) == (("own.example",), "relay.example")
