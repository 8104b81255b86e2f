"""What becomes of mail that the checks found something about: spec section 12.2 from the session to the mailbox."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.system.scenario import (
    NEWS,
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.sealer import sealed
from tests.system.test_delivery import header
from tests.system.world import Mail, World
from tools.sandbox.sender import sign

FORGER = "127.0.0.66"  # in nobody's SPF record
DMARC = "550 5.7.26 Rejected by the DMARC policy of shop.example"
WARNING = b"Careful: this mail failed the check of its sender (DMARC)."
LIST = "list@inbox.example"  # of a host whose seals are trusted

_ZONE = """
soft 60 IN TXT "v=spf1 -all"
_dmarc.soft 60 IN TXT "v=DMARC1; p=quarantine"
loose 60 IN TXT "v=spf1 -all"
_dmarc.loose 60 IN TXT "v=DMARC1; p=none"
"""


@pytest.fixture(scope="module", autouse=True)
def _policies(session_world: World) -> None:
    session_world.publish(_ZONE)


def owner(scenario: Scenario, **columns: Any) -> tuple[Person, str]:
    """Somebody whose mail is rewritten, and an alias. columns: of the account."""
    person = scenario.person(forward_mode="rewrite", **columns)
    return person, scenario.alias(person)


# --- DMARC fails ---------------------------------------------------------------------------------------------------


def test_12_2_46_a_forger_is_refused_and_the_owner_can_see_it(scenario: Scenario) -> None:
    _, address = owner(scenario)
    assert scenario.refused(NEWS, address, source=FORGER, signed=False) == DMARC
    scenario.eventually(lambda: scenario.refusals(address) == ["dmarc"], "the record")
    (shown,) = scenario.sql("select outcome, sender, host(client_address) from ledger where rcpt = %s", address)
    assert shown == ("refused", NEWS, FORGER)


def test_12_2_47_an_owner_may_want_to_see_it_and_let_it_go(scenario: Scenario) -> None:
    person, address = owner(scenario, dmarc_reject_action="quarantine")
    sent = scenario.send(address, source=FORGER, signed=False)
    scenario.becomes(sent.queue_id, [(address, "held", "dmarc")])
    scenario.copies(sent)
    record = "select id, quarantined, is_stored, status, email_type, bounce_type from failed_delivery"
    ((number, *facts),) = scenario.sql(f"{record} where account_id = %s", person.account)
    assert facts == [True, True, "5.7.1", "F", "spam"]
    assert scenario.of_alias(address, "emails_blocked, emails_forwarded") == (1, 0)
    (listed,) = scenario.world.cli("held", "list", person.name)
    assert (listed["rcpt"], listed["reason"]) == (address, "dmarc")
    scenario.world.cli("held", "release", str(listed["id"]))
    (copy,) = scenario.copies(sent, person.mailbox)
    assert WARNING in copy.body
    assert number == listed["id"]


def test_12_2_48_who_stores_nothing_gets_it_with_a_warning(scenario: Scenario) -> None:
    person, address = owner(scenario, store_failed_deliveries=False, banner_location="top")
    sent = scenario.send(address, sender="a@soft.example")
    (copy,) = scenario.copies(sent, person.mailbox)
    lines = copy.body.split(b"\r\n")
    assert lines[1].startswith(WARNING)
    assert lines.index(f"This mail was sent to {address} by a@soft.example.".encode()) > 1
    assert copy.body.endswith(b"Good morning.\r\n")
    assert header(copy, "Subject") == ["hello"]
    scenario.becomes(sent.queue_id, [(address, "delivered", "")])


def test_12_2_48_one_who_stores_and_one_who_does_not(scenario: Scenario) -> None:
    (_, stores), (person, does_not) = owner(scenario), owner(scenario, store_failed_deliveries=False)
    sent = scenario.send(stores, does_not, sender="a@soft.example")
    scenario.becomes(sent.queue_id, [(stores, "held", "dmarc"), (does_not, "delivered", "")])
    (copy,) = scenario.copies(sent, person.mailbox)
    assert WARNING in copy.body


def test_12_2_49_a_warning_in_the_subject(scenario: Scenario) -> None:
    person, address = owner(scenario, spam_warning_behaviour="subject")
    forged = scenario.send(address, sender="a@loose.example")
    mail = scenario.world.message()
    filtered = scenario.send(address, mail=Mail(b"X-Filter-Score: 7.5\r\n" + mail.content, mail.message_id))
    (first,) = scenario.copies(forged, person.mailbox)
    (second,) = scenario.copies(filtered, person.mailbox)
    assert (header(first, "Subject"), header(first, "X-Mailrelay-Spam")) == (["[DMARC FAIL] hello"], [])
    assert (header(second, "Subject"), header(second, "X-Mailrelay-Spam")) == (["[SPAM] hello"], ["Yes"])
    assert {first.body, second.body} == {b"Good morning.\r\n"}


def test_2_3_9_what_the_filter_is_sure_of_is_refused(scenario: Scenario) -> None:
    _, address = owner(scenario)
    mail = scenario.world.message()
    spam = Mail(b"X-Filter-Score: 15\r\n" + mail.content, mail.message_id)
    assert scenario.refused(NEWS, address, mail=spam) == "550 5.7.1 Message content rejected"
    scenario.eventually(lambda: scenario.refusals(address) == ["spam"], "the record")


# --- somebody vouches for it ---------------------------------------------------------------------------------------


def through_a_list(scenario: Scenario, sealer: str) -> Mail:
    """A message of the shop to which a list has added its footer: the shop's signature is broken."""
    mail, keys = scenario.world.message(), scenario.world.sandbox.places.keys
    signed = sign(mail.content, "shop.example", keys) + b"-- \r\nthe list\r\n"
    results = "dmarc=pass (p=reject) header.from=shop.example"
    return Mail(sealed(signed, keys, results=results, domain=sealer), mail.message_id)


def test_12_2_50_a_list_that_is_trusted_vouches_for_the_author(scenario: Scenario) -> None:
    person, address = owner(scenario, spam_warning_behaviour="subject")
    mail = through_a_list(scenario, "inbox.example")
    sent = scenario.send(address, sender=LIST, mail=mail, signed=False)
    (copy,) = scenario.copies(sent, person.mailbox)
    assert header(copy, "Subject") == ["hello"]
    assert copy.body == b"Good morning.\r\n-- \r\nthe list\r\n"
    (results,) = header(copy, "X-Mailrelay-Authentication-Results")
    assert "dmarc=fail" in results
    assert "arc=pass" in results


def test_12_2_50_a_seal_of_anybody_does_not(scenario: Scenario) -> None:
    _, address = owner(scenario)
    mail = through_a_list(scenario, "shop.example")
    assert scenario.refused(LIST, address, mail=mail, signed=False) == DMARC


# --- nobody has checked it -----------------------------------------------------------------------------------------


@contextmanager
def nobody_looking(scenario: Scenario) -> Iterator[None]:
    """Postfix asks no milter about what comes from outside within the block."""
    before = scenario.world.sandbox.postfix.get("smtpd_milters")
    _ask_milters(scenario, "")
    try:
        yield
    finally:
        _ask_milters(scenario, before)


def _ask_milters(scenario: Scenario, milters: str) -> None:
    """After a reload, an idle smtpd could still take one more session under the old rules; so start afresh."""
    postfix = scenario.world.sandbox.postfix
    postfix.postconf("-e", f"smtpd_milters = {milters}")
    postfix.stop()
    postfix.start()


def test_12_2_53_mail_that_nobody_checked_waits(scenario: Scenario) -> None:
    person, address = owner(scenario)
    forged = scenario.world.message()
    fake = b"X-Mailrelay-Ingress: v=1;route=smtp;mac=0123456789012345678901234567890123456789\r\n"
    with nobody_looking(scenario):
        mail = Mail(fake + forged.content, forged.message_id)
        sent = scenario.send(address, "postmaster@alias.example", mail=mail, signed=False)

        def waits() -> bool:
            log = scenario.world.sandbox.postfix.log_text()
            return re.search(rf" {sent.queue_id}: to=<{address}>.*dsn=4\.3\.5, status=deferred", log) is not None

        scenario.eventually(waits, "the mail to wait")
    scenario.drop_mail(address)
    scenario.world.dispatches.clear()
    scenario.copies(sent, "admin@inbox.example")
    assert scenario.world.outcomes(sent.queue_id) == [("postmaster@alias.example", "delivered", "")]
    assert scenario.world.arrivals(to=person.mailbox) == []


# --- odd authors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("author", "shown"),
    [
        pytest.param("Name <Name <a@shop.example>>", "Name", id="12.2-55-nested"),
        pytest.param("Widgets, Inc <a@shop.example>", "Widgets, Inc", id="12.2-56-comma"),
    ],
)
def test_an_author_that_is_written_oddly_is_understood(scenario: Scenario, author: str, shown: str) -> None:
    person, address = owner(scenario)
    sent = scenario.send(address, mail=scenario.world.message(sender=author))
    (copy,) = scenario.copies(sent, person.mailbox)
    reverse = address.replace("@", "+a=shop.example@")
    assert header(copy, "From") == [f"\"{shown} 'a at shop.example'\" <{reverse}>"]
    assert header(copy, "X-Mailrelay-Original-Sender-Address") == ["a@shop.example"]


def test_12_2_59_an_author_who_is_not_ascii_needs_no_smtputf8_on(scenario: Scenario) -> None:
    person, address = owner(scenario)
    author = "büro@münchen.example"
    mail = scenario.world.message(subject="Grüße", sender=f"Büro <{author}>")
    sent = scenario.send(address, sender=author, mail=mail)
    (copy,) = scenario.copies(sent, person.mailbox)
    assert copy.header.isascii()
    hops = header(copy, "Received")
    assert " with ESMTP" in hops[0]
    assert " with UTF8SMTP" in hops[-1]
    (found,) = header(copy, "From")
    assert re.fullmatch(r"=\?utf-8\?[bq]\?\S+\?= <r-[a-z2-7]{16}@alias\.example>", found), found
    reverse = found.partition("<")[2].rstrip(">")
    known = "select address from contact where reverse_local_part || '@' || reverse_domain = %s"
    assert scenario.sql(known, reverse) == [("büro@xn--mnchen-3ya.example",)]
