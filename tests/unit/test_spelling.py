"""Addresses and names of contacts in the texts of replies, in every spelling (spec section 4.8, 2 and 3)."""

import pytest

from mailrelay.core import transfer
from mailrelay.core.address import Address, parse_address
from mailrelay.core.header import split
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.leaks import Leak, Place
from mailrelay.core.sending.scrub import Scrubbing, edit
from tests.unit.sent import ALIAS, OPAQUE, leaf, said, scrubbed, stored


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"real@inbox.example", b"a1@alias.example"),
        (b"Real@Inbox.EXAMPLE", b"a1@alias.example"),
        (b"second@inbox2.example", b"a1@alias.example"),
        (b"real+tag@inbox.example", b"a1@alias.example"),
        (b"'real@inbox.example'", b"'a1@alias.example'"),
        (b"*real@inbox.example*", b"*a1@alias.example*"),
        (b"_real@inbox.example_", b"_a1@alias.example_"),
        (b"so real@inbox.example.", b"so a1@alias.example."),
        (b"to...real@inbox.example...and", b"to...a1@alias.example...and"),
        ("„real@inbox.example“".encode(), "„a1@alias.example“".encode()),
        (b"mailto:real@inbox.example?subject=x", b"mailto:a1@alias.example?subject=x"),
        (b"?mail=real%40inbox.example&x", b"?mail=a1%40alias.example&x"),
        (b"url=a%3Dreal%2540inbox.example%26", b"url=a%3Da1%2540alias.example%26"),
        (b"surreal@inbox.example", None),
        (b"un-real@inbox.example", None),
        (b"x.real@inbox.example", None),
        (b"real@inbox.example.org", None),
        (b"real@inbox.example-shop.org", None),
        (b"real@sub.inbox.example", None),
        (b"a1+help=shop.example@alias.example", b"help@shop.example"),
        (b"A1+Help=Shop.Example@Alias.Example", b"Help@shop.example"),
        (b"a1%2Bhelp%3Dshop.example%40alias.example", b"help%40shop.example"),
        (b"mailto:a1%2Bbob%2Bx%3Db.example@alias.example", b"mailto:bob%2Bx@b.example"),
        (b"a1+bob+x=b.example@alias.example", b"bob+x@b.example"),
        (OPAQUE.encode(), b"help@shop.example"),
        (OPAQUE.upper().encode(), b"help@shop.example"),
        (b"a1+news@alias.example", None),
        (b"a2+help=shop.example@alias.example", None),
        (b"b-a1+help=shop.example@alias.example", None),
    ],
)
def test_row_112_what_counts_as_the_address(source: bytes, expected: bytes | None) -> None:
    text = b"I am " + source + b" today.\r\n"
    wanted = text if expected is None else b"I am " + expected + b" today.\r\n"
    assert said(text, mode="all", contacts=stored()) == wanted


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"real&#64;inbox.example", b"a1@alias.example"),
        (b"real&#x40;inbox&period;example", b"a1@alias.example"),
        (b"re&#97;l&commat;inbox.example", b"a1@alias.example"),
        (b"real@<wbr>inbox.example", b"a1@alias.example"),
        (b"real&shy;@inbox.example", b"a1@alias.example"),
        (b"&lt;real@inbox.example&gt;", b"&lt;a1@alias.example&gt;"),
        (b"a1&#43;o&#39;neil&#61;b.example@alias.example", b"o&#x27;neil@b.example"),
    ],
)
def test_addresses_in_html(source: bytes, expected: bytes) -> None:
    assert said(b"<p>" + source + b"</p>", b"text/html", mode="all") == b"<p>" + expected + b"</p>"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b'real@<span class="il">inbox</span>.example', b"a1@alias.example"),
        (b'real@<a href="http://inbox.example/%41">inbox.example</a>', b"a1@alias.example"),
        (b"<b>real</b>@inbox.example", b"<b>a1@alias.example</b>"),
        (b"<b>real@</b><i title='x@y'>inbox.example</i>,", b"<b>a1@alias.example</b><i title='x@y'></i>,"),
        (b"re<!-- x -->al@<wbr>inbox.exa<u>mple</u>", b"a1@alias.example"),
        (b"x<b>real@inbox.example</b>", b"x<b>a1@alias.example</b>"),
        (
            b'<a href="mailto:real@inbox.example">re<b>al@inbox.example</b></a>',
            b'<a href="mailto:a1@alias.example">a1@alias.example</a>',
        ),
        (b"a1+help=<b>shop</b>.example@alias.example", b"help@shop.example"),
        (b"real@</p><p>inbox.example",) * 2,
        (b"sur<b>real@<i>inbox</i>.example",) * 2,
        (b"real@<b>inbox</b>.example.org",) * 2,
        (b"'real@<b>inbox.example</b> real@inbox<i>.example", b"'a1@alias.example a1@alias.example<i>"),
    ],
)
def test_row_111_addresses_broken_by_markup(source: bytes, expected: bytes) -> None:
    """As search results are marked in what people quote."""
    quote = b"<blockquote>%b</blockquote>"
    assert said(quote % source, b"text/html") == quote % expected


def test_row_112_an_address_broken_by_markup_in_prose_is_told() -> None:
    done = scrubbed(leaf(b"<p>real@<span>inbox</span>.example</p>", b"text/html"))
    assert b"<span>" in done.message.body and done.leaks == (Leak(Place.PROSE, "text/html"),)


def test_an_opaque_address_of_another_alias_is_not_this_ones_business() -> None:
    text = OPAQUE.encode() + b"\r\n"
    assert said(text, contacts=stored(Address("a2", "alias.example"))) == text


def test_gmail_is_one_mailbox_however_it_is_spelt() -> None:
    hidden = Hidden.of([parse_address("real.name@gmail.com")], None, ALIAS)
    done = edit(split(leaf(b"> Realname+x@googlemail.com\r\n")), Scrubbing(ALIAS, hidden, "app.relay.example"))
    assert done.message.body == b"> a1@alias.example\r\n"


def test_addresses_that_are_not_ascii() -> None:
    hidden = Hidden.of([parse_address("żółw@inbox.example"), parse_address("real@bücher.example")], None, ALIAS)
    how = Scrubbing(ALIAS, hidden, "app.relay.example", mode="all")
    text = "żółw@inbox.example, real@bücher.example, real@xn--bcher-kva.example\r\n"
    assert edit(split(leaf(text.encode())), how).message.body == b", ".join([b"a1@alias.example"] * 3) + b"\r\n"


def test_an_address_broken_by_soft_line_breaks() -> None:
    qp = b"Content-Transfer-Encoding: quoted-printable\r\n"
    done = scrubbed(leaf(b"> re=\r\nal=40inb=\r\nox.example\r\n> =C3=BC\r\n", more=qp))
    assert done.message.body == b"> a1@alias.example\r\n> =C3=BC\r\n"


@pytest.mark.parametrize("charset", ["gb18030", "big5", "shift_jis", "euc-kr", "iso-2022-jp"])
def test_characters_whose_second_octet_looks_like_ascii(charset: str) -> None:
    # Read octet by octet, the last one of some characters in front of the address would be a letter.
    for character in "再表十能乂郷":
        try:
            text = f"> {character}real@inbox.example\r\n".encode(charset)
        except UnicodeEncodeError:
            continue
        body = said(text, b"text/plain; charset=" + charset.encode())
        assert body.decode(charset) == f"> {character}a1@alias.example\r\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"> From: Support Desk 'help at shop.example' <", b"> From: Support Desk <"),
        (b"> From: \"Support Desk 'help at shop.example'\" <", b'> From: "Support Desk" <'),
        (b"> Desk 'help\r\n> at shop.example' <", b"> Desk <"),
        (b"> Desk - help(a)shop.example <", b"> Desk <"),
        (b"> From: help at shop.example <", b"> From: Help <"),
        (b"> From: 'help at shop.example' <", b"> From: Help <"),
        (b"> help(a)shop.example <", b"> Help <"),
        (b"I was at shop.example and help at shop.example is", None),
        (b"> 'eve at other.example'", None),
    ],
)
def test_names_that_our_copies_show(source: bytes, expected: bytes | None) -> None:
    assert said(source + b"\r\n", names={"help@shop.example": "Help"}) == (expected or source) + b"\r\n"


def test_a_name_that_the_charset_does_not_know_is_left_out() -> None:
    names = {"help@shop.example": "Żółw"}
    assert (
        said(b"> help at shop.example\r\n", b"text/plain; charset=iso-8859-1", names=names)
        == b"> help@shop.example\r\n"
    )
    done = scrubbed(leaf(b"> help at shop.example\r\n"), names=names)
    assert transfer.decode(done.message.body, b"quoted-printable") == "> Żółw\r\n".encode()
    changed = done.fields[b"content-transfer-encoding"]
    assert changed is not None and changed.value == b"quoted-printable"
