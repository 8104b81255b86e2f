"""Domains, stats and counter (haltman-api.md section 3.14)."""

import asyncio
from pathlib import Path

import pytest

from tests.api.haltman.conftest import Desk, later

SECRET = "c0unter"


@pytest.fixture
def chosen(tmp_path: Path) -> dict[str, object]:
    (tmp_path / "counter").write_text(f"{SECRET}\n")
    return {"haltman": {"counter_secret_file": str(tmp_path / "counter")}}


def pass_time(desk: Desk, seconds: float) -> None:
    """The clock of the API is put forward."""
    at = later(seconds=seconds)
    desk.app._clock = lambda: at


async def total(desk: Desk) -> int:
    """Of forwarded mail."""
    return int(await desk.one("select total from counter where name = 'forwarded'"))


async def test_get_domains_tells_the_names_of_public_ones(desk: Desk) -> None:
    await desk.sql(
        """insert into domain (name, active, visible, mx_verified_at)
           values ('off.example', false, true, now()), ('hidden.example', true, false, now()),
                  ('unready.example', true, true, null)"""
    )
    reply = await desk.get("domains")
    assert (reply.status_code, reply.json()) == (200, ["alias.example", "alias2.example"])
    assert reply.headers["cache-control"] == "public, max-age=10"
    assert "etag" not in reply.headers


async def test_own_domains_of_accounts_are_not_public(desk: Desk) -> None:
    await desk.sql(
        "insert into domain (name, account_id, verified_at, mx_verified_at) values ('own.example', 1, now(), now())"
    )
    assert "own.example" not in (await desk.get("domains")).json()


async def test_get_domains_is_remembered_for_ten_seconds(desk: Desk) -> None:
    await desk.get("domains")
    await desk.sql("insert into domain (name, mx_verified_at) values ('third.example', now())")
    assert len((await desk.get("domains")).json()) == 2
    pass_time(desk, 9)
    assert len((await desk.get("domains")).json()) == 2
    pass_time(desk, 11)
    assert (await desk.get("domains")).json() == ["alias.example", "alias2.example", "third.example"]


async def test_head_of_domains_is_answered(desk: Desk) -> None:
    reply = await desk.ask("HEAD", "domains")
    assert reply.status_code == 200


async def handle(desk: Desk, name: str, state: str = "active") -> int:
    await desk.sql("insert into shared_local_part values (%s, 'handle')", name)
    owner, released = (None, "now()") if state == "released" else (2, "null")
    query = (
        f"insert into handle (account_id, local_part, state, released_at) values (%s, %s, %s, {released}) returning id"
    )
    return int(await desk.one(query, owner, name, state))


async def test_get_stats_counts_aliases_and_handles_of_public_domains(desk: Desk) -> None:
    await desk.sql(
        """insert into alias (account_id, local_part, domain, state, deleted_at)
           values (2, 'a', 'alias.example', 'active', null), (2, 'b', 'alias2.example', 'active', null),
                  (2, 'c', 'alias.example', 'inactive', null), (2, 'd', 'alias.example', 'deleted', now())"""
    )
    john = await handle(desk, "john")
    await desk.sql(
        "insert into handle_domain_off (handle_id, domain) values (%s, 'alias2.example'), (%s, 'x.example')", john, john
    )
    await desk.sql(
        "insert into handle_domain_off (handle_id, domain, active) values (%s, 'alias.example', false)", john
    )
    await desk.sql(
        "insert into alias (account_id, local_part, domain, handle_id) values (2, 'john', 'alias.example', %s)", john
    )
    reply = await desk.get("stats")
    assert reply.json() == {"domains": 2, "aliases": 2 + 1 * 2 - 1, "forwarded": 0}
    assert reply.headers["cache-control"] == "public, max-age=120"


async def test_d_45_rules_of_released_handles_are_not_subtracted(desk: Desk) -> None:
    gone = await handle(desk, "gone", "released")
    await desk.sql("insert into handle_domain_off (handle_id, domain) select %s, name from domain", gone)
    assert (await desk.get("stats")).json()["aliases"] == 0


async def test_get_stats_is_remembered_for_two_minutes(desk: Desk) -> None:
    await desk.get("stats")
    await desk.sql("update counter set total = 7 where name = 'forwarded'")
    pass_time(desk, 119)
    assert (await desk.get("stats")).json()["forwarded"] == 0
    pass_time(desk, 121)
    assert (await desk.get("stats")).json()["forwarded"] == 7


@pytest.mark.parametrize("path", ["api/domains", "api/stats"])
async def test_what_the_original_answers_by_accident_is_not_there(desk: Desk, path: str) -> None:
    assert (await desk.get(path)).status_code == 404


async def test_counter_increment_counts_one_by_one_or_in_batches(desk: Desk) -> None:
    reply = await desk.get(f"counter/increment?key={SECRET}")
    assert (reply.status_code, reply.json()) == (200, {"success": True})
    assert reply.headers["cache-control"] == "no-store, private"
    assert (await desk.get("counter/increment", X_Counter_Key=SECRET)).status_code == 200
    assert (await desk.get(f"counter/increment?key={SECRET}&n=40")).json() == {"success": True}
    assert await total(desk) == 42


async def test_counter_increments_at_once_are_all_counted(desk: Desk) -> None:
    await asyncio.gather(*(desk.get(f"counter/increment?key={SECRET}") for _ in range(20)))
    assert await total(desk) == 20


@pytest.mark.parametrize(
    "query", ["", "?key=", "?key=wrong", f"?key={SECRET}x", f"?key={SECRET}&key={SECRET}", "?key=%FF%00"]
)
async def test_counter_increment_unauthorized(desk: Desk, query: str) -> None:
    reply = await desk.get(f"counter/increment{query}")
    assert (reply.status_code, reply.json()["error"], reply.json()["code"]) == (401, "unauthorized", 401)
    assert await total(desk) == 0


@pytest.mark.parametrize("n", ["0", "-1", "x", "", "1000001"])
async def test_counter_increment_invalid_params(desk: Desk, n: str) -> None:
    reply = await desk.get(f"counter/increment?key={SECRET}&n={n}")
    assert (reply.status_code, reply.json()["error"], reply.json()["field"]) == (400, "invalid_params", "n")
    assert await total(desk) == 0


async def test_head_of_the_counter_counts_nothing(desk: Desk) -> None:
    assert (await desk.ask("HEAD", f"counter/increment?key={SECRET}")).status_code == 405
    assert await total(desk) == 0


@pytest.mark.parametrize("chosen", [{}])
async def test_without_a_secret_nobody_counts(desk: Desk, chosen: dict[str, object]) -> None:
    assert (await desk.get("counter/increment?key=")).status_code == 401
