"""What a module of conditions/ or actions/ states about its type: how a stored value is checked, what it does."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from mailrelay.core.rules.model import Act, Flow, Tested

# Which template of addy-api section 1.10 says what is wrong; `regex` is of section 3.9.
Kind = Literal["required", "string", "array", "in", "distinct", "max", "regex"]

MAX_ACTION_CHARACTERS = 50


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a value cannot be stored. limit: of kind `max`; position: see stored.Problem."""

    kind: Kind
    reason: str
    limit: int | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class ConditionType:
    """A type of conditions. text: what is tested, already as values are compared with it; value: a value likewise.

    ignores_case: for patterns.
    """

    name: str
    text: Callable[[Tested], str]
    value: Callable[[str], str]
    ignores_case: bool


@dataclass(frozen=True, slots=True)
class ActionType:
    """A type of actions.

    wrong: whether a value may be stored, given the account's verified recipients. act: what a stored value does; None:
    nothing. repeats: a rule may have several.
    """

    name: str
    flows: frozenset[Flow]
    wrong: Callable[[object, Collection[UUID]], Wrong | None]
    act: Callable[[object], Act | None]
    repeats: bool = False


def unstorable(text: str) -> bool:
    """Whether PostgreSQL's jsonb would refuse a text: NUL, or half of a surrogate pair."""
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)


def any_value(value: object, _recipients: Collection[UUID] = ()) -> Wrong | None:
    """For values that are ignored or read leniently: something short has to be there. False is something."""
    if value is None or value == "":
        return Wrong("required", "a value is missing")
    if isinstance(value, str) and unstorable(value):
        return Wrong("string", "the value holds characters that are no text")
    if isinstance(value, str) and len(value) > MAX_ACTION_CHARACTERS:
        return Wrong("max", f"the value has more than {MAX_ACTION_CHARACTERS} characters", MAX_ACTION_CHARACTERS)
    return (
        None if isinstance(value, (str, bool, int)) else Wrong("string", "the value is neither text nor true or false")
    )


def short_text(value: object, _recipients: Collection[UUID] = ()) -> Wrong | None:
    """For values that are shown."""
    wrong = any_value(value)
    if wrong is None and not isinstance(value, str):
        return Wrong("string", "the value is no text")
    return wrong
