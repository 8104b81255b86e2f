"""What is made of one entry of the ledger."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args
from uuid import UUID

import pytest

from mailrelay.core.bounce import BounceType
from mailrelay.core.chronicle import Entry, LedgerId, Record, Told, ir_key, near_limit, tell
from mailrelay.core.facts import AccountId, AliasId, Reason, RecipientId
from mailrelay.core.failed import FailedId
from mailrelay.core.ledger import Outcome
from mailrelay.core.notices import Code, Notice
from mailrelay.core.verp import EmailType
from mailrelay.core.webhooks import Event

NOON = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
UUID_A1 = UUID("50c9e585-e7f5-41c4-9016-9014c15454bc")
HOST = "mx.relay.example"
ENTRY = Entry(
    LedgerId(7),
    NOON,
    "refused",
    Reason.ALIAS_DELETED,
    "a1+tag@alias.example",
    "news@shop.example",
    "192.0.2.10",
    account_id=AccountId(1),
    alias_id=AliasId(3),
    alias="a1@alias.example",
    alias_uuid=UUID_A1,
)
COPY = replace(
    ENTRY,
    outcome="failed",
    queue_id="4XyZ12AbCd",
    recipient_id=RecipientId(9),
    kind=EmailType.FORWARD,
    destination="real@inbox.example",
)


def refused(reason: Reason, **more: Any) -> Record | None:
    return tell(replace(ENTRY, reason=reason, **more), HOST).record


def dropped(reason: Reason, **more: Any) -> Record | None:
    return tell(replace(ENTRY, outcome="discarded", reason=reason, **more), HOST).record


def failed(reason: Reason, **more: Any) -> Record | None:
    return tell(replace(COPY, reason=reason, **more), HOST).record


def events(told: Told) -> Mapping[Event, Mapping[str, object]]:
    return {one.event: one.said for one in told.announcements}


# -- The key -------------------------------------------------------------------------------------------------------


def test_the_key_is_what_the_specification_joins() -> None:
    told = b"1|3|news@shop.example|192.0.2.10|alias_deleted|2026-11-20T12:00"
    key = ir_key(AccountId(1), AliasId(3), "news@shop.example", "192.0.2.10", "alias_deleted", NOON)
    assert key == hashlib.sha256(told).hexdigest()


def test_equal_rejections_within_a_minute_are_one() -> None:
    def key(at: datetime, alias: int | None = 3, sender: str = "a@shop.example") -> str:
        return ir_key(AccountId(1), None if alias is None else AliasId(alias), sender, "", "x", at)

    assert key(NOON) == key(NOON + timedelta(seconds=29))
    assert key(NOON) == key(NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    others = {key(NOON + timedelta(seconds=30)), key(NOON, None), key(NOON, sender="b@shop.example")}
    assert len(others | {key(NOON)}) == 4


# -- Rejections ----------------------------------------------------------------------------------------------------


def test_a_rejection_names_client_sender_and_recipient() -> None:
    record = refused(Reason.ALIAS_DELETED)
    assert record == Record(
        "IR",
        BounceType.HARD,
        "550",
        "alias was deleted",
        "unknown[192.0.2.10]",
        "news@shop.example",
        "a1+tag@alias.example",
        ir_key=ir_key(AccountId(1), AliasId(3), "news@shop.example", "192.0.2.10", "alias_deleted", NOON),
    )


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        pytest.param(Reason.BLOCKED_SENDER, "550", "sender is on your block list", id="row-22"),
        pytest.param(Reason.ALIAS_INACTIVE, "550", "alias is deactivated", id="row-16"),
        pytest.param(Reason.PARENT_INACTIVE, "550", "username, domain or handle is deactivated", id="row-26"),
        pytest.param(Reason.HOPS, "554", "the message has passed more than 50 hosts", id="eom-1"),
        pytest.param(Reason.TOO_LARGE, "552", "the message is too large", id="eom-3"),
        pytest.param(Reason.DMARC, "550", "the author could not be authenticated (DMARC)", id="eom-6"),
        pytest.param(Reason.NOT_ALLOWED, "550", "sender is not on the alias' allow-list", id="eom-12"),
    ],
)
def test_owners_read_why(reason: Reason, status: str, code: str) -> None:
    record = refused(reason, behaviour="reject")
    assert record is not None
    assert (record.email_type, record.status, record.code, record.bounce_type) == ("IR", status, code, "hard")


@pytest.mark.parametrize("reason", [Reason.RATE, Reason.NEW_ALIAS_LIMIT, Reason.NULL_SENDER_MULTI, Reason.SUSPENDED])
def test_who_comes_again_is_not_turned_away(reason: Reason) -> None:
    assert refused(reason) is None


@pytest.mark.parametrize("reason", [Reason.ALIAS_INACTIVE, Reason.ALIAS_EXPIRED, Reason.PARENT_INACTIVE])
def test_mail_that_is_put_off_is_no_rejection(reason: Reason) -> None:
    told = tell(replace(ENTRY, reason=reason, behaviour="defer"), HOST)
    assert (told.record, told.announcements) == (None, ())


@pytest.mark.parametrize(("day", "recorded"), [(20, True), (26, True), (27, False), (30, False)])
def test_bandwidth_is_a_rejection_while_the_reset_is_far_away(day: int, recorded: bool) -> None:
    record = refused(Reason.QUOTA, at=NOON.replace(day=day))
    assert (record is not None) is recorded
    assert record is None or (record.status, record.bounce_type) == ("552", BounceType.SOFT)


@pytest.mark.parametrize(
    ("reason", "row"),
    [(Reason.NOT_READY, 18), (Reason.FAILING, 19), (Reason.OWN_DOMAIN, 18), (Reason.BACKSCATTER, 170)],
)
def test_some_are_told_once_a_day_whoever_sends(reason: Reason, row: int) -> None:
    make = dropped if row == 170 else refused
    first, last, next_day = (
        make(reason, at=at, sender=f"{at.hour}@shop.example", client="192.0.2.1")
        for at in (NOON.replace(hour=0), NOON.replace(hour=23), NOON.replace(day=21))
    )
    assert first is not None
    assert last is not None
    assert next_day is not None
    assert first.ir_key == last.ir_key != next_day.ir_key
    assert (first.email_type, first.status) == ("IR", "")


def test_what_the_filter_refuses_is_spam() -> None:
    record = refused(Reason.SPAM)
    assert record is not None
    assert record.bounce_type is BounceType.SPAM


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_nobody_is_told_of_what_is_nobodys(outcome: Outcome) -> None:
    """Mail that is lost is somebody's even before there is an alias, and so is what a rule blocks."""
    without_alias = {Reason.RULE, Reason.WAITED_TOO_LONG}
    for reason in (*Reason, None):
        assert tell(replace(ENTRY, outcome=outcome, reason=reason, account_id=None), HOST).record is None
        stray = tell(replace(ENTRY, outcome=outcome, reason=reason, alias_id=None, alias=None), HOST).record
        assert stray is None or reason in without_alias or outcome == "failed"


# -- Dropped mail --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        pytest.param(Reason.ALIAS_INACTIVE, "", id="176"),
        pytest.param(Reason.ALIAS_DELETED, "5.1.1", id="deleted-meanwhile"),
        pytest.param(Reason.BLOCKED_SENDER, "5.1.1", id="blocked"),
        pytest.param(Reason.DMARC, "5.7.26", id="another-recipient-took-it"),
    ],
)
def test_silence_towards_the_sender_is_no_silence_towards_the_owner(reason: Reason, status: str) -> None:
    record = dropped(reason)
    assert record is not None
    assert (record.email_type, record.status, record.notify) == ("IR", status, False)
    assert record.ir_key is not None


@pytest.mark.parametrize("reason", [Reason.SELF_COPY, Reason.AUTO_REPLY, Reason.BOUNCE_REPORT, Reason.COMPLAINT])
def test_nobody_misses_these(reason: Reason) -> None:
    assert dropped(reason) is None


@pytest.mark.parametrize("reason", [Reason.DMARC, Reason.RULE_QUARANTINE, Reason.LOOP])
def test_what_had_been_held_has_its_record(reason: Reason) -> None:
    told = tell(replace(ENTRY, outcome="discarded", reason=reason, was_held=True), HOST)
    assert (told.record, told.notices, told.announcements) == (None, (), ())


@pytest.mark.parametrize("reason", [Reason.LOOP, Reason.HOPS, Reason.OWN_DOMAIN], ids=["179", "hops", "181"])
def test_a_cycle_is_a_failure_that_its_owner_hears_of_once(reason: Reason) -> None:
    told = tell(replace(ENTRY, outcome="discarded", reason=reason), HOST)
    assert told.record is not None
    assert (told.record.email_type, told.record.status, told.record.ir_key) == ("F", "5.4.6", None)
    assert not told.record.notify  # it would only go round as well
    [notice] = told.notices
    assert (notice.code, notice.account_id, notice.data["alias"]) == (Code.CYC, 1, "a1@alias.example")


def test_who_refuses_a_loop_in_session_ends_it() -> None:
    assert tell(replace(ENTRY, reason=Reason.HOPS), HOST).notices == ()


def test_mail_that_waited_too_long_is_lost_and_told() -> None:
    record = dropped(Reason.WAITED_TOO_LONG)
    assert record is not None
    assert (record.email_type, record.bounce_type, record.status) == ("F", BounceType.SOFT, "4.4.7")
    assert record.notify


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        pytest.param(Reason.NOT_AUTHENTICATED, False, id="b"),
        pytest.param(Reason.SENDING_OFF, False, id="c"),
        pytest.param(Reason.NOT_ATTACHED, False, id="d"),
        pytest.param(Reason.ALIAS_DELETED, True, id="e"),
        pytest.param(Reason.CONTACT_SUPPRESSED, True, id="f"),
        pytest.param(Reason.SENDING_LIMIT, False, id="g"),
    ],
)
def test_a_reply_that_went_nowhere_names_the_contact(reason: Reason, told: bool) -> None:
    record = dropped(reason, came_in=False, rcpt="a1+anna=shop.example@alias.example", sender="real@inbox.example")
    assert record is not None
    assert (record.email_type, record.destination, record.sender) == ("R", "anna@shop.example", "real@inbox.example")
    assert (record.notify, record.ir_key) == (told, None)


# -- Rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "came_in", "kind"), [("refused", True, "F"), ("discarded", True, "F"), ("discarded", False, "R")]
)
def test_a_rules_block_is_inbound_with_a_key_of_its_own(outcome: Outcome, came_in: bool, kind: str) -> None:
    entry = replace(ENTRY, outcome=outcome, came_in=came_in, reason=Reason.RULE, rule="No shoes", alias_id=None)
    entry = replace(entry, alias_id=AliasId(3)) if outcome == "refused" else entry  # else the alias was unmade
    record = tell(entry, HOST).record
    assert record is not None
    assert (record.email_type, record.bounce_type, record.status) == (kind, BounceType.RULE, "5.7.1")
    assert record.code == "one of your rules blocked it: No shoes"
    assert record.ir_key is not None
    assert not record.notify


def test_a_rule_whose_name_cannot_be_told_is_one_all_the_same() -> None:
    record = dropped(Reason.RULE)
    assert record is not None
    assert record.code == "one of your rules blocked it"


# -- Copies --------------------------------------------------------------------------------------------------------


def test_what_postfix_refuses_is_classified_by_its_words() -> None:
    record = failed(Reason.REFUSED_BY_POSTFIX, note="550 5.1.1 <real@inbox.example>: no such user")
    assert record is not None
    assert (record.email_type, record.bounce_type, record.status) == ("F", BounceType.HARD, "5.1.1")
    assert record.code == "smtp; 550 5.1.1 <real@inbox.example>: no such user"
    assert (record.destination, record.remote_mta, record.recipient_id) == ("real@inbox.example", HOST, 9)
    assert record.notify
    assert record.tell is None  # not the mailbox that takes no mail


@pytest.mark.parametrize(
    ("reason", "kind", "status"),
    [(Reason.DESTINATION_BANNED, BounceType.HARD, "5.7.1"), (Reason.EXPIRED_IN_QUEUE, BounceType.SOFT, "4.4.7")],
)
def test_other_ends_of_copies(reason: Reason, kind: BounceType, status: str) -> None:
    record = failed(reason)
    assert record is not None
    assert (record.bounce_type, record.status, record.ir_key) == (kind, status, None)


def test_who_wrote_hears_of_a_reply_that_failed() -> None:
    record = failed(Reason.EXPIRED_IN_QUEUE, kind=EmailType.REPLY, destination="anna@shop.example")
    assert record is not None
    assert (record.email_type, record.destination, record.tell) == ("R", "anna@shop.example", 9)


def test_a_notice_that_failed_makes_no_further_one() -> None:
    record = failed(Reason.EXPIRED_IN_QUEUE, kind=EmailType.NOTIFICATION, notice="NBL", alias_id=None)
    assert record is not None
    assert (record.email_type, record.notify) == ("NBL", False)


def test_bounces_are_recorded_when_they_come() -> None:
    assert failed(Reason.BOUNCE) is None


# -- Notices and events --------------------------------------------------------------------------------------------


def test_quarantined_mail_is_told() -> None:
    entry = replace(ENTRY, outcome="held", reason=Reason.RULE_QUARANTINE)
    assert tell(entry, HOST) == Told(entry)
    told = tell(replace(entry, quarantine=FailedId(4)), HOST)
    assert told.notices == (Notice(Code.FDN, AccountId(1), data={"failed_id": 4}),)


def test_a_copy_that_went_out_is_an_event() -> None:
    said = events(tell(replace(COPY, outcome="delivered", reason=None, recipient_uuid=UUID_A1), HOST))
    assert said == {
        Event.MAIL_FORWARDED: {
            "alias": "a1@alias.example",
            "alias_id": str(UUID_A1),
            "queue_id": "4XyZ12AbCd",
            "message_id": "",
            "at": "2026-11-20T12:00:30+00:00",
            "recipient_id": str(UUID_A1),
            "size_octets": 0,
        }
    }


@pytest.mark.parametrize("kind", [EmailType.REPLY, EmailType.SEND, EmailType.NOTIFICATION])
def test_what_the_owner_writes_is_not_forwarded(kind: EmailType) -> None:
    assert events(tell(replace(COPY, outcome="delivered", reason=None, kind=kind), HOST)) == {}


@pytest.mark.parametrize("outcome", ["refused", "discarded"])
def test_what_the_owner_does_not_want_is_blocked(outcome: Outcome) -> None:
    [(event, said)] = events(tell(replace(ENTRY, outcome=outcome, reason=Reason.BLOCKED_SENDER), HOST)).items()
    assert event is Event.MAIL_BLOCKED
    assert (said["reason"], said["rejected"]) == ("blocked_sender", outcome == "refused")


def test_dmarc_is_nobodys_choice() -> None:
    assert events(tell(replace(ENTRY, reason=Reason.DMARC), HOST)) == {}


def test_a_ban_that_hit_is_the_operators_to_know() -> None:
    entry = replace(ENTRY, reason=Reason.BANNED, account_id=None, alias_id=None, alias=None, alias_uuid=None)
    [one] = tell(entry, HOST).announcements
    assert (one.event, one.account_id) == (Event.BAN_HIT, None)
    assert (one.said["alias"], one.said["client"], one.said["reason"]) == ("a1@alias.example", "192.0.2.10", "banned")


@pytest.mark.parametrize("outcome", get_args(Outcome))
@pytest.mark.parametrize("came_in", [True, False])
def test_no_event_shows_the_real_address(outcome: Outcome, came_in: bool) -> None:
    for reason in Reason:
        told = tell(replace(COPY, outcome=outcome, reason=reason, came_in=came_in), HOST)
        assert "real@inbox.example" not in repr((told.announcements, told.notices))


def test_bandwidth_never_reads_more_than_all() -> None:
    assert near_limit(AccountId(1), 250) == Notice(Code.NBL, AccountId(1), data={"percent": 100})
