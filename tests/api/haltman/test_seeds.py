"""The four endpoints that are published, with every status of theirs, against the schemas of their pages.

A success has exactly these members; of errors others may stand beside them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

import httpx2
import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from mailrelay.api.haltman.call import Call
from tests.api.haltman.conftest import Desk

TOMBSTONE = "deleted@relay.example"
Shape = TypeVar("Shape")


class Exact(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Open(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class AliasItem(Exact):
    id: int
    address: str
    goto: str
    active: Literal[0, 1]
    domain_id: int = 0
    created: str
    modified: str


class AliasDeleted(Exact):
    ok: bool
    created: bool = False
    updated: bool = False
    deleted: bool = False
    item: AliasItem


class Mailed(Exact):
    sent: bool
    ttl_minutes: int
    reason: str = ""


class HandleUnsubscribe(Exact):
    ok: bool
    accepted: bool = False
    action: Literal["handle_unsubscribe"] = "handle_unsubscribe"
    handle: str = ""
    confirmation: Mailed | None = None


class Confirmed(Exact):
    ok: bool
    confirmed: bool
    intent: Literal["subscribe", "unsubscribe"]
    created: bool = False
    removed: bool = False
    reason: str = ""
    address: str
    goto: str = ""


class BanItem(Exact):
    id: int
    ban_type: Literal["email", "domain", "ip", "name"]
    ban_value: str
    reason: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    revoked_reason: str | None
    active: bool


class Pagination(Exact):
    total: int
    limit: int
    offset: int


class Bans(Exact):
    items: list[BanItem]
    pagination: Pagination


class Plain(Open):
    """As for 401, 403, 404, 409 and 500; `message` and `code` as in the samples."""

    error: str
    message: str
    code: int


class Invalid(Plain):
    field: str = ""
    reason: str = ""
    hint: str = ""
    constraints: Mapping[str, str] = {}


class Banned(Plain):
    ban: Mapping[str, Any]
    type: str
    value: str


class Limited(Plain):
    where: str
    reason: str


class Broken(Plain):
    requestId: str


ERRORS: Mapping[int, type[Plain]] = {400: Invalid, 429: Limited, 500: Broken}


def is_error(reply: httpx2.Response, status: int, error: str, **members: Any) -> None:
    """Raises ValidationError, or AssertionError, unless it is this one."""
    assert reply.status_code == status, reply.text
    shape = Banned if error == "banned" and "type" in reply.json() else ERRORS.get(status, Plain)
    said = shape.model_validate_json(reply.content).model_dump()
    assert {"error": error, "code": status, **members}.items() <= said.items()
    assert reply.headers["content-type"] == "application/json; charset=utf-8"


def read(shape: type[Shape], reply: httpx2.Response) -> Shape:
    """Raises ValidationError unless it has this shape."""
    assert reply.status_code == 200, reply.text
    return TypeAdapter(shape).validate_json(reply.content)


async def alias(desk: Desk, local: str = "sales", **columns: Any) -> int:
    """An alias of me@inbox.example; its number."""
    given = {"account_id": 2, "local_part": local, "domain": "alias.example", **columns}
    names, marks = ", ".join(given), ", ".join(["%s"] * len(given))
    return int(await desk.one(f"insert into alias ({names}) values ({marks}) returning id", *given.values()))


def counting(desk: Desk, *names: str) -> Desk:
    """With these limits on, at their usual numbers."""
    rates = {name: limit for name, limit in desk.app._gate.rates.items() if name not in names}
    desk.app._gate = replace(desk.app._gate, rates=rates)
    return desk


async def used_up(desk: Desk, path: str, name: str) -> httpx2.Response:
    """What is said when that limit is reached."""
    await counting(desk, name).get(path)
    await desk.sql("update request_window set hits = 100000 where name = %s", name)
    return await desk.get(path)


def breaking(desk: Desk, method: str, path: str) -> None:
    """Makes an endpoint fail as nobody thought of."""

    async def fail(_: Call) -> Any:
        raise ZeroDivisionError

    (found,) = [one for one in desk.app.endpoints if (one.method, one.path) == (method, path)]
    methods = next(one for one in desk.app._paths.values() if one.get(method) is found)
    methods[method] = replace(found, handler=fail)


# --- DELETE /api/admin/aliases/{id} ---------------------------------------------------------------------------------


async def test_deleting_an_alias_leaves_a_tombstone(desk: Desk) -> None:
    number, admin = await alias(desk), await desk.admin()
    said = read(AliasDeleted, await admin.delete(f"admin/aliases/{number}", Content_Type="application/json"))
    assert (said.ok, said.deleted) == (True, True)
    domain = await desk.one("select id from domain where name = 'alias.example'")
    item = said.item
    assert (item.id, item.address, item.goto) == (number, "sales@alias.example", TOMBSTONE)
    assert (item.active, item.domain_id) == (0, domain)
    assert item.created.endswith("Z") and item.modified >= item.created
    again = read(AliasDeleted, await admin.delete(f"admin/aliases/{number}"))
    assert (again.deleted, again.item) == (False, item)


async def test_deleting_an_alias_that_is_switched_off_changes_nothing(desk: Desk) -> None:
    number, admin = await alias(desk, state="inactive"), await desk.admin()
    said = read(AliasDeleted, await admin.delete(f"admin/aliases/{number}"))
    assert (said.deleted, said.item.active, said.item.goto) == (False, 0, "me@inbox.example")
    assert await desk.one("select state from alias where id = %s", number) == "inactive"


async def test_the_domain_of_an_alias_may_be_gone(desk: Desk) -> None:
    number, admin = await alias(desk), await desk.admin()
    await desk.sql("update alias set domain_id = null where id = %s", number)
    reply = await admin.delete(f"admin/aliases/{number}")
    assert "domain_id" not in reply.json()["item"]
    read(AliasDeleted, reply)


async def test_who_may_not_delete_an_alias(desk: Desk) -> None:
    path = f"admin/aliases/{await alias(desk)}"
    is_error(await desk.delete(path), 401, "invalid_or_expired_session")
    admin = await desk.admin()
    is_error(await admin.delete(path, X_CSRF_Token=""), 403, "csrf_required")
    is_error(await admin.delete(path, X_CSRF_Token="wrong"), 403, "invalid_csrf_token")
    await desk.sql("update account set is_admin = false")
    is_error(await admin.delete(path, X_CSRF_Token=""), 403, "forbidden")
    assert await desk.one("select state from alias") == "active"


async def test_an_alias_to_delete_is_to_be_there(desk: Desk) -> None:
    admin = await desk.admin()
    is_error(await admin.delete("admin/aliases/123"), 404, "alias_not_found", id=123)
    is_error(await admin.delete("admin/aliases/0"), 400, "invalid_params", field="id")
    is_error(await admin.delete("admin/aliases/x"), 400, "invalid_params", field="id")


async def test_deleting_aliases_has_a_limit(desk: Desk) -> None:
    admin = await desk.admin()
    await used_up(admin, "admin/aliases", "global")
    limited = await admin.delete("admin/aliases/1")
    is_error(limited, 429, "rate_limited", where="global", reason="too_many_requests_ip")


# --- GET /api/handle/unsubscribe ------------------------------------------------------------------------------------


async def handle(desk: Desk, name: str = "jose") -> None:
    await desk.sql("insert into handle (account_id, local_part) values (2, %s)", name)


@pytest.mark.parametrize("name", ["jose", "nobody"])
async def test_releasing_a_handle_is_accepted_whether_it_is_there_or_not(desk: Desk, name: str) -> None:
    await handle(desk)
    first = await desk.get(f"handle/unsubscribe?handle={name}", Content_Type="application/json")
    said = read(HandleUnsubscribe, first)
    assert first.json() == {
        "ok": True, "accepted": True, "action": "handle_unsubscribe", "handle": name,
        "confirmation": {"sent": True, "ttl_minutes": 10},
    }  # fmt: skip
    again = read(HandleUnsubscribe, await desk.get(f"handle/unsubscribe?handle={name.upper()}"))
    assert again.confirmation == Mailed(sent=False, ttl_minutes=10, reason="cooldown")
    assert said.handle == again.handle
    assert len(await desk.codes()) == (1 if name == "jose" else 0)


@pytest.mark.parametrize("query", ["", "?handle=", "?handle=a..b", "?handle=a@b.example", "?handle=a&handle=b"])
async def test_a_handle_to_release_is_to_be_one(desk: Desk, query: str) -> None:
    is_error(await desk.get(f"handle/unsubscribe{query}"), 400, "invalid_params", field="handle")


async def test_releasing_handles_has_limits_bans_and_trouble(desk: Desk) -> None:
    path = "handle/unsubscribe?handle=jose"
    limited = await used_up(desk, path, "handle_unsub_ip")
    is_error(limited, 429, "rate_limited", where="handle_unsubscribe", reason="too_many_requests_ip")
    await desk.sql("delete from request_window")
    breaking(desk, "GET", "handle/unsubscribe")
    is_error(await desk.get(path), 500, "internal_error")
    await desk.sql("insert into ban (type, value) values ('ip', '192.0.2.1')")
    is_error(await desk.get(path), 403, "banned")


# --- GET /api/forward/confirm ---------------------------------------------------------------------------------------

BOB, TO = "bob@alias.example", "bob@inbox.example"


async def asked(desk: Desk, path: str) -> str:
    """The path that confirms what was asked for."""
    reply = await desk.get(path)
    assert reply.status_code == 200, reply.text
    return f"forward/confirm?token={(await desk.codes())[-1]}"


async def subscribed(desk: Desk) -> str:
    return await asked(desk, f"forward/subscribe?name=bob&domain=alias.example&to={TO}")


async def test_confirming_makes_and_removes_an_alias(desk: Desk) -> None:
    made = await desk.get(await subscribed(desk), Content_Type="application/json")
    read(Confirmed, made)
    assert made.json() == {
        "ok": True, "confirmed": True, "intent": "subscribe", "created": True, "address": BOB, "goto": TO,
    }  # fmt: skip
    gone = await desk.get(await asked(desk, f"forward/unsubscribe?alias={BOB}"))
    read(Confirmed, gone)
    assert gone.json() == {"ok": True, "confirmed": True, "intent": "unsubscribe", "removed": True, "address": BOB}


async def test_a_custom_address_is_confirmed_as_any_other(desk: Desk) -> None:
    said = read(Confirmed, await desk.get(await asked(desk, f"forward/subscribe?address={BOB}&to={TO}")))
    assert (said.intent, said.address, said.goto) == ("subscribe", BOB, TO)


async def test_confirming_what_is_there_already(desk: Desk) -> None:
    path = await subscribed(desk)
    await desk.sql("insert into recipient (account_id, address, verified_at) values (2, %s, now())", TO)
    number = await alias(desk, "bob")
    await desk.sql("insert into alias_recipient (alias_id, recipient_id) select %s, max(id) from recipient", number)
    reply = await desk.get(path)
    read(Confirmed, reply)
    assert reply.json() == {
        "ok": True, "confirmed": True, "intent": "subscribe", "created": False, "reason": "already_exists",
        "address": BOB, "goto": TO,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "error", "members"),
    [
        ("", "invalid_params", {"field": "token"}),
        ("?token=", "invalid_params", {"field": "token"}),
        ("?token=%20", "invalid_params", {"field": "token"}),
        ("?token=12345", "invalid_token", {}),
        ("?token=1234567", "invalid_token", {}),
        ("?token=abcdef", "invalid_token", {}),
        ("?token=١٢٣٤٥٦", "invalid_token", {}),
        ("?token=123456", "invalid_or_expired", {}),
    ],
)
async def test_a_code_is_to_be_one(desk: Desk, query: str, error: str, members: dict[str, Any]) -> None:
    reply = await desk.get(f"forward/confirm{query}")
    is_error(reply, 400, error, **members)
    assert reply.json()["ok"] is False


async def test_a_code_works_once(desk: Desk) -> None:
    path = await subscribed(desk)
    assert (await desk.get(path.replace("=", "=%20"))).status_code == 200
    is_error(await desk.get(path), 400, "invalid_or_expired")


async def test_a_code_of_a_handle_is_not_for_aliases(desk: Desk) -> None:
    path = await asked(desk, f"handle/subscribe?handle=jose&to={TO}")
    is_error(await desk.get(path), 400, "unsupported_intent", intent="handle_subscribe")
    assert (await desk.get(path.replace("forward/", "handle/"))).status_code == 200


async def test_a_domain_may_have_gone_before_the_code_came(desk: Desk) -> None:
    path = await subscribed(desk)
    await desk.sql("update domain set mx_verified_at = null where name = 'alias.example'")
    is_error(await desk.get(path), 400, "invalid_domain", domain="alias.example")
    await desk.sql("update domain set mx_verified_at = now() where name = 'alias.example'")
    assert (await desk.get(path)).status_code == 200  # the code was not used up


@pytest.mark.parametrize(
    ("kind", "value"), [("name", "bob"), ("domain", "alias.example"), ("email", TO), ("domain", "inbox.example")]
)
async def test_a_ban_may_have_come_before_the_code(desk: Desk, kind: str, value: str) -> None:
    path = await subscribed(desk)
    await desk.sql("insert into ban (type, value, reason) values (%s, %s, 'spam')", kind, value)
    reply = await desk.get(path)
    is_error(reply, 403, "banned", type=kind, value=value)
    assert {"ban_type": kind, "ban_value": value, "reason": "spam"}.items() <= reply.json()["ban"].items()
    await desk.sql("update ban set revoked_at = now()")
    assert (await desk.get(path)).status_code == 200


async def removal(desk: Desk) -> tuple[str, int]:
    """The path that confirms a removal, and the number of the alias."""
    number = await alias(desk)
    return await asked(desk, "forward/unsubscribe?alias=sales@alias.example"), number


async def test_an_alias_may_have_changed_before_the_code_came(desk: Desk) -> None:
    path, number = await removal(desk)
    await desk.sql("update alias set state = 'inactive' where id = %s", number)
    is_error(await desk.get(path), 400, "alias_inactive", alias="sales@alias.example")
    await desk.sql("insert into recipient (account_id, address, verified_at) values (2, 'new@inbox.example', now())")
    await desk.sql("update alias set state = 'active' where id = %s", number)
    await desk.sql("update account set default_recipient_id = (select max(id) from recipient) where id = 2")
    is_error(await desk.get(path), 409, "alias_owner_changed", address="sales@alias.example")


async def test_a_handle_may_have_the_name_before_the_code_comes(desk: Desk) -> None:
    path = await subscribed(desk)
    await handle(desk, "bob")
    is_error(await desk.get(path), 409, "alias_taken", address=BOB)


async def test_somebody_else_may_have_the_address_before_the_code_comes(desk: Desk) -> None:
    path = await subscribed(desk)
    await alias(desk, "bob")
    is_error(await desk.get(path), 409, "alias_owner_changed", address=BOB)


async def test_an_alias_to_remove_may_be_gone_for_good(desk: Desk) -> None:
    """Nothing of ours deletes rows of aliases on shared domains; somebody with the database may."""
    path, number = await removal(desk)
    await desk.sql("alter table alias disable trigger all")
    await desk.sql("delete from alias where id = %s", number)
    is_error(await desk.get(path), 404, "alias_not_found", address="sales@alias.example")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fwd_cycle_ip", "too_many_forwarding_operations_ip"),
        ("confirm_ip", "too_many_requests_ip"),
        ("confirm_token", "too_many_requests_token"),
    ],
)
async def test_confirming_has_limits(desk: Desk, name: str, reason: str) -> None:
    reply = await used_up(desk, "forward/confirm?token=123456", name)
    is_error(reply, 429, "rate_limited", where="confirm", reason=reason)


async def test_a_pending_request_without_its_address_is_broken(desk: Desk) -> None:
    path = await subscribed(desk)
    await desk.sql("update confirmation set alias_name = ''")
    is_error(await desk.get(path), 500, "confirmation_payload_missing")
    breaking(desk, "GET", "forward/confirm")
    is_error(await desk.get(path), 500, "internal_error")


# --- GET /api/admin/bans --------------------------------------------------------------------------------------------


async def test_bans_are_listed(desk: Desk) -> None:
    await desk.sql(
        """insert into ban (type, value, reason, expires_at, revoked_at, revoked_reason) values
           ('email', 'x@y.example', 'spam', null, null, null), ('domain', 'bad.example', null, now(), null, null),
           ('ip', '198.51.100.7', null, null, now(), 'sorry'), ('name', 'pest', null, now() + '1 day', null, null)"""
    )
    admin = await desk.admin()
    said = read(Bans, await admin.get("admin/bans", Content_Type="application/json"))
    assert [one.ban_value for one in said.items] == ["pest", "198.51.100.7", "bad.example", "x@y.example"]
    assert [one.active for one in said.items] == [True, False, False, True]
    assert said.pagination == Pagination(total=4, limit=50, offset=0)
    page = read(Bans, await admin.get("admin/bans?limit=1&offset=1"))
    assert [one.revoked_reason for one in page.items] == ["sorry"]
    assert page.pagination == Pagination(total=4, limit=1, offset=1)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("active=1", ["pest", "x@y.example"]),
        ("active=True", ["pest", "x@y.example"]),
        ("active=no", ["bad.example"]),
        ("ban_type=email", ["x@y.example"]),
        ("ban_type=NAME", ["pest"]),
        ("ban_value=EXAMPLE", ["bad.example", "x@y.example"]),
        ("ban_value=%25", []),
        ("active=1&ban_type=name&ban_value=es&limit=200", ["pest"]),
        ("active=1&ban_type=ip", []),
    ],
)
async def test_bans_are_filtered(desk: Desk, query: str, found: list[str]) -> None:
    await desk.sql(
        """insert into ban (type, value, expires_at) values
           ('email', 'x@y.example', null), ('domain', 'bad.example', now()), ('name', 'pest', null)"""
    )
    said = read(Bans, await (await desk.admin()).get(f"admin/bans?{query}"))
    assert [one.ban_value for one in said.items] == found
    assert said.pagination.total == len(found)


@pytest.mark.parametrize(
    ("query", "field", "rule"),
    [
        ("limit=201", "limit", "max"),
        ("limit=0", "limit", "min"),
        ("limit=", "limit", "isInt"),
        ("limit=1.5", "limit", "isInt"),
        ("offset=-1", "offset", "min"),
        ("offset=x", "offset", "isInt"),
        ("active=", "active", "isInt"),
        ("active=perhaps", "active", "isInt"),
        ("ban_type=other", "ban_type", "matches"),
        ("ban_type=", "ban_type", "matches"),
        ("ban_value=", "ban_value", "minLength"),
        (f"ban_value={'x' * 256}", "ban_value", "maxLength"),
    ],
)
async def test_filters_of_bans_are_checked(desk: Desk, query: str, field: str, rule: str) -> None:
    reply = await (await desk.admin()).get(f"admin/bans?{query}")
    is_error(reply, 400, "invalid_params", field=field)
    assert rule in reply.json()["constraints"]


async def test_who_may_not_see_bans(desk: Desk) -> None:
    is_error(await desk.get("admin/bans"), 401, "invalid_or_expired_session")
    admin = await desk.admin()
    await desk.sql("update account set is_admin = false")
    is_error(await admin.get("admin/bans"), 403, "forbidden")


async def test_listing_bans_has_a_limit(desk: Desk) -> None:
    limited = await used_up(await desk.admin(), "admin/bans", "global")
    is_error(limited, 429, "rate_limited", where="global", reason="too_many_requests_ip")
