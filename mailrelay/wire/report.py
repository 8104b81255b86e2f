"""Delivery status reports as they come back: RFC 3464, and RFC 6533 for addresses beyond ASCII.

They are written by everybody's software and read when nobody can complain, so whatever does not fit is
passed over and nothing raises.
"""

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core.header import Message, split
from mailrelay.core.srsreport import Undelivered

MAX_DEPTH = 30
MAX_PARTS = 500
MAX_RECIPIENTS = 1000

# Reports come first and the returned message last, which may be as large as it likes.
_MAX_OCTETS = 1 << 20
_MAX_STATUS_OCTETS = 1 << 18
_MAX_VALUE_CHARS = 2000
_MAX_TYPE_OCTETS = 4096
_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_WHOLE_TYPES = ("message/rfc822", "message/global")
_AS_IT_IS = (b"7bit", b"8bit", b"binary")
_RETURNED_TYPES = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")

_TYPE = re.compile(rb"[ \t]*+([!#-'*+.0-9A-Z^-~-]++/[!#-'*+.0-9A-Z^-~-]++)", re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)"|([^\s;"]*+))', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_TYPE_PREFIX = re.compile(r"[a-z0-9-]+\s*;\s*", re.ASCII | re.IGNORECASE)
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])\s*")
_WORD = re.compile(r"[a-z]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What a report says about one recipient; "" where it says nothing.

    Addresses and hosts come without their type (`rfc822;`, `dns;`), the diagnostic code with it.
    """

    final_recipient: str
    original_recipient: str
    action: str  # lower case: failed, delayed, delivered, relayed, expanded, or what else was written
    status: str  # RFC 3463, such as 5.1.1; "" if it does not have that form
    diagnostic_code: str  # on one line; what followed the status if there is no such field
    remote_mta: str
    last_attempt: str  # a date as written


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """A report: who wrote it, and one entry for each recipient in its order."""

    reporting_mta: str
    recipients: tuple[RecipientStatus, ...]


def delivery_status(content: bytes) -> DeliveryStatus | None:
    """The delivery status report that a message is, or holds between other parts; None if it is none.

    Reports inside attached messages do not count: they are about other people's mail.
    """
    report = _report(content)
    return _parse(_decoded(report.status)) if report is not None else None


def undelivered(content: bytes) -> Undelivered | None:
    """What a delivery status report says of a copy that failed for good; None if it is none, or about no failure."""
    report = _report(content)
    if report is None:
        return None
    recipients = _parse(_decoded(report.status)).recipients
    failed = [recipient for recipient in recipients if recipient.action == "failed"]
    if not failed:
        return None
    named = [name for one in recipients for name in (one.final_recipient, one.original_recipient) if name]
    return Undelivered(failed[0].status, tuple(dict.fromkeys(named)), _returned_header(report.parts))


def returned(content: bytes) -> bytes | None:
    """The message that came back whole with a delivery status report, octet for octet.

    None if there is no report, if it has the header of the message only, or if something was cut off.
    """
    report = _report(content, len(content), closed=True)
    part = next((part for part in report.parts if _content_type(part)[0] in _WHOLE_TYPES), None) if report else None
    if part is None or (part.first(b"content-transfer-encoding") or b"8bit").lower() not in _AS_IT_IS:
        return None
    # The line end before a boundary belongs to the boundary (RFC 2046 section 5.1.1).
    message = split(part.body.removesuffix(b"\n").removesuffix(b"\r"))
    # Some hosts say message/rfc822 of a mere header.
    return message.content if message.body else None


@dataclass(frozen=True, slots=True)
class _Report:
    """The parts of a report, and which of them is for machines."""

    status: Message
    parts: tuple[Message, ...]


def _report(content: bytes, limit_octets: int = _MAX_OCTETS, *, closed: bool = False) -> _Report | None:
    """The first report in a message. closed: one whose end is missing does not count."""
    waiting = [(content[:limit_octets], 0)]
    seen = 0
    while waiting and seen < MAX_PARTS:
        octets, depth = waiting.pop()
        seen += 1
        part = split(octets)
        kind, parameters = _content_type(part)
        boundary = parameters.get(b"boundary", b"").rstrip()
        if not kind.startswith("multipart/") or not boundary or depth == MAX_DEPTH:
            continue
        children, ended = _children(part.body, boundary, MAX_PARTS - seen)
        if closed and not ended:
            continue
        report_type = parameters.get(b"report-type", b"delivery-status").lower()
        if kind == "multipart/report" and report_type == b"delivery-status":
            parts = tuple(map(split, children))
            status = next((child for child in parts if _content_type(child)[0] in _STATUS_TYPES), None)
            if status is not None:
                return _Report(status, parts)
        waiting += [(child, depth + 1) for child in reversed(children)]
    return None


def _returned_header(parts: Sequence[Message]) -> bytes:
    """The header of the message that came back with a report (RFC 6522 section 3), b"" if none did."""
    for part in parts:
        if _content_type(part)[0] in _RETURNED_TYPES:
            returned = split(_decoded(part))
            return returned.content[: returned.header_end]
    return b""


def _content_type(part: Message) -> tuple[str, Mapping[bytes, bytes]]:
    """The type in lower case, "" if unreadable, and its parameters, of which the first of a name counts."""
    value = (part.first(b"content-type") or b"")[:_MAX_TYPE_OCTETS]
    kind = _TYPE.match(value)
    if kind is None:
        return "", {}
    parameters: dict[bytes, bytes] = {}
    for name, quoted, plain in _PARAMETER.findall(value, kind.end()):
        parameters.setdefault(name.lower(), _QUOTED_PAIR.sub(rb"\1", quoted) or plain)
    return kind[1].decode("ascii").lower(), parameters


def _children(body: bytes, boundary: bytes, limit: int) -> tuple[list[bytes], bool]:
    """The first parts of a multipart body, and whether its closing line came; else the last one reaches to the end."""
    marker = b"--" + boundary
    found: list[bytes] = []
    begin = None
    at = body.find(marker)
    while at >= 0 and len(found) < limit:
        after = at + len(marker)
        if at == 0 or body[at - 1 : at] == b"\n":
            line_end = body.find(b"\n", after)
            line_end = len(body) if line_end < 0 else line_end
            rest = body[after:line_end].strip(b" \t\r")
            if rest in (b"", b"--"):
                if begin is not None:
                    found.append(body[begin:at])
                if rest:
                    return found, True
                begin = line_end + 1
        at = body.find(marker, after)
    if begin is not None and len(found) < limit:
        found.append(body[begin:])
    return found, False


def _decoded(part: Message) -> bytes:
    """The body without its transfer encoding; as it is if that is unknown or broken."""
    encoding = (part.first(b"content-transfer-encoding") or b"").lower()
    body = part.body[:_MAX_STATUS_OCTETS]
    try:
        if encoding == b"base64":
            return binascii.a2b_base64(body)
        if encoding == b"quoted-printable":
            return binascii.a2b_qp(body)
    except binascii.Error:
        pass
    return body


def _parse(body: bytes) -> DeliveryStatus:
    groups = _groups(body)
    reporting_mta = _untyped(groups[0].get(b"reporting-mta", "")) if groups else ""
    identifying = (b"final-recipient", b"original-recipient", b"action")
    about = [group for group in groups if any(name in group for name in identifying)]
    return DeliveryStatus(reporting_mta, tuple(_recipient(group) for group in about[:MAX_RECIPIENTS]))


def _groups(body: bytes) -> list[dict[bytes, str]]:
    """The blocks of fields between empty lines; of fields with the same name the first counts."""
    groups: list[dict[bytes, str]] = []
    for block in re.split(rb"\n[ \t\r]*\n", body.replace(b"\r\n", b"\n").strip(b" \t\r\n")):
        raw: dict[bytes, bytes] = {}
        name = b""
        for line in block.split(b"\n"):
            if line[:1] in (b" ", b"\t"):
                if name:
                    raw[name] += b" " + line.strip()
                continue
            before, colon, value = line.partition(b":")
            name = before.strip().lower() if colon else b""
            if name in raw:
                name = b""
            elif name:
                raw[name] = value.strip()
        if raw:
            groups.append({key: _text(value) for key, value in raw.items()})
    return groups


def _recipient(fields: Mapping[bytes, str]) -> RecipientStatus:
    action = _WORD.match(fields.get(b"action", "").lower())
    status = fields.get(b"status", "")
    code = _STATUS.match(status)
    remark = status[code.end() :] if code else status
    if remark.startswith("(") and remark.endswith(")"):
        remark = remark[1:-1].strip()
    return RecipientStatus(
        final_recipient=_address(fields.get(b"final-recipient", "")),
        original_recipient=_address(fields.get(b"original-recipient", "")),
        action=action[0] if action else "",
        status=code[1] if code else "",
        diagnostic_code=fields.get(b"diagnostic-code", "") or remark,
        remote_mta=_untyped(fields.get(b"remote-mta", "")),
        last_attempt=fields.get(b"last-attempt-date", ""),
    )


def _text(value: bytes) -> str:
    """One line that a database takes: no control characters, no broken UTF-8."""
    return _CONTROLS.sub(" ", value.decode("utf-8", "replace")).strip()[:_MAX_VALUE_CHARS]


def _untyped(value: str) -> str:
    prefix = _TYPE_PREFIX.match(value)
    return value[prefix.end() :] if prefix else value


def _address(value: str) -> str:
    address = _untyped(value)
    return address[1:-1] if address.startswith("<") and address.endswith(">") else address
