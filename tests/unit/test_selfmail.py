"""Mail from an owner to the own alias (spec section 9.4, rows 92 and 93)."""

from datetime import UTC, datetime

import pytest

from mailrelay.core.address import Address, parse_address
from mailrelay.core.facts import RecipientId, Target
from mailrelay.core.selfmail import (
    NewMessageId,
    Normal,
    SelfMail,
    ToOthers,
    same_mailbox,
    self_mail,
)

WHEN = datetime(2026, 1, 6, tzinfo=UTC)


def target(number: int, address: str) -> Target:
    return Target(RecipientId(number), parse_address(address), True, WHEN, None)


R1, R2 = target(1, "real@inbox.example"), target(2, "second@inbox2.example")


@pytest.mark.parametrize(
    ("author", "targets", "outcome"),
    [
        pytest.param("real@inbox.example", [R1], NewMessageId(), id="12.3-92"),
        pytest.param("Real@Inbox.example", [R1, R2], ToOthers((R2,)), id="12.3-93"),
        pytest.param("second@inbox2.example", [R1], Normal(), id="a-recipient-of-another-alias"),
        pytest.param("news@shop.example", [R1, R2], Normal(), id="a-stranger"),
        pytest.param("real@inbox.example", [], Normal(), id="nobody-receives"),
    ],
)
def test_who_gets_it(author: str, targets: list[Target], outcome: SelfMail) -> None:
    assert self_mail(parse_address(author), targets, authenticated=True, bare=True) == outcome


def test_a_claim_is_not_enough() -> None:
    assert self_mail(R1.address, [R1], authenticated=False, bare=True) == Normal()


def test_reverse_addresses_and_mail_without_author_are_another_matter() -> None:
    assert self_mail(R1.address, [R1], authenticated=True, bare=False) == Normal()
    assert self_mail(None, [R1], authenticated=True, bare=True) == Normal()


@pytest.mark.parametrize(
    ("author", "recipient", "same"),
    [
        ("real@inbox.example", "REAL@inbox.example", True),
        ("real@inbox.example", "other@inbox.example", False),
        ("real@inbox.example", "real@inbox2.example", False),
        ("real@inbox.example", "real+shop@inbox.example", True),
        ("real+shop@inbox.example", "real+shop@inbox.example", True),
        ("real+shop@inbox.example", "real@inbox.example", False),
        ("real+shop@inbox.example", "real+bank@inbox.example", False),
        ("me@pm.me", "me@proton.me", True),
        ("me@proton.me", "me@protonmail.com", True),
        ("m.e@pm.me", "me@pm.me", False),
        ("m.e@gmail.com", "me@googlemail.com", True),
        ("me@googlemail.com", "m.e+x.y@gmail.com", True),
        ("m.e+x.y@gmail.com", "me+x.y@gmail.com", True),
        ("me+xy@gmail.com", "me+x.y@gmail.com", False),
        ("me@gmail.com", "me@pm.me", False),
    ],
)
def test_spellings_of_one_mailbox(author: str, recipient: str, same: bool) -> None:
    assert same_mailbox(parse_address(author), parse_address(recipient)) is same


def test_addresses_beyond_ascii_are_compared() -> None:
    assert same_mailbox(Address("m\u00fcller", "inbox.example"), Address("M\u00fcller", "inbox.example"))
