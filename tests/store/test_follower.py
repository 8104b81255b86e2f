"""Following changes: what is told, what a broken connection means, and that nothing ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg import AsyncConnection

from mailrelay.core.errors import Unavailable
from mailrelay.store import changes
from mailrelay.store.changes import Follower
from tests.store.postgres import Cluster, private_cluster
from tests.store.world import Connection, alias, insert

PATIENCE_SECONDS = 30


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_RETRY_SECONDS", 0.01)


@dataclass
class Memory:
    """What a process hears. trouble: raised by the next calls, first one first."""

    heard: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    trouble: list[Exception] = field(default_factory=list)

    async def restored(self) -> None:
        self._tell("restored")

    async def changed(self, kind: str, value: str) -> None:
        self._tell(f"{kind}={value}")

    def lost(self) -> None:
        self.heard.put_nowait("lost")

    def _tell(self, what: str) -> None:
        if self.trouble:
            raise self.trouble.pop(0)
        self.heard.put_nowait(what)

    async def next(self) -> str:
        return await asyncio.wait_for(self.heard.get(), PATIENCE_SECONDS)


Start = Callable[[Memory], Follower]


@pytest.fixture
async def start(dsn: str) -> AsyncIterator[Start]:
    """Starts followers, and ends them after the test."""
    tasks: list[asyncio.Task[None]] = []

    def begin(memory: Memory) -> Follower:
        follower = Follower(dsn, memory.restored, memory.changed, memory.lost)
        tasks.append(asyncio.create_task(follower.run()))
        return follower

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def hang_up(conn: Connection) -> None:
    """As a server does that goes away."""
    await conn.execute(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'mailrelay changes'"
    )


async def test_changes_are_told_in_their_order(conn: Connection, start: Start) -> None:
    memory = Memory()
    follower = start(memory)
    assert await memory.next() == "restored"
    await asyncio.wait_for(follower.connected.wait(), PATIENCE_SECONDS)
    number = await alias(conn, "shop@alias.example")
    ban = await insert(conn, "ban", type="name", value="spam")
    await conn.execute("update alias set emails_forwarded = 7 where id = %s", (number,))  # no change that matters
    await conn.execute("update account set block_behaviour = 'reject' where id = 1")
    assert [await memory.next() for _ in range(3)] == ["alias=shop@alias.example", f"ban={ban}", "account=1"]


async def test_what_changes_while_everything_is_read_is_told_afterwards(conn: Connection, dsn: str) -> None:
    memory = Memory()

    async def restored() -> None:
        await alias(conn, "meanwhile@alias.example")
        await memory.restored()

    task = asyncio.create_task(Follower(dsn, restored, memory.changed, memory.lost).run())
    assert [await memory.next() for _ in range(2)] == ["restored", "alias=meanwhile@alias.example"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_broken_connection_is_told_and_everything_read_again(conn: Connection, start: Start) -> None:
    memory = Memory()
    follower = start(memory)
    assert await memory.next() == "restored"
    await asyncio.wait_for(follower.connected.wait(), PATIENCE_SECONDS)
    await hang_up(conn)
    assert [await memory.next() for _ in range(2)] == ["lost", "restored"]
    await asyncio.wait_for(follower.connected.wait(), PATIENCE_SECONDS)
    await alias(conn, "after@alias.example")
    assert await memory.next() == "alias=after@alias.example"


@pytest.mark.parametrize("trouble", [Unavailable("away"), ValueError("our bug"), OSError("no route")])
async def test_trouble_while_reading_is_tried_again(start: Start, trouble: Exception) -> None:
    memory = Memory(trouble=[trouble, trouble])
    follower = start(memory)
    assert await memory.next() == "restored"
    await asyncio.wait_for(follower.connected.wait(), PATIENCE_SECONDS)
    assert memory.heard.empty()  # nothing was connected before, so nothing was lost


@pytest.mark.parametrize("trouble", [Unavailable("away"), ValueError("our bug")])
async def test_trouble_with_a_change_reads_everything_again(conn: Connection, start: Start, trouble: Exception) -> None:
    memory = Memory()
    start(memory)
    assert await memory.next() == "restored"
    memory.trouble.append(trouble)
    await alias(conn, "shop@alias.example")
    assert [await memory.next() for _ in range(2)] == ["lost", "restored"]


async def test_a_notification_that_nobody_understands_is_passed_on(conn: Connection, start: Start) -> None:
    memory = Memory()
    start(memory)
    assert await memory.next() == "restored"
    await conn.execute("notify mailrelay")
    await conn.execute("notify mailrelay, 'weather:fine:today'")
    assert [await memory.next() for _ in range(2)] == ["=", "weather=fine:today"]


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A server that a test may restart; the session's is for everybody."""
    with private_cluster() as cluster:
        yield cluster


async def test_a_crash_of_the_server_is_survived(own_cluster: Cluster) -> None:
    dsn = own_cluster.create()
    memory = Memory()
    follower = Follower(dsn, memory.restored, memory.changed, memory.lost)
    task = asyncio.create_task(follower.run())
    assert await memory.next() == "restored"
    await asyncio.wait_for(follower.connected.wait(), PATIENCE_SECONDS)
    await asyncio.to_thread(own_cluster.stop, "immediate")
    assert await memory.next() == "lost"
    with pytest.raises(psycopg.OperationalError):
        await AsyncConnection.connect(dsn)
    await asyncio.to_thread(own_cluster.start)
    assert await memory.next() == "restored"
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute("notify mailrelay, 'domain:1'")
    assert await memory.next() == "domain=1"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
