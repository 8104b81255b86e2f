"""Headers compared field by field."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.header import split
from mailrelay.core.headerdiff import MAX_COMPARED, compare


def told(before: bytes, after: bytes) -> list[str]:
    return [str(line) for line in compare(split(before).fields, split(after).fields)]


def test_what_stays_goes_and_comes() -> None:
    before = b"From: a@shop.example\r\nTo: b@alias.example\r\nSubject: x\r\n\r\n"
    after = b"X-New: 1\r\nFrom: c@alias.example\r\nTo: b@alias.example\r\nSubject: x\r\n\r\n"
    assert told(before, after) == [
        "-From: a@shop.example",
        "+X-New: 1",
        "+From: c@alias.example",
        " To: b@alias.example",
        " Subject: x",
    ]


def test_every_line_of_a_folded_field_is_marked() -> None:
    assert told(b"", b"Subject: a\r\n\tb\n c\r\n\r\n") == ["+Subject: a", "+\tb", "+ c"]


def test_octets_that_are_no_text_do_not_stop_it() -> None:
    assert told(b"Subject: \xff\r\n\r\n", b"\r\n") == ["-Subject: �"]


@pytest.mark.parametrize("count", [MAX_COMPARED, 50 * MAX_COMPARED])
def test_many_fields_take_no_time(count: int) -> None:
    before = split(b"".join(b"A%d: 1\r\n" % n for n in range(count)) + b"\r\n").fields
    after = split(b"".join(b"B%d: 1\r\n" % n for n in range(count)) + b"\r\n").fields
    started = time.process_time()
    lines = compare(before, after)
    assert sum(line.mark == "-" for line in lines) == count
    assert time.process_time() - started < 3


FIELDS = st.lists(st.sampled_from([b"A: 1\r\n", b"B: 2\r\n", b"C: 3\r\n\tx\r\n"]), max_size=8)


@given(FIELDS, FIELDS)
def test_both_headers_can_be_read_from_it(before: list[bytes], after: list[bytes]) -> None:
    lines = compare(split(b"".join(before) + b"\r\n").fields, split(b"".join(after) + b"\r\n").fields)
    for marks, header in ((" -", before), (" +", after)):
        text = "".join(f"{line.text}\r\n" for line in lines if line.mark in marks)
        assert text.encode() == b"".join(header)
