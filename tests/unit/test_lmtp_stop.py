"""A role that is told to stop answers what it has taken and takes nothing more, so that no outcome is in doubt."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from mailrelay.core.plan import Mail
from mailrelay.core.reply import ACCEPTED, Reply
from mailrelay.endpoint import Endpoint
from mailrelay.servers.lmtp import LmtpServer

ENVELOPE = b"MAIL FROM:<news@shop.example>\r\nRCPT TO:<shop@alias.example>\r\nDATA\r\n"


class Deliveries:
    """Takes as long as the test wants."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.seen: list[Mail] = []

    async def __call__(self, mail: Mail) -> Sequence[Reply]:
        self.seen.append(mail)
        self.begun.set()
        await self.may_end.wait()
        return [ACCEPTED] * len(mail.rcpts)


class Client:
    """Postfix' delivery agent with a connection that it keeps."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes, answers: int) -> list[int]:
        self.writer.write(data)
        return [await self.answer() for _ in range(answers)]

    async def answer(self) -> int:
        async with asyncio.timeout(20):
            while True:
                line = await self.reader.readuntil(b"\n")
                if line[3:4] != b"-":
                    return int(line[:3])

    async def hung_up(self) -> bool:
        async with asyncio.timeout(20):
            return await self.reader.read() == b""


@asynccontextmanager
async def serving(deliveries: Deliveries, path: Path) -> AsyncIterator[LmtpServer]:
    server = LmtpServer(deliveries, hostname="mx.relay.example", message_octets=1000, sessions=5, timeout_seconds=300.0)
    await server.start(Endpoint.parse(f"unix:{path}"))
    try:
        yield server
    finally:
        deliveries.may_end.set()
        await server.stop(0.0)


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_unix_connection(str(path)))
    try:
        assert await client.answer() == 220
        assert await client.say(b"LHLO mx.relay.example\r\n", 1) == [250]
        yield client
    finally:
        client.writer.close()
        with suppress(ConnectionError):
            await client.writer.wait_closed()


async def test_what_was_taken_is_answered_and_nothing_more_is_taken(tmp_path: Path) -> None:
    path, deliveries = tmp_path / "lmtp", Deliveries()
    async with serving(deliveries, path) as server, connected(path) as busy, connected(path) as kept:
        assert await busy.say(ENVELOPE, 3) == [250, 250, 354]
        busy.writer.write(b"Subject: taken\r\n\r\n.\r\n")
        await deliveries.begun.wait()
        stopping = asyncio.create_task(server.stop(20.0))
        await asyncio.sleep(0)
        assert (await kept.say(ENVELOPE, 1))[0] in (250, 421)
        while await kept.answer() != 421:
            pass
        assert await kept.hung_up()
        assert not stopping.done()
        deliveries.may_end.set()
        assert await busy.answer() == 250
        assert await busy.hung_up()
        await stopping
    assert len(deliveries.seen) == 1


async def test_content_that_is_on_its_way_is_still_taken(tmp_path: Path) -> None:
    path, deliveries = tmp_path / "lmtp", Deliveries()
    deliveries.may_end.set()
    async with serving(deliveries, path) as server, connected(path) as client:
        assert await client.say(ENVELOPE, 3) == [250, 250, 354]
        stopping = asyncio.create_task(server.stop(20.0))
        await asyncio.sleep(0)
        assert not stopping.done()
        assert await client.say(b"Subject: late\r\n\r\n.\r\n", 1) == [250]
        await stopping
        assert await client.hung_up()


async def test_one_that_never_sends_its_content_does_not_hold_up_the_end(tmp_path: Path) -> None:
    path, deliveries = tmp_path / "lmtp", Deliveries()
    async with serving(deliveries, path) as server, connected(path) as client:
        assert await client.say(ENVELOPE, 3) == [250, 250, 354]
        await server.stop(0.05)
        assert await client.hung_up()
    assert deliveries.seen == []


async def test_a_message_that_breaks_off_is_none(tmp_path: Path) -> None:
    path, deliveries = tmp_path / "lmtp", Deliveries()
    async with serving(deliveries, path) as server, connected(path) as client:
        assert await client.say(ENVELOPE, 3) == [250, 250, 354]
        client.writer.write(b"Subject: half\r\n\r\nand then\r\n.")
        client.writer.close()
        await server.stop(20.0)
    assert deliveries.seen == []


async def test_a_predecessor_that_was_killed_leaves_a_socket_behind(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with serving(Deliveries(), path), connected(path):
        pass
