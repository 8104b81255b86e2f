"""Random bodies of replies: nothing raises, and where everything is to be replaced no real address is left."""

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import unquote

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailrelay.core import charset, transfer
from mailrelay.core.address import Address, parse_address
from mailrelay.core.context import Contact, ContactId
from mailrelay.core.facts import AccountId, AliasId
from mailrelay.core.header import split
from mailrelay.core.mime import ENCODINGS, Entity, tree
from mailrelay.core.sending.facts import ReplyScrub
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.history import in_html, in_plain
from mailrelay.core.sending.leaks import Place
from mailrelay.core.sending.openpgp import Removal, dearmored, unsigned
from mailrelay.core.sending.scrub import Edited, Scrubbing, edit, opaque_mentioned
from mailrelay.core.sending.spelling import read

ALIAS = Address("a1", "alias.example")
REAL, SECOND = "real@inbox.example", "o'neil+x@inbox2.example"
HIDDEN = Hidden.of([parse_address(REAL), parse_address(SECOND)], None, ALIAS)
OPAQUE = "r-abcdefghijklmnop@alias.example"
STORED = Contact(ContactId(1), AccountId(1), AliasId(1), ALIAS, "help@shop.example", "Support Desk")


def scrubbed(content: bytes, mode: ReplyScrub, removal: Removal = Removal()) -> Edited:  # noqa: B008
    names = {"help@shop.example": "Support Desk"}
    how = Scrubbing(ALIAS, HIDDEN, "app.relay.example", {OPAQUE: STORED}, names, mode, removal)
    return edit(split(content), how)


SPELT = st.sampled_from(
    [
        *(REAL, "REAL@Inbox.Example", "real+tag@inbox.example", "<real@inbox.example>", "'real@inbox.example'", SECOND),
        *("real%40inbox.example", "mailto:real@inbox.example?x", "u=real%2540inbox.example&", "real&#64;inbox.example"),
        *("real&#x40;inbox.example", "re&#97;l@inbox.example", "_real@inbox.example_", "...real@inbox.example...and"),
        *("surreal@inbox.example", "real@inbox.example.org", "real@inbox.examples", "real-x@inbox.example", "real@"),
        *("a1+help=shop.example@alias.example", "A1%2BHelp%3DShop.example%40alias.example", OPAQUE, OPAQUE.upper()),
        *("Desk 'help at shop.example'", "help at shop.example", "Desk - help(a)shop.example", "&commat;inbox.example"),
    ]
)
MARKS = st.sampled_from(
    [
        *(
            "\r\n",
            "\r\n\r\n",
            "\r\n> ",
            " ",
            "\t",
            "x",
            "&lt;",
            "<p>",
            "</p>",
            "<div>",
            "</div>",
            "<br>",
            "<blockquote>",
        ),
        *(
            "<!--mr-banner-->",
            "<!--/mr-banner-->",
            "----- mailrelay -----\r\n",
            "&lt;!--mr-warning--&gt;",
            "é",
            "\u3042",
        ),
        *(
            "<a href='https://app.relay.example/u/x'>",
            "</a>",
            "https://app.relay.example/u/x",
            "<!--",
            "-->",
            "<table>",
        ),
        *(
            "On Tue, 6 Jan 2026, ",
            " wrote:\r\n",
            "-----Original Message-----\r\n",
            "From: ",
            "Sent: 18:12\r\n",
            "</tr>",
        ),
        *(
            '<div class="gmail_quote">',
            "-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\n",
            "-----BEGIN PGP SIGNATURE-----\r\n",
        ),
        *(
            "-----END PGP SIGNATURE-----\r\n",
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\n",
            "--b\r\n",
            "--b--\r\n",
            "\0",
        ),
        *("BEGIN:VEVENT\r\n", "ATTENDEE;CN=x:mailto:", "\\n", "\r\n ", "%", "&", "=?utf-8?q?", "?=", "=40"),
    ]
)
TEXTS = st.lists(SPELT | MARKS | st.text(max_size=4), max_size=25).map("".join)
KINDS = st.sampled_from(
    ["text/plain", "text/html", "text/calendar", "text/vcard", "text/plain; name=x.txt", "text/csv"]
)
CODECS = st.sampled_from(["utf-8", "iso-8859-1", "utf-16", "shift_jis", "iso-2022-jp", "gb18030", "us-ascii", "x-none"])


@st.composite
def leaf(draw: st.DrawFn) -> bytes:
    text, kind, codec = draw(TEXTS), draw(KINDS), draw(CODECS)
    encoding = draw(st.sampled_from(sorted(ENCODINGS)))
    octets = text.encode({"x-none": "utf-8"}.get(codec, codec), "replace")
    fields = f"Content-Type: {kind}; charset={codec}\r\nContent-Transfer-Encoding: {encoding.decode()}\r\n"
    return fields.encode() + b"\r\n" + transfer.encode(octets, encoding)


def multipart(parts: list[bytes], kind: str) -> bytes:
    body = b"".join(b"--b\r\n%b\r\n" % part for part in parts)
    return f"Content-Type: multipart/{kind}; boundary=b\r\n\r\n".encode() + body + b"--b--\r\n"


MULTIPARTS = st.builds(multipart, st.lists(leaf(), max_size=3), st.sampled_from(["mixed", "alternative", "related"]))
EMBEDDED = (leaf() | MULTIPARTS).map(
    lambda inner: (
        b"Content-Type: message/rfc822\r\n\r\nTo: real@inbox.example\r\nFrom: =?utf-8?q?real=40inbox.example?=\r\n"
        + inner
    )
)
KEY = b'Content-Type: application/pgp-keys; name="OpenPGP_0xreal@inbox.example.asc"\r\n\r\nreal@inbox.example'
SIGNED = leaf().map(
    lambda inner: (
        b"Content-Type: multipart/signed; protocol=application/pgp-signature; boundary=s\r\n\r\n--s\r\n"
        + inner
        + b"\r\n--s\r\nContent-Type: application/pgp-signature\r\n\r\nreal@inbox.example\r\n--s--\r\n"
    )
)
OUTER = st.lists(leaf() | EMBEDDED | SIGNED | st.just(KEY), max_size=4).map(
    lambda parts: multipart(
        [part.replace(b"\r\n--b", b"\r\n--c").replace(b"boundary=b", b"boundary=c") for part in parts], "mixed"
    )
)
MESSAGES = leaf() | MULTIPARTS | SIGNED | OUTER

_REAL = re.compile(
    r"(?<![A-Za-z0-9._+-])(?:real|o'neil)(?:\+[A-Za-z0-9]*)?@inbox2?\.example(?![A-Za-z0-9_-]|\.[A-Za-z0-9_])",
    re.IGNORECASE,
)


def texts(content: bytes) -> Iterator[tuple[Entity, str]]:
    parts = tree(split(content))
    for one in parts.leaves(embedded=True):
        said = transfer.decode(parts.message.content[one.body_start : one.body_end], one.encoding)
        codec = charset.codec(one.params.get(b"charset", b"")) or "utf-8"
        if said is not None and one.type.startswith(b"text/") and not one.broken:
            narrowed = charset.narrow(said, codec) if charset.is_wide(codec) else said
            if narrowed is not None:
                text = narrowed.decode("utf-8" if charset.is_wide(codec) else codec, "replace")
                folded = one.type in (b"text/calendar", b"text/vcard")
                yield one, re.sub(r"\r?\n[ \t]", "", text) if folded else text


@settings(max_examples=400)
@given(MESSAGES)
def test_no_real_address_is_left_where_all_are_replaced(content: bytes) -> None:
    """12.4-112, 12.7-200"""
    done = scrubbed(content, "all")
    for one, text in texts(done.message.content):
        for view in (text, unescape(text), unquote(text)):
            assert not _REAL.search(view), (one.type, view)
    assert {leak.place for leak in done.leaks} <= {Place.PART, Place.HEADER}
    again = scrubbed(done.message.content, "all")
    assert not any(_REAL.search(text) for _, text in texts(again.message.content))


@settings(max_examples=300)
@given(MESSAGES, st.sampled_from(["quoted", "off"]))
@example(b"Content-Type: text/plain; charset=utf-8\r\n\r\nreal@inbox.example.\xc2\x80", "quoted")
def test_what_is_left_is_told(content: bytes, mode: ReplyScrub) -> None:
    done = scrubbed(content, mode)
    if any(_REAL.search(text) for _, text in texts(done.message.content)):
        assert done.leaks
    if done.message.content == content:
        assert done.fields == {}


@settings(max_examples=300)
@given(
    MESSAGES | st.lists(SPELT | MARKS, max_size=40).map(lambda texts: "".join(texts).encode()) | st.binary(max_size=300)
)
def test_nothing_raises(content: bytes) -> None:
    message = split(content)
    for removal in (Removal(), Removal(keys=False, signatures=False)):
        for mode in ("quoted", "all", "off"):
            done = scrubbed(content, mode, removal)
            assert done.message.content.count(b"\0") <= content.count(b"\0")
    opaque_mentioned(message, "alias.example")
    assert 0 <= in_plain(content) <= len(content) and 0 <= in_html(content) <= len(content)
    dearmored(content)
    unsigned(content)


BOUNDARIES = st.sampled_from(["b", "-", "--", "x--", "real=inbox.example", "inbox.example--", "=_mx.inbox.example_1"])
TOLD = st.sampled_from(
    [
        *(
            "Content-ID: <1@mx.inbox.example>\r\n",
            "X-Host: inbox.example\r\n",
            "Content-Base: http://inbox.example/\r\n",
        ),
        *(
            "Received: from inbox.example\r\n",
            "From real@inbox.example\r\n",
            "Content-Description: x\r\n",
            "bad line\r\n",
        ),
    ]
)


@st.composite
def framed(draw: st.DrawFn, depth: int = 3) -> str:
    told = "".join(draw(st.lists(TOLD, max_size=3)))
    if not depth or draw(st.booleans()):
        kind = draw(st.sampled_from(["text/plain", "application/x", "message/rfc822\r\n\r\nSubject: x"]))
        return f"{told}Content-Type: {kind}\r\n\r\nhello"
    boundary, start = draw(BOUNDARIES), draw(st.sampled_from(["", ';start="<1@mx.inbox.example>"']))
    parts = draw(st.lists(framed(depth - 1), max_size=3))
    lines = "".join(f"--{boundary}{draw(st.sampled_from(['', '  ']))}\r\n{part}\r\n" for part in parts)
    end = draw(st.sampled_from([f"--{boundary}--", f"--{boundary}--\r\n", f"--{boundary}--\r\ninbox.example\r\n", ""]))
    begin = draw(st.sampled_from(["", "\r\n", "inbox.example\r\n", f"x--{boundary}\r\n"]))
    return f'{told}Content-Type: multipart/x; boundary="{boundary}"{start}\r\n\r\n{begin}{lines}{end}'


def shape(entity: Entity) -> tuple[object, ...]:
    return (entity.type, *(shape(child) for child in entity.children))


def childless(entity: Entity) -> Iterator[bool]:
    """For every multipart whether nobody finds parts in it."""
    if entity.is_multipart:
        yield not entity.children
    for child in entity.children:
        yield from childless(child)


@settings(max_examples=400)
@given(framed())
def test_the_parts_stay_and_nothing_around_them_tells(text: str) -> None:
    """12.7-200"""
    before = tree(split(text.encode()))
    done = scrubbed(text.encode(), "quoted")
    after = tree(done.message)
    assert shape(after.root) == shape(before.root)
    again = scrubbed(done.message.content, "quoted")
    assert again.message.content == done.message.content
    if "bad line" not in text and "From " not in text and not any(childless(before.root)):
        assert b"inbox.example" not in b"".join([*split_parts(after.root, done.message.content)])


def split_parts(entity: Entity, content: bytes) -> Iterator[bytes]:
    """What is in a multipart and in no leaf, and the headers of its parts."""
    at = entity.body_start
    for child in entity.children:
        yield content[at : child.body_start]
        yield from split_parts(child, content)
        at = child.body_end
    if entity.children:
        yield content[at : entity.body_end]


@given(st.lists(SPELT | MARKS | st.text(max_size=5), max_size=30), st.booleans())
def test_places_lead_back_to_the_source(pieces: list[str], content_lines: bool) -> None:
    text = "".join(pieces).encode("utf-8", "replace")
    reading = read(text, content_lines=content_lines)
    places = [reading.begin(at) for at in range(len(reading.text) + 1)]
    assert places == sorted(places) and places[-1] <= len(text)
    assert all(reading.begin(at) < reading.end(at + 1) for at in range(len(reading.text)))
