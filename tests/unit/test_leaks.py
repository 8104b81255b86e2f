"""Row 200 of spec section 12: what nobody learns from a forward.

The copies go to the owner, so third parties see of them what the owner's mail program tells them when the owner
answers: a rewritten copy has nobody's own address where an answer goes. And one recipient learns nothing of another.
"""

import email.utils
import re
from collections.abc import Iterator
from functools import cache

import pytest

from mailrelay.core import leak
from mailrelay.core.address import parse_address
from mailrelay.core.header import Message, split
from mailrelay.core.plan import Copy, Refused
from tests.golden.cases import cases
from tests.golden.flow import Mode, Passed, passed
from tests.golden.ugly import UGLY
from tests.unit.office import MESSAGE, new_office
from tests.unit.test_leak import occurs

FIRST, SECOND = "real@inbox.example", "second@inbox2.example"
OURS = ("@alias.example", "@relay.example")
SAMPLES = {f"golden-{case.name}": case.message for case in cases()}
SAMPLES |= {f"ugly-{name}": build() for name, build in UGLY}
# More ways to have an answer sent past us.
SAMPLES["followups"] = MESSAGE.replace(
    b"Subject:",
    b"Mail-Followup-To: news@shop.example, list@x.example\r\nMail-Reply-To: help@shop.example\r\n"
    b"List-Archive: <mailto:archive@x.example?subject=index>\r\nSubject:",
)
# Looking into every encoding takes its time, so of the largest ones only the top of the header is looked through.
_LOOKED_THROUGH_OCTETS = 50_000

each_sample = pytest.mark.parametrize("name", SAMPLES)
each_mode = pytest.mark.parametrize("mode", ["rewrite", "transparent"])


@cache
def delivered(name: str, mode: Mode, rcpt: str) -> Passed:
    return passed(SAMPLES[name], mode, rcpt)


# -- Answers go through us ------------------------------------------------------------------------------------------

# What a mail program sends an answer, a receipt, a complaint or a request to.
_ANSWERED = frozenset(
    b"from sender reply-to to cc mail-followup-to mail-reply-to errors-to return-receipt-to x-confirm-reading-to "
    b"disposition-notification-to".split()
)
_LISTS = frozenset(b"list-unsubscribe list-post list-help list-owner list-subscribe list-archive".split())
_MAILTO = re.compile(rb"mailto:([^?>\s]*)", re.IGNORECASE)


def answered(message: Message) -> Iterator[str]:
    """Every address an answer may go to, as another implementation reads it."""
    for field in message.fields:
        if field.name in _ANSWERED:
            # Names are of no matter: what stands in quotes, comments and encoded words goes nowhere.
            value = re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', field.value).decode("ascii", "replace")
            yield from (address for _, address in email.utils.getaddresses([value]) if address)
        elif field.name in _LISTS:
            for target in _MAILTO.findall(field.value):
                yield from target.decode("ascii", "replace").replace("%40", "@").split(",")


@each_sample
def test_answers_to_a_rewritten_copy_go_through_us(name: str) -> None:
    """12.7-200, 12.3-67, 12.3-70, 12.3-75, 12.3-95"""
    for content in delivered(name, "rewrite", "a1@alias.example").contents:
        message = split(content)
        for address in answered(message):
            if address.lower() == FIRST and occurs(FIRST, _where_people_are_named(name)):
                continue  # the sender knows it already (row 69)
            assert address.endswith(OURS), address


def _where_people_are_named(name: str) -> bytes:
    message = split(SAMPLES[name])
    return b"".join(field.raw for field in message.fields if field.name in (b"to", b"cc"))


@each_sample
def test_the_real_address_is_not_where_answers_go(name: str) -> None:
    """12.3-66a: unless the sender wrote it."""
    for content in delivered(name, "rewrite", "a1@alias.example").contents:
        if not occurs(FIRST, _head(SAMPLES[name])):
            assert not occurs(FIRST, _head(content))


def _head(content: bytes) -> bytes:
    return content[: split(content).header_end][:_LOOKED_THROUGH_OCTETS]


# -- Recipients of one alias ----------------------------------------------------------------------------------------


@each_mode
@each_sample
def test_a_copy_says_nothing_of_the_other_recipient(name: str, mode: Mode) -> None:
    """12.7-200, spec section 3.12"""
    done = delivered(name, mode, "both@alias.example")
    by_rcpt = {copy.rcpt: copy for copy in done.copies}
    for rcpt, other in ((FIRST, SECOND), (SECOND, FIRST)):
        if rcpt in by_rcpt:
            _assert_apart(by_rcpt[rcpt], other, SAMPLES[name], by_rcpt.get(other))


def _assert_apart(copy: Copy, other: str, original: bytes, their_copy: Copy | None) -> None:
    content = b"".join(copy.content)
    looked_through = content if len(content) <= _LOOKED_THROUGH_OCTETS else _head(content)
    envelope = f"{copy.sender} {copy.envelope_id}".encode()
    address = parse_address(other)
    if other.encode() in content or leak.occurs([address], looked_through + b"\r\n" + envelope):
        assert leak.occurs([address], original)
    if their_copy is not None:
        assert copy.sender != their_copy.sender
        assert their_copy.envelope_id.encode() not in content + envelope


def test_copies_of_one_mail_differ_by_their_ids_only() -> None:
    """12.3-86, spec section 3.12"""
    first, second = delivered("golden-86-two-recipients", "rewrite", "both@alias.example").contents
    mine, theirs = split(first), split(second)
    apart = {a.name for a, b in zip(mine.fields, theirs.fields, strict=True) if a != b}
    assert apart == {b"x-mailrelay-id"}  # which no signature covers
    assert mine.body == theirs.body


# -- What senders hear ----------------------------------------------------------------------------------------------


@each_mode
@each_sample
def test_no_reply_names_the_recipient(name: str, mode: Mode) -> None:
    """12.7-200: Postfix puts a reply into the bounce that the sender gets."""
    for rcpt in ("a1@alias.example", "both@alias.example"):
        assert "inbox" not in delivered(name, mode, rcpt).reply


@pytest.mark.parametrize(
    "said",
    [
        Refused(550, f"5.1.1 <{FIRST}>: user unknown"),
        Refused(451, f"4.7.1 <{FIRST}>: greylisted"),
        OSError(f"cannot reach the host of {FIRST}"),
    ],
    ids=["refused", "deferred", "broken"],
)
async def test_what_postfix_says_to_a_copy_is_not_passed_on(said: Refused | OSError) -> None:
    """12.7-200"""
    office = new_office()

    def answer(copy: Copy) -> Refused:
        if isinstance(said, Refused):
            return said
        raise said

    office.outside.answer = answer
    for reply in await office.deliver("a1@alias.example", content=MESSAGE):
        assert "inbox" not in reply
