"""Receivers that refuse untouched forwards."""

from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.receivers import Receiver, is_authentication_refusal, refuse, rewrites_only

NOON = datetime(2026, 1, 6, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def after(*refused_at: datetime, now: datetime = NOON) -> Receiver:
    """What is remembered after these, reported in this order."""
    receiver = Receiver()
    for at in refused_at:
        receiver = refuse(receiver, at, now)
    return receiver


def test_three_refusals_within_seven_days_mark_a_receiver_for_thirty() -> None:
    assert after(NOON - 7 * DAY, NOON - DAY).rewrite_only_until is None
    marked = after(NOON - 7 * DAY, NOON - DAY, NOON)
    assert marked.rewrite_only_until == NOON + 30 * DAY
    assert rewrites_only(marked, NOON + 30 * DAY - SECOND)
    assert not rewrites_only(marked, NOON + 30 * DAY)
    assert not rewrites_only(Receiver(), NOON)


def test_three_in_more_than_seven_days_do_not() -> None:
    assert after(NOON - 7 * DAY - SECOND, NOON - DAY, NOON).rewrite_only_until is None


def test_reports_may_come_in_any_order() -> None:
    assert after(NOON, NOON - 7 * DAY, NOON - DAY).rewrite_only_until == NOON + 30 * DAY
    assert after(NOON, NOON - DAY, NOON - 8 * DAY).rewrite_only_until is None


def test_the_same_copy_counts_once() -> None:
    assert after(NOON, NOON - DAY, NOON, NOON - DAY) == Receiver((NOON - DAY, NOON))


def test_an_old_mark_is_not_made_again_by_an_old_report() -> None:
    marked = after(NOON - 2 * DAY, NOON - DAY, NOON)
    later = refuse(marked, NOON - 20 * DAY, NOON + 20 * DAY)
    assert later.rewrite_only_until == marked.rewrite_only_until


def test_a_mark_grows_with_further_refusals_and_never_shrinks() -> None:
    marked = after(NOON - 2 * DAY, NOON - DAY, NOON)
    assert refuse(marked, NOON + DAY, NOON + DAY).rewrite_only_until == NOON + 31 * DAY
    assert refuse(marked, NOON - SECOND, NOON - DAY).rewrite_only_until == NOON + 30 * DAY


def test_only_the_last_few_are_kept() -> None:
    many = after(*(NOON + number * 30 * DAY for number in range(50)))
    assert len(many.refused_at) == 10
    assert many.refused_at[-1] == NOON + 49 * 30 * DAY


@pytest.mark.parametrize(
    ("status", "text", "refusal"),
    [
        *((status, "", True) for status in ("5.7.26", "5.7.27", "5.7.30", "5.7.509", "5.7.515")),
        ("5.7.1", "550 5.7.1 rejected by DMARC policy of shop.example", True),
        ("5.7.1", "550 5.7.1 Unauthenticated email from shop.example is not accepted", True),
        ("5.7.1", "550 5.7.1 spam", False),
        ("5.7.1", "550 5.7.1 undmarced", False),
        ("5.1.1", "550 5.1.1 no such user; DMARC", False),
        ("", "550-5.7.26 this mail has been blocked", True),
        ("5.0.0", "host said: 550 5.7.509 access denied, DMARC", True),
        ("", "550 5.7.1 mail fails DMARC", True),
        ("", "550 5.7.266 odd", False),
        ("", "250 15.7.26", False),
        ("5.7.2", "", False),
        ("5.7.0", "host said: 550-5.7.26 unauthenticated", True),
        ("5.7.0", "550 5.7.0 no; 5.7.1 unauthenticated", True),
        ("4.7.26", "", False),
        ("", "x" * 100_000 + " 5.7.26", False),
    ],
)
def test_what_counts_as_an_authentication_refusal(status: str, text: str, refusal: bool) -> None:
    assert is_authentication_refusal(status, text) is refusal
