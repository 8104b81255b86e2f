"""Aliases and activity by API key (haltman-api.md section 3.12)."""

import asyncio
from typing import Any

import pytest

from tests.api.haltman.conftest import MAILBOX, Desk
from tests.api.haltman.test_key_handles import ban, key_of, others_wait

NEW = {"alias_handle": "shop", "alias_domain": "alias.example"}
SHOP = "shop@alias.example"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """With the key of me@inbox.example."""
    return desk.with_key()


async def alias(desk: Desk, address: str, account: int = 2, state: str = "active") -> int:
    """One that is simply there."""
    local, _, domain = address.partition("@")
    number: int = await desk.one(
        """insert into alias (account_id, local_part, domain, state, deleted_at)
           values (%s, %s, %s, %s, case when %s = 'deleted' then now() end) returning id""",
        account,
        local,
        domain,
        state,
        state,
    )
    return number


async def addresses(desk: Desk, query: str = "") -> list[str]:
    return [item["address"] for item in (await desk.get(f"alias/list{query}")).json()["items"]]


# -- Making --------------------------------------------------------------------------------------------------------


async def test_an_alias_is_made_at_once(desk: Desk) -> None:
    answer = await desk.post("alias/create", {"alias_handle": " Shop ", "alias_domain": "Alias.Example"})
    assert (answer.status_code, answer.json()) == (
        200,
        {"ok": True, "created": True, "address": SHOP, "goto": MAILBOX},
    )
    rows = await desk.sql(
        """select a.account_id, a.state, r.address from alias a
           join alias_recipient ar on ar.alias_id = a.id join recipient r on r.id = ar.recipient_id"""
    )
    assert rows == [(2, "active", MAILBOX)]
    assert await desk.sql("select actor, action from audit where object_table = 'alias'") == [("key:1", "alias.create")]


async def test_the_query_is_as_good_as_the_body_which_wins(desk: Desk) -> None:
    answer = await desk.post("alias/create?alias_handle=shop&alias_domain=alias.example")
    assert answer.json()["address"] == SHOP
    both = await desk.post("alias/create?alias_handle=x&alias_domain=alias.example", {"alias_handle": "news"})
    assert both.json()["address"] == "news@alias.example"
    gone = await desk.post(f"alias/delete?alias={SHOP}")
    assert gone.json() == {"ok": True, "deleted": True, "alias": SHOP}


@pytest.mark.parametrize("wrong", [None, "", "a b", "sh+op", "x" * 65, 7, "b-" + "a" * 34])
async def test_a_bad_name_is_refused(desk: Desk, wrong: Any) -> None:
    answer = await desk.post("alias/create", {**NEW, "alias_handle": wrong})
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["field"]) == ("invalid_params", "alias_handle")


@pytest.mark.parametrize("wrong", [None, "", "example", "alias.example.", "xn--a.xn--b", 7])
async def test_a_bad_domain_is_refused(desk: Desk, wrong: Any) -> None:
    answer = await desk.post("alias/create", {**NEW, "alias_domain": wrong})
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["field"]) == ("invalid_params", "alias_domain")


async def test_an_address_that_is_too_long_is_refused(desk: Desk) -> None:
    domain = ".".join(["x" * 63] * 3 + ["alias"])
    answer = await desk.post("alias/create", {"alias_handle": "y" * 64, "alias_domain": domain})
    assert (answer.status_code, answer.json()["field"]) == (400, "alias_handle")


@pytest.mark.parametrize(
    "statement",
    [
        "update domain set mx_verified_at = null",
        "update domain set active = false",
        "delete from domain",
        "update domain set account_id = 2, verified_at = now()",
    ],
)
async def test_a_domain_that_takes_no_mail_takes_no_aliases(desk: Desk, statement: str) -> None:
    await desk.sql(statement)
    answer = await desk.post("alias/create", NEW)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_domain")
    assert answer.json()["field"] == "alias_domain"


async def test_a_hidden_domain_takes_aliases(desk: Desk) -> None:
    await desk.sql("update domain set visible = false")
    assert (await desk.post("alias/create", NEW)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "value"),
    [("name", "shop"), ("domain", "alias.example"), ("email", MAILBOX), ("domain", "inbox.example")],
)
async def test_what_is_banned_gets_no_alias(desk: Desk, kind: str, value: str) -> None:
    await ban(desk, kind, value)
    answer = await desk.post("alias/create", NEW)
    assert (answer.status_code, answer.json()["error"]) == (403, "banned")
    assert answer.json()["ban"]["ban_value"] == value


@pytest.mark.parametrize("kind", ["alias", "deleted", "foreign handle", "own handle", "released", "reserved"])
async def test_an_address_is_given_once(desk: Desk, kind: str) -> None:
    sent = NEW
    match kind:
        case "alias":
            await alias(desk, SHOP, 1)
        case "deleted":
            await alias(desk, SHOP, 2, "deleted")
        case "foreign handle":
            await desk.sql("insert into handle (account_id, local_part) values (1, 'shop')")
        case "own handle":
            await desk.post("handle/create", {"handle": "shop"})
        case "released":
            await desk.sql("insert into handle (local_part, state, released_at) values ('shop', 'released', now())")
        case _:
            sent = {**NEW, "alias_handle": "abuse"}
    answer = await desk.post("alias/create", sent)
    assert answer.status_code == 409
    expected = {"ok": False, "error": "alias_taken", "address": f"{sent['alias_handle']}@alias.example", "code": 409}
    assert {name: answer.json()[name] for name in expected} == expected


async def test_a_role_on_a_domain_that_takes_nothing_is_refused_for_the_domain(desk: Desk) -> None:
    answer = await desk.post("alias/create", {"alias_handle": "abuse", "alias_domain": "elsewhere.example"})
    assert (answer.status_code, answer.json()["error"], answer.json()["field"]) == (
        *(400, "invalid_domain", "alias_domain"),
    )


async def test_the_same_name_on_another_domain_is_free(desk: Desk) -> None:
    await alias(desk, SHOP, 1)
    assert (await desk.post("alias/create", {**NEW, "alias_domain": "alias2.example"})).status_code == 200


async def test_a_mailbox_here_gets_no_alias(desk: Desk) -> None:
    there = await key_of(desk, "me@sub.alias2.example", 2)
    answer = await there.post("alias/create", NEW)
    assert (answer.status_code, answer.json()["error"]) == (400, "managed_domain_not_allowed")
    assert (answer.json()["field"], answer.json()["domain"]) == ("email", "sub.alias2.example")


async def test_d_33_of_equal_creations_at_once_one_wins_and_none_is_trouble(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.post("alias/create", NEW) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]


# -- Deleting ------------------------------------------------------------------------------------------------------


async def test_a_deleted_alias_is_nobodys_again(desk: Desk) -> None:
    await desk.post("alias/create", NEW)
    answer = await desk.post("alias/delete", {"alias": " Shop@Alias.Example "})
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "deleted": True, "alias": SHOP})
    assert await desk.one("select state from alias") == "deleted"
    assert await addresses(desk) == []
    assert (await desk.post("alias/create", NEW)).json()["error"] == "alias_taken"
    assert await desk.one("select actor from audit where action = 'alias.delete'") == "key:1"


@pytest.mark.parametrize("wrong", [None, "", "shop", "@alias.example", "shop@", "a@b@alias.example", "shop@example"])
async def test_a_bad_alias_is_refused(desk: Desk, wrong: Any) -> None:
    answer = await desk.post("alias/delete", {"alias": wrong})
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["field"]) == ("invalid_params", "alias")


async def test_an_unknown_alias_is_not_found(desk: Desk) -> None:
    answer = await desk.post("alias/delete", {"alias": SHOP})
    assert (answer.status_code, answer.json()["error"], answer.json()["alias"]) == (404, "alias_not_found", SHOP)


@pytest.mark.parametrize("state", ["active", "inactive", "deleted"])
async def test_aliases_of_others_are_not_there(desk: Desk, state: str) -> None:
    await alias(desk, SHOP, 1, state)
    answer = await desk.post("alias/delete", {"alias": SHOP})
    assert (answer.status_code, answer.json()["error"]) == (404, "alias_not_found")
    assert await desk.one("select state from alias") == state


@pytest.mark.parametrize("state", ["inactive", "deleted"])
async def test_an_own_alias_that_is_not_active_says_so(desk: Desk, state: str) -> None:
    await alias(desk, SHOP, 2, state)
    answer = await desk.post("alias/delete", {"alias": SHOP})
    assert (answer.status_code, answer.json()["error"], answer.json()["alias"]) == (400, "alias_inactive", SHOP)


@pytest.mark.parametrize("change", ["state = 'inactive'", "account_id = 1"])
async def test_who_deletes_what_just_went_hears_that_it_changed(desk: Desk, change: str) -> None:
    """It was switched off, or is somebody else's by now."""
    number = await alias(desk, SHOP)
    async with desk.conn.transaction():
        await desk.sql(f"update alias set {change} where id = %s", number)
        before = await desk.one("select (state, account_id)::text from alias")
        waiting = asyncio.create_task(desk.post("alias/delete", {"alias": SHOP}))
        await others_wait(desk)
    answer = await waiting
    assert (answer.status_code, answer.json()["error"], answer.json()["alias"]) == (409, "alias_state_changed", SHOP)
    assert await desk.one("select (state, account_id)::text from alias") == before


# -- Pausing -------------------------------------------------------------------------------------------------------


async def switched(desk: Desk, act: str, address: str = SHOP) -> Any:
    """Its status, and what it says that matters."""
    answer = await desk.post(f"alias/{act}", {"alias": address})
    told = answer.json()
    return answer.status_code, told.get("error", told.get("active")), told.get("alias")


async def test_a_paused_alias_takes_mail_again_when_its_owner_wants_it(desk: Desk) -> None:
    await desk.post("alias/create", NEW)
    answer = await desk.post("alias/pause", {"alias": " Shop@Alias.Example "})
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "updated": True, "alias": SHOP, "active": False})
    assert await desk.one("select state from alias") == "inactive"
    assert [item["active"] for item in (await desk.get("alias/list")).json()["items"]] == [0]
    answer = await desk.post(f"alias/resume?alias={SHOP}")
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "updated": True, "alias": SHOP, "active": True})
    assert await desk.one("select state from alias") == "active"
    assert [one["type"] for one in (await desk.get("activity")).json()["items"]] == [
        *("alias_resume", "alias_pause", "alias_create"),
    ]


@pytest.mark.parametrize(("act", "state"), [("pause", "inactive"), ("resume", "active")])
async def test_what_is_so_already_stays_so(desk: Desk, act: str, state: str) -> None:
    await alias(desk, SHOP, 2, state)
    assert await switched(desk, act) == (200, state == "active", SHOP)
    assert await desk.sql("select from audit") == []


@pytest.mark.parametrize("act", ["pause", "resume"])
@pytest.mark.parametrize(("account", "state"), [(1, "active"), (1, "inactive"), (2, "deleted"), (None, "forgotten")])
async def test_aliases_of_others_and_deleted_ones_are_not_switched(
    desk: Desk, act: str, account: int | None, state: str
) -> None:
    await alias(desk, SHOP, account or 2, "deleted" if state == "forgotten" else state)
    if state == "forgotten":
        await desk.sql("update alias set state = 'forgotten', account_id = null, domain_id = domain_id")
    assert await switched(desk, act) == (404, "alias_not_found", SHOP)
    assert await desk.one("select state from alias") == state
    assert await switched(desk, act, "nobody@alias.example") == (404, "alias_not_found", "nobody@alias.example")


@pytest.mark.parametrize("act", ["pause", "resume"])
async def test_an_alias_for_another_mailbox_of_the_account_is_not_switched(desk: Desk, act: str) -> None:
    second = await desk.one(
        "insert into recipient (account_id, address, verified_at) values (2, 'b@inbox.example', now()) returning id"
    )
    number = await alias(desk, SHOP)
    await desk.sql("insert into alias_recipient (alias_id, recipient_id) values (%s, %s)", number, second)
    assert await switched(desk, act) == (404, "alias_not_found", SHOP)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("name", "shop"), ("domain", "alias.example"), ("email", MAILBOX), ("domain", "inbox.example")],
)
async def test_what_is_banned_may_be_paused_but_not_resumed(desk: Desk, kind: str, value: str) -> None:
    await alias(desk, SHOP)
    await ban(desk, kind, value)
    assert await switched(desk, "pause") == (200, False, SHOP)
    assert (await switched(desk, "resume"))[:2] == (403, "banned")
    assert await desk.one("select state from alias") == "inactive"
    await desk.sql("update ban set revoked_at = now()")
    assert await switched(desk, "resume") == (200, True, SHOP)


@pytest.mark.parametrize("act", ["pause", "resume"])
@pytest.mark.parametrize("wrong", [None, "", "shop", "a@b@alias.example"])
async def test_a_bad_alias_is_not_switched(desk: Desk, act: str, wrong: Any) -> None:
    answer = await desk.post(f"alias/{act}", {"alias": wrong})
    assert (answer.status_code, answer.json()["error"], answer.json()["field"]) == (400, "invalid_params", "alias")


async def test_who_resumes_what_is_just_deleted_finds_it_gone(desk: Desk) -> None:
    number = await alias(desk, SHOP, 2, "inactive")
    async with desk.conn.transaction():
        await desk.sql("update alias set state = 'deleted', deleted_at = now() where id = %s", number)
        waiting = asyncio.create_task(switched(desk, "resume"))
        await others_wait(desk)
    assert await waiting == (404, "alias_not_found", SHOP)
    assert await desk.one("select state from alias") == "deleted"


# -- What is not the key's ------------------------------------------------------------------------------------------


async def test_the_addresses_of_a_handle_are_the_handles(desk: Desk) -> None:
    """Mail made the row; ended as an alias it would end the handle there for good."""
    await desk.post("handle/create", {"handle": "jose"})
    await desk.sql(
        "insert into alias (account_id, local_part, domain, handle_id)"
        " select account_id, 'jose', 'alias.example', id from handle"
    )
    assert await addresses(desk) == []
    assert (await desk.get("alias/stats")).json()["totals"] == 0
    for act in ("delete", "pause", "resume"):
        assert (await switched(desk, act, "jose@alias.example"))[:2] == (404, "alias_not_found")
    stranger = await desk.with_key("").get("forward/unsubscribe?alias=jose@alias.example")
    assert (stranger.status_code, stranger.json()["error"]) == (404, "alias_not_found")
    assert await desk.one("select state from alias") == "active"


async def test_a_key_acts_for_an_account_while_its_mailbox_is_the_default_there(desk: Desk) -> None:
    """Who is one of several mailboxes by now ends nothing of the account's, and adds nothing to it."""
    old = await key_of(desk, "old@inbox.example", 1)
    first = await desk.one(
        "insert into recipient (account_id, address, verified_at) values (1, 'old@inbox.example', now()) returning id"
    )
    before = await desk.one("select default_recipient_id from account where id = 1")
    await desk.sql("update account set default_recipient_id = %s where id = 1", first)
    await alias(desk, SHOP, 1)
    await desk.sql("insert into alias_recipient (alias_id, recipient_id) select id, %s from alias", first)
    assert [one["address"] for one in (await old.get("alias/list")).json()["items"]] == [SHOP]
    assert (await old.post("handle/create", {"handle": "jose"})).status_code == 200
    await desk.sql("update account set default_recipient_id = %s where id = 1", before)
    assert (await old.get("alias/list")).json()["items"] == []
    for act in ("delete", "pause", "resume"):
        assert (await switched(old, act))[:2] == (404, "alias_not_found")
    assert (await old.post("handle/delete", {"handle": "jose"})).status_code == 403
    assert (await old.post("alias/create", {**NEW, "alias_handle": "news"})).status_code == 200
    assert await desk.one("select account_id <> 1 from alias where local_part = 'news'") is True


# -- Reading -------------------------------------------------------------------------------------------------------


async def test_the_list_has_the_owners_aliases_newest_first(desk: Desk) -> None:
    first = await alias(desk, "a@alias.example")
    await alias(desk, "b@alias.example", 1)
    paused = await alias(desk, "c@alias2.example", 2, "inactive")
    await alias(desk, "d@alias.example", 2, "deleted")
    answer = (await desk.get("alias/list")).json()
    assert answer["pagination"] == {"total": 2, "limit": 50, "offset": 0}
    assert [
        (item["id"], item["address"], item["goto"], item["active"], item["domain_id"]) for item in answer["items"]
    ] == [
        (paused, "c@alias2.example", MAILBOX, 0, 2),
        (first, "a@alias.example", MAILBOX, 1, 1),
    ]
    assert set(answer["items"][0]) == {"id", "address", "goto", "active", "domain_id", "created", "modified"}
    assert answer["items"][0]["created"].endswith("Z")


async def test_an_alias_for_another_mailbox_of_the_account_is_not_listed(desk: Desk) -> None:
    second = await desk.one(
        "insert into recipient (account_id, address, verified_at) values (2, 'b@inbox.example', now()) returning id"
    )
    number = await alias(desk, SHOP)
    assert await addresses(desk) == [SHOP]
    await desk.sql("insert into alias_recipient (alias_id, recipient_id) values (%s, %s)", number, second)
    assert await addresses(desk) == []
    assert (await desk.post("alias/delete", {"alias": SHOP})).status_code == 404


async def test_the_list_comes_in_pages(desk: Desk) -> None:
    for n in range(3):
        await alias(desk, f"a{n}@alias.example")
    assert await addresses(desk, "?limit=2") == ["a2@alias.example", "a1@alias.example"]
    assert await addresses(desk, "?limit=2&offset=2") == ["a0@alias.example"]
    beyond = (await desk.get("alias/list?offset=999999999999")).json()
    assert (beyond["items"], beyond["pagination"]["total"]) == ([], 3)


@pytest.mark.parametrize("path", ["alias/list", "activity"])
async def test_too_large_a_page_is_cut(desk: Desk, path: str) -> None:
    assert (await desk.get(f"{path}?limit=201")).json()["pagination"]["limit"] == 200


@pytest.mark.parametrize("path", ["alias/list", "activity"])
@pytest.mark.parametrize(
    "query",
    ["limit=", "limit=0", "limit=-1", "limit=x", "limit=1.5", "limit=1&limit=2", "offset=", "offset=-1", "offset=x"],
)
async def test_a_bad_page_is_refused(desk: Desk, path: str, query: str) -> None:
    answer = await desk.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["field"]) == ("invalid_params", query.partition("=")[0])


async def test_the_statistics_count_the_owners_aliases(desk: Desk) -> None:
    empty = (await desk.get("alias/stats")).json()
    assert empty == {"totals": 0, "active": 0, "created_last_7d": 0, "modified_last_24h": 0, "by_domain": []}
    for address in ("a@alias2.example", "b@alias2.example", "c@alias.example"):
        await alias(desk, address)
    await alias(desk, "d@alias2.example", 2, "inactive")
    await alias(desk, "e@alias.example", 2, "deleted")
    await alias(desk, "f@alias.example", 1)
    await desk.sql("alter table alias disable trigger alias_touch")
    await desk.sql("update alias set created_at = now() - interval '8 days' where local_part <> 'a'")
    await desk.sql("update alias set updated_at = now() - interval '25 hours' where local_part = 'b'")
    assert (await desk.get("alias/stats")).json() == {
        "totals": 4,
        "active": 3,
        "created_last_7d": 1,
        "modified_last_24h": 3,
        "by_domain": [
            {"domain": "alias2.example", "total": 3, "active": 2},
            {"domain": "alias.example", "total": 1, "active": 1},
        ],
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["alias/list", "alias/stats", "activity"])
async def test_reading_needs_a_key(desk: Desk, method: str, path: str) -> None:
    assert (await desk.ask(method, path)).status_code == 200
    assert (await desk.with_key("").ask(method, path)).status_code == 401


# -- The log and what it tells -------------------------------------------------------------------------------------


async def test_requests_are_logged_without_what_they_carry(desk: Desk) -> None:
    await desk.ask(
        "POST",
        "/api/Alias/create/?secret=1",
        {**NEW, "more": "secret"},
        content=None,
        User_Agent="x" * 300,
        X_Request_Id="r1",
    )
    rows = await desk.sql(
        "select token_id, owner_email, route, body, host(request_ip), length(user_agent) from api_log"
    )
    assert rows == [
        (
            1,
            MAILBOX,
            "/api/alias/create",
            {
                "operation": "alias_create",
                "status_code": 200,
                "outcome": "success",
                "request_id": "r1",
                "resource": {"alias": SHOP},
            },
            "192.0.2.1",
            255,
        )
    ]


async def test_each_operation_has_its_name_and_outcome(desk: Desk) -> None:
    await desk.get("alias/list")
    await desk.get("alias/stats")
    await desk.get("activity")
    await desk.post("alias/create", NEW)
    await desk.post("alias/create", NEW)
    await desk.post("alias/delete", {"alias": "x"})
    await desk.post("handle/create", {"handle": "jose"})
    rows = await desk.sql("select body->>'operation', body->>'outcome' from api_log order by id")
    assert rows == [
        ("alias_list", "success"),
        ("alias_stats", "success"),
        ("activity_list", "success"),
        ("alias_create", "success"),
        ("alias_create", "conflict"),
        ("alias_delete", "client_error"),
        ("handle_create", "success"),
    ]


async def test_requests_without_a_good_key_are_not_logged(desk: Desk) -> None:
    await desk.with_key("e" * 64).get("alias/list")
    assert await desk.sql("select from api_log") == []


async def test_an_answer_does_not_depend_on_the_log(desk: Desk) -> None:
    await desk.sql("alter table api_log add constraint broken check (false)")
    assert (await desk.get("alias/list")).status_code == 200


async def test_d_31_the_activity_shows_handles_and_the_right_routes(desk: Desk) -> None:
    await desk.sql(
        """insert into confirmation (intent, email, alias_name, alias_domain, code_mac, status, expires_at,
                                     confirmed_at)
           select i.intent, %s, i.name, i.domain, sha256(i.intent::bytea), 'confirmed', now(),
                  now() - i.age * interval '1 hour'
           from (values ('subscribe', 'shop', 'alias.example', 1), ('unsubscribe', 'shop', 'alias.example', 2),
                        ('handle_subscribe', 'jose', '', 3), ('handle_unsubscribe', 'jose', '', 4),
                        ('handle_domain_disable', 'jose', 'alias.example', 5),
                        ('handle_domain_enable', 'jose', 'alias.example', 6),
                        ('api_key_create', '', '', 7)) i (intent, name, domain, age)""",
        MAILBOX,
    )
    await desk.post("handle/create", {"handle": "john"})
    await desk.post("handle/domain/disable", {"handle": "john", "domain": "alias.example"})
    await desk.post("alias/create", NEW)
    await desk.post("alias/create", NEW)
    answer = (await desk.get("activity")).json()
    assert answer["pagination"] == {"limit": 50, "offset": 0}
    assert [(one["type"], one["route"], one["intent"], one["alias"]) for one in answer["items"]] == [
        ("alias_create", "/api/alias/create", None, SHOP),
        ("handle_domain_disable", "/api/handle/domain/disable", None, "john@alias.example"),
        ("handle_create", "/api/handle/create", None, "john"),
        ("confirm_subscribe", "/api/forward/confirm", "subscribe", SHOP),
        ("confirm_unsubscribe", "/api/forward/confirm", "unsubscribe", SHOP),
        ("confirm_handle_subscribe", "/api/handle/confirm", "handle_subscribe", "jose"),
        ("confirm_handle_unsubscribe", "/api/handle/unsubscribe/confirm", "handle_unsubscribe", "jose"),
        (
            "confirm_handle_domain_disable",
            "/api/handle/domain/disable/confirm",
            "handle_domain_disable",
            "jose@alias.example",
        ),
        (
            "confirm_handle_domain_enable",
            "/api/handle/domain/enable/confirm",
            "handle_domain_enable",
            "jose@alias.example",
        ),
    ]
    assert set(answer["items"][0]) == {"type", "occurred_at", "route", "intent", "alias"}
    page = (await desk.get("activity?limit=2&offset=3")).json()["items"]
    assert [one["type"] for one in page] == ["confirm_subscribe", "confirm_unsubscribe"]


async def test_the_activity_of_others_is_theirs(desk: Desk) -> None:
    await (await key_of(desk, "root@inbox.example", 1)).post("alias/create", NEW)
    assert (await desk.get("activity")).json()["items"] == []


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"alias_list_key": 2, "alias_create_key": 1}}}])
async def test_lists_share_a_limit_and_creation_has_its_own(desk: Desk) -> None:
    for path in ("alias/list", "alias/stats"):
        assert (await desk.get(path)).status_code == 200
    refused = await desk.get("activity")
    assert (refused.status_code, refused.json()["where"], refused.json()["reason"]) == (
        429,
        "alias_list",
        "too_many_requests_key",
    )
    assert (await desk.post("alias/create", NEW)).status_code == 200
    assert (await desk.post("alias/create", NEW)).json()["where"] == "alias_create"


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"alias_delete_key": 1}}}])
async def test_deleting_has_a_limit(desk: Desk) -> None:
    assert (await desk.post("alias/delete", {"alias": SHOP})).status_code == 404
    assert (await desk.post("alias/delete", {"alias": SHOP})).json()["where"] == "alias_delete"
