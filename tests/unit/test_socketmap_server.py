"""The socketmap server over a socket, with the maps that Postfix asks."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrelay.core.errors import Unavailable
from mailrelay.core.realm import Realm
from mailrelay.endpoint import Endpoint
from mailrelay.servers.listen import listen
from mailrelay.servers.socketmap import SocketmapSession
from mailrelay.wire import netstring, socketmap
from mailrelay.wiring.policy import answer_map, transport_to

PATIENCE_SECONDS = 60
REALM = Realm(
    frozenset({"relay.example"}),
    "srs.relay.example",
    "bounces.relay.example",
    shared=frozenset({"alias.example"}),
    custom=frozenset({"own.example"}),
)
TRANSPORT = transport_to(Endpoint("127.0.0.1", 10024))


def answer(lookup: socketmap.Lookup) -> socketmap.Reply | None:
    if lookup.key == "bug":
        raise RuntimeError("bug")
    return answer_map(lookup, REALM, TRANSPORT)


class Database:
    """Says who may send; `away`: nothing. An answer waits for `ready`."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.away = False
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    async def answer(self, lookup: socketmap.Lookup) -> socketmap.Reply:
        self.asked.put_nowait(lookup.key)
        await self.ready.wait()
        if self.away:
            raise Unavailable("away")
        if lookup.key == "bug later":
            raise RuntimeError("bug")
        owner = {"a1@alias.example": "me@inbox.example", "odd@alias.example": "a\x07b@inbox.example"}.get(lookup.key)
        return socketmap.NotFound() if owner is None else socketmap.Ok(owner)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, *questions: bytes) -> list[str]:
        self.writer.write(b"".join(map(netstring.encode, questions)))
        return [await self.answer() for _ in questions]

    async def answer(self) -> str:
        """The next reply; 'closed' at the end of the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                length = await self.reader.readuntil(b":")
                payload = await self.reader.readexactly(int(length[:-1]) + 1)
            except asyncio.IncompleteReadError:
                return "closed"
        assert payload.endswith(b",")
        return payload[:-1].decode()


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="mr-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def endpoint(folder: Path, database: Database) -> AsyncIterator[Endpoint]:
    where = Endpoint(path=str(folder / "socketmap"))
    server = await listen(lambda: SocketmapSession(answer, database.answer), where)
    yield where
    server.close()


async def connect(endpoint: Endpoint) -> Client:
    return Client(*await asyncio.open_unix_connection(endpoint.path))


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[Client]:
    connected = await connect(endpoint)
    yield connected
    connected.writer.close()


LOOKUPS = [
    (b"domain alias.example", "OK alias.example"),
    (b"domain ALIAS.Example", "OK ALIAS.Example"),
    (b"domain u1.alias.example", "OK u1.alias.example"),
    (b"domain own.example", "OK own.example"),
    (b"domain relay.example", "OK relay.example"),
    (b"domain sub.own.example", "NOTFOUND "),
    (b"domain shop.example", "NOTFOUND "),
    (b"domain .alias.example", "NOTFOUND "),
    (b"domain a1@alias.example", "NOTFOUND "),
    (b"domain [192.0.2.1]", "NOTFOUND "),
    (b"recipient a1@alias.example", "OK mailrelay"),
    (b"recipient a b@own.example", "OK mailrelay"),
    (b"recipient alias.example", "NOTFOUND "),
    (b"recipient @alias.example", "OK mailrelay"),
    (b"recipient \xff@alias.example", "OK mailrelay"),
    (b"recipient a\x07b@alias.example", "OK mailrelay"),
    (b"recipient x@shop.example", "NOTFOUND "),
    (b"transport a1@alias.example", "OK mailrelay:inet:127.0.0.1:10024"),
    (b"transport own.example", "OK mailrelay:inet:127.0.0.1:10024"),
    (b"transport .own.example", "NOTFOUND "),
    (b"transport x@sub.own.example", "NOTFOUND "),
    (b"transport *", "NOTFOUND "),
    (b"transport ", "NOTFOUND "),
    (b"sender_login a1@alias.example", "OK me@inbox.example"),
    (b"sender_login a2@alias.example", "NOTFOUND "),
    (b"sender_login odd@alias.example", "TEMP temporary failure"),
    (b"sender_login bug later", "TEMP temporary failure"),
    (b"weather alias.example", "PERM no map weather; there are domain, recipient, transport and sender_login"),
]


@pytest.mark.parametrize(("question", "reply"), LOOKUPS, ids=[repr(question) for question, _ in LOOKUPS])
async def test_the_maps_know_what_is_ours(client: Client, question: bytes, reply: str) -> None:
    assert await client.ask(question) == [reply]


async def test_replies_keep_the_order_of_questions(client: Client) -> None:
    assert await client.ask(*(question for question, _ in LOOKUPS)) == [reply for _, reply in LOOKUPS]


ODD = [b"domain bug", b"wea\x07ther x"]


@pytest.mark.parametrize("question", ODD, ids=range(len(ODD)))
async def test_a_question_that_cannot_be_answered_is_tried_again_and_the_connection_lives(
    client: Client, question: bytes
) -> None:
    replies = await client.ask(b"domain alias.example", question, b"domain own.example")
    assert (replies[0], replies[2]) == ("OK alias.example", "OK own.example")
    assert replies[1] == "TEMP temporary failure"


async def test_what_memory_knows_waits_behind_what_the_database_has_to_say(client: Client, database: Database) -> None:
    database.ready.clear()
    questions = (b"sender_login a1@alias.example", b"domain own.example", b"sender_login x@alias.example")
    client.writer.write(b"".join(map(netstring.encode, questions)))
    assert await database.asked.get() == "a1@alias.example"
    database.ready.set()
    assert [await client.answer() for _ in questions] == ["OK me@inbox.example", "OK own.example", "NOTFOUND "]


async def test_senders_are_asked_for_again_while_the_database_is_away(client: Client, database: Database) -> None:
    database.away = True
    question = b"sender_login a1@alias.example"
    assert await client.ask(question, b"domain own.example") == ["TEMP temporary failure", "OK own.example"]
    database.away = False
    assert await client.ask(question) == ["OK me@inbox.example"]


async def test_a_client_may_leave_before_the_database_answers(
    client: Client, endpoint: Endpoint, database: Database
) -> None:
    database.ready.clear()
    leaving = await connect(endpoint)
    leaving.writer.write(netstring.encode(b"sender_login a1@alias.example"))
    await database.asked.get()
    leaving.writer.close()
    await leaving.writer.wait_closed()
    assert await client.ask(b"domain own.example") == ["OK own.example"]


@pytest.mark.parametrize(
    "octets",
    [b"nonsense", b"5:hello,", b"3:a b;", b"1000000:", b"00:,", b"6:a\0 b c,", b"GET / HTTP/1.1\r\n\r\n"],
)
async def test_a_malformed_question_hurts_only_its_connection(
    client: Client, endpoint: Endpoint, octets: bytes
) -> None:
    broken = await connect(endpoint)
    assert await broken.ask(b"domain alias.example") == ["OK alias.example"]
    broken.writer.write(octets)
    assert (await broken.answer()).startswith("PERM ")
    assert await broken.answer() == "closed"
    broken.writer.close()
    assert await client.ask(b"domain own.example") == ["OK own.example"]


async def test_a_question_may_come_in_pieces(client: Client) -> None:
    for octet in netstring.encode(b"domain alias.example") * 2:
        client.writer.write(bytes([octet]))
        await client.writer.drain()
        await asyncio.sleep(0)
    assert [await client.answer(), await client.answer()] == ["OK alias.example"] * 2


async def test_a_client_may_leave_in_the_middle(client: Client, endpoint: Endpoint) -> None:
    for octets in (b"", b"20:domain al", b"20"):
        leaving = await connect(endpoint)
        leaving.writer.write(octets)
        leaving.writer.close()
    assert await client.ask(b"domain own.example") == ["OK own.example"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40) | st.binary(max_size=40).map(netstring.encode), max_size=6))
async def test_any_octets_leave_the_server_alive(endpoint: Endpoint, octets: list[bytes]) -> None:
    broken = await connect(endpoint)
    for piece in octets:
        broken.writer.write(piece)
    broken.writer.close()
    other = await connect(endpoint)
    assert await other.ask(b"domain own.example") == ["OK own.example"]
    other.writer.close()


@given(
    st.sampled_from(["domain", "recipient", "transport"]), st.text() | st.builds("{}@alias.example".format, st.text())
)
def test_any_key_is_answered(name: str, key: str) -> None:
    assert isinstance(answer_map(socketmap.Lookup(name, key), REALM, TRANSPORT), socketmap.Ok | socketmap.NotFound)
