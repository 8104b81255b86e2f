"""Text in header fields: encoded words read and written, and what a display name may hold (RFC 2047, spec section 3.4).

Done by hand on octets, since the email package raises on, or takes quadratic time for, what strangers send.
"""

import re
from base64 import b64encode
from binascii import a2b_base64, a2b_qp
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType

MAX_NAME_CHARACTERS = 100

# Text up to the first `?=`, but never past the begin of another word: hence the time is linear. Broken mailers put
# `?`, spaces and unencoded octets in.
_WORD = re.compile(rb"=\?([!-)+->@-~]{1,40}+)(?:\*[!->@-~]{0,40}+)?+\?([bBqQ])\?((?:[^?=]++|=(?!\?[^=])|\?(?!=))*+)\?=")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))

_FOLDS = re.compile(r"\r?\n(?=[ \t])")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BREAKS = re.compile(r"[\t-\r\x85\u2028\u2029]")  # controls that part words
_REMOVED = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# What remains of a quoted pair that was quoted once more.
_STRAY_BACKSLASHES = re.compile(r"\\++(?=[\"'()<>,;:@.\[\] ]|\Z)|(?<!\S)\\++")

# RFC 2047 section 2 allows words of 75 octets and lines of 76; shorter ones share a line with any of our field names.
_WORD_OCTETS = 64
_AROUND = len(b"=?utf-8?q??=")
# RFC 2047 section 5 (3): what Q leaves as it is within a phrase
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q_OCTETS = tuple(b"_" if o == 0x20 else bytes([o]) if o in _Q_SAFE else b"=%02X" % o for o in range(256))


def _codecs() -> Mapping[bytes, str]:
    """Charset names as mail has them, to Python codecs.

    A closed list: Python would import a module for each name it does not know, and some of its codecs take quadratic
    time. Where people label a charset but use its superset, as browsers know (WHATWG Encoding), it is the superset.
    """
    same = "gb18030 koi8-r koi8-u hz utf-7 utf-16 utf-16le utf-16be utf-32 iso-2022-kr euc-jp cp437 cp850 cp852 cp866"
    names = {name: name for name in same.split()}
    names |= {f"iso-8859-{part}": f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)}
    names |= {f"{brand}{page}": f"cp{page}" for brand in ("windows-", "cp", "cp-") for page in range(1250, 1259)}
    for codec, labels in {
        "cp1252": "iso-8859-1 iso8859-1 latin1 latin-1",
        "cp1254": "iso-8859-9 iso8859-9 latin5",
        "cp874": "tis-620 iso-8859-11 windows-874",
        "cp932": "shift-jis shift_jis sjis x-sjis windows-31j ms_kanji",
        "cp949": "euc-kr ks_c_5601-1987 ksc5601 windows-949",
        "iso2022_jp_ext": "iso-2022-jp iso-2022-jp-1 iso-2022-jp-2 iso-2022-jp-3 iso-2022-jp-ms",
        "gb18030": "gb2312 gbk x-gbk cp936 euc-cn",
        "big5hkscs": "big5 big5-hkscs cp950",
        "mac_roman": "macintosh x-mac-roman",
        "mac_cyrillic": "x-mac-cyrillic",
    }.items():
        names |= dict.fromkeys(labels.split(), codec)
    return MappingProxyType({name.encode("ascii"): codec for name, codec in names.items()})


_CODECS = _codecs()


def decoded(value: bytes) -> str:
    """An unstructured field value such as a Subject as text on one line, its encoded words decoded once.

    value: raw or unfolded. Charsets that are not known, and octets outside of encoded words, are read as UTF-8 with
    replacement. Words next to each other are joined, also where a mailer cut within a character. Control characters
    become one space; the text has no line ends and no surrogates.
    """
    text = _FOLDS.sub("", _text(value))
    return text if text.isascii() and text.isprintable() else _SURROGATE.sub("\ufffd", _CONTROLS.sub(" ", text))


def name_of(phrase: bytes) -> str:
    """A display name as text, its encoded words decoded once, sanitised."""
    return sanitised(_text(phrase)) if phrase else ""


def _text(value: bytes) -> str:
    if b"=?" not in value:
        return value.decode("utf-8", "replace")
    pieces: list[str] = []
    at = 0
    charset, run = b"", list[bytes]()  # octets of words that follow each other in one charset
    for found in _WORD.finditer(value):
        between = value[at : found.start()]
        adjacent = at > 0 and not between.strip()
        if not (adjacent and found[1].lower() == charset):
            pieces.append(_decode(run, charset))
            charset, run = found[1].lower(), []
        if not adjacent:
            pieces.append(between.decode("utf-8", "replace"))
        run.append(_content(found[2], found[3]))
        at = found.end()
    return "".join([*pieces, _decode(run, charset), value[at:].decode("utf-8", "replace")])


def _content(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return a2b_qp(text, header=True)
    digits = text.partition(b"=")[0].translate(None, _NOT_BASE64)
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return a2b_base64(digits + b"=" * (-len(digits) % 4))


def _decode(octets: list[bytes], charset: bytes) -> str:
    return b"".join(octets).decode(_CODECS.get(charset, "utf-8"), "replace")


def sanitised(text: str) -> str:
    """A display name that is safe to show and write (spec section 3.4), at most 100 characters; '' if none remains.

    No control characters, line ends or bidi controls; single spaces; no quotes around it, no stray backslashes.
    Line ends and tabs part words, so they count as white space. Idempotent.
    """
    if not (text.isascii() and text.isprintable()):
        text = _SURROGATE.sub("\ufffd", _REMOVED.sub("", _BREAKS.sub(" ", text)))
    previous = None
    while text != previous:  # a few rounds, as what one takes away may bare something for another
        previous = text
        text = " ".join(text.split())
        if "\\" in text:
            text = _STRAY_BACKSLASHES.sub("", text)
        text = shortened(_without_quotes(text))
    return text


def _without_quotes(text: str) -> str:
    """Without the quotes around it, even single ones of the double kind, if there are none inside."""
    bare = text.strip('" ')
    if '"' not in bare:
        text = bare
    bare = text.strip("' ")
    return bare if text[:1] == text[-1:] == "'" and "'" not in bare else text


def shortened(text: str, limit: int = MAX_NAME_CHARACTERS) -> str:
    """At most `limit` characters, the last one `…` if some were cut off."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def encoded_words(text: str) -> list[bytes]:
    """RFC 2047 words in UTF-8 for a phrase, to be separated by white space: B or Q, whatever is shorter.

    Each has at most 64 octets and ends between characters (section 5). text: not empty, without surrogates.
    """
    octets = [char.encode() for char in text]
    quoted = [b"".join(map(_Q_OCTETS.__getitem__, char)) for char in octets]
    room = _WORD_OCTETS - _AROUND
    q_words = [b"=?utf-8?q?%b?=" % b"".join(quoted[a:b]) for a, b in _cuts(quoted, room)]
    b_words = [b"=?utf-8?b?%b?=" % b64encode(b"".join(octets[a:b])) for a, b in _cuts(octets, room // 4 * 3)]
    return min(q_words, b_words, key=lambda words: sum(map(len, words)) + len(words))


def _cuts(pieces: list[bytes], room: int) -> list[tuple[int, int]]:
    """Where to cut a row of pieces so that none of the parts is longer than `room` octets."""
    cuts = [0]
    length = 0
    for at, piece in enumerate(pieces):
        if length + len(piece) > room:
            cuts.append(at)
            length = 0
        length += len(piece)
    return list(pairwise([*cuts, len(pieces)]))
