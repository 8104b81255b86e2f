"""Trouble on purpose: a stream of numbered mail, processes killed in its middle, and the books afterwards."""

import os
import random
import re
import signal
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mailrelay.core import verp
from mailrelay.core.ledger import OutboundId
from mailrelay.core.screen import day_number
from mailrelay.keyring import read_secret
from mailrelay.store.ledger import unsigned
from tests.system.world import World
from tools.sandbox.process import wait_until
from tools.sandbox.sandbox import ROLES
from tools.sandbox.sender import Dispatch, Reply
from tools.sandbox.show import Arrived

SENDERS = 5  # SMTP sessions at once
AHEAD = 14  # messages that may be under way when a blow falls
_PATIENCE_SECONDS = 120.0  # of a sender with one message
_STOPPED_SECONDS = 1.0
_NUMBER = re.compile(rb"(?im)^Message-ID: <(\d+)\.")
_ENVELOPE_TO = re.compile(rb"(?im)^X-Mailrelay-Envelope-To: (\S+)")

Boxes = Mapping[str, Sequence[str]]  # address -> the mailboxes behind it


@dataclass(frozen=True, slots=True)
class Copy:
    """Who should get what: the number of a message, the address written to, the mailbox behind it."""

    number: int
    rcpt: str
    mailbox: str


class Stream:
    """Numbered messages of one sender, sent by several hands.

    Like real senders they try again whatever was not answered with 250, and only that. The chaos sets the pace: a
    message is not begun before `allow` has let it pass.
    """

    def __init__(self, world: World, boxes: Boxes, fresh: Boxes, count: int, dice: random.Random) -> None:
        """Each message goes to some of `boxes`; some go to one of `fresh` as well, each of which gets one at most."""
        self.world = world
        self.count = count
        self.sender = f"kills{dice.randrange(10**9)}@plain.example"
        self.accepted: list[tuple[str, str]] = []  # queue id and recipient
        self.owed: set[Copy] = set()
        self.refused: list[Reply] = []
        self.unsure: set[str] = set()  # recipients of transactions that broke off
        self.attempts = 0
        self._behind = {**boxes, **fresh}
        unused = iter(fresh)
        self._plans = [_recipients(boxes, unused, dice) for _ in range(count)]
        self._begun = self._allowed = 0
        self._moved = threading.Condition()
        self._given_up = threading.Event()

    def mailboxes(self, rcpt: str) -> Sequence[str]:
        """Who gets the mail to this address."""
        return self._behind[rcpt]

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """The stream flows within the block, at whose end every message has been accepted."""
        with ThreadPoolExecutor(SENDERS) as pool:
            hands = [pool.submit(self._hand, range(first, self.count, SENDERS)) for first in range(SENDERS)]
            try:
                yield
                self.allow(self.count)
                _results(hands)
            finally:
                self._given_up.set()
                self.allow(self.count)

    def allow(self, number: int) -> None:
        """Let messages below this number begin."""
        with self._moved:
            self._allowed = max(self._allowed, number)
            self._moved.notify_all()

    def reach(self, number: int) -> None:
        """Return when so many messages have begun."""
        with self._moved:
            assert self._moved.wait_for(lambda: self._begun >= number, _PATIENCE_SECONDS), "the stream stands still"

    def _hand(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            with self._moved:
                self._moved.wait_for(lambda number=number: self._allowed > number)  # type: ignore[misc]
                self._begun += 1
                self._moved.notify_all()
            self._send(number)

    def _send(self, number: int) -> None:
        content = self._content(number)
        waiting = list(self._plans[number])
        patience = time.monotonic() + _PATIENCE_SECONDS
        while waiting and not self._given_up.is_set():
            assert time.monotonic() < patience, f"message {number} was not accepted for {waiting}"
            taken = self._try(waiting, content)
            for rcpt in taken:
                self.owed.update(Copy(number, rcpt, mailbox) for mailbox in self.mailboxes(rcpt))
            waiting = [rcpt for rcpt in waiting if rcpt not in taken]
            if waiting:
                self._given_up.wait(0.2)

    def _try(self, rcpts: Sequence[str], content: bytes) -> list[str]:
        """Who was accepted in one transaction."""
        with self._moved:
            self.attempts += 1
        try:
            dispatch = self.world.sandbox.mailer.send(self.sender, rcpts, content)
        except (smtplib.SMTPException, OSError):
            self.unsure.update(rcpts)
            return []
        replies = [dispatch.sender, *dispatch.recipients, *([dispatch.data] if dispatch.data else [])]
        self.refused += [reply for reply in replies if reply.code >= 500]
        taken = _taken(dispatch, rcpts)
        self.accepted += [(dispatch.queue_id, rcpt) for rcpt in taken]
        return taken

    def _content(self, number: int) -> bytes:
        head = (
            f"From: {self.sender}\r\nTo: somebody@alias.example\r\nSubject: {number}\r\n"
            f"Message-ID: <{number}.{self.sender}>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\n"
        )
        lines = (5, 60, 600)[number % 3]
        return (head + "Good morning, good evening.\r\n" * lines).encode()


def children(parent: int) -> list[int]:
    """The processes directly below one; none if it is gone."""
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _recipients(boxes: Boxes, unused: Iterator[str], dice: random.Random) -> list[str]:
    chosen = dice.sample(sorted(boxes), dice.choice([1, 1, 1, 3, 4, 5]))
    return [*chosen[1:], next(unused)] if dice.random() < 0.2 else chosen


def _taken(dispatch: Dispatch, rcpts: Sequence[str]) -> list[str]:
    if dispatch.data is None or not dispatch.data.accepted:
        return []
    return [rcpt for rcpt, reply in zip(rcpts, dispatch.recipients, strict=False) if reply.accepted]


def _results(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        future.result()


@dataclass(frozen=True, slots=True)
class Blow:
    """What was done to whom, and when: seconds since 1970."""

    target: str
    began: float
    ended: float


@dataclass(slots=True)
class Chaos:
    """Deals blows while a stream flows; the moments are drawn, in numbers of messages."""

    world: World
    dice: random.Random
    blows: list[Blow] = field(default_factory=list)

    def strike(self, stream: Stream, targets: Mapping[str, int]) -> None:
        """Deal each target its number of blows, in random order, at random places of the stream."""
        order = [target for target, times in targets.items() for _ in range(times)]
        self.dice.shuffle(order)
        places = sorted(self.dice.sample(range(1, stream.count - AHEAD), len(order)))
        for place, target in zip(places, order, strict=True):
            stream.allow(place + AHEAD)
            stream.reach(place)
            threading.Event().wait(self.dice.uniform(0.0, 0.3))
            began = time.time()
            self._deal(target)
            self.blows.append(Blow(target, began, time.time()))

    def _deal(self, target: str) -> None:
        sandbox = self.world.sandbox
        if target in ROLES:
            # Right after a blow there may be nobody to hit.
            wait_until(lambda: sandbox.supervised.signal(target, signal.SIGKILL) is not None, f"{target} to live")
        elif target == "milter worker":
            wait_until(self._kill_worker, "a worker of the milter to live")
        elif target == "postgresql":
            sandbox.postgres.kill()
            sandbox.postgres.start()
        elif target == "lmtp stopped":
            self._stop_for_a_while("lmtp")
        elif target == "lmtp restarted":
            wait_until(lambda: sandbox.supervised.signal("lmtp", signal.SIGTERM) is not None, "lmtp to live")
        elif target == "postfix reloaded":
            sandbox.postfix.reload()
        else:
            raise ValueError(target)

    def _kill_worker(self) -> bool:
        """Kill one of the processes below the milter's parent; False if there is none."""
        parent = self.world.sandbox.supervised.pid("milter")
        workers = children(parent) if parent is not None else []
        with suppress(ProcessLookupError):
            if workers:
                os.kill(self.dice.choice(workers), signal.SIGKILL)
                return True
        return False

    def _stop_for_a_while(self, role: str) -> None:
        supervised = self.world.sandbox.supervised
        wait_until(lambda: supervised.signal(role, signal.SIGSTOP) is not None, f"{role} to live")
        try:
            threading.Event().wait(_STOPPED_SECONDS)
        finally:
            supervised.signal(role, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Entry:
    """A ledger row; times in seconds since 1970, infinite if there is no outcome. outbound_id: 0 without a copy."""

    queue_id: str
    rcpt: str
    outbound_id: OutboundId
    outcome: str
    began: float
    ended: float


class Books:
    """What arrived and what the ledger says, after the queue has become empty."""

    def __init__(self, world: World, stream: Stream) -> None:
        self._world = world
        self._stream = stream
        self.arrived = world.arrivals(containing=stream.sender.encode())
        self.copies = Counter(map(_copy, self.arrived))
        self.entries = self._entries()

    def _entries(self) -> list[Entry]:
        found = self._world.rows(
            "select l.queue_id, l.rcpt, coalesce(o.id, 0), l.outcome, extract(epoch from l.at), "
            "coalesce(extract(epoch from l.finished_at), 'infinity') "
            f"from ledger l left join outbound o on o.id = l.outbound_id where l.sender = '{self._stream.sender}'"
        )
        return [
            Entry(queue_id, rcpt, unsigned(int(outbound)), outcome, float(began), float(ended))
            for queue_id, rcpt, outbound, outcome, began, ended in found
        ]

    def missing(self) -> set[Copy]:
        """Accepted and not arrived."""
        return self._stream.owed - self.copies.keys()

    def unexpected(self) -> set[Copy]:
        """Arrived although not accepted; a transaction that broke off may have been accepted all the same."""
        return {copy for copy in self.copies.keys() - self._stream.owed if copy.rcpt not in self._stream.unsure}

    def duplicates(self) -> Mapping[OutboundId, int]:
        """How many copies too many arrived with each return path. A sender that repeats itself gets another path."""
        arrived = Counter(self._return_path(message) for message in self.arrived)
        return {outbound_id: count - 1 for outbound_id, count in arrived.items() if count > 1}

    def strangers(self) -> set[OutboundId]:
        """Return paths outside that no copy of this stream owns."""
        return {self._return_path(message) for message in self.arrived} - {entry.outbound_id for entry in self.entries}

    def story(self, blows: Sequence[Blow]) -> Iterator[str]:
        """The blows and the duplicates between them, for people; seconds since the first blow."""
        zero = min((blow.began for blow in blows), default=0.0)
        lines = [(blow.began - zero, f"to {blow.ended - zero:7.2f} {blow.target}") for blow in blows]
        entries = {entry.outbound_id: entry for entry in self.entries}
        for outbound_id, count in self.duplicates().items():
            entry = entries.get(outbound_id)
            if entry is None:
                continue  # a stranger's
            what = f"{entry.queue_id} to {entry.rcpt}: {count} too many"
            lines.append((entry.began - zero, f"to {entry.ended - zero:7.2f} {what}"))
        return (f"{began:7.2f} {what}" for began, what in sorted(lines))

    def unexplained(self, blows: Sequence[Blow]) -> dict[OutboundId, int]:
        """Duplicates beyond those of the blows that fell between the registration of a copy and its record."""
        entries = {entry.outbound_id: entry for entry in self.entries}
        over: dict[OutboundId, int] = {}
        for outbound_id, count in self.duplicates().items():
            entry = entries[outbound_id]
            hits = sum(entry.began <= blow.ended and blow.began <= entry.ended for blow in blows)
            if count > hits:
                over[outbound_id] = count - hits
        return over

    def unaccounted(self) -> Counter[tuple[str, str]]:
        """Queue id and recipient of mailboxes that the ledger has no row for."""
        return self._accepted() - self._accounted()

    def unaccountable(self) -> Counter[tuple[str, str]]:
        """Rows beyond those; a transaction that broke off may have been accepted all the same."""
        surplus = self._accounted() - self._accepted()
        return Counter({entry: n for entry, n in surplus.items() if entry[1] not in self._stream.unsure})

    def _accounted(self) -> Counter[tuple[str, str]]:
        return Counter((entry.queue_id, entry.rcpt) for entry in self.entries)

    def _accepted(self) -> Counter[tuple[str, str]]:
        """What the senders were told, once for each mailbox. Postfix gives a queue id several times."""
        told: Counter[tuple[str, str]] = Counter()
        for queue_id, rcpt in self._stream.accepted:
            told[queue_id, rcpt] += len(self._stream.mailboxes(rcpt))
        return told

    def _return_path(self, message: Arrived) -> OutboundId:
        local, _, domain = message.sender.partition("@")
        keys = read_secret(self._world.sandbox.places.secrets, "verp.key")
        path = verp.decode(local, domain, keys, day_number(datetime.now(UTC)))
        assert isinstance(path, verp.VerpId), message.sender
        return OutboundId(path.outbound_id)


def _copy(message: Arrived) -> Copy:
    number, rcpt = _NUMBER.search(message.header), _ENVELOPE_TO.search(message.header)
    assert number is not None and rcpt is not None, message.header
    assert len(message.recipients) == 1, message.recipients
    return Copy(int(number[1]), rcpt[1].decode(), message.recipients[0])
