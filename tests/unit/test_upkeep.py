"""The worker's small duties: what fails is tried again soon, and stops nothing else."""

import asyncio
from datetime import UTC, datetime

import pytest

from mailrelay.core.errors import Unavailable
from mailrelay.flows import upkeep
from mailrelay.flows.upkeep import Upkeep

HOUR = 3600.0


class Duty:
    """A step with a list of what happens, one by one; it sets `over` when that is through."""

    def __init__(self, *outcomes: int | Exception) -> None:
        self.outcomes = list(outcomes)
        self.over = asyncio.Event()

    async def __call__(self, now: datetime) -> int:
        outcome = self.outcomes.pop(0)
        if not self.outcomes:
            self.over.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def run(duties: Upkeep, *until: Duty) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(duties.run(stop))
    async with asyncio.timeout(20):
        for duty in until:
            await duty.over.wait()
        stop.set()
        await task


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize(
    ("trouble", "waited"), [(Unavailable("database"), "_RETRY_SECONDS"), (KeyError("x"), "_FAILURE_SECONDS")]
)
async def test_what_failed_is_tried_again_before_its_hour(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception, waited: str
) -> None:
    monkeypatch.setattr(upkeep, waited, 0.0)
    failing, other = Duty(trouble, 1), Duty(0, 1)
    duties = Upkeep({"first": failing, "second": other}, clock, HOUR)
    await run(duties, failing, other)
    assert duties.health == "ok"


async def test_while_something_fails_it_says_so() -> None:
    failing, other = Duty(Unavailable("database")), Duty(1)
    duties = Upkeep({"first": failing, "second": other}, clock, HOUR)
    assert duties.health == "starting"
    await run(duties, other)
    assert duties.health == "failing: first"
