"""Lists for administrators, from PostgreSQL: whatever happened before, they say what is there."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from psycopg import AsyncConnection

from mailrelay.core.admin_lists import AliasFilter, HandleFilter, ListedAlias
from mailrelay.core.banrecords import BanFilter
from mailrelay.core.people import User
from mailrelay.core.records import HandleId
from mailrelay.core.users import UserFilter
from mailrelay.store.admin_alias_list import AdminAliasList
from mailrelay.store.admin_bans import BanLists
from mailrelay.store.admin_handles import AdminHandleStore
from mailrelay.store.database import Database
from mailrelay.store.goto import GOTO
from mailrelay.store.migrate import folder, migrate
from mailrelay.store.user_list import users
from mailrelay.store.userrow import FROM, IS_USER, USER, user_of
from tests.store.world import JOHN, OTHER, WORLD, Connection, alias, handle, insert, value

TOMBSTONE = "deleted@relay.example"
_TRUTH = f"""
    select a.id, a.local_part || '@' || a.domain,
           case when a.state in ('active', 'inactive') then {GOTO} end, a.state = 'active'
    from alias a left join account acc on acc.id = a.account_id order by a.id desc
"""
FILTERS = (
    AliasFilter(),
    AliasFilter(active=True),
    AliasFilter(active=False),
    AliasFilter(domain="alias.ex"),
    AliasFilter(domain="example", active=True),
    AliasFilter(domain="john"),
    AliasFilter(domain="n@e"),
    AliasFilter(handle="op"),
    AliasFilter(handle="shop", active=False),
    AliasFilter(handle="_"),
    AliasFilter(address="shop"),
    AliasFilter(address="o"),
    AliasFilter(address="alias"),
    AliasFilter(address="second"),
    AliasFilter(address="own", domain="example", active=True),
    AliasFilter(address="@alias"),
    AliasFilter(address="@alias", active=False),
    AliasFilter(address="@johndoe", domain="alias"),
    AliasFilter(address="op1@second.example"),
    AliasFilter(address="shop%"),
    AliasFilter(address="a@b@c"),
    AliasFilter(goto="inbox"),
    AliasFilter(goto="inbox", active=False),
    AliasFilter(goto="johndoe@"),
    AliasFilter(goto="other", active=True),
    AliasFilter(goto="third"),
    AliasFilter(goto="third", address="shop"),
    AliasFilter(goto="e"),
    AliasFilter(goto="deleted@"),
    AliasFilter(goto="deleted@", domain="second"),
    AliasFilter(goto="nobody"),
    AliasFilter(goto="inbox", domain="second", handle="s", address="op", active=True),
)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(dsn, 2, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as opened:
        await opened.execute(WORLD.encode())
        yield opened


async def crowd(conn: Connection) -> None:
    """Aliases of all kinds: below all parents, with and without recipients, of both people and of nobody."""
    for address in ("third", "fourth"):
        await insert(conn, "recipient", account_id=JOHN, address=f"{address}@inbox.example", verified_at="now")
    await insert(conn, "recipient", account_id=JOHN, address="unsure@inbox.example")
    await handle(conn, "jd", JOHN, recipient_id=3)
    await handle(conn, "od", OTHER)
    await conn.execute("""
        insert into alias (account_id, local_part, domain, username_id, state, deleted_at)
        select 1 + (n % 5 = 0 and n % 3 < 2)::integer, (array['shop', 'news', 'a_b'])[n % 3 + 1] || n,
               case when n % 5 = 0 and n % 3 < 2 then 'second.example'
                    else (array['alias.example', 'own.example', 'johndoe.alias.example', 'second.example'])[n % 4 + 1]
               end,
               case when n % 4 = 2 and not (n % 5 = 0 and n % 3 < 2) then 1 end,
               (array['active', 'active', 'inactive', 'deleted'])[n % 7 % 4 + 1],
               case when n % 7 % 4 = 3 then now() end
        from generate_series(1, 600) n
    """)
    await conn.execute("""
        insert into alias_recipient (alias_id, recipient_id)
        select a.id, r.id from alias a join recipient r on r.account_id = a.account_id where (a.id + r.id) % 4 = 0
    """)
    for name, owner in (("jd", JOHN), ("od", OTHER)):
        number = await value(conn, "select id from handle where local_part = %s", name)
        await alias(conn, f"{name}@alias.example", owner, handle_id=number)
        await alias(conn, f"{name}@second.example", owner, handle_id=number)
    await conn.execute(
        """update alias set state = 'forgotten', account_id = null, deleted_at = now(), username_id = null
           where id % 41 = 0 and reserved_as is not null and id not in (select alias_id from alias_recipient)"""
    )


async def told(conn: Connection, wanted: AliasFilter) -> list[tuple[object, ...]]:
    """What a reading of everything finds."""
    found: list[tuple[object, ...]] = []
    for number, address, goto, active in await (await conn.execute(_TRUTH.encode())).fetchall():
        local, _, domain = address.partition("@")
        texts = ((wanted.goto, goto or TOMBSTONE), (wanted.domain, domain), (wanted.handle, local))
        if (
            wanted.active in (None, active)
            and all(part is None or part in text for part, text in texts)
            and (wanted.address is None or wanted.address in address)
        ):
            found.append((number, address, goto, active))
    return found


def brief(aliases: list[ListedAlias]) -> list[tuple[object, ...]]:
    return [(one.id, one.address, one.goto, one.active) for one in aliases]


async def check(conn: Connection, database: Database, filters: tuple[AliasFilter, ...]) -> None:
    lists = AdminAliasList(database, TOMBSTONE)
    for wanted in filters:
        every = await told(conn, wanted)
        for limit, offset in ((200, 0), (7, len(every) // 2), (5, max(0, len(every) - 3)), (3, len(every) + 10)):
            aliases, total = await lists.page(wanted, limit, offset)
            assert (total, brief(aliases)) == (len(every), every[offset : offset + limit]), wanted


CHANGES = (
    "update alias set state = 'inactive' where id % 13 = 0 and state = 'active'",
    "update alias set state = 'active', deleted_at = null where id % 17 = 0 and state in ('inactive', 'deleted')",
    "update alias set state = 'deleted', deleted_at = now() where id % 11 = 0 and state in ('active', 'inactive')",
    "update alias set local_part = 'moved' || id where id % 29 = 0 and handle_id is null",
    "update alias set emails_forwarded = emails_forwarded + 1",
    "update account set default_recipient_id = 3 where id = 1",
    "update recipient set address = 'thirdly@inbox.example' where id = 3",
    "update recipient set verified_at = null where id = 4",
    "update recipient set verified_at = now(), pending = true where id = 5",
    "update recipient set pending = false, verified_at = now() where id in (4, 5)",
    "update username set default_recipient_id = 4",
    "update domain set default_recipient_id = 5 where name = 'own.example'",
    "update handle set recipient_id = 4 where local_part = 'jd'",
    "delete from alias_recipient where alias_id % 3 = 0",
    "insert into alias_recipient (alias_id, recipient_id) select id, 4 from alias where account_id = 1 and id % 3 = 0",
    "delete from recipient where id = 4",
    "delete from alias where reserved_as is distinct from 'alias' and id % 2 = 0",
    "update alias set domain_id = null where domain = 'second.example' and id % 3 = 0 and handle_id is null",
    "update alias set username_id = null, domain = 'gone.example' where username_id is not null and id % 4 = 0",
)


async def test_lists_say_what_is_there_after_every_kind_of_change(conn: Connection, database: Database) -> None:
    await crowd(conn)
    await check(conn, database, FILTERS)
    rnd = random.Random(8)
    for change in CHANGES:
        await conn.execute(change.encode())
        await check(conn, database, (FILTERS[0], FILTERS[1], *rnd.sample(FILTERS, 6)))
    await check(conn, database, FILTERS)


async def test_aliases_of_before_the_migration_are_listed(
    empty_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Those that were there are copied, as the triggers would have."""
    sql = tmp_path_factory.mktemp("sql")
    (sql / "migrations").mkdir()
    files = [path for path in (folder() / "migrations").iterdir() if path.name.endswith(".sql")]
    late = next(path for path in files if "admin_lists" in path.name).name
    for path in files:
        if path.name < late:
            (sql / "migrations" / path.name).write_bytes(path.read_bytes())
    await migrate(empty_dsn, sql, lambda line: None)
    database = Database(empty_dsn, 2, 20.0, "test")
    await database.open()
    async with await AsyncConnection.connect(empty_dsn, autocommit=True) as conn:
        await conn.execute(WORLD.encode())
        await crowd(conn)
        for query in (
            "insert into ban (type, value) values ('name', 'x'), ('name', 'y')",
            "insert into dns_request (target, type, expires_at) values ('a.example', 'UI', now())",
        ):
            await conn.execute(query.encode())
        await migrate(empty_dsn, folder(), lambda line: None)
        await check(conn, database, FILTERS)
        tallies = (
            "select list, sum(rows)::integer, sum(active)::integer from list_tally where list <> 'alias' group by 1"
        )
        rows = await (await conn.execute(tallies.encode())).fetchall()
        assert sorted(rows) == [("account", 2, 2), ("ban", 2, 2), ("dns_request", 1, 0), ("handle", 2, 2)]
    await database.close()


async def test_far_pages_are_counted_in_blocks(conn: Connection, database: Database) -> None:
    """Ids have gaps of all sizes; several blocks have none at all."""
    await conn.execute("""
        insert into alias (id, account_id, local_part, domain) overriding system value
        select n * n, 1, 'n' || n, 'alias.example' from generate_series(1, 300) n
    """)
    lists = AdminAliasList(database, TOMBSTONE)
    for offset in (0, 1, 49, 150, 290, 299, 300):
        aliases, total = await lists.page(AliasFilter(), 20, offset)
        wanted = [n * n for n in range(300 - offset, max(300 - offset - 20, 0), -1)]
        assert (total, [one.id for one in aliases]) == (300, wanted)
        aliases, total = await lists.page(AliasFilter(handle="n1"), 20, offset)
        names = [n for n in range(300, 0, -1) if str(n).startswith("1")]
        assert (total, [one.id for one in aliases]) == (len(names), [n * n for n in names[offset : offset + 20]])


async def test_the_end_of_small_numbers_is_no_end(conn: Connection, database: Database) -> None:
    """Offset and limit fit sixteen bits each, and their sum does not."""
    await conn.execute("insert into list_tally (list, block, rows) values ('account', 0, 40000)")
    for limit, offset in ((10, 32760), (200, 32600), (200, 32767), (200, 2**31 - 1)):
        assert (await users(database, UserFilter(), limit, offset))[0] == []


async def test_tallies_are_added_up_now_and_then(conn: Connection, database: Database) -> None:
    await conn.execute("select setval('list_tally_id_seq', 4000)")
    for n in range(100):
        await alias(conn, f"a{n}@alias.example")
    assert await value(conn, "select count(*) from list_tally where list = 'alias'") < 20
    lists = AdminAliasList(database, TOMBSTONE)
    assert (await lists.page(AliasFilter(active=True), 1, 0))[1] == 100


async def test_those_who_make_aliases_do_not_wait_for_each_other(
    dsn: str, conn: Connection, database: Database
) -> None:
    """Also while tallies are added up: what others have in hand is left to the next one."""
    async with await AsyncConnection.connect(dsn) as first, await AsyncConnection.connect(dsn) as second:
        await alias(first, "one@alias.example", JOHN)
        await second.execute("set lock_timeout = '5s'")
        await second.execute("select setval('list_tally_id_seq', 4094)")
        await alias(second, "two@alias.example", OTHER)
        await alias(second, "three@alias.example", OTHER)
        await second.commit()
        await first.commit()
    assert (await AdminAliasList(database, TOMBSTONE).page(AliasFilter(), 10, 0))[1] == 3


async def test_a_new_way_and_another_default_wait_for_each_other(
    dsn: str, conn: Connection, database: Database
) -> None:
    """Whichever comes first: the alias is listed with the mailbox that its mail goes to."""
    await insert(conn, "recipient", account_id=JOHN, address="third@inbox.example", verified_at="now")
    lists = AdminAliasList(database, TOMBSTONE)
    async with await AsyncConnection.connect(dsn) as first, await AsyncConnection.connect(dsn) as second:
        await alias(first, "one@alias.example", JOHN)
        pid = (await (await second.execute("select pg_backend_pid()")).fetchone() or (0,))[0]
        await second.commit()
        change = asyncio.create_task(second.execute("update account set default_recipient_id = 3 where id = 1"))
        waits = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
        async with asyncio.timeout(20):
            while not await value(conn, waits, pid):
                pass
        await first.commit()
        await change
        await second.commit()
    assert (await lists.page(AliasFilter(goto="third"), 10, 0))[1] == 1


async def test_counters_of_mail_leave_the_lists_alone(conn: Connection) -> None:
    """Not a row is written besides: mail must not pay for lists."""
    number = await alias(conn, "one@alias.example")
    before = "select xmin::text, ctid::text from alias_listed"
    was = await (await conn.execute(before.encode())).fetchall()
    rows = await value(conn, "select count(*) from list_tally")
    await conn.execute("update alias set emails_forwarded = 5, last_forwarded = now() where id = %s", (number,))
    assert await (await conn.execute(before.encode())).fetchall() == was
    assert await value(conn, "select count(*) from list_tally") == rows


async def test_handles_are_listed(conn: Connection, database: Database) -> None:
    """By state, name and destination; released ones too."""
    await insert(conn, "recipient", account_id=JOHN, address="third@inbox.example", verified_at="now")
    for n in range(30):
        await handle(conn, f"h{n}", JOHN if n % 2 else OTHER, recipient_id=3 if n % 6 == 1 else None)
    await conn.execute("update handle set state = 'inactive' where id % 5 = 0")
    await conn.execute(
        """update handle set state = 'released', account_id = null, recipient_id = null, released_at = now()
           where id % 7 = 0"""
    )
    store = AdminHandleStore(database)
    every, total = await store.page(HandleFilter(), 200, 0)
    assert total == 30 and [one.id for one in every] == list(range(30, 0, -1))
    for wanted in (
        HandleFilter(active=True),
        HandleFilter(active=False),
        HandleFilter(handle="h1"),
        HandleFilter(handle="h1", active=True),
        HandleFilter(address="third"),
        HandleFilter(address="inbox", active=False),
        HandleFilter(address="other@", handle="2", active=True),
        HandleFilter(address="%"),
    ):
        expected = [
            one
            for one in every
            if wanted.active in (None, one.active)
            and (wanted.handle or "") in one.handle
            and (wanted.address is None or wanted.address in (one.goto or ""))
        ]
        for limit, offset in ((200, 0), (3, len(expected) // 2)):
            assert await store.page(wanted, limit, offset) == (expected[offset : offset + limit], len(expected)), wanted
    assert (await store.one(HandleId(7))).goto is None  # type: ignore[union-attr]


async def test_mail_of_a_handle_that_came_back_is_listed_where_it_goes(conn: Connection, database: Database) -> None:
    """Somebody had it, somebody else, and he has it again."""
    number = await handle(conn, "jose", JOHN)
    await alias(conn, "jose@alias.example", JOHN, handle_id=number)
    for account in (OTHER, JOHN):
        await conn.execute(
            """update handle set account_id = %s, recipient_id = acc.default_recipient_id
               from account acc where acc.id = %s and handle.id = %s""",
            (account, account, number),
        )
        await conn.execute("update alias set account_id = %s where local_part = 'jose'", (account,))
        await check(conn, database, FILTERS)


async def everybody(conn: Connection) -> list[User]:
    """Users, the newest first, asked in the plainest way."""
    rows = await (await conn.execute(f"select {USER} from {FROM} where {IS_USER} order by 1 desc".encode())).fetchall()
    return [user_of(row) for row in rows]


async def test_users_are_listed(conn: Connection, database: Database) -> None:
    """By address, rank and state, whatever happened to them; those without a sign-up are none."""
    await conn.execute("""
        insert into account (name, implicit_mailbox, email, state, is_admin)
        select case when n % 5 > 0 then 'user' || n end, case when n % 5 = 0 then 'box' || n || '@inbox.example' end,
               case when n % 3 > 0 then 'user' || n || '@mail.example' end,
               case when n % 7 = 0 then 'suspended' else 'active' end, n % 4 = 0 and n % 5 > 0
        from generate_series(1, 900) n;
        insert into recipient (account_id, address, verified_at)
        select id, 'R' || id || '@inbox.example', now() from account where default_recipient_id is null;
        update account a set default_recipient_id = r.id from recipient r
        where r.account_id = a.id and a.default_recipient_id is null
    """)
    for change in (
        "select 1",
        "update account set state = 'deleting' where id % 6 = 0",
        "update account set state = 'active' where id % 12 = 0",
        "update account set is_admin = not is_admin where name is not null and id % 5 = 0",
        "update account set name = 'late' || id where name is null and id % 2 = 0",
        "update account set email = null where id % 4 = 0",
        "update account set last_login_at = now() where id % 2 = 0",
        "delete from account where id % 9 = 0",
    ):
        await conn.execute(change.encode())
        every = await everybody(conn)
        for wanted in (
            UserFilter(),
            UserFilter(is_active=True),
            UserFilter(is_active=False),
            UserFilter(is_admin=True),
            UserFilter(is_active=False, is_admin=False),
            UserFilter(email="user1"),
            UserFilter(email="r7"),
            UserFilter(email="5@in", is_admin=True),
            UserFilter(email="mail.example", is_active=True),
            UserFilter(email="%"),
            UserFilter(email="nobody"),
        ):
            expected = [
                one
                for one in every
                if wanted.is_active in (None, one.is_active)
                and wanted.is_admin in (None, one.is_admin)
                and wanted.email in one.email
            ]
            for limit, offset in ((200, 0), (3, len(expected) // 2)):
                found = await users(database, wanted, limit, offset)
                assert found == (expected[offset : offset + limit], len(expected)), (change, wanted)


async def test_bans_are_listed(conn: Connection, database: Database) -> None:
    """By type, value and whether they hold, whatever happened to them."""
    await conn.execute("""
        insert into ban (type, value, expires_at, revoked_at)
        select (array['email', 'domain', 'name'])[n % 3 + 1], 'bad' || n || 'x.example',
               case when n % 4 = 0 then now() - interval '1 h' when n % 4 = 1 then now() + interval '1 h' end,
               case when n % 5 = 0 then now() end
        from generate_series(1, 900) n
    """)
    await conn.execute("insert into ban (type, value) values ('ip', '192.0.2.7')")
    lists = BanLists(database)
    for change in (
        "select 1",
        "update ban set revoked_at = now() where id % 7 = 0",
        "update ban set revoked_at = null where id % 5 = 0",
        "update ban set type = 'name' where type = 'domain' and id % 2 = 0",
        "update ban set hits = hits + 1, expires_at = null where id % 3 = 0",
        "delete from ban where id % 6 = 0",
    ):
        await conn.execute(change.encode())
        every, total = await lists.page(BanFilter(), 200, 0)
        for offset in range(200, total, 200):
            every += (await lists.page(BanFilter(), 200, offset))[0]
        assert [ban.id for ban in every] == sorted((ban.id for ban in every), reverse=True)
        assert len(every) == total == await value(conn, "select count(*) from ban")
        for wanted in (
            BanFilter(active=True),
            BanFilter(active=False),
            BanFilter(type="name"),
            BanFilter(active=True, type="email"),
            BanFilter(active=False, type="ip"),
            BanFilter(value="2.7"),
            BanFilter(value="bad1", active=True, type="name"),
        ):
            expected = [
                ban
                for ban in every
                if wanted.active in (None, ban.active) and wanted.type in (None, ban.type) and wanted.value in ban.value
            ]
            for limit, offset in ((200, 0), (3, len(expected) // 2)):
                found = await lists.page(wanted, limit, offset)
                assert found == (expected[offset : offset + limit], len(expected)), wanted
