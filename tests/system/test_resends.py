"""What did not arrive is kept whole, read by its owner and sent once more: spec sections 7.6 and 12.6."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from tests.system.letters import from_owner, reverse
from tests.system.returning import (
    nobody_outside_is_told,  # noqa: F401  # a fixture
    of,
    record,
    records,
    spool_files,
    spooled,
    with_another,
)
from tests.system.scenario import (
    NEWS,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.world import Mail
from tools.sandbox.show import Arrived

# What Postfix and the milter put on top of a message before anything is made of it.
_TRACES = ("received", "authentication-results", "x-mailrelay-")


def failed(scenario: Scenario, alias: str, **options: Any) -> Sent:
    """A message whose one copy came back."""
    sent = scenario.send(alias, **options)
    scenario.becomes(sent.queue_id, [(alias, "failed", "bounce")])
    return sent


def large(scenario: Scenario, octets: int) -> Mail:
    lines = "".join(f"line {number} of what Postfix returns only in part\r\n" for number in range(octets // 48))
    return scenario.world.message("Long", lines)


def download(scenario: Scenario, found: dict[str, Any], folder: Path) -> bytes:
    """The stored message, as a file and as a document."""
    file = folder / f"{found['id']}.eml"
    scenario.world.cli("failed", "download", str(found["id"]), str(file))
    content = file.read_bytes()
    document = scenario.world.cli("failed", "download", str(found["id"]))
    assert base64.b64decode(document["content_base64"]) == content
    assert found["size_octets"] == len(content)
    return content


def resend(scenario: Scenario, found: dict[str, Any], *to: str) -> Any:
    options = [word for mailbox in to for word in ("--to", mailbox)]
    return scenario.world.cli("failed", "resend", str(found["id"]), *options)


def resent(scenario: Scenario, sent: Sent, mailbox: str) -> Arrived:
    (copy,) = scenario.copies(sent, mailbox)
    assert header(copy, "X-Mailrelay-Resend") == ["Yes"]
    return copy


# --- what is kept --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [100, 200_000])
def test_7_6_the_message_is_kept_as_it_came(scenario: Scenario, octets: int, tmp_path: Path) -> None:
    """200 000: more than Postfix returns, which sends the header only."""
    person, mailbox, alias = with_another(scenario)
    with scenario.answering("451 4.7.1 greylisted", mailbox):
        sent = scenario.send(alias, mail=large(scenario, octets))
        scenario.eventually(lambda: len(spooled(scenario, sent)) == 1, "the spool file")
        (file,) = spooled(scenario, sent)
        assert file.stat().st_mode & 0o077 == 0
        assert NEWS.encode() not in file.read_bytes() and b"Long" not in file.read_bytes()
    scenario.world.sandbox.postfix.flush()
    scenario.becomes(sent.queue_id, [(alias, "failed", "bounce")])
    found = record(scenario, person)
    assert of(found, "is_stored", "partial", "bounce_type") == (True, False, "hard")
    content = download(scenario, found, tmp_path)
    assert content.endswith(sent.dispatch.content)
    traces = content.removesuffix(sent.dispatch.content).decode()
    names = [line.partition(":")[0].lower() for line in traces.splitlines() if not line.startswith(("\t", " "))]
    assert {"received"} <= set(names), traces
    assert all(name.startswith(_TRACES) for name in names), traces
    assert "x-mailrelay-ingress" not in names
    scenario.eventually(lambda: not file.exists(), "the spool file to go")
    stored = scenario.value("select content from stored_message where account_id = %s", person.account)
    assert NEWS.encode() not in bytes(stored) and sent.message_id not in bytes(stored)


def test_7_6_spool_files_go_when_the_copies_have_arrived(scenario: Scenario) -> None:
    person, mailbox, _ = with_another(scenario, "works")
    alias = scenario.alias(person, mailbox, person.mailbox)
    sent = scenario.send(alias)
    scenario.copies(sent, mailbox, person.mailbox)
    scenario.eventually(lambda: spooled(scenario, sent) == [], "the spool files to go")


def test_7_6_without_the_spool_file_there_is_what_came_back(scenario: Scenario, tmp_path: Path) -> None:
    person, mailbox, alias = with_another(scenario)
    small, big = lost(scenario, alias, mailbox, 100), lost(scenario, alias, mailbox, 200_000)
    cut, found = records(scenario, person, 2)
    assert of(found, "queue_id", "is_stored", "partial", "sender") == (small.queue_id, True, False, NEWS)
    content = download(scenario, found, tmp_path)
    assert content.endswith(small.dispatch.content.partition(b"\r\n\r\n")[2])
    assert b"X-Mailrelay-Id:" in content
    assert of(cut, "queue_id", "is_stored", "partial", "sender") == (big.queue_id, True, True, NEWS)
    assert b"Subject: Long\r\n" in download(scenario, cut, tmp_path)
    assert cut["size_octets"] < 50_000


def lost(scenario: Scenario, alias: str, mailbox: str, octets: int) -> Sent:
    """A message whose spool file is gone when its copy comes back."""
    scenario.sql("update recipient set failing_since = null where address = %s", mailbox)
    with scenario.answering("451 4.7.1 greylisted", mailbox):
        sent = scenario.send(alias, mail=large(scenario, octets))
        scenario.eventually(lambda: len(spooled(scenario, sent)) == 1, "the spool file")
        spooled(scenario, sent)[0].unlink()
    scenario.world.sandbox.postfix.flush()
    scenario.becomes(sent.queue_id, [(alias, "failed", "bounce")])
    return sent


def test_who_wants_nothing_stored_has_the_record(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario, store_failed_deliveries=False)
    before = len(spool_files(scenario))
    with scenario.answering("451 4.7.1 greylisted", mailbox):
        sent = scenario.send(alias)
        waiting = "select remote from outbound where ingress_queue_id = %s"
        scenario.eventually(lambda: "grey" in str(scenario.sql(waiting, sent.queue_id)), "the copy to wait")
        assert len(spool_files(scenario)) == before
    scenario.world.sandbox.postfix.flush()
    scenario.becomes(sent.queue_id, [(alias, "failed", "bounce")])
    found = record(scenario, person)
    assert of(found, "is_stored", "partial", "bounce_type") == (False, False, "hard")
    assert "of which" not in scenario.world.cli_fails("failed", "resend", str(found["id"])).out


# --- once more -----------------------------------------------------------------------------------------------------


def test_12_6_172_resent_to_another_mailbox(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario, banner_location="top")
    sent = failed(scenario, alias, mail=scenario.world.message("An offer", "..dots\r\n From here\r\n\r\n"))
    found = record(scenario, person)
    done = resend(scenario, found, person.mailbox)
    assert of(done, "copies", "returned", "partial") == (1, False, False)
    copy = resent(scenario, sent, person.mailbox)
    assert copy.body == sent.dispatch.content.partition(b"\r\n\r\n")[2]  # nor a banner
    assert scenario.world.signatures(copy)["shop.example/sandbox"] == "valid"
    assert header(copy, "X-Mailrelay-Envelope-To") == [alias]
    assert re.fullmatch(r"b-[a-z2-7]{34}@bounces\.relay\.example", copy.sender)
    assert record(scenario, person)["resent"] is True
    refused = scenario.world.cli_fails("failed", "resend", str(found["id"]), "--to", person.mailbox)
    assert "already been resent" in refused.remarks
    scenario.copies(sent, person.mailbox)
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)
    first, second = scenario.world.cli("trace", sent.queue_id)
    assert of(first, "destination", "outcome", "failed_id") == (mailbox, "failed", found["id"])
    assert of(second, "destination", "outcome", "resend_of") == (person.mailbox, "delivered", found["id"])


def test_7_6_resent_to_whom_the_alias_reaches_now(scenario: Scenario) -> None:
    """200 000 octets, whole."""
    person, _, alias = with_another(scenario)
    sent = failed(scenario, alias, mail=large(scenario, 200_000))
    found = record(scenario, person)
    scenario.world.cli("alias", "set", alias, "--to", person.mailbox)
    assert of(resend(scenario, found), "copies", "returned", "partial") == (1, False, False)
    copy = resent(scenario, sent, person.mailbox)
    assert copy.body == sent.dispatch.content.partition(b"\r\n\r\n")[2]


def test_7_6_a_resend_that_comes_back_is_the_end(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario)
    sent = failed(scenario, alias)
    found = record(scenario, person)
    assert resend(scenario, found, mailbox)["copies"] == 1
    again, first = records(scenario, person, 2)
    assert of(again, "email_type", "destination", "is_stored", "resent") == ("F", mailbox, False, False)
    assert of(first, "id", "is_stored", "resent") == (found["id"], True, True)
    scenario.world.settle()
    assert "only the record is kept" in scenario.world.cli_fails("failed", "resend", str(again["id"])).remarks
    assert scenario.world.arrivals(containing=sent.message_id) == []
    assert scenario.of_alias(alias, "emails_forwarded") == (0,)
    assert spooled(scenario, sent) == []
    copies = "select count(*) from outbound where account_id = %s and email_type = 'F'"
    assert scenario.value(copies, person.account) == 2


def test_7_6_resent_out_of_the_copy_that_came_back(scenario: Scenario) -> None:
    person, mailbox, alias = with_another(scenario)
    sent = lost(scenario, alias, mailbox, 100)
    done = resend(scenario, record(scenario, person), person.mailbox)
    assert of(done, "copies", "returned", "partial") == (1, True, False)
    copy = resent(scenario, sent, person.mailbox)
    assert copy.body == sent.dispatch.content.partition(b"\r\n\r\n")[2]
    assert f"<{reverse(alias, NEWS)}>" in header(copy, "From")[0]


def test_what_cannot_be_resent(scenario: Scenario) -> None:
    """Replies, and to mailboxes that are nobody's or somebody else's."""
    person, _, alias = with_another(scenario)
    failed(scenario, alias)
    found = record(scenario, person)
    stranger = scenario.person()
    unverified = f"unverified.{person.name}@inbox.example"
    scenario.recipient(person, unverified, verified=False)
    for mailbox in (stranger.mailbox, unverified, "nobody@inbox.example"):
        scenario.world.cli_fails("failed", "resend", str(found["id"]), "--to", mailbox)
    to = reverse(scenario.alias(person), f"refuse.{person.name}@shop.example")
    sent = scenario.send(to, sender=person.mailbox, mail=from_owner(person, to))
    scenario.becomes(sent.queue_id, [(to, "failed", "bounce")])
    reply = record(scenario, person, "R")
    assert "only forwards can be resent" in scenario.world.cli_fails("failed", "resend", str(reply["id"])).remarks
    assert resend(scenario, found, person.mailbox)["copies"] == 1


def test_a_deleted_record_takes_its_message_along(scenario: Scenario) -> None:
    person, _, alias = with_another(scenario)
    failed(scenario, alias)
    found = record(scenario, person)
    scenario.world.cli("failed", "delete", str(found["id"]))
    assert records(scenario, person, 0) == []
    assert scenario.value("select count(*) from stored_message where account_id = %s", person.account) == 0
