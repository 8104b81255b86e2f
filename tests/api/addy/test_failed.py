"""Failed deliveries over HTTP: lists, one, and the stored message (addy-api.md sections 2.11, 3.6 and 3.12)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.api.addy.conftest import Desk
from tests.api.addy.failures import NOT_STORED, failed, forward, keys
from tests.store.test_failed import CONTENT

__all__ = ["keys"]


# --- T-FD --------------------------------------------------------------------------------------------------------


async def test_t_fd_1_all_come_with_links_and_meta(desk: Desk) -> None:
    wanted = [str(await failed(desk)) for _ in range(3)]
    await failed(desk, account_id=2)
    response = await desk.get("failed-deliveries")
    assert response.status_code == 200
    assert list(response.json()) == ["data", "links", "meta"]
    assert [one["id"] for one in response.json()["data"]] == wanted[::-1]
    assert response.json()["meta"]["total"] == 3


async def test_t_fd_2_one_has_all_its_keys(desk: Desk) -> None:
    number = await failed(desk, attempted_at="2026-01-01T10:00:00Z", created_at="2026-01-01T10:00:05Z")
    response = await desk.get(f"failed-deliveries/{str(number).upper()}")
    assert response.status_code == 200
    assert list(response.json()) == ["data"]
    found = response.json()["data"]
    assert found.pop("updated_at")
    assert found == {
        "id": str(number),
        "user_id": str(await desk.one("select uuid from account where id = 1")),
        "recipient_id": None,
        "recipient_email": None,
        "alias_id": None,
        "alias_email": None,
        "bounce_type": "hard",
        "remote_mta": "mx.inbox.example",
        "sender": "news@shop.example",
        "destination": "johndoe@Inbox.example",
        "ir_dedupe_key": None,
        "type": "outbound",
        "email_type": "F",
        "email_type_text": "Forward",
        "status": "5.1.1",
        "code": "smtp; 550 5.1.1 no such user",
        "is_stored": False,
        "quarantined": False,
        "resent": False,
        "attempted_at": "2026-01-01 10:00:00",
        "created_at": "2026-01-01 10:00:05",
    }


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"ir_dedupe_key": "0" * 64}, "inbound"),
        ({"quarantined": True}, "inbound_quarantined"),
        ({"email_type": "IR"}, "inbound"),
        ({}, "outbound"),
    ],
)
async def test_t_fd_3_the_type_is_derived(desk: Desk, values: dict[str, Any], kind: str) -> None:
    number = await failed(desk, **values)
    assert (await desk.get(f"failed-deliveries/{number}")).json()["data"]["type"] == kind


@pytest.mark.parametrize(
    ("rows", "kind", "count"),
    [
        pytest.param(({"email_type": "IR"}, {"email_type": "IR"}, {}), "inbound", 2, id="T-FD-4"),
        pytest.param(({"email_type": "IR"}, {"email_type": "IR"}, {}), "outbound", 1, id="T-FD-5"),
        pytest.param(({"quarantined": True}, {}), "inbound_quarantined", 1, id="T-FD-6"),
    ],
)
async def test_t_fd_4_5_6_lists_can_be_had_of_one_type(
    desk: Desk, rows: Sequence[dict[str, Any]], kind: str, count: int
) -> None:
    for row in rows:
        await failed(desk, **row)
    response = await desk.get(f"failed-deliveries?filter[email_type]={kind}")
    assert response.status_code == 200
    assert [one["type"] for one in response.json()["data"]] == [kind] * count
    assert response.json()["meta"]["total"] == count


async def test_t_fd_7_pages(desk: Desk) -> None:
    for _ in range(3):
        await failed(desk)
    first = (await desk.get("failed-deliveries?page[size]=2&page[number]=1")).json()
    assert (len(first["data"]), first["meta"]["total"], first["meta"]["last_page"]) == (2, 3, 2)
    rest = (await desk.get("failed-deliveries?page[size]=2&page[number]=2")).json()
    assert (len(rest["data"]), rest["links"]["next"]) == (1, None)
    assert {one["id"] for one in first["data"]}.isdisjoint(one["id"] for one in rest["data"])
    beyond = await desk.get("failed-deliveries?page[number]=999999999999")
    assert (beyond.status_code, beyond.json()["data"]) == (200, [])


async def test_t_fd_8_a_deleted_one_is_gone_with_its_message(desk: Desk) -> None:
    number = await failed(desk, content=CONTENT)
    response = await desk.delete(f"failed-deliveries/{number}")
    assert (response.status_code, response.content) == (204, b"")
    assert await desk.sql("select from failed_delivery") == []
    assert await desk.sql("select from stored_message") == []
    assert (await desk.delete(f"failed-deliveries/{number}")).status_code == 404
    token = await desk.one("select id from token")
    assert await desk.sql("select actor, account_id, action from audit") == [(f"token:{token}", 1, "failed.delete")]


# --- shapes ------------------------------------------------------------------------------------------------------


async def test_alias_and_recipient_are_told_until_they_are_gone(desk: Desk) -> None:
    number = await forward(desk)
    alias = await desk.one("select uuid from alias")
    recipient = await desk.one("select uuid from recipient where id = 1")
    path = f"failed-deliveries/{number}"
    names = ("alias_id", "alias_email", "recipient_id", "recipient_email")

    async def told() -> list[Any]:
        one = (await desk.get(path)).json()["data"]
        [listed] = (await desk.get("failed-deliveries")).json()["data"]
        assert listed == one
        return [one[name] for name in names]

    assert await told() == [str(alias), "a1@alias.example", str(recipient), "me@inbox.example"]
    await desk.sql("update alias set state = 'deleted', deleted_at = now()")
    assert (await told())[:2] == [str(alias), "a1@alias.example"]
    await desk.sql("update alias set state = 'forgotten', account_id = null")
    await desk.sql("update failed_delivery set recipient_id = null")
    assert await told() == [None, None, None, None]


async def test_what_apps_need_as_text_is_text(desk: Desk) -> None:
    nothing = {"bounce_type": None, "status": None, "code": None, "remote_mta": None, "sender": None}
    number = await failed(desk, **nothing, destination=None, subject=None)
    found = (await desk.get(f"failed-deliveries/{number}")).json()["data"]
    strings = ("bounce_type", "status", "code", "remote_mta", "attempted_at")
    assert [found[name] for name in strings] == ["soft", "4.0.0", "", "mx.relay.example", found["created_at"]]
    assert (found["sender"], found["destination"]) == (None, None)


async def test_diagnostic_texts_are_ascii(desk: Desk) -> None:
    number = await failed(desk, code="550 unbekannter Empf\u00e4nger \U0001f4a9", status=None)
    found = (await desk.get(f"failed-deliveries/{number}")).json()["data"]
    assert (found["code"], found["status"]) == ("550 unbekannter Empf?nger ?", "5.0.0")


@pytest.mark.parametrize(("code", "text"), [("ADUN", "Alias Deactivated by One-Click Unsubscribe"), ("XX", "Forward")])
async def test_codes_have_texts(desk: Desk, code: str, text: str) -> None:
    number = await failed(desk, email_type=code)
    assert (await desk.get(f"failed-deliveries/{number}")).json()["data"]["email_type_text"] == text


async def test_without_the_key_of_storage_the_rest_can_be_had(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "secrets" / "storage.key").unlink()
    assert (await desk.get("failed-deliveries")).status_code == 500
    assert (await desk.get("rules")).status_code == 200


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("filter[email_type]=F", {"filter.email_type": ["The selected filter.email_type is invalid."]}),
        ("filter[email_type][]=inbound", {"filter.email_type": ["The selected filter.email_type is invalid."]}),
        ("filter=inbound", {"filter": ["The filter must be an array."]}),
        ("page=2", {"page": ["The page must be an array."]}),
        ("page[size]=0", {"page.size": ["The page.size must be at least 1."]}),
        ("page[number]=x&page[size]=101", {
            "page.number": ["The page.number must be an integer."],
            "page.size": ["The page.size may not be greater than 100."],
        }),
    ],
)  # fmt: skip
async def test_odd_queries_are_refused(desk: Desk, query: str, errors: Any) -> None:
    response = await desk.get(f"failed-deliveries?{query}")
    assert (response.status_code, response.json()["errors"]) == (422, errors)


@pytest.mark.parametrize("given", [{"filter": ["x"], "page": ["y"]}, {"filter": [], "page": {}}, {"filter": None}])
async def test_lists_in_place_of_groups_say_nothing(desk: Desk, given: Any) -> None:
    await failed(desk)
    response = await desk.ask("GET", "failed-deliveries", given)
    assert (response.status_code, response.json()["meta"]["total"]) == (200, 1)


@pytest.mark.parametrize("number", ["x", "1", str(UUID(int=5)), "%00", "%ED%A0%80"])
async def test_what_is_none_is_not_found(desk: Desk, number: str) -> None:
    await failed(desk)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/download")):
        response = await desk.ask(method, f"failed-deliveries/{number}{path}")
        assert response.status_code == 404
        assert response.json()["message"].startswith("No query results for model [App\\Models\\FailedDelivery] ")


async def test_those_of_others_are_not_found(desk: Desk) -> None:
    theirs = await failed(desk, account_id=2, content=CONTENT)
    message = {"message": f"No query results for model [App\\Models\\FailedDelivery] {theirs}"}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/download"), ("POST", "/resend")):
        response = await desk.ask(method, f"failed-deliveries/{theirs}{path}")
        assert (response.status_code, response.json()) == (404, message)
    assert len(await desk.sql("select from failed_delivery")) == 1


# --- N11 ---------------------------------------------------------------------------------------------------------


async def test_n11_the_message_comes_as_it_is(desk: Desk) -> None:
    number = await failed(desk, content=CONTENT)
    assert (await desk.get(f"failed-deliveries/{number}")).json()["data"]["is_stored"] is True
    response = await desk.get(f"failed-deliveries/{str(number).upper()}/download")
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["Content-Type"] == "message/rfc822"
    assert response.headers["Content-Disposition"] == f"attachment; filename={number}.eml"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_n11_a_message_that_is_not_there_has_an_empty_answer(desk: Desk) -> None:
    missing = await failed(desk)
    damaged = await failed(desk, content=CONTENT)
    await desk.sql("update stored_message set content = content || '\\x00'")
    for number in (missing, damaged):
        response = await desk.get(f"failed-deliveries/{number}/download")
        assert (response.status_code, response.json()) == NOT_STORED
