"""Signing in, staying there and leaving (haltman-api.md sections 2.6, 2.7, 2.10 and 3.16)."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from mailrelay.core import totp
from mailrelay.core.sealed import seal, vault
from mailrelay.flows import passwords
from mailrelay.keyring import read_secret
from mailrelay.wiring.runtime import utc_now
from tests.api.haltman.conftest import Desk
from tests.api.haltman.people import CHEAP, HASH, NO_SESSION, PASSWORD, Browser, is_cleared, said, set_cookies

SECRET = b"12345678901234567890"
FAILED = (401, "auth_failed")
NO_CSRF = (403, "csrf_required")
WRONG_CSRF = (403, "invalid_csrf_token")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "hasher", lambda: CHEAP)


@pytest.fixture
async def browser(desk: Desk) -> Browser:
    await desk.sql("update account set password_hash = %s where id = 1", HASH)
    return Browser(desk)


async def statuses(desk: Desk) -> list[str]:
    return [status for (status,) in await desk.sql("select status from session order by id")]


# --- sign-in -------------------------------------------------------------------------------------------------------


async def test_sign_in(browser: Browser) -> None:
    reply = await browser.sign_in(" Root ")
    assert reply.status_code == 200
    document = reply.json()
    user, session = document["user"], document["session"]
    assert document == {
        "ok": True, "action": "sign_in", "authenticated": True, "user": user, "session": session,
    }  # fmt: skip
    assert {name: user[name] for name in ("id", "username", "email", "is_active", "is_admin")} == {
        "id": 1, "username": "root", "email": "root@inbox.example", "is_active": 1, "is_admin": True,
    }  # fmt: skip
    assert set(session) == {"session_family_id", "access_expires_at", "refresh_expires_at"}
    begun = datetime.fromisoformat(user["last_login_at"])
    lives = datetime.fromisoformat(session["access_expires_at"]) - begun
    assert timedelta(minutes=9, seconds=58) < lives <= timedelta(minutes=10)
    assert datetime.fromisoformat(session["refresh_expires_at"]) - begun == timedelta(days=30)
    assert reply.headers["cache-control"] == "no-store, private"
    assert await browser.desk.sql("select actor, action from audit") == [("admin:1", "session.begin")]


@pytest.mark.parametrize("identifier", ["root", "root@inbox.example", " ROOT@Inbox.Example "])
async def test_a_name_or_an_address_signs_in(browser: Browser, identifier: str) -> None:
    assert (await browser.sign_in(identifier)).json()["user"]["id"] == 1


async def test_the_default_recipient_signs_in_but_an_address_of_its_own_goes_first(browser: Browser) -> None:
    await browser.desk.sql("insert into account (name, password_hash) values ('other', %s)", HASH)
    await browser.desk.sql(
        "insert into recipient (account_id, address, verified_at) values (3, 'Root@inbox.example', now())"
    )
    await browser.desk.sql("update account set default_recipient_id = 3 where id = 3")
    assert (await browser.sign_in("root@inbox.example")).json()["user"]["id"] == 1
    await browser.desk.sql("update account set email = null where id = 1")
    assert (await browser.sign_in("root@inbox.example")).json()["user"]["id"] == 1, "the older one"
    await browser.desk.sql("update account set email = 'x@inbox.example' where id = 1")
    assert (await browser.sign_in("root@inbox.example")).json()["user"]["id"] == 3
    await browser.desk.sql("update recipient set verified_at = null where id = 3")
    assert said(await browser.sign_in("root@inbox.example")) == FAILED
    assert said(await browser.sign_in("other")) == FAILED


async def test_d_21_dates_are_iso_and_d_22_ids_are_numbers(browser: Browser) -> None:
    user = (await browser.sign_in()).json()["user"]
    assert type(user["id"]) is int
    for name in ("email_verified_at", "created_at", "updated_at", "last_login_at"):
        assert datetime.fromisoformat(user[name]).tzinfo is not None
        assert user[name].endswith("Z")


@pytest.mark.parametrize("chosen", [{}, {"haltman": {"same_site": "strict"}}])
async def test_d_24_cookies_are_always_secure(browser: Browser, chosen: dict[str, Any]) -> None:
    reply = await browser.sign_in()
    cookies = set_cookies(reply)
    assert set(cookies) == {"__Host-access", "__Host-refresh"}
    for cookie in cookies.values():
        assert cookie["secure"]
        assert cookie["httponly"]
        assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "Strict" if chosen else "Lax")
    assert int(cookies["__Host-access"]["max-age"]) in (599, 600)
    assert int(cookies["__Host-refresh"]["max-age"]) == 30 * 86400
    assert len(cookies["__Host-refresh"].value) == 43


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("update account set password_hash = null where id = 1", "no password"),
        ("update account set state = 'suspended' where id = 1", "not active"),
        ("update account set state = 'deleting' where id = 1", "being deleted"),
        ("update account set external_auth = true where id = 1", "somebody else signs in"),
        ("update account set password_hash = 'no hash' where id = 1", "no hash"),
        (
            "update account set email = null, email_verified_at = null where id = 1; "
            "update recipient set verified_at = null",
            "unverified",
        ),
        ("insert into security_key (account_id, name) values (1, 'Blue')", "a key that nobody can show here"),
    ],
)  # fmt: skip
async def test_who_may_not_sign_in_fails_like_others(browser: Browser, change: str, why: str) -> None:
    for statement in change.split("; "):
        await browser.desk.sql(statement)
    reply = await browser.sign_in()
    assert said(reply) == FAILED
    assert reply.json() == (await browser.sign_in("nobody")).json()
    assert not set_cookies(reply)


@pytest.mark.parametrize("identifier", ["root", "nobody", "nobody@inbox.example", "me@inbox.example"])
async def test_somebody_unknown_costs_as_much(
    browser: Browser, identifier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    verified = passwords._verified

    def counting(password_hash: str, password: str) -> bool:
        computed.append(password_hash)
        return verified(password_hash, password)

    monkeypatch.setattr(passwords, "_verified", counting)
    assert said(await browser.sign_in(identifier, "wrong password")) == FAILED
    assert [one.split("$")[1:4] for one in computed] == [HASH.split("$")[1:4]]


@pytest.mark.parametrize(
    ("given", "field", "rules"),
    [
        ({}, "identifier", {"isString", "minLength", "maxLength"}),
        ({"identifier": "", "password": PASSWORD}, "identifier", {"minLength"}),
        ({"identifier": ["root"], "password": PASSWORD}, "identifier", {"isString", "minLength", "maxLength"}),
        ({"identifier": "root"}, "password", {"isString", "minLength", "maxLength"}),
        ({"identifier": "root", "password": "short"}, "password", {"minLength"}),
        ({"identifier": "root", "password": "x" * 257}, "password", {"maxLength"}),
        ({"identifier": "root", "password": "x" * 8 + "\ud800"}, "password", {"isString", "minLength", "maxLength"}),
        ({"identifier": "root", "password": PASSWORD, "code": 123456}, "code", {"isString", "minLength", "maxLength"}),
        ({"identifier": "a b", "password": PASSWORD}, "identifier", None),
        ({"identifier": "@", "password": PASSWORD}, "identifier", None),
        ({"identifier": "a@b@c.example", "password": PASSWORD}, "identifier", None),
    ],
)
async def test_sign_in_names_what_is_malformed(
    browser: Browser, given: dict[str, Any], field: str, rules: set[str] | None
) -> None:
    reply = await browser.ask("POST", "auth/sign-in", given)
    document = reply.json()
    assert (reply.status_code, document["error"], document["field"]) == (400, "invalid_params", field)
    assert (set(document["constraints"]) if rules else "constraints" not in document) == (rules or True)


async def test_d_26_a_long_password_can_be_used(browser: Browser) -> None:
    await browser.desk.sql("update account set password_hash = %s where id = 1", CHEAP.hash("x" * 256))
    assert (await browser.sign_in(password="x" * 256)).status_code == 200


async def test_an_old_hash_is_replaced_when_its_password_is_typed(browser: Browser) -> None:
    from argon2 import PasswordHasher

    old = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(PASSWORD)
    await browser.desk.sql("update account set password_hash = %s where id = 1", old)
    await browser.signed_in()
    replaced = await browser.desk.one("select password_hash from account where id = 1")
    assert replaced.split("$")[3] == HASH.split("$")[3]
    await browser.signed_in()
    assert await browser.desk.one("select password_hash from account where id = 1") == replaced


async def test_a_second_factor_is_asked_for(browser: Browser) -> None:
    uuid = await browser.desk.one("select uuid from account where id = 1")
    keys = vault(read_secret(browser.desk.config.secrets, "storage.key"))
    sealed = seal(keys, b"\x07" * 12, totp.place(uuid), SECRET)
    await browser.desk.sql("update account set totp_secret = %s where id = 1", sealed)
    step = totp.step_at(utc_now().timestamp())
    assert said(await browser.sign_in()) == FAILED
    assert said(await browser.sign_in(code=totp.code(SECRET, step - 5))) == FAILED
    await browser.desk.sql("delete from request_window")
    assert said(await browser.sign_in(password="wrong password", code=totp.code(SECRET, step))) == FAILED
    assert [mail.code for mail in await browser.desk.mails()] == ["FLA"]
    await browser.desk.sql("delete from request_window")
    code = totp.code(SECRET, totp.step_at(utc_now().timestamp()))
    assert (await browser.sign_in(code=code)).status_code == 200
    assert said(await browser.sign_in(code=code)) == FAILED, "good once"
    await browser.desk.sql("update account set totp_secret = 'damaged' where id = 1")
    assert said(await browser.sign_in(code=code)) == FAILED


async def test_five_sign_ins_last_and_the_oldest_end(browser: Browser) -> None:
    browsers = [browser, *(Browser(browser.desk) for _ in range(5))]
    for number, one in enumerate(browsers):
        await one.signed_in()
        if number == 0:
            assert (await one.ask("POST", "auth/refresh")).status_code == 200
    assert said(await browsers[0].ask("GET", "auth/session")) == NO_SESSION
    for one in browsers[1:]:
        assert (await one.ask("GET", "auth/session")).status_code == 200
    assert await statuses(browser.desk) == ["revoked"] * 2 + ["active"] * 5


async def test_many_who_sign_in_at_once_are_five_in_the_end(browser: Browser) -> None:
    for times in range(2):
        many = (Browser(browser.desk, f"192.0.2.{times * 10 + n}") for n in range(5))
        assert {reply.status_code for reply in await asyncio.gather(*(one.sign_in() for one in many))} == {200}
    assert sorted(await statuses(browser.desk)) == ["active"] * 5 + ["revoked"] * 5


# --- failures only (2.10) ------------------------------------------------------------------------------------------


async def failures(browser: Browser, identifier: str, count: int) -> list[tuple[int, str]]:
    replies = [await browser.sign_in(identifier, "wrong password") for _ in range(count)]
    return [(reply.status_code, reply.json().get("reason", "")) for reply in replies]


async def test_too_many_failed_attempts_identifier_ip(browser: Browser) -> None:
    assert await failures(browser, "root", 2) == [(401, "")] * 2
    reply = await browser.sign_in()
    document = reply.json()
    assert (reply.status_code, document["error"], document["where"]) == (429, "rate_limited", "auth_login")
    assert document["reason"] == "too_many_failed_attempts_identifier_ip"
    assert 0 < int(reply.headers["Retry-After"]) <= 300
    assert document["retry_after_seconds"] == int(reply.headers["Retry-After"])
    assert (await Browser(browser.desk, "198.51.100.1").sign_in()).status_code == 200


async def test_too_many_failed_attempts_identifier_ip_heavy(browser: Browser) -> None:
    for _ in range(3):
        assert await failures(browser, "root", 1) == [(401, "")]
        await browser.desk.sql("delete from request_window where name = 'auth_login_fail_fast_identifier_ip'")
    assert await failures(browser, "root", 1) == [(429, "too_many_failed_attempts_identifier_ip_heavy")]


async def test_too_many_failed_attempts_ip(browser: Browser) -> None:
    for number in range(12):
        assert await failures(browser, f"nobody{number}", 1) == [(401, "")]
    assert await failures(browser, "nobody", 1) == [(429, "too_many_failed_attempts_ip")]
    assert (await Browser(browser.desk, "192.0.2.2").sign_in()).status_code == 200


async def test_malformed_attempts_count_for_the_client(browser: Browser) -> None:
    for _ in range(12):
        assert (await browser.ask("POST", "auth/sign-in", {})).status_code == 400
    reply = await browser.ask("POST", "auth/sign-in", {})
    assert (reply.status_code, reply.json()["reason"]) == (429, "too_many_failed_attempts_ip")


async def test_successes_do_not_count(browser: Browser) -> None:
    for _ in range(15):
        assert (await browser.sign_in()).status_code == 200
    assert await browser.desk.one("select count(*) from request_window where hits > 0 and name like 'auth%%'") == 0


async def test_of_many_guesses_at_once_two_are_heard(browser: Browser) -> None:
    replies = await asyncio.gather(*(browser.sign_in("root", "wrong password") for _ in range(10)))
    assert sorted(reply.status_code for reply in replies) == [401] * 2 + [429] * 8


async def test_a_v6_network_counts_as_one_client(browser: Browser) -> None:
    for number in range(2):
        assert await failures(Browser(browser.desk, f"2001:db8::{number}"), "root", 1) == [(401, "")]
    assert (await failures(Browser(browser.desk, "2001:db8::ffff"), "root", 1))[0][0] == 429


async def test_d_27_names_and_addresses_count_together_per_account(browser: Browser) -> None:
    names = ["root", "root@inbox.example", "ROOT"]
    for number, name in enumerate(names):
        assert await failures(Browser(browser.desk, f"198.51.100.{number}"), name, 2) == [(401, "")] * 2
    assert said(await Browser(browser.desk, "203.0.113.1").sign_in()) == FAILED
    await browser.desk.sql("delete from request_window")
    assert (await Browser(browser.desk, "203.0.113.1").sign_in()).status_code == 200


async def test_limits_do_not_tell_which_name_and_address_are_one_account(browser: Browser) -> None:
    for address in ("root@inbox.example", "me@inbox.example", "nobody@inbox.example"):
        await browser.desk.sql("delete from request_window")
        for number in range(3):  # from several clients, as far as each may
            client = Browser(browser.desk, f"198.51.100.{number}")
            assert await failures(client, "root", 2) == [(401, "")] * 2
            assert await failures(client, address, 2) == [(401, "")] * 2
        other = Browser(browser.desk, "203.0.113.1")
        for name in ("root", address):
            assert await failures(other, name, 1) == [(429, "too_many_failed_attempts_identifier")]


async def test_d_27_strangers_lock_no_administrator_out(browser: Browser) -> None:
    """He gets in from where he signed in before; and one stranger alone closes nothing for others."""
    assert (await browser.sign_in()).status_code == 200
    stranger = Browser(browser.desk, "198.51.100.9")
    assert [status for status, _ in await failures(stranger, "root", 20)] == [401] * 2 + [429] * 18
    assert (await Browser(browser.desk, "203.0.113.1").sign_in()).status_code == 200
    for number in range(10):
        await failures(Browser(browser.desk, f"198.51.100.{number + 10}"), "root", 2)
    assert said(await Browser(browser.desk, "233.252.0.1").sign_in()) == (429, "rate_limited")
    assert (await Browser(browser.desk, "192.0.2.77").sign_in()).status_code == 200


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"auth_login_fail_fast_identifier_ip": 0}}}])
async def test_limits_of_failures_are_settings(browser: Browser, chosen: dict[str, Any]) -> None:
    assert [status for status, _ in await failures(browser, "root", 4)] == [401] * 3 + [429]


# --- session, csrf -------------------------------------------------------------------------------------------------


async def test_session(browser: Browser) -> None:
    signed_in = (await browser.sign_in()).json()
    await browser.desk.sql("update session set last_used_at = now() - interval '2 minutes'")
    reply = await browser.ask("GET", "auth/session")
    assert reply.status_code == 200
    assert reply.json() == {
        "ok": True, "authenticated": True, "user": signed_in["user"], "session": signed_in["session"],
    }  # fmt: skip
    assert await browser.desk.one("select now() - last_used_at < interval '1 minute' from session")


async def test_session_needs_the_access_cookie(browser: Browser) -> None:
    await browser.sign_in()
    del browser.cookies["__Host-access"]
    assert said(await browser.ask("GET", "auth/session")) == NO_SESSION
    assert said(await browser.ask("GET", "admin/me")) == NO_SESSION


async def test_csrf_by_either_cookie(browser: Browser) -> None:
    await browser.sign_in()
    by_access = (await browser.ask("GET", "auth/csrf")).json()
    assert by_access == {"ok": True, "csrf_token": by_access["csrf_token"]}
    assert len(by_access["csrf_token"]) == 43
    del browser.cookies["__Host-access"]
    assert (await browser.ask("GET", "auth/csrf")).json() == by_access
    browser.cookies = {}
    assert said(await browser.ask("GET", "auth/csrf")) == NO_SESSION


ENDINGS: dict[str, Callable[[Desk], Any]] = {
    "the family ends": lambda desk: desk.sql("update session set status = 'revoked'"),
    "it expires": lambda desk: desk.sql("update session set refresh_expires_at = now()"),
    "the user is deactivated": lambda desk: desk.sql("update account set state = 'suspended' where id = 1"),
    "the user is deleted": lambda desk: desk.sql("update account set state = 'deleting' where id = 1"),
    "the user is gone": lambda desk: desk.sql("update account set name = null where id = 1"),
    "the row is gone": lambda desk: desk.sql("delete from session"),
}


@pytest.mark.parametrize("ending", sorted(ENDINGS))
async def test_the_end_of_a_session_is_noticed_at_once(browser: Browser, ending: str) -> None:
    await browser.signed_in()
    assert (await browser.ask("GET", "admin/me")).status_code == 200
    await ENDINGS[ending](browser.desk)
    for path in ("auth/session", "auth/csrf", "admin/me", "admin/users"):
        assert said(await browser.ask("GET", path)) == NO_SESSION
    assert said(await browser.ask("POST", "auth/refresh")) == NO_SESSION


@pytest.mark.parametrize("value", ["%", "%zz", "%ff", "x", "a.b.c", "", "\x01", '"', "%00", "x" * 5000])
async def test_d_25_odd_cookies_are_no_session(browser: Browser, value: str) -> None:
    browser.cookies = {"__Host-access": value, "__Host-refresh": value}
    assert said(await browser.ask("GET", "auth/session")) == NO_SESSION
    assert said(await browser.ask("GET", "auth/csrf")) == NO_SESSION
    assert said(await browser.ask("POST", "auth/refresh")) == NO_SESSION
    assert (await browser.ask("POST", "auth/sign-out")).status_code == 200


async def test_d_25_odd_cookies_beside_good_ones_do_not_matter(browser: Browser) -> None:
    await browser.signed_in()
    browser.cookies = {"other": "%zz", "%": "x", **browser.cookies, "last": "%"}
    assert (await browser.ask("GET", "auth/session")).status_code == 200


async def test_of_equal_cookies_the_first_counts(browser: Browser) -> None:
    await browser.signed_in()
    good = f"__Host-access={browser.cookies['__Host-access']}"
    for line, status in ((f"{good}; __Host-access=x", 200), (f"__Host-access=x; {good}", 401)):
        assert (await browser.desk.get("auth/session", Cookie=line)).status_code == status


@pytest.mark.parametrize("space", ["\xa0", "\x85", "\x0b", "\x1f"])
async def test_cookies_that_only_look_as_if_named_host_are_none(browser: Browser, space: str) -> None:
    """A neighbouring site may set those: browsers see no __Host- at their beginning."""
    await browser.signed_in()
    line = f"{space}__Host-access={browser.cookies['__Host-access']}".encode("latin-1")
    reply = await browser.desk.client.request("GET", "/api/auth/session", headers=[(b"Cookie", line)])
    assert said(reply) == NO_SESSION


async def test_an_access_token_of_somebody_else_is_none(browser: Browser) -> None:
    """Right in all, but signed by another key."""
    await browser.signed_in()
    token = browser.cookies["__Host-access"]
    head, claims, signature = token.split(".")
    browser.cookies["__Host-access"] = f"{head}.{claims}.{signature[::-1]}"
    assert said(await browser.ask("GET", "auth/session")) == NO_SESSION


# --- refresh -------------------------------------------------------------------------------------------------------


async def test_refresh(browser: Browser) -> None:
    await browser.signed_in()
    before = dict(browser.cookies)
    session = (await browser.ask("GET", "auth/session")).json()["session"]
    reply = await browser.ask("POST", "auth/refresh")
    assert reply.status_code == 200
    renewed = reply.json()["session"]
    assert reply.json() == {"ok": True, "action": "refresh", "refreshed": True, "session": renewed}
    assert renewed["session_family_id"] == session["session_family_id"]
    assert renewed["refresh_expires_at"] == session["refresh_expires_at"], "the end does not move"
    assert set(set_cookies(reply)) == {"__Host-access", "__Host-refresh"}
    assert all(browser.cookies[name] != value for name, value in before.items())
    assert (await browser.ask("GET", "auth/session")).status_code == 200
    assert await statuses(browser.desk) == ["rotated", "active"]
    assert await browser.desk.one("select replaced_by_id from session where status = 'rotated'") == 2


async def test_refresh_does_without_the_access_cookie(browser: Browser) -> None:
    await browser.signed_in()
    del browser.cookies["__Host-access"]
    assert (await browser.ask("POST", "auth/refresh")).status_code == 200


async def test_refresh_without_a_session(browser: Browser) -> None:
    reply = await browser.ask("POST", "auth/refresh")
    assert said(reply) == NO_SESSION
    assert is_cleared(reply)


@pytest.mark.parametrize("path", ["auth/refresh", "auth/sign-out", "auth/sign-out-all"])
async def test_csrf_is_needed_by_who_has_a_session(browser: Browser, path: str) -> None:
    await browser.signed_in()
    browser.csrf = None
    assert said(await browser.ask("POST", path)) == NO_CSRF
    for wrong in ("x", "%C3%A9", "A" * 43):
        browser.csrf = wrong
        assert said(await browser.ask("POST", path)) == WRONG_CSRF
    assert await statuses(browser.desk) == ["active"]


async def aged(desk: Desk) -> None:
    """As if the last renewal were a while ago."""
    await desk.sql("update session set created_at = created_at - interval '1 minute'")


async def test_d_23_reuse_of_a_refresh_token_ends_the_family(browser: Browser) -> None:
    await browser.signed_in()
    stolen = Browser(browser.desk, "198.51.100.1")
    stolen.cookies, stolen.csrf = dict(browser.cookies), browser.csrf
    assert (await browser.ask("POST", "auth/refresh")).status_code == 200
    reply = await stolen.ask("POST", "auth/refresh")
    assert said(reply) == NO_SESSION
    assert is_cleared(reply)
    for one in (browser, stolen):
        assert said(await one.ask("GET", "auth/session")) == NO_SESSION
    assert said(await browser.ask("POST", "auth/refresh")) == NO_SESSION
    assert await statuses(browser.desk) == ["reuse_detected", "revoked"]
    assert await browser.desk.one("select count(*) from audit where action = 'session.reuse'") == 1


async def test_d_23_reuse_is_noticed_without_a_csrf_token_and_after_a_while(browser: Browser) -> None:
    await browser.signed_in()
    old = dict(browser.cookies)
    assert (await browser.ask("POST", "auth/refresh")).status_code == 200
    await aged(browser.desk)
    browser.cookies, browser.csrf = {"__Host-refresh": old["__Host-refresh"]}, None
    assert said(await browser.ask("GET", "auth/csrf")) == NO_SESSION
    assert said(await browser.ask("POST", "auth/refresh")) == NO_SESSION
    assert await statuses(browser.desk) == ["reuse_detected", "revoked"]


async def test_other_families_survive_a_theft(browser: Browser) -> None:
    await browser.signed_in()
    other = await Browser(browser.desk).signed_in()
    old = dict(browser.cookies)
    await browser.ask("POST", "auth/refresh")
    await aged(browser.desk)
    browser.cookies = old
    assert said(await browser.ask("POST", "auth/refresh")) == NO_SESSION
    assert (await other.ask("GET", "auth/session")).status_code == 200


async def test_two_tabs_that_renew_at_once_both_stay(browser: Browser) -> None:
    await browser.signed_in()
    tabs = []
    for _ in range(2):
        tab = Browser(browser.desk)
        tab.cookies, tab.csrf = dict(browser.cookies), browser.csrf
        tabs.append(tab)
    replies = await asyncio.gather(*(tab.ask("POST", "auth/refresh") for tab in tabs))
    assert [reply.status_code for reply in replies] == [200, 200]
    given = sorted((set(set_cookies(reply)) for reply in replies), key=len)
    assert given == [{"__Host-access"}, {"__Host-access", "__Host-refresh"}], "one token, for the one who came first"
    for tab in tabs:
        assert (await tab.ask("GET", "auth/session")).status_code == 200
    assert await statuses(browser.desk) == ["rotated", "active"]


@pytest.mark.parametrize("other", ["address", "program"])
async def test_of_two_clients_that_renew_at_once_one_is_a_thief(browser: Browser, other: str) -> None:
    await browser.signed_in()
    thief = Browser(browser.desk, "192.0.2.2" if other == "address" else "192.0.2.1")
    thief.cookies, thief.csrf = dict(browser.cookies), browser.csrf
    thief.agent = "another" if other == "program" else browser.agent
    replies = await asyncio.gather(*(one.ask("POST", "auth/refresh") for one in (browser, thief)))
    assert sorted(reply.status_code for reply in replies) == [200, 401]
    assert said(await browser.ask("GET", "auth/session")) == NO_SESSION
    assert sorted(await statuses(browser.desk)) == ["reuse_detected", "revoked"]


# --- sign-out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cookie", ["__Host-access", "__Host-refresh"])
async def test_sign_out(browser: Browser, cookie: str) -> None:
    await browser.signed_in()
    other = await Browser(browser.desk).signed_in()
    kept = dict(browser.cookies)
    browser.cookies = {cookie: kept[cookie]}
    reply = await browser.ask("POST", "auth/sign-out")
    assert reply.status_code == 200
    assert reply.json() == {"ok": True, "action": "sign_out", "signed_out": True}
    assert is_cleared(reply)
    browser.cookies = kept
    assert said(await browser.ask("GET", "auth/session")) == NO_SESSION
    assert (await other.ask("GET", "auth/session")).status_code == 200
    assert await browser.desk.one("select actor from audit where action = 'session.end'") == "admin:1"


async def test_sign_out_all(browser: Browser) -> None:
    await browser.signed_in()
    other = await Browser(browser.desk).signed_in()
    await other.ask("POST", "auth/refresh")
    reply = await browser.ask("POST", "auth/sign-out-all")
    assert reply.json() == {"ok": True, "action": "sign_out_all", "signed_out_all": True, "sessions_revoked": 3}
    assert is_cleared(reply)
    assert said(await other.ask("GET", "auth/session")) == NO_SESSION
    assert await statuses(browser.desk) == ["revoked"] * 3


async def test_who_has_no_session_is_signed_out_already(browser: Browser) -> None:
    reply = await browser.ask("POST", "auth/sign-out")
    assert (reply.status_code, reply.json()["signed_out"], is_cleared(reply)) == (200, True, True)
    reply = await browser.ask("POST", "auth/sign-out-all")
    assert (reply.status_code, reply.json()["sessions_revoked"], is_cleared(reply)) == (200, 0, True)


async def test_a_user_who_is_no_administrator_signs_in_and_sees_nothing(browser: Browser) -> None:
    await browser.desk.sql("update account set is_admin = false where id = 1")
    await browser.signed_in()
    assert (await browser.ask("GET", "auth/session")).json()["user"]["is_admin"] is False
    assert said(await browser.ask("GET", "admin/me")) == (403, "forbidden")
    assert said(await browser.ask("GET", "admin/nothing")) == (403, "forbidden")


async def test_head_signs_nobody_out(browser: Browser) -> None:
    await browser.signed_in()
    for path in ("auth/sign-out", "auth/refresh", "auth/sign-in"):
        assert (await browser.ask("HEAD", path)).status_code in (404, 405)
    assert (await browser.ask("HEAD", "auth/session")).status_code == 200
    assert await statuses(browser.desk) == ["active"]


@pytest.mark.parametrize("path", ["auth/sign-up", "auth/verify-email"])
async def test_d_29_nobody_signs_up_here(desk: Desk, path: str) -> None:
    assert said(await desk.post(path, {"email": "a@inbox.example"})) == (404, "not_found")
