"""Bounces of mail that left with an SRS sender: told to that sender anew, without the address behind (spec 10.4).

The report that came names the real address in a dozen places and languages. Nothing of it is passed on but the
status and the header that the sender wrote, less what names the address.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from mailrelay.core import leak
from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Malformed
from mailrelay.core.header import Field, split
from mailrelay.core.realm import Custom, Realm, Shared, Subdomain

MAX_PER_HOUR = 10  # to one sender

_MAX_HEADER_OCTETS = 32_768
_MAX_LINE_OCTETS = 998
_MAX_FIELDS = 500
_MAX_ADDRESSES = 10

# Where mail systems write down for whom a copy is; never returned.
_TRACE_FIELDS = frozenset(
    b"x-forwarded-to x-forwarded-for delivered-to x-delivered-to x-original-to original-recipient envelope-to "
    b"x-envelope-to x-rcpt-to apparently-to bcc resent-bcc return-path".split()
)
# Returned if our own fields are gone, so that nobody knows which fields were added on the way.
_AUTHOR_FIELDS = frozenset(
    b"from sender reply-to to cc subject date message-id in-reply-to references mime-version content-type "
    b"content-transfer-encoding auto-submitted list-id".split()
)
_BETWEEN = re.compile(rb"[\s<>,;:\"()\[\]]+")
_STATUS = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)

# RFC 3463 section 3, by the middle number.
_MEANINGS = {
    "1": "the address",
    "2": "the mailbox",
    "3": "the mail system",
    "4": "the network",
    "5": "the delivery protocol",
    "6": "the content",
    "7": "a policy",
}


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What a delivery report says about a copy that failed for good.

    status: RFC 3463, '' if none; named: the recipients it names, as written; header: of the returned message, b"" if
    it did not come back.
    """

    status: str
    named: tuple[str, ...]
    header: bytes


@dataclass(frozen=True, slots=True)
class Stationery:
    """How we appear. prefix: of our own field names; random_hex: 32 digits, new for each report; now: aware."""

    hostname: str
    domain: str
    prefix: str
    random_hex: str
    now: datetime


def used_address(found: Undelivered, prefix: str, realm: Realm) -> Address | None:
    """The address of ours that the sender wrote to, None if nobody tells.

    It stands in our own field of the returned header (prefix: how that begins), in the report, or in To or Cc.
    """
    message = split(found.header)
    ours = f"{prefix}envelope-to".lower().encode("ascii")
    told = [*message.values(ours), _joined(found.named), *message.values(b"to"), *message.values(b"cc")]
    for address in _addresses(told):
        if isinstance(realm.locate(address.domain), Shared | Subdomain | Custom):
            return address
    return None


def compose(
    found: Undelivered,
    sender: Address,
    used: Address | None,
    destinations: Sequence[Address],
    realm: Realm,
    paper: Stationery,
) -> bytes:
    """The new report, a whole message with CRLF, not signed yet; to be sent to `sender` by the null sender.

    sender: what the SRS address stands for; used: see used_address; destinations: real addresses that are known from
    elsewhere. Those that the report names are kept out as well.
    """
    returned = _returned_header(found, destinations, realm, paper.prefix)
    status = found.status if _STATUS.fullmatch(found.status) else "5.0.0"
    boundary = f"=_{paper.random_hex}"
    parts = [
        _part("text/plain; charset=utf-8", _explanation(used, status, paper)),
        _part("message/delivery-status", _status_part(used, status, paper)),
        _part("text/rfc822-headers", returned),
    ]
    marked = [b"--" + boundary.encode("ascii") + b"\r\n" + part for part in parts]
    body = b"".join([*marked, b"--", boundary.encode("ascii"), b"--\r\n"])
    head = (
        f"From: Mail Delivery System <MAILER-DAEMON@{paper.domain}>\r\n"
        f"To: {sender}\r\n"
        "Subject: Undelivered Mail Returned to Sender\r\n"
        f"Date: {format_datetime(paper.now)}\r\n"
        f"Message-ID: <{paper.random_hex}@{paper.domain}>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        f'\tboundary="{boundary}"\r\n'
        f"Content-Transfer-Encoding: {_encoding(body)}\r\n"
        "\r\n"
    )
    return head.encode("utf-8", "surrogateescape") + body


def _part(kind: str, body: bytes) -> bytes:
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {_encoding(body)}\r\n\r\n"
    return head.encode("ascii") + body + b"\r\n"


def _encoding(body: bytes) -> str:
    return "7bit" if body.isascii() else "8bit"


def _explanation(used: Address | None, status: str, paper: Stationery) -> bytes:
    meaning = _MEANINGS.get(status.split(".")[1], "something else")
    lines = (
        f"This is the mail system at {paper.hostname}.",
        "",
        "Your message could not be delivered to",
        "",
        f"    {used}" if used is not None else "    an address that forwards mail from here",
        "",
        f"The destination has refused it, or could not be reached: status {status}, which",
        f"is about {meaning}.",
        "",
        "The header of your message follows. There is nothing else to find out here, and",
        "nobody reads answers to this report.",
        "",
    )
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def _status_part(used: Address | None, status: str, paper: Stationery) -> bytes:
    code = "550" if status.startswith("5") else "450"
    lines = (
        f"Reporting-MTA: dns; {paper.hostname}",
        "",
        f"Final-Recipient: {_typed(used or Address('undisclosed-recipient', paper.domain))}",
        "Action: failed",
        f"Status: {status}",
        f"Remote-MTA: dns; {paper.hostname}",
        f"Diagnostic-Code: smtp; {code} {status} Delivery failed",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


def _typed(address: Address) -> str:
    """An address with its type; beyond ASCII as utf-8-addr-xtext (RFC 6533 section 3)."""
    if address.local.isascii():
        return f"rfc822; {address}"
    local = "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in address.local)
    return f"utf-8; {local}@{address.domain}"


def _returned_header(found: Undelivered, destinations: Sequence[Address], realm: Realm, prefix: str) -> bytes:
    """The header as the sender wrote it, as far as it does not name anybody it should not."""
    fields = split(found.header[:_MAX_HEADER_OCTETS]).fields
    marks = (prefix.lower().encode("ascii"), b"x-forwarded-to", b"x-forwarded-for")
    ours = [at for at, field in enumerate(fields) if field.name.startswith(marks)]
    if ours:
        added, written = fields[: ours[-1] + 1], fields[ours[-1] + 1 :]
    else:
        added, written = fields, tuple(field for field in fields if field.name in _AUTHOR_FIELDS)
    told = [_joined(found.named), *(field.value for field in added if field.name in _TRACE_FIELDS)]
    named = {address for address in _addresses(told) if realm.locate(address.domain) is None}
    real = [*destinations, *sorted(named, key=str)[:_MAX_ADDRESSES]]
    kept = [_lines(field) for field in written if field.name and field.name not in _TRACE_FIELDS][:_MAX_FIELDS]
    if leak.occurs(real, b"".join(kept)):
        kept = [raw for raw in kept if not leak.occurs(real, raw)]
    # Two fields may tell together what neither tells alone.
    return b"" if leak.occurs(real, b"".join(kept)) else b"".join(kept)


def _lines(field: Field) -> bytes:
    """The field with CRLF; nothing of one that no host would take."""
    lines = [line for line in field.raw.splitlines() if line]
    if not lines or max(map(len, lines)) > _MAX_LINE_OCTETS or b"\0" in field.raw:
        return b""
    return b"\r\n".join([*lines, b""])


def _joined(texts: Sequence[str]) -> bytes:
    return " ".join(texts).encode("utf-8", "surrogateescape")


def _addresses(values: Sequence[bytes]) -> Iterator[Address]:
    for word in _BETWEEN.split(b" ".join(values)):
        if b"@" in word:
            try:
                yield parse_address(word.decode("utf-8"))
            except (Malformed, UnicodeDecodeError):
                continue
