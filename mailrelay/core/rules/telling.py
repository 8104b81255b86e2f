"""What rules say to a message, in words."""

from collections.abc import Iterator, Sequence

from mailrelay.core.explained import Step
from mailrelay.core.rules import words
from mailrelay.core.rules.evaluate import Tried, Truth, done_by
from mailrelay.core.rules.model import Book, Condition, Effects, Flow

MAX_CONDITION_CHARACTERS = 300  # a condition has up to 50 values of 998 characters

_HOLDS = {True: "holds", False: "does not hold", None: "not known"}
_DONE = (
    ("subject", "subject"),
    ("display_from", "name"),
    ("banner", "banner"),
    ("remove_attachments", "attachments"),
    ("no_encryption", "encryption"),
    ("forward_to", "recipients"),
)


def condition(one: Condition) -> str:
    """A condition, cut if it is very long."""
    stored = {"type": one.type, "match": one.match, "values": list(one.values)}
    text = words.conditions_in_words([stored], "AND")
    return text if len(text) <= MAX_CONDITION_CHARACTERS else f"{text[:MAX_CONDITION_CHARACTERS]}…"


def holds(truth: Truth) -> str:
    """Whether a condition does."""
    return _HOLDS[truth]


def done(effects: Effects) -> list[str]:
    """What is done to a message, for people; where it is blocked or quarantined, that alone matters."""
    if effects.block is not None:
        return ["the message is blocked"]
    if effects.quarantine is not None:
        return ["the message is quarantined"]
    found = []
    if effects.subject is not None:
        found.append(f"the subject becomes {effects.subject!r}")
    if effects.display_from is not None:
        found.append(f"the author's name becomes {effects.display_from!r}")
    if effects.banner is not None:
        found.append(f"the banner is {'left out' if effects.banner == 'off' else f'at the {effects.banner}'}")
    if effects.remove_attachments:
        found.append("attachments are removed")
    if effects.no_encryption:
        found.append("copies are not encrypted")
    if effects.forward_to:
        found.append(f"copies go to {', '.join(map(str, effects.forward_to))}, as far as they are verified")
    return found


def asked(book: Book, flow: Flow, tried: Sequence[Tried]) -> Iterator[Step]:
    """Every rule that was asked, its conditions, and which decided; the last only as far as everything is known."""
    understood = {rule.id for rule in book.rules}
    for broken in book.broken:
        verb = "understood in part" if broken.id in understood else "skipped"
        yield f"rule {broken.id}", f"{broken.name!r} is {verb}: {broken.reason}"
    for one in tried:
        rule = one.rule
        yield f"rule {rule.id}", f"{rule.name!r} {_verdict(one, flow)}"
        for number, (asks, truth) in enumerate(zip(rule.conditions, one.holds, strict=True), 1):
            yield f"condition {rule.id}.{number}", f"{holds(truth)}: {condition(asks)}"
    decided = _decided(flow, tried)
    if decided:
        yield "rules", decided


def _verdict(one: Tried, flow: Flow) -> str:
    if one.matches is False:
        return "does not match"
    says = "; ".join(done(done_by(one.rule, flow))) or "nothing is to be done"
    return f"matches: {says}" if one.matches else f"may match, that depends on what is not known: {says}"


def _decided(flow: Flow, tried: Sequence[Tried]) -> str:
    """Which rule decides what; '' where that depends on what is not known, or no rule was asked."""
    matching = [(one.rule, done_by(one.rule, flow)) for one in tried if one.matches]
    for name, verb in (("block", "blocks"), ("quarantine", "quarantines")):
        deciding = next((rule for rule, own in matching if getattr(own, name) is not None), None)
        if deciding is not None:
            return f"rule {deciding.id} {verb} it, whatever the others do"
        if any(one.matches is None for one in tried):
            return ""
    found = []
    for name, called in _DONE:
        by = [rule.id for rule, own in matching if getattr(own, name)]
        # Recipients add up; of all else the last word counts.
        deciders = by if name == "forward_to" else by[-1:]
        if deciders:
            found.append(f"{called} by rule {', '.join(map(str, deciders))}")
    if matching:
        return "; ".join(found) or "nothing is to be done"
    return "none matches" if tried else ""
