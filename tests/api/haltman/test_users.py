"""Administrators about themselves and other users (haltman-api.md sections 3.17 and 3.23)."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from mailrelay.core.errors import Busy
from mailrelay.core.notices import Code
from mailrelay.flows import passwords
from mailrelay.flows.deletion import AccountDeletion
from mailrelay.store.deletion import Deletions
from mailrelay.store.users import UserStore
from tests.api.haltman.conftest import Desk
from tests.api.haltman.people import CHEAP, HASH, NEW_PASSWORD, NO_SESSION, PASSWORD, Browser, is_cleared, said
from tests.api.haltman.test_key_handles import others_wait

GONE = {"error": "admin_user_not_found", "id": 99, "message": "There is no such user.", "code": 404}
NEW = {"username": "jane", "email": "Jane@Inbox.example", "password": PASSWORD}


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "hasher", lambda: CHEAP)


@pytest.fixture
async def root(desk: Desk) -> Browser:
    """The administrator, signed in with a password."""
    await desk.sql("update account set password_hash = %s where id = 1", HASH)
    return await Browser(desk).signed_in()


async def made(root: Browser, **more: Any) -> dict[str, Any]:
    """A new user."""
    reply = await root.ask("POST", "admin/users", {**NEW, **more})
    assert reply.status_code == 201, reply.text
    item: dict[str, Any] = reply.json()["item"]
    return item


async def alerts(desk: Desk) -> list[tuple[Code, str, str]]:
    """Mails to administrators: kind, to whom, action."""
    return [(mail.code, str(mail.data["address"]), str(mail.data.get("action", ""))) for mail in await desk.mails()]


# --- 3.17 ----------------------------------------------------------------------------------------------------------


async def test_me(root: Browser) -> None:
    reply = await root.ask("GET", "admin/me")
    session = (await root.ask("GET", "auth/session")).json()
    assert reply.status_code == 200
    assert reply.json() == {
        "ok": True, "authenticated": True, "admin": session["user"], "session": session["session"],
    }  # fmt: skip


async def test_protected(root: Browser) -> None:
    reply = await root.ask("GET", "admin/protected")
    assert (reply.status_code, list(reply.json())) == (200, ["message"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "admin/me"),
        ("GET", "admin/protected"),
        ("GET", "admin/users"),
        ("GET", "admin/users/1"),
        ("POST", "admin/users"),
        ("PATCH", "admin/users/1"),
        ("DELETE", "admin/users/1"),
        ("PATCH", "admin/users/me/password"),
    ],
)
async def test_only_administrators_may(root: Browser, method: str, path: str) -> None:
    stranger = Browser(root.desk)
    assert said(await stranger.ask(method, path, {})) == NO_SESSION
    if method != "GET":
        csrf, root.csrf = root.csrf, None
        assert said(await root.ask(method, path, {})) == (403, "csrf_required")
        root.csrf = "wrong"
        assert said(await root.ask(method, path, {})) == (403, "invalid_csrf_token")
        root.csrf = csrf
    await root.desk.sql("update account set is_admin = false where id = 1")
    assert said(await root.ask(method, path, {})) == (403, "forbidden")


# --- reading -------------------------------------------------------------------------------------------------------


async def test_list(root: Browser) -> None:
    desk = root.desk
    await made(root)
    await desk.sql("insert into account (name, email, state) values ('gone', 'gone@inbox.example', 'deleting')")
    reply = await root.ask("GET", "admin/users")
    assert reply.status_code == 200
    document = reply.json()
    assert document["pagination"] == {"total": 2, "limit": 50, "offset": 0}
    assert [item["username"] for item in document["items"]] == ["jane", "root"], "the newest first, no mailboxes"
    assert set(document["items"][0]) == {
        "id", "username", "email", "email_verified_at", "is_active", "is_admin", "created_at", "updated_at",
        "last_login_at",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "names", "total"),
    [
        ("limit=1", ["c_c"], 4),
        ("limit=1&offset=3", ["root"], 4),
        ("offset=9", [], 4),
        ("active=1", ["c_c", "a", "root"], 3),
        ("active=no", ["b"], 1),
        ("is_admin=true", ["b", "root"], 2),
        ("is_admin=0&active=1", ["c_c", "a"], 2),
        ("email=MORE", ["c_c"], 1),
        ("email=_%25", [], 0),
        ("email=inbox.example", ["c_c", "b", "a", "root"], 4),
    ],
)
async def test_list_filters(root: Browser, query: str, names: list[str], total: int) -> None:
    await root.desk.sql(
        """insert into account (name, email, state, is_admin) values
           ('a', 'a@inbox.example', 'active', false), ('b', 'b@inbox.example', 'suspended', true),
           ('c_c', null, 'active', false)"""
    )
    await root.desk.sql("insert into recipient (account_id, address) values (5, 'more@inbox.example')")
    await root.desk.sql("update account set default_recipient_id = 3 where id = 5")
    document = (await root.ask("GET", f"admin/users?{query}")).json()
    assert [item["username"] for item in document["items"]] == names
    assert document["pagination"]["total"] == total


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=201", "limit"), ("limit=", "limit"), ("offset=-1", "offset"),
        ("active=", "active"), ("is_admin=2", "is_admin"), ("email=", "email"),
    ],
)  # fmt: skip
async def test_list_names_what_is_malformed(root: Browser, query: str, field: str) -> None:
    reply = await root.ask("GET", f"admin/users?{query}")
    assert (said(reply), reply.json()["field"]) == ((400, "invalid_params"), field)


async def test_get(root: Browser) -> None:
    item = await made(root)
    reply = await root.ask("GET", f"admin/users/{item['id']}")
    assert (reply.status_code, reply.json()["item"]) == (200, item)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_admin_user_not_found(root: Browser, method: str) -> None:
    reply = await root.ask(method, "admin/users/99", {"is_admin": True})
    assert (reply.status_code, reply.json()) == (404, GONE)
    # Number 2 is somebody's mailbox, and no user.
    assert said(await root.ask(method, "admin/users/2", {"is_admin": True})) == (404, "admin_user_not_found")
    for wrong in ("0", "x", "1e3", "0x10", "-1", "me"):
        reply = await root.ask(method, f"admin/users/{wrong}", {"is_admin": True})
        assert (said(reply), reply.json()["field"]) == ((400, "invalid_params"), "id")


# --- making --------------------------------------------------------------------------------------------------------


async def test_create(root: Browser) -> None:
    desk = root.desk
    reply = await root.ask("POST", "admin/users", NEW)
    assert reply.status_code == 201
    item = reply.json()["item"]
    assert reply.json() == {"ok": True, "created": True, "item": item}
    assert (item["username"], item["email"], item["is_active"], item["is_admin"]) == (
        "jane", "jane@inbox.example", 1, True,
    )  # fmt: skip
    assert datetime.fromisoformat(item["email_verified_at"]).tzinfo is not None
    assert item["last_login_at"] is None
    assert await desk.one("select actor from audit where action = 'account.create'") == "admin:1"
    row = await desk.sql(
        """select r.address, r.verified_at is not null from account a join recipient r on r.id = a.default_recipient_id
           where a.id = %s""",
        item["id"],
    )
    assert row == [("jane@inbox.example", True)]
    [mail] = await desk.mails()
    assert (mail.code, mail.data["address"], mail.data["actor"]) == (
        Code.ADW, "jane@inbox.example", "root@inbox.example",
    )  # fmt: skip
    assert (await Browser(desk).sign_in("jane@inbox.example")).status_code == 200


async def test_create_without_rights(root: Browser) -> None:
    item = await made(root, is_active="no", is_admin=False)
    assert (item["is_active"], item["is_admin"]) == (0, False)
    assert await root.desk.mails() == []
    assert said(await Browser(root.desk).sign_in("jane")) == (401, "auth_failed")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"username": "ab"}, "username"),
        ({"username": "-abc"}, "username"),
        ({"username": "a@b"}, "username"),
        ({"username": "a" * 65}, "username"),
        ({"username": None}, "username"),
        ({"email": "nonsense"}, "email"),
        ({"email": None}, "email"),
        ({"email": "jane@alias.example"}, "email"),
        ({"email": "jane@x.relay.example"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 257}, "password"),
        ({"password": None}, "password"),
        ({"password": "x" * 8 + "\udfff"}, "password"),
        ({"is_active": "perhaps"}, "is_active"),
        ({"is_admin": ""}, "is_admin"),
    ],
)
async def test_create_names_what_is_malformed(root: Browser, more: dict[str, Any], field: str) -> None:
    reply = await root.ask("POST", "admin/users", {**NEW, **more})
    assert (said(reply), reply.json()["field"]) == ((400, "invalid_params"), field)
    if "example" in str(more):
        assert reply.json()["reason"] == "destination_cannot_use_managed_domain"
    assert await root.desk.one("select count(*) from account") == 2


@pytest.mark.parametrize(
    ("more", "field", "value"),
    [
        ({"username": "ROOT"}, "username", "root"),
        ({"email": "Root@Inbox.example"}, "email", "root@inbox.example"),
        ({"email": "other@inbox.example"}, "email", "other@inbox.example"),
    ],
)
async def test_admin_user_taken(root: Browser, more: dict[str, Any], field: str, value: str) -> None:
    """Also what another one is reached at without having it as his own."""
    await root.desk.sql("insert into account (name) values ('other')")
    await root.desk.sql("insert into recipient (account_id, address) values (3, 'Other@inbox.example')")
    await root.desk.sql("update account set default_recipient_id = 3 where id = 3")
    for method, path, document in (("POST", "admin/users", NEW), ("PATCH", "admin/users/4", {})):
        if method == "PATCH":
            path = f"admin/users/{(await made(root))['id']}"
        reply = await root.ask(method, path, {**document, **more})
        assert said(reply) == (409, "admin_user_taken")
        assert {name: reply.json()[name] for name in ("field", field)} == {"field": field, field: value}


async def test_of_many_with_one_name_one_is_made(root: Browser) -> None:
    replies = await asyncio.gather(
        *(root.ask("POST", "admin/users", {**NEW, "email": f"jane{n}@inbox.example"}) for n in range(5))
    )
    assert sorted(reply.status_code for reply in replies) == [201, 409, 409, 409, 409]
    assert await root.desk.one("select count(*) from recipient where address like 'jane%%'") == 1


# --- changing ------------------------------------------------------------------------------------------------------


async def test_change_all(root: Browser) -> None:
    item = await made(root)
    jane = await Browser(root.desk).signed_in("jane")
    await root.desk.sql("delete from job")
    change = {
        "username": "janet", "email": "Janet@inbox.example", "password": NEW_PASSWORD, "is_active": "1", "is_admin": 0,
    }  # fmt: skip
    reply = await root.ask("PATCH", f"admin/users/{item['id']}", change)
    assert reply.status_code == 200
    after = reply.json()["item"]
    assert reply.json() == {"ok": True, "updated": True, "sessions_revoked": 1, "item": after}
    assert (after["username"], after["email"], after["is_active"], after["is_admin"]) == (
        "janet", "janet@inbox.example", 1, False,
    )  # fmt: skip
    assert said(await jane.ask("GET", "auth/session")) == NO_SESSION
    assert (await Browser(root.desk).sign_in("janet@inbox.example", NEW_PASSWORD)).status_code == 200
    detail = await root.desk.one("select detail from audit where action = 'account.update'")
    assert detail == {"fields": ["email", "is_admin", "password", "username"]}
    assert await alerts(root.desk) == [
        (Code.ADC, "jane@inbox.example", "admin_user_updated"),
        (Code.ADC, "janet@inbox.example", "admin_user_updated"),
    ]
    [mail, _] = await root.desk.mails()
    assert (mail.data["fields"], mail.data["actor"], mail.data["ip"]) == (
        "email, is_admin, password, username", "root@inbox.example", "192.0.2.1",
    )  # fmt: skip
    assert NEW_PASSWORD not in str(mail.data)


@pytest.mark.parametrize(
    ("change", "ended"),
    [
        ({"username": "janet"}, 0),
        ({"email": "janet@inbox.example"}, 0),
        ({"password": NEW_PASSWORD}, 1),
        ({"is_active": False}, 1),
        ({"is_admin": False}, 1),
    ],
)
async def test_sessions_end_with_what_they_stood_for(root: Browser, change: dict[str, Any], ended: int) -> None:
    item = await made(root)
    jane = await Browser(root.desk).signed_in("jane")
    reply = await root.ask("PATCH", f"admin/users/{item['id']}", change)
    assert reply.json()["sessions_revoked"] == ended
    assert (await jane.ask("GET", "auth/session")).status_code == (401 if ended else 200)
    assert (await root.ask("GET", "admin/me")).status_code == 200


async def test_somebody_is_activated_again(root: Browser) -> None:
    item = await made(root, is_active=False)
    reply = await root.ask("PATCH", f"admin/users/{item['id']}", {"is_active": True})
    assert (reply.json()["item"]["is_active"], reply.json()["sessions_revoked"]) == (1, 0)
    assert (await Browser(root.desk).sign_in("jane")).status_code == 200


@pytest.mark.parametrize(
    "change",
    [{}, {"unknown": 1}, {"username": "JANE"}, {"email": "jane@inbox.example"}, {"is_active": 1}, {"is_admin": None}],
)
async def test_empty_patch(root: Browser, change: dict[str, Any]) -> None:
    item = await made(root)
    reply = await root.ask("PATCH", f"admin/users/{item['id']}", change)
    assert (said(reply), reply.json().get("reason")) == ((400, "invalid_params"), "empty_patch")


async def test_use_self_password_route(root: Browser) -> None:
    reply = await root.ask("PATCH", "admin/users/1", {"password": NEW_PASSWORD})
    assert said(reply) == (400, "invalid_params")
    assert (reply.json()["field"], reply.json()["reason"]) == ("password", "use_self_password_route")


async def test_who_gives_up_his_rights_is_signed_out(root: Browser) -> None:
    await made(root)
    reply = await root.ask("PATCH", "admin/users/1", {"email": "new@inbox.example"})
    assert (reply.status_code, is_cleared(reply)) == (200, False)
    reply = await root.ask("PATCH", "admin/users/1", {"is_admin": False})
    assert (reply.json()["sessions_revoked"], is_cleared(reply)) == (1, True)
    assert said(await root.ask("GET", "auth/session")) == NO_SESSION


@pytest.mark.parametrize("chosen", [{"haltman": {"admin_notices": False}}])
async def test_mails_about_administrators_can_be_switched_off(root: Browser, chosen: dict[str, Any]) -> None:
    item = await made(root)
    await root.ask("PATCH", f"admin/users/{item['id']}", {"username": "janet"})
    await root.ask("DELETE", f"admin/users/{item['id']}")
    assert await root.desk.mails() == []


async def test_nobody_is_told_of_users_who_administer_nothing(root: Browser) -> None:
    item = await made(root, is_admin=False)
    await root.ask("PATCH", f"admin/users/{item['id']}", {"username": "janet"})
    assert await root.desk.mails() == []


# --- the last administrator ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "change", "error"),
    [
        ("PATCH", {"is_active": 0}, "cannot_disable_last_admin"),
        ("PATCH", {"is_admin": 0}, "cannot_demote_last_admin"),
        ("PATCH", {"is_admin": 0, "is_active": 0}, "cannot_disable_last_admin"),
        ("DELETE", {}, "cannot_disable_last_admin"),
    ],
)
async def test_the_last_administrator_stays(root: Browser, method: str, change: dict[str, Any], error: str) -> None:
    """Others do not count who are not active, or no users at all."""
    await made(root, is_active=False)
    await root.desk.sql("update account set is_admin = true where id = 2")
    assert said(await root.ask(method, "admin/users/1", change)) == (409, error)
    assert (await root.ask("GET", "admin/me")).status_code == 200


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_of_administrators_who_remove_each_other_one_stays(root: Browser, method: str) -> None:
    for number in range(4):
        await made(root, username=f"jane{number}", email=f"jane{number}@inbox.example")
    numbers = [number for (number,) in await root.desk.sql("select id from account where is_admin order by id")]
    desks = [await root.desk.admin(number) for number in numbers]
    replies = await asyncio.gather(
        *(
            desk.ask(method, f"admin/users/{other}", {"is_admin": False}, content=None)
            for desk, other in zip(desks, numbers[1:] + numbers[:1], strict=True)
        )
    )
    assert {reply.status_code for reply in replies} <= {200, 401, 403, 409}
    left = await root.desk.one("select count(*) from account where is_admin and state = 'active'")
    assert left == len(numbers) - sum(reply.status_code == 200 for reply in replies)
    assert left >= 1


async def test_of_two_who_remove_each_other_in_the_same_moment_one_stays(root: Browser) -> None:
    """Both have passed the gate when the first one's change is made."""
    item = await made(root)
    jane = await root.desk.admin(item["id"])
    await root.desk.sql("begin")
    await root.desk.sql("select from account where is_admin for update")
    tasks = [
        asyncio.create_task(root.ask("DELETE", f"admin/users/{item['id']}")),
        asyncio.create_task(jane.delete("admin/users/1")),
    ]
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while await root.desk.one(waiting) != 2:
        await asyncio.sleep(0)
        await root.desk.sql("select pg_stat_clear_snapshot()")
    await root.desk.sql("commit")
    statuses = sorted([reply.status_code for reply in await asyncio.gather(*tasks)])
    assert statuses == [200, 409]
    assert await root.desk.one("select count(*) from account where is_admin and state = 'active'") == 1


# --- deleting ------------------------------------------------------------------------------------------------------


async def test_delete(root: Browser) -> None:
    desk = root.desk
    item = await made(root)
    jane = await Browser(desk).signed_in("jane")
    await desk.sql("delete from job")
    before = (await root.ask("GET", f"admin/users/{item['id']}")).json()["item"]
    reply = await root.ask("DELETE", f"admin/users/{item['id']}")
    assert reply.status_code == 200
    assert reply.json() == {"ok": True, "deleted": True, "sessions_revoked": 1, "item": before}
    assert not is_cleared(reply)
    assert said(await jane.ask("GET", "auth/session")) == NO_SESSION
    assert said(await Browser(desk).sign_in("jane")) == (401, "auth_failed")
    assert said(await root.ask("DELETE", f"admin/users/{item['id']}")) == (404, "admin_user_not_found")
    assert await alerts(desk) == [(Code.ADC, "jane@inbox.example", "admin_user_deleted")]
    await AccountDeletion(Deletions(desk.database))({"account_id": item["id"]})
    assert await desk.one("select count(*) from account where id = %s", item["id"]) == 0
    assert (await made(root))["username"] == "jane"


async def test_who_deletes_himself_is_signed_out(root: Browser) -> None:
    await made(root)
    reply = await root.ask("DELETE", "admin/users/1")
    assert (reply.json()["sessions_revoked"], is_cleared(reply)) == (1, True)
    assert said(await root.ask("GET", "auth/session")) == NO_SESSION


# --- own password --------------------------------------------------------------------------------------------------


async def own(root: Browser, current: Any = PASSWORD, new: Any = NEW_PASSWORD) -> Any:
    return await root.ask("PATCH", "admin/users/me/password", {"current_password": current, "new_password": new})


async def test_own_password(root: Browser) -> None:
    other = await Browser(root.desk).signed_in()
    reply = await own(root)
    assert reply.status_code == 200
    assert reply.json() == {"ok": True, "updated": True, "reauth_required": True, "sessions_revoked": 2}
    assert is_cleared(reply)
    assert said(await other.ask("GET", "auth/session")) == NO_SESSION
    assert (await Browser(root.desk).sign_in(password=NEW_PASSWORD)).status_code == 200
    assert await alerts(root.desk) == [(Code.ADC, "root@inbox.example", "admin_password_changed")]
    assert await root.desk.one("select actor from audit where action = 'account.password'") == "admin:1"


async def test_invalid_credentials(root: Browser) -> None:
    reply = await own(root, "another one")
    assert said(reply) == (401, "invalid_credentials")
    assert reply.json()["field"] == "current_password"
    assert (await root.ask("GET", "admin/me")).status_code == 200


async def test_same_as_current(root: Browser) -> None:
    reply = await own(root, PASSWORD, PASSWORD)
    assert said(reply) == (400, "invalid_params")
    assert (reply.json()["field"], reply.json()["reason"]) == ("new_password", "same_as_current")


@pytest.mark.parametrize(
    ("current", "new", "field"),
    [
        ("short", NEW_PASSWORD, "current_password"),
        (None, NEW_PASSWORD, "current_password"),
        (PASSWORD, "short", "new_password"),
        (PASSWORD, "x" * 257, "new_password"),
        (PASSWORD, 12345678, "new_password"),
    ],
)
async def test_own_password_names_what_is_malformed(root: Browser, current: Any, new: Any, field: str) -> None:
    reply = await own(root, current, new)
    assert (said(reply), reply.json()["field"]) == ((400, "invalid_params"), field)
    assert reply.json()["constraints"]


async def test_wrong_current_passwords_are_few(root: Browser) -> None:
    for _ in range(5):
        assert said(await own(root, "another one")) == (401, "invalid_credentials")
    reply = await own(root)
    assert said(reply) == (429, "rate_limited")
    assert (reply.json()["where"], reply.json()["reason"]) == ("admin_password", "too_many_failed_attempts")
    await root.desk.sql("delete from request_window")
    assert (await own(root)).status_code == 200


async def test_of_two_new_passwords_at_once_one_is_set(root: Browser) -> None:
    replies = await asyncio.gather(own(root, new="password one"), own(root, new="password two"))
    assert sorted(reply.status_code for reply in replies) == [200, 401]


# --- others in the way ---------------------------------------------------------------------------------------------


async def test_after_a_deadlock_it_is_tried_again(root: Browser) -> None:
    """Section 2.7. The one in the way has patience, so that it is the API's transaction that ends."""
    desk = root.desk
    item = await made(root)
    async with desk.conn.transaction():
        await desk.sql("set local deadlock_timeout = '60s'")
        await desk.sql("select from account where id = %s for update", item["id"])
        waiting = asyncio.create_task(root.ask("PATCH", f"admin/users/{item['id']}", {"username": "janet"}))
        await others_wait(desk)
        await desk.sql("select from account where id = 1 for update")
    reply = await waiting
    assert (reply.status_code, reply.json()["item"]["username"]) == (200, "janet")


async def test_what_stays_in_the_way_is_told_for_later(root: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def busy(self: UserStore, user: int) -> None:
        nonlocal tries
        tries += 1
        raise Busy("database: DeadlockDetected")

    monkeypatch.setattr(UserStore, "one", busy)
    reply = await root.ask("GET", "admin/users/1")
    assert (reply.status_code, reply.json()["error"], tries) == (503, "temporarily_unavailable", 3)
