"""Address lists of header fields as strangers write them: From, To, Cc, Reply-To (RFC 5322 section 3.4, leniently).

Whatever the octets, something comes out, in linear time. What is odd is read as most mail programs do: commas in an
unquoted name, brackets within brackets, brackets that do not close, semicolons between mailboxes, raw 8-bit names.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mailrelay.core.address import MAX_ADDRESS_OCTETS, Address, domain_name, parse_address
from mailrelay.core.errors import Malformed
from mailrelay.core.phrase import decoded, name_of

__all__ = ["FromProblem", "Group", "Mailbox", "address_of", "decoded", "first_address", "from_problem", "mailboxes"]

# More than this in a From field is no author.
MAX_AUTHORS = 50

# The usual case at once: `"name" <address>`, `name <address>` or `address`, up to its comma.
_ADDR = rb"[^\s\"\\()<>,:;@\[\]]++@[A-Za-z0-9.-]++"
_USUAL = re.compile(
    rb"(?:(?:\"([^\"\\]*+)\"|([^\"\\()<>,:;@]*+))\s*+<(%b)>|(%b))\s*+(?:,|\Z)" % (_ADDR, _ADDR), re.DOTALL
)
# Otherwise piece by piece. Encoded words are pieces, as some mailers leave commas and the like in them.
_SEPARATORS = re.compile(rb"[\s,;]++")
_SEPARATORS_IN_GROUP = re.compile(rb"[\s,]++")
_PIECE = re.compile(rb"=\?[^?\s<>]++\?[bBqQ]\?[^?\s<>\"]*+\?=|[^\"\\()<>,:;=]++|\\.|[,\s]++|.", re.DOTALL)
_QUOTED = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
# Route addresses keep what follows the route (RFC 5322 section 4.4).
_ANGLE = re.compile(rb"<(?:@[^<>;:\"\\]*+:)?+([^<>,;\"\\]*+)>|<([^<>,;\"\\]*+)")
_QUOTED_ANGLE = re.compile(rb'<\s*+("(?:[^"\\]++|\\.)*+"\s*+@[^<>,;"\\]*+)>?', re.DOTALL)
_PARENTHESIS = re.compile(rb"\\.|[()]", re.DOTALL)
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_WORDS = re.compile(rb'(?:"(?:[^"\\]++|\\.)*+"|[^\s,:;"\\]++|\\.|["\\])++', re.DOTALL)
_INNER_COMMENT = re.compile(rb"\([^()]*+\)")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]+")

_PHRASE_OCTETS = 4096  # of a name that are looked at; 100 characters are kept
_TRIES = 8  # candidates in one mailbox
_ADDRESS_OCTETS = 1024  # with comments and white space

# What may be spent on one value, about 2 us each: honest lists need a fraction. Then the rest counts as unreadable.
_PATIENCE = 5_000
_OCTETS_A_PIECE = 4
_COST_ADDRESS = 3


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox of a list.

    name: decoded and sanitised (spec section 3.4), '' if there is none; address: None if none can be read;
    raw: its octets in the field, without the separators around them.
    """

    name: str
    address: Address | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """An empty group, such as `undisclosed-recipients:;`."""

    name: str


class FromProblem(StrEnum):
    """Why a message has no author that one could judge (spec section 2.3, row 5)."""

    ABSENT = "no From field"
    UNREADABLE = "no readable mailbox in From"
    SEVERAL_FIELDS = "two From fields"
    SEVERAL_DOMAINS = "From names mailboxes of different domains"


def mailboxes(value: bytes, limit: int | None = None) -> list[Mailbox | Group]:
    """The mailboxes of a field value, raw or unfolded, in their order; groups are flattened unless they are empty.

    limit: the most that are read; the rest of the value is ignored.
    """
    found: list[Mailbox | Group] = []
    for phrase, address, raw in _Reader(value).items():
        if raw is None:
            if name := name_of(phrase[:_PHRASE_OCTETS]):
                found.append(Group(name))
        else:
            found.append(Mailbox(name_of(phrase[:_PHRASE_OCTETS]), address, raw))
        if len(found) == limit:
            break
    return found


def first_address(value: bytes) -> Address | None:
    """The first address of a field value, the mailboxes before it being unreadable."""
    for _, (_, address, _) in zip(range(MAX_AUTHORS), _Reader(value).items(), strict=False):
        if address is not None:
            return address
    return None


def from_problem(values: Sequence[bytes], *, null_sender: bool, is_report: bool) -> FromProblem | None:
    """What is wrong with the From fields of a message; None if they name one author, or several of one domain.

    values: of all From fields. A delivery report with the null sender needs no author: it may leave the field out, or
    call itself MAILER-DAEMON without a domain.
    """
    if len(values) > 1:
        return FromProblem.SEVERAL_FIELDS
    found = mailboxes(values[0], MAX_AUTHORS + 1) if values else []
    domains = {one.address.domain for one in found if isinstance(one, Mailbox) and one.address is not None}
    if len(domains) > 1:
        return FromProblem.SEVERAL_DOMAINS
    if domains and len(found) <= MAX_AUTHORS:
        return None
    if null_sender and is_report and not domains:
        return None
    return FromProblem.UNREADABLE if values else FromProblem.ABSENT


def address_of(octets: bytes) -> Address | None:
    """The address in what may stand between angle brackets, without them; None if there is none.

    A local part that needs quotes keeps them in their shortest form, as `"john doe"`, and gets them where the sender
    forgot them (`a..b`, which some phone companies hand out). Comments and white space around dots and `@` go.
    """
    if len(octets) > _ADDRESS_OCTETS:
        return None
    try:
        text = octets.decode("utf-8").strip()
        try:
            return parse_address(text)
        except Malformed:
            return _odd_address(text)
    except (Malformed, UnicodeDecodeError):
        return None


def _odd_address(text: str) -> Address | None:
    if "(" in text:
        text = _INNER_COMMENT.sub(b" ", text.encode()).decode()
    local, _, domain = text.removeprefix("mailto:").rpartition("@")
    local, domain = local.strip(), ".".join(label.strip() for label in domain.split("."))
    if not local:
        return None
    if local[0] == '"':
        if not (quoted := _QUOTED.fullmatch(local.encode())):
            return None
        local = _PAIR.sub(rb"\1", quoted[0][1:-1]).decode()
        plain = _LOCAL.fullmatch(local) is not None
    else:
        local = ".".join(atom.strip() for atom in local.split("."))
        plain = True
        if not _LOCAL.fullmatch(local):
            return parse_address(f"{local}@{domain}")
    dot_atom = plain and "" not in local.split(".")
    if not (dot_atom or local.isprintable()):
        return None
    if not dot_atom:
        escaped = re.sub(r"([\"\\])", r"\\\1", local)
        local = f'"{escaped}"'
    address = Address(local, domain_name(domain))
    return address if len(str(address).encode()) <= MAX_ADDRESS_OCTETS else None


# Phrase, address, octets in the field; the latter None for an empty group.
_Item = tuple[bytes, Address | None, bytes | None]


@dataclass(slots=True)
class _Element:
    """What was read since the last separator."""

    start: int
    pieces: list[bytes] = field(default_factory=list)  # as they stand there: text, quoted strings, comments
    angles: list[bytes] = field(default_factory=list)
    has_at: bool = False  # in the text
    comma: tuple[int, int] | None = None  # the last one in the text so far: its place in pieces and in the value


class _Reader:
    """Reads one value, once."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._at = 0
        self._element = _Element(0)
        self._comments = _comments(value) if b"(" in value else {}
        self._quotes = True  # until one does not close: none after it is tried again
        self._groups = b";" in value
        self._group: bytes | None = None  # the phrase of one that has no member yet
        self._patience = _PATIENCE + len(value) // _OCTETS_A_PIECE

    def items(self) -> Iterator[_Item]:
        """What the list holds, in its order."""
        value = self._value
        self._begin(0)
        while self._at < len(value):
            if self._patience < 0:
                yield b"", None, value[self._element.start :]
                return
            if not self._element.pieces and not self._element.angles:
                usual = _USUAL.match(value, self._at)
                if usual and (address := self._address(usual[3] or usual[4])):
                    yield usual[1] or usual[2] or b"", address, usual[0].strip(b" \t\r\n,")
                    self._group = None
                    self._begin(usual.end())
                    continue
            yield from self._piece()
        yield from self._finish(len(value))
        yield from self._end_group()

    def _begin(self, at: int) -> None:
        separators = (_SEPARATORS if self._group is None else _SEPARATORS_IN_GROUP).match(self._value, at)
        self._at = separators.end() if separators else at
        self._element = _Element(self._at)

    def _piece(self) -> Iterator[_Item]:
        """Read one piece. Yields what it completes."""
        value, at, element = self._value, self._at, self._element
        self._patience -= 1
        match value[at : at + 1]:
            case b'"' if self._quotes and (quoted := _QUOTED.match(value, at)):
                element.pieces.append(quoted[0])
                self._at = quoted.end()
            case b"(" if at in self._comments:
                self._at = self._comments[at]
                element.pieces.append(value[at : self._at])
            case b"<":
                self._angle()
            case b"," if element.angles or element.has_at or not element.pieces:
                yield from self._finish(at)
                self._begin(at + 1)
            case b";":
                yield from self._finish(at)
                yield from self._end_group()
                self._begin(at + 1)
            case b":" if self._groups and not element.angles and not element.has_at:
                self._group = _shown(element.pieces)
                self._begin(at + 1)
            case b">":
                self._at += 1
            case first:
                self._text(first)

    def _text(self, first: bytes) -> None:
        element = self._element
        found = _PIECE.match(self._value, self._at)
        assert found is not None  # any octet is a piece
        self._at = found.end()
        if first == b",":
            element.comma = (len(element.pieces), self._at)
        elif first == b'"':
            self._quotes = False
        elif b"@" in found[0] and not found[0].startswith(b"=?"):
            element.has_at = True
        element.pieces.append(found[0])

    def _angle(self) -> None:
        element = self._element
        quoted = _QUOTED_ANGLE.match(self._value, self._at) if self._quotes else None
        found = quoted or _ANGLE.match(self._value, self._at)
        assert found is not None  # a bracket alone is enough
        content: bytes = found[found.lastindex or 0]
        # A pair and what holds an `@` stand for an address; otherwise it is text, unless there is a name already.
        if b"@" in content or found[0].endswith(b">"):
            element.angles.append(content)
        elif not element.pieces:
            element.pieces.append(content)
        self._at = found.end()

    def _address(self, octets: bytes) -> Address | None:
        address = address_of(octets)
        self._patience -= 2
        if address is None or address.local[0] == '"':
            self._patience -= _COST_ADDRESS
        if not octets.isascii():
            self._patience -= _COST_ADDRESS + len(octets) // 4  # a domain in Unicode takes 20 to 100 us
        return address

    def _finish(self, end: int) -> Iterator[_Item]:
        """The mailbox that ends here, if there is one, and before it what belongs to none."""
        element, start = self._element, self._element.start
        self._patience -= _COST_ADDRESS
        for content in reversed(element.angles[-_TRIES:]):
            if address := self._address(content):
                self._group = None
                yield _shown(element.pieces), address, self._raw(start, end)
                return
        pieces = element.pieces
        if element.has_at and element.comma and not element.angles:
            yield from self._unreadable(pieces[: element.comma[0]], start, element.comma[1])
            pieces, start = pieces[element.comma[0] + 1 :], element.comma[1]
        if element.has_at and (bare := self._bare(pieces)):
            self._group = None
            yield *bare, self._raw(start, end)
        else:
            yield from self._unreadable(pieces, start, end)

    def _unreadable(self, pieces: list[bytes], start: int, end: int) -> Iterator[_Item]:
        raw = self._raw(start, end)
        if not raw or (pieces and not self._element.angles and all(_is_blank(piece) for piece in pieces)):
            return
        self._group = None
        if not self._groups and raw.endswith(b":"):  # a group whose semicolon is missing
            yield _shown(pieces).rstrip(b": \t\r\n"), None, None
        else:
            yield _shown(pieces), None, raw

    def _end_group(self) -> Iterator[_Item]:
        if self._group is not None:
            yield self._group, None, None
            self._group = None

    def _raw(self, start: int, end: int) -> bytes:
        return self._value[start:end].strip(b" \t\r\n,")

    def _bare(self, pieces: list[bytes]) -> tuple[bytes, Address] | None:
        """An address without brackets, and the name that is left or else the last comment."""
        text = b"".join(b" " if _is_comment(piece) else piece for piece in pieces)
        if address := self._address(text):
            comment = next((piece for piece in reversed(pieces) if _is_comment(piece)), b"")
            return _PAIR.sub(rb"\1", comment[1:-1]), address
        words = [word for word in _WORDS.findall(text) if b"@" in word]
        for word in words[:_TRIES]:
            if address := self._address(word):
                return text.replace(word, b" ", 1), address
        return None


def _comments(value: bytes) -> dict[int, int]:
    """Where comments begin and end, the nested ones too; a parenthesis without its partner is none."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for found in _PARENTHESIS.finditer(value):
        if found[0] == b"(":
            opened.append(found.start())
        elif found[0] == b")" and opened:
            ends[opened.pop()] = found.end()
    return ends


def _is_comment(piece: bytes) -> bool:
    return piece[:1] == b"(" and len(piece) > 1


def _is_blank(piece: bytes) -> bool:
    return _is_comment(piece) or not piece.strip(b" \t\r\n,")


def _shown(pieces: list[bytes]) -> bytes:
    """The phrase of pieces: quoted strings without their quotes, comments as they are, as mail programs show them."""
    end = len(pieces)
    while end and not pieces[end - 1].strip(b" \t\r\n,"):
        end -= 1
    return b"".join(
        _PAIR.sub(rb"\1", piece[1:-1]) if piece[:1] == b'"' and len(piece) > 1 else piece for piece in pieces[:end]
    ).strip(b" \t\r\n")
