"""Asking for an alias and for its end (haltman-api.md sections 3.5 and 3.6)."""

from typing import Any

import httpx2
import pytest

from mailrelay.core.codes import MAX_PENDING
from tests.api.haltman.conftest import Desk

ME = "bob@dest.example"
NOT_LOCAL = ["a..b", ".a", "a.", "a b", "ä", "x" * 65, "a@b", '"a"']


def error(reply: httpx2.Response, status: int, **members: Any) -> dict[str, Any]:
    """The body of a refusal, which has exactly these members besides the sentence for people and the status."""
    assert reply.status_code == status, reply.text
    body: dict[str, Any] = reply.json()
    hint = body.pop("hint", None)
    assert hint is None or isinstance(hint, str)
    assert body.pop("message")
    assert body.pop("code") == status
    if status >= 500:
        assert body.pop("requestId")
    assert body == members
    return {"hint": hint}


async def subscribe(desk: Desk, **query: str) -> httpx2.Response:
    return await desk.get(f"forward/subscribe?{httpx2.QueryParams({'to': ME, **query})}")


async def alias(desk: Desk, address: str = "shop@alias.example", state: str = "active", account: int = 2) -> None:
    local, _, domain = address.partition("@")
    await desk.sql(
        "insert into alias (account_id, local_part, domain, state, deleted_at)"
        " values (%s, %s, %s, %s, case when %s in ('deleted', 'forgotten') then now() end)",
        *(None if state == "forgotten" else account, local, domain, state, state),
    )


async def handle(desk: Desk, local: str = "jose", released: bool = False) -> None:
    await desk.sql(
        "insert into handle (account_id, local_part, state, released_at)"
        " values (case when not %s then 2 end, %s, case when %s then 'released' else 'active' end,"
        " case when %s then now() end)",
        *(released, local, released, released),
    )


# --- subscribe -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "domain"),
    [
        ({"name": "shop", "domain": "alias2.example"}, "alias2.example"),
        ({"name": " Shop ", "domain": " ALIAS2.example"}, "alias2.example"),
        ({"name": "shop"}, "alias.example"),
        ({"name": "shop", "domain": " "}, "alias.example"),
        ({"address": "SHOP@alias2.example"}, "alias2.example"),
    ],
)
async def test_a_code_is_mailed_to_the_destination(desk: Desk, query: dict[str, str], domain: str) -> None:
    reply = await subscribe(desk, **query, to=" Bob@Dest.example ")
    assert reply.status_code == 200
    assert reply.json() == {
        "ok": True,
        "action": "subscribe",
        "alias_candidate": f"shop@{domain}",
        "to": ME,
        "confirmation": {"sent": True, "ttl_minutes": 10},
    }
    assert reply.headers["cache-control"] == "no-store, private"
    [mail] = await desk.mails()
    assert mail.data["address"] == ME
    assert mail.data["about"] == f"shop@{domain}"
    assert (mail.data["minutes"], mail.data["ip"], mail.data["tag"]) == (10, "192.0.2.1", "alias:create")
    assert mail.data["link"] == f"{desk.config.api.url}/confirm?token={mail.data['code']}"
    assert await desk.one("select count(*) from alias") == 0


async def test_d_10_the_code_is_nowhere_in_clear(desk: Desk) -> None:
    await subscribe(desk, name="shop")
    [code] = await desk.codes()
    for table in ("job", "confirmation", "request_window", "audit"):
        assert code not in str(await desk.sql(f"select to_jsonb(t) from {table} t"))


async def test_the_link_leads_to_the_site_that_somebody_uses(desk: Desk) -> None:
    reply = await desk.get(f"forward/subscribe?name=shop&to={ME}", Origin="https://evil.example")
    assert reply.status_code == 200
    [mail] = await desk.mails()
    assert str(mail.data["link"]).startswith(f"{desk.config.api.url}/")


@pytest.mark.parametrize(
    "chosen", [{"api": {"url": ""}}, {"api": {"url": ""}, "haltman": {"confirm_page": "/console"}}]
)
async def test_where_our_own_site_is_unknown_there_is_no_link(desk: Desk) -> None:
    """Whoever asks writes the Host header: the code would be led to them."""
    await desk.get(f"forward/subscribe?name=shop&to={ME}", Host="evil.example")
    await desk.get(f"handle/subscribe?handle=shop2&to={ME}", Host="evil.example")
    assert [mail.data["link"] for mail in await desk.mails()] == ["", ""]


@pytest.mark.parametrize("chosen", [{"haltman": {"origins": ["https://mail.own.example"], "confirm_page": "/console"}}])
async def test_the_link_leads_to_the_page_of_a_web_interface(desk: Desk) -> None:
    await desk.get(f"forward/subscribe?name=shop&to={ME}", Origin="https://mail.own.example")
    [mail] = await desk.mails()
    assert mail.data["link"] == f"https://mail.own.example/console?intent=subscribe&token={mail.data['code']}"


async def test_within_the_cooldown_no_second_mail_goes_out(desk: Desk) -> None:
    assert (await subscribe(desk, name="shop")).json()["confirmation"]["sent"] is True
    reply = await subscribe(desk, name="shop")
    assert reply.status_code == 200
    assert reply.json()["confirmation"] == {"sent": False, "ttl_minutes": 10, "reason": "cooldown"}
    # The same wish, spelt otherwise.
    assert (await subscribe(desk, address="shop@alias.example")).json()["confirmation"]["reason"] == "cooldown"
    [first] = await desk.codes()
    await desk.sql("update confirmation set last_sent_at = last_sent_at - interval '61 seconds'")
    assert (await subscribe(desk, name="shop")).json()["confirmation"]["sent"] is True
    [second] = await desk.codes()  # instead of the first, which was still to go out
    assert (await desk.get(f"forward/confirm?token={second}")).status_code == 200
    assert first == second or (await desk.get(f"forward/confirm?token={first}")).status_code == 400


async def test_d_32_a_mailbox_is_not_flooded(desk: Desk) -> None:
    for number in range(MAX_PENDING):
        assert (await subscribe(desk, name=f"shop{number}")).json()["confirmation"]["sent"] is True
    reply = await subscribe(desk, name="more")
    assert reply.json()["confirmation"] == {"sent": False, "ttl_minutes": 10, "reason": "rate_limited"}
    assert len(await desk.codes()) == MAX_PENDING


async def test_address_does_not_go_with_name(desk: Desk) -> None:
    reply = await desk.get("forward/subscribe?address=x&name=&domain=")
    error(reply, 400, error="invalid_params", field="name", reason="address_incompatible_with_name")


async def test_address_does_not_go_with_domain(desk: Desk) -> None:
    reply = await desk.get("forward/subscribe?address=x&domain=alias.example")
    error(reply, 400, error="invalid_params", field="domain", reason="address_incompatible_with_domain")


@pytest.mark.parametrize("to", ["", "to=", "to=%20", "to=a@b.example&to=c@d.example"])
async def test_a_destination_is_needed(desk: Desk, to: str) -> None:
    reply = await desk.get(f"forward/subscribe?name=a..b&{to}")
    assert error(reply, 400, error="invalid_params", field="to") == {"hint": None}


@pytest.mark.parametrize("to", ["x", "@dest.example", "x@", "x@dest", "x@y@dest.example", "x@dest.xn--p1ai", "x@1.2"])
async def test_the_destination_is_a_mailbox(desk: Desk, to: str) -> None:
    reply = await subscribe(desk, name="a..b", to=to)
    assert error(reply, 400, error="invalid_params", field="to")["hint"]


@pytest.mark.parametrize("address", ["", "shop", "shop@alias", "@alias.example", "a..b@alias.example"])
async def test_the_address_is_one(desk: Desk, address: str) -> None:
    reply = await subscribe(desk, address=address)
    assert error(reply, 400, error="invalid_params", field="address")["hint"]


@pytest.mark.parametrize("query", ["", "&name=", "&name=%20", "&name=a&name=b"])
async def test_a_name_is_needed(desk: Desk, query: str) -> None:
    reply = await desk.get(f"forward/subscribe?to={ME}&domain=no{query}")
    assert error(reply, 400, error="invalid_params", field="name") == {"hint": None}


@pytest.mark.parametrize("name", [*NOT_LOCAL, "shop+news", "b-" + "a" * 34, "srs0=abcd=ef=x.example=y"])
async def test_the_name_is_one_that_an_alias_can_have(desk: Desk, name: str) -> None:
    reply = await subscribe(desk, name=name, domain="no")
    assert error(reply, 400, error="invalid_params", field="name")["hint"]
    if name not in NOT_LOCAL:
        reply = await subscribe(desk, address=f"{name}@alias.example")
        assert error(reply, 400, error="invalid_params", field="address")["hint"]


@pytest.mark.parametrize("chosen", [{"haltman": {"default_domain": None}}])
async def test_without_a_default_domain_one_has_to_be_named(desk: Desk) -> None:
    reply = await subscribe(desk, name="shop")
    error(reply, 500, error="server_misconfigured", field="DEFAULT_ALIAS_DOMAIN")
    assert (await subscribe(desk, name="shop", domain="alias.example")).status_code == 200


@pytest.mark.parametrize("chosen", [{"haltman": {"default_domain": "alias.xn--p1ai"}}])
async def test_a_default_domain_that_is_none(desk: Desk) -> None:
    error(await subscribe(desk, name="shop"), 500, error="server_misconfigured", field="domain")


@pytest.mark.parametrize("domain", ["alias", "-a.example", "a..example", "alias.example.", "192.0.2.1"])
async def test_the_domain_is_one(desk: Desk, domain: str) -> None:
    reply = await subscribe(desk, name="shop", domain=domain)
    assert error(reply, 400, error="invalid_params", field="domain")["hint"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("name", "shop"),
        ("domain", "alias.example"),
        ("email", ME),
        ("domain", "dest.example"),
        ("domain", "mail.dest.example"),
    ],
)
async def test_bans_of_name_domain_mailbox_and_its_domain(desk: Desk, kind: str, value: str) -> None:
    await desk.sql("insert into ban (type, value, reason) values (%s, %s, 'spam')", kind, value)
    to = "bob@sub.mail.dest.example" if value == "mail.dest.example" else ME
    reply = await subscribe(desk, name="shop", to=to)
    assert reply.status_code == 403
    body = reply.json()
    assert body["error"] == "banned"
    assert body["ban"].items() >= {"ban_type": kind, "ban_value": value, "reason": "spam"}.items()
    assert "ok" not in body
    assert await desk.codes() == []


async def test_bans_come_in_their_order_and_before_the_domain(desk: Desk) -> None:
    for kind, value in (("domain", "dest.example"), ("email", ME), ("domain", "nowhere.example"), ("name", "shop")):
        await desk.sql("insert into ban (type, value) values (%s, %s)", kind, value)
    for expected in ("shop", "nowhere.example", ME, "dest.example"):
        reply = await subscribe(desk, name="shop", domain="nowhere.example")
        assert reply.json()["ban"]["ban_value"] == expected
        await desk.sql("update ban set revoked_at = now() where value = %s", expected)
    assert (await subscribe(desk, name="shop", domain="nowhere.example")).json()["error"] == "invalid_domain"


@pytest.mark.parametrize(
    "change",
    [
        "delete from domain where name = 'alias2.example'",
        "update domain set active = false where name = 'alias2.example'",
        "update domain set mx_verified_at = null where name = 'alias2.example'",
        "update domain set account_id = 1, verified_at = now() where name = 'alias2.example'",
    ],
)
async def test_a_domain_that_takes_no_aliases(desk: Desk, change: str) -> None:
    await desk.sql(change)
    reply = await subscribe(desk, name="shop", domain="alias2.example")
    assert error(reply, 400, error="invalid_domain", field="domain")["hint"]


async def test_a_hidden_domain_takes_aliases(desk: Desk) -> None:
    await desk.sql("update domain set visible = false")
    assert (await subscribe(desk, name="shop")).status_code == 200


@pytest.mark.parametrize("address", ["ceo@bank.example", "x@sub.alias.example", "x@relay.example"])
async def test_d_02_an_address_is_on_a_domain_that_takes_aliases(desk: Desk, address: str) -> None:
    assert error(await subscribe(desk, address=address), 400, error="invalid_domain", field="address")["hint"]
    assert await desk.codes() == []


@pytest.mark.parametrize("state", ["active", "inactive", "deleted", "forgotten"])
async def test_an_alias_that_is_there_in_whatever_state(desk: Desk, state: str) -> None:
    await alias(desk, state=state)
    reply = await subscribe(desk, name="shop")
    error(reply, 409, ok=False, error="alias_taken", address="shop@alias.example")


@pytest.mark.parametrize("released", [False, True])
async def test_a_handle_has_the_name_everywhere_and_for_ever(desk: Desk, released: bool) -> None:
    await handle(desk, released=released)
    for domain in ("alias.example", "alias2.example"):
        reply = await subscribe(desk, name="jose", domain=domain)
        error(reply, 409, ok=False, error="alias_taken", address=f"jose@{domain}")


@pytest.mark.parametrize("name", ["postmaster", "mail", "admin", "ssladmin", "no-reply", "noreply"])
async def test_roles_of_domains_are_nobodys(desk: Desk, name: str) -> None:
    for query in ({"name": name}, {"address": f"{name}@alias.example"}):
        reply = await subscribe(desk, **query)
        error(reply, 409, ok=False, error="alias_taken", address=f"{name}@alias.example")


@pytest.mark.parametrize("state", ["active", "inactive", "deleted", "forgotten"])
async def test_the_destination_is_no_alias(desk: Desk, state: str) -> None:
    await alias(desk, state=state)
    reason = "destination_cannot_be_an_existing_alias"
    reply = await subscribe(desk, name="x", to="shop@alias.example")
    error(reply, 400, ok=False, error="invalid_params", field="to", reason=reason, to="shop@alias.example")


@pytest.mark.parametrize(
    ("to", "match"),
    [
        ("x@alias2.example", "alias2.example"),
        ("x@a.b.alias2.example", "alias2.example"),
        ("x@own.example", "own.example"),
        ("x@relay.example", "relay.example"),
        ("x@bounces.relay.example", "bounces.relay.example"),
    ],
)
async def test_the_destination_is_at_no_domain_of_ours(desk: Desk, to: str, match: str) -> None:
    await desk.sql("insert into domain (name, account_id, verified_at) values ('own.example', 1, now())")
    reason = "destination_cannot_use_managed_domain"
    reply = await subscribe(desk, name="x", to=to)
    members = {"reason": reason, "to": to, "managed_domain_match": match}
    error(reply, 400, ok=False, error="invalid_params", field="to", **members)


async def test_nobody_keeps_others_away_by_claiming_their_domain(desk: Desk) -> None:
    await desk.sql("insert into domain (name, account_id) values ('dest.example', 1)")
    assert (await subscribe(desk, name="shop")).status_code == 200


async def test_the_destination_is_not_the_alias_itself(desk: Desk) -> None:
    reply = await subscribe(desk, name="x", to="x@alias.example")
    assert reply.status_code == 400
    assert reply.json()["reason"] == "destination_cannot_use_managed_domain"


# --- unsubscribe ---------------------------------------------------------------------------------------------------


async def test_the_end_of_an_alias_is_asked_of_its_destination(desk: Desk) -> None:
    await alias(desk)
    reply = await desk.get("forward/unsubscribe?alias=%20Shop@alias.example")
    assert reply.status_code == 200
    assert reply.json() == {
        "ok": True,
        "action": "unsubscribe",
        "alias": "shop@alias.example",
        "sent": True,
        "ttl_minutes": 10,
    }
    [mail] = await desk.mails()
    assert (mail.data["address"], mail.data["tag"]) == ("me@inbox.example", "alias:delete")
    assert await desk.one("select state from alias") == "active"
    again = (await desk.get("forward/unsubscribe?alias=shop@alias.example")).json()
    assert (again["sent"], again["reason"]) == (False, "cooldown")


async def test_d_11_no_mail_is_promised_that_the_worker_does_not_hear_of(desk: Desk) -> None:
    """What fails is asked for again at once: it did not begin the minute in which one has to wait."""
    await alias(desk)
    await desk.sql("alter table job add constraint broken check (kind = 'notice')")
    assert (await desk.get("forward/unsubscribe?alias=shop@alias.example")).status_code == 500
    await desk.sql("alter table job drop constraint broken")
    assert (await desk.get("forward/unsubscribe?alias=shop@alias.example")).json()["sent"] is True
    assert len(await desk.codes()) == 1


async def test_an_alias_that_is_gone_when_the_worker_looks_is_nobodys(desk: Desk) -> None:
    await alias(desk)
    assert (await desk.get("forward/unsubscribe?alias=shop@alias.example")).json()["sent"] is True
    await desk.sql("update alias set state = 'inactive'")
    assert await desk.codes() == []


async def test_nobody_learns_by_mail_that_is_held_back_where_an_alias_leads(desk: Desk) -> None:
    """What was mailed to the owner of an alias changes no answer about a mailbox, nor about other aliases of theirs."""
    await alias(desk)
    await desk.sql(
        """insert into alias (account_id, local_part, domain)
           select account_id, 'shop' || n, domain from alias, generate_series(1, 7) n"""
    )
    asked = [(await desk.get(f"forward/unsubscribe?alias=shop{n}@alias.example")).json() for n in range(1, 8)]
    assert [one["sent"] for one in asked] == [True] * 7
    assert len(await desk.codes()) == MAX_PENDING
    assert (await subscribe(desk, name="new")).json()["confirmation"]["sent"] is True
    reply = await desk.post("credentials/list/request", {"email": ME})
    assert reply.json()["confirmation"]["sent"] is True


async def test_the_code_goes_to_the_first_of_its_destinations(desk: Desk) -> None:
    await alias(desk, account=1)
    await desk.sql("insert into recipient (account_id, address, verified_at) values (1, 'Two@dest.example', now())")
    await desk.sql("insert into alias_recipient (alias_id, recipient_id) values (1, 3)")
    shop = "forward/unsubscribe?alias=shop@alias.example"
    # Who has one of several mailboxes of somebody's account does not end aliases for it.
    assert (await desk.get(shop)).json()["error"] == "alias_not_found"
    await desk.sql("update account set default_recipient_id = 3 where id = 1")
    assert (await desk.get(shop)).status_code == 200
    [mail] = await desk.mails()
    assert mail.data["address"] == "two@dest.example"


@pytest.mark.parametrize("sent", ["", "alias=", "alias=x", "alias=@a.example", "alias=x@", "alias=a@b@c.example"])
async def test_the_alias_is_an_address(desk: Desk, sent: str) -> None:
    error(await desk.get(f"forward/unsubscribe?{sent}"), 400, error="invalid_params", field="alias")


async def test_the_half_that_is_wrong_is_named(desk: Desk) -> None:
    reply = await desk.get("forward/unsubscribe?alias=a..b@x")
    error(reply, 400, error="invalid_params", field="alias_name")
    reply = await desk.get("forward/unsubscribe?alias=a.b@x")
    error(reply, 400, error="invalid_params", field="alias_domain")


async def test_an_alias_that_is_not_there(desk: Desk) -> None:
    reply = await desk.get("forward/unsubscribe?alias=shop@alias.example")
    error(reply, 404, error="alias_not_found", alias="shop@alias.example")


async def test_aliases_on_domains_of_people_are_nothing_to_strangers(desk: Desk) -> None:
    await desk.sql("insert into domain (name, account_id, verified_at) values ('own.example', 1, now())")
    await alias(desk, "shop@own.example", account=1)
    reply = await desk.get("forward/unsubscribe?alias=shop@own.example")
    error(reply, 404, error="alias_not_found", alias="shop@own.example")


@pytest.mark.parametrize("state", ["inactive", "deleted", "forgotten"])
async def test_an_alias_that_is_not_active(desk: Desk, state: str) -> None:
    await alias(desk, state=state)
    reply = await desk.get("forward/unsubscribe?alias=shop@alias.example")
    error(reply, 400, error="alias_inactive", alias="shop@alias.example")


async def test_an_alias_that_leads_nowhere(desk: Desk) -> None:
    await alias(desk)
    await desk.sql("update recipient set verified_at = null where account_id = 2")
    reply = await desk.get("forward/unsubscribe?alias=shop@alias.example")
    error(reply, 500, error="invalid_goto_on_alias", alias="shop@alias.example")


@pytest.mark.parametrize(("kind", "value"), [("email", "me@inbox.example"), ("domain", "inbox.example")])
async def test_d_41_who_is_banned_may_leave(desk: Desk, kind: str, value: str) -> None:
    await alias(desk)
    await desk.sql("insert into ban (type, value) values (%s, %s)", kind, value)
    assert (await desk.get("forward/unsubscribe?alias=shop@alias.example")).json()["sent"] is True
    [code] = await desk.codes()
    assert (await desk.get(f"forward/confirm?token={code}")).json()["removed"] is True


async def test_a_banned_client_asks_for_nothing(desk: Desk) -> None:
    await alias(desk)
    await desk.sql("insert into ban (type, value) values ('ip', '192.0.2.1')")
    for path in ("forward/unsubscribe?alias=shop@alias.example", f"forward/subscribe?name=x&to={ME}"):
        reply = await desk.get(path)
        assert reply.status_code == 403
        assert reply.json()["ban"]["ban_type"] == "ip"


async def test_d_11_a_mail_is_on_its_way_with_the_answer(desk: Desk) -> None:
    """Nothing is sent while somebody waits, so nothing can fail then."""
    await subscribe(desk, name="shop")
    assert await desk.one("select count(*) from job where kind = 'notice' and finished_at is null") == 1
    assert await desk.one("select count(*) from confirmation where status = 'pending'") == 1


@pytest.mark.parametrize("path", ["forward/subscribe?name=shop&to=bob@dest.example", "forward/confirm?token=123456"])
async def test_d_01_head_does_nothing(desk: Desk, path: str) -> None:
    assert (await desk.ask("HEAD", path)).status_code == 405
    assert await desk.codes() == []
