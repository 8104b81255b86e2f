"""The decision at end of message, while the sender is still connected: spec section 2.3, recipient by recipient.

Rows 1 to 12 and 14. Rows 13 and 13a (reverse addresses) are in core/sending; what they say comes as Rcpt.refusal.

The LMTP role can put the same question once more with what the ingress header says: there a refusal becomes 250 and a
record (I4), and Pass.act tells what the account wants done with mail that it accepts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from mailrelay.core import loop
from mailrelay.core.address import Address
from mailrelay.core.bans import BanId
from mailrelay.core.facts import Alias, BlockedSenderId, Reason
from mailrelay.core.findings import Findings
from mailrelay.core.judge import Deny, Verdict
from mailrelay.core.receive import MAX_HOPS
from mailrelay.core.reply import Replies, Reply
from mailrelay.core.spam import SpamVerdict

Act = Literal["none", "tag", "quarantine"]
Kind = Literal["person", "operator", "return_path"]

_NOTHING_FOUND = Findings()


@dataclass(frozen=True, slots=True)
class Content:
    """What holds for every recipient of a message.

    hops: Received fields, Postfix' own included, as delivery will count them. has_stray_newline: a bare CR or LF.
    has_long_header: it has more fields than anybody looks at.
    from_problem: the From field does not name one author's domain, and it is no delivery report without one.
    loop_marks: the values of all loop headers. exempt: from a login, this host or an own network, where nobody has
    signed yet and DMARC says nothing. arc_override: a trusted chain vouches for it (spec section 11.3).
    """

    hops: int
    size_octets: int
    has_stray_newline: bool
    from_problem: bool
    loop_marks: Sequence[bytes]
    findings: Findings = _NOTHING_FOUND
    exempt: bool = False
    arc_override: bool = False
    spam: SpamVerdict = "none"
    has_long_header: bool = False

    @property
    def dmarc_fails(self) -> bool:
        """True if DMARC failed and nothing excuses it. A temporary error is no failure (spec section 11.1)."""
        return self.findings.dmarc.result == "fail" and not self.exempt and not self.arc_override


@dataclass(frozen=True, slots=True)
class Preferences:
    """What an account wants done with mail that fails checks. stores_failed: it keeps failed deliveries."""

    dmarc_reject_action: Literal["reject", "quarantine"] = "reject"
    stores_failed: bool = True


DEFAULT_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True)
class Refuse:
    """No, or not now. reason: None where the reason is trouble of our own."""

    reply: Reply
    reason: Reason | None
    blocked_by: BlockedSenderId | None = None
    ban_id: BanId | None = None


@dataclass(frozen=True, slots=True)
class Rcpt:
    """One accepted recipient of ours.

    kind: return_path is a VERP or SRS address, which must get its bounces whatever they look like.
    refusal: what the checks of RCPT time say against it, or a ban on the author (spec section 2.7).
    verdict: of the facts about an address of people; None if there are none, or the database did not answer.
    alias: whose loop marks count, and whose allow-list.
    preferences: None if the database did not tell; the operator has the default ones.
    rule_blocks: a rule does, and the owner wants senders to hear of it.
    """

    kind: Kind
    refusal: Refuse | None = None
    verdict: Verdict | None = None
    alias: Alias | None = None
    preferences: Preferences | None = DEFAULT_PREFERENCES
    rule_blocks: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """Delivery decides. act: what the account wants done with it then."""

    act: Act = "none"


Fate = Pass | Refuse

_NOBODY = UUID(int=0)


def decide(
    content: Content,
    rcpt: Rcpt,
    author: Address | None,
    sender: str,
    loop_keys: Sequence[bytes],
    limit_octets: int,
    replies: Replies,
) -> Fate:
    """The first row of spec section 2.3 that applies to one recipient.

    author: of the From field; sender: of the envelope, '' for the null sender; limit_octets: of one message.
    Size and line ends go before the loop header: delivery refuses those for good, which would make Postfix bounce.
    """
    structural = refuse_structure(content, limit_octets, replies)
    if structural is not None:
        return structural
    uuid = rcpt.alias.uuid if rcpt.alias is not None else _NOBODY
    if rcpt.kind == "return_path" or loop.is_loop(content.loop_marks, uuid, loop_keys):
        return Pass()
    objection = _content_objection(content, rcpt.preferences, replies)
    if objection is None and rcpt.kind == "person":
        objection = _alias_objection(rcpt, author, sender, replies)
    wanted = act(content, rcpt.preferences or DEFAULT_PREFERENCES)
    if objection is None and rcpt.rule_blocks and wanted != "quarantine":  # which comes before rules (section 5.2)
        objection = Refuse(replies["UNKNOWN"], Reason.RULE)
    return objection or Pass(wanted)


def refuse_structure(content: Content, limit_octets: int, replies: Replies) -> Refuse | None:
    """Rows 1, 3 and 4: what no recipient can have, and what needs no DNS and no database to be seen."""
    if content.hops > MAX_HOPS:
        return Refuse(replies["LOOP"], Reason.HOPS)
    if content.size_octets > limit_octets:
        return Refuse(replies.too_large(limit_octets), Reason.TOO_LARGE)
    if content.has_stray_newline:
        return Refuse(replies["BARE"], Reason.BARE_NEWLINE)
    if content.has_long_header:
        return Refuse(replies["HEADER"], Reason.TOO_LARGE)
    return None


def _content_objection(content: Content, preferences: Preferences | None, replies: Replies) -> Refuse | None:
    """Rows 5 to 10."""
    if content.from_problem:
        return Refuse(replies["BADFROM"], Reason.BAD_FROM)
    dmarc = content.findings.dmarc
    if content.dmarc_fails and dmarc.policy == "reject":
        if preferences is None:
            return Refuse(replies["TEMP"], None)  # later we shall know
        # Who does not keep failed deliveries has no quarantine either.
        if preferences.dmarc_reject_action == "reject" or not preferences.stores_failed:
            return Refuse(replies.dmarc(dmarc.domain), Reason.DMARC)
    if content.spam == "reject":
        return Refuse(replies["SPAM"], Reason.SPAM)
    return None


def _alias_objection(rcpt: Rcpt, author: Address | None, sender: str, replies: Replies) -> Refuse | None:
    """Rows 11 and 12, and whatever has changed since RCPT. The block list is part of the verdict."""
    if rcpt.refusal is not None:
        return rcpt.refusal
    if isinstance(rcpt.verdict, Deny):
        denied = rcpt.verdict
        return Refuse(replies[denied.reply], denied.reason, denied.blocked_by, denied.ban_id)
    if rcpt.alias is not None and not is_allowed(rcpt.alias, author, sender):
        return Refuse(replies["UNKNOWN"], Reason.NOT_ALLOWED)
    return None


def is_allowed(alias: Alias, author: Address | None, sender: str) -> bool:
    """True if the alias' allow-list lets the author in, or the sender where there is no author.

    Entries are addresses, and domains with their subdomains.
    """
    if alias.sender_allow_list is None:
        return True
    speaker = author.folded if author is not None else sender.lower()
    domain = speaker.rpartition("@")[2]
    return any(speaker == entry or domain == entry or domain.endswith(f".{entry}") for entry in alias.sender_allow_list)


def act(content: Content, preferences: Preferences) -> Act:
    """What to do with a message that is accepted: rows 6 to 8 and 10, for one account.

    The ingress header tells this for an account with default preferences: a message has one header and many
    recipients. Delivery asks again for each account.
    """
    if content.dmarc_fails and content.findings.dmarc.policy != "none":
        return "quarantine" if preferences.stores_failed else "tag"
    if content.spam == "reject":
        return "quarantine" if preferences.stores_failed else "tag"
    return "tag" if content.dmarc_fails or content.spam == "tag" else "none"


def needs_preferences(content: Content) -> bool:
    """True if it matters what the accounts want: most mail fails nothing, and nobody need be asked."""
    return content.dmarc_fails and content.findings.dmarc.policy == "reject"


def unanimous(fates: Sequence[Refuse | Pass]) -> Reply | None:
    """The reply for the whole message, None if somebody takes it (spec section 2.1).

    The code is that of the first recipient, unless another one may take it later: then the sender shall come again,
    and hear then what remains.
    """
    refusals = [fate for fate in fates if isinstance(fate, Refuse)]
    if not refusals or len(refusals) < len(fates):
        return None
    return next((one.reply for one in refusals if one.reply.temporary), refusals[0].reply)
