"""The text of parts, and parts with another text (spec sections 3.8 and 4.8, 5)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mailrelay.core import charset, transfer
from mailrelay.core.contenttype import with_charset
from mailrelay.core.mime import Entity, has_delimiter
from mailrelay.core.sending.splice import Splice, field_places

_ENCODING = b"content-transfer-encoding"
# RFC 2152: an `@` may be anything there.
_UTF_7 = frozenset({b"utf-7", b"utf7", b"unicode-1-1-utf-7", b"x-unicode-1-1-utf-7", b"csunicode11utf7"})
# Characters whose second octet may look like ASCII, and even like an `@`.
_TWO_OCTETS = re.compile(rb"[\x81-\xfe][\x40-\xfe]")
_ESCAPE = re.compile(rb"\x1b\([BJ]")
_CHARACTERS = {
    **dict.fromkeys(("gbk", "big5", "big5hkscs", "cp949", "euc_jp"), _TWO_OCTETS),
    "gb18030": re.compile(rb"[\x81-\xfe](?:[\x40-\xfe]|[\x30-\x39][\x81-\xfe][\x30-\x39])"),
    "cp932": re.compile(rb"[\x81-\x9f\xe0-\xfc][\x40-\xfc]"),
}


@dataclass(frozen=True, slots=True)
class Text:
    """What a part says. codec: of the octets, None for an unknown one. converted: the part is UTF-7, -16 or -32."""

    octets: bytes
    codec: str | None
    converted: bool

    def view(self) -> bytes:
        """The same with equal offsets, where every ASCII octet means itself."""
        return view(self.octets, self.codec)


def view(octets: bytes, codec: str | None) -> bytes:
    """Text with equal offsets, where every ASCII octet means itself. codec: as charset.codec has it."""
    if codec is None:
        return octets
    characters = _CHARACTERS.get(codec)
    if characters is not None:
        return characters.sub(lambda found: b"\xff" * len(found[0]), octets)
    seen = charset.view(octets, codec)
    # Escape sequences end in letters, which are part of no address.
    return octets if seen is None or seen is octets else _ESCAPE.sub(b"\xff\xff\xff", seen)


def text_of(content: bytes, entity: Entity) -> Text | None:
    """The text of a leaf; None if its encoding does not tell. What is broken otherwise is read as it stands there."""
    raw = content[entity.body_start : entity.body_end]
    octets = raw if entity.broken else transfer.decode(raw, entity.encoding)
    name = entity.params.get(b"charset", b"")
    codec = charset.codec(name)
    if octets is not None and codec is None and name.strip(b" \t'").lower() in _UTF_7:
        return _from_utf_7(octets)
    if octets is None or codec is None or not charset.is_wide(codec):
        return None if octets is None else Text(octets, codec, False)
    narrowed = None if entity.broken else charset.narrow(octets, codec)
    return None if narrowed is None else Text(narrowed, "utf-8", True)


def _from_utf_7(octets: bytes) -> Text | None:
    try:
        return Text(octets.decode("utf-7").encode("utf-8"), "utf-8", True)
    except UnicodeError:
        return None


def written(content: bytes, entity: Entity, text: Text, new: bytes, boundaries: Sequence[bytes]) -> list[Splice] | None:
    """The changes that make a leaf say something else; None if it cannot.

    text: what it says. boundaries: of the multiparts around it, none of which may appear.
    """
    raw = content[entity.body_start : entity.body_end]
    if entity.broken:
        body, encoding = new, entity.encoding
    else:
        body, encoding = _encoded(raw, text.octets, new, entity.encoding)
    if any(has_delimiter(body, boundary) for boundary in boundaries):
        if entity.broken:
            return None
        body, encoding = transfer.encode(new, b"base64"), b"base64"
    splices = [Splice(entity.body_start, entity.body_end, body)]
    if encoding != entity.encoding:
        splices.append(_field(entity, _ENCODING, b"Content-Transfer-Encoding: " + encoding + b"\r\n"))
    if text.converted:
        raw_type = next((one.raw for one in entity.fields if one.name == b"content-type"), b"")
        content_type = with_charset(raw_type, b"utf-8")
        if content_type is None:
            return None
        splices.append(_field(entity, b"content-type", content_type))
    return splices


def _encoded(raw: bytes, old: bytes, new: bytes, encoding: bytes) -> tuple[bytes, bytes]:
    if encoding == b"7bit" and old.isascii() and not new.isascii():
        encoding = b"quoted-printable"
    body = transfer.encode(new, encoding)
    return (body + b"\r\n" if encoding == b"base64" and raw.endswith(b"\n") else body), encoding


def _field(entity: Entity, name: bytes, raw: bytes) -> Splice:
    """A field in place of the first of its name, or at the end of the header."""
    place = next((one for one in field_places(entity) if one.field.name == name), None)
    return Splice(entity.header_end, entity.header_end, raw) if place is None else Splice(place.start, place.end, raw)
