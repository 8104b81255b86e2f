"""Trouble of our own: mail waits, nothing is lost, nothing is sent twice, and nobody is refused for good."""

import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.system.scenario import (
    ACCEPTED,
    R1,
    R2,
    UNKNOWN,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
)
from tools.sandbox import ports

A1 = "a1@alias.example"
_AWAY_SECONDS = 9.0


def deferred(scenario: Scenario, sent: Sent, recipients: int = 1) -> None:
    """Wait until Postfix was told to try again for so many recipients."""
    pattern = rf"(?m) {sent.queue_id}: to=<([^>]*)>.*dsn=4\.3\.0, status=deferred"

    def told() -> bool:
        return len(set(re.findall(pattern, scenario.world.sandbox.postfix.log_text()))) >= recipients

    scenario.eventually(told, f"{recipients} recipients of {sent.queue_id} to be put off")


# --- the loopback listener -----------------------------------------------------------------------------------------


def test_without_the_submission_listener_mail_waits_and_goes_out_once(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u, R1, R2)
    with scenario.world.without_submission():
        sent = scenario.send(address, A1)
        deferred(scenario, sent, 2)
        assert scenario.world.arrivals(containing=sent.message_id) == []
        assert {outcome for _, outcome, _ in scenario.world.outcomes(sent.queue_id)} == {"queued"}
        scenario.eventually(lambda: "re-injection" in scenario.world.sandbox.health("lmtp")[1], "the role to complain")
        assert scenario.answer(A1) == ACCEPTED
    scenario.copies(sent, R1, R1, R2)
    scenario.becomes(sent.queue_id, [(address, "delivered", "")] * 2 + [(A1, "delivered", "")])
    assert scenario.of_alias(address, "emails_forwarded") == (1,)


@pytest.mark.parametrize("reply", ["450 4.2.0 not now", "554 5.7.1 no"], ids=["later", "for-a-reason-of-its-own"])
def test_a_listener_that_refuses_one_destination_holds_up_nobody_else(scenario: Scenario, reply: str) -> None:
    address = scenario.alias(scenario.u, R1, R2)
    table = f"inline:{{{{{R2}={reply}}}}}"
    restrictions = f"check_recipient_access {table},permit_mynetworks,reject"
    with scenario.submission_with(f"smtpd_recipient_restrictions = {restrictions}"):
        sent = scenario.send(address, A1)
        deferred(scenario, sent)
        scenario.world.arrived(2, containing=sent.message_id)
    scenario.copies(sent, R1, R1, R2)
    assert scenario.of_alias(address, "emails_forwarded") == (1,)


def test_with_a_full_disk_mail_waits(scenario: Scenario) -> None:
    # Postfix would tell the host's postmaster about each attempt, who may know where mail goes.
    with scenario.submission_with("queue_minfree = 4000000000000000000", "notify_classes ="):
        sent = scenario.send(A1)
        deferred(scenario, sent)
    scenario.copies(sent, R1)


# --- the database --------------------------------------------------------------------------------------------------


def test_without_the_database_mail_waits_and_goes_out_once(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u, R1, R2)
    scenario.remember(address, A1)
    with scenario.world.without_database():
        sent = scenario.send(address, A1)
        deferred(scenario, sent, 2)
    scenario.copies(sent, R1, R1, R2)
    scenario.becomes(sent.queue_id, [(address, "delivered", "")] * 2 + [(A1, "delivered", "")])
    assert scenario.of_alias(address, "emails_forwarded") == (1,)


def test_with_a_database_that_hangs_mail_waits_and_goes_out_once(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u, R1, R2)
    with psycopg.connect(scenario.world.sandbox.dsn) as connection:
        connection.execute("lock table outbound in access exclusive mode")
        sent = scenario.send(address)
        deferred(scenario, sent)
    scenario.copies(sent, R1, R2)
    assert scenario.of_alias(address, "emails_forwarded") == (1,)


def test_a_copy_that_went_out_but_could_not_be_recorded_is_not_repeated(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u, R1, R2)
    scenario.sql(
        "alter table outbound add constraint outbound_test_trouble check (outbound_queue_id is null) not valid"
    )
    try:
        sent = scenario.send(address)
        scenario.world.arrived(2, containing=sent.message_id)
        deferred(scenario, sent)
        assert {outcome for _, outcome, _ in scenario.world.outcomes(sent.queue_id)} == {"queued"}
    finally:
        scenario.sql("alter table outbound drop constraint outbound_test_trouble")
    scenario.copies(sent, R1, R2)
    scenario.becomes(sent.queue_id, [(address, "delivered", "")] * 2)
    assert scenario.of_alias(address, "emails_forwarded") == (1,)


def test_a_restart_while_the_database_is_away_repeats_no_copy_that_went_out(scenario: Scenario) -> None:
    """Only the process that ends knows of them; `_AWAY_SECONDS` is less than it may take for its end."""
    address = scenario.alias(scenario.u, R1, R2)
    world = scenario.world
    with suppress(psycopg.OperationalError), psycopg.connect(world.sandbox.dsn) as connection:
        local = address.partition("@")[0]
        connection.execute("select from alias where local_part = %s for no key update", (local,))
        sent = scenario.send(address)
        world.arrived(2, containing=sent.message_id)
        deferred(scenario, sent)
        with world.without_database():
            ended = world.sandbox.supervised.signal("lmtp", signal.SIGTERM)
            threading.Event().wait(_AWAY_SECONDS)
            assert world.sandbox.supervised.pid("lmtp") == ended
    scenario.copies(sent, R1, R2)
    scenario.becomes(sent.queue_id, [(address, "delivered", "")] * 2)
    assert world.sandbox.supervised.pid("lmtp") != ended


def test_12_1_36_mail_that_was_accepted_waits_at_the_limit(scenario: Scenario) -> None:
    person = scenario.person(messages_per_hour=10)
    address = scenario.alias(person)
    with scenario.world.without_role("lmtp"):
        sent = scenario.send(address)
        scenario.sql(
            "insert into rate_window (account_id, kind, window_start, amount) values (%s, 'message', now(), 10)",
            person.account,
        )
    scenario.eventually(
        lambda: f"{sent.queue_id}: to=<{address}>" in _lines(scenario, "450 4.2.1"), "the limit to be told", 30
    )
    scenario.sql("delete from rate_window where account_id = %s", person.account)
    scenario.copies(sent, person.mailbox)


def _lines(scenario: Scenario, part: str) -> str:
    return "\n".join(line for line in scenario.world.sandbox.postfix.log_text().splitlines() if part in line)


# --- the roles -----------------------------------------------------------------------------------------------------


def test_without_the_policy_role_nobody_is_refused_for_good(scenario: Scenario) -> None:
    # Postfix' smtpd remembers for a while that an address could not be looked up, so these are asked for here only.
    rcpts = [scenario.alias(scenario.u), "in-vain@alias.example"]
    with scenario.world.without_role("policy"):
        assert {reply[:1] for reply in scenario.ask("news@shop.example", *rcpts)} == {"4"}
    scenario.answers(ACCEPTED, scenario.alias(scenario.u))


def test_without_the_lmtp_role_mail_is_accepted_and_waits(scenario: Scenario) -> None:
    with scenario.world.without_role("lmtp"):
        sent = scenario.send(A1)
    scenario.copies(sent, R1)


def test_restarting_the_lmtp_role_under_load_loses_and_repeats_nothing(scenario: Scenario) -> None:
    rcpts = [scenario.alias(scenario.u, R1, R2), A1]
    with scenario.world.without_role("lmtp"):
        mails = [scenario.send(*rcpts) for _ in range(60)]
    before = _outside(scenario)
    for copies in (40, 90, 140):
        _restart_when(scenario, before + copies)
    scenario.world.sandbox.wait_healthy("lmtp")
    scenario.world.settle()
    arrived = scenario.world.arrivals()
    for sent in mails:
        assert sorted(copy.recipients[0] for copy in arrived if sent.message_id in copy.content) == [R1, R1, R2]
    assert scenario.of_alias(rcpts[0], "emails_forwarded") == (len(mails),)


def _outside(scenario: Scenario) -> int:
    return len(list(scenario.world.sandbox.places.outside.glob("[0-9]*.eml")))


def _restart_when(scenario: Scenario, arrived: int) -> None:
    supervised = scenario.world.sandbox.supervised
    scenario.eventually(lambda: _outside(scenario) >= arrived, f"{arrived} messages outside")
    pid = supervised.signal("lmtp", signal.SIGTERM)
    scenario.eventually(lambda: supervised.pid("lmtp") not in (None, pid), "a new process")


# --- strange requests ----------------------------------------------------------------------------------------------

GOOD_POLICY = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=news@shop.example\nrecipient=a1@alias.example\n"
    b"client_address=192.0.2.1\ninstance=1\n\n"
)
GOOD_LOOKUP = b"20:domain alias.example,"
BAD = {
    "policy": [
        b"this is no request\n\n",
        b"request=smtpd_access_policy\nrecipient=\xff\xfe\x00\n\n",
        b"=\n\n",
        b"\n" * 1000,
        b"a" * 200_000,
        b"request=" + b"x=y\n" * 30_000 + b"\n",
        b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=@\n\n",
        b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=" + b"a@" * 2000 + b"\n\n",
        b"request=smtpd_access_policy\nprotocol_st",
    ],
    "socketmap": [
        b"99999999999:domain x,",
        b"-1:,",
        b"0:,",
        b"5:abcdefgh",
        b"7:nomap x,",
        b"3:abc,",
        b"22:domain \xff\xfe\x00lias.example,",
        b"GET / HTTP/1.0\r\n\r\n",
        b"x" * 200_000,
        b"20:domain al",
    ],
    "lmtp": [
        b"GET / HTTP/1.0\r\n\r\n",
        b"\xff\xfe\x00\r\n" * 100,
        b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\nDATA\r\n.\r\nRCPT\r\nMAIL FROM\r\nXFORWARD \xff=\xfe\r\n",
        b"LHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<a1@alias.example>\r\nDATA\r\nhalf a message\r\n",
        b"LHLO " + b"x" * 100_000 + b"\r\n",
    ],
}


def exchange(scenario: Scenario, purpose: str, octets: bytes) -> bytes:
    """What a listener says before it has no more to say, or hangs up."""
    with socket.create_connection(
        ("127.0.0.1", scenario.world.sandbox.memory.ports[purpose]), timeout=20
    ) as connection:
        said = b""
        try:
            connection.sendall(octets)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65_536):
                said += more
        except OSError:
            pass  # it hung up before we were through
        return said


@pytest.mark.parametrize("purpose", BAD)
def test_strange_requests_hurt_nobody_else(scenario: Scenario, purpose: str) -> None:
    role = {"socketmap": "policy"}.get(purpose, purpose)
    before = scenario.world.sandbox.supervised.pid(role)
    with socket.create_connection(
        ("127.0.0.1", scenario.world.sandbox.memory.ports["policy"]), timeout=20
    ) as neighbour:
        for octets in BAD[purpose]:
            said = exchange(scenario, purpose, octets)
            assert not re.search(rb"action=(5(?!01 5\.1\.3)|REJECT|DISCARD)", said)  # but for what is no address
            assert b"Traceback" not in said
        neighbour.sendall(GOOD_POLICY)
        assert neighbour.recv(1000) == b"action=DUNNO\n\n"
    assert exchange(scenario, "policy", GOOD_POLICY) == b"action=DUNNO\n\n"
    assert exchange(scenario, "socketmap", GOOD_LOOKUP) == b"16:OK alias.example,"
    scenario.copies(scenario.send(A1), R1)
    assert scenario.world.sandbox.supervised.pid(role) == before
    assert scenario.world.sandbox.healthy(role)


# --- configuration -------------------------------------------------------------------------------------------------


@contextmanager
def settings(scenario: Scenario) -> Iterator[dict[str, Any]]:
    """The roles' settings, to change; put back in the end."""
    path = scenario.world.sandbox.places.config
    before = path.read_bytes()
    try:
        yield yaml.safe_load(before)
    finally:
        path.write_bytes(before)
        for role in ("policy", "lmtp"):
            hang_up(scenario, role, "serve.reloaded")


def hang_up(scenario: Scenario, role: str, event: str) -> None:
    """SIGHUP; returns when the role has written `event` once more."""
    log = scenario.world.sandbox.places.log / f"{role}.log"
    before = log.read_text().count(event)
    scenario.world.sandbox.supervised.signal(role, signal.SIGHUP)
    scenario.eventually(lambda: log.read_text().count(event) > before, f"{event} of {role}")


def test_a_reload_takes_over_texts_and_keeps_the_old_ones_when_the_file_is_broken(scenario: Scenario) -> None:
    path = scenario.world.sandbox.places.config
    with settings(scenario) as document:
        path.write_text(yaml.safe_dump({**document, "replies": {"UNKNOWN": "Nobody of that name"}}))
        hang_up(scenario, "policy", "serve.reloaded")
        assert scenario.answer("nobody@alias.example") == "550 5.1.1 Nobody of that name"
        for broken in (
            ": [",
            yaml.safe_dump({**document, "replies": {"UNKNOWN": ""}, "policy": {"listen": "nowhere"}}),
        ):
            path.write_text(broken)
            hang_up(scenario, "policy", "serve.reload_refused")
            assert scenario.answer("nobody@alias.example") == "550 5.1.1 Nobody of that name"
    assert scenario.answer("nobody@alias.example") == UNKNOWN


def test_a_message_over_the_limit_is_refused_and_accounted_for(scenario: Scenario) -> None:
    """At delivery, that is: the milter, which refuses it in the session, was not told of the new limit."""
    path = scenario.world.sandbox.places.config
    with settings(scenario) as document:
        document["limits"]["message_octets"] = 65_536
        path.write_text(yaml.safe_dump(document))
        hang_up(scenario, "lmtp", "serve.reloaded")
        # What the milter has measured may have grown by 64 KiB on its way.
        mail = scenario.world.message(body="0123456789\r\n" * 11_000, sender="a@plain.example")
        sent = scenario.send(A1, "off@alias.example", sender="a@plain.example", mail=mail)
        report = scenario.world.arrived(to="a@plain.example", containing=sent.message_id)
        scenario.becomes(sent.queue_id, [(A1, "failed", "too_large"), ("off@alias.example", "failed", "too_large")])
        assert b"552 5.3.4 Message is larger than 65536 bytes" in report[0].content
        small = scenario.send(A1)
        scenario.copies(small, R1)


BROKEN: dict[str, Any] = {
    "service": {"domain": "not a domain", "hostname": "mx.relay.example", "operator": []},
    "database": {"dsn": "host=x password=secret"},
    "policy": {"listen": "127.0.0.1:99999", "cache_entries": -1},
    "submit": {"address": "nowhere"},
    "limits": {"message_octets": "many"},
    "replies": {"UNKNOWN": "", "NOSUCH": "text"},
    "colour": "blue",
}
MISTAKES = [
    "service.domain",
    "service.operator",
    "database.dsn",
    "policy.listen",
    "policy.cache_entries",
    "submit.address",
    "limits.message_octets",
    "replies.UNKNOWN",
    "replies.NOSUCH",
    "colour",
]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(BROKEN))
    return path


def test_every_mistake_is_named_at_once(scenario: Scenario, broken: Path) -> None:
    done = scenario.world.cli_fails("-c", str(broken), "check-config")
    assert done.code == 78
    named = [line.removeprefix(f"{broken}: ").partition(": ")[0] for line in done.remarks.splitlines()]
    assert [mistake for mistake in MISTAKES if mistake not in named] == []
    assert "secret" not in done.out + done.remarks


@pytest.mark.parametrize("fault", ["settings", "secret", "key"])
def test_a_service_with_a_bad_configuration_listens_nowhere(scenario: Scenario, tmp_path: Path, fault: str) -> None:
    places = scenario.world.sandbox.places
    document = yaml.safe_load(places.config.read_text())
    smtp, maps, status = ports.pick(3)
    document["policy"] = {
        name: f"127.0.0.1:{port}"
        for name, port in zip(("listen", "socketmap", "status"), (smtp, maps, status), strict=True)
    }
    if fault == "settings":
        document["lmtp"]["sessions"] = 0
    elif fault == "secret":
        document["secrets"] = str(tmp_path)
    else:
        (tmp_path / "relay.example").mkdir()
        (tmp_path / "relay.example" / "mr1.pem").write_text("no key")
        document["dkim"] = str(tmp_path)
    path = tmp_path / "mailrelay.yaml"
    path.write_text(yaml.safe_dump(document))
    command = Path(scenario.world.sandbox.service("policy").argv[0])
    heard = False
    with subprocess.Popen(
        [command, "-c", path, "serve", "policy", "lmtp"], stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            heard = heard or any(ports.answers(port) for port in (smtp, maps, status))
        assert process.stderr is not None
        remarks = process.stderr.read()
    assert (process.returncode, heard) == (78, False), remarks
    assert str(tmp_path) in remarks
