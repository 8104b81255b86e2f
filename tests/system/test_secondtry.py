"""Row 91 on a real Postfix: an untouched copy is refused for its authentication, and arrives rewritten."""

import pytest

from tests.system.scenario import (
    R2,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
)
from tools.sandbox.show import Arrived


def refused_first(
    scenario: Scenario, address: str, mailbox: str, body: str = "Good morning.\r\n"
) -> tuple[Sent, Arrived]:
    """A message whose untouched copy is refused, and the copy that arrives."""
    sent = scenario.send(address, mail=scenario.world.message(body=body))
    (copy,) = scenario.copies(sent, mailbox)
    scenario.becomes(sent.queue_id, [(address, "failed", "bounce")])
    return sent, copy


def test_12_3_91_a_refused_copy_arrives_rewritten_and_the_third_refusal_marks(scenario: Scenario) -> None:
    mailbox, receiver = "dmarc.person@strict.example", "strict.example"
    address = scenario.alias(scenario.person(mailbox))
    for number in range(1, 4):
        body = f"größer {number}\r\n..dots\r\n From here\r\n\r\nthe end \t\r\n"
        sent, copy = refused_first(scenario, address, mailbox, body)
        assert b"\r\nX-Mailrelay-Mode: rewrite; reason=receiver\r\n" in copy.content
        assert f"\r\nX-Mailrelay-Envelope-To: {address}\r\n".encode() in copy.content
        assert b"news=shop.example@alias.example>\r\n" in copy.content
        assert copy.content.partition(b"\r\n\r\n")[2] == body.encode()
        assert scenario.world.signatures(copy)["alias.example/mr1"] == "valid"
        assert b"\r\nX-Mailrelay-Authentication-Results: mx.relay.example;" in copy.content
        rows = scenario.sql(
            "select o.mode, l.outcome, o.bounce_count, o.bounce_status"
            " from ledger l join outbound o on o.id = l.outbound_id where l.rcpt = %s order by l.id desc limit 2",
            address,
        )
        assert rows == [("rewrite", "delivered", 0, None), ("transparent", "failed", 1, "5.7.26")]
        known = "select cardinality(refused_at), rewrite_only_until > now() + interval '29 days' from receiver_memory"
        assert scenario.sql(f"{known} where receiver = %s", receiver) == [(number, True if number == 3 else None)]
    assert scenario.of_alias(address, "emails_forwarded") == (3,)
    sent = scenario.send(address)
    (copy,) = scenario.copies(sent, mailbox)
    scenario.becomes(sent.queue_id, [(address, "delivered", "")])
    assert b"\r\nX-Mailrelay-Mode: rewrite; reason=receiver\r\n" in copy.content


@pytest.mark.parametrize(
    ("stores", "body"),
    [(False, "Good morning.\r\n"), (True, "too large to come back\r\n" * 3000)],
    ids=["unwanted", "large"],
)
def test_without_the_message_there_is_only_the_record(scenario: Scenario, stores: bool, body: str) -> None:
    mailbox, receiver = f"dmarc.person@strict{stores}.example".lower(), f"strict{stores}.example".lower()
    person = scenario.person(mailbox, store_failed_deliveries=stores)
    address = scenario.alias(person, mailbox, R2)
    sent = scenario.send(address, mail=scenario.world.message(body=body))
    scenario.copies(sent, R2)
    scenario.becomes(sent.queue_id, [(address, "failed", "bounce"), (address, "delivered", "")])
    known = "select cardinality(refused_at) from receiver_memory where receiver = %s"
    scenario.eventually(lambda: scenario.sql(known, receiver) == [(1,)], "the refusal to be noted")
    scenario.world.settle()
    assert scenario.world.arrivals(to=mailbox) == []
