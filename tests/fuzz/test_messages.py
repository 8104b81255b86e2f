"""Random octets as messages: every octet is accounted for, and nothing we add can be broken out of."""

import hashlib
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailrelay.core.dkim import body_hash
from mailrelay.core.header import edit, fold, split

PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"A: b\r\n",
        b"From u@x.example\r\n",
        b"From: u\r\n",
        b"\r\n\r\n",
        b"\xff",
        b"x",
    ]
)
CONTENTS = st.lists(PIECES | st.binary(max_size=12), max_size=25).map(b"".join)


@settings(max_examples=400)
@example(b"From u@x.example\r\n x\r\n")
@given(CONTENTS)
def test_the_pieces_joined_are_the_message(content: bytes) -> None:
    message = split(content)
    empty_line = content[message.header_end : message.body_start]
    assert b"".join(field.raw for field in message.fields) + empty_line + message.body == content
    assert empty_line in (b"", b"\n", b"\r\n")
    assert edit(message) == content
    assert edit(message, remove={b"not-there"}) == content


@settings(max_examples=400)
@given(CONTENTS)
def test_adding_fields_changes_neither_the_other_fields_nor_the_body(content: bytes) -> None:
    message = split(content)
    edited = split(edit(message, prepend=[b"X-New: 1\r\n", b"X-New: 2\r\n"]))
    assert edited.values(b"x-new")[:2] == [b"1", b"2"]
    kept = [field for field in edited.fields if field.name != b"x-new"]
    assert kept == [field for field in message.fields if field.name != b"x-new"]
    assert edited.body == message.body


@settings(max_examples=400)
@given(CONTENTS, st.sets(st.sampled_from([b"a", b"from", b"x"])))
def test_removed_names_are_gone_and_the_body_stays(content: bytes, names: set[bytes]) -> None:
    message = split(content)
    edited = split(edit(message, remove=names, prepend=[b"X-New: 1\r\n"]))
    assert not names & {field.name for field in edited.fields}
    assert edited.body == message.body


@settings(max_examples=400)
@given(st.text() | st.text("a ü\r\n\t:", max_size=1200))
def test_an_added_field_is_exactly_one_ascii_field(value: str) -> None:
    raw = fold("X-Mailrelay-Original-From", value)
    message = split(raw)
    assert [field.raw for field in message.fields] == [raw]
    assert raw.isascii()
    assert len(message.fields[0].value) <= 900
    lines = raw.split(b"\r\n")
    assert lines[-1] == b""
    assert all(line.strip() and not {0, 10, 13} & set(line) for line in lines[:-1])


@settings(max_examples=400)
@given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"x"]), max_size=30).map(b"".join))
def test_the_body_hash_is_that_of_the_rules(body: bytes) -> None:
    arriving = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
    relaxed = re.sub(rb"[ \t]+", b" ", arriving).replace(b" \r\n", b"\r\n")
    while relaxed.endswith(b"\r\n"):
        relaxed = relaxed[:-2]
    assert body_hash(body) == hashlib.sha256(relaxed + b"\r\n" if relaxed else b"").digest()
