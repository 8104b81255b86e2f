"""Whom to hide: every spelling of the owner's mailboxes, and nobody else's."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address, parse_address
from mailrelay.core.sending.hidden import Hidden
from tests.unit.test_leak import occurs

ALIAS = Address("a1", "alias.example")
REAL = Address("real", "inbox.example")
RECIPIENTS = (REAL, Address("Second+x", "inbox2.example"), Address("j.doe", "gmail.com"), Address("me", "pm.me"))
HIDDEN = Hidden.of(RECIPIENTS, None, ALIAS)


@pytest.mark.parametrize(
    "address",
    [
        *("real@inbox.example", "REAL@INBOX.example", "real+tag@inbox.example", "second@inbox2.example"),
        *("second+y@inbox2.example", "jd.oe@googlemail.com", "me@protonmail.com"),
    ],
)
def test_owns_whatever_the_spelling(address: str) -> None:
    assert HIDDEN.owns(parse_address(address))


@pytest.mark.parametrize(
    "address", ["surreal@inbox.example", "real@sub.inbox.example", "me@gmail.com", "a1@alias.example"]
)
def test_owns_nobody_elses(address: str) -> None:
    assert not HIDDEN.owns(parse_address(address))


def test_the_author_is_hidden_unless_it_is_the_alias() -> None:
    author = Address("boss", "inbox3.example")
    assert Hidden.of((REAL,), author, ALIAS).addresses == (REAL, author)
    assert Hidden.of((REAL,), Address("A1+x", "alias.example"), ALIAS).addresses == (REAL,)


@pytest.mark.parametrize(
    ("domain", "near"),
    [("inbox.example", True), ("mail.inbox.example", True), ("xinbox.example", False), ("protonmail.com", True)],
)
def test_hosts_of_the_owners_provider_are_near(domain: str, near: bool) -> None:
    assert HIDDEN.is_near(domain) is near


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("write to Real@Inbox.example.", "write to a1@alias.example."),
        ("real at inbox.example", "a1@alias.example"),
        ("<mailto:real%40inbox.example>", "<mailto:a1@alias.example>"),
        ('"real"@inbox.example', "a1@alias.example"),
        ("b1+real=inbox.example@x.example", "b1+a1@alias.example@x.example"),
        ("real [at] inbox.example, second+x@inbox2.example", "a1@alias.example, a1@alias.example"),
        ("real@inbox.examplereal@inbox.example", "a1@alias.examplea1@alias.example"),
        ("surreal@inbox.example", "surreal@inbox.example"),
        ("un.real@inbox.example", "un.real@inbox.example"),
        ("real@inbox.example.org", "real@inbox.example.org"),
        ("Re: nothing", "Re: nothing"),
    ],
)
def test_the_alias_stands_in_for_hidden_addresses(text: str, cleaned: str) -> None:
    assert HIDDEN.cleaned(text, "a1@alias.example") == cleaned


def test_a_domain_in_unicode_is_the_same_domain() -> None:
    hidden = Hidden.of((parse_address("real@bücher.example"),), None, ALIAS)
    assert hidden.cleaned("real@Bücher.example or real@xn--bcher-kva.example", "X") == "X or X"


@pytest.mark.parametrize("text", ["%72eal@inbox.example", "&#114;eal@inbox.example", "cmVhbEBpbmJveC5leGFtcGxl"])
def test_what_shows_in_an_odd_encoding_is_no_text_at_all(text: str) -> None:
    assert HIDDEN.cleaned(text, "X") is None


def test_who_has_nothing_to_hide() -> None:
    assert Hidden.of((), None, ALIAS).cleaned("real@inbox.example", "X") == "real@inbox.example"


_SPELLINGS = ("real@inbox.example", "REAL@inbox.EXAMPLE", "real%40inbox.example", "real at inbox.example")


@given(
    st.lists(
        st.sampled_from([*_SPELLINGS, " ", "\u00e4", "=", "%", "real", "inbox.example", "<", "Re: ", '"']), max_size=8
    )
)
def test_cleaned_text_shows_no_address(pieces: list[str]) -> None:
    cleaned = HIDDEN.cleaned(" ".join(pieces), "a1@alias.example")
    assert cleaned is None or not occurs(REAL, cleaned.encode())


@pytest.mark.parametrize("piece", ["real@inbox", "real ", 'real"', "real@inbox.example ", "real(((", " ", "a@"])
def test_time_is_linear(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    began = time.process_time()
    HIDDEN.cleaned(text, "X")
    assert time.process_time() - began < 0.5
