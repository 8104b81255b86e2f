"""What may stand on a block list, and what a link to it asks for."""

import pytest

from mailrelay.core.address import BadAddress
from mailrelay.core.blocklist import Entry, domain_entry, email_entry
from mailrelay.core.errors import Malformed

SUFFIXES = {"example", "co.example", "xn--p1ai"}


def test_entries_are_folded_as_mail_is_compared_with_them() -> None:
    assert email_entry("News@Shop.Example") == Entry("email", "news@shop.example")
    assert email_entry("news@bücher.example").value == "news@xn--bcher-kva.example"
    assert domain_entry("Shop.Example.", SUFFIXES.__contains__) == Entry("domain", "shop.example")
    assert domain_entry("почта.рф", SUFFIXES.__contains__).value == "xn--80a1acny.xn--p1ai"


@pytest.mark.parametrize(
    "text", ["", "news", "@shop.example", "news@", "a b@shop.example", "a..b@shop.example", "a@b@"]
)
def test_what_is_no_address_cannot_be_blocked(text: str) -> None:
    with pytest.raises(BadAddress):
        email_entry(text)


def test_an_address_to_block_has_at_most_253_octets() -> None:
    domain = ".".join(["d" * 60] * 3) + ".example"
    longest = "a" * (253 - 1 - len(domain)) + "@" + domain
    assert email_entry(longest).value == longest
    with pytest.raises(Malformed, match="253 octets"):
        email_entry("a" + longest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "192.0.2.1",
        "shop.example1",
        "shop.123",
        "-shop.example",
        "shop..example",
        "[192.0.2.1]",
        "a" * 64 + ".example",
        "a.b/c.example",
    ],
)
def test_what_is_no_domain_cannot_be_blocked(text: str) -> None:
    with pytest.raises(Malformed):
        domain_entry(text, SUFFIXES.__contains__)


@pytest.mark.parametrize("text", ["co.example", "CO.example."])
def test_public_suffixes_cannot_be_blocked(text: str) -> None:
    with pytest.raises(Malformed, match="shared by many"):
        domain_entry(text, SUFFIXES.__contains__)
