"""To and Cc of replies: contacts instead of reverse addresses, and nobody of the owner's (spec 4.7)."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address, parse_address
from mailrelay.core.context import Contact, ContactId
from mailrelay.core.display import DisplayFrom, display_name
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.header import split
from mailrelay.core.reverse import reverse
from mailrelay.core.sending.addressees import Addressees, Whose, addressed, named, replies_to_contact
from mailrelay.core.sending.hidden import Hidden
from tests.unit.test_leak import occurs

ALIAS = Address("a1", "alias.example")
OTHER_ALIAS = Address("b2", "own.example")
REAL, SECOND = Address("real", "inbox.example"), Address("second", "inbox2.example")
HELP = Address("help", "shop.example")
OPAQUE = "r-abcdefghijklmnop@alias.example"


def contact(address: str, name: str = "", alias: Address = ALIAS) -> Contact:
    return Contact(ContactId(1), AccountId(1), AliasId(1), alias, address, name)


def whose(*aliases: str, **contacts: Contact) -> Whose:
    stored = {OPAQUE: contact("long.name@shop.example", "Long Name")} | contacts
    return Whose(ALIAS, frozenset(aliases), stored, Hidden.of((REAL, SECOND), None, ALIAS))


def fields(to: str, cc: str = "", known: Whose | None = None, who: Address = HELP) -> Addressees:
    content = f"To: {to}\r\nCc: {cc}\r\n\r\n".encode()
    return addressed(named(split(content)), known or whose(), who)


def to_of(to: str, known: Whose | None = None, who: Address = HELP) -> str:
    return fields(to, known=known, who=who).to.decode().removeprefix("To: ").removesuffix("\r\n")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("a1+help=shop.example@alias.example", "help@shop.example"),
        ("A1+Help=Shop.Example@ALIAS.example", "Help@shop.example"),
        ("a1+v=1=shop.example@alias.example", "v=1@shop.example"),
        ("a1+bob+x=shop.example@alias.example", "bob+x@shop.example"),
        ("\"Support Desk 'help at shop.example'\" <a1+help=shop.example@alias.example>", "help@shop.example"),
        ("Helper <a1+help=shop.example@alias.example>", '"Helper" <help@shop.example>'),
        (f"Long Name <{OPAQUE}>", "long.name@shop.example"),
        (f"Longy <{OPAQUE.upper()}>", '"Longy" <long.name@shop.example>'),
        (OPAQUE, "long.name@shop.example"),
    ],
)
def test_reverse_addresses_of_this_alias_become_contacts(written: str, said: str) -> None:
    assert to_of(written) == said


def test_row_101_each_copy_names_both_contacts() -> None:
    both = "a1+help=shop.example@alias.example, a1+x=y.example@alias.example"
    assert to_of(both) == to_of(both, who=Address("x", "y.example")) == "help@shop.example, x@y.example"


def test_reverse_addresses_of_other_aliases_become_contacts_too() -> None:
    plain, opaque = "b2+x=y.example@own.example", "r-ponmlkjihgfedcba@own.example"
    known = whose(plain, **{opaque: contact("z@y.example", alias=OTHER_ALIAS)})
    found = fields(f"{plain}, {opaque}", known=known)
    assert found == Addressees(b"To: x@y.example, z@y.example\r\n", None, ())


def test_reverse_addresses_of_others_stay_as_they_are() -> None:
    strange = "c3+x=y.example@alias.example, r-ponmlkjihgfedcba@own.example"
    found = fields(strange)
    assert found.to.decode() == f"To: {strange}\r\n"
    assert len(found.exposed) == 2


@pytest.mark.parametrize(
    "written",
    [
        *("a1@alias.example", "A1+news@alias.example", "Me <real@inbox.example>", "REAL+x@inbox.example"),
        *("a1+real=inbox.example@alias.example", "a1+a1=alias.example@alias.example", '"real"@inbox.example'),
        *("c3+real=inbox.example@alias.example", "real%inbox.example@relay2.example", "a1+@alias.example", "", "junk"),
        "a1+a1+x=y.example=alias.example@alias.example",
    ],
)
def test_row_118_the_alias_and_its_owner_are_in_neither_field(written: str) -> None:
    found = fields(written, f"a1+help=shop.example@alias.example, {written}")
    assert found.to == b"To: undisclosed-recipients:;\r\n"
    assert found.cc == b"Cc: help@shop.example\r\n"
    assert fields("a1+help=shop.example@alias.example", written).cc is None


def test_row_117_others_stay_and_are_told() -> None:
    found = fields("Bob <bob@elsewhere.example>, a1+help=shop.example@alias.example", "bob@elsewhere.example")
    assert found.to == b'To: "Bob" <bob@elsewhere.example>, help@shop.example\r\n'
    assert found.cc == b"Cc: bob@elsewhere.example\r\n"
    assert found.exposed == (Address("bob", "elsewhere.example"),)


def test_other_aliases_of_the_owner_stay_and_nobody_is_warned() -> None:
    found = fields("b2+tag@own.example", known=whose("b2+tag@own.example"))
    assert (found.to, found.exposed) == (b"To: b2+tag@own.example\r\n", ())


def test_an_address_that_only_looks_like_the_owners_stays() -> None:
    assert to_of("real@inbox.example, surreal@inbox.example") == "surreal@inbox.example"


def test_groups() -> None:
    assert to_of("undisclosed-recipients:;") == "undisclosed-recipients:;"
    assert to_of("Team: a1+help=shop.example@alias.example, a1@alias.example;") == "help@shop.example"
    assert to_of('"real@inbox.example":;') == "undisclosed-recipients:;"


def test_the_same_contact_twice_is_written_once() -> None:
    known = whose(**{OPAQUE: contact("HELP@shop.example")})
    assert to_of(f"a1+help=shop.example@alias.example, {OPAQUE}", known) == "help@shop.example"


@pytest.mark.parametrize("name", ["Support Desk", "A" * 90, "x"])
@pytest.mark.parametrize(
    "address", ["help@shop.example", f"help@{'shop.' * 9}example", f"{'help.' * 12}x@shop.example"]
)
@pytest.mark.parametrize("form", [form for form in DisplayFrom if form is not DisplayFrom.NAME])
def test_names_that_we_generated_are_not_sent_back(form: DisplayFrom, address: str, name: str) -> None:
    shown = display_name(form, name, address)
    there = parse_address(address)
    stored = whose(**{OPAQUE: contact(address)})
    for written in (str(reverse(ALIAS, there)), OPAQUE):
        assert to_of(f'"{shown}" <{written}>', stored) == address


def test_an_address_for_a_name_is_none() -> None:
    one = "a1+help=shop.example@alias.example"
    assert to_of(f"'{one}' <{one}>") == to_of(f'"help@shop.example" <{one}>') == "help@shop.example"


def test_a_name_that_shows_the_owner_goes() -> None:
    assert to_of('"for real@inbox.example" <bob@elsewhere.example>') == "bob@elsewhere.example"
    encoded = "=?utf-8?q?f=C3=BCr_real=40inbox=2Eexample?="
    assert to_of(f"{encoded} <a1+help=shop.example@alias.example>") == "help@shop.example"


def test_names_beyond_ascii_are_encoded_words() -> None:
    assert to_of("J\u00fcrgen <a1+help=shop.example@alias.example>") == "=?utf-8?q?J=C3=BCrgen?= <help@shop.example>"


def test_an_address_beyond_ascii_is_only_for_a_contact_who_has_one() -> None:
    unicode = Address("j\u00fcrgen", "shop.example")
    known = whose(**{OPAQUE: contact(str(unicode))})
    both = f"Helper <{OPAQUE}>, a1+help=shop.example@alias.example"
    assert to_of(both, known) == "help@shop.example"
    assert to_of(both, known, unicode) == '"Helper" <j\u00fcrgen@shop.example>, help@shop.example'
    assert to_of(OPAQUE, known, unicode) == "j\u00fcrgen@shop.example"
    assert fields("j\u00fcrgen@elsewhere.example").exposed == (Address("j\u00fcrgen", "elsewhere.example"),)


def test_several_fields_are_one() -> None:
    message = split(b"To: a1+x=y.example@alias.example\r\nTo: a1+help=shop.example@alias.example\r\n\r\n")
    assert addressed(named(message), whose(), HELP).to == b"To: x@y.example, help@shop.example\r\n"


@pytest.mark.parametrize(
    ("to", "answered"),
    [
        ("a1@alias.example, a1+help=shop.example@alias.example", True),
        (f"a1@alias.example, {OPAQUE}", True),
        ("a1@alias.example", False),
        ("a1@alias.example, b2+x=y.example@own.example", False),
        ("a1@alias.example, a1+real=inbox.example@alias.example", False),
    ],
)
def test_row_118_a_reply_to_all_is_told_from_mail_to_oneself(to: str, answered: bool) -> None:
    message = split(f"Cc: {to}\r\n\r\n".encode())
    assert replies_to_contact(named(message), whose("b2+x=y.example@own.example")) is answered


def test_what_has_to_be_asked() -> None:
    who = named(split(f"To: a1@alias.example, {OPAQUE}, junk, x:;\r\nCc: A1@Alias.example\r\n\r\n".encode()))
    assert [str(one) for one in who.opaque] == [OPAQUE]
    assert [str(one) for one in who.addresses] == ["a1@alias.example", OPAQUE, "A1@alias.example"]


PIECES = [
    *("real@inbox.example", "REAL@Inbox.Example", '"real"@inbox.example', "real%40inbox.example", "real=inbox.example"),
    *("=?utf-8?q?real=40inbox.example?=", "=?us-ascii?b?cmVhbEBpbmJveC5leGFtcGxl?=", "second@inbox2.example"),
    *("a1+", "@alias.example", "@", "<", ">", ",", " ", '"', ":", ";", "(", ")", "+", "%", "r-abcdefghijklmnop", "x"),
]


# An address that only begins or ends like the owner's is somebody else's.
_LONGER = re.compile(rb"(?i)(?<=[a-z0-9])(?:real|second)|inbox2?\.example(?=[a-z0-9])")


@given(st.lists(st.sampled_from(PIECES), max_size=10), st.lists(st.sampled_from(PIECES), max_size=10))
def test_no_address_of_the_owner_gets_through(to: list[str], cc: list[str]) -> None:
    found = fields("".join(to), "".join(cc))
    for raw in (found.to, found.cc or b""):
        text = _LONGER.sub(b"", raw)
        assert not occurs(REAL, text) and not occurs(SECOND, text)
        assert raw.isascii()


@given(st.binary(max_size=200))
def test_no_octets_are_too_odd(octets: bytes) -> None:
    found = addressed(named(split(b"To: " + octets)), whose(), HELP)
    assert (
        found.to.startswith(b"To: ") and found.to.endswith(b"\r\n") and found.to.count(b"\n") == found.to.count(b"\r\n")
    )


@pytest.mark.parametrize(
    "one", ["real@inbox.example, ", "surreal@inbox.example, ", '"real@inbox.example" <x@y.example>, ']
)
def test_long_lists_cost_little(one: str) -> None:
    content = f"To: {one * (100_000 // len(one))}\r\n\r\n".encode()
    began = time.process_time()
    addressed(named(split(content)), whose(), HELP)
    assert time.process_time() - began < 0.5
