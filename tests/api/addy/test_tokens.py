"""Tokens as the original's web interface manages them (addy-api.md sections 5.6 and 6)."""

import base64
import hashlib
from typing import Any
from uuid import uuid4

import pytest
from argon2 import PasswordHasher

from tests.api.addy.conftest import HOST, Desk

PASSWORD = "correct horse"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
TOKENS = "/settings/personal-access-tokens"


@pytest.fixture(autouse=True)
async def with_password(desk: Desk) -> None:
    await desk.sql("update account set password_hash = %s", CHEAP)


async def made(desk: Desk) -> int:
    count: int = await desk.one("select count(*) from token where name = 'New'")
    return count


async def test_t_tk_1_a_token_is_made(desk: Desk) -> None:
    response = await desk.post(TOKENS, {"name": "New", "password": PASSWORD, "expiration": "week"})
    assert response.status_code == 200, response.text
    given = response.json()
    assert (
        await desk.one("select hash from token where name = 'New'")
        == hashlib.sha256(given["accessToken"].encode()).digest()
    )
    assert given["token"] == (await desk.get(TOKENS)).json()["data"][0]
    assert given["token"]["user_id"] == await desk.one("select uuid::text from account where id = 1")
    assert given["token"]["expires_at"] > given["token"]["created_at"]
    assert await desk.sql("select actor, action from audit") == [("token:1", "token.add")]


async def test_a_picture_tells_the_apps_where_and_with_what(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import segno

    told: list[str] = []
    before = segno.make_qr

    def heard(text: str) -> segno.QRCode:
        told.append(text)
        return before(text)

    monkeypatch.setattr(segno, "make_qr", heard)
    given = (await desk.post(TOKENS, {"name": "New", "password": PASSWORD})).json()
    kind, _, content = given["qrCode"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(content, validate=True)
    assert told == [f"{HOST}|{given['accessToken']}"]


async def test_t_tk_2_a_wrong_password(desk: Desk) -> None:
    response = await desk.post(TOKENS, {"name": "New", "password": "x"})
    assert response.status_code == 422
    assert response.json()["errors"] == {"password": ["Incorrect password entered"]}
    assert await made(desk) == 0


@pytest.mark.parametrize("given", [{}, {"password": None}, {"password": ""}, {"password": 7}])
async def test_t_tk_3_no_password(desk: Desk, given: dict[str, Any]) -> None:
    response = await desk.post(TOKENS, {"name": "New", **given})
    assert (response.status_code, list(response.json()["errors"])) == (422, ["password"])
    assert await made(desk) == 0


async def test_t_tk_4_accounts_that_others_sign_in_to_need_none(desk: Desk) -> None:
    await desk.sql("update account set external_auth = true, password_hash = null")
    response = await desk.post(TOKENS, {"name": "New"})
    assert response.status_code == 200
    assert response.json()["accessToken"]
    assert await made(desk) == 1


async def test_t_tk_5_a_token_is_ended(desk: Desk) -> None:
    given = (await desk.post(TOKENS, {"name": "New", "password": PASSWORD})).json()
    own = desk.token
    desk.token = given["accessToken"]
    assert (await desk.get("app-version")).status_code == 200
    desk.token = own
    path = f"{TOKENS}/{given['token']['id']}"
    assert (await desk.delete(path)).status_code == 204
    assert (await desk.delete(path)).status_code == 404
    assert [one["name"] for one in (await desk.get(TOKENS)).json()["data"]] == ["Test"]
    desk.token = given["accessToken"]
    assert (await desk.get("app-version")).status_code == 401


async def test_what_others_have_is_not_there(desk: Desk) -> None:
    await desk.sql("insert into token (account_id, kind, name, hash) values (2, 'addy', 'Foreign', sha256('x'))")
    await desk.sql(
        "insert into token (account_id, kind, name, hash, owner_email)"
        " values (1, 'api_key', 'Key', sha256('y'), 'me@inbox.example')"
    )
    assert [one["name"] for one in (await desk.get(TOKENS)).json()["data"]] == ["Test"]
    for (number,) in await desk.sql("select uuid::text from token where name in ('Foreign', 'Key')"):
        assert (await desk.delete(f"{TOKENS}/{number}")).status_code == 404
    for path in (str(uuid4()), "1", "x"):
        assert (await desk.delete(f"{TOKENS}/{path}")).status_code == 404
    assert await desk.one("select count(*) from token where revoked_at is null") == 3


async def test_a_token_does_not_help_to_guess_the_password(desk: Desk) -> None:
    for _ in range(6):
        assert (await desk.post(TOKENS, {"name": "New", "password": "x"})).status_code == 422
    assert (await desk.post(TOKENS, {"name": "New", "password": PASSWORD})).status_code == 429
