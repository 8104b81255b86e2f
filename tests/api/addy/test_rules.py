"""Rules over HTTP (addy-api.md sections 2.5, 3.8 and 6)."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from tests.api.addy.conftest import Desk
from tests.api.addy.rulesets import BLOCK, FROM_SHOP, RULE, WHOLE, action, condition, errors, made


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
