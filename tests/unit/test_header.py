"""The byte view of messages: what is found, what stays identical, what we add."""

import re
from email.header import decode_header, make_header

import pytest

from mailrelay.core.header import MAX_FIELDS, Field, edit, fold, split, unfold

MAIL = (
    b"Received: from mta.shop.example\r\n\tby mx.relay.example;\r\n\tTue,  6 Jan 2026 09:00:01 +0000\r\n"
    b"From: news@shop.example\r\n"
    b"SUBJECT : Your order 77 \r\n"
    b"X-Empty:\r\n"
    b"subject: again\r\n"
    b"X_odd!name: \xff\xfe\r\n"
    b"\r\n"
    b"Subject: in the body\r\n"
)


def test_fields_are_found_whatever_their_case() -> None:
    message = split(MAIL)
    names = [b"received", b"from", b"subject", b"x-empty", b"subject", b"x_odd!name"]
    assert [field.name for field in message.fields] == names
    assert message.values(b"subject") == [b"Your order 77", b"again"]
    assert message.count(b"subject") == 2
    assert message.first(b"subject") == b"Your order 77"
    assert message.first(b"x-empty") == b""
    assert message.body == b"Subject: in the body\r\n"


def test_absent_fields_are_none_and_no_values() -> None:
    message = split(MAIL)
    assert message.first(b"cc") is None
    assert message.values(b"cc") == []
    assert message.count(b"cc") == 0


def test_folded_values_come_on_one_line() -> None:
    expected = b"from mta.shop.example\tby mx.relay.example;\tTue,  6 Jan 2026 09:00:01 +0000"
    assert split(MAIL).first(b"received") == expected
    assert unfold(b" a\r\n b\n\tc \r\n") == b"a b\tc"


def test_raw_fields_keep_their_folding() -> None:
    assert split(MAIL).fields[0].raw == MAIL[: MAIL.index(b"From:")]


@pytest.mark.parametrize(
    ("content", "names", "body"),
    [
        (b"", [], b""),
        (b"\r\n", [], b""),
        (b"\r\nhello\r\n", [], b"hello\r\n"),
        (b"A: b", [b"a"], b""),
        (b"A: b\r\n", [b"a"], b""),
        (b"A: b\r\n\r\n", [b"a"], b""),
        (b"A: b\n\nbody", [b"a"], b"body"),
        (b"A: b\r\nno colon here\r\nC: d\r\n\r\nbody", [b"a"], b"no colon here\r\nC: d\r\n\r\nbody"),
        (b"A: b\r\n: no name\r\n", [b"a"], b": no name\r\n"),
        (b"A: b\r\n\xe4: c\r\n", [b"a"], b"\xe4: c\r\n"),
        (b" folded from nowhere\r\nA: b\r\n", [], b" folded from nowhere\r\nA: b\r\n"),
        (b"A: b\r\n \r\n c\r\nD: e\r\n", [b"a", b"d"], b""),
        (b"A: b\rC: d\r\n\r\n", [b"a"], b""),
        (b"From u@x.example Tue Jan 6\r\nA: b\r\n\r\nc", [b"", b"a"], b"c"),
        (b">From u@x.example Tue Jan 6\r\nA: b\r\n\r\nc", [b"", b"a"], b"c"),
        (b"From : u@x.example\r\n\r\nc", [b"from"], b"c"),
        (b"A: b\r\nFrom u@x.example\r\n\r\nc", [b"a"], b"From u@x.example\r\n\r\nc"),
    ],
)
def test_odd_headers_are_cut_as_postfix_cuts_them(content: bytes, names: list[bytes], body: bytes) -> None:
    message = split(content)
    assert [field.name for field in message.fields] == names
    assert message.body == body


def test_an_unedited_message_keeps_every_octet() -> None:
    assert edit(split(MAIL)) == MAIL


def test_fields_go_by_name_and_others_stay_untouched() -> None:
    expected = MAIL.replace(b"SUBJECT : Your order 77 \r\n", b"", 1).replace(b"subject: again\r\n", b"", 1)
    assert edit(split(MAIL), remove={b"subject"}) == expected


def test_fields_go_by_predicate() -> None:
    message = split(MAIL)
    later = message.fields[4]
    assert edit(message, remove=lambda field: field is later) == MAIL.replace(b"subject: again\r\n", b"", 1)


def test_new_fields_come_on_top_in_order() -> None:
    assert edit(split(MAIL), prepend=[b"X-A: 1\r\n", b"X-B: 2\r\n"]) == b"X-A: 1\r\nX-B: 2\r\n" + MAIL


@pytest.mark.parametrize("body", [b" looks folded\r\n", b"no colon\r\n"])
def test_a_body_without_empty_line_stays_a_body(body: bytes) -> None:
    edited = split(edit(split(body), prepend=[b"X-A: 1\r\n"]))
    assert edited.values(b"x-a") == [b"1"]
    assert edited.body == body


def test_an_mbox_line_stays_on_top_and_is_never_removed() -> None:
    content = b"From u@x.example Tue Jan 6\r\nA: b\r\n\r\nc"
    edited = edit(split(content), remove={b"", b"a"}, prepend=[b"X-A: 1\r\n"])
    assert edited == b"From u@x.example Tue Jan 6\r\nX-A: 1\r\n\r\nc"


def test_a_header_of_countless_fields_ends_in_one_opaque_piece() -> None:
    content = b"a:\r\n" * (MAX_FIELDS + 3) + b"\r\nbody"
    message = split(content)
    assert message.fields[-1] == Field(b"", b"a:\r\n" * 3)
    assert len(message.fields) == MAX_FIELDS + 1
    assert message.body == b"body"
    assert edit(message) == content
    unended = b"a:\r\n" * (MAX_FIELDS + 3)
    assert edit(split(unended)) == unended


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("X-A", "b", b"X-A: b\r\n"),
        ("X-A", "", b"X-A:\r\n"),
        ("X-A", "  b  c ", b"X-A: b  c\r\n"),
        ("X-A", "a\r\nBcc: v@x.example\r\n\r\nbody", b"X-A: a Bcc: v@x.example body\r\n"),
        ("X-A", "a\0b\x7fc\u2028d\rf\x85g", b"X-A: a b c d f g\r\n"),
        ("X-A", '"M\xfcller" <m@x.example>', b"X-A: =?utf-8?b?Ik3DvGxsZXIi?= <m@x.example>\r\n"),
        ("X-A", "h\xf6 to h\xf6 end", b"X-A: =?utf-8?b?aMO2IHRvIGjDtg==?= end\r\n"),
        ("X-A", "\udcfc", b"X-A: =?utf-8?b?77+9?=\r\n"),
        ("X-A", "=?utf-8?q?=C3=BC?= x", b"X-A: =?utf-8?q?=C3=BC?= x\r\n"),
    ],
)
def test_added_fields(name: str, value: str, expected: bytes) -> None:
    assert fold(name, value) == expected


def test_long_values_are_folded_at_words() -> None:
    value = " ".join(f"word{number}" for number in range(60))
    lines = fold("X-Mailrelay-Test", value).split(b"\r\n")
    assert lines.pop() == b""
    assert len(lines) > 5
    assert all(len(line) <= 78 for line in lines)
    assert all(line.startswith(b"\tword") for line in lines[1:])
    assert b" ".join(line.strip() for line in lines).decode() == f"X-Mailrelay-Test: {value}"


def test_a_word_longer_than_the_line_is_left_whole() -> None:
    assert fold("X-A", f"a {'b' * 200} c") == b"X-A: a\r\n\t" + b"b" * 200 + b"\r\n\tc\r\n"


def test_the_limit_is_an_argument() -> None:
    assert fold("X-A", "bb cc", limit=9) == b"X-A: bb\r\n\tcc\r\n"
    assert fold("X-A", "bb cc", limit=10) == b"X-A: bb cc\r\n"


@pytest.mark.parametrize(
    "value", ["x" * 2000, "word " * 500, "a" * 899 + " bcd", "ü" * 2000, "a" * 890 + " ü", "ü " * 700 + "end"]
)
def test_values_end_at_900_octets(value: str) -> None:
    raw = fold("X-A", value)
    assert len(split(raw).fields[0].value) <= 900
    decoded = str(make_header(decode_header(split(raw).fields[0].value.decode("ascii"))))
    assert value.startswith(re.sub(r"\s+", " ", decoded))
    assert len(decoded) > 200


def test_encoded_words_are_short_and_cut_between_characters() -> None:
    value = "日本語の件名" * 12
    raw = fold("X-Mailrelay-Original-Subject", value)
    words = raw.split()[1:]
    assert len(words) > 3
    assert all(len(word) <= 75 for word in words)
    assert all(len(line) <= 78 for line in raw.split(b"\r\n"))
    for word in words:
        assert "\ufffd" not in str(make_header(decode_header(word.decode("ascii"))))
    assert str(make_header(decode_header(unfold(raw.partition(b":")[2]).decode("ascii")))) == value


@pytest.mark.parametrize("name", ["", "X A", "X:A", "X-Ä", "X\r\nA"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a field name"):
        fold(name, "b")
