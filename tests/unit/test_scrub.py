"""Bodies of replies and sends: what changes in which part, what stays, and what is told (spec sections 4.8 and 4.9)."""

import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest

from mailrelay.core import transfer
from mailrelay.core.address import Address, parse_address
from mailrelay.core.context import Contact, ContactId
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.header import Message, split
from mailrelay.core.mime import Tree
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.leaks import Leak, Place, Verdict, in_fields, verdict
from mailrelay.core.sending.openpgp import Removal
from mailrelay.core.sending.scrub import Edited, Scrubbing, edit, opaque_mentioned

ALIAS = Address("a1", "alias.example")
HIDDEN = Hidden.of([parse_address("real@inbox.example"), parse_address("second@inbox2.example")], None, ALIAS)
OPAQUE = "r-abcdefghijklmnop@alias.example"
KEEP = Removal(keys=False, signatures=False)
EIGHT = b"Content-Transfer-Encoding: 8bit\r\n"
ARMOR = (
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\nVersion: x\r\n\r\n%b\r\n=abcd\r\n-----END PGP PUBLIC KEY BLOCK-----\r\n"
)
KEY = ARMOR % b64encode(b"\x99\x01Real Name <real@inbox.example>")


def stored(alias: Address = ALIAS) -> Mapping[str, Contact]:
    return {OPAQUE: Contact(ContactId(1), AccountId(1), AliasId(1), alias, "help@shop.example", "Support Desk")}


def scrubbed(content: bytes, **settings: Any) -> Edited:
    return edit(split(content), Scrubbing(ALIAS, HIDDEN, "app.relay.example", **settings))


def leaf(text: bytes, kind: bytes = b"text/plain; charset=utf-8", more: bytes = b"") -> bytes:
    return b"Content-Type: " + kind + b"\r\n" + more + b"\r\n" + text


def multipart(*parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"b1", params: bytes = b"") -> bytes:
    lines = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    head = b"Content-Type: multipart/%b; boundary=%b%b\r\n\r\n" % (kind, boundary, params)
    return head + b"preamble\r\n%b--%b--\r\nepilogue\r\n" % (lines, boundary)


def said(text: bytes, kind: bytes = b"text/plain; charset=utf-8", **settings: Any) -> bytes:
    return scrubbed(leaf(text, kind), **settings).message.body


# -- Addresses ------------------------------------------------------------------------------------------------------


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


# -- Where ----------------------------------------------------------------------------------------------------------


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


# -- Banners --------------------------------------------------------------------------------------------------------

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


# -- Parts ----------------------------------------------------------------------------------------------------------


def test_only_the_part_with_a_hit_changes() -> None:
    image = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA=\r\nBBBB"
    odd = leaf("Zażółć=\r\n=C3=B3".encode(), more=b"content-transfer-encoding:Quoted-Printable\r\n")
    hit = leaf(b"PiByZWFsQGluYm94LmV4YW1wbGU=\r\n", more=b"Content-Transfer-Encoding: base64\r\n")
    done = scrubbed(multipart(odd, hit, image))
    wanted = leaf(b64encode(b"> a1@alias.example") + b"\r\n", more=b"Content-Transfer-Encoding: base64\r\n")
    assert done.message.content == multipart(odd, wanted, image) and done.leaks == () and done.fields == {}


def test_a_message_without_a_hit_is_the_very_same() -> None:
    message = split(multipart(leaf(b"Hello"), leaf(b"<p>x@y.example", b"text/html")))
    assert edit(message, Scrubbing(ALIAS, HIDDEN, "app.relay.example")) == Edited(message, {}, ())


def test_a_new_line_that_would_end_the_part_is_encoded() -> None:
    text = b"> real@inbox.example\r\n=2D-b1\r\n"
    done = scrubbed(multipart(leaf(text, more=b"Content-Transfer-Encoding: quoted-printable\r\n")))
    body = done.message.content
    assert body.count(b"\r\n--b1") == 2 and b"Content-Transfer-Encoding: base64" in body


def test_utf_16_becomes_utf_8() -> None:
    raw = b64encode("> real@inbox.example ż".encode("utf-16"))
    done = scrubbed(leaf(raw, b"text/plain; charset=utf-16", b"Content-Transfer-Encoding: base64\r\n"))
    assert transfer.decode(done.message.body, b"base64") == "> a1@alias.example ż".encode()
    assert done.message.first(b"content-type") == b"text/plain; charset=utf-8"


def test_parts_of_broken_messages_are_scrubbed_as_well() -> None:
    content = multipart(leaf(b"> real@inbox.example"), leaf(b"> real@inbox.example\r\n"))
    cut = content[: content.rindex(b"--b1--")]
    assert b"real@" not in scrubbed(cut).message.content
    no_encoding = leaf(b"> real@inbox.example\r\n", more=b"Content-Transfer-Encoding: 8bits\r\n")
    assert scrubbed(no_encoding).message.body == b"> a1@alias.example\r\n"


def test_attached_texts_change_only_if_everything_does() -> None:
    part = leaf(
        b"> real@inbox.example\r\n", more=b'Content-Disposition: attachment; filename="real@inbox.example.txt"\r\n'
    )
    done = scrubbed(multipart(part))
    assert done.message.content == multipart(part)
    assert {leak.place for leak in done.leaks} == {Place.ATTACHMENT, Place.PART}
    done = scrubbed(multipart(part), mode="all")
    assert (
        done.message.content == multipart(part.replace(b"real@inbox.example", b"a1@alias.example")) and not done.leaks
    )


def test_files_are_looked_through() -> None:
    pdf = leaf(b64encode(b"%PDF (REAL@inbox.example)"), b"application/pdf", b"Content-Transfer-Encoding: base64\r\n")
    done = scrubbed(multipart(leaf(b"x"), pdf), mode="all")
    assert done.message.content == multipart(leaf(b"x"), pdf)
    assert done.leaks == (Leak(Place.ATTACHMENT, "application/pdf"),)


def test_attached_messages_are_history() -> None:
    inner = (
        b"Received: from x by y for <real@inbox.example>; today\r\nTo: Real <real@inbox.example>,\r\n"
        b" a1+help=shop.example@alias.example\r\nFrom: =?utf-8?q?real=40inbox.example?= <real@inbox.example>\r\n"
        + multipart(leaf(b"Hello real@inbox.example"), boundary=b"b2")
    )
    done = scrubbed(multipart(leaf(b"x"), leaf(inner, b"message/rfc822")))
    assert b"real" not in done.message.content.lower().replace(b"real <a1@", b"") and not done.leaks
    assert b"To: Real <a1@alias.example>,\r\n help@shop.example\r\n" in done.message.content


INVITATION = (
    b"BEGIN:VEVENT\r\nORGANIZER;CN=Desk:mailto:a1+help=shop.example@alias.example\r\n"
    b'ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED;CN="rea\r\n l@inbox.example";X-NUM-GUESTS=0:'
    b"mailto:real@inbox.e\r\n xample\r\nDESCRIPTION:Hello\\nreal@inbox.example\\, bye\r\nEND:VEVENT\r\n"
)


def test_invitations_are_unfolded_and_folded_again() -> None:
    calendar = b"text/calendar; method=REPLY; charset=utf-8"
    done = scrubbed(multipart(leaf(INVITATION, calendar)))
    body = done.message.content.partition(b"REPLY")[2]
    assert (
        b"ORGANIZER;CN=Desk:mailto:help@shop.example\r\n"
        b'ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED;CN="a1@al\r\n ias.example";X-NUM-GUESTS=0:'
        b"mailto:a1@alias.example\r\nDESCRIPTION:Hello\\na1@alias.example\\, bye\r\nEND:VEVENT\r\n"
    ) in body
    assert max(map(len, body.split(b"\r\n"))) <= 75 and not done.leaks
    assert scrubbed(multipart(leaf(INVITATION, calendar)), mode="off").leaks == (Leak(Place.CALENDAR, "text/calendar"),)
    assert scrubbed(multipart(leaf(INVITATION, b"application/ics"))).leaks == (Leak(Place.CALENDAR, "application/ics"),)


def test_cards_change_only_if_everything_does() -> None:
    card = leaf(b"BEGIN:VCARD\r\nEMAIL:real@inbox.ex\r\n ample\r\nEND:VCARD\r\n", b"text/vcard")
    assert scrubbed(multipart(card)).leaks == (Leak(Place.CARD, "text/vcard"),)
    done = scrubbed(multipart(card), mode="all")
    assert b"EMAIL:a1@alias.example\r\n" in done.message.content and not done.leaks


def test_a_message_beyond_the_limits_stays_and_is_told() -> None:
    content = leaf(b"real@inbox.example")
    for number in range(40):
        content = multipart(content, boundary=b"n%d" % number)
    done = scrubbed(content, mode="all")
    assert done.message.content == content and done.leaks[0].place is Place.ATTACHMENT


def test_attachments_are_taken_out_before_their_notes_are_read() -> None:
    def without(parts: Tree) -> Message | None:
        return split(leaf(b"> [attachment removed: real@inbox.example.pdf]\r\n"))

    done = scrubbed(multipart(leaf(b"x")), remove_attachments=without)
    assert done.message.body == b"> [attachment removed: a1@alias.example.pdf]\r\n"
    assert done.fields.keys() == {b"content-type"}


def test_opaque_addresses_to_be_looked_up() -> None:
    text = b"x " + OPAQUE.upper().encode().replace(b"@", b"%40") + b" r-abcdefghijklmnoq&#64;alias.example"
    found = opaque_mentioned(
        split(multipart(leaf(b64encode(text), more=b"Content-Transfer-Encoding: base64\r\n"))), "alias.example"
    )
    assert [str(one) for one in found] == [OPAQUE, "r-abcdefghijklmnoq@alias.example"]


# -- OpenPGP and S/MIME ---------------------------------------------------------------------------------------------

TEXT = leaf(b"Hello")
PGP = b'; micalg=pgp-sha256; protocol="application/pgp-signature"'
SIGNATURE = leaf(
    b"-----BEGIN PGP SIGNATURE-----\r\n\r\nAAAA\r\n-----END PGP SIGNATURE-----", b"application/pgp-signature"
)


@pytest.mark.parametrize(
    "part",
    [
        leaf(
            KEY,
            b"application/pgp-keys",
            b'Content-Disposition: attachment; filename="publickey - real@inbox.example.asc"\r\n',
        ),
        leaf(KEY, b'application/octet-stream; name="publickey - real@inbox.example - 0x1234.asc"'),
        leaf(KEY, b'application/octet-stream; name="OpenPGP_0x12AB.asc"'),
        leaf(KEY, b'text/plain; name="me.asc"'),
        leaf(
            b64encode(KEY),
            b"application/pgp-encrypted",
            b"Content-Transfer-Encoding: base64\r\nContent-Disposition: inline; filename=x.ASC\r\n",
        ),
        SIGNATURE,
        leaf(b"-----BEGIN PGP SIGNATURE-----\r\n\r\nAAAA\r\n", b'application/octet-stream; name="text.txt.asc"'),
    ],
)
@pytest.mark.parametrize("place", range(3))
def test_row_114_keys_and_signatures_go(part: bytes, place: int) -> None:
    parts = [TEXT, leaf(b"second")]
    parts.insert(place, part)
    done = scrubbed(multipart(*parts))
    assert done.message.content == multipart(TEXT, leaf(b"second")) and done.leaks == ()
    assert scrubbed(multipart(multipart(*parts, boundary=b"b2"), TEXT)).message.content == multipart(
        multipart(TEXT, leaf(b"second"), boundary=b"b2"), TEXT
    )
    assert scrubbed(multipart(*parts), removal=KEEP).message.content == multipart(*parts)


def test_row_114_a_multipart_of_keys_goes_as_a_whole() -> None:
    key = leaf(KEY, b"application/pgp-keys")
    assert scrubbed(multipart(TEXT, multipart(key, key, boundary=b"b2"))).message.content == multipart(TEXT)
    done = scrubbed(multipart(key))
    assert done.message.body == b"" and done.message.first(b"content-type") == b"text/plain; charset=us-ascii"
    inner = b"Subject: x\r\n" + key
    assert KEY not in scrubbed(multipart(TEXT, leaf(inner, b"message/rfc822"))).message.content


def test_row_114_a_key_that_stays_is_told() -> None:
    done = scrubbed(multipart(TEXT, leaf(KEY, b"application/pgp-keys")), removal=KEEP)
    assert done.leaks == (Leak(Place.KEY, "application/pgp-keys"),)
    assert scrubbed(leaf(b"My key:\r\n" + KEY)).leaks == (Leak(Place.KEY, "text/plain"),)


def test_an_asc_file_of_another_kind_stays() -> None:
    file = leaf(b"-----BEGIN PGP MESSAGE-----\r\n\r\nAAAA", b'application/octet-stream; name="letter.asc"')
    assert scrubbed(multipart(TEXT, file)).message.content == multipart(TEXT, file)


def test_something_signed_becomes_its_first_part() -> None:
    first = (
        b'Content-Type: multipart/mixed; boundary=b2; protected-headers="v1"\r\nFrom: Real <real@inbox.example>\r\n'
        b"Message-ID: <x@inbox.example>\r\n"
        + multipart(leaf(b"> real@inbox.example"), boundary=b"b2").partition(b"\r\n")[2]
    )
    message = b"Subject: x\r\nContent-Language: de\r\n" + multipart(first, SIGNATURE, kind=b"signed", params=PGP)
    done = scrubbed(message)
    wanted = (
        b'Content-Type: multipart/mixed; boundary=b2; protected-headers="v1"\r\n\r\n'
        + multipart(leaf(b"> a1@alias.example"), boundary=b"b2").partition(b"\r\n\r\n")[2]
    )
    assert done.message.content == b"Subject: x\r\n" + wanted and done.leaks == ()
    assert set(done.fields) == {b"content-type", b"content-language"} and done.fields[b"content-language"] is None
    nested = multipart(multipart(first, SIGNATURE, kind=b"signed", params=PGP, boundary=b"b3"), TEXT)
    assert scrubbed(nested).message.content == multipart(wanted.removesuffix(b"\r\n") + b"\r\n", TEXT)


def test_something_signed_that_stays_so_is_only_looked_through() -> None:
    message = multipart(leaf(b"> real@inbox.example"), SIGNATURE, kind=b"signed", params=PGP)
    done = scrubbed(message, removal=KEEP, mode="all")
    assert done.message.content == message and done.leaks == (Leak(Place.HISTORY, "text/plain"),)


CLEARSIGNED = (
    b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nHello\r\n- -- \r\n> real@inbox.example\r\n"
    b"-----BEGIN PGP SIGNATURE-----\r\n\r\nAAAA\r\n-----END PGP SIGNATURE-----\r\n"
)


def test_inline_signatures() -> None:
    assert scrubbed(leaf(CLEARSIGNED)).message.body == b"Hello\r\n-- \r\n> a1@alias.example\r\n"
    done = scrubbed(leaf(CLEARSIGNED), removal=KEEP)
    assert done.message.body == CLEARSIGNED and done.leaks


@pytest.mark.parametrize(
    "content",
    [
        multipart(
            leaf(b"Version: 1", b"application/pgp-encrypted"),
            leaf(b"real@inbox.example"),
            kind=b"encrypted",
            params=b'; protocol="application/pgp-encrypted"',
        ),
        leaf(
            b"-----BEGIN PGP MESSAGE-----\r\nComment: real@inbox.example\r\n\r\nAAAA\r\n-----END PGP MESSAGE-----\r\n"
        ),
        leaf(b"AAAA", b"application/pkcs7-mime; smime-type=enveloped-data"),
    ],
)
def test_encrypted_content_stays(content: bytes) -> None:
    assert scrubbed(content, mode="all") == Edited(split(content), {}, ())


@pytest.mark.parametrize(
    "content",
    [
        multipart(
            TEXT,
            leaf(b"AAAA", b"application/pkcs7-signature"),
            kind=b"signed",
            params=b'; protocol="application/pkcs7-signature"',
        ),
        leaf(b"AAAA", b"application/pkcs7-mime; smime-type=signed-data"),
        leaf(b"AAAA", b"application/x-pkcs7-mime"),
    ],
)
def test_certificates_show_who_signs(content: bytes) -> None:
    done = scrubbed(content)
    assert done.message.content == content and {leak.place for leak in done.leaks} == {Place.CERTIFICATE}
    assert verdict(done.leaks, "warn") is verdict(done.leaks, "block") is Verdict.REFUSE
    assert verdict(done.leaks, "off") is Verdict.SEND


def test_row_112_the_policy_decides() -> None:
    leaks = scrubbed(leaf(b"real@inbox.example")).leaks
    assert [verdict(leaks, policy) for policy in ("off", "warn", "block")] == [
        Verdict.SEND,
        Verdict.WARN,
        Verdict.REFUSE,
    ]
    assert verdict((), "block") is Verdict.SEND


def test_fields_of_a_finished_header() -> None:
    message = split(
        b"Subject: =?utf-8?b?cmVhbEBpbmJveC5leGFtcGxl?=\r\nFrom: a1@alias.example\r\nCc: surreal@inbox.example\r\n"
    )
    assert list(in_fields(message.fields, HIDDEN)) == [Leak(Place.HEADER, "subject")]


# -- Time -----------------------------------------------------------------------------------------------------------

SLOW = {
    "tags": b"<a>" * 33_000,
    "paragraphs": b"<p>" * 33_000,
    "links": b"<div><a href=//app.relay.example/u/x>x</a>" * 2400,
    "escapes": b"%40i" * 25_000,
    "entities": b"&#64;" * 20_000,
    "addresses": b"real@inbox.example," * 5200,
    "quotes": (b"'" * 250 + b"@inbox.example ") * 380,
    "signs": b"@" * 100_000,
    "lines": b"\n" * 100_000,
    "colons": b"a:\n" * 33_000,
    "fields": b"To: a@b\n" * 12_000,
    "marks": b"----- mailrelay -----\n" * 4500,
    "comments": b"<!--mr-banner-->" * 6000,
    "spaces": b" " * 100_000,
    "words": b"a" * 100_000,
    "names": b"'a at b.example' " * 5800,
    "armor": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" * 2600,
    "signed": b"-----BEGIN PGP SIGNED MESSAGE-----\n\n" * 2700,
    "hosts": b"//app.relay.example/u/," * 4300,
}


@pytest.mark.parametrize("kind", [b"text/plain", b"text/html", b"text/calendar"])
@pytest.mark.parametrize("name", SLOW)
def test_time_is_linear(name: str, kind: bytes) -> None:
    """50 ms are allowed; the machine that runs the tests may be busy. Quadratic time would be seconds."""
    content = leaf(SLOW[name] + b" real@inbox.example", kind)
    before = time.process_time()
    scrubbed(content, contacts=stored(), names={"help@shop.example": "Support Desk"})
    assert time.process_time() - before < 0.4
