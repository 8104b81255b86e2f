"""Proofs of ownership, and what is done with a domain that somebody wants to bring here."""

import asyncio
from collections.abc import Sequence

import pytest

from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.lookup import Answer, Kind
from mailrelay.core.naming import ServiceNames
from mailrelay.core.ownership import custom_name, proof, proves
from mailrelay.core.parents import DomainClash
from mailrelay.core.records import DomainChange, DomainRecord, NewDomain, Owned
from mailrelay.core.suspects import BanHit, Suspect
from mailrelay.flows.manage import domains
from mailrelay.flows.manage.domains import Claims, Unproven

SERVICE = ServiceNames("relay.example", "bounces.relay.example", "srs.relay.example", "mx.relay.example")
JOHN = AccountId(1)
KEYS = (b"new", b"old")


def test_a_proof_is_stable_and_of_one_account_and_domain() -> None:
    assert proof(b"key", JOHN, "own.example") == "aa-verify=8c894b6d9053de370676379a2e9d93afc95eefda"
    others = {
        proof(b"key", JOHN, "own.example"),
        proof(b"key2", JOHN, "own.example"),
        proof(b"key", AccountId(11), "own.example"),
        proof(b"key", JOHN, "1own.example"),
        proof(b"key", JOHN, "own2.example"),
    }
    assert len(others) == 5


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], False),
        ([b"v=spf1 -all"], False),
        ([b"v=spf1 -all", proof(b"new", JOHN, "own.example").encode()], True),
        ([b"\t" + proof(b"old", JOHN, "own.example").encode() + b" \n"], True),
        ([proof(b"lost", JOHN, "own.example").encode()], False),
        ([b"\xff\x00"], False),
        ([proof(b"new", JOHN, "own.example").upper().encode()], False),
    ],
)
def test_texts_prove_under_any_key(texts: list[bytes], expected: bool) -> None:
    assert proves(texts, KEYS, JOHN, "own.example") is expected


@pytest.mark.parametrize(
    "text", ["a.ex", "A-1.Example", "1.2.example", f"{'a' * 63}.example", "xn--mnchen-3ya.example"]
)
def test_names(text: str) -> None:
    assert custom_name(text) == text.lower()


@pytest.mark.parametrize(
    "text", ["", ".", "a.e", "a..example", "example", "a.example.", "a.b-", "ä.example", "a b.example"]
)
def test_no_names(text: str) -> None:
    with pytest.raises(Malformed):
        custom_name(text)


class Desk:
    """Domains, keys and DNS in one, which write down what they were asked."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.story: list[str] = []
        self.new: NewDomain | None = None

    async def check(self, new: NewDomain) -> None:
        self.story.append("check")

    async def add(self, new: NewDomain, actor: str) -> DomainRecord:
        self.story.append(f"add by {actor}")
        self.new = new
        return DomainRecord.__new__(DomainRecord)

    async def change(self, which: str | Owned, change: DomainChange, actor: str) -> DomainRecord:
        raise AssertionError("to add a domain changes no other")

    async def remove(self, which: str | Owned, with_aliases: bool, actor: str) -> tuple[DomainRecord, int]:
        raise AssertionError("to add a domain removes none")

    def ensure(self, domain: str) -> Sequence[tuple[str, str]]:
        self.story.append(f"keys of {domain}")
        return ()

    async def lookup(self, name: str, kind: Kind) -> Answer:
        self.story.append(f"{kind} of {name}")
        if self.answer is None:
            raise Unavailable("DNS gave no answer")
        return self.answer


class NoBans:
    """Nothing is banned."""

    async def first(self, *groups: Sequence[Suspect]) -> BanHit | None:
        return None


class Silent(Desk):
    """DNS never answers, nor gives up."""

    async def lookup(self, name: str, kind: Kind) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError


def claims(desk: Desk) -> Claims:
    return Claims(SERVICE, desk, desk, KEYS, NoBans(), seconds=0.01)


async def test_what_an_operator_adds_has_its_keys_before_mail_can_find_it() -> None:
    desk, new = Desk(), NewDomain("own.example", JOHN, verified=True, catch_all=True)
    await domains.add(SERVICE, desk, desk, new, "cli:root")
    assert desk.story == ["check", "keys of own.example", "add by cli:root"]
    assert desk.new == new


async def test_a_proved_domain_gets_its_keys_later() -> None:
    desk = Desk(Answer((proof(b"old", JOHN, "own.example").encode(),)))
    await claims(desk).add(JOHN, "own.example", "token:1")
    assert desk.story == ["check", "TXT of own.example", "add by token:1"]
    assert desk.new == NewDomain("own.example", JOHN, verified=True, catch_all=True, with_mx=False, keys_later=True)


@pytest.mark.parametrize("desk", [Desk(), Desk(Answer()), Silent()], ids=["no answer", "no records", "silence"])
async def test_an_unproved_domain_leaves_nothing_behind(desk: Desk) -> None:
    with pytest.raises(Unproven) as caught:
        await claims(desk).add(JOHN, "own.example", "token:1")
    assert caught.value.proof == proof(b"new", JOHN, "own.example")
    assert [line for line in desk.story if line.startswith(("keys", "add"))] == []


@pytest.mark.parametrize("name", ["relay.example", "a.relay.example", "srs.relay.example", "mx.relay.example"])
async def test_the_services_own_domains_are_not_even_looked_up(name: str) -> None:
    desk = Desk()
    with pytest.raises(DomainClash) as caught:
        await claims(desk).add(JOHN, name, "token:1")
    assert (caught.value.why, desk.story) == ("local", [])
