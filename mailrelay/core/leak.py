"""Does an address show in what leaves us? Whatever encoding hides it from the eye (invariant I3)."""

import binascii
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import lru_cache
from html.entities import html5

import idna

from mailrelay.core.address import Address

# Encodings within encodings, such as HTML entities in a base64 body; more of them is a riddle, not a leak.
_MAX_DEPTH = 2

_SOFT_BREAK = re.compile(rb"=[ \t]*+\r?\n")
_ESCAPED = {mark: re.compile(re.escape(mark) + rb"([0-9A-Fa-f]{2})") for mark in (b"=", b"%", b"+")}
_WORD = re.compile(rb"=\?[^?\s]{1,80}\?([bBqQ])\?([^?\s]*+)\?=(?:\s*+(?==\?))?")
_ENTITY = re.compile(rb"&(?:#0*+([0-9]{1,7})|#[xX]0*+([0-9A-Fa-f]{1,6})|([A-Za-z]{2,31}));?")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{10,}+")
_CLASSIC = bytes.maketrans(b"-_", b"+/")
_BETWEEN = b' \t\r\n"\\<>()[]'


def occurs(addresses: Collection[Address], octets: bytes) -> bool:
    """True if one of the addresses is somewhere in `octets`, in either case, plain or in a usual encoding.

    Those are: folded or quoted, with `=` or `at` in place of the `@`, percent, quoted-printable and xtext escapes,
    HTML entities, encoded words (RFC 2047), base64 at any alignment, and two of these inside each other. May find more
    than there is: `surreal@` contains `real@`.
    """
    needles = tuple(needle for address in addresses for needle in _needles(address))
    return bool(needles) and _found(needles, octets, _MAX_DEPTH)


@lru_cache(maxsize=256)
def _needles(address: Address) -> tuple[bytes, ...]:
    domains = {address.domain}
    with suppress(idna.IDNAError, UnicodeError):
        domains.add(idna.decode(address.domain))
    spellings = [f"{address.local}{sign}{domain}" for sign in ("@", "=", "at") for domain in sorted(domains)]
    return tuple(
        spelling.encode("utf-8", "surrogateescape").lower().translate(None, _BETWEEN) for spelling in spellings
    )


def _found(needles: tuple[bytes, ...], octets: bytes, depth: int) -> bool:
    for view in _views(octets):
        squeezed = view.translate(None, _BETWEEN).lower()
        if any(needle in squeezed for needle in needles):
            return True
    return depth > 0 and any(_found(needles, inner, depth - 1) for inner in _from_base64(octets))


def _views(octets: bytes) -> Iterator[bytes]:
    """The text as it is, with each kind of escape undone, and with all of them."""
    yield octets
    joined = _SOFT_BREAK.sub(b"", octets)
    for escaped in _ESCAPED.values():
        yield escaped.sub(_octet, joined)
    yield _unescaped(octets)
    # The end of a word at the end of a line looks like a soft break.
    words = _SOFT_BREAK.sub(b"", _WORD.sub(_decoded_word, octets))
    yield words
    yield _unescaped(_ESCAPED[b"%"].sub(_octet, _ESCAPED[b"="].sub(_octet, words)))


def _unescaped(octets: bytes) -> bytes:
    return _ENTITY.sub(_character, octets) if b"&" in octets else octets


def _character(found: re.Match[bytes]) -> bytes:
    """What an HTML entity stands for. html.unescape raises for endless numbers."""
    decimal, hexadecimal, name = found.groups()
    if name is not None:
        text = html5.get(f"{name.decode('ascii')};", "")
    else:
        number = int(decimal) if decimal is not None else int(hexadecimal, 16)
        text = chr(number) if number < 0x110000 else ""
    return text.encode("utf-8", "surrogatepass")


def _octet(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)])


def _decoded_word(found: re.Match[bytes]) -> bytes:
    if found[1] in b"qQ":
        return _ESCAPED[b"="].sub(_octet, found[2].replace(b"_", b" "))
    return _debase64(found[2])


def _from_base64(octets: bytes) -> Iterator[bytes]:
    """What base64 text may say. It may begin anywhere in a run of its characters, hence four readings."""
    runs = _BASE64.findall(octets.translate(None, b" \t\r\n"))
    for skipped in range(4):
        decoded = b"\n".join(_debase64(run[skipped:]) for run in runs)
        if decoded:
            yield decoded


def _debase64(text: bytes) -> bytes:
    classic = text.translate(_CLASSIC, b"=")
    try:
        return binascii.a2b_base64(classic[: len(classic) & ~3] + _tail(classic))
    except binascii.Error:
        return b""


def _tail(classic: bytes) -> bytes:
    """The last characters, completed; a single one says nothing."""
    tail = classic[len(classic) & ~3 :]
    return tail + b"=" * (4 - len(tail)) if len(tail) > 1 else b""
