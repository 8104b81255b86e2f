"""Content that must not be edited or encrypted once more: the table of spec section 3.13."""

import re
from binascii import Error, a2b_base64
from collections.abc import Callable
from dataclasses import dataclass

from mailrelay.core.mime import Entity, Tree, first_texts
from mailrelay.core.transfer import decode

_PKCS7 = (b"application/pkcs7-mime", b"application/x-pkcs7-mime")
_PGP_BEGIN = b"-----BEGIN PGP MESSAGE-----"
_PGP = re.compile(rb"(?:\xef\xbb\xbf)?+\s*+-----BEGIN PGP (MESSAGE|SIGNED MESSAGE)-----[ \t]*+\r?\n")
_PGP_END = re.compile(rb"\n-----END PGP MESSAGE-----\Z")
_BLANK = re.compile(rb"\s*+\Z")
_HEAD_OCTETS = 4096
# RFC 5652 sections 5 and 6, RFC 5083: the object identifiers of what hides its content.
_ENVELOPED = (bytes.fromhex("06092a864886f70d010703"), bytes.fromhex("060b2a864886f70d0109100117"))


@dataclass(frozen=True, slots=True)
class Frozen:
    """What may be done with a body.

    body_edits: banner and warning; encrypt_again: as encryption is asked for; calendar: the message invites to
    something, which the banner of a rewritten copy tells; why: the row of the table, "" if none applies.
    """

    body_edits: bool
    encrypt_again: bool
    calendar: bool
    why: str


def frozen(tree: Tree) -> Frozen:
    """Look a message up in the table; the first row that fits decides."""
    calendar = any(leaf.type == b"text/calendar" and b"method" in leaf.params for leaf in tree.leaves())
    for why, fits, body_edits, encrypt_again in _TABLE:
        if fits(tree):
            return Frozen(body_edits, encrypt_again, calendar, why)
    return Frozen(True, True, calendar, "calendar" if calendar else "")


def _is_pgp_encrypted(tree: Tree) -> bool:
    protocol = tree.root.params.get(b"protocol", b"").lower()
    return tree.root.type == b"multipart/encrypted" and protocol == b"application/pgp-encrypted"


def _is_enveloped(tree: Tree) -> bool:
    if tree.root.type not in _PKCS7:
        return False
    kind = tree.root.params.get(b"smime-type", b"").lower()
    return kind in (b"enveloped-data", b"authenveloped-data") or (not kind and _says_enveloped(tree))


def _says_enveloped(tree: Tree) -> bool:
    """Without an smime-type the content itself tells: a ContentInfo begins with its type."""
    entity = tree.root
    raw = tree.message.content[entity.body_start : entity.body_start + 128]
    if entity.encoding == b"base64":
        digits = raw.translate(None, b" \t\r\n")
        try:
            raw = a2b_base64(digits[: len(digits) // 4 * 4])
        except Error:
            return False
    return any(identifier in raw[:48] for identifier in _ENVELOPED)


def _is_type(*types: bytes) -> Callable[[Tree], bool]:
    return lambda tree: tree.root.type in types


def _is_inline_encrypted(tree: Tree) -> bool:
    """Section 6.6: armor and nothing else. An HTML part without armor would go out readable, so it counts as else."""
    texts = first_texts(tree, lambda entity: entity)
    plain = [text for text in (_said(tree, entity) for entity in texts if _begins(tree, entity) == b"MESSAGE") if text]
    if not plain or not _PGP_END.search(plain[0].replace(b"\r\n", b"\n").rstrip()):
        return False
    return all(_PGP_BEGIN in _said(tree, entity) for entity in texts if entity.type == b"text/html")


def _begins_inline(tree: Tree) -> bool:
    return any(_begins(tree, entity) for entity in first_texts(tree, lambda entity: entity))


def _begins(tree: Tree, entity: Entity) -> bytes | None:
    """`MESSAGE` or `SIGNED MESSAGE` if a plain text begins with such armor."""
    if entity.type != b"text/plain":
        return None
    raw = tree.message.content[entity.body_start : entity.body_end]
    found = _PGP.match(_head(raw, entity.encoding))
    return found[1] if found else None


def _said(tree: Tree, entity: Entity) -> bytes:
    return decode(tree.message.content[entity.body_start : entity.body_end], entity.encoding) or b""


def _head(raw: bytes, encoding: bytes) -> bytes:
    """Enough of a text to see how it begins; all of it if that is white space."""
    line_end = raw.rfind(b"\n", 0, _HEAD_OCTETS)
    head = decode(raw[: line_end + 1], encoding) if 0 < line_end < len(raw) - 1 else None
    if head is None or _BLANK.match(head):
        return decode(raw, encoding) or b""
    return head


def _is_excessive(tree: Tree) -> bool:
    return bool(tree.excess)


# (name of the row, whether it fits, body edits, encrypt again)
_TABLE: tuple[tuple[str, Callable[[Tree], bool], bool, bool], ...] = (
    ("beyond limits", _is_excessive, False, True),
    ("multipart/encrypted", _is_pgp_encrypted, False, False),
    ("S/MIME encrypted", _is_enveloped, False, False),
    ("S/MIME", _is_type(*_PKCS7), False, True),
    ("multipart/signed", _is_type(b"multipart/signed"), False, True),
    ("multipart/encrypted of another protocol", _is_type(b"multipart/encrypted"), False, True),
    ("PGP message", _is_inline_encrypted, False, False),
    ("PGP text", _begins_inline, False, True),
    ("report", _is_type(b"multipart/report"), False, True),
    ("part of a message", _is_type(b"message/partial", b"message/external-body"), False, False),
)
