"""Every limit of section 2.10 refuses what is beyond its number, however the request is spelled."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from mailrelay.api.haltman import gate
from mailrelay.core.entrance import FAST, HEAVY, OF_CLIENT, OF_NAME
from tests.api.haltman.conftest import CLIENT, KEY, Desk
from tests.api.haltman.table import LIMITS, ROWS, SLOWED, Members, Rate, Row
from tests.api.haltman.test_every_endpoint import found

# Limits up to here are counted out; of higher ones only the last requests are made.
_COUNTED = 12
_OTHER_CLIENT = "198.51.100.1"
# By subject: members that count as the same one, and those of somebody else.
SUBJECTS: Mapping[str, tuple[tuple[Members, ...], Members]] = {
    "to": (({"to": "a@inbox.example"}, {"to": " A@Inbox.Example "}), {"to": "b@inbox.example"}),
    "email": (({"email": "a@inbox.example"}, {"email": " A@Inbox.Example "}), {"email": "b@inbox.example"}),
    "alias": (({"alias": "bob@alias.example"}, {"alias": " Bob@ALIAS.example "}), {"alias": "ann@alias.example"}),
    "handle": (({"handle": "jose"}, {"handle": " Jose "}), {"handle": "maria"}),
    "token": (({"token": "123456"}, {"token": " 123456 "}), {"token": "654321"}),
    "target": (
        ({"target": "new.example"}, {"target": " New.Example "}, {"target": "new.example."}),
        {"target": "other.example"},
    ),
    "path": (
        ({"target": "new.example"}, {"target": "New.Example"}, {"target": "new.example."}),
        {"target": "other.example"},
    ),
    "api_key": (({"api_key": KEY}, {"api_key": f" {KEY.upper()} "}, {"key": KEY}), {"api_key": "f" * 64}),
    "candidate": (
        (
            {"name": "bob", "domain": "alias.example"},
            {"name": " Bob", "domain": "ALIAS.example "},
            {"name": "bob"},
            {"address": "Bob@alias.example"},
        ),
        {"name": "bob", "domain": "alias2.example"},
    ),
}

every_limit = pytest.mark.parametrize(("row", "rate"), LIMITS, ids=lambda one: str(one))


class Asker:
    """Makes requests that count for one limit. client: where from; key: with which API key."""

    def __init__(self, desk: Desk, row: Row, rate: Rate) -> None:
        self.desk, self.row, self.rate = desk, row, rate
        position = [one for one in row.rates if one.kind != "fail"].index(rate)
        self.name = found(desk, row).rules[position].name
        # The number is the endpoint's own, and no other limit counts.
        rates = {name: limit for name, limit in desk.app._gate.rates.items() if name != self.name}
        desk.app._gate = replace(desk.app._gate, rates=rates)

    async def ask(
        self, members: Members | None = None, *, client: str = CLIENT, key: str = KEY, path: str | None = None,
        method: str | None = None,
    ) -> httpx2.Response:  # fmt: skip
        """One request. members: in place of those that name the subject."""
        await self.desk.sql("delete from request_window where name like %s", "guess%")
        self.desk.client._transport.client = (client, 40000)  # type: ignore[attr-defined]
        asks = {**self.row.asks, **(members or {})}
        verb, target, content = self.row.request(asks, path)
        headers = {"X_API_Key": key} if self.row.access == "key" else {}
        return await self.desk.ask(method or verb, target, content=content, Content_Type="application/json", **headers)

    async def use_up(self, members: Members | None = None) -> None:
        """As many requests as are let through."""
        if self.rate.limit > _COUNTED:
            await self.ask(members)
            jump = "update request_window set hits = %s where name = %s returning 1"
            assert await self.desk.sql(jump, self.rate.limit - 1, self.name) == [(1,)]
            passed = [await self.ask(members)]
        else:
            passed = [await self.ask(members) for _ in range(self.rate.limit)]
        assert [reply.text for reply in passed if reply.status_code == 429] == []

    def refused(self, reply: Any) -> bool:
        if reply.status_code != 429:
            return False
        body = reply.json()
        said = {"error": "rate_limited", "where": self.rate.where, "reason": self.rate.reason, "code": 429}
        assert said.items() <= body.items()
        left = int(reply.headers["Retry-After"])
        assert 1 <= left <= self.rate.seconds and body["retry_after_seconds"] == left and body["message"]
        return True


@every_limit
async def test_d_01_it_refuses_what_is_beyond_it_however_it_is_spelled(desk: Desk, row: Row, rate: Rate) -> None:
    asker = Asker(desk, row, rate)
    await asker.use_up()
    assert asker.refused(await asker.ask())
    bare = row.path.replace("/{target}", "")
    rest = row.path.removeprefix(bare)
    capitals = bare.title().replace("/Api/", "/api/") + rest
    for path in (f"{row.path}/", capitals, f"{capitals}/", bare.upper() + rest):
        assert asker.refused(await asker.ask(path=path)), path
    if row.method == "GET":
        assert (await asker.ask(method="HEAD")).status_code == 429
    match rate.subject:
        case "origin":
            assert not asker.refused(await asker.ask(client=_OTHER_CLIENT))
        case "key":
            assert not asker.refused(await asker.ask(key="f" * 64))
            assert asker.refused(await asker.ask(key=f" {KEY.upper()} ", client=_OTHER_CLIENT))


@pytest.mark.parametrize(
    ("row", "rate"), [one for one in LIMITS if one[1].subject in SUBJECTS], ids=lambda one: str(one)
)
async def test_d_03_d_04_it_counts_all_spellings_of_its_subject_together(desk: Desk, row: Row, rate: Rate) -> None:
    asker = Asker(desk, row, rate)
    same, other = SUBJECTS[rate.subject]
    plain = replace(row, asks={name: value for name, value in row.asks.items() if name not in same[0]})
    asker.row = plain
    await asker.use_up(same[0])
    for members in same:
        assert asker.refused(await asker.ask(members, client=_OTHER_CLIENT)), members
    assert not asker.refused(await asker.ask(other))


@pytest.mark.parametrize(("row", "rate"), SLOWED, ids=lambda one: str(one))
async def test_it_slows_down_what_is_beyond_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, row: Row, rate: Rate
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(gate, "asyncio", SimpleNamespace(sleep=sleep))
    asker = Asker(desk, row, rate)
    for _ in range(rate.limit):
        await asker.ask()
    assert slept == []
    for _ in range(2):
        await asker.ask()
    assert slept == [rate.step_ms / 1000, 2 * rate.step_ms / 1000]
    await desk.sql("update request_window set hits = 5000 where name = %s", asker.name)
    await asker.ask()
    assert slept[-1] == gate.MAX_DELAY_SECONDS


# --- what several have in common, and what they have not --------------------------------------------------------------


def rows(*paths: str) -> list[Row]:
    return [row for row in ROWS if row.path.removeprefix("/api/") in paths]


SHARED = [
    ("fwd_cycle_ip", rows("forward/subscribe", "forward/confirm", "handle/subscribe", "handle/confirm")),
    ("handle_domain_ip", [row for row in rows("handle/domain/disable", "handle/domain/enable") if row.method == "GET"]),
    ("alias_list_key", rows("alias/list", "alias/stats", "activity")),
    ("cred_create_ip", rows("credentials/create", "credentials/list/request", "credentials/destroy-all/request")),
]


@pytest.mark.parametrize(("name", "together"), SHARED, ids=lambda one: one if isinstance(one, str) else "")
async def test_some_count_together(desk: Desk, name: str, together: list[Row]) -> None:
    first = together[0]
    asker = Asker(desk, first, next(rate for rate in first.rates if rate.name == name))
    await asker.use_up()
    for row in together[1:]:
        asker.row, asker.rate = row, next(rate for rate in row.rates if rate.name == name)
        assert asker.refused(await asker.ask())


APART = [
    rows("credentials/create", "credentials/list/request", "credentials/destroy-all/request"),
    rows("credentials/renew", "credentials/automatic-renew", "credentials/destroy"),
    rows("handle/create", "handle/delete"),
    rows("alias/create", "alias/delete"),
    rows("request/ui", "request/email"),
]


@pytest.mark.parametrize("apart", APART, ids=lambda one: one[0].path)
async def test_some_count_apart(desk: Desk, apart: list[Row]) -> None:
    for used, row in itertools.product(apart, apart):
        await desk.sql("delete from request_window")
        asker = Asker(desk, used, used.rates[-1])
        await asker.use_up()
        assert asker.refused(await asker.ask())
        asker.row = row
        assert ((await asker.ask()).status_code == 429) is (row == used), (used, row)


@pytest.mark.parametrize("path", ["domains", "stats", "counter/increment", "nowhere", "auth/session", "admin/me"])
async def test_the_limit_for_all_counts_everywhere(desk: Desk, path: str) -> None:
    rates = {name: limit for name, limit in desk.app._gate.rates.items() if name != "global"}
    desk.app._gate = replace(desk.app._gate, rates=rates)
    await desk.get("nowhere")
    await desk.sql("update request_window set hits = 299")
    assert (await desk.get(path)).status_code != 429
    reply = await desk.get(path)
    assert reply.status_code == 429
    assert (reply.json()["where"], reply.json()["reason"]) == ("global", "too_many_requests_ip")


async def test_d_46_limits_hold_in_every_process(desk: Desk) -> None:
    """They are in the database, and without it nothing is let through."""
    rates = {name: limit for name, limit in desk.app._gate.rates.items() if name != "global"}
    desk.app._gate = replace(desk.app._gate, rates=rates)
    await desk.get("nowhere")
    assert await desk.sql("select subject, hits from request_window where name = 'global'") == [(CLIENT, 1)]
    await desk.sql("alter table request_window rename to elsewhere")
    reply = await desk.get("domains")
    assert reply.status_code in (500, 503)


async def test_the_limit_of_one_ipv6_line_counts_all_its_addresses(desk: Desk) -> None:
    (row,) = rows("forward/unsubscribe")
    asker = Asker(desk, row, row.rates[1])
    await asker.ask(client="2001:db8:1:2::3")
    await asker.ask(client="2001:db8:1:2:ffff::4")
    await asker.ask(client="2001:db8:1:3::3")
    found = await desk.sql("select subject, hits from request_window where name = %s order by hits", asker.name)
    assert found == [("2001:db8:1:3::/64", 1), ("2001:db8:1:2::/64", 2)]


def test_failures_to_sign_in_have_limits_as_described() -> None:
    (row,) = rows("auth/sign-in")
    described = {(one.name, one.limit, one.seconds, one.where, one.reason) for one in row.rates if one.kind == "fail"}
    limits = (OF_CLIENT, OF_NAME, HEAVY, FAST)
    assert {(one.name, one.failures, one.seconds, one.where, one.reason) for one in limits} == described
