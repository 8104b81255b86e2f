"""What checks of a domain make of it, over time."""

from datetime import timedelta

import pytest

from mailrelay.core.recheck import OFTEN, Alert, Incident, Standing, Step, advance, alert, summary
from tests.unit.fakes import NOW

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FINE, NEW = Standing(approved=True), Standing(approved=False)


def watched(before: Standing, *seen: tuple[float, bool | None]) -> list[Step]:
    """What became of each check. seen: minutes after the first, and the verdict."""
    steps: list[Step] = []
    for minutes, verdict in seen:
        steps.append(advance(before, verdict, NOW + minutes * MINUTE, 0.5))
        before = steps[-1].standing
    return steps


def test_approval_goes_with_the_third_failure_in_a_row_and_once() -> None:
    steps = watched(FINE, (0, False), (30, False), (60, False), (90, False))
    assert [step.standing.status for step in steps] == ["WARNING", "DEGRADED", "INVALID", "INVALID"]
    assert [step.standing.approved for step in steps] == [True, True, False, False]
    assert [step.change for step in steps] == [None, None, "withdrawn", None]


def test_it_comes_back_with_the_first_success() -> None:
    *_, last = watched(FINE, (0, False), (30, False), (60, False), (90, True))
    assert (last.standing, last.change) == (FINE, "granted")


def test_a_success_between_failures_begins_anew() -> None:
    steps = watched(FINE, (0, False), (30, False), (60, True), (90, False), (120, False))
    assert [step.standing.status for step in steps] == ["WARNING", "DEGRADED", "OK", "WARNING", "DEGRADED"]
    assert all(step.standing.approved for step in steps)


def test_no_answer_is_no_failure_however_often() -> None:
    steps = watched(FINE, *((30 * number, None) for number in range(500)))
    assert {(step.standing, step.change) for step in steps} == {(FINE, None)}


def test_no_answer_between_failures_neither_counts_nor_forgives() -> None:
    steps = watched(FINE, (0, False), (30, None), (60, False), (90, None), (120, False))
    assert [step.standing.status for step in steps] == ["WARNING", "WARNING", "DEGRADED", "DEGRADED", "INVALID"]


def test_who_asks_ten_times_a_minute_takes_nothing_from_anybody() -> None:
    steps = watched(FINE, *((number / 10, False) for number in range(190)))
    assert {step.standing.status for step in steps} == {"WARNING"}
    assert watched(FINE, *((number, False) for number in range(40)))[-1].standing.approved
    assert not watched(FINE, *((number, False) for number in range(41)))[-1].standing.approved
    assert watched(FINE, (0, False), (500, False), (501, False))[-1].standing.status == "DEGRADED"


@pytest.mark.parametrize(
    ("before", "verdict", "rest"),
    [
        (FINE, True, DAY),
        (NEW, True, DAY),
        (FINE, False, 30 * MINUTE),
        (FINE, None, 30 * MINUTE),
        (NEW, None, 30 * MINUTE),
        (NEW, False, 2 * MINUTE),
        (Standing(False, "DEGRADED", 2, NOW - 20 * MINUTE, NOW - 8 * MINUTE), False, 10 * MINUTE),
        (Standing(False, "INVALID", 3, NOW - DAY, NOW - DAY / 3), False, DAY / 2),
        (Standing(False, "INVALID", 3, NOW - 30 * DAY, NOW - DAY), False, DAY),
    ],
)
def test_when_it_is_looked_at_next_give_or_take_a_tenth(
    before: Standing, verdict: bool | None, rest: timedelta
) -> None:
    waits = [advance(before, verdict, NOW, dice).next_check - NOW for dice in (0.0, 0.5, 1.0)]
    for wait, part in zip(waits, (0.9, 1.0, 1.1), strict=True):
        assert abs(wait - rest * part) < timedelta(seconds=1)


def test_a_new_domain_is_looked_at_within_minutes_and_not_for_ever() -> None:
    before, now, looks = NEW, NOW, 0
    while now < NOW + 7 * DAY:
        step = advance(before, False, now, 0.5)
        before, now, looks = step.standing, step.next_check, looks + 1
    assert 15 < looks < 40


def told(*seen: tuple[float, bool | None], before: Standing = FINE) -> list[tuple[float, str]]:
    """When operators hear what."""
    known = Alert()
    news: list[tuple[float, str]] = []
    for minutes, verdict in seen:
        now = NOW + minutes * MINUTE
        step = advance(before, verdict, now, 0.5)
        known, what = alert(known, before, step, now)
        before = step.standing
        if what is not None:
            news.append((minutes, what))
    return news


def test_operators_hear_of_each_grade_and_of_its_end() -> None:
    seen = ((0, False), (30, False), (60, False), (90, False), (120, None), (150, True), (180, True))
    assert told(*seen) == [(0, "WARNING"), (30, "DEGRADED"), (60, "DISABLED"), (150, "RECOVERED")]


def test_trouble_that_comes_and_goes_is_told_every_twelve_hours() -> None:
    comes_and_goes = [(minutes, minutes % 60 == 30) for minutes in range(0, 24 * 60, 30)]
    assert told(*comes_and_goes) == [(0, "WARNING"), (30, "RECOVERED"), (720, "WARNING"), (750, "RECOVERED")]


def test_silence_and_what_never_was_right_are_no_news() -> None:
    assert told((0, None), (30, None)) == []
    assert told((0, False), (30, False), (60, False), (90, True), before=NEW) == []


def test_what_is_withdrawn_is_told_however_recently_operators_heard() -> None:
    seen = ((0, False), (30, True), (60, False), (90, False), (120, False))
    assert told(*seen) == [(0, "WARNING"), (30, "RECOVERED"), (120, "DISABLED")]


def test_shared_domains_in_use_are_looked_at_more_often() -> None:
    assert advance(FINE, True, NOW, 0.5, OFTEN).next_check - NOW == timedelta(hours=4)
    assert advance(FINE, False, NOW, 0.5, OFTEN).next_check - NOW == 30 * MINUTE


def test_a_reminder_names_what_is_wrong() -> None:
    found = [
        Incident("a.example", "EMAIL", "INVALID", NOW, "a.example has no MX record."),
        Incident("b.example", "UI", "WARNING", None, None),
    ]
    assert summary(found) == (
        "Checks of domains that fail: 2. "
        "a.example (EMAIL) is INVALID since 2026-01-06 12:30 UTC: a.example has no MX record. "
        "b.example (UI) is WARNING since an unknown time: "
    )
