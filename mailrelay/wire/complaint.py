"""Feedback reports: somebody called a message spam (RFC 5965, and what large receivers send instead).

Whoever knows the address can write one, so nothing in it is believed: who acts on it looks for what we signed.
"""

from mailrelay.core import phrase
from mailrelay.core.bounce import Complaint
from mailrelay.core.header import Message, split
from mailrelay.wire.parts import Part, decoded, first_text, multiparts, one_line, opened, text_of
from mailrelay.wire.report import returned_with

PREFIX = "X-Mailrelay-"

# A complaint has one message with it, of which only the header matters.
_MAX_OCTETS = 1 << 20
_MAX_TEXT_OCTETS = 2048
_MAX_VALUES = 50
_REPORT_TYPE = "message/feedback-report"
# How those begin who send no report part: Outlook's junk mail reporting, and loops that forward what was reported.
_WORDS = ("complaint about message", "abuse report", "feedback loop", "spam report", "junk report", "spam complaint")
_MARKS = (b"x-arf", b"x-xarf")
_RECIPIENT_FIELDS = (b"x-hmxmroriginalrecipient", b"x-original-recipient")


def read(content: bytes, prefix: str = PREFIX) -> Complaint | None:
    """The complaint that a message is, None if it is none. Never raises.

    Takes what has no report part, too, if it says what it is and has the message, or its header, attached. prefix: of
    our own header fields.
    """
    root = opened(content[:_MAX_OCTETS])
    return structured(root, prefix) or _unstructured(root, prefix)


def structured(root: Part, prefix: str = PREFIX) -> Complaint | None:
    """The complaint in a message of type multipart/report; report-type=feedback-report, or with such a part."""
    for multipart in multiparts(root):
        report = next((part for part in multipart.parts if part.kind == _REPORT_TYPE), None)
        if report is not None:
            # Some begin with an empty line.
            return _complaint(split(decoded(report).lstrip(b"\r\n")), _header(multipart.parts), prefix)
    return _complaint(split(b""), _attached(root), prefix) if is_feedback(root) else None


def is_feedback(root: Part) -> bool:
    """Whether a message says of itself that it is a feedback report."""
    return root.kind == "multipart/report" and root.params.get(b"report-type", b"").lower() == b"feedback-report"


def _unstructured(root: Part, prefix: str) -> Complaint | None:
    header = _attached(root)
    if not header:
        return None
    marked = any(root.message.count(name) for name in _MARKS)
    subject = phrase.decoded((root.message.first(b"subject") or b"")[:_MAX_TEXT_OCTETS])
    said = f"{subject}\n{text_of(first_text(root), _MAX_TEXT_OCTETS)}".lower()
    if not marked and not any(words in said for words in _WORDS):
        return None
    return _complaint(split(b"Feedback-Type: abuse\r\n"), header, prefix)


def _complaint(fields: Message, header: bytes, prefix: str) -> Complaint:
    original = split(header)
    recipients = _values(fields, b"original-rcpt-to", b"removal-recipient")
    return Complaint(
        feedback_type=_first(fields, b"feedback-type").lower(),
        user_agent=_first(fields, b"user-agent"),
        original_mail_from=_address(_first(fields, b"original-mail-from")),
        original_rcpt_to=recipients or _values(original, *_RECIPIENT_FIELDS),
        arrival_date=_first(fields, b"arrival-date") or _first(fields, b"received-date"),
        reported_domains=_values(fields, b"reported-domain"),
        header=header,
        return_path=_address(_first(original, b"return-path")),
        mailrelay_id=_first(original, f"{prefix}id".lower().encode("ascii")),
        feedback_id=_first(original, b"feedback-id"),
    )


def _attached(root: Part) -> bytes:
    return _header(next((multipart.parts for multipart in multiparts(root)), ()))


def _header(parts: tuple[Part, ...]) -> bytes:
    back = returned_with(parts, closed=False)
    return back.header if back is not None else b""


def _first(fields: Message, name: bytes) -> str:
    return one_line(fields.first(name) or b"")


def _values(fields: Message, *names: bytes) -> tuple[str, ...]:
    values = [_address(one_line(value)) for name in names for value in fields.values(name)[:_MAX_VALUES]]
    return tuple(dict.fromkeys(value for value in values if value))


def _address(value: str) -> str:
    address = value.removeprefix("rfc822;").strip()
    return address[1:-1] if address.startswith("<") and address.endswith(">") else address
