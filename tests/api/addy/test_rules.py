"""Rules over HTTP, and what they do to mail at once (addy-api.md sections 2.5, 3.8 and 6)."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from mailrelay.core.facts import AccountId
from mailrelay.core.header import split
from mailrelay.core.rules import stored
from mailrelay.core.rules.model import Book
from mailrelay.core.rules.record import MAX_RULES
from mailrelay.flows.rulebook import Rulebooks
from mailrelay.store.changes import Follower
from mailrelay.store.database import Database
from mailrelay.store.rules import RuleReader
from tests.api.addy.conftest import Desk
from tests.unit.office import OK, Office, new_office

PATIENCE_SECONDS = 30
A1 = "a1@alias.example"  # the office's mail to it: From `Example Shop <News@Shop.example>`, Subject `Your order 77`
JOHN = AccountId(1)
BLOCK: Mapping[str, Any] = {"type": "block", "value": True}
FROM_SHOP: Mapping[str, Any] = {"type": "sender", "match": "ends with", "values": ["@shop.example"]}
RULE: Mapping[str, Any] = {"name": "no shops", "conditions": [FROM_SHOP], "actions": [BLOCK]}
# As the mobile apps send it back.
WHOLE: Mapping[str, Any] = {
    "id": "50c9e585-e7f5-41c4-9016-9014c15454bc",
    "user_id": "ca0a4e09-c266-4f6f-845c-958db5090f09",
    "name": "First Rule",
    "order": 7,
    "conditions": [
        {"type": "sender", "match": "is exactly", "values": ["will@shop.example"]},
        {"type": "sender", "match": "starts with", "values": ["will", "bill"]},
        {"type": "alias", "match": "is exactly", "values": ["ebay@johndoe.alias.example"]},
    ],
    "actions": [{"type": "subject", "value": "New Subject!"}],
    "operator": "AND",
    "forwards": True,
    "replies": False,
    "sends": False,
    "active": False,
    "applied": 99,
    "last_applied": "2019-10-01 09:00:00",
    "created_at": "2019-10-01 09:00:00",
    "updated_at": "2019-10-01 09:00:00",
}


def condition(kind: str, match: str, *values: Any) -> dict[str, Any]:
    return {"type": kind, "match": match, "values": list(values)}


def action(kind: str, value: Any = True) -> dict[str, Any]:
    return {"type": kind, "value": value}


async def made(desk: Desk, name: str = "no shops", **columns: Any) -> UUID:
    """A rule that is simply there."""
    values = {"account_id": 1, "name": name, "forwards": True, "position": 0, "active": True, **columns}
    texts = {"conditions": json.dumps([FROM_SHOP]), "actions": json.dumps([BLOCK])}
    values = {**texts, **values}
    names, places = ", ".join(values), ", ".join(["%s"] * len(values))
    found: UUID = await desk.one(f"insert into rule ({names}) values ({places}) returning uuid", *values.values())
    return found


async def errors(desk: Desk, document: Any) -> Any:
    """What a new rule is refused with; nothing of it is stored."""
    response = await desk.post("rules", document)
    assert response.status_code == 422, response.text
    assert await desk.sql("select from rule") == []
    assert await desk.sql("select from audit") == []
    return response.json()["errors"]


# --- T-RU-1 to 9, 15 ---------------------------------------------------------------------------------------------


async def test_t_ru_1_all_rules_come_in_their_order(desk: Desk) -> None:
    await made(desk, "last", position=2)
    await made(desk, "young", created_at="2026-01-02T00:00:00Z")
    await made(desk, "old", created_at="2026-01-01T00:00:00Z")
    await made(desk, "a stranger's", account_id=2)
    response = await desk.get("rules")
    assert response.status_code == 200
    assert [rule["name"] for rule in response.json()["data"]] == ["old", "young", "last"]
    assert list(response.json()) == ["data"]


async def test_t_ru_2_a_rule_has_all_its_keys(desk: Desk) -> None:
    number = await made(desk, last_applied="2026-01-01T10:00:00Z", applied=3, operator="OR")
    response = await desk.get(f"rules/{str(number).upper()}")
    assert response.status_code == 200
    found = response.json()
    assert list(found) == ["data"]
    user = str(await desk.one("select uuid from account where id = 1"))
    created = found["data"].pop("created_at")
    assert found["data"].pop("updated_at") == created
    datetime.strptime(created, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
    assert found["data"] == {
        "id": str(number),
        "user_id": user,
        "name": "no shops",
        "order": 0,
        "conditions": [FROM_SHOP],
        "actions": [BLOCK],
        "operator": "OR",
        "forwards": True,
        "replies": False,
        "sends": False,
        "active": True,
        "applied": 3,
        "last_applied": "2026-01-01 10:00:00",
    }


async def test_t_ru_3_a_complete_rule_of_an_app_is_stored(desk: Desk) -> None:
    response = await desk.post("rules", WHOLE)
    assert response.status_code == 201
    found = response.json()["data"]
    for name in ("name", "conditions", "actions", "operator", "forwards", "replies", "sends"):
        assert found[name] == WHOLE[name]
    # What is not for clients to say.
    assert (found["order"], found["active"], found["applied"], found["last_applied"]) == (0, True, 0, None)
    assert found["id"] != WHOLE["id"]
    assert (await desk.get(f"rules/{found['id']}")).json()["data"] == found
    number = await desk.one("select id from token")
    assert await desk.sql("select actor, account_id, action, object_table from audit") == [
        (f"token:{number}", 1, "rule.add", "rule")
    ]


@pytest.mark.parametrize("value", [True, "true", False, "anything"])
async def test_t_ru_4_values_keep_their_type(desk: Desk, value: Any) -> None:
    response = await desk.post("rules", {**RULE, "actions": [action("quarantine", value)]})
    assert response.status_code == 201
    assert response.json()["data"]["actions"] == [{"type": "quarantine", "value": value}]


async def test_t_ru_5_an_unknown_type_is_refused(desk: Desk) -> None:
    assert await errors(desk, {**RULE, "conditions": [condition("invalid", "is exactly", "x")]}) == {
        "conditions.0.type": ["The selected conditions.0.type is invalid."]
    }


async def test_t_ru_6_a_patch_replaces_everything_that_it_may(desk: Desk) -> None:
    number = await made(desk, position=3, active=False, applied=5, sends=True, replies=True)
    changed = {**WHOLE, "operator": "OR", "name": "Changed"}
    del changed["forwards"], changed["sends"]
    response = await desk.patch(f"rules/{number}", changed)
    assert response.status_code == 200
    found = response.json()["data"]
    assert (found["id"], found["name"], found["operator"]) == (str(number), "Changed", "OR")
    assert found["conditions"] == WHOLE["conditions"]
    assert (found["forwards"], found["replies"], found["sends"]) == (False, False, False)
    assert (found["order"], found["active"], found["applied"], found["last_applied"]) == (3, False, 5, None)
    assert await desk.sql("select action from audit") == [("rule.change",)]


@pytest.mark.parametrize("absent", ["name", "conditions", "actions"])
async def test_a_patch_needs_all_that_a_new_rule_does(desk: Desk, absent: str) -> None:
    number = await made(desk)
    response = await desk.patch(f"rules/{number}", {name: RULE[name] for name in RULE if name != absent})
    assert (response.status_code, response.json()) == (
        422,
        {"message": f"The {absent} field is required.", "errors": {absent: [f"The {absent} field is required."]}},
    )


async def test_t_ru_7_a_deleted_rule_is_gone(desk: Desk) -> None:
    number = await made(desk)
    response = await desk.delete(f"rules/{number}")
    assert (response.status_code, response.content) == (204, b"")
    assert await desk.sql("select from rule") == []
    assert (await desk.delete(f"rules/{number}")).status_code == 404


async def test_t_ru_8_a_rule_is_switched_on(desk: Desk) -> None:
    number = await made(desk, active=False)
    for _ in range(2):
        response = await desk.post("active-rules/", {"id": str(number)})
        assert response.status_code == 200
        assert (response.json()["data"]["id"], response.json()["data"]["active"]) == (str(number), True)
    assert await desk.sql("select action from audit") == [("rule.activate",)]


async def test_t_ru_9_a_rule_is_switched_off(desk: Desk) -> None:
    number = await made(desk)
    for _ in range(2):
        response = await desk.delete(f"active-rules/{number}")
        assert (response.status_code, response.content) == (204, b"")
    assert await desk.sql("select active from rule") == [(False,)]
    assert await desk.sql("select action from audit") == [("rule.deactivate",)]


async def test_t_ru_15_rules_are_put_in_order(desk: Desk) -> None:
    first, second, third = [await made(desk, str(place), position=place) for place in (2, 0, 1)]
    response = await desk.post("reorder-rules/", {"ids": [str(first).upper(), str(second), str(third)]})
    assert (response.status_code, response.json()) == (200, {})
    assert [rule["id"] for rule in (await desk.get("rules")).json()["data"]] == [str(first), str(second), str(third)]
    assert await desk.sql("select position from rule order by id") == [(0,), (1,), (2,)]


async def test_rules_that_are_not_listed_keep_their_place(desk: Desk) -> None:
    first, _, third = [await made(desk, str(place), position=place) for place in (5, 6, 7)]
    assert (await desk.post("reorder-rules", {"ids": [str(third), str(first)]})).status_code == 200
    assert await desk.sql("select position from rule order by id") == [(1,), (6,), (0,)]


# --- T-RU-10 to 14: what they do to mail -------------------------------------------------------------------------


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(dsn, 2, 20.0, "test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def office() -> Office:
    office = new_office()
    office.store.update("alias", 1, forward_mode="rewrite")
    return office


async def book(database: Database) -> Book:
    """The rules as mail has them."""
    return stored.book((await RuleReader(database).active([JOHN])).get(JOHN, ()))


async def forwarded(office: Office, database: Database, desk: Desk) -> list[bytes]:
    """Subjects of the copies of a message to A1 under the account's rules, whose matches are counted."""
    office.book = await book(database)
    assert await office.deliver(A1) == [OK]
    await RuleReader(database).count([[*office.store.counted]])
    return [split(b"".join(copy.content)).first(b"subject") or b"" for copy in office.outside.copies]


async def test_t_ru_10_a_rule_that_matches_replaces_the_subject(desk: Desk, database: Database, office: Office) -> None:
    conditions = [
        condition("subject", "is exactly", "Your order 77"),
        condition("sender", "starts with", "news", "bill"),
        condition("alias", "is exactly", A1),
    ]
    await desk.post("rules", {**WHOLE, "conditions": conditions})
    assert await forwarded(office, database, desk) == [b"New Subject!"]
    [rule] = (await desk.get("rules")).json()["data"]
    assert rule["applied"] == 1
    assert rule["last_applied"] is not None


async def test_t_ru_11_a_rule_blocks_and_does_not_quarantine(desk: Desk, database: Database, office: Office) -> None:
    await desk.post("rules", {**RULE, "conditions": [condition("alias", "is exactly", A1)], "forwards": True})
    assert await forwarded(office, database, desk) == []
    assert office.outcomes() == [(A1, "discarded", "rule")]


async def test_t_ru_12_a_rule_quarantines_and_does_not_block(desk: Desk, database: Database, office: Office) -> None:
    conditions = [condition("alias", "is exactly", A1)]
    await desk.post(
        "rules", {"name": "q", "conditions": conditions, "actions": [action("quarantine")], "forwards": True}
    )
    assert await forwarded(office, database, desk) == []
    assert office.outcomes() == [(A1, "held", "rule_quarantine")]


async def test_t_ru_13_rules_for_replies_and_sends_leave_forwards_alone(
    desk: Desk, database: Database, office: Office
) -> None:
    await desk.post("rules", {**RULE, "replies": True, "sends": True})
    assert await forwarded(office, database, desk) == [b"Your order 77"]
    assert (await desk.get("rules")).json()["data"][0]["applied"] == 0


async def test_t_ru_14_the_later_rule_overwrites_and_unknown_words_never_match(
    desk: Desk, database: Database, office: Office
) -> None:
    """The word `is` is one of ours, so that another one stands for those that nobody knows."""
    unknown = [{"type": "alias", "match": "rhymes with", "values": [A1]}]
    subject = [action("subject", "Applied before")]
    await made(desk, "unknown", conditions=json.dumps(unknown), actions=json.dumps(subject))
    after = {"conditions": [condition("alias", "is not", "woot@alias.example")], "forwards": True}
    await desk.post("rules", {"name": "after", **after, "actions": [action("subject", "Applied after")]})
    await desk.sql("update rule set position = 1 where name = 'after'")
    assert await forwarded(office, database, desk) == [b"Applied after"]
    assert [(rule["name"], rule["applied"]) for rule in (await desk.get("rules")).json()["data"]] == [
        ("unknown", 0),
        ("after", 1),
    ]


async def test_changes_reach_the_process_that_delivers(desk: Desk, database: Database, dsn: str) -> None:
    books = Rulebooks(RuleReader(database).active, 1_000_000)
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def restored() -> None:
        books.clear()
        books.trusted = True

    async def changed(kind: str, value: str) -> None:
        if kind == "account":
            books.forget_account(AccountId(int(value)))
            heard.put_nowait(value)

    follower = Follower(dsn, restored, changed, lambda: None)
    task = asyncio.create_task(follower.run())
    try:
        await asyncio.wait_for(follower.connected.wait(), PATIENCE_SECONDS)
        rule = {**RULE, "forwards": True}
        number = ""
        for method, path, document, expected in (
            ("POST", "rules", rule, ["no shops"]),
            ("PATCH", "rules/{}", {**rule, "name": "renamed"}, ["renamed"]),
            ("DELETE", "active-rules/{}", None, []),
            ("POST", "active-rules", {"id": "{}"}, ["renamed"]),
            ("DELETE", "rules/{}", None, []),
        ):
            await books.book(JOHN)
            sent = {"id": number} if path == "active-rules" else document
            response = await desk.ask(method, path.format(number), sent)
            number = number or response.json()["data"]["id"]
            assert await asyncio.wait_for(heard.get(), PATIENCE_SECONDS) == "1"
            assert [one.name for one in (await books.book(JOHN)).rules] == expected
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# --- what is refused, in which words -----------------------------------------------------------------------------


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


# --- what is not there -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["x", "1", "50c9e585-e7f5-41c4-9016-9014c15454bc", "%00", "%ED%A0%80", "1%20or%20true"]
)
async def test_what_is_no_rule_is_not_found(desk: Desk, path: str) -> None:
    await made(desk)
    for method, where, document in (
        ("GET", "rules/{}", None),
        ("PATCH", "rules/{}", RULE),
        ("DELETE", "rules/{}", None),
        ("DELETE", "active-rules/{}", None),
    ):
        response = await desk.ask(method, where.format(path), document)
        assert response.status_code == 404, (method, response.text)
        assert response.json()["message"].startswith("No query results for model [App\\Models\\Rule] ")
    assert await desk.one("select active from rule") is True


async def test_the_rules_of_others_are_not_found(desk: Desk) -> None:
    theirs = await made(desk, "a stranger's", account_id=2)
    message = {"message": f"No query results for model [App\\Models\\Rule] {theirs}"}
    for response in (
        await desk.get(f"rules/{theirs}"),
        await desk.patch(f"rules/{theirs}", RULE),
        await desk.delete(f"rules/{theirs}"),
        await desk.post("active-rules", {"id": str(theirs)}),
        await desk.delete(f"active-rules/{theirs}"),
    ):
        assert (response.status_code, response.json()) == (404, message)
    assert (await desk.get("rules")).json() == {"data": []}
    assert await desk.sql("select name, active from rule") == [("a stranger's", True)]


async def test_what_is_wrong_comes_before_what_is_not_there(desk: Desk) -> None:
    assert (await desk.patch(f"rules/{uuid4()}", {})).status_code == 422


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({}, "The id field is required."),
        ({"id": ""}, "The id field is required."),
        ({"id": 5}, "The id must be a string."),
        ({"id": ["x"]}, "The id must be a string."),
        ({"id": "\ud800"}, "The id must be a string."),
    ],
)
async def test_switching_on_needs_an_id(desk: Desk, sent: Any, message: str) -> None:
    response = await desk.post("active-rules", sent)
    assert (response.status_code, response.json()) == (422, {"message": message, "errors": {"id": [message]}})


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (None, "The ids field is required."),
        ([], "The ids field is required."),
        ("x", "The ids must be an array."),
        (7, "The ids must be an array."),
        (["x"], "Invalid Rule ID."),
        ([7, None, ["x"], {"a": "b"}], "Invalid Rule ID."),
        (["\0", "\ud800"], "Invalid Rule ID."),
        (["50c9e585-e7f5-41c4-9016-9014c15454bc"], "Invalid Rule ID."),
    ],
)
async def test_only_own_rules_are_put_in_order(desk: Desk, ids: Any, message: str) -> None:
    mine = str(await made(desk, position=5))
    sent = [*ids, mine] if isinstance(ids, list) and ids else ids
    response = await desk.post("reorder-rules", {"ids": sent})
    assert (response.status_code, response.json()) == (422, {"message": message, "errors": {"ids": [message]}})
    assert await desk.sql("select position from rule") == [(5,)]


async def test_foreign_and_repeated_rules_move_nothing(desk: Desk) -> None:
    mine, theirs = str(await made(desk, position=5)), str(await made(desk, account_id=2, position=6))
    for ids in ([mine, theirs], [mine, mine], [str(uuid4()) for _ in range(10_000)], [mine] * 10_000):
        response = await desk.post("reorder-rules", {"ids": ids})
        assert (response.status_code, response.json()["errors"]) == (422, {"ids": ["Invalid Rule ID."]})
    assert await desk.sql("select position from rule order by id") == [(5,), (6,)]


# --- anything at all ---------------------------------------------------------------------------------------------


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
