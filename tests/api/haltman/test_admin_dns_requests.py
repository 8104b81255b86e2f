"""Proposals of domains as records, for administrators (haltman-api.md section 3.24)."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.api.haltman.conftest import Desk, later
from tests.api.haltman.dnsdesk import NEW, ask, domain, work

# As the form of the web interface sends it.
FORM = {"target": NEW, "type": "EMAIL", "status": "PENDING"}


@pytest.fixture
async def admin(desk: Desk) -> Desk:
    return await desk.admin()


async def make(admin: Desk, **values: Any) -> dict[str, Any]:
    reply = await admin.post("admin/dns-requests", {**FORM, **values})
    assert reply.status_code == 201, reply.text
    return dict(reply.json()["item"])


async def test_d_28_a_request_needs_no_expiry(admin: Desk) -> None:
    reply = await admin.post("admin/dns-requests", FORM)
    assert (reply.status_code, reply.json()["ok"], reply.json()["created"]) == (201, True, True)
    item = reply.json()["item"]
    ends = datetime.fromisoformat(item.pop("expires_at"))
    assert abs(ends - later(hours=24)) < timedelta(minutes=1)
    assert item.pop("created_at") and item.pop("updated_at")
    assert item == {
        "id": 1,
        **FORM,
        "activated_at": None,
        "last_checked_at": None,
        "next_check_at": None,
        "last_check_result_json": None,
        "fail_reason": None,
    }
    assert await admin.sql("select actor, action, object_id from audit") == [("admin:1", "dns_request.add", 1)]


@pytest.mark.parametrize("sent", [None, ""])
async def test_d_28_an_empty_expiry_is_none(admin: Desk, sent: Any) -> None:
    assert datetime.fromisoformat((await make(admin, expires_at=sent))["expires_at"]) > later(hours=23)


async def test_post_takes_every_member(admin: Desk) -> None:
    at = "2026-01-30T08:10:18.770Z"
    given = {
        "target": f" {NEW.upper()}. ",
        "type": "ui",
        "status": "on hold",
        "activated_at": at,
        "last_checked_at": "2026-01-30",
        "next_check_at": "2026-01-30T09:10:18.77+01:00",
        "last_check_result_json": {"ok": False, "missing": []},
        "fail_reason": "so",
        "expires_at": at,
    }
    made = await make(admin, **given)
    assert {name: made[name] for name in given} == {
        **given,
        "target": NEW,
        "type": "UI",
        "status": "ON HOLD",
        "last_checked_at": "2026-01-30T00:00:00.000Z",
        "next_check_at": at,
    }


@pytest.mark.parametrize(
    ("sent", "shown"),
    [('{"ok": true}', {"ok": True}), ("{no json", "{no json"), ("[1]", [1]), (None, None), ("", None), ("NaN", "NaN")],
)
async def test_results_are_json_or_text(admin: Desk, sent: Any, shown: Any) -> None:
    assert (await make(admin, last_check_result_json=sent))["last_check_result_json"] == shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", ""), ("target", "https://part.example"), ("target", 5), ("target", "192.0.2.1"), ("target", None),
        ("type", "MX"), ("type", ""), ("type", None), ("status", ""), ("status", "x" * 17), ("status", None),
        ("status", "\u00fc"), ("status", "\u00df" * 16),
        ("expires_at", "soon"), ("activated_at", 5), ("fail_reason", 5), ("fail_reason", "a\x00"),
        ("last_check_result_json", 5), ("last_check_result_json", {"a": "\x00"}), ("last_check_result_json", "\x00"),
        ("last_check_result_json", "[" * 200 + "]" * 200),
        ("last_check_result_json", '"\\u0000"'), ("last_check_result_json", {"\ud800": 1}),
    ],
)  # fmt: skip
async def test_post_invalid_params(admin: Desk, field: str, value: Any) -> None:
    reply = await admin.post("admin/dns-requests", {**FORM, field: value})
    assert (reply.status_code, reply.json()["error"], reply.json()["field"]) == (400, "invalid_params", field)
    assert await admin.sql("select from dns_request") == []


async def test_a_bad_target_says_why(admin: Desk) -> None:
    reply = await admin.post("admin/dns-requests", {**FORM, "target": "https://part.example"})
    assert reply.json()["reason"] == "target must be a domain name without scheme"


async def test_dns_request_taken(admin: Desk) -> None:
    await make(admin)
    reply = await admin.post("admin/dns-requests", FORM)
    said = {name: value for name, value in reply.json().items() if name not in ("message", "code")}
    assert said == {"error": "dns_request_taken", "target": NEW, "type": "EMAIL"}
    assert reply.status_code == 409
    await make(admin, type="UI")
    reply = await admin.patch("admin/dns-requests/3", {"type": "EMAIL"})
    assert (reply.status_code, reply.json()["error"]) == (409, "dns_request_taken")


async def test_get_list_and_one(admin: Desk) -> None:
    first = await make(admin)
    second = await make(admin, type="UI", status="active")
    third = await make(admin, target="other.example")
    reply = await admin.get("admin/dns-requests?limit=2")
    assert reply.json() == {"items": [third, second], "pagination": {"total": 3, "limit": 2, "offset": 0}}
    assert (await admin.get(f"admin/dns-requests/{first['id']}")).json() == {"item": first}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("target=PART", [2, 1]),
        ("target=%25", []),
        ("type=ui", [2]),
        ("status=active", [2]),
        ("status=act", []),
        ("type=EMAIL&status=PENDING", [3, 1]),
    ],
)
async def test_get_list_filters(admin: Desk, query: str, ids: list[int]) -> None:
    await make(admin)
    await make(admin, type="UI", status="ACTIVE")
    await make(admin, target="other.example")
    shown = (await admin.get(f"admin/dns-requests?{query}")).json()
    assert [one["id"] for one in shown["items"]] == ids


@pytest.mark.parametrize(
    ("query", "field"), [("type=x", "type"), ("status=", "status"), ("target=", "target"), ("limit=201", "limit")]
)
async def test_get_list_invalid_params(admin: Desk, query: str, field: str) -> None:
    reply = await admin.get(f"admin/dns-requests?{query}")
    assert (reply.status_code, reply.json()["field"]) == (400, field)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_dns_request_not_found(admin: Desk, method: str) -> None:
    reply = await admin.ask(method, "admin/dns-requests/77", {"status": "x"})
    assert (reply.status_code, reply.json()["error"], reply.json()["id"]) == (404, "dns_request_not_found", 77)


async def test_patch(admin: Desk) -> None:
    made = await make(admin, fail_reason="so", last_check_result_json={"ok": False})
    changed = {"target": "other.example", "status": "failed", "fail_reason": None, "last_check_result_json": None}
    reply = await admin.patch("admin/dns-requests/1", changed)
    item = reply.json()["item"]
    assert item.pop("updated_at") > made.pop("updated_at")
    assert (reply.json()["updated"], item) == (True, {**made, **changed, "status": "FAILED"})
    assert await domain(admin, "other.example") == ()  # a record, no more


@pytest.mark.parametrize("expiry", [None, "", "never"])
async def test_patch_needs_an_expiry_if_one_is_sent(admin: Desk, expiry: Any) -> None:
    await make(admin)
    reply = await admin.patch("admin/dns-requests/1", {"expires_at": expiry})
    assert (reply.status_code, reply.json()["error"], reply.json()["field"]) == (400, "invalid_params", "expires_at")
    assert set(reply.json()["constraints"]) == {"isDate"}


async def test_patch_empty(admin: Desk) -> None:
    await make(admin)
    reply = await admin.patch("admin/dns-requests/1", {"id": 5})
    assert (reply.status_code, reply.json()["reason"]) == (400, "empty_patch")


async def test_delete(admin: Desk) -> None:
    made = await make(admin)
    reply = await admin.delete("admin/dns-requests/1")
    assert (reply.status_code, reply.json()) == (200, {"ok": True, "deleted": True, "item": made})
    assert await admin.sql("select from dns_request") == []
    assert [row[0] for row in await admin.sql("select action from audit order by id")] == [
        "dns_request.add",
        "dns_request.remove",
    ]


async def test_ids_are_integers(admin: Desk) -> None:
    await ask(admin)
    shown = (await admin.get("admin/dns-requests")).json()["items"][0]
    assert shown["id"] == 1 and isinstance(shown["id"], int)
    assert shown["last_check_result_json"]["ok"] is False
    assert set(shown["last_check_result_json"]) == {"dns_snapshot", "missing", "ok", "checked_at", "next_check_at"}


async def test_edits_trigger_no_check(admin: Desk) -> None:
    await make(admin)
    assert await work(admin, 5) == 0
    assert admin.dns.asked == []
