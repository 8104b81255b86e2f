"""The last seven days in numbers."""

from datetime import date

from mailrelay.core.verp import EmailType
from mailrelay.core.week import DayCount, Week, first_day, week

MONDAY = date(2026, 3, 2)


def test_a_week_ends_today() -> None:
    counts = [
        DayCount(MONDAY, EmailType.FORWARD, 3),
        DayCount(date(2026, 2, 24), EmailType.FORWARD, 1),
        DayCount(date(2026, 2, 28), EmailType.REPLY, 4),
        DayCount(date(2026, 2, 23), EmailType.SEND, 9),  # a week ago
        DayCount(date(2026, 3, 3), EmailType.SEND, 9),  # a database whose clock is ahead
        DayCount(MONDAY, EmailType.SEND, 2),
    ]
    found = week(MONDAY, counts)
    assert first_day(MONDAY) == date(2026, 2, 24)
    assert found == Week(
        ("Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "Monday"),
        (1, 0, 0, 0, 0, 0, 3),
        (0, 0, 0, 0, 4, 0, 0),
        (0, 0, 0, 0, 0, 0, 2),
    )
    assert found.totals == (4, 4, 2)


def test_a_quiet_week_is_zeros() -> None:
    assert week(MONDAY, ()).totals == (0, 0, 0)
