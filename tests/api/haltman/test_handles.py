"""Handles of those who confirm by mail (haltman-api.md sections 3.2 and 3.8 to 3.10)."""

import asyncio
from typing import Any

import pytest

from tests.api.haltman.conftest import MAILBOX, Desk
from tests.api.haltman.test_key_handles import ban, others_wait

JOES = "jose@dest.example"
CLAIM = f"handle/subscribe?handle=jose&to={JOES}"
UNIFORM = {
    "unsubscribe?handle=jose": ("handle_unsubscribe", {}),
    "domain/disable?handle=jose&domain=alias.example": ("handle_disable_domain", {"domain": "alias.example"}),
    "domain/enable?handle=jose&domain=alias.example": ("handle_enable_domain", {"domain": "alias.example"}),
}
CONFIRM_PATHS = ("confirm", "unsubscribe/confirm", "domain/disable/confirm", "domain/enable/confirm")


async def claimed(desk: Desk, name: str = "jose") -> None:
    """A handle of me@inbox.example."""
    await desk.with_key().post("handle/create", {"handle": name})


async def code_for(desk: Desk, path: str) -> str:
    """What is mailed for a request."""
    assert (await desk.get(f"handle/{path}")).json()["confirmation"]["sent"] is True
    return (await desk.codes())[-1]


async def forget_windows(desk: Desk) -> None:
    """As if a minute and more had passed."""
    await desk.sql("delete from request_window")


# -- Claims --------------------------------------------------------------------------------------------------------


async def test_a_handle_is_claimed_by_a_code(desk: Desk) -> None:
    answer = await desk.get(f"handle/subscribe?handle=%20Jose&to={JOES.upper()}")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "ok": True,
            "action": "handle_subscribe",
            "handle": "jose",
            "to": JOES,
            "confirmation": {"sent": True, "ttl_minutes": 10},
        },
    )
    assert await desk.sql("select from handle") == []
    (mail,) = await desk.mails()
    assert mail.data["address"] == JOES
    assert str(mail.data["link"]).endswith(f"?token={mail.data['code']}")
    done = await desk.post("handle/confirm", {"token": mail.data["code"]})
    assert (done.status_code, done.json()) == (200, {"ok": True, "created": True, "handle": "jose", "goto": JOES})
    assert await desk.sql(
        """select h.local_part, h.state, a.implicit_mailbox, r.address, r.verified_at is not null
           from handle h join account a on a.id = h.account_id join recipient r on r.id = h.recipient_id"""
    ) == [("jose", "active", JOES, JOES, True)]
    assert await desk.sql("select actor, action from audit where object_table = 'handle'") == [
        ("public", "handle.create")
    ]


async def test_links_lead_to_the_site_that_somebody_uses(desk: Desk) -> None:
    await desk.get(CLAIM)
    await desk.get(CLAIM.replace("jose&", "joe&"), Origin="https://evil.example")
    links = [str(mail.data["link"]) for mail in await desk.mails()]
    assert all(link.startswith("https://relay.example/") for link in links)


@pytest.mark.parametrize("chosen", [{"haltman": {"confirm_page": "/console", "origins": ["https://own.example"]}}])
async def test_links_lead_to_the_page_that_was_set(desk: Desk) -> None:
    await desk.get(CLAIM, Origin="https://own.example")
    (mail,) = await desk.mails()
    assert mail.data["link"] == f"https://own.example/console?intent=handle_subscribe&token={mail.data['code']}"


async def test_a_second_claim_has_to_wait(desk: Desk) -> None:
    await desk.get(CLAIM)
    again = await desk.get(CLAIM)
    assert (again.status_code, again.json()["confirmation"]) == (
        200,
        {"sent": False, "ttl_minutes": 10, "reason": "cooldown"},
    )
    assert len(await desk.codes()) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (f"to={JOES}", "handle"),
        (f"handle=&to={JOES}", "handle"),
        (f"handle=a..b&to={JOES}", "handle"),
        (f"handle=a%2Bb&to={JOES}", "handle"),
        (f"handle=a&handle=b&to={JOES}", "handle"),
        ("handle=jose", "to"),
        ("handle=jose&to=", "to"),
        ("handle=jose&to=x", "to"),
        ("handle=jose&to=x@y", "to"),
        ("handle=a..b&to=x", "handle"),
    ],
)
async def test_a_bad_claim_is_refused(desk: Desk, query: str, field: str) -> None:
    answer = await desk.get(f"handle/subscribe?{query}")
    assert (answer.status_code, answer.json()["error"], answer.json()["field"]) == (400, "invalid_params", field)


@pytest.mark.parametrize(("kind", "value"), [("name", "jose"), ("email", JOES), ("domain", "dest.example")])
async def test_what_is_banned_cannot_be_claimed(desk: Desk, kind: str, value: str) -> None:
    await ban(desk, kind, value)
    answer = await desk.get(CLAIM)
    assert (answer.status_code, answer.json()["error"]) == (403, "banned")
    assert answer.json()["ban"] | {"banned_at": ""} == {
        "ban_type": kind,
        "ban_value": value,
        "reason": "spam",
        "banned_at": "",
    }


async def test_a_banned_name_is_told_before_a_newer_ban_of_the_mailbox(desk: Desk) -> None:
    for kind, value in (("name", "jose"), ("email", JOES), ("domain", "dest.example")):
        await ban(desk, kind, value)
    assert (await desk.get(CLAIM)).json()["ban"]["ban_type"] == "name"
    await desk.sql("delete from ban where type = 'name'")
    assert (await desk.get(CLAIM)).json()["ban"]["ban_type"] == "email"


async def test_an_alias_is_no_destination(desk: Desk) -> None:
    """Also one of a domain that is not here any more."""
    await desk.sql(
        """insert into alias (account_id, local_part, domain, state, deleted_at)
           values (1, 'jose', 'dest.example', 'deleted', now())"""
    )
    answer = await desk.get(CLAIM)
    assert (answer.status_code, answer.json()["field"], answer.json()["reason"]) == (
        400,
        "to",
        "destination_cannot_be_an_existing_alias",
    )


@pytest.mark.parametrize("domain", ["alias.example", "deep.alias2.example", "relay.example", "own.example"])
async def test_a_domain_here_has_no_destinations(desk: Desk, domain: str) -> None:
    await desk.sql("insert into domain (name, account_id, verified_at) values ('own.example', 1, now())")
    answer = await desk.get(f"handle/subscribe?handle=jose&to=me@{domain}")
    assert (answer.status_code, answer.json()["field"], answer.json()["reason"]) == (
        400,
        "to",
        "destination_cannot_use_managed_domain",
    )


@pytest.mark.parametrize("kind", ["handle", "released", "alias", "role", "role with dots"])
async def test_a_name_that_was_given_away_cannot_be_claimed(desk: Desk, kind: str) -> None:
    name = {"role": "postmaster", "role with dots": "web-master"}.get(kind, "jose")
    if kind in ("handle", "released"):
        await claimed(desk)
    if kind == "released":
        await desk.with_key().post("handle/delete", {"handle": "jose"})
    if kind == "alias":
        await desk.sql("insert into alias (account_id, local_part, domain) values (1, 'jose', 'alias2.example')")
    answer = await desk.get(f"handle/subscribe?handle={name}&to={JOES}")
    assert (answer.status_code, answer.json()["ok"], answer.json()["error"]) == (409, False, "alias_taken")
    assert await desk.codes() == []


# -- The same answer for all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNIFORM)
@pytest.mark.parametrize("state", ["active", "none", "inactive", "released", "no destination"])
async def test_d_05_nobody_learns_whether_there_is_such_a_handle(desk: Desk, path: str, state: str) -> None:
    """Byte for byte the same, first and again, and after a minute."""
    if state != "none":
        await claimed(desk)
    if state == "inactive":
        await desk.sql("update handle set state = 'inactive'")
    elif state == "released":
        await desk.with_key().post("handle/delete", {"handle": "jose"})
    elif state == "no destination":
        await desk.sql("update recipient set verified_at = null where id = 2")
    await forget_windows(desk)
    action, more = UNIFORM[path]
    head: dict[str, Any] = {"ok": True, "accepted": True, "action": action, "handle": "jose", **more}
    first = {**head, "confirmation": {"sent": True, "ttl_minutes": 10}}
    again = {**head, "confirmation": {"sent": False, "ttl_minutes": 10, "reason": "cooldown"}}
    for expected in (first, again, again):
        answer = await desk.get(f"handle/{path}")
        assert (answer.status_code, answer.json()) == (200, expected)
    assert len(await desk.codes()) == (1 if state == "active" else 0)
    await desk.sql("update job set finished_at = now()")
    await forget_windows(desk)
    assert (await desk.get(f"handle/{path}")).json() == first
    assert len(await desk.codes()) == (2 if state == "active" else 0)


@pytest.mark.parametrize("path", UNIFORM)
async def test_d_05_the_answer_comes_without_a_look_at_the_handle(desk: Desk, path: str) -> None:
    """The time it takes can tell nothing: here the table of handles cannot be read at all."""
    async with desk.conn.transaction():
        await desk.sql("lock table handle, recipient, confirmation in access exclusive mode")
        answer = await asyncio.wait_for(desk.get(f"handle/{path}"), 60)
        assert answer.json()["confirmation"]["sent"] is True


async def test_d_05_the_mail_budget_of_an_owner_is_not_told(desk: Desk) -> None:
    for n in range(8):
        await claimed(desk, f"jose{n}")
    for n in range(8):
        answer = await desk.get(f"handle/unsubscribe?handle=jose{n}")
        assert answer.json()["confirmation"] == {"sent": True, "ttl_minutes": 10}
    assert len(await desk.codes()) == 5


async def test_each_wish_waits_for_itself_only(desk: Desk) -> None:
    await claimed(desk)
    for path in (*UNIFORM, "domain/disable?handle=jose&domain=alias2.example", "unsubscribe?handle=other"):
        assert (await desk.get(f"handle/{path}")).json()["confirmation"]["sent"] is True
    assert len(await desk.codes()) == 4


async def test_a_mail_that_was_promised_is_mailed_after_trouble(desk: Desk) -> None:
    """What the worker could not do is tried again, as any of its jobs is."""
    await claimed(desk)
    await desk.sql("alter table confirmation rename to broken")
    answer = await desk.get("handle/unsubscribe?handle=jose")
    assert (answer.status_code, answer.json()["confirmation"]["sent"]) == (200, True)
    await desk.sql("alter table broken rename to confirmation")
    assert len(await desk.codes()) == 1


async def test_no_mail_is_promised_that_the_worker_does_not_hear_of(desk: Desk) -> None:
    await claimed(desk)
    await desk.sql("alter table job add constraint broken check (kind = 'notice')")
    assert (await desk.get("handle/unsubscribe?handle=jose")).status_code == 500
    await desk.sql("alter table job drop constraint broken")
    answer = await desk.get("handle/unsubscribe?handle=jose")
    assert answer.json()["confirmation"]["sent"] is True
    assert len(await desk.codes()) == 1


async def test_a_further_mailbox_of_an_account_cannot_give_its_handle_away(desk: Desk) -> None:
    """Its mail goes there, but the account is somebody's."""
    await desk.sql(
        """with further as (insert into recipient (account_id, address, verified_at)
                            values (1, 'further@inbox.example', now()) returning id)
           insert into handle (local_part, account_id, recipient_id) select 'jose', 1, id from further"""
    )
    await desk.get("handle/unsubscribe?handle=jose")
    assert await desk.codes() == []
    await desk.sql("update handle set recipient_id = null")
    await desk.get("handle/domain/disable?handle=jose&domain=alias.example")
    [code] = await desk.codes()
    await desk.sql("update handle set recipient_id = (select max(id) from recipient)")
    assert (await desk.post("handle/confirm", {"token": code})).json()["error"] == "alias_owner_changed"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("unsubscribe", "handle"),
        ("unsubscribe?handle=", "handle"),
        ("unsubscribe?handle=a+b", "handle"),
        ("unsubscribe?handle=a%2Bb", "handle"),
        ("domain/disable?domain=alias.example", "handle"),
        ("domain/disable?handle=jose", "domain"),
        ("domain/enable?handle=jose&domain=example", "domain"),
        ("domain/enable?handle=jose&domain=a.example.", "domain"),
    ],
)
async def test_a_bad_wish_is_refused(desk: Desk, path: str, field: str) -> None:
    answer = await desk.get(f"handle/{path}")
    assert (answer.status_code, answer.json()["error"], answer.json()["field"]) == (400, "invalid_params", field)


async def test_bans_of_names_and_owners_keep_nobody_from_leaving(desk: Desk) -> None:
    await claimed(desk)
    await ban(desk, "name", "jose")
    await ban(desk, "email", MAILBOX)
    code = await code_for(desk, "unsubscribe?handle=jose")
    assert (await desk.get(f"handle/confirm?token={code}")).status_code == 200


async def test_a_banned_client_hears_why(desk: Desk) -> None:
    await ban(desk, "ip", "192.0.2.1")
    answer = await desk.get("handle/unsubscribe?handle=jose")
    assert (answer.status_code, answer.json()["error"]) == (403, "banned")


# -- Codes that come back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", CONFIRM_PATHS)
async def test_all_paths_do_what_the_code_is_for(desk: Desk, method: str, path: str) -> None:
    async def confirm(code: str) -> dict[str, Any]:
        if method == "POST":
            answer = await desk.post(f"handle/{path}", {"token": f" {code} "})
        else:
            answer = await desk.get(f"handle/{path}?token={code}")
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store, private"
        found: dict[str, Any] = answer.json()
        return found

    ok = {"ok": True, "handle": "jose"}
    assert await confirm(await code_for(desk, CLAIM.removeprefix("handle/"))) == {**ok, "created": True, "goto": JOES}
    rule = {**ok, "updated": True, "domain": "foreign.example"}
    disable = await code_for(desk, "domain/disable?handle=jose&domain=foreign.example")
    assert await confirm(disable) == {**rule, "disabled": True}
    assert await desk.sql("select domain, active from handle_domain_off") == [("foreign.example", True)]
    enable = await code_for(desk, "domain/enable?handle=jose&domain=foreign.example")
    assert await confirm(enable) == {**rule, "disabled": False}
    assert await desk.sql("select domain, active from handle_domain_off") == [("foreign.example", False)]
    assert await confirm(await code_for(desk, "unsubscribe?handle=jose")) == {**ok, "updated": True, "active": False}
    assert await desk.one("select state from handle") == "released"
    assert await desk.sql("select distinct status from confirmation") == [("confirmed",)]


async def test_lifting_a_rule_that_there_is_not_is_fine(desk: Desk) -> None:
    await claimed(desk)
    code = await code_for(desk, "domain/enable?handle=jose&domain=alias.example")
    assert (await desk.get(f"handle/confirm?token={code}")).json()["disabled"] is False
    assert await desk.sql("select from handle_domain_off") == []


@pytest.mark.parametrize("path", CONFIRM_PATHS)
@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (None, "invalid_params"),
        ("", "invalid_params"),
        (" ", "invalid_params"),
        (123456, "invalid_params"),
        ("12345", "invalid_token"),
        ("1234567", "invalid_token"),
        ("12345x", "invalid_token"),
        ("\u0661\u0662\u0663\u0664\u0665\u0666", "invalid_token"),
        ("000000", "invalid_or_expired"),
    ],
)
async def test_a_wrong_code_is_refused(desk: Desk, path: str, sent: Any, error: str) -> None:
    answer = await desk.post(f"handle/{path}", {} if sent is None else {"token": sent})
    assert (answer.status_code, answer.json()["ok"], answer.json()["error"]) == (400, False, error)
    assert answer.json().get("field") == ("token" if error == "invalid_params" else None)
    if isinstance(sent, str) and sent.isascii() and sent.strip():
        assert (await desk.get(f"handle/{path}?token={sent}")).json()["error"] == error


async def test_a_code_is_good_once(desk: Desk) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    statuses = [(await desk.get(f"handle/confirm?token={code}")).status_code for _ in range(2)]
    assert statuses == [200, 400]


async def test_of_two_with_the_same_code_one_is_first(desk: Desk) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    async with desk.conn.transaction():
        await desk.sql("select from confirmation for update")
        both = [asyncio.create_task(desk.get(f"handle/confirm?token={code}")) for _ in range(2)]
        await others_wait(desk, 2)
    answers = [await one for one in both]
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    assert {answer.json().get("error") for answer in answers} == {None, "invalid_or_expired"}


async def test_an_old_code_is_none(desk: Desk) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    await desk.sql("update confirmation set expires_at = now() - interval '1 second'")
    assert (await desk.get(f"handle/confirm?token={code}")).json()["error"] == "invalid_or_expired"


async def test_a_code_for_an_alias_is_good_elsewhere(desk: Desk) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    await desk.sql("update confirmation set intent = 'subscribe', alias_domain = 'alias.example'")
    for _ in range(2):
        answer = await desk.get(f"handle/confirm?token={code}")
        assert (answer.status_code, answer.json()["ok"], answer.json()["error"], answer.json()["intent"]) == (
            400,
            False,
            "unsupported_intent",
            "subscribe",
        )
    assert await desk.one("select status from confirmation") == "pending"


@pytest.mark.parametrize(
    "change", ["alias_name = ''", "intent = 'handle_domain_disable'", "intent = 'handle_domain_enable'"]
)
async def test_a_record_that_says_too_little_is_trouble(desk: Desk, change: str) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    await desk.sql(f"update confirmation set {change}")
    answer = await desk.get(f"handle/confirm?token={code}")
    assert (answer.status_code, answer.json()["ok"], answer.json()["error"]) == (
        500,
        False,
        "confirmation_payload_missing",
    )


@pytest.mark.parametrize("kind", ["handle", "alias"])
async def test_a_name_that_was_given_away_meanwhile_is_taken(desk: Desk, kind: str) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    if kind == "handle":
        await claimed(desk)
    else:
        await desk.sql("insert into alias (account_id, local_part, domain) values (1, 'jose', 'alias.example')")
    answer = await desk.get(f"handle/confirm?token={code}")
    assert (answer.status_code, answer.json()["ok"], answer.json()["error"]) == (409, False, "alias_taken")
    assert await desk.one("select status from confirmation") == "pending"


async def test_d_33_of_claim_and_alias_at_once_one_is_made(desk: Desk) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    other = await code_for(desk, "subscribe?handle=jose&to=other@dest.example")
    made = await asyncio.gather(
        desk.get(f"handle/confirm?token={code}"),
        desk.get(f"handle/confirm?token={other}"),
        desk.with_key().post("alias/create", {"alias_handle": "jose", "alias_domain": "alias.example"}),
    )
    assert sorted(answer.status_code for answer in made) == [200, 409, 409]
    assert {answer.json()["error"] for answer in made if answer.status_code == 409} == {"alias_taken"}


async def test_d_33_who_waits_for_the_name_hears_that_it_is_taken(desk: Desk) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    async with desk.conn.transaction():
        await desk.sql("insert into handle (account_id, local_part) values (1, 'jose')")
        waiting = asyncio.create_task(desk.get(f"handle/confirm?token={code}"))
        await others_wait(desk)
    assert ((await waiting).status_code, (await waiting).json()["error"]) == (409, "alias_taken")
    assert await desk.one("select status from confirmation") == "pending"
    assert await desk.sql("select from account where implicit_mailbox = %s", JOES) == []


async def test_d_44_what_was_checked_is_checked_again(desk: Desk) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    confirm = f"handle/confirm?token={code}"
    await ban(desk, "domain", "dest.example")
    answer = await desk.get(confirm)
    assert (answer.status_code, "ok" in answer.json(), answer.json()["error"]) == (403, False, "banned")
    assert answer.json()["ban"]["ban_value"] == "dest.example"
    await desk.sql("delete from ban")
    await desk.sql("insert into domain (name) values ('dest.example')")
    managed = (await desk.get(confirm)).json()
    assert (managed["ok"], managed["field"], managed["reason"]) == (
        False,
        "to",
        "destination_cannot_use_managed_domain",
    )
    await desk.sql("delete from domain where name = 'dest.example'")
    await desk.sql("insert into alias (account_id, local_part, domain) values (1, 'jose', 'dest.example')")
    assert (await desk.get(confirm)).json()["reason"] == "destination_cannot_be_an_existing_alias"
    await desk.sql("delete from alias")
    assert (await desk.get(confirm)).json()["created"] is True


@pytest.mark.parametrize("path", UNIFORM)
async def test_d_44_a_handle_that_goes_elsewhere_by_now_is_left_alone(desk: Desk, path: str) -> None:
    await claimed(desk)
    code = await code_for(desk, path)
    other = await desk.one(
        """insert into recipient (account_id, address, verified_at) values (2, 'other@inbox.example', now())
           returning id"""
    )
    await desk.sql("update handle set recipient_id = %s", other)
    answer = await desk.get(f"handle/confirm?token={code}")
    assert (answer.status_code, answer.json()["ok"], answer.json()["error"]) == (409, False, "alias_owner_changed")
    assert await desk.one("select status from confirmation") == "pending"


@pytest.mark.parametrize("path", UNIFORM)
@pytest.mark.parametrize("state", ["inactive", "released"])
async def test_a_handle_that_is_not_active_any_more_is_not_found(desk: Desk, path: str, state: str) -> None:
    await claimed(desk)
    code = await code_for(desk, path)
    if state == "released":
        await desk.with_key().post("handle/delete", {"handle": "jose"})
    else:
        await desk.sql("update handle set state = 'inactive'")
    answer = await desk.get(f"handle/confirm?token={code}")
    assert (answer.status_code, answer.json()["ok"], answer.json()["error"]) == (404, False, "handle_not_found")
    assert await desk.one("select status from confirmation") == "pending"


async def test_mail_hears_of_a_change_at_once(desk: Desk) -> None:
    """What processes are told that decide about mail."""
    await claimed(desk)
    heard: list[str] = []
    await desk.sql("listen mailrelay")
    desk.conn.add_notify_handler(lambda told: heard.append(told.payload))
    code = await code_for(desk, "domain/disable?handle=jose&domain=alias.example")
    await desk.get(f"handle/confirm?token={code}")
    await desk.sql("select 1")
    assert "handle:1" in heard


# -- Limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "path", "where", "reason"),
    [
        ({"haltman": {"rates": {rule: 1}}}, path, where, reason)
        for rule, path, where, reason in (
            ("fwd_cycle_ip", CLAIM, "handle_subscribe", "too_many_forwarding_operations_ip"),
            ("handle_sub_ip", CLAIM, "handle_subscribe", "too_many_requests_ip"),
            ("handle_sub_to", CLAIM, "handle_subscribe", "too_many_requests_to"),
            ("handle_sub_handle", CLAIM, "handle_subscribe", "too_many_requests_handle"),
            ("handle_unsub_ip", "handle/unsubscribe?handle=x", "handle_unsubscribe", "too_many_requests_ip"),
            ("handle_unsub_handle", "handle/unsubscribe?handle=x", "handle_unsubscribe", "too_many_requests_handle"),
            ("handle_domain_ip", "handle/domain/enable", "handle_domain", "too_many_requests_ip"),
            ("handle_domain_handle", "handle/domain/disable?handle=x", "handle_domain", "too_many_requests_handle"),
            ("fwd_cycle_ip", "handle/confirm", "handle_confirm", "too_many_forwarding_operations_ip"),
            ("handle_confirm_ip", "handle/domain/enable/confirm", "handle_confirm", "too_many_requests_ip"),
            (
                "handle_confirm_token",
                "handle/unsubscribe/confirm?token=123456",
                "handle_confirm",
                "too_many_requests_token",
            ),
        )
    ],
)
async def test_requests_are_limited(desk: Desk, path: str, where: str, reason: str) -> None:
    assert (await desk.get(path)).status_code != 429
    for other in (path, path.replace("handle/", "Handle/").replace("?", "/?")):
        answer = await desk.get(other)
        assert (answer.status_code, answer.json()["error"]) == (429, "rate_limited")
        assert (answer.json()["where"], answer.json()["reason"]) == (where, reason)
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"handle_domain_handle": 1}}}])
async def test_both_rules_of_a_domain_share_their_limit(desk: Desk) -> None:
    assert (await desk.get("handle/domain/disable?handle=x&domain=alias.example")).status_code == 200
    assert (await desk.get("handle/domain/enable?handle=x&domain=alias.example")).status_code == 429


async def test_guessing_ends(desk: Desk) -> None:
    """Section 4.3: whoever tries codes that there are not."""
    errors = [(await desk.get(f"handle/confirm?token={n:06}")).json()["error"] for n in range(12)]
    assert errors == ["invalid_or_expired"] * 10 + ["rate_limited"] * 2
    answer = await desk.get("handle/confirm?token=000013")
    assert (answer.status_code, answer.json()["where"]) == (429, "handle_confirm")


async def test_d_01_head_confirms_nothing(desk: Desk) -> None:
    code = await code_for(desk, CLAIM.removeprefix("handle/"))
    assert (await desk.ask("HEAD", f"handle/confirm?token={code}")).status_code == 405
    assert await desk.one("select status from confirmation") == "pending"


async def test_d_05_nobody_learns_by_mail_that_is_held_back_whose_a_handle_is(desk: Desk) -> None:
    await desk.get(CLAIM)
    await desk.post("handle/confirm", {"token": (await desk.codes())[-1]})
    await desk.sql("delete from confirmation; delete from request_window")
    for number in range(7):
        await desk.get(f"handle/domain/disable?handle=jose&domain=d{number}.example")
    reply = await desk.post("credentials/list/request", {"email": JOES})
    assert reply.json()["confirmation"]["sent"] is True
