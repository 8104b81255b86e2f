"""Links in forwarded mail, followed as mail programs and people follow them: spec 8.1 to 8.3, rows 182 to 185."""

import html
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from mailrelay.core.links import Action
from tests.system.letters import from_owner
from tests.system.scenario import (
    ACCEPTED,
    NEWS,
    SHARED,
    UNKNOWN,
    Person,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
    text_of,
)
from tests.system.test_delivery import header
from tests.system.visitors import MULTIPART, URLENCODED, Answer, Visitor, idle, later, link, links
from tests.system.world import Mail, World
from tools.sandbox import show
from tools.sandbox.show import Arrived

OFF = ("inactive",)
_ZONE = """
careless 60 IN TXT "v=spf1 -all"
_dmarc.careless 60 IN TXT "v=DMARC1; p=none"
"""


@pytest.fixture(scope="module", autouse=True)
def _neighbours(session_world: World) -> None:
    """careless: its mail fails DMARC, which asks nobody to do anything about it."""
    session_world.publish(_ZONE)


def owner(scenario: Scenario, **columns: Any) -> tuple[Person, str]:
    """Somebody whose copies are rewritten, and an alias. columns: of the account."""
    person = scenario.person(forward_mode="rewrite", **columns)
    return person, scenario.alias(person)


def copy_for(scenario: Scenario, person: Person, alias: str, mail: Mail | None = None) -> Arrived:
    (copy,) = scenario.copies(scenario.send(alias, mail=mail), person.mailbox)
    return copy


def one_click_link(copy: Arrived) -> str:
    """The only link of List-Unsubscribe, as a mail program sees it."""
    (value,) = header(copy, "List-Unsubscribe")
    found = re.fullmatch(r"<(http://[^<>\s]+)>", value)
    assert found is not None, value
    assert header(copy, "List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]
    return found[1]


def is_covered(scenario: Scenario, copy: Arrived) -> None:
    """RFC 8058 section 4: nobody can change one of the two fields without breaking our signatures."""
    assert scenario.world.signatures(copy) == {"alias.example/mr1": "valid", "alias.example/mr1e": "valid"}
    for value in header(copy, "DKIM-Signature"):
        signed = re.search(r"\bh=([^;]+)", value)
        assert signed is not None
        names = re.sub(r"\s", "", signed[1]).lower().split(":")
        assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(names)
    for before, after in ((b"One-Click", b"Two-Click"), (b"/u/", b"/v/")):
        head, _, body = copy.content.partition(b"\r\n\r\n")
        changed = head.replace(before, after, 1) + b"\r\n\r\n" + body
        found = show.signatures(changed, scenario.world.sandbox.memory.ports["dns"])
        assert "valid" not in {one.verdict for one in found if one.domain == SHARED}


def acted(answer: Answer) -> None:
    """RFC 8058 section 3.1: no cookies, no redirect; and nothing to read."""
    assert (answer.status, answer.body) == (200, "")
    assert not {"set-cookie", "location"} & answer.header.keys()


# --- List-Unsubscribe ----------------------------------------------------------------------------------------------


def is_off(scenario: Scenario, alias: str) -> None:
    assert scenario.of_alias(alias, "state") == OFF
    sent = scenario.send(alias)
    scenario.becomes(sent.queue_id, [(alias, "discarded", "alias_inactive")])
    scenario.copies(sent)
    assert scenario.of_alias(alias, "emails_blocked") == (1,)


def is_deleted(scenario: Scenario, alias: str) -> None:
    assert scenario.of_alias(alias, "state, deleted_at is not null") == ("deleted", True)
    scenario.answers(UNKNOWN, alias)


def blocks_the_address(scenario: Scenario, alias: str) -> None:
    scenario.answers(UNKNOWN, alias)
    assert scenario.answer(alias, "other@shop.example") == ACCEPTED
    assert scenario.of_alias(alias, "state") == ("active",)


def blocks_the_domain(scenario: Scenario, alias: str) -> None:
    scenario.answers(UNKNOWN, alias)
    assert scenario.answer(alias, "other@shop.example") == UNKNOWN
    assert scenario.answer(alias, "boss@plain.example") == ACCEPTED


@pytest.mark.parametrize(
    ("behaviour", "action", "fate", "told"),
    [
        pytest.param(1, "deactivate", is_off, "ADUN", id="deactivate"),
        pytest.param(2, "delete", is_deleted, "ADLN", id="delete"),
        pytest.param(3, "block-email", blocks_the_address, "", id="block-email"),
        pytest.param(4, "block-domain", blocks_the_domain, "", id="block-domain"),
        pytest.param(0, "deactivate", is_off, "ADUN", id="no-original"),
    ],
)
def test_12_6_182_the_button_of_a_mail_program_acts(
    scenario: Scenario, behaviour: int, action: str, fate: Callable[[Scenario, str], None], told: str
) -> None:
    person, alias = owner(scenario, list_unsubscribe_behaviour=behaviour)
    copy = copy_for(scenario, person, alias)
    is_covered(scenario, copy)
    url, visitor = one_click_link(copy), Visitor()
    assert f"/u/{action}/{scenario.of_alias(alias, 'uuid')[0]}?" in url
    assert visitor.look(url).form
    assert scenario.of_alias(alias, "state") == ("active",)
    assert scenario.sql("select 1 from blocked_sender where account_id = %s", person.account) == []
    acted(visitor.one_click(url, URLENCODED if behaviour % 2 else MULTIPART))
    fate(scenario, alias)
    again = visitor.one_click(url, MULTIPART if behaviour % 2 else URLENCODED)
    assert again.status == (404 if action == "delete" else 200)
    idle(scenario)
    if told:
        notice = scenario.notice(person.mailbox, told, alias)
        assert f"From IP address: {visitor.address}" in text_of(notice)
        assert "Visitor/1.0" in text_of(notice)
    codes = [code for code in ("ADUN", "ADLN") if scenario.notices(person.mailbox, code)]
    assert codes == ([told] if told else [])


def test_8_1_what_the_sender_offers_goes_before(scenario: Scenario) -> None:
    person, alias = owner(scenario, list_unsubscribe_behaviour=0)
    plain = scenario.world.message()
    offered = b"List-Unsubscribe: <https://shop.example/u?a=1>, <mailto:leave@shop.example?subject=x>\r\n"
    mail = Mail(offered + b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" + plain.content, plain.message_id)
    copy = copy_for(scenario, person, alias, mail)
    local, _, domain = alias.partition("@")
    (value,) = header(copy, "List-Unsubscribe")
    assert value == f"<https://shop.example/u?a=1>, <mailto:{local}+leave=shop.example@{domain}?subject=x>"
    assert header(copy, "List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]


def test_12_6_182_the_owner_is_told_once_an_hour_and_can_take_it_back(scenario: Scenario) -> None:
    person, alias = owner(scenario, list_unsubscribe_behaviour=1)
    url = one_click_link(copy_for(scenario, person, alias))
    acted(Visitor().one_click(url))
    notice = scenario.notice(person.mailbox, "ADUN", alias)
    undo, reader = link(notice, "activate"), Visitor()
    page = reader.look(undo)
    assert (page.status, page.heading) == (200, "Activate this alias again?")
    assert scenario.of_alias(alias, "state") == OFF
    assert reader.ask("POST", undo, b"", URLENCODED).status == 403  # the address of a page is no button
    assert scenario.of_alias(alias, "state") == OFF
    assert reader.press(page, undo).heading == "The alias is active"
    assert scenario.of_alias(alias, "state") == ("active",)
    copy_for(scenario, person, alias)
    acted(Visitor().one_click(url))
    idle(scenario)
    assert scenario.of_alias(alias, "state") == OFF
    assert len(scenario.notices(person.mailbox, "ADUN", alias)) == 1
    assert reader.press(reader.look(undo), undo).status == 200
    later(scenario, person, 61)
    acted(Visitor().one_click(url))
    scenario.eventually(lambda: len(scenario.notices(person.mailbox, "ADUN", alias)) == 2, "the next notice")


def test_12_6_183_looking_changes_nothing(scenario: Scenario) -> None:
    person, alias = owner(scenario, list_unsubscribe_behaviour=1)
    url, visitor = one_click_link(copy_for(scenario, person, alias)), Visitor()
    page = visitor.look(url)
    assert (page.status, page.heading) == (200, "Deactivate this alias?")
    assert alias in page.body
    assert visitor.ask("HEAD", url).status == 200
    assert visitor.ask("PUT", url, b"List-Unsubscribe=One-Click", URLENCODED).status == 405
    assert scenario.of_alias(alias, "state") == ("active",)
    done = visitor.press(page, url)
    assert (done.status, done.heading) == (200, "The alias is deactivated")
    assert scenario.of_alias(alias, "state") == OFF
    undone = visitor.press(done, url)
    assert (undone.heading, scenario.of_alias(alias, "state")) == ("The alias is active", ("active",))


def test_12_6_184_what_was_tampered_with_or_is_old_is_403(scenario: Scenario) -> None:
    person, alias = owner(scenario, list_unsubscribe_behaviour=3)
    url = one_click_link(copy_for(scenario, person, alias))
    other = scenario.of_alias(scenario.alias(person), "uuid")[0]
    uuid, now = scenario.of_alias(alias, "uuid")[0], int(time.time())
    for changed in (
        url.replace("news", "boss"),
        url.replace("block-email", "block-domain"),
        url.replace(str(uuid), str(other)),
        re.sub(r"expires=\d", "expires=9", url),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.partition("&signature")[0],
        links(scenario, now - 31 * 86400).one_click(Action.DEACTIVATE, uuid),
    ):
        visitor = Visitor()
        assert (visitor.look(changed).status, visitor.one_click(changed).status) == (403, 403), changed
    unknown = links(scenario, now).one_click(Action.DEACTIVATE, scenario.value("select gen_random_uuid()"))
    assert (Visitor().look(unknown).status, Visitor().one_click(unknown).status) == (404, 404)
    assert scenario.of_alias(alias, "state") == ("active",)
    assert scenario.sql("select 1 from blocked_sender where account_id = %s", person.account) == []


def test_8_2_the_seventh_request_in_a_minute_has_to_wait(scenario: Scenario) -> None:
    person, alias = owner(scenario, list_unsubscribe_behaviour=1)
    url, hasty = one_click_link(copy_for(scenario, person, alias)), Visitor()
    answers: list[Answer] = []
    for _ in range(13):  # in two minutes, if one ends meanwhile
        answers.append(hasty.look(url))
        if answers[-1].status == 429:
            break
    statuses = [one.status for one in answers]
    assert statuses in ([200] * 6 + [429], *([200] * number + [429] for number in range(7, 13)))
    assert 1 <= int(answers[-1].header["retry-after"]) <= 60
    late = hasty.one_click(url)
    if late.status == 429:  # else that minute has just ended
        assert scenario.of_alias(alias, "state") == ("active",)
    acted(Visitor().one_click(url))
    assert scenario.of_alias(alias, "state") == OFF


# --- banners -------------------------------------------------------------------------------------------------------


def banner_link(copy: Arrived) -> str:
    body = html.unescape(copy.body.decode())
    (found,) = set(re.findall(r"http://[^\s<>\"]+/u/deactivate/[^\s<>\"]+", body))
    return str(found)


def test_8_2_the_link_of_a_banner_asks_first(scenario: Scenario) -> None:
    person, alias = owner(scenario, banner_location="top")
    url, visitor = banner_link(copy_for(scenario, person, alias)), Visitor()
    assert visitor.one_click(url).status == 403
    page = visitor.look(url)
    assert (page.status, page.heading) == (200, "Deactivate this alias?")
    assert scenario.of_alias(alias, "state") == ("active",)
    assert visitor.press(page, url).heading == "The alias is deactivated"
    is_off(scenario, alias)
    scenario.notice(person.mailbox, "ADUN", alias)
    assert visitor.look(url).heading == "This alias is deactivated already"


def test_8_2_who_wants_a_login_in_between_gets_no_button(scenario: Scenario) -> None:
    person, alias = owner(scenario, banner_location="top", banner_link_login=True, list_unsubscribe_behaviour=1)
    copy, visitor = copy_for(scenario, person, alias), Visitor()
    page = visitor.look(banner_link(copy))
    assert (page.heading, page.form) == ("Please sign in", "")
    assert alias not in page.body
    assert visitor.one_click(banner_link(copy)).status == 403
    assert scenario.of_alias(alias, "state") == ("active",)
    acted(visitor.one_click(one_click_link(copy)))  # the mail program's button is no banner
    assert scenario.of_alias(alias, "state") == OFF


# --- by mail -------------------------------------------------------------------------------------------------------


def address_of(scenario: Scenario, alias: str) -> str:
    return f"{scenario.of_alias(alias, 'uuid')[0]}@unsubscribe.{SHARED}"


def ends_here(scenario: Scenario, to: str, sender: str, mail: Mail) -> None:
    """It is taken, and goes nowhere."""
    sent = scenario.send(to, sender=sender, mail=mail)
    scenario.becomes(sent.queue_id, [(to.lower(), "discarded", "unsubscribe")])
    scenario.copies(sent)


def test_12_6_185_mail_of_the_owner_deactivates(scenario: Scenario) -> None:
    person, alias = owner(scenario)
    to = address_of(scenario, alias)
    ends_here(scenario, to, person.mailbox, from_owner(person, to, answers=""))
    assert scenario.of_alias(alias, "state, emails_replied, emails_sent, emails_forwarded") == ("inactive", 0, 0, 0)
    counted = "select count(*) from rate_window where account_id = %s and kind <> 'http'"
    assert scenario.value(counted, person.account) == 0
    assert link(scenario.notice(person.mailbox, "ADUN", alias), "activate")
    ends_here(scenario, to.upper(), person.mailbox, from_owner(person, to.upper(), answers=""))
    idle(scenario)
    assert len(scenario.notices(person.mailbox, "ADUN", alias)) == 1


def test_12_6_185_nobody_elses_mail_does(scenario: Scenario) -> None:
    careless = scenario.person("me@careless.example", forward_mode="rewrite")
    alias, (other, _) = scenario.alias(careless), owner(scenario)
    to = address_of(scenario, alias)
    stranger = Person(0, "", NEWS)
    for author in (stranger, other, careless):  # the last one's own, but not proved to be so
        ends_here(scenario, to, author.mailbox, from_owner(author, to, answers=""))
    automatic = from_owner(careless, to, answers="", fields=["Auto-Submitted: auto-replied"])
    ends_here(scenario, to, careless.mailbox, automatic)
    assert scenario.of_alias(alias, "state") == ("active",)
    idle(scenario)
    assert scenario.notices(careless.mailbox, "ADUN") == []


def test_12_6_185_a_mailbox_that_is_not_verified_is_nobody(scenario: Scenario) -> None:
    person, alias = owner(scenario)
    box = f"unverified.{person.account}@inbox.example"
    scenario.recipient(person, box, verified=False)
    to = address_of(scenario, alias)
    ends_here(scenario, to, box, from_owner(Person(person.account, person.name, box), to, answers=""))
    assert scenario.of_alias(alias, "state") == ("active",)


def test_8_3_only_the_ids_of_aliases_are_addresses_there(scenario: Scenario) -> None:
    domain = f"unsubscribe.{SHARED}"
    assert scenario.answer(f"someone@{domain}") == UNKNOWN
    unknown = scenario.value("select gen_random_uuid()")
    assert scenario.answer(f"{unknown}@{domain}") == ACCEPTED  # it does not tell which aliases there are
