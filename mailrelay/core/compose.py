"""Composes the copy that a recipient gets: bytes in, bytes out (spec sections 3.3 and 3.7, transparent mode)."""

from mailrelay.core import authres
from mailrelay.core.header import Field, Message
from mailrelay.core.letterhead import TRACES, Header, Letterhead, about, added, auto_submitted, compat, verdicts


def transparent_header(message: Message, head: Letterhead, prefix: str, authserv_id: str = "") -> Header:
    """The fields above an untouched message before they are signed and sealed.

    prefix: of our own field names; incoming fields that begin with it are forged, save the loop marks, which carry a
    MAC. authserv_id: of our Authentication-Results, which is forged if the copy has no results of ours; '': not looked
    for.
    """
    ours = prefix.lower().encode("ascii")
    forged = "" if head.authentication_results else authserv_id
    kept = [field for field in message.fields if not _dropped(field, ours, forged)]
    opaque_top = 1 if kept and not kept[0].name else 0
    fields = (
        *about(head, prefix, "transparent"),
        *verdicts(head, prefix),
        *compat(head),
        added("X-Forwarded-To", head.destination),
        added("X-Forwarded-For", f"{head.rcpt.lower()} {head.destination}"),
        *auto_submitted(head, message),
        *kept[opaque_top:],
    )
    return Header(b"".join(field.raw for field in kept[:opaque_top]), fields)


def _dropped(field: Field, ours: bytes, forged: str) -> bool:
    if field.name.startswith(ours):
        return field.name != ours + b"loop"
    if forged and field.name == b"authentication-results":
        return authres.is_ours(field.value, forged)
    return field.name in TRACES
