"""Signing in from apps, and leaving (addy-api.md sections 5 and 6)."""

import asyncio
import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from argon2 import PasswordHasher

from mailrelay.core import totp
from mailrelay.core.sealed import seal, vault
from mailrelay.flows import passwords, signin
from mailrelay.flows.deletion import AccountDeletion
from mailrelay.keyring import read_secret
from mailrelay.store.database import Database
from mailrelay.store.deletion import Deletions
from mailrelay.wiring.runtime import utc_now
from tests.api.addy.conftest import TOKEN, Desk

PASSWORD = " correct horse "  # passwords are not trimmed
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
SECRET = b"12345678901234567890"
LOGIN = {"username": "johndoe", "password": PASSWORD, "device_name": "Phone"}

SPENT = "insert into request_window (name, subject, seconds, opened_at, hits) values (%s, %s, 3600, now(), %s)"

WRONG = (401, {"message": "The provided credentials are incorrect."})
TOO_MANY = (429, {"message": "Too Many Attempts."})
OTP_WANTED = "OTP required, please make a request to /api/auth/mfa with the 'mfa_key', 'otp' and 'device_name'."
OTP_WRONG = (401, {"message": "The 'One Time Password' typed was wrong."})
KEY_WRONG = (401, {"message": "Invalid mfa_key."})


@pytest.fixture(autouse=True)
async def signing_in(desk: Desk) -> None:
    """johndoe has a password, and has nothing but that yet."""
    await desk.sql("update account set password_hash = %s", CHEAP)
    desk.token = None


@pytest.fixture
async def with_totp(desk: Desk, tmp_path: Path) -> None:
    keys = vault(read_secret(tmp_path / "secrets", "storage.key"))
    uuid = await desk.one("select uuid from account where id = 1")
    sealed = seal(keys, os.urandom(12), totp.place(uuid), SECRET)
    await desk.sql("update account set totp_secret = %s where id = 1", sealed)


async def login(desk: Desk, **more: Any) -> httpx2.Response:
    """Without a limit, unless it is the test's matter."""
    await desk.sql("delete from request_window where name in ('auth', 'api')")
    return await desk.post("/api/auth/login", {**LOGIN, **more})


async def mfa(desk: Desk, key: str, code: str, **more: Any) -> httpx2.Response:
    await desk.sql("delete from request_window where name in ('auth', 'api')")
    return await desk.post("/api/auth/mfa", {"mfa_key": key, "otp": code, "device_name": "Phone", **more})


async def mfa_key(desk: Desk) -> str:
    response = await login(desk)
    assert response.status_code == 422, response.text
    return str(response.json()["mfa_key"])


def code(steps_away: int = 0) -> str:
    return totp.code(SECRET, totp.step_at(utc_now().timestamp()) + steps_away)


def said(response: httpx2.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


async def is_ours(desk: Desk, token: str) -> bool:
    found = await desk.sql("select from token where hash = %s", hashlib.sha256(token.encode()).digest())
    return len(found) == 1


# --- the password --------------------------------------------------------------------------------------------------


async def test_t_au2_1_who_knows_the_password_gets_a_token(desk: Desk) -> None:
    desk.headers["User-Agent"] = "Phone 1.0"
    response = await login(desk, username="JohnDoe")
    assert response.status_code == 200, response.text
    given = response.json()
    assert (given["name"], given["expires_at"]) == ("Phone", None)
    assert await is_ours(desk, given["api_key"])
    desk.token = given["api_key"]
    assert (await desk.get("app-version")).status_code == 200
    [(actor, action)] = await desk.sql("select actor, action from audit")
    assert (actor, action) == ("account:1", "token.add")
    assert await desk.one("select last_login_at is not null from account where id = 1")
    [whence] = await desk.sql("select host(created_ip), user_agent from token where name = 'Phone'")
    assert whence == ("192.0.2.1", "Phone 1.0")


async def test_t_au2_2_a_wrong_password(desk: Desk) -> None:
    assert said(await login(desk, password=PASSWORD.strip())) == WRONG


async def test_t_au2_3_an_unknown_name_is_told_the_same(desk: Desk) -> None:
    assert said(await login(desk, username="nobody")) == WRONG


async def test_t_au2_4_three_times_in_a_minute(desk: Desk) -> None:
    for attempt in range(4):
        response = await desk.post(f"/api/auth/{('login', 'mfa')[attempt % 2]}", LOGIN)
        assert (response.status_code == 429) == (attempt == 3)
    assert said(response) == TOO_MANY
    assert int(response.headers["Retry-After"]) in range(1, 61)


async def test_t_au2_5_a_security_key_cannot_be_asked_for(desk: Desk) -> None:
    await desk.sql("insert into security_key (account_id, name) values (1, 'Blue')")
    words = (
        "Security key authentication is not currently supported from the extension or mobile apps, "
        "please use an API key to login instead."
    )
    assert said(await login(desk)) == (403, {"message": words})
    assert said(await login(desk, password="x")) == WRONG
    await desk.sql("update security_key set enabled = false")
    assert (await login(desk)).status_code == 200


async def test_an_address_that_is_not_verified(desk: Desk) -> None:
    await desk.sql("update recipient set verified_at = null where id = 1")
    assert said(await login(desk)) == (401, {"message": "Your email address is not verified."})
    assert said(await login(desk, password="x")) == WRONG


@pytest.mark.parametrize(
    "change",
    [
        "update username set can_login = false",
        "update account set state = 'suspended'",
        "update account set state = 'deleting'",
        "update account set external_auth = true",
        "update account set password_hash = null",
        "update account set password_hash = 'no hash at all'",
    ],
)
async def test_who_may_not_sign_in_is_nobody(desk: Desk, change: str) -> None:
    await desk.sql(change)
    assert said(await login(desk)) == WRONG


async def test_any_username_of_the_account_will_do(desk: Desk) -> None:
    await desk.sql("insert into username (account_id, name) values (1, 'johnny')")
    assert (await login(desk, username="johnny")).status_code == 200
    await desk.sql("update username set can_login = false where name = 'johnny'")
    assert said(await login(desk, username="johnny")) == WRONG


@pytest.mark.parametrize("username", ["johndoe", "nobody", "stranger"])
async def test_each_try_computes_one_hash_whoever_it_is(
    desk: Desk, username: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.sql("update account set password_hash = null where id = 2")
    computed: list[str] = []
    before = passwords._verified

    def counted(password_hash: str, password: str) -> bool:
        computed.append(password_hash)
        return before(password_hash, password)

    monkeypatch.setattr(passwords, "_verified", counted)
    assert said(await login(desk, username=username, password="x")) == WRONG
    assert len(computed) == 1
    if username != "johndoe":
        cost = computed[0].split("$")[3]
        assert cost == passwords.hasher().hash("x").split("$")[3], "as costly as that of an account"


@pytest.mark.parametrize(
    ("given", "errors"),
    [
        ({}, ["username", "password", "device_name"]),
        ({**LOGIN, "username": "me@inbox.example"}, ["username"]),
        ({**LOGIN, "username": "a" * 21}, ["username"]),
        ({**LOGIN, "username": ["johndoe"]}, ["username"]),
        ({**LOGIN, "password": 12345678}, ["password"]),
        ({**LOGIN, "password": "a\x00b"}, ["password"]),
        ({**LOGIN, "device_name": "x" * 51}, ["device_name"]),
        ({**LOGIN, "expiration": "decade"}, ["expiration"]),
        ({**LOGIN, "expiration": 3}, ["expiration"]),
    ],
)
async def test_what_is_given_is_looked_at_first(desk: Desk, given: dict[str, Any], errors: list[str]) -> None:
    response = await desk.post("/api/auth/login", given)
    assert (response.status_code, list(response.json()["errors"])) == (422, errors)


async def test_an_address_is_no_username(desk: Desk) -> None:
    errors = (await login(desk, username="me@inbox.example")).json()["errors"]
    assert errors == {"username": ["The username format is invalid."]}


@pytest.mark.parametrize(
    ("unit", "days"), [("day", {1}), ("week", {7}), ("month", {28, 29, 30, 31}), ("year", {365, 366})]
)
async def test_tokens_end_a_unit_of_the_calendar_later(desk: Desk, unit: str, days: set[int]) -> None:
    given = (await login(desk, expiration=unit)).json()
    assert given["expires_at"] > given["created_at"]
    assert (
        await desk.one("select round(extract(epoch from expires_at - now()) / 86400) from token where name = 'Phone'")
        in days
    )


async def test_guessing_from_everywhere_ends_but_not_for_the_owner(desk: Desk) -> None:
    """The owner signed in from this network before; others are turned away, as are those who ask for nobody."""
    for name in ("johndoe", "nobody"):
        await desk.sql(SPENT, "sign-in", name, 60)
        response = await login(desk, username=name)
        assert said(response) == TOO_MANY
        assert 3500 < int(response.headers["Retry-After"]) <= 3600
    await desk.sql("update token set created_ip = '192.0.2.77'")
    assert (await login(desk)).status_code == 200


# --- the second factor ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_totp")
async def test_t_au2_6_a_code_is_asked_for(desk: Desk) -> None:
    response = await login(desk)
    assert response.status_code == 422
    asked = response.json()
    key = asked.pop("mfa_key")
    assert asked == {"message": OTP_WANTED, "csrf_token": "deprecated"}
    assert 0 < len(key) < 500
    wrong = "000000" if "000000" not in {code(n) for n in (-1, 0, 1)} else "999999"
    desk.headers["User-Agent"] = "x" * 1000
    assert said(await mfa(desk, key, wrong)) == OTP_WRONG
    notice = await desk.one("select payload from job where kind = 'notice'")
    assert (notice["code"], notice["account_id"]) == ("FLA", 1)
    assert (notice["data"]["ip"], notice["data"]["user_agent"]) == ("192.0.2.1", "x" * 300)
    done = await mfa(desk, key, code())
    assert done.status_code == 200, done.text
    assert await is_ours(desk, done.json()["api_key"])


@pytest.mark.usefixtures("with_totp")
async def test_t_au2_7_nothing_else_has_to_come_with_the_code(desk: Desk) -> None:
    """And what does is not looked at."""
    key = await mfa_key(desk)
    assert "X-CSRF-TOKEN" not in desk.headers
    assert (await mfa(desk, key, code(), extra="x")).status_code == 200


@pytest.mark.usefixtures("with_totp")
async def test_a_ticket_and_a_code_are_good_once(desk: Desk) -> None:
    first, second = await mfa_key(desk), await mfa_key(desk)
    used = code()
    assert (await mfa(desk, first, used)).status_code == 200
    assert said(await mfa(desk, second, used)) == OTP_WRONG
    assert said(await mfa(desk, first, code(1))) == KEY_WRONG
    assert (await mfa(desk, second, code(1))).status_code == 200


@pytest.mark.usefixtures("with_totp")
async def test_of_many_at_once_one_gets_in(desk: Desk) -> None:
    keys = [await mfa_key(desk) for _ in range(3)]
    await desk.forget_requests()
    typed = code()
    body = {"otp": typed, "device_name": "Phone"}
    answers = await asyncio.gather(*(desk.post("/api/auth/mfa", {**body, "mfa_key": key}) for key in keys))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    assert await desk.one("select count(*) from token where name = 'Phone'") == 1


@pytest.mark.usefixtures("with_totp")
@pytest.mark.parametrize("spoil", ["", "x", "AAAA", "ä" * 10, "+/+/", lambda key: key[:-8] + "AAAAAAA="])
async def test_other_keys_are_invalid(desk: Desk, spoil: Any) -> None:
    key = await mfa_key(desk)
    spoiled = spoil(key) if callable(spoil) else spoil
    response = await mfa(desk, spoiled, code())
    assert response.status_code == 422 if spoiled == "" else said(response) == KEY_WRONG


@pytest.mark.usefixtures("with_totp")
async def test_a_key_ends_with_the_password_or_the_account(desk: Desk) -> None:
    key = await mfa_key(desk)
    await desk.sql("update account set password_hash = %s", CHEAP.replace("$m=8,", "$m=16,"))
    assert said(await mfa(desk, key, code())) == KEY_WRONG
    await desk.sql("update account set password_hash = %s, state = 'suspended'", CHEAP)
    assert said(await mfa(desk, key, code())) == KEY_WRONG


@pytest.mark.usefixtures("with_totp")
async def test_a_key_lives_five_minutes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "TICKET_LIVES", timedelta(seconds=-1))
    key = await mfa_key(desk)
    words = "mfa_key expired, please request a new one at /api/auth/login."
    assert said(await mfa(desk, key, code())) == (401, {"message": words})


@pytest.mark.usefixtures("with_totp")
async def test_codes_cannot_be_tried_from_everywhere(desk: Desk) -> None:
    key = await mfa_key(desk)
    await desk.sql(SPENT, "sign-in-code", "1", 20)
    assert said(await mfa(desk, key, code())) == TOO_MANY
    await desk.sql("update token set created_ip = '192.0.2.200'")
    assert (await mfa(desk, key, code())).status_code == 200


@pytest.mark.parametrize(
    ("given", "errors"),
    [
        ({}, ["mfa_key", "otp", "device_name"]),
        ({"mfa_key": "x" * 501, "otp": "123456", "device_name": "x"}, ["mfa_key"]),
        ({"mfa_key": "x", "otp": 123456, "device_name": "x"}, ["otp"]),
        ({"mfa_key": "x", "otp": "12345", "device_name": "x"}, ["otp"]),
        ({"mfa_key": "x", "otp": "1234567", "device_name": "x"}, ["otp"]),
        ({"mfa_key": "x", "otp": "123456", "device_name": "x", "expiration": "never"}, ["expiration"]),
    ],
)
async def test_what_comes_with_a_code_is_looked_at_first(desk: Desk, given: dict[str, Any], errors: list[str]) -> None:
    response = await desk.post("/api/auth/mfa", given)
    assert (response.status_code, list(response.json()["errors"])) == (422, errors)


# --- leaving -------------------------------------------------------------------------------------------------------


async def test_t_au2_8_who_signs_out_has_no_token_any_more(desk: Desk) -> None:
    desk.token = TOKEN
    response = await desk.post("/api/auth/logout")
    assert (response.status_code, response.content) == (204, b"")
    assert said(await desk.get("app-version")) == (401, {"message": "Unauthenticated."})
    assert await desk.one("select count(*) from token where revoked_at is null") == 0


async def test_t_au2_9_an_account_is_deleted(desk: Desk, dsn: str) -> None:
    await desk.alias("one@alias.example")
    desk.token = TOKEN
    response = await desk.post("/api/auth/delete-account", {"password": PASSWORD})
    assert (response.status_code, response.content) == (204, b"")
    assert await desk.one("select state from account where id = 1") == "deleting"
    assert (await desk.get("app-version")).status_code == 401
    payload = await desk.one("select payload from job where kind = 'account_deletion'")
    database = Database(dsn, 1, 20.0, "test")
    await database.open()
    await AccountDeletion(Deletions(database))(payload)
    await database.close()
    assert await desk.sql("select from username where account_id = 1 or name = 'johndoe'") == []
    assert await desk.sql("select from account where id = %s", 1) == []


async def test_t_au2_10_accounts_that_others_sign_in_to(desk: Desk) -> None:
    await desk.sql("update account set external_auth = true")
    desk.token = TOKEN
    response = await desk.post("/api/auth/delete-account", {"password": PASSWORD})
    words = "You cannot remove account because you're using external authentication"
    assert (response.status_code, response.text) == (403, words)


@pytest.mark.parametrize("given", [{"password": "x"}, {"password": None}, {}, {"password": ["x"]}])
async def test_t_au2_11_not_without_the_password(desk: Desk, given: dict[str, Any]) -> None:
    desk.token = TOKEN
    response = await desk.post("/api/auth/delete-account", given)
    assert (response.status_code, list(response.json()["errors"])) == (422, ["password"])
    if given.get("password") == "x":
        assert response.json()["errors"] == {"password": ["The password is incorrect."]}
    assert await desk.one("select state from account where id = 1") == "active"


async def test_t_au2_12_not_without_a_token(desk: Desk) -> None:
    desk.token = "a" * 48
    response = await desk.post("/api/auth/delete-account", {"password": PASSWORD})
    assert said(response) == (401, {"message": "Unauthenticated."})
    assert await desk.one("select state from account where id = 1") == "active"


@pytest.mark.parametrize("path", ["register", "verify"])
async def test_nobody_registers_by_app(desk: Desk, path: str) -> None:
    response = await desk.post(f"/api/auth/{path}", {})
    assert said(response) == (404, {"message": f"The route api/auth/{path} could not be found."})
