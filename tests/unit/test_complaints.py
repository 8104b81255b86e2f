"""Which copy a complaint is about, whose mail that was, and what is said of it."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core import loop, verp
from mailrelay.core.bounce import Complaint
from mailrelay.core.complaints import (
    About,
    Claim,
    Counted,
    Recorded,
    alert,
    claims,
    counts,
    is_proved,
    notice,
    sender_of,
)
from mailrelay.core.facts import AccountId, AliasId, RecipientId
from mailrelay.core.ledger import OutboundCopy, OutboundId
from mailrelay.core.letterhead import feedback_id
from mailrelay.core.notices import Code
from mailrelay.core.verp import EmailType, VerpId

KEY, OLD_KEY, FOREIGN_KEY = bytes(range(32)), bytes(32), b"x" * 32
KEYS = (KEY, OLD_KEY)
PREFIX = "X-Mailrelay-"
TODAY = 20454
NUMBER = OutboundId(0x0123456789ABCDEF)
ALIAS = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc")
NOTHING = Complaint("abuse", "", "", (), "", (), b"", "", "", "")
COPY = OutboundCopy(
    NUMBER,
    EmailType.FORWARD,
    "rewrite",
    "real@inbox.example",
    datetime(2026, 11, 20, tzinfo=UTC),
    AccountId(1),
    AliasId(3),
    RecipientId(9),
)
ABOUT = About(ALIAS, "a1@alias.example", "bounce+77@mta.shop.example")
COUNTED = Counted(NUMBER, EmailType.FORWARD, AccountId(1), AliasId(3), "news@shop.example", "", "abuse")
SENT = replace(COUNTED, type=EmailType.REPLY, sender="", contact="anna@friend.example")


def path(day: int = TODAY, key: bytes = KEY, domain: str = "bounces.relay.example") -> str:
    return f"{verp.encode(VerpId(EmailType.FORWARD, NUMBER, day), domain, key)}@{domain}"


def found(complaint: Complaint) -> list[Claim]:
    return [*claims(complaint, KEYS, TODAY)]


# -- Which copy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [path(), path().upper()])
def test_a_return_path_of_ours_names_the_copy(address: str) -> None:
    assert found(replace(NOTHING, original_mail_from=address)) == [Claim(NUMBER, True)]
    assert found(replace(NOTHING, return_path=address)) == [Claim(NUMBER, True)]


@pytest.mark.parametrize(
    ("day", "known"), [(TODAY, True), (TODAY - 10, True), (TODAY - 14, True), (TODAY - 15, False), (TODAY + 2, False)]
)
def test_reports_come_later_than_bounces(day: int, known: bool) -> None:
    assert bool(found(replace(NOTHING, return_path=path(day)))) is known


@pytest.mark.parametrize(
    "forged",
    [path(key=FOREIGN_KEY), path().replace("@bounces", "@other"), "b-aaaa@x.example", "", "@", "news@shop.example"],
)
def test_other_addresses_name_nothing(forged: str) -> None:
    assert found(replace(NOTHING, original_mail_from=forged, return_path=forged)) == []


def test_the_surest_comes_first_and_a_bare_number_has_to_be_proved() -> None:
    complaint = replace(NOTHING, mailrelay_id=" 0123456789ABCDEF ", return_path=path())
    assert found(complaint) == [Claim(NUMBER, True), Claim(NUMBER, False)]
    for wrong in ("123", "0123456789abcdeg", "0123456789abcdef0", ""):
        assert found(replace(NOTHING, mailrelay_id=wrong)) == []


def proved(complaint: Complaint) -> bool:
    return is_proved(complaint, ALIAS, PREFIX, KEYS)


@pytest.mark.parametrize(("key", "good"), [(KEY, True), (OLD_KEY, True), (FOREIGN_KEY, False)])
def test_a_mark_of_the_alias_proves_a_number(key: bytes, good: bool) -> None:
    mark = loop.mark(ALIAS, key).encode()
    assert proved(replace(NOTHING, header=b"X-Mailrelay-Loop: %b\r\nSubject: x\r\n" % mark)) is good
    assert proved(replace(NOTHING, feedback_id=feedback_id("F", ALIAS, "rewrite", "mailrelay", key))) is good


def test_nothing_else_proves_it() -> None:
    other = UUID(int=5)
    many = b"X-Mailrelay-Loop: v1; 00000000000000000000\r\n" * 6  # as many as end mail anywhere
    assert not proved(NOTHING)
    assert not proved(replace(NOTHING, header=many))
    assert not proved(replace(NOTHING, header=b"X-Mailrelay-Loop: " + loop.mark(other, KEY).encode() + b"\r\n"))
    for text in ("", "F", "F:0:rewrite:mailrelay", "NBL:mailrelay", "ü:ü:ü:ü", "F:" * 50):
        assert not proved(replace(NOTHING, feedback_id=text))


@given(st.text(), st.text(), st.text(), st.binary())
def test_whatever_a_report_says_is_read(mail_from: str, number: str, feedback: str, header: bytes) -> None:
    complaint = replace(NOTHING, original_mail_from=mail_from, mailrelay_id=number, feedback_id=feedback, header=header)
    assert all(not claim.proved for claim in claims(complaint, KEYS, TODAY))
    assert not proved(complaint)
    assert "\n" not in sender_of(complaint, COPY, ABOUT, PREFIX)


# -- Whose mail ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        pytest.param(
            b"From: a1+x=y.example@alias.example\r\nX-Mailrelay-Original-Sender-Address: News@Shop.example\r\n",
            "news@shop.example",
            id="named",
        ),
        pytest.param(b'From: "Shop" <a1+news=shop.example@alias.example>\r\n', "news@shop.example", id="reverse"),
        pytest.param(b"From: news@shop.example\r\n", "news@shop.example", id="untouched"),
        pytest.param(b"From: r-abcdefghijklmnop@alias.example\r\n", "bounce+77@mta.shop.example", id="opaque"),
        pytest.param(b"", "bounce+77@mta.shop.example", id="redacted"),
        pytest.param(b"From: nobody\r\n", "bounce+77@mta.shop.example", id="unreadable"),
        pytest.param(b"From: Real@inbox.example\r\n", "", id="from-oneself"),
        pytest.param(b"From: a1@alias.example\r\n", "bounce+77@mta.shop.example", id="from-the-alias"),
    ],
)
def test_whose_mail_it_was(header: bytes, sender: str) -> None:
    assert sender_of(replace(NOTHING, header=header), COPY, ABOUT, PREFIX) == sender


def test_nobody_is_known_of_bounces_without_author() -> None:
    assert sender_of(NOTHING, COPY, replace(ABOUT, sender=""), PREFIX) == ""


@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        ("abuse", True),
        ("fraud", True),
        ("virus", True),
        ("other", True),
        ("", True),
        ("not-spam", False),
        ("auth-failure", False),
    ],
)
def test_what_is_a_complaint(kind: str, counted: bool) -> None:
    assert counts(replace(NOTHING, feedback_type=kind)) is counted


# -- What is said --------------------------------------------------------------------------------------------------


def test_the_first_is_told_with_the_weekly_limit() -> None:
    told = notice(COUNTED, ABOUT, RecipientId(9), Recorded(True, 1, account="johndoe"))
    assert told is not None
    assert (told.code, told.account_id, told.recipient_id, told.about) == (Code.ABC, 1, 9, "")
    assert told.data == {
        "alias": "a1@alias.example",
        "alias_uuid": str(ALIAS),
        "sender": "news@shop.example",
        "count": 1,
        "blocked": False,
        "reply": False,
    }


def test_a_block_is_told_whatever_was_told_before() -> None:
    told = notice(COUNTED, ABOUT, None, Recorded(True, 3, blocked=True))
    assert told is not None
    assert told.about == f"blocked {ALIAS} news@shop.example"
    assert told.data["blocked"] is True


def test_who_wrote_is_told_of_whom() -> None:
    told = notice(SENT, ABOUT, RecipientId(9), Recorded(True, 1))
    assert told is not None
    assert (told.data["sender"], told.data["reply"]) == ("anna@friend.example", True)


def test_notices_about_notices_would_be_reported_as_well() -> None:
    counted = replace(COUNTED, type=EmailType.NOTIFICATION)
    assert notice(counted, ABOUT, None, Recorded(True)) is None
    assert notice(COUNTED, About(None, "", ""), None, Recorded(True, 1)) is None


def test_the_operator_hears_of_what_accounts_write_and_of_no_mailbox() -> None:
    recorded = Recorded(True, 2, account="johndoe")
    assert alert(COUNTED, ABOUT, recorded) is None
    text = alert(SENT, ABOUT, recorded)
    assert text is not None
    assert "johndoe" in text
    assert "friend.example" in text
    assert "anna" not in text
    assert "suspended" not in text
    assert "suspended" in (alert(SENT, ABOUT, replace(recorded, count=3, suspended=True)) or "")
