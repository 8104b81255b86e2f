"""Validation as the original does it: which rules run, in which order, and what they say (addy-api.md section 1.10).

The messages and their order are the contract, which is why no validation library will do.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from mailrelay.api.addy.php import Value
from mailrelay.api.addy.problems import Invalid
from mailrelay.core.requests import uuid_in

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Rule:
    """One test of a value that is there. message: `{a}` is the attribute; schema: what it adds to JSON Schema."""

    test: Callable[[Value], bool]
    message: str
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Distinct:
    """Among its siblings, the value is there once; those in `but` may come again."""

    but: frozenset[object] = frozenset()

    message = "The {a} field has a duplicate value."


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute. key: with dots, `*` stands for every member of a list; bail: its first failure ends it."""

    key: str
    rules: tuple[Rule | Distinct, ...]
    nullable: bool
    bail: bool


Fields = Sequence[Field]


def attribute(key: str, *rules: Rule | Distinct, nullable: bool = False, bail: bool = False) -> Field:
    """A field of a request. nullable: null counts as absent."""
    return Field(key, rules, nullable, bail)


def is_text(value: Value) -> bool:
    """A string that can be stored: without NUL and without halves of surrogate pairs."""
    return isinstance(value, str) and _UNSTORABLE.search(value) is None


def uuid_of(value: Value) -> UUID | None:
    """The UUID that a value spells, None if it spells none."""
    return uuid_in(value) if isinstance(value, str) else None


def integer_of(value: Value) -> int | None:
    """The whole number that a value is or spells."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 10**18 else None
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else None


def truth(value: Value) -> bool:
    """What one of the spellings that BOOLEAN takes says; None and everything else is False."""
    return value in (True, "1")


def group(values: Mapping[str, Value], key: str) -> Mapping[str, Value]:
    """What was given as `key[…]`; nothing if it was a plain list."""
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def members(value: Value) -> list[Value] | None:
    """Those of a list, whether JSON had it or a form, whose lists have keys; None for what is no list."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else None


def _size(value: Value) -> int | None:
    return len(value) if isinstance(value, list | dict) else None


REQUIRED: Final = Rule(lambda value: value not in (None, "", [], {}), "The {a} field is required.")
STRING: Final = Rule(is_text, "The {a} must be a string.", {"type": "string"})
ARRAY: Final = Rule(lambda value: isinstance(value, list | dict), "The {a} must be an array.", {"type": "array"})
INTEGER: Final = Rule(
    lambda value: integer_of(value) is not None, "The {a} must be an integer.", {"type": ["integer", "string"]}
)
BOOLEAN: Final = Rule(
    lambda value: isinstance(value, bool | int | str) and value in (True, False, "0", "1"),
    "The {a} field must be true or false.",
    {"enum": [True, False, 0, 1, "0", "1"]},
)
UUID_TEXT: Final = Rule(
    lambda value: uuid_of(value) is not None, "The {a} must be a valid UUID.", {"type": "string", "format": "uuid"}
)
DISTINCT: Final = Distinct()


def required(message: str) -> Rule:
    """REQUIRED in other words."""
    return replace(REQUIRED, message=message)


def demanded(rules: Sequence[Rule | Distinct]) -> Rule | None:
    """The rule among them that wants a value to be there."""
    return next((rule for rule in rules if isinstance(rule, Rule) and rule.test is REQUIRED.test), None)


def one_of(*words: str) -> Rule:
    """One of these words, exactly."""
    return Rule(
        lambda value: isinstance(value, str) and value in words, "The selected {a} is invalid.", {"enum": [*words]}
    )


def max_chars(limit: int) -> Rule:
    """At most so many code points; what is no string is left to STRING."""
    message = f"The {{a}} may not be greater than {limit} characters."
    return Rule(lambda value: not isinstance(value, str) or len(value) <= limit, message, {"maxLength": limit})


def min_chars(limit: int) -> Rule:
    message = f"The {{a}} must be at least {limit} characters."
    return Rule(lambda value: not isinstance(value, str) or len(value) >= limit, message, {"minLength": limit})


def max_items(limit: int) -> Rule:
    message = f"The {{a}} may not have more than {limit} items."
    return Rule(lambda value: (_size(value) or 0) <= limit, message, {"maxItems": limit})


def max_number(limit: int) -> Rule:
    message = f"The {{a}} may not be greater than {limit}."
    return Rule(lambda value: (number := integer_of(value)) is None or number <= limit, message)


def min_number(limit: int) -> Rule:
    message = f"The {{a}} must be at least {limit}."
    return Rule(lambda value: (number := integer_of(value)) is None or number >= limit, message)


def matches(pattern: str) -> Rule:
    """The whole string fits a regular expression of Python and of JSON Schema."""
    compiled = re.compile(pattern)
    return Rule(
        lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None,
        "The {a} format is invalid.",
        {"pattern": f"^(?:{pattern})$"},
    )


# What a switch is set for.
ID_FIELDS: Final[Fields] = (attribute("id", REQUIRED, STRING),)


def validate(
    fields: Fields, given: Mapping[str, Value], extra: Mapping[str, Sequence[Rule]] | None = None
) -> dict[str, Value]:
    """What was given of these fields, by their first name, lists as lists. Raises Invalid with all that is wrong.

    extra: more rules of a key, after its own: those that need facts; or of one attribute, such as `actions.0.value`.
    A null member is there, with the value None.
    The members of a list that is too long are not looked at: the answer would be longer than the request.
    """
    errors: dict[str, list[str]] = {}
    closed: set[str] = set()
    for one in fields:
        rules = (*one.rules, *(extra or {}).get(one.key, ()))
        found = [place for place in _places(one.key, given) if not _is_below(place.name, closed)]
        doubles = _doubles(found, rules)
        for place in found:
            own = (extra or {}).get(place.name, ()) if place.name != one.key else ()
            messages = _messages(one, (*rules, *own), place, doubles)
            if messages:
                errors.setdefault(place.name, []).extend(messages)
                if not all(rule.test(place.value) for rule in one.rules if isinstance(rule, Rule)):
                    closed.add(place.name)
    if errors:
        raise Invalid(errors)
    return _taken(fields, given)


@dataclass(frozen=True, slots=True)
class _Place:
    """An attribute of this request. name: with the indices for stars; siblings: equal for those under one list."""

    name: str
    siblings: str
    value: Value


def _places(key: str, given: Mapping[str, Value]) -> Iterator[_Place]:
    yield from _descend(key.split("."), given, (), "")


def _descend(steps: Sequence[str], value: Value, above: tuple[str, ...], siblings: str) -> Iterator[_Place]:
    if not steps:
        yield _Place(".".join(above), siblings, value)
        return
    step, rest = steps[0], steps[1:]
    if step == "*":
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for index, member in members:
            yield from _descend(rest, member, (*above, str(index)), ".".join(above))
    else:
        inner = value.get(step, _ABSENT) if isinstance(value, dict | Mapping) else _ABSENT
        yield from _descend(rest, inner, (*above, step), siblings)


def _is_below(name: str, closed: Set[str]) -> bool:
    steps = name.split(".")
    return any(".".join(steps[:length]) in closed for length in range(1, len(steps)))


def _messages(one: Field, rules: Sequence[Rule | Distinct], place: _Place, doubles: frozenset[str]) -> list[str]:
    value, name = place.value, place.name
    needed = demanded(rules)
    if needed is not None:
        if value is _ABSENT or not needed.test(value):
            return [_said(needed.message, one.key, name)]
    elif value is _ABSENT or value == "" or (value is None and one.nullable):
        return []
    messages = []
    for rule in rules:
        if rule is needed:
            continue
        if not (name not in doubles if isinstance(rule, Distinct) else rule.test(value)):
            messages.append(_said(rule.message, one.key, name))
            if one.bail:
                break
    return messages


def _said(message: str, key: str, name: str) -> str:
    # str.format would trip over braces in a name that the client chose.
    return message.replace("{a}", name if "*" in key else name.replace("_", " "))


def _doubles(found: Sequence[_Place], rules: Sequence[Rule | Distinct]) -> frozenset[str]:
    """Names of those that are there more than once among their siblings."""
    rule = next((rule for rule in rules if isinstance(rule, Distinct)), None)
    if rule is None:
        return frozenset()
    groups: dict[tuple[str, str], list[str]] = {}
    for place in found:
        if place.value is _ABSENT or (isinstance(place.value, str) and place.value in rule.but):
            continue
        groups.setdefault((place.siblings, json.dumps(place.value, sort_keys=True)), []).append(place.name)
    return frozenset(name for names in groups.values() if len(names) > 1 for name in names)


def _taken(fields: Fields, given: Mapping[str, Value]) -> dict[str, Value]:
    groups = {one.key.split(".")[0] for one in fields if "." in one.key and one.key.split(".")[1] != "*"}
    lists = {one.key for one in fields if ARRAY in one.rules} - groups
    taken = {}
    for name in dict.fromkeys(one.key.partition(".")[0] for one in fields):
        if name in given:
            value = given[name]
            if name in lists and isinstance(value, dict):
                value = members(value)
            elif name in groups and isinstance(value, list):
                value = {str(index): member for index, member in enumerate(value)}
            taken[name] = value
    return taken
