"""The page behind the links of mails with codes: people press its button, programs that look into mail do not."""

from typing import Any

import httpx2
import pytest

from mailrelay.api import app
from mailrelay.core.codes import TRIES
from tests.api.haltman.conftest import Desk
from tests.api.haltman.test_forward_confirm import SHOP, confirm, unwanted, wanted
from tests.api.haltman.test_forward_subscribe import ME

FORM = {"Content_Type": "application/x-www-form-urlencoded", "Accept": "text/html"}


async def press(desk: Desk, code: str) -> httpx2.Response:
    return await desk.ask("POST", "/confirm", content=f"token={code}".encode(), **FORM)


def page(reply: httpx2.Response, status: int = 200) -> str:
    """A page with the headers that it has to have."""
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["cache-control"].startswith("no-store")
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "form-action 'self'" in reply.headers["content-security-policy"]
    assert reply.headers["x-frame-options"] == "DENY"
    assert "noindex" in reply.headers["x-robots-tag"]
    return reply.text


async def test_the_link_of_the_mail_shows_what_will_happen(desk: Desk) -> None:
    code = await wanted(desk)
    [mail] = await desk.mails()
    text = page(await desk.get(str(mail.data["link"]).removeprefix(desk.config.api.url)))
    assert "Create this alias?" in text
    assert SHOP in text
    assert ME in text
    assert '<form method="post" action="/confirm">' in text
    assert f'name="token" value="{code}"' in text
    assert "<script" not in text


async def test_d_40_who_only_looks_does_nothing(desk: Desk) -> None:
    code = await wanted(desk)
    for method in ("GET", "HEAD", "GET"):
        assert (await desk.ask(method, f"/confirm?token={code}")).status_code == 200
    assert await desk.one("select status from confirmation") == "pending"
    assert await desk.one("select count(*) from alias") == 0


async def test_the_button_makes_the_alias_once(desk: Desk) -> None:
    code = await wanted(desk)
    text = page(await press(desk, code))
    assert "The alias is there" in text
    assert SHOP in text
    assert "<form" not in text
    assert await desk.one("select state from alias") == "active"
    assert "<form" not in page(await press(desk, code), 400)
    assert "<form" not in page(await desk.get(f"/confirm?token={code}"), 400)


async def test_the_button_ends_the_alias(desk: Desk) -> None:
    code = await unwanted(desk)
    assert "Deactivate this alias?" in page(await desk.get(f"/confirm?token={code}"))
    assert "The alias is deactivated" in page(await press(desk, code))
    assert await desk.one("select state from alias") == "deleted"


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("subscribe?handle=jose&to=me@inbox.example", "Create this handle?", "The handle is there"),
        ("unsubscribe?handle=held", "Deactivate this handle?", "The handle is deactivated"),
        ("domain/disable?handle=held&domain=alias.example", "Refuse mail there?", "Mail is refused there"),
        (
            "domain/enable?handle=held&domain=alias.example",
            "Forward mail there again?",
            "Mail is forwarded there again",
        ),
    ],
)
async def test_d_40_the_button_does_what_codes_of_handles_are_for(
    desk: Desk, path: str, before: str, after: str
) -> None:
    await desk.sql("insert into handle (account_id, local_part, recipient_id) values (2, 'held', 2)")
    assert (await desk.get(f"handle/{path}")).status_code == 200
    [mail] = await desk.mails()
    assert str(mail.data["link"]).startswith(f"{desk.config.api.url}/confirm?token=")
    assert before in page(await desk.get(f"/confirm?token={mail.data['code']}"))
    assert await desk.one("select status from confirmation") == "pending"
    assert after in page(await press(desk, str(mail.data["code"])))
    assert await desk.one("select status from confirmation") == "confirmed"


async def test_what_has_changed_meanwhile_is_said_and_the_code_stays(desk: Desk) -> None:
    code = await wanted(desk)
    await desk.sql("update domain set active = false")
    assert "New addresses cannot be made on this domain." in page(await press(desk, code), 400)
    await desk.sql("update domain set active = true")
    page(await press(desk, code))


@pytest.mark.parametrize("query", ["", "?token=", "?token=12345", "?token=<script>", "?token=1&token=2"])
async def test_links_without_a_code(desk: Desk, query: str) -> None:
    text = page(await desk.get(f"/confirm{query}"), 400)
    assert "six digits" in text
    assert "<script" not in text


async def test_a_wrong_code(desk: Desk) -> None:
    assert "Ask for a new one" in page(await desk.get("/confirm?token=123456"), 400)
    assert "Ask for a new one" in page(await press(desk, "123456"), 400)


async def test_codes_of_others_are_unknown_here(desk: Desk) -> None:
    code = await wanted(desk)
    await desk.sql("update confirmation set code_mac = sha256(code_mac), intent = 'api_key_list'")
    page(await desk.get(f"/confirm?token={code}"), 400)


async def test_what_people_typed_is_shown_as_text(desk: Desk) -> None:
    code = await wanted(desk, name="'x&y'")
    text = page(await desk.get(f"/confirm?token={code}"))
    assert "&#39;x&amp;y&#39;@alias.example" in text


async def test_d_09_looks_are_tries_as_well(desk: Desk) -> None:
    """Here and at the endpoint together."""
    code = await wanted(desk)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    for number in range(TRIES["code"][0].requests):
        await (desk.get(f"/confirm?token={wrong}") if number % 2 else confirm(desk, wrong))
    for reply in (await desk.get(f"/confirm?token={code}"), await press(desk, code)):
        assert "Too many requests" in page(reply, 429)
        assert int(reply.headers["retry-after"]) > 0
    assert (await confirm(desk, code)).status_code == 429


def rates(**limits: int) -> dict[str, Any]:
    return {"haltman": {"rates": limits}}


@pytest.mark.parametrize("chosen", [rates(fwd_cycle_ip=2), rates(confirm_ip=2), rates(confirm_token=2)])
async def test_d_01_the_page_is_no_way_around_the_limits(desk: Desk) -> None:
    for _ in range(2):
        assert (await confirm(desk, "123456")).status_code == 400
    page(await press(desk, "123456"), 429)


@pytest.mark.parametrize("chosen", [rates(fwd_cycle_ip=1)])
async def test_a_look_is_no_operation(desk: Desk) -> None:
    for _ in range(3):
        page(await desk.get("/confirm?token=123456"), 400)


async def test_a_banned_client_sees_a_page_that_says_so(desk: Desk) -> None:
    await desk.sql("insert into ban (type, value) values ('ip', '192.0.2.1')")
    assert "has banned this" in page(await desk.get("/confirm?token=123456"), 403)


async def test_our_own_trouble_is_told_on_a_page(desk: Desk) -> None:
    code = await wanted(desk)
    await desk.sql("alter table confirmation rename to gone")
    text = page(await press(desk, code), 500)
    assert "Something went wrong here" in text
    assert "relation" not in text


async def test_the_page_is_beside_the_api_and_not_in_its_document(desk: Desk) -> None:
    site = app.build(dict, apis=desk.app)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=site), base_url="https://relay.example") as client:
        page(await client.get("/confirm?token=123456"), 400)
        assert (await client.get("/confirmed")).status_code == 404
    document = (await desk.get("openapi.json")).json()
    assert "/confirm" not in document["paths"]
    assert "/api/forward/confirm" in document["paths"]
