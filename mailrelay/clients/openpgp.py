"""Signs and encrypts mail for recipients' OpenPGP keys, and decrypts what was encrypted to the service's own.

Small messages are encrypted at once, in less time than handing them over takes; large ones, and all that is decrypted
(a few octets can unfold to gigabytes), go to a process of their own.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mailrelay.clients import sequoia
from mailrelay.clients.pgppool import Job, Pool
from mailrelay.core.certificate import Certificate, KeyUnusable, Unusable
from mailrelay.core.contenttype import content_type
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.header import split, unfold
from mailrelay.core.pgppackets import examine, inspect

INLINE_OCTETS = 256 * 1024
MAX_DECRYPTED_OCTETS = 64 << 20
KEPT_KEYS = 256
_PROOF = b"proof"


@dataclass(frozen=True, slots=True)
class Decrypted:
    """What a message said."""

    content: bytes

    @property
    def subject(self) -> bytes | None:
        """The subject inside, unfolded, if the content is a MIME entity that says it protects header fields."""
        message = split(self.content)
        params = content_type(unfold(message.first(b"content-type") or b"")).params
        if b"hp" not in params and b"protected-headers" not in params:
            return None
        return message.first(b"subject")


@dataclass(frozen=True, slots=True)
class _Known:
    """A recipient's key that passed the gate, and what the library made of it."""

    certificate: Certificate
    key: sequoia.PublicKey


def _now() -> datetime:
    return datetime.now(UTC)


class OpenPgp:
    """The service's keys and its encryption. For one event loop; `close` ends its process."""

    def __init__(
        self, service_keys: Sequence[bytes], *, clock: Callable[[], datetime] = _now, pool: Pool | None = None
    ) -> None:
        """service_keys: secret, binary or armored; the first signs, all decrypt."""
        self._service_keys = tuple(service_keys)
        self._clock = clock
        self._pool = pool or Pool()
        self._known: dict[bytes, _Known] = {}
        self._signer: sequoia.Signer | None = None

    async def encrypt(self, content: bytes, certificates: Sequence[bytes]) -> bytes:
        """An OpenPGP message, armored, with CRLF: the content signed by the service and encrypted to all.

        certificates: one recipient's keys or several recipients', as stored; at least one.
        Raises KeyUnusable (a Malformed with the reason) if one of them cannot be used now; then nothing is encrypted to
        the others either. Raises Unavailable for trouble of ours.
        """
        if not certificates:
            raise Malformed("there is no key to encrypt to")
        known = [self._usable(each) for each in certificates]
        with _ours():
            signing = self._signing()
            if len(content) <= INLINE_OCTETS:
                keys = [each.key for each in known]
                return _crlf(_refusal_of(known, lambda: sequoia.encrypt(content, keys, signing)))
            # Signature and session keys aside, three octets become four, and every 48 a line.
            job = Job(self._service_keys[:1], [each.certificate.binary for each in known], 2 * len(content))
            try:
                return await self._pool.run(job, content, _crlf)
            except Malformed:
                raise KeyUnusable(Unusable.UNKNOWN_ALGORITHM, known[0].certificate.fingerprint) from None

    async def decrypt(self, message: bytes) -> Decrypted | None:
        """What an OpenPGP message says, armored or binary; None if it is not for the service's keys, or is damaged.

        Signatures in it are not looked at. Raises Unavailable.
        """
        for key in self._service_keys:
            with contextlib.suppress(Malformed):
                return Decrypted(await self._pool.run(Job([key], None, MAX_DECRYPTED_OCTETS), message))
        return None

    def check(self, octets: bytes, now: datetime) -> Certificate | Unusable:
        """The gate, and then the proof: a line is really encrypted to the key. For upload and the daily check."""
        found = inspect(octets, now)
        if isinstance(found, Unusable):
            return found
        try:
            sequoia.encrypt(_PROOF, [sequoia.certificate(found.binary)], None)
        except Malformed:
            return Unusable.UNKNOWN_ALGORITHM
        return found

    def look(self, octets: bytes) -> Certificate | Unusable:
        """What `check` says, known from before where the key was used lately. For every message."""
        try:
            return self._usable(octets).certificate
        except KeyUnusable as error:
            return error.reason

    async def close(self) -> None:
        """End the process; who waits for it gets Unavailable."""
        await self._pool.close()

    def _usable(self, octets: bytes) -> _Known:
        """A recipient's key that can be used now. Raises KeyUnusable."""
        now = self._clock()
        name = hashlib.sha256(octets).digest()
        known = self._known.pop(name, None)
        if known is None or (known.certificate.expires is not None and known.certificate.expires <= now):
            certificate = examine(octets, now)
            try:
                known = _Known(certificate, sequoia.certificate(certificate.binary))
                sequoia.encrypt(_PROOF, [known.key], None)
            except Malformed:
                raise KeyUnusable(Unusable.UNKNOWN_ALGORITHM, certificate.fingerprint) from None
        self._known[name] = known  # last in order: used most recently
        if len(self._known) > KEPT_KEYS:
            del self._known[next(iter(self._known))]
        return known

    def _signing(self) -> sequoia.Signer:
        if not self._service_keys:
            raise Unavailable("there is no service key to sign with")
        if self._signer is None:
            try:
                self._signer = sequoia.signer(sequoia.secret_key(self._service_keys[0]))
            except Malformed as error:
                raise Unavailable(f"the service key: {error}") from None
        return self._signer


def create_service_key(address: str, now: datetime) -> tuple[bytes, bytes]:
    """A new service key for an address: secret and public part, binary. now: when it is to be usable.

    Raises Unavailable if no key came about that passes our own gate.
    """
    with _ours():
        try:
            secret = sequoia.create(address)
            public = sequoia.public_of(secret)
        except Malformed as error:
            raise Unavailable(str(error)) from None
    found = inspect(public, now)
    if isinstance(found, Unusable):
        raise Unavailable(f"the new key cannot be used: {found.sentence}")
    return secret, public


def public_of(secret: bytes) -> bytes:
    """The public part of a service key, binary. Raises Malformed if it is none."""
    return sequoia.public_of(secret)


def _refusal_of(known: Sequence[_Known], work: Callable[[], bytes]) -> bytes:
    try:
        return work()
    except Malformed:
        raise KeyUnusable(Unusable.UNKNOWN_ALGORITHM, known[0].certificate.fingerprint) from None


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise Unavailable("out of memory") from None


def _crlf(armored: bytes) -> bytes:
    """The library ends lines with LF and never writes CR."""
    return armored.replace(b"\n", b"\r\n")
