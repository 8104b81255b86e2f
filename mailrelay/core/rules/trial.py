"""A rule tried out on a message, and on past mail of which only the ledger knows (spec section 5.8)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from mailrelay.core.address import (
    Address,
    BadAddress,
    Reverse,
    classify,
    is_opaque_reverse,
    parse_address,
    split_extension,
)
from mailrelay.core.rules import telling
from mailrelay.core.rules.evaluate import Truth, done_by, try_rule
from mailrelay.core.rules.model import ALL_FLOWS, Flow, Rule, Tested

# What the ledger does not know of a message, and where it knows something near: senders of envelopes, who need not be
# the authors, and descriptions as they are today.
UNKNOWN_OF_PAST = frozenset({"subject"})
NEAR_OF_PAST = frozenset({"sender", "alias_description"})

MAX_EXAMPLES = 10
_REPLIES_AND_SENDS: frozenset[Flow] = frozenset(("R", "S"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What one condition says. condition: in words; holds: None if that is not known."""

    condition: str
    holds: Truth


@dataclass(frozen=True, slots=True)
class Trial:
    """What a rule says to one message.

    flow: as what it was asked about the message. matches: None if that depends on what is not known; effects: what the
    rule does if it matches, in words; faults: what of it cannot be understood.
    """

    rule: str
    flow: Flow
    matches: Truth
    conditions: tuple[Answer, ...]
    effects: tuple[str, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """A message for an alias, as the ledger has it.

    sender: of the envelope, '' for the null sender; alias: without extension; alias_description: as of today. flow:
    None for a reply or send of which it is not known which. outcome: what became of it.
    """

    at: datetime
    sender: str
    alias: str
    alias_description: str
    flow: Flow | None
    outcome: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What a rule would have said to past mail.

    messages: for which the rule is; complete: none since then was left out. matching; undecided: how many it matches,
    and of how many that depends on what is not known. unknown, near: types of its conditions that were not asked, and
    that were asked about something near. The latest examples of both, latest first.
    """

    rule: str
    since: datetime
    messages: int
    complete: bool
    matching: int
    undecided: int
    unknown: tuple[str, ...]
    near: tuple[str, ...]
    faults: tuple[str, ...]
    examples: tuple[Past, ...]
    undecided_examples: tuple[Past, ...]


def main_flow(rule: Rule) -> Flow:
    """As what a message is asked about: as forwarded mail, if the rule is for that."""
    flows: tuple[Flow, ...] = ("F", "R", "S")
    return next((flow for flow in flows if flow in rule.flows), "F")


def trial(rule: Rule, tested: Tested, unknown: Collection[str] = ()) -> Trial:
    """What a rule says to a message. unknown: types of conditions about which `tested` knows nothing."""
    found, flow = try_rule(rule, tested, unknown), main_flow(rule)
    answers = zip(rule.conditions, found.holds, strict=True)
    return Trial(
        rule.name,
        flow,
        found.matches,
        tuple(Answer(telling.condition(condition), holds) for condition, holds in answers),
        tuple(telling.done(done_by(rule, flow))),
        rule.faults,
    )


def replay(rule: Rule, mail: Iterable[Past], since: datetime, *, complete: bool) -> Replay:
    """What a rule would have said. mail: the latest first."""
    messages = 0
    matching: list[Past] = []
    undecided: list[Past] = []
    known: dict[tuple[str, str, str], Truth] = {}
    for one in mail:
        is_for = _is_for(rule, one.flow)
        if is_for is False:
            continue
        messages += 1
        about = one.sender, one.alias, one.alias_description
        if about not in known:
            tested = Tested(one.sender, "", one.alias, one.alias_description)
            known[about] = try_rule(rule, tested, UNKNOWN_OF_PAST).matches
        if known[about] and is_for:
            matching.append(one)
        elif known[about] is not False:
            undecided.append(one)
    types = {condition.type for condition in rule.conditions}
    return Replay(
        rule.name,
        since,
        messages,
        complete,
        len(matching),
        len(undecided),
        tuple(sorted(types & UNKNOWN_OF_PAST)),
        tuple(sorted(types & NEAR_OF_PAST)),
        rule.faults,
        tuple(matching[:MAX_EXAMPLES]),
        tuple(undecided[:MAX_EXAMPLES]),
    )


def _is_for(rule: Rule, flow: Flow | None) -> Truth:
    if flow is not None:
        return flow in rule.flows
    meant = rule.flows & _REPLIES_AND_SENDS
    return None if len(meant) == 1 else bool(meant)


def past(
    at: datetime,
    sender: str,
    rcpt: str,
    outcome: str,
    alias: str | None,
    description: str | None,
    type_: str | None,
    is_own: bool,
) -> Past | None:
    """A message out of the ledger; None for what no rule is asked about.

    rcpt: as received. alias: if it is there still. type_: of the copy, if that is recorded still. is_own: a recipient
    of the account sent it.
    """
    try:
        address = parse_address(rcpt)
    except BadAddress:
        return None
    base, extension = split_extension(address.local)
    is_opaque = is_opaque_reverse(base)
    if alias is None and is_opaque:
        return None
    flow: Flow | None = "F"
    if type_ is not None:
        flow = next((known for known in ALL_FLOWS if known == type_), None)
        if flow is None:
            return None
    elif is_own and (is_opaque or (extension is not None and isinstance(classify(extension), Reverse))):
        flow = None
    return Past(at, sender, alias or str(Address(base, address.domain)), description or "", flow, outcome)
