"""What a contact sees of replies and sends, and what not: spec section 12.4, rows 109 to 117."""

from email.utils import getaddresses

import pytest

from tests.system.letters import from_owner, names, opened, reverse, text_of
from tests.system.scenario import (
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.test_replies import BOSS, CONTACT, addresses, copy_of, owner, people, refusal, written


def test_12_4_109_and_110_the_header_says_nothing_of_its_writer(scenario: Scenario) -> None:
    person, _, to = owner(scenario)
    telling = {
        "User-Agent": "Mail 1.0",
        "X-Originating-IP": "192.0.2.77",
        "Autocrypt": f"addr={person.mailbox}; keydata=eA==",
        "Received": "from laptop.inbox.example (192.0.2.77) by mx.inbox.example; Tue, 6 Jan 2026 18:15:01 +0000",
        "Sender": person.mailbox,
        "Organization": "Real & Sons",
        "Disposition-Notification-To": person.mailbox,
        "Thread-Index": "AQHcfw==",
        "List-Unsubscribe": f"<mailto:{person.mailbox}>",
        "X-Mailrelay-Ingress": "v=1",
        "Bcc": f"{person.mailbox}, second@inbox2.example",
    }
    fields = [f"{name}: {value}" for name, value in telling.items()]
    copy = copy_of(scenario, person, to, fields=[*fields, "Importance: high", "Content-Language: de"])
    assert [name for name in telling if header(copy, name)] == ["Received"]  # by our own Postfix
    assert header(copy, "Importance") == ["high"]
    assert header(copy, "Content-Language") == ["de"]
    assert header(copy, "Date") == ["Tue, 06 Jan 2026 18:15:00 +0000"]
    assert {name.split("/")[0] for name in scenario.world.signatures(copy)} == {"alias.example"}
    assert names(copy, "inbox", "192.0.2.77", "laptop", "Sons") == []


def test_12_4_111_quoted_history_shows_the_alias_and_the_contact(scenario: Scenario) -> None:
    person, alias, to = owner(scenario)
    quoted = f"Yes.\r\n\r\nOn Tue, somebody wrote:\r\n> To: {person.mailbox}\r\n> mail {to}\r\n"
    copy = copy_of(scenario, person, to, body=quoted)
    assert f"> To: {alias}\r\n> mail {CONTACT}\r\n".encode() in copy.body
    assert names(copy, person.mailbox, to) == []


def test_12_4_112_what_the_owner_writes_of_himself_is_his_choice(scenario: Scenario) -> None:
    person, alias, to = owner(scenario)
    prose = f"Write to {person.mailbox} directly."
    copy = copy_of(scenario, person, to, body=prose)
    assert prose.encode() in copy.body
    copy.path.unlink()  # nothing else may say so
    scenario.sql("update account set reply_scrub = 'all' where id = %s", person.account)
    assert f"Write to {alias} directly.".encode() in copy_of(scenario, person, to, body=prose).body
    scenario.sql("update account set reply_scrub = 'quoted', leak_policy = 'block' where id = %s", person.account)
    said = refusal(scenario, person, to, body=prose)
    assert said == "550 5.7.1 Message would show the address that is to stay hidden"
    # Who writes to others as well has been accepted by then.
    other = "noreply@alias.example"
    sent = written(scenario, person, to, other, body=prose)
    scenario.becomes(sent.queue_id, [(to, "held", "leak"), (other, "discarded", "noreply")])
    scenario.copies(sent)


def test_12_4_113_our_own_banner_goes(scenario: Scenario) -> None:
    """As it comes back from a mail program: quoted in plain text, within the text in HTML."""
    person = scenario.person(forward_mode="rewrite", banner_location="top")
    alias = scenario.alias(person)
    received = scenario.send(alias, mail=scenario.world.message(body="Good morning.\r\n"))
    (got,) = scenario.copies(received, person.mailbox)
    assert b"----- mailrelay -----" in got.body
    plain = "".join(f"> {line}\r\n" for line in text_of(opened(got)).splitlines())
    block = "<!--mr-banner--><table><tr><td>to us</td></tr></table><!--/mr-banner-->"
    marked = f"<p>Yes</p><blockquote>{block}Hm</blockquote>"
    kind = ["MIME-Version: 1.0", "Content-Type: text/html"]
    to = reverse(alias, CONTACT)
    first = copy_of(scenario, person, to, body=f"Yes.\r\n\r\nOn Tue, somebody wrote:\r\n{plain}")
    second = copy_of(scenario, person, to, body=marked, fields=kind)
    assert b"mailrelay" not in first.body and b"> Good morning.\r\n" in first.body
    assert b"<p>Yes</p><blockquote>Hm</blockquote>" in second.body


def test_12_4_114_an_attached_key_goes(scenario: Scenario) -> None:
    person, _, to = owner(scenario)
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\nmQGiBA==\r\n-----END PGP PUBLIC KEY BLOCK-----\r\n"
    name = f"publickey - {person.mailbox}.asc"
    body = (
        "--b\r\nContent-Type: text/plain\r\n\r\nHello {mark}\r\n"
        f'--b\r\nContent-Type: application/pgp-keys; name="{name}"\r\n'
        f'Content-Disposition: attachment; filename="{name}"\r\n\r\n{key}'
        "--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--b--"
    )
    kind = ["MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b"]
    copy = copy_of(scenario, person, to, body=body, fields=kind)
    parts = [part.get_content_type() for part in opened(copy).walk()]
    assert parts == ["multipart/mixed", "text/plain", "application/pdf"]
    assert names(copy, person.mailbox, "publickey", "KEY BLOCK") == []


@pytest.mark.parametrize(
    ("alias_name", "account_name", "expected"),
    [("Shopper", "Everybody", "Shopper"), (None, "Everybody", "Everybody"), (None, None, "")],
)
def test_12_4_115_the_first_name_that_there_is(
    scenario: Scenario, alias_name: str | None, account_name: str | None, expected: str
) -> None:
    person, alias, to = owner(scenario, from_name=alias_name)
    scenario.sql("update account set from_name = %s where id = %s", account_name, person.account)
    copy = copy_of(scenario, person, to)
    assert getaddresses(header(copy, "From")) == [(expected, alias)]


def test_12_4_115_and_116_a_domain_that_may_not_send_yet(scenario: Scenario) -> None:
    person = scenario.person(from_name="Everybody")
    domain = scenario.domain(person, from_name="Our house")
    alias = scenario.alias(person, domain=domain)
    copy = copy_of(scenario, person, reverse(alias, CONTACT))
    assert getaddresses(header(copy, "From")) == [("Our house", "relay@relay.example")]
    assert addresses(copy, "Reply-To") == [alias]
    assert copy.sender.endswith("@relay.example")
    assert scenario.world.signatures(copy) == {"relay.example/mr1": "valid", "relay.example/mr1e": "valid"}


def test_12_4_117_others_stay_where_they_are_named(scenario: Scenario) -> None:
    person, alias, to = owner(scenario)
    named = [f'"My boss" <{reverse(alias, BOSS)}>', "Third <third@elsewhere.example>", person.mailbox, alias]
    mail = from_owner(person, to, fields=[f"Cc: {', '.join(named)}"])
    (copy,) = scenario.copies(written(scenario, person, to, mail=mail), CONTACT)
    assert people(copy) == ([alias], [CONTACT], [BOSS, "third@elsewhere.example"])
    assert getaddresses(header(copy, "Cc"))[0] == ("My boss", BOSS)
