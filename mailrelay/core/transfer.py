"""Transfer encodings of parts (RFC 2045 section 6): decode, encode, and insert without touching the rest."""

import re
from binascii import Error, a2b_base64, a2b_qp, b2a_base64, b2a_qp
from collections.abc import Sequence

# Postfix breaks lines at 998 octets and with them signatures; a little room below that (spec section 3.11).
LINE_LIMIT = 990

_LINE_OCTETS = 76  # RFC 2045 sections 6.7 and 6.8
_CHUNK_OCTETS = 4096
_BLANKS = b" \t\r\n"
# Exactly what a2b_qp takes for one octet, or for none.
_QP_TOKEN = re.compile(rb"=(?:\n|\r[^\n]*+\n?+|=|[0-9A-Fa-f]{2}|\Z)?+|[^=]", re.DOTALL)
_TAG_END = re.compile(rb"(?<!=)(?:>|=3[Ee])\Z")
_QP_SOFT_BREAK = (b"=\n", b"=\r", b"=")


def long_lines(text: bytes, start: int = 0, end: int | None = None, limit: int = LINE_LIMIT) -> bool:
    """Whether a line has more than `limit` octets, its CRLF not counted."""
    stop = len(text) if end is None else end
    at = start
    while stop - at > limit:
        line_end = text.rfind(b"\n", at, min(at + limit + 2, stop))
        if line_end < 0:
            return text[at + limit : stop] not in (b"\r", b"")
        at = line_end + 1
    return False


def decode(raw: bytes, encoding: bytes) -> bytes | None:
    """What a part says. encoding: one of mime.ENCODINGS. None for base64 that decoders would read differently."""
    if encoding == b"quoted-printable":
        return a2b_qp(raw)
    if encoding != b"base64":
        return raw
    try:
        return a2b_base64(raw.translate(None, _BLANKS), strict_mode=True)
    except Error:
        return None


def encode(text: bytes, encoding: bytes) -> bytes:
    """The reverse of `decode`, with CRLF between the lines of encodings that have lines of their own."""
    if encoding == b"quoted-printable":
        return _encode_qp(text)
    if encoding == b"base64":
        digits = b2a_base64(text, newline=False)
        return b"\r\n".join([digits[at : at + _LINE_OCTETS] for at in range(0, len(digits), _LINE_OCTETS)])
    return text


def insert(raw: bytes, text: bytes, encoding: bytes, insertions: Sequence[tuple[int, bytes]]) -> bytes:
    """The raw part with octets inserted into what it says; of quoted-printable every other octet stays as it was.

    text: the raw part decoded. insertions: (offset in `text`, octets), offsets ascending.
    """
    if encoding == b"quoted-printable":
        return _insert_qp(raw, len(text), insertions)
    pieces: list[bytes] = []
    at = 0
    for offset, octets in insertions:
        pieces += [text[at:offset], octets]
        at = offset
    edited = encode(b"".join([*pieces, text[at:]]), encoding)
    return edited + b"\r\n" if encoding == b"base64" and raw.endswith(b"\n") else edited


def _encode_qp(text: bytes) -> bytes:
    # Line ends stay line ends if all are CRLF; else every one of them is written as an octet.
    pairs = text.count(b"\r\n")
    encoded = b2a_qp(text, istext=pairs == text.count(b"\n") == text.count(b"\r"))
    # b2a_qp breaks lines as the first line of the text ends: with LF if that has no CRLF.
    return encoded if b"\r\n" in encoded else encoded.replace(b"\n", b"\r\n")


def _insert_qp(raw: bytes, size: int, insertions: Sequence[tuple[int, bytes]]) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for offset, octets in insertions:
        place = max(at, _qp_place(raw, size, offset))
        before, encoded = raw[at:place], _encode_qp(octets)
        if place and raw[place - 1] != 0x0A and (before or not pieces):
            column = place - raw.rfind(b"\n", 0, place) - 1
            if column == _LINE_OCTETS and (tag_end := _TAG_END.search(before, len(before) - 4)):
                # No room for the `=`: the end of the tag goes to a line of its own.
                before = before[: tag_end.start()] + b"=\r\n" + tag_end[0]
            # A `=` that nothing follows is meant literally; another one would make it something else.
            before += b"3D=\r\n" if _ends_in_equals(before) else b"=\r\n"
        pieces += [before, encoded]
        if not encoded.endswith(b"\r\n") and place < len(raw):
            pieces.append(b"=\r\n")
        at = place
    return b"".join([*pieces, raw[at:]])


def _ends_in_equals(raw: bytes) -> bool:
    """Whether a `=` stands at the end, of which no pair makes an octet."""
    return bool((len(raw) - len(raw.rstrip(b"="))) % 2)


def _qp_place(raw: bytes, size: int, offset: int) -> int:
    """Where in the raw text the octet number `offset` of what it says begins. size: of what it says."""
    if offset == size:
        # A `=` at the very end is a soft line break without its line end.
        return len(raw) - _ends_in_equals(raw)
    at = said = 0
    for step in (_CHUNK_OCTETS, 0):
        while True:
            stop = raw.find(b"\n", at + step) + 1 or len(raw)
            length = len(a2b_qp(raw[at:stop]))
            if said + length > offset:
                break
            at, said = stop, said + length
    for token in _QP_TOKEN.finditer(raw, at):
        if said == offset:
            return token.start()
        said += not token[0].startswith(_QP_SOFT_BREAK[:2]) and (token[0] != b"=" or token.end() < len(raw))
    return len(raw)
