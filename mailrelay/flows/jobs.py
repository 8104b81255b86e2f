"""The worker's other half: takes jobs from the queue and sees to each until it is done or given up."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from mailrelay import log, metrics
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.jobs import Depth, Job, JobId, backoff
from mailrelay.flows.ports import Clock

_LEASE = timedelta(seconds=90)
_PROLONG_SECONDS = 20.0
_POLL_SECONDS = 5.0  # jobs that become due announce nothing
_RETRY_SECONDS = 2.0
_MEASURE_SECONDS = 15.0
_PATIENCE_SECONDS = 15.0
# A Postfix or database that is away, over a weekend perhaps, is no reason to give up what somebody is to hear of.
_OUTAGE = timedelta(days=4)


class Queue(Protocol):
    """The queue of store/jobs.py. All raise Unavailable."""

    async def take(self, limit: int, lease: timedelta, kinds: Sequence[str]) -> Sequence[Job]: ...
    async def finish(self, ids: Sequence[JobId]) -> None: ...
    async def fail(self, job_id: JobId, error: str, rest: timedelta | None, patience: timedelta) -> None: ...
    async def extend(self, ids: Sequence[JobId], lease: timedelta) -> set[JobId]: ...
    async def give_back(self, ids: Sequence[JobId]) -> None: ...
    async def depth(self) -> Depth: ...


class Handler(Protocol):
    """Does one job, which may have been done in part before. Raises Unavailable to be called again later, Malformed
    if that would be in vain."""

    async def __call__(self, payload: Mapping[str, object], /) -> None: ...


@dataclass(frozen=True, slots=True)
class Task:
    """What remains to be done of a job."""

    job: Job
    work: Callable[[], Awaitable[None]]


class Sift(Protocol):
    """Looks at many jobs of one kind at once. Gives those that something remains to be done of; the others are done.

    One that makes no sense is among them, too: its work raises Malformed. Raises Unavailable.
    """

    async def __call__(self, jobs: Sequence[Job], /) -> Sequence[Task]: ...


@dataclass(slots=True)
class JobRunner:
    """Runs jobs, `width` at a time. handlers, sifts: by kind, which a worker takes no others of.

    wake: set whenever there may be something new to do. dice: 0 to 1, evenly distributed. What only has to wait is
    given up when it is older than any outage; what fails otherwise, after its last attempt.
    """

    queue: Queue
    handlers: Mapping[str, Handler]
    sifts: Mapping[str, Sift]
    dice: Callable[[], float]
    clock: Clock
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    width: int = 8
    in_hand: int = 400  # taken at most; most notices of a flood are sifted out together
    health: str = "starting"  # or "ok", or what is wrong
    _jobs: dict[JobId, Job] = field(default_factory=dict)
    _rounds: set[asyncio.Task[None]] = field(default_factory=set)
    _begun: set[JobId] = field(default_factory=set)
    _stopping: bool = False

    async def run(self, stop: asyncio.Event) -> None:
        """Until stop is set. What is under way may end; what is not begun goes back to the queue."""
        gate = asyncio.Semaphore(self.width)
        aside = ((self._prolong, _PROLONG_SECONDS), (self._measure, _MEASURE_SECONDS))
        helpers = [asyncio.create_task(_every(seconds, step)) for step, seconds in aside]
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                taken = await self._take(gate)
                if not taken:
                    await self._rest(stopped)
        finally:
            self._stopping = True
            stopped.cancel()
            await self._leave()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, stopped, return_exceptions=True)

    async def _take(self, gate: asyncio.Semaphore) -> bool:
        """False: there is nothing to do, or no hand free to do it."""
        room = self.in_hand - len(self._jobs)
        if room < self.in_hand // 2:
            return False
        self.wake.clear()  # before looking, so that what is posted meanwhile is looked for again
        try:
            jobs = await self.queue.take(room, _LEASE, sorted({*self.handlers, *self.sifts}))
        except Unavailable as error:
            self._database_away(error)
            return False
        except Exception:
            log.logger().exception("jobs.failed")
            self.health = "failing, see the log"
            return False
        self.health = "ok"
        # After an outage leases have ended under the work that goes on, and come back to us. One that says something
        # else by now takes the place of the one before, whose work may end but counts for nothing.
        jobs = [job for job in jobs if job.id not in self._jobs or self._jobs[job.id].payload != job.payload]
        if jobs:
            self._jobs |= {job.id: job for job in jobs}
            task = asyncio.create_task(self._round(jobs, gate))
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)
        return bool(jobs)

    async def _rest(self, stopped: "asyncio.Task[bool]") -> None:
        """Until there may be something to do."""
        woken = asyncio.create_task(self.wake.wait())
        full = self.in_hand - len(self._jobs) < self.in_hand // 2
        waits: list[asyncio.Task[bool] | asyncio.Task[None]] = [stopped, *self._rounds] if full else [stopped, woken]
        seconds = _POLL_SECONDS if self.health == "ok" else _RETRY_SECONDS
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()

    async def _round(self, jobs: Sequence[Job], gate: asyncio.Semaphore) -> None:
        kinds = {job.kind for job in jobs}
        groups = (self._group(kind, [job for job in jobs if job.kind == kind]) for kind in sorted(kinds))
        tasks = [task for group in await asyncio.gather(*groups) for task in group]
        await asyncio.gather(*(self._run(task, gate) for task in tasks))

    async def _group(self, kind: str, jobs: Sequence[Job]) -> Sequence[Task]:
        sift, handler = self.sifts.get(kind), self.handlers.get(kind)
        if sift is None:
            assert handler is not None  # no other kinds are taken
            return [Task(job, _bound(handler, job)) for job in jobs]
        try:
            tasks = await sift(jobs)
        except Exception as error:
            if len(jobs) > 1 and not isinstance(error, Unavailable):
                # One of them breaks it: it shall harm nobody else.
                return [task for job in jobs for task in await self._group(kind, [job])]
            for job in jobs:
                await self._failed(job, error)
            return ()
        remaining = {task.job.id for task in tasks}
        for job in jobs:
            if job.id not in remaining:
                self._ended(job, "done")
        return tasks

    async def _run(self, task: Task, gate: asyncio.Semaphore) -> None:
        job = task.job
        async with gate:
            if self._stopping or not self._holds(job):
                return
            self._begun.add(job.id)
            try:
                await task.work()
                if self._holds(job):
                    await self.queue.finish([job.id])
            except Exception as error:
                await self._failed(job, error)
            else:
                self._ended(job, "done")

    async def _failed(self, job: Job, error: Exception) -> None:
        """Write down that it did not work; when that fails as well, its lease ends by itself."""
        patience = _OUTAGE if isinstance(error, Unavailable) else timedelta(0)
        final = isinstance(error, Malformed) or (job.last_attempt and self.clock() - job.created_at >= patience)
        facts = {"job": job.id, "kind": job.kind, "attempt": job.attempts, "given_up": final}
        if isinstance(error, Unavailable | Malformed):
            log.logger().warning("job.failed", problem=str(error), **facts)
        else:
            log.logger().error("job.failed", exc_info=error, **facts)
        rest = None if isinstance(error, Malformed) else backoff(job.attempts, self.dice())
        words = str(error) if isinstance(error, Unavailable | Malformed) else f"a bug: {type(error).__name__}"
        try:
            if self._holds(job):
                await self.queue.fail(job.id, words, rest, patience)
        except Unavailable as trouble:
            self._database_away(trouble)
        self._ended(job, "failed" if final else "retried")

    def _ended(self, job: Job, outcome: str) -> None:
        metrics.JOBS.labels(job.kind, outcome).inc()
        if self._holds(job):
            del self._jobs[job.id]
            self._begun.discard(job.id)

    def _holds(self, job: Job) -> bool:
        """Whether it is still in hand, as it was taken: it may have been lost, and taken anew, meanwhile."""
        return self._jobs.get(job.id) is job

    def _database_away(self, error: Unavailable) -> None:
        metrics.DATABASE_ERRORS.inc()
        if self.health != "database away":
            log.logger().warning("jobs.postponed", problem=str(error))
        self.health = "database away"

    async def _prolong(self) -> None:
        """Keep what is in hand. What another worker took meanwhile is dropped, unless it is under way."""
        held = list(self._jobs)
        lost = set(held) - await self.queue.extend(held, _LEASE) if held else set()
        for job_id in lost - self._begun:
            self._jobs.pop(job_id, None)

    async def _measure(self) -> None:
        depth = await self.queue.depth()
        metrics.JOBS_WAITING.set(depth.waiting)
        metrics.JOBS_DUE.set(depth.due)
        metrics.JOBS_OLDEST_SECONDS.set(depth.oldest_due_seconds)

    async def _leave(self) -> None:
        if self._rounds:
            await asyncio.wait(self._rounds, timeout=_PATIENCE_SECONDS)
        for task in list(self._rounds):
            task.cancel()
        await asyncio.gather(*self._rounds, return_exceptions=True)
        if self._jobs:
            with suppress(Unavailable):
                await self.queue.give_back(list(self._jobs))
        self._jobs.clear()


async def _every(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled. Trouble ends nothing."""
    while True:
        try:
            await step()
        except Unavailable:
            pass  # who takes jobs meets the same trouble every few seconds, and says so once
        except Exception:
            log.logger().exception("jobs.failed")
        await asyncio.sleep(seconds)


def _bound(handler: Handler, job: Job) -> Callable[[], Awaitable[None]]:
    return lambda: handler(job.payload)
