"""The guard for what comes back without our marks (spec sections 9.2 and 9.5)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core import verp
from mailrelay.core.address import Address, parse_address
from mailrelay.core.facts import RecipientId, Target
from mailrelay.core.header import split
from mailrelay.core.loopguard import elsewhere, fingerprint, is_repeated, is_returned
from mailrelay.core.realm import Realm

KEY = bytes(range(32))
TODAY = 20454
NEWS = parse_address("news@shop.example")
REALM = Realm(
    frozenset({"relay.example", "bounces.relay.example", "srs.relay.example"}),
    "srs.relay.example",
    "bounces.relay.example",
    shared=frozenset({"alias.example"}),
    custom=frozenset({"own.example"}),
)
LETTER = (
    b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\nFrom: Shop <news@shop.example>\r\nSubject: Your order\r\n"
    b"Message-ID: <1@shop.example>\r\n\r\nhello\r\n"
)


def print_of(content: bytes, author: Address | None = NEWS, returned: bool = False) -> int:
    return fingerprint(split(content), author, returned=returned)


def test_it_is_the_same_message_whatever_hosts_add() -> None:
    """12.6-180"""
    again = b"Received: from a by b\r\nX-Mailrelay-Loop: v1; x\r\n" + LETTER.replace(
        b"hello", b"hello\r\n-- \r\nfooter"
    )
    folded = LETTER.replace(b"Message-ID: <", b"message-id:\r\n <").replace(b"Shop <news", b"<news")
    assert print_of(again) == print_of(folded) == print_of(LETTER)
    assert print_of(LETTER, Address("NEWS", "shop.example")) == print_of(LETTER)
    assert -(1 << 63) <= print_of(LETTER) < 1 << 63


@pytest.mark.parametrize(
    "content",
    [LETTER.replace(b"<1@", b"<2@"), LETTER.replace(b"<1@shop.example>", b""), LETTER[LETTER.index(b"Subj") :]],
)
def test_another_message_is_another(content: bytes) -> None:
    author = NEWS if b"From" in content else None
    assert print_of(content, author) != print_of(LETTER)


def test_another_author_is_another_message_unless_it_is_one_of_ours() -> None:
    first, second = (parse_address(f"a{number}+news=shop.example@alias.example") for number in (1, 2))
    assert print_of(LETTER, first) != print_of(LETTER, second)
    assert print_of(LETTER, first, returned=True) == print_of(LETTER, second, returned=True)
    assert print_of(LETTER, first, returned=True) != print_of(LETTER, first)


@pytest.mark.parametrize("old", [b"Tue", b"Your", b"hello"])
def test_without_an_id_date_subject_and_size_tell_messages_apart(old: bytes) -> None:
    bare = LETTER.replace(b"Message-ID: <1@shop.example>\r\n", b"")
    assert print_of(bare) == print_of(b"Received: x\r\n" + bare)
    assert print_of(bare) != print_of(bare.replace(old, old + b"x"))
    assert print_of(bare) != print_of(bare, parse_address("other@shop.example"))


def test_parts_do_not_run_into_each_other() -> None:
    assert print_of(b"Date: a\r\nSubject: bc\r\n\r\n") != print_of(b"Date: ab\r\nSubject: c\r\n\r\n")


@pytest.mark.parametrize(
    ("arrivals", "returned", "repeated"),
    [(0, False, False), (3, False, False), (4, False, True), (0, True, False), (1, True, True), (9, True, True)],
)
def test_the_fifth_arrival_is_one_too_many(arrivals: int, returned: bool, repeated: bool) -> None:
    assert is_repeated(arrivals, returned=returned) is repeated


def path(domain: str, age: int = 0, key: bytes = KEY) -> str:
    return f"{verp.encode(verp.VerpId(verp.EmailType.FORWARD, 77, TODAY - age), domain, key)}@{domain}"


@pytest.mark.parametrize(
    ("author", "returned"),
    [
        ("a1+news=shop.example@alias.example", True),
        ("A1+News=Shop.example@u1.alias.example", True),
        ("x+news=shop.example@own.example", True),
        ("r-" + "a" * 16 + "@alias.example", True),
        (path("bounces.relay.example"), True),
        (path("alias.example"), True),
        pytest.param(path("alias.example", age=99), True, id="expired"),
        pytest.param(path("alias.example", key=b"x" * 32), False, id="forged"),
        ("a1@alias.example", False),
        ("a1+promo@alias.example", False),
        ("relay+x=y.example@relay.example", False),
        ("news@shop.example", False),
        ("a1+news=shop.example@elsewhere.example", False),
        ("r-" + "a" * 16 + "@elsewhere.example", False),
    ],
)
def test_our_copies_are_known_by_their_author(author: str, returned: bool) -> None:
    assert is_returned(parse_address(author), REALM, [KEY], TODAY) is returned


def test_a_recipient_whose_domain_became_ours_is_skipped() -> None:
    """12.6-181"""
    when = datetime(2026, 1, 6, tzinfo=UTC)
    addresses = [
        "real@inbox.example",
        "me@own.example",
        "x@u1.alias.example",
        "x@srs.relay.example",
        "y@sub.own.example",
    ]
    targets = [Target(RecipientId(n), parse_address(text), True, when, None) for n, text in enumerate(addresses)]
    assert [target.id for target in elsewhere(targets, REALM)] == [0, 4]


def test_mail_without_author_is_not_ours() -> None:
    assert not is_returned(None, REALM, [KEY], TODAY)


@given(st.binary(max_size=200), st.booleans())
def test_any_octets_have_a_fingerprint(content: bytes, returned: bool) -> None:
    assert print_of(content, None, returned) == print_of(content, None, returned)
