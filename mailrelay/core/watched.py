"""What a piece of the mail log comes to: news of copies that have left, and rejections."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mailrelay.core.facts import RecipientId
from mailrelay.core.ledger import OutboundId
from mailrelay.core.maillog import Delivery, Position
from mailrelay.core.rejection import Rejection
from mailrelay.core.verp import EmailType

_REMOTE_LENGTH = 300


@dataclass(frozen=True, slots=True)
class CopyNews:
    """What the log last said of a copy. rcpts: its recipient, folded, as delivered and before Postfix rewrote it.

    remote: in the words of whoever was asked, without the recipient's address.
    """

    outbound_id: OutboundId
    at: datetime
    rcpts: tuple[str, ...]
    remote: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Arrived:
    """A copy that its destination took, and of which this was not known. recipient_id: None for the operator's."""

    outbound_id: OutboundId
    type: EmailType
    recipient_id: RecipientId | None


@dataclass(frozen=True, slots=True)
class Written:
    """What is written of a piece of the log, together with how far it was read. news: the last of each copy."""

    before: Position
    after: Position
    rejections: Sequence[Rejection] = ()
    news: Sequence[CopyNews] = ()


def news(outbound_id: OutboundId, delivery: Delivery) -> CopyNews:
    """What an attempt to deliver a copy is worth telling."""
    rcpts = tuple(rcpt.lower() for rcpt in (delivery.rcpt, delivery.original_rcpt) if rcpt)
    sent = delivery.status == "sent"
    words = f"{delivery.relay} said: {delivery.text}" if sent else f"{delivery.status}: {delivery.text}"
    for rcpt in rcpts:
        words = re.sub(re.escape(rcpt), "[recipient]", words, flags=re.IGNORECASE)
    return CopyNews(outbound_id, delivery.at, rcpts, words[:_REMOTE_LENGTH], sent)
