"""Declared members of requests: read, checked and described (haltman-api.md sections 2.9 and 2.12)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from mailrelay.api.haltman.call import Value
from mailrelay.api.haltman.problems import Problem, invalid
from mailrelay.core.apikeys import within_calendar

_INTEGER = re.compile(r"-?[0-9]{1,15}")
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off"})
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Wrong(Exception):
    """violated: the sentence of each rule, with {name} for the member's name."""

    def __init__(self, violated: Mapping[str, str]) -> None:
        super().__init__(*violated)
        self.violated = violated


@dataclass(frozen=True, slots=True)
class Check:
    """read: the value as handlers want it; raises Wrong. schema: of what may be sent, for the OpenAPI document.

    null: what JSON null is: `absent`, `wrong`, or `none`, a value of its own.
    """

    read: Callable[[Value], Any]
    schema: Mapping[str, Any]
    null: Literal["absent", "wrong", "none"] = "wrong"


@dataclass(frozen=True, slots=True)
class Field:
    """One member. check None: described only, handlers read it themselves."""

    name: str
    check: Check | None = None
    required: bool = False


Fields = tuple[Field, ...]


def checked(fields: Sequence[Field], given: Mapping[str, Value]) -> dict[str, Any]:
    """The members that were sent, converted. Raises Problem for the first that is wrong or missing."""
    values: dict[str, Any] = {}
    for field in fields:
        check = field.check
        if check is None:
            continue
        sent = given.get(field.name)
        sent_at_all = field.name in given and not (sent is None and check.null == "absent")
        if not sent_at_all and not field.required:
            continue
        if sent is None and sent_at_all and check.null == "none":
            values[field.name] = None
            continue
        try:
            values[field.name] = check.read(sent)
        except Wrong as wrong:
            said = {rule: text.replace("{name}", field.name) for rule, text in wrong.violated.items()}
            raise invalid(field.name, constraints=said) from wrong
    return values


def patch(fields: Sequence[Field], given: Mapping[str, Value]) -> dict[str, Any]:
    """As `checked`; raises Problem when nothing that can be changed was sent."""
    values = checked(fields, given)
    if not values:
        raise Problem(400, "invalid_params", reason="empty_patch")
    return values


def text(least: int, most: int | None = None) -> Check:
    """So many characters."""
    longest = {} if most is None else {"maxLength": most}
    return Check(_text(least, most), {"type": "string", "minLength": least, **longest})


def text_or_none(most: int) -> Check:
    """Null and '' mean none."""
    read = _text(0, most)

    def or_none(value: Value) -> str | None:
        return read(value) or None

    return Check(or_none, {"type": ["string", "null"], "maxLength": most}, "none")


def whole(least: int, most: int | None = None) -> Check:
    """An integer, also in digits."""
    rules = {"isInt": "{name} must be an integer number"}
    if most is not None:
        rules["max"] = f"{{name}} must not be greater than {most}"
    rules["min"] = f"{{name}} must not be less than {least}"

    def read(value: Value) -> int:
        number = _integer(value)
        if number is None:
            raise Wrong(rules)
        if number < least:
            raise Wrong({"min": rules["min"]})
        if most is not None and number > most:
            raise Wrong({"max": rules["max"]})
        return number

    limits = {"minimum": least} if most is None else {"minimum": least, "maximum": most}
    return Check(read, {"type": "integer", **limits}, "absent")


def matching(pattern: Callable[[str], str | None], said: str, least: int, most: int) -> Check:
    """A text that `pattern` takes; it gives the text to go on with. said: what would be right."""
    read = _text(least, most)

    def match(value: Value) -> str:
        found = pattern(read(value))
        if found is None:
            raise Wrong({"matches": f"{{name}} must be {said}"})
        return found

    return Check(match, {"type": "string", "minLength": least, "maxLength": most})


def part(most: int) -> Check:
    """A filter: a part of a text, in any case."""
    return matching(lambda value: value.strip().lower() or None, "a part of what is looked for", 1, most)


def one_of(*words: str) -> Check:
    """One of these, in any case; as it is written here."""
    known = {word.lower(): word for word in words}

    def read(value: Value) -> str:
        found = known.get(value.strip().lower()) if isinstance(value, str) else None
        if found is None:
            raise Wrong({"matches": f"{{name}} must be one of {', '.join(words)}"})
        return found

    return Check(read, {"type": "string", "enum": list(words)})


def _flag(value: Value) -> bool:
    found = boolean(value)
    if found is None:
        violated = {
            "isInt": "{name} must be an integer number",
            "max": "{name} must not be greater than 1",
            "min": "{name} must not be less than 0",
        }
        raise Wrong(violated)
    return found


def _switch(value: Value) -> bool:
    found = boolean(value)
    if found is None:
        raise Wrong({"isBoolean": "{name} must be a boolean value"})
    return found


def _moment(value: Value) -> datetime | None:
    return None if value == "" else _instant(value)


def _instant(value: Value) -> datetime:
    try:
        if not isinstance(value, str):
            raise ValueError
        found = datetime.fromisoformat(value.strip())
        # PostgreSQL tells times in its own zone, where the year 9999 may be over.
        return within_calendar((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise Wrong({"isDate": "{name} must be a date, such as 2026-01-30T08:10:18Z"}) from error


_FLAG_SCHEMA = {"enum": [0, 1, True, False, "0", "1", "true", "false", "yes", "no", "on", "off"]}
FLAG = Check(_flag, _FLAG_SCHEMA, "absent")
SWITCH = Check(_switch, _FLAG_SCHEMA)
INSTANT = Check(_instant, {"type": "string", "format": "date-time"})
MOMENT = Check(_moment, {"type": ["string", "null"], "format": "date-time"}, "none")


def boolean(value: Value) -> bool | None:
    """What words, numbers and JSON say; None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in _YES else False if word in _NO else None


def _integer(value: Value) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else None
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value.strip()) else None


def _text(least: int, most: int | None) -> Callable[[Value], str]:
    too_long = {} if most is None else {"maxLength": f"{{name}} must be shorter than or equal to {most} characters"}
    too_short = {"minLength": f"{{name}} must be longer than or equal to {least} characters"} if least else {}
    no_text = {"isString": "{name} must be a string"}

    def read(value: Value) -> str:
        if not isinstance(value, str) or _UNSTORABLE.search(value):
            raise Wrong({**too_long, **too_short, **no_text})
        if len(value) < least:
            raise Wrong(too_short)
        if most is not None and len(value) > most:
            raise Wrong(too_long)
        return value

    return read
