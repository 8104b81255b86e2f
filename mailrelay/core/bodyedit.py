"""Puts banner and warning into a body, and encodes what cannot travel as it is (spec sections 3.8, 3.10, 3.11).

Only octets of the parts concerned change, and of their headers as few as possible. Parts that are broken, or in a
charset we do not know, are left alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mailrelay.core import charset, transfer
from mailrelay.core.banner import Fragment
from mailrelay.core.contenttype import with_charset
from mailrelay.core.frozen import Frozen
from mailrelay.core.header import Field, Message
from mailrelay.core.htmlsplice import after_body_tag, before_body_end
from mailrelay.core.mime import IDENTITY, Entity, Tree, enclosing, first_texts, has_delimiter
from mailrelay.core.transfer import long_lines

__all__ = ["Edited", "apply", "edit", "long_lines", "needs_reencoding", "reencoded", "splits_signed_lines"]

# Postfix' smtp_line_length_limit.
_HARD_LINE_LIMIT = 998
_BOM = b"\xef\xbb\xbf"
_ENCODING = b"content-transfer-encoding"


@dataclass(frozen=True, slots=True)
class Edited:
    """A body, and what it changes in the header of the message.

    fields: name in lower case -> the raw field with its CRLF that replaces the first of that name or is added (see
    `apply`). inserted: whether a text part took up what was to be inserted.
    """

    body: bytes
    fields: Mapping[bytes, bytes]
    inserted: bool


@dataclass(frozen=True, slots=True)
class _Change:
    """A leaf with another body. content_type: its raw field if that changes, too."""

    entity: Entity
    body: bytes
    encoding: bytes
    content_type: bytes | None = None

    @property
    def fields(self) -> dict[bytes, bytes]:
        """What changes in the header of the leaf; fields keep the spelling of their names."""
        fields = {} if self.content_type is None else {b"content-type": self.content_type}
        if self.encoding != self.entity.encoding:
            raws = [one.raw for one in self.entity.fields if one.name == _ENCODING]
            name = raws[0].partition(b":")[0] if raws else b"Content-Transfer-Encoding"
            fields[_ENCODING] = name + b": " + self.encoding + b"\r\n"
        return fields


def edit(tree: Tree, frozen: Frozen, top: Fragment | None = None, bottom: Fragment | None = None) -> Edited:
    """The body of a rewritten copy: with banner and warning unless it is frozen, without lines over 990 octets and
    without NUL octets, all else as it came. Of frozen content only lines over 998 octets are encoded: Postfix would
    break them, and a signature inside with them.

    top: stands above the text, bottom: below it. frozen: of this tree.
    """
    content = tree.message.content
    insertions = top is not None or bottom is not None
    changes: list[_Change] = []
    if insertions and frozen.body_edits:
        changes = first_texts(tree, lambda entity: _with_fragments(content, entity, top, bottom))
    inserted = bool(changes)
    if needs_reencoding(tree.message):
        changed = {change.entity.start for change in changes}
        rest = [leaf for leaf in tree.leaves(embedded=True) if leaf.start not in changed]
        changes += _mended(content, rest, frozen.body_edits)
    return _applied(tree, changes, inserted)


def reencoded(tree: Tree) -> Edited:
    """The body with every part encoded that has lines over 990 octets or NUL octets: text as quoted-printable, other
    parts as base64. Parts that are broken or cannot be encoded (message/partial) stay.
    """
    return _applied(tree, list(_mended(tree.message.content, tree.leaves(embedded=True), True)), False)


def needs_reencoding(message: Message) -> bool:
    """Whether a body has lines over 990 octets or NUL octets: then Postfix or the receiver would change it."""
    return message.content.find(b"\0", message.body_start) >= 0 or long_lines(message.content, message.body_start)


def splits_signed_lines(message: Message) -> bool:
    """For transparent mode: whether Postfix would break a line and with it a DKIM signature of others.

    It puts CRLF and a space after 998 octets, which no canonicalisation forgives.
    """
    long = long_lines(message.content, message.body_start, limit=_HARD_LINE_LIMIT)
    return long and message.count(b"dkim-signature") > 0


def apply(fields: Iterable[Field], changes: Mapping[bytes, bytes]) -> list[Field]:
    """Fields with some replaced, the first of a name in its place, or added at the end."""
    left = dict(changes)
    kept = [Field(one.name, left.pop(one.name)) if one.name in left else one for one in fields]
    return kept + [Field(name, raw) for name, raw in left.items()]


def _applied(tree: Tree, changes: Sequence[_Change], inserted: bool) -> Edited:
    content, at = tree.message.content, tree.message.body_start
    fields: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    for made in sorted(changes, key=lambda change: change.entity.start):
        change, entity = _undelimited(tree, made), made.entity
        if entity is tree.root:
            fields |= change.fields
        elif changed := change.fields:
            pieces += [content[at : entity.start], *(one.raw for one in apply(entity.fields, changed))]
            at = entity.header_end
        pieces += [content[at : entity.body_start], change.body]
        at = entity.body_end
    if fields and tree.root.first(b"mime-version") is None:
        fields[b"mime-version"] = b"MIME-Version: 1.0\r\n"
    return Edited(b"".join([*pieces, content[at:]]), fields, inserted)


def _undelimited(tree: Tree, change: _Change) -> _Change:
    """The change, in base64 if one of its lines would end the part: texts of strangers are shown, lines are folded, and
    the sender chose the boundary. In base64 no line begins with `--`.
    """
    if not any(has_delimiter(change.body, boundary) for boundary in enclosing(tree, change.entity)):
        return change
    text = transfer.decode(change.body, change.encoding) or b""
    return replace(change, body=transfer.encode(text, b"base64"), encoding=b"base64")


def _with_fragments(content: bytes, entity: Entity, top: Fragment | None, bottom: Fragment | None) -> _Change | None:
    """The leaf with the fragments in it; None if it cannot be read."""
    codec = charset.codec(entity.params.get(b"charset", b""))
    raw = content[entity.body_start : entity.body_end]
    text = transfer.decode(raw, entity.encoding)
    if codec is None or text is None:
        return None
    if charset.is_wide(codec):
        return _converted(entity, charset.narrow(text, codec), top, bottom)
    insertions = _insertions(text, entity, codec, top, bottom)
    if insertions is None:
        return None
    body = transfer.insert(raw, text, entity.encoding, insertions)
    return _travelling(entity, body, eight_bit=any(not octets.isascii() for _, octets in insertions))


def _converted(entity: Entity, text: bytes | None, top: Fragment | None, bottom: Fragment | None) -> _Change | None:
    """A UTF-16 or UTF-32 leaf becomes UTF-8."""
    content_type = next(one for one in entity.fields if one.name == b"content-type")
    changed = with_charset(content_type.raw, b"utf-8")
    insertions = None if text is None else _insertions(text, entity, "utf-8", top, bottom)
    if changed is None or text is None or insertions is None:
        return None
    spliced = transfer.insert(text, text, b"binary", insertions)
    change = _travelling(entity, transfer.encode(spliced, entity.encoding), eight_bit=not spliced.isascii())
    return replace(change, content_type=changed)


def _travelling(entity: Entity, body: bytes, *, eight_bit: bool) -> _Change:
    """The new body of a text leaf in an encoding that bears it. eight_bit: it has new octets above 127."""
    unfit = long_lines(body) or b"\0" in body
    if entity.encoding in IDENTITY and (unfit or (eight_bit and entity.encoding == b"7bit")):
        return _Change(entity, transfer.encode(body, b"quoted-printable"), b"quoted-printable")
    if unfit:
        body = _encoded_again(body, entity.encoding) or body
    return _Change(entity, body, entity.encoding)


def _insertions(
    text: bytes, entity: Entity, codec: str, top: Fragment | None, bottom: Fragment | None
) -> list[tuple[int, bytes]] | None:
    """What to insert where, see transfer.insert; None if the text ends in the middle of something."""
    view = charset.view(text, codec)
    if view is None:
        return None
    begin = len(_BOM) if text.startswith(_BOM) else 0
    found: list[tuple[int, bytes]] = []
    if entity.type == b"text/html":
        if top:
            begin = after_body_tag(view) or begin
            found.append((begin, charset.encode(top.html, codec, markup=True)))
        if bottom:
            end = before_body_end(view)
            place = len(text) if end is None else max(begin, end)
            found.append((place, charset.encode(bottom.html, codec, markup=True)))
        return found
    if top:
        lines = "\r\n".join([*top.plain, "", ""])
        found.append((begin, charset.encode(lines, codec, markup=False)))
    if bottom:
        ended = not text or text.endswith(b"\n")
        lines = "\r\n".join([*([""] if ended else ["", ""]), *bottom.plain, *([""] if ended else [])])
        found.append((len(text), charset.encode(lines, codec, markup=False)))
    return found


def _mended(content: bytes, leaves: Iterable[Entity], may_edit: bool) -> Iterator[_Change]:
    """Leaves encoded where they must. may_edit: else only what would be broken on the way anyhow."""
    limit = transfer.LINE_LIMIT if may_edit else _HARD_LINE_LIMIT
    for entity in leaves:
        start, end = entity.body_start, entity.body_end
        if entity.broken or entity.is_multipart or entity.type.startswith(b"message/"):
            continue
        if not long_lines(content, start, end, limit) and not (may_edit and content.find(b"\0", start, end) >= 0):
            continue
        raw = content[start:end]
        if entity.encoding not in IDENTITY:
            again = _encoded_again(raw, entity.encoding)
            if again is not None:
                yield _Change(entity, again, entity.encoding)
            continue
        encoding = b"quoted-printable" if entity.type.startswith(b"text/") else b"base64"
        yield _Change(entity, transfer.encode(raw, encoding), encoding)


def _encoded_again(raw: bytes, encoding: bytes) -> bytes | None:
    """The same in lines as the encoding wants them; None if it cannot be decoded."""
    text = transfer.decode(raw, encoding)
    if text is None:
        return None
    body = transfer.encode(text, encoding)
    return body + b"\r\n" if encoding == b"base64" and raw.endswith(b"\n") else body
