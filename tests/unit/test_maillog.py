"""Lines of Postfix' log, as Postfix 3.4 to 3.10, rsyslog, postlogd and the journal write them (spec section 7.7)."""

import random
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from mailrelay.core.maillog import Delivery, LogEvent, QueueActive, Rejected, Removed
from mailrelay.wire.maillog import read

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
AT = datetime(2026, 3, 2, 11, 59, 58, tzinfo=UTC)
STAMP = "Mar  2 11:59:58 mx"


def said(line: str, stamp: str = STAMP) -> LogEvent | None:
    return read(f"{stamp} {line}".encode("utf-8", "surrogateescape"), NOW, UTC)


def rejected(line: str) -> Rejected:
    event = said(line)
    assert isinstance(event, Rejected)
    return event


RBL = (
    "postfix/smtpd[812]: NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 550 5.7.1 Service unavailable; client "
    "[192.0.2.9] blocked using zen.rbl.example; https://rbl.example/q?ip=192.0.2.9; from=<news@shop.example> "
    "to=<a1+tag@alias.example> proto=ESMTP helo=<mail.shop.example>"
)


def test_row_174_a_rejection_at_rcpt() -> None:
    assert rejected(RBL) == Rejected(
        AT,
        "smtpd",
        "",
        "unknown",
        "192.0.2.9",
        "news@shop.example",
        "a1+tag@alias.example",
        "550",
        "5.7.1",
        "Service unavailable; client [192.0.2.9] blocked using zen.rbl.example; https://rbl.example/q?ip=192.0.2.9",
        "reject",
    )


@pytest.mark.parametrize(
    "line",
    [
        "postfix/smtpd[8]: NOQUEUE: reject: RCPT from a.example[192.0.2.9]: 450 4.1.8 <s@x.example>: Sender address "
        "rejected: Domain not found; from=<s@x.example> to=<a1@alias.example> proto=ESMTP helo=<a.example>",
        "postfix/cleanup[8]: 4XyZ12AbCd: milter-reject: END-OF-MESSAGE from a.example[192.0.2.9]: 4.7.1 Try again; "
        "from=<s@x.example> to=<a1@alias.example> proto=ESMTP helo=<a.example>",
        "postfix/smtpd[8]: NOQUEUE: reject: RCPT from a.example[192.0.2.9]: 451 Greylisted; from=<s@x.example> "
        "to=<a1@alias.example> proto=ESMTP helo=<a.example>",
    ],
    ids=["code", "enhanced-code-alone", "code-alone"],
)
def test_row_175_temporary_ones_do_not_count(line: str) -> None:
    assert said(line) is None


def test_row_176_a_discarded_recipient_has_no_status() -> None:
    event = rejected(
        "postfix/smtpd[8]: NOQUEUE: discard: RCPT from a.example[192.0.2.9]: <a1@alias.example>: is inactive alias; "
        "from=<> to=<a1@alias.example> proto=ESMTP helo=<a.example>"
    )
    assert (event.kind, event.status, event.enhanced, event.sender) == ("discard", "", "", "")
    assert event.text == "<a1@alias.example>: is inactive alias"


def test_row_177_ipv6_and_an_enhanced_code_alone() -> None:
    event = rejected(
        "postfix-mailrelay/cleanup[9]: 4fBz3d0Kk2z9sXq: milter-reject: END-OF-MESSAGE from mx.shop.example"
        "[2001:db8::25]: 5.7.1 Spam message rejected; from=<news@shop.example> to=<a1@alias.example> proto=ESMTP "
        "helo=<mx.shop.example>"
    )
    assert (event.client_name, event.client_address) == ("mx.shop.example", "2001:db8::25")
    assert (event.status, event.enhanced, event.text) == ("5.7.1", "5.7.1", "Spam message rejected")
    assert (event.kind, event.queue_id, event.daemon) == ("milter-reject", "4fBz3d0Kk2z9sXq", "cleanup")


def test_postscreen_separates_by_commas_and_tells_the_port() -> None:
    event = rejected(
        "postfix/postscreen[7]: NOQUEUE: reject: RCPT from [2001:db8::7]:50112: 550 5.7.1 Service unavailable; client "
        "[2001:db8::7] blocked using zen.rbl.example; from=<news@shop.example>, to=<a1@alias.example>, proto=ESMTP, "
        "helo=<x.example>"
    )
    assert (event.client_name, event.client_address, event.status) == ("", "2001:db8::7", "550")
    assert (event.sender, event.rcpt) == ("news@shop.example", "a1@alias.example")


def test_header_checks_give_their_reason_last() -> None:
    event = rejected(
        "postfix/cleanup[9]: 4XyZ12AbCd: reject: header Subject: buy from me; now from a.example[192.0.2.9]; "
        "from=<news@shop.example> to=<a1@alias.example> proto=ESMTP helo=<a.example>: 5.7.1 not wanted here"
    )
    assert (event.client_name, event.client_address) == ("a.example", "192.0.2.9")
    assert (event.status, event.text) == ("5.7.1", "not wanted here")


def test_a_discard_by_a_milter_is_a_discard() -> None:
    event = rejected(
        "postfix/cleanup[9]: 4XyZ12AbCd: milter-discard: END-OF-MESSAGE from a.example[192.0.2.9]: milter triggers "
        "DISCARD action; from=<news@shop.example> to=<a1@alias.example> proto=ESMTP helo=<a.example>"
    )
    assert (event.kind, event.status) == ("discard", "")


def test_an_enhanced_code_may_be_missing() -> None:
    event = rejected(
        "postfix/smtpd[8]: NOQUEUE: reject: RCPT from a.example[192.0.2.9]: 554 go away; from=<s@x.example> "
        "to=<a1@alias.example> proto=SMTP"
    )
    assert (event.status, event.enhanced, event.text) == ("554", "", "go away")


def test_a_service_with_a_name_of_its_own_within_an_instance() -> None:
    line = RBL.replace("postfix/smtpd", "postfix-in/submission/smtpd")
    assert rejected(line).daemon == "smtpd"


@pytest.mark.parametrize(
    "line",
    [
        "postfix/smtpd[8]: connect from a.example[192.0.2.9]",
        "postfix/smtpd[8]: NOQUEUE: reject: MAIL from a.example[192.0.2.9]: 552 5.3.4 Message is too large; "
        "from=<s@x.example> proto=ESMTP helo=<a.example>",
        "postfix/smtpd[8]: NOQUEUE: reject_warning: RCPT from a.example[192.0.2.9]: 550 5.7.1 no; from=<s@x.example> "
        "to=<a1@alias.example> proto=ESMTP helo=<a.example>",
        "postfix/smtpd[8]: NOQUEUE: reject: RCPT from a.example[192.0.2.9]: 550 5.7.1 no; from=<s@x.example> "
        "to=<> proto=ESMTP helo=<a.example>",
        "postfix/cleanup[9]: 4XyZ12AbCd: reject: header Subject: x from local; from=<root@x.example> "
        "to=<a1@alias.example>: 5.7.1 no",
        "postfix/smtpd[8]: NOQUEUE: reject: RCPT from a.example[192.0.2.9]: 550 5.7.1 no; from=<s@x.example> to=<a1",
        "postfix/smtp[8]: 4XyZ12AbCd: to=<a1@alias.example>, relay=none, delay=0.1, delays=0/0/0/0, dsn=2.0.0, "
        "status=deliverable (250 Ok)",
        "postfix/qmgr[8]: 4XyZ12AbCd: from=<s@x.example>, size=1, nrcpt=1 (queue inactive)",
        "dovecot: imap(joe): 4XyZ12AbCd: removed",
        "someprogram[8]: NOQUEUE: reject: RCPT from a.example[192.0.2.9]: 550 5.7.1 no; from=<s@x.example> "
        "to=<a1@alias.example>",
        "postfix/smtp[8]: 4XyZ12AbCd: removed",
        "",
    ],
    ids=[
        *("other", "without-recipient", "warning", "empty-recipient", "from-here", "cut", "probe", "inactive"),
        *("other-program", "no-instance", "removed-by-whom", "empty"),
    ],
)
def test_nothing_else_counts(line: str) -> None:
    assert said(line) is None


# -- Deliveries ----------------------------------------------------------------------------------------------------

PATH = "b-caasgrlhrgv4332p4zrlah3w2fka2ampsm@bounces.relay.example"


def test_the_life_of_a_copy() -> None:
    lines = [
        f"postfix/qmgr[4]: 4XyZ12AbCd: from=<{PATH}>, size=2051, nrcpt=1 (queue active)",
        "postfix/smtp[7]: 4XyZ12AbCd: to=<me@inbox.example>, relay=none, delay=30, delays=0.1/0/30/0, dsn=4.4.1, "
        "status=deferred (connect to mx.inbox.example[192.0.2.25]:25: Connection timed out)",
        "postfix/smtp[7]: 4XyZ12AbCd: to=<me@inbox.example>, orig_to=<you@inbox.example>, "
        "relay=mx.inbox.example[2001:db8::19]:25, conn_use=2, delay=61, delays=60/0/0.1/0.2, dsn=2.0.0, status=sent "
        "(250 2.0.0 Ok: queued as (12) AB)",
        "postfix/qmgr[4]: 4XyZ12AbCd: removed",
    ]
    assert [said(line) for line in lines] == [
        QueueActive("4XyZ12AbCd", PATH),
        Delivery(
            AT,
            "4XyZ12AbCd",
            "me@inbox.example",
            "",
            "none",
            "4.4.1",
            "deferred",
            "connect to mx.inbox.example[192.0.2.25]:25: Connection timed out",
        ),
        Delivery(
            AT,
            "4XyZ12AbCd",
            "me@inbox.example",
            "you@inbox.example",
            "mx.inbox.example[2001:db8::19]:25",
            "2.0.0",
            "sent",
            "250 2.0.0 Ok: queued as (12) AB",
        ),
        Removed("4XyZ12AbCd"),
    ]


def test_a_bounce_tells_what_the_other_host_said() -> None:
    event = said(
        "postfix/smtp[7]: 9A1B2C3D4E: to=<me@inbox.example>, relay=mx.inbox.example[192.0.2.25]:25, delay=0.3, "
        "delays=0.1/0/0.1/0.1, dsn=5.1.1, status=bounced (host mx.inbox.example[192.0.2.25] said: 550 5.1.1 "
        "<me@inbox.example>: unknown (in reply to RCPT TO command))"
    )
    assert isinstance(event, Delivery)
    assert (event.status, event.dsn) == ("bounced", "5.1.1")
    assert event.text.endswith("unknown (in reply to RCPT TO command)")


@pytest.mark.parametrize("word", ["expired", "force-expired"])
def test_what_the_queue_gave_up(word: str) -> None:
    event = said(f"postfix/qmgr[4]: 9A1B2C3D4E: from=<{PATH}>, status={word}, returned to sender")
    assert event == Delivery(AT, "9A1B2C3D4E", "", "", "", "", "expired", "")


def test_addresses_may_be_quoted_and_in_unicode() -> None:
    event = said(
        'postfix/smtp[7]: 9A1B2C3D4E: to=<"a, b>, c"@inbox.example>, relay=local, delay=0, delays=0/0/0/0, dsn=2.0.0, '
        "status=sent"
    )
    assert isinstance(event, Delivery)
    assert (event.rcpt, event.relay, event.text) == ('"a, b>, c"@inbox.example', "local", "")
    assert rejected(RBL.replace("news@", "nëws@")).sender == "nëws@shop.example"
    assert rejected(RBL.replace("news@", "n\udcffws@")).sender == "n\ufffdws@shop.example"


# -- Times ---------------------------------------------------------------------------------------------------------


def when(stamp: str, now: datetime = NOW, zone: timezone | ZoneInfo = UTC) -> datetime | None:
    event = read(f"{stamp} mx {RBL}".encode(), now, zone)
    assert event is None or isinstance(event, Rejected)
    return event.at if event is not None else None


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2026-03-02T11:59:58.123456+01:00", datetime(2026, 3, 2, 10, 59, 58, 123456, UTC)),
        ("2026-03-02T11:59:58Z", datetime(2026, 3, 2, 11, 59, 58, tzinfo=UTC)),
        ("2026-03-02T11:59:58-0330", datetime(2026, 3, 2, 15, 29, 58, tzinfo=UTC)),
        ("Mar 02 11:59:58", AT),
        ("Mar  2 11:59:58", AT),
        ("Dec 31 23:00:00", datetime(2025, 12, 31, 23, tzinfo=UTC)),
        ("Mar  2 12:30:00", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),  # a clock that is ahead
        ("Mar  4 00:00:00", datetime(2025, 3, 4, tzinfo=UTC)),
        ("Feb 30 10:00:00", None),
        ("Foo  1 10:00:00", None),
        ("Mar  2 25:00:00", None),
        ("2026-13-02T11:59:58Z", None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_both_forms_of_time(stamp: str, expected: datetime | None) -> None:
    assert when(stamp) == expected


def test_the_year_turns_between_hosts_whose_clocks_differ() -> None:
    newyear = datetime(2026, 1, 1, tzinfo=UTC)
    assert when("Jan  1 00:00:01", newyear - timedelta(seconds=1)) == newyear + timedelta(seconds=1)
    assert when("Dec 31 23:59:59", newyear + timedelta(seconds=1)) == newyear - timedelta(seconds=1)


def test_a_leap_day_is_of_the_year_that_had_one() -> None:
    assert when("Feb 29 10:00:00", datetime(2025, 2, 1, tzinfo=UTC)) == datetime(2024, 2, 29, 10, tzinfo=UTC)


def test_the_hour_that_comes_twice_is_the_one_that_has_been() -> None:
    vienna = ZoneInfo("Europe/Vienna")  # on 25 October 2026, 03:00 is 02:00 again at 01:00 UTC
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert when("Oct 25 02:30:00", first, vienna) == first
    assert when("Oct 25 02:30:00", second, vienna) == second


# -- Bad input -----------------------------------------------------------------------------------------------------

HARD = [
    "; from=<" * 30_000,
    "> to=<" * 30_000,
    ">, to=<" * 30_000,
    "; from=<" + "> to=<" * 30_000,
    "header " + " from " * 30_000,
    "header x from " + "a[" * 60_000 + "; from=<> to=<x>",
    "1" * 200_000,
    "([" * 100_000,
]


@pytest.mark.parametrize("tail", HARD, ids=range(len(HARD)))
@pytest.mark.parametrize(
    "start",
    [
        "postfix/smtpd[8]: NOQUEUE: reject: RCPT from a.example[192.0.2.9]: 550 ",
        "postfix/cleanup[8]: 4XyZ12AbCd: reject: ",
        "postfix/smtp[8]: 4XyZ12AbCd: to=<",
        "postfix/smtp[8]: 4XyZ12AbCd: to=<a@b.example>, relay=",
        "postfix/qmgr[8]: 4XyZ12AbCd: from=<",
        "",
    ],
)
@pytest.mark.timeout(5)
def test_long_lines_cost_linear_time(start: str, tail: str) -> None:
    said(f"{start}{tail} to=< status=sent (queue active)")
    said(f"{start}{tail} status=sent (queue active)")


def test_no_bytes_raise() -> None:
    chance = random.Random(7)
    lines = [
        f"{STAMP} {RBL}".encode(),
        f"{STAMP} postfix/qmgr[4]: 4XyZ12AbCd: from=<x>, size=1, nrcpt=1 (queue active)".encode(),
    ]
    for _ in range(5000):
        line = bytearray(chance.choice(lines))
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(line))
            line[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        read(bytes(line), NOW, UTC)
