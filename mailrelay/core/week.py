"""How much an account's mail was on each of the last seven days."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from mailrelay.core.verp import EmailType

DAYS = 7
_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class DayCount:
    """How many messages of a type went out on a day, in UTC."""

    day: date
    type: EmailType
    messages: int


@dataclass(frozen=True, slots=True)
class Week:
    """Seven days, today last. days: their English names; the others: messages per day."""

    days: tuple[str, ...]
    forwards: tuple[int, ...]
    replies: tuple[int, ...]
    sends: tuple[int, ...]

    @property
    def totals(self) -> tuple[int, int, int]:
        """Forwards, replies and sends of the week."""
        return sum(self.forwards), sum(self.replies), sum(self.sends)


def first_day(today: date) -> date:
    """Of the week that ends today."""
    return today - timedelta(days=DAYS - 1)


def week(today: date, counts: Iterable[DayCount]) -> Week:
    """The week that ends today. Days without a count are 0; those outside do not matter."""
    days = [first_day(today) + timedelta(days=number) for number in range(DAYS)]
    known = {(count.day, count.type): count.messages for count in counts}

    def line(kind: EmailType) -> tuple[int, ...]:
        return tuple(known.get((day, kind), 0) for day in days)

    return Week(_named(days), line(EmailType.FORWARD), line(EmailType.REPLY), line(EmailType.SEND))


def _named(days: Sequence[date]) -> tuple[str, ...]:
    return tuple(_NAMES[day.weekday()] for day in days)  # strftime would ask the locale
