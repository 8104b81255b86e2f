"""Aliases as their owners change them: what of it caches hear, what is counted, and what races leave behind."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID, uuid4

import pytest
from psycopg import AsyncConnection

from mailrelay import words
from mailrelay.core.coining import AliasFormat, Coiner, WordLists
from mailrelay.core.errors import Absent, Conflict, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.newaliases import AliasRequest, NewOwnAlias, Refusal
from mailrelay.core.own_aliases import OwnAlias
from mailrelay.core.records import AliasChange, Owned, OwnedSet
from mailrelay.flows.manage.newalias import AliasMaker, Order
from mailrelay.store.database import Database
from mailrelay.store.manage_alias_sets import AliasSets
from mailrelay.store.manage_aliases import Aliases
from mailrelay.store.manage_newalias import NewAliases
from tests.store import world
from tests.store.world import JOHN, OTHER, Connection

ACTOR = "token:7"
ME = AccountId(JOHN)
ANY = Coiner(words.load(), secrets.randbelow)


@pytest.fixture
async def database(dsn: str, conn: Connection) -> AsyncIterator[Database]:
    opened = Database(dsn, 8, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


async def owned(conn: Connection, address: str, account: int = JOHN, **more: object) -> Owned:
    number = await world.alias(conn, address, account, **more)
    return Owned(AccountId(account), await world.value(conn, "select uuid from alias where id = %s", number))


async def recipient(conn: Connection, account: int = JOHN) -> UUID:
    found: UUID = await world.value(conn, "select uuid from recipient where account_id = %s", account)
    return found


async def heard(dsn: str, action: Awaitable[object]) -> set[str]:
    """What caches are told about while this happens."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as listener:
        await listener.execute("listen mailrelay")
        await action
        await listener.execute("notify mailrelay, 'end'")
        told = set()
        async for notice in listener.notifies(timeout=10):
            if notice.payload == "end":
                break
            told.add(notice.payload)
        return told


def order(format: AliasFormat | None = None, local: str = "", *recipients: UUID) -> Order:
    return Order(ME, format, local, None, recipients, None)


async def make(maker: AliasMaker, wanted: Order, domain: str = "own.example") -> OwnAlias | Refusal:
    prospect = await maker.survey(AliasRequest(ME, domain, wanted.recipients, wanted.local))
    return await maker.make(wanted, prospect, ACTOR)


# --- what mail notices -----------------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[str, Callable[[Database, Owned, UUID], Awaitable[object]]]] = {
    "activate": ("inactive", lambda db, which, _: Aliases(db).set_active(which, True, ACTOR)),
    "deactivate": ("active", lambda db, which, _: Aliases(db).set_active(which, False, ACTOR)),
    "delete": ("active", lambda db, which, _: Aliases(db).delete(which, ACTOR)),
    "restore": ("deleted", lambda db, which, _: Aliases(db).restore(which, ACTOR)),
    "forget": ("active", lambda db, which, _: Aliases(db).forget(which, ACTOR)),
    "attach": ("active", lambda db, which, to: Aliases(db).change(which, AliasChange(recipients=(to,)), ACTOR)),
    "from_name": ("active", lambda db, which, _: Aliases(db).change(which, AliasChange(from_name="Me"), ACTOR)),
    "attached_only": (
        "active",
        lambda db, which, _: Aliases(db).change(which, AliasChange(attached_recipients_only=True), ACTOR),
    ),
    "several-activate": ("inactive", lambda db, which, _: AliasSets(db).activate(_set(which), ACTOR)),
    "several-deactivate": ("active", lambda db, which, _: AliasSets(db).deactivate(_set(which), ACTOR)),
    "several-delete": ("active", lambda db, which, _: AliasSets(db).delete(_set(which), ACTOR)),
    "several-restore": ("deleted", lambda db, which, _: AliasSets(db).restore(_set(which), ACTOR)),
    "several-forget": ("active", lambda db, which, _: AliasSets(db).forget(_set(which), ACTOR)),
    "several-attach": ("active", lambda db, which, to: AliasSets(db).attach(_set(which), (to,), ACTOR)),
}


def _set(which: Owned) -> OwnedSet:
    return OwnedSet(which.account, (which.uuid,))


@pytest.mark.parametrize("address", ["shop@own.example", "shop@alias.example"])
@pytest.mark.parametrize("name", CHANGES)
async def test_caches_hear_of_every_change(
    dsn: str, conn: Connection, database: Database, name: str, address: str
) -> None:
    state, change = CHANGES[name]
    which = await owned(conn, address, state=state, deleted_at="now" if state == "deleted" else None)
    told = await heard(dsn, change(database, which, await recipient(conn)))
    assert f"alias:{address}" in told
    assert await world.value(conn, "select count(*) from audit where actor = %s", ACTOR) == 1


async def test_caches_hear_of_a_new_one(dsn: str, database: Database, conn: Connection) -> None:
    maker = AliasMaker(NewAliases(database), ANY, 100)
    wanted = order(AliasFormat.CUSTOM, "new", await recipient(conn))
    assert "alias:new@own.example" in await heard(dsn, make(maker, wanted))


async def test_nothing_of_others_is_reached(conn: Connection, database: Database) -> None:
    theirs = await owned(conn, "shop@alias.example", OTHER)
    which = Owned(ME, theirs.uuid)
    before = await world.value(conn, "select to_jsonb(a) from alias a")
    for change in (change for _, change in CHANGES.values()):
        try:
            assert await change(database, which, await recipient(conn)) in ((), ((), ()))
        except Absent:
            continue
    assert await world.value(conn, "select to_jsonb(a) from alias a") == before
    assert await world.value(conn, "select count(*) from audit") == 0


async def test_a_change_with_a_strange_recipient_changes_nothing(conn: Connection, database: Database) -> None:
    which = await owned(conn, "shop@own.example")
    mine = await recipient(conn)
    await Aliases(database).change(which, AliasChange(recipients=(mine,)), ACTOR)
    for wrong in (await recipient(conn, OTHER), uuid4()):
        with pytest.raises(Absent):
            await Aliases(database).change(which, AliasChange(pinned=True, recipients=(mine, wrong)), ACTOR)
        with pytest.raises(Absent):
            await AliasSets(database).attach(_set(which), (mine, wrong), ACTOR)
    assert await world.value(conn, "select count(*) from alias_recipient") == 1
    assert await world.value(conn, "select pinned from alias") is False


async def test_what_cannot_be_restored_keeps_no_other_from_it(conn: Connection, database: Database) -> None:
    handle = await world.handle(conn, "jd")
    gone = await owned(conn, "jd@alias.example", handle_id=handle, state="deleted", deleted_at="now")
    await world.release(conn, handle)
    fine = await owned(conn, "shop@own.example", state="deleted", deleted_at="now")
    with pytest.raises(Conflict, match="released for good"):
        await Aliases(database).restore(gone, ACTOR)
    both = OwnedSet(ME, (gone.uuid, fine.uuid))
    assert await AliasSets(database).restore(both, ACTOR) == (fine.uuid,)
    assert await world.value(conn, "select count(*) from audit") == 1


async def test_sets_in_any_order_do_not_lock_each_other_up(conn: Connection, database: Database) -> None:
    uuids = [(await owned(conn, f"a{n}@own.example")).uuid for n in range(20)]
    there, back = OwnedSet(ME, tuple(uuids)), OwnedSet(ME, tuple(reversed(uuids)))
    sets = AliasSets(database)
    rounds = [sets.pin(which, on, ACTOR) for on in (True, False) * 10 for which in (there, back)]
    for changed in await asyncio.gather(*rounds):
        assert len(changed) in (0, 20)


# --- new ones --------------------------------------------------------------------------------------------------------


async def test_of_many_makers_exactly_one_gets_a_name(conn: Connection, database: Database) -> None:
    maker = AliasMaker(NewAliases(database), ANY, 0)
    results = await asyncio.gather(*(make(maker, order(AliasFormat.CUSTOM, "shop")) for _ in range(20)))
    assert sorted(isinstance(one, OwnAlias) for one in results) == [False] * 19 + [True]
    assert set(results) - {one for one in results if isinstance(one, OwnAlias)} == {Refusal.TAKEN}
    assert await world.value(conn, "select sum(amount) from rate_window") == 1


async def test_the_limit_is_exact_however_many_come_at_once(conn: Connection, database: Database) -> None:
    store = NewAliases(database)
    prospect = await store.survey(AliasRequest(ME, "own.example", ()))
    assert prospect.ground is not None
    ground, uuid = prospect.ground, prospect.account_uuid
    new = [NewOwnAlias(ME, uuid, uuid4(), f"a{n}", ground, (), None, None, 5) for n in range(20)]
    results = await asyncio.gather(*(store.make(one, ACTOR) for one in new))
    assert sum(isinstance(one, OwnAlias) for one in results) == 5
    assert results.count(Refusal.LIMIT) == 15
    for table in ("alias", "audit"):
        assert await world.value(conn, f"select count(*) from {table}") == 5
    assert await world.value(conn, "select sum(amount) from rate_window") == 5


async def test_a_drawn_name_that_is_taken_is_drawn_again(conn: Connection, database: Database) -> None:
    lists = WordLists(("ant", "bee"), ("john",), ("jane",), ("smith",), ("calm",), ("river",))
    numbers = iter([0, 0, 7, 1, 0, 0, 7, 2, 0, 0, 8, 3])
    maker = AliasMaker(NewAliases(database), Coiner(lists, lambda _: next(numbers)), 0)
    first = await make(maker, order(AliasFormat.RANDOM_NOUN))
    second = await make(maker, order(AliasFormat.RANDOM_NOUN))
    assert isinstance(first, OwnAlias) and isinstance(second, OwnAlias)
    assert (first.local_part, second.local_part) == ("calm.river007", "calm.river008")
    assert await world.value(conn, "select sum(amount) from rate_window") == 2


async def test_chance_that_finds_nothing_gives_up(database: Database) -> None:
    maker = AliasMaker(NewAliases(database), Coiner(words.load(), lambda _: 0), 0)
    assert isinstance(await make(maker, order()), OwnAlias)
    with pytest.raises(Unavailable, match="no free name"):
        await make(maker, order())


async def test_drawn_names_of_operators_and_banned_ones_are_drawn_again(conn: Connection, database: Database) -> None:
    await conn.execute("insert into ban (type, value) values ('name', '00000000')")
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    drawn = [letters.index(char) for char in "security"] + [0] * 8 + [5] + [letters.index(char) for char in "fineone1"]
    numbers = iter([*drawn, 6])
    maker = AliasMaker(NewAliases(database), Coiner(words.load(), lambda _: next(numbers)), 0)
    made = await make(maker, order(), "alias.example")
    assert isinstance(made, OwnAlias)
    assert made.address == "fineone1@alias.example"


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("update recipient set verified_at = null where account_id = 1", Refusal.RECIPIENT),
        ("update domain set account_id = 2 where name = 'own.example'", Refusal.DOMAIN),
        ("insert into ban (type, value) values ('name', 'shop')", Refusal.TAKEN),
        ("insert into alias (account_id, local_part, domain) values (1, 'shop', 'own.example')", Refusal.TAKEN),
        ("insert into rate_window values (1, 'new_alias', '', date_trunc('minute', now()), 100)", Refusal.LIMIT),
    ],
)
async def test_what_changes_in_between_is_found_out(
    conn: Connection, database: Database, statement: str, refusal: Refusal
) -> None:
    maker = AliasMaker(NewAliases(database), ANY, 100)
    wanted = order(AliasFormat.CUSTOM, "shop", await recipient(conn))
    prospect = await maker.survey(AliasRequest(ME, "own.example", wanted.recipients, "shop"))
    await conn.execute(statement.encode())
    assert await maker.make(wanted, prospect, ACTOR) is refusal
    assert await world.value(conn, "select count(*) from audit") == 0
    assert await world.value(conn, "select count(*) from alias_recipient") == 0


async def test_a_username_that_went_in_between(conn: Connection, database: Database) -> None:
    maker = AliasMaker(NewAliases(database), ANY, 100)
    prospect = await maker.survey(AliasRequest(ME, "johndoe.alias.example", ()))
    await conn.execute("delete from username")
    assert await maker.make(order(), prospect, ACTOR) is Refusal.DOMAIN


@pytest.mark.parametrize("is_admin", [False, True])
async def test_who_may_have_aliases_on_the_installation_s_domains(
    conn: Connection, database: Database, is_admin: bool
) -> None:
    await conn.execute("update account set is_admin = %s", (is_admin,))
    for domain, store in (
        ("alias.example", NewAliases(database, direct=False)),
        ("johndoe.alias.example", NewAliases(database, below=False)),
    ):
        assert ((await store.survey(AliasRequest(ME, domain, ()))).ground is not None) is is_admin
        assert (await NewAliases(database).survey(AliasRequest(ME, domain, ()))).ground is not None
    strict = NewAliases(database, direct=False, below=False)
    assert (await strict.survey(AliasRequest(ME, "own.example", ()))).ground is not None
