"""Notifications from the job to the copy that leaves: whom they reach, how many, signed, and once."""

import asyncio
import base64
import email
import email.policy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import REGISTRY

from mailrelay.core import codes, verp
from mailrelay.core.dkim import SigningKey
from mailrelay.core.errors import Malformed, Unavailable
from mailrelay.core.facts import AccountId, RecipientId
from mailrelay.core.jobs import Job, JobId
from mailrelay.core.links import Links
from mailrelay.core.noticefailure import Setback
from mailrelay.core.noticeroute import Admission, Going, Ground, Mailbox, Spared, admission, route
from mailrelay.core.notices import (
    KINDS,
    MAX_TEXT_CHARACTERS,
    SILENT_BOUNCES,
    UNVERIFIED,
    Code,
    Notice,
    from_json,
)
from mailrelay.core.plan import Copy, Handed, Refused
from mailrelay.core.screen import day_number
from mailrelay.core.sealed import NONCE_OCTETS, seal, vault
from mailrelay.core.verp import EmailType, VerpId
from mailrelay.flows.handover import Dispatcher
from mailrelay.flows.jobs import Task
from mailrelay.flows.notices import Notices
from mailrelay.flows.notices import Office as NoticeOffice
from mailrelay.notices import load, printer
from tests.unit.fakes import NOW, FakeStore, Outside, counter
from tests.unit.noticed import BASE, DATA, GOING, MAILBOX, SETBACK, notice
from tests.unit.office import KEY, Office

PRIVATE = generate_private_key(65537, 2048)
OTHER = replace(MAILBOX, id=RecipientId(2), address="you@inbox.example")
GROUND = Ground("active", recipient=MAILBOX, default=MAILBOX, other=OTHER, quarantined=False)
VAULT = vault([b"a secret of the installation"])
REALM_DOMAINS = ["relay.example", "alias.example", "u1.alias.example", "bounces.relay.example"]


def rsa(domain: str) -> tuple[SigningKey, ...]:
    return (SigningKey(domain, "mr1", "rsa-sha256", PRIVATE),)


@dataclass
class FakeBooks:
    """What notices ask the database: the ground of all, and limits of as many as `room` allows."""

    ground: Ground = GROUND
    room: int = 1000
    failure: Setback | None = SETBACK
    digest: int = 0
    counted: list[Admission] = field(default_factory=list)
    finished: list[JobId] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    async def grounds(self, notices: Sequence[Notice]) -> Sequence[Ground]:
        self.batches.append(len(notices))
        return [self.ground for _ in notices]

    async def admit(self, admissions: Sequence[Admission]) -> set[JobId]:
        self.counted += admissions
        passing, self.room = admissions[: self.room], max(0, self.room - len(admissions))
        return {one.job_id for one in passing}

    async def suppressed(self, account: AccountId, code: Code, subject: str, since: datetime) -> int:
        return self.digest

    async def setback(self, account: AccountId, failed_id: int) -> Setback | None:
        return self.failure

    async def latest(self, account: AccountId, since: datetime, *, inbound: bool, limit: int) -> Sequence[Setback]:
        return [SETBACK]

    async def finish(self, ids: Sequence[JobId], /) -> None:
        self.finished += ids


class Desk:
    """The handler over fakes."""

    def __init__(self) -> None:
        self.office = Office()
        self.office.domain("alias.example")
        self.books = FakeBooks()
        self.notices = self.handler()

    def handler(self, store: FakeStore | None = None, outside: Outside | None = None) -> Notices:
        dispatcher = Dispatcher(store or self.office.store, outside or self.office.outside, counter())
        links = lambda now: Links(BASE, KEY, now)  # noqa: E731
        office = NoticeOffice("mailrelay", printer(load()), links, f"{BASE}/failed-deliveries")
        sealing, clock = self.office.locksmith.sealing, self.office.clock
        finish = self.books.finish
        return Notices(self.office.rules, self.books, finish, office, rsa, dispatcher, sealing, VAULT, clock)

    async def work(self, *notices: Notice, payload: dict[str, object] | None = None, attempt: int = 1) -> list[Task]:
        """Do jobs, numbered from 1, to their end. Gives what the sift left to do."""
        jobs = [
            Job(JobId(number), "notice", {**one.to_json(), **(payload or {})}, attempt, 10, NOW)
            for number, one in enumerate(notices, 1)
        ]
        tasks = list(await self.notices.sift(jobs))
        for task in tasks:
            await task.work()
        return tasks

    @property
    def sent(self) -> list[Copy]:
        return self.office.outside.copies


@pytest.fixture
def desk() -> Desk:
    return Desk()


def parsed(copy: Copy) -> EmailMessage:
    message = email.message_from_bytes(b"".join(copy.content), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def counted(code: Code, outcome: str) -> float:
    return REGISTRY.get_sample_value("mailrelay_notices_total", {"code": code.value, "outcome": outcome}) or 0.0


# -- The message ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(set(Code) - {Code.FDN_DIGEST}))
async def test_every_kind_goes_out_as_it_should(desk: Desk, code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec 8.4"""
    monkeypatch.setattr("dkim.time.time", lambda: NOW.timestamp() + 60)
    if code is Code.VR:
        desk.books.ground = replace(GROUND, recipient=replace(MAILBOX, verified=False))
    before = counted(code, "sent")
    await desk.work(notice(code))
    [copy] = desk.sent
    content = b"".join(copy.content)
    message = parsed(copy)
    assert message["From"] == "mailrelay <notifications@relay.example>"
    assert message["To"] == copy.rcpt
    assert message["Date"].datetime == NOW.replace(microsecond=0)
    assert message["Message-ID"].endswith("@relay.example>")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["Feedback-ID"] == f"{code.value}:mailrelay"
    assert message.get_content_type() == "multipart/alternative"
    plain, html = message.iter_parts()
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert "mailrelay" in plain.get_content() and "</html>" in html.get_content()
    assert content.isascii() and not copy.eight_bit and not copy.smtputf8
    assert max(map(len, content.split(b"\r\n"))) <= 78
    assert b"\n" not in content.replace(b"\r\n", b"")
    public = base64.b64encode(PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    asked = []

    def lookup(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return b"v=DKIM1; k=rsa; p=" + public

    assert dkim.verify(content, dnsfunc=lookup)
    assert asked == [b"mr1._domainkey.relay.example."]
    assert counted(code, "sent") == before + 1


async def test_a_bounce_finds_the_notice(desk: Desk) -> None:
    """12.6-166: the copy knows that it is an FDN, a bounce of which makes no other."""
    await desk.work(notice(Code.FDN))
    [copy] = desk.sent
    local, _, domain = copy.sender.partition("@")
    path = verp.decode(local, domain, (KEY,), day_number(NOW))
    assert isinstance(path, VerpId)
    [row] = desk.office.store.rows("outbound", id=path.outbound_id)
    assert (path.type, domain) == (EmailType.NOTIFICATION, "bounces.relay.example")
    assert (row["email_type"], row["notice"], row["recipient_id"]) == ("N", "FDN", 1)
    assert copy.envelope_id == f"{path.outbound_id:016x}"
    assert Code.FDN in SILENT_BOUNCES and Code.FDN_DIGEST in SILENT_BOUNCES and UNVERIFIED < SILENT_BOUNCES


async def test_it_is_counted_as_nobodys_mail(desk: Desk) -> None:
    await desk.work(notice(Code.ADUN))
    assert desk.office.store.rows("rate_window") == []
    [entry] = desk.office.entries()
    assert (entry["outcome"], entry["account_id"], entry["alias_id"]) == ("delivered", 1, None)


@pytest.mark.parametrize("hostile", ["x\r\nBcc: all@elsewhere.example", "x\r\n\r\n<html>", "x\0y", "\u202ex"])
async def test_no_value_makes_a_field(desk: Desk, hostile: str) -> None:
    codes = (Code.ADUN, Code.RUL, Code.DMI, Code.TES)
    await desk.work(*(notice(code, **dict.fromkeys(("alias", "rule", "domain", "token"), hostile)) for code in codes))
    assert len(desk.sent) == len(codes)
    for copy in desk.sent:
        message = parsed(copy)
        assert message["Bcc"] is None
        assert len(message.items()) == 13
        assert message.get_content_type() == "multipart/alternative"


async def test_what_looks_encoded_is_not_decoded(desk: Desk) -> None:
    await desk.work(notice(Code.DMI, domain="=?utf-8?q?x?="))
    assert "= ?utf-8?q?x?=" in parsed(desk.sent[0])["Subject"]


async def test_a_mailbox_beyond_ascii_needs_smtputf8(desk: Desk) -> None:
    desk.books.ground = replace(GROUND, recipient=replace(MAILBOX, address="jürgen@inbox.example"))
    await desk.work(notice(Code.RSL))
    [copy] = desk.sent
    assert copy.smtputf8 and copy.eight_bit
    assert b"\r\nTo: j\xc3\xbcrgen@inbox.example\r\n" in b"".join(copy.content)


async def test_who_never_wants_plain_text_gets_a_stub(desk: Desk) -> None:
    """Spec 6.5. A key that is needed to be mended is told of in plain text."""
    desk.books.ground = replace(GROUND, recipient=replace(MAILBOX, never_plaintext=True))
    await desk.work(notice(Code.FDN), notice(Code.GKE))
    stub, key = (b"".join(copy.content) for copy in desk.sent)
    assert b"shop" not in stub and b"real@" not in stub
    assert b"ABABAB" in key


# -- Once ----------------------------------------------------------------------------------------------------------


async def test_a_job_that_is_done_twice_sends_once(desk: Desk) -> None:
    """The worker was killed between the hand-over and the end of the job; another begins anew."""
    await desk.work(notice(Code.ADUN))
    desk.notices = desk.handler()
    await desk.work(notice(Code.ADUN), payload={"admitted": True}, attempt=2)
    assert len(desk.sent) == 1


async def test_two_jobs_send_twice(desk: Desk) -> None:
    await desk.work(notice(Code.NRV), notice(Code.NRV))
    first, second = (parsed(copy)["Message-ID"] for copy in desk.sent)
    assert first != second


@pytest.mark.parametrize("answer", [Unavailable("no route"), Refused(451, "4.3.0 later")])
async def test_trouble_is_tried_again(desk: Desk, answer: Any) -> None:
    def refuse(copy: Copy) -> Handed | Refused:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    desk.office.outside.answer = refuse
    with pytest.raises(Unavailable):
        await desk.work(notice(Code.NRV))
    desk.office.outside.answer = lambda copy: Handed("4QqQ1")
    await desk.work(notice(Code.NRV), attempt=2)
    assert len(desk.sent) == 1
    assert [row["outcome"] for row in desk.office.entries()] == ["delivered"]


async def test_a_refusal_for_good_is_the_end(desk: Desk) -> None:
    desk.office.outside.answer = lambda copy: Refused(550, "5.1.1 no such user")
    before = counted(Code.NRV, "failed")
    await desk.work(notice(Code.NRV))
    assert counted(Code.NRV, "failed") == before + 1
    assert [row["outcome"] for row in desk.office.entries()] == ["failed"]


async def test_without_a_key_it_waits(desk: Desk) -> None:
    desk.notices = replace(desk.notices, signing_keys=lambda domain: ())
    with pytest.raises(Unavailable):
        await desk.work(notice(Code.NRV))
    assert desk.sent == []


# -- How many ------------------------------------------------------------------------------------------------------


async def test_what_is_one_too_many_is_done(desk: Desk) -> None:
    """12.6-182: ADUN once per alias and hour."""
    desk.books.room = 1
    before = counted(Code.ADUN, "suppressed")
    tasks = await desk.work(*[notice(Code.ADUN)] * 3)
    assert [task.job.id for task in tasks] == [1]
    assert len(desk.sent) == 1
    assert {one.subject for one in desk.books.counted} == {"shop@alias.example"}
    assert counted(Code.ADUN, "suppressed") == before + 2


async def test_a_second_try_is_not_counted_again(desk: Desk) -> None:
    desk.books.room = 0
    await desk.work(notice(Code.ADUN), payload={"admitted": True}, attempt=2)
    assert (desk.books.counted, len(desk.sent)) == ([], 1)


async def test_a_flood_is_looked_at_together(desk: Desk) -> None:
    desk.books.room = 10
    await desk.work(*[notice(Code.FDN, failed_id=number) for number in range(300)])
    assert desk.books.batches == [300]
    assert len(desk.sent) == 10


@pytest.mark.parametrize(
    ("code", "more", "subject"),
    [
        (Code.FDN, {}, "1"),
        (Code.SRSA, {}, "1"),
        (Code.ADLN, {}, "shop@alias.example"),
        (Code.LEAK, {}, "shop@alias.example"),
        (Code.DMI, {}, "own.example"),
        (Code.RUL, {}, "Newsletters"),
        (Code.VU, {}, "me@inbox.example"),
        (Code.ADLN, {"alias": ""}, "1"),
    ],
)
def test_limits_are_counted_for_the_right_thing(code: Code, more: dict[str, str], subject: str) -> None:
    going = replace(GOING, mailbox=None) if code is Code.VU else GOING
    found = admission(JobId(1), notice(code, **more), going)
    assert found is not None
    assert found.subject == subject
    named = admission(JobId(1), replace(notice(code), about="this"), going)
    assert named is not None
    assert named.subject == "this"


LIMITS = {
    Code.VU: (3, 3600),
    Code.VR: (3, 3600),
    Code.UR: (1, 600),
    Code.RP: (1, 60),
    Code.FLA: (1, 3600),
    Code.FDN: (10, 3600),
    Code.SRSA: (4, 86400),
    Code.DRSA: (4, 86400),
    Code.RSL: (1, 86400),
    Code.GKE: (1, 86400),
    Code.NBL: (1, 86400),
    Code.ADUN: (1, 3600),
    Code.ADLN: (1, 3600),
    Code.DMI: (1, 86400),
    Code.DUS: (1, 86400),
    Code.ABC: (1, 7 * 86400),
    Code.LEAK: (1, 30 * 86400),
    Code.CYC: (1, 86400),
    Code.RUL: (1, 86400),
    Code.NRP: (1, 30 * 86400),
}


# They are nobody's recipients.
OPERATORS = frozenset({Code.OPS, Code.DNR, Code.DNE, Code.DND})
# They name a mailbox.
NAMED = OPERATORS | {Code.AKD, Code.ADW, Code.ADC, Code.MFY}


def test_strangers_fill_no_operators_mailbox() -> None:
    """Anybody can propose any number of domains, and all of them end somehow."""
    assert all(KINDS[code].limit == KINDS[Code.DNR].limit is not None for code in (Code.DNR, Code.DNE))


def test_limits_are_those_of_the_specification() -> None:
    """Spec 8.4; `once` and the daily digest have windows of their own."""
    found = {code: kind.limit for code, kind in KINDS.items() if kind.limit is not None}
    told = {code: (limit.amount, limit.window.total_seconds()) for code, limit in found.items()}
    assert {code: told[code] for code in LIMITS} == LIMITS
    assert told.keys() - LIMITS.keys() == {Code.TES, Code.IR_DIGEST, Code.NOT_ENCRYPTED, *OPERATORS} - {Code.OPS}
    plain = {code for code, kind in KINDS.items() if not kind.encrypted}
    assert plain == {Code.VU, Code.VR, Code.GKE, Code.NOT_ENCRYPTED, Code.CNF, Code.PWC, *NAMED}


async def test_a_digest_tells_of_those_that_were_too_many(desk: Desk) -> None:
    desk.books.digest = 7
    await desk.work(notice(Code.FDN_DIGEST))
    [copy] = desk.sent
    assert parsed(copy)["Subject"] == "7 more messages did not arrive"


@pytest.mark.parametrize("code", [Code.FDN_DIGEST, Code.FDN])
async def test_what_is_gone_by_then_is_not_told(desk: Desk, code: Code) -> None:
    desk.books.failure = None
    await desk.work(notice(code))
    assert desk.sent == []


# -- Who -----------------------------------------------------------------------------------------------------------


def where(one: Notice, ground: Ground, *, linked: bool = True) -> Going | Spared:
    desk = Desk()
    desk.office.ban("domain", "banned.example")
    around = desk.office.rules.around
    return route(one, ground, around.realm, around.bans, NOW, linked=linked)


def to(one: Notice, ground: Ground) -> str:
    found = where(one, ground)
    assert isinstance(found, Going), found
    return str(found.address)


BROKEN = replace(MAILBOX, failing=True)
UNSURE = replace(MAILBOX, verified=False)
DEFAULT = replace(MAILBOX, id=RecipientId(3), address="default@inbox.example")


@pytest.mark.parametrize(
    ("recipient", "default", "other", "gets"),
    [
        (MAILBOX, DEFAULT, OTHER, "me"),
        (UNSURE, DEFAULT, OTHER, "default"),
        (None, DEFAULT, OTHER, "default"),
        (BROKEN, DEFAULT, OTHER, "default"),
        (UNSURE, replace(DEFAULT, failing=True), OTHER, "you"),
        (BROKEN, None, None, "me"),
    ],
)
def test_a_failure_is_told_where_it_can_arrive(
    recipient: Mailbox | None, default: Mailbox | None, other: Mailbox | None, gets: str
) -> None:
    """Spec 8.4: the recipient concerned if verified, else the default; and one that works (7.5)."""
    ground = replace(GROUND, recipient=recipient, default=default, other=other)
    assert to(notice(Code.FDN), ground) == f"{gets}@inbox.example"


def test_a_mailbox_is_not_told_that_it_gets_nothing_if_another_can_be() -> None:
    missed = replace(GROUND, recipient=None, missed=MAILBOX.id)
    assert to(notice(Code.FDN), missed) == "you@inbox.example"
    assert to(notice(Code.FDN), replace(missed, other=None)) == "me@inbox.example"


def test_the_default_is_told_what_concerns_the_account() -> None:
    assert to(notice(Code.ADUN), replace(GROUND, default=DEFAULT)) == "default@inbox.example"


@pytest.mark.parametrize("code", sorted(set(Code) - UNVERIFIED - NAMED))
def test_nobody_unverified_is_told_anything(code: Code) -> None:
    ground = replace(GROUND, recipient=UNSURE, default=UNSURE, other=None)
    assert where(notice(code), ground) == Spared("undeliverable", "no recipient is verified")


@pytest.mark.parametrize(
    ("code", "gets"),
    [(Code.VR, "me@inbox.example"), (Code.VU, "me@inbox.example"), (Code.CNF, "new@inbox.example")],
)
@pytest.mark.parametrize("state", ["active", "suspended"])
def test_who_is_to_be_verified_is_told_all_the_same(code: Code, gets: str, state: Any) -> None:
    assert to(notice(code), replace(GROUND, state=state, recipient=UNSURE, default=None, other=None)) == gets


def test_a_code_reaches_people_without_an_account() -> None:
    one = Notice(Code.CNF, None, data=DATA[Code.CNF])
    assert to(one, Ground()) == "new@inbox.example"


@pytest.mark.parametrize(
    ("code", "change", "why"),
    [
        (Code.FDN, {"state": "suspended"}, "the account is suspended"),
        (Code.FDN, {"state": "deleting"}, "the account is gone"),
        (Code.VR, {"state": "deleting"}, "the account is gone"),
        (Code.FDN, {"state": None}, "the account is gone"),
        (Code.VR, {}, "verified meanwhile"),
        (Code.FDN, {"quarantined": None}, "the failed delivery is gone"),
        (Code.FDN, {"preference": 1, "quarantined": True}, "not wanted by choice"),
        (Code.FDN, {"preference": 2, "quarantined": False}, "not wanted by choice"),
        (Code.FDN, {"preference": 3}, "not wanted by choice"),
        (Code.FDN_DIGEST, {"preference": 3}, "not wanted by choice"),
    ],
)
def test_some_are_spared(code: Code, change: dict[str, Any], why: str) -> None:
    found = where(notice(code), replace(GROUND, **change))
    assert isinstance(found, Spared)
    assert found.why == why


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (Code.FDN, {"preference": 1, "quarantined": False}),
        (Code.FDN, {"preference": 2, "quarantined": True}),
        (Code.ADUN, {"preference": 3}),
        (Code.FDN_DIGEST, {"preference": 1}),
    ],
)
def test_the_preference_governs_failures_only(code: Code, change: dict[str, Any]) -> None:
    assert isinstance(where(notice(code), replace(GROUND, **change)), Going)


@pytest.mark.parametrize("domain", REALM_DOMAINS)
@pytest.mark.parametrize("code", [Code.FDN, Code.VR, Code.CNF])
def test_no_notice_goes_to_an_address_that_is_ours(code: Code, domain: str) -> None:
    ours = replace(MAILBOX, address=f"x@{domain}", verified=code is not Code.VR)
    one = notice(code, address=f"x@{domain}") if code is Code.CNF else notice(code)
    ground = replace(GROUND, recipient=ours, default=ours, other=None)
    assert where(one, ground) == Spared("undeliverable", "the address is ours")


@pytest.mark.parametrize("domain", REALM_DOMAINS)
@pytest.mark.parametrize("code", [Code.FDN, Code.CYC])
def test_it_goes_to_another_mailbox_where_the_first_is_served_here_by_now(code: Code, domain: str) -> None:
    """12.6-181: nobody could mend what nobody is told of."""
    ours = replace(MAILBOX, address=f"x@{domain}")
    assert to(notice(code), replace(GROUND, recipient=ours, default=ours, other=OTHER)) == str(OTHER.address)
    failing = replace(OTHER, failing=True)
    assert to(notice(code), replace(GROUND, recipient=ours, default=ours, other=failing)) == str(OTHER.address)


def test_a_banned_destination_is_told_nothing() -> None:
    banned = replace(MAILBOX, address="x@mail.banned.example")
    assert where(notice(Code.FDN), replace(GROUND, recipient=banned)) == Spared(
        "undeliverable", "the address is banned"
    )


def test_d_41_a_code_goes_to_a_banned_mailbox_as_the_banned_may_leave() -> None:
    assert to(notice(Code.CNF, address="x@mail.banned.example"), GROUND) == "x@mail.banned.example"


def test_a_code_that_has_expired_is_not_mailed() -> None:
    second = timedelta(seconds=1)
    assert isinstance(where(notice(Code.CNF, expires=(NOW + second).isoformat()), GROUND), Going)
    found = where(notice(Code.CNF, expires=NOW.isoformat()), GROUND)
    assert found == Spared("unwanted", "the code has expired")


async def test_a_code_is_opened_when_it_is_mailed(desk: Desk) -> None:
    place = codes.place("new@inbox.example")
    sealed = base64.b64encode(seal(VAULT, b"n" * NONCE_OCTETS, place, b"012345")).decode()
    data = {name: value for name, value in DATA[Code.CNF].items() if name != "code"}
    desk.books.ground = Ground()
    await desk.work(Notice(Code.CNF, None, data={**data, "sealed": sealed, "link": f"{BASE}/confirm?token="}))
    [copy] = desk.sent
    text = parsed(copy).get_body(("plain",))
    assert text is not None
    assert f"{BASE}/confirm?token=012345" in text.get_content()
    subject = " ".join(parsed(copy)["Subject"].split())
    assert subject == "012345 is your confirmation token for app.relay.example (handle:create)"
    assert "create a handle" in text.get_content()
    assert sealed not in b"".join(copy.content).decode()
    with pytest.raises(Malformed):
        await desk.work(Notice(Code.CNF, None, data={**data, "sealed": "x"}))


@pytest.mark.parametrize("address", ["", "nobody", "a b@inbox.example", "x@\r\ny", "x" * 300 + "@inbox.example"])
def test_an_address_that_is_none_is_told_nothing(address: str) -> None:
    one = Notice(Code.CNF, None, data={"address": address})
    assert isinstance(where(one, Ground()), Spared)


def test_a_verification_without_a_link_is_not_sent() -> None:
    ground = replace(GROUND, recipient=UNSURE)
    assert where(notice(Code.VR), ground, linked=False) == Spared("undeliverable", "no links can be made")


async def test_who_is_spared_costs_nothing(desk: Desk) -> None:
    desk.books.ground = replace(GROUND, preference=3)
    before = counted(Code.FDN, "unwanted")
    assert await desk.work(notice(Code.FDN), notice(Code.FDN)) == []
    assert desk.books.finished == [1, 2]
    assert (desk.books.counted, desk.sent) == ([], [])
    assert counted(Code.FDN, "unwanted") == before + 2


# -- Payloads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", Code)
def test_a_notice_survives_its_payload(code: Code) -> None:
    assert from_json(notice(code).to_json()) == notice(code)


@pytest.mark.parametrize(
    "change",
    [
        {"code": "XX"},
        {"code": None},
        {"account_id": "1"},
        {"account_id": None},
        {"account_id": True},
        {"recipient_id": "x"},
        {"about": 5},
        {"data": []},
        {"data": {"alias": []}},
        {"data": {"Alias": "x"}},
        {"data": {"alias": None}},
        {"data": {f"x{number}": "y" for number in range(41)}},
    ],
)
async def test_a_payload_that_makes_no_sense_is_given_up_alone(desk: Desk, change: dict[str, object]) -> None:
    wrong = {**notice(Code.NRV).to_json(), **change}
    jobs = [
        Job(JobId(1), "notice", wrong, 1, 10, NOW),
        Job(JobId(2), "notice", notice(Code.NRV).to_json(), 1, 10, NOW),
    ]
    tasks = await desk.notices.sift(jobs)
    assert sorted(task.job.id for task in tasks) == [1, 2]
    results = await asyncio.gather(*(task.work() for task in tasks), return_exceptions=True)
    assert [type(result) for result in results] in ([Malformed, type(None)], [type(None), Malformed])
    assert len(desk.sent) == 1


def test_equal_notices_have_one_key() -> None:
    fdn = [notice(Code.FDN, failed_id=number) for number in (1, 2)]
    assert fdn[0].dedupe_key == notice(Code.FDN, failed_id=1).dedupe_key != fdn[1].dedupe_key
    # One within the window is enough, whatever else it says.
    assert notice(Code.ADUN, ip="192.0.2.1").dedupe_key == notice(Code.ADUN, ip="192.0.2.2").dedupe_key
    assert notice(Code.ADUN, alias="x@alias.example").dedupe_key != notice(Code.ADUN).dedupe_key
    assert replace(notice(Code.ADUN), account_id=AccountId(2)).dedupe_key != notice(Code.ADUN).dedupe_key
    assert notice(Code.ADLN).dedupe_key != notice(Code.ADUN).dedupe_key


def test_long_texts_are_cut() -> None:
    told = from_json(notice(Code.ADUN, user_agent="x" * 10_000).to_json())
    assert len(str(told.data["user_agent"])) == MAX_TEXT_CHARACTERS
