"""Failed deliveries sent once more over HTTP: N12 of addy-api.md."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mailrelay.core.address import Address
from mailrelay.core.errors import Absent, Conflict, Unavailable
from mailrelay.core.failed import FailedId, Resent
from mailrelay.core.jobs import RESEND
from mailrelay.core.plan import Refused
from mailrelay.flows import resendjob
from mailrelay.flows.jobs import JobRunner
from mailrelay.flows.resendjob import ResendJobs
from mailrelay.store.database import Database
from mailrelay.store.jobs import JobStore
from mailrelay.store.manage_keys import DkimFolder
from mailrelay.wiring.failed import resend_jobs
from mailrelay.wiring.held import bench
from mailrelay.wiring.runtime import utc_now
from tests.api.addy.conftest import Desk, settings
from tests.api.addy.failures import NOT_STORED, forward, keys
from tests.store.test_held_cli import Postfix, postfix

__all__ = ["keys", "postfix"]

ALREADY = (422, {"message": "This failed delivery has already been resent"})
NO_FORWARD = (422, {"message": 'Only messages with an email type of "Forward" can currently be resent'})


class Hand:
    """Stands in for what the worker sends with."""

    def __init__(self) -> None:
        self.asked: list[tuple[FailedId, str, list[str]]] = []
        self.error: Exception | None = None

    async def __call__(self, failed_id: FailedId, actor: str, mailboxes: Sequence[Address]) -> Resent:
        self.asked.append((failed_id, actor, [str(mailbox) for mailbox in mailboxes]))
        if self.error is not None:
            raise self.error
        return Resent(failed_id, 1)


async def run(database: Database, handler: ResendJobs) -> AsyncIterator[None]:
    """A worker that does nothing else."""
    runner = JobRunner(JobStore(database, "test"), {RESEND: handler}, {}, lambda: 0.5, utc_now)
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    waker = asyncio.create_task(_wake(runner))
    yield
    stop.set()
    runner.wake.set()
    await task
    waker.cancel()
    await asyncio.gather(waker, return_exceptions=True)


async def _wake(runner: JobRunner) -> None:
    while True:
        runner.wake.set()
        await asyncio.sleep(0.02)


@pytest.fixture
async def hand(dsn: str, desk: Desk) -> AsyncIterator[Hand]:
    """A worker at work."""
    database = Database(dsn, 2, 20.0, "worker")
    await database.open()
    made = Hand()
    async for _ in run(database, ResendJobs(made)):
        yield made
    await database.close()


@pytest.fixture
async def worker(dsn: str, desk: Desk, tmp_path: Path, postfix: type[Postfix]) -> AsyncIterator[type[Postfix]]:
    """The whole worker's part, down to Postfix."""
    DkimFolder(tmp_path / "dkim").ensure("alias.example")
    async with bench(settings(dsn, tmp_path), "worker") as parts:
        async for _ in run(parts.runtime.database, resend_jobs(parts)):
            yield postfix


async def test_n12_a_forward_goes_out_once_more(desk: Desk, worker: type[Postfix]) -> None:
    number = await forward(desk)
    response = await desk.post(f"failed-deliveries/{number}/resend")
    assert (response.status_code, response.content) == (204, b"")
    [copy] = worker.copies
    assert copy.rcpt == "me@inbox.example"
    assert b"\r\nX-Mailrelay-Resend: Yes\r\n" in b"".join(copy.content)
    found = (await desk.get(f"failed-deliveries/{number}")).json()["data"]
    assert found["resent"] is True
    token = await desk.one("select id from token")
    assert await desk.sql("select actor, action from audit") == [(f"token:{token}", "failed.resend")]
    response = await desk.post(f"failed-deliveries/{number}/resend")
    assert (response.status_code, response.json()) == ALREADY
    assert len(worker.copies) == 1
    assert await desk.sql("select payload ? 'data' from job") == [(False,)]


async def test_n12_it_goes_to_whom_one_chooses(desk: Desk, worker: type[Postfix]) -> None:
    second, third = [await desk.recipient(f"{name}@Inbox2.example") for name in ("Second", "third")]
    number = await forward(desk)
    response = await desk.post(
        f"failed-deliveries/{number}/resend", {"recipient_ids": [str(second).upper(), str(third), str(second)]}
    )
    assert response.status_code == 204, response.text
    assert sorted(copy.rcpt for copy in worker.copies) == ["Second@inbox2.example", "third@inbox2.example"]


async def test_n12_when_postfix_does_not_take_it_nothing_is_resent(
    desk: Desk, worker: type[Postfix], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await forward(desk)
    for answer in (Refused(451, "4.3.0 later"), Refused(554, "5.7.1 never")):
        monkeypatch.setattr(worker, "answer", answer)
        response = await desk.post(f"failed-deliveries/{number}/resend")
        assert (response.status_code, response.text) == (500, "Failed to resend email")
        assert response.headers["Content-Type"].startswith("text/plain")
    assert (await desk.get(f"failed-deliveries/{number}")).json()["data"]["resent"] is False
    assert await desk.sql("select from job where finished_at is null and failed_at is null") == []


async def test_n12_many_who_press_at_once_send_one(desk: Desk, worker: type[Postfix]) -> None:
    number = await forward(desk)
    responses = await asyncio.gather(*(desk.post(f"failed-deliveries/{number}/resend") for _ in range(10)))
    assert {response.status_code for response in responses} <= {204, 422}
    assert len(worker.copies) == 1


@pytest.mark.parametrize("error", [Unavailable("away"), Conflict("nobody"), Absent("gone"), RuntimeError("a bug")])
async def test_n12_what_the_worker_cannot_do_is_said_and_not_done_later(
    desk: Desk, hand: Hand, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(error, RuntimeError):  # the queue would try a bug again
        monkeypatch.setattr(resendjob, "_PATIENCE_SECONDS", 1.0)
    hand.error = error
    number = await forward(desk)
    response = await desk.post(f"failed-deliveries/{number}/resend")
    assert (response.status_code, response.text) == (500, "Failed to resend email")
    assert len(hand.asked) == 1
    assert await desk.sql("select from job where finished_at is null and failed_at is null") == []


async def test_n12_without_a_worker_it_is_said_and_not_done_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resendjob, "_PATIENCE_SECONDS", 0.2)
    number = await forward(desk)
    response = await desk.post(f"failed-deliveries/{number}/resend")
    assert (response.status_code, response.text) == (500, "Failed to resend email")
    assert await desk.sql("select from job") == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"content": None, "resent": True, "email_type": "R"}, NOT_STORED),
        ({"resent": True, "email_type": "R"}, ALREADY),
        ({"email_type": "R"}, NO_FORWARD),
        ({"email_type": "IR"}, NO_FORWARD),
        ({"alias_id": None}, NO_FORWARD),
    ],
)
async def test_n12_errors_come_in_order(desk: Desk, hand: Hand, values: dict[str, Any], expected: Any) -> None:
    number = await forward(desk, **values)
    response = await desk.post(f"failed-deliveries/{number}/resend", {"recipient_ids": []})
    assert (response.status_code, response.json()) == expected
    assert hand.asked == []


@pytest.mark.parametrize("state", ["deleted", "forgotten"])
async def test_n12_the_alias_must_be_there(desk: Desk, hand: Hand, state: str) -> None:
    number = await forward(desk)
    await desk.sql(
        "update alias set state = %s, deleted_at = now(), account_id = case when %s = 'deleted' then 1 end",
        state,
        state,
    )
    response = await desk.post(f"failed-deliveries/{number}/resend")
    assert (response.status_code, response.json()) == NO_FORWARD
    assert hand.asked == []


async def test_n12_recipients_are_own_and_verified(desk: Desk, hand: Hand) -> None:
    mine, theirs = await desk.recipient("mine@inbox.example"), await desk.recipient("x@inbox.example", account=2)
    unverified = await desk.recipient("new@inbox.example", verified=False)
    number = await forward(desk)
    path = f"failed-deliveries/{number}/resend"
    for sent in ([str(theirs)], [str(mine), str(unverified)], [str(uuid4())], ["x"], [None], [[str(mine)]], [7]):
        response = await desk.post(path, {"recipient_ids": sent})
        assert (response.status_code, response.json()["errors"]) == (422, {"recipient_ids": ["Invalid Recipient"]}), (
            sent
        )
    for odd, message in (
        (f"[{mine}]", "The recipient ids must be an array."),
        ([str(mine)] * 11, "The recipient ids may not have more than 10 items."),
        ([str(mine)] * 10_000, "The recipient ids may not have more than 10 items."),
    ):
        response = await desk.post(path, {"recipient_ids": odd})
        assert (response.status_code, response.json()["errors"]) == (422, {"recipient_ids": [message]})
    assert hand.asked == []
    assert (await desk.post(path, {"recipient_ids": None})).status_code == 204
    assert (await desk.post(path, {"recipient_ids": {"0": str(mine)}})).status_code == 204
    assert [to for _, _, to in hand.asked] == [[], ["mine@inbox.example"]]


@pytest.mark.parametrize("number", ["x", "1", "%00", "%ED%A0%80"])
async def test_n12_the_id_is_looked_at_with_the_rest(desk: Desk, number: str) -> None:
    invalid = "The id must be a valid UUID."
    response = await desk.post(f"failed-deliveries/{number}/resend", {"id": str(uuid4())})
    assert (response.status_code, response.json()) == (422, {"message": invalid, "errors": {"id": [invalid]}})
    response = await desk.post(f"failed-deliveries/{number}/resend", {"recipient_ids": [str(uuid4())]})
    assert response.json()["errors"] == {"recipient_ids": ["Invalid Recipient"], "id": [invalid]}
    response = await desk.post(f"failed-deliveries/{uuid4()}/resend")
    assert response.status_code == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", json.dumps({"recipient_ids": {"a": {"b": "\ud800"}}}).encode()])
async def test_n12_odd_bodies_send_nothing_to_strangers(desk: Desk, hand: Hand, body: bytes) -> None:
    number = await forward(desk)
    response = await desk.ask("POST", f"failed-deliveries/{number}/resend", content=body)
    assert response.status_code in (204, 400, 422)
    assert all(to == [] for _, _, to in hand.asked)
