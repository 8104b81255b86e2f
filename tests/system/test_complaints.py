"""Somebody calls mail of ours spam: feedback reports at return paths and at fbl@ (spec section 7.8, row 186)."""

import itertools

import pytest

from tests.system.letters import from_owner, reverse
from tests.system.returning import (
    delivered,
    nobody_outside_is_told,  # noqa: F401  # a fixture
    records,
)
from tests.system.scenario import (
    ACCEPTED,
    NEWS,
    UNKNOWN,
    Person,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
    text_of,
)
from tests.system.visitors import Visitor, link
from tests.system.world import Mail
from tools.sandbox.show import Arrived

FBL = "fbl@relay.example"
CONTACT = "contact@shop.example"
_numbers = itertools.count(1)


def arf(copy: Arrived, path: str = "", header: bytes | None = None) -> Mail:
    """A feedback report (RFC 5965). path: its Original-Mail-From, '' for none; header: what comes back of the copy."""
    name = f"<arf{next(_numbers)}@plain.example>"
    named = f"Original-Mail-From: <{path}>\r\n" if path else ""
    back = copy.header if header is None else header
    head = (
        f"From: feedback@plain.example\r\nTo: {FBL}\r\nSubject: FW: hello\r\nMessage-ID: {name}\r\n"
        "Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=feedback-report; boundary=arf\r\n\r\n"
        "--arf\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n"
        "--arf\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: abuse\r\nUser-Agent: Plain/1.0\r\nVersion: 1\r\n{named}\r\n"
        "--arf\r\nContent-Type: text/rfc822-headers\r\n\r\n"
    )
    return Mail(head.encode() + back + b"\r\n\r\n--arf--\r\n", name.encode())


def complain(scenario: Scenario, to: str, mail: Mail, reason: str = "complaint") -> Sent:
    """A report that is dealt with and goes no further."""
    sent = scenario.send(to, sender="feedback@plain.example", mail=mail)
    scenario.becomes(sent.queue_id, [(to, "discarded", reason)])
    return sent


def complaints(scenario: Scenario, person: Person) -> int:
    return int(scenario.value("select count(*) from complaint where account_id = %s", person.account))


def test_12_6_186_three_complaints_block_the_sender_until_the_owner_takes_it_back(scenario: Scenario) -> None:
    person = scenario.person()
    alias, other = scenario.alias(person), scenario.alias(person)
    first, second, third = (delivered(scenario, alias, person.mailbox)[1] for _ in range(3))
    complain(scenario, first.sender, arf(first))
    warned = scenario.notice(person.mailbox, "ABC", alias)
    assert "was marked as spam" in " ".join(text_of(warned).split())
    complain(scenario, FBL, arf(second, second.sender))
    complain(scenario, FBL, arf(second, second.sender))  # the same once more
    assert complaints(scenario, person) == 2
    assert scenario.answer(alias) == ACCEPTED
    complain(scenario, FBL, arf(third))  # by its number, with the mark that we made
    assert complaints(scenario, person) == 3
    scenario.answers(UNKNOWN, alias)
    assert scenario.answer(other) == ACCEPTED
    assert scenario.answer(alias, sender="news@plain.example") == ACCEPTED
    scenario.eventually(lambda: len(scenario.notices(person.mailbox, "ABC", alias)) == 2, "the second notice")
    told = scenario.notices(person.mailbox, "ABC", alias)[1]
    assert "is blocked from now on" in " ".join(text_of(told).split())
    assert NEWS in text_of(told)

    url, visitor = link(told, "unblock"), Visitor()
    page = visitor.look(url)
    assert page.status == 200
    assert scenario.answer(alias) == UNKNOWN
    assert visitor.press(page, url).status == 200
    scenario.answers(ACCEPTED, alias)
    delivered(scenario, alias, person.mailbox)
    assert records(scenario, person, 0) == []


def test_7_8_complaints_about_replies_suspend_what_the_account_writes(scenario: Scenario) -> None:
    person = scenario.person()
    alias = scenario.alias(person)
    to = reverse(alias, CONTACT)
    for _ in range(3):
        sent = scenario.send(to, sender=person.mailbox, mail=from_owner(person, to))
        (copy,) = scenario.copies(sent, CONTACT)
        complain(scenario, copy.sender, arf(copy, copy.sender))
    scenario.notice(person.mailbox, "ABC", alias)
    about = f"through {alias}"
    scenario.eventually(
        lambda: any("suspended" in text_of(one) for one in scenario.notices("admin@inbox.example", "OPS", about)),
        "the operator to hear of it",
    )
    said = scenario.refused(person.mailbox, to, mail=from_owner(person, to))
    assert said == "550 5.7.1 Replying from this address is switched off"
    delivered(scenario, alias, person.mailbox)  # its own mail still comes


@pytest.mark.parametrize("forged", ["number", "path", "header"])
def test_7_8_what_we_did_not_sign_is_for_the_operator_to_read(scenario: Scenario, forged: str) -> None:
    """Whoever got a copy may know its number; another's marks do not help."""
    person = scenario.person()
    alias = scenario.alias(person)
    _, copy = delivered(scenario, alias, person.mailbox)
    local, _, domain = copy.sender.partition("@")
    mail = {
        "number": arf(copy, header=b"X-Mailrelay-Id: 0123456789abcdef\r\nFrom: news@shop.example"),
        "path": arf(copy, path=f"{local[:-1]}{'a' if local[-1] != 'a' else 'b'}@{domain}", header=b"From: a@b.example"),
        "header": arf(copy, header=b"Feedback-ID: F:0a1b2c3d4e5f:transparent:mailrelay\r\nFrom: news@shop.example"),
    }[forged]
    sent = scenario.send(FBL, sender="feedback@plain.example", mail=mail)
    scenario.becomes(sent.queue_id, [(FBL, "delivered", "")])
    scenario.copies(sent, "admin@inbox.example")
    assert complaints(scenario, person) == 0
