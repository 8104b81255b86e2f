"""Mailboxes that take nothing any more, contacts that refuse, aliases that bounce: spec section 7.5 and row 171.

Days are made of hours that are moved in the database.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.system.letters import from_owner, reverse
from tests.system.returning import (
    nobody_outside_is_told,  # noqa: F401  # a fixture
    record,
    records,
    refusing,
    with_another,
)
from tests.system.scenario import (
    Person,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
    text_of,
)
from tests.system.world import Mail

PLAIN = "news@plain.example"  # its domain has no policy, so that nothing is made of its name
FAILED = ("failed", "bounce")
GONE = "550 5.1.1 no such user here"


def state(scenario: Scenario, mailbox: str, columns: str) -> tuple[Any, ...]:
    (row,) = scenario.sql(f"select {columns} from recipient where address = %s", mailbox)
    return row


def is_failing(scenario: Scenario, mailbox: str) -> bool:
    return bool(state(scenario, mailbox, "failing_since is not null")[0])


def earlier(scenario: Scenario, mailbox: str, interval: str) -> None:
    """What is known of a mailbox happened so much earlier."""
    columns = ("failing_since", "first_hard_failure_at", "last_success_at", "probed_at")
    moved = ", ".join(f"{column} = {column} - %s::interval" for column in columns)
    scenario.sql(f"update recipient set {moved} where address = %s", *[interval] * len(columns), mailbox)


def both(scenario: Scenario) -> tuple[Person, str, str, str]:
    """Somebody with an alias for two mailboxes; the first took mail a while ago and is the default."""
    person = scenario.person()
    second = f"second.{person.name}@inbox2.example"
    alias = scenario.alias(person, person.mailbox, second)
    sent = scenario.send(alias)
    scenario.copies(sent, person.mailbox, second)
    scenario.eventually(lambda: state(scenario, person.mailbox, "last_success_at is not null")[0], "a known success")
    return person, person.mailbox, second, alias


def half(scenario: Scenario, alias: str, second: str) -> None:
    """A message of which one copy comes back."""
    sent = scenario.send(alias)
    scenario.copies(sent, second)
    scenario.becomes(sent.queue_id, [(alias, *FAILED), (alias, "delivered", "")])


def only(scenario: Scenario, alias: str, mailbox: str) -> None:
    """A message that goes to nobody else."""
    sent = scenario.send(alias)
    scenario.copies(sent, mailbox)
    scenario.becomes(sent.queue_id, [(alias, "delivered", "")])


# --- recipients ----------------------------------------------------------------------------------------------------


def test_12_6_171_three_hard_failures_on_two_days(scenario: Scenario) -> None:
    person, first, second, alias = both(scenario)
    with scenario.answering(GONE, first):
        half(scenario, alias, second)
        earlier(scenario, first, "1 day")
        half(scenario, alias, second)
        assert not is_failing(scenario, first)
        half(scenario, alias, second)
        assert is_failing(scenario, first)
        only(scenario, alias, second)
        # Once a day a message tries whether it works again.
        earlier(scenario, first, "25 hours")
        half(scenario, alias, second)
        only(scenario, alias, second)
    assert len(records(scenario, person, 4)) == 4
    scenario.eventually(lambda: len(scenario.notices(second, "FDN", alias)) == 4, "the fourth notice")
    only(scenario, alias, second)
    earlier(scenario, first, "25 hours")
    sent = scenario.send(alias)
    scenario.copies(sent, first, second)
    scenario.eventually(lambda: not is_failing(scenario, first), "the mail log to tell that it works")
    assert state(scenario, first, "hard_failures, first_hard_failure_at, probed_at") == (0, None, None)
    sent = scenario.send(alias)
    scenario.copies(sent, first, second)


def test_7_5_three_failures_on_one_day_and_a_success_in_between(scenario: Scenario) -> None:
    _, first, second, alias = both(scenario)
    with scenario.answering(GONE, first):
        for _ in range(3):
            half(scenario, alias, second)
    assert not is_failing(scenario, first)
    earlier(scenario, first, "1 day")
    sent = scenario.send(alias)
    scenario.copies(sent, first, second)
    scenario.eventually(lambda: state(scenario, first, "hard_failures") == (0,), "the success to count")
    with scenario.answering(GONE, first):
        half(scenario, alias, second)
    assert not is_failing(scenario, first)


def test_7_5_one_failure_where_mail_never_arrived(scenario: Scenario) -> None:
    """With nobody else to receive, mail is put off, but for one message a day."""
    person, mailbox, alias = with_another(scenario, "moved")
    with scenario.answering(GONE, mailbox):
        sent = scenario.send(alias)
        scenario.becomes(sent.queue_id, [(alias, *FAILED)])
        record(scenario, person)
    assert is_failing(scenario, mailbox)
    scenario.answers("450 4.2.1 Address is not ready to receive mail", alias)
    earlier(scenario, mailbox, "25 hours")
    scenario.answers("250", alias)
    sent = scenario.send(alias)
    scenario.copies(sent, mailbox)
    scenario.eventually(lambda: not is_failing(scenario, mailbox), "the mail log to tell that it works")
    scenario.answers("250", alias)


def test_7_5_mailboxes_that_take_forwards_for_spam(scenario: Scenario) -> None:
    """From the fifth within a week, what bears a warning is kept instead."""
    person, alias = refusing(scenario, "spam")
    mailbox = person.mailbox
    with quiet(scenario, person):
        for number in range(5):
            assert state(scenario, mailbox, "quarantines_tagged_at is null") == (True,), number
            sent = scenario.send(alias, sender=PLAIN)
            scenario.becomes(sent.queue_id, [(alias, *FAILED)])
    scenario.eventually(lambda: state(scenario, mailbox, "quarantines_tagged_at is not null") == (True,), "the mark")
    assert not is_failing(scenario, mailbox)
    assert {one["bounce_type"] for one in records(scenario, person, 5)} == {"spam"}
    mail = scenario.world.message(sender=PLAIN)
    suspicious = Mail(b"X-Filter-Score: 7.5\r\n" + mail.content, mail.message_id)
    sent = scenario.send(alias, sender=PLAIN, mail=suspicious)
    scenario.becomes(sent.queue_id, [(alias, "held", "spam")])
    scenario.copies(sent)


@contextmanager
def quiet(scenario: Scenario, person: Person) -> Iterator[None]:
    """No notifications of failed deliveries."""
    scenario.sql("update account set failed_delivery_notification_preference = 3 where id = %s", person.account)
    yield


# --- contacts ------------------------------------------------------------------------------------------------------


def to_contact(scenario: Scenario, person: Person, to: str) -> Sent:
    sent = scenario.send(to, sender=person.mailbox, mail=from_owner(person, to))
    scenario.becomes(sent.queue_id, [(to, *FAILED)])
    return sent


def test_7_5_a_contact_that_refuses_three_in_a_row(scenario: Scenario) -> None:
    person = scenario.person()
    alias = scenario.alias(person)
    contact = f"closed.{person.name}@shop.example"
    to = reverse(alias, contact)
    with scenario.answering("554 5.7.0 closed for good", contact):
        to_contact(scenario, person, to)
        to_contact(scenario, person, to)
    # Did one arrive in between, they are not three in a row.
    sent = scenario.send(to, sender=person.mailbox, mail=from_owner(person, to))
    scenario.copies(sent, contact)
    failures = "select hard_failures from contact where address = %s"
    scenario.eventually(lambda: scenario.value(failures, contact) == 0, "the success to count")
    with scenario.answering("554 5.7.0 closed for good", contact):
        for _ in range(3):
            to_contact(scenario, person, to)
    said = scenario.refused(person.mailbox, to, mail=from_owner(person, to))
    assert said == "550 5.7.1 Mail to this contact is not accepted: 554 5.7.0 closed for good"
    scenario.world.dispatches.clear()
    scenario.sql("update contact set suppressed_until = now() where address = %s", contact)
    sent = scenario.send(to, sender=person.mailbox, mail=from_owner(person, to))
    scenario.copies(sent, contact)
    assert not is_failing(scenario, person.mailbox)
    assert scenario.of_alias(alias, "emails_replied") == (2,)


# --- aliases -------------------------------------------------------------------------------------------------------


def test_7_5_aliases_that_bounce_are_switched_off_only_if_their_owner_wants_that(scenario: Scenario) -> None:
    for wanted in (False, True):
        person, mailbox, alias = with_another(scenario, auto_disable_bouncing_alias=wanted)
        with quiet(scenario, person), scenario.answering("552 5.2.2 mailbox full", mailbox):
            sent = [scenario.send(alias) for _ in range(13)]
            for one in sent:
                scenario.becomes(one.queue_id, [(alias, *FAILED)])
        if not wanted:
            assert scenario.of_alias(alias, "state") == ("active",)
            continue
        scenario.eventually(lambda alias=alias: scenario.of_alias(alias, "state") == ("inactive",), "the alias to end")  # type: ignore[misc]
        told = text_of(scenario.notice(person.mailbox, "ADUN", alias))
        assert "/u/activate/" in told
        assert len(records(scenario, person, 13)) == 13
