"""A copy is made once, however often it is tried and whoever gives up waiting."""

import asyncio
from collections.abc import Sequence

import pytest

from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Unavailable
from mailrelay.core.ledger import Mode, OutboundId
from mailrelay.core.plan import Copy, Handed, Mail, Refused
from mailrelay.flows import handover
from mailrelay.flows.handover import Destination, Dispatcher, Handover
from mailrelay.flows.letter import Letter, open_letter
from tests.unit.fakes import NOW, FakeStore, Outside, counter

ME, YOU = (Destination(number, parse_address(f"{name}@inbox.example")) for number, name in [(1, "me"), (2, "you")])


class Draft:
    """Copies that say no more than for whom they are."""

    def mode(self, destination: Address) -> Mode:
        return "transparent"

    async def copy(self, destination: Address, outbound_id: OutboundId) -> Copy:
        return Copy("b-1@relay.example", str(destination), (b"hello\r\n",), f"{outbound_id:016x}", False, False)


class Door:
    """A listener that answers when it is opened."""

    def __init__(self, answer: Handed | Refused | Exception) -> None:
        self.opened, self.knocked = asyncio.Event(), asyncio.Event()
        self.answer = answer
        self.copies: list[Copy] = []

    async def __call__(self, copy: Copy) -> Handed | Refused:
        self.copies.append(copy)
        self.knocked.set()
        await self.opened.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def dispatcher(store: FakeStore, submit: Door | Outside) -> Dispatcher:
    return Dispatcher(store, submit, counter())


async def letter(number: int = 1) -> Letter:
    content = b"From: news@shop.example\r\nSubject: %d\r\n\r\nhello\r\n" % number
    rcpts = ("shop@alias.example",)
    return await open_letter(Mail(f"4XyZ{number}", "news@shop.example", rcpts, content), NOW)


async def dispatch(to: Dispatcher, which: Letter, *destinations: Destination) -> Handover:
    chosen: Sequence[Destination] = destinations or (ME,)
    return await to.dispatch(which, which.envelope("shop@alias.example"), Draft(), chosen, "")


async def test_a_second_try_joins_a_hand_over_that_is_under_way() -> None:
    """Postfix tries again while we still work when its delivery agent was killed, or its patience ended."""
    store, door = FakeStore(), Door(Handed("4QqQ1"))
    flow, mail = dispatcher(store, door), await letter()
    first = asyncio.create_task(dispatch(flow, mail))
    await door.knocked.wait()
    second = asyncio.create_task(dispatch(flow, mail))
    await asyncio.sleep(0)
    door.opened.set()
    assert [(await first).done, (await second).done] == [True, True]
    assert len(door.copies) == 1
    assert [row["outcome"] for row in store.rows("ledger")] == ["delivered"]


async def test_a_hand_over_goes_on_when_its_caller_gives_up() -> None:
    store, door = FakeStore(), Door(Handed("4QqQ1"))
    flow, mail = dispatcher(store, door), await letter()
    first = asyncio.create_task(dispatch(flow, mail))
    await door.knocked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    door.opened.set()
    again = await dispatch(flow, mail)
    assert (again.done, again.delivered) == (True, 1)
    assert len(door.copies) == 1


async def test_a_hand_over_that_fails_unheard_is_tried_again() -> None:
    store, door = FakeStore(), Door(Unavailable("broken off"))
    flow, mail = dispatcher(store, door), await letter()
    first = asyncio.create_task(dispatch(flow, mail))
    await door.knocked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    door.opened.set()
    await asyncio.sleep(0)
    door.answer = Handed("4QqQ2")
    assert (await dispatch(flow, mail)).delivered == 1
    assert len(door.copies) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_copy_whose_record_failed_is_not_made_again(moment: str) -> None:
    """`after`: the database had recorded it, and only the answer was lost."""
    store, outside = FakeStore(), Outside()
    flow, mail = dispatcher(store, outside), await letter()

    def away(now: str, operation: str) -> None:
        if (now, operation) == (moment, "close"):
            raise Unavailable("the database went away")

    store.trouble = away
    for _ in range(3 if moment == "before" else 1):
        with pytest.raises(Unavailable):
            await dispatch(flow, mail)
    store.trouble = lambda now, operation: None
    assert (await dispatch(flow, mail)).done
    assert len(outside.copies) == 1
    assert [row["outcome"] for row in store.rows("ledger")] == ["delivered"]
    assert flow._unrecorded == {}  # what is never forgotten fills the memory


async def test_what_was_not_recorded_can_be_recorded_without_a_further_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process, after a restart, must find the row settled."""
    monkeypatch.setattr(handover, "_CHUNK", 2)
    store, outside = FakeStore(), Outside()
    flow = dispatcher(store, outside)

    def away(moment: str, operation: str) -> None:
        if (moment, operation) == ("before", "close"):
            raise Unavailable("the database went away")

    store.trouble = away
    mails = [await letter(number) for number in (1, 2, 3)]
    for mail in mails:
        with pytest.raises(Unavailable):
            await dispatch(flow, mail)
    with pytest.raises(Unavailable):
        await flow.catch_up()
    store.trouble = lambda moment, operation: None
    await flow.catch_up()
    successor = dispatcher(store, outside)
    assert [(await dispatch(successor, mail)).done for mail in mails] == [True] * 3
    assert len(outside.copies) == 3


async def test_the_memory_of_what_was_not_recorded_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of mail that Postfix gave up meanwhile nobody asks again: it must not keep others out."""
    monkeypatch.setattr(handover, "_REMEMBERED", 2)
    store, outside = FakeStore(), Outside()
    flow = dispatcher(store, outside)
    away = {"close"}

    def trouble(moment: str, operation: str) -> None:
        if moment == "before" and operation in away:
            raise Unavailable("the database is away")

    store.trouble = trouble
    mails = [await letter(number) for number in (1, 2, 3)]
    for mail in mails:
        with pytest.raises(Unavailable):
            await dispatch(flow, mail)
    away.clear()
    for mail in mails[1:]:
        assert (await dispatch(flow, mail)).done
    assert len(outside.copies) == 3


async def test_one_copy_of_two_refused_for_now_leaves_the_other_delivered_once() -> None:
    store = FakeStore()
    refusing = {"you@inbox.example"}

    def answer(copy: Copy) -> Handed | Refused:
        full = copy.rcpt in refusing
        return Refused(452, "4.3.1 Insufficient system storage") if full else Handed("4QqQ1")

    outside = Outside(answer)
    flow, mail = dispatcher(store, outside), await letter()
    assert not (await dispatch(flow, mail, ME, YOU)).done
    refusing.clear()
    assert (await dispatch(flow, mail, ME, YOU)).done
    assert outside.rcpts == ["me@inbox.example", "you@inbox.example"]
    assert {row["outcome"] for row in store.rows("ledger")} == {"delivered"}
