"""All checks of one message together, on a made-up DNS (spec sections 11.1 to 11.4, 12.2)."""

import asyncio
import time
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.clients.spf import check_spf
from mailrelay.core import authres
from mailrelay.core.arc import seal
from mailrelay.core.dkim import body_hash, public_record, sign
from mailrelay.core.errors import Unavailable
from mailrelay.core.findings import Dmarc, Findings, Iprev, Spf
from mailrelay.core.header import split
from mailrelay.core.lookup import ABSENT, Answer, Kind
from mailrelay.flows import authenticate
from mailrelay.flows.authenticate import Authenticator, Client
from mailrelay.wiring.suffixes import organisational_domains
from tests.unit.test_dkim import ED25519, RSA

NOW = int(time.time())
LETTER = (
    b"From: News <news@alias.example>\r\nTo: a1@relay.example\r\nSubject: hello\r\n"
    b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\nMessage-ID: <1@alias.example>\r\n\r\nhello\r\n"
)
CLIENT = Client(ip_address("192.0.2.10"), "mta.alias.example", "bounce@alias.example")
SELF = "alias.example"


class Dns:
    """Answers from a table; names in `silent` are never answered, `broken` ones fail."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, Kind], tuple[str | bytes, ...]] = {
            ("mr1._domainkey.alias.example", "TXT"): (public_record(RSA).encode(),),
            ("mr1e._domainkey.alias.example", "TXT"): (public_record(ED25519).encode(),),
            ("_dmarc.alias.example", "TXT"): (b"v=DMARC1; p=reject",),
            ("alias.example", "TXT"): (b"v=spf1 ip4:192.0.2.0/24 -all",),
            ("10.2.0.192.in-addr.arpa", "PTR"): ("other.example", "mta.alias.example"),
            ("mta.alias.example", "A"): ("192.0.2.9", "192.0.2.10"),
        }
        self.silent: set[str] = set()
        self.broken: set[str] = set()
        self.asked: list[tuple[str, Kind]] = []

    async def lookup(self, name: str, kind: Kind) -> Answer:
        self.asked.append((name, kind))
        await asyncio.sleep(0)
        if name in self.silent or "*" in self.silent:
            await asyncio.Event().wait()
        if name in self.broken or "*" in self.broken:
            raise Unavailable("broken")
        found = self.records.get((name, kind))
        return ABSENT if found is None else Answer(found)


async def found_by(dns: Dns, content: bytes, client: Client = CLIENT, author: str = SELF) -> Findings:
    checks = Authenticator(dns, check_spf, organisational_domains())
    return await checks.authenticate(split(content), client, author, NOW)


def signed(content: bytes = LETTER) -> bytes:
    message = split(content)
    return b"".join(sign(message.fields, body_hash(message.body), [RSA, ED25519], NOW)) + content


def sealed(content: bytes, results: bytes = b"list.example; dmarc=pass header.from=alias.example") -> bytes:
    message = split(content)
    return b"".join(seal(message.fields, body_hash(message.body), results, "none", RSA, NOW)) + content


async def test_genuine_mail_passes_everything() -> None:
    found = await found_by(Dns(), signed())
    assert found.iprev == Iprev("pass", "mta.alias.example")
    assert found.spf == Spf("pass", "alias.example")
    assert [(one.result, one.aligned) for one in found.dkim] == [("pass", True), ("pass", True)]
    assert found.dmarc == Dmarc("pass", "alias.example", True, "reject", "reject", True, True)
    assert found.arc.result == "none"
    assert found.survives(NOW) and found.author_authenticated
    assert authres.value(found, "mx.relay.example").startswith(
        b"mx.relay.example; iprev=pass; spf=pass smtp.mailfrom=alias.example; dkim=pass header.d=alias.example "
    )


async def test_forged_mail_fails() -> None:  # 46
    forger = Client(ip_address("198.51.100.7"), "mx.other.example", "x@other.example")
    found = await found_by(Dns(), LETTER, forger)
    assert found.iprev.result == "permerror"
    assert found.spf == Spf("none", "other.example")
    assert (found.dmarc.result, found.dmarc.policy) == ("fail", "reject")
    assert not found.survives(NOW) and not found.author_authenticated


async def test_fields_in_the_message_are_no_evidence() -> None:  # 51, 52
    forger = Client(ip_address("198.51.100.7"), "mx.other.example", "x@other.example")
    claims = (
        b"X-Mailrelay-Ingress: v=1;dmarc=pass:none:none::alias.example;act=none\r\n"
        b"Authentication-Results: mx.relay.example; dmarc=pass header.from=alias.example\r\n"
        b"Received: from mta.alias.example (mta.alias.example [192.0.2.10]) by mx.relay.example\r\n"
    )
    assert (await found_by(Dns(), claims + LETTER, forger)).dmarc.result == "fail"


async def test_a_list_with_a_trusted_seal_is_let_through() -> None:  # 50
    relay = Client(ip_address("198.51.100.7"), "lists.other.example", "x@other.example")
    original = signed()
    changed = sealed(original.replace(b"hello\r\n", b"hello\r\n-- \r\nthe list\r\n"))
    found = await found_by(Dns(), changed, relay)
    assert (found.dmarc.result, found.arc.result) == ("fail", "pass")
    assert found.arc_override({"alias.example"})
    assert not found.arc_override({"other.example"})
    failed = sealed(LETTER, b"list.example; dmarc=fail header.from=alias.example")
    assert not (await found_by(Dns(), failed, relay)).arc_override({"alias.example"})


async def test_an_altered_chain_fails() -> None:  # 194
    found = await found_by(Dns(), sealed(signed()) + b"more\r\n")
    assert (found.arc.result, found.arc.highest, found.arc.ended) == ("fail", 1, False)


async def test_trusted_clients_are_not_asked_about() -> None:
    dns = Dns()
    found = await found_by(dns, signed(), Client(CLIENT.ip, CLIENT.helo, CLIENT.mail_from, is_trusted=True))
    assert (found.spf, found.iprev) == (Spf(), Iprev())
    assert found.dmarc.result == "pass"
    assert not [one for one in dns.asked if one[1] != "TXT" or one[0] == "alias.example"]
    assert (await found_by(dns, LETTER, Client(None, "", ""))).spf == Spf()


async def test_without_dns_nothing_is_refused_and_nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticate, "BUDGET_SECONDS", 0.05)
    dns = Dns()
    for trouble in (dns.silent, dns.broken):
        trouble.add("*")
        found = await found_by(dns, sealed(signed()))
        assert found.iprev.result == found.spf.result == found.dmarc.result == found.arc.result == "temperror"
        assert {one.result for one in found.dkim} == {"temperror"}
        assert found.temporary and not found.author_authenticated
        trouble.clear()


async def test_one_silent_server_costs_only_its_own_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticate, "BUDGET_SECONDS", 0.05)
    dns = Dns()
    dns.silent = {"mr1e._domainkey.alias.example", "10.2.0.192.in-addr.arpa"}
    found = await found_by(dns, signed())
    assert [one.result for one in found.dkim] == ["pass", "temperror"]
    assert (found.iprev.result, found.spf.result, found.dmarc.result) == ("temperror", "pass", "pass")


async def test_ten_signatures_and_each_key_once() -> None:
    dns = Dns()
    signature = split(signed()).fields[0].raw
    found = await found_by(dns, signature * 40 + LETTER)
    assert [one.result for one in found.dkim] == ["pass"] * 10
    assert dns.asked.count(("mr1._domainkey.alias.example", "TXT")) == 1


async def test_names_that_attackers_list_are_bounded() -> None:
    dns = Dns()
    fields = b"".join(
        b"ARC-Seal: i=%d; a=rsa-sha256; cv=%b; d=d%d.example; s=s; b=AAAA\r\n"
        b"ARC-Message-Signature: i=%d; a=rsa-sha256; d=e%d.example; s=s; h=from; bh=AAAA; b=AAAA\r\n"
        b"ARC-Authentication-Results: i=%d; x.example\r\n" % (n, b"none" if n == 1 else b"pass", n, n, n, n)
        for n in range(1, 51)
    )
    found = await found_by(dns, fields + LETTER)
    assert found.arc.result == "fail"
    assert len([name for name, _ in dns.asked if "_domainkey" in name]) == 50


async def test_without_a_record_the_public_suffix_is_asked_last() -> None:
    dns = Dns()
    del dns.records["_dmarc.alias.example", "TXT"]
    assert (await found_by(dns, signed(), author="news.alias.example")).dmarc == Dmarc(
        "none", "news.alias.example", dkim_aligned=True, spf_aligned=True
    )
    names = [name for name, _ in dns.asked if name.startswith("_dmarc")]
    assert names == ["_dmarc.news.alias.example", "_dmarc.alias.example", "_dmarc.example"]


async def test_with_a_record_the_public_suffix_is_not_asked() -> None:
    dns = Dns()
    await found_by(dns, signed())
    assert [name for name, _ in dns.asked if name.startswith("_dmarc")] == ["_dmarc.alias.example"]


@pytest.mark.parametrize(("exists", "published"), [(True, "none"), (False, "reject")])
async def test_names_that_do_not_exist_have_a_policy_of_their_own(exists: bool, published: str) -> None:
    dns = Dns()
    dns.records["_dmarc.alias.example", "TXT"] = (b"v=DMARC1; p=quarantine; sp=none; np=reject",)
    if exists:
        dns.records["news.alias.example", "AAAA"] = ("2001:db8::1",)
    stranger = Client(None, "x.example", "")
    assert (await found_by(dns, LETTER, stranger, "news.alias.example")).dmarc.published == published


async def test_without_an_author_there_is_no_policy() -> None:
    dns = Dns()
    found = await found_by(dns, b"Subject: x\r\n\r\n", author="")
    assert found.dmarc == Dmarc()
    assert not [name for name, _ in dns.asked if name.startswith("_dmarc")]


async def test_large_messages_do_not_block_the_loop() -> None:
    message = split(LETTER.replace(b"hello\r\n", b"some  text \t of a line\r\n" * 400_000))
    content = b"".join(sign(message.fields, body_hash(message.body), [RSA], NOW)) + message.content
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    found = await found_by(Dns(), content)
    ticking.cancel()
    assert found.dkim[0].result == "pass"
    assert ticks > 2


@given(st.binary(max_size=200), st.text(max_size=30), st.text(max_size=30))
async def test_nothing_raises(header: bytes, helo: str, mail_from: str) -> None:
    await found_by(Dns(), b"DKIM-Signature: " + header + LETTER, Client(CLIENT.ip, helo, mail_from))
