"""Copies that come back as undeliverable, through the whole of Postfix, PostgreSQL and the worker: spec section 12.6.

What hosts elsewhere report is in test_reports.py.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.letters import from_owner, reverse
from tests.system.returning import (
    copies_of,
    nobody_outside_is_told,  # noqa: F401  # a fixture
    of,
    record,
    records,
    refusing,
    spooled,
    with_another,
)
from tests.system.scenario import (
    NEWS,
    Person,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
    text_of,
)

WHAT = ("email_type", "type", "bounce_type", "status")
PLAIN = "news@plain.example"  # its domain has no policy, so that nothing is made of its name


def failed(scenario: Scenario, alias: str, **options: object) -> Sent:
    """A message whose one copy came back."""
    sent = scenario.send(alias, **options)  # type: ignore[arg-type]
    scenario.becomes(sent.queue_id, [(alias, "failed", "bounce")])
    return sent


# --- what a refusal is worth ---------------------------------------------------------------------------------------


def test_12_6_159_an_unknown_mailbox(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario)
    sent = failed(scenario, alias, mail=scenario.world.message("An offer for you"))
    found = record(scenario, person)
    assert of(found, *WHAT) == ("F", "outbound", "hard", "5.1.1")
    assert of(found, "alias", "recipient", "sender", "destination") == (alias, mailbox, NEWS, mailbox)
    assert of(found, "subject", "queue_id", "remote_mta") == ("An offer for you", sent.queue_id, "127.0.0.1")
    assert of(found, "code") == (f"smtp; 550 5.1.1 <{mailbox}>: no such user here",)
    assert of(found, "is_stored", "partial", "quarantined", "resent") == (True, False, False, False)
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)
    notice = scenario.notice(person.mailbox, "FDN", alias)
    told = text_of(notice)
    for fact in (
        f"Your alias: {alias}",
        f"Sender: {NEWS}",
        "Subject: An offer for you",
        f"Recipient: {mailbox}",
        "Mail server: 127.0.0.1",
        "Status: 5.1.1",
        "Sender checks: SPF pass, DKIM pass, DMARC pass",
        "The message is kept for you until",
    ):
        assert fact in told
    assert notice["Auto-Submitted"] == "auto-generated"
    assert "An offer" not in notice["Subject"]


@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [
        pytest.param("552 5.2.2 <{}>: mailbox full", "soft", "5.2.2", id="164-full"),
        pytest.param("554 5.7.1 <{}>: this looks like spam to us", "spam", "5.7.1", id="163-spam"),
        pytest.param("554 5.0.0 transaction failed", "hard", "5.0.0", id="163-transaction-failed"),
        pytest.param("550 5.1.10 no such recipient", "hard", "5.1.10", id="gone"),
        pytest.param("550 nobody of this name is known: user unknown", "hard", "5.0.0", id="without-enhanced-code"),
    ],
)
def test_12_6_163_and_164_other_refusals(scenario: Scenario, reply: str, kind: str, status: str) -> None:
    person = scenario.person()
    alias = scenario.alias(person)
    reply = reply.format(person.mailbox)
    with scenario.answering(reply, person.mailbox):  # for notifications as well
        failed(scenario, alias, sender=PLAIN)
    found = record(scenario, person)
    assert of(found, *WHAT) == ("F", "outbound", kind, status)
    assert found["code"].removeprefix("smtp; ") == reply


def test_7_4_spam_that_was_refused_after_its_text(scenario: Scenario) -> None:
    """Here a notification may well arrive, at the mailbox itself."""
    person, alias = refusing(scenario, "spam")
    failed(scenario, alias, sender=PLAIN)
    assert of(record(scenario, person), *WHAT) == ("F", "outbound", "spam", "5.7.1")
    assert of(record(scenario, person, "FDN"), *WHAT) == ("FDN", "outbound", "spam", "5.7.1")


def test_12_6_166_a_notification_that_fails_is_recorded_and_told_to_nobody(scenario: Scenario) -> None:
    person, alias = refusing(scenario)
    failed(scenario, alias)
    assert of(record(scenario, person), *WHAT) == ("F", "outbound", "hard", "5.1.1")
    found = record(scenario, person, "FDN")
    assert of(found, *WHAT, "destination") == ("FDN", "outbound", "hard", "5.1.1", person.mailbox)
    assert found["alias"] is None and not found["is_stored"]
    jobs = "select count(*) from job where kind = 'notice' and payload->>'account_id' = %s::text"
    assert scenario.value(jobs, str(person.account)) == 1


def test_7_5_each_of_two_copies_has_its_own_fate(scenario: Scenario) -> None:
    """One that arrived still counts."""
    person, mailbox, _ = with_another(scenario)
    both = scenario.alias(person, mailbox, person.mailbox)
    sent = scenario.send(both)
    scenario.copies(sent, person.mailbox)
    scenario.becomes(sent.queue_id, [(both, "delivered", ""), (both, "failed", "bounce")])
    assert scenario.of_alias(both, "emails_forwarded") == (1,)
    assert record(scenario, person)["destination"] == mailbox


def test_failed_delivery_notification_preference_none(scenario: Scenario) -> None:
    person, _, alias = with_another(scenario, failed_delivery_notification_preference=3)
    failed(scenario, alias)
    record(scenario, person)
    jobs = "select count(*) from job where kind = 'notice' and payload->>'account_id' = %s::text"
    assert scenario.value(jobs, str(person.account)) == 0


# --- time ----------------------------------------------------------------------------------------------------------


def test_greylisting_that_ends_is_no_failure(scenario: Scenario) -> None:
    person = scenario.person()
    alias = scenario.alias(person)
    with scenario.answering("451 4.7.1 greylisted", person.mailbox):
        sent = scenario.send(alias)
        waiting = "select remote from outbound where ingress_queue_id = %s and sent_at is null"
        scenario.eventually(
            lambda: "greylisted" in str(scenario.sql(waiting, sent.queue_id)), "the mail log to tell of it"
        )
        assert len(spooled(scenario, sent)) == 1
    scenario.copies(sent, person.mailbox)
    scenario.becomes(sent.queue_id, [(alias, "delivered", "")])
    scenario.eventually(lambda: spooled(scenario, sent) == [], "the spool file to go")
    assert records(scenario, person, 0) == []


@contextmanager
def impatient(scenario: Scenario) -> Iterator[None]:
    """Postfix gives mail up after a second or so, and would tell earlier that it waits."""
    with scenario.postfix_with(maximal_queue_lifetime="2s", delay_warning_time="1s"):
        yield


def test_12_6_161_and_162_what_is_put_off_until_postfix_gives_up(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario, "later")
    with impatient(scenario):
        failed(scenario, alias)
    found = record(scenario, person)
    assert of(found, *WHAT) == ("F", "outbound", "soft", "4.3.0")
    assert "come back later" in found["code"]
    assert found["is_stored"]
    told = text_of(scenario.notice(person.mailbox, "FDN", alias))
    assert "later mail may well arrive" in " ".join(told.split())
    state = "select failing_since, hard_failures from recipient where address = %s"
    assert scenario.sql(state, mailbox) == [(None, 0)]


def test_12_6_162_a_host_that_nobody_reaches(scenario: Scenario) -> None:
    person = scenario.person()
    alias = scenario.alias(person)
    # The worker is down as well, or the notice would come back, too.
    world = scenario.world
    with impatient(scenario), world.without_role("worker"), world.without_outside():
        failed(scenario, alias)
        found = record(scenario, person)
    assert of(found, *WHAT) == ("F", "outbound", "soft", "4.4.1")
    assert re.search("refused", found["code"])
    scenario.notice(person.mailbox, "FDN", alias)


# --- replies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answers", "kind"), [("<1@shop.example>", "R"), ("", "S")])
def test_12_6_173_a_reply_that_comes_back(scenario: Scenario, answers: str, kind: str) -> None:
    person = scenario.person()
    writer = Person(person.account, person.name, f"writes.{person.name}@inbox.example")
    contact = f"refuse.{person.name}@shop.example"
    alias = scenario.alias(person, writer.mailbox)
    to = reverse(alias, contact)
    sent = scenario.send(to, sender=writer.mailbox, mail=from_owner(writer, to, answers=answers))
    scenario.becomes(sent.queue_id, [(to, "failed", "bounce")])
    found = record(scenario, person, kind)
    assert of(found, *WHAT, "destination", "alias") == (kind, "outbound", "hard", "5.1.1", contact, alias)
    assert scenario.of_alias(alias, "emails_replied, emails_sent, emails_forwarded") == (0, 0, 0)
    told = text_of(scenario.notice(writer.mailbox, "FDN", alias))  # who wrote it, not the default recipient
    assert f"Recipient: {contact}" in told
    assert scenario.notices(person.mailbox, "FDN") == []
    said = scenario.refused(writer.mailbox, to, mail=from_owner(writer, to))
    assert said == f"550 5.7.1 Mail to this contact is not accepted: 550 5.1.1 <{contact}>: no such user here"


# --- the whole story -----------------------------------------------------------------------------------------------


def test_trace_tells_the_whole_story(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario)
    sent = failed(scenario, alias)
    found = record(scenario, person)
    scenario.notice(person.mailbox, "FDN", alias)
    arrived = "select count(*) from outbound where account_id = %s and notice = 'FDN' and sent_at is not null"
    scenario.eventually(lambda: scenario.value(arrived, person.account) == 1, "the mail log to tell of the notice")
    told = scenario.world.sandbox.cli("trace", sent.queue_id).out
    lines = [" ".join(line.split()) for line in told.splitlines()]
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    expected = (
        rf"{moment} <news@shop\.example> wrote to {alias} from 127\.0\.0\.11, queue id {sent.queue_id}, \d+ octets",
        rf"alias {alias} of account {person.name}",
        rf"forward to {mailbox}, transparent, return path [0-9a-f]{{16}}",
        r"was handed to Postfix as \w+",
        "failed: the destination refused the copy",
        rf"came back as undeliverable {moment}: 5\.1\.1 smtp; 550 5\.1\.1 <{mailbox}>: no such user here",
        rf"failed delivery {found['id']}, hard, whose message is kept",
        rf"its owner was told by a notification to {person.mailbox}: arrived {moment}",
    )
    assert len(lines) == len(expected), told
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)
    (document,) = scenario.world.cli("trace", sent.queue_id)
    assert of(document, "failed_id", "bounce_type", "told_to") == (found["id"], "hard", person.mailbox)
    assert copies_of(scenario, sent) == [(mailbox, 1)]


# --- before the books are closed -----------------------------------------------------------------------------------


def test_12_6_159a_a_bounce_that_is_faster_than_the_books(scenario: Scenario) -> None:
    """Postfix has the copy, but nobody could write that down yet."""
    person, mailbox, alias = with_another(scenario, "full")
    unknown = "notice is not null or outbound_queue_id is null"
    scenario.sql(f"alter table outbound add constraint outbound_test check ({unknown}) not valid")
    try:
        with scenario.answering("552 5.2.2 mailbox full", mailbox):
            sent = scenario.send(alias)
            found = record(scenario, person)
    finally:
        scenario.sql("alter table outbound drop constraint outbound_test")
    assert of(found, *WHAT) == ("F", "outbound", "soft", "5.2.2")
    scenario.world.settle()
    scenario.becomes(sent.queue_id, [(alias, "failed", "bounce")])
    assert copies_of(scenario, sent) == [(mailbox, 1)]
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)
