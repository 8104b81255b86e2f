"""What explain says is what happens, and saying it changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mailrelay.core import ingress, loop, srs, verp
from mailrelay.core.address import Address
from mailrelay.core.eom import Preferences
from mailrelay.core.explained import Explained
from mailrelay.core.facts import AccountId
from mailrelay.core.findings import Arc, Dkim, Dmarc, Findings, Sealer, Spf
from mailrelay.core.header import Message, split
from mailrelay.core.ledger import OutboundId
from mailrelay.core.screen import RcptRequest, day_number
from mailrelay.flows.authenticate import Client
from mailrelay.flows.drafts import Composer
from mailrelay.flows.examine import Examination, Trusted
from mailrelay.flows.explain import Explanation
from mailrelay.flows.rehearse import Rehearsal, imagined_reverse
from mailrelay.flows.revision import Reviser
from mailrelay.flows.unsealing import Unsealing
from mailrelay.wire.report import returned, undelivered
from tests.unit.fakes import NOW
from tests.unit.office import CLIENT, KEY, MESSAGE, OK, SENDER, SRS, Office, new_office
from tests.unit.test_srsbounce import report, rsa

REAL = "real@inbox.example"
SIGNED = Findings(
    spf=Spf("pass", "shop.example"),
    dkim=(Dkim("pass", "shop.example", "s1", "rsa-sha256", aligned=True),),
    dmarc=Dmarc("pass", "shop.example", True, "reject", "reject", dkim_aligned=True),
)
FORGED = Findings(
    spf=Spf("fail", "shop.example"), dmarc=Dmarc("fail", "shop.example", True, "reject", "reject", False, False)
)


class Desk:
    """An explanation over the office. findings: of whatever is authenticated; asked: about whom."""

    def __init__(self, findings: Findings = SIGNED) -> None:
        self.office: Office = new_office(signing_keys=rsa)
        self.findings = findings
        self.asked: list[tuple[Client, str]] = []
        office, store = self.office, self.office.store
        office.rules.checks = replace(office.rules.checks, required=True)
        examination = Examination(
            office.rules,
            Trusted(frozenset({"lists.example"}), "X-Spam-Score"),
            self.authenticate,
            office.recipients,
            self.read_preferences,
            store.count_rules,
            store,
            store.post,
            office.clock,
        )
        reviser = Reviser(
            office.rules, store.read_context, imagined_reverse, lambda octets: bytes(range(octets)), "", (KEY,)
        )
        rehearsal = Rehearsal(
            office.rules,
            store.read_facts,
            store.read_background,
            store.read_newcomer,
            office.ruling,
            office.clearance,
            office.correspondence,
            store,
            Composer(office.rules, rsa, reviser, office.locksmith.sealing),
            rsa,
            Unsealing(office.locksmith.decrypt),
            lambda content: office.bounce,
            office.read_arrival,
            office.read_complaint,
            undelivered,
            returned,
            lambda octets: bytes(range(octets)),
            office.clock,
        )
        self.explanation = Explanation(office.rules, store.read_facts, store, examination, rehearsal, office.clock)

    async def authenticate(self, message: Message, client: Client, author_domain: str, now: int) -> Findings:
        self.asked.append((client, author_domain))
        return self.findings

    async def read_preferences(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, Preferences]:
        rows = self.office.store.rows("account")
        return {
            AccountId(row["id"]): Preferences(row["dmarc_reject_action"], row["store_failed_deliveries"])
            for row in rows
            if row["id"] in accounts
        }

    def written(self) -> dict[str, list[dict[str, Any]]]:
        """All rows; to read a column makes it there, as null."""
        tables = self.office.store.tables.items()
        return {
            name: [{column: value for column, value in row.items() if value is not None} for row in rows]
            for name, rows in tables
        }

    async def explain(
        self, rcpt: str, content: bytes | None = MESSAGE, sender: str = SENDER, client: str = CLIENT
    ) -> Explained:
        """What is said; fails if anything was written or sent."""
        before = self.written()
        request = RcptRequest(sender, rcpt, client, "", authenticated=False)
        found = await self.explanation.explain(request, content, "mta.shop.example")
        assert self.written() == before
        assert self.office.outside.copies == []
        return found


@pytest.fixture
def desk() -> Desk:
    return Desk()


def said(found: Explained, check: str) -> str:
    """The one finding of a check."""
    (finding,) = [finding for name, finding in found.steps if name == check]
    return finding


def header(found: Explained, mark: str) -> str:
    (one,) = found.copies
    return "\n".join(line.text for line in one.header if line.mark == mark)


# --- without a message ---------------------------------------------------------------------------------------------


async def test_two_addresses_tell_the_mode_that_is_set(desk: Desk) -> None:
    found = await desk.explain("a1@alias.example", None)
    assert [check for check, _ in found.steps] == [
        "domain",
        "address",
        "alias",
        "account",
        "used",
        "at RCPT",
        "mode set",
        "copy to",
    ]
    assert said(found, "mode set") == "transparent, by default"
    assert said(found, "copy to") == f"{REAL}, transparent"
    assert found.copies == ()


@pytest.mark.parametrize(
    ("table", "number", "expected"),
    [("alias", 1, "auto, by the alias"), ("account", 1, "auto, by the account")],
)
async def test_it_tells_who_set_the_mode(desk: Desk, table: str, number: int, expected: str) -> None:
    desk.office.store.update(table, number, forward_mode="auto")
    assert said(await desk.explain("a1@alias.example", None), "mode set") == expected


@pytest.mark.parametrize(
    ("rcpt", "expected"),
    [
        ("unknown@alias.example", "550 5.1.1 Address does not exist: address does not exist"),
        ("gone@alias.example", "550 5.1.1 Address does not exist: alias was deleted"),
        ("a..b@alias.example", "501 5.1.3 Bad recipient address syntax"),
        ("x@elsewhere.example", "left to Postfix"),
    ],
)
@pytest.mark.parametrize("content", [None, MESSAGE], ids=["addresses", "message"])
async def test_what_rcpt_does_not_take_ends_there(desk: Desk, rcpt: str, expected: str, content: bytes | None) -> None:
    found = await desk.explain(rcpt, content)
    assert found.steps[-1] == ("at RCPT", expected)
    assert desk.asked == []


async def test_12_6_181_a_recipient_that_has_become_ours_is_told(desk: Desk) -> None:
    desk.office.store.update("recipient", 1, address="moved@own.example")
    refused = "450 4.2.1 Address is not ready to receive mail: every recipient is at a domain of this service by now"
    assert said(await desk.explain("a1@alias.example", None), "at RCPT") == refused
    assert said(await desk.explain("both@alias.example", None), "copy to") == "second@inbox2.example, transparent"


# --- with one ------------------------------------------------------------------------------------------------------


async def test_an_untouched_copy_is_shown_with_what_proves_its_author(desk: Desk) -> None:
    found = await desk.explain("a1@alias.example")
    assert said(found, "evidence") == f"found now, as from {CLIENT}"
    assert said(found, "author") == SENDER
    assert said(found, "SPF") == "pass, mailfrom shop.example"
    assert said(found, "DKIM") == "pass, d=shop.example, s=s1, rsa-sha256, aligned"
    assert said(found, "DMARC") == "pass, shop.example publishes p=reject, by DKIM"
    assert said(found, "at end of message") == "accepted"
    assert said(found, "been here") == "0 times within 1 day"
    assert said(found, "delivery") == "1 copy"
    (one,) = found.copies
    assert (one.destination, one.mode, one.reasons, one.body) == (REAL, "transparent", (), "unchanged")
    assert header(found, "-") == ""
    assert " ".join(line.text for line in one.header if line.mark == " ").startswith("From: Example Shop")
    assert "X-Mailrelay-Authentication-Results: mx.relay.example; spf=pass" in header(found, "+")
    assert (str(desk.asked[0][0].ip), desk.asked[0][0].helo, desk.asked[0][1]) == (
        CLIENT,
        "mta.shop.example",
        "shop.example",
    )


async def test_a_rewritten_copy_is_shown_with_every_reason(desk: Desk) -> None:
    desk.findings = Findings(dmarc=Dmarc(domain="shop.example"))
    desk.office.store.update("account", 1, banner_location="top", email_subject="News")
    desk.office.store.update("alias", 1, reply_via_alias=True, forward_mode="auto")
    found = await desk.explain("a1@alias.example")
    (one,) = found.copies
    assert one.mode == "rewrite"
    assert one.reasons == (
        "the copy is to be changed: banner, subject",
        "replies are to go through the alias",
        "the author's DMARC policy would refuse an untouched copy, or nothing proves the author",
    )
    assert one.body.startswith("changed: ")
    assert "From: Example Shop <news@shop.example>" in header(found, "-")
    assert "Subject: News" in header(found, "+")


async def test_the_copy_is_the_one_that_is_made(desk: Desk) -> None:
    """But for what is random."""
    desk.office.store.update("alias", 1, forward_mode="rewrite")
    content = with_evidence(desk)
    found = await desk.explain("a1@alias.example", content)
    assert await desk.office.deliver("a1@alias.example", content=content) == [OK]
    (made,) = desk.office.outside.copies
    expected = [field.name for field in split(b"".join(made.content)).fields]
    shown = split(("\r\n".join(line.text for line in found.copies[0].header if line.mark != "-") + "\r\n\r\n").encode())
    assert [field.name for field in shown.fields] == expected


def with_evidence(desk: Desk, findings: Findings = SIGNED) -> bytes:
    """The message as delivery gets it from the milter."""
    key = desk.office.rules.checks.keys[0]
    value = ingress.compose(
        ingress.Ingress("4Q", int(NOW.timestamp()) - 60, CLIENT, "h", SENDER, "smtp", findings), split(MESSAGE), key
    )
    return b"X-Mailrelay-Ingress: " + value + b"\r\n" + MESSAGE


async def test_what_the_milter_found_is_not_asked_again(desk: Desk) -> None:
    found = await desk.explain("a1@alias.example", with_evidence(desk))
    assert said(found, "evidence") == "found 2026-01-06T12:29:00Z, as the message says"
    assert said(found, "SPF") == "pass, mailfrom shop.example"
    assert desk.asked == []
    assert "X-Mailrelay-Ingress" in header(found, "-")


async def test_forged_evidence_is_not_believed(desk: Desk) -> None:
    desk.findings = FORGED
    content = b"X-Mailrelay-Ingress: v=1;mac=00\r\nX-Mailrelay-Mode: no\r\n" + MESSAGE
    found = await desk.explain("a1@alias.example", content)
    assert said(found, "evidence") == f"found now, as from {CLIENT}"
    assert found.steps[-1][0] == "at end of message"
    desk.findings = SIGNED
    assert "X-Mailrelay-Mode: no" in header(await desk.explain("a1@alias.example", content), "-")


async def test_a_refusal_at_the_end_of_the_message_ends_it(desk: Desk) -> None:
    desk.findings = FORGED
    found = await desk.explain("a1@alias.example")
    expected = "550 5.7.26 Rejected by the DMARC policy of shop.example: the author could not be authenticated (DMARC)"
    assert found.steps[-1] == ("at end of message", expected)
    assert found.copies == ()


async def test_quarantine_is_told_and_keeps_nothing(desk: Desk) -> None:
    desk.findings = FORGED
    desk.office.store.update("account", 1, dmarc_reject_action="quarantine")
    found = await desk.explain("a1@alias.example")
    expected = "quarantined, until its owner decides: the author could not be authenticated (DMARC)"
    assert said(found, "delivery") == expected
    assert found.copies == ()


async def test_the_warning_and_the_filter_are_told(desk: Desk) -> None:
    found = await desk.explain("a1@alias.example", b"X-Spam-Score: 8.1\r\n" + MESSAGE)
    assert said(found, "spam filter") == "8.1, that is: tag"
    assert said(found, "verdict") == "the reader is warned: spam"
    assert found.copies[0].reasons[0] == "the copy is to be changed: warning"


async def test_a_trusted_chain_is_told(desk: Desk) -> None:
    chain = Arc("pass", 0, (Sealer(1, "lists.example", "pass", "shop.example"),), 1)
    desk.findings = replace(FORGED, arc=chain)
    found = await desk.explain("a1@alias.example")
    assert said(found, "ARC") == "pass, 1 sets, sealed by lists.example"
    assert said(found, "trusted chain") == "vouches for it"


async def test_an_alias_that_the_message_makes_is_not_made(desk: Desk) -> None:
    found = await desk.explain("new+2@own.example")
    assert ("alias", "is made by this message") in found.steps
    assert [one.destination for one in found.copies] == ["second@inbox2.example"]
    assert said(found, "delivery") == "1 copy"


async def test_reverse_addresses_are_not_made_either(desk: Desk) -> None:
    desk.office.store.update("account", 1, reverse_address_style="opaque")
    desk.office.store.update("alias", 1, forward_mode="rewrite")
    found = await desk.explain("a1@alias.example")
    assert "r-" in header(found, "+")
    assert desk.office.store.rows("contact") == []


async def test_loops_are_told(desk: Desk) -> None:
    uuid = desk.office.store.rows("alias", id=1)[0]["uuid"]
    mark = f"X-Mailrelay-Loop: {loop.mark(uuid, KEY)}\r\n".encode()
    found = await desk.explain("a1@alias.example", mark + MESSAGE)
    assert said(found, "loops") == "0 of 50 hops, 1 marks of aliases"
    assert said(found, "delivery") == "taken and dropped: the message has passed this alias before"


async def test_mail_to_oneself_is_told(desk: Desk) -> None:
    desk.findings = replace(SIGNED, dmarc=replace(SIGNED.dmarc, domain="inbox.example"))
    content = MESSAGE.replace(b"news@shop.example", REAL.encode())
    found = await desk.explain("both@alias.example", content, sender=REAL)
    assert said(found, "self-mail") == "the author gets no copy"
    assert [one.destination for one in found.copies] == ["second@inbox2.example"]
    alone = await desk.explain("a1@alias.example", content, sender=REAL)
    assert "the author is the only recipient" in said(alone, "self-mail")
    assert alone.copies[0].reasons == ("the copy is to be changed: message id",)


async def test_without_the_milter_delivery_does_not_know(desk: Desk) -> None:
    desk.office.rules.checks = replace(desk.office.rules.checks, required=False)
    found = await desk.explain("a1@alias.example")
    assert said(found, "milter") == "is switched off, so delivery knows none of this"
    assert "Authentication-Results" not in header(found, "+")


async def test_mail_for_the_operator(desk: Desk) -> None:
    found = await desk.explain("postmaster@alias.example")
    (one,) = found.copies
    assert (one.destination, one.mode, one.reasons) == ("admin@inbox.example", "transparent", ())


async def test_a_report_on_a_copy(desk: Desk) -> None:
    path = verp.VerpId(verp.EmailType.FORWARD, OutboundId(7), day_number(NOW))
    rcpt = f"{verp.encode(path, 'bounces.relay.example', KEY)}@bounces.relay.example"
    assert (await desk.explain(rcpt, None)).steps[-1] == ("at RCPT", "550 5.1.1 Address does not exist")
    desk.office.store.insert("outbound", id=7, email_type="F")
    assert (await desk.explain(rcpt, None)).steps[-1][0] == "then"
    found = await desk.explain(rcpt, sender="")
    assert said(found, "delivery") == "taken and dropped: mail to a return path that is no delivery report"


async def test_a_report_on_a_copy_with_an_srs_sender(desk: Desk) -> None:
    rcpt = str(srs.forward(Address("bounce", "mta.shop.example"), SRS, day_number(NOW)))
    found = await desk.explain(rcpt, report(), sender="")
    (one,) = found.copies
    assert (one.destination, one.sender, one.mode) == ("bounce@mta.shop.example", "", "rewrite")
    assert one.reasons == ("a report of our own",)


HOSTILE: dict[str, Any] = {
    "nothing": b"",
    "no-header": b"\r\nbody\r\n",
    "octets": bytes(range(256)),
    "nul": b"From: a\0b@shop.example\r\nTo: \0\r\n\r\n\0\r\n",
    "broken-names": b"From : x@shop.example\r\n\xff: 1\r\n: 2\r\nFrom: y@shop.example\r\n\r\n",
    "mbox": b"From x@shop.example Sat Jan  3\r\nFrom: x@shop.example\r\n\r\nhi\r\n",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
async def test_whatever_the_message_is_it_is_explained(desk: Desk, content: bytes) -> None:
    found = await desk.explain("a1@alias.example", content)
    assert found.steps[-1][0] in ("at end of message", "delivery")


async def test_a_reply_is_shown_as_its_contact_gets_it(desk: Desk) -> None:
    desk.findings = replace(desk.findings, dmarc=replace(desk.findings.dmarc, domain="inbox.example"))
    content = MESSAGE.replace(b"news@shop.example", b"real@inbox.example").replace(
        b"a1@alias.example\r\nSubject:",
        b"a1+help=shop.example@alias.example\r\nIn-Reply-To: <1@shop.example>\r\nSubject:",
    )
    found = await desk.explain("a1+help=shop.example@alias.example", content, "real@inbox.example")
    assert said(found, "contact") == "help@shop.example"
    [copy] = found.copies
    assert (copy.destination, copy.reasons) == ("help@shop.example", ("a reply of real@inbox.example",))
    assert "From: a1@alias.example" in header(found, "+")


async def test_a_reply_that_nobody_can_prove_is_refused_in_words(desk: Desk) -> None:
    desk.findings = replace(desk.findings, dmarc=replace(desk.findings.dmarc, result="fail", policy="none"))
    content = MESSAGE.replace(b"news@shop.example", b"real@inbox.example")
    found = await desk.explain("a1+help=shop.example@alias.example", content, "real@inbox.example")
    assert found.copies == ()
    assert any("550 5.7.1" in finding for _, finding in found.steps)
