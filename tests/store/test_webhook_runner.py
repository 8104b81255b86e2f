"""Deliveries to webhooks, with a real database: in order, at least once, and nobody waits for others."""

import asyncio
import json
import random
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest

from mailrelay import metrics
from mailrelay.clients.webhook import WebhookClient
from mailrelay.core.webhooks import Answer, verify
from mailrelay.flows.webhooks import Line, WebhookRunner
from mailrelay.store.database import Database
from mailrelay.store.webhooks import WebhookStore
from tests.store.webhookshop import SECRET, VAULT, Shop, announce, opened
from tests.store.world import JOHN, OTHER, Connection, value
from tests.unit.test_webhook_client import read, serving

SECONDS = 30.0  # nothing below takes as long


@pytest.fixture
async def shop(dsn: str, conn: Connection) -> AsyncIterator[Shop]:
    async with opened(dsn) as shop:
        yield shop


@dataclass
class Moody:
    """A receiver that fails in one way or another half the time. heard: the documents that it took."""

    lottery: random.Random
    heard: list[Mapping[str, Any]] = field(default_factory=list)
    attempts: int = 0
    enough: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        while True:
            header, _, content = (await read(reader)).partition(b"\r\n\r\n")
            self.attempts += 1
            mood = self.lottery.randrange(6)
            if mood == 0:
                return  # hangs up before it has looked at anything
            fields = dict(line.split(b": ", 1) for line in header.split(b"\r\n")[1:])
            signature = fields[b"Mailrelay-Signature"].decode()
            assert verify(SECRET, signature, content, int(datetime.now(UTC).timestamp()))
            document = json.loads(content)
            assert fields[b"Webhook-Id"].decode() == document["id"]
            if mood == 1:
                writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
                continue
            self.heard.append(document)
            if len({one["id"] for one in self.heard}) >= self.enough:
                self.done.set()
            if mood == 2:
                return  # took it and says nothing: it will come again
            writer.write(b"HTTP/1.1 204 Yes\r\n\r\n")


def without_repeats(documents: list[Mapping[str, Any]]) -> list[Any]:
    """What a receiver that remembers ids makes of it: the payloads' n."""
    return list({document["id"]: document["payload"]["n"] for document in documents}.values())


def runner(shop: Shop, seconds: float = 5.0, **more: Any) -> WebhookRunner:
    async def resolve(host: str) -> list[IPv4Address]:
        return [IPv4Address("127.0.0.1")]

    client = WebhookClient(resolve, [ip_network("127.0.0.0/8")], seconds)
    settings = {"pause": lambda failures: timedelta(0), "poll_seconds": 0.01, **more}
    return WebhookRunner(shop.store, client, lambda: datetime.now(UTC), **settings)


async def test_every_event_reaches_a_receiver_that_fails_half_the_time_at_least_once_and_in_order(
    shop: Shop, conn: Connection
) -> None:
    receivers = {None: Moody(random.Random(1), enough=60), JOHN: Moody(random.Random(2), enough=30)}
    stop = asyncio.Event()
    async with serving(receivers[None]) as all_port, serving(receivers[JOHN]) as own_port:
        await shop.add(None, url=f"http://all.example:{all_port}/")
        await shop.add(JOHN, url=f"http://own.example:{own_port}/")
        running = asyncio.gather(*(runner(shop).run(stop) for _ in range(2)))  # two workers share the work
        for number in range(60):
            await announce(conn, account=(JOHN, OTHER)[number % 2], n=number)
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(receiver.done.wait() for receiver in receivers.values()))
        stop.set()
        await running
    for receiver in receivers.values():
        numbers = [document["payload"]["n"] for document in receiver.heard]
        assert numbers == sorted(numbers), "a repeat comes before the next"
    assert without_repeats(receivers[None].heard) == list(range(60))
    assert without_repeats(receivers[JOHN].heard) == list(range(0, 60, 2))
    assert receivers[None].attempts > 60, "it did not fail"


async def test_one_slow_receiver_holds_up_nobody(shop: Shop, conn: Connection) -> None:
    asked, enough = asyncio.Event(), asyncio.Event()

    async def silent(reader: Reader, writer: Writer) -> None:
        await read(reader)
        asked.set()
        await enough.wait()
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    quick = Moody(random.Random(3), enough=20)
    stop = asyncio.Event()
    async with serving(silent) as silent_port, serving(quick) as quick_port:
        slow = await shop.add(None, url=f"http://slow.example:{silent_port}/")
        await announce(conn, n=0)
        async with asyncio.timeout(SECONDS):
            running = asyncio.create_task(runner(shop, SECONDS, concurrency=2).run(stop))
            await asked.wait()
            await shop.add(JOHN, url=f"http://quick.example:{quick_port}/")
            for number in range(1, 21):
                await announce(conn, n=number)
            await quick.done.wait()
            assert (await shop.webhooks.show(str(slow.id))).failures == 0, "it is still being waited for"
            stop.set()
            enough.set()
            await running
    assert without_repeats(quick.heard) == list(range(1, 21))
    record = await shop.webhooks.show(str(slow.id))
    assert (record.failures, record.last_error, record.waiting) == (1, "answered 500", 21)


@dataclass
class Phone:
    """A client without a network. answers: one an event, then deliveries."""

    answers: list[Answer] = field(default_factory=list)
    said: list[int] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def line(self, target: object, of_account: bool) -> "Phone":
        return self

    async def __aenter__(self) -> Line:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        self.said.append(json.loads(body)["payload"]["n"])
        self.done.set()
        return self.answers.pop(0) if self.answers else Answer(204, "")


async def settled(shop: Shop, phone: Phone, condition: Any, **more: Any) -> WebhookRunner:
    """Runs until a condition holds for every webhook's record; the last look is over then."""
    stop = asyncio.Event()
    one = WebhookRunner(shop.store, phone, lambda: datetime.now(UTC), poll_seconds=0.01, **more)
    running = asyncio.create_task(one.run(stop))
    async with asyncio.timeout(SECONDS):
        while not all(map(condition, await shop.webhooks.page())):  # noqa: ASYNC110 - the database has no events
            await asyncio.sleep(0.01)
        stop.set()
        await running
    return one


async def becomes(one: WebhookRunner, health: str) -> None:
    while one.health != health:  # noqa: ASYNC110 - a plain attribute, for whoever asks
        await asyncio.sleep(0.01)


async def test_a_receiver_that_never_answers_is_given_up(shop: Shop, conn: Connection) -> None:
    await shop.add(None)
    await announce(conn)
    given_up = metrics.WEBHOOKS_GIVEN_UP._value.get()
    phone = Phone([Answer(500, "answered 500")] * 10)
    await settled(shop, phone, lambda record: not record.active, pause=lambda n: timedelta(0) if n < 4 else None)
    [record] = await shop.webhooks.page()
    assert (record.failures, record.last_error, record.waiting) == (4, "answered 500", 1)
    assert phone.said == [0] * 4
    assert metrics.WEBHOOKS_GIVEN_UP._value.get() == given_up + 1


async def test_after_a_success_failures_are_counted_anew(shop: Shop, conn: Connection) -> None:
    await shop.add(None)
    for number in range(3):
        await announce(conn, n=number)
    bad = Answer(500, "answered 500")
    asked: list[int] = []

    def pause(failures: int) -> timedelta:
        asked.append(failures)
        return timedelta(0)

    phone = Phone([bad, bad, Answer(200, ""), bad, Answer(200, "")])
    await settled(shop, phone, lambda record: record.waiting == 0, pause=pause)
    assert phone.said == [0, 0, 0, 1, 1, 2]
    assert asked == [1, 2, 1]
    [record] = await shop.webhooks.page()
    assert (record.failures, record.last_error) == (0, None)


async def test_events_for_others_are_passed_over_for_good(shop: Shop, conn: Connection) -> None:
    await shop.add(None, "mail.failed")
    await shop.add(JOHN)
    for number in range(250):
        await announce(conn, n=number)
    await announce(conn, "mail.failed", n=999)
    phone = Phone()
    await settled(shop, phone, lambda record: record.waiting == 0)
    assert phone.said.count(999) == 2  # one for either
    here = await value(conn, "select position_id from webhook order by id limit 1")
    assert here == await value(conn, "select max(id) from outbox")


async def test_an_event_arrives_without_being_asked_for(shop: Shop, conn: Connection) -> None:
    """The runner looks each second by itself."""
    await shop.add(None)
    stop, phone = asyncio.Event(), Phone()
    one = WebhookRunner(shop.store, phone, lambda: datetime.now(UTC), poll_seconds=0.05)
    running = asyncio.create_task(one.run(stop))
    async with asyncio.timeout(SECONDS):
        await becomes(one, "ok")
        await announce(conn, n=7)
        await phone.done.wait()
        stop.set()
        await running
    assert phone.said == [7]


async def test_a_url_that_is_none_by_now_and_a_secret_that_is_gone_are_failures(shop: Shop, conn: Connection) -> None:
    await shop.add(None)
    await conn.execute("update webhook set url = 'https://hook.example:25/'")
    await announce(conn)
    await settled(shop, Phone(), lambda record: record.failures == 1, pause=lambda failures: timedelta(hours=1))
    assert "the port is" in ((await shop.webhooks.page())[0].last_error or "")
    await conn.execute("update webhook set secret = '', next_try_at = now()")
    await settled(shop, Phone(), lambda record: record.failures == 2, pause=lambda failures: timedelta(hours=1))
    assert "storage.key" in ((await shop.webhooks.page())[0].last_error or "")


async def test_without_a_database_the_runner_waits_and_says_so(dsn: str) -> None:
    database = Database("host=/nowhere dbname=none", 1, 0.2, "test")
    await database.open()
    stop = asyncio.Event()
    one = WebhookRunner(WebhookStore(database, VAULT), Phone(), lambda: datetime.now(UTC))
    running = asyncio.create_task(one.run(stop))
    async with asyncio.timeout(SECONDS):
        await becomes(one, "database away")
        stop.set()
        await running
    await database.close()
