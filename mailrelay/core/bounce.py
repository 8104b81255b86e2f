"""What mail at a return path turns out to be: bounces, news, complaints, answers (spec sections 7.2 to 7.4)."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Bounce:
    """failed: for good, anything else (delayed, relayed, delivered) is only news; status: RFC 3463, '' if none."""

    failed: bool
    status: str
    text: str


class BounceType(StrEnum):
    """Why a message could not be delivered; the values of the API's `bounce_type` (spec section 7.4)."""

    HARD = "hard"
    SOFT = "soft"
    SPAM = "spam"
    RULE = "rule"  # never read from a report: a rule of the owner's blocked it


@dataclass(frozen=True, slots=True)
class Failure:
    """One recipient that a report says mail has failed for, for good. "" is what it does not say."""

    status: str  # RFC 3463 such as 5.1.1
    code: str  # the diagnostic text on one line, with its type if it has one: `smtp; 550 5.1.1 no such user`
    remote_mta: str
    recipient: str  # as the report names it; it may be somebody the mail was sent on to
    type: BounceType
    authentication: bool = False  # the receiver wants SPF, DKIM or DMARC to pass (row 6 of the table)


@dataclass(frozen=True, slots=True)
class Returned:
    """What came back with a report. Anybody can write it: never trusted."""

    header: bytes  # with the line ends it had, without the empty line
    content: bytes | None  # the whole message; None if only its header came, or if something was cut off


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a feedback report says (RFC 5965), "" or () where it says nothing. Anybody can write it: never trusted.

    Addresses come without angle brackets, header fields of the original message unfolded.
    """

    feedback_type: str  # lower case: abuse, fraud, virus, not-spam, auth-failure, other, or what else was written
    user_agent: str
    original_mail_from: str
    original_rcpt_to: tuple[str, ...]
    arrival_date: str  # as written
    reported_domains: tuple[str, ...]
    header: bytes  # of the message complained about, b"" if it did not come
    return_path: str
    mailrelay_id: str
    feedback_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A report of failures, at least one; returned: None if nothing came back with it."""

    failures: tuple[Failure, ...]
    returned: Returned | None


@dataclass(frozen=True, slots=True)
class News:
    """A report of no failure: delayed, relayed, delivered, expanded."""


@dataclass(frozen=True, slots=True)
class Complained:
    """A report that somebody called a message spam (spec section 7.8)."""

    complaint: Complaint


@dataclass(frozen=True, slots=True)
class AutomaticAnswer:
    """An out-of-office answer, a read receipt and the like."""


@dataclass(frozen=True, slots=True)
class OtherMail:
    """Mail that somebody wrote."""


Arrival = Failed | News | Complained | AutomaticAnswer | OtherMail
