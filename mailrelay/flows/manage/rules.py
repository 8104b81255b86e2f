"""Making rules: what is wrong with one is told before it is stored, all of it at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from unicodedata import category
from uuid import UUID

from mailrelay.core.address import parse_address
from mailrelay.core.errors import Absent, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, Owned
from mailrelay.core.rules import stored
from mailrelay.core.rules.actions.forward_to import FORWARD_TO
from mailrelay.core.rules.record import MAX_NAME_CHARACTERS, NewRule, Operator, RuleRecord

_OPERATORS: tuple[Operator, ...] = ("AND", "OR")
_FLAGS = ("forwards", "replies", "sends", "active")
# What the API tells of a rule besides: a rule that was read from it can be written elsewhere.
_TOLD = frozenset(("id", "user_id", "applied", "last_applied", "created_at", "updated_at"))
_KNOWN = frozenset(("name", "conditions", "actions", "operator", "order", *_FLAGS))
_MAX_POSITION = 2**31 - 1


class BadRule(Malformed):
    """A rule that cannot be stored. The text says everything that is wrong, one a line; problems: what of it concerns
    conditions and actions.
    """

    def __init__(self, text: str, problems: tuple[stored.Problem, ...]) -> None:
        super().__init__(text)
        self.problems = problems


class RuleStore(Protocol):
    async def recipients(self, owner: Named | AccountId) -> Mapping[str, UUID]: ...
    async def add(self, owner: Named | AccountId, new: NewRule, actor: str) -> RuleRecord: ...
    async def replace(self, which: Owned, new: NewRule, actor: str) -> RuleRecord: ...


@dataclass(frozen=True, slots=True)
class RuleWish:
    """What somebody asks for. conditions, actions: JSON values as they came, not checked."""

    name: str
    conditions: object
    actions: object
    operator: Operator = "AND"
    forwards: bool = False
    replies: bool = False
    sends: bool = False
    active: bool = True
    position: int = 0


def wish(document: object) -> RuleWish:
    """A rule in the stored form (addy-api section 2.5), parsed from JSON. Raises Malformed with all that is wrong.

    Conditions and actions are looked at later.
    """
    if not isinstance(document, dict):
        raise Malformed("a rule is a JSON object")
    fields: dict[str, Any] = document
    wrong = [f"{name}: no rule has this" for name in sorted(fields.keys() - _KNOWN - _TOLD)]
    wrong += [f"{name}: neither true nor false" for name in _FLAGS if not isinstance(fields.get(name, False), bool)]
    if not isinstance(fields.get("name"), str):
        wrong.append("name: is missing or no text")
    if fields.get("operator", "AND") not in _OPERATORS:
        wrong.append("operator: neither AND nor OR")
    order = fields.get("order", 0)
    if not isinstance(order, int) or isinstance(order, bool) or abs(order) > _MAX_POSITION:
        wrong.append("order: no whole number")
    if wrong:
        raise Malformed("\n".join(wrong))
    return RuleWish(
        name=fields["name"],
        conditions=fields.get("conditions"),
        actions=fields.get("actions"),
        operator=fields.get("operator", "AND"),
        forwards=fields.get("forwards", False),
        replies=fields.get("replies", False),
        sends=fields.get("sends", False),
        active=fields.get("active", True),
        position=order,
    )


async def add(store: RuleStore, owner: Named | AccountId, wanted: RuleWish, actor: str) -> RuleRecord:
    """The new rule of an account. In `forwardTo` its recipients may be named by mailbox. actor: for the audit.

    Raises BadRule with everything that is wrong; Absent for an account or mailbox, TooManyRules, and Conflict.
    """
    return await store.add(owner, checked(wanted, await _recipients(store, owner, wanted)), actor)


async def replace(store: RuleStore, which: Owned, wanted: RuleWish, actor: str) -> RuleRecord:
    """Everything of a rule anew but its place, its counters, and whether it is switched on. Raises BadRule, Absent."""
    return await store.replace(which, checked(wanted, await _recipients(store, which.account, wanted)), actor)


async def _recipients(store: RuleStore, owner: Named | AccountId, wanted: RuleWish) -> Mapping[str, UUID]:
    return await store.recipients(owner) if names_recipients(wanted.actions) else {}


def names_recipients(actions: object) -> bool:
    """Whether actions, as they came, cannot be judged without the recipients of the account."""
    return isinstance(actions, list) and any(
        isinstance(action, dict) and action.get("type") == FORWARD_TO.name for action in actions
    )


def checked(wanted: RuleWish, recipients: Mapping[str, UUID]) -> NewRule:
    """A rule as it would be stored. recipients: verified ones of its account, by folded mailbox.

    Raises BadRule and Absent as `add` does.
    """
    actions = _with_ids(wanted.actions, recipients)
    wrong = []
    if not 1 <= len(wanted.name) <= MAX_NAME_CHARACTERS or not is_one_line(wanted.name):
        wrong.append(f"name: 1 to {MAX_NAME_CHARACTERS} characters on one line")
    problems = stored.problems(wanted.conditions, actions, frozenset(recipients.values()))
    for problem in problems:
        place = "" if problem.position is None else f", behind {problem.position} characters"
        wrong.append(f"{problem.path}: {problem.reason}{place}")
    if wrong:
        raise BadRule("\n".join(wrong), problems)
    conditions, actions = stored.normal(wanted.conditions, actions)
    return NewRule(
        name=wanted.name,
        conditions=conditions,
        actions=actions,
        operator=wanted.operator,
        forwards=wanted.forwards,
        replies=wanted.replies,
        sends=wanted.sends,
        active=wanted.active,
        position=wanted.position,
    )


def is_one_line(name: str) -> bool:
    """Neither line breaks and other controls, nor halves of surrogate pairs."""
    return all(category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in name)


def _with_ids(actions: object, recipients: Mapping[str, UUID]) -> object:
    """Actions with ids where `forwardTo` has mailboxes. Raises Absent for one that is no recipient."""
    if not isinstance(actions, list):
        return actions
    return [_with_id(action, recipients) for action in actions]


def _with_id(action: object, recipients: Mapping[str, UUID]) -> object:
    if not isinstance(action, dict) or action.get("type") != FORWARD_TO.name:
        return action
    value = action.get("value")
    if not isinstance(value, str) or "@" not in value:
        return action
    number = recipients.get(parse_address(value.strip()).folded)
    if number is None:
        raise Absent(f"{value} is no verified recipient of that account")
    return {**action, "value": str(number)}
