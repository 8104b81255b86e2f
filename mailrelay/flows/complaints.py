"""The story of a complaint: somebody called mail of ours spam (spec section 7.8)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core import complaints
from mailrelay.core.bounce import Complaint
from mailrelay.core.complaints import About, Counted, Handled, Recorded
from mailrelay.core.ledger import OutboundCopy
from mailrelay.core.notices import Notice
from mailrelay.core.screen import day_number
from mailrelay.core.verp import EmailType
from mailrelay.flows.letter import Letter
from mailrelay.flows.ports import LedgerPort
from mailrelay.flows.rules import Rules


class ComplaintStore(Protocol):
    """As store.complaints.ComplaintStore. Both raise Unavailable."""

    async def about(self, copy: OutboundCopy) -> About: ...
    async def record(self, counted: Counted, told: Callable[[Recorded], Notice | None]) -> Recorded: ...


@dataclass(frozen=True, slots=True)
class Complaints:
    """Finds whose mail it is, counts, tells. Raises Unavailable."""

    rules: Rules
    ledger: LedgerPort
    store: ComplaintStore

    async def __call__(self, letter: Letter, complaint: Complaint, copy: OutboundCopy | None) -> Handled | None:
        """What was made of it. copy: the one whose return path the report came to, which proves that it is meant.

        None: it is about no copy that is known, so it is for the operator to read.
        """
        if copy is None:
            copy = await self._find(complaint, day_number(letter.now))
        if copy is None:
            metrics.COMPLAINTS.labels("unknown", "none").inc()
            return None
        if copy.account_id is None or not complaints.counts(complaint):
            metrics.COMPLAINTS.labels(copy.type.value, "none").inc()
            return Handled()
        about = await self.store.about(copy)
        counted = self._counted(complaint, copy, about)
        told = partial(complaints.notice, counted, about, copy.recipient_id)
        recorded = await self.store.record(counted, told)
        self._tell(counted, recorded)
        return Handled(alert=complaints.alert(counted, about, recorded) if recorded.first else None)

    async def _find(self, complaint: Complaint, today: int) -> OutboundCopy | None:
        around, prefix = self.rules.around, self.rules.identity.header_prefix
        for claim in complaints.claims(complaint, around.keys.verp, today):
            copy = await self.ledger.outbound(claim.outbound_id)
            if copy is None:
                continue
            alias = None if claim.proved else (await self.store.about(copy)).alias_uuid
            if claim.proved or (alias and complaints.is_proved(complaint, alias, prefix, around.keys.loop)):
                return copy
        return None

    def _counted(self, complaint: Complaint, copy: OutboundCopy, about: About) -> Counted:
        assert copy.account_id is not None  # the operator's copies are dealt with before
        forwarded = copy.type is EmailType.FORWARD
        writes = copy.type in (EmailType.REPLY, EmailType.SEND)
        return Counted(
            copy.id,
            copy.type,
            copy.account_id,
            copy.alias_id,
            complaints.sender_of(complaint, copy, about, self.rules.identity.header_prefix) if forwarded else "",
            copy.destination if writes else "",
            complaint.feedback_type,
        )

    @staticmethod
    def _tell(counted: Counted, recorded: Recorded) -> None:
        effects = {
            "repeated": not recorded.first,
            "counted": recorded.first,
            "blocked": recorded.blocked,
            "suspended": recorded.suspended,
        }
        for effect, there in effects.items():
            if there:
                metrics.COMPLAINTS.labels(counted.type.value, effect).inc()
        log.logger().warning(
            "complaint.recorded",
            type=counted.type.value,
            account=counted.account_id,
            alias=counted.alias_id,
            feedback=counted.feedback_type[:40],
            count=recorded.count,
            blocked=recorded.blocked,
            suspended=recorded.suspended,
        )
