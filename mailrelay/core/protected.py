"""Header protection of encrypted copies (RFC 9788, spec section 6.3): what goes inside, and what may be seen outside.

Which programs read what: `hp` and `HP-Outer` are for those that know the RFC, `protected-headers` for those that know
what was there before it, and the legacy display element, a line with the subject, for all others.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from mailrelay.core import charset, transfer
from mailrelay.core.canonical import canonical_field
from mailrelay.core.contenttype import with_charset
from mailrelay.core.fitting import short_lines
from mailrelay.core.frozen import frozen
from mailrelay.core.header import Field
from mailrelay.core.htmlsplice import after_body_tag
from mailrelay.core.letterhead import COMPAT_PREFIX, TRACES
from mailrelay.core.mime import Entity, Tree, enclosing, first_texts, has_delimiter
from mailrelay.core.phrase import decoded
from mailrelay.core.sending.splice import Splice, field_places

OBSCURED = b"[...]"
_SUBJECT_CHARACTERS = 900
_BOM = b"\xef\xbb\xbf"

# About the way of a message, not of its author: it need not be protected, and is none of HP-Outer's business.
_TRAVEL = TRACES | frozenset(
    b"received x-received received-spf authentication-results delivered-to dkim-signature domainkey-signature "
    b"x-google-dkim-signature".split()
)
# What hosts on the way and threads need. All other fields stay outside unless they name the subject.
_NEEDED = _TRAVEL | frozenset(
    b"from sender reply-to to cc date message-id in-reply-to references author auto-submitted precedence importance "
    b"priority x-priority sensitivity x-auto-response-suppress feedback-id tls-required mime-version thread-index "
    b"archived-at".split()
)
_NEEDED_PREFIXES = (b"arc-", b"list-", b"resent-", b"content-", COMPAT_PREFIX.lower().encode("ascii"))
_ARC = b"arc-"
_SIGNATURES = frozenset({b"dkim-signature", b"arc-message-signature"})
# A copy of the header in a signature (RFC 6376 section 3.5).
_HEADER_COPY = re.compile(rb"[:;\s]z[ \t\r\n]*+=", re.IGNORECASE)
# RFC 9788 section 3.2.1 leaves these out; mail programs write the last with the words of the subject.
_INSIDE_ONLY = frozenset({b"comments", b"keywords", b"thread-topic", b"hp-outer"})
# Of a stranger it would say what we had left outside.
_FORGED = frozenset({b"hp-outer"})
_REPLY = re.compile(r"(?:\s*+(?:re|fwd?|aw|wg|sv|vs|antw|tr|rif|odp)\s*+(?:\[\d++\])?+\s*+:)++", re.IGNORECASE)
# Shorter values are words like `normal`, which a subject may have as well.
_TELLING_CHARACTERS = 6

# A part of these kinds would be taken for a layer of the encryption, and its header for nobody's.
_LAYERS = frozenset(
    {b"multipart/signed", b"multipart/encrypted", b"application/pkcs7-mime", b"application/x-pkcs7-mime"}
)
_HP = b'hp="cipher"; protected-headers="v1"'
_LEGACY = b'hp-legacy-display="1"'
_TYPE_WORD = re.compile(rb"[^:]*+:(?:\s|\([^()]*+\))*+([^\s;()\"=/]++(?:\s*+/\s*+[^\s;()\"=]++)?+(?!\s*+=))?+")
_OURS = re.compile(
    rb"""("(?:[^"\\]++|\\.)*+"?+)|;\s*+(?:hp|protected-headers|hp-legacy-display)\s*+=\s*+("(?:[^"\\]++|\\.)*+"?+|[^\s;"]*+)""",
    re.IGNORECASE | re.DOTALL,
)
_DEFAULT_TYPE = b"Content-Type: text/plain; charset=us-ascii\r\n"
_ENCODING = b"content-transfer-encoding"
# Where ASCII octets mean the same as in UTF-8.
_NEAR_ASCII = ("ascii", "iso8859", "cp125")


@dataclass(frozen=True, slots=True)
class Protection:
    """prefix: of our own field names, which stay outside, as filters use them; save the one with the subject."""

    prefix: str


def outside(fields: Iterable[Field], protection: Protection) -> list[Field]:
    """The header for everybody to see: the subject obscured, and no field that repeats or tells it.

    Pieces that are no field are kept, see rewrite.rewritten.
    """
    given = list(fields)
    told = _told(given)
    needed = (*_NEEDED_PREFIXES, protection.prefix.lower().encode("ascii"))
    copied = any(field.name in _SIGNATURES and _HEADER_COPY.search(field.raw) for field in given)
    kept: list[Field] = []
    obscured = False
    for field in given:
        name = field.name
        if name == b"subject" and not obscured:
            obscured = True
            kept.append(Field(name, b"Subject: %b\r\n" % OBSCURED))
        elif b"subject" in name or name in _INSIDE_ONLY or (copied and _is_signature(name)):
            continue
        elif name in _NEEDED or name.startswith(needed) or not _tells(field, told):
            kept.append(field)
    return kept


def inner(fields: Sequence[Field], parts: Tree, protection: Protection, boundary: bytes) -> bytes:
    """The entity to encrypt.

    fields: the header of the copy. parts: its entity, all Content fields in the header and CRLF between its lines.
    boundary: in case that the entity has to become the part of another one.
    """
    header = [*_copies(fields), *_outer_copies(fields, protection)]
    subject = _subject(fields)
    root, content = parts.root, parts.message.content
    if root.type in _LAYERS:
        return b"".join([*header, *_in_mixed(content, subject, boundary)])
    splices: list[Splice] = []
    marked: set[int] = set()
    if subject and frozen(parts).body_edits:
        for entity, change in first_texts(parts, lambda one: _with_subject(parts, one, subject)):
            splices += change
            marked.add(entity.start)
    if root.start not in marked:
        splices.append(_retyped(root, _HP, None))
    return _spliced(header, content, splices)


def _spliced(header: Iterable[bytes], content: bytes, splices: Iterable[Splice]) -> bytes:
    """The content changed, with a header in front. Large content is copied once only."""
    pieces: list[bytes | memoryview] = [*header]
    rest, at = memoryview(content), 0
    for start, end, octets in sorted(splices):
        pieces += (rest[at:start], octets)
        at = end
    return b"".join([*pieces, rest[at:]])


def _told(fields: Sequence[Field]) -> frozenset[str]:
    """What nobody may read outside: the subjects, with and without the `Re:` of an answer."""
    subjects = [_said(field.value) for field in fields if b"subject" in field.name]
    bare = [_REPLY.sub("", subject, count=1).strip() for subject in subjects]
    return frozenset(one for one in (*subjects, *bare) if one)


def _said(value: bytes) -> str:
    return " ".join(decoded(value).split()).casefold()


def _tells(field: Field, told: frozenset[str]) -> bool:
    said = _said(field.value) if told else ""
    long = len(said) >= _TELLING_CHARACTERS
    return any(one in said or (long and said in one) for one in told)


def _is_signature(name: bytes) -> bool:
    """Signatures over a header that is no more. Of an ARC chain all sets go: one alone means that it is broken."""
    return name in _SIGNATURES or name.startswith(_ARC)


def _is_protected(field: Field) -> bool:
    """Whether a field is inside as well: what its author wrote, and what we say."""
    name = field.name
    is_structural = name == b"mime-version" or name.startswith(b"content-")
    return bool(name) and not is_structural and name not in _TRAVEL | _FORGED and not name.startswith(_ARC)


def _copies(fields: Iterable[Field]) -> Iterator[bytes]:
    has_subject = False
    for field in fields:
        if _is_protected(field) and not (has_subject and field.name == b"subject"):
            has_subject = has_subject or field.name == b"subject"
            yield canonical_field(field).raw


def _outer_copies(fields: Iterable[Field], protection: Protection) -> Iterator[bytes]:
    """RFC 9788 section 2.2: what stays outside, and how."""
    for field in outside(fields, protection):
        if _is_protected(field):
            yield short_lines(Field(field.name, b"HP-Outer: " + canonical_field(field).raw)).raw


def _subject(fields: Iterable[Field]) -> str:
    values = [field.value for field in fields if field.name == b"subject"]
    return " ".join(decoded(values[0]).split())[:_SUBJECT_CHARACTERS] if values else ""


def _in_mixed(content: bytes, subject: str, boundary: bytes) -> Iterator[bytes]:
    """An entity of its own around one that must not change, with the subject in front."""
    yield b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="%b";\r\n\t%b\r\n\r\n' % (boundary, _HP)
    if subject:
        text = f"Subject: {subject}\r\n\r\n".encode()
        encoding = b"7bit" if text.isascii() and not transfer.long_lines(text) else b"base64"
        yield b"--%b\r\nContent-Type: text/plain; charset=utf-8; %b\r\n" % (boundary, _LEGACY)
        yield b"Content-Transfer-Encoding: %b\r\n\r\n%b\r\n" % (encoding, transfer.encode(text, encoding))
    yield b"--%b\r\n" % boundary
    yield content
    yield b"\r\n--%b--\r\n" % boundary


def _with_subject(parts: Tree, entity: Entity, subject: str) -> tuple[Entity, list[Splice]] | None:
    """What changes where the subject is put on top of a text; None if the text cannot be read."""
    raw = parts.message.content[entity.body_start : entity.body_end]
    read = _Read.of(entity, transfer.decode(raw, entity.encoding), subject)
    if read is None:
        return None
    is_html = entity.type == b"text/html"
    view = charset.view(read.text, read.codec)
    if view is None:
        return None
    octets = charset.encode(_display(subject, is_html=is_html), read.codec, markup=is_html)
    at = len(_BOM) if read.text.startswith(_BOM) else 0
    at = (is_html and after_body_tag(view)) or at
    encoding = entity.encoding
    if read.is_converted:
        body = transfer.encode(transfer.insert(read.text, read.text, b"binary", [(at, octets)]), encoding)
    else:
        body = transfer.insert(raw, read.text, encoding, [(at, octets)])
    if encoding == b"7bit" and not body.isascii():
        body, encoding = transfer.encode(body, b"quoted-printable"), b"quoted-printable"
    if any(has_delimiter(body, one) for one in enclosing(parts, entity)):
        said = transfer.decode(body, encoding) or b""
        body, encoding = transfer.encode(said, b"base64"), b"base64"
    params = b"; ".join([_HP, _LEGACY]) if entity is parts.root else _LEGACY
    splices = [_retyped(entity, params, read.charset), Splice(entity.body_start, entity.body_end, body)]
    return entity, [*splices, *_encoded(entity, encoding)]


@dataclass(frozen=True, slots=True)
class _Read:
    """A text to add to. charset: its new one, None if it stays; is_converted: the octets are others already."""

    text: bytes
    codec: str
    charset: bytes | None = None
    is_converted: bool = False

    @classmethod
    def of(cls, entity: Entity, text: bytes | None, subject: str) -> "_Read | None":
        codec = charset.codec(entity.params.get(b"charset", b""))
        if codec is None or text is None:
            return None
        can_change = b"charset" not in entity.params or any(
            with_charset(one.raw, b"utf-8") for one in entity.fields if one.name == b"content-type"
        )
        if charset.is_wide(codec):
            narrow = charset.narrow(text, codec)
            return cls(narrow, "utf-8", b"utf-8", True) if narrow is not None and can_change else None
        if can_change and not subject.isascii() and text.isascii() and codec.startswith(_NEAR_ASCII):
            return cls(text, "utf-8", b"utf-8")
        return cls(text, codec)


def _display(subject: str, *, is_html: bool) -> str:
    """The legacy display element (RFC 9788 sections 5.2.2 and 5.2.3)."""
    if not is_html:
        return f"Subject: {subject}\r\n\r\n"
    text = escape(f"Subject: {subject}")
    return f'<div class="header-protection-legacy-display">\r\n<pre>{text}</pre>\r\n</div>\r\n'


def _retyped(entity: Entity, params: bytes, charset: bytes | None) -> Splice:
    """The Content-Type of a part with parameters, without those of the same names, and with another charset."""
    placed = next((one for one in field_places(entity) if one.field.name == b"content-type"), None)
    raw = placed.field.raw if placed is not None else _DEFAULT_TYPE
    raw = _OURS.sub(lambda found: found[1] or b"", raw)
    if charset is not None:
        changed = with_charset(raw, charset)
        raw, params = (raw, b"charset=%b; %b" % (charset, params)) if changed is None else (changed, params)
    word = _TYPE_WORD.match(raw)
    assert word is not None  # every field has a colon
    begin = raw[: word.end()] if word[1] else b"Content-Type: text/plain"
    rest = raw[word.end() :]
    semicolon = b"" if rest.lstrip()[:1] in (b";", b"") else b";"
    # Behind the type: at the end a quote that nobody closed would swallow them.
    octets = begin + b";\r\n\t" + params + semicolon + rest
    start, end = (placed.start, placed.end) if placed is not None else (entity.start, entity.start)
    return Splice(start, end, octets)


def _encoded(entity: Entity, encoding: bytes) -> Iterator[Splice]:
    """The transfer encoding of a part where it changed."""
    if encoding == entity.encoding:
        return
    placed = next((one for one in field_places(entity) if one.field.name == _ENCODING), None)
    start, end = (placed.start, placed.end) if placed is not None else (entity.header_end, entity.header_end)
    yield Splice(start, end, b"Content-Transfer-Encoding: %b\r\n" % encoding)
