"""What is left of real addresses in a message of an owner, and what is done about it (spec sections 4.8 and 4.9)."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum

from mailrelay.core.contenttype import content_type
from mailrelay.core.header import Field, Message
from mailrelay.core.mime import Entity
from mailrelay.core.phrase import decoded
from mailrelay.core.sending import openpgp
from mailrelay.core.sending.facts import LeakPolicy
from mailrelay.core.sending.hidden import Hidden

SIGNED_DATA = frozenset({b"application/pkcs7-mime", b"application/x-pkcs7-mime"})
DETACHED = frozenset({b"application/pkcs7-signature", b"application/x-pkcs7-signature"})
ENVELOPED = frozenset({b"enveloped-data", b"authenveloped-data"})
CALENDARS = frozenset({b"text/calendar", b"application/ics", b"text/x-vcalendar"})
CARDS = frozenset({b"text/vcard", b"text/x-vcard", b"text/directory"})

_ARMOR = b"-----BEGIN PGP "
_WIDE = ("utf-16-le", "utf-16-be")


class Place(StrEnum):
    """Where an address is left."""

    PROSE = "prose"
    SIGNATURE = "signature"  # below the text, as mail programs put it there
    HISTORY = "history"
    HEADER = "header"  # of the message or of an attached one
    PART = "part"  # the header of a part: names of files, above all
    KEY = "key"  # an OpenPGP key or signature
    CALENDAR = "calendar"
    CARD = "card"
    CERTIFICATE = "certificate"  # S/MIME: who signs shows who he is
    ATTACHMENT = "attachment"


@dataclass(frozen=True, slots=True)
class Leak:
    """One of the addresses is still there. detail: type of the part or name of the field, ASCII, for people."""

    place: Place
    detail: str


class Verdict(Enum):
    """What becomes of a message."""

    SEND = "send"
    WARN = "warn"  # it goes out, and its author is told
    REFUSE = "refuse"


def verdict(leaks: Collection[Leak], policy: LeakPolicy) -> Verdict:
    """Spec sections 4.8 and 4.9: a certificate is refused unless the policy is off, all else as the policy says."""
    if not leaks or policy == "off":
        return Verdict.SEND
    if policy == "block" or any(one.place is Place.CERTIFICATE for one in leaks):
        return Verdict.REFUSE
    return Verdict.WARN


def may_be_refused(message: Message, policy: LeakPolicy) -> bool:
    """Whether `verdict` can be REFUSE at all: most mail need not be looked through to know."""
    if policy == "off":
        return False
    return policy == "block" or b"pkcs7" in (message.first(b"content-type") or b"").lower()


def in_fields(fields: Iterable[Field], hidden: Hidden) -> Iterator[Leak]:
    """Fields of a finished header that show an address, in whatever encoding."""
    found = list(fields)
    if hidden.shows(b"".join([one.raw for one in found])):
        for one in found:
            if in_field(one, hidden):
                yield Leak(Place.HEADER, ascii_text(one.name))


def in_field(field: Field, hidden: Hidden) -> bool:
    """Whether one field shows an address. In a boundary anything may stand around it."""
    if not hidden.shows(field.raw):
        return False
    if field.name == b"content-type" and hidden.shows(content_type(field.value).params.get(b"boundary", b"")):
        return True
    text = decoded(field.value)
    return hidden.cleaned(text, "") != text


def in_part(content: bytes, entity: Entity, hidden: Hidden) -> Iterator[Leak]:
    """What a part shows that is no text to be edited."""
    text = openpgp.said(content, entity)
    place = _place(entity)
    if in_armor(text, hidden):
        yield Leak(Place.KEY, ascii_text(entity.type))
    elif holds(text, hidden) or (entity.type.startswith((b"multipart/", b"message/")) and hidden.shows(text)):
        yield Leak(place, ascii_text(entity.type))


def in_armor(text: bytes, hidden: Hidden) -> bool:
    """Whether an OpenPGP key or signature in a text shows an address."""
    return _ARMOR in text and holds(openpgp.dearmored(text), hidden)


def holds(octets: bytes, hidden: Hidden) -> bool:
    """Whether an address is in there as it is or in UTF-16, in either case: as in keys, certificates and files."""
    if b"@" not in octets:
        return False
    lowered = octets.lower()
    if any(one.folded.encode("utf-8", "surrogateescape") in lowered for one in hidden.addresses):
        return True
    return holds_wide(octets, hidden)


def holds_wide(octets: bytes, hidden: Hidden) -> bool:
    """Whether an address is in there in UTF-16, in either order of octets and either case."""
    if b"@\0" not in octets:
        return False
    lowered = octets.lower()
    needles = (one.folded.encode(codec, "surrogatepass") for one in hidden.addresses for codec in _WIDE)
    return any(needle in lowered for needle in needles)


def distinct(leaks: Iterable[Leak]) -> tuple[Leak, ...]:
    """Each once, in their order."""
    return tuple(dict.fromkeys(leaks))


def ascii_text(name: bytes) -> str:
    """The name of a type or field as it may be shown."""
    return name.decode("ascii", "replace").replace("\ufffd", "?")


def _place(entity: Entity) -> Place:
    if entity.type in (openpgp.KEYS, openpgp.SIGNATURE) or openpgp.file_name(entity).lower().endswith(".asc"):
        return Place.KEY
    if entity.type in CALENDARS:
        return Place.CALENDAR
    if entity.type in CARDS:
        return Place.CARD
    return Place.CERTIFICATE if entity.type in DETACHED | SIGNED_DATA else Place.ATTACHMENT
