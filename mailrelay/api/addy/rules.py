"""Rules over HTTP (addy-api.md sections 2.5 and 3.8)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from starlette.responses import Response
from typing_extensions import TypedDict

from mailrelay.api.addy.call import Call, body, data, empty, timestamp, timestamp_or_none
from mailrelay.api.addy.checks import (
    ARRAY,
    BOOLEAN,
    DISTINCT,
    ID_FIELDS,
    REQUIRED,
    STRING,
    Distinct,
    Fields,
    Rule,
    attribute,
    is_text,
    max_chars,
    max_items,
    members,
    one_of,
    truth,
    uuid_of,
    validate,
)
from mailrelay.api.addy.endpoint import Endpoint
from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Invalid, Text, missing
from mailrelay.api.addy.shapes import Data, Nothing
from mailrelay.core.errors import Absent, Malformed
from mailrelay.core.facts import AccountId
from mailrelay.core.records import Named, Owned
from mailrelay.core.rules import stored
from mailrelay.core.rules.actions import ACTIONS
from mailrelay.core.rules.actions.forward_to import FORWARD_TO
from mailrelay.core.rules.conditions import CONDITIONS
from mailrelay.core.rules.kinds import MAX_ACTION_CHARACTERS
from mailrelay.core.rules.matching import MATCHES, REGEX
from mailrelay.core.rules.record import MAX_NAME_CHARACTERS, MAX_RULES, OwnRule, RuleRecord, TooManyRules
from mailrelay.flows.manage import rules as desk
from mailrelay.flows.manage.rules import BadRule, RuleWish

_MODEL = "Rule"
_TOO_MANY: Final = (403, f"You have reached your limit of {MAX_RULES} rules")
# One that is not escaped would end the pattern where the original writes it between slashes (section 3.9).
_BARE_SLASH = re.compile(r"(?<!\\)(?:\\\\)*/")

_ONE_LINE: Final = Rule(
    lambda value: not isinstance(value, str) or desk.is_one_line(value),
    "The {a} format is invalid.",
    {"pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$"},
)
_TEXT_OR_FLAG: Final = Rule(
    lambda value: isinstance(value, bool) or is_text(value),
    "The {a} must be a string.",
    {"type": ["string", "boolean"]},
)

FIELDS: Fields = (
    attribute("name", REQUIRED, STRING, max_chars(MAX_NAME_CHARACTERS), _ONE_LINE),
    attribute("conditions", REQUIRED, ARRAY, max_items(stored.MAX_CONDITIONS)),
    attribute("conditions.*.type", REQUIRED, one_of(*CONDITIONS)),
    attribute("conditions.*.match", one_of(*MATCHES), nullable=True),
    attribute("conditions.*.values", REQUIRED, ARRAY, max_items(stored.MAX_VALUES)),
    attribute("conditions.*.values.*", REQUIRED, STRING, DISTINCT, max_chars(stored.MAX_VALUE_CHARACTERS)),
    attribute("actions", REQUIRED, ARRAY, max_items(stored.MAX_ACTIONS)),
    attribute("actions.*.type", REQUIRED, one_of(*ACTIONS), Distinct(frozenset({FORWARD_TO.name}))),
    attribute("actions.*.value", REQUIRED, _TEXT_OR_FLAG, max_chars(MAX_ACTION_CHARACTERS)),
    attribute("operator", one_of("AND", "OR"), nullable=True),
    attribute("forwards", BOOLEAN),
    attribute("replies", BOOLEAN),
    attribute("sends", BOOLEAN),
)
IDS: Fields = (attribute("ids", REQUIRED, ARRAY),)


class ConditionShape(TypedDict):
    type: str
    match: str
    values: list[str]


class ActionShape(TypedDict):
    type: str
    value: str | bool


class RuleShape(TypedDict):
    id: str
    user_id: str
    name: str
    order: int
    conditions: list[ConditionShape]
    actions: list[ActionShape]
    operator: str
    forwards: bool
    replies: bool
    sends: bool
    active: bool
    applied: int
    last_applied: str | None
    created_at: str
    updated_at: str


class Reader(Protocol):
    """As store/own_rules.py. Both raise Unavailable, `one` also Absent."""

    async def all(self, account: AccountId) -> Sequence[OwnRule]: ...
    async def one(self, which: Owned) -> OwnRule: ...


class Store(desk.RuleStore, Protocol):
    """As store/manage_rules.py. All raise Unavailable and Absent."""

    async def remove(self, which: Owned, actor: str) -> RuleRecord: ...
    async def set_active(self, which: Owned, active: bool, actor: str) -> RuleRecord: ...
    async def reorder(self, owner: Named | AccountId, refs: Sequence[str], actor: str) -> Sequence[OwnRule]: ...


@dataclass(frozen=True, slots=True)
class RuleEndpoints:
    """E51 to E58."""

    reader: Reader
    store: Store

    def endpoints(self) -> tuple[Endpoint, ...]:
        one, toggle = "rules/{id}", "active-rules"
        replaced = "E54 Everything of a rule anew; flags that are absent are off"
        return (
            Endpoint("GET", "rules", self.list, "E51 All rules, in their order", Data[list[RuleShape]]),
            Endpoint("GET", one, self.show, "E52 A rule", Data[RuleShape]),
            Endpoint("POST", "rules", self.create, "E53 A new rule", Data[RuleShape], 201, FIELDS, texts=(_TOO_MANY,)),
            Endpoint("PATCH", one, self.replace, replaced, Data[RuleShape], fields=FIELDS),
            Endpoint("DELETE", one, self.delete, "E55 Delete a rule", status=204),
            Endpoint("POST", "reorder-rules", self.reorder, "E56 Put rules in order", Nothing, fields=IDS),
            Endpoint("POST", toggle, self.activate, "E57 Switch a rule on", Data[RuleShape], fields=ID_FIELDS),
            Endpoint("DELETE", f"{toggle}/{{id}}", self.deactivate, "E58 Switch a rule off", status=204),
        )

    async def list(self, call: Call) -> Response:
        return data([_shape(call, rule) for rule in await self.reader.all(call.account)])

    async def show(self, call: Call) -> Response:
        which = call.owned(_MODEL)
        with missing(_MODEL, call.id):
            return data(_shape(call, await self.reader.one(which)))

    async def create(self, call: Call) -> Response:
        wanted = await self._wanted(call)
        try:
            rule = await desk.add(self.store, call.account, wanted, call.actor)
        except BadRule as error:
            raise _invalid(error) from error
        except TooManyRules as error:
            raise Text(*_TOO_MANY) from error
        return data(_shape(call, rule), 201)

    async def replace(self, call: Call) -> Response:
        wanted = await self._wanted(call)
        which = call.owned(_MODEL)
        try:
            with missing(_MODEL, call.id):
                rule = await desk.replace(self.store, which, wanted, call.actor)
        except BadRule as error:
            raise _invalid(error) from error
        return data(_shape(call, rule))

    async def delete(self, call: Call) -> Response:
        which = call.owned(_MODEL)
        with missing(_MODEL, call.id):
            await self.store.remove(which, call.actor)
        return empty()

    async def reorder(self, call: Call) -> Response:
        """Of rules that are not own ones, or are named twice, nothing is moved."""
        ids = _listed(validate(IDS, call.input)["ids"])
        numbers = [uuid_of(one) for one in ids]
        try:
            if None in numbers:
                raise Absent("this is no id")
            await self.store.reorder(call.account, [str(number) for number in numbers], call.actor)
        except (Absent, Malformed) as error:
            raise Invalid({"ids": ["Invalid Rule ID."]}) from error
        return body({})

    async def activate(self, call: Call) -> Response:
        sent = validate(ID_FIELDS, call.input)["id"]
        which = call.owned(_MODEL, sent)
        with missing(_MODEL, sent):
            return data(_shape(call, await self.store.set_active(which, True, call.actor)))

    async def deactivate(self, call: Call) -> Response:
        which = call.owned(_MODEL)
        with missing(_MODEL, call.id):
            await self.store.set_active(which, False, call.actor)
        return empty()

    async def _wanted(self, call: Call) -> RuleWish:
        """The rule that was sent. Raises Invalid."""
        conditions, actions = _conditions(call.input.get("conditions")), _listed(call.input.get("actions"))
        own: frozenset[UUID] = frozenset()
        if desk.names_recipients(actions):
            own = frozenset((await self.store.recipients(call.account)).values())
        given = {**call.input, "conditions": conditions, "actions": actions}
        values = validate(FIELDS, given, _refusals(conditions, actions, own))
        return RuleWish(
            name=values["name"],
            conditions=conditions,
            actions=actions,
            operator=values.get("operator") or "AND",
            forwards=truth(values.get("forwards")),
            replies=truth(values.get("replies")),
            sends=truth(values.get("sends")),
        )


# --- what is wrong with a rule ---------------------------------------------------------------------------------------


def _listed(value: Value) -> Value:
    """A list as JSON has it; what is none as it is."""
    found = members(value)
    return value if found is None else found


def _conditions(value: Value) -> Value:
    found = _listed(value)
    if not isinstance(found, list):
        return found
    return [{**one, "values": _listed(one.get("values"))} if isinstance(one, dict) else one for one in found]


def _refusals(conditions: Value, actions: Value, own: frozenset[UUID]) -> Mapping[str, Sequence[Rule]]:
    """What stored.problems has against this rule and no rule of a field can tell, by attribute."""
    found: dict[str, list[Rule]] = {}
    if _fits(conditions, stored.MAX_CONDITIONS) and _fits(actions, stored.MAX_ACTIONS):
        for path, message in _complaints(stored.problems(conditions, actions, own)):
            found.setdefault(path, []).append(Rule(_never, message))
        for path in _with_slashes(conditions):
            found.setdefault(path, []).append(Rule(_never, _BAD_PATTERN))
    return found


def _fits(value: Value, most: int) -> bool:
    return not isinstance(value, list) or len(value) <= most


def _never(_: Value) -> bool:
    return False


_BAD_PATTERN: Final = "{a} is an invalid regular expression."


def _complaints(problems: Sequence[stored.Problem]) -> Iterator[tuple[str, str]]:
    """In the words of section 1.10; `{a}` stands for the attribute."""
    lists = {"conditions", "actions"}
    for problem in problems:
        is_list = problem.path in lists or problem.path.endswith(".values")
        yield problem.path, _said(problem, is_list)


def _said(problem: stored.Problem, is_list: bool) -> str:
    match problem.kind:
        case "required":
            return REQUIRED.message
        case "string":
            return STRING.message
        case "array":
            return ARRAY.message
        case "in":
            return "The selected {a} is invalid."
        case "distinct":
            return DISTINCT.message
        case "max":
            return (max_items if is_list else max_chars)(problem.limit or 0).message
        case "regex":
            return _BAD_PATTERN


def _with_slashes(conditions: Value) -> Iterator[str]:
    """Attributes of patterns that hold a slash which is not escaped."""
    for at, one in enumerate(conditions if isinstance(conditions, list) else ()):
        match = one.get("match") if isinstance(one, dict) else None
        if isinstance(match, str) and match in REGEX and isinstance(one["values"], list):
            for number, value in enumerate(one["values"]):
                if isinstance(value, str) and _BARE_SLASH.search(value):
                    yield f"conditions.{at}.values.{number}"


def _invalid(error: BadRule) -> Invalid:
    """What validation let through: a recipient that went meanwhile."""
    errors: dict[str, list[str]] = {}
    for path, message in _complaints(error.problems):
        errors.setdefault(path, []).append(message.replace("{a}", path))
    return Invalid(errors or {"name": [_ONE_LINE.message.replace("{a}", "name")]})


# --- what is told of one --------------------------------------------------------------------------------------------


def _shape(call: Call, rule: OwnRule) -> RuleShape:
    return {
        "id": str(rule.uuid),
        "user_id": str(call.caller.account_uuid),
        "name": rule.name,
        "order": rule.position,
        "conditions": [_condition(one) for one in _objects(rule.conditions)],
        "actions": [_action(one) for one in _objects(rule.actions)],
        "operator": rule.operator,
        "forwards": rule.forwards,
        "replies": rule.replies,
        "sends": rule.sends,
        "active": rule.active,
        "applied": rule.applied,
        "last_applied": timestamp_or_none(rule.last_applied),
        "created_at": timestamp(rule.created_at),
        "updated_at": timestamp(rule.updated_at),
    }


# Clients decode these strictly, and other programs may have stored anything: what has the wrong type shows as text.


def _objects(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _condition(one: Mapping[str, object]) -> ConditionShape:
    values = one.get("values")
    return {
        "type": _text(one.get("type")),
        "match": _text(one.get("match", "is exactly")),
        "values": [_text(value) for value in values] if isinstance(values, list) else [],
    }


def _action(one: Mapping[str, object]) -> ActionShape:
    value = one.get("value")
    return {"type": _text(one.get("type")), "value": value if isinstance(value, bool) else _text(value)}


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)
