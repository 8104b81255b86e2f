"""Failed deliveries over HTTP: lists, the stored message, and one resend of it (addy-api.md sections 2.11 to 3.12)."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

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
from mailrelay.store.manage_keys import DkimFolder, init_secrets
from mailrelay.wiring.failed import resend_jobs
from mailrelay.wiring.held import bench
from mailrelay.wiring.runtime import utc_now
from tests.api.addy.conftest import Desk, settings
from tests.store.test_failed import CONTENT, fail
from tests.store.test_held_cli import Postfix, postfix

__all__ = ["postfix"]

ALONE: Mapping[str, Any] = {"alias_id": None, "recipient_id": None, "content": None}
NOT_STORED = (404, {"message": ""})
ALREADY = (422, {"message": "This failed delivery has already been resent"})
NO_FORWARD = (422, {"message": 'Only messages with an email type of "Forward" can currently be resent'})


@pytest.fixture(autouse=True)
def keys(tmp_path: Path) -> None:
    """Secrets of the installation; storage.key as the helpers of the store's tests have it."""
    (tmp_path / "secrets").mkdir(0o700)
    (tmp_path / "secrets" / "storage.key").write_text(b"a secret of the installation".hex())
    init_secrets(tmp_path / "secrets")


async def failed(desk: Desk, **values: Any) -> UUID:
    """A failed delivery of johndoe's, without alias, recipient and message unless values say otherwise."""
    number = await fail(desk.conn, **{**ALONE, **values})
    found: UUID = await desk.one("select uuid from failed_delivery where id = %s", number)
    return found


async def forward(desk: Desk, **values: Any) -> UUID:
    """One that can be resent: its alias is a1@alias.example."""
    if not await desk.sql("select from alias"):
        await desk.alias("a1@alias.example")
    alias = await desk.one("select id from alias")
    return await failed(desk, **{"alias_id": alias, "recipient_id": 1, "content": CONTENT, **values})


# --- T-FD --------------------------------------------------------------------------------------------------------


async def test_t_fd_1_all_come_with_links_and_meta(desk: Desk) -> None:
    wanted = [str(await failed(desk)) for _ in range(3)]
    await failed(desk, account_id=2)
    response = await desk.get("failed-deliveries")
    assert response.status_code == 200
    assert list(response.json()) == ["data", "links", "meta"]
    assert [one["id"] for one in response.json()["data"]] == wanted[::-1]
    assert response.json()["meta"]["total"] == 3


async def test_t_fd_2_one_has_all_its_keys(desk: Desk) -> None:
    number = await failed(desk, attempted_at="2026-01-01T10:00:00Z", created_at="2026-01-01T10:00:05Z")
    response = await desk.get(f"failed-deliveries/{str(number).upper()}")
    assert response.status_code == 200
    assert list(response.json()) == ["data"]
    found = response.json()["data"]
    assert found.pop("updated_at")
    assert found == {
        "id": str(number),
        "user_id": str(await desk.one("select uuid from account where id = 1")),
        "recipient_id": None,
        "recipient_email": None,
        "alias_id": None,
        "alias_email": None,
        "bounce_type": "hard",
        "remote_mta": "mx.inbox.example",
        "sender": "news@shop.example",
        "destination": "johndoe@Inbox.example",
        "ir_dedupe_key": None,
        "type": "outbound",
        "email_type": "F",
        "email_type_text": "Forward",
        "status": "5.1.1",
        "code": "smtp; 550 5.1.1 no such user",
        "is_stored": False,
        "quarantined": False,
        "resent": False,
        "attempted_at": "2026-01-01 10:00:00",
        "created_at": "2026-01-01 10:00:05",
    }


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"ir_dedupe_key": "0" * 64}, "inbound"),
        ({"quarantined": True}, "inbound_quarantined"),
        ({"email_type": "IR"}, "inbound"),
        ({}, "outbound"),
    ],
)
async def test_t_fd_3_the_type_is_derived(desk: Desk, values: dict[str, Any], kind: str) -> None:
    number = await failed(desk, **values)
    assert (await desk.get(f"failed-deliveries/{number}")).json()["data"]["type"] == kind


@pytest.mark.parametrize(
    ("rows", "kind", "count"),
    [
        pytest.param(({"email_type": "IR"}, {"email_type": "IR"}, {}), "inbound", 2, id="T-FD-4"),
        pytest.param(({"email_type": "IR"}, {"email_type": "IR"}, {}), "outbound", 1, id="T-FD-5"),
        pytest.param(({"quarantined": True}, {}), "inbound_quarantined", 1, id="T-FD-6"),
    ],
)
async def test_t_fd_4_5_6_lists_can_be_had_of_one_type(
    desk: Desk, rows: Sequence[dict[str, Any]], kind: str, count: int
) -> None:
    for row in rows:
        await failed(desk, **row)
    response = await desk.get(f"failed-deliveries?filter[email_type]={kind}")
    assert response.status_code == 200
    assert [one["type"] for one in response.json()["data"]] == [kind] * count
    assert response.json()["meta"]["total"] == count


async def test_t_fd_7_pages(desk: Desk) -> None:
    for _ in range(3):
        await failed(desk)
    first = (await desk.get("failed-deliveries?page[size]=2&page[number]=1")).json()
    assert (len(first["data"]), first["meta"]["total"], first["meta"]["last_page"]) == (2, 3, 2)
    rest = (await desk.get("failed-deliveries?page[size]=2&page[number]=2")).json()
    assert (len(rest["data"]), rest["links"]["next"]) == (1, None)
    assert {one["id"] for one in first["data"]}.isdisjoint(one["id"] for one in rest["data"])
    beyond = await desk.get("failed-deliveries?page[number]=999999999999")
    assert (beyond.status_code, beyond.json()["data"]) == (200, [])


async def test_t_fd_8_a_deleted_one_is_gone_with_its_message(desk: Desk) -> None:
    number = await failed(desk, content=CONTENT)
    response = await desk.delete(f"failed-deliveries/{number}")
    assert (response.status_code, response.content) == (204, b"")
    assert await desk.sql("select from failed_delivery") == []
    assert await desk.sql("select from stored_message") == []
    assert (await desk.delete(f"failed-deliveries/{number}")).status_code == 404
    token = await desk.one("select id from token")
    assert await desk.sql("select actor, account_id, action from audit") == [(f"token:{token}", 1, "failed.delete")]


# --- shapes ------------------------------------------------------------------------------------------------------


async def test_alias_and_recipient_are_told_until_they_are_gone(desk: Desk) -> None:
    number = await forward(desk)
    alias = await desk.one("select uuid from alias")
    recipient = await desk.one("select uuid from recipient where id = 1")
    path = f"failed-deliveries/{number}"
    names = ("alias_id", "alias_email", "recipient_id", "recipient_email")

    async def told() -> list[Any]:
        one = (await desk.get(path)).json()["data"]
        [listed] = (await desk.get("failed-deliveries")).json()["data"]
        assert listed == one
        return [one[name] for name in names]

    assert await told() == [str(alias), "a1@alias.example", str(recipient), "me@inbox.example"]
    await desk.sql("update alias set state = 'deleted', deleted_at = now()")
    assert (await told())[:2] == [str(alias), "a1@alias.example"]
    await desk.sql("update alias set state = 'forgotten', account_id = null")
    await desk.sql("update failed_delivery set recipient_id = null")
    assert await told() == [None, None, None, None]


async def test_what_apps_need_as_text_is_text(desk: Desk) -> None:
    nothing = {"bounce_type": None, "status": None, "code": None, "remote_mta": None, "sender": None}
    number = await failed(desk, **nothing, destination=None, subject=None)
    found = (await desk.get(f"failed-deliveries/{number}")).json()["data"]
    strings = ("bounce_type", "status", "code", "remote_mta", "attempted_at")
    assert [found[name] for name in strings] == ["soft", "4.0.0", "", "mx.relay.example", found["created_at"]]
    assert (found["sender"], found["destination"]) == (None, None)


async def test_diagnostic_texts_are_ascii(desk: Desk) -> None:
    number = await failed(desk, code="550 unbekannter Empf\u00e4nger \U0001f4a9", status=None)
    found = (await desk.get(f"failed-deliveries/{number}")).json()["data"]
    assert (found["code"], found["status"]) == ("550 unbekannter Empf?nger ?", "5.0.0")


@pytest.mark.parametrize(("code", "text"), [("ADUN", "Alias Deactivated by One-Click Unsubscribe"), ("XX", "Forward")])
async def test_codes_have_texts(desk: Desk, code: str, text: str) -> None:
    number = await failed(desk, email_type=code)
    assert (await desk.get(f"failed-deliveries/{number}")).json()["data"]["email_type_text"] == text


async def test_without_the_key_of_storage_the_rest_can_be_had(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "secrets" / "storage.key").unlink()
    assert (await desk.get("failed-deliveries")).status_code == 500
    assert (await desk.get("rules")).status_code == 200


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("filter[email_type]=F", {"filter.email_type": ["The selected filter.email_type is invalid."]}),
        ("filter[email_type][]=inbound", {"filter.email_type": ["The selected filter.email_type is invalid."]}),
        ("filter=inbound", {"filter": ["The filter must be an array."]}),
        ("page=2", {"page": ["The page must be an array."]}),
        ("page[size]=0", {"page.size": ["The page.size must be at least 1."]}),
        ("page[number]=x&page[size]=101", {
            "page.number": ["The page.number must be an integer."],
            "page.size": ["The page.size may not be greater than 100."],
        }),
    ],
)  # fmt: skip
async def test_odd_queries_are_refused(desk: Desk, query: str, errors: Any) -> None:
    response = await desk.get(f"failed-deliveries?{query}")
    assert (response.status_code, response.json()["errors"]) == (422, errors)


@pytest.mark.parametrize("given", [{"filter": ["x"], "page": ["y"]}, {"filter": [], "page": {}}, {"filter": None}])
async def test_lists_in_place_of_groups_say_nothing(desk: Desk, given: Any) -> None:
    await failed(desk)
    response = await desk.ask("GET", "failed-deliveries", given)
    assert (response.status_code, response.json()["meta"]["total"]) == (200, 1)


@pytest.mark.parametrize("number", ["x", "1", str(UUID(int=5)), "%00", "%ED%A0%80"])
async def test_what_is_none_is_not_found(desk: Desk, number: str) -> None:
    await failed(desk)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/download")):
        response = await desk.ask(method, f"failed-deliveries/{number}{path}")
        assert response.status_code == 404
        assert response.json()["message"].startswith("No query results for model [App\\Models\\FailedDelivery] ")


async def test_those_of_others_are_not_found(desk: Desk) -> None:
    theirs = await failed(desk, account_id=2, content=CONTENT)
    message = {"message": f"No query results for model [App\\Models\\FailedDelivery] {theirs}"}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/download"), ("POST", "/resend")):
        response = await desk.ask(method, f"failed-deliveries/{theirs}{path}")
        assert (response.status_code, response.json()) == (404, message)
    assert len(await desk.sql("select from failed_delivery")) == 1


# --- N11 ---------------------------------------------------------------------------------------------------------


async def test_n11_the_message_comes_as_it_is(desk: Desk) -> None:
    number = await failed(desk, content=CONTENT)
    assert (await desk.get(f"failed-deliveries/{number}")).json()["data"]["is_stored"] is True
    response = await desk.get(f"failed-deliveries/{str(number).upper()}/download")
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["Content-Type"] == "message/rfc822"
    assert response.headers["Content-Disposition"] == f"attachment; filename={number}.eml"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_n11_a_message_that_is_not_there_has_an_empty_answer(desk: Desk) -> None:
    missing = await failed(desk)
    damaged = await failed(desk, content=CONTENT)
    await desk.sql("update stored_message set content = content || '\\x00'")
    for number in (missing, damaged):
        response = await desk.get(f"failed-deliveries/{number}/download")
        assert (response.status_code, response.json()) == NOT_STORED


# --- N12 ---------------------------------------------------------------------------------------------------------


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
