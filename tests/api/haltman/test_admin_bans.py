"""GET, POST, PATCH and DELETE /api/admin/bans (haltman-api.md sections 3.4, 3.19 and 5)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.api.haltman.conftest import CLIENT, Desk

# The seed's sample and schema.
ITEM: dict[str, type | tuple[type, ...]] = {
    "id": int,
    "ban_type": str,
    "ban_value": str,
    "reason": (str, type(None)),
    "created_at": str,
    "expires_at": (str, type(None)),
    "revoked_at": (str, type(None)),
    "revoked_reason": (str, type(None)),
    "active": bool,
}


@pytest.fixture
async def admin(desk: Desk) -> Desk:
    return await desk.admin()


def is_item(item: dict[str, Any]) -> bool:
    return item.keys() == ITEM.keys() and all(isinstance(item[name], kind) for name, kind in ITEM.items())


async def made(admin: Desk, kind: str, value: str, **more: Any) -> dict[str, Any]:
    response = await admin.post("admin/bans", {"ban_type": kind, "ban_value": value, **more})
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def ban(admin: Desk, kind: str = "name", value: str = "paypal", **more: Any) -> int:
    number: int = (await made(admin, kind, value, **more))["item"]["id"]
    return number


async def listed(admin: Desk, query: str = "") -> list[int]:
    response = await admin.get(f"admin/bans?{query}")
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


def said(response: httpx2.Response) -> tuple[int, str, str | None]:
    body = response.json()
    assert body["code"] == response.status_code and body["message"]
    return response.status_code, body["error"], body.get("field")


# --- the list ------------------------------------------------------------------------------------------------------


async def test_the_list_is_as_the_seed_has_it(admin: Desk) -> None:
    await ban(admin, "email", "x@y.org", reason="spam", expires_at="2099-12-25T10:00:00Z")
    number = await ban(admin)
    await admin.patch(f"admin/bans/{number}", {"revoked": 1, "revoked_reason": "mistake"})
    response = await admin.get("admin/bans")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store, private"
    body = response.json()
    assert body.keys() == {"items", "pagination"}
    assert body["pagination"] == {"total": 2, "limit": 50, "offset": 0}
    newest, oldest = body["items"]
    assert is_item(newest) and is_item(oldest)
    assert (newest["id"], newest["active"], newest["revoked_reason"]) == (number, False, "mistake")
    assert (oldest["ban_type"], oldest["ban_value"], oldest["reason"]) == ("email", "x@y.org", "spam")
    assert (oldest["expires_at"], oldest["revoked_at"], oldest["active"]) == ("2099-12-25T10:00:00.000Z", None, True)


async def test_the_seeds_request_is_taken_as_it_is(admin: Desk) -> None:
    """An empty body that says to be JSON, and the filter that is missing in its table of parameters."""
    path = "admin/bans?limit=42&offset=42&active=true&ban_type=email&ban_value=example_string"
    response = await admin.ask("GET", path, content=b"", Content_Type="application/json")
    assert response.json() == {"items": [], "pagination": {"total": 0, "limit": 42, "offset": 42}}


async def test_filters_combine(admin: Desk) -> None:
    active = await ban(admin, "domain", "bad.example")
    expired = await ban(admin, "domain", "worse.example", expires_at="2020-01-01")
    revoked = await ban(admin, "name", "bad_name")
    await admin.patch(f"admin/bans/{revoked}", {"revoked": True})
    for query, expected in {
        "": [revoked, expired, active],
        "active=1": [active],
        "active=YES": [active],
        "active=0": [revoked, expired],
        "active=off": [revoked, expired],
        "ban_type=domain": [expired, active],
        "ban_type=DOMAIN": [expired, active],
        "ban_type=ip": [],
        "ban_value=BAD": [revoked, active],
        "ban_value=d_n": [revoked],  # no wildcards
        "ban_value=%25": [],
        "active=0&ban_type=domain&ban_value=example": [expired],
        "limit=1": [revoked],
        "limit=1&offset=1": [expired],
        "offset=3": [],
    }.items():
        assert await listed(admin, query) == expected, query
    body = (await admin.get("admin/bans?active=0&limit=1&offset=7")).json()
    assert body == {"items": [], "pagination": {"total": 2, "limit": 1, "offset": 7}}


@pytest.mark.parametrize(
    ("query", "field", "violated"),
    [
        ("limit=0", "limit", {"min"}),
        ("limit=201", "limit", {"max"}),
        ("limit=", "limit", {"isInt", "max", "min"}),
        ("limit=x", "limit", {"isInt", "max", "min"}),
        ("offset=-1", "offset", {"min"}),
        ("offset=1.5", "offset", {"isInt", "max", "min"}),
        ("active=", "active", {"isInt", "max", "min"}),
        ("active=maybe", "active", {"isInt", "max", "min"}),
        ("ban_type=mailbox", "ban_type", {"matches"}),
        ("ban_value=", "ban_value", {"minLength"}),
        (f"ban_value={'x' * 256}", "ban_value", {"maxLength"}),
    ],
)
async def test_invalid_params_of_the_list(admin: Desk, query: str, field: str, violated: set[str]) -> None:
    response = await admin.get(f"admin/bans?{query}")
    assert said(response) == (400, "invalid_params", field)
    assert response.json()["constraints"].keys() == violated


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "admin/bans"),
        ("GET", "admin/bans/1"),
        ("POST", "admin/bans"),
        ("PATCH", "admin/bans/1"),
        ("DELETE", "admin/bans/1"),
    ],
)
async def test_nobody_but_administrators(desk: Desk, method: str, path: str) -> None:
    """401 and 403 of section 2.6; the CSRF token is the frame's to ask for, on all that changes something."""
    assert said(await desk.ask(method, path))[:2] == (401, "invalid_or_expired_session")
    if method != "GET":
        refused = await (await desk.admin()).ask(method, path, X_CSRF_Token="")
        assert said(refused)[:2] == (403, "csrf_required")
    assert await desk.one("select count(*) from audit") == 0


# --- one -----------------------------------------------------------------------------------------------------------


async def test_one_ban(admin: Desk) -> None:
    number = await ban(admin)
    body = (await admin.get(f"admin/bans/{number}")).json()
    assert body.keys() == {"item"} and is_item(body["item"])
    assert body["item"]["id"] == number


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_ban_not_found(admin: Desk, method: str) -> None:
    response = await admin.ask(method, "admin/bans/999", {"reason": "x"} if method == "PATCH" else None)
    assert said(response)[:2] == (404, "ban_not_found")
    assert response.json()["id"] == 999


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("number", ["0", "x", "1.0", "0x1"])
async def test_ids_are_digits(admin: Desk, method: str, number: str) -> None:
    response = await admin.ask(method, f"admin/bans/{number}", {"reason": "x"} if method == "PATCH" else None)
    assert said(response) == (400, "invalid_params", "id")


# --- making them ---------------------------------------------------------------------------------------------------


async def test_a_ban_is_made(admin: Desk) -> None:
    body = await made(admin, "Email", "  X@Y.Org ", reason="spam")
    assert body.keys() == {"ok", "created", "item", "disabled_aliases", "disabled_handles", "message", "code"} - {
        "code"
    }
    assert (body["ok"], body["created"], body["disabled_aliases"], body["disabled_handles"]) == (True, True, 0, 0)
    item = body["item"]
    assert is_item(item)
    assert (item["ban_type"], item["ban_value"], item["reason"], item["active"]) == ("email", "x@y.org", "spam", True)
    assert body["message"] == "The ban was created."
    [row] = await admin.sql("select scope, created_by from ban")
    assert row == ("both", 1)
    [audit] = await admin.sql("select actor, action, object_table, object_id, detail ->> 'value' from audit")
    assert audit == ("admin:1", "ban.add", "ban", item["id"], "x@y.org")


@pytest.mark.parametrize("reason", [None, "", "absent"])
async def test_d_13_a_reason_is_optional(admin: Desk, reason: str | None) -> None:
    more = {} if reason == "absent" else {"reason": reason}
    assert (await made(admin, "name", "paypal", **more))["item"]["reason"] is None


async def test_d_22_ids_are_integers(admin: Desk) -> None:
    assert isinstance((await made(admin, "name", "paypal"))["item"]["id"], int)


@pytest.mark.parametrize(
    ("kind", "sent", "kept"),
    [
        ("email", "A+b@Sub.Bad.Example", "a+b@sub.bad.example"),
        ("email", "a@shop.xn--p1ai", "a@shop.xn--p1ai"),
        ("domain", "Bad.Example", "bad.example"),
        ("domain", "xn--bse-sna.example", "xn--bse-sna.example"),
        ("domain", "shop.xn--p1ai", "shop.xn--p1ai"),
        ("ip", "192.0.2.77", "192.0.2.77"),
        ("ip", "192.0.2.77/24", "192.0.2.0/24"),
        ("ip", "::ffff:192.0.2.77", "192.0.2.77"),
        ("ip", "2001:0DB8:0:0::1", "2001:db8::1"),
        ("ip", "2001:db8:1:2:3::/64", "2001:db8:1:2::/64"),
        ("name", "Pay.Pal", "pay.pal"),
        ("name", "a" * 64, "a" * 64),
    ],
)
async def test_values_are_normalised(admin: Desk, kind: str, sent: str, kept: str) -> None:
    assert (await made(admin, kind, sent))["item"]["ban_value"] == kept


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "no-at.example"),
        ("email", "a@b@bad.example"),
        ("email", "a@localhost"),
        ("email", '"a b"@bad.example'),
        ("email", f"{'x' * 65}@bad.example"),
        ("domain", "localhost"),
        ("domain", "bad..example"),
        ("domain", "-bad.example"),
        ("domain", "bad_host.example"),
        ("domain", "bad.example."),
        ("domain", "böse.example"),
        ("domain", "192.0.2.1"),
        ("domain", "a.xn--\u00e4"),
        ("domain", "x" * 255),
        ("ip", "bad.example"),
        ("ip", "192.0.2.256"),
        ("ip", "192.0.2.0/33"),
        ("ip", "0.0.0.0/0"),
        ("ip", "::/0"),
        ("ip", "fe80::1%eth0"),
        ("ip", "12345"),
        ("name", "a b"),
        ("name", "a@b.example"),
        ("name", "a+b"),
        ("name", ".a"),
        ("name", "a" * 65),
        ("name", "ä"),
        ("name", "  "),
    ],
)
async def test_values_that_are_none_of_their_type(admin: Desk, kind: str, value: str) -> None:
    response = await admin.post("admin/bans", {"ban_type": kind, "ban_value": value})
    assert said(response) == (400, "invalid_params", "ban_value")
    assert await admin.one("select count(*) from ban") == 0


@pytest.mark.parametrize(
    ("document", "field", "violated"),
    [
        ({}, "ban_type", {"matches"}),
        ({"ban_type": "x", "ban_value": "y"}, "ban_type", {"matches"}),
        ({"ban_type": None, "ban_value": "y"}, "ban_type", {"matches"}),
        ({"ban_type": "name"}, "ban_value", {"isString", "maxLength", "minLength"}),
        ({"ban_type": "name", "ban_value": ""}, "ban_value", {"minLength"}),
        ({"ban_type": "name", "ban_value": 7}, "ban_value", {"isString", "maxLength", "minLength"}),
        ({"ban_type": "name", "ban_value": "x" * 256}, "ban_value", {"maxLength"}),
        ({"ban_type": "name", "ban_value": "a\0"}, "ban_value", {"isString", "maxLength", "minLength"}),
        ({"ban_type": "name", "ban_value": "a", "reason": "x" * 256}, "reason", {"maxLength"}),
        ({"ban_type": "name", "ban_value": "a", "reason": []}, "reason", {"isString", "maxLength"}),
        ({"ban_type": "name", "ban_value": "a", "expires_at": "soon"}, "expires_at", {"isDate"}),
        ({"ban_type": "name", "ban_value": "a", "expires_at": 7}, "expires_at", {"isDate"}),
        (
            {"ban_type": "name", "ban_value": "a", "disable_matching_aliases": "x"},
            "disable_matching_aliases",
            {"isBoolean"},
        ),
        (
            {"ban_type": "name", "ban_value": "a", "disable_matching_aliases": None},
            "disable_matching_aliases",
            {"isBoolean"},
        ),
    ],
)
async def test_invalid_params_of_a_new_ban(
    admin: Desk, document: dict[str, Any], field: str, violated: set[str]
) -> None:
    response = await admin.post("admin/bans", document)
    assert said(response) == (400, "invalid_params", field)
    assert response.json()["constraints"].keys() == violated


async def test_a_date_in_the_past_makes_an_inactive_ban(admin: Desk) -> None:
    item = (await made(admin, "name", "paypal", expires_at="2020-01-01T00:00:00Z"))["item"]
    assert (item["expires_at"], item["active"]) == ("2020-01-01T00:00:00.000Z", False)
    assert (await made(admin, "name", "other", expires_at=""))["item"]["expires_at"] is None


@pytest.mark.parametrize("spelling", ["198.51.100.0/24", "198.51.100.9/24", "::ffff:198.51.100.0/120"])
async def test_d_14_there_is_one_ban_in_force_for_each_value(admin: Desk, spelling: str) -> None:
    await ban(admin, "ip", "198.51.100.0/24")
    response = await admin.post("admin/bans", {"ban_type": "ip", "ban_value": spelling})
    assert said(response)[:2] == (409, "ban_taken")
    assert response.json()["ban_value"] == "198.51.100.0/24"
    assert await admin.one("select count(*) from ban") == 1


async def test_d_14_equal_bans_at_once(admin: Desk) -> None:
    asked = [admin.post("admin/bans", {"ban_type": "name", "ban_value": "paypal"}) for _ in range(6)]
    replies = await asyncio.gather(*asked)
    assert sorted(reply.status_code for reply in replies) == [201] + [409] * 5


async def test_a_ban_that_never_is_in_force_disables_nothing(admin: Desk) -> None:
    await admin.sql("insert into alias (account_id, local_part, domain) values (2, 'shop', 'alias.example')")
    for year, disabled in (("2020", 0), ("2999", 1)):
        reply = await admin.post(
            "admin/bans",
            {
                "ban_type": "name",
                "ban_value": "shop",
                "expires_at": f"{year}-01-01",
                "disable_matching_aliases": True,
            },
        )
        assert (reply.status_code, reply.json()["disabled_aliases"]) == (201, disabled)


async def test_an_expired_ban_makes_room(admin: Desk) -> None:
    first = await ban(admin, expires_at="2020-01-01")
    second = await ban(admin)
    assert await listed(admin, "active=1") == [second]
    assert (await admin.get(f"admin/bans/{first}")).json()["item"]["revoked_reason"] == "expired"


# --- what they hit -------------------------------------------------------------------------------------------------


async def world(desk: Desk) -> None:
    """Aliases and handles of three mailboxes, and one alias that two of them get."""
    await desk.sql("insert into domain (name) values ('alias3.example')")
    await desk.sql("insert into account (name) values ('named')")
    await desk.sql(
        """insert into recipient (account_id, address, verified_at)
           values (3, 'one@bad.example', now()), (3, 'two@sub.bad.example', now()), (3, 'fine@inbox.example', now()),
                  (3, 'late@bad.example', null)"""
    )
    await desk.sql("update account set default_recipient_id = 3 where id = 3")
    await desk.sql("insert into handle (account_id, local_part, recipient_id) values (3, 'shop', null), (3, 'two', 4)")
    await desk.sql("insert into handle (account_id, local_part) values (2, 'mine')")
    rows = [
        ("default", 3, None, []),
        ("one", 3, None, [3]),
        ("mixed", 3, None, [3, 5]),
        ("below", 3, None, [4]),
        ("fine", 3, None, [5]),
        ("unverified", 3, None, [6]),
        ("off", 3, None, [3]),
        ("gone", 3, None, [3]),
        ("shop", 3, 1, []),
        ("theirs", 2, None, []),
    ]
    for local, account, handle, recipients in rows:
        state = local if local in ("off", "gone") else "active"
        alias = await desk.one(
            """insert into alias (account_id, local_part, domain, handle_id, state, deleted_at)
               values (%s, %s, 'alias.example', %s, %s, case when %s = 'deleted' then now() end) returning id""",
            account,
            local,
            handle,
            {"off": "inactive", "gone": "deleted"}.get(state, "active"),
            {"gone": "deleted"}.get(state, ""),
        )
        for recipient in recipients:
            await desk.sql("insert into alias_recipient (alias_id, recipient_id) values (%s, %s)", alias, recipient)


async def active(desk: Desk, table: str) -> set[str]:
    return {row[0] for row in await desk.sql(f"select local_part from {table} where state = 'active'")}


@pytest.mark.parametrize(
    ("kind", "value", "aliases", "handles"),
    [
        ("email", "one@bad.example", {"default", "one", "unverified"}, {"shop"}),
        ("email", "two@sub.bad.example", {"below"}, {"two"}),
        ("domain", "bad.example", {"default", "one", "below", "unverified"}, {"shop", "two"}),
        ("domain", "sub.bad.example", {"below"}, {"two"}),
        ("domain", "ad.example", set(), set()),
        ("domain", "alias.example", set(), set()),
        ("name", "one", {"one"}, set()),
        ("name", "shop", set(), {"shop"}),
        ("name", "off", set(), set()),
    ],
)
async def test_matching_aliases_and_handles_are_disabled_if_that_is_wanted(
    admin: Desk, kind: str, value: str, aliases: set[str], handles: set[str]
) -> None:
    await world(admin)
    before = await active(admin, "alias"), await active(admin, "handle")
    body = await made(admin, kind, value, disable_matching_aliases="Yes")
    assert (body["disabled_aliases"], body["disabled_handles"]) == (len(aliases), len(handles))
    assert before[0] - await active(admin, "alias") == aliases
    assert before[1] - await active(admin, "handle") == handles
    a, h = len(aliases), len(handles)
    words = f"{a} alias{'' if a == 1 else 'es'} and {h} handle{'' if h == 1 else 's'}"
    assert body["message"] == f"The ban was created; {words} were disabled."
    noted = await admin.sql("select action, detail ->> 'ban' from audit where action <> 'ban.add' order by id")
    number = str(body["item"]["id"])
    assert noted == [("handle.deactivate", number)] * h + [("alias.deactivate", number)] * a
    # Whose mail they are is kept, and revoking brings nothing back.
    await admin.patch(f"admin/bans/{number}", {"revoked": 1})
    assert before[0] - await active(admin, "alias") == aliases


@pytest.mark.parametrize("wanted", [{}, {"disable_matching_aliases": 0}, {"disable_matching_aliases": "no"}])
async def test_what_nobody_asked_for_stays_as_it_is(admin: Desk, wanted: dict[str, Any]) -> None:
    await world(admin)
    before = await active(admin, "alias"), await active(admin, "handle")
    body = await made(admin, "domain", "bad.example", **wanted)
    assert (body["disabled_aliases"], body["disabled_handles"], body["message"]) == (0, 0, "The ban was created.")
    assert (await active(admin, "alias"), await active(admin, "handle")) == before


async def test_a_ban_that_is_refused_disables_nothing(admin: Desk) -> None:
    await world(admin)
    await ban(admin, "domain", "bad.example")
    before = await active(admin, "alias")
    wanted = {"ban_type": "domain", "ban_value": "bad.example", "disable_matching_aliases": True}
    assert (await admin.post("admin/bans", wanted)).status_code == 409
    assert await active(admin, "alias") == before


async def test_not_supported_for_ip_bans(admin: Desk) -> None:
    wanted = {"ban_type": "ip", "ban_value": "192.0.2.9", "disable_matching_aliases": True}
    response = await admin.post("admin/bans", wanted)
    assert said(response) == (400, "invalid_params", "disable_matching_aliases")
    assert response.json()["reason"] == "not_supported_for_ip_bans"
    assert (await admin.post("admin/bans", {**wanted, "disable_matching_aliases": False})).status_code == 201


# --- changing them -------------------------------------------------------------------------------------------------


async def change(admin: Desk, number: int, **document: Any) -> dict[str, Any]:
    response = await admin.patch(f"admin/bans/{number}", document)
    assert response.status_code == 200, response.text
    body = response.json()
    assert {"ok": True, "updated": True}.items() <= body.items() and is_item(body["item"])
    item: dict[str, Any] = body["item"]
    return item


async def test_a_ban_is_changed(admin: Desk) -> None:
    number = await ban(admin, reason="spam")
    item = await change(admin, number, ban_value="Amazon", reason=None, expires_at="2099-01-01T00:00:00+01:00")
    assert (item["ban_type"], item["ban_value"], item["reason"]) == ("name", "amazon", None)
    assert (item["expires_at"], item["active"]) == ("2098-12-31T23:00:00.000Z", True)
    item = await change(admin, number, ban_type="ip", ban_value="198.51.100.0/24", reason="again")
    assert (item["ban_type"], item["ban_value"], item["reason"]) == ("ip", "198.51.100.0/24", "again")
    assert await admin.one("select network::text from ban") == "198.51.100.0/24"
    item = await change(admin, number, ban_value="2001:db8::/32")
    assert await admin.one("select network::text from ban") == "2001:db8::/32"
    item = await change(admin, number, ban_type="domain", ban_value="bad.example")
    assert await admin.one("select network from ban") is None
    details = [row[0] for row in await admin.sql("select detail from audit where action = 'ban.change' order by id")]
    assert details[0] == {"value": "amazon", "reason": None, "expires_at": "2098-12-31 23:00:00+00:00"}


async def test_revoking_and_reviving(admin: Desk) -> None:
    number = await ban(admin)
    item = await change(admin, number, revoked=1, revoked_reason="mistake")
    assert item["revoked_at"] and not item["active"] and item["revoked_reason"] == "mistake"
    first = item["revoked_at"]
    item = await change(admin, number, revoked="on")
    assert item["revoked_at"] >= first and item["revoked_reason"] == "mistake"
    item = await change(admin, number, revoked=False)
    assert (item["revoked_at"], item["revoked_reason"], item["active"]) == (None, None, True)
    item = await change(admin, number, revoked=0, revoked_reason="kept")
    assert item["revoked_reason"] == "kept"
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert not (await change(admin, number, expires_at=past))["active"]
    assert (await change(admin, number, expires_at=None))["active"]


@pytest.mark.parametrize(
    "document", [{}, {"unknown": 1}, {"revoked": None}, {"id": 7, "created_at": "2020-01-01T00:00:00Z"}]
)
async def test_empty_patch(admin: Desk, document: dict[str, Any]) -> None:
    number = await ban(admin)
    response = await admin.patch(f"admin/bans/{number}", document)
    assert said(response)[:2] == (400, "invalid_params")
    assert response.json()["reason"] == "empty_patch"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"ban_type": "ip"}, "ban_value"),  # which paypal is not
        ({"ban_type": "email"}, "ban_value"),
        ({"ban_value": "a+b"}, "ban_value"),
        ({"ban_value": None}, "ban_value"),
        ({"ban_type": ""}, "ban_type"),
        ({"expires_at": "x"}, "expires_at"),
        ({"revoked": ""}, "revoked"),
        ({"revoked_reason": "x" * 256}, "revoked_reason"),
    ],
)
async def test_invalid_params_of_a_change(admin: Desk, document: dict[str, Any], field: str) -> None:
    number = await ban(admin)
    before = (await admin.get(f"admin/bans/{number}")).json()
    assert said(await admin.patch(f"admin/bans/{number}", document)) == (400, "invalid_params", field)
    assert (await admin.get(f"admin/bans/{number}")).json() == before


async def test_ban_taken_by_a_change(admin: Desk) -> None:
    first = await ban(admin)
    await admin.patch(f"admin/bans/{first}", {"revoked": 1})
    second = await ban(admin)
    assert said(await admin.patch(f"admin/bans/{first}", {"revoked": 0}))[:2] == (409, "ban_taken")
    other = await ban(admin, "name", "amazon")
    response = await admin.patch(f"admin/bans/{other}", {"ban_value": "PayPal"})
    assert said(response)[:2] == (409, "ban_taken")
    assert response.json()["ban_value"] == "paypal"
    await change(admin, second, expires_at="2020-01-01")
    assert (await change(admin, first, revoked=0))["active"]  # an expired one makes room


# --- removing them -------------------------------------------------------------------------------------------------


async def test_a_ban_is_deleted_for_good_and_the_audit_remembers_it(admin: Desk) -> None:
    number = await ban(admin, "domain", "bad.example", reason="spam")
    before = (await admin.get(f"admin/bans/{number}")).json()["item"]
    response = await admin.delete(f"admin/bans/{number}", {"revoked_reason": "ignored"})
    assert response.json() == {"ok": True, "deleted": True, "item": before}
    assert await admin.one("select count(*) from ban") == 0
    detail = await admin.one("select detail from audit where action = 'ban.delete'")
    assert detail == {"type": "domain", "value": "bad.example", "scope": "both", "reason": "spam", "hits": 0}
    assert (await admin.delete(f"admin/bans/{number}")).status_code == 404


# --- clients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [CLIENT, "192.0.2.0/24", "::ffff:192.0.2.1"])
async def test_a_banned_client_is_told_why(desk: Desk, value: str) -> None:
    admin = await desk.admin()
    await ban(admin, "ip", value, reason="too many codes")
    for path in ("domains", "admin/bans", "nothing"):
        response = await admin.get(path)
        assert said(response)[:2] == (403, "banned")
        shown = response.json()["ban"]
        assert shown.keys() == {"ban_type", "ban_value", "reason", "banned_at"}
        assert shown["reason"] == "too many codes"
    assert await desk.one("select hits from ban") == 3


async def test_clients_of_a_banned_network_are_banned(desk: Desk) -> None:
    """At least the /64 that whoever has one address of has."""
    await desk.sql("insert into ban (type, value) values ('ip', '2001:db8:1:2::/64')")
    transport = httpx2.ASGITransport(app=desk.app, client=("2001:db8:1:2:ffff::7", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="https://relay.example") as neighbour:
        assert (await neighbour.get("/api/domains")).status_code == 403
    transport = httpx2.ASGITransport(app=desk.app, client=("2001:db8:1:3::7", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="https://relay.example") as other:
        assert (await other.get("/api/domains")).status_code != 403


@pytest.mark.parametrize(
    "how", ["revoked_at = now()", "expires_at = now() - interval '1 second'", "value = '198.51.100.1'"]
)
async def test_what_is_over_bans_nobody(desk: Desk, how: str) -> None:
    await desk.sql("insert into ban (type, value) values ('ip', '192.0.2.1')")
    assert (await desk.get("nothing")).status_code == 403
    await desk.sql(f"update ban set {how}")
    assert (await desk.get("nothing")).status_code == 404


@pytest.mark.parametrize(
    ("zone", "sent", "shown"),
    [
        ("Europe/Berlin", "9999-12-31T23:59:59Z", "9999-12-31T00:00:00.000Z"),
        ("America/New_York", "0001-01-01T00:00:00Z", "0001-01-02T00:00:00.000Z"),
    ],
)
async def test_ends_at_the_end_of_the_calendar_can_be_shown_in_every_zone(
    desk: Desk, zone: str, sent: str, shown: str
) -> None:
    await desk.sql(f"alter database {desk.conn.info.dbname} set timezone = '{zone}'")
    await desk.sql(
        """select pg_terminate_backend(pid, 10000) from pg_stat_activity
           where datname = current_database() and pid <> pg_backend_pid()"""
    )
    admin = await desk.admin()
    reply = await admin.post("admin/bans", {"ban_type": "domain", "ban_value": "b.example", "expires_at": sent})
    assert (reply.status_code, reply.json()["item"]["expires_at"]) == (201, shown)
    [listed] = (await admin.get("admin/bans")).json()["items"]
    assert listed["expires_at"] == shown
