"""Keys of recipients and their encryption, in memory: what is sealed can be opened again by the test."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mailrelay.core.certificate import Certificate, KeyUnusable, Unusable
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import RecipientId
from mailrelay.core.locks import Lock
from mailrelay.flows.sealing import Sealing

GOOD = b"good"
_BEGIN, _END = b"-----BEGIN PGP MESSAGE-----\r\n\r\n", b"-----END PGP MESSAGE-----\r\n"


@dataclass
class Locksmith:
    """locks: of those who want encryption; a key is good, or the name of why it cannot be used."""

    locks: dict[RecipientId, Lock] = field(default_factory=dict)
    given_up: list[Lock] = field(default_factory=list)
    down: bool = False
    foreign: bool = False  # what is encrypted is not for the service
    away: bool = False  # nobody knows who wants encryption
    jammed: bool = False  # what looked good cannot be encrypted to

    def lock(self, recipient: int, key: bytes = GOOD, **wishes: object) -> Lock:
        """Let a recipient have its copies encrypted."""
        number = RecipientId(recipient)
        made = Lock(number, key, "AB" * 20, **wishes)  # type: ignore[arg-type]
        self.locks[number] = made
        return made

    async def read(self, recipients: Sequence[RecipientId], /) -> Mapping[RecipientId, Lock]:
        if self.away:
            raise Unavailable("the database is away")
        return {number: self.locks[number] for number in recipients if number in self.locks}

    def look(self, key: bytes, /) -> Certificate | Unusable:
        if key == GOOD:
            return Certificate("AB" * 20, 4, "Ed25519", (), datetime(2026, 1, 1, tzinfo=UTC), None, 1, key)
        return Unusable(key.decode())

    async def encrypt(self, content: bytes, certificates: Sequence[bytes], /) -> bytes:
        if self.down:
            raise Unavailable("no memory")
        if self.jammed:
            raise KeyUnusable(Unusable.EXPIRED)
        assert list(certificates) == [GOOD]
        return armored(content)

    async def decrypt(self, octets: bytes, /) -> "Said | None":
        if self.down:
            raise Unavailable("no memory")
        return None if self.foreign else Said(opened(octets))

    async def give_up(self, lock: Lock, why: Unusable, /) -> None:
        self.given_up.append(lock)
        del self.locks[lock.recipient_id]

    @property
    def sealing(self) -> Sealing:
        return Sealing(
            self.read, self.look, self.encrypt, self.give_up, lambda octets: bytes(range(octets)), "X-Mailrelay-"
        )


@dataclass(frozen=True)
class Said:
    """What an encrypted message said."""

    content: bytes
    subject: bytes | None = b"What was hidden"


def armored(content: bytes) -> bytes:
    """Encrypted as the locksmith does it."""
    mixed = bytes(octet ^ 0x5A for octet in content)
    return _BEGIN + base64.encodebytes(mixed).replace(b"\n", b"\r\n") + _END


def opened(content: bytes) -> bytes:
    """What an encrypted copy says."""
    begin, end = content.index(_BEGIN) + len(_BEGIN), content.index(_END)
    return bytes(octet ^ 0x5A for octet in base64.b64decode(content[begin:end]))
