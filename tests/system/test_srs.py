"""SRS addresses on a real Postfix: what comes back to them, and what does not (spec sections 10.4 and 12.7)."""

import re

import pytest

from mailrelay.core import srs
from mailrelay.core.address import Address, parse_address
from tests.system.scenario import (
    NEWS,
    R1,
    UNKNOWN,
    Scenario,
    provide_scenario,  # noqa: F401  # a fixture
)
from tests.unit.test_leak import occurs

SRS_DOMAIN = "srs.relay.example"


def srs_address(scenario: Scenario, writer: str = NEWS, days_old: int = 0) -> str:
    """As a copy of the writer's mail has it in its envelope, made so many days ago."""
    key = bytes.fromhex((scenario.world.sandbox.places.secrets / "srs.key").read_text().split()[0])
    today = int(scenario.value("select extract(epoch from now())::bigint / 86400"))
    made = srs.forward(parse_address(writer), srs.Scheme(SRS_DOMAIN, (key,)), today - days_old)
    assert isinstance(made, Address)
    return str(made)


def report(to: str, mark: str) -> bytes:
    """What the host of r1 says of a copy that it took and could not deliver."""
    text = f"""\
From: Mail Delivery System <MAILER-DAEMON@inbox.example>
To: {to}
Subject: Undelivered Mail Returned to Sender
Date: Sat, 21 Nov 2026 10:00:00 +0000
Message-ID: <{mark}.report@inbox.example>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

<{R1}>: unknown user
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; inbox.example

Final-Recipient: rfc822; {R1}
Original-Recipient: rfc822;{R1}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <{R1}>: unknown user

--b
Content-Type: text/rfc822-headers

Delivered-To: {R1}
X-Mailrelay-Envelope-To: a1@alias.example
X-Forwarded-To: {R1}
From: {NEWS}
To: a1@alias.example
Subject: order {mark}

--b--
"""
    return text.replace("\n", "\r\n").encode()


def test_12_7_190_a_bounce_reaches_the_writer_without_the_mailbox(scenario: Scenario) -> None:
    to, mark = srs_address(scenario), "row190"
    dispatch = scenario.world.send("", to, content=report(to, mark))
    assert dispatch.accepted, dispatch.recipients
    (arrived,) = scenario.world.arrived(to=NEWS, containing=mark.encode())
    assert arrived.sender == "<>"
    assert not occurs(R1, arrived.content)
    assert b"Final-Recipient: rfc822; a1@alias.example\r\n" in arrived.content
    assert b"Status: 5.1.1\r\n" in arrived.content
    assert scenario.world.signatures(arrived) == {"relay.example/mr1": "valid", "relay.example/mr1e": "valid"}
    scenario.becomes(dispatch.queue_id, [(to.lower(), "delivered", "")])
    kind = "select email_type, destination from outbound where ingress_queue_id = %s"
    assert scenario.sql(kind, dispatch.queue_id) == [("N", NEWS)]


@pytest.mark.parametrize(
    ("sender", "days_old", "expected"),
    [
        pytest.param("", 22, UNKNOWN, id="12.7-189-expired"),
        pytest.param(NEWS, 0, r"550 5\.7\.1 .*", id="12.7-191-mail-with-a-sender"),
    ],
)
def test_an_srs_address_is_no_mailbox(scenario: Scenario, sender: str, days_old: int, expected: str) -> None:
    assert re.fullmatch(expected, scenario.answer(srs_address(scenario, days_old=days_old), sender))
