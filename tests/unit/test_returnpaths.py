"""Mail at return paths: what is recorded, what goes on to the alias, what ends (spec sections 7.2, 7.8 and 9.3)."""

import threading
from dataclasses import replace

import pytest

from mailrelay.core.address import parse_address
from mailrelay.core.answers import for_alias
from mailrelay.core.bounce import (
    AutomaticAnswer,
    BounceType,
    Complained,
    Complaint,
    Failed,
    Failure,
    OtherMail,
    Returned,
)
from mailrelay.core.facts import Reason
from mailrelay.core.header import split
from mailrelay.core.ledger import Envelope, Opening, OutboundId
from mailrelay.core.notices import Code
from mailrelay.core.verp import EmailType
from mailrelay.flows import returned
from mailrelay.wire import arrival
from tests.unit.fakes import NOW
from tests.unit.office import MESSAGE, OK, Kept, Office, new_office
from tests.unit.test_sending_flow import BODY, HEAD, PASS
from tests.unit.test_sending_flow import send as reply

ALIAS, REAL, CONTACT = "a1@alias.example", "real@inbox.example", "help@shop.example"
NO_USER = Failure("5.1.1", "smtp; 550 5.1.1 no such user", "mx.inbox.example", REAL, BounceType.HARD)
COMPLAINT = Complaint("abuse", "", "", (), "", (), b"", "", "", "")
VACATION = (
    b"From: help@shop.example\r\nTo: <b-caasgrlhrgv4332p4zrlah3w2fka2ampsm@alias.example>\r\n"
    b"Reply-To: desk@shop.example\r\nSubject: Away\r\nAuto-Submitted: auto-replied\r\n"
    b"Date: Tue, 06 Jan 2026 10:00:00 +0100\r\nMessage-ID: <away@shop.example>\r\n\r\nBack on Monday.\r\n"
)


@pytest.fixture
def office() -> Office:
    return new_office()


async def first(office: Office) -> str:
    """The return path of a forward."""
    await office.deliver(ALIAS)
    return office.outside.copies[0].sender


async def path_of_reply(office: Office) -> str:
    """The return path of a reply."""
    assert await reply(office) == [OK]
    return office.outside.copies[-1].sender


async def test_12_6_159_a_failure_is_recorded_with_what_was_kept_of_the_message(office: Office) -> None:
    path = await first(office)
    number = office.store.rows("outbound")[0]["id"]
    office.spooled[number] = Kept(MESSAGE, b"evidence")
    office.arrival = Failed((NO_USER,), Returned(b"Subject: Another\r\n", None))
    assert await office.deliver(path, sender="", content=b"\r\n") == [OK]
    [bounced] = office.recorded
    assert (bounced.copy.id, bounced.failure) == (number, NO_USER)
    assert (bounced.author, bounced.subject) == ("news@shop.example", b"Your order 77")
    assert (bounced.content, bounced.partial, bounced.evidence) == (MESSAGE, False, b"evidence")
    assert not office.spooled, "the record has it; its owner may delete that"


async def test_what_came_back_is_kept_where_there_is_nothing_better(office: Office) -> None:
    path = await first(office)
    header = b"From: relay@relay.example\r\nX-Mailrelay-Original-Sender-Address: news@shop.example\r\nSubject: One\r\n"
    office.arrival = Failed((NO_USER,), Returned(header, None))
    await office.deliver(path, sender="", content=b"\r\n")
    [bounced] = office.recorded
    assert (bounced.author, bounced.subject, bounced.partial) == ("news@shop.example", b"One", True)
    assert bounced.content == header + b"\r\n"


async def test_what_came_back_names_its_author_and_subject_in_bounded_space(office: Office) -> None:
    path = await path_of_reply(office)
    header = b"X-Mailrelay-Original-Sender-Address: " + b"a" * 90_000 + b"\r\nSubject: " + b"s" * 90_000 + b"\r\n"
    office.arrival = Failed((NO_USER,), Returned(header, None))
    await office.deliver(path, sender="", content=b"\r\n")
    [bounced] = office.recorded
    assert len(bounced.author) <= 320
    assert bounced.subject is not None and len(bounced.subject) <= 4000


async def test_the_failure_of_the_copys_own_mailbox_counts(office: Office) -> None:
    path = await first(office)
    other = replace(NO_USER, recipient="other@inbox.example", status="5.2.2", type=BounceType.SOFT)
    office.arrival = Failed((other, replace(NO_USER, recipient=REAL.upper())), None)
    await office.deliver(path, sender="", content=b"\r\n")
    assert [bounced.failure.status for bounced in office.recorded] == ["5.1.1"]


async def test_12_6_168_a_vacation_answer_to_a_reply_reaches_the_owner_from_the_alias(office: Office) -> None:
    path = await path_of_reply(office)
    office.arrival = AutomaticAnswer()
    assert await office.deliver(path, sender="", content=VACATION, queue_id="4Away") == [OK]
    copy = office.outside.copies[-1]
    message = split(b"".join(copy.content))
    assert copy.rcpt == REAL
    assert message.first(b"to") == ALIAS.encode()
    assert b"desk@shop.example" not in (message.first(b"reply-to") or b"")
    assert message.first(b"auto-submitted") == b"auto-replied"
    assert message.body.endswith(b"Back on Monday.\r\n")
    assert path.split("@")[0].encode() not in message.content[: message.header_end].replace(
        message.first(b"x-mailrelay-envelope-to") or b"-", b""
    )
    alias = office.store.row("alias", local_part="a1")
    assert alias is not None and alias["emails_forwarded"] == 1


async def test_a_receipt_for_a_reply_is_no_backscatter(office: Office) -> None:
    path = await path_of_reply(office)
    office.arrival = AutomaticAnswer()
    receipt = VACATION.replace(
        b"Auto-Submitted: auto-replied",
        b"Content-Type: multipart/report; report-type=disposition-notification; boundary=b",
    )
    assert await office.deliver(path, sender="", content=receipt, queue_id="4Receipt") == [OK]
    assert office.outside.copies[-1].rcpt == REAL


async def test_12_6_169_a_vacation_answer_to_a_forward_ends_here(office: Office) -> None:
    path = await first(office)
    office.arrival = AutomaticAnswer()
    answer = VACATION.replace(b"help@shop.example", REAL.encode())
    assert await office.deliver(path, sender=REAL, content=answer, queue_id="4Away") == [OK]
    assert len(office.outside.copies) == 1
    assert ("a1+news=shop.example@alias.example", "discarded", "auto_reply") in office.outcomes()


@pytest.mark.parametrize("author", [b"me@elsewhere.example", b""], ids=["other-address", "nobody"])
@pytest.mark.parametrize("wanted", [False, True])
async def test_12_6_169_whatever_address_it_answers_from(office: Office, author: bytes, wanted: bool) -> None:
    """Forwarded to the mailbox that answers, it would be answered again."""
    path = await first(office)
    office.store.update("account", 1, relay_auto_replies=wanted)
    office.arrival = AutomaticAnswer()
    answer = VACATION.replace(b"From: help@shop.example", b"From: " + author if author else b"X-Nobody: yes")
    assert await office.deliver(path, sender="", content=answer, queue_id="4Away") == [OK]
    assert len(office.outside.copies) == 1
    assert (path, "discarded", "auto_reply") in office.outcomes()


async def test_9_3_a_vacation_answer_to_a_forward_goes_on_if_the_owner_wants_it(office: Office) -> None:
    from tests.golden.cases import examined

    path = await first(office)
    office.store.update("account", 1, relay_auto_replies=True)
    office.arrival = AutomaticAnswer()
    head = HEAD.replace(b"a1+help=shop.example@alias.example", path.encode()) + b"Auto-Submitted: auto-replied\r\n"
    content = examined(head + b"\r\n" + BODY, PASS, REAL, NOW)
    assert await office.deliver(path, sender=REAL, content=content, queue_id="4Away") == [OK]
    copy = office.outside.copies[-1]
    message = split(b"".join(copy.content))
    assert (copy.rcpt, message.first(b"from")) == ("news@shop.example", b"a1@alias.example")
    assert message.first(b"auto-submitted") == b"auto-replied"
    assert b"inbox.example" not in message.content


async def test_whoever_answers_the_envelope_reaches_the_owner(office: Office) -> None:
    path = await path_of_reply(office)
    office.arrival = OtherMail()
    assert await office.deliver(path, sender=CONTACT, content=VACATION, queue_id="4Other") == [OK]
    assert office.outside.copies[-1].rcpt == REAL


async def test_to_the_path_of_a_forward_nobody_writes(office: Office) -> None:
    path = await first(office)
    office.arrival = OtherMail()
    assert await office.deliver(path, sender="stranger@shop.example", queue_id="4Other") == [OK]
    assert len(office.outside.copies) == 1
    assert (path, "discarded", Reason.RETURN_PATH_MAIL) in office.outcomes()


async def test_nothing_goes_on_from_an_alias_that_is_gone(office: Office) -> None:
    path = await path_of_reply(office)
    office.store.update("alias", 1, account_id=None, state="forgotten")
    office.arrival = AutomaticAnswer()
    assert await office.deliver(path, sender="", content=VACATION, queue_id="4Away") == [OK]
    assert len(office.outside.copies) == 1


async def test_a_complaint_at_a_return_path_is_about_its_copy(office: Office) -> None:
    path = await first(office)
    office.arrival = Complained(COMPLAINT)
    assert await office.deliver(path, sender="", content=b"\r\n") == [OK]
    [(complaint, copy)] = office.complaints
    assert complaint is COMPLAINT and copy is not None and copy.destination == REAL
    assert (path, "discarded", "complaint") in office.outcomes()
    [notice] = office.store.posted
    assert (notice.code, notice.account_id, notice.data["address"]) == (Code.OPS, None, "admin@inbox.example")


async def test_a_complaint_that_nobody_can_place_goes_to_the_operator(office: Office) -> None:
    office.arrival = Complained(COMPLAINT)
    assert await office.deliver("fbl@relay.example", content=MESSAGE) == [OK]
    assert office.complaints == [(COMPLAINT, None)]
    assert [copy.rcpt for copy in office.outside.copies] == ["admin@inbox.example"]


async def test_7_2_a_report_whose_sender_is_the_return_path_is_a_bounce(office: Office) -> None:
    path = await first(office)
    office.arrival = Failed((NO_USER,), None)
    assert await office.deliver(ALIAS, sender=path, content=MESSAGE, queue_id="4Turned") == [OK]
    assert len(office.outside.copies) == 1
    assert [bounced.failure for bounced in office.recorded] == [NO_USER]


@pytest.mark.parametrize(
    "mail",
    [
        b"From: Postmaster <postmaster@shop.example>\r\nSubject: Your mailbox moves\r\n\r\nOn Monday.\r\n",
        b"From: desk@shop.example\r\nSubject: Your question\r\n\r\n"
        b"Your parcel could not be delivered; our system said 550 5.1.1, no such street.\r\n",
    ],
    ids=["postmaster", "prose"],
)
async def test_mail_that_a_mailbox_sends_on_is_no_bounce(office: Office, mail: bytes) -> None:
    """Who redirects with sieve keeps the envelope sender, which is our return path, and the next alias gets it."""
    path = await first(office)
    office.delivery.technical.return_paths = replace(office.delivery.technical.return_paths, read_arrival=arrival.read)
    content = b"To: a1@alias.example\r\nMessage-ID: <on@shop.example>\r\n" + mail
    assert await office.deliver(ALIAS, sender=path, content=content, queue_id="4On") == [OK]
    assert len(office.outside.copies) == 2
    assert office.recorded == []


async def test_long_mail_is_read_beside_other_mail(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returned, "INLINE_OCTETS", 1000)
    path = await first(office)
    read_in = []

    def read(content: bytes, sender: str, /) -> OtherMail:
        read_in.append(threading.current_thread() is threading.main_thread())
        return OtherMail()

    office.delivery.technical.return_paths = replace(office.delivery.technical.return_paths, read_arrival=read)
    await office.deliver(path, sender="", content=b"\r\n" + b"x" * 1000, queue_id="4Long")
    await office.deliver(path, sender="", content=b"\r\nx", queue_id="4Short")
    assert read_in == [False, True]


@pytest.mark.parametrize(
    ("name", "copies"), [("fbl", []), ("postmaster", ["admin@inbox.example"]), ("abuse", ["admin@inbox.example"])]
)
async def test_7_8_a_complaint_without_a_report_part_counts_where_loops_write(
    office: Office, name: str, copies: list[str]
) -> None:
    office.complaint, office.known_complaint = COMPLAINT, True
    assert await office.deliver(f"{name}@relay.example", content=MESSAGE) == [OK]
    assert office.complaints == ([] if name == "abuse" else [(COMPLAINT, None)])
    assert [copy.rcpt for copy in office.outside.copies] == copies


async def test_other_mail_from_a_return_path_is_mail(office: Office) -> None:
    path = await first(office)
    office.arrival = OtherMail()
    assert await office.deliver(ALIAS, sender=path, content=MESSAGE.replace(b"77@", b"78@"), queue_id="4T") == [OK]
    assert len(office.outside.copies) == 2


async def test_a_notification_that_comes_back_is_not_kept(office: Office) -> None:
    from mailrelay.core import verp
    from mailrelay.core.screen import day_number
    from tests.unit.office import KEY

    envelope = replace((await _letter(office)), rcpt="me")
    await office.store.open(Opening(envelope, 1, OutboundId(77), REAL, EmailType.NOTIFICATION, "rewrite"))
    path = verp.VerpId(EmailType.NOTIFICATION, 77, day_number(NOW))
    rcpt = f"{verp.encode(path, 'relay.example', KEY)}@relay.example"
    office.arrival = Failed((NO_USER,), Returned(b"Subject: x\r\n", b"Subject: x\r\n\r\nSecret\r\n"))
    await office.deliver(rcpt, sender="", content=b"\r\n", queue_id="4Notice")
    [bounced] = office.recorded
    assert (bounced.copy.type, bounced.content) == (EmailType.NOTIFICATION, None)


async def _letter(office: Office) -> Envelope:
    from mailrelay.core.plan import Mail
    from mailrelay.flows.letter import open_letter

    letter = await open_letter(Mail("4N", "", (), b"\r\n"), NOW)
    return letter.envelope("me", None, None)


def test_only_the_addressees_change() -> None:
    message = for_alias(split(VACATION), parse_address(ALIAS))
    assert message.first(b"to") == ALIAS.encode()
    assert (message.count(b"to"), message.count(b"reply-to")) == (1, 0)
    assert message.body == split(VACATION).body
    assert message.first(b"message-id") == b"<away@shop.example>"


@pytest.mark.parametrize(
    ("sender", "head", "told"),
    [
        (REAL, b"", True),
        ("stranger@shop.example", b"", False),
        (REAL, b"Auto-Submitted: auto-replied\r\n", False),
        ("", b"", False),
    ],
    ids=["recipient", "stranger", "automatic", "null-sender"],
)
async def test_1_9_who_writes_to_noreply_is_told_if_it_is_one_of_us(
    office: Office, sender: str, head: bytes, told: bool
) -> None:
    assert await office.deliver("noreply@relay.example", sender=sender, content=head + MESSAGE) == [OK]
    assert [(notice.code, notice.recipient_id) for notice in office.store.posted] == ([(Code.NRP, 1)] if told else [])


async def test_who_answers_a_notification_reaches_the_operator(office: Office) -> None:
    assert await office.deliver("notifications@relay.example", sender=REAL) == [OK]
    assert [copy.rcpt for copy in office.outside.copies] == ["admin@inbox.example"]
