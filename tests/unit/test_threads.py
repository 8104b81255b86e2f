"""Ids of ours in an answer, and what the owner's mail program knows instead."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailrelay.core.header import split
from mailrelay.core.threads import MAX_IDS, referenced, restored

OURS, THEIRS, FOREIGN = "<0f0f@alias.example>", "<abc@mua.inbox.example>", "<1@shop.example>"
KNOWN = {OURS: THEIRS}


def test_row_74_our_id_becomes_the_owners() -> None:
    raw = b"References: <1@shop.example>\r\n\t<0f0f@alias.example>,<0f0f@alias.example.org>\r\n"
    assert restored(raw, KNOWN) == raw.replace(b"<0f0f@alias.example>", THEIRS.encode())


def test_row_74_whose_ids_are_looked_up() -> None:
    content = f"In-Reply-To: {OURS}\r\nReferences: <a@b>\r\n {FOREIGN}\r\n {OURS}\r\n\r\n{THEIRS}".encode()
    assert referenced(split(content)) == (OURS, FOREIGN, "<a@b>")


def test_the_nearest_of_many_are_looked_up() -> None:
    content = b"References: " + b" ".join(b"<%d@x>" % number for number in range(1000)) + b"\r\n\r\n"
    ids = referenced(split(content))
    assert len(ids) == MAX_IDS
    assert ids[:2] == ("<999@x>", "<998@x>")


@pytest.mark.parametrize(
    "raw",
    [
        b"References: <0f0f@\r\n alias.example>\r\n",
        b"In-Reply-To: 0f0f@alias.example\r\n",
        b"In-Reply-To: <\xff@x>\r\n",
    ],
)
def test_what_is_no_id_of_ours_keeps_its_octets(raw: bytes) -> None:
    assert restored(raw, KNOWN) == raw


def test_no_stored_id_breaks_out_of_the_field() -> None:
    raw = f"In-Reply-To: {OURS}\r\n".encode()
    assert restored(raw, {OURS: "<a>\r\nBcc: x@bad.example"}) == raw
    assert restored(raw, {OURS: "<ü@x>"}) == raw


PIECES = st.sampled_from(["<", ">", "@", OURS, THEIRS, " ", "\r\n ", "a", "ü", "\0"])


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_only_our_ids_change(value: str) -> None:
    raw = f"References: {value}\r\n".encode()
    assert restored(raw, {}) == raw
    assert restored(restored(raw, KNOWN), {THEIRS: OURS}) == restored(raw, {THEIRS: OURS})
    referenced(split(raw))
