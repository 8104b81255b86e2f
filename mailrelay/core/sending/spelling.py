"""Addresses in text, however they are spelt: which are the owner's own, which are reverse addresses, and where.

Escapes are undone in a copy that knows its places in the source. An address begins and ends where no address could go
on: `surreal@inbox.example` is not `real@inbox.example`, `'real@inbox.example'` and `email=real%40inbox.example` are.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import idna

from mailrelay.core.address import MAX_ADDRESS_OCTETS, Address, Reverse, classify
from mailrelay.core.context import Contact
from mailrelay.core.mailbox import address_of
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.naming import Naming

# Of links within links a percent sign is written %25, and so on. Entities that end a text anyhow need no undoing.
_PERCENT = rb"%(?:25)*([0-9A-Fa-f]{2})"
_ENTITY = rb"&(?!lt;|gt;|quot;)(?:#0*+([0-9]{1,7});?+|#[xX]0*+([0-9A-Fa-f]{1,6});?+|([A-Za-z]{2,14});)"
_IN_TEXT = re.compile(rb"%b|%b|<wbr\s*+/?>" % (_PERCENT, _ENTITY), re.IGNORECASE)
# Elements within a line, which may begin and end in the middle of a word.
_INLINE = (
    rb"a|abbr|b|bdi|bdo|big|cite|code|del|em|font|i|ins|kbd|mark|o:p|q|s|samp|small|span|strike|strong|sub|sup|tt|u|var"
)
_IN_MARKUP = re.compile(
    rb"%b|%b|<wbr\s*+/?>|<(?:/?(?:%b)(?=[\s/>])[^<>]*+|!--[^<>]*+)>" % (_PERCENT, _ENTITY, _INLINE), re.IGNORECASE
)
# RFC 5545 section 3.1 and 3.3.11, RFC 6350 sections 3.2 and 3.4: folds, and the escapes of text.
_IN_CONTENT_LINES = re.compile(rb"%b|%b|\r?\n[ \t]|\\([nN,;\\])" % (_PERCENT, _ENTITY), re.IGNORECASE)
_ESCAPES = (b"%", b"&", b"<wbr", b"<WBR")
_NAMED = dict(
    zip(
        b"commat plus equals period lowbar UnderBar hyphen dash amp AMP apos percnt num excl dollar ast sol quest Hat"
        b" grave lbrace lcub rbrace rcub vert verbar lpar rpar".split(),
        b"@ + = . _ _ - - & & ' % # ! $ * / ? ^ ` { { } } | | ( )".split(),
        strict=True,
    )
)
_NAMED |= {b"nbsp": b" ", b"shy": b"", b"ZeroWidthSpace": b"", b"zwnj": b"", b"zwj": b""}
# What cannot be seen, so that it may stand within an address and nobody notices.
_UNSEEN = frozenset({0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF})

_LABEL = rb"[A-Za-z0-9_\x80-\xff]++(?:-++[A-Za-z0-9_\x80-\xff]++)*+"
_AT_DOMAIN = re.compile(rb"@(%b(?:\.%b)*+)" % (_LABEL, _LABEL))
_ASCII_DOMAIN = re.compile(rb"[A-Za-z0-9.-]*+")
# As in `publickey - real@inbox.example.asc`.
_FILE_ENDINGS = frozenset(
    b"asc csv docx eml gif gpg htm html ics jpeg jpg json key msg odt p12 p7m p7s pdf pfx pgp png sig txt vcf xls xlsx"
    b" xml zip".split()
)
_ATEXT = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=?^_`{|}~.-"
_OUTSIDE = bytes(0x61 if octet in _ATEXT else 0x20 for octet in range(256))
# Where within such characters an address may begin: at the very begin and behind marks that people and programs put
# around addresses; there perhaps a little later.
_BEGIN = re.compile(rb"(?:\A|(?<=[!#$%&'*/=?^`{|}~])|(?<=\.\.))([._+-]*+)")
_MOST_BEGINS = 24
# What begins a name must not: `acid:`. Programs escape what else there can be in one.
_CID = re.compile(rb"(?<![A-Za-z0-9])cid:([^\s\"'<>()\[\]{}|\\^`&;,]{1,300}+)", re.IGNORECASE)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PERCENT_SIGN = re.compile(rb"%(?:25)*(?=[0-9A-Fa-f]{2})")
_PERCENT_AT = re.compile(rb"%(?:25)*40")


@dataclass(frozen=True, slots=True)
class Reading:
    """A text with its escapes undone. ends: offsets behind undone escapes; sources: the same places in the source."""

    text: bytes
    ends: tuple[int, ...] = ()
    sources: tuple[int, ...] = ()

    def begin(self, at: int) -> int:
        """Where in the source something begins."""
        place = bisect_right(self.ends, at) - 1
        return at if place < 0 else self.sources[place] + at - self.ends[place]

    def end(self, at: int) -> int:
        """Where in the source something ends that is not empty."""
        place = bisect_left(self.ends, at)
        if place < len(self.ends) and self.ends[place] == at:
            return self.sources[place]
        place -= 1
        return at if place < 0 else self.sources[place] + at - self.ends[place]


class Mention(NamedTuple):
    """An address in a text, by its place in the source. contact: a reverse address stands for it, or it is the new name
    of a part that the text refers to; None: the address is own.
    """

    start: int
    end: int
    address: Address
    contact: Address | None


def read(text: bytes, *, content_lines: bool = False, markup: bool = False) -> Reading:
    """Undo percent escapes and HTML entities. content_lines: folds and backslashes of iCalendar and vCard, too. markup:
    leave out the tags within lines, and with them what stands in their attributes.

    text: ASCII octets mean themselves. The time is linear.
    """
    if not content_lines and not markup and not any(mark in text for mark in _ESCAPES):
        return Reading(text)
    pieces: list[bytes] = []
    ends: list[int] = []
    sources: list[int] = []
    at = size = 0
    pattern = _IN_CONTENT_LINES if content_lines else _IN_MARKUP if markup else _IN_TEXT
    for found in pattern.finditer(text):
        said = _said(found)
        if said is None:
            continue
        start, end = found.span()
        pieces += (text[at:start], said)
        size += start - at + len(said)
        at = end
        ends.append(size)
        sources.append(end)
    return Reading(b"".join([*pieces, text[at:]]), tuple(ends), tuple(sources))


def _said(found: re.Match[bytes]) -> bytes | None:
    """What an escape stands for, None if it is none."""
    match found.lastindex:
        case None:
            return b""
        case 1:
            return bytes.fromhex(found[1].decode("ascii"))
        case 2:
            return _character(int(found[2]))
        case 3:
            return _character(int(found[3], 16))
        case 4:
            return _NAMED.get(found[4])
        case _:
            return b"\n" if found[5] in b"nN" else found[5]


def _character(number: int) -> bytes | None:
    if number < 128:
        return bytes([number])
    if number in _UNSEEN:
        return b""
    return chr(number).encode("utf-8", "replace") if number < 0x110000 else None


class Finder:
    """Finds what is mentioned of one account and alias.

    alias: without extension, lower case. contacts: by folded opaque reverse address. naming: of parts. Reverse
    addresses of other aliases are none of its business.
    """

    def __init__(self, alias: Address, hidden: Hidden, contacts: Mapping[str, Contact], naming: Naming) -> None:
        self._alias, self._hidden, self._contacts, self._naming = alias, hidden, contacts, naming
        self._domains: dict[str | None, dict[bytes, str]] = {}
        bases = [one.local.partition("+")[0].lower() for one in hidden.addresses]
        self._bases = {*bases, *(base.replace(".", "") for base in bases)}
        self._seen: dict[tuple[bytes, str], tuple[int, Address, Address | None] | None] = {}
        # Local parts that need quotes or are not ASCII.
        self._odd = [one for one in hidden.addresses if not one.local.isascii() or one.local.startswith('"')]

    def mentions(self, reading: Reading, codec: str | None = None) -> list[Mention]:
        """All in their order; none overlaps another. codec: of the text, as charset.codec has it."""
        text = reading.text
        domains = self._spelt(codec)
        lowered = text.lower()
        if not any(domain in lowered for domain in domains):
            return []
        parts = list(self._parts(reading, lowered))
        addresses = self._addresses(reading, lowered, codec)
        if not parts:
            return list(addresses)
        behind = [one.start for one in parts]
        outside = [one for one in addresses if not _within(one, parts, bisect_right(behind, one.start) - 1)]
        return sorted([*parts, *outside], key=lambda one: one.start)

    def broken(self, seen: bytes, found: Sequence[Mention], codec: str | None) -> list[Mention]:
        """All in HTML in their order, with those that tags within lines break: `real@<b>inbox</b>.example`.

        found: those that are in one piece.
        """
        if b"<" not in seen:
            return list(found)
        starts = [one.start for one in found]
        more: list[Mention] = []
        for one in self.mentions(read(seen, markup=True), codec):
            before = bisect_right(starts, one.start) - 1
            behind = bisect_left(starts, one.start)
            apart = not _within(one, found, before) and (behind == len(found) or one.end <= starts[behind])
            if apart and b"<" in seen[one.start : one.end]:
                more.append(one)
        return sorted([*found, *more], key=lambda one: one.start) if more else list(found)

    def _parts(self, reading: Reading, lowered: bytes) -> Iterator[Mention]:
        """References to parts by names that tell too much (RFC 2392)."""
        if b"cid:" not in lowered:
            return
        for place in _CID.finditer(reading.text):
            new = self._naming.renamed(place[1])
            if new is not None:
                yield Mention(reading.begin(place.start(1)), reading.end(place.end(1)), new, new)

    def _addresses(self, reading: Reading, lowered: bytes, codec: str | None) -> Iterator[Mention]:
        text, domains = reading.text, self._spelt(codec)
        for place in _AT_DOMAIN.finditer(lowered):
            domain, length = _known(place[1], domains)
            if domain is None:
                continue
            begin = max(0, place.start() - MAX_ADDRESS_OCTETS)
            before = text[begin : place.start()]
            mention = self._mention(before, domain, codec)
            if mention is not None:
                size, own, contact = mention
                start, end = reading.begin(place.start() - size), reading.end(place.start(1) + length)
                yield Mention(start, end, own, contact)

    def _spelt(self, codec: str | None) -> dict[bytes, str]:
        """The domains as a text may have them, in lower case."""
        if codec not in self._domains:
            spelt: dict[bytes, str] = {}
            for domain in (*self._hidden.domains, self._alias.domain):
                spelt[domain.encode("ascii")] = domain
                with suppress(idna.IDNAError, UnicodeError):
                    unicode = idna.decode(domain)
                    spelt[unicode.encode()] = domain
                    spelt[unicode.encode(codec or "utf-8")] = domain
            self._domains[codec] = spelt
        return self._domains[codec]

    def _mention(self, before: bytes, domain: str, codec: str | None) -> tuple[int, Address, Address | None] | None:
        """What stands before an `@` and one of the domains: octets of the local part, the address, the contact."""
        for one in self._odd:
            local = one.local.lower().encode(codec or "utf-8", "replace")
            if one.domain == domain and before.lower().endswith(local) and not before[: -len(local)][-1:].isalnum():
                return len(local), one, None
        run = before[before.translate(_OUTSIDE).rfind(b" ") + 1 :]
        if (run, domain) not in self._seen:
            self._seen[run, domain] = self._in_run(run, domain)
        return self._seen[run, domain]

    def _in_run(self, run: bytes, domain: str) -> tuple[int, Address, Address | None] | None:
        for begin in [*_BEGIN.finditer(run)][-_MOST_BEGINS:]:
            for at in dict.fromkeys(begin.span()):
                whose = self._whose(run[at:].decode("ascii"), domain)
                if whose is not None:
                    return len(run) - at, *whose
        return None

    def _whose(self, local: str, domain: str) -> tuple[Address, Address | None] | None:
        base, plus, extension = local.partition("+")
        folded = base.lower()
        if domain == self._alias.domain:
            contact = None
            if plus and folded == self._alias.local:
                meaning = classify(extension)
                contact = meaning.contact if isinstance(meaning, Reverse) else None
            elif stored := self._contacts.get(f"{local.lower()}@{domain}"):
                contact = address_of(stored.address.encode()) if stored.alias == self._alias else None
            if contact is not None:
                return Address(local, domain), contact
        if folded in self._bases or folded.replace(".", "") in self._bases:
            address = Address(local, domain)
            return (address, None) if self._hidden.owns(address) else None
        return None


def _within(one: Mention, others: Sequence[Mention], nearest: int) -> bool:
    """Whether it begins within another. nearest: the last of the others that begins not behind it, or -1."""
    return nearest >= 0 and one.start < others[nearest].end


def _known(run: bytes, domains: Mapping[bytes, str]) -> tuple[str | None, int]:
    """Which of the domains this is, and how many octets it has. What is no letter anywhere may follow it."""
    for candidate in (run, run.rstrip(b"_")):
        if candidate in domains:
            return domains[candidate], len(candidate)
    name, _, ending = run.rpartition(b".")
    if ending in _FILE_ENDINGS and name in domains:
        return domains[name], len(name)
    ascii_part = _ASCII_DOMAIN.match(run)
    assert ascii_part is not None  # nothing is enough
    cut = ascii_part[0].rstrip(b".-")
    following = run[ascii_part.end() :].decode("utf-8", "replace")
    # Behind a dot a letter begins one more label.
    ends = following and (cut == ascii_part[0] or not following[0].isalnum())
    return (domains[cut], len(cut)) if cut in domains and ends else (None, 0)


def spelt(address: Address, source: bytes, *, markup: bool) -> str:
    """An address as it may stand in place of another. source: the octets that it replaces; escaped as they are."""
    text = str(address)
    sign = _PERCENT_SIGN.search(source)
    if sign is not None:
        at = _PERCENT_AT.search(source)
        quoted = [_percent(one.encode(), sign[0].decode("ascii")) for one in text.rpartition("@")[::2]]
        return (at[0].decode("ascii") if at else "@").join(quoted)
    return escape(text) if markup else text


def _percent(octets: bytes, sign: str) -> str:
    return "".join(chr(one) if one in _UNRESERVED else f"{sign}{one:02X}" for one in octets)
