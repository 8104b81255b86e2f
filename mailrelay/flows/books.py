"""What becomes of a recipient, in the words that the reply, the log, the metrics and the ledger share."""

from dataclasses import dataclass

from mailrelay.core.bans import BanId
from mailrelay.core.facts import AccountId, AliasId, Reason
from mailrelay.core.judge import Deny
from mailrelay.core.ledger import Ending, Envelope
from mailrelay.core.reply import ACCEPTED, Reply
from mailrelay.flows.handover import Handover
from mailrelay.flows.ports import LedgerPort
from mailrelay.flows.rules import Rules


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a recipient: the reply to Postfix, and the words for log and metrics."""

    reply: Reply
    outcome: str
    reason: Reason | None = None
    account_id: AccountId | None = None
    alias_id: AliasId | None = None
    copies: int = 0


@dataclass(frozen=True, slots=True)
class Books:
    """Ends the story of a recipient. Whatever writes raises Unavailable."""

    rules: Rules
    ledger: LedgerPort

    async def end(
        self, envelope: Envelope, reason: Reason, denied: Deny | None = None, ban_id: BanId | None = None
    ) -> Done:
        """Take the mail and send nothing; the row says why (spec section 2.4)."""
        blocked_by = denied.blocked_by if denied is not None else None
        await self.ledger.end(Ending(envelope, "discarded", reason, ban_id, blocked_by))
        return Done(ACCEPTED, "discarded", reason, envelope.account_id, envelope.alias_id)

    async def reject(self, envelope: Envelope, reply: Reply, reason: Reason) -> Done:
        """Refuse for good what waiting does not mend. Postfix had accepted it, so the books tell its end."""
        await self.ledger.end(Ending(envelope, "failed", reason))
        return Done(reply, "failed", reason)

    def wait(self, envelope: Envelope, reply: Reply, reason: Reason) -> Done:
        """Postfix keeps it and comes back."""
        return Done(reply, "deferred", reason, envelope.account_id, envelope.alias_id)

    def handed(self, envelope: Envelope, handover: Handover) -> Done:
        """What the fate of its copies means for the recipient."""
        if not handover.done:
            outcome, reply = "deferred", self.rules.replies["TEMP"]
        else:
            outcome, reply = ("failed" if handover.failed else "delivered"), ACCEPTED
        return Done(reply, outcome, handover.failed, envelope.account_id, envelope.alias_id, handover.delivered)


def is_settled_now(done: Done) -> bool:
    """Whether this try, and none before it, gave the recipient its end, as far as can be seen."""
    return done.outcome != "deferred" and (done.outcome != "delivered" or done.copies > 0)
