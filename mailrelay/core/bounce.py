"""What mail at a return path turns out to be: bounces, news, complaints, answers (spec sections 7.2 to 7.4)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mailrelay.core.receivers import is_authentication_refusal

# Of a diagnostic text, whose end a stranger chooses.
_TEXT_LIMIT = 2000

# Subjects are 0 to 7 (RFC 3463 section 3); neither a version (Exim 4.96.1) nor part of an IP address.
_ENHANCED = re.compile(r"(?<![0-9A-Za-z./_])([45]\.[0-7]\.[0-9]{1,3})(?!\.?[0-9A-Za-z])", re.ASCII)
# The code that a host answered with: in front, after the type, or after what introduces a quotation.
_REPLY = re.compile(r"(?:^|[;:'\"(<\[])\s*+([245][0-5][0-9])(?![0-9A-Za-z.])", re.ASCII)
# Strangers choose what is in addresses: mail for spam@ is no spam.
_ADDRESS = re.compile(r"<[^<>\s@]*+@[^<>\s]*+>|(?<![\w.+=-])[\w.+=-]++@[\w.-]*+")

_UNREACHABLE = frozenset(["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.4.4"])
_FULL = frozenset(["5.2.2", "5.2.3", "5.3.4"])
_AUTHENTICATION = frozenset(["5.7.1", "5.7.26", "5.7.27", "5.7.30", "5.7.509", "5.7.515"])
_VAGUE = frozenset({"", "5.3.0", "5.0.0"})
_VAGUE_CLASSES = ("5.7.", "5.6.", "5.5.")

_SPAM_WORDS = re.compile(
    r"(?<![^\W_])(?:spam|unsolicited|bulk|blocklist|blacklist|blocked using|spamhaus|content rejected|content denied|"
    r"policy reason|local policy|reputation|phish|virus|security issue)|\[cs01\]"
)
_MAILBOX_WORDS = re.compile(r"(?<![^\W_])(?:address|user|mailbox|recipient|account)")
_GONE_WORDS = re.compile(
    r"(?<![^\W_])(?:unknown|not found|no such|does not exist|disabled|inactive|invalid|unavailable|rejected)"
)
_AUTHENTICATION_WORDS = re.compile(
    r"(?<![^\W_])(?:dmarc|dkim|spf|unauthenticated|not authenticated|authentication (?:check|fail|result))"
)


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


def failure(status: str, code: str, remote_mta: str = "", recipient: str = "") -> Failure:
    """One failure, classified. Takes the same as its fields; a status that says nothing (`5.0.0`, '') gives way to the
    one that the receiver itself named in the code.
    """
    exact = _exact(status, code[:_TEXT_LIMIT])
    kind = classify(status, code)
    authentication = kind is BounceType.SPAM and _wants_authentication(exact, code[:_TEXT_LIMIT])
    return Failure(exact, code, remote_mta, recipient, kind, authentication)


def classify(status: str, code: str) -> BounceType:
    """Why mail failed, by the table of spec section 7.4; costs linear time.

    status: RFC 3463, '' if none is known. code: a diagnostic text or an SMTP reply such as `550 5.1.1 no such user`,
    '' if there is none; its addresses do not count as words. Never `rule`.
    """
    text = code[:_TEXT_LIMIT]
    status = _exact(status, text)
    reply = _REPLY.search(text)
    words = [" ".join(line.split()) for line in _ADDRESS.sub(" ", text.lower()).splitlines()]
    if status.startswith("4.") or (reply is not None and reply[1].startswith("4")):
        return BounceType.SOFT
    if status in _UNREACHABLE:
        return BounceType.HARD
    vague = status in _VAGUE or status.startswith(_VAGUE_CLASSES)
    if vague and any(_SPAM_WORDS.search(line) for line in words):
        return BounceType.SPAM
    if any(_MAILBOX_WORDS.search(line) and _GONE_WORDS.search(line) for line in words):
        return BounceType.HARD
    if status in _FULL:
        return BounceType.SOFT
    if _wants_authentication(status, text):
        return BounceType.SPAM
    if status.startswith("5.") or (reply is not None and reply[1].startswith("5")):
        return BounceType.HARD
    return BounceType.SOFT


def about(failures: Sequence[Failure], destination: str) -> Failure:
    """The failure that a copy is remembered with: that of its recipient, else the first.

    Receivers that send mail on report others as well. failures: at least one.
    """
    folded = destination.lower()
    return next((one for one in failures if one.recipient.lower() == folded), failures[0])


def enhanced_code(text: str) -> str:
    """The first RFC 3463 code of a failure in a text, '' if there is none."""
    found = _ENHANCED.search(text)
    return found[1] if found else ""


def _exact(status: str, text: str) -> str:
    return status if status and not status.endswith(".0.0") else enhanced_code(text) or status


def _wants_authentication(status: str, text: str) -> bool:
    """Row 6: of the codes all but 5.7.1 say it by themselves."""
    if is_authentication_refusal(status, text):
        return True
    return status in _AUTHENTICATION and _AUTHENTICATION_WORDS.search(_ADDRESS.sub(" ", text.lower())) is not None
