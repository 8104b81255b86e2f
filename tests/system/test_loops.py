"""Mail that comes back: spec sections 9.1 to 9.5 and the loops of section 12.6."""

import pytest

from tests.system.scenario import (
    ACCEPTED,
    SHARED,
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.world import Mail

NOT_READY = "450 4.2.1 Address is not ready to receive mail"
FORWARDER = "a@plain.example"  # where somebody's mailbox sends mail on to us


def moved_in(scenario: Scenario, person: Person) -> str:
    """A mailbox whose domain is served here: it was elsewhere when the recipient was added."""
    domain = scenario.domain(scenario.u, catch_all=True)
    mailbox = f"moved@{domain}"
    scenario.sql("update recipient set address = %s where account_id = %s", mailbox, person.account)
    return mailbox


# --- what has our marks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forward_mode", ["transparent", "rewrite"])
def test_12_6_179_a_copy_that_comes_back_to_its_alias_ends_there(scenario: Scenario, forward_mode: str) -> None:
    person = scenario.person(forward_mode=forward_mode)
    address = scenario.alias(person)
    sent = scenario.send(address)
    (copy,) = scenario.copies(sent, person.mailbox)
    back = scenario.send(address, sender=FORWARDER, mail=Mail(copy.content, sent.message_id))
    scenario.becomes(back.queue_id, [(address, "discarded", "loop")])
    scenario.copies(sent, person.mailbox)
    assert scenario.of_alias(address, "emails_forwarded") == (1,)


def test_9_2_a_copy_may_pass_another_alias(scenario: Scenario) -> None:
    first, second = (scenario.person(forward_mode="transparent") for _ in range(2))
    sent = scenario.send(scenario.alias(first))
    (copy,) = scenario.copies(sent, first.mailbox)
    # The first owner's host sends everything on; it names its mailbox, as the first copy did.
    onward = scenario.send(scenario.alias(second), sender=FORWARDER, mail=Mail(copy.content, sent.message_id))
    (last,) = [one for one in scenario.copies(onward, first.mailbox, second.mailbox) if one.path != copy.path]
    assert len(header(last, "X-Mailrelay-Loop")) == 2
    scenario.mailboxes.discard(first.mailbox)


def test_9_2_after_five_aliases_it_ends(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u)
    marks = "".join(f"X-Mailrelay-Loop: v1; {number:020x}\r\n" for number in range(6)).encode()
    for count, expected in ((5, (address, "delivered", "")), (6, (address, "discarded", "loop"))):
        mail = scenario.world.message(sender=FORWARDER)
        marked = b"".join(marks.splitlines(keepends=True)[:count])
        sent = scenario.send(address, sender=FORWARDER, mail=Mail(marked + mail.content, mail.message_id))
        scenario.becomes(sent.queue_id, [expected])


# --- what has lost them --------------------------------------------------------------------------------------------


def test_12_6_180_the_same_message_for_the_fifth_time_is_a_loop(scenario: Scenario) -> None:
    person = scenario.person()
    address, other = scenario.alias(person), scenario.alias(person)
    mail = scenario.world.message(sender=FORWARDER)
    for number in range(1, 6):
        back = Mail(f"Received: from hop{number} by elsewhere.example\r\n".encode() + mail.content, mail.message_id)
        sent = scenario.send(address, sender=FORWARDER, mail=back)
        expected = ("delivered", "") if number < 5 else ("discarded", "loop")
        scenario.becomes(sent.queue_id, [(address, *expected)])
    scenario.copies(scenario.send(other, sender=FORWARDER, mail=mail), *[person.mailbox] * 5)
    assert scenario.of_alias(address, "emails_forwarded") == (4,)


def test_9_5_a_copy_that_another_forwarder_sends_back_passes_once(scenario: Scenario) -> None:
    person = scenario.person(forward_mode="rewrite")
    first, second = scenario.alias(person), scenario.alias(person)
    sent = scenario.send(first)
    (copy,) = scenario.copies(sent, person.mailbox)
    (author,) = header(copy, "From")
    stripped = scenario.world.message(sender=author)
    for expected in (("delivered", ""), ("discarded", "loop")):
        back = scenario.send(second, sender=FORWARDER, mail=stripped)
        scenario.becomes(back.queue_id, [(second, *expected)])


# --- recipients that are ours --------------------------------------------------------------------------------------


def test_12_6_181_an_alias_that_leads_to_ourselves_is_not_ready(scenario: Scenario) -> None:
    person = scenario.person()
    address, domain = scenario.alias(person), scenario.domain(person, catch_all=True)
    assert scenario.ask(FORWARDER, address, f"never@{domain}") == [ACCEPTED, ACCEPTED]
    mailbox = moved_in(scenario, person)
    scenario.answers(NOT_READY, address, FORWARDER)
    assert scenario.ask(FORWARDER, address, f"never@{domain}", "a1@alias.example") == [NOT_READY, NOT_READY, ACCEPTED]
    scenario.eventually(lambda: set(scenario.refusals(address)) == {"own_domain"}, "the record")
    assert not scenario.alias_exists(f"never@{domain}")
    assert not scenario.alias_exists(mailbox)
    # One more recipient, elsewhere, and all is well.
    scenario.recipient(person, "elsewhere.181@inbox.example")
    scenario.sql(
        "update account set default_recipient_id = (select id from recipient where address = %s) where id = %s",
        "elsewhere.181@inbox.example",
        person.account,
    )
    scenario.answers(ACCEPTED, address, FORWARDER)
    scenario.copies(scenario.send(address), "elsewhere.181@inbox.example")


def test_12_6_181_aliases_that_lead_to_each_other_take_nothing(scenario: Scenario) -> None:
    one, other = f"circle1@{SHARED}", f"circle2@{SHARED}"
    scenario.alias(scenario.person(other), local_part="circle1")
    scenario.alias(scenario.person(one), local_part="circle2")
    assert scenario.ask(FORWARDER, one, other) == [NOT_READY, NOT_READY]
    scenario.mailboxes -= {one, other}
