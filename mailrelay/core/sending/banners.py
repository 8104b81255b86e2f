"""Our own banners and warnings in what a reply quotes: where they are, so that they can be taken out (spec 4.8, 1).

They may have lost their marks on the way; the link that is left would let whoever gets it do things to the alias.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mailrelay.core.banner import MARK
from mailrelay.core.sending import markup
from mailrelay.core.sending.markup import Tag
from mailrelay.core.sending.spelling import read

Cut = tuple[int, int]

MAX_LINES = 12

_MARK = MARK.encode("ascii")
_PAIRS = tuple(
    (left % b"mr-" + name + right, left % b"/mr-" + name + right)
    for name in (b"banner", b"warning")
    for left, right in ((b"<!--%b", b"-->"), (b"&lt;!--%b", b"--&gt;"), (b"&lt;!--%b", b"-->"))
)
_ELEMENTS = frozenset((b"table", b"tr", b"div", b"p"))
# An element with so much text is more than a banner: then only the link goes.
_MOST_TEXT_OCTETS = 1200
_WORDS = re.compile(rb"[^\s<>()\[\]\"']++")
_NOTHING = re.compile(rb"[ \t>|*]*+")
_REST_OF_LINE = re.compile(rb"[ \t>|*]*+\r?(?:\n|\Z)")


def plain(text: bytes, link_host: bytes) -> list[Cut]:
    """What to cut out of plain text, ascending: blocks between marks, whole lines of at most 12, and links of ours.

    link_host: lower case. text: ASCII octets mean themselves.
    """
    cuts: list[Cut] = []
    first, stop = text.find(_MARK), 0
    while first >= 0:
        line_end = text.find(b"\n", first)
        second = text.find(_MARK, line_end) if line_end >= 0 else -1
        if second < 0:
            break
        if text.count(b"\n", first, second) < MAX_LINES:
            start = max(stop, text.rfind(b"\n", stop, first) + 1)
            if not _NOTHING.fullmatch(text, start, first):
                start = first  # some programs go on where their attribution ends
            rest = _REST_OF_LINE.match(text, second + len(_MARK))
            stop = rest.end() if rest else second + len(_MARK)
            cuts.append((start, stop))
            second = text.find(_MARK, stop)
        first = second
    return merged([*cuts, *_words(text, link_host)])


def html(text: bytes, link_host: bytes) -> list[Cut]:
    """What to cut out of HTML, ascending: what stands between marks, and the smallest table, row, division or
    paragraph with a link of ours.
    """
    cuts: list[Cut] = []
    if b"mr-" in text:
        cuts += _between_comments(text)
    if _MARK in text:
        cuts += _between_marks(text)
    if link_host in text.lower():
        cuts += _linking(text, link_host)
    return merged(cuts)


def merged(cuts: Sequence[Cut]) -> list[Cut]:
    """The same places, ascending and apart from each other."""
    found: list[Cut] = []
    for start, end in sorted(cuts):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def is_ours(link: bytes, link_host: bytes) -> bool:
    """Whether a URL is one of ours, or some other that contains one, as those of link scanners do."""
    said = read(link).text.lower()
    # Proofpoint writes `_` for `/`.
    return b"//%b/u/" % link_host in said or b"__%b_u_" % link_host in said


def _words(text: bytes, link_host: bytes) -> Iterator[Cut]:
    """Links of ours in plain text, with the brackets around them and the line if nothing else is on it."""
    if link_host not in text.lower():
        return
    for found in _WORDS.finditer(text):
        if link_host not in found[0].lower() or not is_ours(found[0], link_host):
            continue
        start, end = found.span()
        if text[start - 1 : start] in (b"<", b"[", b"(") and text[end : end + 1] in (b">", b"]", b")"):
            start, end = start - 1, end + 1
        line_start = text.rfind(b"\n", 0, start) + 1
        rest = _REST_OF_LINE.match(text, end)
        if rest is not None and _NOTHING.fullmatch(text, line_start, start):
            start, end = line_start, rest.end()
        yield start, end


def _between_comments(text: bytes) -> Iterator[Cut]:
    for opening, closing in _PAIRS:
        at = text.find(opening)
        while at >= 0:
            end = text.find(closing, at)
            if end < 0:
                break
            yield at, end + len(closing)
            at = text.find(opening, end)


def _between_marks(text: bytes) -> list[Cut]:
    """A banner of plain text that became HTML: its words, links and line ends, while other tags stay."""
    cuts: list[Cut] = []
    block: list[Cut] | None = None  # since the first mark
    shown = at = 0
    for start, end, name in (*markup.tags(text), Tag(len(text), len(text), b"")):
        begin = at
        while (mark := text.find(_MARK, begin, start)) >= 0:
            if block is None:
                block, shown, begin = [(mark, mark + len(_MARK))], 0, mark + len(_MARK)
                continue
            if shown + mark - begin <= _MOST_TEXT_OCTETS:
                cuts += [*block, (begin, mark + len(_MARK))]
                block, begin = None, mark + len(_MARK)
            else:
                block, shown, begin = [(mark, mark + len(_MARK))], 0, mark + len(_MARK)
        if block is not None:
            block.append((begin, start))
            shown += start - begin
            if name in (b"br", b"a", b"/a"):
                block.append((start, end))
        at = end
    return cuts


@dataclass(slots=True)
class _Open:
    """An element that has not ended. shown: octets of text before it."""

    name: bytes
    start: int
    shown: int
    links: list[Cut] = field(default_factory=list)


class _Elements:
    """The elements around a place, and what becomes of those that link to us."""

    def __init__(self) -> None:
        self.cuts: list[Cut] = []
        self.stack: list[_Open] = []
        self.shown = 0
        self._open = dict.fromkeys(_ELEMENTS, 0)

    def begin(self, name: bytes, at: int) -> None:
        if self.stack and self.stack[-1].name == b"p":
            self._pop(at)  # nothing of these can stand in a paragraph
        self.stack.append(_Open(name, at, self.shown))
        self._open[name] += 1

    def end(self, name: bytes, start: int, end: int) -> None:
        if not self._open[name]:
            return
        while self.stack[-1].name != name:
            self._pop(start)
        self._pop(end)

    def link(self, cut: Cut) -> None:
        if self.stack:
            self.stack[-1].links.append(cut)
        else:
            self.cuts.append(cut)

    def _pop(self, end: int) -> None:
        one = self.stack.pop()
        self._open[one.name] -= 1
        if one.links and self.shown - one.shown <= _MOST_TEXT_OCTETS:
            self.cuts.append((one.start, end))
        else:
            self.cuts += one.links


def _linking(text: bytes, link_host: bytes) -> list[Cut]:
    around = _Elements()
    at = 0
    link: int | None = None
    for tag in markup.tags(text):
        around.shown += tag.start - at
        at = tag.end
        if tag.name in _ELEMENTS:
            around.begin(tag.name, tag.start)
        elif tag.name[1:] in _ELEMENTS and tag.name.startswith(b"/"):
            around.end(tag.name[1:], tag.start, tag.end)
        elif tag.name == b"a":
            link = None
            if link_host in text[tag.start : tag.end].lower() and is_ours(markup.href(text, tag), link_host):
                link = tag.start
                around.link((tag.start, tag.end))
        elif tag.name == b"/a" and link is not None:
            around.link((link, tag.end))
            link = None
    for left in around.stack:
        around.cuts += left.links
    return around.cuts
