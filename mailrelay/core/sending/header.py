"""The header of a reply or send: what the contact may see, and nothing else (spec sections 4.4 and 4.5).

An allow-list in a fixed order, which says nothing about the owner's mail program; what is kept keeps its octets.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as fresh
from datetime import datetime
from uuid import UUID

from mailrelay.core import fitting, phrase
from mailrelay.core.address import Address
from mailrelay.core.contenttype import Value, content_type, disposition, transfer_encoding
from mailrelay.core.display import folded, formatted
from mailrelay.core.header import Field, Message
from mailrelay.core.letterhead import Header, added, feedback_id
from mailrelay.core.rewrite import House
from mailrelay.core.sending.addressees import Addressees
from mailrelay.core.sending.dates import in_utc
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.ids import Thread
from mailrelay.core.sending.partheader import ABOUT_CONTENT
from mailrelay.core.subject import changed
from mailrelay.core.verp import EmailType

# Kept beside those with a treatment of their own, if they say what such fields say.
_HINTS = (b"importance", b"priority", b"x-priority", b"sensitivity")
_HINT = re.compile(rb"[A-Za-z0-9 (),;._-]{1,100}")
_AUTOMATIC = b"auto-submitted"
_KEYWORD = re.compile(rb"[A-Za-z0-9-]{1,40}+(?=[ \t;(]|\Z)")

# Longer ones are read and written anew.
_KEPT_OCTETS = 8192
# Of Content-Type, for a reader to understand the body by; file names and the like go if they show too much.
_NEEDED = b"boundary charset format delsp type protocol micalg report-type method smime-type".split()
_QUOTED = re.compile(rb'(["\\])')
_UNPRINTABLE = re.compile(rb"[^\t -~]")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What one copy says.

    kind: REPLY or SEND. alias: without extension, lower case. name: in From, see `sender_name`. fallback_from: stands
    in From if the alias' domain is not verified for sending, else None. subject: a rule's, `{{subject}}` in it stands
    for the original. body_fields: MIME-Version and Content-* that describe a changed body, and a Subject that was
    encrypted with it, by name in lower case; None removes one. loop_mark: '' unless the contact is at a domain of ours.
    automatic: an answer of the owner's auto-responder that is relayed all the same (section 9.3).
    """

    kind: EmailType
    alias: Address
    alias_id: UUID
    name: str
    parties: Addressees
    thread: Thread
    hidden: Hidden
    now: datetime
    fallback_from: Address | None = None
    subject: str | None = None
    body_fields: Mapping[bytes, Field | None] = fresh(default_factory=dict)
    loop_mark: str = ""
    automatic: bool = False


def sender_name(hidden: Hidden, *names: str | None) -> str:
    """The display name of From, '' for none: the first that is one and shows nothing hidden.

    names: a rule's displayFrom, then those of alias, parent and account (section 4.5); never that of the message,
    which is the owner's real one.
    """
    for name in names:
        text = phrase.sanitised(name or "")
        if text and not hidden.shows(text.encode()):
            return text
    return ""


def outgoing(message: Message, said: Outgoing, house: House) -> Header:
    """The header of a reply or send before it is signed; Header.above puts it on an unchanged body.

    No hidden address is in it, save in a boundary, which only its body's editor could change. ASCII but for To and Cc,
    see Addressees. Every field ends with a line end, no line has more than 998 octets.
    """
    originals = {field.name: field for field in reversed(message.fields) if field.name}  # the first of each name
    parties, thread = said.parties, said.thread
    feedback = feedback_id(said.kind, said.alias_id, "relay", house.service_id, house.feedback_key)
    addressed = [Field(b"to", parties.to), *([Field(b"cc", parties.cc)] if parties.cc else [])]
    kept = (
        *_authors(said),
        *addressed,
        _subject(originals, said),
        added("Date", in_utc(_value(originals, b"date"), said.now)),
        thread.message_id,
        thread.in_reply_to,
        thread.references,
        *_hints(originals, said),
        *_content(message.fields, said),
    )
    own = [added(f"{house.prefix}Loop", said.loop_mark)] if said.loop_mark else []
    fields = [*own, added("Feedback-ID", feedback), *(_fitted(field) for field in kept if field is not None)]
    return Header(b"", tuple(field for field in fields if field is not None))


def _value(originals: Mapping[bytes, Field], name: bytes) -> bytes | None:
    field = originals.get(name)
    return field.value if field is not None else None


def _fitted(field: Field) -> Field | None:
    """In ASCII and in lines that are not too long."""
    plain = field if field.name in (b"to", b"cc") else fitting.in_ascii(field)
    if plain is None:
        return None
    ended = plain if plain.raw.endswith(b"\n") else Field(plain.name, plain.raw + b"\r\n")
    return fitting.short_lines(ended)


def _authors(said: Outgoing) -> list[Field]:
    """From, and Reply-To where From does not lead back to the alias."""
    face = said.fallback_from or said.alias
    from_ = Field(b"from", b"From: %b\r\n" % folded("From", [formatted(said.name, face)]))
    if said.fallback_from is None:
        return [from_]
    return [from_, Field(b"reply-to", b"Reply-To: %b\r\n" % formatted("", said.alias))]


def _subject(originals: Mapping[bytes, Field], said: Outgoing) -> Field | None:
    """The Subject; addresses in it that are hidden become the alias, and if that is not enough there is none."""
    original = said.body_fields.get(b"subject") or originals.get(b"subject")
    field = changed(original, said.subject, "") or original
    if field is None or (len(field.raw) <= _KEPT_OCTETS and not said.hidden.shows(field.raw)):
        return field
    text = said.hidden.cleaned(phrase.decoded(field.value[:_KEPT_OCTETS]), str(said.alias))
    return added("Subject", text) if text is not None else None


def _hints(originals: Mapping[bytes, Field], said: Outgoing) -> Iterable[Field]:
    """What a mail program may go by."""
    automatic = originals.get(_AUTOMATIC)
    if said.automatic:
        yield added("Auto-Submitted", "auto-replied")
    elif automatic is not None and _is_hint(automatic, said.hidden):
        yield automatic
    elif automatic is not None and (keyword := _KEYWORD.match(automatic.value)):
        yield added("Auto-Submitted", keyword[0].decode("ascii"))
    for name in _HINTS:
        field = originals.get(name)
        if field is not None and _is_hint(field, said.hidden):
            yield field


def _is_hint(field: Field, hidden: Hidden) -> bool:
    return _HINT.fullmatch(field.value) is not None and not hidden.shows(field.raw)


def _content(fields: Iterable[Field], said: Outgoing) -> list[Field]:
    """MIME-Version and what describes the body: as it came, or as the body's editor says.

    Of Content-* only those that readers need (partheader.py): others name places and programs.
    """
    mime: dict[bytes, Field | None] = {b"mime-version": None}
    for field in fields:
        if field.name == b"mime-version" and mime[b"mime-version"] is None:
            mime[field.name] = field
        elif field.name in ABOUT_CONTENT:
            mime.setdefault(field.name, field)
    mime |= {name: field for name, field in said.body_fields.items() if name != b"subject"}
    found = [field for field in mime.values() if field is not None]
    if sum(len(field.raw) for field in found) <= _KEPT_OCTETS and not said.hidden.shows(
        b"".join([f.raw for f in found])
    ):
        return [field for field in found if not _names_host(field, said.hidden)]
    return [plain for field in found if (plain := _reduced(field, said.hidden)) is not None]


def _names_host(field: Field, hidden: Hidden) -> bool:
    """A Content-ID is made like a Message-ID, and nobody refers to that of a whole message."""
    return field.name == b"content-id" and hidden.is_near(
        field.value.rpartition(b"@")[2].decode("ascii", "replace").rstrip("> ").lower()
    )


def _reduced(field: Field, hidden: Hidden) -> Field | None:
    """What is indispensable of a field, in case that the rest names a hidden address."""
    match field.name:
        case b"mime-version":
            return added("MIME-Version", "1.0")
        case b"content-type":
            return _with_parameters("Content-Type", content_type(field.value), hidden)
        case b"content-disposition":
            return _with_parameters("Content-Disposition", disposition(field.value), hidden)
        case b"content-transfer-encoding":
            word = transfer_encoding(field.value)
            return added("Content-Transfer-Encoding", word.decode("ascii")) if _KEYWORD.fullmatch(word) else None
        case _:
            return None


def _with_parameters(title: str, value: Value, hidden: Hidden) -> Field | None:
    pieces = [value.word]
    for name in _NEEDED:
        text = _UNPRINTABLE.sub(b"?", value.params.get(name, b""))
        if text and (name == b"boundary" or not hidden.shows(text)):
            pieces.append(b'%b="%b"' % (name, _QUOTED.sub(rb"\\\1", text)))
    if not value.word or hidden.shows(value.word):
        return None
    return Field(title.lower().encode("ascii"), title.encode("ascii") + b": " + b";\r\n\t".join(pieces) + b"\r\n")
