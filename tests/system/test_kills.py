"""The published durability test: no accepted message is lost, whatever is killed while mail flows.

The seed of a run is printed; MAILRELAY_KILL_SEED repeats it, as far as chance depends on us.
"""

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from tests.system.chaos import Blow, Books, Boxes, Chaos, Stream
from tests.system.world import World
from tools.sandbox.sandbox import ROLES
from tools.sandbox.world import CUSTOM_DOMAIN, MAILBOX

# The last one has two mailboxes, hence two copies of each message.
BOXES: Boxes = {
    **{f"kill{number}@alias.example": (f"kill{number}@inbox.example",) for number in range(5)},
    "killboth@alias.example": ("killleft@inbox.example", "killright@inbox.example"),
}


@pytest.fixture(scope="module")
def boxes(session_world: World) -> Boxes:
    for alias, mailboxes in BOXES.items():
        session_world.cli("alias", "add", alias, *(word for mailbox in mailboxes for word in ("--to", mailbox)))
    return BOXES


@pytest.fixture
def dice() -> random.Random:
    seed = int(os.environ.get("MAILRELAY_KILL_SEED") or random.SystemRandom().randrange(10**6))
    print(f"MAILRELAY_KILL_SEED={seed}")
    return random.Random(seed)


def run(
    world: World, boxes: Boxes, dice: random.Random, count: int, targets: Mapping[str, int]
) -> tuple[Books, list[Blow]]:
    """A stream of so many messages with blows in it, and the books once everything has come to rest."""
    name = f"new{dice.randrange(10**9)}"
    fresh = {f"{name}.{number}@{CUSTOM_DOMAIN}": (MAILBOX,) for number in range(count)}
    stream = Stream(world, boxes, fresh, count, dice)
    chaos = Chaos(world, dice)
    began = time.monotonic()
    with stream.flowing():
        chaos.strike(stream, targets)
    sent = time.monotonic()
    world.repair()  # which returns when all roles are healthy
    world.settle()
    books = Books(world, stream)
    print(
        f"{count} messages in {stream.attempts} transactions and {sent - began:.0f} s, {len(chaos.blows)} blows; "
        f"at rest {time.monotonic() - sent:.0f} s later: {len(stream.owed)} copies owed, {len(books.arrived)} arrived, "
        f"{sum(books.duplicates().values())} of them twice"
    )
    print(*books.story(chaos.blows), sep="\n")
    assert stream.refused == []  # trouble of ours is never 5xx
    return books, chaos.blows


def check_nothing_is_lost(books: Books) -> None:
    assert books.missing() == set()
    assert books.unexpected() == set()
    assert books.unaccounted() == Counter()
    assert books.unaccountable() == Counter()
    assert {entry.outcome for entry in books.entries} == {"delivered"}
    assert books.strangers() == set()


def test_nothing_is_lost_and_only_a_killed_hand_over_is_repeated(
    world: World, boxes: Boxes, dice: random.Random
) -> None:
    targets = dict.fromkeys(ROLES, 5) | {"lmtp": 10, "milter worker": 5, "postgresql": 6, "lmtp stopped": 2}
    books, blows = run(world, boxes, dice, 400, targets)
    check_nothing_is_lost(books)
    kills = [blow for blow in blows if blow.target == "lmtp"]
    assert books.unexplained(kills) == {}


def test_without_a_kill_of_the_lmtp_role_every_copy_arrives_once(
    world: World, boxes: Boxes, dice: random.Random
) -> None:
    """Its memory bridges the time when the database is away, and a restart finishes what it has begun."""
    targets = {"policy": 4, "worker": 2, "api": 2, "postgresql": 4, "milter": 2, "milter worker": 4}
    targets |= {"lmtp stopped": 1, "lmtp restarted": 4}
    books, _ = run(world, boxes, dice, 250, targets)
    check_nothing_is_lost(books)
    assert books.duplicates() == {}


def reload_postfix(world: World) -> None:
    world.sandbox.postfix.reload()


def restart_postfix(world: World) -> None:
    world.sandbox.postfix.stop()
    world.sandbox.postfix.start()


@pytest.mark.parametrize("trouble", [reload_postfix, restart_postfix])
def test_what_postfix_does_to_kept_connections_costs_no_second_try(
    world: World, boxes: Boxes, trouble: Callable[[World], None]
) -> None:
    """A second try would come after minutes, with the settings of a real Postfix."""
    first, second = (world.message(sender="news@plain.example") for _ in range(2))
    assert world.send("news@plain.example", *boxes, content=first.content).accepted
    copies = sum(map(len, boxes.values()))
    world.arrived(copies, containing=first.message_id)
    world.settle()
    before = deferred(world)
    trouble(world)
    assert world.send("news@plain.example", *boxes, content=second.content).accepted
    world.arrived(copies, containing=second.message_id)
    assert deferred(world) == before


def deferred(world: World) -> float:
    """Recipients that the lmtp role has answered with 451."""
    found = re.findall(
        r'^mailrelay_recipients_total\{outcome="deferred".*\} (\S+)$', world.sandbox.metrics("lmtp"), re.M
    )
    return sum(map(float, found))
