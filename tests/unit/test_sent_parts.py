"""What the headers of parts and attached messages keep, and what stands around parts (spec sections 4.4 and 4.8)."""

from collections.abc import Callable

import pytest

from mailrelay.core.header import split
from mailrelay.core.mime import tree
from mailrelay.core.sending.leaks import Leak, Place
from mailrelay.core.sending.naming import Naming
from mailrelay.core.sending.scrub import Scrubbing, edit
from tests.unit.sent import ALIAS, HIDDEN, KEEP, leaf, multipart, scrubbed

ABOUT_HOSTS = (
    b"Content-Location: http://mail.inbox.example/x\r\n",
    b"Content-Base: http://inbox.example/\r\n",
    b"Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\n",
    b"Content-Whatever: Real Name,\r\n inbox.example\r\n",
    b"X-Apple-Part-Url: part1@inbox.example\r\n",
    b"X-Sender: real=40inbox.example\r\n",
    b"X-Device-Id: 12345\r\n",
    b"Received: from real.inbox.example by x\r\n",
    b"From real@inbox.example Tue Jan  6 12:00:00 2026\r\n",
)
CONTENT = (
    b"Content-Transfer-Encoding: 8bit\r\nContent-Disposition: inline\r\nContent-ID: <1@shop.example>\r\n"
    b"Content-Description: a file\r\nContent-Language: de\r\nMIME-Version: 1.0\r\n"
)


@pytest.mark.parametrize("field", ABOUT_HOSTS)
def test_row_109_a_part_keeps_fields_about_its_content_only(field: bytes) -> None:
    part = leaf(b"hello", more=CONTENT)
    with_field = field + part if field.startswith(b"From ") else part.replace(b"MIME-", field + b"MIME-")
    done = scrubbed(multipart(with_field), mode="off")
    assert done.message.content == multipart(part) and done.leaks == ()


def test_a_header_without_its_empty_line_does_not_go_on_in_the_body() -> None:
    part = b"X-Host: inbox.example\r\nFrom the first line on\r\nContent-Type: text/html\r\n\r\nhello"
    wanted = part.replace(b"X-Host: inbox.example", b"Content-Description:")
    assert scrubbed(multipart(part)).message.content == multipart(wanted)


def test_what_is_signed_keeps_its_fields() -> None:
    signature = leaf(b"x", b"application/pgp-signature")
    part = leaf(b"hello", more=ABOUT_HOSTS[5] + ABOUT_HOSTS[6])
    signed = multipart(part, signature, kind=b"signed", params=b"; protocol=application/pgp-signature")
    done = scrubbed(signed, removal=KEEP)
    assert part in done.message.content and done.leaks == (Leak(Place.PART, "x-sender"),)


TRACE = (
    b"Received: from mx.inbox.example (mx.inbox.example [192.0.2.1]) by y\r\n\tfor <real@inbox.example>; x\r\n",
    b"Received: from a.shop.example by b.shop.example; x\r\n",
    b"Return-Path: <x@shop.example>\r\n",
    b"Delivered-To: real@inbox.example\r\n",
    b"X-Original-To: x@shop.example\r\n",
    b"Authentication-Results: mx.inbox.example; dmarc=pass\r\n",
    b"ARC-Seal: i=1; d=provider.example\r\n",
    b"X-Originating-IP: 192.0.2.77\r\n",
    b"X-MS-Exchange-Whatever: real=40inbox.example\r\n",
    b"X-Whatever: cmVhbEBpbmJveC5leGFtcGxl\r\n",
    b"DKIM-Signature: v=1; d=inbox.example; b=x\r\n",
    b"From real@inbox.example Tue Jan  6 12:00:00 2026\r\n",
)
ATTACHED = b"Subject: x\r\nX-Mailer: y\r\nFrom: R <a1@alias.example>\r\n" + leaf(b"hello")


@pytest.mark.parametrize("mode", ["quoted", "all", "off"])
@pytest.mark.parametrize("field", TRACE)
def test_row_200_attached_messages_do_not_tell_their_way(field: bytes, mode: str) -> None:
    done = scrubbed(multipart(leaf(b"x"), leaf(field + ATTACHED, b"message/rfc822")), mode=mode)
    assert done.message.content == multipart(leaf(b"x"), leaf(ATTACHED, b"message/rfc822")) and done.leaks == ()


@pytest.mark.parametrize("field", [one for one in TRACE if b"hatever" not in one and b"From " not in one])
def test_row_200_nor_do_the_headers_that_bounces_return(field: bytes) -> None:
    header = b"Subject: x\r\nFrom: R <real@inbox.example>\r\n"
    done = scrubbed(multipart(leaf(field + header, b"text/rfc822-headers")))
    wanted = header.replace(b"real@inbox.example", b"a1@alias.example")
    assert done.message.content == multipart(leaf(wanted, b"text/rfc822-headers")) and done.leaks == ()


def test_parts_of_attached_messages_keep_what_does_not_tell() -> None:
    inner = multipart(leaf(b"x", more=b"X-Part: 1\r\nX-Url: part1@mail.inbox.example\r\n"), boundary=b"b2")
    done = scrubbed(multipart(leaf(inner, b"message/rfc822")))
    assert b"X-Part: 1\r\n\r\nx" in done.message.content and done.leaks == ()


IMAGE = b"image/png"
NAMES = Naming(ALIAS, HIDDEN, b"k")


def renamed(name: bytes) -> bytes:
    return str(NAMES.renamed(name)).encode()


def related(root: bytes, image: bytes, escaped: bytes, start: bytes) -> bytes:
    html = b"<img src=\"cid:%b\"><a style='x:url(CID:%b)'>[cid:%b]" % (escaped, image, image)
    parts = (
        leaf(html, b"text/html", b"Content-ID: <%b>\r\n" % root),
        leaf(b"x", IMAGE, b"content-id:\t<%b>\r\n" % image),
    )
    return multipart(*parts, kind=b"related", params=b"; type=text/html; start=" + start)


@pytest.mark.parametrize("mode", ["quoted", "off"])
@pytest.mark.parametrize(
    "wrap", [lambda content: content, lambda content: multipart(leaf(b"x"), content, boundary=b"o")]
)
def test_row_200_names_of_parts_do_not_tell_the_host(wrap: Callable[[bytes], bytes], mode: str) -> None:
    root, image = b"r@inbox.example", b"part1.AB.CD@Desk.inbox.example"
    done = scrubbed(wrap(related(root, image, image.replace(b"@", b"%40"), b'"<%b>"' % root)), mode=mode, key=b"k")
    new = renamed(image)
    wanted = related(renamed(root), new, new.replace(b"@", b"%40"), b'"<%b>"' % renamed(root))
    assert done.message.content == wrap(wanted) and done.leaks == ()


def test_names_of_other_peoples_parts_stay() -> None:
    message = split(related(b"r@shop.example", b"1@myinbox.example", b"1%40myinbox.example", b"r@shop.example"))
    assert edit(message, Scrubbing(ALIAS, HIDDEN, "app.relay.example")).message is message


def test_a_start_that_stands_there_in_an_odd_way_is_written_anew() -> None:
    content = related(b"r@inbox.example", b"1", b"1", b'x; start*0="<r@inb"; start*1=ox.example>; x="a\\"b"')
    content = content.replace(b"start=x; ", b"")
    changed = scrubbed(content, key=b"k").message
    assert tree(changed).root.params[b"start"] == b"<%b>" % renamed(b"r@inbox.example")
    assert tree(changed).root.params[b"x"] == b'a"b' and b"inb" not in changed.content


def test_row_200_ids_of_attached_messages_do_not_tell_the_host() -> None:
    ids = b"Message-ID: <%b>\r\nReferences: <1@shop.example>\r\n <%b>\r\nIn-Reply-To: <1@shop.example>\r\n"
    old = leaf(ids % (b"1@inbox.example", b"2@mx.inbox.example") + leaf(b"x"), b"message/rfc822")
    new = leaf(ids % (renamed(b"1@inbox.example"), renamed(b"2@mx.inbox.example")) + leaf(b"x"), b"message/rfc822")
    assert scrubbed(multipart(old), key=b"k").message.content == multipart(new)


# -- Around parts ---------------------------------------------------------------------------------------------------

PARTS = multipart(leaf(b"one"), leaf(b"two"))
BEHIND = b"--b1--\r\n"


@pytest.mark.parametrize(
    "content",
    [
        PARTS.replace(b"\r\n\r\n--b1", b"\r\n\r\nThis is a multi-part message of real=40inbox.example\r\n--b1", 1),
        PARTS + b"\r\nreal=40inbox.example\r\n",
        PARTS + b"\r\n--b1\r\nContent-Transfer-Encoding: base64\r\n\r\nVXM5IHJlYWxAaW5ib3guZXhhbXBsZQ==\r\n--b1--\r\n",
    ],
)
@pytest.mark.parametrize("wrap", [lambda content: content, lambda content: multipart(content, boundary=b"o")])
def test_row_200_nothing_stands_around_the_parts(content: bytes, wrap: Callable[[bytes], bytes]) -> None:
    done = scrubbed(wrap(content), mode="off")
    assert done.leaks == () and done.message.content == wrap(PARTS)


def test_empty_lines_and_missing_ends_stay() -> None:
    for content in (PARTS + b"\r\n \r\n", PARTS.removesuffix(BEHIND), PARTS.replace(b"\r\n\r\n--", b"\r\n\r\n\r\n--")):
        assert scrubbed(content).message.content == content


def test_what_is_signed_may_have_something_around_its_parts() -> None:
    around = PARTS + b"real@inbox.example\r\n"
    signature = leaf(b"x", b"application/pgp-signature")
    signed = multipart(around, signature, kind=b"signed", boundary=b"s", params=b"; protocol=application/pgp-signature")
    done = scrubbed(signed + b"real@inbox.example", removal=KEEP)
    assert done.message.content == signed and done.leaks == (Leak(Place.PART, "multipart/mixed"),)


@pytest.mark.parametrize("old", [b"real@inbox.example-1", b"=_real=inbox.example_1", b"Apple-Mail-inbox.example"])
@pytest.mark.parametrize(
    "wrap", [lambda content: content, lambda content: multipart(leaf(b"x"), content, boundary=b"o")]
)
def test_row_200_boundaries_do_not_tell(old: bytes, wrap: Callable[[bytes], bytes]) -> None:
    content = multipart(leaf(b"one"), leaf(b""), leaf(b"> real@inbox.example"), boundary=b'"%b"' % old)
    content = content.replace(b'--"%b"' % old, b"--" + old)
    done = scrubbed(wrap(content), mode="all", key=b"k")
    new = NAMES.token(old).encode()
    wanted = content.replace(old, new).replace(b"real@inbox.example", b"a1@alias.example")
    assert done.message.content == wrap(wanted) and done.leaks == ()
    last = scrubbed(wrap(content.removesuffix(b"--%b--\r\n" % old)), mode="all", key=b"k").message
    assert old not in last.content and new in last.content


def test_row_200_encrypted_parts_have_nothing_around_them() -> None:
    parts = leaf(b"Version: 1\r\n", b"application/pgp-encrypted"), leaf(b"x", b"application/octet-stream")
    old = b"inbox.example"
    wanted = multipart(*parts, kind=b"encrypted", boundary=NAMES.token(old).encode(), params=b"; protocol=x")
    told = tuple(part.replace(b"\r\n", b"\r\nX-Host: a.inbox.example\r\n", 1) for part in parts)
    content = multipart(*told, kind=b"encrypted", boundary=old, params=b"; protocol=x")
    done = scrubbed(content + b"epilogue", key=b"k")
    assert done.message.content == wanted and done.leaks == ()
