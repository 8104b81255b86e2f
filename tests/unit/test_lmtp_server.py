"""LMTP as Postfix speaks it, and as nobody should: raw octets against the server, deliveries as the test wants them."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrelay.core.errors import BadConfig
from mailrelay.core.plan import Mail
from mailrelay.core.reply import Reply
from mailrelay.endpoint import Endpoint
from mailrelay.servers.lmtp import LmtpServer

PATIENCE_SECONDS = 60
OK = Reply(250, "2.0.0", "Ok")
LIMIT = 100_000
LHLO = b"LHLO mx.relay.example\r\n"
ENVELOPE = b"MAIL FROM:<news@shop.example>\r\nRCPT TO:<a1@alias.example>\r\n"


class Deliveries:
    """What a test lets become of mails. gate: closed, nothing is answered."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.finished: list[Mail] = []
        self.answer: Callable[[Mail, int], Reply] = lambda mail, number: OK
        self.gate = asyncio.Event()
        self.gate.set()
        self.taken = asyncio.Event()
        self.done = asyncio.Event()

    async def __call__(self, mail: Mail) -> Sequence[Reply]:
        self.mails.append(mail)
        self.taken.set()
        await self.gate.wait()
        replies = [self.answer(mail, number) for number in range(len(mail.rcpts))]
        self.finished.append(mail)
        self.done.set()
        return replies


class Client:
    """Speaks raw octets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, octets: bytes, answers: int = 1) -> list[str]:
        """Send, then read so many answers."""
        self.writer.write(octets)
        return [await self.answer() for _ in range(answers)]

    async def answer(self) -> str:
        """The next answer, its lines joined; '' at the end of the connection."""
        lines = []
        while True:
            async with asyncio.timeout(PATIENCE_SECONDS):
                line = (await self.reader.readline()).decode()
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "|".join(lines)

    async def send(self, content: bytes, *rcpts: str) -> list[str]:
        """A whole transaction with content as it goes over the wire, final dot included: the replies to it."""
        envelope = b"".join(b"RCPT TO:<%b>\r\n" % rcpt.encode() for rcpt in rcpts or ("a1@alias.example",))
        count = len(rcpts) or 1
        answers = await self.say(b"MAIL FROM:<news@shop.example>\r\n" + envelope + b"DATA\r\n", 2 + count)
        assert [answer[:3] for answer in answers] == ["250"] * (1 + count) + ["354"]
        return await self.say(content, count)


@pytest.fixture
def folder() -> Iterator[Path]:
    """For a socket: short, as its name must be."""
    path = Path(tempfile.mkdtemp(prefix="mr-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries()


@pytest.fixture
async def server(deliveries: Deliveries, folder: Path) -> AsyncIterator[LmtpServer]:
    running = LmtpServer(
        deliveries, hostname="mx.relay.example", message_octets=LIMIT, sessions=5, timeout_seconds=300.0
    )
    await running.start(Endpoint(path=str(folder / "lmtp")))
    yield running
    deliveries.gate.set()
    await running.stop()


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_unix_connection(str(folder / "lmtp"), limit=1 << 20))
    try:
        assert await client.answer() == "220 mx.relay.example LMTP mailrelay"
        yield client
    finally:
        client.writer.close()


@pytest.fixture
async def client(server: LmtpServer, folder: Path) -> AsyncIterator[Client]:
    async with connected(folder) as greeted:
        assert (await greeted.say(LHLO))[0].startswith("250-mx.relay.example|")
        yield greeted


# -- The dialogue --------------------------------------------------------------------------------------------------


async def test_what_is_offered(client: Client) -> None:
    [answer] = await client.say(LHLO)
    offered = [line[4:] for line in answer.split("|")[1:]]
    assert offered == ["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "XFORWARD ADDR IDENT"]


async def test_every_recipient_gets_its_reply_in_order(client: Client, deliveries: Deliveries) -> None:
    replies = [OK, Reply(450, "4.2.1", "later"), Reply(550, "5.6.0", "never"), OK]
    deliveries.answer = lambda mail, number: replies[number]
    rcpts = ["a@alias.example", "b@alias.example", "c@alias.example", "d@alias.example"]
    assert await client.send(b"Subject: x\r\n\r\nhello\r\n.\r\n", *rcpts) == list(map(str, replies))
    [mail] = deliveries.mails
    assert (mail.sender, mail.rcpts, mail.content) == (
        "news@shop.example",
        tuple(rcpts),
        b"Subject: x\r\n\r\nhello\r\n",
    )


async def test_a_whole_session_may_come_at_once(server: LmtpServer, folder: Path, deliveries: Deliveries) -> None:
    """Commands right behind the final dot are of the next transaction."""
    transaction = ENVELOPE + b"DATA\r\none\r\n.\r\n"
    async with connected(folder) as client:
        answers = await client.say(LHLO + transaction * 3 + b"NOOP\r\nQUIT\r\n", 1 + 3 * 4 + 2)
        assert [answer[:3] for answer in answers] == ["250", *["250", "250", "354", "250"] * 3, "250", "221"]
        assert await client.answer() == ""
    assert [mail.content for mail in deliveries.mails] == [b"one\r\n"] * 3


async def test_a_session_is_kept_and_its_mails_do_not_mix(client: Client, deliveries: Deliveries) -> None:
    await client.say(b"XFORWARD IDENT=4XyZ1 ADDR=192.0.2.10\r\n")
    await client.send(b"one\r\n.\r\n", "a@alias.example", "b@alias.example")
    await client.send(b"two\r\n.\r\n", "c@alias.example")
    first, second = deliveries.mails
    assert (first.rcpts, first.queue_id, first.client) == (
        ("a@alias.example", "b@alias.example"),
        "4XyZ1",
        "192.0.2.10",
    )
    assert (second.rcpts, second.queue_id, second.client) == (("c@alias.example",), "", "")


@pytest.mark.parametrize("command", [b"RSET\r\n", LHLO], ids=["RSET", "LHLO"])
async def test_a_transaction_can_be_given_up(client: Client, deliveries: Deliveries, command: bytes) -> None:
    await client.say(b"XFORWARD IDENT=4XyZ1\r\nMAIL FROM:<x@shop.example> SMTPUTF8\r\nRCPT TO:<b@alias.example>\r\n", 3)
    await client.say(command)
    assert await client.say(b"RCPT TO:<b@alias.example>\r\n") == ["503 5.5.1 Need MAIL command"]
    await client.send(b"x\r\n.\r\n")
    [mail] = deliveries.mails
    assert (mail.rcpts, mail.queue_id, mail.smtputf8) == (("a1@alias.example",), "", False)


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        ([b"DATA"], "503"),
        ([b"MAIL FROM:<a@shop.example>", b"DATA"], "503"),
        ([b"RCPT TO:<a@alias.example>"], "503"),
        ([b"MAIL FROM:<a@shop.example>", b"MAIL FROM:<b@shop.example>"], "503"),
        ([b"MAIL FROM:a@shop.example"], "501"),
        ([b"MAIL TO:<a@shop.example>"], "501"),
        ([b"MAIL"], "501"),
        ([b"MAIL FROM:<a<b>"], "501"),
        ([b"MAIL FROM:<a@shop.example>", b"RCPT TO:<>"], "501"),
        ([b"MAIL FROM:<a@shop.example>", b"RCPT FROM:<a@alias.example>"], "501"),
        ([b"MAIL FROM:<a@shop.example>", b"RCPT"], "501"),
        ([b"LHLO"], "501"),
        ([b"HELO mx.relay.example"], "500"),
        ([b"EHLO mx.relay.example"], "500"),
        ([b"WHATEVER"], "500"),
        ([b"\xff\xfe"], "500"),
        ([b""], "500"),
        ([b"MAIL FROM:<" + b"x" * 5000 + b">"], "500"),
    ],
)
async def test_wrong_commands_are_refused_and_the_session_lives(
    client: Client, commands: list[bytes], code: str
) -> None:
    answers = await client.say(b"".join(command + b"\r\n" for command in commands), len(commands))
    assert answers[-1][:3] == code
    await client.say(b"RSET\r\n")
    assert await client.send(b"x\r\n.\r\n") == [str(OK)]


async def test_without_lhlo_there_is_no_mail(server: LmtpServer, folder: Path) -> None:
    async with connected(folder) as client:
        assert (await client.say(b"MAIL FROM:<a@shop.example>\r\n"))[0].startswith("503")


PATHS = [
    (b"FROM:<>", ""),
    (b"from: <a@shop.example>", "a@shop.example"),
    (b"FROM:<a@shop.example> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=x", "a@shop.example"),
    (b'FROM:<"a b"@shop.example>', '"a b"@shop.example'),
    (b'FROM:<"a>b\\"<c"@shop.example>', '"a>b\\"<c"@shop.example'),
    (b"FROM:<@hop1.example,@hop2.example:a@shop.example>", "a@shop.example"),
    (b"FROM:<SRS0=ab=cd=x.example=y@fwd.example>", "SRS0=ab=cd=x.example=y@fwd.example"),
    ("FROM:<bücher@bücher.example>".encode(), "bücher@bücher.example"),
    (b"FROM:<m\xfcll@shop.example>", "m\udcfcll@shop.example"),
    (b"FROM:<" + b"x" * 900 + b"@shop.example>", "x" * 900 + "@shop.example"),
    (b"FROM:<MAILER-DAEMON>", "MAILER-DAEMON"),
]


@pytest.mark.parametrize(("argument", "sender"), PATHS, ids=range(len(PATHS)))
async def test_senders_are_taken_as_they_are_written(
    client: Client, deliveries: Deliveries, argument: bytes, sender: str
) -> None:
    answers = await client.say(b"MAIL " + argument + b"\r\nRCPT TO:<a1@alias.example>\r\nDATA\r\n", 3)
    assert [answer[:3] for answer in answers] == ["250", "250", "354"]
    await client.say(b".\r\n")
    assert deliveries.mails[0].sender == sender


async def test_smtputf8_is_noted(client: Client, deliveries: Deliveries) -> None:
    await client.say(b"MAIL FROM:<a@shop.example> BODY=8BITMIME smtputf8\r\nRCPT TO:<a1@alias.example>\r\nDATA\r\n", 3)
    await client.say(b".\r\n")
    await client.send(b".\r\n")
    assert [mail.smtputf8 for mail in deliveries.mails] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "queue_id", "address"),
    [
        (b"IDENT=4XyZ12AbCd ADDR=192.0.2.10", "4XyZ12AbCd", "192.0.2.10"),
        (b"ADDR=IPV6:2001:db8::1 IDENT=4XyZ12AbCd", "4XyZ12AbCd", "2001:db8::1"),
        (b"ident=4XyZ12AbCd addr=192.0.2.10", "4XyZ12AbCd", "192.0.2.10"),
        (b"IDENT=a+2Bb+3Dc ADDR=[UNAVAILABLE]", "a+b=c", ""),
        (b"IDENT=[UNAVAILABLE]", "", ""),
        (b"IDENT=a+ZZ+2", "a+ZZ+2", ""),
        (b"NAME=mta.shop.example PORT=40212 PROTO=ESMTP HELO=x SOURCE=REMOTE IDENT=4X", "4X", ""),
        (b"nonsense", "", ""),
        (b"", "", ""),
    ],
)
async def test_xforward_tells_queue_id_and_client(
    client: Client, deliveries: Deliveries, arguments: bytes, queue_id: str, address: str
) -> None:
    assert await client.say(b"XFORWARD " + arguments + b"\r\n") == ["250 2.0.0 Ok"]
    await client.send(b"x\r\n.\r\n")
    assert (deliveries.mails[0].queue_id, deliveries.mails[0].client) == (queue_id, address)


# -- Content -------------------------------------------------------------------------------------------------------

CONTENTS: dict[str, tuple[bytes, bytes]] = {
    "empty": (b".\r\n", b""),
    "one-line": (b"x\r\n.\r\n", b"x\r\n"),
    "empty-line": (b"\r\n.\r\n", b"\r\n"),
    "stuffed": (b"..\r\n...\r\n.x\r\na.\r\n.\r\n", b".\r\n..\r\nx\r\na.\r\n"),
    "stuffed-first": (b"..x\r\n.\r\n", b".x\r\n"),
    "dot-at-the-end-of-a-line": (b"end.\r\nend..\r\n.\r\n", b"end.\r\nend..\r\n"),
    "dot-behind-a-bare-lf": (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n"),
    "dot-behind-a-bare-cr": (b"a\r.\r\nb\r\n.\r\n", b"a\r.\r\nb\r\n"),
    "no-end": (b"a\r\n.\nb\r\n.\rc\r\n.\r\r\n.\r\n", b"a\r\n\nb\r\n\rc\r\n\r\r\n"),
    "nul": (b"\0\r\n\0.\r\n.\r\n", b"\0\r\n\0.\r\n"),
    "octets": (
        bytes(range(1, 10)) + bytes(range(128, 256)) + b"\r\n.\r\n",
        bytes(range(1, 10)) + bytes(range(128, 256)) + b"\r\n",
    ),
    "commands": (b"QUIT\r\nRSET\r\nMAIL FROM:<x@x.example>\r\n.\r\n", b"QUIT\r\nRSET\r\nMAIL FROM:<x@x.example>\r\n"),
}


@pytest.mark.parametrize(("wire", "content"), CONTENTS.values(), ids=CONTENTS)
async def test_content_arrives_without_its_stuffing(
    client: Client, deliveries: Deliveries, wire: bytes, content: bytes
) -> None:
    assert await client.send(wire) == [str(OK)]
    assert deliveries.mails[0].content == content
    assert await client.send(b"next\r\n.\r\n") == [str(OK)]
    assert deliveries.mails[1].content == b"next\r\n"


STREAM = b"a\r\n..\r\n.b\r\n\r\n.\r\n"


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
@pytest.mark.parametrize("first", [1, len(STREAM)])
async def test_content_survives_any_chunking(client: Client, deliveries: Deliveries, size: int, first: int) -> None:
    answers = await client.say(ENVELOPE + b"DATA\r\n", 3)
    assert answers[-1].startswith("354")
    position = 0
    for end in [*range(min(first, size), len(STREAM), size), len(STREAM)]:
        client.writer.write(STREAM[position:end])
        position = end
        await client.writer.drain()
        for _ in range(3):  # let the server read each chunk alone
            await asyncio.sleep(0)
    assert await client.answer() == str(OK)
    assert deliveries.mails[0].content == b"a\r\n.\r\nb\r\n\r\n"


@pytest.mark.parametrize("octets", [255 * 1024, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 1 << 20])
async def test_lines_of_any_length_arrive(
    server: LmtpServer, client: Client, deliveries: Deliveries, octets: int
) -> None:
    server.message_octets = 10 << 20
    content = b"x" * octets + b"\r\n." + b"y" * octets + b"\r\nend\r\n"
    assert await client.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n") == [str(OK)]
    assert deliveries.mails[0].content == content


async def test_content_of_dots_only_arrives(server: LmtpServer, client: Client, deliveries: Deliveries) -> None:
    server.message_octets = 10 << 20
    assert await client.send(b"..\r\n" * 100_000 + b".\r\n") == [str(OK)]
    assert deliveries.mails[0].content == b".\r\n" * 100_000


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"x", b"..", b".\r\n", b"\0", b"\xff"]), max_size=30).map(
        b"".join
    )
)
async def test_what_was_stuffed_arrives_as_it_was(client: Client, deliveries: Deliveries, body: bytes) -> None:
    content = body + b"\r\n"
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
    assert await client.send(stuffed + b".\r\n") == [str(OK)]
    assert deliveries.mails[-1].content == content


# -- The limit -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [LIMIT - 2, LIMIT, 2 * LIMIT, 20 * LIMIT])
@pytest.mark.parametrize("line", [70, 300_000])
async def test_a_message_is_whole_or_seen_to_be_too_large(
    client: Client, deliveries: Deliveries, octets: int, line: int
) -> None:
    content = b"".join(b"x" * (min(line, octets - at) - 2) + b"\r\n" for at in range(0, octets, line))
    replies = await client.send(content + b".\r\n", "a@alias.example", "b@alias.example", "c@alias.example")
    assert replies == [str(OK)] * 3
    seen = deliveries.mails[0].content
    assert seen == content if len(content) <= LIMIT else len(seen) > LIMIT
    assert len(seen) < 5 * LIMIT + (1 << 20)  # what is refused anyway is not kept in memory
    assert await client.send(b"next\r\n.\r\n") == [str(OK)]
    assert deliveries.mails[1].content == b"next\r\n"


@pytest.mark.parametrize("octets", [LIMIT - 100, LIMIT - 3, LIMIT])
async def test_stuffing_does_not_count_and_nothing_is_cut_off(
    client: Client, deliveries: Deliveries, octets: int
) -> None:
    """A message below the limit whose dots exceed it on the wire must not lose its end."""
    content = (b".\r\n" * octets)[: octets - octets % 3]
    assert await client.send(b"..\r\n" * (octets // 3) + b".\r\n") == [str(OK)]
    assert deliveries.mails[0].content == content


# -- Trouble -------------------------------------------------------------------------------------------------------


async def test_a_bug_in_delivery_is_a_temporary_answer_for_everybody(client: Client, deliveries: Deliveries) -> None:
    def bug(mail: Mail, number: int) -> Reply:
        raise RuntimeError("bug")

    deliveries.answer = bug
    assert (
        await client.send(b"x\r\n.\r\n", *[f"r{n}@alias.example" for n in range(3)])
        == ["451 4.3.0 Temporary failure, try again"] * 3
    )
    deliveries.answer = lambda mail, number: OK
    assert await client.send(b"x\r\n.\r\n") == [str(OK)]


async def test_a_client_that_leaves_in_the_middle_of_data_delivers_nothing(
    server: LmtpServer, folder: Path, deliveries: Deliveries
) -> None:
    for data in (b"", b"half\r\n", b"half\r\n.", b"half\r\n.\r", b"x" * 500_000):
        async with connected(folder) as client:
            await client.say(LHLO + ENVELOPE + b"DATA\r\n", 4)
            client.writer.write(data)
            await client.writer.drain()
    await gone(server)
    assert deliveries.mails == []


async def gone(server: LmtpServer, left: int = 0) -> None:
    """Wait until the server has noticed that its clients left."""
    server.sessions = sessions = Sessions(server.sessions)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(sessions) > left:
            sessions.one_left.clear()
            await sessions.one_left.wait()


class Sessions(set[Any]):
    """Tells when one of them leaves."""

    def __init__(self, sessions: Iterable[Any]) -> None:
        super().__init__(sessions)
        self.one_left = asyncio.Event()

    def discard(self, session: object) -> None:
        super().discard(session)
        self.one_left.set()


async def test_a_client_that_leaves_before_the_reply_is_delivered_all_the_same(
    server: LmtpServer, folder: Path, deliveries: Deliveries
) -> None:
    deliveries.gate.clear()
    async with connected(folder) as client:
        await client.say(LHLO + ENVELOPE + b"DATA\r\n", 4)
        client.writer.write(b"x\r\n.\r\n")
        await asyncio.wait_for(deliveries.taken.wait(), PATIENCE_SECONDS)
    await gone(server)
    assert deliveries.finished == []
    deliveries.gate.set()
    await asyncio.wait_for(deliveries.done.wait(), PATIENCE_SECONDS)
    assert [mail.content for mail in deliveries.finished] == [b"x\r\n"]


async def test_a_slow_delivery_holds_up_nobody_else(server: LmtpServer, folder: Path, deliveries: Deliveries) -> None:
    deliveries.gate.clear()
    async with connected(folder) as slow, connected(folder) as quick:
        await slow.say(LHLO + ENVELOPE + b"DATA\r\n", 4)
        slow.writer.write(b"slow\r\n.\r\n")
        await asyncio.wait_for(deliveries.taken.wait(), PATIENCE_SECONDS)
        closed, deliveries.gate = deliveries.gate, asyncio.Event()
        deliveries.gate.set()
        await quick.say(LHLO)
        assert await quick.send(b"quick\r\n.\r\n") == [str(OK)]
        assert deliveries.finished == deliveries.mails[1:]
        closed.set()
        assert await slow.answer() == str(OK)
    assert [mail.content for mail in deliveries.mails] == [b"slow\r\n", b"quick\r\n"]


async def test_too_many_sessions_are_turned_away_until_one_ends(server: LmtpServer, folder: Path) -> None:
    clients = [await asyncio.open_unix_connection(str(folder / "lmtp")) for _ in range(5)]
    for reader, _ in clients:
        assert (await reader.readline()).startswith(b"220")
    reader, writer = await asyncio.open_unix_connection(str(folder / "lmtp"))
    assert await reader.read() == b"421 4.3.2 Too many sessions, try later\r\n"
    writer.close()
    clients[0][1].close()
    await gone(server, left=4)
    async with connected(folder) as client:
        assert (await client.say(LHLO))[0].startswith("250")
    for _, writer in clients:
        writer.close()


async def test_an_idle_session_is_ended(deliveries: Deliveries, folder: Path) -> None:
    server = LmtpServer(deliveries, hostname="mx.relay.example", message_octets=LIMIT, sessions=5, timeout_seconds=0.05)
    await server.start(Endpoint(path=str(folder / "lmtp")))
    async with connected(folder) as client:
        assert await client.answer() == ""
    await server.stop()


async def test_the_idle_time_does_not_run_while_mail_is_delivered(deliveries: Deliveries, folder: Path) -> None:
    server = LmtpServer(deliveries, hostname="mx.relay.example", message_octets=LIMIT, sessions=5, timeout_seconds=0.2)
    await server.start(Endpoint(path=str(folder / "lmtp")))
    deliveries.gate.clear()
    async with connected(folder) as client:
        await client.say(LHLO + ENVELOPE + b"DATA\r\n", 4)
        client.writer.write(b"x\r\n.\r\n")
        await deliveries.taken.wait()
        asyncio.get_running_loop().call_later(0.3, deliveries.gate.set)
        assert await client.answer() == str(OK)
    await server.stop()


async def test_ten_thousand_recipients_get_ten_thousand_replies(client: Client) -> None:
    rcpts = [f"r{n}@alias.example" for n in range(10_000)]

    async def feed() -> None:
        for rcpt in rcpts:
            client.writer.write(b"RCPT TO:<%b>\r\n" % rcpt.encode())
            await client.writer.drain()
        client.writer.write(b"DATA\r\nx\r\n.\r\n")

    await client.say(b"MAIL FROM:<>\r\n")
    feeding = asyncio.create_task(feed())
    answers = [await client.answer() for _ in range(2 * len(rcpts) + 1)]
    await feeding
    assert answers[len(rcpts)].startswith("354")
    assert answers[len(rcpts) + 1 :] == [str(OK)] * len(rcpts)


async def test_an_address_that_is_in_use_is_named(server: LmtpServer, deliveries: Deliveries, folder: Path) -> None:
    other = LmtpServer(deliveries, hostname="mx.relay.example", message_octets=1, sessions=1, timeout_seconds=1.0)
    with pytest.raises(BadConfig, match="cannot listen there"):
        await other.start(Endpoint(path=str(folder / "missing" / "lmtp")))


async def test_tcp_works_as_well(deliveries: Deliveries) -> None:
    server = LmtpServer(deliveries, hostname="mx.relay.example", message_octets=LIMIT, sessions=5, timeout_seconds=9.0)
    await server.start(Endpoint("127.0.0.1", 0))
    assert server._server is not None
    port = server._server.sockets[0].getsockname()[1]
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    assert (await client.answer()).startswith("220")
    await client.say(LHLO)
    assert await client.send(b"x\r\n.\r\n") == [str(OK)]
    client.writer.close()
    await server.stop()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.binary(max_size=40)
        | st.sampled_from(
            [LHLO, ENVELOPE, b"DATA\r\n", b".\r\n", b"\r\n", b"RSET\r\n", b"XFORWARD IDENT=", b"MAIL FROM:"]
        ),
        max_size=12,
    )
)
async def test_any_octets_leave_the_server_alive(server: LmtpServer, folder: Path, octets: list[bytes]) -> None:
    async with connected(folder) as broken:
        for piece in octets:
            broken.writer.write(piece)
    async with connected(folder) as client:
        await client.say(LHLO)
        assert await client.send(b"x\r\n.\r\n") == [str(OK)]
    await gone(server)
