"""Composes the copy that a recipient gets: bytes in, bytes out (spec sections 3.3 and 3.7, transparent mode)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mailrelay.core import dkim
from mailrelay.core.header import Field, Message, fold

# Traces of earlier deliveries that would name or contradict the recipient.
_REMOVED = frozenset({b"return-path", b"x-original-to", b"envelope-to", b"x-envelope-to", b"apparently-to", b"bcc"})


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What a copy says about itself in added fields.

    id: outbound id, 16 hex digits; loop_mark: '' for the operator's mail, which passes no alias;
    rcpt: as received, with its extension; sender: '' for the null sender; destination: who gets the copy.
    """

    id: str
    loop_mark: str
    rcpt: str
    sender: str
    destination: str


@dataclass(frozen=True, slots=True)
class Signer:
    """Keys for the service's own signature and the time they sign with, in seconds since 1970."""

    keys: Sequence[dkim.SigningKey]
    now: int


def transparent(message: Message, head: Letterhead, prefix: str, body_hash: bytes, signer: Signer) -> tuple[bytes, ...]:
    """The message untouched below the added fields, as chunks that begin and end where lines do.

    prefix: of our own field names; incoming fields that begin with it are forged, save the loop marks, which carry a
    MAC. body_hash: see dkim.body_hash, computed once for all copies.
    """
    ours = prefix.lower().encode("ascii")
    kept = [field for field in message.fields if not _dropped(field, ours)]
    added = _added(head, prefix, auto_reply=not head.sender and not message.count(b"auto-submitted"))
    opaque_top = 1 if kept and not kept[0].name else 0
    signatures = dkim.sign([Field(name, raw) for name, raw in added] + kept, body_hash, signer.keys, signer.now)
    header = b"".join(
        [
            *(field.raw for field in kept[:opaque_top]),
            *signatures,
            *(raw for _, raw in added),
            *(field.raw for field in kept[opaque_top:]),
        ]
    )
    rest = message.content[message.header_end :]
    if message.header_end == message.body_start and rest:
        header += b"\r\n"  # a body without an empty line before it must not become part of our fields
    return (header, rest) if rest else (header,)


def _dropped(field: Field, ours: bytes) -> bool:
    if field.name.startswith(ours):
        return field.name != ours + b"loop"
    return field.name in _REMOVED


def _added(head: Letterhead, prefix: str, *, auto_reply: bool) -> list[tuple[bytes, bytes]]:
    fields = [
        (f"{prefix}Mode", "transparent"),
        (f"{prefix}Id", head.id),
        (f"{prefix}Loop", head.loop_mark),
        (f"{prefix}Envelope-To", head.rcpt.lower()),
        (f"{prefix}Envelope-From", head.sender or "<>"),
        ("X-Forwarded-To", head.destination),
        ("X-Forwarded-For", f"{head.rcpt.lower()} {head.destination}"),
    ]
    if auto_reply:
        # The return path is ours and no longer null, so the copy says otherwise that it wants no answer (RFC 3834).
        fields.append(("Auto-Submitted", "auto-replied"))
    return [(name.lower().encode("ascii"), fold(name, value)) for name, value in fields if value]
