"""Leads a database to the current schema, by the files in sql/migrations.

Files are named NNNN_what.sql, numbered from 0001 without gaps, and are not edited once released. Each runs in one
transaction together with its row in schema_migration, under an advisory lock of that transaction: several starters
may run at once, also through a pooler, and each file is applied once. A file must not contain statements that
refuse transactions, such as `create index concurrently`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from psycopg import AsyncConnection, Error, OperationalError
from psycopg.rows import TupleRow

from mailrelay.core.errors import BadConfig, Conflict, Unavailable

# Any number will do that no other program locks in this database: "mrmigr" in ASCII, big-endian.
_LOCK = "select pg_advisory_xact_lock(120338229323634)"
_TABLE_EXISTS = "select to_regclass('schema_migration') is not null"
_CREATE_TABLE = """
    create table schema_migration (
        name       text primary key,
        sha256     text not null,      -- of the file, lower-case hex
        applied_at timestamptz not null default now()
    )
"""
_APPLIED = "select name, sha256 from schema_migration order by name"
_RECORD = "insert into schema_migration (name, sha256) values (%s, %s)"

_FILE_NAME = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name, its content, and the digest that tells whether it was edited."""

    name: str
    content: bytes
    digest: str  # SHA-256, lower-case hex


def folder() -> Traversable:
    """The sql/ folder: in the installed package, or beside it in a source checkout. Raises BadConfig without one."""
    installed = files("mailrelay") / "share" / "sql"
    if installed.is_dir():
        return installed
    checkout = Path(__file__).resolve().parents[2] / "sql"
    if checkout.is_dir():
        return checkout
    raise BadConfig((f"{checkout}: the schema is missing from this installation",))


async def migrate(dsn: str, folder: Traversable, say: Callable[[str], None]) -> list[str]:
    """Names of the migrations that this call applied, in order; none when the database is current.

    folder: holds migrations/, as folder() gives it.
    say: gets one line before each file.
    Raises BadConfig when the files are not a sequence, Conflict when the database was built by other files or by a
    newer release, Unavailable when it cannot be reached. What was applied before stays.
    """
    migrations = _read(folder)
    done: list[str] = []
    try:
        async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
            while name := await _apply_next(conn, migrations, say):
                done.append(name)
    except OperationalError as error:
        raise Unavailable(f"the database cannot be migrated now: {error}") from error
    return done


async def pending(dsn: str, folder: Traversable) -> list[str]:
    """Names of the migrations that the database lacks, in order. Changes nothing; raises as migrate does."""
    migrations = _read(folder)
    try:
        async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
            return [migration.name for migration in _missing(migrations, await _applied(conn))]
    except OperationalError as error:
        raise Unavailable(f"the database cannot be reached: {error}") from error


async def _apply_next(
    conn: AsyncConnection[TupleRow], migrations: Sequence[Migration], say: Callable[[str], None]
) -> str | None:
    """Applies the first missing migration and gives its name; None when there is none."""
    async with conn.transaction():
        await conn.execute(_LOCK)
        missing = _missing(migrations, await _applied(conn))
        if not missing:
            return None
        first = missing[0]
        say(f"applying {first.name}")
        if first is migrations[0]:
            await conn.execute(_CREATE_TABLE)
        try:
            await conn.execute(first.content)
        except Error as error:
            error.add_note(f"while applying {first.name}; nothing of this file was kept")
            raise
        await conn.execute(_RECORD, (first.name, first.digest))
    return first.name


async def _applied(conn: AsyncConnection[TupleRow]) -> list[tuple[str, str]]:
    """Name and digest of every applied migration, in order."""
    row = await (await conn.execute(_TABLE_EXISTS)).fetchone()
    if row is None or not row[0]:
        return []
    return [(name, digest) for name, digest in await (await conn.execute(_APPLIED)).fetchall()]


def _missing(migrations: Sequence[Migration], applied: Sequence[tuple[str, str]]) -> Sequence[Migration]:
    """The migrations after the applied ones, which must be the first of ours, unedited. Raises Conflict."""
    for position, (name, digest) in enumerate(applied):
        if position >= len(migrations):
            raise Conflict(f"the database is newer than this release: it has {name}")
        ours = migrations[position]
        if ours.name != name:
            raise Conflict(f"the database was built by other migrations: it has {name} where we have {ours.name}")
        if ours.digest != digest:
            raise Conflict(f"{name} was edited after it was applied to this database")
    return migrations[len(applied) :]


def _read(folder: Traversable) -> list[Migration]:
    """All migrations in order. Raises BadConfig, which names every file that breaks the sequence."""
    found = (folder / "migrations").iterdir() if (folder / "migrations").is_dir() else ()
    paths = sorted((path for path in found if path.name.endswith(".sql")), key=lambda path: path.name)
    problems = [] if paths else [f"{folder}: holds no migrations"]
    expected = 1
    for path in paths:
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            problems.append(f"{path}: is not named like 0001_what.sql")
        elif int(match[1]) != expected:
            problems.append(f"{path}: number {expected:04d} was expected")
            expected = int(match[1]) + 1
        else:
            expected += 1
    if problems:
        raise BadConfig(tuple(problems))
    contents = [(path.name, path.read_bytes()) for path in paths]
    return [Migration(name, content, sha256(content).hexdigest()) for name, content in contents]
