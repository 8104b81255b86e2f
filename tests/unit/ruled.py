"""Rules as the database holds them, for tests."""

from collections.abc import Sequence
from uuid import UUID

from mailrelay.core.rules import model
from mailrelay.core.rules.model import Book, Rule, RuleId, StoredRule
from mailrelay.core.rules.stored import book

# The message of spec section 5.7: From `Example Shop <News@Shop.example>`.
SHOP = model.Tested("News@Shop.example", "Test Email", "a1@alias.example", "shop")
R1 = UUID("11111111-1111-4111-8111-111111111111")
R2 = UUID("22222222-2222-4222-8222-222222222222")


def condition(kind: str, match: str, *values: str) -> dict[str, object]:
    return {"type": kind, "match": match, "values": list(values)}


def action(kind: str, value: object = True) -> dict[str, object]:
    return {"type": kind, "value": value}


EVERYTHING = condition("sender", "contains", "@")


def row(
    conditions: object = (EVERYTHING,),
    actions: object = (action("block"),),
    operator: str = "AND",
    number: int = 1,
    flows: str = "F",
) -> StoredRule:
    """A row; tuples become lists, as JSON has them."""
    return StoredRule(
        RuleId(number),
        f"rule {number}",
        list(conditions) if isinstance(conditions, tuple) else conditions,
        list(actions) if isinstance(actions, tuple) else actions,
        operator,
        forwards="F" in flows,
        replies="R" in flows,
        sends="S" in flows,
    )


def acting(*actions: Sequence[dict[str, object]]) -> Book:
    """Rules number 1 and up that match everything, one for each sequence of actions."""
    return understood(*(row(actions=list(one), number=number) for number, one in enumerate(actions, 1)))


def understood(*rows: StoredRule) -> Book:
    """The book of rows in which nothing is broken."""
    made = book(rows)
    assert made.broken == ()
    return made


def only(stored: StoredRule) -> Rule:
    """The rule that a row makes."""
    (rule,) = understood(stored).rules
    return rule
