"""Mail at return paths, written by hosts elsewhere or by anybody: spec sections 7.2 and 12.6, handed to Postfix."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mailrelay.core import verp
from mailrelay.core.screen import day_number
from mailrelay.core.verp import VerpId
from mailrelay.keyring import read_secret
from tests.system.letters import from_owner, reverse
from tests.system.returning import (
    delivered,
    nobody_outside_is_told,  # noqa: F401  # a fixture
    of,
    record,
    records,
    report,
    returns,
    sample,
    with_another,
)
from tests.system.scenario import (
    NEWS,
    UNKNOWN,
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.world import Mail
from tools.sandbox.show import Arrived

CONTACT = "contact@shop.example"
WHAT = ("email_type", "bounce_type", "status")
DELAYED = "Action: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: smtp; 451 4.4.1 not now\r\n"
REPORTS = 200
_numbers = itertools.count(1)


def copy_of(scenario: Scenario, **columns: Any) -> tuple[Person, str, Arrived]:
    """Somebody, an alias, and a copy that arrived."""
    person = scenario.person(**columns)
    alias = scenario.alias(person)
    return person, alias, delivered(scenario, alias, person.mailbox)[1]


# --- delivery reports ----------------------------------------------------------------------------------------------


def test_12_6_159_and_160_a_report_and_its_repetition(scenario: Scenario) -> None:
    """From a host behind the one that took the copy."""
    person, alias, copy = copy_of(scenario)
    mail = report(rcpt=person.mailbox, returned=copy.content)
    returns(scenario, copy.sender, mail)
    found = record(scenario, person)
    assert of(found, *WHAT, "sender", "subject") == ("F", "hard", "5.1.1", NEWS, "hello")
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)
    returns(scenario, copy.sender.upper(), mail, sender="postmaster@plain.example")
    assert record(scenario, person) == found
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)
    count = "select bounce_count from outbound where account_id = %s and email_type = 'F'"
    assert scenario.value(count, person.account) == 2
    scenario.notice(person.mailbox, "FDN", alias)


def test_12_6_161_news_of_a_delay(scenario: Scenario) -> None:
    person, alias, copy = copy_of(scenario)
    returns(scenario, copy.sender, report(DELAYED, person.mailbox, copy.content))
    assert records(scenario, person, 0) == []
    assert scenario.of_alias(alias, "emails_forwarded") == (1,)


@pytest.mark.parametrize(
    ("name", "kind", "status", "code"),
    [
        pytest.param("105-", "soft", "4.4.7", "", id="162"),
        pytest.param("108-", "spam", "5.7.1", "spam", id="163-spam"),
        pytest.param("106-", "hard", "5.0.0", "transaction failed", id="163"),
        pytest.param("107-", "soft", "5.2.2", "full", id="164"),
        pytest.param("022-", "hard", "5.1.1", "", id="165-qmail"),
        pytest.param("015-", "hard", "5.1.1", "", id="165-exim"),
        pytest.param("084-", "soft", None, "", id="165-without-words"),
    ],
)
def test_12_6_162_to_165_reports_of_other_systems(
    scenario: Scenario, name: str, kind: str, status: str | None, code: str
) -> None:
    person, alias, copy = copy_of(scenario)
    returns(scenario, copy.sender, sample(name, person.mailbox))
    found = record(scenario, person)
    assert of(found, *WHAT) == ("F", kind, status)
    assert code in (found["code"] or "")
    assert found["destination"] == person.mailbox
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)


def test_7_2_a_report_that_has_the_return_path_as_its_sender(scenario: Scenario) -> None:
    """Some hosts turn the two around and write to the alias."""
    person, alias, copy = copy_of(scenario)
    sent = scenario.send(alias, sender=copy.sender, mail=report(rcpt=person.mailbox, returned=copy.content))
    scenario.becomes(sent.queue_id, [(alias, "discarded", "bounce_report")])
    assert of(record(scenario, person), *WHAT) == ("F", "hard", "5.1.1")


def test_12_6_170_a_report_to_the_alias_itself(scenario: Scenario) -> None:
    """Of mail that somebody sent in its name."""
    person, alias, _ = copy_of(scenario)
    sent = scenario.send(alias, sender="", mail=report(rcpt="victim@inbox.example"))
    scenario.becomes(sent.queue_id, [(alias, "discarded", "backscatter")])
    scenario.copies(sent)
    assert records(scenario, person, 0) == []


def test_a_bounce_of_a_bounce(scenario: Scenario) -> None:
    """A report about a report: the null sender has no return path, so there is nobody it could come back to."""
    person, _, copy = copy_of(scenario)
    inner = report(rcpt=person.mailbox, returned=copy.content)
    returns(scenario, copy.sender, report("Action: failed\r\nStatus: 5.4.6\r\n", copy.sender, inner.content))
    assert record(scenario, person)["bounce_type"] == "hard"
    returns(scenario, copy.sender, inner)
    assert len(records(scenario, person)) == 1


def test_two_hundred_reports_about_one_copy(scenario: Scenario) -> None:
    person, alias, copy = copy_of(scenario)

    def one(number: int) -> str:
        mail = report(rcpt=person.mailbox, words=f"It did not arrive, says number {number}.")
        return scenario.send(copy.sender, sender="", mail=mail).queue_id

    with ThreadPoolExecutor(8) as pool:
        queue_ids = list(pool.map(one, range(REPORTS)))
    scenario.world.settle()
    record(scenario, person)
    count = "select bounce_count from outbound where account_id = %s and email_type = 'F'"
    assert scenario.value(count, person.account) == REPORTS
    ended = "select count(*) from ledger where queue_id = any(%s) and outcome = 'discarded' and rcpt = %s"
    assert scenario.value(ended, queue_ids, copy.sender) == REPORTS
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)
    scenario.notice(person.mailbox, "FDN", alias)
    assert len(records(scenario, person)) == 1


# --- return paths that do not count --------------------------------------------------------------------------------


def aged(scenario: Scenario, copy: Arrived, days: int) -> str:
    """The return path of a copy as it would be if it had left so many days ago."""
    keys, today = read_secret(scenario.world.sandbox.places.secrets, "verp.key"), day_number(datetime.now(UTC))
    local, _, domain = copy.sender.partition("@")
    path = verp.decode(local, domain, keys, today)
    assert isinstance(path, VerpId)
    return f"{verp.encode(replace(path, day=today - days), domain, keys[0])}@{domain}"


def test_12_6_167_an_old_return_path(scenario: Scenario) -> None:
    person, _, copy = copy_of(scenario)
    assert scenario.answer(aged(scenario, copy, 11), sender="") == UNKNOWN
    assert records(scenario, person, 0) == []
    returns(scenario, aged(scenario, copy, 10), report(rcpt=person.mailbox))
    record(scenario, person)


def test_7_2_a_return_path_that_nobody_remembers(scenario: Scenario) -> None:
    person, _, copy = copy_of(scenario)
    scenario.sql("delete from outbound where account_id = %s", person.account)
    assert scenario.answer(copy.sender, sender="") == UNKNOWN


def test_a_tampered_return_path(scenario: Scenario) -> None:
    person, alias, copy = copy_of(scenario)
    local, _, domain = copy.sender.partition("@")
    other = "a" if local[-1] != "a" else "b"
    for address in (f"{local[:-1]}{other}@{domain}", f"{local}@{alias.partition('@')[2]}", f"{local}a@{domain}"):
        assert scenario.answer(address, sender="") == UNKNOWN, address
        assert scenario.answer(address) == UNKNOWN, address
    assert records(scenario, person, 0) == []


# --- answers -------------------------------------------------------------------------------------------------------


def away(author: str, to: str) -> Mail:
    """What an out-of-office program answers to the envelope sender."""
    mark = f"away{next(_numbers)}."
    head = f"From: {author}\r\nTo: {to}\r\nSubject: Away\r\nAuto-Submitted: auto-replied\r\nMessage-ID: <{mark}>\r\n"
    return Mail(
        f"{head}Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nBack on Monday, {mark}\r\n".encode(), mark.encode()
    )


@pytest.mark.parametrize("sender", ["", CONTACT])
def test_12_6_168_a_vacation_answer_to_a_reply(scenario: Scenario, sender: str) -> None:
    person = scenario.person()
    alias = scenario.alias(person)
    to = reverse(alias, CONTACT)
    written = scenario.send(to, sender=person.mailbox, mail=from_owner(person, to))
    (reply,) = scenario.copies(written, CONTACT)
    sent = scenario.send(reply.sender, sender=sender, mail=scenario.signed(away(CONTACT, reply.sender)))
    (copy,) = scenario.copies(sent, person.mailbox)
    # What it says of its recipient was put right, so its signature is lost.
    assert f"<{to}>" in header(copy, "From")[0]
    assert header(copy, "To") == [alias]
    assert header(copy, "Auto-Submitted") == ["auto-replied"]
    assert scenario.of_alias(alias, "emails_forwarded, emails_replied") == (1, 1)
    # One who answers by hand gets through as well.
    human = scenario.send(reply.sender, sender=CONTACT)
    scenario.copies(human, person.mailbox)


def test_12_6_169_a_vacation_answer_to_a_forward(scenario: Scenario) -> None:
    person, alias, copy = copy_of(scenario)
    for sender in ("", person.mailbox):
        sent = scenario.send(copy.sender, sender=sender, mail=away(person.mailbox, copy.sender))
        scenario.copies(sent)
        scenario.becomes(sent.queue_id, [(reverse(alias, NEWS), "discarded", "auto_reply")])


def test_9_3_a_vacation_answer_goes_on_if_its_owner_wants_that(scenario: Scenario) -> None:
    """Once in seven days, from the alias."""
    person, alias, copy = copy_of(scenario, relay_auto_replies=True)
    mail = away(person.mailbox, copy.sender)
    sent = scenario.send(copy.sender, sender=person.mailbox, mail=mail)
    (answer,) = scenario.world.arrived(to=NEWS, containing=mail.message_id)
    assert header(answer, "From") == [alias]
    assert header(answer, "Auto-Submitted") == ["auto-replied"]
    scenario.becomes(sent.queue_id, [(reverse(alias, NEWS), "delivered", "")])
    again = scenario.send(copy.sender, sender=person.mailbox, mail=away(person.mailbox, copy.sender))
    scenario.copies(again)
    scenario.becomes(again.queue_id, [(reverse(alias, NEWS), "discarded", "auto_reply")])


@pytest.mark.parametrize("written", ["away", "human"])
def test_7_2_answers_to_a_notification_end_here(scenario: Scenario, written: str) -> None:
    person, _, alias = with_another(scenario)
    scenario.send(alias)
    scenario.notice(person.mailbox, "FDN", alias)
    (notice,) = scenario.world.arrivals(to=person.mailbox)
    mail = away(person.mailbox, notice.sender)
    mail = mail if written == "away" else scenario.world.message(sender=person.mailbox)
    returns(scenario, notice.sender, mail, sender=person.mailbox, outcome="return_path_mail")
