"""What an owner encrypted for the service: where it is in a message, and the message that it becomes (spec 4.9)."""

from dataclasses import dataclass

from mailrelay.core.canonical import canonical
from mailrelay.core.frozen import frozen
from mailrelay.core.header import Field, Message, fold, split
from mailrelay.core.mime import Entity, Tree, tree
from mailrelay.core.transfer import decode

_MIME_VERSION = Field(b"mime-version", b"MIME-Version: 1.0\r\n")
_TEXT = (
    Field(b"content-type", b"Content-Type: text/plain; charset=utf-8\r\n"),
    Field(b"content-transfer-encoding", b"Content-Transfer-Encoding: 8bit\r\n"),
)


@dataclass(frozen=True, slots=True)
class Sealed:
    """An OpenPGP message, armored or binary. inline: it is a text and nothing else, not a MIME entity."""

    octets: bytes
    inline: bool


def sealed(message: Message) -> Sealed | None:
    """What is encrypted of a message that is nothing else; None: it is not, or not by OpenPGP. Any octets will do."""
    parts = tree(message)
    match frozen(parts).why:
        case "multipart/encrypted" if len(parts.root.children) == 2:
            return _octets(parts, parts.root.children[1], inline=False)
        case "PGP message" if parts.root.type == b"text/plain":
            return _octets(parts, parts.root, inline=True)
    return None


def unsealed(message: Message, content: bytes, subject: bytes | None, *, inline: bool) -> Message:
    """The message with what it said in place of the armor. content: as decrypted; subject: the one inside, unfolded."""
    inner = split(b"\r\n" + content if inline else content)
    described = _TEXT if inline else tuple(field for field in inner.fields if _describes(field.name))
    outer = [field for field in message.fields if not _describes(field.name)]
    if subject is not None:
        outer = [field for field in outer if field.name != b"subject"]
        outer.append(Field(b"subject", fold("Subject", subject.decode("utf-8", "replace"))))
    pieces = [canonical(field.raw) for field in (*outer, _MIME_VERSION, *described)]
    return split(b"".join([*pieces, b"\r\n", canonical(inner.body)]))


def _octets(parts: Tree, entity: Entity, *, inline: bool) -> Sealed | None:
    octets = decode(parts.message.content[entity.body_start : entity.body_end], entity.encoding)
    return None if octets is None else Sealed(octets, inline)


def _describes(name: bytes) -> bool:
    return name == b"mime-version" or (name.startswith(b"content-") and name != b"content-language")
