"""Trouble of the milter and of what it asks: mail stays with its sender or goes on, and nothing comes unchecked."""

import os
import signal
import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from tests.system.chaos import children
from tests.system.scenario import (
    NEWS,
    R1,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.system.test_delivery import header
from tests.system.world import World
from tools.sandbox import ports
from tools.sandbox.process import wait_until
from tools.sandbox.sender import Dispatch

A1 = "a1@alias.example"
DOWN = "451 4.7.1 Service unavailable - try again later"

# Nobody signs for them or is in their SPF records: forgers, whose mail would be refused.
_ZONE = """
unasked1 60 IN TXT "v=spf1 -all"
_dmarc.unasked1 60 IN TXT "v=DMARC1; p=reject"
unasked2 60 IN TXT "v=spf1 -all"
_dmarc.unasked2 60 IN TXT "v=DMARC1; p=reject"
"""


def said(dispatch: Dispatch) -> str:
    """The last answer of a transaction."""
    reply = dispatch.data or next(iter(dispatch.recipients), dispatch.sender)
    return f"{reply.code} {reply.text}"


# --- the milter is down --------------------------------------------------------------------------------------------


def test_without_the_milter_mail_stays_with_its_sender_and_arrives_once(scenario: Scenario) -> None:
    """Spec section 0: milter_default_action = tempfail."""
    mail = scenario.world.message()
    with scenario.world.without_role("milter"):
        for rcpt in (A1, "postmaster@alias.example", "unknown@alias.example"):
            assert said(scenario.world.send(NEWS, rcpt, content=mail.content)) == DOWN
        assert scenario.world.arrivals(containing=mail.message_id) == []
    scenario.copies(scenario.send(A1, mail=mail), R1)


def test_a_worker_that_is_killed_while_it_looks_costs_one_try(scenario: Scenario) -> None:
    address = scenario.alias(scenario.u)
    scenario.remember(address)
    mail = scenario.world.message()
    with ThreadPoolExecutor(1) as pool, psycopg.connect(scenario.world.sandbox.dsn) as connection:
        connection.execute("lock table alias in access exclusive mode")
        sending = pool.submit(scenario.world.send, NEWS, address, content=mail.content)
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%%alias%%'"
        scenario.eventually(lambda: scenario.value(waiting) > 0, "a worker to ask for the alias")
        kill_workers(scenario.world)
        assert said(sending.result(30)) == DOWN
    scenario.world.sandbox.wait_healthy("milter")
    scenario.copies(scenario.send(address, mail=mail), R1)
    assert scenario.of_alias(address, "emails_forwarded") == (1,)


def test_a_worker_that_is_killed_between_two_commands_costs_one_try(scenario: Scenario) -> None:
    mail = scenario.world.message()
    with smtplib.SMTP(*scenario.world.sandbox.mailer.smtp, source_address=("127.0.0.11", 0), timeout=60) as session:
        session.ehlo("mx.shop.example")
        assert session.mail(NEWS)[0] == 250
        assert session.rcpt(A1)[0] == 250
        kill_workers(scenario.world)
        try:
            code, _ = session.data(mail.content)
        except smtplib.SMTPDataError as error:
            code = error.smtp_code
        assert code == 451
    scenario.world.sandbox.wait_healthy("milter")
    scenario.copies(scenario.send(A1, mail=mail), R1)


def kill_workers(world: World) -> None:
    """SIGKILL for every process below the milter's first one; returns when others are there."""
    parent = world.sandbox.supervised.pid("milter")
    assert parent is not None
    before = children(parent)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(children(parent)) - set(before)) == len(before), "new workers")


# --- DNS is away ---------------------------------------------------------------------------------------------------


@contextmanager
def without_dns(world: World) -> Iterator[None]:
    """Nobody answers questions about names within the block."""
    world.sandbox.supervised.hold("dns")
    try:
        yield
    finally:
        world.sandbox.supervised.release("dns")
        wait_until(lambda: ports.answers(world.sandbox.memory.ports["dns"]), "the name server to answer")


def test_11_1_without_dns_nobody_is_refused_or_warned_and_forgers_are_when_it_is_back(scenario: Scenario) -> None:
    scenario.world.publish(_ZONE)
    rewriting, untouched = (scenario.person(forward_mode=mode) for mode in ("rewrite", "transparent"))
    rcpts = [scenario.alias(person) for person in (rewriting, untouched)]
    with without_dns(scenario.world):
        sent = scenario.send(*rcpts, sender="a@unasked1.example")
    copies = scenario.copies(sent, rewriting.mailbox, untouched.mailbox)
    for copy in copies:
        assert (header(copy, "Subject"), copy.body) == (["hello"], b"Good morning.\r\n")
        (results,) = header(copy, "X-Mailrelay-Authentication-Results")
        assert "spf=temperror" in results
        assert "dmarc=temperror" in results
    # Nobody knows what would become of it at the receiver, so it is not left untouched (3.2).
    assert header(copies[1], "X-Mailrelay-Mode") == ["rewrite; reason=dmarc"]
    mail = scenario.world.message(sender="a@unasked2.example")
    refused = scenario.refused("a@unasked2.example", A1, mail=mail)
    assert refused == "550 5.7.26 Rejected by the DMARC policy of unasked2.example"
