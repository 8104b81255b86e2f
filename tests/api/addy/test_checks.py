"""Validation messages, their keys, order and summary (addy-api.md section 1.10)."""

import json
from typing import Any

import pytest

from mailrelay.api.addy.checks import (
    ARRAY,
    BOOLEAN,
    DISTINCT,
    INTEGER,
    REQUIRED,
    STRING,
    UUID_TEXT,
    Distinct,
    Fields,
    Rule,
    attribute,
    max_chars,
    max_items,
    max_number,
    min_chars,
    min_number,
    one_of,
    validate,
)
from mailrelay.api.addy.problems import Invalid

ID = "50c9e585-e7f5-41c4-9016-9014c15454bc"
FIELDS: Fields = (
    attribute("domain", REQUIRED, STRING, one_of("alias.example")),
    attribute("description", STRING, max_chars(5), nullable=True),
    attribute("recipient_ids", ARRAY, max_items(2), bail=True),
    attribute("recipient_ids.*", REQUIRED, UUID_TEXT, DISTINCT),
    attribute("page", ARRAY, nullable=True),
    attribute("page.size", INTEGER, max_number(100), min_number(1), nullable=True),
    attribute("active", BOOLEAN),
    attribute("sort", min_chars(3), one_of("name"), nullable=True),
    attribute("actions.*.type", REQUIRED, Distinct(frozenset({"forwardTo"}))),
    attribute("actions.*.values.*", DISTINCT),
)


def wrong(given: dict[str, Any], **extra: Any) -> Any:
    with pytest.raises(Invalid) as caught:
        validate(FIELDS, {"domain": "alias.example", **given}, extra)
    assert caught.value.status == 422
    return json.loads(caught.value.body)


def errors(given: dict[str, Any], **extra: Any) -> Any:
    return wrong(given, **extra)["errors"]


def test_what_is_given_comes_back_and_nothing_else() -> None:
    given = {
        "domain": "alias.example",
        "description": None,
        "recipient_ids": {"0": ID},
        "stray": 1,
        "page": {"size": "7"},
    }
    assert validate(FIELDS, given) == {
        "domain": "alias.example", "description": None, "recipient_ids": [ID], "page": {"size": "7"},
    }  # fmt: skip


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_required_stops_its_attribute(value: Any) -> None:
    assert errors({"domain": value}) == {"domain": ["The domain field is required."]}


def test_the_summary_counts_further_messages() -> None:
    assert wrong({"description": "123456"})["message"] == "The description may not be greater than 5 characters."
    two = wrong({"domain": 5, "description": "123456"})
    assert two["message"] == "The domain must be a string. (and 2 more errors)"
    assert list(two["errors"]) == ["domain", "description"]
    assert two["errors"]["domain"] == ["The domain must be a string.", "The selected domain is invalid."]


@pytest.mark.parametrize("value", [5, True, ["x"], {"a": 1}, "a\x00b", "a\ud800"])
def test_no_strings(value: Any) -> None:
    assert errors({"description": value}) == {"description": ["The description must be a string."]}


def test_characters_are_code_points() -> None:
    assert validate(FIELDS, {"domain": "alias.example", "description": "\U0001f600" * 5})


def test_bail_and_nulls() -> None:
    assert errors({"recipient_ids": None}) == {"recipient_ids": ["The recipient ids must be an array."]}
    assert errors({"recipient_ids": ["x", "y", "z"]}) == {
        "recipient_ids": ["The recipient ids may not have more than 2 items."]
    }
    assert errors({"page": "2"}) == {"page": ["The page must be an array."]}


def test_members_are_named_by_their_index() -> None:
    assert errors({"recipient_ids": [ID, ID]}) == {
        "recipient_ids.0": ["The recipient_ids.0 field has a duplicate value."],
        "recipient_ids.1": ["The recipient_ids.1 field has a duplicate value."],
    }
    assert errors({"recipient_ids": ["foo", None]}) == {
        "recipient_ids.0": ["The recipient_ids.0 must be a valid UUID."],
        "recipient_ids.1": ["The recipient_ids.1 field is required."],
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", "The page.size must be an integer."),
        (True, "The page.size must be an integer."),
        ("9" * 30, "The page.size must be an integer."),
        (101, "The page.size may not be greater than 100."),
        ("0", "The page.size must be at least 1."),
    ],
)
def test_numbers(value: Any, message: str) -> None:
    assert errors({"page": {"size": value}}) == {"page.size": [message]}


@pytest.mark.parametrize("value", [True, False, 0, 1, "0", "1"])
def test_booleans(value: Any) -> None:
    assert validate(FIELDS, {"domain": "alias.example", "active": value})["active"] == value


@pytest.mark.parametrize("value", ["true", 2, [], None, 1.5])
def test_no_booleans(value: Any) -> None:
    assert errors({"active": value}) == {"active": ["The active field must be true or false."]}


def test_several_messages_of_one_attribute() -> None:
    assert errors({"sort": "ab"}) == {
        "sort": ["The sort must be at least 3 characters.", "The selected sort is invalid."]
    }


def test_duplicates_are_those_under_one_list() -> None:
    given = {"actions": [{"type": "a", "values": ["x", "y"]}, {"type": "b", "values": ["x"]}]}
    assert validate(FIELDS, {"domain": "alias.example", **given})
    given = {
        "actions": [{"type": "forwardTo"}, {"type": "forwardTo"}, {"type": "a"}, {"type": "a", "values": ["x", "x"]}]
    }
    assert list(errors(given)) == ["actions.2.type", "actions.3.type", "actions.3.values.0", "actions.3.values.1"]
    assert errors({"actions": [{}]}) == {"actions.0.type": ["The actions.0.type field is required."]}


def test_more_rules_come_after_those_of_the_field() -> None:
    known = Rule(lambda value: value == [ID], "Invalid Recipient")
    assert errors({"recipient_ids": [ID.upper()]}, recipient_ids=(known,)) == {"recipient_ids": ["Invalid Recipient"]}
    assert errors({"recipient_ids": 5}, recipient_ids=(known,)) == {
        "recipient_ids": ["The recipient ids must be an array."]
    }


def test_members_are_looked_at_even_if_the_list_is_wrong() -> None:
    never = Rule(lambda _: False, "Invalid Recipient")
    assert wrong({"recipient_ids": ["x"]}, recipient_ids=(never,)) == {
        "message": "Invalid Recipient (and 1 more error)",
        "errors": {
            "recipient_ids": ["Invalid Recipient"],
            "recipient_ids.0": ["The recipient_ids.0 must be a valid UUID."],
        },
    }


def test_names_that_clients_choose_are_no_formats() -> None:
    assert list(errors({"recipient_ids": {"{a}{0}": "x"}})) == ["recipient_ids.{a}{0}"]


def test_ten_thousand_members_take_no_square_of_the_time() -> None:
    assert list(errors({"recipient_ids": [ID] * 10_000})) == ["recipient_ids"]
    assert len(errors({"actions": [{"type": "same"}] * 10_000})) == 10_000


def test_one_attribute_may_have_rules_of_its_own() -> None:
    never = Rule(lambda _: False, "{a} is an invalid regular expression.")
    given = {"actions": [{"type": "a", "values": ["x", "y", "y"]}, {"type": "b", "values": ["x"]}]}
    assert errors(given, **{"actions.0.values.1": [never], "actions.7.values.0": [never]}) == {
        "actions.0.values.1": [
            "The actions.0.values.1 field has a duplicate value.",
            "actions.0.values.1 is an invalid regular expression.",
        ],
        "actions.0.values.2": ["The actions.0.values.2 field has a duplicate value."],
    }
