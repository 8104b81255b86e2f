"""What spam filters may ask: T-BC-1 to T-BC-6 of addy-api.md."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from mailrelay.core.errors import BadConfig
from mailrelay.keyring import read_line
from tests.api.addy.conftest import Desk

SECRET = "a secret of some length"
QUESTION = "recipient=shop@alias.example&from_email=Bad@mail.spam.test"
NO, YES = (200, {"block": False}), (200, {"block": True})


def said(response: httpx2.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


async def ask(desk: Desk, query: str = QUESTION, secret: str | None = SECRET) -> httpx2.Response:
    headers = {} if secret is None else {"X-Blocklist-Secret": secret}
    return await desk.get(f"/api/blocklist-check?{query}", **headers)


@pytest.fixture
def networks() -> list[str]:
    return []


@pytest.fixture
def secret() -> str:
    return SECRET


@pytest.fixture
def chosen(tmp_path: Path, networks: list[str], secret: str) -> dict[str, Any]:
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    check = {"networks": networks, **({"secret_file": str(file)} if secret else {})}
    return {"addy": {"check_mail_domains": False, "blocklist_check": check}}


@pytest.fixture
async def filter(desk: Desk) -> Desk:
    """Somebody without a token, johndoe's alias, and a list of his."""
    desk.token = None
    await desk.alias("shop@alias.example")
    await desk.sql("insert into blocked_sender (account_id, type, value) values (1, 'domain', 'spam.test')")
    return desk


async def counted(desk: Desk) -> list[tuple[Any, ...]]:
    query = "select b.blocked, b.last_blocked is not null, a.emails_blocked from blocked_sender b, alias a"
    return await desk.sql(query)


@pytest.mark.parametrize("told", [None, "", "wrong", f"{SECRET}x", SECRET.upper(), "ä"])
async def test_t_bc_1_who_does_not_know_the_secret_learns_nothing(filter: Desk, told: str | None) -> None:
    headers = [] if told is None else [(b"X-Blocklist-Secret", told.encode("latin-1"))]
    response = await filter.client.get(f"/api/blocklist-check?{QUESTION}", headers=headers)
    assert said(response) == (401, {"error": "Unauthorized"})
    assert await counted(filter) == [(0, False, 0)]


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (["198.51.100.0/24", "2001:db8::/32"], (403, {"error": "Forbidden"})),
        (["198.51.100.0/24", "192.0.2.0/24"], YES),
    ],
)
@pytest.mark.parametrize("secret", [SECRET, ""])
async def test_t_bc_2_only_some_networks_may_ask(filter: Desk, expected: tuple[int, Any]) -> None:
    assert said(await ask(filter)) == expected


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("from_email=x@spam.test", ["recipient"]),
        ("recipient=shop@alias.example", ["from_email"]),
        ("", ["recipient", "from_email"]),
        (f"recipient=shop@alias.example&from_email={'x' * 255}", ["from_email"]),
        ("recipient[]=shop@alias.example&from_email=x@spam.test", ["recipient"]),
        ("recipient=%00&from_email=x@spam.test", ["recipient"]),
    ],
)
async def test_t_bc_3_both_addresses_are_needed(filter: Desk, query: str, keys: list[str]) -> None:
    status, document = said(await ask(filter, query))
    assert (status, list(document["errors"])) == (422, keys)


@pytest.mark.parametrize(
    "query",
    [
        "recipient=nobody@alias.example&from_email=x@spam.test",
        "recipient=nobody&from_email=x@spam.test",
        "recipient=shop@alias.example&from_email=x@ham.test",
        "recipient=shop@alias.example&from_email=x@notspam.test",
        "recipient=shop@alias.example&from_email=nobody",
        "recipient=x@stranger.alias.example&from_email=x@spam.test",
    ],
)
async def test_t_bc_4_what_is_not_listed_passes(filter: Desk, query: str) -> None:
    assert said(await ask(filter, query)) == NO
    assert await counted(filter) == [(0, False, 0)]


async def test_t_bc_5_and_6_what_is_listed_is_blocked_and_counted(filter: Desk) -> None:
    assert said(await ask(filter)) == YES
    assert said(await ask(filter, "recipient=Shop%2Btag@alias.example&from_email=other@spam.test")) == YES
    assert said(await ask(filter, "recipient=new@johndoe.alias.example&from_email=other@spam.test")) == YES
    assert await counted(filter) == [(3, True, 2)]


async def test_a_mail_server_may_ask_as_often_as_it_likes(filter: Desk) -> None:
    for _ in range(70):
        assert said(await ask(filter)) == YES
    assert "X-RateLimit-Limit" not in (await ask(filter)).headers


@pytest.mark.parametrize("secret", [""])
async def test_without_settings_nobody_is_answered(filter: Desk) -> None:
    assert said(await ask(filter)) == (503, {"error": "Blocklist API not configured"})


async def test_it_is_no_part_of_the_public_document(filter: Desk) -> None:
    assert "/api/blocklist-check" not in (await filter.get("openapi.json")).json()["paths"]


def test_a_secret_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(BadConfig, match="cannot be read"):
        read_line(file)
    file.write_text("\nx")
    with pytest.raises(BadConfig, match="first line is empty"):
        read_line(file)
    file.write_text(" x y \nz")
    assert read_line(file) == "x y"
