"""Encrypted copies: what of a copy is encrypted, and what stands around the result (spec sections 6.2 to 6.4, 6.6).

The encryption itself happens between `sealed_form` and `outer`. Nothing is decided here about keys.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mailrelay.core import pgpinline, protected
from mailrelay.core.canonical import canonical, canonical_field
from mailrelay.core.frozen import Frozen, frozen
from mailrelay.core.header import Field, Message, split
from mailrelay.core.letterhead import Header
from mailrelay.core.mime import TEXT, Tree, tree
from mailrelay.core.protected import Protection
from mailrelay.core.sending.openpgp import file_name

_MIME_VERSION = Field(b"mime-version", b"MIME-Version: 1.0\r\n")
_DEFAULT_TYPE = Field(b"content-type", b"Content-Type: text/plain; charset=us-ascii\r\n")
_INLINE_TYPE = Field(b"content-type", b"Content-Type: text/plain; charset=utf-8\r\n")
_BOUNDARY = re.compile(rb"[0-9A-Za-z][0-9A-Za-z'+_.=-]{0,59}")
_BEGIN, _END = b"-----BEGIN PGP MESSAGE-----\r\n", b"\r\n-----END PGP MESSAGE-----"
_SHORT_LINES = re.compile(rb"(?:[^\n]{0,77}+\n)*+[^\n]{0,76}+")  # 76 octets and the CR
_TOP = (
    b"--%(b)b\r\n"
    b"Content-Type: application/pgp-encrypted\r\n"
    b"Content-Description: PGP/MIME version identification\r\n"
    b"\r\n"
    b"Version: 1\r\n"
    b"\r\n"
    b"--%(b)b\r\n"
    b'Content-Type: application/octet-stream; name="encrypted.asc"\r\n'
    b"Content-Description: OpenPGP encrypted message\r\n"
    b'Content-Disposition: inline; filename="encrypted.asc"\r\n'
    b"\r\n"
)
_BOTTOM = b"\r\n\r\n--%(b)b--\r\n"
# Files beside an inline message that are encrypted on their own.
_SEALED_FILE = re.compile(r".*\.(?:pgp|gpg|asc|sig)", re.IGNORECASE | re.DOTALL)


class Kind(StrEnum):
    """How an encrypted copy is built."""

    MIME = "mime"
    PROTECTED = "protected"  # the same, with the subject inside
    INLINE = "inline"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a recipient chose. Both together mean the hidden subject (spec section 6.4).

    prefix: of our own field names. every_time: also pieces of a message, which can hardly be put together then.
    """

    prefix: str
    inline: bool = False
    hide_subject: bool = False
    every_time: bool = False


@dataclass(frozen=True, slots=True)
class Plain:
    """What is to be encrypted, and what may be seen of the header. header: without a word about the content."""

    content: bytes
    kind: Kind
    header: Header


@dataclass(frozen=True, slots=True)
class Left:
    """Content that is not encrypted once more: the copy goes out with the changes of its header alone.

    why: the row of the table in spec section 3.13.
    """

    why: str

    @property
    def is_encrypted(self) -> bool:
        """False for pieces of a message, which nobody could put together again."""
        return self.why != "part of a message"


def left(message: Message) -> Left | None:
    """Why a message, as it came, is not to be encrypted; None: it is."""
    parts = tree(message)
    return _left(parts, frozen(parts))


def sealed_form(header: Header, body: bytes, wish: Wish, boundary: bytes) -> Plain | Left:
    """What has to be encrypted of a copy.

    header: of the copy as it would go out unencrypted, not yet signed; body: with its banner, any octets.
    boundary: see `outer`.
    """
    parts = tree(split(entity(header.fields, body)))
    state = frozen(parts)
    found = _left(parts, state)
    if found is not None and (found.is_encrypted or not wish.every_time):
        return found
    if wish.hide_subject:
        protection = Protection(wish.prefix)
        content = protected.inner(header.fields, parts, protection, boundary)
        # A line above the fields, or what was too much to be cut into fields, may say anything.
        fields = tuple(field for field in protected.outside(header.fields, protection) if field.name)
        return Plain(content, Kind.PROTECTED, _bare(Header(b"", fields)))
    if wish.inline and (text := pgpinline.text(parts, state)) is not None:
        return Plain(text, Kind.INLINE, _bare(header))
    return Plain(parts.message.content, Kind.MIME, _bare(header))


def outer(plain: Plain, armored: bytes, boundary: bytes) -> tuple[Header, bytes]:
    """Header (not yet signed) and body of the encrypted copy.

    armored: plain.content as an OpenPGP message, any line ends. boundary: one to 60 letters, digits and `'+_.=-`, the
    first no sign; random, so that no sender knows it. Raises ValueError for what is neither.
    """
    inline = plain.kind is Kind.INLINE
    fields, body = inline_wrapped((), armored) if inline else wrapped((), armored, boundary)
    return Header(plain.header.opaque_top, plain.header.fields + fields), body


def boundary(random: bytes) -> bytes:
    """A boundary from at least 12 random octets."""
    return b"mr-" + random[:24].hex().encode("ascii")


def entity(fields: Iterable[Field], body: bytes) -> bytes:
    """The MIME entity of a message (spec section 6.2): its Content fields, or their defaults, and its body."""
    return b"".join([*(field.raw for field in _structural(fields)), b"\r\n", canonical(body)])


def wrapped(fields: Sequence[Field], armored: bytes, boundary: bytes) -> tuple[tuple[Field, ...], bytes]:
    """Header fields and body of a multipart/encrypted (RFC 3156 section 4). Raises ValueError, see `outer`."""
    if not _BOUNDARY.fullmatch(boundary):
        raise ValueError("not a boundary")
    kind = b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n\tboundary="%b"\r\n' % boundary
    around = {b"b": boundary}
    body = b"".join((_TOP % around, _armor(armored), _BOTTOM % around))
    return (*_without_content(fields), _MIME_VERSION, Field(b"content-type", kind)), body


def inline_wrapped(fields: Sequence[Field], armored: bytes) -> tuple[tuple[Field, ...], bytes]:
    """Header fields and body of a copy that is nothing but armor (spec section 6.4). Raises ValueError."""
    return (*_without_content(fields), _MIME_VERSION, _INLINE_TYPE), _armor(armored) + b"\r\n"


def _structural(fields: Iterable[Field]) -> Iterator[Field]:
    """What describes the content, each field once: MIME-Version, Content-Type, the others in their order."""
    found: dict[bytes, Field] = {}
    for field in fields:
        if field.name.startswith(b"content-") and field.name not in found:
            found[field.name] = canonical_field(field)
    kind = found.pop(b"content-type", _DEFAULT_TYPE)
    yield _MIME_VERSION
    yield kind if kind.value else _DEFAULT_TYPE
    yield from found.values()


def _bare(header: Header) -> Header:
    # Where some program saw the header end early, it would not see what the body is.
    return Header(canonical(header.opaque_top), tuple(map(canonical_field, _without_content(header.fields))))


def _without_content(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Without any field about the content: one that stayed would be taken for one about the armor (defect D19)."""
    return tuple(field for field in fields if field.name != b"mime-version" and not field.name.startswith(b"content-"))


def _armor(armored: bytes) -> bytes:
    """The armor in canonical lines, without a line end after the last."""
    text = canonical(armored.strip())
    if not text.startswith(_BEGIN) or not text.endswith(_END) or not text.isascii():
        raise ValueError("not an armored OpenPGP message")
    if not _SHORT_LINES.fullmatch(text):
        raise ValueError("armor in too long lines")
    return text


def _left(parts: Tree, state: Frozen) -> Left | None:
    return Left(state.why) if not state.encrypt_again and not _shows_files(parts, state.why) else None


def _shows_files(parts: Tree, why: str) -> bool:
    """Whether an inline message has files beside it that would go out readable."""
    if why != "PGP message":
        return False
    files = (leaf for leaf in parts.leaves(embedded=True) if leaf.type not in TEXT or leaf.is_attachment)
    return any(
        not leaf.type.startswith(b"application/pgp-") and not _SEALED_FILE.fullmatch(file_name(leaf)) for leaf in files
    )
