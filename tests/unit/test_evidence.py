"""The author that the milter judged is the one that a copy names, however a stranger writes From."""

from dataclasses import replace

import pytest

from mailrelay.core import ingress
from mailrelay.core.author import VALUE_OCTETS, author, from_values
from mailrelay.core.findings import Dmarc, Findings
from mailrelay.core.header import split
from mailrelay.core.ingress import Ingress
from tests.unit.fakes import NOW
from tests.unit.office import CLIENT, KEY, MESSAGE, OK, SENDER, Office, new_office

UNCHECKED = "451 4.3.5 Message has not been checked, try again"


@pytest.fixture
def office() -> Office:
    made = new_office()
    made.rules.checks = replace(made.rules.checks, required=True)
    return made


def examined(content: bytes, domain: str, dmarc: str = "pass", policy: str = "none") -> bytes:
    """The message as a milter leaves it that judged an author at `domain`."""
    findings = Findings(dmarc=Dmarc(dmarc, domain, policy=policy))  # type: ignore[arg-type]  # words of theirs
    facts = Ingress("4XyZ12AbCd", int(NOW.timestamp()), CLIENT, "mta", SENDER, "smtp", findings)
    return b"X-Mailrelay-Ingress: " + ingress.compose(facts, split(content), KEY) + b"\r\n" + content


def from_(value: bytes) -> bytes:
    return MESSAGE.replace(b"Example Shop <news@shop.example>", value)


async def test_mail_whose_author_was_judged_is_taken(office: Office) -> None:
    assert await office.deliver("a1@alias.example", content=examined(MESSAGE, "shop.example")) == [OK]


async def test_mail_that_was_judged_as_another_authors_waits(office: Office) -> None:
    assert await office.deliver("a1@alias.example", content=examined(MESSAGE, "evil.example")) == [UNCHECKED]
    assert await office.deliver("a1@alias.example", content=examined(MESSAGE, "")) == [UNCHECKED]
    assert office.outside.copies == []


async def test_row_53_mail_without_evidence_waits(office: Office) -> None:
    assert await office.deliver("a1@alias.example") == [UNCHECKED]


@pytest.mark.parametrize(
    "value",
    [
        b"me@evil.example\0, CEO <ceo@bank.example>",
        b"<me@evil.example>\0 <ceo@bank.example>",
    ],
)
def test_what_follows_a_nul_names_nobody(value: bytes) -> None:
    named = author(split(from_(value)))
    assert named is not None and named.domain == "evil.example"


def test_folding_changes_nothing() -> None:
    value = b"CEO \\\r\n me@evil.example, ceo@bank.example"
    once, twice = split(from_(value)), split(from_(value.replace(b"\r\n", b"\n")))
    assert from_values(once) == from_values(twice)
    assert author(once) == author(twice)


def test_an_address_behind_the_limit_is_not_cut_into_another() -> None:
    filler = b'"' + b"x" * (VALUE_OCTETS - 22) + b'" <'
    value = filler + b"ceo@bank.example.evil.example>"
    assert len(from_values(split(from_(value)))[0]) > VALUE_OCTETS  # which the milter refuses


async def test_what_the_milter_measured_is_not_too_large_for_what_was_put_on_top(office: Office) -> None:
    office.rules.message_octets = len(MESSAGE)
    assert await office.deliver("a1@alias.example", content=examined(MESSAGE, "shop.example")) == [OK]


async def test_who_is_told_of_a_limit_is_told_the_one_that_is_set(office: Office) -> None:
    content = examined(MESSAGE + b"x" * 200_000 + b"\r\n", "shop.example")
    said = await office.deliver("a1@alias.example", content=content)
    assert said == ["552 5.3.4 Message is larger than 100000 bytes"]


async def test_a_full_shelf_degrades_quarantine_to_a_warning(office: Office) -> None:
    office.store.update("account", 1, dmarc_reject_action="quarantine")
    office.shelf.room_octets = 10
    content = examined(MESSAGE, "shop.example", "fail", "quarantine")
    assert await office.deliver("a1@alias.example", content=content) == [OK]
    [copy] = office.outside.copies
    assert b"Careful: this mail failed the check of its sender" in b"".join(copy.content)
    assert [outcome for _, outcome, _ in office.outcomes()] == ["delivered"]
