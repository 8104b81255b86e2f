"""Handles by API key (haltman-api.md section 3.11)."""

import asyncio
import hashlib
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.api.haltman.conftest import KEY, MAILBOX, Desk, later
from tests.store.world import until_waiting

OTHER_KEY = "f" * 64
PATHS = ("create", "delete", "domain/disable", "domain/enable")
RULE = {"handle": "jose", "domain": "alias.example"}


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """With the key of me@inbox.example."""
    return desk.with_key()


async def key_of(desk: Desk, mailbox: str, account: int, key: str = OTHER_KEY) -> Desk:
    """A desk with another key."""
    await desk.sql(
        "insert into token (account_id, kind, hash, owner_email, expires_at) values (%s, 'api_key', %s, %s, %s)",
        account,
        hashlib.sha256(key.encode()).digest(),
        mailbox,
        later(days=30),
    )
    return desk.with_key(key)


async def others_wait(desk: Desk, count: int = 1) -> None:
    """Returns when so many wait for what the desk's own transaction holds, in which the server would tell no news."""
    async with await AsyncConnection.connect(desk.config.database.dsn, autocommit=True) as watcher:
        await until_waiting(watcher, count)


async def ban(desk: Desk, kind: str, value: str) -> None:
    await desk.sql("insert into ban (type, value, reason) values (%s, %s, 'spam')", kind, value)


async def test_a_handle_is_made_at_once(desk: Desk) -> None:
    answer = await desk.post("handle/create", {"handle": " Jose "})
    assert (answer.status_code, answer.json()) == (
        200,
        {"ok": True, "created": True, "handle": "jose", "goto": MAILBOX},
    )
    rows = await desk.sql("select local_part, state, account_id from handle")
    assert rows == [("jose", "active", 2)]
    assert await desk.sql("select actor, action from audit where object_table = 'handle'") == [
        ("key:1", "handle.create")
    ]
    assert answer.headers["Cache-Control"] == "no-store, private"


async def test_a_form_is_as_good_as_json(desk: Desk) -> None:
    sent = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await desk.ask("POST", "handle/create", None, content=b"handle=jose", **sent)
    assert answer.json()["created"] is True


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "wrong", [None, "", "a b", "a..b", ".a", "jo+tag", "x" * 65, 7, ["jose"], "b-" + "a" * 34, "r-" + "a" * 16]
)
async def test_a_bad_handle_is_refused(desk: Desk, path: str, wrong: Any) -> None:
    document = {"domain": "alias.example"} if wrong is None else {"handle": wrong, "domain": "alias.example"}
    answer = await desk.post(f"handle/{path}?handle=jose", document)
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["field"]) == ("invalid_params", "handle")


@pytest.mark.parametrize("path", PATHS[2:])
@pytest.mark.parametrize("wrong", [None, "", "example", "a.b.1", "-a.example", "a..example", "a.example.", 7])
async def test_a_bad_domain_is_refused(desk: Desk, path: str, wrong: Any) -> None:
    document = {"handle": "jose"} if wrong is None else {"handle": "jose", "domain": wrong}
    answer = await desk.post(f"handle/{path}?domain=alias.example", document)
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["field"]) == ("invalid_params", "domain")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("key", "error"),
    [("", "missing_api_key"), ("short", "invalid_api_key_format"), (OTHER_KEY, "invalid_or_expired_api_key")],
)
async def test_a_key_is_needed(desk: Desk, path: str, key: str, error: str) -> None:
    answer = await desk.with_key(key).post(f"handle/{path}", RULE)
    assert (answer.status_code, answer.json()["error"]) == (401, error)


@pytest.mark.parametrize(("kind", "value"), [("name", "jose"), ("email", MAILBOX), ("domain", "inbox.example")])
async def test_what_is_banned_gets_no_handle(desk: Desk, kind: str, value: str) -> None:
    await ban(desk, kind, value)
    answer = await desk.post("handle/create", {"handle": "jose"})
    assert (answer.status_code, answer.json()["error"]) == (403, "banned")
    assert answer.json()["ban"]["ban_value"] == value


@pytest.mark.parametrize("kind", ["handle", "released", "alias", "deleted", "reserved"])
async def test_a_name_is_given_once(desk: Desk, kind: str) -> None:
    state = "state, deleted_at) values (1, 'jose', 'alias2.example', 'deleted', now())"
    statements = {
        "handle": "insert into handle (account_id, local_part) values (1, 'jose')",
        "released": "insert into handle (local_part, state, released_at) values ('jose', 'released', now())",
        "alias": "insert into alias (account_id, local_part, domain) values (1, 'jose', 'alias2.example')",
        "deleted": f"insert into alias (account_id, local_part, domain, {state}",
        "reserved": "select 1",
    }
    await desk.sql(statements[kind])
    answer = await desk.post("handle/create", {"handle": "postmaster" if kind == "reserved" else "jose"})
    assert answer.status_code == 409
    assert (answer.json()["ok"], answer.json()["error"]) == (False, "alias_taken")


@pytest.mark.parametrize("owner", ["me@alias.example", "me@deep.alias2.example", "me@relay.example"])
async def test_a_mailbox_here_gets_no_handle(desk: Desk, owner: str) -> None:
    there = await key_of(desk, owner, 2)
    answer = await there.post("handle/create", {"handle": "jose"})
    assert (answer.status_code, answer.json()["error"]) == (400, "managed_domain_not_allowed")
    assert (answer.json()["field"], answer.json()["domain"]) == (
        "email",
        owner.removeprefix("me@"),
    )


async def test_d_33_of_alias_and_handle_of_one_name_one_is_made(desk: Desk) -> None:
    """Both at once, several times: whoever is second hears that it is taken, never of trouble."""
    for n in range(8):
        answers = await asyncio.gather(
            desk.post("handle/create", {"handle": f"jose{n}"}),
            desk.post("alias/create", {"alias_handle": f"jose{n}", "alias_domain": "alias.example"}),
            desk.post("handle/create", {"handle": f"jose{n}"}),
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 409, 409]
        assert {answer.json()["error"] for answer in answers if answer.status_code == 409} == {"alias_taken"}
    handles = await desk.one("select count(*) from handle")
    assert handles + await desk.one("select count(*) from alias") == 8


async def test_a_handle_is_released_for_ever(desk: Desk) -> None:
    await desk.post("handle/create", {"handle": "jose"})
    answer = await desk.post("handle/delete", {"handle": "jose"})
    assert (answer.status_code, answer.json()) == (
        200,
        {"ok": True, "updated": True, "handle": "jose", "active": False},
    )
    assert await desk.sql("select state, account_id, recipient_id, released_at is not null from handle") == [
        ("released", None, None, True)
    ]
    assert (await desk.post("handle/create", {"handle": "jose"})).json()["error"] == "alias_taken"
    again = await desk.post("handle/delete", {"handle": "jose"})
    assert (again.status_code, again.json()["error"]) == (404, "handle_not_found")


async def test_a_rule_is_set_and_lifted(desk: Desk) -> None:
    await desk.post("handle/create", {"handle": "jose"})
    for path, disabled in (("enable", False), ("disable", True), ("disable", True), ("enable", False)):
        answer = await desk.post(f"handle/domain/{path}", {"handle": "jose", "domain": " Foreign.Example "})
        assert (answer.status_code, answer.json()) == (
            200,
            {"ok": True, "updated": True, "handle": "jose", "domain": "foreign.example", "disabled": disabled},
        )
        rules = await desk.sql("select domain from handle_domain_off where active")
        assert rules == ([("foreign.example",)] if disabled else [])
    assert await desk.sql("select domain, active from handle_domain_off") == [("foreign.example", False)]


@pytest.mark.parametrize("path", PATHS[1:])
@pytest.mark.parametrize("state", ["none", "inactive", "released"])
async def test_only_active_handles_are_there(desk: Desk, path: str, state: str) -> None:
    if state == "inactive":
        await desk.sql("insert into handle (account_id, local_part, state) values (2, 'jose', 'inactive')")
    elif state == "released":
        await desk.sql("insert into handle (local_part, state, released_at) values ('jose', 'released', now())")
    answer = await desk.post(f"handle/{path}", RULE)
    assert (answer.status_code, answer.json()["error"]) == (404, "handle_not_found")


@pytest.mark.parametrize("path", PATHS[1:])
async def test_handles_of_others_are_left_alone(desk: Desk, path: str) -> None:
    await desk.sql("insert into handle (account_id, local_part) values (1, 'jose')")
    answer = await desk.post(f"handle/{path}", RULE)
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert await desk.sql("select state from handle") == [("active",)]
    assert await desk.sql("select * from handle_domain_off") == []


async def test_a_handle_of_the_same_account_for_another_mailbox_is_not_the_keys(desk: Desk) -> None:
    """A key acts for its mailbox, not for all that its account has; and for the account only if it is its default."""
    second = await desk.one(
        """insert into recipient (account_id, address, verified_at) values (1, 'second@inbox.example', now())
           returning id"""
    )
    await desk.sql("insert into handle (account_id, local_part, recipient_id) values (1, 'jose', %s)", second)
    roots = await key_of(desk, "root@inbox.example", 1)
    assert (await roots.post("handle/delete", {"handle": "jose"})).status_code == 403
    seconds = await key_of(desk, "second@inbox.example", 1, "e" * 64)
    assert (await seconds.post("handle/delete", {"handle": "jose"})).status_code == 403


async def test_a_key_of_a_named_account_reaches_what_the_mailbox_has_by_itself(desk: Desk) -> None:
    """Whoever has the mailbox confirmed by mail, before they had an account or beside it."""
    named = await desk.one("insert into account (name) values ('johndoe') returning id")
    await desk.sql("insert into recipient (account_id, address, verified_at) values (%s, %s, now())", named, MAILBOX)
    await desk.sql(
        """update account set default_recipient_id = (select id from recipient where account_id = %s) where id = %s""",
        *(named, named),
    )
    await desk.post("handle/create", {"handle": "jose"})
    johns = await key_of(desk, MAILBOX, named)
    assert (await johns.post("handle/domain/disable", RULE)).status_code == 200
    made = await johns.post("handle/create", {"handle": "john"})
    assert made.json()["goto"] == MAILBOX
    assert await desk.one("select account_id from handle where local_part = 'john'") == named


async def test_a_key_whose_account_lost_the_mailbox_makes_things_for_the_mailbox_itself(desk: Desk) -> None:
    johns = await key_of(desk, "john@inbox.example", 1)
    assert (await johns.post("handle/create", {"handle": "john"})).json()["goto"] == "john@inbox.example"
    owner = await desk.one("select a.implicit_mailbox from handle h join account a on a.id = h.account_id")
    assert owner == "john@inbox.example"
    assert (await johns.post("handle/delete", {"handle": "john"})).status_code == 200


async def test_the_list_has_the_owners_handles_and_their_rules(desk: Desk) -> None:
    assert (await desk.get("handle/list")).json() == {
        "items": [],
        "pagination": {"total": 0, "limit": 50, "offset": 0},
    }
    await desk.sql("insert into handle (account_id, local_part) values (1, 'root')")
    for name in ("jose", "joe", "gone"):
        await desk.post("handle/create", {"handle": name})
    await desk.post("handle/delete", {"handle": "gone"})
    for domain in ("b.example", "a.example", "c.example"):
        await desk.post("handle/domain/disable", {"handle": "jose", "domain": domain})
    await desk.post("handle/domain/enable", {"handle": "jose", "domain": "c.example"})
    await desk.sql("update handle set state = 'inactive' where local_part = 'joe'")
    answer = (await desk.get("handle/list")).json()
    assert answer["pagination"]["total"] == 2
    assert [(one["handle"], one["goto"], one["active"], one["disabled_domains"]) for one in answer["items"]] == [
        ("joe", MAILBOX, 0, []),
        ("jose", MAILBOX, 1, ["a.example", "b.example"]),
    ]
    second = (await desk.get("handle/list?limit=1&offset=1")).json()
    assert [one["handle"] for one in second["items"]] == ["jose"]
    assert set(second["items"][0]) == {"id", "handle", "goto", "active", "disabled_domains", "created", "modified"}
    wrong = await desk.get("handle/list?limit=0")
    assert (wrong.status_code, wrong.json()["field"]) == (400, "limit")
    assert (await desk.with_key("").get("handle/list")).status_code == 401


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"handle_list_key": 1}}}])
async def test_the_list_has_a_limit_of_its_own(desk: Desk) -> None:
    assert (await desk.get("handle/list")).status_code == 200
    assert (await desk.get("handle/list")).json()["where"] == "handle_list"


async def test_of_two_releases_one_finds_the_handle(desk: Desk) -> None:
    await desk.post("handle/create", {"handle": "jose"})
    async with desk.conn.transaction():
        await desk.sql("select from handle for update")
        both = [asyncio.create_task(desk.post("handle/delete", {"handle": "jose"})) for _ in range(2)]
        await others_wait(desk, 2)
    assert sorted([(await one).status_code for one in both]) == [200, 404]


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"handle_create_key": 2, "handle_domain_key": 1}}}])
async def test_each_key_has_its_own_limits(desk: Desk) -> None:
    statuses = [(await desk.post("handle/create", {"handle": f"j{n}"})).status_code for n in range(3)]
    assert statuses == [200, 200, 429]
    refused = await desk.post("handle/create", {"handle": "j3"})
    assert (refused.json()["where"], refused.json()["reason"]) == ("handle_create", "too_many_requests_key")
    other = await key_of(desk, MAILBOX, 2)
    assert (await other.post("handle/create", {"handle": "j4"})).status_code == 200
    assert (await desk.post("handle/domain/disable", RULE)).status_code == 404
    shared = await desk.post("handle/domain/enable", RULE)
    assert (shared.status_code, shared.json()["where"]) == (429, "handle_domain")


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"handle_delete_key": 1}}}])
async def test_deleting_has_a_limit_of_its_own(desk: Desk) -> None:
    assert [(await desk.post("handle/delete", RULE)).status_code for _ in range(2)] == [404, 429]


async def test_a_key_is_told_apart_whatever_its_spelling(desk: Desk) -> None:
    assert (await desk.with_key(f" {KEY.upper()} ").post("handle/create", {"handle": "jose"})).status_code == 200
