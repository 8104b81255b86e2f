"""The story of a message at its end: rows of spec sections 2.3 and 12.2 with a store in memory."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mailrelay.core import ingress, loop, verp
from mailrelay.core.bans import Ban, BanBook, BanId
from mailrelay.core.eom import Preferences
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import AccountId
from mailrelay.core.findings import Arc, Dmarc, Findings, Policy, Result, Sealer, Spf
from mailrelay.core.header import Message, split
from mailrelay.core.notices import Code
from mailrelay.core.reply import Reply
from mailrelay.core.rules import stored
from mailrelay.core.rules.model import Book, RuleId, StoredRule
from mailrelay.core.screen import day_number
from mailrelay.core.sending.contact import Reach
from mailrelay.core.spam import Thresholds
from mailrelay.flows.authenticate import Client
from mailrelay.flows.examine import Changes, Examination, Examined, Trusted
from mailrelay.flows.recipients import Arrival
from mailrelay.flows.rules import Checks
from tests.unit.fakes import NOW, FakeStore
from tests.unit.office import KEY, SENDER, TEMP, UNKNOWN, Office, new_office

INGRESS_KEY = bytes(range(1, 33))
SERVICE = "mx.relay.example"
HEADER: tuple[tuple[str, bytes], ...] = (
    ("From", b" Example Shop\n <news@shop.example>"),
    ("To", b" a1@alias.example"),
    ("Subject", b" Your order"),
    ("Message-ID", b" <77@shop.example>"),
)
DMARC = "550 5.7.26 Rejected by the DMARC policy of shop.example"
BADFROM = "550 5.6.0 A single valid From address is required"


def failing(policy: Policy = "reject", **more: Any) -> Findings:
    dmarc = Dmarc("fail", "shop.example", has_record=True, published=policy, policy=policy)
    return Findings(dmarc=dmarc, **more)


PASSING = Findings(
    spf=Spf("pass", "shop.example"),
    dmarc=Dmarc("pass", "shop.example", has_record=True, published="reject", policy="reject", spf_aligned=True),
)


def arrival(*rcpts: str, header: Sequence[tuple[str, bytes]] = HEADER, body: bytes = b"Hi\r\n", **more: Any) -> Arrival:
    content = b"".join(b"%s:%s\r\n" % (name.encode(), value.replace(b"\n", b"\r\n")) for name, value in header)
    content += b"\r\n" + body
    usual = Arrival(
        "4XyZ1k",
        "192.0.2.10",
        "mail.shop.example",
        SENDER,
        rcpts or ("a1@alias.example",),
        "",
        is_local=False,
        header=tuple(header),
        content=content,
        size_octets=len(content),
    )
    return replace(usual, **more)


class Desk:
    """An examination over the office's store. asked: what authentication was told of clients."""

    def __init__(self, findings: Findings = PASSING) -> None:
        self.office: Office = new_office()
        self.store: FakeStore = self.office.store
        self.findings = findings
        self.asked: list[tuple[Client, str]] = []
        self.preferences: dict[int, Preferences] = {}
        self.preferences_away = False
        self.office.rules.checks = Checks(required=True, keys=(INGRESS_KEY,), thresholds=Thresholds(6, 15))
        self.examination = Examination(
            self.office.rules,
            Trusted(frozenset({"lists.example"}), "X-Spam-Score"),
            self.authenticate,
            self.office.recipients,
            self.read_preferences,
            self.store.count_rules,
            self.store,
            self.store.post,
            self.office.clock,
            1.0,
        )

    async def authenticate(self, message: Message, client: Client, author_domain: str, now: int) -> Findings:
        self.asked.append((client, author_domain))
        await asyncio.sleep(0)
        return self.findings

    async def read_preferences(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, Preferences]:
        if self.preferences_away:
            raise Unavailable("away")
        return {account: self.preferences.get(account, Preferences()) for account in accounts}

    async def examine(self, *rcpts: str, **more: Any) -> Examined:
        answer = await self.examination(arrival(*rcpts, **more))
        await self.examination.drain()
        return answer

    async def said(self, *rcpts: str, **more: Any) -> str:
        answer = await self.examine(*rcpts, **more)
        return str(answer) if isinstance(answer, Reply) else "passes"

    async def passes(self, *rcpts: str, **more: Any) -> ingress.Ingress:
        """What the ingress header tells of a message that is accepted."""
        changes = await self.examine(*rcpts, **more)
        assert isinstance(changes, Changes), changes
        return told(arrival(*rcpts, **more), changes)

    def refused(self) -> list[tuple[str, str]]:
        return [(row["rcpt"], row["reason"]) for row in self.store.rows("ledger", outcome="refused")]


def told(came: Arrival, changes: Changes) -> ingress.Ingress:
    added = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in reversed(changes.add))
    found = ingress.read(split(added + came.content), (INGRESS_KEY,), int(NOW.timestamp()), SERVICE)
    assert isinstance(found, ingress.Ingress), found
    return found


@pytest.fixture
def desk() -> Desk:
    return Desk()


# --- mail that is accepted -----------------------------------------------------------------------------------------


async def test_good_mail_gets_two_fields_and_loses_none(desk: Desk) -> None:
    changes = await desk.examine()
    assert isinstance(changes, Changes)
    assert changes.remove == ()
    assert [name for name, _ in changes.add] == ["Authentication-Results", "X-Mailrelay-Ingress"]
    assert changes.add[0][1].startswith(b"mx.relay.example; ")
    assert desk.refused() == []


async def test_the_ingress_header_tells_what_was_found(desk: Desk) -> None:
    found = await desk.passes()
    assert (found.queue_id, found.time, found.ip) == ("4XyZ1k", int(NOW.timestamp()), "192.0.2.10")
    assert (found.helo, found.mail_from, found.route) == ("mail.shop.example", SENDER, "smtp")
    assert (found.findings.dmarc.result, found.action, found.spam) == ("pass", "none", None)
    assert b"dmarc=pass" in found.results


async def test_authentication_is_told_whom_to_ask_about(desk: Desk) -> None:
    await desk.examine()
    ((client, domain),) = desk.asked
    assert (str(client.ip), client.helo, client.mail_from, client.is_trusted) == (
        "192.0.2.10",
        "mail.shop.example",
        SENDER,
        False,
    )
    assert domain == "shop.example"


@pytest.mark.parametrize(
    ("more", "route"),
    [
        ({"login": "fred"}, "login:fred"),
        ({"is_local": True, "client": "127.0.0.1"}, "local"),
        ({"client": "127.0.0.1"}, "smtp"),
    ],
)
async def test_who_is_trusted_need_not_be_signed_yet(more: dict[str, Any], route: str) -> None:
    desk = Desk(failing())
    found = await desk.passes(**more)
    assert (found.route, found.action, desk.asked[0][0].is_trusted) == (route, "none", True)


async def test_forged_fields_go(desk: Desk) -> None:
    header = (
        ("X-Mailrelay-Ingress", b" v=1;dmarc=pass"),
        ("Authentication-Results", b" mx.relay.example; dmarc=pass"),
        ("Authentication-Results", b" mx.shop.example; dmarc=pass"),
        *HEADER,
    )
    changes = await desk.examine(header=header)
    assert isinstance(changes, Changes)
    assert changes.remove == (("Authentication-Results", 1), ("X-Mailrelay-Ingress", 1))


# --- mail that is refused ------------------------------------------------------------------------------------------


async def test_12_2_46_a_failing_policy_refuses_in_the_session_and_is_recorded() -> None:
    desk = Desk(failing())
    assert await desk.said() == DMARC
    assert desk.refused() == [("a1@alias.example", "dmarc")]


async def test_12_2_47_an_owner_may_want_to_see_it() -> None:
    desk = Desk(failing())
    desk.preferences[1] = Preferences("quarantine")
    assert (await desk.passes()).action == "quarantine"


@pytest.mark.parametrize(("policy", "action"), [("quarantine", "quarantine"), ("none", "tag")])
async def test_12_2_48_49_weaker_policies_leave_a_mark(policy: Policy, action: str) -> None:
    assert (await Desk(failing(policy)).passes()).action == action


async def test_12_2_50_a_trusted_chain_vouches() -> None:
    chain = Arc("pass", 0, (Sealer(1, "lists.example", "pass", "shop.example"),), 1)
    found = await Desk(failing(arc=chain)).passes()
    assert (found.action, found.note) == ("none", "arc-override")


async def test_a_chain_of_strangers_does_not() -> None:
    chain = Arc("pass", 0, (Sealer(1, "elsewhere.example", "pass", "shop.example"),), 1)
    assert await Desk(failing(arc=chain)).said() == DMARC


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param((*HEADER, ("FROM", b" x@shop.example")), BADFROM, id="12.2-54-two-from-fields"),
        pytest.param(HEADER[1:], BADFROM, id="2.3-5-no-from"),
        pytest.param((("From", b" nobody"), *HEADER[1:]), BADFROM, id="2.3-5-no-address"),
        pytest.param((("From", b" a@x.example, b@y.example"), *HEADER[1:]), BADFROM, id="2.3-5-two-domains"),
        pytest.param((("From", b" Name <Name <a@shop.example>>"), *HEADER[1:]), "passes", id="12.2-55-nested"),
        pytest.param((("From", b" Widgets, Inc <a@shop.example>"), *HEADER[1:]), "passes", id="12.2-56-comma"),
        pytest.param(
            tuple(("Received", b" x") for _ in range(50)) + HEADER, "554 5.4.6 Routing loop detected", id="12.2-57-hops"
        ),
        pytest.param(tuple(("Received", b" x") for _ in range(49)) + HEADER, "passes", id="as-many-hops-as-allowed"),
        pytest.param((*HEADER, ("X-Spam-Score", b" 15.0")), "550 5.7.1 Message content rejected", id="2.3-9-spam"),
        pytest.param((("X-Spam-Score", b" 1"), *HEADER, ("X-Spam-Score", b" 15")), "passes", id="the-top-score-counts"),
    ],
)
async def test_the_header_decides(desk: Desk, header: tuple[tuple[str, bytes], ...], expected: str) -> None:
    assert await desk.said(header=header) == expected


async def test_the_filters_macro_goes_before_its_header(desk: Desk) -> None:
    header = (*HEADER, ("X-Spam-Score", b" 99"))
    found = await desk.passes(header=header, spam_macro="7.5")
    assert (found.spam, found.action) == (7.5, "tag")


async def test_a_dsn_needs_no_author(desk: Desk) -> None:
    header = (("Content-Type", b" multipart/report; boundary=x"), *HEADER[1:])
    assert await desk.said(header=header, sender="") == "passes"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"size_octets": 26_214_401}, "552 5.3.4 Message is larger than 100000 bytes"),
        ({"body": b"a\rb\r\n"}, "550 5.6.0 Bare CR or LF in the message"),
        ({"body": b"a\nb\r\n"}, "550 5.6.0 Bare CR or LF in the message"),
        ({"body": b"\n\r"}, "550 5.6.0 Bare CR or LF in the message"),
    ],
)
async def test_what_is_no_message_needs_no_dns(desk: Desk, more: dict[str, Any], expected: str) -> None:
    assert await desk.said(**more) == expected
    assert desk.asked == []
    assert len(desk.refused()) == 1


# --- recipients ----------------------------------------------------------------------------------------------------


async def test_2_3_11_the_block_list_looks_at_the_author_too(desk: Desk) -> None:
    entry = desk.store.insert("blocked_sender", account_id=1, type="email", value="news@shop.example")
    assert await desk.said(sender="bounce@mailer.example") == UNKNOWN
    assert desk.refused() == [("a1@alias.example", "blocked_sender")]
    assert [row["blocked"] for row in desk.store.rows("blocked_sender", id=entry)] == [1]
    assert [row["emails_blocked"] for row in desk.store.rows("alias", local_part="a1")] == [1]


async def test_2_7_a_banned_author_is_not_accepted(desk: Desk) -> None:
    ban = Ban(BanId(17), "domain", "shop.example", "sender", None)
    desk.office.rules.around = replace(desk.office.rules.around, bans=BanBook.of([ban]))
    assert await desk.said(sender="bounce@mailer.example") == "554 5.7.1 Not accepted here (ref 17)"
    assert await desk.said("postmaster@alias.example", sender="bounce@mailer.example") == "passes"


async def test_2_3_12_the_allow_list(desk: Desk) -> None:
    (alias,) = desk.store.rows("alias", local_part="a1")
    alias["sender_allow_list"] = ["bank.example"]
    assert await desk.said() == UNKNOWN
    alias["sender_allow_list"] = ["shop.example"]
    assert await desk.said() == "passes"


async def test_2_3_2_a_message_that_passed_this_alias_is_for_delivery_to_end(desk: Desk) -> None:
    desk.findings = failing()
    (alias,) = desk.store.rows("alias", local_part="a1")
    header = (("X-Mailrelay-Loop", b" " + loop.mark(alias["uuid"], KEY).encode()), *HEADER)
    assert await desk.said(header=header) == "passes"


async def test_return_paths_take_bounces_that_fail_everything() -> None:
    desk = Desk(failing())
    local = verp.encode(verp.VerpId(verp.EmailType.FORWARD, 5, day_number(NOW)), "bounces.relay.example", KEY)
    assert await desk.said(f"{local}@bounces.relay.example", sender="", header=HEADER[1:]) == "passes"


async def test_the_operator_hears_from_everybody_but_forgers() -> None:
    assert await Desk().said("postmaster@alias.example") == "passes"
    assert await Desk(failing()).said("postmaster@alias.example") == DMARC


async def test_addresses_that_postfix_did_not_ask_about_are_refused_here(desk: Desk) -> None:
    assert await desk.said("nobody@alias.example") == UNKNOWN
    assert await desk.said("a..b@alias.example") == "501 5.1.3 Bad recipient address syntax"


async def test_12_6_181_nobody_is_ready_whose_every_recipient_is_at_a_domain_of_ours(desk: Desk) -> None:
    desk.store.update("recipient", 1, address="moved@own.example")
    assert await desk.said() == "450 4.2.1 Address is not ready to receive mail"
    assert desk.refused() == [("a1@alias.example", "own_domain")]
    assert await desk.said("both@alias.example") == "passes"


async def test_what_is_switched_off_quietly_passes(desk: Desk) -> None:
    assert await desk.said("off@alias.example") == "passes"


# --- several recipients --------------------------------------------------------------------------------------------


async def test_2_1_one_who_takes_it_is_enough() -> None:
    desk = Desk(failing())
    desk.preferences[1] = Preferences("quarantine")
    other = desk.store.insert("account", name="other", default_recipient_id=None)
    real = desk.store.insert("recipient", account_id=other, address="o@inbox.example", verified_at=NOW)
    desk.store.update("account", other, default_recipient_id=real)
    desk.store.insert("alias", account_id=other, local_part="strict", domain="alias.example")
    assert await desk.said("strict@alias.example") == DMARC
    desk.store.tables["ledger"].clear()
    assert await desk.said("strict@alias.example", "a1@alias.example") == "passes"
    assert desk.refused() == []  # delivery writes what becomes of whom


async def test_2_1_a_recipient_elsewhere_takes_it() -> None:
    assert await Desk(failing()).said("a1@alias.example", "friend@elsewhere.example") == "passes"


async def test_all_refused_recipients_are_recorded() -> None:
    desk = Desk(failing())
    assert await desk.said("a1@alias.example", "A1@alias.example", "both@alias.example") == DMARC
    assert desk.refused() == [("a1@alias.example", "dmarc"), ("both@alias.example", "dmarc")]


# --- trouble -------------------------------------------------------------------------------------------------------


def away(*operations: str) -> Any:
    def trouble(moment: str, operation: str) -> None:
        if moment == "before" and operation in operations:
            raise Unavailable("database: away")

    return trouble


async def test_without_the_database_good_mail_is_left_to_delivery(desk: Desk) -> None:
    desk.store.trouble = away("facts", "end")
    assert await desk.said() == "passes"


async def test_without_the_database_what_hangs_on_the_owner_comes_again() -> None:
    desk = Desk(failing())
    desk.store.trouble = away("facts", "end")
    assert await desk.said() == TEMP
    desk.store.trouble = lambda moment, operation: None
    desk.preferences_away = True
    assert await desk.said() == TEMP
    assert desk.refused() == []


async def test_a_refusal_that_cannot_be_recorded_is_one_all_the_same(desk: Desk) -> None:
    desk.store.trouble = away("end")
    assert await desk.said(header=HEADER[1:]) == BADFROM


async def test_time_runs_out(desk: Desk) -> None:
    async def never(message: Message, client: Client, author_domain: str, now: int) -> Findings:
        await asyncio.Event().wait()
        raise AssertionError

    desk.examination.authenticate = never
    desk.examination.timeout_seconds = 0.01
    assert await desk.said() == TEMP


async def test_temporary_trouble_with_dns_refuses_nothing() -> None:
    findings = Findings(spf=Spf("temperror"), dmarc=Dmarc("temperror", "shop.example"))
    found = await Desk(findings).passes()
    assert (found.findings.dmarc.result, found.action) == ("temperror", "none")


# --- rules ---------------------------------------------------------------------------------------------------------


def block(desk: Desk, flow: str = "forwards") -> None:
    conditions = [{"type": "sender", "match": "is exactly", "values": [SENDER]}]
    flows = {name: name == flow for name in ("forwards", "replies", "sends")}
    row = StoredRule(RuleId(5), "away", conditions, [{"type": "block", "value": True}], "AND", **flows)
    desk.office.book = stored.book([row])


async def test_12_2_14_a_blocking_rule_is_heard_of_where_the_owner_wants_so(desk: Desk) -> None:
    block(desk)
    desk.store.update("alias", 1, block_behaviour="reject")
    assert await desk.said() == "550 5.1.1 Address does not exist"
    assert desk.refused() == [("a1@alias.example", "rule")]
    assert desk.store.counted == [5]


async def test_else_delivery_asks_the_rules(desk: Desk) -> None:
    block(desk)
    await desk.passes()
    assert desk.store.counted == []


async def test_rules_for_replies_refuse_no_forwards(desk: Desk) -> None:
    block(desk, "replies")
    desk.store.update("alias", 1, block_behaviour="reject")
    await desk.passes()


async def test_what_is_quarantined_is_not_refused_by_a_rule(desk: Desk) -> None:
    block(desk)
    desk.store.update("alias", 1, block_behaviour="reject")
    desk.findings = replace(desk.findings, dmarc=replace(desk.findings.dmarc, result="fail", policy="quarantine"))
    assert (await desk.passes()).action == "quarantine"


async def test_with_the_rules_away_mail_is_left_to_delivery(desk: Desk) -> None:
    desk.store.update("alias", 1, block_behaviour="reject")

    async def away(account_id: int) -> Book:
        raise Unavailable("away")

    desk.office.recipients.ruling = replace(desk.office.ruling, read_book=away)
    await desk.passes()


# --- reverse addresses ---------------------------------------------------------------------------------------------

REVERSE = "a1+help=shop.example@alias.example"
REAL = "real@inbox.example"
UNPROVED = "550 5.7.1 "


def written_by(desk: Desk, author: str, result: Result = "pass") -> dict[str, Any]:
    dmarc = Dmarc(result, author.rpartition("@")[2], has_record=True, published="none", policy="none", spf_aligned=True)
    desk.findings = replace(PASSING, dmarc=dmarc)
    header = (("From", b" <%b>" % author.encode()), *HEADER[1:])
    return {"sender": author, "header": header}


async def test_12_4_99_an_owners_reply_passes(desk: Desk) -> None:
    await desk.passes(REVERSE, **written_by(desk, REAL))


async def test_12_4_106a_nobody_learns_whose_alias_it_is(desk: Desk) -> None:
    owner = await desk.said(REVERSE, **written_by(desk, REAL, "fail"))
    stranger = await desk.said(REVERSE, **written_by(desk, "news@shop.example", "fail"))
    assert owner == stranger
    assert owner.startswith(UNPROVED)
    assert desk.refused() == [(REVERSE, "not_authenticated")] * 2


async def test_12_4_104_in_session(desk: Desk) -> None:
    desk.store.update("recipient", 1, can_reply_send=False)
    assert await desk.said(REVERSE, **written_by(desk, REAL)) == "550 5.7.1 Replying from this address is switched off"


async def test_12_4_121_an_authenticated_stranger_writes_to_the_alias(desk: Desk) -> None:
    await desk.passes(REVERSE, **written_by(desk, "news@shop.example"))
    desk.store.update("alias", 1, sender_allow_list=["friend.example"])
    assert await desk.said(REVERSE, **written_by(desk, "news@shop.example")) == "550 5.1.1 Address does not exist"
    await desk.passes(REVERSE, **written_by(desk, REAL))  # who is on no such list


async def test_the_contact_has_to_be_there(desk: Desk) -> None:
    desk.office.reach["shop.example"] = "no"
    assert (await desk.said(REVERSE, **written_by(desk, REAL))).startswith("550 5.1.2 ")


async def test_4_3_the_claimed_owner_is_told_of_what_was_refused(desk: Desk) -> None:
    await desk.said(REVERSE, **written_by(desk, "news@shop.example", "fail"))
    assert desk.store.posted == []
    await desk.said(REVERSE, **written_by(desk, REAL, "fail"))
    [notice] = desk.store.posted
    assert (notice.code, notice.recipient_id, notice.data["failed_uuid"]) == (Code.SRSA, 1, "")


async def test_12_4_112_a_leak_is_refused_in_the_session(desk: Desk) -> None:
    """Who blocks leaks hears of one while the text can still be mended; who does not sends it."""
    prose = b"Write to real@inbox.example directly.\r\n"
    await desk.passes(REVERSE, body=prose, **written_by(desk, REAL))
    desk.office.store.update("account", 1, leak_policy="block")
    await desk.passes(REVERSE, **written_by(desk, REAL))
    said = await desk.said(REVERSE, body=prose, **written_by(desk, REAL))
    assert said == "550 5.7.1 Message would show the address that is to stay hidden"
    assert desk.refused() == [(REVERSE, "leak")]
    [notice] = desk.store.posted
    assert (notice.code, notice.recipient_id, notice.data["places"]) == (Code.LEAK, 1, "text")
    assert (notice.data["refused"], notice.data["held_uuid"]) == (True, "")


async def test_4_9_a_certificate_is_refused_in_the_session(desk: Desk) -> None:
    more = written_by(desk, REAL)
    kind = ("Content-Type", b"application/pkcs7-mime; smime-type=signed-data; name=smime.p7m")
    more["header"] = (*more["header"], kind)
    assert (await desk.said(REVERSE, **more)).startswith("550 5.7.1 ")
    desk.office.store.update("account", 1, leak_policy="off")
    await desk.passes(REVERSE, **more)


async def test_an_opaque_reverse_address_that_nobody_has_does_not_exist(desk: Desk) -> None:
    rcpt = "r-" + "a" * 16 + "@alias.example"
    assert await desk.said(rcpt, **written_by(desk, REAL)) == "550 5.1.1 Address does not exist"


async def test_4_11_only_owners_make_aliases_where_there_is_no_catch_all(desk: Desk) -> None:
    rcpt = "fresh+help=shop.example@rx.example"
    await desk.passes(rcpt, **written_by(desk, REAL))
    assert await desk.said(rcpt, **written_by(desk, "news@shop.example")) == "550 5.1.1 Address does not exist"


async def test_who_only_claims_to_be_the_owner_makes_us_ask_nothing(desk: Desk) -> None:
    """Whoever runs the contact's DNS would see it."""
    asked = []

    async def reach(domain: str, /) -> Reach:
        asked.append(domain)
        return "yes"

    desk.office.recipients.clearance = replace(desk.office.clearance, reach=reach)
    await desk.said(REVERSE, **written_by(desk, REAL, "fail"))
    assert asked == []
    await desk.passes(REVERSE, **written_by(desk, REAL))
    assert asked == ["shop.example"]


async def test_a_message_to_more_contacts_than_may_be_written_to_is_refused_whole(desk: Desk) -> None:
    desk.office.rules.sending_limits = replace(desk.office.rules.sending_limits, per_hour=2, per_day=0)
    rcpts = [f"a1+c{number}=shop.example@alias.example" for number in range(3)]
    assert await desk.said(*rcpts, **written_by(desk, REAL)) == "450 4.7.1 Sending limit reached"
    await desk.passes(*rcpts[:2], **written_by(desk, REAL))


async def test_the_block_list_binds_no_owner(desk: Desk) -> None:
    desk.store.insert("blocked_sender", account_id=1, type="domain", value="inbox.example")
    await desk.passes(REVERSE, **written_by(desk, REAL))
