"""The parts of replies and sends: which change, which stay, and what is told (spec section 4.8)."""

import time
from base64 import b64encode

import pytest

from mailrelay.core import transfer
from mailrelay.core.header import Message, split
from mailrelay.core.mime import Tree
from mailrelay.core.sending.leaks import Leak, Place
from mailrelay.core.sending.scrub import Edited, Scrubbing, edit, opaque_mentioned
from tests.unit.sent import ALIAS, HIDDEN, OPAQUE, leaf, multipart, scrubbed, stored


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


def test_what_few_programs_show_is_looked_through() -> None:
    wrong = leaf(b"!" + b64encode(b"real@inbox.example"), more=b"Content-Transfer-Encoding: base64\r\n")
    done = scrubbed(wrong, mode="all")
    assert done.message.content == wrong and done.leaks[0].place is Place.ATTACHMENT
    inner = leaf(
        b64encode(b"From: real@inbox.example\r\n\r\n") + b"\r\n", more=b"Content-Transfer-Encoding: base64\r\n"
    )
    for broken in (leaf(inner, b"multipart/mixed"), leaf(inner, b"message/partial; id=x")):
        done = scrubbed(broken)
        assert done.message.content == broken and done.leaks[0].place is Place.ATTACHMENT


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


@pytest.mark.parametrize("kind", [b"application/ics", b"text/x-vcalendar"])
def test_row_200_attached_invitations_are_edited_like_others(kind: bytes) -> None:
    attached = b'Content-Disposition: attachment; filename="invite.ics"\r\n'
    done = scrubbed(multipart(leaf(b"x"), leaf(INVITATION, kind, attached)))
    assert b"real" not in done.message.content and b"mailto:a1@alias.example\r\n" in done.message.content
    assert b"ORGANIZER;CN=Desk:mailto:help@shop.example\r\n" in done.message.content and not done.leaks
    opaque = multipart(leaf(b"ATTENDEE:mailto:" + OPAQUE.encode(), kind))
    assert [str(one) for one in opaque_mentioned(split(opaque), "alias.example")] == [OPAQUE]


RECEIPT = (
    b"Reporting-UA: desk.inbox.example; Outlook\r\n 16\r\nReporting-MTA: dns; mx.inbox.example\r\n\r\n"
    b"Final-Recipient: rfc822;real@inbox.example\r\nOriginal-Recipient: rfc822; a1+help=shop.example@alias.example\r\n"
    b"X-Display-Name: Real\r\nDiagnostic-Code: smtp; 550 real=40inbox.example\r\nAction: failed\r\n"
)


@pytest.mark.parametrize("kind", [b"message/disposition-notification", b"message/delivery-status"])
@pytest.mark.parametrize("outer", [b"report", b"mixed"])
def test_row_200_receipts_within_other_mail_name_the_alias_and_no_host(kind: bytes, outer: bytes) -> None:
    done = scrubbed(multipart(leaf(b"x"), leaf(RECEIPT, kind), kind=outer))
    wanted = (
        b"\r\nFinal-Recipient: rfc822;a1@alias.example\r\nOriginal-Recipient: rfc822; help@shop.example\r\n"
        b"Action: failed\r\n"
    )
    assert done.message.content == multipart(leaf(b"x"), leaf(wanted, kind), kind=outer) and not done.leaks
    [leak] = scrubbed(multipart(leaf(RECEIPT, kind)), mode="off").leaks
    assert leak.detail == kind.decode()
    hidden = b"Diagnostic-Code: x; " + b64encode(b"for real@inbox.example")
    assert scrubbed(multipart(leaf(hidden, kind))).leaks == (Leak(Place.ATTACHMENT, kind.decode()),)


def test_cards_change_only_if_everything_does() -> None:
    card = leaf(b"BEGIN:VCARD\r\nEMAIL:real@inbox.ex\r\n ample\r\nEND:VCARD\r\n", b"text/vcard")
    assert scrubbed(multipart(card)).leaks == (Leak(Place.CARD, "text/vcard"),)
    done = scrubbed(multipart(card), mode="all")
    assert b"EMAIL:a1@alias.example\r\n" in done.message.content and not done.leaks


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-16"])
def test_row_200_files_are_looked_through_in_wide_characters(codec: str) -> None:
    """As in winmail.dat and what office programs write."""
    wide = b64encode(b"x" + "yy Real@inbox.example zz".encode(codec))
    for kind in (b"application/ms-tnef", b"text/plain"):
        file = leaf(wide, kind, b"Content-Transfer-Encoding: base64\r\n")
        done = scrubbed(multipart(leaf(b"x"), file), mode="all")
        assert done.leaks == (Leak(Place.ATTACHMENT, kind.decode()),)
        assert done.message.content == multipart(leaf(b"x"), file)


@pytest.mark.parametrize("text", [b"> real+AEA-inbox.example +ATM-", b"> real@inbox.example +ATM-"])
def test_row_200_utf_7_becomes_utf_8(text: bytes) -> None:
    done = scrubbed(leaf(text, b"text/plain; charset=UTF-7"))
    assert transfer.decode(done.message.body, b"quoted-printable") == "> a1@alias.example ĳ".encode()
    assert done.message.first(b"content-type") == b"text/plain; charset=utf-8" and done.leaks == ()
    wrong = leaf(b"> real@inbox.example +2AA-", b"text/plain; charset=utf-7")
    assert scrubbed(wrong).message.content == wrong and scrubbed(wrong).leaks[0].place is Place.ATTACHMENT


def test_a_message_beyond_the_limits_stays_and_is_told() -> None:
    deep = leaf(b"x")
    for number in range(40):
        deep = multipart(deep, boundary=b"n%d" % number)
    base64 = leaf(b64encode(b"hello real@inbox.example"), more=b"Content-Transfer-Encoding: base64\r\n")
    for content in (deep, multipart(*[base64] * 501)):
        done = scrubbed(content, mode="all")
        assert done.message.content == content and [one.place for one in done.leaks] == [Place.ATTACHMENT]


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


@pytest.mark.parametrize(
    "spelt", [b"r-abcdefgh&shy;ijklmnop%2540", b"R-ABCDEFGH<wbr>IJKLMNOP&commat;", b"r-abcdefghijklmnop&#064;"]
)
def test_opaque_addresses_are_found_however_they_are_spelt(spelt: bytes) -> None:
    [found] = opaque_mentioned(split(leaf(b"<p>" + spelt + b"alias.example", b"text/html")), "alias.example")
    assert str(found) == OPAQUE
    folded = leaf(b"ATTENDEE:mailto:r-abcdefg\r\n hijklmnop\r\n @alias.example", b"text/calendar")
    assert opaque_mentioned(split(folded), "alias.example") == (found,)


@pytest.mark.parametrize("unit", [b"&#65; r- ", b"r-abcdefghijklmno", b"r-%25", b"r-a&"])
def test_opaque_addresses_are_found_in_no_time(unit: bytes) -> None:
    """Of 20 MB of escapes two seconds were spent on undoing them all."""
    message = split(leaf(unit * (2_000_000 // len(unit)), b"text/html"))
    before = time.process_time()
    assert opaque_mentioned(message, "alias.example") == ()
    assert time.process_time() - before < 0.5


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
    "parts": b"cid:x@inbox.example ",
    "broken": b"real@<b>inbox</b>.example,",
    "open": b"re<b>al@inbox.example",
    "header": b"A: x@inbox.example\n b\n",
    "hosts": b"//app.relay.example/u/," * 4300,
}


@pytest.mark.parametrize(
    "kind", [b"text/plain", b"text/html", b"text/calendar", b"text/rfc822-headers", b"message/delivery-status"]
)
@pytest.mark.parametrize("name", SLOW)
def test_time_is_linear(name: str, kind: bytes) -> None:
    """Quadratic time would be many seconds; the machine that runs the tests may be busy."""
    content = leaf(SLOW[name] + b" real@inbox.example", kind)
    before = time.process_time()
    scrubbed(content, contacts=stored(), names={"help@shop.example": "Support Desk"})
    assert time.process_time() - before < 2
