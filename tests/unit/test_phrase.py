"""Encoded words both ways, and what a display name may hold."""

import time
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.phrase import decoded, encoded_words, name_of, sanitised, shortened

PIECES = st.lists(
    st.sampled_from([b"=?utf-8?q?", b"=?iso-2022-jp?b?", b"=?hz?B?", b"?=", b"=", b"?", b"a", b"\xe9", b" ", b"\r\n "])
).map(b"".join)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b"Your order 77", "Your order 77"),
        (b"two  spaces", "two  spaces"),
        (b"folded\r\n\tline", "folded line"),
        ("raw ü".encode(), "raw ü"),
        (b"raw \xfc", "raw \ufffd"),
        (b"=?utf-8?q?B=C3=BCro_77?=", "Büro 77"),
        (b"=?UTF-8?B?QsO8cm8=?=", "Büro"),
        (b"=?UTF-8?B?QsO8cm8?=", "Büro"),  # padding forgotten
        (b"=?UTF-8?B?Qs O8cm8=x?=", "Büro"),
        (b"=?utf-8*de?q?B=C3=BCro?=", "Büro"),  # RFC 2231 section 5
        (b"=?iso-8859-1?q?B=FCro?=", "Büro"),
        (b"=?iso-8859-1?q?=93B=FCro=94?=", "“Büro”"),  # windows-1252 under a wrong label
        (b"=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?gb2312?b?1tDOxA==?=", "中文"),
        (b"=?koi8-r?q?=F0=F2?=", "ПР"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),  # RFC 2047 section 6.2
        (b"=?utf-8?q?a?=\r\n =?utf-8?b?Yg==?=", "ab"),
        (b"=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),  # cut within a character
        (b"=?utf-8?q?=C3?= =?koi8-r?q?a?=", "\ufffda"),
        (b"x=?utf-8?q?a?=y", "xay"),
        (b"=?utf-8?q?what??=", "what?"),
        (b"=?utf-8?q?a b?=", "a b"),
        (b"=?unknown?q?=C3=BC=FC?=", "ü\ufffd"),
        (b"=?zip?q?a?=", "a"),
        (b"=?punycode?q?a-?=", "a-"),
        (b"=?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3F=3D?=", "=?utf-8?q?x?="),  # decoded once
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?utf-8?q?a", "=?utf-8?q?a"),
        (b"=?utf-8?q?a=0D=0ABcc:_b?=", "a Bcc: b"),
        (b"=?utf-16le?b?ANg=?=", "\ufffd"),
    ],
)
def test_encoded_words_are_decoded(value: bytes, text: str) -> None:
    assert decoded(value) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example Shop", "Example Shop"),
        ('" Name "', "Name"),
        ('\\" Name \\"', "Name"),
        ("'Name'", "Name"),
        ("The Smiths'", "The Smiths'"),
        ('"', ""),
        ('Jim "Jimmy" Doe', 'Jim "Jimmy" Doe'),
        ("DOMAIN\\user", "DOMAIN\\user"),
        ("Doe\\, John", "Doe, John"),
        ("  a \t b\r\n c ", "a b c"),
        pytest.param("a\r\nBcc: b@x.example", "a Bcc: b@x.example", id="12.3-62-line-ends"),
        pytest.param("a\0b\x1bc\x9bd\x7f", "abcd", id="12.3-62-controls"),
        pytest.param("a\u202eb\u202ac\u2066d\u2069", "abcd", id="12.3-62-bidi"),
        ("a\u2028b\u2029c", "a b c"),
        ("\ud800", "\ufffd"),
        pytest.param("x" * 300, "x" * 99 + "…", id="12.3-62-long"),
        ("x" * 100, "x" * 100),
        ("x" * 98 + " yz", "x" * 98 + "…"),
    ],
)
def test_names_are_sanitised(text: str, name: str) -> None:
    assert sanitised(text) == name


def test_a_name_is_decoded_then_sanitised() -> None:
    assert name_of(b"=?utf-8?q?=22B=C3=BCro=E2=80=AE=00=0D=0A_77=22?=") == "Büro 77"
    assert name_of(b"") == ""


def test_shortening_marks_what_was_cut() -> None:
    assert shortened("abcd", 4) == "abcd"
    assert shortened("abcde", 4) == "abc…"


@given(st.binary() | PIECES)
def test_any_octets_are_text_on_one_line(value: bytes) -> None:
    text = decoded(value)
    text.encode()  # no surrogates
    assert not set(text) & set("\r\n\0\u2028\u2029")


@given(st.text() | st.text("\\\"' ax…()\u202e\r\n", max_size=300))
def test_sanitising_twice_changes_nothing(text: str) -> None:
    name = sanitised(text)
    assert sanitised(name) == name
    assert len(name) <= 100
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in name)
    assert not set(name) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_encoded_words_say_the_same_everywhere(text: str) -> None:
    words = encoded_words(text)
    assert all(len(word) <= 75 for word in words)
    header = b" ".join(words)
    assert str(make_header(decode_header(header.decode("ascii")))) == text
    assert "".join(decoded(word) for word in words) == decoded(header)  # none ends within a character


def test_the_shorter_encoding_is_taken() -> None:
    assert encoded_words("Bücher und mehr") == [b"=?utf-8?q?B=C3=BCcher_und_mehr?="]
    assert encoded_words("日本語") == [b"=?utf-8?b?5pel5pys6Kqe?="]


@pytest.mark.parametrize(
    "piece", [b"=?utf-8?q?", b"=?hz?b?YQ?= ", b"=?", b"?=", b"=?x?q?=", b"=?utf-8?b?/w==?= ", b"=?a?q?b?==?c?q?d?="]
)
def test_word_bombs_take_little_time(piece: bytes) -> None:
    value = piece * (400_000 // len(piece))
    started = time.process_time()
    decoded(value)
    assert time.process_time() - started < 2  # the square would be minutes
