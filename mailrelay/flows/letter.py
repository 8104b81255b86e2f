"""One message while it is being delivered: parsed once, shared by all its recipients."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime

from mailrelay.core import dkim
from mailrelay.core.address import Address
from mailrelay.core.author import author
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.header import Message, split
from mailrelay.core.ledger import Envelope, IngressKey, ingress_key
from mailrelay.core.plan import Mail
from mailrelay.core.receive import received_id

_INLINE_OCTETS = 256 * 1024


@dataclass(frozen=True, slots=True)
class Letter:
    """queue_id: from Postfix, else from the topmost Received field, else ''; author: of the From field."""

    mail: Mail
    message: Message
    key: IngressKey
    queue_id: str
    author: Address | None
    body_hash: bytes
    now: datetime
    began: float  # by time.perf_counter

    def envelope(self, rcpt: str, account_id: AccountId | None = None, alias_id: AliasId | None = None) -> Envelope:
        """The ledger's view of one recipient."""
        message_id = self.message.first(b"message-id") or b""
        return Envelope(
            key=self.key,
            queue_id=self.queue_id,
            message_id=message_id.decode("ascii", "replace"),
            sender=self.mail.sender,
            rcpt=rcpt.lower(),
            client=self.mail.client,
            size_octets=len(self.mail.content),
            account_id=account_id,
            alias_id=alias_id,
        )


async def open_letter(mail: Mail, now: datetime) -> Letter:
    """Parse a message. Large bodies are hashed in a thread, so that other mail goes on meanwhile."""
    began = time.perf_counter()
    message = split(mail.content)
    if len(mail.content) <= _INLINE_OCTETS:
        key, body_hash = _digests(mail, message)
    else:
        key, body_hash = await asyncio.to_thread(_digests, mail, message)
    return Letter(mail, message, key, mail.queue_id or received_id(message), author(message), body_hash, now, began)


def _digests(mail: Mail, message: Message) -> tuple[IngressKey, bytes]:
    return ingress_key(mail.queue_id, mail.content), dkim.body_hash(message.body)
