"""The block list over HTTP: T-BL-1 to T-BL-15 of addy-api.md, and what is ours."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.api.addy.conftest import Desk

SHAPE = {"id", "user_id", "value", "type", "blocked", "last_blocked", "created_at", "updated_at"}
NOT_EMAIL = "The value must be a valid email address when type is email."
NOT_DOMAIN = "The value must be a valid domain (e.g. example.com) when type is domain."
LISTED = "This email or domain is already on your blocklist."
LONG = "The value may not be longer than 253 characters."
NO_TYPE = "The type must be either email or domain."


async def entry(desk: Desk, value: str, type: str = "domain", account: int = 1, **more: Any) -> UUID:
    values = {"account_id": account, "type": type, "value": value, **more}
    columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
    query = f"insert into blocked_sender ({columns}) values ({places}) returning uuid"
    found: UUID = await desk.one(query, *values.values())
    return found


async def values(desk: Desk, query: str = "") -> list[str]:
    response = await desk.get(f"blocklist?{query}")
    assert response.status_code == 200, response.text
    return [one["value"] for one in response.json()["data"]]


def errors(response: httpx2.Response) -> dict[str, list[str]]:
    assert response.status_code == 422, response.text
    found: dict[str, list[str]] = response.json()["errors"]
    return found


async def add(desk: Desk, type: Any, value: Any) -> httpx2.Response:
    return await desk.post("blocklist", {"type": type, "value": value})


async def add_all(desk: Desk, type: Any, values: Any) -> httpx2.Response:
    return await desk.post("blocklist/store/bulk", {"type": type, "values": values})


# --- looking ----------------------------------------------------------------------------------------------------------


async def test_t_bl_1_entries_are_shown_with_all_their_keys(desk: Desk) -> None:
    uuid = await entry(desk, "spam.test", blocked=3, last_blocked="2026-01-02 03:04:05+00")
    await entry(desk, "theirs.test", account=2)
    response = await desk.get("blocklist")
    assert set(response.json()) == {"data", "links", "meta"}
    (found,) = response.json()["data"]
    assert set(found) == SHAPE
    assert (found["id"], found["type"], found["value"], found["blocked"]) == (str(uuid), "domain", "spam.test", 3)
    assert found["last_blocked"] == "2026-01-02 03:04:05"
    assert found["user_id"] == str(await desk.one("select uuid from account where id = 1"))


async def test_t_bl_2_pages_have_a_hundred(desk: Desk) -> None:
    await desk.sql(
        "insert into blocked_sender (account_id, type, value) select 1, 'domain', n || '.test'"
        " from generate_series(1, 105) n"
    )
    document = (await desk.get("blocklist")).json()
    assert len(document["data"]) == 100
    assert [document["meta"][key] for key in ("current_page", "per_page", "total", "last_page")] == [1, 100, 105, 2]
    document = (await desk.get("blocklist?page[number]=2&sort=value")).json()
    assert [one["value"] for one in document["data"]] == ["95.test", "96.test", "97.test", "98.test", "99.test"]
    assert document["links"]["next"] is None
    document = (await desk.get("blocklist?page[number]=999999999999999&page[size]=1")).json()
    assert (document["data"], document["meta"]["total"]) == ([], 105)


async def test_t_bl_3_to_5_lists_are_searched_filtered_and_sorted(desk: Desk) -> None:
    await entry(desk, "spamdomain.test", blocked=50)
    await entry(desk, "hamdomain.test", blocked=5)
    await entry(desk, "x@spam.test", "email", blocked=7)
    assert await values(desk, "filter[search]=spamdomain") == ["spamdomain.test"]
    assert await values(desk, "filter[search]=DOMAIN&sort=value") == ["hamdomain.test", "spamdomain.test"]
    assert await values(desk, "filter[search]=%25") == []
    assert await values(desk, "filter[type]=email") == ["x@spam.test"]
    assert await values(desk, "filter[type]=domain&sort=blocked") == ["hamdomain.test", "spamdomain.test"]
    assert await values(desk, "sort=-blocked") == ["spamdomain.test", "x@spam.test", "hamdomain.test"]
    assert await values(desk, "sort=&filter[search]=&filter[type]=&page[size]=") == await values(desk)


@pytest.mark.parametrize(
    ("query", "key", "message"),
    [
        ("filter=x", "filter", "The filter must be an array."),
        ("filter[type]=phone", "filter.type", "The selected filter.type is invalid."),
        (f"filter[search]={'x' * 101}", "filter.search", "The filter.search may not be greater than 100 characters."),
        ("filter[search][a]=x", "filter.search", "The filter.search must be a string."),
        ("filter[search]=%00", "filter.search", "The filter.search must be a string."),
        ("sort=uuid", "sort", "The selected sort is invalid."),
        ("sort[]=value", "sort", "The selected sort is invalid."),
        ("sort=value;drop table alias", "sort", "The selected sort is invalid."),
        ("page=2", "page", "The page must be an array."),
        ("page[number]=0", "page.number", "The page.number must be at least 1."),
        ("page[number]=x", "page.number", "The page.number must be an integer."),
        ("page[size]=0", "page.size", "The page.size must be at least 1."),
        ("page[size]=101", "page.size", "The page.size may not be greater than 100."),
    ],
)
async def test_questions_are_checked(desk: Desk, query: str, key: str, message: str) -> None:
    assert errors(await desk.get(f"blocklist?{query}")) == {key: [message]}


async def test_groups_may_come_as_lists_in_a_body(desk: Desk) -> None:
    await entry(desk, "spam.test")
    response = await desk.ask("GET", "blocklist", {"page": [7], "filter": ["x"]})
    assert (response.status_code, len(response.json()["data"])) == (200, 1)


# --- adding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "value", "stored"),
    [
        ("email", " Bad@Spam.Test ", "bad@spam.test"),
        ("email", "bounce+1=a.b@spam.test", "bounce+1=a.b@spam.test"),
        ("email", "x@bücher.example", "x@xn--bcher-kva.example"),
        ("domain", "Spam.Test", "spam.test"),
        ("domain", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("domain", "a.xn--p1ai", "a.xn--p1ai"),
        ("domain", "co.uk", "co.uk"),
        ("domain", f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 55}.eeee", None),
    ],
)
async def test_t_bl_6_and_7_a_sender_is_blocked(desk: Desk, type: str, value: str, stored: str | None) -> None:
    response = await add(desk, type, value)
    assert response.status_code == 201, response.text
    found = response.json()["data"]
    assert set(found) == SHAPE
    assert (found["type"], found["value"], found["blocked"]) == (type, stored or value, 0)
    assert found["last_blocked"] is None
    assert await desk.sql("select actor ~ '^token:', account_id, action, detail->>'value' from audit") == [
        (True, 1, "block.add", stored or value)
    ]


@pytest.mark.parametrize("type", ["invalid", "Email", 5, True, ["email"], {"a": "email"}])
async def test_t_bl_10_there_are_two_types(desk: Desk, type: Any) -> None:
    found = errors(await add(desk, type, "not checked"))
    expected = [NO_TYPE] if isinstance(type, str) else ["The type must be a string.", NO_TYPE]
    assert found == {"type": expected}


async def test_type_and_value_are_asked_for_in_plain_words(desk: Desk) -> None:
    for sent in ({}, {"type": None, "value": ""}):
        assert errors(await desk.post("blocklist", sent)) == {
            "type": ["Please select whether you are blocking an email or a domain."],
            "value": ["Please enter an email address or domain to block."],
        }
    assert errors(await desk.post("blocklist/store/bulk", {})) == {
        "type": ["Please select whether you are blocking emails or domains."],
        "values": ["Please enter at least one entry."],
    }


@pytest.mark.parametrize(
    ("type", "value", "messages"),
    [
        ("email", "not-an-email", [NOT_EMAIL]),
        ("email", "a@localhost", [NOT_EMAIL]),
        ("email", "a b@spam.test", [NOT_EMAIL]),
        ("email", "a@spam.test\r\nX: y", [NOT_EMAIL]),
        ("email", f"{'a' * 250}@spam.test", [LONG, NOT_EMAIL]),
        ("email", f"{'ä' * 130}@spam.test", [NOT_EMAIL]),
        ("domain", "spam", [NOT_DOMAIN]),
        ("domain", "spam.test.", [NOT_DOMAIN]),
        ("domain", "-spam.test", [NOT_DOMAIN]),
        ("domain", "spam_1.test", [NOT_DOMAIN]),
        ("domain", "spam.1", [NOT_DOMAIN]),
        ("domain", "spam.t", [NOT_DOMAIN]),
        ("domain", "192.0.2.1", [NOT_DOMAIN]),
        ("domain", "http://spam.test", [NOT_DOMAIN]),
        ("domain", "a@spam.test", [NOT_DOMAIN]),
        ("domain", f"{'a' * 64}.test", [NOT_DOMAIN]),
        ("domain", f"{'a.' * 125}test", [LONG, NOT_DOMAIN]),
        ("domain", 5, ["The value must be a string.", NOT_DOMAIN]),
        ("domain", ["spam.test"], ["The value must be a string.", NOT_DOMAIN]),
        ("email", "a\x00@spam.test", ["The value must be a string.", NOT_EMAIL]),
        ("email", "\ud800@spam.test", ["The value must be a string.", NOT_EMAIL]),
    ],
)
async def test_t_bl_11_what_is_none_is_refused(desk: Desk, type: str, value: Any, messages: list[str]) -> None:
    found = errors(await add(desk, type, value))
    assert found == {"value": messages}
    assert await desk.one("select count(*) from blocked_sender") == 0


async def test_t_bl_12_nothing_is_there_twice(desk: Desk) -> None:
    await entry(desk, "spam.test", account=2)
    assert (await add(desk, "domain", "spam.test")).status_code == 201
    assert errors(await add(desk, "domain", "SPAM.test")) == {"value": [LISTED]}
    await desk.forget_requests()
    responses = await asyncio.gather(*(add(desk, "email", "x@spam.test") for _ in range(50)))
    assert sorted(response.status_code for response in responses) == [201, *[422] * 49]


async def test_t_bl_15_many_are_added_at_once(desk: Desk) -> None:
    response = await add_all(desk, "email", ["c@spam.test", "A@spam.test", "b@spam.test"])
    assert response.status_code == 201
    document = response.json()
    assert set(document) == {"data", "message", "skipped"}
    assert [one["value"] for one in document["data"]] == ["c@spam.test", "a@spam.test", "b@spam.test"]
    assert (document["message"], document["skipped"]) == ("3 entries added to blocklist.", 0)
    assert set(document["data"][0]) == SHAPE


@pytest.mark.parametrize(
    ("values", "message", "skipped"),
    [
        (["new.test"], "1 entry added to blocklist.", 0),
        (["new.test", " ", None, ""], "1 entry added to blocklist.", 0),
        (["new.test", "old.test"], "1 entry added to blocklist. 1 already on blocklist.", 1),
        (["a.test", "b.test", "Old.test", "OLD.test"], "2 entries added to blocklist. 2 already on blocklist.", 2),
        (["a.test", "A.test"], "1 entry added to blocklist. 1 already on blocklist.", 1),
        (["old.test"], "All entries were already on your blocklist.", 1),
        ({"0": "new.test", "x": "old.test"}, "1 entry added to blocklist. 1 already on blocklist.", 1),
    ],
)
async def test_what_was_there_is_skipped(desk: Desk, values: Any, message: str, skipped: int) -> None:
    await entry(desk, "old.test")
    response = await add_all(desk, "domain", values)
    assert response.status_code == 201
    assert (response.json()["message"], response.json()["skipped"]) == (message, skipped)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], {"values": ["Please enter at least one entry."]}),
        (["", None, "  "], {"values": ["Please enter at least one entry."]}),
        ("spam.test", {"values": ["The values must be an array."]}),
        (5, {"values": ["The values must be an array."]}),
        (["x.test"] * 51, {"values": ["You may add at most 50 entries at once."]}),
        (["x.test"] * 10_000, {"values": ["You may add at most 50 entries at once."]}),
        (["a.test", "b", 5], {"values.1": [NOT_DOMAIN], "values.2": ["The values.2 must be a string.", NOT_DOMAIN]}),
        (["a.test", ["b.test"]], {"values.1": ["The values.1 must be a string.", NOT_DOMAIN]}),
    ],
)
async def test_one_that_is_none_spoils_them_all(desk: Desk, values: Any, found: dict[str, list[str]]) -> None:
    assert errors(await add_all(desk, "domain", values)) == found
    assert await desk.one("select count(*) from blocked_sender") == 0


async def test_fifty_at_once_are_fine(desk: Desk) -> None:
    response = await add_all(desk, "domain", [f"d{number}.test" for number in range(50)])
    assert response.json()["message"] == "50 entries added to blocklist."


async def test_forms_are_read_as_well(desk: Desk) -> None:
    content = b"type=domain&values[]=a.test&values[]=b.test"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await desk.ask("POST", "blocklist/store/bulk", content=content, **kind)
    assert response.json()["message"] == "2 entries added to blocklist."


# --- removing ---------------------------------------------------------------------------------------------------------


async def test_t_bl_8_an_entry_goes(desk: Desk) -> None:
    uuid = await entry(desk, "spam.test")
    response = await desk.delete(f"blocklist/{str(uuid).upper()}")
    assert (response.status_code, response.content) == (204, b"")
    assert await values(desk) == []
    assert await desk.sql("select action, detail->>'value' from audit") == [("block.remove", "spam.test")]
    assert (await desk.delete(f"blocklist/{uuid}")).status_code == 404


async def test_t_bl_9_entries_of_others_stay(desk: Desk) -> None:
    theirs = await entry(desk, "spam.test", account=2)
    for id in (theirs, uuid4(), "foo"):
        response = await desk.delete(f"blocklist/{id}")
        assert response.status_code == 404
        assert response.json() == {"message": f"No query results for model [App\\Models\\BlockedSender] {id}"}
    response = await desk.post("blocklist/delete/bulk", {"ids": [str(theirs)]})
    assert (response.status_code, response.json()) == (404, {"message": "No blocklist entries found"})
    assert await desk.one("select count(*) from blocked_sender") == 1


async def test_t_bl_13_many_go_at_once(desk: Desk) -> None:
    uuids = [str(await entry(desk, f"{name}.test")) for name in ("a", "b", "c", "d")]
    theirs = str(await entry(desk, "a.test", account=2))
    response = await desk.post("blocklist/delete/bulk", {"ids": [uuids[2].upper(), None, theirs, uuids[0], uuids[1]]})
    assert response.status_code == 200
    assert response.json() == {
        "message": "3 entries removed from blocklist",
        "ids": [uuids[2], uuids[0], uuids[1]],
    }
    response = await desk.post("blocklist/delete/bulk", {"ids": {"x": uuids[3]}})
    assert response.json() == {"message": "1 entry removed from blocklist", "ids": [uuids[3]]}


@pytest.mark.parametrize(
    ("sent", "key", "message"),
    [
        ({}, "ids", "The ids field is required."),
        ({"ids": []}, "ids", "The ids field is required."),
        ({"ids": [None]}, "ids", "The ids field is required."),
        ({"ids": str(uuid4())}, "ids", "The ids must be an array."),
        ({"ids": [str(uuid4()) for _ in range(501)]}, "ids", "The ids may not have more than 500 items."),
        ({"ids": [str(uuid4()) for _ in range(10_000)]}, "ids", "The ids may not have more than 500 items."),
        ({"ids": ["foo"]}, "ids.0", "The ids.0 must be a valid UUID."),
        ({"ids": [5]}, "ids.0", "The ids.0 must be a valid UUID."),
        ({"ids": [["\x00"]]}, "ids.0", "The ids.0 must be a valid UUID."),
    ],
)
async def test_t_bl_14_ids_are_checked(desk: Desk, sent: dict[str, Any], key: str, message: str) -> None:
    assert errors(await desk.post("blocklist/delete/bulk", sent)) == {key: [message]}


async def test_each_id_comes_once(desk: Desk) -> None:
    uuid = str(await entry(desk, "spam.test"))
    message = "The {} field has a duplicate value."
    found = errors(await desk.post("blocklist/delete/bulk", {"ids": [uuid, uuid]}))
    assert found == {key: [message.format(key)] for key in ("ids.0", "ids.1")}


async def test_five_hundred_ids_are_fine(desk: Desk) -> None:
    uuid = str(await entry(desk, "spam.test"))
    response = await desk.post("blocklist/delete/bulk", {"ids": [*(str(uuid4()) for _ in range(499)), uuid]})
    assert response.json()["ids"] == [uuid]
