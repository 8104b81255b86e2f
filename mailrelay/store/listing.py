"""Pages of long lists, the newest id first, and how many rows there are on all of them: in one statement."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, LiteralString, TypeVar

from psycopg.rows import dict_row

from mailrelay.store.database import Database, compact
from mailrelay.store.manage import Connection

Item = TypeVar("Item")

# A statement that searches is planned for its values: how much a word finds differs too much. To find what most rows
# have, reading all of them is best.
_PLANNED = """
    select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', %(scan)s, true)
"""
_LONG_WORD = re.compile(r"[a-z0-9]{3}")
_WILD = re.compile(r"([\\%_])")

# How many rows are among so many ids in a row, as sql/schema.sql has it (list_tally).
BLOCK: LiteralString = "512"


async def read(
    database: Database, kind: type[Item], statement: LiteralString, values: Mapping[str, Any]
) -> tuple[list[Item], int]:
    """The rows of a page, whose columns are named like the fields of the dataclass `kind`, and how many there are."""
    async with database.connection() as conn:
        return await read_on(conn, kind, statement, values)


async def search(
    database: Database, kind: type[Item], statement: LiteralString, values: Mapping[str, Any]
) -> tuple[list[Item], int]:
    """The same of a statement with `contains`."""
    async with database.connection() as conn, conn.transaction():
        await plan(conn, scan=True)
        return await read_on(conn, kind, statement, values)


async def plan(conn: Connection, scan: bool) -> None:
    """Plan the statements of this transaction for their values. scan: they may read whole tables."""
    await conn.execute(_PLANNED, {"scan": "on" if scan else "off"})


def contains(column: LiteralString, name: LiteralString, text: str, values: dict[str, Any]) -> LiteralString:
    """That a column contains a folded text, which becomes a value of that name.

    The indexes of parts of words (sql/schema.sql, pg_trgm) know those of three letters.
    """
    if _LONG_WORD.search(text):
        values[f"{name}_like"] = f"%{literal(text)}%"
        return f"{column} like %({name}_like)s"
    values[f"{name}_part"] = text
    return f"strpos({column}, %({name}_part)s) > 0"


def literal(text: str) -> str:
    """For `like`, standing for itself."""
    return _WILD.sub(r"\\\1", text)


async def read_on(
    conn: Connection, kind: type[Item], statement: LiteralString, values: Mapping[str, Any]
) -> tuple[list[Item], int]:
    """The same in somebody's transaction."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values)
        rows = await cursor.fetchall()
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return [kind(**{name: row[name] for name in names}) for row in rows if row["id"] is not None], rows[0]["total"]


def tallied(table: LiteralString) -> LiteralString:
    """For `page`: counted by the table's triggers already."""
    return f"select block, rows from list_tally where list = '{table}'"


def found(table: LiteralString, where: LiteralString) -> LiteralString:
    """For `page`: counted now."""
    return f"select t.id / {BLOCK} as block, count(*) as rows from {table} t where {where} group by 1"


def page(
    table: LiteralString,
    columns: LiteralString,
    joined: LiteralString = "",
    where: LiteralString = "",
    counted: LiteralString = "",
    shown: LiteralString = "",
) -> LiteralString:
    """The statement for a page.

    Its rows are the total and the columns, one row without any id if the page is empty; values: limit and offset.
    table: `t`, also in joined, which are joins, and in where. counted: blocks and their rows, where it is known better
    than by reading all. shown: the table that columns and joined are of, with the same ids, if it is another one; `t`.

    A page is in few blocks, so only these are read, however far away it is and however few rows are wanted. The
    sum is a bigint, as psycopg sends small numbers as smallint.
    """
    wanted = where or "true"
    counted = counted or (found(table, where) if where else tallied(table))
    return compact(f"""
        with reached as materialized (
            select block, n, (sum(n) over (order by block desc))::bigint as upto
            from (select block, sum(rows)::bigint as n from ({counted}) c group by block having sum(rows) > 0) b
        ), needed as materialized (
            select block, upto - n as before from reached
            where upto > %(offset)s and upto - n < %(offset)s::bigint + %(limit)s
        ), page as materialized (
            select found.id
            from needed cross join lateral (
                select t.id from {table} t
                where t.id >= needed.block * {BLOCK} and t.id < (needed.block + 1) * {BLOCK} and {wanted}
                order by t.id desc limit {BLOCK}
            ) found
            order by found.id desc limit %(limit)s
            offset greatest(%(offset)s - (select min(before) from needed), 0)
        )
        select (select coalesce(max(upto), 0) from reached) as total, {columns}
        from (select) one left join (page join {shown or table} t on t.id = page.id {joined}) on true
        order by page.id desc
    """)
