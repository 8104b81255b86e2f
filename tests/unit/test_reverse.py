"""Reverse addresses, plain and opaque."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address, Reverse, classify, split_extension
from mailrelay.core.reverse import needs_opaque, reverse, reverse_by

ALIAS = Address("a1", "alias.example")
NEWS = Address("news", "shop.example")


def test_the_plain_form_names_alias_and_contact() -> None:
    assert str(reverse(ALIAS, NEWS)) == "a1+news=shop.example@alias.example"


@pytest.mark.parametrize(
    ("local", "domain"),
    [
        pytest.param("x" * 60, "shop.example", id="12.3-71"),
        pytest.param("büro", "xn--mnchen-3ya.example", id="12.2-59"),
        ('"john doe"', "shop.example"),
        ('"a..b"', "shop.example"),
        ("a", "localhost"),  # would read as a tag
        ("x" * 49, "shop.example"),
    ],
)
def test_some_contacts_need_an_opaque_address(local: str, domain: str) -> None:
    assert needs_opaque(ALIAS, Address(local, domain))


@pytest.mark.parametrize("local", ["news", "News", "bob+x", "v=1", "x" * 48, "1.2"])
def test_others_do_not(local: str) -> None:
    assert not needs_opaque(ALIAS, Address(local, "shop.example"))


def test_the_owner_may_choose() -> None:
    assert needs_opaque(ALIAS, NEWS, "opaque")


def test_stored_addresses_are_used_where_they_are_needed() -> None:
    stored = {"news@shop.example": Address("r-" + "a" * 16, "alias.example")}
    assert reverse_by(ALIAS, NEWS, stored) == reverse(ALIAS, NEWS)
    assert reverse_by(ALIAS, NEWS, stored, "opaque") == stored["news@shop.example"]
    assert reverse_by(ALIAS, Address("büro", "shop.example"), stored) is None


@given(st.text("aA1.+=-_'", min_size=1, max_size=70), st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,9}){0,3}", fullmatch=True))
def test_the_plain_form_leads_back(local: str, domain: str) -> None:
    contact = Address(local, domain)
    if not needs_opaque(ALIAS, contact):
        base, extension = split_extension(reverse(ALIAS, contact).local)
        assert base == "a1" and extension is not None
        assert classify(extension) == Reverse(contact)
        assert len(reverse(ALIAS, contact).local) <= 64
