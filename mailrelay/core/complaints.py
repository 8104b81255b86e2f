"""Complaints: which copy one is about, whose mail that was, and what follows (spec section 7.8)."""

import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from mailrelay.core import loop, verp
from mailrelay.core.address import Address, Reverse, classify, is_opaque_reverse, split_extension
from mailrelay.core.author import author
from mailrelay.core.bounce import Complaint
from mailrelay.core.facts import AccountId, AliasId, Reason, RecipientId
from mailrelay.core.header import split
from mailrelay.core.ledger import OutboundCopy, OutboundId
from mailrelay.core.letterhead import feedback_id
from mailrelay.core.mailbox import address_of
from mailrelay.core.notices import Code, Notice
from mailrelay.core.verp import EmailType

WITHIN = timedelta(days=30)
ENOUGH = 3

# Copies are on record for fourteen days, return paths take bounces for ten: reports come later than those.
_LATER_DAYS = 14 - verp.MAX_AGE_DAYS
_ID = re.compile(r"[0-9a-f]{16}")
# They tell that something was no spam after all, or that a check failed: nobody complains.
_NO_COMPLAINTS = frozenset({"not-spam", "auth-failure", "dmarc", "opt-out-list"})


@dataclass(frozen=True, slots=True)
class Claim:
    """A copy that a report names. proved: with a return path that we signed; else it has to be proved."""

    outbound_id: OutboundId
    proved: bool


@dataclass(frozen=True, slots=True)
class About:
    """What is known about a copy besides itself. None, '': it is gone. sender: of the envelope it came with."""

    alias_uuid: UUID | None
    alias: str
    sender: str


@dataclass(frozen=True, slots=True)
class Counted:
    """A complaint to be counted. sender: whose mail it was, folded, '' if unknown; contact: of a reply or send."""

    outbound_id: OutboundId
    type: EmailType
    account_id: AccountId
    alias_id: AliasId | None
    sender: str
    contact: str
    feedback_type: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of it. first: False, it is on record already, or the account is gone: nothing was changed.

    count: complaints within 30 days, this one included: of the sender's domain at the alias, or of all that the account
    writes. blocked: the sender is from now on, at this alias; suspended: the account's replies and sends are.
    account: its name.
    """

    first: bool
    count: int = 0
    blocked: bool = False
    suspended: bool = False
    account: str = ""


@dataclass(frozen=True, slots=True)
class Handled:
    """A complaint that is dealt with. alert: what the operator should hear of it, None: nothing."""

    reason: Reason = Reason.COMPLAINT
    alert: str | None = None


def counts(complaint: Complaint) -> bool:
    """Whether somebody complains about spam, or the like (RFC 5965 section 7.3)."""
    return complaint.feedback_type not in _NO_COMPLAINTS


def claims(complaint: Complaint, verp_keys: Sequence[bytes], today: int) -> Iterator[Claim]:
    """The copies that a report may be about, the surest first. today: days since 1970-01-01, UTC.

    Our Feedback-ID names the alias and no copy: it can prove one, but not find it.
    """
    for address in (complaint.original_mail_from, complaint.return_path):
        local, _, domain = address.rpartition("@")
        for day in (today, today - _LATER_DAYS):
            path = verp.decode(local, domain.lower(), verp_keys, day)
            if isinstance(path, verp.VerpId):
                yield Claim(OutboundId(path.outbound_id), True)
                break
    named = complaint.mailrelay_id.strip().lower()
    if _ID.fullmatch(named):
        yield Claim(OutboundId(int(named, 16)), False)


def is_proved(complaint: Complaint, alias: UUID, prefix: str, loop_keys: Sequence[bytes]) -> bool:
    """Whether the header that came back carries a MAC of ours about this alias: its loop mark, or its Feedback-ID.

    prefix: of our own header fields. The number of a copy has no MAC of its own.
    """
    marks = split(complaint.header).values(f"{prefix}loop".lower().encode("ascii"))
    if 0 < len(marks) <= loop.MAX_MARKS and loop.is_loop(marks, alias, loop_keys):
        return True
    kind, *rest = complaint.feedback_id.split(":")
    if len(rest) != 3 or not complaint.feedback_id.isascii():
        return False
    _, mode, service = rest
    ours = (feedback_id(kind, alias, mode, service, key) for key in loop_keys)
    return any(hmac.compare_digest(one, complaint.feedback_id) for one in ours)


def sender_of(complaint: Complaint, copy: OutboundCopy, about: About, prefix: str) -> str:
    """Whose mail was forwarded, folded; '' if nobody is known who could be blocked.

    The header may be anybody's, but it decides no more than whom the owner's alias takes no mail from. Who blocks
    oneself loses replies to all, so the owner's mailbox and the alias are nobody.
    """
    message = split(complaint.header)
    named = message.first(f"{prefix}original-sender-address".lower().encode("ascii"))
    written = author(message)
    found = (
        (address_of(named) if named else None)
        or (_behind(written, about.alias) if written is not None else None)
        or address_of(about.sender.encode("utf-8", "surrogateescape"))
    )
    if found is None or len(found.folded) > 253 or found.folded in (copy.destination.lower(), about.alias):
        return ""
    return found.folded


def _behind(written: Address, alias: str) -> Address | None:
    """Who wrote, where the copy names a reverse address of the alias."""
    base, extension = split_extension(written.local.lower())
    if is_opaque_reverse(written.local):
        return None
    if f"{base}@{written.domain}" != alias:
        return written
    meaning = classify(extension) if extension else None
    return meaning.contact if isinstance(meaning, Reverse) else None


def notice(counted: Counted, about: About, recipient_id: RecipientId | None, recorded: Recorded) -> Notice | None:
    """What whoever got or wrote the mail is told; None: nothing.

    That a sender was blocked is told even where another complaint was told of this week.
    """
    if counted.type is EmailType.NOTIFICATION or about.alias_uuid is None:
        return None
    writes = counted.type is not EmailType.FORWARD
    other = counted.contact if writes else counted.sender
    return Notice(
        Code.ABC,
        counted.account_id,
        recipient_id,
        f"blocked {about.alias_uuid} {other}" if recorded.blocked else "",
        {
            "alias": about.alias,
            "alias_uuid": str(about.alias_uuid),
            "sender": other,
            "count": recorded.count,
            "blocked": recorded.blocked,
            "reply": writes,
        },
    )


def alert(counted: Counted, about: About, recorded: Recorded) -> str | None:
    """What the operator is told of mail that an account writes; None: nothing."""
    if counted.type not in (EmailType.REPLY, EmailType.SEND):
        return None
    kind = "reply" if counted.type is EmailType.REPLY else "message"
    domain = counted.contact.rpartition("@")[2] or "an unknown domain"
    sentences = [
        f"A {kind} of {recorded.account} through {about.alias or 'an alias that is gone'} to somebody at {domain}"
        f" was reported as spam; complaints about this account within {WITHIN.days} days: {recorded.count}."
    ]
    if recorded.suspended:
        sentences.append("Its replies and sends are suspended until you have looked at it.")
    return " ".join(sentences)
