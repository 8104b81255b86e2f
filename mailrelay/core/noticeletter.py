"""Notifications as mail: header and body, ready to be signed (spec section 8.4)."""

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from mailrelay.core.address import Address
from mailrelay.core.display import formatted
from mailrelay.core.header import Field
from mailrelay.core.letterhead import added
from mailrelay.core.transfer import encode

LOCAL_PART = "notifications"


@dataclass(frozen=True, slots=True)
class Paper:
    """How we appear. product: the name that people know; prefix: of our own field names; now: aware.

    random_hex: 32 digits, new for each notification.
    """

    product: str
    domain: str
    prefix: str
    random_hex: str
    now: datetime

    @property
    def sender(self) -> str:
        """Who writes."""
        return f"{LOCAL_PART}@{self.domain}"

    @property
    def message_id(self) -> str:
        """With angle brackets."""
        return f"<{self.random_hex}@{self.domain}>"


@dataclass(frozen=True, slots=True)
class Note:
    """A notification in words. code: as Feedback-ID has it; plain, html: lines end with LF."""

    code: str
    language: str
    subject: str
    plain: str
    html: str


def header(note: Note, to: Address, outbound_id: int, paper: Paper) -> list[Field]:
    """The header, from the top, without a signature. to: may be beyond ASCII, then it needs SMTPUTF8."""
    return [
        Field(b"from", b"From: %b\r\n" % formatted(paper.product, paper.sender)),
        # No word of the address can be taken for another field: an Address is a dot-atom.
        Field(b"to", f"To: {to}\r\n".encode("utf-8", "replace")),
        # What somebody named so is no encoded word of ours.
        added("Subject", note.subject.replace("=?", "= ?")),
        added("Date", format_datetime(paper.now)),
        added("Message-ID", paper.message_id),
        added("Auto-Submitted", "auto-generated"),
        added("X-Auto-Response-Suppress", "All"),
        added("Feedback-ID", f"{note.code}:mailrelay"),
        added(f"{paper.prefix}Id", f"{outbound_id:016x}"),
        added("Content-Language", note.language),
        added("MIME-Version", "1.0"),
        Field(
            b"content-type",
            f'Content-Type: multipart/alternative;\r\n\tboundary="{_boundary(paper)}"\r\n'.encode("ascii"),
        ),
    ]


def body(note: Note, paper: Paper) -> bytes:
    """What follows the empty line: 7-bit, no line longer than 76 octets."""
    boundary = _boundary(paper).encode("ascii")
    parts = (_part(b"plain", note.plain), _part(b"html", note.html))
    return b"".join(b"--%b\r\n%b" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def _part(subtype: bytes, text: str) -> bytes:
    octets = text.encode("utf-8", "replace").replace(b"\n", b"\r\n")
    head = b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" % subtype
    return head + encode(octets, b"quoted-printable") + b"\r\n"


def _boundary(paper: Paper) -> str:
    return f"=_{paper.random_hex}"
