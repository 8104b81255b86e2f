"""The fields that every copy adds."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailrelay.core.header import MAX_VALUE_OCTETS, Field, fold, split
from mailrelay.core.letterhead import Header, added, feedback_id
from tests.unit.example import ALIAS_ID, KEY

TEXTS = st.text(alphabet="ab <>,;=", max_size=400) | st.text(max_size=60)


@settings(max_examples=500)
@given(TEXTS, st.sampled_from(["X-Foo", "X-Mailrelay-Original-Sender-Address", "X-" + "n" * 90]))
@example("", "X-Foo")
@example("a" * MAX_VALUE_OCTETS, "X-Foo")
@example("a" * 100 + " " + "b" * MAX_VALUE_OCTETS, "X-Foo")
@example("a " * 600, "X-Foo")
def test_the_quick_way_folds_like_the_slow_one(value: str, name: str) -> None:
    assert added(name, value) == Field(name.lower().encode(), fold(name, value))


@pytest.mark.parametrize(("kind", "mode"), [("F", "rewrite"), ("R", "relay")])
def test_feedback_ids_name_the_alias_by_a_mac(kind: str, mode: str) -> None:
    assert feedback_id(kind, ALIAS_ID, mode, "mailrelay", KEY) == f"{kind}:6a03c376ef1d:{mode}:mailrelay"


def test_what_goes_on_top_stays_below_an_mbox_line() -> None:
    header = Header(b"From x\r\n", (Field(b"to", b"To: y\r\n"),)).topped([b"DKIM-Signature: a\r\n", b"ARC-Seal: b\r\n"])
    assert header.block == b"From x\r\nDKIM-Signature: a\r\nARC-Seal: b\r\nTo: y\r\n"
    assert [field.name for field in header.fields] == [b"dkim-signature", b"arc-seal", b"to"]
    assert split(header.block).fields[1:] == header.fields
