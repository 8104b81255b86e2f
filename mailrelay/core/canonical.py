"""Content in the form that is encrypted and signed with OpenPGP (RFC 3156 section 3)."""

from mailrelay.core.header import Field


def canonical(octets: bytes) -> bytes:
    """With CRLF as the only line end.

    A lone CR becomes a space, as Postfix makes it in an unencrypted copy: a line end could begin a part.
    """
    returns = octets.count(b"\r")
    if not returns:
        return octets.replace(b"\n", b"\r\n")
    if octets.count(b"\r\n") == octets.count(b"\n") == returns:
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")


def canonical_field(field: Field) -> Field:
    """The same for a field, with a line end behind it."""
    raw = canonical(field.raw)
    return Field(field.name, raw if raw.endswith(b"\r\n") else raw + b"\r\n")
