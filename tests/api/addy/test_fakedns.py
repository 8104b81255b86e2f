"""The fake DNS answers as the real client does when it asks a name server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.message
import dns.rcode
import pytest

from mailrelay.clients.resolver import Resolver
from mailrelay.core.errors import Unavailable
from mailrelay.core.lookup import ABSENT, Answer, Kind
from mailrelay.endpoint import Endpoint
from mailrelay.flows.manage.domains import Dns
from tests.api.addy.fakedns import FakeDns
from tools.sandbox import ports
from tools.sandbox.dns import Answerer, parse_zone, serving

ZONE = """\
$ORIGIN example.
$TTL 60
@ IN SOA ns.example. hostmaster.example. 7 3600 600 86400 30
@ IN NS ns.example.
proved IN TXT "aa-verify=" "0123"
proved IN TXT "v=spf1 -all"
other IN A 192.0.2.1
broken IN TXT "never seen"
"""


class Server(Answerer):
    """In trouble about one name."""

    def answer(self, wire: bytes, limit: int | None) -> bytes | None:
        question = dns.message.from_wire(wire)
        if str(question.question[0].name).startswith("broken."):
            response = dns.message.make_response(question)
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        return super().answer(wire, limit)


@asynccontextmanager
async def real() -> AsyncIterator[Resolver]:
    (port,) = ports.pick(1)
    resolver = Resolver([Endpoint("127.0.0.1", port)], 1.0, entries=0)
    async with serving(Server(parse_zone(ZONE)), port):
        yield resolver
        await resolver.close()


@asynccontextmanager
async def fake() -> AsyncIterator[FakeDns]:
    dns = FakeDns()
    dns.txt("proved.example", "aa-verify=0123", "v=spf1 -all")
    dns.answers["other.example", "A"] = Answer(("192.0.2.1",))
    dns.fails("broken.example")
    yield dns


@pytest.fixture(params=["real", "fake"])
async def lookup(request: pytest.FixtureRequest) -> AsyncIterator[Dns]:
    async with real() if request.param == "real" else fake() as found:
        yield found


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("Proved.example.", "TXT", {b"aa-verify=0123", b"v=spf1 -all"}),
        ("other.example", "A", {"192.0.2.1"}),
        ("other.example", "TXT", set()),
        ("nowhere.example", "TXT", set()),
    ],
)
async def test_answers(lookup: Dns, name: str, kind: Kind, expected: set[object]) -> None:
    assert set((await lookup.lookup(name, kind)).records) == expected


async def test_what_is_not_there(lookup: Dns) -> None:
    assert await lookup.lookup("other.example", "TXT") == Answer()
    assert await lookup.lookup("nowhere.example", "TXT") == ABSENT
    assert await lookup.lookup("no name.example" + "é", "TXT") == ABSENT


async def test_trouble(lookup: Dns) -> None:
    with pytest.raises(Unavailable):
        await lookup.lookup("broken.example", "TXT")
