"""API keys for administrators (haltman-api.md section 3.22)."""

import hashlib
import re
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.api.haltman.conftest import KEY, MAILBOX, Desk, later

PATH = "admin/api-tokens"
NO_STORE = {"cache-control": "no-store, private", "pragma": "no-cache", "referrer-policy": "no-referrer"}
INSERT = """
    insert into token (account_id, kind, hash, owner_email, expires_at, revoked_at, created_ip, user_agent)
    values (2, 'api_key', sha256(%s), %s, now() + %s, case when %s then now() end, %s::inet, 'browser') returning id
"""


@pytest.fixture
async def admin(desk: Desk) -> Desk:
    """An administrator's desk."""
    return await desk.admin()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def problem(reply: httpx2.Response) -> dict[str, Any]:
    """What an answer says no with, without its sentence."""
    assert reply.json()["message"].endswith(".")
    assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE
    return {name: value for name, value in reply.json().items() if name not in ("message", "code")}


async def add(
    desk: Desk, email: str = MAILBOX, days: int = 30, *, revoked: bool = False, ip: str | None = "192.0.2.7"
) -> int:
    """A key that is simply there."""
    secret = str(await desk.one("select count(*) from token")).encode()
    number: int = await desk.one(INSERT, secret, email, timedelta(days=days), revoked, ip)
    return number


async def ids(desk: Desk, query: str = "") -> list[int]:
    reply = await desk.get(f"{PATH}{query}")
    assert reply.status_code == 200, reply.text
    return [item["id"] for item in reply.json()["items"]]


async def change(desk: Desk, **members: Any) -> dict[str, Any]:
    """The first key as it is then."""
    reply = await desk.patch(f"{PATH}/1", members)
    assert reply.status_code == 200, reply.text
    said = reply.json()
    item: dict[str, Any] = said.pop("item")
    assert said == {"ok": True, "updated": True}
    return item


async def audit(desk: Desk) -> list[tuple[Any, ...]]:
    return await desk.sql("select actor, action, object_id, account_id from audit order by id")


# --- who may --------------------------------------------------------------------------------------------------------

ENDPOINTS = [("GET", PATH), ("GET", f"{PATH}/1"), ("POST", PATH), ("PATCH", f"{PATH}/1"), ("DELETE", f"{PATH}/1")]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_invalid_or_expired_session(desk: Desk, method: str, path: str) -> None:
    for asking in (desk, desk.with_key()):
        reply = await asking.ask(method, path, {} if method in ("POST", "PATCH") else None)
        assert (reply.status_code, problem(reply)) == (401, {"error": "invalid_or_expired_session"})


@pytest.mark.parametrize(("method", "path"), ENDPOINTS[2:])
async def test_csrf_required(admin: Desk, method: str, path: str) -> None:
    del admin.headers["X-CSRF-Token"]
    reply = await admin.ask(method, path, {})
    assert (reply.status_code, problem(reply)) == (403, {"error": "csrf_required"})
    reply = await admin.ask(method, path, {}, X_CSRF_Token="wrong")
    assert (reply.status_code, problem(reply)) == (403, {"error": "invalid_csrf_token"})
    assert await admin.one("select count(*) from token") == 1


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_api_token_not_found(admin: Desk, method: str) -> None:
    await admin.sql("insert into token (account_id, kind, hash) values (1, 'addy', %s)", bytes(32))
    document = {"revoked": 1} if method == "PATCH" else None
    for number in (2, 77, 10**17):
        reply = await admin.ask(method, f"{PATH}/{number}", document)
        assert (reply.status_code, problem(reply)) == (404, {"error": "api_token_not_found", "id": number})


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("number", ["0", "-1", "0x1", "1e0", "1.0", "x", "9" * 40])
async def test_invalid_params_id(admin: Desk, method: str, number: str) -> None:
    document = {"revoked": 1} if method == "PATCH" else None
    reply = await admin.ask(method, f"{PATH}/{number}", document)
    assert (reply.status_code, problem(reply)) == (400, {"error": "invalid_params", "field": "id"})


# --- lists ----------------------------------------------------------------------------------------------------------


async def test_a_key_has_all_that_is_known_of_it(admin: Desk) -> None:
    number = await add(admin)
    reply = await admin.get(f"{PATH}/{number}")
    assert reply.status_code == 200
    assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE
    assert list(reply.json()) == ["item"]
    item = reply.json()["item"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item["created_at"])
    assert at(item.pop("expires_at")) - at(item.pop("created_at")) == timedelta(days=30)
    assert item == {
        "id": number,
        "owner_email": MAILBOX,
        "status": "active",
        "revoked_at": None,
        "revoked_reason": None,
        "created_ip": "::ffff:192.0.2.7",
        "user_agent": "browser",
        "last_used_at": None,
        "automatic_renew": 0,
        "active": True,
    }


@pytest.mark.parametrize(
    ("ip", "shown"), [("192.0.2.7", "::ffff:192.0.2.7"), ("2001:db8::7", "2001:db8::7"), (None, None)]
)
async def test_created_ip_is_written_as_ipv6(admin: Desk, ip: str | None, shown: str | None) -> None:
    number = await add(admin, ip=ip)
    assert (await admin.get(f"{PATH}/{number}")).json()["item"]["created_ip"] == shown


async def crowd(admin: Desk) -> None:
    """2: revoked, 3: expired, 4: both, 5: somebody else's; and one that is no API key."""
    await add(admin, revoked=True)
    await add(admin, days=-1)
    await add(admin, days=-1, revoked=True)
    await add(admin, "some_body@mail.example")
    await admin.sql("insert into token (account_id, kind, hash) values (1, 'addy', %s)", bytes(32))


async def test_the_list_is_newest_first(admin: Desk) -> None:
    await crowd(admin)
    said = (await admin.get(PATH)).json()
    assert [(item["id"], item["status"], item["active"]) for item in said["items"]] == [
        (5, "active", True),
        (4, "revoked", False),
        (3, "expired", False),
        (2, "revoked", False),
        (1, "active", True),
    ]
    assert said["pagination"] == {"total": 5, "limit": 50, "offset": 0}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?active=1", [5, 1]),
        ("?active=false", [4, 3, 2]),
        ("?active=Yes&owner_email=me%40", [1]),
        ("?status=active", [5, 1]),
        ("?status=Revoked", [4, 2]),
        ("?status=expired", [3]),
        ("?status=revoked&active=1", []),
        ("?owner_email=INBOX", [4, 3, 2, 1]),
        ("?owner_email=_", [5]),
        ("?owner_email=%25", []),
        ("?limit=2&offset=1", [4, 3]),
        ("?offset=5", []),
        ("?limit=200", [5, 4, 3, 2, 1]),
        ("?unknown=1", [5, 4, 3, 2, 1]),
    ],
)
async def test_filters_combine(admin: Desk, query: str, expected: list[int]) -> None:
    await crowd(admin)
    assert await ids(admin, query) == expected


async def test_the_total_counts_with_the_filters_and_beyond_the_end(admin: Desk) -> None:
    await crowd(admin)
    for offset in (0, 2, 100):
        said = (await admin.get(f"{PATH}?active=0&limit=1&offset={offset}")).json()
        assert said["pagination"] == {"total": 3, "limit": 1, "offset": offset}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=", "limit"),
        ("limit=x", "limit"),
        ("offset=-1", "offset"),
        ("offset=", "offset"),
        ("active=", "active"),
        ("active=2", "active"),
        ("owner_email=", "owner_email"),
        (f"owner_email={'x' * 255}", "owner_email"),
        ("status=", "status"),
        ("status=gone", "status"),
    ],
)
async def test_invalid_params_of_the_list(admin: Desk, query: str, field: str) -> None:
    reply = await admin.get(f"{PATH}?{query}")
    assert reply.status_code == 400
    said = problem(reply)
    assert said.pop("constraints")
    assert said == {"error": "invalid_params", "field": field}


# --- making ---------------------------------------------------------------------------------------------------------


async def test_a_key_is_made_and_told_once(admin: Desk) -> None:
    document = {"owner_email": " New@Inbox.example", "days": 90, "user_agent": "a script"}
    reply = await admin.post(PATH, document, User_Agent="dashboard")
    assert reply.status_code == 201
    said = reply.json()
    item, token = said.pop("item"), said.pop("token")
    assert said == {"ok": True, "created": True, "token_type": "api_key"}
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert (item["owner_email"], item["user_agent"]) == ("new@inbox.example", "a script")
    assert item["created_ip"] == "::ffff:192.0.2.1"
    assert abs(at(item["expires_at"]) - later(days=90)) < timedelta(minutes=1)
    assert (await admin.get(f"{PATH}/{item['id']}")).json()["item"] == item
    assert (
        await admin.one("select hash from token where id = %s", item["id"]) == hashlib.sha256(token.encode()).digest()
    )
    account = await admin.one("select id from account where implicit_mailbox = 'new@inbox.example'")
    assert await audit(admin) == [("admin:1", "token.add", item["id"], account)]


async def test_days_and_user_agent_have_defaults(admin: Desk) -> None:
    item = (await admin.post(PATH, {"owner_email": MAILBOX}, User_Agent="dashboard")).json()["item"]
    assert abs(at(item["expires_at"]) - later(days=30)) < timedelta(minutes=1)
    assert item["user_agent"] == "dashboard"


async def test_neither_bans_nor_managed_domains_are_in_the_way(admin: Desk) -> None:
    await admin.sql("insert into ban (type, value) values ('domain', 'inbox.example')")
    for email in (MAILBOX, "me@alias.example", "me@relay.example"):
        assert (await admin.post(PATH, {"owner_email": email})).status_code == 201


@pytest.mark.parametrize("email", ["me", "me@inbox", "me@@inbox.example", "me@inbox.example@"])
async def test_invalid_params_owner_email(admin: Desk, email: str) -> None:
    for reply in (
        await admin.post(PATH, {"owner_email": email}),
        await admin.patch(f"{PATH}/1", {"owner_email": email}),
    ):
        assert reply.status_code == 400
        assert problem(reply) == {"error": "invalid_params", "field": "owner_email"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner_email", None),
        ("owner_email", ""),
        ("owner_email", 7),
        ("days", 0),
        ("days", 10000),
        ("days", "x"),
        ("days", ""),
        ("user_agent", None),
        ("user_agent", ""),
        ("user_agent", "x" * 256),
        ("user_agent", "\0"),
    ],
)
async def test_invalid_params_of_a_new_one(admin: Desk, field: str, value: Any) -> None:
    reply = await admin.post(PATH, {"owner_email": MAILBOX, field: value})
    assert reply.status_code == 400
    said = problem(reply)
    assert said.pop("constraints")
    assert said == {"error": "invalid_params", "field": field}
    assert await admin.one("select count(*) from token") == 1


async def test_an_account_that_goes_gets_no_key(admin: Desk) -> None:
    await admin.sql("update account set state = 'deleting' where id = 2")
    reply = await admin.post(PATH, {"owner_email": MAILBOX})
    assert (reply.status_code, reply.json()["error"]) == (503, "temporarily_unavailable")


# --- changing -------------------------------------------------------------------------------------------------------


async def test_a_key_is_revoked_and_opens_nothing(admin: Desk) -> None:
    item = await change(admin, revoked=1, revoked_reason="lost")
    assert (item["status"], item["active"], item["revoked_reason"]) == ("revoked", False, "lost")
    assert abs(at(item["revoked_at"]) - later()) < timedelta(minutes=1)
    assert (await admin.post("credentials/renew", {"api_key": KEY, "days": 1})).status_code == 401
    again = await change(admin, revoked="yes")
    assert at(again["revoked_at"]) > at(item["revoked_at"])
    assert await audit(admin) == [("admin:1", "token.change", 1, 2)] * 2


@pytest.mark.parametrize("members", [{"revoked": 0}, {"revoked": False}, {"status": "active"}])
async def test_a_revocation_is_taken_back(admin: Desk, members: dict[str, Any]) -> None:
    before = (await admin.get(f"{PATH}/1")).json()["item"]
    await change(admin, revoked=True, revoked_reason="lost")
    assert await change(admin, **members) == before
    assert (await admin.post("credentials/renew", {"api_key": KEY, "days": 1})).status_code == 200


async def test_a_status_says_so_as_well(admin: Desk) -> None:
    item = await change(admin, status="REVOKED")
    assert (item["status"], item["active"]) == ("revoked", False)
    assert (await change(admin, status="revoked"))["revoked_at"] == item["revoked_at"]
    item = await change(admin, status="expired")
    assert (item["status"], item["active"], item["revoked_at"]) == ("expired", False, None)
    assert at(item["expires_at"]) <= later()


@pytest.mark.parametrize(("status", "revoked"), [("active", 1), ("expired", True), ("revoked", 0), ("revoked", "off")])
async def test_status_revoked_conflict(admin: Desk, status: str, revoked: Any) -> None:
    reply = await admin.patch(f"{PATH}/1", {"status": status, "revoked": revoked})
    assert reply.status_code == 400
    expected = {"error": "invalid_params", "field": "status", "reason": "status_revoked_conflict"}
    assert problem(reply) == expected


@pytest.mark.parametrize(("status", "revoked"), [("active", 0), ("expired", 0), ("revoked", 1)])
async def test_a_status_that_agrees(admin: Desk, status: str, revoked: int) -> None:
    assert (await change(admin, status=status, revoked=revoked))["status"] == status


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2030-01-02T03:04:05.678Z", "2030-01-02T03:04:05.678Z"),
        ("2030-01-02", "2030-01-02T00:00:00.000Z"),
        ("2030-01-02T03:04:05+02:00", "2030-01-02T01:04:05.000Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T00:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-02T00:00:00.000Z"),
    ],
)
async def test_an_expiry_can_be_any_time(admin: Desk, sent: str, shown: str) -> None:
    assert (await change(admin, expires_at=sent))["expires_at"] == shown
    assert len(await ids(admin)) == 1


async def test_of_another_mailbox_it_acts_for_that_ones_account(admin: Desk) -> None:
    await admin.sql("insert into recipient (account_id, address, verified_at) values (1, 'ops@inbox.example', now())")
    await admin.sql("update account set default_recipient_id = 3 where id = 1")
    assert (await change(admin, owner_email="Ops@inbox.example"))["owner_email"] == "ops@inbox.example"
    assert await admin.one("select account_id from token") == 1


@pytest.mark.parametrize("reason", [None, ""])
async def test_a_reason_can_be_taken_away(admin: Desk, reason: Any) -> None:
    await change(admin, revoked=1, revoked_reason="lost")
    assert (await change(admin, revoked_reason=reason))["revoked_reason"] is None


@pytest.mark.parametrize("document", [{}, {"unknown": 1}, {"revoked": None}, {"id": 7, "automatic_renew": 1}])
async def test_empty_patch(admin: Desk, document: dict[str, Any]) -> None:
    reply = await admin.patch(f"{PATH}/1", document)
    assert reply.status_code == 400
    assert problem(reply) == {"error": "invalid_params", "reason": "empty_patch"}
    assert await audit(admin) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner_email", None),
        ("owner_email", ""),
        ("status", None),
        ("status", "gone"),
        ("status", ""),
        ("expires_at", None),
        ("expires_at", ""),
        ("expires_at", "tomorrow"),
        ("expires_at", 7),
        ("revoked", ""),
        ("revoked", 2),
        ("revoked_reason", "x" * 256),
        ("revoked_reason", 7),
    ],
)
async def test_invalid_params_of_a_change(admin: Desk, field: str, value: Any) -> None:
    reply = await admin.patch(f"{PATH}/1", {field: value})
    assert reply.status_code == 400
    said = problem(reply)
    assert said.pop("constraints")
    assert said == {"error": "invalid_params", "field": field}


# --- deleting -------------------------------------------------------------------------------------------------------


async def test_d_12_a_used_key_is_deleted_and_shown_as_it_was(admin: Desk) -> None:
    await admin.sql("insert into api_log (token_id, owner_email, route, body) values (1, %s, '/api/x', '{}')", MAILBOX)
    before = (await admin.get(f"{PATH}/1")).json()["item"]
    reply = await admin.delete(f"{PATH}/1", {"revoked_reason": "ignored"})
    assert reply.status_code == 200
    assert reply.json() == {"ok": True, "deleted": True, "item": before}
    assert await admin.sql("select token_id, owner_email from api_log") == [(None, MAILBOX)]
    assert await audit(admin) == [("admin:1", "token.remove", 1, 2)]
    assert (await admin.delete(f"{PATH}/1")).status_code == 404
