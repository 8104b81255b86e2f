"""A message as bytes with a header in front: read fields, drop some, put new ones on top.

Nothing is decoded and written out again: what is not removed leaves with the octets it came with, however
odd they are.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

MAX_VALUE_OCTETS = 900

# Above this the rest of the header is one opaque piece: 25 MB of `a:` lines must not become objects.
MAX_FIELDS = 10_000

# A field with its continuation lines. A bare LF ends a line, too: Postfix reads it so. The quantifiers are
# possessive, hence the time is linear.
_FIELD = re.compile(rb"([A-Za-z0-9-]++|[!-9;-~]++)[ \t]*+:.*+\n?+(?:[ \t].*+\n?+)*+")
_MBOX_LINE = re.compile(rb">*+From [^\n]*+\n?+")
_EMPTY_LINE = re.compile(rb"\r?\n")
_HEADER_END = re.compile(rb"\n(?=\r?\n)|\Z")

_FIELD_NAME = re.compile(r"[!-9;-~]+", re.ASCII)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_WORD = re.compile(rb" *[^ ]+")
# RFC 2047 section 2: an encoded word has at most 75 octets, 12 of them around the base64.
_ENCODED_WORD_OCTETS = 45


@dataclass(frozen=True, slots=True)
class Field:
    """One header field."""

    name: bytes  # lower case; b"" for a piece that is no field but stays where it is
    raw: bytes  # all of it, line ends and folding included

    @property
    def value(self) -> bytes:
        """The value unfolded: line ends gone, white space around it, too."""
        return unfold(self.raw.partition(b":")[2])


@dataclass(frozen=True, slots=True)
class Message:
    """A message cut into pieces: the fields joined, an empty line or nothing, then the body."""

    content: bytes
    fields: tuple[Field, ...]
    header_end: int  # offset of the empty line after the header
    body_start: int  # equal to header_end if there is no empty line

    @property
    def body(self) -> bytes:
        """Everything after the empty line."""
        return self.content[self.body_start :]

    def values(self, name: bytes) -> list[bytes]:
        """The unfolded values of all fields of a name (lower case), from the top."""
        return [field.value for field in self.fields if field.name == name]

    def count(self, name: bytes) -> int:
        """How many fields have a name (lower case)."""
        return [field.name for field in self.fields].count(name)

    def first(self, name: bytes) -> bytes | None:
        """The unfolded value of the topmost field of a name (lower case)."""
        return next((field.value for field in self.fields if field.name == name), None)


def split(content: bytes) -> Message:
    """Find the header of a message. Any octets will do.

    As in Postfix the first line that is neither field nor continuation begins the body, even without an
    empty line before it. Only an mbox `From ` line on top may precede the fields; it has an empty name.
    """
    fields: list[Field] = []
    at = 0
    if not _FIELD.match(content) and (mbox_line := _MBOX_LINE.match(content)):
        fields.append(Field(b"", mbox_line[0]))
        at = mbox_line.end()
    while found := _FIELD.match(content, at):
        if len(fields) == MAX_FIELDS:
            end = _HEADER_END.search(content, at)
            assert end is not None  # the end of the content always matches
            fields.append(Field(b"", content[at : end.end()]))
            at = end.end()
            break
        raw, name = found.group(0, 1)
        fields.append(Field(name.lower(), raw))
        at = found.end()
    empty_line = _EMPTY_LINE.match(content, at)
    return Message(content, tuple(fields), at, empty_line.end() if empty_line else at)


def edit(
    message: Message,
    remove: Collection[bytes] | Callable[[Field], bool] = (),
    prepend: Sequence[bytes] = (),
) -> bytes:
    """The message without some fields and with new ones on top.

    remove: names in lower case, or True for the fields to drop. prepend: complete fields with their CRLF,
    as `fold` makes them, the topmost first; an mbox line stays above them.
    """
    drop = remove if callable(remove) else lambda field: field.name in remove
    pieces: list[bytes | memoryview] = [field.raw for field in message.fields if not field.name or not drop(field)]
    opaque_top = message.fields[:1] and not message.fields[0].name
    at = 1 if opaque_top else 0
    pieces[at:at] = prepend
    if prepend and message.header_end == message.body_start < len(message.content):
        # A body that follows without an empty line must not become part of our fields.
        pieces.append(b"\r\n")
    pieces.append(memoryview(message.content)[message.header_end :])
    return b"".join(pieces)


def unfold(value: bytes) -> bytes:
    """A field value on one line, without white space around it."""
    return value.replace(b"\r\n", b"").replace(b"\n", b"").strip(b" \t\r")


def fold(name: str, value: str, limit: int = 78) -> bytes:
    """A field for us to add, with its CRLF: lines of at most `limit` octets where words allow.

    The words from the first to the last that are not ASCII become RFC 2047 encoded words. Line ends and
    other control characters turn into a space; after 900 octets the value ends.
    Raises ValueError for what is no field name.
    """
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError(f"not a field name: {name!r}")
    text = _SURROGATE.sub("\ufffd", _CONTROLS.sub(" ", value)).strip(" ")[:MAX_VALUE_OCTETS]
    line = name.encode("ascii") + b":"
    lines: list[bytes] = []
    room = MAX_VALUE_OCTETS
    for token in _tokens(text):
        if len(token) - 1 > room:
            token = b"" if token.startswith(b" =?utf-8?") else token[: room + 1]
        if not token.strip():
            break
        if len(line) + len(token) > limit and line != b"\t":
            lines.append(line)
            line = b"\t" + token[1:]
        else:
            line += token
        room -= len(token)
    return b"\r\n".join([*lines, line, b""])


def _tokens(text: str) -> Iterator[bytes]:
    """The words of a text, encoded where they must be, each with the white space before it."""
    words = text.split(" ")
    foreign = [at for at, word in enumerate(words) if not word.isascii()]
    begin, end = (foreign[0], foreign[-1] + 1) if foreign else (len(words), len(words))
    yield from _WORD.findall(b" " + " ".join(words[:begin]).encode("ascii"))
    if foreign:
        yield from _encoded_words(" ".join(words[begin:end]))
        yield from _WORD.findall(b" " + " ".join(words[end:]).encode("ascii"))


def _encoded_words(text: str) -> Iterator[bytes]:
    """RFC 2047 words, cut between characters as section 5 demands."""
    chunk = b""
    for octets in [*(char.encode() for char in text), b""]:
        if not octets or len(chunk) + len(octets) > _ENCODED_WORD_OCTETS:
            yield b" =?utf-8?b?%b?=" % b64encode(chunk)
            chunk = b""
        chunk += octets
