"""Held mail in memory, beside the FakeStore; tests/store/test_held.py holds it to the real store."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from mailrelay.core.errors import Absent, Conflict, Unavailable
from mailrelay.core.held import Held, HeldId, HeldMessage, Hold
from mailrelay.core.ledger import Envelope
from tests.unit.fakes import FakeStore, Row


class FakeShelf:
    """Keeps messages as rows of failed_delivery, unencrypted. A lease does not run out by itself."""

    def __init__(self, store: FakeStore, room_octets: int = 1 << 30) -> None:
        self.store = store
        self.room_octets = room_octets

    async def _run(self, operation: str, action: Callable[[], Any]) -> Any:
        return await self.store._run(operation, action)

    async def hold(self, hold: Hold) -> Held:
        held: Held = await self._run("hold", lambda: self._hold(hold))
        return held

    def _hold(self, hold: Hold) -> Held:
        envelope, store = hold.envelope, self.store
        rows = store.rows("ledger", ingress_key=envelope.key, rcpt=envelope.rcpt)
        whole = [row for row in rows if row["recipient_id"] == 0]
        if whole:
            record = store.row("failed_delivery", ledger_id=whole[0]["id"])
            return Held(None, False) if record is None else _held(record)
        if rows and all(row["outcome"] != "queued" for row in rows):
            return Held(None, False)
        kept = sum(len(row["content"] or b"") for row in store.rows("failed_delivery", account_id=envelope.account_id))
        fits = hold.content is not None and kept + len(hold.content) <= self.room_octets
        if hold.content is not None and not fits:
            return Held(None, False, no_room=True)
        entry = store.insert(
            "ledger",
            ingress_key=envelope.key,
            queue_id=envelope.queue_id,
            rcpt=envelope.rcpt,
            sender=envelope.sender,
            account_id=envelope.account_id,
            alias_id=envelope.alias_id,
            recipient_id=0,
            outcome="held",
            reason=hold.reason,
        )
        number = store.insert(
            "failed_delivery",
            account_id=envelope.account_id,
            ledger_id=entry,
            resent=False,
            is_stored=fits,
            content=hold.content if fits else None,
            hold=hold,
            quarantined=hold.kind == "quarantined",
        )
        for subject in {"", hold.sender_org}:
            store.use(int(envelope.account_id or 0), "message", subject, 1)
        for row in store.rows("alias", id=envelope.alias_id):
            row["emails_blocked"] += 1
        return Held(HeldId(number), fits, uuid=UUID(int=number))

    async def take(self, held_id: HeldId) -> HeldMessage:
        message: HeldMessage = await self._run("take", lambda: self._take(held_id))
        return message

    def _take(self, held_id: HeldId) -> HeldMessage:
        row = self._record(held_id)
        state = self.state(row)
        if state != "held":
            raise Conflict(f"{held_id} was {state} before")
        if row["content"] is None:
            raise Conflict(f"of {held_id} only the record is kept")
        if row["leased"]:
            raise Unavailable(f"{held_id} is being released at this moment")
        row["leased"] = True
        hold: Hold = row["hold"]
        envelope: Envelope = hold.envelope
        return HeldMessage(
            held_id,
            row["uuid"],
            envelope,
            hold.kind,
            hold.type,
            hold.reason.value,
            row["content"],
            hold.evidence,
            row["created_at"],
        )

    async def give_back(self, held_id: HeldId) -> None:
        await self._run("give_back", lambda: self._record(held_id).update(leased=False))

    async def released(self, held_id: HeldId, actor: str) -> None:
        await self._run("released", lambda: self._released(held_id))

    def _released(self, held_id: HeldId) -> None:
        record = self._record(held_id)
        record.update(resent=True, leased=False)
        entry = self.store.row("ledger", id=record["ledger_id"])
        if entry is not None and entry["outcome"] == "held":
            self.store.tables["ledger"].remove(entry)

    def state(self, record: Row) -> str:
        """held, released or discarded."""
        if record["resent"]:
            return "released"
        entry = self.store.row("ledger", id=record["ledger_id"])
        return "held" if entry is not None and entry["outcome"] == "held" else "discarded"

    def _record(self, held_id: HeldId) -> Row:
        row = self.store.row("failed_delivery", id=held_id)
        if row is None:
            raise Absent(f"there is no held message {held_id}")
        return row


def _held(record: Row) -> Held:
    return Held(HeldId(record["id"]), record["content"] is not None, uuid=UUID(int=record["id"]))
