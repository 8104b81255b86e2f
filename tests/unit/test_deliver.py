"""What becomes of queued mail, row by row of spec sections 2.4, 3.1, 9 and 12.1: one reply and one outcome each."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mailrelay.core import loop, verp
from mailrelay.core.address import Address
from mailrelay.core.bounce import Bounce
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.core.screen import day_number
from tests.golden.cases import examined
from tests.unit.fakes import NOW
from tests.unit.office import KEY, MESSAGE, OK, SENDER, TEMP, Office, new_office

REAL, SECOND, ADMIN = "real@inbox.example", "second@inbox2.example", "admin@inbox.example"
NOTREADY = "450 4.2.1 Address is not ready to receive mail"
PASSED = {"spf": {"result": "pass", "domain": "shop.example"}}
UNPROVED: dict[str, Any] = {"spf": {"result": "none"}, "dkim": []}
Prepare = Callable[[Office], object]


@pytest.fixture
def office() -> Office:
    return new_office()


def nothing(office: Office) -> None:
    """The fixture as it is."""


def changed(table: str, number: int, **values: object) -> Prepare:
    return lambda office: office.store.update(table, number, **values)


def handle(office: Office) -> None:
    office.store.insert("handle", account_id=1, local_part="shop", recipient_id=2)


def quota_used_up(office: Office) -> None:
    office.store.use(1, "bandwidth", "", 1 << 30)


def hourly_limit_reached(office: Office) -> None:
    office.store.use(1, "message", "", 200)


# row: preparation, recipient, who gets a copy
FORWARDED: dict[str, tuple[Prepare, str, list[str]]] = {
    "12.1-1": (nothing, "a1@alias.example", [REAL]),
    "12.1-2": (nothing, "A1@ALIAS.EXAMPLE", [REAL]),
    "12.1-3": (nothing, "a1+promo@alias.example", [REAL]),
    "12.1-4": (nothing, "new@own.example", [REAL]),
    "12.1-5": (nothing, "new+2@own.example", [SECOND]),
    "12.1-6": (nothing, "new+2.3@own.example", [SECOND]),
    "12.1-7": (nothing, "new+9@own.example", [REAL]),
    "12.1-8": (nothing, "a1+2@alias.example", [REAL]),
    "12.1-9": (nothing, "x@u1.alias.example", [REAL]),
    "12.1-13": (nothing, "prefix-shop@rx.example", [REAL]),
    "12.1-15": (nothing, "PREFIX9@rx.example", [REAL]),
    "12.1-25": (nothing, '"a1"@alias.example', [REAL]),
    "12.1-41": (changed("domain", 2, default_recipient_id=3), "new@own.example", [REAL]),
    "12.1-44": (hourly_limit_reached, "postmaster@alias.example", [ADMIN]),
    "12.1-45": (handle, "shop@alias.example", [SECOND]),
    "two-recipients": (nothing, "both@alias.example", [REAL, SECOND]),
    "stranger-at-a-reverse-address": (nothing, "a1+a=b.example@alias.example", [REAL]),
    "operator-of-the-service": (nothing, "Abuse+77@relay.example", [ADMIN]),
    "failing-one-of-two": (changed("recipient", 1, failing_since=NOW), "both@alias.example", [SECOND]),
}


@pytest.mark.parametrize(("prepare", "rcpt", "copies"), FORWARDED.values(), ids=FORWARDED)
async def test_mail_is_forwarded(office: Office, prepare: Prepare, rcpt: str, copies: list[str]) -> None:
    prepare(office)
    assert await office.deliver(rcpt) == [OK]
    assert office.outside.rcpts == copies
    assert [outcome for _, outcome, _ in office.outcomes()] == ["delivered"] * len(copies)


@pytest.mark.parametrize(("prepare", "rcpt", "copies"), FORWARDED.values(), ids=FORWARDED)
async def test_a_repeated_delivery_makes_no_second_copy(
    office: Office, prepare: Prepare, rcpt: str, copies: list[str]
) -> None:
    prepare(office)
    for _ in range(3):
        assert await office.deliver(rcpt) == [OK]
    assert office.outside.rcpts == copies
    forwarded = [row["emails_forwarded"] for row in office.store.rows("alias") if row["emails_forwarded"]]
    assert forwarded == ([] if ADMIN in copies else [1])


# row: preparation, recipient, reason
DROPPED: dict[str, tuple[Prepare, str, Reason]] = {
    "12.1-10": (nothing, "x@nobody.alias.example", Reason.UNKNOWN),
    "12.1-11": (nothing, "x@a.u1.alias.example", Reason.UNKNOWN),
    "12.1-12": (nothing, "unknown@alias.example", Reason.UNKNOWN),
    "12.1-14": (nothing, "shop@rx.example", Reason.UNKNOWN),
    "12.1-16": (nothing, "gone@alias.example", Reason.ALIAS_DELETED),
    "12.1-17": (nothing, "gone2@own.example", Reason.ALIAS_DELETED),
    "12.1-18": (nothing, "off@alias.example", Reason.ALIAS_INACTIVE),
    "12.1-18-reverse": (nothing, "off+a=b.example@alias.example", Reason.ALIAS_INACTIVE),
    "12.1-19": (changed("account", 1, block_behaviour="reject"), "off@alias.example", Reason.ALIAS_INACTIVE),
    "12.1-22": (changed("domain", 2, active=False), "new@own.example", Reason.PARENT_INACTIVE),
    "12.1-24": (nothing, "ñ@own.example", Reason.NAME_NOT_CREATABLE),
    "12.1-26": (nothing, "b-" + "a" * 34 + "@own.example", Reason.RETURN_PATH_INVALID),
    "12.1-42": (
        lambda office: office.store.insert("blocked_sender", account_id=1, type="domain", value="shop.example"),
        "a1@alias.example",
        Reason.BLOCKED_SENDER,
    ),
    "12.1-44b": (
        lambda office: office.store.insert("handle", local_part="old", state="released"),
        "old@alias.example",
        Reason.UNKNOWN,
    ),
    "2.4-suspended": (changed("account", 1, state="suspended"), "a1@alias.example", Reason.SUSPENDED),
    "2.2-23": (changed("alias", 1, sender_allow_list=["friend.example"]), "a1@alias.example", Reason.NOT_ALLOWED),
    "1.9-noreply": (nothing, "noreply@relay.example", Reason.NOREPLY),
    "1.9-opaque": (nothing, "r-" + "a" * 16 + "@alias.example", Reason.RESERVED),
    "service-domain": (nothing, "somebody@relay.example", Reason.UNKNOWN),
    "srs-forged": (nothing, "SRS0=aaaaaaaa=2W=x.example=y@srs.relay.example", Reason.RETURN_PATH_INVALID),
}


@pytest.mark.parametrize(("prepare", "rcpt", "reason"), DROPPED.values(), ids=DROPPED)
async def test_mail_is_taken_and_dropped_with_a_record(
    office: Office, prepare: Prepare, rcpt: str, reason: Reason
) -> None:
    """After the queue no policy refuses: a bounce would go to a sender that may be forged (invariant I4)."""
    prepare(office)
    for _ in range(2):
        assert await office.deliver(rcpt) == [OK]
    assert office.outside.copies == []
    assert [(outcome, why) for _, outcome, why in office.outcomes()] == [("discarded", reason.value)]
    assert office.store.rows("alias", local_part="new") == []


def unverified(office: Office) -> None:
    for number in (1, 2, 3):
        office.store.update("recipient", number, verified_at=None)


# row: preparation, recipient, reply
DEFERRED: dict[str, tuple[Prepare, str, str]] = {
    "2.4-rate": (
        hourly_limit_reached,
        "a1@alias.example",
        "450 4.2.1 Recipient is receiving mail too fast, try later",
    ),
    "2.4-quota": (quota_used_up, "a1@alias.example", "450 4.2.1 Recipient is receiving mail too fast, try later"),
    "12.1-20": (
        changed("account", 1, block_behaviour="defer"),
        "off@alias.example",
        "450 4.2.1 Address is not accepting mail now",
    ),
    "12.1-37": (
        lambda office: office.store.use(1, "new_alias", "", 100),
        "new@own.example",
        "450 4.2.1 Too many new addresses, try later",
    ),
    "12.1-40": (unverified, "a1@alias.example", "450 4.2.1 Address is not ready to receive mail"),
    "domain-not-ours": (nothing, "x@elsewhere.example", TEMP),
}


@pytest.mark.parametrize(("prepare", "rcpt", "reply"), DEFERRED.values(), ids=DEFERRED)
async def test_mail_waits_in_the_queue(office: Office, prepare: Prepare, rcpt: str, reply: str) -> None:
    prepare(office)
    assert await office.deliver(rcpt) == [reply]
    assert office.outside.copies == []
    assert office.entries() == []


@pytest.mark.parametrize(
    ("rcpt", "reply"),
    [
        pytest.param("x" * 241 + "@alias.example", "550 5.1.3 Recipient address too long", id="12.1-23"),
        pytest.param('"a 1"@alias.example', "553 5.1.3 Quoted local part not available at this domain", id="12.1-25"),
        pytest.param("a..b@alias.example", "501 5.1.3 Bad recipient address syntax", id="2.2-1"),
    ],
)
async def test_what_is_no_address_is_refused(office: Office, rcpt: str, reply: str) -> None:
    assert await office.deliver(rcpt, "a1@alias.example") == [reply, OK]
    assert office.outside.rcpts == [REAL]


@pytest.mark.parametrize(
    ("content", "reply", "reason"),
    [
        (b"x" * 100_001 + b"\r\n", "552 5.3.4 Message is larger than 100000 bytes", "too_large"),
        (MESSAGE + b"bare\nline\r\n", "550 5.6.0 Bare CR or LF in the message", "bare_newline"),
    ],
)
async def test_what_nobody_can_have_is_refused_for_everybody(
    office: Office, content: bytes, reply: str, reason: str
) -> None:
    rcpts = ["a1@alias.example", "unknown@alias.example"]
    assert await office.deliver(*rcpts, content=content) == [reply] * 2
    assert office.outcomes() == [(rcpt, "failed", reason) for rcpt in rcpts]


# -- Several recipients --------------------------------------------------------------------------------------------


async def test_recipients_stand_alone() -> None:
    """Spec 12.1 rows 21 and 43, and one of everything else."""
    office = new_office()
    other = office.account("other", "other@inbox.example")
    office.alias("theirs@alias.example", other)
    office.store.insert("blocked_sender", account_id=1, type="email", value=SENDER, alias_id=5)
    rcpts = ["off@alias.example", "a1@alias.example", "both@alias.example", "theirs@alias.example"]
    rcpts += ["a b@alias.example", "x@elsewhere.example", "unknown@alias.example", "postmaster@alias.example"]
    replies = await office.deliver(*rcpts)
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "250", "501", "451", "250", "250"]
    assert office.outside.rcpts == [ADMIN, "other@inbox.example", REAL]
    assert office.outcomes() == [
        ("a b@alias.example", "failed", "syntax"),
        ("a1@alias.example", "delivered", None),
        ("both@alias.example", "discarded", "blocked_sender"),
        ("off@alias.example", "discarded", "alias_inactive"),
        ("postmaster@alias.example", "delivered", None),
        ("theirs@alias.example", "delivered", None),
        ("unknown@alias.example", "discarded", "unknown"),
    ]


@pytest.mark.parametrize(
    "rcpts",
    [
        ("a1@alias.example", "a1@alias.example"),
        ("a1@alias.example", "A1@Alias.Example"),
        ("a1@alias.example", '"a1"@alias.example'),
        ("a1@alias.example", "a1@alias.example."),
        ('"a1"@alias.example', "A1@ALIAS.EXAMPLE."),
    ],
)
async def test_one_address_in_several_spellings_is_one_recipient(office: Office, rcpts: tuple[str, ...]) -> None:
    for _ in range(2):
        assert await office.deliver(*rcpts) == [OK] * len(rcpts)
    assert office.outside.rcpts == [REAL]
    assert len(office.entries()) == 1
    assert office.store.rows("alias", id=1)[0]["emails_forwarded"] == 1


async def test_two_extensions_are_two_recipients(office: Office) -> None:
    assert await office.deliver("a1+x@alias.example", "a1+y@alias.example") == [OK, OK]
    assert office.outside.rcpts == [REAL, REAL]
    assert len({copy.sender for copy in office.outside.copies}) == 2


async def test_no_recipient_no_reply(office: Office) -> None:
    assert await office.deliver() == []


async def test_two_new_addresses_of_one_name_make_one_alias(office: Office) -> None:
    assert await office.deliver("new+2@own.example", "new+x@own.example") == [OK, OK]
    assert len(office.store.rows("alias", local_part="new")) == 1


# -- Creation ------------------------------------------------------------------------------------------------------


async def test_an_alias_is_created_with_whom_the_keys_name(office: Office) -> None:
    await office.deliver("new+2.3@own.example")
    [alias] = office.store.rows("alias", local_part="new")
    assert (alias["account_id"], alias["extension"], alias["state"]) == (1, "2.3", "active")
    attached = office.store.rows("alias_recipient", alias_id=alias["id"])
    assert [row["recipient_id"] for row in attached] == [2]
    # The next mail finds the alias: there the extension is only a tag.
    await office.deliver("new+1@own.example", queue_id="4XyZ12AbCe")
    assert office.outside.rcpts == [SECOND, SECOND]


async def test_keys_that_name_nobody_leave_the_alias_with_the_default(office: Office) -> None:
    """Spec 12.1 row 7: also with a default that is chosen later."""
    await office.deliver("new+9@own.example")
    office.store.update("account", 1, default_recipient_id=2)
    await office.deliver("new@own.example", queue_id="4XyZ12AbCe")
    assert office.outside.rcpts == [REAL, SECOND]


@pytest.mark.parametrize(
    ("header", "sender", "reason"),
    [
        (b"Received: x\r\n" * 51, SENDER, Reason.HOPS),
        (b"X-Mailrelay-Loop: v1; 00000000000000000000\r\n" * 6, SENDER, Reason.LOOP),
        (b"Content-Type: multipart/report\r\n", "", Reason.BACKSCATTER),
    ],
)
async def test_mail_that_goes_nowhere_creates_nothing(
    office: Office, header: bytes, sender: str, reason: Reason
) -> None:
    assert await office.deliver("new@own.example", sender=sender, content=header + MESSAGE) == [OK]
    assert office.store.rows("alias", local_part="new") == []
    assert office.outcomes() == [("new@own.example", "discarded", reason.value)]


async def test_a_blocked_sender_creates_nothing(office: Office) -> None:
    office.store.insert("blocked_sender", account_id=1, type="email", value=SENDER)
    assert await office.deliver("new@own.example") == [OK]
    assert office.store.rows("alias", local_part="new") == []
    assert office.store.rows("rate_window") == []


# -- Loops and backscatter -----------------------------------------------------------------------------------------


def marked(office: Office, alias: int) -> bytes:
    row = office.store.row("alias", id=alias)
    assert row is not None
    return f"X-Mailrelay-Loop: {loop.mark(row['uuid'], KEY)}\r\n".encode() + MESSAGE


async def test_an_alias_does_not_forward_what_it_forwarded(office: Office) -> None:
    assert await office.deliver("a1@alias.example", "both@alias.example", content=marked(office, 1)) == [OK, OK]
    assert office.outside.rcpts == [REAL, SECOND]  # of `both`, which has not seen it
    assert ("a1@alias.example", "discarded", "loop") in office.outcomes()


async def test_our_own_copy_that_comes_back_is_a_loop(office: Office) -> None:
    await office.deliver("a1@alias.example")
    [copy] = office.outside.copies
    await office.deliver("a1@alias.example", content=b"".join(copy.content), queue_id="4XyZ12AbCe")
    assert len(office.outside.copies) == 1


async def test_a_bounce_of_nothing_of_ours_reaches_nobody_but_the_operator(office: Office) -> None:
    report = b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n" + MESSAGE
    assert await office.deliver("a1@alias.example", "postmaster@alias.example", sender="", content=report) == [OK] * 2
    assert office.outside.rcpts == [ADMIN]
    assert office.outcomes()[0] == ("a1@alias.example", "discarded", "backscatter")


async def test_other_mail_of_the_null_sender_is_forwarded(office: Office) -> None:
    assert await office.deliver("a1@alias.example", sender="") == [OK]
    [copy] = office.outside.copies
    assert b"Auto-Submitted: auto-replied\r\n" in copy.content[0]
    assert copy.sender.startswith("b-")


# -- Allow-list ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "sender", "passes"),
    [
        (["shop.example"], SENDER, True),
        (["example"], SENDER, True),
        (["news@shop.example"], SENDER, True),
        (["op.example"], SENDER, False),
        (["mta.example"], "b@mta.example", False),  # the author counts, whatever the envelope says
        ([], SENDER, False),
        (None, SENDER, True),
    ],
)
async def test_an_allow_list_names_authors(
    office: Office, entries: list[str] | None, sender: str, passes: bool
) -> None:
    office.store.update("alias", 1, sender_allow_list=entries)
    assert await office.deliver("a1@alias.example", sender=sender) == [OK]
    assert office.outside.rcpts == ([REAL] if passes else [])


async def test_without_an_author_the_sender_is_asked_for(office: Office) -> None:
    office.store.update("alias", 1, sender_allow_list=["shop.example"])
    await office.deliver("a1@alias.example", content=b"Subject: x\r\n\r\n")
    assert office.outside.rcpts == [REAL]


# -- Mailboxes that refuse ------------------------------------------------------------------------------------------


async def test_12_6_171_a_failing_recipient_gets_one_message_a_day(office: Office) -> None:
    office.store.update("recipient", 1, failing_since=NOW - timedelta(days=2))
    for queue_id in ("4Probe1", "4Probe2"):
        assert await office.deliver("both@alias.example", queue_id=queue_id) == [OK]
    assert sorted(office.outside.rcpts) == sorted([REAL, SECOND, SECOND])


async def test_12_6_171_where_all_are_failing_the_others_wait(office: Office) -> None:
    office.store.update("recipient", 1, failing_since=NOW - timedelta(days=2))
    assert await office.deliver("a1@alias.example", queue_id="4Probe1") == [OK]
    assert await office.deliver("a1@alias.example", queue_id="4Probe2") == [NOTREADY]
    assert office.outside.rcpts == [REAL]


async def test_7_9_mail_of_unproved_senders_does_not_wait_for_ever(office: Office) -> None:
    office.store.update("recipient", 1, failing_since=NOW - timedelta(hours=1))
    old = NOW - timedelta(days=4)
    for found, answer in ((PASSED, NOTREADY), (UNPROVED, OK)):
        content = examined(MESSAGE, found, SENDER, old)
        assert await office.deliver("a1@alias.example", content=content, queue_id=f"4{answer[:3]}") == [answer]
    assert office.outcomes() == [("a1@alias.example", "discarded", "waited_too_long")]


# -- Return paths --------------------------------------------------------------------------------------------------


def return_path(number: int, age: int = 0) -> str:
    path = verp.VerpId(verp.EmailType.FORWARD, number, day_number(NOW) - age)
    return f"{verp.encode(path, 'bounces.relay.example', KEY)}@bounces.relay.example"


async def test_a_bounce_ends_on_the_row_of_its_copy(office: Office) -> None:
    await office.deliver("a1@alias.example")
    [copy] = office.outside.copies
    office.bounce = Bounce(failed=True, status="5.1.1", text="550 no such user")
    for queue_id in ("4XyZ1", "4XyZ1", "4XyZ2"):
        assert await office.deliver(copy.sender.upper(), sender="", queue_id=queue_id) == [OK]
    assert len(office.outside.copies) == 1
    [row] = office.store.rows("outbound")
    assert (row["bounce_status"], row["bounce_text"], row["bounce_count"]) == ("5.1.1", "550 no such user", 3)
    assert ("a1@alias.example", "failed", "bounce") in office.outcomes()
    assert (copy.sender, "discarded", "bounce_report") in office.outcomes()


@pytest.mark.parametrize(
    ("bounce", "reason"),
    [(Bounce(False, "4.4.1", "still trying"), Reason.BOUNCE_REPORT), (None, Reason.RETURN_PATH_MAIL)],
    ids=["delayed", "no-report"],
)
async def test_other_mail_to_a_return_path_changes_nothing(
    office: Office, bounce: Bounce | None, reason: Reason
) -> None:
    await office.deliver("a1@alias.example")
    [copy] = office.outside.copies
    office.bounce = bounce
    assert await office.deliver(copy.sender, sender="stranger@shop.example") == [OK]
    assert len(office.outside.copies) == 1
    assert office.outcomes() == [("a1@alias.example", "delivered", None), (copy.sender, "discarded", reason.value)]


@pytest.mark.parametrize(
    ("rcpt", "reason"),
    [
        (return_path(99), Reason.RETURN_PATH_UNKNOWN),
        (return_path(99, age=11), Reason.RETURN_PATH_INVALID),
        (return_path(99).replace("bounces.relay", "own"), Reason.RETURN_PATH_INVALID),
    ],
)
async def test_a_bounce_of_an_unknown_copy_is_dropped(office: Office, rcpt: str, reason: Reason) -> None:
    office.bounce = Bounce(failed=True, status="5.1.1", text="no")
    assert await office.deliver(rcpt, sender="") == [OK]
    assert office.outcomes() == [(rcpt, "discarded", reason.value)]


# -- Destinations --------------------------------------------------------------------------------------------------


async def test_a_banned_destination_gets_nothing_and_the_others_do(office: Office) -> None:
    """Spec 12.1 row 44c."""
    office.ban("domain", "inbox.example", "destination")
    assert await office.deliver("both@alias.example", "a1@alias.example") == [OK, OK]
    assert office.outside.rcpts == [SECOND]
    assert office.outcomes() == [
        ("a1@alias.example", "failed", "destination_banned"),
        ("both@alias.example", "delivered", None),
        ("both@alias.example", "failed", "destination_banned"),
    ]


async def test_every_copy_has_an_envelope_of_its_own(office: Office) -> None:
    await office.deliver("both@alias.example")
    for copy in office.outside.copies:
        local, _, domain = copy.sender.partition("@")
        path = verp.decode(local, domain, (KEY,), day_number(NOW))
        assert isinstance(path, verp.VerpId)
        assert f"{path.outbound_id:016x}" == copy.envelope_id
        [row] = office.store.rows("outbound", id=path.outbound_id)
        assert row["destination"] == copy.rcpt
        assert not (copy.eight_bit or copy.smtputf8)
    assert len({copy.sender for copy in office.outside.copies}) == 2


async def test_eight_bits_and_utf8_are_announced_if_they_are_there(office: Office) -> None:
    await office.deliver("a1@alias.example", content=MESSAGE + b"caf\xe9\r\n")
    office.store.update("recipient", 1, address="r\u00e9al@inbox.example")
    await office.deliver("a1@alias.example", queue_id="4XyZ12AbCe")
    assert [(copy.eight_bit, copy.smtputf8) for copy in office.outside.copies] == [(True, False), (False, True)]


# -- Trouble -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["facts", "open", "close", "make_alias"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("trouble", [Unavailable("away"), RuntimeError("bug")], ids=["away", "bug"])
async def test_trouble_with_the_store_is_tried_again_and_copies_are_made_once(
    office: Office, operation: str, moment: str, trouble: Exception
) -> None:
    left = [trouble]

    def sometimes(when: str, what: str) -> None:
        if (when, what) == (moment, operation) and left:
            raise left.pop()

    office.store.trouble = sometimes
    assert await office.deliver("new+2.1@own.example") == [TEMP]
    assert await office.deliver("new+2.1@own.example") == [OK]
    assert office.outside.rcpts == [REAL, SECOND]
    assert [outcome for _, outcome, _ in office.outcomes()] == ["delivered", "delivered"]
    assert office.store.rows("alias", local_part="new")[0]["emails_forwarded"] == 1


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_ending_that_was_not_written_is_tried_again(office: Office, moment: str) -> None:
    left = [Unavailable("away")]

    def sometimes(when: str, what: str) -> None:
        if (when, what) == (moment, "end") and left:
            raise left.pop()

    office.store.trouble = sometimes
    assert await office.deliver("off@alias.example") == [TEMP]
    assert await office.deliver("off@alias.example") == [OK]
    assert office.outcomes() == [("off@alias.example", "discarded", "alias_inactive")]
    assert office.store.rows("alias", id=2)[0]["emails_blocked"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        Refused(451, "4.3.0 queue file write error"),
        Refused(452, "4.3.1 Insufficient system storage"),
        Refused(421, "4.3.2 shutting down"),
        Refused(554, "5.7.1 Relay access denied"),
        Refused(550, "no enhanced code"),
        Refused(501, "5.5.4 Syntax"),
        Refused(503, "5.5.1 nested MAIL"),
        # These are about the sender, which is ours: a mistake in the listener's configuration.
        Refused(553, "5.1.7 <b-x@bounces.relay.example>: Sender address rejected: not owned"),
        Refused(550, "5.1.8 <b-x@bounces.relay.example>: Sender address rejected: Domain not found"),
    ],
    ids=lambda answer: answer.text.split()[0],
)
async def test_a_listener_in_trouble_loses_nothing(office: Office, answer: Refused) -> None:
    office.outside.answer = lambda copy: answer
    assert await office.deliver("both@alias.example") == [TEMP]
    assert [outcome for _, outcome, _ in office.outcomes()] == ["queued", "queued"]
    office.outside.answer = lambda copy: Handed("4QqQ000001")
    assert await office.deliver("both@alias.example") == [OK]
    assert office.outside.rcpts == [REAL, SECOND]


@pytest.mark.parametrize(
    "text",
    ["5.1.1 <x>: Recipient address rejected: User unknown", "5.1.2 bad domain", "5.2.1 off", "5.3.4 too big"],
)
async def test_a_destination_that_is_refused_for_good_fails_alone(office: Office, text: str) -> None:
    office.outside.answer = lambda copy: Refused(550, text) if copy.rcpt == REAL else Handed("4QqQ000001")
    for _ in range(2):
        assert await office.deliver("both@alias.example", "a1@alias.example") == [OK, OK]
    assert office.outside.rcpts == [SECOND]
    assert office.outcomes() == [
        ("a1@alias.example", "failed", "refused_by_postfix"),
        ("both@alias.example", "delivered", None),
        ("both@alias.example", "failed", "refused_by_postfix"),
    ]


async def test_one_copy_in_trouble_holds_up_nobody(office: Office) -> None:
    def answer(copy: Copy) -> Handed | Refused:
        if copy.rcpt == SECOND:
            raise Unavailable("broken off")
        return Handed("4QqQ000001")

    office.outside.answer = answer
    replies = await office.deliver("both@alias.example", "a1@alias.example", "off@alias.example")
    assert replies == [TEMP, OK, OK]
    assert office.outside.rcpts == [REAL, REAL]
    office.outside.answer = lambda copy: Handed("4QqQ000001")
    assert await office.deliver("both@alias.example") == [OK]
    assert office.outside.rcpts == [REAL, REAL, SECOND]
    counted = [row["emails_forwarded"] for row in office.store.rows("alias")]
    assert counted == [1, 0, 0, 0, 1]


async def test_a_bug_in_one_recipient_is_no_answer_for_others(office: Office) -> None:
    def answer(copy: Copy) -> Handed | Refused:
        if copy.rcpt == REAL:
            raise RuntimeError("bug")
        return Handed("4QqQ000001")

    office.outside.answer = answer
    office.alias("two@alias.example", recipients=(2,))
    assert await office.deliver("a1@alias.example", "two@alias.example") == [TEMP, OK]
    assert office.outside.rcpts == [SECOND]


async def test_who_takes_too_long_is_answered_and_joined_again(office: Office) -> None:
    opened = asyncio.Event()

    async def slow(copy: Copy) -> Handed | Refused:
        await opened.wait()
        return await office.outside(copy)

    office.dispatcher.submit = slow
    office.delivery.timeout_seconds = 0.01
    assert await office.deliver("a1@alias.example") == [TEMP]
    office.delivery.timeout_seconds = 60.0
    again = asyncio.create_task(office.deliver("a1@alias.example"))
    await asyncio.sleep(0)
    opened.set()
    assert await again == [OK]
    assert office.outside.rcpts == [REAL]


async def test_a_key_that_cannot_be_used_makes_mail_wait() -> None:
    def broken(domain: str) -> list[object]:
        raise RuntimeError("key file is damaged")

    office = new_office(broken)  # type: ignore[arg-type]
    assert await office.deliver("a1@alias.example") == [TEMP]
    assert [outcome for _, outcome, _ in office.outcomes()] == ["queued"]


# -- Idempotency ---------------------------------------------------------------------------------------------------


async def test_other_content_under_a_queue_id_that_came_back_is_other_mail(office: Office) -> None:
    await office.deliver("a1@alias.example")
    await office.deliver("a1@alias.example", content=MESSAGE + b"PS\r\n")
    assert office.outside.rcpts == [REAL, REAL]


async def test_the_same_content_under_another_queue_id_is_other_mail(office: Office) -> None:
    await office.deliver("a1@alias.example")
    await office.deliver("a1@alias.example", queue_id="4XyZ12AbCe")
    assert office.outside.rcpts == [REAL, REAL]


async def test_a_recipient_that_joined_between_two_tries_gets_a_copy_too(office: Office) -> None:
    office.outside.answer = lambda copy: Handed("1") if copy.rcpt == REAL else Refused(451, "4.3.0 later")
    assert await office.deliver("both@alias.example") == [TEMP]
    office.outside.answer = lambda copy: Handed("2")
    office.store.insert("alias_recipient", alias_id=5, recipient_id=office.recipient(1, "fourth@inbox4.example"))
    assert await office.deliver("both@alias.example") == [OK]
    assert office.outside.rcpts == ["fourth@inbox4.example", REAL, SECOND]


# -- Counting ------------------------------------------------------------------------------------------------------


async def test_a_recipient_counts_once_and_its_octets_with_every_copy(office: Office) -> None:
    await office.deliver("both@alias.example", sender="b@mail.shop.example")
    used = {(row["kind"], row["subject"]): row["amount"] for row in office.store.rows("rate_window")}
    size = 2 * len(MESSAGE)
    assert used == {
        ("message", ""): 1,
        ("message", "shop.example"): 1,
        ("bandwidth", ""): size,
        ("bandwidth", "shop.example"): size,
    }


async def test_the_hourly_limit_holds_at_delivery(office: Office) -> None:
    office.store.update("account", 1, messages_per_hour=3)
    replies = []
    for number in range(5):
        replies += await office.deliver(
            "a1@alias.example", sender=f"x@s{number}.test{number}", queue_id=f"4XyZ{number}"
        )
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "450", "450"]
    office.now += timedelta(hours=1, minutes=1)
    assert await office.deliver("a1@alias.example", queue_id="4XyZ3") == [OK]


async def test_envelopes_reach_the_ledger(office: Office) -> None:
    await office.deliver("A1+X@alias.example", sender="News@Shop.example")
    [row] = office.entries()
    assert (row["rcpt"], row["sender"], row["queue_id"]) == ("a1+x@alias.example", "News@Shop.example", "4XyZ12AbCd")
    assert (row["account_id"], row["alias_id"], row["recipient_id"]) == (1, 1, 1)


async def test_the_queue_id_is_read_from_the_message_if_nobody_told_it(office: Office) -> None:
    content = b"Received: from x by mx.relay.example (Postfix) with ESMTP id 4XyZ99\r\n" + MESSAGE
    await office.deliver("a1@alias.example", content=content, queue_id="")
    assert [row["queue_id"] for row in office.entries()] == ["4XyZ99"]


async def test_large_mail_is_delivered_as_well(office: Office) -> None:
    office.rules.message_octets = 10_000_000
    content = MESSAGE + b"x" * 70 + b"\r\n" + b"line of text\r\n" * 100_000
    assert await office.deliver("a1@alias.example", content=content) == [OK]
    assert b"".join(office.outside.copies[0].content).endswith(content)


async def test_what_a_reload_changes_holds_for_the_next_mail(office: Office) -> None:
    office.rules.identity = replace(office.rules.identity, bounce_domain="b.relay.example")
    await office.deliver("a1@alias.example")
    assert office.outside.copies[0].sender.endswith("@b.relay.example")


async def test_mail_for_an_operator_who_is_an_operator_address_waits(office: Office) -> None:
    identity = office.rules.identity
    office.rules.identity = replace(identity, operator=(Address("postmaster", "alias.example"),))
    assert await office.deliver("abuse@alias.example") == [TEMP]
    assert office.outside.copies == []
