"""Finds an address in whatever encoding it hides: `occurs` here serves all tests of invariant I3 (row 200).

It shares no idea with mailrelay.core.leak: this one is a pattern that allows every spelling of every character, that
one undoes encodings. They have to agree.
"""

import base64
import binascii
import quopri
import re
import time
from email.header import Header
from functools import cache
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core import leak
from mailrelay.core.address import Address, parse_address

# What may stand between two characters: soft line breaks, folding, the border of two encoded words, an escape.
_JUNK = rb"(?:=[ \t]*\r?\n|\s*\r?\n[ \t]+|\?=\s*=\?[^?\s]+\?[bBqQ]\?|\\)?"
_AT = rb"(?:@|=|%40|=40|\+40|&#0*64;?|&#[xX]0*40;?|&commat;|[ \t_]*[(\[]?[ \t]*at[ \t]*[)\]]?[ \t_]*)"


def occurs(address: Address | str, content: bytes) -> bool:
    """True if the address is in `content`, in either case, in any transfer encoding.

    Plain, folded, quoted-printable, percent-encoded, as HTML entities, in encoded words of both kinds, and in base64 at
    any alignment, whose text may be encoded once more. `real=inbox.example` and `real at inbox.example` count as well.
    """
    text = str(address).lower()
    return any(_pattern(text).search(reading) for reading in _readings(content, 2))


@cache
def _pattern(text: str) -> re.Pattern[bytes]:
    local, _, domain = text.rpartition("@")
    return re.compile(rb'"?%b"?%b%b%b%b' % (_spelt(local), _JUNK, _AT, _JUNK, _spelt(domain)), re.IGNORECASE)


def _spelt(text: str) -> bytes:
    """Every octet plain or escaped, every character as an entity; with junk in between."""
    return _JUNK.join(map(_spellings, text))


def _spellings(char: str) -> bytes:
    pairs = {char, char.upper()}
    octets = [b"".join(rb"(?:%b|[=%%+]%02x)" % (re.escape(bytes([o])), o) for o in one.encode()) for one in pairs]
    entities = [rb"&#0*%d;?|&#x0*%x;?" % (ord(one), ord(one)) for one in pairs if len(one) == 1]
    named = [b"&period;"] if char == "." else []
    return b"(?:%b)" % b"|".join(sorted([*octets, *entities, *named]))


def _readings(content: bytes, depth: int) -> list[bytes]:
    """The content, and what its base64 says, wherever that begins."""
    found = [content]
    if depth:
        runs = re.findall(rb"(?:[A-Za-z0-9+/_-]\s{0,3}){10,}|[A-Za-z0-9+/_-]{10,}", content)
        words = re.findall(rb"=\?[^?\s]+\?[bB]\?([^?\s]*)\?=", content)
        joined = b"".join(_decoded(word.strip(b"=")) for word in words)
        for start in range(4):
            for run in runs:
                decoded = _decoded(re.sub(rb"\s", b"", run)[start:])
                found += _readings(decoded, depth - 1) if decoded else []
        found.append(joined)
    return found


def _decoded(run: bytes) -> bytes:
    classic = run.replace(b"-", b"+").replace(b"_", b"/")
    while classic:
        try:
            return base64.b64decode(classic + b"=" * (-len(classic) % 4))
        except binascii.Error:
            classic = classic[:-1]
    return b""


REAL = parse_address("real@inbox.example")
PLAIN = b"real@inbox.example"


def words(text: bytes, charset: str, limit: int) -> bytes:
    return Header(text.decode(), charset, maxlinelen=limit, header_name="X").encode(linesep="\r\n").encode()


HIDDEN = {
    "plain": b"To: <Real@Inbox.example>\r\n",
    "folded": b"To: real@\r\n inbox.example\r\n",
    "reverse": b"To: <a1+real=inbox.example@alias.example>\r\n",
    "in-words": b'From: "real at inbox.example"\r\n',
    "in-brackets": b"real (at) inbox.example",
    "quoted-string": b'To: "real"@inbox.example\r\n',
    "quoted-pair": b'To: "re\\al"@inbox.example\r\n',
    "quoted-printable": b"re=61l=40inbox=2Eexample",
    "quoted-printable-all": b"".join(b"=%02X" % octet for octet in PLAIN),
    "soft-break": b"real@in=\r\nbox.example",
    "soft-break-with-space": b"real@in= \r\nbox.example",
    "percent": b"https://x.example/?u=real%40inbox.example&v",
    "percent-all": b"".join(b"%%%02x" % octet for octet in PLAIN),
    "xtext": b"ORCPT=rfc822;real+40inbox.example",
    "decimal-entity": b"<p>real&#64;inbox.example",
    "hexadecimal-entity": b"<p>real&#x40;inbox&#x2E;example",
    "named-entity": b"<p>real&commat;inbox&period;example",
    "entities": b"".join(b"&#%d;" % octet for octet in PLAIN),
    "entities-quoted-printable": b"re=\r\nal&#64;inb=6Fx&#46;=\r\nexample",
    "b-word": words(b"write to real@inbox.example", "utf-8", 75),
    "b-words-cut": b"=?utf-8?b?cmVhbEBpbg==?=\r\n =?utf-8?b?Ym94LmV4YW1wbGU=?=",
    "q-word": b"Subject: =?iso-8859-1?q?ask_real=40inbox=2Eexample?=",
    "q-words-cut": b"=?utf-8?q?real=40in?= =?utf-8?q?box.example?=",
    "base64-0": base64.encodebytes(PLAIN),
    "base64-1": base64.encodebytes(b"x" + PLAIN),
    "base64-2": base64.encodebytes(b"xy" + PLAIN),
    "base64-lines": base64.encodebytes(b"x" * 50 + PLAIN + b"x" * 50).replace(b"\n", b"\r\n"),
    "base64-url": base64.urlsafe_b64encode(b"\xff\xfe?>" + PLAIN).rstrip(b"="),
    "base64-upper": base64.b64encode(PLAIN.upper()),
    "base64-entities": base64.encodebytes(b"<p>write to real&#64;inbox.example now</p>"),
    "base64-quoted-printable": quopri.encodestring(base64.encodebytes(b"write to " + PLAIN)),
    "base64-twice": base64.encodebytes(base64.encodebytes(b"write to " + PLAIN)),
    "base64-after-text": b"token=abc" + base64.b64encode(b"user:" + PLAIN),
}


@pytest.mark.parametrize("content", HIDDEN.values(), ids=HIDDEN)
def test_it_is_found_wherever_it_hides(content: bytes) -> None:
    """12.7-200"""
    assert occurs(REAL, content)
    assert leak.occurs([REAL], content)
    around = b"Subject: x\r\n\r\nHello,\r\n" + content + b"\r\nBye\r\n"
    assert occurs(REAL, around)
    assert leak.occurs([REAL], around)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"real@inbox.exampl",
        b"real@outbox.example",
        b"real inbox.example",
        b"inbox.example real@",
        b"To: a1@alias.example\r\nReal Name <x@inbox.example>\r\n",
        base64.encodebytes(b"real@outbox.example is somebody else"),
        b"=?utf-8?b?cmVhbEBpbg==?=",
        b"&#99999999999999999999999999;" + b"9" * 5000 + b"&#" + b"9" * 5000 + b";",
        bytes(range(256)) * 4,
    ],
    ids=range(10),
)
def test_it_is_not_found_where_it_is_not(content: bytes) -> None:
    assert not occurs(REAL, content)
    assert not leak.occurs([REAL], content)


def test_international_addresses_are_found_in_both_forms() -> None:
    address = parse_address("jos\u00e9@b\u00fccher.example")
    for text in ("jos\u00e9@xn--bcher-kva.example", "jos\u00e9@b\u00fccher.example"):
        assert leak.occurs([address], text.encode())
        assert leak.occurs([address], quopri.encodestring(text.encode()))
        assert leak.occurs([address], base64.b64encode(text.encode()))
    assert occurs("jos\u00e9@b\u00fccher.example", quote("jos\u00e9@b\u00fccher.example").encode())


def test_any_of_several_is_found() -> None:
    other = parse_address("other@inbox.example")
    assert leak.occurs([other, REAL], PLAIN)
    assert not leak.occurs([other], PLAIN)
    assert not leak.occurs([], PLAIN)


ENCODERS = [
    lambda text: text,
    lambda text: quopri.encodestring(text, quotetabs=True),
    lambda text: b"".join(b"=%02X" % octet for octet in text),
    lambda text: quote(text).encode(),
    lambda text: b"".join(b"&#%d;" % octet for octet in text),
    lambda text: b"".join(b"&#x%02X;" % octet for octet in text),
    base64.encodebytes,
    base64.urlsafe_b64encode,
    lambda text: words(text, "utf-8", 40),
    lambda text: words(text, "iso-8859-1", 40),
]
TEXTS = st.text("abc xyz,.:", max_size=60).map(str.encode)


@given(
    st.tuples(TEXTS, TEXTS, TEXTS, TEXTS),
    st.sampled_from(ENCODERS),
    st.sampled_from([PLAIN, PLAIN.upper(), PLAIN.title()]),
)
def test_both_find_it_anywhere_in_encoded_text(texts: tuple[bytes, ...], encoder: object, spelling: bytes) -> None:
    assert callable(encoder)
    before, start, end, after = texts
    content = before + b"\r\n" + encoder(start + spelling + end) + b"\r\n" + after
    assert occurs(REAL, content)
    assert leak.occurs([REAL], content)


@given(st.one_of(st.binary(max_size=300), st.text("=?&#;%+xb64q \r\n\\", max_size=300).map(str.encode)))
def test_any_octets_are_looked_through(content: bytes) -> None:
    assert not leak.occurs([REAL], content)
    assert not occurs(REAL, content)


@pytest.mark.parametrize(
    "content",
    [
        b"Hello world, this is text & more =3D %20 \r\n" * 25_000,
        base64.encodebytes(bytes(range(256)) * 3000),
        b"=" + b" " * 1_000_000,
        b"=?utf-8?q?" * 100_000,
        b"&#" * 500_000,
    ],
    ids=["text", "base64", "spaces", "words", "entities"],
)
def test_a_large_message_is_looked_through_at_once(content: bytes) -> None:
    began = time.process_time()
    assert not leak.occurs([REAL], content)
    assert time.process_time() - began < 0.5 * len(content) / 100_000
