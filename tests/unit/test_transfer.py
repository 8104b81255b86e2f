"""Transfer encodings and charsets: what comes out is what went in."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailrelay.core import charset
from mailrelay.core.mime import ENCODINGS
from mailrelay.core.transfer import decode, encode, insert, long_lines

QP = b"quoted-printable"


@settings(max_examples=300)
@example(b"a\nb", QP)
@example(b"a\rb\r\n \x00", QP)
@example(b"x" * 200, QP)
@given(
    st.binary(max_size=200) | st.text("aé= .\t\r\n\0", max_size=300).map(str.encode), st.sampled_from(sorted(ENCODINGS))
)
def test_what_is_encoded_decodes_to_the_same(text: bytes, encoding: bytes) -> None:
    encoded = encode(text, encoding)
    assert decode(encoded, encoding) == text
    if encoding in (QP, b"base64"):
        assert encoded.isascii()
        lines = encoded.split(b"\r\n")
        assert not any(end in line for line in lines for end in (b"\r", b"\n", b"\0"))
        # b2a_qp gives a line with a stray line end in it one octet more than RFC 2045 section 6.7 allows.
        assert max(map(len, lines)) <= (76 if text.count(b"\n") == text.count(b"\r\n") else 77)


def test_soft_breaks_are_crlf_78() -> None:
    """Defect D14: `=` LF broke mail clients."""
    assert encode(b"x" * 100, QP) == b"x" * 75 + b"=\r\n" + b"x" * 25


@pytest.mark.parametrize("raw", [b"YW Jj!", b"YWJj\r\n\r\n_____\r\nfooter of a list\r\n", b"Y", b"YQ==YQ=="])
def test_wrong_base64_is_not_guessed_at(raw: bytes) -> None:
    assert decode(raw, b"base64") is None


QP_PIECES = st.sampled_from(
    [
        b"=",
        b"=3D",
        b"=3E",
        b">",
        b"=\r\n",
        b"=\n",
        b"==",
        b"a",
        b"b c",
        b"\r\n",
        b"\n",
        b"\r",
        b"=\r",
        b"=4",
        b" ",
        b"x" * 75,
    ]
)


@settings(max_examples=600)
@example([b"=", b"\n", b"=4"], 1, 2)
@example([b"=4"], 1, 1)
@given(st.lists(QP_PIECES, max_size=14), st.integers(0, 400), st.integers(0, 400))
def test_insertions_into_quoted_printable_leave_the_rest(pieces: list[bytes], first: int, second: int) -> None:
    raw = b"".join(pieces)
    text = decode(raw, QP)
    assert text is not None
    top, end = sorted((min(first, len(text)), min(second, len(text))))
    edited = insert(raw, text, QP, [(top, b"<\xe9>"), (end, b"end\r\n")])
    assert decode(edited, QP) == text[:top] + b"<\xe9>" + text[top:end] + b"end\r\n" + text[end:]


@pytest.mark.parametrize(
    ("raw", "offset", "edited"),
    [
        (b"<p>=3D\r\nb", 0, b"[]=\r\n<p>=3D\r\nb"),
        (b"<p>=3D\r\nb", 4, b"<p>=3D=\r\n[]=\r\n\r\nb"),
        (b"<p>=3D\r\nb", 6, b"<p>=3D\r\n[]=\r\nb"),
        (b"<p>=3D\r\nb", 7, b"<p>=3D\r\nb=\r\n[]"),
        (b"a" * 75 + b">\r\nb", 76, b"a" * 75 + b"=\r\n>=\r\n[]=\r\n\r\nb"),
        (b"a=", 1, b"a=\r\n[]=\r\n="),
    ],
)
def test_lines_of_quoted_printable_stay_short(raw: bytes, offset: int, edited: bytes) -> None:
    text = decode(raw, QP)
    assert text is not None
    assert insert(raw, text, QP, [(offset, b"[]")]) == edited


def test_far_offsets_are_found() -> None:
    raw = b"".join(b"line %d =C3=A9 soft=\r\n break\r\n" % number for number in range(2000))
    text = decode(raw, QP)
    assert text is not None
    for offset in range(1, len(text), 4999):
        edited = insert(raw, text, QP, [(offset, b"[]")])
        assert decode(edited, QP) == text[:offset] + b"[]" + text[offset:]
        assert len(edited) - len(raw) <= 8


def test_base64_keeps_its_last_line_end() -> None:
    assert insert(b"YQ==\r\n", b"a", b"base64", [(1, b"b")]) == b"YWI=\r\n"
    assert insert(b"YQ==", b"a", b"base64", [(0, b"b")]) == b"YmE="


@pytest.mark.parametrize(
    ("text", "long"),
    [
        (b"", False),
        (b"x" * 990, False),
        (b"x" * 990 + b"\r\n", False),
        (b"x" * 991, True),
        (b"x" * 991 + b"\r\n", True),
        (b"short\r\n" * 500 + b"x" * 991 + b"\r\n" + b"short\r\n" * 500, True),
        (b"short\r\n" * 5000, False),
        ((b"x" * 990 + b"\r\n") * 5, False),
        ((b"x" * 990 + b"\r\n") * 5 + b"x" * 991, True),
    ],
    ids=range(9),
)
def test_long_lines_94(text: bytes, long: bool) -> None:
    assert long_lines(text) is long
    assert long_lines(b"y" * 2000 + b"\r\n" + text + b"\r\n" + b"y" * 2000, 2002, 2002 + len(text)) is long


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        (b"UTF-8", "utf-8"),
        (b"", "ascii"),
        (b" 'iso-8859-1' ", "iso8859-1"),
        (b"gb2312", "gbk"),
        (b"Windows-1251", "cp1251"),
        (b"utf-7", None),
        (b"zlib", None),
        (b"rot13", None),
        (b"x" * 10_000, None),
        (b"\xff\0", None),
    ],
)
def test_only_known_charsets_are_touched(name: bytes, codec: str | None) -> None:
    assert charset.codec(name) == codec


def test_every_charset_exists_and_ascii_means_itself() -> None:
    ascii_text = "".join(map(chr, range(32, 127))) + "\r\n"
    for codec in set(charset._CODECS.values()):
        if charset.is_wide(codec):
            assert charset.narrow("\ufeffaé€".encode(codec), codec) == "aé€".encode()
        else:
            assert charset.encode(ascii_text, codec, markup=True).decode(codec) == ascii_text
            markup = charset.encode("<é€\U0001f600>", codec, markup=True)
            assert markup.startswith(b"<") and markup.endswith(b">")


def test_row_80_characters_outside_a_charset() -> None:
    assert charset.encode("ł €", "iso8859-2", markup=True) == b"\xb3 &#8364;"
    assert charset.encode("ł €", "iso8859-2", markup=False) == b"\xb3 ?"


def test_escape_sequences_hide_what_looks_like_markup() -> None:
    text = "<p>日本</p>".encode("iso2022_jp")
    view = charset.view(text, "iso2022_jp")
    assert view is not None
    assert len(view) == len(text)
    assert view.replace(b" ", b"") == b"<p>\x1b(B</p>"
    assert charset.view(text[: text.index(b"\x1b(B")], "iso2022_jp") is None


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_text_without_a_mark_is_recognised(codec: str) -> None:
    assert charset.narrow("<html>hello é".encode(codec), codec[:6]) == "<html>hello é".encode()


def test_text_that_is_not_wide_is_not_converted() -> None:
    assert charset.narrow(b"odd", "utf-16") is None
    assert charset.narrow(b"\x00\xd8\x00\xd8", "utf-16-le") is None
