"""Requests to webhooks, against receivers on the loopback that mean well or not."""

import asyncio
import ssl
import time
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailrelay.clients.webhook import HostAddresses, Line, WebhookClient
from mailrelay.core.errors import Unavailable
from mailrelay.core.httptarget import IPAddress, IPNetwork, target
from mailrelay.core.lookup import ABSENT, Kind
from mailrelay.core.lookup import Answer as Found
from mailrelay.core.webhooks import Answer

LOOPBACK = [ip_network("127.0.0.0/8")]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Receiver:
    """What came in: whole requests, and how many connections."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


async def read(reader: Reader) -> bytes:
    """One request."""
    header = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in header.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return header + await reader.readexactly(length)


@asynccontextmanager
async def receiving(
    *answers: bytes, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", then_close: bool = False
) -> AsyncIterator[Receiver]:
    """Answers request by request, the last one for ever; keeps connections unless told to close them."""
    receiver = Receiver()
    left = list(answers)
    async with serving(lambda reader, writer: converse(receiver, left, reader, writer, then_close), tls, host) as port:
        receiver.port = port
        yield receiver


async def converse(receiver: Receiver, left: list[bytes], reader: Reader, writer: Writer, then_close: bool) -> None:
    receiver.connections += 1
    while True:
        receiver.requests.append(await read(reader))
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()
        if then_close:
            return


@asynccontextmanager
async def serving(
    story: Callable[[Reader, Writer], Awaitable[None]], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """A server with one story a connection; gives its port. All of it ends with the block."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: Reader, writer: Writer) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await story(reader, writer)
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    def begin(reader: Reader, writer: Writer) -> None:
        tasks.add(asyncio.ensure_future(run(reader, writer)))

    server = await asyncio.start_server(begin, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def names(*addresses: str) -> Callable[[str], Awaitable[Sequence[IPAddress]]]:
    """Every name has these addresses."""

    async def resolve(host: str) -> Sequence[IPAddress]:
        with suppress(ValueError):
            return [ip_address(host)]
        return [ip_address(address) for address in addresses]

    return resolve


def client(*addresses: str, networks: Sequence[IPNetwork] = LOOPBACK, seconds: float = 5.0) -> WebhookClient:
    return WebhookClient(names(*addresses), networks, seconds)


def line_to(receiver: Receiver) -> Line:
    return client("127.0.0.1").line(target(f"http://hook.example:{receiver.port}/"), True)


async def post(one: WebhookClient, url: str, body: bytes = b"{}", of_account: bool = True) -> Answer:
    async with one.line(target(url), of_account) as line:
        return await line.post({"Webhook-Id": "1"}, body)


async def test_an_event_is_posted_to_the_address_under_the_name() -> None:
    async with receiving(OK) as receiver:
        url = f"http://hook.example:{receiver.port}/in?x=%20y"
        answer = await post(client("127.0.0.1"), url, b'{"a":1}')
    assert answer == Answer(200, "", "ok")
    [request] = receiver.requests
    assert request.startswith(b"POST /in?x=%20y HTTP/1.1\r\n")
    assert b"\r\nHost: hook.example:%d\r\n" % receiver.port in request
    assert b"\r\nWebhook-Id: 1\r\n" in request
    assert b"\r\nUser-Agent: mailrelay/" in request
    assert request.endswith(b'\r\n\r\n{"a":1}')


async def test_several_requests_share_a_connection() -> None:
    async with receiving(OK) as receiver, line_to(receiver) as line:
        answers = [await line.post({}, b"%d" % number) for number in range(5)]
    assert [answer.delivered for answer in answers] == [True] * 5
    assert [request[-1:] for request in receiver.requests] == [b"0", b"1", b"2", b"3", b"4"]
    assert receiver.connections == 1


async def test_a_connection_that_the_receiver_closed_is_no_failure() -> None:
    async with receiving(OK, then_close=True) as receiver, line_to(receiver) as line:
        answers = [await line.post({}, b"%d" % number) for number in range(3)]
    assert [answer.delivered for answer in answers] == [True] * 3
    assert receiver.connections == 3


async def test_a_connection_that_closes_without_an_answer_is_one() -> None:
    async def hang_up(reader: Reader, writer: Writer) -> None:
        await read(reader)

    async with serving(hang_up) as port:
        answer = await post(client("127.0.0.1"), f"http://hook.example:{port}/")
    assert answer.status is None
    assert answer.problem


@pytest.mark.parametrize("status", [201, 202, 204])
async def test_every_2xx_is_a_delivery(status: int) -> None:
    async with receiving(b"HTTP/1.1 %d Fine\r\nContent-Length: 0\r\n\r\n" % status) as receiver:
        assert (await post(client("127.0.0.1"), f"http://hook.example:{receiver.port}/")).delivered


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 410, 429, 500, 503])
async def test_everything_else_is_none(status: int) -> None:
    async with receiving(b"HTTP/1.1 %d Hm\r\nContent-Length: 2\r\n\r\n\x1bx" % status) as receiver:
        answer = await post(client("127.0.0.1"), f"http://hook.example:{receiver.port}/")
    assert answer == Answer(status, f"answered {status}", "" if status == 304 else "x")


@pytest.mark.parametrize(
    "nonsense", [b"\x00\xff" * 100 + b"\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/9 x\r\n\r\n", b"220 mx ESMTP\r\n"]
)
async def test_what_is_no_http_is_a_failure(nonsense: bytes) -> None:
    async with receiving(nonsense, then_close=True) as receiver:
        answer = await post(client("127.0.0.1"), f"http://hook.example:{receiver.port}/")
    assert not answer.delivered
    assert answer.problem


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with receiving(OK) as inside:
        location = b"http://127.0.0.1:%d/" % inside.port
        moved = b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, location)
        async with receiving(moved) as receiver:
            answer = await post(client("127.0.0.1"), f"http://hook.example:{receiver.port}/")
    assert answer.problem == f"answered {status}"
    assert len(receiver.requests) == 1
    assert inside.connections == 0


async def test_proxies_and_passwords_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with receiving(OK) as proxy, receiving(OK) as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        (tmp_path / "netrc").write_text(
            "machine hook.example login me password secret\nmachine 127.0.0.1 login me password s\n"
        )
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        assert (await post(client("127.0.0.1"), f"http://hook.example:{receiver.port}/")).delivered
    assert proxy.connections == 0
    assert b"authorization" not in receiver.requests[0].lower()


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:{port}/", "http://[::1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/"),
        *("http://169.254.169.254/latest/meta-data/", "http://0.0.0.0:{port}/", "http://[::]:{port}/"),
        *("http://[64:ff9b::7f00:1]:{port}/", "http://[2002:7f00:1::]:{port}/", "http://10.0.0.1/"),
    ],
)
async def test_private_addresses_are_not_connected_to(url: str) -> None:
    async with receiving(OK) as receiver:
        answer = await post(client(networks=()), url.format(port=receiver.port), of_account=False)
    assert "neither public nor in webhooks.networks" in answer.problem
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]]
)
async def test_names_that_mean_private_addresses_are_not_connected_to(addresses: list[str]) -> None:
    async with receiving(OK) as receiver:
        answer = await post(client(*addresses, networks=()), f"http://hook.example:{receiver.port}/", of_account=False)
    assert "neither public nor in webhooks.networks" in answer.problem
    assert receiver.connections == 0


async def test_a_name_that_changes_its_mind_is_asked_once_a_line() -> None:
    """DNS rebinding: harmless when checked, private when connected to."""
    asked: list[str] = []

    async def resolve(host: str) -> Sequence[IPAddress]:
        asked.append(host)
        return [ip_address("127.0.0.1" if len(asked) == 1 else "127.0.0.2")]

    only_first: list[IPNetwork] = [IPv4Network("127.0.0.1/32")]
    async with receiving(OK, host="127.0.0.1") as receiver:
        one = WebhookClient(resolve, only_first)
        url = target(f"http://hook.example:{receiver.port}/")
        async with one.line(url, True) as line:
            assert (await line.post({}, b"1")).delivered
            assert (await line.post({}, b"2")).delivered
        async with one.line(url, True) as line:
            assert "127.0.0.2" in (await line.post({}, b"3")).problem
    assert len(receiver.requests) == 2
    assert asked == ["hook.example"] * 2


async def test_an_address_that_does_not_answer_is_passed_over() -> None:
    async with receiving(OK, host="127.0.0.3") as receiver:
        one = client("127.0.0.2", "127.0.0.3")
        async with one.line(target(f"http://hook.example:{receiver.port}/"), True) as line:
            assert [(await line.post({}, b"{}")).delivered for _ in range(2)] == [True, True]
    assert receiver.connections == 1


async def test_nobody_there_is_said_in_plain_words() -> None:
    async with receiving(OK) as receiver:
        free = receiver.port
    assert await post(client("127.0.0.1"), f"http://hook.example:{free}/") == Answer(None, "connection refused")


async def test_a_body_without_end_is_not_read() -> None:
    sent = 0

    async def flood(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with serving(flood) as port:
        answer = await post(client("127.0.0.1"), f"http://hook.example:{port}/")
    assert answer == Answer(200, "", "x" * 200)
    assert sent < 20_000_000  # what fits into the buffers of both sides


async def test_a_compressed_bomb_stays_compressed() -> None:
    packed = b"\x1f\x8b\x08\x00" + b"\x00" * 20
    head = b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with receiving(head + packed) as receiver:
        answer = await post(client("127.0.0.1"), f"http://hook.example:{receiver.port}/")
    assert answer.problem == "answered 500"
    assert b"Accept-Encoding: identity\r\n" in receiver.requests[0]


async def test_a_header_without_end_is_a_failure() -> None:
    async def flood(reader: Reader, writer: Writer) -> None:
        await read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    async with serving(flood) as port:
        answer = await post(client("127.0.0.1"), f"http://hook.example:{port}/")
    assert answer.status is None
    assert answer.problem


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_receiver_that_dawdles_is_cut_off(begun: bytes) -> None:
    """A line every few milliseconds keeps each single read short; the whole is what counts."""

    async def dawdle(reader: Reader, writer: Writer) -> None:
        await read(reader)
        writer.write(begun)
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" if begun.endswith(b"\r\n\r\n") else b"y" if begun else b"")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(dawdle) as port:
        started = time.monotonic()
        answer = await post(client("127.0.0.1", seconds=0.4), f"http://hook.example:{port}/")
    assert answer == Answer(None, "no answer within 0.4 seconds")
    assert time.monotonic() - started < 4


async def test_a_body_that_dawdles_does_not_undo_a_delivery() -> None:
    async def dawdle(reader: Reader, writer: Writer) -> None:
        await read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\nyes")
        await asyncio.Event().wait()

    async with serving(dawdle) as port:
        answer = await post(client("127.0.0.1", seconds=10), f"http://hook.example:{port}/")
    assert answer == Answer(200, "", "yes")


async def test_trouble_with_dns_is_a_failure() -> None:
    async def resolve(host: str) -> Sequence[IPAddress]:
        raise Unavailable("DNS gave no answer")

    assert await post(WebhookClient(resolve), "https://hook.example/") == Answer(None, "DNS gave no answer")
    assert "no address" in (await post(WebhookClient(names()), "https://hook.example/")).problem


@dataclass
class Records:
    """A resolver. None: DNS does not answer."""

    known: dict[tuple[str, Kind], Found | None]

    async def lookup(self, name: str, kind: Kind) -> Found:
        found = self.known.get((name, kind), ABSENT)
        if found is None:
            raise Unavailable("DNS gave no answer")
        return found


async def test_all_addresses_of_a_name_are_asked_for() -> None:
    records = Records(
        {
            ("both.example", "A"): Found(("192.0.2.1", "192.0.2.2")),
            ("both.example", "AAAA"): Found(("2001:db8::1",)),
            ("half.example", "A"): None,
            ("half.example", "AAAA"): Found(("2001:db8::2",)),
            ("dark.example", "A"): None,
            ("dark.example", "AAAA"): None,
        }
    )
    addresses = HostAddresses(records)
    assert [str(one) for one in await addresses("both.example")] == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert [str(one) for one in await addresses("half.example")] == ["2001:db8::2"]
    assert [str(one) for one in await addresses("2001:db8::3")] == ["2001:db8::3"]
    assert list(await addresses("gone.example")) == []
    with pytest.raises(Unavailable):
        await addresses("dark.example")


# -- TLS ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A certificate of hook.example and who vouches for it."""

    server: ssl.SSLContext
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook.example")])
    begins = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return Authority(server, ssl.create_default_context(cafile=folder / "cert.pem"))


async def test_the_certificate_is_for_the_name_though_the_connection_goes_to_the_address(authority: Authority) -> None:
    indicated: list[str | None] = []
    authority.server.sni_callback = lambda _socket, name, _context: indicated.append(name)
    async with receiving(OK, tls=authority.server) as receiver:
        one = WebhookClient(names("127.0.0.1"), LOOPBACK, tls=authority.trusting)
        assert (await post(one, f"https://hook.example:{receiver.port}/")).delivered
        other = await post(one, f"https://other.example:{receiver.port}/")
        by_address = await post(one, f"https://127.0.0.1:{receiver.port}/")
    assert "certificate: Hostname mismatch" in other.problem
    assert "certificate: IP address mismatch" in by_address.problem
    assert indicated == ["hook.example", "other.example", None]
    assert len(receiver.requests) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(authority: Authority) -> None:
    async with receiving(OK, tls=authority.server) as receiver:
        answer = await post(client("127.0.0.1"), f"https://hook.example:{receiver.port}/")
    assert answer.problem.startswith("certificate: ")
    assert receiver.requests == []


async def test_plain_http_where_tls_is_expected_is_a_failure(authority: Authority) -> None:
    async with receiving(OK) as receiver:
        answer = await post(client("127.0.0.1", seconds=0.5), f"https://hook.example:{receiver.port}/")
    assert answer.status is None
    assert answer.problem
