"""Reading the lines that Postfix writes to its log: rejections, deliveries and the life of messages in the queue.

Nearly all lines are of no interest, and are told by a substring. What is foreign in a line (addresses, HELO names,
texts of other hosts) may imitate the rest of it, in vain: whoever can write it could have sent the mail it pretends.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from mailrelay.core.maillog import Delivery, LogEvent, QueueActive, Rejected, Removed

# `Jan  5 10:00:00` or RFC 3339; host; the instance's name and the service's, such as postfix-out/submission/smtpd.
_HEAD = re.compile(
    r"([A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)) "
    r"\S+ \S+/([A-Za-z0-9_-]{1,40})\[\d{1,10}\]: (NOQUEUE|[0-9A-Za-z]{5,40}): "
)
_WHERE = re.compile(r"[A-Z][A-Z-]{1,30}(?: command)? from ([^\s\[\]]*)\[([0-9A-Za-z.:%_-]+)\](?::\d{1,5})?: ")
_CONTENT = re.compile(r"(?:[a-z]+-)?(?:header|body) ")
_CLIENT = re.compile(r"([^\s\[\]]*)\[([0-9A-Za-z.:%_-]+)\]")
_CODES = re.compile(r"(?:(\d{3})(?:[ -]|$))?(?:(\d\.\d{1,3}\.\d{1,3})(?: |$))?")
_OUTCOME = re.compile(
    r"([^,\s]*), (?:conn_use=\d+, )?delay=[^,\s]*, (?:delays=[^,\s]*, )?dsn=([0-9.]+), "
    r"status=(sent|bounced|deferred)(?: \((.*)\))?"
)
_QUEUED = re.compile(r", size=\d+, nrcpt=\d+ \(queue active\)")
_EXPIRED = re.compile(r", status=(?:force-)?expired, ")

_MONTHS = {
    month: number
    for number, month in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_KINDS: dict[str, Literal["reject", "milter-reject", "discard"]] = {
    "reject": "reject",
    "milter-reject": "milter-reject",
    "discard": "discard",
    "milter-discard": "discard",
}
# Clocks of hosts that share a log differ; a line from further ahead is of last year.
_SKEW = timedelta(days=1)


def read(line: bytes, now: datetime, zone: tzinfo) -> LogEvent | None:
    """What a line says, None for all that is not asked for; never raises.

    line: without its end. now: aware, for the year that syslog's times lack; zone: of those times.
    """
    if b"to=<" in line:
        if b"reject: " in line or b"discard: " in line:
            return _rejected(line, now, zone)
        return _delivery(line, now, zone) if b" status=" in line else None
    if b"(queue active)" in line or b" status=" in line:
        return _of_sender(line, now, zone)
    if line.endswith(b": removed"):
        head = _HEAD.match(line.decode("utf-8", "replace"))
        return Removed(head[3]) if head is not None and head[2] == "qmgr" else None
    return None


def _rejected(line: bytes, now: datetime, zone: tzinfo) -> Rejected | None:
    text = line.decode("utf-8", "replace")
    head = _HEAD.match(text)
    if head is None:
        return None
    action, _, body = text[head.end() :].partition(": ")
    kind = _KINDS.get(action)
    about, found, addresses = body.partition("; from=<")
    # smtpd and cleanup put a space between what postscreen separates by a comma.
    sender, separator, rest = addresses.partition("> to=<")
    if not separator:
        sender, separator, rest = addresses.partition(">, to=<")
    rcpt, closed, rest = rest.partition(">")
    if kind is None or not found or not separator or not closed or not rcpt:
        return None
    told = _told_at_once(about) or _told_of_content(about, rest)
    at = _time(head[1], now, zone)
    if told is None or at is None:
        return None
    name, address, words = told
    codes = _CODES.match(words)
    code, enhanced = (codes[1] or "", codes[2] or "") if codes is not None else ("", "")
    if "4" in (code[:1], enhanced[:1]):
        return None  # it may come again (spec section 7.7)
    return Rejected(
        at,
        head[2],
        "" if head[3] == "NOQUEUE" else head[3],
        name,
        address,
        sender,
        rcpt,
        code or enhanced,
        enhanced,
        words[codes.end() if codes is not None else 0 :].strip(),
        kind,
    )


def _told_at_once(about: str) -> tuple[str, str, str] | None:
    """Client's name, address and the reply of `RCPT from name[ip]: 550 5.7.1 text`."""
    where = _WHERE.match(about)
    return None if where is None else (where[1], where[2], about[where.end() :])


def _told_of_content(about: str, rest: str) -> tuple[str, str, str] | None:
    """The same of `header Subject: … from name[ip]`, where the reply comes last of all (header_checks(5))."""
    if _CONTENT.match(about) is None:
        return None
    client = _CLIENT.fullmatch(about.rpartition(" from ")[2])
    return None if client is None else (client[1], client[2], rest.partition(": ")[2])


def _delivery(line: bytes, now: datetime, zone: tzinfo) -> Delivery | None:
    text = line.decode("utf-8", "replace")
    head = _HEAD.match(text)
    if head is None or not text.startswith("to=<", head.end()):
        return None
    addresses, found, rest = text[head.end() + len("to=<") :].partition(">, relay=")
    outcome = _OUTCOME.fullmatch(rest) if found else None
    at = _time(head[1], now, zone)
    if outcome is None or at is None:
        return None
    rcpt, _, original = addresses.partition(">, orig_to=<")
    status: Literal["sent", "bounced", "deferred"] = outcome[3]  # type: ignore[assignment]
    return Delivery(at, head[3], rcpt, original, outcome[1], outcome[2], status, outcome[4] or "")


def _of_sender(line: bytes, now: datetime, zone: tzinfo) -> QueueActive | Delivery | None:
    """A line of the queue manager: `from=<sender>, …`."""
    text = line.decode("utf-8", "replace")
    head = _HEAD.match(text)
    if head is None or not text.startswith("from=<", head.end()):
        return None
    sender, found, _ = text[head.end() + len("from=<") :].rpartition(">")
    end = text.rfind(">") + 1
    if not found:
        return None
    if _QUEUED.fullmatch(text, end):
        return QueueActive(head[3], sender)
    at = _time(head[1], now, zone)
    if at is None or _EXPIRED.match(text, end) is None:
        return None
    return Delivery(at, head[3], "", "", "", "", "expired", "")


def _time(stamp: str, now: datetime, zone: tzinfo) -> datetime | None:
    """In UTC; None for a day that no calendar has."""
    try:
        if stamp[0].isdigit():
            return datetime.fromisoformat(stamp).astimezone(UTC)
        month, day = _MONTHS[stamp[:3]], int(stamp[4:6])
        clock = int(stamp[7:9]), int(stamp[10:12]), int(stamp[13:15])
    except (ValueError, KeyError, OverflowError):
        return None
    this_year = now.astimezone(zone).year
    for year in (this_year + 1, this_year, this_year - 1):
        try:
            at = datetime(year, month, day, *clock, tzinfo=zone, fold=1)
        except ValueError:
            continue  # 29 February
        if at <= now + _SKEW:
            # In the hour that autumn repeats, the first pass if the second one is still to come.
            return (at if at <= now else at.replace(fold=0)).astimezone(UTC)
    return None
