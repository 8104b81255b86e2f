"""N18: numbers of the last seven days."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.api.addy.conftest import Desk

KEYS = ("forwardsData", "repliesData", "sendsData")


@pytest.mark.parametrize("path", ["chart-data", "chart-data/"])
async def test_n18_seven_days_end_today(desk: Desk, path: str) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for account, kind, days, amount in (
        (1, "F", 0, 5),
        (1, "R", 3, 2),
        (1, "F", 8, 9),
        (2, "F", 0, 99),
        (1, "S", 5, 1),
    ):
        start = today - timedelta(days=days)
        await desk.sql("insert into rate_window values (%s, 'day', %s, %s, %s)", account, kind, start, amount)
    response = await desk.get(path)
    assert response.status_code == 200
    found = response.json()
    assert list(found) == [*KEYS, "labels", "outboundMessageTotals"]
    assert [sorted(found[key])[-2:] for key in KEYS] == [[0, 5], [0, 2], [0, 1]]
    assert [len(found[key]) for key in KEYS] == [7, 7, 7]
    assert found["outboundMessageTotals"] == [5, 2, 1]
    # The day may have ended meanwhile.
    ends = {(today + timedelta(days=days)).strftime("%A"): days for days in (0, 1)}
    shift = ends[found["labels"][-1]]
    assert [found[key].index(max(found[key])) for key in KEYS] == [6 - shift, 3 - shift, 1 - shift]
    assert sorted(found["labels"]) == sorted(f"{today + timedelta(days=days):%A}" for days in range(7))


async def test_n18_an_account_without_mail_has_zeros(desk: Desk) -> None:
    found = (await desk.get("chart-data")).json()
    assert [found[key] for key in KEYS] == [[0] * 7] * 3
    assert found["outboundMessageTotals"] == [0, 0, 0]
