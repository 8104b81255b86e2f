"""Encrypts copies for those who want it, and sorts out whose keys are of no use (spec sections 6.1 to 6.5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailrelay.core import pgpmime
from mailrelay.core.bans import BanBook
from mailrelay.core.certificate import Certificate, Unusable
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.facts import Reason, RecipientId, Target
from mailrelay.core.header import Message
from mailrelay.core.keytrouble import Useless
from mailrelay.core.letterhead import Header
from mailrelay.core.locks import EncryptionFailure, Lock
from mailrelay.core.pgpmime import Left, Wish
from mailrelay.flows.handover import Destination, destination
from mailrelay.flows.letter import apart

_BOUNDARY_OCTETS = 16


@dataclass(frozen=True, slots=True)
class Sorted:
    """Who gets which copy. ready: in their order; locks: of those among them who get it encrypted, by folded address.

    useless: whose keys cannot be used; those of them who take plain text then are ready as well.
    """

    ready: tuple[Target, ...]
    locks: Mapping[str, Lock]
    useless: tuple[Useless, ...] = ()

    def fated(self, fate: EncryptionFailure) -> tuple[Useless, ...]:
        """Those among the useless."""
        return tuple(one for one in self.useless if one.fate == fate)

    def destinations(self, bans: BanBook, now: datetime, *, held: bool = False) -> list[Destination]:
        """Who gets a copy, and who gets none after all. held: the mail is kept for those who are to wait for it."""
        found = [
            destination(one.id, one.address, bans, now, encrypted=one.address.folded in self.locks)
            for one in self.ready
        ]
        refused = (one.target for one in self.useless if one.fate == "stub" or (one.fate == "hold" and not held))
        return found + [Destination(one.id, one.address, Reason.KEY_UNUSABLE) for one in refused]


class ReadLocks(Protocol):
    """How recipients want their copies encrypted; those that do not are missing. Raises Unavailable."""

    async def __call__(self, recipients: Sequence[RecipientId], /) -> Mapping[RecipientId, Lock]: ...


class LookAt(Protocol):
    """What a key is worth now. Never raises."""

    def __call__(self, key: bytes, /) -> Certificate | Unusable: ...


class GiveUp(Protocol):
    """Switches encryption off for whoever wants that where the key is of no use, and tells them. Raises Unavailable."""

    async def __call__(self, lock: Lock, why: Unusable, /) -> None: ...


class Sort(Protocol):
    """Who of the recipients gets an encrypted copy, and who can get none. Raises Unavailable.

    message: as it came. wanted: False: a rule has switched encryption off, which some do not let it do.
    """

    async def __call__(self, message: Message, targets: Sequence[Target], /, *, wanted: bool = True) -> Sorted: ...


class Encrypt(Protocol):
    """The content signed by the service and encrypted to all of these, armored, with CRLF.

    Raises Malformed for a key that cannot be used, and Unavailable for trouble of our own.
    """

    async def __call__(self, content: bytes, certificates: Sequence[bytes], /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Sealing:
    """random: so many unpredictable octets; prefix: of our own field names."""

    read_locks: ReadLocks
    look: LookAt
    encrypt: Encrypt
    give_up: GiveUp
    random: Callable[[int], bytes]
    prefix: str

    async def sort(self, message: Message, targets: Sequence[Target], *, wanted: bool = True) -> Sorted:
        """See Sort."""
        asked = [target.id for target in targets if target.encrypts]
        found = await self.read_locks(asked) if asked else {}
        if not wanted:
            found = {number: lock for number, lock in found.items() if lock.never_plaintext}
        if found:
            found = await self._needed(message, found)
        ready, locks, useless = [], {}, []
        for target in targets:
            lock = found.get(target.id)
            checked = self.look(lock.key) if lock is not None else None
            if lock is not None and isinstance(checked, Unusable):
                useless.append(Useless(target, lock, checked))
                if useless[-1].fate != "plain":
                    continue
                await self.give_up(lock, checked)
            elif lock is not None:
                locks[target.address.folded] = lock
            ready.append(target)
        return Sorted(tuple(ready), locks, tuple(useless))

    async def _needed(self, message: Message, found: Mapping[RecipientId, Lock]) -> Mapping[RecipientId, Lock]:
        """Less those whom content like this reaches as it is (spec section 3.13)."""
        left = await apart(len(message.content), lambda: pgpmime.left(message))
        if left is None:
            return found
        return {} if left.is_encrypted else {number: lock for number, lock in found.items() if lock.never_plaintext}

    async def usable(self, recipient_id: RecipientId) -> Lock | None:
        """How mail to one recipient is encrypted now; None: it is not, or cannot be. Raises Unavailable."""
        lock = (await self.read_locks([recipient_id])).get(recipient_id)
        return None if lock is None or isinstance(self.look(lock.key), Unusable) else lock

    async def seal(self, header: Header, body: bytes, lock: Lock) -> tuple[Header, bytes] | None:
        """Header and body of an encrypted copy, not yet signed; None: it is encrypted already.

        header, body: as the copy would go out in clear. Raises Unavailable, also if the key is of no use any more: the
        next try finds out what is to become of the message.
        """
        boundary = pgpmime.boundary(self.random(_BOUNDARY_OCTETS))
        wish = Wish(self.prefix, lock.inline, lock.hide_subject, every_time=lock.never_plaintext)
        plain = await apart(len(body), lambda: pgpmime.sealed_form(header, body, wish, boundary))
        if isinstance(plain, Left):
            return None
        try:
            armored = await self.encrypt(plain.content, [lock.key])
        except Malformed as error:
            raise Unavailable(f"the key of recipient {lock.recipient_id} cannot be used: {error}") from error
        return pgpmime.outer(plain, armored, boundary)
