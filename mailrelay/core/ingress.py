"""The header that carries the milter's findings to the LMTP role, signed (spec section 0).

A header in a message is evidence only if its MAC verifies. The MAC covers the header's text without white space, so
folding does not matter; every value is written so that different values give different texts.
"""

import hashlib
import hmac
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

from mailrelay.core import authres
from mailrelay.core.findings import RESULTS, Arc, Dkim, Dmarc, Findings, Policy, Result, Spf
from mailrelay.core.header import Message

NAME = "X-Mailrelay-Ingress"  # where header_prefix is the default
MAX_AGE_SECONDS = 6 * 86400
_CLOCK_SECONDS = 300  # how far clocks of two hosts may differ

Action = Literal["none", "tag", "quarantine"]

_KEYS = ("v", "q", "t", "ip", "helo", "mf", "route", "spf", "dkim", "dmarc", "arc", "spam", "act", "note", "fh", "ar")
_LINE_OCTETS = 78
_LIMIT_OCTETS = 32 * 1024
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-:")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")
_BLANKS = re.compile(rb"\s+")
_NUMBER = re.compile("[0-9]{1,76}")

_Word = TypeVar("_Word", bound=str)


@dataclass(frozen=True, slots=True)
class Ingress:
    """What the milter knows of a message. Texts are as the client gave them, odd octets as surrogates.

    route: smtp, login:<name>, local or internal. action: what composition has to do because of the verdicts.
    note: a word about them, such as arc-override. results: value of our Authentication-Results field on one line,
    b"" if there is none. In findings that were read iprev is missing, and so are names that nobody needs any more.
    """

    queue_id: str
    time: int  # seconds since 1970
    ip: str  # "" if unknown
    helo: str
    mail_from: str  # "" is the null sender
    route: str
    findings: Findings
    spam: float | None = None  # score of an upstream filter
    action: Action = "none"
    note: str = ""
    results: bytes = b""


@dataclass(frozen=True, slots=True)
class Invalid:
    """The message has no header that can be believed: 451 4.3.5, but for the recipients that need none."""

    reason: str  # our words


def compose(ingress: Ingress, message: Message, key: bytes) -> bytes:
    """The value of the header, folded with CRLF and tab, of which a milter takes LF and tab only.

    message: as it will arrive, its From fields are bound to the header. key: the first of the ingress keys.
    """
    text = ";".join(f"{key}={value}" for key, value in zip(_KEYS, _values(ingress, message), strict=True))
    line = text.encode("ascii")
    return _fold(line + b";mac=" + _mac(line, key))


def read(message: Message, keys: Sequence[bytes], now: int, authserv_id: str, name: str = NAME) -> Ingress | Invalid:
    """The header of a message if it is one of ours, made for this message within the last six days.

    keys: the current one and those it replaced. now: seconds since 1970. name: of the header.
    """
    found = message.values(name.lower().encode("ascii"))
    if len(found) != 1:
        return Invalid("no ingress header" if not found else "several ingress headers")
    line, marker, mac = _BLANKS.sub(b"", found[0]).rpartition(b";mac=")
    if not marker or len(line) > _LIMIT_OCTETS:
        return Invalid("no ingress header of ours")
    if not any(hmac.compare_digest(mac, _mac(line, key)) for key in keys):
        return Invalid("an ingress header that another key signed")
    try:
        values = _split(line)
        ingress = _read(values)
    except (ValueError, KeyError):  # it is ours, so another version wrote it
        return Invalid("an ingress header of another version")
    if not -_CLOCK_SECONDS <= now - ingress.time <= MAX_AGE_SECONDS:
        return Invalid("an ingress header of another time")
    if not hmac.compare_digest(values["fh"], from_hash(message)):
        return Invalid("an ingress header of another message")
    results = b" ".join((authres.own_value(message.fields, authserv_id) or b"").split())
    return replace(ingress, results=results) if values["ar"] == _results_hash(results) else ingress


def from_hash(message: Message) -> str:
    """SHA-256 of the From fields, in hexadecimal: values unfolded, without white space around them.

    A milter cannot see what follows a NUL, so it does not count.
    """
    values = [value.partition(b"\0")[0].rstrip(b" \t\r") for value in message.values(b"from")]
    return hashlib.sha256(b"\n".join(values)).hexdigest()


def _mac(line: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"ingress-v1\0" + line, hashlib.sha256).hex()[:40].encode("ascii")


def _results_hash(results: bytes) -> str:
    return hashlib.sha256(b" ".join(results.split())).hexdigest()


def _fold(line: bytes) -> bytes:
    """Lines of moderate length, broken after a semicolon or comma."""
    lines = [b""]
    for piece in re.findall(rb"[^;,]*+[;,]?", line):
        if lines[-1] and len(lines[-1]) + len(piece) > _LINE_OCTETS:
            lines.append(b"")
        lines[-1] += piece
    return b"\r\n\t".join(lines)


def _values(ingress: Ingress, message: Message) -> Iterator[str]:
    """In the order of _KEYS."""
    findings = ingress.findings
    spf, dmarc, arc = findings.spf, findings.dmarc, findings.arc
    yield "1"
    yield _escape(ingress.queue_id)
    yield str(ingress.time)
    yield from map(_escape, (ingress.ip, ingress.helo, ingress.mail_from, ingress.route))
    yield _list(spf.result, spf.identity, spf.domain)
    yield ",".join(_list(one.result, one.domain, _flags(one), one.expires) for one in findings.dkim)
    flags = f"{'r' * dmarc.has_record}{'d' * dmarc.dkim_aligned}{'s' * dmarc.spf_aligned}"
    yield _list(dmarc.result, dmarc.policy, dmarc.published, flags, dmarc.domain)
    yield _list(arc.result, arc.oldest_pass, arc.highest, "e" * arc.ended)
    yield "-" if ingress.spam is None or not math.isfinite(ingress.spam) else f"{ingress.spam:.3f}"
    yield ingress.action
    yield _escape(ingress.note)
    yield from_hash(message)
    yield _results_hash(ingress.results)


def _read(values: Mapping[str, str]) -> Ingress:
    """Raises ValueError or KeyError for what another version wrote."""
    if values["v"] != "1":
        raise ValueError("version")
    return Ingress(
        queue_id=_unescape(values["q"]),
        time=int(values["t"]),
        ip=_unescape(values["ip"]),
        helo=_unescape(values["helo"]),
        mail_from=_unescape(values["mf"]),
        route=_unescape(values["route"]),
        findings=Findings(
            spf=_read_spf(values["spf"]),
            dkim=tuple(_read_dkim(item) for item in values["dkim"].split(",") if item),
            dmarc=_read_dmarc(values["dmarc"]),
            arc=_read_arc(values["arc"]),
        ),
        spam=None if values["spam"] == "-" else float(values["spam"]),
        action=_member(values["act"], get_args(Action)),
        note=_unescape(values["note"]),
    )


def _split(line: bytes) -> dict[str, str]:
    pairs = [piece.partition("=") for piece in line.decode("ascii").split(";")]
    if [key for key, _, _ in pairs] != [*_KEYS]:
        raise ValueError("keys")
    return {key: value for key, _, value in pairs}


def _read_spf(text: str) -> Spf:
    result, identity, domain = text.split(":")
    return Spf(_result(result), _unescape(domain), "helo" if identity == "helo" else "mailfrom")


def _flags(one: Dkim) -> str:
    return f"{'a' * one.aligned}{'l' * one.has_length}"


def _read_dkim(text: str) -> Dkim:
    result, domain, flags, expires = text.split(":")
    return Dkim(
        _result(result),
        _unescape(domain),
        has_length="l" in flags,
        expires=_number(expires),
        aligned="a" in flags,
    )


def _read_dmarc(text: str) -> Dmarc:
    result, policy, published, flags, domain = text.split(":")
    return Dmarc(
        result=_result(result),
        domain=_unescape(domain),
        has_record="r" in flags,
        published=_member(published, get_args(Policy)),
        policy=_member(policy, get_args(Policy)),
        dkim_aligned="d" in flags,
        spf_aligned="s" in flags,
    )


def _read_arc(text: str) -> Arc:
    result, oldest_pass, highest, ended = text.split(":")
    return Arc(_result(result), _number(oldest_pass), highest=int(highest), ended=bool(ended))


def _list(*parts: object) -> str:
    return ":".join("" if part is None else _escape(str(part)).replace(":", "%3A") for part in parts)


def _number(text: str) -> int | None:
    if text and not _NUMBER.fullmatch(text):
        raise ValueError("number")
    return int(text) if text else None


def _result(text: str) -> Result:
    return _member(text, RESULTS)


def _member(text: str, allowed: Collection[_Word]) -> _Word:
    for one in allowed:
        if one == text:
            return one
    raise ValueError("an unknown word")


def _escape(text: str) -> str:
    """Letters, digits and a few signs as they are, of all else the octets in hexadecimal."""
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        octets = text.encode("utf-8", "backslashreplace")
    return "".join(chr(octet) if octet in _PLAIN else f"%{octet:02X}" for octet in octets)


def _unescape(text: str) -> str:
    octets = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text.encode("ascii"))
    return octets.decode("utf-8", "surrogateescape")
