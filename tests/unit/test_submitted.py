"""What a login writes elsewhere in the name of an alias: sent through the alias, or refused in the session."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrelay.core.address import Address, Reverse, classify, parse_address
from mailrelay.core.eom import Refuse
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.findings import Dmarc, Findings
from mailrelay.core.header import Message, split
from mailrelay.core.plan import Copy
from mailrelay.core.sending.authorise import SendingLimits
from mailrelay.core.sending.submitted import alias_of, is_in_our_name, way
from mailrelay.flows.examine import Changes
from mailrelay.flows.recipients import Arrival
from tests.unit.office import OK, TEMP, new_office
from tests.unit.test_examine import Desk, arrival

REAL, ALIAS = "real@inbox.example", "a1@alias.example"
FRIEND, OTHER = "Friend@elsewhere.example", "other@elsewhere.example"
THROUGH = "a1+Friend=elsewhere.example@alias.example"
NOTALIAS = "550 5.7.1 From is no alias that this login may send with"
SENDOFF = "550 5.7.1 Replying from this address is switched off"
REALM = new_office().rules.around.realm


def fields(author: str = ALIAS, *more: tuple[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    return (
        (
            "Received",
            b" from laptop.inbox.example (unknown [192.0.2.77])\n\tby mx.relay.example (Authenticated sender: x)",
        ),
        ("From", b' "Real Name" <%b>' % author.encode()),
        ("To", b" %b, real@inbox.example" % FRIEND.encode()),
        ("Cc", b" Else <else@third.example>"),
        ("Subject", b" Tuesday"),
        ("Date", b" Sat, 21 Nov 2026 11:00:00 +0100"),
        ("Message-ID", b" <laptop-1@inbox.example>"),
        ("User-Agent", b" Mail 1.0"),
        *more,
    )


def submitted(
    *rcpts: str,
    author: str = ALIAS,
    sender: str = ALIAS,
    login: str = REAL,
    more: Sequence[tuple[str, bytes]] = (),
    **rest: Any,
) -> dict[str, Any]:
    """The arguments of an arrival."""
    rcpts = rcpts or (FRIEND,)
    return {
        "rcpts": tuple(rcpt.lower() for rcpt in rcpts),  # as Postfix has it
        "commands": rcpts,
        "sender": sender,
        "login": login,
        "header": fields(author, *more),
        "client": "192.0.2.77",
        **rest,
    }


@pytest.fixture
def desk() -> Desk:
    return Desk(Findings(dmarc=Dmarc("none", "alias.example")))


async def said(desk: Desk, *rcpts: str, **more: Any) -> str:
    arguments = submitted(*rcpts, **more)
    return await desk.said(*arguments.pop("rcpts"), **arguments)


async def redirected(desk: Desk, *rcpts: str, **more: Any) -> tuple[tuple[str, str], ...]:
    arguments = submitted(*rcpts, **more)
    changes = await desk.examine(*arguments.pop("rcpts"), **arguments)
    assert isinstance(changes, Changes), changes
    return changes.redirect


async def deliver(desk: Desk, *rcpts: str, **more: Any) -> list[str]:
    """Both ways in a row, as Postfix takes them."""
    arguments = submitted(*rcpts, **more)
    came: Arrival = arrival(*arguments.pop("rcpts"), **arguments)
    changes = await desk.examination(came)
    assert isinstance(changes, Changes), changes
    assert changes.remove == ()
    added = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in reversed(changes.add))
    new = dict(changes.redirect)
    return await desk.office.deliver(
        *(new.get(rcpt, rcpt) for rcpt in came.commands), sender=came.sender, content=added + came.content
    )


def copies(desk: Desk) -> list[tuple[Copy, Message]]:
    return [(copy, split(b"".join(copy.content))) for copy in desk.office.outside.copies]


# --- what goes out -------------------------------------------------------------------------------------------------


async def test_it_goes_through_the_alias(desk: Desk) -> None:
    assert await redirected(desk) == ((FRIEND, THROUGH),)
    assert desk.refused() == []


async def test_the_contact_gets_nothing_that_leads_to_the_owner(desk: Desk) -> None:
    assert await deliver(desk, body=b"> real@inbox.example wrote\r\nHi\r\n") == [OK]
    [(copy, message)] = copies(desk)
    assert copy.rcpt == FRIEND
    assert copy.sender.endswith("@alias.example") and not copy.sender.startswith("a1")
    whole = b"".join(copy.content).lower()
    for trace in (b"inbox.example", b"real", b"laptop", b"192.0.2.77", b"mail 1.0", b"received:", b"x-mailrelay"):
        assert trace not in whole
    assert message.first(b"from") == b"a1@alias.example"
    assert message.first(b"to") == FRIEND.encode()
    assert message.first(b"cc") == b'"Else" <else@third.example>'
    assert (message.first(b"message-id") or b"").endswith(b"@alias.example>")
    assert b"d=alias.example" in (message.first(b"dkim-signature") or b"")
    assert (message.first(b"feedback-id") or b"").startswith(b"S:")
    alias = desk.store.row("alias", id=1)
    assert alias is not None
    assert (alias["emails_sent"], alias["emails_replied"]) == (1, 0)
    assert desk.store.rows("rate_window", kind="reply_send")[0]["amount"] == 1


async def test_with_a_thread_it_is_a_reply(desk: Desk) -> None:
    more = [("In-Reply-To", b" <1@elsewhere.example>"), ("References", b" <1@elsewhere.example>")]
    assert await deliver(desk, more=more) == [OK]
    alias = desk.store.row("alias", id=1)
    assert alias is not None
    assert (alias["emails_sent"], alias["emails_replied"]) == (0, 1)


async def test_each_recipient_has_a_copy_and_the_second_try_makes_none(desk: Desk) -> None:
    bcc = "secret@third.example"
    assert await deliver(desk, FRIEND, OTHER, bcc) == [OK] * 3
    assert await deliver(desk, FRIEND, OTHER, bcc) == [OK] * 3
    found = copies(desk)
    assert sorted(copy.rcpt for copy, _ in found) == sorted([FRIEND, OTHER, bcc])
    assert not any(b"secret" in b"".join(copy.content) for copy, _ in found)
    assert len({message.first(b"message-id") for _, message in found}) == 1


async def test_recipients_of_ours_go_on_as_they_do(desk: Desk) -> None:
    """A contact by its reverse address, somebody else's alias, and one elsewhere."""
    account = desk.office.account("other", "o@inbox.example")
    desk.office.alias("theirs@alias.example", account)
    help_ = "a1+help=shop.example@alias.example"
    assert await deliver(desk, help_, "theirs@alias.example", FRIEND) == [OK] * 3
    assert sorted(copy.rcpt for copy, _ in copies(desk)) == sorted(["help@shop.example", "o@inbox.example", FRIEND])


@pytest.mark.parametrize("sender", [REAL, "a1+tag@alias.example", "both@alias.example", ""])
async def test_from_decides_which_alias_it_is(desk: Desk, sender: str) -> None:
    assert await redirected(desk, sender=sender) == ((FRIEND, THROUGH),)


@pytest.mark.parametrize("author", ["A1@Alias.example", "a1+tag@alias.example"])
async def test_an_alias_may_be_written_in_any_way(desk: Desk, author: str) -> None:
    assert await redirected(desk, author=author) == ((FRIEND, THROUGH),)


async def test_a_copy_for_oneself_does_not_stop_the_others(desk: Desk) -> None:
    assert await deliver(desk, FRIEND, REAL) == [OK, OK]
    assert [copy.rcpt for copy, _ in copies(desk)] == [FRIEND]
    assert ("a1+real=inbox.example@alias.example", "discarded", "own_contact") in desk.office.outcomes()
    assert await said(desk, REAL) == "550 5.7.1 Mail to this contact is not accepted"


async def test_mail_in_ones_own_name_is_left_alone(desk: Desk) -> None:
    desk.findings = Findings(dmarc=Dmarc("none", "inbox.example"))
    assert await redirected(desk, ALIAS, FRIEND, author=REAL, sender=REAL) == ()


async def test_without_a_login_nothing_is_redirected(desk: Desk) -> None:
    assert await redirected(desk, ALIAS, FRIEND, login="", sender="x@shop.example") == ()


# --- who may -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"login": "mallory@inbox.example"}, id="strangers-login"),
        pytest.param({"login": "real"}, id="no-address"),
        pytest.param({"login": "third@inbox3.example"}, id="unverified-recipient"),
        pytest.param({"login": ALIAS}, id="the-alias-itself"),
        pytest.param({"author": "theirs@alias.example"}, id="strangers-alias"),
        pytest.param({"author": "nobody@alias.example"}, id="no-such-alias"),
        pytest.param({"author": "fresh@own.example"}, id="not-made-yet"),
        pytest.param({"author": "x@deep.u1.alias.example"}, id="nested"),
        pytest.param({"author": REAL}, id="real-address-under-an-alias"),
        pytest.param({"author": "news@shop.example"}, id="somebody-elses-address"),
        pytest.param({"author": "a1+help=shop.example@alias.example"}, id="reverse-address"),
        pytest.param({"author": "r-" + "a" * 16 + "@alias.example"}, id="opaque"),
    ],
)
async def test_only_owners_write_as_an_alias(desk: Desk, more: dict[str, str]) -> None:
    account = desk.office.account("other", "mallory@inbox.example")
    desk.office.alias("theirs@alias.example", account)
    if more.get("login") == "mallory@inbox.example":
        assert await redirected(desk, author="theirs@alias.example", **more)
    assert await said(desk, **more) == NOTALIAS
    # Nor where others would take it.
    assert await said(desk, FRIEND, "both@alias.example", **more) == NOTALIAS
    assert all(reason == "not_authenticated" for _, reason in desk.refused())


async def test_a_dmarc_pass_is_no_login(desk: Desk) -> None:
    desk.findings = Findings(dmarc=Dmarc("pass", "alias.example", has_record=True, dkim_aligned=True))
    assert await said(desk, login="mallory@inbox.example") == NOTALIAS


@pytest.mark.parametrize(
    ("table", "change", "reply"),
    [
        ("recipient", {"can_reply_send": False}, SENDOFF),
        ("alias", {"attached_recipients_only": True}, SENDOFF),
        ("alias", {"state": "deleted"}, "550 5.1.1 Address does not exist"),
        ("account", {"state": "suspended"}, "550 5.2.1 Account is suspended"),
    ],
)
async def test_4_2_rights_are_those_of_replies(desk: Desk, table: str, change: dict[str, Any], reply: str) -> None:
    desk.store.update(table, 1, **change)
    assert await said(desk) == reply
    assert await said(desk, FRIEND, "both@alias.example") == reply


async def test_two_authors_are_none(desk: Desk) -> None:
    assert (
        await said(desk, more=[("From", b" <real@inbox.example>")])
        == "550 5.6.0 A single valid From address is required"
    )


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_all_recipients_have_to_be_within_the_limits(desk: Desk, count: int) -> None:
    desk.office.rules.sending_limits = replace(SendingLimits(), per_hour=2)
    rcpts = [f"f{number}@elsewhere.example" for number in range(count)]
    assert await said(desk, *rcpts) == ("passes" if count < 3 else "550 5.7.1 Sending limit reached")
    desk.store.use(1, "reply_send", "", 1)
    assert (await said(desk, *rcpts)).endswith("passes" if count == 1 else "Sending limit reached")


async def test_a_contact_that_cannot_be_reached_is_heard_of(desk: Desk) -> None:
    desk.office.reach["third.example"] = "no"
    assert await said(desk, "x@third.example") == "550 5.1.2 Contact cannot receive mail"
    assert await said(desk, FRIEND, "x@third.example") == "550 5.1.2 Contact cannot receive mail"
    assert desk.refused() == [("a1+x=third.example@alias.example", "bad_contact")]  # the same message


async def test_bans_count(desk: Desk) -> None:
    desk.office.ban("email", OTHER, "destination")
    assert (await said(desk, FRIEND, OTHER)).startswith("550 5.7.1 ")
    assert await said(desk, FRIEND) == "passes"
    desk.office.ban("email", ALIAS, "sender")
    assert (await said(desk, FRIEND)).startswith("554 5.7.1 Not accepted here")


async def test_a_loop_mark_is_no_way_around(desk: Desk) -> None:
    marks = [("X-Mailrelay-Loop", b" 1 deadbeef")] * 9
    assert await said(desk, login="mallory@inbox.example", more=marks) == NOTALIAS


@pytest.mark.parametrize(
    "command", ["friend%elsewhere.example", "@a.example:friend@elsewhere.example", '"a b"@x.example']
)
async def test_a_recipient_that_postfix_would_not_let_go_is_refused(desk: Desk, command: str) -> None:
    assert await said(desk, "friend@elsewhere.example", commands=(command,)) == "550 5.1.2 Contact cannot receive mail"


async def test_it_waits_for_the_database(desk: Desk) -> None:
    def trouble(moment: str, operation: str) -> None:
        if operation in ("facts", "sending"):
            raise Unavailable("database: away")

    desk.store.trouble = trouble
    assert await said(desk) == TEMP


async def test_nobody_relays_through_delivery(desk: Desk) -> None:
    """Whatever the header proves, a recipient elsewhere is none of ours: only Postfix sends there."""
    arguments = submitted()
    came = arrival(*arguments.pop("rcpts"), **arguments)
    changes = await desk.examination(came)
    assert isinstance(changes, Changes)
    added = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in reversed(changes.add))
    for sender in (ALIAS, REAL, "", "x@shop.example"):
        assert await desk.office.deliver(FRIEND, sender=sender, content=added + came.content) == [TEMP]
        assert await desk.office.deliver(FRIEND, sender=sender, content=came.content) == [TEMP]
    assert desk.office.outside.copies == []
    assert desk.office.entries() == []


# --- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "authors", "expected"),
    [
        (ALIAS, [], True),
        (REAL, [b" <a1@alias.example>"], True),
        (REAL, [b" x@inbox.example", b" y@own.example"], True),
        (REAL, [b" x@inbox.example, Z <z@u1.alias.example>"], True),
        (REAL, [b" real@inbox.example"], False),
        ("", [], False),
        ("postmaster@alias.example", [b" abuse@alias.example"], False),
        ("relay@relay.example", [b" postmaster@relay.example"], False),
        (REAL, [b" a1@sub.own.example"], False),
    ],
)
def test_whose_name_it_is(sender: str, authors: list[bytes], expected: bool) -> None:
    assert is_in_our_name(sender, authors, REALM) is expected


def test_the_longest_ways_need_not_suit_people() -> None:
    alias, long = parse_address("a1@alias.example"), "x" * 64 + "@elsewhere.example"
    found = way(alias, long, long)
    assert found is not None
    assert len(found.local) > 64
    assert way(alias, "x" * 64 + "@" + "y." * 85 + "example", "") is None
    assert way(alias, "grüße@elsewhere.example", "grüße@elsewhere.example") is None


@given(st.emails() | st.text(max_size=80), st.text(max_size=80) | st.none())
def test_a_way_leads_to_its_recipient_or_is_none(rcpt: str, command: str | None) -> None:
    alias = Address("a1", "alias.example")
    found = way(alias, rcpt, rcpt if command is None else command)
    if found is not None:
        assert found.domain == "alias.example"
        contact = parse_address(rcpt if command is None else command)
        assert classify(parse_address(str(found)).local.partition("+")[2]) == Reverse(contact)
        assert contact.folded == parse_address(rcpt).folded


def test_alias_of_nobody() -> None:
    assert alias_of(None, REALM) is None
    assert alias_of(parse_address("A1+x@alias.example"), REALM) == parse_address("a1@alias.example")


async def test_what_is_refused_has_its_reason(desk: Desk) -> None:
    arguments = submitted(login="mallory@inbox.example")
    found = await desk.examination.inspect(arrival(*arguments.pop("rcpts"), **arguments))
    [fate] = found.fates
    assert isinstance(fate, Refuse) and fate.reason is Reason.NOT_AUTHENTICATED
