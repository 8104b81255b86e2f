"""Threads of replies: the contact sees its own ids and ours, never those of the owner's mail program (spec 4.6)."""

import re
import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address
from mailrelay.core.header import split
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.ids import Known, Thread, cited, minted, threaded
from tests.unit.test_leak import occurs

ALIAS = Address("a1", "alias.example")
REAL = Address("real", "inbox.example")
HIDDEN = Hidden.of((REAL,), None, ALIAS)
KEY = bytes(range(32))
ALIAS_ID = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc")
NOTHING = Known()
OURS = f"<{'0' * 32}@alias.example>"


def thread(content: bytes, known: Known = NOTHING) -> Thread:
    message = split(content)
    return threaded(message, cited(message), known, OURS, HIDDEN)


def references(content: bytes, known: Known = NOTHING) -> bytes | None:
    field = thread(content, known).references
    return None if field is None else field.raw


def test_what_is_asked_about() -> None:
    message = split(b"Message-ID: \t<own@inbox.example> (x)\r\nReferences: <1@x> <2@x>\r\nIn-Reply-To: <2@x>\r\n\r\n")
    names = cited(message)
    assert (names.own, names.others) == ("<own@inbox.example>", ("<2@x>", "<1@x>"))


@pytest.mark.parametrize("field", [b"", b"Message-ID: own@inbox.example\r\n", b"Message-ID: <\xff@x>\r\n"])
def test_a_message_without_a_readable_id(field: bytes) -> None:
    assert cited(split(field + b"\r\n")).own is None


def test_row_101_copies_of_one_message_have_one_id() -> None:
    first = minted("<own@inbox.example>", ALIAS_ID, "alias.example", KEY)
    assert re.fullmatch(r"<[0-9a-f]{32}@alias\.example>", first)
    assert minted("<own@inbox.example>", ALIAS_ID, "alias.example", KEY) == first


def test_ids_of_ours_tell_nothing_about_each_other() -> None:
    other_alias = UUID(int=1)
    ids = {
        minted(token, alias, "alias.example", key)
        for token in ("<own@inbox.example>", "<own2@inbox.example>", "\udcff")
        for alias in (ALIAS_ID, other_alias)
        for key in (KEY, bytes(32))
    }
    assert len(ids) == 12


def test_the_message_gets_our_id() -> None:
    assert thread(b"Message-ID: <own@inbox.example>\r\n\r\n").message_id.raw == f"Message-ID: {OURS}\r\n".encode()


def test_ids_of_the_owner_become_ours() -> None:
    known = Known({"<own1@inbox.example>": "<ours1@alias.example>"})
    content = b"References: <77@shop.example> <own1@inbox.example>\r\nIn-Reply-To: <own1@inbox.example>\r\n\r\n"
    found = thread(content, known)
    assert found.references is not None and found.in_reply_to is not None
    assert found.references.raw == b"References: <77@shop.example> <ours1@alias.example>\r\n"
    assert found.in_reply_to.raw == b"In-Reply-To: <ours1@alias.example>\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"References: <77@shop.example>\r\n",
        b"references:<77@shop.example>\r\n\t<78@shop.example>\r\n",
        b"REFERENCES:\r\n <77@shop.example>   <our.old@alias.example> \r\n",
    ],
)
def test_a_field_that_needs_no_change_keeps_its_octets(raw: bytes) -> None:
    assert references(raw + b"\r\n") == raw


@pytest.mark.parametrize(
    ("one", "kept_if_seen"),
    [
        ("<1@inbox.example>", True),
        ("<1@INBOX.example.>", True),
        ("<1@laptop.inbox.example>", True),
        ("<1.real@inbox.example.1@x.example>", False),
        ("<REAL=inbox.example.1@x.example>", False),
        ("<cmVhbEBpbmJveC5leGFtcGxl@x.example>", False),
    ],
)
def test_ids_that_tell_of_the_owner_go(one: str, kept_if_seen: bool) -> None:
    content = f"References: <77@shop.example> {one}\r\n\r\n".encode()
    assert references(content) == b"References: <77@shop.example>\r\n"
    seen = references(content, Known(seen=frozenset({one})))
    assert (seen == content[:-2]) is kept_if_seen


def test_an_alias_below_the_owners_domain_keeps_its_ids() -> None:
    message = split(b"References: <old@a.inbox.example>\r\n\r\n")
    found = threaded(message, cited(message), Known(), "<0@a.inbox.example>", HIDDEN)
    assert found.references is not None


@pytest.mark.parametrize(
    "value",
    [b"", b"your mail of today", b"<1@inbox.example>", b"<broken\r\n id@x>", b"<\xff@x>", b"<" + b"a" * 990 + b"@x>"],
)
def test_a_field_without_ids_that_may_go_out_is_left_out(value: bytes) -> None:
    assert references(b"References: %b\r\n\r\n" % value) is None


def test_nothing_but_ids_stays() -> None:
    content = b'In-Reply-To: Message from "Real" <real@inbox.example> of today <77@shop.example>\r\n\r\n'
    found = thread(content).in_reply_to
    assert found is not None and found.raw == b"In-Reply-To: <77@shop.example>\r\n"


def test_a_map_that_is_no_id_replaces_by_nothing() -> None:
    assert references(b"References: <1@x>\r\n\r\n", Known({"<1@x>": "<2@x>\r\nBcc: <x@y>"})) is None


def test_of_many_ids_the_last_stay_and_lines_are_short() -> None:
    ids = [f"<{n}.long.enough@shop.example>" for n in range(300)]
    raw = references(f"References: {' '.join(ids)}\r\n\r\n".encode())
    assert raw is not None and max(map(len, raw.split(b"\r\n"))) <= 78
    assert raw.decode().split()[1:] == ids[100:]


def test_ids_that_nobody_was_asked_about_are_not_written() -> None:
    content = b"References: <1@x.example>\r\nReferences: <2@x.example>\r\n\r\n"
    assert references(content) == b"References: <1@x.example>\r\n"


PIECES = [
    "<1@inbox.example>",
    "<real@inbox.example>",
    "real@inbox.example",
    "<77@shop.example>",
    " ",
    "\r\n ",
    "<",
    ">",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12), st.sets(st.sampled_from(PIECES)))
def test_no_address_gets_through(pieces: list[str], seen: set[str]) -> None:
    content = b"References: %b\r\n\r\n" % "".join(pieces).encode("utf-8", "replace")
    raw = references(content, Known(seen=frozenset(seen))) or b""
    assert not occurs(REAL, raw)
    assert raw.isascii()


@pytest.mark.parametrize("piece", [b"<1@x> ", b"<", b"<real@inbox.example>", b"<" + b"a" * 800 + b"@x>"])
def test_time_is_linear(piece: bytes) -> None:
    content = b"References: %b\r\n\r\n" % (piece * (100_000 // len(piece)))
    began = time.process_time()
    thread(content)
    assert time.process_time() - began < 0.5
