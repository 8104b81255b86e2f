"""Bounces and recipients that fail, in memory beside the FakeStore; held to the real one by tests/store/test_clinic.py.

Contacts, jobs and windows of counters are left out: nobody but the database reads them.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mailrelay.core.bounce import BounceType
from mailrelay.core.bounced import Bounced, Recorded
from mailrelay.core.facts import Reason, RecipientId
from mailrelay.core.failed import FailedId, record_uuid
from mailrelay.core.failing import Health, after_failure, probe_due
from mailrelay.core.verp import EmailType
from tests.unit.fakes import FakeStore, Row

_COUNTERS = {EmailType.FORWARD: "emails_forwarded", EmailType.REPLY: "emails_replied", EmailType.SEND: "emails_sent"}


class FakeClinic:
    """What BounceStore and FailingStore do, with a mail log that is read. bounced: what was recorded, in order."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.bounced: list[Bounced] = []

    async def _run(self, operation: str, action: Callable[[], Any]) -> Any:
        return await self.store._run(operation, action)

    async def record(self, bounced: Bounced) -> Recorded:
        recorded: Recorded = await self._run("record", lambda: self._record(bounced))
        return recorded

    def _record(self, bounced: Bounced) -> Recorded:
        copy, failure, store = bounced.copy, bounced.failure, self.store
        row, uuid = store.row("outbound", id=copy.id), record_uuid("bounce", copy.id)
        known = store.row("failed_delivery", uuid=uuid)
        failed_id = FailedId(known["id"]) if known is not None else None
        if row is None or row["bounce_count"]:
            if row is not None:
                row["bounce_count"] += 1
            return Recorded(False, failed_id)
        row.update(bounce_count=1, bounced_at=store.clock(), bounce_status=failure.status, bounce_text=failure.code)
        for entry in store.rows("ledger", outbound_id=copy.id):
            if entry["outcome"] in ("queued", "delivered"):
                entry.update(outcome="failed", reason=Reason.BOUNCE)
                self._count_back(bounced, entry)
        if copy.account_id is None:
            return Recorded(True, None)
        self.bounced.append(bounced)
        if copy.type is EmailType.FORWARD:
            self._fail(bounced)
        notification = copy.type is EmailType.NOTIFICATION
        account = store.row("account", id=copy.account_id)
        number = store.insert(
            "failed_delivery",
            uuid=uuid,
            account_id=copy.account_id,
            alias_id=copy.alias_id,
            recipient_id=copy.recipient_id,
            outbound_id=copy.id,
            email_type=row["notice"] or "N" if notification else copy.type.value,
            bounce_type=failure.type.value,
            status=failure.status or None,
            code=failure.code or None,
            remote_mta=failure.remote_mta or bounced.host,
            resent=False,
            quarantined=False,
            is_stored=bool(bounced.content is not None and not notification and account["store_failed_deliveries"]),  # type: ignore[index]
        )
        return Recorded(True, FailedId(number))

    def _count_back(self, bounced: Bounced, entry: Row) -> None:
        counter, forward = _COUNTERS.get(bounced.copy.type), bounced.copy.type is EmailType.FORWARD
        copies = self.store.rows("ledger", ingress_key=entry["ingress_key"], rcpt=entry["rcpt"])
        if counter is None or (forward and sum(row["recipient_id"] != 0 for row in copies) > 1):
            return
        for row in self.store.rows("alias", id=bounced.copy.alias_id):
            row[counter] = max(0, row[counter] - 1)

    def _fail(self, bounced: Bounced) -> None:
        failure = bounced.failure
        for row in self.store.rows("recipient", id=bounced.copy.recipient_id):
            if row["address"].lower() != bounced.copy.destination.lower() or failure.type is not BounceType.HARD:
                continue
            before = Health(
                row["failing_since"], row["last_success_at"], row["hard_failures"] or 0, row["first_hard_failure_at"]
            )
            row.update(asdict(after_failure(before, failure.type, failure.status, self.store.clock(), watched=True)))

    async def take_probe(self, recipient_id: RecipientId) -> bool:
        taken: bool = await self._run("take_probe", lambda: self._take_probe(recipient_id))
        return taken

    def _take_probe(self, recipient_id: RecipientId) -> bool:
        row, now = self.store.row("recipient", id=recipient_id), self.store.clock()
        if row is None or row["failing_since"] is None:
            return row is not None
        due = probe_due(row["failing_since"], row["probed_at"], now)
        if due:
            row["probed_at"] = now
        return due
