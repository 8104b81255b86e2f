"""Lists of an owner's aliases, from PostgreSQL: filters, orders, searches, pages."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg import AsyncConnection

from mailrelay.core.facts import AccountId
from mailrelay.core.own_aliases import AliasQuery, AliasSort, Deleted, OwnAlias
from mailrelay.store import own_aliases
from mailrelay.store.database import Database
from mailrelay.store.migrate import folder, migrate
from mailrelay.store.own_aliases import OwnAliases
from tests.store.test_own_aliases import ACCOUNT, OTHERS, database, forget, made, reader
from tests.store.world import JOHN, OTHER, WORLD, Connection, alias, attach, handle, insert, value

__all__ = ["database", "reader"]  # fixtures


def sort_key(one: OwnAlias, sort: AliasSort) -> Any:
    match sort:
        case AliasSort.EMAIL:
            return one.address
        case AliasSort.LAST_USED:
            return max((at for at in (one.last_forwarded, one.last_replied, one.last_sent) if at), default=None)
    return getattr(one, sort)


def expected(every: Sequence[OwnAlias], sort: AliasSort, descending: bool) -> list[str]:
    """The order of the specification, by stable sorts from the last criterion to the first."""
    found = sorted(every, key=lambda one: (one.created_at, one.id), reverse=True)
    keys = {one.id: sort_key(one, sort) for one in every}
    found.sort(key=lambda one: (keys[one.id] is not None, keys[one.id] or 0), reverse=descending)
    return [one.address for one in sorted(found, key=lambda one: not one.pinned)]


async def crowd(conn: Connection) -> None:
    """200 aliases with many equal and many missing values; ten at a time have the same age."""
    await conn.execute("""
        insert into alias (account_id, local_part, domain, username_id, state, deleted_at, pinned, description,
                           emails_forwarded, emails_blocked, emails_replied, emails_sent, last_forwarded, last_blocked,
                           last_replied, last_sent, created_at, updated_at)
        select 1, (n * 37 % 101) || 'x', (array['alias.example', 'own.example', 'johndoe.alias.example'])[n % 3 + 1],
               case when n % 3 = 2 then 1 end, (array['active', 'active', 'inactive', 'deleted'])[n % 4 + 1],
               case when n % 4 = 3 then t + (n % 5) * interval '1 h' end, n % 9 = 0,
               case when n % 5 > 0 then 'Order ' || n end, n * 7 % 13, n % 3, n * 5 % 17, n % 2,
               case when n % 6 > 0 then t + n * 11 % 23 * interval '1 h' end,
               case when n % 4 > 0 then t + n * 7 % 19 * interval '1 h' end,
               case when n % 7 = 1 then t + n * 3 % 29 * interval '1 h' end,
               case when n % 8 = 1 then t + n * 5 % 31 * interval '1 h' end,
               t + n / 10 * interval '1 h', t + n * 3 % 40 * interval '1 h'
        from generate_series(1, 200) n, (select timestamptz '2026-05-04 12:00:00+00' as t) start
    """)
    await conn.execute("insert into alias_recipient (alias_id, recipient_id) select id, 1 from alias where id % 7 = 0")


async def listed(reader: OwnAliases, query: AliasQuery, size: int = 100, account: AccountId = ACCOUNT) -> list[str]:
    """The addresses of all pages. The total is the same on each, and on the empty one after them."""
    found: list[str] = []
    for number in range(1, 1000):
        page = await reader.page(account, query, number, size)
        found += [one.address for one in page.aliases]
        if not page.aliases:
            assert page.total == len(found)
            return found
        assert len(page.aliases) == size or page.total == len(found)
    raise AssertionError("there is no end")


async def everything(conn: Connection, reader: OwnAliases) -> list[OwnAlias]:
    cursor = await conn.execute("select uuid from alias where account_id = 1 order by id")
    return await reader.several(ACCOUNT, [row[0] for row in await cursor.fetchall()])


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", AliasSort)
async def test_every_order_has_pinned_ones_first_and_null_lowest(
    conn: Connection, reader: OwnAliases, sort: AliasSort, descending: bool
) -> None:
    await crowd(conn)
    every = await everything(conn, reader)
    assert len(every) == 200
    query = AliasQuery(deleted=Deleted.WITH, sort=sort, descending=descending)
    assert await listed(reader, query, 33) == expected(every, sort, descending)
    searched = replace(query, search="oRDER 1")
    some = [one for one in every if one.description is not None and one.description.startswith("Order 1")]
    assert 50 < len(some) < 100
    assert await listed(reader, searched, 33) == expected(some, sort, descending)


@pytest.mark.parametrize("deleted", Deleted)
@pytest.mark.parametrize("active", [None, True, False])
@pytest.mark.parametrize("pinned", [None, True, False])
@pytest.mark.parametrize("sort", [AliasSort.CREATED_AT, AliasSort.EMAILS_SENT])
async def test_filters_hold_together(
    conn: Connection, reader: OwnAliases, deleted: Deleted, active: bool | None, pinned: bool | None, sort: AliasSort
) -> None:
    await crowd(conn)
    some = [
        one
        for one in await everything(conn, reader)
        if deleted is Deleted.WITH or (one.deleted_at is not None) is (deleted is Deleted.ONLY)
        if active is None or one.active is active
        if pinned is None or one.pinned is pinned
    ]
    for search in (None, "alias.EXAMPLE"):
        query = AliasQuery(deleted, active, pinned, search, sort=sort)
        found = [one for one in some if search is None or "alias.example" in one.address]
        assert await listed(reader, query, 40) == expected(found, sort, descending=True)


async def test_a_page_has_the_recipients_of_its_aliases(conn: Connection, reader: OwnAliases) -> None:
    await crowd(conn)
    more = await insert(conn, "recipient", account_id=JOHN, address="more@inbox.example")
    await attach(conn, 7, more)
    found = (await reader.page(ACCOUNT, AliasQuery(Deleted.WITH), 1, 100)).aliases
    found += (await reader.page(ACCOUNT, AliasQuery(Deleted.WITH), 2, 100)).aliases
    assert list(found) == await reader.several(ACCOUNT, [one.uuid for one in found])
    assert {len(one.recipients) for one in found} == {0, 1, 2}


async def test_lists_have_nothing_of_others_and_nothing_forgotten(conn: Connection, reader: OwnAliases) -> None:
    await made(conn, "theirs@alias.example", OTHER)
    gone = await made(conn, "gone@alias.example")
    kept = await made(conn, "kept@alias.example")
    await forget(conn, gone)
    for sort in (AliasSort.CREATED_AT, AliasSort.EMAIL, AliasSort.EMAILS_BLOCKED):
        for search in (None, "example"):
            query = AliasQuery(Deleted.WITH, search=search, sort=sort)
            assert await listed(reader, query) == ["kept@alias.example"]
            assert await listed(reader, query, account=OTHERS) == ["theirs@alias.example"]
    await conn.execute("delete from alias_recipient")
    own = await made(conn, "removed@own.example")
    await conn.execute("delete from alias where uuid = %s", (own,))
    page = await reader.page(ACCOUNT, AliasQuery(Deleted.WITH), 1, 100)
    assert [one.uuid for one in page.aliases] == [kept]
    assert page.total == 1


@pytest.mark.parametrize(
    ("description", "search"),
    [
        ("Order 66", "oRDER"),
        ("ÄRZTE UND ÖFEN", "ärzte und ö"),
        ("ärzte", "ÄRZTE"),
        ("Straße", "STRASSE"),
        ("STRASSE", "straße"),
        ("STRAẞE", "strasse"),
        ("ΟΔΟΣ 5", "οδος"),
        ("οδος", "ΟΔΟΣ"),
        ("Заказ", "зАКАЗ"),
        ("100% off_\\", "0% OFF"),
        ("100% off_\\", "off_\\"),
        ("a\nb c", "a\nb"),
        ("🎁 gift", "🎁 G"),
    ],
)
async def test_a_search_finds_parts_of_descriptions_in_any_case(
    conn: Connection, reader: OwnAliases, description: str, search: str
) -> None:
    await made(conn, "one@alias.example", description=description)
    await made(conn, "other@alias.example", description="another thing, 100 of them")
    await made(conn, "third@alias.example", extension=search, from_name=search[:50])
    assert await listed(reader, AliasQuery(search=search)) == ["one@alias.example"]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("FIRST@", True),
        ("first@alias.example", True),
        ("s.example", True),
        ("fir%t", False),
        ("f_rst", False),
        ("first\\@", False),
        ("exampleorder", False),
        ("first order", False),
    ],
)
async def test_a_search_finds_parts_of_addresses_as_they_are(
    conn: Connection, reader: OwnAliases, search: str, found: bool
) -> None:
    await made(conn, "first@alias.example", description="Order")
    assert await listed(reader, AliasQuery(search=search)) == ["first@alias.example"] * found


async def test_what_lists_are_searched_by_follows_changes(conn: Connection, reader: OwnAliases) -> None:
    uuid = await made(conn, "one@own.example", description="before")
    before = await reader.one(ACCOUNT, uuid)
    later = AliasQuery(Deleted.ONLY, search="after")
    assert await listed(reader, later) == []
    await conn.execute(
        "update alias set description = 'after', state = 'deleted', deleted_at = now(), pinned = true where uuid = %s",
        (uuid,),
    )
    assert await listed(reader, later) == ["one@own.example"]
    assert await listed(reader, replace(later, search="before")) == []
    (found,) = (await reader.page(ACCOUNT, replace(later, pinned=True, active=False), 1, 1)).aliases
    assert found.updated_at > before.updated_at


async def copies(conn: Connection) -> list[tuple[Any, ...]]:
    """What the copy that lists are made of has and the aliases have not, and the reverse."""
    columns = """
        account_id, id, created_at, pinned, state, %s, updated_at, emails_forwarded, emails_blocked, emails_replied,
        emails_sent, username_id, domain_id, deleted_at, last_forwarded, last_blocked, last_replied, last_sent"""
    source = columns % "local_part || '@' || domain, lower(description)"
    true = f"select {source} from alias where account_id is not null"
    copy = "select " + columns % "address, words" + " from alias_search"
    cursor = await conn.execute(f"({true} except {copy}) union all ({copy} except {true})".encode())
    return await cursor.fetchall()


@pytest.mark.parametrize(
    "change",
    [
        "update alias set description = 'after' where id < 50",
        "update alias set state = 'deleted', deleted_at = now() where id = 12",
        "update alias set state = 'active', deleted_at = null where id = 11",
        "update alias set pinned = not pinned",
        "update alias set from_name = 'John' where id = 5",
        "update alias set emails_forwarded = 9, last_forwarded = now(), emails_blocked = 8, last_blocked = now(),"
        " emails_replied = 7, last_replied = now(), emails_sent = 6, last_sent = null where id < 20",
        "update alias set account_id = 2, username_id = null where username_id is not null",
        "update alias set account_id = 2, username_id = null, emails_sent = 6 where username_id is not null",
        "update alias set domain_id = null where domain = 'own.example'",
        "update alias set account_id = null, state = 'forgotten', deleted_at = now(), description = null,"
        " emails_forwarded = 0, username_id = null where domain = 'alias.example'",
        "delete from alias where domain = 'own.example'",
        "insert into alias (account_id, local_part, domain, state, deleted_at)"
        " values (null, 'never', 'alias.example', 'forgotten', now())",
    ],
)
async def test_what_lists_are_made_of_follows_every_change(conn: Connection, reader: OwnAliases, change: str) -> None:
    await crowd(conn)
    assert await copies(conn) == []
    await conn.execute("delete from alias_recipient")
    cursor = await conn.execute(change.encode())
    assert cursor.rowcount > 0
    assert await copies(conn) == []
    every = await everything(conn, reader)
    query = AliasQuery(Deleted.WITH, sort=AliasSort.EMAILS_FORWARDED)
    assert await listed(reader, query) == expected(every, AliasSort.EMAILS_FORWARDED, descending=True)


async def test_what_lists_are_made_of_hears_of_every_column(conn: Connection) -> None:
    """A trigger for some columns does not see the others; `updated_at` changes with those of alias_touch."""
    cursor = await conn.execute("""
        select tgname::text, array_agg(attname::text) from pg_trigger
        join pg_attribute on attrelid = tgrelid and attnum = any (tgattr::int2[])
        where tgrelid = 'alias'::regclass group by tgname""")
    heard = {name: set(columns) for name, columns in await cursor.fetchall()}
    assert heard["alias_touch"] <= heard["alias_search_keep"]
    cursor = await conn.execute(
        "select attname::text from pg_attribute where attrelid = 'alias_search'::regclass and attnum > 0"
    )
    copied = {row[0] for row in await cursor.fetchall()} - {"id", "address", "words"}
    assert copied | {"local_part", "domain", "description"} <= heard["alias_search_keep"] | heard["alias_search_count"]


async def test_the_aliases_of_a_recipient(conn: Connection, reader: OwnAliases) -> None:
    """All whose mail goes there: attached, else by the default of username, domain or handle, else by the account's."""
    more = await insert(conn, "recipient", account_id=JOHN, address="more@inbox.example")
    await conn.execute("update domain set default_recipient_id = %s where name = 'own.example'", (more,))
    await conn.execute("update username set default_recipient_id = %s", (more,))
    numbers = {}
    for name in ("attached@alias.example", "both@own.example", "other@own.example", "shared@alias.example"):
        numbers[name] = await alias(conn, name)
    await alias(conn, "falls@own.example")
    await alias(conn, "below@johndoe.alias.example", username_id=1)
    await attach(conn, numbers["attached@alias.example"], more)
    await attach(conn, numbers["both@own.example"], more)
    await attach(conn, numbers["both@own.example"], 1)
    await attach(conn, numbers["other@own.example"], 1)
    uuid = await value(conn, "select uuid from recipient where id = %s", more)
    assert sorted(await listed(reader, AliasQuery(recipient=uuid))) == [
        "attached@alias.example",
        "below@johndoe.alias.example",
        "both@own.example",
        "falls@own.example",
    ]
    default = await value(conn, "select uuid from recipient where id = 1")
    by_use = AliasQuery(recipient=default, sort=AliasSort.LAST_USED)
    expected = ["both@own.example", "other@own.example", "shared@alias.example"]
    assert sorted(await listed(reader, by_use)) == expected
    number = await handle(conn, "everywhere", recipient_id=more)
    await alias(conn, "everywhere@alias.example", handle_id=number)
    assert "everywhere@alias.example" in await listed(reader, AliasQuery(recipient=uuid))
    assert sorted(await listed(reader, by_use)) == expected
    assert await listed(reader, AliasQuery(recipient=default, search="other")) == ["other@own.example"]
    theirs = await value(conn, "select uuid from recipient where id = 2")
    for unknown in (theirs, uuid4()):
        assert await listed(reader, AliasQuery(recipient=unknown)) == []


async def test_the_aliases_of_a_domain_and_of_a_username(conn: Connection, reader: OwnAliases) -> None:
    await alias(conn, "one@own.example")
    await alias(conn, "two@johndoe.alias.example", username_id=1)
    await alias(conn, "three@alias.example")
    domain = await value(conn, "select uuid from domain where name = 'own.example'")
    shared = await value(conn, "select uuid from domain where name = 'alias.example'")
    username = await value(conn, "select uuid from username where id = 1")
    for sort in (AliasSort.CREATED_AT, AliasSort.EMAILS_SENT):
        assert await listed(reader, AliasQuery(domain=domain, sort=sort)) == ["one@own.example"]
        assert await listed(reader, AliasQuery(username=username, sort=sort)) == ["two@johndoe.alias.example"]
        assert await listed(reader, AliasQuery(domain=shared, sort=sort)) == []
        assert await listed(reader, AliasQuery(domain=domain, username=username, sort=sort)) == []
        assert await listed(reader, AliasQuery(username=uuid4(), sort=sort)) == []
        assert await listed(reader, AliasQuery(domain=domain), account=OTHERS) == []


async def test_a_list_is_read_from_the_part_of_its_account(conn: Connection, reader: OwnAliases) -> None:
    """However many others there are."""
    await conn.execute(
        "insert into alias (account_id, local_part, domain, description)"
        " select case when n % 30 = 0 then 1 else 2 end, 'number' || n, 'alias.example', 'Order ' || n"
        " from generate_series(1, 6000) n"
    )
    await conn.execute("vacuum (analyze) alias_search")
    for query in (AliasQuery(search="order 1", sort=AliasSort.EMAILS_SENT), AliasQuery(sort=AliasSort.UPDATED_AT)):
        values = {"account": 1, "search": query.search, "limit": 100, "offset": 0}
        rows = await reader.database.rows(f"explain {own_aliases._list(query)}", values)
        plan = "\n".join(row[0] for row in rows)
        assert len(set(re.findall(r" on alias_search_\d+ s", plan))) == 1
        assert "Index Cond: (account_id = " in plan
        assert "Seq Scan" not in plan


async def test_aliases_of_earlier_releases_are_in_lists_too(empty_dsn: str, tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    for file in (folder() / "migrations").iterdir():
        if file.name < "0009":
            (tmp_path / "migrations" / file.name).write_bytes(file.read_bytes())
    await migrate(empty_dsn, tmp_path, lambda line: None)
    async with await AsyncConnection.connect(empty_dsn, autocommit=True) as conn:
        await conn.execute(WORLD.encode())
        await alias(conn, "kept@alias.example", description="ÄRZTE", pinned=True)
        gone = await made(conn, "gone@alias.example")
        await forget(conn, gone)
        await migrate(empty_dsn, folder(), lambda line: None)
        opened = Database(empty_dsn, 1, 20.0, "test")
        await opened.open()
        assert await listed(OwnAliases(opened), AliasQuery(pinned=True, search="ärzte")) == ["kept@alias.example"]
        await opened.close()
        assert await value(conn, "select count(*) from alias_search") == 1
