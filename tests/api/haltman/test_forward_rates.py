"""How often somebody may ask for aliases and try codes (haltman-api.md section 2.10)."""

from typing import Any

import httpx2
import pytest

from tests.api.haltman.conftest import Desk
from tests.api.haltman.test_forward_subscribe import alias

ADDRESSES = "forward/unsubscribe?alias=shop{}@alias.example"


def rates(**limits: int) -> dict[str, Any]:
    return {"haltman": {"rates": limits}}


def limited(reply: httpx2.Response, where: str, reason: str) -> None:
    assert reply.status_code == 429
    body = reply.json()
    assert (body["error"], body["where"], body["reason"]) == ("rate_limited", where, reason)
    assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize("chosen", [rates(fwd_cycle_ip=3)])
async def test_asking_and_confirming_share_a_limit(desk: Desk) -> None:
    for path in ("forward/subscribe?", "forward/confirm?token=123456", "forward/subscribe?"):
        assert (await desk.get(path)).status_code == 400
    limited(await desk.get("forward/subscribe?"), "subscribe", "too_many_forwarding_operations_ip")
    limited(await desk.get("forward/confirm?token=1"), "confirm", "too_many_forwarding_operations_ip")
    limited(await desk.post("forward/confirm", {}), "confirm", "too_many_forwarding_operations_ip")


@pytest.mark.parametrize(
    ("chosen", "path", "where", "reason"),
    [
        (rates(sub_ip=2), "forward/subscribe?", "subscribe", "too_many_requests_ip"),
        (rates(sub_to=2), "forward/subscribe?to=A@b.example", "subscribe", "too_many_requests_to"),
        (rates(sub_alias=2), "forward/subscribe?name=a&domain=b.example", "subscribe", "too_many_requests_alias"),
        (rates(unsub_ip=2), "forward/unsubscribe?", "unsubscribe", "too_many_requests_ip"),
        (rates(unsub_addr=2), "forward/unsubscribe?alias=A@b.example", "unsubscribe", "too_many_requests_address"),
        (rates(confirm_ip=2), "forward/confirm?", "confirm", "too_many_requests_ip"),
        (rates(confirm_token=2), "forward/confirm?token=123456", "confirm", "too_many_requests_token"),
    ],
)
async def test_each_limit_has_its_words(desk: Desk, path: str, where: str, reason: str) -> None:
    for _ in range(2):
        assert (await desk.get(path)).status_code != 429
    limited(await desk.get(path), where, reason)
    # Neither does a slash at the end help, nor do capitals.
    route, _, query = path.partition("?")
    for spelt in (f"{route}/?{query}", f"{route.title()}?{query}"):
        limited(await desk.get(spelt), where, reason)


@pytest.mark.parametrize("chosen", [rates(unsub_addr=1)])
async def test_d_03_each_alias_has_a_limit_of_its_own(desk: Desk) -> None:
    for number in range(4):
        await alias(desk, f"shop{number}@alias.example")
        assert (await desk.get(ADDRESSES.format(number))).status_code == 200
    reply = await desk.get("forward/unsubscribe?alias=SHOP1@Alias.example")
    limited(reply, "unsubscribe", "too_many_requests_address")


@pytest.mark.parametrize("chosen", [rates(sub_alias=1)])
async def test_d_04_each_address_has_a_limit_of_its_own_however_it_is_spelt(desk: Desk) -> None:
    for number in range(4):
        path = f"forward/subscribe?address=shop{number}@alias.example&to=p{number}@dest.example"
        assert (await desk.get(path)).status_code == 200
    for query in ("address=SHOP1@alias.example", "name=shop1", "name=shop1&domain=Alias.example"):
        reply = await desk.get(f"forward/subscribe?{query}&to=x@dest.example")
        limited(reply, "subscribe", "too_many_requests_alias")


@pytest.mark.parametrize("chosen", [rates(confirm_token=1)])
async def test_codes_that_were_tried_are_not_stored_in_clear(desk: Desk) -> None:
    await desk.get("forward/confirm?token=735915")
    limited(await desk.post("forward/confirm", {"token": " 735915 "}), "confirm", "too_many_requests_token")
    assert "735915" not in str(await desk.sql("select * from request_window"))


@pytest.mark.parametrize("chosen", [rates(sub_slow_ip=1, unsub_slow_ip=1, confirm_slow_ip=1)])
@pytest.mark.parametrize("path", ["forward/subscribe", "forward/unsubscribe", "forward/confirm"])
async def test_who_asks_fast_waits_a_little(desk: Desk, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("mailrelay.api.haltman.gate.asyncio.sleep", wait)
    for _ in range(3):
        assert (await desk.get(path)).status_code == 400
    step = {"forward/subscribe": 0.25, "forward/unsubscribe": 0.3, "forward/confirm": 0.5}[path]
    assert waited == [step, 2 * step]
