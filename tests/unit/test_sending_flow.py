"""Replies and sends from the queue to the contact, and what becomes of those that may not go out."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from mailrelay.core import dkim, ingress
from mailrelay.core.address import Address
from mailrelay.core.errors import Conflict, Unavailable
from mailrelay.core.facts import Target
from mailrelay.core.header import Message, split
from mailrelay.core.held import HeldId
from mailrelay.core.notices import Code
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.core.rules import stored
from mailrelay.core.rules.model import RuleId, StoredRule
from mailrelay.core.sending import scrub
from mailrelay.core.verp import VerpId, decode
from mailrelay.flows import letter
from mailrelay.flows.handover import Handover
from mailrelay.flows.order import Order
from mailrelay.flows.release import Release, Released
from tests.golden.cases import examined
from tests.unit.fakes import NOW
from tests.unit.office import KEY, OK, TEMP, Office, signing_office

REAL, CONTACT = "real@inbox.example", "help@shop.example"
REVERSE = "a1+help=shop.example@alias.example"
PASS = {"dmarc": {"result": "pass", "published": "reject", "policy": "reject", "spf_aligned": True}}
FAIL = {"dmarc": {"result": "fail", "published": "none", "policy": "none"}}
HEAD = (
    b'From: "Real Name" <real@inbox.example>\r\n'
    b"To: \"Support Desk 'help at shop.example'\" <a1+help=shop.example@alias.example>\r\n"
    b"Subject: Re: Your order 77\r\n"
    b"Date: Tue, 06 Jan 2026 13:15:00 -0500\r\n"
    b"Message-ID: <real-1@inbox.example>\r\n"
    b"User-Agent: Mail 1.0\r\nX-Originating-IP: 192.0.2.77\r\nAutocrypt: addr=real@inbox.example; keydata=eA==\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
)
ANSWERS = b"In-Reply-To: <20260106.77@shop.example>\r\nReferences: <20260106.77@shop.example>\r\n"
BODY = (
    b"Yes, please.\r\n\r\nOn Tue, somebody wrote:\r\n"
    b"> To: real@inbox.example\r\n> mail a1+help=shop.example@alias.example\r\n"
)


@pytest.fixture
def office() -> Office:
    return signing_office()


async def send(
    office: Office,
    *rcpts: str,
    head: bytes = HEAD + ANSWERS,
    body: bytes = BODY,
    found: dict[str, Any] | None = PASS,
    sender: str = REAL,
    queue_id: str = "4Reply1",
) -> list[str]:
    content = examined(head + b"\r\n" + body, found, sender, NOW)
    return await office.deliver(*(rcpts or (REVERSE,)), sender=sender, content=content, queue_id=queue_id)


def read(copy: Copy) -> Message:
    return split(b"".join(copy.content))


def row(office: Office, address: str) -> Any:
    local, _, domain = address.partition("@")
    found = office.store.row("alias", local_part=local, domain=domain)
    assert found is not None
    return found


async def test_12_4_99_a_reply_reaches_the_contact_from_the_alias(office: Office) -> None:
    assert await send(office) == [OK]
    [copy] = office.outside.copies
    message = read(copy)
    assert copy.rcpt == CONTACT
    local, _, domain = copy.sender.partition("@")
    path = decode(local, domain, (KEY,), int(NOW.timestamp()) // 86400)
    assert isinstance(path, VerpId) and path.type == "R" and domain == "alias.example"
    assert message.first(b"from") == b"a1@alias.example"
    assert message.first(b"to") == b"help@shop.example"
    assert b"inbox.example" not in b"".join(copy.content)
    assert b"> To: a1@alias.example\r\n> mail help@shop.example\r\n" in message.body
    assert row(office, "a1@alias.example")["emails_replied"] == 1
    assert [entry["outcome"] for entry in office.entries()] == ["delivered"]
    [outbound] = office.store.rows("outbound")
    assert (outbound["email_type"], outbound["mode"]) == ("R", None)


async def test_12_4_100_without_a_thread_it_is_a_send(office: Office) -> None:
    assert await send(office, head=HEAD) == [OK]
    alias = row(office, "a1@alias.example")
    assert (alias["emails_sent"], alias["emails_replied"], alias["emails_forwarded"]) == (1, 0, 0)
    [copy] = office.outside.copies
    assert (read(copy).first(b"feedback-id") or b"").startswith(b"S:")


async def test_12_4_101_two_contacts_get_one_message_id(office: Office) -> None:
    other = "a1+boss=shop.example@alias.example"
    head = HEAD.replace(b"Subject:", b"Cc: " + other.encode() + b"\r\nSubject:") + ANSWERS
    assert await send(office, REVERSE, other, head=head) == [OK, OK]
    first, second = map(read, office.outside.copies)
    assert first.first(b"message-id") == second.first(b"message-id")
    assert {copy.rcpt for copy in office.outside.copies} == {CONTACT, "boss@shop.example"}
    for message in (first, second):
        assert b"help@shop.example" in (message.first(b"to") or b"")
        assert b"boss@shop.example" in (message.first(b"cc") or b"")


async def test_answers_to_the_answer_find_their_thread(office: Office) -> None:
    await send(office)
    [known] = office.store.rows("message_id")
    assert known["original_id"] == "<real-1@inbox.example>"
    assert known["our_id"] == (read(office.outside.copies[0]).first(b"message-id") or b"").decode()
    head = HEAD.replace(b"<real-1@", b"<real-2@") + b"In-Reply-To: <real-1@inbox.example>\r\n"
    await send(office, head=head, queue_id="4Reply2")
    assert (read(office.outside.copies[1]).first(b"in-reply-to") or b"").decode() == known["our_id"]


async def test_12_4_102_a_send_creates_the_alias(office: Office) -> None:
    assert await send(office, "fresh+help=shop.example@own.example", head=HEAD) == [OK]
    assert row(office, "fresh@own.example")["emails_sent"] == 1
    [copy] = office.outside.copies
    assert read(copy).first(b"from") == b"fresh@own.example"


async def test_4_11_owners_create_where_strangers_cannot(office: Office) -> None:
    """rx.example has no catch-all."""
    assert await send(office, "fresh+help=shop.example@rx.example", head=HEAD) == [OK]
    assert row(office, "fresh@rx.example")["emails_sent"] == 1
    stranger = HEAD.replace(b"real@inbox.example", b"news@shop.example")
    assert await send(office, "other+x=y.example@rx.example", head=stranger, sender="news@shop.example") == [OK]
    assert office.store.row("alias", local_part="other", domain="rx.example") is None


@pytest.mark.parametrize("author", ["third@inbox3.example", "news@shop.example"], ids=["12.4-103", "12.4-121"])
async def test_strangers_reach_the_owner(office: Office, author: str) -> None:
    head = HEAD.replace(b"real@inbox.example>\r\nTo", author.encode() + b">\r\nTo") + ANSWERS
    assert await send(office, head=head, sender=author) == [OK]
    [copy] = office.outside.copies
    assert copy.rcpt == REAL
    assert read(copy).first(b"x-mailrelay-envelope-to") == REVERSE.encode()
    assert row(office, "a1@alias.example")["emails_forwarded"] == 1


@pytest.mark.parametrize(
    ("table", "number", "change", "reason"),
    [
        pytest.param("recipient", 1, {"can_reply_send": False}, "sending_off", id="12.4-104"),
        pytest.param("alias", 1, {"attached_recipients_only": True}, "not_attached", id="12.4-105"),
    ],
)
async def test_what_may_not_go_out_is_dropped(
    office: Office, table: str, number: int, change: dict[str, Any], reason: str
) -> None:
    office.store.update(table, number, **change)
    assert await send(office) == [OK]
    assert office.outside.copies == []
    assert office.outcomes() == [(REVERSE, "discarded", reason)]


async def test_12_4_106_the_owners_unproved_mail_is_kept_and_never_forwarded(office: Office) -> None:
    assert await send(office, found=FAIL) == [OK]
    assert office.outside.copies == []
    assert office.outcomes() == [(REVERSE, "held", "not_authenticated")]
    [kept] = office.store.rows("failed_delivery")
    assert (kept["hold"].kind, kept["hold"].type) == ("unauthorised", "R")


async def test_12_4_119_a_deactivated_alias_still_answers(office: Office) -> None:
    assert await send(office, "off+help=shop.example@alias.example") == [OK]
    assert len(office.outside.copies) == 1


async def test_12_4_120_a_deleted_one_does_not(office: Office) -> None:
    assert await send(office, "gone+help=shop.example@alias.example") == [OK]
    assert office.outside.copies == []
    assert office.outcomes()[0][1] == "discarded"


async def test_12_4_116_where_the_domain_may_not_send_the_service_does(office: Office) -> None:
    assert await send(office, "x+help=shop.example@unsent.example", head=HEAD) == [OK]
    [copy] = office.outside.copies
    message = read(copy)
    assert message.first(b"from") == b"relay@relay.example"
    assert message.first(b"reply-to") == b"x@unsent.example"
    assert copy.sender.endswith("@relay.example")


async def test_12_4_122_an_auto_reply_ends_here(office: Office) -> None:
    assert await send(office, head=HEAD + b"Auto-Submitted: auto-replied\r\n") == [OK]
    assert office.outside.copies == []
    assert office.outcomes() == [(REVERSE, "discarded", "auto_reply")]


async def test_12_4_122_a_read_receipt_ends_here(office: Office) -> None:
    receipt = HEAD.replace(b"text/plain", b"Multipart/Report; report-type=disposition-notification; boundary=b")
    assert await send(office, head=receipt) == [OK]
    office.store.update("account", 1, relay_auto_replies=True)
    assert await send(office, head=receipt, queue_id="4Reply2") == [OK]
    assert office.outside.copies == []
    assert set(office.outcomes()) == {(REVERSE, "discarded", "auto_reply")}


async def test_12_4_124_a_limit_is_a_limit(office: Office) -> None:
    office.rules.sending_limits = replace(office.rules.sending_limits, per_day=1, per_hour=0)
    assert await send(office) == [OK]
    assert await send(office, queue_id="4Reply2") == [OK]
    assert len(office.outside.copies) == 1
    assert (REVERSE, "discarded", "sending_limit") in office.outcomes()


async def test_12_4_112_a_leak_goes_out_is_replaced_or_is_kept(office: Office) -> None:
    prose = b"Write to real@inbox.example directly.\r\n"
    assert await send(office, body=prose) == [OK]
    office.store.update("account", 1, reply_scrub="all")
    await send(office, body=prose, queue_id="4Reply2")
    office.store.update("account", 1, reply_scrub="quoted", leak_policy="block")
    await send(office, body=prose, queue_id="4Reply3")
    first, second = office.outside.copies
    assert read(first).body == prose
    assert read(second).body == b"Write to a1@alias.example directly.\r\n"
    assert (REVERSE, "held", "leak") in office.outcomes()


async def test_12_4_118_a_reply_to_all_does_not_come_back(office: Office) -> None:
    head = HEAD.replace(b"Subject:", b"Cc: a1@alias.example\r\nSubject:") + ANSWERS
    assert await send(office, REVERSE, "a1@alias.example", head=head) == [OK, OK]
    assert [copy.rcpt for copy in office.outside.copies] == [CONTACT]
    assert ("a1@alias.example", "discarded", "self_copy") in office.outcomes()


async def test_mail_to_another_alias_here_is_vouched_for(office: Office) -> None:
    office.store.update("domain", 1, name="alias.example")
    target = "a1+both=alias.example@alias.example"
    assert await send(office, target, head=HEAD) == [OK]
    [copy] = office.outside.copies
    message = read(copy)
    found = ingress.read(message, (KEY,), int(NOW.timestamp()), "mx.relay.example")
    assert isinstance(found, ingress.Ingress) and found.route == "internal"
    assert message.count(b"x-mailrelay-loop") == 1
    assert copy.rcpt == "both@alias.example"


async def test_an_opaque_reverse_address_leads_to_its_contact(office: Office) -> None:
    opaque = Address("r-" + "a" * 16, "alias.example")
    office.store.insert("contact", alias_id=1, address=CONTACT, reverse=opaque)
    assert await send(office, str(opaque)) == [OK]
    assert [copy.rcpt for copy in office.outside.copies] == [CONTACT]
    stranger = HEAD.replace(b"real@inbox.example>\r\nTo", b"news@shop.example>\r\nTo")
    assert await send(office, str(opaque), head=stranger, sender="news@shop.example", queue_id="4F") == [OK]
    assert office.outside.copies[1].rcpt == REAL


async def test_a_repeated_delivery_sends_once(office: Office) -> None:
    office.outside.answer = lambda copy: Refused(451, "4.3.0 busy")
    assert await send(office) == [TEMP]
    assert row(office, "a1@alias.example")["emails_replied"] == 0
    office.outside.answer = lambda copy: Handed("4QqQ000001")
    assert [await send(office), await send(office)] == [[OK], [OK]]
    assert len(office.outside.copies) == 1
    assert row(office, "a1@alias.example")["emails_replied"] == 1


def a_rule(*actions: tuple[str, object]) -> StoredRule:
    conditions = [{"type": "sender", "match": "is exactly", "values": [REAL]}]
    done = [{"type": kind, "value": value} for kind, value in actions]
    return StoredRule(RuleId(3), "r", conditions, done, "AND", forwards=False, replies=True, sends=True)


async def test_rules_change_what_goes_out(office: Office) -> None:
    office.book = stored.book([a_rule(("subject", "Order"), ("displayFrom", "Shopper"))])
    assert await send(office) == [OK]
    message = read(office.outside.copies[0])
    assert message.first(b"subject") == b"Order"
    assert message.first(b"from") == b'"Shopper" <a1@alias.example>'
    assert office.store.counted == [3]


async def test_a_blocked_send_makes_no_alias(office: Office) -> None:
    office.book = stored.book([a_rule(("block", True))])
    assert await send(office, "fresh+help=shop.example@own.example", head=HEAD) == [OK]
    assert office.outside.copies == []
    assert office.store.row("alias", local_part="fresh", domain="own.example") is None


async def release(office: Office) -> Released:
    store = office.store
    [kept] = store.rows("failed_delivery")

    async def resend(order: Order, targets: Sequence[Target], org: str | None) -> Handover:
        raise AssertionError("it is no forward")

    story = Release(
        office.rules,
        office.shelf,
        store.read_facts,
        store.read_background,
        office.ruling,
        office.sending,
        resend,
        office.clock,
    )
    return await story(HeldId(kept["id"]), "test")


async def test_4_3_who_confirms_a_held_reply_need_not_write_it_again(office: Office) -> None:
    assert await send(office, found=FAIL) == [OK]
    assert (await release(office)).copies == 1
    [copy] = office.outside.copies
    assert copy.rcpt == CONTACT
    assert b"inbox.example" not in b"".join(copy.content)
    assert row(office, "a1@alias.example")["emails_replied"] == 1
    with pytest.raises(Conflict):
        await release(office)
    assert len(office.outside.copies) == 1


async def test_4_3_a_confirmation_leaves_out_no_other_test(office: Office) -> None:
    assert await send(office, found=FAIL) == [OK]
    office.store.update("recipient", 1, can_reply_send=False)
    with pytest.raises(Conflict):
        await release(office)
    assert office.outside.copies == []


async def test_a_leak_that_was_held_goes_out_when_it_is_released(office: Office) -> None:
    office.store.update("account", 1, leak_policy="block")
    await send(office, body=b"Write to real@inbox.example directly.\r\n")
    assert (await release(office)).copies == 1


async def test_lines_that_no_host_takes_are_encoded(office: Office) -> None:
    assert await send(office, body=b"x" * 1200 + b" real@inbox.example\r\n> real@inbox.example\r\n") == [OK]
    [copy] = office.outside.copies
    content = b"".join(copy.content)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert read(copy).first(b"content-transfer-encoding") == b"quoted-printable"


async def test_a_boundary_that_names_the_owner_is_made_anew_or_is_a_leak(office: Office) -> None:
    office.store.update("account", 1, leak_policy="block")
    head = HEAD.replace(b"text/plain; charset=utf-8", b'multipart/mixed; boundary="real@inbox.example"')
    body = b"--real@inbox.example\r\nContent-Type: text/plain\r\n\r\nhi\r\n--real@inbox.example--\r\n"
    assert await send(office, head=head + ANSWERS, body=body) == [OK]
    [copy] = office.outside.copies
    assert b"inbox.example" not in b"".join(copy.content)
    assert await send(office, head=head + ANSWERS, body=b"no parts\r\n", queue_id="4Reply2") == [OK]
    assert len(office.outside.copies) == 1 and (REVERSE, "held", "leak") in office.outcomes()


SIGNED = {"dmarc": {"result": "pass", "published": "reject", "policy": "reject", "spf_aligned": False}}


async def test_a_signed_message_of_the_owner_that_somebody_else_sends_on_proves_nothing(office: Office) -> None:
    """The signature covers neither the envelope nor fields that were added: it is kept for the owner to confirm."""
    assert await send(office, "a1+enemy=evil.example@alias.example", found=SIGNED) == [OK]
    twice = b"Subject: Send money to evil\r\n" + HEAD + ANSWERS
    assert await send(office, head=twice, found=SIGNED, queue_id="4Twice") == [OK]
    assert office.outside.copies == []
    assert {outcome for _, outcome, _ in office.outcomes()} == {"held"}
    assert await send(office, found=SIGNED, queue_id="4Right") == [OK]
    assert len(office.outside.copies) == 1


async def test_one_message_to_many_does_not_pass_a_limit(office: Office) -> None:
    office.rules.sending_limits = replace(office.rules.sending_limits, per_hour=3)
    rcpts = [f"a1+c{number}=shop.example@alias.example" for number in range(10)]
    await send(office, *rcpts)
    assert len(office.outside.copies) == 3


async def test_rules_are_counted_once_however_often_postfix_asks(office: Office) -> None:
    office.book = stored.book([a_rule(("subject", "x"))])
    assert [await send(office), await send(office)] == [[OK], [OK]]
    assert office.store.counted == [3]


async def test_a_leak_that_cannot_be_kept_waits(office: Office) -> None:
    office.store.update("account", 1, leak_policy="block")
    office.shelf.room_octets = 10
    assert await send(office, body=b"Write to real@inbox.example directly.\r\n") == [TEMP]
    assert office.entries() == []


async def test_other_mail_goes_on_while_a_large_body_is_worked_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec section 3.11: what takes long is done in a thread, the hash of a changed body as well."""
    main = threading.get_ident()
    seen: dict[str, bool] = {}

    def told(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def telling(*args: Any) -> Any:
            seen[name] = threading.get_ident() != main
            return work(*args)

        return telling

    for module, name in ((scrub, "opaque_mentioned"), (scrub, "edit"), (dkim, "body_hash")):
        monkeypatch.setattr(module, name, told(name, getattr(module, name)))
    monkeypatch.setattr(letter, "INLINE_OCTETS", 50_000)
    assert await send(office, body=BODY + b"x\r\n" * 20_000) == [OK]
    assert seen == {"opaque_mentioned": True, "edit": True, "body_hash": True}


async def test_4_10_who_shares_the_alias_may_read_along(office: Office) -> None:
    office.store.update("account", 1, notify_co_recipients=True)
    reverse = "both+help=shop.example@alias.example"
    head = HEAD.replace(b"a1+help", b"both+help") + ANSWERS
    for _ in range(2):  # tried again, it is done once
        assert await send(office, reverse, head=head) == [OK]
    answer, shared = office.outside.copies
    assert (answer.rcpt, shared.rcpt) == (CONTACT, "second@inbox2.example")
    assert b"both+real=inbox.example@alias.example" in (read(shared).first(b"from") or b"")
    assert b"help at shop.example" in (read(shared).first(b"to") or b"")
    assert b"inbox.example" not in b"".join(answer.content)


async def test_4_10_nobody_reads_along_unasked(office: Office) -> None:
    await send(office, "both+help=shop.example@alias.example", head=HEAD.replace(b"a1+help", b"both+help") + ANSWERS)
    assert [copy.rcpt for copy in office.outside.copies] == [CONTACT]


# --- what owners are told --------------------------------------------------------------------------------------------


async def test_4_3_the_claimed_owner_is_told_and_can_release_the_text(office: Office) -> None:
    assert await send(office, found=FAIL) == [OK]
    [notice] = office.store.posted
    record = office.store.rows("failed_delivery")[0]
    assert (notice.code, notice.account_id, notice.recipient_id) == (Code.SRSA, 1, 1)
    assert notice.data["alias"] == "a1@alias.example"
    assert notice.data["contact"] == CONTACT
    assert notice.data["dmarc"] == "fail"
    assert notice.data["failed_uuid"] == str(UUID(int=record["id"]))


async def test_4_3_a_switched_off_recipient_is_told_why(office: Office) -> None:
    office.store.update("recipient", 1, can_reply_send=False)
    assert await send(office) == [OK]
    [notice] = office.store.posted
    assert (notice.code, notice.data["reason"]) == (
        Code.DRSA,
        "replying is switched off for the recipient that wrote",
    )


async def test_4_3_who_reached_a_limit_is_told(office: Office) -> None:
    office.rules.sending_limits = replace(office.rules.sending_limits, per_day=1, per_hour=0)
    await send(office)
    await send(office, queue_id="4Reply2")
    assert [(notice.code, notice.data["contact"]) for notice in office.store.posted] == [(Code.RSL, CONTACT)]


async def test_4_8_who_left_its_address_is_told_where(office: Office) -> None:
    await send(office, body=b"Write to real@inbox.example directly.\r\n")
    [notice] = office.store.posted
    assert (notice.code, notice.data) == (
        Code.LEAK,
        {"alias": "a1@alias.example", "places": "text", "exposed": "", "held_uuid": ""},
    )


async def test_12_4_117_who_wrote_to_others_directly_is_told(office: Office) -> None:
    await send(office, head=HEAD.replace(b"Subject:", b"Cc: friend@elsewhere.example\r\nSubject:"))
    [notice] = office.store.posted
    assert (notice.code, notice.data["places"]) == (Code.LEAK, "")
    assert notice.data["exposed"] == "friend@elsewhere.example"


async def test_nobody_is_told_of_what_nobody_wrote(office: Office) -> None:
    await send(office, head=HEAD + b"Auto-Submitted: auto-replied\r\n")
    await send(office, queue_id="4Reply2")
    assert office.store.posted == []


async def test_what_cannot_be_told_waits(office: Office) -> None:
    def away(moment: str, operation: str) -> None:
        if operation == "post":
            raise Unavailable("away")

    office.store.trouble = away
    assert await send(office, found=FAIL) == [TEMP]
