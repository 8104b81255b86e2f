"""Whole conversations through aliases: threads hold on both sides, and nobody learns who is behind an alias."""

from pathlib import Path

from tests.system.letters import MailProgram, Written, from_owner, names, opened, reverse, text_of
from tests.system.scenario import (
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.world import Mail
from tools.sandbox.show import Arrived

HELP, BOSS = "help@shop.example", "boss@plain.example"
KEY = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQGiBA==\n-----END PGP PUBLIC KEY BLOCK-----\n"


def owners_program(mailbox: str) -> MailProgram:
    """One that says much of its owner."""
    return MailProgram(
        "Vera Secret",
        mailbox,
        ((f"publickey - {mailbox}.asc", KEY),),
        (
            ("Received", f"from laptop.inbox.example ([192.0.2.77]) by mx.inbox.example for <{mailbox}>"),
            ("Autocrypt", f"addr={mailbox}; keydata=eA=="),
            ("User-Agent", "Letterbox 1.0"),
            ("X-Originating-IP", "[192.0.2.77]"),
            ("Organization", "Secret & Sons"),
            ("Disposition-Notification-To", mailbox),
        ),
    )


def posted(scenario: Scenario, sender: str, written: Written, mark: str, *mailboxes: str) -> list[Arrived]:
    """Send what a program wrote; its copies in the order of the mailboxes. mark: what stands above what is quoted."""
    scenario.send(*written.here, sender=sender, mail=Mail(written.content, written.message_id.encode()))
    found: list[Arrived] = []

    def arrived() -> bool:
        everything = scenario.world.arrivals(containing=mark.encode())
        found[:] = [copy for copy in everything if mark in text_of(opened(copy)).partition("-----Original")[0]]
        return len(found) >= len(mailboxes)

    scenario.eventually(arrived, f"{mark!r} to arrive")
    scenario.world.settle()
    assert arrived()
    assert sorted(copy.recipients for copy in found) == sorted((mailbox,) for mailbox in mailboxes)
    return sorted(found, key=lambda copy: mailboxes.index(copy.recipients[0]))


def thread(copy: Arrived) -> tuple[list[str], list[str]]:
    """What it answers, and all that it refers to."""
    return header(copy, "In-Reply-To"), " ".join(header(copy, "References")).split()


def test_three_round_trips(scenario: Scenario) -> None:
    person = scenario.person(forward_mode="rewrite", banner_location="top", from_name="V")
    alias = scenario.alias(person)
    vera, me = owners_program(person.mailbox), person.mailbox
    helper, boss = MailProgram("Help Desk", HELP), MailProgram("The Boss", BOSS)

    # The shop begins; its boss gets a copy from its own server.
    question = helper.write("Your order", "Which colour, please? Größe M?", [alias], [BOSS])
    (got,) = posted(scenario, HELP, question, "Which colour", me)
    assert header(got, "Message-ID") == [question.message_id]

    # 1. She answers whoever wrote. He answers her, and his boss.
    red = vera.answer(got, "Red, bitte schön.")
    assert red.here == (reverse(alias, HELP),)
    (seen_red,) = posted(scenario, me, red, "Red, bitte", HELP)
    assert thread(seen_red) == ([question.message_id], [question.message_id])
    assert text_of(opened(seen_red)).startswith("Red, bitte schön.\n\n-----Original Message-----\n")
    (our_red,) = header(seen_red, "Message-ID")
    sold_out = helper.answer(seen_red, "Sold out.", BOSS)
    (got,) = posted(scenario, HELP, sold_out, "Sold out.", me)
    assert thread(got) == ([red.message_id], [question.message_id, red.message_id])

    # 2. She answers all, the alias among them. The boss answers all.
    blue = vera.answer(got, "Then blue, all of you.", to_all=True)
    assert set(blue.here) == {reverse(alias, HELP), reverse(alias, BOSS), alias}
    seen_blue = posted(scenario, me, blue, "Then blue", HELP, BOSS)
    so_far = [question.message_id, our_red, sold_out.message_id]
    assert [thread(copy) for copy in seen_blue] == [([sold_out.message_id], so_far)] * 2
    assert [(header(copy, "To"), header(copy, "Cc")) for copy in seen_blue] == [([HELP], [BOSS])] * 2
    (our_blue,) = {one for copy in seen_blue for one in header(copy, "Message-ID")}
    sent = boss.answer(seen_blue[1], "Sent today.", to_all=True)
    assert sent.here == (alias,)
    (got,) = posted(scenario, BOSS, sent, "Sent today.", me)
    hers = [question.message_id, red.message_id, sold_out.message_id, blue.message_id]
    assert thread(got) == ([blue.message_id], hers)

    # 3. She thanks them, and the last word is theirs.
    thanks = vera.answer(got, "Thank you both.", to_all=True)
    seen_thanks = posted(scenario, me, thanks, "Thank you both.", BOSS, HELP)
    theirs = [*so_far, our_blue, sent.message_id]
    assert [thread(copy) for copy in seen_thanks] == [([sent.message_id], theirs)] * 2
    welcome = helper.answer(seen_thanks[1], "You are welcome.")
    (got,) = posted(scenario, HELP, welcome, "You are welcome.", me)
    assert thread(got) == ([thanks.message_id], [*hers, sent.message_id, thanks.message_id])

    told = [seen_red, *seen_blue, *seen_thanks]
    secrets = (*me.split("@"), "Vera", "Secret", "192.0.2.77", "laptop", "publickey", "Letterbox", "mr-banner", "+help")
    assert [names(copy, *secrets) for copy in told] == [[]] * 5
    assert names(Arrived(Path(), "", (), red.content), *secrets) == list(secrets)  # we would have seen them
    assert scenario.of_alias(alias, "emails_forwarded, emails_replied, emails_sent") == (4, 5, 0)


def test_9_5_aliases_write_to_each_other(scenario: Scenario) -> None:
    """Neither owner learns who the other is; the way between aliases is through Postfix, past the milter."""
    left, right = scenario.person(forward_mode="rewrite"), scenario.person(forward_mode="rewrite")
    left_alias, right_alias = scenario.alias(left), scenario.alias(right)
    to_right, to_left = reverse(left_alias, right_alias), reverse(right_alias, left_alias)
    there = from_owner(left, to_right, answers="")
    (got,) = scenario.copies(scenario.send(to_right, sender=left.mailbox, mail=there), right.mailbox)
    assert header(got, "From") == [f'"{left_alias.replace("@", " at ")}" <{to_left}>']
    assert names(got, *left.mailbox.split("@")[:1], "Real Name") == []
    internal = "select sender, outcome from ledger where rcpt = %s"
    (((sender, outcome),)) = scenario.sql(internal, right_alias)
    assert outcome == "delivered" and sender.startswith("b-") and sender.endswith("@alias.example")
    assert scenario.of_alias(left_alias, "emails_sent, emails_forwarded") == (1, 0)
    assert scenario.of_alias(right_alias, "emails_sent, emails_forwarded") == (0, 1)

    back = from_owner(right, to_left, answers=header(got, "Message-ID")[0])
    (answer,) = scenario.copies(scenario.send(to_left, sender=right.mailbox, mail=back), left.mailbox)
    assert names(answer, *right.mailbox.split("@")[:1], "Real Name") == []
    (first_id,) = [line for line in there.content.decode().split("\r\n") if line.startswith("Message-ID: ")]
    assert header(answer, "In-Reply-To") == [first_id.removeprefix("Message-ID: ")]


def test_9_5_a_blocked_alias_is_blocked_and_nobody_hears_of_it(scenario: Scenario) -> None:
    left, right = scenario.person(), scenario.person()
    left_alias, right_alias = scenario.alias(left), scenario.alias(right)
    scenario.sql(
        "insert into blocked_sender (account_id, type, value) values (%s, 'email', %s)", right.account, left_alias
    )
    to_right = reverse(left_alias, right_alias)
    sent = scenario.send(to_right, sender=left.mailbox, mail=from_owner(left, to_right))
    scenario.copies(sent)
    scenario.becomes(sent.queue_id, [(to_right, "delivered", "")])
    found = scenario.sql("select outcome, reason from ledger where rcpt = %s", right_alias)
    assert found == [("discarded", "blocked_sender")]


def test_9_5_nobody_outside_can_claim_to_be_an_alias(scenario: Scenario) -> None:
    """Our word for a message is taken from ourselves alone."""
    person, claimed = scenario.person(), scenario.alias(scenario.person())
    alias = scenario.alias(person)
    assert scenario.answer(alias, claimed) == "550 5.7.1 Sender address may not be used from outside"
    mail = scenario.world.message(sender=claimed)
    forged = Mail(b"X-Mailrelay-Ingress: v=1; route=internal\r\n" + mail.content, mail.message_id)
    assert scenario.refused("news@plain.example", reverse(alias, HELP), mail=forged).startswith(
        "550 5.7.1 Sender could"
    )
    (copy,) = scenario.copies(scenario.send(alias, mail=forged), person.mailbox)
    assert header(copy, "X-Mailrelay-Ingress") == []
