"""Many callers, few round trips, and everybody gets the own answer."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest

from mailrelay.batch import Batcher
from mailrelay.core.errors import Unavailable

WHO: ContextVar[str] = ContextVar("who", default="nobody")


@dataclass
class Doubler:
    """Answers twice the number when the gate is open; `poison` breaks the whole call."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[list[int]] = field(default_factory=list)
    poison: int | None = None
    away: bool = False
    under_way: int = 0
    most_under_way: int = 0
    seen: set[str] = field(default_factory=set)

    async def __call__(self, items: Sequence[int]) -> list[int | Unavailable]:
        self.calls.append(list(items))
        self.seen.add(WHO.get())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if self.away:
            raise Unavailable("away")
        if self.poison in items:
            raise ValueError("poison")
        return [Unavailable("13") if item == 13 else 2 * item for item in items]


async def ask_all(batcher: Batcher[int, int], items: Sequence[int]) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(batcher.ask(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_what_arrives_meanwhile_goes_out_together() -> None:
    run = Doubler()
    batcher = Batcher(run)
    tasks = await ask_all(batcher, [1])
    tasks += await ask_all(batcher, [2, 3, 4])
    run.gate.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert run.calls == [[1], [2, 3, 4]]


async def test_a_batch_has_a_limit_and_order() -> None:
    run = Doubler()
    run.gate.set()
    batcher = Batcher(run, limit=3)
    assert await asyncio.gather(*map(batcher.ask, range(10))) == [2 * n for n in range(10)]
    assert all(len(call) <= 3 for call in run.calls)
    assert [item for call in run.calls for item in call] == list(range(10))


async def test_lanes_limit_what_is_under_way() -> None:
    run = Doubler()
    batcher = Batcher(run, limit=1, lanes=2)
    tasks = await ask_all(batcher, range(6))
    await asyncio.sleep(0)
    run.gate.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]
    assert run.most_under_way == 2


async def test_a_lane_is_free_again_after_each_batch() -> None:
    run = Doubler()
    run.gate.set()
    batcher = Batcher(run)
    assert [await batcher.ask(n) for n in range(5)] == [0, 2, 4, 6, 8]


async def test_when_the_server_is_away_everybody_hears_it_and_the_next_one_is_served() -> None:
    run = Doubler(away=True)
    run.gate.set()
    batcher = Batcher(run)
    answers = await asyncio.gather(*map(batcher.ask, range(3)), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert len(run.calls) == 1
    run.away = False
    assert await batcher.ask(4) == 8


async def test_one_answer_may_be_unavailable_alone() -> None:
    run = Doubler()
    run.gate.set()
    batcher = Batcher(run)
    answers = await asyncio.gather(*map(batcher.ask, [12, 13, 14]), return_exceptions=True)
    assert (answers[0], answers[2]) == (24, 28)
    assert isinstance(answers[1], Unavailable)


async def test_an_item_that_breaks_the_statement_harms_nobody_else() -> None:
    run = Doubler(poison=2)
    run.gate.set()
    batcher = Batcher(run)
    answers = await asyncio.gather(*map(batcher.ask, [1, 2, 3]), return_exceptions=True)
    assert (answers[0], answers[2]) == (2, 6)
    assert isinstance(answers[1], ValueError)


async def test_too_few_answers_are_an_error_and_nobody_waits_for_ever() -> None:
    async def run(items: Sequence[int]) -> list[int]:
        return []

    batcher: Batcher[int, int] = Batcher(run)
    with pytest.raises(RuntimeError, match="0 answers"):
        await batcher.ask(1)


async def test_a_caller_that_leaves_disturbs_nobody() -> None:
    run = Doubler()
    batcher = Batcher(run)
    first, second, third = await ask_all(batcher, [1, 2, 3])
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    run.gate.set()
    assert [await first, await third] == [2, 6]
    assert second.cancelled()
    assert await batcher.ask(4) == 8


async def test_a_lane_does_not_inherit_the_context_of_who_opened_it() -> None:
    run = Doubler()
    run.gate.set()
    WHO.set("the first caller")
    await Batcher(run).ask(1)
    assert run.seen == {"nobody"}
