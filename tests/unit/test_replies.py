"""Replies as mail programs write them: the history is found and scrubbed, and what the author wrote stays.

In each of tests/data/replies the author once says `real@inbox.example`; whatever else names it is history, as are the
reverse address, our banner and its link.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailrelay.core import charset, transfer
from mailrelay.core.address import Address, parse_address
from mailrelay.core.header import Message, split
from mailrelay.core.mime import tree
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.leaks import Leak, Place
from mailrelay.core.sending.scrub import Scrubbing, edit

REPLIES = sorted((Path(__file__).parents[1] / "data" / "replies").glob("*.eml"))
PROSE = "Write to real@inbox.example instead."
ALIAS = Address("a1", "alias.example")
HIDDEN = Hidden.of([parse_address("real@inbox.example"), parse_address("second@inbox2.example")], None, ALIAS)
QUOTED = Scrubbing(ALIAS, HIDDEN, "app.relay.example", names={"help@shop.example": "Support Desk"})
ALL = Scrubbing(ALIAS, HIDDEN, "app.relay.example", names={"help@shop.example": "Support Desk"}, mode="all")

each_reply = pytest.mark.parametrize("path", REPLIES, ids=lambda path: path.stem)


def texts(message: Message) -> Iterator[str]:
    """What the parts say, as another program reads it."""
    for leaf in tree(message).leaves(embedded=True):
        said = transfer.decode(message.content[leaf.body_start : leaf.body_end], leaf.encoding)
        assert said is not None
        yield said.decode(charset.codec(leaf.params.get(b"charset", b"")) or "latin-1")


def test_there_are_enough() -> None:
    assert len(REPLIES) >= 40


@each_reply
def test_rows_111_112_and_113_history_is_scrubbed_and_prose_is_not(path: Path) -> None:
    message = split(path.read_bytes())
    done = edit(message, QUOTED)
    before, after = list(texts(message)), list(texts(done.message))
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert old.count(PROSE) == 1 and new.count(PROSE) == 1
        assert new.partition(PROSE)[0] == old.partition(PROSE)[0]
        rest = new.replace(PROSE, "").lower()
        for hidden in ("real@", "real%40", "real&#", "a1+help", "a1%2bhelp", "help at shop.example", "mailrelay"):
            assert hidden not in rest
        assert "app.relay.example" not in rest and "deactivate/" not in rest and "mr-banner" not in rest
        assert "order" in rest or "bestellung" in rest
        assert "a1@alias.example" in rest or "a1%40alias.example" in rest
    assert {leak.place for leak in done.leaks} == {Place.PROSE}


@each_reply
def test_row_112_everything_is_replaced_if_the_owner_wants_it(path: Path) -> None:
    done = edit(split(path.read_bytes()), ALL)
    for text in texts(done.message):
        assert "real@" not in text and PROSE.replace("real@inbox.example", str(ALIAS)) in text
    assert done.leaks == ()


@each_reply
def test_what_was_scrubbed_needs_no_more(path: Path) -> None:
    done = edit(split(path.read_bytes()), QUOTED)
    again = edit(done.message, QUOTED)
    assert again.message is done.message and again.fields == {}


@each_reply
def test_only_what_changed_is_written_anew(path: Path) -> None:
    """Prose in front of the history, in the encoding it came in, keeps its octets."""
    message = split(path.read_bytes())
    done = edit(message, QUOTED)
    assert {field.name for field in done.message.fields} == {field.name for field in message.fields}
    assert [one.raw for one in done.message.fields if not one.name.startswith(b"content-")] == [
        one.raw for one in message.fields if not one.name.startswith(b"content-")
    ]


def test_leaks_are_told_once() -> None:
    path = next(one for one in REPLIES if one.stem == "mutt-plain")
    assert edit(split(path.read_bytes()), QUOTED).leaks == (Leak(Place.PROSE, "text/plain"),)
