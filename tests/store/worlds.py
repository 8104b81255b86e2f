"""The two stores behind one face, for tests that hold the one in memory to the real one."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from mailrelay.core.address import parse_address
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Facts
from mailrelay.core.inquiry import Inquiry, inquire
from mailrelay.core.judge import Deliver
from mailrelay.core.ledger import Closing, Ending, Opened, Opening, OutboundCopy, OutboundId, Tally
from mailrelay.core.realm import Realm
from mailrelay.core.receivers import Receiver
from mailrelay.store.database import Database
from mailrelay.store.facts import FactsReader
from mailrelay.store.ledger import Ledger, unsigned
from mailrelay.store.newalias import AliasMaker
from mailrelay.store.receivers import ReceiverStore
from tests.unit.fakes import FakeStore

REALM = Realm(
    frozenset({"relay.example"}),
    "srs.relay.example",
    "bounces.relay.example",
    shared=frozenset({"alias.example", "second.example"}),
    custom=frozenset({"own.example", "rx.example", "theirs.example"}),
)


def utc_now() -> datetime:
    return datetime.now(UTC)


def about(rcpt: str, sender: str = "news@shop.example", author: str = "", client: str = "192.0.2.10") -> Inquiry:
    """The inquiry for mail to `rcpt`."""
    address = parse_address(rcpt)
    place = REALM.locate(address.domain)
    assert place is not None

    def organisation(domain: str) -> str:
        return ".".join(domain.split(".")[-2:])

    return inquire(address, place, sender, author, client, organisation)


class World(Protocol):
    """Rows by the columns of sql/schema.sql, and what the flows ask of a store."""

    async def insert(self, table: str, **values: Any) -> int: ...
    async def update(self, table: str, number: int, **values: Any) -> None: ...
    async def rows(self, table: str) -> Sequence[Mapping[str, Any]]: ...
    async def facts(self, inquiry: Inquiry) -> Facts: ...
    async def open(self, opening: Opening) -> Opened: ...
    async def close(self, closings: Sequence[Closing], tally: Tally | None) -> None: ...
    async def end(self, ending: Ending) -> None: ...
    async def bounced(self, outbound_id: OutboundId, status: str, text: str) -> None: ...
    async def outbound(self, outbound_id: OutboundId) -> OutboundCopy | None: ...
    async def note(self, receiver: str, refused_at: datetime, now: datetime, /) -> Receiver: ...
    async def make_alias(self, inquiry: Inquiry, verdict: Deliver, extension: str | None) -> None: ...


class InMemory:
    """The fake."""

    def __init__(self) -> None:
        self.store = FakeStore(utc_now, catch_all="catcher")
        self.facts = self.store.read_facts
        self.open = self.store.open
        self.close = self.store.close
        self.end = self.store.end
        self.bounced = self.store.bounced
        self.outbound = self.store.outbound
        self.note = self.store.note
        self.make_alias = self.store.make_alias

    async def insert(self, table: str, **values: Any) -> int:
        return self.store.insert(table, **values)

    async def update(self, table: str, number: int, **values: Any) -> None:
        self.store.update(table, number, **values)

    async def rows(self, table: str) -> Sequence[Mapping[str, Any]]:
        return self.store.rows(table)


class InPostgresql:
    """The real one. conn: for what the tests themselves write and read."""

    def __init__(self, conn: AsyncConnection[Any], database: Database) -> None:
        self.conn = conn
        self.database = database
        self.ledger = Ledger(database)
        self.make_alias = AliasMaker(database)
        self.bounced = self.ledger.bounced
        self.note = ReceiverStore(database).note

    async def insert(self, table: str, **values: Any) -> int:
        columns, places = ", ".join(values), ", ".join(f"%({name})s" for name in values)
        query = f"insert into {table} as t ({columns}) values ({places}) returning to_jsonb(t) ->> 'id'"
        row = await (await self.conn.execute(query.encode(), values)).fetchone()
        assert row is not None
        return int(row[0] or 0)

    async def update(self, table: str, number: int, **values: Any) -> None:
        changes = ", ".join(f"{name} = %({name})s" for name in values)
        await self.conn.execute(f"update {table} set {changes} where id = %(id)s".encode(), {**values, "id": number})

    async def rows(self, table: str) -> Sequence[Mapping[str, Any]]:
        cursor = self.conn.cursor(row_factory=dict_row)
        order = "recipient_id" if table == "ledger" else "1"
        rows = await (await cursor.execute(f"select * from {table} order by {order}".encode())).fetchall()
        for row in rows:
            for name in ("id",) if table == "outbound" else ("outbound_id",):
                if row.get(name) is not None:
                    row[name] = unsigned(row[name])
        return rows

    async def facts(self, inquiry: Inquiry) -> Facts:
        return (await FactsReader(self.database, "catcher").read([inquiry]))[0]

    async def open(self, opening: Opening) -> Opened:
        [opened] = await self.ledger.open([opening])
        if isinstance(opened, Unavailable):
            raise opened
        return opened

    async def close(self, closings: Sequence[Closing], tally: Tally | None) -> None:
        await self.ledger.close([(closings, tally)])

    async def end(self, ending: Ending) -> None:
        await self.ledger.end([ending])

    async def outbound(self, outbound_id: OutboundId) -> OutboundCopy | None:
        return (await self.ledger.outbound([outbound_id]))[0]
