"""Which rules of a book match, and what they do together (spec sections 5.2, 5.4, 5.5)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from mailrelay.core.rules.conditions import CONDITIONS
from mailrelay.core.rules.matching import text
from mailrelay.core.rules.model import NO_EFFECTS, Book, Effects, Flow, Rule, RuleId, Tested, Texts

# Whether something holds; None: that depends on what is not known.
Truth = bool | None


@dataclass(frozen=True, slots=True)
class Tried:
    """What one rule says to a message, for people. holds: of its conditions, in their order."""

    rule: Rule
    matches: Truth
    holds: tuple[Truth, ...]


def evaluate(book: Book, flow: Flow, tested: Tested) -> Effects:
    """The effects of all rules for this flow that match, in rule order: later ones override, there is no stop."""
    if not book.rules:
        return NO_EFFECTS
    texts = _texts(tested)
    effects, matched = NO_EFFECTS, list[RuleId]()
    for rule in book.rules:
        if flow in rule.flows and _matches(rule, texts):
            matched.append(rule.id)
            effects = done_by(rule, flow, effects)
    return replace(effects, matched=tuple(matched)) if matched else NO_EFFECTS


def done_by(rule: Rule, flow: Flow, effects: Effects = NO_EFFECTS) -> Effects:
    """What a rule that matches makes of the effects of those before it."""
    for action in rule.actions:
        if flow in action.flows:
            effects = action.act(effects, rule.name)
    return effects


def tried(book: Book, flow: Flow, tested: Tested, unknown: Collection[str] = ()) -> tuple[Tried, ...]:
    """What every rule for this flow says, also those that do not match: all their conditions are asked (spec 5.8).

    unknown: types of conditions about which `tested` knows nothing.
    """
    texts = _texts(tested)
    return tuple(_tried(rule, texts, unknown) for rule in book.rules if flow in rule.flows)


def try_rule(rule: Rule, tested: Tested, unknown: Collection[str] = ()) -> Tried:
    """The same of one rule, whatever mail it is for."""
    return _tried(rule, _texts(tested), unknown)


def _tried(rule: Rule, texts: Texts, unknown: Collection[str]) -> Tried:
    holds = tuple(None if one.type in unknown else one.holds(texts) for one in rule.conditions)
    return Tried(rule, _together(rule.every, holds), holds)


def _together(every: bool, holds: Sequence[Truth]) -> Truth:
    """AND or OR of what holds; one that is known may decide, whatever the others."""
    if (not every) in holds:
        return not every
    return None if None in holds else every


def _texts(tested: Tested) -> Texts:
    return {name: text(kind.text(tested)) for name, kind in CONDITIONS.items()}


def _matches(rule: Rule, texts: Texts) -> bool:
    for condition in rule.conditions:
        if condition.holds(texts) is not rule.every:
            return not rule.every
    return rule.every
