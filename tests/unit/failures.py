"""Failed deliveries in memory, over an office, and the story of their resends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from mailrelay.core.errors import Absent, Unavailable
from mailrelay.core.facts import AccountId, AliasId, Target
from mailrelay.core.failed import (
    AlreadyResent,
    FailedId,
    FailedMessage,
    FailedRecord,
    NotStored,
    record_uuid,
)
from mailrelay.core.ledger import OutboundId
from mailrelay.core.plan import Copy
from mailrelay.flows.handover import Dispatcher, Handover
from mailrelay.flows.order import Order
from mailrelay.flows.release import Release
from mailrelay.flows.remake import Remake
from mailrelay.flows.resend import Resend
from tests.unit.fakes import NOW, FakeStore, counter
from tests.unit.office import CLIENT, MESSAGE, SENDER, Office, new_office
from tests.unit.shelf import FakeShelf

REAL, SECOND = "real@inbox.example", "second@inbox2.example"
COPY_ID = OutboundId(0x0123456789ABCDEF)
UUID_172 = record_uuid("bounce", COPY_ID)

RECORD = FailedRecord(
    id=FailedId(1),
    uuid=UUID_172,
    account_id=AccountId(1),
    account_uuid=UUID(int=1),
    account="johndoe",
    alias_uuid=UUID(int=1),
    alias="a1@alias.example",
    recipient_uuid=UUID(int=1),
    recipient=REAL,
    email_type="F",
    bounce_type="hard",
    status="5.1.1",
    code="smtp; 550 5.1.1 no such user",
    remote_mta="mx.inbox.example",
    sender="news@shop.example",
    destination=REAL,
    subject="Your order 77",
    is_stored=True,
    partial=False,
    size_octets=len(MESSAGE),
    quarantined=False,
    resent=False,
    ir_dedupe_key=None,
    queue_id="4XyZ12AbCd",
    attempted_at=NOW,
    created_at=NOW,
    updated_at=NOW,
)
STORED = FailedMessage(
    id=RECORD.id,
    uuid=UUID_172,
    account_id=AccountId(1),
    alias_id=AliasId(1),
    alias="a1@alias.example",
    outbound_id=COPY_ID,
    destination=REAL,
    author="news@shop.example",
    rcpt="a1@alias.example",
    sender=SENDER,
    client=CLIENT,
    queue_id="4XyZ12AbCd",
    message_id="<20260106.77@shop.example>",
    content=MESSAGE,
    partial=False,
    evidence=b"",
    attempted_at=NOW,
)


@dataclass
class FailedShelf:
    """One message. A lease does not run out by itself."""

    store: FakeStore
    message: FailedMessage | None = STORED
    resent_by: list[str] = field(default_factory=list)
    leased: bool = False

    async def _run(self, operation: str, action: Callable[[], Any]) -> Any:
        return await self.store._run(operation, action)

    async def take(self, failed_id: FailedId) -> FailedMessage:
        message: FailedMessage = await self._run("take", self._take)
        return message

    def _take(self) -> FailedMessage:
        if self.message is None:
            raise NotStored("only the record is kept")
        if self.resent_by:
            raise AlreadyResent("it has already been resent")
        if self.leased:
            raise Unavailable("it is being resent at this moment")
        self.leased = True
        return self.message

    async def give_back(self, failed_id: FailedId) -> None:
        await self._run("give_back", self._give_back)

    def _give_back(self) -> None:
        self.leased = False

    async def resent(self, failed_id: FailedId, actor: str) -> None:
        await self._run("resent", lambda: self._resent(actor))

    def _resent(self, actor: str) -> None:
        self.leased = False
        if not self.resent_by:
            self.resent_by.append(actor)

    async def one(self, key: FailedId | UUID, account: AccountId | None = None) -> FailedRecord:
        if key not in (RECORD.id, RECORD.uuid) or account not in (None, RECORD.account_id):
            raise Absent(f"there is no failed delivery {key}")
        return self.record

    async def mailboxes(self, account: AccountId, addresses: Sequence[str]) -> Sequence[tuple[str, UUID | None]]:
        rows = {row["address"]: row["uuid"] for row in self.store.rows("recipient", account_id=account)}
        return [(address, rows.get(address)) for address in addresses]

    @property
    def record(self) -> FailedRecord:
        return replace(RECORD, is_stored=self.message is not None, resent=bool(self.resent_by))


@dataclass
class Counter:
    """Where failed deliveries are resent. orders: whose copies were wanted; counted: for which organisations."""

    office: Office = field(default_factory=new_office)
    orders: list[Order] = field(default_factory=list)
    counted: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shelf = FailedShelf(self.office.store)
        self.held = FakeShelf(self.office.store)
        self.restart()

    def restart(self) -> None:
        """A new process: it remembers nothing, and the lease of the old one has run out."""
        office, store = self.office, self.office.store
        self.shelf.leased = False
        self.dispatcher = Dispatcher(store, office.outside, counter(77))
        release = Release(
            office.rules,
            self.held,
            store.read_facts,
            store.read_background,
            office.ruling,
            office.sending,
            self.make,
            office.clock,
        )
        self.resend = Resend(
            office.rules,
            self.shelf,
            store.read_facts,
            store.read_background,
            store.read_targets,
            release,
            self.make,
            office.clock,
        )

    async def make(self, order: Order, targets: Sequence[Target], org: str | None) -> Handover:
        self.orders.append(order)
        self.counted.append(org)
        office = self.office
        make = Remake(office.rules, office.composer, self.dispatcher, office.locksmith.sealing.sort)
        return await make(order, targets, org)

    @property
    def copies(self) -> list[Copy]:
        return self.office.outside.copies

    @property
    def contents(self) -> list[bytes]:
        return [b"".join(copy.content) for copy in self.copies]

    def store(self, **values: Any) -> None:
        """What lies there instead."""
        self.shelf.message = replace(STORED, **values)

    async def first_copy(self, rcpt: str = "a1@alias.example", content: bytes = MESSAGE) -> bytes:
        """The copy that fails: the message is delivered, and the counter's clock goes on for an hour."""
        await self.office.deliver(rcpt, content=content)
        copy = b"".join(self.copies[0].content)
        self.copies.clear()
        self.office.now += timedelta(hours=1)
        return copy
