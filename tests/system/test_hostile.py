"""What strangers try: relaying through us, learning mailboxes, several at once for one new address, odd spellings."""

import smtplib

import pytest

from tests.system.scenario import (
    ACCEPTED,
    MINE,
    NEWS,
    R1,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tools.sandbox.process import run


@pytest.mark.parametrize(
    "rcpt",
    [
        "victim@elsewhere.example",
        "victim%elsewhere.example@alias.example",
        "victim%elsewhere.example@mine.example",
        "elsewhere.example!victim@mine.example",
        "elsewhere.example!victim",
        "victim%elsewhere.example",
        '"victim@elsewhere.example"@mine.example',
        '"victim@elsewhere.example"',
        "@mine.example:victim@elsewhere.example",
        "victim@elsewhere.example@mine.example",
        "a1+victim=elsewhere.example@alias.example",
        "victim=elsewhere.example@bounces.relay.example",
        "SRS0=aaaa=2W=elsewhere.example=victim@srs.relay.example",
        "victim@[127.0.0.1]",
        "victim@mx.relay.example",
    ],
)
def test_nothing_is_relayed_to_strangers(scenario: Scenario, rcpt: str) -> None:
    scenario.world.send("a@plain.example", rcpt)
    scenario.world.settle()
    assert [copy.recipients for copy in scenario.world.arrivals() if "victim" in " ".join(copy.recipients)] == []


def test_who_asks_for_receipts_learns_no_mailbox(scenario: Scenario) -> None:
    """Postfix says `relayed` about the alias; the leak check reads what it sent."""
    mail = scenario.world.message(sender="receipts@plain.example")
    with smtplib.SMTP(*scenario.world.sandbox.mailer.smtp, source_address=("127.0.0.12", 0), timeout=60) as session:
        session.ehlo("mx.plain.example")
        notify = ["NOTIFY=SUCCESS,FAILURE,DELAY", "ORCPT=rfc822;both@alias.example"]
        session.sendmail(
            "receipts@plain.example", ["both@alias.example"], mail.content, ["RET=FULL", "ENVID=mine"], notify
        )
    scenario.world.arrived(2, containing=b"X-Mailrelay-Envelope-From: receipts@plain.example")
    scenario.world.settle()
    receipts = scenario.world.arrivals(to="receipts@plain.example")
    assert all(b"both@alias.example" in receipt.content for receipt in receipts)
    copies = scenario.world.arrivals(containing=b"X-Mailrelay-Envelope-From: receipts@plain.example")
    assert len(copies) - len([copy for copy in copies if copy.sender == "<>"]) == 2


def test_many_messages_at_once_for_one_new_address_make_one_alias(scenario: Scenario) -> None:
    person = scenario.person()
    domain = scenario.domain(person, catch_all=True)
    with scenario.world.without_role("lmtp"):
        mails = [scenario.send(f"rush@{domain}") for _ in range(20)]
    scenario.world.settle()
    for sent in mails:
        scenario.copies(sent, person.mailbox)
    assert scenario.of_alias(f"rush@{domain}", "emails_forwarded") == (20,)
    counted = "select sum(amount)::int from rate_window where account_id = %s and kind = 'new_alias' and subject = ''"
    assert scenario.value(counted, person.account) == 1


@pytest.mark.parametrize(
    "rcpt",
    [
        "a1@alias.example.",
        "@shop.example,@plain.example:a1@alias.example",
        "a1+" + "x" * 200 + "@alias.example",
        "a1+++@alias.example",
        "a1+a=b=c=d.example@alias.example",
        "a1+ñ@alias.example",
    ],
    ids=["trailing-dot", "source-route", "long-tag", "pluses", "equals-signs", "non-ascii-tag"],
)
def test_an_odd_spelling_of_an_alias(scenario: Scenario, rcpt: str) -> None:
    if "ñ" in rcpt:
        assert scenario.answer(rcpt).startswith("553 5.6.7")
    else:
        scenario.copies(scenario.send(rcpt), R1)


def test_1_4_a_domain_in_either_alphabet(scenario: Scenario) -> None:
    person = scenario.person()
    domain = scenario.domain(person, name="xn--mller-kva.example", catch_all=True)
    sent = scenario.send("x@MÜLLER.example", f"y@{domain}")
    scenario.copies(sent, person.mailbox, person.mailbox)
    names = [f"{name}@{domain}" for name in "xy"]
    scenario.becomes(sent.queue_id, [(name, "delivered", "") for name in names])
    assert all(scenario.alias_exists(name) for name in names)


def test_a_mailbox_with_a_non_ascii_name(scenario: Scenario) -> None:
    person = scenario.person("jürgen@inbox.example")
    (copy,) = scenario.copies(scenario.send(scenario.alias(person)), "jürgen@inbox.example")
    assert set(scenario.world.signatures(copy).values()) == {"valid"}


def test_only_ten_copies_are_made(scenario: Scenario) -> None:
    boxes = [f"crowd{n:02}@inbox.example" for n in range(12)]
    address = scenario.alias(scenario.person(), *boxes)
    scenario.copies(scenario.send(address), *boxes[:10])


def test_mail_sent_on_the_host_itself_is_forwarded_too(scenario: Scenario) -> None:
    """I7: neither smtpd nor the policy service see it."""
    etc = str(scenario.world.sandbox.postfix.etc)
    mail = scenario.world.message(sender="cron@mx.relay.example")
    rcpts = ["a1@alias.example", "unknown@alias.example", "gone@alias.example", "a..b@alias.example"]
    run(
        [
            "sh",
            "-c",
            f"printf '%s' \"$0\" | sendmail -C {etc} -f cron@shop.example -- {' '.join(rcpts)}",
            mail.content.decode(),
        ]
    )
    (copy,) = scenario.world.arrived(1, to=R1, containing=mail.message_id)
    scenario.world.settle()
    assert b"127.0.0.1" in copy.content
    ends = scenario.sql(
        "select rcpt, outcome, reason from ledger where message_id = %s order by rcpt", mail.message_id.decode()
    )
    assert ends == [
        ('"a..b"@alias.example', "failed", "syntax"),
        ("a1@alias.example", "delivered", None),
        ("gone@alias.example", "discarded", "alias_deleted"),
        ("unknown@alias.example", "discarded", "unknown"),
    ]


def test_a_hundred_recipients_in_one_transaction(scenario: Scenario) -> None:
    person = scenario.person()
    domain = scenario.domain(person, catch_all=True)
    rcpts = [f"n{number}@{domain}" for number in range(50)]
    rcpts += [f"off+{number}@alias.example" for number in range(50)]
    assert set(scenario.ask(NEWS, *rcpts)) == {ACCEPTED}
    sent = scenario.send(*rcpts)
    scenario.copies(sent, *[person.mailbox] * 50)
    outcomes = [outcome for _, outcome, _ in scenario.world.outcomes(sent.queue_id)]
    assert (outcomes.count("delivered"), outcomes.count("discarded"), len(outcomes)) == (50, 50, 100)
    assert not scenario.alias_exists(f"off@{MINE}")
