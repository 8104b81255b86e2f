"""Charsets of foreign text: which we can add to, and how.

Names from messages never reach the codec registry of Python: it imports what it is told to, and remembers every name
it did not find.
"""

import re

# Where ASCII octets of markup (`<`, `>`, quotes) always mean themselves, text can be added without decoding the rest.
_PLAIN = {
    "ascii": "us-ascii ascii ansi_x3.4-1968 iso646-us us 646",
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8",
    "iso8859-1": "iso-8859-1 iso8859-1 latin1 l1 iso_8859-1 8859-1",
    "cp1252": "windows-1252 cp1252 x-cp1252 x-ansi",
    "gb18030": "gb18030",
    "gbk": "gb2312 gbk cp936 ms936 x-gbk gb_2312-80 euc-cn",
    "big5": "big5 big-5 x-x-big5 cn-big5",
    "big5hkscs": "big5-hkscs",
    "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji cp932 ms932 windows-31j",
    "euc_jp": "euc-jp x-euc-jp",
    "cp949": "euc-kr ks_c_5601-1987 ks_c_5601 korean cp949 uhc ms949",
    "koi8-r": "koi8-r koi8",
    "koi8-u": "koi8-u koi8-ru",
    "cp874": "windows-874 tis-620 iso-8859-11 cp874",
    "mac-roman": "macintosh x-mac-roman mac",
    "mac-cyrillic": "x-mac-cyrillic",
    **{f"iso8859-{part}": f"iso-8859-{part} iso8859-{part} iso_8859-{part}" for part in (2, 3, 4, 5, 6, 7, 9, 10)},
    **{f"iso8859-{part}": f"iso-8859-{part} iso8859-{part} iso_8859-{part}" for part in (13, 14, 15, 16)},
    "iso8859-8": "iso-8859-8 iso-8859-8-i iso-8859-8-e iso8859-8",
    **{f"cp{page}": f"windows-{page} cp{page} x-cp{page}" for page in (1250, 1251, 1253, 1254, 1255, 1256, 1257, 1258)},
    **{f"cp{page}": f"ibm{page} cp{page} {page}" for page in (437, 850, 852, 855, 857, 858, 862, 866)},
}
# With escape sequences, between which ASCII octets mean something else.
_ESCAPING = {
    "iso2022_jp": "iso-2022-jp csiso2022jp",
    "iso2022_jp_1": "iso-2022-jp-1",
    "iso2022_jp_2": "iso-2022-jp-2",
    "iso2022_jp_3": "iso-2022-jp-3",
    "iso2022_jp_2004": "iso-2022-jp-2004",
    "iso2022_jp_ext": "iso-2022-jp-ext",
}
_WIDE = {
    "utf-16": "utf-16 utf16 unicode ucs-2 iso-10646-ucs-2",
    "utf-16-le": "utf-16le utf-16-le unicodefeff",
    "utf-16-be": "utf-16be utf-16-be unicodefffe",
    "utf-32": "utf-32 utf32 ucs-4 iso-10646-ucs-4",
    "utf-32-le": "utf-32le utf-32-le",
    "utf-32-be": "utf-32be utf-32-be",
}
_CODECS = {
    name.encode("ascii"): codec
    for table in (_PLAIN, _ESCAPING, _WIDE)
    for codec, names in table.items()
    for name in names.split()
}
_ESCAPED_TEXT = re.compile(rb"\x1b(?!\([BJ])[^\x1b]*+")
_ASCII_AGAIN = re.compile(rb"\x1b\([BJ]")
_SAMPLE_OCTETS = 2048


def codec(name: bytes) -> str | None:
    """Python's name for a charset parameter; us-ascii if it is empty; None if we cannot add to such text."""
    return _CODECS.get(name.strip(b" \t'").lower() or b"us-ascii")


def is_wide(codec: str) -> bool:
    """Whether characters take two or four octets, so that text must be converted to be added to."""
    return codec in _WIDE


def encode(text: str, codec: str, *, markup: bool) -> bytes:
    """Text for a part in some charset; foreign characters become numeric references in HTML, else `?`.

    codec: one of those that `codec` returns and that are not wide.
    """
    return text.encode(codec, "xmlcharrefreplace" if markup else "replace")


def view(text: bytes, codec: str) -> bytes | None:
    """The text with equal offsets, where every ASCII octet means itself. None if it ends in an escape sequence."""
    if codec not in _ESCAPING:
        return text
    last = text.rfind(b"\x1b")
    if last >= 0 and not _ASCII_AGAIN.match(text, last):
        return None
    return _ESCAPED_TEXT.sub(_blank, text)


def narrow(text: bytes, codec: str) -> bytes | None:
    """Wide text as UTF-8 without a byte order mark; None if it is not what it says."""
    if codec in ("utf-16", "utf-32") and not text.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        # RFC 2781 section 4.3 says big-endian, many senders do not: see where the zeros of ASCII are.
        sample = text[:_SAMPLE_OCTETS]
        codec += "-le" if sample[0::2].count(0) < sample[1::2].count(0) else "-be"
        if codec == "utf-32-le" and sample[0::4].count(0) > sample[3::4].count(0):
            codec = "utf-32-be"
    try:
        return text.decode(codec).removeprefix("\ufeff").encode("utf-8")
    except UnicodeError:
        return None


def _blank(found: re.Match[bytes]) -> bytes:
    return b" " * len(found[0])
