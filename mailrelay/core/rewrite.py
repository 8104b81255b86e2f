"""The header of a copy in rewrite mode: the table of spec section 3.3, field by field.

What stays keeps its octets and its place, and what is replaced its place. What the copy adds stands on top, in the
order of the worked example (section 3.16).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as fresh
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol
from uuid import UUID

from mailrelay.core import authres, fitting, listheaders, threads
from mailrelay.core.header import Field, Message
from mailrelay.core.letterhead import (
    COMPAT_PREFIX,
    TRACES,
    Header,
    Letterhead,
    about,
    added,
    auto_submitted,
    compat,
    feedback_id,
    verdicts,
)
from mailrelay.core.listheaders import Reverse, Unsubscribe
from mailrelay.core.mode import SINGLE

# The table of section 3.3, and two fields by which some mail programs answer everybody directly (invariant I3).
_REMOVED = TRACES | frozenset(
    b"delivered-to dkim-signature domainkey-signature x-google-dkim-signature sender errors-to feedback-id "
    b"disposition-notification-to disposition-notification-options return-receipt-to x-confirm-reading-to "
    b"generate-delivery-report autocrypt autocrypt-gossip openpgp mail-followup-to mail-reply-to".split()
)
_REMOVED_PREFIXES = (b"x-spam", b"x-rspamd", b"x-virus", b"x-pgp-")
_RESULTS = b"authentication-results"
# One of each remains; of List-Unsubscribe there is one for the field to be replaced.
_ONCE = SINGLE | {listheaders.UNSUBSCRIBE, listheaders.POST}

_COMPAT = COMPAT_PREFIX.lower().encode("ascii")
# Fields that the copy has its own values for, which are ASCII.
_SAID_ANEW = _REMOVED | {b"from", b"reply-to", b"to", b"cc"}

# Names under which the raw originals are kept, in this order, if the copy says something else or nothing.
_ORIGINALS = tuple(
    (name.lower().encode("ascii"), f"Original-{name}")
    for name in ("Reply-To", "To", "Cc", "Sender", "Subject", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post")
)
_COMPAT_NAMES = {
    "Original-Sender-Address": "Original-Sender",
    "Original-From": "Original-From-Header",
    "Original-Reply-To": "Original-Reply-To-Header",
    "Original-To": "Original-To",
    "Original-Cc": "Original-Cc",
}
# Their originals may need more room than a field has, and none may be lost: several fields are written.
_ADDRESS_LISTS = frozenset({"Original-Reply-To", "Original-To", "Original-Cc"})
_MAX_PIECES = 10
_PIECE_OCTETS = 850
_PIECE_CHARACTERS = 200  # of at most 4 octets, in base64, in encoded words
_MAX_MOVED = 20

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Correspondence(Protocol):
    """Who writes to whom, as the copy says it: complete fields with their CRLF, None for one that it has not."""

    @property
    def from_(self) -> bytes: ...
    @property
    def reply_to(self) -> bytes | None: ...
    @property
    def to(self) -> bytes | None: ...
    @property
    def cc(self) -> bytes | None: ...
    @property
    def unrepliable(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class House:
    """What is the same for all copies of an installation.

    prefix: of our own field names. authserv_id: of our Authentication-Results; others' are removed.
    """

    prefix: str
    authserv_id: str
    feedback_key: bytes
    service_id: str = "mailrelay"


@dataclass(frozen=True, slots=True)
class Edits:
    """What a copy says differently from the message.

    author: bare address of who wrote, '' if unknown. now, random_id (32 hex digits): for a Date or Message-ID that is
    missing. new_message_id: write one even if there is one (section 9.4). subject: None leaves it alone, see
    subject.changed. hide_subject: do not keep the original one outside. reverse: for the other List fields. thread:
    see threads.restored. body_fields: MIME-Version and Content-* that describe a changed body, by name in lower case,
    None removes one. author_field: keep the original From as Author, too (RFC 9057). smtputf8: the message came with
    that parameter, and the copy must do without.
    """

    correspondence: Correspondence
    author: str
    alias: UUID
    alias_domain: str
    now: datetime
    random_id: str
    reverse: Reverse
    unsubscribe: Unsubscribe
    subject: Field | None = None
    hide_subject: bool = False
    thread: Mapping[str, str] = fresh(default_factory=dict)
    body_fields: Mapping[bytes, Field | None] = fresh(default_factory=dict)
    new_message_id: bool = False
    author_field: bool = False
    smtputf8: bool = False


def rewritten(message: Message, head: Letterhead, edits: Edits, house: House) -> Header:
    """The header of a copy in rewrite mode before it is signed; Header.above puts it on an unchanged body.

    Every field ends with a line end, no line has more than 998 octets.
    """
    fields, moved = _fields(message, edits)
    originals = {field.name: field for field in reversed(fields)}  # the first of each name
    plan = _plan(originals, edits)
    said = [*_authors(originals, edits), *_changed(fields, originals, plan, edits)]
    header = [
        *about(head, house.prefix, "rewrite"),
        *(added(house.prefix + name, value) for name, value in (*_spread(said), *moved)),
        *_verdicts(message, head, edits, house, said),
        *(field for name, field in plan.items() if field is not None and name not in originals),
        *_kept(fields, plan, edits, head, house),
    ]
    opaque_top = message.fields[0].raw if message.fields and not message.fields[0].name else b""
    if len(opaque_top) > fitting.MAX_LINE_OCTETS or (edits.smtputf8 and not opaque_top.isascii()):
        opaque_top = b""  # Postfix takes such a line off anyway
    limit = fitting.MAX_LINE_OCTETS
    return Header(opaque_top, tuple([f if len(f.raw) <= limit else fitting.short_lines(f) for f in header]))


def _fields(message: Message, edits: Edits) -> tuple[Sequence[Field], list[tuple[str, str]]]:
    """The fields below an mbox line, and names and values of those that cannot be said without SMTPUTF8."""
    fields = message.fields[1:] if message.fields and not message.fields[0].name else message.fields
    moved: list[tuple[str, str]] = []
    if not edits.smtputf8:
        return fields, moved
    said: list[Field] = []
    for field in fields:
        plain = field if field.name in _SAID_ANEW else fitting.in_ascii(field)
        if plain is not None:
            said.append(plain)
        else:
            moved.append((f"Original-{field.raw.partition(b':')[0].strip().decode('ascii')}", _text(field.value)))
    return said, moved[:_MAX_MOVED]


def _plan(originals: Mapping[bytes, Field], edits: Edits) -> dict[bytes, Field | None]:
    """What stands in place of fields, by name: None removes one. What is missing goes on top, in this order."""
    parties, unsubscribe = edits.correspondence, edits.unsubscribe
    plan: dict[bytes, Field | None] = {
        b"from": Field(b"from", parties.from_),
        b"reply-to": _field(b"reply-to", parties.reply_to),
        b"to": _field(b"to", parties.to),
        b"cc": _field(b"cc", parties.cc),
    }
    if edits.subject is not None:
        plan[b"subject"] = edits.subject
    if b"date" not in originals:
        plan[b"date"] = added("Date", _date(edits.now))
    if edits.new_message_id or b"message-id" not in originals:
        plan[b"message-id"] = added("Message-ID", f"<{edits.random_id}@{edits.alias_domain}>")
    if edits.thread:
        for name in threads.FIELDS:
            if original := originals.get(name):
                plan[name] = Field(name, threads.restored(original.raw, edits.thread))
    plan |= edits.body_fields
    plan |= {listheaders.UNSUBSCRIBE: unsubscribe.field, listheaders.POST: unsubscribe.post}
    author = originals.get(b"from")
    if edits.author_field and author is not None and author.raw.isascii():
        plan[b"author"] = Field(b"author", b"Author:" + author.raw.partition(b":")[2].rstrip(b"\r\n") + b"\r\n")
    if edits.smtputf8:
        return {name: None if field is None else fitting.in_ascii(field) for name, field in plan.items()}
    return plan


def _kept(
    fields: Sequence[Field], plan: Mapping[bytes, Field | None], edits: Edits, head: Letterhead, house: House
) -> Iterator[Field]:
    """What remains of the original header, replaced in place where the plan says so."""
    ours = house.prefix.lower().encode("ascii")
    loop = ours + b"loop"
    dropped = (ours, *_REMOVED_PREFIXES, *((_COMPAT,) if head.compat else ()))
    once: set[bytes] = set()
    for at, field in enumerate(fields, 1):
        name = field.name
        if name in _REMOVED or name in once or (name.startswith(dropped) and name != loop):
            continue
        kept: Field | None = field
        if name in plan:
            once.add(name)
            kept = plan[name]
            if kept is not None and kept.value == field.value:
                kept = field  # the original octets are as good
        elif name in _ONCE:
            once.add(name)
        elif name == _RESULTS:
            # Without results of ours in this copy, a field that calls itself ours is forged.
            if not head.authentication_results or not authres.is_ours(field.value, house.authserv_id):
                continue
            once.add(name)
        elif name in listheaders.OTHERS:
            kept = listheaders.redirected(field, edits.reverse)
        elif not name:
            kept = Field(b"", _buried(house.prefix).sub(b"", field.raw))
        if kept is not None:
            yield kept if at < len(fields) or kept.raw.endswith(b"\n") else Field(name, kept.raw + b"\r\n")


@lru_cache(maxsize=8)
def _buried(prefix: str) -> re.Pattern[bytes]:
    """Finds what must not be in the piece that was too long to be cut into fields, or would be signed unseen."""
    names = b"|".join(map(re.escape, sorted(_REMOVED | _ONCE | {_RESULTS, b"auto-submitted"})))
    ours = re.escape(prefix.encode("ascii"))
    prefixes = (*_REMOVED_PREFIXES, b"list-", b"resent-", b"content-")
    starts = b"|".join([*map(re.escape, prefixes), rb"%b(?!loop[ \t]*+:)" % ours])
    field = rb"^(?:(?:%b)|(?:%b)[!-9;-~]*+)[ \t]*+:.*+\n?+(?:[ \t].*+\n?+)*+" % (names, starts)
    return re.compile(field, re.IGNORECASE | re.MULTILINE)


def _verdicts(
    message: Message, head: Letterhead, edits: Edits, house: House, said: Sequence[tuple[str, str]]
) -> Iterator[Field]:
    """What was found out, the same facts under addy's names, and what the copy says to hosts on its way."""
    yield from verdicts(head, house.prefix)
    if edits.correspondence.unrepliable:
        yield added(f"{house.prefix}Unrepliable", "Yes")
    if head.compat:
        names = _COMPAT_NAMES
        yield from (added(COMPAT_PREFIX + names[name], value) for name, value in said if name in names)
        yield from compat(head)
    yield added("Feedback-ID", feedback_id("F", edits.alias, "rewrite", house.service_id, house.feedback_key))
    yield from auto_submitted(head, message)


def _authors(originals: Mapping[bytes, Field], edits: Edits) -> Iterator[tuple[str, str]]:
    """Who wrote, in the words of the message and by the bare address."""
    if (original := originals.get(b"from")) is not None:
        yield "Original-From", _text(original.value)
    if edits.author:
        yield "Original-Sender-Address", edits.author


def _changed(
    fields: Sequence[Field], originals: Mapping[bytes, Field], plan: Mapping[bytes, Field | None], edits: Edits
) -> Iterator[tuple[str, str]]:
    """Names and original values of fields that the copy does not have, or has with other values."""
    for name, label in _ORIGINALS:
        field = originals.get(name)
        if field is None or (name not in plan and name != b"sender") or (name == b"subject" and edits.hide_subject):
            continue
        original = field.value
        if label in _ADDRESS_LISTS:
            original = b", ".join([field.value for field in fields if field.name == name])
        new = plan.get(name)
        if original and (new is None or new.value != original):
            yield label, _text(original)


def _spread(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The same, but lists of addresses that are too long for one field in several."""
    for name, value in said:
        if name in _ADDRESS_LISTS and len(value) > _PIECE_CHARACTERS:
            yield from ((name, piece) for piece in _pieces(value))
        else:
            yield name, value


def _pieces(value: str) -> Iterator[str]:
    """A list of addresses in pieces that fit into one field each; more than ten are too many to be of use."""
    limit = _PIECE_OCTETS if value.isascii() else _PIECE_CHARACTERS
    at = 0
    for _ in range(_MAX_PIECES):
        end = len(value)
        if end - at > limit:
            end = value.rfind(",", at, at + limit) + 1 or at + limit
        yield value[at:end]
        at = end
        if at == len(value):
            return


def _field(name: bytes, raw: bytes | None) -> Field | None:
    return None if raw is None else Field(name, raw)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _date(now: datetime) -> str:
    """As RFC 5322 section 3.3 has it, whatever the locale."""
    utc = now.astimezone(UTC)
    return f"{_DAYS[utc.weekday()]}, {utc.day:02} {_MONTHS[utc.month - 1]} {utc:%Y %H:%M:%S} +0000"
