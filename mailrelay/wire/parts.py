"""The parts of mail that machines write, read as leniently as they write it (RFC 2045, 2046).

core/mime.py, which edits, refuses what is not sound; here whatever does not fit is passed over, and nothing raises.
"""

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape

from mailrelay.core.charset import codec
from mailrelay.core.header import Message, split

MAX_DEPTH = 30
MAX_PARTS = 500

# Lines that begin like a boundary and are none; each costs time.
_MAX_LOOKALIKES = 20_000
_MAX_DECODED_OCTETS = 1 << 18
_MAX_TYPE_OCTETS = 4096
_MAX_VALUE_CHARS = 2000

_TYPE = re.compile(rb"[ \t]*+([!#-'*+.0-9A-Z^-~-]++/[!#-'*+.0-9A-Z^-~-]++)", re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)"|([^\s;"]*+))', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_BREAK = re.compile(r"<(?:br|/?p|/?div|/?tr|/?table|/?li|/?h[1-6])\b[^<>]*+>", re.IGNORECASE)
_MARKUP = re.compile(r"<[^<>]*+>")
_INVISIBLE = re.compile(r"<(style|script|title)\b[^<>]*+>[^<]*+</\1", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """A message or a part of one."""

    message: Message
    kind: str  # lower case; text/plain if there is none, "" if it is unreadable
    params: Mapping[bytes, bytes]  # names in lower case


@dataclass(frozen=True, slots=True)
class Multipart:
    """A part that has parts."""

    part: Part
    parts: tuple[Part, ...]
    depth: int  # 0 for the message itself
    closed: bool  # its closing line came; else the last part reaches to the end


def opened(content: bytes) -> Part:
    """A message or part of some octets, any octets."""
    message = split(content)
    value = message.first(b"content-type")
    kind, params = _content_type(value) if value is not None else ("text/plain", {})
    return Part(message, kind, params)


def multiparts(root: Part) -> Iterator[Multipart]:
    """The multiparts in a message, in order, at most 500 parts; messages attached to it are not opened."""
    waiting = [(root, 0)]
    seen = 1
    while waiting:
        part, depth = waiting.pop()
        boundary = part.params.get(b"boundary", b"").rstrip()
        if not part.kind.startswith("multipart/") or not boundary or depth == MAX_DEPTH or seen >= MAX_PARTS:
            continue
        pieces, closed = _children(part.message.body, boundary, MAX_PARTS - seen)
        seen += len(pieces)
        parts = tuple(map(opened, pieces))
        yield Multipart(part, parts, depth, closed)
        waiting += [(child, depth + 1) for child in reversed(parts)]


def decoded(part: Part, limit_octets: int = _MAX_DECODED_OCTETS) -> bytes:
    """The first octets of a body without its transfer encoding; of broken base64 what is left of it."""
    encoding = (part.message.first(b"content-transfer-encoding") or b"").lower()
    begin = part.message.body_start
    if encoding == b"base64":
        digits = part.message.content[begin : begin + limit_octets * 3 // 2].translate(None, _NOT_BASE64)
        return binascii.a2b_base64(digits[: len(digits) // 4 * 4] + _last_digits(digits))[:limit_octets]
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(part.message.content[begin : begin + limit_octets * 3])[:limit_octets]
    return part.message.content[begin : begin + limit_octets]


def text_of(part: Part, limit_octets: int) -> str:
    """The text of a part for people, of HTML what is left without its tags.

    Its lines end in LF; there is no other control character but tabs.
    """
    octets = decoded(part, limit_octets)
    text = _characters(octets, codec(part.params.get(b"charset", b"")) or "ascii").replace("\r\n", "\n")
    if part.kind == "text/html":
        text = _INVISIBLE.sub("<", text.replace("\n", " "))
        text = unescape(_MARKUP.sub("", _BREAK.sub("\n", text)))
    return _UNPRINTABLE.sub(" ", text)


def _characters(octets: bytes, charset: str) -> str:
    if charset != "ascii":
        return octets.decode(charset, "replace")
    # What says nothing, or that it were ASCII, is mostly UTF-8 when it is not; one character may be cut at the end.
    text = octets.decode("utf-8", "replace")
    return text if text.count("\ufffd") <= 1 else octets.decode("cp1252", "replace")


def one_line(value: bytes) -> str:
    """One line that a database takes: no control characters, no broken UTF-8."""
    return _CONTROLS.sub(" ", value.decode("utf-8", "replace")).strip()[:_MAX_VALUE_CHARS]


def first_text(root: Part) -> Part:
    """The part that people read first: text/plain, else text/html, else the message as if it were text."""
    if not root.kind.startswith("multipart/"):
        return root
    found = root
    # One level at a time: parts within parts, all held at once, would be the message many times over.
    for multipart in multiparts(root):
        for child in multipart.parts:
            if child.kind not in ("text/plain", "text/html") or not child.message.body.strip():
                continue
            if child.kind == "text/plain":
                return child
            found = child if found is root else found
    return found


def _last_digits(digits: bytes) -> bytes:
    """What follows the last whole group of four, as a group; one digit alone says nothing."""
    rest = digits[len(digits) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _content_type(value: bytes) -> tuple[str, Mapping[bytes, bytes]]:
    """The type in lower case, "" if unreadable, and its parameters, of which the first of a name counts."""
    value = value[:_MAX_TYPE_OCTETS]
    kind = _TYPE.match(value)
    if kind is None:
        return "", {}
    parameters: dict[bytes, bytes] = {}
    for name, quoted, plain in _PARAMETER.findall(value, kind.end()):
        parameters.setdefault(name.lower(), _QUOTED_PAIR.sub(rb"\1", quoted) or plain)
    return kind[1].decode("ascii").lower(), parameters


def _children(body: bytes, boundary: bytes, limit: int) -> tuple[list[bytes], bool]:
    """The first parts of a multipart body, and whether its closing line came; else the last one reaches to the end."""
    marker = b"--" + boundary
    found: list[bytes] = []
    begin = None
    lookalikes = 0
    at = body.find(marker)
    while at >= 0 and len(found) < limit and lookalikes < _MAX_LOOKALIKES:
        after = at + len(marker)
        lookalikes += 1
        if at == 0 or body[at - 1 : at] == b"\n":
            line_end = body.find(b"\n", after)
            line_end = len(body) if line_end < 0 else line_end
            rest = body[after:line_end].strip(b" \t\r")
            if rest in (b"", b"--"):
                lookalikes -= 1
                if begin is not None:
                    found.append(body[begin:at])
                if rest:
                    return found, True
                begin = line_end + 1
        at = body.find(marker, after)
    if begin is not None and len(found) < limit:
        found.append(body[begin:])
    return found, False
