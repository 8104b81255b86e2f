"""Who writes to a reverse address, and what it is to be (spec sections 4.1 and 12.4)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address, parse_address
from mailrelay.core.facts import AccountId, AliasId, RecipientId
from mailrelay.core.findings import Dmarc, Findings
from mailrelay.core.header import split
from mailrelay.core.sending.classify import (
    Aim,
    Evidence,
    Owner,
    Stranger,
    classify,
    evidence_of,
    opaque_aim,
    plain_aim,
)
from mailrelay.core.sending.facts import OwnMailbox, SendingFacts
from mailrelay.core.verp import EmailType

A1 = parse_address("a1@alias.example")
CONTACT = parse_address("contact@shop.example")
PASS = Findings(dmarc=Dmarc("pass", "inbox.example", has_record=True))


def mailbox(number: int, address: str, *, verified: bool = True, attached: bool = False) -> OwnMailbox:
    return OwnMailbox(RecipientId(number), parse_address(address), verified, attached)


R1, R2 = mailbox(1, "real@inbox.example"), mailbox(2, "second@inbox2.example")
R3 = mailbox(3, "third@inbox3.example", verified=False)
FACTS = SendingFacts(AccountId(1), AliasId(1), A1, "contact@shop.example", mailboxes=(R1, R2, R3))


def wrote(author: str | None, *, sender: str = "", route: str = "smtp", threaded: bool = True) -> Evidence:
    return Evidence(parse_address(author) if author else None, sender, route, PASS, threaded=threaded)


@pytest.mark.parametrize(
    ("author", "threaded", "expected"),
    [
        pytest.param("real@inbox.example", True, Owner(EmailType.REPLY, R1), id="12.4-99"),
        pytest.param("real@inbox.example", False, Owner(EmailType.SEND, R1), id="12.4-100"),
        pytest.param("third@inbox3.example", True, Stranger(), id="12.4-103"),
        pytest.param("real+tag@inbox.example", True, Stranger(), id="12.4-108-a-tag-that-nobody-has"),
        pytest.param("contact@shop.example", True, Stranger(), id="12.4-121"),
        pytest.param("REAL@inbox.example", True, Owner(EmailType.REPLY, R1), id="case-does-not-matter"),
        pytest.param("a1@alias.example", True, Stranger(), id="the-alias-itself-proves-nothing"),
    ],
)
def test_who_writes(author: str, threaded: bool, expected: object) -> None:
    assert classify(wrote(author, threaded=threaded), A1, FACTS) == expected


def test_an_alias_that_is_not_there_cannot_be_answered_row_102() -> None:
    fresh = SendingFacts(AccountId(1), contact="contact@shop.example", mailboxes=(R1,))
    found = classify(wrote("real@inbox.example"), parse_address("fresh@own.example"), fresh)
    assert found == Owner(EmailType.SEND, R1)


def test_a_recipients_extension_does_not_matter_row_108() -> None:
    tagged = mailbox(4, "real+x@inbox.example")
    facts = SendingFacts(AccountId(1), AliasId(1), A1, mailboxes=(tagged,))
    assert classify(wrote("real@inbox.example"), A1, facts) == Owner(EmailType.REPLY, tagged)
    assert classify(wrote("real+x@inbox.example"), A1, facts) == Owner(EmailType.REPLY, tagged)
    assert classify(wrote("real+y@inbox.example"), A1, facts) == Stranger()


def test_of_several_that_match_the_very_one_comes_first_then_an_attached_one() -> None:
    one, two = mailbox(4, "real+x@inbox.example"), mailbox(5, "real+y@inbox.example", attached=True)
    facts = SendingFacts(AccountId(1), AliasId(1), A1, mailboxes=(one, two))
    assert classify(wrote("real@inbox.example"), A1, facts) == Owner(EmailType.REPLY, two)
    facts = replace(facts, mailboxes=(one, two, R1))
    assert classify(wrote("real@inbox.example"), A1, facts) == Owner(EmailType.REPLY, R1)


def test_spellings_of_one_mailbox_are_one() -> None:
    me = mailbox(4, "me@proton.me")
    facts = SendingFacts(AccountId(1), AliasId(1), A1, mailboxes=(me,))
    assert classify(wrote("Me@pm.me"), A1, facts) == Owner(EmailType.REPLY, me)


@pytest.mark.parametrize(
    ("sender", "owner"), [("real@inbox.example", True), ("contact@shop.example", False), ("", False), ("odd@@", False)]
)
def test_without_an_author_the_envelope_sender_counts(sender: str, owner: bool) -> None:
    assert isinstance(classify(wrote(None, sender=sender), A1, FACTS), Owner) is owner


def test_where_there_is_an_author_the_envelope_does_not_count() -> None:
    assert classify(wrote("contact@shop.example", sender="real@inbox.example"), A1, FACTS) == Stranger()


@pytest.mark.parametrize(
    ("author", "route", "expected"),
    [
        ("real@inbox.example", "login:Real@inbox.example", Owner(EmailType.REPLY, R1, by_login=True)),
        ("real@inbox.example", "login:second@inbox2.example", Owner(EmailType.REPLY, R1)),
        ("real@inbox.example", "login:real", Owner(EmailType.REPLY, R1)),
        ("real@inbox.example", "login:", Owner(EmailType.REPLY, R1)),
        ("real@inbox.example", "local", Owner(EmailType.REPLY, R1)),
        ("third@inbox3.example", "login:third@inbox3.example", Stranger()),
        ("a1@alias.example", "login:second@inbox2.example", Owner(EmailType.REPLY, R2, by_login=True)),
        ("A1+x@alias.example", "login:real@inbox.example", Owner(EmailType.REPLY, R1, by_login=True)),
        ("a1@alias.example", "login:third@inbox3.example", Stranger()),
        ("a1@alias.example", "login:contact@shop.example", Stranger()),
        ("a2@alias.example", "login:real@inbox.example", Stranger()),
        ("contact@shop.example", "login:real@inbox.example", Stranger()),
    ],
)
def test_logins_stand_for_their_own_mailbox_only(author: str, route: str, expected: object) -> None:
    assert classify(wrote(author, route=route), A1, FACTS) == expected


@pytest.mark.parametrize(
    ("rcpt", "aim"),
    [
        ("A1+contact=Shop.example@alias.example", Aim(A1, CONTACT)),
        ("a1+Bob+x=shop.example@alias.example", Aim(A1, Address("Bob+x", "shop.example"))),
        ("a1+v=1=shop.example@alias.example", Aim(A1, Address("v=1", "shop.example"))),
        ("a1+a=localhost@alias.example", None),
        ("a1+2.3@alias.example", None),
        ("a1+@alias.example", None),
        ("a1@alias.example", None),
        ("r-aaaaaaaaaaaaaaaa@alias.example", None),
    ],
)
def test_plain_reverse_addresses(rcpt: str, aim: Aim | None) -> None:
    assert plain_aim(parse_address(rcpt)) == aim


def test_opaque_reverse_addresses_mean_what_is_stored() -> None:
    assert opaque_aim(FACTS) == Aim(A1, CONTACT)
    assert opaque_aim(replace(FACTS, contact='"john doe"@shop.example')) == Aim(
        A1, Address('"john doe"', "shop.example")
    )
    assert opaque_aim(replace(FACTS, contact="no address")) == Aim(A1, None)
    assert opaque_aim(SendingFacts(AccountId(1))) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"In-Reply-To: <1@shop.example>\r\n", {"threaded": True}),
        (b"References:\r\n <1@shop.example>\r\n", {"threaded": True}),
        (b"In-Reply-To: \r\nReferences:\r\n", {}),
        (b"Auto-Submitted: auto-replied (vacation)\r\n", {"automatic": True}),
        (b"Precedence: auto_reply\r\n", {"automatic": True}),
        (b"X-Autoreply: yes\r\n", {"automatic": True}),
        (b"Auto-Submitted: no\r\n", {}),
        (b"Content-Type: multipart/report; report-type=delivery-status\r\n", {"automatic": True, "report": True}),
    ],
)
def test_what_the_header_tells(header: bytes, expected: dict[str, bool]) -> None:
    found = evidence_of(split(header + b"\r\n"), A1, R1.address, "real@inbox.example", "smtp", PASS)
    plain = {"automatic": False, "report": False, "threaded": False}
    told = {"automatic": found.automatic, "report": found.report, "threaded": found.threaded}
    assert told == {**plain, **expected}
    assert (found.author, found.sender, found.route, found.findings) == (R1.address, str(R1.address), "smtp", PASS)


@pytest.mark.parametrize(
    ("header", "named", "ambiguous"),
    [
        (b"From: <real@inbox.example>\r\nTo: x@y.example, A <A1@alias.example>\r\n", True, False),
        (b"From: <real@inbox.example>\r\nCc: g: a1@alias.example;\r\n", True, False),
        (b"From: <real@inbox.example>\r\nTo: x@y.example\r\n", False, False),
        (b"To: a1@alias.example\r\n", True, False),
        (b"From: <real@inbox.example>\r\nFrom: <real@inbox.example>\r\n", False, True),
        (b"From: real@inbox.example, evil@inbox.example\r\n", False, True),
        (b"From: x: real@inbox.example;\r\n", False, True),
        (b"From: <real@inbox.example>\r\nSubject: a\r\nsubject: b\r\n", False, True),
    ],
)
def test_what_ties_a_message_to_its_delivery(header: bytes, named: bool, ambiguous: bool) -> None:
    found = evidence_of(split(header + b"\r\n"), A1, R1.address, "real@inbox.example", "smtp", PASS)
    assert (found.named, found.ambiguous) == (named, ambiguous)


def test_the_null_sender_is_automatic() -> None:
    assert evidence_of(split(b"\r\n"), A1, R1.address, "", "smtp", None).automatic


@given(author=st.text(), sender=st.text(), route=st.text(), login=st.text())
def test_any_text_is_classified(author: str, sender: str, route: str, login: str) -> None:
    for one in (route, f"login:{login}"):
        found = classify(Evidence(Address(author, "inbox.example"), sender, one, None), A1, FACTS)
        assert isinstance(found, Owner | Stranger)
        assert isinstance(classify(Evidence(None, sender, one, None), A1, FACTS), Owner | Stranger)
