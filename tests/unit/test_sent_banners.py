"""Where history and our own banners begin and end in a reply (spec section 4.8, 1 and 3)."""

import pytest

from mailrelay.core.sending.leaks import Leak, Place
from tests.unit.sent import leaf, said, scrubbed


@pytest.mark.parametrize(
    "prose",
    [
        b"My address is real@inbox.example:\r\n\r\nplease use it.\r\n",
        b"Name: Bob\r\nMail: real@inbox.example\r\n",
        b"On Monday I wrote to real@inbox.example and nobody answered.\r\n",
        b"Call me until 18:30 or write to real@inbox.example.\r\n",
        b"----\r\nreal@inbox.example\r\n",
        b"Two things:\r\n\r\n- real@inbox.example since 2024\r\n- and 18:30: nothing\r\n",
    ],
)
def test_row_112_prose_is_not_history(prose: bytes) -> None:
    done = scrubbed(leaf(prose))
    assert done.message.content == leaf(prose) and done.leaks == (Leak(Place.PROSE, "text/plain"),)


def test_signatures_and_prose_are_told_apart() -> None:
    assert scrubbed(leaf(b"Hi\r\n-- \r\nReal Name\r\nreal@inbox.example\r\n")).leaks[0].place is Place.SIGNATURE
    html = b'<p>Hi</p><div class="gmail_signature">real@inbox.example</div>'
    assert scrubbed(leaf(html, b"text/html")).leaks[0].place is Place.SIGNATURE


def test_nothing_real_is_replaced_if_the_owner_says_so_but_contacts_are() -> None:
    text = b"> real@inbox.example to a1+help=shop.example@alias.example\r\n"
    done = scrubbed(leaf(text), mode="off")
    assert done.message.body == b"> real@inbox.example to help@shop.example\r\n"
    assert done.leaks == (Leak(Place.HISTORY, "text/plain"),)


def test_prose_behind_inline_quotes_without_an_attribution_stays() -> None:
    text = b"> real@inbox.example\r\nreal@inbox.example\r\n> real@inbox.example\r\n"
    assert said(text) == b"> a1@alias.example\r\nreal@inbox.example\r\n> a1@alias.example\r\n"


LINK = b'<a href="https://app.relay.example/u/deactivate/1?a=b">Deactivate</a>'


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"<p>a</p><!--mr-banner--><b>x</b><!--/mr-banner--><p>b</p>", b"<p>a</p><p>b</p>"),
        (b"a&lt;!--mr-banner--&gt;x&lt;!--/mr-banner--&gt;b", b"ab"),
        (b"a<!--mr-warning-->x<!--/mr-warning--><!--mr-banner-->y<!--/mr-banner-->b", b"ab"),
        (b"a<!--mr-banner-->b", b"a<!--mr-banner-->b"),
        (b"<div>a<table><tr><td>x %b</td></tr></table>b</div>" % LINK, b"<div>a<table></table>b</div>"),
        (b"<div>a<div>x %b</div>b</div>" % LINK, b"<div>ab</div>"),
        (b"<p>a<p>x %b<p>b" % LINK, b"<p>a<p>b"),
        (b"a %b b" % LINK, b"a  b"),
        (b"<div>%b %b</div>" % (b"long " * 400, LINK), b"<div>%b </div>" % (b"long " * 400)),
        (b"<div>a %b" % LINK, b"<div>a "),
        (b"<p>a</p><p><a href='https://s.example/?u=https%3A%2F%2Fapp.relay.example%2Fu%2Fx'>x</a></p>", b"<p>a</p>"),
        (
            b"<p>a</p><p><a href='https://s.example/?u=https%253A%252F%252FAPP.relay.example%252Fu%252Fx'>x</a>",
            b"<p>a</p><p>",
        ),
        (b"<p>a</p><p><a href='https://p.example/v2/url?u=https-3A__app.relay.example_u_x'>x</a></p>", b"<p>a</p>"),
        (
            b"<p><a href='https://app.relay.example/login'>x</a></p>",
            b"<p><a href='https://app.relay.example/login'>x</a></p>",
        ),
        (b"<!-- <p>%b</p> -->b" % LINK, b"<!-- <p>%b</p> -->b" % LINK),
        (
            b"<i>----- mailrelay -----<br>a %b</i><br>----- mailrelay -----<br>b" % LINK,
            b"<i></i><br>b",
        ),
    ],
)
def test_row_113_banners_in_html(source: bytes, expected: bytes) -> None:
    assert said(source, b"text/html") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"a\r\n> ----- mailrelay -----\r\n> x\r\n> ----- mailrelay -----\r\n> b\r\n", b"a\r\n> b\r\n"),
        (b">> ----- mailrelay -----\r\n>> x\r\n> > ----- mailrelay -----\r\n>b", b">b"),
        (b"----- mailrelay -----\r\n%b----- mailrelay -----\r\n" % (b"x\r\n" * 10), b""),
        (b"----- mailrelay -----\r\n%b----- mailrelay -----\r\n" % (b"x\r\n" * 11), None),
        (b"----- mailrelay -----\r\nx\r\n", None),
        (b"Deactivate\r\n<https://app.relay.example/u/deactivate/1?a=b>\r\nx\r\n", b"Deactivate\r\nx\r\n"),
        (b"> Deactivate<https://app.relay.example/u/deactivate/1?a=b> x\r\n", b"> Deactivate x\r\n"),
    ],
)
def test_row_113_banners_in_plain_text(source: bytes, expected: bytes | None) -> None:
    assert said(source) == (source if expected is None else expected)
