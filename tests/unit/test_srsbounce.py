"""Reports to SRS addresses at delivery (spec section 10.4): one new report, signed, that tells no mailbox."""

import base64
from dataclasses import replace

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mailrelay.core import srs
from mailrelay.core.address import Address, parse_address
from mailrelay.core.bounce import Bounce
from mailrelay.core.dkim import SigningKey
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.core.screen import day_number
from mailrelay.core.srsreport import MAX_PER_HOUR
from mailrelay.wire.report import delivery_status
from tests.unit.fakes import NOW
from tests.unit.office import MESSAGE, OK, SRS, TEMP, Office, new_office
from tests.unit.test_leak import occurs

REAL = "real@inbox.example"
WRITER = Address("bounce+77", "mta.shop.example")
PRIVATE = generate_private_key(65537, 2048)


def srs_address(days_old: int = 0, writer: Address = WRITER) -> str:
    return str(srs.forward(writer, SRS, day_number(NOW) - days_old))


RETURN = srs_address()


def report(real: str = REAL, action: str = "failed", to: str = "a1@alias.example") -> bytes:
    """What a destination has to say about a copy that it did not want."""
    text = f"""\
From: MAILER-DAEMON@mail.inbox.example
To: {RETURN}
Subject: Undelivered: {real}
Content-Type: multipart/report; report-type=delivery-status; boundary=b1

--b1
Content-Type: text/plain

<{real}>: User unknown
--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.inbox.example

Final-Recipient: rfc822; {real}
Action: {action}
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <{real}>: User unknown

--b1
Content-Type: message/rfc822

Delivered-To: {real}
X-Mailrelay-Envelope-To: {to}
From: "Example Shop" <news@shop.example>
To: {to}
X-Told: it was passed on to second@inbox2.example
Subject: Your order 77

The text.
--b1--
"""
    return text.replace("\n", "\r\n").encode()


def rsa(domain: str) -> tuple[SigningKey, ...]:
    return (SigningKey(domain, "mr1", "rsa-sha256", PRIVATE),)


def signing_office() -> Office:
    return new_office(signing_keys=rsa)


@pytest.fixture
def office() -> Office:
    return signing_office()


def sent(office: Office) -> bytes:
    (copy,) = office.outside.copies
    assert (copy.sender, copy.rcpt) == ("", str(WRITER))
    return b"".join(copy.content)


async def test_the_writer_gets_a_report_that_does_not_tell_the_mailbox(office: Office) -> None:
    """12.7-190"""
    assert await office.deliver(RETURN, sender="", content=report()) == [OK]
    content = sent(office)
    assert not occurs(REAL, content)
    assert b"a1@alias.example" in content
    told = delivery_status(content)
    assert told is not None
    assert [(one.final_recipient, one.status) for one in told.recipients] == [("a1@alias.example", "5.1.1")]
    assert office.outcomes() == [(RETURN.lower(), "delivered", None)]
    assert [row["destination"] for row in office.store.rows("outbound")] == [str(WRITER)]


async def test_the_report_is_signed_for_the_service(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dkim.time.time", lambda: NOW.timestamp() + 60)
    await office.deliver(RETURN, sender="", content=report())
    public = PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    asked = []

    def lookup(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return record

    assert dkim.verify(sent(office), dnsfunc=lookup)
    assert asked == [b"mr1._domainkey.relay.example."]


async def test_what_names_the_mailboxes_of_the_alias_does_not_come_back() -> None:
    """The report names one; that the alias has another, and where, is known from the database."""
    office = signing_office()
    await office.deliver(RETURN, sender="", content=report(to="both@alias.example"))
    content = sent(office)
    assert not occurs("second@inbox2.example", content)
    assert b"Subject: Your order 77" in content


async def test_mail_to_the_operator_does_not_tell_who_that_is(office: Office) -> None:
    content = report(real="admin@inbox.example", to="postmaster@alias.example")
    await office.deliver(RETURN, sender="", content=content.replace(b"second@inbox2.example", b"admin@inbox.example"))
    assert not occurs("admin@inbox.example", sent(office))


@pytest.mark.parametrize("lost", ["open", "take_report", "close"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_repeated_report_goes_out_once(office: Office, moment: str, lost: str) -> None:
    troubles = [lost]

    def trouble(at: str, operation: str) -> None:
        if at == moment and operation in troubles:
            troubles.remove(operation)
            raise Unavailable("the database went away")

    office.store.trouble = trouble
    replies = [await office.deliver(RETURN, sender="", content=report()) for _ in range(3)]
    assert replies[1:] == [[OK], [OK]]
    assert len(office.outside.copies) == 1
    assert office.outcomes() == [(RETURN.lower(), "delivered", None)]


async def test_nothing_is_accepted_before_postfix_has_the_report(office: Office) -> None:
    answers: list[Handed | Refused] = [Refused(451, "4.3.0 later"), Handed("4QqQ000001")]
    office.outside.answer = lambda copy: answers.pop(0)
    assert await office.deliver(RETURN, sender="", content=report()) == [TEMP]
    assert await office.deliver(RETURN, sender="", content=report()) == [OK]
    assert len(office.outside.copies) == 1


async def test_without_keys_the_report_waits() -> None:
    office = new_office()  # the service has none there
    assert await office.deliver(RETURN, sender="", content=report()) == [TEMP]
    assert office.outside.copies == []


async def test_a_sender_gets_ten_reports_an_hour(office: Office) -> None:
    for number in range(MAX_PER_HOUR + 3):
        assert await office.deliver(RETURN, sender="", content=report(), queue_id=f"4XyZ{number:06}") == [OK]
    assert len(office.outside.copies) == MAX_PER_HOUR
    endings = [(row["outcome"], row["reason"]) for row in office.entries()]
    assert endings[MAX_PER_HOUR:] == [("discarded", Reason.BOUNCE_REPORT)] * 3
    other = srs_address(writer=Address("x", "elsewhere.example"))
    await office.deliver(other, sender="", content=report())
    assert office.outside.copies[-1].rcpt == "x@elsewhere.example"


async def test_tries_of_one_report_count_once(office: Office) -> None:
    taken: list[Copy] = []

    def later(copy: Copy) -> Refused:
        taken.append(copy)
        return Refused(451, "4.3.0 later")

    office.outside.answer = later
    for _ in range(MAX_PER_HOUR + 3):
        assert await office.deliver(RETURN, sender="", content=report()) == [TEMP]
    assert len(taken) == MAX_PER_HOUR + 3
    assert len(office.store.rows("rate_window", kind="srs_report")) == 1


DROPPED = {
    "12.7-191-mail": ("friend@shop.example", MESSAGE, None, RETURN, Reason.RETURN_PATH_MAIL),
    "12.7-191-report-with-a-sender": ("mta@shop.example", report(), None, RETURN, Reason.RETURN_PATH_MAIL),
    "no-report": ("", MESSAGE, None, RETURN, Reason.RETURN_PATH_MAIL),
    "only-delayed": ("", report(action="delayed"), Bounce(False, "4.4.1", ""), RETURN, Reason.BOUNCE_REPORT),
    "12.7-189-expired": ("", report(), None, srs_address(22), Reason.RETURN_PATH_INVALID),
}


@pytest.mark.parametrize(("sender", "content", "bounce", "rcpt", "reason"), DROPPED.values(), ids=DROPPED)
async def test_nothing_else_is_passed_on(
    office: Office, sender: str, content: bytes, bounce: Bounce | None, rcpt: str, reason: Reason
) -> None:
    office.bounce = bounce
    assert await office.deliver(rcpt, sender=sender, content=content) == [OK]
    assert office.outside.copies == []
    assert office.outcomes() == [(rcpt.lower(), "discarded", reason.value)]


async def test_an_automatic_answer_with_a_sender_may_be_a_report(office: Office) -> None:
    content = b"Auto-Submitted: auto-replied\r\n" + report()
    assert await office.deliver(RETURN, sender="mta@inbox.example", content=content) == [OK]
    assert len(office.outside.copies) == 1


async def test_a_banned_writer_hears_nothing(office: Office) -> None:
    office.ban("email", str(WRITER))
    assert await office.deliver(RETURN, sender="", content=report()) == [OK]
    assert office.outside.copies == []
    assert office.outcomes() == [(RETURN.lower(), "failed", "destination_banned")]


async def test_an_address_with_letters_beyond_ascii_asks_for_smtputf8(office: Office) -> None:
    writer = parse_address("jürgen@shop.example")
    await office.deliver(srs_address(writer=writer), sender="", content=report())
    (copy,) = office.outside.copies
    assert (copy.rcpt, copy.smtputf8, copy.eight_bit) == (str(writer), True, True)


async def test_octets_of_the_author_need_8bitmime_only(office: Office) -> None:
    content = report().replace(b"Your order 77", b"Gr\xc3\xbc\xc3\x9fe")
    await office.deliver(RETURN, sender="", content=content)
    (copy,) = office.outside.copies
    assert (copy.smtputf8, copy.eight_bit) == (False, True)


async def test_settings_that_change_are_followed(office: Office) -> None:
    office.rules.identity = replace(office.rules.identity, hostname="mx2.relay.example")
    await office.deliver(RETURN, sender="", content=report())
    assert b"Reporting-MTA: dns; mx2.relay.example\r\n" in sent(office)
