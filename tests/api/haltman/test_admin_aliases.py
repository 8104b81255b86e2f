"""Aliases in the dashboard: haltman-api.md sections 3.1 (one of the documented endpoints) and 3.18."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.api.haltman.conftest import Desk

PATH = "admin/aliases"
GOTO = "me@inbox.example"
ITEM = {"id", "address", "goto", "active", "domain_id", "created", "modified"}


@pytest.fixture
async def admin(desk: Desk) -> Desk:
    return await desk.admin()


async def made(admin: Desk, address: str = "sales@alias.example", goto: str = GOTO, **more: Any) -> dict[str, Any]:
    response = await admin.post(PATH, {"address": address, "goto": goto, **more})
    assert response.status_code == 201, response.text
    item = response.json()["item"]
    assert isinstance(item, dict)
    return item


def problem(response: httpx2.Response, status: int, error: str) -> dict[str, Any]:
    """The body of an error, without what all of them have."""
    document = response.json()
    assert (response.status_code, document["error"], document["code"]) == (status, error, status), response.text
    assert document["message"]
    return {name: value for name, value in document.items() if name not in ("error", "code", "message", "ok")}


async def ban(desk: Desk, kind: str, value: str) -> None:
    await desk.sql("insert into ban (type, value, reason) values (%s, %s, 'spam')", kind, value)


# --- DELETE /api/admin/aliases/{id}, as documented ------------------------------------------------------------------


async def test_delete_forgets_the_destination_and_keeps_the_address(admin: Desk) -> None:
    item = await made(admin)
    response = await admin.delete(f"{PATH}/{item['id']}")
    document = response.json()
    assert response.status_code == 200
    assert set(document) == {"ok", "deleted", "item"} and document["ok"] is True and document["deleted"] is True
    assert set(document["item"]) == ITEM
    assert document["item"] == {
        **item,
        "goto": "deleted@relay.example",
        "active": 0,
        "modified": document["item"]["modified"],
    }
    assert document["item"]["modified"] > item["modified"]
    assert response.headers["Cache-Control"] == "no-store, private"
    assert await admin.one("select count(*) from job where payload->>'code' = 'MFY'") == 1  # of its making alone
    (row,) = await admin.sql("select actor, action from audit where object_table = 'alias' order by id desc limit 1")
    assert row == ("admin:1", "alias.delete")
    taken = await admin.post(PATH, {"address": item["address"], "goto": GOTO})
    assert problem(taken, 409, "alias_taken") == {"address": "sales@alias.example"}


async def test_delete_of_an_inactive_alias_changes_nothing(admin: Desk) -> None:
    item = await made(admin, active=0)
    again = (await admin.delete(f"{PATH}/{item['id']}")).json()
    assert again == {"ok": True, "deleted": False, "item": item}
    other = await made(admin, "other@alias.example")
    first = (await admin.delete(f"{PATH}/{other['id']}")).json()
    assert (await admin.delete(f"{PATH}/{other['id']}")).json() == {**first, "deleted": False}


async def test_delete_ignores_a_body_and_answers_an_empty_one_of_type_json(admin: Desk) -> None:
    item = await made(admin)
    response = await admin.ask("DELETE", f"{PATH}/{item['id']}", content=b"", Content_Type="application/json")
    assert response.json()["deleted"] is True


@pytest.mark.parametrize("number", ["0", "-1", "1.0", "1e3", "0x10", "abc", "%20", "9" * 30])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_ids_are_decimal_digits(admin: Desk, method: str, number: str) -> None:
    response = await admin.ask(method, f"{PATH}/{number}", {"active": 1} if method == "PATCH" else None)
    assert problem(response, 400, "invalid_params") == {"field": "id"}


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_there_is_no_such_alias(admin: Desk, method: str) -> None:
    response = await admin.ask(method, f"{PATH}/123", {"active": 1} if method == "PATCH" else None)
    assert problem(response, 404, "alias_not_found") == {"id": 123}


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_checks_come_in_their_order(desk: Desk, method: str) -> None:
    """Session, administrator, CSRF token, id, existence (section 3.1)."""
    path = PATH if method == "POST" else f"{PATH}/abc"
    body = {"active": 1} if method in ("PATCH", "POST") else None
    problem(await desk.ask(method, path, body), 401, "invalid_or_expired_session")
    known = (await desk.admin()).headers
    cookie, token = known["Cookie"], known["X-CSRF-Token"]
    refused = await desk.ask(method, path, body, Cookie=cookie)
    if method != "GET":
        problem(refused, 403, "csrf_required")
        problem(await desk.ask(method, path, body, Cookie=cookie, X_CSRF_Token="wrong"), 403, "invalid_csrf_token")
        refused = await desk.ask(method, path, body, Cookie=cookie, X_CSRF_Token=token)
    assert problem(refused, 400, "invalid_params")["field"] == ("address" if method == "POST" else "id")


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"global": 2}}}])
async def test_too_many_requests_are_answered_in_json(admin: Desk) -> None:
    for _ in range(2):
        await admin.delete(f"{PATH}/1")
    said = problem(await admin.delete(f"{PATH}/1"), 429, "rate_limited")
    assert (said["where"], said["reason"]) == ("global", "too_many_requests_ip")


@pytest.mark.parametrize("chosen", [{"haltman": {"tombstone": "alias@haltman.example"}}])
async def test_the_tombstone_is_a_setting(admin: Desk) -> None:
    item = await made(admin)
    assert (await admin.delete(f"{PATH}/{item['id']}")).json()["item"]["goto"] == "alias@haltman.example"
    assert (await admin.get(f"{PATH}?goto=alias@haltman")).json()["pagination"]["total"] == 1


# --- lists ----------------------------------------------------------------------------------------------------------


async def test_lists_are_filtered_and_paged(admin: Desk) -> None:
    for n in range(12):
        await made(
            admin, f"Shop{n}@{'alias' if n % 2 else 'alias2'}.example", f"me{n % 3}@inbox.example", active=min(n % 4, 1)
        )
    everything = (await admin.get(PATH)).json()
    assert everything["pagination"] == {"total": 12, "limit": 50, "offset": 0}
    assert [item["address"].partition("@")[0] for item in everything["items"]] == [
        f"shop{n}" for n in range(11, -1, -1)
    ]
    assert all(type(item["id"]) is int and set(item) == ITEM for item in everything["items"])
    page = (await admin.get(f"{PATH}?limit=5&offset=9")).json()
    assert page == {"items": everything["items"][9:], "pagination": {"total": 12, "limit": 5, "offset": 9}}
    for query, total in (
        ("active=1", 9),
        ("active=no", 3),
        ("goto=ME1@", 4),
        ("domain=alias2", 6),
        ("handle=P1", 3),
        ("address=hop1%40ALIAS.", 1),
        ("address=%25", 0),
        ("address=_", 0),
        ("goto=me1&domain=alias.&active=true", 2),
    ):
        found = (await admin.get(f"{PATH}?{query}")).json()
        assert (found["pagination"]["total"], len(found["items"])) == (total, total), query


async def test_one_alias_is_shown(admin: Desk) -> None:
    item = await made(admin)
    assert (await admin.get(f"{PATH}/{item['id']}")).json() == {"item": item}
    await admin.sql("update alias set domain_id = null")
    without = {name: value for name, value in item.items() if name != "domain_id"}
    assert (await admin.get(f"{PATH}/{item['id']}")).json()["item"] | {"modified": item["modified"]} == without


@pytest.mark.parametrize(
    ("query", "field", "rules"),
    [
        ("limit=0", "limit", {"min"}),
        ("limit=201", "limit", {"max"}),
        ("limit=", "limit", {"isInt", "min", "max"}),
        ("limit=1.5", "limit", {"isInt", "min", "max"}),
        ("offset=-1", "offset", {"min"}),
        ("offset=x", "offset", {"isInt", "min", "max"}),
        ("active=", "active", {"isInt", "min", "max"}),
        ("active=2", "active", {"isInt", "min", "max"}),
        ("goto=", "goto", {"minLength"}),
        ("goto=" + "x" * 255, "goto", {"maxLength"}),
        ("domain=", "domain", {"minLength"}),
        ("domain=" + "x" * 254, "domain", {"maxLength"}),
        ("handle=", "handle", {"minLength"}),
        ("handle=" + "x" * 65, "handle", {"maxLength"}),
        ("address=", "address", {"minLength"}),
        ("address=%20", "address", {"matches"}),
        ("address=a&address=b", "address", {"isString", "minLength", "maxLength"}),
        ("address=a%00b", "address", {"isString", "minLength", "maxLength"}),
    ],
)
async def test_filters_are_checked(admin: Desk, query: str, field: str, rules: set[str]) -> None:
    said = problem(await admin.get(f"{PATH}?{query}"), 400, "invalid_params")
    assert (said["field"], set(said["constraints"])) == (field, rules)


# --- POST -----------------------------------------------------------------------------------------------------------


async def test_a_new_alias_belongs_to_whoever_has_the_mailbox_and_they_are_told(admin: Desk) -> None:
    response = await admin.post(PATH, {"address": " Sales@Alias.Example ", "goto": "New@Inbox.Example"})
    document = response.json()
    assert response.status_code == 201 and document["ok"] is True and document["created"] is True
    item = document["item"]
    assert (item["address"], item["goto"], item["active"]) == ("sales@alias.example", "new@inbox.example", 1)
    assert item["domain_id"] == await admin.one("select id from domain where name = 'alias.example'")
    query = "select implicit_mailbox from account join alias on account_id = account.id"
    assert await admin.one(query) == "new@inbox.example"
    payload = await admin.one("select payload from job where kind = 'notice'")
    assert payload["code"] == "MFY"
    assert payload["data"] == {
        "address": "new@inbox.example",
        "about": "sales@alias.example",
        "tag": "alias",
        "link": "https://relay.example/api/remove/alias?alias=sales%40alias.example",
    }
    assert await admin.one("select actor from audit where action = 'alias.create'") == "admin:1"


@pytest.mark.parametrize("chosen", [{"api": {"url": ""}}])
async def test_where_our_own_site_is_unknown_they_get_no_link(admin: Desk) -> None:
    await made(admin)
    await admin.post("admin/handles", {"handle": "team", "address": GOTO})
    assert [mail.data["link"] for mail in await admin.mails()] == ["", ""]


@pytest.mark.parametrize("chosen", [{"haltman": {"admin_notices": False}}])
async def test_nobody_is_told_where_that_is_switched_off(admin: Desk) -> None:
    await made(admin)
    assert await admin.one("select count(*) from job") == 0


@pytest.mark.parametrize(
    ("body", "field", "rules"),
    [
        ({}, "address", {"isString", "minLength", "maxLength"}),
        ({"address": None, "goto": GOTO}, "address", {"isString", "minLength", "maxLength"}),
        ({"address": "", "goto": GOTO}, "address", {"minLength"}),
        ({"address": "x" * 255, "goto": GOTO}, "address", {"maxLength"}),
        ({"address": "no mailbox", "goto": GOTO}, "address", {"matches"}),
        ({"address": "a+b@alias.example", "goto": GOTO}, "address", {"matches"}),
        ({"address": f"r-{'a' * 16}@alias.example", "goto": GOTO}, "address", {"matches"}),
        ({"address": f"b-{'a' * 34}@alias.example", "goto": GOTO}, "address", {"matches"}),
        ({"address": "a@alias.example"}, "goto", {"isString", "minLength", "maxLength"}),
        ({"address": "a@alias.example", "goto": "@inbox.example"}, "goto", {"matches"}),
        ({"address": "a@alias.example", "goto": [GOTO]}, "goto", {"isString", "minLength", "maxLength"}),
        ({"address": "a@alias.example", "goto": GOTO, "active": ""}, "active", {"isInt", "min", "max"}),
    ],
)
async def test_new_aliases_are_checked(admin: Desk, body: dict[str, Any], field: str, rules: set[str]) -> None:
    said = problem(await admin.post(PATH, body), 400, "invalid_params")
    assert (said["field"], set(said["constraints"])) == (field, rules)
    assert await admin.one("select count(*) from alias") == 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [("name", "sales"), ("domain", "alias.example"), ("email", GOTO), ("domain", "inbox.example")],
)
async def test_bans_are_checked(admin: Desk, kind: str, value: str) -> None:
    await ban(admin, kind, value)
    said = problem(await admin.post(PATH, {"address": "sales@alias.example", "goto": GOTO}), 403, "banned")
    assert (said["ban"]["ban_type"], said["ban"]["ban_value"], said["ban"]["reason"]) == (kind, value, "spam")
    assert await admin.one("select count(*) from alias") == 0


@pytest.mark.parametrize("state", ["active", "inactive", "released"])
async def test_handles_in_any_state_hold_their_name(admin: Desk, state: str) -> None:
    """Also against administrators: two holders of one name would get each other's mail (D-33)."""
    released = state == "released"
    await admin.sql(
        "insert into handle (account_id, local_part, state, released_at) values (%s, 'jose', %s, %s)",
        *(None if released else 2, state, "now" if released else None),
    )
    response = await admin.post(PATH, {"address": "jose@alias.example", "goto": GOTO})
    assert problem(response, 409, "alias_taken") == {"address": "jose@alias.example"}
    assert response.json()["ok"] is False


async def test_d_02_addresses_on_foreign_domains_are_refused(admin: Desk) -> None:
    await admin.sql("insert into domain (name) values ('unchecked.example')")
    await admin.sql("insert into domain (name, active, mx_verified_at) values ('off.example', false, now())")
    await admin.sql(
        "insert into domain (name, account_id, verified_at, mx_verified_at) values ('own.example', 2, now(), now())"
    )
    for domain in ("gmail.example", "unchecked.example", "off.example", "own.example"):
        response = await admin.post(PATH, {"address": f"john@{domain}", "goto": GOTO})
        assert problem(response, 400, "invalid_domain") == {"field": "address"}


@pytest.mark.parametrize(
    "goto",
    ["a@alias.example", "a@sub.alias.example", "a@relay.example", "deleted@relay.example", "a@srs.relay.example"],
)
async def test_no_destination_at_our_own_domains(admin: Desk, goto: str) -> None:
    said = problem(await admin.post(PATH, {"address": "sales@alias2.example", "goto": goto}), 400, "invalid_params")
    assert said["field"] == "goto"
    if goto != "deleted@relay.example":
        assert said["reason"] == "destination_cannot_use_managed_domain"
        assert said["managed_domain_match"] in goto


async def test_no_destination_that_is_an_alias_even_a_deleted_one(admin: Desk) -> None:
    item = await made(admin, "first@alias.example")
    await admin.delete(f"{PATH}/{item['id']}")
    said = problem(
        await admin.post(PATH, {"address": "b@alias.example", "goto": "first@alias.example"}), 400, "invalid_params"
    )
    assert said == {"field": "goto", "reason": "destination_cannot_be_an_existing_alias"}


async def test_of_those_who_make_an_address_at_once_one_succeeds(admin: Desk) -> None:
    body = {"address": "race@alias.example", "goto": GOTO}
    answers = await asyncio.gather(*(admin.post(PATH, body) for _ in range(4)))
    assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]


async def test_of_an_alias_and_a_handle_at_once_one_succeeds(admin: Desk) -> None:
    for n in range(4):
        alias = admin.post(PATH, {"address": f"race{n}@alias.example", "goto": GOTO})
        handle = admin.post("admin/handles", {"handle": f"race{n}", "address": GOTO})
        answers = await asyncio.gather(alias, handle)
        assert sorted(one.status_code for one in answers) == [201, 409]


# --- PATCH ----------------------------------------------------------------------------------------------------------


async def test_an_alias_is_switched_off_and_on(admin: Desk) -> None:
    item = await made(admin)
    off = (await admin.patch(f"{PATH}/{item['id']}", {"active": 0})).json()
    assert off["ok"] is True and off["updated"] is True
    assert off["item"] == {**item, "active": 0, "modified": off["item"]["modified"]}
    on = (await admin.patch(f"{PATH}/{item['id']}", {**item, "active": "on"})).json()
    assert on["item"]["active"] == 1 and on["item"]["goto"] == GOTO
    actions = await admin.sql("select action from audit where object_table = 'alias' order by id")
    assert [action for (action,) in actions] == ["alias.create", "alias.deactivate", "alias.activate"]


@pytest.mark.parametrize("body", [{}, {"active": None}, {"other": 1}])
async def test_a_patch_without_members_is_refused(admin: Desk, body: dict[str, Any]) -> None:
    item = await made(admin)
    said = problem(await admin.patch(f"{PATH}/{item['id']}", body), 400, "invalid_params")
    assert said == {"reason": "empty_patch"}


@pytest.mark.parametrize("field", ["address", "goto"])
@pytest.mark.parametrize("value", [None, "", "nonsense", 7])
async def test_changes_are_checked(admin: Desk, field: str, value: Any) -> None:
    item = await made(admin)
    said = problem(await admin.patch(f"{PATH}/{item['id']}", {field: value}), 400, "invalid_params")
    assert said["field"] == field and said["constraints"]


async def test_another_destination_takes_the_alias_to_another_account(admin: Desk) -> None:
    """What its owner had there is nothing to the next one."""
    item = await made(admin)
    await admin.sql("update alias set description = 'private', emails_forwarded = 7")
    await admin.sql(
        "insert into contact (account_id, alias_id, address) select account_id, id, 'friend@shop.example' from alias"
    )
    changed = (await admin.patch(f"{PATH}/{item['id']}", {"goto": "you@inbox.example"})).json()["item"]
    assert changed == {**item, "goto": "you@inbox.example", "modified": changed["modified"]}
    query = """
        select acc.implicit_mailbox, a.description, a.emails_forwarded, a.state, (select count(*) from contact)
        from alias a join account acc on acc.id = a.account_id
    """
    assert await admin.sql(query) == [("you@inbox.example", None, 0, "active", 0)]
    assert (await admin.get(f"{PATH}?goto=you@")).json()["items"] == [changed]
    assert (await admin.get(f"{PATH}?goto=me@")).json()["items"] == []
    assert await admin.one("select count(*) from job where payload->'data'->>'address' = 'you@inbox.example'") == 0


async def test_another_mailbox_of_the_same_account_keeps_it_there(admin: Desk) -> None:
    await admin.sql("insert into recipient (account_id, address, verified_at) values (1, 'two@inbox.example', now())")
    await admin.sql(
        "insert into alias (account_id, local_part, domain, description) values (1, 'a', 'alias.example', 'x')"
    )
    item = (await admin.get(PATH)).json()["items"][0]
    assert item["goto"] == "root@inbox.example"
    changed = (await admin.patch(f"{PATH}/{item['id']}", {"goto": "two@inbox.example"})).json()["item"]
    assert changed["goto"] == "two@inbox.example" and changed["modified"] > item["modified"]
    assert await admin.sql("select account_id, description from alias") == [(1, "x")]


async def test_what_is_on_somebodys_own_domain_stays_theirs(admin: Desk) -> None:
    await admin.sql(
        "insert into domain (name, account_id, verified_at, mx_verified_at) values ('own.example', 2, now(), now())"
    )
    await admin.sql("insert into alias (account_id, local_part, domain) values (2, 'a', 'own.example')")
    number = await admin.one("select id from alias")
    said = problem(await admin.patch(f"{PATH}/{number}", {"goto": "you@inbox.example"}), 400, "invalid_params")
    assert said["field"] == "goto"
    assert await admin.sql("select account_id from alias") == [(2,)]


async def test_a_renamed_alias_leaves_its_address_taken(admin: Desk) -> None:
    item = await made(admin)
    changed = (await admin.patch(f"{PATH}/{item['id']}", {"address": "shop@alias2.example"})).json()["item"]
    assert (changed["id"], changed["address"], changed["goto"]) == (item["id"], "shop@alias2.example", GOTO)
    assert changed["domain_id"] == await admin.one("select id from domain where name = 'alias2.example'")
    problem(await admin.post(PATH, {"address": item["address"], "goto": GOTO}), 409, "alias_taken")
    problem(await admin.post("admin/handles", {"handle": "sales", "address": GOTO}), 409, "handle_taken")


async def test_another_address_is_checked_as_a_new_one(admin: Desk) -> None:
    item = await made(admin)
    await made(admin, "shop@alias.example")
    await admin.post("admin/handles", {"handle": "jose", "address": GOTO})
    await ban(admin, "name", "banned")
    path = f"{PATH}/{item['id']}"
    for address, status, error in (
        ("shop@alias.example", 409, "alias_taken"),
        ("jose@alias.example", 409, "alias_taken"),
        ("sales@foreign.example", 400, "invalid_domain"),
        ("banned@alias.example", 403, "banned"),
    ):
        problem(await admin.patch(path, {"address": address}), status, error)
    for goto, reason in (
        ("shop@alias.example", "destination_cannot_be_an_existing_alias"),
        ("x@alias.example", "destination_cannot_use_managed_domain"),
    ):
        assert problem(await admin.patch(path, {"goto": goto}), 400, "invalid_params")["reason"] == reason
    assert (await admin.get(path)).json()["item"] == item


async def test_bans_never_keep_an_alias_active(admin: Desk) -> None:
    """The UI sends all members again; only what changes counts, and what is or becomes active."""
    item = await made(admin)
    path = f"{PATH}/{item['id']}"
    await ban(admin, "email", GOTO)
    problem(await admin.patch(path, {"active": 1}), 403, "banned")
    problem(await admin.patch(path, {"goto": GOTO}), 403, "banned")
    everything = {"address": item["address"], "goto": item["goto"], "active": 0}
    assert (await admin.patch(path, everything)).json()["item"]["active"] == 0
    assert (await admin.patch(path, everything)).status_code == 200
    problem(await admin.patch(path, {**everything, "active": 1}), 403, "banned")
    assert (await admin.patch(path, {"goto": "you@inbox.example", "active": 1})).json()["item"]["active"] == 1


async def test_a_tombstone_comes_back_with_a_destination(admin: Desk) -> None:
    item = await made(admin)
    path = f"{PATH}/{item['id']}"
    gone = (await admin.delete(path)).json()["item"]
    same = {name: gone[name] for name in ("address", "goto", "active")}
    assert (await admin.patch(path, same)).json()["item"] == gone
    for body in ({"active": 1}, {**same, "active": 1}):
        assert problem(await admin.patch(path, body), 400, "invalid_params")["field"] == "goto"
    off = (await admin.patch(path, {"goto": "you@inbox.example"})).json()["item"]
    assert (off["goto"], off["active"]) == ("you@inbox.example", 0)
    await admin.delete(path)
    on = (await admin.patch(path, {"goto": "him@inbox.example", "active": 1})).json()["item"]
    assert (on["goto"], on["active"]) == ("him@inbox.example", 1)


async def test_a_forgotten_address_comes_back_with_a_destination(admin: Desk) -> None:
    await admin.sql(
        "insert into alias (local_part, domain, state, deleted_at) values ('old', 'alias.example', 'forgotten', now())"
    )
    number = await admin.one("select id from alias")
    item = (await admin.patch(f"{PATH}/{number}", {"goto": GOTO, "active": 1})).json()["item"]
    assert (item["address"], item["goto"], item["active"]) == ("old@alias.example", GOTO, 1)


async def test_an_alias_that_goes_nowhere_cannot_be_switched_on(admin: Desk) -> None:
    item = await made(admin, active=0)
    await admin.sql("update recipient set verified_at = null where address = %s", GOTO)
    response = await admin.patch(f"{PATH}/{item['id']}", {"active": 1})
    said = problem(response, 500, "invalid_current_state")
    assert said["requestId"]
    assert (await admin.patch(f"{PATH}/{item['id']}", {"goto": "you@inbox.example", "active": 1})).status_code == 200


async def test_an_alias_whose_mailbox_is_not_verified_can_be_switched_off(admin: Desk) -> None:
    """Whoever edits it sends all that was shown back, and that is the tombstone."""
    item = await made(admin)
    await admin.sql("update recipient set verified_at = null where address = %s", GOTO)
    shown = (await admin.get(f"{PATH}/{item['id']}")).json()["item"]
    sent = {"address": shown["address"], "goto": shown["goto"], "active": 0}
    assert (await admin.patch(f"{PATH}/{item['id']}", sent)).json()["item"]["active"] == 0
    problem(await admin.patch(f"{PATH}/{item['id']}", {**sent, "active": 1}), 500, "invalid_current_state")


async def test_changes_at_once_all_happen_one_after_the_other(admin: Desk) -> None:
    item = await made(admin)
    path = f"{PATH}/{item['id']}"
    bodies: list[dict[str, Any]] = [{"goto": f"me{n}@inbox.example"} for n in range(3)] + [{"active": 0}]
    answers = await asyncio.gather(*(admin.patch(path, body) for body in bodies))
    assert [one.status_code for one in answers] == [200] * 4
    last = (await admin.get(path)).json()["item"]
    assert last["active"] == 0 and last["goto"] in {f"me{n}@inbox.example" for n in range(3)}
    assert (await admin.get(f"{PATH}?goto={last['goto']}&active=0")).json()["items"] == [last]
    assert await admin.one("select count(*) from alias_recipient") == 1


async def test_a_change_and_a_deletion_at_once_leave_one_of_both(admin: Desk) -> None:
    for n in range(3):
        item = await made(admin, f"a{n}@alias.example")
        path = f"{PATH}/{item['id']}"
        changed, deleted = await asyncio.gather(admin.patch(path, {"goto": "you@inbox.example"}), admin.delete(path))
        assert (changed.status_code, deleted.json()["deleted"]) == (200, True)
        last = (await admin.get(path)).json()["item"]
        assert (last["goto"], last["active"]) in (("deleted@relay.example", 0), ("you@inbox.example", 0))


async def test_renames_to_one_address_at_once_succeed_once(admin: Desk) -> None:
    paths = [f"{PATH}/{(await made(admin, f'a{n}@alias.example'))['id']}" for n in range(3)]
    answers = await asyncio.gather(*(admin.patch(path, {"address": "new@alias.example"}) for path in paths))
    assert sorted(one.status_code for one in answers) == [200, 409, 409]
