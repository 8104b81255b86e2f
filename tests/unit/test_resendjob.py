"""A resend that is left to the worker: who asks waits for how it ends, and no longer than sensible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict, Malformed, Unavailable
from mailrelay.core.facts import AccountId, RecipientId, Target
from mailrelay.core.failed import AlreadyResent, FailedId, NotForward, NotSent, NotStored, Resent
from mailrelay.core.jobs import RESEND, JobEnd, JobId
from mailrelay.flows.resendjob import ResendByWorker, ResendJobs
from tests.unit.failures import RECORD
from tests.unit.fakes import NOW

JOB = JobId(7)


@dataclass
class Queue:
    """Jobs whose end is seen at the look number `ends_at`."""

    ends_at: int | None = 3
    problem: str = ""
    asked: list[tuple[str, Mapping[str, object], str]] = field(default_factory=list)
    looks: int = 0
    withdrawn: list[JobId] = field(default_factory=list)
    rested: list[float] = field(default_factory=list)

    async def ask(self, kind: str, payload: Mapping[str, object], dedupe_key: str) -> JobId:
        self.asked.append((kind, payload, dedupe_key))
        return JOB

    async def end(self, job_id: JobId) -> JobEnd | None:
        assert job_id == JOB
        self.looks += 1
        return JobEnd(self.problem) if self.looks == self.ends_at else None

    async def withdraw(self, job_id: JobId) -> None:
        self.withdrawn.append(job_id)

    async def rest(self, seconds: float) -> None:
        self.rested.append(seconds)


async def nobody(account_id: AccountId, uuids: Sequence[UUID], /) -> Sequence[Target]:
    return ()


def story(queue: Queue) -> ResendByWorker:
    return ResendByWorker(queue, nobody, queue.rest)


def target(local: str) -> Target:
    return Target(RecipientId(1), Address(local, "inbox.example"), True, NOW, None)


async def test_who_asks_waits_for_the_end() -> None:
    queue = Queue()
    assert (await story(queue)(RECORD, "token:5", [target("me")])).id == RECORD.id
    payload = {"failed_id": RECORD.id, "actor": "token:5", "data": {"to": ["me@inbox.example"]}}
    assert queue.asked == [(RESEND, payload, f"resend:{RECORD.id}")]
    assert (queue.looks, queue.withdrawn) == (3, [])
    assert queue.rested == sorted(queue.rested)


async def test_what_went_wrong_is_said() -> None:
    with pytest.raises(NotSent, match="Postfix is away"):
        await story(Queue(problem="Postfix is away"))(RECORD, "token:5")


async def test_a_job_that_nobody_does_is_taken_back() -> None:
    queue = Queue(ends_at=None)
    with pytest.raises(NotSent):
        await story(queue)(RECORD, "token:5")
    assert queue.withdrawn == [JOB]
    assert 15 < sum(queue.rested) < 30


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"is_stored": False, "resent": True}, NotStored),
        ({"resent": True, "email_type": "R"}, AlreadyResent),
        ({"email_type": "R"}, NotForward),
    ],
)
async def test_what_cannot_be_resent_makes_no_job(change: dict[str, Any], error: type[Exception]) -> None:
    queue = Queue()
    with pytest.raises(error):
        await story(queue)(replace(RECORD, **change), "token:5")
    assert queue.asked == []


async def test_the_worker_sends_to_whom_the_job_says() -> None:
    sent: list[tuple[FailedId, str, Sequence[Address]]] = []

    async def send(failed_id: FailedId, actor: str, mailboxes: Sequence[Address]) -> Resent:
        sent.append((failed_id, actor, mailboxes))
        return Resent(failed_id, 1)

    await ResendJobs(send)({"failed_id": 3, "actor": "token:5", "data": {"to": ["Me@inbox.example"]}})
    assert sent == [(3, "token:5", [Address("Me", "inbox.example")])]


@pytest.mark.parametrize("error", [Absent("gone"), Conflict("nobody"), Unavailable("away"), Malformed("no key")])
async def test_whatever_fails_is_not_tried_again(error: Exception) -> None:
    async def send(failed_id: FailedId, actor: str, mailboxes: Sequence[Address]) -> Resent:
        raise error

    with pytest.raises(Malformed, match=str(error)):
        await ResendJobs(send)({"failed_id": 3, "actor": "token:5", "data": {"to": []}})


@pytest.mark.parametrize(
    "payload", [{}, {"failed_id": "3", "data": {"to": []}}, {"failed_id": 3}, {"failed_id": 3, "data": {}}]
)
async def test_a_job_that_makes_no_sense_is_malformed(payload: Mapping[str, object]) -> None:
    async def send(failed_id: FailedId, actor: str, mailboxes: Sequence[Address]) -> Resent:
        raise AssertionError("nothing is sent")

    with pytest.raises(Malformed):
        await ResendJobs(send)(payload)
