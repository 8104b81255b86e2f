"""The log watcher: what lines cause, once each, whatever ends or fails in between."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay import metrics
from mailrelay.core import verp
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId, AliasId, RecipientId
from mailrelay.core.ledger import OutboundId
from mailrelay.core.maillog import Chunk, LogEvent, Position
from mailrelay.core.rejection import Question, Target
from mailrelay.core.screen import day_number
from mailrelay.core.verp import EmailType, VerpId
from mailrelay.core.watched import Arrived, CopyNews, Written
from mailrelay.flows import watchlog
from mailrelay.flows.watchlog import Consequences, LogWatch, Reading
from mailrelay.wire import maillog

KEY, OLD_KEY, FOREIGN_KEY = b"k" * 32, b"o" * 32, b"f" * 32
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
STAMP = "2026-03-02T11:59:50Z mx"
MINE = Target(AccountId(1), AliasId(2), "active", "", False, False)


def path(number: int, *, key: bytes = KEY, days_old: int = 0, kind: EmailType = EmailType.FORWARD) -> str:
    day = day_number(NOW) - days_old
    return f"{verp.encode(VerpId(kind, number, day), 'bounces.relay.example', key)}@bounces.relay.example"


def active(queue_id: str, sender: str) -> str:
    return f"{STAMP} postfix/qmgr[4]: {queue_id}: from=<{sender}>, size=2051, nrcpt=1 (queue active)"


def attempt(queue_id: str, status: str, words: str = "250 Ok", rcpt: str = "me@inbox.example") -> str:
    return (
        f"{STAMP} postfix/smtp[7]: {queue_id}: to=<{rcpt}>, relay=mx.inbox.example[192.0.2.25]:25, delay=1, "
        f"delays=1/0/0/0, dsn=2.0.0, status={status} ({words})"
    )


def removed(queue_id: str) -> str:
    return f"{STAMP} postfix/qmgr[4]: {queue_id}: removed"


def reject(rcpt: str = "a1@alias.example", stamp: str = STAMP) -> str:
    return (
        f"{stamp} postfix/smtpd[8]: NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 550 5.7.1 no; "
        f"from=<news@shop.example> to=<{rcpt}> proto=ESMTP helo=<x>"
    )


@dataclass
class Log:
    """Some lines; a position is how many were read. pieces: so many at once."""

    lines: list[str] = field(default_factory=list)
    piece: int = 100
    trouble: str = ""
    closed: bool = False

    async def read(self, after: Position) -> Chunk:
        if self.trouble:
            raise Unavailable(self.trouble)
        lines = self.lines[after.octets : after.octets + self.piece]
        end = after.octets + len(lines)
        return Chunk(tuple(line.encode() for line in lines), Position(octets=end), more=end < len(self.lines))

    async def close(self) -> None:
        self.closed = True


@dataclass
class Store:
    """Writes into lists. arrived: copies that are what they pretend to be, while they are not known to have arrived."""

    written: list[Written] = field(default_factory=list)
    at: Position = field(default_factory=Position)
    known: bool = False
    leads: bool = True
    copies: dict[int, Arrived] = field(default_factory=dict)
    troubles: list[Exception] = field(default_factory=list)
    lost_answers: int = 0
    asked: int = 0
    wrote: asyncio.Event = field(default_factory=asyncio.Event)

    async def lead(self) -> bool:
        return self.leads

    async def position(self) -> Position:
        return self.at

    async def targets(self, questions: Sequence[Question]) -> Mapping[int, Target]:
        self.asked += len(questions)
        target = Target(MINE.account_id, MINE.alias_id, "active", "", False, self.known)
        return {n: target for n, one in enumerate(questions) if one.alias.domain == "alias.example"}

    async def arrived(self, news: Sequence[CopyNews]) -> list[Arrived]:
        return [self.copies[one.outbound_id] for one in news if one.outbound_id in self.copies]

    async def write(self, batch: Written) -> bool:
        if self.troubles:
            raise self.troubles.pop(0)
        if batch.before != self.at:
            return False
        self.at = batch.after
        self.written.append(batch)
        self.wrote.set()
        if self.lost_answers:
            self.lost_answers -= 1
            raise Unavailable("database: OperationalError")
        return True

    async def close(self) -> None:
        pass


@dataclass
class World:
    log: Log = field(default_factory=Log)
    store: Store = field(default_factory=Store)
    recipients: list[RecipientId] = field(default_factory=list)
    contacts: list[OutboundId] = field(default_factory=list)
    dropped: list[OutboundId] = field(default_factory=list)
    swept: list[datetime] = field(default_factory=list)
    now: datetime = NOW
    per_hour: int = 500

    def watch(self) -> LogWatch:
        async def recipients_work(ids: Sequence[RecipientId], at: datetime) -> None:
            assert at == datetime(2026, 3, 2, 11, 59, 50, tzinfo=UTC)
            self.recipients += ids

        async def contacts_work(ids: Sequence[OutboundId]) -> None:
            self.contacts += ids

        async def drop(ids: Sequence[OutboundId]) -> None:
            self.dropped += ids

        async def sweep(older_than: datetime) -> int:
            self.swept.append(older_than)
            return 1

        def line(octets: bytes, now: datetime) -> LogEvent | None:
            if octets == b"poison":
                raise ValueError("a bug")
            return maillog.read(octets, now, UTC)

        reading = Reading(line, (KEY, OLD_KEY), "Address does not exist", self.per_hour)
        consequences = Consequences(recipients_work, contacts_work, drop, sweep)
        return LogWatch(self.log, self.store, reading, consequences, lambda: self.now)

    async def read(self, watch: LogWatch | None = None) -> LogWatch:
        """All that the log holds."""
        watch = watch or self.watch()
        while await watch._turn(asyncio.Event()) == 0:
            pass
        return watch

    @property
    def news(self) -> list[tuple[int, bool]]:
        return [(one.outbound_id, one.sent) for batch in self.store.written for one in batch.news]

    @property
    def rejected(self) -> list[str]:
        return [one.destination for batch in self.store.written for one in batch.rejections]


@pytest.fixture
def world() -> World:
    return World()


def arrived(number: int, kind: EmailType = EmailType.FORWARD, recipient: int | None = 5) -> Arrived:
    return Arrived(OutboundId(number), kind, None if recipient is None else RecipientId(recipient))


async def test_row_174_a_rejection_becomes_a_record(world: World) -> None:
    world.log.lines = [reject(), reject("a1@elsewhere.example"), reject("a2+tag@alias.example")]
    await world.read()
    assert world.rejected == ["a1@alias.example", "a2+tag@alias.example"]


async def test_row_178_what_was_read_counts_once(world: World) -> None:
    world.log.lines = [reject(), reject("a2@alias.example")]
    await world.read()
    await world.read()
    assert len(world.rejected) == 2


async def test_what_we_refused_ourselves_is_known(world: World) -> None:
    world.store.known = True
    before = metrics.MAILLOG_EVENTS.labels("known")._value.get()
    world.log.lines = [reject()]
    await world.read()
    assert world.rejected == []
    assert metrics.MAILLOG_EVENTS.labels("known")._value.get() == before + 1


async def test_what_retention_would_remove_is_not_written(world: World) -> None:
    world.log.lines = [reject(stamp="2026-02-23T11:59:50Z mx"), reject(stamp="2026-02-24T11:59:50Z mx")]
    await world.read()
    assert len(world.rejected) == 1


@pytest.mark.parametrize(("seconds_ago", "waits"), [(0, 3.0), (1, 2.0), (3, 0.0), (60, -57.0), (-60, 3.0)])
async def test_our_own_refusals_get_time_to_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds_ago: int, waits: float
) -> None:
    paused: list[float] = []

    async def pause(stop: asyncio.Event, seconds: float) -> None:
        assert world.store.asked == 0
        paused.append(seconds)

    monkeypatch.setattr(watchlog, "_pause", pause)
    world.now = datetime(2026, 3, 2, 11, 59, 50, tzinfo=UTC) + timedelta(seconds=seconds_ago)
    world.log.lines = [reject()]
    await world.read()
    assert paused == [waits]
    assert world.store.asked == 1


async def test_an_account_gets_so_many_records_an_hour(world: World) -> None:
    world.per_hour = 3
    world.log.lines = [reject()] * 5
    watch = await world.read()
    assert len(world.rejected) == 3
    world.now += timedelta(hours=1)
    world.log.lines += [reject()] * 2
    await world.read(watch)
    assert len(world.rejected) == 5


# -- Copies --------------------------------------------------------------------------------------------------------


async def test_a_copy_that_arrived(world: World) -> None:
    world.store.copies = {7: arrived(7)}
    world.log.lines = [active("AAAAA1", path(7)), attempt("AAAAA1", "sent"), removed("AAAAA1")]
    await world.read()
    assert world.news == [(7, True)]
    assert (world.recipients, world.contacts, world.dropped) == ([5], [], [7])


async def test_replies_and_sends_tell_of_contacts_and_notices_of_nobody(world: World) -> None:
    kinds = {1: EmailType.REPLY, 2: EmailType.SEND, 3: EmailType.NOTIFICATION}
    world.store.copies = {number: arrived(number, kind) for number, kind in kinds.items()}
    for number, kind in kinds.items():
        world.log.lines += [active(f"AAAAA{number}", path(number, kind=kind)), attempt(f"AAAAA{number}", "sent")]
    await world.read()
    assert (world.recipients, world.contacts, world.dropped) == ([], [1, 2], [1, 2, 3])


async def test_what_only_pretends_to_be_a_copy_has_no_consequences(world: World) -> None:
    """The store finds that it went elsewhere."""
    world.log.lines = [active("AAAAA1", path(7)), attempt("AAAAA1", "sent", rcpt="stranger@shop.example")]
    await world.read()
    assert (world.recipients, world.contacts, world.dropped) == ([], [], [])


@pytest.mark.parametrize(
    ("sender", "counts"),
    [
        (path(7), True),
        (path(7).upper(), True),
        (path(7, key=OLD_KEY), True),
        (path(7, days_old=10), True),
        (path(7, days_old=11), False),
        (path(7, key=FOREIGN_KEY), False),
        (path(7).replace("bounces.", "other."), False),
        ("", False),
        ("b-x@bounces.relay.example", False),
    ],
)
async def test_only_genuine_return_paths_name_copies(world: World, sender: str, counts: bool) -> None:
    world.log.lines = [active("AAAAA1", sender), attempt("AAAAA1", "deferred", "lost connection")]
    await world.read()
    assert world.news == ([(7, False)] if counts else [])


async def test_the_last_word_of_a_copy_counts_and_none_after_its_arrival(world: World) -> None:
    world.log.lines = [active("AAAAA1", path(7)), attempt("AAAAA1", "deferred"), attempt("AAAAA1", "sent")]
    world.log.lines += [attempt("AAAAA1", "deferred"), active("AAAAA2", path(8)), attempt("AAAAA2", "deferred")]
    world.log.lines += [attempt("AAAAA2", "bounced", "host mx said: 550 no")]
    await world.read()
    assert world.news == [(7, True), (8, False)]
    assert world.store.written[0].news[1].remote == "bounced: host mx said: 550 no"


async def test_after_an_expiry_the_report_tells(world: World) -> None:
    expired = f"{STAMP} postfix/qmgr[4]: AAAAA1: from=<{path(7)}>, status=expired, returned to sender"
    world.log.lines = [active("AAAAA1", path(7)), expired]
    await world.read()
    assert world.news == []


async def test_queue_ids_are_forgotten_and_given_to_others(world: World) -> None:
    world.log.lines = [active("AAAAA1", path(7)), removed("AAAAA1"), attempt("AAAAA1", "sent")]
    world.log.lines += [active("AAAAA2", path(8)), active("AAAAA2", "stranger@shop.example")]
    world.log.lines += [attempt("AAAAA2", "sent")]
    await world.read()
    assert world.news == []


async def test_after_a_restart_the_next_retry_tells_again(world: World) -> None:
    world.log.lines = [active("AAAAA1", path(7))]
    await world.read()
    world.log.lines += [attempt("AAAAA1", "deferred"), active("AAAAA1", path(7)), attempt("AAAAA1", "sent")]
    await world.read()
    assert world.news == [(7, True)]


async def test_the_copies_under_way_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchlog, "_QUEUE_IDS", 2)
    world.log.lines = [active(f"AAAAA{n}", path(n)) for n in (1, 2, 1, 3)]
    world.log.lines += [attempt(f"AAAAA{n}", "sent") for n in (1, 2, 3)]
    watch = await world.read()
    assert world.news == [(1, True), (3, True)]
    assert len(watch._copies) == 2


async def test_what_was_spooled_for_six_days_is_swept_now_and_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = await world.read()
    await world.read(watch)
    assert world.swept == [NOW - timedelta(days=6)]
    monkeypatch.setattr(watchlog, "_SWEEP_SECONDS", 0.0)
    another = await world.read()
    await world.read(another)
    assert len(world.swept) == 3


# -- Trouble -------------------------------------------------------------------------------------------------------


async def test_a_piece_is_read_again_when_the_database_was_away(world: World) -> None:
    world.store.copies = {7: arrived(7)}
    world.log.lines = [reject(), active("AAAAA1", path(7)), attempt("AAAAA1", "sent")]
    world.store.troubles = [Unavailable("database: OperationalError")]
    watch = await world.read()
    assert watch.health == "database: OperationalError"
    assert world.store.written == []
    await world.read(watch)
    assert watch.health == "ok"
    assert (len(world.rejected), world.news) == (1, [(7, True)])


async def test_what_was_written_although_nobody_heard_of_it_is_not_written_again(world: World) -> None:
    world.log.lines = [reject(), reject("a2@alias.example")]
    world.log.piece = 1
    world.store.lost_answers = 1
    watch = await world.read()
    await world.read(watch)
    assert world.rejected == ["a1@alias.example", "a2@alias.example"]


async def test_a_piece_that_breaks_something_is_left_out(world: World) -> None:
    world.log.piece = 2
    world.log.lines = [reject(), "poison", reject("a2@alias.example")]
    watch = await world.read()
    assert watch.health == "ok"
    assert world.rejected == ["a2@alias.example"]
    world.log.lines += [reject("a3@alias.example")]
    world.store.troubles = [ValueError("a bug")]
    await world.read(watch)
    assert world.store.at.octets == 4
    assert world.rejected == ["a2@alias.example"]


async def test_a_bug_that_stays_is_told(world: World) -> None:
    world.log.lines = [reject()]
    world.store.troubles = [ValueError("a bug"), ValueError("a bug")]
    watch = world.watch()
    assert await watch._turn(asyncio.Event()) > 0
    assert watch.health == "failing, see the log"


async def test_another_reader_was_faster(world: World) -> None:
    world.log.lines = [reject()]
    first, second = world.watch(), world.watch()
    await first._turn(asyncio.Event())
    world.log.lines += [reject("a2@alias.example")]
    await world.read(second)
    await first._turn(asyncio.Event())  # from where it was, in vain
    world.log.lines += [reject("a3@alias.example")]
    await world.read(first)
    assert world.rejected == ["a1@alias.example", "a2@alias.example", "a3@alias.example"]


async def test_who_does_not_lead_reads_nothing(world: World) -> None:
    world.log.lines = [reject()]
    world.store.leads = False
    watch = await world.read()
    assert world.store.written == []
    assert watch.health == "ok"
    world.store.leads = True
    await world.read(watch)
    assert len(world.rejected) == 1


async def test_a_log_that_cannot_be_read_is_told(world: World) -> None:
    world.log.trouble = "/var/log/mail.log: Permission denied"
    watch = await world.read()
    assert watch.health == world.log.trouble
    world.log.trouble = ""
    await world.read(watch)
    assert watch.health == "ok"


async def test_others_can_see_that_a_quiet_log_is_watched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = await world.read()
    count = len(world.store.written)
    await world.read(watch)
    assert len(world.store.written) == count
    monkeypatch.setattr(watchlog, "_SIGN_OF_LIFE_SECONDS", -1.0)
    await world.read(watch)
    assert len(world.store.written) == count + 1


async def test_it_runs_until_it_is_stopped(world: World) -> None:
    world.log.lines = [reject()]
    stop = asyncio.Event()
    task = asyncio.create_task(world.watch().run(stop))
    await world.store.wrote.wait()
    stop.set()
    await task
    assert world.rejected == ["a1@alias.example"]
    assert world.log.closed
