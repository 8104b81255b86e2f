"""Every endpoint of the reference page, and the newer ones: each is there, described, and can succeed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.api.addy import household
from tests.api.addy.conftest import Desk
from tests.api.addy.table import ROWS, Row
from tests.api.addy.test_resend import hand

__all__ = ["hand"]

DOCUMENTED = 70
RESEND = "N12"  # its answer waits for what a worker says

every = pytest.mark.parametrize("row", ROWS, ids=str)


async def prove(desk: Desk) -> Mapping[str, str]:
    """Somebody puts into DNS what shows that the domain is theirs."""
    answer = await desk.post("domains", {"domain": "new.example"})
    desk.dns.txt("new.example", answer.text.rpartition(" ")[2])
    return {}


async def sign_in(desk: Desk) -> Mapping[str, str]:
    """The first half of it."""
    who = {"username": "johndoe", "password": household.PASSWORD, "device_name": "Phone"}
    answer = await desk.post("/api/auth/login", who)
    return {"mfa_key": answer.json()["mfa_key"], "otp": household.code()}


BEFORE = {"E25": prove, "N20b": sign_in}


@pytest.fixture
def chosen() -> Mapping[str, Any]:
    return household.CHOSEN


def test_the_table_has_all_of_the_page() -> None:
    documented = [one.number for one in ROWS if one.number.startswith("E")]
    assert documented == [f"E{number:02}" for number in range(1, DOCUMENTED + 1)]
    assert len({(one.method, one.path) for one in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", [one for one in ROWS if one.is_described], ids=str)
async def test_it_is_described(desk: Desk, row: Row) -> None:
    document = (await desk.get("openapi.json")).json()
    operation = document["paths"][row.path][row.method.lower()]
    said = operation["responses"][str(row.status)]
    assert bool(said.get("content")) == (row.status != 204)
    assert [status for status in operation["responses"] if status.startswith("2")] == [str(row.status)]


async def test_nothing_is_described_that_is_not_in_the_table(desk: Desk) -> None:
    document = (await desk.get("openapi.json")).json()
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == {(one.method, one.path) for one in ROWS if one.is_described}


@every
async def test_it_is_routed_with_and_without_a_slash(desk: Desk, row: Row) -> None:
    desk.token = None
    for url in (row.url, f"{row.url}/"):
        response = await desk.ask("OPTIONS", url)
        assert (response.status_code, response.content) == (200, b"")
        assert row.method in response.headers["Allow"].split(", ")


@pytest.mark.parametrize("row", [one for one in ROWS if one.number != RESEND], ids=str)
async def test_it_succeeds(desk: Desk, dsn: str, tmp_path: Path, row: Row) -> None:
    await succeed(desk, dsn, tmp_path / "secrets", row)


@pytest.mark.usefixtures("hand")
async def test_n12_succeeds_where_a_worker_sends(desk: Desk, dsn: str, tmp_path: Path) -> None:
    (row,) = [one for one in ROWS if one.number == RESEND]
    await succeed(desk, dsn, tmp_path / "secrets", row)


async def succeed(desk: Desk, dsn: str, secrets: Path, row: Row) -> None:
    """Asks what can be answered."""
    household.furnish(dsn, secrets, second_factor="mfa" in row.path)
    given = household.filled(row.given)
    if row.number in BEFORE:
        given.update(await BEFORE[row.number](desk))
    url = f"{row.url}?{urlencode(given)}" if row.method == "GET" and given else row.url
    response = await desk.ask(row.method, url, None if row.method == "GET" else given)
    assert response.status_code == row.status, response.text
    assert bool(response.content) == (row.status != 204)
