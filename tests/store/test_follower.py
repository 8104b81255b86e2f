"""The listener for changes outlives whatever goes wrong about it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from psycopg import AsyncConnection

from mailrelay.core.errors import Unavailable
from mailrelay.store import changes
from mailrelay.store.changes import Follower

Restored = Callable[[], Awaitable[None]]
Changed = Callable[[str, str], Awaitable[None]]


class Ears:
    """What the follower's owner hears."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def restored(self) -> None:
        self.heard.put_nowait("restored")

    async def changed(self, kind: str, value: str) -> None:
        self.heard.put_nowait(f"{kind} {value}")

    def lost(self) -> None:
        self.heard.put_nowait("lost")

    async def next(self) -> str:
        async with asyncio.timeout(20):
            return await self.heard.get()


@asynccontextmanager
async def following(dsn: str, ears: Ears) -> AsyncIterator[Follower]:
    follower = Follower(dsn, ears.restored, ears.changed, ears.lost)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_RETRY_SECONDS", 0.01)


async def notify(dsn: str, *payloads: str) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        for payload in payloads:
            await conn.execute("select pg_notify('mailrelay', %s)", [payload])


@pytest.mark.parametrize("trouble", [Unavailable("the database went away again"), ValueError("a bug of ours")])
async def test_it_tries_again_when_what_was_missed_could_not_be_read(dsn: str, trouble: Exception) -> None:
    class Unlucky(Ears):
        troubles = 2

        async def restored(self) -> None:
            await super().restored()
            if self.troubles:
                self.troubles -= 1
                raise trouble

    ears = Unlucky()
    async with following(dsn, ears) as follower:
        assert [await ears.next() for _ in range(3)] == ["restored"] * 3
        async with asyncio.timeout(20):
            await follower.connected.wait()
        await notify(dsn, "alias:shop@alias.example")
        assert await ears.next() == "alias shop@alias.example"


@pytest.mark.parametrize("trouble", [Unavailable("the database is slow"), ValueError("not a number")])
async def test_after_a_change_that_could_not_be_taken_over_everything_is_read_again(
    dsn: str, trouble: Exception
) -> None:
    class Stumbling(Ears):
        async def changed(self, kind: str, value: str) -> None:
            if kind == "ban":
                raise trouble
            await super().changed(kind, value)

    ears = Stumbling()
    async with following(dsn, ears):
        assert await ears.next() == "restored"
        await notify(dsn, "ban:what")
        assert [await ears.next(), await ears.next()] == ["lost", "restored"]
        await notify(dsn, "domain:3")
        assert await ears.next() == "domain 3"


async def test_it_connects_again_when_its_session_is_ended(dsn: str) -> None:
    ears = Ears()
    async with following(dsn, ears):
        assert await ears.next() == "restored"
        async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
            await conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'mailrelay changes' "
                "and datname = current_database()"
            )
        assert [await ears.next(), await ears.next()] == ["lost", "restored"]
