"""The tests of spec section 4.2 in their order, and what follows from a failure (4.3 and 12.4)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import parse_address
from mailrelay.core.bans import BanId
from mailrelay.core.facts import (
    Account,
    AccountId,
    Alias,
    AliasId,
    Facts,
    Parent,
    ParentId,
    ParentKind,
    Reason,
    RecipientId,
    Usage,
)
from mailrelay.core.findings import Dkim, Dmarc, Findings, Result, Spf
from mailrelay.core.judge import DefaultLimits, Question
from mailrelay.core.reply import Replies
from mailrelay.core.sending.authorise import (
    Allowed,
    Attempt,
    Hurdle,
    Refusal,
    SendingLimits,
    authorise,
    unproved,
)
from mailrelay.core.sending.classify import Evidence, Owner, Stranger
from mailrelay.core.sending.contact import Objection
from mailrelay.core.sending.facts import Amount, Manner, OwnMailbox, SendingFacts, Spent
from mailrelay.core.sending.fate import Defer, Drop, Fate, Forward, Keep, at_delivery, in_session
from mailrelay.core.verp import EmailType

NOW = datetime(2026, 1, 6, 12, tzinfo=UTC)
REPLIES = Replies()
R1 = OwnMailbox(RecipientId(1), parse_address("real@inbox.example"), verified=True)
A1 = parse_address("a1@alias.example")
PASS = Findings(dmarc=Dmarc("pass", "inbox.example", has_record=True))
FAIL = Findings(dmarc=Dmarc("fail", "inbox.example", has_record=True))
ACCOUNT = Account(AccountId(1), "active", "discard", None, None, None, None, NOW)
ALIAS = Alias(AliasId(1), UUID(int=1), "active", None, None, None, None, 0, None)
OWN_EXAMPLE = Parent(ParentKind.DOMAIN, ParentId(3), True, False, False, None, None, None)
EVIDENCE = Evidence(R1.address, "real@inbox.example", "smtp", PASS, threaded=True)
ATTEMPT = Attempt(
    EVIDENCE,
    Owner(EmailType.REPLY, R1),
    Facts(account=ACCOUNT, alias=ALIAS),
    Question("a1", custom_domain=False, reverse=True),
    SendingFacts(AccountId(1), AliasId(1), A1, "contact@shop.example", mailboxes=(R1,)),
)
NEW = replace(
    ATTEMPT,
    owner=Owner(EmailType.SEND, R1),
    facts=Facts(account=ACCOUNT, parent=OWN_EXAMPLE),
    question=Question("fresh", custom_domain=True, reverse=True),
    sending=SendingFacts(AccountId(1), contact="contact@shop.example", mailboxes=(R1,)),
)


def decide(attempt: Attempt = ATTEMPT, *, confirmed: bool = False) -> Allowed | Refusal:
    return authorise(attempt, SendingLimits(), DefaultLimits(), NOW, confirmed=confirmed)


def refusal(attempt: Attempt) -> Refusal:
    decision = decide(attempt)
    assert isinstance(decision, Refusal)
    return decision


def answer(attempt: Attempt) -> tuple[str, str | None]:
    """What the sender hears in session, and the notice."""
    refused = in_session(attempt.evidence, attempt.owner, decide(attempt))
    assert refused is not None
    return str(refused.answer(REPLIES)), refused.notice


def found(findings: Findings, attempt: Attempt = ATTEMPT) -> Attempt:
    return replace(attempt, evidence=replace(attempt.evidence, findings=findings))


def with_mailbox(mailbox: OwnMailbox, attempt: Attempt = ATTEMPT) -> Attempt:
    return replace(attempt, owner=replace(attempt.owner, mailbox=mailbox))


def sent(*amounts: tuple[timedelta, int]) -> tuple[Amount, ...]:
    """So many, so long ago."""
    return tuple(Amount(NOW - age, count) for age, count in sorted(amounts, reverse=True))


def spending(
    attempt: Attempt = ATTEMPT, *, sends: tuple[Amount, ...] = (), new_contacts: tuple[Amount, ...] = ()
) -> Attempt:
    return replace(attempt, sending=replace(attempt.sending, spent=Spent(sends, new_contacts)))


def delivered(attempt: Attempt, *, stores_failed: bool = True, waited: bool = False) -> Fate:
    return at_delivery(attempt.evidence, decide(attempt), stores_failed=stores_failed, waited=waited)


# -- What may go out ------------------------------------------------------------------------------------------------


def test_a_reply_goes_out_row_99() -> None:
    assert decide() == Allowed(EmailType.REPLY, R1)
    assert in_session(EVIDENCE, ATTEMPT.owner, decide()) is None
    assert delivered(ATTEMPT) == Allowed(EmailType.REPLY, R1)


def test_a_send_goes_out_row_100() -> None:
    assert decide(replace(ATTEMPT, owner=Owner(EmailType.SEND, R1))) == Allowed(EmailType.SEND, R1)


def test_a_send_may_create_its_alias_row_102() -> None:
    assert decide(NEW) == Allowed(EmailType.SEND, R1, creates=True)


def test_a_deactivated_alias_sends_row_119() -> None:
    asleep = replace(ALIAS, state="inactive", expires_at=NOW - timedelta(days=1))
    parent = replace(OWN_EXAMPLE, active=False)
    assert isinstance(decide(replace(ATTEMPT, facts=Facts(ACCOUNT, asleep, parent))), Allowed)


# -- b: whoever is not authenticated hears the same -----------------------------------------------------------------

DKIM = Findings(dmarc=Dmarc("none", "inbox.example", dkim_aligned=True), dkim=(Dkim("pass", aligned=True),))
SPF = Findings(spf=Spf("pass", "inbox.example"), dmarc=Dmarc("none", "inbox.example", spf_aligned=True))


def test_without_a_record_an_aligned_signature_is_enough_and_spf_is_not_row_107() -> None:
    assert isinstance(decide(found(DKIM)), Allowed)
    assert answer(found(SPF)) == ("550 5.7.1 Sender could not be authenticated: dkim=none", "SRSA")
    broken = replace(SPF, dkim=(Dkim("pass", "esp.example"), Dkim("fail", "inbox.example", aligned=True)))
    assert answer(found(broken)) == ("550 5.7.1 Sender could not be authenticated: dkim=fail", "SRSA")


def test_a_forged_author_is_refused_and_the_owner_told_row_106() -> None:
    assert answer(found(FAIL)) == ("550 5.7.1 Sender could not be authenticated: dmarc=fail", "SRSA")


RESULTS: tuple[Result, ...] = ("none", "neutral", "pass", "fail", "softfail", "policy", "temperror", "permerror")


@given(
    result=st.sampled_from(RESULTS),
    signature=st.sampled_from(RESULTS),
    has_record=st.booleans(),
    aligned=st.booleans(),
    automatic=st.booleans(),
    route=st.sampled_from(["smtp", "local", "login:x", "login:other@inbox.example"]),
)
def test_nobody_learns_whose_alias_it_is_row_106a(
    result: Result, signature: Result, has_record: bool, aligned: bool, automatic: bool, route: str
) -> None:
    """The same message from the owner's address and from a stranger's, as long as neither is authenticated."""
    dmarc = Dmarc(result, "inbox.example", has_record, dkim_aligned=signature == "pass" and aligned)
    findings = Findings(dmarc=dmarc, dkim=(Dkim(signature, aligned=aligned),))
    if findings.author_authenticated:
        return
    evidence = Evidence(R1.address, "", route, findings, automatic=automatic)
    attempt = replace(ATTEMPT, evidence=evidence)
    as_owner = in_session(evidence, attempt.owner, decide(attempt))
    as_stranger = in_session(replace(evidence, author=parse_address("x@shop.example")), Stranger(), None)
    assert as_owner is not None
    assert as_stranger is not None
    assert as_stranger.notice is None
    assert str(as_owner.answer(REPLIES)) == str(as_stranger.answer(REPLIES))


def test_an_authenticated_stranger_is_forwarded_row_121() -> None:
    assert in_session(EVIDENCE, Stranger(), None) is None
    assert at_delivery(EVIDENCE, None, stores_failed=True) == Forward()


def test_a_stranger_that_is_not_authenticated_is_forwarded_with_a_warning() -> None:
    """Where another recipient took the message."""
    assert at_delivery(found(FAIL).evidence, None, stores_failed=True) == Forward(tagged=True)
    later = Findings(dmarc=Dmarc("temperror", "shop.example", has_record=True))
    assert at_delivery(found(later).evidence, None, stores_failed=True) == Forward()
    assert at_delivery(replace(EVIDENCE, findings=None), None, stores_failed=True) == Forward()


def test_a_forged_reply_that_was_taken_is_kept_or_dropped_never_forwarded_row_106() -> None:
    refused = refusal(found(FAIL))
    assert (refused.hurdle, refused.reason, refused.notice) == (Hurdle.AUTHENTICATED, Reason.NOT_AUTHENTICATED, "SRSA")
    assert delivered(found(FAIL)) == Keep(refused)
    assert delivered(found(FAIL), stores_failed=False) == Drop(refused)


def test_what_the_owner_confirms_goes_out_without_test_b_but_not_without_the_others() -> None:
    assert isinstance(decide(found(FAIL), confirmed=True), Allowed)
    off = with_mailbox(replace(R1, can_reply_send=False), found(FAIL))
    decision = decide(off, confirmed=True)
    assert isinstance(decision, Refusal)
    assert decision.hurdle is Hurdle.ENABLED


def test_dns_trouble_waits_but_not_until_postfix_bounces() -> None:
    later = found(Findings(dmarc=Dmarc("temperror", "inbox.example")))
    assert answer(later) == ("451 4.7.0 Sender could not be authenticated now, try again", None)
    assert isinstance(delivered(later), Defer)
    assert isinstance(delivered(later, waited=True), Keep)
    assert isinstance(delivered(later, waited=True, stores_failed=False), Drop)


def test_where_nobody_checked_nobody_is_authenticated() -> None:
    unchecked = replace(ATTEMPT, evidence=replace(EVIDENCE, findings=None))
    assert answer(unchecked)[0] == "550 5.7.1 Sender could not be authenticated: dkim=none"


def test_a_login_of_the_recipient_authenticates_and_another_does_not() -> None:
    signed_in = replace(found(FAIL), owner=Owner(EmailType.REPLY, R1, by_login=True))
    assert isinstance(decide(signed_in), Allowed)
    assert in_session(signed_in.evidence, signed_in.owner, decide(signed_in)) is None
    other = replace(ATTEMPT, evidence=replace(EVIDENCE, findings=SPF, route="login:other@inbox.example"))
    assert refusal(other).hurdle is Hurdle.AUTHENTICATED


def test_what_we_injected_ourselves_is_from_an_alias_and_from_nobodys_mailbox() -> None:
    internal = replace(EVIDENCE, findings=FAIL, route="internal")
    assert unproved(internal, Stranger()) is None
    assert unproved(internal, ATTEMPT.owner) is not None


@pytest.mark.parametrize(
    ("sender", "allowed"),
    [("Real@Inbox.example", True), ("bounces@esp.example", False), ("", False)],
)
def test_an_owner_can_ask_for_a_matching_envelope(sender: str, allowed: bool) -> None:
    strict = with_mailbox(replace(R1, require_envelope_match=True))
    strict = replace(strict, evidence=replace(EVIDENCE, sender=sender))
    assert isinstance(decide(strict), Allowed) is allowed
    if not allowed:
        assert answer(strict) == ("550 5.7.1 Sender could not be authenticated: envelope=mismatch", "SRSA")
    signed_in = replace(strict, owner=replace(strict.owner, by_login=True))
    assert isinstance(decide(signed_in), Allowed)


# -- a: automatic mail ----------------------------------------------------------------------------------------------

AUTOMATIC = replace(ATTEMPT, evidence=replace(EVIDENCE, automatic=True))
RELAYING = replace(AUTOMATIC, sending=replace(ATTEMPT.sending, manner=Manner(relay_auto_replies=True)))


def test_an_out_of_office_answer_is_taken_and_dropped_row_122() -> None:
    assert in_session(AUTOMATIC.evidence, AUTOMATIC.owner, decide(AUTOMATIC)) is None
    assert delivered(AUTOMATIC) == Drop(Refusal(Hurdle.AUTOMATIC, "", Reason.AUTO_REPLY))
    assert refusal(AUTOMATIC).answer(REPLIES) is None


def test_an_account_can_have_one_answer_a_week_passed_on() -> None:
    assert decide(RELAYING) == Allowed(EmailType.REPLY, R1, automatic=True)
    send = replace(RELAYING, owner=Owner(EmailType.SEND, R1))
    assert decide(send) == Allowed(EmailType.REPLY, R1, automatic=True)
    again = replace(RELAYING, sending=replace(RELAYING.sending, spent=Spent(auto_replied=True)))
    assert refusal(again).hurdle is Hurdle.AUTOMATIC


def test_reports_are_never_passed_on_as_they_name_the_mailbox() -> None:
    report = replace(RELAYING, evidence=replace(RELAYING.evidence, report=True))
    assert refusal(report).hurdle is Hurdle.AUTOMATIC


def test_nobody_is_told_of_automatic_mail() -> None:
    for attempt in (found(FAIL, RELAYING), with_mailbox(replace(R1, can_reply_send=False), RELAYING)):
        assert refusal(attempt).notice is None
    assert answer(found(FAIL, AUTOMATIC)) == ("550 5.7.1 Sender could not be authenticated: dmarc=fail", None)


# -- c to f ---------------------------------------------------------------------------------------------------------

ATTACHED_ONLY = replace(ATTEMPT, sending=replace(ATTEMPT.sending, attached_only=True))


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        pytest.param(with_mailbox(replace(R1, can_reply_send=False)), Reason.SENDING_OFF, id="12.4-104"),
        pytest.param(ATTACHED_ONLY, Reason.NOT_ATTACHED, id="12.4-105"),
    ],
)
def test_a_recipient_that_may_not_send(attempt: Attempt, reason: Reason) -> None:
    assert answer(attempt) == ("550 5.7.1 Replying from this address is switched off", "DRSA")
    assert delivered(attempt) == Drop(refusal(attempt))
    assert refusal(attempt).reason is reason


def test_an_attached_recipient_may_send() -> None:
    assert isinstance(decide(with_mailbox(replace(R1, attached=True), ATTACHED_ONLY)), Allowed)


def closed(attempt: Attempt = ATTEMPT, **changes: object) -> Attempt:
    return replace(attempt, facts=replace(attempt.facts, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attempt", "reply", "reason"),
    [
        pytest.param(
            closed(alias=replace(ALIAS, state="deleted")), "550 5.1.1", Reason.ALIAS_DELETED, id="12.4-120-deleted"
        ),
        pytest.param(
            closed(alias=replace(ALIAS, state="forgotten"), account=None),
            "550 5.1.1",
            Reason.ALIAS_DELETED,
            id="12.4-120-forgotten",
        ),
        pytest.param(
            closed(account=replace(ACCOUNT, state="suspended")), "550 5.2.1", Reason.SUSPENDED, id="1.10-suspended"
        ),
        pytest.param(
            closed(account=replace(ACCOUNT, state="deleting")), "550 5.1.1", Reason.ACCOUNT_DELETING, id="1.10-deleting"
        ),
        pytest.param(
            closed(parent=replace(OWN_EXAMPLE, kind=ParentKind.HANDLE, off=True)),
            "550 5.1.1",
            Reason.HANDLE_OFF,
            id="1.10-handle-off",
        ),
        pytest.param(
            replace(ATTEMPT, question=replace(ATTEMPT.question, custom_domain=True)),
            "550 5.1.1",
            Reason.DOMAIN_UNVERIFIED,
            id="1.10-domain-not-verified",
        ),
        pytest.param(
            replace(ATTEMPT, sending=replace(ATTEMPT.sending, sends_suspended=True)),
            "550 5.7.1",
            Reason.SENDING_SUSPENDED,
            id="7.8-awaits-review",
        ),
        pytest.param(closed(NEW, parent=None), "550 5.1.1", Reason.DOMAIN_UNVERIFIED, id="1.8-no-parent"),
        pytest.param(
            replace(closed(NEW, parent=None), question=ATTEMPT.question), "550 5.1.1", Reason.UNKNOWN, id="1.8-shared"
        ),
        pytest.param(closed(NEW, account=None), "550 5.1.1", Reason.UNKNOWN, id="1.8-nobodys"),
        pytest.param(
            closed(NEW, parent=replace(OWN_EXAMPLE, active=False)),
            "550 5.1.1",
            Reason.PARENT_INACTIVE,
            id="1.8-parent-inactive",
        ),
        pytest.param(
            replace(NEW, question=replace(NEW.question, base="a..b")),
            "550 5.1.1",
            Reason.NAME_NOT_CREATABLE,
            id="1.8-grammar",
        ),
    ],
)
def test_what_is_closed_to_owners_as_well(attempt: Attempt, reply: str, reason: Reason) -> None:
    text, notice = answer(attempt)
    assert text.startswith(reply)
    assert (notice, refusal(attempt).hurdle, refusal(attempt).reason) == (None, Hurdle.OPEN, reason)
    assert delivered(attempt) == Drop(refusal(attempt))


@pytest.mark.parametrize(
    ("usage", "own", "allowed"),
    [
        (Usage(new_aliases=99), None, True),
        (Usage(new_aliases=100), None, False),
        (Usage(new_aliases=100), 0, True),
        (Usage(new_aliases=5), 5, False),
        (Usage(new_aliases_by_network=30), None, False),
    ],
)
def test_new_aliases_are_limited(usage: Usage, own: int | None, allowed: bool) -> None:
    attempt = closed(NEW, usage=usage, account=replace(ACCOUNT, new_aliases_per_hour=own))
    assert isinstance(decide(attempt), Allowed) is allowed
    if not allowed:
        assert answer(attempt)[0].startswith("450 4.2.1")
        assert isinstance(delivered(attempt), Defer)


@pytest.mark.parametrize(
    ("objection", "reply"),
    [
        pytest.param(Objection("NOCONTACT", Reason.OWN_CONTACT), "550 5.7.1", id="12.4-123"),
        pytest.param(Objection("BADCONTACT", Reason.BAD_CONTACT), "550 5.1.2", id="no-mail-there"),
        pytest.param(Objection("NOCONTACT", Reason.DESTINATION_BANNED, BanId(7)), "550 5.7.1", id="banned"),
    ],
)
def test_a_contact_that_is_not_acceptable(objection: Objection, reply: str) -> None:
    attempt = replace(ATTEMPT, objection=objection)
    text, notice = answer(attempt)
    assert text.startswith(reply)
    assert notice is None  # the owner's mail program tells
    assert delivered(attempt) == Drop(
        Refusal(Hurdle.CONTACT, objection.reply, objection.reason, "FDN", ban_id=objection.ban_id)
    )


# -- g: limits ------------------------------------------------------------------------------------------------------

HOURS, MINUTES = timedelta(hours=1), timedelta(minutes=1)
LATER = "450 4.7.1 Sending limit reached"


def test_the_101st_of_a_day_is_refused_row_124() -> None:
    full = spending(sends=sent((20 * HOURS, 50), (2 * HOURS, 50)))
    assert answer(full) == ("550 5.7.1 Sending limit reached", "RSL")
    assert delivered(full) == Drop(refusal(full))
    assert isinstance(decide(spending(sends=sent((20 * HOURS, 49), (2 * HOURS, 50)))), Allowed)


def test_what_soon_has_room_is_asked_to_come_again() -> None:
    soon = spending(sends=sent((23 * HOURS, 1), (2 * HOURS, 99)))
    assert answer(soon) == (LATER, "RSL")
    assert isinstance(delivered(soon), Defer)
    assert isinstance(delivered(soon, waited=True), Drop)
    assert answer(spending(sends=sent((23 * HOURS - MINUTES, 1), (2 * HOURS, 99))))[0].startswith("550")
    two_too_many = spending(sends=sent((23 * HOURS, 1), (2 * HOURS, 100)))
    assert answer(two_too_many)[0].startswith("550")


def test_the_limit_of_an_hour_ends_within_it() -> None:
    assert answer(spending(sends=sent((59 * MINUTES, 30)))) == (LATER, "RSL")
    assert isinstance(decide(spending(sends=sent((60 * MINUTES, 30)))), Allowed)
    assert isinstance(decide(spending(sends=sent((59 * MINUTES, 29)))), Allowed)


def test_the_limit_that_ends_last_decides() -> None:
    assert answer(spending(sends=sent((5 * HOURS, 70), (5 * MINUTES, 30))))[0].startswith("550")


def test_new_contacts_of_sends_are_limited() -> None:
    full = sent((2 * HOURS, 50))
    send = replace(ATTEMPT, owner=Owner(EmailType.SEND, R1))
    assert answer(spending(send, new_contacts=full))[0].startswith("550 5.7.1")
    known = replace(send, sending=replace(send.sending, contact_known=True))
    assert isinstance(decide(spending(known, new_contacts=full)), Allowed)
    assert isinstance(decide(spending(new_contacts=full)), Allowed)  # a reply
    assert isinstance(decide(spending(send, new_contacts=sent((2 * HOURS, 49)))), Allowed)


def test_0_is_no_limit() -> None:
    full = spending(sends=sent((2 * HOURS, 1000)), new_contacts=sent((2 * HOURS, 1000)))
    full = replace(full, owner=Owner(EmailType.SEND, R1))
    assert isinstance(authorise(full, SendingLimits(0, 0, 0), DefaultLimits(), NOW), Allowed)


# -- Order ----------------------------------------------------------------------------------------------------------


def test_the_first_failure_decides() -> None:
    worst = replace(
        spending(ATTACHED_ONLY, sends=sent((2 * HOURS, 100))),
        evidence=replace(EVIDENCE, findings=FAIL, automatic=True),
        facts=replace(ATTEMPT.facts, alias=replace(ALIAS, state="deleted")),
        objection=Objection("NOCONTACT", Reason.OWN_CONTACT),
    )
    worst = with_mailbox(replace(R1, can_reply_send=False), worst)
    hurdles = [refusal(worst).hurdle]
    for mended in (
        lambda one: replace(one, evidence=replace(one.evidence, automatic=False)),
        lambda one: found(PASS, one),
        lambda one: with_mailbox(R1, one),
        lambda one: with_mailbox(replace(R1, attached=True), one),
        lambda one: replace(one, facts=ATTEMPT.facts),
        lambda one: replace(one, objection=None),
    ):
        worst = mended(worst)
        hurdles.append(refusal(worst).hurdle)
    assert hurdles == [*Hurdle]
    assert isinstance(decide(spending(worst)), Allowed)


def test_answers_name_no_address() -> None:
    for attempt in (found(FAIL), ATTACHED_ONLY, replace(ATTEMPT, objection=Objection("NOCONTACT", Reason.OWN_CONTACT))):
        assert "@" not in answer(attempt)[0]
