"""Delivery status reports as they come back: RFC 3464, and RFC 6533 for addresses beyond ASCII.

They are written by everybody's software and read when nobody can complain, so whatever does not fit is
passed over and nothing raises.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailrelay.core.bounce import Returned
from mailrelay.core.header import split
from mailrelay.core.srsreport import Undelivered
from mailrelay.wire.parts import MAX_DEPTH, MAX_PARTS, Multipart, Part, decoded, multiparts, one_line, opened

__all__ = [
    "MAX_DEPTH",
    "MAX_PARTS",
    "DeliveryStatus",
    "RecipientStatus",
    "Report",
    "delivery_status",
    "found_in",
    "returned",
    "returned_with",
    "undelivered",
]

MAX_RECIPIENTS = 1000

# Reports come first and the returned message last, which may be as large as it likes.
_MAX_OCTETS = 1 << 20
_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_WHOLE_TYPES = ("message/rfc822", "message/global")
_AS_IT_IS = (b"7bit", b"8bit", b"binary")
_RETURNED_TYPES = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_TYPE_PREFIX = re.compile(r"([a-z0-9-]+)\s*;\s*", re.ASCII | re.IGNORECASE)
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])\s*")
_WORD = re.compile(r"[a-z]*", re.ASCII)
_EMBEDDED_CHARACTER = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_SURROGATES = range(0xD800, 0xE000)


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


@dataclass(frozen=True, slots=True)
class Report:
    """A report and the parts it came with."""

    status: DeliveryStatus
    parts: tuple[Part, ...]
    closed: bool  # the closing line came; else the last part may be cut


def delivery_status(content: bytes) -> DeliveryStatus | None:
    """The delivery status report that a message is, or holds between other parts; None if it is none.

    Reports inside attached messages do not count: they are about other people's mail.
    """
    report = found_in(opened(content[:_MAX_OCTETS]))
    return report.status if report is not None else None


def undelivered(content: bytes) -> Undelivered | None:
    """What a delivery status report says of a copy that failed for good; None if it is none, or about no failure."""
    report = found_in(opened(content[:_MAX_OCTETS]))
    if report is None:
        return None
    recipients = report.status.recipients
    failed = [recipient for recipient in recipients if recipient.action == "failed"]
    if not failed:
        return None
    named = [name for one in recipients for name in (one.final_recipient, one.original_recipient) if name]
    header = next((_header(part) for part in report.parts if part.kind in _RETURNED_TYPES), b"")
    return Undelivered(failed[0].status, tuple(dict.fromkeys(named)), header)


def returned(content: bytes) -> bytes | None:
    """The message that came back whole with a delivery status report, octet for octet.

    None if there is no report, if it has the header of the message only, or if something was cut off.
    """
    report = found_in(opened(content), closed=True)
    part = next((part for part in report.parts if part.kind in _WHOLE_TYPES), None) if report else None
    if part is None or _encoding(part) not in _AS_IT_IS:
        return None
    return _whole(part.message.body)


def found_in(root: Part, *, loose: bool = False, closed: bool = False) -> Report | None:
    """The first report in a message. loose: of whatever multipart type. closed: none whose end is missing."""
    for multipart in multiparts(root):
        if (closed and not multipart.closed) or not (loose or _is_report(multipart)):
            continue
        statuses = [part for part in multipart.parts if part.kind in _STATUS_TYPES]
        if statuses:
            return Report(_parse(statuses), multipart.parts, multipart.closed)
    return None


def returned_with(parts: Sequence[Part], *, closed: bool) -> Returned | None:
    """What came back in one of several parts (RFC 6522 section 3), whatever its transfer encoding.

    closed: the last part is there to its end.
    """
    for at, part in enumerate(parts):
        if part.kind not in _RETURNED_TYPES:
            continue
        header = _header(part)
        if not header:
            return None
        if part.kind not in _WHOLE_TYPES or (at == len(parts) - 1 and not closed):
            return Returned(header, None)
        octets = decoded(part, len(part.message.content))
        # What is encoded has no line end that belongs to the boundary.
        return Returned(header, _whole(octets if _encoding(part) in _AS_IT_IS else octets + b"\n"))
    return None


def _is_report(multipart: Multipart) -> bool:
    report_type = multipart.part.params.get(b"report-type", b"delivery-status").lower()
    return multipart.part.kind == "multipart/report" and report_type == b"delivery-status"


def _encoding(part: Part) -> bytes:
    return (part.message.first(b"content-transfer-encoding") or b"8bit").lower()


def _header(part: Part) -> bytes:
    message = split(decoded(part))
    return message.content[: message.header_end]


def _whole(octets: bytes) -> bytes | None:
    """A returned message; None for a mere header, which some hosts call message/rfc822, too."""
    # The line end before a boundary belongs to the boundary (RFC 2046 section 5.1.1).
    message = split(octets.removesuffix(b"\n").removesuffix(b"\r"))
    return message.content if message.body else None


def _parse(statuses: Sequence[Part]) -> DeliveryStatus:
    """What the parts for machines say; there is mostly one."""
    groups = [group for part in statuses for group in _groups(decoded(part))]
    reporting_mta = _untyped(groups[0].get(b"reporting-mta", "")) if groups else ""
    identifying = (b"final-recipient", b"original-recipient", b"action")
    about = [group for group in groups if any(name in group for name in identifying)]
    return DeliveryStatus(reporting_mta, tuple(_recipient(group) for group in about[:MAX_RECIPIENTS]))


def _groups(body: bytes) -> list[dict[bytes, str]]:
    """The blocks of fields between empty lines; of fields with the same name the first counts."""
    groups: list[dict[bytes, str]] = []
    for block in re.split(rb"\n[ \t\r]*\n", body.replace(b"\r\n", b"\n").strip(b" \t\r\n")):
        raw: dict[bytes, list[bytes]] = {}
        name = b""
        for line in block.split(b"\n"):
            if line[:1] in (b" ", b"\t"):
                if name:
                    raw[name].append(line.strip())
                continue
            before, colon, value = line.partition(b":")
            name = before.strip().lower() if colon else b""
            if name in raw:
                name = b""
            elif name:
                raw[name] = [value.strip()]
        if raw:
            groups.append({key: one_line(b" ".join(lines)) for key, lines in raw.items()})
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


def _untyped(value: str) -> str:
    prefix = _TYPE_PREFIX.match(value)
    return value[prefix.end() :] if prefix else value


def _address(value: str) -> str:
    """An address without its type; in one of type utf-8 characters may be written as `\\x{FC}` (RFC 6533 section 3)."""
    prefix = _TYPE_PREFIX.match(value)
    address = value[prefix.end() :] if prefix else value
    if prefix and prefix[1].lower() == "utf-8":
        address = _EMBEDDED_CHARACTER.sub(_character, address)
    return address[1:-1] if address.startswith("<") and address.endswith(">") else address


def _character(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    if number > 0x10FFFF or number in _SURROGATES:
        return found[0]
    return _CONTROLS.sub(" ", chr(number))
