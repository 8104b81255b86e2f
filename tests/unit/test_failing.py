"""When mail to a mailbox is given up, tried again and believed in again; aliases that bounce."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.bounce import BounceType
from mailrelay.core.failing import Bounces, Health, Pattern, after_failure, after_success, pattern

NOW = datetime(2026, 1, 20, 12, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HARD = BounceType.HARD
WORKING = Health(last_success_at=NOW - 2 * DAY)


def failures(health: Health, *moments: datetime, status: str = "5.5.0", watched: bool = True) -> Health:
    for moment in moments:
        health = after_failure(health, HARD, status, moment, watched=watched)
    return health


# -- Recipients ----------------------------------------------------------------------------------------------------


def test_12_6_171_three_hard_failures_on_two_days_are_enough() -> None:
    twice = failures(WORKING, NOW, NOW + HOUR)
    assert (twice.failing_since, twice.hard_failures, twice.first_hard_failure_at) == (None, 2, NOW)
    assert failures(twice, NOW + DAY).failing_since == NOW + DAY


def test_7_5_on_one_day_no_number_is_enough() -> None:
    many = failures(WORKING, *[NOW + n * timedelta(minutes=1) for n in range(600)])
    assert (many.failing_since, many.hard_failures) == (None, 600)
    # Days are of UTC, wherever the server stands.
    midnight = NOW.replace(hour=0, minute=0) + DAY
    assert failures(many, midnight - timedelta(seconds=1)).failing_since is None
    assert failures(many, midnight).failing_since == midnight


def test_7_5_a_success_in_between_begins_anew() -> None:
    twice = failures(WORKING, NOW, NOW + DAY)
    recovered = after_success(twice, NOW + DAY + HOUR)
    assert recovered == Health(last_success_at=NOW + DAY + HOUR)
    assert failures(recovered, NOW + 2 * DAY, NOW + 3 * DAY).failing_since is None


@pytest.mark.parametrize("status", ["5.1.1", "5.1.6", "5.1.10", "5.2.1"])
def test_7_5_one_is_enough_where_the_mailbox_is_gone(status: str) -> None:
    long_silent = Health(last_success_at=NOW - 31 * DAY)
    assert failures(Health(), NOW, status=status).failing_since == NOW
    assert failures(long_silent, NOW, status=status).failing_since == NOW
    assert failures(WORKING, NOW, status=status).failing_since is None


@pytest.mark.parametrize("status", ["5.1.2", "5.7.1", "5.1.100", ""])
def test_7_5_other_failures_alone_are_not(status: str) -> None:
    assert failures(Health(), NOW, status=status) == Health(None, None, 1, NOW)


@pytest.mark.parametrize("kind", [BounceType.SOFT, BounceType.SPAM, BounceType.RULE])
def test_only_hard_failures_speak_against_a_mailbox(kind: BounceType) -> None:
    assert after_failure(Health(), kind, "5.1.1", NOW, watched=True) == Health()


def test_failures_are_forgotten_after_thirty_days() -> None:
    twice = failures(WORKING, NOW, NOW + DAY)
    later = failures(twice, NOW + 31 * DAY)
    assert (later.failing_since, later.hard_failures, later.first_hard_failure_at) == (None, 1, NOW + 31 * DAY)


def test_who_fails_goes_on_failing_since_then() -> None:
    failing = failures(Health(), NOW, NOW + DAY, NOW + 40 * DAY, status="5.1.1")
    assert failing.failing_since == NOW


def test_without_a_mail_log_only_mailboxes_that_are_gone_fail() -> None:
    moments = [NOW + n * DAY for n in range(9)]
    assert failures(Health(), *moments, watched=False) == Health()
    assert failures(Health(), NOW, status="5.1.1", watched=False).failing_since is None
    assert failures(Health(), *moments, status="5.1.1", watched=False).failing_since == moments[2]


def test_a_success_clears_failing_and_an_older_one_does_not() -> None:
    failing = failures(Health(), NOW, status="5.1.1")
    assert after_success(failing, NOW - HOUR) == replace(failing, last_success_at=NOW - HOUR)
    assert after_success(failing, NOW + DAY) == Health(last_success_at=NOW + DAY)


def test_a_success_is_noted_once_an_hour() -> None:
    assert after_success(WORKING, NOW - 2 * DAY + HOUR) == WORKING
    assert after_success(WORKING, NOW) == Health(last_success_at=NOW)
    assert after_success(Health(), NOW) == Health(last_success_at=NOW)


# -- Aliases -------------------------------------------------------------------------------------------------------


def ago(**counts: int) -> list[Bounces]:
    """`d3=2`: two of them three days ago; `h3=2`: three hours ago, in the window that began then."""
    units = {"d": DAY, "h": HOUR}
    return [Bounces(NOW.replace(minute=0) - int(name[1:]) * units[name[0]], n) for name, n in counts.items()]


def daily(count: int, days: Sequence[int]) -> list[Bounces]:
    return [Bounces(NOW - day * DAY, count) for day in days]


@pytest.mark.parametrize(
    ("alias", "account", "found"),
    [
        pytest.param([], [], None, id="none"),
        pytest.param(ago(h1=12), [], None, id="twelve-in-a-day"),
        pytest.param(ago(h1=6, h20=7), [], Pattern.DAY, id="thirteen-in-a-day"),
        pytest.param(ago(h1=6, d1=7), [], None, id="thirteen-in-more-than-a-day"),
        pytest.param(ago(h1=2, d3=11), [], Pattern.WEEK, id="two-after-eleven"),
        pytest.param(ago(h1=1, d3=11), [], None, id="one-after-eleven"),
        pytest.param(ago(h1=2, d3=10), [], None, id="two-after-ten"),
        pytest.param(ago(h1=2, d7=11), [], None, id="two-after-eleven-long-ago"),
        pytest.param(daily(1, range(9)), [], Pattern.STEADY, id="nine-days"),
        pytest.param(daily(1, range(1, 10)), [], Pattern.STEADY, id="nine-days-till-yesterday"),
        pytest.param(daily(1, range(8)), [], None, id="eight-days"),
        pytest.param(daily(1, range(2, 12)), [], None, id="nine-days-two-of-them-too-long-ago"),
        pytest.param([], daily(11, range(5)), Pattern.ACCOUNT, id="account-on-five-days"),
        pytest.param([], daily(6, range(5)) + daily(5, range(5)), Pattern.ACCOUNT, id="of-several-aliases"),
        pytest.param([], daily(11, range(4)), None, id="account-on-four-days"),
        pytest.param([], daily(10, range(10)), None, id="account-ten-a-day"),
    ],
)
def test_7_5_thresholds_of_auto_deactivation(
    alias: Sequence[Bounces], account: Sequence[Bounces], found: Pattern | None
) -> None:
    assert pattern(alias, account, NOW) is found
