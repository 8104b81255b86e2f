"""What every store does: run on PostgreSQL and on the store in memory, which stands in for it in tests of flows."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from mailrelay.core.address import parse_address
from mailrelay.core.bans import BanId
from mailrelay.core.facts import (
    NOBODY,
    AccountId,
    AliasId,
    BlockedSenderId,
    Facts,
    ParentKind,
    Reason,
    RecipientId,
    Usage,
)
from mailrelay.core.judge import DefaultLimits, Deliver, Question, judge
from mailrelay.core.ledger import (
    Closing,
    Ending,
    Envelope,
    Opened,
    Opening,
    OutboundCopy,
    OutboundId,
    Tally,
    ingress_key,
)
from mailrelay.core.verp import EmailType
from mailrelay.store.database import Database
from tests.store.worlds import InMemory, InPostgresql, World, about, utc_now

LATER = datetime(2030, 1, 1, tzinfo=UTC)
BIG = OutboundId(0xFEDCBA9876543210)  # its first bit is the sign in the database


@pytest.fixture(params=["postgresql", "memory"])
def where(request: pytest.FixtureRequest) -> str | None:
    """Connection string of a fresh database, or None for memory."""
    return str(request.getfixturevalue("dsn")) if request.param == "postgresql" else None


@pytest.fixture
async def world(where: str | None) -> AsyncIterator[World]:
    """A store with account 1 `johndoe`, its recipient 1, and the domains `alias.example` and `own.example`."""
    if where is None:
        yield await furnished(InMemory())
        return
    database = Database(where, 2, 20.0, "test")
    await database.open()
    async with await AsyncConnection.connect(where, autocommit=True) as conn:
        yield await furnished(InPostgresql(conn, database))
    await database.close()


async def furnished(world: World) -> World:
    await account(world, "johndoe", "real@Inbox.example")
    await world.insert("domain", name="alias.example")
    await world.insert("domain", name="own.example", account_id=1, verified_at=utc_now(), catch_all=True)
    return world


async def account(world: World, name: str, address: str, **more: Any) -> int:
    """An account whose default recipient is verified."""
    number = await world.insert("account", name=name, **more)
    await world.update("account", number, default_recipient_id=await recipient(world, number, address))
    return number


async def recipient(world: World, account_id: int, address: str, **more: Any) -> int:
    return await world.insert(
        "recipient", **{"account_id": account_id, "address": address, "verified_at": utc_now()} | more
    )


async def alias(world: World, address: str, account_id: int = 1, **more: Any) -> int:
    local_part, _, domain = address.partition("@")
    return await world.insert("alias", account_id=account_id, local_part=local_part, domain=domain, **more)


# -- Facts: who owns it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rcpt",
    [
        pytest.param("unknown@alias.example", id="12.1-12"),
        pytest.param("x@nobody.alias.example", id="12.1-10"),
        pytest.param("x@rx.example", id="domain-unknown-to-the-database"),
    ],
)
async def test_nobody_owns_an_unknown_address(world: World, rcpt: str) -> None:
    assert await world.facts(about(rcpt)) == NOBODY


async def test_an_alias_belongs_to_its_account(world: World) -> None:
    number = await alias(world, "a1@alias.example")
    facts = await world.facts(about("A1+promo@alias.example"))
    assert facts.account is not None
    assert facts.alias is not None
    assert (facts.account.id, facts.alias.id, facts.alias.state) == (1, number, "active")
    assert [row["uuid"] for row in await world.rows("alias")] == [facts.alias.uuid]
    assert (facts.parent, facts.attached, facts.keyed, facts.parent_default) == (None, (), (), None)
    assert facts.account_default is not None
    assert str(facts.account_default.address) == "real@inbox.example"
    assert facts.account_default.verified
    assert (facts.usage, facts.blocked_by, facts.has_block_list) == (Usage(), None, False)


async def test_an_alias_is_told_with_all_that_decides(world: World) -> None:
    settings: dict[str, Any] = {
        "state": "inactive",
        "block_behaviour": "reject",
        "forward_mode": "transparent",
        "expires_at": LATER,
    }
    settings |= {"max_forwards": 5, "emails_forwarded": 4, "sender_allow_list": ["shop.example", "x@y.example"]}
    await alias(world, "a1@alias.example", **settings)
    found = (await world.facts(about("a1@alias.example"))).alias
    assert found is not None
    assert (found.state, found.block_behaviour, found.forward_mode) == ("inactive", "reject", "transparent")
    assert (found.expires_at, found.max_forwards, found.emails_forwarded) == (LATER, 5, 4)
    assert found.sender_allow_list == ("shop.example", "x@y.example")


async def test_an_account_is_told_with_all_that_decides(world: World) -> None:
    settings: dict[str, Any] = {"state": "suspended", "block_behaviour": "defer", "forward_mode": "auto"}
    settings |= {"messages_per_hour": 0, "new_aliases_per_hour": 7, "bandwidth_octets_per_month": 1 << 40}
    await world.update("account", 1, **settings)
    await alias(world, "a1@alias.example")
    found = (await world.facts(about("a1@alias.example"))).account
    assert found is not None
    assert {name: getattr(found, name) for name in settings} == settings
    assert abs(found.created_at - utc_now()) < timedelta(minutes=5)


async def test_a_forgotten_alias_has_no_owner_and_is_still_known(world: World) -> None:
    number = await alias(world, "a1@alias.example")
    await world.update("alias", number, state="forgotten", account_id=None, deleted_at=utc_now())
    facts = await world.facts(about("a1@alias.example"))
    assert facts.account is None
    assert facts.alias is not None
    assert facts.alias.state == "forgotten"


# -- Facts: parents ------------------------------------------------------------------------------------------------


async def test_a_handle_is_the_parent_on_shared_domains(world: World) -> None:
    second = await recipient(world, 1, "second@inbox2.example")
    number = await world.insert("handle", account_id=1, local_part="jd", recipient_id=second)
    facts = await world.facts(about("jd@alias.example"))
    assert facts.account is not None
    assert facts.parent is not None
    assert (facts.parent.kind, facts.parent.id) == (ParentKind.HANDLE, number)
    assert (facts.parent.active, facts.parent.off, facts.parent.catch_all) == (True, False, True)
    assert facts.parent.forward_mode == "auto"
    assert facts.parent_default is not None
    assert facts.parent_default.id == second
    on_custom = await world.facts(about("jd@own.example"))
    assert on_custom.parent is not None
    assert on_custom.parent.kind is ParentKind.DOMAIN


@pytest.mark.parametrize("there", [True, False], ids=["12.1-45", "12.1-45-elsewhere"])
async def test_a_handle_is_off_where_it_was_switched_off(world: World, there: bool) -> None:
    await world.insert("domain", name="second.example")
    number = await world.insert("handle", account_id=1, local_part="jd")
    off = "alias.example" if there else "second.example"
    await world.insert("handle_domain_off", handle_id=number, domain=off, active=True)
    parent = (await world.facts(about("jd@alias.example"))).parent
    assert parent is not None
    assert parent.off is there


async def test_an_inactive_handle_is_not_off(world: World) -> None:
    await world.insert("handle", account_id=1, local_part="jd", state="inactive", block_behaviour="reject")
    parent = (await world.facts(about("jd@alias.example"))).parent
    assert parent is not None
    assert (parent.active, parent.off, parent.block_behaviour) == (False, False, "reject")


@pytest.mark.parametrize("with_alias", [False, True], ids=["12.1-44b", "with-alias"])
async def test_a_released_handle_is_off(world: World, with_alias: bool) -> None:
    number = await world.insert("handle", account_id=1, local_part="old")
    if with_alias:
        await alias(world, "old@alias.example", handle_id=number)
    await world.update("handle", number, state="released", account_id=None, released_at=utc_now())
    facts = await world.facts(about("old@alias.example"))
    verdict = judge(Question("old", False), facts, DefaultLimits(), utc_now())
    assert not isinstance(verdict, Deliver)
    assert facts.parent is None if not with_alias else facts.parent is not None and facts.parent.off


async def test_a_username_is_the_parent_below_shared_domains(world: World) -> None:
    number = await world.insert("username", account_id=1, name="u1", catch_all=False, auto_create_regex="^x")
    facts = await world.facts(about("x@u1.alias.example"))
    assert facts.account is not None
    assert facts.parent is not None
    assert (facts.parent.kind, facts.parent.id, facts.parent.active) == (ParentKind.USERNAME, number, True)
    assert (facts.parent.catch_all, facts.parent.auto_create_regex) == (False, "^x")
    await world.update("username", number, active=False)
    inactive = (await world.facts(about("x@u1.alias.example"))).parent
    assert inactive is not None
    assert not inactive.active


async def test_a_custom_domain_is_the_parent_once_it_is_verified(world: World) -> None:
    facts = await world.facts(about("new@own.example"))
    assert facts.parent is not None
    assert (facts.parent.kind, facts.parent.id, facts.parent.catch_all) == (ParentKind.DOMAIN, 2, True)
    assert facts.parent_default is None
    await world.update("domain", 2, verified_at=None)
    assert await world.facts(about("new@own.example")) == NOBODY


async def test_the_catch_all_account_gets_what_nobody_has(world: World) -> None:
    catcher = await account(world, "catcher", "all@inbox.example")
    facts = await world.facts(about("unknown@alias.example"))
    assert facts.account is not None
    assert facts.parent is not None
    assert (facts.account.id, facts.parent.kind) == (catcher, ParentKind.CATCH_ALL)
    assert (facts.parent.active, facts.parent.off, facts.parent.catch_all) == (True, False, True)
    await alias(world, "a1@alias.example")
    await world.insert("handle", account_id=1, local_part="jd")
    for rcpt in ("a1@alias.example", "jd@alias.example", "new@own.example"):
        found = (await world.facts(about(rcpt))).account
        assert found is not None
        assert found.id == 1
    assert await world.facts(about("x@nobody.alias.example")) == NOBODY


# -- Facts: recipients ---------------------------------------------------------------------------------------------


async def test_who_wants_encryption_has_the_place_it_had(world: World) -> None:
    key = {"should_encrypt": True, "public_key": b"key", "fingerprint": "AB" * 20}
    sealed = await recipient(world, 1, "sealed@inbox.example", **key)
    number = await alias(world, "a1@alias.example")
    await world.insert("alias_recipient", alias_id=number, recipient_id=sealed)
    facts = await world.facts(about("a1@alias.example"))
    assert [(target.id, target.encrypts) for target in facts.attached] == [(sealed, True)]
    assert facts.parent_default is None
    assert facts.account_default is not None
    assert (facts.account_default.id, facts.account_default.encrypts) == (1, False)


async def test_attached_recipients_come_in_the_order_of_attachment(world: World) -> None:
    second = await recipient(world, 1, "second@inbox2.example")
    third = await recipient(world, 1, "third@inbox3.example", verified_at=None, unverified_since=LATER)
    pending = await recipient(
        world, 1, "fourth@inbox4.example", pending=True, failing_since=LATER, probed_at=LATER + timedelta(days=1)
    )
    number = await alias(world, "a1@alias.example")
    for attached in (third, second, pending, 1):
        await world.insert("alias_recipient", alias_id=number, recipient_id=attached)
    found = (await world.facts(about("a1@alias.example"))).attached
    assert [target.id for target in found] == [third, second, pending, 1]
    assert [target.verified for target in found] == [False, True, False, True]
    assert found[0].unverified_since == LATER
    assert [target.failing_since for target in found] == [None, None, LATER, None]
    assert [target.probed_at for target in found] == [None, None, LATER + timedelta(days=1), None]


async def test_the_parents_default_is_told_apart_from_the_accounts(world: World) -> None:
    second = await recipient(world, 1, "second@inbox2.example")
    await world.update("domain", 2, default_recipient_id=second)
    await alias(world, "a1@own.example")
    for rcpt in ("a1@own.example", "new@own.example"):
        facts = await world.facts(about(rcpt))
        assert facts.parent_default is not None
        assert facts.account_default is not None
        assert (facts.parent_default.id, facts.account_default.id) == (second, 1)


async def test_an_alias_never_reaches_a_recipient_of_another_account(world: World) -> None:
    """A domain may be given up, verified by somebody else, and hold old aliases."""
    theirs = await account(world, "other", "other@inbox.example")
    await alias(world, "old@theirs.example")
    default = await recipient(world, theirs, "default@inbox.example")
    await world.insert(
        "domain", name="theirs.example", account_id=theirs, verified_at=utc_now(), default_recipient_id=default
    )
    facts = await world.facts(about("old@theirs.example"))
    assert facts.account is not None
    assert facts.account.id == 1
    assert facts.parent_default is None


@pytest.mark.parametrize(
    ("rcpt", "numbers"),
    [
        pytest.param("new+2@own.example", [2], id="12.1-5"),
        pytest.param("new+3.2@own.example", [2, 3], id="12.1-6"),
        pytest.param("new+9@own.example", [], id="12.1-7"),
        pytest.param("new+4@own.example", [5], id="1.5-pending-ones-do-not-count"),
        pytest.param("new+news@own.example", [], id="1.5-tag"),
        pytest.param("a1+2@own.example", [], id="12.1-8"),
    ],
)
async def test_recipient_keys_count_by_creation(world: World, rcpt: str, numbers: list[int]) -> None:
    await recipient(world, 1, "second@inbox2.example")
    await recipient(world, 1, "third@inbox3.example", verified_at=None)
    await recipient(world, 1, "pending@inbox4.example", pending=True)
    await recipient(world, 1, "fifth@inbox5.example")
    await account(world, "other", "other@inbox.example")
    await alias(world, "a1@own.example")
    keyed = (await world.facts(about(rcpt))).keyed
    assert [target.id for target in keyed] == numbers
    assert [target.verified for target in keyed] == [number != 3 for number in numbers]


# -- Facts: usage and block lists ----------------------------------------------------------------------------------


async def use(world: World, kind: str, subject: str, amount: int, at: datetime, account_id: int = 1) -> None:
    await world.insert("rate_window", account_id=account_id, kind=kind, subject=subject, window_start=at, amount=amount)


async def test_usage_is_that_of_the_last_hour_and_of_this_month(world: World) -> None:
    now = utc_now()
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for subject, factor in (("", 1), ("shop.example", 10), ("other.example", 100)):
        await use(world, "message", subject, factor, now - timedelta(minutes=59))
        await use(world, "message", subject, factor, now - timedelta(minutes=1))
        await use(world, "message", subject, 1000, now - timedelta(minutes=61))
        await use(world, "bandwidth", subject, 3 * factor, month)
        await use(world, "bandwidth", subject, 1000, month - timedelta(days=1))
    for subject, factor in (("", 1), ("192.0.2.0/24", 10), ("198.51.100.0/24", 100)):
        await use(world, "new_alias", subject, 5 * factor, now - timedelta(minutes=30))
        await use(world, "new_alias", subject, 1000, now - timedelta(minutes=61))
    await use(world, "message", "", 10**6, now, account_id=2)
    await alias(world, "a1@own.example")
    inquiry = about("a1@own.example", "x@mail.shop.example")
    assert (await world.facts(inquiry)).usage == Usage(2, 20, 3, 30, 0, 0)
    assert (await world.facts(replace(inquiry, base="new"))).usage == Usage(2, 20, 3, 30, 5, 50)


async def test_nobodys_mail_counts_for_no_sender_and_no_network(world: World) -> None:
    await use(world, "message", "", 3, utc_now())
    await use(world, "new_alias", "", 4, utc_now())
    usage = (await world.facts(about("new@own.example", sender="", client="unknown"))).usage
    assert usage == Usage(messages=3, new_aliases=4)


BLOCKS = [
    pytest.param("email", "news@shop.example", "News@Shop.example", "", True, id="2.2-22-sender"),
    pytest.param("email", "news@shop.example", "b@mta.example", "news@shop.example", True, id="2.3-11-author"),
    pytest.param("email", "news@shop.example", "other@shop.example", "", False, id="other-local-part"),
    pytest.param("domain", "shop.example", "x@shop.example", "", True, id="domain"),
    pytest.param("domain", "shop.example", "x@news.shop.example", "", True, id="12.1-42"),
    pytest.param("domain", "shop.example", "b@mta.example", "x@news.shop.example", True, id="12.1-42-author"),
    pytest.param("domain", "news.shop.example", "x@shop.example", "", False, id="parent-is-not-blocked"),
    pytest.param("domain", "shop.example", "x@bookshop.example", "", False, id="other-domain"),
    pytest.param("domain", "shop.example", "", "", False, id="null-sender"),
]


@pytest.mark.parametrize(("kind", "entry", "sender", "author", "hit"), BLOCKS)
async def test_a_block_list_hits_senders_and_authors(
    world: World, kind: str, entry: str, sender: str, author: str, hit: bool
) -> None:
    await alias(world, "a1@alias.example")
    number = await world.insert("blocked_sender", account_id=1, type=kind, value=entry)
    facts = await world.facts(about("a1@alias.example", sender, author))
    assert facts.has_block_list
    assert facts.blocked_by == (number if hit else None)


async def test_an_address_goes_before_a_domain_and_every_list_is_its_owners(world: World) -> None:
    await alias(world, "a1@alias.example")
    await world.insert("blocked_sender", account_id=1, type="domain", value="shop.example")
    exact = await world.insert("blocked_sender", account_id=1, type="email", value="news@shop.example")
    assert (await world.facts(about("a1@alias.example"))).blocked_by == exact
    other = await account(world, "other", "other@inbox.example")
    await alias(world, "b2@alias.example", other)
    facts = await world.facts(about("b2@alias.example"))  # 12.1 row 43
    assert (facts.blocked_by, facts.has_block_list) == (None, False)


async def test_an_entry_may_be_about_one_alias(world: World) -> None:
    first, _ = await alias(world, "a1@alias.example"), await alias(world, "b2@alias.example")
    number = await world.insert("blocked_sender", account_id=1, type="domain", value="shop.example", alias_id=first)
    assert (await world.facts(about("a1@alias.example"))).blocked_by == number
    assert (await world.facts(about("b2@alias.example"))).blocked_by is None
    assert (await world.facts(about("new@own.example"))).blocked_by is None


# -- Ledger --------------------------------------------------------------------------------------------------------

KEY = ingress_key("4XyZ12AbCd", b"content")
ENVELOPE = Envelope(KEY, "4XyZ12AbCd", "<1@shop.example>", "news@shop.example", "a1@alias.example", "192.0.2.10", 500)


def opening(number: int = BIG, recipient_id: int = 1, envelope: Envelope = ENVELOPE) -> Opening:
    return Opening(envelope, recipient_id, OutboundId(number), "real@inbox.example", EmailType.FORWARD, "transparent")


async def test_a_copy_is_registered_once(world: World) -> None:
    assert await world.open(opening()) == Opened(BIG, None)
    assert await world.open(opening(7)) == Opened(BIG, "queued")
    [row] = await world.rows("ledger")
    assert (row["outcome"], row["outbound_id"], row["recipient_id"]) == ("queued", BIG, 1)
    assert (row["rcpt"], row["sender"], row["queue_id"]) == ("a1@alias.example", "news@shop.example", "4XyZ12AbCd")
    [copy] = await world.rows("outbound")
    assert (copy["id"], copy["destination"], copy["recipient_id"]) == (BIG, "real@inbox.example", 1)
    assert await world.outbound(OutboundId(7)) is None


async def test_a_copy_is_told_as_it_was_registered(world: World) -> None:
    number = await alias(world, "a1@alias.example")
    owned = replace(ENVELOPE, account_id=AccountId(1), alias_id=AliasId(number))
    before = utc_now()
    await world.open(opening(envelope=owned))
    await world.open(replace(opening(8, recipient_id=-1), mode="rewrite", type=EmailType.NOTIFICATION))
    mine, operators = await world.outbound(BIG), await world.outbound(OutboundId(8))
    assert mine is not None
    assert operators is not None
    assert abs(mine.created_at - before) < timedelta(minutes=5)
    who = AccountId(1), AliasId(number), RecipientId(1)
    whence = parse_address("a1@alias.example"), ENVELOPE.sender
    copy = OutboundCopy(BIG, EmailType.FORWARD, "transparent", "real@inbox.example", mine.created_at, *who, *whence)
    assert mine == copy
    nobody = replace(
        copy, id=OutboundId(8), type=EmailType.NOTIFICATION, mode="rewrite", created_at=operators.created_at
    )
    assert operators == replace(nobody, account_id=None, alias_id=None, recipient_id=None, alias=None)


async def test_three_refusals_of_different_copies_mark_a_receiver(world: World) -> None:
    now, until = utc_now(), utc_now() + timedelta(days=29)
    for hours in (1, 1, 2, 1):
        assert (await world.note("inbox.example", now - timedelta(hours=hours), now)).rewrite_only_until is None
    await world.note("inbox2.example", now, now)
    known = await world.note("inbox.example", now, now)
    assert known.refused_at == (now - timedelta(hours=2), now - timedelta(hours=1), now)
    assert known.rewrite_only_until is not None
    assert known.rewrite_only_until > until


@pytest.mark.parametrize("outcome", ["delivered", "failed"])
async def test_a_settled_copy_stays_settled(world: World, outcome: Any) -> None:
    await world.open(opening())
    reason = Reason.REFUSED_BY_POSTFIX if outcome == "failed" else None
    await world.close([Closing(BIG, outcome, reason, "4QqQ000001", "550 5.1.1 no")], None)
    again = await world.open(opening(7))
    assert (again, again.settled) == (Opened(BIG, outcome), True)
    await world.close([Closing(BIG, "failed" if outcome == "delivered" else "delivered", Reason.BOUNCE)], None)
    [row] = await world.rows("ledger")
    assert (row["outcome"], row["reason"]) == (outcome, reason)


async def test_a_copy_that_was_given_up_with_the_queue_is_open_when_it_is_tried_after_all(world: World) -> None:
    await world.open(opening())
    [row] = await world.rows("ledger")
    await world.update("ledger", row["id"], outcome="failed", reason="expired_in_queue")
    again = await world.open(opening(7))
    assert (again, again.settled) == (Opened(BIG, "queued"), False)
    await world.close([Closing(BIG, "delivered")], None)
    [row] = await world.rows("ledger")
    assert (row["outcome"], row["reason"]) == ("delivered", None)


async def test_recipients_destinations_and_messages_are_copies_of_their_own(world: World) -> None:
    other_rcpt = replace(ENVELOPE, rcpt="both@alias.example")
    other_mail = replace(ENVELOPE, key=ingress_key("4XyZ12AbCd", b"other content"))
    openings = [opening(1), opening(2, -1), opening(3, -2), opening(4, 1, other_rcpt), opening(5, 1, other_mail)]
    for number, one in enumerate(openings, 1):
        assert await world.open(one) == Opened(OutboundId(number), None)
    await world.close([Closing(OutboundId(2), "delivered")], None)
    outcomes = sorted((row["outbound_id"], row["outcome"]) for row in await world.rows("ledger"))
    assert outcomes == [(1, "queued"), (2, "delivered"), (3, "queued"), (4, "queued"), (5, "queued")]
    operators = [row["recipient_id"] for row in await world.rows("outbound") if row["id"] in (2, 3)]
    assert operators == [None, None]


async def test_a_tally_counts_for_alias_account_and_sender(world: World) -> None:
    number = await alias(world, "a1@alias.example")
    inquiry = about("a1@alias.example")
    for n in (1, 2):
        await world.open(opening(n, n))
    tally = Tally(AccountId(1), AliasId(number), "shop.example", 1000)
    await world.close([Closing(OutboundId(1), "delivered"), Closing(OutboundId(2), "delivered")], tally)
    facts = await world.facts(inquiry)
    assert facts.alias is not None
    assert facts.alias.emails_forwarded == 1
    assert facts.usage == Usage(1, 1, 1000, 1000)
    await world.close([], Tally(AccountId(1), AliasId(number), "other.example", 10))
    assert (await world.facts(inquiry)).usage == Usage(2, 1, 1010, 1000)
    await world.close([], Tally(AccountId(1), AliasId(number), "", 10))
    assert (await world.facts(inquiry)).usage == Usage(3, 1, 1020, 1000)
    assert (await world.rows("alias"))[0]["emails_forwarded"] == 3


async def test_an_ending_counts_once_where_it_belongs(world: World) -> None:
    number = await alias(world, "off@alias.example")
    ban = await world.insert("ban", type="domain", value="bad.example")
    block = await world.insert("blocked_sender", account_id=1, type="domain", value="shop.example")
    envelope = replace(ENVELOPE, account_id=AccountId(1), alias_id=AliasId(number))
    ending = Ending(envelope, "discarded", Reason.BLOCKED_SENDER, BanId(ban), BlockedSenderId(block))
    for _ in range(2):
        await world.end(ending)
    [row] = await world.rows("ledger")
    assert (row["outcome"], row["reason"], row["recipient_id"]) == ("discarded", Reason.BLOCKED_SENDER, 0)
    assert [row["emails_blocked"] for row in await world.rows("alias")] == [1]
    assert [row["hits"] for row in await world.rows("ban")] == [1]
    assert [row["blocked"] for row in await world.rows("blocked_sender")] == [1]


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        (Reason.ALIAS_DELETED, 1),
        (Reason.ALIAS_INACTIVE, 1),
        (Reason.PARENT_INACTIVE, 1),
        (Reason.NOT_ALLOWED, 1),
        (Reason.LOOP, 0),
        (Reason.SUSPENDED, 0),
        (Reason.RATE, 0),
    ],
)
async def test_only_the_owners_choice_counts_as_blocked(world: World, reason: Reason, counted: int) -> None:
    number = await alias(world, "a1@alias.example")
    await world.end(Ending(replace(ENVELOPE, alias_id=AliasId(number)), "discarded", reason))
    assert (await world.rows("alias"))[0]["emails_blocked"] == counted


async def test_a_bounce_is_noted_on_its_copy_and_its_first_words_stay(world: World) -> None:
    await world.open(opening())
    await world.close([Closing(BIG, "delivered", queue_id="4QqQ000001")], None)
    await world.bounced(BIG, "5.1.1", "550 no such user")
    await world.bounced(BIG, "5.2.2", "full")
    [copy] = await world.rows("outbound")
    assert (copy["bounce_status"], copy["bounce_text"], copy["bounce_count"]) == ("5.1.1", "550 no such user", 2)
    assert copy["outbound_queue_id"] == "4QqQ000001"
    [row] = await world.rows("ledger")
    assert (row["outcome"], row["reason"]) == ("failed", "bounce")


async def test_a_bounce_that_is_faster_than_our_bookkeeping_counts(world: World) -> None:
    await world.open(opening())
    await world.bounced(BIG, "5.1.1", "550 no such user")
    await world.close([Closing(BIG, "delivered", queue_id="4QqQ000001")], None)
    [row] = await world.rows("ledger")
    assert (row["outcome"], row["reason"]) == ("failed", "bounce")
    assert (await world.open(opening(7))).settled


async def test_a_bounce_of_nothing_is_harmless(world: World) -> None:
    await world.bounced(OutboundId(99), "5.1.1", "550 no such user")
    assert await world.rows("outbound") == []


# -- Aliases that mail makes ---------------------------------------------------------------------------------------


async def make(world: World, rcpt: str, extension: str | None = None) -> Facts:
    """As delivery does it: ask, judge, make, ask again."""
    inquiry = about(rcpt)
    verdict = judge(Question(inquiry.base, inquiry.custom), await world.facts(inquiry), DefaultLimits(), utc_now())
    assert isinstance(verdict, Deliver)
    await world.make_alias(inquiry, verdict, extension)
    return await world.facts(replace(inquiry, keys=()))


async def test_a_catch_all_domain_makes_an_alias(world: World) -> None:
    facts = await make(world, "new@own.example")
    assert facts.alias is not None
    assert (facts.alias.state, facts.attached, facts.alias.emails_forwarded) == ("active", (), 0)
    [row] = await world.rows("alias")
    assert (row["account_id"], row["local_part"], row["domain"], row["extension"]) == (1, "new", "own.example", None)
    another = await world.facts(about("another@own.example"))
    assert another.usage == Usage(new_aliases=1, new_aliases_by_network=1)


async def test_keyed_recipients_are_attached_in_their_order(world: World) -> None:
    for number in (2, 3, 4):
        await recipient(world, 1, f"r{number}@inbox.example", verified_at=None if number == 3 else utc_now())
    facts = await make(world, "new+4.2.3@own.example", "4.2.3")
    assert [target.id for target in facts.attached] == [2, 4]
    assert [row["extension"] for row in await world.rows("alias")] == ["4.2.3"]


async def test_keys_that_name_nobody_attach_nobody(world: World) -> None:
    """Spec 12.1 row 7: the default receives, and a later default as well."""
    facts = await make(world, "new+9@own.example", "9")
    assert facts.attached == ()
    assert facts.alias is not None


async def test_usernames_and_handles_make_aliases_below_them(world: World) -> None:
    username = await world.insert("username", account_id=1, name="u1")
    handle = await world.insert("handle", account_id=1, local_part="jd")
    for rcpt in ("x@u1.alias.example", "jd@alias.example"):
        assert (await make(world, rcpt)).alias is not None
    parents = [(row["username_id"], row["handle_id"]) for row in await world.rows("alias")]
    assert parents == [(username, None), (None, handle)]


async def test_the_catch_all_account_makes_aliases_without_a_parent(world: World) -> None:
    catcher = await account(world, "catcher", "all@inbox.example")
    facts = await make(world, "whatever@alias.example")
    assert facts.account is not None
    assert facts.parent is None
    assert facts.account.id == catcher


async def test_making_twice_makes_one_and_never_revives(world: World) -> None:
    inquiry = about("new@own.example")
    verdict = judge(Question("new", True), await world.facts(inquiry), DefaultLimits(), utc_now())
    assert isinstance(verdict, Deliver)
    for _ in range(2):
        await world.make_alias(inquiry, verdict, "x")
    assert (await world.facts(about("b@own.example"))).usage.new_aliases == 1
    [row] = await world.rows("alias")
    await world.update("alias", row["id"], state="deleted", deleted_at=utc_now())
    await world.make_alias(inquiry, verdict, "x")
    facts = await world.facts(inquiry)
    assert facts.alias is not None
    assert facts.alias.state == "deleted"
    assert (await world.facts(about("b@own.example"))).usage.new_aliases == 1
