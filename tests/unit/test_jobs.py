"""Running jobs: some at a time, each until it is done or given up, and none lost when the worker stops."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.jobs import Depth, Job, JobId
from mailrelay.flows import jobs as jobs_module
from mailrelay.flows.jobs import JobRunner, Sift, Task
from tests.unit.fakes import NOW

PATIENCE_SECONDS = 20


@dataclass
class FakeQueue:
    """Jobs in memory. trouble: raised by the next calls of these names."""

    waiting: list[Job] = field(default_factory=list)
    leased: dict[JobId, Job] = field(default_factory=dict)
    finished: list[JobId] = field(default_factory=list)
    failed: list[tuple[JobId, str, timedelta | None]] = field(default_factory=list)
    patience: list[timedelta] = field(default_factory=list)
    extended: list[JobId] = field(default_factory=list)
    trouble: dict[str, list[Exception]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    lost: set[JobId] = field(default_factory=set)  # somebody else's by now

    def add(self, number: int, kind: str = "count", attempts: int = 0) -> None:
        self.waiting.append(Job(JobId(number), kind, {"n": number}, attempts, 10, NOW))

    def _run(self, name: str) -> None:
        if self.trouble.get(name):
            raise self.trouble[name].pop(0)

    async def take(self, limit: int, lease: timedelta, kinds: Sequence[str]) -> Sequence[Job]:
        self.asked.append(limit)
        self._run("take")
        taken = [replace(job, attempts=job.attempts + 1) for job in self.waiting if job.kind in kinds][:limit]
        self.leased |= {job.id: job for job in taken}
        self.waiting = [job for job in self.waiting if job.id not in self.leased]
        return taken

    async def finish(self, ids: Sequence[JobId]) -> None:
        self._run("finish")
        self.finished += ids

    async def fail(self, job_id: JobId, error: str, rest: timedelta | None, patience: timedelta) -> None:
        self._run("fail")
        self.patience.append(patience)
        self.failed.append((job_id, error, rest))

    async def extend(self, ids: Sequence[JobId], lease: timedelta) -> set[JobId]:
        self.extended += ids
        return set(ids) - self.lost

    async def give_back(self, ids: Sequence[JobId]) -> None:
        self.waiting += [self.leased[job_id] for job_id in ids]

    async def depth(self) -> Depth:
        return Depth(len(self.waiting), len(self.waiting), 0.0)


@dataclass
class Hands:
    """A handler that notes what it does, and waits until it may go on."""

    queue: FakeQueue
    open: asyncio.Event = field(default_factory=asyncio.Event)
    errors: dict[int, Exception] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    at_once: int = 0
    most: int = 0

    async def __call__(self, payload: Mapping[str, object], /) -> None:
        number = payload["n"]
        assert isinstance(number, int)
        self.begun.append(number)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0)
            await self.open.wait()
        finally:
            self.at_once -= 1
        if number in self.errors:
            raise self.errors[number]


@asynccontextmanager
async def running(
    queue: FakeQueue,
    hands: Hands,
    sifts: Mapping[str, Sift] | None = None,
    width: int = 8,
    in_hand: int = 400,
    now: datetime = NOW,
) -> AsyncIterator[JobRunner]:
    stop = asyncio.Event()
    runner = JobRunner(queue, {"count": hands}, sifts or {}, lambda: 0.5, lambda: now, width=width, in_hand=in_hand)
    task = asyncio.create_task(runner.run(stop))
    try:
        yield runner
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE_SECONDS)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


def office() -> tuple[FakeQueue, Hands]:
    queue = FakeQueue()
    return queue, Hands(queue)


def counted(outcome: str, kind: str = "count") -> float:
    return REGISTRY.get_sample_value("mailrelay_jobs_total", {"kind": kind, "outcome": outcome}) or 0.0


async def test_every_job_is_done_once_and_some_at_a_time() -> None:
    queue, hands = office()
    hands.open.set()
    done = counted("done")
    for number in range(100):
        queue.add(number)
    async with running(queue, hands, width=3) as runner:
        await until(lambda: len(queue.finished) == 100)
        assert runner.health == "ok"
    assert sorted(hands.begun) == list(range(100))
    assert hands.most == 3
    assert counted("done") == done + 100


async def test_no_more_is_taken_than_there_are_hands_for() -> None:
    queue, hands = office()
    for number in range(100):
        queue.add(number)
    async with running(queue, hands, width=2, in_hand=10):
        await until(lambda: len(hands.begun) == 2)
        assert len(queue.leased) == 10
        hands.open.set()
        await until(lambda: len(queue.finished) == 100)
    assert max(queue.asked) == 10


async def test_a_new_job_wakes_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_POLL_SECONDS", 3600.0)
    queue, hands = office()
    hands.open.set()
    async with running(queue, hands) as runner:
        await until(lambda: bool(queue.asked))
        queue.add(1)
        runner.wake.set()
        await until(lambda: queue.finished == [1])


async def test_due_jobs_are_found_without_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_POLL_SECONDS", 0.01)
    queue, hands = office()
    hands.open.set()
    async with running(queue, hands):
        await until(lambda: bool(queue.asked))
        queue.add(1)
        await until(lambda: queue.finished == [1])


@pytest.mark.parametrize(
    ("error", "words", "rest", "outcome"),
    [
        (Unavailable("no route"), "no route", timedelta(seconds=30), "retried"),
        (Malformed("no such thing"), "no such thing", None, "failed"),
        (ZeroDivisionError("a secret"), "a bug: ZeroDivisionError", timedelta(seconds=30), "retried"),
    ],
)
async def test_what_fails_is_told_by_what_helps(
    error: Exception, words: str, rest: timedelta | None, outcome: str
) -> None:
    queue, hands = office()
    hands.open.set()
    hands.errors[1] = error
    before = counted(outcome)
    queue.add(1)
    queue.add(2)
    async with running(queue, hands):
        await until(lambda: bool(queue.failed) and queue.finished == [2])
    assert queue.failed == [(1, words, rest)]
    assert counted(outcome) == before + 1


@pytest.mark.parametrize(
    ("error", "age", "outcome"),
    [
        (ZeroDivisionError(), timedelta(0), "failed"),
        (Unavailable("no route"), timedelta(days=3), "retried"),
        (Unavailable("no route"), timedelta(days=4), "failed"),
    ],
)
async def test_the_last_attempt_is_the_last_unless_there_is_an_outage(
    error: Exception, age: timedelta, outcome: str
) -> None:
    """Postfix may be away for a weekend; what owners are to hear of then is told afterwards."""
    queue, hands = office()
    hands.open.set()
    hands.errors[1] = error
    before = counted(outcome)
    queue.add(1, attempts=9)
    async with running(queue, hands, now=NOW + age):
        await until(lambda: bool(queue.failed))
    assert counted(outcome) == before + 1
    assert queue.patience == [timedelta(days=4) if isinstance(error, Unavailable) else timedelta(0)]


async def test_an_end_that_cannot_be_recorded_leaves_the_lease_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, hands = office()
    hands.open.set()
    queue.trouble = {"finish": [Unavailable("away")], "fail": [Unavailable("away")]}
    queue.add(1)
    async with running(queue, hands) as runner:
        await until(lambda: not queue.trouble["fail"])
        assert runner.health == "database away"
    assert (queue.finished, queue.failed) == ([], [])


@pytest.mark.parametrize(
    ("error", "word"), [(Unavailable("away"), "database away"), (KeyError("x"), "failing, see the log")]
)
async def test_it_goes_on_after_trouble(monkeypatch: pytest.MonkeyPatch, error: Exception, word: str) -> None:
    monkeypatch.setattr(jobs_module, "_RETRY_SECONDS", 0.05)
    queue, hands = office()
    hands.open.set()
    queue.trouble = {"take": [error]}
    queue.add(1)
    async with running(queue, hands) as runner:
        await until(lambda: runner.health == word)
        await until(lambda: queue.finished == [1] and runner.health == "ok")


async def test_what_is_under_way_may_end_and_the_rest_goes_back() -> None:
    queue, hands = office()
    for number in range(5):
        queue.add(number)
    stop = asyncio.Event()
    runner = JobRunner(queue, {"count": hands}, {}, lambda: 0.5, lambda: NOW, width=2)
    task = asyncio.create_task(runner.run(stop))
    await until(lambda: len(hands.begun) == 2)
    stop.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    hands.open.set()
    await asyncio.wait_for(task, PATIENCE_SECONDS)
    assert queue.finished == [0, 1]
    assert [job.id for job in queue.waiting] == [2, 3, 4]


async def test_what_does_not_end_goes_back_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_PATIENCE_SECONDS", 0.01)
    queue, hands = office()
    queue.add(1)
    async with running(queue, hands):
        await until(lambda: hands.begun == [1])
    assert [job.id for job in queue.waiting] == [1]
    assert hands.at_once == 0


async def test_leases_of_long_jobs_are_prolonged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_PROLONG_SECONDS", 0.01)
    queue, hands = office()
    queue.add(1)
    async with running(queue, hands):
        await until(lambda: 1 in queue.extended)
        hands.open.set()
        await until(lambda: queue.finished == [1])


async def test_jobs_that_come_back_while_they_are_under_way_are_not_done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their leases ended while the database was away, and it is their own worker that takes them again."""
    monkeypatch.setattr(jobs_module, "_POLL_SECONDS", 0.01)
    queue, hands = office()
    queue.add(1)
    async with running(queue, hands):
        await until(lambda: hands.begun == [1])
        queue.add(1, attempts=1)
        await until(lambda: not queue.waiting)
        queue.add(2)
        await until(lambda: 2 in hands.begun)
        hands.open.set()
        await until(lambda: sorted(queue.finished) == [1, 2])
    assert hands.begun == [1, 2]


@pytest.mark.parametrize("error", [None, Unavailable("Postfix is away")])
async def test_a_job_that_says_something_else_by_now_is_done_as_well(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """The mail with a newer code takes the place of the one before (store/confirmations.py), which may be under way."""
    monkeypatch.setattr(jobs_module, "_POLL_SECONDS", 0.01)
    queue, hands = office()
    queue.add(1)
    async with running(queue, hands, width=2) as runner:
        await until(lambda: hands.begun == [1])
        hands.errors = {1: error} if error is not None else {}
        queue.waiting.append(Job(JobId(1), "count", {"n": 5}, 0, 10, NOW))
        queue.leased.clear()
        await until(lambda: hands.begun == [1, 5])
        hands.open.set()
        await until(lambda: not runner._jobs)
    assert (queue.finished, queue.failed) == ([1], [])


async def test_a_job_that_was_lost_and_comes_back_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited for a hand when its lease ended, another worker took it, and gave it back."""
    monkeypatch.setattr(jobs_module, "_PROLONG_SECONDS", 0.01)
    monkeypatch.setattr(jobs_module, "_POLL_SECONDS", 0.01)
    queue, hands = office()
    queue.add(1)
    queue.add(2)
    async with running(queue, hands, width=1) as runner:
        await until(lambda: hands.begun == [1])
        queue.lost = {JobId(2)}
        await until(lambda: JobId(2) not in runner._jobs)
        queue.lost = set()
        queue.add(2, attempts=1)
        await until(lambda: JobId(2) in runner._jobs)
        hands.open.set()
        await until(lambda: sorted(queue.finished) == [1, 2])
    assert hands.begun == [1, 2]


async def test_many_jobs_are_looked_at_together() -> None:
    """Those that nothing remains to be done of are done."""
    queue, hands = office()
    hands.open.set()
    seen: list[int] = []
    done = counted("done", "sifted")

    async def sift(jobs: Sequence[Job], /) -> Sequence[Task]:
        seen.append(len(jobs))
        return [Task(job, lambda job=job: hands(job.payload)) for job in jobs if job.id % 10 == 0]  # type: ignore[misc]

    for number in range(100):
        queue.add(number, "sifted")
    async with running(queue, hands, {"sifted": sift}):
        await until(lambda: len(queue.finished) == 10 and counted("done", "sifted") == done + 100)
    assert seen == [100]
    assert sorted(queue.finished) == list(range(0, 100, 10))


async def test_a_job_that_breaks_the_sift_harms_no_other() -> None:
    queue, hands = office()
    hands.open.set()

    async def sift(jobs: Sequence[Job], /) -> Sequence[Task]:
        if any(job.id == 3 for job in jobs):
            raise ZeroDivisionError
        return [Task(job, lambda job=job: hands(job.payload)) for job in jobs]  # type: ignore[misc]

    for number in range(5):
        queue.add(number, "sifted")
    async with running(queue, hands, {"sifted": sift}):
        await until(lambda: len(queue.finished) == 4 and len(queue.failed) == 1)
    assert sorted(queue.finished) == [0, 1, 2, 4]
    assert queue.failed[0][0] == 3


async def test_a_sift_that_cannot_see_is_asked_again_later() -> None:
    queue, hands = office()

    async def sift(jobs: Sequence[Job], /) -> Sequence[Task]:
        raise Unavailable("away")

    for number in range(3):
        queue.add(number, "sifted")
    async with running(queue, hands, {"sifted": sift}):
        await until(lambda: len(queue.failed) == 3)
    assert {error for _, error, _ in queue.failed} == {"away"}
