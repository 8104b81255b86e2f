"""What explain says: the words for what the checks found."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from mailrelay.core.address import Address, classify, split_extension
from mailrelay.core.facts import Facts, ForwardMode
from mailrelay.core.findings import Dkim, Findings
from mailrelay.core.headerdiff import Line
from mailrelay.core.ledger import Mode
from mailrelay.core.mode import Choice, Evidence, Why, configured
from mailrelay.core.realm import Custom, Nested, Place, ServiceDomain, Shared, Subdomain
from mailrelay.core.sending.authorise import Allowed
from mailrelay.core.verp import EmailType

Step = tuple[str, str]  # what was looked at, what was found


@dataclass(frozen=True, slots=True)
class ExplainedCopy:
    """One copy that would be made.

    sender: its return path, '' for the null sender; reasons: why it does not stay as it is, the deciding one first;
    header: compared with that of the message; body: what became of the rest, in words.
    """

    destination: str
    sender: str
    mode: Mode
    reasons: tuple[str, ...]
    header: tuple[Line, ...]
    body: str


@dataclass(frozen=True, slots=True)
class Explained:
    """The checks in their order, and the copies; none without a message."""

    steps: tuple[Step, ...]
    copies: tuple[ExplainedCopy, ...] = ()


def place_text(place: Place | None) -> str:
    """Whose a domain is."""
    match place:
        case None:
            return "not served here"
        case Shared(domain):
            return f"{domain}, shared"
        case Subdomain(label, shared):
            return f"{shared}, shared, below username {label}"
        case Nested(shared):
            return f"more than one label below {shared}: nobody lives there"
        case Custom(domain):
            return f"{domain}, an account's own"
        case ServiceDomain(domain):
            return f"{domain}, the service's own"


def address_text(rcpt: Address) -> str:
    """The parts of an address."""
    base, extension = split_extension(rcpt.local)
    if not extension:
        return f"{base}@{rcpt.domain}"
    return f"{base}@{rcpt.domain}, extension {type(classify(extension)).__name__} {extension}"


def facts_steps(facts: Facts) -> list[Step]:
    """What the database knows about an address."""
    alias, parent, account = facts.alias, facts.parent, facts.account
    steps = [("alias", f"{alias.state}, {alias.uuid}" if alias is not None else "none")]
    if parent is not None:
        state = "off" if parent.off else "active" if parent.active else "inactive"
        creates = "catch-all" if parent.catch_all else parent.auto_create_regex or "creates nothing"
        steps.append(("parent", f"{parent.kind.value}, {state}, {creates}"))
    if account is not None:
        steps.append(("account", f"{account.id}, {account.state}"))
        steps.append(("used", f"{facts.usage.messages} messages this hour, {facts.usage.octets} octets this month"))
    if facts.blocked_by is not None:
        steps.append(("block list", f"entry {facts.blocked_by} matches the sender"))
    return steps


def setting_step(facts: Facts, default: ForwardMode) -> Step:
    """Which mode is set, and where."""
    parent = facts.parent.kind.value if facts.parent is not None else ""
    owners = (("alias", facts.alias), (parent, facts.parent), ("account", facts.account))
    where = next((name for name, owner in owners if owner is not None and owner.forward_mode), None)
    return "mode set", f"{configured(facts, default)}, {f'by the {where}' if where else 'by default'}"


def findings_steps(findings: Findings) -> list[Step]:
    """What authentication found out."""
    spf, dmarc, arc = findings.spf, findings.dmarc, findings.arc
    steps = [
        ("SPF", f"{spf.result}{f', {spf.identity} {spf.domain}' if spf.domain else ''}"),
        *(("DKIM", _dkim_text(one)) for one in findings.dkim),
    ]
    if not findings.dkim:
        steps.append(("DKIM", "no signature"))
    published = f", {dmarc.domain} publishes p={dmarc.published}" if dmarc.has_record else ", nothing is published"
    aligned = [name for name, holds in (("DKIM", dmarc.dkim_aligned), ("SPF", dmarc.spf_aligned)) if holds]
    proof = f", by {' and '.join(aligned)}" if aligned else ""
    steps.append(("DMARC", f"{dmarc.result}{published}{proof}"))
    if arc.result == "none":
        return [*steps, ("ARC", "no chain")]
    sealers = ", ".join(one.domain for one in arc.sealers)
    details = [f"{arc.highest} sets", f"sealed by {sealers}" if sealers else "", arc.reason]
    return [*steps, ("ARC", ", ".join([arc.result, *filter(None, details)]))]


def _dkim_text(one: Dkim) -> str:
    details = [
        f"d={one.domain}" if one.domain else "",
        f"s={one.selector}" if one.selector else "",
        one.algorithm,
        "aligned" if one.aligned else "not aligned",
        "with l=" if one.has_length else "",
        one.reason,
    ]
    return ", ".join([one.result, *filter(None, details)])


def errand_text(allowed: Allowed) -> str:
    """What a message from an alias is."""
    kind = "a reply" if allowed.kind is EmailType.REPLY else "a message that begins something new"
    return f"{kind} of {allowed.mailbox.address}"


def reason_texts(choice: Choice, evidence: Evidence | None) -> Iterator[str]:
    """Every reason for a mode, the deciding one first. evidence: None where it was not asked for."""
    for why in choice.reasons:
        yield _reason(why, evidence)


def _reason(why: Why, evidence: Evidence | None) -> str:
    match why:
        case Why.SETTING:
            return "rewrite is set"
        case Why.CHANGES:
            wanted = [] if evidence is None else _wanted(evidence)
            return f"the copy is to be changed: {', '.join(wanted)}"
        case Why.REPLIES:
            return "replies are to go through the alias"
        case Why.DMARC:
            return "the author's DMARC policy would refuse an untouched copy, or nothing proves the author"
        case Why.LONG_LINES:
            return "lines are too long for the signature to survive"
        case Why.HEADER:
            return "the header lacks a field, or has one twice"
        case Why.RECEIVER:
            return "the receiver refused untouched copies before"
        case Why.RETURNED:
            return "it is resent out of what a report returned"
        case Why.ENCRYPTION:
            return "its recipient wants it encrypted"
        case Why.ANSWER:
            return "it answers a return path, which is not to be seen"
        case Why.SMTPUTF8:
            return "the receiver takes no SMTPUTF8"
    assert_never(why)


def _wanted(evidence: Evidence) -> Sequence[str]:
    changes = evidence.changes
    return [one.name.replace("_", " ") for one in dataclasses.fields(changes) if getattr(changes, one.name)]
