"""Failed deliveries that are resent: each recipient gets one copy, whatever happens in between (spec section 7.6)."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from mailrelay.core import verp
from mailrelay.core.address import parse_address
from mailrelay.core.errors import Absent, Conflict, Unavailable
from mailrelay.core.facts import AccountId, AliasId, Reason, Target
from mailrelay.core.failed import AlreadyResent, BadRecipients, FailedId, NotForward, NotStored, Resent, resend_key
from mailrelay.core.header import split
from mailrelay.core.held import HeldId, Hold
from mailrelay.core.ledger import Envelope, ingress_key
from mailrelay.core.plan import Handed, Refused
from mailrelay.core.screen import day_number
from mailrelay.flows.manage import failed as desk
from tests.unit import ruled
from tests.unit.failures import REAL, RECORD, SECOND, Counter
from tests.unit.givingup import given_up
from tests.unit.office import CLIENT, KEY, MESSAGE, SENDER

R1, R2, UNVERIFIED = UUID(int=1), UUID(int=2), UUID(int=3)
NUMBER = RECORD.id


@pytest.fixture
def at() -> Counter:
    return Counter()


async def targets(at: Counter, *uuids: UUID) -> tuple[Target, ...]:
    return await at.resend.chosen(AccountId(1), uuids)


async def test_172_a_stored_failure_goes_to_r2_once(at: Counter) -> None:
    at.office.store.update("account", 1, banner_location="top", forward_mode="rewrite")
    assert await at.resend(RECORD, "test", await targets(at, R2)) == Resent(NUMBER, 1)
    [copy] = at.copies
    content = b"".join(copy.content)
    assert copy.rcpt == SECOND
    assert b"\r\nX-Mailrelay-Resend: Yes\r\n" in content
    assert b"<a1+news=shop.example@alias.example>\r\n" in content
    assert content.endswith(b"\r\n\r\nThank you.\r\n")  # no banner
    for _ in range(2):
        with pytest.raises(AlreadyResent):
            await at.resend(at.shelf.record, "test", await targets(at, R2))
    with pytest.raises(AlreadyResent):  # who still has the record of before
        await at.resend(RECORD, "test")
    assert len(at.copies) == 1
    assert at.shelf.resent_by == ["test"]


async def test_a_resent_copy_has_a_return_path_of_its_own(at: Counter) -> None:
    await at.resend(RECORD, "test")
    [copy] = at.copies
    local, _, domain = copy.sender.partition("@")
    path = verp.decode(local, domain, [KEY], day_number(at.office.now))
    assert isinstance(path, verp.VerpId)
    [row] = at.office.store.rows("outbound", id=path.outbound_id)
    assert (row["destination"], row["email_type"]) == (REAL, "F")
    assert not copy.return_full  # what comes back is not stored


async def test_the_ledger_tells_what_was_resent_and_counts_nothing_twice(at: Counter) -> None:
    await at.resend(RECORD, "test")
    [entry] = at.office.entries()
    assert entry["ingress_key"] == RECORD.uuid.bytes == resend_key(RECORD.uuid)
    assert (entry["outcome"], entry["rcpt"], entry["queue_id"]) == ("delivered", "a1@alias.example", "4XyZ12AbCd")
    assert entry["fingerprint"] is None
    assert at.counted == [None]
    alias = at.office.store.row("alias", id=1)
    assert alias is not None
    assert alias["emails_forwarded"] == 0


async def test_whom_the_alias_reaches_gets_it_if_nobody_else_is_named(at: Counter) -> None:
    at.store(alias_id=AliasId(5), alias="both@alias.example", rcpt="both+tag@alias.example")
    assert (await at.resend(RECORD, "test")).copies == 2
    assert at.office.outside.rcpts == [REAL, SECOND]
    assert b"X-Mailrelay-Envelope-To: both+tag@alias.example\r\n" in at.contents[0]


async def test_without_its_entry_in_the_ledger_the_record_tells_whose_it_was(at: Counter) -> None:
    at.store(rcpt="", sender="", client="", queue_id="", message_id="")
    await at.resend(RECORD, "test")
    [content] = at.contents
    assert b"X-Mailrelay-Envelope-To: a1@alias.example\r\n" in content
    assert b"X-Mailrelay-Envelope-From: news@shop.example\r\n" in content


async def test_mail_of_the_null_sender_stays_so(at: Counter) -> None:
    at.store(sender="")
    await at.resend(RECORD, "test")
    assert b"X-Mailrelay-Envelope-From: <>\r\n" in at.contents[0]


async def test_recipients_that_cannot_be_chosen_are_named(at: Counter) -> None:
    other = at.office.account("other", "them@inbox.example")
    [theirs] = at.office.store.rows("recipient", account_id=other)
    with pytest.raises(BadRecipients, match=r"third@inbox3\.example is not verified"):
        await targets(at, R1, UNVERIFIED)
    with pytest.raises(BadRecipients, match="no recipient of the account"):
        await targets(at, R1, theirs["uuid"])
    with pytest.raises(BadRecipients, match="at most 10"):
        await targets(at, *(UUID(int=number) for number in range(11)))
    assert [str(target.address) for target in await targets(at, R2, R2, R1)] == [SECOND, REAL]


async def test_rules_are_not_asked(at: Counter) -> None:
    at.office.book = ruled.acting([ruled.action("subject", "by a rule"), ruled.action("removeAttachments")])
    await at.resend(RECORD, "test")
    assert split(at.contents[0]).first(b"subject") == b"Your order 77"
    assert at.office.store.counted == []


# --- once, whatever happens -----------------------------------------------------------------------------------------


async def test_of_several_at_once_one_resends(at: Counter) -> None:
    results = await asyncio.gather(*(at.resend(RECORD, "test") for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, Resent) for result in results) == 1
    assert sum(isinstance(result, Unavailable) for result in results) == 3
    assert at.office.outside.rcpts == [REAL]


@pytest.mark.parametrize("operation", ["take", "facts", "background", "open", "close", "resent"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_resend_that_broke_is_repeated_and_makes_what_is_missing(
    at: Counter, operation: str, moment: str
) -> None:
    to = await targets(at, R1, R2)

    def trouble(when: str, what: str) -> None:
        if (when, what) == (moment, operation):
            at.office.store.trouble = lambda when, what: None
            raise Unavailable("the database is away")

    at.office.store.trouble = trouble
    with pytest.raises(Unavailable):
        await at.resend(RECORD, "test", to)
    at.shelf.leased = False  # it runs out
    if (moment, operation) == ("after", "resent"):
        with pytest.raises(AlreadyResent):
            await at.resend(RECORD, "test", to)
    else:
        await at.resend(RECORD, "test", to)
    assert at.office.outside.rcpts == [REAL, SECOND]
    assert [row["outcome"] for row in at.office.entries()] == ["delivered", "delivered"]


async def test_a_killed_resend_is_finished_by_another_process(at: Counter) -> None:
    """One copy is out and recorded, the other is not; then the process is no more."""
    to = await targets(at, R1, R2)
    at.office.outside.answer = lambda copy: Handed("4Q1") if copy.rcpt == REAL else Refused(451, "4.3.0 later")
    with pytest.raises(Unavailable):
        await at.resend(RECORD, "test", to)
    at.office.outside.answer = lambda copy: Handed("4Q2")
    at.restart()
    assert (await at.resend(RECORD, "test", to)).copies == 1
    assert at.office.outside.rcpts == [REAL, SECOND]
    assert at.shelf.resent_by == ["test"]


async def test_who_gives_up_gives_the_message_back(at: Counter) -> None:
    await given_up(lambda make: replace(at.resend, make=make)(RECORD, "test"))
    assert (await at.resend(RECORD, "test")).copies == 1


async def test_a_resend_that_nobody_gets_is_none(at: Counter) -> None:
    at.office.outside.answer = lambda copy: Refused(550, "5.1.1 no such user")
    with pytest.raises(Conflict, match="nobody could get failed delivery 1: refused_by_postfix"):
        await at.resend(RECORD, "test")
    assert not at.shelf.resent_by
    at.office.outside.answer = lambda copy: Handed("4Q2")
    assert (await at.resend(RECORD, "test", await targets(at, R2))).copies == 1


async def test_a_copy_that_is_refused_for_good_is_named(at: Counter) -> None:
    at.office.outside.answer = lambda copy: Handed("4Q") if copy.rcpt == REAL else Refused(550, "5.1.1 no")
    to = await targets(at, R1, R2)
    assert await at.resend(RECORD, "test", to) == Resent(NUMBER, 1, Reason.REFUSED_BY_POSTFIX)
    assert at.shelf.resent_by == ["test"]


REFUSED = {
    "the alias was deleted": ("alias", 1, {"state": "deleted"}),
    "the account is suspended": ("account", 1, {"state": "suspended"}),
    "no recipient is verified": ("recipient", 1, {"verified_at": None}),
    "the alias belongs to another account now": ("alias", 1, {"account_id": 2}),
}


@pytest.mark.parametrize(("words", "change"), REFUSED.items(), ids=REFUSED)
async def test_nobody_may_receive_it(at: Counter, words: str, change: tuple[str, int, dict[str, object]]) -> None:
    at.office.account("another", "another@inbox.example")
    table, row, values = change
    at.office.store.update(table, row, **values)
    for _ in range(2):  # the second time shows that it was given back
        with pytest.raises(Conflict, match=words):
            await at.resend(RECORD, "test")
    assert at.copies == []
    assert at.office.entries() == []


async def test_mail_for_our_own_domains_would_come_back(at: Counter) -> None:
    number = at.office.recipient(1, "a1@own.example")
    row = at.office.store.row("recipient", id=number)
    assert row is not None
    with pytest.raises(Conflict, match="at domains of this service"):
        await at.resend(RECORD, "test", await targets(at, row["uuid"]))


# --- in the order of the API, addy-api.md N12 -----------------------------------------------------------------------


async def resend(at: Counter, key: FailedId | UUID = NUMBER, owner: int | None = 1, *recipients: UUID) -> Resent:
    account = None if owner is None else AccountId(owner)
    return await desk.resend(at.shelf, at.resend, account, key, "test", recipients)  # type: ignore[arg-type]


async def test_errors_come_in_the_order_of_the_api(at: Counter) -> None:
    at.shelf.message = None
    with pytest.raises(BadRecipients):
        await resend(at, UUID(int=99), 1, UNVERIFIED)
    with pytest.raises(Absent, match="there is no failed delivery"):
        await resend(at, UUID(int=99))
    with pytest.raises(Absent):
        await resend(at, RECORD.uuid, 2)
    at.shelf.resent_by.append("test")
    with pytest.raises(NotStored):
        await resend(at)
    at.store()
    with pytest.raises(AlreadyResent):
        await resend(at)
    at.shelf.resent_by.clear()
    assert (await resend(at, RECORD.uuid, 1, R2)).copies == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"email_type": "R"}, r"is no forward \(Reply\); only forwards can be resent"),
        ({"email_type": "S", "held": True}, r"is no forward \(Send\); what was held can be released"),
        ({"email_type": "IR"}, r"is no forward \(Inbound Rejection\)"),
        ({"alias_uuid": None}, "the alias of failed delivery 1 was deleted"),
        ({"alias_deleted": True}, "the alias of failed delivery 1 was deleted"),
    ],
)
async def test_only_forwards_of_an_alias_are_resent(at: Counter, change: dict[str, object], words: str) -> None:
    with pytest.raises(NotForward, match=words):
        await at.resend(replace(RECORD, **change), "test")  # type: ignore[arg-type]


async def test_the_operator_names_mailboxes(at: Counter) -> None:
    done = await desk.resend(
        at.shelf,  # type: ignore[arg-type]
        at.resend,
        None,
        NUMBER,
        "test",
        mailboxes=[parse_address(SECOND)],
    )
    assert done.copies == 1
    assert at.office.outside.rcpts == [SECOND]


async def test_an_unknown_mailbox_is_named(at: Counter) -> None:
    with pytest.raises(BadRecipients, match=r"who@inbox\.example is no recipient of that account"):
        await desk.resend(
            at.shelf,  # type: ignore[arg-type]
            at.resend,
            None,
            NUMBER,
            "test",
            mailboxes=[parse_address("who@inbox.example")],
        )


# --- what was held --------------------------------------------------------------------------------------------------


async def test_what_was_quarantined_is_released_with_its_warning_to_whom_one_chooses(at: Counter) -> None:
    envelope = Envelope(
        ingress_key("4XyZ12AbCd", MESSAGE),
        "4XyZ12AbCd",
        "<20260106.77@shop.example>",
        SENDER,
        "a1@alias.example",
        CLIENT,
        len(MESSAGE),
        AccountId(1),
        AliasId(1),
    )
    hold = Hold(envelope, "quarantined", Reason.SPAM, "spam", "mx.relay.example", SENDER, "shop.example", MESSAGE)
    held = await at.held.hold(hold)
    assert held.id is not None
    record = replace(RECORD, id=FailedId(held.id), held=True, quarantined=True)
    assert await at.resend(record, "test", await targets(at, R2)) == Resent(record.id, 1)
    assert at.office.outside.rcpts == [SECOND]
    assert b"\r\nX-Mailrelay-Spam: Yes\r\n" in at.contents[0]
    with pytest.raises(Conflict, match="was released before"):
        await at.resend(record, "test")
    assert at.held.state(at.held._record(HeldId(held.id))) == "released"


# --- copies that reports returned -----------------------------------------------------------------------------------

LIST = MESSAGE.replace(
    b"Subject: Your order 77\r\n",
    b"Reply-To: help@shop.example\r\nCc: Friend <friend@elsewhere.example>\r\nSubject: Your order 77\r\n"
    b"List-Post: <mailto:list@shop.example>\r\nList-Unsubscribe: <https://shop.example/u/1>\r\n"
    b"Sender: mta@shop.example\r\n",
)
ON_ITS_WAY = b"Return-Path: <b@x.example>\r\nDelivered-To: real@inbox.example\r\nReceived: from mx\r\n\tby mx2\r\n"


async def test_a_rewritten_copy_that_came_back_names_everybody_as_the_first_one_did(at: Counter) -> None:
    at.office.store.update("account", 1, forward_mode="rewrite")
    first = await at.first_copy(content=LIST)
    at.store(content=ON_ITS_WAY + first)
    done = await at.resend(RECORD, "test", await targets(at, R2))
    assert (done.copies, done.returned) == (1, True)
    [copy] = at.copies
    again, before = split(b"".join(copy.content)), split(first)
    assert copy.rcpt == SECOND
    assert again.values(b"x-mailrelay-mode") == [b"rewrite; reason=returned"]
    same = b"from to cc reply-to subject message-id date list-unsubscribe".split()
    names = [b"from", b"sender-address", b"reply-to", b"to", b"cc", b"sender", b"list-post"]
    for name in (*same, *(b"x-mailrelay-original-" + name for name in names)):
        assert again.values(name) == before.values(name), name
    assert again.count(b"x-mailrelay-loop") == again.count(b"dkim-signature") == 1
    assert not {b"delivered-to", b"list-post", b"received"} & {field.name for field in again.fields}
    assert again.body == before.body == split(LIST).body


async def test_an_untouched_copy_that_came_back_is_the_message_as_it_was(at: Counter) -> None:
    first = await at.first_copy()
    at.store(content=ON_ITS_WAY + first)
    await at.resend(RECORD, "test")
    again = split(at.contents[0])
    # Nobody vouches for what a report says.
    assert again.values(b"x-mailrelay-mode") == [b"rewrite; reason=returned"]
    assert again.values(b"x-mailrelay-original-from") == [b"Example Shop <news@shop.example>"]
    assert again.body == split(MESSAGE).body


async def test_a_header_that_came_back_alone_is_resent_as_far_as_it_goes(at: Counter) -> None:
    at.office.store.update("account", 1, forward_mode="rewrite")
    first = split(await at.first_copy())
    at.store(content=first.content[: first.header_end], partial=True)
    assert await at.resend(RECORD, "test") == Resent(NUMBER, 1, returned=True, partial=True)
    again = split(at.contents[0])
    assert again.first(b"subject") == b"Your order 77"
    assert again.body == b""
    assert b"\r\n\r\n" in at.contents[0]


async def test_a_copy_of_another_number_is_a_message_like_others(at: Counter) -> None:
    """Whoever writes our fields into a message does not decide who gets it, nor who has written it."""
    at.office.store.update("account", 1, forward_mode="rewrite")
    forged = (
        b"X-Mailrelay-Mode: rewrite\r\nX-Mailrelay-Id: 00000000000000ff\r\n"
        b"X-Mailrelay-Original-From: boss@bank.example\r\nX-Mailrelay-Envelope-To: other@alias.example\r\n"
    )
    at.store(content=forged + MESSAGE)
    assert not (await at.resend(RECORD, "test")).returned
    again = split(at.contents[0])
    assert again.values(b"x-mailrelay-original-from") == [b"Example Shop <news@shop.example>"]
    assert again.values(b"x-mailrelay-envelope-to") == [b"a1@alias.example"]
    assert at.office.outside.rcpts == [REAL]


async def test_a_returned_copy_that_was_tagged_is_tagged_again(at: Counter) -> None:
    at.office.store.update("account", 1, forward_mode="rewrite")
    first = await at.first_copy()
    at.store(content=first.replace(b"X-Mailrelay-Envelope-From", b"X-Mailrelay-Spam: Yes\r\nX-Mailrelay-Envelope-From"))
    await at.resend(RECORD, "test")
    assert b"\r\nX-Mailrelay-Spam: Yes\r\n" in at.contents[0]
    assert [order.warning for order in at.orders] == ["spam"]


@pytest.mark.parametrize("cut", range(0, 1400, 7))
async def test_a_copy_may_be_cut_anywhere(at: Counter, cut: int) -> None:
    at.office.store.update("account", 1, forward_mode="rewrite")
    first = await at.first_copy(content=LIST)
    at.store(content=first[:cut], partial=True)
    assert (await at.resend(RECORD, "test")).copies == 1
    assert at.office.outside.rcpts == [REAL]
