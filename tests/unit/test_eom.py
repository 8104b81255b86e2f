"""The decision at end of message: rows of spec section 2.3, and of section 12.2 as far as it decides them."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from mailrelay.core import loop
from mailrelay.core.address import parse_address
from mailrelay.core.eom import (
    Content,
    Fate,
    Pass,
    Preferences,
    Rcpt,
    Refuse,
    act,
    decide,
    needs_preferences,
    unanimous,
)
from mailrelay.core.facts import Alias, AliasId, BlockedSenderId, Reason
from mailrelay.core.findings import Dmarc, Findings, Policy, Result
from mailrelay.core.judge import Deny, Drop
from mailrelay.core.reply import Replies, Reply

REPLIES = Replies()
LIMIT = 1000
KEYS = (bytes(range(32)), bytes(32))
ALIAS = Alias(
    AliasId(7),
    UUID("50c9e585-e7f5-41c4-9016-9014c15454bc"),
    "active",
    None,
    None,
    None,
    None,
    0,
    sender_allow_list=None,
)
OTHER = UUID(int=5)
PERSON = Rcpt("person", alias=ALIAS)
NEWS = parse_address("news@shop.example")
GOOD = Content(3, 500, has_stray_newline=False, from_problem=False, loop_marks=())


def findings(result: Result = "fail", policy: Policy = "reject") -> Findings:
    return Findings(dmarc=Dmarc(result, "shop.example", has_record=True, published=policy, policy=policy))


def message(**values: Any) -> Content:
    return replace(GOOD, **values)


def fate(content: Content = GOOD, rcpt: Rcpt = PERSON, sender: str = "bounce@shop.example") -> Fate:
    return decide(content, rcpt, NEWS, sender, KEYS, LIMIT, REPLIES)


def said(one: Fate) -> str:
    return str(one.reply) if isinstance(one, Refuse) else "passes"


def test_a_good_message_passes_unmarked() -> None:
    assert fate() == Pass("none")


# --- what the message is like --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected", "reason"),
    [
        pytest.param(message(hops=51), "554 5.4.6 Routing loop detected", Reason.HOPS, id="2.3-1-12.2-57-hops"),
        pytest.param(
            message(size_octets=1001), "552 5.3.4 Message is larger than 1000 bytes", Reason.TOO_LARGE, id="2.3-3-size"
        ),
        pytest.param(
            message(has_stray_newline=True), "550 5.6.0 Bare CR or LF in the message", Reason.BARE_NEWLINE, id="2.3-4"
        ),
        pytest.param(
            message(from_problem=True),
            "550 5.6.0 A single valid From address is required",
            Reason.BAD_FROM,
            id="2.3-5-12.2-54-from",
        ),
        pytest.param(
            message(findings=findings()),
            "550 5.7.26 Rejected by the DMARC policy of shop.example",
            Reason.DMARC,
            id="2.3-6-12.2-46-dmarc",
        ),
        pytest.param(message(spam="reject"), "550 5.7.1 Message content rejected", Reason.SPAM, id="2.3-9-spam"),
    ],
)
def test_a_message_is_refused(content: Content, expected: str, reason: Reason) -> None:
    refusal = fate(content)
    assert isinstance(refusal, Refuse)
    assert (said(refusal), refusal.reason) == (expected, reason)


@pytest.mark.parametrize("values", [{"hops": 50}, {"size_octets": 1000}])
def test_a_limit_itself_is_no_excess(values: dict[str, int]) -> None:
    assert fate(message(**values)) == Pass()


@pytest.mark.parametrize(
    ("content", "preferences", "expected"),
    [
        pytest.param(findings("fail", "reject"), Preferences("quarantine"), "quarantine", id="2.3-6-12.2-47"),
        pytest.param(findings("fail", "quarantine"), Preferences(), "quarantine", id="2.3-7"),
        pytest.param(findings("fail", "quarantine"), Preferences(stores_failed=False), "tag", id="2.3-7-12.2-48"),
        pytest.param(findings("fail", "none"), Preferences(), "tag", id="2.3-8-12.2-49"),
        pytest.param(findings("pass", "reject"), Preferences(), "none", id="pass"),
        pytest.param(findings("temperror", "reject"), Preferences(), "none", id="11.1-temperror"),
        pytest.param(findings("permerror", "reject"), Preferences(), "none", id="permerror"),
        pytest.param(findings("none", "none"), Preferences(), "none", id="no-record"),
    ],
)
def test_dmarc_leaves_a_mark(content: Findings, preferences: Preferences, expected: str) -> None:
    assert fate(message(findings=content), replace(PERSON, preferences=preferences)) == Pass(expected)  # type: ignore[arg-type]


def test_who_keeps_no_failed_deliveries_has_no_quarantine() -> None:
    asked = replace(PERSON, preferences=Preferences("quarantine", stores_failed=False))
    assert said(fate(message(findings=findings()), asked)).startswith("550 5.7.26")


@pytest.mark.parametrize("excuse", [{"exempt": True}, pytest.param({"arc_override": True}, id="11.3-12.2-50")])
@pytest.mark.parametrize("policy", ["none", "quarantine", "reject"])
def test_an_excuse_leaves_neither_refusal_nor_mark(excuse: dict[str, bool], policy: Policy) -> None:
    assert fate(message(findings=findings("fail", policy), **excuse)) == Pass("none")


def test_2_3_10_a_score_between_the_thresholds_marks() -> None:
    assert fate(message(spam="tag")) == Pass("tag")


def test_the_stronger_of_two_marks_stays() -> None:
    assert fate(message(spam="tag", findings=findings("fail", "quarantine"))) == Pass("quarantine")


def test_the_header_tells_of_a_refused_message_that_somebody_else_takes() -> None:
    assert act(message(findings=findings()), Preferences()) == "quarantine"
    assert act(message(spam="reject"), Preferences()) == "quarantine"


# --- the order of rows ---------------------------------------------------------------------------------------------

WORST = message(
    hops=99, size_octets=9999, has_stray_newline=True, from_problem=True, findings=findings(), spam="reject"
)


def test_the_first_row_that_applies_gives_the_reply() -> None:
    content, heard = WORST, []
    for cure in ({"hops": 1}, {"size_octets": 1}, {"has_stray_newline": False}, {"from_problem": False}):
        heard.append(said(fate(content)))
        content = replace(content, **cure)
    heard.append(said(fate(content)))
    heard.append(said(fate(replace(content, findings=Findings()))))
    assert [reply.split()[1] for reply in heard] == ["5.4.6", "5.3.4", "5.6.0", "5.6.0", "5.7.26", "5.7.1"]


def test_the_message_is_judged_before_the_alias() -> None:
    blocked = replace(PERSON, verdict=Deny("UNKNOWN", Reason.BLOCKED_SENDER))
    assert said(fate(message(findings=findings()), blocked)).startswith("550 5.7.26")


# --- loops ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_2_3_2_a_loop_through_this_alias_is_for_delivery_to_end(key: bytes) -> None:
    marks = (b" " + loop.mark(ALIAS.uuid, key).encode(),)
    assert fate(message(loop_marks=marks, findings=findings(), from_problem=True)) == Pass()


def test_2_3_2_the_mark_of_another_alias_excuses_nothing() -> None:
    marks = (loop.mark(OTHER, KEYS[0]).encode(),)
    assert isinstance(fate(message(loop_marks=marks, findings=findings())), Refuse)


def test_2_3_1_too_many_hops_end_in_the_session_whatever_the_marks() -> None:
    marks = (loop.mark(ALIAS.uuid, KEYS[0]).encode(),)
    assert said(fate(message(loop_marks=marks, hops=51))).startswith("554")


# --- recipients ----------------------------------------------------------------------------------------------------


def test_2_3_11_a_blocked_author_hears_what_strangers_hear() -> None:
    blocked = Deny("UNKNOWN", Reason.BLOCKED_SENDER, BlockedSenderId(3))
    refusal = fate(rcpt=replace(PERSON, verdict=blocked))
    assert refusal == Refuse(REPLIES["UNKNOWN"], Reason.BLOCKED_SENDER, BlockedSenderId(3))


def test_what_is_switched_off_quietly_is_for_delivery_to_drop() -> None:
    assert fate(rcpt=replace(PERSON, verdict=Drop(Reason.ALIAS_INACTIVE))) == Pass()


def test_a_limit_that_was_reached_meanwhile_defers() -> None:
    assert said(fate(rcpt=replace(PERSON, verdict=Deny("RATE", Reason.RATE)))).startswith("450 4.2.1")


@pytest.mark.parametrize(
    ("entries", "allowed"),
    [
        (None, True),
        ((), False),
        (("news@shop.example",), True),
        (("shop.example",), True),
        (("example",), True),
        (("other@shop.example", "bank.example"), False),
        (("hop.example",), False),
    ],
)
def test_2_3_12_the_allow_list(entries: tuple[str, ...] | None, allowed: bool) -> None:
    asked = replace(PERSON, alias=replace(ALIAS, sender_allow_list=entries))
    expected = Pass() if allowed else Refuse(REPLIES["UNKNOWN"], Reason.NOT_ALLOWED)
    assert fate(rcpt=asked) == expected


def test_2_3_12_without_an_author_the_sender_speaks() -> None:
    asked = replace(PERSON, alias=replace(ALIAS, sender_allow_list=("shop.example",)))
    for sender, expected in (("Bounce@Shop.example", "passes"), ("", "550 5.1.1 Address does not exist")):
        assert said(decide(GOOD, asked, None, sender, KEYS, LIMIT, REPLIES)) == expected


@pytest.mark.parametrize("content", [message(from_problem=True, findings=findings(), spam="reject"), GOOD])
def test_return_paths_get_their_bounces(content: Content) -> None:
    assert fate(content, Rcpt("return_path"), sender="") == Pass()


@pytest.mark.parametrize("values", [{"hops": 51}, {"size_octets": 1001}, {"has_stray_newline": True}])
@pytest.mark.parametrize("kind", ["return_path", "operator", "person"])
def test_nobody_gets_what_is_no_message(values: dict[str, Any], kind: str) -> None:
    assert isinstance(fate(message(**values), Rcpt(kind)), Refuse)  # type: ignore[arg-type]


def test_the_operator_gets_no_forgeries() -> None:
    assert said(fate(message(findings=findings()), Rcpt("operator"))).startswith("550 5.7.26")


# --- without the database ------------------------------------------------------------------------------------------

UNKNOWN = Rcpt("person", preferences=None)


def test_without_the_database_good_mail_passes_and_delivery_decides() -> None:
    assert fate(rcpt=UNKNOWN) == Pass()


def test_without_the_database_what_hangs_on_a_preference_comes_again() -> None:
    assert fate(message(findings=findings()), UNKNOWN) == Refuse(REPLIES["TEMP"], None)


def test_without_the_database_what_nobody_wants_is_refused() -> None:
    assert said(fate(message(from_problem=True), UNKNOWN)).startswith("550 5.6.0")


def test_accounts_are_asked_only_when_it_matters() -> None:
    assert needs_preferences(message(findings=findings("fail", "reject")))
    assert not needs_preferences(message(findings=findings("fail", "quarantine")))
    assert not needs_preferences(message(findings=findings(), exempt=True))
    assert not needs_preferences(GOOD)


# --- the transaction -----------------------------------------------------------------------------------------------

NO, NO_MAIL, LATER, LATER_STILL = (
    Refuse(Reply(code, enhanced, "x"), Reason.UNKNOWN)
    for code, enhanced in ((550, "5.1.1"), (550, "5.7.26"), (450, "4.2.1"), (451, "4.3.0"))
)


@pytest.mark.parametrize(
    ("fates", "expected"),
    [
        ([NO], NO),
        ([NO_MAIL, NO], NO_MAIL),
        ([NO, Pass()], None),
        ([Pass("quarantine"), NO, LATER], None),
        ([NO, LATER, LATER_STILL], LATER),
        ([LATER], LATER),
        ([Pass()], None),
        ([], None),
    ],
)
def test_2_1_only_who_speaks_for_all_refuses(fates: list[Fate], expected: Refuse | None) -> None:
    assert unanimous(fates) == (expected.reply if expected else None)
