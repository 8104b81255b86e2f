"""What owners are told by mail, and what the links in it do: spec 4.3, 4.8, 4.9 and 8.4, rows 106 and 166."""

import time
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from typing import Any

import pytest

from mailrelay.core.links import Action
from tests.system.letters import from_owner, names
from tests.system.scenario import (
    Person,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
    text_of,
)
from tests.system.test_delivery import header
from tests.system.test_replies import CONTACT, FAILED, SWITCHED_OFF, copy_of, owner, recorded, refusal, spend
from tests.system.visitors import Visitor, idle, later, link, links
from tests.system.world import World

LEAKS = "550 5.7.1 Message would show the address that is to stay hidden"
_HOUR, _DAY = 60, 24 * 60  # minutes
_CERTIFICATE = {
    "fields": [
        "MIME-Version: 1.0",
        'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=b',
    ],
    "body": (
        "--b\r\nContent-Type: text/plain\r\n\r\nYes {mark}\r\n"
        "--b\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\nMIIB\r\n--b--"
    ),
}
_ZONE = """
slack 60 IN TXT "v=spf1 -all"
_dmarc.slack 60 IN TXT "v=DMARC1; p=none"
"""


@pytest.fixture(scope="module", autouse=True)
def _neighbours(session_world: World) -> None:
    """slack: its mail fails DMARC, which asks nobody to do anything about it."""
    session_world.publish(_ZONE)


def told(scenario: Scenario, mailbox: str, code: str, count: int) -> list[EmailMessage]:
    """Return when so many notifications of this kind are there and no more is to come."""
    scenario.eventually(lambda: len(scenario.notices(mailbox, code)) >= count, f"{count} {code} to {mailbox}")
    idle(scenario)
    found = scenario.notices(mailbox, code)
    assert len(found) == count
    return found


def words(notice: EmailMessage) -> str:
    """What a notification says, in one line."""
    return " ".join(text_of(notice).split())


def codes(scenario: Scenario, person: Person) -> list[str]:
    """Of all notices that were posted for an account."""
    posted = "select payload->>'code' from job where kind = 'notice' and (payload->>'account_id')::bigint = %s"
    return [code for (code,) in scenario.sql(f"{posted} order by id", person.account)]


# --- a reply that was held -----------------------------------------------------------------------------------------


def held_reply(scenario: Scenario, mailbox: str, **more: Any) -> tuple[Person, str, str, Sent]:
    """Owner, alias, reverse address and a message that was accepted for another recipient's sake."""
    person, alias, to = owner(scenario, mailbox)
    friend, other, _ = owner(scenario)
    mail = from_owner(person, to, other, **more)
    sent = scenario.send(to, other, sender=person.mailbox, mail=mail)
    scenario.mailboxes.discard(mailbox)  # who wrote to the friend
    scenario.world.arrived(to=friend.mailbox, containing=sent.message_id)
    return person, alias, to, sent


def test_12_4_106_a_held_reply_goes_out_once_when_its_owner_clicks(scenario: Scenario) -> None:
    person, alias, to, sent = held_reply(scenario, "writer@slack.example")
    notice = scenario.notice(person.mailbox, "SRSA", alias)
    assert "SPF: fail (slack.example)" in words(notice)
    assert "DMARC: fail" in words(notice)
    url, first, second = link(notice, "send"), Visitor(), Visitor()
    page = first.look(url)
    assert (page.status, page.heading) == (200, "Send this message?")
    assert alias in page.body
    assert not [word for word in (person.mailbox, "Real Name", CONTACT) if word in page.body]
    assert first.ask("POST", url, b"confirm=yes", "application/x-www-form-urlencoded").status == 403
    assert scenario.world.arrivals(to=CONTACT, containing=sent.message_id) == []
    with ThreadPoolExecutor(2) as pool:
        answers = [*pool.map(lambda visitor: visitor.press(page, url), (first, second))]
    assert [answer.status for answer in answers] == [200, 200]
    assert "The message is on its way" in {answer.heading for answer in answers}
    (copy,) = scenario.world.arrived(to=CONTACT, containing=sent.message_id)
    assert header(copy, "From") == [alias]
    assert names(copy, person.mailbox, "Real Name", "slack") == []
    assert set(scenario.world.signatures(copy).values()) == {"valid"}
    scenario.eventually(lambda: second.look(url).heading == "This message was sent before", "the page to know it")
    idle(scenario)
    scenario.world.arrived(to=CONTACT, containing=sent.message_id)
    assert [outcome for rcpt, outcome, _ in scenario.world.outcomes(sent.queue_id) if rcpt == to] == ["delivered"]
    assert codes(scenario, person) == ["SRSA"]
    assert scenario.of_alias(alias, "emails_replied") == (1,)


def test_4_3_after_seven_days_it_is_gone(scenario: Scenario) -> None:
    person, alias, _, sent = held_reply(scenario, "late@slack.example")
    url, visitor = link(scenario.notice(person.mailbox, "SRSA", alias), "send"), Visitor()
    page = visitor.look(url)
    scenario.sql("update stored_message set expires_at = now() where account_id = %s", person.account)
    gone = visitor.look(url)
    assert (gone.status, gone.heading, gone.form) == (200, "This message is gone", "")
    assert (visitor.press(page, url).status, codes(scenario, person)) == (409, ["SRSA"])
    scenario.sql("delete from failed_delivery where account_id = %s", person.account)  # as the worker does
    assert visitor.look(url).status == 404
    assert scenario.world.arrivals(to=CONTACT, containing=sent.message_id) == []


def test_12_4_106_what_was_refused_is_told_but_there_is_nothing_to_send(scenario: Scenario) -> None:
    person, _, to = owner(scenario, "claimed@slack.example")
    for number in range(1, 6):
        assert refusal(scenario, person, to) == FAILED
        notices = told(scenario, person.mailbox, "SRSA", min(number, 4))  # four a day
    assert "through your mail provider's own server" in words(notices[0])
    assert "/u/" not in words(notices[0])


# --- what a contact would see --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "more", "where"),
    [
        pytest.param("block", {"body": "Write to {mailbox} directly."}, "text", id="12.4-112-prose"),
        pytest.param("warn", _CERTIFICATE, "S/MIME certificate", id="4.9-certificate"),
    ],
)
def test_4_8_a_leak_is_refused_while_it_can_be_mended(
    scenario: Scenario, policy: str, more: dict[str, Any], where: str
) -> None:
    person, alias, to = owner(scenario)
    scenario.sql("update account set leak_policy = %s where id = %s", policy, person.account)
    letter = {**more, "body": more["body"].replace("{mailbox}", person.mailbox)}
    assert refusal(scenario, person, to, **letter) == LEAKS
    recorded(scenario, to, "leak")
    (notice,) = told(scenario, person.mailbox, "LEAK", 1)
    said = words(notice)
    assert f"Where: {where}" in said and alias in said and "It was not sent." in said
    assert "/u/send/" not in said
    assert refusal(scenario, person, to, **letter) == LEAKS
    told(scenario, person.mailbox, "LEAK", 1)
    later(scenario, person, 31 * _DAY)
    assert refusal(scenario, person, to, **letter) == LEAKS
    told(scenario, person.mailbox, "LEAK", 2)
    scenario.sql("update account set leak_policy = 'off' where id = %s", person.account)
    copy_of(scenario, person, to, **letter).path.unlink()  # nothing else may show it


def test_4_8_what_cannot_be_refused_any_more_is_held_and_its_owner_decides(scenario: Scenario) -> None:
    mailbox = "open@inbox.example"
    person, alias, to = owner(scenario, mailbox)
    scenario.sql("update account set leak_policy = 'block' where id = %s", person.account)
    _, other, _ = owner(scenario)
    urls = []
    for number in (1, 2):  # each of them waits for a decision of its own
        mail = from_owner(person, to, other, body=f"Write to {mailbox} directly.")
        sent = scenario.send(to, other, sender=mailbox, mail=mail)
        scenario.becomes(sent.queue_id, [(other, "delivered", ""), (to, "held", "leak")])
        urls.append(link(told(scenario, mailbox, "LEAK", number)[-1], "send"))
    scenario.mailboxes.discard(mailbox)  # who wrote to the friend, and wants the contact to see it
    assert scenario.world.arrivals(to=CONTACT, containing=sent.message_id) == []
    visitor = Visitor()
    assert visitor.press(visitor.look(urls[1]), urls[1]).heading == "The message is on its way"
    (copy,) = scenario.world.arrived(to=CONTACT, containing=sent.message_id)
    assert header(copy, "From") == [alias]
    assert f"Write to {mailbox} directly.".encode() in copy.body


def test_12_4_112_who_is_only_warned_hears_of_it_once(scenario: Scenario) -> None:
    person, _, to = owner(scenario)
    for _ in (1, 2):
        copy_of(scenario, person, to, body=f"Write to {person.mailbox} directly.").path.unlink()
        (notice,) = told(scenario, person.mailbox, "LEAK", 1)
    assert "It was sent as it was" in words(notice)
    assert "/u/" not in words(notice)


# --- what is not permitted -----------------------------------------------------------------------------------------


def test_8_4_a_limit_is_told_once_a_day(scenario: Scenario) -> None:
    person, alias, to = owner(scenario)
    spend(scenario, person, 100, 3 * _HOUR)
    for count in (1, 1):
        assert refusal(scenario, person, to) == "550 5.7.1 Sending limit reached"
        (notice,) = told(scenario, person.mailbox, "RSL", count)
    assert alias in words(notice) and CONTACT in words(notice)
    later(scenario, person, _DAY + 1)
    assert refusal(scenario, person, to) == "550 5.7.1 Sending limit reached"
    told(scenario, person.mailbox, "RSL", 2)


def test_8_4_what_is_switched_off_is_told_four_times_a_day(scenario: Scenario) -> None:
    person, _, to = owner(scenario)
    scenario.sql("update recipient set can_reply_send = false where account_id = %s", person.account)
    for number in range(1, 6):
        assert refusal(scenario, person, to) == SWITCHED_OFF
        told(scenario, person.mailbox, "DRSA", min(number, 4))
    suppressed = "select sent, suppressed from notification_limit where account_id = %s and kind = 'DRSA'"
    assert scenario.sql(suppressed, person.account) == [(4, 1)]


# --- mailboxes -----------------------------------------------------------------------------------------------------


def test_8_4_a_new_mailbox_is_confirmed_by_whoever_reads_it(scenario: Scenario) -> None:
    person = scenario.person()
    new = f"new.{person.account}@inbox2.example"
    alias = scenario.alias(person, local_part=f"for{person.account}")
    scenario.world.cli("recipient", "add", new, "--account", person.name)
    scenario.mailboxes.add(new)
    url, visitor = link(scenario.notice(new, "VR"), "verify"), Visitor()
    page = visitor.look(url)
    assert (page.status, page.heading) == (200, "Is this your mailbox?")
    assert scenario.value("select verified_at from recipient where address = %s", new) is None
    scenario.world.cli_fails("recipient", "default", new, "--account", person.name)
    assert visitor.press(page, url).heading == "The mailbox is confirmed"
    assert visitor.press(page, url).heading == "This mailbox is confirmed already"
    scenario.world.cli("recipient", "default", new, "--account", person.name)
    scenario.copies(scenario.send(alias), new)
    assert len(scenario.notices(new, "VR")) == 1
    assert new in words(scenario.notice(person.mailbox, "NRV"))  # the default one at that time


def test_8_4_it_is_asked_again_and_no_more_than_three_times(scenario: Scenario) -> None:
    person = scenario.person()
    new = f"slow.{person.account}@inbox2.example"
    scenario.mailboxes.add(new)
    scenario.world.cli("recipient", "add", new, "--account", person.name)
    for number in (1, 2, 3):
        told(scenario, new, "VR", number)
        if number < 3:
            scenario.world.cli("recipient", "resend", new)
    assert "asked 3 times within an hour" in scenario.world.cli_fails("recipient", "resend", new).remarks
    later(scenario, person, _HOUR + 1)
    scenario.world.cli("recipient", "resend", new)
    told(scenario, new, "VR", 4)


# --- notifications as mail -----------------------------------------------------------------------------------------


def test_8_4_a_notification_is_ours_without_a_doubt(scenario: Scenario) -> None:
    person, alias, _ = owner(scenario)
    Visitor().one_click(
        links(scenario, int(time.time())).one_click(Action.DEACTIVATE, scenario.of_alias(alias, "uuid")[0])
    )
    scenario.notice(person.mailbox, "ADUN", alias)
    (arrived,) = scenario.world.arrivals(to=person.mailbox, containing=b"Feedback-ID: ADUN:mailrelay")
    assert header(arrived, "From") == ['"mailrelay" <notifications@relay.example>']
    assert header(arrived, "Auto-Submitted") == ["auto-generated"]
    assert header(arrived, "X-Auto-Response-Suppress") == ["All"]
    # DMARC: d= and the return path are at the organisational domain of From.
    assert scenario.world.signatures(arrived) == {"relay.example/mr1": "valid", "relay.example/mr1e": "valid"}
    assert arrived.sender.startswith("b-") and arrived.sender.endswith("@bounces.relay.example")
    assert scenario.ask("", arrived.sender) == ["250"]
    assert header(arrived, "Message-ID")[0].endswith("@relay.example>")


def records(scenario: Scenario, person: Person) -> list[str]:
    kinds = "select email_type from failed_delivery where account_id = %s order by id"
    return [kind for (kind,) in scenario.sql(kinds, person.account)]


def test_12_6_166_nobody_is_told_that_he_could_not_be_told(scenario: Scenario) -> None:
    person, alias, _ = owner(scenario, "refuse.166@inbox.example")
    sent = scenario.send(alias)
    scenario.becomes(sent.queue_id, [(alias, "failed", "bounce")])
    scenario.eventually(lambda: records(scenario, person) == ["F", "FDN"], "the records")
    idle(scenario)
    assert (records(scenario, person), codes(scenario, person)) == (["F", "FDN"], ["FDN"])
    url = links(scenario, int(time.time())).one_click(Action.DEACTIVATE, scenario.of_alias(alias, "uuid")[0])
    assert Visitor().one_click(url).status == 200
    scenario.eventually(lambda: len(records(scenario, person)) == 4, "what becomes of ADUN")
    idle(scenario)
    assert (records(scenario, person)[2:], codes(scenario, person)[1:]) == (["ADUN", "FDN"], ["ADUN", "FDN"])


def test_12_6_166_nor_anybody_that_a_new_mailbox_is_none(scenario: Scenario) -> None:
    person = scenario.person()
    scenario.world.cli("recipient", "add", "refuse.new@inbox2.example", "--account", person.name)
    scenario.eventually(lambda: records(scenario, person) == ["VR"], "the record")
    idle(scenario)
    assert codes(scenario, person) == ["VR"]
