"""Bans in the addy.io API: of clients at its gate, of what accounts want to add (haltman-api.md section 5.3)."""

from typing import Any

import pytest

from mailrelay.core.facts import AccountId
from mailrelay.core.lookup import Answer, Mx
from mailrelay.core.ownership import proof
from mailrelay.keyring import read_secret
from tests.api.addy.conftest import Desk
from tests.api.addy.parentdesk import errors

BANNED = (403, {"message": "Requests from your network are not accepted."})
CLIENT, AROUND = "192.0.2.1", "192.0.2.0/24"  # of the desk


async def ban(desk: Desk, kind: str, value: str, scope: str = "both") -> None:
    await desk.sql("insert into ban (type, value, scope) values (%s, %s, %s)", kind, value, scope)


async def hits(desk: Desk) -> Any:
    return await desk.one("select sum(hits) from ban")


@pytest.mark.parametrize(
    ("path", "token"), [("api-token-details", None), ("api-token-details", "x" * 48), ("recipients", "")]
)
@pytest.mark.parametrize("value", [CLIENT, AROUND])
async def test_a_banned_client_does_nothing(desk: Desk, path: str, token: str | None, value: str) -> None:
    await ban(desk, "ip", value)
    if token != "":
        desk.token = token
    response = await desk.get(path)
    assert (response.status_code, response.json()) == BANNED
    assert await hits(desk) == 1
    assert await desk.one("select count(*) from request_window") == 0
    assert await desk.one("select last_used_at from token") is None


async def test_a_banned_client_cannot_sign_in(desk: Desk) -> None:
    await ban(desk, "ip", CLIENT)
    desk.token = None
    response = await desk.post("/api/auth/login", {"username": "johndoe", "password": "x", "device_name": "x"})
    assert (response.status_code, response.json()) == BANNED


@pytest.mark.parametrize(
    "how",
    [
        "insert into ban (type, value) values ('ip', '198.51.100.0/24')",
        "insert into ban (type, value, revoked_at) values ('ip', '192.0.2.1', now())",
        "insert into ban (type, value, expires_at) values ('ip', '192.0.2.1', now())",
    ],
)
async def test_other_bans_stop_nobody(desk: Desk, how: str) -> None:
    await desk.sql(how)
    assert (await desk.get("recipients")).status_code == 200
    assert await hits(desk) == 0


@pytest.mark.parametrize(
    ("kind", "value", "scope", "status"),
    [
        ("email", "new@bad.example", "both", 422),
        ("email", "other@bad.example", "both", 201),
        ("domain", "bad.example", "destination", 422),
        ("domain", "bad.example", "sender", 201),
    ],
)
async def test_banned_mailboxes_are_no_recipients(desk: Desk, kind: str, value: str, scope: str, status: int) -> None:
    await ban(desk, kind, value, scope)
    desk.dns.answers["bad.example", "MX"] = Answer((Mx(10, "mx.bad.example"),))
    response = await desk.post("recipients", {"email": "new@bad.example"})
    assert response.status_code == status
    if status == 422:
        assert errors(response) == {"email": ["The recipient cannot use that email or domain."]}
        assert await desk.one("select count(*) from recipient where address like 'new@%%'") == 0
    assert await hits(desk) == (status == 422)


async def test_a_recipient_that_is_there_is_said_to_be_there_even_if_it_is_banned(desk: Desk) -> None:
    await ban(desk, "email", "me@inbox.example")
    desk.dns.answers["inbox.example", "MX"] = Answer((Mx(10, "mx.inbox.example"),))
    response = await desk.post("recipients", {"email": "me@inbox.example"})
    assert "already exists" in response.text


async def bring(desk: Desk, tmp_path: Any, name: str) -> Any:
    key = read_secret(tmp_path / "secrets", "ownership.key")[0]
    desk.dns.txt(name, proof(key, AccountId(desk.account), name))
    return await desk.post("domains", {"domain": name})


@pytest.mark.parametrize("value", ["own.example", "shop.own.example"])
async def test_banned_domains_do_not_come_here(desk: Desk, tmp_path: Any, value: str) -> None:
    await ban(desk, "domain", value)
    response = await bring(desk, tmp_path, "shop.own.example")
    assert response.status_code == 422
    assert errors(response) == {"domain": ["The domain cannot be used here."]}
    assert await hits(desk) == 1
    await desk.sql("update ban set revoked_at = now()")
    assert (await bring(desk, tmp_path, "shop.own.example")).status_code == 201


async def test_banned_names_are_taken_and_counted(desk: Desk) -> None:
    await ban(desk, "name", "paypal", "sender")
    asked = {"domain": "johndoe.alias.example", "format": "custom", "local_part": "paypal"}
    response = await desk.post("aliases", asked)
    assert response.status_code == 422
    assert await hits(desk) == 1
    assert (await desk.post("aliases", {**asked, "local_part": "paypall"})).status_code == 201


@pytest.mark.parametrize("domain", ["alias.example", "johndoe.alias.example"])
@pytest.mark.parametrize("format", ["random_characters", "custom"])
async def test_nobody_makes_aliases_on_banned_domains(desk: Desk, domain: str, format: str) -> None:
    await ban(desk, "domain", "alias.example")
    response = await desk.post("aliases", {"domain": domain, "format": format, "local_part": "shop"})
    assert response.status_code == 422
    assert errors(response)["domain"] == ["The selected domain is invalid."]
    assert await hits(desk) == 1
    assert (await desk.post("aliases", {"domain": "alias2.example"})).status_code == 201


class TestHosts:
    """haltman.ban_mx_hosts"""

    @pytest.fixture
    def chosen(self) -> dict[str, Any]:
        return {"haltman": {"ban_mx_hosts": True}}

    async def test_a_mailbox_whose_mail_goes_to_a_banned_host_is_no_recipient(self, desk: Desk) -> None:
        desk.dns.answers["new.example", "MX"] = Answer((Mx(10, "mx1.throwaway.example"),))
        desk.dns.answers["good.example", "MX"] = Answer((Mx(10, "mx.good.example"),))
        await ban(desk, "domain", "throwaway.example")
        response = await desk.post("recipients", {"email": "a@new.example"})
        assert errors(response) == {"email": ["The recipient cannot use that email or domain."]}
        assert await hits(desk) == 1
        assert (await desk.post("recipients", {"email": "a@good.example"})).status_code == 201
        desk.dns.fails("away.example", "MX")
        assert (await desk.post("recipients", {"email": "a@away.example"})).status_code == 201
        await desk.sql("update ban set revoked_at = now()")
        assert (await desk.post("recipients", {"email": "b@new.example"})).status_code == 201
