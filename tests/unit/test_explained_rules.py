"""Explain tells what the owner's rules say, condition by condition, and nothing is counted."""

from dataclasses import replace

import pytest

from mailrelay.core.explained import Explained
from mailrelay.core.rules import stored
from mailrelay.core.rules.evaluate import evaluate, tried
from mailrelay.core.rules.model import StoredRule
from tests.unit.office import MESSAGE
from tests.unit.ruled import SHOP, action, condition, row, understood
from tests.unit.test_explain import FORGED, REAL, Desk, said

A1 = "a1@alias.example"
FROM_SHOP = condition("sender", "ends with", "@shop.example")
ORDER = condition("subject", "contains", "order")
PARCEL = condition("subject", "contains", "parcel")


def ruled(*rows: StoredRule) -> Desk:
    """A desk where the owner has these rules."""
    desk = Desk()
    desk.office.book = stored.book(rows)
    desk.office.store.update("alias", 1, forward_mode="rewrite")
    return desk


def about_rules(found: Explained) -> list[str]:
    """All that is said of rules, one step a line."""
    return [f"{check}: {said}" for check, said in found.steps if check.split()[0] in ("rule", "rules", "condition")]


async def test_every_condition_is_told_and_who_decided() -> None:
    desk = ruled(
        row((FROM_SHOP, ORDER), (action("subject", "[shop]"), action("banner", "off")), number=3),
        row((FROM_SHOP, PARCEL), (action("block"),), number=4),
        row((PARCEL, ORDER), (action("subject", "mine"), action("removeAttachments")), "OR", 5),
        row((FROM_SHOP,), (action("block"),), number=6, flows="R"),
    )
    found = await desk.explain(A1)
    assert about_rules(found) == [
        "rule 3: 'rule 3' matches: the subject becomes '[shop]'; the banner is left out",
        'condition 3.1: holds: sender ends-with "@shop.example"',
        'condition 3.2: holds: subject contains "order"',
        "rule 4: 'rule 4' does not match",
        'condition 4.1: holds: sender ends-with "@shop.example"',
        'condition 4.2: does not hold: subject contains "parcel"',
        "rule 5: 'rule 5' matches: the subject becomes 'mine'; attachments are removed",
        'condition 5.1: does not hold: subject contains "parcel"',
        'condition 5.2: holds: subject contains "order"',
        "rules: subject by rule 5; banner by rule 3; attachments by rule 5",
    ]
    assert said(found, "delivery") == "1 copy"
    assert "+Subject: mine" in [str(line) for line in found.copies[0].header]
    assert desk.office.store.counted == []


@pytest.mark.parametrize(
    ("does", "verb", "outcome"),
    [
        ("block", "blocks", "taken and dropped: a rule of the owner blocks it"),
        ("quarantine", "quarantines", "quarantined, until its owner decides: a rule of the owner quarantines it"),
    ],
)
async def test_the_rule_that_ends_it_is_named(does: str, verb: str, outcome: str) -> None:
    desk = ruled(
        row((FROM_SHOP,), (action("quarantine"),), number=3) if does == "block" else row((PARCEL,), number=3),
        row((FROM_SHOP,), (action("subject", "x"),), number=4),
        row((ORDER,), (action("displayFrom", "y"), action(does)), number=5),
    )
    found = await desk.explain(A1)
    assert about_rules(found)[-1] == f"rules: rule 5 {verb} it, whatever the others do"
    assert f"rule 5: 'rule 5' matches: the message is {does}{'e' * (does[-1] != 'e')}d" in about_rules(found)
    assert said(found, "delivery") == outcome
    assert found.copies == ()


async def test_a_sender_who_hears_of_it_is_told_at_the_end_of_the_message() -> None:
    desk = ruled(row((FROM_SHOP,), number=3))
    desk.office.store.update("account", 1, block_behaviour="reject")
    found = await desk.explain(A1)
    assert about_rules(found)[-1] == "rules: rule 3 blocks it, whatever the others do"
    check, finding = found.steps[-1]
    assert check == "at end of message"
    assert finding == "550 5.1.1 Address does not exist: a rule of the owner blocks it"
    assert desk.office.store.counted == []


async def test_rules_that_did_not_matter_at_the_end_are_not_told() -> None:
    desk = ruled(row((FROM_SHOP,), number=3))
    desk.office.store.update("account", 1, block_behaviour="reject")
    desk.findings = FORGED
    found = await desk.explain(A1)
    assert about_rules(found) == []
    assert said(found, "at end of message").startswith("550 5.7.26 ")


async def test_where_no_rule_matches_nothing_is_done() -> None:
    found = await ruled(row((PARCEL,), number=3)).explain(A1)
    assert about_rules(found)[-1] == "rules: none matches"
    assert said(found, "delivery") == "1 copy"
    assert about_rules(await Desk().explain(A1)) == []


async def test_whom_rules_name_is_told_by_address() -> None:
    desk = ruled()
    store = desk.office.store
    second, third = (
        row_ for row_ in store.rows("recipient") if row_["address"] in ("second@inbox2.example", "third@inbox3.example")
    )
    desk.office.book = understood(row((FROM_SHOP,), (action("forwardTo", str(second["uuid"])),)))
    found = await desk.explain(A1)
    assert said(found, "recipients") == "second@inbox2.example"
    assert about_rules(found)[-1] == "rules: recipients by rule 1"
    assert [copy.destination for copy in found.copies] == ["second@inbox2.example"]
    desk.office.book = understood(row((FROM_SHOP,), (action("forwardTo", str(third["uuid"])),)))
    found = await desk.explain(A1)
    assert said(found, "recipients") == "the alias' own: whom rules name is not verified"
    assert [copy.destination for copy in found.copies] == [REAL]


async def test_rules_that_are_not_understood_are_told() -> None:
    desk = ruled(
        row((condition("weather", "is", "fine"),), number=3),
        row((FROM_SHOP,), (action("dance"), action("banner", "off")), number=4),
    )
    found = about_rules(await desk.explain(A1))
    assert found[0] == "rule 3: 'rule 3' is skipped: condition 1: unknown type 'weather'"
    assert found[1] == "rule 4: 'rule 4' is understood in part: action 1: unknown type 'dance'"
    assert found[2] == "rule 4: 'rule 4' matches: the banner is left out"


async def test_rules_for_replies_are_told_of_replies() -> None:
    desk = ruled(
        row((FROM_SHOP,), number=3),
        row((condition("sender", "is exactly", REAL),), (action("displayFrom", "Me"),), number=4, flows="RS"),
    )
    desk.findings = replace(desk.findings, dmarc=replace(desk.findings.dmarc, domain="inbox.example"))
    content = MESSAGE.replace(b"news@shop.example", REAL.encode()).replace(
        b"To: a1@", b"References: <1@shop.example>\r\nTo: a1+help=shop.example@"
    )
    found = await desk.explain("a1+help=shop.example@alias.example", content, REAL)
    assert about_rules(found) == [
        "rule 4: 'rule 4' matches: the author's name becomes 'Me'",
        f'condition 4.1: holds: sender is-exactly "{REAL}"',
        "rules: name by rule 4",
    ]
    assert "+From: Me <a1@alias.example>" in [str(line).replace('"', "") for line in found.copies[0].header]
    assert desk.office.store.counted == []


async def test_without_a_message_the_envelope_is_asked() -> None:
    desk = ruled(
        row((FROM_SHOP, condition("alias", "is exactly", A1)), number=3),
        row((condition("sender", "is exactly", "other@shop.example"), ORDER), number=4),
        row((FROM_SHOP, ORDER), (action("subject", "x"),), number=5),
    )
    desk.office.store.update("account", 1, block_behaviour="reject")
    found = await desk.explain("a1+tag@alias.example", None)
    note = "rules: asked about the envelope's sender and no subject: the message may name another author"
    assert about_rules(found) == [
        note,
        "rule 3: 'rule 3' matches: the message is blocked",
        'condition 3.1: holds: sender ends-with "@shop.example"',
        f'condition 3.2: holds: alias is-exactly "{A1}"',
        "rule 4: 'rule 4' does not match",
        'condition 4.1: does not hold: sender is-exactly "other@shop.example"',
        'condition 4.2: not known: subject contains "order"',
        "rule 5: 'rule 5' may match, that depends on what is not known: the subject becomes 'x'",
        'condition 5.1: holds: sender ends-with "@shop.example"',
        'condition 5.2: not known: subject contains "order"',
        "rules: rule 3 blocks it, whatever the others do",
    ]
    assert about_rules(await Desk().explain(A1, None)) == []


async def test_what_is_not_known_decides_nothing() -> None:
    desk = ruled(row((FROM_SHOP,), (action("subject", "x"),), number=3), row((ORDER,), number=4))
    assert about_rules(await desk.explain(A1, None))[-1] == 'condition 4.1: not known: subject contains "order"'


async def test_a_very_long_condition_is_cut() -> None:
    long = condition("subject", "contains", *(f"{number}{'x' * 900}" for number in range(50)))
    found = about_rules(await ruled(row((long,), number=3)).explain(A1))
    assert max(map(len, found)) < 400
    assert found[1].endswith("x…")


# --- three values --------------------------------------------------------------------------------------------------

YES, NO, MAYBE = condition("alias", "contains", "@"), condition("alias", "is exactly", ""), ORDER


@pytest.mark.parametrize(
    ("operator", "conditions", "expected"),
    [
        ("AND", (YES, MAYBE), None),
        ("AND", (NO, MAYBE), False),
        ("AND", (MAYBE, NO), False),
        ("AND", (YES, YES), True),
        ("OR", (NO, MAYBE), None),
        ("OR", (MAYBE, YES), True),
        ("OR", (YES, NO), True),
        ("OR", (NO, NO), False),
    ],
)
def test_what_is_known_decides_if_it_can(
    operator: str, conditions: tuple[dict[str, object], ...], expected: bool | None
) -> None:
    book = understood(row(conditions, operator=operator))
    (one,) = tried(book, "F", SHOP, {"subject"})
    assert one.matches is expected
    if expected is not None:  # then it holds whatever the subject is
        for subject in ("order", "other"):
            tested = replace(SHOP, subject=subject)
            assert bool(evaluate(book, "F", tested).matched) is expected
