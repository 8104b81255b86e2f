"""Owners answer through their aliases and write from them: spec section 12.4, who may, and what becomes of it.

What the contact sees is in test_outgoing.py.
"""

import re
import shutil
from email.utils import getaddresses
from typing import Any

import pytest

from tests.system.letters import from_owner, names, reverse
from tests.system.scenario import (
    SHARED,
    Person,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.world import Mail, World
from tools.sandbox import zone
from tools.sandbox.show import Arrived

CONTACT, BOSS, NEWS = "contact@shop.example", "boss@plain.example", "news@shop.example"
BOTH = {"alias.example/mr1": "valid", "alias.example/mr1e": "valid"}
SWITCHED_OFF = "550 5.7.1 Replying from this address is switched off"
FAILED = "550 5.7.1 Sender could not be authenticated: dmarc=fail"
UNKNOWN = "550 5.1.1 Address does not exist"
LIMIT = "Sending limit reached"
STRANGER = Person(0, "", "stranger@lax.example")

# lax: fails DMARC, which asks nobody to do anything about it. signs, listed: no DMARC, with a key and without.
_ZONE = """
lax 60 IN TXT "v=spf1 -all"
_dmarc.lax 60 IN TXT "v=DMARC1; p=none"
signs 60 IN TXT "v=spf1 -all"
listed 60 IN TXT "v=spf1 ip4:127.0.0.19 -all"
nomail 60 IN MX 0 .
"""


@pytest.fixture(scope="module", autouse=True)
def _neighbours(session_world: World) -> None:
    keys = session_world.sandbox.places.keys
    public = zone.dkim_record(shutil.copyfile(keys / "inbox.example.pem", keys / "signs.example.pem"))
    key = f'{zone.SELECTOR}._domainkey.signs 60 IN TXT "{public[:200]}" "{public[200:]}"\n'
    session_world.publish(f"{_ZONE}{key}")


def owner(scenario: Scenario, mailbox: str | None = None, **columns: Any) -> tuple[Person, str, str]:
    """Somebody new, an alias, and its reverse address for CONTACT. columns: of the alias."""
    person = scenario.person(mailbox)
    alias = scenario.alias(person, **columns)
    return person, alias, reverse(alias, CONTACT)


def written(scenario: Scenario, person: Person, *to: str, mail: Mail | None = None, **more: Any) -> Sent:
    """A message of an owner that is accepted. more: as from_owner has it."""
    return scenario.send(*to, sender=person.mailbox, mail=mail or from_owner(person, *to, **more))


def copy_of(scenario: Scenario, person: Person, to: str, **more: Any) -> Arrived:
    """What CONTACT gets of a message."""
    (copy,) = scenario.copies(written(scenario, person, to, **more), CONTACT)
    return copy


def refusal(scenario: Scenario, person: Person, to: str, **more: Any) -> str:
    """What its writer hears of a message; nothing of it goes anywhere."""
    mail = from_owner(person, to, **more)
    said = scenario.refused(person.mailbox, to, mail=mail)
    scenario.copies(Sent(scenario.world.dispatches[-1], mail.message_id))
    return said


def recorded(scenario: Scenario, to: str, reason: str) -> None:
    scenario.eventually(lambda: scenario.refusals(to) == [reason], f"the record of {reason}")


def addresses(copy: Arrived, name: str) -> list[str]:
    return [address for _, address in getaddresses(header(copy, name))]


def people(copy: Arrived) -> tuple[list[str], list[str], list[str]]:
    return addresses(copy, "From"), addresses(copy, "To"), addresses(copy, "Cc")


# --- replies and sends ---------------------------------------------------------------------------------------------


def test_12_4_99_a_reply_comes_from_the_alias(scenario: Scenario) -> None:
    person, alias, to = owner(scenario)
    sent = written(scenario, person, to)
    (copy,) = scenario.copies(sent, CONTACT)
    assert people(copy) == ([alias], [CONTACT], [])
    assert header(copy, "In-Reply-To") == ["<1@shop.example>"]
    assert re.fullmatch(r"<[0-9a-f]{32}@alias\.example>", header(copy, "Message-ID")[0])
    assert re.fullmatch(r"R:[0-9a-f]{12}:relay:mailrelay", header(copy, "Feedback-ID")[0])
    assert scenario.world.signatures(copy) == BOTH
    assert re.fullmatch(r"b-[a-z2-7]{34}@alias\.example", copy.sender)
    assert scenario.ask("", copy.sender) == ["250"]
    assert names(copy, *person.mailbox.split("@"), "Real Name") == []
    scenario.becomes(sent.queue_id, [(to, "delivered", "")])
    counted = "emails_replied, emails_sent, emails_forwarded, last_replied is not null"
    assert scenario.of_alias(alias, counted) == (1, 0, 0, True)


def test_12_4_100_without_a_thread_it_is_a_send(scenario: Scenario) -> None:
    person, alias, to = owner(scenario)
    copy = copy_of(scenario, person, to, answers="")
    assert header(copy, "Feedback-ID")[0].startswith("S:")
    assert scenario.of_alias(alias, "emails_replied, emails_sent, last_sent is not null") == (0, 1, True)


def test_12_4_101_each_of_two_contacts_sees_the_other(scenario: Scenario) -> None:
    person, alias, to = owner(scenario)
    sent = written(scenario, person, to, reverse(alias, BOSS))
    copies = scenario.copies(sent, CONTACT, BOSS)
    assert [people(copy) for copy in copies] == [([alias], [CONTACT, BOSS], [])] * 2
    assert header(copies[0], "Message-ID") == header(copies[1], "Message-ID")
    assert copies[0].sender != copies[1].sender


def test_12_4_102_a_send_makes_the_alias(scenario: Scenario) -> None:
    """4.11: also where a stranger's mail would make none."""
    person = scenario.person()
    domain = f"own{person.account}.example"
    scenario.world.cli("domain", "add", domain, "--account", person.name, "--verified")
    scenario.await_domain(domain)
    scenario.world.sandbox.publish_keys()
    scenario.sql("update domain set sending_verified_at = now() where name = %s", domain)
    assert scenario.refused(NEWS, f"other+x=y.example@{domain}") == UNKNOWN
    copy = copy_of(scenario, person, f"fresh+contact=shop.example@{domain}", answers="")
    assert people(copy) == ([f"fresh@{domain}"], [CONTACT], [])
    assert scenario.world.signatures(copy) == {f"{domain}/mr1": "valid", f"{domain}/mr1e": "valid"}
    assert scenario.of_alias(f"fresh@{domain}", "emails_sent") == (1,)
    assert not scenario.alias_exists(f"other@{domain}")
    rule = ("--when", "sender contains @", "--do", "block", "--sends")
    scenario.world.cli("rule", "add", person.name, "--name", "no", *rule)
    blocked = written(scenario, person, f"never+contact=shop.example@{domain}", answers="")
    scenario.copies(blocked)
    assert not scenario.alias_exists(f"never@{domain}")


def test_12_4_103_and_121_strangers_reach_the_owner(scenario: Scenario) -> None:
    """103: a recipient who is not verified is one."""
    person, alias, to = owner(scenario)
    scenario.recipient(person, "unverified@shop.example", verified=False)
    scenario.mailboxes.discard("unverified@shop.example")  # the author, whom the owner is to see
    for author in ("unverified@shop.example", NEWS):
        sent = scenario.send(to, sender=author)
        (copy,) = scenario.copies(sent, person.mailbox)
        assert header(copy, "From") == [author]
        assert header(copy, "X-Mailrelay-Envelope-To") == [to]
        scenario.becomes(sent.queue_id, [(to, "delivered", "")])
    assert scenario.of_alias(alias, "emails_forwarded, emails_sent, emails_replied") == (2, 0, 0)


# --- who may -------------------------------------------------------------------------------------------------------


def test_12_4_104_a_mailbox_that_may_not_reply(scenario: Scenario) -> None:
    person, alias, to = owner(scenario)
    scenario.sql("update recipient set can_reply_send = false where account_id = %s", person.account)
    assert refusal(scenario, person, to) == SWITCHED_OFF
    recorded(scenario, to, "sending_off")
    assert scenario.of_alias(alias, "emails_replied, emails_sent") == (0, 0)


def test_12_4_105_a_mailbox_that_is_not_attached(scenario: Scenario) -> None:
    person = scenario.person()
    other = f"attached.{person.account}@inbox.example"
    alias = scenario.alias(person, other, attached_recipients_only=True)
    to = reverse(alias, CONTACT)
    assert refusal(scenario, person, to) == SWITCHED_OFF
    recorded(scenario, to, "not_attached")
    scenario.copies(written(scenario, Person(person.account, person.name, other), to), CONTACT)


def test_12_4_106_and_106a_owner_and_stranger_hear_the_same(scenario: Scenario) -> None:
    person, alias, to = owner(scenario, "claimed@lax.example")
    answers = []
    for author in (person, STRANGER):
        assert refusal(scenario, author, to) == FAILED
        dispatch = scenario.world.dispatches[-1]
        assert dispatch.data is not None
        answers.append([(said.code, said.text) for said in (dispatch.sender, *dispatch.recipients, dispatch.data)])
    assert answers[0] == answers[1]
    scenario.eventually(lambda: scenario.refusals(to) == ["not_authenticated"] * 2, "the records")
    assert scenario.of_alias(alias, "emails_forwarded, emails_replied, emails_sent") == (0, 0, 0)


def test_12_4_106_and_106a_a_strict_domain_speaks_for_both(scenario: Scenario) -> None:
    person, _, to = owner(scenario)
    forged = {"source": "127.0.0.66", "signed": False}
    answers = [
        scenario.refused(author.mailbox, to, mail=from_owner(author, to), **forged)
        for author in (person, Person(0, "", "somebody.else@inbox.example"))
    ]
    assert answers == ["550 5.7.26 Rejected by the DMARC policy of inbox.example"] * 2


def test_12_4_106_beside_another_recipient_it_is_kept(scenario: Scenario) -> None:
    """4.3: taken for the other one's sake, and a stranger's goes to the owner with a warning."""
    person, alias, to = owner(scenario, "besides@lax.example")
    friend, other, _ = owner(scenario)
    sent = written(scenario, person, to, other)
    scenario.becomes(sent.queue_id, [(other, "delivered", ""), (to, "held", "not_authenticated")])
    scenario.mailboxes.discard(person.mailbox)  # who wrote to the friend
    scenario.copies(sent, friend.mailbox)
    (kept,) = scenario.world.cli("held", "list", person.name)
    assert (kept["rcpt"], kept["reason"]) == (to, "not_authenticated")
    scenario.world.cli("held", "release", str(kept["id"]))
    (copy,) = scenario.world.arrived(to=CONTACT, containing=sent.message_id)
    assert header(copy, "From") == [alias]
    assert names(copy, person.mailbox) == []
    scenario.sql("update account set forward_mode = 'rewrite' where id = %s", person.account)
    warned, _ = scenario.copies(written(scenario, STRANGER, to, other), person.mailbox, friend.mailbox)
    assert b"Careful: this mail failed the check of its sender (DMARC)." in warned.body
    assert header(warned, "X-Mailrelay-Envelope-To") == [to]


def test_12_4_107_without_dmarc_an_aligned_signature_proves_it(scenario: Scenario) -> None:
    person, _, to = owner(scenario, "me@signs.example")
    mail = from_owner(person, to)
    sent = written(scenario, person, to, mail=scenario.signed(mail, "signs.example"))
    scenario.copies(sent, CONTACT)
    unsigned = "550 5.7.1 Sender could not be authenticated: dkim=none"
    assert refusal(scenario, person, to) == unsigned
    listed, _, to = owner(scenario, "me@listed.example")
    assert refusal(scenario, listed, to) == unsigned  # SPF passes


def test_12_4_108_tags_of_the_owners_address(scenario: Scenario) -> None:
    person, _, to = owner(scenario)
    local, _, domain = person.mailbox.partition("@")
    tagged = Person(person.account, person.name, f"{local}+tag@{domain}")
    scenario.mailboxes.discard(person.mailbox)  # a stranger who is called alike writes to its owner
    scenario.copies(written(scenario, tagged, to), person.mailbox)
    scenario.mailboxes.add(person.mailbox)
    other, _, to = owner(scenario, f"tagged{person.account}+x@inbox.example")
    plain = Person(other.account, other.name, f"tagged{person.account}@inbox.example")
    scenario.mailboxes.add(plain.mailbox)
    scenario.copies(written(scenario, plain, to), CONTACT)


def test_12_4_119_and_120_paused_aliases_answer_and_deleted_ones_do_not(scenario: Scenario) -> None:
    person, paused, to = owner(scenario)
    scenario.world.cli("alias", "pause", paused)
    copy_of(scenario, person, to)
    assert scenario.of_alias(paused, "emails_replied") == (1,)
    gone = scenario.alias(person)
    scenario.world.cli("alias", "delete", gone)
    assert scenario.answer(reverse(gone, CONTACT), person.mailbox) == UNKNOWN


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["Auto-Submitted: auto-replied"], id="auto-submitted"),
        pytest.param(["Precedence: auto_reply"], id="precedence"),
        pytest.param(["X-Autoreply: yes"], id="x-autoreply"),
    ],
)
def test_12_4_122_an_out_of_office_note_ends_here(scenario: Scenario, fields: list[str]) -> None:
    person, alias, to = owner(scenario)
    sent = written(scenario, person, to, fields=fields)
    scenario.copies(sent)
    scenario.becomes(sent.queue_id, [(to, "discarded", "auto_reply")])
    assert scenario.of_alias(alias, "emails_replied, emails_forwarded") == (0, 0)


def test_12_4_123_some_contacts_are_none(scenario: Scenario) -> None:
    person, alias, _ = owner(scenario)
    for contact, said in {
        alias: "550 5.7.1 Mail to this contact is not accepted",
        person.mailbox: "550 5.7.1 Mail to this contact is not accepted",
        "somebody@nomail.example": "550 5.1.2 Contact cannot receive mail",
        "somebody@nowhere.example": "550 5.1.2 Contact cannot receive mail",
    }.items():
        mail = from_owner(person)
        to = reverse(alias, contact)
        dispatch = scenario.world.send(person.mailbox, to, content=mail.content)
        assert dispatch.data is not None and f"{dispatch.data.code} {dispatch.data.text}" == said, contact
        scenario.copies(Sent(dispatch, mail.message_id))
    scenario.world.dispatches.clear()


def spend(scenario: Scenario, person: Person, messages: int, minutes_ago: int) -> None:
    scenario.sql(
        "insert into rate_window values (%s, 'reply_send', '', now() - %s * interval '1 minute', %s)",
        *(person.account, minutes_ago, messages),
    )


def test_12_4_124_enough_for_a_day_and_for_an_hour(scenario: Scenario) -> None:
    person, _, to = owner(scenario)
    spend(scenario, person, 99, 180)
    copy_of(scenario, person, to)
    assert refusal(scenario, person, to) == f"550 5.7.1 {LIMIT}"
    recorded(scenario, to, "sending_limit")
    other, _, to = owner(scenario)
    spend(scenario, other, 30, 10)
    assert refusal(scenario, other, to) == f"450 4.7.1 {LIMIT}"


def test_1_7_an_opaque_reverse_address_leads_to_its_contact(scenario: Scenario) -> None:
    person, alias, _ = owner(scenario)
    opaque_style = "update account set forward_mode = 'rewrite', reverse_address_style = 'opaque' where id = %s"
    scenario.sql(opaque_style, person.account)
    (got,) = scenario.copies(scenario.send(alias), person.mailbox)
    (opaque,) = addresses(got, "From")
    assert re.fullmatch(r"r-[a-z2-7]{16}@alias\.example", opaque)
    sent = written(scenario, person, opaque, body=f"> {opaque} wrote\r\n")
    (copy,) = scenario.copies(sent, NEWS)
    assert people(copy) == ([alias], [NEWS], [])
    assert f"> {NEWS} wrote".encode() in copy.body
    assert refusal(scenario, STRANGER, opaque) == FAILED
    assert scenario.answer(f"r-{'a' * 16}@{SHARED}") == UNKNOWN


def test_12_4_118_a_reply_to_all_does_not_come_back(scenario: Scenario) -> None:
    person, alias, to = owner(scenario)
    mail = from_owner(person, to, fields=[f"Cc: {alias}"])
    sent = written(scenario, person, to, alias, mail=mail)
    scenario.copies(sent, CONTACT)
    scenario.becomes(sent.queue_id, [(to, "delivered", ""), (alias, "discarded", "self_copy")])
    assert scenario.of_alias(alias, "emails_replied, emails_forwarded") == (1, 0)


@pytest.mark.parametrize("contact", ["refuse.me@shop.example", "spam.me@shop.example"])
def test_7_5_nobody_outside_hears_that_a_contact_refuses(scenario: Scenario, contact: str) -> None:
    person, alias, _ = owner(scenario)
    to = reverse(alias, contact)
    sent = written(scenario, person, to)
    scenario.becomes(sent.queue_id, [(to, "failed", "bounce")])
    scenario.copies(sent)
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)
