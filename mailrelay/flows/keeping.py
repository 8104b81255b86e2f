"""Keeps a message for its owner's decision instead of sending it on (spec section 3.14)."""

from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from mailrelay.core.facts import REASON_TEXTS, Reason
from mailrelay.core.held import DENIED, Held, HeldKind, Hold, storable
from mailrelay.core.ledger import Envelope
from mailrelay.core.reply import ACCEPTED
from mailrelay.core.verp import EmailType
from mailrelay.flows.books import Done
from mailrelay.flows.letter import Letter
from mailrelay.flows.rules import Identity


class KeepMail(Protocol):
    """Keeps a message for its owner's decision; repeated, it does nothing. Raises Unavailable."""

    async def __call__(self, hold: Hold) -> Held: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that was kept. uuid: of the record that its owner knows it by, None if there is none any more."""

    done: Done
    uuid: UUID | None


async def held(
    keep: KeepMail,
    identity: Identity,
    letter: Letter,
    envelope: Envelope,
    kind: HeldKind,
    reason: Reason,
    *,
    org: str = "",
    type: EmailType = EmailType.FORWARD,
    bounce_type: Literal["spam", "rule"] | None = None,
    status: str = DENIED,
) -> Kept | None:
    """None: the account's room is full. org: the sender's organisational domain. Raises Unavailable."""
    name = f"{identity.header_prefix}ingress".lower().encode("ascii")
    hold = Hold(
        envelope,
        kind,
        reason,
        REASON_TEXTS[reason],
        identity.hostname,
        str(letter.author) if letter.author is not None else "",
        org,
        storable(letter.message, identity.header_prefix),
        evidence=letter.message.first(name) or b"",
        type=type,
        bounce_type=bounce_type,
        status=status,
    )
    kept = await keep(hold)
    if kept.no_room:
        return None
    return Kept(Done(ACCEPTED, "held", reason, envelope.account_id, envelope.alias_id), kept.uuid)
