"""The tags of foreign HTML, and its text as people read it, by offsets; the HTML itself stays as it is."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from mailrelay.core.htmlsplice import TOKEN

_NAME = re.compile(rb"</?+[A-Za-z][A-Za-z0-9]*+")
# Where a line ends for whoever reads it.
_BREAKS = frozenset(
    b"br p div tr li ul ol hr table blockquote h1 h2 h3 h4 h5 h6 pre body center dd dt dl section article".split()
)
_ATTRIBUTE = rb"(?<=[\s\"'/])%b\s*+=\s*+(?:\"([^\"]*+)|'([^']*+)|([^\s\"'>]++))"
_HREF = re.compile(_ATTRIBUTE % rb"href", re.IGNORECASE)
_NAMED = re.compile(_ATTRIBUTE % rb"(?:class|id)", re.IGNORECASE)
_WHITE = bytes.maketrans(b"\r\n\t", b"   ")


class Tag(NamedTuple):
    """One tag. name: lower case, with a slash in front if it closes; b"!" for comments and the like."""

    start: int
    end: int
    name: bytes


class Line(NamedTuple):
    """One line as people see it. start: where it begins in the source, tags before its text included."""

    start: int
    text: bytes


def tags(html: bytes) -> Iterator[Tag]:
    """Every tag a browser would take for one. html: ASCII octets mean themselves, see charset.view."""
    for found in TOKEN.finditer(html):
        start, end = found.span()
        name = _NAME.match(html, start, end)
        yield Tag(start, end, name[0][1:].lower() if name else b"!")


def unclosed(html: bytes) -> bytes:
    """The tags in a piece of a line if some begin or end outside of it; b"" if they can go with what is in them."""
    if b"<" not in html:
        return b""
    found = [tag for tag in tags(html) if tag.name not in (b"!", b"wbr")]
    names: list[bytes] = []
    for tag in found:
        if names and tag.name == b"/" + names[-1]:
            names.pop()
        else:
            names.append(tag.name)
    return b"".join([html[tag.start : tag.end] for tag in found]) if names else b""


def href(html: bytes, tag: Tag) -> bytes:
    """Where a link leads, as it is written; b"" if nowhere."""
    found = _HREF.search(html, tag.start, tag.end)
    return found[found.lastindex or 0] if found else b""


def names(html: bytes, tag: Tag) -> bytes:
    """Class and id of an element in lower case, with a space between them."""
    found = _NAMED.findall(html, tag.start, tag.end)
    return b" ".join(b"".join(one) for one in found).lower()


def is_break(name: bytes) -> bool:
    """Whether a tag of this name ends a line."""
    return name.removeprefix(b"/") in _BREAKS


def line(start: int, pieces: list[bytes]) -> Line:
    """A line of text between tags; white space of any kind becomes spaces."""
    text = b"".join(pieces).translate(_WHITE)
    return Line(start, text.replace(b"&nbsp;", b" ").replace(b"\xc2\xa0", b" ") if pieces else text)
