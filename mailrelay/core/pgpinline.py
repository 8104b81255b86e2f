"""The text of a message that can go out as nothing but armored text (spec section 6.4).

What has more to it than text is not for this form: nothing may get lost (defect D21).
"""

from mailrelay.core import charset, transfer
from mailrelay.core.frozen import Frozen
from mailrelay.core.htmltext import plain_text
from mailrelay.core.mime import TEXT, Entity, Tree

_CONTAINERS = frozenset({b"multipart/mixed", b"multipart/related", b"multipart/alternative"})
_PLAIN, _HTML = b"text/plain", b"text/html"
_SIGNED_TEXT = "PGP text"
# Their octets are the same in UTF-8, so that a signature over them stays one.
_SAME_OCTETS = frozenset({"ascii", "utf-8"})


def text(parts: Tree, frozen: Frozen) -> bytes | None:
    """The text in UTF-8 with CRLF between its lines: of an alternative the plain one, of HTML what can be read.

    None: the message has other parts, or text that cannot be read or is empty. frozen: of these parts.
    """
    if not frozen.body_edits and frozen.why != _SIGNED_TEXT:
        return None
    found = _texts(parts.root)
    if found is None or any(one.broken or one.is_attachment for one in found.values()):
        return None
    if frozen.why == _SIGNED_TEXT and any(_codec(one) not in _SAME_OCTETS for one in found.values()):
        return None
    said = _said(parts, found[_PLAIN]) if _PLAIN in found else ""
    if said is not None and not said.strip() and _HTML in found:
        html = _said(parts, found[_HTML])
        said = None if html is None else plain_text(html)
    if said is None or not said.strip():
        return None
    return said.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n").encode("utf-8")


def _texts(entity: Entity) -> dict[bytes, Entity] | None:
    """The leaves by their types if they are one text, or one in two forms; else None."""
    while entity.type in _CONTAINERS and len(entity.children) == 1 and not entity.broken:
        entity = entity.children[0]
    if entity.type in TEXT:
        return {entity.type: entity}
    if entity.type != b"multipart/alternative" or entity.broken or len(entity.children) != len(TEXT):
        return None
    found = {child.type: child for child in entity.children}
    return found if found.keys() == TEXT else None


def _codec(entity: Entity) -> str | None:
    return charset.codec(entity.params.get(b"charset", b""))


def _said(parts: Tree, entity: Entity) -> str | None:
    """What a text says; None if an octet of it cannot be read."""
    codec = _codec(entity)
    octets = transfer.decode(parts.message.content[entity.body_start : entity.body_end], entity.encoding)
    if codec is None or octets is None:
        return None
    if charset.is_wide(codec):
        narrow = charset.narrow(octets, codec)
        return None if narrow is None else narrow.decode("utf-8")
    if codec == "ascii":
        codec = "utf-8"  # what mail without a charset is written in today
    try:
        return octets.decode(codec).removeprefix("\ufeff")
    except UnicodeError:
        return None
