"""ASCII armor of OpenPGP keys (RFC 9580 section 6), undone for whatever mail programs and editors made of it."""

import re
from binascii import Error as NotBase64
from binascii import a2b_base64

from mailrelay.core.certificate import KeyUnusable, Unusable

_BEGIN = re.compile(rb"^[ \t]*-----BEGIN PGP ([A-Z ,0-9/]{1,40})-----[ \t]*$", re.MULTILINE)
_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]{0,40}:")
_LINE_ENDS = re.compile(rb"\r\n|\r")
_PUBLIC = b"PUBLIC KEY BLOCK"


def public_keys(octets: bytes) -> bytes:
    """The packets of a key, armored or not.

    Any line ends, white space around lines, text before and behind, armor headers, a byte order mark, the UTF-16 that
    redirection makes on Windows. The checksum may be missing or wrong (RFC 9580 section 6.1): signatures tell damage.
    Several blocks give all their packets. Raises KeyUnusable.
    """
    if octets[:2] in (b"\xff\xfe", b"\xfe\xff"):
        octets = octets.decode("utf-16", "replace").encode("ascii", "replace")
    octets = octets.removeprefix(b"\xef\xbb\xbf")
    if octets[:1] >= b"\x80":
        return octets
    text = _LINE_ENDS.sub(b"\n", octets)
    blocks = list(_BEGIN.finditer(text))
    kinds = {block[1] for block in blocks}
    if any(b"PRIVATE" in kind for kind in kinds):
        raise KeyUnusable(Unusable.SECRET)
    if _PUBLIC not in kinds:
        raise KeyUnusable(Unusable.NOT_A_KEY)
    return b"".join(_block(text, block.end()) for block in blocks if block[1] == _PUBLIC)


def _block(text: bytes, start: int) -> bytes:
    """What one block holds. start: behind its first line."""
    end = text.find(b"-----END PGP PUBLIC KEY BLOCK-----", start)
    if end < 0:
        raise KeyUnusable(Unusable.BROKEN)
    lines = [line.strip() for line in text[start:end].split(b"\n")]
    # Base64 has no colon: headers are recognised even where the empty line behind them was lost.
    data = [line for line in lines if line and not _HEADER.match(line)]
    if data and data[-1][:1] == b"=" and len(data[-1]) == 5:
        data.pop()  # the checksum
    try:
        return a2b_base64(b"".join(data), strict_mode=True)
    except NotBase64:
        raise KeyUnusable(Unusable.BROKEN) from None
