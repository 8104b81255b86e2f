"""Copies are handed over on kept connections, which the listener may give up at any time."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from mailrelay.clients import submit
from mailrelay.clients.submit import Submitter
from mailrelay.core.errors import Unavailable
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.endpoint import Endpoint

Session = Callable[["Listener", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def copy(number: int = 1) -> Copy:
    return Copy(
        sender="b-1@bounces.relay.example",
        rcpt="me@inbox.example",
        content=(b"Subject: %d\r\n\r\n.dot\r\n" % number,),
        envelope_id="1",
        eight_bit=False,
        smtputf8=False,
    )


class Listener:
    """Postfix' loopback smtpd. `sessions`: how each connection in turn goes, `behave` after the last."""

    def __init__(self, *sessions: Session) -> None:
        self.sessions = list(sessions)
        self.connections = 0
        self.taken: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        session = self.sessions.pop(0) if self.sessions else behave
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(b"220 mx.relay.example\r\n")
            await session(self, reader, writer)
        writer.close()


async def commands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say yes up to DATA."""
    while True:
        verb = (await reader.readuntil(b"\n"))[:4].upper()
        writer.write(b"354 go on\r\n" if verb == b"DATA" else b"250 Ok\r\n")
        if verb == b"DATA":
            return


async def transaction(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await commands(reader, writer)
    listener.taken.append(await reader.readuntil(b"\r\n.\r\n"))
    writer.write(b"250 2.0.0 Ok: queued as 4XyZ%d\r\n" % len(listener.taken))


async def behave(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await transaction(listener, reader, writer)


async def one_then_421(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As smtpd does when the next command takes it too long, 10 seconds under stress."""
    await transaction(listener, reader, writer)
    writer.write(b"421 4.4.2 mx.relay.example Error: timeout exceeded\r\n")


async def one_then_silent_end(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As an smtpd that is killed when the next envelope has arrived."""
    await transaction(listener, reader, writer)
    await reader.readuntil(b"DATA\r\n")


async def one_then_end_in_content(
    listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await transaction(listener, reader, writer)
    await commands(reader, writer)
    await reader.readuntil(b"\r\n.\r\n")


async def full_disk(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        verb = (await reader.readuntil(b"\n"))[:4].upper()
        answers = {
            b"MAIL": b"452 4.3.1 Insufficient system storage\r\n",
            b"RCPT": b"503 5.5.1 Error: need MAIL command\r\n",
            b"DATA": b"503 5.5.1 Error: need RCPT command\r\n",
        }
        writer.write(answers.get(verb, b"250 Ok\r\n"))


@asynccontextmanager
async def submitting(
    listener: Listener, connections: int = 2, timeout_seconds: float = 20.0
) -> AsyncIterator[Submitter]:
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    submitter = Submitter(Endpoint.parse(f"127.0.0.1:{port}"), "mx.relay.example", connections, timeout_seconds)
    try:
        yield submitter
    finally:
        submitter.close()
        server.close()
        for writer in listener.writers:
            writer.close()


async def test_a_connection_is_kept_and_dots_are_stuffed() -> None:
    listener = Listener()
    async with submitting(listener) as submitter:
        assert await submitter.submit(copy(1)) == Handed("4XyZ1")
        assert await submitter.submit(copy(2)) == Handed("4XyZ2")
    assert listener.connections == 1
    assert listener.taken[1] == b"Subject: 2\r\n\r\n..dot\r\n.\r\n"


@pytest.mark.parametrize("session", [one_then_421, one_then_silent_end])
async def test_a_kept_connection_that_was_given_up_is_replaced_at_once(session: Session) -> None:
    listener = Listener(session)
    async with submitting(listener) as submitter:
        assert await submitter.submit(copy(1)) == Handed("4XyZ1")
        assert await submitter.submit(copy(2)) == Handed("4XyZ2")
        assert submitter.trouble == ""
    assert listener.connections == 2


async def test_every_kept_connection_may_have_been_given_up() -> None:
    listener = Listener(one_then_421, one_then_silent_end, one_then_421)
    async with submitting(listener, connections=3) as submitter:
        await asyncio.gather(*(submitter.submit(copy(number)) for number in (1, 2, 3)))
        assert await submitter.submit(copy(4)) == Handed("4XyZ4")
    assert len(listener.taken) == 4


async def test_content_that_may_have_been_queued_is_not_sent_again() -> None:
    listener = Listener(one_then_end_in_content)
    async with submitting(listener) as submitter:
        await submitter.submit(copy(1))
        with pytest.raises(Unavailable):
            await submitter.submit(copy(2))
        assert listener.connections == 1
        assert submitter.trouble
        assert await submitter.submit(copy(3)) == Handed("4XyZ2")
        assert submitter.trouble == ""


async def test_a_full_disk_is_an_answer_and_the_connection_stays_in_step() -> None:
    listener = Listener(full_disk)
    async with submitting(listener) as submitter:
        for _ in range(3):
            refused = await submitter.submit(copy())
            assert isinstance(refused, Refused)
            assert refused.code == 452
    assert listener.connections == 1


async def test_a_new_connection_that_breaks_is_trouble() -> None:
    async def hang_up(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n")

    listener = Listener(hang_up)
    async with submitting(listener) as submitter:
        with pytest.raises(Unavailable):
            await submitter.submit(copy())
        assert listener.connections == 1
        assert await submitter.submit(copy()) == Handed("4XyZ1")


async def test_callers_wait_for_a_free_connection() -> None:
    listener = Listener()
    async with submitting(listener, connections=2) as submitter:
        await asyncio.gather(*(submitter.submit(copy(number)) for number in range(20)))
    assert len(listener.taken) == 20
    assert listener.connections <= 2


async def test_a_slow_last_answer_is_waited_for() -> None:
    """As long as the listener wants (RFC 5321 section 4.5.3.2.6): giving up would make a duplicate."""
    content_came, answer = asyncio.Event(), asyncio.Event()

    async def slow(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer)
        await reader.readuntil(b"\r\n.\r\n")
        content_came.set()
        await answer.wait()
        writer.write(b"250 2.0.0 Ok: queued as 4XyZslow\r\n")
        await behave(listener, reader, writer)

    async with submitting(Listener(slow), connections=1, timeout_seconds=0.1) as submitter:
        handing = asyncio.create_task(submitter.submit(copy()))
        await content_came.wait()
        with pytest.raises(Unavailable):  # the only connection is busy
            await submitter.submit(copy())
        assert not handing.done()
        answer.set()
        assert await handing == Handed("4XyZslow")


async def test_a_listener_that_is_stuck_before_the_content_is_trouble() -> None:
    async def stuck(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"DATA\r\n")
        await reader.read()

    async with submitting(Listener(stuck), connections=1, timeout_seconds=0.05) as submitter:
        with pytest.raises(Unavailable):
            await submitter.submit(copy())
        assert submitter.trouble


def open_sockets() -> int:
    return sum("socket:" in os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))


async def test_content_that_nobody_reads_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is closed politely would stay open, and its content in memory, until it is read."""
    monkeypatch.setattr(submit, "_LAST_ANSWER_SECONDS", 0.1)
    enough = asyncio.Event()

    async def stuck(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer)
        await enough.wait()

    large = replace(copy(), content=(b"Subject: large\r\n\r\n", (b"x" * 76 + b"\r\n") * 100_000))
    async with submitting(Listener(stuck), connections=1) as submitter:
        before = open_sockets()
        with pytest.raises(Unavailable):
            await submitter.submit(large)
        await asyncio.sleep(0)
        assert open_sockets() == before + 1  # the listener's end
        enough.set()


async def test_the_end_of_trouble_is_noticed_without_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "_PROBE_SECONDS", 0.01)
    recovered = asyncio.Event()
    greetings = 0

    async def hang_up(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n")

    async def greet(listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal greetings
        greetings += 1
        await reader.readuntil(b"\n")
        writer.write(b"250 mx.relay.example\r\n")
        await reader.readuntil(b"QUIT\r\n")
        recovered.set()

    listener = Listener(hang_up, hang_up, greet, greet)
    async with submitting(listener) as submitter:
        with pytest.raises(Unavailable):
            await submitter.submit(copy())
        assert submitter.trouble
        async with asyncio.timeout(20):
            await recovered.wait()
        assert submitter.trouble == ""
        assert (greetings, listener.taken) == (1, [])
