"""What one bounce changes, and what a second report about the same copy does not."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from mailrelay.core.bounce import BounceType, Failure
from mailrelay.core.bounced import Recorded
from mailrelay.core.facts import AccountId, AliasId, RecipientId
from mailrelay.core.failed import record_uuid, resend_key
from mailrelay.core.held import place
from mailrelay.core.ledger import OutboundId
from mailrelay.core.notices import Code, Notice
from mailrelay.core.sealed import unseal
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database
from mailrelay.store.ledger import signed
from tests.store.bouncing import CONTACT, CONTENT, GONE, HARD, MAILBOX, SOFT, SPAM, VAULT, Desk, bounced, desk_of
from tests.store.world import JOHN, Connection, alias, insert


@pytest.fixture
async def desk(conn: Connection, dsn: str) -> AsyncIterator[Desk]:
    database = Database(dsn, 4, 20.0, "test")
    await database.open()
    yield await desk_of(conn, database)
    await database.close()


# -- Forwards ------------------------------------------------------------------------------------------------------


async def test_12_6_159_a_bounced_forward(desk: Desk) -> None:
    await desk.copy()
    copy = await desk.copy()
    recorded = await desk.store.record(bounced(copy))
    failed = await desk.row("failed_delivery")
    assert recorded == Recorded(True, failed["id"])
    assert failed["uuid"] == record_uuid("bounce", copy.id)
    assert (failed["account_id"], failed["alias_id"], failed["recipient_id"]) == (JOHN, desk.alias_id, JOHN)
    assert (failed["email_type"], failed["bounce_type"], failed["status"]) == ("F", "hard", "5.1.1")
    assert (failed["code"], failed["remote_mta"]) == (GONE.code, "mx.inbox.example")
    assert (failed["outbound_id"], failed["attempted_at"]) == (signed(copy.id), copy.created_at)
    assert (failed["is_stored"], failed["quarantined"], failed["resent"]) == (True, False, False)
    outbound = next(row for row in await desk.rows("outbound") if row["id"] == signed(copy.id))
    assert outbound["bounced_at"] is not None
    assert (outbound["bounce_status"], outbound["bounce_text"]) == ("5.1.1", GONE.code)
    entry = next(row for row in await desk.rows("ledger") if row["outbound_id"] == signed(copy.id))
    assert (entry["outcome"], entry["reason"]) == ("failed", "bounce")
    assert await desk.alias_row() == (1, 0, 0)
    assert await desk.notices() == [Notice(Code.FDN, AccountId(JOHN), data={"failed_id": failed["id"]})]


async def test_what_is_kept_is_sealed_for_its_record(desk: Desk) -> None:
    await desk.bounce()
    failed, stored = await desk.row("failed_delivery"), await desk.row("stored_message")
    found = {
        column: unseal(VAULT, place(name, failed["uuid"]), bytes(row[column]))
        for column, name, row in [
            ("sender", "author", failed),
            ("destination", "destination", failed),
            ("subject", "subject", failed),
            ("content", "content", stored),
            ("evidence", "evidence", stored),
        ]
    }
    assert found == {
        "sender": b"news@shop.example",
        "destination": MAILBOX.encode(),
        "subject": b"shoes",
        "content": CONTENT,
        "evidence": b"v=1",
    }
    assert (stored["kind"], stored["size_octets"], stored["partial"]) == ("failed", len(CONTENT), False)
    assert stored["expires_at"] - stored["created_at"] == timedelta(days=7)
    assert failed["key_id"] == stored["key_id"] == VAULT.key_id


async def test_a_report_that_says_little_is_recorded_as_well(desk: Desk) -> None:
    copy = await desk.copy()
    odd = Failure("", "sm\x00tp; \u00fcber " + "x" * 600, "", "", BounceType.SOFT)
    await desk.store.record(bounced(copy, odd, author="", subject=None, content=None, evidence=b""))
    failed = await desk.row("failed_delivery")
    assert (failed["status"], failed["remote_mta"], failed["subject"]) == (None, "mx.relay.example", None)
    assert failed["code"] == ("sm?tp; ?ber " + "x" * 600)[:500]
    assert unseal(VAULT, place("author", failed["uuid"]), bytes(failed["sender"])) == b"<>"
    assert failed["is_stored"] is False
    assert await desk.rows("stored_message") == []
    assert (await desk.recipient())["hard_failures"] == 0


async def test_12_6_159a_a_bounce_may_come_before_the_copy_is_closed(desk: Desk) -> None:
    await desk.copy()
    opening = desk.opening()
    await desk.ledger.open([opening])
    recorded = await desk.store.record(bounced(await desk.known(opening.outbound_id)))
    assert recorded.first
    await desk.close(opening)
    outcomes = [row["outcome"] for row in await desk.rows("ledger")]
    assert outcomes == ["delivered", "failed"]
    assert await desk.alias_row() == (1, 0, 0)


async def test_12_6_160_a_second_report_is_only_counted(desk: Desk) -> None:
    await desk.copy()
    await desk.copy()
    copy = await desk.copy()
    first = await desk.store.record(bounced(copy))
    changed = ("failed_delivery", "stored_message", "recipient", "alias", "ledger", "rate_window", "job")
    before = [await desk.rows(table) for table in changed]
    for failure in (GONE, SPAM):
        assert await desk.store.record(bounced(copy, failure)) == Recorded(False, first.failed_id)
    assert [await desk.rows(table) for table in changed] == before
    outbound = next(row for row in await desk.rows("outbound") if row["id"] == signed(copy.id))
    assert (outbound["bounce_count"], outbound["bounce_status"]) == (3, "5.1.1")


async def test_reports_that_come_together_make_one_record(desk: Desk) -> None:
    copy = await desk.copy()
    results = await asyncio.gather(*[desk.store.record(bounced(copy)) for _ in range(12)])
    failed = await desk.row("failed_delivery")
    assert sorted(result.first for result in results) == [False] * 11 + [True]
    assert {result.failed_id for result in results} == {failed["id"]}
    assert (await desk.row("outbound"))["bounce_count"] == 12
    assert (await desk.recipient())["hard_failures"] == 1


async def test_3_15_only_the_bounce_of_the_only_copy_counts_back(desk: Desk, conn: Connection) -> None:
    second = await insert(conn, "recipient", account_id=JOHN, address="second@inbox2.example", verified_at="now")
    one = desk.opening()
    two = replace(one, recipient_id=second, outbound_id=OutboundId(77), destination="second@inbox2.example")
    await desk.ledger.open([one, two])
    await desk.close(one, two)
    await desk.store.record(bounced(await desk.known(one.outbound_id)))
    assert await desk.alias_row() == (1, 0, 0)


async def test_counters_do_not_go_below_zero(desk: Desk, conn: Connection) -> None:
    copy = await desk.copy()
    await conn.execute("update alias set emails_forwarded = 0")
    await desk.store.record(bounced(copy))
    assert await desk.alias_row() == (0, 0, 0)


async def test_12_6_164_a_full_mailbox_is_a_soft_failure_and_does_not_fail(desk: Desk) -> None:
    await desk.bounce(SOFT)
    assert (await desk.row("failed_delivery"))["bounce_type"] == "soft"
    recipient = await desk.recipient()
    assert (recipient["hard_failures"], recipient["failing_since"]) == (0, None)


@pytest.mark.parametrize(
    "unwilling", ["store_failed_deliveries = false", "state = 'active'"], ids=["not-wanted", "no-room"]
)
async def test_the_record_stays_where_the_message_cannot(desk: Desk, conn: Connection, unwilling: str) -> None:
    await conn.execute(f"update account set {unwilling}".encode())
    kept = 0 if "store" in unwilling else 3  # so many have room
    results = [await desk.bounce() for _ in range(4)]
    assert [row["is_stored"] for row in await desk.rows("failed_delivery")] == [n < kept for n in range(4)]
    assert len(await desk.rows("stored_message")) == kept
    assert all(result.failed_id is not None for result in results)


async def test_7_6_a_resend_that_bounces_is_not_stored_and_was_never_counted(desk: Desk) -> None:
    await desk.copy()
    copy = await desk.copy()
    await desk.store.record(bounced(copy))
    opening = desk.opening(key=resend_key(record_uuid("bounce", copy.id)))
    await desk.ledger.open([opening])
    await desk.close(opening, counted=False)
    await desk.store.record(bounced(await desk.known(opening.outbound_id)))
    assert [row["is_stored"] for row in await desk.rows("failed_delivery")] == [True, False]
    assert await desk.alias_row() == (1, 0, 0)


async def test_the_operators_copy_is_nobodys(desk: Desk) -> None:
    opening = desk.opening(recipient=-1)
    opening = replace(opening, envelope=replace(opening.envelope, account_id=None, alias_id=None))
    await desk.ledger.open([opening])
    copy = await desk.known(opening.outbound_id)
    assert await desk.store.record(bounced(copy)) == Recorded(True, None)
    assert await desk.store.record(bounced(copy)) == Recorded(False, None)
    assert (await desk.row("ledger"))["outcome"] == "failed"
    assert await desk.rows("failed_delivery") == await desk.rows("rate_window") == []


async def test_a_copy_that_is_recorded_no_more_changes_nothing(desk: Desk, conn: Connection) -> None:
    copy = await desk.copy()
    await conn.execute("delete from outbound")
    assert await desk.store.record(bounced(copy)) == Recorded(False, None)
    assert await desk.rows("failed_delivery") == []


async def test_the_record_outlives_alias_and_recipient(desk: Desk, conn: Connection) -> None:
    second = await insert(conn, "recipient", account_id=JOHN, address="second@inbox2.example", verified_at="now")
    own = AliasId(await alias(conn, "gone@own.example"))
    opening = desk.opening(recipient=second, destination="second@inbox2.example")
    opening = replace(opening, envelope=replace(opening.envelope, alias_id=own))
    await desk.ledger.open([opening])
    await desk.close(opening)
    await conn.execute("delete from recipient where id = %s", (second,))
    await conn.execute("delete from alias where id = %s", (own,))
    recorded = await desk.store.record(bounced(await desk.known(opening.outbound_id)))
    failed = await desk.row("failed_delivery")
    assert (recorded.failed_id, failed["alias_id"], failed["recipient_id"]) == (failed["id"], None, None)


# -- Who is told ---------------------------------------------------------------------------------------------------


async def recipients_told(desk: Desk) -> list[RecipientId | None]:
    return [notice.recipient_id for notice in await desk.notices()]


async def test_8_4_of_a_mailbox_that_fails_another_one_hears(desk: Desk, conn: Connection) -> None:
    second = await insert(conn, "recipient", account_id=JOHN, address="second@inbox2.example", verified_at="now")
    third = await insert(conn, "recipient", account_id=JOHN, address="third@inbox3.example", verified_at="now")
    await conn.execute("update account set default_recipient_id = %s where id = %s", (third, JOHN))
    await desk.bounce(GONE)
    await desk.bounce(GONE, recipient=third, destination="third@inbox3.example")
    await conn.execute("update recipient set failing_since = now(), verified_at = null where id = %s", (second,))
    await desk.bounce(GONE, recipient=third, destination="third@inbox3.example")
    assert await recipients_told(desk) == [third, second, None]


async def test_8_4_of_a_message_that_is_refused_as_spam_its_recipient_hears(desk: Desk, conn: Connection) -> None:
    await insert(conn, "recipient", account_id=JOHN, address="second@inbox2.example", verified_at="now")
    await desk.bounce(SPAM)
    assert await recipients_told(desk) == [JOHN]


@pytest.mark.parametrize(("preference", "told"), [(0, 1), (1, 1), (2, 0), (3, 0)])
async def test_8_4_who_does_not_want_to_hear_does_not(desk: Desk, conn: Connection, preference: int, told: int) -> None:
    await conn.execute("update account set failed_delivery_notification_preference = %s", (preference,))
    await desk.bounce()
    assert len(await desk.notices()) == told


@pytest.mark.parametrize(
    ("notice", "told"),
    [(Code.FDN, 0), (Code.FDN_DIGEST, 0), (Code.VR, 0), (Code.VU, 0), (Code.CNF, 0), (Code.ADUN, 1), (None, 1)],
)
async def test_12_6_166_of_a_notice_that_bounces_there_is_a_record(desk: Desk, notice: Code | None, told: int) -> None:
    await desk.bounce(GONE, EmailType.NOTIFICATION, notice=notice.value if notice else None)
    failed = await desk.row("failed_delivery")
    assert (failed["email_type"], failed["is_stored"]) == (notice.value if notice else "N", False)
    assert len(await desk.notices()) == told
    assert (await desk.alias_row(), (await desk.recipient())["hard_failures"]) == ((0, 0, 0), 0)


# -- Replies and sends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "before"), [(EmailType.REPLY, (0, 1, 0)), (EmailType.SEND, (0, 0, 1))])
async def test_12_6_173_the_bounce_of_a_reply(desk: Desk, kind: EmailType, before: tuple[int, int, int]) -> None:
    copy = await desk.copy(kind)
    assert await desk.alias_row() == before
    recorded = await desk.store.record(bounced(copy, HARD))
    failed = await desk.row("failed_delivery")
    assert (failed["email_type"], failed["recipient_id"]) == (kind.value, JOHN)
    destination = unseal(VAULT, place("destination", failed["uuid"]), bytes(failed["destination"]))
    assert destination == CONTACT.encode()
    assert await desk.alias_row() == (0, 0, 0)
    assert await desk.notices() == [
        Notice(Code.FDN, AccountId(JOHN), RecipientId(JOHN), data={"failed_id": int(recorded.failed_id or 0)})
    ]
    # Nothing is the mailbox' or the alias' fault.
    assert (await desk.recipient())["hard_failures"] == 0
    assert [row["kind"] for row in await desk.rows("rate_window") if "bounce" in row["kind"]] == []


async def test_7_5_a_contact_that_refuses_three_times_gets_nothing_for_a_week(desk: Desk) -> None:
    for _ in range(2):
        await desk.bounce(HARD, EmailType.REPLY)
        assert (await desk.row("contact"))["suppressed_until"] is None
    await desk.bounce(HARD, EmailType.SEND)
    contact, failed = await desk.row("contact"), (await desk.rows("failed_delivery"))[-1]
    assert contact["hard_failures"] == 3
    assert contact["suppressed_until"] == failed["created_at"] + timedelta(days=7)
    assert contact["suppressed_reason"] == HARD.code


async def test_7_5_a_contact_that_is_unknown_gets_nothing_at_once(desk: Desk) -> None:
    await desk.bounce(GONE, EmailType.SEND)
    assert (await desk.row("contact"))["suppressed_until"] is not None


async def test_a_bounce_may_be_faster_than_the_note_about_its_contact(desk: Desk) -> None:
    opening = desk.opening(EmailType.SEND)
    await desk.ledger.open([opening])
    await desk.store.record(bounced(await desk.known(opening.outbound_id), GONE))
    await desk.close(opening)
    contact = await desk.row("contact")
    assert (contact["address"], contact["hard_failures"]) == (CONTACT, 1)
    assert contact["suppressed_until"] is not None


@pytest.mark.parametrize("failure", [SOFT, SPAM])
async def test_other_failures_do_not_speak_against_a_contact(desk: Desk, failure: Failure) -> None:
    for _ in range(4):
        await desk.bounce(failure, EmailType.SEND)
    contact = await desk.row("contact")
    assert (contact["hard_failures"], contact["suppressed_until"]) == (0, None)


async def test_after_a_quiet_week_a_contact_begins_anew(desk: Desk, conn: Connection) -> None:
    await desk.bounce(HARD, EmailType.SEND)
    await desk.bounce(HARD, EmailType.SEND)
    await conn.execute("update failed_delivery set created_at = created_at - interval '7 days'")
    await desk.bounce(HARD, EmailType.SEND)
    contact = await desk.row("contact")
    assert (contact["hard_failures"], contact["suppressed_until"]) == (1, None)


async def test_every_contact_counts_for_itself(desk: Desk) -> None:
    for number in range(3):
        await desk.bounce(HARD, EmailType.SEND, destination=f"c{number}@elsewhere.example")
    assert [row["hard_failures"] for row in await desk.rows("contact")] == [1, 1, 1]
