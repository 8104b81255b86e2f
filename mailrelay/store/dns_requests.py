"""Proposals of domains as plain records, which administrators edit (haltman-api.md section 3.24)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row
from psycopg.sql import SQL, Composed, Identifier, Placeholder
from psycopg.types.json import Jsonb

from mailrelay.core.errors import Absent, Conflict
from mailrelay.core.onboarding import Request
from mailrelay.store.database import Database, constraint
from mailrelay.store.listing import page, read
from mailrelay.store.manage import Connection, note, record
from mailrelay.store.proposals import COLUMNS

_FILTERS: Mapping[str, LiteralString] = {
    "target": "position(%(target)s in t.target) > 0",
    "type": "t.type = %(type)s",
    "status": "t.status = %(status)s",
}
_ONE: LiteralString = f"select {COLUMNS} from dns_request where id = %(id)s"
_REMOVE: LiteralString = f"delete from dns_request where id = %(id)s returning {COLUMNS}"


@dataclass(frozen=True, slots=True)
class DnsRequests:
    """All raise Unavailable. values: by columns."""

    database: Database

    async def page(
        self, target: str | None, kind: str | None, status: str | None, limit: int, offset: int
    ) -> tuple[list[Request], int]:
        """Those of a page, the newest first, and how many there are in all. target: part of it."""
        values = {"target": target, "type": kind, "status": status}
        where: LiteralString = " and ".join(_FILTERS[name] for name in values if values[name] is not None)
        statement = page("dns_request", "t.*", where=where, shown=f"(select {COLUMNS} from dns_request)")
        return await read(self.database, Request, statement, {**values, "limit": limit, "offset": offset})

    async def one(self, request: int) -> Request:
        """Raises Absent."""
        async with self.database.connection() as conn:
            return await _found(conn, _ONE, request)

    async def add(self, values: Mapping[str, Any], actor: str) -> Request:
        """Raises Conflict if that domain and type has one."""
        names = SQL(", ").join(map(Identifier, values))
        places = SQL(", ").join(map(Placeholder, values))
        query = SQL("insert into dns_request ({}) values ({}) returning {}").format(names, places, SQL(COLUMNS))
        async with self.database.connection() as conn, conn.transaction():
            return await _written(conn, query, values, "add", actor)

    async def change(self, request: int, values: Mapping[str, Any], actor: str) -> Request:
        """Raises Absent, and Conflict if another one has that domain and type."""
        sets = SQL(", ").join(SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in values)
        query = SQL("update dns_request set {} where id = {} returning {}").format(
            sets, Placeholder("id"), SQL(COLUMNS)
        )
        async with self.database.connection() as conn, conn.transaction():
            return await _written(conn, query, {**values, "id": request}, "set", actor)

    async def remove(self, request: int, actor: str) -> Request:
        """As it was before. Raises Absent."""
        async with self.database.connection() as conn, conn.transaction():
            gone = await _found(conn, _REMOVE, request)
            await note(conn, actor, None, "dns_request.remove", "dns_request", gone.id, _detail(gone))
        return gone


async def _found(conn: Connection, query: LiteralString, request: int) -> Request:
    found = await record(conn, Request, query, {"id": request})
    if found is None:
        raise Absent(f"there is no request {request}")
    return found


async def _written(conn: Connection, query: Composed, values: Mapping[str, Any], verb: str, actor: str) -> Request:
    """The row after that statement, noted for the audit."""
    stored = {
        name: Jsonb(value) if name == "last_result" and value is not None else value for name, value in values.items()
    }
    with _conflicts():
        async with conn.cursor(row_factory=class_row(Request)) as cursor:
            row = await (await cursor.execute(query, stored)).fetchone()
    if row is None:
        raise Absent(f"there is no request {values['id']}")
    await note(conn, actor, None, f"dns_request.{verb}", "dns_request", row.id, _detail(row))
    return row


@contextmanager
def _conflicts() -> Iterator[None]:
    try:
        yield
    except UniqueViolation as error:
        if constraint(error) == "dns_request_target_unique":
            raise Conflict("there is a request of that domain and type") from error
        raise


def _detail(request: Request) -> dict[str, object]:
    return {"target": request.target, "type": request.type, "status": request.status}
