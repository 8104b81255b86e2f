"""Fields that did not fit: long lines, and octets that need SMTPUTF8."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core import phrase
from mailrelay.core.fitting import MAX_LINE_OCTETS, in_ascii, is_structured, short_lines
from mailrelay.core.header import Field, split


def fit(raw: bytes) -> bytes:
    [field] = split(raw).fields
    fitted = short_lines(field)
    assert fitted.name == field.name
    assert longest(fitted.raw) <= MAX_LINE_OCTETS
    return fitted.raw


def longest(raw: bytes) -> int:
    return max(len(re.sub(rb"\r\Z", b"", line)) for line in raw.split(b"\n"))


@pytest.mark.parametrize("name", [b"X-Foo", b"Message-ID"])
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b""])
def test_998_octets_fit(name: bytes, end: bytes) -> None:
    raw = name + b":" + b"x" * (MAX_LINE_OCTETS - len(name) - 1) + end
    assert fit(raw) == raw
    assert fit(raw + b" y" * 499 + end) != raw


def test_lines_are_cut_before_white_space_and_unfold_to_the_same() -> None:
    raw = b"References: " + b"<0123456789@shop.example>\t " * 200 + b"end\r\n"
    assert fit(raw).replace(b"\r\n", b"") == raw.replace(b"\r\n", b"")
    assert fit(raw).count(b"\r\n") == 1 + len(raw) // MAX_LINE_OCTETS


def test_lines_that_fit_stay_beside_those_that_do_not() -> None:
    raw = b"X-Foo: a\r\n\tb  c\r\n " + b"word " * 300 + b"\n\tlast\r\n"
    assert fit(raw).startswith(b"X-Foo: a\r\n\tb  c\r\n word word")
    assert fit(raw).endswith(b"word\n\tlast\r\n")


def test_text_without_white_space_becomes_encoded_words() -> None:
    token = b"".join(b"%d" % number for number in range(900))
    fitted = fit(b"X-Foo: before %b after\r\n" % token)
    assert fitted.startswith(b"X-Foo: before =?utf-8?b?")
    assert phrase.decoded(Field(b"", fitted).value) == f"before {token.decode()} after"


def test_foreign_text_without_white_space_becomes_encoded_words() -> None:
    text = "ü" * 2000
    assert phrase.decoded(Field(b"", fit(f"Subject: {text}\r\n".encode())).value) == text


def test_a_structured_token_is_cut() -> None:
    token = b"<" + b"x" * 3000 + b"@shop.example>"
    fitted = fit(b"Message-ID: %b\r\n" % token)
    assert re.sub(rb"\s", b"", fitted) == b"Message-ID:" + token


def test_nothing_but_white_space_does_not_end_the_header() -> None:
    assert fit(b"X-Foo: a\r\n" + b" " * 2000 + b"\r\n b\r\n") == b"X-Foo: a\r\n \r\n b\r\n"
    assert fit(b"X-Foo:" + b" " * 2000 + b"\r\n") == b"X-Foo:\r\n"


@pytest.mark.parametrize("name", [b"x-foo", b"subject", b"keywords", b"comments"])
def test_text_may_hold_encoded_words(name: bytes) -> None:
    assert not is_structured(name)


@pytest.mark.parametrize("name", [b"from", b"arc-seal", b"list-id", b"resent-to", b"content-type"])
def test_structure_may_not(name: bytes) -> None:
    assert is_structured(name)


def ascii_of(text: str) -> bytes | None:
    [field] = split(text.encode()).fields
    said = in_ascii(field)
    assert said is None or (said.raw.isascii() and said.name == field.name and len(split(said.raw).fields) == 1)
    return said.raw if said else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Subject:  plain \r\n", b"Subject:  plain \r\n"),
        ("Subject: grün\r\n\tund blau\r\n", b"Subject: =?utf-8?q?gr=C3=BCn_und_blau?=\r\n"),
        (
            'Content-Type: text/plain; x=ü; name="ü.txt"\r\n',
            b'Content-Type: text/plain; x=??; name="=?utf-8?b?w7wudHh0?="\r\n',
        ),
        ("List-Help: <https://x/ü> (ü)\r\n", b"List-Help: <https://x/%C3%BC> (??)\r\n"),
        ("Received: from ü.example\r\n\tby x\r\n", b"Received: from ??.example\r\n\tby x\r\n"),
        ("List-Id: Grüße <news.x.example>\r\n", b"List-Id: =?utf-8?b?R3LDvMOfZQ==?= <news.x.example>\r\n"),
        ("List-Id: \u202e <news.x.example>\r\n", b"List-Id: <news.x.example>\r\n"),
        ("List-Id: Grüße <grüße.x.example>\r\n", None),
        ("List-Id: grüße.x.example\r\n", None),
        (
            'Resent-To: "Jörg" <j@x.example>, y@x.example\r\n',
            b"Resent-To: =?utf-8?b?SsO2cmc=?= <j@x.example>, y@x.example\r\n",
        ),
        ("Resent-Sender: Jörg <j@x.example>, ü@x.example\r\n", None),
        ("Resent-Cc: Jörg\r\n", None),
        ("Resent-Message-ID: <ü@x>\r\n", None),
        ("Message-ID: <ü@x>\r\n", None),
        ("Resent-To: ü@x\r\n", None),
    ],
)
def test_without_smtputf8(text: str, expected: bytes | None) -> None:
    assert ascii_of(text) == expected


def test_octets_that_are_no_text_can_be_said_as_well() -> None:
    field = in_ascii(Field(b"subject", b"Subject: \xff\xfe\r\n"))
    assert field is not None and field.raw.isascii()


PIECES = st.sampled_from(
    [b" ", b"\t", b"\r\n ", b"\n\t", b"\r", b"x" * 500, b"y" * 998, b'"', b"\\", b"<", b">", b"\xff"]
)
NAMES = st.sampled_from(
    [b"X-Foo", b"Subject", b"Message-ID", b"Content-Type", b"List-Post", b"List-Id", b"Resent-To", b"N" * 1200]
)
ENDS = st.sampled_from([b"\r\n", b"\n", b""])


@settings(max_examples=300)
@given(NAMES, st.lists(PIECES | st.binary(max_size=9), max_size=12).map(b"".join), ENDS)
def test_whatever_comes_fits(name: bytes, value: bytes, end: bytes) -> None:
    field = split(name + b":" + value + end).fields[0]
    said = in_ascii(field)
    for one in (field, said) if said is not None else (field,):
        fitted = short_lines(one)
        assert longest(fitted.raw) <= MAX_LINE_OCTETS
        assert short_lines(fitted) == fitted
        assert len(split(fitted.raw).fields) == 1


@pytest.mark.parametrize("octets", [b"x", b" ", b"=?", "ü".encode(), b"\xff", b'"', b"\\", b'\\"', b" x"])
@pytest.mark.parametrize("name", [b"X-Foo: ", b"Content-Type: ", b"List-Id: ", b"Resent-To: "])
def test_megabytes_take_their_time_and_no_more(name: bytes, octets: bytes) -> None:
    field = Field(name[:-2].lower(), name + octets * (500_000 // len(octets)) + b"\r\n")
    began = time.process_time()
    short_lines(field)
    in_ascii(field)
    assert time.process_time() - began < 10  # the square would be minutes
