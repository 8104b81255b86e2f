"""Whatever is changed over the addy.io API takes effect on the next message (addy-api.md sections 3 and 3.11)."""

import itertools
from typing import Any

from tests.system.apps import App, app
from tests.system.letters import reverse
from tests.system.pgpdesk import (
    CURVE,
    Desk,
    provide_desk,  # noqa: F401  # a fixture
    provide_desk_parts,  # noqa: F401  # a fixture
)
from tests.system.scenario import (
    ACCEPTED,
    NEWS,
    UNKNOWN,
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.test_encryption import letter, mark, posted
from tests.system.test_replies import CONTACT, SWITCHED_OFF, refusal, written
from tests.system.visitors import Visitor, link

_numbers = itertools.count(1)


def parent(scenario: Scenario, mine: App) -> tuple[str, str]:
    """Id of a new username, and the domain below it, once Postfix takes it for ours."""
    name = f"name{next(_numbers)}a{mine.person.account}"
    made = mine.post("usernames", {"username": name}, 201)
    domain = f"{name}.alias.example"
    scenario.await_domain(domain)
    return made["id"], domain


def proved(scenario: Scenario, mine: App) -> tuple[str, str]:
    """Id and name of a new domain, after its owner has put into DNS what the refusal wants."""
    name = f"proved{next(_numbers)}.example"
    said = mine.ask("POST", "domains", {"domain": name})
    text, mark_, proof = said.body.rpartition("aa-verify=")
    assert (said.status, text[:29], len(proof)) == (404, "Verification record not found", 40)
    scenario.world.publish(f'{name.removesuffix(".example")} 1 IN TXT "{mark_}{proof}"\n')
    made = mine.post("domains", {"domain": name}, 201)
    scenario.await_domain(name)
    return made["id"], name


def rule(**members: Any) -> dict[str, Any]:
    """What apps send. members: other ones."""
    return {
        "name": "Shop",
        "conditions": [{"type": "sender", "match": "ends with", "values": ["@shop.example"]}],
        "actions": [{"type": "block", "value": "true"}],
        "operator": "AND",
        "forwards": True,
        "replies": False,
        "sends": False,
        **members,
    }


# --- aliases -------------------------------------------------------------------------------------------------------


def test_an_alias_from_its_making_to_its_end(scenario: Scenario) -> None:
    mine = app(scenario)
    number, address = mine.alias()
    mine.receives(address)
    mine.delete(f"active-aliases/{number}")
    mine.misses(address, "alias_inactive")
    scenario.eventually(lambda: mine.get(f"aliases/{number}")["emails_blocked"] == 1, "the alias' counter")
    assert mine.post("active-aliases", {"id": number})["active"] is True
    mine.receives(address)
    scenario.eventually(lambda: mine.get(f"aliases/{number}")["emails_forwarded"] == 2, "the alias' counter")
    mine.delete(f"aliases/{number}")
    scenario.answers(UNKNOWN, address)
    mine.patch(f"aliases/{number}/restore")
    scenario.answers(ACCEPTED, address)
    mine.receives(address)
    mine.delete(f"aliases/{number}/forget")
    scenario.answers(UNKNOWN, address)
    assert mine.ask("GET", f"aliases/{number}").status == 404
    assert scenario.answer(address, "somebody.else@shop.example") == UNKNOWN


def test_several_aliases_at_once(scenario: Scenario) -> None:
    mine = app(scenario)
    both = [mine.alias(), mine.alias()]
    numbers = {"ids": [number for number, _ in both]}
    for word, expected in (
        ("deactivate", None),
        ("activate", ACCEPTED),
        ("delete", UNKNOWN),
        ("restore", ACCEPTED),
        ("forget", UNKNOWN),
    ):
        assert mine.ask("POST", f"aliases/{word}/bulk", numbers).status == 200
        for _, address in both:
            if expected is None:
                mine.misses(address, "alias_inactive")
            else:
                scenario.answers(expected, address)


def test_mail_goes_to_the_recipients_that_an_alias_is_given(scenario: Scenario) -> None:
    mine = app(scenario)
    number, address = mine.alias()
    (second, mailbox), (third, other) = mine.recipient(), mine.recipient()
    mine.post("alias-recipients", {"alias_id": number, "recipient_ids": [second, third]})
    mine.receives(address, mailbox, other)
    mine.post("alias-recipients", {"alias_id": number, "recipient_ids": [third]})
    mine.receives(address, other)
    mine.delete(f"recipients/{third}")
    mine.receives(address)
    made = mine.alias(recipient_ids=[second])[1]
    mine.receives(made, mailbox)
    assert mine.ask("POST", "aliases/recipients/bulk", {"ids": [number], "recipient_ids": [second]}).status == 200
    mine.receives(address, mailbox)
    mine.post("alias-recipients", {"alias_id": number, "recipient_ids": []})
    mine.receives(address)


def test_a_recipient_gets_mail_after_it_is_verified(scenario: Scenario) -> None:
    mine = app(scenario)
    number, address = mine.alias()
    mailbox = f"asked.{mine.person.account}@inbox.example"
    scenario.mailboxes.add(mailbox)
    made = mine.post("recipients", {"email": mailbox}, 201)
    assert mine.ask("POST", "alias-recipients", {"alias_id": number, "recipient_ids": [made["id"]]}).status == 422
    mine.receives(address)
    url, visitor = link(scenario.notice(mailbox, "VR"), "verify"), Visitor()
    visitor.press(visitor.look(url), url)
    assert mine.get(f"recipients/{made['id']}")["email_verified_at"] is not None
    mine.post("alias-recipients", {"alias_id": number, "recipient_ids": [made["id"]]})
    mine.receives(address, mailbox)


# --- block list and rules ------------------------------------------------------------------------------------------


def test_a_blocked_sender_is_refused(scenario: Scenario) -> None:
    mine = app(scenario)
    number, address = mine.alias()
    assert scenario.answer(address) == ACCEPTED
    entry = mine.post("blocklist", {"type": "email", "value": NEWS.title()}, 201)
    scenario.answers(UNKNOWN, address)
    assert scenario.answer(address, "orders@shop.example") == ACCEPTED
    (kept,) = mine.get("blocklist")
    assert kept["blocked"] >= 1 and kept["last_blocked"] is not None
    assert mine.get(f"aliases/{number}")["emails_blocked"] >= 1
    mine.delete(f"blocklist/{entry['id']}")
    scenario.answers(ACCEPTED, address)
    domain = mine.post("blocklist", {"type": "domain", "value": "shop.example"}, 201)
    scenario.answers(UNKNOWN, address, "orders@shop.example")
    removed = mine.ask("POST", "blocklist/delete/bulk", {"ids": [domain["id"]]})
    assert removed.status == 200
    scenario.answers(ACCEPTED, address, "orders@shop.example")
    mine.receives(address)


def test_a_rule_applies_to_the_next_message(scenario: Scenario) -> None:
    mine = app(scenario)
    _, address = mine.alias()
    mine.receives(address)
    made = mine.post("rules", rule(), 201)
    number = made["id"]
    mine.misses(address, "rule")
    kept = mine.get(f"rules/{number}")
    assert (kept["applied"], kept["last_applied"] is not None) == (1, True)
    # As apps do it: the complete object comes back, with another action.
    mine.patch(f"rules/{number}", {**kept, "actions": [{"type": "subject", "value": "From a shop"}]})
    assert header(mine.receives(address), "Subject") == ["From a shop"]
    mine.delete(f"active-rules/{number}")
    assert header(mine.receives(address), "Subject") == ["hello"]
    mine.post("active-rules", {"id": number})
    assert header(mine.receives(address), "Subject") == ["From a shop"]
    last = mine.post("rules", rule(name="Last", actions=[{"type": "subject", "value": "The last word"}]), 201)
    assert mine.ask("POST", "reorder-rules", {"ids": [number, last["id"]]}).status == 200
    assert header(mine.receives(address), "Subject") == ["The last word"]
    assert mine.ask("POST", "reorder-rules", {"ids": [last["id"], number]}).status == 200
    assert header(mine.receives(address), "Subject") == ["From a shop"]
    for one in (number, last["id"]):
        mine.delete(f"rules/{one}")
    assert header(mine.receives(address), "Subject") == ["hello"]


def test_a_rule_sends_mail_elsewhere(scenario: Scenario) -> None:
    mine = app(scenario)
    _, address = mine.alias()
    second, mailbox = mine.recipient()
    mine.post("rules", rule(actions=[{"type": "forwardTo", "value": second}]), 201)
    mine.receives(address, mailbox)


# --- usernames and domains -----------------------------------------------------------------------------------------


def test_a_username_that_is_switched_off_takes_mail_and_drops_it(scenario: Scenario) -> None:
    mine = app(scenario)
    number, domain = parent(scenario, mine)
    mine.receives(f"shop@{domain}")
    mine.delete(f"active-usernames/{number}")
    mine.misses(f"shop@{domain}", "parent_inactive")
    mine.post("active-usernames", {"id": number})
    mine.receives(f"shop@{domain}")


def test_a_username_s_addresses_come_by_themselves_or_not(scenario: Scenario) -> None:
    mine = app(scenario)
    number, domain = parent(scenario, mine)
    mine.receives(f"shop@{domain}")
    (made,) = mine.get(f"aliases?username={number}")
    assert made["email"] == f"shop@{domain}" and made["description"].startswith("Created ")
    mine.delete(f"catch-all-usernames/{number}")
    scenario.answers(UNKNOWN, f"second@{domain}")
    assert scenario.answer(f"shop@{domain}") == ACCEPTED
    mine.patch(f"usernames/{number}", {"auto_create_regex": "^club"})
    scenario.answers(ACCEPTED, f"club1@{domain}")
    assert scenario.answer(f"third@{domain}") == UNKNOWN
    mine.post("catch-all-usernames", {"id": number})
    scenario.answers(ACCEPTED, f"fourth@{domain}")


def test_a_username_s_mail_goes_to_its_own_recipient(scenario: Scenario) -> None:
    mine = app(scenario)
    number, domain = parent(scenario, mine)
    second, mailbox = mine.recipient()
    mine.receives(f"shop@{domain}")
    mine.patch(f"usernames/{number}/default-recipient", {"default_recipient": second})
    mine.receives(f"shop@{domain}", mailbox)
    mine.patch(f"usernames/{number}/default-recipient", {"default_recipient": ""})
    mine.receives(f"shop@{domain}")
    mine.patch(f"usernames/{number}/default-recipient", {"default_recipient": second})
    mine.delete(f"recipients/{second}")
    mine.receives(f"shop@{domain}")


def test_a_username_that_is_gone_has_no_mail(scenario: Scenario) -> None:
    mine = app(scenario)
    mine.post("usernames", {"username": f"first{mine.person.account}"}, 201)
    number, domain = parent(scenario, mine)
    mine.receives(f"shop@{domain}")
    mine.delete(f"usernames/{number}")
    fresh = (f"x{count}@{domain}" for count in itertools.count())
    scenario.eventually(lambda: scenario.answer(next(fresh)) != ACCEPTED, "the username to be forgotten")
    assert scenario.answer(f"shop@{domain}") != ACCEPTED


def test_a_domain_from_its_proof_to_its_end(scenario: Scenario) -> None:
    mine = app(scenario)
    number, domain = proved(scenario, mine)
    mine.receives(f"shop@{domain}")
    mine.delete(f"catch-all-domains/{number}")
    scenario.answers(UNKNOWN, f"second@{domain}")
    mine.receives(f"shop@{domain}")
    mine.post("catch-all-domains", {"id": number})
    scenario.answers(ACCEPTED, f"third@{domain}")
    mine.delete(f"active-domains/{number}")
    mine.misses(f"shop@{domain}", "parent_inactive")
    mine.post("active-domains", {"id": number})
    second, mailbox = mine.recipient()
    mine.patch(f"domains/{number}/default-recipient", {"default_recipient": second})
    mine.receives(f"shop@{domain}", mailbox)
    mine.patch(f"domains/{number}/default-recipient", {"default_recipient": ""})
    mine.receives(f"shop@{domain}")
    mine.delete(f"domains/{number}")
    fresh = (f"x{count}@{domain}" for count in itertools.count())
    scenario.eventually(lambda: scenario.answer(next(fresh)).startswith("454 4.7.1"), "the domain to be forgotten")


# --- replies -------------------------------------------------------------------------------------------------------


def test_a_mailbox_that_may_not_reply(scenario: Scenario) -> None:
    mine = app(scenario)
    _, address = mine.alias()
    to = reverse(address, CONTACT)
    (recipient,) = mine.get("recipients")
    scenario.copies(written(scenario, mine.person, to), CONTACT)
    mine.delete(f"allowed-recipients/{recipient['id']}")
    assert refusal(scenario, mine.person, to) == SWITCHED_OFF
    mine.post("allowed-recipients", {"id": recipient["id"]})
    scenario.copies(written(scenario, mine.person, to), CONTACT)


def test_only_attached_mailboxes_reply(scenario: Scenario) -> None:
    mine = app(scenario)
    second, mailbox = mine.recipient()
    number, address = mine.alias(recipient_ids=[second])
    to = reverse(address, CONTACT)
    scenario.copies(written(scenario, mine.person, to), CONTACT)
    mine.post("attached-recipients-only", {"id": number})
    assert refusal(scenario, mine.person, to) == SWITCHED_OFF
    attached = Person(mine.person.account, mine.person.name, mailbox)
    scenario.copies(written(scenario, attached, to), CONTACT)
    mine.delete(f"attached-recipients-only/{number}")
    scenario.copies(written(scenario, mine.person, to), CONTACT)


def test_replies_have_the_name_that_an_alias_is_given(scenario: Scenario) -> None:
    mine = app(scenario)
    number, address = mine.alias()
    mine.patch(f"aliases/{number}", {"from_name": "The Customer"})
    (copy,) = scenario.copies(written(scenario, mine.person, reverse(address, CONTACT)), CONTACT)
    assert header(copy, "From") == [f'"The Customer" <{address}>']


# --- encryption ----------------------------------------------------------------------------------------------------


def test_mail_is_encrypted_as_long_as_its_recipient_wants_it(desk: Desk) -> None:
    scenario = desk.scenario
    mine = app(scenario)
    _, address = mine.alias()
    (recipient,) = mine.get("recipients")
    number = recipient["id"]

    def is_sealed() -> bool:
        word = mark()
        copy = mine.receives(address, mail=posted(letter(scenario, word)))
        if word.encode() in copy.content:
            return False
        desk.opened(copy, word)
        return True

    assert not is_sealed()
    fingerprint = desk.gpg.create(f"<{mine.person.mailbox}>", *CURVE)
    key = desk.gpg.public(fingerprint, armor=True).decode()
    given = mine.patch(f"recipient-keys/{number}", {"key_data": key})
    assert (given["fingerprint"], given["should_encrypt"]) == (fingerprint.upper(), True)
    assert is_sealed()
    mine.delete(f"encrypted-recipients/{number}")
    assert not is_sealed()
    mine.post("encrypted-recipients", {"id": number})
    assert is_sealed()
    mine.post("protected-headers-recipients", {"id": number})
    word = mark()
    copy = mine.receives(address, mail=posted(letter(scenario, word, f"About {word}")))
    assert word not in "".join(header(copy, "Subject"))
    mine.delete(f"recipient-keys/{number}")
    assert not is_sealed()


# --- whoever is not asked ------------------------------------------------------------------------------------------


def test_nobody_changes_what_belongs_to_others(scenario: Scenario) -> None:
    mine, other = app(scenario), app(scenario)
    number, address = mine.alias()
    for method, path in (
        ("DELETE", f"aliases/{number}"),
        ("DELETE", f"active-aliases/{number}"),
        ("DELETE", f"aliases/{number}/forget"),
        ("PATCH", f"aliases/{number}/restore"),
    ):
        assert other.ask(method, path).status == 404
    assert other.ask("POST", "aliases/forget/bulk", {"ids": [number]}).status == 404
    mine.receives(address)
