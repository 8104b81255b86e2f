"""What is refused of rules, and in which words (addy-api.md section 3.8)."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from mailrelay.core.rules import stored
from mailrelay.core.rules.record import MAX_RULES
from tests.api.addy.conftest import Desk
from tests.api.addy.rulesets import BLOCK, FROM_SHOP, RULE, action, condition, errors, made


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": None}, {"name": ["The name field is required."]}),
        ({"name": 5}, {"name": ["The name must be a string."]}),
        ({"name": "x" * 51}, {"name": ["The name may not be greater than 50 characters."]}),
        ({"name": "a\r\nBcc: x@y.example"}, {"name": ["The name format is invalid."]}),
        ({"name": "a\0b"}, {"name": ["The name must be a string.", "The name format is invalid."]}),
        ({"conditions": None}, {"conditions": ["The conditions field is required."]}),
        ({"conditions": []}, {"conditions": ["The conditions field is required."]}),
        ({"conditions": "x"}, {"conditions": ["The conditions must be an array."]}),
        ({"conditions": [FROM_SHOP] * 6}, {"conditions": ["The conditions may not have more than 5 items."]}),
        (
            {"conditions": [7]},
            {
                "conditions.0.type": ["The conditions.0.type field is required."],
                "conditions.0.values": ["The conditions.0.values field is required."],
            },
        ),
        (
            {"conditions": [FROM_SHOP, condition("alias", "is", "x")]},
            {"conditions.1.match": ["The selected conditions.1.match is invalid."]},
        ),
        (
            {"conditions": [{"type": "alias", "match": ["is"], "values": "x"}]},
            {
                "conditions.0.match": ["The selected conditions.0.match is invalid."],
                "conditions.0.values": ["The conditions.0.values must be an array."],
            },
        ),
        (
            {"conditions": [condition("alias", "contains")]},
            {"conditions.0.values": ["The conditions.0.values field is required."]},
        ),
        (
            {"conditions": [condition("alias", "contains", *map(str, range(51)))]},
            {"conditions.0.values": ["The conditions.0.values may not have more than 50 items."]},
        ),
        (
            {"conditions": [condition("alias", "contains", "a", "b", "a", " ", 7, ["x"], {"a": 1}, False)]},
            {
                "conditions.0.values.0": ["The conditions.0.values.0 field has a duplicate value."],
                "conditions.0.values.2": ["The conditions.0.values.2 field has a duplicate value."],
                "conditions.0.values.3": ["The conditions.0.values.3 field is required."],
                **{
                    f"conditions.0.values.{at}": [f"The conditions.0.values.{at} must be a string."]
                    for at in (4, 5, 6, 7)
                },
            },
        ),
        (
            {"conditions": [condition("subject", "contains", "x" * 999)]},
            {"conditions.0.values.0": ["The conditions.0.values.0 may not be greater than 998 characters."]},
        ),
        (
            {"conditions": [condition("subject", "matches regex", "(", "a/b", "ok", "x" * 201, "(")]},
            {
                "conditions.0.values.0": [
                    "The conditions.0.values.0 field has a duplicate value.",
                    "conditions.0.values.0 is an invalid regular expression.",
                ],
                "conditions.0.values.1": ["conditions.0.values.1 is an invalid regular expression."],
                "conditions.0.values.3": ["The conditions.0.values.3 may not be greater than 200 characters."],
                "conditions.0.values.4": [
                    "The conditions.0.values.4 field has a duplicate value.",
                    "conditions.0.values.4 is an invalid regular expression.",
                ],
            },
        ),
        ({"actions": None}, {"actions": ["The actions field is required."]}),
        ({"actions": 5}, {"actions": ["The actions must be an array."]}),
        ({"actions": [BLOCK] * 6}, {"actions": ["The actions may not have more than 5 items."]}),
        (
            {"actions": [{}]},
            {
                "actions.0.type": ["The actions.0.type field is required."],
                "actions.0.value": ["The actions.0.value field is required."],
            },
        ),
        (
            {"actions": [action("webhook", "https://hook.example/")]},
            {"actions.0.type": ["The selected actions.0.type is invalid."]},
        ),
        (
            {"actions": [BLOCK, action("banner", "off"), BLOCK]},
            {f"actions.{at}.type": [f"The actions.{at}.type field has a duplicate value."] for at in (0, 2)},
        ),
        (
            {"actions": [action("subject", "x" * 51), action("displayFrom", True), action("banner", None)]},
            {
                "actions.0.value": ["The actions.0.value may not be greater than 50 characters."],
                "actions.1.value": ["The actions.1.value must be a string."],
                "actions.2.value": ["The actions.2.value field is required."],
            },
        ),
        (
            {"actions": [action("block", 5), action("subject", ["x"]), action("encryption", {"a": "b"})]},
            {f"actions.{at}.value": [f"The actions.{at}.value must be a string."] for at in (0, 1, 2)},
        ),
        (
            {"actions": [action("forwardTo", "nobody"), action("forwardTo", True)]},
            {f"actions.{at}.value": [f"The selected actions.{at}.value is invalid."] for at in (0, 1)},
        ),
        ({"operator": "and"}, {"operator": ["The selected operator is invalid."]}),
        ({"operator": ["AND"]}, {"operator": ["The selected operator is invalid."]}),
        ({"forwards": "true"}, {"forwards": ["The forwards field must be true or false."]}),
        ({"replies": None, "sends": [True]}, {
            "replies": ["The replies field must be true or false."],
            "sends": ["The sends field must be true or false."],
        }),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said(desk: Desk, changes: dict[str, Any], expected: dict[str, list[str]]) -> None:
    found = await errors(desk, {**RULE, **changes})
    assert found == expected
    assert sorted(found) == sorted(expected)


async def test_everything_that_is_wrong_is_said_in_the_order_of_the_fields(desk: Desk) -> None:
    conditions = [condition("weather", "rhymes", "x", "x"), FROM_SHOP]
    response = await desk.post(
        "rules", {"sends": 2, "operator": 1, "actions": [{"type": "dance"}], "conditions": conditions}
    )
    assert list(response.json()["errors"]) == [
        "name",
        "conditions.0.type",
        "conditions.0.match",
        "conditions.0.values.0",
        "conditions.0.values.1",
        "actions.0.type",
        "actions.0.value",
        "operator",
        "sends",
    ]
    assert response.json()["message"] == "The name field is required. (and 8 more errors)"


async def test_d5_d6_patterns_are_taken_and_defaults_apply(desk: Desk) -> None:
    conditions: list[dict[str, Any]] = [
        {"type": "subject", "values": ["hello"]},
        {"type": "subject", "match": None, "values": ["Hello"]},
        condition("sender", "matches regex", r"^.+@shop\.example$", r"a\/b"),
        condition("alias_description", "does not match regex", "[0-9]+"),
    ]
    response = await desk.post("rules", {**RULE, "conditions": conditions, "operator": ""})
    assert response.status_code == 201
    found = response.json()["data"]
    assert [one["match"] for one in found["conditions"]] == [
        "is exactly",
        "is exactly",
        "matches regex",
        "does not match regex",
    ]
    assert [one["values"] for one in found["conditions"]] == [one["values"] for one in conditions]
    assert (found["operator"], found["forwards"], found["replies"], found["sends"]) == ("AND", False, False, False)


async def test_only_known_keys_are_stored(desk: Desk) -> None:
    response = await desk.post(
        "rules", {**RULE, "conditions": [{**FROM_SHOP, "id": 1}], "actions": [{**BLOCK, "note": "x"}]}
    )
    assert (response.json()["data"]["conditions"], response.json()["data"]["actions"]) == ([FROM_SHOP], [BLOCK])


async def test_equal_values_of_two_conditions_are_no_duplicates(desk: Desk) -> None:
    conditions = [condition("alias", "contains", "1", "01"), condition("sender", "contains", "1")]
    assert (await desk.post("rules", {**RULE, "conditions": conditions})).status_code == 201


async def test_mail_is_forwarded_to_own_verified_recipients_only(desk: Desk) -> None:
    mine, theirs = await desk.recipient("other@inbox.example"), await desk.recipient("x@inbox.example", account=2)
    unverified = await desk.recipient("new@inbox.example", verified=False)
    sent = [action("forwardTo", str(one)) for one in (mine, theirs, unverified, uuid4())]
    assert await errors(desk, {**RULE, "actions": [*sent, action("forwardTo", str(mine).upper())]}) == {
        f"actions.{at}.value": [f"The selected actions.{at}.value is invalid."] for at in (1, 2, 3, 4)
    }
    first = await desk.one("select uuid from recipient where id = 1")
    actions = [action("forwardTo", str(mine)), action("forwardTo", str(first))]
    response = await desk.post("rules", {**RULE, "actions": actions})
    assert response.json()["data"]["actions"] == actions


@pytest.mark.parametrize("value", ["other@inbox.example", "@", "\u00e9@x", "a@b@c"])
async def test_recipients_are_not_named_by_mailbox(desk: Desk, value: str) -> None:
    await desk.recipient("other@inbox.example")
    assert list(await errors(desk, {**RULE, "actions": [action("forwardTo", value)]})) == ["actions.0.value"]


async def test_form_fields_make_a_rule(desk: Desk) -> None:
    fields = (
        "name=form&conditions[0][type]=alias&conditions[0][values][0]=x&conditions[0][values][]=y"
        "&actions[a][type]=block&actions[a][value]=1&forwards=1&sends=0"
    )
    response = await desk.ask(
        "POST", "rules", content=fields.encode(), **{"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert response.status_code == 201, response.text
    found = response.json()["data"]
    assert found["conditions"] == [condition("alias", "is exactly", "x", "y")]
    assert (found["actions"], found["forwards"], found["sends"]) == ([action("block", "1")], True, False)


async def test_an_account_has_so_many_rules_and_no_more(desk: Desk) -> None:
    query = """insert into rule (account_id, name, conditions, actions)
               select 1, n::text, %s, %s from generate_series(1, %s) n"""
    await desk.sql(query, json.dumps([FROM_SHOP]), json.dumps([BLOCK]), MAX_RULES - 3)
    responses = await asyncio.gather(*(desk.post("rules", RULE) for _ in range(8)))
    assert sorted(response.status_code for response in responses) == [201] * 3 + [403] * 5
    refused = next(response for response in responses if response.status_code == 403)
    assert refused.text == "You have reached your limit of 100 rules"
    assert refused.headers["Content-Type"].startswith("text/plain")
    assert await desk.one("select count(*) from rule") == MAX_RULES


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**400, 1e308, "", "x", "\0", "\ud800", [], {}, [[]], {"0": "x"}, deep(200), ["x"] * 200,
)  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=[str(number) for number in range(len(ODD))])
async def test_odd_values_at_any_depth_are_refused_or_stored_right(desk: Desk, odd: Any) -> None:
    whole = {**RULE, "operator": "AND", "forwards": True}
    mutants = [
        odd,
        *({**whole, name: odd} for name in whole),
        *({**whole, "conditions": [{**FROM_SHOP, name: odd}]} for name in FROM_SHOP),
        *(
            {**whole, "conditions": [{**FROM_SHOP, "match": match, "values": [odd]}]}
            for match in ("is not", "matches regex")
        ),
        *({**whole, "actions": [{**BLOCK, name: odd}]} for name in BLOCK),
        *({**whole, "actions": [{"type": kind, "value": odd}]} for kind in ("subject", "forwardTo", "encryption")),
    ]
    for document in mutants:
        await desk.forget_requests()
        response = await desk.ask("POST", "rules", content=json.dumps(document).encode())
        assert response.status_code in (201, 400, 422), (document, response.text)
    assert (await desk.get("rules")).status_code == 200
    rows = await desk.sql("select conditions, actions from rule")
    for conditions, actions in rows:
        assert stored.problems(conditions, actions, frozenset()) == ()


async def test_a_megabyte_of_patterns_is_refused_quickly(desk: Desk) -> None:
    pattern = r"\pL{1000}"
    conditions = [condition("subject", "matches regex", *(f"{pattern}{n}" for n in range(50))) for _ in range(900)]
    begun = asyncio.get_running_loop().time()
    assert await errors(desk, {**RULE, "conditions": conditions}) == {
        "conditions": ["The conditions may not have more than 5 items."]
    }
    found = await errors(desk, {**RULE, "conditions": conditions[:5]})
    assert len(found) == 250
    assert asyncio.get_running_loop().time() - begun < 5


async def test_what_other_programs_stored_is_shown_in_the_right_types(desk: Desk) -> None:
    odd = [{"type": 5, "values": [None, 7, "x"]}, "x", {"type": "alias", "match": None, "values": {}}]
    await made(desk, conditions=json.dumps(odd), actions=json.dumps([{"type": "block", "value": 1}, {"value": None}]))
    [rule] = (await desk.get("rules")).json()["data"]
    assert rule["conditions"] == [
        {"type": "5", "match": "is exactly", "values": ["", "7", "x"]},
        {"type": "alias", "match": "", "values": []},
    ]
    assert rule["actions"] == [{"type": "block", "value": "1"}, {"type": "", "value": ""}]
