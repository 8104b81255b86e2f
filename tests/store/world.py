"""A small world in a fresh database, and short ways to add to it."""

import asyncio
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

Connection = AsyncConnection[TupleRow]

# Two accounts with a recipient each, two shared domains, and a custom domain and a username of the first account.
WORLD = """
    insert into account (name) values ('johndoe'), ('other');
    insert into recipient (account_id, address, verified_at)
        select id, name || '@Inbox.example', now() from account order by id;
    update account set default_recipient_id = recipient.id from recipient where account_id = account.id;
    insert into domain (name, mx_verified_at) values ('alias.example', now()), ('second.example', now());
    insert into domain (name, account_id, verified_at)
        select 'own.example', id, now() from account where name = 'johndoe';
    insert into username (account_id, name) select id, name from account where name = 'johndoe';
"""
JOHN, OTHER = 1, 2  # accounts, and their recipients: the identities of a fresh database begin at 1
ALIAS_EXAMPLE, SECOND_EXAMPLE, OWN_EXAMPLE = 1, 2, 3


async def insert(conn: Connection, table: str, **values: Any) -> int:
    """An ordinary insert, as any caller would write it; gives the row's id."""
    columns, places = ", ".join(values), ", ".join(f"%({name})s" for name in values)
    row = await (
        await conn.execute(f"insert into {table} ({columns}) values ({places}) returning id".encode(), values)
    ).fetchone()
    assert row is not None
    return int(row[0])


async def alias(conn: Connection, address: str, account: int = JOHN, **more: Any) -> int:
    local_part, _, domain = address.partition("@")
    return await insert(conn, "alias", account_id=account, local_part=local_part, domain=domain, **more)


async def handle(conn: Connection, local_part: str, account: int = JOHN, **more: Any) -> int:
    return await insert(conn, "handle", account_id=account, local_part=local_part, **more)


async def attach(conn: Connection, alias_id: int, recipient_id: int) -> None:
    await conn.execute("insert into alias_recipient (alias_id, recipient_id) values (%s, %s)", (alias_id, recipient_id))


async def value(conn: Connection, query: str, *arguments: Any) -> Any:
    row = await (await conn.execute(query.encode(), arguments)).fetchone()
    return row[0] if row else None


async def until_waiting(conn: Connection, count: int = 1) -> None:
    """Returns when so many other connections to this database wait for a lock."""
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with asyncio.timeout(20):
        while await value(conn, query) != count:  # each time the server is asked
            await conn.execute("select pg_stat_clear_snapshot()")  # else a transaction sees the first answer again


class Violates:
    """`with Violates('name'):` the block must break the constraint of that name."""

    def __init__(self, constraint: str) -> None:
        self.constraint = constraint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        assert isinstance(error, psycopg.IntegrityError), f"{self.constraint} did not refuse: {error!r}"
        assert error.diag.constraint_name == self.constraint, str(error)
        return True


async def release(conn: Connection, handle_id: int) -> None:
    await conn.execute(
        "update handle set state = 'released', account_id = null, recipient_id = null, released_at = now()"
        " where id = %s",
        (handle_id,),
    )
