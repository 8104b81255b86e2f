"""Attachments taken out of a message, each replaced by a note; no other octet changes (spec section 5.6)."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from mailrelay.core import charset, phrase, transfer
from mailrelay.core.bodyedit import apply
from mailrelay.core.contenttype import disposition
from mailrelay.core.frozen import Frozen
from mailrelay.core.header import Message, split
from mailrelay.core.mime import TEXT, Entity, Tree

NOTE = "[attachment removed: {name}, {type}, {size} bytes]"
_UNNAMED = "unnamed"
_UNTYPED = "unknown type"
_NOTE_TYPE = b"Content-Type: text/plain; charset=utf-8\r\n"
_MAX_TYPE_OCTETS = 100

_SIGNED = b"multipart/signed"
_SIGNED_WORD = re.compile(_SIGNED, re.IGNORECASE)
# What is frozen where it is the whole message is left alone inside of one, too.
_SEALED = (b"multipart/encrypted", b"multipart/report")
_CID = re.compile(rb"cid:([^\s\"'<>()]++)", re.IGNORECASE)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Removed:
    """A message without its attachments, to be read and edited further.

    fields: what changed in its header: name in lower case -> the raw field with its CRLF, as in bodyedit.Edited.
    """

    message: Message
    fields: Mapping[bytes, bytes]


# From where to where, and what stands there instead.
_Splice = tuple[int, int, bytes]


def removed(tree: Tree, frozen: Frozen) -> Removed | None:
    """The message without attachments; None if it has none, or is content that must stay as it is.

    An attachment is a leaf whose disposition says so, or one with a file name, save texts, what the HTML shows, images
    between the text and invitations. An attached message is one leaf. Signed content whose attachment is removed loses
    its signature and becomes multipart/mixed. frozen: of this tree.
    """
    message, root = tree.message, tree.root
    if not frozen.body_edits and root.type != _SIGNED:
        return None
    finder = _Finder(message.content, frozen.calendar, _shown(tree))
    splices = list(finder.splices(root))
    fields: dict[bytes, bytes] = {}
    if not root.is_multipart and not root.broken and finder.is_unwanted(root):
        note, encoding = _encoded(finder.note(root))
        fields = {
            b"content-type": _NOTE_TYPE,
            b"content-transfer-encoding": b"Content-Transfer-Encoding: " + encoding + b"\r\n",
            b"content-disposition": b"Content-Disposition: inline\r\n",
        }
        splices = [(root.body_start, root.body_end, note + b"\r\n")]
    elif splices and root.type == _SIGNED:
        fields = {b"content-type": _unsigned(_content_type(root))}
    if not splices:
        return None
    if fields and root.first(b"mime-version") is None:
        fields[b"mime-version"] = b"MIME-Version: 1.0\r\n"
    header = [one.raw for one in apply(message.fields, fields)]
    rest = _spliced(message.content, message.header_end, splices)
    return Removed(split(b"".join([*header, *rest])), fields)


@dataclass(frozen=True, slots=True)
class _Finder:
    """Finds what to take out. shown: Content-IDs that the HTML refers to; calendar: the message is an invitation."""

    content: bytes
    calendar: bool
    shown: Collection[bytes]

    def splices(self, entity: Entity) -> Iterator[_Splice]:
        """What is to be replaced in a multipart, in order; nothing if that is broken."""
        if entity.broken or not entity.is_multipart or entity.type in _SEALED:
            return
        if entity.type == _SIGNED and len(entity.children) == 2:
            yield from self.in_signed(entity)
            return
        before: Entity | None = None
        for child in entity.children:
            if child.is_multipart:
                yield from self.in_multipart(child)
            elif self.is_unwanted(child):
                if entity.type == b"multipart/alternative" and before is not None:
                    # The last alternative is what people see: a note there would hide the text before it.
                    yield before.body_end, child.body_end, b""
                else:
                    yield child.start, child.body_end, self.note_part(child)
            before = child

    def in_multipart(self, entity: Entity) -> Iterator[_Splice]:
        """The same for a multipart that is a part."""
        inside = list(self.splices(entity))
        if inside and entity.type == _SIGNED:
            field = _content_type(entity)
            at = self.content.index(field, entity.start)
            yield at, at + len(field), _unsigned(field)
        yield from inside

    def in_signed(self, entity: Entity) -> Iterator[_Splice]:
        """What is signed, and with it the signature. RFC 1847: the first part is signed by the second."""
        signed, signature = entity.children
        if signed.is_multipart:
            inside = list(self.in_multipart(signed))
        else:
            inside = [(signed.start, signed.body_end, self.note_part(signed))] if self.is_unwanted(signed) else []
        yield from inside
        if inside:
            yield signed.body_end, signature.body_end, b""

    def is_unwanted(self, leaf: Entity) -> bool:
        """Whether a leaf is an attachment."""
        if self.calendar and leaf.type == b"text/calendar":
            return False
        word, name = _disposition(leaf)
        if word not in (b"", b"inline"):
            return True
        if not name or leaf.type in TEXT or (word and leaf.type.startswith(b"image/")):
            return False
        return (leaf.first(b"content-id") or b"").strip(b"<> \t") not in self.shown

    def note(self, leaf: Entity) -> str:
        """What stands there instead of a leaf."""
        raw = self.content[leaf.body_start : leaf.body_end]
        text = None if leaf.broken else transfer.decode(raw, leaf.encoding)
        return NOTE.format(
            name=phrase.name_of(_disposition(leaf)[1]) or _UNNAMED,
            type=leaf.type[:_MAX_TYPE_OCTETS].decode("ascii") or _UNTYPED,
            size=len(raw if text is None else text),
        )

    def note_part(self, leaf: Entity) -> bytes:
        """The note as a part. None of its lines can be a boundary, whatever the name of the file."""
        note, encoding = _encoded(self.note(leaf))
        return b"%bContent-Transfer-Encoding: %b\r\n\r\n%b" % (_NOTE_TYPE, encoding, note)


def _encoded(note: str) -> tuple[bytes, bytes]:
    """Octets of a note, and their transfer encoding."""
    if note.isascii():
        return note.encode("ascii"), b"7bit"
    return transfer.encode(note.encode("utf-8"), b"base64"), b"base64"


def _disposition(leaf: Entity) -> tuple[bytes, bytes]:
    """The word of a Content-Disposition, and the name of the file, b"" each if there is none."""
    value = leaf.first(b"content-disposition")
    read = disposition(value) if value is not None else None
    name = read.params.get(b"filename", b"") if read is not None else b""
    return read.word if read is not None else b"", name or leaf.params.get(b"name", b"")


def _shown(tree: Tree) -> frozenset[bytes]:
    """The Content-IDs that HTML parts refer to (RFC 2392)."""
    found: set[bytes] = set()
    for leaf in tree.leaves():
        if leaf.type != b"text/html" or leaf.broken:
            continue
        text = transfer.decode(tree.message.content[leaf.body_start : leaf.body_end], leaf.encoding)
        codec = charset.codec(leaf.params.get(b"charset", b""))
        if text is not None and codec is not None and charset.is_wide(codec):
            text = charset.narrow(text, codec)
        found.update(_PERCENT.sub(_octet, one) for one in _CID.findall(text or b""))
    return frozenset(found)


def _octet(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode("ascii"))


def _content_type(entity: Entity) -> bytes:
    return next(one.raw for one in entity.fields if one.name == b"content-type")


def _unsigned(field: bytes) -> bytes:
    """The Content-Type field of something signed that is so no more; its boundary stays."""
    return _SIGNED_WORD.sub(b"multipart/mixed", field, count=1)


def _spliced(content: bytes, at: int, splices: Iterable[_Splice]) -> Iterator[bytes]:
    """The content from some offset on, with parts of it replaced."""
    for start, end, octets in splices:
        yield content[at:start]
        yield octets
        at = end
    yield content[at:]
