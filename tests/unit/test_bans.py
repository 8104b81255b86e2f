"""The book of bans: what hits, what does not, and that putting and dropping leaves nothing behind."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.bans import Ban, BanBook, BanId, BanScope, BanType, network_key

NOW = datetime(2026, 1, 6, 12, tzinfo=UTC)


def ban(
    kind: BanType, value: str, scope: BanScope = "both", expires_at: datetime | None = None, number: int = 1
) -> Ban:
    return Ban(BanId(number), kind, value, scope, expires_at)


def hits_client(value: str, client: str) -> bool:
    return BanBook.of([ban("ip", value)]).client(client, NOW) is not None


@pytest.mark.parametrize(
    ("value", "client"),
    [
        pytest.param("192.0.2.0/24", "192.0.2.77", id="12.1-28"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("192.0.2.0/24", "::ffff:192.0.2.77"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.0/120", "192.0.2.9"),
        ("2001:db8::/32", "2001:db8:1::5"),
        ("2001:db8::1", "2001:0DB8:0:0:0:0:0:1"),
        ("0.0.0.0/0", "198.51.100.1"),
        ("fe80::/10", "fe80::1%eth0"),
    ],
)
def test_an_ip_ban_hits(value: str, client: str) -> None:
    assert hits_client(value, client)


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("192.0.2.0/24", "192.0.3.1"),
        ("192.0.2.1", "192.0.2.2"),
        ("::/0", "192.0.2.1"),
        ("0.0.0.0/0", "2001:db8::1"),
        ("192.0.2.0/24", "unknown"),
        ("192.0.2.0/24", ""),
        ("2001:db8::/32", "2001:db9::1"),
    ],
)
def test_an_ip_ban_misses(value: str, client: str) -> None:
    assert not hits_client(value, client)


@pytest.mark.parametrize(
    ("kind", "value", "address", "hit"),
    [
        pytest.param("domain", "bad.example", "x@sub.bad.example", True, id="12.1-29"),
        ("domain", "bad.example", "x@bad.example", True),
        ("domain", "bad.example", "X@BAD.Example", True),
        ("domain", "bad.example", "x@notbad.example", False),
        ("domain", "sub.bad.example", "x@bad.example", False),
        ("domain", "example", "x@bad.example", False),  # one label bans no parent
        ("email", "x@bad.example", "X@bad.example", True),
        ("email", "x@bad.example", "y@bad.example", False),
        ("email", "x@bad.example", "x@sub.bad.example", False),
        # The same domain in other spellings is no way around a ban.
        ("domain", "bad.example", "x@bad.example.", True),
        ("email", "x@bad.example", "x@bad.example.", True),
        ("domain", "xn--bse-sna.example", "x@böse.example", True),
        ("domain", "xn--bse-sna.example", "x@BÖSE.example", True),
        ("domain", "bad.example", "x@[192.0.2.1]", False),
        ("domain", "bad.example", "no-address", False),
        ("domain", "bad.example", "x@m\udcfcll\0.example", False),
    ],
)
def test_a_ban_of_a_mailbox(kind: Literal["email", "domain"], value: str, address: str, hit: bool) -> None:
    book = BanBook.of([ban(kind, value)])
    assert (book.mailbox(address, "sender", NOW) is not None) is hit


@pytest.mark.parametrize(("scope", "sender", "destination"), [("sender", 1, 0), ("destination", 0, 1), ("both", 1, 1)])
def test_the_scope_says_on_which_side_it_hits(scope: BanScope, sender: int, destination: int) -> None:
    book = BanBook.of([ban("domain", "inbox.example", scope)])
    assert (book.mailbox("x@inbox.example", "sender", NOW) is not None) == sender
    assert (book.mailbox("x@inbox.example", "destination", NOW) is not None) == destination


def test_a_name_ban_hits_exactly_this_name() -> None:
    book = BanBook.of([ban("name", "admin")])
    assert book.name("admin", NOW) == ban("name", "admin")
    assert book.name("admins", NOW) is None
    assert book.mailbox("admin@own.example", "sender", NOW) is None


@pytest.mark.parametrize("kind", ["email", "domain", "ip", "name"])
def test_a_ban_ends_on_the_dot(kind: BanType) -> None:
    value = {"email": "x@bad.example", "domain": "bad.example", "ip": "192.0.2.0/24", "name": "x"}[kind]
    book = BanBook.of([ban(kind, value, expires_at=NOW)])
    before = NOW - timedelta(microseconds=1)

    def found(now: datetime) -> bool:
        hits = (
            book.mailbox("x@bad.example", "sender", now),
            book.client("192.0.2.1", now),
            book.name("x", now),
        )
        return any(hit is not None for hit in hits)

    assert found(before)
    assert not found(NOW)


def test_an_expired_ban_does_not_hide_one_in_force() -> None:
    expired = ban("domain", "bad.example", expires_at=NOW, number=1)
    in_force = ban("domain", "bad.example", number=2)
    assert BanBook.of([expired, in_force]).mailbox("x@bad.example", "sender", NOW) == in_force


def test_a_changed_ban_replaces_the_old_one() -> None:
    book = BanBook.of([ban("domain", "bad.example")])
    book.put(ban("domain", "worse.example"))
    assert len(book) == 1
    assert book.mailbox("x@bad.example", "sender", NOW) is None
    assert book.mailbox("x@worse.example", "sender", NOW) is not None


def test_dropping_what_is_not_there_is_harmless() -> None:
    book = BanBook()
    book.drop(BanId(7))
    assert len(book) == 0


BANS = st.builds(
    ban,
    st.just("ip"),
    st.sampled_from(["192.0.2.0/24", "192.0.2.1", "192.0.0.0/16", "2001:db8::/32", "2001:db8::1", "::ffff:192.0.2.1"]),
    number=st.integers(1, 5),
) | st.builds(
    ban,
    st.sampled_from(["domain", "name"]),
    st.sampled_from(["bad.example", "a.bad.example"]),
    number=st.integers(1, 5),
)


@given(st.lists(BANS | st.integers(1, 5), max_size=20))
def test_after_any_history_only_the_bans_that_are_left_hit(history: list[Ban | int]) -> None:
    book, left = BanBook(), dict[int, Ban]()
    for step in history:
        if isinstance(step, int):
            book.drop(BanId(step))
            left.pop(step, None)
        else:
            book.put(step)
            left[step.id] = step
    fresh = BanBook.of(left.values())
    for client in ("192.0.2.1", "192.0.2.2", "192.0.9.9", "2001:db8::1", "2001:db8::2", "198.51.100.1"):
        hit = book.client(client, NOW)
        assert (hit is None) == (fresh.client(client, NOW) is None)
        assert hit is None or hit in left.values()
    for domain in ("bad.example", "a.bad.example", "good.example"):
        assert (book.mailbox(f"x@{domain}", "sender", NOW) is None) == (
            fresh.mailbox(f"x@{domain}", "sender", NOW) is None
        )
        assert (book.name(domain, NOW) is None) == (fresh.name(domain, NOW) is None)
    for number in tuple(left):
        book.drop(BanId(number))
    assert book == BanBook()


@given(st.text())
def test_no_text_from_outside_breaks_the_book(text: str) -> None:
    book = BanBook.of([ban("ip", "192.0.2.0/24", number=1), ban("domain", "bad.example", number=2)])
    book.client(text, NOW)
    book.mailbox(text, "sender", NOW)
    book.name(text, NOW)


def test_one_network_has_one_key() -> None:
    assert network_key("192.0.2.77/24") == network_key("::ffff:192.0.2.0/120") == (4, 24, 0xC00002)
    assert network_key("::ffff:0:0/95")[0] == 6


@pytest.mark.parametrize("kind", ["ip", "email", "domain"])
def test_what_met_none_meets_a_new_one(kind: BanType) -> None:
    value = {"ip": "192.0.2.1", "email": "x@bad.example", "domain": "bad.example"}[kind]
    book = BanBook.of([ban(kind, value, expires_at=NOW)])

    def hits() -> int:
        found = (
            book.client("192.0.2.1", NOW),
            book.mailbox("x@bad.example", "sender", NOW),
            book.mailbox("x@bad.example", "destination", NOW),
            book.domain("bad.example", "destination", NOW),
        )
        return sum(hit is not None for hit in found)

    assert [hits(), hits()] == [0, 0]
    book.put(ban(kind, value, "sender" if kind == "email" else "both", number=2))
    assert [hits(), hits()] == [{"ip": 1, "email": 1, "domain": 3}[kind]] * 2
    book.drop(BanId(2))
    assert hits() == 0


def test_the_memory_of_the_harmless_is_bounded() -> None:
    book = BanBook.of([ban("ip", "192.0.2.0/24")])
    for number in range(10_000):
        book.client(f"198.51.100.{number}", NOW)
        book.mailbox(f"{number}@good.example", "sender", NOW)
    assert len(book._harmless) <= 8192
