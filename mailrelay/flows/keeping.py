"""Keeps a message for its owner's decision instead of sending it on (spec section 3.14)."""

from typing import Literal, Protocol

from mailrelay.core.facts import REASON_TEXTS, Reason
from mailrelay.core.held import Held, HeldKind, Hold, storable
from mailrelay.core.ledger import Envelope
from mailrelay.core.reply import ACCEPTED
from mailrelay.core.verp import EmailType
from mailrelay.flows.books import Done
from mailrelay.flows.letter import Letter
from mailrelay.flows.rules import Identity


class KeepMail(Protocol):
    """Keeps a message for its owner's decision; repeated, it does nothing. Raises Unavailable."""

    async def __call__(self, hold: Hold) -> Held: ...


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
) -> Done | None:
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
    )
    if (await keep(hold)).no_room:
        return None
    return Done(ACCEPTED, "held", reason, envelope.account_id, envelope.alias_id)
