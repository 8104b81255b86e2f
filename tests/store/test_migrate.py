"""The migration runner, and that migrations and schema.sql build the same database."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from mailrelay.core.errors import BadConfig, Conflict, Unavailable
from mailrelay.store import migrate as runner
from mailrelay.store.migrate import folder, migrate, pending

STARTERS = 5


def silent(line: str) -> None:
    """Nobody listens."""


def make_folder(root: Path, **migrations: str) -> Path:
    """A sql/ folder with these migrations, such as m0001_one='create table …'."""
    (root / "migrations").mkdir(exist_ok=True)
    for name, statements in migrations.items():
        (root / "migrations" / f"{name[1:]}.sql").write_text(statements)
    return root


async def rows(dsn: str, query: str) -> list[TupleRow]:
    async with await AsyncConnection.connect(dsn) as conn:
        return await (await conn.execute(query.encode())).fetchall()


async def test_files_are_applied_in_order_and_once(empty_dsn: str, tmp_path: Path) -> None:
    sql = make_folder(tmp_path, m0002_two="insert into one values ('100%s')", m0001_one="create table one (t text)")
    said: list[str] = []
    assert await pending(empty_dsn, sql) == ["0001_one.sql", "0002_two.sql"]
    assert await migrate(empty_dsn, sql, said.append) == ["0001_one.sql", "0002_two.sql"]
    assert said == ["applying 0001_one.sql", "applying 0002_two.sql"]
    assert await pending(empty_dsn, sql) == []
    assert await migrate(empty_dsn, sql, silent) == []
    assert await rows(empty_dsn, "select t from one") == [("100%s",)]


async def test_looking_for_pending_files_changes_nothing(empty_dsn: str, tmp_path: Path) -> None:
    await pending(empty_dsn, make_folder(tmp_path, m0001_one="create table one ()"))
    assert await rows(empty_dsn, "select count(*) from pg_tables where schemaname = 'public'") == [(0,)]


async def test_several_starters_apply_each_file_once(empty_dsn: str) -> None:
    """All of them wait at the lock, which we hold until the last one has come."""
    async with await AsyncConnection.connect(empty_dsn, autocommit=True) as gate:
        async with gate.transaction():
            await gate.execute(runner._LOCK)
            starters = [asyncio.create_task(migrate(empty_dsn, folder(), silent)) for _ in range(STARTERS)]
            waiting = 0
            while waiting < STARTERS:
                cursor = await gate.execute("select count(*) from pg_locks where locktype = 'advisory' and not granted")
                waiting = (await cursor.fetchone() or (0,))[0]
        applied = await asyncio.gather(*starters)
    names = sorted(path.name for path in (folder() / "migrations").iterdir())
    assert sorted(name for one in applied for name in one) == names
    assert await rows(empty_dsn, "select name from schema_migration order by name") == [(name,) for name in names]


async def test_an_edited_file_is_refused(empty_dsn: str, tmp_path: Path) -> None:
    sql = make_folder(tmp_path, m0001_one="create table one ()")
    await migrate(empty_dsn, sql, silent)
    make_folder(tmp_path, m0001_one="create table one (id int)", m0002_two="create table two ()")
    with pytest.raises(Conflict, match=r"0001_one\.sql was edited"):
        await migrate(empty_dsn, sql, silent)
    with pytest.raises(Conflict, match=r"0001_one\.sql was edited"):
        await pending(empty_dsn, sql)
    assert await rows(empty_dsn, "select to_regclass('two') is null") == [(True,)]


async def test_a_database_of_a_newer_release_is_refused(empty_dsn: str, tmp_path: Path) -> None:
    sql = make_folder(tmp_path, m0001_one="create table one ()", m0002_two="create table two ()")
    await migrate(empty_dsn, sql, silent)
    (tmp_path / "migrations" / "0002_two.sql").unlink()
    with pytest.raises(Conflict, match=r"newer than this release: it has 0002_two\.sql"):
        await migrate(empty_dsn, sql, silent)


async def test_a_database_with_other_migrations_is_refused(empty_dsn: str, tmp_path: Path) -> None:
    await migrate(empty_dsn, make_folder(tmp_path, m0001_other="create table one ()"), silent)
    with pytest.raises(Conflict, match=r"0001_other\.sql where we have 0001_initial\.sql"):
        await migrate(empty_dsn, folder(), silent)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["m0002_two"], r"0002_two\.sql: number 0001 was expected"),
        (["m0001_one", "m0003_three"], r"0003_three\.sql: number 0002 was expected"),
        (["m0001_one", "m0001_uno"], r"0001_uno\.sql: number 0002 was expected"),
        (["m0001_one", "m2_two"], r"2_two\.sql: is not named like"),
        ([], "holds no migrations"),
    ],
)
async def test_files_that_are_no_sequence_are_refused(
    empty_dsn: str, tmp_path: Path, names: list[str], problem: str
) -> None:
    sql = make_folder(tmp_path, **dict.fromkeys(names, "create table something ()"))
    with pytest.raises(BadConfig, match=problem):
        await migrate(empty_dsn, sql, silent)
    assert await rows(empty_dsn, "select count(*) from pg_tables where schemaname = 'public'") == [(0,)]


async def test_a_file_that_fails_leaves_nothing_and_can_be_mended(empty_dsn: str, tmp_path: Path) -> None:
    sql = make_folder(tmp_path, m0001_one="create table one ()", m0002_two="create table two (); select nonsense")
    with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
        await migrate(empty_dsn, sql, silent)
    assert caught.value.__notes__ == ["while applying 0002_two.sql; nothing of this file was kept"]
    assert await rows(empty_dsn, "select name from schema_migration") == [("0001_one.sql",)]
    make_folder(tmp_path, m0002_two="create table two ()")
    assert await migrate(empty_dsn, sql, silent) == ["0002_two.sql"]


async def test_a_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await migrate(f"host={tmp_path} dbname=none", folder(), silent)
    with pytest.raises(Unavailable):
        await pending(f"host={tmp_path} dbname=none", folder())


def test_the_folder_of_an_installed_package_is_found_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (folder() / "schema.sql").is_file()
    (tmp_path / "share" / "sql").mkdir(parents=True)
    monkeypatch.setattr(runner, "files", lambda package: tmp_path)
    assert folder() == tmp_path / "share" / "sql"


# What makes two databases equal: one query per kind of thing, each row a tuple that names it and says all about it.
CATALOG = {
    "relation": """
        select c.relname, c.relkind, c.relpersistence, c.reloptions, obj_description(c.oid)
        from pg_class c where c.relnamespace = 'public'::regnamespace order by 1""",
    "column": """
        select a.attrelid::regclass::text, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity, a.attgenerated, a.attstorage, pg_get_expr(d.adbin, d.adrelid)
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where c.relnamespace = 'public'::regnamespace and a.attnum > 0 and not a.attisdropped order by 1, 2""",
    "constraint": """
        select conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid)
        from pg_constraint where connamespace = 'public'::regnamespace order by 1, 2""",
    "index": "select tablename, indexname, indexdef from pg_indexes where schemaname = 'public' order by 1, 2",
    "trigger": """
        select tgrelid::regclass::text, tgname, tgenabled, pg_get_triggerdef(oid)
        from pg_trigger where not tgisinternal order by 1, 2""",
    "function": """
        select proname, pg_get_functiondef(oid) from pg_proc
        where pronamespace = 'public'::regnamespace order by 1""",
    "type": """
        select typname, typtype from pg_type where typnamespace = 'public'::regnamespace and typtype in ('d', 'e')
        order by 1""",
}


async def catalog(dsn: str) -> dict[str, list[TupleRow]]:
    """All that the database defines, except the runner's own table."""
    found = {kind: await rows(dsn, query) for kind, query in CATALOG.items()}
    return {kind: [row for row in found[kind] if not str(row[0]).startswith("schema_migration")] for kind in found}


async def load_schema(dsn: str) -> None:
    async with await AsyncConnection.connect(dsn) as conn:
        await conn.execute((folder() / "schema.sql").read_bytes())


async def test_schema_and_migrations_build_the_same(dsn: str, empty_dsn: str) -> None:
    await load_schema(empty_dsn)
    from_schema, from_migrations = await catalog(empty_dsn), await catalog(dsn)
    for kind, things in from_schema.items():
        assert things == from_migrations[kind], f"{kind}s differ"
    assert len(from_schema["function"]) > 5
    assert len(from_schema["constraint"]) > 100


@pytest.mark.parametrize(
    "edit",
    [
        "alter table alias drop constraint alias_address_unique",
        "alter table alias alter column local_part drop not null",
        "alter table account alter column leak_policy set default 'off'",
        "alter table ledger set (fillfactor = 100)",
        "drop index ledger_queue_id",
        "drop trigger alias_notify on alias",
        "alter table alias disable trigger alias_reserve",
        "create or replace function touch_updated_at() returns trigger language plpgsql as 'begin return new; end'",
        "alter table outbound add column extra text",
    ],
)
async def test_the_comparison_sees_a_difference(dsn: str, empty_dsn: str, edit: str) -> None:
    await load_schema(empty_dsn)
    async with await AsyncConnection.connect(empty_dsn) as conn:
        await conn.execute(edit.encode())
    assert await catalog(empty_dsn) != await catalog(dsn)


async def test_every_constraint_is_named_by_us(dsn: str) -> None:
    """PostgreSQL's own names for checks, uniques and foreign keys end in these; nobody could rely on them."""
    query = r"""
        select conname from pg_constraint
        where connamespace = 'public'::regnamespace and conname ~ '_(check|fkey|key)\d*$'"""
    assert await rows(dsn, query) == []


async def test_every_foreign_key_has_an_index(dsn: str) -> None:
    """Its first column must be one of the key's; otherwise deleting a parent reads the whole table."""
    query = """
        select conrelid::regclass::text, conname from pg_constraint k
        where contype = 'f' and not exists (
            select from pg_index i where i.indrelid = k.conrelid and i.indkey[0] = any (k.conkey))"""
    assert await rows(dsn, query) == []


async def test_every_foreign_key_says_what_deletion_does(dsn: str) -> None:
    """`no action` is what an omitted clause means: only the deferred ones mean it."""
    query = "select conname from pg_constraint where contype = 'f' and confdeltype = 'a' and not condeferred"
    assert await rows(dsn, query) == []


async def test_the_daemons_role_has_the_rights_it_needs_and_no_more(dsn: str) -> None:
    roles = (folder() / "roles.sql").read_bytes()
    async with await AsyncConnection.connect(dsn, autocommit=True) as owner:
        await owner.execute(roles)
        await owner.execute(roles)  # may be repeated
        await owner.execute("create table added_later (id bigint generated always as identity)")
    allowed = [
        "insert into account (name) values ('johndoe')",
        "insert into domain (name) values ('alias.example')",
        "insert into alias (account_id, local_part, domain) select id, 'shop', 'alias.example' from account",
        "insert into handle (account_id, local_part) select id, 'jd' from account",
        "insert into username (account_id, name) select id, 'johndoe' from account",
        "delete from ledger",
        "select from schema_migration",
        "insert into added_later default values",
    ]
    forbidden = [
        "create table mine ()",
        "truncate ledger",
        "update schema_migration set sha256 = ''",
        "delete from shared_local_part",
        "update username_used set name = 'x'",
        "delete from handle",
        "update audit set actor = 'x'",
        "alter table alias disable trigger alias_kept",
    ]
    async with await AsyncConnection.connect(dsn.replace("user=postgres", "user=mailrelay"), autocommit=True) as daemon:
        for statement in allowed:
            await daemon.execute(statement.encode())
        for statement in forbidden:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await daemon.execute(statement.encode())
