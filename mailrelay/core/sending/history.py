"""Where somebody else's words begin in a reply: the quoted history (spec section 4.8, 3).

Mail programs mark it in many ways. Plain text: lines with `>` in front, and everything from the first attribution
(`On …, … wrote:`), separator or block of header fields on. HTML: everything from the first element that programs put
around it, or from what would begin it in plain text.
"""

import re
from collections.abc import Sequence
from itertools import islice

from mailrelay.core.sending import markup
from mailrelay.core.sending.markup import Line

# Of so many lines nobody has written all, and reading more takes too long: what follows counts as history.
_MAX_LINES = 4000
_MAX_TAGS = 15_000
_LINE_OCTETS = 400  # of a line that are looked at
_ATTRIBUTION_LINES = 4
_BLOCK_LINES = 12

_LINES = re.compile(rb"[^\n]*+\n?+")
_QUOTED = re.compile(rb"[ \t]{0,8}>")
_DECORATION = b" \t\r\n>*|\xa0"
_FIELD = re.compile(rb"([A-Za-z\x80-\xff][A-Za-z\x80-\xff \t'.-]{0,30}+)\*?+:\*?+(?:[ \t\xa0]|\xc2|\Z)")
_DASHES = re.compile(rb"(?:[-_=*]|\xe2\x80[\x90-\x95]){2,}+")
_LAST_DASHES = re.compile(rb"(?:[-_=*]|\xe2\x80[\x90-\x95])\Z")
_LEAST_RULE = 10
_ADDRESS = re.compile(rb"[^\s<>@]@[A-Za-z0-9\x80-\xff]|&#0*64;|&commat;|%40")
_BRACKETED = re.compile(rb"(?:<|&lt;|\[|mailto:)[^\s<>@]*+(?:@|&#0*64;)")
_DATE = re.compile(rb"\b(?:19|20)\d\d\b|\b\d{1,2}[:.h]\d\d\b|\b\d{1,2}[./-]\d{1,2}[./-]\d{2}|\d\xe5\xb9\xb4")
_OPENER = re.compile(
    rb"(?:On|At|Am|Le|El|Il|Em|Op|Den|W|Dnia|Dne|D\xc5\x88a|V|In|Pe|Quoting|\xd0\x92|P\xc3\xa5|L[iau]n?|Ma|Pi|\d{4}-)\b"
)
# Parts of words that mean `wrote`, in letters that look the same in every charset.
_WROTE = re.compile(
    rb"wrote|writes|schrieb|crit\b|scribi|scritto|scrisse|screveu|schreef|skrev|napisa|pisze|napsal|kirjoit|scris|yazd"
    rb"|\xd0\xbf\xd0\xb8\xd1\x81\xd0\xb0\xd0\xbb|\xd0\xbf\xd0\xb8\xd1\x88\xd0\xb5|\xe5\x86\x99\xe9\x81\x93|\xd8\xaa\xd8",
    re.IGNORECASE,
)
# Yahoo's programs for phones put the quoted text on the same line.
_GOES_ON = re.compile(rb"(?:>|&gt;)\s*+[^\s:]{2,20}+:[ \t]{2,}")
_COLONS = (b":", b"\xef\xbc\x9a")
# Fields of the blocks that mail programs write, where no date tells.
_KNOWN_FIELDS = frozenset(
    b"from|to|cc|sent|date|subject|reply-to|von|an|gesendet|datum|betreff|de|para|enviado|fecha|asunto|envoy|objet|da"
    b"|inviato|data|oggetto|assunto|van|aan|verzonden|onderwerp|od|do|temat|fra|til|emne|sendt|fr|till|skickat|mne"
    b"|komu|kimden|kime|konu|tarih|sender|organizer".split(b"|")
)

_ELEMENTS = re.compile(
    rb"gmail_quote|gmail_attr|moz-cite-prefix|moz-forward-container|yahoo_quoted|divrplyfwdmsg|olk_src_body_section"
    rb"|protonmail_quote"
)
_PLAIN_SIGNATURE = re.compile(rb"^-- ?+\r?$", re.MULTILINE)
_HTML_SIGNATURE = re.compile(
    rb"gmail_signature|moz-signature|protonmail_signature|ms-outlook-mobile-signature|id=[\"']?(?:x_)?Signature"
    rb"|>\s*+--(?:&nbsp;|\s)*+<",
    re.IGNORECASE,
)


def among(text: bytes, places: Sequence[int], *, html: bool) -> list[bool]:
    """For each place whether it lies in quoted history. places: offsets in the text, ascending.

    text: ASCII octets mean themselves. The time is linear.
    """
    begin = in_html(text) if html else in_plain(text)
    if html:
        return [place >= begin for place in places]
    found: list[bool] = []
    line_start = 0
    for place in places:
        line_start = max(line_start, text.rfind(b"\n", line_start, place) + 1)
        found.append(place >= begin or _QUOTED.match(text, line_start) is not None)
    return found


def in_plain(text: bytes) -> int:
    """Where everything begins to be history in plain text, besides lines with `>` in front."""
    lines: list[Line] = []
    for found in islice(_LINES.finditer(text), _MAX_LINES):
        lines.append(Line(found.start(), found[0][:_LINE_OCTETS]))
    begin = _begin(lines)
    return begin if begin is not None else _end_of_reading(lines, text)


def in_html(html: bytes) -> int:
    """Where history begins in HTML; its length if there is none."""
    lines: list[Line] = []
    pieces: list[bytes] = []
    start = at = 0
    element = len(html)
    for count, tag in enumerate(markup.tags(html)):
        pieces.append(html[at : min(tag.start, at + _LINE_OCTETS)])
        at = tag.end
        if tag.name == b"blockquote" or _ELEMENTS.search(markup.names(html, tag)):
            element = tag.start
            break
        if markup.is_break(tag.name):
            lines.append(markup.line(start, pieces))
            start, pieces = tag.end, []
        if len(lines) >= _MAX_LINES or count >= _MAX_TAGS:
            element = tag.end
            break
    else:
        pieces.append(html[at : at + _LINE_OCTETS])
    lines.append(markup.line(start, pieces))
    if element < len(html):
        lines.append(Line(element, b">"))
    begin = _begin(lines)
    return element if begin is None else min(begin, element)


def signature(text: bytes, *, html: bool) -> int:
    """Where the signature begins that the author's program puts below a text; the length if there is none."""
    pattern = _HTML_SIGNATURE if html else _PLAIN_SIGNATURE
    found = pattern.search(text)
    return found.start() if found else len(text)


def _end_of_reading(lines: Sequence[Line], text: bytes) -> int:
    return lines[-1].start if len(lines) == _MAX_LINES else len(text)


def _begin(lines: Sequence[Line]) -> int | None:
    """Where the first attribution, separator or block of fields begins."""
    bare = [line.text.strip(_DECORATION) for line in lines]
    no_block_before = 0
    for at, text in enumerate(bare):
        if not text:
            continue
        if _is_separator(text):
            follower = _next(bare, at)
            if _DATE.search(text) and (_ADDRESS.search(text) or _WROTE.search(text)):
                return lines[at].start
            if follower is not None and (_FIELD.match(bare[follower]) or _attribution(lines, bare, follower)):
                return lines[at].start
        elif at >= no_block_before and _FIELD.match(text):
            is_block, no_block_before = _block(bare, at)
            if is_block:
                return lines[at].start
        found = _ends_attribution(lines, bare, at)
        if found is not None:
            return lines[found].start
    return None


def _next(bare: Sequence[bytes], at: int) -> int | None:
    """The next line that is not empty, if it is near."""
    return next((one for one in range(at + 1, min(at + 5, len(bare))) if bare[one]), None)


def _is_separator(text: bytes) -> bool:
    """Such as `-----Original Message-----` or a long rule."""
    dashes = _DASHES.match(text)
    if dashes is None or len(text) > 240:
        return False
    if dashes.end() == len(text):
        return dashes.end() >= _LEAST_RULE
    return _LAST_DASHES.search(text) is not None


def _block(bare: Sequence[bytes], at: int) -> tuple[bool, int]:
    """Whether lines like header fields begin here, two or more with an address, and a date or names of fields; and the
    line where they end.
    """
    names: list[bytes] = []
    addresses = date = False
    end = at
    for end in range(at, min(at + _BLOCK_LINES, len(bare))):
        text = bare[end]
        found = _FIELD.match(text)
        if found is None and not (names and text and _ADDRESS.search(text)):  # a list of addresses may go on
            break
        if found is not None:
            names.append(found[1].strip(b" \t*\xa0\xc2").lower())
        addresses = addresses or _ADDRESS.search(text) is not None
        date = date or _DATE.search(text) is not None
    known = any(name in _KNOWN_FIELDS for name in names)
    return len(names) > 1 and addresses and (date or known), end


def _attribution(lines: Sequence[Line], bare: Sequence[bytes], at: int) -> bool:
    """Whether an attribution begins here."""
    ends = range(at, min(at + _ATTRIBUTION_LINES, len(bare)))
    return any(_ends_attribution(lines, bare, end) is not None for end in ends)


def _ends_attribution(lines: Sequence[Line], bare: Sequence[bytes], at: int) -> int | None:
    """The line where an attribution begins that ends in this one; None if none does."""
    follower = _next(bare, at)
    quote = follower is not None and _QUOTED.match(lines[follower].text) is not None
    if _GOES_ON.search(bare[at]) and _OPENER.match(bare[at]) and _DATE.search(bare[at]):
        return at
    colon = bare[at].endswith(_COLONS)
    if not (quote or colon) or _QUOTED.match(lines[at].text):
        # Apple's programs quote the attribution, too; then it is history anyhow.
        return None
    foreign = bare[at][-1:] >= b"\x80"  # there are colons in other scripts and charsets
    first = max(0, at - _ATTRIBUTION_LINES + 1)
    if not quote and not _ADDRESS.search(b" ".join(bare[first : at + 1])):
        return None
    joined = b""
    weak: int | None = None
    for begin in range(at, first - 1, -1):
        if not bare[begin] or _QUOTED.match(lines[begin].text):
            break
        joined = bare[begin] + b" " + joined
        date, address = _DATE.search(joined) is not None, _ADDRESS.search(joined) is not None
        wrote = _WROTE.search(joined) is not None
        opened = _OPENER.match(bare[begin]) is not None and date
        if quote and ((opened and (wrote or colon)) or (date and address and (wrote or colon or foreign))):
            return begin
        if colon and date and address and (wrote or (opened and _BRACKETED.search(joined)) or _is_gmail(joined)):
            return begin
        if colon and ((quote and (wrote or address or date)) or (wrote and address)):
            weak = begin
    return weak


def _is_gmail(joined: bytes) -> bool:
    """`2026-01-06 18:12 GMT+01:00 Name <address>:`, without a word."""
    return _BRACKETED.search(joined) is not None and joined.rstrip().endswith((b">:", b"&gt;:"))
