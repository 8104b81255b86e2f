"""A copy is made once, however often it is tried and whoever gives up waiting."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from mailrelay.core.address import Address, parse_address
from mailrelay.core.bans import Ban
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.ledger import Mode, Opened, Opening, OutboundId
from mailrelay.core.plan import Copy, Handed, Mail, Refused
from mailrelay.flows import handover
from mailrelay.flows.handover import Destination, Dispatcher, Handover
from mailrelay.flows.letter import Letter, open_letter
from mailrelay.flows.ports import LedgerPort
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


def away(moment: str, operation: str) -> None:
    """The database, when a copy is to be recorded."""
    if (moment, operation) == ("before", "close"):
        raise Unavailable("the database went away")


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


async def unrecorded(store: FakeStore, outside: Outside) -> tuple[Dispatcher, Letter]:
    """Whose copy is out, and the ledger, which is back, does not know."""
    flow, mail = dispatcher(store, outside), await letter()
    store.trouble = away
    with pytest.raises(Unavailable):
        await dispatch(flow, mail)
    store.trouble = lambda moment, operation: None
    return flow, mail


class SlowAnswers:
    """A ledger that answers openings as of the moment when it was asked, and only when it is let go."""

    def __init__(self, store: FakeStore) -> None:
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()
        self._store = store

    async def open(self, opening: Opening) -> Opened:
        answer = await self._store.open(opening)
        self.asked.set()
        await self.let_go.wait()
        return answer

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_a_try_that_asked_before_its_copy_was_recorded_makes_no_second_one() -> None:
    """When the database comes back, Postfix' next tries and the record of the first meet."""
    store, outside = FakeStore(), Outside()
    flow, mail = await unrecorded(store, outside)
    slow = SlowAnswers(store)
    flow.ledger = cast("LedgerPort", slow)
    again = asyncio.create_task(dispatch(flow, mail))
    await slow.asked.wait()
    await flow.catch_up()
    slow.let_go.set()
    assert (await again) == Handover(True, 0)
    assert len(outside.copies) == 1


class SlowNames:
    """Looks for bans of hosts that wait for DNS."""

    def __init__(self) -> None:
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()

    async def __call__(self, domain: str, /) -> Ban | None:
        self.asked.set()
        await self.let_go.wait()
        return None


async def test_nor_does_one_that_waited_for_dns_meanwhile() -> None:
    store, outside = FakeStore(), Outside()
    flow, mail = await unrecorded(store, outside)
    flow.banned_hosts = names = SlowNames()
    again = asyncio.create_task(dispatch(flow, mail))
    await names.asked.wait()
    await flow.catch_up()
    names.let_go.set()
    assert (await again) == Handover(True, 0)
    assert len(outside.copies) == 1


async def test_a_copy_that_is_out_was_delivered_though_its_mailbox_is_banned_by_now() -> None:
    store, outside = FakeStore(), Outside()
    flow, mail = await unrecorded(store, outside)
    banned = replace(ME, refused=Reason.DESTINATION_BANNED)
    assert (await dispatch(flow, mail, banned)) == Handover(True, 1)
    assert [row["outcome"] for row in store.rows("ledger")] == ["delivered"]


async def test_the_end_of_the_process_waits_for_copies_and_their_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_PAUSE_SECONDS", 0.001)
    store, door = FakeStore(), Door(Handed("4QqQ1"))
    flow, mail = dispatcher(store, door), await letter()
    caller = asyncio.create_task(dispatch(flow, mail))
    await door.knocked.wait()
    caller.cancel()
    refused = 0

    def back_at_last(moment: str, operation: str) -> None:
        nonlocal refused
        if (moment, operation) == ("before", "close") and refused < 3:
            refused += 1
            raise Unavailable("the database is away")

    store.trouble = back_at_last
    end = asyncio.create_task(flow.finish(10))
    await asyncio.sleep(0)
    door.opened.set()
    assert await end == 0
    assert refused == 3
    assert [row["outcome"] for row in store.rows("ledger")] == ["delivered"]


async def test_a_copy_that_hangs_at_the_end_keeps_no_other_from_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_PAUSE_SECONDS", 0.001)
    store, door, outside = FakeStore(), Door(Handed("4QqQ1")), Outside()

    async def submit(copy: Copy) -> Handed | Refused:
        return await (door if copy.rcpt == "you@inbox.example" else outside)(copy)

    flow, mail = Dispatcher(store, submit, counter()), await letter()
    caller = asyncio.create_task(dispatch(flow, mail, ME, YOU))
    await door.knocked.wait()
    assert await flow.finish(0.1) == 1
    caller.cancel()
    door.opened.set()
    assert sorted(row["outcome"] for row in store.rows("ledger")) == ["delivered", "queued"]


async def test_no_copy_is_begun_after_the_end() -> None:
    store, outside = FakeStore(), Outside()
    flow, mail = dispatcher(store, outside), await letter()
    slow = SlowAnswers(store)
    flow.ledger = cast("LedgerPort", slow)
    late = asyncio.create_task(dispatch(flow, mail))
    await slow.asked.wait()
    assert await flow.finish(1) == 0
    slow.let_go.set()
    assert (await late) == Handover(False, 0)
    assert outside.copies == []


@pytest.mark.parametrize("opened", [True, False])
async def test_the_end_of_the_process_waits_no_longer_than_it_may(opened: bool) -> None:
    store, door = FakeStore(), Door(Handed("4QqQ1"))
    flow, mail = dispatcher(store, door), await letter()
    store.trouble = away
    caller = asyncio.create_task(dispatch(flow, mail))
    await door.knocked.wait()
    if opened:
        door.opened.set()
        await asyncio.gather(caller, return_exceptions=True)
    assert await flow.finish(0.02) == 1
    caller.cancel()
    door.opened.set()


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
