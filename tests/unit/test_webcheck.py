"""Where domains lead: CNAME records and addresses (haltman-api.md section 7.2)."""

from itertools import pairwise
from typing import Any

import pytest

from mailrelay.core.lookup import ABSENT, Answer, Question
from mailrelay.core.webcheck import Hosting, Trail, finding, follow

NAME = "part.example"
BY_NAME = Hosting("www.relay.example")
BY_ADDRESS = Hosting("www.relay.example", frozenset({"192.0.2.80", "2001:db8::80"}))


def walk(hosting: Hosting, zone: dict[Question, Answer | None]) -> tuple[Trail, list[Question]]:
    """The end of the trail, and what was asked on the way."""
    answers: dict[Question, Answer | None] = {}
    asked: list[Question] = []
    trail = follow(NAME, hosting, answers)
    while trail.ask:
        asked += trail.ask
        answers |= {question: zone.get(question, ABSENT) for question in trail.ask}
        trail = follow(NAME, hosting, answers)
    return trail, asked


def chain(length: int, last: str = "end.example") -> dict[Question, Any]:
    names = [NAME, *(f"c{number}.example" for number in range(1, length)), last]
    return {(one, "CNAME"): Answer((other,)) for one, other in pairwise(names)}


def test_the_cname_that_is_wanted_is_right() -> None:
    trail, asked = walk(BY_NAME, {(NAME, "CNAME"): Answer(("www.relay.example",))})
    assert (trail.state, trail.aliases, asked) == ("right", ("www.relay.example",), [(NAME, "CNAME")])
    assert finding(NAME, BY_NAME, trail).extras == {}


def test_one_of_several_is_enough() -> None:
    assert walk(BY_NAME, {(NAME, "CNAME"): Answer(("a.example", "www.relay.example"))})[0].state == "right"


@pytest.mark.parametrize(
    ("zone", "state"),
    [
        ({}, "missing"),
        ({(NAME, "CNAME"): Answer(("else.example",))}, "wrong"),
        ({(NAME, "CNAME"): None}, "unknown"),
        (chain(2, "www.relay.example"), "wrong"),  # only addresses are followed
    ],
)
def test_without_addresses_only_that_cname_will_do(zone: dict[Question, Answer | None], state: str) -> None:
    trail, asked = walk(BY_NAME, zone)
    assert (trail.state, len(asked)) == (state, 1)


@pytest.mark.parametrize("found", [("A", "192.0.2.80"), ("AAAA", "2001:db8::80"), ("AAAA", "2001:DB8:0::80")])
def test_addresses_will_do_directly(found: tuple[Any, str]) -> None:
    trail, _ = walk(BY_ADDRESS, {(NAME, found[0]): Answer((found[1],))})
    assert (trail.state, trail.reason, trail.addresses) == ("right", "direct_ip_match", (found[1],))


def test_addresses_will_do_at_the_end_of_a_chain() -> None:
    zone = chain(4) | {("end.example", "A"): Answer(("192.0.2.9", "192.0.2.80"))}
    trail, asked = walk(BY_ADDRESS, zone)
    assert (trail.state, trail.reason, len(trail.aliases)) == ("right", "authorized_ip_match", 4)
    assert len(asked) == 5 + 2


def test_other_addresses_will_not() -> None:
    trail, _ = walk(BY_ADDRESS, chain(1) | {("end.example", "A"): Answer(("192.0.2.9",))})
    assert (trail.state, trail.reason) == ("wrong", "authorized_ip_not_found")
    shown = finding(NAME, BY_ADDRESS, trail)
    assert shown.extras == {
        "expected_ips": ["192.0.2.80", "2001:db8::80"],
        "found_ips": ["192.0.2.9"],
        "chain_reason": "authorized_ip_not_found",
    }
    assert shown.sentence == "part.example leads to end.example, not to www.relay.example."


@pytest.mark.parametrize(("length", "reason"), [(9, "authorized_ip_match"), (10, "max_chain_depth_reached")])
def test_chains_end_after_ten_names(length: int, reason: str) -> None:
    trail, asked = walk(BY_ADDRESS, chain(length) | {("end.example", "A"): Answer(("192.0.2.80",))})
    assert trail.reason == reason
    assert len(asked) <= 12


@pytest.mark.parametrize(
    "zone",
    [
        {(NAME, "CNAME"): Answer((NAME,))},
        {(NAME, "CNAME"): Answer(("b.example",)), ("b.example", "CNAME"): Answer((NAME,))},
        {
            (NAME, "CNAME"): Answer(("b.example",)),
            ("b.example", "CNAME"): Answer(("c.example",)),
            ("c.example", "CNAME"): Answer(("b.example",)),
        },
    ],
)
def test_circles_are_seen(zone: dict[Question, Answer | None]) -> None:
    trail, _ = walk(BY_ADDRESS, zone)
    assert (trail.state, trail.reason) == ("wrong", "cname_loop_detected")


@pytest.mark.parametrize(
    ("a", "aaaa", "state"),
    [
        (None, Answer(), "unknown"),
        (Answer(("192.0.2.9",)), None, "unknown"),
        (Answer(("192.0.2.80",)), None, "right"),
        (Answer(), Answer(), "missing"),
    ],
)
def test_silence_about_addresses_is_no_verdict(a: Answer | None, aaaa: Answer | None, state: str) -> None:
    trail, _ = walk(BY_ADDRESS, {(NAME, "A"): a, (NAME, "AAAA"): aaaa})
    assert trail.state == state


def test_silence_on_the_way_is_no_verdict() -> None:
    trail, _ = walk(BY_ADDRESS, chain(2) | {("c1.example", "CNAME"): None})
    assert (trail.state, trail.aliases) == ("unknown", ("c1.example",))
