"""API keys for owners of mailboxes (haltman-api.md section 3.13)."""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from mailrelay.core.notices import Code
from tests.api.addy.conftest import HOST
from tests.api.haltman.conftest import KEY, MAILBOX, Desk

NEW = "new@inbox.example"
CREATE = {"email": NEW, "days": 30}
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
NO_STORE = {"cache-control": "no-store, private", "pragma": "no-cache", "referrer-policy": "no-referrer"}
ASKING = ["create", "list/request", "destroy-all/request"]
WITH_KEY = ["renew", "automatic-renew", "destroy"]
USE: dict[str, Any] = {"days": 10, "automatic_renew": True}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def problem(reply: httpx2.Response) -> dict[str, Any]:
    """What an answer says no with, without its sentence."""
    assert reply.json()["message"].endswith(".")
    assert reply.json()["code"] == reply.status_code
    return {name: value for name, value in reply.json().items() if name not in ("message", "code")}


async def ask(desk: Desk, path: str = "create", email: str = NEW, **more: Any) -> str:
    """The code that was mailed."""
    reply = await desk.post(f"credentials/{path}", {"email": email, "days": 30, **more})
    assert reply.json()["confirmation"]["sent"], reply.text
    return (await desk.codes())[-1]


async def confirm(desk: Desk, code: str, **headers: str) -> httpx2.Response:
    return await desk.post("credentials/confirm", {"token": code}, **headers)


async def made(desk: Desk, email: str = NEW, **more: Any) -> str:
    """A new key."""
    reply = await confirm(desk, await ask(desk, email=email, **more))
    assert reply.status_code == 200, reply.text
    return str(reply.json()["token"])


async def ban(desk: Desk, kind: str, value: str) -> dict[str, Any]:
    """What answers say of it."""
    rows = await desk.sql(
        "insert into ban (type, value, network, reason) values (%s, %s, case when %s then %s::cidr end, 'spam')"
        " returning to_json(created_at)",
        *(kind, value, kind == "ip", value if kind == "ip" else None),
    )
    assert rows
    return {"ban_type": kind, "ban_value": value, "reason": "spam"}


def assert_banned(reply: httpx2.Response, expected: dict[str, Any]) -> None:
    said = problem(reply)
    assert (reply.status_code, said["error"]) == (403, "banned")
    assert {name: value for name, value in said["ban"].items() if name != "banned_at"} == expected


async def pend(desk: Desk) -> Sequence[tuple[Any, ...]]:
    return await desk.sql("select intent, email, status from confirmation order by id")


# --- asking ---------------------------------------------------------------------------------------------------------


async def test_a_key_is_asked_for(desk: Desk) -> None:
    reply = await desk.post("credentials/create", {"email": " New@Inbox.example ", "days": 30})
    assert reply.status_code == 200
    assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE
    said = reply.json()
    confirmation = said.pop("confirmation")
    assert said == {
        "ok": True,
        "action": "api_credentials_create",
        "email": NEW,
        "days": 30,
        "automatic_renew": False,
    }
    sent_at = at(confirmation.pop("last_sent_at"))
    assert at(confirmation.pop("expires_at")) == sent_at + timedelta(minutes=15)
    assert at(confirmation.pop("next_allowed_send_at")) == sent_at + timedelta(minutes=1)
    assert confirmation == {
        "sent": True,
        "ttl_minutes": 15,
        "status": "PENDING",
        "send_count": 1,
        "remaining_attempts": 2,
    }


async def test_the_mail_says_what_the_code_does_and_leads_to_the_preview(desk: Desk) -> None:
    for path in ASKING:
        await desk.post(f"credentials/{path}", {**CREATE, "automatic_renew": True}, Origin="https://evil.example")
    mails = await desk.mails()
    assert {mail.code for mail in mails} == {Code.CNF}
    assert [mail.data["action"] for mail in mails] == ["api_key_create", "api_key_list", "api_key_destroy_all"]
    assert [(mail.data.get("days"), mail.data.get("renews")) for mail in mails] == [
        (30, True),
        (None, None),
        (None, None),
    ]
    for mail in mails:
        assert mail.data["address"] == mail.data["about"] == NEW
        assert mail.data["link"] == f"{HOST}/api/credentials/confirm?token={mail.data['code']}"


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("list/request", "api_credentials_list_request"),
        ("destroy-all/request", "api_credentials_destroy_all_request"),
    ],
)
@pytest.mark.parametrize("email", [NEW, MAILBOX])
async def test_a_list_or_the_end_of_all_is_asked_for_whether_there_are_keys_or_not(
    desk: Desk, path: str, action: str, email: str
) -> None:
    said = (await desk.post(f"credentials/{path}", {"email": email})).json()
    assert (said["ok"], said["action"], said["email"]) == (True, action, email)
    assert "days" not in said
    assert said["confirmation"]["sent"] is True


async def test_members_may_come_from_a_form_or_the_query_and_the_body_wins(desk: Desk) -> None:
    form = "application/x-www-form-urlencoded"
    content = f"email={NEW}&days=7&automatic_renew=on".encode()
    reply = await desk.ask("POST", "credentials/create?days=9", content=content, Content_Type=form)
    assert (reply.json()["days"], reply.json()["automatic_renew"]) == (7, True)
    reply = await desk.post(f"credentials/create?email={MAILBOX}&days=9")
    assert (reply.json()["email"], reply.json()["days"]) == (MAILBOX, 9)


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("email", [None, "", "new", "new@inbox", "a@b@inbox.example", 7, ["new@inbox.example"]])
async def test_invalid_params_email(desk: Desk, path: str, email: Any) -> None:
    reply = await desk.post(f"credentials/{path}", {"email": email, "days": 0})
    assert reply.status_code == 400
    assert problem(reply) == {"error": "invalid_params", "field": "email"}
    assert await pend(desk) == []


@pytest.mark.parametrize("days", [None, "", 0, 10000, -1, 1.5, "1e3", "x", True, [1]])
async def test_invalid_params_days(desk: Desk, days: Any) -> None:
    reply = await desk.post("credentials/create", {"email": NEW, "days": days, "automatic_renew": "maybe"})
    hint = "days must be an integer from 1 to 9999"
    assert reply.status_code == 400
    assert problem(reply) == {"error": "invalid_params", "field": "days", "hint": hint}


@pytest.mark.parametrize("days", [1, 9999, "30"])
async def test_days_up_to_9999(desk: Desk, days: Any) -> None:
    assert (await desk.post("credentials/create", {"email": NEW, "days": days})).json()["days"] == int(days)


@pytest.mark.parametrize("member", ["automatic_renew", "automaticRenew"])
@pytest.mark.parametrize("value", ["", "maybe", 2, [True], {}])
async def test_invalid_params_automatic_renew(desk: Desk, member: str, value: Any) -> None:
    await ban(desk, "email", NEW)
    reply = await desk.post("credentials/create", {**CREATE, member: value})
    assert reply.status_code == 400
    said = problem(reply)
    assert said.pop("hint")
    assert said == {"error": "invalid_params", "field": "automatic_renew"}


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"automatic_renew": True}, True),
        ({"automatic_renew": 1}, True),
        ({"automatic_renew": " YES "}, True),
        ({"automaticRenew": "on"}, True),
        ({"automatic_renew": 0, "automaticRenew": 1}, False),
        ({"automatic_renew": None}, False),
        ({}, False),
    ],
)
async def test_automatic_renew_in_many_words(desk: Desk, sent: dict[str, Any], found: bool) -> None:
    reply = await desk.post("credentials/create", {**CREATE, **sent})
    assert reply.json()["automatic_renew"] is found


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize(("kind", "value"), [("email", NEW), ("domain", "inbox.example"), ("ip", "192.0.2.1")])
async def test_banned(desk: Desk, path: str, kind: str, value: str) -> None:
    expected = await ban(desk, kind, value)
    assert_banned(await desk.post(f"credentials/{path}", CREATE), expected)
    assert await pend(desk) == []


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize(
    "domain", ["alias.example", "below.alias.example", "own.example", "deep.below.own.example", "relay.example"]
)
async def test_managed_domain_not_allowed(desk: Desk, path: str, domain: str) -> None:
    await desk.sql("insert into domain (name, account_id, verified_at) values ('own.example', 1, now())")
    reply = await desk.post(f"credentials/{path}", {**CREATE, "email": f"me@{domain}"})
    assert reply.status_code == 400
    assert problem(reply) == {"error": "managed_domain_not_allowed", "field": "email", "domain": domain}
    assert await pend(desk) == []


async def test_domains_that_are_only_claimed_or_switched_off_are_nobodys(desk: Desk) -> None:
    await desk.sql("insert into domain (name, account_id) values ('claimed.example', 1)")
    await desk.sql("insert into domain (name, active) values ('off.example', false)")
    for domain in ("claimed.example", "off.example"):
        assert (await desk.post("credentials/create", {**CREATE, "email": f"me@{domain}"})).status_code == 200


async def test_a_second_request_waits_for_the_cooldown(desk: Desk) -> None:
    first = (await desk.post("credentials/create", CREATE)).json()["confirmation"]
    again = await desk.post("credentials/create", {**CREATE, "days": 60})
    assert again.status_code == 200
    second = again.json()["confirmation"]
    assert (second["sent"], second["reason"], second["send_count"]) == (False, "cooldown", 1)
    assert second["expires_at"] == first["expires_at"]
    assert len(await desk.codes()) == 1


async def cool_down(desk: Desk) -> None:
    await desk.sql("update confirmation set last_sent_at = last_sent_at - interval '1 minute'")


async def test_a_resent_code_replaces_the_first_and_takes_the_new_wishes_over(desk: Desk) -> None:
    first = await ask(desk)
    await cool_down(desk)
    second = await ask(desk, days=60, automatic_renew=True)
    assert (await confirm(desk, first)).status_code == 400
    said = (await confirm(desk, second)).json()
    assert (said["expires_in_days"], said["automatic_renew"]) == (60, True)


async def test_no_more_than_three_mails_for_a_request(desk: Desk) -> None:
    left = []
    for _ in range(3):
        left.append((await desk.post("credentials/create", CREATE)).json()["confirmation"]["remaining_attempts"])
        await cool_down(desk)
    refused = (await desk.post("credentials/create", CREATE)).json()["confirmation"]
    assert left == [2, 1, 0]
    assert (refused["sent"], refused["reason"], refused["send_count"]) == (False, "rate_limited", 3)
    assert refused["next_allowed_send_at"] == refused["expires_at"]


async def test_d_07_each_action_waits_on_its_own(desk: Desk) -> None:
    codes = [await ask(desk, path) for path in ASKING]
    assert [row[0] for row in await pend(desk)] == ["api_key_create", "api_key_list", "api_key_destroy_all"]
    for code in codes:
        assert (await confirm(desk, code)).status_code == 200


async def test_d_07_what_timed_out_is_in_nobodys_way(desk: Desk) -> None:
    await ask(desk)
    await desk.sql("update confirmation set expires_at = now()")
    assert await ask(desk, "list/request")
    assert await ask(desk)
    assert [row[2] for row in await pend(desk)] == ["expired", "pending", "pending"]


async def test_requests_at_the_same_time_send_one_mail(desk: Desk) -> None:
    replies = await asyncio.gather(*(desk.post("credentials/create", CREATE) for _ in range(4)))
    sent = [reply.json()["confirmation"]["sent"] for reply in replies]
    assert sorted(sent) == [False, False, False, True]
    assert len(await desk.codes()) == 1


# --- the code -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (None, {"error": "invalid_params", "field": "token"}),
        ("", {"error": "invalid_params", "field": "token"}),
        ("  ", {"error": "invalid_params", "field": "token"}),
        ("12345", {"error": "invalid_token"}),
        ("1234567", {"error": "invalid_token"}),
        ("abcdef", {"error": "invalid_token"}),
        ("१२३४५६", {"error": "invalid_token"}),
        ("123456", {"error": "invalid_or_expired"}),
    ],
)
async def test_codes_that_are_none(desk: Desk, method: str, sent: str | None, expected: dict[str, Any]) -> None:
    if method == "GET":
        query = "" if sent is None else f"?token={sent}"
        reply = await desk.get(f"credentials/confirm{query}")
    else:
        reply = await desk.post("credentials/confirm", {} if sent is None else {"token": sent})
    assert reply.status_code == 400
    said = problem(reply)
    assert ("constraints" in said) is (method == "POST" and not sent)
    said.pop("constraints", None)
    assert said == expected
    assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE


async def test_to_confirm_the_code_stands_in_the_body(desk: Desk) -> None:
    reply = await desk.post(f"credentials/confirm?token={await ask(desk)}")
    assert {**problem(reply), "constraints": {}} == {"error": "invalid_params", "field": "token", "constraints": {}}


@pytest.mark.parametrize(
    "change",
    [
        "update confirmation set expires_at = now() - interval '1 second'",
        "update confirmation set status = 'expired'",
        "update confirmation set status = 'confirmed'",
    ],
)
async def test_invalid_or_expired(desk: Desk, change: str) -> None:
    code = await ask(desk)
    await desk.sql(change)
    for reply in (await desk.get(f"credentials/confirm?token={code}"), await confirm(desk, code)):
        assert reply.status_code == 400
        assert problem(reply) == {"error": "invalid_or_expired"}
    assert await desk.one("select count(*) from token") == 1


async def test_guessing_ends_before_long(desk: Desk) -> None:
    code = await ask(desk)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    replies = [await confirm(desk, wrong) for _ in range(11)]
    assert {reply.status_code for reply in replies[:10]} == {400}
    said = problem(replies[10])
    assert (replies[10].status_code, said["error"], said["where"]) == (429, "rate_limited", "credentials_confirm")
    assert said["reason"] == "too_many_failed_attempts_ip"
    assert int(replies[10].headers["retry-after"]) >= 1
    for reply in (await confirm(desk, code), await desk.get(f"credentials/confirm?token={code}")):
        assert reply.status_code == 429


# --- the preview ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "action", "days", "renew"),
    [
        ("create", "create", 30, True),
        ("list/request", "list", 1, False),
        ("destroy-all/request", "destroy_all", 1, False),
    ],
)
async def test_the_preview_tells_and_changes_nothing(
    desk: Desk, path: str, action: str, days: int, renew: bool
) -> None:
    code = await ask(desk, path, automatic_renew=True)
    for _ in range(2):
        reply = await desk.get(f"credentials/confirm?token=%20{code}%20")
        assert reply.status_code == 200
        assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE
        assert reply.json() == {
            "ok": True,
            "pending": True,
            "mutation_required": True,
            "action": action,
            "email": NEW,
            "days": days,
            "automatic_renew": renew,
            "confirm_via": {"method": "POST", "path": "/api/credentials/confirm"},
        }
    assert [row[2] for row in await pend(desk)] == ["pending"]
    assert await desk.one("select count(*) from token") == 1


def assert_strict(reply: httpx2.Response) -> None:
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "form-action 'self'" in policy
    assert reply.headers["x-frame-options"] == "DENY"
    assert "<script" not in reply.text


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("create", "Make an API key?"),
        ("list/request", "List your API keys?"),
        ("destroy-all/request", "Destroy all your API keys?"),
    ],
)
async def test_people_get_a_page_with_a_form(desk: Desk, path: str, title: str) -> None:
    code = await ask(desk, path, automatic_renew=True)
    reply = await desk.get(f"credentials/confirm?token={code}", Accept=BROWSER)
    assert_strict(reply)
    assert f"<h1>{title}</h1>" in reply.text
    assert NEW in reply.text
    assert ("30 days" in reply.text) is (path == "create")
    assert '<form method="post" action="/api/credentials/confirm">' in reply.text
    assert f'<input type="hidden" name="token" value="{code}">' in reply.text


async def test_the_form_leads_to_a_page_with_the_key(desk: Desk) -> None:
    content = f"token={await ask(desk, days=1)}".encode()
    form = "application/x-www-form-urlencoded"
    reply = await desk.ask("POST", "credentials/confirm", content=content, Content_Type=form, Accept=BROWSER)
    assert_strict(reply)
    [key] = re.findall(r'<code id="api-key">([0-9a-f]{64})</code>', reply.text)
    assert "1 day<" in reply.text
    assert "<form" not in reply.text
    assert (await desk.post("credentials/renew", {"api_key": key, "days": 1})).status_code == 200


async def test_lists_and_ends_are_no_pages(desk: Desk) -> None:
    for path in ("list/request", "destroy-all/request"):
        reply = await confirm(desk, await ask(desk, path, MAILBOX), Accept=BROWSER)
        assert reply.json()["confirmed"] is True


# --- confirming -----------------------------------------------------------------------------------------------------


async def test_the_key_is_told_once_and_stored_as_its_hash(desk: Desk) -> None:
    reply = await confirm(desk, await ask(desk), User_Agent="browser")
    said = reply.json()
    key = said.pop("token")
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert said == {
        "ok": True,
        "action": "api_credentials_confirm",
        "confirmed": True,
        "email": NEW,
        "token_type": "api_key",
        "expires_in_days": 30,
        "automatic_renew": False,
    }
    assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE
    [row] = await desk.sql(
        """select hash, owner_email, host(created_ip), user_agent, automatic_renew, acc.implicit_mailbox,
                  expires_at between now() + interval '29 days 23 hours' and now() + interval '30 days',
                  strpos(t::text, %s)
           from token t join account acc on acc.id = t.account_id where t.id = 2""",
        key,
    )
    assert row == (hashlib.sha256(key.encode()).digest(), NEW, "192.0.2.1", "browser", False, NEW, True, 0)
    assert await desk.sql("select actor, action from audit") == [("public", "token.add")]


async def test_the_key_acts_for_the_account_of_its_mailbox(desk: Desk) -> None:
    await made(desk, MAILBOX)
    assert await desk.one("select count(distinct account_id) from token") == 1
    assert await desk.one("select count(*) from account") == 2


async def test_a_code_is_good_once(desk: Desk) -> None:
    code = await ask(desk)
    assert (await confirm(desk, code)).status_code == 200
    assert problem(await confirm(desk, code)) == {"error": "invalid_or_expired"}
    assert await desk.one("select count(*) from token") == 2


@pytest.mark.parametrize("path", ASKING)
async def test_of_those_who_confirm_at_the_same_time_one_succeeds(desk: Desk, path: str) -> None:
    code = await ask(desk, path, MAILBOX)
    replies = await asyncio.gather(*(confirm(desk, code) for _ in range(4)))
    assert sorted(reply.status_code for reply in replies) == [200, 400, 400, 400]
    keys = {"create": 2, "list/request": 1, "destroy-all/request": 0}[path]
    assert await desk.one("select count(*) from token") == keys


async def test_the_list_has_keys_in_force_newest_first(desk: Desk) -> None:
    await made(desk, MAILBOX, automatic_renew=True)
    await made(desk, "other@inbox.example")
    for change in ("revoked_at = now()", "expires_at = now()"):
        await desk.sql("delete from confirmation")
        key = await made(desk, MAILBOX)
        await desk.sql(f"update token set {change} where hash = %s", hashlib.sha256(key.encode()).digest())
    reply = await confirm(desk, await ask(desk, "list/request", MAILBOX))
    said = reply.json()
    items = said.pop("items")
    assert said == {"ok": True, "action": "api_credentials_list_confirm", "confirmed": True, "email": MAILBOX}
    assert [item["id"] for item in items] == [2, 1]
    newest = items[0]
    assert at(newest.pop("expires_at")) - at(newest.pop("created_at")) < timedelta(days=30, minutes=1)
    assert newest == {
        "id": 2,
        "owner_email": MAILBOX,
        "status": "active",
        "revoked_at": None,
        "last_used_at": None,
        "automatic_renew": 1,
        "active": True,
    }
    assert "hash" not in reply.text


async def test_all_keys_are_destroyed_in_whatever_state(desk: Desk) -> None:
    await made(desk, MAILBOX)
    await made(desk, "other@inbox.example")
    await desk.sql("update token set revoked_at = now() where id = 1")
    reply = await confirm(desk, await ask(desk, "destroy-all/request", MAILBOX))
    assert reply.json() == {
        "ok": True,
        "action": "api_credentials_destroy_all_confirm",
        "confirmed": True,
        "email": MAILBOX,
        "destroyed": True,
        "deleted_count": 2,
    }
    assert await desk.sql("select owner_email from token") == [("other@inbox.example",)]


async def test_no_api_keys_uses_the_code_up(desk: Desk) -> None:
    code = await ask(desk, "destroy-all/request")
    reply = await confirm(desk, code)
    assert reply.status_code == 404
    action = "api_credentials_destroy_all_confirm"
    assert problem(reply) == {"ok": False, "error": "no_api_keys", "action": action, "email": NEW}
    assert problem(await confirm(desk, code)) == {"error": "invalid_or_expired"}


async def test_d_12_used_keys_are_destroyed_with_all(desk: Desk) -> None:
    await desk.sql("insert into api_log (token_id, owner_email, route, body) values (1, %s, '/api/x', '{}')", MAILBOX)
    reply = await confirm(desk, await ask(desk, "destroy-all/request", MAILBOX))
    assert reply.json()["deleted_count"] == 1
    assert await desk.sql("select token_id, owner_email from api_log") == [(None, MAILBOX)]


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize(("kind", "value"), [("email", NEW), ("domain", "example"), ("ip", "192.0.2.1")])
async def test_bans_are_looked_at_again_and_leave_the_code_alive(desk: Desk, path: str, kind: str, value: str) -> None:
    code = await ask(desk, path)
    expected = await ban(desk, kind, value if kind != "domain" else "inbox.example")
    assert_banned(await confirm(desk, code), expected | ({"ban_value": "inbox.example"} if kind == "domain" else {}))
    assert [row[2] for row in await pend(desk)] == ["pending"]
    await desk.sql("update ban set revoked_at = now()")
    assert (await confirm(desk, code)).json().get("error") in (None, "no_api_keys")


@pytest.mark.parametrize("path", ASKING)
async def test_managed_domains_are_looked_at_again_and_leave_the_code_alive(desk: Desk, path: str) -> None:
    code = await ask(desk, path, "me@deep.later.example")
    await desk.sql("insert into domain (name) values ('later.example')")
    reply = await confirm(desk, code)
    assert reply.status_code == 400
    expected = {"error": "managed_domain_not_allowed", "field": "email", "domain": "deep.later.example"}
    assert problem(reply) == expected
    await desk.sql("delete from domain where name = 'later.example'")
    assert (await confirm(desk, code)).status_code in (200, 404)


async def test_an_account_that_goes_gets_no_key(desk: Desk) -> None:
    code = await ask(desk, email=MAILBOX)
    await desk.sql("update account set state = 'deleting' where id = 2")
    reply = await confirm(desk, code)
    assert (reply.status_code, reply.json()["error"]) == (503, "temporarily_unavailable")
    assert [row[2] for row in await pend(desk)] == ["pending"]


# --- with the key itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["api_key", "key"])
async def test_a_key_is_renewed_from_its_expiry_on(desk: Desk, member: str) -> None:
    before = await desk.one("select expires_at from token")
    reply = await desk.post("credentials/renew", {member: f" {KEY.upper()} ", "days": 10})
    assert reply.status_code == 200
    assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE
    said = reply.json()
    item = said.pop("item")
    assert said == {"ok": True, "action": "api_credentials_renew", "renewed": True, "days_added": 10}
    assert (item["id"], item["owner_email"], item["active"]) == (1, MAILBOX, True)
    assert abs(at(item["expires_at"]) - before - timedelta(days=10)) < timedelta(milliseconds=1)


async def test_members_of_the_query_count_too(desk: Desk) -> None:
    assert (await desk.post(f"credentials/renew?api_key={KEY}&days=999")).json()["days_added"] == 999


@pytest.mark.parametrize("days", [None, "", 0, 1000, "x", 1.5])
async def test_invalid_params_days_of_a_renewal(desk: Desk, days: Any) -> None:
    reply = await desk.post("credentials/renew", {"api_key": KEY, "days": days})
    hint = "days must be an integer from 1 to 999"
    assert reply.status_code == 400
    assert problem(reply) == {"error": "invalid_params", "field": "days", "hint": hint}


async def test_renewals_end_where_the_calendar_does(desk: Desk) -> None:
    await desk.sql("update token set expires_at = '9999-01-01'")
    for _ in range(2):
        reply = await desk.post("credentials/renew", {"api_key": KEY, "days": 999})
        assert reply.json()["item"]["expires_at"] == "9999-12-31T00:00:00.000Z"


@pytest.mark.parametrize(("sent", "on"), [(True, True), ("no", False), (1, True)])
async def test_renewal_by_itself_is_switched(desk: Desk, sent: Any, on: bool) -> None:
    reply = await desk.post("credentials/automatic-renew", {"api_key": KEY, "automatic_renew": sent})
    said = reply.json()
    item = said.pop("item")
    action = "api_credentials_automatic_renew"
    assert said == {"ok": True, "action": action, "updated": True, "automatic_renew": on}
    assert item["automatic_renew"] == int(on)
    assert await desk.one("select automatic_renew from token") is on


@pytest.mark.parametrize("value", [None, "", "maybe", 2])
async def test_invalid_params_automatic_renew_of_a_key(desk: Desk, value: Any) -> None:
    reply = await desk.post("credentials/automatic-renew", {"api_key": KEY, "automatic_renew": value})
    assert reply.status_code == 400
    assert problem(reply)["field"] == "automatic_renew"


async def test_d_12_a_used_key_is_destroyed_and_its_owner_told(desk: Desk) -> None:
    await desk.sql("insert into api_log (token_id, owner_email, route, body) values (1, %s, '/api/x', '{}')", MAILBOX)
    reply = await desk.post("credentials/destroy", {"api_key": KEY})
    assert reply.json() == {
        "ok": True,
        "action": "api_credentials_destroy",
        "destroyed": True,
        "notification_sent": True,
    }
    assert await desk.sql("select id from token") == []
    assert await desk.sql("select token_id from api_log") == [(None,)]
    [mail] = await desk.mails()
    assert (mail.code, mail.data["address"], mail.data["ip"]) == (Code.AKD, MAILBOX, "192.0.2.1")
    again = await desk.post("credentials/destroy", {"api_key": KEY})
    assert (again.status_code, problem(again)) == (401, {"error": "invalid_or_expired_api_key"})


async def test_a_key_is_destroyed_once(desk: Desk) -> None:
    replies = await asyncio.gather(*(desk.post("credentials/destroy", {"api_key": KEY}) for _ in range(4)))
    assert sorted(reply.status_code for reply in replies) == [200, 401, 401, 401]
    assert len(await desk.mails()) == 1


@pytest.mark.parametrize("path", WITH_KEY)
@pytest.mark.parametrize("key", [None, "", "short", "g" * 63, "!" * 64, 7])
async def test_invalid_params_api_key(desk: Desk, path: str, key: Any) -> None:
    reply = await desk.post(f"credentials/{path}", {"api_key": key, "days": "x", "automatic_renew": "x"})
    assert reply.status_code == 400
    assert problem(reply) == {"error": "invalid_params", "field": "api_key"}


@pytest.mark.parametrize("path", WITH_KEY)
async def test_the_header_counts_for_nothing(desk: Desk, path: str) -> None:
    assert problem(await desk.with_key().post(f"credentials/{path}", USE))["field"] == "api_key"


@pytest.mark.parametrize("path", WITH_KEY)
@pytest.mark.parametrize(
    "change",
    [
        "delete from token",
        "update token set revoked_at = now()",
        "update token set expires_at = now()",
        "update account set state = 'deleting' where id = 2",
    ],
)
async def test_invalid_or_expired_api_key(desk: Desk, path: str, change: str) -> None:
    await desk.sql(change)
    reply = await desk.post(f"credentials/{path}", {"api_key": KEY, **USE})
    assert reply.status_code == 401
    assert problem(reply) == {"error": "invalid_or_expired_api_key"}


@pytest.mark.parametrize("path", WITH_KEY)
@pytest.mark.parametrize(("kind", "value"), [("email", MAILBOX), ("domain", "inbox.example"), ("ip", "192.0.2.1")])
async def test_owners_who_are_banned(desk: Desk, path: str, kind: str, value: str) -> None:
    expected = await ban(desk, kind, value)
    assert_banned(await desk.post(f"credentials/{path}", {"api_key": KEY, **USE}), expected)
    assert await desk.one("select not automatic_renew and expires_at < now() + interval '31 days' from token")


@pytest.mark.parametrize("path", ["renew", "automatic-renew"])
async def test_keys_of_mailboxes_at_managed_domains_are_not_prolonged(desk: Desk, path: str) -> None:
    await desk.sql("insert into domain (name) values ('inbox.example')")
    reply = await desk.post(f"credentials/{path}", {"api_key": KEY, **USE})
    assert reply.status_code == 400
    expected = {"error": "managed_domain_not_allowed", "field": "email", "domain": "inbox.example"}
    assert problem(reply) == expected
    assert (await desk.post("credentials/destroy", {"api_key": KEY})).status_code == 200


async def test_what_is_done_with_a_key_in_the_body_is_not_logged(desk: Desk) -> None:
    for path in WITH_KEY:
        await desk.post(f"credentials/{path}", {"api_key": KEY, **USE})
    assert await desk.one("select count(*) from api_log") == 0


# --- limits ---------------------------------------------------------------------------------------------------------


def limited(**rates: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("chosen", [{"haltman": {"rates": rates}}])


def assert_limited(reply: httpx2.Response, where: str, reason: str) -> None:
    said = problem(reply)
    assert (reply.status_code, said["error"]) == (429, "rate_limited")
    assert (said["where"], said["reason"]) == (where, reason)
    assert int(reply.headers["retry-after"]) >= 1
    assert {name: reply.headers[name] for name in NO_STORE} == NO_STORE


@limited(cred_create_ip=10)
async def test_cred_create_ip_is_shared_by_the_three(desk: Desk) -> None:
    for number in range(10):
        path = ASKING[number % 3]
        assert (await desk.post(f"credentials/{path}", {})).status_code == 400
    for path, where in zip(ASKING, ("create", "list_request", "destroy_all_request"), strict=True):
        reply = await desk.post(f"credentials/{path}", {**CREATE, "email": f"{where}@inbox.example"})
        assert_limited(reply, f"credentials_{where}", "too_many_requests_ip")


@limited(cred_create_email=3)
async def test_cred_create_email_counts_for_each_mailbox_and_route(desk: Desk) -> None:
    for path, where in zip(ASKING, ("create", "list_request", "destroy_all_request"), strict=True):
        for spelling in (NEW, NEW.upper(), f" {NEW}"):
            assert (await desk.post(f"credentials/{path}", {**CREATE, "email": spelling})).status_code == 200
        reply = await desk.post(f"credentials/{path}", CREATE)
        assert_limited(reply, f"credentials_{where}", "too_many_requests_email")
    assert (await desk.post("credentials/create", {**CREATE, "email": MAILBOX})).status_code == 200


@limited(cred_renew_key=120, cred_automatic_renew_key=120, cred_destroy_key=120)
@pytest.mark.parametrize("path", WITH_KEY)
async def test_limits_of_a_key(desk: Desk, path: str) -> None:
    await desk.sql("delete from token")
    sent: dict[str, Any] = {"api_key": KEY}
    assert {(await desk.post(f"credentials/{path}", sent)).status_code for _ in range(119)} <= {400, 401}
    assert (await desk.post(f"credentials/{path}", {"key": KEY.upper()})).status_code in (400, 401)
    where = f"credentials_{path.replace('-', '_')}"
    assert_limited(await desk.post(f"credentials/{path}", sent), where, "too_many_requests_key")
    assert (await desk.post(f"credentials/{path}", {"api_key": "a" * 64})).status_code in (400, 401)
    other = {"renew": "destroy"}.get(path, "renew")
    assert (await desk.post(f"credentials/{other}", sent)).status_code in (400, 401)
    subjects = await desk.sql("select subject from request_window")
    assert KEY not in str(subjects)


@limited(cred_confirm_ip=60)
async def test_cred_confirm_ip(desk: Desk) -> None:
    for number in range(60):
        reply = await (desk.post("credentials/confirm", {}) if number % 2 else desk.get("credentials/confirm"))
        assert reply.status_code == 400
    for reply in (await desk.get("credentials/confirm?token=123456"), await confirm(desk, "123456")):
        assert_limited(reply, "credentials_confirm", "too_many_requests_ip")


@limited(cred_confirm_token=5)
@pytest.mark.parametrize(
    "variant", ["/api/credentials/confirm/", "/api/Credentials/Confirm", "/api/credentials/confirm"]
)
async def test_d_01_cred_confirm_token_holds_for_every_spelling(desk: Desk, variant: str) -> None:
    code = await ask(desk)
    for _ in range(5):
        assert (await desk.get(f"{variant}?token={code}")).status_code == 200
    assert_limited(await confirm(desk, f" {code} "), "credentials_confirm", "too_many_requests_token")
    head = await desk.ask("HEAD", f"{variant}?token={code}")
    assert head.status_code == 429
    assert code not in str(await desk.sql("select subject from request_window"))
