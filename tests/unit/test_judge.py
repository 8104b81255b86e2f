"""May this address receive this message now? Rows 15 to 30 of spec section 2.2."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address
from mailrelay.core.facts import (
    NOBODY,
    Account,
    AccountId,
    Alias,
    AliasId,
    BlockBehaviour,
    BlockedSenderId,
    Facts,
    Parent,
    ParentId,
    ParentKind,
    Reason,
    RecipientId,
    Target,
    Usage,
)
from mailrelay.core.judge import (
    DefaultLimits,
    Deliver,
    Deny,
    Drop,
    Question,
    Verdict,
    choose_targets,
    judge,
    matches,
    next_month,
)

NOW = datetime(2026, 1, 6, 12, tzinfo=UTC)
LIMITS = DefaultLimits()
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def target(
    number: int,
    *,
    verified: bool = True,
    since: datetime = NOW,
    failing: datetime | None = None,
    probed: datetime | None = None,
) -> Target:
    return Target(RecipientId(number), Address(f"r{number}", "inbox.example"), verified, since, failing, probed)


R1, R2 = target(1), target(2)
ACCOUNT = Account(AccountId(1), "active", "discard", None, None, None, None, NOW - timedelta(days=400))
ALIAS = Alias(AliasId(1), UUID(int=1), "active", None, None, None, None, 0, None)
DOMAIN = Parent(ParentKind.DOMAIN, ParentId(3), True, False, True, None, None, None)
ON_SHARED = Question("a1", custom_domain=False)
ON_CUSTOM = Question("new", custom_domain=True)
EXISTING = Facts(account=ACCOUNT, alias=ALIAS, account_default=R1)
NEW = Facts(account=ACCOUNT, parent=DOMAIN, account_default=R1)


def account(**changes: Any) -> Account:
    return replace(ACCOUNT, **changes)


def alias(**changes: Any) -> Alias:
    return replace(ALIAS, **changes)


def parent(**changes: Any) -> Parent:
    return replace(DOMAIN, **changes)


def verdict(facts: Facts, question: Question = ON_SHARED, now: datetime = NOW) -> Verdict:
    return judge(question, facts, LIMITS, now)


# -- What exists ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", [ON_SHARED, Question("a1", False, reverse=True)], ids=["12.1-1", "reverse"])
def test_an_active_alias_delivers_to_the_accounts_default(question: Question) -> None:
    assert verdict(EXISTING, question) == Deliver(ACCOUNT, ALIAS, None, (R1,))


@pytest.mark.parametrize("state", ["deleted", "forgotten"])
@pytest.mark.parametrize("parent", [None, DOMAIN], ids=["12.1-16", "12.1-17"])
@pytest.mark.parametrize("owner", [ACCOUNT, account(state="suspended"), None], ids=["active", "suspended", "nobody"])
def test_a_deleted_alias_is_gone_whatever_else_holds(
    state: Literal["deleted", "forgotten"], parent: Parent | None, owner: Account | None
) -> None:
    facts = replace(EXISTING, alias=alias(state=state), parent=parent, account=owner)
    assert verdict(facts) == Deny("UNKNOWN", Reason.ALIAS_DELETED)
    assert verdict(facts, Question("a1", True, reverse=True)) == Deny("UNKNOWN", Reason.ALIAS_DELETED)


SWITCHED_OFF = [
    pytest.param(replace(EXISTING, alias=alias(state="inactive")), Reason.ALIAS_INACTIVE, id="12.1-18"),
    pytest.param(replace(EXISTING, parent=parent(active=False)), Reason.PARENT_INACTIVE, id="12.1-22"),
    pytest.param(replace(EXISTING, alias=alias(expires_at=NOW)), Reason.ALIAS_EXPIRED, id="2.2-16-expired"),
    pytest.param(
        replace(EXISTING, alias=alias(max_forwards=3, emails_forwarded=3)), Reason.ALIAS_EXPIRED, id="2.2-16-used-up"
    ),
]


@pytest.mark.parametrize(("facts", "reason"), SWITCHED_OFF)
def test_what_is_switched_off_is_dropped_without_a_word(facts: Facts, reason: Reason) -> None:
    assert verdict(facts) == Drop(reason)


@pytest.mark.parametrize(("facts", "reason"), SWITCHED_OFF)
def test_the_owner_still_answers_through_what_is_switched_off(facts: Facts, reason: Reason) -> None:
    assert isinstance(verdict(facts, Question("a1", False, reverse=True)), Deliver)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        pytest.param("discard", Drop(Reason.ALIAS_INACTIVE), id="12.1-18"),
        pytest.param("reject", Deny("UNKNOWN", Reason.ALIAS_INACTIVE), id="12.1-19"),
        pytest.param("defer", Deny("BUSY", Reason.ALIAS_INACTIVE), id="12.1-20"),
    ],
)
@pytest.mark.parametrize("level", ["alias", "parent", "account"])
def test_the_nearest_block_behaviour_decides(behaviour: BlockBehaviour, expected: Verdict, level: str) -> None:
    # Every level further out says something else.
    other: BlockBehaviour = "defer" if behaviour != "defer" else "reject"
    facts = Facts(
        account=account(block_behaviour=behaviour if level == "account" else other),
        alias=alias(state="inactive", block_behaviour=behaviour if level == "alias" else None),
        parent=parent(block_behaviour={"alias": other, "parent": behaviour, "account": None}[level]),
        account_default=R1,
    )
    assert verdict(facts) == expected


def test_an_alias_expires_on_the_dot_and_with_its_last_forward() -> None:
    assert isinstance(verdict(replace(EXISTING, alias=alias(expires_at=NOW + timedelta(microseconds=1)))), Deliver)
    assert isinstance(verdict(replace(EXISTING, alias=alias(max_forwards=3, emails_forwarded=2))), Deliver)


def test_nobody_is_unknown() -> None:
    assert verdict(NOBODY) == Deny("UNKNOWN", Reason.UNKNOWN)


@pytest.mark.parametrize("facts", [EXISTING, replace(NEW, account=None)], ids=["with-alias", "12.1-44b"])
def test_a_handle_that_is_off_is_unknown(facts: Facts) -> None:
    off = replace(facts, parent=parent(kind=ParentKind.HANDLE, off=True))
    reason = Reason.HANDLE_OFF if facts.account else Reason.UNKNOWN
    assert verdict(off) == Deny("UNKNOWN", reason)
    assert verdict(off, Question("a1", False, reverse=True)) == Deny("UNKNOWN", reason)


# -- The account ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [EXISTING, NEW], ids=["alias", "new"])
def test_a_closed_account_takes_no_mail(facts: Facts) -> None:
    suspended = replace(facts, account=account(state="suspended"))
    deleting = replace(facts, account=account(state="deleting"))
    assert verdict(suspended, ON_CUSTOM) == Deny("SUSPENDED", Reason.SUSPENDED)
    assert verdict(deleting, ON_CUSTOM) == Deny("UNKNOWN", Reason.ACCOUNT_DELETING)


def test_inactive_comes_before_suspended() -> None:
    facts = replace(EXISTING, alias=alias(state="inactive"), account=account(state="suspended"))
    assert verdict(facts) == Drop(Reason.ALIAS_INACTIVE)


@pytest.mark.parametrize(
    ("minutes", "reply"),
    [
        pytest.param(10, "NOTREADY", id="12.1-40-10-minutes"),
        (72 * 60 - 1, "NOTREADY"),
        pytest.param(72 * 60, "NEVERREADY", id="12.1-40-72-hours"),
    ],
)
def test_mail_waits_for_a_verification_and_then_no_more(minutes: int, reply: str) -> None:
    unverified = target(1, verified=False, since=NOW - minutes * MINUTE)
    assert verdict(replace(EXISTING, account_default=unverified)) == Deny(reply, Reason.NOT_READY)


def test_the_wait_begins_when_the_last_recipient_became_unusable() -> None:
    old, recent = NOW - timedelta(days=30), NOW - MINUTE
    facts = replace(
        EXISTING,
        attached=(target(2, verified=False, since=old),),
        account_default=target(1, verified=False, since=recent),
    )
    assert verdict(facts) == Deny("NOTREADY", Reason.NOT_READY)


@pytest.mark.parametrize(("age", "reply"), [(timedelta(days=1), "NOTREADY"), (timedelta(days=401), "NEVERREADY")])
def test_without_any_recipient_the_wait_begins_with_the_account(age: timedelta, reply: str) -> None:
    facts = Facts(account=account(created_at=NOW - age), alias=ALIAS)
    assert verdict(facts) == Deny(reply, Reason.NOT_READY)


@pytest.mark.parametrize(("days", "reply"), [(4, "NOTREADY"), (5, "NEVERREADY")], ids=["2.2-19-4d", "2.2-19-5d"])
def test_failing_recipients_get_five_days(days: int, reply: str) -> None:
    failing = target(1, failing=NOW - timedelta(days=days), probed=NOW - MINUTE)
    assert verdict(replace(EXISTING, account_default=failing)) == Deny(reply, Reason.FAILING)


def test_the_five_days_begin_when_the_last_one_failed() -> None:
    facts = replace(
        EXISTING, attached=(target(1, failing=NOW - 9 * DAY, probed=NOW - MINUTE), target(2, failing=NOW - MINUTE))
    )
    assert verdict(facts) == Deny("NOTREADY", Reason.FAILING)


def test_7_5_when_all_are_failing_mail_is_taken_for_the_one_that_is_to_be_tried() -> None:
    due = target(1, failing=NOW - 9 * DAY, probed=NOW - DAY)
    assert verdict(replace(EXISTING, account_default=due)) == Deliver(ACCOUNT, ALIAS, None, (due,))
    facts = replace(EXISTING, attached=(target(2, failing=NOW - MINUTE), due))
    assert verdict(facts) == Deliver(ACCOUNT, ALIAS, None, (due,))


# -- Limits --------------------------------------------------------------------------------------------------------


def usage(**amounts: int) -> Facts:
    return replace(EXISTING, usage=Usage(**amounts))


@pytest.mark.parametrize(
    ("facts", "reply"),
    [
        pytest.param(usage(messages=199), None, id="12.1-36-200th"),
        pytest.param(usage(messages=200), Deny("RATE", Reason.RATE), id="12.1-36-201st"),
        pytest.param(usage(messages_by_sender=99), None, id="2.6-half-99"),
        pytest.param(usage(messages_by_sender=100), Deny("RATE", Reason.RATE), id="2.6-half-100"),
        pytest.param(usage(octets=104_857_599), None, id="2.6-bandwidth"),
        pytest.param(usage(octets=104_857_600), Deny("QUOTA", Reason.QUOTA), id="12.1-38"),
        pytest.param(usage(octets_by_sender=52_428_800), Deny("QUOTA", Reason.QUOTA), id="2.6-half-octets"),
        pytest.param(
            usage(octets=104_857_600, messages=200), Deny("QUOTA", Reason.QUOTA), id="2.2-bandwidth-before-rate"
        ),
    ],
)
def test_an_account_has_its_limits(facts: Facts, reply: Deny | None) -> None:
    result = verdict(facts)
    assert result == reply if reply is not None else isinstance(result, Deliver)
    assert isinstance(verdict(facts, Question("a1", False, reverse=True)), Deliver)


@pytest.mark.parametrize(
    ("day", "hour", "reply"),
    [
        pytest.param(28, 0, "QUOTA_LATER", id="12.1-38-4-days"),
        pytest.param(30, 0, "QUOTA_LATER", id="12.1-38-2-days"),
        pytest.param(27, 23, "QUOTA", id="12.1-38-4-days-1-hour"),
        pytest.param(22, 0, "QUOTA", id="12.1-38-10-days"),
    ],
)
def test_near_the_end_of_the_month_mail_may_wait(day: int, hour: int, reply: str) -> None:
    now = datetime(2026, 1, day, hour, tzinfo=UTC)
    assert verdict(usage(octets=1 << 40), now=now) == Deny(reply, Reason.QUOTA)


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ((2026, 1, 31, 23, 59), (2026, 2, 1)),
        ((2026, 2, 1), (2026, 3, 1)),
        ((2024, 2, 29), (2024, 3, 1)),
        ((2026, 12, 31, 23), (2027, 1, 1)),
    ],
)
def test_bandwidth_resets_on_day_1(now: tuple[int, ...], then: tuple[int, ...]) -> None:
    assert next_month(datetime(*now, tzinfo=UTC)) == datetime(*then, tzinfo=UTC)  # type: ignore[arg-type,misc]


def test_an_accounts_own_limits_go_before_the_installations() -> None:
    facts = replace(usage(messages=5, octets=500), account=account(messages_per_hour=5))
    assert verdict(facts) == Deny("RATE", Reason.RATE)
    facts = replace(facts, account=account(bandwidth_octets_per_month=500))
    assert verdict(facts) == Deny("QUOTA", Reason.QUOTA)
    facts = replace(usage(messages=10**6, octets=10**15), account=account(messages_per_hour=0))
    assert verdict(facts) == Deny("QUOTA", Reason.QUOTA)
    unlimited = account(messages_per_hour=0, bandwidth_octets_per_month=0)
    assert isinstance(verdict(replace(facts, account=unlimited)), Deliver)


# -- Block lists ---------------------------------------------------------------------------------------------------


def test_a_blocked_sender_hears_that_the_address_is_unknown() -> None:
    facts = replace(EXISTING, blocked_by=BlockedSenderId(9))
    assert verdict(facts) == Deny("UNKNOWN", Reason.BLOCKED_SENDER, BlockedSenderId(9))
    assert verdict(replace(facts, alias=None, parent=DOMAIN), ON_CUSTOM) == Deny(
        "UNKNOWN", Reason.BLOCKED_SENDER, BlockedSenderId(9)
    )


def test_limits_come_before_the_block_list() -> None:
    assert verdict(replace(usage(messages=200), blocked_by=BlockedSenderId(9))) == Deny("RATE", Reason.RATE)


# -- Creation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "facts", "expected"),
    [
        pytest.param(ON_CUSTOM, NEW, Deliver(ACCOUNT, None, DOMAIN, (R1,)), id="12.1-4"),
        pytest.param(ON_SHARED, replace(NEW, parent=None), Deny("UNKNOWN", Reason.UNKNOWN), id="12.1-12"),
        pytest.param(
            ON_CUSTOM,
            replace(NEW, parent=parent(catch_all=False)),
            Deny("UNKNOWN", Reason.UNKNOWN),
            id="2.2-27",
        ),
        pytest.param(
            Question("prefix-shop", True),
            replace(NEW, parent=parent(catch_all=False, auto_create_regex="^prefix")),
            Deliver(ACCOUNT, None, parent(catch_all=False, auto_create_regex="^prefix"), (R1,), by_regex=True),
            id="12.1-13",
        ),
        pytest.param(
            Question("shop", True),
            replace(NEW, parent=parent(catch_all=False, auto_create_regex="^prefix")),
            Deny("UNKNOWN", Reason.UNKNOWN),
            id="12.1-14",
        ),
        pytest.param(
            Question("shop", True),
            replace(NEW, parent=parent(catch_all=True, auto_create_regex="^prefix")),
            Deliver(ACCOUNT, None, parent(catch_all=True, auto_create_regex="^prefix"), (R1,)),
            id="1.8-catch-all-beats-regex",
        ),
        pytest.param(ON_CUSTOM, replace(NEW, parent=parent(active=False)), Drop(Reason.PARENT_INACTIVE), id="2.2-26"),
        pytest.param(
            ON_CUSTOM,
            replace(NEW, parent=parent(active=False, block_behaviour="reject")),
            Deny("UNKNOWN", Reason.PARENT_INACTIVE),
            id="2.2-26-reject",
        ),
        pytest.param(
            ON_CUSTOM,
            replace(NEW, parent=parent(active=False, catch_all=False)),
            Drop(Reason.PARENT_INACTIVE),
            id="2.2-26-before-27",
        ),
        pytest.param(Question("", True), NEW, Deny("UNKNOWN", Reason.NAME_NOT_CREATABLE), id="2.2-28-empty"),
        pytest.param(Question("x" * 65, True), NEW, Deny("UNKNOWN", Reason.NAME_NOT_CREATABLE), id="2.2-28-long"),
        pytest.param(Question("ñ", True), NEW, Deny("UNKNOWN", Reason.NAME_NOT_CREATABLE), id="2.2-28-non-ascii"),
        pytest.param(
            Question("postmaster", True),
            replace(NEW, parent=parent(catch_all=False)),
            Deliver(ACCOUNT, None, parent(catch_all=False), (R1,)),
            id="1.9-postmaster-of-a-custom-domain",
        ),
        pytest.param(
            Question("hostmaster", True),
            replace(NEW, parent=parent(catch_all=False)),
            Deny("UNKNOWN", Reason.UNKNOWN),
            id="1.9-hostmaster-is-owed-nothing",
        ),
        pytest.param(
            Question("postmaster", False),
            replace(NEW, parent=parent(kind=ParentKind.USERNAME, catch_all=False)),
            Deny("UNKNOWN", Reason.UNKNOWN),
            id="1.9-not-below-a-username",
        ),
        pytest.param(
            ON_CUSTOM,
            replace(NEW, usage=Usage(new_aliases=100)),
            Deny("NEWALIAS", Reason.NEW_ALIAS_LIMIT),
            id="12.1-37",
        ),
        pytest.param(
            ON_CUSTOM,
            replace(NEW, usage=Usage(new_aliases_by_network=30)),
            Deny("NEWALIAS", Reason.NEW_ALIAS_LIMIT),
            id="2.6-network",
        ),
        pytest.param(
            ON_CUSTOM,
            replace(NEW, usage=Usage(new_aliases=99, new_aliases_by_network=29)),
            Deliver(ACCOUNT, None, DOMAIN, (R1,)),
            id="2.6-just-below",
        ),
        pytest.param(
            ON_CUSTOM,
            replace(NEW, account=account(new_aliases_per_hour=0), usage=Usage(new_aliases=1000)),
            Deliver(account(new_aliases_per_hour=0), None, DOMAIN, (R1,)),
            id="2.6-no-limit",
        ),
    ],
)
def test_an_address_without_an_alias(question: Question, facts: Facts, expected: Verdict) -> None:
    assert verdict(facts, question) == expected


@pytest.mark.parametrize("facts", [EXISTING], ids=["12.1-37"])
def test_existing_aliases_do_not_care_how_many_are_new(facts: Facts) -> None:
    assert isinstance(verdict(replace(facts, usage=Usage(new_aliases=10**6, new_aliases_by_network=10**6))), Deliver)


@pytest.mark.parametrize(
    ("keyed", "receive", "attach"),
    [
        pytest.param((), (R1,), (), id="12.1-7-none-attached"),
        pytest.param((R2,), (R2,), (R2,), id="12.1-5"),
        pytest.param((R2, target(3, verified=False)), (R2,), (R2,), id="12.1-6"),
        pytest.param((target(3, verified=False),), (R1,), (), id="1.5-unverified-only"),
        pytest.param((R2, target(4, failing=NOW)), (R2,), (R2, target(4, failing=NOW)), id="failing-is-attached"),
    ],
)
def test_recipient_keys_attach_whom_they_name_and_nobody_else(
    keyed: tuple[Target, ...], receive: tuple[Target, ...], attach: tuple[Target, ...]
) -> None:
    result = verdict(replace(NEW, keyed=keyed), ON_CUSTOM)
    assert isinstance(result, Deliver)
    assert (result.targets, result.attach) == (receive, attach)


def test_at_most_ten_recipients_are_attached() -> None:
    result = verdict(replace(NEW, keyed=tuple(map(target, range(1, 20)))), ON_CUSTOM)
    assert isinstance(result, Deliver)
    assert result.attach == result.targets == tuple(map(target, range(1, 11)))


# -- Who receives --------------------------------------------------------------------------------------------------

PARENT_DEFAULT, UNVERIFIED = target(5), target(6, verified=False)
FAILING = target(7, failing=NOW)


@pytest.mark.parametrize(
    ("facts", "receive"),
    [
        pytest.param(replace(EXISTING, attached=(R2, R1)), (R2, R1), id="attached-in-their-order"),
        pytest.param(replace(EXISTING, attached=(R2, UNVERIFIED)), (R2,), id="only-verified"),
        pytest.param(replace(EXISTING, attached=(UNVERIFIED,)), (R1,), id="attached-unverified"),
        pytest.param(replace(EXISTING, parent_default=PARENT_DEFAULT), (PARENT_DEFAULT,), id="parent-default"),
        pytest.param(replace(EXISTING, parent_default=UNVERIFIED), (R1,), id="12.1-41"),
        pytest.param(
            replace(EXISTING, attached=(R2,), parent_default=PARENT_DEFAULT), (R2,), id="attached-before-default"
        ),
        pytest.param(replace(EXISTING, attached=(FAILING, R2)), (R2,), id="failing-ones-go"),
        pytest.param(replace(EXISTING, attached=(FAILING,)), (FAILING,), id="unless-alone"),
        pytest.param(replace(EXISTING, keyed=(R2,)), (R1,), id="12.1-8"),
        pytest.param(
            replace(EXISTING, attached=(R2, replace(R2, id=RecipientId(8), address=Address("R2", "inbox.example")))),
            (R2,),
            id="one-copy-for-one-mailbox",
        ),
        pytest.param(Facts(account=ACCOUNT, alias=ALIAS), (), id="nobody"),
    ],
)
def test_who_receives(facts: Facts, receive: tuple[Target, ...]) -> None:
    assert choose_targets(facts) == receive


@pytest.mark.parametrize(
    ("failing", "receive"),
    [
        pytest.param(target(1, failing=NOW - DAY), True, id="a-day-after-it-failed"),
        pytest.param(target(1, failing=NOW - DAY + MINUTE), False, id="not-yet"),
        pytest.param(target(1, failing=NOW - 9 * DAY, probed=NOW - DAY), True, id="a-day-after-the-last-try"),
        pytest.param(target(1, failing=NOW - 9 * DAY, probed=NOW - DAY + MINUTE), False, id="tried-today"),
        pytest.param(target(1, failing=NOW - MINUTE, probed=NOW - 99 * DAY), False, id="tried-when-it-failed-before"),
        pytest.param(target(1, verified=False, failing=NOW - 9 * DAY), False, id="unverified"),
    ],
)
def test_12_6_171_a_failing_one_is_tried_once_a_day_beside_the_others(failing: Target, receive: bool) -> None:
    facts = replace(EXISTING, attached=(failing, R2))
    assert choose_targets(facts, NOW) == ((failing, R2) if receive else (R2,))
    assert choose_targets(facts) == (R2,)


def test_at_most_ten_receive() -> None:
    assert len(choose_targets(replace(EXISTING, attached=tuple(map(target, range(1, 15)))))) == 10


# -- Auto-create expressions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "base", "hit"),
    [
        pytest.param("^prefix", "prefix-shop", True, id="12.1-13"),
        pytest.param("^prefix", "shop", False, id="12.1-14"),
        pytest.param("^PREFIX", "prefix9", True, id="12.1-15"),
        ("fix", "prefix", True),
        ("^(a|b)$", "b", True),
        ("", "prefix", False),
        (None, "prefix", False),
        ("(", "(", False),
        (r"(a)\1", "aa", False),  # RE2 has no back-references
        ("(a+)+$", "a" * 64 + "!", False),
        ("((((a{1,100}){1,100}){1,100}){1,100})", "a", False),
    ],
)
def test_an_auto_create_expression(pattern: str | None, base: str, hit: bool) -> None:
    assert matches(pattern, base) is hit


# -- Any facts -----------------------------------------------------------------------------------------------------

_TIMES = st.sampled_from([NOW - timedelta(days=30), NOW, NOW + MINUTE])
_TARGETS = st.builds(
    target,
    st.integers(1, 12),
    verified=st.booleans(),
    since=_TIMES,
    failing=st.none() | _TIMES,
    probed=st.none() | _TIMES,
)
_FACTS = st.builds(
    Facts,
    account=st.none()
    | st.builds(
        account,
        state=st.sampled_from(["active", "active", "suspended", "deleting"]),
        block_behaviour=st.sampled_from(["discard", "reject", "defer"]),
        messages_per_hour=st.none() | st.integers(0, 3),
    ),
    alias=st.none()
    | st.builds(
        alias,
        state=st.sampled_from(["active", "active", "inactive", "deleted", "forgotten"]),
        block_behaviour=st.none() | st.sampled_from(["discard", "reject", "defer"]),
        expires_at=st.none() | _TIMES,
    ),
    parent=st.none()
    | st.builds(
        parent,
        kind=st.sampled_from(ParentKind),
        active=st.booleans(),
        off=st.booleans(),
        catch_all=st.booleans(),
        auto_create_regex=st.none() | st.text(max_size=20),
    ),
    attached=st.lists(_TARGETS, max_size=12).map(tuple),
    keyed=st.lists(_TARGETS, max_size=12).map(tuple),
    parent_default=st.none() | _TARGETS,
    account_default=st.none() | _TARGETS,
    usage=st.builds(Usage, messages=st.integers(0, 4), octets=st.sampled_from([0, 1 << 40])),
    blocked_by=st.none() | st.just(BlockedSenderId(1)),
)


@given(_FACTS, st.text(max_size=70), st.booleans(), st.booleans(), _TIMES)
def test_there_is_a_verdict_on_any_facts(
    facts: Facts, base: str, custom_domain: bool, reverse: bool, now: datetime
) -> None:
    result = judge(Question(base, custom_domain, reverse), facts, LIMITS, now)
    if isinstance(result, Deliver):
        assert 1 <= len(result.targets) <= 10
        assert all(receiver.verified for receiver in (*result.targets, *result.attach))
        assert result.alias is not None or result.parent is not None
        assert len({receiver.address.folded for receiver in result.targets}) == len(result.targets)
        assert result.account.state == "active"
