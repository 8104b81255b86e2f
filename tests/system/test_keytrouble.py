"""Keys that cannot be used, keys of the service, and blows: spec sections 6.5 and 8.4, rows 156 and 157."""

import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mailrelay.core.links import Action
from tests.system.letters import names
from tests.system.pgpdesk import (
    Desk,
    Reader,
    provide_desk,  # noqa: F401  # a fixture
    provide_desk_parts,  # noqa: F401  # a fixture
    read,
)
from tests.system.scenario import (
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_told import told, words
from tests.system.visitors import Visitor, idle, links
from tests.system.world import Mail
from tools.sandbox.postgres import binaries
from tools.sandbox.process import run, wait_until

MESSAGES, HANDS, KILLS = 60, 4, 5
_numbers = itertools.count(1)


def marked(desk: Desk, word: str) -> Mail:
    """A message that says a word in its subject, its body and its author's address."""
    return desk.scenario.world.message(word, f"Dear reader, {word}.\r\n", f"{word}@shop.example")


def send(desk: Desk, alias: str, word: str) -> Sent:
    return desk.scenario.send(alias, sender=f"{word}@shop.example", mail=marked(desk, word))


def word() -> str:
    return f"undisclosed{next(_numbers)}matter"


def waits(desk: Desk, alias: str, sent: Sent) -> None:
    desk.scenario.becomes(sent.queue_id, [(alias, "held", "key_unusable")])


def encrypts(desk: Desk, reader: Reader) -> bool:
    found = "select should_encrypt from recipient where account_id = %s and address = %s"
    return bool(desk.scenario.value(found, reader.person.account, reader.mailbox))


def shown(desk: Desk, mailbox: str, *marks: str) -> list[str]:
    """Those of the marks that anything in a mailbox shows."""
    return [mark for copy in desk.scenario.world.arrivals(to=mailbox) for mark in names(copy, *marks)]


def dump(desk: Desk) -> bytes:
    """All that is in the database, octets in hexadecimal."""
    return run([str(binaries() / "pg_dump"), desk.scenario.world.sandbox.dsn]).encode().lower()


# --- held ----------------------------------------------------------------------------------------------------------


def test_12_5_156_mail_waits_for_a_key_and_arrives_when_there_is_one(desk: Desk) -> None:
    scenario, reader, marks = desk.scenario, desk.expired(), [word(), word()]
    sent = [send(desk, reader.alias, mark) for mark in marks]
    for one in sent:
        waits(desk, reader.alias, one)
    stubs = told(scenario, reader.mailbox, "STB", 2)
    (warning,) = told(scenario, reader.mailbox, "GKE", 1)
    assert reader.fingerprint.lower()[-16:] in words(warning).lower().replace(" ", "")
    for stub in stubs:
        assert reader.alias in words(stub) and "shop.example" in words(stub) and "It is kept" in words(stub)
        assert re.search(r"\b20\d\d-\d\d-\d\d|\b\d\d:\d\d\b", words(stub)), words(stub)
    assert shown(desk, reader.mailbox, *marks) == [] and encrypts(desk, reader)
    held = scenario.world.cli("held", "list", reader.person.name)
    assert [(one["reason"], one["stored"]) for one in held] == [("key_unusable", True)] * 2
    record = "select email_type, status, resent from failed_delivery where account_id = %s"
    assert scenario.sql(record, reader.person.account) == [("F", "5.7.10", False)] * 2
    stored = dump(desk)
    for mark in marks:
        said = f"dear reader, {mark}".encode()
        assert said not in stored and said.hex().encode() not in stored
    desk.gpg.edit(reader.fingerprint, "expire", "0", "key 1", "expire", "0")
    desk.give(reader.mailbox, reader.fingerprint)
    for one, mark in zip(sent, marks, strict=True):
        (copy,) = scenario.copies(one, reader.mailbox)
        content = desk.opened(copy, f"Dear reader, {mark}")
        assert content.endswith(f"Dear reader, {mark}.\r\n".encode())
        scenario.becomes(one.queue_id, [(reader.alias, "delivered", "")])
    idle(scenario)
    assert scenario.world.cli("held", "list", reader.person.name) == []
    assert [len(scenario.notices(reader.mailbox, code)) for code in ("STB", "GKE", "FDN")] == [2, 1, 0]


def test_12_5_156_rubbish_for_a_key_holds_mail_as_well(desk: Desk) -> None:
    reader, mark = desk.reader("--on-failure", "plain", "--never-plaintext"), word()
    desk.scenario.sql("update recipient set public_key = 'rubbish' where account_id = %s", reader.person.account)
    waits(desk, reader.alias, send(desk, reader.alias, mark))
    told(desk.scenario, reader.mailbox, "STB", 1)
    told(desk.scenario, reader.mailbox, "GKE", 1)
    assert shown(desk, reader.mailbox, mark) == [] and encrypts(desk, reader)


def test_6_5_who_shares_an_alias_does_not_wait_and_gets_nothing_twice(desk: Desk) -> None:
    scenario, reader, mark = desk.scenario, desk.expired(), word()
    other = f"ready.{reader.person.account}@inbox2.example"
    alias = scenario.alias(reader.person, reader.mailbox, other)
    sent = send(desk, alias, mark)
    (clear,) = scenario.copies(sent, other)
    assert names(clear, mark) == [mark]
    told(scenario, reader.mailbox, "STB", 1)
    assert shown(desk, reader.mailbox, mark) == []
    desk.give(reader.mailbox, desk.gpg.create(f"New <{reader.mailbox}>", "ed25519 cert,sign", "cv25519"))
    closed, _ = scenario.copies(sent, reader.mailbox, other)
    desk.opened(closed, f"Dear reader, {mark}")
    idle(scenario)
    scenario.copies(sent, reader.mailbox, other)


def test_6_5_somebody_elses_new_key_lets_nothing_out(desk: Desk) -> None:
    scenario, reader, mark = desk.scenario, desk.expired(), word()
    sent = send(desk, reader.alias, mark)
    waits(desk, reader.alias, sent)
    other = f"else.{reader.person.account}@inbox2.example"
    scenario.recipient(reader.person, other)
    desk.give(other, desk.gpg.create(f"<{other}>", "ed25519 cert,sign", "cv25519"))
    idle(scenario)
    assert scenario.copies(sent) == []
    waits(desk, reader.alias, sent)
    assert len(scenario.world.cli("held", "list", reader.person.name)) == 1
    desk.give(reader.mailbox, desk.gpg.create(f"New <{reader.mailbox}>", "ed25519 cert,sign", "cv25519"))
    (copy,) = scenario.copies(sent, reader.mailbox)
    desk.opened(copy, f"Dear reader, {mark}")


# --- what else was chosen ------------------------------------------------------------------------------------------


def test_12_5_157_who_takes_plain_text_gets_it_from_then_on(desk: Desk) -> None:
    scenario, reader = desk.scenario, desk.expired("--on-failure", "plain")
    for _ in range(2):
        mark = word()
        (copy,) = scenario.copies(send(desk, reader.alias, mark), reader.mailbox)
        assert names(copy, mark) == [mark] and not desk.recorded(copy)
        assert not encrypts(desk, reader)
    told(scenario, reader.mailbox, "GKE", 1)
    assert scenario.notices(reader.mailbox, "STB") == []


def test_6_5_who_wants_no_mail_kept_gets_a_stub_alone(desk: Desk) -> None:
    scenario, reader, mark = desk.scenario, desk.expired("--on-failure", "stub"), word()
    sent = send(desk, reader.alias, mark)
    (stub,) = told(scenario, reader.mailbox, "STB", 1)
    assert "It is not kept" in words(stub) and reader.alias in words(stub)
    told(scenario, reader.mailbox, "GKE", 1)
    ((_, outcome, reason),) = scenario.world.outcomes(sent.queue_id)
    assert (outcome, reason) == ("failed", "key_unusable")
    assert scenario.copies(sent) == [] and shown(desk, reader.mailbox, mark) == []
    assert scenario.world.cli("held", "list", reader.person.name) == []
    assert scenario.value("select count(*) from stored_message where account_id = %s", reader.person.account) == 0


# --- what the service itself writes --------------------------------------------------------------------------------


def unsubscribed(desk: Desk, reader: Reader) -> None:
    """Somebody pressed the button of a mail provider, of which its owner is told."""
    now = desk.scenario.value("select extract(epoch from now())::bigint")
    url = links(desk.scenario, now).one_click(Action.DEACTIVATE, desk.scenario.of_alias(reader.alias, "uuid")[0])
    assert Visitor().one_click(url).status == 200


@pytest.mark.parametrize("form", ["on", "hide-subject"])
def test_8_4_a_notification_is_encrypted(desk: Desk, form: str) -> None:
    scenario, reader = desk.scenario, desk.reader(form)
    unsubscribed(desk, reader)
    (copy,) = scenario.world.arrived(to=reader.mailbox, containing=b"Feedback-ID: ADUN:mailrelay")
    inside = read(desk.opened(copy, "forwarded to you"))
    text = inside.get_body(("plain",))
    assert text is not None and reader.alias in text.get_content()
    assert (reader.alias.encode() in copy.content) == (form == "on")  # in its subject
    assert desk.recorded(copy)


def test_8_4_a_notification_that_cannot_be_encrypted_says_nothing_to_who_never_wants_plain_text(desk: Desk) -> None:
    scenario, reader = desk.scenario, desk.expired("--never-plaintext")
    unsubscribed(desk, reader)
    (copy,) = scenario.world.arrived(to=reader.mailbox, containing=b"Feedback-ID: ADUN:mailrelay")
    assert names(copy, reader.alias) == []


def test_8_4_a_mailbox_is_asked_to_confirm_itself_in_clear(desk: Desk) -> None:
    scenario, reader = desk.scenario, desk.reader()
    new = f"unsure.{reader.person.account}@inbox2.example"
    scenario.mailboxes.add(new)
    scenario.world.cli("recipient", "add", new, "--account", reader.person.name)
    told(scenario, new, "VR", 1)
    desk.give(new, reader.fingerprint)
    scenario.world.cli("recipient", "resend", new)
    assert all("/u/verify/" in words(notice) for notice in told(scenario, new, "VR", 2))


# --- trouble of ours -----------------------------------------------------------------------------------------------


def test_6_7_without_a_key_of_the_service_mail_waits(desk: Desk) -> None:
    scenario, world, reader, mark = desk.scenario, desk.scenario.world, desk.reader(), word()
    path = world.sandbox.places.secrets / "service.pgp"
    away = path.with_suffix(".away")
    try:
        with world.without_role("lmtp"):
            path.rename(away)
        sent = send(desk, reader.alias, mark)
        deferred = rf" {sent.queue_id}: to=<{reader.alias}>.*dsn=4\.3\.0, status=deferred.*451 4\.3\.0"
        scenario.eventually(
            lambda: re.search(deferred, world.sandbox.postfix.log_text()) is not None, "the message to wait"
        )
        assert world.arrivals(to=reader.mailbox) == []
    finally:
        with world.without_role("lmtp"):
            away.rename(path)
    (copy,) = scenario.copies(sent, reader.mailbox)
    desk.opened(copy, f"Dear reader, {mark}")
    assert scenario.notices(reader.mailbox, "STB") == []


def test_6_1_whatever_is_killed_all_arrives_and_nothing_in_clear(desk: Desk) -> None:
    world, readers = desk.scenario.world, [desk.reader(), desk.reader("hide-subject")]
    marks, accepted = [word() for _ in range(MESSAGES)], list[tuple[Reader, str, Sent]]()

    def post(some: list[str]) -> None:
        for number, mark in enumerate(some):
            reader = readers[number % len(readers)]
            accepted.append((reader, mark, send(desk, reader.alias, mark)))

    with ThreadPoolExecutor(HANDS) as pool:
        hands = [pool.submit(post, marks[first::HANDS]) for first in range(HANDS)]
        for number in range(KILLS):
            enough = (number + 1) * MESSAGES // (KILLS + 1)
            wait_until(lambda enough=enough: len(accepted) >= enough, f"{enough} messages to be accepted")  # type: ignore[misc]
            world.kill("lmtp")
            threading.Event().wait(0.2)
        for hand in hands:
            hand.result()
    world.repair()
    world.settle()
    twice = 0
    for reader, mark, sent in accepted:
        copies = world.arrivals(containing=sent.message_id)
        assert copies and {copy.recipients for copy in copies} == {(reader.mailbox,)}
        assert len({copy.sender for copy in copies}) == 1
        for copy in copies:
            desk.opened(copy, f"Dear reader, {mark}")
        twice += len(copies) - 1
    assert twice <= KILLS * HANDS
