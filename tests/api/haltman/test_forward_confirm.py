"""A mailed code makes an alias or ends one (haltman-api.md sections 3.3 and 3.7)."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mailrelay.core.codes import TRIES
from tests.api.haltman.conftest import MAILBOX, Desk
from tests.api.haltman.test_forward_subscribe import ME, alias, error, handle, subscribe

SHOP = "shop@alias.example"


async def wanted(desk: Desk, **query: str) -> str:
    """The code that was mailed for a new alias."""
    reply = await subscribe(desk, **(query or {"name": "shop"}))
    assert reply.status_code == 200, reply.text
    return (await desk.codes())[-1]


async def unwanted(desk: Desk) -> str:
    """The code that was mailed for the end of an alias that goes to MAILBOX."""
    await alias(desk)
    assert (await desk.get(f"forward/unsubscribe?alias={SHOP}")).status_code == 200
    return (await desk.codes())[-1]


async def confirm(desk: Desk, code: str) -> Any:
    return await desk.get(f"forward/confirm?token={code}")


# --- what a code does ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_post", [False, True])
@pytest.mark.parametrize("query", [{"name": "shop"}, {"address": SHOP}])
async def test_an_alias_is_made_for_whoever_has_the_mailbox(desk: Desk, by_post: bool, query: dict[str, str]) -> None:
    code = await wanted(desk, **query)
    reply = await (desk.post("forward/confirm", {"token": code}) if by_post else confirm(desk, code))
    assert reply.status_code == 200
    expected = {"ok": True, "confirmed": True, "intent": "subscribe", "created": True, "address": SHOP, "goto": ME}
    assert reply.json() == expected
    assert reply.headers["cache-control"] == "no-store, private"
    [row] = await desk.sql(
        "select a.local_part, a.domain, a.state, acc.implicit_mailbox, r.address, r.verified_at is not null"
        " from alias a join account acc on acc.id = a.account_id join alias_recipient ar on ar.alias_id = a.id"
        " join recipient r on r.id = ar.recipient_id"
    )
    assert row == ("shop", "alias.example", "active", ME, ME, True)
    [noted] = await desk.sql("select actor, action, object_table from audit")
    assert noted == ("public", "alias.create", "alias")
    assert await desk.one("select status from confirmation") == "confirmed"
    assert await desk.one("select confirmed_at is not null from confirmation")


async def test_it_belongs_to_the_account_that_the_mailbox_has(desk: Desk) -> None:
    code = await wanted(desk, name="shop", to=MAILBOX)
    assert (await confirm(desk, code)).status_code == 200
    assert await desk.one("select account_id from alias") == 2
    assert await desk.one("select count(*) from account") == 2


async def test_an_alias_is_ended(desk: Desk) -> None:
    code = await unwanted(desk)
    reply = await confirm(desk, f"%20{code}%20")
    assert reply.status_code == 200
    expected = {"ok": True, "confirmed": True, "intent": "unsubscribe", "removed": True, "address": SHOP}
    assert reply.json() == expected
    assert await desk.one("select state from alias") == "deleted"
    assert await desk.sql("select actor, action from audit") == [("public", "alias.delete")]
    error(await subscribe(desk, name="shop"), 409, ok=False, error="alias_taken", address=SHOP)


async def test_what_is_there_already_is_said_and_the_code_used(desk: Desk) -> None:
    code = await wanted(desk, name="shop", to=MAILBOX)
    await alias(desk)
    reply = await confirm(desk, code)
    assert reply.json() == {
        "ok": True,
        "confirmed": True,
        "intent": "subscribe",
        "created": False,
        "reason": "already_exists",
        "address": SHOP,
        "goto": MAILBOX,
    }
    error(await confirm(desk, code), 400, ok=False, error="invalid_or_expired")


# --- what is no code -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "token=", "token=%20", "token=123456&token=123456"])
async def test_a_code_is_needed(desk: Desk, query: str) -> None:
    error(await desk.get(f"forward/confirm?{query}"), 400, ok=False, error="invalid_params", field="token")


@pytest.mark.parametrize(
    ("body", "rules"),
    [({}, {"isString", "minLength"}), ({"token": 123456}, {"isString"}), ({"token": ""}, {"minLength"})],
)
async def test_a_code_is_needed_in_the_body(desk: Desk, body: dict[str, Any], rules: set[str]) -> None:
    reply = await desk.post("forward/confirm?token=123456", body)
    assert reply.status_code == 400
    found = reply.json()
    assert (found["ok"], found["error"], found["field"]) == (False, "invalid_params", "token")
    assert found["constraints"].keys() >= rules


@pytest.mark.parametrize("token", ["12345", "1234567", "abcdef", "12345a", "１２３４５６", "12 456"])
async def test_a_code_has_six_digits(desk: Desk, token: str) -> None:
    error(await confirm(desk, token), 400, ok=False, error="invalid_token")
    error(await desk.post("forward/confirm", {"token": token}), 400, ok=False, error="invalid_token")


async def test_a_wrong_code(desk: Desk) -> None:
    code = await wanted(desk)
    error(await confirm(desk, f"{(int(code) + 1) % 10**6:06}"), 400, ok=False, error="invalid_or_expired")
    assert (await confirm(desk, code)).status_code == 200


async def test_a_code_that_has_expired(desk: Desk) -> None:
    code = await wanted(desk)
    await desk.sql("update confirmation set expires_at = now()")
    error(await confirm(desk, code), 400, ok=False, error="invalid_or_expired")


async def test_a_code_is_good_once(desk: Desk) -> None:
    code = await wanted(desk)
    assert (await confirm(desk, code)).status_code == 200
    error(await confirm(desk, code), 400, ok=False, error="invalid_or_expired")
    assert await desk.one("select count(*) from alias") == 1


async def test_of_many_with_one_code_one_makes_the_alias(desk: Desk) -> None:
    code = await wanted(desk)
    replies = await asyncio.gather(*(confirm(desk, code) for _ in range(6)))
    assert sorted(reply.status_code for reply in replies) == [200, *[400] * 5]
    assert {reply.json()["error"] for reply in replies if reply.status_code == 400} == {"invalid_or_expired"}
    assert await desk.one("select count(*) from alias") == 1


async def test_of_many_with_one_code_one_ends_the_alias(desk: Desk) -> None:
    code = await unwanted(desk)
    replies = await asyncio.gather(*(confirm(desk, code) for _ in range(6)))
    assert sorted(reply.status_code for reply in replies) == [200, *[400] * 5]


async def test_d_33_two_mailboxes_with_codes_for_one_address(desk: Desk) -> None:
    codes = [await wanted(desk, name="shop", to=f"p{n}@dest.example") for n in range(4)]
    replies = await asyncio.gather(*(confirm(desk, code) for code in codes))
    assert sorted(reply.status_code for reply in replies) == [200, 409, 409, 409]
    assert {reply.json()["error"] for reply in replies if reply.status_code == 409} <= {
        "alias_taken",
        "alias_owner_changed",
    }
    assert await desk.one("select count(*) from alias") == 1


@pytest.mark.parametrize(
    "intent", ["handle_subscribe", "handle_unsubscribe", "handle_domain_disable", "handle_domain_enable"]
)
async def test_a_code_of_a_handle(desk: Desk, intent: str) -> None:
    code = await wanted(desk)
    await desk.sql("update confirmation set intent = %s", intent)
    error(await confirm(desk, code), 400, ok=False, error="unsupported_intent", intent=intent)


async def test_a_request_that_lacks_something(desk: Desk) -> None:
    code = await wanted(desk)
    await desk.sql("update confirmation set alias_name = ''")
    error(await confirm(desk, code), 500, ok=False, error="confirmation_payload_missing")


# --- what has changed meanwhile: the code stays usable ------------------------------------------------------------


async def refused_then_done(desk: Desk, code: str, undo: str, status: int, **members: Any) -> None:
    """The code is refused like this, as often as it comes, and does its work when what stood against it is gone."""
    for _ in range(2):
        error(await confirm(desk, code), status, ok=False, **members)
    await desk.sql(undo)
    assert (await confirm(desk, code)).status_code == 200


@pytest.mark.parametrize("query", [{"name": "shop"}, {"address": SHOP}])
async def test_the_domain_takes_no_aliases_any_more(desk: Desk, query: dict[str, str]) -> None:
    code = await wanted(desk, **query)
    await desk.sql("update domain set active = false where name = 'alias.example'")
    undo = "update domain set active = true"
    await refused_then_done(desk, code, undo, 400, error="invalid_domain", domain="alias.example")


@pytest.mark.parametrize(
    ("kind", "value"),
    [("name", "shop"), ("domain", "alias.example"), ("email", ME), ("domain", "dest.example")],
)
async def test_it_is_banned_by_now(desk: Desk, kind: str, value: str) -> None:
    code = await wanted(desk)
    await desk.sql("insert into ban (type, value) values (%s, %s)", kind, value)
    reply = await confirm(desk, code)
    assert reply.status_code == 403
    body = reply.json()
    assert (body["ok"], body["error"], body["type"], body["value"]) == (False, "banned", kind, value)
    assert (body["ban"]["ban_type"], body["ban"]["ban_value"]) == (kind, value)
    await desk.sql("update ban set revoked_at = now()")
    assert (await confirm(desk, code)).status_code == 200


async def test_the_destination_is_at_a_domain_of_ours_by_now(desk: Desk) -> None:
    code = await wanted(desk)
    await desk.sql("insert into domain (name) values ('dest.example')")
    reason = "destination_cannot_use_managed_domain"
    undo = "delete from domain where name = 'dest.example'"
    members = {"field": "to", "reason": reason, "to": ME, "managed_domain_match": "dest.example"}
    await refused_then_done(desk, code, undo, 400, error="invalid_params", **members)


async def test_the_destination_is_an_alias_by_now(desk: Desk) -> None:
    code = await wanted(desk)
    await desk.sql("insert into domain (name, account_id) values ('dest.example', 1)")
    await alias(desk, ME, account=1)
    reply = await confirm(desk, code)
    reason = "destination_cannot_be_an_existing_alias"
    error(reply, 400, ok=False, error="invalid_params", field="to", reason=reason, to=ME)


async def test_somebody_else_has_the_address_by_now(desk: Desk) -> None:
    code = await wanted(desk)
    await alias(desk)
    error(await confirm(desk, code), 409, ok=False, error="alias_owner_changed", address=SHOP)


@pytest.mark.parametrize("state", ["deleted", "forgotten"])
async def test_the_address_was_given_up_meanwhile(desk: Desk, state: str) -> None:
    code = await wanted(desk, name="shop", to=MAILBOX)
    await alias(desk, state=state)
    error(await confirm(desk, code), 409, ok=False, error="alias_owner_changed", address=SHOP)


async def test_an_alias_of_the_same_mailbox_that_is_switched_off(desk: Desk) -> None:
    code = await wanted(desk, name="shop", to=MAILBOX)
    await alias(desk, state="inactive")
    error(await confirm(desk, code), 409, ok=False, error="alias_taken", address=SHOP)
    assert await desk.one("select state from alias") == "inactive"


@pytest.mark.parametrize("released", [False, True])
async def test_a_handle_has_the_name_by_now(desk: Desk, released: bool) -> None:
    code = await wanted(desk)
    await handle(desk, "shop", released)
    error(await confirm(desk, code), 409, ok=False, error="alias_taken", address=SHOP)


async def test_the_alias_is_not_there_any_more(desk: Desk) -> None:
    code = await unwanted(desk)
    await desk.sql("update confirmation set alias_name = 'other'")
    error(await confirm(desk, code), 404, ok=False, error="alias_not_found", address="other@alias.example")


@pytest.mark.parametrize("state", ["inactive", "deleted"])
async def test_the_alias_is_not_active_any_more(desk: Desk, state: str) -> None:
    code = await unwanted(desk)
    await desk.sql("update alias set state = %s, deleted_at = case when %s = 'deleted' then now() end", *(state, state))
    undo = "update alias set state = 'active', deleted_at = null"
    await refused_then_done(desk, code, undo, 400, error="alias_inactive", alias=SHOP)


async def test_the_alias_goes_to_somebody_else_by_now(desk: Desk) -> None:
    code = await unwanted(desk)
    await desk.sql("update alias set account_id = 1")
    await refused_then_done(
        desk, code, "update alias set account_id = 2", 409, error="alias_owner_changed", address=SHOP
    )


async def test_the_mailbox_is_only_one_of_its_owner_s_by_now(desk: Desk) -> None:
    code = await unwanted(desk)
    await desk.sql("update account set name = 'jane' where id = 2")
    await desk.sql("insert into recipient (account_id, address, verified_at) values (2, 'jane@dest.example', now())")
    await desk.sql("insert into alias_recipient (alias_id, recipient_id) select a.id, 2 from alias a")
    await desk.sql("update account set default_recipient_id = 3 where id = 2")
    undo = "update account set default_recipient_id = 2 where id = 2"
    await refused_then_done(desk, code, undo, 409, error="alias_owner_changed", address=SHOP)


# --- guessing ------------------------------------------------------------------------------------------------------


async def test_d_09_guesses_are_counted_and_right_codes_are_not(desk: Desk) -> None:
    code = await wanted(desk)
    allowed = TRIES["code"][0].requests
    wrong = f"{(int(code) + 1) % 10**6:06}"
    for _ in range(allowed):
        assert (await confirm(desk, wrong)).json()["error"] == "invalid_or_expired"
    for reply in (await confirm(desk, code), await desk.post("forward/confirm", {"token": code})):
        assert reply.status_code == 429
        body = reply.json()
        assert body["error"] == "rate_limited"
        assert (body["where"], body["reason"]) == ("confirm", "too_many_failed_attempts_ip")
        assert 0 < int(reply.headers["retry-after"]) <= 3600
    await desk.sql("delete from request_window")
    assert (await confirm(desk, code)).status_code == 200


async def test_codes_that_are_refused_for_other_reasons_are_no_guesses(desk: Desk) -> None:
    code = await wanted(desk)
    await desk.sql("update domain set active = false")
    for _ in range(TRIES["code"][0].requests + 1):
        assert (await confirm(desk, code)).json()["error"] == "invalid_domain"


async def test_tries_through_a_bot_count_for_those_behind_it(desk: Desk) -> None:
    desk.app._site = replace(desk.app._site, bot_secret="s3cret")
    for number in range(TRIES["code"][0].requests + 1):
        said = {"X_Bot_Auth_Token": "s3cret", "X_Bot_Source": f"chat:{number}"}
        assert (await desk.get("forward/confirm?token=123456", **said)).status_code == 400
