"""Handles in the dashboard: haltman-api.md section 3.21."""

import asyncio
from typing import Any

import pytest

from tests.api.haltman.conftest import Desk
from tests.api.haltman.test_admin_aliases import GOTO, admin, ban, problem

__all__ = ["admin"]  # fixtures

PATH = "admin/handles"


async def made(admin: Desk, name: str = "jose", goto: str = GOTO, **more: Any) -> dict[str, Any]:
    response = await admin.post(PATH, {"handle": name, "address": goto, **more})
    assert response.status_code == 201, response.text
    item = response.json()["item"]
    assert isinstance(item, dict)
    return item


async def test_a_new_handle_belongs_to_whoever_has_the_mailbox_and_they_are_told(admin: Desk) -> None:
    response = await admin.post(PATH, {"handle": " Jose ", "address": "New@Inbox.Example"})
    document = response.json()
    assert response.status_code == 201
    item = {"id": document["item"]["id"], "handle": "jose", "address": "new@inbox.example", "active": 1}
    assert document == {"ok": True, "created": True, "item": item} and type(item["id"]) is int
    query = "select implicit_mailbox from account join handle on account_id = account.id"
    assert await admin.one(query) == "new@inbox.example"
    data = (await admin.one("select payload from job where kind = 'notice'"))["data"]
    assert data == {
        "address": "new@inbox.example",
        "about": "jose",
        "tag": "handle",
        "link": "https://relay.example/api/remove/handle?handle=jose",
    }
    assert await admin.one("select actor from audit where action = 'handle.create'") == "admin:1"
    off = await made(admin, "ana", active=False)
    assert off["active"] == 0
    assert (await admin.get(f"{PATH}/{off['id']}")).json() == {"item": off}


async def test_lists_are_filtered_and_paged(admin: Desk) -> None:
    items = [await made(admin, f"jose{n}", f"me{n % 2}@inbox.example", active=min(n % 3, 1)) for n in range(7)]
    items.reverse()
    assert (await admin.get(PATH)).json() == {"items": items, "pagination": {"total": 7, "limit": 50, "offset": 0}}
    page = (await admin.get(f"{PATH}?limit=2&offset=3")).json()
    assert page == {"items": items[3:5], "pagination": {"total": 7, "limit": 2, "offset": 3}}
    for query, total in (("active=1", 4), ("active=0", 3), ("handle=SE3", 1), ("handle=%25", 0), ("address=ME1", 3)):
        found = (await admin.get(f"{PATH}?{query}")).json()
        assert (found["pagination"]["total"], len(found["items"])) == (total, total), query


@pytest.mark.parametrize(
    ("query", "field", "rule"),
    [
        ("limit=201", "limit", "max"),
        ("offset=-1", "offset", "min"),
        ("active=maybe", "active", "isInt"),
        ("handle=", "handle", "minLength"),
        ("handle=" + "x" * 65, "handle", "maxLength"),
        ("address=", "address", "minLength"),
        ("address=" + "x" * 255, "address", "maxLength"),
    ],
)
async def test_filters_are_checked(admin: Desk, query: str, field: str, rule: str) -> None:
    said = problem(await admin.get(f"{PATH}?{query}"), 400, "invalid_params")
    assert said["field"] == field and rule in said["constraints"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_ids_are_decimal_digits_of_handles_that_are_here(admin: Desk, method: str) -> None:
    body = {"active": 1} if method == "PATCH" else None
    for number in ("0", "0x1", "1e1", "x"):
        assert problem(await admin.ask(method, f"{PATH}/{number}", body), 400, "invalid_params") == {"field": "id"}
    assert problem(await admin.ask(method, f"{PATH}/77", body), 404, "handle_not_found") == {"id": 77}


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_checks_come_in_their_order(desk: Desk, method: str) -> None:
    path = PATH if method == "POST" else f"{PATH}/abc"
    problem(await desk.ask(method, path), 401, "invalid_or_expired_session")
    if method != "GET":
        problem(await desk.ask(method, path, Cookie=(await desk.admin()).headers["Cookie"]), 403, "csrf_required")
    refused = await (await desk.admin()).ask(method, path)
    assert problem(refused, 400, "invalid_params")["field"] == ("handle" if method == "POST" else "id")


@pytest.mark.parametrize(
    ("body", "field", "rules"),
    [
        ({}, "handle", {"isString", "minLength", "maxLength"}),
        ({"handle": "", "address": GOTO}, "handle", {"minLength"}),
        ({"handle": "x" * 65, "address": GOTO}, "handle", {"maxLength"}),
        ({"handle": "a b", "address": GOTO}, "handle", {"matches"}),
        ({"handle": "a+b", "address": GOTO}, "handle", {"matches"}),
        ({"handle": "a..b", "address": GOTO}, "handle", {"matches"}),
        ({"handle": f"r-{'a' * 16}", "address": GOTO}, "handle", {"matches"}),
        ({"handle": "jose"}, "address", {"isString", "minLength", "maxLength"}),
        ({"handle": "jose", "address": "nobody"}, "address", {"matches"}),
        ({"handle": "jose", "address": GOTO, "active": "x"}, "active", {"isInt", "min", "max"}),
    ],
)
async def test_new_handles_are_checked(admin: Desk, body: dict[str, Any], field: str, rules: set[str]) -> None:
    said = problem(await admin.post(PATH, body), 400, "invalid_params")
    assert (said["field"], set(said["constraints"])) == (field, rules)


@pytest.mark.parametrize(("kind", "value"), [("name", "jose"), ("email", GOTO), ("domain", "inbox.example")])
async def test_bans_are_checked(admin: Desk, kind: str, value: str) -> None:
    await ban(admin, kind, value)
    said = problem(await admin.post(PATH, {"handle": "jose", "address": GOTO}), 403, "banned")
    assert (said["ban"]["ban_type"], said["ban"]["ban_value"]) == (kind, value)


@pytest.mark.parametrize("domain", ["alias.example", "sub.alias2.example", "relay.example"])
async def test_no_destination_at_our_own_domains(admin: Desk, domain: str) -> None:
    said = problem(await admin.post(PATH, {"handle": "jose", "address": f"x@{domain}"}), 400, "invalid_params")
    assert (said["field"], said["reason"]) == ("address", "destination_cannot_use_managed_domain")


async def test_no_destination_that_is_an_alias(admin: Desk) -> None:
    await admin.post("admin/aliases", {"address": "a@alias.example", "goto": GOTO})
    said = problem(await admin.post(PATH, {"handle": "jose", "address": "a@alias.example"}), 400, "invalid_params")
    assert (said["field"], said["reason"]) == ("address", "destination_cannot_be_an_existing_alias")


async def test_a_name_is_taken_by_handles_and_aliases_in_any_state(admin: Desk) -> None:
    item = await made(admin)
    alias = (await admin.post("admin/aliases", {"address": "ana@alias.example", "goto": GOTO})).json()["item"]
    for _ in range(2):
        for name in ("jose", "ana"):
            response = await admin.post(PATH, {"handle": name, "address": GOTO})
            assert problem(response, 409, "handle_taken") == {"handle": name}
            assert "ok" not in response.json()  # section 3.21
        await admin.delete(f"{PATH}/{item['id']}")
        await admin.delete(f"admin/aliases/{alias['id']}")


async def test_of_those_who_claim_a_name_at_once_one_succeeds(admin: Desk) -> None:
    answers = await asyncio.gather(*(admin.post(PATH, {"handle": "race", "address": GOTO}) for _ in range(4)))
    assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]


# --- DELETE ---------------------------------------------------------------------------------------------------------


async def test_d_34_a_deleted_handle_is_released_and_its_name_never_free(admin: Desk) -> None:
    item = await made(admin)
    response = await admin.delete(f"{PATH}/{item['id']}", {"any": "body"})
    assert (response.status_code, response.json()) == (200, {"ok": True, "deleted": True, "item": item})
    released = {**item, "address": None, "active": 0}
    assert (await admin.get(f"{PATH}/{item['id']}")).json() == {"item": released}
    assert await admin.one("select state from handle") == "released"
    again = (await admin.delete(f"{PATH}/{item['id']}")).json()
    assert again == {"ok": True, "deleted": False, "item": released}
    problem(await admin.post(PATH, {"handle": "jose", "address": GOTO}), 409, "handle_taken")
    actions = await admin.sql("select action, actor from audit where object_table = 'handle' order by id")
    assert actions == [("handle.create", "admin:1"), ("handle.release", "admin:1")]


async def test_its_addresses_stop_with_a_released_handle(admin: Desk) -> None:
    item = await made(admin)
    await admin.sql(
        "insert into alias (account_id, local_part, domain, handle_id) values (2, 'jose', 'alias.example', %s)",
        item["id"],
    )
    await admin.delete(f"{PATH}/{item['id']}")
    alias = (await admin.get("admin/aliases")).json()["items"][0]
    assert (alias["goto"], alias["active"]) == ("deleted@relay.example", 0)
    back = await admin.patch(f"admin/aliases/{alias['id']}", {"goto": GOTO, "active": 1})
    assert problem(back, 409, "alias_taken") == {}


# --- PATCH ----------------------------------------------------------------------------------------------------------


async def test_a_handle_is_switched_off_and_on(admin: Desk) -> None:
    item = await made(admin)
    off = (await admin.patch(f"{PATH}/{item['id']}", {"active": 0})).json()
    assert off == {"ok": True, "updated": True, "item": {**item, "active": 0}}
    assert (await admin.patch(f"{PATH}/{item['id']}", {**item, "active": 1})).json()["item"] == item


async def test_changes_are_checked(admin: Desk) -> None:
    item = await made(admin)
    await made(admin, "ana")
    await admin.post("admin/aliases", {"address": "eva@alias.example", "goto": GOTO})
    await ban(admin, "name", "banned")
    path = f"{PATH}/{item['id']}"
    assert problem(await admin.patch(path, {"other": 1}), 400, "invalid_params") == {"reason": "empty_patch"}
    for field in ("handle", "address"):
        for value in (None, "", "a b"):
            said = problem(await admin.patch(path, {field: value}), 400, "invalid_params")
            assert said["field"] == field and said["constraints"]
    for name in ("ana", "eva"):
        assert problem(await admin.patch(path, {"handle": name}), 409, "handle_taken") == {"handle": name}
    problem(await admin.patch(path, {"handle": "banned"}), 403, "banned")
    problem(await admin.patch(path, {"address": "x@alias.example"}), 400, "invalid_params")
    problem(await admin.patch(path, {"address": "eva@alias.example"}), 400, "invalid_params")
    assert (await admin.get(path)).json()["item"] == item


async def test_bans_never_keep_a_handle_active(admin: Desk) -> None:
    item = await made(admin)
    path = f"{PATH}/{item['id']}"
    await ban(admin, "domain", "inbox.example")
    problem(await admin.patch(path, {"active": 1}), 403, "banned")
    assert (await admin.patch(path, {**item, "active": 0})).json()["item"]["active"] == 0
    problem(await admin.patch(path, {**item, "active": 1}), 403, "banned")


async def test_another_destination_takes_the_handle_to_another_account(admin: Desk) -> None:
    item = await made(admin)
    await admin.sql("update handle set description = 'private'")
    await admin.sql(
        "insert into alias (account_id, local_part, domain, handle_id) values (2, 'jose', 'alias.example', %s)",
        item["id"],
    )
    changed = (await admin.patch(f"{PATH}/{item['id']}", {"address": "you@inbox.example"})).json()["item"]
    assert changed == {**item, "address": "you@inbox.example"}
    query = """
        select acc.implicit_mailbox, h.description, (select count(*) from alias)
        from handle h join account acc on acc.id = h.account_id
    """
    assert await admin.sql(query) == [("you@inbox.example", None, 0)]
    assert (await admin.get(f"{PATH}?address=you@")).json()["items"] == [changed]


async def test_another_mailbox_of_the_same_account_keeps_it_there(admin: Desk) -> None:
    await admin.sql("insert into recipient (account_id, address, verified_at) values (1, 'two@inbox.example', now())")
    await admin.sql("insert into handle (account_id, local_part, description) values (1, 'jose', 'x')")
    number = await admin.one("select id from handle")
    changed = (await admin.patch(f"{PATH}/{number}", {"address": "two@inbox.example"})).json()["item"]
    assert changed["address"] == "two@inbox.example"
    assert await admin.sql("select account_id, description from handle") == [(1, "x")]


async def test_a_renamed_handle_leaves_its_name_taken(admin: Desk) -> None:
    item = await made(admin)
    await admin.sql(
        "insert into alias (account_id, local_part, domain, handle_id) values (2, 'jose', 'alias.example', %s)",
        item["id"],
    )
    changed = (await admin.patch(f"{PATH}/{item['id']}", {"handle": "josefa"})).json()["item"]
    assert changed == {**item, "handle": "josefa"}
    problem(await admin.post(PATH, {"handle": "jose", "address": GOTO}), 409, "handle_taken")
    problem(await admin.post("admin/aliases", {"address": "jose@alias.example", "goto": GOTO}), 409, "alias_taken")
    assert await admin.sql("select local_part, state from handle order by id") == [
        ("josefa", "active"),
        ("jose", "released"),
    ]


async def test_a_released_handle_needs_an_address_to_come_back(admin: Desk) -> None:
    item = await made(admin)
    path = f"{PATH}/{item['id']}"
    await admin.delete(path)
    for body in ({"active": 1}, {"handle": "jose", "active": "yes"}):
        assert problem(await admin.patch(path, body), 400, "invalid_params")["field"] == "address"
    back = (await admin.patch(path, {"address": "you@inbox.example", "active": 1})).json()["item"]
    assert back == {**item, "address": "you@inbox.example"}


async def test_changes_at_once_all_happen_one_after_the_other(admin: Desk) -> None:
    item = await made(admin)
    path = f"{PATH}/{item['id']}"
    bodies: list[dict[str, Any]] = [{"address": f"me{n}@inbox.example"} for n in range(3)] + [{"active": 0}]
    answers = await asyncio.gather(*(admin.patch(path, body) for body in bodies))
    assert [one.status_code for one in answers] == [200] * 4
    last = (await admin.get(path)).json()["item"]
    assert last["active"] == 0 and last["address"] in {f"me{n}@inbox.example" for n in range(3)}
