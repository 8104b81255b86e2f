"""Transparent or rewritten: how a copy is made, and why (spec section 3.2)."""

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from mailrelay.core.facts import Facts, ForwardMode, ParentKind
from mailrelay.core.header import MAX_FIELDS, Message
from mailrelay.core.ledger import Mode

# Postfix cuts lines above 998 octets on their way out; the signature of the author would not survive that.
LONG_LINE_OCTETS = 990
HEADER_LINE_OCTETS = 998  # RFC 5322 section 2.1.1

_REQUIRED = (b"from", b"date", b"message-id")
# A second one of these is dropped in rewrite mode, so a message with one has to go there.
SINGLE = frozenset(
    b"from sender reply-to to cc subject date message-id in-reply-to references mime-version content-type "
    b"content-transfer-encoding".split()
)

_STATUS = re.compile(r"(?<![0-9.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\.?[0-9])", re.ASCII)
_TEXT_LIMIT = 4096


class Why(StrEnum):
    """What decided for rewriting; the names go into the ledger and X-Mailrelay-Mode."""

    SETTING = "setting"
    CHANGES = "changes"  # test 1
    REPLIES = "replies"  # test 2
    DMARC = "dmarc"  # test 3
    LONG_LINES = "long-lines"  # test 3 as well: the signature would not survive (section 3.11)
    HEADER = "header"  # test 4
    RECEIVER = "receiver"  # test 5
    RETURNED = "returned"  # resent, and nobody vouches for what is left of it (section 7.6)
    ENCRYPTION = "encryption"  # its recipient wants it encrypted
    ANSWER = "answer"  # it came to a return path, whose name is not to be seen
    SMTPUTF8 = "smtputf8"  # its receiver takes none, and an untouched copy needs it (section 1.4)


@dataclass(frozen=True, slots=True)
class Changes:
    """What asks for a change of the message (test 1)."""

    banner: bool = False
    encryption: bool = False
    subject: bool = False
    display_name: bool = False
    attachments: bool = False  # are to be removed
    warning: bool = False  # is to be shown
    list_unsubscribe: bool = False  # behaviours 1 to 4 of section 8.1
    message_id: bool = False  # a new one is wanted (section 9.4)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the choice depends on.

    signature_lasts: a DKIM signature passed, is aligned (relaxed) with the From domain, has no `l=` and does not expire
    within 24 hours. enforced: the From domain publishes a DMARC policy other than none. passed: SPF or DKIM passed at
    ingress, aligned or not. long_lines: as has_long_lines says. sound_header: as is_sound says. rewrites_only: the
    receiver is marked (receivers.rewrites_only).
    """

    changes: Changes
    reply_via_alias: bool
    signature_lasts: bool
    enforced: bool
    passed: bool
    long_lines: bool
    sound_header: bool
    rewrites_only: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """A mode, and every reason that speaks against the other one, the deciding one first; () for transparent."""

    mode: Mode
    reasons: tuple[Why, ...]

    @property
    def reason(self) -> str:
        """For X-Mailrelay-Mode: '' if the mode is just what was set."""
        return "" if self.reasons[:1] in ((), (Why.SETTING,)) else str(self.reasons[0])


def configured(facts: Facts, default: ForwardMode = "rewrite") -> ForwardMode:
    """The setting of the alias, else its parent, else the account; else `auto` for a handle, `default` for others."""
    for owner in (facts.alias, facts.parent, facts.account):
        if owner is not None and owner.forward_mode is not None:
            return owner.forward_mode
    if facts.parent is not None and facts.parent.kind is ParentKind.HANDLE:
        return "auto"
    return default


def choose(setting: ForwardMode, evidence: Evidence) -> Choice:
    """The mode of one copy. A copy for which `transparent` is set passes the same tests as with `auto`."""
    if setting == "rewrite":
        return Choice("rewrite", (Why.SETTING,))
    against = [why for why, holds in _tests(evidence) if not holds]
    if not against:
        return Choice("transparent", ())
    if setting == "transparent" and Why.DMARC in against:
        # Who asked for transparent copies is told that this sender's policy forbids them, whatever else there is.
        against.sort(key=lambda why: why is not Why.DMARC)
    return Choice("rewrite", tuple(against))


def _tests(evidence: Evidence) -> tuple[tuple[Why, bool], ...]:
    """The tests in their order, and whether each holds."""
    without_signature = not evidence.enforced and evidence.passed
    return (
        (Why.CHANGES, evidence.changes == Changes()),
        (Why.REPLIES, not evidence.reply_via_alias),
        (Why.DMARC, evidence.signature_lasts or without_signature),
        (Why.LONG_LINES, not (evidence.long_lines and evidence.signature_lasts)),
        (Why.HEADER, evidence.sound_header),
        (Why.RECEIVER, not evidence.rewrites_only),
    )


def is_sound(message: Message) -> bool:
    """True if the header can stay as it is: From, Date and Message-ID are there, in lines of at most 998 octets, and
    nothing is double that has to be single.
    """
    counts = Counter(field.name for field in message.fields)
    return (
        all(message.first(name) for name in _REQUIRED)
        and all(counts[name] <= 1 for name in SINGLE)
        and len(message.fields) <= MAX_FIELDS  # else there are more that nobody looked at
        and not any(has_long_lines(f.raw, HEADER_LINE_OCTETS) for f in message.fields if f.name in _REQUIRED)
    )


def has_long_lines(content: bytes, limit: int = LONG_LINE_OCTETS) -> bool:
    """True if a line, its end not counted, has more than `limit` octets. Reads a few octets out of `limit` only."""
    at = 0
    while len(content) - at > limit:
        line_end = content.rfind(b"\n", at, at + limit + 1)
        if line_end < 0:
            if content[at + limit : at + limit + 2] != b"\r\n":
                return True
            line_end = at + limit + 1
        at = line_end + 1
    return False


def is_smtputf8_refusal(status: str, text: str) -> bool:
    """True if a receiver takes no SMTPUTF8 (RFC 6531 section 3.5): a copy in rewrite mode needs none.

    status: enhanced status code (RFC 3463) of the reply or report, '' if unknown; text may repeat it.
    """
    return bool({status.strip(), *_STATUS.findall(text[:_TEXT_LIMIT])} & {"5.6.7", "5.6.9"})
