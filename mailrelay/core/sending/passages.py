"""One text of a reply: what changes in it, and where real addresses stay (spec section 4.8, 1 to 3)."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape

from mailrelay.core import charset
from mailrelay.core.address import Address
from mailrelay.core.sending import banners, contentlines, history, markup
from mailrelay.core.sending.leaks import Place
from mailrelay.core.sending.parts import view
from mailrelay.core.sending.spelling import Finder, Mention, Reading, read, spelt
from mailrelay.core.sending.splice import Splice, spliced

_ATEXT = rb"A-Za-z0-9!#$%&*+/=?^_`{|}~.-"
_SPACE = rb"(?:[ \t]|\r?\n[> \t]*+)++"
_DOMAIN = rb"[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++"
# What our copies add to a contact's name (display.py), and what they show for one without a name.
_WITH_NAME = re.compile(
    rb"'([%b]{1,64}+)%bat%b(%b)'|-[ ]([%b]{1,64}+)\(a\)(%b)" % (_ATEXT, _SPACE, _SPACE, _DOMAIN, _ATEXT, _DOMAIN)
)
_WITHOUT = re.compile(rb"(?<!['%b])([%b]{1,64}+)(?: at |\(a\))(%b)(?!')" % (_ATEXT, _ATEXT, _DOMAIN))
# White space before an offset, on a quoted line as well.
_BLANKS = re.compile(rb"(?:[ \t]|\r?\n[> \t]*+)++\Z")
_MOST_BLANKS = 40
_NOT_IN_NAMES = frozenset(bytes([octet]) for octet in b':;,<>("\r\n')


class Scope(Enum):
    """Where real addresses are replaced."""

    QUOTED = "quoted"
    ALL = "all"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Editor:
    """What is known of one message.

    alias: in place of real addresses. names: of contacts, by folded address. link_host: of our signed links, lower
    case.
    """

    alias: Address
    finder: Finder
    names: Mapping[str, str]
    link_host: bytes

    def text(self, octets: bytes, codec: str | None, scope: Scope | None, *, html: bool) -> tuple[bytes, list[Place]]:
        """A text without banners, with addresses replaced; and where real ones are left.

        scope: None for a text that stays as it is: then only the places count.
        """
        if scope is not None:
            cuts = (banners.html if html else banners.plain)(view(octets, codec), self.link_host)
            octets = spliced(octets, [Splice(start, end, b"") for start, end in cuts]) if cuts else octets
        seen = view(octets, codec)
        reading = read(seen)
        mentions = self.finder.mentions(reading, codec)
        if html:
            mentions = self.finder.broken(seen, mentions, codec)
        known = self._known(mentions)
        if not mentions and not known:
            return octets, []
        splices, left = self._replaced(seen, mentions, codec, scope, html=html)
        if html:
            splices = [Splice(start, end, new + markup.unclosed(octets[start:end])) for start, end, new in splices]
        splices += self._names(seen, reading, codec, known, html=html)
        return spliced(octets, splices), left

    def content_lines(self, octets: bytes, codec: str | None, scope: Scope) -> tuple[bytes, int]:
        """The same for an invitation or a card; and how many real addresses are left."""
        seen = view(octets, codec)
        mentions = self.finder.mentions(read(seen, content_lines=True), codec)
        replaced = [one for one in mentions if one.contact is not None or scope is not Scope.OFF]
        splices = contentlines.replaced(octets, replaced, lambda one: self._instead(seen, one, codec, html=False))
        return spliced(octets, splices), len(mentions) - len(replaced)

    def field(self, octets: bytes, scope: Scope) -> tuple[bytes, int]:
        """The same for the octets of a header field."""
        mentions = self.finder.mentions(read(octets))
        replaced = [one for one in mentions if one.contact is not None or scope is not Scope.OFF]
        splices = [Splice(one.start, one.end, self._instead(octets, one, None, html=False)) for one in replaced]
        return spliced(octets, splices), len(mentions) - len(replaced)

    def _replaced(
        self, seen: bytes, mentions: Sequence[Mention], codec: str | None, scope: Scope | None, *, html: bool
    ) -> tuple[list[Splice], list[Place]]:
        own = [one for one in mentions if one.contact is None]
        quoted: set[int] = set()
        if own and scope is not Scope.ALL:
            starts = [one.start for one in own]
            quoted = {
                start for start, is_in in zip(starts, history.among(seen, starts, html=html), strict=True) if is_in
            }
        splices: list[Splice] = []
        left: list[Place] = []
        signature: int | None = None
        for one in mentions:
            if one.contact is not None or scope is Scope.ALL or (scope is Scope.QUOTED and one.start in quoted):
                splices.append(Splice(one.start, one.end, self._instead(seen, one, codec, html=html)))
            elif one.start in quoted:
                left.append(Place.HISTORY)
            else:
                signature = history.signature(seen, html=html) if signature is None else signature
                left.append(Place.SIGNATURE if one.start >= signature else Place.PROSE)
        return splices, left

    def _instead(self, source: bytes, mention: Mention, codec: str | None, *, html: bool) -> bytes:
        replaced = source[mention.start : mention.end]
        if html and b"<" in replaced:
            replaced = read(replaced, markup=True).text  # attributes are no part of how it is spelt
        text = spelt(mention.contact or self.alias, replaced, markup=html)
        return charset.encode(text, codec or "utf-8", markup=html)

    def _known(self, mentions: Sequence[Mention]) -> Collection[bytes]:
        """The contacts whose names may stand there as our copies show them."""
        found = {one.contact.folded for one in mentions if one.contact is not None}
        return {one.encode("utf-8", "replace") for one in (*found, *self.names)}

    def _names(
        self, seen: bytes, reading: Reading, codec: str | None, known: Collection[bytes], *, html: bool
    ) -> Iterator[Splice]:
        """A contact's name in place of what our copies show (spec section 4.8, 2)."""
        text = reading.text
        if not known or not (b"at" in text or b"(a)" in text):
            return
        for found in _WITH_NAME.finditer(text):
            local, domain = found[1] or found[3], found[2] or found[4]
            address = b"%b@%b" % (local.lower(), domain.lower())
            if address in known:
                start, end = reading.begin(found.start()), reading.end(found.end())
                yield self._tail(seen, start, end, address, codec, html=html)
        places = [found for found in _WITHOUT.finditer(text) if b"@".join(found.groups()).lower() in known]
        starts = [reading.begin(found.start()) for found in places]
        if not places:
            return
        for found, start, quoted in zip(places, starts, history.among(seen, starts, html=html), strict=True):
            if quoted:
                address = b"@".join(found.groups()).lower()
                yield Splice(start, reading.end(found.end()), self._name(address, codec, html=html))

    def _tail(self, seen: bytes, start: int, end: int, address: bytes, codec: str | None, *, html: bool) -> Splice:
        """The part of a generated name that is not the contact's own name; all of it if that is missing."""
        before = _BLANKS.search(seen, max(0, start - _MOST_BLANKS), start)
        space = start if before is None else before.start()
        if space and seen[space - 1 : space] not in _NOT_IN_NAMES:
            return Splice(space, end, b"")
        return Splice(start, end, self._name(address, codec, html=html))

    def _name(self, address: bytes, codec: str | None, *, html: bool) -> bytes:
        """What people call a contact: the name, or where there is none or it cannot be written, the address."""
        folded = address.decode("utf-8", "replace")
        name = self.names.get(folded, "")
        text = escape(name or folded, quote=False) if html else name or folded
        written = charset.encode(text, codec or "us-ascii", markup=html)
        return address if b"?" in written else written
