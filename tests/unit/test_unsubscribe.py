"""Mail to `<alias id>@unsubscribe.<shared domain>`: the owner's deactivates, nobody else's does anything."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from mailrelay.core.address import parse_address
from mailrelay.core.errors import Unavailable
from mailrelay.core.facts import REASON_TEXTS, AccountId, AliasId, Reason
from mailrelay.core.links import Action
from mailrelay.core.oneclick import AliasSight, Change, Visitor, Wish
from mailrelay.core.plan import Mail
from mailrelay.core.unsubscribe import alias_named
from mailrelay.flows.books import Books, Done
from mailrelay.flows.evidence import read_ingress
from mailrelay.flows.letter import open_letter
from mailrelay.flows.unsubscribe import UnsubscribeMail
from tests.golden.cases import examined
from tests.unit.fakes import NOW
from tests.unit.office import CLIENT, Office, new_office

A1 = UUID(int=1)  # of a1@alias.example
RCPT = f"{A1}@unsubscribe.alias.example"
REAL = "real@inbox.example"
HEAD = b"From: Real Name <real@inbox.example>\r\nTo: <%b>\r\nSubject: unsubscribe\r\n\r\n\r\n" % RCPT.encode()
PASS: dict[str, Any] = {"dmarc": {"result": "pass", "published": "reject", "policy": "reject", "spf_aligned": True}}
FAIL: dict[str, Any] = {"dmarc": {"result": "fail", "published": "reject", "policy": "reject"}}


@dataclass
class Desk:
    """An office, and what was done there."""

    office: Office = field(default_factory=new_office)
    acted: list[tuple[Wish, Visitor]] = field(default_factory=list)

    async def find(self, alias: UUID, /) -> tuple[AccountId, AliasId] | None:
        row = self.office.store.row("alias", uuid=alias)
        return None if row is None else (AccountId(row["account_id"]), AliasId(row["id"]))

    async def act(self, wish: Wish, visitor: Visitor, /) -> Change | None:
        self.acted.append((wish, visitor))
        return Change(AliasSight("a1@alias.example", "active"), True)

    async def __call__(
        self, content: bytes = HEAD, found: dict[str, Any] | None = PASS, sender: str = REAL, rcpt: str = RCPT
    ) -> Done | None:
        rules = self.office.rules
        mail = Mail("4XyZ12AbCd", sender, (rcpt,), examined(content, found, sender, NOW), CLIENT)
        letter = await open_letter(mail, NOW, lambda message: read_ingress(message, rules, NOW))
        address = parse_address(rcpt)
        place = rules.around.realm.locate(address.domain)
        assert place is not None
        books = Books(rules, self.office.store)
        story = UnsubscribeMail(books, self.find, self.office.rows.read_sending, self.act)
        return await story(letter, address, place)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_row_185_the_owners_mail_deactivates(desk: Desk) -> None:
    done = await desk()
    assert done is not None
    assert (str(done.reply), done.outcome, done.reason) == ("250 2.0.0 Ok", "discarded", Reason.UNSUBSCRIBE)
    assert desk.acted == [(Wish(Action.DEACTIVATE, A1), Visitor("recipient:1", CLIENT, "e-mail", NOW))]
    [entry] = desk.office.entries()
    assert (entry["rcpt"], entry["outcome"], entry["account_id"], entry["alias_id"]) == (RCPT, "discarded", None, None)
    assert desk.office.store.rows("rate_window") == []  # it counts for nobody
    assert desk.office.outside.copies == []


STRANGER = HEAD.replace(b"real@inbox.example", b"news@shop.example")


@pytest.mark.parametrize(
    ("content", "found", "sender"),
    [
        pytest.param(STRANGER, PASS, "news@shop.example", id="row-185-stranger"),
        pytest.param(HEAD, FAIL, REAL, id="row-185-forged"),
        pytest.param(HEAD, None, REAL, id="nobody-checked"),
        pytest.param(HEAD.replace(b"real@inbox", b"third@inbox3"), PASS, "third@inbox3.example", id="unverified"),
        pytest.param(HEAD, PASS, "", id="null-sender"),
        pytest.param(b"Auto-Submitted: auto-replied\r\n" + HEAD, PASS, REAL, id="automatic"),
        pytest.param(b"From: <x@inbox.example>\r\n" + HEAD, PASS, REAL, id="two-authors"),
        pytest.param(
            HEAD.replace(RCPT.encode(), b"list@shop.example"),
            {"dmarc": {**PASS["dmarc"], "spf_aligned": False, "dkim_aligned": True}},
            REAL,
            id="signed-mail-of-the-owner-sent-here-by-somebody",
        ),
    ],
)
async def test_whoever_else_writes_changes_nothing_and_cannot_tell(
    desk: Desk, content: bytes, found: dict[str, Any] | None, sender: str
) -> None:
    done = await desk(content, found, sender)
    assert done is not None
    assert (str(done.reply), done.reason) == ("250 2.0.0 Ok", Reason.UNSUBSCRIBE)
    assert desk.acted == []


async def test_owners_that_want_more_than_dmarc_get_it(desk: Desk) -> None:
    desk.office.store.update("recipient", 1, require_envelope_match=True)
    await desk(sender="other@inbox.example")
    assert desk.acted == []
    await desk(sender=REAL)
    assert len(desk.acted) == 1


async def test_the_alias_of_another_account_is_a_strangers(desk: Desk) -> None:
    number = desk.office.account("other", "other@inbox4.example")
    theirs = desk.office.alias("theirs@alias.example", account=number)
    rcpt = f"{UUID(int=theirs)}@unsubscribe.alias.example"
    await desk(HEAD.replace(RCPT.encode(), rcpt.encode()), rcpt=rcpt)
    assert desk.acted == []


async def test_unknown_aliases_are_not_told_apart(desk: Desk) -> None:
    rcpt = f"{UUID(int=99)}@unsubscribe.alias.example"
    done = await desk(HEAD.replace(RCPT.encode(), rcpt.encode()), rcpt=rcpt)
    assert done is not None and (str(done.reply), done.reason) == ("250 2.0.0 Ok", Reason.UNSUBSCRIBE)


async def test_other_addresses_are_not_for_this_story(desk: Desk) -> None:
    assert await desk(rcpt="a1@alias.example") is None
    assert await desk(rcpt=f"{A1}@u1.alias.example") is None
    assert await desk(rcpt=f"{A1}@own.example") is None
    done = await desk(rcpt="list@unsubscribe.alias.example")
    assert done is not None and done.reason is Reason.UNKNOWN


async def test_trouble_is_for_later(desk: Desk) -> None:
    def away(moment: str, operation: str) -> None:
        if operation == "sending":
            raise Unavailable("database: away")

    desk.office.store.trouble = away
    with pytest.raises(Unavailable):
        await desk()
    assert desk.office.entries() == []


@pytest.mark.parametrize("local", ["", "1", str(A1)[:-1], f"{A1}0", str(A1).replace("-", ""), f"{{{A1}}}", f"{A1}+x"])
def test_only_whole_ids_name_an_alias(local: str) -> None:
    assert alias_named(parse_address(f"{local or 'x'}@unsubscribe.alias.example")) is None


def test_capitals_do_not_matter() -> None:
    assert alias_named(parse_address(f"{UUID(int=171)}@unsubscribe.alias.example".upper())) == UUID(int=171)


def test_the_reason_has_words() -> None:
    assert REASON_TEXTS[Reason.UNSUBSCRIBE]
