"""The message behind a copy that a report returned, as far as it can be had again (spec section 7.6, resend).

An untouched copy gives the message as it was. From a rewritten one come author, addressees, subject and Message-ID,
which the copy names; the author's signatures and the body without our banner are lost.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailrelay.core import fitting, listheaders
from mailrelay.core.header import Field, Message
from mailrelay.core.ledger import OutboundId
from mailrelay.core.letterhead import COMPAT_PREFIX
from mailrelay.core.original import original

# Fields that a copy in rewrite mode replaces or drops, and says under another name.
_REPLACED = (b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Subject", b"Message-ID", b"List-Unsubscribe")
_AUTHORS = frozenset({b"from", b"sender", b"reply-to"})  # in a copy always ours
_ADDED = frozenset({b"feedback-id", b"dkim-signature", b"x-forwarded-to", b"x-forwarded-for"})
_SEAL = b"arc-"
_COMPAT = COMPAT_PREFIX.lower().encode("ascii")
_BY_MAIL = re.compile(rb"<\s*+mailto:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Restored:
    """content: the message, less what cannot be had again; spam: its copy was tagged as such. Nobody vouches for it."""

    content: bytes
    spam: bool


def restored(copy: Message, outbound_id: OutboundId, destination: str, prefix: str) -> Restored | None:
    """What a stored message is restored to, None if it is not the copy of that number but the message itself.

    What comes in with an id of ours loses it, and the number is random: no message can be taken for its copy.
    destination: of the copy. prefix: of our own field names.
    """
    ours = prefix.lower().encode("ascii")
    if copy.values(ours + b"id") != [b"%016x" % outbound_id]:
        return None
    untouched = original(copy, outbound_id, destination, prefix)
    if untouched is not None:
        return Restored(untouched.content, untouched.spam)
    at = min(number for number, field in enumerate(copy.fields) if field.name in (ours + b"mode", ours + b"id"))
    fields = copy.fields[at:]  # above are those who had a part in its return
    header = b"".join(field.raw for field in _header(fields, ours))
    rest = copy.content[copy.header_end :]
    if copy.header_end == copy.body_start:
        rest = b"\r\n" + rest
    return Restored(header + rest, copy.first(ours + b"spam") == b"Yes")


def _header(fields: Sequence[Field], ours: bytes) -> Iterator[Field]:
    said = {name: value for name in _REPLACED if (value := _said(fields, ours, name))}
    replaced = {name.lower() for name in said} | (_AUTHORS if b"From" in said else frozenset())
    original = {name.lower(): b"%b: %b\r\n" % (name, value) for name, value in said.items()}
    there = {field.name for field in fields}
    yield from (fitting.short_lines(Field(name, raw)) for name, raw in original.items() if name not in there)
    own_mark = True
    for field in fields:
        if field.name in original:
            yield fitting.short_lines(Field(field.name, original.pop(field.name)))
        elif field.name == ours + b"loop":
            if not own_mark:  # of hosts and aliases before this one
                yield field
            own_mark = False
        elif not (
            field.name in replaced
            or field.name in _ADDED
            or field.name.startswith((ours, _COMPAT, _SEAL))
            or (field.name in listheaders.OTHERS and _BY_MAIL.search(field.value))  # through an address of ours
        ):
            yield field if field.raw.endswith(b"\n") else Field(field.name, field.raw + b"\r\n")


def _said(fields: Sequence[Field], ours: bytes, name: bytes) -> bytes:
    """What the copy says about an original field, in however many pieces; b"" if nothing."""
    label = ours + b"original-" + name.lower()
    return b" ".join(value for field in fields if field.name == label and (value := field.value))
