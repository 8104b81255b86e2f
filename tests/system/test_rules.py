"""Rules as their owners make them, from the command to the mailbox: spec sections 5.5 and 5.7, rows 126 to 150.

Row 145 shows inside only: without an author nothing comes in but reports, and those are for nobody here.
"""

import re
from typing import Any

import pytest

from tests.system.scenario import (
    NEWS,
    Person,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.world import Mail, World
from tools.sandbox.sender import neighbour_of
from tools.sandbox.show import Arrived

ANY = "sender contains @"
SHOP = "Example Shop <News@Shop.example>"
UNKNOWN = "550 5.1.1 Address does not exist"
SLACK = "a@slack.example"  # fails DMARC, which asks nobody to do anything about it


@pytest.fixture(scope="module", autouse=True)
def _policies(session_world: World) -> None:
    session_world.publish('slack 60 IN TXT "v=spf1 -all"\n_dmarc.slack 60 IN TXT "v=DMARC1; p=none"\n')


def owner(scenario: Scenario, **columns: Any) -> tuple[Person, str]:
    """Somebody new, and an alias. columns: of the account."""
    person = scenario.person(**columns)
    return person, scenario.alias(person)


def rule(
    scenario: Scenario, person: Person, name: str, *do: str, when: str | tuple[str, ...] = ANY, more: str = ""
) -> str:
    """A new rule, as the command makes it; its id. more: options."""
    conditions = (when,) if isinstance(when, str) else when
    words = [word for one in conditions for word in ("--when", one)] + [word for one in do for word in ("--do", one)]
    return str(scenario.world.cli("rule", "add", person.name, "--name", name, *words, *more.split())["id"])


def stored_rule(scenario: Scenario, person: Person, name: str, conditions: str, actions: str) -> None:
    """One that another program wrote. conditions, actions: JSON."""
    scenario.sql(
        "insert into rule (account_id, name, conditions, actions, forwards) values (%s, %s, %s, %s, true)",
        *(person.account, name, conditions, actions),
    )


def applied(scenario: Scenario, person: Person) -> dict[str, int]:
    """How often each rule did."""
    return {one["name"]: one["applied"] for one in scenario.world.cli("rule", "list", person.name)}


def counted(scenario: Scenario, person: Person, expected: dict[str, int]) -> None:
    """Wait until the rules have applied so often; fails if they do not, or more often."""
    sql = "select name, applied from rule where account_id = %s"
    scenario.eventually(lambda: dict(scenario.sql(sql, person.account)) == expected, f"{expected}")


def letter(scenario: Scenario, subject: str = "Test Email", author: str = SHOP) -> Mail:
    return scenario.world.message(subject=subject, sender=author)


def copy_of(scenario: Scenario, person: Person, address: str, mail: Mail | None = None, **options: Any) -> Arrived:
    """The one copy of a message."""
    sent = scenario.send(address, mail=mail or letter(scenario), **options)
    (copy,) = scenario.copies(sent, person.mailbox)
    return copy


def dropped(scenario: Scenario, address: str, mail: Mail | None = None, **options: Any) -> Sent:
    """A message that is taken, and of which nothing comes."""
    sent = scenario.send(address, mail=mail or letter(scenario), **options)
    scenario.copies(sent)
    return sent


# --- matching: rows 126 to 137, 146 and 147 ------------------------------------------------------------------------


def test_12_5_126_to_137_rules_match_as_listed(scenario: Scenario) -> None:
    person = scenario.person()
    address = scenario.alias(person, local_part="rule1", description="shop")
    plain = scenario.alias(person)
    for name, when in {
        "1": "sender is-exactly news@shop.example",
        "2": "subject is-exactly 'test email'",
        "3": "subject matches-regex (?i)^test",
        "4": "sender is-not news@shop.example x@y.example",
        "7": "alias-description is-not bank",
        "8": 'alias-description is-exactly ""',
        "9": "sender ends-with shop.example",
        "10": "subject matches-regex (a+)+$",
        "11": "subject matches-regex a/b",
        "12": r"sender matches-regex @(shop|store)\.example$",
    }.items():
        rule(scenario, person, name, "banner off", when=when)
    for name, more in (("5", "--any"), ("6", "")):
        both = ("subject contains Order", "alias starts-with rule1@")
        rule(scenario, person, name, "banner off", when=both, more=more)
    rule(scenario, person, "21", "block", more="--replies")
    stored_rule(
        *(scenario, person, "22", '[{"type": "subject", "match": "contains", "values": ["", "Mail"]}]'),
        '[{"type": "block", "value": true}]',
    )
    copy_of(scenario, person, address.replace("@", "+tag@"))
    matching = {"1": 1, "3": 1, "5": 1, "7": 1, "9": 1, "12": 1}
    others = dict.fromkeys(("2", "4", "6", "8", "10", "11", "21", "22"), 0)
    counted(scenario, person, matching | others)
    copy_of(scenario, person, plain, letter(scenario, subject=f"Order a/b {'a' * 900}!"))
    matching |= {"1": 2, "5": 2, "7": 2, "8": 1, "9": 2, "11": 1, "12": 2}
    counted(scenario, person, others | matching)


def test_12_5_134_whoever_ends_likewise_matches_as_well(scenario: Scenario) -> None:
    person, address = owner(scenario)
    rule(scenario, person, "all", "banner off", when="sender ends-with outside.example")
    rule(scenario, person, "own", "banner off", when="sender ends-with @outside.example")
    scenario.copies(scenario.send(address, sender="x@eviloutside.example", signed=False), person.mailbox)
    counted(scenario, person, {"all": 1, "own": 0})


# --- what they do --------------------------------------------------------------------------------------------------


def test_what_a_rule_changes_reaches_the_reader_at_once(scenario: Scenario) -> None:
    person, address = owner(scenario)
    before = copy_of(scenario, person, address)  # by now delivery remembers that there are no rules
    assert header(before, "Subject") == ["Test Email"]
    assert header(before, "X-Mailrelay-Mode")[0].startswith("transparent")
    number = rule(scenario, person, "look", "subject [shop] {{subject}}", "display-from The shop", "banner top")
    copy = copy_of(scenario, person, address)
    assert header(copy, "Subject") == ["[shop] Test Email"]
    reverse = address.replace("@", "+News=shop.example@")
    assert header(copy, "From")[0].lower() == f'"the shop" <{reverse}>'.lower()
    assert header(copy, "X-Mailrelay-Mode")[0].startswith("rewrite")
    assert address.encode() in copy.body
    assert copy.body.endswith(b"Good morning.\r\n")
    scenario.world.cli("rule", "remove", number)
    assert header(copy_of(scenario, person, address), "Subject") == ["Test Email"]


def test_12_5_138_the_later_rule_has_its_way_and_order_can_be_changed(scenario: Scenario) -> None:
    person, address = owner(scenario)
    first = rule(scenario, person, "one", "subject First", more="--position 0")
    second = rule(scenario, person, "two", "subject Second", more="--position 1")
    assert header(copy_of(scenario, person, address), "Subject") == ["Second"]
    counted(scenario, person, {"one": 1, "two": 1})
    scenario.world.cli("rule", "reorder", person.name, second, first)
    assert header(copy_of(scenario, person, address), "Subject") == ["First"]
    counted(scenario, person, {"one": 2, "two": 2})


def test_12_5_139_block_wins_and_both_are_counted(scenario: Scenario) -> None:
    person, address = owner(scenario)
    copy_of(scenario, person, address)
    number = rule(scenario, person, "no", "block", when="sender is news@shop.example")
    rule(scenario, person, "other", "subject x", more="--position 1")
    sent = dropped(scenario, address)
    scenario.becomes(sent.queue_id, [(address, "discarded", "rule")])
    counted(scenario, person, {"no": 1, "other": 1})
    assert scenario.of_alias(address, "emails_blocked, emails_forwarded") == (1, 1)
    scenario.world.cli("rule", "disable", number)
    assert header(copy_of(scenario, person, address), "Subject") == ["x"]
    scenario.world.cli("rule", "enable", number)
    dropped(scenario, address)
    counted(scenario, person, {"no": 2, "other": 3})


def test_2_3_14_a_sender_may_hear_that_a_rule_blocks_it(scenario: Scenario) -> None:
    person, address = owner(scenario, block_behaviour="reject")
    copy_of(scenario, person, address)  # by now the milter remembers that there are no rules
    number = rule(scenario, person, "no", "block", when="subject starts-with Test")
    mail = letter(scenario)
    assert scenario.refused(NEWS, address, mail=mail) == UNKNOWN
    scenario.eventually(lambda: scenario.refusals(address) == ["rule"], "the record")
    counted(scenario, person, {"no": 1})
    copy_of(scenario, person, address, letter(scenario, subject="Something else"))
    scenario.world.cli("rule", "disable", number)
    copy_of(scenario, person, address, mail)
    scenario.world.cli("rule", "enable", number)
    assert scenario.refused(NEWS, address, mail=letter(scenario)) == UNKNOWN
    scenario.world.cli("rule", "remove", number)
    copy_of(scenario, person, address)


def test_12_5_140_141_recipients_are_replaced_by_verified_ones(scenario: Scenario) -> None:
    person, address = owner(scenario)
    others = [f"{name}.{person.account}@inbox.example" for name in ("r1", "r2", "r3")]
    for mailbox in others:
        scenario.recipient(person, mailbox)
    rule(scenario, person, "one", f"forward-to {others[0]}")
    rule(scenario, person, "two", f"forward-to {others[1]}", f"forward-to {others[2]}", more="--position 5")
    scenario.sql("update recipient set verified_at = null where address = %s", others[2])
    scenario.copies(scenario.send(address), others[0], others[1])
    scenario.sql("update recipient set verified_at = null where address = any (%s)", others)
    scenario.copies(scenario.send(address), person.mailbox)
    counted(scenario, person, {"one": 2, "two": 2})


def test_12_5_142_the_warning_stands_before_the_rules_subject(scenario: Scenario) -> None:
    person, address = owner(scenario, spam_warning_behaviour="subject")
    rule(scenario, person, "shop", "subject [shop] {{subject}}")
    copy = copy_of(scenario, person, address, letter(scenario, author=SLACK), sender=SLACK)
    assert header(copy, "Subject") == ["[DMARC FAIL] [shop] Test Email"]


def test_12_5_144_a_banner_is_for_mail_that_can_have_one(scenario: Scenario) -> None:
    person, address = owner(scenario)
    rule(scenario, person, "below", "banner bottom")
    copy = copy_of(scenario, person, address)
    assert copy.body.startswith(b"Good morning.\r\n")
    assert address.encode() in copy.body
    plain = letter(scenario)
    head = plain.content.partition(b"\r\n\r\n")[0] + b"\r\nMIME-Version: 1.0\r\n"
    body = (
        b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nabcd\r\n"
        b"-----END PGP MESSAGE-----\r\n--b--\r\n"
    )
    kind = b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="b"\r\n\r\n'
    copy = copy_of(scenario, person, address, Mail(head + kind + body, plain.message_id))
    assert copy.body == body
    counted(scenario, person, {"below": 2})


def test_12_5_148_a_block_for_one_recipient_is_nothing_to_the_other(scenario: Scenario) -> None:
    person = scenario.person(block_behaviour="reject")
    blocked, open_ = scenario.alias(person), scenario.alias(person)
    rule(scenario, person, "one", "block", when=f"alias is {blocked}")
    sent = scenario.send(blocked, open_)
    scenario.copies(sent, person.mailbox)
    scenario.becomes(sent.queue_id, [(blocked, "discarded", "rule"), (open_, "delivered", "")])
    assert scenario.of_alias(blocked, "emails_blocked, emails_forwarded") == (1, 0)


@pytest.mark.parametrize("behaviour", ["discard", "reject"])
def test_12_5_149_a_blocked_message_makes_no_alias(scenario: Scenario, behaviour: str) -> None:
    person = scenario.person(block_behaviour=behaviour)
    domain = scenario.domain(person, catch_all=True)
    rule(scenario, person, "no", "block")
    address = f"fresh@{domain}"
    if behaviour == "reject":
        assert scenario.refused(NEWS, address) == UNKNOWN
    else:
        scenario.becomes(dropped(scenario, address).queue_id, [(address, "discarded", "rule")])
    counted(scenario, person, {"no": 1})
    assert not scenario.alias_exists(address)


def test_12_5_150_attachments_become_notes_and_images_stay(scenario: Scenario) -> None:
    person, address = owner(scenario)
    rule(scenario, person, "light", "remove-attachments")
    plain = letter(scenario)
    body = (
        b"--m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n"
        b'--r\r\nContent-Type: text/html\r\n\r\n<p>Hello <img src="cid:logo@shop"></p>\r\n'
        b'--r\r\nContent-Type: image/png; name="logo.png"\r\nContent-ID: <logo@shop>\r\n\r\nPNG\r\n--r--\r\n'
        b'--m\r\nContent-Type: application/pdf; name="bill.pdf"\r\n'
        b"Content-Disposition: attachment\r\n\r\nPDF\r\n--m--\r\n"
    )
    head = plain.content.partition(b"\r\n\r\n")[0] + b"\r\nMIME-Version: 1.0\r\n"
    content = head + b"Content-Type: multipart/mixed; boundary=m\r\n\r\n" + body
    copy = copy_of(scenario, person, address, Mail(content, plain.message_id))
    assert b"\r\nPNG\r\n" in copy.body
    assert b"\r\nPDF\r\n" not in copy.body
    assert b"\r\n[attachment removed: bill.pdf, application/pdf, 3 bytes]\r\n" in copy.body
    # The octets of the rest are those that were sent.
    assert copy.body.startswith(body.partition(b"--m\r\nContent-Type: application/pdf")[0])
    signatures = scenario.world.signatures(copy)
    assert {name: verdict for name, verdict in signatures.items() if "alias.example" in name} == {
        "alias.example/mr1": "valid",
        "alias.example/mr1e": "valid",
    }


def test_what_a_rule_quarantines_can_be_released(scenario: Scenario) -> None:
    person, address = owner(scenario)
    rule(scenario, person, "look first", "quarantine", when="subject contains invoice")
    rule(scenario, person, "mark", "subject [seen] {{subject}}")
    sent = dropped(scenario, address, letter(scenario, subject="Your invoice"))
    scenario.becomes(sent.queue_id, [(address, "held", "rule_quarantine")])
    counted(scenario, person, {"look first": 1, "mark": 1})
    (held,) = scenario.world.cli("held", "list", person.name)
    facts = "select quarantined, bounce_type, email_type, status from failed_delivery where id = %s"
    assert scenario.sql(facts, held["id"]) == [(True, "rule", "F", "5.7.1")]
    scenario.world.cli("held", "release", str(held["id"]))
    (copy,) = scenario.copies(sent, person.mailbox)
    assert header(copy, "Subject") == ["[seen] Your invoice"]
    counted(scenario, person, {"look first": 1, "mark": 1})


# --- trouble, and what can be told before --------------------------------------------------------------------------


def broken_rules(scenario: Scenario) -> float:
    found = re.search(r"(?m)^mailrelay_broken_rules_total (\S+)$", scenario.world.sandbox.metrics("lmtp"))
    assert found is not None
    return float(found[1])


def test_a_rule_that_is_not_understood_stops_no_mail(scenario: Scenario) -> None:
    person, address = owner(scenario)
    before = broken_rules(scenario)
    broken = '[{"type": "subject", "match": "matches regex", "values": ["(?=a)"]}]'
    stored_rule(scenario, person, "broken", broken, '[{"type": "block", "value": true}]')
    rule(scenario, person, "whole", "subject x")
    assert header(copy_of(scenario, person, address), "Subject") == ["x"]
    counted(scenario, person, {"broken": 0, "whole": 1})
    assert broken_rules(scenario) > before
    faults = {one["name"]: one["faults"] for one in scenario.world.cli("rule", "list", person.name)}
    assert faults["whole"] == []
    assert "bad pattern" in faults["broken"][0]


def test_a_rule_is_tried_before_it_is_switched_on(scenario: Scenario, tmp_path: Any) -> None:
    person, address = owner(scenario)
    sent = [copy_of(scenario, person, address, letter(scenario)) for _ in range(2)]
    scenario.send(address, sender="someone@inbox.example")
    scenario.world.settle()
    number = rule(scenario, person, "no", "block", when="sender ends-with @shop.example", more="--inactive")
    cli, file = scenario.world.cli, tmp_path / "message.eml"
    file.write_bytes(letter(scenario).content)
    replayed = cli("rule", "replay", number)
    assert (replayed["messages"], replayed["matching"], replayed["undecided"]) == (3, len(sent), 0)
    assert [(one["sender"], one["alias"]) for one in replayed["examples"]] == [(NEWS, address)] * 2
    tried = cli("rule", "try", number, "--to", address, str(file))
    assert (tried["matches"], tried["effects"]) == (True, ["the message is blocked"])
    ask = ("explain", "--from", NEWS, "--to", address, "--client", neighbour_of(NEWS).address, str(file))
    before = {step["check"]: step["finding"] for step in cli(*ask)["steps"]}
    cli("rule", "enable", number)
    after = {step["check"]: step["finding"] for step in cli(*ask)["steps"]}
    assert "rules" not in before
    assert before["delivery"] == "1 copy"
    assert after["rules"] == f"rule {number} blocks it, whatever the others do"
    assert after["delivery"].startswith("taken and dropped")
    assert applied(scenario, person) == {"no": 0}
    scenario.becomes(dropped(scenario, address).queue_id, [(address, "discarded", "rule")])
    counted(scenario, person, {"no": 1})
