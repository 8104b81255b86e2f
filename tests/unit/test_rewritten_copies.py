"""Rewrite mode through the delivery, where one message is not enough to show it: spec sections 3.4, 3.12, 9."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from email.utils import parseaddr
from typing import Any

import pytest

from mailrelay.core import loop
from mailrelay.core.dkim import SigningKey
from mailrelay.core.facts import Reason
from mailrelay.core.header import Message, split
from mailrelay.core.plan import Copy, Handed, Refused
from tests.golden.cases import examined
from tests.unit.fakes import NOW
from tests.unit.office import KEY, MESSAGE, OK, SENDER, TEMP, Office, new_office, no_keys


@pytest.fixture
def office() -> Office:
    office = new_office()
    office.store.update("account", 1, forward_mode="rewrite")
    return office


def copies(office: Office) -> list[Message]:
    return [split(b"".join(copy.content)) for copy in office.outside.copies]


async def said(office: Office, content: bytes = MESSAGE, rcpt: str = "a1@alias.example", **more: Any) -> str:
    [reply] = await office.deliver(rcpt, content=content, **more)
    return reply


# -- From -----------------------------------------------------------------------------------------------------------

WITH_NAME = (
    "Example Shop 'news at shop.example'",
    "Example Shop - news(a)shop.example",
    "Example Shop - shop.example",
    "Example Shop",
    "news at shop.example",
    "",
    "shop.example",
    "Example Shop 'news@shop.example'",
)
WITHOUT_NAME = (
    "news at shop.example",
    "news(a)shop.example",
    "news at shop.example",
    "news at shop.example",
    "news at shop.example",
    "",
    "shop.example",
    "news at shop.example",
)


@pytest.mark.parametrize("form", range(8), ids=lambda form: f"12.3-60-{form}")
async def test_the_eight_ways_to_show_who_writes(office: Office, form: int) -> None:
    office.store.update("account", 1, display_from_format=form)
    await said(office, MESSAGE.replace(b"Example Shop <", b'"Example Shop" <'))
    [copy] = copies(office)
    assert parseaddr((copy.first(b"from") or b"").decode()) == (WITH_NAME[form], "a1+news=shop.example@alias.example")


@pytest.mark.parametrize("form", range(8), ids=lambda form: f"12.3-61-{form}")
async def test_and_what_they_show_where_there_is_no_name(office: Office, form: int) -> None:
    office.store.update("account", 1, display_from_format=form)
    await said(office, MESSAGE.replace(b"Example Shop <news@shop.example>", b"news@shop.example"))
    [copy] = copies(office)
    assert parseaddr((copy.first(b"from") or b"").decode()) == (
        WITHOUT_NAME[form],
        "a1+news=shop.example@alias.example",
    )


# -- Several copies -------------------------------------------------------------------------------------------------


async def test_12_3_87_only_what_is_missing_is_sent_again(office: Office) -> None:
    def first_only(copy: Copy) -> Handed | Refused:
        if copy.rcpt == "second@inbox2.example":
            raise OSError("the listener is gone")
        return Handed("4QqQ000001")

    office.outside.answer = first_only
    assert await said(office, rcpt="both@alias.example") == TEMP
    assert office.outside.rcpts == ["real@inbox.example"]
    office.outside.answer = lambda copy: Handed("4QqQ000002")
    assert await said(office, rcpt="both@alias.example") == OK
    assert office.outside.rcpts == ["real@inbox.example", "second@inbox2.example"]
    assert {row["outcome"] for row in office.entries()} == {"delivered"}


async def test_12_3_86_a_copy_for_each_with_a_return_path_of_its_own(office: Office) -> None:
    assert await said(office, rcpt="both@alias.example") == OK
    first, second = office.outside.copies
    assert first.sender != second.sender
    assert {copy.first(b"message-id") for copy in copies(office)} == {b"<20260106.77@shop.example>"}


async def test_12_7_199_nothing_leaves_unsigned() -> None:
    office = new_office(lambda domain: ())
    office.store.update("account", 1, forward_mode="rewrite")
    assert await said(office) == TEMP
    assert office.outside.copies == []
    office.forwarding.composer = replace(office.composer, signing_keys=no_keys)
    assert await said(office) == OK
    [copy] = copies(office)
    assert copy.count(b"dkim-signature") == 1


async def test_a_domain_without_keys_neither_signs_nor_shows_its_name() -> None:
    """As one that was just brought here: the worker has not made its keys, nor has its owner published them."""

    def keys(domain: str) -> Sequence[SigningKey]:
        return (replace(no_keys("own.example")[0], domain=domain),) if domain == "relay.example" else ()

    office = new_office(keys)
    office.store.update("account", 1, forward_mode="rewrite")
    assert await said(office, rcpt="new@unsent.example") == OK
    [copy] = copies(office)
    assert parseaddr((copy.first(b"from") or b"").decode())[1].endswith("@relay.example")
    assert [b"d=relay.example" in value for value in copy.values(b"dkim-signature")] == [True]
    # On its operator's word it sends in its own name: then it waits for its keys.
    office.store.update("domain", 3, sending_verified_at=NOW)
    assert await said(office, rcpt="new@unsent.example", queue_id="4XyZ12AbCe") == TEMP


# -- Loops ----------------------------------------------------------------------------------------------------------


async def test_12_6_179_our_own_mark_comes_back(office: Office) -> None:
    assert await said(office) == OK
    [copy] = office.outside.copies
    back = b"Received: from inbox.example\r\n" + b"".join(copy.content)
    assert loop.is_loop(split(back).values(b"x-mailrelay-loop"), office.store.rows("alias")[0]["uuid"], (KEY,))
    assert await said(office, back, queue_id="4Xback0001") == OK
    assert len(office.outside.copies) == 1
    assert ("a1@alias.example", "discarded", "loop") in office.outcomes()


async def test_12_6_179_another_alias_may_get_it(office: Office) -> None:
    office.alias("a2@alias.example")
    await said(office)
    onward = b"".join(office.outside.copies[0].content)
    assert await said(office, onward, rcpt="a2@alias.example", queue_id="4Xonward01") == OK
    marks = copies(office)[1].values(b"x-mailrelay-loop")
    assert len(marks) == len(set(marks)) == 2


async def test_12_6_180_the_fifth_arrival_without_marks_is_dropped(office: Office) -> None:
    for number in range(6):
        assert await said(office, queue_id=f"4XyZ12AbC{number}") == OK
    assert len(office.outside.copies) == 4
    assert [row["reason"] for row in office.entries()].count(Reason.LOOP) == 2


async def test_12_6_180_retries_are_no_arrivals(office: Office) -> None:
    for _ in range(6):
        assert await said(office, queue_id="4XyZ12AbCd") == OK
    assert len(office.outside.copies) == 1
    assert Reason.LOOP not in [row["reason"] for row in office.entries()]


async def test_12_6_180_a_day_later_it_may_come_again(office: Office) -> None:
    for number in range(4):
        await said(office, queue_id=f"4XyZ12AbC{number}")
    office.now = NOW + timedelta(hours=25)
    assert await said(office, queue_id="4XyZ12AbC9") == OK
    assert len(office.outside.copies) == 5


async def test_12_6_180_another_author_is_another_message(office: Office) -> None:
    for number in range(6):
        author = b"n%d@shop.example" % number
        assert await said(office, MESSAGE.replace(SENDER.encode(), author), queue_id=f"4XyZ12AbC{number}") == OK
    assert len(office.outside.copies) == 6


# -- A recipient's domain became ours -------------------------------------------------------------------------------


async def test_12_6_181_the_other_recipient_gets_it(office: Office) -> None:
    office.domain("inbox.example", 1)
    assert await said(office, rcpt="both@alias.example") == OK
    assert office.outside.rcpts == ["second@inbox2.example"]


async def test_12_6_181_with_nobody_else_it_waits_but_not_for_ever(office: Office) -> None:
    office.domain("inbox.example", 1)
    content = examined(MESSAGE, {}, SENDER, NOW)
    for hours in (0, 71):
        office.now = NOW + timedelta(hours=hours)
        assert (await said(office, content)).startswith("450 4.2.1 ")
    assert office.entries() == []
    office.now = NOW + timedelta(hours=72)
    assert await said(office, content) == OK
    assert office.outcomes() == [("a1@alias.example", "discarded", "own_domain")]
    assert office.outside.copies == []
