"""What owners are told of what happened to their mail, some seconds after it did: spec sections 7.6 and 8.4.

The ledger is read 15 seconds behind the mail. So each story has two halves, and all first halves are told before the
second half of any.
"""

import smtplib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage

from mailrelay.core import ingress
from mailrelay.core.findings import Dmarc, Findings
from mailrelay.core.header import split
from mailrelay.core.ingress import Ingress
from mailrelay.keyring import read_secret
from tests.system.scenario import (
    NEWS,
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
    text_of,
)
from tests.system.test_loops import FORWARDER, NOT_READY, moved_in
from tests.system.test_rules import stored_rule
from tests.system.world import Mail

Record = tuple[str, str | None, str | None, bool]
_ANY = '[{"type": "sender", "match": "contains", "values": ["@"]}]'
BROKEN = '[{"type": "subject", "match": "matches regex", "values": ["(?=a)"]}]'
BLOCK = '[{"type": "block", "value": true}]'


def records(scenario: Scenario, person: Person) -> list[Record]:
    """Type of mail and of failure, status, and whether it is kept in quarantine."""
    columns = "email_type, bounce_type, status, quarantined"
    rows = scenario.sql(f"select {columns} from failed_delivery where account_id = %s order by id", person.account)
    return [(kind, bounce_type, status, quarantined) for kind, bounce_type, status, quarantined in rows]


def recorded(scenario: Scenario, person: Person, *expected: Record) -> None:
    """Wait until there are so many; fails if they are others."""
    scenario.eventually(lambda: len(records(scenario, person)) >= len(expected), f"records {expected}")
    assert records(scenario, person) == list(expected)


def told(scenario: Scenario, person: Person, code: str, *about: str) -> EmailMessage:
    """The one notice of a kind that somebody got. about: what it says."""
    notice = scenario.notice(person.mailbox, code, seconds=45)
    text = text_of(notice)
    assert not [words for words in about if words not in text], text
    return notice


def untold(scenario: Scenario, person: Person) -> None:
    """Nobody wrote to them."""
    codes = ("FDN", "CYC", "NBL", "RUL", "IRD")
    assert [code for code in codes if scenario.notices(person.mailbox, code)] == []


# --- stories -------------------------------------------------------------------------------------------------------

Story = Iterator[None]


def near_the_bandwidth_limit(scenario: Scenario) -> Story:
    person = scenario.person(bandwidth_octets_per_month=100_000)
    under = scenario.person(bandwidth_octets_per_month=10_000_000)
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    used = "insert into rate_window (account_id, kind, window_start, amount) values (%s, 'bandwidth', %s, %s)"
    scenario.sql(used, person.account, month, 89_000)
    scenario.sql(used, under.account, month, 89_000)
    for _ in range(3):
        scenario.send(scenario.alias(person), scenario.alias(under))
    yield
    told(scenario, person, "NBL")
    untold(scenario, under)


def a_copy_that_comes_back(scenario: Scenario) -> Story:
    """Row 179."""
    person = scenario.person(forward_mode="transparent")
    address, other = scenario.alias(person), scenario.alias(person)
    for alias in (address, other):
        sent = scenario.send(alias)
        (copy,) = scenario.copies(sent, person.mailbox)
        back = scenario.send(alias, sender=FORWARDER, mail=Mail(copy.content, sent.message_id))
        scenario.becomes(back.queue_id, [(alias, "discarded", "loop")])
    yield
    recorded(scenario, person, *[("F", "hard", "5.4.6", False)] * 2)
    told(scenario, person, "CYC")  # once a day, whichever alias it is


def the_same_message_for_the_fifth_time(scenario: Scenario) -> Story:
    """Row 180."""
    person = scenario.person()
    address = scenario.alias(person)
    mail = scenario.world.message(sender=FORWARDER)
    for number in range(1, 6):
        back = Mail(f"Received: from hop{number} by elsewhere.example\r\n".encode() + mail.content, mail.message_id)
        expected = ("delivered", "") if number < 5 else ("discarded", "loop")
        scenario.becomes(scenario.send(address, sender=FORWARDER, mail=back).queue_id, [(address, *expected)])
    yield
    recorded(scenario, person, ("F", "hard", "5.4.6", False))
    told(scenario, person, "CYC", address)


def a_mailbox_that_moved_in(scenario: Scenario) -> Story:
    """Row 181: nobody else reads the mail of the domain by now, so it is told to another recipient."""
    person = scenario.person()
    address = scenario.alias(person, person.mailbox)
    moved_in(scenario, person)
    elsewhere = f"elsewhere{person.account}@inbox.example"
    scenario.recipient(person, elsewhere)
    for _ in range(3):
        scenario.answers(NOT_READY, address, FORWARDER)
    yield
    recorded(scenario, person, ("IR", "hard", "", False))
    told(scenario, Person(person.account, person.name, elsewhere), "CYC", address)


def mail_for_it_that_was_accepted_before(scenario: Scenario) -> Story:
    """Row 181: it waits for three days, not for ever."""
    person = scenario.person()
    address = scenario.alias(person, person.mailbox)
    moved_in(scenario, person)
    elsewhere = f"elsewhere{person.account}@inbox.example"
    scenario.recipient(person, elsewhere)
    assert delivered(scenario, address, days_ago=2.9) == "450 4.2.1"
    assert delivered(scenario, address, days_ago=3.1) == "250 2.0.0"
    yield
    recorded(scenario, person, ("F", "hard", "5.4.6", False))
    told(scenario, Person(person.account, person.name, elsewhere), "CYC", address)


def what_a_rule_blocks(scenario: Scenario) -> Story:
    person = scenario.person()
    address = scenario.alias(person)
    stored_rule(scenario, person, "no", _ANY, BLOCK)
    scenario.becomes(scenario.send(address).queue_id, [(address, "discarded", "rule")])
    yield
    recorded(scenario, person, ("F", "rule", "5.7.1", False))
    untold(scenario, person)


def what_is_put_into_quarantine(scenario: Scenario) -> Story:
    people = [scenario.person(failed_delivery_notification_preference=preference) for preference in range(4)]
    for person in people:
        address = scenario.alias(person)
        stored_rule(scenario, person, "look", _ANY, '[{"type": "quarantine", "value": true}]')
        scenario.becomes(scenario.send(address).queue_id, [(address, "held", "rule_quarantine")])
    yield
    for person in people:
        recorded(scenario, person, ("F", "rule", "5.7.1", True))
    for person in people[0], people[2]:
        told(scenario, person, "FDN", "quarantine", NEWS)
    for person in people[1], people[3]:
        untold(scenario, person)


def what_waited_for_four_days(scenario: Scenario) -> Story:
    """Spec 7.9: a report of Postfix would go to whoever is said to have written."""
    person = scenario.person(messages_per_hour=10)
    address = scenario.alias(person)
    scenario.sql("insert into rate_window values (%s, 'message', '', now(), 10)", person.account)
    assert delivered(scenario, address, days_ago=3.9) == "450 4.2.1"
    assert delivered(scenario, address, days_ago=4.1) == "250 2.0.0"
    yield
    recorded(scenario, person, ("F", "soft", "4.4.7", False))
    told(scenario, person, "FDN", address, "stranger@shop.example")


def a_rule_that_is_broken(scenario: Scenario) -> Story:
    person = scenario.person()
    address = scenario.alias(person)
    stored_rule(scenario, person, "no ads", BROKEN, BLOCK)
    for _ in range(3):
        scenario.copies(scenario.send(address), person.mailbox)
        scenario.sql("update account set from_name = from_name where id = %s", person.account)  # it is read anew
    yield
    assert records(scenario, person) == []
    told(scenario, person, "RUL", "no ads")


STORIES = (
    near_the_bandwidth_limit,
    a_copy_that_comes_back,
    the_same_message_for_the_fifth_time,
    a_mailbox_that_moved_in,
    mail_for_it_that_was_accepted_before,
    what_a_rule_blocks,
    what_is_put_into_quarantine,
    what_waited_for_four_days,
    a_rule_that_is_broken,
)


def test_12_6_179_to_181_and_8_4_owners_hear_of_it(scenario: Scenario) -> None:
    under_way = [story(scenario) for story in STORIES]
    for story in under_way:
        next(story)
    for story in under_way:
        assert next(story, "the end") == "the end"


def delivered(scenario: Scenario, address: str, days_ago: float) -> str:
    """What the lmtp role says to mail of a stranger that has waited for so long, as code and enhanced code."""
    sandbox = scenario.world.sandbox
    mail = scenario.world.message(sender="stranger@shop.example")
    came = int(time.time() - days_ago * 86_400)
    findings = Findings(dmarc=Dmarc(domain="shop.example"))
    facts = Ingress("4XyZ12AbCd", came, "192.0.2.10", "mx", "stranger@shop.example", "smtp", findings)
    (key, *_) = read_secret(sandbox.places.secrets, "ingress.key")
    seen = ingress.compose(facts, split(mail.content), key)
    with smtplib.LMTP("127.0.0.1", sandbox.memory.ports["lmtp"]) as session:
        session.ehlo("mx.relay.example")
        assert session.mail("stranger@shop.example")[0] == 250
        assert session.rcpt(address)[0] == 250
        code, text = session.data(f"{ingress.NAME}: ".encode() + seen + b"\r\n" + mail.content)
    return f"{code} {text.decode().partition(' ')[0]}"
