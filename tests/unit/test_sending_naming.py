"""Names that lead to the owner's host or provider, and what stands for them."""

import pytest

from mailrelay.core.address import parse_address
from mailrelay.core.sending.hidden import Hidden
from mailrelay.core.sending.naming import Naming
from tests.unit.sent import ALIAS, HIDDEN

NAMING = Naming(ALIAS, HIDDEN, b"key")


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        *((b"part1@inbox.example", True), (b"x@Mail.INBOX.example>", True), (b"dns; mx.inbox.example", True)),
        *((b"=_real=inbox.example_1", True), (b"real=40inbox.example", True), (b"real%2540inbox.example", True)),
        *((b"x@inbox.example.", True), (b"x@inbox2.example", True), (b"Apple-Mail-inbox.example", False)),
        *((b"x@myinbox.example", False), (b"x@inbox.example.org", False), (b"x@inbox.examples", False)),
        *((b"x@a.example", False), (b"40inbox.example", False)),
    ],
)
def test_domains_and_hosts_below_them_tell(text: bytes, tells: bool) -> None:
    assert NAMING.tells_domain(text) is tells


def test_the_alias_own_domain_tells_nothing() -> None:
    hidden = Hidden.of([parse_address("real@alias.example")], None, ALIAS)
    naming = Naming(ALIAS, hidden, b"key")
    assert not naming.tells_domain(b"x@alias.example") and naming.renamed(b"x@alias.example") is None
    assert naming.boundary(b"alias.example") == b"alias.example"
    assert naming.boundary(b"_real=alias.example") != b"_real=alias.example"


@pytest.mark.parametrize("old", [b"real@inbox.example-1", b"=_real=inbox.example_1", b"Apple-Mail-Inbox.example"])
def test_boundaries_tell_however_they_are_joined(old: bytes) -> None:
    assert NAMING.boundary(old) == NAMING.token(old).encode() and NAMING.boundary(b"b1") == b"b1"


def test_new_names_are_equal_for_one_alias_and_key_only() -> None:
    one = NAMING.renamed(b"part1@inbox.example")
    assert one is not None and one.domain == "alias.example" and len(one.local) == 32
    assert one == Naming(ALIAS, HIDDEN, b"key").renamed(b"part1@inbox.example")
    others = (
        Naming(ALIAS, HIDDEN, b"other").renamed(b"part1@inbox.example"),
        Naming(parse_address("b2@alias.example"), HIDDEN, b"key").renamed(b"part1@inbox.example"),
        NAMING.renamed(b"part2@inbox.example"),
    )
    assert len({one, *others}) == 4 and NAMING.renamed(b"part1@shop.example") is None
