"""What every copy says about itself, in either mode, and how its header is put together (spec section 3.3)."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from mailrelay.core import dkim
from mailrelay.core.header import MAX_VALUE_OCTETS, Field, Message, fold
from mailrelay.core.ledger import Mode

# Traces of earlier deliveries that would name or contradict the recipient.
TRACES = frozenset({b"return-path", b"x-original-to", b"envelope-to", b"x-envelope-to", b"apparently-to", b"bcc"})

# Names that addy gives to the same facts, for people who migrate with filters.
COMPAT_PREFIX = "X-AnonAddy-"

_LINE_OCTETS = 78


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What a copy says about itself in added fields.

    id: outbound id, 16 hex digits; loop_mark: '' for the operator's mail, which passes no alias;
    rcpt: as received, with its extension; sender: '' for the null sender; destination: who gets the copy.
    authentication_results: value of our own field of that name, folded or not, '' if there is none.
    reason: why the copy was rewritten, if that was not just the setting (mode.Choice.reason).
    """

    id: str
    loop_mark: str
    rcpt: str
    sender: str
    destination: str
    authentication_results: str = ""
    spam: bool = False  # tagged as spam, or quarantined as such and released
    resend: bool = False  # a failed delivery, sent once more
    reason: str = ""
    compat: bool = False  # write addy's field names as well


@dataclass(frozen=True, slots=True)
class Signer:
    """Keys for the service's own signature and the time they sign with, in seconds since 1970."""

    keys: Sequence[dkim.SigningKey]
    now: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a copy. opaque_top: a line that is no field and stays above all others, as mbox files have it."""

    opaque_top: bytes
    fields: tuple[Field, ...]

    @property
    def block(self) -> bytes:
        """All of it, without the empty line after it."""
        return self.opaque_top + b"".join([field.raw for field in self.fields])

    def topped(self, raws: Iterable[bytes]) -> "Header":
        """With complete fields above the others, the topmost first."""
        above = [Field(raw.partition(b":")[0].lower(), raw) for raw in raws]
        return Header(self.opaque_top, (*above, *self.fields))

    def signed(self, body_hash: bytes, signer: Signer) -> "Header":
        """With DKIM signatures on top, one for each key. body_hash: of the copy, see dkim.body_hash."""
        return self.topped(dkim.sign(self.fields, body_hash, signer.keys, signer.now))

    def above(self, message: Message) -> tuple[bytes, ...]:
        """The copy of a message whose body did not change, as chunks that begin and end where lines do."""
        rest = message.content[message.header_end :]
        if not rest:
            return (self.block,)
        # A body without an empty line before it must not become part of our fields.
        return (self.block + (b"\r\n" if message.header_end == message.body_start else b""), rest)


def added(name: str, value: str) -> Field:
    """A field for us to add, as header.fold makes it, but quickly if the value is plain text."""
    key = name.lower().encode("ascii")
    if not value.isascii() or not value.isprintable() or len(value) > MAX_VALUE_OCTETS or "  " in value:
        return Field(key, fold(name, value))
    text = f"{name}: {value.strip(' ')}" if value.strip(" ") else f"{name}:"
    if len(text) <= _LINE_OCTETS:
        return Field(key, f"{text}\r\n".encode("ascii"))
    return Field(key, "\r\n\t".join(_lines(text)).encode("ascii") + b"\r\n")


def _lines(text: str) -> Iterator[str]:
    """A field cut at spaces; all lines but the first will have a tab in front."""
    at, room = 0, _LINE_OCTETS
    while len(text) - at > room:
        cut = text.rfind(" ", at, at + room + 1)
        if cut < 0:
            cut = text.find(" ", at + room + 1)
        if cut < 0:
            break
        yield text[at:cut]
        at, room = cut + 1, _LINE_OCTETS - 1
    yield text[at:]


def about(head: Letterhead, prefix: str, mode: Mode) -> list[Field]:
    """The fields that name the copy and its envelope: the topmost of those we add."""
    facts = (
        ("Mode", f"{mode}; reason={head.reason}" if head.reason else mode),
        ("Id", head.id),
        ("Loop", head.loop_mark),
        ("Envelope-To", head.rcpt.lower()),
        ("Envelope-From", head.sender or "<>"),
    )
    return [added(prefix + name, value) for name, value in facts if value]


def verdicts(head: Letterhead, prefix: str) -> list[Field]:
    """What was found out about the message, and the circumstances of the copy."""
    facts = (
        ("Authentication-Results", head.authentication_results),
        ("Spam", "Yes" if head.spam else ""),
        ("Resend", "Yes" if head.resend else ""),
    )
    return [added(prefix + name, value) for name, value in facts if value]


def compat(head: Letterhead) -> list[Field]:
    """The facts of both modes under addy's names; none unless they are wanted."""
    if not head.compat:
        return []
    return [added(f"{COMPAT_PREFIX}Original-Envelope-From", head.sender or "<>"), *verdicts(head, COMPAT_PREFIX)]


def auto_submitted(head: Letterhead, message: Message) -> list[Field]:
    """Auto-Submitted for mail of the null sender, unless it has one.

    The return path is ours and no longer null, so the copy says otherwise that it wants no answer (RFC 3834).
    """
    if head.sender or message.count(b"auto-submitted"):
        return []
    return [added("Auto-Submitted", "auto-replied")]


def feedback_id(kind: str, alias: UUID, mode: str, service: str, key: bytes) -> str:
    """The value of Feedback-ID: what large receivers group their statistics by.

    It names the alias by a MAC, as its id would let correspondents link what they see elsewhere.
    """
    digest = hmac.digest(key, b"fid-v1\0" + str(alias).encode("ascii"), hashlib.sha256)
    return f"{kind}:{digest.hex()[:12]}:{mode}:{service}"
