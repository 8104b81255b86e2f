"""The parts of a message by their byte offsets; the message itself stays as it is (RFC 2045, 2046).

A tree is built only for those who want to change or understand a body; all others need core/header.py alone.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mailrelay.core.contenttype import Value, content_type, disposition, transfer_encoding
from mailrelay.core.header import Field, Message, split

# Spec section 3.11: a message beyond these is forwarded without edits.
MAX_DEPTH = 30
MAX_PARTS = 500
MAX_PART_HEADER_OCTETS = 65536
# Lines that begin like a boundary and are none; each costs time.
MAX_LOOKALIKES = 20_000
# RFC 2046 says 70; beyond this it cannot stand on one line.
_MAX_BOUNDARY_OCTETS = 990

IDENTITY = frozenset({b"7bit", b"8bit", b"binary"})
ENCODINGS = IDENTITY | {b"quoted-printable", b"base64"}
TEXT = frozenset({b"text/plain", b"text/html"})
_EMBEDDED = frozenset({b"message/rfc822", b"message/global"})
# Multiparts whose text is not the body that people read, or must not change.
_CLOSED = frozenset(
    b"multipart/" + subtype
    for subtype in b"signed encrypted report digest form-data appledouble header-set byteranges x-mixed-replace".split()
)
_DELIMITER_REST = re.compile(rb"(--)?+[ \t]*+(?:\r?\n|\Z)")
_PLAIN_TEXT = Value(b"text/plain", {}, frozenset())

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entity:
    """A message or a part of one. Offsets count from the start of the message."""

    fields: tuple[Field, ...]
    start: int
    header_end: int  # where the empty line begins
    body_start: int  # equal to header_end if there is no empty line
    body_end: int  # before the line end that belongs to the next boundary
    type: bytes  # lower case, `text/html`; b"" if unreadable; text/plain if absent
    params: Mapping[bytes, bytes]  # of the Content-Type; names in lower case
    encoding: bytes  # lower case; 7bit if absent
    children: tuple["Entity", ...]  # parts of a multipart; the message in a message/rfc822
    broken: str  # why its body must not be edited, "" if it may

    def first(self, name: bytes) -> bytes | None:
        """The unfolded value of the topmost field of a name (lower case)."""
        return next((field.value for field in self.fields if field.name == name), None)

    @property
    def is_multipart(self) -> bool:
        return self.type.startswith(b"multipart/")

    @property
    def is_attachment(self) -> bool:
        """Whether it is a file rather than text to read: RFC 2183 takes unknown dispositions for attachments."""
        value = self.first(b"content-disposition")
        if value is None:
            return False
        read = disposition(value)
        return read.word not in (b"", b"inline") or b"filename" in read.params


@dataclass(frozen=True, slots=True)
class Tree:
    """A message and its parts."""

    message: Message
    root: Entity
    excess: str  # which limit it exceeds, "" if none; beyond limits the root has no children and nothing is edited

    def leaves(self, *, embedded: bool = False) -> Iterator[Entity]:
        """The parts that have no parts, in order. embedded: those of attached messages as well."""
        return _leaves(self.root, embedded)


def tree(message: Message) -> Tree:
    """The parts of a message. Any octets will do; the time is linear."""
    walk = _Walk(message.content)
    place = (0, message.header_end, message.body_start, len(message.content))
    try:
        return Tree(message, walk.entity(message.fields, place, 1, _PLAIN_TEXT), "")
    except _ExcessError as excess:
        root = Entity(message.fields, *place, b"", {}, b"7bit", (), str(excess))
        return Tree(message, root, str(excess))


def enclosing(tree: Tree, entity: Entity) -> list[bytes]:
    """The boundaries around a part, the outermost first."""
    boundaries: list[bytes] = []
    around: Entity | None = tree.root
    while around is not None and around is not entity:
        if around.is_multipart:
            boundaries.append(_boundary(around.params))
        inner = (
            child for child in around.children if child.start <= entity.start and entity.body_end <= child.body_end
        )
        around = next(inner, None)
    return boundaries


def has_delimiter(text: bytes, boundary: bytes) -> bool:
    """Whether a body would be cut at one of its lines by this boundary."""
    text, delimiter = b"\n" + text, b"\n--" + boundary
    at = 0
    while (at := text.find(delimiter, at)) >= 0:
        at += len(delimiter)
        if _DELIMITER_REST.match(text, at):
            return True
    return False


def first_texts(tree: Tree, attempt: Callable[[Entity], T | None]) -> list[T]:
    """What `attempt` makes of the text that people see first (spec section 3.8): of a multipart/alternative its first
    text/plain and its first text/html leaf, else one of them.

    attempt: gets a leaf that is neither broken nor an attachment; None sends on to the next one.
    """
    return list(_first_texts(tree.root, attempt, TEXT).values())


def _first_texts(entity: Entity, attempt: Callable[[Entity], T | None], wanted: frozenset[bytes]) -> dict[bytes, T]:
    if entity.broken or entity.type in _CLOSED:
        return {}
    if not entity.is_multipart:
        if entity.type not in wanted or entity.is_attachment:
            return {}
        made = attempt(entity)
        return {} if made is None else {entity.type: made}
    if entity.type == b"multipart/alternative":
        found: dict[bytes, T] = {}
        for child in entity.children:
            found |= _first_texts(child, attempt, wanted - found.keys())
        return found
    children = _root_of_related(entity) if entity.type == b"multipart/related" else entity.children
    return next((found for child in children if (found := _first_texts(child, attempt, wanted))), {})


def _boundary(params: Mapping[bytes, bytes]) -> bytes:
    return params.get(b"boundary", b"").rstrip(b" \t")


def _root_of_related(entity: Entity) -> tuple[Entity, ...]:
    """RFC 2387: what is shown is the part that `start` names, else the first; the others belong to it. If that is no
    text the sender meant something else.
    """
    start = entity.params.get(b"start")
    named = tuple(child for child in entity.children if start and child.first(b"content-id") == start)
    root = (named or entity.children)[:1]
    return root if root and root[0].type.startswith((b"text/", b"multipart/")) else entity.children


def _leaves(entity: Entity, embedded: bool) -> Iterator[Entity]:
    if not entity.is_multipart and not (embedded and entity.children):
        yield entity
        return
    for child in entity.children:
        yield from _leaves(child, embedded)


class _ExcessError(Exception):
    """A limit of section 3.11; does not leave this module."""


class _Walk:
    """One walk through one message, with its counters."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.parts = 0
        self.lookalikes = 0

    def entity(self, fields: tuple[Field, ...], place: tuple[int, int, int, int], depth: int, default: Value) -> Entity:
        """place: start, header_end, body_start, body_end. default: the type of what names none."""
        _, header_end, body_start, end = place
        types = [field for field in fields if field.name == b"content-type"]
        encodings = [field for field in fields if field.name == b"content-transfer-encoding"]
        if sum(len(field.raw) for field in types + encodings) > MAX_PART_HEADER_OCTETS:
            raise _ExcessError("a content field is too long")
        kind = content_type(types[0].value) if types else default
        encoding = transfer_encoding(encodings[0].value) if encodings else b"7bit"
        broken = ""
        if len(types) > 1 or len(encodings) > 1:
            broken = "content fields stand there twice"
        elif body_start == header_end:
            broken = "no empty line after the header"
        elif encoding not in ENCODINGS:
            broken = "unknown transfer encoding"
        children: tuple[Entity, ...] = ()
        if not broken and kind.word.startswith(b"multipart/"):
            children, broken = self.children(kind, encoding, (body_start, end), depth)
        elif not broken and kind.word in _EMBEDDED and encoding in IDENTITY:
            self.count()
            children = (self.part(body_start, end, depth + 1, _PLAIN_TEXT),)
        return Entity(fields, *place, kind.word, kind.params, encoding, children, broken)

    def part(self, start: int, end: int, depth: int, default: Value) -> Entity:
        if depth > MAX_DEPTH:
            raise _ExcessError("parts are nested too deep")
        # With room for the empty line; a header that goes on is longer than the limit then.
        head = split(self.content[start : min(end, start + MAX_PART_HEADER_OCTETS + 2)])
        if head.header_end > MAX_PART_HEADER_OCTETS:
            raise _ExcessError("the header of a part is too long")
        place = (start, start + head.header_end, start + head.body_start, end)
        return self.entity(head.fields, place, depth, default)

    def children(
        self, kind: Value, encoding: bytes, place: tuple[int, int], depth: int
    ) -> tuple[tuple[Entity, ...], str]:
        """The parts of a multipart, and what is wrong with them."""
        boundary = _boundary(kind.params)
        if not boundary or len(boundary) > _MAX_BOUNDARY_OCTETS:
            return (), "no usable boundary parameter"
        if b"boundary" in kind.ambiguous:
            return (), "two boundary parameters"
        if encoding not in IDENTITY:
            return (), "a multipart in a transfer encoding"
        ranges, broken = self.cut(b"\n--" + boundary, *place)
        default = Value(b"message/rfc822", {}, frozenset()) if kind.word == b"multipart/digest" else _PLAIN_TEXT
        return tuple(self.part(start, end, depth + 1, default) for start, end in ranges), broken

    def cut(self, delimiter: bytes, start: int, end: int) -> tuple[list[tuple[int, int]], str]:
        """Where the parts lie between their delimiter lines, and what is wrong with these."""
        content = self.content
        ranges: list[tuple[int, int]] = []
        begin: int | None = None  # of the part that is open
        closed = False
        at = start - 1  # the line end before the body may be the one before the first boundary
        while (at := content.find(delimiter, at, end)) >= 0:
            line = _DELIMITER_REST.match(content, at + len(delimiter), end)
            if line is None:
                self.look_alike()
                at += len(delimiter)
                continue
            if closed:
                return ranges, "a boundary after the final one"
            if begin is not None:
                self.count()
                stop = at - 1 if content[at - 1] == 0x0D else at
                ranges.append((begin, max(begin, stop)))
            begin, closed = line.end(), line[1] is not None
            at = max(at + 1, line.end() - 1)
        if not closed:
            if begin is not None:
                self.count()
                ranges.append((begin, end))
            return ranges, "no final boundary"
        return ranges, "" if ranges else "no parts"

    def count(self) -> None:
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise _ExcessError("too many parts")

    def look_alike(self) -> None:
        self.lookalikes += 1
        if self.lookalikes > MAX_LOOKALIKES:
            raise _ExcessError("too many lines like a boundary")
