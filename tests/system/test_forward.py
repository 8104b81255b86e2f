"""Forwarding end to end: the bytes, the return path, several recipients, and bounces from the outside world."""

import re
from dataclasses import dataclass

import pytest

from mailrelay.core import verp
from mailrelay.core.ledger import OutboundId
from mailrelay.store.ledger import signed
from tests.system.scenario import (
    NEWS,
    R1,
    R2,
    SHARED,
    UNKNOWN,
    Scenario,
    Sent,
    provide_scenario,  # noqa: F401  # a fixture
    text_of,
)
from tests.system.world import Mail
from tools.sandbox.show import Arrived

BOUNCES = "bounces.relay.example"
ABOUT = tuple(f"x-mailrelay-{name}" for name in ("mode", "id", "loop", "envelope-to", "envelope-from"))
# Above an untouched message: the submission, our seal and signatures, what we say, the trace of its way in.
ADDED = [
    *("received", "arc-seal", "arc-message-signature", "arc-authentication-results"),
    *("dkim-signature", "dkim-signature", *ABOUT, "x-mailrelay-authentication-results"),
    *("x-forwarded-to", "x-forwarded-for", "received", "authentication-results"),
]


def field_names(header: bytes) -> list[str]:
    """Names of fields from the top, lower case."""
    return [name.decode().lower() for name in re.findall(rb"(?m)^([!-9;-~]+):", header)]


def added_above(copy: Arrived, original: bytes) -> list[str]:
    """Names of the fields above the original, which must be there octet for octet."""
    assert copy.content.endswith(original), copy.content[-len(original) - 200 :]
    return field_names(copy.content[: -len(original)])


def verp_key(scenario: Scenario) -> bytes:
    return bytes.fromhex((scenario.world.sandbox.places.secrets / "verp.key").read_text().split()[0])


def today(scenario: Scenario) -> int:
    return int(scenario.value("select extract(epoch from now())::bigint / 86400"))


def outbound_id(scenario: Scenario, copy: Arrived) -> int:
    """What the copy's return path says, as the database has it."""
    local, _, domain = copy.sender.partition("@")
    assert domain == BOUNCES
    found = verp.decode(local, domain, [verp_key(scenario)], today(scenario))
    assert isinstance(found, verp.VerpId)
    assert found.type is verp.EmailType.FORWARD
    return signed(OutboundId(found.outbound_id))


# --- the bytes -----------------------------------------------------------------------------------------------------


def test_a_signed_message_arrives_octet_for_octet_and_signed_by_both(scenario: Scenario) -> None:
    sent = scenario.send("a1@alias.example")
    (copy,) = scenario.copies(sent, R1)
    assert added_above(copy, sent.dispatch.content) == ADDED
    assert scenario.world.signatures(copy) == {
        "shop.example/sandbox": "valid",
        "relay.example/mr1": "valid",
        "relay.example/mr1e": "valid",
    }


def test_a_signature_over_8_bit_text_survives(scenario: Scenario) -> None:
    mail = scenario.world.message(body="Größe: ☃\r\n" * 3)
    content = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" + mail.content
    sent = scenario.send("a1@alias.example", mail=Mail(content, mail.message_id))
    (copy,) = scenario.copies(sent, R1)
    assert scenario.world.signatures(copy)["shop.example/sandbox"] == "valid"


def test_five_megabytes_pass(scenario: Scenario) -> None:
    mail = scenario.world.message(body="0123456789abcdef" * 4 + "\r\n")
    sent = scenario.send("a1@alias.example", mail=Mail(mail.content * 1 + mail.content[-66:] * 80_000, mail.message_id))
    assert len(sent.dispatch.content) > 5_000_000
    (copy,) = scenario.copies(sent, R1)
    assert added_above(copy, sent.dispatch.content) == ADDED
    assert set(scenario.world.signatures(copy).values()) == {"valid"}


def test_traces_of_deliveries_and_forged_fields_of_ours_go(scenario: Scenario) -> None:
    mail = scenario.world.message(sender="a@plain.example")
    gone = (
        b"Bcc: hidden@shop.example\r\nReturn-Path: <x@plain.example>\r\nX-Original-To: y@plain.example\r\n"
        b"Envelope-To: y@plain.example\r\nX-Envelope-To: y@plain.example\r\nApparently-To: y@plain.example\r\n"
        b"X-Mailrelay-Id: 0123456789abcdef\r\nx-mailrelay-mode: rewrite\r\nX-Mailrelay-Ingress: v=1; mac=00\r\n"
        b"Authentication-Results: mx.relay.example; dmarc=pass\r\n"
    )
    kept = b"Delivered-To: z@plain.example\r\nX-Spam-Flag: NO\r\nAuthentication-Results: x.example; none\r\n"
    sent = scenario.send(
        "a1@alias.example", sender="a@plain.example", mail=Mail(gone + kept + mail.content, mail.message_id)
    )
    (copy,) = scenario.copies(sent, R1)
    assert added_above(copy, kept + mail.content) == ADDED
    assert b"hidden@shop.example" not in copy.content


def test_the_null_sender_becomes_a_return_path_of_ours(scenario: Scenario) -> None:
    mail = scenario.signed(scenario.world.message(sender="MAILER-DAEMON@shop.example"))
    sent = scenario.send("a1@alias.example", sender="", mail=mail)
    (copy,) = scenario.copies(sent, R1)
    assert copy.content.endswith(mail.content)
    assert copy.sender.endswith(f"@{BOUNCES}")
    assert b"\r\nAuto-Submitted: auto-replied\r\n" in copy.content
    assert b"\r\nX-Mailrelay-Envelope-From: <>\r\n" in copy.content
    assert set(scenario.world.signatures(copy).values()) == {"valid"}


def test_a_non_ascii_sender(scenario: Scenario) -> None:
    mail = scenario.world.message(sender="müller@shop.example")
    sent = scenario.send("a1@alias.example", sender="müller@shop.example", mail=mail)
    (copy,) = scenario.copies(sent, R1)
    assert added_above(copy, sent.dispatch.content) == ADDED
    assert scenario.sql("select distinct sender from ledger where queue_id = %s", sent.queue_id) == [
        ("müller@shop.example",)
    ]


def test_12_6_170_a_bounce_of_mail_that_was_never_sent_from_here_ends_here(scenario: Scenario) -> None:
    mail = scenario.world.message(sender="MAILER-DAEMON@shop.example")
    content = b'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n' + mail.content
    sent = scenario.send("a1@alias.example", sender="", mail=scenario.signed(Mail(content, mail.message_id)))
    scenario.copies(sent)
    scenario.becomes(sent.queue_id, [("a1@alias.example", "discarded", "backscatter")])


# --- the return path -----------------------------------------------------------------------------------------------


def test_every_copy_has_a_return_path_of_its_own_that_leads_to_its_record(scenario: Scenario) -> None:
    sent = scenario.send("both@alias.example", "a1@alias.example")
    copies = scenario.copies(sent, R1, R1, R2)
    ids = [outbound_id(scenario, copy) for copy in copies]
    assert len(set(ids)) == 3
    rows = scenario.sql(
        "select destination, email_type, mode, ingress_queue_id, outbound_queue_id is not null, bounced_at"
        " from outbound where id = any(%s) order by destination",
        ids,
    )
    assert rows == [(box, "F", "transparent", sent.queue_id, True, None) for box in (R1, R1, R2)]
    shown = {re.findall(rb"(?m)^X-Mailrelay-Id: ([0-9a-f]{16})\r$", copy.content)[0] for copy in copies}
    assert shown == {b"%016x" % (number % (1 << 64)) for number in ids}


def test_each_recipient_sees_only_its_own_address(scenario: Scenario) -> None:
    boxes = [f"{name}@inbox.example" for name in ("anna", "bert", "cleo")]
    sent = scenario.send(scenario.alias(scenario.person(), *boxes))
    for box, copy in zip(boxes, scenario.copies(sent, *boxes), strict=True):
        assert f"\r\nX-Forwarded-To: {box}\r\n".encode() in copy.content
        assert not [other for other in boxes if other != box and other.encode() in copy.content]


def test_a_recipient_named_twice_gets_one_copy_for_each_address_of_ours(scenario: Scenario) -> None:
    sent = scenario.send("a1@alias.example", "A1@alias.example", "a1+tag@alias.example")
    scenario.copies(sent, R1, R1)
    scenario.becomes(sent.queue_id, [("a1@alias.example", "delivered", ""), ("a1+tag@alias.example", "delivered", "")])


# --- five recipients -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Five:
    """Aliases of five people, of whom the third has bad luck."""

    rcpts: tuple[str, ...]
    boxes: tuple[str, ...]

    @property
    def lucky(self) -> tuple[str, ...]:
        return self.boxes[:2] + self.boxes[3:]


def five(scenario: Scenario) -> Five:
    people = [scenario.person() for _ in range(5)]
    return Five(tuple(scenario.alias(each) for each in people), tuple(each.mailbox for each in people))


def test_a_destination_that_postfix_refuses_for_good_leaves_four_delivered(scenario: Scenario) -> None:
    group = five(scenario)
    scenario.sql("update recipient set address = 'no>good@inbox.example' where address = %s", group.boxes[2])
    sent = scenario.send(*group.rcpts)
    scenario.copies(sent, *group.lucky)
    expected = [(rcpt, "delivered", "") for rcpt in group.rcpts if rcpt != group.rcpts[2]]
    scenario.becomes(sent.queue_id, [*expected, (group.rcpts[2], "failed", "refused_by_postfix")])


def test_a_recipient_in_trouble_waits_while_four_are_delivered(scenario: Scenario) -> None:
    group = five(scenario)
    owner = scenario.person()
    domain = scenario.domain(owner, catch_all=True)
    rcpts = (*group.rcpts[:2], f"cursed@{domain}", *group.rcpts[3:])
    scenario.sql("alter table alias add constraint alias_test_trouble check (local_part <> 'cursed')")
    try:
        sent = scenario.send(*rcpts)
        scenario.world.arrived(4, containing=sent.message_id)
        scenario.eventually(
            lambda: f"to=<cursed@{domain}>" in _deferred(scenario, sent), "the fifth to be put off", seconds=30
        )
    finally:
        scenario.sql("alter table alias drop constraint alias_test_trouble")
    scenario.copies(sent, *group.lucky, owner.mailbox)


def test_a_mailbox_of_a_form_that_we_refuse_elsewhere_does_not_harm_the_others(scenario: Scenario) -> None:
    group = five(scenario)
    scenario.sql("update recipient set address = 'a..b@inbox.example' where address = %s", group.boxes[2])
    sent = scenario.send(*group.rcpts)
    scenario.copies(sent, *group.lucky, "a..b@inbox.example")


def _deferred(scenario: Scenario, sent: Sent) -> str:
    lines = scenario.world.sandbox.postfix.log_text().splitlines()
    return "\n".join(line for line in lines if f"{sent.queue_id}: " in line and "status=deferred" in line)


# --- bounces from the outside --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status"), [("refuse", "5.1.1"), ("spam", "5.7.1")], ids=["refused-at-rcpt", "refused-after-data"]
)
def test_a_bounce_is_recorded_on_its_copy_and_told_to_its_owner_alone(
    scenario: Scenario, name: str, status: str
) -> None:
    box = f"{name}.bounced@inbox.example"
    address = scenario.alias(scenario.u, box, R2)
    sent = scenario.send(address)
    scenario.copies(sent, R2)
    scenario.becomes(sent.queue_id, [(address, "failed", "bounce"), (address, "delivered", "")])
    ((number, bounced, stored, text, count),) = scenario.sql(
        "select id, bounced_at is not null, bounce_status, bounce_text, bounce_count from outbound"
        " where ingress_queue_id = %s and destination = %s",
        sent.queue_id,
        box,
    )
    assert (bounced, stored, count) == (True, status, 1)
    assert status in text
    path = verp.VerpId(verp.EmailType.FORWARD, number % (1 << 64), today(scenario))
    reports = "select outcome, reason, sender from ledger where rcpt = %s"
    returned = f"{verp.encode(path, BOUNCES, verp_key(scenario))}@{BOUNCES}"
    assert scenario.sql(reports, returned) == [("discarded", "bounce_report", "")]
    assert scenario.world.arrivals(to=NEWS) == []
    if name == "refuse":
        assert status in text_of(scenario.notice(R1, "FDN", address))
    else:  # who takes mail for spam is told itself; here it refuses that as well
        told = "select count(*) from outbound where notice = 'FDN' and destination = %s and bounced_at is not null"
        scenario.eventually(lambda: scenario.value(told, box) == 1, "the notification")


def test_mail_for_a_destination_that_is_not_ready_stays_queued(scenario: Scenario) -> None:
    box = "later.queued@inbox.example"
    sent = scenario.send(scenario.alias(scenario.u, box, R2))
    scenario.world.arrived(containing=sent.message_id)
    scenario.eventually(lambda: f"to=<{box}>" in _later(scenario, box), "the first attempt")
    scenario.eventually(lambda: scenario.world.sandbox.postfix.queued() > 0, "Postfix to keep it")
    outcomes = "select array_agg(outcome) from ledger where queue_id = %s"
    # Handed over: from here on it is Postfix' own queue.
    scenario.eventually(lambda: scenario.value(outcomes, sent.queue_id) == ["delivered"] * 2, "the outcomes")
    scenario.drop_mail(box)
    scenario.copies(sent, R2)


def _later(scenario: Scenario, box: str) -> str:
    lines = scenario.world.sandbox.postfix.log_text().splitlines()
    return "\n".join(line for line in lines if box in line and "status=deferred" in line)


def test_mail_to_a_return_path_goes_no_further(scenario: Scenario) -> None:
    sent = scenario.send("a1@alias.example")
    (copy,) = scenario.copies(sent, R1)
    for path in (copy.sender, copy.sender.upper()):
        stray = scenario.send(path, sender="a@plain.example")
        scenario.becomes(stray.queue_id, [(copy.sender, "discarded", "return_path_mail")])
        scenario.copies(stray)
    assert scenario.world.outcomes(sent.queue_id) == [("a1@alias.example", "delivered", "")]


def test_a_return_path_without_record_or_too_old_is_unknown(scenario: Scenario) -> None:
    (copy,) = scenario.copies(scenario.send("a1@alias.example"), R1)
    scenario.sql("delete from outbound where id = %s", outbound_id(scenario, copy))
    (other,) = scenario.copies(scenario.send("a1@alias.example"), R1)
    number = outbound_id(scenario, other) % (1 << 64)
    old = verp.encode(verp.VerpId(verp.EmailType.FORWARD, number, today(scenario) - 11), BOUNCES, verp_key(scenario))
    assert scenario.ask("", copy.sender) == [UNKNOWN]
    assert scenario.ask("", f"{old}@{BOUNCES}") == [UNKNOWN]
    assert scenario.ask("", other.sender) == ["250"]


# --- recipients that are ours --------------------------------------------------------------------------------------


def test_12_6_181_a_recipient_at_a_domain_of_ours_is_skipped(scenario: Scenario) -> None:
    person = scenario.person()
    address = scenario.alias(person, "moved@hosted.example", "stayed@inbox.example")
    scenario.copies(scenario.send(address), "moved@hosted.example", "stayed@inbox.example")
    scenario.domain(scenario.u, name="hosted.example", catch_all=True)
    sent = scenario.send(address)
    scenario.copies(sent, "stayed@inbox.example")
    assert not scenario.alias_exists("moved@hosted.example")


def test_12_6_181_mail_waits_while_every_recipient_is_at_a_domain_of_ours(scenario: Scenario) -> None:
    """Aliases that lead to aliases: round and round it would go. They do so since the mail was accepted."""
    one, other = f"round1@{SHARED}", f"round2@{SHARED}"
    first = scenario.person()
    scenario.alias(first, local_part="round1")
    scenario.alias(scenario.person(one), local_part="round2")
    with scenario.world.without_role("lmtp"):
        sent = scenario.send(one)
        scenario.sql("update recipient set address = %s where account_id = %s", other, first.account)
    scenario.eventually(lambda: "450 4.2.1" in _deferred(scenario, sent), "the mail to be put off", seconds=30)
    assert scenario.world.arrivals(containing=sent.message_id) == []
    scenario.sql("update recipient set address = 'way.out@inbox.example' where account_id = %s", first.account)
    scenario.copies(sent, "way.out@inbox.example")
    scenario.mailboxes -= {one, other}
