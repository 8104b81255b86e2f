"""What counts as written by a machine, and whom we answer (spec section 9.3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address
from mailrelay.core.automatic import is_automatic, is_backscatter, is_report, may_answer
from mailrelay.core.header import split
from mailrelay.core.realm import Realm

REALM = Realm(
    frozenset({"relay.example"}), "srs.relay.example", "bounces.relay.example", shared=frozenset({"alias.example"})
)
ALICE = Address("alice", "inbox.example")
REPORT = b"Content-Type: multipart/report; report-type=delivery-status\r\n"


@pytest.mark.parametrize(
    ("header", "automatic"),
    [
        (b"", False),
        (b"Auto-Submitted: no\r\n", False),
        (b"Auto-Submitted: No (a human)\r\n", False),
        (b"Auto-Submitted:\r\n", False),
        (b"auto-submitted: Auto-Replied; owner-email=x@y.example\r\n", True),
        (b"Auto-Submitted: no\r\nAuto-Submitted: auto-generated\r\n", True),
        (b"Precedence: Auto_Reply\r\n", True),
        (b"Precedence: bulk\r\n", False),
        (b"X-Autoreply: yes\r\n", True),
        (b"X-Autoreply-From: x\r\n", False),
    ],
)
def test_a_machine_is_told_by_its_words(header: bytes, automatic: bool) -> None:
    message = split(header + b"\r\nhello\r\n")
    assert is_automatic(message, "alice@inbox.example") is automatic
    assert is_automatic(message, "")


@pytest.mark.parametrize(
    ("header", "sender", "answered"),
    [
        (b"", ALICE, True),
        (b"Precedence: first-class\r\n", ALICE, True),
        (b"", None, False),
        (b"Auto-Submitted: auto-replied\r\n", ALICE, False),
        (b"List-Id: <l.inbox.example>\r\n", ALICE, False),
        (b"Precedence: BULK\r\n", ALICE, False),
        (b"Precedence: list\r\n", ALICE, False),
        (b"Precedence: normal\r\nPrecedence: junk\r\n", ALICE, False),
        (b"", Address("a1", "alias.example"), False),
        (b"", Address("x", "u1.alias.example"), False),
        (b"", Address("x", "relay.example"), False),
    ],
)
def test_only_people_elsewhere_are_answered(header: bytes, sender: Address | None, answered: bool) -> None:
    assert may_answer(split(header), sender, REALM) is answered


@pytest.mark.parametrize(
    ("header", "sender", "foreign", "backscatter"),
    [
        pytest.param(REPORT, "", False, True, id="12.6-170"),
        pytest.param(REPORT, "", True, False, id="accept_foreign_dsn"),
        pytest.param(REPORT, "x@y.example", False, False, id="with-sender"),
        pytest.param(b"Auto-Submitted: auto-replied\r\n", "", False, False, id="out-of-office"),
        pytest.param(b"", "", False, False, id="null-sender"),
    ],
)
def test_backscatter_is_a_report_from_nobody(header: bytes, sender: str, foreign: bool, backscatter: bool) -> None:
    assert is_backscatter(split(header), sender, accept_foreign_dsn=foreign) is backscatter


@given(st.binary(max_size=200), st.sampled_from(["", "a@x.example"]))
def test_any_octets_are_classified(content: bytes, sender: str) -> None:
    message = split(b"Auto-Submitted: " + content)
    is_automatic(message, sender)
    is_report(message)
    may_answer(message, ALICE, REALM)
