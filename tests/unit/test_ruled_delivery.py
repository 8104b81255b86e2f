"""What the owner's rules do to mail that is forwarded."""

from dataclasses import replace

import pytest

from mailrelay.core.errors import Unavailable
from mailrelay.core.header import split
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.core.rules import stored
from mailrelay.core.rules.model import Book, RuleId, StoredRule
from tests.unit.office import MESSAGE, OK, TEMP, Office, new_office

A1 = "a1@alias.example"
ANY = [{"type": "sender", "match": "ends with", "values": ["@shop.example"]}]


@pytest.fixture
def office() -> Office:
    office = new_office()
    office.store.update("alias", 1, forward_mode="rewrite")
    return office


def rule(number: int, *actions: tuple[str, object], conditions: object = ANY, **more: bool) -> StoredRule:
    flows = {"forwards": True, "replies": False, "sends": False, **more}
    done = [{"type": kind, "value": value} for kind, value in actions]
    return StoredRule(RuleId(number), f"rule {number}", conditions, done, "AND", **flows)


def rules(office: Office, *rows: StoredRule) -> None:
    office.book = stored.book(rows)
    assert office.book.broken == ()


def field(copy: Copy, name: bytes) -> bytes:
    return split(b"".join(copy.content)).first(name) or b""


async def test_a_rule_changes_subject_name_and_banner(office: Office) -> None:
    rules(office, rule(7, ("subject", "[shop] {{subject}}"), ("displayFrom", "The shop"), ("banner", "off")))
    assert await office.deliver(A1) == [OK]
    [copy] = office.outside.copies
    assert field(copy, b"subject") == b"[shop] Your order 77"
    assert field(copy, b"from").startswith(b'"The shop" <a1+news=shop.example@alias.example>')
    assert split(b"".join(copy.content)).body == split(MESSAGE).body
    assert office.store.counted == [7]


async def test_a_rule_that_changes_something_forces_rewriting(office: Office) -> None:
    office.store.update("alias", 1, forward_mode="auto")
    rules(office, rule(7, ("subject", "new")))
    assert await office.deliver(A1) == [OK]
    [copy] = office.outside.copies
    assert field(copy, b"x-mailrelay-mode") == b"rewrite; reason=changes"


async def test_12_5_139_14_block_wins_and_all_that_match_are_counted(office: Office) -> None:
    rules(office, rule(1, ("block", True)), rule(2, ("subject", "x")))
    assert await office.deliver(A1) == [OK]
    assert office.outside.copies == []
    assert office.outcomes() == [(A1, "discarded", "rule")]
    [alias] = office.store.rows("alias", local_part="a1", domain="alias.example")
    assert (alias["emails_blocked"], alias["emails_forwarded"]) == (1, 0)
    assert office.store.counted == [1, 2]


async def test_12_5_148_a_block_for_one_recipient_is_nothing_to_the_others(office: Office) -> None:
    to_a1 = [{"type": "alias", "match": "is exactly", "values": [A1]}]
    rules(office, rule(1, ("block", True), conditions=to_a1))
    assert await office.deliver(A1, "both@alias.example") == [OK, OK]
    assert {copy.rcpt for copy in office.outside.copies} == {"real@inbox.example", "second@inbox2.example"}


async def test_12_5_149_a_blocked_message_makes_no_alias(office: Office) -> None:
    rules(office, rule(1, ("block", True)))
    assert await office.deliver("fresh@own.example") == [OK]
    assert office.store.rows("alias", local_part="fresh", domain="own.example") == []
    assert office.outcomes() == [("fresh@own.example", "discarded", "rule")]
    assert await office.deliver(A1) == [OK]
    assert office.store.rows("alias", local_part="a1", domain="alias.example") != []


async def test_a_quarantining_rule_holds_the_message(office: Office) -> None:
    rules(office, rule(3, ("quarantine", True)))
    assert await office.deliver("fresh@own.example") == [OK]
    assert office.outside.copies == []
    assert office.outcomes() == [("fresh@own.example", "held", "rule_quarantine")]
    [kept] = office.store.rows("failed_delivery")
    assert kept["hold"].bounce_type == "rule"
    assert office.store.rows("alias", local_part="fresh", domain="own.example") != []
    assert office.store.counted == [3]


async def test_12_5_140_forward_to_replaces_the_recipients(office: Office) -> None:
    second = office.store.row("recipient", address="second@inbox2.example")
    assert second is not None
    rules(office, rule(1, ("forwardTo", str(second["uuid"]))))
    assert await office.deliver(A1) == [OK]
    assert [copy.rcpt for copy in office.outside.copies] == ["second@inbox2.example"]


async def test_12_5_141_an_unverified_recipient_is_not_forwarded_to(office: Office) -> None:
    third = office.store.row("recipient", address="third@inbox3.example")
    assert third is not None
    rules(office, rule(1, ("forwardTo", str(third["uuid"]))))
    assert await office.deliver(A1) == [OK]
    assert [copy.rcpt for copy in office.outside.copies] == ["real@inbox.example"]


async def test_12_5_146_rules_for_replies_are_not_asked(office: Office) -> None:
    rules(office, rule(1, ("block", True), forwards=False, replies=True))
    assert await office.deliver(A1) == [OK]
    assert len(office.outside.copies) == 1
    assert office.store.counted == []


async def test_what_waits_is_not_counted_yet(office: Office) -> None:
    rules(office, rule(1, ("subject", "x")))
    office.outside.answer = lambda copy: Refused(451, "4.3.0 busy")
    assert await office.deliver(A1) == [TEMP]
    assert office.store.counted == []
    office.outside.answer = lambda copy: Handed("4QqQ000001")
    assert await office.deliver(A1) == [OK]
    assert office.store.counted == [1]


async def test_without_the_rules_nothing_is_sent(office: Office) -> None:
    async def away(account_id: int) -> Book:
        raise Unavailable("database: away")

    office.forwarding.ruling = replace(office.ruling, read_book=away)
    assert await office.deliver(A1) == [TEMP]
    assert office.outside.copies == []


async def test_12_5_150_attachments_go_and_images_in_the_text_stay(office: Office) -> None:
    content = (
        b"From: Example Shop <news@shop.example>\r\nTo: a1@alias.example\r\nSubject: s\r\n"
        b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\nMessage-ID: <1@shop.example>\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
        b"--b\r\nContent-Type: image/png\r\nContent-Disposition: inline\r\nContent-ID: <i>\r\n\r\nPNG\r\n"
        b'--b\r\nContent-Type: application/pdf; name="bill.pdf"\r\nContent-Disposition: attachment\r\n\r\n'
        b"PDF\r\n--b--\r\n"
    )
    office.store.update("account", 1, banner_location="top")
    rules(office, rule(1, ("removeAttachments", True)))
    assert await office.deliver(A1, content=content) == [OK]
    [copy] = office.outside.copies
    body = split(b"".join(copy.content)).body
    assert b"PDF\r\n" not in body and b"PNG\r\n" in body and b"[attachment removed: bill.pdf" in body
    assert b"a1@alias.example" in body  # the banner is there as well
