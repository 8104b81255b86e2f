"""haltman.ban_mx_hosts: bans of domains hit the hosts that take a mailbox's mail (haltman-api.md section 5.1)."""

from typing import Any

import httpx2
import pytest

from mailrelay.core.lookup import Answer, Mx
from tests.api.haltman.conftest import Desk

NEW = "x@new.example"
ASKED: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "3.5": ("GET", f"forward/subscribe?name=shop&domain=alias.example&to={NEW}", None),
    "3.8": ("GET", f"handle/subscribe?handle=shop&to={NEW}", None),
    "3.13": ("POST", "credentials/create", {"email": NEW, "days": 30}),
}


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> dict[str, Any]:
    wanted = getattr(request, "param", True)
    return {"haltman": {"ban_mx_hosts": wanted}}


@pytest.fixture
async def world(desk: Desk) -> Desk:
    desk.dns.answers["new.example", "MX"] = Answer((Mx(10, "mx1.throwaway.example"), Mx(20, "mx.elsewhere.example")))
    await desk.sql("insert into ban (type, value, reason) values ('domain', 'throwaway.example', 'one-day mailboxes')")
    return desk


async def ask(desk: Desk, which: str) -> httpx2.Response:
    method, path, document = ASKED[which]
    return await desk.ask(method, path, document)


@pytest.mark.parametrize("which", ASKED)
async def test_a_mailbox_behind_a_banned_host_is_banned(world: Desk, which: str) -> None:
    response = await ask(world, which)
    assert response.status_code == 403, response.text
    body = response.json()
    assert body["error"] == "banned"
    assert (body["ban"]["ban_type"], body["ban"]["ban_value"]) == ("domain", "throwaway.example")
    assert await world.one("select hits from ban") == 1
    assert await world.one("select count(*) from confirmation") == 0


@pytest.mark.parametrize("which", ASKED)
@pytest.mark.parametrize(
    "answer", [None, Answer(), Answer((Mx(10, "mx.good.example"),))], ids=["trouble", "none", "good"]
)
async def test_other_hosts_and_trouble_ban_nobody(world: Desk, which: str, answer: Answer | None) -> None:
    world.dns.answers["new.example", "MX"] = answer
    assert (await ask(world, which)).status_code == 200
    assert await world.one("select hits from ban") == 0


@pytest.mark.parametrize("which", ASKED)
@pytest.mark.parametrize("chosen", [False], indirect=True)
async def test_it_is_off_unless_somebody_wants_it(world: Desk, which: str) -> None:
    assert (await ask(world, which)).status_code == 200
    assert world.dns.asked == []


async def test_what_is_banned_itself_needs_no_dns(world: Desk) -> None:
    await world.sql("insert into ban (type, value) values ('email', %s)", NEW)
    assert (await ask(world, "3.5")).json()["ban"]["ban_type"] == "email"
    assert world.dns.asked == []
