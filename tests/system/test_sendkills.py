"""Replies and sends while the role that makes them is killed again and again: none is lost, none is counted twice."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.system.chaos import Blow
from tests.system.letters import from_owner, reverse
from tests.system.scenario import (
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.world import Mail, World
from tools.sandbox.process import wait_until

WRITERS, EACH, KILLS = 6, 15, 8  # of the writers two make an alias with each message
CONTACT = "contact@shop.example"


@dataclass(frozen=True, slots=True)
class Post:
    """A message to send, and by whom."""

    sender: str
    rcpt: str
    mail: Mail


def posts(scenario: Scenario, number: int) -> list[Post]:
    """What one writer has to send."""
    person = scenario.person()
    if number % 3:
        rcpts = [reverse(scenario.alias(person), CONTACT)] * EACH
    else:
        domain = scenario.domain(person)
        rcpts = [reverse(f"fresh{index}@{domain}", CONTACT) for index in range(EACH)]
    # Tried again, an answer that makes its alias would find it there, and so count as another kind.
    answers = "<1@shop.example>" if number % 3 else ""
    return [Post(person.mailbox, rcpt, from_owner(person, rcpt, answers=answers)) for rcpt in rcpts]


def kill_while_they_flow(world: World, all_posts: Sequence[Sequence[Post]]) -> tuple[dict[bytes, str], list[Blow]]:
    """The queue id of each message by its mark, and the kills."""
    accepted: dict[bytes, str] = {}
    blows: list[Blow] = []

    def post(some: Sequence[Post]) -> None:
        for one in some:
            dispatch = world.send(one.sender, one.rcpt, content=one.mail.content)
            assert dispatch.accepted, dispatch
            accepted[one.mail.message_id] = dispatch.queue_id

    with ThreadPoolExecutor(WRITERS) as pool:
        hands = [pool.submit(post, some) for some in all_posts]
        for number in range(KILLS):
            enough = (number + 1) * WRITERS * EACH // (KILLS + 1)
            wait_until(lambda enough=enough: len(accepted) >= enough, f"{enough} messages to be accepted")  # type: ignore[misc]
            began = time.time()
            world.kill("lmtp")
            blows.append(Blow("lmtp", began, time.time()))
            threading.Event().wait(0.2)
        for hand in hands:
            hand.result()
    return accepted, blows


def test_kills_lose_no_reply_and_repeat_only_what_was_being_handed_over(scenario: Scenario) -> None:
    world = scenario.world
    all_posts = [posts(scenario, number) for number in range(WRITERS)]
    accepted, blows = kill_while_they_flow(world, all_posts)
    world.repair()
    world.settle()
    marks = [one.mail.message_id for some in all_posts for one in some]
    copies = {mark: world.arrivals(containing=mark) for mark in marks}
    assert [mark for mark in marks if not copies[mark]] == []
    assert {copy.recipients for found in copies.values() for copy in found} == {(CONTACT,)}
    # One return path for each: a message that came twice is the same copy, and was under way when a blow fell.
    assert [mark for mark in marks if len({copy.sender for copy in copies[mark]}) > 1] == []
    twice = {mark: len(found) - 1 for mark, found in copies.items() if len(found) > 1}
    print(f"{len(marks)} messages, {len(blows)} kills, twice: {twice}")
    for mark, count in twice.items():
        ((began, ended),) = scenario.sql(
            "select extract(epoch from at), extract(epoch from finished_at) from ledger where queue_id = %s",
            accepted[mark],
        )
        assert count <= sum(float(began) <= blow.ended and blow.began <= float(ended) for blow in blows)
    check_the_books(scenario, all_posts, accepted)


def check_the_books(scenario: Scenario, all_posts: Sequence[Sequence[Post]], accepted: dict[bytes, str]) -> None:
    """Every message is counted once, whatever happened between its registration and its end."""
    owners = [some[0].sender for some in all_posts]
    which = "select account_id from recipient where address = any(%s)"
    counted = f"select sum(emails_replied), sum(emails_sent) from alias where account_id in ({which})"
    assert [tuple(map(int, row)) for row in scenario.sql(counted, owners)] == [(60, 30)]
    spent = f"select amount from rate_window where kind = 'reply_send' and account_id in ({which})"
    assert sum(amount for (amount,) in scenario.sql(spent, owners)) == WRITERS * EACH
    entries = Counter(scenario.sql("select outcome from ledger where queue_id = any(%s)", list(accepted.values())))
    assert entries == {("delivered",): WRITERS * EACH}
