"""Forgotten passwords (haltman-api.md sections 3.16, 4.1 and 4.3)."""

import asyncio
from typing import Any

import pytest

from mailrelay.core.notices import Code
from mailrelay.flows import passwords
from tests.api.haltman.conftest import Desk
from tests.api.haltman.people import (
    CHEAP,
    HASH,
    NEW_PASSWORD,
    NO_SESSION,
    PASSWORD,
    Browser,
    is_cleared,
    said,
)

ACCEPTED = {"ok": True, "action": "forgot_password", "accepted": True, "recovery": {"ttl_minutes": 15}}
NO_CODE = (400, "invalid_or_expired")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "hasher", lambda: CHEAP)


@pytest.fixture
async def browser(desk: Desk) -> Browser:
    await desk.sql("update account set password_hash = %s where id = 1", HASH)
    return await Browser(desk).signed_in()


async def asked(desk: Desk, email: str = "root@inbox.example") -> str:
    """A code that was just mailed."""
    assert (await desk.post("auth/forgot-password", {"email": email})).json() == ACCEPTED
    return (await desk.codes())[-1]


async def reset(browser: Browser, code: str, password: str = NEW_PASSWORD) -> Any:
    return await browser.ask("POST", "auth/reset-password", {"token": code, "new_password": password})


async def test_forgot_and_reset(browser: Browser) -> None:
    desk = browser.desk
    await browser.ask("POST", "auth/refresh")
    code = await asked(desk, " Root@Inbox.example ")
    [mail] = await desk.mails()
    assert mail.code is Code.PWC
    assert (mail.data["address"], mail.data["minutes"], mail.data.get("link", "")) == ("root@inbox.example", 15, "")
    reply = await reset(browser, f" {code} ")
    assert reply.status_code == 200
    assert reply.json() == {
        "ok": True, "action": "reset_password", "updated": True, "reauth_required": True, "sessions_revoked": 2,
        "user": {"id": 1, "username": "root", "email": "root@inbox.example"},
    }  # fmt: skip
    assert is_cleared(reply)
    assert await desk.one("select count(*) from session where status = 'active'") == 0
    assert said(await browser.sign_in()) == (401, "auth_failed")
    assert (await browser.sign_in(password=NEW_PASSWORD)).status_code == 200
    assert await desk.one("select actor from audit where action = 'account.password_reset'") == "public"
    alert = (await desk.mails())[-1]
    assert (alert.code, alert.data["action"], alert.data["address"]) == (
        Code.ADC, "admin_password_changed", "root@inbox.example",
    )  # fmt: skip


async def test_everybody_hears_the_same_and_costs_the_same(browser: Browser) -> None:
    """One row in the queue, whoever it is; the worker finds out."""
    desk = browser.desk
    await desk.sql("insert into account (name, email, state) values ('gone', 'gone@inbox.example', 'suspended')")
    for number, email in enumerate(
        ["root@inbox.example", "nobody@inbox.example", "gone@inbox.example", "me@inbox.example"]
    ):
        reply = await desk.post("auth/forgot-password", {"email": email})
        assert (reply.status_code, reply.json()) == (200, ACCEPTED)
        assert await desk.one("select count(*) from job") == number + 1
    assert [mail.data["address"] for mail in await desk.mails()] == ["root@inbox.example"]


async def test_a_code_is_worth_nothing_once_the_mailbox_is_another(browser: Browser) -> None:
    """Also where the address is that of the default recipient, which its owner changes elsewhere."""
    desk = browser.desk
    await desk.sql("update account set email = null, email_verified_at = null where id = 1")
    code = await asked(desk)
    await desk.sql(
        """with new as (insert into recipient (account_id, address, verified_at)
                        values (1, 'new@inbox.example', now()) returning id)
           update account set default_recipient_id = new.id from new where account.id = 1"""
    )
    assert said(await reset(browser, code)) == NO_CODE
    assert (await reset(browser, await asked(desk, "new@inbox.example"))).status_code == 200


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"auth_password_reset_confirm_token": 10}}}])
async def test_d_10_typed_codes_are_not_kept_in_clear(browser: Browser) -> None:
    code = await asked(browser.desk)
    await reset(browser, code)
    rows = await browser.desk.sql("select name, subject from request_window")
    assert "auth_password_reset_confirm_token" in str(rows) and code not in str(rows)


async def test_nobody_learns_by_mail_that_is_held_back_who_is_a_user(browser: Browser) -> None:
    desk = browser.desk
    await asked(desk)
    for name in range(5):
        reply = await desk.get(f"forward/subscribe?name=shop{name}&to=root@inbox.example")
        assert reply.json()["confirmation"]["sent"] is True
    await desk.sql("update confirmation set status = 'expired' where intent = 'subscribe'")
    reply = await desk.get("forward/subscribe?name=shop5&to=root@inbox.example")
    assert reply.json()["confirmation"]["sent"] is True


async def test_the_queue_keeps_no_address(browser: Browser) -> None:
    """As other jobs, it loses its `data` when it is done."""
    await browser.desk.post("auth/forgot-password", {"email": "root@inbox.example"})
    assert await browser.desk.one("select payload - 'data' from job") == {}


async def test_a_second_code_within_a_minute_is_not_mailed(browser: Browser) -> None:
    first = await asked(browser.desk)
    assert await asked(browser.desk) == first
    assert len(await browser.desk.codes()) == 1


async def test_three_codes_at_most_and_only_the_last_one_is_good(browser: Browser) -> None:
    desk = browser.desk
    codes = []
    for _ in range(4):
        codes.append(await asked(desk))
        await desk.sql("update confirmation set last_sent_at = last_sent_at - interval '2 minutes'")
    assert await desk.one("select send_count from confirmation") == 3
    assert codes[2] == codes[3]
    if codes[0] != codes[2]:
        assert said(await reset(browser, codes[0])) == NO_CODE
    assert (await reset(browser, codes[2])).status_code == 200


@pytest.mark.parametrize(
    ("email", "constraints"),
    [(None, True), (5, True), ("", True), ("x" * 400, True), ("nonsense", False), ("a@b", False)],
)
async def test_forgot_password_names_what_is_malformed(desk: Desk, email: Any, constraints: bool) -> None:
    reply = await desk.post("auth/forgot-password", {} if email is None else {"email": email})
    assert said(reply) == (400, "invalid_params")
    assert (reply.json()["field"], "constraints" in reply.json()) == ("email", constraints)
    assert await desk.one("select count(*) from job") == 0


@pytest.mark.parametrize(
    ("given", "error", "field"),
    [
        ({"new_password": NEW_PASSWORD}, "invalid_params", "token"),
        ({"token": 123456, "new_password": NEW_PASSWORD}, "invalid_params", "token"),
        ({"token": "12345", "new_password": NEW_PASSWORD}, "invalid_token", None),
        ({"token": "\u0661" * 6, "new_password": NEW_PASSWORD}, "invalid_token", None),
        ({"token": "123456"}, "invalid_params", "new_password"),
        ({"token": "123456", "new_password": "short"}, "invalid_params", "new_password"),
        ({"token": "123456", "new_password": "x" * 257}, "invalid_params", "new_password"),
    ],
)
async def test_reset_password_names_what_is_malformed(
    desk: Desk, given: dict[str, Any], error: str, field: str | None
) -> None:
    reply = await desk.post("auth/reset-password", given)
    assert (said(reply), reply.json().get("field")) == ((400, error), field)


async def test_invalid_or_expired(browser: Browser) -> None:
    code = await asked(browser.desk)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    assert said(await reset(browser, wrong)) == NO_CODE
    await browser.desk.sql("update confirmation set expires_at = now()")
    assert said(await reset(browser, code)) == NO_CODE
    assert await browser.desk.one("select password_hash from account where id = 1") == HASH


async def test_d_26_a_long_password_can_be_set_and_used(browser: Browser) -> None:
    assert (await reset(browser, await asked(browser.desk), "x" * 256)).status_code == 200
    assert (await browser.sign_in(password="x" * 256)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        "update account set state = 'suspended' where id = 1",
        "update account set state = 'deleting' where id = 1",
        "update account set external_auth = true where id = 1",
    ],
)
async def test_a_code_is_worth_nothing_to_who_may_not_sign_in(browser: Browser, change: str) -> None:
    code = await asked(browser.desk)
    await browser.desk.sql(change)
    assert said(await reset(browser, code)) == NO_CODE


async def test_of_many_with_one_code_one_sets_the_password(browser: Browser) -> None:
    code = await asked(browser.desk)
    replies = await asyncio.gather(*(reset(browser, code, f"password number {n}") for n in range(4)))
    assert sorted(reply.status_code for reply in replies) == [200, 400, 400, 400]


async def test_codes_of_other_flows_set_no_password(browser: Browser) -> None:
    desk = browser.desk
    await desk.get("forward/subscribe?name=shop&domain=alias.example&to=root@inbox.example")
    [code] = await desk.codes()
    assert said(await reset(browser, code)) == NO_CODE
    mailed = await asked(desk)
    assert said(await desk.get(f"forward/confirm?token={mailed}")) == NO_CODE


async def test_d_09_guesses_are_few(browser: Browser) -> None:
    code = await asked(browser.desk)
    guesses = [f"{n:06}" for n in range(8) if f"{n:06}" != code][:6]
    replies = [await reset(browser, guess) for guess in guesses]
    assert [reply.status_code for reply in replies] == [400] * 5 + [429]
    document = replies[-1].json()
    assert (document["error"], document["where"]) == ("rate_limited", "auth_password_reset_confirm")
    assert int(replies[-1].headers["Retry-After"]) > 0
    assert (await reset(Browser(browser.desk, "198.51.100.1"), code)).status_code == 200


async def test_d_09_guesses_of_everybody_are_few_as_well(browser: Browser) -> None:
    """Six digits from many places at once: thirty an hour, then nobody tries any more."""
    code = await asked(browser.desk)
    other = "000000" if code != "000000" else "000001"
    statuses = [(await reset(Browser(browser.desk, f"198.51.{n}.1"), other)).status_code for n in range(31)]
    assert statuses == [400] * 30 + [429]


LIMITED = {
    name: {"haltman": {"rates": {name: 1}}}
    for name in (
        "auth_password_reset_request_ip",
        "auth_password_reset_request_email",
        "auth_password_reset_confirm_ip",
        "auth_password_reset_confirm_token",
    )
}


@pytest.mark.parametrize(("chosen", "name"), [(chosen, name) for name, chosen in LIMITED.items()])
async def test_limits(desk: Desk, chosen: dict[str, Any], name: str) -> None:
    asking = "request" in name
    path = "auth/forgot-password" if asking else "auth/reset-password"
    document = {"email": "a@inbox.example"} if asking else {"token": "000000", "new_password": NEW_PASSWORD}
    assert (await desk.post(path, document)).status_code in (200, 400)
    reply = await desk.post(path.upper().replace("AUTH", "auth") + "/", document)
    where, _, what = name.rpartition("_")
    assert said(reply) == (429, "rate_limited")
    assert (reply.json()["where"], reply.json()["reason"]) == (where, f"too_many_requests_{what}")


async def test_a_new_mailbox_or_password_ends_codes_that_wait(browser: Browser) -> None:
    desk = browser.desk
    await desk.sql("insert into account (name, email, password_hash) values ('other', 'old@inbox.example', %s)", HASH)
    for change in ({"email": "new@inbox.example"}, {"password": NEW_PASSWORD}):
        email = await desk.one("select email from account where id = 3")
        code = await asked(desk, email)
        admin = await desk.admin()
        assert (await admin.patch("admin/users/3", change)).status_code == 200
        assert said(await reset(browser, code)) == NO_CODE


async def test_a_session_is_over_after_a_reset(browser: Browser) -> None:
    await reset(Browser(browser.desk), await asked(browser.desk))
    assert said(await browser.ask("GET", "admin/me")) == NO_SESSION
    assert said(await browser.ask("POST", "auth/refresh")) == NO_SESSION
    assert PASSWORD != NEW_PASSWORD
