"""Untouched copies that are refused for their authentication: one more copy, rewritten, whatever happens in between."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain, repeat

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mailrelay.core import ingress
from mailrelay.core.bounce import Bounce
from mailrelay.core.dkim import SigningKey
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import Reason
from mailrelay.core.findings import Arc, Dkim, Dmarc, Findings, Spf
from mailrelay.core.header import split
from mailrelay.core.ingress import Ingress
from mailrelay.core.plan import Copy, Handed, Mail, Refused
from mailrelay.flows.handover import Dispatcher
from tests.unit.fakes import NOW, counter, final
from tests.unit.office import CLIENT, KEY, MESSAGE, OK, SENDER, TEMP, Office, new_office, no_keys

REFUSED = Bounce(failed=True, status="5.7.26", text="smtp; 550 5.7.26 unauthenticated mail is not accepted")
A1, REAL, SECOND = "a1@alias.example", "real@inbox.example", "second@inbox2.example"
_KEY = SigningKey("relay.example", "mr1", "rsa-sha256", rsa.generate_private_key(public_exponent=65537, key_size=1024))
MATERIAL = MESSAGE.replace(b"Thank you", b"More than \xff you asked for")


def signing(domain: str) -> Sequence[SigningKey]:
    return (_KEY,) if domain == "relay.example" else no_keys(domain)


@pytest.fixture(params=["unsigned", "signed"])
def office(request: pytest.FixtureRequest) -> Office:
    office = new_office(signing if request.param == "signed" else no_keys)
    office.bounce = REFUSED
    return office


@pytest.fixture
def signed() -> Office:
    office = new_office(signing)
    office.bounce = REFUSED
    return office


def content(copy: Copy) -> bytes:
    return b"".join(copy.content)


def report(returned: bytes, kind: str = "message/rfc822", end: bytes = b"--b--\r\n") -> bytes:
    """As Postfix writes it. What it says of the refusal is in office.bounce."""
    head = (
        "From: MAILER-DAEMON@mx.relay.example\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\nStatus: 5.7.26\r\n\r\n"
        f"--b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        "Return-Path: <b-x@bounces.relay.example>\r\nReceived: from mx.relay.example (localhost)\r\n\tby mx\r\n"
    )
    return head.encode() + returned + b"\r\n" + end


async def refuse(office: Office, copy: Copy, queue_id: str = "4Bounce1") -> list[str]:
    return await office.deliver(copy.sender, sender="", content=report(content(copy)), queue_id=queue_id)


async def first(office: Office, rcpt: str = A1, **options: str) -> Copy:
    """The copy of a message."""
    before = len(office.outside.copies)
    assert await office.deliver(rcpt, content=MATERIAL, **options) == [OK]
    [copy] = office.outside.copies[before:]
    return copy


async def test_12_3_91_a_refused_copy_is_made_once_more_and_rewritten(office: Office) -> None:
    untouched = await first(office, "A1+Promo@alias.example", sender="bounce+7@mta.shop.example")
    assert await refuse(office, untouched) == [OK]
    _, again = office.outside.copies
    assert again.rcpt == untouched.rcpt == REAL
    assert again.sender != untouched.sender
    message, body = split(content(again)), content(untouched).partition(b"\r\n\r\n")[2]
    assert message.body == body
    assert message.first(b"x-mailrelay-mode") == b"rewrite; reason=receiver"
    assert message.first(b"x-mailrelay-envelope-to") == b"a1+promo@alias.example"
    assert message.first(b"x-mailrelay-envelope-from") == b"bounce+7@mta.shop.example"
    assert b"a1+news=shop.example@alias.example" in (message.first(b"from") or b"")
    assert message.first(b"x-mailrelay-resend") is None
    for name in (b"x-mailrelay-id", b"x-mailrelay-loop", b"received", b"x-forwarded-to", b"dkim-signature", b"date"):
        assert message.count(name) == (name not in (b"received", b"x-forwarded-to")), name


async def test_the_books_tell_both_stories(office: Office) -> None:
    untouched = await first(office)
    await refuse(office, untouched)
    assert office.outcomes() == [
        (A1, "delivered", None),
        (A1, "failed", "bounce"),
        (untouched.sender, "discarded", "bounce_report"),
    ]
    rows = office.store.rows("outbound")
    assert [(row["mode"], row["destination"], row["bounce_count"]) for row in rows] == [
        ("transparent", REAL, 1),
        ("rewrite", REAL, 0),
    ]
    [alias] = office.store.rows("alias", local_part="a1", domain="alias.example")
    assert alias["emails_forwarded"] == 1
    assert len(office.store.rows("rate_window", kind="message", subject="")) == 1
    [again] = [row for row in office.entries(A1) if row["outcome"] == "delivered"]
    assert (again["queue_id"], again["sender"], again["fingerprint"]) == ("4Bounce1", SENDER, None)
    assert (again["account_id"], again["alias_id"], again["recipient_id"]) == (1, alias["id"], 1)


async def test_a_message_of_the_null_sender_keeps_it(office: Office) -> None:
    await refuse(office, await first(office, sender=""))
    message = split(content(office.outside.copies[1]))
    assert message.first(b"x-mailrelay-envelope-from") == b"<>"
    assert message.values(b"auto-submitted") == [b"auto-replied"]


async def test_it_is_not_counted_as_one_more_arrival(office: Office) -> None:
    """The same message for the fifth time within a day is a loop; second tries are none of these."""
    for number in range(4):
        untouched = await first(office, queue_id=f"4Arrival{number}")
        await refuse(office, untouched, queue_id=f"4Bounce{number}")
        office.store.tables["receiver_memory"].clear()
    assert [row["outcome"] for row in office.entries(A1)].count("delivered") == 4
    assert await office.deliver(A1, content=MATERIAL, queue_id="4Arrival4") == [OK]
    assert (A1, "discarded", "loop") in office.outcomes()


# -- Once ------------------------------------------------------------------------------------------------------------


async def test_however_often_it_is_reported_there_is_one_copy(office: Office) -> None:
    untouched = await first(office)
    assert await refuse(office, untouched) == [OK]
    assert await refuse(office, untouched) == [OK]
    assert await refuse(office, untouched, queue_id="4Bounce2") == [OK]
    await asyncio.gather(*(refuse(office, untouched, queue_id=f"4Bounce{number}") for number in range(3, 9)))
    assert office.outside.rcpts == [REAL, REAL]
    assert len(office.store.rows("outbound")) == 2
    assert [len(row["refused_at"]) for row in office.store.rows("receiver_memory")] == [1]


async def test_reports_at_the_same_time_make_one_copy(office: Office) -> None:
    untouched = await first(office)
    replies = await asyncio.gather(*(refuse(office, untouched, queue_id=f"4Bounce{number}") for number in range(6)))
    assert replies == [[OK]] * 6
    assert office.outside.rcpts == [REAL, REAL]


async def test_a_rewritten_copy_that_is_refused_is_the_end(office: Office) -> None:
    await refuse(office, await first(office))
    again = office.outside.copies[1]
    assert await refuse(office, again, queue_id="4Bounce2") == [OK]
    assert len(office.outside.copies) == 2
    assert [len(row["refused_at"]) for row in office.store.rows("receiver_memory")] == [1]
    assert final(office.entries())


async def test_each_copy_of_a_message_has_a_second_try_of_its_own(office: Office) -> None:
    await office.deliver("both@alias.example", content=MATERIAL)
    for number, untouched in enumerate(list(office.outside.copies)):
        await refuse(office, untouched, queue_id=f"4Bounce{number}")
    assert office.outside.rcpts == [REAL, REAL, SECOND, SECOND]


@pytest.mark.parametrize("answer", [Refused(451, "4.3.0 queue file write error"), None], ids=["defers", "away"])
async def test_a_report_waits_until_the_copy_is_handed_over(office: Office, answer: Refused | None) -> None:
    untouched = await first(office)

    def trouble(copy: Copy) -> Handed | Refused:
        if answer is None:
            raise Unavailable("connection refused")
        return answer

    office.outside.answer, works = trouble, office.outside.answer
    assert await refuse(office, untouched) == [TEMP]
    office.outside.answer = works
    assert await refuse(office, untouched) == [OK]
    assert office.outside.rcpts == [REAL, REAL]
    assert final(office.entries())


def strikes(at: int, error: Callable[[str], Exception]) -> Callable[[str, str], None]:
    """Trouble before or after the one store operation of this number."""
    moments: Iterator[bool] = chain(repeat(False, at), [True], repeat(False))

    def strike(moment: str, operation: str) -> None:
        if next(moments):
            raise error(f"{moment} {operation}")

    return strike


@pytest.mark.parametrize("at", range(20))
async def test_a_kill_in_between_loses_nothing_and_doubles_nothing(office: Office, at: int) -> None:
    untouched = await first(office)
    office.store.trouble = strikes(at, Unavailable)
    [reply] = await refuse(office, untouched)
    assert reply == (TEMP if at < 18 else OK)  # nine operations, before and after each
    office.store.trouble = lambda moment, operation: None
    assert await refuse(office, untouched) == [OK]
    assert await refuse(office, untouched, queue_id="4Bounce2") == [OK]
    assert office.outside.rcpts == [REAL, REAL]
    assert final(office.entries())


# -- What does not lead to a copy ------------------------------------------------------------------------------------


async def none_more(office: Office, returned: bytes, refusals: int = 1, kind: str = "message/rfc822") -> None:
    """The report is taken, the refusal counted, and nothing sent."""
    before = office.outside.copies[-1]
    number = len(office.outside.copies)
    reply = await office.deliver(before.sender, sender="", content=report(returned, kind), queue_id="4Bounce1")
    assert reply == [OK]
    assert len(office.outside.copies) == number
    assert sum(len(row["refused_at"]) for row in office.store.rows("receiver_memory")) == refusals
    assert (before.sender, "discarded", "bounce_report") in office.outcomes()
    assert office.store.rows("outbound")[-1]["bounce_count"] == 1


@pytest.mark.parametrize(
    ("status", "text"),
    [("5.1.1", "no such user"), ("5.7.1", "looks like spam"), ("4.7.26", "unauthenticated"), ("", "")],
)
async def test_other_refusals_end_with_the_record(office: Office, status: str, text: str) -> None:
    untouched = await first(office)
    office.bounce = Bounce(failed=True, status=status, text=text)
    await none_more(office, content(untouched), refusals=0)


async def test_a_receiver_without_smtputf8_gets_a_copy_that_needs_none(office: Office) -> None:
    named = MATERIAL.replace(b"Subject: ", "Subject: Grüße ".encode(), 1)
    mail = Mail("4XyZ12AbCd", SENDER, (A1,), named, CLIENT, smtputf8=True)
    assert [str(reply) for reply in await office.delivery(mail)] == [OK]
    [untouched] = office.outside.copies
    assert untouched.smtputf8 and content(untouched).endswith(named)
    office.bounce = Bounce(failed=True, status="5.6.7", text="SMTPUTF8 is required, but was not offered by host")
    assert await refuse(office, untouched) == [OK]
    _, again = office.outside.copies
    header, body = split(content(again)), named.partition(b"\r\n\r\n")[2]
    assert not again.smtputf8 and content(again)[: header.header_end].isascii()
    assert header.first(b"x-mailrelay-mode") == b"rewrite; reason=smtputf8"
    assert header.body == body
    assert office.store.rows("receiver_memory") == []


async def test_a_copy_that_waits_is_not_refused(office: Office) -> None:
    untouched = await first(office)
    office.bounce = replace(REFUSED, failed=False)
    assert await refuse(office, untouched) == [OK]
    assert len(office.outside.copies) == 1
    assert office.store.rows("receiver_memory") == []


async def test_a_header_alone_is_not_sent(office: Office) -> None:
    untouched = await first(office)
    await none_more(office, content(untouched).partition(b"\r\n\r\n")[0] + b"\r\n", kind="text/rfc822-headers")


async def test_a_message_that_was_cut_is_not_sent(office: Office) -> None:
    untouched = await first(office)
    before = office.outside.copies[-1]
    cut = report(content(untouched), end=b"")
    assert await office.deliver(before.sender, sender="", content=cut) == [OK]
    assert len(office.outside.copies) == 1


async def test_another_message_is_not_sent_as_this_one(office: Office) -> None:
    other = await first(office, queue_id="4Other", sender="other@shop.example")
    await first(office)
    await none_more(office, content(other))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"X-Mailrelay-Id: 0", b"X-Mailrelay-Id: 1", id="forged-id"),
        pytest.param(b"-To: real@inbox.example", b"-To: evil@inbox.example", id="forged-destination"),
        pytest.param(b"-Envelope-To: a1@alias", b"-Envelope-To: both@alias", id="another-alias"),
        pytest.param(b"-Envelope-To: a1@alias.example", b"-Envelope-To: a1@elsewhere.example", id="not-ours"),
        pytest.param(b"-Envelope-To: a1@alias.example", b"-Envelope-To: a b", id="no-address"),
        pytest.param(b"X-Mailrelay-Loop: v1; ", b"X-Mailrelay-Loop: v1; 0", id="forged-mark"),
        pytest.param(b"Subject:", b"X-Mailrelay-Id: 0123456789abcdef\r\nSubject:", id="second-id"),
    ],
)
async def test_a_forged_copy_is_not_sent(office: Office, old: bytes, new: bytes) -> None:
    untouched = await first(office)
    assert old in content(untouched)
    await none_more(office, content(untouched).replace(old, new, 1))


@pytest.mark.parametrize("new", [b"news@evil.example", b"boss@shop.example"])
async def test_where_copies_are_signed_nobody_else_can_write_one(signed: Office, new: bytes) -> None:
    untouched = await first(signed)
    await none_more(signed, content(untouched).replace(b"news@shop.example>", new + b">"))


async def test_a_message_that_passed_the_alias_before_is_a_loop_now(office: Office) -> None:
    untouched = await first(office)
    mark = next(line for line in content(untouched).splitlines(True) if line.startswith(b"X-Mailrelay-Loop"))
    await none_more(office, content(untouched).replace(b"From: Example", mark + b"From: Example"))


@pytest.mark.parametrize(
    ("table", "number", "change"),
    [
        pytest.param("account", 1, {"state": "suspended"}, id="account-suspended"),
        pytest.param("alias", 1, {"state": "inactive"}, id="alias-paused"),
        pytest.param("alias", 1, {"state": "deleted"}, id="alias-deleted"),
        pytest.param("alias", 1, {"state": "forgotten", "account_id": None}, id="alias-forgotten"),
        pytest.param("alias", 1, {"account_id": 2}, id="alias-of-another"),
        pytest.param("recipient", 1, {"verified_at": None}, id="recipient-unverified"),
        pytest.param("recipient", 1, {"address": "moved@inbox.example"}, id="recipient-changed"),
        pytest.param("recipient", 1, {"address": "x@u1.alias.example"}, id="recipient-is-ours"),
        pytest.param("account", 1, {"default_recipient_id": 2}, id="recipient-replaced"),
    ],
)
async def test_nobody_gets_a_copy_who_would_get_none_now(
    office: Office, table: str, number: int, change: dict[str, object]
) -> None:
    office.account("other", "other@inbox.example")
    untouched = await first(office)
    [alias] = office.store.rows("alias", local_part="a1", domain="alias.example")
    office.store.update(table, alias["id"] if table == "alias" else number, **change)
    await none_more(office, content(untouched))


async def test_a_banned_mailbox_gets_nothing_and_the_books_say_why(office: Office) -> None:
    untouched = await first(office)
    office.ban("email", REAL, "destination")
    assert await refuse(office, untouched) == [OK]
    assert len(office.outside.copies) == 1
    assert (A1, "failed", Reason.DESTINATION_BANNED.value) in office.outcomes()


async def test_the_operators_mail_is_not_made_again(office: Office) -> None:
    assert await office.deliver("postmaster@alias.example", content=MATERIAL) == [OK]
    await none_more(office, content(office.outside.copies[0]))


# -- The receiver ----------------------------------------------------------------------------------------------------


async def test_12_3_91_the_third_refusal_marks_the_receiver(office: Office) -> None:
    for number in range(3):
        untouched = await first(office, queue_id=f"4Mail{number}", sender=f"n{number}@shop.example")
        assert b"X-Mailrelay-Mode: transparent\r\n" in content(untouched)
        await refuse(office, untouched, queue_id=f"4Bounce{number}")
        office.now += timedelta(hours=1)
    [memory] = office.store.rows("receiver_memory")
    assert memory["receiver"] == "inbox.example"
    assert memory["rewrite_only_until"] - office.now == timedelta(days=30, hours=-1)
    await office.deliver("both@alias.example", queue_id="4Mail3", content=MATERIAL.replace(b"77", b"78"))
    marked, other = sorted(office.outside.copies[-2:], key=lambda copy: copy.rcpt)
    assert b"X-Mailrelay-Mode: rewrite; reason=receiver\r\n" in content(marked)
    assert b"X-Mailrelay-Mode: transparent\r\n" in content(other)


# -- What the copy says ----------------------------------------------------------------------------------------------


def checked(office: Office) -> bytes:
    """The message as the milter leaves it."""
    results = b"mx.relay.example; spf=pass smtp.mailfrom=shop.example; dkim=pass header.d=shop.example"
    findings = Findings(
        spf=Spf("pass", "shop.example"),
        dkim=(Dkim("pass", "shop.example", aligned=True),),
        dmarc=Dmarc("pass", "shop.example"),
        arc=Arc("none"),
    )
    with_results = b"Authentication-Results: " + results + b"\r\n" + MATERIAL
    time = int(NOW.timestamp())
    facts = Ingress("4XyZ12AbCd", time, "192.0.2.10", "mta", SENDER, "smtp", findings, 7.0, "tag", results=results)
    return b"X-Mailrelay-Ingress: " + ingress.compose(facts, split(with_results), KEY) + b"\r\n" + with_results


@pytest.mark.parametrize("seal", ["transparent", "always", "off"])
async def test_the_findings_at_ingress_are_told_again_if_we_sealed_them(signed: Office, seal: str) -> None:
    signed.rules.identity = replace(signed.rules.identity, arc_seal=seal)  # type: ignore[arg-type]  # one of its words
    signed.store.update("account", 1, spam_warning_behaviour="off")
    assert await signed.deliver(A1, content=checked(signed)) == [OK]
    [untouched] = signed.outside.copies
    before = split(content(untouched))
    assert (before.first(b"x-mailrelay-spam"), before.count(b"arc-seal")) == (b"Yes", seal != "off")
    assert await refuse(signed, untouched) == [OK]
    after = split(content(signed.outside.copies[1]))
    told = before.first(b"x-mailrelay-authentication-results") if seal != "off" else None
    assert (after.first(b"x-mailrelay-authentication-results") or b"").split() == (told or b"").split()
    assert after.first(b"x-mailrelay-spam") == b"Yes"
    assert after.count(b"arc-seal") == (seal == "always")
    assert after.count(b"x-mailrelay-ingress") == 0


@pytest.mark.parametrize("stores", [True, False])
async def test_untouched_copies_are_asked_back_whole_where_failures_are_stored(office: Office, stores: bool) -> None:
    office.store.update("account", 1, store_failed_deliveries=stores)
    untouched = await first(office)
    await office.deliver("postmaster@alias.example", content=MATERIAL)
    await refuse(office, untouched)
    assert [copy.return_full for copy in office.outside.copies] == [stores, False, stores]


async def test_a_new_process_makes_no_second_copy(office: Office) -> None:
    untouched = await first(office)
    await refuse(office, untouched)
    fresh = Dispatcher(office.store, office.outside, counter(99))
    paths = office.technical.return_paths
    office.technical.return_paths = replace(paths, second_try=replace(paths.second_try, dispatcher=fresh))
    assert await refuse(office, untouched) == [OK]
    assert office.outside.rcpts == [REAL, REAL]
