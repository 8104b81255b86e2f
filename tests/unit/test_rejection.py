"""Rejections by Postfix itself, as their owners read them (spec section 7.7)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mailrelay.core.address import Address
from mailrelay.core.chronicle import ir_key
from mailrelay.core.facts import AccountId, AliasId, Reason
from mailrelay.core.ledger import OutboundId
from mailrelay.core.maillog import Delivery, Rejected
from mailrelay.core.rejection import Question, Rejection, Target, question, rejection
from mailrelay.core.watched import CopyNews, news

AT = datetime(2026, 3, 2, 11, 59, 58, tzinfo=UTC)
UNKNOWN = "Address does not exist"
REJECTED = Rejected(
    AT,
    "smtpd",
    "",
    "unknown",
    "192.0.2.9",
    "News@Shop.example",
    "A1+tag@Alias.example",
    "550",
    "5.7.1",
    "Service unavailable; client [192.0.2.9] blocked using zen.rbl.example",
    "reject",
)
TARGET = Target(AccountId(1), AliasId(2), "active", "", False, False)


def asked(rejected: Rejected = REJECTED) -> Question:
    found = question(rejected)
    assert found is not None
    return found


def told(rejected: Rejected = REJECTED, target: Target = TARGET) -> Rejection:
    return rejection(asked(rejected), target, UNKNOWN)


def test_the_extension_is_stripped_and_the_ledger_is_asked_in_its_own_words() -> None:
    assert asked() == Question(
        REJECTED,
        Address("a1", "alias.example"),
        "a1+tag@alias.example",
        "news@shop.example",
        ("shop.example",),
        "192.0.2.9",
    )


@pytest.mark.parametrize("rcpt", ["", "nobody", "+tag@alias.example", "a b@alias.example", "a@-.example", "x" * 300])
def test_what_cannot_be_an_alias_is_not_asked_for(rcpt: str) -> None:
    assert question(replace(REJECTED, rcpt=rcpt)) is None


@pytest.mark.parametrize(
    ("address", "client"),
    [("::ffff:192.0.2.9", "192.0.2.9"), ("2001:DB8::1", "2001:db8::1"), ("fe80::1%eth0", "fe80::1"), ("unknown", None)],
)
def test_a_client_has_one_address(address: str, client: str | None) -> None:
    assert asked(replace(REJECTED, client_address=address)).client == client


@pytest.mark.parametrize("sender", ["", "@", "a@", "a@-bad-", "\ufffd@x", "a@" + "b." * 200])
def test_odd_senders_do_no_harm(sender: str) -> None:
    assert asked(replace(REJECTED, sender=sender)).sender == sender
    assert told(replace(REJECTED, sender=sender)).sender == (sender or "<>")


def test_row_174_the_record() -> None:
    assert told() == Rejection(
        AccountId(1),
        AliasId(2),
        AT,
        "hard",
        "550",
        REJECTED.text,
        "unknown[192.0.2.9]",
        "News@Shop.example",
        "A1+tag@Alias.example",
        ir_key(AccountId(1), AliasId(2), "news@shop.example", "192.0.2.9", "550", AT),
    )


@pytest.mark.parametrize("word", ["alias", "username", "domain"])
def test_row_176_inactive_ones_are_translated(word: str) -> None:
    discarded = replace(
        REJECTED, kind="discard", status="", enhanced="", text=f"<a1@alias.example>: is inactive {word}"
    )
    assert (told(discarded).code, told(discarded).status) == (f"{word} is deactivated", "")


@pytest.mark.parametrize(
    ("target", "code", "reason"),
    [
        (replace(TARGET, blocked=True), "sender is on your block list", Reason.BLOCKED_SENDER),
        (replace(TARGET, state="deleted", blocked=True), "alias was deleted", Reason.ALIAS_DELETED),
        (replace(TARGET, state="inactive"), "alias is deactivated", Reason.ALIAS_INACTIVE),
        (replace(TARGET, off="username"), "username is deactivated", Reason.PARENT_INACTIVE),
        (replace(TARGET, off="domain", state="inactive"), "domain is deactivated", Reason.PARENT_INACTIVE),
    ],
)
def test_what_our_veiled_reply_hides_is_told_and_keyed_as_by_the_ledger(
    target: Target, code: str, reason: Reason
) -> None:
    veiled = replace(REJECTED, text=f"<a1@alias.example>: Recipient address rejected: {UNKNOWN}")
    record = told(veiled, target)
    assert record.code == code
    assert record.key == ir_key(AccountId(1), AliasId(2), "news@shop.example", "192.0.2.9", reason.value, AT)


def test_the_words_of_others_stay_whatever_the_alias() -> None:
    assert told(target=replace(TARGET, state="deleted", blocked=True)).code == REJECTED.text
    veiled = replace(REJECTED, text=f"<a1@alias.example>: Recipient address rejected: {UNKNOWN}")
    assert told(veiled).code == veiled.text


def test_spam_is_told_apart() -> None:
    assert told(replace(REJECTED, text="Spam message rejected by filter")).bounce_type == "spam"


def test_fields_fit_their_columns() -> None:
    long = replace(REJECTED, text="é" * 600, status="5.123.1234567", client_name="h" * 400)
    record = told(long)
    assert record.code == "?" * 500
    assert len(record.status) == 10
    assert len(record.remote_mta) == 300


def test_equal_ones_within_a_minute_have_one_key() -> None:
    keys = {
        told(replace(REJECTED, at=AT - timedelta(seconds=n), rcpt=rcpt)).key for n in (0, 30) for rcpt in ("a1@x.y",)
    }
    assert len(keys) == 1
    assert told(replace(REJECTED, at=AT + timedelta(seconds=2))).key not in keys
    assert told(replace(REJECTED, status="554")).key not in keys


# -- News of copies ------------------------------------------------------------------------------------------------

DELIVERY = Delivery(
    AT,
    "4XyZ12AbCd",
    "Me@inbox.example",
    "",
    "mx.inbox.example[192.0.2.25]:25",
    "5.1.1",
    "bounced",
    "host mx.inbox.example[192.0.2.25] said: 550 5.1.1 <me@INBOX.example>: unknown (in reply to RCPT TO command)",
)


def test_what_the_other_host_said_does_not_name_the_recipient() -> None:
    assert news(OutboundId(7), DELIVERY) == CopyNews(
        OutboundId(7),
        AT,
        ("me@inbox.example",),
        "bounced: host mx.inbox.example[192.0.2.25] said: 550 5.1.1 <[recipient]>: unknown "
        "(in reply to RCPT TO command)",
        False,
    )


def test_who_took_it_is_told() -> None:
    sent = replace(DELIVERY, status="sent", original_rcpt="a.b@inbox.example", text="250 Ok for A.B@inbox.example")
    found = news(OutboundId(7), sent)
    assert (found.sent, found.rcpts) == (True, ("me@inbox.example", "a.b@inbox.example"))
    assert found.remote == "mx.inbox.example[192.0.2.25]:25 said: 250 Ok for [recipient]"


def test_long_words_are_cut() -> None:
    assert len(news(OutboundId(7), replace(DELIVERY, text="x" * 1000)).remote) == 300
