"""The policy server over a socket: answers in order, whoever asks oddly, whatever breaks behind it."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrelay.endpoint import Endpoint
from mailrelay.servers.listen import listen
from mailrelay.servers.policy import PolicySession
from mailrelay.wire.policy import PolicyRequest

PATIENCE_SECONDS = 60
DEFER = "DEFER_IF_PERMIT 4.3.0 Temporary look-up failure"


def request(rcpt: str, **attributes: str) -> bytes:
    lines = {"request": "smtpd_access_policy", "protocol_state": "RCPT", "recipient": rcpt, **attributes}
    return "".join(f"{name}={text}\n" for name, text in lines.items()).encode("utf-8", "surrogateescape") + b"\n"


class Verdicts:
    """Answers with the recipient. `slow…` only when its gate opens, `bug…` raises, `odd…` breaks the protocol."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.asked: list[str] = []
        self.cancelled: list[str] = []

    def gate(self, rcpt: str) -> asyncio.Event:
        return self.gates.setdefault(rcpt, asyncio.Event())

    def now(self, request: PolicyRequest) -> str | None:
        self.asked.append(request.recipient)
        if request.recipient.startswith("bug"):
            raise RuntimeError("bug")
        if request.recipient.startswith("odd"):
            return "two\nlines"
        return None if request.recipient.startswith(("slow", "later")) else f"550 {request.recipient}"

    async def later(self, request: PolicyRequest) -> str:
        try:
            if request.recipient.startswith("slow"):
                await self.gate(request.recipient).wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.recipient)
            raise
        if request.recipient.startswith("later-bug"):
            raise RuntimeError("bug")
        return "" if request.recipient.startswith("later-odd") else f"450 {request.recipient}"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, *octets: bytes) -> list[str]:
        """Send everything at once, read one answer for each."""
        self.writer.write(b"".join(octets))
        return [await self.answer() for _ in octets]

    async def answer(self) -> str:
        """The action; '' at the end of the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self.reader.readline()
            end = await self.reader.readline()
        assert (line[:7], end) in ((b"action=", b"\n"), (b"", b""))
        return line.decode().removeprefix("action=").rstrip("\n")


@pytest.fixture
def verdicts() -> Verdicts:
    return Verdicts()


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="mr-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def endpoint(verdicts: Verdicts, folder: Path) -> AsyncIterator[Endpoint]:
    where = Endpoint(path=str(folder / "policy"))
    server = await listen(lambda: PolicySession(verdicts.now, verdicts.later), where)
    yield where
    server.close()


async def connect(endpoint: Endpoint) -> Client:
    return Client(*await asyncio.open_unix_connection(endpoint.path))


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[Client]:
    connected = await connect(endpoint)
    yield connected
    connected.writer.close()


async def test_one_question_one_answer_and_the_connection_stays(client: Client) -> None:
    for number in range(3):
        assert await client.ask(request(f"a{number}")) == [f"550 a{number}"]


async def test_answers_keep_the_order_of_questions_when_some_come_late(client: Client, verdicts: Verdicts) -> None:
    names = ["a", "slow1", "b", "bug", "slow2", "later1", "c", "later-bug", "odd", "later-odd", "d"]
    client.writer.write(b"".join(map(request, names)))
    assert await client.answer() == "550 a"
    verdicts.gate("slow2").set()  # the one that is ready first is not answered first
    verdicts.gate("slow1").set()
    answers = [await client.answer() for _ in names[1:]]
    expected = ["450 slow1", "550 b", DEFER, "450 slow2", "450 later1", "550 c", DEFER, DEFER, DEFER, "550 d"]
    assert answers == expected
    assert verdicts.asked == names  # each once


async def test_a_slow_answer_holds_up_its_own_connection_only(
    client: Client, endpoint: Endpoint, verdicts: Verdicts
) -> None:
    client.writer.write(request("slow1") + request("a"))
    other = await connect(endpoint)
    assert await other.ask(request("b"), request("later1")) == ["550 b", "450 later1"]
    other.writer.close()
    verdicts.gate("slow1").set()
    assert [await client.answer(), await client.answer()] == ["450 slow1", "550 a"]


MALFORMED = {
    "no-equals": b"nonsense\n\n",
    "other-request": b"request=something_else\n\n",
    "empty": b"\n\n",
    "nul": b"request=smtpd_access_policy\nsender=\0\n\n",
    "http": b"GET / HTTP/1.1\r\nHost: mx.relay.example\r\n\r\n\n\n",
    "too-long": b"request=smtpd_access_policy\nsender=" + b"x" * 70_000 + b"\n\n",
    "endless": b"x" * 70_000,
}


@pytest.mark.parametrize("octets", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_question_hurts_only_its_connection(
    client: Client, endpoint: Endpoint, octets: bytes
) -> None:
    broken = await connect(endpoint)
    assert await broken.ask(request("a")) == ["550 a"]
    assert await broken.ask(octets) == [DEFER]
    assert await broken.answer() == ""
    broken.writer.close()
    assert await client.ask(request("b")) == ["550 b"]


async def test_a_malformed_question_behind_a_slow_one_lets_nothing_out_of_order(
    endpoint: Endpoint, verdicts: Verdicts
) -> None:
    broken = await connect(endpoint)
    broken.writer.write(request("slow1"))
    await reached(verdicts, "slow1")
    assert await broken.ask(b"nonsense\n\n") == [DEFER]  # whoever waits for slow1 hears: not now
    assert await broken.answer() == ""
    broken.writer.close()


async def reached(verdicts: Verdicts, rcpt: str) -> None:
    for _ in range(PATIENCE_SECONDS * 1000):
        if rcpt in verdicts.gates:
            return
        await asyncio.sleep(0.001)
    pytest.fail(f"{rcpt} was never asked about")


async def test_a_client_that_leaves_is_forgotten(endpoint: Endpoint, verdicts: Verdicts) -> None:
    leaving = await connect(endpoint)
    leaving.writer.write(request("slow1") + request("a"))
    await reached(verdicts, "slow1")
    leaving.writer.close()
    for _ in range(PATIENCE_SECONDS * 1000):
        if verdicts.cancelled:
            break
        await asyncio.sleep(0.001)
    assert verdicts.cancelled == ["slow1"]
    assert verdicts.asked == ["slow1"]


async def test_a_question_may_come_in_pieces(client: Client) -> None:
    octets = request("a", sender="x@shop.example") + request("b")
    for at in range(len(octets)):
        client.writer.write(octets[at : at + 1])
        await client.writer.drain()
        await asyncio.sleep(0)
    assert [await client.answer(), await client.answer()] == ["550 a", "550 b"]


async def test_thousands_of_questions_at_once_are_answered_in_order(client: Client) -> None:
    names = [f"later{n}" if n % 7 == 0 else f"a{n}" for n in range(5000)]

    async def feed() -> None:
        for name in names:
            client.writer.write(request(name))
            await client.writer.drain()

    feeding = asyncio.create_task(feed())
    answers = [await client.answer() for _ in names]
    await feeding
    assert [answer.partition(" ")[2] for answer in answers] == names


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60) | st.sampled_from([request("a"), request("later"), b"\n", b"="]), max_size=6))
async def test_any_octets_leave_the_server_alive(endpoint: Endpoint, octets: list[bytes]) -> None:
    broken = await connect(endpoint)
    for piece in octets:
        broken.writer.write(piece)
    broken.writer.close()
    other = await connect(endpoint)
    assert await other.ask(request("b")) == ["550 b"]
    other.writer.close()
