"""What trace looks for, and the words in which it tells."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mailrelay.cli import show
from mailrelay.core import verp
from mailrelay.core.facts import Reason
from mailrelay.core.failed import FailedId
from mailrelay.core.held import HeldId
from mailrelay.core.ledger import OutboundId, Outcome
from mailrelay.core.trace import Sought, TraceEntry, seek, tell
from mailrelay.core.verp import EmailType, VerpId

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
DELIVERED = TraceEntry(
    id=1,
    at=NOON,
    queue_id="4B3C2A1",
    message_id="<1@shop.example>",
    sender="news@shop.example",
    rcpt="shop@alias.example",
    client_address="192.0.2.7",
    size_octets=4096,
    account="johndoe",
    alias_id=None,
    alias_uuid=None,
    alias="shop@alias.example",
    outcome="delivered",
    reason=None,
    mode="transparent",
    finished_at=NOON,
    outbound_id=OutboundId(0x0123456789ABCDEF),
    email_type="F",
    destination="me@inbox.example",
    outbound_queue_id="9F8E7D6",
    bounced_at=None,
    bounce_status=None,
    bounce_text=None,
    sent_at=None,
    remote=None,
    notice=None,
    held_id=None,
    quarantined=None,
    held_until=None,
    failed_id=None,
    failed_stored=None,
    bounce_type=None,
)
WITHOUT_COPY = replace(
    DELIVERED, outbound_id=None, email_type=None, destination=None, outbound_queue_id=None, mode=None
)


@pytest.mark.parametrize(
    ("text", "sought"),
    [
        ("4B3C2A1", Sought("4B3C2A1", ("<4B3C2A1>", "4B3C2A1"))),
        ("4fXyZ12abcdz8K", Sought("4fXyZ12abcdz8K", ("<4fXyZ12abcdz8K>", "4fXyZ12abcdz8K"))),
        ("<1@Shop.example>", Sought(message_ids=("<1@Shop.example>", "1@Shop.example"))),
        (" Shop@Alias.example ", Sought("", ("<Shop@Alias.example>", "Shop@Alias.example"), "shop@alias.example")),
    ],
)
def test_what_is_looked_for(text: str, sought: Sought) -> None:
    assert seek(text) == sought


def test_a_return_path_leads_to_its_copy() -> None:
    local = verp.encode(VerpId(EmailType.FORWARD, 0xFEDCBA9876543210, 20454), "bounces.relay.example", b"k" * 32)
    assert seek(f"{local.upper()}@bounces.relay.example").outbound_id == 0xFEDCBA9876543210


def test_a_delivered_copy_is_told_from_sender_to_queue() -> None:
    assert tell(DELIVERED) == [
        "<news@shop.example> wrote to shop@alias.example from 192.0.2.7, queue id 4B3C2A1, 4096 octets",
        "alias shop@alias.example of account johndoe",
        "forward to me@inbox.example, transparent, return path 0123456789abcdef",
        "handed to Postfix as 9F8E7D6",
    ]


def test_a_report_of_ours_has_no_return_path() -> None:
    assert tell(replace(DELIVERED, email_type="N", mode="rewrite"))[2:] == [
        "notification to me@inbox.example",
        "handed to Postfix as 9F8E7D6",
    ]


def test_a_bounce_ends_the_story() -> None:
    bounced = replace(
        DELIVERED, outcome="failed", reason="bounce", bounced_at=NOON, bounce_status="5.1.1", bounce_text="no such user"
    )
    assert tell(bounced)[-3:] == [
        "was handed to Postfix as 9F8E7D6",
        "failed: the destination refused the copy",
        "came back as undeliverable 2026-01-02T12:00:00Z: 5.1.1 no such user",
    ]


@pytest.mark.parametrize(
    ("stored", "said"),
    [(True, "whose message is kept"), (False, "of which only the record is kept")],
)
def test_a_bounce_leads_to_its_failed_delivery(stored: bool, said: str) -> None:
    failed = replace(DELIVERED, failed_id=FailedId(9), failed_stored=stored, bounce_type="hard")
    assert tell(failed)[-1] == f"failed delivery 9, hard, {said}"


def test_a_resend_says_so() -> None:
    assert tell(replace(DELIVERED, resend_of=FailedId(9)))[2] == "sent once more, as failed delivery 9 had not arrived"


@pytest.mark.parametrize(
    ("outcome", "sent_at", "bounced_at", "said"),
    [
        ("queued", None, None, "waits"),
        ("failed", None, None, "failed"),
        ("delivered", None, None, "handed to Postfix as 7A"),
        ("delivered", NOON, None, "arrived 2026-01-02T12:00:00Z"),
        ("failed", None, NOON, "came back as undeliverable 2026-01-02T12:00:00Z"),
    ],
)
def test_who_was_told_is_part_of_the_story(
    outcome: Outcome, sent_at: datetime | None, bounced_at: datetime | None, said: str
) -> None:
    failed = replace(
        DELIVERED,
        failed_id=FailedId(9),
        told_to="other@inbox.example",
        told_at=NOON,
        told_outcome=outcome,
        told_queue_id="7A",
        told_sent_at=sent_at,
        told_bounced_at=bounced_at,
    )
    assert tell(failed)[-1] == f"its owner was told by a notification to other@inbox.example: {said}"


def test_the_mail_log_tells_the_end_of_the_story() -> None:
    arrived = replace(DELIVERED, sent_at=NOON, remote="250 2.0.0 Ok: queued as 7A")
    assert tell(arrived)[-1] == "arrived 2026-01-02T12:00:00Z: 250 2.0.0 Ok: queued as 7A"
    waits = replace(DELIVERED, remote="451 4.7.1 greylisted")
    assert tell(waits)[-1] == "has not arrived: 451 4.7.1 greylisted"


def test_a_notification_is_told_with_its_code() -> None:
    assert tell(replace(DELIVERED, email_type="N", notice="FDN"))[2] == "notification FDN to me@inbox.example"


@pytest.mark.parametrize(
    ("outcome", "quarantined", "until", "expected"),
    [
        ("held", True, NOON, "quarantine 7, kept until 2026-01-02T12:00:00Z"),
        ("held", False, None, "held mail 7, of which only the record is kept"),
        ("discarded", True, None, "quarantine 7, of which only the record is kept"),
    ],
)
def test_held_mail_is_told_with_its_number(
    outcome: Outcome, quarantined: bool, until: datetime | None, expected: str
) -> None:
    entry = replace(
        WITHOUT_COPY,
        outcome=outcome,
        reason="dmarc",
        held_id=HeldId(7),
        quarantined=quarantined,
        held_until=until,
    )
    assert tell(entry)[-2:] == [f"{outcome}: the author could not be authenticated (DMARC)", expected]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_told_in_words(reason: Reason) -> None:
    told = tell(replace(WITHOUT_COPY, outcome="refused", reason=reason.value))
    assert told[-1].startswith("refused: ")
    assert " " in told[-1].removeprefix("refused: ")


@pytest.mark.parametrize("outcome", ["refused", "queued", "delivered", "failed", "discarded", "held"])
def test_every_outcome_can_be_told(outcome: Outcome) -> None:
    reason = None if outcome in ("queued", "delivered") else "of_a_newer_release"
    assert tell(replace(WITHOUT_COPY, outcome=outcome, reason=reason))


def test_a_refusal_before_the_queue_says_so() -> None:
    entry = replace(WITHOUT_COPY, queue_id="", sender="", outcome="refused", reason="unknown", alias=None)
    assert tell(entry) == [
        "<> wrote to shop@alias.example from 192.0.2.7, refused before it had a queue id, 4096 octets",
        "refused: address does not exist",
    ]


def test_words_of_strangers_cannot_write_to_the_terminal() -> None:
    assert show.indented(["a", "\x1b[31mred\r\n"], 2) == ["a", "  �[31mred��"]
    assert show.cell("a\x1b]0;title\x07b") == "a�]0;title�b"


def test_times_are_rfc_3339_in_utc() -> None:
    assert show.plain(datetime.fromisoformat("2026-01-02T03:04:05.678+02:00")) == "2026-01-02T01:04:05Z"


def test_columns_are_aligned_and_gaps_show() -> None:
    printed = show.table([replace(DELIVERED, alias=None), replace(DELIVERED, id=1000)], ("id", "alias", "mode"))
    assert printed.splitlines() == [
        "ID    ALIAS               MODE",
        "1     -                   transparent",
        "1000  shop@alias.example  transparent",
    ]
