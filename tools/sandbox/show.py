"""Shows a message that arrived outside: envelope, header, and whether its DKIM signatures hold."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import dkim
import dns.exception
import dns.message
import dns.query
import dns.rdatatype

_SIGNATURE = re.compile(rb"(?im)^dkim-signature:")
_SHOWN_LINES = 6  # of the body


@dataclass(frozen=True, slots=True)
class Arrived:
    """One file of the outside world, taken apart. content: the message as received."""

    path: Path
    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def header(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[2]


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM signature. verdict: `valid`, or what is wrong."""

    domain: str
    selector: str
    verdict: str


def read(path: Path) -> Arrived:
    """Take a file of the outside world apart."""
    rest = path.read_bytes()
    sender, recipients = "", []
    while rest.startswith(b"X-Envelope-"):
        line, _, rest = rest.partition(b"\r\n")
        name, _, value = line.decode("utf-8", "surrogateescape").partition(": ")
        if name == "X-Envelope-From":
            sender = value
        else:
            recipients.append(value)
    return Arrived(path, sender, tuple(recipients), rest)


def signatures(content: bytes, dns_port: int) -> list[Signature]:
    """Every DKIM signature, checked with the sandbox's name server."""
    header = content.partition(b"\r\n\r\n")[0]
    return [_check(content, index, dns_port) for index in range(len(_SIGNATURE.findall(header)))]


def _check(content: bytes, index: int, dns_port: int) -> Signature:
    checker = dkim.DKIM(content)

    def txt(name: bytes, timeout: int = 5) -> bytes | None:
        return txt_record(name.decode(), dns_port)

    try:
        verdict = "valid" if checker.verify(idx=index, dnsfunc=txt) else "does not match the message"
    except (dkim.DKIMException, dns.exception.DNSException, OSError) as error:
        verdict = str(error) or type(error).__name__
    return Signature(_text(checker.domain), _text(checker.selector), verdict)


def txt_record(name: str, dns_port: int) -> bytes | None:
    """The strings of the first TXT record, joined; None if there is none."""
    query = dns.message.make_query(name, dns.rdatatype.TXT)
    response, _ = dns.query.udp_with_fallback(query, "127.0.0.1", timeout=5, port=dns_port)
    for rrset in response.answer:
        if rrset.rdtype == dns.rdatatype.TXT:
            return b"".join(rrset[0].strings)
    return None


def _text(value: bytes | None) -> str:
    return (value or b"?").decode(errors="replace")


def values(arrived: Arrived, name: str) -> list[str]:
    """The values of a field, as they came."""
    return [field.partition(": ")[2] for field in _fields(arrived) if field.lower().startswith(f"{name.lower()}: ")]


def _fields(arrived: Arrived) -> list[str]:
    return re.split(r"\r\n(?![ \t])", arrived.header.decode(errors="replace"))


def lines(arrived: Arrived, found: list[Signature], names: Collection[str] = ()) -> Iterator[str]:
    """The message for people, line by line. names: of the fields to show, in lower case; empty: all."""
    yield f"arrived outside as {arrived.path}"
    yield f"  envelope sender     <{arrived.sender.strip('<>')}>"
    for rcpt in arrived.recipients:
        yield f"  envelope recipient  <{rcpt}>"
    for signature in found:
        yield f"  DKIM signature      {signature.domain} (selector {signature.selector}): {signature.verdict}"
    yield ""
    fields = _fields(arrived)
    shown = [field for field in fields if not names or field.partition(":")[0].lower() in names]
    yield from (f"  | {line}" for field in shown for line in field.splitlines())
    if len(shown) < len(fields):
        yield f"  | … {len(fields) - len(shown)} more fields"
    yield "  |"
    body = arrived.body.decode(errors="replace").splitlines()
    yield from (f"  | {line}" for line in body[:_SHOWN_LINES])
    if len(body) > _SHOWN_LINES:
        yield f"  | … {len(body) - _SHOWN_LINES} more lines"
