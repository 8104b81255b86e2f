"""Copies that came back are read whatever is in them."""

import random
import time
from pathlib import Path

import pytest

from mailrelay.core.header import split
from mailrelay.core.ledger import OutboundId
from mailrelay.core.returned import restored

ID = OutboundId(0x0123456789ABCDEF)
PREFIX = "X-Mailrelay-"
STORED = Path(__file__).parent.parent / "golden" / "resent"
REWRITTEN = (STORED / "172-returned-rewritten" / "stored.eml").read_bytes()
ABOUT = b"X-Mailrelay-Mode: rewrite\r\nX-Mailrelay-Id: 0123456789abcdef\r\n"


def content(copy: bytes) -> bytes:
    found = restored(split(copy), ID, "real@inbox.example", PREFIX)
    assert found is not None
    return found.content


@pytest.mark.parametrize("seed", range(300))
def test_any_octets_are_read(seed: int) -> None:
    chance = random.Random(seed)
    octets = bytearray(REWRITTEN)
    for _ in range(chance.randrange(1, 40)):
        at = chance.randrange(len(octets))
        octets[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    found = restored(split(bytes(octets)), ID, "real@inbox.example", PREFIX)
    if found is not None:
        assert split(found.content).count(b"x-mailrelay-id") == 0


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"X-Mailrelay-Id: 0123456789abcdee\r\n",
        b"X-Mailrelay-Id: 0123456789abcdef\r\nX-Mailrelay-Id: 0123456789abcdef\r\n",
    ],
    ids=["none", "another", "two"],
)
def test_what_is_no_copy_of_that_number_is_none(fields: bytes) -> None:
    assert restored(split(fields + b"From: a@shop.example\r\n\r\n"), ID, "real@inbox.example", PREFIX) is None


def test_a_copy_without_what_it_replaces_is_left_alone() -> None:
    """Such as an untouched one that hosts on its way have changed."""
    rest = b"From: a@shop.example\r\nReply-To: b@shop.example\r\nTo: a1@alias.example\r\n\r\nbody\r\n"
    assert content(ABOUT.replace(b"rewrite", b"transparent") + rest) == rest


def test_many_pieces_of_a_list_are_one() -> None:
    said = b"".join(b"X-Mailrelay-Original-To: friend%d@elsewhere.example,\r\n" % number for number in range(3))
    assert split(content(ABOUT + said + b"To: a1@alias.example\r\n\r\n")).values(b"to") == [
        b"friend0@elsewhere.example, friend1@elsewhere.example, friend2@elsewhere.example,"
    ]


def test_marks_of_earlier_aliases_stay() -> None:
    copy = ABOUT + b"X-Mailrelay-Loop: v1; own\r\nSubject: x\r\nX-Mailrelay-Loop: v1; earlier\r\n\r\n"
    assert content(copy) == b"Subject: x\r\nX-Mailrelay-Loop: v1; earlier\r\n\r\n"


def test_a_header_without_end_costs_linear_time() -> None:
    def seconds(fields: int) -> float:
        copy = ABOUT + b"X-Mailrelay-Original-To: a@shop.example,\r\nList-Post: <mailto\r\n" * fields
        started = time.process_time()
        content(copy)
        return time.process_time() - started

    assert min(seconds(4000) for _ in range(3)) < 8 * min(seconds(1000) for _ in range(3))
