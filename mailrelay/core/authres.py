"""The Authentication-Results field (RFC 8601): ours as text, and what others wrote in theirs (spec section 11.2)."""

import re
from collections.abc import Mapping, Sequence

from mailrelay.core.findings import Arc, Dkim, Dmarc, Findings, Spf
from mailrelay.core.header import Field, unfold

NAME = "Authentication-Results"

_LINE_OCTETS = 78
_MAX_VALUE_CHARS = 255

# RFC 2045 tokens, as RFC 8601 section 2.2 demands of a value that is not quoted; an `@` may stand in one.
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~@-]+")
_NOT_QUOTABLE = re.compile(r"[^ -~]|[\"\\]")

_PIECE = re.compile(rb'"(?:[^"\\]|\\.)*+"?|\\.?|[()]|[^"\\()]++', re.DOTALL)
_IDENTIFIER = re.compile(rb"[A-Za-z0-9._\x80-\xff-]+")
_DMARC = re.compile(rb"[\s]*+dmarc[\s]*+(?:/[\s]*+[0-9]++[\s]*+)?=[\s]*+([A-Za-z]++)", re.IGNORECASE)
_AUTHOR = re.compile(rb"(?<!\S)header[\s]*+\.[\s]*+from[\s]*+=[\s]*+([^\s;]++)", re.IGNORECASE)
_SCAN_OCTETS = 64 * 1024


def value(findings: Findings, authserv_id: str, client: str = "", note: str = "") -> bytes:
    """The value of our field on one line, `mx.relay.example; spf=pass …; arc=none`: also the results for ARC.

    client: the client's address for iprev and ARC, '' if it does not matter; note: a word for what was made of a
    failed DMARC check, such as `arc-override`. Nothing in it can be taken for another result, whatever the sender
    wrote.
    """
    parts = [authserv_id]
    if findings.iprev.result != "none":
        parts.append(f"iprev={findings.iprev.result}{_property('policy.iprev', client)}")
    if findings.spf.domain:
        parts.append(_spf(findings.spf))
    parts += [_dkim(one) for one in findings.dkim] or ["dkim=none"]
    parts += [_dmarc(findings.dmarc, note), _arc(findings.arc, client)]
    return "; ".join(parts).encode("ascii")


def field(value: bytes) -> bytes:
    """Our field with its CRLF, folded between words and never cut; the name is spelled as dkimpy wants it."""
    lines = []
    line = f"{NAME}:".encode("ascii")
    for word in value.split():
        if len(line) + 1 + len(word) > _LINE_OCTETS:
            lines.append(line)
            line = b"\t" + word
        else:
            line += b" " + word
    return b"\r\n".join([*lines, line, b""])


def is_ours(value: bytes, authserv_id: str) -> bool:
    """True if an Authentication-Results value claims to be ours: any case, with or without version or comments.

    Rather too often than too rarely: of what looks like an id, the letters, digits, dots and hyphens count.
    """
    return _identifier(value) == authserv_id.lower().encode("ascii")


def own_value(fields: Sequence[Field], authserv_id: str) -> bytes | None:
    """The unfolded value of the topmost field that is ours, None if there is none."""
    for one in fields:
        if one.name == b"authentication-results" and is_ours(one.value, authserv_id):
            return one.value
    return None


def dmarc_of(value: bytes) -> Mapping[str, str]:
    """`dmarc` and `header.from` of an Authentication-Results value or an AAR, lower case, as far as they are there.

    A field with several dmarc results tells none.
    """
    found = []
    for piece in _plain(unfold(value)[:_SCAN_OCTETS]).split(b";"):
        if result := _DMARC.match(piece):
            entry = {"dmarc": _text(result[1])}
            if author := _AUTHOR.search(piece, result.end()):
                entry["header.from"] = _text(author[1]).rpartition("@")[2].removesuffix(".")
            found.append(entry)
    return found[0] if len(found) == 1 else {}


def _spf(spf: Spf) -> str:
    return f"spf={spf.result}{_property(f'smtp.{spf.identity}', spf.domain)}"


def _dkim(one: Dkim) -> str:
    properties = {"d": one.domain, "s": one.selector, "a": one.algorithm, "b": one.b}
    shown = "".join(_property(f"header.{name}", text) for name, text in properties.items())
    return f"dkim={one.result}{_property('reason', one.reason)}{shown}"


def _dmarc(dmarc: Dmarc, note: str) -> str:
    policy = f" (p={dmarc.published})" if dmarc.has_record else ""
    return f"dmarc={dmarc.result}{policy}{_property('reason', note)}{_property('header.from', dmarc.domain)}"


def _arc(arc: Arc, client: str) -> str:
    if arc.result == "none":
        return "arc=none"
    oldest = "" if arc.oldest_pass is None else f" header.oldest-pass={arc.oldest_pass}"
    return f"arc={arc.result}{_property('reason', arc.reason)}{oldest}{_property('smtp.remote-ip', client)}"


def _property(name: str, text: str) -> str:
    """` name=value`, quoted where it must be; nothing without a value. What cannot be quoted becomes `?`."""
    text = " ".join(text[:_MAX_VALUE_CHARS].split())
    if not text:
        return ""
    if _TOKEN.fullmatch(text):
        return f" {name}={text}"
    return f' {name}="{_NOT_QUOTABLE.sub("?", text)}"'


def _identifier(value: bytes) -> bytes:
    """What may be taken for the authserv-id of a value, also where a comment before it does not end."""
    found = _IDENTIFIER.search(_plain(unfold(value)[:_SCAN_OCTETS])) or _IDENTIFIER.search(value[:_SCAN_OCTETS])
    return found[0].lower().strip(b".") if found else b""


def _plain(text: bytes) -> bytes:
    """A structured value without its comments, and with the content of quoted strings made harmless."""
    pieces = []
    depth = 0
    for found in _PIECE.finditer(text):
        piece = found[0]
        if piece == b"(":
            depth += 1
        elif piece == b")":
            depth = max(0, depth - 1)
        elif depth == 0:
            pieces.append(piece.strip(b'"').replace(b";", b"?") if piece.startswith(b'"') else piece)
        if piece in (b"(", b")"):
            pieces.append(b" ")
    return b"".join(pieces)


def _text(octets: bytes) -> str:
    return octets.decode("ascii", "replace").lower()
