"""May this reply or send go out? The tests of spec section 4.2, in their order; the first that fails decides.

What follows from a failure is in fate.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from mailrelay.core.address import folded_mailbox, is_creatable
from mailrelay.core.bans import BanId
from mailrelay.core.facts import Facts, Reason
from mailrelay.core.findings import Findings
from mailrelay.core.judge import DefaultLimits, Question
from mailrelay.core.reply import Replies, Reply
from mailrelay.core.sending.classify import Evidence, Owner, Who
from mailrelay.core.sending.contact import Objection
from mailrelay.core.sending.facts import Amount, OwnMailbox, SendingFacts
from mailrelay.core.verp import EmailType

# Codes of spec section 8.4: not authenticated, not permitted, failed delivery, limit reached.
Notice = Literal["SRSA", "DRSA", "FDN", "RSL"]

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


class Hurdle(StrEnum):
    """The tests by their letters in spec section 4.2."""

    AUTOMATIC = "a"
    AUTHENTICATED = "b"
    ENABLED = "c"
    ATTACHED = "d"
    OPEN = "e"
    CONTACT = "f"
    LIMITS = "g"


@dataclass(frozen=True, slots=True)
class SendingLimits:
    """What one account may send to contacts (spec section 2.6), in any 24 hours or 60 minutes. 0: no limit."""

    per_day: int = 100
    per_hour: int = 30
    new_contacts_per_day: int = 50


@dataclass(frozen=True, slots=True)
class Allowed:
    """It goes out. automatic: as `Auto-Submitted: auto-replied`, whatever it says; creates: the alias is made first."""

    kind: EmailType
    mailbox: OwnMailbox
    automatic: bool = False
    creates: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """It does not. reply: its key, '' where the sender is not to notice; notice: what the owner is told by mail.

    check: the failed check and its result, for NOTAUTH. words: what the contact's server said, '' for none.
    """

    hurdle: Hurdle
    reply: str
    reason: Reason
    notice: Notice | None = None
    check: str = ""
    ban_id: BanId | None = None
    words: str = ""

    def answer(self, replies: Replies) -> Reply | None:
        """What the sender hears, None if it is not to notice."""
        if self.check:
            return replies.not_authenticated(self.check)
        return replies.because(self.reply, self.words) if self.reply else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """Mail of an owner to a contact.

    facts: of the alias, with its parent if there is no alias yet; question: about the alias. objection: to the contact,
    see contact.py. together: how many such recipients the message has, none of which is counted yet.
    """

    evidence: Evidence
    owner: Owner
    facts: Facts
    question: Question
    sending: SendingFacts
    objection: Objection | None = None
    together: int = 1


def authorise(
    attempt: Attempt, limits: SendingLimits, creation: DefaultLimits, now: datetime, *, confirmed: bool = False
) -> Allowed | Refusal:
    """The decision. creation: limits of new aliases. confirmed: the owner vouches for a held message, so that test b,
    which held it, is left out (spec section 4.3).
    """
    automatic = attempt.evidence.automatic
    refusal = next(_failures(attempt, limits, creation, now, confirmed=confirmed), None)
    if refusal is not None:
        return replace(refusal, notice=None) if automatic else refusal  # RFC 3834: nobody answers those
    kind = EmailType.REPLY if automatic else attempt.owner.kind
    return Allowed(kind, attempt.owner.mailbox, automatic, creates=attempt.facts.alias is None)


def unproved(evidence: Evidence, who: Who) -> Refusal | None:
    """Test b for whoever writes to a reverse address: why the author is not believed, None if it is.

    Without a login the answer does not depend on who the author claims to be (invariant I3), so that nobody can find
    out whose alias it is. The notice does, which only the owner gets.
    """
    findings = evidence.findings
    loose = None if isinstance(who, Owner) and who.by_login else _loose(evidence)
    if loose is not None:
        return _not_authenticated(loose, evidence, who)
    # What we injected ourselves is proved to be from another alias, which is nobody's mailbox.
    if who.by_login if isinstance(who, Owner) else evidence.route == "internal":
        return None
    if findings is not None and findings.author_authenticated:
        return None
    if findings is not None and findings.temporary:
        return Refusal(Hurdle.AUTHENTICATED, "AUTHLATER", Reason.NOT_AUTHENTICATED)
    return _not_authenticated(_failed_check(findings or Findings()), evidence, who)


def _loose(evidence: Evidence) -> str | None:
    """What a signature of the author's domain does not tie to this delivery, None if it does.

    Who holds a signed message of somebody can send it anywhere, and with fields added that the signature does not cover
    (RFC 6376 sections 8.6 and 8.15): then nobody is authenticated, whoever it is.
    """
    if evidence.route == "internal":
        return None
    if evidence.ambiguous:
        return "header=ambiguous"
    findings = evidence.findings
    aligned = findings is not None and findings.author_authenticated and not findings.dmarc.spf_aligned
    return "rcpt=unnamed" if aligned and not evidence.named else None


def _not_authenticated(check: str, evidence: Evidence, who: Who) -> Refusal:
    """The claimed owner is told, but not of an automatic message."""
    notice: Notice | None = "SRSA" if isinstance(who, Owner) and not evidence.automatic else None
    return Refusal(Hurdle.AUTHENTICATED, "NOTAUTH", Reason.NOT_AUTHENTICATED, notice, check)


def _failed_check(findings: Findings) -> str:
    if findings.dmarc.has_record or findings.dmarc.result != "none":
        return f"dmarc={findings.dmarc.result}"
    return f"dkim={next((one.result for one in findings.dkim if one.aligned), 'none')}"


def _failures(
    attempt: Attempt, limits: SendingLimits, creation: DefaultLimits, now: datetime, *, confirmed: bool
) -> Iterator[Refusal]:
    """Every test that fails, in their order."""
    evidence, sending, mailbox = attempt.evidence, attempt.sending, attempt.owner.mailbox
    # A report names the mailbox that it is about.
    passes_on = sending.manner.relay_auto_replies and not sending.spent.auto_replied and not evidence.report
    if evidence.automatic and not passes_on:
        yield Refusal(Hurdle.AUTOMATIC, "", Reason.AUTO_REPLY)
    doubt = None if confirmed else doubtful(evidence, attempt.owner)
    if doubt is not None:
        yield doubt
    if not mailbox.can_reply_send:
        yield Refusal(Hurdle.ENABLED, "SENDOFF", Reason.SENDING_OFF, "DRSA")
    if sending.attached_only and not mailbox.attached:
        yield Refusal(Hurdle.ATTACHED, "SENDOFF", Reason.NOT_ATTACHED, "DRSA")
    closed = _closed(attempt, creation)
    if closed is not None:
        yield Refusal(Hurdle.OPEN, *closed)
    if attempt.objection is not None:
        one = attempt.objection
        yield Refusal(Hurdle.CONTACT, one.reply, one.reason, "FDN", ban_id=one.ban_id, words=one.words)
    free = _free_at(attempt, limits, now)
    if free is not None:
        reply = "SENDLIMIT_LATER" if free - now <= _HOUR else "SENDLIMIT"
        yield Refusal(Hurdle.LIMITS, reply, Reason.SENDING_LIMIT, "RSL")


def doubtful(evidence: Evidence, owner: Owner) -> Refusal | None:
    """Test b for an owner: why it is not sure that the owner wrote it, None if it is."""
    return unproved(evidence, owner) or _other_envelope(evidence, owner)


def _other_envelope(evidence: Evidence, owner: Owner) -> Refusal | None:
    """DMARC proves a domain; an owner that shares it with others may ask for more."""
    if not owner.mailbox.require_envelope_match or owner.by_login:
        return None
    author = evidence.author
    if author is not None and author.folded == folded_mailbox(evidence.sender):
        return None
    return _not_authenticated("envelope=mismatch", evidence, owner)


def _closed(attempt: Attempt, creation: DefaultLimits) -> tuple[str, Reason] | None:
    """Test e: key and reason of the states of spec section 1.10 in which owners cannot write either."""
    account, alias, parent = attempt.facts.account, attempt.facts.alias, attempt.facts.parent
    if alias is not None and alias.state in ("deleted", "forgotten"):
        return "UNKNOWN", Reason.ALIAS_DELETED
    if account is None:
        return "UNKNOWN", Reason.UNKNOWN
    if parent is not None and parent.off:
        return "UNKNOWN", Reason.HANDLE_OFF
    if account.state == "suspended":
        return "SUSPENDED", Reason.SUSPENDED
    if account.state == "deleting":
        return "UNKNOWN", Reason.ACCOUNT_DELETING
    if attempt.question.custom_domain and parent is None:
        return "UNKNOWN", Reason.DOMAIN_UNVERIFIED
    if attempt.sending.sends_suspended:
        return "SENDOFF", Reason.SENDING_SUSPENDED
    return _not_creatable(attempt, creation) if alias is None else None


def _not_creatable(attempt: Attempt, limits: DefaultLimits) -> tuple[str, Reason] | None:
    """Spec section 4.11: below their own parents, owners may create any alias, so catch-all does not matter."""
    account, parent, usage = attempt.facts.account, attempt.facts.parent, attempt.facts.usage
    if account is None or parent is None:
        return "UNKNOWN", Reason.UNKNOWN
    if not parent.active:
        return "UNKNOWN", Reason.PARENT_INACTIVE
    if not is_creatable(attempt.question.base):
        return "UNKNOWN", Reason.NAME_NOT_CREATABLE
    own = account.new_aliases_per_hour
    allowed = limits.new_aliases_per_hour if own is None else own
    by_network = limits.new_aliases_per_hour_and_network
    if (allowed and usage.new_aliases >= allowed) or (by_network and usage.new_aliases_by_network >= by_network):
        return "NEWALIAS", Reason.NEW_ALIAS_LIMIT
    return None


def _free_at(attempt: Attempt, limits: SendingLimits, now: datetime) -> datetime | None:
    """When every limit that is reached lets one more message through, None if none is reached."""
    spent = attempt.sending.spent
    together = attempt.together
    moments = [
        _room_at(spent.sends, limits.per_day, _DAY, now, together),
        _room_at(spent.sends, limits.per_hour, _HOUR, now, together),
    ]
    is_send = attempt.owner.kind is EmailType.SEND and not attempt.evidence.automatic
    if is_send and not attempt.sending.contact_known:
        moments.append(_room_at(spent.new_contacts, limits.new_contacts_per_day, _DAY, now, together))
    return max((moment for moment in moments if moment is not None), default=None)


def _room_at(amounts: Sequence[Amount], limit: int, window: timedelta, now: datetime, wanted: int) -> datetime | None:
    """When `wanted` more fit under the limit within the window; None if so now, or if there is no limit.

    amounts: oldest first. What never fits fits at the end of a window: later, and in more than one message.
    """
    counted = [amount for amount in amounts if now - window < amount.at]
    left = sum(amount.count for amount in counted)
    if not limit or left + wanted <= limit:
        return None
    for amount in counted:
        left -= amount.count
        if left + wanted <= limit:
            return amount.at + window
    return now + window
