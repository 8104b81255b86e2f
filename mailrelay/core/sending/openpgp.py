"""OpenPGP keys and signatures in what an owner sends: they name the real address, so they go (spec section 4.9)."""

import re
from binascii import Error, a2b_base64
from collections.abc import Iterator
from dataclasses import dataclass

from mailrelay.core import transfer
from mailrelay.core.contenttype import disposition
from mailrelay.core.header import Field
from mailrelay.core.mime import Entity, Tree
from mailrelay.core.phrase import decoded
from mailrelay.core.sending.splice import Splice, field_places

KEYS = b"application/pgp-keys"
SIGNATURE = b"application/pgp-signature"
EMBEDDED = frozenset({b"message/rfc822", b"message/global"})

_KEY_FILE = re.compile(r"(?:publickey.*|openpgp_0x.*)\.asc", re.IGNORECASE | re.DOTALL)
_KEY_ARMOR = re.compile(rb"(?:\xef\xbb\xbf)?\s*+-----BEGIN PGP (?:PUBLIC|PRIVATE|SECRET) KEY BLOCK-----")
_SIGNATURE_ARMOR = re.compile(rb"(?:\xef\xbb\xbf)?\s*+-----BEGIN PGP SIGNATURE-----")
_ARMOR = re.compile(rb"-----BEGIN PGP [A-Z ]{5,30}+-----[ \t]*+\r?\n((?:[^-]++|-(?!----))*+)")
_ARMOR_HEADERS = re.compile(rb"(?:[A-Za-z]++: [^\n]*+\n)*+\s*+")
_CHECKSUM = re.compile(rb"\n=[A-Za-z0-9+/]{4}\s*+\Z")
# RFC 9580 section 7: the text with its hash header, and the signature below it.
_CLEARSIGNED = re.compile(
    rb"(?:\xef\xbb\xbf)?+\s*+-----BEGIN PGP SIGNED MESSAGE-----[ \t]*+\r?\n(?:[A-Za-z]++: [^\n]*+\n)*+\r?\n"
    rb"((?:[^\n]*+\n)(?:(?!-----BEGIN PGP SIGNATURE-----)[^\n]*+\n)*+)"
    rb"-----BEGIN PGP SIGNATURE-----[^\n]*+\n(?:(?!-----END PGP SIGNATURE-----)[^\n]*+\n)*+"
    rb"-----END PGP SIGNATURE-----[ \t]*+(?:\r?\n)?"
)
_DASH_ESCAPE = re.compile(rb"^- ", re.MULTILINE)
_NO_TEXT = b"Content-Type: text/plain; charset=us-ascii\r\n"


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to go, by the settings of the recipient who writes."""

    keys: bool = True
    signatures: bool = True


def removed(tree: Tree, removal: Removal) -> list[Splice]:
    """The changes that take keys and signatures out, in attached messages as well; all other octets stay.

    A multipart/signed by OpenPGP becomes its first part. Nothing in encrypted parts, in those signed otherwise, or in a
    multipart/signed whose signature stays is touched.
    """
    walk = _Walk(tree.message.content, removal)
    splices = list(walk.inside(tree.root, top=True))
    if walk.goes(tree.root) or walk.is_emptied(tree.root):
        return list(_emptied(tree.root))
    return splices


def file_name(entity: Entity) -> str:
    """The name of an attached file, '' if it has none."""
    read = disposition(entity.first(b"content-disposition") or b"")
    name = read.params.get(b"filename") or entity.params.get(b"name") or b""
    return decoded(name)


def unsigned(text: bytes) -> bytes:
    """Text without the inline signature that it begins with: what was signed stands there as its author wrote it."""
    found = _CLEARSIGNED.match(text)
    return text if found is None else _DASH_ESCAPE.sub(b"", found[1]) + text[found.end() :]


def is_clearsigned(text: bytes) -> bool:
    """Whether a text begins with an inline signature, which any change would break."""
    return _CLEARSIGNED.match(text) is not None


def dearmored(text: bytes) -> bytes:
    """The octets of all armored blocks in a text, joined; b"" if there are none that can be read."""
    pieces: list[bytes] = []
    for found in _ARMOR.finditer(text):
        headers = _ARMOR_HEADERS.match(found[1])
        digits = found[1][headers.end() if headers else 0 :].rstrip()
        try:
            pieces.append(a2b_base64(_CHECKSUM.sub(b"", b"\n" + digits)))
        except Error:
            continue
    return b"\n".join(pieces)


def said(content: bytes, entity: Entity) -> bytes:
    """The decoded body of a part, wrong base64 as lenient programs read it; as it stands there if nobody could."""
    raw = content[entity.body_start : entity.body_end]
    text = None if entity.broken else transfer.decode(raw, entity.encoding)
    if text is not None:
        return text
    try:
        return a2b_base64(raw) if entity.encoding == b"base64" else raw
    except Error:
        return raw


def is_openpgp_signed(entity: Entity) -> bool:
    """Whether the signature of a multipart/signed is an OpenPGP one."""
    if entity.params.get(b"protocol", b"").lower() == SIGNATURE:
        return True
    return any(child.type == SIGNATURE for child in entity.children[1:])


class _Walk:
    """One walk through one message."""

    def __init__(self, content: bytes, removal: Removal) -> None:
        self._content = content
        self._removal = removal
        self._verdicts: dict[int, bool] = {}

    def goes(self, entity: Entity) -> bool:
        """Whether a leaf is a key or a signature. The answers are kept, as the content may have to be decoded."""
        if entity.children or entity.is_multipart:
            return False
        if id(entity) not in self._verdicts:
            self._verdicts[id(entity)] = self._is_key(entity) or self._is_signature(entity)
        return self._verdicts[id(entity)]

    def is_emptied(self, entity: Entity) -> bool:
        """Whether of a multipart nothing is left."""
        if not entity.is_multipart or not entity.children or self._is_closed(entity):
            return False
        kept = self._kept(entity)
        return all(self.goes(child) or self.is_emptied(child) for child in kept)

    def inside(self, entity: Entity, *, top: bool) -> Iterator[Splice]:
        """The changes within a part that stays. top: its header is that of a message."""
        if self._is_closed(entity):
            return
        if entity.type == b"multipart/signed" and entity.children:
            yield from self._unwrapped(entity, top=top)
            return
        if entity.type in EMBEDDED:
            for child in entity.children:
                if self.goes(child) or self.is_emptied(child):
                    yield from _emptied(child)
                else:
                    yield from self.inside(child, top=True)
            return
        before: Entity | None = None  # the last part that stays
        for at, child in enumerate(entity.children):
            if not (self.goes(child) or self.is_emptied(child)):
                yield from self.inside(child, top=False)
                before = child
            elif before is not None:
                yield Splice(entity.children[at - 1].body_end, child.body_end, b"")
            elif at + 1 < len(entity.children):
                yield Splice(child.start, entity.children[at + 1].start, b"")

    def _unwrapped(self, entity: Entity, *, top: bool) -> Iterator[Splice]:
        """The part that was signed in place of a multipart/signed. Fields of its header that are not about content may
        be those of the message once more, which some programs have signed with it.
        """
        first = entity.children[0]
        about_content = [one for one in field_places(first) if one.field.name.startswith(b"content-")]
        header = b"".join(_ended(one.field) for one in about_content)
        if top:
            for one in field_places(entity):
                if one.field.name.startswith(b"content-"):
                    yield Splice(one.start, one.end, b"")
            yield Splice(entity.header_end, entity.header_end, header)
            yield Splice(entity.body_start, first.body_start, b"")
        else:
            yield Splice(entity.start, first.body_start, header + b"\r\n")
        yield from self.inside_body(first)
        ends = self._content[first.body_end - 1 : first.body_end] == b"\n"
        line_end = b"\r\n" if top and not ends else b""
        yield Splice(first.body_end, entity.body_end, line_end)

    def inside_body(self, entity: Entity) -> Iterator[Splice]:
        """The changes below the header of a part."""
        if entity.type == b"multipart/signed" and not self._is_closed(entity):
            return  # signed twice: the header of the inner one would have to change as well
        yield from self.inside(entity, top=False)

    def _kept(self, entity: Entity) -> tuple[Entity, ...]:
        return entity.children[:1] if entity.type == b"multipart/signed" else entity.children

    def _is_closed(self, entity: Entity) -> bool:
        if entity.type == b"multipart/signed":
            return not (self._removal.signatures and is_openpgp_signed(entity))
        return entity.type == b"multipart/encrypted"

    def _is_key(self, entity: Entity) -> bool:
        if not self._removal.keys:
            return False
        name = file_name(entity)
        if entity.type == KEYS or _KEY_FILE.fullmatch(name):
            return True
        return name.lower().endswith(".asc") and _KEY_ARMOR.match(said(self._content, entity)) is not None

    def _is_signature(self, entity: Entity) -> bool:
        if not self._removal.signatures:
            return False
        if entity.type == SIGNATURE:
            return True
        is_armor = file_name(entity).lower().endswith(".asc")
        return is_armor and _SIGNATURE_ARMOR.match(said(self._content, entity)) is not None


def _ended(field: Field) -> bytes:
    return field.raw if field.raw.endswith(b"\n") else field.raw + b"\r\n"


def _emptied(entity: Entity) -> Iterator[Splice]:
    """A message whose whole body goes becomes an empty text."""
    for one in field_places(entity):
        if one.field.name.startswith(b"content-"):
            yield Splice(one.start, one.end, b"")
    yield Splice(entity.header_end, entity.header_end, _NO_TEXT)
    yield Splice(entity.body_start, entity.body_end, b"")
