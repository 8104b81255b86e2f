"""What can be read in foreign HTML, as plain text with its links. Any text will do; the time is linear."""

import re
from html import unescape

from mailrelay.core.sending.markup import Tag, href, tags

_PARAGRAPHS = frozenset(
    b"p h1 h2 h3 h4 h5 h6 ul ol dl table blockquote pre section article header footer center body".split()
)
_LINES = frozenset(b"br div tr dt dd li address form fieldset".split())
_CELLS = frozenset({b"td", b"th"})
_LINK_SCHEMES = ("http:", "https:", "mailto:", "ftp:", "tel:")

_ALT = re.compile(rb"(?<=[\s\"'/])alt\s*+=\s*+(?:\"([^\"]*+)|'([^']*+)|([^\s\"'>]++))", re.IGNORECASE)
# Of as many digits Python makes no number.
_LONG_NUMBER = re.compile(r"&#(?:[xX][0-9a-fA-F]{9,}+|[0-9]{9,}+);?+")
_WHITE = re.compile(r"[ \t\r\n\f\xa0]++")
_AROUND_BREAK = re.compile(r" *+\n *+")
_BREAKS = re.compile(r"\n{3,}+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200c\u2060\ufeff\xad\u034f]++")


def plain_text(html: str) -> str:
    """The text of a page: lines that end in LF, an empty one between paragraphs; links stand behind their words."""
    octets = html.encode("utf-8", "replace")
    reader = _Reader()
    at = 0
    for tag in tags(octets):
        reader.text(octets[at : tag.start])
        reader.tag(octets, tag)
        at = tag.end
    reader.text(octets[at:])
    return reader.done()


class _Reader:
    """One page being read."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._link = ""  # where the words since _words lead
        self._words = 0
        self._verbatim = False

    def text(self, octets: bytes) -> None:
        """What stands between two tags."""
        if octets:
            said = _CONTROLS.sub("", _characters(octets).replace("\r\n", "\n").replace("\r", "\n"))
            if not self._verbatim:
                said = _WHITE.sub(" ", said)
                if self._pieces and self._pieces[-1].endswith((" ", "\n")):
                    said = said.removeprefix(" ")
            if said:
                self._pieces.append(said)

    def tag(self, html: bytes, tag: Tag) -> None:
        """What a tag does to the text around it."""
        name = tag.name.removeprefix(b"/")
        closes = name != tag.name
        if name == b"a":
            self._end_link()
            if not closes:
                self._link, self._words = "".join(_characters(href(html, tag)).split()), len(self._pieces)
        elif name == b"pre":
            self._verbatim = not closes
        elif name == b"img":
            found = _ALT.search(html, tag.start, tag.end)
            self.text(found[found.lastindex or 0] if found else b"")
        if name == b"hr":
            self._pieces.append("\n\n---\n\n")
        elif name in _PARAGRAPHS:
            self._pieces.append("\n\n")
        elif name in _LINES and not (closes and name == b"br"):
            self._pieces.append("\n* " if name == b"li" and not closes else "\n")
        elif name in _CELLS:
            self._pieces.append(" ")

    def done(self) -> str:
        """All of it."""
        self._end_link()
        text = _AROUND_BREAK.sub("\n", "".join(self._pieces))
        text = _BREAKS.sub("\n\n", text).strip("\n ")
        return text + "\n" if text else ""

    def _end_link(self) -> None:
        link, self._link = self._link, ""
        if not link.lower().startswith(_LINK_SCHEMES):
            return
        words = " ".join("".join(self._pieces[self._words :]).split())
        if _bare(words) != _bare(link):
            self._pieces.append(f" <{link}>" if words else f"<{link}>")


def _characters(octets: bytes) -> str:
    return unescape(_LONG_NUMBER.sub("\ufffd", octets.decode("utf-8", "replace")))


def _bare(link: str) -> str:
    """What a link and its words are compared by."""
    return link.lower().removeprefix("https://").removeprefix("http://").removeprefix("mailto:").rstrip("/")
