"""n recipients in, n accounted for: whatever fails, every recipient is answered, recorded and delivered once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mailrelay.core.errors import Unavailable
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.flows.handover import Dispatcher
from tests.unit.fakes import counter, final
from tests.unit.office import OK, Office, new_office

# What each recipient comes to in the end: the destinations, or None for an address that cannot be read.
DESTINATIONS: dict[str, list[str] | None] = {
    "a1@alias.example": ["real@inbox.example"],
    "a1+tag@alias.example": ["real@inbox.example"],
    "both@alias.example": ["real@inbox.example", "second@inbox2.example"],
    "new@own.example": ["real@inbox.example"],
    "keyed+2.1@own.example": ["real@inbox.example", "second@inbox2.example"],
    "x@u1.alias.example": ["real@inbox.example"],
    "postmaster@alias.example": ["admin@inbox.example"],
    "off@alias.example": [],
    "gone@alias.example": [],
    "unknown@alias.example": [],
    "noreply@alias.example": [],
    "ten@alias.example": [f"r{n}@inbox.example" for n in range(10)],
    "a b@alias.example": None,
}
RCPTS = st.lists(st.sampled_from(sorted(DESTINATIONS)), min_size=1, max_size=8)

STORE_FAULTS = [None, None, None, None, "away", "away", "bug"]
SUBMIT_FAULTS = [None, None, None, "defer", "away", "bug", "config"]
CRASHES = [*SUBMIT_FAULTS, "taken"]
FAULTS = st.lists(st.sampled_from(STORE_FAULTS), max_size=40)


@dataclass
class Weather:
    """Faults to come, one for each operation; when they are used up everything works."""

    store: Iterator[str | None]
    listener: Iterator[str | None]

    def strike(self, moment: str, operation: str) -> None:
        match next(self.store, None):
            case "away":
                raise Unavailable(f"{moment} {operation}")
            case "bug":
                raise RuntimeError(f"{moment} {operation}")

    def answer(self, outside: Callable[[Copy], None], copy: Copy) -> Handed | Refused:
        match next(self.listener, None):
            case "defer":
                return Refused(451, "4.3.0 Error: queue file write error")
            case "config":
                return Refused(554, "5.7.1 Relay access denied")
            case "away":
                raise Unavailable("connection refused")
            case "bug":
                raise RuntimeError("bug")
            case "taken":
                outside(copy)
                raise Unavailable("the last answer was lost")
            case _:
                return Handed("4QqQ000001")


def furnished(store: list[str | None], listener: list[str | None]) -> Office:
    office = new_office()
    office.alias("ten@alias.example", recipients=[office.recipient(1, f"r{n}@inbox.example") for n in range(10)])
    weather = Weather(iter(store), iter(listener))
    office.store.trouble = weather.strike
    office.outside.answer = lambda copy: weather.answer(office.outside.copies.append, copy)
    return office


def check(office: Office, rcpts: list[str], replies: list[str]) -> None:
    """One reply for each; whatever ends the story is on record."""
    assert len(replies) == len(rcpts)
    for rcpt, reply in zip(rcpts, replies, strict=True):
        outcomes = [row["outcome"] for row in office.entries(rcpt)]
        if not reply.startswith("4"):
            assert reply == ("501 5.1.3 Bad recipient address syntax" if DESTINATIONS[rcpt] is None else OK)
            assert outcomes, rcpt
            assert "queued" not in outcomes, (rcpt, outcomes)


async def deliver_until_done(office: Office, rcpts: list[str], repeats: list[bool]) -> None:
    """As Postfix does: what was deferred comes again. repeats: this time everything comes, and twice at once."""
    pending = list(rcpts)
    for attempt in range(100):
        if attempt < len(repeats) and repeats[attempt]:
            pending = list(rcpts)
            both = await asyncio.gather(office.deliver(*pending), office.deliver(*pending))
            for replies in both:
                check(office, pending, replies)
            replies = both[0]
        else:
            replies = await office.deliver(*pending)
            check(office, pending, replies)
        pending = [rcpt for rcpt, reply in zip(pending, replies, strict=True) if reply.startswith("4")]
        if not pending and attempt >= len(repeats):
            return
        pending = pending or rcpts[:1]
    pytest.fail(f"never done: {pending}")


def expected(rcpts: list[str]) -> Counter[tuple[str, str]]:
    return Counter((rcpt, destination) for rcpt in set(rcpts) for destination in DESTINATIONS[rcpt] or ())


def made(office: Office) -> Counter[tuple[str, str]]:
    """(recipient, destination) of every copy, by the ledger row that its return path leads to."""
    rcpts = {row["outbound_id"]: row["rcpt"] for row in office.entries() if row["outbound_id"]}
    return Counter((rcpts[int(copy.envelope_id, 16)], copy.rcpt) for copy in office.outside.copies)


@settings(max_examples=250)
@given(RCPTS, FAULTS, st.lists(st.sampled_from(SUBMIT_FAULTS), max_size=20), st.lists(st.booleans(), max_size=4))
def test_without_a_crash_every_destination_gets_exactly_one_copy(
    rcpts: list[str], store: list[str | None], listener: list[str | None], repeats: list[bool]
) -> None:
    office = furnished(store, listener)
    with capture_logs():
        asyncio.run(deliver_until_done(office, rcpts, repeats))
    assert made(office) == expected(rcpts)
    rows = Counter(row["rcpt"] for row in office.entries())
    assert rows == Counter({rcpt: max(1, len(DESTINATIONS[rcpt] or ())) for rcpt in set(rcpts)})
    for row in office.entries():
        destinations = DESTINATIONS[row["rcpt"]]
        assert row["outcome"] == ("failed" if destinations is None else "delivered" if destinations else "discarded")
    for alias in office.store.rows("alias"):
        address = f"{alias['local_part']}@{alias['domain']}"
        asked = {rcpt for rcpt in rcpts if rcpt.partition("+")[0].partition("@")[0] == alias["local_part"]}
        assert alias["emails_forwarded"] + alias["emails_blocked"] <= len(asked), address
    assert office.dispatcher._under_way == {}


@settings(max_examples=150)
@given(RCPTS, FAULTS, st.lists(st.sampled_from(CRASHES), max_size=20), st.integers(0, 3))
def test_across_crashes_every_destination_gets_at_least_one_copy(
    rcpts: list[str], store: list[str | None], listener: list[str | None], crashes: int
) -> None:
    office = furnished(store, listener)

    async def story() -> None:
        ids = counter(1)
        for _ in range(crashes):
            check(office, rcpts, await office.deliver(*rcpts))
            # The process is killed: what it remembered is gone, and Postfix never heard its answers.
            fresh = Dispatcher(office.store, office.outside, ids)
            office.forwarding.dispatcher = office.technical.dispatcher = office.sending.dispatcher = fresh
        await deliver_until_done(office, rcpts, [])

    with capture_logs():
        asyncio.run(story())
    copies, wanted = made(office), expected(rcpts)
    assert set(copies) == set(wanted)
    assert final(office.entries())
    senders = {(copy.rcpt, copy.sender) for copy in office.outside.copies}
    assert len(senders) == len(wanted)  # a copy that is made again has the same return path


@settings(max_examples=60)
@given(st.lists(RCPTS, min_size=2, max_size=4), FAULTS, st.lists(st.sampled_from(SUBMIT_FAULTS), max_size=20))
def test_several_messages_at_once_do_not_mix(
    mails: list[list[str]], store: list[str | None], listener: list[str | None]
) -> None:
    office = furnished(store, listener)

    async def one(number: int, rcpts: list[str]) -> None:
        pending = rcpts
        for _ in range(100):
            replies = await office.deliver(*pending, queue_id=f"4XyZ{number}")
            assert len(replies) == len(pending)
            pending = [rcpt for rcpt, reply in zip(pending, replies, strict=True) if reply.startswith("4")]
            if not pending:
                return
        pytest.fail(f"never done: {pending}")

    async def story() -> None:
        await asyncio.gather(*(one(number, rcpts) for number, rcpts in enumerate(mails)))

    with capture_logs():
        asyncio.run(story())
    wanted: Counter[tuple[str, str]] = Counter()
    for rcpts in mails:
        wanted += expected(rcpts)
    assert made(office) == wanted


@settings(max_examples=200)
@given(
    st.lists(st.text(max_size=30) | st.builds("{}@alias.example".format, st.text(max_size=20)), max_size=4),
    st.text(max_size=30),
    st.binary(max_size=60),
)
def test_any_envelope_and_any_octets_are_answered(rcpts: list[str], sender: str, content: bytes) -> None:
    office = new_office()
    with capture_logs():
        replies = asyncio.run(office.deliver(*rcpts, sender=sender, content=content))
    assert len(replies) == len(rcpts)
    assert all(reply[0] in "245" for reply in replies)
