"""Opens what an owner encrypted for the service, so that it can go on to the contact (spec section 4.9)."""

from dataclasses import dataclass, replace
from typing import Protocol

from mailrelay.core import dkim
from mailrelay.core.header import Message
from mailrelay.core.sending.unsealed import sealed, unsealed
from mailrelay.flows.letter import Letter, apart


class Said(Protocol):
    """What an encrypted message said. subject: unfolded, None if there was none inside that counts."""

    @property
    def content(self) -> bytes: ...
    @property
    def subject(self) -> bytes | None: ...


class Decrypt(Protocol):
    """None: it is not for the service's keys, or damaged. Raises Unavailable."""

    async def __call__(self, octets: bytes, /) -> Said | None: ...


@dataclass(frozen=True, slots=True)
class Unsealing:
    """What cannot be opened stays as it is: it may be meant for the contact."""

    decrypt: Decrypt

    async def __call__(self, letter: Letter, /) -> Letter:
        """The letter with the message that was inside; its key and its envelope stay. Raises Unavailable."""
        found = await apart(len(letter.mail.content), lambda: sealed(letter.message))
        said = await self.decrypt(found.octets) if found is not None else None
        if found is None or said is None:
            return letter

        def opened() -> tuple[Message, bytes]:
            message = unsealed(letter.message, said.content, said.subject, inline=found.inline)
            return message, dkim.body_hash(message.body)

        message, body_hash = await apart(len(said.content), opened)
        return replace(letter, message=message, body_hash=body_hash)
