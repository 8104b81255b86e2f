"""Copies that bounce, made in a few words."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from psycopg.rows import dict_row

from mailrelay.core.bounce import BounceType, Failure
from mailrelay.core.bounced import Bounced, Recorded
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.ledger import Closing, Envelope, IngressKey, Opening, OutboundCopy, OutboundId, Sent, Tally
from mailrelay.core.notices import Notice, from_json
from mailrelay.core.sealed import vault
from mailrelay.core.verp import EmailType
from mailrelay.store.bounces import BounceStore
from mailrelay.store.database import Database
from mailrelay.store.ledger import Ledger
from tests.store.world import JOHN, Connection, alias

VAULT = vault([b"a secret of the installation"])
MAILBOX = "johndoe@inbox.example"
CONTACT = "Friend@elsewhere.example"
GONE = Failure("5.1.1", "smtp; 550 5.1.1 no such user", "mx.inbox.example", MAILBOX, BounceType.HARD)
HARD = replace(GONE, status="5.5.0", code="smtp; 554 5.5.0 transaction failed")
SOFT = replace(GONE, status="5.2.2", code="smtp; 552 5.2.2 mailbox full", type=BounceType.SOFT)
SPAM = replace(GONE, status="5.7.1", code="smtp; 554 5.7.1 looks like spam", type=BounceType.SPAM)
CONTENT = b"From: news@shop.example\r\nSubject: shoes\r\n\r\nnew shoes\x00\xff\r\n"

Row = Mapping[str, Any]


class Desk:
    """Makes copies and reports. conn: what the tests themselves write and read."""

    def __init__(self, conn: Connection, database: Database) -> None:
        self.conn = conn
        self.ledger = Ledger(database)
        self.store = BounceStore(database, VAULT, secrets.token_bytes, room_octets=3 * len(CONTENT))
        self.alias_id = AliasId(0)
        self._numbers = count(0xF123456789ABCD00)

    def opening(self, kind: EmailType = EmailType.FORWARD, **more: Any) -> Opening:
        """A new copy of a new message, unless `key` says of which."""
        number = next(self._numbers)
        key = more.pop("key", IngressKey(number.to_bytes(16, "big")))
        destination = more.pop("destination", CONTACT if kind in (EmailType.REPLY, EmailType.SEND) else MAILBOX)
        envelope = Envelope(
            key, "4XyZ", "<1@shop.example>", "b@shop.example", "a1@alias.example", "", 9, AccountId(JOHN), self.alias_id
        )
        return Opening(
            envelope,
            more.pop("recipient", JOHN),
            OutboundId(number),
            destination,
            kind,
            "rewrite" if kind is EmailType.FORWARD else None,
            **more,
        )

    async def close(self, *openings: Opening, counted: bool = True) -> None:
        first = openings[0]
        kind, account, alias_id = first.type, first.envelope.account_id, first.envelope.alias_id
        sent = None
        if kind in (EmailType.REPLY, EmailType.SEND):
            sent = Sent(kind, first.destination, is_new=False, automatic=False, our_id="<2@alias>", original_id=None)
        tally = None
        if counted and account is not None and alias_id is not None:
            tally = Tally(account, alias_id, "", 9, sent)
        await self.ledger.close([([Closing(one.outbound_id, "delivered") for one in openings], tally)])

    async def copy(self, kind: EmailType = EmailType.FORWARD, **more: Any) -> OutboundCopy:
        """A copy that went out."""
        opening = self.opening(kind, **more)
        await self.ledger.open([opening])
        await self.close(opening, counted=kind is not EmailType.NOTIFICATION)
        return await self.known(opening.outbound_id)

    async def known(self, outbound_id: OutboundId) -> OutboundCopy:
        [copy] = await self.ledger.outbound([outbound_id])
        assert copy is not None
        return copy

    async def bounce(self, failure: Failure = GONE, kind: EmailType = EmailType.FORWARD, **more: Any) -> Recorded:
        return await self.store.record(bounced(await self.copy(kind, **more), failure))

    async def rows(self, table: str) -> Sequence[Row]:
        cursor = self.conn.cursor(row_factory=dict_row)
        return await (await cursor.execute(f"select * from {table} order by 1".encode())).fetchall()

    async def row(self, table: str) -> Row:
        [row] = await self.rows(table)
        return row

    async def alias_row(self) -> tuple[int, int, int]:
        cursor = await self.conn.execute("select emails_forwarded, emails_replied, emails_sent from alias")
        [row] = await cursor.fetchall()
        return row[0], row[1], row[2]

    async def recipient(self, number: int = JOHN) -> Row:
        return next(row for row in await self.rows("recipient") if row["id"] == number)

    async def notices(self) -> list[Notice]:
        return [from_json(row["payload"]) for row in await self.rows("job") if row["kind"] == "notice"]


def bounced(copy: OutboundCopy, failure: Failure = GONE, **more: Any) -> Bounced:
    values: dict[str, Any] = {
        "author": "news@shop.example",
        "subject": b"shoes",
        "content": CONTENT,
        "partial": False,
        "evidence": b"v=1",
        "host": "mx.relay.example",
        **more,
    }
    return Bounced(copy, failure, **values)


async def desk_of(conn: Connection, database: Database) -> Desk:
    """An alias of the first account, whose mail log is read."""
    desk = Desk(conn, database)
    desk.alias_id = AliasId(await alias(conn, "a1@alias.example"))
    await conn.execute("insert into log_position (source) values ('mx /var/log/mail.log')")
    return desk
