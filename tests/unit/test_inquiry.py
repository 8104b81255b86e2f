"""What is looked up for a recipient."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address, parse_address
from mailrelay.core.inquiry import Inquiry, client_network, inquire
from mailrelay.core.realm import Custom, Place, Shared, Subdomain

ALIAS_EXAMPLE = Shared("alias.example")


def organisation(domain: str) -> str:
    return ".".join(domain.split(".")[-2:])


def ask(rcpt: str, place: Place, sender: str = "", author: str = "", client: str = "") -> Inquiry:
    return inquire(parse_address(rcpt), place, sender, author, client, organisation)


def test_an_alias_is_asked_for_by_its_folded_base() -> None:
    inquiry = ask("A1+Promo@alias.example", ALIAS_EXAMPLE, "Bounce@MTA.shop.example", client="192.0.2.10")
    assert inquiry == Inquiry(
        base="a1",
        domain="alias.example",
        shared=True,
        custom=False,
        label="",
        sender="bounce@mta.shop.example",
        sender_domains=("mta.shop.example", "shop.example"),
        sender_org="shop.example",
        network="192.0.2.0/24",
    )


@pytest.mark.parametrize(
    ("place", "shared", "custom", "label"),
    [(ALIAS_EXAMPLE, 1, 0, ""), (Custom("own.example"), 0, 1, ""), (Subdomain("u1", "alias.example"), 0, 0, "u1")],
)
def test_the_place_decides_which_parent_is_possible(place: Place, shared: bool, custom: bool, label: str) -> None:
    inquiry = ask("x@own.example", place)
    assert (inquiry.shared, inquiry.custom, inquiry.label) == (shared, custom, label)


@pytest.mark.parametrize(
    ("rcpt", "keys"),
    [
        pytest.param("new+2@own.example", (2,), id="12.1-5"),
        pytest.param("new+2.3@own.example", (2, 3), id="12.1-6"),
        ("new+news@own.example", ()),
        ("new+a=b.example@own.example", ()),
        ("new+@own.example", ()),
        ("new@own.example", ()),
    ],
)
def test_recipient_keys_are_part_of_the_question(rcpt: str, keys: tuple[int, ...]) -> None:
    assert ask(rcpt, Custom("own.example")).keys == keys


def test_the_author_is_asked_for_as_well() -> None:
    inquiry = ask("a1@alias.example", ALIAS_EXAMPLE, "b@mta.shop.example", "News@Letters.example")
    assert inquiry.author == "news@letters.example"
    assert inquiry.sender_domains == ("mta.shop.example", "shop.example", "letters.example")
    assert inquiry.sender_org == "shop.example"


def test_the_author_speaks_for_the_null_sender() -> None:
    assert ask("a1@alias.example", ALIAS_EXAMPLE, "", "x@news.shop.example").sender_org == "shop.example"
    assert ask("a1@alias.example", ALIAS_EXAMPLE).sender_org == ""
    assert ask("a1@alias.example", ALIAS_EXAMPLE).sender_domains == ()


@pytest.mark.parametrize("sender", ["x@shop.example.", "X@SHOP.EXAMPLE"])
def test_other_spellings_of_a_senders_domain_are_no_way_around_a_block_list(sender: str) -> None:
    plain = ask("a1@alias.example", ALIAS_EXAMPLE, "x@shop.example")
    assert ask("a1@alias.example", ALIAS_EXAMPLE, sender) == plain


def test_a_sender_domain_in_unicode_is_asked_for_in_a_labels() -> None:
    inquiry = ask("a1@alias.example", ALIAS_EXAMPLE, "x@Bücher.example", "y@BÜCHER.example")
    assert (inquiry.sender, inquiry.author) == ("x@xn--bcher-kva.example", "y@xn--bcher-kva.example")
    assert set(inquiry.sender_domains) == {"xn--bcher-kva.example"}
    assert inquiry.sender_org == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),  # the same host must not count twice
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", ""),
        ("", ""),
    ],
)
def test_the_network_of_a_client(client: str, network: str) -> None:
    assert client_network(client) == network


@given(st.text(), st.text() | st.just("a@\udcff"), st.text())
def test_any_sender_and_client_can_be_asked_about(sender: str, author: str, client: str) -> None:
    inquire(Address("a1", "alias.example"), ALIAS_EXAMPLE, sender, author, client, organisation)
