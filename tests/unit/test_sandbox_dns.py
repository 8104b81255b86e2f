"""The sandbox's name server answers as an authoritative one does."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from tools.sandbox import ports, zone
from tools.sandbox.dns import Answerer, fingerprint, load, parse_zone, serving

ZONE = """\
$ORIGIN example.
$TTL 60
@ IN SOA ns.example. hostmaster.example. 7 3600 600 86400 30
@ IN NS ns.example.
shop IN MX 10 mx.shop.example.
mx.shop IN A 192.0.2.11
*.alias IN MX 10 mx.relay.example.
*.alias IN TXT "wild"
known.alias IN A 192.0.2.5
below.deep.alias IN A 192.0.2.6
www.shop IN CNAME mx.shop.example.
away IN CNAME elsewhere.invalid.
lost IN CNAME nowhere.example.
two IN TXT "first half, " "second half"
""" + "".join(f'big IN TXT "{"x" * 200}{n}"\n' for n in range(10))


def ask(name: str, kind: str, limit: int | None = None) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=False)
    wire = Answerer(parse_zone(ZONE)).answer(query.to_wire(), limit)
    assert wire is not None
    response = dns.message.from_wire(wire)
    assert query.is_response(response)
    return response


def texts(response: dns.message.Message) -> list[str]:
    return sorted(f"{rrset.name} {record.to_text()}" for rrset in response.answer for record in rrset)


def soa_seconds(response: dns.message.Message) -> list[int]:
    return [rrset.ttl for rrset in response.authority if rrset.rdtype == dns.rdatatype.SOA]


def test_a_record_is_answered_with_authority() -> None:
    response = ask("SHOP.example", "MX")
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    assert [rrset[0].to_text().lower() for rrset in response.answer] == ["10 mx.shop.example."]
    assert soa_seconds(response) == []


def test_an_unknown_name_is_nxdomain_with_the_negative_ttl() -> None:
    response = ask("nobody.example", "A")
    assert (response.rcode(), response.answer, soa_seconds(response)) == (dns.rcode.NXDOMAIN, [], [30])


@pytest.mark.parametrize("name", ["shop.example", "deep.alias.example"])
def test_a_name_without_that_type_is_no_data(name: str) -> None:
    response = ask(name, "A")
    assert (response.rcode(), response.answer, soa_seconds(response)) == (dns.rcode.NOERROR, [], [30])


def test_a_wildcard_covers_names_below_it_at_any_depth() -> None:
    assert texts(ask("u1.alias.example", "TXT")) == ['u1.alias.example. "wild"']
    assert texts(ask("a.b.alias.example", "TXT")) == ['a.b.alias.example. "wild"']


def test_a_wildcard_covers_neither_existing_names_nor_what_is_below_them() -> None:
    assert ask("known.alias.example", "TXT").rcode() == dns.rcode.NOERROR
    assert texts(ask("known.alias.example", "TXT")) == []
    assert ask("x.known.alias.example", "TXT").rcode() == dns.rcode.NXDOMAIN
    assert ask("x.deep.alias.example", "TXT").rcode() == dns.rcode.NXDOMAIN
    assert texts(ask("alias.example", "TXT")) == []


def test_a_cname_is_followed_inside_the_zone_only() -> None:
    assert texts(ask("www.shop.example", "A")) == [
        "mx.shop.example. 192.0.2.11",
        "www.shop.example. mx.shop.example.",
    ]
    assert texts(ask("away.example", "A")) == ["away.example. elsewhere.invalid."]
    assert ask("lost.example", "A").rcode() == dns.rcode.NXDOMAIN


def test_a_txt_record_may_have_several_strings() -> None:
    assert texts(ask("two.example", "TXT")) == ['two.example. "first half, " "second half"']


def test_other_zones_are_refused() -> None:
    assert ask("example.invalid", "A").rcode() == dns.rcode.REFUSED


def test_an_answer_too_long_for_udp_is_cut_and_flagged() -> None:
    short = ask("big.example", "TXT", limit=512)
    assert short.flags & dns.flags.TC
    assert short.answer == []
    whole = ask("big.example", "TXT")
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 10


@pytest.mark.parametrize("wire", [b"", b"\0" * 5, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\xc0", bytes(12) + b"\xff" * 30])
def test_garbage_is_answered_with_form_error_or_not_at_all(wire: bytes) -> None:
    reply = Answerer(parse_zone(ZONE)).answer(wire, 512)
    assert reply is None or reply[3] & 0x0F in (dns.rcode.FORMERR, dns.rcode.NOTIMP)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    (number,) = ports.pick(1)
    async with serving(Answerer(parse_zone(ZONE)), number):
        yield number


async def test_udp_and_tcp_answer_on_the_same_port(port: int) -> None:
    query = dns.message.make_query("big.example", "TXT", use_edns=False)
    response, used_tcp = await dns.asyncquery.udp_with_fallback(query, "127.0.0.1", timeout=5, port=port)
    assert used_tcp
    assert len(response.answer[0]) == 10


async def test_a_tcp_connection_takes_several_questions(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wire = dns.message.make_query("shop.example", "MX").to_wire()
    for _ in range(2):
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        assert dns.message.from_wire(await reader.readexactly(length)).answer
    writer.close()
    await writer.wait_closed()


def test_an_edited_zone_is_served_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path, notice = tmp_path / "zone", tmp_path / "notice"
    path.write_text(ZONE)
    answerer = load(path, notice, None)
    path.write_text("nonsense nonsense")
    with pytest.raises(ValueError, match="zone file"):
        load(path, notice, answerer)
    assert notice.read_text() == fingerprint(ZONE)
    assert len(answerer.zone.nodes) > 5
    path.write_text(ZONE + "new IN A 192.0.2.99\n")
    load(path, notice, answerer)
    assert notice.read_text() == fingerprint(path.read_text())


def test_the_sandbox_zone_parses_and_takes_the_products_keys(tmp_path: Path) -> None:
    zone.create_keys(tmp_path / "keys")
    text = zone.zone_text(tmp_path / "keys")
    dkim = tmp_path / "dkim" / "relay.example"
    dkim.mkdir(parents=True)
    (dkim / "mr1.pem").write_bytes((tmp_path / "keys" / "shop.example.pem").read_bytes())
    once = zone.with_product_keys(text, tmp_path / "dkim")
    assert zone.with_product_keys(once, tmp_path / "dkim") == once
    nodes = {str(name) for name in parse_zone(once).nodes}
    assert {
        f"{name}.example." for name in ("mr1._domainkey.relay", "sandbox._domainkey.shop", "*.alias", "_dmarc.inbox")
    } <= nodes
