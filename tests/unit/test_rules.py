"""Rules on messages: the rows of spec section 5.7, which are rows 126 to 147 of section 12.5, and what holds always."""

from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.banner import Fragment
from mailrelay.core.bodyedit import edit
from mailrelay.core.correspond import correspondents
from mailrelay.core.frozen import frozen
from mailrelay.core.header import Field, split
from mailrelay.core.mime import tree
from mailrelay.core.rules import model
from mailrelay.core.rules.evaluate import evaluate, tried
from mailrelay.core.rules.matching import MATCHES
from mailrelay.core.rules.model import ALL_FLOWS, NO_EFFECTS, NO_RULES, Effects, Flow, RuleId
from mailrelay.core.rules.stored import book
from mailrelay.core.subject import changed
from tests.unit.ruled import EVERYTHING, R1, R2, SHOP, acting, action, condition, row, understood


def matches(conditions: object, operator: str = "AND", tested: model.Tested = SHOP) -> bool:
    return bool(evaluate(understood(row(conditions, operator=operator)), "F", tested).matched)


ORDER_OR_ALIAS = (condition("subject", "contains", "Order"), condition("alias", "starts with", "a1@"))


@pytest.mark.parametrize(
    ("conditions", "operator", "expected"),
    [
        pytest.param((condition("sender", "is exactly", "news@shop.example"),), "AND", True, id="row-1-126"),
        pytest.param((condition("subject", "is exactly", "test email"),), "AND", False, id="row-2-127"),
        pytest.param((condition("subject", "matches regex", "(?i)^test"),), "AND", True, id="row-3-128"),
        pytest.param(
            (condition("sender", "is not", "news@shop.example", "x@y.example"),), "AND", False, id="row-4-129"
        ),
        pytest.param(ORDER_OR_ALIAS, "OR", True, id="row-5-130"),
        pytest.param(ORDER_OR_ALIAS, "AND", False, id="row-6-131"),
        pytest.param((condition("alias_description", "is not", "bank"),), "AND", True, id="row-7-132"),
        pytest.param((condition("sender", "ends with", "shop.example"),), "AND", True, id="row-9-134"),
        pytest.param((condition("sender", "matches regex", r"@(shop|store)\.example$"),), "AND", True, id="row-12-137"),
    ],
)
def test_which_rules_match_the_message_of_the_shop(conditions: object, operator: str, expected: bool) -> None:
    assert matches(conditions, operator) is expected


def test_row_8_133_no_description_is_the_empty_text() -> None:
    empty = (condition("alias_description", "is exactly", ""),)
    assert matches(empty, tested=replace(SHOP, alias_description=""))
    assert not matches(empty)


def test_row_9_134_an_end_is_no_domain() -> None:
    evil = replace(SHOP, sender="x@evilshop.example")
    assert matches((condition("sender", "ends with", "shop.example"),), tested=evil)
    assert not matches((condition("sender", "ends with", "@shop.example"),), tested=evil)


def test_row_10_135_no_pattern_goes_back() -> None:
    """A backtracking engine needs 2 to the 4000 steps for this."""
    backtracking = (condition("subject", "matches regex", "(a+)+$"),)
    assert not matches(backtracking, tested=replace(SHOP, subject="a" * 4000 + "!"))
    assert matches(backtracking, tested=replace(SHOP, subject="a" * 4000))


def test_row_11_136_a_slash_is_a_slash() -> None:
    slash = (condition("subject", "matches regex", "a/b"),)
    assert matches(slash, tested=replace(SHOP, subject="xa/by"))
    assert not matches(slash, tested=replace(SHOP, subject="xa-by"))


def test_row_13_138_the_later_rule_has_the_last_word() -> None:
    effects = evaluate(acting([action("subject", "First")], [action("subject", "Second")]), "F", SHOP)
    assert effects == Effects(matched=(RuleId(1), RuleId(2)), subject="Second")


@pytest.mark.parametrize("flow", sorted(ALL_FLOWS))
def test_row_14_139_a_rule_after_a_block_counts_too(flow: Flow) -> None:
    rules = understood(row(flows="FRS"), row(actions=(action("subject", "x"),), number=2, flows="FRS"))
    effects = evaluate(rules, flow, SHOP)
    assert effects.block == "rule 1"
    assert effects.matched == (RuleId(1), RuleId(2))


def test_row_15_140_recipients_of_all_rules_together() -> None:
    rules = acting([action("forwardTo", str(R1))], [action("forwardTo", str(R2)), action("forwardTo", str(R1))])
    assert evaluate(rules, "F", SHOP).forward_to == (R1, R2)


def test_row_16_141_whether_a_recipient_is_verified_is_for_others_to_know() -> None:
    assert evaluate(acting([action("forwardTo", str(R1))]), "F", SHOP) == Effects((RuleId(1),), forward_to=(R1,))


def test_row_17_142_a_prefix_stands_before_the_subject_of_a_rule() -> None:
    effects = evaluate(acting([action("subject", "[shop] {{subject}}")]), "F", SHOP)
    field = changed(Field(b"subject", b"Subject: Test Email\r\n"), effects.subject, "[DMARC FAIL]")
    assert field is not None and field.value == b"[DMARC FAIL] [shop] Test Email"


@pytest.mark.parametrize("value", [False, 0, "0", "false", "off"])
def test_row_18_143_a_rule_switches_encryption_off(value: object) -> None:
    assert evaluate(acting([action("encryption", value)]), "F", SHOP).no_encryption


@pytest.mark.parametrize("value", [True, 1, "1", "true", "on", "FALSE?", None, [], {}])
def test_a_rule_cannot_switch_encryption_on_or_off_by_chance(value: object) -> None:
    rules = acting([action("encryption", False), action("encryption", value)], [action("encryption", value)])
    assert evaluate(rules, "F", SHOP).no_encryption
    assert not evaluate(acting([action("encryption", value)]), "F", SHOP).no_encryption


def test_row_19_144_a_rule_puts_no_banner_into_what_is_encrypted() -> None:
    effects = evaluate(acting([action("banner", "bottom")]), "F", SHOP)
    assert effects.banner == "bottom"
    content = (
        b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b\r\n\r\n'
        b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n--b--\r\n"
    )
    parts = tree(split(content))
    assert edit(parts, frozen(parts), bottom=Fragment("<p>", ("x",))).body == parts.message.body


def test_row_20_145_without_an_author_the_sender_of_the_envelope_is_tested() -> None:
    who = correspondents(split(b"From: ,;<\r\nSubject: Test Email\r\n\r\n"), "bounce@shop.example")
    tested = replace(SHOP, sender=str(who.speaker.address or ""))
    assert matches((condition("sender", "is exactly", "bounce@shop.example"),), tested=tested)


@pytest.mark.parametrize("flow", sorted(ALL_FLOWS))
def test_row_21_146_rules_of_other_flows_are_not_asked(flow: Flow) -> None:
    rules = understood(*(row(number=number, flows=flows) for number, flows in enumerate(("R", "S", "F", ""), 1)))
    assert evaluate(rules, flow, SHOP).matched == ({"R": 1, "S": 2, "F": 3}[flow],)
    assert [one.rule.id for one in tried(rules, flow, SHOP)] == [{"R": 1, "S": 2, "F": 3}[flow]]


@pytest.mark.parametrize("match", ["contains", "starts with", "ends with"])
def test_row_22_147_the_empty_value_is_nowhere(match: str) -> None:
    assert not matches((condition("subject", match, "", "Order"),))
    assert matches((condition("subject", match, "", "Test Email"),))
    negative = {"contains": "does not contain"}.get(match, "does not " + match.replace("s ", " "))
    assert matches((condition("subject", negative, ""),))


@pytest.mark.parametrize(
    ("match", "value"),
    [
        ("is exactly", "Test Email"),
        ("contains", "st Em"),
        ("starts with", "Test"),
        ("ends with", "Email"),
        ("matches regex", "^T.*l$"),
    ],
)
@pytest.mark.parametrize("others", [(), ("x", "y")])
def test_a_positive_match_wants_a_hit_and_a_negative_one_none(match: str, value: str, others: tuple[str, ...]) -> None:
    positive = list(MATCHES).index(match)
    negative = list(MATCHES)[positive + 1]
    assert matches((condition("subject", match, *others, value),))
    assert not matches((condition("subject", negative, *others, value),))
    assert matches((condition("subject", negative, *others, "z"),))
    assert not matches((condition("subject", match, *others, "z"),))


@pytest.mark.parametrize(
    ("kind", "ignores_case"), [("sender", 1), ("alias", 1), ("subject", 0), ("alias_description", 0)]
)
@pytest.mark.parametrize("match", ["is exactly", "contains", "starts with", "ends with", "matches regex"])
def test_case_counts_in_texts_and_not_in_addresses(kind: str, match: str, ignores_case: int) -> None:
    tested = model.Tested(*["Ab@Cd.example"] * 4)
    assert matches((condition(kind, match, "Ab@Cd.example"),), tested=tested)
    assert matches((condition(kind, match, "aB@cD.example"),), tested=tested) is bool(ignores_case)


def test_only_ascii_letters_lose_their_case() -> None:
    assert not matches(
        (condition("sender", "is exactly", "É@shop.example"),), tested=replace(SHOP, sender="é@shop.example")
    )
    assert matches(
        (condition("sender", "is exactly", "éB@shop.example"),), tested=replace(SHOP, sender="éb@shop.example")
    )


def test_subjects_are_compared_composed() -> None:
    """NFC on both sides: some keyboards, and some mailers, send letters and accents apart."""
    apart, composed = "Cafe\u0301", "Caf\u00e9"
    for text, value in ((apart, composed), (composed, apart)):
        assert matches((condition("subject", "is exactly", value),), tested=replace(SHOP, subject=text))
        assert matches((condition("subject", "matches regex", f"^{value}$"),), tested=replace(SHOP, subject=text))


@pytest.mark.parametrize("match", ["contains", "matches regex"])
def test_a_search_ends_at_4096_characters(match: str) -> None:
    assert matches((condition("subject", match, "end"),), tested=replace(SHOP, subject="é" * 4093 + "end"))
    assert not matches((condition("subject", match, "end"),), tested=replace(SHOP, subject="é" * 4094 + "end"))


def test_a_text_that_is_none_is_tested_all_the_same() -> None:
    odd = model.Tested(*["\ud800\x00x"] * 4)
    assert matches((condition("subject", "matches regex", "x$"), condition("sender", "contains", "x")), tested=odd)


@pytest.mark.parametrize("flow", ["R", "S"])
def test_some_actions_are_for_forwards_alone(flow: Flow) -> None:
    actions = (
        *(action("encryption", False), action("banner", "off"), action("forwardTo", str(R1))),
        *(action("displayFrom", "Me"), action("removeAttachments")),
    )
    rules = understood(row(actions=actions, flows="FRS"))
    common = Effects((RuleId(1),), display_from="Me", remove_attachments=True)
    assert evaluate(rules, flow, SHOP) == common
    assert evaluate(rules, "F", SHOP) == replace(common, no_encryption=True, banner="off", forward_to=(R1,))


def test_the_first_ten_recipients() -> None:
    uuids = [UUID(int=number) for number in range(1, 14)]
    rules = acting(*([action("forwardTo", str(uuid))] for uuid in uuids))
    assert evaluate(rules, "F", SHOP).forward_to == tuple(uuids[:10])


def test_without_rules_nothing_happens() -> None:
    assert evaluate(NO_RULES, "F", SHOP) == NO_EFFECTS
    assert evaluate(acting([action("block")]), "R", SHOP) == NO_EFFECTS


def test_what_if_tells_of_every_condition() -> None:
    """Spec section 5.8: also of those that the decision did not need."""
    rules = understood(row(ORDER_OR_ALIAS, operator="OR"), row((*ORDER_OR_ALIAS, EVERYTHING), number=2))
    assert [(one.rule.id, one.matches, one.holds) for one in tried(rules, "F", SHOP)] == [
        (1, True, (False, True)),
        (2, False, (False, True, True)),
    ]


# Values as owners and strangers may choose them; each rule's conditions hold or do not.
ACTIONS = st.one_of(
    st.sampled_from([action("block"), action("quarantine"), action("removeAttachments"), action("encryption", "off")]),
    st.builds(action, st.sampled_from(["subject", "displayFrom"]), st.text("abc", min_size=1, max_size=3)),
    st.builds(action, st.just("banner"), st.sampled_from(["top", "bottom", "off", "aside"])),
    st.builds(action, st.just("forwardTo"), st.integers(1, 14).map(lambda number: str(UUID(int=number)))),
)
DRAFTS = st.lists(st.tuples(st.booleans(), st.lists(ACTIONS, min_size=1, max_size=5)), max_size=8)


@given(DRAFTS)
def test_every_matching_rule_acts_in_its_turn(drafts: list[tuple[bool, list[dict[str, object]]]]) -> None:
    """Spec section 5.5: all that match are counted; of one kind of action the last has its way, recipients add up."""
    rows = [
        row((condition("subject", "is exactly" if match else "is not", SHOP.subject),), actions, number=number)
        for number, (match, actions) in enumerate(drafts, 1)
    ]
    effects = evaluate(understood(*rows), "F", SHOP)
    matching = [(stored, actions) for stored, (match, actions) in zip(rows, drafts, strict=True) if match]
    done: list[tuple[str, Any, Any]] = [
        (stored.name, one["type"], one["value"]) for stored, acts in matching for one in acts
    ]

    def values(kind: str) -> list[Any]:
        return [value for _, done_kind, value in done if done_kind == kind]

    def first_rule(kind: str) -> str | None:
        return next((name for name, done_kind, _ in done if done_kind == kind), None)

    assert effects == Effects(
        matched=tuple(stored.id for stored, _ in matching),
        block=first_rule("block"),
        quarantine=first_rule("quarantine"),
        subject=(values("subject") or [None])[-1],
        display_from=(values("displayFrom") or [None])[-1],
        no_encryption=bool(values("encryption")),
        banner=([value for value in values("banner") if value != "aside"] or [None])[-1],
        remove_attachments=bool(values("removeAttachments")),
        forward_to=tuple(dict.fromkeys(map(UUID, values("forwardTo"))))[:10],
    )


@given(DRAFTS, st.integers(0, 8))
def test_a_rule_that_does_not_match_changes_nothing(
    drafts: list[tuple[bool, list[dict[str, object]]]], place: int
) -> None:
    rows = [row(actions=actions, number=number) for number, (_, actions) in enumerate(drafts, 1)]
    silent = row((condition("sender", "is exactly", "x"),), (action("block"), action("subject", "x")), number=99)
    assert evaluate(understood(*rows[:place], silent, *rows[place:]), "F", SHOP) == evaluate(
        understood(*rows), "F", SHOP
    )


@given(st.lists(st.sampled_from([True, False]), min_size=1, max_size=5), st.sampled_from(["AND", "OR"]))
def test_all_or_one_of_the_conditions(holding: list[bool], operator: str) -> None:
    number = count()
    conditions = [condition("subject", "is not" if holds else "is exactly", f"x{next(number)}") for holds in holding]
    assert matches(conditions, operator) is (all(holding) if operator == "AND" else any(holding))


@given(st.sampled_from(sorted(MATCHES)), st.lists(st.text(max_size=20), min_size=1, max_size=4), st.text(max_size=40))
def test_whatever_is_compared_is_answered(match: str, values: list[str], subject: str) -> None:
    made = book([row((condition("subject", match, *values),))])
    assert bool(made.rules) is not bool(made.broken)
    effects = evaluate(made, "F", replace(SHOP, subject=subject))
    assert effects.matched in ((), (1,))
