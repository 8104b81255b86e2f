"""DNS answers and their cache, against a name server on the loopback."""

import asyncio
from collections.abc import AsyncIterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from mailrelay.clients.resolver import Resolver
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import ABSENT, Answer, Kind, Mx
from mailrelay.endpoint import Endpoint
from tools.sandbox import ports
from tools.sandbox.dns import Answerer, parse_zone, serving

ZONE = """\
$ORIGIN example.
$TTL 60
@ IN SOA ns.example. hostmaster.example. 7 3600 600 86400 30
@ IN NS ns.example.
shop IN MX 10 MX.shop.example.
shop IN MX 20 mx2.shop.example.
null IN MX 0 .
mx.shop IN A 192.0.2.11
mx.shop IN AAAA 2001:db8::11
1.2.0.192.in-addr IN PTR MTA.shop.example.
two IN TXT "first half, " "second half"
raw IN TXT "\\255\\000"
www.shop IN CNAME mx.shop.example.
lost IN CNAME nowhere.example.
brief 0 IN A 192.0.2.9
long 100000 IN A 192.0.2.8
odd\\.name IN TXT "a dot in a label"
""" + "".join(f'big IN TXT "{"x" * 200}{n}"\n' for n in range(30))


class Server(Answerer):
    """Counts the questions; may keep silent, or be in trouble."""

    def __init__(self) -> None:
        super().__init__(parse_zone(ZONE))
        self.questions = 0
        self.is_silent = False
        self.fails = False

    def answer(self, wire: bytes, limit: int | None) -> bytes | None:
        self.questions += 1
        if self.is_silent:
            return None
        if self.fails:
            response = dns.message.make_response(dns.message.from_wire(wire))
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        return super().answer(wire, limit)


class World:
    """A server, a resolver that asks it, and the time."""

    def __init__(self, port: int) -> None:
        self.server = Server()
        self.now = 1000.0
        self.endpoint = Endpoint("127.0.0.1", port)
        self.resolver = Resolver([self.endpoint], 0.3, entries=20, clock=lambda: self.now)
        self.lookup = self.resolver.lookup


@pytest.fixture
async def world() -> AsyncIterator[World]:
    (port,) = ports.pick(1)
    found = World(port)
    async with serving(found.server, port):
        yield found
        await found.resolver.close()


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("mx.shop.example", "A", Answer(("192.0.2.11",))),
        ("MX.Shop.Example.", "AAAA", Answer(("2001:db8::11",))),
        ("null.example", "MX", Answer((Mx(0, ""),))),
        ("1.2.0.192.in-addr.example", "PTR", Answer(("mta.shop.example",))),
        ("two.example", "TXT", Answer((b"first half, second half",))),
        ("raw.example", "TXT", Answer((b"\xff\x00",))),
        ("www.shop.example", "A", Answer(("192.0.2.11",))),
        ("www.shop.example", "TXT", Answer()),
        ("www.shop.example", "CNAME", Answer(("mx.shop.example",))),
        ("mx.shop.example", "CNAME", Answer()),
        ("lost.example", "CNAME", Answer(("nowhere.example",))),
        ("nowhere.example", "CNAME", ABSENT),
        ("shop.example", "A", Answer()),
        ("nowhere.example", "A", ABSENT),
        ("nowhere.example", "TXT", ABSENT),
        ("odd.name.example", "TXT", ABSENT),
    ],
)
async def test_answers(world: World, name: str, kind: Kind, expected: Answer) -> None:
    assert await world.lookup(name, kind) == expected


async def test_mx_records_and_answers_that_need_tcp(world: World) -> None:
    assert set((await world.lookup("shop.example", "MX")).records) == {
        Mx(10, "mx.shop.example"),
        Mx(20, "mx2.shop.example"),
    }
    assert len((await world.lookup("big.example", "TXT")).texts) == 30


@pytest.mark.parametrize(
    ("name", "kind", "seconds"),
    [
        ("mx.shop.example", "A", 60),
        ("nowhere.example", "A", 30),  # RFC 2308: the SOA's minimum
        ("shop.example", "TXT", 30),
        ("lost.example", "A", 30),
        ("long.example", "A", 3600),
        ("brief.example", "A", 0),
    ],
)
async def test_answers_are_remembered_for_their_time(world: World, name: str, kind: Kind, seconds: int) -> None:
    answer = await world.lookup(name, kind)
    for elapsed, asked in ((0.0, 1), (seconds - 0.1, 1), (seconds + 0.1, 2)):
        if seconds or elapsed > 0:
            world.now = 1000.0 + elapsed
            assert await world.lookup(name.upper(), kind) == answer
            assert world.server.questions == asked


async def test_many_who_ask_the_same_ask_once(world: World) -> None:
    answers = await asyncio.gather(*(world.lookup("mx.shop.example", "A") for _ in range(50)))
    assert answers == [Answer(("192.0.2.11",))] * 50
    assert world.server.questions == 1


async def test_who_gives_up_does_not_disturb_the_others(world: World) -> None:
    first = asyncio.create_task(world.lookup("mx.shop.example", "A"))
    second = asyncio.create_task(world.lookup("mx.shop.example", "A"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == Answer(("192.0.2.11",))
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_silence_is_unavailable_and_remembered_briefly(world: World) -> None:
    world.server.is_silent = True
    with pytest.raises(Unavailable):
        await world.lookup("mx.shop.example", "A")
    asked = world.server.questions
    with pytest.raises(Unavailable):
        await world.lookup("mx.shop.example", "A")
    assert world.server.questions == asked
    world.server.is_silent = False
    world.now += 6
    assert await world.lookup("mx.shop.example", "A") == Answer(("192.0.2.11",))


async def test_a_server_in_trouble_is_unavailable(world: World) -> None:
    world.server.fails = True
    with pytest.raises(Unavailable):
        await world.lookup("nowhere.example", "TXT")


async def test_nobody_listens() -> None:
    (port,) = ports.pick(1)
    resolver = Resolver([Endpoint("127.0.0.1", port)], 0.3)
    with pytest.raises(Unavailable):
        await resolver.lookup("shop.example", "A")
    await resolver.close()


async def test_the_cache_is_bounded_and_forgets_what_was_not_used(world: World) -> None:
    await world.lookup("mx.shop.example", "A")
    for number in range(30):
        await world.lookup(f"n{number}.example", "A")
        await world.lookup("mx.shop.example", "A")
    assert world.server.questions == 31
    await world.lookup("n0.example", "A")
    assert world.server.questions == 32


async def test_huge_answers_are_not_kept(world: World) -> None:
    for _ in range(2):
        await world.lookup("big.example", "TXT")
    first = world.server.questions
    await world.lookup("big.example", "TXT")
    assert world.server.questions > first


@pytest.mark.parametrize(
    "name", ["", ".", "a..example", "x" * 64 + ".example", "\u00e9.example", "\udcff.example", "a." * 130 + "example"]
)
async def test_what_is_no_name_does_not_exist(world: World, name: str) -> None:
    assert await world.lookup(name, "A") == ABSENT
    assert world.server.questions == 0


@pytest.mark.parametrize("name", ["a\\.b.example", "\\065.example", "@.example", "a b.example", "\x00.example", '"."'])
async def test_odd_names_are_asked_for_as_they_are(world: World, name: str) -> None:
    try:
        assert not (await world.lookup(name, "TXT")).records
    except Unavailable:
        assert name == '"."'  # not in the server's zone


async def test_without_a_memory_what_was_just_published_is_seen_at_once(world: World) -> None:
    resolver = Resolver([world.endpoint], 0.3, entries=0)
    assert await resolver.lookup("new.example", "TXT") == ABSENT
    world.server.zone = parse_zone(ZONE + 'new IN TXT "here"\n')
    assert (await resolver.lookup("new.example", "TXT")).texts == (b"here",)
    await resolver.close()
