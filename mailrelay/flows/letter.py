"""One message while it is being delivered: parsed once, shared by all its recipients."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from mailrelay.core import dkim, loopguard
from mailrelay.core.address import Address
from mailrelay.core.author import author
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.header import Message, split
from mailrelay.core.ingress import Ingress, Invalid
from mailrelay.core.ledger import Envelope, IngressKey, ingress_key
from mailrelay.core.plan import Mail
from mailrelay.core.receive import received_id

INLINE_OCTETS = 256 * 1024
_NOT_READ = Invalid("nobody looked")

T = TypeVar("T")
# What the milter says of a message, or why nothing it says can be believed.
ReadIngress = Callable[[Message], Ingress | Invalid]


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
    ingress: Ingress | Invalid = _NOT_READ
    returned: bool = False  # see loopguard.is_returned
    answers: bool = False  # it came to the return path of a reply or send, and goes to the alias
    _fingerprint: list[int] = field(default_factory=list)

    @property
    def checked(self) -> Ingress | None:
        """What the milter found out, None if it has not seen the message."""
        return self.ingress if isinstance(self.ingress, Ingress) else None

    @property
    def message_id(self) -> str:
        """As the ledger has it, '' if there is none."""
        return (self.message.first(b"message-id") or b"").decode("ascii", "replace")

    @property
    def fingerprint(self) -> int:
        """The number by which arrivals of this message are told."""
        if not self._fingerprint:
            self._fingerprint.append(loopguard.fingerprint(self.message, self.author, returned=self.returned))
        return self._fingerprint[0]

    def envelope(self, rcpt: str, account_id: AccountId | None = None, alias_id: AliasId | None = None) -> Envelope:
        """The ledger's view of one recipient."""
        return Envelope(
            key=self.key,
            queue_id=self.queue_id,
            message_id=self.message_id,
            sender=self.mail.sender,
            rcpt=rcpt.lower(),
            client=self.mail.client,
            size_octets=len(self.mail.content),
            account_id=account_id,
            alias_id=alias_id,
            fingerprint=self.fingerprint,
        )


async def apart(octets: int, work: Callable[[], T]) -> T:
    """Large messages are worked on in a thread, so that other mail goes on meanwhile."""
    return work() if octets <= INLINE_OCTETS else await asyncio.to_thread(work)


async def open_letter(mail: Mail, now: datetime, read: ReadIngress = lambda message: _NOT_READ) -> Letter:
    """Parse a message."""
    began = time.perf_counter()
    message = split(mail.content)
    key, body_hash = await apart(len(mail.content), lambda: _digests(mail, message))
    queue_id = mail.queue_id or received_id(message)
    return Letter(mail, message, key, queue_id, author(message), body_hash, now, began, read(message))


def _digests(mail: Mail, message: Message) -> tuple[IngressKey, bytes]:
    return ingress_key(mail.queue_id, mail.content), dkim.body_hash(message.body)
