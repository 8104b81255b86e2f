"""Web Key Directory: where keys are, and what is taken from whoever serves them."""

import asyncio
import ssl
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailrelay.clients.wkd import MAX_OCTETS, KeyDirectory
from mailrelay.core import wkd
from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Absent, Malformed, Unavailable
from mailrelay.core.httptarget import IPAddress, IPNetwork
from tests.unit.test_webhook_client import LOOPBACK, serving

JOE = parse_address("Joe.Doe@Example.Example")
HASH = "iy9q119eutrkn8s1mk4r39qejnbu3n5q"  # of the draft, section 3.1
KEY = b"\x98\x33key"


def test_the_draft_s_own_example() -> None:
    assert wkd.hashed("Joe.Doe") == HASH
    assert wkd.advanced_host(JOE.domain) == "openpgpkey.example.example"
    assert wkd.advanced_path(JOE) == f"/.well-known/openpgpkey/example.example/hu/{HASH}?l=Joe.Doe"
    assert wkd.direct_path(JOE) == f"/.well-known/openpgpkey/hu/{HASH}?l=Joe.Doe"


def test_only_ascii_is_folded_and_nothing_escapes_from_the_query() -> None:
    assert wkd.hashed("JOE") == wkd.hashed("joe")
    assert wkd.hashed("É") != wkd.hashed("é")
    path = wkd.direct_path(Address("a/../b?x=y&#é +", "inbox.example"))
    assert path.endswith("?l=a%2F..%2Fb%3Fx%3Dy%26%23%C3%A9%20%2B")


def test_what_is_published_serves_either_method() -> None:
    found = wkd.files(JOE, KEY)
    assert found == {
        f".well-known/openpgpkey/hu/{HASH}": KEY,
        ".well-known/openpgpkey/policy": b"",
        f".well-known/openpgpkey/example.example/hu/{HASH}": KEY,
        ".well-known/openpgpkey/example.example/policy": b"",
    }


# -- the client ---------------------------------------------------------------------------------------------------


class Sides:
    """A private authority, and a server with a certificate of it for the names of Joe's domain."""

    def __init__(self, folder: Path) -> None:
        authority, self._issuer = ec.generate_private_key(ec.SECP256R1()), _name("Private authority")
        self._authority = authority
        ca = _builder(self._issuer, self._issuer, authority.public_key())
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
        (folder / "ca.pem").write_bytes(ca.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        self.trusting = ssl.create_default_context(cafile=folder / "ca.pem")
        self._folder = folder

    def server(self, *names: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        one = _builder(_name(names[0]), self._issuer, key.public_key())
        one = one.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        one = one.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._authority.public_key()), critical=False
        )
        pem, secret = self._folder / "cert.pem", self._folder / "key.pem"
        pem.write_bytes(one.sign(self._authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        secret.write_bytes(key.private_bytes(*form))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, secret)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    begins, ends = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Sides:
    return Sides(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(sides: Sides) -> ssl.SSLContext:
    return sides.server("openpgpkey.example.example", "example.example")


def answer(status: int, body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, more, len(body), body)


class Host:
    """Answers every request with the same octets. asked: the beginnings of requests."""

    def __init__(self, octets: bytes, then_hang: bool = False) -> None:
        self.octets = octets
        self.then_hang = then_hang
        self.asked: list[bytes] = []

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.octets)
        await writer.drain()
        if self.then_hang:
            await asyncio.Event().wait()


def names(known: Mapping[str, Sequence[str]]) -> Callable[[str], Awaitable[Sequence[IPAddress]]]:
    async def resolve(host: str) -> Sequence[IPAddress]:
        return [ip_address(text) for text in known.get(host, ())]

    return resolve


ADVANCED = {"openpgpkey.example.example": ["127.0.0.1"], "example.example": ["127.0.0.1"]}
DIRECT = {"example.example": ["127.0.0.1"]}


async def fetch(
    host: Host,
    server: ssl.SSLContext | None,
    trusting: ssl.SSLContext,
    known: Mapping[str, Sequence[str]] = ADVANCED,
    networks: Sequence[IPNetwork] = LOOPBACK,
    seconds: float = 5.0,
) -> bytes:
    async with serving(host, server) as port:
        return await KeyDirectory(names(known), networks, seconds, trusting, port).fetch(JOE)


async def test_the_host_for_keys_is_asked_first(sides: Sides, server: ssl.SSLContext) -> None:
    host = Host(answer(200, KEY))
    assert await fetch(host, server, sides.trusting) == KEY
    [request] = host.asked
    assert request.startswith(f"GET {wkd.advanced_path(JOE)} HTTP/1.1\r\n".encode())
    assert b"\r\nHost: openpgpkey.example.example:" in request


async def test_without_such_a_host_the_domain_is_asked(sides: Sides, server: ssl.SSLContext) -> None:
    host = Host(answer(200, KEY))
    assert await fetch(host, server, sides.trusting, DIRECT) == KEY
    assert host.asked[0].startswith(f"GET {wkd.direct_path(JOE)} HTTP/1.1\r\n".encode())


async def test_a_host_for_keys_that_has_none_speaks_for_its_domain(sides: Sides, server: ssl.SSLContext) -> None:
    host = Host(answer(404, b"no"))
    with pytest.raises(Absent, match=r"openpgpkey\.example\.example publishes no key"):
        await fetch(host, server, sides.trusting)
    assert len(host.asked) == 1


async def test_a_domain_without_a_web_server_publishes_nothing(sides: Sides, server: ssl.SSLContext) -> None:
    with pytest.raises(Absent, match="has no Web Key Directory"):
        await fetch(Host(b""), server, sides.trusting, {})


@pytest.mark.parametrize("status", [301, 302, 307, 403, 500, 503])
async def test_other_answers_are_trouble_and_redirects_are_not_followed(
    sides: Sides, server: ssl.SSLContext, status: int
) -> None:
    host = Host(answer(status, KEY, b"Location: /other\r\n"))
    with pytest.raises(Unavailable, match=f"answered {status}"):
        await fetch(host, server, sides.trusting)
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "fe80::1"),
        *("::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::1", "fd00::1", "192.0.2.1"),
    ],
)
async def test_addresses_inside_are_never_asked(sides: Sides, server: ssl.SSLContext, address: str) -> None:
    host = Host(answer(200, KEY))
    for known in ({"openpgpkey.example.example": ["8.8.8.8", address]}, {"example.example": [address]}):
        with pytest.raises(Unavailable, match="neither public nor"):
            await fetch(host, server, sides.trusting, known, networks=())
    assert host.asked == []


async def test_a_certificate_has_to_be_for_the_name_and_of_an_authority(sides: Sides) -> None:
    host = Host(answer(200, KEY))
    with pytest.raises(Unavailable, match="certificate: Hostname mismatch"):
        await fetch(host, sides.server("other.example"), sides.trusting)
    with pytest.raises(Unavailable, match="certificate: "):
        await fetch(host, sides.server("openpgpkey.example.example"), ssl.create_default_context())
    assert host.asked == []


async def test_plain_http_is_not_spoken(sides: Sides) -> None:
    with pytest.raises(Unavailable):
        await fetch(Host(answer(200, KEY)), None, sides.trusting, seconds=0.5)


async def test_what_is_too_large_is_not_read_to_its_end(sides: Sides, server: ssl.SSLContext) -> None:
    endless = b"HTTP/1.1 200 X\r\nContent-Length: 1000000000000\r\n\r\n" + bytes(MAX_OCTETS + 1)
    with pytest.raises(Malformed, match="more than a key can have"):
        await fetch(Host(endless, then_hang=True), server, sides.trusting)
    largest = bytes(MAX_OCTETS)
    assert await fetch(Host(answer(200, largest)), server, sides.trusting) == largest


async def test_an_empty_answer_is_no_key(sides: Sides, server: ssl.SSLContext) -> None:
    with pytest.raises(Malformed, match="an empty key"):
        await fetch(Host(answer(200, b"")), server, sides.trusting)


@pytest.mark.parametrize("octets", [b"", b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nhalf"])
async def test_a_host_that_falls_silent_is_waited_for_only_so_long(
    sides: Sides, server: ssl.SSLContext, octets: bytes
) -> None:
    with pytest.raises(Unavailable, match=r"no answer within 0\.3 seconds"):
        await fetch(Host(octets, then_hang=True), server, sides.trusting, seconds=0.3)


@pytest.mark.parametrize(
    "octets", [b"220 mx ESMTP\r\n", b"\x00\xff\r\n\r\n", b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_what_is_no_proper_answer_is_trouble(sides: Sides, server: ssl.SSLContext, octets: bytes) -> None:
    with pytest.raises(Unavailable):
        await fetch(Host(octets), server, sides.trusting)


async def test_a_second_address_is_tried_where_the_first_is_dead(sides: Sides, server: ssl.SSLContext) -> None:
    host = Host(answer(200, KEY))
    known = {"openpgpkey.example.example": ["127.9.9.9", "127.0.0.1"]}
    assert await fetch(host, server, sides.trusting, known) == KEY
