"""Rules on the command line: words become the stored form, and the stored form words again."""

from typing import Any

import pytest

from mailrelay.core.errors import Malformed
from mailrelay.core.rules.matching import MATCHES
from mailrelay.core.rules.words import action, actions_in_words, condition, conditions_in_words


@pytest.mark.parametrize(
    ("text", "kind", "match", "values"),
    [
        ("sender ends-with @shop.example", "sender", "ends with", ["@shop.example"]),
        ("sender ends with @shop.example", "sender", "ends with", ["@shop.example"]),
        ("subject contains 'Your order' invoice", "subject", "contains", ["Your order", "invoice"]),
        ("alias-description is-exactly ''", "alias_description", "is exactly", [""]),
        ("alias_description is bank", "alias_description", "is", ["bank"]),
        ("subject is not spam", "subject", "is not", ["spam"]),
        ("subject is-exactly not", "subject", "is exactly", ["not"]),
        ("subject does not start with [", "subject", "does not start with", ["["]),
        (r"subject matches-regex ^\d+\s#[0-9]", "subject", "matches regex", [r"^\d+\s#[0-9]"]),
        (r"subject does-not-match-regex '^\w+ \w+$'", "subject", "does not match regex", [r"^\w+ \w+$"]),
        ('subject contains "don\'t"', "subject", "contains", ["don't"]),
        ("subject contains", "subject", "contains", []),
        ("weather contains sun", "weather", "contains", ["sun"]),
        ("  subject\tcontains  x ", "subject", "contains", ["x"]),
    ],
)
def test_a_condition_is_type_match_and_values(text: str, kind: str, match: str, values: list[str]) -> None:
    assert condition(text) == {"type": kind, "match": match, "values": values}


@pytest.mark.parametrize("match", MATCHES)
def test_every_match_type_can_be_written_with_hyphens_and_with_spaces(match: str) -> None:
    for written in (match, match.replace(" ", "-")):
        assert condition(f"subject {written} x y") == {"type": "subject", "match": match, "values": ["x", "y"]}


@pytest.mark.parametrize("text", ["", "sender", "sender @shop.example", "sender end-with x", "subject contains don't"])
def test_what_is_no_condition_is_malformed_and_named(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        condition(text)
    assert str(caught.value).startswith(repr(text))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("block", "block", True),
        ("quarantine", "quarantine", True),
        ("remove-attachments", "removeAttachments", True),
        ("removeAttachments", "removeAttachments", True),
        ("subject [shop] {{subject}}", "subject", "[shop] {{subject}}"),
        (" display-from  John's  shop ", "displayFrom", "John's  shop"),
        ("banner off", "banner", "off"),
        ("encryption off", "encryption", False),
        ("forward-to me@inbox.example", "forwardTo", "me@inbox.example"),
        ("dance", "dance", True),
    ],
)
def test_an_action_is_its_type_and_the_rest_of_the_text(text: str, kind: str, value: object) -> None:
    assert action(text) == {"type": kind, "value": value}


@pytest.mark.parametrize(
    "text",
    [
        'sender ends-with "@shop.example"',
        'alias-description is-exactly ""',
        """subject contains "don't" 'say "no"'""",
        r'subject matches-regex "^\d+ "',
    ],
)
def test_conditions_read_as_they_are_written(text: str) -> None:
    assert conditions_in_words([condition(text), condition(text)], "OR") == f"{text} or {text}"


@pytest.mark.parametrize(
    "text", ["block", "remove-attachments", "subject [x] {{subject}}", "banner bottom", "display-from Shop"]
)
def test_actions_read_as_they_are_written(text: str) -> None:
    assert actions_in_words([action(text), {"type": "block", "value": "true"}]) == f"{text}, block"


@pytest.mark.parametrize("value", [False, True, 0, "off"])
def test_encryption_always_means_off(value: object) -> None:
    assert actions_in_words([{"type": "encryption", "value": value}]) == "encryption off"


@pytest.mark.parametrize(
    "stored", [None, "x", 7, [None], [{}], [{"type": "sender"}], [{"type": 1, "match": "is", "values": [2]}], {}]
)
def test_what_is_not_understood_is_shown_as_it_is_stored(stored: Any) -> None:
    for shown in (conditions_in_words(stored, "AND"), actions_in_words(stored)):
        assert shown
        assert "\n" not in shown
