"""Which rules of a book match, and what they do together (spec sections 5.2, 5.4, 5.5)."""

from dataclasses import dataclass, replace

from mailrelay.core.rules.conditions import CONDITIONS
from mailrelay.core.rules.matching import text
from mailrelay.core.rules.model import NO_EFFECTS, Book, Effects, Flow, Rule, RuleId, Tested, Texts


@dataclass(frozen=True, slots=True)
class Tried:
    """What one rule says to a message, for people. holds: of its conditions, in their order."""

    rule: Rule
    matches: bool
    holds: tuple[bool, ...]


def evaluate(book: Book, flow: Flow, tested: Tested) -> Effects:
    """The effects of all rules for this flow that match, in rule order: later ones override, there is no stop."""
    if not book.rules:
        return NO_EFFECTS
    texts = _texts(tested)
    effects, matched = NO_EFFECTS, list[RuleId]()
    for rule in book.rules:
        if flow in rule.flows and _matches(rule, texts):
            matched.append(rule.id)
            for action in rule.actions:
                if flow in action.flows:
                    effects = action.act(effects, rule.name)
    return replace(effects, matched=tuple(matched)) if matched else NO_EFFECTS


def tried(book: Book, flow: Flow, tested: Tested) -> tuple[Tried, ...]:
    """What every rule for this flow says, also those that do not match: all their conditions are asked (spec 5.8)."""
    texts = _texts(tested)
    return tuple(
        Tried(rule, _matches(rule, texts), tuple(condition.holds(texts) for condition in rule.conditions))
        for rule in book.rules
        if flow in rule.flows
    )


def _texts(tested: Tested) -> Texts:
    return {name: text(kind.text(tested)) for name, kind in CONDITIONS.items()}


def _matches(rule: Rule, texts: Texts) -> bool:
    for condition in rule.conditions:
        if condition.holds(texts) is not rule.every:
            return not rule.every
    return rule.every
