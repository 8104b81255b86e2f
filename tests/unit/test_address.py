"""Addresses as people and programs write them, and what follows the first `+`."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailrelay.core.address import (
    Address,
    BadAddress,
    Extension,
    Fault,
    RecipientKeys,
    Reverse,
    Tag,
    classify,
    domain_name,
    folded_mailbox,
    is_creatable,
    is_opaque_reverse,
    parents,
    parse_address,
    split_extension,
    with_quotes,
)
from mailrelay.core.errors import Malformed

LONGEST_LABEL = "x" * 63
LONGEST_DOMAIN = ".".join([LONGEST_LABEL] * 3 + ["y" * 61])


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("alias.example", "alias.example"),
        ("Alias.EXAMPLE", "alias.example"),
        ("alias.example.", "alias.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),  # non-transitional: ß stays what it is
        ("日本語。example", "xn--wgv71a119e.example"),
        ("_dmarc.alias.example", "_dmarc.alias.example"),
        ("localhost", "localhost"),
        (LONGEST_DOMAIN, LONGEST_DOMAIN),
    ],
)
def test_a_domain_is_folded_to_lower_case_a_labels(text: str, folded: str) -> None:
    assert domain_name(text) == folded


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..example",
        ".example",
        "alias.example..",
        "-a.example",
        "a-.example",
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
        "a b.example",
        "a\0.example",
        "a\n.example",
        "ü\udcfc.example",
        "\u200b.example",
        f"x{LONGEST_LABEL}.example",
        f"x{LONGEST_DOMAIN}",
    ],
)
def test_what_is_no_host_name_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        domain_name(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("a1@alias.example", Address("a1", "alias.example"), id="12.1-1"),
        pytest.param("A1@ALIAS.EXAMPLE", Address("A1", "alias.example"), id="12.1-2"),
        pytest.param('"a1"@alias.example', Address("a1", "alias.example"), id="12.1-25"),
        pytest.param('"a\\1"@alias.example', Address("a1", "alias.example"), id="12.1-25-escaped"),
        pytest.param("ñ@own.example", Address("ñ", "own.example"), id="12.1-24"),
        ("shop+bob+x=b.example@own.example", Address("shop+bob+x=b.example", "own.example")),
        ("a1@ALIAS.example.", Address("a1", "alias.example")),
        ("!#$%&'*/=?^_`{|}~-@x.example", Address("!#$%&'*/=?^_`{|}~-", "x.example")),
        ("x" * 200 + "@alias.example", Address("x" * 200, "alias.example")),  # long reverse addresses are welcome
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", Fault.SYNTAX),
        ("a1", Fault.SYNTAX),
        ("@alias.example", Fault.SYNTAX),
        ("a1@", Fault.SYNTAX),
        ("a1@[192.0.2.1]", Fault.SYNTAX),
        ("a..b@alias.example", Fault.SYNTAX),
        (".a@alias.example", Fault.SYNTAX),
        ("a.@alias.example", Fault.SYNTAX),
        ("a b@alias.example", Fault.SYNTAX),
        ("a\0b@alias.example", Fault.SYNTAX),
        ("a\r\nb@alias.example", Fault.SYNTAX),
        ("a\n@alias.example", Fault.SYNTAX),
        ("ñ ñ@alias.example", Fault.SYNTAX),
        ("ñ\x85@alias.example", Fault.SYNTAX),
        ("m\udcfcll@alias.example", Fault.SYNTAX),  # an octet that is no UTF-8
        ('"a1@alias.example', Fault.SYNTAX),
        ('"a"1"@alias.example', Fault.SYNTAX),
        ('"a1\\"@alias.example', Fault.SYNTAX),
        pytest.param('"a 1"@alias.example', Fault.QUOTED, id="12.1-25"),
        ('"a@b"@alias.example', Fault.QUOTED),
        ('""@alias.example', Fault.QUOTED),
        ('"a\\\nb"@alias.example', Fault.QUOTED),
        pytest.param("x" * 241 + "@alias.example", Fault.LONG, id="12.1-23"),
        ("ñ" * 121 + "@alias.example", Fault.LONG),
    ],
)
def test_the_fault_names_the_reply(text: str, fault: Fault) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_address(text)
    assert caught.value.fault is fault


def test_the_length_limit_is_254_octets() -> None:
    longest = "x" * 240 + "@alias.example"
    assert len(longest) == 254
    assert str(parse_address(longest)) == longest


@given(st.text() | st.text('a@."\\+=ñ\udcfc \0\n<>[]', max_size=30))
@example("a@b@c")
def test_any_text_is_an_address_or_bad(text: str) -> None:
    try:
        address = parse_address(text)
    except BadAddress:
        return
    assert domain_name(address.domain) == address.domain
    assert not set(address.local) & set("\0\r\n <>")
    assert parse_address(str(address)) == address


@given(st.text() | st.text("ß.-xn。ü\u200d\u0660\udc80A", max_size=20))
def test_any_text_is_a_domain_or_malformed_and_folding_twice_changes_nothing(text: str) -> None:
    try:
        folded = domain_name(text)
    except Malformed:
        return
    assert folded.isascii()
    assert domain_name(folded) == folded


@pytest.mark.parametrize(
    ("local", "base", "extension"),
    [
        ("shop", "shop", None),
        ("Shop", "shop", None),
        ("shop+", "shop", ""),
        ("SHOP+News", "shop", "News"),
        ("shop+a+b", "shop", "a+b"),
        ("+x", "", "x"),
    ],
)
def test_the_extension_begins_at_the_first_plus_and_keeps_its_case(
    local: str, base: str, extension: str | None
) -> None:
    assert split_extension(local) == (base, extension)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        pytest.param("2.3", RecipientKeys((2, 3)), id="1.5-keys"),
        ("2", RecipientKeys((2,))),
        ("1.4.7", RecipientKeys((1, 4, 7))),
        ("0", Tag("0")),
        ("2.", Tag("2.")),
        ("2..3", Tag("2..3")),
        ("1234567890", Tag("1234567890")),  # more recipients than anybody has
        ("٢", Tag("٢")),
        pytest.param("news", Tag("news"), id="12.1-3"),
        ("a=b.example", Reverse(Address("a", "b.example"))),
        ("Bob+x=B.Example", Reverse(Address("Bob+x", "b.example"))),
        ("v=1=b.example", Reverse(Address("v=1", "b.example"))),
        ("x" * 64 + "=b.example", Reverse(Address("x" * 64, "b.example"))),
        ("x" * 65 + "=b.example", Tag("x" * 65 + "=b.example")),
        ("a=localhost", Tag("a=localhost")),
        ("=b.example", Tag("=b.example")),
        ("a=", Tag("a=")),
        ("a=.", Tag("a=.")),
        ("a..b=b.example", Tag("a..b=b.example")),
        ("a=b..example", Tag("a=b..example")),
        ("ñ=b.example", Tag("ñ=b.example")),
    ],
)
def test_an_extension_is_a_reverse_address_or_keys_or_a_tag(text: str, meaning: Extension) -> None:
    assert classify(text) == meaning


@given(st.text() | st.text("a=.1+ñ", max_size=20))
def test_any_extension_means_something(text: str) -> None:
    match classify(text):
        case Reverse(contact):
            local, _, domain = text.rpartition("=")
            assert contact == Address(local, domain_name(domain))
        case RecipientKeys(numbers):
            assert ".".join(map(str, numbers)) == text
        case Tag(written):
            assert written == text


@pytest.mark.parametrize("local", ["a", "a.b", "x" * 64, "!#$%&'*/=?^_`{|}~-", "b-", "postmaster"])
def test_dot_atoms_of_64_octets_may_become_aliases(local: str) -> None:
    assert is_creatable(local)


@pytest.mark.parametrize("local", ["", "A", "a+b", "a..b", ".a", "a.", "x" * 65, "ñ", "a b", '"a"', "a\n", "a@b"])
def test_nothing_else_may(local: str) -> None:
    assert not is_creatable(local)


def test_opaque_reverse_addresses_are_recognised_in_either_case() -> None:
    assert is_opaque_reverse("r-abcdefghijklmnop")
    assert is_opaque_reverse("R-ABCDEFGHIJKLMNO7")
    assert not is_opaque_reverse("r-abcdefghijklmno")
    assert not is_opaque_reverse("r-abcdefghijklmno1")
    assert not is_opaque_reverse("r-abcdefghijklmnopq")


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("a.b.example", ("a.b.example", "b.example")),
        ("b.example", ("b.example",)),
        ("example", ("example",)),
        ("", ("",)),
    ],
)
def test_parents_have_at_least_two_labels(domain: str, expected: tuple[str, ...]) -> None:
    assert parents(domain) == expected


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a1@alias.example", "a1@alias.example"),
        ("a..1@alias.example", "a..1@alias.example"),
        pytest.param("a 1@alias.example", '"a 1"@alias.example', id="12.1-25"),
        ('"a1"@alias.example', '"\\"a1\\""@alias.example'),
        ("a\\@alias.example", '"a\\\\"@alias.example'),
        ("a@b@alias.example", '"a@b"@alias.example'),
        ("ñ 1@alias.example", "ñ 1@alias.example"),
        ("@alias.example", "@alias.example"),
        ("postmaster", "postmaster"),
        ("", ""),
    ],
)
def test_quotes_that_an_address_lost_come_back(text: str, quoted: str) -> None:
    assert with_quotes(text) == quoted


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("News@SHOP.example.", "news@shop.example"),
        ("x@Bücher.example", "x@xn--bcher-kva.example"),
        ("x@[192.0.2.1]", "x@[192.0.2.1]"),
        ("a@b@Shop.example", "a@b@shop.example"),
        ("MAILER-DAEMON", "mailer-daemon"),
        ("", ""),
    ],
)
def test_a_sender_is_folded_for_comparing(text: str, folded: str) -> None:
    assert folded_mailbox(text) == folded
