"""Held mail that is released: its copies go out once, whatever happens in between."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from mailrelay.core.errors import Absent, Conflict, Unavailable
from mailrelay.core.facts import AccountId, AliasId, Reason, Target
from mailrelay.core.header import split
from mailrelay.core.held import HeldId, Hold, storable
from mailrelay.core.ledger import Envelope, ingress_key
from mailrelay.core.plan import Handed, Refused
from mailrelay.core.verp import EmailType
from mailrelay.flows.handover import Dispatcher, Handover
from mailrelay.flows.order import Order
from mailrelay.flows.release import Release, Released
from mailrelay.flows.remake import Remake
from tests.unit.fakes import counter
from tests.unit.givingup import given_up
from tests.unit.office import CLIENT, MESSAGE, OK, SENDER, Office, new_office
from tests.unit.shelf import FakeShelf

REAL, SECOND = "real@inbox.example", "second@inbox2.example"
ENVELOPE = Envelope(
    ingress_key("4XyZ12AbCd", b"X-Mailrelay-Ingress: v=1\r\n" + MESSAGE),
    "4XyZ12AbCd",
    "<20260106.77@shop.example>",
    SENDER,
    "a1@alias.example",
    CLIENT,
    len(MESSAGE),
    AccountId(1),
)


@dataclass
class Desk:
    """An office with a shelf. orders: whose copies were wanted."""

    office: Office = field(default_factory=new_office)
    orders: list[Order] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shelf = FakeShelf(self.office.store)
        self.restart()

    def restart(self) -> None:
        """A new process: it remembers nothing."""
        office = self.office
        self.dispatcher = Dispatcher(office.store, office.outside, counter(77))
        store = office.store
        self.release = Release(
            office.rules,
            self.shelf,
            store.read_facts,
            store.read_background,
            office.ruling,
            office.sending,
            self.resend,
            office.clock,
        )

    async def resend(self, order: Order, targets: Sequence[Target], org: str | None) -> Handover:
        self.orders.append(order)
        office = self.office
        make = Remake(office.rules, office.composer, self.dispatcher, office.locksmith.sealing.sort)
        return await make(order, targets, org)

    async def hold(self, rcpt: str = "a1@alias.example", **more: object) -> HeldId:
        base, _, domain = rcpt.partition("@")
        alias = self.office.store.row("alias", local_part=base.partition("+")[0], domain=domain)
        assert alias is not None
        envelope = replace(ENVELOPE, rcpt=rcpt, alias_id=AliasId(alias["id"]))
        hold = Hold(
            envelope, "quarantined", Reason.NOT_ALLOWED, "because", "mx.relay.example", SENDER, "shop.example", MESSAGE
        )
        held = await self.shelf.hold(replace(hold, **more))  # type: ignore[arg-type]
        assert held.id is not None
        return held.id

    def outcomes(self) -> list[str]:
        return sorted(row["outcome"] for row in self.office.store.rows("ledger"))


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_released_message_goes_to_every_recipient(desk: Desk) -> None:
    number = await desk.hold("both@alias.example")
    assert await desk.release(number, "test") == Released(number, 2, None)
    assert desk.office.outside.rcpts == [REAL, SECOND]
    assert desk.outcomes() == ["delivered", "delivered"]
    assert [order.warning for order in desk.orders] == [None]
    content = b"".join(desk.office.outside.copies[0].content)
    assert content.endswith(MESSAGE)


async def test_it_goes_out_once(desk: Desk) -> None:
    number = await desk.hold()
    await desk.release(number, "test")
    with pytest.raises(Conflict, match="was released before"):
        await desk.release(number, "test")
    assert desk.office.outside.rcpts == [REAL]


async def test_nobody_else_releases_it_meanwhile(desk: Desk) -> None:
    number = await desk.hold()
    results = await asyncio.gather(*(desk.release(number, "test") for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(result, Released) for result in results) == 1
    assert sum(isinstance(result, Unavailable) for result in results) == 2
    assert desk.office.outside.rcpts == [REAL]


@pytest.mark.parametrize("operation", ["take", "facts", "open", "close", "released"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_release_that_broke_is_repeated_and_makes_what_is_missing(
    desk: Desk, operation: str, moment: str
) -> None:
    """Trouble at any step, in this process."""
    number = await desk.hold("both@alias.example")

    def trouble(when: str, what: str) -> None:
        if (when, what) == (moment, operation):
            desk.office.store.trouble = lambda when, what: None
            raise Unavailable("the database is away")

    desk.office.store.trouble = trouble
    with pytest.raises(Unavailable):
        await desk.release(number, "test")
    desk.shelf._record(number)["leased"] = False  # it runs out
    if (moment, operation) == ("after", "released"):
        with pytest.raises(Conflict):
            await desk.release(number, "test")
    else:
        await desk.release(number, "test")
    assert desk.office.outside.rcpts == [REAL, SECOND]
    assert desk.outcomes() == ["delivered", "delivered"]


async def test_a_killed_release_is_finished_by_another_process(desk: Desk) -> None:
    """One copy is out and recorded, the other is not; then the process is no more."""
    number = await desk.hold("both@alias.example")
    desk.office.outside.answer = lambda copy: Handed("4Q1") if copy.rcpt == REAL else Refused(451, "4.3.0 later")
    with pytest.raises(Unavailable):
        await desk.release(number, "test")
    assert desk.outcomes() == ["delivered", "held", "queued"]
    desk.office.outside.answer = lambda copy: Handed("4Q2")
    desk.restart()
    assert (await desk.release(number, "test")).copies == 1
    assert desk.office.outside.rcpts == [REAL, SECOND]
    assert desk.outcomes() == ["delivered", "delivered"]


async def test_a_listener_that_waits_gives_the_message_back(desk: Desk) -> None:
    number = await desk.hold()
    desk.office.outside.answer = lambda copy: Refused(451, "4.3.0 later")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await desk.release(number, "test")
    assert desk.shelf.state(desk.shelf._record(number)) == "held"


async def test_who_gives_up_gives_the_message_back(desk: Desk) -> None:
    number = await desk.hold()
    await given_up(lambda make: replace(desk.release, resend=make)(number, "test"))
    assert (await desk.release(number, "test")).copies == 1


async def test_a_copy_that_is_refused_for_good_ends_it(desk: Desk) -> None:
    number = await desk.hold()
    desk.office.outside.answer = lambda copy: Refused(550, "5.1.1 no such user")
    assert await desk.release(number, "test") == Released(number, 0, Reason.REFUSED_BY_POSTFIX)
    assert desk.outcomes() == ["failed"]


async def test_limits_and_block_lists_are_not_asked_again(desk: Desk) -> None:
    store = desk.office.store
    number = await desk.hold()
    store.use(1, "message", "", 10_000)
    store.use(1, "bandwidth", "", 1 << 40)
    store.insert("blocked_sender", account_id=1, type="domain", value="shop.example")
    store.update("alias", 1, sender_allow_list=["friend.example"], state="inactive")
    assert (await desk.release(number, "test")).copies == 1


async def test_a_banned_destination_gets_nothing(desk: Desk) -> None:
    number = await desk.hold()
    desk.office.ban("domain", "inbox.example", "destination")
    assert await desk.release(number, "test") == Released(number, 0, Reason.DESTINATION_BANNED)
    assert desk.office.outside.copies == []


REFUSED = {
    "the alias was deleted": ("alias", 1, {"state": "deleted"}),
    "the account is suspended": ("account", 1, {"state": "suspended"}),
    "no recipient is verified": ("recipient", 1, {"verified_at": None}),
    "the alias belongs to another account now": ("alias", 1, {"account_id": 2}),
}


@pytest.mark.parametrize(("words", "change"), REFUSED.items(), ids=REFUSED)
async def test_nobody_may_receive_it(desk: Desk, words: str, change: tuple[str, int, dict[str, object]]) -> None:
    number = await desk.hold()
    desk.office.account("another", "another@inbox.example")
    table, row, values = change
    desk.office.store.update(table, row, **values)
    for _ in range(2):  # the second time shows that it was given back
        with pytest.raises(Conflict, match=words):
            await desk.release(number, "test")
    assert desk.office.outside.copies == []
    assert desk.outcomes() == ["held"]


async def test_what_no_recipient_wrote_is_not_sent(desk: Desk) -> None:
    number = await desk.hold(type=EmailType.REPLY)
    with pytest.raises(Conflict, match="no recipient of the account"):
        await desk.release(number, "test")


async def test_an_unknown_number_is_absent(desk: Desk) -> None:
    with pytest.raises(Absent):
        await desk.release(HeldId(99), "test")


async def test_a_header_that_is_not_ascii_goes_as_it_is(desk: Desk) -> None:
    await desk.release(await desk.hold(content=b"Subject: gr\xfcn\r\n\r\nx\r\n"), "test")
    [copy] = desk.office.outside.copies
    assert not copy.smtputf8
    assert copy.eight_bit
    assert b"Subject: gr\xfcn\r\n" in b"".join(copy.content)


async def test_lmtp_finds_released_copies_when_postfix_brings_the_message_again(desk: Desk) -> None:
    """The key is that of the message as it came, not as it was kept."""
    await desk.release(await desk.hold(), "test")
    assert await desk.office.deliver("a1@alias.example", content=b"X-Mailrelay-Ingress: v=1\r\n" + MESSAGE) == [OK]
    assert desk.office.outside.rcpts == [REAL]


KEPT = {
    "ingress header": (
        b"X-Mailrelay-Ingress: v=1;\r\n q=x\r\nFrom: a@b.example\r\n\r\nx",
        b"From: a@b.example\r\n\r\nx",
    ),
    "mbox line": (b"From x Mon Jan  1\r\nFrom: a@b.example\r\n\r\nx", b"From: a@b.example\r\n\r\nx"),
    "both": (b">From x\nx-mailrelay-INGRESS: v=1\nA: b\n\nFrom x\n", b"A: b\n\nFrom x\n"),
    "loop mark stays": (b"X-Mailrelay-Loop: x\r\n\r\n", b"X-Mailrelay-Loop: x\r\n\r\n"),
    "neither": (b"A : b\r\n c\r\n\r\n\0\xff", b"A : b\r\n c\r\n\r\n\0\xff"),
    "nothing": (b"", b""),
    "no field": (b"hello\r\n", b"hello\r\n"),
}


@pytest.mark.parametrize(("content", "kept"), KEPT.values(), ids=KEPT)
def test_what_is_internal_is_not_kept(content: bytes, kept: bytes) -> None:
    assert storable(split(content), "X-Mailrelay-") == kept
