"""Display names of rewritten addresses, and mailboxes written out as field values (spec section 3.4)."""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import assert_never

from mailrelay.core.address import Address
from mailrelay.core.phrase import MAX_NAME_CHARACTERS, encoded_words, sanitised, shortened

_SPECIAL = re.compile(r'(["\\])')
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+)*")

# What a name keeps of the 100 characters, however long the address beside it is.
_LEAST_NAME_CHARACTERS = 20

_LINE_OCTETS = 78  # RFC 5322 section 2.1.1
_ENCODED_LINE_OCTETS = 76  # RFC 2047 section 2


class DisplayFrom(IntEnum):
    """The account setting `display_from_format`; numbers and names are those of the addy API."""

    DEFAULT = 0  # name 'a at b.example'
    BRACKETS = 1  # name - a(a)b.example
    DOMAIN = 2  # name - b.example
    NAME = 3  # name
    ADDRESS = 4  # a at b.example
    NONE = 5
    DOMAINONLY = 6  # b.example
    LEGACY = 7  # name 'a@b.example'


def display_name(form: DisplayFrom, name: str, address: str) -> str:
    """The display name for a reverse address of `address`; '' for none. At most 100 characters.

    name: the contact's own, sanitised; one equal to the address is none. Long names are cut so that what follows
    them stays.
    """
    domain = address.rpartition("@")[2]
    named = bool(name) and name.casefold() != address.casefold()
    match form:
        case DisplayFrom.NONE:
            return ""
        case DisplayFrom.DOMAINONLY:
            return shortened(domain)
        case DisplayFrom.BRACKETS:
            return _spaced(name, f" - {address}", "(a)") if named else _spaced("", address, "(a)")
        case DisplayFrom.DOMAIN if named:
            return _spaced(name, f" - {domain}", " at ")
        case DisplayFrom.NAME if named:
            return _spaced(name, "", " at ")
        case DisplayFrom.LEGACY if named:
            return _spaced(name, f" '{address}'", "@")
        case DisplayFrom.DEFAULT if named:
            return _spaced(name, f" '{address}'", " at ")
        case DisplayFrom.ADDRESS | DisplayFrom.DEFAULT | DisplayFrom.DOMAIN | DisplayFrom.NAME | DisplayFrom.LEGACY:
            return _spaced("", address, " at ")
        case _:
            assert_never(form)


def _spaced(name: str, rest: str, at: str) -> str:
    """Name and rest with each `@` replaced: a name that holds another address looks like phishing to receivers."""
    name, rest = name.replace("@", at), rest.replace("@", at)
    name = shortened(name, max(_LEAST_NAME_CHARACTERS, MAX_NAME_CHARACTERS - len(rest)))
    return shortened(" ".join(f"{name}{rest}".split()))


def formatted(name: str, address: Address | str) -> bytes:
    """A mailbox on one line: `"name" <address>`, encoded words for what is not ASCII, or the bare address.

    name: anything, it is sanitised here. address: ASCII, else ValueError.
    """
    addr = str(address).encode("ascii")
    name = sanitised(name)
    if not name:
        return addr
    # Many mail programs decode encoded words within quotes, too, so what looks like one must not stand there.
    if name.isascii() and "=?" not in name:
        quoted = _SPECIAL.sub(r"\\\1", name).encode("ascii")
        return b'"%b" <%b>' % (quoted, addr)
    return b"%b <%b>" % (b" ".join(encoded_words(name)), addr)


def formatted_group(name: str) -> bytes:
    """An empty group, such as `undisclosed-recipients:;` (RFC 5322 section 3.4)."""
    name = sanitised(name) or "undisclosed-recipients"
    if _ATOMS.fullmatch(name) and "=?" not in name:
        return name.encode("ascii") + b":;"
    if name.isascii() and "=?" not in name:
        return b'"%b":;' % _SPECIAL.sub(r"\\\1", name).encode("ascii")
    return b"%b:;" % b" ".join(encoded_words(name))


def folded(field_name: str, items: Sequence[bytes]) -> bytes:
    """The value of an address field, without its name and last CRLF, folded for standing after `field_name: `.

    items: mailboxes and groups as `formatted` and `formatted_group` make them. Lines end between them and between
    encoded words, after at most 78 and 76 octets where that is possible; none gets near the 998 of RFC 5322.
    """
    lines: list[bytes] = []
    line = b""
    room = _LINE_OCTETS - len(field_name) - 2
    for token in _tokens(items):
        most = room - (_LINE_OCTETS - _ENCODED_LINE_OCTETS) if b"=?" in line or b"=?" in token else room
        if not line:
            line = token
        elif len(line) + 1 + len(token) <= most:
            line += b" " + token
        else:
            lines.append(line)
            line = token
            room = _LINE_OCTETS - 1
    return b"\r\n\t".join([*lines, line])


def _tokens(items: Sequence[bytes]) -> list[bytes]:
    """The pieces that must stay on one line, with their commas."""
    tokens: list[bytes] = []
    for item in items:
        if tokens:
            tokens[-1] += b","
        tokens.extend(item.split(b" ") if item.startswith(b"=?") else [item])
    return tokens
