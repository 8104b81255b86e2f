"""Rules tried out: on a message, and on what the ledger knows of past mail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from mailrelay.core.address import Address, parse_address
from mailrelay.core.errors import Absent, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named
from mailrelay.core.rules.model import StoredRule
from mailrelay.core.rules.trial import MAX_EXAMPLES, Answer, Past, Replay, Trial, past, replay, trial
from mailrelay.flows import tryout
from mailrelay.flows.manage.rules import RuleWish
from tests.unit.fakes import NOW
from tests.unit.office import MESSAGE
from tests.unit.ruled import EVERYTHING, R1, SHOP, action, condition, only, row

JOHN = Named("johndoe")
A1 = parse_address("a1+tag@alias.example")
SINCE = NOW - timedelta(days=30)
FROM_SHOP = condition("sender", "ends with", "@shop.example")
INVOICE = condition("subject", "contains", "invoice")
TO_A1 = condition("alias", "is exactly", "a1@alias.example")
OF_BANK = condition("alias_description", "contains", "bank")


def mail(sender: str = "news@shop.example", alias: str = "a1@alias.example", age_days: int = 0, **more: object) -> Past:
    values: dict[str, object] = {"alias_description": "", "flow": "F", "outcome": "delivered", **more}
    return Past(NOW - timedelta(days=age_days), sender, alias, **values)  # type: ignore[arg-type]


def replayed(stored: StoredRule, *found: Past, complete: bool = True) -> Replay:
    return replay(only(stored), found, SINCE, complete=complete)


# --- a message -----------------------------------------------------------------------------------------------------


def test_every_condition_is_answered_with_what_the_rule_would_do() -> None:
    found = trial(only(row((FROM_SHOP, INVOICE), (action("subject", "x"), action("banner", "off")), "OR")), SHOP)
    assert found == Trial(
        "rule 1",
        "F",
        matches=True,
        conditions=(Answer('sender ends-with "@shop.example"', True), Answer('subject contains "invoice"', False)),
        effects=("the subject becomes 'x'", "the banner is left out"),
        faults=(),
    )


@pytest.mark.parametrize(("flows", "flow"), [("F", "F"), ("RS", "R"), ("S", "S"), ("FR", "F"), ("", "F")])
def test_it_is_asked_as_what_it_is_for(flows: str, flow: str) -> None:
    rule = only(row((EVERYTHING,), (action("forwardTo", str(R1)), action("block")), flows=flows))
    found = trial(rule, SHOP)
    assert (found.flow, found.matches, found.effects) == (flow, True, ("the message is blocked",))


def test_actions_that_are_not_for_this_mail_do_nothing() -> None:
    assert trial(only(row((EVERYTHING,), (action("banner", "off"),), flows="R")), SHOP).effects == ()


# --- past mail -----------------------------------------------------------------------------------------------------


def test_past_mail_is_counted_and_the_latest_shown() -> None:
    many = [mail(age_days=age) for age in range(MAX_EXAMPLES + 3)]
    other = mail("someone@else.example")
    found = replayed(row((FROM_SHOP, TO_A1)), other, *many, mail(alias="b@alias.example"))
    assert (found.rule, found.since, found.complete) == ("rule 1", SINCE, True)
    assert (found.messages, found.matching, found.undecided) == (len(many) + 2, len(many), 0)
    assert found.examples == tuple(many[:MAX_EXAMPLES])
    assert (found.unknown, found.near, found.undecided_examples) == ((), ("sender",), ())


def test_what_depends_on_the_subject_is_undecided() -> None:
    found = replayed(row((FROM_SHOP, INVOICE)), mail(), mail("someone@else.example"))
    assert (found.matching, found.undecided, found.messages) == (0, 1, 2)
    assert (found.unknown, found.undecided_examples) == (("subject",), (mail(),))
    found = replayed(row((FROM_SHOP, INVOICE), operator="OR"), mail(), mail("someone@else.example"), complete=False)
    assert (found.matching, found.undecided, found.complete) == (1, 1, False)


def test_descriptions_are_asked() -> None:
    found = replayed(row((OF_BANK,)), mail(alias_description="my bank"), mail())
    assert (found.matching, found.near) == (1, ("alias_description",))


@pytest.mark.parametrize(
    ("flows", "messages", "matching", "undecided"),
    [("F", 1, 1, 0), ("R", 2, 1, 1), ("S", 2, 1, 1), ("RS", 3, 3, 0), ("FRS", 4, 4, 0), ("", 0, 0, 0)],
)
def test_only_mail_that_the_rule_is_for_counts(flows: str, messages: int, matching: int, undecided: int) -> None:
    every = [mail(flow=flow) for flow in ("F", "R", "S", None)]
    found = replayed(row((EVERYTHING,), flows=flows), *every)
    assert (found.messages, found.matching, found.undecided) == (messages, matching, undecided)


@pytest.mark.parametrize(
    ("rcpt", "alias", "type_", "is_own", "expected"),
    [
        ("a1@alias.example", "a1@alias.example", "F", False, ("a1@alias.example", "F")),
        ("a1+tag@alias.example", "a1@alias.example", None, False, ("a1@alias.example", "F")),
        ("a1+tag@alias.example", "a1@alias.example", None, True, ("a1@alias.example", "F")),
        ("a1+x=y.example@alias.example", "a1@alias.example", None, False, ("a1@alias.example", "F")),
        ("a1+x=y.example@alias.example", "a1@alias.example", None, True, ("a1@alias.example", None)),
        ("a1+x=y.example@alias.example", "a1@alias.example", "R", True, ("a1@alias.example", "R")),
        ("r-abcdefghij234567@alias.example", "a1@alias.example", None, True, ("a1@alias.example", None)),
        ("r-abcdefghij234567@alias.example", None, None, True, None),
        ("Gone+tag@own.example", None, None, False, ("gone@own.example", "F")),
        ("a1@alias.example", "a1@alias.example", "N", False, None),
        ("no address", None, None, False, None),
    ],
)
def test_what_the_ledger_says_of_a_message(
    rcpt: str, alias: str | None, type_: str | None, is_own: bool, expected: tuple[str, str | None] | None
) -> None:
    found = past(NOW, "me@inbox.example", rcpt, "delivered", alias, None, type_, is_own)
    assert (None if found is None else (found.alias, found.flow)) == expected
    assert found is None or (found.sender, found.alias_description, found.outcome) == (
        "me@inbox.example",
        "",
        "delivered",
    )


# --- the stories ---------------------------------------------------------------------------------------------------


@dataclass
class Shelf:
    """Rule 7, a recipient, and mail of johndoe."""

    rule: StoredRule = field(default_factory=lambda: row((FROM_SHOP,), number=7))
    asked: list[object] = field(default_factory=list)

    async def stored(self, ref: str) -> tuple[AccountId, StoredRule]:
        if ref != "7":
            raise Absent(f"there is no rule {ref}")
        return AccountId(1), self.rule

    async def recipients(self, owner: Named | AccountId) -> Mapping[str, UUID]:
        self.asked.append(owner)
        return {"me@inbox.example": R1}

    async def since(self, owner: Named | AccountId, since: datetime, limit: int) -> tuple[list[Past], bool]:
        self.asked.append((owner, since, limit))
        return [mail(), mail("x@else.example")], False

    async def description(self, owner: Named | AccountId, alias: Address) -> str:
        self.asked.append((owner, alias))
        return "my bank"


async def answers(stored: StoredRule, alias: Address | None = A1, content: bytes = MESSAGE) -> Trial:
    shelf = Shelf(stored)
    return await tryout.on_message(shelf, await tryout.of_ref(shelf, "7"), content, "bounces@mta.example", alias)


async def test_a_message_is_asked_about_as_delivery_does() -> None:
    about = (
        condition("sender", "is exactly", "news@shop.example"),
        condition("subject", "is exactly", "Your order 77"),
        TO_A1,
        OF_BANK,
    )
    found = await answers(row(about))
    assert (found.matches, [one.holds for one in found.conditions]) == (True, [True, True, True, True])
    found = await answers(row(about), alias=None)
    assert (found.matches, [one.holds for one in found.conditions]) == (None, [True, True, None, None])


@pytest.mark.parametrize(
    ("flows", "content", "sender"),
    [
        ("F", b"Sender: s@shop.example\r\nSubject: x\r\n\r\n", "s@shop.example"),
        ("R", b"Sender: s@shop.example\r\nSubject: x\r\n\r\n", "bounces@mta.example"),
        ("F", b"Subject: x\r\n\r\n", "bounces@mta.example"),
        ("R", b"From: Me <me@inbox.example>\r\n\r\n", "me@inbox.example"),
    ],
)
async def test_5_7_20_the_sender_without_an_author(flows: str, content: bytes, sender: str) -> None:
    stored = row((condition("sender", "is exactly", sender),), flows=flows)
    assert (await answers(stored, content=content)).matches is True


async def test_a_rule_that_is_not_stored_is_checked_as_if_it_were_to_be() -> None:
    shelf = Shelf()
    to_me = RuleWish("r", [FROM_SHOP], [{"type": "forwardTo", "value": "me@inbox.example"}], forwards=True)
    candidate = await tryout.of_wish(shelf, JOHN, to_me)
    assert (candidate.owner, candidate.rule.name, shelf.asked) == (JOHN, "r", [JOHN])
    found = await tryout.on_message(shelf, candidate, MESSAGE, "", None)
    assert found.effects == (f"copies go to {R1}, as far as they are verified",)
    with pytest.raises(Malformed, match=r"conditions\.0\.values\.0"):
        await tryout.of_wish(shelf, JOHN, RuleWish("r", [condition("subject", "matches regex", "(?=a)")], []))


async def test_a_rule_that_cannot_be_understood_is_named_and_not_tried() -> None:
    with pytest.raises(Malformed, match="unknown type 'weather'"):
        await answers(row((condition("weather", "is", "x"),)))
    found = await answers(row((FROM_SHOP,), (action("dance"), action("block"))))
    assert (found.matches, found.faults) == (True, ("action 1: unknown type 'dance'",))
    with pytest.raises(Absent):
        await tryout.of_ref(Shelf(), "8")


async def test_a_replay_is_of_the_last_30_days_of_the_owner() -> None:
    shelf = Shelf()
    found = await tryout.on_past_mail(shelf, await tryout.of_ref(shelf, "7"), NOW)
    assert (found.messages, found.matching, found.complete, found.since) == (2, 1, False, SINCE)
    assert shelf.asked == [(AccountId(1), SINCE, tryout.MAX_ENTRIES)]
