"""The Date of mail that leaves: the same instant, but not the zone that its author lives in (spec section 4.4)."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"
# RFC 5322 sections 3.3 and 4.3, leniently: weekday left out, one digit for the hour, fractions of a second.
_DATE = re.compile(
    rb"(?:[A-Za-z]{3,9}+[.,]{0,2}+[ \t]*+)?([0-9]{1,2})[ \t-]++([A-Za-z]{3})[a-z.]{0,7}+[ \t-]++([0-9]{2,4})[ \t]++"
    rb"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?[ \t]*+([+-][0-9]{4}|[A-Za-z]{1,3})",
)
_COMMENTS = re.compile(rb"\([^()]*+\)")
_MOST_OCTETS = 200
# RFC 5322 section 4.3; other names mean nothing for sure.
_ZONES = {b"ut": 0, b"utc": 0, b"gmt": 0, b"z": 0} | {
    zone + kind: hours + summer
    for zone, hours in ((b"e", -5), (b"c", -6), (b"m", -7), (b"p", -8))
    for kind, summer in ((b"st", 0), (b"dt", 1))
}


def in_utc(value: bytes | None, now: datetime) -> str:
    """The instant of a Date field as it is to be written, in UTC; that of `now` if it cannot be told.

    value: unfolded, None if there is no Date. now: aware.
    """
    found = _instant(value) if value is not None else None
    return format_datetime((found or now).astimezone(UTC))


def _instant(value: bytes) -> datetime | None:
    found = _DATE.fullmatch(_COMMENTS.sub(b" ", value).strip(b" \t")) if len(value) <= _MOST_OCTETS else None
    if found is None:
        return None
    month, offset = _MONTHS.find(found[2].decode("ascii").lower()), _offset(found[7])
    if month % 3 or offset is None:
        return None
    seconds = int(found[6] or 0)
    if seconds > 60:
        return None
    try:
        clock = datetime(_year(found[3]), month // 3 + 1, int(found[1]), int(found[4]), int(found[5]), tzinfo=UTC)
        return clock + timedelta(seconds=seconds) - offset  # 60 is a leap second
    except (ValueError, OverflowError):
        return None


def _year(digits: bytes) -> int:
    """RFC 5322 section 4.3: years of two and of three digits."""
    year = int(digits)
    if len(digits) == 4:
        return year
    return year + (2000 if len(digits) == 2 and year < 50 else 1900)


def _offset(zone: bytes) -> timedelta | None:
    """How far a zone is ahead of UTC; None for one that says nothing."""
    if not zone[1:].isdigit():
        hours = _ZONES.get(zone.lower())
        return None if hours is None else timedelta(hours=hours)
    ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    return None if int(zone[3:]) > 59 else ahead if zone[:1] == b"+" else -ahead
