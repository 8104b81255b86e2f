"""The stored form of rules: read leniently, checked strictly before it is stored."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.rules import model
from mailrelay.core.rules.evaluate import evaluate
from mailrelay.core.rules.model import Broken, Rule
from mailrelay.core.rules.stored import Problem, book, normal, problems, read
from tests.unit.ruled import EVERYTHING, R1, R2, SHOP, action, condition, only, row, understood

SUBJECT = action("subject", "x")


def found(conditions: object = (EVERYTHING,), actions: object = (SUBJECT,)) -> list[str]:
    """Path and kind of each problem."""
    asked = row(conditions, actions)
    return [f"{problem.path} {problem.kind}" for problem in problems(asked.conditions, asked.actions, {R1})]


def values(match: object, *texts: object) -> dict[str, object]:
    return {"type": "subject", "match": match, "values": list(texts)}


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (row(operator="XOR"), "unknown operator 'XOR'"),
        (row(conditions=None), "its conditions or actions are no list"),
        (row(actions={"type": "block"}), "its conditions or actions are no list"),
        (row(conditions=()), "it has no conditions"),
        (row(("sender",)), "condition 1: unknown type None"),
        (row((condition("weather", "is exactly", "x"),)), "condition 1: unknown type 'weather'"),
        (row((EVERYTHING, condition("subject", "sounds like", "x"))), "condition 2: unknown match 'sounds like'"),
        (row((values(["is"], "x"),)), "condition 1: unknown match ['is']"),
        (row((values("is not"),)), "condition 1: its values are no list of texts"),
        (row((values("is not", 5),)), "condition 1: its values are no list of texts"),
        (row(({"type": "sender", "values": "x"},)), "condition 1: its values are no list of texts"),
        (row((values("matches regex", "(a"),)), "condition 1: bad pattern: missing )"),
        (row((values("does not match regex", "(?=a)"),)), "condition 1: bad pattern: invalid perl operator: (?="),
        (row((values("matches regex", "a" * 201),)), "condition 1: bad pattern: a pattern has at most 200 characters"),
    ],
)
def test_a_rule_that_can_never_match_is_broken_and_the_others_go_on(stored: model.StoredRule, reason: str) -> None:
    broken = Broken(stored.id, stored.name, reason)
    assert read(stored) == broken
    made = book([stored, row(number=2), row(actions=(SUBJECT,), number=3)])
    assert made.broken == (broken,)
    assert evaluate(made, "F", SHOP).matched == (2, 3)


def test_of_alternatives_those_that_are_understood_count() -> None:
    """Spec section 5.4: a pattern that does not compile makes its condition false, whichever way it was meant."""
    bad = values("does not match regex", "(")
    good = condition("subject", "contains", "Test")
    made = book([row((bad, good), operator="OR"), row((bad, bad), operator="OR", number=2)])
    assert [rule.id for rule in made.rules] == [1]
    assert [(broken.id, broken.reason) for broken in made.broken] == [
        (1, "condition 1: bad pattern: missing )"),
        (2, "condition 1: bad pattern: missing )"),
    ]
    assert evaluate(made, "F", SHOP).matched == (1,)


def test_an_action_that_is_not_understood_does_nothing() -> None:
    made = book([row(actions=(action("sing", "la"), SUBJECT, "x"))])
    (broken,) = made.broken
    assert broken.reason == "action 1: unknown type 'sing'; action 3: unknown type None"
    assert evaluate(made, "F", SHOP).subject == "x"


@pytest.mark.parametrize(
    "one",
    [
        action("webhook", "https://hook.example/"),
        *(action("subject", ""), action("subject", 5), action("displayFrom", None), {"type": "banner"}),
        *(action("banner", "aside"), action("banner", ["top"]), action("encryption", True), action("forwardTo", "x")),
        action("forwardTo", R1.hex),
    ],
)
def test_values_without_a_meaning_do_nothing(one: dict[str, object]) -> None:
    assert evaluate(understood(row(actions=(one,))), "F", SHOP) == model.Effects(matched=(model.RuleId(1),))


def test_null_is_the_empty_text() -> None:
    """Programs that turn empty texts into null store it so."""
    stored = row(({"type": "alias_description", "match": "is exactly", "values": [None]},))
    empty = model.Tested("a@b.example", "", "a1@alias.example", "")
    assert evaluate(understood(stored), "F", empty).matched and not evaluate(understood(stored), "F", SHOP).matched


def test_without_a_match_it_is_exactly() -> None:
    (one,) = only(row(({"type": "subject", "values": ["Test Email"]},))).conditions
    assert (one.type, one.match, one.values) == ("subject", "is exactly", ("Test Email",))


def test_patterns_have_room_together() -> None:
    """What a search may cost is bounded for all rules of an account; later rules give way."""
    large = values("matches regex", *(f"x{{900}}{number}" for number in range(10)))
    made = book([row((large,), number=1), row((large,), number=2), row((large,), number=3), row(number=4)])
    assert [rule.id for rule in made.rules] == [1, 2, 4]
    assert made.rules[0].instructions > 9000 and made.rules[2].instructions == 0
    assert [broken.id for broken in made.broken] == [3]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["sender", "subject", "block", "banner", "forwardTo", "encryption", "x"]) | JSON
MATCHES = st.sampled_from(["is", "is not", "contains", "matches regex", "x"]) | JSON
VALUES = st.lists(st.text(max_size=5) | JSON, max_size=4) | JSON
MEMBERS = st.fixed_dictionaries({}, optional={"type": TYPES, "match": MATCHES, "values": VALUES, "value": JSON})


@given(st.lists(MEMBERS | JSON, max_size=6) | JSON, st.lists(MEMBERS | JSON, max_size=6) | JSON)
def test_whatever_is_stored_is_read_and_whatever_has_no_problems_is_understood(conditions: Any, actions: Any) -> None:
    for operator in ("AND", "OR"):
        assert isinstance(read(row(conditions, actions, operator)), Rule | Broken)
    if not problems(conditions, actions, {R1}):
        kept = row(*normal(conditions, actions))
        assert normal(kept.conditions, kept.actions) == (kept.conditions, kept.actions)
        assert only(kept).faults == ()


def test_a_good_rule_has_no_problems() -> None:
    conditions = [
        {"type": "sender", "match": "is", "values": ["a@b.example", "c@d.example"], "id": 1},
        {"type": "alias_description", "values": [""]},
        {"type": "subject", "match": "does not match regex", "values": ["a/b", "x" * 200, r"(?i)^\pL+$"]},
    ]
    actions = [
        {"type": "subject", "value": "é" * 50, "extra": None},
        {"type": "encryption", "value": False},
        {"type": "banner", "value": "bottom"},
        {"type": "forwardTo", "value": str(R1).upper()},
        {"type": "forwardTo", "value": str(R2)},
    ]
    assert problems(conditions, actions, {R1, R2}) == ()
    assert normal(conditions, actions) == (
        [
            {"type": "sender", "match": "is exactly", "values": ["a@b.example", "c@d.example"]},
            {"type": "alias_description", "match": "is exactly", "values": [""]},
            {"type": "subject", "match": "does not match regex", "values": ["a/b", "x" * 200, r"(?i)^\pL+$"]},
        ],
        [
            {"type": "subject", "value": "é" * 50},
            {"type": "encryption", "value": False},
            {"type": "banner", "value": "bottom"},
            {"type": "forwardTo", "value": str(R1).upper()},
            {"type": "forwardTo", "value": str(R2)},
        ],
    )


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, ["conditions required"]),
        ((), ["conditions required"]),
        ("x", ["conditions array"]),
        ((EVERYTHING,) * 6, ["conditions max"]),
        (("x",), ["conditions.0.type required", "conditions.0.values required"]),
        ((condition("weather", "is", "x"),), ["conditions.0.type in"]),
        ((EVERYTHING, condition("alias", "rhymes", "x")), ["conditions.1.match in"]),
        ((values({}, "x"),), ["conditions.0.match in"]),
        ((values("is"),), ["conditions.0.values required"]),
        ((values("is", *map(str, range(51))),), ["conditions.0.values max"]),
        (({"type": "sender", "values": {"0": "x"}},), ["conditions.0.values array"]),
        ((values("contains", "x", ""),), ["conditions.0.values.1 required"]),
        ((values("is", None, 5, "\0", "\ud800"),), [
            "conditions.0.values.0 required",
            *(f"conditions.0.values.{at} string" for at in (1, 2, 3)),
        ]),
        ((values("is not", "a", "b", "a"),), ["conditions.0.values.0 distinct", "conditions.0.values.2 distinct"]),
        ((values("is", "1", "01"), values("is", "1")), []),
        ((values("contains", "x" * 999),), ["conditions.0.values.0 max"]),
        ((values("matches regex", "x" * 201),), ["conditions.0.values.0 max"]),
        ((values("matches regex", "ok", "("),), ["conditions.0.values.1 regex"]),
        ((values("contains", "("),), []),
        ((condition("x", "y", "z", "z"), values("matches regex", "(")), [
            "conditions.0.type in",
            "conditions.0.match in",
            "conditions.0.values.0 distinct",
            "conditions.0.values.1 distinct",
            "conditions.1.values.0 regex",
        ]),
    ],
)  # fmt: skip
def test_problems_of_conditions(conditions: object, expected: list[str]) -> None:
    assert found(conditions) == expected


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        (None, ["actions required"]),
        ({"type": "block", "value": True}, ["actions array"]),
        ((action("forwardTo", str(R1)),) * 6, ["actions max", *(f"actions.{at}.value in" for at in range(1, 6))]),
        (("x",), ["actions.0.type required", "actions.0.value required"]),
        ((action("webhook", "https://hook.example/"),), ["actions.0.type in"]),
        ((action("block"), SUBJECT, action("block")), ["actions.0.type distinct", "actions.2.type distinct"]),
        ((action("block", None), action("banner", "")), ["actions.0.value required", "actions.1.value required"]),
        ((action("block", "x" * 51), action("subject", "é" * 51)), ["actions.0.value max", "actions.1.value max"]),
        ((action("subject", True), action("displayFrom", 5)), ["actions.0.value string", "actions.1.value string"]),
        ((action("block", []), action("subject", "\0")), ["actions.0.value string", "actions.1.value string"]),
        ((action("forwardTo", str(R2)), action("forwardTo", True)), ["actions.0.value in", "actions.1.value in"]),
        ((action("forwardTo", str(R1)), action("forwardTo", str(R1).upper())), ["actions.1.value in"]),
        ((action("encryption", "on"), action("banner", "aside"), action("quarantine", "true")), []),
    ],
)  # fmt: skip
def test_problems_of_actions(actions: object, expected: list[str]) -> None:
    assert found(actions=actions) == expected


def test_problems_say_what_an_answer_needs() -> None:
    conditions = [values("matches regex", r"é[z-a]"), values("matches regex", "x" * 201)]
    assert problems(conditions, [], set()) == (
        Problem("conditions.0.values.0", "regex", "invalid character class range: z-a", position=2),
        Problem("conditions.1.values.0", "max", "the value has more than 200 characters", limit=200),
        Problem("actions", "required", "there are no actions"),
    )


def test_the_patterns_of_a_rule_have_a_size_together() -> None:
    large = [rf"\pL{{8}}{number}" for number in range(4)]  # some 9,600 instructions each
    assert found((values("matches regex", *large[:2]),)) == []
    wrong = problems([values("matches regex", *large[:2]), values("matches regex", *large[2:])], [action("block")], ())
    assert [(problem.path, problem.kind) for problem in wrong] == [
        ("conditions.1.values.0", "regex"),
        ("conditions.1.values.1", "regex"),
    ]


def test_behind_a_pattern_that_is_too_large_none_is_looked_at() -> None:
    too_large = r"\pL{1000}"
    wrong = problems([values("matches regex", "a", too_large, "b", "(")], [action("block")], ())
    assert [problem.reason.partition(" - ")[0] for problem in wrong] == [
        "pattern too large",
        *["the patterns up to this one are too large"] * 2,
    ]
