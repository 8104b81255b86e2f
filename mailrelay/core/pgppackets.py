"""The gate for OpenPGP keys: whether mail can be encrypted to one, until when, and the little of it that is needed.

Nothing is believed that the primary key did not sign. Time and memory are bounded by the limits below, whatever stands
in the input: at most MAX_CHECKS signatures are looked at with mathematics.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mailrelay.core.certificate import MAX_USER_IDS, Certificate, KeyUnusable, Unusable
from mailrelay.core.pgparmor import public_keys
from mailrelay.core.pgpframing import Packet, packets
from mailrelay.core.pgpkeys import Key
from mailrelay.core.pgpsignatures import (
    CERTIFICATIONS,
    DIRECT,
    KEY_REVOCATION,
    SUBKEY_BINDING,
    SUBKEY_REVOCATION,
    USER_ID_REVOCATION,
    Signature,
    user_id_data,
)

MAX_OCTETS = 256 * 1024  # armored or not
MAX_COMPONENTS = 100  # user ids and subkeys, each
MAX_CHECKS = 200
MAX_ENCRYPTION_SUBKEYS = 5  # every message carries its session key once for each: the newest ones
CLOCK_SKEW = timedelta(minutes=15)  # a key that was made just now, with a clock that is ahead

_MAX_USER_ID_OCTETS = 2048  # as GnuPG has it
_MAX_KEY_OCTETS = 8192
_SHOWN_CHARACTERS = 200
_ENCRYPTS = 0x04 | 0x08  # communications, storage: RFC 9580 section 5.2.3.29

_SIGNATURE, _SECRET_KEY, _PUBLIC_KEY, _SECRET_SUBKEY, _USER_ID, _PUBLIC_SUBKEY, _ATTRIBUTE = 2, 5, 6, 7, 13, 14, 17
_MESSAGES = frozenset((1, 3, 4, 8, 9, 11, 18, 20))
# Of several subkeys none of which will do, the reason that is nearest to one that would.
_NEAREST = (
    Unusable.EXPIRED,
    Unusable.NOT_YET,
    Unusable.REVOKED,
    Unusable.WEAK_ALGORITHM,
    Unusable.UNKNOWN_ALGORITHM,
    Unusable.TOO_COMPLEX,
    Unusable.OLD_FORMAT,
    Unusable.BROKEN,
)


def inspect(octets: bytes, now: datetime) -> Certificate | Unusable:
    """The certificate in what somebody gave us as their public key, or why mail cannot be encrypted to it.

    octets: armored or binary, anything at all. now: when it is to be used.
    """
    try:
        return examine(octets, now)
    except KeyUnusable as error:
        return error.reason


def examine(octets: bytes, now: datetime) -> Certificate:
    """The same, but raises KeyUnusable, which may know the fingerprint."""
    if len(octets) > MAX_OCTETS:
        raise KeyUnusable(Unusable.OVERSIZE)
    parts = _parts(packets(public_keys(octets)))
    key = Key.read(parts.primary)
    try:
        return _Judge(parts, key, now).certificate()
    except KeyUnusable as error:
        raise KeyUnusable(error.reason, key.fingerprint.hex().upper()) from None


@dataclass(slots=True)
class _Component:
    """A user id or a subkey, with all signatures that follow it."""

    packet: Packet
    signatures: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Parts:
    """A certificate, taken apart."""

    primary: bytes
    direct: list[bytes] = field(default_factory=list)  # signatures on the primary key
    user_ids: list[_Component] = field(default_factory=list)
    subkeys: list[_Component] = field(default_factory=list)


def _parts(found: Sequence[Packet]) -> _Parts:
    """One public key and what belongs to it; trust packets, photo ids, padding and the unknown are passed over."""
    tags = [packet.tag for packet in found]
    if _SECRET_KEY in tags or _SECRET_SUBKEY in tags:
        raise KeyUnusable(Unusable.SECRET)
    if _PUBLIC_KEY not in tags or _MESSAGES & set(tags):
        raise KeyUnusable(Unusable.NOT_A_KEY)
    if tags.count(_PUBLIC_KEY) > 1:
        raise KeyUnusable(Unusable.SEVERAL)
    start = tags.index(_PUBLIC_KEY)
    parts = _Parts(found[start].body)
    here: list[bytes] = parts.direct
    for packet in found[start + 1 :]:
        if packet.tag == _SIGNATURE:
            here.append(packet.body)
        elif packet.tag in (_USER_ID, _PUBLIC_SUBKEY, _ATTRIBUTE):
            component = _Component(packet)
            here = component.signatures
            if packet.tag != _ATTRIBUTE:
                (parts.user_ids if packet.tag == _USER_ID else parts.subkeys).append(component)
    if max(len(parts.user_ids), len(parts.subkeys)) > MAX_COMPONENTS:
        raise KeyUnusable(Unusable.TOO_COMPLEX)
    return parts


@dataclass(frozen=True, slots=True)
class _Named:
    """A user id that the key vouches for."""

    packet: Packet
    binding: Signature


@dataclass(frozen=True, slots=True)
class _Subkey:
    """A subkey that mail can be encrypted to."""

    key: Key
    binding: Signature
    expires: datetime | None


@dataclass(slots=True)
class _Judge:
    """Looks at one certificate, once."""

    parts: _Parts
    key: Key
    now: datetime
    checks: int = 0
    is_weakly_signed: bool = False  # a self-signature did not count for its hash

    def certificate(self) -> Certificate:
        """Raises KeyUnusable."""
        if (weakness := self.key.weakness(encrypts=False)) is not None:
            raise KeyUnusable(weakness)
        if len(self.key.body) > _MAX_KEY_OCTETS:
            raise KeyUnusable(Unusable.TOO_COMPLEX)
        if self.key.created > self.now + CLOCK_SKEW:
            raise KeyUnusable(Unusable.NOT_YET)
        direct, is_revoked = self._direct()
        if is_revoked:
            raise KeyUnusable(Unusable.REVOKED)
        named = self._named()
        main = self._main(direct, named)
        is_silent = main.key_life is None  # then what was said of the key itself holds
        expires = _earliest(main.end(self.key), direct.end(self.key) if direct is not None and is_silent else None)
        if expires is not None and expires <= self.now:
            raise KeyUnusable(Unusable.EXPIRED)
        usable = self._encrypting(main)
        last = None if any(each.expires is None for each in usable) else max(e.expires for e in usable if e.expires)
        return Certificate(
            fingerprint=self.key.fingerprint.hex().upper(),
            version=self.key.version,
            primary_algorithm=self.key.name,
            user_ids=tuple(_shown(each.packet.body) for each in named[:MAX_USER_IDS]),
            created=self.key.created,
            expires=_earliest(expires, last),
            encryption_subkeys=len(usable),
            binary=_minimal(self.key, direct, named[:MAX_USER_IDS], usable),
        )

    def _direct(self) -> tuple[Signature | None, bool]:
        """The newest signature that says something about the primary key itself, and whether it is revoked."""
        found = _read(self.parts.direct)
        data = self.key.hashed()
        revokers = frozenset[bytes]().union(*(each.revokers for each in found if each.type == DIRECT))
        for each in found:
            if each.type == KEY_REVOCATION and each.counts_at(self.now + CLOCK_SKEW):
                # Of a designated revoker we know the name only. Whoever may say so should be believed.
                foreign = any(name[-8:] in {who[-8:], who[:8]} for name in each.issuers for who in revokers)
                if foreign or self._is_own(each, data):
                    return None, True
        return self._newest((each for each in found if each.type == DIRECT), data), False

    def _named(self) -> list[_Named]:
        """The user ids that count: the main one first, then as they stand."""
        found: list[_Named] = []
        for component in self.parts.user_ids:
            if len(component.packet.body) > _MAX_USER_ID_OCTETS:
                continue
            data = user_id_data(self.key, component.packet.body)
            signatures = _read(component.signatures)
            binding = self._newest((each for each in signatures if each.type in CERTIFICATIONS), data)
            revoked = self._newest((each for each in signatures if each.type == USER_ID_REVOCATION), data)
            if binding is not None and (revoked is None or revoked.created < binding.created):
                found.append(_Named(component.packet, binding))
        return sorted(found, key=lambda each: (not each.binding.is_primary, -each.binding.created.timestamp()))

    def _main(self, direct: Signature | None, named: Sequence[_Named]) -> Signature:
        """The signature that the primary key's own properties are read from. Raises KeyUnusable if there is none."""
        if named and self.key.version == 4:
            return named[0].binding
        if direct is not None:
            return direct
        if named:
            return named[0].binding
        raise KeyUnusable(Unusable.WEAK_ALGORITHM if self.is_weakly_signed else Unusable.BROKEN)

    def _encrypting(self, main: Signature) -> list[_Subkey]:
        """What mail can be encrypted to, newest first; never empty. Raises KeyUnusable."""
        usable: list[_Subkey] = []
        reasons: set[Unusable] = set()
        if main.flags & _ENCRYPTS and self.key.weakness(encrypts=True) is None:
            usable.append(_Subkey(self.key, main, main.end(self.key)))
        for component in self.parts.subkeys:
            found = self._subkey(component)
            if isinstance(found, _Subkey):
                usable.append(found)
            elif found is not None:
                reasons.add(found)
        if not usable:
            raise KeyUnusable(next((each for each in _NEAREST if each in reasons), Unusable.NO_ENCRYPTION_SUBKEY))
        usable.sort(key=lambda each: each.key.created, reverse=True)
        return usable[:MAX_ENCRYPTION_SUBKEYS]

    def _subkey(self, component: _Component) -> _Subkey | Unusable | None:
        """A subkey that can be used, or why not; None if it never was for encryption."""
        if len(component.packet.body) > _MAX_KEY_OCTETS:
            return Unusable.TOO_COMPLEX
        try:
            key = Key.read(component.packet.body)
        except KeyUnusable as error:
            return error.reason
        if not key.may_encrypt or key.version != self.key.version:
            return None
        data = self.key.hashed() + key.hashed()
        signatures = _read(component.signatures)
        bindings = [each for each in signatures if each.type == SUBKEY_BINDING]
        if bindings and not any(each.flags & _ENCRYPTS for each in bindings):
            return None
        if self._newest((each for each in signatures if each.type == SUBKEY_REVOCATION), data) is not None:
            return Unusable.REVOKED
        self.is_weakly_signed = False
        binding = self._newest(bindings, data)
        if binding is None:
            return Unusable.WEAK_ALGORITHM if self.is_weakly_signed else Unusable.BROKEN
        if not binding.flags & _ENCRYPTS:
            return None
        expires = binding.end(key)
        if expires is not None and expires <= self.now:
            return Unusable.EXPIRED
        if key.created > self.now + CLOCK_SKEW:
            return Unusable.NOT_YET
        return key.weakness(encrypts=True) or _Subkey(key, binding, expires)

    def _newest(self, signatures: Iterable[Signature], data: bytes) -> Signature | None:
        """The newest self-signature over the data that counts now."""
        alive = [each for each in signatures if each.counts_at(self.now + CLOCK_SKEW)]
        alive.sort(key=lambda each: each.created, reverse=True)
        return next((each for each in alive if self._is_own(each, data)), None)

    def _is_own(self, signature: Signature, data: bytes) -> bool:
        """True if the primary key made it. Raises KeyUnusable when there have been too many questions."""
        if not signature.names(self.key):
            return False
        if signature.is_weak:
            self.is_weakly_signed = True
            return False
        self.checks += 1
        if self.checks > MAX_CHECKS:
            raise KeyUnusable(Unusable.TOO_COMPLEX)
        return signature.verifies(self.key, data)


def _read(bodies: Iterable[bytes]) -> list[Signature]:
    return [found for found in map(Signature.read, bodies) if found is not None]


def _earliest(*times: datetime | None) -> datetime | None:
    """None is never."""
    return min((each for each in times if each is not None), default=None)


def _shown(user_id: bytes) -> str:
    """A user id for people: UTF-8 if it is, one line, nothing that moves the cursor."""
    try:
        text = user_id.decode()
    except UnicodeDecodeError:
        text = user_id.decode("latin-1")
    return "".join(char if char.isprintable() else "?" for char in text[:_SHOWN_CHARACTERS])


def _minimal(key: Key, direct: Signature | None, named: Sequence[_Named], usable: Sequence[_Subkey]) -> bytes:
    """The certificate that is stored: what the statements above rest on, in a present-day form."""

    def written() -> Iterator[Packet]:
        yield Packet(_PUBLIC_KEY, key.body)
        if direct is not None:
            yield Packet(_SIGNATURE, direct.body)
        for each in named:
            yield each.packet
            yield Packet(_SIGNATURE, each.binding.body)
        for subkey in usable:
            if subkey.key is not key:
                yield Packet(_PUBLIC_SUBKEY, subkey.key.body)
                yield Packet(_SIGNATURE, subkey.binding.body)

    return b"".join(packet.framed() for packet in written())
