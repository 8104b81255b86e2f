"""Content-Type, Content-Disposition and Content-Transfer-Encoding, read leniently (RFC 2045 section 5, RFC 2231)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = rb"[!#$%&'*+.^_`{|}~0-9A-Za-z-]"
_TYPE = re.compile(rb"[ \t]*+(%b++/%b++)[ \t]*+(?![^;(\s])" % (_TOKEN, _TOKEN))
# Also of text/html charset=utf-8, where the semicolon was forgotten.
_LENIENT_TYPE = re.compile(rb"[ \t]*+(%b++/%b++)[ \t]++(?=%b++=)" % (_TOKEN, _TOKEN, _TOKEN))
_WORD = re.compile(rb"[ \t]*+(%b++)" % _TOKEN)

# Each match consumes what it looked at, hence the time is linear: name, quoted value, bare value, or junk.
_PARAMETER = re.compile(
    rb"""([^\s=;"()]++)[ \t]*+(?:=[ \t]*+(?:"((?:[^"\\]++|\\.)*+)"?+|([^\s;"]*+)))?+"""
    rb"""|"(?:[^"\\]++|\\.)*+"?+|\([^()]*+\)?+""",
    re.DOTALL,
)
_EXTENDED = re.compile(rb"([^*]++)\*(\d{0,3})(\*?)")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_COMMENT = re.compile(rb"\([^()]*+\)")
_CHARSET = re.compile(
    rb"""("(?:[^"\\]++|\\.)*+"?+)|([;\s]charset[ \t\r\n]*+=[ \t\r\n]*+)("[^"]*+"|[^\s;"]++)""", re.I | re.S
)


@dataclass(frozen=True, slots=True)
class Value:
    """A value with parameters, such as `text/plain; charset=utf-8`."""

    word: bytes  # lower case: `text/plain`, `attachment`; b"" if it does not begin as it must
    params: Mapping[bytes, bytes]  # names in lower case; RFC 2231 undone, its charset and language dropped
    ambiguous: frozenset[bytes]  # parameters that stand there twice with different values


def content_type(value: bytes) -> Value:
    """Read a Content-Type. value: unfolded.

    `word` is b"" for what is no type (`png`, `text`), so that nobody takes it for text.
    """
    found = _TYPE.match(value) or _LENIENT_TYPE.match(value)
    return _read(value, found[1], found.end()) if found else Value(b"", {}, frozenset())


def disposition(value: bytes) -> Value:
    """Read a Content-Disposition (RFC 2183). value: unfolded."""
    found = _WORD.match(value)
    return _read(value, found[1], found.end()) if found else Value(b"", {}, frozenset())


def transfer_encoding(value: bytes) -> bytes:
    """The word of a Content-Transfer-Encoding in lower case, known or not. value: unfolded."""
    return _COMMENT.sub(b"", value).strip(b" \t").lower()


def with_charset(raw: bytes, charset: bytes) -> bytes | None:
    """A raw Content-Type field with another charset, all else as it was.

    None if it has no charset parameter that can be replaced, or one in pieces (RFC 2231).
    """
    for found in _CHARSET.finditer(raw):
        if found[2]:
            return raw[: found.start(3)] + charset + raw[found.end(3) :]
    return None


def _read(value: bytes, word: bytes, at: int) -> Value:
    params: dict[bytes, bytes] = {}
    pieces: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    ambiguous: set[bytes] = set()
    for name, quoted, bare in _PARAMETER.findall(value, at):
        if not name:
            continue
        name, text = name.lower(), _ESCAPED.sub(rb"\1", quoted) if quoted else bare
        if extended := _EXTENDED.fullmatch(name):
            index = int(extended[2] or 0)
            percent = bool(extended[3]) or not extended[2]
            pieces.setdefault(extended[1], {}).setdefault(index, (text, percent))
        elif params.setdefault(name, text) != text:
            ambiguous.add(name)
    for name, numbered in pieces.items():
        text = _joined(numbered)
        if params.setdefault(name, text) != text:
            ambiguous.add(name)
    return Value(word.lower(), params, frozenset(ambiguous))


def _joined(pieces: Mapping[int, tuple[bytes, bool]]) -> bytes:
    """The value of RFC 2231 pieces, from number 0 to the first gap."""
    values: list[bytes] = []
    for index in range(len(pieces)):
        if index not in pieces:
            break
        text, percent = pieces[index]
        if percent and index == 0 and text.count(b"'") >= 2:
            text = text.split(b"'", 2)[2]
        values.append(_PERCENT.sub(_octet, text) if percent else text)
    return b"".join(values)


def _octet(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode("ascii"))
