"""The page behind the link in mails about what an administrator made: its button has a code mailed, a look does not."""

import httpx2
import pytest

from tests.api.haltman.conftest import Desk
from tests.api.haltman.test_confirm_page import FORM, page

SALES = "sales@alias.example"
DEST = "x@dest.example"


async def made(desk: Desk, kind: str) -> str:
    """The path of the link in the mail about a new alias or handle."""
    admin = await desk.admin()
    if kind == "alias":
        answer = await admin.post("admin/aliases", {"address": SALES, "goto": DEST})
    else:
        answer = await admin.post("admin/handles", {"handle": "jose", "address": DEST})
    assert answer.status_code == 201, answer.text
    link = (await desk.mails())[-1].data["link"]
    return str(link).removeprefix(desk.config.api.url)


async def press(desk: Desk, path: str, content: str) -> httpx2.Response:
    return await desk.ask("POST", path.partition("?")[0], content=content.encode(), **FORM)


@pytest.mark.parametrize(("kind", "about"), [("alias", SALES), ("handle", "jose")])
async def test_what_an_administrator_made_ends_by_its_owner(desk: Desk, kind: str, about: str) -> None:
    path = await made(desk, kind)
    for method in ("GET", "HEAD", "GET"):
        looked = await desk.ask(method, path)
        assert looked.status_code == 200
    text = page(looked)
    assert f"Do you not want this {kind}?" in text
    assert f'name="{kind}" value="{about}"' in text
    assert await desk.codes() == []
    assert "Look into your mailbox" in page(await press(desk, path, f"{kind}={about}"))
    [code] = await desk.codes()
    page(await desk.ask("POST", "/confirm", content=f"token={code}".encode(), **FORM))
    assert await desk.one(f"select state from {kind}") != "active"


@pytest.mark.parametrize("kind", ["alias", "handle"])
async def test_a_look_tells_nothing_of_what_there_is(desk: Desk, kind: str) -> None:
    path = await made(desk, kind)
    there = page(await desk.get(path))
    about, other = (SALES, "other@alias.example") if kind == "alias" else ("jose", "other")
    absent = page(await desk.get(f"/api/remove/{kind}?{kind}={other}"))
    assert absent == there.replace(about, other)


@pytest.mark.parametrize(
    "path", ["alias", "alias?alias=", "alias?alias=%3Cscript%3E@x", "handle", "handle?handle=a+b", "handle?alias=x"]
)
async def test_a_link_that_names_nothing(desk: Desk, path: str) -> None:
    text = page(await desk.get(f"/api/remove/{path}"), 400)
    assert "<form" not in text
    assert "<script" not in text
    page(await press(desk, f"/api/remove/{path}", ""), 400)


async def test_an_alias_that_there_is_not(desk: Desk) -> None:
    assert "There is no such alias." in page(await press(desk, "/api/remove/alias", f"alias={SALES}"), 404)


@pytest.mark.parametrize("chosen", [{"haltman": {"rates": {"unsub_addr": 1}}}])
async def test_the_button_has_the_limits_of_the_api(desk: Desk) -> None:
    path = await made(desk, "alias")
    page(await press(desk, path, f"alias={SALES}"))
    assert (await desk.get(f"forward/unsubscribe?alias={SALES}")).json()["error"] == "rate_limited"
    page(await press(desk, path, f"alias={SALES}"), 429)
    page(await desk.get(path))


async def test_the_button_may_be_pressed_again_when_there_was_no_mail(desk: Desk) -> None:
    """Within the minute nothing is mailed, and nothing else is said."""
    path = await made(desk, "alias")
    first = page(await press(desk, path, f"alias={SALES}"))
    assert page(await press(desk, path, f"alias={SALES}")) == first
    assert len(await desk.codes()) == 1
